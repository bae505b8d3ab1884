/* prose.c - see prose.h. */
#include "data/prose.h"

#include "base/alloc.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Joiners (U+200D, U+FE0F) stay: emoji need them. */
static bool is_invisible(utf8proc_int32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x200b || c == 0xfeff || c == 0xfffd;
}

static void put_codepoint(mm1_buf *out, utf8proc_int32_t c)
{
    utf8proc_uint8_t bytes[4];
    mm1_buf_append(out, bytes, (size_t)utf8proc_encode_char(c, bytes));
}

/* Decodes one codepoint at text[*at] and moves on; -1 for bytes that are not UTF-8. */
static utf8proc_int32_t next_codepoint(const char *text, size_t len, size_t *at)
{
    utf8proc_int32_t c = -1;
    const utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text + *at, (utf8proc_ssize_t)(len - *at), &c);
    if (n <= 0) {
        return -1;
    }
    *at += (size_t)n;
    return c;
}

bool mm1_prose_is_utf8(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        if (next_codepoint(text, len, &at) < 0) {
            return false;
        }
    }
    return true;
}

bool mm1_prose_squeeze(mm1_buf *out, const char *text, size_t len)
{
    if (!mm1_prose_is_utf8(text, len)) {
        return false;
    }
    bool space = false, any = false;
    for (size_t at = 0; at < len;) {
        const utf8proc_int32_t c = next_codepoint(text, len, &at);
        if (is_space(c)) {
            space = any;
        } else if (!is_invisible(c)) {
            if (space) {
                mm1_buf_putc(out, ' ');
            }
            put_codepoint(out, c);
            space = false;
            any = true;
        }
    }
    return true;
}

bool mm1_prose_squeeze_lines(mm1_buf *out, const char *text, size_t len)
{
    if (!mm1_prose_is_utf8(text, len)) {
        return false;
    }
    size_t n_breaks = 0, n_spaces = 0;
    bool any = false;
    for (size_t at = 0; at < len;) {
        const utf8proc_int32_t c = next_codepoint(text, len, &at);
        if (c == '\n') {
            n_breaks++;
            n_spaces = 0;
        } else if (c == '\t') {
            n_spaces += 4;
        } else if (is_space(c)) {
            n_spaces += c != '\r';
        } else if (!is_invisible(c)) {
            for (size_t i = 0; any && i < n_breaks && i < 2; i++) {
                mm1_buf_putc(out, '\n');
            }
            for (size_t i = 0; (any || n_breaks == 0) && i < n_spaces && i < 64; i++) {
                mm1_buf_putc(out, ' ');
            }
            put_codepoint(out, c);
            n_breaks = n_spaces = 0;
            any = true;
        }
    }
    return true;
}

static bool is_article(const char *word, size_t len)
{
    return (len == 1 && word[0] == 'a') || (len == 2 && memcmp(word, "an", 2) == 0) ||
           (len == 3 && memcmp(word, "the", 3) == 0);
}

/* Letters, digits, marks and pictures; not punctuation and not space. */
static bool is_word_codepoint(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
    case UTF8PROC_CATEGORY_SO: return true;
    default: return false;
    }
}

void mm1_prose_key(mm1_buf *out, const char *text, size_t len)
{
    utf8proc_uint8_t *folded = NULL;
    const utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &folded,
                     (utf8proc_option_t)(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK |
                                         UTF8PROC_IGNORE));
    const size_t begin = out->len;
    if (n >= 0) {
        const char *p = (const char *)folded;
        size_t word = 0; /* where the word that is being read starts */
        bool in_word = false;
        for (size_t at = 0; at <= (size_t)n;) {
            const size_t here = at;
            const utf8proc_int32_t c = at < (size_t)n ? next_codepoint(p, (size_t)n, &at) : ' ';
            const bool inside = c >= 0 && is_word_codepoint(c);
            if (inside && !in_word) {
                word = here;
            } else if (!inside && in_word && !is_article(p + word, here - word)) {
                if (out->len > begin) {
                    mm1_buf_putc(out, ' ');
                }
                mm1_buf_append(out, p + word, here - word);
            }
            in_word = inside;
            if (here == (size_t)n || c < 0) {
                break;
            }
        }
    }
    free(folded); /* utf8proc uses malloc */
    if (out->len == begin) {
        (void)mm1_prose_squeeze(out, text, len);
    }
}

size_t mm1_prose_words(const char *text, size_t len)
{
    size_t n = 0;
    bool in_word = false;
    for (size_t i = 0; i < len; i++) {
        const bool inside = !isspace((unsigned char)text[i]);
        n += inside && !in_word;
        in_word = inside;
    }
    return n;
}

bool mm1_prose_has_letters(const char *text, size_t len, size_t least)
{
    size_t n = 0;
    for (size_t at = 0; at < len && n < least;) {
        const utf8proc_int32_t c = next_codepoint(text, len, &at);
        if (c < 0) {
            return false;
        }
        const utf8proc_category_t kind = utf8proc_category(c);
        n += kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
    }
    return n >= least;
}

void mm1_prose_from_name(mm1_buf *out, const char *name, size_t len)
{
    while (len > 0 && (isdigit((unsigned char)name[len - 1]) || name[len - 1] == '_' || name[len - 1] == '-')) {
        len--;
    }
    bool space = false, any = false;
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)name[i], before = i > 0 ? (unsigned char)name[i - 1] : ' ';
        if (c == '_' || c == '-' || c == '+' || c == '~' || isspace(c)) {
            space = any;
            continue;
        }
        const bool change = (islower(before) && isupper(c)) || (isalpha(before) && isdigit(c) && islower(before)) ||
                            (isdigit(before) && isalpha(c));
        if (any && (space || change)) {
            mm1_buf_putc(out, ' ');
        }
        mm1_buf_putc(out, (char)c);
        space = false;
        any = true;
    }
}

void mm1_prose_from_latin1(mm1_buf *out, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        put_codepoint(out, (unsigned char)bytes[i]);
    }
}

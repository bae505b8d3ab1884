/* split_pattern.c - see split_pattern.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/split_pattern.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "text/utf8.h"
#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

struct mm1_split {
    char *pattern;
    pcre2_general_context *memory;
    pcre2_code *code;
};

enum { MATCH_STEPS = 10000000, MATCH_STEPS_PER_BYTE = 8, MATCH_HEAP_KIB = 256 * 1024 };

/* White_Space, for PCRE2's \s also has U+180E. */
#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* -------- Oniguruma to PCRE2 -------- */

typedef struct translation {
    const char *source;
    size_t i; /* the next byte of source */
    mm1_buf out;
    bool in_class;
    mm1_error *err;
} translation;

static mm1_status refuse(translation *tr, size_t at, const char *what)
{
    return mm1_error_set(tr->err, MM1_E_UNSUPPORTED, "pattern \"%.200s\": %s at byte %zu is not supported", tr->source,
                         what, at);
}

/* \p{Name}: a general category stays, the name of a script gets "sc:", for a bare script name means Script_Extensions
 * to PCRE2. */
static mm1_status translate_property(translation *tr)
{
    const char *s = tr->source + tr->i; /* at 'p' or 'P' */
    const char *close = s[1] == '{' ? strchr(s, '}') : NULL;
    if (close == NULL || close - s < 3 || close - s > 40) {
        return refuse(tr, tr->i - 1, "a property without a name in braces");
    }
    const char *name = s + 2;
    size_t n = (size_t)(close - name);
    mm1_buf_putc(&tr->out, '\\');
    mm1_buf_putc(&tr->out, *s);
    mm1_buf_putc(&tr->out, '{');
    if (*name == '^') {
        mm1_buf_putc(&tr->out, '^');
        name++;
        n--;
    }
    for (size_t k = 0; k < n; k++) {
        if (!isalnum((unsigned char)name[k]) && name[k] != '_') {
            return refuse(tr, tr->i - 1, "this property");
        }
    }
    mm1_buf_puts(&tr->out, n > 2 ? "sc:" : "");
    mm1_buf_append(&tr->out, name, n);
    mm1_buf_putc(&tr->out, '}');
    tr->i += (size_t)(close - s) + 1;
    return MM1_OK;
}

/* \x{H..}, \xHH below 0x80, \uHHHH */
static mm1_status translate_hex(translation *tr)
{
    const char *s = tr->source + tr->i;
    const bool braces = s[0] == 'x' && s[1] == '{';
    const size_t skip = braces ? 2 : 1, max_digits = braces ? 6 : s[0] == 'u' ? 4 : 2;
    size_t n = 0;
    unsigned long code = 0;
    while (n < max_digits && isxdigit((unsigned char)s[skip + n])) {
        const char digit[2] = {s[skip + n], '\0'};
        code = code << 4 | strtoul(digit, NULL, 16);
        n++;
    }
    const bool complete = braces ? n > 0 && s[skip + n] == '}' : n == max_digits;
    if (!complete || (!braces && s[0] == 'x' && code >= 0x80)) {
        return refuse(tr, tr->i - 1, "this character code");
    }
    mm1_buf_printf(&tr->out, "\\x{%lx}", code);
    tr->i += skip + n + (braces ? 1 : 0);
    return MM1_OK;
}

static mm1_status translate_escape(translation *tr)
{
    const size_t at = tr->i++;
    const char c = tr->source[tr->i];
    switch (c) {
    case 'p':
    case 'P': return translate_property(tr);
    case 'x':
    case 'u': return translate_hex(tr);
    case 's': mm1_buf_puts(&tr->out, tr->in_class ? SPACES : "[" SPACES "]"); break;
    case 'S':
        if (tr->in_class) {
            return refuse(tr, at, "\\S inside a class");
        }
        mm1_buf_puts(&tr->out, "[^" SPACES "]");
        break;
    case 'A':
    case 'z':
        if (tr->in_class) {
            return refuse(tr, at, "an anchor inside a class");
        }
        mm1_buf_printf(&tr->out, "\\%c", c);
        break;
    case 'd':
    case 'D':
    case 'r':
    case 'n':
    case 't':
    case 'f': mm1_buf_printf(&tr->out, "\\%c", c); break;
    default:
        if (!ispunct((unsigned char)c)) {
            return refuse(tr, at, "this escape");
        }
        mm1_buf_printf(&tr->out, "\\%c", c);
    }
    tr->i++;
    return MM1_OK;
}

/* "(" and what decides the kind of group. */
static mm1_status translate_group(translation *tr)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"};
    const char *s = tr->source + tr->i;
    if (s[1] == '*') {
        return refuse(tr, tr->i, "\"(*\"");
    }
    if (s[1] != '?') {
        mm1_buf_putc(&tr->out, *s);
        tr->i++;
        return MM1_OK;
    }
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        const size_t n = strlen(known[k]);
        if (strncmp(s, known[k], n) == 0) {
            mm1_buf_append(&tr->out, s, n);
            tr->i += n;
            return MM1_OK;
        }
    }
    return refuse(tr, tr->i, "this kind of group");
}

/* "{n}", "{n,}", "{n,m}"; "{,m}" and a "+" behind the braces mean different things to the two libraries. */
static mm1_status translate_repeat(translation *tr)
{
    const char *s = tr->source + tr->i;
    size_t n = 1;
    while (isdigit((unsigned char)s[n]) || (s[n] == ',' && n > 1)) {
        n++;
    }
    if (n == 1 || s[n] != '}' || s[n + 1] == '+') {
        return refuse(tr, tr->i, "this repeat");
    }
    mm1_buf_append(&tr->out, s, n + 1);
    tr->i += n + 1;
    return MM1_OK;
}

static mm1_status translate(translation *tr)
{
    mm1_status st = MM1_OK;
    while (st == MM1_OK && tr->source[tr->i] != '\0') {
        const char *s = tr->source + tr->i;
        if (*s == '\\') {
            st = s[1] == '\0' ? refuse(tr, tr->i, "a backslash at the end") : translate_escape(tr);
        } else if (tr->in_class && (*s == '[' || (*s == '&' && s[1] == '&'))) {
            st = refuse(tr, tr->i, "a class inside a class");
        } else if (!tr->in_class && *s == '(') {
            st = translate_group(tr);
        } else if (!tr->in_class && *s == '{') {
            st = translate_repeat(tr);
        } else {
            if (!tr->in_class && *s == '[') {
                tr->in_class = true;
                if (s[1] == ']' || (s[1] == '^' && s[2] == ']')) {
                    st = refuse(tr, tr->i, "a class that begins with \"]\"");
                }
            } else if (*s == ']') {
                tr->in_class = false;
            }
            mm1_buf_putc(&tr->out, *s);
            tr->i++;
        }
    }
    if (st == MM1_OK && mm1_buf_status(&tr->out) != MM1_OK) {
        st = mm1_error_set(tr->err, MM1_E_NOMEM, "no memory for a pattern of %zu bytes", strlen(tr->source));
    }
    return st;
}

/* -------- compile -------- */

static void *pcre_alloc(size_t size, void *ctx)
{
    (void)ctx;
    return mm1_alloc(size, 1);
}

static void pcre_free(void *p, void *ctx)
{
    (void)ctx;
    mm1_free(p);
}

mm1_status mm1_split_create(const char *pattern, mm1_split **out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    translation tr = {.source = pattern, .err = err};
    pcre2_compile_context *context = NULL;
    *out = NULL;
    mm1_buf_init(&tr.out, (size_t)MM1__MAX_PATTERN_BYTES * 16);
    mm1_split *s = mm1_calloc(1, sizeof *s);
    if (s == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a pattern");
        goto out;
    }
    if (strlen(pattern) > MM1__MAX_PATTERN_BYTES || mm1_utf8_valid(pattern, strlen(pattern)) != strlen(pattern)) {
        st = mm1_error_set(err, MM1_E_LIMIT, "pattern \"%.40s...\": over %d bytes or no valid UTF-8", pattern,
                           MM1__MAX_PATTERN_BYTES);
        goto out;
    }
    st = translate(&tr);
    if (st != MM1_OK) {
        goto out;
    }
    s->pattern = mm1_strdup(pattern);
    s->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    context = s->memory == NULL ? NULL : pcre2_compile_context_create(s->memory);
    if (s->pattern == NULL || context == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a pattern");
        goto out;
    }
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code = 0;
    PCRE2_SIZE at = 0;
    s->code = pcre2_compile((PCRE2_SPTR)mm1_buf_str(&tr.out), tr.out.len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
    if (s->code == NULL) {
        char why[160];
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        st = mm1_error_set(err, MM1_E_FORMAT, "pattern \"%.200s\" does not compile: %s", pattern, why);
        goto out;
    }
    /* Without a just-in-time compiler (hardened systems) the interpreter does the same more slowly. */
    (void)pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
    *out = s;
    s = NULL;
out:
    pcre2_compile_context_free(context);
    mm1_buf_deinit(&tr.out);
    mm1_split_destroy(s);
    return st;
}

void mm1_split_destroy(mm1_split *s)
{
    if (s != NULL) {
        pcre2_code_free(s->code);
        pcre2_general_context_free(s->memory);
        mm1_free(s->pattern);
        mm1_free(s);
    }
}

const char *mm1_split_pattern(const mm1_split *s)
{
    return s->pattern;
}

/* -------- match -------- */

mm1_status mm1_split_cursor_open(mm1_split_cursor *c, const mm1_split *s, const char *text, size_t len, mm1_error *err)
{
    *c = (mm1_split_cursor){.split = s, .text = text, .len = len};
    c->match_data = pcre2_match_data_create(1, s->memory);
    pcre2_match_context *context = pcre2_match_context_create(s->memory);
    c->match_context = context;
    if (c->match_data == NULL || context == NULL) {
        mm1_split_cursor_close(c);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to match a pattern");
    }
    const size_t by_len = len > UINT32_MAX / (2 * MATCH_STEPS_PER_BYTE) ? UINT32_MAX / 2 : len * MATCH_STEPS_PER_BYTE;
    (void)pcre2_set_match_limit(context, (uint32_t)(MATCH_STEPS + by_len));
    (void)pcre2_set_heap_limit(context, MATCH_HEAP_KIB);
    return MM1_OK;
}

void mm1_split_cursor_close(mm1_split_cursor *c)
{
    pcre2_match_data_free(c->match_data);
    pcre2_match_context_free(c->match_context);
    *c = (mm1_split_cursor){0};
}

/* Looks for the next match from c->search. */
static mm1_status find(mm1_split_cursor *c, mm1_error *err)
{
    c->has_match = false;
    if (c->search > c->len) {
        return MM1_OK;
    }
    PCRE2_SPTR text = (PCRE2_SPTR)c->text;
    /* Straight to the compiled code: pcre2_match() would check its arguments for each piece. */
    int n = pcre2_jit_match(c->split->code, text, c->len, c->search, 0, c->match_data, c->match_context);
    /* No compiled code, or its stack is too small: the interpreter keeps its stack on the heap. */
    if (n == PCRE2_ERROR_JIT_BADOPTION || n == PCRE2_ERROR_JIT_STACKLIMIT) {
        n = pcre2_match(c->split->code, text, c->len, c->search, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, c->match_data,
                        c->match_context);
    }
    if (n == PCRE2_ERROR_NOMATCH) {
        c->search = c->len + 1;
        return MM1_OK;
    }
    if (n < 0) {
        char why[160];
        (void)pcre2_get_error_message(n, (PCRE2_UCHAR *)why, sizeof why);
        return mm1_error_set(err, n == PCRE2_ERROR_NOMEMORY ? MM1_E_NOMEM : MM1_E_LIMIT,
                             "cannot cut text at byte %zu of %zu by the tokenizer's pattern \"%.200s\": %s", c->search,
                             c->len, c->split->pattern, why);
    }
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(c->match_data);
    c->has_match = true;
    c->match_begin = ovector[0];
    c->match_end = ovector[1];
    c->search = c->match_end;
    if (c->match_end == c->match_begin) { /* an empty match: go on behind the next character */
        uint32_t code;
        const size_t step = mm1_utf8_decode(c->text + c->search, c->len - c->search, &code);
        c->search += step == 0 ? 1 : step;
    }
    return MM1_OK;
}

mm1_status mm1_split_cursor_next(mm1_split_cursor *c, size_t *begin, size_t *end, mm1_error *err)
{
    *begin = c->pos;
    while (c->pos < c->len) {
        if (!c->has_match) {
            const mm1_status st = find(c, err);
            if (st != MM1_OK) {
                *end = *begin;
                return st;
            }
        }
        c->is_gap = !c->has_match || c->match_begin > c->pos;
        if (!c->has_match) { /* the rest is one gap */
            c->pos = c->len;
        } else if (c->match_begin > c->pos) { /* the gap first; the match is given by the next call */
            c->pos = c->match_begin;
        } else { /* an empty match gives no piece, but it has cut the text */
            c->pos = c->match_end;
            c->has_match = false;
        }
        if (c->pos > *begin) {
            break;
        }
    }
    *end = c->pos;
    return MM1_OK;
}

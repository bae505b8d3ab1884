/* gpt2_pattern.c - GPT-2's pre-tokenizer pattern by hand; declared in split_pattern.h.
 *
 * Nearly all text is cut here, so ASCII goes through a table and only the rest is decoded. */
#include "text/split_pattern.h"
#include "text/unicode_class.h"
#include "text/utf8.h"
#include <stdint.h>

#define L (MM1_CHAR_LETTER + 1)
#define N (MM1_CHAR_NUMBER + 1)
#define S (MM1_CHAR_SPACE + 1)
#define O (MM1_CHAR_OTHER + 1)
/* One more than the class of an ASCII character; 0 for all other bytes. */
static const uint8_t ascii[256] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* controls */
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O, /* space, digits */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* A to Z */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* a to z */
};
#undef L
#undef N
#undef S
#undef O

/* Class and length of the character at p < end. */
static mm1_char_class class_at(const char *p, const char *end, size_t *n)
{
    if ((unsigned char)*p < 0x80) {
        *n = 1;
        return (mm1_char_class)(ascii[(unsigned char)*p] - 1);
    }
    uint32_t code = 0;
    *n = mm1_utf8_decode(p, (size_t)(end - p), &code);
    if (*n == 0) { /* no valid UTF-8, against the contract: still go on */
        *n = 1;
        return MM1_CHAR_OTHER;
    }
    return mm1_char_class_of(code);
}

/* Length of 's 't 're 've 'm 'll 'd at p, 0 if there is none. */
static size_t contraction(const char *p, const char *end)
{
    if (end - p < 2) {
        return 0;
    }
    switch (p[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return end - p > 2 && p[2] == 'e' ? 3 : 0;
    case 'l': return end - p > 2 && p[2] == 'l' ? 3 : 0;
    default: return 0;
    }
}

/* End of the run of class c that begins at p. */
static const char *run_end(const char *p, const char *end, mm1_char_class c)
{
    size_t n;
    for (;;) {
        while (p < end && ascii[(unsigned char)*p] == c + 1) {
            p++;
        }
        if (p == end || (unsigned char)*p < 0x80 || class_at(p, end, &n) != c) {
            return p;
        }
        p += n;
    }
}

size_t mm1_gpt2_piece(const char *text, size_t len)
{
    const char *end = text + len, *p = text;
    size_t n = 0;
    if (*p == '\'' && (n = contraction(p, end)) > 0) {
        return n;
    }
    mm1_char_class c = class_at(p, end, &n);
    if (*p == ' ' && len > 1) { /* one blank goes with what follows it, unless that is a space too */
        size_t next_n;
        const mm1_char_class next = class_at(p + 1, end, &next_n);
        if (next != MM1_CHAR_SPACE) {
            c = next;
            n = 1 + next_n;
        }
    }
    if (c != MM1_CHAR_SPACE) {
        return (size_t)(run_end(p + n, end, c) - text);
    }
    /* \s+(?!\S): all spaces but the last one if something follows, which leaves that one to the next piece. */
    const char *last = p;
    while (p < end && class_at(p, end, &n) == MM1_CHAR_SPACE) {
        last = p;
        p += n;
    }
    return (size_t)((p == end || last == text ? p : last) - text);
}

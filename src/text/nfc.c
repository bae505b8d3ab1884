/* nfc.c - see nfc.h.
 *
 * Not utf8proc_map(): it orders combining marks by insertion, which takes a hostile run of marks quadratic time, and it
 * allocates by itself.  Here marks are ordered by a stable merge sort; decomposition and composition are utf8proc's.
 *
 * A character below U+0300 stays as it is and joins no character before it.  So only runs of others are worked on, each
 * with the one character before it, and in English text that is next to nothing. */
#include "text/nfc.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "text/utf8.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_DECOMPOSED = 32 }; /* code points of one character; Unicode's longest canonical one has 4 */

static int combining_class(int32_t code)
{
    return utf8proc_get_property(code)->combining_class;
}

/* Stable bottom-up merge sort of a run of marks by combining class; spare has room for n. */
static void order_marks(int32_t *marks, int32_t *spare, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            const size_t mid = lo + width < n ? lo + width : n, hi = mid + width < n ? mid + width : n;
            size_t a = lo, b = mid;
            for (size_t k = lo; k < hi; k++) {
                const bool right = a == mid || (b < hi && combining_class(marks[b]) < combining_class(marks[a]));
                spare[k] = marks[right ? b++ : a++];
            }
        }
        memcpy(marks, spare, n * sizeof *marks);
    }
}

/* Scratch memory of the runs of one text. */
typedef struct scratch {
    int32_t *codes, *spare; /* [cap] */
    size_t cap;
} scratch;

static bool room_for(scratch *s, size_t n)
{
    if (n <= s->cap) {
        return true;
    }
    const size_t cap = n < 256 ? 256 : n > SIZE_MAX / 2 ? n : 2 * n;
    mm1_free(s->codes);
    mm1_free(s->spare);
    s->codes = mm1_alloc(cap, sizeof *s->codes);
    s->spare = mm1_alloc(cap, sizeof *s->spare);
    s->cap = s->codes == NULL || s->spare == NULL ? 0 : cap;
    return s->cap > 0;
}

/* The code points of one character taken apart as far as can be; how many. */
static size_t decompose(const char *text, size_t len, size_t *step, int32_t parts[MAX_DECOMPOSED])
{
    uint32_t code = 0;
    int boundary = 0;
    *step = mm1_utf8_decode(text, len, &code);
    if (*step == 0) {
        *step = 1;
        return 0;
    }
    const utf8proc_ssize_t n =
        utf8proc_decompose_char((int32_t)code, parts, MAX_DECOMPOSED, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
    if (n <= 0 || n > MAX_DECOMPOSED) {
        parts[0] = (int32_t)code;
        return 1;
    }
    return (size_t)n;
}

/* Appends the NFC of one run.  False if memory is short. */
static bool normalize_run(const char *run, size_t len, scratch *s, mm1_buf *out)
{
    int32_t parts[MAX_DECOMPOSED];
    size_t n = 0;
    for (size_t i = 0, step; i < len; i += step) {
        n += decompose(run + i, len - i, &step, parts);
    }
    if (!room_for(s, n)) {
        return false;
    }
    n = 0;
    for (size_t i = 0, step; i < len; i += step) {
        const size_t k = decompose(run + i, len - i, &step, parts);
        memcpy(s->codes + n, parts, k * sizeof *parts);
        n += k;
    }
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j < n && combining_class(s->codes[j]) != 0) {
            j++;
        }
        if (j - i > 1) {
            order_marks(s->codes + i, s->spare + i, j - i);
        }
        i = j + 1;
    }
    const utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(s->codes, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    n = composed < 0 ? n : (size_t)composed;
    char *bytes = (char *)s->spare; /* which has four bytes for each code point */
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        written += mm1_utf8_encode(bytes + written, (uint32_t)s->codes[i]);
    }
    mm1_buf_append(out, bytes, written);
    return true;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* The first byte at or after i of a character from U+0300 on (which is CC 80), len if there is none. */
static size_t next_high(const char *text, size_t i, size_t len)
{
    while (i < len && (unsigned char)text[i] < 0xCC) {
        i++;
    }
    return i;
}

mm1_status mm1_nfc(const char *text, size_t len, char **out, size_t *out_len, mm1_error *err)
{
    mm1_status st = MM1_OK;
    scratch s = {0};
    mm1_buf bytes;
    *out = NULL;
    *out_len = 0;
    size_t high = next_high(text, 0, len), done = 0;
    if (high == len) {
        return MM1_OK;
    }
    mm1_buf_init(&bytes, SIZE_MAX - 1);
    while (high < len && st == MM1_OK) {
        size_t begin = high, end = high + 1;
        if (begin > done) { /* the character before, which a mark may join */
            do {
                begin--;
            } while (begin > done && is_continuation(text[begin]));
        }
        while (end < len && (is_continuation(text[end]) || (unsigned char)text[end] >= 0xCC)) {
            end++;
        }
        mm1_buf_append(&bytes, text + done, begin - done);
        if (!normalize_run(text + begin, end - begin, &s, &bytes)) {
            st = MM1_E_NOMEM;
        }
        done = end;
        high = next_high(text, end, len);
    }
    mm1_buf_append(&bytes, text + done, len - done);
    if (st == MM1_OK && mm1_buf_status(&bytes) == MM1_OK) {
        *out_len = bytes.len;
        *out = mm1_buf_take(&bytes);
    } else {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to normalize %zu bytes of text", len);
    }
    mm1_buf_deinit(&bytes);
    mm1_free(s.spare);
    mm1_free(s.codes);
    return st;
}

/* nfc.c - see nfc.h.
 *
 * Not utf8proc_map(): it orders combining marks by insertion, which takes a hostile run of marks quadratic time, and it
 * allocates by itself.  Here marks are ordered by a stable merge sort; decomposition and composition are utf8proc's. */
#include "text/nfc.h"

#include "base/alloc.h"
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

mm1_status mm1_nfc(const char *text, size_t len, char **out, size_t *out_len, mm1_error *err)
{
    mm1_status st = MM1_OK;
    int32_t *codes = NULL, *spare = NULL;
    char *bytes = NULL;
    bool simple = true;
    *out = NULL;
    *out_len = 0;
    for (size_t i = 0; i < len && simple; i++) {
        simple = (unsigned char)text[i] < 0xCC; /* U+0300 is CC 80 */
    }
    if (simple) {
        return MM1_OK;
    }
    size_t n = 0, cap = 0;
    for (int pass = 0; pass < 2; pass++) { /* count, then fill */
        n = 0;
        for (size_t i = 0, step; i < len; i += step) {
            uint32_t code = 0;
            step = mm1_utf8_decode(text + i, len - i, &code);
            if (step == 0) {
                step = 1;
                continue;
            }
            int32_t parts[MAX_DECOMPOSED];
            int boundary = 0;
            utf8proc_ssize_t k = utf8proc_decompose_char((int32_t)code, parts, MAX_DECOMPOSED,
                                                         UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
            if (k <= 0 || k > MAX_DECOMPOSED) {
                parts[0] = (int32_t)code;
                k = 1;
            }
            if (pass == 1) {
                memcpy(codes + n, parts, (size_t)k * sizeof *codes);
            }
            n += (size_t)k;
        }
        if (pass == 0) {
            cap = n;
            codes = mm1_alloc(cap, sizeof *codes);
            spare = mm1_alloc(cap, sizeof *spare);
            if (codes == NULL || spare == NULL) {
                st = mm1_error_set(err, MM1_E_NOMEM, "no memory to normalize %zu bytes of text", len);
                goto out;
            }
        }
    }
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j < n && combining_class(codes[j]) != 0) {
            j++;
        }
        if (j - i > 1) {
            order_marks(codes + i, spare + i, j - i);
        }
        i = j + 1;
    }
    const utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    n = composed < 0 ? n : (size_t)composed;
    bytes = n > SIZE_MAX / MM1_UTF8_MAX_BYTES - 1 ? NULL : mm1_alloc(n * MM1_UTF8_MAX_BYTES + 1, 1);
    if (bytes == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to normalize %zu bytes of text", len);
        goto out;
    }
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        written += mm1_utf8_encode(bytes + written, (uint32_t)codes[i]);
    }
    bytes[written] = '\0';
    *out = bytes;
    *out_len = written;
out:
    mm1_free(spare);
    mm1_free(codes);
    return st;
}

/* lowercase.c - see lowercase.h. */
#include "text/lowercase.h"

#include "base/alloc.h"
#include "text/utf8.h"
#include <utf8proc.h>

enum { DOTTED_I = 0x130, DOT_ABOVE = 0x307, MOST_BYTES = 4 }; /* of a character, or of "i" and the dot */

mm1_status mm1_lowercase(const char *text, size_t len, char **out, size_t *out_len, mm1_error *err)
{
    size_t n = 0;
    *out_len = 0;
    /* A character of one byte stays one, and of others none becomes longer than four. */
    *out = len > SIZE_MAX / MOST_BYTES - 1 ? NULL : mm1_alloc(MOST_BYTES * (len + 1), 1);
    if (*out == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu bytes of text in small letters", len);
    }
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        i += mm1_utf8_decode(text + i, len - i, &code);
        if (code == DOTTED_I) {
            (*out)[n++] = 'i';
            code = DOT_ABOVE;
        } else {
            code = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
        }
        n += mm1_utf8_encode(*out + n, code);
    }
    *out_len = n;
    return MM1_OK;
}

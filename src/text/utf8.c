/* utf8.c - see utf8.h. */
#include "text/utf8.h"

/* What a first byte asks for: bytes in all (0 for a byte that begins nothing) and the range of the second byte, which
 * is where overlong forms, surrogates and too large values are excluded (Unicode 15, table 3-7). */
static size_t lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xBF;
    if (c < 0x80) {
        return 1;
    }
    if (c < 0xC2 || c > 0xF4) {
        return 0;
    }
    if (c < 0xE0) {
        return 2;
    }
    if (c < 0xF0) {
        *lo = c == 0xE0 ? 0xA0 : 0x80;
        *hi = c == 0xED ? 0x9F : 0xBF;
        return 3;
    }
    *lo = c == 0xF0 ? 0x90 : 0x80;
    *hi = c == 0xF4 ? 0x8F : 0xBF;
    return 4;
}

size_t mm1_utf8_encode(char out[MM1_UTF8_MAX_BYTES], uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

size_t mm1_utf8_invalid_prefix(const char *s, size_t len)
{
    size_t i = 0;
    uint32_t code;
    while (i < len && mm1_utf8_decode(s + i, len - i, &code) == 0) {
        i++;
    }
    return i;
}

size_t mm1_utf8_incomplete_tail(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    for (size_t n = 1; n <= 3 && n <= len; n++) {
        const unsigned char *first = p + len - n;
        unsigned char lo, hi;
        if ((*first & 0xC0) == 0x80) {
            continue; /* a continuation byte: look further left for the byte it belongs to */
        }
        /* The bytes after the second are continuation bytes, or the loop would have stopped at them. */
        return lead(*first, &lo, &hi) > n && (n == 1 || (first[1] >= lo && first[1] <= hi)) ? n : 0;
    }
    return 0;
}

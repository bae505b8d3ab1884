/* utf8.h - is this text UTF-8?  What characters mean is for the text floor. */
#ifndef MM1_BASE_UTF8_H
#define MM1_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The code point at s[0 .. len) into *out; the bytes it takes, 0 if they are malformed (overlong, surrogate, cut, over
 * 0x10ffff) or len is 0. */
static inline size_t mm1_utf8_decode(const char *s, size_t len, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s;
    if (len == 0) {
        return 0;
    }
    const size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n <= 1) {
        *out = p[0];
        return n;
    }
    if (n > len) {
        return 0;
    }
    uint32_t v = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        v = v << 6 | (p[i] & 0x3f);
    }
    *out = v;
    return v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? 0 : n;
}

/* Offset of the first malformed byte, len if there is none. */
static inline size_t mm1_utf8_valid(const char *s, size_t len)
{
    size_t done = 0;
    while (done < len) {
        uint32_t c;
        const size_t n = mm1_utf8_decode(s + done, len - done, &c);
        if (n == 0) {
            break;
        }
        done += n;
        /* Behind ASCII there is mostly more of it. */
        for (uint64_t eight; n == 1 && len - done >= sizeof eight; done += sizeof eight) {
            memcpy(&eight, s + done, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) != 0) {
                break;
            }
        }
    }
    return done;
}

#endif

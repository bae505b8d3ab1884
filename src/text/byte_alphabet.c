/* byte_alphabet.c - see byte_alphabet.h.
 *
 * Hidden bytes are 0x00-0x20 (33 of them), 0x7F-0xA0 (34) and 0xAD (1); each formula below counts those before. */
#include "text/byte_alphabet.h"

#include "text/utf8.h"
#include <string.h>

enum { N_VISIBLE = 188, FIRST_HIDDEN_CHAR = 0x100 };

static bool is_visible(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xFF && c != 0xAD);
}

uint32_t mm1_byte_char(uint8_t byte)
{
    if (is_visible(byte)) {
        return byte;
    }
    if (byte <= 0x20) {
        return FIRST_HIDDEN_CHAR + byte;
    }
    return byte == 0xAD ? FIRST_HIDDEN_CHAR + 67 : FIRST_HIDDEN_CHAR + 33 + (byte - 0x7Fu);
}

static uint8_t hidden_byte(uint32_t i)
{
    if (i < 33) {
        return (uint8_t)i;
    }
    return i == 67 ? 0xAD : (uint8_t)(0x7F + (i - 33));
}

int mm1_char_byte(uint32_t code)
{
    if (code < FIRST_HIDDEN_CHAR) {
        return is_visible(code) ? (int)code : -1;
    }
    return code < FIRST_HIDDEN_CHAR + 68 ? hidden_byte(code - FIRST_HIDDEN_CHAR) : -1;
}

uint8_t mm1_byte_of_rank(int rank)
{
    if (rank >= N_VISIBLE) {
        return hidden_byte((uint32_t)(rank - N_VISIBLE));
    }
    if (rank < 94) {
        return (uint8_t)(0x21 + rank);
    }
    return (uint8_t)(rank < 106 ? 0xA1 + (rank - 94) : 0xAE + (rank - 106));
}

void mm1_bytes_spell(mm1_buf *out, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c[MM1_UTF8_MAX_BYTES];
        mm1_buf_append(out, c, mm1_utf8_encode(c, mm1_byte_char((uint8_t)bytes[i])));
    }
}

bool mm1_bytes_unspell(mm1_buf *out, const char *s)
{
    const size_t begin = out->len, len = strlen(s);
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t code = 0;
        n = mm1_utf8_decode(s + i, len - i, &code);
        const int byte = n == 0 ? -1 : mm1_char_byte(code);
        if (byte < 0) {
            if (out->data != NULL) {
                out->data[begin] = '\0';
            }
            out->len = begin;
            return false;
        }
        mm1_buf_putc(out, (char)byte);
    }
    return true;
}

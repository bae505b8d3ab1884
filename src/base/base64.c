/* base64.c - see base64.h. */
#include "base/base64.h"

#include "base/alloc.h"

/* Value of a digit, -1 for other characters. */
static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

mm1_status mm1_base64_decode(const char *digits, size_t n, uint8_t **out, size_t *len, mm1_error *err)
{
    size_t n_bytes = 0;
    uint32_t bits = 0;
    int n_bits = 0;
    *out = NULL;
    *len = 0;
    while (n > 0 && digits[n - 1] == '=') {
        n--;
    }
    uint8_t *bytes = mm1_alloc(n / 4 * 3 + 3, 1);
    if (bytes == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu digits of base64", n);
    }
    for (size_t k = 0; k < n; k++) {
        const int digit = digit_of(digits[k]);
        if (digit < 0) {
            mm1_free(bytes);
            return mm1_error_set(err, MM1_E_FORMAT, "character %zu is no base64", k);
        }
        bits = bits << 6 | (uint32_t)digit;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            bytes[n_bytes++] = (uint8_t)(bits >> n_bits);
        }
    }
    *out = bytes;
    *len = n_bytes;
    return MM1_OK;
}

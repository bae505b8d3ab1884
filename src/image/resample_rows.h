/* resample_rows.h - the two passes of resample.c in vectors; included once for each instruction set (so no include
 * guard).
 *
 * Set before: ROWS_NAME(x), the name of a function; ROWS_TARGET, its attribute; ROWS_VECTORS, of how many vectors 64
 * bytes are; and the functions zero(), dot(sums, fours, k), which adds a vector of fours times their weights to the
 * sums, bytes(sums of ROWS_VECTORS vectors), rounded and clipped, pack() and split() (see row_kernels). */

#define ROWS_SUMS ROWS_NAME(sums)
#define ROWS_STEP (BLOCK_BYTES / ROWS_VECTORS)
#if ROWS_VECTORS == 1
#define ROWS_BYTES(s) ROWS_NAME(bytes)((s)[0])
#else
#define ROWS_BYTES(s) ROWS_NAME(bytes)((s)[0], (s)[1])
#endif

ROWS_TARGET static void ROWS_NAME(horizontal)(uint8_t *group, const uint8_t *blocks, const axis *a)
{
    for (int32_t i = 0; i < a->n_out; i++, group += 12) {
        const uint8_t *block = blocks + (size_t)a->first[i] * BLOCK_BYTES;
        const int32_t *k = a->k + (size_t)i * a->stride;
        ROWS_SUMS s[ROWS_VECTORS];
        for (int v = 0; v < ROWS_VECTORS; v++) {
            s[v] = ROWS_NAME(zero)();
        }
        for (int32_t t = 0; t < a->n[i]; t++, block += BLOCK_BYTES, k += 4) {
            for (int v = 0; v < ROWS_VECTORS; v++) {
                s[v] = ROWS_NAME(dot)(s[v], block + v * ROWS_STEP, k);
            }
        }
        /* The fourth colour is nobody's: its four bytes are those of the next output, or behind the group. */
        _mm_storeu_si128((__m128i *)(void *)group, transpose(ROWS_BYTES(s)));
    }
}

ROWS_TARGET static void ROWS_NAME(vertical)(uint8_t *row, const uint8_t *const *groups, const int32_t *k, int32_t n,
                                            size_t n_bytes)
{
    enum { AT_ONCE = 2 }; /* 64 bytes of a group: as many sums as registers hold */
    for (size_t at = 0; at < n_bytes; at += 16 * AT_ONCE) {
        ROWS_SUMS s[AT_ONCE][ROWS_VECTORS];
        const bool is_wide = n_bytes - at > 16;
        for (int v = 0; v < AT_ONCE * ROWS_VECTORS; v++) {
            s[v / ROWS_VECTORS][v % ROWS_VECTORS] = ROWS_NAME(zero)();
        }
        for (int32_t t = 0; t < n; t++) {
            for (int v = 0; v < ROWS_VECTORS; v++) {
                s[0][v] = ROWS_NAME(dot)(s[0][v], groups[t] + 4 * at + v * ROWS_STEP, k + t * 4);
            }
            for (int v = 0; is_wide && v < ROWS_VECTORS; v++) {
                s[1][v] = ROWS_NAME(dot)(s[1][v], groups[t] + 4 * at + BLOCK_BYTES + v * ROWS_STEP, k + t * 4);
            }
        }
        for (size_t b = 0; b < AT_ONCE && at + 16 * b < n_bytes; b++) {
            const __m128i bytes = ROWS_BYTES(s[b]);
            const size_t left = n_bytes - at - 16 * b;
            if (left >= 16) {
                _mm_storeu_si128((__m128i *)(void *)(row + at + 16 * b), bytes);
            } else {
                memcpy(row + at + 16 * b, &bytes, left);
            }
        }
    }
}

static const row_kernels ROWS_NAME(kernels) = {ROWS_NAME(pack), ROWS_NAME(split), ROWS_NAME(horizontal),
                                               ROWS_NAME(vertical)};

#undef ROWS_NAME
#undef ROWS_TARGET
#undef ROWS_VECTORS
#undef ROWS_SUMS
#undef ROWS_STEP
#undef ROWS_BYTES

/* resample_rows.h - the inner loops of resample.c in vectors; included once for each instruction set (so no include
 * guard).
 *
 * Set before: ROWS_NAME(x), the name of a function; ROWS_TARGET, its attribute; ROWS_LANES, int32 lanes of the vector
 * ROWS_VECTOR; and the operations of one vector: ROWS_ZERO(), ROWS_SET(i32), ROWS_LOAD(p), ROWS_STORE(p, v), ROWS_ADD,
 * ROWS_MUL, ROWS_BYTES(p) (that many bytes, widened), ROWS_STORE_BYTES(p, v) (shifted down, clipped), ROWS_PIXELS(p)
 * (that many lanes as pixels: 3 bytes and one more lane of anything) and how many bytes ROWS_PIXELS reads.  Other tools
 * than intrinsics did not do: gcc 12 widens bytes of its own vector types one by one, and does not turn the plain loops
 * into anything better. */

/* pixels [n, 4] = rgb [n, 3]; the fourth lane is anything */
ROWS_TARGET static void ROWS_NAME(widen)(int32_t *pixels, const uint8_t *rgb, size_t n)
{
    size_t x = 0;
    for (; 3 * x + ROWS_PIXELS_READ <= 3 * n; x += ROWS_LANES / 4) {
        ROWS_STORE(pixels + 4 * x, ROWS_PIXELS(rgb + 3 * x));
    }
    plain_widen(pixels + 4 * x, rgb + 3 * x, n - x);
}

/* pixels [n_in + TAPS_A_STEP, 4]; wide [n_out, stride, 4]; rgb [n_out, 3] */
ROWS_TARGET static void ROWS_NAME(horizontal)(uint8_t *rgb, const int32_t *pixels, const axis *a, const int32_t *wide)
{
    for (int32_t i = 0; i < a->n_out; i++) {
        const int32_t *p = pixels + (size_t)a->first[i] * 4, *k = wide + (size_t)i * a->stride * 4;
        const size_t n = (size_t)a->n[i] * 4;
        ROWS_VECTOR sum = ROWS_ZERO();
        for (size_t t = 0; t < n; t += ROWS_LANES) {
            sum = ROWS_ADD(sum, ROWS_MUL(ROWS_LOAD(p + t), ROWS_LOAD(k + t)));
        }
        ROWS_STORE_PIXEL(rgb + 3 * (size_t)i, sum);
    }
}

/* rows [n][n_bytes]; k [n]; out [n_bytes] */
ROWS_TARGET static void ROWS_NAME(vertical)(uint8_t *out, const uint8_t *const *rows, const int32_t *k, int32_t n,
                                            size_t n_bytes)
{
    const size_t block = 4 * ROWS_LANES;
    size_t at = 0;
    for (; at + block <= n_bytes; at += block) {
        ROWS_VECTOR s0 = ROWS_SET(HALF), s1 = s0, s2 = s0, s3 = s0;
        for (int32_t t = 0; t < n; t++) {
            const ROWS_VECTOR kv = ROWS_SET(k[t]);
            const uint8_t *row = rows[t] + at;
            s0 = ROWS_ADD(s0, ROWS_MUL(ROWS_BYTES(row), kv));
            s1 = ROWS_ADD(s1, ROWS_MUL(ROWS_BYTES(row + ROWS_LANES), kv));
            s2 = ROWS_ADD(s2, ROWS_MUL(ROWS_BYTES(row + 2 * ROWS_LANES), kv));
            s3 = ROWS_ADD(s3, ROWS_MUL(ROWS_BYTES(row + 3 * ROWS_LANES), kv));
        }
        ROWS_STORE_BYTES(out + at, s0);
        ROWS_STORE_BYTES(out + at + ROWS_LANES, s1);
        ROWS_STORE_BYTES(out + at + 2 * ROWS_LANES, s2);
        ROWS_STORE_BYTES(out + at + 3 * ROWS_LANES, s3);
    }
    plain_vertical_from(out, rows, k, n, at, n_bytes);
}

static const row_kernels ROWS_NAME(kernels) = {ROWS_NAME(widen), ROWS_NAME(horizontal), ROWS_NAME(vertical)};

#undef ROWS_NAME
#undef ROWS_TARGET
#undef ROWS_LANES
#undef ROWS_VECTOR
#undef ROWS_ZERO
#undef ROWS_SET
#undef ROWS_LOAD
#undef ROWS_STORE
#undef ROWS_ADD
#undef ROWS_MUL
#undef ROWS_BYTES
#undef ROWS_STORE_BYTES
#undef ROWS_STORE_PIXEL
#undef ROWS_PIXELS
#undef ROWS_PIXELS_READ

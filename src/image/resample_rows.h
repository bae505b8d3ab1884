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

/* see row_kernels */
ROWS_TARGET static void ROWS_NAME(horizontal)(uint8_t *const rgb[ROWS_A_STEP], const int32_t *pixels, size_t stride,
                                              const axis *a, const int32_t *wide)
{
    for (int32_t i = 0; i < a->n_out; i++) {
        const int32_t *k = wide + (size_t)i * a->stride * 4;
        const int32_t *p0 = pixels + (size_t)a->first[i] * 4, *p1 = p0 + stride, *p2 = p1 + stride, *p3 = p2 + stride;
        const size_t n = (size_t)a->n[i] * 4, at = (size_t)i * 3;
        ROWS_VECTOR s0 = ROWS_ZERO(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t t = 0; t < n; t += ROWS_LANES) {
            const ROWS_VECTOR kv = ROWS_LOAD(k + t);
            s0 = ROWS_ADD(s0, ROWS_MUL(ROWS_LOAD(p0 + t), kv));
            s1 = ROWS_ADD(s1, ROWS_MUL(ROWS_LOAD(p1 + t), kv));
            s2 = ROWS_ADD(s2, ROWS_MUL(ROWS_LOAD(p2 + t), kv));
            s3 = ROWS_ADD(s3, ROWS_MUL(ROWS_LOAD(p3 + t), kv));
        }
        ROWS_STORE_PIXEL(rgb[0] + at, s0);
        ROWS_STORE_PIXEL(rgb[1] + at, s1);
        ROWS_STORE_PIXEL(rgb[2] + at, s2);
        ROWS_STORE_PIXEL(rgb[3] + at, s3);
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

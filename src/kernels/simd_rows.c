/* simd_rows.c - plain vectors and rotary positions, fast version of those in ref_rows.c; collects the other simd files
 * of rows. */
#include "kernels/simd.h"
#include "kernels/simd_bf16.h"
#include "kernels/simd_parts.h"

static void add(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(y + i, v_add(v_get(a + i, m), v_get(b + i, m)), m);
    }
}

static void axpy(float *y, const float *x, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(y + i, v_fma(v_set(alpha), v_get(x + i, m), v_get(y + i, m)), m);
    }
}

static void scale(float *y, const float *x, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(y + i, v_mul(v_set(alpha), v_get(x + i, m)), m);
    }
}

#define TERM(s, i, m) v_fma(v_get(a + (i), m), v_get(b + (i), m), s)
SIMD_DEFINE_SUM(dot, (const float *a, const float *b, int64_t n), TERM)
#undef TERM

/* 0 x is 0 for finite x and NaN otherwise, and NaN stays in a sum. */
#define TERM(s, i, m) v_fma(v_zero(), v_get(x + (i), m), s)
SIMD_DEFINE_SUM(sum_of_zeros, (const float *x, int64_t n), TERM)
#undef TERM

static bool all_finite(const float *x, int64_t n)
{
    return sum_of_zeros(x, n) == 0;
}

static void rope(float *y, int64_t ldy, const float *x, int64_t ldx, const int32_t *position, const float *cos_sin,
                 int64_t N, int64_t H, int64_t D, bool inverse, bool acc)
{
    const int64_t half = D / 2;
    for (int64_t n = 0; n < N; n++) {
        const float *cosines = cos_sin + (int64_t)position[n] * D, *sines = cosines + half;
        for (int64_t h = 0; h < H; h++) {
            const float *x_h = x + n * ldx + h * D;
            float *y_h = y + n * ldy + h * D;
            for (int64_t i = 0; i < half; i += VW) {
                const int64_t m = v_left(half - i);
                const vf a = v_get(x_h + i, m), b = v_get(x_h + half + i, m), c = v_get(cosines + i, m);
                vf s = v_get(sines + i, m);
                if (inverse) {
                    s = v_sub(v_zero(), s);
                }
                v_put_acc(y_h + i, v_fnma(b, s, v_mul(a, c)), m, acc);
                v_put_acc(y_h + half + i, v_fma(a, s, v_mul(b, c)), m, acc);
            }
        }
    }
}

static void to_bf16(uint16_t *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        bf16_put(y + i, bf16_nearest(v_get(x + i, m)), m);
    }
}

static void from_bf16(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(y + i, bf16_get(x + i, m), m);
    }
}

void SIMD_NAME(mm1__kernels_rows)(mm1_kernels *k)
{
    k->add = add;
    k->axpy = axpy;
    k->scale = scale;
    k->dot = dot;
    k->all_finite = all_finite;
    k->rope = rope;
    k->to_bf16 = to_bf16;
    k->from_bf16 = from_bf16;
    SIMD_NAME(mm1__kernels_act)(k);
    SIMD_NAME(mm1__kernels_adamw)(k);
    SIMD_NAME(mm1__kernels_norm)(k);
    SIMD_NAME(mm1__kernels_softmax)(k);
}

/* simd_softmax.c - softmax, cross-entropy and the softmax steps of attention, fast version of those in ref_rows.c.
 *
 * As there, the largest element is subtracted before exp, a row of -INFINITY alone gives zeros and -INFINITY, and NaN
 * in a row makes its results NaN. */
#include "kernels/simd.h"
#include "kernels/simd_parts.h"

#include <math.h>
#include <stddef.h>

/* Largest of x [n] and floor; NaN elements may or may not be passed over. */
static float row_maximum(const float *x, int64_t n, float floor)
{
    vf m0 = v_set(floor), m1 = m0, m2 = m0, m3 = m0;
    int64_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW) {
        m0 = v_max(m0, v_load(x + i));
        m1 = v_max(m1, v_load(x + i + VW));
        m2 = v_max(m2, v_load(x + i + 2 * VW));
        m3 = v_max(m3, v_load(x + i + 3 * VW));
    }
    for (; i < n; i += VW) {
        m0 = v_max(m0, v_get_or(x + i, v_left(n - i), v_set(floor)));
    }
    return v_hmax(v_max(v_max(m0, m1), v_max(m2, m3)));
}

/* e = exp(x[i] - shift), 0 past m, also stored to y if that is not NULL; s + e */
static inline vf add_exp(vf s, float *y, const float *x, int64_t i, int64_t m, float shift)
{
    const vf e = v_exp(v_sub(v_get_or(x + i, m, v_set(-INFINITY)), v_set(shift)));
    if (y != NULL) {
        v_put(y + i, e, m);
    }
    return v_add(s, e);
}

/* y = exp(x - shift) if y is not NULL (it may be x); returns the sum.  shift must be finite. */
#define TERM(s, i, m) add_exp(s, y, x, i, m, shift)
SIMD_DEFINE_SUM(exp_sum, (float *y, const float *x, int64_t n, float shift), TERM)
#undef TERM

/* x - shift is then -INFINITY or NaN where x is, and exp of it 0 or NaN. */
static float finite_shift(float max)
{
    return max == -INFINITY ? 0 : max;
}

static void multiply(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(x + i, v_mul(v_get(x + i, m), v_set(by)), m);
    }
}

static void xent(float *logits, int64_t ld, float *nll, float *lse, const int32_t *target, int64_t N, int64_t V,
                 float scale, float z_coef)
{
    for (int64_t n = 0; n < N; n++) {
        float *row = logits + n * ld;
        const double at_target = row[target[n]];
        const float shift = finite_shift(row_maximum(row, V, -INFINITY));
        const double sum = exp_sum(scale != 0 ? row : NULL, row, V, shift);
        const double l = shift + log(sum);
        nll[n] = (float)(l - at_target);
        lse[n] = (float)l;
        if (scale != 0) {
            multiply(row, V, (float)(scale * (1 + 2 * (double)z_coef * l) / sum));
            row[target[n]] -= scale;
        }
    }
}

static float softmax(float *x, int64_t n)
{
    const float shift = finite_shift(row_maximum(x, n, -INFINITY));
    const double sum = exp_sum(x, x, n, shift);
    multiply(x, n, sum == 0 ? 0 : (float)(1 / sum));
    return (float)(shift + log(sum));
}

static inline void fill_zero(float *x, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i += VW) {
        v_put(x + i, v_zero(), v_left(end - i));
    }
}

/* Each lane's largest of x [n]; NaN elements may or may not be passed over. */
static inline vf lane_maxima(const float *x, int64_t n)
{
    vf max = v_set(-INFINITY);
    for (int64_t i = 0; i < n; i += VW) {
        max = v_max(max, v_get_or(x + i, v_left(n - i), v_set(-INFINITY)));
    }
    return max;
}

/* x [n] = exp(x - shift); each lane's sum of these. */
static inline vf lane_exp_sums(float *x, int64_t n, float shift)
{
    vf sum = v_zero();
    for (int64_t i = 0; i < n; i += VW) {
        sum = add_exp(sum, x, x, i, v_left(n - i), shift);
    }
    return sum;
}

/* VW rows (or fewer) at a time: their maxima and sums are vectors, and no row waits for those of the one before. */
static void attn_softmax(float *s, int64_t ld, float *row_max, float *row_sum, float *factor, const int32_t *lo,
                         const int32_t *hi, int64_t m, int64_t n)
{
    for (int64_t r0 = 0; r0 < m; r0 += VW, s += VW * ld) {
        const int64_t rows = v_left(m - r0);
        vf lanes[VW];
        float shifts[VW];
        for (int64_t r = 0; r < VW; r++) {
            const bool sees = r < rows && lo[r0 + r] < hi[r0 + r];
            lanes[r] = sees ? lane_maxima(s + r * ld + lo[r0 + r], hi[r0 + r] - lo[r0 + r]) : v_set(-INFINITY);
        }
        const vf old_max = v_get(row_max + r0, rows), max = v_max(v_fold_each(lanes, true), old_max);
        /* x - shift is -INFINITY or NaN where x is */
        const vf shift = v_select_lt(v_set(-INFINITY), max, max, v_select_lt(max, v_zero(), v_zero(), max));
        v_store(shifts, shift);
        for (int64_t r = 0; r < rows; r++) {
            float *row = s + r * ld;
            const int64_t begin = lo[r0 + r], end = hi[r0 + r];
            if (begin >= end) {
                fill_zero(row, 0, n);
                lanes[r] = v_zero();
                continue;
            }
            fill_zero(row, 0, begin);
            lanes[r] = lane_exp_sums(row + begin, end - begin, shifts[r]);
            fill_zero(row, end, n);
        }
        const vf sum = v_fold_each(lanes, false), one = v_set(1);
        const vf f = v_select_lt(old_max, max, v_exp(v_sub(old_max, shift)), one);
        v_put(factor + r0, f, rows);
        v_put(row_sum + r0, v_fma(v_get(row_sum + r0, rows), f, sum), rows);
        v_put(row_max + r0, max, rows);
    }
}

static void attn_dsoftmax(float *s, float *dp, int64_t ld, const float *lse, const float *delta, const int32_t *lo,
                          const int32_t *hi, int64_t m, int64_t n)
{
    for (int64_t r = 0; r < m; r++) {
        float *s_r = s + r * ld, *dp_r = dp + r * ld;
        if (lo[r] >= hi[r] || lse[r] == -INFINITY) {
            fill_zero(s_r, 0, n);
            fill_zero(dp_r, 0, n);
            continue;
        }
        for (int64_t j = lo[r]; j < hi[r]; j += VW) {
            const int64_t left = v_left(hi[r] - j);
            const vf p = v_exp(v_sub(v_get(s_r + j, left), v_set(lse[r])));
            v_put(s_r + j, p, left);
            v_put(dp_r + j, v_mul(p, v_sub(v_get(dp_r + j, left), v_set(delta[r]))), left);
        }
        fill_zero(s_r, 0, lo[r]);
        fill_zero(dp_r, 0, lo[r]);
        fill_zero(s_r, hi[r], n);
        fill_zero(dp_r, hi[r], n);
    }
}

void SIMD_NAME(mm1__kernels_softmax)(mm1_kernels *k)
{
    k->xent = xent;
    k->softmax = softmax;
    k->attn_softmax = attn_softmax;
    k->attn_dsoftmax = attn_dsoftmax;
}

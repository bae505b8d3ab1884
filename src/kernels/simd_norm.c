/* simd_norm.c - RMS norm, layer norm and column sums, fast version of those in ref_rows.c (the formulas are there).
 *
 * Sums along a row are those of SIMD_DEFINE_SUM.  Sums down the rows (gradients of w and b) are taken over ROW_BLOCK
 * rows in registers, while these rows are still in cache from the pass before, and then added to the output. */
#include "kernels/simd.h"
#include "kernels/simd_parts.h"

#include <math.h>
#include <stddef.h>

enum { ROW_BLOCK = 16 };

static int64_t rows_left(int64_t n)
{
    return n < ROW_BLOCK ? n : ROW_BLOCK;
}

#define TERM(s, i, m) v_add(s, v_get(x + (i), m))
SIMD_DEFINE_SUM(sum, (const float *x, int64_t n), TERM)
#undef TERM

#define TERM(s, i, m) v_fma(v_get(a + (i), m), v_get(b + (i), m), s)
SIMD_DEFINE_SUM(sum_ab, (const float *a, const float *b, int64_t n), TERM)
#undef TERM

/* sum of a b (x - mean); a padded by 0 makes the terms past the end 0 */
#define TERM(s, i, m) v_fma(v_mul(v_get(a + (i), m), v_get(b + (i), m)), v_sub(v_get(x + (i), m), v_set(mean)), s)
SIMD_DEFINE_SUM(sum_ab_centred, (const float *a, const float *b, const float *x, float mean, int64_t n), TERM)
#undef TERM

static inline vf add_square(vf s, vf d)
{
    return v_fma(d, d, s);
}
#define TERM(s, i, m) add_square(s, v_sub(v_get_or(x + (i), m, v_set(mean)), v_set(mean)))
SIMD_DEFINE_SUM(sum_squares_centred, (const float *x, float mean, int64_t n), TERM)
#undef TERM

static void rmsnorm_fwd(float *y, float *rstd, const float *x, const float *w, int64_t N, int64_t C, float eps)
{
    for (int64_t n = 0; n < N; n++, x += C, y += C) {
        const float r = (float)(1 / sqrt(sum_ab(x, x, C) / (double)C + eps));
        for (int64_t c = 0; c < C; c += VW) {
            const int64_t m = v_left(C - c);
            v_put(y + c, v_mul(v_mul(v_get(x + c, m), v_set(r)), v_get(w + c, m)), m);
        }
        rstd[n] = r;
    }
}

/* dw [C] += sum over N <= ROW_BLOCK rows of dy (x - mean) rstd, db [C] += sum of dy.  mean and db may be NULL. */
static inline void norm_bwd_params(float *dw, float *db, const float *dy, const float *x, const float *mean,
                                   const float *rstd, int64_t N, int64_t C)
{
    for (int64_t c = 0; c < C; c += VW) {
        const int64_t m = v_left(C - c);
        vf sum_w = v_zero(), sum_b = v_zero();
        for (int64_t n = 0; n < N; n++) {
            const vf d = v_get(dy + n * C + c, m);
            vf x_n = v_get(x + n * C + c, m);
            if (mean != NULL) {
                x_n = v_sub(x_n, v_set(mean[n]));
            }
            sum_w = v_fma(v_mul(d, v_set(rstd[n])), x_n, sum_w);
            sum_b = v_add(sum_b, d);
        }
        v_put_acc(dw + c, sum_w, m, true);
        if (db != NULL) {
            v_put_acc(db + c, sum_b, m, true);
        }
    }
}

static void rmsnorm_bwd(float *dx, float *dw, const float *dy, const float *x, const float *w, const float *rstd,
                        int64_t N, int64_t C, bool acc)
{
    for (int64_t begin = 0; begin < N; begin += ROW_BLOCK) {
        const int64_t rows = rows_left(N - begin);
        for (int64_t n = begin; n < begin + rows; n++) {
            const float *x_n = x + n * C, *dy_n = dy + n * C;
            float *dx_n = dx + n * C;
            /* dx = r g - x (r^2 mean(g h)),  mean(g h) = r sum(dy w x) / C */
            const double r = rstd[n], mean_gh = r * sum_ab_centred(dy_n, w, x_n, 0, C) / (double)C;
            const vf rv = v_set(rstd[n]), coef = v_set((float)(r * r * mean_gh));
            for (int64_t c = 0; c < C; c += VW) {
                const int64_t m = v_left(C - c);
                const vf g = v_mul(v_get(dy_n + c, m), v_get(w + c, m));
                v_put_acc(dx_n + c, v_fnma(v_get(x_n + c, m), coef, v_mul(g, rv)), m, acc);
            }
        }
        norm_bwd_params(dw, NULL, dy + begin * C, x + begin * C, NULL, rstd + begin, rows, C);
    }
}

static void layernorm_fwd(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b, int64_t N,
                          int64_t C, float eps)
{
    for (int64_t n = 0; n < N; n++, x += C, y += C) {
        const float mu = (float)(sum(x, C) / (double)C);
        const float r = (float)(1 / sqrt(sum_squares_centred(x, mu, C) / (double)C + eps));
        for (int64_t c = 0; c < C; c += VW) {
            const int64_t m = v_left(C - c);
            const vf h = v_mul(v_sub(v_get(x + c, m), v_set(mu)), v_set(r));
            v_put(y + c, v_fma(h, v_get(w + c, m), b != NULL ? v_get(b + c, m) : v_zero()), m);
        }
        mean[n] = mu;
        rstd[n] = r;
    }
}

static void layernorm_bwd(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                          const float *mean, const float *rstd, int64_t N, int64_t C, bool acc)
{
    for (int64_t begin = 0; begin < N; begin += ROW_BLOCK) {
        const int64_t rows = rows_left(N - begin);
        for (int64_t n = begin; n < begin + rows; n++) {
            const float *x_n = x + n * C, *dy_n = dy + n * C;
            float *dx_n = dx + n * C;
            /* dx = r (g - mean(g)) - (x - mu) (r^2 mean(g h)) */
            const double r = rstd[n], mean_gh = r * sum_ab_centred(dy_n, w, x_n, mean[n], C) / (double)C;
            const vf rv = v_set(rstd[n]), mu = v_set(mean[n]), coef = v_set((float)(r * r * mean_gh));
            const vf mean_g = v_set((float)(sum_ab(dy_n, w, C) / (double)C));
            for (int64_t c = 0; c < C; c += VW) {
                const int64_t m = v_left(C - c);
                const vf g = v_sub(v_mul(v_get(dy_n + c, m), v_get(w + c, m)), mean_g);
                v_put_acc(dx_n + c, v_fnma(v_sub(v_get(x_n + c, m), mu), coef, v_mul(g, rv)), m, acc);
            }
        }
        norm_bwd_params(dw, db, dy + begin * C, x + begin * C, mean + begin, rstd + begin, rows, C);
    }
}

static void sum_rows(float *out, const float *x, int64_t ldx, int64_t N, int64_t C)
{
    for (int64_t begin = 0; begin < N; begin += ROW_BLOCK) {
        const int64_t rows = rows_left(N - begin);
        for (int64_t c = 0; c < C; c += VW) {
            const int64_t m = v_left(C - c);
            vf s = v_zero();
            for (int64_t n = begin; n < begin + rows; n++) {
                s = v_add(s, v_get(x + n * ldx + c, m));
            }
            v_put_acc(out + c, s, m, true);
        }
    }
}

void SIMD_NAME(mm1__kernels_norm)(mm1_kernels *k)
{
    k->rmsnorm_fwd = rmsnorm_fwd;
    k->rmsnorm_bwd = rmsnorm_bwd;
    k->layernorm_fwd = layernorm_fwd;
    k->layernorm_bwd = layernorm_bwd;
    k->sum_rows = sum_rows;
}

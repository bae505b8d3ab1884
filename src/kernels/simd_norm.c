/* simd_norm.c - RMS norm, layer norm and column sums, fast version of those in ref_rows.c (the formulas are there).
 *
 * Sums along a row are those of SIMD_DEFINE_SUM.  Sums down the rows (gradients of w and b) are taken over ROW_BLOCK or
 * SUM_BLOCK rows in registers and then added to the output. */
#include "kernels/simd.h"
#include "kernels/simd_parts.h"

#include <math.h>
#include <stddef.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { ROW_BLOCK = 2, SUM_BLOCK = 16 };

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

/* What the backward pass of a row needs besides the row: dx = rstd (g - mean_g) - (x - mean) coef, where
 * coef = rstd^2 mean_c(g h). */
typedef struct row_scalars {
    float mean, rstd, mean_g, coef;
} row_scalars;

/* dx of 1 <= rows <= ROW_BLOCK rows, and their share of dw and (unless NULL) db, for the channels c .. c + m - 1.
 * centred: mean and mean_g are not 0. */
ALWAYS_INLINE void norm_bwd_at(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                               const row_scalars *s, int64_t rows, int64_t C, int64_t c, int64_t m, bool centred,
                               bool acc)
{
    const vf w_c = v_get(w + c, m);
    vf sum_w = v_zero(), sum_b = v_zero();
    for (int64_t n = 0; n < rows; n++) {
        const vf d = v_get(dy + n * C + c, m), rstd = v_set(s[n].rstd);
        vf x_n = v_get(x + n * C + c, m), g = v_mul(d, w_c);
        if (centred) {
            x_n = v_sub(x_n, v_set(s[n].mean));
            g = v_sub(g, v_set(s[n].mean_g));
        }
        v_put_acc(dx + n * C + c, v_fnma(x_n, v_set(s[n].coef), v_mul(g, rstd)), m, acc);
        sum_w = v_fma(v_mul(d, rstd), x_n, sum_w);
        sum_b = v_add(sum_b, d);
    }
    v_put_acc(dw + c, sum_w, m, true);
    if (centred && db != NULL) {
        v_put_acc(db + c, sum_b, m, true);
    }
}

ALWAYS_INLINE void norm_bwd_rows(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                                 const row_scalars *s, int64_t rows, int64_t C, bool centred, bool acc)
{
    int64_t c = 0;
    for (; c + VW <= C; c += VW) {
        norm_bwd_at(dx, dw, db, dy, x, w, s, rows, C, c, VW, centred, acc);
    }
    if (c < C) {
        norm_bwd_at(dx, dw, db, dy, x, w, s, rows, C, c, C - c, centred, acc);
    }
}

/* mean is NULL for the RMS norm. */
ALWAYS_INLINE void norm_bwd(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                            const float *mean, const float *rstd, int64_t N, int64_t C, bool centred, bool acc)
{
    for (int64_t begin = 0; begin < N; begin += ROW_BLOCK) {
        const int64_t rows = N - begin < ROW_BLOCK ? N - begin : ROW_BLOCK, at = begin * C;
        row_scalars s[ROW_BLOCK];
        for (int64_t n = 0; n < rows; n++) {
            const float *x_n = x + at + n * C, *dy_n = dy + at + n * C;
            const float mu = centred ? mean[begin + n] : 0;
            const double r = rstd[begin + n], mean_gh = r * sum_ab_centred(dy_n, w, x_n, mu, C) / (double)C;
            const double mean_g = centred ? sum_ab(dy_n, w, C) / (double)C : 0;
            s[n] = (row_scalars){mu, rstd[begin + n], (float)mean_g, (float)(r * r * mean_gh)};
        }
        if (rows == ROW_BLOCK && acc) {
            norm_bwd_rows(dx + at, dw, db, dy + at, x + at, w, s, ROW_BLOCK, C, centred, true);
        } else if (rows == ROW_BLOCK) {
            norm_bwd_rows(dx + at, dw, db, dy + at, x + at, w, s, ROW_BLOCK, C, centred, false);
        } else {
            norm_bwd_rows(dx + at, dw, db, dy + at, x + at, w, s, rows, C, centred, acc);
        }
    }
}

static void rmsnorm_bwd(float *dx, float *dw, const float *dy, const float *x, const float *w, const float *rstd,
                        int64_t N, int64_t C, bool acc)
{
    norm_bwd(dx, dw, NULL, dy, x, w, NULL, rstd, N, C, false, acc);
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
    norm_bwd(dx, dw, db, dy, x, w, mean, rstd, N, C, true, acc);
}

static void sum_rows(float *out, const float *x, int64_t ldx, int64_t N, int64_t C)
{
    for (int64_t begin = 0; begin < N; begin += SUM_BLOCK, x += SUM_BLOCK * ldx) {
        const int64_t rows = N - begin < SUM_BLOCK ? N - begin : SUM_BLOCK;
        int64_t c = 0;
        for (; c + 4 * VW <= C; c += 4 * VW) { /* whole cache lines of each row */
            vf s0 = v_zero(), s1 = s0, s2 = s0, s3 = s0;
            for (int64_t n = 0; n < rows; n++) {
                const float *x_n = x + n * ldx + c;
                s0 = v_add(s0, v_load(x_n));
                s1 = v_add(s1, v_load(x_n + VW));
                s2 = v_add(s2, v_load(x_n + 2 * VW));
                s3 = v_add(s3, v_load(x_n + 3 * VW));
            }
            v_put_acc(out + c, s0, VW, true);
            v_put_acc(out + c + VW, s1, VW, true);
            v_put_acc(out + c + 2 * VW, s2, VW, true);
            v_put_acc(out + c + 3 * VW, s3, VW, true);
        }
        for (; c < C; c += VW) {
            const int64_t m = v_left(C - c);
            vf s = v_zero();
            for (int64_t n = 0; n < rows; n++) {
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

/* ref_rows.c - vectors, activations, norms, rotary positions, softmax and AdamW, reference version.
 *
 * Written to be read: each function is its formula.  Everything is summed in f64 and rounded once to f32 at the end, so
 * that this file is what the fast versions are measured against.  Contracts are in kernels.h. */
#include "kernels/kernels.h"

#include "base/half.h"
#include "base/rng.h"
#include <math.h>
#include <stddef.h>

/* ---- plain vectors ---- */

static void add_ref(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = a[i] + b[i];
    }
}

static void axpy_ref(float *y, const float *x, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)(y[i] + (double)alpha * x[i]);
    }
}

static void scale_ref(float *y, const float *x, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = alpha * x[i];
    }
}

static double dot_ref(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)a[i] * b[i];
    }
    return sum;
}

static bool all_finite_ref(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return false;
        }
    }
    return true;
}

/* ---- activations ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Phi(x): the probability that a standard normal number is below x. */
static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

/* u(x) = sqrt(2 / pi) (x + 0.044715 x^3), the argument of tanh in the tanh form of GELU. */
static double gelu_tanh_argument(double x)
{
    return M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x);
}

static double act_value(double x, mm1_act act)
{
    switch (act) {
    case MM1_ACT_RELU: return x < 0 ? 0 : x; /* so that NaN stays NaN */
    case MM1_ACT_GELU: return x * normal_cdf(x);
    case MM1_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(gelu_tanh_argument(x)));
    case MM1_ACT_QUICK_GELU: return x * sigmoid(1.702 * x);
    case MM1_ACT_SILU: return x * sigmoid(x);
    case MM1_ACT_SIGMOID: return sigmoid(x);
    default: return x;
    }
}

/* The derivative of act_value; that of ReLU at 0 is 0. */
static double act_slope(double x, mm1_act act)
{
    switch (act) {
    case MM1_ACT_RELU: return x > 0 ? 1 : 0;
    case MM1_ACT_GELU: {
        const double density = 0.5 * M_2_SQRTPI * M_SQRT1_2 * exp(-0.5 * x * x);
        return normal_cdf(x) + x * density;
    }
    case MM1_ACT_GELU_TANH: {
        const double t = tanh(gelu_tanh_argument(x));
        const double du = M_2_SQRTPI * M_SQRT1_2 * (1 + 3 * 0.044715 * x * x);
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du;
    }
    case MM1_ACT_QUICK_GELU: {
        const double s = sigmoid(1.702 * x);
        return s + 1.702 * x * s * (1 - s);
    }
    case MM1_ACT_SILU: {
        const double s = sigmoid(x);
        return s + x * s * (1 - s);
    }
    case MM1_ACT_SIGMOID: {
        const double s = sigmoid(x);
        return s * (1 - s);
    }
    default: return 1;
    }
}

static void act_fwd_ref(float *y, const float *x, int64_t n, mm1_act act)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)act_value(x[i], act);
    }
}

/* dx = dy act'(x) */
static void act_bwd_ref(float *dx, const float *dy, const float *x, int64_t n, mm1_act act, bool acc)
{
    for (int64_t i = 0; i < n; i++) {
        const double d = dy[i] * act_slope(x[i], act);
        dx[i] = (float)(acc ? dx[i] + d : d);
    }
}

static void glu_fwd_ref(float *y, const float *gate, const float *up, int64_t n, mm1_act act)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)(act_value(gate[i], act) * up[i]);
    }
}

static void glu_bwd_ref(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n,
                        mm1_act act)
{
    for (int64_t i = 0; i < n; i++) {
        const double d = dy[i];
        dgate[i] = (float)(d * up[i] * act_slope(gate[i], act));
        dup[i] = (float)(d * act_value(gate[i], act));
    }
}

/* ---- norms ----
 *
 * RMS norm:   r[n] = 1 / sqrt(mean_c x[n,c]^2 + eps),  h = x r,  y = h w
 * Layer norm: mean[n] = mean_c x[n,c],  r[n] = 1 / sqrt(mean_c (x[n,c] - mean[n])^2 + eps),  h = (x - mean) r,  y = h w
 * + b
 *
 * Backward, with g = dy w:
 *   RMS norm:    dx = r (g - h mean_c(g h))
 *   layer norm:  dx = r (g - mean_c(g) - h mean_c(g h))
 *   both:        dw[c] += sum_n dy[n,c] h[n,c],  db[c] += sum_n dy[n,c] */

static void rmsnorm_fwd_ref(float *y, float *rstd, const float *x, const float *w, int64_t N, int64_t C, float eps)
{
    for (int64_t n = 0; n < N; n++) {
        const float *x_n = x + n * C;
        double sum_sq = 0;
        for (int64_t c = 0; c < C; c++) {
            sum_sq += (double)x_n[c] * x_n[c];
        }
        const double r = 1 / sqrt(sum_sq / (double)C + eps);
        for (int64_t c = 0; c < C; c++) {
            y[n * C + c] = (float)(x_n[c] * r * w[c]);
        }
        rstd[n] = (float)r;
    }
}

static void rmsnorm_bwd_ref(float *dx, float *dw, const float *dy, const float *x, const float *w, const float *rstd,
                            int64_t N, int64_t C, bool acc)
{
    for (int64_t n = 0; n < N; n++) {
        const float *x_n = x + n * C, *dy_n = dy + n * C;
        float *dx_n = dx + n * C;
        const double r = rstd[n];
        double mean_gh = 0;
        for (int64_t c = 0; c < C; c++) {
            mean_gh += (double)dy_n[c] * w[c] * (x_n[c] * r);
        }
        mean_gh /= (double)C;
        for (int64_t c = 0; c < C; c++) {
            const double g = (double)dy_n[c] * w[c], h = x_n[c] * r;
            const double d = r * (g - h * mean_gh);
            dx_n[c] = (float)(acc ? dx_n[c] + d : d);
        }
    }
    for (int64_t c = 0; c < C; c++) {
        double sum = 0;
        for (int64_t n = 0; n < N; n++) {
            sum += (double)dy[n * C + c] * ((double)x[n * C + c] * rstd[n]);
        }
        dw[c] = (float)(dw[c] + sum);
    }
}

static void layernorm_fwd_ref(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                              int64_t N, int64_t C, float eps)
{
    for (int64_t n = 0; n < N; n++) {
        const float *x_n = x + n * C;
        double sum = 0, sum_sq = 0;
        for (int64_t c = 0; c < C; c++) {
            sum += x_n[c];
        }
        const double mu = sum / (double)C;
        for (int64_t c = 0; c < C; c++) {
            sum_sq += (x_n[c] - mu) * (x_n[c] - mu);
        }
        const double r = 1 / sqrt(sum_sq / (double)C + eps);
        for (int64_t c = 0; c < C; c++) {
            y[n * C + c] = (float)((x_n[c] - mu) * r * w[c] + (b != NULL ? b[c] : 0));
        }
        mean[n] = (float)mu;
        rstd[n] = (float)r;
    }
}

static void layernorm_bwd_ref(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                              const float *mean, const float *rstd, int64_t N, int64_t C, bool acc)
{
    for (int64_t n = 0; n < N; n++) {
        const float *x_n = x + n * C, *dy_n = dy + n * C;
        float *dx_n = dx + n * C;
        const double mu = mean[n], r = rstd[n];
        double mean_g = 0, mean_gh = 0;
        for (int64_t c = 0; c < C; c++) {
            const double g = (double)dy_n[c] * w[c];
            mean_g += g;
            mean_gh += g * ((x_n[c] - mu) * r);
        }
        mean_g /= (double)C;
        mean_gh /= (double)C;
        for (int64_t c = 0; c < C; c++) {
            const double g = (double)dy_n[c] * w[c], h = (x_n[c] - mu) * r;
            const double d = r * (g - mean_g - h * mean_gh);
            dx_n[c] = (float)(acc ? dx_n[c] + d : d);
        }
    }
    for (int64_t c = 0; c < C; c++) {
        double sum_w = 0, sum_b = 0;
        for (int64_t n = 0; n < N; n++) {
            const double d = dy[n * C + c];
            sum_w += d * (((double)x[n * C + c] - mean[n]) * rstd[n]);
            sum_b += d;
        }
        dw[c] = (float)(dw[c] + sum_w);
        if (db != NULL) {
            db[c] = (float)(db[c] + sum_b);
        }
    }
}

static void sum_rows_ref(float *out, const float *x, int64_t ldx, int64_t N, int64_t C)
{
    for (int64_t c = 0; c < C; c++) {
        double sum = 0;
        for (int64_t n = 0; n < N; n++) {
            sum += x[n * ldx + c];
        }
        out[c] = (float)(out[c] + sum);
    }
}

/* ---- rotary positions ---- */

static void rope_ref(float *y, int64_t ldy, const float *x, int64_t ldx, const int32_t *position, const float *cos_sin,
                     int64_t N, int64_t H, int64_t D, bool inverse, bool acc)
{
    const int64_t half = D / 2;
    for (int64_t n = 0; n < N; n++) {
        const float *cosines = cos_sin + (int64_t)position[n] * D, *sines = cosines + half;
        for (int64_t h = 0; h < H; h++) {
            const float *x_h = x + n * ldx + h * D;
            float *y_h = y + n * ldy + h * D;
            for (int64_t i = 0; i < half; i++) {
                const double a = x_h[i], b = x_h[i + half];
                const double c = cosines[i], s = inverse ? -sines[i] : sines[i];
                const double first = a * c - b * s, second = b * c + a * s;
                y_h[i] = (float)(acc ? y_h[i] + first : first);
                y_h[i + half] = (float)(acc ? y_h[i + half] + second : second);
            }
        }
    }
}

/* ---- softmax ----
 *
 * Everywhere the largest element is subtracted before exp, so nothing overflows.  A row of -INFINITY alone has no
 * softmax: it gives zeros and a log sum exp of -INFINITY.  NaN in a row makes its results NaN. */

/* log sum exp of x [n]. */
static double log_sum_exp(const float *x, int64_t n)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    if (max == -INFINITY) {
        max = 0; /* exp(-INFINITY - 0) is 0, and NaN stays NaN */
    }
    for (int64_t i = 0; i < n; i++) {
        sum += exp(x[i] - max);
    }
    return max + log(sum);
}

/* exp(x - lse), the softmax; 0 in a row of -INFINITY. */
static double probability(double x, double lse)
{
    return lse == -INFINITY ? 0 : exp(x - lse);
}

static void xent_ref(float *logits, int64_t ld, float *nll, float *lse, const int32_t *target, int64_t N, int64_t V,
                     float scale, float z_coef)
{
    for (int64_t n = 0; n < N; n++) {
        float *row = logits + n * ld;
        const double l = log_sum_exp(row, V);
        nll[n] = (float)(l - row[target[n]]);
        lse[n] = (float)l;
        if (scale == 0) {
            continue;
        }
        for (int64_t v = 0; v < V; v++) {
            const double onehot = v == target[n] ? 1 : 0;
            row[v] = (float)(scale * ((1 + 2 * z_coef * l) * probability(row[v], l) - onehot));
        }
    }
}

static float softmax_ref(float *x, int64_t n)
{
    const double lse = log_sum_exp(x, n);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)probability(x[i], lse);
    }
    return (float)lse;
}

static void attn_softmax_ref(float *s, int64_t ld, float *row_max, float *row_sum, float *factor, const int32_t *lo,
                             const int32_t *hi, int64_t m, int64_t n)
{
    for (int64_t r = 0; r < m; r++) {
        float *row = s + r * ld;
        float max = row_max[r];
        for (int64_t j = lo[r]; j < hi[r]; j++) {
            max = row[j] > max ? row[j] : max;
        }
        const double shift = max == -INFINITY ? 0 : max; /* nothing seen so far, or nothing but -INFINITY */
        double sum = 0;
        for (int64_t j = 0; j < n; j++) {
            const double e = j >= lo[r] && j < hi[r] ? exp(row[j] - shift) : 0;
            row[j] = (float)e;
            sum += e;
        }
        const double f = max == -INFINITY ? 1 : exp(row_max[r] - shift);
        factor[r] = (float)f;
        row_sum[r] = (float)(row_sum[r] * f + sum);
        row_max[r] = max;
    }
}

static void attn_dsoftmax_ref(float *s, float *dp, int64_t ld, const float *lse, const float *delta, const int32_t *lo,
                              const int32_t *hi, int64_t m, int64_t n)
{
    for (int64_t r = 0; r < m; r++) {
        for (int64_t j = 0; j < n; j++) {
            float *s_rj = &s[r * ld + j], *dp_rj = &dp[r * ld + j];
            const bool visible = j >= lo[r] && j < hi[r];
            const double p = visible ? probability(*s_rj, lse[r]) : 0;
            *s_rj = (float)p;
            *dp_rj = visible ? (float)(p * ((double)*dp_rj - delta[r])) : 0;
        }
    }
}

/* ---- optimiser ---- */

/* With g = grad_scale * gradient:
 *   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
 *   p = p (1 - lr decay) - lr (m / correction1) / (sqrt(v / correction2) + eps) */
static void adamw_ref(float *p, float *m, float *v, const float *g, int64_t n, const mm1_adamw_args *args)
{
    const double beta1 = args->beta1, beta2 = args->beta2;
    for (int64_t i = 0; i < n; i++) {
        const double grad = (double)args->grad_scale * g[i];
        const double m_new = beta1 * m[i] + (1 - beta1) * grad;
        const double v_new = beta2 * v[i] + (1 - beta2) * grad * grad;
        const double step = (m_new / args->correction1) / (sqrt(v_new / args->correction2) + args->eps);
        p[i] = (float)(p[i] * (1 - (double)args->lr * args->decay) - args->lr * step);
        m[i] = (float)m_new;
        v[i] = (float)v_new;
    }
}

static void adamw_bf16_ref(float *p, uint16_t *m, uint16_t *v, const float *g, int64_t n, const mm1_adamw_args *args,
                           const uint32_t key[2])
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t random = mm1_rng_mix((uint32_t)i, key);
        float m_new = mm1_bf16_to_f32(m[i]), v_new = mm1_bf16_to_f32(v[i]);
        adamw_ref(&p[i], &m_new, &v_new, &g[i], 1, args);
        m[i] = mm1_bf16_from_f32_random(m_new, random >> 16);
        v[i] = mm1_bf16_from_f32_random(v_new, random & 0xffffu);
    }
}

static void to_bf16_ref(uint16_t *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = mm1_bf16_from_f32(x[i]);
    }
}

static void from_bf16_ref(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = mm1_bf16_to_f32(x[i]);
    }
}

void mm1__kernels_rows_ref(mm1_kernels *k)
{
    k->add = add_ref;
    k->axpy = axpy_ref;
    k->scale = scale_ref;
    k->dot = dot_ref;
    k->all_finite = all_finite_ref;
    k->act_fwd = act_fwd_ref;
    k->act_bwd = act_bwd_ref;
    k->glu_fwd = glu_fwd_ref;
    k->glu_bwd = glu_bwd_ref;
    k->rmsnorm_fwd = rmsnorm_fwd_ref;
    k->rmsnorm_bwd = rmsnorm_bwd_ref;
    k->layernorm_fwd = layernorm_fwd_ref;
    k->layernorm_bwd = layernorm_bwd_ref;
    k->sum_rows = sum_rows_ref;
    k->rope = rope_ref;
    k->xent = xent_ref;
    k->softmax = softmax_ref;
    k->attn_softmax = attn_softmax_ref;
    k->attn_dsoftmax = attn_dsoftmax_ref;
    k->adamw = adamw_ref;
    k->adamw_bf16 = adamw_bf16_ref;
    k->to_bf16 = to_bf16_ref;
    k->from_bf16 = from_bf16_ref;
}

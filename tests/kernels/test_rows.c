/* Kernels of rows: every instruction set against the reference, the reference against formulas in double. */
#include "kernels/compare.h"

#include "kernels/simd_parts.h"

/* ---- every instruction set against the reference ---- */

/* a = n, number = alpha; alias: in place */
static void case_vectors(const mm1_kernels *k, run *r, const shape *s)
{
    const float *x = in(r, s->a, -2, 2), *z = in(r, s->a, -2, 2);
    float *sum = out(r, s->a), *axpy = out(r, s->a), *scaled = out(r, s->a), *dot = out(r, 1);
    k->add(sum, s->alias ? sum : x, z, s->a);
    k->axpy(axpy, x, s->a, s->number);
    k->scale(scaled, s->alias ? scaled : x, s->a, s->number);
    dot[0] = (float)k->dot(x, z, s->a);
}

static void plain_vectors_match_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < COMPARE_SIZES; i++) {
        for (int alias = 0; alias < 2; alias++) {
            compare(case_vectors, 1e-5, 1e-6, .a = compare_sizes[i], .alias = alias, .number = 1.7f);
        }
    }
    compare(case_vectors, 1e-4, 1e-6, .a = 4096, .number = -3);
    compare(case_vectors, 2e-4, 1e-6, .a = 3 * 4096 + 13, .number = 0);
}

static void all_finite_finds_one_bad_number_anywhere(void **state)
{
    (void)state;
    const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
    float x[300];
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        for (int s = 0; s < COMPARE_SIZES; s++) {
            const int64_t n = compare_sizes[s];
            check_fill(x, 300, -3e38, 3e38, 1);
            x[n] = NAN; /* just outside */
            assert_true(k->all_finite(x, n));
            for (int64_t i = 0; i < n; i++) {
                const float keep = x[i];
                x[i] = bad[i % 4];
                assert_false(k->all_finite(x, n));
                x[i] = keep;
            }
        }
    }
}

/* a = n */
static void case_act(const mm1_kernels *k, run *r, const shape *s)
{
    const float *x = in(r, s->a, -7, 7), *dy = in(r, s->a, -2, 2);
    float *y = out(r, s->a), *dx = out(r, s->a);
    k->act_fwd(y, s->alias ? y : x, s->a, (mm1_act)s->act);
    if (s->alias && !s->acc) {
        k->act_bwd(dx, dx, x, s->a, (mm1_act)s->act, false);
    } else {
        k->act_bwd(dx, dy, x, s->a, (mm1_act)s->act, s->acc);
    }
}

static void activations_match_the_reference(void **state)
{
    (void)state;
    for (int act = 0; act < MM1_ACT_COUNT; act++) {
        for (int i = 0; i < COMPARE_SIZES; i++) {
            for (int flags = 0; flags < 4; flags++) {
                compare(case_act, 1e-6, 1e-6, .a = compare_sizes[i], .act = act, .acc = flags & 1, .alias = flags & 2);
            }
        }
    }
}

static void case_glu(const mm1_kernels *k, run *r, const shape *s)
{
    const float *gate = in(r, s->a, -4, 4), *up = in(r, s->a, -4, 4), *dy = in(r, s->a, -2, 2);
    float *y = out(r, s->a), *dgate = out(r, s->a), *dup = out(r, s->a);
    k->glu_fwd(y, gate, up, s->a, (mm1_act)s->act);
    if (s->alias) {
        memcpy(dup, dy, (size_t)s->a * sizeof *dup);
    }
    k->glu_bwd(dgate, dup, s->alias ? dup : dy, gate, up, s->a, (mm1_act)s->act);
}

static void gated_units_match_the_reference(void **state)
{
    (void)state;
    for (int act = 0; act < MM1_ACT_COUNT; act++) {
        for (int i = 0; i < COMPARE_SIZES; i++) {
            for (int alias = 0; alias < 2; alias++) {
                compare(case_glu, 4e-6, 1e-6, .a = compare_sizes[i], .act = act, .alias = alias);
            }
        }
    }
}

/* Extreme arguments: activations stay finite and reach their limits. */
static void activations_of_huge_arguments_are_their_limits(void **state)
{
    (void)state;
    const float x[] = {-3e38f, -1e4f, -200, -90, -40, 40, 90, 200, 1e4f, 3e38f};
    const float ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    float y[10], dx[10];
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        for (int act = MM1_ACT_RELU; act < MM1_ACT_COUNT; act++) {
            k->act_fwd(y, x + 1, 8, (mm1_act)act);
            k->act_bwd(dx, ones, x + 1, 8, (mm1_act)act, false);
            for (int i = 0; i < 8; i++) {
                const float high = act == MM1_ACT_SIGMOID ? 1 : x[i + 1];
                const float slope = i < 4 || act == MM1_ACT_SIGMOID ? 0 : 1;
                const float value = i < 4 ? 0 : high;
                check_close(&y[i], &value, 1, 1e-15, 1e-6);
                check_close(&dx[i], &slope, 1, 1e-15, 1e-6);
            }
            float nan_in = NAN, nan_out = 0;
            k->act_fwd(&nan_out, &nan_in, 1, (mm1_act)act);
            assert_true(isnan(nan_out));
        }
    }
}

/* a = N, b = C; flag: with bias */
static void case_norm(const mm1_kernels *k, run *r, const shape *s)
{
    const int64_t n = s->a * s->b;
    const float *x = in(r, n, -3, 4), *w = in(r, s->b, -2, 2), *b = in(r, s->b, -1, 1), *dy = in(r, n, -2, 2);
    float *y = out(r, n), *mean = out(r, s->a), *rstd = out(r, s->a), *dx = out(r, n);
    float *dw = out(r, s->b), *db = out(r, s->b);
    if (s->d == 0) {
        k->rmsnorm_fwd(y, rstd, x, w, s->a, s->b, 1e-5f);
        k->rmsnorm_bwd(dx, dw, dy, x, w, rstd, s->a, s->b, s->acc);
    } else {
        k->layernorm_fwd(y, mean, rstd, x, w, s->flag ? b : NULL, s->a, s->b, 1e-5f);
        k->layernorm_bwd(dx, dw, s->flag ? db : NULL, dy, x, w, mean, rstd, s->a, s->b, s->acc);
    }
}

static void norms_match_the_reference(void **state)
{
    (void)state;
    const int64_t rows[] = {0, 1, 2, 3, 15, 16, 17, 33};
    for (int n = 0; n < 8; n++) {
        for (int i = 1; i < COMPARE_SIZES; i++) {
            const int64_t C = compare_sizes[i];
            /* with a single or nearly equal elements rstd is huge and cancels what rounding it met */
            const double atol = C == 1 ? 5e-4 : 2e-4;
            compare(case_norm, 2e-5, 2e-6, .a = rows[n], .b = C, .acc = n & 1);
            compare(case_norm, atol, 2e-5, .a = rows[n], .b = C, .d = 1, .acc = i & 1, .flag = n & 1);
        }
    }
    compare(case_norm, 2e-5, 2e-6, .a = 2, .b = 5000);
    compare(case_norm, 2e-5, 2e-6, .a = 2, .b = 5000, .d = 1, .flag = true, .acc = true);
}

/* a = N, b = C, c = stride */
static void case_sum_rows(const mm1_kernels *k, run *r, const shape *s)
{
    const float *x = in(r, s->a * s->c, -1, 2);
    k->sum_rows(out(r, s->b), x, s->c, s->a, s->b);
}

static void sums_of_rows_match_the_reference(void **state)
{
    (void)state;
    for (int n = 0; n < COMPARE_SIZES; n++) {
        for (int i = 0; i < COMPARE_SIZES; i++) {
            compare(case_sum_rows, 2e-5, 1e-6, .a = compare_sizes[n], .b = compare_sizes[i],
                    .c = compare_sizes[i] + n % 3);
        }
    }
}

/* a = N, b = H, c = D, d = more stride; flag: inverse */
static void case_rope(const mm1_kernels *k, run *r, const shape *s)
{
    const int64_t ld = s->b * s->c + s->d;
    const float *x = in(r, s->a * (ld + 1), -2, 2), *table = in(r, 50 * s->c, -1, 1);
    const int32_t *position = in_i32(r, s->a, 50);
    float *y = out(r, s->a * ld);
    if (s->alias) {
        k->rope(y, ld, y, ld, position, table, s->a, s->b, s->c, s->flag, false);
    } else {
        k->rope(y, ld, x, ld + 1, position, table, s->a, s->b, s->c, s->flag, s->acc);
    }
}

static void rotary_positions_match_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < COMPARE_SIZES; i++) {
        for (int flags = 0; flags < 8; flags++) {
            compare(case_rope, 1e-6, 1e-6, .a = 3, .b = flags % 3, .c = 2 * compare_sizes[i], .d = i % 4,
                    .acc = flags & 1, .alias = flags & 2, .flag = flags & 4);
            compare(case_rope, 1e-6, 1e-6, .a = i, .b = 2, .c = 2 * compare_sizes[i], .d = i % 4, .acc = flags & 1,
                    .alias = flags & 2, .flag = flags & 4);
        }
    }
}

/* a = N, b = V, c = more stride, number = scale; flag: z_coef is not 0; d = half the range of the logits */
static void case_xent(const mm1_kernels *k, run *r, const shape *s)
{
    const int32_t *target = in_i32(r, s->a, s->b);
    float *nll = out(r, s->a), *lse = out(r, s->a), *logits = out(r, s->a * (s->b + s->c));
    check_fill(logits, s->a * (s->b + s->c), (double)-s->d, (double)s->d, 3);
    k->xent(logits, s->b + s->c, nll, lse, target, s->a, s->b, s->number, s->flag ? 0.01f : 0);
}

static void cross_entropy_matches_the_reference(void **state)
{
    (void)state;
    for (int i = 1; i < COMPARE_SIZES; i++) {
        for (int flags = 0; flags < 4; flags++) {
            compare(case_xent, 2e-6, 2e-6, .a = i % 4, .b = compare_sizes[i], .c = i % 3, .d = 6,
                    .number = flags & 1 ? 0.25f : 0, .flag = flags & 2);
        }
    }
    compare(case_xent, 2e-6, 2e-6, .a = 3, .b = 9001, .d = 10, .number = 1, .flag = true);
    compare(case_xent, 2e-4, 1e-5, .a = 5, .b = 100, .d = 10000, .number = 1, .flag = true);
}

/* a = n, d = half the range */
static void case_softmax(const mm1_kernels *k, run *r, const shape *s)
{
    float *x = out(r, s->a), *lse = out(r, 1);
    check_fill(x, s->a, (double)-s->d, (double)s->d, 3);
    if (s->flag) {
        for (int64_t i = 0; i < s->a; i += 2) {
            x[i] = -INFINITY;
        }
    }
    const float l = k->softmax(x, s->a);
    lse[0] = isfinite(l) ? l : 12345;
    assert_true(isfinite(l) || (l == -INFINITY && s->a < 2));
}

static void softmax_matches_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < COMPARE_SIZES; i++) {
        for (int flag = 0; flag < 2; flag++) {
            compare(case_softmax, 1e-7, 3e-6, .a = compare_sizes[i], .d = 5, .flag = flag);
            compare(case_softmax, 1e-7, 3e-6, .a = compare_sizes[i], .d = 10000, .flag = flag);
        }
    }
}

/* Intervals of row r of m in a tile of n columns: all, none, a middle, one at each end, ... */
static void intervals(int32_t *lo, int32_t *hi, int64_t m, int64_t n)
{
    for (int64_t r = 0; r < m; r++) {
        const int64_t begin[] = {0, 0, n / 3, 0, n - 1, n, n / 2};
        const int64_t end[] = {n, 0, n - n / 4, 1, n, n, n / 2 - 1};
        lo[r] = (int32_t)(begin[r % 7] < 0 ? 0 : begin[r % 7]);
        hi[r] = (int32_t)(end[r % 7] < 0 || end[r % 7] > n ? 0 : end[r % 7]);
    }
}

/* a = m, b = n, c = more stride, d = half the range of the scores; flag: rows have seen nothing before */
static void case_attn_softmax(const mm1_kernels *k, run *r, const shape *s)
{
    const int64_t ld = s->b + s->c;
    int32_t *lo = in_i32(r, s->a, 1), *hi = in_i32(r, s->a, 1);
    float *scores = out(r, s->a * ld), *max = out(r, s->a), *sum = out(r, s->a), *factor = out(r, s->a);
    intervals(lo, hi, s->a, s->b);
    check_fill(scores, s->a * ld, (double)-s->d, (double)s->d, 3);
    for (int64_t i = 0; i < s->a; i++) {
        max[i] = s->flag ? -INFINITY : max[i];
        sum[i] = s->flag ? 0 : fabsf(sum[i]);
    }
    k->attn_softmax(scores, ld, max, sum, factor, lo, hi, s->a, s->b);
    for (int64_t i = 0; i < s->a; i++) {
        assert_true(isfinite(max[i]) || (s->flag && lo[i] >= hi[i] && sum[i] == 0 && factor[i] == 1));
        max[i] = isfinite(max[i]) ? max[i] : 0; /* differences of infinities do not compare */
    }
}

/* The same sizes. */
static void case_attn_dsoftmax(const mm1_kernels *k, run *r, const shape *s)
{
    const int64_t ld = s->b + s->c;
    int32_t *lo = in_i32(r, s->a, 1), *hi = in_i32(r, s->a, 1);
    float *lse = in(r, s->a, 1, 2), *delta = in(r, s->a, -1, 1);
    float *scores = out(r, s->a * ld), *dp = out(r, s->a * ld);
    intervals(lo, hi, s->a, s->b);
    check_fill(scores, s->a * ld, -s->d, 1, 3);
    for (int64_t i = 0; s->flag && i < s->a; i += 2) {
        lse[i] = -INFINITY;
    }
    k->attn_dsoftmax(scores, dp, ld, lse, delta, lo, hi, s->a, s->b);
}

static void attention_softmax_matches_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < COMPARE_SIZES; i++) {
        for (int flag = 0; flag < 2; flag++) {
            const int64_t n = compare_sizes[i];
            compare(case_attn_softmax, 1e-6, 2e-6, .a = 15, .b = n, .c = i % 3, .d = 4, .flag = flag);
            compare(case_attn_softmax, 1e-6, 2e-6, .a = 15, .b = n, .c = i % 3, .d = 10000, .flag = flag);
            compare(case_attn_dsoftmax, 1e-6, 2e-6, .a = 15, .b = n, .c = i % 3, .d = 4, .flag = flag);
            compare(case_attn_dsoftmax, 1e-6, 2e-6, .a = 15, .b = n, .c = i % 3, .d = 10000, .flag = flag);
        }
    }
}

/* a = n */
static void case_adamw(const mm1_kernels *k, run *r, const shape *s)
{
    const mm1_adamw_args args = {.lr = 0.01f,
                                 .beta1 = 0.9f,
                                 .beta2 = 0.95f,
                                 .eps = 1e-8f,
                                 .decay = 0.1f,
                                 .correction1 = 0.271f,
                                 .correction2 = 0.142625f,
                                 .grad_scale = 0.7f};
    const float *g = in(r, s->a, -1, 1);
    float *p = out(r, s->a), *m = out(r, s->a), *v = out(r, s->a);
    check_fill(v, s->a, 0, 1, 9);
    k->adamw(p, m, v, g, s->a, &args);
}

static void adamw_matches_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < COMPARE_SIZES; i++) {
        compare(case_adamw, 1e-7, 1e-6, .a = compare_sizes[i]);
    }
}

/* ---- vector functions ---- */

enum { DENSE = 4096 };

/* Every step-th float from lo to hi of one sign, in blocks of at most DENSE; 0 at the end. */
static int64_t next_floats(float *x, uint32_t *bits, uint32_t last, uint32_t step)
{
    int64_t n = 0;
    while (n < DENSE && *bits <= last) {
        memcpy(&x[n++], bits, sizeof *bits);
        *bits += step;
    }
    return n;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double ulp(double x)
{
    return ldexp(1, (int)floor(log2(x)) - 23);
}

static void vector_exp_is_within_one_ulp(void **state)
{
    (void)state;
    static float x[DENSE], y[DENSE];
    if (mm1_kernels_for(MM1_ISA_AVX2) == NULL) {
        skip();
    }
    double worst = 0;
    for (int sign = 0; sign < 2; sign++) {
        uint32_t bits = bits_of(1e-9f);
        for (int64_t n; (n = next_floats(x, &bits, bits_of(sign ? 87.3f : 88.3f), 211)) > 0;) {
            for (int64_t i = 0; i < n; i++) {
                x[i] = sign ? -x[i] : x[i];
            }
            mm1__simd_exp_avx2(y, x, n);
            for (int64_t i = 0; i < n; i++) {
                const double want = exp((double)x[i]);
                worst = fmax(worst, fabs((double)y[i] - want) / ulp(want));
            }
        }
    }
    print_message("vector exp: at most %.3f ulp\n", worst);
    assert_true(worst <= 1);
    const float edges[] = {0, -0.0f, -87.4f, -1e30f, -INFINITY, 100, INFINITY, NAN};
    mm1__simd_exp_avx2(y, edges, 8);
    assert_true(y[0] == 1 && y[1] == 1 && y[2] == 0 && y[3] == 0 && y[4] == 0);
    assert_true(y[5] > 2.2e38f && y[5] == y[6] && isfinite(y[6]) && isnan(y[7]));
}

static void vector_normal_cdf_is_within_its_bound(void **state)
{
    (void)state;
    static float x[DENSE], cdf[DENSE], density[DENSE];
    if (mm1_kernels_for(MM1_ISA_AVX2) == NULL) {
        skip();
    }
    double worst = 0, worst_tail = 0, worst_density = 0;
    for (int sign = 0; sign < 2; sign++) {
        uint32_t bits = bits_of(1e-9f);
        for (int64_t n; (n = next_floats(x, &bits, bits_of(40), 211)) > 0;) {
            for (int64_t i = 0; i < n; i++) {
                x[i] = sign ? -x[i] : x[i];
            }
            mm1__simd_normal_cdf_avx2(cdf, density, x, n);
            for (int64_t i = 0; i < n; i++) {
                const double z = (double)x[i], want = 0.5 * erfc(-z * M_SQRT1_2);
                const double error = fabs((double)cdf[i] - want);
                worst = fmax(worst, error);
                if (z <= 0 && z >= -5) {
                    worst_tail = fmax(worst_tail, error / want);
                }
                worst_density = fmax(worst_density, fabs((double)density[i] - exp(-0.5 * z * z) / sqrt(2 * M_PI)));
            }
        }
    }
    print_message("vector normal cdf: at most %.3g, relative in the tail %.3g, density %.3g\n", worst, worst_tail,
                  worst_density);
    assert_true(worst <= 2e-7);
    assert_true(worst_tail <= 1e-6);
    assert_true(worst_density <= 1e-7);
}

/* ---- the reference against formulas in double and central differences ---- */

/* One function of x with what it needs; each loss reads the fields it knows. */
typedef struct problem {
    int64_t N, C;
    double x[256], w[64], b[64], dy[256];
    const double *table;
    const int32_t *index;
    int act;
    double eps, scale, z;
} problem;

static double act_formula(double x, int act)
{
    switch (act) {
    case MM1_ACT_RELU: return fmax(x, 0);
    case MM1_ACT_GELU: return x * 0.5 * (1 + erf(x / sqrt(2)));
    case MM1_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3))));
    case MM1_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case MM1_ACT_SILU: return x / (1 + exp(-x));
    case MM1_ACT_SIGMOID: return 1 / (1 + exp(-x));
    default: return x;
    }
}

static double act_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t i = 0; i < p->C; i++) {
        loss += p->dy[i] * act_formula(p->x[i], p->act);
    }
    return loss;
}

/* x: C of gate, then C of up */
static double glu_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t i = 0; i < p->C; i++) {
        loss += p->dy[i] * act_formula(p->x[i], p->act) * p->x[p->C + i];
    }
    return loss;
}

/* got += start, as acc asks: the gradient alone is got - start. */
static void subtract(float *got, const float *start, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        got[i] -= start[i];
    }
}

static void backward_of_activations_matches_differences(void **state)
{
    (void)state;
    const mm1_kernels *k = mm1_kernels_for(MM1_ISA_REF);
    static problem p;
    float x[64], dy[64], y[64], dx[64], start[64];
    check_fill(dy, 64, -1, 1, 2);
    to_double(p.dy, dy, 64);
    check_fill(start, 64, -1, 1, 3);
    for (p.act = 0; p.act < MM1_ACT_COUNT; p.act++) {
        check_fill(x, 64, -5, 5, 1);
        to_double(p.x, x, 64);
        p.C = 64;
        k->act_fwd(y, x, 64, (mm1_act)p.act);
        for (int i = 0; i < 64; i++) {
            const float want = (float)act_formula(p.x[i], p.act);
            check_close(&y[i], &want, 1, 1e-9, 2e-7);
        }
        k->act_bwd(dx, dy, x, 64, (mm1_act)p.act, false);
        check_gradient(act_loss, &p, p.x, 64, dx, 1e-6);
        memcpy(dx, start, sizeof dx);
        k->act_bwd(dx, dy, x, 64, (mm1_act)p.act, true);
        subtract(dx, start, 64);
        check_gradient(act_loss, &p, p.x, 64, dx, 1e-6);
        p.C = 32;
        k->glu_bwd(dx, dx + 32, dy, x, x + 32, 32, (mm1_act)p.act);
        check_gradient(glu_loss, &p, p.x, 64, dx, 1e-6);
    }
}

static double rmsnorm_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t n = 0; n < p->N; n++) {
        const double *x = p->x + n * p->C;
        double mean_sq = 0;
        for (int64_t c = 0; c < p->C; c++) {
            mean_sq += x[c] * x[c] / (double)p->C;
        }
        for (int64_t c = 0; c < p->C; c++) {
            loss += p->dy[n * p->C + c] * x[c] / sqrt(mean_sq + p->eps) * p->w[c];
        }
    }
    return loss;
}

static double layernorm_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t n = 0; n < p->N; n++) {
        const double *x = p->x + n * p->C;
        double mean = 0, var = 0;
        for (int64_t c = 0; c < p->C; c++) {
            mean += x[c] / (double)p->C;
        }
        for (int64_t c = 0; c < p->C; c++) {
            var += (x[c] - mean) * (x[c] - mean) / (double)p->C;
        }
        for (int64_t c = 0; c < p->C; c++) {
            loss += p->dy[n * p->C + c] * ((x[c] - mean) / sqrt(var + p->eps) * p->w[c] + p->b[c]);
        }
    }
    return loss;
}

static void backward_of_norms_matches_differences(void **state)
{
    (void)state;
    const mm1_kernels *k = mm1_kernels_for(MM1_ISA_REF);
    static problem p;
    enum { N = 3, C = 9 };
    float x[N * C], dy[N * C], w[C], b[C], y[N * C], mean[N], rstd[N], dx[N * C], dw[C], db[C], start[N * C];
    check_fill(x, N * C, -2, 3, 1);
    check_fill(dy, N * C, -1, 1, 2);
    check_fill(w, C, -2, 2, 3);
    check_fill(b, C, -2, 2, 4);
    check_fill(start, N * C, -1, 1, 5);
    to_double(p.x, x, N * C);
    to_double(p.dy, dy, N * C);
    to_double(p.w, w, C);
    to_double(p.b, b, C);
    p.N = N;
    p.C = C;
    p.eps = 1e-5f;
    for (int acc = 0; acc < 2; acc++) {
        memcpy(dx, start, sizeof dx);
        memcpy(dw, start, sizeof dw);
        memcpy(db, start, sizeof db);
        k->rmsnorm_fwd(y, rstd, x, w, N, C, 1e-5f);
        double loss = 0;
        for (int i = 0; i < N * C; i++) {
            loss += p.dy[i] * (double)y[i];
        }
        assert_true(fabs(loss - rmsnorm_loss(&p)) < 1e-5);
        k->rmsnorm_bwd(dx, dw, dy, x, w, rstd, N, C, acc);
        subtract(dw, start, C);
        if (acc) {
            subtract(dx, start, N * C);
        }
        check_gradient(rmsnorm_loss, &p, p.x, N * C, dx, 2e-6);
        check_gradient(rmsnorm_loss, &p, p.w, C, dw, 2e-6);

        memcpy(dx, start, sizeof dx);
        memcpy(dw, start, sizeof dw);
        k->layernorm_fwd(y, mean, rstd, x, w, b, N, C, 1e-5f);
        loss = 0;
        for (int i = 0; i < N * C; i++) {
            loss += p.dy[i] * (double)y[i];
        }
        assert_true(fabs(loss - layernorm_loss(&p)) < 1e-5);
        k->layernorm_bwd(dx, dw, db, dy, x, w, mean, rstd, N, C, acc);
        subtract(dw, start, C);
        subtract(db, start, C);
        if (acc) {
            subtract(dx, start, N * C);
        }
        check_gradient(layernorm_loss, &p, p.x, N * C, dx, 2e-6);
        check_gradient(layernorm_loss, &p, p.w, C, dw, 2e-6);
        check_gradient(layernorm_loss, &p, p.b, C, db, 2e-6);
    }
}

enum { ROPE_N = 4, ROPE_H = 2, ROPE_D = 6, ROPE_SIZE = ROPE_N * ROPE_H * ROPE_D };

/* Rotation of the pair (x[i], x[i + D/2]) by position * 10000^(-2 i / D), as complex numbers. */
static double rope_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t i = 0; i < ROPE_SIZE; i++) {
        const int64_t n = i / (ROPE_H * ROPE_D), d = i % ROPE_D, half = ROPE_D / 2, j = d % half;
        const double angle = p->index[n] * pow(10000, -2.0 * (double)j / ROPE_D);
        const double a = p->x[i - d + j], b = p->x[i - d + j + half];
        loss += p->dy[i] * (d < half ? a * cos(angle) - b * sin(angle) : a * sin(angle) + b * cos(angle));
    }
    return loss;
}

static void rotary_backward_is_the_inverse_and_matches_differences(void **state)
{
    (void)state;
    static problem p;
    const int32_t position[ROPE_N] = {0, 3, 1, 7};
    float table[8 * ROPE_D], x[ROPE_SIZE], y[ROPE_SIZE], dy[ROPE_SIZE], dx[ROPE_SIZE];
    for (int t = 0; t < 8; t++) {
        for (int j = 0; j < ROPE_D / 2; j++) {
            const double angle = t * pow(10000, -2.0 * j / ROPE_D);
            table[t * ROPE_D + j] = (float)cos(angle);
            table[t * ROPE_D + ROPE_D / 2 + j] = (float)sin(angle);
        }
    }
    check_fill(x, ROPE_SIZE, -1, 1, 1);
    check_fill(dy, ROPE_SIZE, -1, 1, 2);
    to_double(p.x, x, ROPE_SIZE);
    to_double(p.dy, dy, ROPE_SIZE);
    p.index = position;
    const int64_t ld = ROPE_H * ROPE_D;
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        k->rope(y, ld, x, ld, position, table, ROPE_N, ROPE_H, ROPE_D, false, false);
        double loss = 0;
        for (int i = 0; i < ROPE_SIZE; i++) {
            loss += p.dy[i] * (double)y[i];
        }
        assert_true(fabs(loss - rope_loss(&p)) < 2e-6);
        k->rope(dx, ld, dy, ld, position, table, ROPE_N, ROPE_H, ROPE_D, true, false);
        check_gradient(rope_loss, &p, p.x, ROPE_SIZE, dx, 1e-6);
        k->rope(y, ld, y, ld, position, table, ROPE_N, ROPE_H, ROPE_D, true, false);
        check_close(y, x, ROPE_SIZE, 3e-7, 0);
    }
}

static double lse_formula(const double *x, int64_t n)
{
    double max = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++) {
        max = fmax(max, x[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        sum += exp(x[i] - max);
    }
    return max + log(sum);
}

static double xent_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t n = 0; n < p->N; n++) {
        const double lse = lse_formula(p->x + n * p->C, p->C);
        loss += p->scale * (lse - p->x[n * p->C + p->index[n]] + p->z * lse * lse);
    }
    return loss;
}

static void gradient_of_cross_entropy_matches_differences(void **state)
{
    (void)state;
    static problem p;
    enum { N = 3, V = 11 };
    const int32_t target[N] = {0, 10, 4};
    float x[N * V], row[N * V], nll[N], lse[N];
    check_fill(x, N * V, -3, 3, 1);
    to_double(p.x, x, N * V);
    p.N = N;
    p.C = V;
    p.index = target;
    p.scale = 0.5;
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        for (int z = 0; z < 2 && k != NULL; z++) {
            p.z = z ? 0.125 : 0;
            memcpy(row, x, sizeof x);
            k->xent(row, V, nll, lse, target, N, V, 0, (float)p.z);
            assert_memory_equal(row, x, sizeof x);
            k->xent(row, V, nll, lse, target, N, V, 0.5f, (float)p.z);
            for (int n = 0; n < N; n++) {
                const float want = (float)lse_formula(p.x + n * V, V);
                const float want_nll = (float)(lse_formula(p.x + n * V, V) - p.x[n * V + target[n]]);
                check_close(&lse[n], &want, 1, 0, 3e-7);
                check_close(&nll[n], &want_nll, 1, 1e-6, 3e-7);
            }
            check_gradient(xent_loss, &p, p.x, N * V, row, 1e-6);
        }
    }
}

/* Huge, hidden and missing logits. */
static void softmax_and_cross_entropy_hold_at_the_edges(void **state)
{
    (void)state;
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        float x[20], nll[1], lse[1];
        const int32_t target = 3;
        for (int i = 0; i < 20; i++) {
            x[i] = i % 2 ? 1e4f : -1e4f;
        }
        k->xent(x, 20, nll, lse, &target, 1, 20, 1, 0);
        assert_true(fabsf(nll[0] - logf(10)) < 1e-5f && fabsf(lse[0] - 1e4f) < 3);
        for (int i = 0; i < 20; i++) {
            assert_true(fabsf(x[i] - ((i % 2 ? 0.1f : 0) - (i == 3 ? 1.0f : 0))) < 1e-6f);
        }
        for (int i = 0; i < 20; i++) {
            x[i] = i == 3 || i == 19 ? 2 : -INFINITY;
        }
        k->xent(x, 20, nll, lse, &target, 1, 20, 1, 0.5f);
        assert_true(fabsf(nll[0] - logf(2)) < 1e-6f && x[0] == 0 && isfinite(x[3]) && isfinite(x[19]));
        for (int i = 0; i < 20; i++) {
            x[i] = -INFINITY;
        }
        assert_true(k->softmax(x, 20) == -INFINITY);
        for (int i = 0; i < 20; i++) {
            assert_true(x[i] == 0);
        }
        for (int at = 0; at < 20; at++) { /* NaN is not hidden */
            check_fill(x, 20, -1, 1, 1);
            x[at] = NAN;
            assert_true(isnan(k->softmax(x, 20)));
            assert_true(isnan(x[0]) && isnan(x[19]));
        }
        const int32_t lo[1] = {2}, hi[1] = {9};
        float max = -INFINITY, sum = 0, factor = 7;
        for (int i = 0; i < 20; i++) {
            x[i] = -INFINITY; /* seen, but nothing there */
        }
        k->attn_softmax(x, 20, &max, &sum, &factor, lo, hi, 1, 20);
        assert_true(max == -INFINITY && sum == 0 && factor == 1);
        for (int i = 0; i < 20; i++) {
            assert_true(x[i] == 0);
        }
    }
}

/* Two tiles in turn, rescaled by factor, are one softmax. */
static void attention_softmax_in_two_tiles_is_one_softmax(void **state)
{
    (void)state;
    enum { M = 4, N = 37, CUT = 20 };
    const int32_t lo[M] = {0, 5, 25, 9}, hi[M] = {37, 30, 37, 9}; /* everything, a middle, only the second, nothing */
    float s[M * N], parts[M * N], max[M], sum[M], factor[M];
    check_fill(s, M * N, -50, 50, 1);
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        memcpy(parts, s, sizeof s);
        for (int r = 0; r < M; r++) {
            max[r] = -INFINITY;
            sum[r] = 0;
        }
        for (int tile = 0; tile < 2; tile++) {
            const int32_t begin = tile ? CUT : 0, n = tile ? N - CUT : CUT;
            int32_t l[M], h[M];
            for (int r = 0; r < M; r++) {
                l[r] = lo[r] - begin < 0 ? 0 : (lo[r] - begin > n ? n : lo[r] - begin);
                h[r] = hi[r] - begin < 0 ? 0 : (hi[r] - begin > n ? n : hi[r] - begin);
            }
            k->attn_softmax(parts + begin, N, max, sum, factor, l, h, M, n);
            for (int r = 0; r < M; r++) {
                for (int j = 0; j < begin; j++) {
                    parts[r * N + j] *= factor[r];
                }
            }
        }
        for (int r = 0; r < M; r++) {
            float want[N] = {0};
            memcpy(want + lo[r], s + r * N + lo[r], (size_t)(hi[r] - lo[r]) * sizeof(float));
            const float lse = mm1_kernels_for(MM1_ISA_REF)->softmax(want + lo[r], hi[r] - lo[r]);
            for (int j = 0; j < N; j++) {
                parts[r * N + j] = sum[r] > 0 ? parts[r * N + j] / sum[r] : parts[r * N + j];
            }
            check_close(parts + r * N, want, N, 1e-9, 4e-6);
            if (lo[r] < hi[r]) {
                assert_true(fabsf(max[r] + logf(sum[r]) - lse) < 1e-5f);
            } else {
                assert_true(max[r] == -INFINITY && sum[r] == 0 && factor[r] == 1);
            }
        }
    }
}

static double softmax_dot_loss(const void *ctx)
{
    const problem *p = ctx;
    const double lse = lse_formula(p->x, p->C);
    double loss = 0;
    for (int64_t i = 0; i < p->C; i++) {
        loss += p->dy[i] * exp(p->x[i] - lse);
    }
    return loss;
}

static void backward_of_attention_softmax_matches_differences(void **state)
{
    (void)state;
    static problem p;
    enum { N = 13 };
    float s[N], dp[N];
    check_fill(s, N, -2, 2, 1);
    check_fill(dp, N, -2, 2, 2);
    to_double(p.x, s, N);
    to_double(p.dy, dp, N);
    p.C = N;
    const float lse = (float)lse_formula(p.x, N), delta = (float)softmax_dot_loss(&p);
    const int32_t lo = 0, hi = N;
    mm1_kernels_for(MM1_ISA_REF)->attn_dsoftmax(s, dp, N, &lse, &delta, &lo, &hi, 1, N);
    check_gradient(softmax_dot_loss, &p, p.x, N, dp, 1e-6);
}

static void adamw_follows_its_formula_over_steps(void **state)
{
    (void)state;
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        /* torch.optim.AdamW(lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1), gradients 2 p after each step */
        float p[3] = {1, -0.5f, 0.25f}, m[3] = {0}, v[3] = {0};
        const float want[3] = {0.467374515f, -0.010519613f, -0.129998680f};
        for (int t = 1; t <= 5; t++) {
            const float g[3] = {p[0], p[1], p[2]};
            const mm1_adamw_args args = {.lr = 0.1f,
                                         .beta1 = 0.9f,
                                         .beta2 = 0.95f,
                                         .eps = 1e-8f,
                                         .decay = 0.1f,
                                         .correction1 = (float)(1 - pow(0.9, t)),
                                         .correction2 = (float)(1 - pow(0.95, t)),
                                         .grad_scale = 2};
            k->adamw(p, m, v, g, 3, &args);
        }
        check_close(p, want, 3, 1e-6, 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_vectors_match_the_reference),
        cmocka_unit_test(all_finite_finds_one_bad_number_anywhere),
        cmocka_unit_test(activations_match_the_reference),
        cmocka_unit_test(gated_units_match_the_reference),
        cmocka_unit_test(activations_of_huge_arguments_are_their_limits),
        cmocka_unit_test(norms_match_the_reference),
        cmocka_unit_test(sums_of_rows_match_the_reference),
        cmocka_unit_test(rotary_positions_match_the_reference),
        cmocka_unit_test(cross_entropy_matches_the_reference),
        cmocka_unit_test(softmax_matches_the_reference),
        cmocka_unit_test(attention_softmax_matches_the_reference),
        cmocka_unit_test(adamw_matches_the_reference),
        cmocka_unit_test(vector_exp_is_within_one_ulp),
        cmocka_unit_test(vector_normal_cdf_is_within_its_bound),
        cmocka_unit_test(backward_of_activations_matches_differences),
        cmocka_unit_test(backward_of_norms_matches_differences),
        cmocka_unit_test(rotary_backward_is_the_inverse_and_matches_differences),
        cmocka_unit_test(gradient_of_cross_entropy_matches_differences),
        cmocka_unit_test(softmax_and_cross_entropy_hold_at_the_edges),
        cmocka_unit_test(attention_softmax_in_two_tiles_is_one_softmax),
        cmocka_unit_test(backward_of_attention_softmax_matches_differences),
        cmocka_unit_test(adamw_follows_its_formula_over_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

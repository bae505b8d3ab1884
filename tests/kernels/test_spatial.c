/* Kernels of images: every instruction set against the reference, the reference against formulas in double. */
#include "kernels/compare.h"

/* ---- every instruction set against the reference ---- */

/* a = I, b = H, c = W, d = C */
static void case_dwconv(const mm1_kernels *k, run *r, const shape *s)
{
    const int64_t n = s->a * s->b * s->c * s->d;
    const float *x = in(r, n, -2, 2), *dy = in(r, n, -2, 2), *w = in(r, 9 * s->d, -1, 1);
    float *y = out(r, n), *dx = out(r, n), *dw = out(r, 9 * s->d);
    k->dwconv_fwd(y, x, w, s->a, s->b, s->c, s->d);
    k->dwconv_bwd_x(dx, dy, w, s->a, s->b, s->c, s->d, s->acc);
    k->dwconv_bwd_w(dw, dy, x, s->a, s->b, s->c, s->d);
}

static void depthwise_convolution_matches_the_reference(void **state)
{
    (void)state;
    const int64_t sides[] = {1, 2, 3, 4, 5, 6, 7, 9, 14};
    for (int h = 0; h < 9; h++) {
        for (int w = 0; w < 9; w++) {
            compare(case_dwconv, 1e-4, 1e-6, .a = 2, .b = sides[h], .c = sides[w], .d = compare_sizes[(h + w) % 12],
                    .acc = w & 1);
        }
    }
    for (int i = 0; i < COMPARE_SIZES; i++) {
        compare(case_dwconv, 1e-5, 1e-6, .a = 1, .b = 1, .c = 1, .d = compare_sizes[i], .acc = i & 1);
        compare(case_dwconv, 1e-5, 1e-6, .a = i % 3, .b = 3, .c = 7, .d = compare_sizes[i], .acc = i & 1);
    }
    compare(case_dwconv, 0, 0, .a = 2, .b = 0, .c = 3, .d = 8);
    compare(case_dwconv, 0, 0, .a = 2, .b = 3, .c = 0, .d = 8);
    compare(case_dwconv, 2e-4, 1e-6, .a = 2, .b = 27, .c = 27, .d = 17);
}

/* a = I, b = H, c = W, d = C, e = h, f = w */
static void case_pool(const mm1_kernels *k, run *r, const shape *s)
{
    const int64_t big = s->a * s->b * s->c * s->d, small = s->a * s->e * s->f * s->d;
    const float *x = in(r, big, -2, 2), *dy = in(r, small, -2, 2);
    float *y = out(r, small), *dx = out(r, big);
    k->pool_fwd(y, x, s->a, s->b, s->c, s->d, s->e, s->f);
    k->pool_bwd(dx, dy, s->a, s->b, s->c, s->d, s->e, s->f, s->acc);
}

static void adaptive_pooling_matches_the_reference(void **state)
{
    (void)state;
    const int64_t sides[][2] = {{1, 1}, {4, 2}, {5, 3}, {27, 12}, {7, 7}, {3, 5}, {24, 12}, {9, 1}};
    for (int h = 0; h < 8; h++) {
        for (int w = 0; w < 8; w++) {
            compare(case_pool, 2e-6, 1e-6, .a = 2, .b = sides[h][0], .c = sides[w][0], .e = sides[h][1],
                    .f = sides[w][1], .d = compare_sizes[(h + w) % 8], .acc = w & 1);
        }
    }
    for (int i = 0; i < COMPARE_SIZES; i++) {
        compare(case_pool, 2e-6, 1e-6, .a = i % 3, .b = 5, .c = 7, .e = 3, .f = 4, .d = compare_sizes[i], .acc = i & 1);
    }
}

/* a = I, b = P, c = C */
static void case_gate(const mm1_kernels *k, run *r, const shape *s)
{
    const int64_t n = s->a * s->b * s->c;
    const float *x = in(r, n, -2, 2), *dy = in(r, n, -2, 2), *g = in(r, s->a * s->c, -1, 1);
    float *y = out(r, n), *dx = out(r, n), *dg = out(r, s->a * s->c);
    k->gate_fwd(y, x, g, s->a, s->b, s->c);
    k->gate_bwd(dx, dg, dy, x, g, s->a, s->b, s->c, s->acc);
}

static void gates_match_the_reference(void **state)
{
    (void)state;
    for (int p = 0; p < COMPARE_SIZES; p++) {
        for (int c = 0; c < COMPARE_SIZES; c++) {
            compare(case_gate, 5e-5, 1e-6, .a = (p + c) % 4, .b = compare_sizes[p], .c = compare_sizes[c],
                    .acc = c & 1);
        }
    }
}

/* ---- the reference against formulas in double and central differences ---- */

typedef struct problem {
    int64_t I, H, W, C, h, w;
    double *x, *k, *dy; /* k: taps or gate */
} problem;

/* sum of dy * y, y written as padding, then sliding */
static double dwconv_loss(const void *ctx)
{
    const problem *p = ctx;
    enum { MAX = 8 * 8 };
    double loss = 0;
    for (int64_t i = 0; i < p->I; i++) {
        for (int64_t c = 0; c < p->C; c++) {
            double padded[MAX] = {0};
            const int64_t wide = p->W + 2;
            assert_true((p->H + 2) * wide <= MAX);
            for (int64_t at = 0; at < p->H * p->W; at++) {
                padded[(at / p->W + 1) * wide + at % p->W + 1] = p->x[(i * p->H * p->W + at) * p->C + c];
            }
            for (int64_t at = 0; at < p->H * p->W; at++) {
                for (int64_t tap = 0; tap < 9; tap++) {
                    loss += p->dy[(i * p->H * p->W + at) * p->C + c] * p->k[tap * p->C + c] *
                            padded[(at / p->W + tap / 3) * wide + at % p->W + tap % 3];
                }
            }
        }
    }
    return loss;
}

static double *doubles(const float *x, int64_t n)
{
    double *d = calloc((size_t)n + 1, sizeof *d);
    assert_non_null(d);
    to_double(d, x, n);
    return d;
}

static double weighted_sum(const float *y, const double *dy, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += dy[i] * (double)y[i];
    }
    return sum;
}

static void subtract(float *got, const float *start, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        got[i] -= start[i];
    }
}

static void free_problem(problem *p)
{
    free(p->x);
    free(p->k);
    free(p->dy);
}

static void backward_of_depthwise_convolution_matches_differences(void **state)
{
    (void)state;
    const mm1_kernels *k = mm1_kernels_for(MM1_ISA_REF);
    const int64_t sizes[][2] = {{1, 1}, {1, 4}, {3, 2}, {4, 5}};
    for (int t = 0; t < 4; t++) {
        const int64_t I = 2, H = sizes[t][0], W = sizes[t][1], C = 3, n = I * H * W * C;
        float x[120], w[27], dy[120], y[120], dx[120], dw[27], start[120];
        check_fill(x, n, -1, 1, 1);
        check_fill(w, 27, -1, 1, 2);
        check_fill(dy, n, -1, 1, 3);
        check_fill(start, 120, -1, 1, 4);
        problem p = {.I = I, .H = H, .W = W, .C = C, .x = doubles(x, n), .k = doubles(w, 27), .dy = doubles(dy, n)};
        k->dwconv_fwd(y, x, w, I, H, W, C);
        assert_true(fabs(weighted_sum(y, p.dy, n) - dwconv_loss(&p)) < 1e-5);
        for (int acc = 0; acc < 2; acc++) {
            memcpy(dx, start, sizeof dx);
            memcpy(dw, start, sizeof dw);
            k->dwconv_bwd_x(dx, dy, w, I, H, W, C, acc);
            k->dwconv_bwd_w(dw, dy, x, I, H, W, C);
            subtract(dw, start, 27);
            if (acc) {
                subtract(dx, start, n);
            }
            check_gradient(dwconv_loss, &p, p.x, n, dx, 1e-6);
            check_gradient(dwconv_loss, &p, p.k, 27, dw, 2e-6);
        }
        free_problem(&p);
    }
}

/* By the definition: which pixels p satisfy floor(i H / h) <= p < ceil((i + 1) H / h). */
static bool in_bin(int64_t p, int64_t i, int64_t from, int64_t to)
{
    return (double)p >= floor((double)(i * from) / (double)to) &&
           (double)p < ceil((double)((i + 1) * from) / (double)to);
}

static double pool_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t cell = 0; cell < p->I * p->h * p->w; cell++) {
        const int64_t i = cell / (p->h * p->w), a = cell / p->w % p->h, b = cell % p->w;
        for (int64_t c = 0; c < p->C; c++) {
            double sum = 0;
            int64_t count = 0;
            for (int64_t at = 0; at < p->H * p->W; at++) {
                if (in_bin(at / p->W, a, p->H, p->h) && in_bin(at % p->W, b, p->W, p->w)) {
                    sum += p->x[(i * p->H * p->W + at) * p->C + c];
                    count++;
                }
            }
            loss += p->dy[cell * p->C + c] * sum / (double)count;
        }
    }
    return loss;
}

static void backward_of_pooling_matches_differences(void **state)
{
    (void)state;
    const mm1_kernels *k = mm1_kernels_for(MM1_ISA_REF);
    const int64_t sizes[][4] = {{1, 1, 1, 1}, {4, 6, 2, 3}, {5, 7, 3, 4}, {2, 3, 3, 5}, {27, 27, 12, 12}};
    for (int t = 0; t < 5; t++) {
        const int64_t I = t < 4 ? 2 : 1, H = sizes[t][0], W = sizes[t][1], h = sizes[t][2], w = sizes[t][3];
        const int64_t C = t < 4 ? 2 : 1, n = I * H * W * C, m = I * h * w * C;
        float x[729], dy[144], y[144], dx[729], start[729];
        check_fill(x, n, -1, 1, 1);
        check_fill(dy, m, -1, 1, 3);
        check_fill(start, 729, -1, 1, 4);
        problem p = {.I = I, .H = H, .W = W, .C = C, .h = h, .w = w, .x = doubles(x, n), .dy = doubles(dy, m)};
        k->pool_fwd(y, x, I, H, W, C, h, w);
        assert_true(fabs(weighted_sum(y, p.dy, m) - pool_loss(&p)) < 1e-5);
        for (int acc = 0; acc < 2; acc++) {
            memcpy(dx, start, sizeof dx);
            k->pool_bwd(dx, dy, I, H, W, C, h, w, acc);
            if (acc) {
                subtract(dx, start, n);
            }
            check_gradient(pool_loss, &p, p.x, n, dx, 1e-6);
        }
        free_problem(&p);
    }
}

/* Bins of 27 / 12 = 2.25 pixels: floor(2.25 i) .. ceil(2.25 (i + 1)) - 1 are three pixels, most shared with a
 * neighbour. */
static void pooling_27_to_12_has_overlapping_bins(void **state)
{
    (void)state;
    float x[27], y[12];
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        for (int i = 0; i < 27; i++) {
            x[i] = (float)i;
        }
        k->pool_fwd(y, x, 1, 1, 27, 1, 1, 12);
        /* bins 0..2, 2..4, 4..6, 6..8, and again nine further on: ceil(2.25) = 3, floor(2.25) = 2, ceil(4.5) = 5, ...
         */
        const float want[] = {1, 3, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25};
        check_close(y, want, 12, 1e-6, 1e-6);
    }
}

static double gate_loss(const void *ctx)
{
    const problem *p = ctx;
    double loss = 0;
    for (int64_t at = 0; at < p->I * p->H * p->C; at++) {
        loss += p->dy[at] * p->x[at] * p->k[at / (p->H * p->C) * p->C + at % p->C];
    }
    return loss;
}

static void backward_of_gates_matches_differences(void **state)
{
    (void)state;
    enum { I = 2, P = 5, C = 3, SIZE = I * P * C };
    const mm1_kernels *k = mm1_kernels_for(MM1_ISA_REF);
    float x[SIZE], g[I * C], dy[SIZE], y[SIZE], dx[SIZE], dg[I * C], start[SIZE];
    check_fill(x, SIZE, -1, 1, 1);
    check_fill(g, I * C, -1, 1, 2);
    check_fill(dy, SIZE, -1, 1, 3);
    check_fill(start, SIZE, -1, 1, 4);
    problem p = {.I = I, .H = P, .C = C, .x = doubles(x, SIZE), .k = doubles(g, I * C), .dy = doubles(dy, SIZE)};
    k->gate_fwd(y, x, g, I, P, C);
    assert_true(fabs(weighted_sum(y, p.dy, SIZE) - gate_loss(&p)) < 1e-5);
    for (int acc = 0; acc < 2; acc++) {
        memcpy(dx, start, sizeof dx);
        memcpy(dg, start, sizeof dg);
        k->gate_bwd(dx, dg, dy, x, g, I, P, C, acc);
        if (acc) {
            subtract(dx, start, SIZE);
            subtract(dg, start, I * C);
        }
        check_gradient(gate_loss, &p, p.x, SIZE, dx, 1e-6);
        check_gradient(gate_loss, &p, p.k, I * C, dg, 1e-6);
    }
    free_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depthwise_convolution_matches_the_reference),
        cmocka_unit_test(adaptive_pooling_matches_the_reference),
        cmocka_unit_test(gates_match_the_reference),
        cmocka_unit_test(backward_of_depthwise_convolution_matches_differences),
        cmocka_unit_test(backward_of_pooling_matches_differences),
        cmocka_unit_test(pooling_27_to_12_has_overlapping_bins),
        cmocka_unit_test(backward_of_gates_matches_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

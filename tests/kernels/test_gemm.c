/* Matrix product: every instruction set of this CPU against the definition in f64. */
#include "support/check.h"

#include "base/thread.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"

enum { MAX_PAD = 7 };

typedef struct shape {
    int64_t M, N, K;
} shape;

static bool use_isa(int isa)
{
    mm1_error err = {0};
    if (mm1_kernels_for((mm1_isa)isa) == NULL) {
        return false;
    }
    check_ok(mm1_kernels_init(mm1_isa_name((mm1_isa)isa), &err), &err);
    return true;
}

static void use_threads(int n, int isa)
{
    mm1_error err = {0};
    mm1_threads_set(n);
    check_ok(mm1_kernels_init(mm1_isa_name((mm1_isa)isa), &err), &err);
}

static float *filled(int64_t n, uint64_t seed)
{
    float *x = malloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    assert_non_null(x);
    check_fill(x, n, -1, 1, seed);
    return x;
}

static double act(double x, mm1_act kind)
{
    switch (kind) {
    case MM1_ACT_RELU: return x > 0 ? x : 0;
    case MM1_ACT_GELU: return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
    case MM1_ACT_SILU: return x / (1 + exp(-x));
    default: return x;
    }
}

/* c and pre as the definition has them; old is c before. */
static void define(float *c, float *pre, const float *old, const mm1_gemm_args *g)
{
    for (int64_t m = 0; m < g->M; m++) {
        for (int64_t n = 0; n < g->N; n++) {
            const int64_t at = m * g->ldc + n;
            double sum = 0;
            for (int64_t k = 0; k < g->K; k++) {
                sum += (double)(g->trans_a ? g->a[k * g->lda + m] : g->a[m * g->lda + k]) *
                       (double)(g->trans_b ? g->b[n * g->ldb + k] : g->b[k * g->ldb + n]);
            }
            sum = (double)g->alpha * sum + (g->acc ? (double)old[at] : 0) + (g->bias != NULL ? (double)g->bias[n] : 0);
            if (pre != NULL) {
                pre[at] = (float)sum;
            }
            sum = act(sum, g->act);
            c[at] = (float)(sum + (g->residual == g->c   ? (double)old[at]
                                   : g->residual != NULL ? (double)g->residual[at]
                                                         : 0));
        }
    }
}

/* What a case has beside its shape. */
enum { ACC = 1, BIAS = 2, PRE = 4, RESIDUAL = 8, ALPHA = 16, SELF = 32, SERIAL = 64 };

static void check_product(shape s, bool trans_a, bool trans_b, int pad, int with, mm1_act kind)
{
    const int64_t lda = (trans_a ? s.M : s.K) + pad, ldb = (trans_b ? s.K : s.N) + pad, ldc = s.N + pad;
    const int64_t n_c = s.M * ldc;
    float *a = filled((trans_a ? s.K : s.M) * lda, 1), *b = filled((trans_b ? s.N : s.K) * ldb, 2);
    float *old = filled(n_c, 3), *c = filled(n_c, 3), *want = filled(n_c, 3);
    float *bias = filled(s.N, 4), *residual = filled(n_c, 5), *pre = filled(n_c, 6), *want_pre = filled(n_c, 6);
    const mm1_gemm_args g = {.M = s.M,
                             .N = s.N,
                             .K = s.K,
                             .a = a,
                             .b = b,
                             .c = c,
                             .lda = lda,
                             .ldb = ldb,
                             .ldc = ldc,
                             .trans_a = trans_a,
                             .trans_b = trans_b,
                             .acc = (with & ACC) != 0,
                             .alpha = with & ALPHA ? -0.75f : 1.0f,
                             .bias = with & BIAS ? bias : NULL,
                             .act = kind,
                             .pre = with & PRE ? pre : NULL,
                             .residual = with & SELF       ? c
                                         : with & RESIDUAL ? residual
                                                           : NULL};
    define(want, with & PRE ? want_pre : NULL, old, &g);
    if (with & SERIAL) {
        mm1_gemm_serial(&g);
    } else {
        mm1_gemm(&g);
    }
    /* Sums of K products of numbers below 1, in f32.  The padding between rows is compared too: it must not change. */
    const double atol = 3e-7 * sqrt((double)s.K + 1) * 4;
    check_close(c, want, n_c, atol, 2e-6);
    check_close(pre, want_pre, n_c, atol, 2e-6);
    free(a);
    free(b);
    free(old);
    free(c);
    free(want);
    free(bias);
    free(residual);
    free(pre);
    free(want_pre);
}

/* The gradient of an activation's input, gated or not, against the product followed by the reference kernel. */
static void check_through(shape s, bool gated, int pad, mm1_act kind)
{
    const mm1_kernels *ref = mm1_kernels_for(MM1_ISA_REF);
    const int64_t half = gated ? s.N : 0, ldc = half + s.N + pad, n_c = s.M * ldc;
    float *a = filled(s.M * s.K, 1), *b = filled(s.K * s.N, 2), *u = filled(n_c, 4);
    float *c = filled(n_c, 3), *want = filled(n_c, 3);
    mm1_gemm_args g = {
        .M = s.M, .N = s.N, .K = s.K, .a = a, .b = b, .c = want + half, .lda = s.K, .ldb = s.N, .ldc = ldc, .alpha = 1};
    define(g.c, NULL, NULL, &g);
    for (int64_t m = 0; m < s.M; m++) {
        float *d = want + m * ldc, *of = u + m * ldc;
        if (gated) {
            ref->glu_bwd(d, d + half, d + half, of, of + half, s.N, kind);
        } else {
            ref->act_bwd(d, d, of, s.N, kind, false);
        }
    }
    g.c = c + half;
    g.act = kind;
    g.through = u + half;
    g.gated = gated;
    mm1_gemm(&g);
    check_close(c, want, n_c, 3e-7 * sqrt((double)s.K + 1) * 4, 2e-6);
    free(a);
    free(b);
    free(u);
    free(c);
    free(want);
}

static const int64_t sizes[] = {0, 1, 2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 31, 32, 33, 64, 65, 129, 300};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void every_form_and_size_gives_the_definition(void **state)
{
    (void)state;
    mm1_threads_set(2);
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use_isa(isa)) {
            continue;
        }
        mm1_rng r = mm1_rng_make(11, MM1_RNG_TEST, 0);
        for (int i = 0; i < 500; i++) {
            const shape s = {sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)], sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)],
                             sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)]};
            check_product(s, i & 1, i & 2, i % 3 == 0 ? MAX_PAD : 0, (i & 4 ? ACC : 0) | (i & 8 ? ALPHA : 0),
                          MM1_ACT_NONE);
        }
    }
}

static void every_small_shape_gives_the_definition(void **state)
{
    (void)state;
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use_isa(isa)) {
            continue;
        }
        for (int64_t M = 0; M <= 17; M++) {
            for (int64_t N = 0; N <= 35; N += M < 3 ? 1 : 3) {
                check_product((shape){M, N, 1 + (M + N) % 19}, M & 1, N & 2, 1, N & 1 ? ACC : 0, MM1_ACT_NONE);
                check_product((shape){M, N, 9}, false, M & 1, 0, 0, MM1_ACT_NONE);
            }
        }
    }
}

static void blocks_in_every_direction_give_the_definition(void **state)
{
    (void)state;
    static const shape shapes[] = {{400, 70, 700}, {5, 2500, 520},  {20, 2100, 300}, {1, 300, 6000},
                                   {3, 40, 6000},  {350, 300, 257}, {45, 70, 1024}};
    mm1_threads_set(2);
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use_isa(isa)) {
            continue;
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (int form = 0; form < 4; form++) {
                check_product(shapes[i], form & 1, form & 2, shapes[i].K == 1024 ? 0 : 3,
                              BIAS | (form & 1 ? ALPHA : ACC), MM1_ACT_NONE);
            }
        }
    }
}

/* Rows of a that lie whole pages apart are moved, or packed in blocks, and some that lie quarters of a page apart. */
static void rows_that_are_pages_apart_give_the_definition(void **state)
{
    (void)state;
    enum { APART = 1024 };
    static const shape shapes[] = {
        {APART, 70, 530}, {APART - 9, 40, 90}, {30, 2200, 520}, {350, 33, 8}, {700, 1000, 260}}; /* a long chunk of k */
    for (int i = 0; i < 2 * MM1_ISA_COUNT; i++) {
        mm1_threads_set(1 + i % 2); /* of one thread, what writes behind its buffers writes behind all of them */
        if (!use_isa(i / 2)) {
            continue;
        }
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
            const shape s = shapes[k];
            check_product(s, true, false, (int)(APART - s.M), ACC, MM1_ACT_NONE);
            check_product(s, true, true, (int)(APART - s.M), BIAS | ALPHA | SERIAL, MM1_ACT_GELU);
            check_product((shape){s.K, s.N, s.M}, false, true, (int)(APART - s.M), BIAS, MM1_ACT_NONE);
            check_product((shape){s.K, s.N, s.M}, false, false, (int)(APART - s.M), ACC | SERIAL, MM1_ACT_NONE);
        }
        check_product((shape){253, 1100, 70}, true, false, 3, ACC, MM1_ACT_NONE);
    }
}

static void gradients_pass_through_activations(void **state)
{
    (void)state;
    static const mm1_act kinds[] = {MM1_ACT_RELU, MM1_ACT_GELU, MM1_ACT_SILU, MM1_ACT_NONE};
    mm1_threads_set(2);
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use_isa(isa)) {
            continue;
        }
        mm1_rng r = mm1_rng_make(13, MM1_RNG_TEST, 0);
        for (int i = 0; i < 160; i++) {
            const shape s = {sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)], sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)],
                             sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)]};
            check_through(s, i & 1, i & 2 ? MAX_PAD : 0, kinds[i / 4 % 4]);
        }
    }
}

static void the_epilogue_adds_bias_saves_activates_and_adds_the_residual(void **state)
{
    (void)state;
    static const int parts[] = {BIAS,
                                PRE,
                                RESIDUAL,
                                BIAS | PRE,
                                BIAS | PRE | RESIDUAL,
                                BIAS | RESIDUAL | ACC,
                                SELF,
                                SELF | BIAS,
                                SELF | BIAS | PRE,
                                SELF | PRE | ALPHA,
                                BIAS | PRE | RESIDUAL | ACC | ALPHA};
    static const mm1_act kinds[] = {MM1_ACT_NONE, MM1_ACT_RELU, MM1_ACT_GELU, MM1_ACT_SILU};
    static const shape shapes[] = {{1, 40, 24},     {4, 65, 33}, {33, 45, 17}, {32, 90, 300},
                                   {200, 150, 300}, {7, 9, 0},   {40, 30, 0}};
    mm1_threads_set(2);
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use_isa(isa)) {
            continue;
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
                for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                    check_product(shapes[i], p & 1, k & 1, (int)(p % 4), parts[p], kinds[k]);
                    check_product(shapes[i], k & 1, p & 1, (int)(p % 4), parts[p] | SERIAL, kinds[k]);
                }
            }
        }
    }
}

static void k_of_zero_clears_or_leaves_alone(void **state)
{
    (void)state;
    float a[1] = {0}, b[1] = {0}, c[6] = {1, 2, 3, 4, 5, 6};
    mm1_gemm_args g = {
        .M = 2, .N = 3, .K = 0, .a = a, .b = b, .c = c, .lda = 1, .ldb = 3, .ldc = 3, .acc = true, .alpha = 1.0f};
    mm1_gemm(&g);
    assert_true(c[0] == 1.0f && c[5] == 6.0f);
    g.acc = false;
    mm1_gemm(&g);
    for (int i = 0; i < 6; i++) {
        assert_true(c[i] == 0.0f);
    }
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    static const shape shapes[] = {{1, 700, 520}, {6, 333, 200}, {70, 2000, 300}, {900, 48, 600}, {333, 333, 333}};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (mm1_kernels_for((mm1_isa)isa) == NULL) {
            continue;
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            const shape s = shapes[i];
            float *a = filled(s.M * s.K, 1), *b = filled(s.N * s.K, 2), *bias = filled(s.N, 3);
            float *first = filled(s.M * s.N, 4);
            for (int form = 0; form < 4; form++) {
                for (int n = 1; n <= 4; n++) {
                    float *c = filled(s.M * s.N, 4);
                    use_threads(n, isa);
                    mm1_gemm(&(mm1_gemm_args){.M = s.M,
                                              .N = s.N,
                                              .K = s.K,
                                              .a = a,
                                              .b = b,
                                              .c = c,
                                              .lda = form & 1 ? s.M : s.K,
                                              .ldb = form & 2 ? s.K : s.N,
                                              .ldc = s.N,
                                              .trans_a = form & 1,
                                              .trans_b = form & 2,
                                              .acc = form == 0,
                                              .alpha = i & 1 ? 0.5f : 1.0f,
                                              .bias = bias,
                                              .act = MM1_ACT_GELU});
                    if (n == 1) {
                        memcpy(first, c, (size_t)(s.M * s.N) * sizeof *c);
                    } else {
                        assert_memory_equal(first, c, (size_t)(s.M * s.N) * sizeof *c);
                    }
                    free(c);
                }
            }
            free(a);
            free(b);
            free(bias);
            free(first);
        }
    }
    mm1_threads_set(2);
}

/* All M rows in one product with all threads, and the same rows in serial products of `step` rows. */
static void check_rows_alike(shape s, bool trans_b, mm1_rows rows, int64_t step)
{
    float *a = filled(s.M * s.K, 1), *b = filled(s.N * s.K, 2), *bias = filled(s.N, 3),
          *residual = filled(s.M * s.N, 5);
    float *whole = filled(s.M * s.N, 4), *parts = filled(s.M * s.N, 4);
    mm1_gemm_args g = {.M = s.M,
                       .N = s.N,
                       .K = s.K,
                       .a = a,
                       .b = b,
                       .c = whole,
                       .lda = s.K,
                       .ldb = trans_b ? s.K : s.N,
                       .ldc = s.N,
                       .trans_b = trans_b,
                       .alpha = 1,
                       .bias = bias,
                       .act = MM1_ACT_SILU,
                       .residual = residual,
                       .rows = rows};
    mm1_gemm(&g);
    for (int64_t m = 0; m < s.M; m += step) {
        g.M = step < s.M - m ? step : s.M - m;
        g.a = a + m * s.K;
        g.c = parts + m * s.N;
        g.residual = residual + m * s.N;
        mm1_gemm_serial(&g);
    }
    assert_memory_equal(whole, parts, (size_t)(s.M * s.N) * sizeof *whole);
    free(a);
    free(b);
    free(bias);
    free(residual);
    free(whole);
    free(parts);
}

static void a_row_has_the_same_bits_whatever_stands_beside_it(void **state)
{
    (void)state;
    static const shape shapes[] = {{37, 130, 77}, {16, 257, 512}, {70, 33, 1100}, {19, 1, 64}, {20, 600, 8}};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (mm1_kernels_for((mm1_isa)isa) == NULL) {
            continue;
        }
        use_threads(2, isa);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (int64_t step = 1; step <= 24; step += step < 10 ? 1 : 7) {
                for (int trans_b = 0; trans_b < 2; trans_b++) {
                    check_rows_alike(shapes[i], trans_b == 1, MM1_ROWS_FEW, step);
                    check_rows_alike(shapes[i], trans_b == 1, MM1_ROWS_MANY, step);
                }
            }
        }
    }
}

/* Each item is a product of its own, on the scratch of the thread that runs it. */
static void product_item(void *ctx, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        mm1_gemm(&((const mm1_gemm_args *)ctx)[i]);
    }
}

static void products_inside_a_parallel_region_are_serial_and_right(void **state)
{
    (void)state;
    enum { N_ITEMS = 6, M = 70, N = 60, K = 80 };
    use_threads(3, MM1_ISA_REF);
    mm1_gemm_args items[N_ITEMS];
    float *want = filled(M * N, 9);
    for (int i = 0; i < N_ITEMS; i++) {
        items[i] = (mm1_gemm_args){.M = M,
                                   .N = N,
                                   .K = K,
                                   .a = filled(M * K, (uint64_t)i),
                                   .b = filled(K * N, 100 + (uint64_t)i),
                                   .c = filled(M * N, 0),
                                   .lda = K,
                                   .ldb = N,
                                   .ldc = N,
                                   .alpha = 1.0f};
    }
    mm1_parallel_each(N_ITEMS, product_item, items);
    for (int i = 0; i < N_ITEMS; i++) {
        define(want, NULL, NULL, &items[i]);
        check_close(items[i].c, want, M * N, 1e-5, 1e-6);
        free((void *)(uintptr_t)items[i].a);
        free((void *)(uintptr_t)items[i].b);
        free(items[i].c);
    }
    free(want);
    mm1_threads_set(2);
}

/* The tables' own functions at every edge, also those that the shapes above reach by one path only. */
static void panels_and_few_rows_agree_with_the_reference(void **state)
{
    (void)state;
    enum { ROWS = 37, COLS = 41, LD = 45, ROOM = 64 * 64 };
    const mm1_kernels *ref = mm1_kernels_for(MM1_ISA_REF);
    float *x = filled((int64_t)LD * LD, 1), *y = filled((int64_t)LD * LD, 2);
    float *got = filled(ROOM, 3), *want = filled(ROOM, 3);
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for((mm1_isa)isa);
        if (k == NULL) {
            continue;
        }
        for (int64_t n = 0; n <= ROWS; n++) {
            for (int64_t d = 0; d <= COLS; d += 1 + n % 3) {
                for (int form = 0; form < 4; form++) {
                    const int width = form & 1 ? k->gemm_mr : k->gemm_nr;
                    check_fill(got, ROOM, -9, 9, 3);
                    check_fill(want, ROOM, -9, 9, 3);
                    k->gemm_pack(got, width, x, LD, d, n, form & 2, 0.5f);
                    ref->gemm_pack(want, width, x, LD, d, n, form & 2, 0.5f);
                    check_close(got, want, ROOM, 0, 0);
                }
                if (n > 0 && n < 12 && d > 0) {
                    for (int64_t m = 1; m <= 9; m++) {
                        check_fill(got, ROOM, -9, 9, 3);
                        check_fill(want, ROOM, -9, 9, 3);
                        k->gemm_few_nt(got, 64, x, LD, y, LD, m, n, d, m & 1);
                        ref->gemm_few_nt(want, 64, x, LD, y, LD, m, n, d, m & 1);
                        check_close(got, want, ROOM, 1e-5, 1e-5);
                        k->gemm_few_nn(got, 64, x, LD, y, LD, m, d, n, n & 1);
                        ref->gemm_few_nn(want, 64, x, LD, y, LD, m, d, n, n & 1);
                        check_close(got, want, ROOM, 1e-5, 1e-5);
                    }
                }
            }
        }
    }
    free(x);
    free(y);
    free(got);
    free(want);
}

/* Two panels of tiles with a in place and b packed in passing, against the definition; the panels are compared too. */
static void tiles_read_a_in_place(void **state)
{
    (void)state;
    enum { LD = 67, MOST = 64 };
    float *a = filled((int64_t)LD * LD, 1), *y = filled((int64_t)LD * LD, 2);
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for((mm1_isa)isa);
        if (k == NULL) {
            continue;
        }
        const int64_t mr = k->gemm_mr, nr = k->gemm_nr;
        for (int64_t K = 0; K <= MOST; K += 1 + K / 20) {
            for (int form = 0; form < 8; form++) {
                const bool k_rows = form & 1, fill = form & 2, acc = form & 4;
                const int64_t n = 2 * nr - K % nr, filled_here = fill ? n / nr * nr * K : 0;
                float *b = filled(2 * MOST * nr, 3), *packed = filled(2 * MOST * nr, 3);
                float *c = filled(mr * LD, 4), *want = filled(mr * LD, 4);
                k->gemm_pack(packed, (int)nr, y, LD, K, 2 * nr, true, 1.0f);
                memcpy(b + filled_here, packed + filled_here, (size_t)(2 * MOST * nr - filled_here) * sizeof *b);
                for (int64_t i = 0; i < mr; i++) {
                    for (int64_t j = 0; j < n; j++) {
                        double sum = acc ? (double)want[i * LD + j] : 0;
                        for (int64_t l = 0; l < K; l++) {
                            sum += (double)(k_rows ? a[l * LD + i] : a[i * LD + l]) * (double)y[l * LD + j];
                        }
                        want[i * LD + j] = (float)sum;
                    }
                }
                const mm1_gemm_strip rows = {.x = a,
                                             .ld = LD,
                                             .k_rows = k_rows,
                                             .next = {.at = (uintptr_t)a, .n = 2, .step = LD, .advance = 64},
                                             .later = {.at = (uintptr_t)y, .n = form == 3, .advance = LD}};
                k->gemm_tiles(c, LD, &rows, b, K * nr, fill ? y : NULL, LD, K, n, acc);
                check_close(c, want, mr * LD, 1e-5, 1e-5);
                check_close(b, packed, 2 * MOST * nr, 0, 0);
                free(b);
                free(packed);
                free(c);
                free(want);
            }
        }
    }
    free(a);
    free(y);
}

/* Everything that can meet b, with b in bf16 and with the same numbers in f32: the same bits. */
static void check_bf16(shape s, bool trans_a, bool trans_b, int pad, int with, mm1_rows rows)
{
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t lda = (trans_a ? s.M : s.K) + pad, ldb = (trans_b ? s.K : s.N) + pad, ldc = s.N + pad;
    const int64_t n_b = (trans_b ? s.N : s.K) * ldb, n_c = s.M * ldc;
    float *a = filled((trans_a ? s.K : s.M) * lda, 1), *b = filled(n_b, 2), *bias = filled(s.N, 4);
    float *c = filled(n_c, 3), *want = filled(n_c, 3);
    uint16_t *b16 = malloc((size_t)(n_b > 0 ? n_b : 1) * sizeof *b16);
    assert_non_null(b16);
    k->to_bf16(b16, b, n_b);
    k->from_bf16(b, b16, n_b);
    mm1_gemm_args g = {.M = s.M,
                       .N = s.N,
                       .K = s.K,
                       .a = a,
                       .b = b,
                       .c = want,
                       .lda = lda,
                       .ldb = ldb,
                       .ldc = ldc,
                       .trans_a = trans_a,
                       .trans_b = trans_b,
                       .acc = (with & ACC) != 0,
                       .alpha = with & ALPHA ? -0.75f : 1.0f,
                       .bias = with & BIAS ? bias : NULL,
                       .rows = rows};
    mm1_gemm(&g);
    g.c = c;
    g.b = NULL;
    g.b16 = b16;
    if (with & SERIAL) {
        mm1_gemm_serial(&g);
    } else {
        mm1_gemm(&g);
    }
    assert_memory_equal(c, want, (size_t)n_c * sizeof *c);
    free(a);
    free(b);
    free(b16);
    free(bias);
    free(c);
    free(want);
}

static void an_operand_in_bf16_gives_the_bits_of_its_numbers_in_f32(void **state)
{
    (void)state;
    static const shape large[] = {{5, 2500, 520}, {20, 1100, 600}, {1, 300, 6000}, {3, 40, 17000}, {350, 300, 257}};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (mm1_kernels_for((mm1_isa)isa) == NULL) {
            continue;
        }
        use_threads(2, isa);
        mm1_rng r = mm1_rng_make(17, MM1_RNG_TEST, 0);
        for (int i = 0; i < 400; i++) {
            const shape s = {sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)], sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)],
                             sizes[(int)(mm1_rng_uniform(&r) * N_SIZES)]};
            check_bf16(s, i & 1, i & 2, i % 3 == 0 ? MAX_PAD : 0,
                       (i & 4 ? ACC : 0) | (i & 8 ? ALPHA : 0) | (i & 16 ? BIAS : 0) | (i & 32 ? SERIAL : 0),
                       MM1_ROWS_ANY);
            check_bf16(s, false, i & 2, i % 3, i & 4 ? ACC : 0, i & 1 ? MM1_ROWS_FEW : MM1_ROWS_MANY);
        }
        for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
            for (int form = 0; form < 4; form++) {
                check_bf16(large[i], form & 1, form & 2, 3, BIAS | (form & 1 ? ALPHA : ACC), MM1_ROWS_ANY);
            }
        }
    }
}

static void panels_of_bf16_agree_with_the_reference(void **state)
{
    (void)state;
    enum { ROWS = 37, COLS = 41, LD = 45, ROOM = 64 * 64 };
    const mm1_kernels *ref = mm1_kernels_for(MM1_ISA_REF);
    float *x = filled((int64_t)LD * LD, 1), *got = filled(ROOM, 3), *want = filled(ROOM, 3);
    uint16_t *x16 = malloc((size_t)LD * LD * sizeof *x16);
    assert_non_null(x16);
    ref->to_bf16(x16, x, (int64_t)LD * LD);
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for((mm1_isa)isa);
        for (int64_t n = 0; k != NULL && n <= ROWS; n++) {
            for (int64_t d = 0; d <= COLS; d += 1 + n % 3) {
                for (int form = 0; form < 4; form++) {
                    const int width = form & 1 ? k->gemm_mr : k->gemm_nr;
                    check_fill(got, ROOM, -9, 9, 3);
                    check_fill(want, ROOM, -9, 9, 3);
                    k->gemm_pack_bf16(got, width, x16, LD, d, n, form & 2);
                    ref->gemm_pack_bf16(want, width, x16, LD, d, n, form & 2);
                    check_close(got, want, ROOM, 0, 0);
                }
            }
        }
    }
    free(x);
    free(x16);
    free(got);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_and_size_gives_the_definition),
        cmocka_unit_test(every_small_shape_gives_the_definition),
        cmocka_unit_test(blocks_in_every_direction_give_the_definition),
        cmocka_unit_test(rows_that_are_pages_apart_give_the_definition),
        cmocka_unit_test(the_epilogue_adds_bias_saves_activates_and_adds_the_residual),
        cmocka_unit_test(gradients_pass_through_activations),
        cmocka_unit_test(k_of_zero_clears_or_leaves_alone),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(a_row_has_the_same_bits_whatever_stands_beside_it),
        cmocka_unit_test(products_inside_a_parallel_region_are_serial_and_right),
        cmocka_unit_test(tiles_read_a_in_place),
        cmocka_unit_test(panels_and_few_rows_agree_with_the_reference),
        cmocka_unit_test(an_operand_in_bf16_gives_the_bits_of_its_numbers_in_f32),
        cmocka_unit_test(panels_of_bf16_agree_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

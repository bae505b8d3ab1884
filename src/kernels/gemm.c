/* gemm.c - see gemm.h.  Blocking after Goto and van de Geijn (2008) around the table's gemm_tile.
 *
 * The threads form a grid over c; each computes its rectangle alone, with packing buffers of its own and no barrier:
 * packing a block of b twice costs a percent, a barrier on a shared machine costs more.  Only the cut of K into chunks
 * decides the order in which an element is summed, and it depends on K alone.
 *
 * Inside a rectangle: columns by NC, k by chunks of about KC, rows by MC.  The packed block of a (MC x KC) and a group
 * of columns of the packed block of b stay in L2, one panel of the shorter kind in L1. */
#include "kernels/gemm.h"

#include "base/alloc.h"
#include "base/thread.h"
#include <omp.h>
#include <string.h>

enum {
    KC = 320,        /* most k in a chunk */
    MC = 168,        /* rows of a in a block: a multiple of 4, 6 and 14 */
    NC = 1024,       /* columns of b in a block */
    NG = 128,        /* columns between two runs of the epilogue; a multiple of every tile width */
    FEW_ROWS_NT = 8, /* up to here b is not packed */
    FEW_ROWS_NN = 4,
    FEW_K = MC * KC / 8, /* and a, if it must be copied, fits its buffer */
    FEW_NN_STEP = 16,    /* rows of b read side by side */
    L1_PANEL = 20 << 10, /* bytes: a panel of b up to this size is kept in L1 rather than one of a */
};

/* Below this many multiplications waking the threads costs more than they bring. */
static const int64_t SERIAL_BELOW = 48 * 48 * 48;

typedef struct scratch {
    float *a; /* MC x KC */
    float *b; /* KC x NC */
    float *c; /* MC x NG, for a product whose old c is needed after the activation */
} scratch;

static struct {
    float *memory;
    scratch *parts;
    int n;
} pool;

enum { A_FLOATS = MC * KC, B_FLOATS = KC * NC, C_FLOATS = MC * NG };

mm1_status mm1__gemm_scratch_init(mm1_error *err)
{
    const int n = mm1_threads();
    const size_t each = (size_t)A_FLOATS + B_FLOATS + C_FLOATS;
    if (n == pool.n) {
        return MM1_OK;
    }
    float *memory = mm1_calloc((size_t)n * each, sizeof *memory);
    scratch *parts = mm1_alloc((size_t)n, sizeof *parts);
    if (memory == NULL || parts == NULL) {
        mm1_free(memory);
        mm1_free(parts);
        return mm1_error_set(err, MM1_E_NOMEM,
                             "cannot take %zu bytes of packing buffers for %d threads; set MM1_THREADS to use fewer",
                             (size_t)n * each * sizeof *memory, n);
    }
    for (int i = 0; i < n; i++) {
        float *p = memory + (size_t)i * each;
        parts[i] = (scratch){.a = p, .b = p + A_FLOATS, .c = p + A_FLOATS + B_FLOATS};
    }
    mm1_free(pool.memory);
    mm1_free(pool.parts);
    pool.memory = memory;
    pool.parts = parts;
    pool.n = n;
    return MM1_OK;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ------------------------------------------------------------------------------------------------ epilogue */

static bool has_epilogue(const mm1_gemm_args *g)
{
    return g->bias != NULL || g->pre != NULL || g->act != MM1_ACT_NONE || g->residual != NULL || g->gated;
}

/* t holds the sums of the rows [m0, m1) x columns [n0, n1) of c, at t[0]; it may be that place in c. */
static void epilogue(const mm1_gemm_args *g, const mm1_kernels *kern, float *t, int64_t ldt, int64_t m0, int64_t m1,
                     int64_t n0, int64_t n1)
{
    const int64_t n = n1 - n0;
    for (int64_t m = m0; m < m1; m++, t += ldt) {
        const int64_t at = m * g->ldc + n0;
        if (g->gated) {
            const float *up = g->through + at, *gate = up - g->N;
            kern->glu_bwd(g->c + at - g->N, t, t, gate, up, n, g->act);
            continue;
        }
        if (g->through != NULL) {
            kern->act_bwd(t, t, g->through + at, n, g->act, false);
            continue;
        }
        if (g->bias != NULL) {
            kern->add(t, t, g->bias + n0, n);
        }
        if (g->pre != NULL) {
            memcpy(g->pre + at, t, (size_t)n * sizeof *t);
        }
        if (g->act != MM1_ACT_NONE) {
            kern->act_fwd(t, t, n, g->act);
        }
        if (g->residual != NULL) {
            kern->add(g->c + at, t, g->residual + at, n);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ blocks */

/* One block: rows [m0, m0 + mc) packed in s->a, columns [n0, n0 + nc) packed in b. */
static void macro_tile(const mm1_kernels *kern, float *c, int64_t ldc, const float *a, const float *b, int64_t mc,
                       int64_t nc, int64_t kc, bool acc)
{
    const int64_t mr = kern->gemm_mr, nr = kern->gemm_nr;
    if (kc * nr * (int64_t)sizeof(float) <= L1_PANEL) {
        for (int64_t j = 0; j < nc; j += nr) {
            for (int64_t i = 0; i < mc; i += mr) {
                kern->gemm_tile(c + i * ldc + j, ldc, a + i * kc, b + j * kc, kc, min64(mr, mc - i), min64(nr, nc - j),
                                acc);
            }
        }
    } else {
        for (int64_t i = 0; i < mc; i += mr) {
            for (int64_t j = 0; j < nc; j += nr) {
                kern->gemm_tile(c + i * ldc + j, ldc, a + i * kc, b + j * kc, kc, min64(mr, mc - i), min64(nr, nc - j),
                                acc);
            }
        }
    }
}

/* The rectangle [m0, m1) x [n0, n1) of the product goes to c (whose element [m0, n0] is c[0]). */
static void rectangle(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, float *c, int64_t ldc,
                      bool acc, bool finish, int64_t m0, int64_t m1, int64_t n0, int64_t n1)
{
    const int64_t k_least = g->K > 0 ? g->K : 1; /* no k at all is one empty chunk */
    const int64_t chunk = ceil_div(ceil_div(k_least, ceil_div(k_least, KC)), 8) * 8;
    const int64_t n_mb = ceil_div(m1 - m0, MC), mb = ceil_div(ceil_div(m1 - m0, n_mb), kern->gemm_mr) * kern->gemm_mr;
    for (int64_t jc = n0; jc < n1; jc += NC) {
        const int64_t nc = min64(NC, n1 - jc);
        for (int64_t pc = 0; pc < g->K || pc == 0; pc += chunk) {
            const int64_t kc = min64(chunk, g->K - pc);
            const bool last = pc + chunk >= g->K, add = acc || pc > 0;
            const float *b = g->trans_b ? g->b + jc * g->ldb + pc : g->b + pc * g->ldb + jc;
            kern->gemm_pack(s->b, kern->gemm_nr, b, g->ldb, kc, nc, !g->trans_b, 1.0f);
            for (int64_t ic = m0; ic < m1; ic += mb) {
                const int64_t mc = min64(mb, m1 - ic);
                const float *a = g->trans_a ? g->a + pc * g->lda + ic : g->a + ic * g->lda + pc;
                kern->gemm_pack(s->a, kern->gemm_mr, a, g->lda, kc, mc, g->trans_a, g->alpha);
                for (int64_t j = 0; j < nc; j += NG) {
                    const int64_t ng = min64(NG, nc - j);
                    float *to = c + (ic - m0) * ldc + (jc - n0) + j;
                    macro_tile(kern, to, ldc, s->a, s->b + j * kc, mc, ng, kc, add);
                    if (last && finish && has_epilogue(g)) {
                        epilogue(g, kern, to, ldc, ic, ic + mc, jc + j, jc + j + ng);
                    }
                }
            }
        }
    }
}

/* The same where c is also the residual and its old value is needed after the activation: the sums go to the side. */
static void rectangle_aside(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, int64_t m0, int64_t m1,
                            int64_t n0, int64_t n1)
{
    for (int64_t i = m0; i < m1; i += MC) {
        for (int64_t j = n0; j < n1; j += NG) {
            const int64_t i1 = min64(i + MC, m1), j1 = min64(j + NG, n1);
            rectangle(g, kern, s, s->c, NG, false, false, i, i1, j, j1);
            epilogue(g, kern, s->c, NG, i, i1, j, j1);
        }
    }
}

static bool needs_aside(const mm1_gemm_args *g)
{
    return g->residual == g->c && (g->act != MM1_ACT_NONE || g->pre != NULL);
}

static void work(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, int64_t m0, int64_t m1, int64_t n0,
                 int64_t n1)
{
    if (m0 >= m1 || n0 >= n1) {
        return;
    }
    if (needs_aside(g)) {
        rectangle_aside(g, kern, s, m0, m1, n0, n1);
        return;
    }
    rectangle(g, kern, s, g->c + m0 * g->ldc + n0, g->ldc, g->acc, true, m0, m1, n0, n1);
}

/* ------------------------------------------------------------------------------------------------ few rows */

static bool is_few(const mm1_gemm_args *g)
{
    const bool copied = g->trans_a || g->alpha != 1.0f;
    return g->M <= (g->trans_b ? FEW_ROWS_NT : FEW_ROWS_NN) && g->K > 0 && (g->K <= FEW_K || !copied) &&
           !needs_aside(g);
}

/* Columns [n0, n1) of a product with few rows: bounded by the reading of b, which happens once.  a [M, K] has alpha in
 * it. */
static void few_columns(const mm1_gemm_args *g, const mm1_kernels *kern, const float *a, int64_t lda, int64_t n0,
                        int64_t n1)
{
    for (int64_t j = n0; j < n1; j += NC) {
        const int64_t n = min64(NC, n1 - j);
        float *c = g->c + j;
        if (g->trans_b) {
            kern->gemm_few_nt(c, g->ldc, a, lda, g->b + j * g->ldb, g->ldb, g->M, n, g->K, g->acc);
        } else {
            for (int64_t k = 0; k < g->K; k += FEW_NN_STEP) {
                kern->gemm_few_nn(c, g->ldc, a + k, lda, g->b + k * g->ldb + j, g->ldb, g->M, n,
                                  min64(FEW_NN_STEP, g->K - k), g->acc || k > 0);
            }
        }
        if (has_epilogue(g)) {
            epilogue(g, kern, c, g->ldc, 0, g->M, j, j + n);
        }
    }
}

/* a as the rows of few_columns; copied to `to` if it is transposed or to be scaled. */
static const float *few_a(const mm1_gemm_args *g, float *to, int64_t *lda)
{
    *lda = g->lda;
    if (!g->trans_a && g->alpha == 1.0f) {
        return g->a;
    }
    *lda = g->K;
    for (int64_t i = 0; i < g->M; i++) {
        for (int64_t k = 0; k < g->K; k++) {
            to[i * g->K + k] = g->alpha * (g->trans_a ? g->a[k * g->lda + i] : g->a[i * g->lda + k]);
        }
    }
    return to;
}

/* ------------------------------------------------------------------------------------------------ entry */

/* Without scratch (mm1_kernels_init() was not called, or not for so many threads): the definition. */
static void plain(const mm1_gemm_args *g, const mm1_kernels *kern)
{
    enum { STEP = 64 };
    float t[STEP];
    for (int64_t m = 0; m < g->M; m++) {
        for (int64_t n0 = 0; n0 < g->N; n0 += STEP) {
            const int64_t n1 = min64(n0 + STEP, g->N);
            for (int64_t n = n0; n < n1; n++) {
                float sum = 0.0f;
                for (int64_t k = 0; k < g->K; k++) {
                    sum += g->alpha * (g->trans_a ? g->a[k * g->lda + m] : g->a[m * g->lda + k]) *
                           (g->trans_b ? g->b[n * g->ldb + k] : g->b[k * g->ldb + n]);
                }
                t[n - n0] = g->acc ? g->c[m * g->ldc + n] + sum : sum;
            }
            epilogue(g, kern, t, STEP, m, m + 1, n0, n1);
            if (g->residual == NULL) {
                memcpy(g->c + m * g->ldc + n0, t, (size_t)(n1 - n0) * sizeof *t);
            }
        }
    }
}

/* Rows x columns of the grid of threads: the one whose slowest thread has least to multiply and to pack. */
static int grid_rows(int64_t M, int64_t N, int n_threads, const mm1_kernels *kern)
{
    const int64_t mr = kern->gemm_mr, nr = kern->gemm_nr;
    double best = 0;
    int rows = 1;
    for (int r = 1; r <= n_threads; r++) {
        if (n_threads % r != 0) {
            continue;
        }
        const double m = (double)(ceil_div(ceil_div(M, mr), r) * mr);
        const double n = (double)(ceil_div(ceil_div(N, nr), n_threads / r) * nr);
        const double cost = m * n + 16 * (m * (double)ceil_div((int64_t)n, NC) + n);
        if (r == 1 || cost < best) {
            best = cost;
            rows = r;
        }
    }
    return rows;
}

/* Residual = c without activation is accumulation: no need to go aside. */
static mm1_gemm_args simplified(const mm1_gemm_args *args)
{
    mm1_gemm_args g = *args;
    if (g.residual == g.c && !needs_aside(&g)) {
        g.residual = NULL;
        g.acc = true;
    }
    return g;
}

static void serial(const mm1_gemm_args *g, const mm1_kernels *kern)
{
    const int index = mm1_thread_index();
    if (index >= pool.n) {
        plain(g, kern);
        return;
    }
    const scratch *s = &pool.parts[index];
    if (is_few(g)) {
        int64_t lda;
        const float *a = few_a(g, s->a, &lda);
        few_columns(g, kern, a, lda, 0, g->N);
    } else {
        work(g, kern, s, 0, g->M, 0, g->N);
    }
}

void mm1_gemm_serial(const mm1_gemm_args *args)
{
    const mm1_gemm_args g = simplified(args);
    if (g.M > 0 && g.N > 0) {
        serial(&g, mm1_kernels_get());
    }
}

void mm1_gemm(const mm1_gemm_args *args)
{
    const mm1_gemm_args g = simplified(args);
    const mm1_kernels *kern = mm1_kernels_get();
    const int n_threads = pool.n < mm1_threads() ? pool.n : mm1_threads();
    if (g.M <= 0 || g.N <= 0) {
        return;
    }
    if (n_threads <= 1 || omp_in_parallel() || g.M * g.N * g.K <= SERIAL_BELOW) {
        serial(&g, kern);
        return;
    }
    if (is_few(&g)) {
        int64_t lda;
        const float *a = few_a(&g, pool.parts[0].a, &lda);
#pragma omp parallel num_threads(n_threads)
        {
            const int64_t n_got = omp_get_num_threads(), i = omp_get_thread_num(), n_units = ceil_div(g.N, NG);
            const int64_t begin = n_units * i / n_got * NG, end = min64(n_units * (i + 1) / n_got * NG, g.N);
            few_columns(&g, kern, a, lda, begin, end);
        }
        return;
    }
#pragma omp parallel num_threads(n_threads)
    {
        const int n_got = omp_get_num_threads(), i = omp_get_thread_num();
        const int rows = grid_rows(g.M, g.N, n_got, kern), cols = n_got / rows, r = i / cols, q = i % cols;
        const int64_t mr = kern->gemm_mr, nr = kern->gemm_nr, mp = ceil_div(g.M, mr), np = ceil_div(g.N, nr);
        work(&g, kern, &pool.parts[i], mp * r / rows * mr, min64(mp * (r + 1) / rows * mr, g.M), np * q / cols * nr,
             min64(np * (q + 1) / cols * nr, g.N));
    }
}

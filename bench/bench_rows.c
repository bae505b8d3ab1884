/* bench_rows - time of each kernel of rows and images on one thread: the reference and every instruction set.
 *
 *   bench_rows [name part]
 *   bench_rows --once TABLE       every kernel of one table once, for a count of instructions: each is a function run_*
 *   bench_rows --list             the names of those functions and of the kernels
 *
 * One line a kernel and table: nanoseconds per element, GB/s of arrays read and written once (as if nothing were
 * cached), and the gain over the reference.  Arrays are of the size that a training step passes at a time (about 1 MB
 * each, in L2 or L3); the best of several runs counts. */
#include "base/alloc.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    ROWS = 256,
    WIDTH = 1024,
    N = ROWS * WIDTH, /* elements of an array */
    HEADS = 16,
    HEAD_DIM = 64,
    VOCAB = 32768,
    XENT_ROWS = N / VOCAB,
    TILE = 64,   /* attention tiles are TILE x TILE */
    DEPTH = 256, /* of the products of tiles */
    BLOCK = 96,  /* these tiles make up BLOCK x BLOCK */
    FEW = 4,     /* rows of the products that read b as it is */
    IMAGES = 1,
    SIDE = 27,
    POOLED = 12,
    CHANNELS = 352,
    PIXELS = SIDE * SIDE,
    SPATIAL = IMAGES * PIXELS * CHANNELS
};

static float *x, *y, *z, *out, *out2, *wide, *dwide, *row, *row2, *row3, *stat, *stat2;
static int32_t *position, *lo, *hi;
static uint16_t *half, *half2;
static volatile double sink;

typedef struct entry {
    const char *name, *function;
    double elements; /* that the ns are divided by */
    double arrays;   /* of that many floats, read or written */
    void (*run)(const mm1_kernels *k);
} entry;

#define RUN(name, call)                                                                                                \
    static void run_##name(const mm1_kernels *k)                                                                       \
    {                                                                                                                  \
        call;                                                                                                          \
    }

static void run_gemm_tile(const mm1_kernels *k)
{
    for (int i = 0; i < BLOCK; i += k->gemm_mr) {
        for (int j = 0; j < BLOCK; j += k->gemm_nr) {
            const int m = BLOCK - i < k->gemm_mr ? BLOCK - i : k->gemm_mr;
            const int n = BLOCK - j < k->gemm_nr ? BLOCK - j : k->gemm_nr;
            k->gemm_tile(out + i * BLOCK + j, BLOCK, x + i * DEPTH, y + j * DEPTH, DEPTH, m, n, false);
        }
    }
}

RUN(gemm_pack_a, k->gemm_pack(wide, k->gemm_mr, x, WIDTH, WIDTH, ROWS, false, 1))
RUN(gemm_pack_b, k->gemm_pack(wide, k->gemm_nr, x, WIDTH, WIDTH, ROWS, false, 1))
RUN(gemm_pack_a_turned, k->gemm_pack(wide, k->gemm_mr, x, WIDTH, ROWS, WIDTH, true, 1))
RUN(gemm_pack_b_turned, k->gemm_pack(wide, k->gemm_nr, x, WIDTH, ROWS, WIDTH, true, 1))
RUN(gemm_few_nt, k->gemm_few_nt(out, ROWS, x, WIDTH, y, WIDTH, FEW, ROWS, WIDTH, false))
RUN(gemm_few_nn, k->gemm_few_nn(out, WIDTH, x, WIDTH, y, WIDTH, FEW, WIDTH, ROWS, false))
RUN(add, k->add(out, x, y, N))
RUN(axpy, k->axpy(out, x, N, 1e-9f))
RUN(scale, k->scale(out, x, N, 0.5f))
RUN(dot, sink = k->dot(x, y, N))
RUN(all_finite, sink = k->all_finite(x, N))
RUN(relu, k->act_fwd(out, x, N, MM1_ACT_RELU))
RUN(gelu, k->act_fwd(out, x, N, MM1_ACT_GELU))
RUN(gelu_tanh, k->act_fwd(out, x, N, MM1_ACT_GELU_TANH))
RUN(silu, k->act_fwd(out, x, N, MM1_ACT_SILU))
RUN(gelu_bwd, k->act_bwd(out, y, x, N, MM1_ACT_GELU, false))
RUN(gelu_tanh_bwd, k->act_bwd(out, y, x, N, MM1_ACT_GELU_TANH, false))
RUN(silu_bwd, k->act_bwd(out, y, x, N, MM1_ACT_SILU, false))
RUN(swiglu, k->glu_fwd(out, wide, wide + N, N, MM1_ACT_SILU))
RUN(swiglu_bwd, k->glu_bwd(dwide, dwide + N, y, wide, wide + N, N, MM1_ACT_SILU))
RUN(rmsnorm, k->rmsnorm_fwd(out, stat, x, row, ROWS, WIDTH, 1e-5f))
RUN(rmsnorm_bwd, k->rmsnorm_bwd(out, row2, y, x, row, stat, ROWS, WIDTH, false))
RUN(layernorm, k->layernorm_fwd(out, stat2, stat, x, row, row2, ROWS, WIDTH, 1e-5f))
RUN(layernorm_bwd, k->layernorm_bwd(out, row2, row3, y, x, row, stat2, stat, ROWS, WIDTH, false))
RUN(sum_rows, k->sum_rows(row2, x, WIDTH, ROWS, WIDTH))
RUN(rope, k->rope(out, WIDTH, x, WIDTH, position, z, ROWS, HEADS, HEAD_DIM, false, false))
RUN(xent_loss, k->xent(x, VOCAB, stat, stat2, position, XENT_ROWS, VOCAB, 0, 0))

/* Each call needs fresh logits: the copy is part of the time of these three. */
static void run_xent(const mm1_kernels *k)
{
    memcpy(out, x, N * sizeof(float));
    k->xent(out, VOCAB, stat, stat2, position, XENT_ROWS, VOCAB, 1, 0);
}

static void run_softmax(const mm1_kernels *k)
{
    memcpy(out, x, N * sizeof(float));
    for (int r = 0; r < ROWS; r++) {
        sink = (double)k->softmax(out + r * WIDTH, WIDTH);
    }
}

static void run_attn_softmax(const mm1_kernels *k)
{
    memcpy(out, x, N * sizeof(float));
    for (int tile = 0; tile < N / (TILE * TILE); tile++) {
        k->attn_softmax(out + tile * TILE * TILE, TILE, stat, stat2, row2, lo, hi, TILE, TILE);
    }
}

static void run_attn_dsoftmax(const mm1_kernels *k)
{
    memcpy(out, x, N * sizeof(float));
    for (int tile = 0; tile < N / (TILE * TILE); tile++) {
        k->attn_dsoftmax(out + tile * TILE * TILE, out2 + tile * TILE * TILE, TILE, row, row, lo, hi, TILE, TILE);
    }
}

static const mm1_adamw_args adamw_args = {.lr = 1e-6f,
                                          .beta1 = 0.9f,
                                          .beta2 = 0.95f,
                                          .eps = 1e-8f,
                                          .decay = 0.1f,
                                          .correction1 = 1,
                                          .correction2 = 1,
                                          .grad_scale = 1};
static const uint32_t key[2] = {1, 2};

RUN(adamw, k->adamw(out, out2, z, y, N, &adamw_args))
RUN(adamw_bf16, k->adamw_bf16(out, half, half2, y, N, &adamw_args, key))
RUN(to_bf16, k->to_bf16(half, x, N))
RUN(from_bf16, k->from_bf16(out, half, N))

RUN(dwconv, k->dwconv_fwd(out, x, wide, IMAGES, SIDE, SIDE, CHANNELS))
RUN(dwconv_bwd_x, k->dwconv_bwd_x(out, y, wide, IMAGES, SIDE, SIDE, CHANNELS, false))
RUN(dwconv_bwd_w, k->dwconv_bwd_w(dwide, y, x, IMAGES, SIDE, SIDE, CHANNELS))
RUN(pool, k->pool_fwd(out, x, IMAGES, SIDE, SIDE, CHANNELS, POOLED, POOLED))
RUN(pool_bwd, k->pool_bwd(out, y, IMAGES, SIDE, SIDE, CHANNELS, POOLED, POOLED, false))
RUN(gate, k->gate_fwd(out, x, row, IMAGES, PIXELS, CHANNELS))
RUN(gate_bwd, k->gate_bwd(out, row2, y, x, row, IMAGES, PIXELS, CHANNELS, false))

#define ENTRY(name, elements, arrays, run)                                                                             \
    {                                                                                                                  \
        name, #run, elements, arrays, run                                                                              \
    }
static const entry entries[] = {
    ENTRY("gemm_tile", BLOCK *BLOCK *DEPTH, 0, run_gemm_tile),
    ENTRY("gemm_pack a", N, 2, run_gemm_pack_a),
    ENTRY("gemm_pack b", N, 2, run_gemm_pack_b),
    ENTRY("gemm_pack a, turned", N, 2, run_gemm_pack_a_turned),
    ENTRY("gemm_pack b, turned", N, 2, run_gemm_pack_b_turned),
    ENTRY("gemm_few_nt", N, 1, run_gemm_few_nt),
    ENTRY("gemm_few_nn", N, 1, run_gemm_few_nn),
    ENTRY("add", N, 3, run_add),
    ENTRY("axpy", N, 3, run_axpy),
    ENTRY("scale", N, 2, run_scale),
    ENTRY("dot", N, 2, run_dot),
    ENTRY("all_finite", N, 1, run_all_finite),
    ENTRY("act_fwd relu", N, 2, run_relu),
    ENTRY("act_fwd gelu", N, 2, run_gelu),
    ENTRY("act_fwd gelu_tanh", N, 2, run_gelu_tanh),
    ENTRY("act_fwd silu", N, 2, run_silu),
    ENTRY("act_bwd gelu", N, 3, run_gelu_bwd),
    ENTRY("act_bwd gelu_tanh", N, 3, run_gelu_tanh_bwd),
    ENTRY("act_bwd silu", N, 3, run_silu_bwd),
    ENTRY("glu_fwd silu", N, 3, run_swiglu),
    ENTRY("glu_bwd silu", N, 5, run_swiglu_bwd),
    ENTRY("rmsnorm_fwd", N, 2, run_rmsnorm),
    ENTRY("rmsnorm_bwd", N, 3, run_rmsnorm_bwd),
    ENTRY("layernorm_fwd", N, 2, run_layernorm),
    ENTRY("layernorm_bwd", N, 3, run_layernorm_bwd),
    ENTRY("sum_rows", N, 1, run_sum_rows),
    ENTRY("rope", N, 2, run_rope),
    ENTRY("xent loss only", N, 1, run_xent_loss),
    ENTRY("xent (+ copy)", N, 4, run_xent),
    ENTRY("softmax (+ copy)", N, 4, run_softmax),
    ENTRY("attn_softmax (+ copy)", N, 4, run_attn_softmax),
    ENTRY("attn_dsoftmax (+ copy)", N, 6, run_attn_dsoftmax),
    ENTRY("adamw", N, 7, run_adamw),
    ENTRY("adamw_bf16", N, 5, run_adamw_bf16),
    ENTRY("to_bf16", N, 1.5, run_to_bf16),
    ENTRY("from_bf16", N, 1.5, run_from_bf16),
    ENTRY("dwconv_fwd", SPATIAL, 2, run_dwconv),
    ENTRY("dwconv_bwd_x", SPATIAL, 2, run_dwconv_bwd_x),
    ENTRY("dwconv_bwd_w", SPATIAL, 2, run_dwconv_bwd_w),
    ENTRY("pool_fwd", SPATIAL, 1, run_pool),
    ENTRY("pool_bwd", SPATIAL, 1, run_pool_bwd),
    ENTRY("gate_fwd", SPATIAL, 2, run_gate),
    ENTRY("gate_bwd", SPATIAL, 3, run_gate_bwd),
};

enum { N_ENTRIES = sizeof entries / sizeof entries[0] };

static double seconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call: the best of runs that fill a tenth of a second, at least three. */
static double best_time(const entry *e, const mm1_kernels *k)
{
    double best = 1e9, spent = 0;
    for (int i = 0; i < 3 || spent < 0.1; i++) {
        const double begin = seconds_now();
        e->run(k);
        const double took = seconds_now() - begin;
        spent += took;
        best = took < best ? took : best;
    }
    return best;
}

static float *array(int64_t n, double low, double high, uint64_t seed)
{
    float *a = mm1_alloc((size_t)n, sizeof *a);
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_TEST, 0);
    for (int64_t i = 0; a != NULL && i < n; i++) {
        a[i] = (float)(low + (high - low) * mm1_rng_uniform(&r));
    }
    return a;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (int i = 0; i < N_ENTRIES; i++) {
            printf("%s\t%s\n", entries[i].function, entries[i].name);
        }
        return 0;
    }
    float **const arrays[] = {&x, &y, &z, &out, &out2, &wide, &dwide, &row, &row2, &row3, &stat, &stat2};
    enum { ARRAYS = sizeof arrays / sizeof arrays[0] };
    bool memory = true;
    for (int i = 0; i < ARRAYS; i++) {
        *arrays[i] = array(2 * N, i == 2 ? 0 : -3, 3, (uint64_t)i); /* z is also the v of AdamW */
        memory = memory && *arrays[i] != NULL;
    }
    position = mm1_calloc(N, sizeof *position);
    lo = mm1_calloc(TILE, sizeof *lo);
    hi = mm1_calloc(TILE, sizeof *hi);
    half = mm1_calloc(N, sizeof *half);
    half2 = mm1_calloc(N, sizeof *half2);
    if (!memory || position == NULL || lo == NULL || hi == NULL || half == NULL || half2 == NULL) {
        (void)fprintf(stderr, "bench_rows: out of memory\n");
        return 5;
    }
    for (int i = 0; i < N; i++) {
        position[i] = i % 1024;
    }
    for (int i = 0; i < TILE; i++) {
        hi[i] = TILE;
    }
    if (argc == 3 && strcmp(argv[1], "--once") == 0) {
        const mm1_kernels *k = NULL;
        for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
            k = strcmp(mm1_isa_name(isa), argv[2]) == 0 ? mm1_kernels_for(isa) : k;
        }
        if (k == NULL) {
            (void)fprintf(stderr, "bench_rows: this machine has no table %s\n", argv[2]);
            return 2;
        }
        for (int i = 0; i < N_ENTRIES; i++) {
            entries[i].run(k);
        }
        return 0;
    }
    printf("%-24s %-7s %9s %8s %7s\n", "kernel", "table", "ns/elem", "GB/s", "gain");
    for (int i = 0; i < N_ENTRIES; i++) {
        const entry *e = &entries[i];
        if (argc > 1 && strstr(e->name, argv[1]) == NULL) {
            continue;
        }
        double reference = 0;
        for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
            const mm1_kernels *k = mm1_kernels_for(isa);
            if (k == NULL) {
                continue;
            }
            const double t = best_time(e, k);
            reference = isa == MM1_ISA_REF ? t : reference;
            printf("%-24s %-7s %9.4f %8.2f %6.1fx\n", e->name, mm1_isa_name(isa), t * 1e9 / e->elements,
                   e->arrays * e->elements * sizeof(float) / t * 1e-9, reference / t);
        }
    }
    for (int i = 0; i < ARRAYS; i++) {
        mm1_free(*arrays[i]);
    }
    mm1_free(position);
    mm1_free(lo);
    mm1_free(hi);
    mm1_free(half);
    mm1_free(half2);
    return 0;
}

/* bench_gemm.c - the matrix product and attention beside the machine's limit and OpenBLAS.
 *
 *   bench_gemm [gemm|few|attention]...      all of them without arguments; MM1_THREADS, MM1_ISA as everywhere
 *
 * Both products run in turns (A B A B ...) on the same data and medians are compared: on a shared machine only such
 * ratios mean anything.  GFLOP/s count 2 M N K; attention counts the scores a causal mask lets through, 4 D of them
 * forward and 10 D backward. */
#include "base/alloc.h"
#include "base/thread.h"
#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(MM1_BENCH_OPENBLAS)
#include <cblas.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_RUNS = 41 };

/* ------------------------------------------------------------------------------------------------ the limit */

/* Twelve independent chains of multiply-adds in registers; returns the number of operations. */
#if defined(__x86_64__)
#define CHAIN_12(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)

__attribute__((target("avx2,fma"))) static double fma_loop_avx2(int64_t n, float *sink)
{
    __m256 s[12];
    const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
#define START(i) s[i] = _mm256_set1_ps((float)i);
#define STEP(i)  s[i] = _mm256_fmadd_ps(s[i], x, y);
#define ADD(i)   s[0] = _mm256_add_ps(s[0], s[i]);
    CHAIN_12(START)
    for (int64_t i = 0; i < n; i++) {
        CHAIN_12(STEP)
    }
    CHAIN_12(ADD)
    *sink += _mm256_cvtss_f32(s[0]);
#undef START
#undef STEP
#undef ADD
    return (double)n * 12 * 8 * 2;
}

__attribute__((target("avx512f"))) static double fma_loop_avx512(int64_t n, float *sink)
{
    __m512 s[12];
    const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
#define START(i) s[i] = _mm512_set1_ps((float)i);
#define STEP(i)  s[i] = _mm512_fmadd_ps(s[i], x, y);
#define ADD(i)   s[0] = _mm512_add_ps(s[0], s[i]);
    CHAIN_12(START)
    for (int64_t i = 0; i < n; i++) {
        CHAIN_12(STEP)
    }
    CHAIN_12(ADD)
    *sink += _mm512_cvtss_f32(s[0]);
#undef START
#undef STEP
#undef ADD
    return (double)n * 12 * 16 * 2;
}
#endif

typedef struct probe {
    int64_t n;
    float sink[64 * 16];
    double ops[64];
} probe;

static void probe_item(void *ctx, int64_t begin, int64_t end)
{
    probe *p = ctx;
    for (int64_t i = begin; i < end; i++) {
#if defined(__x86_64__)
        p->ops[i] = mm1_kernels_get()->isa == MM1_ISA_AVX512 ? fma_loop_avx512(p->n, &p->sink[i * 16])
                                                             : fma_loop_avx2(p->n, &p->sink[i * 16]);
#endif
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

/* GFLOP/s of register-only FMA on n threads, the best of some runs of about a millisecond. */
static double fma_peak(int n_threads, int runs)
{
    probe p = {.n = 500000};
    double best = 0;
    if (mm1_kernels_get()->isa == MM1_ISA_REF || n_threads > 64) {
        return NAN;
    }
    for (int run = 0; run < runs; run++) {
        const double start = mm1_time_now();
        mm1_parallel_for(n_threads, 1, probe_item, &p);
        const double took = mm1_time_now() - start;
        double ops = 0;
        for (int i = 0; i < n_threads; i++) {
            ops += p.ops[i];
        }
        best = ops / took > best ? ops / took : best;
    }
    return best * 1e-9;
}

/* ------------------------------------------------------------------------------------------------ products */

static float *numbers(int64_t n)
{
    float *x = mm1_alloc((size_t)n, sizeof *x);
    if (x == NULL) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(1);
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(i * 7919 % 1013) * 1e-3f - 0.5f;
    }
    return x;
}

static void theirs(const mm1_gemm_args *g)
{
#if defined(MM1_BENCH_OPENBLAS)
    cblas_sgemm(CblasRowMajor, g->trans_a ? CblasTrans : CblasNoTrans, g->trans_b ? CblasTrans : CblasNoTrans,
                (blasint)g->M, (blasint)g->N, (blasint)g->K, g->alpha, g->a, (blasint)g->lda, g->b, (blasint)g->ldb,
                g->acc ? 1.0f : 0.0f, g->c, (blasint)g->ldc);
#else
    (void)g;
#endif
}

static double timed(void (*fn)(const mm1_gemm_args *), const mm1_gemm_args *g, int repeat)
{
    const double start = mm1_time_now();
    for (int i = 0; i < repeat; i++) {
        fn(g);
    }
    return (mm1_time_now() - start) / repeat;
}

/* Prints one line; returns ours over theirs (their time over ours). */
static double race(int64_t M, int64_t N, int64_t K, bool trans_a, bool trans_b, double *gflops)
{
    float *a = numbers(M * K), *b = numbers(K * N), *c = numbers(M * N), *d = numbers(M * N);
    mm1_gemm_args g = {.M = M,
                       .N = N,
                       .K = K,
                       .a = a,
                       .b = b,
                       .c = c,
                       .lda = trans_a ? M : K,
                       .ldb = trans_b ? K : N,
                       .ldc = N,
                       .trans_a = trans_a,
                       .trans_b = trans_b,
                       .acc = trans_a,
                       .alpha = 1.0f};
    mm1_gemm_args h = g;
    h.c = d;
    double our_time[MAX_RUNS], their_time[MAX_RUNS], ratio[MAX_RUNS];
    mm1_gemm(&g);
    theirs(&h);
    const double once = timed(mm1_gemm, &g, 1);
    const int repeat = once > 2e-3 ? 1 : (int)(2e-3 / once) + 1;
    const int n = once > 30e-3 ? 5 : 11;
    for (int i = 0; i < n; i++) {
        our_time[i] = timed(mm1_gemm, &g, repeat);
        their_time[i] = timed(theirs, &h, repeat);
        ratio[i] = their_time[i] / our_time[i];
    }
    const double work = 2e-9 * (double)M * (double)N * (double)K, r = median(ratio, n);
    *gflops = work / median(our_time, n);
    printf("%s%s %5lld x %5lld x %5lld  %7.1f GFLOP/s  %6.1f GB/s of b  OpenBLAS %7.1f  ratio %.2f\n",
           trans_a ? "T" : "N", trans_b ? "T" : "N", (long long)M, (long long)N, (long long)K, *gflops,
           4e-9 * (double)N * (double)K / median(our_time, n), work / median(their_time, n), r);
    mm1_free(a);
    mm1_free(b);
    mm1_free(c);
    mm1_free(d);
    return r;
}

static void bench_products(void)
{
    static const int64_t shapes[][3] = {
        /* rows, out, in */
        {256, 512, 512},   {256, 2048, 512},  {256, 768, 192},  {1024, 768, 256},  {1024, 256, 1024},
        {1024, 1408, 512}, {1024, 512, 1408}, {1024, 768, 768}, {2048, 384, 384},  {2048, 1024, 384},
        {2048, 192, 768},  {2048, 2048, 512}, {4096, 512, 512}, {4096, 256, 1024}, {4096, 1408, 512},
        {4096, 512, 2048}, {4096, 768, 256},  {577, 768, 192},
    };
    double log_sum[3] = {0}, ours[3] = {0};
    const int n = sizeof shapes / sizeof *shapes;
    for (int i = 0; i < n; i++) {
        const int64_t rows = shapes[i][0], out = shapes[i][1], in = shapes[i][2];
        double gflops[3];
        log_sum[0] += log(race(rows, out, in, false, true, &gflops[0]));  /* Y = X W^T */
        log_sum[1] += log(race(rows, in, out, false, false, &gflops[1])); /* dX = dY W */
        log_sum[2] += log(race(out, in, rows, true, false, &gflops[2]));  /* dW += dY^T X */
        for (int f = 0; f < 3; f++) {
            ours[f] += gflops[f] / n;
        }
    }
    printf("mean NT %.1f NN %.1f TN %.1f GFLOP/s; geometric mean of the ratios NT %.3f NN %.3f TN %.3f all %.3f\n",
           ours[0], ours[1], ours[2], exp(log_sum[0] / n), exp(log_sum[1] / n), exp(log_sum[2] / n),
           exp((log_sum[0] + log_sum[1] + log_sum[2]) / (3 * n)));
}

static void bench_few_rows(void)
{
    static const int64_t rows[] = {1, 2, 4, 6, 8, 9, 12, 16, 24, 32, 48, 64};
    double gflops;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)race(rows[i], 512, 512, false, true, &gflops);
        (void)race(rows[i], 32000, 768, false, true, &gflops);
        (void)race(rows[i], 2048, 768, false, false, &gflops);
    }
}

/* ------------------------------------------------------------------------------------------------ attention */

static void bench_attention(int64_t B, int64_t T, int64_t H, int64_t Hkv, int64_t D)
{
    mm1_attention_args a = {.B = B, .T = T, .S = T, .H = H, .Hkv = Hkv, .D = D, .scale = 1.0f / sqrtf((float)D)};
    a.ldq = a.ldo = H * D;
    a.ldk = a.ldv = Hkv * D;
    float *q = numbers(B * T * H * D), *k = numbers(B * T * H * D), *v = numbers(B * T * H * D),
          *o = numbers(B * T * H * D);
    float *dq = numbers(B * T * H * D), *dk = numbers(B * T * H * D), *dv = numbers(B * T * H * D),
          *lse = numbers(B * H * T);
    int32_t *lo = mm1_calloc((size_t)(B * T), sizeof *lo), *hi = mm1_calloc((size_t)(B * T), sizeof *hi);
    void *scratch = mm1_alloc(mm1_attention_scratch_bytes(&a), 1);
    double fwd[MAX_RUNS], bwd[MAX_RUNS], of_peak[2][MAX_RUNS];
    if (lo == NULL || hi == NULL || scratch == NULL) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(1);
    }
    for (int64_t i = 0; i < B * T; i++) {
        hi[i] = (int32_t)(i % T + 1);
    }
    a.q = q;
    a.k = k;
    a.v = v;
    a.lo = lo;
    a.hi = hi;
    const double seen = (double)(B * H) * (double)(T * (T + 1) / 2) * (double)D * 1e-9;
    enum { N_RUNS = 15 };
    for (int i = 0; i < N_RUNS; i++) {
        const double before = fma_peak(mm1_threads(), 1);
        const double start = mm1_time_now();
        mm1_attention_fwd(o, lse, &a, scratch);
        const double middle = mm1_time_now();
        mm1_attention_bwd(dq, dk, dv, q, o, lse, &a, scratch);
        fwd[i] = middle - start;
        bwd[i] = mm1_time_now() - middle;
        /* the limit as it was just then: the probes before and after */
        const double peak = (before + fma_peak(mm1_threads(), 1)) / 2;
        of_peak[0][i] = 4 * seen / fwd[i] / peak;
        of_peak[1][i] = 10 * seen / bwd[i] / peak;
    }
    const double f = 4 * seen / median(fwd, N_RUNS), b = 10 * seen / median(bwd, N_RUNS);
    printf("attention B %lld T %lld H %lld/%lld D %lld  forward %.1f GFLOP/s (%.2f of peak)  backward %.1f (%.2f)\n",
           (long long)B, (long long)T, (long long)H, (long long)Hkv, (long long)D, f, median(of_peak[0], N_RUNS), b,
           median(of_peak[1], N_RUNS));
    mm1_free(q);
    mm1_free(k);
    mm1_free(v);
    mm1_free(o);
    mm1_free(dq);
    mm1_free(dk);
    mm1_free(dv);
    mm1_free(lse);
    mm1_free(lo);
    mm1_free(hi);
    mm1_free(scratch);
}

static bool wanted(int argc, char **argv, const char *what)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], what) == 0) {
            return true;
        }
    }
    return argc <= 1;
}

int main(int argc, char **argv)
{
    mm1_error err = {0};
    mm1_threads_set(0);
    if (mm1_kernels_init(NULL, &err) != MM1_OK) {
        fprintf(stderr, "bench_gemm: %s\n", err.message);
        return 1;
    }
    const int n = mm1_threads();
    printf("%s, %d threads; FMA peak %.1f GFLOP/s on 1 thread, %.1f on %d\n", mm1_isa_name(mm1_kernels_get()->isa), n,
           fma_peak(1, 25), fma_peak(n, 25), n);
    if (wanted(argc, argv, "gemm")) {
        bench_products();
    }
    if (wanted(argc, argv, "few")) {
        bench_few_rows();
    }
    if (wanted(argc, argv, "attention")) {
        bench_attention(4, 512, 8, 8, 64);
        bench_attention(4, 512, 8, 8, 32);
        bench_attention(2, 1024, 8, 8, 64);
        bench_attention(2, 1024, 8, 2, 64);
        bench_attention(2, 1024, 8, 8, 32);
        bench_attention(1, 1024, 12, 4, 64);
        bench_attention(2, 1024, 8, 4, 128);
    }
    return 0;
}

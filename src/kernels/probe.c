/* probe.c - see probe.h. */
#include "kernels/probe.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "kernels/gemm.h"
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>
#endif

/* ---- multiply-adds ---- */

/* Independent chains: more than latency times ports of any processor so far, and few enough for its registers. */
enum { CHAINS = 12, STEPS = 40000, FMA_RUNS = 10 };

/* A thread that other work interrupts counts for less in that run; each is timed by itself, so that a run in which none
 * was interrupted comes soon. */
static const double FMA_SECONDS = 0.02;

/* Each chain runs n steps of s = s x + y; returns a number that depends on all, and the operations made. */
typedef double fma_loop(int64_t n, float *sink);

/* Without vector instructions of its own: what the compiler makes of plain C. */
static double fma_loop_ref(int64_t n, float *sink)
{
    enum { LANES = 4 };
    float s[CHAINS * LANES];
    for (int c = 0; c < CHAINS * LANES; c++) {
        s[c] = (float)c;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int c = 0; c < CHAINS * LANES; c++) {
            s[c] = s[c] * 0.999f + 1e-3f;
        }
    }
    for (int c = 1; c < CHAINS * LANES; c++) {
        s[0] += s[c];
    }
    *sink = s[0];
    return 2.0 * CHAINS * LANES * (double)n;
}

#if defined(__x86_64__)
#define EACH(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)

__attribute__((target("avx2,fma"))) static double fma_loop_avx2(int64_t n, float *sink)
{
    __m256 s[CHAINS];
    const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
#define START(c) s[c] = _mm256_set1_ps((float)(c));
#define STEP(c)  s[c] = _mm256_fmadd_ps(s[c], x, y);
#define ADD(c)   s[0] = _mm256_add_ps(s[0], s[c]);
    EACH(START)
    for (int64_t i = 0; i < n; i++) {
        EACH(STEP)
    }
    EACH(ADD)
    *sink = _mm256_cvtss_f32(s[0]);
#undef START
#undef STEP
#undef ADD
    return 2.0 * CHAINS * 8 * (double)n;
}

__attribute__((target("avx512f"))) static double fma_loop_avx512(int64_t n, float *sink)
{
    __m512 s[CHAINS];
    const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
#define START(c) s[c] = _mm512_set1_ps((float)(c));
#define STEP(c)  s[c] = _mm512_fmadd_ps(s[c], x, y);
#define ADD(c)   s[0] = _mm512_add_ps(s[0], s[c]);
    EACH(START)
    for (int64_t i = 0; i < n; i++) {
        EACH(STEP)
    }
    EACH(ADD)
    *sink = _mm512_cvtss_f32(s[0]);
#undef START
#undef STEP
#undef ADD
    return 2.0 * CHAINS * 16 * (double)n;
}
#undef EACH
#endif

static fma_loop *loop_of(mm1_isa isa)
{
#if defined(__x86_64__)
    if (isa == MM1_ISA_AVX512) {
        return fma_loop_avx512;
    }
    if (isa == MM1_ISA_AVX2) {
        return fma_loop_avx2;
    }
#endif
    (void)isa;
    return fma_loop_ref;
}

typedef struct fma_job {
    fma_loop *loop;
    double rate[MM1_MAX_THREADS]; /* operations a second of each thread, while it ran */
    volatile float sink;          /* written by all, read by none: the loops must not be left out */
} fma_job;

static void fma_range(void *ctx, int64_t begin, int64_t end)
{
    fma_job *j = ctx;
    for (int64_t i = begin; i < end; i++) {
        float sink = 0;
        const double start = mm1_time_now(), ops = j->loop(STEPS, &sink);
        j->rate[i] = ops / (mm1_time_now() - start);
        if (sink == 0) { /* never: every chain tends to 1 */
            j->sink = sink;
        }
    }
}

/* The best and the mean rate of at least FMA_RUNS runs, and of so many seconds. */
static void fma_rates(int n_threads, double seconds, double *best, double *mean)
{
    fma_job j = {.loop = loop_of(mm1_kernels_get()->isa)};
    const int n = n_threads < MM1_MAX_THREADS ? n_threads : MM1_MAX_THREADS;
    const double begin = mm1_time_now();
    double sum = 0;
    int run = 0;
    *best = 0;
    for (; run < FMA_RUNS || mm1_time_now() - begin < seconds; run++) {
        double rate = 0;
        mm1_parallel_for(n, 1, fma_range, &j);
        for (int i = 0; i < n; i++) {
            rate += j.rate[i];
        }
        *best = rate > *best ? rate : *best;
        sum += rate;
    }
    *mean = sum / run;
}

double mm1_fma_probe(int n_threads)
{
    double best, mean;
    fma_rates(n_threads, FMA_SECONDS, &best, &mean);
    return best;
}

double mm1_fma_rate(int n_threads, double seconds)
{
    double best, mean;
    fma_rates(n_threads, seconds, &best, &mean);
    return mean;
}

/* ---- the matrix product ---- */

double mm1_gemm_probe_in(float *x)
{
    enum { N = 1024, RUNS = 9 };
    double best = 0;
    memset(x, 0, MM1_GEMM_PROBE_FLOATS * sizeof *x);
    for (int i = -1; i < RUNS; i++) { /* the first run warms up */
        const double start = mm1_time_now();
        mm1_gemm(&(mm1_gemm_args){.M = N,
                                  .N = N,
                                  .K = N,
                                  .a = x,
                                  .lda = N,
                                  .b = x + N * N,
                                  .ldb = N,
                                  .c = x + 2 * N * N,
                                  .ldc = N,
                                  .alpha = 1,
                                  .trans_b = true});
        const double rate = 2.0 * N * N * N / (mm1_time_now() - start);
        best = i >= 0 && rate > best ? rate : best;
    }
    return best;
}

double mm1_gemm_probe(void)
{
    float *x = mm1_alloc(MM1_GEMM_PROBE_FLOATS, sizeof *x);
    const double rate = x != NULL ? mm1_gemm_probe_in(x) : 0;
    mm1_free(x);
    return rate;
}

/* ---- memory ---- */

enum { BANDWIDTH_FLOATS = 16 << 20, BANDWIDTH_RUNS = 5, BANDWIDTH_PIECE = 1 << 12 };

typedef struct bandwidth_job {
    float *y;
    const float *x;
    volatile double sink; /* as above */
} bandwidth_job;

static void read_range(void *ctx, int64_t begin, int64_t end)
{
    bandwidth_job *j = ctx;
    const mm1_kernels *k = mm1_kernels_get();
    double sum = 0;
    for (int64_t i = begin; i < end; i += BANDWIDTH_PIECE) {
        const int64_t n = end - i < BANDWIDTH_PIECE ? end - i : BANDWIDTH_PIECE;
        sum += k->dot(j->x + i, j->x + i, n);
    }
    if (sum == 0) { /* never: the numbers are ones */
        j->sink = sum;
    }
}

static void triad_range(void *ctx, int64_t begin, int64_t end)
{
    const bandwidth_job *j = ctx;
    mm1_kernels_get()->axpy(j->y + begin, j->x + begin, end - begin, 0.5f);
}

/* Bytes a second of the best run that passes n_arrays arrays. */
static double pass_rate(bandwidth_job *j, mm1_range_fn *pass, int n_arrays)
{
    double best = 0;
    for (int run = 0; run < BANDWIDTH_RUNS; run++) {
        const double start = mm1_time_now();
        mm1_parallel_for(BANDWIDTH_FLOATS, 1 << 16, pass, j);
        const double rate = (double)n_arrays * sizeof(float) * BANDWIDTH_FLOATS / (mm1_time_now() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

mm1_status mm1_bandwidth_probe(mm1_bandwidth *out, mm1_error *err)
{
    const size_t n = BANDWIDTH_FLOATS;
    *out = (mm1_bandwidth){0};
    float *memory = mm1_calloc(2 * n, sizeof *memory);
    if (memory == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to measure the bandwidth: 2 x %zu MiB",
                             n * sizeof *memory >> 20);
    }
    for (size_t i = 0; i < n; i++) { /* pages that were never written are all the same one */
        memory[i] = 1.0f;
    }
    bandwidth_job j = {.y = memory + n, .x = memory};
    out->triad = pass_rate(&j, triad_range, 3);
    out->read = pass_rate(&j, read_range, 1);
    mm1_free(memory);
    return MM1_OK;
}

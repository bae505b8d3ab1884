/* bench_attention.c - see bench_attention.h. */
#include "study/bench_attention.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "base/thread.h"
#include "kernels/attention.h"
#include "kernels/probe.h"
#include "study/median.h"
#include <math.h>

enum { MIN_RUNS = 3, MAX_RUNS = 9 };

#define SECONDS 4.0 /* a shape: long sequences have fewer runs */

static const mm1_attention_result shapes[MM1_BENCH_ATTENTION_SHAPES] = {
    {.B = 8, .T = 512, .H = 8, .Hkv = 8, .D = 64, .causal = true, .examples = 1}, /* decoder of bench/recipes */
    {.B = 4, .T = 1024, .H = 8, .Hkv = 8, .D = 64, .causal = true, .examples = 1},
    {.B = 4, .T = 1024, .H = 8, .Hkv = 2, .D = 64, .causal = true, .examples = 1},
    {.B = 1, .T = 4096, .H = 8, .Hkv = 8, .D = 64, .causal = true, .examples = 1},
    {.B = 1, .T = 4096, .H = 8, .Hkv = 1, .D = 64, .causal = true, .examples = 1},
    {.B = 1, .T = 8192, .H = 4, .Hkv = 4, .D = 64, .causal = true, .examples = 1},
    {.B = 1, .T = 16384, .H = 2, .Hkv = 2, .D = 64, .causal = true, .examples = 1},
    {.B = 1, .T = 4096, .H = 8, .Hkv = 8, .D = 64, .causal = true, .examples = 8}, /* the first one in a row */
    {.B = 2, .T = 1024, .H = 8, .Hkv = 8, .D = 32, .causal = true, .examples = 1},
    {.B = 2, .T = 1024, .H = 8, .Hkv = 4, .D = 128, .causal = true, .examples = 1},
    {.B = 8, .T = 196, .H = 6, .Hkv = 6, .D = 64, .causal = false, .examples = 1}, /* ViT-S/16 at 224 */
    {.B = 4, .T = 576, .H = 6, .Hkv = 6, .D = 64, .causal = false, .examples = 1}, /* ViT-S/14 at 336 */
};

/* q, k, v, o and their gradients, one array after the other. */
enum { Q, K, V, O, DQ, DK, DV, DO, ARRAYS };

static mm1_status measure(mm1_attention_result *r, mm1_error *err)
{
    const int64_t n = r->B * r->T, each = n * r->H * r->D;
    mm1_attention_args a = {
        .B = r->B, .T = r->T, .S = r->T, .H = r->H, .Hkv = r->Hkv, .D = r->D, .scale = 1.0f / sqrtf((float)r->D)};
    a.ldq = a.ldo = r->H * r->D;
    a.ldk = a.ldv = r->Hkv * r->D;
    float *x = mm1_alloc((size_t)(ARRAYS * each), sizeof *x), *lse = mm1_alloc((size_t)(n * r->H), sizeof *lse);
    int32_t *lo = mm1_alloc((size_t)n, sizeof *lo), *hi = mm1_alloc((size_t)n, sizeof *hi);
    void *scratch = mm1_alloc(mm1_attention_scratch_bytes(&a, true), 1);
    const int64_t example = r->T / r->examples;
    double forward[MAX_RUNS], backward[MAX_RUNS], shares[2][MAX_RUNS];
    mm1_status st = MM1_OK;
    if (x == NULL || lse == NULL || lo == NULL || hi == NULL || scratch == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for attention over %lld x %lld positions", (long long)r->B,
                           (long long)r->T);
        goto out;
    }
    mm1_rng rng = mm1_rng_make(1, MM1_RNG_BENCH, 0);
    for (int64_t i = 0; i < ARRAYS * each; i++) {
        x[i] = (float)(2 * mm1_rng_uniform(&rng) - 1);
    }
    for (int64_t i = 0; i < n; i++) {
        lo[i] = (int32_t)(i % r->T / example * example);
        hi[i] = (int32_t)(r->causal ? i % r->T + 1 : lo[i] + example);
    }
    a.q = x + Q * each;
    a.k = x + K * each;
    a.v = x + V * each;
    a.lo = lo;
    a.hi = hi;
    const double L = (double)example, seen = (double)(n / example) * (r->causal ? L * (L + 1) / 2 : L * L);
    const double pairs = (double)(r->H * r->D) * seen;
    double before = mm1_fma_probe(mm1_threads());
    int n_runs = MAX_RUNS;
    for (int i = -1; i < n_runs; i++) { /* the first run warms up */
        const int at = i < 0 ? 0 : i;
        const double start = mm1_time_now();
        mm1_attention_fwd(x + O * each, lse, &a, scratch);
        const double middle = mm1_time_now();
        mm1_attention_bwd(x + DQ * each, x + DK * each, x + DV * each, x + DO * each, x + O * each, lse, &a, scratch);
        const double end = mm1_time_now();
        const double after = mm1_fma_probe(mm1_threads()), peak = (before + after) / 2;
        before = after;
        forward[at] = 4 * pairs / (middle - start);
        backward[at] = 10 * pairs / (end - middle);
        shares[0][at] = forward[at] / peak;
        shares[1][at] = backward[at] / peak;
        if (i < 0) {
            n_runs = (int)fmin(fmax(SECONDS / (end - start), MIN_RUNS), MAX_RUNS);
        }
    }
    r->forward = mm1_median(forward, n_runs);
    r->backward = mm1_median(backward, n_runs);
    r->forward_share = mm1_median(shares[0], n_runs);
    r->backward_share = mm1_median(shares[1], n_runs);
out:
    mm1_free(scratch);
    mm1_free(hi);
    mm1_free(lo);
    mm1_free(lse);
    mm1_free(x);
    return st;
}

mm1_status mm1_bench_attention_run(int threads, int64_t positions, mm1_attention_result out[MM1_BENCH_ATTENTION_SHAPES],
                                   int *n, mm1_error *err)
{
    mm1_threads_set(threads);
    mm1_status st = mm1_kernels_init(NULL, err);
    *n = 0;
    for (int i = 0; st == MM1_OK && i < MM1_BENCH_ATTENTION_SHAPES; i++) {
        if (positions == 0 || positions == shapes[i].T) {
            out[*n] = shapes[i];
            st = measure(&out[(*n)++], err);
        }
    }
    if (st == MM1_OK && *n == 0) {
        st = mm1_error_set(err, MM1_E_CONFIG, "no shape that is measured has sequences of %lld positions",
                           (long long)positions);
    }
    return st;
}

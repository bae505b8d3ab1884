/* thread.c - see thread.h. */
#include "base/thread.h"

#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static int n_threads = 1;

void mm1_thread_flush_denormals(void)
{
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u); /* FTZ | DAZ */
#endif
}

static int env_threads(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    const long n = text != NULL ? strtol(text, &end, 10) : 0;
    return text != NULL && end != text && *end == '\0' && n > 0 && n <= 1024 ? (int)n : 0;
}

void mm1_threads_set(int n)
{
    if (n <= 0) {
        n = env_threads("MM1_THREADS");
    }
    if (n <= 0) {
        n = env_threads("OMP_NUM_THREADS");
    }
    if (n <= 0) {
        cpu_set_t cpus;
        n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    }
    n_threads = n < 1 ? 1 : n;
    omp_set_dynamic(0);
    omp_set_num_threads(n_threads);
#pragma omp parallel
    mm1_thread_flush_denormals();
}

int mm1_threads(void)
{
    return n_threads;
}

int mm1_thread_index(void)
{
    return omp_get_thread_num();
}

void mm1_parallel_for(int64_t n, int64_t grain, mm1_range_fn *fn, void *ctx)
{
    if (n <= 0) {
        return;
    }
    const int64_t least = grain > 0 ? grain : 1;
    int64_t n_parts = (n + least - 1) / least;
    if (n_parts > n_threads) {
        n_parts = n_threads;
    }
    if (n_parts <= 1 || omp_in_parallel()) {
        fn(ctx, 0, n);
        return;
    }
#pragma omp parallel num_threads((int)n_parts)
    {
        const int64_t n_got = omp_get_num_threads(), i = omp_get_thread_num();
        const int64_t begin = n * i / n_got, end = n * (i + 1) / n_got;
        if (begin < end) {
            fn(ctx, begin, end);
        }
    }
}

void mm1_parallel_each(int64_t n, mm1_range_fn *fn, void *ctx)
{
    if (n <= 1 || n_threads <= 1 || omp_in_parallel()) {
        for (int64_t i = 0; i < n; i++) {
            fn(ctx, i, i + 1);
        }
        return;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads)
    for (int64_t i = 0; i < n; i++) {
        fn(ctx, i, i + 1);
    }
}

double mm1_time_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* bench_threads - what a region of the pool costs, beside gcc's OpenMP in the same run.
 *
 *   bench_threads [THREADS]       default: all CPUs
 *
 * Microseconds by which a region takes longer than each of its parts does, where each thread has one part: back to
 * back, and after the caller alone has worked for a while, in which the others may have fallen asleep.  Rounds of both
 * take turns; the median of the rounds counts.  The last column is the processor time of all threads by the time of the
 * clock, in threads: what waiting takes from other programs.  libgomp.so.1 is opened at run time; without it there is
 * no line of it. */
#include "base/thread.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void gomp_parallel_fn(void (*fn)(void *), void *data, unsigned n_threads, unsigned flags);

static gomp_parallel_fn *gomp_parallel;

static double part_seconds;

static void work_for(double seconds)
{
    const double begin = mm1_time_now();
    while (seconds > 0 && mm1_time_now() - begin < seconds) {
    }
}

static void parts(void *ctx, int64_t begin, int64_t end)
{
    (void)ctx;
    work_for((double)(end - begin) * part_seconds);
}

static void part_of_gomp(void *data)
{
    (void)data;
    work_for(part_seconds);
}

static void region(bool ours)
{
    if (ours) {
        mm1_parallel_for(mm1_threads(), 1, parts, NULL);
    } else {
        gomp_parallel(part_of_gomp, NULL, (unsigned)mm1_threads(), 0);
    }
}

static double cpu_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct cost {
    double region, cpu; /* seconds; threads */
} cost;

static cost measure(bool ours, int n_regions, double gap)
{
    const double cpu = cpu_seconds(), start = mm1_time_now();
    double spent = 0;
    for (int i = 0; i < n_regions; i++) {
        work_for(gap);
        const double begin = mm1_time_now();
        region(ours);
        spent += mm1_time_now() - begin;
    }
    return (cost){spent / n_regions - part_seconds, (cpu_seconds() - cpu) / (mm1_time_now() - start)};
}

static int by_region(const void *a, const void *b)
{
    const double x = ((const cost *)a)->region, y = ((const cost *)b)->region;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    enum { ROUNDS = 11 };
    static const struct {
        double part, gap; /* seconds */
        int regions;
    } cases[] = {{0, 0, 20000},       {5e-6, 0, 4000},      {5e-6, 5e-6, 3000}, {5e-6, 20e-6, 2000},
                 {5e-6, 100e-6, 500}, {50e-6, 100e-6, 300}, {50e-6, 1e-3, 60}};
    mm1_threads_set(argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0);
    void *gomp = dlopen("libgomp.so.1", RTLD_NOW | RTLD_LOCAL);
    void *symbol = gomp != NULL ? dlsym(gomp, "GOMP_parallel") : NULL;
    memcpy(&gomp_parallel, &symbol, sizeof symbol);
    const int last = symbol != NULL ? 0 : 1;
    (void)printf("%-8s %12s %18s %10s %14s\n", "", "a part, us", "alone before, us", "cost, us", "threads busy");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cost rounds[2][ROUNDS];
        part_seconds = cases[c].part;
        for (int i = 0; i < ROUNDS; i++) {
            for (int ours = 1; ours >= last; ours--) {
                rounds[ours][i] = measure(ours == 1, cases[c].regions, cases[c].gap);
            }
        }
        for (int ours = 1; ours >= last; ours--) {
            qsort(rounds[ours], ROUNDS, sizeof *rounds[ours], by_region);
            const cost median = rounds[ours][ROUNDS / 2];
            (void)printf("%-8s %12.0f %18.0f %10.2f %14.2f\n", ours == 1 ? "mm1" : "libgomp", 1e6 * cases[c].part,
                         1e6 * cases[c].gap, 1e6 * median.region, median.cpu);
        }
    }
    return 0;
}

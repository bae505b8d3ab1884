/* bench_compare.h - two models on the same items: differences with paired bootstrap intervals, from the samples.jsonl
 * of two evaluations.
 *
 * Items are paired by task, number of demonstrations and id; an item's score is the mean over its seeds.  Items that
 * only one of the files has are counted and not used.  Threads: thread-safe. */
#ifndef MM1_EVAL_BENCH_COMPARE_H
#define MM1_EVAL_BENCH_COMPARE_H

#include "eval/bootstrap.h"

typedef struct mm1_bench_difference {
    char *task; /* owned */
    int64_t shots, n, n_only_first, n_only_second;
    double first, second;    /* means over the n items that both have */
    mm1_interval difference; /* first - second */
} mm1_bench_difference;

typedef struct mm1_bench_comparison {
    mm1_bench_difference *cells; /* [n] sorted by task and shots */
    size_t n;
} mm1_bench_comparison;

/* Paths of samples.jsonl, or of the folders that hold one.  MM1_E_IO; MM1_E_FORMAT for a line that is no sample, or if
 * no item is in both. */
MM1_NODISCARD mm1_status mm1_bench_compare(const char *first, const char *second, mm1_bench_comparison *out,
                                           mm1_error *err);
void mm1_bench_comparison_deinit(mm1_bench_comparison *c); /* accepts a zeroed one */

#endif

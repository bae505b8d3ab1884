/* bench_attention.h - attention beside the machine's limit: useful operations by the mask, forward and backward. */
#ifndef MM1_STUDY_BENCH_ATTENTION_H
#define MM1_STUDY_BENCH_ATTENTION_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_attention_result {
    int64_t B, T, H, Hkv, D;
    bool causal;
    int64_t examples;                     /* of equal length, packed into each sequence */
    double forward, backward;             /* useful operations a second, of the median run: 4 D and 10 D a pair seen */
    double forward_share, backward_share; /* of the multiply-adds probed around each run, median */
} mm1_attention_result;

enum { MM1_BENCH_ATTENTION_SHAPES = 12 };

/* The shapes that are measured, *n of them: all, or those whose sequences have this many positions (0: all;
 * MM1_E_CONFIG if there is none); with the threads (0: as everywhere) and kernels that are set here. */
MM1_NODISCARD mm1_status mm1_bench_attention_run(int threads, int64_t positions,
                                                 mm1_attention_result out[MM1_BENCH_ATTENTION_SHAPES], int *n,
                                                 mm1_error *err);

#endif

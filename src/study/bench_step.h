/* bench_step.h - how fast one training step of a recipe is, and where its time goes.
 *
 * The step is the one of mm1_train(): the same gradients, the same update.  Batches come from the recipe's loader, or
 * are made up where there is no data: full rows of random tokens, with images of random pixels spread evenly over them.
 * The limits of the machine are probed in the same run, the multiply-adds between the steps. */
#ifndef MM1_STUDY_BENCH_STEP_H
#define MM1_STUDY_BENCH_STEP_H

#include "kernels/probe.h"
#include "tensor/profile.h"
#include "train/recipe.h"

typedef enum mm1_bench_part {
    MM1_BENCH_MODEL, /* a whole step: forward, backward, norm of the gradients, update */
    MM1_BENCH_VISION /* the image encoder alone, forward and backward, no update; made-up images only */
} mm1_bench_part;

enum { MM1_BENCH_MAX_STEPS = 1000 };

typedef struct mm1_bench_step_options {
    mm1_bench_part part;
    int64_t steps;  /* timed, after one that is not; 1 to MM1_BENCH_MAX_STEPS */
    int64_t images; /* in each row of a made-up batch; -1: the recipe's data, or none if it names no sources.  VISION:
                       in each of data.batch rows, -1 for 1 */
} mm1_bench_step_options;

typedef struct mm1_bench_step {
    bool made_up;
    int threads;
    int64_t steps, params;    /* params: of what is trained */
    double positions, images; /* of a step: the mean; positions that are not padding */
    double flops;             /* of a step: the mean, as mm1_flops_step() counts */
    double loss;              /* nats a target, of the first step, before any update; 0 for VISION */
    double step_seconds;      /* median */
    double wait_share;        /* of all steps: waiting for the loader */
    double tokens_per_second, images_per_second, mfu; /* of the median step; mfu: share of fma_peak */
    double fma_peak;                                  /* operations a second: the best probe of the run */
    double fma_median;            /* the median of the probes between the steps: what other work has left */
    double gemm_rate, gemm_probe; /* operations a second: inside the steps, and of 1024 x 1024 x 1024 */
    double non_gemm_share;        /* of all steps' time, waiting left out: not in a product (profile.h) */
    mm1_bandwidth bandwidth;
    int64_t peak_bytes;     /* largest resident size of the process up to the last step */
    double profile_seconds; /* of all steps: what the shares of the operators refer to, waiting left out */
    mm1_profile profile;    /* of all timed steps together */
} mm1_bench_step;

/* Sets threads and kernels as the recipe says.  MM1_E_CONFIG: the recipe, or images that a row has no room for; errors
 * of the loader, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_bench_step_run(const mm1_recipe *recipe, const mm1_bench_step_options *options,
                                            mm1_bench_step *out, mm1_error *err);

/* The same step by step, for those who take turns.  Made for one set of threads and kernels: what is created last sets
 * them for all. */
typedef struct mm1_step_bench mm1_step_bench;

typedef struct mm1_step_time {
    double seconds, flops, positions; /* as above, of one step; seconds with the waiting for data */
    size_t arena_bytes;               /* the most that activations and scratch have taken so far */
} mm1_step_time;

/* The recipe is borrowed until the end; options->steps is not used.  Errors as above. */
MM1_NODISCARD mm1_status mm1_step_bench_create(const mm1_recipe *recipe, const mm1_bench_step_options *options,
                                               mm1_step_bench **out, mm1_error *err);
void mm1_step_bench_destroy(mm1_step_bench *b); /* accepts NULL */
MM1_NODISCARD mm1_status mm1_step_bench_time(mm1_step_bench *b, mm1_step_time *out, mm1_error *err);

#endif

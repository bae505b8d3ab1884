/* trainer.h - the pre-training loop: batches in, checkpoints and metrics out.  What is learned is the objective's
 * (objective.h).
 *
 * The same recipe, seed and thread count give the same bits; a run that is killed and
 * resumed gives the same model.safetensors as one that was not.
 *
 * Threads: one training at a time in a process. */
#ifndef MM1_TRAIN_TRAINER_H
#define MM1_TRAIN_TRAINER_H

#include "train/checkpoint.h"
#include "train/objective.h"
#include <signal.h>

typedef struct mm1_train_progress {
    int64_t step, n_steps; /* this step (from 1) and the last one */
    double loss;           /* nats, but for what the objective says */
    double lr, grad_norm;
    int64_t tokens, images;            /* of the run so far; tokens are positions, visual ones included, padding not */
    double seconds;                    /* of training so far */
    double step_seconds, wait_seconds; /* of this step, and how much of it the loader was waited for */
    double tokens_per_second, images_per_second,
        mfu; /* rates smoothed; mfu of all steps of this session (flop_rate.h) */
    double eta_seconds;
    int64_t n_sources;
    const char *source_names[MM1_DATA_MAX_SOURCES];
    const mm1_objective_report *report; /* of this step's batch */
} mm1_train_progress;

typedef enum mm1_resume { MM1_RESUME_AUTO, MM1_RESUME_NEVER, MM1_RESUME_FROM } mm1_resume;

typedef struct mm1_train_options {
    const char *run_dir;               /* made if it is not there */
    mm1_resume resume;                 /* AUTO: go on from the newest checkpoint of run_dir if there is one */
    const char *resume_dir;            /* FROM: this checkpoint folder */
    const volatile sig_atomic_t *stop; /* not 0: save and return MM1_E_CANCELLED; may be NULL */
    void (*on_step)(void *ctx, const mm1_train_progress *p); /* may be NULL */
    void *ctx;
} mm1_train_options;

/* What a finished or interrupted training has to say. */
typedef struct mm1_train_result {
    int64_t steps, tokens, images;
    double seconds, wait_seconds, mfu, tokens_per_second; /* wait and rates: of this session */
    double gemm_flops;                                    /* rate of the matrix product, operations a second */
    size_t arena_peak_bytes;
} mm1_train_result;

/* The recipe's threads, kernels, tokenizer and model are set up here.  A value that is not finite stops the run with
 * MM1_E_NUMERIC, the name of the first bad tensor, and the batch in <run>/bad_batch.safetensors for replay. */
MM1_NODISCARD mm1_status mm1_train(const mm1_recipe *recipe, const mm1_train_options *options, mm1_train_result *result,
                                   mm1_error *err);

/* The model of a recipe, whose configuration is resolved, with its adapters; no memory for values. */
MM1_NODISCARD mm1_status mm1_train_model_init(mm1_model *m, const mm1_recipe *recipe, const mm1_model_config *config,
                                              mm1_error *err);
/* Marks the parameters that the recipe trains. */
void mm1_train_freeze(mm1_model *m, const mm1_train_config *c);
/* Bytes that one training step of this recipe takes from the arena at most, by a dry run.  The model needs no memory
 * for its values (mm1_model_init() is enough); the parts that the recipe freezes are frozen in it. */
MM1_NODISCARD mm1_status mm1_train_plan_arena(mm1_model *m, const mm1_recipe *recipe, size_t *bytes, mm1_error *err);

/* Model configuration of a recipe with the vocabulary of its tokenizer filled in; NULL for a model without one. */
MM1_NODISCARD mm1_status mm1_recipe_model_config(const mm1_recipe *recipe, const mm1_tokenizer *tokenizer,
                                                 mm1_model_config *out, mm1_error *err);
/* train.lr_peak, or what the law gives for this decoder. */
double mm1_recipe_lr_peak(const mm1_recipe *recipe, const mm1_model *m);

#endif

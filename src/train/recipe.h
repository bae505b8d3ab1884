/* recipe.h - a whole recipe: one YAML file that says which data is built, which model is trained on what, and how.
 *
 * One table of fields (base/fields.h) drives parsing, ranges, --set, the resolved copy in the run folder and the
 * reference page docs/recipe.md.  Strings are owned; free with mm1_recipe_deinit(). */
#ifndef MM1_TRAIN_RECIPE_H
#define MM1_TRAIN_RECIPE_H

#include "data/build.h"
#include "data/data_config.h"
#include "model/lora.h"
#include "model/model_config.h"
#include <mm1/tokenizer.h>

/* By what gradients become updates (optimizer.h). */
typedef enum mm1_optimizer_kind {
    MM1_OPTIMIZER_ADAMW,
    MM1_OPTIMIZER_ADAFACTOR,
    MM1_OPTIMIZER_COUNT
} mm1_optimizer_kind;

/* How the two moments of AdamW are stored. */
typedef enum mm1_moments { MM1_MOMENTS_F32, MM1_MOMENTS_BF16, MM1_MOMENTS_COUNT } mm1_moments;

/* What is learned (objective.h). */
typedef enum mm1_objective_kind {
    MM1_OBJECTIVE_TEXT,
    MM1_OBJECTIVE_CONTRASTIVE,
    MM1_OBJECTIVE_AIM,
    MM1_OBJECTIVE_COUNT
} mm1_objective_kind;

typedef struct mm1_train_config {
    int objective;       /* mm1_objective_kind */
    int64_t n_steps;     /* optimiser steps */
    double max_minutes;  /* 0: no bound; else n_steps is lowered once, early, to what fits */
    int64_t seed;        /* every stream of random numbers is derived from it */
    int64_t threads;     /* 0: MM1_THREADS, OMP_NUM_THREADS, or all CPUs */
    int64_t micro_batch; /* rows in one forward and backward pass; does not change what is learned */
    int activations;     /* mm1_activations: of blocks, until the backward pass */
    int optimizer;       /* mm1_optimizer_kind */
    int moments;         /* mm1_moments */
    double lr_peak;      /* of what has factor 1; NAN: the paper's law for decoders */
    double lr_final;     /* share of the peak that is left at the end */
    int64_t lr_warmup_steps;
    double lr_vision, lr_connector, lr_decoder, lr_head; /* factor of lr_peak for each part; 0 freezes it */
    double weight_decay, beta1, beta2, eps;
    bool scale_parameter;    /* AdaFactor: the rate is times the root mean square of the parameter */
    double clip_norm;        /* of all gradients together; 0: none */
    double z_loss;           /* coefficient of (log sum exp)^2 */
    double patch_keep;       /* contrastive: share of a picture's patches that is read */
    double view_temperature; /* contrastive: of the cosines between two views */
    int64_t checkpoint_every, keep_last, log_every;
} mm1_train_config;

/* Folders of models that training begins with: the whole of one, or parts; NULL: drawn at random. */
typedef struct mm1_init_config {
    char *model, *vision, *connector, *decoder;
} mm1_init_config;

typedef struct mm1_recipe {
    char *name;
    char *tokenizer; /* path of tokenizer.json */
    mm1_build_config build;
    mm1_model_config model;
    mm1_init_config init;
    mm1_lora_config lora;
    mm1_data_config data;
    mm1_train_config train;
} mm1_recipe;

extern const mm1_field mm1__recipe_fields[];

/* Reads `path` over the defaults, then the n assignments "key=value" in order.  With init.model, the defaults of
 * `model` are what that folder says, that of `tokenizer` is its own, and data.chat auto becomes its chat template.  On
 * failure nothing is to be freed. */
MM1_NODISCARD mm1_status mm1_recipe_load(mm1_recipe *r, const char *path, const char *const *assignments, size_t n,
                                         mm1_error *err);
void mm1_recipe_deinit(mm1_recipe *r);

/* Whether it trains on conversations. */
bool mm1_recipe_has_conversations(const mm1_recipe *r);
/* The tokenizer of a model that has one: `tokenizer`, or that of init.model.  MM1_E_CONFIG if neither is set. */
MM1_NODISCARD mm1_status mm1_recipe_tokenizer(const mm1_recipe *r, mm1_tokenizer **out, mm1_error *err);

#endif

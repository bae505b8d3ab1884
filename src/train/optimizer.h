/* optimizer.h - updates over the table of parameters, by AdamW or AdaFactor, with clipping by the global norm.
 *
 * AdamW has decoupled decay and two moments for each parameter, which lie as gradients do, in f32 or in bf16.  What an
 * update of bf16 is rounded by is a function of the seed, the number of the update and the place in the table, so that
 * a resumed run gives the same bits.
 *
 * AdaFactor (adafactor.c) keeps for a matrix the means of squared gradients of its rows and columns alone.
 *
 * Threads: as the model; the pool is used. */
#ifndef MM1_TRAIN_OPTIMIZER_H
#define MM1_TRAIN_OPTIMIZER_H

#include "model/model.h"
#include "tensor/safetensors.h"
#include "train/recipe.h"

typedef struct mm1_optimizer {
    mm1_optimizer_kind kind;
    mm1_moments moments; /* of AdamW: */
    float *m, *v;        /* MM1_MOMENTS_F32, else NULL */
    uint16_t *m16, *v16; /* MM1_MOMENTS_BF16, else NULL */
    float *state;        /* of AdaFactor, else NULL */
    int64_t *state_at;   /* [p->n_items] where that of a parameter begins */
    double *scratch;     /* of AdaFactor: for one parameter */
    int64_t step;        /* updates made */
} mm1_optimizer;

/* After mm1_params_alloc(); c says which and how.  MM1_E_CONFIG for train.moments bf16 without AdamW. */
MM1_NODISCARD mm1_status mm1_optimizer_init(mm1_optimizer *o, const mm1_params *p, const mm1_train_config *c,
                                            mm1_error *err);
void mm1_optimizer_deinit(mm1_optimizer *o);
/* Bytes that it will take; the parameters need no memory yet. */
double mm1_optimizer_bytes(const mm1_params *p, const mm1_train_config *c);

/* Norm of all gradients that are trained. */
double mm1_optimizer_grad_norm(const mm1_params *p);
/* One update with learning rate lr (of the decoder) and the factors of the recipe; grad_norm from above.  Frozen groups
 * are left alone. */
void mm1_optimizer_step(mm1_optimizer *o, mm1_params *p, const mm1_train_config *c, double lr, double grad_norm);
/* Factor of the learning rate for a group. */
double mm1_lr_factor(const mm1_train_config *c, mm1_param_group group);

enum { MM1_OPTIMIZER_MAX_STATES = 2, MM1_OPTIMIZER_NAME_BYTES = 192 };

/* What is kept of a parameter, as tensors of a checkpoint. */
typedef struct mm1_optimizer_state {
    char name[MM1_OPTIMIZER_NAME_BYTES]; /* "m.<parameter>", "v.<parameter>", "row.<parameter>", "col.<parameter>" */
    mm1_dtype dtype;
    void *data;
    int rank;
    int64_t dims[MM1_MAX_DIMS];
} mm1_optimizer_state;

/* Of parameter i; returns how many there are, 0 for a frozen one. */
int mm1_optimizer_states(const mm1_optimizer *o, const mm1_params *p, int64_t i,
                         mm1_optimizer_state out[MM1_OPTIMIZER_MAX_STATES]);
/* "adamw", "adafactor": as in a recipe. */
const char *mm1_optimizer_kind_name(mm1_optimizer_kind kind);

/* ---- of AdaFactor ---- */

/* Floats of what is kept of a parameter, and doubles that an update of it needs beside. */
int64_t mm1__adafactor_state_floats(const mm1_param *item);
int64_t mm1__adafactor_scratch(const mm1_param *item);
/* One update of one parameter with its own rate lr; step counts from 1; scale: of the gradient, that clips it. */
void mm1__adafactor_update(const mm1_param *item, float *state, double *scratch, int64_t step, double scale, double lr,
                           double decay, bool scale_parameter);

#endif

/* optimizer.h - AdamW with decoupled decay and clipping by the global norm, over the table of parameters.
 *
 * Moments lie as gradients do, in f32 or in bf16.  What an update of bf16 is rounded by is a function of the seed, the
 * number of the update and the place in the table, so that a resumed run gives the same bits. */
#ifndef MM1_TRAIN_OPTIMIZER_H
#define MM1_TRAIN_OPTIMIZER_H

#include "model/model.h"
#include "train/recipe.h"

typedef struct mm1_optimizer {
    mm1_moments kind;
    float *m, *v;        /* MM1_MOMENTS_F32, else NULL */
    uint16_t *m16, *v16; /* MM1_MOMENTS_BF16, else NULL */
    int64_t step;        /* updates made */
} mm1_optimizer;

/* After mm1_params_alloc(). */
MM1_NODISCARD mm1_status mm1_optimizer_init(mm1_optimizer *o, const mm1_params *p, mm1_moments kind, mm1_error *err);
void mm1_optimizer_deinit(mm1_optimizer *o);

/* Norm of all gradients that are trained. */
double mm1_optimizer_grad_norm(const mm1_params *p);
/* One update with learning rate lr (of the decoder) and the factors of the recipe; grad_norm from above.  Frozen groups
 * are left alone. */
void mm1_optimizer_step(mm1_optimizer *o, mm1_params *p, const mm1_train_config *c, double lr, double grad_norm);
/* Factor of the learning rate for a group. */
double mm1_lr_factor(const mm1_train_config *c, mm1_param_group group);

#endif

/* schedule.h - learning rates (specs/mm1.md 4.1 and 4.3). */
#ifndef MM1_TRAIN_SCHEDULE_H
#define MM1_TRAIN_SCHEDULE_H

#include "train/recipe.h"

/* The paper's law: eta = exp(-0.4214 ln N - 0.5535), N the decoder's parameters without embeddings. */
double mm1_lr_law(double n_params);
/* s(step) in [0, 1]: linear 0 -> 1 over the warm-up, then cosine 1 -> lr_final at n_steps. */
double mm1_lr_scale(const mm1_train_config *c, int64_t step);

#endif

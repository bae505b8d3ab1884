/* schedule.c - see schedule.h. */
#include "train/schedule.h"

#include <math.h>

double mm1_lr_law(double n_params)
{
    return exp(-0.4214 * log(n_params) - 0.5535);
}

double mm1_lr_scale(const mm1_train_config *c, int64_t step)
{
    /* A warm-up longer than half of the run would leave nothing to decay from. */
    const int64_t warmup = c->lr_warmup_steps < c->n_steps / 2 ? c->lr_warmup_steps : c->n_steps / 2;
    if (step < warmup) {
        return (double)step / (double)warmup;
    }
    const double left = (double)(c->n_steps - warmup);
    const double p = left > 0 ? fmin((double)(step - warmup) / left, 1.0) : 1.0;
    return c->lr_final + (1 - c->lr_final) * 0.5 * (1 + cos(3.14159265358979323846 * p));
}

/* patch_loss.h - how far predicted patches are from the true ones, each of which is normalised by its own mean and
 * deviation, so that shape counts and brightness does not (He et al. 2022, MAE, section 3; AIM: El-Nouby et al. 2024).
 *
 *   target = (patch - mean) / sqrt(variance + 1e-6)      over the D numbers of a patch, three channels together
 *   loss   = mean over d of (y[d] - target[d])^2
 *
 * A patch of one colour has the target 0.  The same bits for any number of threads. */
#ifndef MM1_TRAIN_PATCH_LOSS_H
#define MM1_TRAIN_PATCH_LOSS_H

#include <stdint.h>

typedef struct mm1_patch_loss {
    int64_t n, D;
    const float *y;       /* [n, D] predicted */
    const float *patches; /* [*, D] */
    const int32_t *patch; /* [n] which of them is the target */
    double weight;        /* gradients are of weight * sum of loss */
    float *loss;          /* [n] out */
    float *dy;            /* [n, D] out; may be NULL */
} mm1_patch_loss;

void mm1_patch_loss_run(const mm1_patch_loss *x);

#endif

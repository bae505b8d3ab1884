/* patch_loss.c - see patch_loss.h. */
#include "train/patch_loss.h"

#include "base/thread.h"
#include <math.h>
#include <stddef.h>

static const double EPS = 1e-6; /* of the variance, as MAE's */

static void one_row(const mm1_patch_loss *x, int64_t i)
{
    const int64_t D = x->D;
    const float *y = x->y + i * D, *patch = x->patches + x->patch[i] * D;
    double mean = 0, variance = 0, sum = 0;
    for (int64_t d = 0; d < D; d++) {
        mean += patch[d];
    }
    mean /= (double)D;
    for (int64_t d = 0; d < D; d++) {
        variance += (patch[d] - mean) * (patch[d] - mean);
    }
    const double scale = 1 / sqrt(variance / (double)D + EPS), slope = 2 * x->weight / (double)D;
    for (int64_t d = 0; d < D; d++) {
        const double error = y[d] - (patch[d] - mean) * scale;
        sum += error * error;
        if (x->dy != NULL) {
            x->dy[i * D + d] = (float)(slope * error);
        }
    }
    x->loss[i] = (float)(sum / (double)D);
}

static void rows(void *ctx, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        one_row(ctx, i);
    }
}

void mm1_patch_loss_run(const mm1_patch_loss *x)
{
    mm1_patch_loss job = *x;
    mm1_parallel_for(x->n, 1, rows, &job);
}

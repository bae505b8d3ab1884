/* optimizer.c - see optimizer.h. */
#include "train/optimizer.h"

#include "base/alloc.h"
#include "tensor/rows.h"
#include <math.h>

mm1_status mm1_optimizer_init(mm1_optimizer *o, const mm1_params *p, mm1_error *err)
{
    *o = (mm1_optimizer){0};
    o->m = mm1_calloc((size_t)p->total, sizeof *o->m);
    o->v = mm1_calloc((size_t)p->total, sizeof *o->v);
    if (o->m == NULL || o->v == NULL) {
        mm1_optimizer_deinit(o);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the optimiser: two times %lld MiB",
                             (long long)(p->total >> 18));
    }
    return MM1_OK;
}

void mm1_optimizer_deinit(mm1_optimizer *o)
{
    mm1_free(o->m);
    mm1_free(o->v);
    *o = (mm1_optimizer){0};
}

double mm1_lr_factor(const mm1_train_config *c, mm1_param_group group)
{
    switch (group) {
    case MM1_GROUP_VISION: return c->lr_vision;
    case MM1_GROUP_CONNECTOR: return c->lr_connector;
    default: return c->lr_decoder;
    }
}

double mm1_optimizer_grad_norm(const mm1_params *p)
{
    double sum = 0;
    for (int64_t i = 0; i < p->n_items; i++) {
        const mm1_param *item = p->items[i];
        sum += item->tensor.needs_grad ? mm1__rows_sum_sq(item->tensor.grad, item->n) : 0;
    }
    return sqrt(sum);
}

void mm1_optimizer_step(mm1_optimizer *o, mm1_params *p, const mm1_train_config *c, double lr, double grad_norm)
{
    const mm1_kernels *k = mm1_kernels_get();
    const double clip = c->clip_norm > 0 ? fmin(1.0, c->clip_norm / (grad_norm + 1e-8)) : 1.0;
    o->step++;
    mm1_adamw_args args = {
        .beta1 = (float)c->beta1, .beta2 = (float)c->beta2, .eps = (float)c->eps, .grad_scale = (float)clip};
    /* Of the betas that the moments are made with: those of f32. */
    args.correction1 = (float)(1 - pow((double)args.beta1, (double)o->step));
    args.correction2 = (float)(1 - pow((double)args.beta2, (double)o->step));
    for (int64_t i = 0; i < p->n_items; i++) {
        const mm1_param *item = p->items[i];
        if (!item->tensor.needs_grad) {
            continue;
        }
        args.lr = (float)(lr * mm1_lr_factor(c, item->group));
        args.decay = item->decay ? (float)c->weight_decay : 0;
        const mm1_adamw_args one = args;
        const int64_t at = item->offset, n = item->n;
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
        for (int64_t b = 0; b < n; b += MM1_CHUNK_ELEMS) {
            k->adamw(p->data + at + b, o->m + at + b, o->v + at + b, p->grad + at + b,
                     n - b < MM1_CHUNK_ELEMS ? n - b : MM1_CHUNK_ELEMS, &one);
        }
    }
}

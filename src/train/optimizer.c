/* optimizer.c - see optimizer.h. */
#include "train/optimizer.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "tensor/rows.h"
#include <math.h>

mm1_status mm1_optimizer_init(mm1_optimizer *o, const mm1_params *p, mm1_moments kind, mm1_error *err)
{
    const size_t n = (size_t)p->grad_total;
    *o = (mm1_optimizer){.kind = kind};
    bool ok;
    if (kind == MM1_MOMENTS_BF16) {
        o->m16 = mm1_calloc(n, sizeof *o->m16);
        o->v16 = mm1_calloc(n, sizeof *o->v16);
        ok = o->m16 != NULL && o->v16 != NULL;
    } else {
        o->m = mm1_calloc(n, sizeof *o->m);
        o->v = mm1_calloc(n, sizeof *o->v);
        ok = o->m != NULL && o->v != NULL;
    }
    if (!ok) {
        mm1_optimizer_deinit(o);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the moments of %lld parameters%s", (long long)n,
                             kind == MM1_MOMENTS_BF16 ? "" : "; train.moments bf16 takes half");
    }
    return MM1_OK;
}

void mm1_optimizer_deinit(mm1_optimizer *o)
{
    mm1_free(o->m);
    mm1_free(o->v);
    mm1_free(o->m16);
    mm1_free(o->v16);
    *o = (mm1_optimizer){0};
}

double mm1_lr_factor(const mm1_train_config *c, mm1_param_group group)
{
    switch (group) {
    case MM1_GROUP_VISION: return c->lr_vision;
    case MM1_GROUP_CONNECTOR: return c->lr_connector;
    case MM1_GROUP_HEAD: return c->lr_head;
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
    const mm1_rng round = mm1_rng_make((uint64_t)c->seed, MM1_RNG_ROUND, (uint64_t)o->step);
    for (int64_t i = 0; i < p->n_items; i++) {
        const mm1_param *item = p->items[i];
        if (!item->tensor.needs_grad) {
            continue;
        }
        args.lr = (float)(lr * mm1_lr_factor(c, item->group));
        args.decay = item->decay ? (float)c->weight_decay : 0;
        const mm1_adamw_args one = args;
        const int64_t at = item->grad_offset, n = item->n;
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
        for (int64_t b = 0; b < n; b += MM1_CHUNK_ELEMS) {
            float *x = item->tensor.data + b;
            const float *g = item->tensor.grad + b;
            const int64_t len = n - b < MM1_CHUNK_ELEMS ? n - b : MM1_CHUNK_ELEMS;
            if (o->kind == MM1_MOMENTS_BF16) {
                uint32_t key[4];
                const uint32_t counter[4] = {(uint32_t)(b / MM1_CHUNK_ELEMS), (uint32_t)i, round.counter[2],
                                             round.counter[3]};
                mm1_philox(key, counter, round.key);
                k->adamw_bf16(x, o->m16 + at + b, o->v16 + at + b, g, len, &one, key);
            } else {
                k->adamw(x, o->m + at + b, o->v + at + b, g, len, &one);
            }
        }
    }
}

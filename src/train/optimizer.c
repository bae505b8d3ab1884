/* optimizer.c - see optimizer.h. */
#include "train/optimizer.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "base/thread.h"
#include "tensor/rows.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static mm1_status init_adamw(mm1_optimizer *o, const mm1_params *p, mm1_error *err)
{
    const size_t n = (size_t)p->grad_total;
    bool ok;
    if (o->moments == MM1_MOMENTS_BF16) {
        o->m16 = mm1_calloc(n, sizeof *o->m16);
        o->v16 = mm1_calloc(n, sizeof *o->v16);
        ok = o->m16 != NULL && o->v16 != NULL;
    } else {
        o->m = mm1_calloc(n, sizeof *o->m);
        o->v = mm1_calloc(n, sizeof *o->v);
        ok = o->m != NULL && o->v != NULL;
    }
    return ok ? MM1_OK
              : mm1_error_set(err, MM1_E_NOMEM, "no memory for the moments of %lld parameters%s", (long long)n,
                              o->moments == MM1_MOMENTS_BF16 ? "" : "; train.moments bf16 takes half");
}

static void count_adafactor(const mm1_params *p, int64_t *n_state, int64_t *n_scratch)
{
    *n_state = *n_scratch = 0;
    for (int64_t i = 0; i < p->n_items; i++) {
        if (p->items[i]->tensor.needs_grad) {
            const int64_t scratch = mm1__adafactor_scratch(p->items[i]);
            *n_state += mm1__adafactor_state_floats(p->items[i]);
            *n_scratch = scratch > *n_scratch ? scratch : *n_scratch;
        }
    }
}

static mm1_status init_adafactor(mm1_optimizer *o, const mm1_params *p, mm1_error *err)
{
    int64_t n_state, n_scratch;
    count_adafactor(p, &n_state, &n_scratch);
    o->state = mm1_calloc((size_t)n_state, sizeof *o->state);
    o->state_at = mm1_calloc((size_t)p->n_items, sizeof *o->state_at);
    o->scratch = mm1_calloc((size_t)n_scratch, sizeof *o->scratch);
    if (o->state == NULL || o->state_at == NULL || o->scratch == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the %lld numbers of AdaFactor", (long long)n_state);
    }
    for (int64_t i = 0, at = 0; i < p->n_items; i++) {
        o->state_at[i] = at;
        at += p->items[i]->tensor.needs_grad ? mm1__adafactor_state_floats(p->items[i]) : 0;
    }
    return MM1_OK;
}

mm1_status mm1_optimizer_init(mm1_optimizer *o, const mm1_params *p, const mm1_train_config *c, mm1_error *err)
{
    *o = (mm1_optimizer){.kind = (mm1_optimizer_kind)c->optimizer, .moments = (mm1_moments)c->moments};
    if (o->kind == MM1_OPTIMIZER_ADAFACTOR && o->moments != MM1_MOMENTS_F32) {
        return mm1_error_set(err, MM1_E_CONFIG, "train.moments: bf16 is for adamw; adafactor has no two moments");
    }
    const mm1_status st = o->kind == MM1_OPTIMIZER_ADAFACTOR ? init_adafactor(o, p, err) : init_adamw(o, p, err);
    if (st != MM1_OK) {
        mm1_optimizer_deinit(o);
    }
    return st;
}

void mm1_optimizer_deinit(mm1_optimizer *o)
{
    mm1_free(o->m);
    mm1_free(o->v);
    mm1_free(o->m16);
    mm1_free(o->v16);
    mm1_free(o->state);
    mm1_free(o->state_at);
    mm1_free(o->scratch);
    *o = (mm1_optimizer){0};
}

double mm1_optimizer_bytes(const mm1_params *p, const mm1_train_config *c)
{
    int64_t n_state, n_scratch;
    if (c->optimizer == MM1_OPTIMIZER_ADAFACTOR) {
        count_adafactor(p, &n_state, &n_scratch);
        return (double)sizeof(float) * (double)n_state + (double)sizeof(double) * (double)n_scratch;
    }
    return 2.0 * (c->moments == MM1_MOMENTS_BF16 ? 2 : 4) * (double)mm1_params_grad_total(p);
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

static void step_adafactor(const mm1_optimizer *o, const mm1_params *p, const mm1_train_config *c, double lr,
                           double clip)
{
    for (int64_t i = 0; i < p->n_items; i++) {
        const mm1_param *item = p->items[i];
        if (item->tensor.needs_grad) {
            mm1__adafactor_update(item, o->state + o->state_at[i], o->scratch, o->step, clip,
                                  lr * mm1_lr_factor(c, item->group), item->decay ? c->weight_decay : 0,
                                  c->scale_parameter);
        }
    }
}

typedef struct adamw_job {
    const mm1_optimizer *o;
    const mm1_param *item;
    int64_t index; /* of the item */
    mm1_adamw_args args;
    mm1_rng round;
} adamw_job;

static void adamw_range(void *ctx, int64_t begin, int64_t end)
{
    const adamw_job *j = ctx;
    const mm1_optimizer *o = j->o;
    const mm1_kernels *k = mm1_kernels_get();
    for (int64_t b = begin; b < end; b += MM1_CHUNK_ELEMS) { /* numbers for rounding are drawn for each chunk */
        float *x = j->item->tensor.data + b;
        const float *g = j->item->tensor.grad + b;
        const int64_t at = j->item->grad_offset + b, len = end - b < MM1_CHUNK_ELEMS ? end - b : MM1_CHUNK_ELEMS;
        if (o->moments == MM1_MOMENTS_BF16) {
            uint32_t key[4];
            const uint32_t counter[4] = {(uint32_t)(b / MM1_CHUNK_ELEMS), (uint32_t)j->index, j->round.counter[2],
                                         j->round.counter[3]};
            mm1_philox(key, counter, j->round.key);
            k->adamw_bf16(x, o->m16 + at, o->v16 + at, g, len, &j->args, key);
        } else {
            k->adamw(x, o->m + at, o->v + at, g, len, &j->args);
        }
    }
}

static void step_adamw(mm1_optimizer *o, mm1_params *p, const mm1_train_config *c, double lr, double clip)
{
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
        mm1_parallel_for(item->n, MM1_CHUNK_ELEMS, adamw_range, &(adamw_job){o, item, i, args, round});
    }
}

void mm1_optimizer_step(mm1_optimizer *o, mm1_params *p, const mm1_train_config *c, double lr, double grad_norm)
{
    const double clip = c->clip_norm > 0 ? fmin(1.0, c->clip_norm / (grad_norm + 1e-8)) : 1.0;
    o->step++;
    if (o->kind == MM1_OPTIMIZER_ADAFACTOR) {
        step_adafactor(o, p, c, lr, clip);
    } else {
        step_adamw(o, p, c, lr, clip);
    }
}

/* ---- for checkpoints ---- */

const char *mm1_optimizer_kind_name(mm1_optimizer_kind kind)
{
    return kind == MM1_OPTIMIZER_ADAFACTOR ? "adafactor" : "adamw";
}

static void add_state(mm1_optimizer_state *s, const char *what, const mm1_param *item, mm1_dtype dtype, void *data)
{
    *s = (mm1_optimizer_state){.dtype = dtype, .data = data, .rank = item->tensor.rank};
    (void)snprintf(s->name, sizeof s->name, "%s.%s", what, item->name);
    memcpy(s->dims, item->tensor.dims, sizeof s->dims);
}

int mm1_optimizer_states(const mm1_optimizer *o, const mm1_params *p, int64_t i,
                         mm1_optimizer_state out[MM1_OPTIMIZER_MAX_STATES])
{
    const mm1_param *item = p->items[i];
    if (item->grad_offset < 0) {
        return 0;
    }
    if (o->kind == MM1_OPTIMIZER_ADAMW) {
        const bool half = o->moments == MM1_MOMENTS_BF16;
        const mm1_dtype dtype = half ? MM1_DTYPE_BF16 : MM1_DTYPE_F32;
        const int64_t at = item->grad_offset;
        add_state(&out[0], "m", item, dtype, half ? (void *)(o->m16 + at) : (void *)(o->m + at));
        add_state(&out[1], "v", item, dtype, half ? (void *)(o->v16 + at) : (void *)(o->v + at));
        return 2;
    }
    float *state = o->state + o->state_at[i];
    const int rank = item->tensor.rank;
    if (rank < 2) {
        add_state(&out[0], "v", item, MM1_DTYPE_F32, state);
        return 1;
    }
    const int64_t cols = item->tensor.dims[rank - 1];
    add_state(&out[0], "row", item, MM1_DTYPE_F32, state);
    add_state(&out[1], "col", item, MM1_DTYPE_F32, state + item->n / cols);
    out[0].rank = out[1].rank = rank - 1;
    out[1].dims[rank - 2] = cols;
    return 2;
}

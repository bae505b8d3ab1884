/* params.c - see params.h. */
#include "nn/params.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/rng.h"
#include "tensor/rows.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN_ELEMS = MM1_ALIGN_BYTES / sizeof(float), NAME_BYTES = 160 };

static int64_t padded(int64_t n)
{
    return (n + ALIGN_ELEMS - 1) / ALIGN_ELEMS * ALIGN_ELEMS;
}

const char *mm1_param_group_name(mm1_param_group group)
{
    static const char *const names[MM1_GROUP_COUNT] = {"vision", "connector", "decoder", "head"};
    return (unsigned)group < MM1_GROUP_COUNT ? names[group] : "all";
}

mm1_tensor *mm1_params_add(mm1_params *p, mm1_param_group group, mm1_param_init init, double std, bool decay, int rank,
                           const int64_t *dims, const char *name_format, ...)
{
    char name[NAME_BYTES];
    va_list args;
    va_start(args, name_format);
    (void)vsnprintf(name, sizeof name, name_format, args);
    va_end(args);

    /* Grows at powers of two. */
    if ((p->n_items & (p->n_items - 1)) == 0) {
        mm1_param **items = mm1_realloc(p->items, p->n_items == 0 ? 1 : (size_t)p->n_items * 2, sizeof(mm1_param *));
        if (items == NULL) {
            p->failed = true;
            return NULL;
        }
        p->items = items;
    }
    mm1_param *item = mm1_calloc(1, sizeof *item);
    if (item == NULL || (item->name = mm1_strdup(name)) == NULL) {
        mm1_free(item);
        p->failed = true;
        return NULL;
    }
    item->group = group;
    item->init = init;
    item->std = std;
    item->decay = decay;
    item->tensor.rank = rank;
    memcpy(item->tensor.dims, dims, (size_t)rank * sizeof *dims);
    item->tensor.is_param = true;
    item->tensor.needs_grad = true;
    item->n = mm1_tensor_size(&item->tensor);
    item->offset = p->total;
    item->grad_offset = -1;
    p->total += padded(item->n);
    p->items[p->n_items++] = item;
    return &item->tensor;
}

int64_t mm1_params_grad_total(const mm1_params *p)
{
    int64_t total = 0;
    for (int64_t i = 0; i < p->n_items; i++) {
        total += p->items[i]->tensor.needs_grad ? padded(p->items[i]->n) : 0;
    }
    return total;
}

mm1_status mm1_params_alloc(mm1_params *p, bool with_grad, mm1_error *err)
{
    p->grad_total = with_grad ? mm1_params_grad_total(p) : 0;
    p->data = p->failed ? NULL : mm1_calloc((size_t)p->total, sizeof *p->data);
    p->grad = with_grad && p->data != NULL ? mm1_calloc((size_t)p->grad_total, sizeof *p->grad) : NULL;
    if (p->data == NULL || (with_grad && p->grad == NULL)) {
        return mm1_error_set(
            err, MM1_E_NOMEM,
            "no memory for %lld parameters (%lld MiB, and %lld MiB of gradients); take a smaller model",
            (long long)p->total, (long long)(p->total >> 18), (long long)(p->grad_total >> 18));
    }
    for (int64_t i = 0, at = 0; i < p->n_items; i++) {
        mm1_param *item = p->items[i];
        mm1_tensor *t = &item->tensor;
        t->data = p->data + item->offset;
        t->needs_grad = t->needs_grad && with_grad;
        if (t->needs_grad) {
            item->grad_offset = at;
            t->grad = p->grad + at;
            at += padded(item->n);
        }
    }
    return MM1_OK;
}

static void draw(mm1_params *p, int64_t i, uint64_t seed)
{
    const mm1_param *item = p->items[i];
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_INIT, (uint64_t)i);
    for (int64_t j = 0; j < item->n; j++) {
        item->tensor.data[j] = item->init == MM1_INIT_ONES       ? 1.0f
                               : item->init == MM1_INIT_CONSTANT ? (float)item->std
                               : item->init == MM1_INIT_NORMAL   ? (float)(item->std * mm1_rng_normal(&r))
                                                                 : 0.0f;
    }
}

void mm1_params_init(mm1_params *p, uint64_t seed)
{
    for (int64_t i = 0; i < p->n_items; i++) {
        draw(p, i, seed);
    }
}

void mm1_params_draw(mm1_params *p, const mm1_tensor *t, uint64_t seed)
{
    for (int64_t i = 0; i < p->n_items; i++) {
        if (&p->items[i]->tensor == t) {
            draw(p, i, seed);
        }
    }
}

void mm1_params_zero_grad(mm1_params *p)
{
    if (p->grad != NULL) {
        mm1__rows_zero(p->grad, p->grad_total);
    }
}

void mm1_params_set_trainable(mm1_params *p, mm1_param_group group, bool trainable)
{
    for (int64_t i = 0; i < p->n_items; i++) {
        mm1_tensor *t = &p->items[i]->tensor;
        if (p->items[i]->group == group) {
            t->needs_grad = trainable && (p->data == NULL || t->grad != NULL);
        }
    }
}

mm1_param *mm1_params_find(const mm1_params *p, const char *name)
{
    for (int64_t i = 0; i < p->n_items; i++) {
        if (strcmp(p->items[i]->name, name) == 0) {
            return p->items[i];
        }
    }
    return NULL;
}

int64_t mm1_params_count(const mm1_params *p, mm1_param_group group)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->n_items; i++) {
        n += group == MM1_GROUP_COUNT || p->items[i]->group == group ? p->items[i]->n : 0;
    }
    return n;
}

void mm1_params_truncate(mm1_params *p, int64_t n)
{
    while (p->n_items > n) {
        mm1_param *item = p->items[--p->n_items];
        p->total = item->offset;
        mm1_free(item->name);
        mm1_free(item);
    }
}

void mm1_params_deinit(mm1_params *p)
{
    mm1_params_truncate(p, 0);
    mm1_free(p->items);
    mm1_free(p->data);
    mm1_free(p->grad);
    *p = (mm1_params){0};
}

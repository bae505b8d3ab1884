/* average.c - see average.h. */
#include "model/average.h"

#include <string.h>

static mm1_status check(const mm1_params *a, const mm1_params *b, mm1_error *err)
{
    for (int64_t i = 0; i < a->n_items || i < b->n_items; i++) {
        if (i >= a->n_items || i >= b->n_items || strcmp(a->items[i]->name, b->items[i]->name) != 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "the models differ: %s is not in both",
                                 i < a->n_items ? a->items[i]->name : b->items[i]->name);
        }
        const mm1_tensor *x = &a->items[i]->tensor, *y = &b->items[i]->tensor;
        if (x->rank != y->rank || memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) != 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "the models differ: %s has another shape", a->items[i]->name);
        }
    }
    return MM1_OK;
}

mm1_status mm1_model_average_add(mm1_model *mean, int64_t n, const mm1_model *next, mm1_error *err)
{
    const mm1_status st = check(&mean->params, &next->params, err);
    if (st == MM1_OK) {
        const float share = 1.0f / (float)(n + 1);
        for (int64_t i = 0; i < mean->params.total; i++) { /* equal tables make equal slabs */
            mean->params.data[i] += share * (next->params.data[i] - mean->params.data[i]);
        }
    }
    return st;
}

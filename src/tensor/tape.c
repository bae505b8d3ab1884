/* tape.c - memory and order of the backward pass. */
#include "tensor/tensor.h"

#include "tensor/rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { META_BYTES = 8 << 20 };

mm1_status mm1_tape_init(mm1_tape *t, mm1_arena *arena, mm1_error *err)
{
    *t = (mm1_tape){.arena = arena, .dry = arena->dry};
    return mm1_arena_init(&t->meta, META_BYTES, err);
}

void mm1_tape_deinit(mm1_tape *t)
{
    mm1_arena_deinit(&t->meta);
    *t = (mm1_tape){0};
}

void mm1_tape_reset(mm1_tape *t, mm1_arena_mark mark)
{
    mm1_arena_reset_to(t->arena, mark);
    mm1_arena_reset_to(&t->meta, 0);
    t->last = NULL;
    t->n_free_grads = 0;
    t->window = NULL;
    t->err = (mm1_error){0};
}

mm1_status mm1_tape_status(const mm1_tape *t, mm1_error *err)
{
    if (t->err.status != MM1_OK && err != NULL) {
        *err = t->err;
    }
    return t->err.status;
}

void *mm1_tape_fail(mm1_tape *t, mm1_status status, const char *format, ...)
{
    if (t->err.status == MM1_OK) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(t->err.message, sizeof t->err.message, format, args);
        va_end(args);
        t->err.status = status;
    }
    return NULL;
}

static size_t rounded(int64_t n)
{
    return ((size_t)n * sizeof(float) + 63) & ~(size_t)63;
}

static float *take(mm1_tape *t, mm1_arena *arena, size_t bytes)
{
    float *p = mm1_arena_alloc(arena, bytes, 1);
    if (p == NULL) {
        mm1_tape_fail(t, MM1_E_NOMEM,
                      "the step needs more than its arena of %zu MiB; lower train.micro_batch or data.seq_len",
                      t->arena->cap >> 20);
    }
    return p;
}

float *mm1__tape_floats(mm1_tape *t, int64_t n)
{
    /* A window is packed as one range: without gaps. */
    return t->window != NULL && n >= t->window_from ? take(t, t->window, rounded(n))
                                                    : take(t, t->arena, (size_t)n * sizeof(float));
}

float *mm1__tape_exact(mm1_tape *t, int64_t n)
{
    return t->window_from > 0 ? take(t, t->arena, (size_t)n * sizeof(float)) : mm1__tape_floats(t, n);
}

void *mm1__tape_meta(mm1_tape *t, size_t bytes)
{
    void *p = mm1_arena_calloc(&t->meta, 1, bytes);
    return p != NULL ? p
                     : mm1_tape_fail(t, MM1_E_NOMEM, "the tape is full: more than %d MiB of nodes", META_BYTES >> 20);
}

mm1_tensor *mm1__tape_tensor(mm1_tape *t, int rank, const int64_t *dims, bool needs_grad)
{
    mm1_tensor *x = mm1__tape_meta(t, sizeof *x);
    if (x != NULL) {
        x->rank = rank;
        memcpy(x->dims, dims, (size_t)rank * sizeof *dims);
        x->needs_grad = needs_grad && t->recording;
        x->data = mm1__tape_floats(t, mm1_tensor_size(x));
    }
    return x != NULL && x->data != NULL ? x : NULL;
}

mm1_tensor *mm1_tensor_borrow(mm1_tape *t, float *data, int rank, const int64_t *dims)
{
    mm1_tensor *x = mm1__tape_meta(t, sizeof *x);
    if (x != NULL) {
        x->data = data;
        x->rank = rank;
        memcpy(x->dims, dims, (size_t)rank * sizeof *dims);
    }
    return x;
}

void *mm1__tape_node(mm1_tape *t, size_t bytes, mm1_tensor *out, void (*backward)(mm1_tape *, mm1_node *))
{
    mm1_node *node = mm1__tape_meta(t, bytes);
    if (node != NULL) {
        node->backward = backward;
        node->out = out;
        node->prev = t->last;
        node->lap = t->lap;
        t->last = node;
    }
    return node;
}

/* Sizes repeat from block to block: the smallest buffer that is large enough, and not a quarter too large. */
float *mm1__tape_scratch(mm1_tape *t, int64_t n)
{
    const size_t bytes = rounded(n);
    int best = -1;
    for (int i = t->n_free_grads - 1; i >= 0; i--) {
        const size_t has = t->free_grads[i].bytes;
        if (has >= bytes && has - bytes <= bytes / 4 && (best < 0 || has < t->free_grads[best].bytes)) {
            best = i;
        }
    }
    if (best < 0) { /* up to the rounded size, which a later user may count on; never in a window, which it outlives */
        return take(t, t->arena, bytes);
    }
    float *p = t->free_grads[best].data;
    t->free_grads[best] = t->free_grads[--t->n_free_grads];
    return p;
}

void mm1__tape_scratch_free(mm1_tape *t, float *p, int64_t n)
{
    if (p != NULL && t->n_free_grads < MM1_TAPE_FREE_GRADS) {
        t->free_grads[t->n_free_grads].data = p;
        t->free_grads[t->n_free_grads++].bytes = rounded(n);
    }
}

float *mm1__tape_grad(mm1_tape *t, mm1_tensor *x, bool *acc)
{
    *acc = x->grad != NULL;
    if (x->grad == NULL) {
        x->grad = mm1__tape_scratch(t, mm1_tensor_size(x));
    }
    return x->grad;
}

void mm1__tape_pass_grad(mm1_tape *t, mm1_tensor *out, mm1_tensor *to)
{
    const int64_t n = mm1_tensor_size(out);
    if (to->grad == NULL) {
        to->grad = out->grad;
        out->grad = NULL;
    } else if (!t->dry) {
        mm1__rows_copy_or_add(to->grad, out->grad, n, true);
    }
}

void mm1_tape_backward(mm1_tape *t)
{
    for (mm1_node *node = t->last; node != NULL && t->err.status == MM1_OK; node = node->prev) {
        mm1_tensor *out = node->out;
        if (out->grad == NULL) {
            continue; /* nothing depends on it */
        }
        node->backward(t, node);
        mm1__tape_scratch_free(t, out->grad, mm1_tensor_size(out));
        out->grad = NULL;
        if (t->profile != NULL) {
            mm1__tape_lap_back(t, node);
        }
    }
    t->last = NULL;
}

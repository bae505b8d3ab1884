/* op_point.c - operators that work element by element: activation, sums, scales of channels. */
#include "tensor/tensor.h"

#include "base/thread.h"
#include "tensor/rows.h"
#include <string.h>

typedef struct point_node {
    mm1_node node;
    mm1_tensor *a, *b;
    mm1_act act;
    int64_t I;
} point_node;

static point_node *record(mm1_tape *t, mm1_tensor *y, mm1_tensor *a, mm1_tensor *b,
                          void (*backward)(mm1_tape *, mm1_node *))
{
    point_node *n = mm1__tape_node(t, sizeof *n, y, backward);
    if (n != NULL) {
        n->a = a;
        n->b = b;
    }
    return n;
}

static void act_backward(mm1_tape *t, mm1_node *base)
{
    const point_node *n = (const point_node *)(const void *)base;
    bool acc;
    float *dx = mm1__tape_grad(t, n->a, &acc);
    if (dx != NULL && !t->dry) {
        mm1__rows_act_bwd(dx, base->out->grad, n->a->data, mm1_tensor_size(n->a), n->act, acc);
    }
}

mm1_tensor *mm1_op_act(mm1_tape *t, mm1_tensor *x, mm1_act act)
{
    mm1_tensor *y = x != NULL ? mm1__tape_tensor(t, x->rank, x->dims, x->needs_grad) : NULL;
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        mm1__rows_act_fwd(y->data, x->data, mm1_tensor_size(x), act);
    }
    mm1__tape_done(t, "activation", 2 * mm1_tensor_size(x), 3 * mm1_tensor_size(x));
    if (y->needs_grad) {
        point_node *n = record(t, y, x, NULL, act_backward);
        if (n == NULL) {
            return NULL;
        }
        n->act = act;
    }
    return y;
}

static void add_backward(mm1_tape *t, mm1_node *base)
{
    const point_node *n = (const point_node *)(const void *)base;
    mm1_tensor *inputs[2] = {n->a, n->b};
    for (int i = 0; i < 2; i++) {
        bool acc;
        float *d = inputs[i]->needs_grad ? mm1__tape_grad(t, inputs[i], &acc) : NULL;
        if (d != NULL && !t->dry) {
            mm1__rows_copy_or_add(d, base->out->grad, mm1_tensor_size(inputs[i]), acc);
        }
    }
}

mm1_tensor *mm1_op_add(mm1_tape *t, mm1_tensor *a, mm1_tensor *b)
{
    if (a == NULL || b == NULL) {
        return NULL;
    }
    if (mm1_tensor_size(a) != mm1_tensor_size(b)) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "add: %lld against %lld elements", (long long)mm1_tensor_size(a),
                             (long long)mm1_tensor_size(b));
    }
    mm1_tensor *y = mm1__tape_tensor(t, a->rank, a->dims, a->needs_grad || b->needs_grad);
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        mm1__rows_add(y->data, a->data, b->data, mm1_tensor_size(a));
    }
    mm1__tape_done(t, "add", 3 * mm1_tensor_size(a), 4 * mm1_tensor_size(a));
    return y->needs_grad && record(t, y, a, b, add_backward) == NULL ? NULL : y;
}

static void add_rows_backward(mm1_tape *t, mm1_node *base)
{
    const point_node *n = (const point_node *)(const void *)base;
    const int64_t size = mm1_tensor_size(n->b), I = n->I;
    bool acc;
    if (n->a != NULL && n->a->needs_grad) {
        float *da = mm1__tape_grad(t, n->a, &acc);
        if (da != NULL && !t->dry) {
            mm1__rows_copy_or_add(da, base->out->grad, I * size, acc);
        }
    }
    if (n->b->needs_grad) {
        float *dr = mm1__tape_grad(t, n->b, &acc);
        if (dr != NULL && !t->dry) {
            if (!acc) {
                mm1__rows_zero(dr, size);
            }
            mm1__rows_sum(dr, base->out->grad, size, I, size);
        }
    }
}

mm1_tensor *mm1_op_add_rows(mm1_tape *t, mm1_tensor *x, mm1_tensor *r, int64_t I)
{
    if (r == NULL) {
        return NULL;
    }
    const int64_t size = mm1_tensor_size(r);
    if (x != NULL && mm1_tensor_size(x) != I * size) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "add rows: %lld elements against %lld times %lld",
                             (long long)mm1_tensor_size(x), (long long)I, (long long)size);
    }
    mm1_tensor *y = mm1__tape_tensor(t, 2, (int64_t[]){I * mm1_tensor_rows(r), mm1_tensor_cols(r)},
                                     r->needs_grad || (x != NULL && x->needs_grad));
    if (y == NULL) {
        return NULL;
    }
    for (int64_t i = 0; i < I && !t->dry; i++) {
        if (x != NULL) {
            mm1__rows_add(y->data + i * size, x->data + i * size, r->data, size);
        } else {
            mm1__rows_copy_or_add(y->data + i * size, r->data, size, false);
        }
    }
    mm1__tape_done(t, "add positions", 3 * I * size, 3 * I * size);
    if (y->needs_grad) {
        point_node *n = record(t, y, x, r, add_rows_backward);
        if (n == NULL) {
            return NULL;
        }
        n->I = I;
    }
    return y;
}

/* Rows are cut into this many parts, each with its own partial gradient of the scale, added in order. */
enum { PARTS = 16 };

typedef struct scale_node {
    mm1_node node;
    mm1_tensor *x, *s, *residual;
} scale_node;

typedef struct scale_job {
    const scale_node *n;
    float *dx, *partial; /* partial [PARTS, C] */
    int64_t N, C;
    bool acc;
} scale_job;

static void scale_backward_parts(void *ctx, int64_t begin, int64_t end)
{
    const scale_job *j = ctx;
    const scale_node *n = j->n;
    const int64_t C = j->C;
    for (int64_t i = begin; i < end; i++) {
        const int64_t row = j->N * i / PARTS, rows = j->N * (i + 1) / PARTS - row;
        mm1_kernels_get()->gate_bwd(j->dx + row * C, j->partial + i * C, n->node.out->grad + row * C,
                                    n->x->data + row * C, n->s->data, 1, rows, C, j->acc);
    }
}

static void scale_backward(mm1_tape *t, mm1_node *base)
{
    const scale_node *n = (const scale_node *)(const void *)base;
    const int64_t N = mm1_tensor_rows(n->x), C = mm1_tensor_cols(n->x);
    bool acc = false;
    if (n->x->needs_grad || n->s->needs_grad) {
        /* The kernel forms both gradients at once; what is not wanted goes to scratch. */
        float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : mm1__tape_scratch(t, N * C);
        float *partial = mm1__tape_scratch(t, PARTS * C);
        if (dx == NULL || partial == NULL) {
            return;
        }
        if (!t->dry) {
            memset(partial, 0, (size_t)(PARTS * C) * sizeof *partial);
            scale_job job = {n, dx, partial, N, C, acc};
            mm1_parallel_for(PARTS, mm1__parts_grain(N * C, PARTS), scale_backward_parts, &job);
            for (int64_t i = 0; i < PARTS && n->s->needs_grad; i++) {
                mm1_kernels_get()->axpy(n->s->grad, partial + i * C, C, 1.0f);
            }
        }
        mm1__tape_scratch_free(t, partial, PARTS * C);
        if (!n->x->needs_grad) {
            mm1__tape_scratch_free(t, dx, N * C);
        }
    }
    if (n->residual != NULL && n->residual->needs_grad) {
        mm1__tape_pass_grad(t, base->out, n->residual);
    }
}

typedef struct scale_fwd_job {
    float *y;
    const float *x, *s, *residual; /* residual may be NULL */
    int64_t C;
} scale_fwd_job;

static void scale_forward_rows(void *ctx, int64_t begin, int64_t end)
{
    const scale_fwd_job *j = ctx;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t C = j->C, chunk = mm1__rows_chunk(C);
    for (int64_t row = begin; row < end; row += chunk) { /* the sum finds its rows in L1 */
        const int64_t rows = end - row < chunk ? end - row : chunk;
        float *to = j->y + row * C;
        k->gate_fwd(to, j->x + row * C, j->s, 1, rows, C);
        if (j->residual != NULL) {
            k->add(to, to, j->residual + row * C, rows * C);
        }
    }
}

mm1_tensor *mm1_op_scale(mm1_tape *t, mm1_tensor *x, mm1_tensor *s, mm1_tensor *residual)
{
    if (x == NULL || s == NULL) {
        return NULL;
    }
    const int64_t N = mm1_tensor_rows(x), C = mm1_tensor_cols(x);
    if (mm1_tensor_size(s) != C || (residual != NULL && mm1_tensor_size(residual) != N * C)) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "scale: rows of %lld against %lld factors", (long long)C,
                             (long long)mm1_tensor_size(s));
    }
    mm1_tensor *y = mm1__tape_tensor(t, x->rank, x->dims,
                                     x->needs_grad || s->needs_grad || (residual != NULL && residual->needs_grad));
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        scale_fwd_job job = {y->data, x->data, s->data, residual != NULL ? residual->data : NULL, C};
        mm1_parallel_for(N, mm1__rows_chunk(C), scale_forward_rows, &job);
    }
    mm1__tape_done(t, "scale", (residual != NULL ? 3 : 2) * N * C, 3 * N * C);
    if (y->needs_grad) {
        scale_node *n = mm1__tape_node(t, sizeof *n, y, scale_backward);
        if (n == NULL) {
            return NULL;
        }
        n->x = x;
        n->s = s;
        n->residual = residual;
    }
    return y;
}

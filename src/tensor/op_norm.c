/* op_norm.c - RMS and layer normalisation over rows, and RMS normalisation of queries and keys. */
#include "tensor/tensor.h"

#include "base/thread.h"
#include "tensor/rows.h"
#include <string.h>

typedef struct norm_node {
    mm1_node node;
    mm1_tensor *x, *w, *b;
    float *mean, *rstd; /* mean is NULL for RMS */
} norm_node;

/* Rows are cut into this many parts, each with its own partial gradient of the weights, added in order. */
enum { PARTS = 16 };

typedef struct norm_job {
    const norm_node *n;
    float *dx, *partial; /* partial [PARTS, 2, C] */
    int64_t N, C;
    bool acc;
} norm_job;

static void norm_backward_parts(void *ctx, int64_t begin, int64_t end)
{
    const norm_job *j = ctx;
    const norm_node *n = j->n;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t C = j->C;
    for (int64_t i = begin; i < end; i++) {
        const int64_t row = j->N * i / PARTS, rows = j->N * (i + 1) / PARTS - row;
        float *dx = j->dx + row * C, *dw = j->partial + 2 * i * C, *db = n->b != NULL ? dw + C : NULL;
        const float *dy = n->node.out->grad + row * C, *x = n->x->data + row * C;
        if (n->mean == NULL) {
            k->rmsnorm_bwd(dx, dw, dy, x, n->w->data, n->rstd + row, rows, C, j->acc);
        } else {
            k->layernorm_bwd(dx, dw, db, dy, x, n->w->data, n->mean + row, n->rstd + row, rows, C, j->acc);
        }
    }
}

static void norm_backward(mm1_tape *t, mm1_node *base)
{
    const norm_node *n = (const norm_node *)(const void *)base;
    const int64_t N = mm1_tensor_rows(n->x), C = mm1_tensor_cols(n->x);
    const mm1_kernels *k = mm1_kernels_get();
    bool acc = false;

    /* The kernels form dx and dw together; what is not wanted goes to scratch. */
    float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : mm1__tape_scratch(t, N * C);
    float *partial = mm1__tape_scratch(t, 2 * PARTS * C);
    if (dx == NULL || partial == NULL) {
        return;
    }
    if (!t->dry) {
        memset(partial, 0, (size_t)(2 * PARTS * C) * sizeof *partial);
        norm_job job = {n, dx, partial, N, C, acc};
        mm1_parallel_for(PARTS, mm1__parts_grain(N * C, PARTS), norm_backward_parts, &job);
        for (int64_t i = 0; i < PARTS; i++) {
            if (n->w->needs_grad) {
                k->axpy(n->w->grad, partial + 2 * i * C, C, 1.0f);
            }
            if (n->b != NULL && n->b->needs_grad) {
                k->axpy(n->b->grad, partial + (2 * i + 1) * C, C, 1.0f);
            }
        }
    }
    mm1__tape_scratch_free(t, partial, 2 * PARTS * C);
    if (!n->x->needs_grad) {
        mm1__tape_scratch_free(t, dx, N * C);
    }
}

typedef struct norm_fwd_job {
    float *y, *mean, *rstd; /* mean is NULL for RMS */
    const float *x, *w, *b;
    int64_t C;
    float eps;
} norm_fwd_job;

static void norm_forward_rows(void *ctx, int64_t begin, int64_t end)
{
    const norm_fwd_job *j = ctx;
    const int64_t at = begin * j->C;
    if (j->mean == NULL) {
        mm1_kernels_get()->rmsnorm_fwd(j->y + at, j->rstd + begin, j->x + at, j->w, end - begin, j->C, j->eps);
    } else {
        mm1_kernels_get()->layernorm_fwd(j->y + at, j->mean + begin, j->rstd + begin, j->x + at, j->w, j->b,
                                         end - begin, j->C, j->eps);
    }
}

mm1_tensor *mm1_op_norm(mm1_tape *t, mm1_tensor *x, mm1_norm kind, mm1_tensor *w, mm1_tensor *b, float eps)
{
    if (x == NULL || w == NULL) {
        return NULL;
    }
    const int64_t N = mm1_tensor_rows(x), C = mm1_tensor_cols(x);
    if (mm1_tensor_size(w) != C || (b != NULL && mm1_tensor_size(b) != C)) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "norm: rows of %lld against %lld weights", (long long)C,
                             (long long)mm1_tensor_size(w));
    }
    const bool needs = x->needs_grad || w->needs_grad || (b != NULL && b->needs_grad);
    mm1_tensor *y = mm1__tape_tensor(t, x->rank, x->dims, needs);
    float *rstd = mm1__tape_floats(t, N), *mean = kind == MM1_NORM_LAYER ? mm1__tape_floats(t, N) : NULL;
    if (y == NULL || rstd == NULL || (kind == MM1_NORM_LAYER && mean == NULL)) {
        return NULL;
    }
    if (!t->dry) {
        norm_fwd_job job = {y->data, mean, rstd, x->data, w->data, b != NULL ? b->data : NULL, C, eps};
        mm1_parallel_for(N, mm1__rows_chunk(C), norm_forward_rows, &job);
    }
    mm1__tape_done(t, "norm", 2 * N * C, 3 * N * C);
    if (y->needs_grad) {
        norm_node *n = mm1__tape_node(t, sizeof *n, y, norm_backward);
        if (n == NULL) {
            return NULL;
        }
        n->x = x;
        n->w = w;
        n->b = kind == MM1_NORM_LAYER ? b : NULL;
        n->mean = mean;
        n->rstd = rstd;
    }
    return y;
}

/* ---- queries and keys ---- */

/* Columns [col, col + width) of each row are groups as wide as the weights, each normalised by itself. */
typedef struct group_norm {
    mm1_tensor *w;
    float *rstd; /* [N, n] */
    int64_t col, width, n;
} group_norm;

typedef struct qk_norm_node {
    mm1_node node;
    mm1_tensor *x;
    group_norm of[2]; /* queries, keys */
} qk_norm_node;

typedef struct qk_norm_job {
    const qk_norm_node *n;
    float *dx, *partial;      /* partial [PARTS, stride] */
    int64_t first[2], stride; /* of the gradient of each one's weights in a part */
    bool acc;
} qk_norm_job;

static void qk_norm_backward_row(const qk_norm_job *j, int64_t row, float *partial)
{
    const qk_norm_node *n = j->n;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t C = mm1_tensor_cols(n->x), done = n->of[1].col + n->of[1].width;
    float *dx = j->dx + row * C;
    const float *dy = n->node.out->grad + row * C, *x = n->x->data + row * C;
    for (int i = 0; i < 2; i++) {
        const group_norm *g = &n->of[i];
        k->rmsnorm_bwd(dx + g->col, partial + j->first[i], dy + g->col, x + g->col, g->w->data, g->rstd + row * g->n,
                       g->n, mm1_tensor_size(g->w), j->acc);
    }
    if (j->acc) {
        k->axpy(dx + done, dy + done, C - done, 1.0f);
    } else {
        memcpy(dx + done, dy + done, (size_t)(C - done) * sizeof *dx);
    }
}

static void qk_norm_backward_parts(void *ctx, int64_t begin, int64_t end)
{
    const qk_norm_job *j = ctx;
    const int64_t N = mm1_tensor_rows(j->n->x);
    for (int64_t i = begin; i < end; i++) {
        for (int64_t row = N * i / PARTS; row < N * (i + 1) / PARTS; row++) {
            qk_norm_backward_row(j, row, j->partial + i * j->stride);
        }
    }
}

static void qk_norm_backward(mm1_tape *t, mm1_node *base)
{
    const qk_norm_node *n = (const qk_norm_node *)(const void *)base;
    const int64_t N = mm1_tensor_rows(n->x), C = mm1_tensor_cols(n->x);
    const int64_t first[2] = {0, mm1_tensor_size(n->of[0].w)}, stride = first[1] + mm1_tensor_size(n->of[1].w);
    bool acc = false;
    float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : mm1__tape_scratch(t, N * C);
    float *partial = mm1__tape_scratch(t, PARTS * stride);
    if (dx == NULL || partial == NULL) {
        return;
    }
    if (!t->dry) {
        memset(partial, 0, (size_t)(PARTS * stride) * sizeof *partial);
        qk_norm_job job = {n, dx, partial, {first[0], first[1]}, stride, acc};
        mm1_parallel_for(PARTS, mm1__parts_grain(N * C, PARTS), qk_norm_backward_parts, &job);
        for (int64_t i = 0; i < PARTS; i++) {
            for (int j = 0; j < 2; j++) {
                const group_norm *g = &n->of[j];
                if (g->w->needs_grad) {
                    mm1_kernels_get()->axpy(g->w->grad, partial + i * stride + first[j], mm1_tensor_size(g->w), 1.0f);
                }
            }
        }
    }
    mm1__tape_scratch_free(t, partial, PARTS * stride);
    if (!n->x->needs_grad) {
        mm1__tape_scratch_free(t, dx, N * C);
    }
}

typedef struct qk_norm_fwd_job {
    float *y;
    const float *x;
    int64_t C;
    const group_norm *of; /* [2] */
    float eps;
} qk_norm_fwd_job;

static void qk_norm_forward_rows(void *ctx, int64_t begin, int64_t end)
{
    const qk_norm_fwd_job *j = ctx;
    for (int64_t row = begin; row < end; row++) {
        for (int i = 0; i < 2; i++) {
            const group_norm *g = &j->of[i];
            const int64_t at = row * j->C + g->col;
            mm1_kernels_get()->rmsnorm_fwd(j->y + at, g->rstd + row * g->n, j->x + at, g->w->data, g->n,
                                           mm1_tensor_size(g->w), j->eps);
        }
    }
}

mm1_tensor *mm1_op_qk_norm(mm1_tape *t, mm1_tensor *qkv, int64_t n_q, int64_t n_k, mm1_tensor *q_w, mm1_tensor *k_w,
                           float eps)
{
    if (qkv == NULL || q_w == NULL || k_w == NULL) {
        return NULL;
    }
    const int64_t N = mm1_tensor_rows(qkv), C = mm1_tensor_cols(qkv);
    group_norm of[2] = {{.w = q_w, .width = n_q}, {.w = k_w, .col = n_q, .width = n_k}};
    bool needs = qkv->needs_grad;
    for (int j = 0; j < 2; j++) {
        group_norm *g = &of[j];
        if (mm1_tensor_size(g->w) < 1 || g->width % mm1_tensor_size(g->w) != 0 || g->col + g->width > C) {
            return mm1_tape_fail(t, MM1_E_SHAPE, "norm of queries and keys: %lld columns of %lld against %lld weights",
                                 (long long)g->width, (long long)C, (long long)mm1_tensor_size(g->w));
        }
        g->n = g->width / mm1_tensor_size(g->w);
        g->rstd = mm1__tape_floats(t, N * g->n);
        needs = needs || g->w->needs_grad;
    }
    mm1_tensor *y = mm1__tape_tensor(t, qkv->rank, qkv->dims, needs);
    if (y == NULL || of[0].rstd == NULL || of[1].rstd == NULL) {
        return NULL;
    }
    if (!t->dry) {
        mm1__rows_copy_or_add(y->data, qkv->data, N * C, false);
        qk_norm_fwd_job job = {y->data, qkv->data, C, of, eps};
        mm1_parallel_for(N, mm1__rows_chunk(C), qk_norm_forward_rows, &job);
    }
    mm1__tape_done(t, "norm", 2 * N * C, 3 * N * C);
    if (y->needs_grad) {
        qk_norm_node *n = mm1__tape_node(t, sizeof *n, y, qk_norm_backward);
        if (n == NULL) {
            return NULL;
        }
        n->x = qkv;
        n->of[0] = of[0];
        n->of[1] = of[1];
    }
    return y;
}

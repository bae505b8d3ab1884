/* op_norm.c - RMS and layer normalisation over rows, and RMS normalisation of queries and keys. */
#include "tensor/tensor.h"

#include "tensor/rows.h"
#include <string.h>

typedef struct norm_node {
    mm1_node node;
    mm1_tensor *x, *w, *b;
    float *mean, *rstd; /* mean is NULL for RMS */
} norm_node;

/* Rows are cut into this many parts, each with its own partial gradient of the weights, added in order. */
enum { PARTS = 16 };

static void norm_backward(mm1_tape *t, mm1_node *base)
{
    const norm_node *n = (const norm_node *)(const void *)base;
    const int64_t N = mm1_tensor_rows(n->x), C = mm1_tensor_cols(n->x);
    const mm1_kernels *k = mm1_kernels_get();
    const float *dy = base->out->grad;
    bool acc = false;

    /* The kernels form dx and dw together; what is not wanted goes to scratch. */
    float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : mm1__tape_scratch(t, N * C);
    float *partial = mm1__tape_scratch(t, 2 * PARTS * C);
    if (dx == NULL || partial == NULL) {
        return;
    }
    if (!t->dry) {
        memset(partial, 0, (size_t)(2 * PARTS * C) * sizeof *partial);
#pragma omp parallel for schedule(static) if (N * C > MM1_CHUNK_ELEMS)
        for (int64_t i = 0; i < PARTS; i++) {
            const int64_t begin = N * i / PARTS, rows = N * (i + 1) / PARTS - begin;
            float *dw = partial + 2 * i * C, *db = n->b != NULL ? dw + C : NULL;
            if (n->mean == NULL) {
                k->rmsnorm_bwd(dx + begin * C, dw, dy + begin * C, n->x->data + begin * C, n->w->data, n->rstd + begin,
                               rows, C, acc);
            } else {
                k->layernorm_bwd(dx + begin * C, dw, db, dy + begin * C, n->x->data + begin * C, n->w->data,
                                 n->mean + begin, n->rstd + begin, rows, C, acc);
            }
        }
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
        const mm1_kernels *k = mm1_kernels_get();
        const int64_t chunk = mm1__rows_chunk(C);
#pragma omp parallel for schedule(static) if (N > chunk)
        for (int64_t begin = 0; begin < N; begin += chunk) {
            const int64_t rows = N - begin < chunk ? N - begin : chunk;
            if (kind == MM1_NORM_RMS) {
                k->rmsnorm_fwd(y->data + begin * C, rstd + begin, x->data + begin * C, w->data, rows, C, eps);
            } else {
                k->layernorm_fwd(y->data + begin * C, mean + begin, rstd + begin, x->data + begin * C, w->data,
                                 b != NULL ? b->data : NULL, rows, C, eps);
            }
        }
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

static void qk_norm_backward(mm1_tape *t, mm1_node *base)
{
    const qk_norm_node *n = (const qk_norm_node *)(const void *)base;
    const int64_t N = mm1_tensor_rows(n->x), C = mm1_tensor_cols(n->x);
    const int64_t done = n->of[1].col + n->of[1].width;
    const int64_t first[2] = {0, mm1_tensor_size(n->of[0].w)}, stride = first[1] + mm1_tensor_size(n->of[1].w);
    const mm1_kernels *k = mm1_kernels_get();
    const float *dy = base->out->grad;
    bool acc = false;
    float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : mm1__tape_scratch(t, N * C);
    float *partial = mm1__tape_scratch(t, PARTS * stride);
    if (dx == NULL || partial == NULL) {
        return;
    }
    if (!t->dry) {
        memset(partial, 0, (size_t)(PARTS * stride) * sizeof *partial);
#pragma omp parallel for schedule(static) if (N * C > MM1_CHUNK_ELEMS)
        for (int64_t i = 0; i < PARTS; i++) {
            for (int64_t row = N * i / PARTS; row < N * (i + 1) / PARTS; row++) {
                for (int j = 0; j < 2; j++) {
                    const group_norm *g = &n->of[j];
                    const int64_t at = row * C + g->col;
                    k->rmsnorm_bwd(dx + at, partial + i * stride + first[j], dy + at, n->x->data + at, g->w->data,
                                   g->rstd + row * g->n, g->n, mm1_tensor_size(g->w), acc);
                }
                if (acc) {
                    k->axpy(dx + row * C + done, dy + row * C + done, C - done, 1.0f);
                } else {
                    memcpy(dx + row * C + done, dy + row * C + done, (size_t)(C - done) * sizeof *dx);
                }
            }
        }
        for (int64_t i = 0; i < PARTS; i++) {
            for (int j = 0; j < 2; j++) {
                const group_norm *g = &n->of[j];
                if (g->w->needs_grad) {
                    k->axpy(g->w->grad, partial + i * stride + first[j], mm1_tensor_size(g->w), 1.0f);
                }
            }
        }
    }
    mm1__tape_scratch_free(t, partial, PARTS * stride);
    if (!n->x->needs_grad) {
        mm1__tape_scratch_free(t, dx, N * C);
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
        const mm1_kernels *k = mm1_kernels_get();
        mm1__rows_copy_or_add(y->data, qkv->data, N * C, false);
#pragma omp parallel for schedule(static) if (N * C > MM1_CHUNK_ELEMS)
        for (int64_t row = 0; row < N; row++) {
            for (int j = 0; j < 2; j++) {
                const group_norm *g = &of[j];
                const int64_t at = row * C + g->col;
                k->rmsnorm_fwd(y->data + at, g->rstd + row * g->n, qkv->data + at, g->w->data, g->n,
                               mm1_tensor_size(g->w), eps);
            }
        }
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

/* op_xent.c - head and cross-entropy in one: logits exist for a few rows at a time only.
 *
 * Rows without a target are left out before the product, so image positions and padding cost nothing here.  The
 * gradient is formed in the same pass (one product for the logits, two for the gradients); a second pass over chunks of
 * the vocabulary, as is done where memory for one block of rows is short, would cost a fourth product. */
#include "tensor/tensor.h"

#include "base/thread.h"
#include "kernels/gemm.h"
#include "tensor/rows.h"
#include <string.h>

/* Logits are held for as many rows as take 16 MiB, but for LOGIT_ROWS of them whatever the vocabulary: each block reads
 * all of w and reads and writes all of its gradient, which takes as long as the products of some 100 rows. */
enum { LOGIT_FLOATS = 1 << 22, LOGIT_ROWS = 512, PAGE_FLOATS = 1024, LINE_FLOATS = 16 };

typedef struct xent_node {
    mm1_node node;
    mm1_tensor *x;
    const float *dx;    /* [n, C] gradients of the rows that have a target */
    const int32_t *row; /* [n] their row in x */
    int64_t n;
} xent_node;

static void xent_backward(mm1_tape *t, mm1_node *base)
{
    const xent_node *n = (const xent_node *)(const void *)base;
    const int64_t C = mm1_tensor_cols(n->x);
    const mm1_kernels *k = mm1_kernels_get();
    bool acc;
    float *dx = mm1__tape_grad(t, n->x, &acc);
    if (dx == NULL || t->dry) {
        return;
    }
    if (!acc) {
        mm1__rows_zero(dx, mm1_tensor_size(n->x));
    }
    for (int64_t i = 0; i < n->n; i++) {
        k->axpy(dx + (int64_t)n->row[i] * C, n->dx + i * C, C, 1.0f);
    }
}

typedef struct loss_job {
    float *logits, *nll, *lse;
    const int32_t *target;
    int64_t V, ld;       /* ld: of logits */
    float scale, z_coef; /* scale 0: no gradient */
} loss_job;

static void loss_rows(void *ctx, int64_t begin, int64_t end)
{
    const loss_job *j = ctx;
    mm1_kernels_get()->xent(j->logits + begin * j->ld, j->ld, j->nll + begin, j->lse + begin, j->target + begin,
                            end - begin, j->V, j->scale, j->z_coef);
}

bool mm1_op_xent(mm1_tape *t, mm1_tensor *x, mm1_tensor *w, const int32_t *target, float *nll, float scale,
                 float z_coef)
{
    if (x == NULL || w == NULL) {
        return false;
    }
    const int64_t N = mm1_tensor_rows(x), C = mm1_tensor_cols(x), V = w->dims[0];
    if (w->rank != 2 || w->dims[1] != C) {
        mm1_tape_fail(t, MM1_E_SHAPE, "loss: rows of %lld against a head [%lld, %lld]", (long long)C,
                      (long long)w->dims[0], (long long)w->dims[1]);
        return false;
    }
    int64_t n = t->dry ? N : 0;
    for (int64_t i = 0; i < N && !t->dry; i++) {
        n += target[i] >= 0;
        if (target[i] >= V) {
            mm1_tape_fail(t, MM1_E_SHAPE, "loss: position %lld has target %d of %lld", (long long)i, target[i],
                          (long long)V);
            return false;
        }
    }
    const bool dx_wanted = t->recording && x->needs_grad, dw_wanted = t->recording && w->needs_grad;
    const int64_t block = LOGIT_FLOATS / V > LOGIT_ROWS ? LOGIT_FLOATS / V : LOGIT_ROWS;
    const int64_t rows_max = n < block ? n : block;
    /* Rows that are whole pages apart fall into the same sets of the caches. */
    const int64_t ld = V % PAGE_FLOATS == 0 ? V + LINE_FLOATS : V;

    int32_t *row = (int32_t *)(void *)mm1__tape_floats(t, n), *picked = (int32_t *)(void *)mm1__tape_floats(t, n);
    float *dx = dx_wanted ? mm1__tape_floats(t, n * C) : NULL;
    /* The node's output is a scalar whose gradient is 1 by definition: the loss seeds the backward pass. */
    mm1_tensor *loss = mm1__tape_tensor(t, 1, (int64_t[]){1}, dx_wanted);
    float *seed = dx_wanted ? mm1__tape_scratch(t, 1) : NULL; /* never read, but recycled as all gradients are */
    if (row == NULL || picked == NULL || (dx_wanted && (dx == NULL || seed == NULL)) || loss == NULL) {
        return false;
    }
    float *gathered = mm1__tape_scratch(t, rows_max * C), *logits = mm1__tape_scratch(t, rows_max * ld);
    float *row_nll = mm1__tape_scratch(t, 2 * rows_max);
    if (gathered == NULL || logits == NULL || row_nll == NULL) {
        return false;
    }
    if (!t->dry) {
        const float logit_scale = dx_wanted || dw_wanted ? scale : 0.0f;
        memset(nll, 0, (size_t)N * sizeof *nll);
        for (int64_t i = 0, at = 0; i < N; i++) {
            if (target[i] >= 0) {
                row[at] = (int32_t)i;
                picked[at++] = target[i];
            }
        }
        for (int64_t begin = 0; begin < n; begin += block) {
            const int64_t rows = n - begin < block ? n - begin : block;
            for (int64_t i = 0; i < rows; i++) {
                memcpy(gathered + i * C, x->data + (int64_t)row[begin + i] * C, (size_t)C * sizeof *gathered);
            }
            mm1__tape_gemm(t, &(mm1_gemm_args){.M = rows,
                                               .N = V,
                                               .K = C,
                                               .a = gathered,
                                               .lda = C,
                                               .b = w->data,
                                               .ldb = C,
                                               .trans_b = true,
                                               .c = logits,
                                               .ldc = ld,
                                               .alpha = 1});
            loss_job job = {logits, row_nll, row_nll + rows_max, picked + begin, V, ld, logit_scale, z_coef};
            mm1_parallel_for(rows, mm1__rows_chunk(V), loss_rows, &job);
            for (int64_t i = 0; i < rows; i++) {
                nll[row[begin + i]] = row_nll[i];
            }
            if (dx_wanted) {
                mm1__tape_gemm(t, &(mm1_gemm_args){.M = rows,
                                                   .N = C,
                                                   .K = V,
                                                   .a = logits,
                                                   .lda = ld,
                                                   .b = w->data,
                                                   .ldb = C,
                                                   .c = dx + begin * C,
                                                   .ldc = C,
                                                   .alpha = 1});
            }
            if (dw_wanted) {
                mm1__tape_gemm(t, &(mm1_gemm_args){.M = V,
                                                   .N = C,
                                                   .K = rows,
                                                   .a = logits,
                                                   .lda = ld,
                                                   .trans_a = true,
                                                   .b = gathered,
                                                   .ldb = C,
                                                   .c = w->grad,
                                                   .ldc = C,
                                                   .acc = true,
                                                   .alpha = 1});
            }
        }
    }
    mm1__tape_scratch_free(t, row_nll, 2 * rows_max);
    mm1__tape_scratch_free(t, logits, rows_max * ld);
    mm1__tape_scratch_free(t, gathered, rows_max * C);
    mm1__tape_done(t, "head and loss", 0, 3 * n * C);
    if (dx_wanted) {
        xent_node *node = mm1__tape_node(t, sizeof *node, loss, xent_backward);
        if (node == NULL) {
            return false;
        }
        loss->grad = seed;
        node->x = x;
        node->dx = dx;
        node->row = row;
        node->n = n;
    }
    return true;
}

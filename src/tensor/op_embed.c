/* op_embed.c - token embeddings with visual tokens spliced in, rows joined, and patches cut out of pixels. */
#include "tensor/tensor.h"

#include "base/thread.h"
#include "tensor/rows.h"
#include <string.h>

typedef struct embed_node {
    mm1_node node;
    mm1_tensor *table, *visual;
    const int32_t *id, *visual_row;
    int64_t N;
} embed_node;

static bool is_visual(const embed_node *n, int64_t i)
{
    return n->visual_row != NULL && n->visual_row[i] >= 0;
}

typedef struct scatter_job {
    float *dst;
    const embed_node *n;
    const float *dy;
    int64_t C;
    bool visual;
} scatter_job;

static void scatter_columns(void *ctx, int64_t begin, int64_t end)
{
    const scatter_job *j = ctx;
    const embed_node *n = j->n;
    const mm1_kernels *k = mm1_kernels_get();
    for (int64_t i = 0; i < n->N; i++) {
        if (is_visual(n, i) == j->visual) {
            const int64_t row = j->visual ? n->visual_row[i] : n->id[i];
            k->axpy(j->dst + row * j->C + begin, j->dy + i * j->C + begin, end - begin, 1.0f);
        }
    }
}

/* Rows are cut by columns, so that two positions with the same id never race and are added in order. */
static void scatter_rows(float *dst, const embed_node *n, const float *dy, int64_t C, bool visual)
{
    scatter_job job = {dst, n, dy, C, visual};
    mm1_parallel_for(C, mm1__columns_chunk(n->N, C), scatter_columns, &job);
}

static void embed_backward(mm1_tape *t, mm1_node *base)
{
    const embed_node *n = (const embed_node *)(const void *)base;
    const int64_t C = mm1_tensor_cols(n->table);
    bool acc;
    if (n->table->needs_grad) {
        float *d = mm1__tape_grad(t, n->table, &acc);
        if (d != NULL && !t->dry) {
            if (!acc) {
                mm1__rows_zero(d, mm1_tensor_size(n->table));
            }
            scatter_rows(d, n, base->out->grad, C, false);
        }
    }
    if (n->visual != NULL && n->visual->needs_grad) {
        float *d = mm1__tape_grad(t, n->visual, &acc);
        if (d != NULL && !t->dry) {
            if (!acc) {
                mm1__rows_zero(d, mm1_tensor_size(n->visual));
            }
            scatter_rows(d, n, base->out->grad, C, true);
        }
    }
}

mm1_tensor *mm1_op_embed(mm1_tape *t, mm1_tensor *table, const int32_t *id, int64_t N, mm1_tensor *visual,
                         const int32_t *visual_row)
{
    if (table == NULL || t->err.status != MM1_OK) {
        return NULL;
    }
    const int64_t V = table->dims[0], C = mm1_tensor_cols(table),
                  n_visual = visual != NULL ? mm1_tensor_rows(visual) : 0;
    if (visual != NULL && mm1_tensor_cols(visual) != C) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "embed: visual tokens of width %lld in a decoder of width %lld",
                             (long long)mm1_tensor_cols(visual), (long long)C);
    }
    for (int64_t i = 0; i < N && !t->dry; i++) {
        const int64_t row = visual_row != NULL ? visual_row[i] : -1;
        if (row >= n_visual || (row < 0 && (id[i] < 0 || id[i] >= V))) {
            return mm1_tape_fail(t, MM1_E_SHAPE, "embed: position %lld holds id %d of %lld and visual row %lld of %lld",
                                 (long long)i, id[i], (long long)V, (long long)row, (long long)n_visual);
        }
    }
    mm1_tensor *y =
        mm1__tape_tensor(t, 2, (int64_t[]){N, C}, table->needs_grad || (visual != NULL && visual->needs_grad));
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        for (int64_t i = 0; i < N; i++) {
            const float *src =
                visual_row != NULL && visual_row[i] >= 0 ? visual->data + visual_row[i] * C : table->data + id[i] * C;
            memcpy(y->data + i * C, src, (size_t)C * sizeof *src);
        }
    }
    mm1__tape_done(t, "embedding", 2 * N * C, 3 * N * C);
    if (y->needs_grad) {
        embed_node *n = mm1__tape_node(t, sizeof *n, y, embed_backward);
        if (n == NULL) {
            return NULL;
        }
        n->table = table;
        n->visual = visual;
        n->id = id;
        n->visual_row = visual_row;
        n->N = N;
    }
    return y;
}

typedef struct join_node {
    mm1_node node;
    mm1_tensor *a, *b;
} join_node;

static void join_backward(mm1_tape *t, mm1_node *base)
{
    const join_node *n = (const join_node *)(const void *)base;
    mm1_tensor *const parts[] = {n->a, n->b};
    const float *dy = base->out->grad;
    for (int i = 0; i < 2; i++) {
        const int64_t size = mm1_tensor_size(parts[i]);
        bool acc;
        float *d = parts[i]->needs_grad ? mm1__tape_grad(t, parts[i], &acc) : NULL;
        if (d != NULL && !t->dry) {
            if (acc) {
                mm1_kernels_get()->axpy(d, dy, size, 1.0f);
            } else {
                memcpy(d, dy, (size_t)size * sizeof *d);
            }
        }
        dy = t->dry ? dy : dy + size;
    }
}

mm1_tensor *mm1_op_join(mm1_tape *t, mm1_tensor *a, mm1_tensor *b)
{
    if (a == NULL || b == NULL) {
        return NULL;
    }
    const int64_t C = mm1_tensor_cols(a), n_a = mm1_tensor_size(a), n_b = mm1_tensor_size(b);
    if (mm1_tensor_cols(b) != C) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "join: rows of width %lld and %lld", (long long)C,
                             (long long)mm1_tensor_cols(b));
    }
    mm1_tensor *y =
        mm1__tape_tensor(t, 2, (int64_t[]){mm1_tensor_rows(a) + mm1_tensor_rows(b), C}, a->needs_grad || b->needs_grad);
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        memcpy(y->data, a->data, (size_t)n_a * sizeof *y->data);
        memcpy(y->data + n_a, b->data, (size_t)n_b * sizeof *y->data);
    }
    mm1__tape_done(t, "join", 2 * (n_a + n_b), 2 * (n_a + n_b));
    if (y->needs_grad) {
        join_node *n = mm1__tape_node(t, sizeof *n, y, join_backward);
        if (n == NULL) {
            return NULL;
        }
        n->a = a;
        n->b = b;
    }
    return y;
}

typedef struct patch_job {
    float *y;
    const float *pixels;
    int64_t R, p;
} patch_job;

static void cut_rows(void *ctx, int64_t begin, int64_t end)
{
    const patch_job *j = ctx;
    const int64_t R = j->R, p = j->p, g = R / p;
    for (int64_t row = begin; row < end; row++) {
        const int64_t i = row / g, gy = row % g;
        for (int64_t gx = 0; gx < g; gx++) {
            float *dst = j->y + (row * g + gx) * 3 * p * p;
            for (int64_t c = 0; c < 3; c++) {
                for (int64_t py = 0; py < p; py++) {
                    const float *src = j->pixels + ((i * 3 + c) * R + gy * p + py) * R + gx * p;
                    memcpy(dst, src, (size_t)p * sizeof *src);
                    dst += p;
                }
            }
        }
    }
}

mm1_tensor *mm1_op_patchify(mm1_tape *t, const float *pixels, int64_t I, int64_t R, int64_t p)
{
    if (p <= 0 || R < p) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "patchify: no patch of %lld px in %lld px", (long long)p, (long long)R);
    }
    const int64_t g = R / p, cols = 3 * p * p;
    mm1_tensor *y = mm1__tape_tensor(t, 2, (int64_t[]){I * g * g, cols}, false);
    if (y == NULL || t->dry) {
        return y;
    }
    mm1_parallel_for(I * g, mm1__rows_chunk(3 * p * R), cut_rows, &(patch_job){y->data, pixels, R, p});
    mm1__tape_done(t, "patches", 2 * I * g * g * cols, 0);
    return y;
}

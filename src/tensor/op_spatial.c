/* op_spatial.c - operators on grids of patches, channels last: depthwise convolution, pooling, blocks of
 * cells as channels, squeeze-excite gate. */
#include "tensor/tensor.h"

#include "tensor/rows.h"
#include <string.h>

typedef struct spatial_node {
    mm1_node node;
    mm1_tensor *x, *w; /* w: filter of the convolution, or the gate */
    int64_t I, H, W, h, w_out;
} spatial_node;

static bool grid_fits(const mm1_tensor *x, int64_t I, int64_t H, int64_t W)
{
    return mm1_tensor_rows(x) == I * H * W;
}

static spatial_node *record(mm1_tape *t, mm1_tensor *y, mm1_tensor *x, mm1_tensor *w, const int64_t dims[5],
                            void (*backward)(mm1_tape *, mm1_node *))
{
    spatial_node *n = mm1__tape_node(t, sizeof *n, y, backward);
    if (n != NULL) {
        n->x = x;
        n->w = w;
        n->I = dims[0];
        n->H = dims[1];
        n->W = dims[2];
        n->h = dims[3];
        n->w_out = dims[4];
    }
    return n;
}

/* Images are cut into this many parts, each with its own partial gradient of the filter, added in order. */
enum { PARTS = 8 };

static void dwconv_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t C = mm1_tensor_cols(n->x), size = n->H * n->W * C;
    const float *dy = base->out->grad, *x = n->x->data;
    if (n->x->needs_grad) {
        bool acc;
        float *dx = mm1__tape_grad(t, n->x, &acc);
        if (dx != NULL && !t->dry) {
#pragma omp parallel for schedule(static) if (n->I > 1)
            for (int64_t i = 0; i < n->I; i++) {
                k->dwconv_bwd_x(dx + i * size, dy + i * size, n->w->data, 1, n->H, n->W, C, acc);
            }
        }
    }
    if (n->w->needs_grad) {
        float *partial = mm1__tape_scratch(t, PARTS * 9 * C);
        if (partial != NULL && !t->dry) {
            memset(partial, 0, (size_t)(PARTS * 9 * C) * sizeof *partial);
#pragma omp parallel for schedule(static) if (n->I > 1)
            for (int64_t i = 0; i < PARTS; i++) {
                const int64_t begin = n->I * i / PARTS, end = n->I * (i + 1) / PARTS;
                k->dwconv_bwd_w(partial + i * 9 * C, dy + begin * size, x + begin * size, end - begin, n->H, n->W, C);
            }
            for (int64_t i = 0; i < PARTS; i++) {
                k->axpy(n->w->grad, partial + i * 9 * C, 9 * C, 1.0f);
            }
        }
        mm1__tape_scratch_free(t, partial, PARTS * 9 * C);
    }
}

mm1_tensor *mm1_op_dwconv(mm1_tape *t, mm1_tensor *x, mm1_tensor *w, int64_t I, int64_t H, int64_t W)
{
    if (x == NULL || w == NULL) {
        return NULL;
    }
    const int64_t C = mm1_tensor_cols(x), size = H * W * C;
    if (!grid_fits(x, I, H, W) || mm1_tensor_size(w) != 9 * C) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "convolution: %lld rows of %lld are no %lld grids of %lld x %lld",
                             (long long)mm1_tensor_rows(x), (long long)C, (long long)I, (long long)H, (long long)W);
    }
    mm1_tensor *y = mm1__tape_tensor(t, x->rank, x->dims, x->needs_grad || w->needs_grad);
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (I > 1)
        for (int64_t i = 0; i < I; i++) {
            k->dwconv_fwd(y->data + i * size, x->data + i * size, w->data, 1, H, W, C);
        }
    }
    mm1__tape_done(t, "depthwise convolution", 2 * I * size, 4 * I * size);
    const int64_t dims[5] = {I, H, W, 0, 0};
    return y->needs_grad && record(t, y, x, w, dims, dwconv_backward) == NULL ? NULL : y;
}

static void pool_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t C = mm1_tensor_cols(n->x);
    bool acc;
    float *dx = mm1__tape_grad(t, n->x, &acc);
    if (dx == NULL || t->dry) {
        return;
    }
#pragma omp parallel for schedule(static) if (n->I > 1)
    for (int64_t i = 0; i < n->I; i++) {
        k->pool_bwd(dx + i * n->H * n->W * C, base->out->grad + i * n->h * n->w_out * C, 1, n->H, n->W, C, n->h,
                    n->w_out, acc);
    }
}

mm1_tensor *mm1_op_pool(mm1_tape *t, mm1_tensor *x, int64_t I, int64_t H, int64_t W, int64_t h, int64_t w)
{
    if (x == NULL) {
        return NULL;
    }
    const int64_t C = mm1_tensor_cols(x);
    if (!grid_fits(x, I, H, W) || h < 1 || w < 1) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "pooling: %lld rows are no %lld grids of %lld x %lld",
                             (long long)mm1_tensor_rows(x), (long long)I, (long long)H, (long long)W);
    }
    mm1_tensor *y = mm1__tape_tensor(t, 2, (int64_t[]){I * h * w, C}, x->needs_grad);
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (I > 1)
        for (int64_t i = 0; i < I; i++) {
            k->pool_fwd(y->data + i * h * w * C, x->data + i * H * W * C, 1, H, W, C, h, w);
        }
    }
    mm1__tape_done(t, "pooling", I * (H * W + h * w) * C, I * (H * W + h * w) * C);
    const int64_t dims[5] = {I, H, W, h, w};
    return y->needs_grad && record(t, y, x, NULL, dims, pool_backward) == NULL ? NULL : y;
}

/* Copies between cells and blocks; `to_cells` goes back, where += adds to what is there. */
static void move_blocks(float *cells, float *blocks, int64_t I, int64_t H, int64_t W, int64_t s, int64_t C,
                        bool to_cells, bool acc)
{
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t h = H / s, w = W / s, n = s * C; /* one row of a block is contiguous on both sides */
#pragma omp parallel for schedule(static) if (I * H * W * C > MM1_CHUNK_ELEMS)
    for (int64_t row = 0; row < I * h; row++) {
        for (int64_t col = 0; col < w; col++) {
            for (int64_t y = 0; y < s; y++) {
                float *cell = cells + ((row * s + y) * W + col * s) * C,
                      *block = blocks + ((row * w + col) * s + y) * n;
                if (!to_cells) {
                    memcpy(block, cell, (size_t)n * sizeof *block);
                } else if (acc) {
                    k->axpy(cell, block, n, 1.0f);
                } else {
                    memcpy(cell, block, (size_t)n * sizeof *cell);
                }
            }
        }
    }
}

static void space_to_depth_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
    bool acc;
    float *dx = mm1__tape_grad(t, n->x, &acc);
    if (dx != NULL && !t->dry) {
        move_blocks(dx, base->out->grad, n->I, n->H, n->W, n->h, mm1_tensor_cols(n->x), true, acc);
    }
}

mm1_tensor *mm1_op_space_to_depth(mm1_tape *t, mm1_tensor *x, int64_t I, int64_t H, int64_t W, int64_t s)
{
    if (x == NULL) {
        return NULL;
    }
    const int64_t C = mm1_tensor_cols(x);
    if (!grid_fits(x, I, H, W) || s < 1 || H % s != 0 || W % s != 0) {
        return mm1_tape_fail(t, MM1_E_SHAPE,
                             "space to depth: %lld rows are no %lld grids of %lld x %lld in blocks of %lld",
                             (long long)mm1_tensor_rows(x), (long long)I, (long long)H, (long long)W, (long long)s);
    }
    mm1_tensor *y = mm1__tape_tensor(t, 2, (int64_t[]){I * (H / s) * (W / s), s * s * C}, x->needs_grad);
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        move_blocks(x->data, y->data, I, H, W, s, C, false, false);
    }
    mm1__tape_done(t, "space to depth", 2 * I * H * W * C, 2 * I * H * W * C);
    const int64_t dims[5] = {I, H, W, s, 0};
    return y->needs_grad && record(t, y, x, NULL, dims, space_to_depth_backward) == NULL ? NULL : y;
}

static void gate_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t C = mm1_tensor_cols(n->x), P = mm1_tensor_rows(n->x) / (n->I > 0 ? n->I : 1);
    bool acc_x = false, acc_g = false;
    /* The kernel forms both gradients at once; what is not wanted goes to scratch, and so does what must be added. */
    float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc_x) : mm1__tape_scratch(t, n->I * P * C);
    float *dg = n->w->needs_grad ? mm1__tape_grad(t, n->w, &acc_g) : mm1__tape_scratch(t, n->I * C);
    if (dx == NULL || dg == NULL) {
        return;
    }
    if (!t->dry) {
        const bool acc = acc_x || acc_g;
        if (acc && !acc_x) {
            mm1__rows_zero(dx, n->I * P * C);
        }
        if (acc && !acc_g) {
            mm1__rows_zero(dg, n->I * C);
        }
#pragma omp parallel for schedule(static) if (n->I > 1)
        for (int64_t i = 0; i < n->I; i++) {
            k->gate_bwd(dx + i * P * C, dg + i * C, base->out->grad + i * P * C, n->x->data + i * P * C,
                        n->w->data + i * C, 1, P, C, acc);
        }
    }
    if (!n->x->needs_grad) {
        mm1__tape_scratch_free(t, dx, n->I * P * C);
    }
    if (!n->w->needs_grad) {
        mm1__tape_scratch_free(t, dg, n->I * C);
    }
}

mm1_tensor *mm1_op_gate(mm1_tape *t, mm1_tensor *x, mm1_tensor *g, int64_t I)
{
    if (x == NULL || g == NULL) {
        return NULL;
    }
    const int64_t C = mm1_tensor_cols(x), P = I > 0 ? mm1_tensor_rows(x) / I : 0;
    if (mm1_tensor_rows(x) != I * P || mm1_tensor_size(g) != I * C) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "gate: %lld rows for %lld images", (long long)mm1_tensor_rows(x),
                             (long long)I);
    }
    mm1_tensor *y = mm1__tape_tensor(t, x->rank, x->dims, x->needs_grad || g->needs_grad);
    if (y == NULL) {
        return NULL;
    }
    if (!t->dry) {
        const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (I > 1)
        for (int64_t i = 0; i < I; i++) {
            k->gate_fwd(y->data + i * P * C, x->data + i * P * C, g->data + i * C, 1, P, C);
        }
    }
    mm1__tape_done(t, "gate", 2 * I * P * C, 3 * I * P * C);
    const int64_t dims[5] = {I, 0, 0, 0, 0};
    return y->needs_grad && record(t, y, x, g, dims, gate_backward) == NULL ? NULL : y;
}

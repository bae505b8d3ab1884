/* op_spatial.c - operators on grids of patches, channels last: depthwise convolution, pooling, blocks of
 * cells as channels, squeeze-excite gate. */
#include "tensor/tensor.h"

#include "base/thread.h"
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

/* A region over images, or rows of them; each function uses what it needs. */
typedef struct spatial_job {
    const mm1_kernels *k;
    float *y, *dw; /* written */
    const float *x, *w, *dy;
    int64_t I, H, W, C, h, w_out;
    bool acc;
} spatial_job;

/* Images are cut into this many parts, each with its own partial gradient of the filter, added in order. */
enum { PARTS = 8 };

static void dwconv_bwd_x_images(void *ctx, int64_t begin, int64_t end)
{
    const spatial_job *j = ctx;
    const int64_t size = j->H * j->W * j->C;
    j->k->dwconv_bwd_x(j->y + begin * size, j->dy + begin * size, j->w, end - begin, j->H, j->W, j->C, j->acc);
}

static void dwconv_bwd_w_parts(void *ctx, int64_t begin, int64_t end)
{
    const spatial_job *j = ctx;
    const int64_t size = j->H * j->W * j->C;
    for (int64_t i = begin; i < end; i++) {
        const int64_t from = j->I * i / PARTS, to = j->I * (i + 1) / PARTS;
        j->k->dwconv_bwd_w(j->dw + i * 9 * j->C, j->dy + from * size, j->x + from * size, to - from, j->H, j->W, j->C);
    }
}

static void dwconv_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t C = mm1_tensor_cols(n->x);
    spatial_job job = {
        .k = k, .dy = base->out->grad, .x = n->x->data, .w = n->w->data, .I = n->I, .H = n->H, .W = n->W, .C = C};
    if (n->x->needs_grad) {
        job.y = mm1__tape_grad(t, n->x, &job.acc);
        if (job.y != NULL && !t->dry) {
            mm1_parallel_for(n->I, 1, dwconv_bwd_x_images, &job);
        }
    }
    if (n->w->needs_grad) {
        float *partial = mm1__tape_scratch(t, PARTS * 9 * C);
        if (partial != NULL && !t->dry) {
            memset(partial, 0, (size_t)(PARTS * 9 * C) * sizeof *partial);
            job.dw = partial;
            mm1_parallel_for(PARTS, n->I > 1 ? 1 : PARTS, dwconv_bwd_w_parts, &job);
            for (int64_t i = 0; i < PARTS; i++) {
                k->axpy(n->w->grad, partial + i * 9 * C, 9 * C, 1.0f);
            }
        }
        mm1__tape_scratch_free(t, partial, PARTS * 9 * C);
    }
}

static void dwconv_fwd_images(void *ctx, int64_t begin, int64_t end)
{
    const spatial_job *j = ctx;
    const int64_t size = j->H * j->W * j->C;
    j->k->dwconv_fwd(j->y + begin * size, j->x + begin * size, j->w, end - begin, j->H, j->W, j->C);
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
        spatial_job job = {.k = mm1_kernels_get(), .y = y->data, .x = x->data, .w = w->data, .H = H, .W = W, .C = C};
        mm1_parallel_for(I, 1, dwconv_fwd_images, &job);
    }
    mm1__tape_done(t, "depthwise convolution", 2 * I * size, 4 * I * size);
    const int64_t dims[5] = {I, H, W, 0, 0};
    return y->needs_grad && record(t, y, x, w, dims, dwconv_backward) == NULL ? NULL : y;
}

static void pool_bwd_images(void *ctx, int64_t begin, int64_t end)
{
    const spatial_job *j = ctx;
    j->k->pool_bwd(j->y + begin * j->H * j->W * j->C, j->dy + begin * j->h * j->w_out * j->C, end - begin, j->H, j->W,
                   j->C, j->h, j->w_out, j->acc);
}

static void pool_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
    spatial_job job = {.k = mm1_kernels_get(),
                       .dy = base->out->grad,
                       .H = n->H,
                       .W = n->W,
                       .C = mm1_tensor_cols(n->x),
                       .h = n->h,
                       .w_out = n->w_out};
    job.y = mm1__tape_grad(t, n->x, &job.acc);
    if (job.y != NULL && !t->dry) {
        mm1_parallel_for(n->I, 1, pool_bwd_images, &job);
    }
}

static void pool_fwd_images(void *ctx, int64_t begin, int64_t end)
{
    const spatial_job *j = ctx;
    j->k->pool_fwd(j->y + begin * j->h * j->w_out * j->C, j->x + begin * j->H * j->W * j->C, end - begin, j->H, j->W,
                   j->C, j->h, j->w_out);
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
        spatial_job job = {
            .k = mm1_kernels_get(), .y = y->data, .x = x->data, .H = H, .W = W, .C = C, .h = h, .w_out = w};
        mm1_parallel_for(I, 1, pool_fwd_images, &job);
    }
    mm1__tape_done(t, "pooling", I * (H * W + h * w) * C, I * (H * W + h * w) * C);
    const int64_t dims[5] = {I, H, W, h, w};
    return y->needs_grad && record(t, y, x, NULL, dims, pool_backward) == NULL ? NULL : y;
}

/* Copies between cells and blocks; `to_cells` goes back, where acc adds to what is there. */
typedef struct move_job {
    float *cells, *blocks;
    int64_t W, s, C;
    bool to_cells, acc;
} move_job;

static void move_block_rows(void *ctx, int64_t begin, int64_t end)
{
    const move_job *j = ctx;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t s = j->s, w = j->W / s, n = s * j->C; /* one row of a block is contiguous on both sides */
    for (int64_t row = begin; row < end; row++) {
        for (int64_t col = 0; col < w; col++) {
            for (int64_t y = 0; y < s; y++) {
                float *cell = j->cells + ((row * s + y) * j->W + col * s) * j->C,
                      *block = j->blocks + ((row * w + col) * s + y) * n;
                if (!j->to_cells) {
                    memcpy(block, cell, (size_t)n * sizeof *block);
                } else if (j->acc) {
                    k->axpy(cell, block, n, 1.0f);
                } else {
                    memcpy(cell, block, (size_t)n * sizeof *cell);
                }
            }
        }
    }
}

static void move_blocks(move_job *j, int64_t n_images, int64_t H)
{
    mm1_parallel_for(n_images * (H / j->s), mm1__rows_chunk(j->s * j->W * j->C), move_block_rows, j);
}

static void space_to_depth_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
    bool acc;
    float *dx = mm1__tape_grad(t, n->x, &acc);
    if (dx != NULL && !t->dry) {
        move_job job = {.cells = dx,
                        .blocks = base->out->grad,
                        .W = n->W,
                        .s = n->h,
                        .C = mm1_tensor_cols(n->x),
                        .to_cells = true,
                        .acc = acc};
        move_blocks(&job, n->I, n->H);
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
        move_blocks(&(move_job){.cells = x->data, .blocks = y->data, .W = W, .s = s, .C = C}, I, H);
    }
    mm1__tape_done(t, "space to depth", 2 * I * H * W * C, 2 * I * H * W * C);
    const int64_t dims[5] = {I, H, W, s, 0};
    return y->needs_grad && record(t, y, x, NULL, dims, space_to_depth_backward) == NULL ? NULL : y;
}

/* The pixels of an image are H x 1. */
static void gate_bwd_images(void *ctx, int64_t begin, int64_t end)
{
    const spatial_job *j = ctx;
    const int64_t size = j->H * j->C, at = begin * size;
    j->k->gate_bwd(j->y + at, j->dw + begin * j->C, j->dy + at, j->x + at, j->w + begin * j->C, end - begin, j->H, j->C,
                   j->acc);
}

static void gate_backward(mm1_tape *t, mm1_node *base)
{
    const spatial_node *n = (const spatial_node *)(const void *)base;
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
        spatial_job job = {.k = mm1_kernels_get(),
                           .y = dx,
                           .dw = dg,
                           .dy = base->out->grad,
                           .x = n->x->data,
                           .w = n->w->data,
                           .H = P,
                           .C = C,
                           .acc = acc};
        mm1_parallel_for(n->I, 1, gate_bwd_images, &job);
    }
    if (!n->x->needs_grad) {
        mm1__tape_scratch_free(t, dx, n->I * P * C);
    }
    if (!n->w->needs_grad) {
        mm1__tape_scratch_free(t, dg, n->I * C);
    }
}

static void gate_fwd_images(void *ctx, int64_t begin, int64_t end)
{
    const spatial_job *j = ctx;
    const int64_t at = begin * j->H * j->C;
    j->k->gate_fwd(j->y + at, j->x + at, j->w + begin * j->C, end - begin, j->H, j->C);
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
        spatial_job job = {.k = mm1_kernels_get(), .y = y->data, .x = x->data, .w = g->data, .H = P, .C = C};
        mm1_parallel_for(I, 1, gate_fwd_images, &job);
    }
    mm1__tape_done(t, "gate", 2 * I * P * C, 3 * I * P * C);
    const int64_t dims[5] = {I, 0, 0, 0, 0};
    return y->needs_grad && record(t, y, x, g, dims, gate_backward) == NULL ? NULL : y;
}

/* segment.c - parts of a model whose values do not lie in memory from the forward to the backward pass.
 *
 *    arena   | window | y0 | packed 0 | y1 | packed 1 | y2 | ...  | gradients
 *
 * The segments of a run compute in one window.  The result of each moves out at once, as it is the input of the next;
 * the rest stays until the next segment needs the window, and is then packed into 16 bits, or left to be computed
 * again.  The backward pass takes the segments in reverse, the last of them out of the window as it is.  Packed values
 * come back to the addresses at which they were, so operators and their nodes know nothing of all this; but for arrays
 * that only a product reads again, which takes them out of the packed values and widens them a block at a time.
 *
 * What a segment keeps in f32 under MM1_ACTIVATIONS_BF16, besides its result: arrays of an eighth of its input or less.
 * These are statistics of rows and heads (1 / standard deviation, log sum exp), whose errors would not average out. */
#include "tensor/tensor.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "tensor/rows.h"
#include <string.h>

enum { STATISTICS_SHARE = 8, MAX_OPERANDS = 8 };

/* The arrays of a segment that stay packed: MAX_OPERANDS at most, each behind the one before. */
typedef struct mm1_operands {
    const float *values;    /* of the segment, at the begin of the window */
    const uint16_t *packed; /* the same */
    struct {
        int64_t begin, end;
    } of[MAX_OPERANDS];
    int n;
} mm1_operands;

typedef struct segment_node {
    mm1_node node;
    mm1_window *window;
    mm1_segment_body *body;
    const void *ctx;
    mm1_tensor *x;
    mm1_node *nodes;  /* of the operators; the last one */
    uint16_t *packed; /* [used / sizeof(float)]; NULL: computed again */
    size_t used;      /* bytes of the window */
    mm1_operands operands;
} segment_node;

struct mm1_window {
    mm1_arena memory;
    segment_node *resident; /* whose values are there; NULL: nobody's */
    mm1_operands operands;  /* of the segment that ran last */
};

typedef struct pack_job {
    uint16_t *packed;
    const float *values;
} pack_job;

static void pack_range(void *ctx, int64_t begin, int64_t end)
{
    const pack_job *j = ctx;
    mm1_kernels_get()->to_bf16(j->packed + begin, j->values + begin, end - begin);
}

static void pack(uint16_t *y, const float *x, int64_t n)
{
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, pack_range, &(pack_job){y, x});
}

typedef struct unpack_job {
    float *values;
    const uint16_t *packed;
} unpack_job;

static void unpack_range(void *ctx, int64_t begin, int64_t end)
{
    const unpack_job *j = ctx;
    mm1_kernels_get()->from_bf16(j->values + begin, j->packed + begin, end - begin);
}

static void unpack(float *y, const uint16_t *x, int64_t n)
{
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, unpack_range, &(unpack_job){y, x});
}

void mm1__tape_operand(mm1_tape *t, const float *x, int64_t n)
{
    mm1_operands *o = t->operands;
    if (o == NULL || x == NULL || n < t->window_from || o->n == MAX_OPERANDS) {
        return;
    }
    const int64_t begin = x - o->values;
    if (o->n == 0 || begin >= o->of[o->n - 1].end) {
        o->of[o->n].begin = begin;
        o->of[o->n++].end = begin + n;
    }
}

const uint16_t *mm1__tape_operand_bf16(const mm1_tape *t, const float *x)
{
    const mm1_operands *o = t->packed;
    for (int i = 0; o != NULL && i < o->n; i++) {
        if (x == o->values + o->of[i].begin) {
            return o->packed + o->of[i].begin;
        }
    }
    return NULL;
}

/* All values but the operands come back. */
static void unpack_others(const segment_node *n, float *values)
{
    const mm1_operands *o = &n->operands;
    int64_t at = 0;
    for (int i = 0; i < o->n; i++) {
        unpack(values + at, n->packed + at, o->of[i].begin - at);
        at = o->of[i].end;
    }
    unpack(values + at, n->packed + at, (int64_t)(n->used / sizeof *values) - at);
}

static int64_t window_from(const mm1_tape *t, const mm1_tensor *x)
{
    return t->activations == MM1_ACTIVATIONS_BF16 ? mm1_tensor_size(x) / STATISTICS_SHARE + 1 : 0;
}

size_t mm1__segment_bytes(const mm1_tape *t, mm1_tensor *x, mm1_segment_body *body, const void *ctx)
{
    if (x == NULL || !t->recording || t->activations == MM1_ACTIVATIONS_KEEP) {
        return 0;
    }
    mm1_arena values = {.base = t->arena->base, .cap = SIZE_MAX / 2, .dry = true}, rest = values;
    mm1_tape probe = {.arena = &rest,
                      .meta = t->meta,
                      .recording = true,
                      .dry = true,
                      .window = &values,
                      .window_from = window_from(t, x)};
    (void)body(&probe, x, ctx); /* what fails here fails again when it is run */
    return values.top;
}

bool mm1__tape_window(mm1_tape *t, mm1_window **window, size_t bytes)
{
    if (!t->recording || t->activations == MM1_ACTIVATIONS_KEEP) {
        return true;
    }
    mm1_window *w = mm1__tape_meta(t, sizeof *w);
    float *base = mm1__tape_floats(t, (int64_t)(bytes / sizeof(float)));
    if (w == NULL || base == NULL) {
        return false;
    }
    w->memory = (mm1_arena){.base = (uint8_t *)base, .cap = bytes, .dry = t->dry};
    *window = w;
    return true;
}

static mm1_tensor *run(mm1_tape *t, mm1_window *w, mm1_tensor *x, mm1_segment_body *body, const void *ctx)
{
    mm1_arena_reset_to(&w->memory, 0);
    t->last = NULL;
    t->window = &w->memory;
    t->window_from = window_from(t, x);
    w->operands = (mm1_operands){.values = (const float *)(const void *)w->memory.base};
    t->operands = t->activations == MM1_ACTIVATIONS_BF16 ? &w->operands : NULL;
    mm1_tensor *y = body(t, x, ctx);
    t->operands = NULL;
    t->window = NULL;
    t->window_from = 0;
    return y;
}

/* The window is needed by another segment. */
static bool leave(mm1_tape *t, segment_node *n)
{
    n->window->resident = NULL;
    if (t->activations == MM1_ACTIVATIONS_BF16) {
        const int64_t n_values = (int64_t)(n->used / sizeof(float));
        n->packed = (uint16_t *)(void *)mm1__tape_floats(t, n_values / 2);
        if (n->packed == NULL) {
            return false;
        }
        if (!t->dry) {
            pack(n->packed, (const float *)(const void *)n->window->memory.base, n_values);
        }
    }
    return true;
}

static void segment_backward(mm1_tape *t, mm1_node *base)
{
    segment_node *n = (segment_node *)(void *)base;
    mm1_window *w = n->window;
    const mm1_arena_mark mark = mm1_arena_mark_get(&t->meta);
    if (w->resident != n && n->packed == NULL) {
        t->again = true;
        mm1_tensor *again = run(t, w, n->x, n->body, n->ctx);
        t->again = false;
        if (again == NULL) {
            return;
        }
        again->grad = base->out->grad;
        base->out->grad = NULL;
    } else {
        if (w->resident != n) {
            mm1_arena_reset_to(&w->memory, 0);
            float *values = mm1_arena_alloc(&w->memory, n->used, 1);
            n->operands.packed = n->packed;
            t->packed = &n->operands;
            if (!t->dry) {
                unpack_others(n, values);
            }
        }
        t->last = n->nodes;
    }
    w->resident = NULL;
    mm1_tape_backward(t);
    t->packed = NULL;
    mm1_arena_reset_to(&t->meta, mark);
}

/* Out of the window, whose end it gives back if it lies there. */
static bool move_out(mm1_tape *t, mm1_window *w, mm1_tensor *y)
{
    const int64_t n = mm1_tensor_size(y);
    float *data = mm1__tape_floats(t, n);
    if (data == NULL) {
        return false;
    }
    if (!t->dry) {
        mm1__rows_copy_or_add(data, y->data, n, false);
    }
    const size_t bytes = ((size_t)n * sizeof(float) + MM1_ALIGN_BYTES - 1) & ~(size_t)(MM1_ALIGN_BYTES - 1);
    if ((uint8_t *)y->data + bytes == w->memory.base + w->memory.top) {
        mm1_arena_reset_to(&w->memory, w->memory.top - bytes);
    }
    y->data = data;
    return true;
}

mm1_tensor *mm1__tape_segment(mm1_tape *t, mm1_window **window, mm1_tensor *x, mm1_segment_body *body, const void *ctx,
                              size_t ctx_bytes)
{
    if (x == NULL || !t->recording || t->activations == MM1_ACTIVATIONS_KEEP) {
        return body(t, x, ctx);
    }
    if (*window == NULL && !mm1__tape_window(t, window, mm1__segment_bytes(t, x, body, ctx))) {
        return NULL;
    }
    mm1_window *w = *window;
    void *own = mm1__tape_meta(t, ctx_bytes);
    if (own == NULL || (w->resident != NULL && !leave(t, w->resident))) {
        return NULL;
    }
    memcpy(own, ctx, ctx_bytes);
    mm1_node *before = t->last;
    mm1_tensor *y = run(t, w, x, body, own);
    mm1_node *nodes = t->last;
    t->last = before;
    if (y == NULL || !move_out(t, w, y)) {
        return NULL;
    }
    if (y->needs_grad) {
        segment_node *n = mm1__tape_node(t, sizeof *n, y, segment_backward);
        if (n == NULL) {
            return NULL;
        }
        n->window = w;
        n->body = body;
        n->ctx = own;
        n->x = x;
        n->nodes = nodes;
        n->used = w->memory.top;
        n->operands = w->operands;
        w->resident = n;
    }
    return y;
}

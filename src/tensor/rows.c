/* rows.c - see rows.h.
 *
 * Ranges begin at multiples of MM1_CHUNK_ELEMS, a multiple of every vector: an element has the same place in its vector
 * however many threads there are. */
#include "tensor/rows.h"

#include "base/thread.h"
#include <stdatomic.h>
#include <string.h>

static int64_t n_chunks(int64_t n)
{
    return (n + MM1_CHUNK_ELEMS - 1) / MM1_CHUNK_ELEMS;
}

static int64_t chunk_len(int64_t i, int64_t n)
{
    const int64_t left = n - i * MM1_CHUNK_ELEMS;
    return left < MM1_CHUNK_ELEMS ? left : MM1_CHUNK_ELEMS;
}

/* Arguments of the functions below; each uses those it needs. */
typedef struct elems {
    float *y;
    const float *a, *b;
    mm1_act act;
    bool acc;
} elems;

static void copy_or_add_range(void *ctx, int64_t begin, int64_t end)
{
    const elems *e = ctx;
    if (e->acc) {
        mm1_kernels_get()->axpy(e->y + begin, e->a + begin, end - begin, 1.0f);
    } else {
        memcpy(e->y + begin, e->a + begin, (size_t)(end - begin) * sizeof *e->y);
    }
}

void mm1__rows_copy_or_add(float *y, const float *x, int64_t n, bool acc)
{
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, copy_or_add_range, &(elems){.y = y, .a = x, .acc = acc});
}

static void add_range(void *ctx, int64_t begin, int64_t end)
{
    const elems *e = ctx;
    mm1_kernels_get()->add(e->y + begin, e->a + begin, e->b + begin, end - begin);
}

void mm1__rows_add(float *y, const float *a, const float *b, int64_t n)
{
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, add_range, &(elems){.y = y, .a = a, .b = b});
}

static void zero_range(void *ctx, int64_t begin, int64_t end)
{
    memset((float *)ctx + begin, 0, (size_t)(end - begin) * sizeof(float));
}

void mm1__rows_zero(float *y, int64_t n)
{
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, zero_range, y);
}

static void act_fwd_range(void *ctx, int64_t begin, int64_t end)
{
    const elems *e = ctx;
    mm1_kernels_get()->act_fwd(e->y + begin, e->a + begin, end - begin, e->act);
}

void mm1__rows_act_fwd(float *y, const float *x, int64_t n, mm1_act act)
{
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, act_fwd_range, &(elems){.y = y, .a = x, .act = act});
}

static void act_bwd_range(void *ctx, int64_t begin, int64_t end)
{
    const elems *e = ctx;
    mm1_kernels_get()->act_bwd(e->y + begin, e->a + begin, e->b + begin, end - begin, e->act, e->acc);
}

void mm1__rows_act_bwd(float *dx, const float *dy, const float *x, int64_t n, mm1_act act, bool acc)
{
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, act_bwd_range, &(elems){.y = dx, .a = dy, .b = x, .act = act, .acc = acc});
}

typedef struct glu_args {
    float *hidden;
    const float *u;
    int64_t F;
    mm1_act act;
} glu_args;

static void glu_range(void *ctx, int64_t begin, int64_t end)
{
    const glu_args *g = ctx;
    for (int64_t i = begin; i < end; i++) {
        const float *u = g->u + i * 2 * g->F;
        mm1_kernels_get()->glu_fwd(g->hidden + i * g->F, u, u + g->F, g->F, g->act);
    }
}

void mm1__rows_glu_fwd(float *hidden, const float *u, int64_t N, int64_t F, mm1_act act)
{
    mm1_parallel_for(N, mm1__rows_chunk(2 * F), glu_range, &(glu_args){hidden, u, F, act});
}

typedef struct matrix {
    float *y;
    const float *x;
    int64_t ldx, N, C;
} matrix;

static void sum_columns(void *ctx, int64_t begin, int64_t end)
{
    const matrix *m = ctx;
    for (int64_t at = begin; at < end; at += MM1_CHUNK_COLS) {
        const int64_t len = end - at < MM1_CHUNK_COLS ? end - at : MM1_CHUNK_COLS;
        mm1_kernels_get()->sum_rows(m->y + at, m->x + at, m->ldx, m->N, len);
    }
}

void mm1__rows_sum(float *out, const float *x, int64_t ldx, int64_t N, int64_t C)
{
    mm1_parallel_for(C, mm1__columns_chunk(N, C), sum_columns, &(matrix){.y = out, .x = x, .ldx = ldx, .N = N});
}

static void take_columns_range(void *ctx, int64_t begin, int64_t end)
{
    const matrix *m = ctx;
    for (int64_t i = begin; i < end; i++) {
        memcpy(m->y + i * m->C, m->x + i * m->ldx, (size_t)m->C * sizeof *m->y);
    }
}

void mm1__rows_take_columns(float *y, const float *x, int64_t ldx, int64_t N, int64_t width)
{
    mm1_parallel_for(N, mm1__rows_chunk(width), take_columns_range, &(matrix){.y = y, .x = x, .ldx = ldx, .C = width});
}

typedef struct chunk_sums {
    double *part; /* of each chunk */
    const float *x;
    int64_t n;
} chunk_sums;

static void square_chunks(void *ctx, int64_t begin, int64_t end)
{
    const chunk_sums *s = ctx;
    for (int64_t i = begin; i < end; i++) {
        const float *at = s->x + i * MM1_CHUNK_ELEMS;
        s->part[i] = mm1_kernels_get()->dot(at, at, chunk_len(i, s->n));
    }
}

double mm1__rows_sum_sq(const float *x, int64_t n)
{
    /* Chunks are added in order: their sums are kept in a small table, a stretch of chunks at a time. */
    enum { STRETCH = 256 };
    double total = 0;
    for (int64_t first = 0; first < n_chunks(n); first += STRETCH) {
        double part[STRETCH];
        const int64_t left = n_chunks(n) - first, m = left < STRETCH ? left : STRETCH, at = first * MM1_CHUNK_ELEMS;
        mm1_parallel_for(m, 1, square_chunks, &(chunk_sums){part, x + at, n - at});
        for (int64_t i = 0; i < m; i++) {
            total += part[i];
        }
    }
    return total;
}

typedef struct finite_args {
    const float *x;
    int64_t n;
    atomic_bool bad;
} finite_args;

static void check_chunks(void *ctx, int64_t begin, int64_t end)
{
    finite_args *f = ctx;
    for (int64_t i = begin; i < end && !atomic_load_explicit(&f->bad, memory_order_relaxed); i++) {
        if (!mm1_kernels_get()->all_finite(f->x + i * MM1_CHUNK_ELEMS, chunk_len(i, f->n))) {
            atomic_store_explicit(&f->bad, true, memory_order_relaxed);
        }
    }
}

bool mm1__rows_all_finite(const float *x, int64_t n)
{
    finite_args f = {.x = x, .n = n};
    mm1_parallel_for(n_chunks(n), 1, check_chunks, &f);
    return !f.bad;
}

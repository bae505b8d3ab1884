/* rows.h - row kernels spread over the thread pool.  Work is cut by output, or into a number of parts that depends on
 * sizes alone, so that results do not depend on the number of threads. */
#ifndef MM1_TENSOR_ROWS_H
#define MM1_TENSOR_ROWS_H

#include "kernels/kernels.h"

/* Elements that are worth a chunk of their own: 64 KiB. */
enum { MM1_CHUNK_ELEMS = 1 << 14 };

/* Rows in a chunk for rows of C elements. */
static inline int64_t mm1__rows_chunk(int64_t C)
{
    const int64_t rows = MM1_CHUNK_ELEMS / (C > 0 ? C : 1);
    return rows > 0 ? rows : 1;
}

/* The grain of a region over n_parts parts of n elements: one part, or all where that is little work. */
static inline int64_t mm1__parts_grain(int64_t n, int64_t n_parts)
{
    return n > MM1_CHUNK_ELEMS ? 1 : n_parts;
}

/* Columns that are summed at a time: four cache lines. */
enum { MM1_CHUNK_COLS = 64 };

/* Columns in a chunk for sums over N rows of C columns: all of them where the matrix is small. */
static inline int64_t mm1__columns_chunk(int64_t N, int64_t C)
{
    return N * C > MM1_CHUNK_ELEMS ? MM1_CHUNK_COLS : C;
}

void mm1__rows_copy_or_add(float *y, const float *x, int64_t n, bool acc);
void mm1__rows_add(float *y, const float *a, const float *b, int64_t n);
void mm1__rows_zero(float *y, int64_t n);
void mm1__rows_act_fwd(float *y, const float *x, int64_t n, mm1_act act);
void mm1__rows_act_bwd(float *dx, const float *dy, const float *x, int64_t n, mm1_act act, bool acc);
/* hidden [N, F] = act(gate) * up, u [N, 2 F] = gate | up. */
void mm1__rows_glu_fwd(float *hidden, const float *u, int64_t N, int64_t F, mm1_act act);
/* out [C] += sum of the rows of x [N, C] with stride ldx. */
void mm1__rows_sum(float *out, const float *x, int64_t ldx, int64_t N, int64_t C);
/* y [N, width] = the first `width` columns of x [N, ldx]. */
void mm1__rows_take_columns(float *y, const float *x, int64_t ldx, int64_t N, int64_t width);
/* Sum of squares in f64, in fixed blocks. */
double mm1__rows_sum_sq(const float *x, int64_t n);
bool mm1__rows_all_finite(const float *x, int64_t n);

#endif

/* adafactor.c - AdaFactor (Shazeer and Stern 2018, arXiv 1804.04235): of a matrix of squared gradients the means of
 * rows and columns are kept, whose product over the mean of all is the best approximation of rank one (section 3).
 *
 *   b = 1 - t^-0.8                                                        section 7.2
 *   row = b row + (1 - b) mean over columns of (g^2 + 1e-30)              likewise col; a vector keeps all of v
 *   u = g / sqrt(row col / mean(row))                                     vector: g / sqrt(v)
 *   u = u / max(1, rms(u) / 1)                                            section 6
 *   x = x - lr decay x - lr u        relative: lr times max(1e-3, rms(x)), section 8; there is no first moment
 *
 * A tensor of rank 3 is so many matrices, whose updates are clipped together.  So it is in transformers' Adafactor.
 *
 * Work is split by rows and columns, and partial sums are added in their order. */
#include "train/optimizer.h"

#include "base/thread.h"
#include "tensor/rows.h"
#include <math.h>

static const double decay_exponent = -0.8, least_square = 1e-30, least_rms = 1e-3, clip_at = 1;
enum { BLOCK = 256 }; /* columns, or elements of a vector, of one piece of work */

/* A parameter as `outer` matrices [rows, cols]; a vector is one row. */
typedef struct matrix {
    int64_t outer, rows, cols, n;
    bool factored;
} matrix;

static matrix matrix_of(const mm1_param *item)
{
    const mm1_tensor *t = &item->tensor;
    const int rank = t->rank;
    matrix m = {.outer = 1, .rows = 1, .cols = t->dims[rank - 1], .n = item->n, .factored = rank >= 2};
    if (m.factored) {
        m.rows = t->dims[rank - 2];
        m.outer = m.n > 0 ? m.n / (m.rows * m.cols) : 0;
    }
    return m;
}

static int64_t n_blocks(int64_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

int64_t mm1__adafactor_state_floats(const mm1_param *item)
{
    const matrix m = matrix_of(item);
    return m.factored ? m.outer * (m.rows + m.cols) : m.n;
}

/* Factors of all rows and columns, and a sum of each row; or sums of blocks. */
int64_t mm1__adafactor_scratch(const mm1_param *item)
{
    const matrix m = matrix_of(item);
    return m.factored ? m.outer * (2 * m.rows + m.cols) : n_blocks(m.n);
}

static void mix(float *to, double b, double value)
{
    *to = (float)(b * (double)*to + (1 - b) * value);
}

/* One tensor's update; the functions over ranges use what they need. */
typedef struct update {
    const matrix *m;
    const float *g;
    float *x, *row, *col, *v; /* v: of a tensor that is no matrix */
    double *row_factor, *col_factor, *sums;
    double b, scale, decayed, rate; /* decayed: 1 - lr * decay */
} update;

static void row_means(void *ctx, int64_t begin, int64_t end)
{
    const update *u = ctx;
    const int64_t cols = u->m->cols;
    for (int64_t r = begin; r < end; r++) {
        double sum = 0;
        for (int64_t c = 0; c < cols; c++) {
            const double x = u->scale * (double)u->g[r * cols + c];
            sum += x * x;
        }
        mix(&u->row[r], u->b, sum / (double)cols + least_square);
    }
}

static void column_means(void *ctx, int64_t begin, int64_t end)
{
    const update *u = ctx;
    const int64_t rows = u->m->rows, cols = u->m->cols, blocks = n_blocks(cols);
    for (int64_t k = begin; k < end; k++) {
        const int64_t o = k / blocks, from = k % blocks * BLOCK, to = from + BLOCK < cols ? from + BLOCK : cols;
        double sums[BLOCK] = {0};
        for (int64_t r = 0; r < rows; r++) {
            const float *at = u->g + (o * rows + r) * cols;
            for (int64_t c = from; c < to; c++) {
                const double x = u->scale * (double)at[c];
                sums[c - from] += x * x;
            }
        }
        for (int64_t c = from; c < to; c++) {
            mix(&u->col[o * cols + c], u->b, sums[c - from] / (double)rows + least_square);
        }
    }
}

/* row [outer rows], col [outer cols] from the gradients. */
static void gather_means(update *u)
{
    const matrix *m = u->m;
    const int64_t n_column_blocks = m->outer * n_blocks(m->cols);
    mm1_parallel_for(m->outer * m->rows, mm1__rows_chunk(m->cols), row_means, u);
    mm1_parallel_for(n_column_blocks, mm1__parts_grain(m->n, n_column_blocks), column_means, u);
}

/* 1 / sqrt(row / mean(row)) and 1 / sqrt(col). */
static void make_factors(const matrix *m, const float *row, const float *col, double *row_factor, double *col_factor)
{
    for (int64_t o = 0; o < m->outer; o++) {
        double mean = 0;
        for (int64_t r = 0; r < m->rows; r++) {
            mean += (double)row[o * m->rows + r] / (double)m->rows;
        }
        for (int64_t r = 0; r < m->rows; r++) {
            row_factor[o * m->rows + r] = 1 / sqrt((double)row[o * m->rows + r] / mean);
        }
    }
    for (int64_t c = 0; c < m->outer * m->cols; c++) {
        col_factor[c] = 1 / sqrt((double)col[c]);
    }
}

static double sum_of(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum;
}

typedef struct pieces {
    const float *x;
    int64_t n, len; /* elements; of a piece */
    double *sums;   /* of the squares of each piece */
} pieces;

static void square_pieces(void *ctx, int64_t begin, int64_t end)
{
    const pieces *p = ctx;
    for (int64_t k = begin; k < end; k++) {
        p->sums[k] = 0;
        for (int64_t i = k * p->len; i < (k + 1) * p->len && i < p->n; i++) {
            p->sums[k] += (double)p->x[i] * (double)p->x[i];
        }
    }
}

/* Root mean square; sums has room for a number a piece of `len` elements. */
static double rms_of(const float *x, int64_t n, int64_t len, double *sums)
{
    const int64_t n_pieces = (n + len - 1) / len;
    mm1_parallel_for(n_pieces, mm1__rows_chunk(len), square_pieces, &(pieces){x, n, len, sums});
    return n > 0 ? sqrt(sum_of(sums, n_pieces) / (double)n) : 0;
}

/* The rate behind clipping of an update whose squares add up to `sum`. */
static double clipped(double lr, double sum, int64_t n)
{
    return lr / fmax(1, sqrt(sum / (double)n) / clip_at);
}

static void square_rows(void *ctx, int64_t begin, int64_t end)
{
    const update *u = ctx;
    const matrix *m = u->m;
    for (int64_t r = begin; r < end; r++) {
        const double *of_col = u->col_factor + r / m->rows * m->cols, of_row = u->scale * u->row_factor[r];
        u->sums[r] = 0;
        for (int64_t c = 0; c < m->cols; c++) {
            const double y = of_row * of_col[c] * (double)u->g[r * m->cols + c];
            u->sums[r] += y * y;
        }
    }
}

static void move_rows(void *ctx, int64_t begin, int64_t end)
{
    const update *u = ctx;
    const matrix *m = u->m;
    for (int64_t r = begin; r < end; r++) {
        const double *of_col = u->col_factor + r / m->rows * m->cols, of_row = u->scale * u->row_factor[r];
        for (int64_t c = 0; c < m->cols; c++) {
            float *at = &u->x[r * m->cols + c];
            *at = (float)((double)*at * u->decayed - u->rate * of_row * of_col[c] * (double)u->g[r * m->cols + c]);
        }
    }
}

static void update_matrix(update *u, float *state, double *scratch, double lr)
{
    const matrix *m = u->m;
    const int64_t rows = m->outer * m->rows;
    u->row = state;
    u->col = state + rows;
    u->row_factor = scratch;
    u->sums = scratch + rows;
    u->col_factor = scratch + 2 * rows;
    gather_means(u);
    make_factors(m, u->row, u->col, u->row_factor, u->col_factor);
    mm1_parallel_for(rows, mm1__rows_chunk(m->cols), square_rows, u);
    u->rate = clipped(lr, sum_of(u->sums, rows), m->n);
    mm1_parallel_for(rows, mm1__rows_chunk(m->cols), move_rows, u);
}

static void square_blocks(void *ctx, int64_t begin, int64_t end)
{
    const update *u = ctx;
    for (int64_t k = begin; k < end; k++) {
        u->sums[k] = 0;
        for (int64_t i = k * BLOCK; i < (k + 1) * BLOCK && i < u->m->n; i++) {
            const double y = u->scale * (double)u->g[i];
            mix(&u->v[i], u->b, y * y + least_square);
            u->sums[k] += y * y / (double)u->v[i];
        }
    }
}

static void move_elements(void *ctx, int64_t begin, int64_t end)
{
    const update *u = ctx;
    for (int64_t i = begin; i < end; i++) {
        u->x[i] = (float)((double)u->x[i] * u->decayed - u->rate * u->scale * (double)u->g[i] / sqrt((double)u->v[i]));
    }
}

static void update_vector(update *u, float *state, double *scratch, double lr)
{
    const int64_t n = u->m->n, blocks = n_blocks(n);
    u->v = state;
    u->sums = scratch;
    mm1_parallel_for(blocks, mm1__rows_chunk(BLOCK), square_blocks, u);
    u->rate = clipped(lr, sum_of(u->sums, blocks), n);
    mm1_parallel_for(n, MM1_CHUNK_ELEMS, move_elements, u);
}

void mm1__adafactor_update(const mm1_param *item, float *state, double *scratch, int64_t step, double scale, double lr,
                           double decay, bool scale_parameter)
{
    const matrix m = matrix_of(item);
    if (m.n == 0) {
        return;
    }
    if (scale_parameter) {
        lr *= fmax(least_rms, rms_of(item->tensor.data, m.n, m.factored ? m.cols : BLOCK, scratch));
    }
    update u = {.m = &m, .g = item->tensor.grad, .x = item->tensor.data, .scale = scale, .decayed = 1 - lr * decay};
    u.b = 1 - pow((double)step, decay_exponent);
    if (m.factored) {
        update_matrix(&u, state, scratch, lr);
    } else {
        update_vector(&u, state, scratch, lr);
    }
}

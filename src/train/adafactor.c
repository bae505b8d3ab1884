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

/* row [outer rows], col [outer cols] from the gradients. */
static void gather_means(const matrix *m, const float *g, double scale, double b, float *row, float *col)
{
    const int64_t rows = m->outer * m->rows, blocks = n_blocks(m->cols);
#pragma omp parallel for schedule(static) if (m->n > MM1_CHUNK_ELEMS)
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t c = 0; c < m->cols; c++) {
            const double x = scale * (double)g[r * m->cols + c];
            sum += x * x;
        }
        mix(&row[r], b, sum / (double)m->cols + least_square);
    }
#pragma omp parallel for schedule(static) if (m->n > MM1_CHUNK_ELEMS)
    for (int64_t k = 0; k < m->outer * blocks; k++) {
        const int64_t o = k / blocks, from = k % blocks * BLOCK, to = from + BLOCK < m->cols ? from + BLOCK : m->cols;
        double sums[BLOCK] = {0};
        for (int64_t r = 0; r < m->rows; r++) {
            const float *at = g + (o * m->rows + r) * m->cols;
            for (int64_t c = from; c < to; c++) {
                const double x = scale * (double)at[c];
                sums[c - from] += x * x;
            }
        }
        for (int64_t c = from; c < to; c++) {
            mix(&col[o * m->cols + c], b, sums[c - from] / (double)m->rows + least_square);
        }
    }
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

/* Root mean square; sums has room for a number a piece of `len` elements. */
static double rms_of(const float *x, int64_t n, int64_t len, double *sums)
{
    const int64_t pieces = (n + len - 1) / len;
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
    for (int64_t k = 0; k < pieces; k++) {
        sums[k] = 0;
        for (int64_t i = k * len; i < (k + 1) * len && i < n; i++) {
            sums[k] += (double)x[i] * (double)x[i];
        }
    }
    return n > 0 ? sqrt(sum_of(sums, pieces) / (double)n) : 0;
}

/* The rate behind clipping of an update whose squares add up to `sum`. */
static double clipped(double lr, double sum, int64_t n)
{
    return lr / fmax(1, sqrt(sum / (double)n) / clip_at);
}

static void update_matrix(const mm1_param *item, const matrix *m, float *state, double *scratch, double b, double scale,
                          double lr, double decay)
{
    const float *g = item->tensor.grad;
    float *x = item->tensor.data, *row = state, *col = state + m->outer * m->rows;
    const int64_t rows = m->outer * m->rows;
    double *row_factor = scratch, *sums = scratch + rows, *col_factor = scratch + 2 * rows;
    gather_means(m, g, scale, b, row, col);
    make_factors(m, row, col, row_factor, col_factor);
#pragma omp parallel for schedule(static) if (m->n > MM1_CHUNK_ELEMS)
    for (int64_t r = 0; r < rows; r++) {
        const double *of_col = col_factor + r / m->rows * m->cols, of_row = scale * row_factor[r];
        sums[r] = 0;
        for (int64_t c = 0; c < m->cols; c++) {
            const double u = of_row * of_col[c] * (double)g[r * m->cols + c];
            sums[r] += u * u;
        }
    }
    const double rate = clipped(lr, sum_of(sums, rows), m->n);
#pragma omp parallel for schedule(static) if (m->n > MM1_CHUNK_ELEMS)
    for (int64_t r = 0; r < rows; r++) {
        const double *of_col = col_factor + r / m->rows * m->cols, of_row = scale * row_factor[r];
        for (int64_t c = 0; c < m->cols; c++) {
            float *at = &x[r * m->cols + c];
            *at = (float)((double)*at * (1 - lr * decay) - rate * of_row * of_col[c] * (double)g[r * m->cols + c]);
        }
    }
}

static void update_vector(const mm1_param *item, const matrix *m, float *v, double *sums, double b, double scale,
                          double lr, double decay)
{
    const float *g = item->tensor.grad;
    float *x = item->tensor.data;
    const int64_t blocks = n_blocks(m->n);
#pragma omp parallel for schedule(static) if (m->n > MM1_CHUNK_ELEMS)
    for (int64_t k = 0; k < blocks; k++) {
        sums[k] = 0;
        for (int64_t i = k * BLOCK; i < (k + 1) * BLOCK && i < m->n; i++) {
            const double y = scale * (double)g[i];
            mix(&v[i], b, y * y + least_square);
            sums[k] += y * y / (double)v[i];
        }
    }
    const double rate = clipped(lr, sum_of(sums, blocks), m->n);
#pragma omp parallel for schedule(static) if (m->n > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < m->n; i++) {
        x[i] = (float)((double)x[i] * (1 - lr * decay) - rate * scale * (double)g[i] / sqrt((double)v[i]));
    }
}

void mm1__adafactor_update(const mm1_param *item, float *state, double *scratch, int64_t step, double scale, double lr,
                           double decay, bool scale_parameter)
{
    const matrix m = matrix_of(item);
    const double b = 1 - pow((double)step, decay_exponent);
    if (m.n == 0) {
        return;
    }
    if (scale_parameter) {
        lr *= fmax(least_rms, rms_of(item->tensor.data, m.n, m.factored ? m.cols : BLOCK, scratch));
    }
    if (m.factored) {
        update_matrix(item, &m, state, scratch, b, scale, lr, decay);
    } else {
        update_vector(item, &m, state, scratch, b, scale, lr, decay);
    }
}

/* info_nce.c - see info_nce.h. */
#include "train/info_nce.h"

#include "base/thread.h"
#include "kernels/gemm.h"
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { COLUMNS = 16 }; /* of one task: a line of the cache */

static bool counts(const mm1_info_nce *x, int64_t i, int64_t j)
{
    return i == j || x->key == NULL || x->key[i] != x->key[j];
}

/* Log sum exp of row i, and whether its own column is the largest. */
static bool row_lse(const mm1_info_nce *x, int64_t i, float *lse)
{
    const float *s = x->logits + i * x->n;
    double most = s[i], sum = 0;
    bool right = true;
    for (int64_t j = 0; j < x->n; j++) {
        if (counts(x, i, j)) {
            right = right && (j == i || s[j] < s[i]);
            most = fmax(most, s[j]);
        }
    }
    for (int64_t j = 0; j < x->n; j++) {
        sum += counts(x, i, j) ? exp(s[j] - most) : 0;
    }
    *lse = (float)(most + log(sum));
    return right;
}

/* The same of columns [begin, begin + width): rows are walked once, as they lie. */
static int64_t column_lse(const mm1_info_nce *x, int64_t begin, int64_t width, float *lse)
{
    double most[COLUMNS], sum[COLUMNS] = {0};
    bool right[COLUMNS];
    int64_t n_right = 0;
    for (int64_t c = 0; c < width; c++) {
        most[c] = x->logits[(begin + c) * x->n + begin + c];
        right[c] = true;
    }
    for (int64_t i = 0; i < x->n; i++) {
        for (int64_t c = 0; c < width; c++) {
            const int64_t j = begin + c;
            const double s = x->logits[i * x->n + j];
            if (counts(x, i, j)) {
                right[c] = right[c] && (i == j || s < x->logits[j * x->n + j]);
                most[c] = fmax(most[c], s);
            }
        }
    }
    for (int64_t i = 0; i < x->n; i++) {
        for (int64_t c = 0; c < width; c++) {
            sum[c] += counts(x, i, begin + c) ? exp(x->logits[i * x->n + begin + c] - most[c]) : 0;
        }
    }
    for (int64_t c = 0; c < width; c++) {
        lse[begin + c] = (float)(most[c] + log(sum[c]));
        n_right += right[c];
    }
    return n_right;
}

typedef struct job {
    mm1_info_nce *x;
    float *lse_a, *lse_b; /* of rows and columns */
    _Atomic int64_t right_a, right_b;
} job;

static void row_lses(void *ctx, int64_t begin, int64_t end)
{
    job *j = ctx;
    int64_t n_right = 0;
    for (int64_t i = begin; i < end; i++) {
        n_right += row_lse(j->x, i, &j->lse_a[i]);
    }
    atomic_fetch_add(&j->right_a, n_right);
}

static void column_lses(void *ctx, int64_t begin, int64_t end)
{
    job *j = ctx;
    int64_t n_right = 0;
    for (int64_t i = begin; i < end; i += COLUMNS) {
        n_right += column_lse(j->x, i, end - i < COLUMNS ? end - i : COLUMNS, j->lse_b);
    }
    atomic_fetch_add(&j->right_b, n_right);
}

/* Logits become their gradients: weight (p_row + p_column - 2 of the pair) / 2.  The sums over a row are kept in the
 * scratch of its lse, so that they are added in order. */
static void to_gradients(void *ctx, int64_t begin, int64_t end)
{
    const job *j = ctx;
    mm1_info_nce *x = j->x;
    for (int64_t i = begin; i < end; i++) {
        float *s = x->logits + i * x->n;
        double by_scale = 0;
        x->loss[i] = (j->lse_a[i] + j->lse_b[i]) / 2 - s[i];
        for (int64_t k = 0; k < x->n; k++) {
            double p = counts(x, i, k) ? exp(s[k] - j->lse_a[i]) + exp(s[k] - j->lse_b[k]) : 0;
            p = x->weight * (k == i ? p - 2 : p) / 2;
            by_scale += p * s[k]; /* logits = exp(log_scale) cos */
            s[k] = (float)p;
        }
        j->lse_a[i] = (float)by_scale;
    }
}

void mm1_info_nce_run(mm1_info_nce *x)
{
    const int64_t n = x->n, D = x->D;
    const float scale = (float)exp(x->log_scale);
    float *lse_a = x->lse;
    mm1_gemm(&(mm1_gemm_args){.M = n,
                              .N = n,
                              .K = D,
                              .a = x->a,
                              .lda = D,
                              .b = x->b,
                              .ldb = D,
                              .trans_b = true,
                              .c = x->logits,
                              .ldc = n,
                              .alpha = scale});
    job j = {.x = x, .lse_a = lse_a, .lse_b = x->lse + n};
    mm1_parallel_for(n, 1, row_lses, &j);
    mm1_parallel_for(n, COLUMNS, column_lses, &j);
    x->n_right_a = j.right_a;
    x->n_right_b = j.right_b;
    mm1_parallel_for(n, 1, to_gradients, &j);
    x->d_log_scale = 0;
    for (int64_t i = 0; i < n; i++) {
        x->d_log_scale += lse_a[i];
    }
    mm1_gemm_args back = {
        .M = n, .N = D, .K = n, .a = x->logits, .lda = n, .b = x->b, .ldb = D, .c = x->da, .ldc = D, .alpha = scale};
    mm1_gemm(&back);
    back.trans_a = true;
    back.b = x->a;
    back.c = x->db;
    mm1_gemm(&back);
}

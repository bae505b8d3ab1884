/* rows.c - see rows.h. */
#include "tensor/rows.h"

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

void mm1__rows_copy_or_add(float *y, const float *x, int64_t n, bool acc)
{
    const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < n_chunks(n); i++) {
        const int64_t at = i * MM1_CHUNK_ELEMS, len = chunk_len(i, n);
        if (acc) {
            k->axpy(y + at, x + at, len, 1.0f);
        } else {
            memcpy(y + at, x + at, (size_t)len * sizeof *y);
        }
    }
}

void mm1__rows_add(float *y, const float *a, const float *b, int64_t n)
{
    const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < n_chunks(n); i++) {
        const int64_t at = i * MM1_CHUNK_ELEMS;
        k->add(y + at, a + at, b + at, chunk_len(i, n));
    }
}

void mm1__rows_zero(float *y, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < n_chunks(n); i++) {
        memset(y + i * MM1_CHUNK_ELEMS, 0, (size_t)chunk_len(i, n) * sizeof *y);
    }
}

void mm1__rows_act_fwd(float *y, const float *x, int64_t n, mm1_act act)
{
    const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < n_chunks(n); i++) {
        const int64_t at = i * MM1_CHUNK_ELEMS;
        k->act_fwd(y + at, x + at, chunk_len(i, n), act);
    }
}

void mm1__rows_act_bwd(float *dx, const float *dy, const float *x, int64_t n, mm1_act act, bool acc)
{
    const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (n > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < n_chunks(n); i++) {
        const int64_t at = i * MM1_CHUNK_ELEMS;
        k->act_bwd(dx + at, dy + at, x + at, chunk_len(i, n), act, acc);
    }
}

void mm1__rows_glu_fwd(float *hidden, const float *u, int64_t N, int64_t F, mm1_act act)
{
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t chunk = mm1__rows_chunk(2 * F);
#pragma omp parallel for schedule(static) if (N > chunk)
    for (int64_t begin = 0; begin < N; begin += chunk) {
        for (int64_t i = begin; i < N && i < begin + chunk; i++) {
            k->glu_fwd(hidden + i * F, u + i * 2 * F, u + i * 2 * F + F, F, act);
        }
    }
}

void mm1__rows_sum(float *out, const float *x, int64_t ldx, int64_t N, int64_t C)
{
    enum { COLS = 64 };
    const mm1_kernels *k = mm1_kernels_get();
#pragma omp parallel for schedule(static) if (N * C > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < (C + COLS - 1) / COLS; i++) {
        const int64_t at = i * COLS, len = C - at < COLS ? C - at : COLS;
        k->sum_rows(out + at, x + at, ldx, N, len);
    }
}

void mm1__rows_take_columns(float *y, const float *x, int64_t ldx, int64_t N, int64_t width)
{
#pragma omp parallel for schedule(static) if (N * width > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < N; i++) {
        memcpy(y + i * width, x + i * ldx, (size_t)width * sizeof *y);
    }
}

double mm1__rows_sum_sq(const float *x, int64_t n)
{
    /* Blocks are added in order: their sums are kept in a small table, a stretch of blocks at a time. */
    enum { STRETCH = 256 };
    const mm1_kernels *k = mm1_kernels_get();
    double total = 0;
    for (int64_t first = 0; first < n_chunks(n); first += STRETCH) {
        double part[STRETCH];
        const int64_t left = n_chunks(n) - first, m = left < STRETCH ? left : STRETCH;
#pragma omp parallel for schedule(static) if (m > 1)
        for (int64_t i = 0; i < m; i++) {
            const float *at = x + (first + i) * MM1_CHUNK_ELEMS;
            part[i] = k->dot(at, at, chunk_len(first + i, n));
        }
        for (int64_t i = 0; i < m; i++) {
            total += part[i];
        }
    }
    return total;
}

bool mm1__rows_all_finite(const float *x, int64_t n)
{
    const mm1_kernels *k = mm1_kernels_get();
    bool ok = true;
#pragma omp parallel for schedule(static) reduction(&& : ok) if (n > MM1_CHUNK_ELEMS)
    for (int64_t i = 0; i < n_chunks(n); i++) {
        ok = ok && k->all_finite(x + i * MM1_CHUNK_ELEMS, chunk_len(i, n));
    }
    return ok;
}

/* ref_gemm.c - reference of the matrix product's inner loops: the formula of each, and the table for CPUs without AVX2.
 */
#include "kernels/kernels.h"

#include "base/half.h"
#include <stddef.h>

enum { MR = 4, NR = 8 };

static void gemm_tile(float *c, int64_t ldc, const float *a, const float *b, int64_t K, int64_t m, int64_t n, bool acc)
{
    float sum[MR][NR] = {{0}};
    for (int64_t k = 0; k < K; k++) {
        for (int i = 0; i < MR; i++) {
            for (int j = 0; j < NR; j++) {
                sum[i][j] += a[k * MR + i] * b[k * NR + j];
            }
        }
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            c[i * ldc + j] = acc ? c[i * ldc + j] + sum[i][j] : sum[i][j];
        }
    }
}

static void gemm_tiles(float *c, int64_t ldc, const mm1_gemm_strip *a, float *b, int64_t ldb, const float *y,
                       int64_t ldy, int64_t K, int64_t n, bool acc)
{
    for (int64_t j = 0; j < n; j++) {
        float *panel = b + j / NR * ldb;
        for (int64_t k = 0; k < K && y != NULL && j / NR < n / NR; k++) {
            panel[k * NR + j % NR] = y[k * ldy + j];
        }
        for (int64_t i = 0; i < MR; i++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < K; k++) {
                sum += (a->k_rows ? a->x[k * a->ld + i] : a->x[i * a->ld + k]) * panel[k * NR + j % NR];
            }
            c[i * ldc + j] = acc ? c[i * ldc + j] + sum : sum;
        }
    }
}

static void gemm_pack(float *p, int width, const float *x, int64_t ld, int64_t K, int64_t n, bool k_rows, float alpha)
{
    for (int64_t i0 = 0; i0 < n; i0 += width) {
        for (int64_t k = 0; k < K; k++) {
            for (int64_t i = i0; i < i0 + width; i++) {
                *p++ = i < n ? alpha * (k_rows ? x[k * ld + i] : x[i * ld + k]) : 0.0f;
            }
        }
    }
}

static void gemm_pack_bf16(float *p, int width, const uint16_t *x, int64_t ld, int64_t K, int64_t n, bool k_rows)
{
    for (int64_t i0 = 0; i0 < n; i0 += width) {
        for (int64_t k = 0; k < K; k++) {
            for (int64_t i = i0; i < i0 + width; i++) {
                *p++ = i < n ? mm1_bf16_to_f32(k_rows ? x[k * ld + i] : x[i * ld + k]) : 0.0f;
            }
        }
    }
}

static void gemm_few_nt(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t M,
                        int64_t N, int64_t K, bool acc)
{
    for (int64_t j = 0; j < N; j++) {
        for (int64_t i = 0; i < M; i++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < K; k++) {
                sum += a[i * lda + k] * b[j * ldb + k];
            }
            c[i * ldc + j] = acc ? c[i * ldc + j] + sum : sum;
        }
    }
}

static void gemm_few_nn(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t M,
                        int64_t N, int64_t K, bool acc)
{
    for (int64_t i = 0; i < M; i++) {
        for (int64_t j = 0; j < N; j++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < K; k++) {
                sum += a[i * lda + k] * b[k * ldb + j];
            }
            c[i * ldc + j] = acc ? c[i * ldc + j] + sum : sum;
        }
    }
}

void mm1__kernels_gemm_ref(mm1_kernels *k)
{
    k->gemm_mr = MR;
    k->gemm_nr = NR;
    k->gemm_tile = gemm_tile;
    k->gemm_tiles = gemm_tiles;
    k->gemm_pack = gemm_pack;
    k->gemm_pack_bf16 = gemm_pack_bf16;
    k->gemm_few_nt = gemm_few_nt;
    k->gemm_few_nn = gemm_few_nn;
}

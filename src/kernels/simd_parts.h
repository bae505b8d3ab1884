/* simd_parts.h - what simd_rows.c collects from the other vector files, and what tests measure; no other user. */
#ifndef MM1_KERNELS_SIMD_PARTS_H
#define MM1_KERNELS_SIMD_PARTS_H

#include "kernels/kernels.h"

/* Parts of mm1__kernels_rows_<isa>, by file: simd_act.c, simd_adamw.c, simd_norm.c, simd_softmax.c. */
void mm1__kernels_act_avx2(mm1_kernels *k);
void mm1__kernels_adamw_avx2(mm1_kernels *k);
void mm1__kernels_norm_avx2(mm1_kernels *k);
void mm1__kernels_softmax_avx2(mm1_kernels *k);
void mm1__kernels_act_avx512(mm1_kernels *k);
void mm1__kernels_adamw_avx512(mm1_kernels *k);
void mm1__kernels_norm_avx512(mm1_kernels *k);
void mm1__kernels_softmax_avx512(mm1_kernels *k);
/* v_exp and v_normal_cdf of simd.h on n elements, so that a test can measure their error. */
void mm1__simd_exp_avx2(float *y, const float *x, int64_t n);
void mm1__simd_exp_avx512(float *y, const float *x, int64_t n);
void mm1__simd_normal_cdf_avx2(float *cdf, float *density, const float *x, int64_t n);
void mm1__simd_normal_cdf_avx512(float *cdf, float *density, const float *x, int64_t n);

#endif

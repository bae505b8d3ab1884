/* simd.h - one vector of f32 under two instruction sets.  Included by simd_*.c only, which are compiled once with AVX2
 * and once with AVX-512 flags; SIMD_NAME(x) gives x_avx2 or x_avx512. */
#ifndef MM1_KERNELS_SIMD_H
#define MM1_KERNELS_SIMD_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define SIMD_JOIN2(a, b) a##_##b
#define SIMD_JOIN(a, b)  SIMD_JOIN2(a, b)
#define SIMD_NAME(x)     SIMD_JOIN(x, MM1_SIMD_ISA)

#if defined(__AVX512F__)

enum { VW = 16 }; /* floats in a vector */
typedef __m512 vf;

static inline vf v_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vf v_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
/* The first n < VW elements; the rest is 0 or left alone. */
static inline vf v_load_n(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
/* The first n < VW elements, the rest is fill. */
static inline vf v_load_n_or(const float *p, int64_t n, vf fill)
{
    return _mm512_mask_loadu_ps(fill, (__mmask16)((1u << n) - 1), p);
}
static inline void v_store_n(float *p, vf x, int64_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}
static inline vf v_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf v_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf v_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf v_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf v_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
static inline vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
} /* a b + c */
static inline vf v_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
} /* c - a b */
static inline vf v_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf v_abs(vf a)
{
    return _mm512_abs_ps(a);
}
/* sign bit of s on |a| */
static inline vf v_copysign(vf a, vf s)
{
    const __m512i m = _mm512_set1_epi32((int)0x80000000u);
    return _mm512_castsi512_ps(
        _mm512_or_si512(_mm512_andnot_si512(m, _mm512_castps_si512(a)), _mm512_and_si512(m, _mm512_castps_si512(s))));
}
/* a < b ? x : y */
static inline vf v_select_lt(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
/* a * 2^k for integral k in -126..127 */
static inline vf v_ldexp(vf a, vf k)
{
    return _mm512_scalef_ps(a, k);
}
/* Lane by lane of 128 bits, a0 b0 a1 b1, or a2 b2 a3 b3; and the same of pairs. */
static inline vf v_zip_low(vf a, vf b)
{
    return _mm512_unpacklo_ps(a, b);
}
static inline vf v_zip_high(vf a, vf b)
{
    return _mm512_unpackhi_ps(a, b);
}
static inline vf v_pairs_low(vf a, vf b)
{
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
static inline vf v_pairs_high(vf a, vf b)
{
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
/* Four from p, four from `step` bytes after it and so on. */
static inline vf v_quads(const void *p, int64_t step)
{
    const uintptr_t at = (uintptr_t)p, by = (uintptr_t)step;
    vf v = _mm512_castps128_ps512(_mm_loadu_ps((const float *)at));
    v = _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(at + by)), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(at + 2 * by)), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(at + 3 * by)), 3);
}
static inline float v_sum(vf a)
{
    return _mm512_reduce_add_ps(a);
}
/* a + b, or the larger; `largest` is a constant wherever this is inlined. */
static inline vf v_fold(vf a, vf b, const bool largest)
{
    return largest ? v_max(a, b) : v_add(a, b);
}
/* Sum or maximum of each of eight, the bits of v_sum(): halves are joined with halves of two or four of them. */
static inline __m256 v_fold_8(const vf a[8], const bool largest)
{
    vf t[4], u[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = v_fold(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x44),
                      _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xee), largest);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        u[i] = v_fold(_mm512_shuffle_f32x4(t[2 * i], t[2 * i + 1], 0x88),
                      _mm512_shuffle_f32x4(t[2 * i], t[2 * i + 1], 0xdd), largest);
    }
    vf s = v_fold(_mm512_shuffle_ps(u[0], u[1], 0x44), _mm512_shuffle_ps(u[0], u[1], 0xee), largest);
    s = v_fold(s, _mm512_permute_ps(s, 0xb1), largest);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, s));
}
/* The same of VW vectors. */
static inline vf v_fold_each(const vf a[VW], const bool largest)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(v_fold_8(a, largest)), v_fold_8(a + 8, largest), 1);
}
static inline float v_hmax(vf a)
{
    return _mm512_reduce_max_ps(a);
}
static inline vf v_iota(void)
{
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

#else

enum { VW = 8 };
typedef __m256 vf;

static inline __m256i v_mask_n(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf v_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vf v_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}
static inline vf v_load_n(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, v_mask_n(n));
}
static inline vf v_load_n_or(const float *p, int64_t n, vf fill)
{
    return _mm256_blendv_ps(fill, v_load_n(p, n), _mm256_castsi256_ps(v_mask_n(n)));
}
static inline void v_store_n(float *p, vf x, int64_t n)
{
    _mm256_maskstore_ps(p, v_mask_n(n), x);
}
static inline vf v_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf v_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf v_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf v_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
static inline vf v_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
static inline vf v_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline vf v_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf v_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vf v_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf v_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf v_copysign(vf a, vf s)
{
    const vf m = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(m, a), _mm256_and_ps(m, s));
}
static inline vf v_select_lt(vf a, vf b, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
static inline vf v_ldexp(vf a, vf k)
{
    return _mm256_mul_ps(
        a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23)));
}
static inline vf v_zip_low(vf a, vf b)
{
    return _mm256_unpacklo_ps(a, b);
}
static inline vf v_zip_high(vf a, vf b)
{
    return _mm256_unpackhi_ps(a, b);
}
static inline vf v_pairs_low(vf a, vf b)
{
    return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}
static inline vf v_pairs_high(vf a, vf b)
{
    return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}
static inline vf v_quads(const void *p, int64_t step)
{
    const vf v = _mm256_castps128_ps256(_mm_loadu_ps(p));
    return _mm256_insertf128_ps(v, _mm_loadu_ps((const float *)((uintptr_t)p + (uintptr_t)step)), 1);
}
static inline float v_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}
static inline vf v_fold(vf a, vf b, const bool largest)
{
    return largest ? v_max(a, b) : v_add(a, b);
}
static inline __m256 v_fold_8(const vf a[8], const bool largest)
{
    vf t[4], u[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = v_fold(_mm256_permute2f128_ps(a[2 * i], a[2 * i + 1], 0x20),
                      _mm256_permute2f128_ps(a[2 * i], a[2 * i + 1], 0x31), largest);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        u[i] = v_fold(_mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44), _mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0xee),
                      largest);
    }
    const vf s = v_fold(_mm256_shuffle_ps(u[0], u[1], 0x88), _mm256_shuffle_ps(u[0], u[1], 0xdd), largest);
    return _mm256_permutevar8x32_ps(s, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
static inline vf v_fold_each(const vf a[VW], const bool largest)
{
    return v_fold_8(a, largest);
}
static inline float v_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    s = _mm_max_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}
static inline vf v_iota(void)
{
    return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
}

#endif

/* Loops over rows of any length: i walks by VW and each step handles m = v_left(n - i) elements, 1..VW of them.  Which
 * lane an element falls in depends on its index alone, never on the address. */
static inline int64_t v_left(int64_t n)
{
    return n < VW ? n : VW;
}
/* The first m <= VW elements, the rest is 0. */
static inline vf v_get(const float *p, int64_t m)
{
    return m == VW ? v_load(p) : v_load_n(p, m);
}
/* The same, the rest is fill. */
static inline vf v_get_or(const float *p, int64_t m, vf fill)
{
    return m == VW ? v_load(p) : v_load_n_or(p, m, fill);
}
static inline void v_put(float *p, vf x, int64_t m)
{
    if (m == VW) {
        v_store(p, x);
    } else {
        v_store_n(p, x, m);
    }
}
/* Overwrites, or adds if acc. */
static inline void v_put_acc(float *p, vf x, int64_t m, bool acc)
{
    v_put(p, acc ? v_add(v_get(p, m), x) : x, m);
}

/* Defines `static double name params`, a sum over i < n in a fixed order: f32 lanes (4 vectors of them) over blocks of
 * SIMD_SUM_BLOCK elements, the blocks in f64.  TERM(s, i, m) gives s plus the terms i..i+m-1; terms past m must be 0.
 */
enum { SIMD_SUM_BLOCK = 4096 };
#define SIMD_DEFINE_SUM(name, params, TERM)                                                                            \
    static double name params                                                                                          \
    {                                                                                                                  \
        double total = 0;                                                                                              \
        for (int64_t begin = 0; begin < n; begin += SIMD_SUM_BLOCK) {                                                  \
            const int64_t end = n - begin < SIMD_SUM_BLOCK ? n : begin + SIMD_SUM_BLOCK;                               \
            vf s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();                                             \
            int64_t i = begin;                                                                                         \
            for (; i + 4 * VW <= end; i += 4 * VW) {                                                                   \
                s0 = TERM(s0, i, VW);                                                                                  \
                s1 = TERM(s1, i + VW, VW);                                                                             \
                s2 = TERM(s2, i + 2 * VW, VW);                                                                         \
                s3 = TERM(s3, i + 3 * VW, VW);                                                                         \
            }                                                                                                          \
            for (; i < end; i += VW) {                                                                                 \
                s0 = TERM(s0, i, v_left(end - i));                                                                     \
            }                                                                                                          \
            total += (double)v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));                                               \
        }                                                                                                              \
        return total;                                                                                                  \
    }

/* exp(x), at most 1 ulp on [-87.3, 88.3]; below it is 0, above it stays at exp(88.3) = 2.2e38; NaN stays NaN.
 * Cody-Waite reduction by ln 2, then 1 + r + r^2 q(r) with the minimax q of degree 4 on |r| <= ln(2) / 2 (3.1e-9 before
 * rounding). */
static inline vf v_exp(vf x)
{
    const vf lowest = v_set(-87.3f);
    const vf clamped = v_min(v_set(88.3f), x); /* in this order min passes NaN on */
    const vf k = v_round(v_mul(clamped, v_set(1.44269504088896341f)));
    vf r = v_fnma(k, v_set(0.693359375f), clamped);
    r = v_fnma(k, v_set(-2.12194440e-4f), r);
    vf p = v_set(1.3814539e-3f);
    p = v_fma(p, r, v_set(8.3687454e-3f));
    p = v_fma(p, r, v_set(4.1668389e-2f));
    p = v_fma(p, r, v_set(1.66665211e-1f));
    p = v_fma(p, r, v_set(4.9999994e-1f));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    return v_select_lt(x, lowest, v_zero(), v_ldexp(p, k));
}

static inline vf v_sigmoid(vf x)
{
    return v_div(v_set(1.0f), v_add(v_set(1.0f), v_exp(v_sub(v_zero(), x))));
}

/* Phi(x) = (1 + erf(x / sqrt 2)) / 2, within 2e-7 everywhere (and within 1e-6 relative for x in [-5, 0], where
 * 1 + erf would cancel).  With a = |x| and t = 1 / (1 + 0.35 a): Phi(-a) = exp(-a^2 / 2) t q(t), q the minimax
 * polynomial of degree 8 on 0 <= a <= 14 (3.2e-8 before rounding).  *density = exp(-x^2 / 2) / sqrt(2 pi), from the
 * same exp. */
static inline vf v_normal_cdf(vf x, vf *density)
{
    const vf t = v_div(v_set(1.0f), v_fma(v_abs(x), v_set(0.35f), v_set(1.0f)));
    const vf e = v_exp(v_mul(v_mul(x, x), v_set(-0.5f)));
    vf q = v_set(-0.029145972803235054f);
    q = v_fma(q, t, v_set(0.14397192001342773f));
    q = v_fma(q, t, v_set(-0.2557147443294525f));
    q = v_fma(q, t, v_set(0.15917472541332245f));
    q = v_fma(q, t, v_set(-0.023110246285796165f));
    q = v_fma(q, t, v_set(0.10550818592309952f));
    q = v_fma(q, t, v_set(0.11983282119035721f));
    q = v_fma(q, t, v_set(0.13986188173294067f));
    q = v_fma(q, t, v_set(0.13962140679359436f));
    const vf tail = v_mul(e, v_mul(q, t));
    *density = v_mul(e, v_set(0.398942280401432678f));
    return v_select_lt(x, v_zero(), tail, v_sub(v_set(1.0f), tail));
}

#endif

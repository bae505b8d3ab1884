/* simd_bf16.h - vectors of integers of 32 bits, and of bf16, beside those of simd.h.  Included by simd_*.c only.
 *
 * A bf16 is the upper half of an f32.  In a vector it lies in the lower half of each lane, whose upper half is 0. */
#ifndef MM1_KERNELS_SIMD_BF16_H
#define MM1_KERNELS_SIMD_BF16_H

#include "kernels/simd.h"

#include <string.h>

#if defined(__AVX512F__)

typedef __m512i vi;

static inline vi vi_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}
static inline vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
static inline vi vi_mul(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
static inline vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
static inline vi vi_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
static inline vi vi_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}
/* The upper halves of the lanes, as lower ones. */
static inline vi vi_upper(vi a)
{
    return _mm512_srli_epi32(a, 16);
}
static inline vi vi_right_15(vi a)
{
    return _mm512_srli_epi32(a, 15);
}
/* first, first + 1, ... */
static inline vi vi_from(int32_t first)
{
    return _mm512_add_epi32(_mm512_set1_epi32(first),
                            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
static inline vi vi_of(vf a)
{
    return _mm512_castps_si512(a);
}
/* The numbers in the lower halves of the lanes, or in the upper ones. */
static inline vf bf16_widen_low(vf a)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 16));
}
static inline vf bf16_widen_high(vf a)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0xffff0000u)));
}
/* a > b ? x : y, signed */
static inline vi vi_select_gt(vi a, vi b, vi x, vi y)
{
    return _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(a, b), y, x);
}
/* The first m <= VW bf16, the rest is 0. */
static inline vf bf16_get(const uint16_t *p, int64_t m)
{
    const __m256i h = _mm256_maskz_loadu_epi16((__mmask16)((1u << m) - 1), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline void bf16_put(uint16_t *p, vi x, int64_t m)
{
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << m) - 1), _mm512_cvtepi32_epi16(x));
}

#else

typedef __m256i vi;

static inline vi vi_set(int32_t x)
{
    return _mm256_set1_epi32(x);
}
static inline vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}
static inline vi vi_mul(vi a, vi b)
{
    return _mm256_mullo_epi32(a, b);
}
static inline vi vi_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}
static inline vi vi_or(vi a, vi b)
{
    return _mm256_or_si256(a, b);
}
static inline vi vi_xor(vi a, vi b)
{
    return _mm256_xor_si256(a, b);
}
static inline vi vi_upper(vi a)
{
    return _mm256_srli_epi32(a, 16);
}
static inline vi vi_right_15(vi a)
{
    return _mm256_srli_epi32(a, 15);
}
static inline vi vi_from(int32_t first)
{
    return _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vi vi_of(vf a)
{
    return _mm256_castps_si256(a);
}
static inline vf bf16_widen_low(vf a)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 16));
}
static inline vf bf16_widen_high(vf a)
{
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32((int)0xffff0000u)));
}
static inline vi vi_select_gt(vi a, vi b, vi x, vi y)
{
    return _mm256_blendv_epi8(y, x, _mm256_cmpgt_epi32(a, b));
}
static inline vf bf16_get(const uint16_t *p, int64_t m)
{
    uint16_t some[VW] = {0};
    if (m < VW) { /* there is no masked load of 16 bits */
        memcpy(some, p, (size_t)m * sizeof *p);
        p = some;
    }
    const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline void bf16_put(uint16_t *p, vi x, int64_t m)
{
    const __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    if (m == VW) {
        _mm_storeu_si128((__m128i *)(void *)p, h);
    } else {
        memcpy(p, &h, (size_t)m * sizeof *p);
    }
}

#endif

/* To nearest even; NaN stays NaN: mm1_bf16_from_f32(). */
static inline vi bf16_nearest(vf x)
{
    const vi bits = vi_of(x), upper = vi_upper(bits);
    const vi rounded = vi_upper(vi_add(bits, vi_add(vi_set(0x7fff), vi_and(upper, vi_set(1)))));
    return vi_select_gt(vi_and(bits, vi_set(0x7fffffff)), vi_set(0x7f800000), vi_or(upper, vi_set(0x40)), rounded);
}

/* mm1_rng_mix() of each lane. */
static inline vi vi_mix(vi i, const uint32_t key[2])
{
    vi x = vi_xor(i, vi_set((int32_t)key[0]));
    x = vi_mul(vi_xor(x, vi_upper(x)), vi_set(0x7feb352d));
    x = vi_mul(vi_xor(x, vi_right_15(x)), vi_set((int32_t)0x846ca68bu));
    return vi_xor(vi_xor(x, vi_upper(x)), vi_set((int32_t)key[1]));
}

#endif

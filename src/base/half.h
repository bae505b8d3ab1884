/* half.h - the two 16-bit floats of model files, to and from f32, on plain integers.
 *
 * bf16 is the upper half of an f32; f16 is IEEE binary16.  Towards 16 bits both round to nearest, ties to even; what is
 * too large becomes infinity and NaN stays NaN (quiet).  Denormals are kept in both directions, whatever the thread's
 * flush-to-zero mode: nothing here is floating-point arithmetic. */
#ifndef MM1_BASE_HALF_H
#define MM1_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t mm1_f32_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float mm1_f32_from_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline float mm1_bf16_to_f32(uint16_t h)
{
    return mm1_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t mm1_bf16_from_f32(float v)
{
    const uint32_t bits = mm1_f32_bits(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u); /* rounding could turn a NaN into infinity */
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Up with the probability that the dropped bits say, given 16 random bits: right in the mean.  v must be finite. */
static inline uint16_t mm1_bf16_from_f32_random(float v, uint32_t bits16)
{
    return (uint16_t)((mm1_f32_bits(v) + bits16) >> 16);
}

static inline float mm1_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = h >> 10 & 0x1fu, mantissa = h & 0x3ffu;
    if (exponent == 0x1f) {
        return mm1_f32_from_bits(sign | 0x7f800000u | mantissa << 13 | (mantissa != 0 ? 0x400000u : 0));
    }
    if (exponent == 0) {
        if (mantissa == 0) {
            return mm1_f32_from_bits(sign);
        }
        /* A denormal of f16 is a normal number in f32: shift until the leading one is the implicit one. */
        exponent = 1;
        while ((mantissa & 0x400u) == 0) {
            mantissa <<= 1;
            exponent--; /* wraps below zero; the sum below brings it back */
        }
        mantissa &= 0x3ffu;
    }
    return mm1_f32_from_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t mm1_f16_from_f32(float v)
{
    const uint32_t bits = mm1_f32_bits(v), magnitude = bits & 0x7fffffffu;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    }
    if (magnitude >= 0x477ff000u) { /* 65520: half way from the largest f16 to the next */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude >= 0x38800000u) { /* 2^-14: the smallest normal f16 */
        const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        return (uint16_t)(sign | ((rounded >> 13) - (112u << 10)));
    }
    if (magnitude < 0x33000000u) { /* under half of 2^-24, the smallest denormal */
        return sign;
    }
    /* Denormal: the mantissa with its leading one, shifted right until its unit is 2^-24. */
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u, shift = 126u - (magnitude >> 23);
    const uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u), half = 1u << (shift - 1u);
    return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1u) != 0))));
}

#endif

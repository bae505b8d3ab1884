/* quant.c - see quant.h.  One function a format; the table at the end names them all. */
#include "tensor/quant.h"

#include "base/alloc.h"
#include "base/half.h"
#include <math.h>
#include <string.h>

enum { BLOCK = 32, SUPER = 256 };

static float load_f16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return mm1_f16_to_f32(h);
}

static void store_f16(uint8_t *p, uint16_t h)
{
    memcpy(p, &h, sizeof h);
}

/* ---- one number an element ---- */

static void f32_to_f32(const uint8_t *src, float *dst)
{
    memcpy(dst, src, sizeof *dst);
}

static void f16_to_f32(const uint8_t *src, float *dst)
{
    *dst = load_f16(src);
}

static void bf16_to_f32(const uint8_t *src, float *dst)
{
    uint16_t h;
    memcpy(&h, src, sizeof h);
    *dst = mm1_bf16_to_f32(h);
}

static bool f32_from_f32(const float *src, uint8_t *dst)
{
    memcpy(dst, src, sizeof *src);
    return isfinite(*src);
}

static bool f16_from_f32(const float *src, uint8_t *dst)
{
    const uint16_t h = mm1_f16_from_f32(*src);
    store_f16(dst, h);
    return (h & 0x7c00u) != 0x7c00u;
}

static bool bf16_from_f32(const float *src, uint8_t *dst)
{
    const uint16_t h = mm1_bf16_from_f32(*src);
    memcpy(dst, &h, sizeof h);
    return (h & 0x7f80u) != 0x7f80u;
}

/* ---- blocks of 32 ---- */

static void q8_0_to_f32(const uint8_t *src, float *dst)
{
    const float d = load_f16(src);
    for (int i = 0; i < BLOCK; i++) {
        dst[i] = d * (float)(int8_t)src[2 + i];
    }
}

/* The first half of the elements lies in the low nibbles, the second in the high ones. */
static int nibble(const uint8_t *q, int i)
{
    return i < BLOCK / 2 ? q[i] & 0xf : q[i - BLOCK / 2] >> 4;
}

/* The fifth bit of element i: 32 bits, little-endian. */
static int fifth_bit(const uint8_t *bits, int i)
{
    return (bits[i / 8] >> (i % 8) & 1) << 4;
}

static void q4_0_to_f32(const uint8_t *src, float *dst)
{
    const float d = load_f16(src);
    for (int i = 0; i < BLOCK; i++) {
        dst[i] = d * (float)(nibble(src + 2, i) - 8);
    }
}

static void q4_1_to_f32(const uint8_t *src, float *dst)
{
    const float d = load_f16(src), m = load_f16(src + 2);
    for (int i = 0; i < BLOCK; i++) {
        dst[i] = d * (float)nibble(src + 4, i) + m;
    }
}

static void q5_0_to_f32(const uint8_t *src, float *dst)
{
    const float d = load_f16(src);
    for (int i = 0; i < BLOCK; i++) {
        dst[i] = d * (float)((nibble(src + 6, i) | fifth_bit(src + 2, i)) - 16);
    }
}

static void q5_1_to_f32(const uint8_t *src, float *dst)
{
    const float d = load_f16(src), m = load_f16(src + 2);
    for (int i = 0; i < BLOCK; i++) {
        dst[i] = d * (float)(nibble(src + 8, i) | fifth_bit(src + 4, i)) + m;
    }
}

/* The reciprocal that a block is multiplied by; 0 where there is none. */
static float inverse(float d)
{
    const float id = 1.0f / d;
    return d != 0 && isfinite(id) ? id : 0;
}

/* The element of largest magnitude, the first of equals; NaN if there is one. */
static float extreme(const float *x)
{
    float best = x[0];
    for (int i = 0; i < BLOCK; i++) {
        if (isnan(x[i])) {
            return x[i];
        }
        best = fabsf(x[i]) > fabsf(best) ? x[i] : best;
    }
    return best;
}

static bool q8_0_from_f32(const float *src, uint8_t *dst)
{
    const float d = fabsf(extreme(src)) / 127.0f;
    if (!f16_from_f32(&d, dst)) {
        return false;
    }
    const float id = inverse(d);
    for (int i = 0; i < BLOCK; i++) {
        dst[2 + i] = (uint8_t)(int8_t)roundf(src[i] * id);
    }
    return true;
}

static bool q4_0_from_f32(const float *src, uint8_t *dst)
{
    const float d = extreme(src) / -8.0f;
    if (!f16_from_f32(&d, dst)) {
        return false;
    }
    const float id = inverse(d);
    for (int i = 0; i < BLOCK / 2; i++) {
        const int low = (int)(src[i] * id + 8.5f), high = (int)(src[i + BLOCK / 2] * id + 8.5f);
        dst[2 + i] = (uint8_t)((low < 15 ? low : 15) | (high < 15 ? high : 15) << 4);
    }
    return true;
}

/* ---- super-blocks of 256 ---- */

/* Scale and minimum j of 8: six bits each in 12 bytes.  The first four of each are the low bits of bytes 0-3 and 4-7;
 * the others have four bits in bytes 8-11 and their upper two above those of the first four. */
static void scale_and_min(const uint8_t *s, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 0xf) | (s[j - 4] >> 6) << 4;
        *min = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

/* high: the fifth bits, bit j of byte i for element i of group j; NULL if there are none. */
static void k_to_f32(const uint8_t *src, const uint8_t *high, const uint8_t *low, float *dst)
{
    const float d = load_f16(src), m = load_f16(src + 2);
    for (int j = 0; j < 8; j++) {
        int s, t;
        scale_and_min(src + 4, j, &s, &t);
        const float scale = d * (float)s, min = m * (float)t;
        const uint8_t *q = low + j / 2 * 32; /* two groups share 32 bytes */
        for (int i = 0; i < 32; i++) {
            const int fifth = high != NULL ? (high[i] >> j & 1) << 4 : 0;
            dst[32 * j + i] = scale * (float)((q[i] >> (j % 2 * 4) & 0xf) | fifth) - min;
        }
    }
}

static void q4_k_to_f32(const uint8_t *src, float *dst)
{
    k_to_f32(src, NULL, src + 16, dst);
}

static void q5_k_to_f32(const uint8_t *src, float *dst)
{
    k_to_f32(src, src + 16, src + 48, dst);
}

/* Halves of 128 elements, each of four groups of 32: group j has its low four bits in the nibbles of 64 bytes and its
 * upper two in bits 2j of 32 bytes. */
static void q6_k_to_f32(const uint8_t *src, float *dst)
{
    const float d = load_f16(src + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = src + 64 * half, *high = src + 128 + 32 * half, *scales = src + 192 + 8 * half;
        for (int i = 0; i < 128; i++) {
            const int j = i / 32, q = (low[i % 64] >> (j / 2 * 4) & 0xf) | (high[i % 32] >> (2 * j) & 3) << 4;
            dst[128 * half + i] = d * (float)(int8_t)scales[i / 16] * (float)(q - 32);
        }
    }
}

/* ---- the table ---- */

static const struct {
    const char *name;
    uint32_t id;
    int64_t block;
    size_t bytes;
    void (*to_f32)(const uint8_t *src, float *dst);
    bool (*from_f32)(const float *src, uint8_t *dst); /* NULL: cannot be written */
} formats[MM1_QUANT_COUNT] = {
    [MM1_QUANT_F32] = {"F32", 0, 1, 4, f32_to_f32, f32_from_f32},
    [MM1_QUANT_F16] = {"F16", 1, 1, 2, f16_to_f32, f16_from_f32},
    [MM1_QUANT_BF16] = {"BF16", 30, 1, 2, bf16_to_f32, bf16_from_f32},
    [MM1_QUANT_Q8_0] = {"Q8_0", 8, BLOCK, 34, q8_0_to_f32, q8_0_from_f32},
    [MM1_QUANT_Q4_0] = {"Q4_0", 2, BLOCK, 18, q4_0_to_f32, q4_0_from_f32},
    [MM1_QUANT_Q4_1] = {"Q4_1", 3, BLOCK, 20, q4_1_to_f32, NULL},
    [MM1_QUANT_Q5_0] = {"Q5_0", 6, BLOCK, 22, q5_0_to_f32, NULL},
    [MM1_QUANT_Q5_1] = {"Q5_1", 7, BLOCK, 24, q5_1_to_f32, NULL},
    [MM1_QUANT_Q4_K] = {"Q4_K", 12, SUPER, 144, q4_k_to_f32, NULL},
    [MM1_QUANT_Q5_K] = {"Q5_K", 13, SUPER, 176, q5_k_to_f32, NULL},
    [MM1_QUANT_Q6_K] = {"Q6_K", 14, SUPER, 210, q6_k_to_f32, NULL},
};

/* What llama.cpp calls its numbers; gaps are formats that it has given up. */
static const char *const id_names[] = {
    [0] = "F32",     [1] = "F16",    [2] = "Q4_0",     [3] = "Q4_1",    [6] = "Q5_0",     [7] = "Q5_1",
    [8] = "Q8_0",    [9] = "Q8_1",   [10] = "Q2_K",    [11] = "Q3_K",   [12] = "Q4_K",    [13] = "Q5_K",
    [14] = "Q6_K",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
    [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",
    [26] = "I32",    [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",  [30] = "BF16",    [34] = "TQ1_0",
    [35] = "TQ2_0",  [39] = "MXFP4", [40] = "NVFP4",
};

const char *mm1_quant_name(mm1_quant q)
{
    return (unsigned)q < MM1_QUANT_COUNT ? formats[q].name : "?";
}

int64_t mm1_quant_block(mm1_quant q)
{
    return formats[q].block;
}

uint32_t mm1_quant_id(mm1_quant q)
{
    return formats[q].id;
}

bool mm1_quant_from_id(uint32_t id, mm1_quant *out)
{
    for (int q = 0; q < MM1_QUANT_COUNT; q++) {
        if (formats[q].id == id) {
            *out = (mm1_quant)q;
            return true;
        }
    }
    return false;
}

const char *mm1_quant_id_name(uint32_t id)
{
    return id < sizeof id_names / sizeof *id_names && id_names[id] != NULL ? id_names[id] : "unknown";
}

bool mm1_quant_bytes(mm1_quant q, int64_t n, size_t *bytes)
{
    return n >= 0 && n % formats[q].block == 0 && mm1_size_mul((size_t)(n / formats[q].block), formats[q].bytes, bytes);
}

void mm1_quant_to_f32(mm1_quant q, const void *src, float *dst, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i += formats[q].block, p += formats[q].bytes) {
        formats[q].to_f32(p, dst + i);
    }
}

bool mm1_quant_can_write(mm1_quant q)
{
    return (unsigned)q < MM1_QUANT_COUNT && formats[q].from_f32 != NULL;
}

bool mm1_quant_from_f32(mm1_quant q, const float *src, void *dst, int64_t n)
{
    uint8_t *p = dst;
    for (int64_t i = 0; i < n; i += formats[q].block, p += formats[q].bytes) {
        if (!formats[q].from_f32(src + i, p)) {
            return false;
        }
    }
    return true;
}

/* quant.h - number formats of GGUF files: rows of blocks, to f32 and, for what is exported, from f32.
 *
 * A row is a whole number of blocks; a block is `block` elements in `bytes` bytes, little-endian, aligned to nothing:
 *
 *     F32, F16, BF16  one number
 *     Q8_0            32 elements: f16 d | 32 x i8 q                                x = d q
 *     Q4_0, Q5_0      32 elements: f16 d | q                                        x = d (q - 8), d (q - 16)
 *     Q4_1, Q5_1      32 elements: f16 d, m | q                                     x = d q + m
 *     Q4_K, Q5_K      256 elements: f16 d, m | eight 6-bit pairs s, t | q           x = (d s) q - (m t)
 *     Q6_K            256 elements: q | sixteen i8 s | f16 d                        x = (d s) (q - 32)
 *
 * Every rounding is that of the reference (ggml-quants of llama.cpp, quants.py of the package gguf): same bits.
 *
 * Threads: pure functions. */
#ifndef MM1_TENSOR_QUANT_H
#define MM1_TENSOR_QUANT_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mm1_quant {
    MM1_QUANT_F32,
    MM1_QUANT_F16,
    MM1_QUANT_BF16,
    MM1_QUANT_Q8_0,
    MM1_QUANT_Q4_0,
    MM1_QUANT_Q4_1,
    MM1_QUANT_Q5_0,
    MM1_QUANT_Q5_1,
    MM1_QUANT_Q4_K,
    MM1_QUANT_Q5_K,
    MM1_QUANT_Q6_K,
    MM1_QUANT_COUNT
} mm1_quant;

/* As llama.cpp writes it: "Q4_K". */
const char *mm1_quant_name(mm1_quant q);
/* Elements of a block. */
int64_t mm1_quant_block(mm1_quant q);

/* The number that stands for the format in a file, and back; false for a number that is none of the above. */
uint32_t mm1_quant_id(mm1_quant q);
bool mm1_quant_from_id(uint32_t id, mm1_quant *out);
/* The name of any number that llama.cpp has given, read here or not; "unknown" otherwise. */
const char *mm1_quant_id_name(uint32_t id);

/* Bytes of n >= 0 elements; false if n is not a whole number of blocks or the bytes overflow. */
bool mm1_quant_bytes(mm1_quant q, int64_t n, size_t *bytes);

/* dst [n] f32 = src, n a whole number of blocks. */
void mm1_quant_to_f32(mm1_quant q, const void *src, float *dst, int64_t n);

/* F32, F16, BF16, Q8_0 and Q4_0 can be written. */
bool mm1_quant_can_write(mm1_quant q);
/* dst = src [n] f32, n a whole number of blocks of a format that can be written, to nearest.  False, with dst then
 * undefined, if a value is not finite or too large for the format. */
MM1_NODISCARD bool mm1_quant_from_f32(mm1_quant q, const float *src, void *dst, int64_t n);

#endif

/* simd_gemm.c - inner loops of the matrix product with vectors; compiled once for each instruction set.
 *
 * The tile is MR x NR = 6 x 16 (AVX2) or 14 x 32 (AVX-512): 12 or 28 accumulators, two vectors of b and one element of
 * a, broadcast, fill the register file, and 8 (16) loads a step stay well under the two FMA a cycle.  So few loads also
 * leave time to read a in place, row by row or across its rows, and to pack b while it is used for the first time. */
#include "kernels/kernels.h"

#include "base/half.h"
#include "kernels/simd.h"
#include "kernels/simd_bf16.h"

enum {
    NV = 2,
    NR = NV * VW,
    LINE = 64 / sizeof(float),
    ROWS_AHEAD = 8, /* down columns of a and b */
    C_ROWS = 2,     /* of c are asked for at once */
    LOW = 9,        /* along: rows of a from here on have a pointer of their own */
#if defined(__AVX512F__)
    MR = 14,
#else
    MR = 6,
#endif
};

#define INLINE static inline __attribute__((always_inline))

/* ------------------------------------------------------------------------------------------------ the tile */

/* Where a tile finds its rows of a: packed, or in place with k along its rows or down its columns. */
typedef enum place { PACKED, ALONG, DOWN } place;

/* What is next in memory comes into the caches meanwhile; it need not exist. */
INLINE const char *next_at(const float *x, int64_t offset)
{
    return (const char *)mm1_address_after(x, offset);
}

/* See mm1_gemm_ask.  Not into L1: it is full. */
INLINE void ask(mm1_gemm_ask *a, const int lines)
{
    for (int64_t i = 0; i < a->n; i++) {
#pragma GCC unroll 2
        for (int l = 0; l < lines; l++) {
            _mm_prefetch((const char *)(a->at + (uintptr_t)(i * a->step + l * 64)), _MM_HINT_T1);
        }
    }
    a->at += (uintptr_t)a->advance;
}

typedef struct operands {
    const float *a, *a_low;        /* ALONG: and its row LOW */
    int64_t lda, lda3, lda5, lda7; /* ALONG: the others are multiples of it that addresses cannot scale by themselves */
    float *b;
    const float *y; /* fill: b is packed out of it */
    int64_t ldy;
    mm1_gemm_ask next, later;
    mm1_gemm_beside beside;
} operands;

/* x, of which the compiler knows nothing: it would keep an offset for each row, for which there are no registers. */
INLINE int64_t opaque(int64_t x)
{
    __asm__("" : "+r"(x));
    return x;
}

/* a at row i, a constant, and the k at hand. */
INLINE float along(const operands *o, int i)
{
    const float *a = i < LOW ? o->a : o->a_low;
    i -= i < LOW ? 0 : LOW;
    return a[i % 3 == 0 ? i / 3 * o->lda3 : i == 5 ? o->lda5 : i == 7 ? o->lda7 : i * o->lda];
}

/* One k.  m, wide, from and fill are constants wherever this and tile() are inlined: accumulators live in registers.
 * Not wide: only the first vector of b. */
INLINE void step(const int m, const bool wide, const place from, const bool fill, vf s[MR][NV], operands *o)
{
    const float *b = fill ? o->y : o->b;
    const vf b0 = v_load(b), b1 = wide ? v_load(b + VW) : b0;
    if (fill) {
        v_store(o->b, b0);
        v_store(o->b + VW, b1);
        _mm_prefetch(next_at(o->y, ROWS_AHEAD * o->ldy), _MM_HINT_T0);
        _mm_prefetch(next_at(o->y, ROWS_AHEAD * o->ldy + NR - 1), _MM_HINT_T0);
        _mm_prefetch(next_at(o->y, NR), _MM_HINT_T1); /* of the next panel */
        _mm_prefetch(next_at(o->y, NR + VW), _MM_HINT_T1);
        o->y += o->ldy;
    }
    if (from == DOWN) { /* each k is a line or two elsewhere, where processors do not expect it */
        _mm_prefetch(next_at(o->a, ROWS_AHEAD * o->lda), _MM_HINT_T0);
        _mm_prefetch(next_at(o->a, ROWS_AHEAD * o->lda + m - 1), _MM_HINT_T0);
    }
#pragma GCC unroll 14
    for (int i = 0; i < m; i++) {
        const vf x = v_set(from == ALONG ? along(o, i) : o->a[i]);
        s[i][0] = v_fma(x, b0, s[i][0]);
        s[i][1] = wide ? v_fma(x, b1, s[i][1]) : s[i][1];
    }
    o->a += from == ALONG ? 1 : from == DOWN ? o->lda : MR;
    o->a_low += from == ALONG;
    o->b += NR;
}

INLINE void tile(const int m, const bool wide, const place from, const bool fill, float *c, int64_t ldc, operands o,
                 int64_t K, int64_t n, bool acc)
{
    vf s[MR][NV];
#pragma GCC unroll 14
    for (int i = 0; i < m; i++) {
        s[i][0] = s[i][1] = v_zero();
    }
    int64_t k = 0, asked = 0;
    for (; k + LINE <= K; k += LINE) {
        /* c is read or not, a line must come before it is written: not too soon, for b drives it out of L1, and not all
         * at once, for then b would have to wait. */
        for (const int64_t until = m - C_ROWS * ((K - k) / LINE - 1); asked < until; asked++) {
            const float *row = c + asked * ldc;
            _mm_prefetch((const char *)row, _MM_HINT_T0);
            _mm_prefetch(next_at(row, n / 2), _MM_HINT_T0);
            _mm_prefetch(next_at(row, n - 1), _MM_HINT_T0);
        }
        if (from != PACKED) {
            ask(&o.next, 1);
            ask(&o.later, 2);
            if (k < o.beside.k) {
                ask(&o.beside.ask[0], NR / LINE);
                ask(&o.beside.ask[1], NR / LINE);
                ask(&o.beside.ask[2], NR / LINE);
            }
        }
#pragma GCC unroll 4
        for (int l = 0; l < LINE; l++) {
            step(m, wide, from, fill, s, &o);
        }
    }
#pragma GCC unroll 4
    for (; k < K; k++) {
        step(m, wide, from, fill, s, &o);
    }
    if (wide && n == NR) {
#pragma GCC unroll 14
        for (int i = 0; i < m; i++, c += ldc) {
            v_store(c, acc ? v_add(v_load(c), s[i][0]) : s[i][0]);
            v_store(c + VW, acc ? v_add(v_load(c + VW), s[i][1]) : s[i][1]);
        }
        return;
    }
    const int64_t n0 = n < VW ? n : VW, n1 = n - n0;
#pragma GCC unroll 14
    for (int i = 0; i < m; i++, c += ldc) {
        v_store_n(c, acc ? v_add(v_load_n(c, n0), s[i][0]) : s[i][0], n0);
        if (wide && n1 > 0) {
            v_store_n(c + VW, acc ? v_add(v_load_n(c + VW, n1), s[i][1]) : s[i][1], n1);
        }
    }
}

#define TILE(m) tile(m, true, PACKED, false, c, ldc, o, K, n, acc)

static void gemm_tile(float *c, int64_t ldc, const float *a, const float *b, int64_t K, int64_t m, int64_t n, bool acc)
{
    const operands o = {.a = a, .b = (float *)(uintptr_t)b}; /* not filled: only read */
    switch (m) {
    case 1: TILE(1); break;
    case 2: TILE(2); break;
    case 3: TILE(3); break;
    case 4: TILE(4); break;
    case 5: TILE(5); break;
#if defined(__AVX512F__)
    case 6: TILE(6); break;
    case 7: TILE(7); break;
    case 8: TILE(8); break;
    case 9: TILE(9); break;
    case 10: TILE(10); break;
    case 11: TILE(11); break;
    case 12: TILE(12); break;
    case 13: TILE(13); break;
#endif
    default: TILE(MR); break;
    }
}

/* A row of tiles; from and fill are constants. */
INLINE void tiles(const place from, const bool fill, float *c, int64_t ldc, operands o, int64_t ldb, int64_t K,
                  int64_t n, bool acc)
{
    for (; n >= NR; n -= NR) {
        tile(MR, true, from, fill, c, ldc, o, K, NR, acc);
        c += NR;
        o.b += ldb;
        o.y += fill ? NR : 0;
        mm1_gemm_ask_on(&o.next);
        mm1_gemm_ask_on(&o.later);
        for (int i = 0; i < MM1_GEMM_BESIDE; i++) {
            mm1_gemm_ask_on(&o.beside.ask[i]);
        }
    }
    if (n > 0 && n <= VW) {
        tile(MR, false, from, false, c, ldc, o, K, n, acc);
    } else if (n > 0) {
        tile(MR, true, from, false, c, ldc, o, K, n, acc);
    }
}

static void gemm_tiles(float *c, int64_t ldc, const mm1_gemm_strip *a, float *b, int64_t ldb, const float *y,
                       int64_t ldy, int64_t K, int64_t n, bool acc)
{
    const int64_t ld = opaque(a->ld);
    const operands o = {.a = a->x,
                        .a_low = a->k_rows || LOW >= MR ? a->x : a->x + LOW * ld,
                        .lda = ld,
                        .lda3 = opaque(3 * ld),
                        .lda5 = opaque(5 * ld),
                        .lda7 = opaque(7 * ld),
                        .b = b,
                        .y = y,
                        .ldy = ldy,
                        .next = a->next,
                        .later = a->later,
                        .beside = a->beside};
    if (a->k_rows && y != NULL) {
        tiles(DOWN, true, c, ldc, o, ldb, K, n, acc);
    } else if (a->k_rows) {
        tiles(DOWN, false, c, ldc, o, ldb, K, n, acc);
    } else if (y != NULL) {
        tiles(ALONG, true, c, ldc, o, ldb, K, n, acc);
    } else {
        tiles(ALONG, false, c, ldc, o, ldb, K, n, acc);
    }
}

/* ------------------------------------------------------------------------------------------------ packing */

/* The first n of eight elements; 4 + 2 without a masked store, which is slow on some CPUs: 6 and 14 end so. */
INLINE void store_8(float *p, __m256 x, int64_t n)
{
    if (n >= 8) {
        _mm256_storeu_ps(p, x);
        return;
    }
    __m128 low = _mm256_castps256_ps128(x);
    if (n >= 4) {
        _mm_storeu_ps(p, low);
        low = _mm256_extractf128_ps(x, 1);
        p += 4;
        n -= 4;
    }
    if (n >= 2) {
        _mm_storel_pi((__m64 *)(void *)p, low);
        low = _mm_movehl_ps(low, low);
        p += 2;
        n -= 2;
    }
    if (n > 0) {
        _mm_store_ss(p, low);
    }
}

/* What is packed is f32, or bf16 that is widened; a constant wherever this is inlined. */
typedef enum format { F32, BF16 } format;

INLINE const void *element(const void *x, int64_t i, const format f)
{
    return (const void *)((uintptr_t)x + (uintptr_t)i * (f == BF16 ? sizeof(uint16_t) : sizeof(float)));
}

/* The first n > 0 of eight elements, the rest is 0. */
INLINE __m256 load_8(const void *x, int64_t n, const format f)
{
    if (f == BF16) {
        uint16_t some[8] = {0};
        if (n < 8) {
            memcpy(some, x, (size_t)n * sizeof *some);
            x = some;
        }
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(x)), 16));
    }
    if (n >= 8) {
        return _mm256_loadu_ps(x);
    }
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane));
}

INLINE void transpose_8x8(__m256 r[8])
{
    __m256 t[8], u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

/* Rows are k's neighbours: eight rows at a time, turned in registers.  n rows here are present, w (up to 8) are wanted.
 */
INLINE void pack_turn(float *p, int width, int64_t w, const void *x, const format f, int64_t ld, int64_t K, int64_t n,
                      __m256 alpha)
{
    const int64_t line = f == BF16 ? 2 * LINE : LINE;
    int64_t k = 0;
    for (; k < K; k += 8) {
        const int64_t left = K - k;
        __m256 r[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            r[i] = i < n ? _mm256_mul_ps(alpha, load_8(element(x, i * ld + k, f), left, f)) : _mm256_setzero_ps();
        }
        if (k % line == 0) { /* the same rows of the next panel */
#pragma GCC unroll 8
            for (int i = 0; i < w; i++) {
                _mm_prefetch(element(x, (width + i) * ld + k, f), _MM_HINT_T0);
            }
        }
        transpose_8x8(r);
        if (left >= 8) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                store_8(p + (k + i) * width, r[i], w);
            }
        } else {
            for (int i = 0; i < left; i++) {
                store_8(p + (k + i) * width, r[i], w);
            }
        }
    }
}

/* VW rows, as many k as fill whole vectors; returns how many.  A vector takes four units of 32 bits, an element of f32
 * or two of bf16 (then alpha is 1), from every fourth row, so that turning 4 x 4 of them in each lane is enough. */
INLINE int64_t pack_turn_rows(float *p, int width, const void *x, const format f, int64_t ld, int64_t K, float alpha)
{
    enum { QUAD = 4, N_QUADS = VW / QUAD };
    const int64_t size = f == BF16 ? sizeof(uint16_t) : sizeof(float), each = f == BF16 ? 2 : 1, step = VW * each;
    const vf scale = v_set(alpha);
    int64_t k = 0;
    for (; k + step <= K; k += step) {
        vf r[N_QUADS][QUAD];
#pragma GCC unroll 4
        for (int i = 0; i < QUAD; i++) {
#pragma GCC unroll 4
            for (int q = 0; q < N_QUADS; q++) {
                r[q][i] = v_quads(element(x, i * ld + k + q * QUAD * each, f), QUAD * ld * size);
            }
        }
#pragma GCC unroll 4
        for (int q = 0; q < N_QUADS; q++) {
            const vf a = v_zip_low(r[q][0], r[q][1]), b = v_zip_high(r[q][0], r[q][1]);
            const vf c = v_zip_low(r[q][2], r[q][3]), d = v_zip_high(r[q][2], r[q][3]);
            const vf turned[QUAD] = {v_pairs_low(a, c), v_pairs_high(a, c), v_pairs_low(b, d), v_pairs_high(b, d)};
#pragma GCC unroll 4
            for (int i = 0; i < QUAD; i++) {
                float *to = p + (k + (q * QUAD + i) * each) * width;
                if (f == BF16) {
                    v_store(to, bf16_widen_low(turned[i]));
                    v_store(to + width, bf16_widen_high(turned[i]));
                } else {
                    v_store(to, v_mul(scale, turned[i]));
                }
            }
        }
    }
    return k;
}

INLINE void pack_panel_copy(const int width, float *p, const float *x, int64_t ld, int64_t K, __m256 alpha)
{
    for (int64_t k = 0; k < K; k++, p += width, x += ld) {
        int i = 0;
#pragma GCC unroll 4
        for (; i + 8 <= width; i += 8) {
            if (i % LINE == 0) { /* rows may lie far apart, and heads are no wider than a few lines */
                _mm_prefetch(next_at(x, 8 * ld + i), _MM_HINT_T0);
            }
            _mm256_storeu_ps(p + i, _mm256_mul_ps(alpha, _mm256_loadu_ps(x + i)));
        }
        if (i + 4 <= width) {
            _mm_storeu_ps(p + i, _mm_mul_ps(_mm256_castps256_ps128(alpha), _mm_loadu_ps(x + i)));
            i += 4;
        }
        if (i + 2 <= width) {
            const __m128 two = _mm_loadl_pi(_mm_setzero_ps(), (const __m64 *)(const void *)(x + i));
            _mm_storel_pi((__m64 *)(void *)(p + i), _mm_mul_ps(_mm256_castps256_ps128(alpha), two));
        }
    }
}

/* Panels of MR, of which the next one exists, but for the last k of all: each k is a whole vector, whose end the next k
 * writes over. */
INLINE void pack_panel_over(float *p, const float *x, int64_t ld, int64_t K, vf alpha)
{
    for (int64_t k = 0; k < K; k++, p += MR, x += ld) {
        _mm_prefetch(next_at(x, 8 * ld), _MM_HINT_T0);
        v_store(p, v_mul(alpha, v_load(x)));
    }
}

INLINE void widen_panel(float *p, const uint16_t *x, int64_t ld, int64_t K)
{
    for (int64_t k = 0; k < K; k++, p += NR, x += ld) {
        v_store(p, bf16_get(x, VW));
        v_store(p + VW, bf16_get(x + VW, VW));
    }
}

/* The first n of the panel's columns, which may be all; the rest is 0. */
INLINE void pack_panel_part(float *p, int width, const void *x, const format f, int64_t ld, int64_t K, int64_t n,
                            float alpha)
{
    const vf scale = v_set(alpha);
    for (int64_t k = 0; k < K; k++, p += width, x = element(x, ld, f)) {
        for (int64_t i = 0; i < width; i += VW) {
            const int64_t left = n - i, have = left < 0 ? 0 : left < VW ? left : VW, want = width - i;
            const void *from = element(x, i, f);
            const vf some = f == BF16 ? bf16_get(from, have) : v_get(from, have);
            v_put(p + i, v_mul(scale, some), want < VW ? want : VW);
        }
    }
}

INLINE void pack(float *p, int width, const void *x, const format f, int64_t ld, int64_t K, int64_t n, bool k_rows,
                 float alpha)
{
    const __m256 scale = _mm256_set1_ps(alpha);
    if (!k_rows) {
        for (int64_t i0 = 0; i0 < n; i0 += width, p += K * width) {
            int64_t done = 0;
            for (int g = 0; width == NR && n - i0 >= NR && g < NR; g += VW) {
                done = pack_turn_rows(p + g, NR, element(x, (i0 + g) * ld, f), f, ld, K, alpha);
            }
            for (int g = 0; done < K && g < width; g += 8) {
                const int64_t have = n - i0 - g, w = width - g < 8 ? width - g : 8;
                const void *from = element(x, (i0 + g) * ld + done, f);
                float *to = p + done * width + g;
                if (have >= w && w == 8) {
                    pack_turn(to, width, 8, from, f, ld, K - done, 8, scale);
                } else if (have >= w && w == 6) {
                    pack_turn(to, width, 6, from, f, ld, K - done, 6, scale);
                } else {
                    pack_turn(to, width, w, from, f, ld, K - done, have < w ? have : w, scale);
                }
            }
        }
        return;
    }
    /* A few k at a time over all panels: rows of x are read along, not across, whatever their stride. */
    enum { K_STEP = 4 };
    for (int64_t k = 0; k < K; k += K_STEP) {
        const int64_t n_k = K - k < K_STEP ? K - k : K_STEP;
        for (int64_t i0 = 0; i0 < n; i0 += width) {
            float *out = p + i0 * K + k * width;
            const void *in = element(x, k * ld + i0, f);
            if (n - i0 >= width && width == NR && f == BF16) {
                widen_panel(out, in, ld, n_k);
            } else if (n - i0 >= width && width == NR) {
                pack_panel_copy(NR, out, in, ld, n_k, scale);
            } else if (n - i0 >= VW && width == MR && f == F32 && k + n_k < K) {
                pack_panel_over(out, in, ld, n_k, v_set(alpha));
            } else if (n - i0 >= width && width == MR && f == F32) {
                pack_panel_copy(MR, out, in, ld, n_k, scale);
            } else {
                pack_panel_part(out, width, in, f, ld, n_k, n - i0 < width ? n - i0 : width, alpha);
            }
        }
    }
}

static void gemm_pack(float *p, int width, const float *x, int64_t ld, int64_t K, int64_t n, bool k_rows, float alpha)
{
    pack(p, width, x, F32, ld, K, n, k_rows, alpha);
}

static void gemm_pack_bf16(float *p, int width, const uint16_t *x, int64_t ld, int64_t K, int64_t n, bool k_rows)
{
    pack(p, width, x, BF16, ld, K, n, k_rows, 1.0f);
}

/* ------------------------------------------------------------------------------------------------ few rows */

/* Rows of b that four or more rows of a meet at once: 16 or 8 accumulators, so that a load serves two FMA or more. */
#if defined(__AVX512F__)
enum { FEW_N = 4 };
#else
enum { FEW_N = 2 };
#endif
enum { FEW_AHEAD = 3 }; /* so many times these rows before they are needed, rows of b come into L2 */

/* m rows of a with n rows of b, along k; m, n and ahead are constants wherever this is inlined.  ahead: so many rows
 * that stand at `next` with the stride of b, and may not exist, come into a cache meanwhile: two to four streams alone
 * do not fill the memory's lanes, and more rows at once than are computed are more than these hold. */
INLINE void dots(const int m, const int n, const int ahead, const float *next, float *c, int64_t ldc, const float *a,
                 int64_t lda, const float *b, int64_t ldb, int64_t K, bool acc)
{
    vf s[16];
#pragma GCC unroll 16
    for (int i = 0; i < m * n; i++) {
        s[i] = v_zero();
    }
    int64_t k = 0;
    for (; k + VW <= K; k += VW) {
        vf x[4];
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            x[i] = v_load(a + i * lda + k);
        }
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            const vf y = v_load(b + j * ldb + k);
            if (j < ahead && m < 4) {
                _mm_prefetch(next_at(next, j * ldb + k), _MM_HINT_T0);
            } else if (j < ahead) {
                _mm_prefetch(next_at(next, j * ldb + k), _MM_HINT_T1);
            }
#pragma GCC unroll 4
            for (int i = 0; i < m; i++) {
                s[i * n + j] = v_fma(x[i], y, s[i * n + j]);
            }
        }
    }
    if (k < K) {
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            const vf y = v_load_n(b + j * ldb + k, K - k);
#pragma GCC unroll 4
            for (int i = 0; i < m; i++) {
                s[i * n + j] = v_fma(v_load_n(a + i * lda + k, K - k), y, s[i * n + j]);
            }
        }
    }
    float sums[16];
    if (m * n >= 4) {
#pragma GCC unroll 4
        for (int i = m * n; i < (m * n + 7) / 8 * 8; i++) {
            s[i] = v_zero();
        }
#pragma GCC unroll 2
        for (int i = 0; i < m * n; i += 8) {
            _mm256_storeu_ps(sums + i, v_fold_8(s + i, false));
        }
    } else {
#pragma GCC unroll 4
        for (int i = 0; i < m * n; i++) {
            sums[i] = v_sum(s[i]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < m; i++, c += ldc) {
        if (n % 4 == 0) {
#pragma GCC unroll 2
            for (int j = 0; j < n; j += 4) {
                const __m128 four = _mm_loadu_ps(sums + i * n + j);
                _mm_storeu_ps(c + j, acc ? _mm_add_ps(_mm_loadu_ps(c + j), four) : four);
            }
        } else {
#pragma GCC unroll 2
            for (int j = 0; j < n; j++) {
                c[j] = acc ? c[j] + sums[i * n + j] : sums[i * n + j];
            }
        }
    }
}

#define DOTS(m, n, ahead) dots(m, n, ahead, next, c + i * ldc + j, ldc, a + i * lda, lda, b + j * ldb, ldb, K, acc)

static void gemm_few_nt(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t M,
                        int64_t N, int64_t K, bool acc)
{
    const float *next = b;
    int64_t i = 0, j = 0;
    for (; j + 8 <= N && M == 1; j += 8) {
        DOTS(1, 8, 0);
    }
    for (; j + 4 <= N && M <= 3; j += 4) {
        next = b + (j + 4) * ldb;
        switch (M) {
        case 3: DOTS(3, 4, 4); break;
        case 2: DOTS(2, 4, 4); break;
        case 1: DOTS(1, 4, 0); break;
        default: break;
        }
    }
    for (; j + FEW_N <= N && M > 3; j += FEW_N) {
        /* Each four rows of a ask for their share of the rows of b ahead, until all are asked for. */
        const int64_t share = M >= 4 * FEW_N ? 1 : M >= 8 ? FEW_N / 2 : FEW_N;
        const float *end = (const float *)(const void *)next_at(b, (j + (FEW_AHEAD + 1) * FEW_N) * ldb);
        next = (const float *)(const void *)next_at(b, (j + FEW_AHEAD * FEW_N) * ldb);
        for (i = 0; i + 4 <= M; i += 4) {
            if (next == end) {
                DOTS(4, FEW_N, 0);
                continue;
            }
            switch (share) {
            case 1: DOTS(4, FEW_N, 1); break;
            case FEW_N: DOTS(4, FEW_N, FEW_N); break;
            default: DOTS(4, FEW_N, FEW_N / 2); break;
            }
            next = (const float *)(const void *)next_at(next, share * ldb);
        }
        switch (M - i) {
        case 3: DOTS(3, FEW_N, 0); break;
        case 2: DOTS(2, FEW_N, 0); break;
        case 1: DOTS(1, FEW_N, 0); break;
        default: break;
        }
    }
    for (; j < N; j++) {
        for (i = 0; i < M; i++) {
            DOTS(1, 1, 0);
        }
    }
}

/* m rows of c, n vectors of columns, the last with n_last elements; along k. */
INLINE void sums(const int m, const int n, float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                 int64_t ldb, int64_t K, bool acc)
{
    vf s[2][8];
#pragma GCC unroll 2
    for (int i = 0; i < m; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            s[i][j] = v_zero();
        }
    }
    for (int64_t k = 0; k < K; k++) {
        vf x[2];
#pragma GCC unroll 2
        for (int i = 0; i < m; i++) {
            x[i] = v_set(a[i * lda + k]);
        }
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            const vf y = v_load(b + k * ldb + j * VW);
#pragma GCC unroll 2
            for (int i = 0; i < m; i++) {
                s[i][j] = v_fma(x[i], y, s[i][j]);
            }
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < m; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n; j++) {
            float *to = c + i * ldc + j * VW;
            v_store(to, acc ? v_add(v_load(to), s[i][j]) : s[i][j]);
        }
    }
}

#define SUMS(m, n) sums(m, n, c + i * ldc + j, ldc, a + i * lda, lda, b + j, ldb, K, acc)

static void gemm_few_nn(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t M,
                        int64_t N, int64_t K, bool acc)
{
    int64_t j = 0;
    for (; j + 8 * VW <= N && M == 1; j += 8 * VW) {
        const int64_t i = 0;
        SUMS(1, 8);
    }
    for (; j + 4 * VW <= N; j += 4 * VW) {
        int64_t i = 0;
        for (; i + 2 <= M; i += 2) {
            SUMS(2, 4);
        }
        if (i < M) {
            SUMS(1, 4);
        }
    }
    for (; j + VW <= N; j += VW) {
        for (int64_t i = 0; i < M; i++) {
            SUMS(1, 1);
        }
    }
    if (j < N) {
        for (int64_t i = 0; i < M; i++) {
            vf s = v_zero();
            for (int64_t k = 0; k < K; k++) {
                s = v_fma(v_set(a[i * lda + k]), v_load_n(b + k * ldb + j, N - j), s);
            }
            float *to = c + i * ldc + j;
            v_store_n(to, acc ? v_add(v_load_n(to, N - j), s) : s, N - j);
        }
    }
}

void SIMD_NAME(mm1__kernels_gemm)(mm1_kernels *k)
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

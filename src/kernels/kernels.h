/* kernels.h - the inner loops, one table of them for each instruction set.
 *
 * A kernel is serial, knows no tensor, allocates nothing and cannot fail: the caller keeps the stated preconditions.
 * Outputs come first, then inputs (const), then sizes, then scalars.  Data is f32 (uint16_t: bf16), row-major, last
 * dimension fastest. Letters: N rows, C channels, F hidden width, V vocabulary, D head width, H heads, I images, P
 * pixels or patches. Where a kernel takes `acc`, it adds to the gradient of its input if acc is true and overwrites it
 * otherwise; gradients of parameters are always added to.  No argument may alias another unless a line says so.
 *
 * Each kernel has an obvious reference (ref_*.c, the documentation of its formula) and vector versions (simd_*.c,
 * compiled once with AVX2 and once with AVX-512 flags).  mm1_kernels_get() is the table in use. Threads: tables are
 * read-only after mm1_kernels_init(). */
#ifndef MM1_KERNELS_KERNELS_H
#define MM1_KERNELS_KERNELS_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum mm1_isa { MM1_ISA_REF, MM1_ISA_AVX2, MM1_ISA_AVX512, MM1_ISA_COUNT } mm1_isa;

typedef enum mm1_act {
    MM1_ACT_NONE,       /* x */
    MM1_ACT_RELU,       /* max(x, 0) */
    MM1_ACT_GELU,       /* x * Phi(x), by erf */
    MM1_ACT_GELU_TANH,  /* its tanh form */
    MM1_ACT_QUICK_GELU, /* x * sigmoid(1.702 x) */
    MM1_ACT_SILU,       /* x * sigmoid(x) */
    MM1_ACT_SIGMOID,    /* 1 / (1 + exp(-x)) */
    MM1_ACT_COUNT
} mm1_act;

/* In which order a row's sums are added, where kernels for few rows and for many differ. */
typedef enum mm1_rows {
    MM1_ROWS_ANY,  /* by the number of rows at hand */
    MM1_ROWS_FEW,  /* as if each row stood alone, whatever stands beside it */
    MM1_ROWS_MANY, /* as if it stood among many */
} mm1_rows;

/* Scalars of one AdamW step (Loshchilov & Hutter 2019), as PyTorch's: p *= 1 - lr * decay; p -= lr * mhat / (sqrt(vhat)
 * + eps). */
typedef struct mm1_adamw_args {
    float lr, beta1, beta2, eps, decay;
    float correction1, correction2; /* 1 - beta^t */
    float grad_scale;               /* every gradient is multiplied by this first: the clipping factor */
} mm1_adamw_args;

/* Where the float `offset` after x would be: to be asked for, not read. */
static inline uintptr_t mm1_address_after(const float *x, int64_t offset)
{
    return (uintptr_t)x + (uintptr_t)offset * sizeof *x;
}

/* Lines that tiles ask for while they multiply, so that they are in L2 when they are needed; they need not exist, hence
 * an address.  Once in 16 k: n of them, `step` bytes apart, from `at` on, which then moves on by `advance` bytes.  A
 * tile begins `panel` bytes after the one before, and so many `panels` ask (0: all). */
typedef struct mm1_gemm_ask {
    uintptr_t at;
    int64_t n, step, advance, panel, panels;
} mm1_gemm_ask;

/* What the tile of the next panel asks for. */
static inline void mm1_gemm_ask_on(mm1_gemm_ask *a)
{
    a->at += (uintptr_t)a->panel;
    a->n = --a->panels == 0 ? 0 : a->n;
}

/* What the epilogue of a strip needs besides c, at the place of c in other arrays; tiles ask for their columns of it in
 * their first `k` k, an ask for each array. */
enum { MM1_GEMM_BESIDE = 3 };
typedef struct mm1_gemm_beside {
    mm1_gemm_ask ask[MM1_GEMM_BESIDE];
    int64_t k; /* 0: there is no such array */
} mm1_gemm_beside;

/* The rows of a tile: row i at k is x[i * ld + k], or x[k * ld + i] if k_rows. */
typedef struct mm1_gemm_strip {
    const float *x;
    int64_t ld;
    bool k_rows;
    mm1_gemm_ask next;  /* of the rows that come next */
    mm1_gemm_ask later; /* of the block of b after this one; the line after each as well */
    mm1_gemm_beside beside;
} mm1_gemm_strip;

typedef struct mm1_kernels {
    mm1_isa isa;

    /* Matrix product tile on packed panels: c [m, n] (row stride ldc) = or += sum_k a[k, i] * b[k, j].
     * a [K, gemm_mr], b [K, gemm_nr], zero-padded; m <= gemm_mr, n <= gemm_nr. */
    int gemm_mr, gemm_nr;
    void (*gemm_tile)(float *c, int64_t ldc, const float *a, const float *b, int64_t K, int64_t m, int64_t n, bool acc);
    /* A row of tiles, with a where it lies, gemm_mr rows of it: c [gemm_mr, n], panel j of b at b + j * ldb.  With y,
     * each panel that is whole is packed first: b[j * ldb + k * gemm_nr + i] = y[k * ldy + j * gemm_nr + i]. */
    void (*gemm_tiles)(float *c, int64_t ldc, const mm1_gemm_strip *a, float *b, int64_t ldb, const float *y,
                       int64_t ldy, int64_t K, int64_t n, bool acc);
    /* Panels for gemm_tile out of X [n, K]: panel j holds rows j * width ..., p[(j * K + k) * width + i] = alpha * X(j
     * * width + i, k), zero-padded to whole panels.  X(i, k) = x[i * ld + k], or x[k * ld + i] if k_rows (X is stored
     * transposed). */
    void (*gemm_pack)(float *p, int width, const float *x, int64_t ld, int64_t K, int64_t n, bool k_rows, float alpha);
    /* The same out of bf16, with alpha 1. */
    void (*gemm_pack_bf16)(float *p, int width, const uint16_t *x, int64_t ld, int64_t K, int64_t n, bool k_rows);
    /* Products with few rows and b as it is, read once: c [M, N] = or += a [M, K] * b^T, b [N, K]; and with b [K, N].
     */
    void (*gemm_few_nt)(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t M,
                        int64_t N, int64_t K, bool acc);
    void (*gemm_few_nn)(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t M,
                        int64_t N, int64_t K, bool acc);

    /* Plain vectors of n elements.  y may be x in act_fwd, scale and add. */
    void (*add)(float *y, const float *a, const float *b, int64_t n); /* y = a + b */
    void (*axpy)(float *y, const float *x, int64_t n, float alpha);   /* y += alpha x */
    void (*scale)(float *y, const float *x, int64_t n, float alpha);  /* y = alpha x */
    double (*dot)(const float *a, const float *b,
                  int64_t n); /* partial sums in f32 lanes over blocks of at most 4096, then f64 */
    bool (*all_finite)(const float *x, int64_t n);
    void (*act_fwd)(float *y, const float *x, int64_t n, mm1_act act);
    void (*act_bwd)(float *dx, const float *dy, const float *x, int64_t n, mm1_act act,
                    bool acc); /* dx may be dy if !acc */
    /* Gated unit: y = act(gate) * up.  Its gradients: dgate = dy up act'(gate), dup = dy act(gate); dup may be dy. */
    void (*glu_fwd)(float *y, const float *gate, const float *up, int64_t n, mm1_act act);
    void (*glu_bwd)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n,
                    mm1_act act);

    /* y = x * rstd * w; rstd [N] is saved.  w [C]. */
    void (*rmsnorm_fwd)(float *y, float *rstd, const float *x, const float *w, int64_t N, int64_t C, float eps);
    void (*rmsnorm_bwd)(float *dx, float *dw, const float *dy, const float *x, const float *w, const float *rstd,
                        int64_t N, int64_t C, bool acc);
    /* y = (x - mean) * rstd * w + b; mean, rstd [N] are saved.  b and db may be NULL together. */
    void (*layernorm_fwd)(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b, int64_t N,
                          int64_t C, float eps);
    void (*layernorm_bwd)(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                          const float *mean, const float *rstd, int64_t N, int64_t C, bool acc);
    /* out [C] += sum over rows of x [N, C] (row stride ldx): gradient of a bias. */
    void (*sum_rows)(float *out, const float *x, int64_t ldx, int64_t N, int64_t C);

    /* Rotary positions, halves rotated against each other as in LLaMA: for i < D/2, with a = x[i], b = x[i + D/2]:
     * y[i] = a cos - b sin, y[i + D/2] = b cos + a sin.  x and y: N rows with strides ldx, ldy; H heads of D each
     * follow each other in a row.  cos_sin [n_positions, D]: D/2 cosines then D/2 sines.  position [N].  inverse turns
     * back (the backward pass).  y may be x with equal strides; acc adds to y (then y must not be x). */
    void (*rope)(float *y, int64_t ldy, const float *x, int64_t ldx, const int32_t *position, const float *cos_sin,
                 int64_t N, int64_t H, int64_t D, bool inverse, bool acc);

    /* Rows of logits [N, V] (stride ld) with targets [N] in [0, V): nll[n] = lse[n] - logits[n, target], where
     * lse = log sum exp; then logits are overwritten by the gradient scale * ((1 + 2 z lse) softmax - onehot), z =
     * z_coef: the gradient of nll + z lse^2 (z_coef 0: plain cross-entropy).  With scale 0 the logits are left alone.
     */
    void (*xent)(float *logits, int64_t ld, float *nll, float *lse, const int32_t *target, int64_t N, int64_t V,
                 float scale, float z_coef);
    /* x [n] -> softmax(x) in place; returns log sum exp. */
    float (*softmax)(float *x, int64_t n);

    /* Online-softmax steps of tiled attention on a tile s [m, n] (stride ld) of scaled scores; row r may see the
     * columns [lo[r], hi[r]) of this tile (already clamped to 0..n; lo >= hi hides the row).  Updates running max and
     * sum: m_new = max(m, rowmax), s = exp(s - m_new) with hidden columns 0, factor[r] = exp(m - m_new) (1 where
     * nothing was seen yet and nothing is), l = l * factor + rowsum. */
    void (*attn_softmax)(float *s, int64_t ld, float *row_max, float *row_sum, float *factor, const int32_t *lo,
                         const int32_t *hi, int64_t m, int64_t n);
    /* p = exp(s - lse[r]) on the visible columns, 0 elsewhere (in place in s); ds[r, j] = p * (dp[r, j] - delta[r]) in
     * place in dp. */
    void (*attn_dsoftmax)(float *s, float *dp, int64_t ld, const float *lse, const float *delta, const int32_t *lo,
                          const int32_t *hi, int64_t m, int64_t n);

    /* One step for n consecutive parameters; p, m, v are updated in place. */
    void (*adamw)(float *p, float *m, float *v, const float *g, int64_t n, const mm1_adamw_args *args);
    /* The same with moments in bf16.  p moves by the moments as they are before rounding.  These are rounded up or down
     * at random, by the halves of mm1_rng_mix(i, key), so that changes smaller than a step of bf16 are kept in the
     * mean: rounding to nearest would hold v where it is. */
    void (*adamw_bf16)(float *p, uint16_t *m, uint16_t *v, const float *g, int64_t n, const mm1_adamw_args *args,
                       const uint32_t key[2]);

    /* To bf16, to nearest even, NaN stays NaN; and back. */
    void (*to_bf16)(uint16_t *y, const float *x, int64_t n);
    void (*from_bf16)(float *y, const uint16_t *x, int64_t n);

    /* Depthwise 3 x 3 convolution, padding 1, stride 1, channels last: x, y [I, H, W, C], w [9, C] (tap = 3 * dy + dx).
     */
    void (*dwconv_fwd)(float *y, const float *x, const float *w, int64_t I, int64_t H, int64_t W, int64_t C);
    void (*dwconv_bwd_x)(float *dx, const float *dy, const float *w, int64_t I, int64_t H, int64_t W, int64_t C,
                         bool acc);
    void (*dwconv_bwd_w)(float *dw, const float *dy, const float *x, int64_t I, int64_t H, int64_t W,
                         int64_t C); /* += */
    /* Adaptive average pooling, channels last: x [I, H, W, C] -> y [I, h, w, C]; cell i averages the rows
     * floor(i H / h) .. ceil((i + 1) H / h) - 1, columns likewise; bins may overlap. */
    void (*pool_fwd)(float *y, const float *x, int64_t I, int64_t H, int64_t W, int64_t C, int64_t h, int64_t w);
    void (*pool_bwd)(float *dx, const float *dy, int64_t I, int64_t H, int64_t W, int64_t C, int64_t h, int64_t w,
                     bool acc);
    /* Squeeze-excite gate: y [I, P, C] = x * g [I, C]. */
    void (*gate_fwd)(float *y, const float *x, const float *g, int64_t I, int64_t P, int64_t C);
    void (*gate_bwd)(float *dx, float *dg, const float *dy, const float *x, const float *g, int64_t I, int64_t P,
                     int64_t C, bool acc); /* acc speaks of dx and dg */
} mm1_kernels;

/* Chooses the table: the widest that this CPU has, or the one MM1_ISA names (ref, avx2, avx512; an unknown or absent
 * one is MM1_E_CONFIG).  Also takes the scratch memory of the matrix product for mm1_threads() threads: call it after
 * mm1_threads_set().  May be called again (tests force an ISA by name; NULL reads the environment). */
MM1_NODISCARD mm1_status mm1_kernels_init(const char *isa, mm1_error *err);

/* The table in use; the reference before mm1_kernels_init(). */
const mm1_kernels *mm1_kernels_get(void);
/* A given one, NULL if this CPU lacks it. */
const mm1_kernels *mm1_kernels_for(mm1_isa isa);
const char *mm1_isa_name(mm1_isa isa);

/* Parts of the tables; called by dispatch.c alone. */
void mm1__kernels_rows_ref(mm1_kernels *k);
void mm1__kernels_spatial_ref(mm1_kernels *k);
void mm1__kernels_gemm_ref(mm1_kernels *k);
void mm1__kernels_rows_avx2(mm1_kernels *k);
void mm1__kernels_spatial_avx2(mm1_kernels *k);
void mm1__kernels_gemm_avx2(mm1_kernels *k);
void mm1__kernels_rows_avx512(mm1_kernels *k);
void mm1__kernels_spatial_avx512(mm1_kernels *k);
void mm1__kernels_gemm_avx512(mm1_kernels *k);

#endif

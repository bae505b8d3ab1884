/* gemm.h - the matrix product, threaded: all the forms that training uses behind one function.
 *
 *   c [M, N] = or += alpha * op(a) [M, K] * op(b) [K, N]
 *
 * with op(a) = a [M, K] or, if trans_a, a stored [K, M]; op(b) = b [K, N] or, if trans_b, b stored [N, K].  So
 *   forward          Y  = X W^T     trans_b               (W [N, K])
 *   input gradient   dX = dY W      neither
 *   weight gradient  dW = dY^T X    trans_a, acc
 * and the operand that training stores, weights or activations, is b: it may be in bf16.  It is widened while it is
 * packed, a block at a time; the bits of c are those of the product with the same numbers in f32 (where few rows meet a
 * K above 2^19 they may not be).  Row strides lda, ldb, ldc are in elements.  c may alias neither a nor b.  Any size
 * may be 0 (K = 0 gives zeros, or leaves c alone if acc).
 *
 * The epilogue works on each block of c while it is in cache, after the last k: c += bias [N] (row vector), then, if
 * pre is given, pre = c (stride ldc), then c = act(c), then c += residual (stride ldc; may be c itself only if !acc,
 * which then means accumulate after the activation).  All of it is optional.
 *
 * On the way back through an activation, c is the gradient of act(through) and becomes that of `through` [M, N] (stride
 * ldc): c = c * act'(through).  Gated, c and `through` are the second halves of rows gate | up, N columns each: the
 * gradient of gate goes to the N columns before c, that of up to c.
 *
 * Determinism: the order in which each element of c is summed depends on M, N, K, the form and the instruction set
 * alone, never on the number of threads; with rows FEW or MANY it does not depend on M either.  Threads: the product
 * uses the pool of base/thread.h; two threads must not call it at the same time (one scratch), but calls from inside a
 * parallel region run serially on scratch of that thread. */
#ifndef MM1_KERNELS_GEMM_H
#define MM1_KERNELS_GEMM_H

#include "kernels/kernels.h"

typedef struct mm1_gemm_args {
    int64_t M, N, K;
    const float *a;
    const float *b;
    const uint16_t *b16; /* in the place of b: the same in bf16; NULL: there is none */
    float *c;
    int64_t lda, ldb, ldc;
    bool trans_a, trans_b;
    bool acc;    /* add to c rather than overwrite it */
    float alpha; /* 1 in most uses; 0 is not special */
    const float *bias;
    mm1_act act;
    float *pre;
    const float *residual;
    const float *through; /* not together with bias, pre or residual; act names its activation */
    bool gated;
    mm1_rows rows; /* FEW: trans_a is false and alpha 1 */
} mm1_gemm_args;

void mm1_gemm(const mm1_gemm_args *args);

/* A batch of small independent products with the same sizes is a loop of serial products, one thread each: for code
 * that is already inside a parallel region, on scratch of that thread. */
void mm1_gemm_serial(const mm1_gemm_args *args);

/* Packing buffers for mm1_threads() threads; called by mm1_kernels_init(). */
MM1_NODISCARD mm1_status mm1__gemm_scratch_init(mm1_error *err);

#endif

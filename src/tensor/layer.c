/* layer.c - see layer.h. */
#include "tensor/layer.h"

#include "kernels/gemm.h"
#include "tensor/rows.h"

void mm1__layer_grads(mm1_tape *t, mm1_tensor *w, mm1_tensor *b, const float *dy, const float *x, int64_t N)
{
    const int64_t M = w->dims[0], K = w->dims[1];
    if (w->needs_grad) {
        mm1__tape_gemm(t, &(mm1_gemm_args){.M = M,
                                           .N = K,
                                           .K = N,
                                           .a = dy,
                                           .lda = M,
                                           .trans_a = true,
                                           .b = x,
                                           .ldb = K,
                                           .c = w->grad,
                                           .ldc = K,
                                           .acc = true,
                                           .alpha = 1});
    }
    if (b != NULL && b->needs_grad) {
        mm1__rows_sum(b->grad, dy, M, N, M);
    }
}

void mm1__layer_input_grad(mm1_tape *t, float *dx, const float *dy, const mm1_tensor *w, int64_t N, bool acc)
{
    const int64_t M = w->dims[0], K = w->dims[1];
    mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                       .N = K,
                                       .K = M,
                                       .a = dy,
                                       .lda = M,
                                       .b = w->data,
                                       .ldb = K,
                                       .c = dx,
                                       .ldc = K,
                                       .acc = acc,
                                       .alpha = 1});
}

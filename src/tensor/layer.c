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
                                           .b16 = mm1__tape_operand_bf16(t, x),
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

bool mm1__lora_take(mm1_tape *t, const mm1_tensor *w, int64_t N, float **low)
{
    *low = w->lora != NULL ? mm1__tape_floats(t, N * w->lora->a->dims[0]) : NULL;
    return *low != NULL || w->lora == NULL;
}

bool mm1__lora_forward(mm1_tape *t, const mm1_tensor *w, const float *x, int64_t N, float *low, float *c)
{
    const mm1_lora *l = w->lora;
    const int64_t M = w->dims[0], K = w->dims[1];
    if (l == NULL) {
        return false;
    }
    const int64_t r = l->a->dims[0];
    mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                       .N = r,
                                       .K = K,
                                       .a = x,
                                       .lda = K,
                                       .b = l->a->data,
                                       .ldb = K,
                                       .trans_b = true,
                                       .c = low,
                                       .ldc = r,
                                       .alpha = 1});
    mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                       .N = M,
                                       .K = r,
                                       .a = low,
                                       .lda = r,
                                       .b = l->b->data,
                                       .ldb = r,
                                       .trans_b = true,
                                       .c = c,
                                       .ldc = M,
                                       .alpha = l->scale});
    return true;
}

/* d low [N, r] = scale dy b, then the three products with it. */
void mm1__lora_backward(mm1_tape *t, const mm1_tensor *w, const float *dy, const float *x, const float *low, int64_t N,
                        float *dx, int64_t ldx, bool acc)
{
    const mm1_lora *l = w->lora;
    const int64_t M = w->dims[0], K = w->dims[1], r = l != NULL ? l->a->dims[0] : 0;
    float *dlow = l != NULL ? mm1__tape_scratch(t, N * r) : NULL;
    if (dlow == NULL) {
        return;
    }
    if (!t->dry) {
        mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                           .N = r,
                                           .K = M,
                                           .a = dy,
                                           .lda = M,
                                           .b = l->b->data,
                                           .ldb = r,
                                           .c = dlow,
                                           .ldc = r,
                                           .alpha = l->scale});
        mm1__layer_grads(t, l->a, NULL, dlow, x, N);
        if (l->b->needs_grad) {
            mm1__tape_gemm(t, &(mm1_gemm_args){.M = M,
                                               .N = r,
                                               .K = N,
                                               .a = dy,
                                               .lda = M,
                                               .trans_a = true,
                                               .b = low,
                                               .ldb = r,
                                               .c = l->b->grad,
                                               .ldc = r,
                                               .acc = true,
                                               .alpha = l->scale});
        }
        if (dx != NULL) {
            mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                               .N = K,
                                               .K = r,
                                               .a = dlow,
                                               .lda = r,
                                               .b = l->a->data,
                                               .ldb = K,
                                               .c = dx,
                                               .ldc = ldx,
                                               .acc = acc,
                                               .alpha = 1});
        }
    }
    mm1__tape_scratch_free(t, dlow, N * r);
}

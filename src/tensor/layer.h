/* layer.h - the backward products of a linear layer y [N, M] = x [N, K] w^T + b, for the operators that hold one. */
#ifndef MM1_TENSOR_LAYER_H
#define MM1_TENSOR_LAYER_H

#include "tensor/tensor.h"

/* Adds to the gradients of w [M, K] and b [M] (or NULL) what dy [N, M] and x give, where they are wanted.  x
 * may be what mm1__tape_operand() was told of. */
void mm1__layer_grads(mm1_tape *t, mm1_tensor *w, mm1_tensor *b, const float *dy, const float *x, int64_t N);
/* dx [N, K] = or += dy w. */
void mm1__layer_input_grad(mm1_tape *t, float *dx, const float *dy, const mm1_tensor *w, int64_t N, bool acc);

/* ---- adapters: nothing happens where w has none ---- */

/* Whether w or its adapter takes gradients. */
static inline bool mm1__weight_needs_grad(const mm1_tensor *w)
{
    return w->needs_grad || (w->lora != NULL && (w->lora->a->needs_grad || w->lora->b->needs_grad));
}
/* Room for x a^T [N, r], kept for the backward pass; *low is NULL without an adapter.  False if memory is short. */
bool mm1__lora_take(mm1_tape *t, const mm1_tensor *w, int64_t N, float **low);
/* c [N, M] = scale (x a^T) b^T; the product of x and w is then to be added.  False, and c as it was, without one. */
bool mm1__lora_forward(mm1_tape *t, const mm1_tensor *w, const float *x, int64_t N, float *low, float *c);
/* Adds to the gradients of a and b, and dx [N, K] (stride ldx; NULL: not wanted) = or += what comes through them. */
void mm1__lora_backward(mm1_tape *t, const mm1_tensor *w, const float *dy, const float *x, const float *low, int64_t N,
                        float *dx, int64_t ldx, bool acc);

#endif

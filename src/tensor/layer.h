/* layer.h - the backward products of a linear layer y [N, M] = x [N, K] w^T + b, for the operators that hold one. */
#ifndef MM1_TENSOR_LAYER_H
#define MM1_TENSOR_LAYER_H

#include "tensor/tensor.h"

/* Adds to the gradients of w [M, K] and b [M] (or NULL) what dy [N, M] and x give, where they are wanted. */
void mm1__layer_grads(mm1_tape *t, mm1_tensor *w, mm1_tensor *b, const float *dy, const float *x, int64_t N);
/* dx [N, K] = or += dy w. */
void mm1__layer_input_grad(mm1_tape *t, float *dx, const float *dy, const mm1_tensor *w, int64_t N, bool acc);

#endif

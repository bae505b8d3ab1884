/* op_linear.c - the linear layer with bias, activation and residual. */
#include "tensor/tensor.h"

#include "kernels/gemm.h"
#include "tensor/layer.h"
#include "tensor/rows.h"

typedef struct linear_node {
    mm1_node node;
    mm1_tensor *x, *w, *b, *residual;
    float *pre; /* before the activation; NULL if there is none */
    float *low; /* of the adapter; NULL if there is none */
    mm1_act act;
} linear_node;

static void linear_backward(mm1_tape *t, mm1_node *base)
{
    const linear_node *n = (const linear_node *)(const void *)base;
    const int64_t N = mm1_tensor_rows(n->x), M = n->w->dims[0];
    float *dy = base->out->grad;
    bool acc;

    const bool passes_on = n->residual != NULL && n->residual->needs_grad;
    if (passes_on && n->pre != NULL) {
        float *dr = mm1__tape_grad(t, n->residual, &acc);
        if (dr != NULL && !t->dry) {
            mm1__rows_copy_or_add(dr, dy, N * M, acc);
        }
    }
    if (n->pre != NULL && !t->dry) {
        mm1__rows_act_bwd(dy, dy, n->pre, N * M, n->act, false); /* in place: dy is not needed any more */
    }
    float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : NULL;
    if (dx != NULL && !t->dry) {
        mm1__layer_input_grad(t, dx, dy, n->w, N, acc);
    }
    if (!t->dry) {
        mm1__layer_grads(t, n->w, n->b, dy, n->x->data, N);
    }
    mm1__lora_backward(t, n->w, dy, n->x->data, n->low, N, dx, n->w->dims[1], true);
    if (passes_on && n->pre == NULL) {
        mm1__tape_pass_grad(t, base->out, n->residual);
    }
}

mm1_tensor *mm1_op_linear(mm1_tape *t, mm1_tensor *x, mm1_tensor *w, mm1_tensor *b, mm1_act act, mm1_tensor *residual)
{
    if (x == NULL || w == NULL) {
        return NULL;
    }
    const int64_t N = mm1_tensor_rows(x), K = mm1_tensor_cols(x), M = w->dims[0];
    if (w->rank != 2 || w->dims[1] != K || (b != NULL && mm1_tensor_size(b) != M) ||
        (residual != NULL && mm1_tensor_size(residual) != N * M)) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "linear: rows of %lld against weights [%lld, %lld]", (long long)K,
                             (long long)w->dims[0], (long long)w->dims[1]);
    }
    const bool needs = x->needs_grad || mm1__weight_needs_grad(w) || (b != NULL && b->needs_grad) ||
                       (residual != NULL && residual->needs_grad);
    float *low;
    const bool has_room = mm1__lora_take(t, w, N, &low);
    mm1_tensor *y = mm1__tape_tensor(t, 2, (int64_t[]){N, M}, needs);
    if (y == NULL || !has_room) {
        return NULL;
    }
    float *pre = NULL;
    if (y->needs_grad && act != MM1_ACT_NONE && (pre = mm1__tape_floats(t, N * M)) == NULL) {
        return NULL;
    }
    if (!t->dry) {
        const bool is_begun = mm1__lora_forward(t, w, x->data, N, low, y->data);
        mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                           .N = M,
                                           .K = K,
                                           .acc = is_begun,
                                           .a = x->data,
                                           .lda = K,
                                           .b = w->data,
                                           .ldb = K,
                                           .trans_b = true,
                                           .c = y->data,
                                           .ldc = M,
                                           .alpha = 1,
                                           .bias = b != NULL ? b->data : NULL,
                                           .act = act,
                                           .pre = pre,
                                           .residual = residual != NULL ? residual->data : NULL});
    }
    mm1__tape_done(t, "linear", 0, 0);
    if (y->needs_grad) {
        linear_node *n = mm1__tape_node(t, sizeof *n, y, linear_backward);
        if (n == NULL) {
            return NULL;
        }
        n->x = x;
        n->w = w;
        n->b = b;
        n->residual = residual;
        n->pre = pre;
        n->low = low;
        n->act = act;
    }
    return y;
}

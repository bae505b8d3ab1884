/* op_mlp.c - two linear layers with an activation or a gated unit between them.
 *
 * One operator, so that the hidden gradient is taken through the activation in the epilogue of the product that makes
 * it, and is never in memory by itself. */
#include "tensor/tensor.h"

#include "kernels/gemm.h"
#include "tensor/layer.h"
#include "tensor/rows.h"

typedef struct mlp_node {
    mm1_node node;
    mm1_mlp mlp;
    mm1_tensor *x, *residual;
    float *u;                 /* [N, n_up] before the activation */
    float *hidden;            /* [N, F] */
    float *up_low, *down_low; /* of adapters; NULL where there is none */
} mlp_node;

static bool wanted(const mm1_tensor *x)
{
    return x != NULL && x->needs_grad;
}

static void mlp_backward(mm1_tape *t, mm1_node *base)
{
    const mlp_node *n = (const mlp_node *)(const void *)base;
    const mm1_mlp *m = &n->mlp;
    const int64_t N = mm1_tensor_rows(n->x), n_up = m->up_w->dims[0];
    const int64_t M = m->down_w->dims[0], F = m->down_w->dims[1];
    const float *dy = base->out->grad;
    if (!t->dry) {
        mm1__layer_grads(t, m->down_w, m->down_b, dy, n->hidden, N);
    }
    const bool goes_on = n->x->needs_grad || mm1__weight_needs_grad(m->up_w) || wanted(m->up_b);
    if (!goes_on) {
        mm1__lora_backward(t, m->down_w, dy, n->hidden, n->down_low, N, NULL, 0, false);
    } else {
        bool acc;
        float *du = mm1__tape_scratch(t, N * n_up), *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : NULL;
        if (du == NULL || (n->x->needs_grad && dx == NULL)) {
            return;
        }
        const int64_t second = m->gated ? F : 0;
        mm1__lora_backward(t, m->down_w, dy, n->hidden, n->down_low, N, du + second, n_up, false);
        if (!t->dry) {
            mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                               .N = F,
                                               .K = M,
                                               .acc = m->down_w->lora != NULL,
                                               .a = dy,
                                               .lda = M,
                                               .b = m->down_w->data,
                                               .ldb = F,
                                               .c = du + second,
                                               .ldc = n_up,
                                               .alpha = 1,
                                               .act = m->act,
                                               .through = n->u + second,
                                               .gated = m->gated});
            mm1__layer_grads(t, m->up_w, m->up_b, du, n->x->data, N);
        }
        if (dx != NULL && !t->dry) {
            mm1__layer_input_grad(t, dx, du, m->up_w, N, acc);
        }
        mm1__lora_backward(t, m->up_w, du, n->x->data, n->up_low, N, dx, m->up_w->dims[1], true);
        mm1__tape_scratch_free(t, du, N * n_up);
    }
    if (wanted(n->residual)) {
        mm1__tape_pass_grad(t, base->out, n->residual);
    }
}

mm1_tensor *mm1_op_mlp(mm1_tape *t, mm1_tensor *x, const mm1_mlp *mlp, mm1_tensor *residual)
{
    if (x == NULL || mlp->up_w == NULL || mlp->down_w == NULL) {
        return NULL;
    }
    const int64_t N = mm1_tensor_rows(x), K = mm1_tensor_cols(x), n_up = mlp->up_w->dims[0];
    const int64_t M = mlp->down_w->dims[0], F = mlp->down_w->dims[1];
    if (mlp->up_w->rank != 2 || mlp->down_w->rank != 2 || mlp->up_w->dims[1] != K || n_up != (mlp->gated ? 2 * F : F) ||
        (mlp->up_b != NULL && mm1_tensor_size(mlp->up_b) != n_up) ||
        (mlp->down_b != NULL && mm1_tensor_size(mlp->down_b) != M) ||
        (residual != NULL && mm1_tensor_size(residual) != N * M)) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "mlp: rows of %lld against weights [%lld, %lld] and [%lld, %lld]",
                             (long long)K, (long long)n_up, (long long)mlp->up_w->dims[1], (long long)M, (long long)F);
    }
    const bool needs = x->needs_grad || mm1__weight_needs_grad(mlp->up_w) || mm1__weight_needs_grad(mlp->down_w) ||
                       wanted(mlp->up_b) || wanted(mlp->down_b) || wanted(residual);
    /* The result comes last in memory: a segment moves it out and gives its end back (segment.c). */
    float *u = mm1__tape_floats(t, N * n_up), *hidden = mm1__tape_floats(t, N * F), *up_low, *down_low;
    const bool has_room = mm1__lora_take(t, mlp->up_w, N, &up_low) && mm1__lora_take(t, mlp->down_w, N, &down_low);
    mm1_tensor *y = mm1__tape_tensor(t, 2, (int64_t[]){N, M}, needs);
    if (y == NULL || u == NULL || hidden == NULL || !has_room) {
        return NULL;
    }
    mm1__tape_operand(t, hidden, N * F);
    if (!t->dry) {
        float *up = mlp->gated ? u : hidden;
        const bool is_begun = mm1__lora_forward(t, mlp->up_w, x->data, N, up_low, up);
        mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                           .N = n_up,
                                           .K = K,
                                           .acc = is_begun,
                                           .a = x->data,
                                           .lda = K,
                                           .b = mlp->up_w->data,
                                           .ldb = K,
                                           .trans_b = true,
                                           .c = up,
                                           .ldc = n_up,
                                           .alpha = 1,
                                           .bias = mlp->up_b != NULL ? mlp->up_b->data : NULL,
                                           .act = mlp->gated ? MM1_ACT_NONE : mlp->act,
                                           .pre = mlp->gated ? NULL : u});
        if (mlp->gated) {
            mm1__rows_glu_fwd(hidden, u, N, F, mlp->act);
        }
        const bool is_begun_too = mm1__lora_forward(t, mlp->down_w, hidden, N, down_low, y->data);
        mm1__tape_gemm(t, &(mm1_gemm_args){.M = N,
                                           .N = M,
                                           .K = F,
                                           .acc = is_begun_too,
                                           .a = hidden,
                                           .lda = F,
                                           .b = mlp->down_w->data,
                                           .ldb = F,
                                           .trans_b = true,
                                           .c = y->data,
                                           .ldc = M,
                                           .alpha = 1,
                                           .bias = mlp->down_b != NULL ? mlp->down_b->data : NULL,
                                           .residual = residual != NULL ? residual->data : NULL});
    }
    mm1__tape_done(t, "mlp", 0, 0);
    if (y->needs_grad) {
        mlp_node *n = mm1__tape_node(t, sizeof *n, y, mlp_backward);
        if (n == NULL) {
            return NULL;
        }
        n->mlp = *mlp;
        n->x = x;
        n->residual = residual;
        n->u = u;
        n->hidden = hidden;
        n->up_low = up_low;
        n->down_low = down_low;
    }
    return y;
}

/* op_moe.c - a mixture of experts: each row goes through the few MLPs that its router chooses.
 *
 * Expert by expert: its rows are gathered, go through its two products, and are added to the result times their gates.
 * A row meets an expert once at most, so threads share the rows of an expert, and the order in which experts are added
 * to a row is theirs.  The buffer between memory and products holds one expert's rows and stays in cache.
 *
 * The gradient of a gate needs the expert's output y_e: dgate = <dy, y_e>.  That is <dy down, hidden>, and both are at
 * hand; in a gated unit, where hidden = act(gate) * up, it is <d up, up> as well, so that the hidden gradient still
 * goes through the activation in the epilogue of its product. */
#include "tensor/router.h"

#include "base/thread.h"
#include "kernels/gemm.h"
#include "tensor/layer.h"
#include "tensor/rows.h"
#include <string.h>

typedef struct moe_node {
    mm1_node node;
    mm1_moe moe;
    mm1_route route;
    mm1_tensor *x, *residual;
    float *u;      /* [first[E], n_up] before the activation, in the order of the route */
    float *hidden; /* [first[E], F] */
} moe_node;

static bool wanted(const mm1_tensor *x)
{
    return x != NULL && x->needs_grad;
}

/* One expert's matrix out of a stack [E, rows, cols]. */
static mm1_tensor slice(const mm1_tensor *stack, int64_t e)
{
    const int64_t n = stack->dims[1] * stack->dims[2];
    return (mm1_tensor){.data = stack->data + e * n,
                        .grad = stack->grad != NULL ? stack->grad + e * n : NULL,
                        .dims = {stack->dims[1], stack->dims[2]},
                        .rank = 2,
                        .needs_grad = stack->needs_grad,
                        .is_param = stack->is_param};
}

/* The rows of one expert, between their places among all rows and beside each other. */
typedef struct rows_job {
    float *to;
    const float *from;
    int64_t C;
    const mm1_route *r;
    const int32_t *pair; /* of each row */
    bool weighted;
} rows_job;

static void for_rows(mm1_range_fn *fn, int64_t e, rows_job j)
{
    j.pair = j.r->order + j.r->first[e];
    mm1_parallel_for(mm1__route_count(j.r, e), mm1__rows_chunk(j.C), fn, &j);
}

static void gather_range(void *ctx, int64_t begin, int64_t end)
{
    const rows_job *j = ctx;
    for (int64_t i = begin; i < end; i++) {
        memcpy(j->to + i * j->C, j->from + j->pair[i] / j->r->top_k * j->C, (size_t)j->C * sizeof *j->to);
    }
}

/* to [n, C] = the rows of x [N, C] that expert e takes. */
static void gather(float *to, const float *x, int64_t C, const mm1_route *r, int64_t e)
{
    for_rows(gather_range, e, (rows_job){.to = to, .from = x, .C = C, .r = r});
}

static void scatter_range(void *ctx, int64_t begin, int64_t end)
{
    const rows_job *j = ctx;
    const mm1_kernels *k = mm1_kernels_get();
    for (int64_t i = begin; i < end; i++) {
        k->axpy(j->to + j->pair[i] / j->r->top_k * j->C, j->from + i * j->C, j->C,
                j->weighted ? j->r->gate[j->pair[i]] : 1.0f);
    }
}

/* y [N, C] += from [n, C] at the rows of expert e, times their gates if weighted. */
static void scatter(float *y, const float *from, int64_t C, const mm1_route *r, int64_t e, bool weighted)
{
    for_rows(scatter_range, e, (rows_job){.to = y, .from = from, .C = C, .r = r, .weighted = weighted});
}

static void scale_range(void *ctx, int64_t begin, int64_t end)
{
    const rows_job *j = ctx;
    const mm1_kernels *k = mm1_kernels_get();
    for (int64_t i = begin; i < end; i++) {
        k->scale(j->to + i * j->C, j->to + i * j->C, j->C, j->r->gate[j->pair[i]]);
    }
}

static void scale_rows(float *x, int64_t C, const mm1_route *r, int64_t e)
{
    for_rows(scale_range, e, (rows_job){.to = x, .C = C, .r = r});
}

/* ---- backward ---- */

typedef struct gates_job {
    float *du, *dgate;
    const moe_node *n;
    const float *u, *hidden;
    const int32_t *pair; /* of each row */
} gates_job;

static void through_gates_range(void *ctx, int64_t begin, int64_t end)
{
    const gates_job *j = ctx;
    const mm1_kernels *k = mm1_kernels_get();
    const mm1_moe *m = &j->n->moe;
    const int64_t n_up = m->up_w->dims[1], F = m->down_w->dims[2];
    for (int64_t i = begin; i < end; i++) {
        float *d = j->du + i * n_up, *dgate = &j->dgate[j->pair[i]];
        const float *u = j->u + i * n_up;
        if (m->gated) {
            *dgate = (float)k->dot(d + F, u + F, F);
        } else {
            *dgate = (float)k->dot(d, j->hidden + i * F, F);
            k->act_bwd(d, d, u, F, m->act, false);
        }
        k->scale(d, d, n_up, j->n->route.gate[j->pair[i]]);
    }
}

/* du [n, n_up] from the gathered dy, not yet times the gates, to that of the loss; and what it says of the gates. */
static void through_gates(float *du, float *dgate, const moe_node *n, const float *u, const float *hidden, int64_t e)
{
    gates_job job = {du, dgate, n, u, hidden, n->route.order + n->route.first[e]};
    mm1_parallel_for(mm1__route_count(&n->route, e), mm1__rows_chunk(n->moe.up_w->dims[1]), through_gates_range, &job);
}

/* side [N, max(K, M)] and du [N, n_up] are scratch; dx, du and dgate are NULL where they are not wanted. */
static void expert_backward(mm1_tape *t, const moe_node *n, const float *dy, int64_t e, float *side, float *du,
                            float *dgate, float *dx)
{
    const mm1_moe *m = &n->moe;
    mm1_tensor up = slice(m->up_w, e), down = slice(m->down_w, e);
    const int64_t n_rows = mm1__route_count(&n->route, e), at = n->route.first[e];
    const int64_t n_up = up.dims[0], K = up.dims[1], M = down.dims[0], F = down.dims[1];
    const float *u = n->u + at * n_up, *hidden = n->hidden + at * F;
    const int64_t second = m->gated ? F : 0;
    if (n_rows == 0) {
        return;
    }
    gather(side, dy, M, &n->route, e);
    if (du != NULL) {
        mm1__tape_gemm(t, &(mm1_gemm_args){.M = n_rows,
                                           .N = F,
                                           .K = M,
                                           .a = side,
                                           .lda = M,
                                           .b = down.data,
                                           .ldb = F,
                                           .c = du + second,
                                           .ldc = n_up,
                                           .alpha = 1,
                                           .act = m->gated ? m->act : MM1_ACT_NONE,
                                           .through = m->gated ? u + second : NULL,
                                           .gated = m->gated});
        through_gates(du, dgate, n, u, hidden, e);
    }
    if (down.needs_grad) {
        scale_rows(side, M, &n->route, e);
        mm1__layer_grads(t, &down, NULL, side, hidden, n_rows);
    }
    if (up.needs_grad) {
        gather(side, n->x->data, K, &n->route, e);
        mm1__layer_grads(t, &up, NULL, du, side, n_rows);
    }
    if (dx != NULL) {
        mm1__layer_input_grad(t, side, du, &up, n_rows, false);
        scatter(dx, side, K, &n->route, e, false);
    }
}

static void moe_backward(mm1_tape *t, mm1_node *base)
{
    const moe_node *n = (const moe_node *)(const void *)base;
    const mm1_moe *m = &n->moe;
    const int64_t N = mm1_tensor_rows(n->x), E = m->up_w->dims[0], n_up = m->up_w->dims[1];
    const int64_t K = m->up_w->dims[2], M = m->down_w->dims[1], n_side = N * (K > M ? K : M);
    const bool gates = n->x->needs_grad || m->router_w->needs_grad, inner = gates || m->up_w->needs_grad;
    bool acc = false;
    float *dx = n->x->needs_grad ? mm1__tape_grad(t, n->x, &acc) : NULL, *side = mm1__tape_scratch(t, n_side);
    float *du = inner ? mm1__tape_scratch(t, N * n_up) : NULL,
          *dgate = inner ? mm1__tape_scratch(t, N * m->top_k) : NULL;
    float *dlogits = gates ? mm1__tape_scratch(t, N * E) : NULL;
    if (side == NULL || (n->x->needs_grad && dx == NULL) || (inner && (du == NULL || dgate == NULL)) ||
        (gates && dlogits == NULL)) {
        return;
    }
    if (!t->dry) {
        if (dx != NULL && !acc) {
            mm1__rows_zero(dx, N * K);
        }
        if (inner) {
            mm1__rows_zero(dgate, N * m->top_k);
        }
        for (int64_t e = 0; e < E; e++) {
            expert_backward(t, n, base->out->grad, e, side, du, dgate, dx);
        }
        if (gates) {
            mm1__route_backward(t, &n->route, n->x, m, dgate, dx, dlogits);
        }
    }
    mm1__tape_scratch_free(t, dlogits, N * E);
    mm1__tape_scratch_free(t, dgate, N * m->top_k);
    mm1__tape_scratch_free(t, du, N * n_up);
    mm1__tape_scratch_free(t, side, n_side);
    if (wanted(n->residual)) {
        mm1__tape_pass_grad(t, base->out, n->residual);
    }
}

/* ---- forward ---- */

static bool check(mm1_tape *t, const mm1_tensor *x, const mm1_moe *m, const mm1_tensor *residual)
{
    const mm1_tensor *up = m->up_w, *down = m->down_w;
    const int64_t E = m->router_w->dims[0], K = mm1_tensor_cols(x);
    if (m->router_w->rank != 2 || up->rank != 3 || down->rank != 3 || E < 1 || E > MM1_MAX_EXPERTS ||
        m->router_w->dims[1] != K || up->dims[0] != E || down->dims[0] != E || up->dims[2] != K ||
        up->dims[1] != (m->gated ? 2 : 1) * down->dims[2] ||
        (residual != NULL && mm1_tensor_size(residual) != mm1_tensor_rows(x) * down->dims[1])) {
        mm1_tape_fail(t, MM1_E_SHAPE,
                      "moe: rows of %lld against %lld routes, and weights [%lld, %lld, %lld] and [%lld, %lld, %lld]",
                      (long long)K, (long long)E, (long long)up->dims[0], (long long)up->dims[1],
                      (long long)up->dims[2], (long long)down->dims[0], (long long)down->dims[1],
                      (long long)down->dims[2]);
        return false;
    }
    if (m->top_k < 1 || m->top_k > E || mm1_tensor_rows(x) > INT32_MAX / m->top_k) {
        mm1_tape_fail(t, MM1_E_SHAPE, "moe: %lld of %lld experts for %lld rows", (long long)m->top_k, (long long)E,
                      (long long)mm1_tensor_rows(x));
        return false;
    }
    if (t->routing != NULL && (m->layer < 0 || m->layer >= t->routing->n_layers || t->routing->n_experts != E)) {
        mm1_tape_fail(t, MM1_E_STATE, "moe: layer %lld of %lld experts is none of the step's", (long long)m->layer,
                      (long long)E);
        return false;
    }
    return true;
}

/* u and hidden are those of this expert. */
static void expert_forward(mm1_tape *t, float *y, const mm1_tensor *x, const mm1_moe *m, const mm1_route *r, int64_t e,
                           float *u, float *hidden, float *side)
{
    const mm1_tensor up = slice(m->up_w, e), down = slice(m->down_w, e);
    const int64_t n = mm1__route_count(r, e), n_up = up.dims[0], K = up.dims[1], M = down.dims[0], F = down.dims[1];
    if (n == 0) {
        return;
    }
    gather(side, x->data, K, r, e);
    mm1__tape_gemm(t, &(mm1_gemm_args){.M = n,
                                       .N = n_up,
                                       .K = K,
                                       .a = side,
                                       .lda = K,
                                       .b = up.data,
                                       .ldb = K,
                                       .trans_b = true,
                                       .c = m->gated ? u : hidden,
                                       .ldc = n_up,
                                       .alpha = 1,
                                       .act = m->gated ? MM1_ACT_NONE : m->act,
                                       .pre = m->gated ? NULL : u});
    if (m->gated) {
        mm1__rows_glu_fwd(hidden, u, n, F, m->act);
    }
    mm1__tape_gemm(t, &(mm1_gemm_args){.M = n,
                                       .N = M,
                                       .K = F,
                                       .a = hidden,
                                       .lda = F,
                                       .b = down.data,
                                       .ldb = F,
                                       .trans_b = true,
                                       .c = side,
                                       .ldc = M,
                                       .alpha = 1});
    scatter(y, side, M, r, e, true);
}

mm1_tensor *mm1_op_moe(mm1_tape *t, mm1_tensor *x, const mm1_moe *moe, mm1_tensor *residual)
{
    if (x == NULL || moe->router_w == NULL || moe->up_w == NULL || moe->down_w == NULL || !check(t, x, moe, residual)) {
        return NULL;
    }
    const int64_t N = mm1_tensor_rows(x), E = moe->up_w->dims[0], n_up = moe->up_w->dims[1];
    const int64_t K = moe->up_w->dims[2], M = moe->down_w->dims[1], F = moe->down_w->dims[2];
    const int64_t n_side = N * (K > M ? K : M);
    const bool needs = t->recording && (x->needs_grad || moe->router_w->needs_grad || moe->up_w->needs_grad ||
                                        moe->down_w->needs_grad || wanted(residual));
    /* What is not kept for the backward pass needs room for one expert's rows only. */
    const int64_t n_rows = needs ? N * moe->top_k : N;
    mm1_route route;
    if (!mm1__route_alloc(t, &route, x, moe)) {
        return NULL;
    }
    /* The result comes last in memory: a segment moves it out and gives its end back (segment.c). */
    float *u = mm1__tape_floats(t, n_rows * n_up), *hidden = mm1__tape_floats(t, n_rows * F);
    mm1_tensor *y = mm1__tape_tensor(t, 2, (int64_t[]){N, M}, needs);
    float *side = mm1__tape_scratch(t, n_side);
    if (y == NULL || u == NULL || hidden == NULL || side == NULL) {
        return NULL;
    }
    if (!t->dry) {
        mm1__route(t, &route, x, moe);
        if (residual != NULL) {
            mm1__rows_copy_or_add(y->data, residual->data, N * M, false);
        } else {
            mm1__rows_zero(y->data, N * M);
        }
        for (int64_t e = 0; e < E; e++) {
            const int64_t at = needs ? route.first[e] : 0;
            expert_forward(t, y->data, x, moe, &route, e, u + at * n_up, hidden + at * F, side);
        }
    }
    mm1__tape_scratch_free(t, side, n_side);
    mm1__tape_done(t, "experts", 0, 0);
    if (y->needs_grad) {
        moe_node *n = mm1__tape_node(t, sizeof *n, y, moe_backward);
        if (n == NULL) {
            return NULL;
        }
        n->moe = *moe;
        n->route = route;
        n->x = x;
        n->residual = residual;
        n->u = u;
        n->hidden = hidden;
    }
    return y;
}

/* op_attention.c - attention with rotary positions, for training and with a cache for generation. */
#include "tensor/tensor.h"

#include "kernels/attention.h"
#include "tensor/rows.h"
#include <math.h>
#include <string.h>

typedef struct attention_node {
    mm1_node node;
    mm1_tensor *q, *k, *v;
    mm1_attention_spec spec;
    mm1_attention_args args; /* q and k after rotation */
    float *lse;
} attention_node;

void mm1_rope_table(float *table, int64_t n, int64_t D, double theta)
{
    for (int64_t i = 0; i < D / 2; i++) {
        const double rate = pow(theta, -2.0 * (double)i / (double)D);
        for (int64_t pos = 0; pos < n; pos++) {
            table[pos * D + i] = (float)cos((double)pos * rate);
            table[pos * D + D / 2 + i] = (float)sin((double)pos * rate);
        }
    }
}

static void rope(float *y, int64_t ldy, const float *x, int64_t ldx, const mm1_attention_spec *s, int64_t N, int64_t H,
                 bool inverse, bool acc)
{
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t chunk = mm1__rows_chunk(H * s->D);
#pragma omp parallel for schedule(static) if (N > chunk)
    for (int64_t begin = 0; begin < N; begin += chunk) {
        k->rope(y + begin * ldy, ldy, x + begin * ldx, ldx, s->position + begin, s->cos_sin,
                N - begin < chunk ? N - begin : chunk, H, s->D, inverse, acc);
    }
}

/* dst columns [col, col + width) of rows of ld = or += src [N, width]. */
static void put_columns(float *dst, int64_t ld, const float *src, int64_t N, int64_t width, bool acc)
{
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t chunk = mm1__rows_chunk(width);
#pragma omp parallel for schedule(static) if (N > chunk)
    for (int64_t begin = 0; begin < N; begin += chunk) {
        const int64_t end = N - begin < chunk ? N : begin + chunk;
        for (int64_t i = begin; i < end; i++) {
            if (acc) {
                k->axpy(dst + i * ld, src + i * width, width, 1.0f);
            } else {
                memcpy(dst + i * ld, src + i * width, (size_t)width * sizeof *dst);
            }
        }
    }
}

/* The columns of a tensor that no head covers must read as zero when the gradient buffer is fresh. */
static float *grad_for_columns(mm1_tape *t, mm1_tensor *x, int64_t width, bool *acc)
{
    float *d = mm1__tape_grad(t, x, acc);
    if (d != NULL && !*acc && width < mm1_tensor_cols(x)) {
        if (!t->dry) {
            mm1__rows_zero(d, mm1_tensor_size(x));
        }
        *acc = true;
    }
    return d;
}

/* Passes the gradient of one input on: turned back if it was rotated. */
static void give_back(mm1_tape *t, const attention_node *n, mm1_tensor *x, int64_t col, const float *src, int64_t rows,
                      int64_t heads, bool rotated, bool acc_forced)
{
    const int64_t width = heads * n->spec.D;
    bool acc;
    float *d = grad_for_columns(t, x, acc_forced ? mm1_tensor_cols(x) : width, &acc);
    acc = acc && !acc_forced;
    if (d == NULL || t->dry) {
        return;
    }
    if (rotated) {
        rope(d + col, mm1_tensor_cols(x), src, width, &n->spec, rows, heads, true, acc);
    } else {
        put_columns(d + col, mm1_tensor_cols(x), src, rows, width, acc);
    }
}

static void attention_backward(mm1_tape *t, mm1_node *base)
{
    const attention_node *n = (const attention_node *)(const void *)base;
    const mm1_attention_spec *s = &n->spec;
    const int64_t nq = s->B * s->T, nk = s->B * s->S, wq = s->H * s->D, wk = s->Hkv * s->D;
    const int64_t scratch_len = (int64_t)(mm1_attention_scratch_bytes(&n->args) / sizeof(float)) + 16;
    const bool rotated = s->cos_sin != NULL;
    float *dq = mm1__tape_scratch(t, nq * wq), *dk = mm1__tape_scratch(t, nk * wk), *dv = mm1__tape_scratch(t, nk * wk);
    float *scratch = mm1__tape_scratch(t, scratch_len);
    if (dq == NULL || dk == NULL || dv == NULL || scratch == NULL) {
        return;
    }
    if (!t->dry) {
        /* The kernel writes gradients with the strides of its inputs; here they are dense. */
        mm1_attention_args args = n->args;
        mm1_attention_bwd(dq, dk, dv, base->out->grad, base->out->data, n->lse, &args, scratch);
    }
    /* A fused [q | k | v] tensor is covered whole by its three parts: no zeroing, no adding. */
    const bool fused = n->q == n->k && n->k == n->v && n->q->grad == NULL && mm1_tensor_cols(n->q) == wq + 2 * wk;
    if (n->q->needs_grad) {
        give_back(t, n, n->q, s->q_col, dq, nq, s->H, rotated, fused);
    }
    if (n->k->needs_grad) {
        give_back(t, n, n->k, s->k_col, dk, nk, s->Hkv, rotated, fused);
    }
    if (n->v->needs_grad) {
        give_back(t, n, n->v, s->v_col, dv, nk, s->Hkv, false, fused);
    }
    mm1__tape_scratch_free(t, scratch, scratch_len);
    mm1__tape_scratch_free(t, dv, nk * wk);
    mm1__tape_scratch_free(t, dk, nk * wk);
    mm1__tape_scratch_free(t, dq, nq * wq);
}

static bool spec_fits(const mm1_tensor *x, int64_t rows, int64_t col, int64_t width)
{
    return mm1_tensor_rows(x) == rows && col >= 0 && col + width <= mm1_tensor_cols(x);
}

mm1_tensor *mm1_op_attention(mm1_tape *t, mm1_tensor *q, mm1_tensor *k, mm1_tensor *v, const mm1_attention_spec *spec)
{
    if (q == NULL || k == NULL || v == NULL) {
        return NULL;
    }
    const mm1_attention_spec *s = spec;
    const int64_t nq = s->B * s->T, nk = s->B * s->S, wq = s->H * s->D, wk = s->Hkv * s->D;
    if (!spec_fits(q, nq, s->q_col, wq) || !spec_fits(k, nk, s->k_col, wk) || !spec_fits(v, nk, s->v_col, wk) ||
        s->H % s->Hkv != 0) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "attention: %lld x %lld heads of %lld do not fit the rows given",
                             (long long)s->H, (long long)s->Hkv, (long long)s->D);
    }
    mm1_tensor *o = mm1__tape_tensor(t, 2, (int64_t[]){nq, wq}, q->needs_grad || k->needs_grad || v->needs_grad);
    float *lse = mm1__tape_floats(t, nq * s->H);
    /* q, k and v are copied dense: the kernel then writes dense gradients, and the rotation needs a copy anyway. */
    float *dense_q = mm1__tape_floats(t, nq * wq), *dense_k = mm1__tape_floats(t, nk * wk);
    float *dense_v = mm1__tape_floats(t, nk * wk);
    if (o == NULL || lse == NULL || dense_q == NULL || dense_k == NULL || dense_v == NULL) {
        return NULL;
    }
    const mm1_attention_args args = {.B = s->B,
                                     .T = s->T,
                                     .S = s->S,
                                     .H = s->H,
                                     .Hkv = s->Hkv,
                                     .D = s->D,
                                     .q = dense_q,
                                     .k = dense_k,
                                     .v = dense_v,
                                     .ldq = wq,
                                     .ldk = wk,
                                     .ldv = wk,
                                     .ldo = wq,
                                     .lo = s->lo,
                                     .hi = s->hi,
                                     .scale = 1.0f / sqrtf((float)s->D)};
    const int64_t scratch_len = (int64_t)(mm1_attention_scratch_bytes(&args) / sizeof(float)) + 16;
    float *scratch = mm1__tape_scratch(t, scratch_len);
    if (scratch == NULL) {
        return NULL;
    }
    if (!t->dry) {
        const int64_t ldq = mm1_tensor_cols(q), ldk = mm1_tensor_cols(k), ldv = mm1_tensor_cols(v);
        if (s->cos_sin != NULL) {
            rope(dense_q, wq, q->data + s->q_col, ldq, s, nq, s->H, false, false);
            rope(dense_k, wk, k->data + s->k_col, ldk, s, nk, s->Hkv, false, false);
        } else {
            mm1__rows_take_columns(dense_q, q->data + s->q_col, ldq, nq, wq);
            mm1__rows_take_columns(dense_k, k->data + s->k_col, ldk, nk, wk);
        }
        mm1__rows_take_columns(dense_v, v->data + s->v_col, ldv, nk, wk);
        mm1_attention_fwd(o->data, lse, &args, scratch);
    }
    mm1__tape_scratch_free(t, scratch, scratch_len);
    if (o->needs_grad) {
        attention_node *n = mm1__tape_node(t, sizeof *n, o, attention_backward);
        if (n == NULL) {
            return NULL;
        }
        n->q = q;
        n->k = k;
        n->v = v;
        n->spec = *spec;
        n->args = args;
        n->lse = lse;
    }
    return o;
}

mm1_tensor *mm1_op_attention_cached(mm1_tape *t, mm1_tensor *qkv, const mm1_attention_spec *spec, mm1_kv_cache *cache)
{
    if (qkv == NULL) {
        return NULL;
    }
    const mm1_attention_spec *s = spec;
    const int64_t T = s->T, wq = s->H * s->D, wk = s->Hkv * s->D, ld = mm1_tensor_cols(qkv);
    if (s->B != 1 || T > cache->n_max - cache->n || !spec_fits(qkv, T, s->q_col, wq)) {
        return mm1_tape_fail(t, MM1_E_LIMIT, "the context is full: %lld positions and %lld more, with room for %lld",
                             (long long)cache->n, (long long)T, (long long)cache->n_max);
    }
    mm1_tensor *o = mm1__tape_tensor(t, 2, (int64_t[]){T, wq}, false);
    float *lse = mm1__tape_floats(t, T * s->H), *q = mm1__tape_floats(t, T * wq);
    if (o == NULL || lse == NULL || q == NULL) {
        return NULL;
    }
    if (!t->dry) {
        float *new_k = cache->k + cache->n * wk, *new_v = cache->v + cache->n * wk;
        if (s->cos_sin != NULL) {
            rope(q, wq, qkv->data + s->q_col, ld, s, T, s->H, false, false);
            rope(new_k, wk, qkv->data + s->k_col, ld, s, T, s->Hkv, false, false);
        } else {
            mm1__rows_take_columns(q, qkv->data + s->q_col, ld, T, wq);
            mm1__rows_take_columns(new_k, qkv->data + s->k_col, ld, T, wk);
        }
        mm1__rows_take_columns(new_v, qkv->data + s->v_col, ld, T, wk);
    }
    cache->n += T;

    const mm1_attention_args args = {.B = 1,
                                     .T = T,
                                     .S = cache->n,
                                     .H = s->H,
                                     .Hkv = s->Hkv,
                                     .D = s->D,
                                     .q = q,
                                     .k = cache->k,
                                     .v = cache->v,
                                     .ldq = wq,
                                     .ldk = wk,
                                     .ldv = wk,
                                     .ldo = wq,
                                     .lo = s->lo,
                                     .hi = s->hi,
                                     .scale = 1.0f / sqrtf((float)s->D)};
    float *scratch = mm1__tape_floats(t, (int64_t)(mm1_attention_scratch_bytes(&args) / sizeof(float)) + 16);
    if (scratch == NULL) {
        return NULL;
    }
    if (!t->dry) {
        mm1_attention_fwd(o->data, lse, &args, scratch);
    }
    return o;
}

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
    mm1_attention_args args;
    float *lse;
} attention_node;

double mm1_rope_rate(double rate, const mm1_rope_scaling *s)
{
    if (s == NULL || s->type == MM1_ROPE_PLAIN) {
        return rate;
    }
    if (s->type == MM1_ROPE_LINEAR) {
        return rate / s->factor;
    }
    /* Llama 3.1: short waves stay, long ones are stretched, and those between them go over from one to the other. */
    const double turns = (double)s->original_positions * rate / (2 * M_PI);
    const double keep = (turns - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
    return turns < s->low_freq_factor    ? rate / s->factor
           : turns > s->high_freq_factor ? rate
                                         : (1 - keep) * rate / s->factor + keep * rate;
}

void mm1_rope_table(float *table, int64_t n, int64_t D, double theta, const mm1_rope_scaling *scaling)
{
    for (int64_t i = 0; i < D / 2; i++) {
        const double rate = mm1_rope_rate(pow(theta, -2.0 * (double)i / (double)D), scaling);
        for (int64_t pos = 0; pos < n; pos++) {
            table[pos * D + i] = (float)cos((double)pos * rate);
            table[pos * D + D / 2 + i] = (float)sin((double)pos * rate);
        }
    }
}

static void rope(float *y, int64_t ldy, const float *x, int64_t ldx, const mm1_attention_spec *s, int64_t N, int64_t H)
{
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t chunk = mm1__rows_chunk(H * s->D);
#pragma omp parallel for schedule(static) if (N > chunk)
    for (int64_t begin = 0; begin < N; begin += chunk) {
        k->rope(y + begin * ldy, ldy, x + begin * ldx, ldx, s->position + begin, s->cos_sin,
                N - begin < chunk ? N - begin : chunk, H, s->D, false, false);
    }
}

/* Where the gradient of one input of the attention goes. */
typedef struct grad_room {
    mm1_tensor *x;
    float *d;     /* [rows, cols] of x */
    bool scratch; /* d is not x's gradient: it is added to it, or dropped if x wants none */
} grad_room;

/* The kernel overwrites the columns of its heads.  That can happen in place if the gradient of x is fresh; columns that
 * no head covers then read as zero. */
static grad_room room_for(mm1_tape *t, mm1_tensor *x, int64_t covered)
{
    grad_room g = {.x = x, .scratch = !x->needs_grad || x->grad != NULL};
    bool acc;
    g.d = g.scratch ? mm1__tape_scratch(t, mm1_tensor_size(x)) : mm1__tape_grad(t, x, &acc);
    if (g.d != NULL && !t->dry && covered < mm1_tensor_cols(x)) {
        mm1__rows_zero(g.d, mm1_tensor_size(x));
    }
    return g;
}

static void room_done(mm1_tape *t, grad_room *g)
{
    if (!g->scratch) {
        return;
    }
    if (g->x->needs_grad && !t->dry) {
        mm1__rows_copy_or_add(g->x->grad, g->d, mm1_tensor_size(g->x), true);
    }
    mm1__tape_scratch_free(t, g->d, mm1_tensor_size(g->x));
}

static void attention_backward(mm1_tape *t, mm1_node *base)
{
    const attention_node *n = (const attention_node *)(const void *)base;
    const mm1_attention_spec *s = &n->spec;
    const int64_t wq = s->H * s->D, wk = s->Hkv * s->D;
    const int64_t scratch_len = (int64_t)(mm1_attention_scratch_bytes(&n->args, true) / sizeof(float)) + 16;
    mm1_tensor *const inputs[3] = {n->q, n->k, n->v};
    const int64_t width[3] = {wq, wk, wk}, col[3] = {s->q_col, s->k_col, s->v_col};
    grad_room rooms[3];
    float *d[3];
    int n_rooms = 0;
    for (int i = 0; i < 3; i++) {
        int at = 0;
        int64_t covered = 0;
        bool apart = false; /* columns that are read twice get a gradient from each: not in one buffer */
        for (int k = 0; k < 3; k++) {
            const bool same = inputs[k] == inputs[i];
            covered += same ? width[k] : 0;
            apart = apart || (same && k != i && col[k] < col[i] + width[i] && col[i] < col[k] + width[k]);
        }
        while (at < n_rooms && (apart || rooms[at].x != inputs[i])) {
            at++;
        }
        if (at == n_rooms) {
            rooms[n_rooms++] = room_for(t, inputs[i], apart ? 0 : covered);
        }
        d[i] = rooms[at].d == NULL ? NULL : rooms[at].d + col[i];
    }
    float *scratch = mm1__tape_scratch(t, scratch_len);
    if (d[0] == NULL || d[1] == NULL || d[2] == NULL || scratch == NULL) {
        return;
    }
    if (!t->dry) {
        const double start = mm1__tape_clock(t);
        mm1_attention_bwd(d[0], d[1], d[2], base->out->grad, base->out->data, n->lse, &n->args, scratch);
        mm1__tape_attended(t, &n->args, start, 10);
    }
    mm1__tape_scratch_free(t, scratch, scratch_len);
    while (n_rooms > 0) {
        room_done(t, &rooms[--n_rooms]);
    }
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
    if (o == NULL || lse == NULL) {
        return NULL;
    }
    const mm1_attention_args args = {.B = s->B,
                                     .T = s->T,
                                     .S = s->S,
                                     .H = s->H,
                                     .Hkv = s->Hkv,
                                     .D = s->D,
                                     .q = q->data + s->q_col,
                                     .k = k->data + s->k_col,
                                     .v = v->data + s->v_col,
                                     .ldq = mm1_tensor_cols(q),
                                     .ldk = mm1_tensor_cols(k),
                                     .ldv = mm1_tensor_cols(v),
                                     .ldo = wq,
                                     .lo = s->lo,
                                     .hi = s->hi,
                                     .scale = 1.0f / sqrtf((float)s->D),
                                     .position = s->position,
                                     .cos_sin = s->cos_sin};
    /* As much as the backward pass will take, so that it finds this again. */
    const int64_t scratch_len = (int64_t)(mm1_attention_scratch_bytes(&args, o->needs_grad) / sizeof(float)) + 16;
    float *scratch = mm1__tape_scratch(t, scratch_len);
    if (scratch == NULL) {
        return NULL;
    }
    if (!t->dry) {
        const double start = mm1__tape_clock(t);
        mm1_attention_fwd(o->data, lse, &args, scratch);
        mm1__tape_attended(t, &args, start, 4);
    }
    mm1__tape_scratch_free(t, scratch, scratch_len);
    mm1__tape_done(t, "attention", 0, 0);
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
            rope(q, wq, qkv->data + s->q_col, ld, s, T, s->H);
            rope(new_k, wk, qkv->data + s->k_col, ld, s, T, s->Hkv);
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
    float *scratch = mm1__tape_floats(t, (int64_t)(mm1_attention_scratch_bytes(&args, false) / sizeof(float)) + 16);
    if (scratch == NULL) {
        return NULL;
    }
    if (!t->dry) {
        const double start = mm1__tape_clock(t);
        mm1_attention_fwd(o->data, lse, &args, scratch);
        mm1__tape_attended(t, &args, start, 4);
    }
    mm1__tape_done(t, "attention", 0, 0);
    return o;
}

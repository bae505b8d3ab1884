/* op_attention.c - attention with rotary positions, for training and with a cache for generation. */
#include "tensor/tensor.h"

#include "base/thread.h"
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

typedef struct rope_job {
    float *y;
    int64_t ldy;
    const float *x;
    int64_t ldx;
    const mm1_attention_spec *s;
    int64_t H;
} rope_job;

static void rope_rows(void *ctx, int64_t begin, int64_t end)
{
    const rope_job *j = ctx;
    const mm1_attention_spec *s = j->s;
    mm1_kernels_get()->rope(j->y + begin * j->ldy, j->ldy, j->x + begin * j->ldx, j->ldx, s->position + begin,
                            s->cos_sin, end - begin, j->H, s->D, false, false);
}

static void rope(float *y, int64_t ldy, const float *x, int64_t ldx, const mm1_attention_spec *s, int64_t N, int64_t H)
{
    rope_job job = {y, ldy, x, ldx, s, H};
    mm1_parallel_for(N, mm1__rows_chunk(H * s->D), rope_rows, &job);
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

/* n rows of H heads of x, whose first is the row `first` of the pass, go to y [n, H D]; turned by their positions, if
 * these are rotary. */
static void take_heads(float *y, const float *x, int64_t ldx, const mm1_attention_spec *spec, int64_t first, int64_t n,
                       int64_t H)
{
    mm1_attention_spec s = *spec;
    if (s.cos_sin != NULL) {
        s.position += first;
        rope(y, H * s.D, x, ldx, &s, n, H);
    } else {
        mm1__rows_take_columns(y, x, ldx, n, H * s.D);
    }
}

/* Writes the keys and values of n rows from `row` on to the cache, from its row `at` on. */
static void store_rows(const mm1_kv_cache *cache, int64_t at, const mm1_tensor *qkv, const mm1_attention_spec *s,
                       int64_t row, int64_t n)
{
    const int64_t wk = s->Hkv * s->D, ld = mm1_tensor_cols(qkv);
    const float *x = qkv->data + row * ld;
    take_heads(cache->k + at * wk, x + s->k_col, ld, s, row, n, s->Hkv);
    mm1__rows_take_columns(cache->v + at * wk, x + s->v_col, ld, n, wk);
}

/* Whether the runs are the rows of the pass and have room; *most_keys that one of them sees. */
static bool runs_fit(mm1_tape *t, const mm1_attention_spec *s, const mm1_kv_cache *cache, int64_t *most_keys)
{
    int64_t n_rows = 0;
    *most_keys = 0;
    for (int64_t i = 0; i < s->n_runs; i++) {
        const mm1_kv_run *r = &s->runs[i];
        if (r->slot < 0 || r->slot >= cache->n_slots || r->n_past < 0 || r->T > cache->n_max - r->n_past) {
            mm1_tape_fail(t, MM1_E_LIMIT, "the context is full: %lld positions and %lld more, with room for %lld",
                          (long long)r->n_past, (long long)r->T, (long long)cache->n_max);
            return false;
        }
        n_rows += r->T;
        *most_keys = r->n_past + r->T > *most_keys ? r->n_past + r->T : *most_keys;
    }
    if (s->B != 1 || n_rows != s->T) {
        mm1_tape_fail(t, MM1_E_SHAPE, "attention: %lld rows of sequences for %lld rows", (long long)n_rows,
                      (long long)s->T);
        return false;
    }
    return true;
}

/* Rows of a pass with a cache. */
typedef struct cached_job {
    const mm1_attention_args *args; /* of the whole pass */
    const mm1_attention_spec *s;
    const mm1_kv_cache *cache;
    const mm1_tensor *qkv;
    float *q, *o;
    int64_t *first_key; /* of each row */
    int64_t *first_row; /* of each run */
    float *scratch;
} cached_job;

/* The runs [begin, end): their keys and values go to the cache, their queries meet those of their slot.  S is that of
 * the pass, so that all threads may use one scratch (attention.h). */
static void attend_range(void *ctx, int64_t begin, int64_t end)
{
    const cached_job *j = ctx;
    const mm1_attention_spec *s = j->s;
    const int64_t wq = j->args->ldq, first = j->first_row[begin];
    int64_t n_rows = 0;
    for (int64_t i = begin; i < end; i++) {
        const mm1_kv_run *r = &s->runs[i];
        store_rows(j->cache, r->slot * j->cache->n_max + r->n_past, j->qkv, s, first + n_rows, r->T);
        for (int64_t k = 0; k < r->T; k++) {
            j->first_key[first + n_rows++] = r->slot * j->cache->n_max;
        }
    }
    take_heads(j->q + first * wq, j->qkv->data + first * mm1_tensor_cols(j->qkv) + s->q_col, mm1_tensor_cols(j->qkv), s,
               first, n_rows, s->H);
    /* Rows that are as if alone are sequences of one position each, and need not wait for each other. */
    const bool apart = j->args->rows == MM1_ROWS_FEW;
    for (int64_t row = first, i = begin; row < first + n_rows; i++) {
        const int64_t T = apart ? n_rows : s->runs[i].T;
        mm1_attention_args args = *j->args;
        args.B = apart ? T : 1;
        args.T = apart ? 1 : T;
        args.q += row * wq;
        args.lo += row;
        args.hi += row;
        args.first_key += row;
        mm1_attention_fwd(j->o + row * wq, NULL, &args, j->scratch);
        row += T;
    }
}

/* Where there are runs for all threads, each has its own: one region instead of several for each run. */
static void attend_runs(cached_job *j)
{
    const int64_t n = j->s->n_runs;
    for (int64_t i = 0, row = 0; i < n; row += j->s->runs[i++].T) {
        j->first_row[i] = row;
    }
    if (n < 2 * mm1_threads()) {
        attend_range(j, 0, n);
    } else if (j->args->rows == MM1_ROWS_FEW) {
        mm1_parallel_for(n, (n - 1) / mm1_threads() + 1, attend_range, j);
    } else {
        mm1_parallel_each(n, attend_range, j);
    }
}

mm1_tensor *mm1_op_attention_cached(mm1_tape *t, mm1_tensor *qkv, const mm1_attention_spec *spec, mm1_kv_cache *cache)
{
    if (qkv == NULL) {
        return NULL;
    }
    const mm1_attention_spec *s = spec;
    const int64_t N = s->T, wq = s->H * s->D, wk = s->Hkv * s->D;
    int64_t most_keys;
    if (!runs_fit(t, s, cache, &most_keys)) {
        return NULL;
    }
    if (!spec_fits(qkv, N, s->q_col, wq)) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "attention: %lld heads of %lld do not fit the rows given", (long long)s->H,
                             (long long)s->D);
    }
    mm1_attention_args args = {.S = most_keys,
                               .H = s->H,
                               .Hkv = s->Hkv,
                               .D = s->D,
                               .k = cache->k,
                               .v = cache->v,
                               .ldq = wq,
                               .ldk = wk,
                               .ldv = wk,
                               .ldo = wq,
                               .scale = 1.0f / sqrtf((float)s->D),
                               .rows = t->rows};
    mm1_tensor *o = mm1__tape_tensor(t, 2, (int64_t[]){N, wq}, false);
    float *q = mm1__tape_floats(t, N * wq);
    int64_t *first_key = (int64_t *)(void *)mm1__tape_floats(t, 2 * N);                               /* of each row */
    int64_t *first_row = (int64_t *)(void *)mm1__tape_floats(t, 2 * (s->n_runs > 0 ? s->n_runs : 1)); /* of each run */
    float *scratch = mm1__tape_floats(t, (int64_t)(mm1_attention_scratch_bytes(&args, false) / sizeof(float)) + 16);
    if (o == NULL || q == NULL || first_key == NULL || first_row == NULL || scratch == NULL) {
        return NULL;
    }
    args.q = q;
    args.lo = s->lo;
    args.hi = s->hi;
    args.first_key = first_key;
    if (!t->dry) {
        const double start = mm1__tape_clock(t);
        attend_runs(&(cached_job){&args, s, cache, qkv, q, o->data, first_key, first_row, scratch});
        args.B = N;
        args.T = 1;
        mm1__tape_attended(t, &args, start, 4);
    }
    mm1__tape_done(t, "attention", 0, 0);
    return o;
}

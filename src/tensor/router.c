/* router.c - see router.h. */
#include "tensor/router.h"

#include "base/thread.h"
#include "kernels/gemm.h"
#include "tensor/layer.h"
#include "tensor/rows.h"
#include <math.h>
#include <string.h>

/* Rows of one group [begin, end), and how many of them are no padding. */
typedef struct group {
    int64_t begin, end, n;
} group;

static bool is_padding(const mm1_routing *g, int64_t row)
{
    return g != NULL && g->example != NULL && g->example[row] < 0;
}

/* The group after the one that ends at `begin`; all rows are one without t->routing. */
static group next_group(const mm1_routing *g, int64_t begin, int64_t N)
{
    group out = {begin, g == NULL || g->T < 1 || g->T > N - begin ? N : begin + g->T, 0};
    for (int64_t i = out.begin; i < out.end; i++) {
        out.n += !is_padding(g, i);
    }
    return out;
}

bool mm1__route_alloc(mm1_tape *t, mm1_route *r, const mm1_tensor *x, const mm1_moe *moe)
{
    const int64_t N = mm1_tensor_rows(x), E = moe->router_w->dims[0], k = moe->top_k;
    *r = (mm1_route){.N = N,
                     .E = E,
                     .top_k = k,
                     .p = mm1__tape_exact(t, N * E),
                     .lse = mm1__tape_exact(t, N),
                     .gate = mm1__tape_exact(t, N * k),
                     .choice = (int32_t *)(void *)mm1__tape_exact(t, N * k),
                     .order = (int32_t *)(void *)mm1__tape_exact(t, N * k),
                     .first = (int64_t *)(void *)mm1__tape_exact(t, 2 * (E + 1))};
    return r->p != NULL && r->lse != NULL && r->gate != NULL && r->choice != NULL && r->order != NULL &&
           r->first != NULL;
}

/* The top_k largest of p [E], largest first; the lower index where they are equal. */
static void choose(int32_t *choice, const float *p, int64_t E, int64_t top_k)
{
    for (int64_t j = 0; j < top_k; j++) {
        int32_t best = -1;
        for (int32_t e = 0; e < E; e++) {
            bool taken = false;
            for (int64_t i = 0; i < j && !taken; i++) {
                taken = choice[i] == e;
            }
            if (!taken && (best < 0 || p[e] > p[best])) {
                best = e;
            }
        }
        choice[j] = best;
    }
}

static void route_row(mm1_route *r, const mm1_moe *moe, int64_t row, bool padding)
{
    const int64_t k = r->top_k;
    float *p = r->p + row * r->E, *gate = r->gate + row * k, sum = 0;
    int32_t *choice = r->choice + row * k;
    r->lse[row] = mm1_kernels_get()->softmax(p, r->E);
    choose(choice, p, r->E, k);
    for (int64_t j = 0; j < k; j++) {
        gate[j] = p[choice[j]];
        sum += gate[j];
    }
    /* The largest p is at least 1 / E, so that the sum needs no epsilon. */
    for (int64_t j = 0; j < k; j++) {
        gate[j] = moe->normalize ? gate[j] / sum : gate[j];
        choice[j] = padding ? -1 : choice[j];
    }
}

/* Rows of a group of n that an expert takes at most. */
static int64_t capacity_of(const mm1_moe *moe, const mm1_routing *g, int64_t n, int64_t E)
{
    const double rows = floor(moe->capacity * (double)n / (double)E);
    return g == NULL || moe->capacity <= 0 || rows >= (double)n ? n : rows < 1 ? 1 : (int64_t)rows;
}

/* Walks the pairs in the order in which experts accept them.  With order NULL they are counted, first[e + 1] for expert
 * e, else put in their places; the number of pairs dropped is returned. */
static int64_t accept(const mm1_route *r, const mm1_moe *moe, const mm1_routing *g, int64_t *taken, int64_t *first,
                      int32_t *order)
{
    int64_t n_dropped = 0;
    for (group at = {0}; at.end < r->N;) {
        at = next_group(g, at.end, r->N);
        const int64_t most = capacity_of(moe, g, at.n, r->E);
        memset(taken, 0, (size_t)r->E * sizeof *taken);
        for (int64_t j = 0; j < r->top_k; j++) {
            for (int64_t pair = at.begin * r->top_k + j; pair < at.end * r->top_k; pair += r->top_k) {
                const int32_t e = r->choice[pair];
                if (e >= 0 && taken[e] < most) {
                    taken[e]++;
                    if (order != NULL) {
                        order[first[e]] = (int32_t)pair;
                    }
                    first[order != NULL ? e : e + 1]++;
                } else {
                    n_dropped += e >= 0;
                }
            }
        }
    }
    return n_dropped;
}

static int64_t sort(mm1_route *r, const mm1_moe *moe, const mm1_routing *g)
{
    int64_t taken[MM1_MAX_EXPERTS];
    memset(r->first, 0, (size_t)(r->E + 1) * sizeof *r->first);
    const int64_t n_dropped = accept(r, moe, g, taken, r->first, NULL);
    for (int64_t e = 0; e < r->E; e++) {
        r->first[e + 1] += r->first[e];
    }
    (void)accept(r, moe, g, taken, r->first, r->order);
    /* Each first[e] has moved on to first[e + 1]. */
    for (int64_t e = r->E; e > 0; e--) {
        r->first[e] = r->first[e - 1];
    }
    r->first[0] = 0;
    return n_dropped;
}

/* Rows of the group whose first choice is e, for all e. */
static void count_first(const mm1_route *r, const group *at, int64_t *n)
{
    memset(n, 0, (size_t)r->E * sizeof *n);
    for (int64_t i = at->begin; i < at->end; i++) {
        const int32_t e = r->choice[i * r->top_k];
        if (e >= 0) {
            n[e]++;
        }
    }
}

static void add_statistics(const mm1_route *r, mm1_routing *g, int64_t layer, int64_t n_dropped)
{
    mm1_routing_layer *out = &g->layers[layer];
    int64_t *load = g->load + layer * g->n_experts, n_first[MM1_MAX_EXPERTS];
    out->n_dropped += n_dropped;
    for (int64_t pair = 0; pair < r->N * r->top_k; pair++) {
        if (r->choice[pair] >= 0) {
            load[r->choice[pair]]++;
            out->n_chosen++;
        }
    }
    for (group at = {0}; at.end < r->N;) {
        at = next_group(g, at.end, r->N);
        count_first(r, &at, n_first);
        double balance = 0, z = 0;
        for (int64_t i = at.begin; i < at.end; i++) {
            if (r->choice[i * r->top_k] < 0) {
                continue;
            }
            z += (double)r->lse[i] * r->lse[i];
            for (int64_t e = 0; e < r->E; e++) {
                balance += (double)n_first[e] * r->p[i * r->E + e];
            }
        }
        /* n of the group weighs it, and divides the sum of p and the counts. */
        out->balance += at.n > 0 ? g->scale * (double)r->E * balance / (double)at.n : 0;
        out->z += g->scale * z;
    }
}

typedef struct route_job {
    mm1_route *r;
    const mm1_moe *moe;
    const mm1_routing *g;
} route_job;

static void route_rows(void *ctx, int64_t begin, int64_t end)
{
    const route_job *j = ctx;
    for (int64_t i = begin; i < end; i++) {
        route_row(j->r, j->moe, i, is_padding(j->g, i));
    }
}

void mm1__route(mm1_tape *t, mm1_route *r, const mm1_tensor *x, const mm1_moe *moe)
{
    const int64_t K = mm1_tensor_cols(x), E = r->E;
    mm1_routing *g = t->routing;
    mm1__tape_gemm(t, &(mm1_gemm_args){.M = r->N,
                                       .N = E,
                                       .K = K,
                                       .a = x->data,
                                       .lda = K,
                                       .b = moe->router_w->data,
                                       .ldb = K,
                                       .trans_b = true,
                                       .c = r->p,
                                       .ldc = E,
                                       .alpha = 1});
    mm1_parallel_for(r->N, mm1__rows_chunk(8 * E), route_rows, &(route_job){r, moe, g});
    const int64_t n_dropped = sort(r, moe, g);
    if (g != NULL && !t->again) {
        add_statistics(r, g, moe->layer, n_dropped);
    }
}

/* dgate of a row to d of its logits, by the loss alone. */
static void gate_backward(float *d, const mm1_route *r, const mm1_moe *moe, int64_t row, float *dgate)
{
    const float *p = r->p + row * r->E, *gate = r->gate + row * r->top_k;
    const int32_t *choice = r->choice + row * r->top_k;
    float dot = 0, sum = 0;
    for (int64_t j = 0; j < r->top_k; j++) {
        dot += dgate[j] * gate[j];
        sum += p[choice[j]];
    }
    for (int64_t j = 0; j < r->top_k; j++) {
        d[choice[j]] = moe->normalize ? (dgate[j] - dot) / sum : dgate[j];
    }
}

typedef struct group_job {
    float *dlogits, *dgate;
    const mm1_route *r;
    const mm1_moe *moe;
    const float *balance; /* [E] */
    float z;
    int64_t first; /* row of the group */
} group_job;

static void group_backward_rows(void *ctx, int64_t begin, int64_t end)
{
    const group_job *j = ctx;
    const mm1_route *r = j->r;
    const int64_t E = r->E;
    for (int64_t i = j->first + begin; i < j->first + end; i++) {
        float *d = j->dlogits + i * E;
        const float *p = r->p + i * E;
        memset(d, 0, (size_t)E * sizeof *d);
        if (r->choice[i * r->top_k] < 0) {
            continue;
        }
        gate_backward(d, r, j->moe, i, j->dgate + i * r->top_k);
        float dot = 0;
        for (int64_t e = 0; e < E; e++) {
            d[e] += j->balance[e];
            dot += d[e] * p[e];
        }
        for (int64_t e = 0; e < E; e++) {
            d[e] = p[e] * (d[e] - dot + j->z * r->lse[i]);
        }
    }
}

/* Rows of one group: d of p, then d of the logits. */
static void group_backward(float *dlogits, const mm1_route *r, const mm1_moe *moe, const mm1_routing *g,
                           const group *at, float *dgate)
{
    const int64_t E = r->E;
    const float z = g != NULL ? (float)(2 * moe->z_coef * g->scale) : 0;
    float balance[MM1_MAX_EXPERTS] = {0};
    if (g != NULL && at->n > 0) {
        int64_t n_first[MM1_MAX_EXPERTS];
        count_first(r, at, n_first);
        for (int64_t e = 0; e < E; e++) {
            balance[e] = (float)(moe->balance_coef * g->scale * (double)E * (double)n_first[e] / (double)at->n);
        }
    }
    group_job job = {dlogits, dgate, r, moe, balance, z, at->begin};
    mm1_parallel_for(at->end - at->begin, mm1__rows_chunk(8 * E), group_backward_rows, &job);
}

void mm1__route_backward(mm1_tape *t, const mm1_route *r, const mm1_tensor *x, const mm1_moe *moe, float *dgate,
                         float *dx, float *dlogits)
{
    for (group at = {0}; at.end < r->N;) {
        at = next_group(t->routing, at.end, r->N);
        group_backward(dlogits, r, moe, t->routing, &at, dgate);
    }
    mm1__layer_grads(t, moe->router_w, NULL, dlogits, x->data, r->N);
    if (dx != NULL) {
        mm1__layer_input_grad(t, dx, dlogits, moe->router_w, r->N, true);
    }
}

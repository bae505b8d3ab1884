/* attention.c - see attention.h.  Tiles after FlashAttention (Dao et al. 2022), each product by the table's gemm_tile.
 *
 * Work is handed out by (sequence, key head), and by parts of the queries where those are few.  What a stretch of
 * queries sees is packed once, keys and values (rotary positions turn them on the way); where examples are packed in a
 * row, a stretch is a few of them or one, whose keys stay in L2.  Then come its queries, of each head, in tiles of TQ
 * and, for each, the keys in tiles of TK, backward TB:
 *
 *   forward    s = q k^T;  online softmax;  o = o * factor + p v
 *   backward   s = q k^T;  dp = do v^T;  p, ds;  dq += ds k;  and then, of the whole tile, dv += p^T do;  dk += ds^T q
 *
 * A tile is gone through a panel of queries at a time, as many as a tile of the product has rows: their scores stay in
 * the L1 cache until they are used, while keys and values stream from L2.  A panel looks only at the columns that some
 * row of it sees, so a causal mask costs half.
 *
 * Results do not depend on the number of threads.  Tiles of queries lie at multiples of TQ from where a stretch begins;
 * their tiles of keys begin at the first panel that they see.  dk and dv of a key head are sums over its queries: where
 * the backward pass splits these, the number of parts depends on the shape alone.  If parts can begin where examples
 * do, no two see the same key; otherwise each has sums of its own, and a second pass adds these up in order. */
#include "kernels/attention.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "kernels/kernels.h"
#include <math.h>
#include <string.h>

enum {
    TQ = 96,     /* most queries in a tile; cut to a multiple of the panel height */
    TK = 256,    /* keys in a tile of the forward pass: a multiple of every panel width */
    TB = 240,    /* most keys in a tile of the backward pass; cut to a multiple of panels' width and height */
    MR_MAX = 16, /* room for any table's panels */
    NR_MAX = 32,
    DECODE_T = 4,   /* up to so many queries, keys and values are read as they are */
    STRETCH = 192,  /* fewest queries for which keys are packed, where there are more */
    ITEMS = 16,     /* the backward pass splits queries to have so many items; not more, each has sums of its own */
    ADD_KEYS = 512, /* keys whose sums are added at a time */
};

typedef struct tile {
    int64_t m;                    /* queries */
    int32_t lo[TQ], hi[TQ];       /* the keys each sees, in its sequence */
    int32_t at_lo[TQ], at_hi[TQ]; /* and in the tile of keys at hand */
    int32_t min_lo, max_hi;       /* over the queries that see something; min_lo >= max_hi if none does */
} tile;

/* Scratch of one thread; D and S are rounded up to panels. */
typedef struct room {
    float *kt;      /* k times scale as columns: panels [D, nr] over keys */
    float *vt;      /* v the same (backward) */
    float *kd;      /* backward: k as rows, panels [S, nr] over D; forward: v */
    float *q;       /* few queries, scaled [TQ, D] */
    float *qb, *db; /* backward: q and d_o of the tile as rows, panels [m, nr] over D */
    float *s, *dp;  /* row stride ld of the job: a panel of scores; few queries and, backward, a tile: [TQ, ld] */
    float *p;       /* a panel of rows that is not whole, packed */
    float *acc;     /* o or dq of the tile [TQ, D] */
    float *turned;  /* rotated rows of q or k on their way into panels [S or TQ, D] */
    float *dk, *dv; /* backward: gradients of the item [S, D], from its first key on */
    float *row[3];  /* row_max, row_sum, factor; lse, delta */
    float *first;   /* of the sequence at hand, integers: see note_keys() */
} room;

typedef struct job {
    const mm1_attention_args *a;
    const mm1_kernels *kern;
    char *scratch;
    int64_t tq;      /* queries in a tile */
    int64_t tb;      /* keys in a tile of the backward pass */
    int64_t ld;      /* row stride of scores: no tile of keys has more */
    int64_t align;   /* tiles of keys begin at its multiples */
    int64_t n_parts; /* of the queries of a sequence */
    float *sums;     /* backward, n_parts > 1: dk and dv of each item, see item_sums() */
    float *o, *lse;
    float *dq, *dk, *dv;
    const float *d_o;
} job;

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* ------------------------------------------------------------------------------------------------ scratch */

static int64_t sum_floats(const mm1_attention_args *a)
{
    return round_up(a->S > 0 ? a->S : 1, NR_MAX) * round_up(a->D, NR_MAX);
}

/* Keys in a tile, of which there may be `most`. */
static int64_t tile_keys(const mm1_attention_args *a, int64_t most)
{
    return min64(most, round_up(a->S > 0 ? a->S : 1, NR_MAX));
}

/* Lays the room of one thread out from `base` on (NULL: only counts); returns its bytes. */
static size_t lay_out(room *r, char *base, const mm1_attention_args *a, bool backward)
{
    const size_t dn = (size_t)round_up(a->D, NR_MAX), tq = TQ + MR_MAX;
    const size_t keys = a->rows == MM1_ROWS_FEW ? 0 : (size_t)sum_floats(a); /* else they are read where they lie */
    const size_t back = backward ? keys : 0, back_tile = backward ? tq * dn : 0;
    const struct {
        float **part;
        size_t n;
    } parts[] = {{&r->kt, keys},
                 {&r->vt, back},
                 {&r->kd, keys},
                 {&r->q, tq * dn},
                 {&r->qb, back_tile},
                 {&r->db, back_tile},
                 {&r->s, TQ * (size_t)tile_keys(a, TK)},
                 {&r->dp, backward ? TQ * (size_t)tile_keys(a, TB) : 0},
                 {&r->p, MR_MAX * (dn > TK ? dn : TK)},
                 {&r->acc, tq * dn},
                 {&r->turned, keys > tq * dn || keys == 0 ? keys : tq * dn},
                 {&r->dk, back},
                 {&r->dv, back},
                 {&r->row[0], tq},
                 {&r->row[1], tq},
                 {&r->row[2], tq},
                 {&r->first, keys > 0 ? 2 * (size_t)(a->S + 1) : 0}};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].part = base != NULL ? (float *)(void *)(base + bytes) : NULL;
        bytes += (parts[i].n * sizeof(float) + MM1_ALIGN_BYTES - 1) / MM1_ALIGN_BYTES * MM1_ALIGN_BYTES;
    }
    return bytes;
}

/* Parts of the queries in the backward pass: of the shape alone; none shorter than four tiles of one head. */
static int64_t backward_parts(const mm1_attention_args *a)
{
    const int64_t n_heads = a->B * a->Hkv;
    if (n_heads <= 0 || n_heads >= ITEMS) {
        return 1;
    }
    const int64_t most = min64((a->T + TQ - 1) / TQ, a->T * (a->H / a->Hkv) / (4 * TQ));
    return max64(min64((ITEMS + n_heads - 1) / n_heads, most), 1);
}

/* dk and dv of each item. */
static int64_t sums_floats(const mm1_attention_args *a, int64_t n_parts)
{
    return n_parts > 1 ? 2 * a->B * a->Hkv * n_parts * sum_floats(a) : 0;
}

size_t mm1_attention_scratch_bytes(const mm1_attention_args *args, bool backward)
{
    room r;
    return lay_out(&r, NULL, args, backward) * (size_t)mm1_threads() +
           (size_t)(backward ? sums_floats(args, backward_parts(args)) : 0) * sizeof(float);
}

static room my_room(const job *j)
{
    room r;
    const bool backward = j->d_o != NULL;
    const size_t each = lay_out(&r, NULL, j->a, backward);
    (void)lay_out(&r, j->scratch + (size_t)mm1_thread_index() * each, j->a, backward);
    return r;
}

/* ------------------------------------------------------------------------------------------------ tiles */

static void tile_take(tile *t, const job *j, int64_t b, int64_t t0, int64_t t1)
{
    const mm1_attention_args *a = j->a;
    t->m = t1 - t0;
    t->min_lo = INT32_MAX;
    t->max_hi = 0;
    for (int64_t r = 0; r < t->m; r++) {
        const int64_t at = b * a->T + t0 + r;
        t->lo[r] = (int32_t)max64(a->lo[at], 0);
        t->hi[r] = (int32_t)min64(a->hi[at], a->S);
        if (t->lo[r] < t->hi[r]) {
            t->min_lo = t->lo[r] < t->min_lo ? t->lo[r] : t->min_lo;
            t->max_hi = t->hi[r] > t->max_hi ? t->hi[r] : t->max_hi;
        }
    }
}

/* The first key of a tile's first tile of keys: a panel begins there. */
static int64_t tile_first_key(const tile *t, const job *j)
{
    return t->min_lo / j->align * j->align;
}

/* Moves to the n keys from n0 on; false if no query of the tile sees any of them. */
static bool tile_move(tile *t, int64_t n0, int64_t n)
{
    bool any = false;
    for (int64_t r = 0; r < t->m; r++) {
        t->at_lo[r] = (int32_t)min64(max64(t->lo[r] - n0, 0), n);
        t->at_hi[r] = (int32_t)min64(max64(t->hi[r] - n0, 0), n);
        any |= t->at_lo[r] < t->at_hi[r];
    }
    return any;
}

/* Rows [t, t + n) of one head of q or k as the scores use them: rotated into `to`, or where they lie.  *ld is their
 * stride, before and after. */
static const float *turned(const job *j, float *to, const float *x, int64_t *ld, int64_t b, int64_t t, int64_t n)
{
    const mm1_attention_args *a = j->a;
    if (a->cos_sin == NULL) {
        return x;
    }
    j->kern->rope(to, a->D, x, *ld, a->position + b * a->T + t, a->cos_sin, n, 1, a->D, false, false);
    *ld = a->D;
    return to;
}

/* Rows [n, D] will be written: their lines come into the caches meanwhile. */
static void expect_rows(const float *x, int64_t ld, int64_t n, int64_t D)
{
    enum { LINE = 64 / sizeof *x };
    for (int64_t i = 0; i < n; i++) {
        for (int64_t d = 0; d < D; d += LINE) {
            __builtin_prefetch(x + i * ld + d, 1);
        }
    }
}

/* Gradients [n, D] of such rows go to x, turned back. */
static void turn_back(const job *j, float *x, int64_t ld, const float *from, int64_t b, int64_t t, int64_t n)
{
    const mm1_attention_args *a = j->a;
    if (a->cos_sin != NULL) {
        j->kern->rope(x, ld, from, a->D, a->position + b * a->T + t, a->cos_sin, n, 1, a->D, true, false);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(x + i * ld, from + i * a->D, (size_t)a->D * sizeof *x);
    }
}

/* The columns [*c0, *c1) that the rows [r0, r1) see; empty (0, 0) if none. */
static void columns_seen(const tile *t, int64_t r0, int64_t r1, int64_t *c0, int64_t *c1)
{
    *c0 = INT32_MAX;
    *c1 = 0;
    for (int64_t r = r0; r < r1; r++) {
        if (t->at_lo[r] < t->at_hi[r]) {
            *c0 = min64(*c0, t->at_lo[r]);
            *c1 = max64(*c1, t->at_hi[r]);
        }
    }
    *c0 = *c1 == 0 ? 0 : *c0;
}

static bool row_sees(const tile *t, int64_t r, int64_t c0, int64_t c1)
{
    return max64(t->at_lo[r], c0) < min64(t->at_hi[r], c1);
}

/* The rows [*r0, *r1) that see one of the columns [c0, c1); *r0 >= *r1 if none. */
static void rows_seeing(const tile *t, int64_t c0, int64_t c1, int64_t *r0, int64_t *r1)
{
    *r0 = 0;
    *r1 = t->m;
    while (*r0 < *r1 && !row_sees(t, *r0, c0, c1)) {
        ++*r0;
    }
    while (*r0 < *r1 && !row_sees(t, *r1 - 1, c0, c1)) {
        --*r1;
    }
}

/* c [m, N] = or += a panel of rows (row i of it at a + i lda, or at a + i if k_rows; packed in p if it is not whole)
 * times N columns: panels [K, nr], ldb K's room apart. */
static void panel_product(float *c, int64_t ldc, float *p, const float *a, int64_t lda, bool k_rows, float *b,
                          int64_t ldb, int64_t K, int64_t m, int64_t N, bool acc, const mm1_kernels *kern)
{
    const int64_t mr = kern->gemm_mr, nr = kern->gemm_nr;
    const mm1_gemm_strip rows = {.x = a, .ld = lda, .k_rows = k_rows};
    if (m == mr) {
        kern->gemm_tiles(c, ldc, &rows, b, nr * ldb, NULL, 0, K, N, acc);
        return;
    }
    kern->gemm_pack(p, (int)mr, a, lda, K, m, k_rows, 1.0f);
    for (int64_t n = 0; n < N; n += nr) {
        kern->gemm_tile(c + n, ldc, p, b + n * ldb, K, m, min64(nr, N - n), acc);
    }
}

/* The columns [c0, c1) of m rows of out (row stride ld) = x [m, D] (row stride ldx) times columns: panels [D, nr]. */
static void scores(float *out, int64_t ld, float *p, const float *x, int64_t ldx, float *columns, int64_t m, int64_t c0,
                   int64_t c1, int64_t D, const mm1_kernels *kern)
{
    c0 = c0 / kern->gemm_nr * kern->gemm_nr;
    panel_product(out + c0, ld, p, x, ldx, false, columns + c0 * D, D, D, m, c1 - c0, false, kern);
}

/* acc [m, D] += the columns [c0, c1) of weights (row stride ld) times values: panels [n_rows, nr] over D. */
static void weigh(float *acc, float *p, const float *weights, int64_t ld, float *values, int64_t n_rows, int64_t m,
                  int64_t c0, int64_t c1, int64_t D, const mm1_kernels *kern)
{
    panel_product(acc, D, p, weights + c0, ld, false, values + c0 * kern->gemm_nr, n_rows, c1 - c0, m, D, true, kern);
}

/* to [n, D] += weights^T [n, m] (row stride ld) times rows: panels [m, nr] over D. */
static void weigh_turned(float *to, float *p, const float *weights, int64_t ld, float *rows, const tile *t, int64_t n,
                         int64_t D, const mm1_kernels *kern)
{
    const int64_t mr = kern->gemm_mr, nr = kern->gemm_nr;
    for (int64_t i = 0; i < n; i += mr) {
        const int64_t m = min64(mr, n - i);
        int64_t r0, r1;
        rows_seeing(t, i, i + m, &r0, &r1);
        if (r0 < r1) {
            panel_product(to + i * D, D, p, weights + r0 * ld + i, ld, true, rows + r0 * nr, t->m, r1 - r0, m, D, true,
                          kern);
        }
    }
}

/* What note_keys() leaves. */
static int32_t *noted(const room *r)
{
    return (int32_t *)(void *)r->first;
}

static int64_t n_noted(const job *j)
{
    return j->a->S + 1;
}

/* Shorter sequences are not worth a cut; what is noted has room for as many queries as there are keys. */
static bool may_be_cut(const job *j)
{
    return j->a->T >= 2 * STRETCH && j->a->T <= j->a->S;
}

/* The first key that each query of a sequence, or one after it, sees; and, n_noted() behind, the end of the keys that
 * queries before it see. */
static void note_keys(const job *j, const room *r, int64_t b)
{
    const mm1_attention_args *a = j->a;
    const int32_t *lo = a->lo + b * a->T, *hi = a->hi + b * a->T;
    int32_t *first = noted(r), *last = first + n_noted(j), S = (int32_t)a->S;
    if (!may_be_cut(j)) {
        return;
    }
    first[a->T] = S;
    for (int64_t t = a->T - 1; t >= 0; t--) {
        const int32_t from = lo[t] > 0 ? lo[t] : 0;
        first[t] = from < hi[t] && from < first[t + 1] ? from : first[t + 1];
    }
    last[0] = 0;
    for (int64_t t = 0; t < a->T; t++) {
        last[t + 1] = lo[t] < hi[t] && hi[t] > last[t] ? hi[t] : last[t];
    }
}

/* Whether no query from t on sees a key that one before it sees: another example begins. */
static bool is_cut(const job *j, const room *r, int64_t t)
{
    const int32_t *first = noted(r);
    return t == 0 || t >= j->a->T || (may_be_cut(j) && first[n_noted(j) + t] <= first[t]);
}

/* At a cut: the queries from t on see no key before this one. */
static int64_t first_seen(const job *j, const room *r, int64_t t)
{
    return t >= j->a->T ? j->a->S : noted(r)[t];
}

/* Queries, and the keys that they see, from a panel on. */
typedef struct stretch {
    int64_t t0, t1, s0, s1;
} stretch;

/* The queries from t0 on, before `most`: up to a cut that leaves `fewest` on both sides, or all. */
static stretch stretch_from(const job *j, const room *r, int64_t b, int64_t t0, int64_t most, int64_t fewest)
{
    const mm1_attention_args *a = j->a;
    stretch x = {.t0 = t0, .t1 = t0, .s0 = a->S};
    do {
        const int64_t at = b * a->T + x.t1, lo = max64(a->lo[at], 0), hi = min64(a->hi[at], a->S);
        if (lo < hi) {
            x.s0 = min64(x.s0, lo);
            x.s1 = max64(x.s1, hi);
        }
        x.t1++;
    } while (x.t1 < most && (min64(x.t1 - t0, most - x.t1) < fewest || !is_cut(j, r, x.t1)));
    x.s0 = x.s1 == 0 ? 0 : x.s0 / j->align * j->align;
    return x;
}

/* The row of k and v that is the key s of sequence b. */
static int64_t key_row(const mm1_attention_args *a, int64_t b, int64_t s)
{
    return (a->first_key != NULL ? a->first_key[b] : b * a->S) + s;
}

/* ------------------------------------------------------------------------------------------------ forward */

static void rescale(float *acc, const float *factor, int64_t m, int64_t D, const mm1_kernels *kern)
{
    for (int64_t r = 0; r < m; r++) {
        if (factor[r] != 1.0f) {
            kern->scale(acc + r * D, acc + r * D, D, factor[r]);
        }
    }
}

static void start_rows(const room *r, int64_t m, int64_t D)
{
    memset(r->acc, 0, (size_t)(m * D) * sizeof *r->acc);
    for (int64_t i = 0; i < m; i++) {
        r->row[0][i] = -INFINITY;
        r->row[1][i] = 0.0f;
    }
}

/* Row i of the tile is the query t of head h. */
static void finish_row(const job *j, const room *r, int64_t i, int64_t b, int64_t t, int64_t h)
{
    const mm1_attention_args *a = j->a;
    const float sum = r->row[1][i];
    j->kern->scale(j->o + (b * a->T + t) * a->ldo + h * a->D, r->acc + i * a->D, a->D, sum == 0.0f ? 0.0f : 1.0f / sum);
    if (j->lse != NULL) {
        j->lse[(b * a->H + h) * a->T + t] = sum == 0.0f ? -INFINITY : r->row[0][i] + logf(sum);
    }
}

/* The queries [i, i + m) of the tile, which are q (row stride ldq), and the n keys at hand; kt and kd begin at them. */
static void forward_panel(const job *j, const room *r, const tile *t, int64_t i, int64_t m, const float *q, int64_t ldq,
                          float *kt, float *kd, int64_t n_rows)
{
    const mm1_kernels *kern = j->kern;
    const int64_t D = j->a->D;
    int64_t c0, c1;
    columns_seen(t, i, i + m, &c0, &c1);
    if (c0 < c1) {
        scores(r->s, j->ld, r->p, q, ldq, kt, m, c0, c1, D, kern);
        kern->attn_softmax(r->s, j->ld, r->row[0] + i, r->row[1] + i, r->row[2] + i, t->at_lo + i, t->at_hi + i, m, c1);
        rescale(r->acc + i * D, r->row[2] + i, m, D, kern);
        weigh(r->acc + i * D, r->p, r->s, j->ld, kd, n_rows, m, c0, c1, D, kern);
    }
}

/* Keys and values of key head g are packed from s0 on; n_rows of them. */
static void forward_tile(const job *j, const room *r, tile *t, int64_t b, int64_t h, int64_t t0, int64_t t1, int64_t s0,
                         int64_t n_rows)
{
    const mm1_attention_args *a = j->a;
    int64_t ldq = a->ldq;
    tile_take(t, j, b, t0, t1);
    const float *q = turned(j, r->turned, a->q + (b * a->T + t0) * ldq + h * a->D, &ldq, b, t0, t->m);
    start_rows(r, t->m, a->D);
    const int64_t first = tile_first_key(t, j), mr = j->kern->gemm_mr;
    for (int64_t n0 = first; n0 < t->max_hi; n0 += TK) {
        if (!tile_move(t, n0, min64(TK, t->max_hi - n0))) {
            continue;
        }
        for (int64_t i = 0; i < t->m; i += mr) {
            const int64_t m = min64(mr, t->m - i);
            if (n0 == first) {
                expect_rows(j->o + (b * a->T + t0 + i) * a->ldo + h * a->D, a->ldo, m, a->D);
            }
            forward_panel(j, r, t, i, m, q + i * ldq, ldq, r->kt + (n0 - s0) * a->D,
                          r->kd + (n0 - s0) * j->kern->gemm_nr, n_rows);
        }
    }
    for (int64_t i = 0; i < t->m; i++) {
        finish_row(j, r, i, b, t0 + i, h);
    }
}

/* An item is a part of the queries of (b, g); the later ones, which see more if the mask is causal, come first. */
typedef struct item {
    int64_t b, g, part;
    int64_t t0, t1; /* its queries */
} item;

/* Its share, or the cut that follows soon. */
static int64_t part_start(const job *j, const room *r, int64_t part)
{
    const int64_t T = j->a->T, share = min64((T + j->tq - 1) / j->tq * part / j->n_parts * j->tq, T);
    for (int64_t t = share; t < min64(share + T / (4 * j->n_parts), T); t++) {
        if (is_cut(j, r, t)) {
            return t;
        }
    }
    return share;
}

/* Whether no two parts of the sequence see the same key. */
static bool is_apart(const job *j, const room *r)
{
    for (int64_t part = 1; part < j->n_parts; part++) {
        if (!is_cut(j, r, part_start(j, r, part))) {
            return false;
        }
    }
    return true;
}

/* Of a sequence whose keys are noted. */
static item item_of(const job *j, const room *r, int64_t b, int64_t g, int64_t part)
{
    return (item){.b = b, .g = g, .part = part, .t0 = part_start(j, r, part), .t1 = part_start(j, r, part + 1)};
}

static item item_at(const job *j, const room *r, int64_t i)
{
    const int64_t B = j->a->B, Hkv = j->a->Hkv;
    note_keys(j, r, i / Hkv % B);
    return item_of(j, r, i / Hkv % B, i % Hkv, j->n_parts - 1 - i / Hkv / B);
}

static void forward_stretch(const job *j, const room *r, int64_t b, int64_t g, const stretch *x)
{
    const mm1_attention_args *a = j->a;
    const mm1_kernels *kern = j->kern;
    const int64_t n_heads = a->H / a->Hkv, n_keys = x->s1 - x->s0, row = key_row(a, b, x->s0);
    int64_t ldk = a->ldk;
    const float *k = turned(j, r->turned, a->k + row * ldk + g * a->D, &ldk, b, x->s0, n_keys);
    kern->gemm_pack(r->kt, kern->gemm_nr, k, ldk, a->D, n_keys, false, a->scale);
    kern->gemm_pack(r->kd, kern->gemm_nr, a->v + row * a->ldv + g * a->D, a->ldv, n_keys, a->D, true, 1.0f);
    tile t;
    for (int64_t h = g * n_heads; h < (g + 1) * n_heads; h++) {
        for (int64_t q0 = x->t0; q0 < x->t1; q0 += j->tq) {
            forward_tile(j, r, &t, b, h, q0, min64(q0 + j->tq, x->t1), x->s0, n_keys);
        }
    }
}

static void forward_item(void *ctx, int64_t i, int64_t end)
{
    const job *j = ctx;
    const room r = my_room(j);
    for (; i < end; i++) {
        const item x = item_at(j, &r, i);
        for (int64_t t0 = x.t0; t0 < x.t1;) {
            const stretch part = stretch_from(j, &r, x.b, t0, x.t1, STRETCH);
            forward_stretch(j, &r, x.b, x.g, &part);
            t0 = part.t1;
        }
    }
}

/* Item i: one (b, g) with few queries; its heads are the rows, and keys and values are read once, where they lie. */
static void decode_item(void *ctx, int64_t i, int64_t end)
{
    const job *j = ctx;
    const mm1_attention_args *a = j->a;
    const mm1_kernels *kern = j->kern;
    const room r = my_room(j);
    const int64_t D = a->D, n_heads = a->H / a->Hkv;
    int32_t lo[TQ], hi[TQ];
    for (; i < end; i++) {
        const int64_t g = i % a->Hkv, b = i / a->Hkv;
        for (int64_t at = 0; at < a->T * n_heads; at++) {
            const int64_t t = at / n_heads, h0 = g * n_heads + at % n_heads;
            const int64_t m = min64(n_heads - at % n_heads, TQ);
            const int64_t first = max64(a->lo[b * a->T + t], 0), last = min64(a->hi[b * a->T + t], a->S);
            kern->scale(r.q, a->q + (b * a->T + t) * a->ldq + h0 * D, m * D, a->scale);
            start_rows(&r, m, D);
            for (int64_t n0 = first; n0 < last; n0 += TK) {
                const int64_t n = min64(TK, last - n0), row = key_row(a, b, n0);
                for (int64_t k = 0; k < m; k++) {
                    lo[k] = 0;
                    hi[k] = (int32_t)n;
                }
                kern->gemm_few_nt(r.s, j->ld, r.q, D, a->k + row * a->ldk + g * D, a->ldk, m, n, D, false);
                kern->attn_softmax(r.s, j->ld, r.row[0], r.row[1], r.row[2], lo, hi, m, n);
                rescale(r.acc, r.row[2], m, D, kern);
                kern->gemm_few_nn(r.acc, D, r.s, j->ld, a->v + row * a->ldv + g * D, a->ldv, m, D, n, true);
            }
            for (int64_t k = 0; k < m; k++) {
                finish_row(j, &r, k, b, t, h0 + k);
            }
            at += m - 1;
        }
    }
}

static job make_job(const mm1_attention_args *args, void *scratch)
{
    const mm1_kernels *kern = mm1_kernels_get();
    int64_t step = kern->gemm_nr; /* to the next multiple of both */
    while (step % kern->gemm_mr != 0) {
        step += kern->gemm_nr;
    }
    return (job){.a = args,
                 .kern = kern,
                 .scratch = scratch,
                 .tq = TQ / kern->gemm_mr * kern->gemm_mr,
                 .tb = TB / step * step,
                 .ld = tile_keys(args, TK),
                 .align = args->rows == MM1_ROWS_MANY ? TK : kern->gemm_nr,
                 .n_parts = 1};
}

void mm1_attention_fwd(float *o, float *lse, const mm1_attention_args *args, void *scratch)
{
    job j = make_job(args, scratch);
    const int64_t n_heads = args->B * args->Hkv, n_tiles = (args->T + j.tq - 1) / j.tq;
    j.o = o;
    j.lse = lse;
    if (n_heads <= 0 || args->T <= 0 || args->D <= 0) {
        return;
    }
    if (args->rows == MM1_ROWS_FEW || (args->rows == MM1_ROWS_ANY && args->T <= DECODE_T && args->cos_sin == NULL)) {
        mm1_parallel_each(n_heads, decode_item, &j);
        return;
    }
    const int64_t wanted = mm1_threads() > 1 ? 4 * (int64_t)mm1_threads() : 1;
    j.n_parts = min64(n_tiles, (wanted + n_heads - 1) / n_heads);
    mm1_parallel_each(n_heads * j.n_parts, forward_item, &j);
}

/* ------------------------------------------------------------------------------------------------ backward */

/* p, ds and dq of the queries [i, i + m) of the tile, which are q and d_o, and the n keys from `key` on in the panels
 * of the item. */
static void backward_panel(const job *j, const room *r, const tile *t, int64_t i, int64_t m, const float *q,
                           int64_t ldq, const float *d_o, int64_t key, int64_t n, int64_t n_rows)
{
    const mm1_kernels *kern = j->kern;
    const int64_t D = j->a->D;
    float *s = r->s + i * j->ld, *dp = r->dp + i * j->ld;
    int64_t c0, c1;
    columns_seen(t, i, i + m, &c0, &c1);
    if (c0 < c1) {
        scores(s, j->ld, r->p, q, ldq, r->kt + key * D, m, c0, c1, D, kern);
        scores(dp, j->ld, r->p, d_o, j->a->ldo, r->vt + key * D, m, c0, c1, D, kern);
    }
    kern->attn_dsoftmax(s, dp, j->ld, r->row[0] + i, r->row[1] + i, t->at_lo + i, t->at_hi + i, m, n);
    if (c0 < c1) {
        weigh(r->acc + i * D, r->p, dp, j->ld, r->kd + key * kern->gemm_nr, n_rows, m, c0, c1, D, kern);
    }
}

static void backward_tile(const job *j, const room *r, tile *t, int64_t b, int64_t h, int64_t t0, int64_t t1,
                          int64_t s0, int64_t n_rows)
{
    const mm1_attention_args *a = j->a;
    const mm1_kernels *kern = j->kern;
    const int nr = kern->gemm_nr;
    const int64_t D = a->D;
    int64_t ldq = a->ldq;
    const float *q = turned(j, r->turned, a->q + (b * a->T + t0) * ldq + h * D, &ldq, b, t0, t1 - t0);
    const float *d_o = j->d_o + (b * a->T + t0) * a->ldo + h * D, *o = j->o + (b * a->T + t0) * a->ldo + h * D;
    float *lse = r->row[0], *delta = r->row[1];
    tile_take(t, j, b, t0, t1);
    kern->gemm_pack(r->qb, nr, q, ldq, t->m, D, true, a->scale);
    kern->gemm_pack(r->db, nr, d_o, a->ldo, t->m, D, true, 1.0f);
    for (int64_t i = 0; i < t->m; i++) {
        lse[i] = j->lse[(b * a->H + h) * a->T + t0 + i];
        delta[i] = (float)kern->dot(d_o + i * a->ldo, o + i * a->ldo, D);
    }
    memset(r->acc, 0, (size_t)(t->m * D) * sizeof *r->acc);
    float *dq = j->dq + (b * a->T + t0) * a->ldq + h * D;
    const int64_t first = tile_first_key(t, j);
    for (int64_t n0 = first; n0 < t->max_hi; n0 += j->tb) {
        const int64_t n = min64(j->tb, t->max_hi - n0);
        if (!tile_move(t, n0, n)) {
            continue;
        }
        for (int64_t i = 0; i < t->m; i += kern->gemm_mr) {
            const int64_t m = min64(kern->gemm_mr, t->m - i);
            if (n0 == first) {
                expect_rows(dq + i * a->ldq, a->ldq, m, D);
            }
            backward_panel(j, r, t, i, m, q + i * ldq, ldq, d_o + i * a->ldo, n0 - s0, n, n_rows);
        }
        weigh_turned(r->dv + (n0 - s0) * D, r->p, r->s, j->ld, r->db, t, n, D, kern);
        weigh_turned(r->dk + (n0 - s0) * D, r->p, r->dp, j->ld, r->qb, t, n, D, kern);
    }
    kern->scale(r->acc, r->acc, t->m * D, a->scale);
    turn_back(j, dq, a->ldq, r->acc, b, t0, t->m);
}

/* All queries of an item, and the keys that they see. */
static stretch keys_of(const job *j, const room *r, const item *x)
{
    return stretch_from(j, r, x->b, x->t0, x->t1, j->a->T);
}

/* dk of an item that has sums of its own, [S, D] from its first key on; dv follows sum_floats() behind. */
static float *item_sums(const job *j, const item *x)
{
    return j->sums + ((x->b * j->a->Hkv + x->g) * j->n_parts + x->part) * 2 * sum_floats(j->a);
}

/* The gradients of the keys [s0, s1) of (b, g), in r->dk and r->dv, out of those of its parts, in order; 0 where nobody
 * sees a key. */
static void add_parts(const job *j, const room *r, int64_t b, int64_t g, int64_t s0, int64_t s1)
{
    const int64_t D = j->a->D, dv_at = sum_floats(j->a);
    float *dk = r->dk, *dv = r->dv;
    memset(dk, 0, (size_t)((s1 - s0) * D) * sizeof *dk);
    memset(dv, 0, (size_t)((s1 - s0) * D) * sizeof *dv);
    for (int64_t part = 0; part < j->n_parts; part++) {
        const item x = item_of(j, r, b, g, part);
        const stretch seen = keys_of(j, r, &x);
        const int64_t from = max64(s0, seen.s0), n = (min64(s1, seen.s1) - from) * D;
        const float *part_dk = item_sums(j, &x) + (from - seen.s0) * D;
        if (n > 0) {
            j->kern->add(dk + (from - s0) * D, dk + (from - s0) * D, part_dk, n);
            j->kern->add(dv + (from - s0) * D, dv + (from - s0) * D, part_dk + dv_at, n);
        }
    }
}

static void finish_keys(const job *j, const float *dk, const float *dv, int64_t b, int64_t g, int64_t s0, int64_t s1)
{
    const mm1_attention_args *a = j->a;
    float *to = j->dv + (b * a->S + s0) * a->ldv + g * a->D;
    for (int64_t i = 0; i < s1 - s0; i++) {
        memcpy(to + i * a->ldv, dv + i * a->D, (size_t)a->D * sizeof *to);
    }
    if (s0 < s1) {
        turn_back(j, j->dk + (b * a->S + s0) * a->ldk + g * a->D, a->ldk, dk, b, s0, s1 - s0);
    }
}

static void zero_keys(const job *j, int64_t b, int64_t g, int64_t s0, int64_t s1)
{
    const mm1_attention_args *a = j->a;
    for (int64_t s = b * a->S + s0; s < b * a->S + s1; s++) {
        memset(j->dk + s * a->ldk + g * a->D, 0, (size_t)a->D * sizeof *j->dk);
        memset(j->dv + s * a->ldv + g * a->D, 0, (size_t)a->D * sizeof *j->dv);
    }
}

/* Item i of the second pass: ADD_KEYS keys of one (b, g). */
static void add_item(void *ctx, int64_t i, int64_t end)
{
    const job *j = ctx;
    const mm1_attention_args *a = j->a;
    const room r = my_room(j);
    for (; i < end; i++) {
        const int64_t g = i % a->Hkv, b = i / a->Hkv % a->B, s0 = i / a->Hkv / a->B * ADD_KEYS;
        const int64_t s1 = min64(s0 + ADD_KEYS, a->S);
        note_keys(j, &r, b);
        if (!is_apart(j, &r)) {
            add_parts(j, &r, b, g, s0, s1);
            finish_keys(j, r.dk, r.dv, b, g, s0, s1);
        }
    }
}

/* r->dk and r->dv begin at the first key of x, and are added to. */
static void backward_stretch(const job *j, const room *r, int64_t b, int64_t g, const stretch *x)
{
    const mm1_attention_args *a = j->a;
    const mm1_kernels *kern = j->kern;
    const int64_t n_heads = a->H / a->Hkv, n_keys = x->s1 - x->s0, row = b * a->S + x->s0;
    int64_t ldk = a->ldk;
    const float *k = turned(j, r->turned, a->k + row * ldk + g * a->D, &ldk, b, x->s0, n_keys);
    kern->gemm_pack(r->kt, kern->gemm_nr, k, ldk, a->D, n_keys, false, a->scale);
    kern->gemm_pack(r->vt, kern->gemm_nr, a->v + row * a->ldv + g * a->D, a->ldv, a->D, n_keys, false, 1.0f);
    kern->gemm_pack(r->kd, kern->gemm_nr, k, ldk, n_keys, a->D, true, 1.0f);
    tile t;
    for (int64_t h = g * n_heads; h < (g + 1) * n_heads; h++) {
        for (int64_t q0 = x->t0; q0 < x->t1; q0 += j->tq) {
            backward_tile(j, r, &t, b, h, q0, min64(q0 + j->tq, x->t1), x->s0, n_keys);
        }
    }
}

static void zero_sums(const job *j, const room *r, const stretch *x)
{
    const size_t bytes = (size_t)((x->s1 - x->s0) * j->a->D) * sizeof *r->dk;
    memset(r->dk, 0, bytes);
    memset(r->dv, 0, bytes);
}

/* The gradients of the keys that no query of another part sees; no two stretches see the same one. */
static void backward_apart(const job *j, const room *r, const item *x)
{
    const int64_t D = j->a->D;
    int64_t done = x->t0 == 0 ? 0 : first_seen(j, r, x->t0);
    for (int64_t t0 = x->t0; t0 < x->t1;) {
        const stretch part = stretch_from(j, r, x->b, t0, x->t1, STRETCH);
        zero_sums(j, r, &part);
        backward_stretch(j, r, x->b, x->g, &part);
        const int64_t from = max64(done, part.s0); /* a panel may begin with keys of the stretch before */
        zero_keys(j, x->b, x->g, done, from);
        finish_keys(j, r->dk + (from - part.s0) * D, r->dv + (from - part.s0) * D, x->b, x->g, from, part.s1);
        done = max64(from, part.s1);
        t0 = part.t1;
    }
    zero_keys(j, x->b, x->g, done, first_seen(j, r, x->t1));
}

/* What the queries of a part add to the gradients of keys that others see as well, in sums of its own. */
static void backward_part(const job *j, const room *mine, const item *x)
{
    const stretch seen = keys_of(j, mine, x);
    room r = *mine;
    r.dk = item_sums(j, x);
    r.dv = r.dk + sum_floats(j->a);
    zero_sums(j, &r, &seen);
    for (int64_t t0 = x->t0; t0 < x->t1;) {
        const stretch part = stretch_from(j, mine, x->b, t0, x->t1, STRETCH);
        room at = r;
        at.dk += (max64(part.s0, seen.s0) - seen.s0) * j->a->D; /* no key at all is seen from 0 on */
        at.dv += (max64(part.s0, seen.s0) - seen.s0) * j->a->D;
        backward_stretch(j, &at, x->b, x->g, &part);
        t0 = part.t1;
    }
}

static void backward_item(void *ctx, int64_t i, int64_t end)
{
    const job *j = ctx;
    const room r = my_room(j);
    for (; i < end; i++) {
        const item x = item_at(j, &r, i);
        if (is_apart(j, &r)) {
            backward_apart(j, &r, &x);
        } else {
            backward_part(j, &r, &x);
        }
    }
}

void mm1_attention_bwd(float *dq, float *dk, float *dv, const float *d_o, const float *o, const float *lse,
                       const mm1_attention_args *args, void *scratch)
{
    job j = make_job(args, scratch);
    room r;
    if (args->D <= 0) {
        return;
    }
    j.dq = dq;
    j.dk = dk;
    j.dv = dv;
    j.d_o = d_o;
    j.o = (float *)(uintptr_t)o;     /* only read */
    j.lse = (float *)(uintptr_t)lse; /* only read */
    j.n_parts = backward_parts(args);
    j.ld = tile_keys(args, TB);
    j.sums = (float *)(void *)(j.scratch + lay_out(&r, NULL, args, true) * (size_t)mm1_threads());
    mm1_parallel_each(args->B * args->Hkv * j.n_parts, backward_item, &j);
    if (j.n_parts > 1) {
        mm1_parallel_each(args->B * args->Hkv * ((args->S + ADD_KEYS - 1) / ADD_KEYS), add_item, &j);
    }
}

/* gemm.c - see gemm.h.  Blocking after Goto and van de Geijn (2008) around the table's gemm_tile, with a read where it
 * lies: its elements are broadcast one by one, so that packing would only cost; but where what a tile needs of it would
 * fall into the same sets of the caches, it is moved.
 *
 * The threads form a grid over c; each computes its rectangle alone, with packing buffers of its own and no barrier:
 * packing a block of b twice costs a percent, a barrier on a shared machine costs more.  Only the cut of K into chunks
 * decides the order in which an element is summed, and it depends on K and the form alone.
 *
 * Inside a rectangle: columns by NC, k by chunks of about KC, rows by the height of a tile.  The packed block of b (KC
 * x NC) stays in L2 while a and c stream by; a's rows of one tile stay in L1.  Where a is packed, MC of its rows (of
 * op(a)) stay in L2 and the panels of a wider block of b stream by. */
#include "kernels/gemm.h"

#include "base/alloc.h"
#include "base/half.h"
#include "base/thread.h"
#include <string.h>
#include <unistd.h>

enum {
    KC = 512,           /* most k in a chunk, */
    KC_LONG = 768,      /* where two chunks are enough, */
    KC_DOWN = 384,      /* and of a [K, M], each k of which is a line or two elsewhere */
    NC = 384,           /* columns of b in a block of KC, or for a [K, M]; a multiple of every tile width */
    NC_LONG = 256,      /* the same of longer chunks, */
    NC_PACKED = 1024,   /* and where rows of a are packed, which is done once for each block */
    MC = 168,           /* rows that are packed, or computed to the side, at once; a multiple of every tile height */
    TURNED_ROWS = 96,   /* up to here a may be packed in the place of b */
    TURN = 18,          /* multiplications that turning an element of b on its way into a panel takes as long as, */
    TURN_C = 48,        /* and turning one of c */
    FEW_ROWS_NT = 8,    /* up to here b [N, K] is not packed */
    FEW_ROWS_NN = 4,    /* and b [K, N] */
    FEW_K = 8192,       /* and a, if it must be copied, fits its buffer */
    FEW_NN_STEP = 16,   /* rows of b read side by side */
    FEW_COLUMNS = 1024, /* between two runs of the epilogue */
    FEW_UNIT = 64,      /* columns that are not shared by threads */
    FEW_WIDE = FEW_NN_STEP * FEW_COLUMNS, /* elements of b that are widened at once, or one row */
    L1_WAYS = 8, /* lines at the same place of different pages that L1 holds, on most processors */
    PAGE_FLOATS = 1024,
    FAR_FLOATS = 2048,    /* k of a [K, M] that are further apart are packed */
    FAR_COLUMNS = 256,    /* for so many columns of b; */
    PAGE_COLUMNS = 512,   /* rows of a [M, K] that are whole pages apart, for so many; */
    PARTS = 4,            /* k of a [K, M] that are such parts of a page apart, */
    PARTS_COLUMNS = 1024, /* for so many */
    FEW_PANELS = 2,       /* for which a is read in place */
    APART = 16,           /* floats between rows of a that are moved apart */
    ASK_K = 16,           /* how many k a tile takes from one time of asking to the next, see kernels.h */
    LATER_STRIPS = 8,     /* ask for the next block of b, each for an eighth of its k */
};

/* Bytes: here rows that are pages apart are better copied for each block of b than packed for many columns. */
static const long WIDE_L2 = 2L << 20;

/* Below this many multiplications waking the threads costs more than they bring. */
static const int64_t SERIAL_BELOW = 48 * 48 * 48;

typedef struct scratch {
    float *a; /* A_FLOATS: rows of a where they cannot be read in place */
    float *b; /* KC x NC_PACKED */
    float *c; /* MC x NC, for a product that is turned, or whose old c is needed after the activation */
} scratch;

static struct {
    float *memory;
    scratch *parts;
    int n;
    bool wide_l2; /* it holds a block of b and much besides */
} pool;

/* Bytes; where the C library does not tell, 0. */
static long l2_size(void)
{
#if defined(_SC_LEVEL2_CACHE_SIZE)
    return sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
    return 0;
#endif
}

enum { A_FLOATS = KC * MC, B_FLOATS = KC * NC_PACKED, C_FLOATS = MC * NC, FEW_A_FLOATS = FEW_ROWS_NT * FEW_K };
_Static_assert((int)FEW_A_FLOATS <= A_FLOATS && (int)C_FLOATS <= A_FLOATS, "few rows, and what is turned, have room");

mm1_status mm1__gemm_scratch_init(mm1_error *err)
{
    const int n = mm1_threads();
    const size_t each = (size_t)A_FLOATS + B_FLOATS + C_FLOATS;
    if (n == pool.n) {
        return MM1_OK;
    }
    float *memory = mm1_calloc((size_t)n * each, sizeof *memory);
    scratch *parts = mm1_alloc((size_t)n, sizeof *parts);
    if (memory == NULL || parts == NULL) {
        mm1_free(memory);
        mm1_free(parts);
        return mm1_error_set(err, MM1_E_NOMEM,
                             "cannot take %zu bytes of packing buffers for %d threads; set MM1_THREADS to use fewer",
                             (size_t)n * each * sizeof *memory, n);
    }
    for (int i = 0; i < n; i++) {
        float *p = memory + (size_t)i * each;
        parts[i] = (scratch){.a = p, .b = p + A_FLOATS, .c = p + A_FLOATS + B_FLOATS};
    }
    mm1_free(pool.memory);
    mm1_free(pool.parts);
    pool.memory = memory;
    pool.parts = parts;
    pool.n = n;
    pool.wide_l2 = l2_size() >= WIDE_L2;
    return MM1_OK;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ------------------------------------------------------------------------------------------------ epilogue */

static bool has_epilogue(const mm1_gemm_args *g)
{
    return g->bias != NULL || g->pre != NULL || g->act != MM1_ACT_NONE || g->residual != NULL || g->gated;
}

/* t holds the sums of the rows [m0, m1) x columns [n0, n1) of c, at t[0]; it may be that place in c. */
static void epilogue(const mm1_gemm_args *g, const mm1_kernels *kern, float *t, int64_t ldt, int64_t m0, int64_t m1,
                     int64_t n0, int64_t n1)
{
    const int64_t n = n1 - n0;
    for (int64_t m = m0; m < m1; m++, t += ldt) {
        const int64_t at = m * g->ldc + n0;
        if (g->gated) {
            const float *up = g->through + at, *gate = up - g->N;
            kern->glu_bwd(g->c + at - g->N, t, t, gate, up, n, g->act);
            continue;
        }
        if (g->through != NULL) {
            kern->act_bwd(t, t, g->through + at, n, g->act, false);
            continue;
        }
        if (g->bias != NULL) {
            kern->add(t, t, g->bias + n0, n);
        }
        if (g->pre != NULL) {
            memcpy(g->pre + at, t, (size_t)n * sizeof *t);
        }
        if (g->act != MM1_ACT_NONE) {
            kern->act_fwd(t, t, n, g->act);
        }
        if (g->residual != NULL) {
            kern->add(g->c + at, t, g->residual + at, n);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ blocks */

/* How tiles find the rows of op(a). */
typedef enum reading { IN_PLACE, APART_ROWS, PACKED } reading;

/* n columns of b.  Where the rows of a tile fall into the same lines of L1, which then holds fewer than there are, they
 * are moved apart, strip by strip, or packed.  So are the k of a [K, M] if they fall into the same sets of L2, or lie
 * further apart than processors foresee.  A copy costs as much for a panel as for many. */
static reading read_rows(const mm1_gemm_args *g, const mm1_kernels *kern, int64_t n)
{
    const bool pages = g->lda % PAGE_FLOATS == 0, parts = g->lda % (PAGE_FLOATS / PARTS) == 0;
    if (n <= FEW_PANELS * kern->gemm_nr) {
        return IN_PLACE;
    }
    if (g->trans_a) {
        return pages || (parts && n >= PARTS_COLUMNS) || (g->lda > FAR_FLOATS && n >= FAR_COLUMNS) ? PACKED : IN_PLACE;
    }
    if (!pages || kern->gemm_mr <= L1_WAYS) {
        return IN_PLACE;
    }
    return pool.wide_l2 || n < PAGE_COLUMNS ? APART_ROWS : PACKED;
}

/* k in a chunk, a multiple of 8: no k at all is one empty chunk. */
static int64_t chunk_of(const mm1_gemm_args *g)
{
    const int64_t K = g->K > 0 ? g->K : 1, most = g->trans_a ? KC_DOWN : g->K > 2 * KC_LONG ? KC : KC_LONG;
    return ceil_div(ceil_div(K, ceil_div(K, most)), 8) * 8;
}

/* Most columns of b in a block of such chunks. */
static int64_t columns_of(const mm1_gemm_args *g, const mm1_kernels *kern, reading how, int64_t chunk)
{
    const int64_t nr = kern->gemm_nr;
    if (how == PACKED) {
        return min64(NC_PACKED, B_FLOATS / chunk / nr * nr);
    }
    return g->trans_a ? NC : chunk > KC ? NC_LONG : min64(NC_PACKED, NC * KC / chunk / nr * nr);
}

/* The block of b after this one is at element `at` of b [K, N].  The last whole strips of this one ask for it, so that
 * its first strip, which reads it, need not wait for memory: each for an eighth of its k, `left` strips before the end.
 */
static mm1_gemm_ask ask_for_later(const mm1_gemm_args *g, const mm1_kernels *kern, int64_t at, int64_t kc, int64_t left)
{
    const int64_t size = (int64_t)(g->b16 != NULL ? sizeof *g->b16 : sizeof *g->b), n = ASK_K / LATER_STRIPS;
    if (left > LATER_STRIPS) {
        return (mm1_gemm_ask){0};
    }
    at += (LATER_STRIPS - left) * (kc / LATER_STRIPS) * g->ldb;
    return (mm1_gemm_ask){.at = (g->b16 != NULL ? (uintptr_t)g->b16 : (uintptr_t)g->b) + (uintptr_t)(at * size),
                          .n = n,
                          .step = g->ldb * size,
                          .advance = n * g->ldb * size,
                          .panel = kern->gemm_nr * size};
}

/* The tiles of strips with nc columns and kc k share the asking for the rows of a from `i` on, at [k, k + kc), that
 * come next: line by line along the rows, or k by k down the columns, where of two lines the first was needed by the
 * rows before. */
static mm1_gemm_ask ask_for_next(const mm1_gemm_args *g, const mm1_kernels *kern, int64_t nc, int64_t kc, int64_t i,
                                 int64_t k)
{
    const int64_t mr = kern->gemm_mr, row = g->lda * (int64_t)sizeof *g->a;
    const int64_t all = g->trans_a ? ASK_K : mr, n = ceil_div(all, ceil_div(nc, kern->gemm_nr));
    mm1_gemm_ask ask = {.n = n, .step = row, .panels = ceil_div(all, n)};
    if (g->trans_a) {
        ask.at = mm1_address_after(g->a, k * g->lda + i + mr - 1);
        ask.advance = n * row;
        ask.panel = kc / ASK_K * n * row;
    } else {
        ask.at = mm1_address_after(g->a, i * g->lda + k);
        ask.advance = ASK_K * (int64_t)sizeof *g->a;
        ask.panel = n * row;
    }
    return ask;
}

/* What the epilogue of the strip at row i and column j reads, or writes, besides c; tiles have kc k. */
static mm1_gemm_beside ask_beside(const mm1_gemm_args *g, const mm1_kernels *kern, int64_t i, int64_t j, int64_t kc)
{
    const float *const arrays[] = {g->through, g->gated ? g->through - g->N : NULL, g->gated ? g->c - g->N : NULL,
                                   g->pre, g->residual};
    const int64_t n = ceil_div(kern->gemm_mr, kc > ASK_K ? kc / ASK_K : 1), row = g->ldc * (int64_t)sizeof *g->c;
    mm1_gemm_beside x = {.k = 0};
    int count = 0;
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++) {
        if (arrays[a] != NULL && count < MM1_GEMM_BESIDE) {
            x.k = ceil_div(kern->gemm_mr, n) * ASK_K;
            x.ask[count++] = (mm1_gemm_ask){.at = mm1_address_after(arrays[a], i * g->ldc + j),
                                            .n = n,
                                            .step = row,
                                            .advance = n * row,
                                            .panel = kern->gemm_nr * (int64_t)sizeof *g->c};
        }
    }
    return x;
}

/* Rows [i, i + m) of op(a), columns [k, k + kc): in place; or in s->a, moved apart or packed.  Scaled rows, and fewer
 * than a tile has, are packed in any case. */
static mm1_gemm_strip take_rows(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, reading how,
                                int64_t i, int64_t m, int64_t k, int64_t kc)
{
    const int64_t mr = kern->gemm_mr, lda = g->lda;
    const float *a = g->trans_a ? g->a + k * lda + i : g->a + i * lda + k;
    if (how == PACKED || m != mr || g->alpha != 1.0f) {
        kern->gemm_pack(s->a, (int)mr, a, lda, kc, m, g->trans_a, g->alpha);
        return (mm1_gemm_strip){.x = s->a, .ld = mr, .k_rows = true};
    }
    if (how == IN_PLACE) {
        return (mm1_gemm_strip){.x = a, .ld = lda, .k_rows = g->trans_a};
    }
    for (int64_t r = 0; r < mr; r++) {
        memcpy(s->a + r * (kc + APART), a + r * lda, (size_t)kc * sizeof *a);
    }
    return (mm1_gemm_strip){.x = s->a, .ld = kc + APART};
}

/* A block of b [kc, nc], packed in `packed`; or in y, with row stride ldy, to be packed by the first tiles that need
 * it. */
typedef struct block {
    float *packed;
    const float *y;
    int64_t ldy, nc, kc;
} block;

/* c [m, nc] of one strip of a and a block of b. */
static void strip_product(const block *b, float *c, int64_t ldc, const mm1_gemm_strip *a, int64_t m, bool acc,
                          const mm1_kernels *kern)
{
    const int64_t nr = kern->gemm_nr, whole = m < kern->gemm_mr ? 0 : b->nc / nr * nr;
    if (b->y != NULL && whole < b->nc) {
        kern->gemm_pack(b->packed + whole * b->kc, (int)nr, b->y + whole, b->ldy, b->kc, b->nc - whole, true, 1.0f);
    }
    if (m == kern->gemm_mr) {
        kern->gemm_tiles(c, ldc, a, b->packed, nr * b->kc, b->y, b->ldy, b->kc, b->nc, acc);
        return;
    }
    for (int64_t j = 0; j < b->nc; j += nr) {
        kern->gemm_tile(c + j, ldc, a->x, b->packed + j * b->kc, b->kc, m, min64(nr, b->nc - j), acc);
    }
}

/* c [m, nc] of packed strips: panel by panel of the block, which the first strip packs.  Packing the next ones asks for
 * what it reads. */
static void strips_product(const block *b, float *c, int64_t ldc, const float *a, int64_t m, bool acc,
                           const mm1_kernels *kern)
{
    const int64_t mr = kern->gemm_mr, nr = kern->gemm_nr;
    const mm1_gemm_strip first = {.x = a, .ld = mr, .k_rows = true};
    for (int64_t j = 0; j < b->nc; j += nr) {
        const int64_t n = min64(nr, b->nc - j);
        const block panel = {b->packed + j * b->kc, b->y != NULL ? b->y + j : NULL, b->ldy, n, b->kc};
        strip_product(&panel, c + j, ldc, &first, min64(mr, m), acc, kern);
        for (int64_t i = mr; i < m; i += mr) {
            kern->gemm_tile(c + i * ldc + j, ldc, a + i * b->kc, panel.packed, b->kc, min64(mr, m - i), n, acc);
        }
    }
}

/* The rectangle [m0, m1) x [n0, n1) of the product goes to c (whose element [m0, n0] is c[0]). */
static void rectangle(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, float *c, int64_t ldc,
                      bool acc, bool finish, int64_t m0, int64_t m1, int64_t n0, int64_t n1)
{
    const int64_t chunk = chunk_of(g), mr = kern->gemm_mr, nr = kern->gemm_nr;
    const reading how = read_rows(g, kern, n1 - n0);
    const int64_t widest = columns_of(g, kern, how, chunk);
    const int64_t width = ceil_div(ceil_div(n1 - n0, ceil_div(n1 - n0, widest)), nr) * nr;
    const int64_t highest = how == PACKED ? min64(MC, A_FLOATS / chunk / mr * mr) : mr;
    const int64_t height = ceil_div(ceil_div(m1 - m0, ceil_div(m1 - m0, highest)), mr) * mr;
    for (int64_t j = n0; j < n1; j += width) {
        const int64_t nc = min64(width, n1 - j);
        for (int64_t k = 0; k < g->K || k == 0; k += chunk) {
            const int64_t kc = min64(chunk, g->K - k);
            const bool last = k + chunk >= g->K;
            const int64_t at = g->trans_b ? j * g->ldb + k : k * g->ldb + j;
            const int64_t later = g->trans_b ? -1 : !last ? at + chunk * g->ldb : j + width < n1 ? j + width : -1;
            const bool whole = g->trans_b || g->b16 != NULL; /* b is packed at once, not in passing */
            if (g->b16 != NULL) {
                kern->gemm_pack_bf16(s->b, (int)nr, g->b16 + at, g->ldb, kc, nc, !g->trans_b);
            } else if (whole) {
                kern->gemm_pack(s->b, (int)nr, g->b + at, g->ldb, kc, nc, false, 1.0f);
            }
            block b = {s->b, whole ? NULL : g->b + at, g->ldb, nc, kc};
            for (int64_t i = m0; i < m1; i += height) {
                const int64_t m = min64(height, m1 - i);
                mm1_gemm_strip rows = take_rows(g, kern, s, how, i, m, k, kc);
                float *to = c + (i - m0) * ldc + j - n0;
                if (how == PACKED) {
                    strips_product(&b, to, ldc, rows.x, m, acc || k > 0, kern);
                } else {
                    if (i + m < m1) {
                        rows.next = ask_for_next(g, kern, nc, kc, i + m, k);
                    } else if (!last) {
                        rows.next = ask_for_next(g, kern, nc, kc, m0, k + chunk);
                    }
                    if (i > m0 && later >= 0) {
                        rows.later = ask_for_later(g, kern, later, chunk, (m1 - i) / mr);
                    }
                    if (last && finish) {
                        rows.beside = ask_beside(g, kern, i, j, kc);
                    }
                    strip_product(&b, to, ldc, &rows, m, acc || k > 0, kern);
                }
                b.y = NULL;
                if (last && finish && has_epilogue(g)) {
                    epilogue(g, kern, to, ldc, i, i + m, j, j + nc);
                }
            }
        }
    }
}

/* The same where c is also the residual and its old value is needed after the activation: the sums go to the side. */
static void rectangle_aside(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, int64_t m0, int64_t m1,
                            int64_t n0, int64_t n1)
{
    for (int64_t i = m0; i < m1; i += MC) {
        for (int64_t j = n0; j < n1; j += NC) {
            const int64_t i1 = min64(i + MC, m1), j1 = min64(j + NC, n1);
            rectangle(g, kern, s, s->c, NC, false, false, i, i1, j, j1);
            epilogue(g, kern, s->c, NC, i, i1, j, j1);
        }
    }
}

/* to [columns, rows] = from [rows, columns], turned; through `room`, for as many floats. */
static void turn(float *to, int64_t ld_to, const float *from, int64_t ld_from, int64_t rows, int64_t columns,
                 float *room, const mm1_kernels *kern)
{
    const int64_t nr = kern->gemm_nr;
    kern->gemm_pack(room, (int)nr, from, ld_from, columns, rows, false, 1.0f);
    for (int64_t i = 0; i < rows; i += nr) {
        for (int64_t j = 0; j < columns; j++) {
            memcpy(to + j * ld_to + i, room + i * columns + j * nr, (size_t)min64(nr, rows - i) * sizeof *to);
        }
    }
}

/* Whether a is so small beside b [N, K] that it is packed in the place of b: c^T = b a^T, which is turned.  By time in
 * multiplications for each element of b, as measured: a last strip of few rows takes 4 more than its rows, fetching
 * strips of b 6; the last panel of a is half or whole. */
static bool is_turned(const mm1_gemm_args *g, const mm1_kernels *kern, int64_t m, int64_t n)
{
    const int64_t half = kern->gemm_nr / 2, wide = ceil_div(m, half) * half;
    return g->trans_b && !g->trans_a && g->b16 == NULL && g->alpha == 1.0f && m <= TURNED_ROWS && n > 2 * m &&
           (wide + 6) * g->K + TURN_C * m < (m + 4 + TURN) * g->K;
}

static void rectangle_turned(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, int64_t m0, int64_t m1,
                             int64_t n0, int64_t n1)
{
    const mm1_gemm_args other = {.M = g->N,
                                 .N = g->M,
                                 .K = g->K,
                                 .a = g->b,
                                 .b = g->a,
                                 .lda = g->ldb,
                                 .ldb = g->lda,
                                 .trans_b = true,
                                 .alpha = 1};
    const int64_t m = m1 - m0, nr = kern->gemm_nr, ld = ceil_div(m, nr) * nr, most = C_FLOATS / ld / nr * nr;
    for (int64_t n = n0; n < n1; n += most) {
        const int64_t n_end = min64(n + most, n1);
        float *to = g->c + m0 * g->ldc + n;
        if (g->acc) {
            turn(s->c, ld, to, g->ldc, m, n_end - n, s->a, kern);
        }
        rectangle(&other, kern, s, s->c, ld, g->acc, false, n, n_end, m0, m1);
        turn(to, g->ldc, s->c, ld, n_end - n, m, s->a, kern);
        if (has_epilogue(g)) {
            epilogue(g, kern, to, g->ldc, m0, m1, n, n_end);
        }
    }
}

static bool needs_aside(const mm1_gemm_args *g)
{
    return g->residual == g->c && (g->act != MM1_ACT_NONE || g->pre != NULL);
}

static void work(const mm1_gemm_args *g, const mm1_kernels *kern, const scratch *s, int64_t m0, int64_t m1, int64_t n0,
                 int64_t n1)
{
    if (m0 >= m1 || n0 >= n1) {
        return;
    }
    if (needs_aside(g)) {
        rectangle_aside(g, kern, s, m0, m1, n0, n1);
        return;
    }
    if (is_turned(g, kern, m1 - m0, n1 - n0)) {
        rectangle_turned(g, kern, s, m0, m1, n0, n1);
        return;
    }
    rectangle(g, kern, s, g->c + m0 * g->ldc + n0, g->ldc, g->acc, true, m0, m1, n0, n1);
}

/* ------------------------------------------------------------------------------------------------ few rows */

static bool is_few(const mm1_gemm_args *g)
{
    const bool copied = g->trans_a || g->alpha != 1.0f;
    const bool wanted = g->rows == MM1_ROWS_ANY ? g->M <= (g->trans_b ? FEW_ROWS_NT : FEW_ROWS_NN) && g->K > 0
                                                : g->rows == MM1_ROWS_FEW;
    return wanted && (g->K <= FEW_K || !copied) && (g->K <= B_FLOATS || g->b16 == NULL) && !needs_aside(g);
}

/* Rows x columns of b, from element `at` on, and their stride: in place; or widened, in `wide`. */
static const float *few_b(const mm1_gemm_args *g, const mm1_kernels *kern, float *wide, int64_t at, int64_t rows,
                          int64_t columns, int64_t *ldb)
{
    *ldb = g->ldb;
    if (g->b16 == NULL) {
        return g->b + at;
    }
    *ldb = columns;
    for (int64_t i = 0; i < rows; i++) {
        kern->from_bf16(wide + i * columns, g->b16 + at + i * g->ldb, columns);
    }
    return wide;
}

/* c [M, n] of the columns from j on. */
static void few_block(const mm1_gemm_args *g, const mm1_kernels *kern, float *c, const float *a, int64_t lda,
                      float *wide, int64_t j, int64_t n)
{
    int64_t ldb;
    if (g->trans_b) {
        const int64_t step = g->b16 == NULL || g->K == 0 ? n : g->K < FEW_WIDE ? FEW_WIDE / g->K : 1;
        for (int64_t i = 0; i < n; i += step) {
            const int64_t rows = min64(step, n - i);
            const float *b = few_b(g, kern, wide, (j + i) * g->ldb, rows, g->K, &ldb);
            kern->gemm_few_nt(c + i, g->ldc, a, lda, b, ldb, g->M, rows, g->K, g->acc);
        }
        return;
    }
    for (int64_t k = 0; k < g->K; k += FEW_NN_STEP) {
        const int64_t rows = min64(FEW_NN_STEP, g->K - k);
        const float *b = few_b(g, kern, wide, k * g->ldb + j, rows, n, &ldb);
        kern->gemm_few_nn(c, g->ldc, a + k, lda, b, ldb, g->M, n, rows, g->acc || k > 0);
    }
}

/* Columns [n0, n1) of a product with few rows: bounded by the reading of b, which happens once.  a [M, K] has alpha in
 * it; wide [B_FLOATS] is scratch. */
static void few_columns(const mm1_gemm_args *g, const mm1_kernels *kern, const float *a, int64_t lda, float *wide,
                        int64_t n0, int64_t n1)
{
    for (int64_t j = n0; j < n1; j += FEW_COLUMNS) {
        const int64_t n = min64(FEW_COLUMNS, n1 - j);
        few_block(g, kern, g->c + j, a, lda, wide, j, n);
        if (has_epilogue(g)) {
            epilogue(g, kern, g->c + j, g->ldc, 0, g->M, j, j + n);
        }
    }
}

/* a as the rows of few_columns; copied to `to` if it is transposed or to be scaled. */
static const float *few_a(const mm1_gemm_args *g, float *to, int64_t *lda)
{
    *lda = g->lda;
    if (!g->trans_a && g->alpha == 1.0f) {
        return g->a;
    }
    *lda = g->K;
    for (int64_t i = 0; i < g->M; i++) {
        for (int64_t k = 0; k < g->K; k++) {
            to[i * g->K + k] = g->alpha * (g->trans_a ? g->a[k * g->lda + i] : g->a[i * g->lda + k]);
        }
    }
    return to;
}

/* ------------------------------------------------------------------------------------------------ entry */

/* Without scratch (mm1_kernels_init() was not called, or not for so many threads): the definition. */
static void plain(const mm1_gemm_args *g, const mm1_kernels *kern)
{
    enum { STEP = 64 };
    float t[STEP];
    for (int64_t m = 0; m < g->M; m++) {
        for (int64_t n0 = 0; n0 < g->N; n0 += STEP) {
            const int64_t n1 = min64(n0 + STEP, g->N);
            for (int64_t n = n0; n < n1; n++) {
                float sum = 0.0f;
                for (int64_t k = 0; k < g->K; k++) {
                    const int64_t at = g->trans_b ? n * g->ldb + k : k * g->ldb + n;
                    sum += g->alpha * (g->trans_a ? g->a[k * g->lda + m] : g->a[m * g->lda + k]) *
                           (g->b16 != NULL ? mm1_bf16_to_f32(g->b16[at]) : g->b[at]);
                }
                t[n - n0] = g->acc ? g->c[m * g->ldc + n] + sum : sum;
            }
            epilogue(g, kern, t, STEP, m, m + 1, n0, n1);
            if (g->residual == NULL) {
                memcpy(g->c + m * g->ldc + n0, t, (size_t)(n1 - n0) * sizeof *t);
            }
        }
    }
}

/* Rows x columns of the grid of threads: the one whose slowest thread has least to do, in multiplications for each k.
 * A strip of fewer rows takes as much less; a panel of fewer columns does not.  Packing an element of b in passing
 * takes as long as four of them; an element of a costs four in each block of columns, since all threads of a row of the
 * grid fetch the same ones. */
static int grid_rows(const mm1_gemm_args *g, int n_threads, const mm1_kernels *kern)
{
    const int64_t nr = kern->gemm_nr, widest = columns_of(g, kern, IN_PLACE, chunk_of(g));
    double best = 0;
    int rows = 1;
    for (int r = 1; r <= n_threads; r++) {
        if (n_threads % r != 0) {
            continue;
        }
        const double m = (double)ceil_div(g->M, r);
        const double n = (double)(ceil_div(ceil_div(g->N, nr), n_threads / r) * nr);
        const double cost = m * n + (g->trans_b ? TURN : 4) * n + 4 * m * (double)ceil_div((int64_t)n, widest);
        if (r == 1 || cost < best) {
            best = cost;
            rows = r;
        }
    }
    return rows;
}

/* Residual = c without activation is accumulation: no need to go aside. */
static mm1_gemm_args simplified(const mm1_gemm_args *args)
{
    mm1_gemm_args g = *args;
    if (g.residual == g.c && !needs_aside(&g)) {
        g.residual = NULL;
        g.acc = true;
    }
    return g;
}

static void serial(const mm1_gemm_args *g, const mm1_kernels *kern)
{
    const int index = mm1_thread_index();
    if (index >= pool.n) {
        plain(g, kern);
        return;
    }
    const scratch *s = &pool.parts[index];
    if (is_few(g)) {
        int64_t lda;
        const float *a = few_a(g, s->a, &lda);
        few_columns(g, kern, a, lda, s->b, 0, g->N);
    } else {
        work(g, kern, s, 0, g->M, 0, g->N);
    }
}

void mm1_gemm_serial(const mm1_gemm_args *args)
{
    const mm1_gemm_args g = simplified(args);
    if (g.M > 0 && g.N > 0) {
        serial(&g, mm1_kernels_get());
    }
}

/* A product that the threads share. */
typedef struct job {
    const mm1_gemm_args *g;
    const mm1_kernels *kern;
    const float *a; /* of few rows */
    int64_t lda;
    int rows, cols; /* of the grid */
} job;

static void compute_columns(void *ctx, int64_t begin, int64_t end)
{
    const job *j = ctx;
    few_columns(j->g, j->kern, j->a, j->lda, pool.parts[mm1_thread_index()].b, begin, end);
}

static void compute_cells(void *ctx, int64_t begin, int64_t end)
{
    const job *j = ctx;
    const mm1_gemm_args *g = j->g;
    const int64_t nr = j->kern->gemm_nr, np = ceil_div(g->N, nr);
    for (int64_t i = begin; i < end; i++) {
        const int64_t r = i / j->cols, q = i % j->cols;
        work(g, j->kern, &pool.parts[mm1_thread_index()], g->M * r / j->rows, g->M * (r + 1) / j->rows,
             np * q / j->cols * nr, min64(np * (q + 1) / j->cols * nr, g->N));
    }
}

void mm1_gemm(const mm1_gemm_args *args)
{
    const mm1_gemm_args g = simplified(args);
    const mm1_kernels *kern = mm1_kernels_get();
    const int n_threads = pool.n < mm1_threads() ? pool.n : mm1_threads();
    if (g.M <= 0 || g.N <= 0) {
        return;
    }
    if (n_threads <= 1 || mm1_in_parallel() || g.M * g.N * g.K <= SERIAL_BELOW) {
        serial(&g, kern);
        return;
    }
    job j = {.g = &g, .kern = kern};
    if (is_few(&g)) {
        j.a = few_a(&g, pool.parts[0].a, &j.lda);
        mm1_parallel_for(g.N, ceil_div(ceil_div(g.N, FEW_UNIT), n_threads) * FEW_UNIT, compute_columns, &j);
    } else {
        j.rows = grid_rows(&g, n_threads, kern);
        j.cols = n_threads / j.rows;
        mm1_parallel_for(n_threads, 1, compute_cells, &j);
    }
}

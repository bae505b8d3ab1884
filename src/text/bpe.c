/* bpe.c - see bpe.h.
 *
 * Two ways to the same ids.  A short pre-token (nearly all of them) lives in two arrays on the stack that are scanned
 * for the smallest rank.  A long one, which may be a hostile run of one letter, is a doubly linked list with a heap of
 * candidate pairs, so that it costs n log n. */
#include "text/bpe.h"

#include "base/alloc.h"
#include <string.h>

enum { SHORT_WORD = 40 };
static const uint32_t NO_RANK = UINT32_MAX;
static const uint32_t NO_POS = UINT32_MAX;

static const mm1__merge_slot *find_merge(const mm1_tokenizer *t, int32_t left, int32_t right)
{
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    const size_t mask = t->merge_slots_cap - 1;
    for (size_t i = mm1__pair_hash(pair) & mask;; i = (i + 1) & mask) {
        const mm1__merge_slot *slot = &t->merge_slots[i];
        if (slot->pair == pair) {
            return slot;
        }
        if (slot->pair == UINT64_MAX) {
            return NULL;
        }
    }
}

static uint32_t rank_of(const mm1_tokenizer *t, int32_t left, int32_t right)
{
    const mm1__merge_slot *slot = find_merge(t, left, right);
    return slot == NULL ? NO_RANK : slot->rank;
}

static mm1_status encode_short(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    int32_t sym[SHORT_WORD];
    uint32_t rank[SHORT_WORD]; /* of the pair (i, i + 1) */
    size_t n = len;
    for (size_t i = 0; i < n; i++) {
        sym[i] = t->byte_ids[(uint8_t)word[i]];
    }
    for (size_t i = 0; i + 1 < n; i++) {
        rank[i] = rank_of(t, sym[i], sym[i + 1]);
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = rank[i] < rank[best] ? i : best;
        }
        if (rank[best] == NO_RANK) {
            break;
        }
        sym[best] = t->merges[rank[best]].result;
        n--;
        memmove(&sym[best + 1], &sym[best + 2], (n - best - 1) * sizeof sym[0]);
        if (best + 1 < n) {
            memmove(&rank[best + 1], &rank[best + 2], (n - best - 2) * sizeof rank[0]);
            rank[best] = rank_of(t, sym[best], sym[best + 1]);
        }
        if (best > 0) {
            rank[best - 1] = rank_of(t, sym[best - 1], sym[best]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        const mm1_status st = mm1_ids_add(ids, sym[i], err);
        if (st != MM1_OK) {
            return st;
        }
    }
    return MM1_OK;
}

/* One symbol of a long pre-token; a symbol that was merged into its left neighbour has id -1. */
typedef struct symbol {
    int32_t id;
    uint32_t rank; /* of the pair (this, next) */
    uint32_t prev, next;
} symbol;

/* A pair that may be merged: stale unless the symbol at pos still has this rank.  A rank names one pair, so no more is
 * to be compared. */
typedef struct candidate {
    uint32_t rank, pos;
} candidate;

static bool before(candidate a, candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.pos < b.pos;
}

static void sift_down(candidate *heap, size_t n, size_t i)
{
    const candidate moved = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && before(heap[child + 1], heap[child])) {
            child++;
        }
        if (!before(heap[child], moved)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void push(candidate *heap, size_t *n, candidate c)
{
    size_t i = (*n)++;
    while (i > 0 && before(c, heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = c;
}

/* Sets the rank of the pair that begins at pos and makes it a candidate. */
static void renew(const mm1_tokenizer *t, symbol *sym, uint32_t pos, candidate *heap, size_t *n_heap)
{
    const uint32_t next = sym[pos].next;
    sym[pos].rank = next == NO_POS ? NO_RANK : rank_of(t, sym[pos].id, sym[next].id);
    if (sym[pos].rank != NO_RANK) {
        push(heap, n_heap, (candidate){.rank = sym[pos].rank, .pos = pos});
    }
}

static mm1_status encode_long(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    if (len > INT32_MAX) {
        return mm1_error_set(err, MM1_E_LIMIT, "cannot encode a pre-token of %zu bytes: the limit is %d", len,
                             INT32_MAX);
    }
    mm1_status st = MM1_OK;
    const uint32_t n = (uint32_t)len;
    symbol *sym = mm1_alloc(n, sizeof *sym);
    /* Each merge takes one candidate and gives at most two, and there are fewer than n merges. */
    candidate *heap = mm1_alloc(2 * (size_t)n, sizeof *heap);
    if (sym == NULL || heap == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to encode a pre-token of %zu bytes", len);
        goto out;
    }
    size_t n_heap = 0;
    for (uint32_t i = 0; i < n; i++) {
        sym[i].id = t->byte_ids[(uint8_t)word[i]];
        sym[i].prev = i == 0 ? NO_POS : i - 1;
        sym[i].next = i + 1 == n ? NO_POS : i + 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        sym[i].rank = i + 1 == n ? NO_RANK : rank_of(t, sym[i].id, sym[i + 1].id);
        if (sym[i].rank != NO_RANK) {
            heap[n_heap++] = (candidate){.rank = sym[i].rank, .pos = i};
        }
    }
    for (size_t i = n_heap / 2; i-- > 0;) {
        sift_down(heap, n_heap, i);
    }
    while (n_heap > 0) {
        const candidate top = heap[0];
        heap[0] = heap[--n_heap];
        if (n_heap > 0) {
            sift_down(heap, n_heap, 0);
        }
        symbol *s = &sym[top.pos];
        if (s->id < 0 || s->rank != top.rank) {
            continue;
        }
        symbol *gone = &sym[s->next];
        s->id = t->merges[top.rank].result;
        s->next = gone->next;
        gone->id = -1;
        if (s->next != NO_POS) {
            sym[s->next].prev = top.pos;
        }
        renew(t, sym, top.pos, heap, &n_heap);
        if (s->prev != NO_POS) {
            renew(t, sym, s->prev, heap, &n_heap);
        }
    }
    for (uint32_t i = 0; i != NO_POS && st == MM1_OK; i = sym[i].next) {
        st = mm1_ids_add(ids, sym[i].id, err);
    }
out:
    mm1_free(heap);
    mm1_free(sym);
    return st;
}

mm1_status mm1__bpe_encode_by_merges(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    return len <= SHORT_WORD ? encode_short(t, word, len, ids, err) : encode_long(t, word, len, ids, err);
}

mm1_status mm1__bpe_encode(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    if (len <= MM1__MAX_TOKEN_BYTES) {
        const int32_t id = mm1__tokenizer_find(t, word, len);
        if (id >= 0 && (t->ignore_merges || (t->flags[id] & MM1__TOKEN_WHOLE) != 0)) {
            return mm1_ids_add(ids, id, err);
        }
    }
    return mm1__bpe_encode_by_merges(t, word, len, ids, err);
}

/* bpe.c - see bpe.h.
 *
 * Two ways to the same ids.  A short pre-token (nearly all of them) lives in an array on the stack that is scanned for
 * the smallest rank.  A long one, which may be a hostile run of one letter, is a doubly linked list with a heap of
 * candidate pairs, so that it costs n log n. */
#include "text/bpe.h"

#include "base/alloc.h"
#include <string.h>

enum { SHORT_WORD = 40, SHIFT_ITEMS = 8 };
static const uint64_t LAST = (uint64_t)MM1__NO_RANK << 32; /* above the id of the last symbol */
static const uint32_t NO_POS = UINT32_MAX;

/* A symbol of a short pre-token: the rank of its pair with the next one above its id.  Pairs of equal rank are the
 * same, so that comparing whole items compares ranks. */
static uint64_t symbol_item(const mm1_tokenizer *t, int32_t id, int32_t next)
{
    return (uint64_t)mm1__merge_rank(t, id, next) << 32 | (uint32_t)id;
}

/* Of the ids `first` [n], or of the bytes of `word` if first is NULL. */
static mm1_status encode_short(const mm1_tokenizer *t, const char *word, const int32_t *first, size_t n, mm1_ids *ids,
                               mm1_error *err)
{
    uint64_t item[SHORT_WORD + SHIFT_ITEMS];
    if (first != NULL) {
        for (size_t i = 0; i + 1 < n; i++) {
            item[i] = symbol_item(t, first[i], first[i + 1]);
        }
        item[n - 1] = LAST | (uint32_t)first[n - 1];
    } else {
        for (size_t i = 0; i + 1 < n; i++) {
            const uint8_t left = (uint8_t)word[i], right = (uint8_t)word[i + 1];
            item[i] = (uint64_t)t->byte_pair_ranks[left << 8 | right] << 32 | (uint32_t)t->byte_ids[left];
        }
        item[n - 1] = LAST | (uint32_t)t->byte_ids[(uint8_t)word[n - 1]];
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = item[i] < item[best] ? i : best;
        }
        const uint32_t rank = (uint32_t)(item[best] >> 32);
        if (rank == MM1__NO_RANK) {
            break;
        }
        const int32_t id = t->merges[rank].result;
        n--;
        for (size_t i = best + 1; i < n; i += SHIFT_ITEMS) { /* by a fixed length, which is no call */
            memmove(&item[i], &item[i + 1], SHIFT_ITEMS * sizeof item[0]);
        }
        item[best] = best + 1 < n ? symbol_item(t, id, (int32_t)(uint32_t)item[best + 1]) : LAST | (uint32_t)id;
        if (best > 0) {
            item[best - 1] = symbol_item(t, (int32_t)(uint32_t)item[best - 1], id);
        }
    }
    while (ids->cap - ids->n < n) {
        const mm1_status st = mm1__ids_grow(ids, err);
        if (st != MM1_OK) {
            return st;
        }
    }
    for (size_t i = 0; i < n; i++) {
        ids->items[ids->n++] = (int32_t)(uint32_t)item[i];
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
    sym[pos].rank = next == NO_POS ? MM1__NO_RANK : mm1__merge_rank(t, sym[pos].id, sym[next].id);
    if (sym[pos].rank != MM1__NO_RANK) {
        push(heap, n_heap, (candidate){.rank = sym[pos].rank, .pos = pos});
    }
}

/* Of the ids `first` [len], or of the bytes of `word` if first is NULL. */
static mm1_status encode_long(const mm1_tokenizer *t, const char *word, const int32_t *first, size_t len, mm1_ids *ids,
                              mm1_error *err)
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
        sym[i].id = first != NULL ? first[i] : t->byte_ids[(uint8_t)word[i]];
        sym[i].prev = i == 0 ? NO_POS : i - 1;
        sym[i].next = i + 1 == n ? NO_POS : i + 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        sym[i].rank = i + 1 == n ? MM1__NO_RANK : mm1__merge_rank(t, sym[i].id, sym[i + 1].id);
        if (sym[i].rank != MM1__NO_RANK) {
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

enum { MOST_IDS = sizeof MM1__BLANK - 1 }; /* of a byte: a blank without a token is the bytes of U+2581 */

/* The tokens of the characters of valid UTF-8, or of their bytes, into first [MOST_IDS len]; returns how many. */
static size_t first_ids(const mm1_tokenizer *t, const char *word, size_t len, int32_t *first)
{
    size_t n = 0;
    for (size_t i = 0, n_bytes; i < len; i += n_bytes) {
        for (n_bytes = 1; i + n_bytes < len && ((uint8_t)word[i + n_bytes] & 0xC0) == 0x80;) {
            n_bytes++;
        }
        const int32_t id = mm1__tokenizer_find(t, word + i, n_bytes)->id;
        if (id >= 0) {
            first[n++] = id;
            continue;
        }
        const bool is_blank = word[i] == ' ';
        const char *bytes = is_blank ? MM1__BLANK : word + i;
        for (size_t k = 0; k < (is_blank ? MOST_IDS : n_bytes); k++) {
            first[n++] = t->byte_ids[(uint8_t)bytes[k]];
        }
    }
    return n;
}

static mm1_status encode_chars(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    int32_t few[MOST_IDS * SHORT_WORD];
    if (len <= SHORT_WORD) {
        const size_t n = first_ids(t, word, len, few);
        return n <= SHORT_WORD ? encode_short(t, NULL, few, n, ids, err) : encode_long(t, NULL, few, n, ids, err);
    }
    int32_t *first = len > SIZE_MAX / MOST_IDS ? NULL : mm1_alloc(MOST_IDS * len, sizeof *first);
    const mm1_status st = first == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory to encode %zu bytes", len)
                                        : encode_long(t, NULL, first, first_ids(t, word, len, first), ids, err);
    mm1_free(first);
    return st;
}

/* Bytes, of which the last one has the token that ends a word. */
static mm1_status encode_ended(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    int32_t few[SHORT_WORD], *first = len <= SHORT_WORD ? few : mm1_alloc(len, sizeof *first);
    if (first == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to encode %zu bytes", len);
    }
    for (size_t i = 0; i < len; i++) {
        first[i] = i + 1 < len ? t->byte_ids[(uint8_t)word[i]] : t->byte_end_ids[(uint8_t)word[i]];
    }
    const mm1_status st =
        len <= SHORT_WORD ? encode_short(t, NULL, first, len, ids, err) : encode_long(t, NULL, first, len, ids, err);
    if (first != few) {
        mm1_free(first);
    }
    return st;
}

mm1_status mm1__bpe_encode_by_merges(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    return t->by_char          ? encode_chars(t, word, len, ids, err)
           : t->ends_words     ? encode_ended(t, word, len, ids, err)
           : len <= SHORT_WORD ? encode_short(t, word, NULL, len, ids, err)
                               : encode_long(t, word, NULL, len, ids, err);
}

/* The word without the bytes that have no token; *len becomes its length.  NULL if memory is short. */
static char *without_gaps(const mm1_tokenizer *t, const char *word, size_t *len)
{
    char *kept = mm1_alloc(*len, 1);
    size_t n = 0;
    for (size_t i = 0; kept != NULL && i < *len; i++) {
        if (t->byte_ids[(uint8_t)word[i]] >= 0) {
            kept[n++] = word[i];
        }
    }
    *len = n;
    return kept;
}

mm1_status mm1__bpe_encode(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err)
{
    if (len <= MM1__MAX_TOKEN_BYTES && !t->ends_words) { /* a word and the token of its bytes are two things there */
        const mm1__bytes_slot *slot = mm1__tokenizer_find(t, word, len);
        if (slot->id >= 0 && (t->ignore_merges || slot->whole)) {
            return mm1_ids_add(ids, slot->id, err);
        }
    }
    if (!t->lacks_bytes) {
        return mm1__bpe_encode_by_merges(t, word, len, ids, err);
    }
    char *kept = without_gaps(t, word, &len);
    mm1_status st = kept == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory to encode %zu bytes", len)
                    : len > 0    ? mm1__bpe_encode_by_merges(t, kept, len, ids, err)
                                 : MM1_OK;
    mm1_free(kept);
    return st;
}

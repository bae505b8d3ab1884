/* bpe_train.c - mm1_tokenizer_train(): which pairs to merge, from text.
 *
 *   text -> distinct pre-tokens with their counts -> one long row of symbols:
 *
 *     position   0   1   2   3   4   5  ...
 *     id         t   h   e   c   a   t          word 0 is [0, 3), word 1 is [3, 6)
 *     next       1   2   -   4   5   -          links end at a word's end
 *
 * Each pair of neighbours has its weighted count and the list of positions where it was once seen.  A round takes the
 * pair of highest count from a heap, visits its positions, links the two symbols into one, and moves the counts of the
 * pairs on either side.  A list is never cleaned: a position that holds another pair by now is passed over.  The same
 * holds for the heap, whose top is put back with its true count if that has fallen since.
 *
 * Memory: 17 bytes for each byte of the distinct pre-tokens, and the lists.  Time: visits, not words times rounds. */
#include <mm1/tokenizer.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <stdlib.h>
#include <string.h>

static const uint32_t NONE = UINT32_MAX;
enum { CHUNK_ITEMS = 7, N_SPECIALS = 3, MIN_VOCAB = N_SPECIALS + 256 };

/* -------- distinct pre-tokens -------- */

typedef struct word {
    uint64_t count;
    uint32_t hash;
    uint32_t begin, len; /* in words.bytes */
} word;

typedef struct words {
    mm1_buf bytes;
    word *items;
    size_t n, cap;
    uint32_t *slots; /* index into items, NONE if free */
    size_t n_slots;  /* a power of two, at least twice n */
} words;

static void words_deinit(words *w)
{
    mm1_buf_deinit(&w->bytes);
    mm1_free(w->items);
    mm1_free(w->slots);
    *w = (words){0};
}

static bool words_grow(words *w)
{
    const size_t n_slots = w->n_slots == 0 ? 1024 : w->n_slots * 2, cap = n_slots / 2;
    uint32_t *slots = mm1_alloc(n_slots, sizeof *slots);
    word *items = slots == NULL ? NULL : mm1_realloc(w->items, cap, sizeof *items);
    if (items == NULL) {
        mm1_free(slots);
        return false;
    }
    memset(slots, 0xFF, n_slots * sizeof *slots);
    for (size_t k = 0; k < w->n; k++) {
        size_t i = items[k].hash & (n_slots - 1);
        while (slots[i] != NONE) {
            i = (i + 1) & (n_slots - 1);
        }
        slots[i] = (uint32_t)k;
    }
    mm1_free(w->slots);
    w->items = items;
    w->cap = cap;
    w->slots = slots;
    w->n_slots = n_slots;
    return true;
}

static bool words_count(words *w, const char *bytes, size_t len)
{
    if (w->n == w->cap && !words_grow(w)) {
        return false;
    }
    const uint32_t hash = (uint32_t)mm1_hash64(bytes, len, 0);
    size_t i = hash & (w->n_slots - 1);
    for (; w->slots[i] != NONE; i = (i + 1) & (w->n_slots - 1)) {
        word *have = &w->items[w->slots[i]];
        if (have->hash == hash && have->len == len && memcmp(w->bytes.data + have->begin, bytes, len) == 0) {
            have->count++;
            return true;
        }
    }
    const size_t begin = w->bytes.len;
    mm1_buf_append(&w->bytes, bytes, len);
    if (mm1_buf_status(&w->bytes) != MM1_OK) {
        return false;
    }
    w->slots[i] = (uint32_t)w->n;
    w->items[w->n++] = (word){.count = 1, .hash = hash, .begin = (uint32_t)begin, .len = (uint32_t)len};
    return true;
}

static mm1_status count_text(words *w, mm1_text_next *next, void *ctx, mm1_error *err)
{
    const char *text;
    size_t len;
    while (next(ctx, &text, &len)) {
        for (size_t i = 0; i < len;) {
            const size_t end = i + mm1_utf8_valid(text + i, len - i);
            while (i < end) {
                const size_t n = mm1_gpt2_piece(text + i, end - i);
                if (!words_count(w, text + i, n)) {
                    return mm1_buf_status(&w->bytes) == MM1_E_LIMIT
                               ? mm1_error_set(err, MM1_E_LIMIT,
                                               "cannot train a tokenizer: over 4 GiB of distinct pre-tokens; give it a "
                                               "sample of the text")
                               : mm1_error_set(err, MM1_E_NOMEM, "no memory to count %zu distinct pre-tokens", w->n);
                }
                i += n;
            }
            i += mm1_utf8_invalid_prefix(text + i, len - i);
        }
    }
    return MM1_OK;
}

/* -------- pairs -------- */

/* Positions of a pair: a linked list of small blocks in one pool. */
typedef struct chunk {
    uint32_t next;
    uint32_t items[CHUNK_ITEMS];
} chunk;

typedef struct pair {
    uint64_t key; /* left << 32 | right; UINT64_MAX is a free slot */
    int64_t count;
    uint32_t first, last; /* chunks, NONE if there is none */
    uint8_t n_last;       /* positions used in the last chunk */
    bool touched;         /* its count rose in this round */
    bool merged;          /* it is in the list of merges */
} pair;

typedef struct heap_item {
    int64_t count;
    uint64_t key;
} heap_item;

typedef struct trainer {
    mm1_tokenizer *t;
    const words *w;

    int32_t *id;           /* [n] symbol at a position, -1 if it went into its left neighbour */
    uint32_t *prev, *next; /* [n] */
    uint32_t *owner;       /* [n] index of the word */
    size_t n;

    pair *pairs; /* open addressing */
    size_t n_pairs, pairs_cap;
    chunk *chunks;
    size_t n_chunks, chunks_cap;
    uint32_t free_chunk;

    heap_item *heap;
    size_t n_heap, heap_cap;
    uint64_t *touched; /* keys */
    size_t n_touched, touched_cap;
    uint32_t *visits; /* positions of the pair being merged */
    size_t visits_cap;

    int32_t *by_bytes; /* ids by the hash of their bytes: the same bytes can come about by two merges */
    size_t by_bytes_cap;
} trainer;

static void trainer_deinit(trainer *tr)
{
    mm1_free(tr->id);
    mm1_free(tr->prev);
    mm1_free(tr->next);
    mm1_free(tr->owner);
    mm1_free(tr->pairs);
    mm1_free(tr->chunks);
    mm1_free(tr->heap);
    mm1_free(tr->touched);
    mm1_free(tr->visits);
    mm1_free(tr->by_bytes);
}

/* Room for one more in a growing array; false if memory is short, as in all that follows. */
static bool room(void *array, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return true;
    }
    void *old;
    memcpy(&old, array, sizeof old);
    const size_t more = *cap < 512 ? 1024 : *cap * 2;
    void *grown = mm1_realloc(old, more, size);
    if (grown == NULL) {
        return false;
    }
    memcpy(array, &grown, sizeof grown);
    *cap = more;
    return true;
}

static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static pair *pair_slot(pair *pairs, size_t cap, uint64_t key)
{
    size_t i = mm1__pair_hash(key) & (cap - 1);
    while (pairs[i].key != key && pairs[i].key != UINT64_MAX) {
        i = (i + 1) & (cap - 1);
    }
    return &pairs[i];
}

/* The entry of a pair, made if it is new; NULL if memory is short.  Valid until the next call. */
static pair *pair_get(trainer *tr, uint64_t key)
{
    if (2 * tr->n_pairs >= tr->pairs_cap) {
        const size_t cap = tr->pairs_cap == 0 ? 65536 : tr->pairs_cap * 2;
        pair *grown = mm1_alloc(cap, sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        for (size_t i = 0; i < cap; i++) {
            grown[i].key = UINT64_MAX;
        }
        for (size_t i = 0; i < tr->pairs_cap; i++) {
            if (tr->pairs[i].key != UINT64_MAX) {
                *pair_slot(grown, cap, tr->pairs[i].key) = tr->pairs[i];
            }
        }
        mm1_free(tr->pairs);
        tr->pairs = grown;
        tr->pairs_cap = cap;
    }
    pair *p = pair_slot(tr->pairs, tr->pairs_cap, key);
    if (p->key == UINT64_MAX) {
        *p = (pair){.key = key, .first = NONE, .last = NONE};
        tr->n_pairs++;
    }
    return p;
}

static bool pair_append(trainer *tr, pair *p, uint32_t pos)
{
    if (p->last == NONE || p->n_last == CHUNK_ITEMS) {
        uint32_t c = tr->free_chunk;
        if (c != NONE) {
            tr->free_chunk = tr->chunks[c].next;
        } else {
            if (!room(&tr->chunks, tr->n_chunks, &tr->chunks_cap, sizeof *tr->chunks)) {
                return false;
            }
            c = (uint32_t)tr->n_chunks++;
        }
        tr->chunks[c].next = NONE;
        if (p->last == NONE) {
            p->first = c;
        } else {
            tr->chunks[p->last].next = c;
        }
        p->last = c;
        p->n_last = 0;
    }
    tr->chunks[p->last].items[p->n_last++] = pos;
    return true;
}

/* -------- heap: highest count first, the smaller pair of ids among equals -------- */

static bool above(heap_item a, heap_item b)
{
    return a.count != b.count ? a.count > b.count : a.key < b.key;
}

static bool heap_push(trainer *tr, heap_item item)
{
    if (!room(&tr->heap, tr->n_heap, &tr->heap_cap, sizeof *tr->heap)) {
        return false;
    }
    size_t i = tr->n_heap++;
    while (i > 0 && above(item, tr->heap[(i - 1) / 2])) {
        tr->heap[i] = tr->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    tr->heap[i] = item;
    return true;
}

static heap_item heap_pop(trainer *tr)
{
    heap_item *heap = tr->heap;
    const heap_item top = heap[0], moved = heap[--tr->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= tr->n_heap) {
            break;
        }
        if (child + 1 < tr->n_heap && above(heap[child + 1], heap[child])) {
            child++;
        }
        if (!above(heap[child], moved)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    if (tr->n_heap > 0) {
        heap[i] = moved;
    }
    return top;
}

/* -------- rounds -------- */

static size_t token_len(const trainer *tr, int32_t id)
{
    return tr->t->offsets[id + 1] - tr->t->offsets[id];
}

static int64_t weight(const trainer *tr, uint32_t pos)
{
    return (int64_t)tr->w->items[tr->owner[pos]].count;
}

/* The pair at pos (its left symbol) has come about. */
static bool gain(trainer *tr, uint32_t pos)
{
    const int32_t left = tr->id[pos], right = tr->id[tr->next[pos]];
    if (token_len(tr, left) + token_len(tr, right) > MM1__MAX_TOKEN_BYTES) {
        return true;
    }
    pair *p = pair_get(tr, key_of(left, right));
    if (p == NULL || !pair_append(tr, p, pos)) {
        return false;
    }
    p->count += weight(tr, pos);
    if (!p->touched) {
        if (!room(&tr->touched, tr->n_touched, &tr->touched_cap, sizeof *tr->touched)) {
            return false;
        }
        p->touched = true;
        tr->touched[tr->n_touched++] = p->key;
    }
    return true;
}

/* The pair at pos is about to be no more. */
static void lose(trainer *tr, uint32_t pos)
{
    pair *p = pair_slot(tr->pairs, tr->pairs_cap, key_of(tr->id[pos], tr->id[tr->next[pos]]));
    if (p->key != UINT64_MAX) { /* not counted if its token would be too long */
        p->count -= weight(tr, pos);
    }
}

/* Puts the pairs whose count rose into the heap. */
static bool settle(trainer *tr)
{
    for (size_t i = 0; i < tr->n_touched; i++) {
        pair *p = pair_slot(tr->pairs, tr->pairs_cap, tr->touched[i]);
        p->touched = false;
        if (p->count > 0 && !heap_push(tr, (heap_item){.count = p->count, .key = p->key})) {
            return false;
        }
    }
    tr->n_touched = 0;
    return true;
}

static int by_position(const void *a, const void *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Takes the list of positions from a pair into tr->visits, rising, each once. */
static bool take_visits(trainer *tr, pair *p, size_t *n_visits)
{
    size_t n = 0;
    bool rising = true;
    for (uint32_t c = p->first; c != NONE;) {
        const size_t used = c == p->last ? p->n_last : CHUNK_ITEMS;
        for (size_t k = 0; k < used; k++) {
            if (!room(&tr->visits, n, &tr->visits_cap, sizeof *tr->visits)) {
                return false;
            }
            const uint32_t pos = tr->chunks[c].items[k];
            rising = rising && (n == 0 || tr->visits[n - 1] < pos);
            tr->visits[n++] = pos;
        }
        const uint32_t next = tr->chunks[c].next;
        tr->chunks[c].next = tr->free_chunk;
        tr->free_chunk = c;
        c = next;
    }
    p->first = p->last = NONE;
    p->n_last = 0;
    if (!rising) { /* "aaa" must be merged from the left */
        qsort(tr->visits, n, sizeof *tr->visits, by_position);
    }
    *n_visits = n;
    return true;
}

static bool apply_merge(trainer *tr, uint64_t key, int32_t result)
{
    const int32_t left = (int32_t)(key >> 32), right = (int32_t)(uint32_t)key;
    pair *merged = pair_slot(tr->pairs, tr->pairs_cap, key);
    size_t n_visits = 0;
    if (!take_visits(tr, merged, &n_visits)) {
        return false;
    }
    merged->count = 0;
    for (size_t v = 0; v < n_visits; v++) {
        const uint32_t p = tr->visits[v];
        const uint32_t q = tr->next[p];
        if (tr->id[p] != left || q == NONE || tr->id[q] != right) {
            continue;
        }
        const uint32_t before = tr->prev[p], after = tr->next[q];
        if (before != NONE) {
            lose(tr, before);
        }
        if (after != NONE) {
            lose(tr, q);
        }
        tr->id[p] = result;
        tr->id[q] = -1;
        tr->next[p] = after;
        if (after != NONE) {
            tr->prev[after] = p;
        }
        if ((before != NONE && !gain(tr, before)) || (after != NONE && !gain(tr, p))) {
            return false;
        }
    }
    /* Overlaps ("aaa") have been taken off the count of the pair itself, which is gone from the text. */
    pair_slot(tr->pairs, tr->pairs_cap, key)->count = 0;
    return settle(tr);
}

/* The id of these bytes, -1 if there is none; *slot is where it is or belongs. */
static int32_t known_bytes(const trainer *tr, const char *bytes, size_t len, size_t *slot)
{
    const size_t mask = tr->by_bytes_cap - 1;
    for (*slot = (size_t)mm1_hash64(bytes, len, 0) & mask;; *slot = (*slot + 1) & mask) {
        const int32_t id = tr->by_bytes[*slot];
        if (id < 0) {
            return -1;
        }
        if (token_len(tr, id) == len && memcmp(tr->t->bytes.data + tr->t->offsets[id], bytes, len) == 0) {
            return id;
        }
    }
}

/* The id that stands for left and right together, with a new token if there is none; -1 if memory is short. */
static int32_t result_of(trainer *tr, int32_t left, int32_t right)
{
    char bytes[MM1__MAX_TOKEN_BYTES];
    const size_t n_left = token_len(tr, left), n_right = token_len(tr, right);
    memcpy(bytes, tr->t->bytes.data + tr->t->offsets[left], n_left);
    memcpy(bytes + n_left, tr->t->bytes.data + tr->t->offsets[right], n_right);
    size_t slot;
    int32_t id = known_bytes(tr, bytes, n_left + n_right, &slot);
    if (id < 0) {
        id = tr->t->vocab_size;
        if (!mm1__tokenizer_add_token(tr->t, bytes, n_left + n_right, MM1__TOKEN_IN_VOCAB)) {
            return -1;
        }
        tr->by_bytes[slot] = id;
    }
    return id;
}

static bool run_rounds(trainer *tr, int32_t vocab_size, int64_t min_count)
{
    while (tr->t->vocab_size < vocab_size && tr->n_heap > 0) {
        const heap_item top = heap_pop(tr);
        pair *p = pair_slot(tr->pairs, tr->pairs_cap, top.key);
        if (p->count != top.count) { /* it has fallen since; a rise has an item of its own */
            if (p->count > 0 && p->count < top.count &&
                !heap_push(tr, (heap_item){.count = p->count, .key = top.key})) {
                return false;
            }
            continue;
        }
        if (top.count < min_count) {
            break;
        }
        const int32_t left = (int32_t)(top.key >> 32), right = (int32_t)(uint32_t)top.key;
        const int32_t result = result_of(tr, left, right);
        if (result < 0) {
            return false;
        }
        if (!p->merged) {
            p->merged = true;
            if (!mm1__tokenizer_add_merge(tr->t, left, right, result)) {
                return false;
            }
        }
        if (!apply_merge(tr, top.key, result)) {
            return false;
        }
    }
    return true;
}

/* The row of symbols and the first counts. */
static bool lay_out(trainer *tr)
{
    tr->n = tr->w->bytes.len;
    tr->id = mm1_alloc(tr->n, sizeof *tr->id);
    tr->prev = mm1_alloc(tr->n, sizeof *tr->prev);
    tr->next = mm1_alloc(tr->n, sizeof *tr->next);
    tr->owner = mm1_alloc(tr->n, sizeof *tr->owner);
    if (tr->id == NULL || tr->prev == NULL || tr->next == NULL || tr->owner == NULL) {
        return false;
    }
    for (size_t k = 0; k < tr->w->n; k++) {
        const uint32_t begin = tr->w->items[k].begin, end = begin + tr->w->items[k].len;
        for (uint32_t i = begin; i < end; i++) {
            tr->id[i] = tr->t->byte_ids[(uint8_t)tr->w->bytes.data[i]];
            tr->prev[i] = i == begin ? NONE : i - 1;
            tr->next[i] = i + 1 == end ? NONE : i + 1;
            tr->owner[i] = (uint32_t)k;
        }
        for (uint32_t i = begin; i + 1 < end; i++) {
            if (!gain(tr, i)) {
                return false;
            }
        }
    }
    return settle(tr);
}

static mm1_status start_vocabulary(trainer *tr, int32_t vocab_size, mm1_error *err)
{
    static const char *const specials[N_SPECIALS] = {MM1_TOKEN_END, MM1_TOKEN_PAD, MM1_TOKEN_IMAGE};
    bool ok = true;
    tr->by_bytes_cap = 1024;
    while (tr->by_bytes_cap < 2 * (size_t)vocab_size) {
        tr->by_bytes_cap *= 2;
    }
    tr->by_bytes = mm1_alloc(tr->by_bytes_cap, sizeof *tr->by_bytes);
    tr->t = mm1__tokenizer_new();
    if (tr->by_bytes == NULL || tr->t == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a vocabulary of %d", vocab_size);
    }
    memset(tr->by_bytes, 0xFF, tr->by_bytes_cap * sizeof *tr->by_bytes);
    for (int i = 0; i < N_SPECIALS && ok; i++) {
        ok = mm1__tokenizer_add_token(tr->t, specials[i], strlen(specials[i]),
                                      MM1__TOKEN_SPECIAL | MM1__TOKEN_ADDED | MM1__TOKEN_IN_VOCAB);
    }
    for (int rank = 0; rank < 256 && ok; rank++) {
        const char byte = (char)mm1_byte_of_rank(rank);
        size_t slot;
        tr->t->byte_ids[(uint8_t)byte] = tr->t->vocab_size;
        (void)known_bytes(tr, &byte, 1, &slot);
        tr->by_bytes[slot] = tr->t->vocab_size;
        ok = mm1__tokenizer_add_token(tr->t, &byte, 1, MM1__TOKEN_IN_VOCAB);
    }
    return ok ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "no memory for a vocabulary of %d", vocab_size);
}

/* What the file will say, apart from tokens and merges. */
static void set_components(mm1_tokenizer *t)
{
    t->n_splits = 1; /* splits[0] is NULL: GPT-2's pattern */
    t->pre_trim_offsets = true;
    t->post_byte_level = true;
    t->post_add_prefix_space = true;
    t->post_trim_offsets = false;
    t->post_use_regex = true;
    t->decoder_byte_level = true;
    t->decoder_add_prefix_space = true;
    t->decoder_trim_offsets = true;
    t->decoder_use_regex = true;
}

mm1_status mm1_tokenizer_train(const mm1_tokenizer_train_config *config, mm1_text_next *next, void *ctx,
                               mm1_tokenizer **out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    words w = {0};
    trainer tr = {.w = &w, .free_chunk = NONE};
    *out = NULL;
    mm1_buf_init(&w.bytes, UINT32_MAX - 1);
    if (config->vocab_size < MIN_VOCAB || config->vocab_size > MM1__MAX_VOCAB) {
        st =
            mm1_error_set(err, MM1_E_CONFIG,
                          "cannot train a tokenizer with vocab_size %d: it must be %d (special tokens and bytes) to %d",
                          config->vocab_size, MIN_VOCAB, MM1__MAX_VOCAB);
        goto out;
    }
    if (config->min_frequency < 0) {
        st = mm1_error_set(err, MM1_E_CONFIG, "cannot train a tokenizer with min_frequency %d: it must not be negative",
                           config->min_frequency);
        goto out;
    }
    st = start_vocabulary(&tr, config->vocab_size, err);
    if (st == MM1_OK) {
        st = count_text(&w, next, ctx, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    mm1_free(w.slots);
    w.slots = NULL;
    const int64_t min_count = config->min_frequency < 1 ? 1 : config->min_frequency;
    if (!lay_out(&tr) || !run_rounds(&tr, config->vocab_size, min_count)) {
        st = mm1_error_set(err, MM1_E_NOMEM,
                           "no memory to train a tokenizer on %zu distinct pre-tokens (%zu bytes); give it a sample of "
                           "the text",
                           w.n, w.bytes.len);
        goto out;
    }
    set_components(tr.t);
    st = mm1__tokenizer_index_tokens(tr.t, err);
    if (st == MM1_OK) {
        st = mm1__tokenizer_finish(tr.t, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    mm1_log(MM1_LOG_INFO, "trained a tokenizer: %zu distinct pre-tokens, %d ids, %zu merges", w.n, tr.t->vocab_size,
            tr.t->n_merges);
    *out = tr.t;
    tr.t = NULL;
out:
    mm1_tokenizer_destroy(tr.t);
    trainer_deinit(&tr);
    words_deinit(&w);
    return st;
}

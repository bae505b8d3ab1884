/* tokenizer.c - see mm1/tokenizer.h: what a tokenizer is made of, and ids back to text.  Text to ids is in
 * tokenizer_encode.c, files are in tokenizer_load.c and tokenizer_save.c, training is in bpe_train.c. */
#include <mm1/tokenizer.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "text/bpe.h"
#include "text/tokenizer_impl.h"
#include <string.h>

enum { SHORT_TOKEN = 16 };

/* -------- ids -------- */

mm1_status mm1__ids_grow(mm1_ids *ids, mm1_error *err)
{
    const size_t cap = ids->cap < 64 ? 64 : ids->cap > SIZE_MAX / 2 ? SIZE_MAX : ids->cap * 2;
    int32_t *items = mm1_realloc(ids->items, cap, sizeof *items);
    if (items == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a list of %zu token ids", cap);
    }
    ids->items = items;
    ids->cap = cap;
    return MM1_OK;
}

mm1_status mm1_ids_add(mm1_ids *ids, int32_t id, mm1_error *err)
{
    const mm1_status st = ids->n == ids->cap ? mm1__ids_grow(ids, err) : MM1_OK;
    if (st == MM1_OK) {
        ids->items[ids->n++] = id;
    }
    return st;
}

void mm1_ids_free(mm1_ids *ids)
{
    mm1_free(ids->items);
    *ids = (mm1_ids){0};
}

/* -------- building -------- */

mm1_tokenizer *mm1__tokenizer_new(void)
{
    mm1_tokenizer *t = mm1_calloc(1, sizeof *t);
    if (t != NULL) {
        mm1_buf_init(&t->bytes, UINT32_MAX - 1);
        memset(t->byte_ids, 0xFF, sizeof t->byte_ids);
        memset(t->byte_end_ids, 0xFF, sizeof t->byte_end_ids);
        t->unk = -1;
    }
    return t;
}

void mm1_tokenizer_destroy(mm1_tokenizer *t)
{
    if (t != NULL) {
        for (size_t i = 0; i < t->n_splits; i++) {
            mm1_split_destroy(t->splits[i]);
        }
        mm1_free(t->specials);
        mm1_free(t->added_text);
        mm1_free(t->byte_pair_ranks);
        mm1_free(t->merge_slots);
        mm1_free(t->merges);
        mm1_free(t->by_bytes);
        mm1_free(t->flags);
        mm1_free(t->offsets);
        mm1_buf_deinit(&t->bytes);
        mm1_free(t);
    }
}

bool mm1__tokenizer_add_token(mm1_tokenizer *t, const char *bytes, size_t len, unsigned flags)
{
    const size_t n = (size_t)t->vocab_size;
    if (n + 1 >= t->tokens_cap) {
        const size_t cap = t->tokens_cap < 512 ? 1024 : t->tokens_cap * 2;
        uint32_t *offsets = mm1_realloc(t->offsets, cap, sizeof *offsets);
        if (offsets == NULL) {
            return false;
        }
        t->offsets = offsets;
        uint16_t *token_flags = mm1_realloc(t->flags, cap, sizeof *token_flags);
        if (token_flags == NULL) {
            return false;
        }
        t->flags = token_flags;
        t->tokens_cap = cap;
    }
    t->offsets[n] = (uint32_t)t->bytes.len;
    mm1_buf_append(&t->bytes, bytes, len);
    if (mm1_buf_status(&t->bytes) != MM1_OK) {
        return false;
    }
    t->offsets[n + 1] = (uint32_t)t->bytes.len;
    t->flags[n] = (uint16_t)flags;
    t->vocab_size++;
    return true;
}

/* The bytes that stand behind an id, those of special tokens included. */
static const char *spelling(const mm1_tokenizer *t, int32_t id, size_t *len)
{
    *len = t->offsets[id + 1] - t->offsets[id];
    return mm1_buf_str(&t->bytes) + t->offsets[id];
}

/* What a slot is found by: all the bytes of a short token, so that its spelling need not be looked at; else a hash. */
static uint64_t bytes_key(const char *bytes, size_t len)
{
    if (len > MM1__KEY_BYTES || len == 0) {
        return mm1_hash64(bytes, len, 0);
    }
    if (len < 4) { /* some bytes twice rather than a loop */
        return (uint64_t)(uint8_t)bytes[0] | (uint64_t)(uint8_t)bytes[len / 2] << 8 |
               (uint64_t)(uint8_t)bytes[len - 1] << 16;
    }
    uint32_t first, last;
    memcpy(&first, bytes, sizeof first);
    memcpy(&last, bytes + len - sizeof last, sizeof last);
    return (uint64_t)last << 32 | first;
}

/* The slot of these bytes, or the free slot where they belong. */
static mm1__bytes_slot *bytes_slot(const mm1_tokenizer *t, const char *bytes, size_t len, uint64_t key)
{
    const size_t mask = t->by_bytes_cap - 1;
    for (size_t i = mm1__pair_hash(key ^ len) & mask;; i = (i + 1) & mask) {
        mm1__bytes_slot *slot = &t->by_bytes[i];
        if (slot->id < 0) {
            return slot;
        }
        if (slot->key == key && slot->len == len) {
            size_t n;
            if (len <= MM1__KEY_BYTES || memcmp(spelling(t, slot->id, &n), bytes, len) == 0) {
                return slot;
            }
        }
    }
}

const mm1__bytes_slot *mm1__tokenizer_find(const mm1_tokenizer *t, const char *bytes, size_t len)
{
    return bytes_slot(t, bytes, len, bytes_key(bytes, len));
}

/* At least twice n, a power of two, at least 16. */
static size_t table_cap(size_t n)
{
    size_t cap = 16;
    while (cap < 2 * n) {
        cap *= 2;
    }
    return cap;
}

/* Text becomes a token through merges: it is in the vocabulary, spelled in the alphabet, and not special. */
static bool from_text(unsigned flags)
{
    return (flags & MM1__TOKEN_IN_VOCAB) != 0 && (flags & (MM1__TOKEN_SPECIAL | MM1__TOKEN_RAW | MM1__TOKEN_BYTE)) == 0;
}

mm1_status mm1__tokenizer_index_tokens(mm1_tokenizer *t, mm1_error *err)
{
    t->by_bytes_cap = table_cap((size_t)t->vocab_size);
    t->by_bytes = mm1_alloc(t->by_bytes_cap, sizeof *t->by_bytes);
    if (t->by_bytes == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a vocabulary of %d", t->vocab_size);
    }
    memset(t->by_bytes, 0xFF, t->by_bytes_cap * sizeof *t->by_bytes);
    for (int32_t id = 0; id < t->vocab_size; id++) {
        size_t len;
        const char *bytes = spelling(t, id, &len);
        if ((t->flags[id] & MM1__TOKEN_BYTE) != 0) {
            t->byte_ids[(uint8_t)*bytes] = id;
        }
        if ((t->flags[id] & MM1__TOKEN_WORD_END) != 0 && len == 2) {
            t->byte_end_ids[(uint8_t)*bytes] = id;
        }
        if (!from_text(t->flags[id])) {
            continue;
        }
        const uint64_t key = bytes_key(bytes, len);
        mm1__bytes_slot *slot = bytes_slot(t, bytes, len, key);
        if (slot->id >= 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "ids %d and %d of the vocabulary have the same bytes", slot->id,
                                 id);
        }
        *slot = (mm1__bytes_slot){.key = key, .id = id, .len = (uint16_t)len};
        if (len == 1 && !t->by_char) {
            t->byte_ids[(uint8_t)*bytes] = id;
        }
    }
    for (int b = 0; b < 256; b++) {
        t->lacks_bytes = t->lacks_bytes || t->byte_ids[b] < 0;
    }
    return MM1_OK;
}

bool mm1__tokenizer_add_merge(mm1_tokenizer *t, int32_t left, int32_t right, int32_t result)
{
    if (t->n_merges == t->merges_cap) {
        const size_t cap = t->merges_cap < 512 ? 1024 : t->merges_cap * 2;
        mm1__merge *merges = mm1_realloc(t->merges, cap, sizeof *merges);
        if (merges == NULL) {
            return false;
        }
        t->merges = merges;
        t->merges_cap = cap;
    }
    t->merges[t->n_merges++] = (mm1__merge){.left = left, .right = right, .result = result};
    return true;
}

/* The byte that a token stands for, -1 if it is longer. */
static int byte_of(const mm1_tokenizer *t, int32_t id)
{
    size_t len;
    const char *bytes = spelling(t, id, &len);
    return len == 1 && t->byte_ids[(uint8_t)*bytes] == id ? (uint8_t)*bytes : -1;
}

static mm1_status index_merges(mm1_tokenizer *t, mm1_error *err)
{
    t->merge_slots_cap = table_cap(t->n_merges);
    t->merge_slots = mm1_alloc(t->merge_slots_cap, sizeof *t->merge_slots);
    t->byte_pair_ranks = mm1_alloc(256 * 256, sizeof *t->byte_pair_ranks);
    if (t->merge_slots == NULL || t->byte_pair_ranks == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu merges", t->n_merges);
    }
    memset(t->merge_slots, 0xFF, t->merge_slots_cap * sizeof *t->merge_slots);
    memset(t->byte_pair_ranks, 0xFF, 256 * 256 * sizeof *t->byte_pair_ranks);
    const size_t mask = t->merge_slots_cap - 1;
    for (size_t rank = 0; rank < t->n_merges; rank++) {
        const mm1__merge *m = &t->merges[rank];
        const uint64_t pair = (uint64_t)(uint32_t)m->left << 32 | (uint32_t)m->right;
        size_t i = mm1__pair_hash(pair) & mask;
        while (t->merge_slots[i].pair != UINT64_MAX && t->merge_slots[i].pair != pair) {
            i = (i + 1) & mask;
        }
        /* A merge listed twice has its later rank, as in the `tokenizers` package. */
        t->merge_slots[i] = (mm1__merge_slot){.pair = pair, .rank = (uint32_t)rank};
        const int left = byte_of(t, m->left), right = byte_of(t, m->right);
        if (left >= 0 && right >= 0) {
            t->byte_pair_ranks[left << 8 | right] = (uint32_t)rank;
        }
    }
    return MM1_OK;
}

/* Lists of the special tokens and of the added ones that are looked for in text. */
static mm1_status list_added(mm1_tokenizer *t, mm1_error *err)
{
    size_t n = 0;
    for (int32_t id = 0; id < t->vocab_size; id++) {
        n += (t->flags[id] & (MM1__TOKEN_SPECIAL | MM1__TOKEN_ADDED)) != 0;
    }
    t->specials = mm1_alloc(n, sizeof *t->specials);
    t->added_text = mm1_alloc(n, sizeof *t->added_text);
    if (t->specials == NULL || t->added_text == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu added tokens", n);
    }
    for (int32_t id = 0; id < t->vocab_size; id++) {
        if ((t->flags[id] & MM1__TOKEN_SPECIAL) != 0) {
            t->specials[t->n_specials++] = id;
        } else if ((t->flags[id] & MM1__TOKEN_ADDED) != 0) {
            size_t len;
            t->added_first[(uint8_t)*spelling(t, id, &len)] = 1;
            t->added_text[t->n_added_text++] = id;
        }
    }
    return MM1_OK;
}

int32_t mm1__tokenizer_default_bos(const mm1_tokenizer *t)
{
    return mm1_tokenizer_special_id(t, MM1_TOKEN_END);
}

static void set_default_roles(mm1_tokenizer *t)
{
    const int32_t end = mm1__tokenizer_default_bos(t);
    t->roles = (mm1_token_roles){
        .bos = end, .pad = mm1_tokenizer_special_id(t, MM1_TOKEN_PAD), .n_eos = end >= 0, .eos = {end}};
}

/* Whether a blank stands behind another character. */
static bool has_inner_blank(const char *s, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        if (s[i] == ' ' && s[i - 1] != ' ') {
            return true;
        }
    }
    return false;
}

mm1_status mm1__tokenizer_finish(mm1_tokenizer *t, mm1_error *err)
{
    mm1_ids ids = {0};
    mm1_status st = index_merges(t, err);
    t->cuts_words = t->by_char;
    if (st == MM1_OK) {
        st = list_added(t, err);
    }
    for (int32_t id = 0; st == MM1_OK && id < t->vocab_size; id++) {
        if (from_text(t->flags[id])) {
            size_t len;
            const char *bytes = spelling(t, id, &len);
            t->cuts_words = t->cuts_words && !has_inner_blank(bytes, len);
            ids.n = 0;
            st = mm1__bpe_encode_by_merges(t, bytes, len, &ids, err);
            if (st == MM1_OK && ids.n == 1 && ids.items[0] == id) {
                bytes_slot(t, bytes, len, bytes_key(bytes, len))->whole = true;
            }
        }
    }
    set_default_roles(t);
    mm1_ids_free(&ids);
    return st;
}

/* -------- roles -------- */

const mm1_token_roles *mm1_tokenizer_roles(const mm1_tokenizer *t)
{
    return &t->roles;
}

mm1_status mm1_tokenizer_set_roles(mm1_tokenizer *t, const mm1_token_roles *roles, mm1_error *err)
{
    bool ok = roles->bos >= -1 && roles->bos < t->vocab_size && roles->pad >= -1 && roles->pad < t->vocab_size &&
              roles->n_eos >= 0 && roles->n_eos <= MM1_MAX_EOS;
    for (int32_t i = 0; ok && i < roles->n_eos; i++) {
        ok = roles->eos[i] >= 0 && roles->eos[i] < t->vocab_size;
    }
    if (!ok) {
        return mm1_error_set(err, MM1_E_ARG,
                             "roles of tokens: an id is not in the vocabulary of %d, or over %d end a "
                             "text",
                             t->vocab_size, MM1_MAX_EOS);
    }
    t->roles = *roles;
    return MM1_OK;
}

bool mm1_tokenizer_says_eos(const mm1_tokenizer *t)
{
    return t->post_roberta;
}

bool mm1_tokenizer_is_eos(const mm1_tokenizer *t, int32_t id)
{
    for (int32_t i = 0; i < t->roles.n_eos; i++) {
        if (t->roles.eos[i] == id) {
            return true;
        }
    }
    return false;
}

/* -------- questions -------- */

int32_t mm1_tokenizer_vocab_size(const mm1_tokenizer *t)
{
    return t->vocab_size;
}

int32_t mm1_tokenizer_special_id(const mm1_tokenizer *t, const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 0; i < t->n_specials; i++) {
        size_t len;
        const char *have = spelling(t, t->specials[i], &len);
        if (len == n && memcmp(have, name, n) == 0) {
            return t->specials[i];
        }
    }
    return -1;
}

bool mm1_tokenizer_is_special(const mm1_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab_size && (t->flags[id] & MM1__TOKEN_SPECIAL) != 0;
}

const char *mm1_tokenizer_special_name(const mm1_tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    return mm1_tokenizer_is_special(t, id) ? spelling(t, id, len) : NULL;
}

const char *mm1_tokenizer_token_bytes(const mm1_tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || id >= t->vocab_size) {
        return NULL;
    }
    if ((t->flags[id] & MM1__TOKEN_SPECIAL) != 0) {
        return "";
    }
    return spelling(t, id, len);
}

bool mm1_tokenizer_strips_start(const mm1_tokenizer *t)
{
    return t->strips_start;
}

mm1_status mm1_tokenizer_decode(const mm1_tokenizer *t, const int32_t *ids, size_t n, char **text, size_t *len,
                                mm1_error *err)
{
    size_t total = 0, piece = 0;
    *text = NULL;
    *len = 0;
    for (size_t i = 0; i < n; i++) {
        if (mm1_tokenizer_token_bytes(t, ids[i], &piece) == NULL) {
            return mm1_error_set(err, MM1_E_ARG, "cannot decode id %d at position %zu: the vocabulary has ids 0 to %d",
                                 ids[i], i, t->vocab_size - 1);
        }
        if (!mm1_size_add(total, piece, &total)) {
            return mm1_error_set(err, MM1_E_NOMEM, "the text of %zu ids is too long", n);
        }
    }
    char *out = total > SIZE_MAX - SHORT_TOKEN ? NULL : mm1_alloc(total + SHORT_TOKEN, 1);
    if (out == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a text of %zu bytes", total);
    }
    char *p = out;
    for (size_t i = 0; i < n; i++) {
        if ((t->flags[ids[i]] & MM1__TOKEN_SPECIAL) != 0) {
            continue;
        }
        const size_t at = t->offsets[ids[i]];
        piece = t->offsets[ids[i] + 1] - at;
        if (piece <= SHORT_TOKEN && t->bytes.len - at >= SHORT_TOKEN) {
            memcpy(p, t->bytes.data + at, SHORT_TOKEN); /* of fixed length, which is no call; the rest is overwritten */
        } else {
            memcpy(p, t->bytes.data + at, piece);
        }
        p += piece;
    }
    if (t->strips_start && total > 0 && *out == ' ') {
        memmove(out, out + 1, --total);
        p--;
    }
    *p = '\0';
    *text = out;
    *len = total;
    return MM1_OK;
}

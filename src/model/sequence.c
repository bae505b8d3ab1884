/* sequence.c - see sequence.h. */
#include "model/sequence.h"

#include "base/alloc.h"
#include <inttypes.h>
#include <string.h>

const mm1_token_roles mm1__no_tokenizer_roles = {.bos = 0, .pad = -1, .n_eos = 1, .eos = {0}};

static const char *name_of(const mm1_document *d)
{
    return d->name != NULL ? d->name : "document";
}

/* Appends the tokens of one part, or its slots. */
static mm1_status append_part(const mm1_document *d, size_t i, const mm1_tokenizer *t, int64_t n_visual, mm1_ids *ids,
                              mm1_error *err)
{
    const mm1_part *p = &d->parts[i];
    mm1_status st = MM1_OK;
    if (p->kind == MM1_PART_TEXT && t == NULL) {
        return MM1_OK;
    }
    if (p->kind == MM1_PART_TEXT) {
        const bool goes_on = i > 0 && d->parts[i - 1].kind == MM1_PART_TEXT;
        st = goes_on ? mm1_tokenizer_encode_more(t, p->bytes, p->len, ids, err)
                     : mm1_tokenizer_encode(t, p->bytes, p->len, ids, err);
    } else if (n_visual < 1 || n_visual > INT32_MAX - (int64_t)ids->n) {
        return mm1_error_set(err, n_visual < 1 ? MM1_E_ARG : MM1_E_LIMIT,
                             "%s: part %zu: an image of %" PRId64 " slots at position %zu; a sequence holds 1 to %d",
                             name_of(d), i, n_visual, ids->n, INT32_MAX);
    } else {
        for (int64_t k = 0; st == MM1_OK && k < n_visual; k++) {
            st = mm1_ids_add(ids, MM1_IMAGE_SLOT, err);
        }
    }
    if (st == MM1_OK && ids->n >= INT32_MAX) { /* one is left for <eos> */
        st = mm1_error_set(err, MM1_E_LIMIT, "%s: part %zu: %zu positions; a sequence holds at most %d", name_of(d), i,
                           ids->n, INT32_MAX);
    }
    return st;
}

mm1_status mm1_sequence_build(const mm1_document *d, const mm1_tokenizer *t, int64_t n_visual, bool complete,
                              mm1_sequence *out, mm1_error *err)
{
    mm1_ids ids = {0};
    size_t *ends = NULL; /* [n_parts] where each part ends in ids */
    mm1_sequence s = {0};
    mm1_status st = MM1_OK;
    const mm1_token_roles *roles = t != NULL ? mm1_tokenizer_roles(t) : &mm1__no_tokenizer_roles;

    *out = (mm1_sequence){0};
    if (complete && roles->n_eos == 0) {
        return mm1_error_set(err, MM1_E_ARG, "the tokenizer has no token that ends a document");
    }
    ends = mm1_alloc(d->n_parts, sizeof *ends);
    if (ends == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu parts", name_of(d), d->n_parts);
        goto out;
    }
    st = roles->bos >= 0 ? mm1_ids_add(&ids, roles->bos, err) : MM1_OK;
    const size_t n_lead = ids.n;
    for (size_t i = 0; st == MM1_OK && i < d->n_parts; i++) {
        st = append_part(d, i, t, n_visual, &ids, err);
        ends[i] = ids.n;
    }
    if (st == MM1_OK && complete) {
        st = mm1_ids_add(&ids, roles->eos[0], err);
    }
    if (st != MM1_OK) {
        goto out;
    }

    s.len = (int64_t)ids.n;
    s.tokens = mm1_alloc(ids.n, sizeof *s.tokens);
    s.train = mm1_calloc(ids.n, sizeof *s.train);
    s.part = mm1_alloc(ids.n, sizeof *s.part);
    if (s.tokens == NULL || s.train == NULL || s.part == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for a sequence of %zu positions", name_of(d), ids.n);
        goto out;
    }
    if (ids.n > 0) {
        memcpy(s.tokens, ids.items, ids.n * sizeof *s.tokens);
    }
    size_t at = 0;
    for (; at < n_lead; at++) {
        s.part[at] = -1;
    }
    for (size_t i = 0; i < d->n_parts; i++) {
        const bool is_image = d->parts[i].kind == MM1_PART_IMAGE;
        s.n_images += is_image;
        for (; at < ends[i]; at++) {
            s.part[at] = (int32_t)i;
            s.train[at] = !is_image && d->parts[i].train;
        }
    }
    if (complete) {
        const mm1_part *last = d->n_parts > 0 ? &d->parts[d->n_parts - 1] : NULL;
        s.part[at] = -1;
        s.train[at] = last != NULL && last->kind == MM1_PART_TEXT && last->train;
    }
    if (s.len > 0) {
        s.train[0] = 0; /* there is nothing to predict it from */
    }
    *out = s;
    s = (mm1_sequence){0};
out:
    mm1_sequence_deinit(&s);
    mm1_free(ends);
    mm1_ids_free(&ids);
    return st;
}

void mm1_sequence_deinit(mm1_sequence *s)
{
    mm1_free(s->tokens);
    mm1_free(s->train);
    mm1_free(s->part);
    *s = (mm1_sequence){0};
}

mm1_status mm1_batch_init(mm1_batch *b, int64_t B, int64_t T, int64_t max_images, int64_t image_px, mm1_error *err)
{
    size_t n = 0, n_pixels = 0;
    *b = (mm1_batch){0};
    if (B < 1 || T < 1 || max_images < 0 || image_px < 0 || (max_images > 0 && image_px == 0)) {
        return mm1_error_set(err, MM1_E_ARG,
                             "cannot make a batch of %" PRId64 " rows, %" PRId64 " positions, %" PRId64
                             " images of %" PRId64 " px",
                             B, T, max_images, image_px);
    }
    if (T > INT32_MAX || !mm1_size_mul((size_t)B, (size_t)T, &n) ||
        !mm1_size_mul((size_t)image_px, (size_t)image_px, &n_pixels) || !mm1_size_mul(n_pixels, 3, &n_pixels) ||
        !mm1_size_mul(n_pixels, (size_t)max_images, &n_pixels)) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "a batch of %" PRId64 " rows, %" PRId64 " positions, %" PRId64 " images of %" PRId64
                             " px is too large",
                             B, T, max_images, image_px);
    }
    b->B = B;
    b->T = T;
    b->image_px = image_px;
    b->max_images = max_images;
    int32_t **arrays[] = {&b->token, &b->visual, &b->target, &b->position, &b->lo, &b->hi, &b->example, &b->source};
    bool ok = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = mm1_alloc(n, sizeof **arrays[i]);
        ok = ok && *arrays[i] != NULL;
    }
    b->pixels = mm1_alloc(n_pixels, sizeof *b->pixels);
    b->row_len = mm1_alloc((size_t)B, sizeof *b->row_len);
    b->row_images = mm1_alloc((size_t)B, sizeof *b->row_images);
    if (!ok || b->pixels == NULL || b->row_len == NULL || b->row_images == NULL) {
        mm1_batch_deinit(b);
        return mm1_error_set(err, MM1_E_NOMEM,
                             "no memory for a batch of %" PRId64 " rows, %" PRId64 " positions and %" PRId64
                             " images of %" PRId64 " px",
                             B, T, max_images, image_px);
    }
    mm1_batch_clear(b);
    return MM1_OK;
}

void mm1_batch_deinit(mm1_batch *b)
{
    int32_t *arrays[] = {b->token, b->visual, b->target, b->position, b->lo, b->hi, b->example, b->source};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        mm1_free(arrays[i]);
    }
    mm1_free(b->pixels);
    mm1_free(b->row_len);
    mm1_free(b->row_images);
    *b = (mm1_batch){0};
}

void mm1_batch_clear(mm1_batch *b)
{
    const size_t bytes = (size_t)(b->B * b->T) * sizeof(int32_t);
    memset(b->token, 0, bytes);
    memset(b->visual, 0xff, bytes); /* -1 */
    memset(b->target, 0xff, bytes);
    memset(b->position, 0, bytes);
    memset(b->lo, 0, bytes);
    memset(b->hi, 0, bytes);
    memset(b->example, 0xff, bytes);
    memset(b->source, 0xff, bytes);
    memset(b->row_len, 0, (size_t)b->B * sizeof *b->row_len);
    memset(b->row_images, 0, (size_t)b->B * sizeof *b->row_images);
    b->n_targets = b->n_tokens = b->I = 0;
}

/* Everything that mm1_batch_add() relies on, before anything is changed. */
static mm1_status check_fits(const mm1_batch *b, int64_t row, const mm1_sequence *s, int64_t n_visual, const char *name,
                             mm1_error *err)
{
    if (row < 0 || row >= b->B) {
        return mm1_error_set(err, MM1_E_ARG, "%s: row %" PRId64 " of a batch of %" PRId64, name, row, b->B);
    }
    if (s->len > b->T - b->row_len[row]) {
        return mm1_error_set(err, MM1_E_SHAPE,
                             "%s: %" PRId64 " positions do not fit in row %" PRId64 ", where %" PRId64 " of %" PRId64
                             " are taken",
                             name, s->len, row, b->row_len[row], b->T);
    }
    if (s->n_images > b->max_images - b->I) {
        return mm1_error_set(err, MM1_E_SHAPE,
                             "%s: %" PRId64 " images do not fit in a batch with %" PRId64 " of %" PRId64, name,
                             s->n_images, b->I, b->max_images);
    }
    int64_t n_slots = 0;
    for (int64_t t = 0; t < s->len; t++) {
        n_slots += s->tokens[t] == MM1_IMAGE_SLOT;
    }
    if (s->n_images > 0 && (n_visual < 1 || n_visual > INT32_MAX / (b->I + s->n_images))) {
        return mm1_error_set(err, MM1_E_SHAPE, "%s: %" PRId64 " slots an image with %" PRId64 " images", name, n_visual,
                             b->I + s->n_images);
    }
    if (n_slots != (s->n_images > 0 ? s->n_images * n_visual : 0)) {
        return mm1_error_set(err, MM1_E_SHAPE,
                             "%s: %" PRId64 " image slots for %" PRId64 " images of %" PRId64 " slots each", name,
                             n_slots, s->n_images, n_visual);
    }
    for (int64_t r = row + 1; s->n_images > 0 && r < b->B; r++) {
        if (b->row_images[r] > 0) {
            return mm1_error_set(err, MM1_E_STATE,
                                 "%s: images cannot be added to row %" PRId64 " after row %" PRId64
                                 ": rows are filled in order",
                                 name, row, r);
        }
    }
    return MM1_OK;
}

mm1_status mm1_batch_add(mm1_batch *b, int64_t row, const mm1_sequence *s, int64_t n_visual, int32_t source,
                         const char *name, mm1_error *err)
{
    const mm1_status st = check_fits(b, row, s, n_visual, name != NULL ? name : "sequence", err);
    if (st != MM1_OK || s->len == 0) {
        return st;
    }
    const int64_t start = b->row_len[row], base = row * b->T + start;
    const int32_t example = start > 0 ? b->example[base - 1] + 1 : 0;
    int32_t visual = (int32_t)(b->I * (s->n_images > 0 ? n_visual : 0));

    for (int64_t t = 0; t < s->len; t++) {
        const int64_t i = base + t;
        const bool is_slot = s->tokens[t] == MM1_IMAGE_SLOT;
        b->token[i] = is_slot ? 0 : s->tokens[t];
        b->visual[i] = is_slot ? visual++ : -1;
        b->target[i] = t + 1 < s->len && s->train[t + 1] ? s->tokens[t + 1] : -1;
        b->position[i] = (int32_t)t;
        b->lo[i] = (int32_t)start;
        b->hi[i] = (int32_t)(start + t + 1);
        b->example[i] = example;
        b->source[i] = source;
        b->n_targets += b->target[i] >= 0;
    }
    b->row_len[row] += s->len;
    b->row_images[row] += s->n_images;
    b->n_tokens += s->len;
    b->I += s->n_images;
    return MM1_OK;
}

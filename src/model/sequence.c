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

/* What is being built: `ids` grows, `visual` follows it. */
typedef struct builder {
    const mm1_document *d;
    const mm1_image_spec *images;
    mm1_ids ids, visual;
    int64_t n_images, n_tiles;
    mm1_image_layout *layouts; /* [n_images] */
} builder;

static mm1_status too_many_positions(const builder *b, size_t i, int64_t n, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_LIMIT, "%s: part %zu: %" PRId64 " positions; a sequence holds at most %d",
                         name_of(b->d), i, n, INT32_MAX);
}

/* Room in `visual` for what was added to `ids`, filled as text. */
static mm1_status follow(builder *b, mm1_error *err)
{
    mm1_status st = MM1_OK;
    while (st == MM1_OK && b->visual.n < b->ids.n) {
        st = mm1_ids_add(&b->visual, MM1_VISUAL_NONE, err);
    }
    return st;
}

static mm1_status append_image(builder *b, size_t i, mm1_error *err)
{
    const mm1_part *p = &b->d->parts[i];
    mm1_image_layout *l = &b->layouts[b->n_images];
    const size_t at = b->ids.n;
    mm1_status st =
        mm1_image_layout_read(b->images, p->bytes, p->len, p->name != NULL ? p->name : name_of(b->d), l, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s: part %zu", name_of(b->d), i);
    }
    if (p->overview) {
        mm1_image_layout_shrink(b->images, l);
    }
    if (l->n_positions >= INT32_MAX - (int64_t)at || (b->n_tiles + l->n_tiles) * b->images->n_tokens > INT32_MAX) {
        return too_many_positions(b, i, (int64_t)at + l->n_positions, err);
    }
    for (int32_t k = 0; st == MM1_OK && k < l->n_positions; k++) {
        st = mm1_ids_add(&b->ids, MM1_IMAGE_SLOT, err);
    }
    st = st != MM1_OK ? st : follow(b, err);
    if (st == MM1_OK) {
        mm1_image_layout_write(b->images, l, b->n_tiles, b->ids.items + at, b->visual.items + at);
        b->n_tiles += l->n_tiles;
        b->n_images++;
    }
    return st;
}

static mm1_status append_token(builder *b, const char *name, const mm1_tokenizer *t, mm1_error *err)
{
    const mm1_token_roles *roles = mm1_tokenizer_roles(t);
    const bool is_eos = strcmp(name, MM1_PART_TOKEN_EOS) == 0;
    const int32_t id = !is_eos ? mm1_tokenizer_special_id(t, name) : roles->n_eos > 0 ? roles->eos[0] : -1;
    if (id < 0 && is_eos) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: the tokenizer has no token that ends a document", name_of(b->d));
    }
    if (id < 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: the tokenizer has no special token \"%.80s\"", name_of(b->d),
                             name);
    }
    return mm1_ids_add(&b->ids, id, err);
}

/* A text that begins the document, goes on from another, or stands behind a token or an image. */
static mm1_status append_text(builder *b, size_t i, const mm1_tokenizer *t, mm1_error *err)
{
    const mm1_part *p = &b->d->parts[i];
    const mm1_text_place place = i == 0                                     ? MM1_TEXT_FIRST
                                 : b->d->parts[i - 1].kind == MM1_PART_TEXT ? MM1_TEXT_GOES_ON
                                                                            : MM1_TEXT_BEHIND_TOKEN;
    return mm1_tokenizer_encode_at(t, place, p->bytes, p->len, &b->ids, err);
}

/* Appends the tokens of one part, or the positions of its image. */
static mm1_status append_part(builder *b, size_t i, const mm1_tokenizer *t, mm1_error *err)
{
    const mm1_part *p = &b->d->parts[i];
    if (p->kind == MM1_PART_IMAGE) {
        return append_image(b, i, err);
    }
    if (t == NULL) {
        return MM1_OK;
    }
    mm1_status st = p->kind == MM1_PART_TOKEN ? append_token(b, p->bytes, t, err) : append_text(b, i, t, err);
    if (st == MM1_OK && b->ids.n >= INT32_MAX) { /* one is left for <eos> */
        st = too_many_positions(b, i, (int64_t)b->ids.n, err);
    }
    return st != MM1_OK ? st : follow(b, err);
}

mm1_status mm1_sequence_init(mm1_sequence *s, int64_t len, int64_t n_images, mm1_error *err)
{
    const size_t n = (size_t)len;
    *s = (mm1_sequence){.len = len, .n_images = n_images};
    s->tokens = mm1_calloc(n, sizeof *s->tokens);
    s->visual = mm1_alloc(n, sizeof *s->visual);
    s->train = mm1_calloc(n, sizeof *s->train);
    s->part = mm1_calloc(n, sizeof *s->part);
    s->images = mm1_calloc((size_t)n_images, sizeof *s->images);
    if (s->tokens == NULL || s->visual == NULL || s->train == NULL || s->part == NULL || s->images == NULL) {
        mm1_sequence_deinit(s);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a sequence of %" PRId64 " positions", len);
    }
    for (size_t i = 0; i < n; i++) {
        s->visual[i] = MM1_VISUAL_NONE;
    }
    return MM1_OK;
}

mm1_status mm1_sequence_build(const mm1_document *d, const mm1_tokenizer *t, const mm1_image_spec *images,
                              bool complete, mm1_sequence *out, mm1_error *err)
{
    builder b = {.d = d, .images = images};
    size_t *ends = NULL; /* [n_parts] where each part ends in ids */
    mm1_status st = MM1_OK;
    const mm1_token_roles *roles = t != NULL ? mm1_tokenizer_roles(t) : &mm1__no_tokenizer_roles;

    *out = (mm1_sequence){0};
    complete = complete && !d->is_closed;
    if (complete && roles->n_eos == 0) {
        return mm1_error_set(err, MM1_E_ARG, "the tokenizer has no token that ends a document");
    }
    ends = mm1_alloc(d->n_parts, sizeof *ends);
    b.layouts = mm1_calloc(mm1_document_n_images(d), sizeof *b.layouts);
    if (ends == NULL || b.layouts == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu parts", name_of(d), d->n_parts);
        goto out;
    }
    st = roles->bos >= 0 && !d->is_bare ? mm1_ids_add(&b.ids, roles->bos, err) : MM1_OK;
    st = st != MM1_OK ? st : follow(&b, err);
    const size_t n_lead = b.ids.n;
    for (size_t i = 0; st == MM1_OK && i < d->n_parts; i++) {
        st = append_part(&b, i, t, err);
        ends[i] = b.ids.n;
    }
    if (st == MM1_OK && complete) {
        st = mm1_ids_add(&b.ids, roles->eos[0], err);
        st = st != MM1_OK ? st : follow(&b, err);
    }
    if (st == MM1_OK) {
        st = mm1_sequence_init(out, (int64_t)b.ids.n, b.n_images, err);
        st = st == MM1_OK ? st : mm1_error_wrap(err, st, "%s", name_of(d));
    }
    if (st != MM1_OK) {
        goto out;
    }

    if (out->len > 0) {
        memcpy(out->tokens, b.ids.items, b.ids.n * sizeof *out->tokens);
        memcpy(out->visual, b.visual.items, b.visual.n * sizeof *out->visual);
        memcpy(out->images, b.layouts, (size_t)b.n_images * sizeof *out->images);
    }
    size_t at = 0;
    for (; at < n_lead; at++) {
        out->part[at] = -1;
    }
    for (size_t i = 0; i < d->n_parts; i++) {
        for (; at < ends[i]; at++) {
            out->part[at] = (int32_t)i;
            out->train[at] = d->parts[i].kind != MM1_PART_IMAGE && d->parts[i].train;
        }
    }
    if (complete) {
        const mm1_part *last = d->n_parts > 0 ? &d->parts[d->n_parts - 1] : NULL;
        out->part[at] = -1;
        out->train[at] = last != NULL && last->kind != MM1_PART_IMAGE && last->train;
    }
    if (out->len > 0) {
        out->train[0] = 0; /* there is nothing to predict it from */
    }
out:
    mm1_free(b.layouts);
    mm1_free(ends);
    mm1_ids_free(&b.ids);
    mm1_ids_free(&b.visual);
    return st;
}

int64_t mm1_sequence_n_tiles(const mm1_sequence *s, int64_t first, int64_t n)
{
    int64_t n_tiles = 0;
    for (int64_t i = first; i < first + n; i++) {
        n_tiles += s->images[i].n_tiles;
    }
    return n_tiles;
}

mm1_status mm1_sequence_check(const mm1_sequence *s, const mm1_image_spec *images, const char *name, mm1_error *err)
{
    const int64_t n_tiles = mm1_sequence_n_tiles(s, 0, s->n_images);
    const int64_t k = s->n_images > 0 ? images->n_tokens : 0, n_rows = n_tiles * k;
    if (s->n_images > 0 && (k < 1 || n_tiles > INT32_MAX / k)) {
        return mm1_error_set(err, MM1_E_SHAPE, "%s: %" PRId64 " slots a tile with %" PRId64 " tiles", name, k, n_tiles);
    }
    int64_t n_slots = 0, n_wanted = 0;
    for (int64_t i = 0; i < s->n_images; i++) {
        n_wanted += s->images[i].n_slots;
    }
    for (int64_t t = 0; t < s->len; t++) {
        const int32_t v = s->visual[t];
        const bool is_slot = v >= 0 || v == MM1_VISUAL_NEWLINE;
        n_slots += is_slot;
        if (is_slot != (s->tokens[t] == MM1_IMAGE_SLOT) || v >= n_rows ||
            (v == MM1_VISUAL_NEWLINE && (n_tiles == 0 || !mm1_image_has_newline(images)))) {
            return mm1_error_set(err, MM1_E_SHAPE,
                                 "%s: position %" PRId64 " holds token %d and row %d of %" PRId64 " visual tokens",
                                 name, t, (int)s->tokens[t], (int)v, n_rows);
        }
    }
    if (n_slots != n_wanted) {
        return mm1_error_set(err, MM1_E_SHAPE,
                             "%s: %" PRId64 " image slots for %" PRId64 " images of %" PRId64 " slots in all", name,
                             n_slots, s->n_images, n_wanted);
    }
    return MM1_OK;
}

void mm1_sequence_deinit(mm1_sequence *s)
{
    mm1_free(s->tokens);
    mm1_free(s->visual);
    mm1_free(s->train);
    mm1_free(s->part);
    mm1_free(s->images);
    *s = (mm1_sequence){0};
}

mm1_status mm1_batch_init(mm1_batch *b, int64_t B, int64_t T, int64_t max_tiles, int64_t image_px, mm1_error *err)
{
    size_t n = 0, n_pixels = 0;
    *b = (mm1_batch){0};
    if (B < 1 || T < 1 || max_tiles < 0 || image_px < 0 || (max_tiles > 0 && image_px == 0)) {
        return mm1_error_set(err, MM1_E_ARG,
                             "cannot make a batch of %" PRId64 " rows, %" PRId64 " positions, %" PRId64
                             " tiles of %" PRId64 " px",
                             B, T, max_tiles, image_px);
    }
    if (T > INT32_MAX || !mm1_size_mul((size_t)B, (size_t)T, &n) ||
        !mm1_size_mul((size_t)image_px, (size_t)image_px, &n_pixels) || !mm1_size_mul(n_pixels, 3, &n_pixels) ||
        !mm1_size_mul(n_pixels, (size_t)max_tiles, &n_pixels)) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "a batch of %" PRId64 " rows, %" PRId64 " positions, %" PRId64 " tiles of %" PRId64
                             " px is too large",
                             B, T, max_tiles, image_px);
    }
    b->B = B;
    b->T = T;
    b->image_px = image_px;
    b->max_tiles = max_tiles;
    int32_t **arrays[] = {&b->token, &b->visual, &b->target, &b->position, &b->lo, &b->hi, &b->example, &b->source};
    bool ok = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = mm1_alloc(n, sizeof **arrays[i]);
        ok = ok && *arrays[i] != NULL;
    }
    b->pixels = mm1_alloc(n_pixels, sizeof *b->pixels);
    b->row_len = mm1_alloc((size_t)B, sizeof *b->row_len);
    b->row_images = mm1_alloc((size_t)B, sizeof *b->row_images);
    b->row_tiles = mm1_alloc((size_t)B, sizeof *b->row_tiles);
    if (!ok || b->pixels == NULL || b->row_len == NULL || b->row_images == NULL || b->row_tiles == NULL) {
        mm1_batch_deinit(b);
        return mm1_error_set(err, MM1_E_NOMEM,
                             "no memory for a batch of %" PRId64 " rows, %" PRId64 " positions and %" PRId64
                             " tiles of %" PRId64 " px",
                             B, T, max_tiles, image_px);
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
    mm1_free(b->row_tiles);
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
    memset(b->row_tiles, 0, (size_t)b->B * sizeof *b->row_tiles);
    b->n_targets = b->n_tokens = b->n_images = b->I = 0;
}

/* Everything that mm1_batch_add() relies on, before anything is changed.  n_tiles: of the sequence. */
static mm1_status check_fits(const mm1_batch *b, int64_t row, const mm1_sequence *s, const mm1_image_spec *images,
                             int64_t n_tiles, const char *name, mm1_error *err)
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
    if (n_tiles > b->max_tiles - b->I) {
        return mm1_error_set(err, MM1_E_SHAPE,
                             "%s: %" PRId64 " images of %" PRId64 " tiles do not fit in a batch with %" PRId64
                             " tiles of %" PRId64,
                             name, s->n_images, n_tiles, b->I, b->max_tiles);
    }
    const mm1_status st = mm1_sequence_check(s, images, name, err);
    if (st != MM1_OK) {
        return st;
    }
    if (s->n_images > 0 && images->n_tokens > (INT32_MAX - 1) / (b->I + n_tiles)) {
        return mm1_error_set(err, MM1_E_SHAPE, "%s: %" PRId64 " slots a tile with %" PRId64 " tiles", name,
                             images->n_tokens, b->I + n_tiles);
    }
    for (int64_t r = row + 1; n_tiles > 0 && r < b->B; r++) {
        if (b->row_tiles[r] > 0) {
            return mm1_error_set(err, MM1_E_STATE,
                                 "%s: images cannot be added to row %" PRId64 " after row %" PRId64
                                 ": rows are filled in order",
                                 name, row, r);
        }
    }
    return MM1_OK;
}

mm1_status mm1_batch_add(mm1_batch *b, int64_t row, const mm1_sequence *s, const mm1_image_spec *images, int32_t source,
                         const char *name, mm1_error *err)
{
    const int64_t n_tiles = mm1_sequence_n_tiles(s, 0, s->n_images);
    const mm1_status st = check_fits(b, row, s, images, n_tiles, name != NULL ? name : "sequence", err);
    if (st != MM1_OK || s->len == 0) {
        return st;
    }
    const int64_t start = b->row_len[row], base = row * b->T + start;
    const int32_t example = start > 0 ? b->example[base - 1] + 1 : 0;
    const int32_t first = s->n_images > 0 ? (int32_t)mm1_batch_visual_row(images, b->I) : 0;

    for (int64_t t = 0; t < s->len; t++) {
        const int64_t i = base + t;
        const int32_t v = s->visual[t];
        b->token[i] = s->tokens[t] == MM1_IMAGE_SLOT ? 0 : s->tokens[t];
        b->visual[i] = v >= 0 ? first + v : v == MM1_VISUAL_NEWLINE ? 0 : -1;
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
    b->row_tiles[row] += n_tiles;
    b->n_tokens += s->len;
    b->n_images += s->n_images;
    b->I += n_tiles;
    return MM1_OK;
}

/* session.c - see session.h. */
#include "generate/session.h"

#include "base/alloc.h"
#include "kernels/gemm.h"
#include <inttypes.h>
#include <string.h>

struct mm1_session {
    const mm1_model *model;
    int64_t n, n_max;
    int64_t piece;        /* positions at once, at most */
    float *kv;            /* [n_layers, 2, n_max, Hkv D] */
    mm1_kv_cache *caches; /* [n_layers] into kv */
    size_t kv_bytes;
    mm1_arena arena;
    mm1_tape tape;
    float *logits; /* [V] */
};

static const char *name_of(const mm1_document *d)
{
    return d != NULL && d->name != NULL ? d->name : "the prompt";
}

/* ---- memory ---- */

static void point_caches(mm1_kv_cache *caches, int64_t n_layers, float *kv, int64_t n_max, int64_t width)
{
    for (int64_t i = 0; i < n_layers; i++) {
        float *k = kv + 2 * i * n_max * width;
        caches[i] = (mm1_kv_cache){.k = k, .v = k + n_max * width, .n_max = n_max};
    }
}

/* Runs the two things a session does on an arena that only counts: one image, and the longest piece at the end of a
 * full context (the scratch of attention grows with the keys). */
static mm1_status plan_arena(mm1_session *s, size_t *bytes, mm1_error *err)
{
    const mm1_model *m = s->model;
    mm1_arena dry;
    mm1_tape tape;
    mm1_status st = mm1_arena_init_dry(&dry, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_tape_init(&tape, &dry, err);
    if (st == MM1_OK) {
        if (mm1_model_config_has_vision(&m->config)) {
            (void)mm1_model_visual(m, &tape, NULL, 1);
        }
        st = mm1_tape_status(&tape, err);
        mm1_tape_reset(&tape, 0);
        for (int64_t i = 0; i < m->config.decoder.n_layers; i++) {
            s->caches[i].n = s->n_max - s->piece;
        }
        const mm1_decoder_input in = {.B = 1, .T = s->piece};
        (void)mm1_decoder_forward(&m->decoder, &tape, &in, s->caches);
        st = st != MM1_OK ? st : mm1_tape_status(&tape, err);
        *bytes = dry.peak;
        mm1_tape_deinit(&tape);
    }
    mm1_arena_deinit(&dry);
    return st;
}

static mm1_status take_memory(mm1_session *s, mm1_error *err)
{
    const mm1_decoder_config *c = &s->model->config.decoder;
    const size_t width = (size_t)(c->n_kv_heads * c->head_dim);
    size_t n_floats = 0, arena_bytes = 0;
    s->caches = mm1_calloc((size_t)c->n_layers, sizeof *s->caches);
    s->logits = mm1_alloc((size_t)c->vocab_size, sizeof *s->logits);
    if (s->caches == NULL || s->logits == NULL || !mm1_size_mul((size_t)s->n_max, width, &n_floats) ||
        !mm1_size_mul(n_floats, 2 * (size_t)c->n_layers, &n_floats) ||
        !mm1_size_mul(n_floats, sizeof(float), &s->kv_bytes) || (s->kv = mm1_alloc(n_floats, sizeof(float))) == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM,
                             "no memory for a context of %" PRId64 " positions in %" PRId64 " layers (%zu MiB); use a "
                             "shorter one",
                             s->n_max, c->n_layers, s->kv_bytes >> 20);
    }
    point_caches(s->caches, c->n_layers, s->kv, s->n_max, (int64_t)width);
    mm1_status st = plan_arena(s, &arena_bytes, err);
    st = st != MM1_OK ? st : mm1_arena_init(&s->arena, arena_bytes, err);
    st = st != MM1_OK ? st : mm1_tape_init(&s->tape, &s->arena, err);
    mm1_session_reset(s);
    return st;
}

mm1_status mm1_session_create(const mm1_model *m, int64_t n_positions, mm1_session **out, mm1_error *err)
{
    const int64_t most = m->config.decoder.max_positions;
    *out = NULL;
    if (!mm1_model_config_has_decoder(&m->config)) {
        return mm1_error_set(err, MM1_E_STATE, "a model without a decoder has no text to give");
    }
    if (m->tokenizer == NULL || m->params.data == NULL) {
        return mm1_error_set(err, MM1_E_STATE, "a session needs a model with a tokenizer and values");
    }
    if (n_positions < 0 || n_positions > most) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "a context of %" PRId64 " positions: the model was made for 1 to %" PRId64, n_positions,
                             most);
    }
    mm1_session *s = mm1_calloc(1, sizeof *s);
    if (s == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a session");
    }
    s->model = m;
    s->n_max = n_positions == 0 ? most : n_positions;
    s->piece = s->n_max < MM1_SESSION_PIECE ? s->n_max : MM1_SESSION_PIECE;
    const mm1_status st = take_memory(s, err);
    if (st != MM1_OK) {
        mm1_session_destroy(s);
        return st;
    }
    *out = s;
    return MM1_OK;
}

void mm1_session_destroy(mm1_session *s)
{
    if (s != NULL) {
        mm1_tape_deinit(&s->tape);
        mm1_arena_deinit(&s->arena);
        mm1_free(s->logits);
        mm1_free(s->caches);
        mm1_free(s->kv);
        mm1_free(s);
    }
}

void mm1_session_reset(mm1_session *s)
{
    s->n = 0;
    for (int64_t i = 0; i < s->model->config.decoder.n_layers; i++) {
        s->caches[i].n = 0;
    }
}

const mm1_model *mm1_session_model(const mm1_session *s)
{
    return s->model;
}

int64_t mm1_session_n(const mm1_session *s)
{
    return s->n;
}

int64_t mm1_session_n_max(const mm1_session *s)
{
    return s->n_max;
}

size_t mm1_session_bytes(const mm1_session *s)
{
    return s->kv_bytes + s->arena.cap;
}

/* ---- reading ---- */

static int64_t n_image_positions(const mm1_sequence *q)
{
    int64_t n = 0;
    for (int64_t i = 0; i < q->n_images; i++) {
        n += q->images[i].n_positions;
    }
    return n;
}

mm1_status mm1__session_sequence(const mm1_session *s, const mm1_document *d, bool complete, mm1_sequence *out,
                                 mm1_error *err)
{
    const mm1_model *m = s->model;
    const int64_t n_images = (int64_t)mm1_document_n_images(d), max_images = m->config.image.max_images;
    *out = (mm1_sequence){0};
    if (n_images > 0 && mm1_model_n_visual(m) == 0) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: this model is a decoder alone; it takes no pictures",
                             name_of(d));
    }
    if (n_images > max_images) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: %" PRId64 " images are more than the %" PRId64 " that this model takes", name_of(d),
                             n_images, max_images);
    }
    mm1_status st = mm1_sequence_build(d, m->tokenizer, &m->images, complete, out, err);
    if (st == MM1_OK && out->len > s->n_max) {
        st = mm1_error_set(err, MM1_E_LIMIT,
                           "%s: %" PRId64 " positions (%" PRId64 " of them for %" PRId64
                           " images) do not fit in a context of %" PRId64 "; make it shorter",
                           name_of(d), out->len, n_image_positions(out), n_images, s->n_max);
        mm1_sequence_deinit(out);
    }
    return st;
}

/* visual [n_visual_rows, C]: the newline and the visual tokens of all images of d, tile by tile. */
static mm1_status encode_images(mm1_session *s, const mm1_document *d, const mm1_sequence *q, mm1_batch *b,
                                float *visual, mm1_error *err)
{
    const mm1_model *m = s->model;
    const int64_t C = m->config.decoder.width, n = mm1_model_n_visual(m) * C, tile_size = 3 * b->image_px * b->image_px;
    int64_t image = 0, tile = 0;
    mm1_status st = MM1_OK;
    mm1_model_visual_begin(m, visual);
    for (size_t i = 0; st == MM1_OK && image < q->n_images && i < d->n_parts; i++) {
        const mm1_part *p = &d->parts[i];
        if (p->kind != MM1_PART_IMAGE) {
            continue;
        }
        const mm1_image_layout *l = &q->images[image++];
        float *pixels = b->pixels + tile * tile_size;
        st = mm1_image_to_pixels(&m->images, l, p->bytes, p->len, p->name != NULL ? p->name : name_of(d), pixels, err);
        for (int32_t k = 0; st == MM1_OK && k < l->n_tiles; k++, tile++) {
            mm1_tape_reset(&s->tape, 0);
            const mm1_tensor *v = mm1_model_visual(m, &s->tape, pixels + k * tile_size, 1);
            st = mm1_tape_status(&s->tape, err);
            if (st == MM1_OK) {
                memcpy(visual + mm1_batch_visual_row(&m->images, tile) * C, v->data, (size_t)n * sizeof *visual);
            }
        }
    }
    if (st == MM1_OK && (image != q->n_images || tile != b->I)) {
        st = mm1_error_set(err, MM1_E_SHAPE,
                           "%s: %" PRId64 " images of %" PRId64 " tiles for the slots of %" PRId64 " of %" PRId64,
                           name_of(d), image, tile, q->n_images, b->I);
    }
    return st;
}

/* Hidden states of the next T positions, borrowed until the tape is reset; NULL on an error of the tape. */
static const float *forward(mm1_session *s, mm1_decoder_input *in, float *visual, int64_t n_visual_rows)
{
    const int64_t C = s->model->config.decoder.width;
    mm1_tape_reset(&s->tape, 0);
    if (n_visual_rows > 0) {
        in->visual = mm1_tensor_borrow(&s->tape, visual, 2, (int64_t[]){n_visual_rows, C});
    }
    const mm1_tensor *h = mm1_decoder_forward(&s->model->decoder, &s->tape, in, s->caches);
    if (h == NULL) {
        return NULL;
    }
    s->n += in->T;
    return h->data;
}

static mm1_status read_pieces(mm1_session *s, const mm1_batch *b, float *visual, mm1_session_rows_fn *rows, void *ctx,
                              mm1_error *err)
{
    const int64_t n_visual_rows = b->I > 0 ? mm1_batch_visual_row(&s->model->images, b->I) : 0;
    mm1_status st = MM1_OK;
    for (int64_t begin = 0; st == MM1_OK && begin < b->T; begin += s->piece) {
        mm1_decoder_input in = {.B = 1,
                                .T = b->T - begin < s->piece ? b->T - begin : s->piece,
                                .token = b->token + begin,
                                .position = b->position + begin,
                                .lo = b->lo + begin,
                                .hi = b->hi + begin,
                                .visual_row = n_visual_rows > 0 ? b->visual + begin : NULL};
        const float *h = forward(s, &in, visual, n_visual_rows);
        st = h == NULL ? mm1_tape_status(&s->tape, err) : rows != NULL ? rows(ctx, h, begin, in.T, err) : MM1_OK;
    }
    return st;
}

mm1_status mm1__session_read(mm1_session *s, const mm1_document *d, const mm1_sequence *q, mm1_session_rows_fn *rows,
                             void *ctx, mm1_error *err)
{
    const mm1_model *m = s->model;
    mm1_batch b = {0};
    float *visual = NULL;
    mm1_session_reset(s);
    if (q->len > s->n_max) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: %" PRId64 " positions do not fit in a context of %" PRId64,
                             name_of(d), q->len, s->n_max);
    }
    mm1_status st =
        mm1_batch_init(&b, 1, q->len, mm1_sequence_n_tiles(q, 0, q->n_images), m->config.vision.image_size, err);
    st = st != MM1_OK ? st : mm1_batch_add(&b, 0, q, &m->images, 0, name_of(d), err);
    if (st == MM1_OK && b.I > 0) {
        visual = mm1_alloc((size_t)(mm1_batch_visual_row(&m->images, b.I) * m->config.decoder.width), sizeof *visual);
        st = visual == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %" PRId64 " images", name_of(d), b.I)
                            : encode_images(s, d, q, &b, visual, err);
    }
    st = st != MM1_OK ? st : read_pieces(s, &b, visual, rows, ctx, err);
    if (st != MM1_OK) {
        mm1_session_reset(s);
    }
    mm1_free(visual);
    mm1_batch_deinit(&b);
    return st;
}

void mm1__session_logits(const mm1_session *s, const float *hidden, int64_t n, float *logits)
{
    const mm1_decoder_config *c = &s->model->config.decoder;
    mm1_gemm(&(mm1_gemm_args){.M = n,
                              .N = c->vocab_size,
                              .K = c->width,
                              .a = hidden,
                              .lda = c->width,
                              .b = s->model->decoder.head->data,
                              .ldb = c->width,
                              .trans_b = true,
                              .c = logits,
                              .ldc = c->vocab_size,
                              .alpha = 1});
}

typedef struct last_row {
    mm1_session *s;
    int64_t len;
} last_row;

static mm1_status take_last_row(void *ctx, const float *hidden, int64_t begin, int64_t n, mm1_error *err)
{
    const last_row *l = ctx;
    (void)err;
    if (begin + n == l->len) {
        mm1__session_logits(l->s, hidden + (n - 1) * l->s->model->config.decoder.width, 1, l->s->logits);
    }
    return MM1_OK;
}

mm1_status mm1_session_prefill(mm1_session *s, const mm1_document *prompt, const float **logits, mm1_error *err)
{
    mm1_sequence q;
    *logits = NULL;
    mm1_session_reset(s);
    mm1_status st = mm1__session_sequence(s, prompt, false, &q, err);
    if (st == MM1_OK && q.len == 0) {
        st = mm1_error_set(err, MM1_E_ARG, "%s: it is empty, and this model has no token that begins a text",
                           name_of(prompt));
    }
    if (st == MM1_OK) {
        st = mm1__session_read(s, prompt, &q, take_last_row, &(last_row){s, q.len}, err);
        *logits = st == MM1_OK ? s->logits : NULL;
    }
    mm1_sequence_deinit(&q);
    return st;
}

mm1_status mm1_session_step(mm1_session *s, int32_t token, const float **logits, mm1_error *err)
{
    *logits = NULL;
    if (s->n == 0) {
        return mm1_error_set(err, MM1_E_STATE, "a session goes on from a prompt, and has read none");
    }
    if (s->n >= s->n_max) {
        return mm1_error_set(err, MM1_E_LIMIT, "the context of %" PRId64 " positions is full", s->n_max);
    }
    if (token < 0 || token >= s->model->config.decoder.vocab_size) {
        return mm1_error_set(err, MM1_E_ARG, "token %d is not in 0 .. %" PRId64, token,
                             s->model->config.decoder.vocab_size - 1);
    }
    const int32_t position = (int32_t)s->n, lo = 0, hi = position + 1;
    mm1_decoder_input in = {.B = 1, .T = 1, .token = &token, .position = &position, .lo = &lo, .hi = &hi};
    const float *h = forward(s, &in, NULL, 0);
    if (h == NULL) {
        const mm1_status st = mm1_tape_status(&s->tape, err);
        mm1_session_reset(s);
        return st;
    }
    mm1__session_logits(s, h, 1, s->logits);
    *logits = s->logits;
    return MM1_OK;
}

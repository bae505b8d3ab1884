/* scorer.c - see scorer.h. */
#include "eval/scorer.h"

#include "base/alloc.h"
#include <string.h>

enum { ROWS = 4, TILES_AT_ONCE = 16 };

struct mm1_scorer {
    mm1_model *model;
    int64_t row_len;
    mm1_arena arena;
    mm1_tape tape;
    mm1_batch batch;
    float *nll;    /* [ROWS, row_len] */
    float *visual; /* visual tensor of the batch, room for max_tiles */
    int64_t max_tiles;
    /* Where each packed item came from and begins. */
    struct {
        const mm1_score_item *item;
        int64_t at;
    } * packed;
    int64_t n_packed;
};

/* Arena of a forward pass without recording, by a dry run at the largest size. */
static mm1_status plan(mm1_model *m, int64_t row_len, int64_t max_tiles, size_t *bytes, mm1_error *err)
{
    mm1_arena dry;
    mm1_tape t;
    const int64_t C = m->config.decoder.width;
    mm1_status st = mm1_arena_init_dry(&dry, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_tape_init(&t, &dry, err);
    if (st == MM1_OK) {
        if (max_tiles > 0) {
            (void)mm1_model_visual(m, &t, NULL, TILES_AT_ONCE);
        }
        const size_t for_images = dry.peak;
        mm1_tape_reset(&t, 0);
        mm1_decoder_input in = {.B = ROWS, .T = row_len};
        if (max_tiles > 0) {
            in.visual = mm1_tensor_borrow(&t, NULL, 2, (int64_t[]){mm1_batch_visual_row(&m->images, max_tiles), C});
        }
        mm1_tensor *h = mm1_decoder_forward(&m->decoder, &t, &in, NULL);
        (void)mm1_op_xent(&t, h, m->decoder.head, NULL, NULL, 1.0f, 0.0f);
        st = mm1_tape_status(&t, err);
        *bytes = dry.peak > for_images ? dry.peak : for_images;
        mm1_tape_deinit(&t);
    }
    mm1_arena_deinit(&dry);
    return st;
}

mm1_status mm1_scorer_create(mm1_model *m, int64_t row_len, mm1_scorer **out, mm1_error *err)
{
    const int64_t C = m->config.decoder.width;
    size_t bytes = 0;
    *out = NULL;
    if (!mm1_model_config_has_decoder(&m->config)) {
        return mm1_error_set(err, MM1_E_STATE, "a vision encoder alone gives no likelihoods; it needs a decoder");
    }
    if (row_len > m->config.decoder.max_positions) {
        row_len = m->config.decoder.max_positions;
    }
    mm1_scorer *s = mm1_calloc(1, sizeof *s);
    if (s == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to score");
    }
    s->model = m;
    s->row_len = row_len;
    s->max_tiles = ROWS * mm1_image_max_tiles_in(&m->images, INT32_MAX, row_len);
    mm1_status st = plan(m, row_len, s->max_tiles, &bytes, err);
    st = st != MM1_OK ? st : mm1_arena_init(&s->arena, bytes, err);
    st = st != MM1_OK ? st : mm1_tape_init(&s->tape, &s->arena, err);
    /* The batch takes its visual tokens ready made: it needs no pixels. */
    st = st != MM1_OK ? st : mm1_batch_init(&s->batch, ROWS, row_len, s->max_tiles, 1, err);
    if (st == MM1_OK) {
        s->nll = mm1_calloc((size_t)(ROWS * row_len), sizeof *s->nll);
        s->visual = mm1_calloc((size_t)(mm1_batch_visual_row(&m->images, s->max_tiles) * C), sizeof *s->visual);
        s->packed = mm1_calloc((size_t)(ROWS * row_len), sizeof *s->packed);
        if (s->nll == NULL || s->visual == NULL || s->packed == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory to score rows of %lld", (long long)row_len);
        }
    }
    if (st != MM1_OK) {
        mm1_scorer_destroy(s);
        return st;
    }
    *out = s;
    return MM1_OK;
}

void mm1_scorer_destroy(mm1_scorer *s)
{
    if (s != NULL) {
        mm1_batch_deinit(&s->batch);
        mm1_tape_deinit(&s->tape);
        mm1_arena_deinit(&s->arena);
        mm1_free(s->nll);
        mm1_free(s->visual);
        mm1_free(s->packed);
        mm1_free(s);
    }
}

int64_t mm1_scorer_row_len(const mm1_scorer *s)
{
    return s->row_len;
}

mm1_status mm1_scorer_encode(mm1_scorer *s, const float *pixels, int64_t n, float *features, mm1_error *err)
{
    const mm1_model *m = s->model;
    const int64_t R = m->config.vision.image_size, size = mm1_model_n_visual(m) * m->config.decoder.width;
    for (int64_t i = 0; i < n; i += TILES_AT_ONCE) {
        const int64_t count = n - i < TILES_AT_ONCE ? n - i : TILES_AT_ONCE;
        mm1_tape_reset(&s->tape, 0);
        const mm1_tensor *v = mm1_model_visual(m, &s->tape, pixels + i * 3 * R * R, count);
        const mm1_status st = mm1_tape_status(&s->tape, err);
        if (st != MM1_OK) {
            return st;
        }
        memcpy(features + i * size, v->data, (size_t)(count * size) * sizeof *features);
    }
    return MM1_OK;
}

/* Scores what is packed and hands the numbers out. */
static mm1_status flush(mm1_scorer *s, mm1_error *err)
{
    const mm1_model *m = s->model;
    mm1_batch *b = &s->batch;
    mm1_tape *t = &s->tape;
    if (s->n_packed == 0) {
        return MM1_OK;
    }
    mm1_tape_reset(t, 0);
    mm1_decoder_input in = {.B = b->B, .T = b->T, .token = b->token, .position = b->position, .lo = b->lo, .hi = b->hi};
    if (b->I > 0) {
        in.visual = mm1_tensor_borrow(t, s->visual, 2,
                                      (int64_t[]){mm1_batch_visual_row(&m->images, b->I), m->config.decoder.width});
        in.visual_row = b->visual;
    }
    mm1_tensor *h = mm1_decoder_forward(&m->decoder, t, &in, NULL);
    (void)mm1_op_xent(t, h, m->decoder.head, b->target, s->nll, 0.0f, 0.0f);
    const mm1_status st = mm1_tape_status(t, err);
    if (st != MM1_OK) {
        return st;
    }
    for (int64_t i = 0; i < s->n_packed; i++) {
        const mm1_score_item *item = s->packed[i].item;
        const int64_t len = item->sequence->len;
        /* The loss of a token stands at the position before it. */
        item->nll[0] = 0;
        memcpy(item->nll + 1, s->nll + s->packed[i].at, (size_t)(len - 1) * sizeof *item->nll);
    }
    s->n_packed = 0;
    mm1_batch_clear(b);
    return MM1_OK;
}

mm1_status mm1_scorer_run(mm1_scorer *s, const mm1_score_item *items, int64_t n, mm1_error *err)
{
    const mm1_image_spec *images = &s->model->images;
    const int64_t C = s->model->config.decoder.width;
    mm1_batch *b = &s->batch;
    mm1_status st = MM1_OK;
    int64_t row = 0;
    mm1_batch_clear(b);
    mm1_model_visual_begin(s->model, s->visual);
    s->n_packed = 0;
    for (int64_t i = 0; st == MM1_OK && i < n; i++) {
        const mm1_sequence *q = items[i].sequence;
        if (q->len > s->row_len) {
            return mm1_error_set(err, MM1_E_LIMIT, "a sequence of %lld positions cannot be scored in rows of %lld",
                                 (long long)q->len, (long long)s->row_len);
        }
        const int64_t n_tiles = mm1_sequence_n_tiles(q, 0, q->n_images);
        while (row < b->B && (b->row_len[row] + q->len > b->T || b->I + n_tiles > s->max_tiles)) {
            row++;
        }
        if (row == b->B) {
            st = flush(s, err);
            row = 0;
            if (st != MM1_OK) {
                break;
            }
        }
        const int64_t at = row * b->T + b->row_len[row];
        int64_t tile = b->I;
        st = mm1_batch_add(b, row, q, images, 0, "item", err);
        for (int64_t j = 0; st == MM1_OK && j < q->n_images; j++) {
            memcpy(s->visual + mm1_batch_visual_row(images, tile) * C, items[i].features[j],
                   (size_t)(q->images[j].n_tiles * images->n_tokens * C) * sizeof *s->visual);
            tile += q->images[j].n_tiles;
        }
        s->packed[s->n_packed].item = &items[i];
        s->packed[s->n_packed++].at = at;
    }
    return st != MM1_OK ? st : flush(s, err);
}

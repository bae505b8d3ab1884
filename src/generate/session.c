/* session.c - see session.h. */
#include "generate/session.h"

#include "base/alloc.h"
#include <inttypes.h>

struct mm1_session {
    mm1_context *context;
    mm1_image_cache images; /* keeps nothing */
    float *logits;          /* [V] */
};

mm1_status mm1_session_create(const mm1_model *m, int64_t n_positions, mm1_session **out, mm1_error *err)
{
    *out = NULL;
    mm1_session *s = mm1_calloc(1, sizeof *s);
    if (s == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a session");
    }
    mm1_status st = mm1_context_create(m, 1, n_positions, &s->context, err);
    if (st == MM1_OK && (s->logits = mm1_alloc((size_t)m->config.decoder.vocab_size, sizeof *s->logits)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %" PRId64 " logits", m->config.decoder.vocab_size);
    }
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
        mm1_image_cache_deinit(&s->images);
        mm1_context_destroy(s->context);
        mm1_free(s->logits);
        mm1_free(s);
    }
}

void mm1_session_reset(mm1_session *s)
{
    mm1_context_cut(s->context, 0, 0);
}

const mm1_model *mm1_session_model(const mm1_session *s)
{
    return mm1_context_model(s->context);
}

int64_t mm1_session_n(const mm1_session *s)
{
    return mm1_context_n(s->context, 0);
}

int64_t mm1_session_n_max(const mm1_session *s)
{
    return mm1_context_n_max(s->context);
}

size_t mm1_session_bytes(const mm1_session *s)
{
    return mm1_context_bytes(s->context);
}

const mm1_context *mm1__session_context(const mm1_session *s)
{
    return s->context;
}

mm1_image_cache *mm1__session_images(mm1_session *s)
{
    return &s->images;
}

mm1_status mm1__session_read(mm1_session *s, mm1_prompt *p, mm1_session_rows_fn *rows, void *ctx, mm1_error *err)
{
    const int64_t len = p->sequence.len, piece = mm1_context_piece(s->context);
    mm1_session_reset(s);
    mm1_status st = mm1_prompt_want(p, 0, len, err);
    if (st == MM1_OK) {
        mm1_image_cache_decode(p->cache, mm1_session_model(s));
        st = mm1_prompt_see(p, 0, len, err); /* a damaged image is found before anything is read */
    }
    st = st != MM1_OK ? st : mm1_image_cache_encode(p->cache, s->context, err);
    for (int64_t begin = 0; st == MM1_OK && begin < len; begin += piece) {
        const int64_t n = len - begin < piece ? len - begin : piece;
        const float *hidden;
        st = mm1_context_read(s->context, &(mm1_reading){.n = n, .sequence = &p->sequence, .tiles = p->tile}, 1,
                              &hidden, err);
        st = st == MM1_OK && rows != NULL ? rows(ctx, hidden, begin, n, err) : st;
    }
    if (st != MM1_OK) {
        mm1_session_reset(s);
    }
    return st;
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
        const int64_t C = mm1_session_model(l->s)->config.decoder.width;
        mm1_context_logits(l->s->context, hidden + (n - 1) * C, 1, MM1_ROWS_FEW, l->s->logits);
    }
    return MM1_OK;
}

mm1_status mm1_session_prefill(mm1_session *s, const mm1_document *prompt, const float **logits, mm1_error *err)
{
    mm1_prompt p;
    *logits = NULL;
    mm1_session_reset(s);
    mm1_status st = mm1_prompt_init(&p, prompt, false, s->context, &s->images, err);
    if (st == MM1_OK) {
        st = mm1__session_read(s, &p, take_last_row, &(last_row){s, p.sequence.len}, err);
        *logits = st == MM1_OK ? s->logits : NULL;
    }
    mm1_prompt_deinit(&p);
    return st;
}

mm1_status mm1_session_step(mm1_session *s, int32_t token, const float **logits, mm1_error *err)
{
    const float *hidden;
    *logits = NULL;
    if (mm1_session_n(s) == 0) {
        return mm1_error_set(err, MM1_E_STATE, "a session goes on from a prompt, and has read none");
    }
    const mm1_status st = mm1_context_step(s->context, &(int64_t){0}, &token, 1, &hidden, err);
    if (st == MM1_OK) {
        mm1_context_logits(s->context, hidden, 1, MM1_ROWS_FEW, s->logits);
        *logits = s->logits;
    }
    return st;
}

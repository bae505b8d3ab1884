/* score.c - see score.h. */
#include "generate/score.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "tensor/rows.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Floats of logits held at once: 4 MiB, or one row if the vocabulary is larger. */
enum { LOGIT_FLOATS = 1 << 20 };

void mm1_score_deinit(mm1_score *s)
{
    mm1_free(s->token);
    mm1_free(s->logprob);
    mm1_free(s->part);
    mm1_free(s->logits);
    *s = (mm1_score){0};
}

mm1_status mm1__scorer_init(mm1__scorer *j, const mm1_context *ctx, const mm1_sequence *q, int64_t first,
                            bool with_logits, mm1_error *err)
{
    const size_t n = (size_t)q->len;
    const int64_t V = mm1_context_model(ctx)->config.decoder.vocab_size;
    size_t n_logits = 0;
    *j = (mm1__scorer){
        .context = ctx, .sequence = q, .first = first > 1 ? first : 1, .score = {.n = q->len, .n_vocab = V}};
    mm1_score *s = &j->score;
    s->token = mm1_alloc(n, sizeof *s->token);
    s->part = mm1_alloc(n, sizeof *s->part);
    s->logprob = mm1_alloc(n, sizeof *s->logprob);
    bool ok = s->token != NULL && s->part != NULL && s->logprob != NULL;
    if (with_logits) {
        ok =
            ok && mm1_size_mul(n, (size_t)V, &n_logits) && (s->logits = mm1_alloc(n_logits, sizeof *s->logits)) != NULL;
    }
    if (!ok) {
        mm1_score_deinit(s);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to score %" PRId64 " positions%s", q->len,
                             with_logits ? " and keep all of their logits" : "");
    }
    memcpy(s->token, q->tokens, n * sizeof *s->token);
    memcpy(s->part, q->part, n * sizeof *s->part);
    for (size_t i = 0; i < n; i++) {
        s->logprob[i] = NAN;
    }
    return MM1_OK;
}

mm1_status mm1__score_room_init(mm1__score_room *r, const mm1_context *ctx, mm1_error *err)
{
    const int64_t V = mm1_context_model(ctx)->config.decoder.vocab_size, piece = mm1_context_piece(ctx);
    int64_t block = LOGIT_FLOATS / V > 0 ? LOGIT_FLOATS / V : 1;
    block = block < piece ? block : piece;
    *r = (mm1__score_room){.block = block};
    r->logits = mm1_alloc((size_t)(block * V), sizeof *r->logits);
    r->nll = mm1_alloc((size_t)block, 2 * sizeof *r->nll);
    r->next = mm1_alloc((size_t)block, sizeof *r->next);
    if (r->logits == NULL || r->nll == NULL || r->next == NULL) {
        mm1__score_room_deinit(r);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %" PRId64 " rows of %" PRId64 " logits", block, V);
    }
    return MM1_OK;
}

void mm1__score_room_deinit(mm1__score_room *r)
{
    mm1_free(r->logits);
    mm1_free(r->nll);
    mm1_free(r->next);
    *r = (mm1__score_room){0};
}

typedef struct loss_job {
    float *logits; /* left alone */
    const mm1__score_room *room;
    int64_t V;
} loss_job;

static void loss_rows(void *ctx, int64_t begin, int64_t end)
{
    const loss_job *j = ctx;
    const mm1__score_room *r = j->room;
    mm1_kernels_get()->xent(j->logits + begin * j->V, j->V, r->nll + begin, r->nll + r->block + begin, r->next + begin,
                            end - begin, j->V, 0.0f, 0.0f);
}

mm1_status mm1__scorer_rows(mm1__scorer *j, const mm1__score_room *r, const float *hidden, int64_t begin, int64_t n,
                            mm1_error *err)
{
    mm1_score *s = &j->score;
    const int64_t V = s->n_vocab, C = mm1_context_model(j->context)->config.decoder.width;
    const int64_t left_out = s->logits == NULL && begin < j->first - 1 ? j->first - 1 - begin : 0;
    for (int64_t at = left_out; at < n; at += r->block) {
        const int64_t first = begin + at, rows = n - at < r->block ? n - at : r->block;
        float *logits = s->logits != NULL ? s->logits + first * V : r->logits;
        mm1_context_logits(j->context, hidden + at * C, rows, MM1_ROWS_MANY, logits);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t t = first + i + 1;
            r->next[i] = t < s->n && s->token[t] >= 0 ? s->token[t] : 0;
        }
        mm1_parallel_for(rows, mm1__rows_chunk(V), loss_rows, &(loss_job){logits, r, V});
        for (int64_t i = 0; i < rows; i++) {
            const int64_t t = first + i + 1;
            /* What belongs to an image is not scored, its marker tokens neither. */
            if (t < j->first || t >= s->n || j->sequence->visual[t] != MM1_VISUAL_NONE) {
                continue;
            }
            if (!isfinite(r->nll[i])) {
                return mm1_error_set(err, MM1_E_NUMERIC,
                                     "the logits before position %" PRId64 " are not finite; is the model damaged?", t);
            }
            s->logprob[t] = -r->nll[i];
            s->sum_logprob -= (double)r->nll[i];
            s->n_scored++;
        }
    }
    return MM1_OK;
}

typedef struct job {
    mm1__scorer scorer;
    mm1__score_room room;
} job;

static mm1_status score_rows(void *ctx, const float *hidden, int64_t begin, int64_t n, mm1_error *err)
{
    job *j = ctx;
    return mm1__scorer_rows(&j->scorer, &j->room, hidden, begin, n, err);
}

/* The prompt is given up, also on failure. */
static mm1_status score_prompt(mm1_session *session, mm1_prompt *p, bool with_logits, mm1_score *out, mm1_error *err)
{
    const mm1_context *ctx = mm1__session_context(session);
    job j = {0};
    mm1_status st = mm1__scorer_init(&j.scorer, ctx, &p->sequence, 0, with_logits, err);
    st = st != MM1_OK ? st : mm1__score_room_init(&j.room, ctx, err);
    st = st != MM1_OK ? st : mm1__session_read(session, p, score_rows, &j, err);
    if (st == MM1_OK) {
        *out = j.scorer.score;
    } else {
        mm1_score_deinit(&j.scorer.score);
    }
    mm1__score_room_deinit(&j.room);
    mm1_prompt_deinit(p);
    return st;
}

mm1_status mm1_score_document(mm1_session *s, const mm1_document *d, bool closed, bool with_logits, mm1_score *out,
                              mm1_error *err)
{
    mm1_prompt p;
    *out = (mm1_score){0};
    const mm1_status st = mm1_prompt_init(&p, d, closed, mm1__session_context(s), mm1__session_images(s), err);
    return st != MM1_OK ? st : score_prompt(s, &p, with_logits, out, err);
}

mm1_status mm1_score_tokens(mm1_session *s, const int32_t *tokens, int64_t n, bool with_logits, mm1_score *out,
                            mm1_error *err)
{
    const int64_t V = mm1_session_model(s)->config.decoder.vocab_size;
    mm1_sequence q;
    *out = (mm1_score){0};
    if (n < 1) {
        return mm1_error_set(err, MM1_E_ARG, "a list of no tokens cannot be scored");
    }
    for (int64_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= V) {
            return mm1_error_set(err, MM1_E_ARG, "token %" PRId64 " is %d, not in 0 .. %" PRId64, i, tokens[i], V - 1);
        }
    }
    mm1_status st = mm1_sequence_init(&q, n, 0, err);
    if (st == MM1_OK) {
        mm1_prompt p;
        memcpy(q.tokens, tokens, (size_t)n * sizeof *q.tokens);
        st = mm1_prompt_init_sequence(&p, NULL, &q, mm1__session_context(s), mm1__session_images(s), err);
        st = st != MM1_OK ? st : score_prompt(s, &p, with_logits, out, err);
    }
    return st;
}

mm1_status mm1_score_write_logits(const mm1_score *s, const char *path, mm1_error *err)
{
    if (s->logits == NULL) {
        return mm1_error_set(err, MM1_E_STATE, "%s: no logits were kept", path);
    }
    const mm1_safetensors_entry entries[] = {
        {.name = "logits", .dtype = MM1_DTYPE_F32, .n_dims = 2, .shape = {s->n, s->n_vocab}, .data = s->logits},
        {.name = "tokens", .dtype = MM1_DTYPE_I32, .n_dims = 1, .shape = {s->n}, .data = s->token}};
    const mm1_safetensors_pair format = {"format", "mm1"};
    return mm1_safetensors_write(path, entries, 2, &format, 1, err);
}

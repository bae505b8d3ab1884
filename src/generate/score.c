/* score.c - see score.h. */
#include "generate/score.h"

#include "base/alloc.h"
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

typedef struct job {
    const mm1_session *session;
    mm1_score *score;
    const int32_t *visual; /* of the sequence: what belongs to an image is not scored, its marker tokens neither */
    int64_t block;         /* rows of logits at once */
    float *logits;         /* [block, V]; NULL if all of them are kept */
    float *nll;            /* [2, block] */
    int32_t *next;         /* [block] the token after each row; any id where there is none to predict */
} job;

/* Rows [begin, begin + n) of the sequence predict the tokens [begin + 1, begin + n + 1). */
static mm1_status score_rows(void *ctx, const float *hidden, int64_t begin, int64_t n, mm1_error *err)
{
    job *j = ctx;
    mm1_score *s = j->score;
    const mm1_kernels *k = mm1_kernels_get();
    const int64_t V = s->n_vocab, C = mm1_session_model(j->session)->config.decoder.width;
    for (int64_t at = 0; at < n; at += j->block) {
        const int64_t first = begin + at, rows = n - at < j->block ? n - at : j->block;
        float *logits = s->logits != NULL ? s->logits + first * V : j->logits;
        mm1__session_logits(j->session, hidden + at * C, rows, logits);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t t = first + i + 1;
            j->next[i] = t < s->n && s->token[t] >= 0 ? s->token[t] : 0;
        }
#pragma omp parallel for schedule(static) if (rows > 1 && rows * V > 1 << 14)
        for (int64_t i = 0; i < rows; i++) {
            k->xent(logits + i * V, V, j->nll + i, j->nll + j->block + i, j->next + i, 1, V, 0.0f, 0.0f);
        }
        for (int64_t i = 0; i < rows; i++) {
            const int64_t t = first + i + 1;
            if (t >= s->n || j->visual[t] != MM1_VISUAL_NONE) {
                continue;
            }
            if (!isfinite(j->nll[i])) {
                return mm1_error_set(err, MM1_E_NUMERIC,
                                     "the logits before position %" PRId64 " are not finite; is the model damaged?", t);
            }
            s->logprob[t] = -j->nll[i];
            s->sum_logprob -= (double)j->nll[i];
            s->n_scored++;
        }
    }
    return MM1_OK;
}

static mm1_status take_memory(job *j, const mm1_sequence *q, bool with_logits, mm1_error *err)
{
    mm1_score *s = j->score;
    const size_t n = (size_t)q->len, V = (size_t)s->n_vocab;
    size_t n_logits = 0;
    s->token = mm1_alloc(n, sizeof *s->token);
    s->part = mm1_alloc(n, sizeof *s->part);
    s->logprob = mm1_alloc(n, sizeof *s->logprob);
    j->nll = mm1_alloc((size_t)j->block, 2 * sizeof *j->nll);
    j->next = mm1_alloc((size_t)j->block, sizeof *j->next);
    bool ok = s->token != NULL && s->part != NULL && s->logprob != NULL && j->nll != NULL && j->next != NULL;
    if (with_logits) {
        ok = ok && mm1_size_mul(n, V, &n_logits) && (s->logits = mm1_alloc(n_logits, sizeof *s->logits)) != NULL;
    } else {
        ok = ok && mm1_size_mul((size_t)j->block, V, &n_logits) &&
             (j->logits = mm1_alloc(n_logits, sizeof *j->logits)) != NULL;
    }
    if (!ok) {
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

static mm1_status score_sequence(mm1_session *session, const mm1_document *d, const mm1_sequence *q, bool with_logits,
                                 mm1_score *out, mm1_error *err)
{
    const int64_t V = mm1_session_model(session)->config.decoder.vocab_size;
    mm1_score s = {.n = q->len, .n_vocab = V};
    job j = {
        .session = session, .score = &s, .visual = q->visual, .block = LOGIT_FLOATS / V > 0 ? LOGIT_FLOATS / V : 1};
    j.block = j.block < MM1_SESSION_PIECE ? j.block : MM1_SESSION_PIECE;
    mm1_status st = take_memory(&j, q, with_logits, err);
    st = st != MM1_OK ? st : mm1__session_read(session, d, q, score_rows, &j, err);
    if (st == MM1_OK) {
        *out = s;
    } else {
        mm1_score_deinit(&s);
    }
    mm1_free(j.logits);
    mm1_free(j.nll);
    mm1_free(j.next);
    return st;
}

mm1_status mm1_score_document(mm1_session *s, const mm1_document *d, bool closed, bool with_logits, mm1_score *out,
                              mm1_error *err)
{
    mm1_sequence q;
    *out = (mm1_score){0};
    mm1_status st = mm1__session_sequence(s, d, closed, &q, err);
    st = st != MM1_OK ? st : score_sequence(s, d, &q, with_logits, out, err);
    mm1_sequence_deinit(&q);
    return st;
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
        memcpy(q.tokens, tokens, (size_t)n * sizeof *q.tokens);
        st = score_sequence(s, NULL, &q, with_logits, out, err);
    }
    mm1_sequence_deinit(&q);
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

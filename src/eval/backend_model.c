/* backend_model.c - answers of a model that is loaded here. */
#include "eval/backend.h"

#include "base/alloc.h"
#include "generate/generate.h"
#include "generate/score.h"
#include <string.h>

typedef struct local {
    mm1_backend base;
    mm1_session *session;
} local;

static void close_local(mm1_backend *b)
{
    local *l = (local *)b;
    mm1_session_destroy(l->session);
    mm1_free(l);
}

/* What concerns all asks rather than one prompt. */
static bool is_fatal(mm1_status st)
{
    return st == MM1_E_NOMEM || st == MM1_E_INTERNAL || st == MM1_E_NUMERIC || st == MM1_E_ARG;
}

static mm1_status settle(mm1_ask *ask, mm1_status st, mm1_error *err)
{
    ask->status = st;
    if (st == MM1_OK || !is_fatal(st)) {
        return MM1_OK;
    }
    return mm1_error_set(err, st, "%s", ask->error.message);
}

static mm1_status generate_local(mm1_backend *b, mm1_ask *asks, size_t n, const mm1_generate_params *params,
                                 mm1_error *err)
{
    local *l = (local *)b;
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        mm1_generated g = {0};
        mm1_generate_params own = *params;
        own.sampling.index = asks[i].sample;
        st = settle(&asks[i], mm1_generate(l->session, asks[i].prompt, &own, NULL, NULL, &g, &asks[i].error), err);
        asks[i].text = g.text;
        asks[i].n_prompt_tokens = g.n_prompt_tokens;
        g.text = NULL;
        mm1_generated_deinit(&g);
    }
    return st;
}

/* The tokens of the last part. */
static void sum_up(const mm1_score *s, size_t last_part, mm1_continuation *c)
{
    c->logprob = 0;
    c->n_tokens = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->part[i] == (int32_t)last_part && s->token[i] >= 0) {
            c->logprob += (double)s->logprob[i];
            c->n_tokens++;
        }
    }
}

static mm1_status score_one(local *l, mm1_ask *ask, mm1_continuation *c)
{
    mm1_document d = {0};
    mm1_score s = {0};
    mm1_status st = mm1_document_append(&d, ask->prompt, &ask->error);
    if (st == MM1_OK && c->given != NULL && c->given[0] != '\0') {
        st = mm1_document_add_text(&d, c->given, strlen(c->given), false, &ask->error);
    }
    d.is_bare = ask->prompt->is_bare;
    st = st != MM1_OK ? st : mm1_document_add_text(&d, c->text, strlen(c->text), true, &ask->error);
    st = st != MM1_OK ? st : mm1_score_document(l->session, &d, false, false, &s, &ask->error);
    if (st == MM1_OK) {
        sum_up(&s, d.n_parts - 1, c);
    }
    mm1_score_deinit(&s);
    mm1_document_deinit(&d);
    return st;
}

static mm1_status score_local(mm1_backend *b, mm1_ask *asks, size_t n, mm1_error *err)
{
    local *l = (local *)b;
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        asks[i].status = MM1_OK;
        for (size_t c = 0; st == MM1_OK && asks[i].status == MM1_OK && c < asks[i].n; c++) {
            st = settle(&asks[i], score_one(l, &asks[i], &asks[i].continuations[c]), err);
        }
    }
    return st;
}

static const mm1_backend_calls calls = {close_local, generate_local, score_local};

mm1_status mm1_backend_open_model(const mm1_model *m, int64_t batch, mm1_backend **out, mm1_error *err)
{
    local *l = mm1_calloc(1, sizeof *l);
    *out = NULL;
    if (l == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to ask a model");
    }
    l->base = (mm1_backend){&calls, batch};
    const mm1_status st = mm1_session_create(m, 0, &l->session, err);
    if (st != MM1_OK) {
        mm1_free(l);
        return st;
    }
    *out = &l->base;
    return MM1_OK;
}

/* backend_model.c - answers of a model that is loaded here: all asks wait in the queue of one engine, which reads what
 * their prompts begin with alike once. */
#include "eval/backend.h"

#include "base/alloc.h"
#include "generate/engine.h"
#include <string.h>

typedef struct local {
    mm1_backend base;
    mm1_engine *engine;
} local;

static void close_local(mm1_backend *b)
{
    local *l = (local *)b;
    mm1_engine_destroy(l->engine);
    mm1_free(l);
}

/* What concerns all asks rather than one prompt. */
static bool is_fatal(mm1_status st)
{
    return st == MM1_E_NOMEM || st == MM1_E_INTERNAL || st == MM1_E_NUMERIC || st == MM1_E_ARG;
}

/* Takes over what an ask got; a failure that concerns all ends the call. */
static mm1_status settle(mm1_ask *ask, const mm1_engine_result *r, mm1_error *err)
{
    if (r->status == MM1_OK || ask->status != MM1_OK) {
        return MM1_OK;
    }
    ask->status = r->status;
    ask->error = r->error;
    return is_fatal(r->status) ? mm1_error_set(err, r->status, "%s", r->error.message) : MM1_OK;
}

static mm1_status run(local *l, const mm1_engine_request *requests, size_t n, mm1_engine_result **out, mm1_error *err)
{
    *out = mm1_calloc(n, sizeof **out);
    return *out == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu answers", n)
                        : mm1_engine_run(l->engine, requests, n, *out, err);
}

static void free_results(mm1_engine_result *results, size_t n)
{
    for (size_t i = 0; results != NULL && i < n; i++) {
        mm1_engine_result_deinit(&results[i]);
    }
    mm1_free(results);
}

static mm1_status generate_local(mm1_backend *b, mm1_ask *asks, size_t n, const mm1_generate_params *params,
                                 mm1_error *err)
{
    mm1_engine_request *requests = mm1_calloc(n, sizeof *requests);
    mm1_generate_params *own = mm1_calloc(n, sizeof *own);
    mm1_engine_result *results = NULL;
    mm1_status st = MM1_OK;
    if (requests == NULL || own == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu prompts", n);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        own[i] = *params;
        own[i].sampling.index = asks[i].sample;
        requests[i] = (mm1_engine_request){.document = asks[i].prompt, .params = &own[i]};
        asks[i].status = MM1_OK;
    }
    st = st != MM1_OK ? st : run((local *)b, requests, n, &results, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = settle(&asks[i], &results[i], err);
        asks[i].text = results[i].text.text;
        asks[i].n_prompt_tokens = results[i].text.n_prompt_tokens;
        results[i].text.text = NULL;
    }
    free_results(results, n);
    mm1_free(own);
    mm1_free(requests);
    return st;
}

/* The tokens of the last part. */
static void sum_up(const mm1_score *s, int32_t last_part, mm1_continuation *c)
{
    c->logprob = 0;
    c->n_tokens = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->part[i] == last_part && s->token[i] >= 0) {
            c->logprob += (double)s->logprob[i];
            c->n_tokens++;
        }
    }
}

/* What follows the prompt: what is given, then what is scored. */
static mm1_status make_rest(const mm1_ask *ask, const mm1_continuation *c, mm1_document *d, mm1_error *err)
{
    mm1_status st = MM1_OK;
    d->is_bare = ask->prompt->is_bare;
    if (c->given != NULL && c->given[0] != '\0') {
        st = mm1_document_add_text(d, c->given, strlen(c->given), false, err);
    }
    st = st != MM1_OK ? st : mm1_document_add_text(d, c->text, strlen(c->text), true, err);
    return st != MM1_OK ? st : mm1_document_set_name(d, ask->prompt->name, err);
}

static mm1_status score_local(mm1_backend *b, mm1_ask *asks, size_t n, mm1_error *err)
{
    size_t n_all = 0, at = 0;
    for (size_t i = 0; i < n; i++) {
        asks[i].status = MM1_OK;
        n_all += asks[i].n;
    }
    mm1_engine_request *requests = mm1_calloc(n_all, sizeof *requests);
    mm1_document *rests = mm1_calloc(n_all, sizeof *rests);
    mm1_engine_result *results = NULL;
    mm1_status st = MM1_OK;
    if (requests == NULL || rests == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu continuations", n_all);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        for (size_t c = 0; st == MM1_OK && c < asks[i].n; c++, at++) {
            st = make_rest(&asks[i], &asks[i].continuations[c], &rests[at], err);
            requests[at] = (mm1_engine_request){.prefix = asks[i].prompt, .document = &rests[at]};
        }
    }
    st = st != MM1_OK ? st : run((local *)b, requests, n_all, &results, err);
    at = 0;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        for (size_t c = 0; st == MM1_OK && c < asks[i].n; c++, at++) {
            st = settle(&asks[i], &results[at], err);
            sum_up(&results[at].score, (int32_t)(asks[i].prompt->n_parts + rests[at].n_parts - 1),
                   &asks[i].continuations[c]);
        }
    }
    free_results(results, n_all);
    for (size_t i = 0; rests != NULL && i < n_all; i++) {
        mm1_document_deinit(&rests[i]);
    }
    mm1_free(rests);
    mm1_free(requests);
    return st;
}

static const mm1_backend_calls calls = {close_local, generate_local, score_local};

mm1_status mm1_backend_open_model(const mm1_model *m, int64_t batch, mm1_backend **out, mm1_error *err)
{
    mm1_engine_options options = mm1_engine_defaults();
    local *l = mm1_calloc(1, sizeof *l);
    *out = NULL;
    if (l == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to ask a model");
    }
    l->base = (mm1_backend){&calls, batch};
    options.n_slots = batch;
    const mm1_status st = mm1_engine_create(m, &options, &l->engine, err);
    if (st != MM1_OK) {
        mm1_free(l);
        return st;
    }
    *out = &l->base;
    return MM1_OK;
}

/* engine.c - see engine.h.  So far one request after the other: the simplest body of its contract. */
#include "generate/engine.h"

#include "base/alloc.h"
#include "generate/generate.h"
#include "generate/score.h"
#include <math.h>
#include <string.h>

typedef struct entry {
    mm1_engine_request request;
    int64_t id;
} entry;

struct mm1_engine {
    mm1_session *session;
    entry *queue; /* [n_queue] the first is the next one */
    size_t n_queue, queue_cap;
    mm1_engine_result *results; /* [n_results] the first has been there longest */
    size_t n_results, results_cap;
    int64_t n_added;
};

mm1_engine_options mm1_engine_defaults(void)
{
    return (mm1_engine_options){.n_slots = 8, .image_bytes = (size_t)64 << 20};
}

void mm1_engine_result_deinit(mm1_engine_result *r)
{
    mm1_generated_deinit(&r->text);
    mm1_score_deinit(&r->score);
    *r = (mm1_engine_result){0};
}

mm1_status mm1_engine_create(const mm1_model *m, const mm1_engine_options *options, mm1_engine **out, mm1_error *err)
{
    *out = NULL;
    if (options->n_slots < 1 || options->n_slots > MM1_ENGINE_MAX_SLOTS) {
        return mm1_error_set(err, MM1_E_ARG, "n_slots: %lld is not in 1 .. %d", (long long)options->n_slots,
                             (int)MM1_ENGINE_MAX_SLOTS);
    }
    mm1_engine *e = mm1_calloc(1, sizeof *e);
    if (e == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for an engine");
    }
    const mm1_status st = mm1_session_create(m, options->n_positions, &e->session, err);
    if (st != MM1_OK) {
        mm1_engine_destroy(e);
        return st;
    }
    *out = e;
    return MM1_OK;
}

void mm1_engine_destroy(mm1_engine *e)
{
    if (e != NULL) {
        for (size_t i = 0; i < e->n_results; i++) {
            mm1_engine_result_deinit(&e->results[i]);
        }
        mm1_session_destroy(e->session);
        mm1_free(e->queue);
        mm1_free(e->results);
        mm1_free(e);
    }
}

/* Room for one more of size bytes. */
static void *grown(void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return items;
    }
    void *p = mm1_realloc(items, 2 * *cap + 16, size);
    *cap = p != NULL ? 2 * *cap + 16 : *cap;
    return p;
}

mm1_status mm1_engine_add(mm1_engine *e, const mm1_engine_request *request, int64_t *id, mm1_error *err)
{
    const size_t n_open = e->n_queue + e->n_results;
    entry *queue = grown(e->queue, e->n_queue, &e->queue_cap, sizeof *queue);
    e->queue = queue != NULL ? queue : e->queue;
    mm1_engine_result *results = grown(e->results, n_open, &e->results_cap, sizeof *results);
    e->results = results != NULL ? results : e->results;
    if (queue == NULL || results == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a queue of %zu requests", e->n_queue + 1);
    }
    *id = e->n_added++;
    queue[e->n_queue++] = (entry){*request, *id};
    return MM1_OK;
}

/* The parts of prefix and document as one document, all borrowed but the list itself. */
static mm1_status join(const mm1_engine_request *r, mm1_document *out, mm1_error *err)
{
    const size_t n_prefix = r->prefix != NULL ? r->prefix->n_parts : 0;
    *out = *r->document;
    out->n_parts += n_prefix;
    out->parts = mm1_alloc(out->n_parts, sizeof *out->parts);
    if (out->parts == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a document of %zu parts", out->n_parts);
    }
    for (size_t i = 0; i < out->n_parts; i++) {
        out->parts[i] = i < n_prefix ? r->prefix->parts[i] : r->document->parts[i - n_prefix];
    }
    return MM1_OK;
}

/* Only what document says counts. */
static void leave_prefix_out(mm1_score *s, int32_t n_prefix)
{
    s->n_scored = 0;
    s->sum_logprob = 0;
    bool inside = n_prefix == 0;
    for (int64_t i = 0; i < s->n; i++) {
        inside = inside || s->part[i] >= n_prefix;
        if (!inside) {
            s->logprob[i] = NAN;
        } else if (!isnan(s->logprob[i])) {
            s->n_scored++;
            s->sum_logprob += (double)s->logprob[i];
        }
    }
}

mm1_status mm1_engine_step(mm1_engine *e, mm1_error *err)
{
    if (e->n_queue == 0) {
        return MM1_OK;
    }
    const entry next = e->queue[0];
    const mm1_engine_request *r = &next.request;
    mm1_engine_result out = {.id = next.id};
    mm1_document d;
    memmove(e->queue, e->queue + 1, --e->n_queue * sizeof *e->queue);
    out.status = join(r, &d, &out.error);
    if (out.status == MM1_OK && r->params != NULL) {
        out.status = mm1_generate(e->session, &d, r->params, r->on_text, r->ctx, &out.text, &out.error);
    } else if (out.status == MM1_OK) {
        out.status = mm1_score_document(e->session, &d, r->closed, false, &out.score, &out.error);
        if (out.status == MM1_OK && r->prefix != NULL) {
            leave_prefix_out(&out.score, (int32_t)r->prefix->n_parts);
        }
    }
    mm1_free(d.parts);
    e->results[e->n_results++] = out;
    (void)err;
    return MM1_OK;
}

bool mm1_engine_is_busy(const mm1_engine *e)
{
    return e->n_queue > 0;
}

bool mm1_engine_collect(mm1_engine *e, mm1_engine_result *out)
{
    *out = (mm1_engine_result){0};
    if (e->n_results == 0) {
        return false;
    }
    *out = e->results[0];
    memmove(e->results, e->results + 1, --e->n_results * sizeof *e->results);
    return true;
}

mm1_status mm1_engine_run(mm1_engine *e, const mm1_engine_request *requests, size_t n, mm1_engine_result *results,
                          mm1_error *err)
{
    const int64_t first = e->n_added;
    mm1_engine_result r;
    mm1_status st = mm1_engine_is_busy(e) || e->n_results > 0
                        ? mm1_error_set(err, MM1_E_STATE, "the engine has other requests")
                        : MM1_OK;
    for (size_t i = 0; i < n; i++) {
        results[i] = (mm1_engine_result){0};
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        int64_t id = 0;
        st = mm1_engine_add(e, &requests[i], &id, err);
    }
    while (st == MM1_OK && mm1_engine_is_busy(e)) {
        st = mm1_engine_step(e, err);
    }
    while (mm1_engine_collect(e, &r)) {
        results[r.id - first] = r;
    }
    for (size_t i = 0; st != MM1_OK && i < n; i++) {
        mm1_engine_result_deinit(&results[i]);
    }
    return st;
}

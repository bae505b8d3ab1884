/* engine.c - see engine.h. */
#include "generate/engine.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "generate/generate.h"
#include "generate/score.h"
#include <string.h>

/* A prompt waits for another one that is about to read the same, if it saves so many positions: less is not worth a
 * pass of its own. */
enum { WORTH_WAITING = 32 };
/* Positions of prompts that make a pass worth its while, and steps that they wait for more. */
enum { FULL_PASS = 128, PATIENCE = 4 };

/* What a request asks the model to read. */
typedef struct opening {
    mm1_document document; /* parts of prefix and document: the list is owned, the parts are borrowed */
    mm1_prompt prompt;
} opening;

typedef struct entry {
    mm1_engine_request request;
    int64_t id;
    opening *opening; /* owned; in the queue: NULL, if its pictures are not seen ahead */
} entry;

typedef enum slot_state { FREE, READING, WRITING } slot_state;

typedef struct slot {
    slot_state state;
    entry entry;
    int64_t wanted_from; /* the first position whose hidden state is needed: what is before may come from elsewhere */
    int64_t n_shared;
    int64_t n_waited; /* READING: steps */
    mm1__writer writer;
    mm1__scorer scorer;
    int32_t token; /* WRITING: to be read next */
    double begin, first_logits;
    /* What the cache holds of prompts, also after the request has gone. */
    uint64_t *key; /* [n_max] */
    int64_t n_keys;
    uint64_t last_use;
} slot;

struct mm1_engine {
    mm1_context *context;
    mm1_image_cache images;
    mm1__score_room room;
    slot *slots; /* [n_slots] */
    int64_t n_slots, n_running;
    uint64_t clock;
    entry *queue; /* [n_queue] the first is the next one */
    size_t n_queue, queue_cap;
    mm1_engine_result *results; /* [n_results] the first has been there longest */
    size_t n_results, results_cap;
    int64_t n_added;
    /* Of one pass, [n_slots] each. */
    int64_t *index;
    int32_t *tokens;
    mm1_reading *readings;
    float *rows;   /* [n_slots, C] last positions of prompts */
    float *logits; /* [n_slots, V] */
};

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- making and ending ---- */

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

static mm1_status take_memory(mm1_engine *e, mm1_error *err)
{
    const mm1_decoder_config *c = &mm1_context_model(e->context)->config.decoder;
    const size_t n = (size_t)e->n_slots;
    size_t n_logits = 0;
    e->slots = mm1_calloc(n, sizeof *e->slots);
    e->index = mm1_alloc(n, sizeof *e->index);
    e->tokens = mm1_alloc(n, sizeof *e->tokens);
    e->readings = mm1_alloc(n, sizeof *e->readings);
    e->rows = mm1_alloc(n * (size_t)c->width, sizeof *e->rows);
    bool ok = mm1_size_mul(n, (size_t)c->vocab_size, &n_logits) && e->slots != NULL && e->index != NULL &&
              e->tokens != NULL && e->readings != NULL && e->rows != NULL &&
              (e->logits = mm1_alloc(n_logits, sizeof *e->logits)) != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        e->slots[i].key = mm1_alloc((size_t)mm1_context_n_max(e->context), sizeof *e->slots[i].key);
        ok = e->slots[i].key != NULL;
    }
    return !ok ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu slots of an engine", n)
               : mm1__score_room_init(&e->room, e->context, err);
}

mm1_status mm1_engine_create(const mm1_model *m, const mm1_engine_options *options, mm1_engine **out, mm1_error *err)
{
    *out = NULL;
    mm1_engine *e = mm1_calloc(1, sizeof *e);
    if (e == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for an engine");
    }
    e->n_slots = options->n_slots;
    e->images.max_bytes = options->image_bytes;
    mm1_status st = mm1_context_create(m, options->n_slots, options->n_positions, &e->context, err);
    st = st != MM1_OK ? st : take_memory(e, err);
    if (st != MM1_OK) {
        mm1_engine_destroy(e);
        return st;
    }
    *out = e;
    return MM1_OK;
}

static void close_opening(entry *x)
{
    if (x->opening != NULL) {
        mm1_prompt_deinit(&x->opening->prompt);
        mm1_free(x->opening->document.parts);
        mm1_free(x->opening);
        x->opening = NULL;
    }
}

/* Of a slot that is not free. */
static mm1_prompt *prompt_of(const slot *s)
{
    return &s->entry.opening->prompt;
}

/* The request of a slot is over; keys and values stay. */
static void leave(slot *s)
{
    s->state = FREE;
    mm1__writer_deinit(&s->writer);
    mm1_score_deinit(&s->scorer.score);
    close_opening(&s->entry);
}

void mm1_engine_destroy(mm1_engine *e)
{
    if (e == NULL) {
        return;
    }
    for (int64_t i = 0; e->slots != NULL && i < e->n_slots; i++) {
        leave(&e->slots[i]);
        mm1_free(e->slots[i].key);
    }
    for (size_t i = 0; i < e->n_queue; i++) {
        close_opening(&e->queue[i]);
    }
    for (size_t i = 0; i < e->n_results; i++) {
        mm1_engine_result_deinit(&e->results[i]);
    }
    mm1__score_room_deinit(&e->room);
    mm1_image_cache_deinit(&e->images);
    mm1_context_destroy(e->context);
    mm1_free(e->slots);
    mm1_free(e->index);
    mm1_free(e->tokens);
    mm1_free(e->readings);
    mm1_free(e->rows);
    mm1_free(e->logits);
    mm1_free(e->queue);
    mm1_free(e->results);
    mm1_free(e);
}

/* ---- queue and results ---- */

/* Room for one more of size bytes. */
static void *grown(void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return items;
    }
    void *p = mm1_realloc(items, 2 * n + 16, size);
    *cap = p != NULL ? 2 * n + 16 : *cap;
    return p;
}

mm1_status mm1_engine_add(mm1_engine *e, const mm1_engine_request *request, int64_t *id, mm1_error *err)
{
    /* Room for all results is taken here, so that a step cannot fail for want of it. */
    const size_t n_open = e->n_queue + (size_t)e->n_running + e->n_results;
    entry *queue = grown(e->queue, e->n_queue, &e->queue_cap, sizeof *queue);
    e->queue = queue != NULL ? queue : e->queue;
    mm1_engine_result *results = grown(e->results, n_open, &e->results_cap, sizeof *results);
    e->results = results != NULL ? results : e->results;
    if (queue == NULL || results == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a queue of %zu requests", e->n_queue + 1);
    }
    *id = e->n_added++;
    queue[e->n_queue++] = (entry){.request = *request, .id = *id};
    return MM1_OK;
}

bool mm1_engine_is_busy(const mm1_engine *e)
{
    return e->n_queue > 0 || e->n_running > 0;
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

/* The request of slot i has its result: st, and what was made. */
static void finish(mm1_engine *e, slot *s, mm1_status st, const mm1_error *error)
{
    mm1_engine_result *out = &e->results[e->n_results++];
    *out = (mm1_engine_result){.id = s->entry.id, .status = st, .n_shared = s->n_shared};
    if (st == MM1_OK && s->entry.request.params != NULL) {
        const double now = mm1_time_now();
        out->status = mm1__writer_finish(&s->writer, &out->text, &out->error);
        if (out->status == MM1_OK) {
            out->text.n_prompt_tokens = prompt_of(s)->sequence.len;
            out->text.prompt_seconds = s->first_logits - s->begin;
            out->text.generate_seconds = now - s->first_logits;
        }
    } else if (st == MM1_OK) {
        out->score = s->scorer.score;
        s->scorer.score = (mm1_score){0};
    } else {
        out->error = *error;
    }
    leave(s);
    s->last_use = ++e->clock;
    e->n_running--;
}

/* ---- taking a slot ---- */

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

static mm1_status begin_score(mm1_engine *e, slot *s, mm1_error *err)
{
    const mm1_engine_request *r = &s->entry.request;
    const mm1_sequence *q = &prompt_of(s)->sequence;
    const int32_t n_prefix = r->prefix != NULL ? (int32_t)r->prefix->n_parts : 0;
    int64_t first = 0;
    while (n_prefix > 0 && first < q->len && q->part[first] < n_prefix && (first == 0 || q->part[first] >= 0)) {
        first++;
    }
    const mm1_status st = mm1__scorer_init(&s->scorer, e->context, q, first, false, err);
    s->wanted_from = st == MM1_OK ? s->scorer.first - 1 : 0;
    return st;
}

/* Document and prompt of a request, unless they are there. */
static mm1_status open_entry(mm1_engine *e, entry *x, mm1_error *err)
{
    const mm1_engine_request *r = &x->request;
    if (x->opening != NULL) {
        return MM1_OK;
    }
    x->opening = mm1_calloc(1, sizeof *x->opening);
    if (x->opening == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a prompt");
    }
    const bool complete = r->params == NULL && r->closed;
    mm1_status st = join(r, &x->opening->document, err);
    st = st != MM1_OK
             ? st
             : mm1_prompt_init(&x->opening->prompt, &x->opening->document, complete, e->context, &e->images, err);
    if (st != MM1_OK) {
        close_opening(x);
    }
    return st;
}

static mm1_status begin_request(mm1_engine *e, slot *s, mm1_error *err)
{
    const mm1_engine_request *r = &s->entry.request;
    mm1_status st = open_entry(e, &s->entry, err);
    if (st == MM1_OK && r->params == NULL) {
        return begin_score(e, s, err);
    }
    if (st == MM1_OK) {
        s->wanted_from = prompt_of(s)->sequence.len - 1;
        st = mm1__writer_init(&s->writer, mm1_context_model(e->context), &s->entry.opening->document, r->params,
                              r->on_text, r->ctx, err);
    }
    return st;
}

/* How many positions two lists of keys begin with alike. */
static int64_t n_alike(const uint64_t *a, int64_t n_a, const uint64_t *b, int64_t n_b)
{
    int64_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) {
        n++;
    }
    return n;
}

/* What the cache holds of a slot is from now on what it shares with the prompt. */
static void keep_own_start(mm1_engine *e, int64_t i)
{
    slot *s = &e->slots[i];
    s->n_keys = n_alike(s->key, s->n_keys, prompt_of(s)->key, s->wanted_from);
    s->n_shared = s->n_keys;
    mm1_context_cut(e->context, i, s->n_keys);
}

/* The free slot that has been free for longest, or -1. */
static int64_t free_slot(const mm1_engine *e)
{
    int64_t best = -1;
    for (int64_t i = 0; i < e->n_slots; i++) {
        if (e->slots[i].state == FREE && (best < 0 || e->slots[i].last_use < e->slots[best].last_use)) {
            best = i;
        }
    }
    return best;
}

/* ---- reading ---- */

/* Takes what another slot has read of the same beginning; true if one that comes before it is about to read more. */
static bool share(mm1_engine *e, int64_t i)
{
    slot *s = &e->slots[i];
    int64_t best = i, n_best = s->n_keys;
    bool waits = false;
    for (int64_t j = 0; j < e->n_slots; j++) {
        const slot *o = &e->slots[j];
        if (j == i) {
            continue;
        }
        const int64_t n = n_alike(prompt_of(s)->key, s->wanted_from, o->key, o->n_keys);
        if (n > n_best) {
            best = j;
            n_best = n;
        }
        if (o->state == READING && j < i && n == o->n_keys) {
            waits = waits || n_alike(prompt_of(s)->key, s->wanted_from, prompt_of(o)->key,
                                     prompt_of(o)->sequence.len) >= (n > s->n_keys ? n : s->n_keys) + WORTH_WAITING;
        }
    }
    if (best != i) {
        mm1_context_copy(e->context, i, best, n_best);
        memcpy(s->key, prompt_of(s)->key, (size_t)n_best * sizeof *s->key);
        s->n_shared += n_best - s->n_keys;
        s->n_keys = n_best;
    }
    return waits;
}

static void admit(mm1_engine *e)
{
    for (int64_t i; e->n_queue > 0 && (i = free_slot(e)) >= 0;) {
        slot *s = &e->slots[i];
        mm1_error error;
        s->entry = e->queue[0];
        s->begin = mm1_time_now();
        s->n_shared = s->n_waited = 0;
        memmove(e->queue, e->queue + 1, --e->n_queue * sizeof *e->queue);
        e->n_running++;
        const mm1_status st = begin_request(e, s, &error);
        if (st != MM1_OK) {
            finish(e, s, st, &error);
            continue;
        }
        s->state = READING;
        keep_own_start(e, i);
        (void)share(e, i);
    }
}

/* Whether new prompts should wait for more of their kind: a pass costs as if it had some dozens of positions more, and
 * with a queue and texts about to end others will soon be there. */
static bool reading_waits(mm1_engine *e)
{
    int64_t n_rows = 0, longest = 0;
    bool any_writes = false;
    for (int64_t i = 0; i < e->n_slots; i++) {
        slot *s = &e->slots[i];
        any_writes = any_writes || s->state == WRITING;
        if (s->state == READING) {
            n_rows += prompt_of(s)->sequence.len - s->n_keys;
            longest = s->n_waited > longest ? s->n_waited : longest;
            s->n_waited++;
        }
    }
    return any_writes && e->n_queue > 0 && n_rows < FULL_PASS && longest < PATIENCE;
}

/* Pictures are encoded in passes of many: a pass that is not full takes those of requests that will have a slot soon.
 * What is wrong with one of these is said when it has its slot. */
static void look_ahead(mm1_engine *e)
{
    const int64_t full = mm1_context_tiles(e->context);
    const size_t n_ahead = e->n_slots == 1 ? 0 : (size_t)min64((int64_t)e->n_queue, e->n_slots);
    int64_t n = full > 0 ? mm1_image_cache_waiting(&e->images) : 0;
    const int64_t wanted = n > 0 ? (n + full - 1) / full * full : 0;
    for (size_t i = 0; i < n_ahead && n < wanted; i++) {
        mm1_error error;
        entry *x = &e->queue[i];
        if (open_entry(e, x, &error) == MM1_OK) {
            mm1_prompt *p = &x->opening->prompt;
            if (mm1_prompt_want(p, 0, p->sequence.len, &error) != MM1_OK) {
                return;
            }
            n = mm1_image_cache_waiting(&e->images);
        }
    }
}

/* Pictures that n readings need, as pixels.  Readings whose pictures are damaged are over; how many are left. */
static int64_t see_all(mm1_engine *e, int64_t n)
{
    int64_t n_left = 0;
    look_ahead(e);
    mm1_image_cache_decode(&e->images, mm1_context_model(e->context));
    for (int64_t i = 0; i < n; i++) {
        const mm1_reading r = e->readings[i];
        slot *s = &e->slots[r.slot];
        mm1_error error;
        const mm1_status st = mm1_prompt_see(prompt_of(s), s->n_keys, s->n_keys + r.n, &error);
        if (st == MM1_OK) {
            e->readings[n_left++] = r;
        } else {
            finish(e, s, st, &error);
        }
    }
    return n_left;
}

/* The slots that read in the next pass, and how much. */
static int64_t plan_reading(mm1_engine *e)
{
    int64_t n = 0, room = mm1_context_piece(e->context);
    if (reading_waits(e)) {
        return 0;
    }
    for (int64_t i = 0; i < e->n_slots && room > 0; i++) {
        slot *s = &e->slots[i];
        if (s->state != READING || share(e, i)) {
            continue;
        }
        const int64_t n_rows = min64(prompt_of(s)->sequence.len - s->n_keys, room);
        mm1_error error;
        const mm1_status st = mm1_prompt_want(prompt_of(s), s->n_keys, s->n_keys + n_rows, &error);
        if (st != MM1_OK) {
            finish(e, s, st, &error);
            continue;
        }
        e->readings[n++] =
            (mm1_reading){.slot = i, .n = n_rows, .sequence = &prompt_of(s)->sequence, .tiles = prompt_of(s)->tile};
        room -= n_rows;
    }
    return see_all(e, n);
}

/* Chooses the next tokens of n slots by the logits of hidden [n, C]. */
static void choose(mm1_engine *e, const int64_t *slots, int64_t n, const float *hidden)
{
    const int64_t V = mm1_context_model(e->context)->config.decoder.vocab_size;
    mm1_context_logits(e->context, hidden, n, MM1_ROWS_FEW, e->logits);
    for (int64_t i = 0; i < n; i++) {
        slot *s = &e->slots[slots[i]];
        const bool is_full = mm1_context_n(e->context, slots[i]) == mm1_context_n_max(e->context);
        bool is_done;
        mm1_error error;
        const mm1_status st = mm1__writer_next(&s->writer, e->logits + i * V, is_full, &s->token, &is_done, &error);
        if (st != MM1_OK || is_done) {
            finish(e, s, st, &error);
        }
    }
}

/* What was read of a slot, hidden [n, C] from `begin` on; true if its last row is to be the first of a text. */
static bool have_read(mm1_engine *e, slot *s, const float *hidden, int64_t begin, int64_t n)
{
    const bool is_text = s->entry.request.params != NULL;
    mm1_error error;
    mm1_status st = MM1_OK;
    memcpy(s->key + begin, prompt_of(s)->key + begin, (size_t)n * sizeof *s->key);
    s->n_keys = begin + n;
    const bool is_read = s->n_keys == prompt_of(s)->sequence.len;
    if (!is_text) {
        st = mm1__scorer_rows(&s->scorer, &e->room, hidden, begin, n, &error);
    }
    if (st != MM1_OK || (is_read && !is_text)) {
        finish(e, s, st, &error);
    }
    return is_read && is_text;
}

static mm1_status read_prompts(mm1_engine *e, mm1_error *err)
{
    const int64_t C = mm1_context_model(e->context)->config.decoder.width, n = plan_reading(e);
    const float *hidden;
    int64_t n_texts = 0;
    if (n == 0) {
        return MM1_OK;
    }
    mm1_status st = mm1_image_cache_encode(&e->images, e->context, err);
    st = st != MM1_OK ? st : mm1_context_read(e->context, e->readings, n, &hidden, err);
    if (st != MM1_OK) {
        return st;
    }
    for (int64_t i = 0; i < n; i++) {
        const mm1_reading *r = &e->readings[i];
        slot *s = &e->slots[r->slot];
        if (have_read(e, s, hidden, s->n_keys, r->n)) {
            memcpy(e->rows + n_texts * C, hidden + (r->n - 1) * C, (size_t)C * sizeof *hidden);
            s->state = WRITING;
            s->first_logits = mm1_time_now();
            e->index[n_texts++] = r->slot;
        }
        hidden += r->n * C;
    }
    choose(e, e->index, n_texts, e->rows);
    return MM1_OK;
}

/* ---- a step ---- */

static mm1_status write_texts(mm1_engine *e, mm1_error *err)
{
    const float *hidden;
    int64_t n = 0;
    for (int64_t i = 0; i < e->n_slots; i++) {
        if (e->slots[i].state == WRITING) {
            e->index[n] = i;
            e->tokens[n++] = e->slots[i].token;
        }
    }
    if (n == 0) {
        return MM1_OK;
    }
    const mm1_status st = mm1_context_step(e->context, e->index, e->tokens, n, &hidden, err);
    if (st == MM1_OK) {
        choose(e, e->index, n, hidden);
    }
    return st;
}

mm1_status mm1_engine_step(mm1_engine *e, mm1_error *err)
{
    admit(e);
    const mm1_status st = read_prompts(e, err);
    return st != MM1_OK ? st : write_texts(e, err);
}

mm1_status mm1_engine_run(mm1_engine *e, const mm1_engine_request *requests, size_t n, mm1_engine_result *results,
                          mm1_error *err)
{
    const int64_t first = e->n_added;
    mm1_engine_result r;
    for (size_t i = 0; i < n; i++) {
        results[i] = (mm1_engine_result){0};
    }
    if (mm1_engine_is_busy(e) || e->n_results > 0) {
        return mm1_error_set(err, MM1_E_STATE, "the engine has other requests");
    }
    mm1_status st = MM1_OK;
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

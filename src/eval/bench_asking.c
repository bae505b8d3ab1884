/* bench_asking.c - samples of a cell on their way to the backend and back: prompts, likelihoods of choices, votes. */
#include "eval/benchmark_internal.h"

#include "base/alloc.h"
#include "base/hash.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The template of an answer with a choice in it; in a conversation the chat template says what stands before it. */
static char *answer_text(const mm1_bench_work *w, const char *choice)
{
    const char *p = w->task->answer;
    mm1_buf text;
    mm1_buf_init(&text, 1 << 24);
    if (w->style.renders) {
        p += strspn(p, " ");
        mm1_buf_puts(&text, mm1_chat_answer_has_blank(w->style.chat_template) ? " " : "");
    }
    for (; *p != '\0'; p++) {
        if (strncmp(p, "{answer}", 8) == 0) {
            mm1_buf_puts(&text, choice);
            p += 7;
        } else {
            mm1_buf_putc(&text, *p);
        }
    }
    char *out = mm1_buf_take(&text);
    mm1_buf_deinit(&text);
    return out;
}

/* A likelihood of each choice: what is read before it is scored, and what is scored. */
static mm1_status make_continuations(const mm1_bench_work *w, const mm1_bench_item *item, mm1_continuation *c,
                                     char **owned, mm1_error *err)
{
    for (size_t i = 0; i < item->n_choices; i++) {
        owned[i] = answer_text(w, item->choices[i]);
        if (owned[i] == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for a choice");
        }
        c[i] = item->suffix != NULL ? (mm1_continuation){.given = owned[i], .text = item->suffix}
                                    : (mm1_continuation){.text = owned[i]};
    }
    return MM1_OK;
}

/* All that an answer depends on. */
static uint64_t hash_prompt(const mm1_bench_work *w, const mm1_document *d, const mm1_bench_sample *s,
                            const mm1_generate_params *p)
{
    const bool by_likelihood = w->style.by == MM1_BY_LIKELIHOOD;
    const int64_t numbers[] = {by_likelihood, w->o->n_votes, by_likelihood ? 0 : p->max_tokens,
                               w->o->n_votes > 1 ? (int64_t)s->seed : 0, d->is_bare};
    uint64_t h = mm1_hash64(numbers, sizeof numbers, w->o->model_hash);
    if (w->o->n_votes > 1) {
        h = mm1_hash64(&p->sampling.temperature, sizeof p->sampling.temperature, h);
    }
    for (size_t i = 0; i < d->n_parts; i++) {
        const int64_t kind[] = {d->parts[i].kind, d->parts[i].overview};
        h = mm1_hash64(kind, sizeof kind, h);
        h = mm1_hash64(d->parts[i].bytes, d->parts[i].len, h);
    }
    for (size_t i = 0; by_likelihood && i < s->item.n_choices; i++) {
        h = mm1_hash64(s->item.choices[i], strlen(s->item.choices[i]), h);
    }
    for (size_t i = 0; !by_likelihood && i < p->n_stop; i++) {
        h = mm1_hash64(p->stop[i], strlen(p->stop[i]), h);
    }
    if (by_likelihood) {
        h = mm1_hash64(w->task->answer, strlen(w->task->answer), h);
        h = s->item.suffix != NULL ? mm1_hash64(s->item.suffix, strlen(s->item.suffix), h) : h;
    }
    return h;
}

/* Demonstrations and question as turns of a conversation. */
static mm1_status make_turns(mm1_bench_work *w, mm1_bench_shots *shots, int64_t n, const mm1_bench_sample *s,
                             mm1_document *d, mm1_error *err)
{
    mm1_document *list = NULL;
    size_t n_shots = 0;
    mm1_status st = n > 0 ? mm1_bench_shots_draw(shots, &w->test, &s->item, n, &list, &n_shots, err) : MM1_OK;
    mm1_chat_turn *turns = st == MM1_OK ? mm1_calloc(2 * n_shots + 1, sizeof *turns) : NULL;
    if (st == MM1_OK && turns == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a conversation");
    }
    for (size_t i = 0; st == MM1_OK && i < n_shots; i++) { /* borrowed: the answer is the last part */
        turns[2 * i] = (mm1_chat_turn){MM1_CHAT_USER, {.parts = list[i].parts, .n_parts = list[i].n_parts - 1}};
        turns[2 * i + 1] =
            (mm1_chat_turn){MM1_CHAT_ASSISTANT, {.parts = list[i].parts + list[i].n_parts - 1, .n_parts = 1}};
    }
    if (st == MM1_OK) {
        mm1_chat_turn *last = &turns[2 * n_shots];
        last->role = MM1_CHAT_USER;
        st = mm1_bench_put_question(&w->style, &w->test, &s->item, &last->message, err);
        st = st != MM1_OK ? st : mm1_chat_render_turns(w->style.chat_template, turns, 2 * n_shots + 1, d, err);
        mm1_document_deinit(&last->message);
    }
    mm1_free(turns);
    mm1_bench_shots_free(list, n_shots);
    return st;
}

/* The document of a sample: demonstrations and question. */
static mm1_status make_prompt(mm1_bench_work *w, mm1_bench_shots *shots, int64_t n_shots, const mm1_bench_sample *s,
                              mm1_document *d, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (w->style.renders) {
        st = make_turns(w, shots, n_shots, s, d, err);
    } else {
        st = n_shots > 0 ? mm1_bench_shots_put(shots, &w->test, &s->item, n_shots, d, err) : MM1_OK;
        st = st != MM1_OK ? st : mm1_bench_put_question(&w->style, &w->test, &s->item, d, err);
    }
    return st != MM1_OK ? st : mm1_document_set_name(d, s->item.id, err);
}

/* A chunk of samples on their way. */
typedef struct chunk {
    mm1_document *prompts;           /* [most] */
    mm1_ask *asks;                   /* [most * votes] */
    size_t *of;                      /* [most * votes] sample of each ask */
    mm1_continuation *continuations; /* [most, MM1_BENCH_MAX_CHOICES] */
    char **texts;                    /* [most, MM1_BENCH_MAX_CHOICES] owned */
    size_t n_asks;
} chunk;

static void chunk_free(chunk *c, size_t most)
{
    for (size_t i = 0; i < most; i++) {
        if (c->prompts != NULL) {
            mm1_document_deinit(&c->prompts[i]);
        }
        for (size_t k = 0; c->texts != NULL && k < MM1_BENCH_MAX_CHOICES; k++) {
            mm1_free(c->texts[i * MM1_BENCH_MAX_CHOICES + k]);
        }
    }
    for (size_t i = 0; c->asks != NULL && i < c->n_asks; i++) {
        mm1_ask_deinit(&c->asks[i]);
    }
    mm1_free(c->prompts);
    mm1_free(c->asks);
    mm1_free(c->of);
    mm1_free(c->continuations);
    mm1_free(c->texts);
}

/* The best of the choices, raw and for each character. */
static void pick(mm1_bench_sample *s)
{
    double best = -INFINITY, best_per_char = -INFINITY;
    s->picked = s->picked_per_char = -1;
    for (size_t i = 0; i < s->item.n_choices; i++) {
        size_t chars = 0;
        for (const char *p = s->item.suffix != NULL ? s->item.suffix : s->item.choices[i]; *p != '\0'; p++) {
            chars += ((unsigned char)*p & 0xc0) != 0x80;
        }
        const double per_char = s->logprob[i] / (double)(chars > 0 ? chars : 1);
        if (s->logprob[i] > best) {
            best = s->logprob[i];
            s->picked = (int64_t)i;
        }
        if (per_char > best_per_char) {
            best_per_char = per_char;
            s->picked_per_char = (int64_t)i;
        }
    }
}

/* The answer that most votes gave, compared as texts are; of equals the first.  Where a letter is wanted, an answer
 * without one has a vote only if none has one. */
static mm1_status vote(const mm1_bench_work *w, mm1_bench_sample *s, mm1_error *err)
{
    char **said = mm1_calloc(s->n_raw, sizeof *said), **plain = mm1_calloc(s->n_raw, sizeof *plain);
    mm1_status st = said == NULL || plain == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for votes") : MM1_OK;
    static const char unread[] = "\n"; /* no text begins so */
    size_t best = 0, most = 0;
    for (size_t i = 0; st == MM1_OK && i < s->n_raw; i++) {
        mm1_buf text;
        mm1_buf_init(&text, 1 << 24);
        said[i] = mm1_bench_extract(s->raw[i], w->style.thinks ? w->task->marker : "");
        mm1_bench_normalize(said[i] != NULL ? said[i] : "", &text);
        if (w->style.by == MM1_BY_LETTER && s->item.n_choices > 0 && said[i] != NULL) {
            const int64_t letter = mm1_bench_read_letter(said[i], s->item.choices, s->item.n_choices);
            mm1_buf_clear(&text);
            mm1_buf_puts(&text, letter >= 0 ? mm1_bench_letter(letter) : unread);
        }
        mm1_buf_putc(&text, ' '); /* never NULL */
        plain[i] = mm1_buf_take(&text);
        st = said[i] == NULL || plain[i] == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for votes") : MM1_OK;
    }
    for (size_t i = 0; st == MM1_OK && i < s->n_raw; i++) {
        size_t n = 0;
        for (size_t k = 0; k < s->n_raw && plain[i][0] != unread[0]; k++) {
            n += strcmp(plain[i], plain[k]) == 0;
        }
        if (n > most) {
            most = n;
            best = i;
        }
    }
    if (st == MM1_OK && s->n_raw > 0) {
        s->said = said[best];
        said[best] = NULL;
        s->picked = s->item.n_choices > 0 && w->style.by == MM1_BY_LETTER
                        ? mm1_bench_read_letter(s->said, s->item.choices, s->item.n_choices)
                        : -1;
    }
    for (size_t i = 0; i < s->n_raw; i++) {
        mm1_free(said != NULL ? said[i] : NULL);
        mm1_free(plain != NULL ? plain[i] : NULL);
    }
    mm1_free(said);
    mm1_free(plain);
    return st;
}

/* Answers of the asks into their samples.  *too_long counts those that do not fit. */
static void collect(mm1_bench_work *w, chunk *c, mm1_bench_sample *samples, int64_t *too_long)
{
    for (size_t i = 0; i < c->n_asks; i++) {
        mm1_ask *a = &c->asks[i];
        mm1_bench_sample *s = &samples[c->of[i]];
        if (a->status != MM1_OK) {
            if (s->is_asked) {
                s->is_asked = false;
                mm1_bench_bad(&w->test, too_long, w->task->name, 0, a->error.message);
            }
        } else if (w->style.by == MM1_BY_LIKELIHOOD) {
            for (size_t k = 0; k < a->n; k++) {
                s->logprob[k] = a->continuations[k].logprob;
            }
        } else {
            s->raw[s->n_raw++] = a->text;
            a->text = NULL;
        }
    }
}

/* Puts one sample on its way, unless its answer is known or its prompt cannot be had. */
static mm1_status prepare(mm1_bench_work *w, mm1_bench_shots *shots, mm1_bench_cell *cell, chunk *c, size_t at,
                          mm1_bench_sample *s, size_t number, const mm1_generate_params *params, mm1_error *err)
{
    mm1_document *d = &c->prompts[at];
    mm1_buf shown;
    mm1_error why = {0};
    s->picked = s->picked_per_char = -1;
    s->score = (double)NAN;
    mm1_status st = make_prompt(w, shots, cell->shots, s, d, &why);
    if (st == MM1_E_IO || st == MM1_E_FORMAT || st == MM1_E_LIMIT) {
        mm1_bench_bad(&w->test, &cell->left_out.without_picture, w->task->name, 0, why.message);
        mm1_document_deinit(d);
        return MM1_OK;
    }
    if (st != MM1_OK) {
        return mm1_error_set(err, st, "%s", why.message);
    }
    s->is_asked = true;
    mm1_buf_init(&shown, SIZE_MAX / 2);
    mm1_bench_show(d, &shown);
    mm1_buf_putc(&shown, '\0');
    s->prompt = mm1_buf_take(&shown);
    s->hash = hash_prompt(w, d, s, params);
    const size_t n_raw = (size_t)w->o->n_votes;
    if (w->style.by == MM1_BY_LIKELIHOOD) {
        s->logprob = mm1_calloc(s->item.n_choices, sizeof *s->logprob);
    } else {
        s->raw = mm1_calloc(n_raw, sizeof *s->raw);
    }
    if (s->prompt == NULL || (s->logprob == NULL && s->raw == NULL)) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a sample");
    }
    if ((int64_t)number < w->o->n_show && w->o->on_prompt != NULL) {
        char title[200];
        (void)snprintf(title, sizeof title, "%.100s, %lld shots, item %.60s", w->task->name, (long long)cell->shots,
                       s->item.id);
        w->o->on_prompt(w->o->ctx, title, s->prompt);
    }
    if (mm1__bench_answers_find(w->answers, s, n_raw)) {
        cell->n_known++;
        return MM1_OK;
    }
    mm1_continuation *choices = &c->continuations[at * MM1_BENCH_MAX_CHOICES];
    if (w->style.by == MM1_BY_LIKELIHOOD) {
        st = make_continuations(w, &s->item, choices, &c->texts[at * MM1_BENCH_MAX_CHOICES], err);
        c->of[c->n_asks] = number;
        c->asks[c->n_asks++] = (mm1_ask){.prompt = d, .continuations = choices, .n = s->item.n_choices};
        return st;
    }
    const uint64_t id = mm1_hash64(s->item.id, strlen(s->item.id), 3) >> 16;
    for (size_t v = 0; v < n_raw; v++) {
        c->of[c->n_asks] = number;
        c->asks[c->n_asks++] = (mm1_ask){.prompt = d, .sample = n_raw > 1 ? id + v : 0};
    }
    return MM1_OK;
}

mm1_status mm1__bench_ask(mm1_bench_work *w, mm1_bench_shots *shots, mm1_bench_cell *cell, mm1_bench_sample *samples,
                          size_t first, size_t n, const mm1_generate_params *params, mm1_error *err)
{
    const size_t n_raw = (size_t)w->o->n_votes;
    chunk c = {.prompts = mm1_calloc(n, sizeof *c.prompts),
               .asks = mm1_calloc(n * n_raw, sizeof *c.asks),
               .of = mm1_calloc(n * n_raw, sizeof *c.of),
               .continuations = mm1_calloc(n * MM1_BENCH_MAX_CHOICES, sizeof *c.continuations),
               .texts = mm1_calloc(n * MM1_BENCH_MAX_CHOICES, sizeof *c.texts)};
    mm1_status st = MM1_OK;
    if (c.prompts == NULL || c.asks == NULL || c.of == NULL || c.continuations == NULL || c.texts == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu prompts", n);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = prepare(w, shots, cell, &c, i, &samples[first + i], first + i, params, err);
    }
    if (st == MM1_OK && c.n_asks > 0) {
        st = w->style.by == MM1_BY_LIKELIHOOD ? mm1_backend_score(w->backend, c.asks, c.n_asks, err)
                                              : mm1_backend_generate(w->backend, c.asks, c.n_asks, params, err);
    }
    if (st == MM1_OK) {
        collect(w, &c, samples, &cell->too_long);
    }
    for (size_t i = 0; st == MM1_OK && i < c.n_asks; i += w->style.by == MM1_BY_LIKELIHOOD ? 1 : n_raw) {
        const mm1_bench_sample *s = &samples[c.of[i]];
        st = s->is_asked ? mm1__bench_answers_add(w->answers, s, err) : MM1_OK;
    }
    for (size_t i = first; st == MM1_OK && i < first + n; i++) {
        if (samples[i].is_asked && w->style.by == MM1_BY_LIKELIHOOD) {
            pick(&samples[i]);
        } else if (samples[i].is_asked) {
            st = vote(w, &samples[i], err);
        }
    }
    chunk_free(&c, n);
    return st;
}

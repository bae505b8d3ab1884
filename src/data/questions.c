/* questions.c - the table of question kinds, and what they share. */
#include "data/questions.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "data/build_internal.h"
#include <stdio.h>
#include <string.h>

static const mm1_question_kind kinds[] = {
    {.name = "naming", .plan = mm1__questions_naming, .gives = "what a picture shows"},
    {.name = "category", .plan = mm1__questions_category, .gives = "which kind of thing; yes or no; which room"},
    {.name = "flags", .plan = mm1__questions_flags, .gives = "whose flag; yes or no; colours"},
    {.name = "clothes",
     .plan = mm1__questions_clothes,
     .gives = "Fashion-MNIST: which garment; yes or no; two of a kind",
     .package = "dataset-fashion-mnist"},
    {.name = "scenes",
     .plan = mm1__questions_scenes,
     .gives = "stamps on paper: how many, where, which paper",
     .note = "synthetic composite of real stamps",
     .px = 224},
    {.name = "details",
     .plan = mm1__questions_details,
     .gives = "small text and small stamps in a large picture",
     .note = "synthetic composite of real stamps",
     .package = "fonts-dejavu-core",
     .px = 448},
    {.name = "signs",
     .plan = mm1__questions_signs,
     .gives = "words and numbers to read",
     .note = "text drawn by the builder",
     .package = "fonts-dejavu-core",
     .px = 224},
    {.name = "sizes", .plan = mm1__questions_sizes, .gives = "two pieces of furniture: which is taller, wider, deeper"},
    {.name = "cards", .plan = mm1__questions_cards, .gives = "playing cards: suit, rank, colour"},
    {.name = "text", .plan = mm1__questions_text, .gives = "no picture: capitals, kinds of things"},
    {0},
};

const mm1_question_kind *mm1_question_kind_at(size_t i)
{
    return i + 1 < sizeof kinds / sizeof kinds[0] ? &kinds[i] : NULL;
}

const mm1_question_kind *mm1_question_kind_find(const char *name)
{
    for (const mm1_question_kind *k = kinds; k->name != NULL; k++) {
        if (strcmp(k->name, name) == 0) {
            return k;
        }
    }
    return NULL;
}

mm1_status mm1_questions_no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for questions");
}

mm1_rng mm1_questions_rng(const mm1_questions *q, uint64_t i)
{
    const uint64_t what[3] = {mm1_hash64(q->kind->name, strlen(q->kind->name), 0), q->heldout, i};
    return mm1_rng_make((uint64_t)q->config->seed, MM1_RNG_DATA, mm1_hash64(what, sizeof what, 1));
}

mm1_conversation *mm1_questions_add(mm1_questions *q, const char *concept)
{
    if (q->n == q->cap) {
        const size_t cap = q->cap == 0 ? 1024 : q->cap * 2;
        mm1_conversation *items = mm1_realloc(q->items, cap, sizeof *items);
        if (items == NULL) {
            return NULL;
        }
        q->items = items;
        q->cap = cap;
    }
    mm1_conversation *c = &q->items[q->n];
    *c = (mm1_conversation){.kind = q->kind, .heldout = q->heldout};
    c->concept = mm1_corpus_strndup(q->corpus, concept, strlen(concept));
    if (c->concept == NULL) {
        return NULL;
    }
    q->n++;
    return c;
}

mm1_conversation *mm1_questions_add_numbered(mm1_questions *q, const char *prefix, size_t i)
{
    char concept[64];
    (void)snprintf(concept, sizeof concept, "%s:%s-%zu", prefix, q->heldout ? "heldout" : "train", i);
    return mm1_questions_add(q, concept);
}

void mm1_questions_take_back(mm1_questions *q)
{
    q->n--;
}

static const char *keep(mm1_questions *q, mm1_buf *text)
{
    const char *copy =
        mm1_buf_status(text) == MM1_OK ? mm1_corpus_strndup(q->corpus, mm1_buf_str(text), text->len) : NULL;
    mm1_buf_deinit(text);
    return copy;
}

const char *mm1_questions_say(mm1_questions *q, mm1_rng *rng, const char *const *phrasings, const char *a,
                              const char *b)
{
    size_t n = 0;
    mm1_buf text;
    while (phrasings[n] != NULL) {
        n++;
    }
    mm1_buf_init(&text, 4096);
    const char *arg = a;
    for (const char *p = phrasings[mm1_rng_below(rng, n)]; *p != '\0'; p++) {
        if (p[0] == '{' && p[1] == '}') {
            mm1_buf_puts(&text, arg != NULL ? arg : "");
            arg = b;
            p++;
        } else {
            mm1_buf_putc(&text, *p);
        }
    }
    return keep(q, &text);
}

const char *mm1_questions_or(mm1_questions *q, const char *const *names, size_t n)
{
    mm1_buf text;
    mm1_buf_init(&text, 4096);
    for (size_t i = 0; i < n; i++) {
        mm1_buf_puts(&text, i == 0 ? "" : i + 1 < n ? ", " : " or ");
        mm1_buf_puts(&text, names[i]);
    }
    return keep(q, &text);
}

const char *mm1_questions_a(mm1_questions *q, const char *name)
{
    mm1_buf text;
    mm1_buf_init(&text, 4096);
    mm1_buf_printf(&text, "%s %s", strchr("aeiouAEIOU", name[0]) != NULL ? "an" : "a", name);
    return keep(q, &text);
}

bool mm1_conversation_ask(mm1_questions *q, mm1_conversation *c, const char *kind, const char *question,
                          const char *answer, const char *const *choices, size_t n_choices)
{
    const char **copy = NULL;
    if (question == NULL || answer == NULL || c->n_turns == MM1_MAX_TURNS) {
        return false;
    }
    if (n_choices > 0) {
        copy = mm1_corpus_alloc(q->corpus, n_choices, sizeof *copy);
        if (copy == NULL) {
            return false;
        }
        memcpy(copy, choices, n_choices * sizeof *copy);
    }
    c->turns[c->n_turns++] = (mm1_turn){kind, question, answer, copy, n_choices};
    return true;
}

bool mm1_conversation_yes_no(mm1_questions *q, mm1_conversation *c, const char *kind, const char *question, bool yes)
{
    static const char *const choices[] = {"yes", "no"};
    return mm1_conversation_ask(q, c, kind, question, choices[yes ? 0 : 1], choices, 2);
}

bool mm1_conversation_add_origin(mm1_questions *q, mm1_conversation *c, const mm1_origin *origin)
{
    for (size_t i = 0; i < c->n_origins; i++) {
        if (strcmp(c->origins[i].path, origin->path) == 0) {
            return true;
        }
    }
    mm1_origin *origins = mm1_corpus_alloc(q->corpus, c->n_origins + 1, sizeof *origins);
    if (origins == NULL) {
        return false;
    }
    if (c->n_origins > 0) {
        memcpy(origins, c->origins, c->n_origins * sizeof *origins);
    }
    origins[c->n_origins++] = *origin;
    c->origins = origins;
    return true;
}

bool mm1_conversation_add_origin_of(mm1_questions *q, mm1_conversation *c, uint32_t caption)
{
    const mm1_caption *from = &q->corpus->captions[caption];
    const mm1_picture *p = &q->corpus->pictures[from->picture];
    const mm1_source *s = &q->sources[from->source];
    return mm1_conversation_add_origin(q, c, &(mm1_origin){p->path, s->name, s->licence, p->sha256});
}

bool mm1_conversation_show(mm1_questions *q, mm1_conversation *c, uint32_t caption)
{
    if (c->n_pictures == MM1_MAX_QA_PICTURES) {
        return false;
    }
    c->pictures[c->n_pictures++] = (mm1_qa_picture){.stored = q->corpus->captions[caption].picture};
    return mm1_conversation_add_origin_of(q, c, caption);
}

bool mm1_questions_is_ours(const mm1_questions *q, const char *concept)
{
    return mm1__build_is_heldout(concept, q->config->heldout_one_in) == q->heldout;
}

void mm1_questions_shuffle(mm1_rng *rng, uint32_t *list, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        const size_t k = (size_t)mm1_rng_below(rng, i);
        const uint32_t swap = list[i - 1];
        list[i - 1] = list[k];
        list[k] = swap;
    }
}

mm1_status mm1_questions_list(mm1_questions *q, mm1_want_fn *want, size_t max_same, uint32_t **list, size_t *n,
                              mm1_error *err)
{
    const mm1_corpus *corpus = q->corpus;
    mm1_count_map same = {0};
    uint32_t *all = mm1_alloc(corpus->n_captions + 1, sizeof *all);
    size_t n_all = 0, n_kept = 0;
    bool ok = all != NULL;
    *list = NULL;
    *n = 0;
    for (size_t i = 0; ok && i < corpus->n_captions; i++) {
        const mm1_caption *c = &corpus->captions[i];
        if (c->drop == MM1_DROP_NONE && c->heldout == q->heldout && want(&q->things[i])) {
            all[n_all++] = (uint32_t)i;
        }
    }
    if (ok) {
        mm1_rng rng = mm1_questions_rng(q, UINT64_MAX);
        mm1_questions_shuffle(&rng, all, n_all);
    }
    for (size_t i = 0; ok && i < n_all; i++) {
        const char *concept = corpus->captions[all[i]].concept;
        const uint32_t before = mm1_count_map_add(&same, mm1_hash64(concept, strlen(concept), 0));
        ok = before != UINT32_MAX;
        if (before < max_same) {
            all[n_kept++] = all[i];
        }
    }
    mm1_count_map_deinit(&same);
    if (!ok) {
        mm1_free(all);
        return mm1_questions_no_memory(err);
    }
    *list = all;
    *n = n_kept;
    return MM1_OK;
}

mm1_status mm1_questions_check(const mm1_build_config *config, mm1_error *err)
{
    for (size_t i = 0; i < config->n_questions; i++) {
        const mm1_build_questions *entry = &config->questions[i];
        const mm1_question_kind *kind = entry->kind != NULL ? mm1_question_kind_find(entry->kind) : NULL;
        if (kind == NULL) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "questions.%zu.kind: '%s' is no kind of question; see `mm1 data build --list-sources`",
                                 i, entry->kind != NULL ? entry->kind : "");
        }
        if (entry->px != 0 && kind->px == 0) {
            return mm1_error_set(err, MM1_E_CONFIG, "questions.%zu.px: kind '%s' draws no pictures; leave it out", i,
                                 kind->name);
        }
    }
    return MM1_OK;
}

mm1_status mm1_questions_plan(mm1_questions *q, mm1_error *err)
{
    mm1_status st = mm1_things_of(q->corpus, q->config, q->sources, &q->things, err);
    for (size_t i = 0; st == MM1_OK && i < q->config->n_questions; i++) {
        q->entry = &q->config->questions[i];
        q->kind = mm1_question_kind_find(q->entry->kind);
        for (int heldout = 0; st == MM1_OK && heldout < 2; heldout++) {
            const size_t before = q->n;
            q->heldout = heldout == 1;
            const int64_t one_in = q->config->heldout_one_in; /* 0: all is train, 1: nothing is */
            const bool empty = q->heldout ? one_in == 0 : one_in == 1;
            q->wanted = empty ? 0 : (size_t)(q->heldout ? q->entry->heldout : q->entry->train);
            st = q->wanted > 0 ? q->kind->plan(q, err) : MM1_OK;
            mm1_log(MM1_LOG_INFO, "questions %s: %zu conversations for %s", q->kind->name, q->n - before,
                    q->heldout ? "heldout" : "train");
        }
    }
    return st;
}

void mm1_questions_deinit(mm1_questions *q)
{
    mm1_free(q->items);
    *q = (mm1_questions){0};
}

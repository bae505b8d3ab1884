/* question_text.c - without a picture: capitals of countries, as KGeography has them, and kinds of things, by the
 * folders of their pictures.  A country belongs to the side of its flag, a thing to that of its picture.  Capitals are
 * asked for in train alone: nothing in train says what that of a held-out country is. */
#include "data/questions.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "data/prose.h"
#include "data/xml_scan.h"
#include <string.h>

#define MAP "usr/share/kgeography/world.kgm"

enum { MAX_MAP_BYTES = 16 << 20, N_CHOICES = 3, MAX_TRIES = 64, MAX_COUNTRIES = 1024 };

static const char *const capital_of[] = {"What is the capital of {}?", "Name the capital of {}.",
                                         "Which city is the capital of {}?", NULL};
static const char *const country_of[] = {"Of which country is {} the capital?", "{} is the capital of which country?",
                                         NULL};
static const char *const which_kind[] = {"What is {}: {}?", "Which kind of thing is {}, {}?", NULL};
static const char *const is_kind[] = {"Is {} {}?", NULL};

typedef struct country {
    const char *name, *capital, *concept;
} country;

typedef struct text_job {
    mm1_questions *q;
    country countries[MAX_COUNTRIES]; /* of this side */
    const char *map_sha256;
    size_t n_countries;
    uint32_t *things;
    size_t n_things;
} text_job;

static const char *keep(const text_job *job, const mm1_buf *text)
{
    return mm1_corpus_strndup(job->q->corpus, mm1_buf_str(text), text->len);
}

/* The squeezed text of the present element. */
static void take_text(mm1_xml *x, mm1_buf *out, mm1_buf *scratch)
{
    mm1_buf_clear(scratch);
    mm1_buf_clear(out);
    mm1_xml_text(x, scratch);
    (void)mm1_prose_squeeze(out, mm1_buf_str(scratch), scratch->len); /* not UTF-8: stays empty */
}

static bool add_country(text_job *job, const mm1_buf *name, const mm1_buf *capital, mm1_buf *scratch)
{
    mm1__flag_concept(scratch, mm1_buf_str(name));
    if (name->len == 0 || capital->len == 0 || job->n_countries == MAX_COUNTRIES ||
        !mm1_questions_is_ours(job->q, mm1_buf_str(scratch))) {
        return true;
    }
    const country c = {keep(job, name), keep(job, capital), keep(job, scratch)};
    job->countries[job->n_countries++] = c;
    return c.name != NULL && c.capital != NULL && c.concept != NULL;
}

static mm1_status read_countries(text_job *job, mm1_error *err)
{
    mm1_error missing = {0};
    char *path = mm1_path_join(job->q->config->root, MAP), *text = NULL;
    size_t len = 0;
    mm1_buf name, capital, scratch;
    mm1_buf_init(&name, 4096);
    mm1_buf_init(&capital, 4096);
    mm1_buf_init(&scratch, 4096);
    bool ok = path != NULL, in_division = false;
    if (ok && mm1_file_read(path, MAX_MAP_BYTES, &text, &len, &missing) != MM1_OK) {
        mm1_log(MM1_LOG_WARN, "data build: questions '%s': no capitals: %s", job->q->kind->name, missing.message);
    }
    if (text != NULL) {
        char sha[MM1_SHA256_HEX_BYTES];
        mm1_sha256_hex(sha, text, len);
        job->map_sha256 = mm1_corpus_strndup(job->q->corpus, sha, strlen(sha));
        ok = job->map_sha256 != NULL;
    }
    mm1_xml x = mm1_xml_begin(text != NULL ? text : "", len);
    while (ok && mm1_xml_next(&x) != MM1_XML_END) {
        if (mm1_xml_is(&x, MM1_XML_OPEN, "division")) {
            in_division = true;
            mm1_buf_clear(&name);
            mm1_buf_clear(&capital);
        } else if (mm1_xml_is(&x, MM1_XML_CLOSE, "division")) {
            in_division = false;
            ok = add_country(job, &name, &capital, &scratch);
        } else if (in_division && mm1_xml_is(&x, MM1_XML_OPEN, "name")) {
            take_text(&x, &name, &scratch);
        } else if (in_division && mm1_xml_is(&x, MM1_XML_OPEN, "capital")) {
            take_text(&x, &capital, &scratch);
        }
    }
    mm1_buf_deinit(&name);
    mm1_buf_deinit(&capital);
    mm1_buf_deinit(&scratch);
    mm1_free(text);
    mm1_free(path);
    return ok ? MM1_OK : mm1_questions_no_memory(err);
}

static bool plan_country(const text_job *job, const country *c, mm1_rng *rng)
{
    mm1_questions *q = job->q;
    const mm1_origin origin = {MAP, "flags", "GPL-2+", job->map_sha256};
    mm1_conversation *talk = mm1_questions_add(q, c->concept);
    if (talk == NULL || !mm1_conversation_add_origin(q, talk, &origin)) {
        return false;
    }
    return mm1_conversation_ask(q, talk, "text.capital", mm1_questions_say(q, rng, capital_of, c->name, NULL),
                                c->capital, NULL, 0) &&
           mm1_conversation_ask(q, talk, "text.country", mm1_questions_say(q, rng, country_of, c->capital, NULL),
                                c->name, NULL, 0);
}

static bool has_kind(const mm1_thing *thing)
{
    return thing->name != NULL && mm1_category_at(thing->category)->name != NULL;
}

static int another_category(const text_job *job, mm1_rng *rng, int category)
{
    for (int i = 0; i < MAX_TRIES; i++) {
        const int other = job->q->things[job->things[mm1_rng_below(rng, job->n_things)]].category;
        if (mm1_category_disjoint(category, other)) {
            return other;
        }
    }
    return MM1_CATEGORY_NONE;
}

/* Yes or no, or a choice of three; what cannot be asked is left out. */
static bool ask_kind(const text_job *job, mm1_conversation *talk, const mm1_thing *thing, mm1_rng *rng, size_t k)
{
    mm1_questions *q = job->q;
    const char *name = mm1_questions_a(q, thing->name), *names[N_CHOICES], *with_article[N_CHOICES];
    const size_t at = (size_t)mm1_rng_below(rng, N_CHOICES);
    if (name == NULL) {
        return false;
    }
    for (size_t i = 0; i < N_CHOICES; i++) {
        const int c = i == at ? thing->category : another_category(job, rng, thing->category);
        if (c == MM1_CATEGORY_NONE) {
            return true;
        }
        names[i] = mm1_category_at(c)->name;
        with_article[i] = mm1_category_at(c)->a;
    }
    if (k % 2 == 0) { /* k and k + 1 are the two forms of one thing */
        const bool yes = k / 2 % 2 == 0;
        return mm1_conversation_yes_no(
            q, talk, "text.yes_no",
            mm1_questions_say(q, rng, is_kind, name, with_article[yes ? at : (at + 1) % N_CHOICES]), yes);
    }
    if (names[0] == names[1] || names[1] == names[2] || names[0] == names[2]) {
        return true;
    }
    const char *list = mm1_questions_or(q, with_article, N_CHOICES);
    return list != NULL &&
           mm1_conversation_ask(q, talk, "text.choice", mm1_questions_say(q, rng, which_kind, name, list), names[at],
                                names, N_CHOICES);
}

static bool plan_thing(const text_job *job, uint32_t caption, mm1_rng *rng, size_t k)
{
    mm1_questions *q = job->q;
    mm1_conversation *talk = mm1_questions_add(q, q->corpus->captions[caption].concept);
    return talk != NULL && mm1_conversation_add_origin_of(q, talk, caption) &&
           ask_kind(job, talk, &q->things[caption], rng, k);
}

mm1_status mm1__questions_text(mm1_questions *q, mm1_error *err)
{
    text_job *job = mm1_calloc(1, sizeof *job);
    if (job == NULL) {
        return mm1_questions_no_memory(err);
    }
    job->q = q;
    mm1_status st = q->heldout ? MM1_OK : read_countries(job, err);
    if (st == MM1_OK) {
        st = mm1_questions_list(q, has_kind, 1, &job->things, &job->n_things, err);
    }
    const size_t before = q->n;
    const size_t n_countries = job->n_countries, n_things = job->n_things * 2; /* in both forms */
    for (size_t i = 0; st == MM1_OK && i < n_countries + n_things && q->n - before < q->wanted; i++) {
        mm1_rng rng = mm1_questions_rng(q, i);
        const size_t k = i - n_countries;
        const bool ok = i < n_countries ? plan_country(job, &job->countries[i], &rng)
                                        : plan_thing(job, job->things[k / 2], &rng, k);
        if (!ok) {
            st = mm1_questions_no_memory(err);
        } else if (q->items[q->n - 1].n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
    mm1_free(job->things);
    mm1_free(job);
    return st;
}

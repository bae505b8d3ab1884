/* question_naming.c - what a picture shows: open, as a choice of three, as yes or no.
 *
 * The answer is the caption's own words.  Other choices and what is asked when the answer is no are names of things of
 * the same side whose category no such thing can pass for. */
#include "data/questions.h"

#include "base/alloc.h"
#include <string.h>

enum { MAX_SAME = 2, N_CHOICES = 3, MAX_TRIES = 64 };

static const char *const name_it[] = {"What is this?",
                                      "What is in the picture?",
                                      "What do you see?",
                                      "What does the picture show?",
                                      "Name the thing in the picture.",
                                      "Which thing is this? Answer in a few words.",
                                      "What is shown here?",
                                      NULL};
static const char *const describe_it[] = {"Describe the picture.",
                                          "What is this a picture of?",
                                          "Give the picture a title.",
                                          "Write a short caption.",
                                          "Describe this picture in a few words.",
                                          NULL};
static const char *const choose_it[] = {"What is it, {}?", "Which is it: {}?", "What do you see: {}?", NULL};
static const char *const is_it[] = {"Is this {}?", "Does the picture show {}?", "Do you see {}?",
                                    "Is there {} in the picture?", NULL};

static bool is_titled(const mm1_thing *thing)
{
    return thing->title != NULL && thing->place == NULL; /* flags have a kind of their own */
}

static bool is_short(const char *title)
{
    size_t n = 1;
    for (const char *p = title; *p != '\0'; p++) {
        n += *p == ' ';
    }
    return n <= 3;
}

typedef struct naming_job {
    mm1_questions *q;
    const uint32_t *list; /* captions of this side */
    size_t n, n_yes_no;
} naming_job;

/* The name of a thing that nobody takes for `thing`; NULL if none was found. */
static const char *another_name(const naming_job *job, mm1_rng *rng, const mm1_thing *thing)
{
    for (int i = 0; i < MAX_TRIES; i++) {
        const mm1_thing *other = &job->q->things[job->list[mm1_rng_below(rng, job->n)]];
        if (other->name != NULL && other->category != MM1_CATEGORY_NONE && thing->category != MM1_CATEGORY_NONE &&
            mm1_category_disjoint(thing->category, other->category)) {
            return other->name;
        }
    }
    return NULL;
}

static bool ask_open(mm1_questions *q, mm1_rng *rng, mm1_conversation *c, const mm1_thing *thing)
{
    const bool is_object = is_short(thing->title) && strstr(thing->title, " of ") == NULL;
    return mm1_conversation_ask(q, c, is_object ? "naming.object" : "naming.caption",
                                mm1_questions_say(q, rng, is_object ? name_it : describe_it, NULL, NULL), thing->title,
                                NULL, 0);
}

/* False only without memory; a question for which there is nothing to choose from is left out. */
static bool ask_choice(const naming_job *job, mm1_rng *rng, mm1_conversation *c, const mm1_thing *thing)
{
    mm1_questions *q = job->q;
    const char *names[N_CHOICES], *with_article[N_CHOICES];
    const size_t at = (size_t)mm1_rng_below(rng, N_CHOICES);
    for (size_t i = 0; i < N_CHOICES; i++) {
        names[i] = i == at ? thing->name : another_name(job, rng, thing);
        for (size_t k = 0; names[i] != NULL && k < i; k++) {
            names[i] = strcmp(names[i], names[k]) == 0 ? NULL : names[i];
        }
        if (names[i] == NULL) {
            return true;
        }
        with_article[i] = mm1_questions_a(q, names[i]);
        if (with_article[i] == NULL) {
            return false;
        }
    }
    const char *list = mm1_questions_or(q, with_article, N_CHOICES);
    return list != NULL && mm1_conversation_ask(q, c, "naming.choice", mm1_questions_say(q, rng, choose_it, list, NULL),
                                                thing->name, names, N_CHOICES);
}

static bool ask_yes_no(const naming_job *job, mm1_rng *rng, mm1_conversation *c, const mm1_thing *thing, bool yes)
{
    const char *other = another_name(job, rng, thing);
    if (other == NULL) {
        return true;
    }
    const char *name = mm1_questions_a(job->q, yes ? thing->name : other);
    return name != NULL &&
           mm1_conversation_yes_no(job->q, c, "naming.yes_no", mm1_questions_say(job->q, rng, is_it, name, NULL), yes);
}

typedef enum form { OPEN, CHOICE, YES_NO, N_FORMS } form;

/* False only without memory. */
static bool ask_form(naming_job *job, mm1_rng *rng, mm1_conversation *c, const mm1_thing *thing, form which)
{
    if (which == OPEN) {
        return ask_open(job->q, rng, c, thing);
    }
    if (thing->name == NULL) {
        return true;
    }
    if (which == CHOICE) {
        return ask_choice(job, rng, c, thing);
    }
    const size_t turns = c->n_turns;
    const bool ok = ask_yes_no(job, rng, c, thing, job->n_yes_no % 2 == 0);
    job->n_yes_no += ok && c->n_turns > turns;
    return ok;
}

/* In train all forms, in an order of chance: what an earlier answer gives away is not learned from the picture. */
static bool ask(naming_job *job, mm1_rng *rng, mm1_conversation *c, uint32_t caption, const form *only)
{
    uint32_t order[N_FORMS] = {OPEN, CHOICE, YES_NO};
    bool ok = mm1_conversation_show(job->q, c, caption);
    if (only != NULL) {
        return ok && ask_form(job, rng, c, &job->q->things[caption], *only);
    }
    mm1_questions_shuffle(rng, order, N_FORMS);
    for (size_t i = 0; ok && i < N_FORMS; i++) {
        ok = ask_form(job, rng, c, &job->q->things[caption], (form)order[i]);
    }
    return ok;
}

mm1_status mm1__questions_naming(mm1_questions *q, mm1_error *err)
{
    static const form heldout_forms[] = {YES_NO, CHOICE, OPEN}; /* a conversation each; things without a name last */
    uint32_t *list = NULL;
    size_t n = 0;
    mm1_status st = mm1_questions_list(q, is_titled, q->heldout ? 1 : MAX_SAME, &list, &n, err);
    naming_job job = {q, list, n, 0};
    const size_t before = q->n, rounds = q->heldout ? 3 : 1;
    for (size_t i = 0; st == MM1_OK && i < n * rounds && q->n - before < q->wanted; i++) {
        mm1_rng rng = mm1_questions_rng(q, i);
        mm1_conversation *c = mm1_questions_add(q, q->corpus->captions[list[i % n]].concept);
        if (c == NULL || !ask(&job, &rng, c, list[i % n], q->heldout ? &heldout_forms[i / n] : NULL)) {
            st = mm1_questions_no_memory(err);
        } else if (c->n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
    mm1_free(list);
    return st;
}

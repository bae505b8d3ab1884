/* question_category.c - which kind of thing a picture shows, by the folder or group in which its package has it; and in
 * which room a piece of furniture belongs. */
#include "data/questions.h"

#include "base/alloc.h"
#include <string.h>

enum { MAX_SAME = 2, N_CHOICES = 3, MAX_TRIES = 64, MAX_CATEGORIES = 32 };

static const char *const which[] = {"What kind of thing is this: {}?", "Which kind of thing is it, {}?",
                                    "What do you see, {}?", NULL};
static const char *const is_it[] = {"Is this {}?", "Does the picture show {}?", "Is the thing in the picture {}?",
                                    "Would you call this {}?", NULL};
static const char *const which_room[] = {"In which room does it belong: {}?", "Which room is this made for, {}?",
                                         "Where does one find this: {}?", NULL};

static bool is_asked(int category)
{
    return category != MM1_CATEGORY_NONE && mm1_category_at(category)->name != NULL;
}

static bool has_category(const mm1_thing *thing)
{
    return is_asked(thing->category) || thing->room != MM1_ROOM_NONE;
}

typedef struct category_job {
    mm1_questions *q;
    const uint32_t *list;
    size_t n, n_yes_no;
} category_job;

/* A category that things of this one cannot pass for, as often as the pictures have it; none: MM1_CATEGORY_NONE. */
static int another_category(const category_job *job, mm1_rng *rng, int category)
{
    for (int i = 0; i < MAX_TRIES; i++) {
        const int other = job->q->things[job->list[mm1_rng_below(rng, job->n)]].category;
        if (is_asked(other) && mm1_category_disjoint(category, other)) {
            return other;
        }
    }
    return MM1_CATEGORY_NONE;
}

static bool ask_which(const category_job *job, mm1_rng *rng, mm1_conversation *c, int category)
{
    mm1_questions *q = job->q;
    const char *names[N_CHOICES], *with_article[N_CHOICES];
    const size_t at = (size_t)mm1_rng_below(rng, N_CHOICES);
    for (size_t i = 0; i < N_CHOICES; i++) {
        const int other = i == at ? category : another_category(job, rng, category);
        if (other == MM1_CATEGORY_NONE) {
            return true;
        }
        names[i] = mm1_category_at(other)->name;
        with_article[i] = mm1_category_at(other)->a;
        for (size_t k = 0; k < i; k++) {
            if (names[k] == names[i]) {
                return true; /* the same one twice */
            }
        }
    }
    const char *list = mm1_questions_or(q, with_article, N_CHOICES);
    return list != NULL && mm1_conversation_ask(q, c, "category.choice", mm1_questions_say(q, rng, which, list, NULL),
                                                names[at], names, N_CHOICES);
}

static bool ask_yes_no(const category_job *job, mm1_rng *rng, mm1_conversation *c, int category, bool yes)
{
    const int other = another_category(job, rng, category);
    if (other == MM1_CATEGORY_NONE) {
        return true;
    }
    const char *a = mm1_category_at(yes ? category : other)->a;
    return mm1_conversation_yes_no(job->q, c, "category.yes_no", mm1_questions_say(job->q, rng, is_it, a, NULL), yes);
}

static bool ask_room(mm1_questions *q, mm1_rng *rng, mm1_conversation *c, int room)
{
    const size_t n = (size_t)mm1_room_count();
    uint32_t order[8];
    const char *names[8];
    for (size_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
    }
    mm1_questions_shuffle(rng, order, n);
    for (size_t i = 0; i < n; i++) {
        names[i] = mm1_room_at((int)order[i]);
    }
    const char *list = mm1_questions_or(q, names, n);
    return list != NULL &&
           mm1_conversation_ask(q, c, "category.room", mm1_questions_say(q, rng, which_room, list, NULL),
                                mm1_room_at(room), names, n);
}

enum { CHOICE = 1, YES_NO = 2 };

/* False only without memory. */
static bool ask_form(category_job *job, mm1_rng *rng, mm1_conversation *c, const mm1_thing *thing, unsigned form)
{
    bool ok = true;
    if (form == CHOICE && thing->room != MM1_ROOM_NONE) {
        ok = ask_room(job->q, rng, c, thing->room);
    }
    if (ok && form == CHOICE && is_asked(thing->category)) {
        ok = ask_which(job, rng, c, thing->category);
    }
    if (form == YES_NO && is_asked(thing->category)) {
        const size_t turns = c->n_turns;
        ok = ask_yes_no(job, rng, c, thing->category, job->n_yes_no % 2 == 0);
        job->n_yes_no += ok && c->n_turns > turns;
    }
    return ok;
}

/* Asks about what can be asked about.  Of both forms either comes first: what an earlier answer gives away is not
 * learned from the picture. */
static bool ask(category_job *job, mm1_rng *rng, mm1_conversation *c, uint32_t caption, unsigned forms)
{
    const mm1_thing *thing = &job->q->things[caption];
    const unsigned first = forms == (CHOICE | YES_NO) ? 1u << mm1_rng_below(rng, 2) : forms;
    return mm1_conversation_show(job->q, c, caption) && ask_form(job, rng, c, thing, first) &&
           (first == forms || ask_form(job, rng, c, thing, forms & ~first));
}

/* Leaves out what a category has over a third of all others, so that none is the answer to over a quarter of the
 * questions; the same for rooms is not needed. */
static size_t limit_categories(const mm1_questions *q, uint32_t *list, size_t n)
{
    size_t of[MAX_CATEGORIES] = {0}, total = 0, most = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        const int c = q->things[list[i]].category;
        if (is_asked(c)) {
            total++;
            of[c]++;
            most = of[c] > most ? of[c] : most;
        }
    }
    const size_t limit = (total - most) / 3 + 1;
    memset(of, 0, sizeof of);
    for (size_t i = 0; i < n; i++) {
        const int c = q->things[list[i]].category;
        if (!is_asked(c) || of[c]++ < limit) {
            list[kept++] = list[i];
        }
    }
    return kept;
}

mm1_status mm1__questions_category(mm1_questions *q, mm1_error *err)
{
    uint32_t *list = NULL;
    size_t n = 0;
    mm1_status st = mm1_questions_list(q, has_category, MAX_SAME, &list, &n, err);
    n = st == MM1_OK ? limit_categories(q, list, n) : 0;
    category_job job = {q, list, n, 0};
    const size_t before = q->n, rounds = 2; /* held-out: one for each form */
    for (size_t i = 0; st == MM1_OK && i < n * rounds && q->n - before < q->wanted; i++) {
        mm1_rng rng = mm1_questions_rng(q, i);
        mm1_conversation *c = mm1_questions_add(q, q->corpus->captions[list[i % n]].concept);
        if (c == NULL || !ask(&job, &rng, c, list[i % n], q->heldout ? 1u << (i / n) : CHOICE | YES_NO)) {
            st = mm1_questions_no_memory(err);
        } else if (c->n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
    mm1_free(list);
    return st;
}

/* question_scenes.c - stamps on paper: how many there are, where they are, whether one is there, of which colour the
 * paper is.  Answers are exact: the picture is made to fit them.
 *
 * Conversation i has form i mod N_FORMS; what is asked for (a count, a side, yes or no) goes through all its values in
 * turn, so that no answer is more frequent than another. */
#include "data/scene.h"

#include "base/alloc.h"
#include <string.h>

enum { GRID = 3, N_CELLS = GRID * GRID, MAX_ALL = 6, MAX_NAMED = 5, MAX_TRIES = 200 };

static const char *const count_all[] = {"How many things are in the picture?", "How many stamps do you see?",
                                        "Count the things in the picture.", "How many objects are there?", NULL};
static const char *const count_named[] = {"How many times does the picture show {}?", "How often do you see {}?",
                                          "Count how often there is {}.", "How many times is there {}?", NULL};
static const char *const count_category[] = {"How many {} are in the picture?", "How many {} do you see?",
                                             "Count the {}.", "How many of the things are {}?", NULL};
static const char *const left_right[] = {"Is the {} to the left or to the right of the {}?",
                                         "Left or right: where is the {}, seen from the {}?",
                                         "On which side of the picture is the {}, left or right of the {}?", NULL};
static const char *const above_below[] = {"Is the {} above or below the {}?",
                                          "Above or below: where is the {}, seen from the {}?", NULL};
static const char *const leftmost[] = {"Which is further left, {}?", "What is on the left, {}?", NULL};
static const char *const topmost[] = {"Which is higher up, {}?", "What is at the top, {}?", NULL};
static const char *const is_there[] = {"Is there {} in the picture?", "Do you see {}?", "Does the picture show {}?",
                                       NULL};
static const char *const where[] = {"Where in the picture is it?", "In which part of the picture is the thing?",
                                    "Where on the paper is the stamp?", "Where is the thing?", NULL};
static const char *const parts[] = {"top left", "top",         "top right", "left",        "middle",
                                    "right",    "bottom left", "bottom",    "bottom right"};
static const char *const which_paper[] = {"What colour is the paper?", "Which colour has the background?",
                                          "What is the background colour?", "On paper of which colour are the things?",
                                          NULL};
static const char *const digits[] = {"1", "2", "3", "4", "5", "6"};

typedef struct scene_job {
    mm1_questions *q;
    const uint32_t *list; /* captions of this side that have a name */
    size_t n;
    mm1_scene *scene;
    mm1_conversation *c;
    mm1_rng rng;
    uint32_t cells[N_CELLS]; /* shuffled */
    bool ok;                 /* false: memory was short */
} scene_job;

static const mm1_thing *thing_of(const scene_job *job, uint32_t caption)
{
    return &job->q->things[caption];
}

static uint32_t any(scene_job *job)
{
    return job->list[mm1_rng_below(&job->rng, job->n)];
}

/* Its category can stand in a question. */
static bool is_of_a_kind(const scene_job *job, uint32_t caption)
{
    const int category = thing_of(job, caption)->category;
    return category != MM1_CATEGORY_NONE && mm1_category_at(category)->name != NULL;
}

/* Nobody takes the one for the other. */
static bool differ(const scene_job *job, uint32_t a, uint32_t b)
{
    const mm1_thing *x = thing_of(job, a), *y = thing_of(job, b);
    if (x->category == MM1_CATEGORY_NONE || y->category == MM1_CATEGORY_NONE) {
        return false;
    }
    return mm1_category_disjoint(x->category, y->category);
}

/* *out: a thing that differs from all n others; false if none was found. */
static bool another(scene_job *job, const uint32_t *others, size_t n, uint32_t *out)
{
    for (int i = 0; i < MAX_TRIES; i++) {
        bool good = true;
        *out = any(job);
        for (size_t k = 0; k < n && good; k++) {
            good = differ(job, *out, others[k]);
        }
        if (good) {
            return true;
        }
    }
    return false;
}

/* Puts the thing into a cell, at a size and place of its own. */
static void put_in(scene_job *job, uint32_t caption, uint32_t cell)
{
    mm1_scene_add(job->scene, &job->rng, caption, cell, GRID, 72, 100);
    job->ok = job->ok && mm1_conversation_add_origin_of(job->q, job->c, caption);
}

static void put(scene_job *job, uint32_t caption)
{
    put_in(job, caption, job->cells[job->scene->n_stamps]);
}

static const char *say(scene_job *job, const char *const *phrasings, const char *a, const char *b)
{
    return mm1_questions_say(job->q, &job->rng, phrasings, a, b);
}

static void ask_count(scene_job *job, const char *kind, const char *question, size_t n, size_t most)
{
    job->ok = job->ok && mm1_conversation_ask(job->q, job->c, kind, question, digits[n - 1], digits, most);
}

/* Form 0: k = 0, 1, ...: of all one kind, or of any. */
static bool form_all(scene_job *job, size_t k)
{
    const size_t n = 1 + k % MAX_ALL;
    const uint32_t first = any(job);
    const bool same = mm1_rng_below(&job->rng, 2) == 0;
    for (size_t i = 0; i < n; i++) {
        put(job, i == 0 || same ? first : any(job));
    }
    ask_count(job, "scenes.count", say(job, count_all, NULL, NULL), n, MAX_ALL);
    return true;
}

/* n times the thing, or n things of its category, and one to three others. */
static bool form_some(scene_job *job, size_t k, bool by_category)
{
    const size_t n = 1 + k % MAX_NAMED, n_others = 1 + (size_t)mm1_rng_below(&job->rng, 3);
    const uint32_t first = any(job);
    const int category = thing_of(job, first)->category;
    if (category == MM1_CATEGORY_NONE || (by_category && mm1_category_at(category)->plural == NULL)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t one = first;
        for (int t = 0; by_category && i > 0 && t < MAX_TRIES; t++) {
            one = any(job);
            if (thing_of(job, one)->category == category) {
                break;
            }
            one = first;
        }
        put(job, one);
    }
    for (size_t i = 0; i < n_others; i++) {
        uint32_t other = 0;
        if (!another(job, &first, 1, &other)) {
            return false;
        }
        put(job, other);
    }
    if (by_category) {
        ask_count(job, "scenes.count_category", say(job, count_category, mm1_category_at(category)->plural, NULL), n,
                  MAX_NAMED);
    } else {
        const char *name = mm1_questions_a(job->q, thing_of(job, first)->name);
        job->ok = job->ok && name != NULL;
        ask_count(job, "scenes.count_named", say(job, count_named, name, NULL), n, MAX_NAMED);
    }
    return true;
}

/* Two things, at sides of the picture that leave no doubt.  They are called by their category: a name that is held out
 * has never been read. */
static bool form_place(scene_job *job, size_t k, bool name_it)
{
    static const char *const sides[2][2] = {{"left", "right"}, {"above", "below"}};
    const bool vertical = k % 2 == 1, second = k / 2 % 2 == 1; /* the answer: sides[vertical][second] */
    uint32_t a = 0, b = 0;
    bool found = false;
    for (int i = 0; i < MAX_TRIES && !found; i++) {
        a = any(job);
        found = is_of_a_kind(job, a) && another(job, &a, 1, &b) && is_of_a_kind(job, b);
    }
    if (!found) {
        return false;
    }
    const uint32_t near = (uint32_t)mm1_rng_below(&job->rng, GRID - 1); /* 0: first column or row, 1: the second */
    const uint32_t far = near + 1 + (uint32_t)mm1_rng_below(&job->rng, GRID - 1 - near);
    const uint32_t cross_a = (uint32_t)mm1_rng_below(&job->rng, GRID),
                   cross_b = (uint32_t)mm1_rng_below(&job->rng, GRID);
    const uint32_t at_a = second ? far : near, at_b = second ? near : far;
    put_in(job, a, vertical ? at_a * GRID + cross_a : cross_a * GRID + at_a);
    put_in(job, b, vertical ? at_b * GRID + cross_b : cross_b * GRID + at_b);
    const mm1_category *of_a = mm1_category_at(thing_of(job, a)->category),
                       *of_b = mm1_category_at(thing_of(job, b)->category);
    if (!name_it) {
        job->ok = job->ok && mm1_conversation_ask(job->q, job->c, vertical ? "scenes.above_below" : "scenes.left_right",
                                                  say(job, vertical ? above_below : left_right, of_a->name, of_b->name),
                                                  sides[vertical][second], sides[vertical], 2);
        return true;
    }
    const bool a_first = mm1_rng_below(&job->rng, 2) == 0;
    const char *names[2] = {a_first ? of_a->name : of_b->name, a_first ? of_b->name : of_a->name};
    const char *with_article[2] = {a_first ? of_a->a : of_b->a, a_first ? of_b->a : of_a->a};
    const char *list = mm1_questions_or(job->q, with_article, 2);
    job->ok =
        job->ok && list != NULL &&
        mm1_conversation_ask(job->q, job->c, "scenes.which_side", say(job, vertical ? topmost : leftmost, list, NULL),
                             second ? of_b->name : of_a->name, names, 2);
    return true;
}

/* One thing, in each part of the picture in turn. */
static bool form_where(scene_job *job, size_t k)
{
    const uint32_t cell = (uint32_t)(k % N_CELLS);
    put_in(job, any(job), cell);
    job->ok = job->ok && mm1_conversation_ask(job->q, job->c, "scenes.where", say(job, where, NULL, NULL), parts[cell],
                                              parts, N_CELLS);
    return true;
}

static void ask_is_there(scene_job *job, bool yes)
{
    uint32_t shown[MM1_MAX_STAMPS], other = 0;
    const size_t n = job->scene->n_stamps;
    for (size_t i = 0; i < n; i++) {
        shown[i] = job->scene->stamps[i].caption;
    }
    if (!another(job, shown, n, &other)) {
        return;
    }
    const uint32_t asked = yes ? shown[mm1_rng_below(&job->rng, n)] : other;
    const char *what = mm1_rng_below(&job->rng, 2) == 0 && is_of_a_kind(job, asked)
                           ? mm1_category_at(thing_of(job, asked)->category)->a
                           : mm1_questions_a(job->q, thing_of(job, asked)->name);
    job->ok = job->ok && what != NULL &&
              mm1_conversation_yes_no(job->q, job->c, "scenes.yes_no", say(job, is_there, what, NULL), yes);
}

static void ask_paper(scene_job *job)
{
    const char *names[16];
    const int n = mm1_paper_count();
    for (int i = 0; i < n; i++) {
        names[i] = mm1_paper_name(i);
    }
    job->ok = job->ok && mm1_conversation_ask(job->q, job->c, "scenes.paper", say(job, which_paper, NULL, NULL),
                                              names[job->scene->paper], names, (size_t)n);
}

static bool some_things(scene_job *job)
{
    const size_t n = 1 + (size_t)mm1_rng_below(&job->rng, 4);
    for (size_t i = 0; i < n; i++) {
        put(job, any(job));
    }
    return true;
}

enum { PAPER = 6, IS_THERE = 7, WHERE = 8, N_FORMS = 10 };

static bool plan_form(scene_job *job, size_t form, size_t k)
{
    switch (form) {
    case 0: return form_all(job, k);
    case 1: return form_some(job, k, false);
    case 2:
    case 3: return form_some(job, k * 2 + form - 2, true);
    case 4: return form_place(job, k, false);
    case 5: return form_place(job, k, true);
    case WHERE:
    case WHERE + 1: return form_where(job, k * 2 + form - WHERE);
    default: return some_things(job);
    }
}

mm1_status mm1__questions_scenes(mm1_questions *q, mm1_error *err)
{
    uint32_t *list = NULL;
    size_t n = 0;
    const size_t before = q->n;
    mm1_status st = mm1_questions_list(q, mm1_thing_has_name, 1, &list, &n, err);
    for (size_t i = 0; st == MM1_OK && n >= 4 && i < q->wanted * 2 && q->n - before < q->wanted; i++) {
        scene_job job = {.q = q, .list = list, .n = n, .rng = mm1_questions_rng(q, i), .ok = true};
        const size_t form = i % N_FORMS, k = i / N_FORMS;
        job.c = mm1_questions_add_numbered(q, "scene", i);
        job.scene = job.c != NULL ? mm1_conversation_show_scene(q, job.c, true) : NULL;
        if (job.scene == NULL) {
            st = mm1_questions_no_memory(err);
            break;
        }
        job.scene->paper = (int)((form == PAPER ? k : mm1_rng_below(&job.rng, 1 << 20)) % (uint64_t)mm1_paper_count());
        for (uint32_t cell = 0; cell < N_CELLS; cell++) {
            job.cells[cell] = cell;
        }
        mm1_questions_shuffle(&job.rng, job.cells, N_CELLS);
        const bool planned = plan_form(&job, form, k);
        if (planned && (form == IS_THERE || !q->heldout) && form != PAPER) {
            ask_is_there(&job, form == IS_THERE ? k % 2 == 0 : mm1_rng_below(&job.rng, 2) == 0);
        }
        if (planned && (form == PAPER || (!q->heldout && i % 3 == 0))) {
            ask_paper(&job);
        }
        if (!job.ok) {
            st = mm1_questions_no_memory(err);
        } else if (!planned || job.c->n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
    mm1_free(list);
    return st;
}

/* question_flags.c - whose flag it is: open, as a choice of three, as yes or no; and which colours it has.
 *
 * Colours are counted in the pixels: one is there from MIN_SHARE of the flag on and not there below MAX_NOISE; between
 * the two nothing is asked.  Of each colour as many flags have it as have it not. */
#include "data/questions.h"

#include "base/alloc.h"
#include <string.h>

enum { MAX_SAME = 3, N_CHOICES = 3, MAX_TRIES = 64 };

static const double MIN_SHARE = 0.08, MAX_NOISE = 0.001;

static const char *const whose[] = {"Whose flag is this?", "Which country or region has this flag?",
                                    "To which country or region does the flag belong?",
                                    "Name the country or region of this flag.", NULL};
static const char *const choose[] = {"Is this the flag of {}?", "Whose flag is this: {}?", "Which flag is it, {}?",
                                     NULL};
static const char *const is_it[] = {"Is this the flag of {}?", "Does this flag belong to {}?", "Is it the flag of {}?",
                                    NULL};
static const char *const has_colour[] = {"Is there {} in this flag?", "Does the flag have any {}?",
                                         "Do you see {} in the flag?", "Is {} one of the colours of this flag?", NULL};

enum { RED, YELLOW, GREEN, BLUE, BLACK, N_COLOURS };
static const char *const colours[N_COLOURS] = {"red", "yellow", "green", "blue", "black"};

static bool is_flag(const mm1_thing *thing)
{
    return thing->place != NULL;
}

/* -1: none of these, or in between. */
static int colour_of(const uint8_t rgb[3])
{
    const int r = rgb[0], g = rgb[1], b = rgb[2];
    const int max = r > g ? (r > b ? r : b) : (g > b ? g : b), min = r < g ? (r < b ? r : b) : (g < b ? g : b);
    if (max < 40) {
        return BLACK;
    }
    if (max < 90 || (max - min) * 2 < max) {
        return -1;
    }
    const double d = max - min;
    double hue = max == r ? (g - b) / d : max == g ? 2 + (b - r) / d : 4 + (r - g) / d;
    hue = hue < 0 ? hue + 6 : hue;
    return hue < 0.25 || hue > 5.75   ? RED
           : hue > 0.72 && hue < 1.08 ? YELLOW
           : hue > 1.5 && hue < 2.75  ? GREEN
           : hue > 3.1 && hue < 4.3   ? BLUE
                                      : -1;
}

/* share [N_COLOURS] of the stored picture. */
static mm1_status count_colours(const mm1_questions *q, uint32_t caption, double *share, mm1_error *err)
{
    const mm1_picture *p = &q->corpus->pictures[q->corpus->captions[caption].picture];
    mm1_image image = {0};
    const mm1_status st = mm1_image_decode(q->spill->data + p->spill_offset, p->spill_len, NULL, p->path, &image, err);
    const size_t n = (size_t)image.width * (size_t)image.height;
    for (int c = 0; c < N_COLOURS; c++) {
        share[c] = 0;
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const int c = colour_of(image.rgb + 3 * i);
        if (c >= 0) {
            share[c] += 1.0 / (double)n;
        }
    }
    mm1_image_deinit(&image);
    return st;
}

typedef struct flag_job {
    mm1_questions *q;
    const uint32_t *list;
    size_t n;
    size_t asked[N_COLOURS][2]; /* how often with "no", with "yes" */
} flag_job;

static const char *another_place(const flag_job *job, mm1_rng *rng, uint32_t caption)
{
    const mm1_corpus *corpus = job->q->corpus;
    for (int i = 0; i < MAX_TRIES; i++) {
        const uint32_t other = job->list[mm1_rng_below(rng, job->n)];
        if (strcmp(corpus->captions[other].concept, corpus->captions[caption].concept) != 0) {
            return job->q->things[other].place;
        }
    }
    return NULL;
}

static bool ask_choice(const flag_job *job, mm1_rng *rng, mm1_conversation *c, uint32_t caption)
{
    mm1_questions *q = job->q;
    const char *names[N_CHOICES];
    const size_t at = (size_t)mm1_rng_below(rng, N_CHOICES);
    for (size_t i = 0; i < N_CHOICES; i++) {
        names[i] = i == at ? q->things[caption].place : another_place(job, rng, caption);
        for (size_t k = 0; names[i] != NULL && k < i; k++) {
            names[i] = strcmp(names[i], names[k]) == 0 ? NULL : names[i];
        }
        if (names[i] == NULL) {
            return true;
        }
    }
    const char *list = mm1_questions_or(q, names, N_CHOICES);
    return list != NULL && mm1_conversation_ask(q, c, "flags.choice", mm1_questions_say(q, rng, choose, list, NULL),
                                                names[at], names, N_CHOICES);
}

static bool ask_yes_no(const flag_job *job, mm1_rng *rng, mm1_conversation *c, uint32_t caption, bool yes)
{
    const char *place = yes ? job->q->things[caption].place : another_place(job, rng, caption);
    return place == NULL ||
           mm1_conversation_yes_no(job->q, c, "flags.yes_no", mm1_questions_say(job->q, rng, is_it, place, NULL), yes);
}

static mm1_status ask_colour(flag_job *job, mm1_rng *rng, mm1_conversation *c, uint32_t caption, mm1_error *err)
{
    double share[N_COLOURS];
    uint32_t order[N_COLOURS] = {RED, YELLOW, GREEN, BLUE, BLACK};
    const mm1_status st = count_colours(job->q, caption, share, err);
    mm1_questions_shuffle(rng, order, N_COLOURS);
    for (int i = 0; st == MM1_OK && i < N_COLOURS; i++) {
        size_t *asked = job->asked[order[i]];
        const bool yes = share[order[i]] >= MIN_SHARE;
        if ((!yes && share[order[i]] > MAX_NOISE) || asked[yes] > asked[!yes]) {
            continue;
        }
        asked[yes]++;
        return mm1_conversation_yes_no(job->q, c, "flags.colour",
                                       mm1_questions_say(job->q, rng, has_colour, colours[order[i]], NULL), yes)
                   ? MM1_OK
                   : mm1_questions_no_memory(err);
    }
    return st;
}

/* What the i-th flag is asked about; in held-out one of the four. */
static mm1_status ask(flag_job *job, mm1_rng *rng, mm1_conversation *c, uint32_t caption, size_t i, mm1_error *err)
{
    mm1_questions *q = job->q;
    const bool all = !q->heldout;
    bool ok = true;
    mm1_status st = MM1_OK;
    if (all || i % 4 == 0) {
        ok = mm1_conversation_ask(q, c, "flags.place", mm1_questions_say(q, rng, whose, NULL, NULL),
                                  q->things[caption].place, NULL, 0);
    }
    if (ok && (all ? i % 2 == 0 : i % 4 == 1)) {
        ok = ask_choice(job, rng, c, caption);
    }
    if (ok && (all ? i % 2 == 1 : i % 4 == 2)) {
        ok = ask_yes_no(job, rng, c, caption, (all ? i / 2 : i / 4) % 2 == 0);
    }
    if (ok && (all || i % 4 == 3)) {
        st = ask_colour(job, rng, c, caption, err);
    }
    return ok ? st : mm1_questions_no_memory(err);
}

mm1_status mm1__questions_flags(mm1_questions *q, mm1_error *err)
{
    uint32_t *list = NULL;
    size_t n = 0;
    mm1_status st = mm1_questions_list(q, is_flag, MAX_SAME, &list, &n, err);
    flag_job job = {.q = q, .list = list, .n = n};
    const size_t before = q->n, rounds = q->heldout ? 4 : 1; /* a held-out flag has a conversation for each question */
    for (size_t k = 0; st == MM1_OK && k < n * rounds && q->n - before < q->wanted; k++) {
        const uint32_t caption = list[k % n];
        mm1_rng rng = mm1_questions_rng(q, k);
        mm1_conversation *c = mm1_questions_add(q, q->corpus->captions[caption].concept);
        st = c != NULL && mm1_conversation_show(q, c, caption) ? ask(&job, &rng, c, caption, k % n + k / n, err)
                                                               : mm1_questions_no_memory(err);
        if (st == MM1_OK && c->n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
    mm1_free(list);
    return st;
}

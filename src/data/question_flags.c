/* question_flags.c - whose flag it is, and which colours it has.
 *
 * Whose it is, is asked in train alone: nothing in train says whose a held-out flag is.  Colours are counted in the
 * pixels: one is there from MIN_SHARE of the flag on and not there below MAX_NOISE; between the two nothing is asked.
 * Of each colour as many flags have it as have it not.  The colour that a flag has most of is asked for where no other
 * comes near it. */
#include "data/questions.h"

#include "base/alloc.h"
#include <string.h>

enum { MAX_SAME = 3 };

static const double MIN_SHARE = 0.08, MAX_NOISE = 0.001, MIN_MOST = 0.3, MIN_LEAD = 1.5;

static const char *const whose[] = {"Whose flag is this?", "Which country or region has this flag?",
                                    "To which country or region does the flag belong?",
                                    "Name the country or region of this flag.", NULL};
static const char *const which_most[] = {"Which colour does the flag have most of?",
                                         "Which colour covers most of the flag?",
                                         "What is the main colour of this flag?", NULL};
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
    size_t most[N_COLOURS], n_most;
} flag_job;

/* Whether the flag has a colour: the first in an order of chance that can be asked about. */
static bool ask_colour(flag_job *job, mm1_rng *rng, mm1_conversation *c, const double *share)
{
    uint32_t order[N_COLOURS] = {RED, YELLOW, GREEN, BLUE, BLACK};
    mm1_questions_shuffle(rng, order, N_COLOURS);
    for (int i = 0; i < N_COLOURS; i++) {
        size_t *asked = job->asked[order[i]];
        const bool yes = share[order[i]] >= MIN_SHARE;
        if ((!yes && share[order[i]] > MAX_NOISE) || asked[yes] > asked[!yes]) {
            continue;
        }
        asked[yes]++;
        return mm1_conversation_yes_no(job->q, c, "flags.colour",
                                       mm1_questions_say(job->q, rng, has_colour, colours[order[i]], NULL), yes);
    }
    return true;
}

/* Left out where the answer has been that of a third of the questions. */
static bool ask_most(flag_job *job, mm1_rng *rng, mm1_conversation *c, const double *share)
{
    int most = 0;
    double rest = 1;
    for (int i = 1; i < N_COLOURS; i++) {
        most = share[i] > share[most] ? i : most;
    }
    for (int i = 0; i < N_COLOURS; i++) {
        rest -= share[i]; /* white, and what has no name */
    }
    for (int i = 0; i < N_COLOURS; i++) {
        rest = i != most && share[i] > rest ? share[i] : rest;
    }
    if (share[most] < MIN_MOST || share[most] < MIN_LEAD * rest || job->most[most] * 3 > job->n_most + 2) {
        return true;
    }
    job->most[most]++;
    job->n_most++;
    return mm1_conversation_ask(job->q, c, "flags.most", mm1_questions_say(job->q, rng, which_most, NULL, NULL),
                                colours[most], colours, N_COLOURS);
}

/* In train all that can be asked, what is seen before what is known; in held-out one of what is seen. */
static mm1_status ask(flag_job *job, mm1_rng *rng, mm1_conversation *c, uint32_t caption, size_t round, mm1_error *err)
{
    mm1_questions *q = job->q;
    double share[N_COLOURS];
    bool ok = true;
    const mm1_status st = count_colours(q, caption, share, err);
    if (st != MM1_OK) {
        return st;
    }
    if (!q->heldout || round == 0) {
        ok = ask_most(job, rng, c, share);
    }
    if (ok && (!q->heldout || round > 0)) {
        ok = ask_colour(job, rng, c, share);
    }
    if (ok && !q->heldout) {
        ok = mm1_conversation_ask(q, c, "flags.place", mm1_questions_say(q, rng, whose, NULL, NULL),
                                  q->things[caption].place, NULL, 0);
    }
    return ok ? MM1_OK : mm1_questions_no_memory(err);
}

mm1_status mm1__questions_flags(mm1_questions *q, mm1_error *err)
{
    uint32_t *list = NULL;
    size_t n = 0;
    mm1_status st = mm1_questions_list(q, is_flag, MAX_SAME, &list, &n, err);
    flag_job job = {.q = q, .list = list, .n = n};
    const size_t before = q->n, rounds = q->heldout ? 3 : 2;
    for (size_t k = 0; st == MM1_OK && k < n * rounds && q->n - before < q->wanted; k++) {
        const uint32_t caption = list[k % n];
        mm1_rng rng = mm1_questions_rng(q, k);
        mm1_conversation *c = mm1_questions_add(q, q->corpus->captions[caption].concept);
        st = c != NULL && mm1_conversation_show(q, c, caption) ? ask(&job, &rng, c, caption, k / n, err)
                                                               : mm1_questions_no_memory(err);
        if (st == MM1_OK && c->n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
    mm1_free(list);
    return st;
}

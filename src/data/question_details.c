/* question_details.c - small things in a large picture: a label of a few pixels among stamps, or many small stamps to
 * count.  A model that sees the picture at a quarter of its size can hardly answer; one that also sees it in parts can.
 *
 * What is on a label goes through all digits and letters in turn; numbers and words are drawn at random, words from
 * those of the side that is planned. */
#include "data/lettering.h"
#include "data/scene.h"

#include "base/alloc.h"
#include <stdio.h>
#include <string.h>

enum {
    LARGE_GRID = 4, /* of stamps around a label */
    SMALL_GRID = 8, /* of stamps to count */
    MAX_COUNT = 8,
    MIN_EM = 22,
    MAX_EM = 32, /* px of 448 */
    N_FORMS = 6
};

static const char *const read_label[] = {"What is written on the label?", "What does the small label say?",
                                         "Read the label.", "What do you read on the small card?", NULL};
static const char *const read_digit[] = {"Which digit is on the label?", "What digit do you see on the small card?",
                                         NULL};
static const char *const read_letter[] = {"Which letter is on the label?", "What letter is on the small card?", NULL};
static const char *const read_number[] = {"Which number is on the label?", "What number do you see on the small card?",
                                          NULL};
static const char *const read_word[] = {"Which word is on the label?", "What word is on the small card?", NULL};
static const char *const count_small[] = {"How many small things are in the picture?",
                                          "How many small stamps are there?", "Count the small things.",
                                          "How many things do you see?", NULL};
static const char *const digits[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};

typedef struct detail_job {
    mm1_questions *q;
    const mm1_lettering *lettering;
    const uint32_t *list;
    size_t n;
    mm1_scene *scene;
    mm1_conversation *c;
    mm1_rng rng;
} detail_job;

/* Stamps of `share` percent of a cell, or a little more, in the first n of `cells`. */
static bool put_stamps(detail_job *job, const uint32_t *cells, size_t n, uint32_t grid, int share, bool same)
{
    const uint32_t first = job->list[mm1_rng_below(&job->rng, job->n)];
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        const uint32_t caption = same ? first : job->list[mm1_rng_below(&job->rng, job->n)];
        mm1_scene_add(job->scene, &job->rng, caption, cells[i], grid, share, share + 15);
        ok = mm1_conversation_add_origin_of(job->q, job->c, caption);
    }
    return ok;
}

/* Puts the label somewhere into a cell of the large grid. */
static mm1_status put_label(detail_job *job, const char *text, uint32_t cell, mm1_error *err)
{
    static const uint8_t inks[4][3] = {{0, 0, 0}, {160, 0, 0}, {0, 0, 150}, {0, 90, 0}};
    mm1_scene *scene = job->scene;
    mm1_typeface *face = job->lettering->faces[mm1_rng_below(&job->rng, job->lettering->n_faces)];
    const int32_t em = (MIN_EM + (int32_t)mm1_rng_below(&job->rng, MAX_EM - MIN_EM + 1)) * scene->width / 448;
    const mm1_status st = mm1_scene_set_label(scene, face, text, em > 8 ? em : 8, err);
    mm1_label *label = &scene->label;
    const int32_t cell_px = scene->width / LARGE_GRID;
    const int32_t free_x = cell_px - label->width, free_y = cell_px - label->height;
    const int32_t dx = free_x > 0 ? (int32_t)mm1_rng_below(&job->rng, (uint64_t)free_x) : free_x / 2;
    const int32_t dy = free_y > 0 ? (int32_t)mm1_rng_below(&job->rng, (uint64_t)free_y) : free_y / 2;
    label->x = (int32_t)(cell % LARGE_GRID) * cell_px + dx;
    label->y = (int32_t)(cell / LARGE_GRID) * cell_px + dy;
    label->x = label->x < 3                                 ? 3
               : label->x > scene->width - label->width - 3 ? scene->width - label->width - 3
                                                            : label->x;
    memcpy(label->ink, inks[mm1_rng_below(&job->rng, 4)], 3);
    memset(label->card, 255, 3);
    label->framed = true;
    return st;
}

/* What a label says, and how it is asked for. */
static bool ask_label(detail_job *job, size_t form, size_t k, const char **text)
{
    static const char *const letters[] = {"A", "B", "C", "D", "E", "F", "G", "H", "J", "K", "L", "M",
                                          "N", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z"};
    enum { N_LETTERS = sizeof letters / sizeof letters[0], N_DIGITS = 9 };
    mm1_questions *q = job->q;
    char number[16];
    const char *const *choices = NULL, *const *phrasings = NULL;
    const char *kind = NULL;
    size_t n = 0;
    if (form <= 1) {
        kind = "details.digit";
        choices = digits;
        n = N_DIGITS;
        *text = digits[(k * 2 + form) % N_DIGITS];
        phrasings = read_digit;
    } else if (form == 2) {
        kind = "details.letter";
        choices = letters;
        n = N_LETTERS;
        *text = letters[k % N_LETTERS];
        phrasings = read_letter;
    } else if (k % 2 == 0 || job->lettering->n_words == 0) {
        kind = "details.number";
        (void)snprintf(number, sizeof number, "%d", 10 + (int)mm1_rng_below(&job->rng, 90));
        *text = mm1_corpus_strndup(q->corpus, number, strlen(number));
        phrasings = read_number;
    } else {
        kind = "details.word";
        *text =
            mm1_lettering_cased(q, &job->rng, job->lettering->words[mm1_rng_below(&job->rng, job->lettering->n_words)]);
        phrasings = read_word;
    }
    if (mm1_rng_below(&job->rng, 3) == 0) {
        phrasings = read_label;
    }
    return *text != NULL &&
           mm1_conversation_ask(q, job->c, kind, mm1_questions_say(q, &job->rng, phrasings, NULL, NULL), *text, choices,
                                n);
}

static mm1_status plan_one(detail_job *job, size_t i, mm1_error *err)
{
    const size_t form = i % N_FORMS, k = i / N_FORMS;
    uint32_t cells[SMALL_GRID * SMALL_GRID];
    const uint32_t grid = form < 4 ? LARGE_GRID : SMALL_GRID;
    for (uint32_t c = 0; c < grid * grid; c++) {
        cells[c] = c;
    }
    mm1_questions_shuffle(&job->rng, cells, grid * grid);
    if (form < 4) {
        const char *text = NULL;
        const bool ok = put_stamps(job, cells + 1, 2 + (size_t)mm1_rng_below(&job->rng, 4), grid, 75, false) &&
                        ask_label(job, form, k, &text);
        return ok ? put_label(job, text, cells[0], err) : mm1_questions_no_memory(err);
    }
    const size_t n = 1 + (k * 2 + form - 4) % MAX_COUNT;
    const bool ok = put_stamps(job, cells, n, grid, 60, form == 4) &&
                    mm1_conversation_ask(job->q, job->c, "details.count",
                                         mm1_questions_say(job->q, &job->rng, count_small, NULL, NULL), digits[n - 1],
                                         digits, MAX_COUNT);
    return ok ? MM1_OK : mm1_questions_no_memory(err);
}

mm1_status mm1__questions_details(mm1_questions *q, mm1_error *err)
{
    const mm1_lettering *lettering = NULL;
    uint32_t *list = NULL;
    size_t n = 0;
    mm1_status st = mm1_lettering_open(q, &lettering, err);
    if (st == MM1_OK && lettering != NULL) {
        st = mm1_questions_list(q, mm1_thing_has_name, 1, &list, &n, err);
    }
    for (size_t i = 0; st == MM1_OK && n > 0 && i < q->wanted; i++) {
        detail_job job = {.q = q, .lettering = lettering, .list = list, .n = n, .rng = mm1_questions_rng(q, i)};
        job.c = mm1_questions_add_numbered(q, "details", i);
        job.scene = job.c != NULL ? mm1_conversation_show_scene(q, job.c, true) : NULL;
        if (job.scene == NULL) {
            st = mm1_questions_no_memory(err);
            break;
        }
        job.scene->paper = (int)mm1_rng_below(&job.rng, (uint64_t)mm1_paper_count());
        st = plan_one(&job, i, err);
    }
    mm1_free(list);
    return st;
}

/* question_details.c - small things in a large picture: a label of a few pixels among stamps, or many small stamps to
 * count.  A model that sees the picture at a quarter of its size can hardly answer; one that also sees it in parts can.
 *
 * What is on a label goes through a list in turn (lettering.h). */
#include "data/lettering.h"
#include "data/scene.h"

#include "base/alloc.h"
#include <string.h>

enum {
    LARGE_GRID = 4, /* of stamps around a label */
    SMALL_GRID = 8, /* of stamps to count */
    MAX_COUNT = 8,
    MIN_EM = 32,
    MAX_EM = 64, /* px of 448 */
    EDGE_PX = 3,
    N_LABELS = 6,
    N_FORMS = 8
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
static const char *const counts[] = {"1", "2", "3", "4", "5", "6", "7", "8"};

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

/* Puts the label somewhere into a cell of the large grid; a long one as near as its quarter of the picture allows, so
 * that a cut into quarters leaves it whole. */
static mm1_status put_label(detail_job *job, const char *text, uint32_t cell, mm1_error *err)
{
    static const uint8_t inks[4][3] = {{0, 0, 0}, {160, 0, 0}, {0, 0, 150}, {0, 90, 0}};
    mm1_scene *scene = job->scene;
    mm1_typeface *face = job->lettering->faces[mm1_rng_below(&job->rng, job->lettering->n_faces)];
    const int32_t cell_px = scene->width / LARGE_GRID, half_px = scene->width / 2;
    int32_t em = (MIN_EM + (int32_t)mm1_rng_below(&job->rng, MAX_EM - MIN_EM + 1)) * scene->width / 448;
    mm1_label *label = &scene->label;
    mm1_status st = mm1_scene_set_label(scene, face, text, em > 8 ? em : 8, err);
    while (st == MM1_OK && em > 8 && label->width > half_px - 2 * EDGE_PX) {
        em = em * 9 / 10;
        st = mm1_scene_set_label(scene, face, text, em > 8 ? em : 8, err);
    }
    const int32_t free_x = cell_px - label->width, free_y = cell_px - label->height;
    const int32_t dx = free_x > 0 ? (int32_t)mm1_rng_below(&job->rng, (uint64_t)free_x) : free_x / 2;
    const int32_t dy = free_y > 0 ? (int32_t)mm1_rng_below(&job->rng, (uint64_t)free_y) : free_y / 2;
    const int32_t column = (int32_t)(cell % LARGE_GRID), row = (int32_t)(cell / LARGE_GRID);
    const int32_t least = column / 2 * (LARGE_GRID / 2) * cell_px + EDGE_PX;
    const int32_t most = least + half_px - 2 * EDGE_PX - label->width;
    label->x = column * cell_px + dx;
    label->x = label->x > most ? most : label->x;
    label->x = label->x < least ? least : label->x;
    label->y = row * cell_px + dy;
    memcpy(label->ink, inks[mm1_rng_below(&job->rng, 4)], 3);
    memset(label->card, 255, 3);
    label->framed = true;
    return st;
}

/* What a label says, and how it is asked for: forms 0 to 3 a digit, 4 a letter, 5 a word or a number. */
static bool ask_label(detail_job *job, size_t form, size_t k, const char **text)
{
    static const struct {
        const char *kind;
        const char *const *phrasings;
    } asked[MM1_INSCRIPTION_FORM_COUNT] = {
        [MM1_INSCRIPTION_DIGIT] = {"details.digit", read_digit},
        [MM1_INSCRIPTION_LETTER] = {"details.letter", read_letter},
        [MM1_INSCRIPTION_NUMBER] = {"details.number", read_number},
        [MM1_INSCRIPTION_WORD] = {"details.word", read_word},
    };
    mm1_questions *q = job->q;
    const mm1_inscription_form says = form < 4     ? MM1_INSCRIPTION_DIGIT
                                      : form == 4  ? MM1_INSCRIPTION_LETTER
                                      : k % 2 == 0 ? MM1_INSCRIPTION_WORD
                                                   : MM1_INSCRIPTION_NUMBER;
    const mm1_inscription label = mm1_inscription_at(q, &job->rng, says,
                                                     form < 4    ? 4 * k + form
                                                     : form == 4 ? k
                                                                 : k / 2);
    const bool plain = mm1_rng_below(&job->rng, 3) == 0;
    *text = label.text;
    return label.answer != NULL &&
           mm1_conversation_ask(q, job->c, asked[says].kind,
                                mm1_questions_say(q, &job->rng, plain ? read_label : asked[says].phrasings, NULL, NULL),
                                label.answer, label.choices, label.n_choices);
}

static mm1_status plan_one(detail_job *job, size_t i, mm1_error *err)
{
    const size_t form = i % N_FORMS, k = i / N_FORMS;
    uint32_t cells[SMALL_GRID * SMALL_GRID];
    const uint32_t grid = form < N_LABELS ? LARGE_GRID : SMALL_GRID;
    for (uint32_t c = 0; c < grid * grid; c++) {
        cells[c] = c;
    }
    mm1_questions_shuffle(&job->rng, cells, grid * grid);
    if (form < N_LABELS) {
        const char *text = NULL;
        const bool ok = put_stamps(job, cells + 1, 2 + (size_t)mm1_rng_below(&job->rng, 4), grid, 75, false) &&
                        ask_label(job, form, k, &text);
        return ok ? put_label(job, text, cells[0], err) : mm1_questions_no_memory(err);
    }
    const size_t n = 1 + (k * 2 + form - N_LABELS) % MAX_COUNT;
    const bool ok = put_stamps(job, cells, n, grid, 60, form == N_LABELS) &&
                    mm1_conversation_ask(job->q, job->c, "details.count",
                                         mm1_questions_say(job->q, &job->rng, count_small, NULL, NULL), counts[n - 1],
                                         counts, MAX_COUNT);
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

/* question_signs.c - one sign on paper, large or small, to be read: a digit, a letter, a number, a word; open, as a
 * choice of three, as yes or no.  What is written goes through a list in turn (lettering.h). */
#include "data/lettering.h"
#include "data/scene.h"

#include "base/alloc.h"
#include <string.h>

/* Letters are from MIN_EM px of 224 up to MAX_EM, and as many as fit.  As in a primer, a half of the signs is as large
 * as the paper (LARGE_EM, a middle that is off by OFF_PX): small models that never see these never begin to read. */
enum { N_CHOICES = 3, MIN_EM = 28, MAX_EM = 112, LARGE_EM = 160, MAX_LARGE_EM = 270, OFF_PX = 4 };

static const char *const read_digit[] = {"Which digit is this?", "What digit do you see?", "Read the digit.",
                                         "What does the sign say?", NULL};
static const char *const read_letter[] = {"Which letter is this?", "What letter do you see?", "Read the letter.",
                                          "What does the sign say?", NULL};
static const char *const read_number[] = {"What number is this?", "Which number is written here?", "Read the number.",
                                          "What does the sign say?", NULL};
static const char *const read_word[] = {"Which word is this?", "What word do you see?", "Read the word.",
                                        "What does the sign say?", NULL};
static const char *const choose[] = {"What is written here: {}?", "Which word is it: {}?", "Which is it: {}?", NULL};
static const char *const says[] = {"Does the sign say {}?", "Is the word {}?", "Do you read {} here?", NULL};

typedef struct sign_job {
    mm1_questions *q;
    const mm1_lettering *lettering;
    mm1_conversation *c;
    mm1_rng rng;
} sign_job;

static bool ask_choice(sign_job *job, const char *word)
{
    mm1_questions *q = job->q;
    const char *words[N_CHOICES];
    const size_t at = (size_t)mm1_rng_below(&job->rng, N_CHOICES);
    const char *first = mm1_inscription_other_word(&job->rng, word), *second = first;
    while (strcmp(second, first) == 0) {
        second = mm1_inscription_other_word(&job->rng, word);
    }
    words[at] = word;
    words[(at + 1) % N_CHOICES] = first;
    words[(at + 2) % N_CHOICES] = second;
    const char *list = mm1_questions_or(q, words, N_CHOICES);
    return list != NULL &&
           mm1_conversation_ask(q, job->c, "signs.choice", mm1_questions_say(q, &job->rng, choose, list, NULL), word,
                                words, N_CHOICES);
}

static bool ask_yes_no(sign_job *job, const char *word, bool yes)
{
    const char *said = yes ? word : mm1_inscription_other_word(&job->rng, word);
    return mm1_conversation_yes_no(job->q, job->c, "signs.yes_no",
                                   mm1_questions_say(job->q, &job->rng, says, said, NULL), yes);
}

static bool ask_open(sign_job *job, mm1_inscription_form form, const mm1_inscription *sign)
{
    static const struct {
        const char *kind;
        const char *const *phrasings;
    } asked[MM1_INSCRIPTION_FORM_COUNT] = {
        [MM1_INSCRIPTION_DIGIT] = {"signs.digit", read_digit},
        [MM1_INSCRIPTION_LETTER] = {"signs.letter", read_letter},
        [MM1_INSCRIPTION_NUMBER] = {"signs.number", read_number},
        [MM1_INSCRIPTION_WORD] = {"signs.word", read_word},
    };
    return mm1_conversation_ask(job->q, job->c, asked[form].kind,
                                mm1_questions_say(job->q, &job->rng, asked[form].phrasings, NULL, NULL), sign->answer,
                                sign->choices, sign->n_choices);
}

static int32_t between(mm1_rng *rng, int32_t least, int32_t most)
{
    return least + (int32_t)mm1_rng_below(rng, (uint64_t)(most - least) + 1);
}

/* Somewhere on the paper; large text about its middle. */
static void place_label(mm1_label *label, mm1_rng *rng, int32_t px, bool large)
{
    const int32_t free_x = px - label->width - 8, free_y = px - label->height - 8;
    label->x = 4 + (free_x > 0 ? free_x / 2 : 0);
    label->y = 4 + (free_y > 0 ? free_y / 2 : 0);
    if (large) {
        label->x += between(rng, -OFF_PX, OFF_PX);
        label->y += between(rng, -OFF_PX, OFF_PX);
    } else {
        label->x = free_x > 0 ? between(rng, 4, 3 + free_x) : 4;
        label->y = free_y > 0 ? between(rng, 4, 3 + free_y) : 4;
    }
}

/* Paper, and the text as large as chance and the paper allow. */
static mm1_status draw_sign(sign_job *job, const char *text, mm1_error *err)
{
    static const uint8_t inks[6][3] = {{0, 0, 0}, {170, 0, 0}, {0, 0, 160}, {0, 100, 0}, {90, 40, 0}, {90, 0, 110}};
    mm1_typeface *face = job->lettering->faces[mm1_rng_below(&job->rng, job->lettering->n_faces)];
    mm1_scene *scene = mm1_conversation_show_scene(job->q, job->c, false);
    if (scene == NULL) {
        return mm1_questions_no_memory(err);
    }
    const int32_t px = scene->width;
    const bool large = mm1_rng_below(&job->rng, 2) == 0;
    int32_t em = large ? between(&job->rng, LARGE_EM, MAX_LARGE_EM) : between(&job->rng, MIN_EM, MAX_EM);
    em = em * px / 224;
    scene->paper = (int)mm1_rng_below(&job->rng, (uint64_t)mm1_paper_count());
    mm1_label *label = &scene->label;
    mm1_status st = mm1_scene_set_label(scene, face, text, em > 8 ? em : 8, err);
    while (st == MM1_OK && em > 8 && (label->width > px - 12 || label->height > px - 12)) {
        em = em * 9 / 10;
        st = mm1_scene_set_label(scene, face, text, em > 8 ? em : 8, err);
    }
    place_label(label, &job->rng, px, large);
    memcpy(label->ink, inks[mm1_rng_below(&job->rng, 6)], 3);
    memset(label->card, 255, 3);
    if (mm1_rng_below(&job->rng, 4) == 0) { /* light on dark */
        memcpy(label->card, label->ink, 3);
        memset(label->ink, 255, 3);
    }
    label->framed = mm1_rng_below(&job->rng, 2) == 0;
    return st;
}

enum { N_FORMS = 8 };

static mm1_status plan_one(sign_job *job, size_t i, mm1_error *err)
{
    static const mm1_inscription_form forms[N_FORMS] = {
        MM1_INSCRIPTION_DIGIT,  MM1_INSCRIPTION_DIGIT, MM1_INSCRIPTION_DIGIT, MM1_INSCRIPTION_LETTER,
        MM1_INSCRIPTION_NUMBER, MM1_INSCRIPTION_WORD,  MM1_INSCRIPTION_WORD,  MM1_INSCRIPTION_WORD};
    mm1_questions *q = job->q;
    const size_t form = i % N_FORMS, k = i / N_FORMS;
    const mm1_inscription sign =
        mm1_inscription_at(q, &job->rng, forms[form], forms[form] == MM1_INSCRIPTION_DIGIT ? 3 * k + form : k);
    bool ok = sign.answer != NULL;
    if (ok && form == 6) {
        ok = ask_choice(job, sign.answer);
    } else if (ok && form == 7) {
        ok = ask_yes_no(job, sign.answer, k % 2 == 0);
    } else if (ok) {
        ok = ask_open(job, forms[form], &sign);
    }
    return ok ? draw_sign(job, sign.text, err) : mm1_questions_no_memory(err);
}

mm1_status mm1__questions_signs(mm1_questions *q, mm1_error *err)
{
    const mm1_lettering *lettering = NULL;
    mm1_status st = mm1_lettering_open(q, &lettering, err);
    for (size_t i = 0; st == MM1_OK && lettering != NULL && i < q->wanted; i++) {
        sign_job job = {.q = q, .lettering = lettering, .rng = mm1_questions_rng(q, i)};
        job.c = mm1_questions_add_numbered(q, "sign", i);
        st = job.c != NULL ? plan_one(&job, i, err) : mm1_questions_no_memory(err);
    }
    return st;
}

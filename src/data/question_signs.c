/* question_signs.c - words and numbers drawn with fonts of Debian, to be read: open, as a choice of three, as yes or
 * no.  Words are those of captions; a word, and a number, is in train or in held-out, never in both. */
#include "data/lettering.h"
#include "data/scene.h"

#include "base/alloc.h"
#include <stdio.h>
#include <string.h>

enum { N_CHOICES = 3, MAX_NUMBER = 1000, MIN_EM = 28, MAX_EM = 72, MAX_TRIES = 64 };

static const char *const read_word[] = {"What does the sign say?", "What is written here?", "Read the text.",
                                        "Which word is this?",     "What word do you see?", NULL};
static const char *const read_number[] = {"What number is this?", "Which number is written here?", "Read the number.",
                                          "What does the sign say?", NULL};
static const char *const choose[] = {"Does the sign say {}?", "What is written here: {}?", "Which word is it: {}?",
                                     NULL};
static const char *const says[] = {"Does the sign say {}?", "Is the word {}?", "Do you read {} here?", NULL};

typedef struct sign_job {
    mm1_questions *q;
    const mm1_lettering *lettering;
    mm1_conversation *c;
    mm1_rng rng;
} sign_job;

/* Another word, of about the same length; NULL if none was found. */
static const char *another_word(sign_job *job, const char *word)
{
    const size_t n = strlen(word);
    for (int i = 0; i < MAX_TRIES; i++) {
        const char *other = job->lettering->words[mm1_rng_below(&job->rng, job->lettering->n_words)];
        const size_t k = strlen(other);
        if (strcmp(other, word) != 0 && k + 1 >= n && k <= n + 1) {
            return other;
        }
    }
    return NULL;
}

static bool ask_choice(sign_job *job, const char *word)
{
    mm1_questions *q = job->q;
    const char *words[N_CHOICES];
    const size_t at = (size_t)mm1_rng_below(&job->rng, N_CHOICES);
    for (size_t i = 0; i < N_CHOICES; i++) {
        words[i] = i == at ? word : another_word(job, word);
        for (size_t k = 0; words[i] != NULL && k < i; k++) {
            words[i] = strcmp(words[i], words[k]) == 0 ? NULL : words[i];
        }
        if (words[i] == NULL) {
            return true;
        }
    }
    const char *list = mm1_questions_or(q, words, N_CHOICES);
    return list != NULL &&
           mm1_conversation_ask(q, job->c, "signs.choice", mm1_questions_say(q, &job->rng, choose, list, NULL), word,
                                words, N_CHOICES);
}

static bool ask_yes_no(sign_job *job, const char *word, bool yes)
{
    const char *other = another_word(job, word);
    return other == NULL ||
           mm1_conversation_yes_no(job->q, job->c, "signs.yes_no",
                                   mm1_questions_say(job->q, &job->rng, says, yes ? word : other, NULL), yes);
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
    int32_t em = (MIN_EM + (int32_t)mm1_rng_below(&job->rng, MAX_EM - MIN_EM + 1)) * px / 224;
    scene->paper = (int)mm1_rng_below(&job->rng, (uint64_t)mm1_paper_count());
    mm1_label *label = &scene->label;
    mm1_status st = mm1_scene_set_label(scene, face, text, em > 8 ? em : 8, err);
    while (st == MM1_OK && em > 8 && label->width > px - 12) {
        em = em * 9 / 10;
        st = mm1_scene_set_label(scene, face, text, em > 8 ? em : 8, err);
    }
    const int32_t free_x = px - label->width - 8, free_y = px - label->height - 8;
    label->x = 4 + (free_x > 0 ? (int32_t)mm1_rng_below(&job->rng, (uint64_t)free_x) : 0);
    label->y = 4 + (free_y > 0 ? (int32_t)mm1_rng_below(&job->rng, (uint64_t)free_y) : 0);
    memcpy(label->ink, inks[mm1_rng_below(&job->rng, 6)], 3);
    memset(label->card, 255, 3);
    if (mm1_rng_below(&job->rng, 4) == 0) { /* light on dark */
        memcpy(label->card, label->ink, 3);
        memset(label->ink, 255, 3);
    }
    label->framed = mm1_rng_below(&job->rng, 2) == 0;
    return st;
}

/* A number of this side as "number 417"; false if there is none. */
static bool any_number(sign_job *job, char *concept, size_t size)
{
    const int first = (int)mm1_rng_below(&job->rng, MAX_NUMBER);
    for (int i = 0; i < MAX_NUMBER; i++) {
        (void)snprintf(concept, size, "number %d", (first + i) % MAX_NUMBER);
        if (mm1_questions_is_ours(job->q, concept)) {
            return true;
        }
    }
    return false;
}

static mm1_status plan_one(sign_job *job, size_t i, mm1_error *err)
{
    mm1_questions *q = job->q;
    const size_t k = i / 4;
    const bool number = i % 4 == 3 || job->lettering->n_words < 8;
    char concept[64] = "";
    if (number && !any_number(job, concept, sizeof concept)) {
        return MM1_OK;
    }
    if (!number) {
        (void)snprintf(concept, sizeof concept, "%s",
                       job->lettering->words[mm1_rng_below(&job->rng, job->lettering->n_words)]);
    }
    job->c = mm1_questions_add(q, concept);
    if (job->c == NULL) {
        return mm1_questions_no_memory(err);
    }
    const char *word = number ? strrchr(job->c->concept, ' ') + 1 : job->c->concept;
    const char *text = number ? word : mm1_lettering_cased(q, &job->rng, word);
    bool ok = text != NULL;
    if (ok && (number || !q->heldout || i % 4 == 0)) {
        ok = mm1_conversation_ask(q, job->c, number ? "signs.number" : "signs.word",
                                  mm1_questions_say(q, &job->rng, number ? read_number : read_word, NULL, NULL), text,
                                  NULL, 0);
    }
    if (ok && !number && i % 4 == 1) {
        ok = ask_choice(job, word);
    }
    if (ok && !number && i % 4 == 2) {
        ok = ask_yes_no(job, word, k % 2 == 0);
    }
    return ok ? draw_sign(job, text, err) : mm1_questions_no_memory(err);
}

mm1_status mm1__questions_signs(mm1_questions *q, mm1_error *err)
{
    const mm1_lettering *lettering = NULL;
    mm1_status st = mm1_lettering_open(q, &lettering, err);
    for (size_t i = 0; st == MM1_OK && lettering != NULL && i < q->wanted; i++) {
        sign_job job = {.q = q, .lettering = lettering, .rng = mm1_questions_rng(q, i)};
        st = plan_one(&job, i, err);
        if (st == MM1_OK && job.c != NULL && job.c->n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
    return st;
}

/* lettering.c - see lettering.h.
 *
 * Fonts: those of fonts-dejavu-core below the root of the packages, else those of the system. */
#include "data/lettering.h"

#include "base/alloc.h"
#include "base/log.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define FOLDER "usr/share/fonts/truetype/dejavu"

static const char *const files[MM1_MAX_TYPEFACES] = {"DejaVuSans.ttf",     "DejaVuSans-Bold.ttf",
                                                     "DejaVuSerif.ttf",    "DejaVuSerif-Bold.ttf",
                                                     "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"};

static void lettering_close(void *ctx)
{
    mm1_lettering *l = ctx;
    for (size_t i = 0; i < l->n_faces; i++) {
        mm1_typeface_close(l->faces[i]);
    }
    mm1_free(l);
}

static mm1_status open_faces(mm1_lettering *l, const char *root, mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *folder = mm1_path_join(root, FOLDER);
    if (folder == NULL) {
        return mm1_questions_no_memory(err);
    }
    for (size_t i = 0; st == MM1_OK && i < MM1_MAX_TYPEFACES; i++) {
        char *path = mm1_path_join(folder, files[i]);
        if (path == NULL) {
            st = mm1_questions_no_memory(err);
        } else if (mm1_path_exists(path)) {
            st = mm1_typeface_open(path, &l->faces[l->n_faces], err);
            l->n_faces += st == MM1_OK;
        }
        mm1_free(path);
    }
    mm1_free(folder);
    return st;
}

mm1_status mm1_lettering_open(mm1_questions *q, const mm1_lettering **out, mm1_error *err)
{
    *out = NULL;
    mm1_lettering *l = mm1_calloc(1, sizeof *l);
    if (l == NULL) {
        return mm1_questions_no_memory(err);
    }
    mm1_status st = open_faces(l, q->config->root, err);
    if (st == MM1_OK && l->n_faces == 0) {
        st = open_faces(l, "/", err);
    }
    if (st != MM1_OK || l->n_faces == 0) {
        if (st == MM1_OK) {
            mm1_log(MM1_LOG_WARN,
                    "data build: questions '%s': '/" FOLDER "' is not there; it comes with the Debian package %s",
                    q->kind->name, q->kind->package);
        }
        lettering_close(l);
        return st;
    }
    st = mm1_corpus_on_close(q->corpus, lettering_close, l, err);
    *out = st == MM1_OK ? l : NULL;
    return st;
}

static const char *const digits[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};
static const char *const letters[] = {"A", "B", "C", "D", "E", "F", "G", "H", "J", "K", "L", "M",
                                      "N", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z"};
static const char *const words[] = {"stop", "exit", "open", "push", "pull", "taxi", "bus",  "hotel", "bank", "cafe",
                                    "park", "shop", "zoo",  "tea",  "milk", "fish", "sale", "free",  "help", "gate"};
enum {
    N_DIGITS = sizeof digits / sizeof digits[0],
    N_LETTERS = sizeof letters / sizeof letters[0],
    N_WORDS = sizeof words / sizeof words[0],
    LEAST_NUMBER = 10,
    N_NUMBERS = 90
};

/* As it is, with a capital, or in capitals. */
static const char *cased(mm1_questions *q, mm1_rng *rng, const char *word)
{
    const size_t n = strlen(word);
    char *copy = mm1_corpus_strndup(q->corpus, word, n);
    const uint64_t form = mm1_rng_below(rng, 3);
    for (size_t i = 0; copy != NULL && i < n; i++) {
        if (form == 2 || (form == 1 && i == 0)) {
            copy[i] = (char)toupper((unsigned char)copy[i]);
        }
    }
    return copy;
}

mm1_inscription mm1_inscription_at(mm1_questions *q, mm1_rng *rng, mm1_inscription_form form, size_t k)
{
    char number[16];
    mm1_inscription out = {0};
    switch (form) {
    case MM1_INSCRIPTION_DIGIT: out = (mm1_inscription){.choices = digits, .n_choices = N_DIGITS}; break;
    case MM1_INSCRIPTION_LETTER: out = (mm1_inscription){.choices = letters, .n_choices = N_LETTERS}; break;
    case MM1_INSCRIPTION_WORD: out = (mm1_inscription){.choices = words, .n_choices = N_WORDS}; break;
    default:
        (void)snprintf(number, sizeof number, "%d", LEAST_NUMBER + (int)(k % N_NUMBERS));
        out.answer = mm1_corpus_strndup(q->corpus, number, strlen(number));
        out.text = out.answer;
        return out;
    }
    out.answer = out.choices[k % out.n_choices];
    out.text = form == MM1_INSCRIPTION_WORD ? cased(q, rng, out.answer) : out.answer;
    out.answer = out.text != NULL ? out.answer : NULL;
    return out;
}

const char *mm1_inscription_other_word(mm1_rng *rng, const char *answer)
{
    size_t at = 0;
    while (at + 1 < N_WORDS && strcmp(words[at], answer) != 0) {
        at++;
    }
    return words[(at + 1 + mm1_rng_below(rng, N_WORDS - 1)) % N_WORDS];
}

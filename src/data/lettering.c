/* lettering.c - see lettering.h.
 *
 * Fonts: those of fonts-dejavu-core below the root of the packages, else those of the system. */
#include "data/lettering.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "usr/share/fonts/truetype/dejavu"

enum { MIN_WORD = 3, MAX_WORD = 7 };

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

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_word(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] < 'a' || s[i] > 'z') {
            return false;
        }
    }
    return len >= MIN_WORD && len <= MAX_WORD;
}

/* Every word of every caption's key once, in byte order, then shuffled. */
static bool collect_words(mm1_questions *q, mm1_lettering *l)
{
    mm1_count_map seen = {0};
    size_t cap = 0;
    const char **words = NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < q->corpus->n_captions; i++) {
        for (const char *p = q->corpus->captions[i].key; ok && *p != '\0';) {
            const size_t len = strcspn(p, " ");
            if (is_word(p, len) && mm1_count_map_get(&seen, mm1_hash64(p, len, 0)) == 0) {
                const char *word = mm1_corpus_strndup(q->corpus, p, len);
                ok = word != NULL && mm1_count_map_add(&seen, mm1_hash64(p, len, 0)) != UINT32_MAX;
                if (ok && mm1_questions_is_ours(q, word)) {
                    if (l->n_words == cap) {
                        cap = cap == 0 ? 1024 : cap * 2;
                        const char **grown = mm1_realloc(words, cap, sizeof *grown);
                        ok = grown != NULL;
                        words = ok ? grown : words;
                    }
                    if (ok) {
                        words[l->n_words++] = word;
                    }
                }
            }
            p += len + (p[len] == ' ');
        }
    }
    if (ok && l->n_words > 0) {
        mm1_rng rng = mm1_questions_rng(q, UINT64_MAX - 100);
        qsort(words, l->n_words, sizeof *words, by_bytes);
        l->words = mm1_corpus_alloc(q->corpus, l->n_words, sizeof *l->words);
        ok = l->words != NULL;
        for (size_t i = 0; ok && i < l->n_words; i++) { /* the shuffle from the inside out */
            const size_t k = (size_t)mm1_rng_below(&rng, i + 1);
            l->words[i] = l->words[k];
            l->words[k] = words[i];
        }
    }
    mm1_free(words);
    mm1_count_map_deinit(&seen);
    return ok;
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
    if (st == MM1_OK && !collect_words(q, l)) {
        st = mm1_questions_no_memory(err);
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

const char *mm1_lettering_cased(mm1_questions *q, mm1_rng *rng, const char *word)
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

/* cider.c - see cider.h.
 *
 * Words become numbers (their rank among all distinct words), n-grams fixed-size keys, captions sorted lists of
 * (key, count); document frequencies are one sorted table.  Nothing is hashed, so sums have one order and scores are
 * the same bits everywhere. */
#include "eval/cider.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "eval/ptb.h"
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 4 };

static const double SIGMA = 6.0;

/* Words as rank + 1; unused places are 0, so the length is part of the key. */
typedef struct ngram {
    uint32_t word[MAX_N];
    uint32_t count; /* in a caption: how often; in the table: in how many items' references */
} ngram;

typedef struct slice {
    const char *p;
    size_t len;
} slice;

/* A caption: n-grams sorted by key, each once. */
typedef struct caption {
    slice *words; /* [n_words], into the text */
    size_t n_words;
    ngram *grams; /* [n_grams] */
    size_t n_grams;
    double norm[MAX_N];
} caption;

typedef struct scorer {
    char **texts;      /* [n_captions], owned; NULL if the caller's strings are used */
    caption *captions; /* for each item its candidate, then its references */
    size_t n_captions;
    slice *vocabulary; /* sorted, distinct */
    size_t n_vocabulary;
    ngram *frequency; /* sorted table of document frequencies */
    size_t n_frequency;
    double log_items;
} scorer;

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "CIDEr-D: no memory for the n-grams; score fewer captions at a time");
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int compare_slices(const void *a, const void *b)
{
    const slice *x = a, *y = b;
    const size_t len = x->len < y->len ? x->len : y->len;
    const int c = memcmp(x->p, y->p, len);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static int gram_length(const ngram *g)
{
    return g->word[1] == 0 ? 1 : g->word[2] == 0 ? 2 : g->word[3] == 0 ? 3 : 4;
}

static int compare_grams(const void *a, const void *b)
{
    const ngram *x = a, *y = b;
    for (int i = 0; i < MAX_N; i++) {
        if (x->word[i] != y->word[i]) {
            return x->word[i] < y->word[i] ? -1 : 1;
        }
    }
    return 0;
}

static mm1_status split(caption *c, const char *text, mm1_error *err)
{
    size_t n = 0;
    for (const char *p = text; *p != '\0'; p++) {
        n += !is_space(*p) && (p[1] == '\0' || is_space(p[1]));
    }
    c->words = mm1_alloc(n, sizeof *c->words);
    if (c->words == NULL) {
        return no_memory(err);
    }
    for (const char *p = text; c->n_words < n;) {
        while (is_space(*p)) {
            p++;
        }
        const char *end = p;
        while (*end != '\0' && !is_space(*end)) {
            end++;
        }
        c->words[c->n_words++] = (slice){.p = p, .len = (size_t)(end - p)};
        p = end;
    }
    return MM1_OK;
}

static mm1_status build_vocabulary(scorer *s, mm1_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_captions; i++) {
        n += s->captions[i].n_words;
    }
    if (n >= UINT32_MAX) {
        return mm1_error_set(err, MM1_E_LIMIT, "CIDEr-D: %zu words are over the limit of %u", n, UINT32_MAX - 1);
    }
    s->vocabulary = mm1_alloc(n, sizeof *s->vocabulary);
    if (s->vocabulary == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0, k = 0; i < s->n_captions; i++) {
        const caption *c = &s->captions[i];
        for (size_t j = 0; j < c->n_words; j++) {
            s->vocabulary[k++] = c->words[j];
        }
    }
    qsort(s->vocabulary, n, sizeof *s->vocabulary, compare_slices);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || compare_slices(&s->vocabulary[i], &s->vocabulary[s->n_vocabulary - 1]) != 0) {
            s->vocabulary[s->n_vocabulary++] = s->vocabulary[i];
        }
    }
    return MM1_OK;
}

/* Sorts and joins equal n-grams, adding their counts; returns how many are left. */
static size_t sort_and_join(ngram *g, size_t n)
{
    size_t kept = 0;
    if (n > 0) {
        qsort(g, n, sizeof *g, compare_grams);
    }
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && compare_grams(&g[i], &g[kept - 1]) == 0) {
            g[kept - 1].count += g[i].count;
        } else {
            g[kept++] = g[i];
        }
    }
    return kept;
}

static mm1_status count_grams(caption *c, const scorer *s, mm1_error *err)
{
    c->grams = mm1_calloc(c->n_words * MAX_N, sizeof *c->grams); /* cannot overflow: n_words slices are larger */
    uint32_t *ids = mm1_alloc(c->n_words, sizeof *ids);
    if (c->grams == NULL || ids == NULL) {
        mm1_free(ids);
        return no_memory(err);
    }
    for (size_t i = 0; i < c->n_words; i++) {
        const slice *found =
            bsearch(&c->words[i], s->vocabulary, s->n_vocabulary, sizeof *s->vocabulary, compare_slices);
        ids[i] = (uint32_t)(found - s->vocabulary) + 1;
    }
    for (size_t n = 1; n <= MAX_N; n++) {
        for (size_t i = 0; i + n <= c->n_words; i++) {
            ngram *g = &c->grams[c->n_grams++];
            memcpy(g->word, ids + i, n * sizeof *ids);
            g->count = 1;
        }
    }
    c->n_grams = sort_and_join(c->grams, c->n_grams);
    mm1_free(ids);
    return MM1_OK;
}

/* In how many items' references each n-gram occurs. */
static mm1_status count_documents(scorer *s, const mm1_cider_item *items, size_t n, mm1_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < s->n_captions; i++) {
        total += s->captions[i].n_grams;
    }
    s->frequency = mm1_alloc(total, sizeof *s->frequency);
    if (s->frequency == NULL) {
        return no_memory(err);
    }
    size_t used = 0;
    for (size_t i = 0, k = 0; i < n; i++) {
        const size_t start = used;
        k++; /* the candidate does not count */
        for (size_t r = 0; r < items[i].n_references; r++, k++) {
            memcpy(s->frequency + used, s->captions[k].grams, s->captions[k].n_grams * sizeof *s->frequency);
            used += s->captions[k].n_grams;
        }
        used = start + sort_and_join(s->frequency + start, used - start);
        for (size_t j = start; j < used; j++) {
            s->frequency[j].count = 1;
        }
    }
    s->n_frequency = sort_and_join(s->frequency, used);
    return MM1_OK;
}

/* An n-gram's weight in a caption: count * log(items / documents with it). */
static double weight(const scorer *s, const ngram *g)
{
    const ngram *found = bsearch(g, s->frequency, s->n_frequency, sizeof *s->frequency, compare_grams);
    const double log_documents = found != NULL ? log((double)found->count) : 0.0;
    return (double)g->count * (s->log_items - log_documents);
}

static void fill_norm(const scorer *s, caption *c)
{
    double sum[MAX_N] = {0};
    for (size_t i = 0; i < c->n_grams; i++) {
        const double w = weight(s, &c->grams[i]);
        sum[gram_length(&c->grams[i]) - 1] += w * w;
    }
    for (int n = 0; n < MAX_N; n++) {
        c->norm[n] = sqrt(sum[n]);
    }
}

static double bigrams(const caption *c)
{
    return c->n_words > 1 ? (double)(c->n_words - 1) : 0.0;
}

/* Mean over n of the clipped cosine, with the penalty for a different length. */
static double similarity(const scorer *s, const caption *candidate, const caption *reference)
{
    double dot[MAX_N] = {0}, mean = 0;
    for (size_t i = 0, j = 0; i < candidate->n_grams && j < reference->n_grams;) {
        const ngram *a = &candidate->grams[i], *b = &reference->grams[j];
        const int c = compare_grams(a, b);
        if (c == 0) {
            const double x = weight(s, a), y = weight(s, b);
            dot[gram_length(a) - 1] += (x < y ? x : y) * y;
        }
        i += c <= 0;
        j += c >= 0;
    }
    const double delta = bigrams(candidate) - bigrams(reference);
    const double penalty = exp(-(delta * delta) / (2 * SIGMA * SIGMA));
    for (int n = 0; n < MAX_N; n++) {
        const double norms = candidate->norm[n] * reference->norm[n];
        mean += (norms != 0 ? dot[n] / norms : dot[n]) * penalty / MAX_N;
    }
    return mean;
}

static void scorer_deinit(scorer *s)
{
    for (size_t i = 0; i < s->n_captions; i++) {
        if (s->captions != NULL) {
            mm1_free(s->captions[i].words);
            mm1_free(s->captions[i].grams);
        }
        if (s->texts != NULL) {
            mm1_free(s->texts[i]);
        }
    }
    mm1_free(s->captions);
    mm1_free(s->texts);
    mm1_free(s->vocabulary);
    mm1_free(s->frequency);
}

/* The k-th caption of all: candidates and references in the order of the items. */
static mm1_status load_caption(scorer *s, size_t k, const char *text, mm1_ptb *ptb, mm1_buf *words, mm1_error *err)
{
    if (ptb != NULL) {
        const mm1_status st = mm1_ptb_tokenize(ptb, text, strlen(text), words, err);
        if (st != MM1_OK) {
            return st;
        }
        s->texts[k] = mm1_strndup(mm1_buf_str(words), words->len);
        if (s->texts[k] == NULL) {
            return no_memory(err);
        }
        text = s->texts[k];
    }
    return split(&s->captions[k], text, err);
}

static mm1_status load(scorer *s, const mm1_cider_item *items, size_t n, mm1_ptb *ptb, mm1_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i].n_references == 0) {
            return mm1_error_set(err, MM1_E_ARG, "CIDEr-D: item %zu of %zu has no reference; leave it out", i, n);
        }
        if (!mm1_size_add(total, 1, &total) || !mm1_size_add(total, items[i].n_references, &total)) {
            return no_memory(err);
        }
    }
    s->captions = mm1_calloc(total, sizeof *s->captions);
    s->texts = mm1_calloc(total, sizeof *s->texts);
    if (s->captions == NULL || s->texts == NULL) {
        return no_memory(err);
    }
    s->n_captions = total;

    mm1_status st = MM1_OK;
    mm1_buf words;
    mm1_buf_init(&words, 1 << 24);
    for (size_t i = 0, k = 0; st == MM1_OK && i < n; i++) {
        st = load_caption(s, k++, items[i].candidate, ptb, &words, err);
        for (size_t r = 0; st == MM1_OK && r < items[i].n_references; r++) {
            st = load_caption(s, k++, items[i].references[r], ptb, &words, err);
        }
        if (st != MM1_OK) {
            st = mm1_error_wrap(err, st, "CIDEr-D, item %zu of %zu", i, n);
        }
    }
    mm1_buf_deinit(&words);
    return st;
}

static mm1_status score(const mm1_cider_item *items, size_t n, mm1_ptb *ptb, double *scores, double *mean,
                        mm1_error *err)
{
    scorer s = {0};
    double sum = 0;
    *mean = NAN;
    if (n == 0) {
        return MM1_OK;
    }
    s.log_items = log((double)n);
    mm1_status st = load(&s, items, n, ptb, err);
    if (st == MM1_OK) {
        st = build_vocabulary(&s, err);
    }
    for (size_t k = 0; st == MM1_OK && k < s.n_captions; k++) {
        st = count_grams(&s.captions[k], &s, err);
    }
    if (st == MM1_OK) {
        st = count_documents(&s, items, n, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    for (size_t k = 0; k < s.n_captions; k++) {
        fill_norm(&s, &s.captions[k]);
    }
    for (size_t i = 0, k = 0; i < n; i++) {
        const caption *candidate = &s.captions[k++];
        double total = 0;
        for (size_t r = 0; r < items[i].n_references; r++) {
            total += similarity(&s, candidate, &s.captions[k++]);
        }
        const double value = 10.0 * total / (double)items[i].n_references;
        sum += value;
        if (scores != NULL) {
            scores[i] = value;
        }
    }
    *mean = sum / (double)n;
out:
    scorer_deinit(&s);
    return st;
}

mm1_status mm1_cider_score(const mm1_cider_item *items, size_t n, double *scores, double *mean, mm1_error *err)
{
    mm1_ptb *ptb = NULL;
    mm1_status st = mm1_ptb_create(&ptb, err);
    if (st == MM1_OK) {
        st = score(items, n, ptb, scores, mean, err);
    }
    mm1_ptb_destroy(ptb);
    return st;
}

mm1_status mm1_cider_score_words(const mm1_cider_item *items, size_t n, double *scores, double *mean, mm1_error *err)
{
    return score(items, n, NULL, scores, mean, err);
}

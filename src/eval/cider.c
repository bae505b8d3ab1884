/* cider.c - see cider.h.
 *
 * N-grams are fixed-size keys of word numbers, captions sorted lists of (key, count); document frequencies are one
 * sorted table.  Nothing is hashed, so sums have one order and scores are the same bits everywhere. */
#include "eval/cider.h"

#include "base/alloc.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 4 };

static const double SIGMA = 6.0;

/* Words as in caption_words.h; unused places are 0, so the length is part of the key. */
typedef struct ngram {
    uint32_t word[MAX_N];
    uint32_t count; /* in a caption: how often; in the table: in how many items' references */
} ngram;

/* A caption: n-grams sorted by key, each once. */
typedef struct caption {
    const mm1_caption *words;
    ngram *grams; /* [n_grams] */
    size_t n_grams;
    double norm[MAX_N];
} caption;

typedef struct scorer {
    mm1_captions words;
    caption *captions; /* [words.n], in its order */
    ngram *frequency;  /* sorted table of document frequencies */
    size_t n_frequency;
    double log_items;
} scorer;

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "CIDEr-D: no memory for the n-grams; score fewer captions at a time");
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

static mm1_status count_grams(caption *c, mm1_error *err)
{
    const size_t n_words = c->words->n_words;
    c->grams = mm1_calloc(n_words, MAX_N * sizeof *c->grams);
    if (c->grams == NULL) {
        return no_memory(err);
    }
    for (size_t n = 1; n <= MAX_N; n++) {
        for (size_t i = 0; i + n <= n_words; i++) {
            ngram *g = &c->grams[c->n_grams++];
            memcpy(g->word, c->words->words + i, n * sizeof *g->word);
            g->count = 1;
        }
    }
    c->n_grams = sort_and_join(c->grams, c->n_grams);
    return MM1_OK;
}

/* In how many items' references each n-gram occurs. */
static mm1_status count_documents(scorer *s, const mm1_caption_item *items, size_t n, mm1_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < s->words.n; i++) {
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
    return c->words->n_words > 1 ? (double)(c->words->n_words - 1) : 0.0;
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
    for (size_t i = 0; s->captions != NULL && i < s->words.n; i++) {
        mm1_free(s->captions[i].grams);
    }
    mm1_free(s->captions);
    mm1_free(s->frequency);
    mm1_captions_deinit(&s->words);
}

static mm1_status score(const mm1_caption_item *items, size_t n, bool ptb, double *scores, double *mean, mm1_error *err)
{
    scorer s = {0};
    double sum = 0;
    *mean = NAN;
    if (n == 0) {
        return MM1_OK;
    }
    s.log_items = log((double)n);
    mm1_status st = mm1_captions_load(&s.words, items, n, ptb, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "CIDEr-D");
    }
    if ((s.captions = mm1_calloc(s.words.n, sizeof *s.captions)) == NULL) {
        st = no_memory(err);
    }
    for (size_t k = 0; st == MM1_OK && k < s.words.n; k++) {
        s.captions[k].words = &s.words.items[k];
        st = count_grams(&s.captions[k], err);
    }
    if (st == MM1_OK) {
        st = count_documents(&s, items, n, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    for (size_t k = 0; k < s.words.n; k++) {
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

mm1_status mm1_cider_score(const mm1_caption_item *items, size_t n, double *scores, double *mean, mm1_error *err)
{
    return score(items, n, true, scores, mean, err);
}

mm1_status mm1_cider_score_words(const mm1_caption_item *items, size_t n, double *scores, double *mean, mm1_error *err)
{
    return score(items, n, false, scores, mean, err);
}

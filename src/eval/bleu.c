/* bleu.c - see bleu.h.  Captions are short: n-grams are compared in place, without a table. */
#include "eval/bleu.h"

#include <math.h>
#include <string.h>

/* What coco-caption adds so that nothing is divided by zero. */
static const double TINY = 1e-15, SMALL = 1e-9;

typedef struct counts {
    double guesses[MM1_BLEU_MAX_N], correct[MM1_BLEU_MAX_N];
    double length, reference_length;
} counts;

static size_t occurrences(const mm1_caption *c, const uint32_t *gram, size_t n, size_t end)
{
    size_t found = 0;
    for (size_t i = 0; i + n <= end; i++) {
        found += memcmp(c->words + i, gram, n * sizeof *gram) == 0;
    }
    return found;
}

/* N-grams of the candidate that a reference has too: the first k of equal ones, k the most that one reference has. */
static size_t count_correct(const mm1_caption *candidate, const mm1_caption *references, size_t n_references, size_t n)
{
    size_t correct = 0;
    for (size_t i = 0; i + n <= candidate->n_words; i++) {
        const uint32_t *gram = candidate->words + i;
        const size_t before = occurrences(candidate, gram, n, i + n - 1);
        bool held = false;
        for (size_t r = 0; r < n_references && !held; r++) {
            held = occurrences(&references[r], gram, n, references[r].n_words) > before;
        }
        correct += held;
    }
    return correct;
}

static size_t closest_length(size_t len, const mm1_caption *references, size_t n)
{
    size_t best = references[0].n_words;
    for (size_t r = 1; r < n; r++) {
        const size_t at = references[r].n_words;
        const size_t d = at > len ? at - len : len - at, best_d = best > len ? best - len : len - best;
        best = d < best_d || (d == best_d && at < best) ? at : best;
    }
    return best;
}

static counts count(const mm1_caption *candidate, const mm1_caption *references, size_t n_references)
{
    counts c = {.length = (double)candidate->n_words,
                .reference_length = (double)closest_length(candidate->n_words, references, n_references)};
    for (size_t n = 1; n <= MM1_BLEU_MAX_N; n++) {
        c.guesses[n - 1] = candidate->n_words >= n ? (double)(candidate->n_words - n + 1) : 0;
        c.correct[n - 1] = (double)count_correct(candidate, references, n_references, n);
    }
    return c;
}

static void bleu(const counts *c, double out[MM1_BLEU_MAX_N])
{
    const double ratio = (c->length + TINY) / (c->reference_length + SMALL);
    const double penalty = ratio < 1 ? exp(1 - 1 / ratio) : 1;
    double product = 1;
    for (int n = 0; n < MM1_BLEU_MAX_N; n++) {
        product *= (c->correct[n] + TINY) / (c->guesses[n] + SMALL);
        out[n] = pow(product, 1.0 / (n + 1)) * penalty;
    }
}

mm1_status mm1_bleu_score(const mm1_caption_item *items, size_t n, bool ptb, double *scores,
                          double corpus[MM1_BLEU_MAX_N], mm1_error *err)
{
    mm1_captions words;
    counts all = {0};
    for (int k = 0; k < MM1_BLEU_MAX_N; k++) {
        corpus[k] = NAN;
    }
    if (n == 0) {
        return MM1_OK;
    }
    const mm1_status st = mm1_captions_load(&words, items, n, ptb, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "BLEU");
    }
    const mm1_caption *at = words.items;
    for (size_t i = 0; i < n; at += 1 + items[i].n_references, i++) {
        const counts c = count(at, at + 1, items[i].n_references);
        double of_item[MM1_BLEU_MAX_N];
        bleu(&c, of_item);
        if (scores != NULL) {
            scores[i] = of_item[MM1_BLEU_MAX_N - 1];
        }
        for (int k = 0; k < MM1_BLEU_MAX_N; k++) {
            all.guesses[k] += c.guesses[k];
            all.correct[k] += c.correct[k];
        }
        all.length += c.length;
        all.reference_length += c.reference_length;
    }
    bleu(&all, corpus);
    mm1_captions_deinit(&words);
    return MM1_OK;
}

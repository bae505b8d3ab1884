/* rouge.c - see rouge.h. */
#include "eval/rouge.h"

#include "base/alloc.h"
#include <math.h>
#include <string.h>

static const double BETA = 1.2;

/* row [b->n_words + 1] is scratch. */
static size_t common_subsequence(const mm1_caption *a, const mm1_caption *b, size_t *row)
{
    memset(row, 0, (b->n_words + 1) * sizeof *row);
    for (size_t i = 0; i < a->n_words; i++) {
        size_t diagonal = 0;
        for (size_t j = 0; j < b->n_words; j++) {
            const size_t above = row[j + 1];
            if (a->words[i] == b->words[j]) {
                row[j + 1] = diagonal + 1;
            } else if (row[j] > above) {
                row[j + 1] = row[j];
            }
            diagonal = above;
        }
    }
    return row[b->n_words];
}

static double f_score(const mm1_caption *candidate, const mm1_caption *references, size_t n, size_t *row)
{
    double precision = 0, recall = 0;
    for (size_t r = 0; r < n; r++) {
        const double common = (double)common_subsequence(candidate, &references[r], row);
        /* The original's empty caption has one empty word. */
        precision = fmax(precision, common / fmax(1, (double)candidate->n_words));
        recall = fmax(recall, common / fmax(1, (double)references[r].n_words));
        if (candidate->n_words == 0 && references[r].n_words == 0) {
            precision = recall = 1;
        }
    }
    return precision > 0 && recall > 0 ? (1 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
                                       : 0;
}

mm1_status mm1_rouge_score(const mm1_caption_item *items, size_t n, bool ptb, double *scores, double *mean,
                           mm1_error *err)
{
    mm1_captions words;
    size_t longest = 0;
    double sum = 0;
    *mean = NAN;
    if (n == 0) {
        return MM1_OK;
    }
    mm1_status st = mm1_captions_load(&words, items, n, ptb, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "ROUGE-L");
    }
    for (size_t k = 0; k < words.n; k++) {
        longest = words.items[k].n_words > longest ? words.items[k].n_words : longest;
    }
    size_t *row = mm1_alloc(longest + 1, sizeof *row);
    if (row == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "ROUGE-L: no memory for a caption of %zu words", longest);
        goto out;
    }
    const mm1_caption *at = words.items;
    for (size_t i = 0; i < n; at += 1 + items[i].n_references, i++) {
        const double score = f_score(at, at + 1, items[i].n_references, row);
        sum += score;
        if (scores != NULL) {
            scores[i] = score;
        }
    }
    *mean = sum / (double)n;
out:
    mm1_free(row);
    mm1_captions_deinit(&words);
    return st;
}

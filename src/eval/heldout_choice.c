/* heldout_choice.c - ten captions for a picture: which are offered, and how often the right one is picked, whatever has
 * scored them. */
#include "base/alloc.h"
#include "base/rng.h"
#include "eval/heldout_internal.h"
#include <string.h>

/* Nine other items whose captions differ from each other and from item i's, of any source or of its own.  False if
 * there are not so many. */
static bool draw_choices(const mm1_heldout *h, int64_t i, bool same_source, int64_t choices[MM1_N_CHOICES], int *answer)
{
    mm1_rng r = mm1_rng_make(h->options->seed, MM1_RNG_SHOTS, (uint64_t)(same_source ? 2 * h->n + i : i));
    *answer = (int)mm1_rng_below(&r, MM1_N_CHOICES);
    for (int c = 0; c < MM1_N_CHOICES; c++) {
        choices[c] = i;
    }
    for (int c = 0; c < MM1_N_CHOICES; c++) {
        bool taken = c != *answer;
        int64_t at = i;
        for (int tries = 0; taken && tries < 2000; tries++) {
            at = (int64_t)mm1_rng_below(&r, (uint64_t)h->n);
            taken = same_source && strcmp(h->items[at].source, h->items[i].source) != 0;
            for (int d = 0; d < MM1_N_CHOICES && !taken; d++) {
                /* Slots not drawn yet hold item i itself, which must be avoided too. */
                taken = strcmp(h->items[choices[d]].caption, h->items[at].caption) == 0;
            }
        }
        if (taken) {
            return false;
        }
        choices[c] = at;
    }
    return true;
}

static int best_of(const double scores[MM1_N_CHOICES])
{
    int best = 0;
    for (int c = 1; c < MM1_N_CHOICES; c++) {
        best = scores[c] > scores[best] ? c : best;
    }
    return best;
}

mm1_heldout_offer *mm1__heldout_offers(const mm1_heldout *h, bool same_source)
{
    mm1_heldout_offer *offers = mm1_calloc((size_t)h->n, sizeof *offers);
    for (int64_t i = 0; offers != NULL && i < h->n; i++) {
        offers[i].made = draw_choices(h, i, same_source, offers[i].choices, &offers[i].answer);
    }
    return offers;
}

mm1_status mm1__heldout_judge(const mm1_heldout *h, const mm1_heldout_offer *offers, mm1_interval *share,
                              int64_t *n_made, mm1_error *err)
{
    double *right = mm1_alloc((size_t)h->n, sizeof *right);
    size_t n = 0;
    if (right == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld choices", (long long)h->n);
    }
    for (int64_t i = 0; i < h->n; i++) {
        if (offers[i].made) {
            right[n++] = best_of(offers[i].scores) == offers[i].answer;
        }
    }
    const mm1_bootstrap b = mm1_bootstrap_default();
    const mm1_status st = n == 0 ? MM1_OK : mm1_bootstrap_mean(&b, right, n, share, err);
    *n_made = (int64_t)n;
    mm1_free(right);
    return st;
}

void mm1__heldout_keep(mm1_heldout *h, const mm1_heldout_offer *offers)
{
    for (int64_t i = 0; i < h->n; i++) {
        if (offers[i].made) {
            mm1_heldout_item *item = &h->items[i];
            memcpy(item->choices, offers[i].choices, sizeof item->choices);
            memcpy(item->choice_scores, offers[i].scores, sizeof item->choice_scores);
            item->answer = offers[i].answer;
            item->picked = best_of(offers[i].scores);
        }
    }
}

mm1_status mm1__heldout_enough(const mm1_heldout *h, int64_t n_made, mm1_error *err)
{
    return n_made == h->n
               ? MM1_OK
               : mm1_error_set(err, MM1_E_ARG,
                               "choice10 needs %d items with different captions; there are too few among %lld",
                               MM1_N_CHOICES, (long long)h->n);
}

/* heldout_clip.c - choice of ten by a model that compares: the caption whose unit vector is nearest to the picture's
 * (zero-shot choice: Radford et al. 2021, section 3.1). */
#include "base/alloc.h"
#include "eval/heldout_internal.h"
#include <math.h>

static mm1_status choose(mm1_heldout *h, const float *texts, bool same_source, mm1_interval *share, int64_t *n_made,
                         mm1_error *err)
{
    const int64_t D = h->model->config.joint.dim;
    const double scale = exp(h->model->joint.log_scale->data[0]);
    mm1_heldout_offer *offers = mm1__heldout_offers(h, same_source);
    if (offers == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld choices", (long long)h->n);
    }
    for (int64_t i = 0; i < h->n; i++) {
        for (int c = 0; offers[i].made && c < MM1_N_CHOICES; c++) {
            const float *text = texts + offers[i].choices[c] * D;
            double dot = 0;
            for (int64_t d = 0; d < D; d++) {
                dot += (double)h->items[i].features[d] * text[d];
            }
            offers[i].scores[c] = scale * dot;
        }
    }
    const mm1_status st = mm1__heldout_judge(h, offers, share, n_made, err);
    if (st == MM1_OK && !same_source) {
        mm1__heldout_keep(h, offers);
    }
    mm1_free(offers);
    return st;
}

mm1_status mm1__heldout_choice10_clip(mm1_heldout *h, mm1_eval_results *r, mm1_error *err)
{
    float *texts = mm1_alloc((size_t)(h->n * h->model->config.joint.dim), sizeof *texts);
    const char **captions = mm1_alloc((size_t)h->n, sizeof *captions);
    mm1_status st = texts == NULL || captions == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld captions", (long long)h->n)
                        : MM1_OK;
    for (int64_t i = 0; st == MM1_OK && i < h->n; i++) {
        captions[i] = h->items[i].caption;
    }
    st = st != MM1_OK ? st : mm1_embedder_texts(h->embedder, captions, h->n, texts, err);
    st = st != MM1_OK ? st : choose(h, texts, false, &r->choice10, &r->n_choice10, err);
    st = st != MM1_OK ? st : mm1__heldout_enough(h, r->n_choice10, err);
    st = st != MM1_OK ? st : choose(h, texts, true, &r->choice10_same_source, &r->n_choice10_same_source, err);
    mm1_free(captions);
    mm1_free(texts);
    return st;
}

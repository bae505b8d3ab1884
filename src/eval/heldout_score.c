/* heldout_score.c - the tasks that need likelihoods alone: caption loss, choice of ten, bits a byte of text. */
#include "base/alloc.h"
#include "base/rng.h"
#include "eval/heldout_internal.h"
#include <math.h>
#include <string.h>

/* A list of sequences with the features of their one image (or none), scored a block at a time. */
enum { BLOCK = 256 };

typedef struct score_list {
    mm1_heldout *h;
    mm1_sequence sequences[BLOCK];
    const float *features[BLOCK];
    mm1_score_item items[BLOCK];
    double *sums[BLOCK]; /* where the sum over the caption's tokens goes */
    int64_t *counts[BLOCK];
    int64_t n;
} score_list;

static mm1_status list_flush(score_list *l, mm1_error *err)
{
    const mm1_status st = mm1_scorer_run(l->h->scorer, l->items, l->n, err);
    for (int64_t i = 0; i < l->n; i++) {
        const mm1_sequence *q = &l->sequences[i];
        double sum = 0;
        int64_t count = 0;
        for (int64_t t = 0; t < q->len; t++) {
            /* The caption's own tokens: the closing <eos> belongs to no part. */
            if (q->train[t] && q->part[t] >= 0) {
                sum += l->items[i].nll[t];
                count++;
            }
        }
        *l->sums[i] = sum;
        if (l->counts[i] != NULL) {
            *l->counts[i] = count;
        }
        mm1_free(l->items[i].nll);
        mm1_sequence_deinit(&l->sequences[i]);
    }
    l->n = 0;
    return st;
}

/* Scores `caption` after the picture of this item (NULL: after nothing). */
static mm1_status list_add(score_list *l, const char *caption, const mm1_heldout_item *picture, double *sum,
                           int64_t *count, mm1_error *err)
{
    const mm1_model *m = l->h->model;
    mm1_part parts[2] = {{.kind = MM1_PART_IMAGE}, {.kind = MM1_PART_TEXT, .train = true}};
    /* The document borrows caption and picture.  Of the picture only the header may be read: its visual tokens are
     * given. */
    if (picture != NULL) {
        parts[0].bytes = (char *)(uintptr_t)picture->picture;
        parts[0].len = picture->picture_len;
    }
    parts[1].bytes = (char *)(uintptr_t)caption;
    parts[1].len = strlen(caption);
    const mm1_document d = {.parts = picture != NULL ? parts : parts + 1, .n_parts = picture != NULL ? 2 : 1};
    mm1_sequence *q = &l->sequences[l->n];
    mm1_status st = mm1_sequence_build(&d, m->tokenizer, &m->images, true, q, err);
    float *nll = st == MM1_OK ? mm1_alloc((size_t)q->len, sizeof *nll) : NULL;
    if (st == MM1_OK && nll == NULL) {
        mm1_sequence_deinit(q);
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to score a caption");
    }
    if (st != MM1_OK) {
        return st;
    }
    l->features[l->n] = picture != NULL ? picture->features : NULL;
    l->items[l->n] = (mm1_score_item){.sequence = q, .features = &l->features[l->n], .nll = nll};
    l->sums[l->n] = sum;
    l->counts[l->n] = count;
    l->n++;
    return l->n == BLOCK ? list_flush(l, err) : MM1_OK;
}

static mm1_status list_finish(score_list *l, mm1_status st, mm1_error *err)
{
    if (l != NULL) {
        const mm1_status last = list_flush(l, st == MM1_OK ? err : NULL);
        st = st == MM1_OK ? last : st;
    }
    mm1_free(l);
    return st;
}

static mm1_status no_list(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "no memory to score captions");
}

/* The item whose picture stands in for item i's: the next one around a ring drawn by the seed whose caption differs. */
static int64_t stranger(const mm1_heldout *h, int64_t i)
{
    const mm1_rng base = mm1_rng_make(h->options->seed, MM1_RNG_SHOTS, UINT64_MAX);
    mm1_rng r = base;
    int64_t at = (i + 1 + (int64_t)mm1_rng_below(&r, (uint64_t)h->n)) % h->n;
    for (int64_t tries = 0; tries < h->n && (at == i || strcmp(h->items[at].caption, h->items[i].caption) == 0);
         tries++) {
        at = (at + 1) % h->n;
    }
    return at;
}

mm1_status mm1__heldout_captions(mm1_heldout *h, mm1_eval_results *r, mm1_error *err)
{
    mm1_status st = MM1_OK;
    score_list *l = mm1_calloc(1, sizeof *l);
    double *tokens = mm1_calloc((size_t)h->n, sizeof *tokens), *x = mm1_calloc((size_t)h->n, sizeof *x);
    double *reference = mm1_calloc((size_t)h->n, sizeof *reference);
    if (l == NULL || tokens == NULL || x == NULL || reference == NULL) {
        st = no_list(err);
        goto out;
    }
    l->h = h;
    for (int64_t i = 0; st == MM1_OK && i < h->n; i++) {
        mm1_heldout_item *item = &h->items[i];
        const mm1_heldout_item *other = &h->items[stranger(h, i)];
        st = list_add(l, item->caption, item, &item->nll[MM1_PICTURE_TRUE], &item->n_tokens, err);
        st = st != MM1_OK ? st : list_add(l, item->caption, other, &item->nll[MM1_PICTURE_SHUFFLED], NULL, err);
        st = st != MM1_OK ? st : list_add(l, item->caption, NULL, &item->nll[MM1_PICTURE_NONE], NULL, err);
        st = st != MM1_OK ? st : mm1__heldout_stopped(h->options, err);
        mm1__heldout_progress(h->options, "captions", i + 1, h->n);
    }
    st = list_finish(l, st, err);
    l = NULL;
    const mm1_bootstrap b = mm1_bootstrap_default();
    for (int p = 0; st == MM1_OK && p < MM1_PICTURE_COUNT; p++) {
        for (int64_t i = 0; i < h->n; i++) {
            tokens[i] = (double)h->items[i].n_tokens;
            x[i] = h->items[i].nll[p];
            reference[i] = x[i] - h->items[i].nll[MM1_PICTURE_TRUE];
        }
        st = mm1_bootstrap_ratio(&b, x, tokens, (size_t)h->n, &r->caption_nll[p], err);
        if (st == MM1_OK && p != MM1_PICTURE_TRUE) {
            st = mm1_bootstrap_ratio(&b, reference, tokens, (size_t)h->n, &r->caption_nll_difference[p], err);
        }
    }
    r->n_captions = h->n;
out:
    mm1_free(l);
    mm1_free(tokens);
    mm1_free(x);
    mm1_free(reference);
    return st;
}

/* Fills what each caption costs without any picture. */
static mm1_status score_blind(mm1_heldout *h, mm1_error *err)
{
    mm1_status st = MM1_OK;
    score_list *l = mm1_calloc(1, sizeof *l);
    if (l == NULL) {
        return no_list(err);
    }
    l->h = h;
    for (int64_t i = 0; st == MM1_OK && i < h->n; i++) {
        st = list_add(l, h->items[i].caption, NULL, &h->items[i].nll[MM1_PICTURE_NONE], NULL, err);
    }
    return list_finish(l, st, err);
}

/* One round of choices, by likelihood (*share) and by gain (*share_gain). */
static mm1_status choose(mm1_heldout *h, bool same_source, mm1_interval *share, mm1_interval *share_gain,
                         int64_t *n_out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    score_list *l = mm1_calloc(1, sizeof *l);
    mm1_heldout_offer *offers = mm1__heldout_offers(h, same_source);
    if (l == NULL || offers == NULL) {
        st = no_list(err);
        goto out;
    }
    l->h = h;
    for (int64_t i = 0; st == MM1_OK && i < h->n; i++) {
        mm1_heldout_offer *o = &offers[i];
        for (int c = 0; st == MM1_OK && o->made && c < MM1_N_CHOICES; c++) {
            st = list_add(l, h->items[o->choices[c]].caption, &h->items[i], &o->scores[c], NULL, err);
        }
        st = st != MM1_OK ? st : mm1__heldout_stopped(h->options, err);
        mm1__heldout_progress(h->options, same_source ? "choice10, same source" : "choice10", i + 1, h->n);
    }
    st = list_finish(l, st, err);
    l = NULL;
    for (int64_t i = 0; i < h->n; i++) {
        for (int c = 0; c < MM1_N_CHOICES; c++) {
            offers[i].scores[c] = -offers[i].scores[c];
        }
    }
    st = st != MM1_OK ? st : mm1__heldout_judge(h, offers, share, n_out, err);
    if (st == MM1_OK && !same_source) {
        mm1__heldout_keep(h, offers);
    }
    for (int64_t i = 0; i < h->n; i++) {
        for (int c = 0; c < MM1_N_CHOICES; c++) {
            offers[i].scores[c] += h->items[offers[i].choices[c]].nll[MM1_PICTURE_NONE];
        }
    }
    st = st != MM1_OK ? st : mm1__heldout_judge(h, offers, share_gain, n_out, err);
out:
    mm1_free(l);
    mm1_free(offers);
    return st;
}

mm1_status mm1__heldout_choice10(mm1_heldout *h, mm1_eval_results *r, mm1_error *err)
{
    mm1_status st = score_blind(h, err);
    st = st != MM1_OK ? st : choose(h, false, &r->choice10, &r->choice10_gain, &r->n_choice10, err);
    st = st != MM1_OK ? st : mm1__heldout_enough(h, r->n_choice10, err);
    return st != MM1_OK ? st
                        : choose(h, true, &r->choice10_same_source, &r->choice10_gain_same_source,
                                 &r->n_choice10_same_source, err);
}

/* A text in windows of a row that begin anew: nothing is seen across them.  Each begins with the token before its first
 * one: <bos>, or the last of the window before. */
typedef struct windows {
    mm1_sequence q;
    mm1_sequence *of; /* [n] borrow from q */
    float *nll;       /* [q.len + n]: each window has its own */
    int64_t n;
} windows;

static void windows_deinit(windows *w)
{
    mm1_free(w->of);
    mm1_free(w->nll);
    mm1_sequence_deinit(&w->q);
    *w = (windows){0};
}

static mm1_status windows_init(windows *w, const mm1_heldout *h, const mm1_document *d, mm1_error *err)
{
    const int64_t step = mm1_scorer_row_len(h->scorer) - 1;
    *w = (windows){0};
    mm1_status st = mm1_sequence_build(d, h->model->tokenizer, &h->model->images, true, &w->q, err);
    if (st != MM1_OK) {
        return st;
    }
    w->n = w->q.len > 1 ? (w->q.len - 1 + step - 1) / step : 0;
    w->of = mm1_alloc((size_t)w->n, sizeof *w->of);
    w->nll = mm1_alloc((size_t)(w->q.len + w->n), sizeof *w->nll);
    if (w->of == NULL || w->nll == NULL) {
        windows_deinit(w);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to score a text");
    }
    for (int64_t i = 0; i < w->n; i++) {
        const int64_t begin = i * step, left = w->q.len - begin;
        w->of[i] = (mm1_sequence){.len = left < step + 1 ? left : step + 1,
                                  .tokens = w->q.tokens + begin,
                                  .visual = w->q.visual + begin,
                                  .train = w->q.train + begin,
                                  .part = w->q.part + begin};
    }
    return MM1_OK;
}

/* Bits of each of n texts: their windows share rows. */
static mm1_status score_texts(mm1_heldout *h, const windows *texts, int64_t n, double *bits, mm1_error *err)
{
    const int64_t step = mm1_scorer_row_len(h->scorer) - 1;
    int64_t n_items = 0;
    for (int64_t i = 0; i < n; i++) {
        n_items += texts[i].n;
    }
    mm1_score_item *items = mm1_alloc((size_t)n_items, sizeof *items);
    if (items == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to score %lld texts", (long long)n);
    }
    n_items = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < texts[i].n; k++) {
            items[n_items++] = (mm1_score_item){.sequence = &texts[i].of[k], .nll = texts[i].nll + k * (step + 1)};
        }
    }
    const mm1_status st = mm1_scorer_run(h->scorer, items, n_items, err);
    for (int64_t i = 0; st == MM1_OK && i < n; i++) {
        double sum = 0;
        for (int64_t k = 0; k < texts[i].n; k++) {
            for (int64_t t = 1; t < texts[i].of[k].len; t++) {
                sum += texts[i].of[k].part[t] >= 0 ? texts[i].nll[k * (step + 1) + t] : 0;
            }
        }
        bits[i] = sum / log(2.0);
    }
    mm1_free(items);
    return st;
}

mm1_status mm1__heldout_text(mm1_heldout *h, mm1_eval_results *r, mm1_error *err)
{
    mm1_reader *reader = NULL;
    mm1_status st = mm1__heldout_reader(h->options, "heldout", "text-*.jsonl.zst", MM1_DATA_JSONL, &reader, err);
    const int64_t n = st == MM1_OK ? mm1_reader_len(reader) : 0, limit = h->options->text_bytes_limit;
    double *bits = mm1_calloc((size_t)n, sizeof *bits), *bytes = mm1_calloc((size_t)n, sizeof *bytes);
    int64_t n_docs = 0, total = 0;
    if (st == MM1_OK && (bits == NULL || bytes == NULL)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to score texts");
    }
    enum { AT_ONCE = 32 };
    windows texts[AT_ONCE] = {0};
    while (st == MM1_OK && n_docs < n && (limit == 0 || total < limit)) {
        int64_t k = 0;
        for (; st == MM1_OK && k < AT_ONCE && n_docs + k < n && (limit == 0 || total < limit); k++) {
            mm1_document d = {0};
            const int64_t at = (int64_t)mm1_rng_permute(h->options->seed, MM1_RNG_SHUFFLE, UINT64_MAX - 1, (uint64_t)n,
                                                        (uint64_t)(n_docs + k));
            st = mm1_reader_get(reader, at, &d, err);
            st = st != MM1_OK ? st : windows_init(&texts[k], h, &d, err);
            for (size_t p = 0; st == MM1_OK && p < d.n_parts; p++) {
                bytes[n_docs + k] += (double)d.parts[p].len;
                total += (int64_t)d.parts[p].len;
            }
            mm1_document_deinit(&d);
        }
        st = st != MM1_OK ? st : score_texts(h, texts, k, bits + n_docs, err);
        for (int64_t i = 0; i < k; i++) {
            windows_deinit(&texts[i]);
        }
        n_docs += k;
        st = st != MM1_OK ? st : mm1__heldout_stopped(h->options, err);
        mm1__heldout_progress(h->options, "text", limit == 0 ? n_docs : total, limit == 0 ? n : limit);
    }
    const mm1_bootstrap b = mm1_bootstrap_default();
    st = st != MM1_OK ? st : mm1_bootstrap_ratio(&b, bits, bytes, (size_t)n_docs, &r->text_bits_per_byte, err);
    r->n_text_bytes = total;
    mm1_reader_destroy(reader);
    mm1_free(bits);
    mm1_free(bytes);
    return st;
}

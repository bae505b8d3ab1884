/* heldout_cider.c - captions that the model writes, after demonstrations, against what people wrote. */
#include "base/alloc.h"
#include "base/rng.h"
#include "eval/cider.h"
#include "eval/heldout_internal.h"
#include "generate/generate.h"
#include <string.h>

/* Appends [image][caption newline] of a training pair, drawn for this item. */
static mm1_status add_demonstration(const mm1_reader *train, mm1_rng *r, mm1_document *prompt, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (int tries = 0; tries < 16; tries++) {
        mm1_document d = {0};
        st = mm1_reader_get(train, (int64_t)mm1_rng_below(r, (uint64_t)mm1_reader_len(train)), &d, err);
        st = st != MM1_OK ? st : mm1_document_append(prompt, &d, err);
        st = st != MM1_OK ? st : mm1_document_add_text(prompt, "\n", 1, false, err);
        mm1_document_deinit(&d);
        if (st == MM1_OK || !mm1_reader_is_bad_sample(st)) {
            break;
        }
    }
    return st;
}

static mm1_status write_caption(mm1_session *session, const mm1_eval_options *o, const mm1_document *prompt,
                                char **text, mm1_error *err)
{
    static const char *const stops[] = {"\n"};
    mm1_generate_params params = mm1_generate_defaults();
    mm1_generated result = {0};
    params.max_tokens = o->max_new_tokens;
    params.stop = stops;
    params.n_stop = 1;
    mm1_status st = mm1_generate(session, prompt, &params, NULL, NULL, &result, err);
    if (st == MM1_OK) {
        const char *begin = result.text + strspn(result.text, " \t");
        *text = mm1_strdup(begin);
        st = *text == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a caption") : MM1_OK;
    }
    mm1_generated_deinit(&result);
    return st;
}

/* Interval of the mean of the items' scores; the n-gram weights are those of the whole set. */
static mm1_status score(const mm1_heldout *h, int s, mm1_interval *out, mm1_error *err)
{
    mm1_caption_item *items = mm1_calloc((size_t)h->n, sizeof *items);
    double *scores = mm1_calloc((size_t)h->n, sizeof *scores), mean = 0;
    mm1_status st = MM1_OK;
    if (items == NULL || scores == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to score captions");
        goto out;
    }
    for (int64_t i = 0; i < h->n; i++) {
        items[i] = (mm1_caption_item){h->items[i].generated[s], &h->items[i].caption, 1};
    }
    const mm1_bootstrap b = mm1_bootstrap_default();
    st = mm1_cider_score(items, (size_t)h->n, scores, &mean, err);
    st = st != MM1_OK ? st : mm1_bootstrap_mean(&b, scores, (size_t)h->n, out, err);
out:
    mm1_free(items);
    mm1_free(scores);
    return st;
}

mm1_status mm1__heldout_cider(mm1_heldout *h, mm1_eval_results *r, mm1_error *err)
{
    const mm1_eval_options *o = h->options;
    mm1_reader *train = NULL;
    mm1_session *session = NULL;
    mm1_status st = mm1__heldout_reader(o, "train", "captions-*.tar", MM1_DATA_WEBDATASET, &train, err);
    st = st != MM1_OK ? st : mm1_session_create(h->model, 0, &session, err);

    for (int64_t i = 0; st == MM1_OK && i < h->n; i++) {
        mm1_heldout_item *item = &h->items[i];
        const mm1_document nothing = {0};
        st = write_caption(session, o, &nothing, &item->generated_blind, err);
        for (int s = 0; st == MM1_OK && s < MM1_EVAL_N_SHOTS; s++) {
            if (!o->shots[s]) {
                continue;
            }
            mm1_document prompt = {0};
            mm1_rng rng = mm1_rng_make(o->seed, MM1_RNG_SHOTS, (uint64_t)h->n + (uint64_t)i);
            for (int k = 0; st == MM1_OK && k < mm1_eval_shots[s]; k++) {
                st = add_demonstration(train, &rng, &prompt, err);
            }
            const mm1_part *picture = &item->document.parts[0];
            st = st != MM1_OK ? st : mm1_document_add_image(&prompt, picture->bytes, picture->len, picture->name, err);
            st = st != MM1_OK ? st : write_caption(session, o, &prompt, &item->generated[s], err);
            mm1_document_deinit(&prompt);
        }
        st = st != MM1_OK ? st : mm1__heldout_stopped(o, err);
        mm1__heldout_progress(o, "cider", i + 1, h->n);
    }
    for (int s = 0; st == MM1_OK && s < MM1_EVAL_N_SHOTS; s++) {
        st = o->shots[s] ? score(h, s, &r->cider[s], err) : MM1_OK;
    }
    r->n_cider = h->n;
    mm1_session_destroy(session);
    mm1_reader_destroy(train);
    return st;
}

/* generate.c - see generate.h. */
#include "generate/generate.h"

#include "base/alloc.h"
#include "base/thread.h"

mm1_generate_params mm1_generate_defaults(void)
{
    return (mm1_generate_params){.max_tokens = 64, .sampling = {.repetition_penalty = 1, .top_p = 1}};
}

const char *mm1_finish_name(mm1_finish finish)
{
    return finish == MM1_FINISH_STOP ? "stop" : "length";
}

void mm1_generated_deinit(mm1_generated *g)
{
    mm1_free(g->text);
    *g = (mm1_generated){0};
}

static mm1_status show(mm1_text_out *text, mm1_text_fn *on_text, void *ctx, mm1_error *err)
{
    size_t len = 0;
    const char *piece = mm1_text_out_take(text, &len);
    return len > 0 && on_text != NULL && !on_text(ctx, piece, len)
               ? mm1_error_set(err, MM1_E_CANCELLED, "the receiver of the text wants no more")
               : MM1_OK;
}

mm1_status mm1__writer_init(mm1__writer *w, const mm1_model *m, const mm1_document *prompt,
                            const mm1_generate_params *params, mm1_text_fn *on_text, void *ctx, mm1_error *err)
{
    *w = (mm1__writer){.tokenizer = m->tokenizer, .max_tokens = params->max_tokens, .on_text = on_text, .ctx = ctx};
    w->out = (mm1_generated){.n_images = (int64_t)mm1_document_n_images(prompt), .finish = MM1_FINISH_LENGTH};
    if (params->max_tokens < 1) {
        return mm1_error_set(err, MM1_E_ARG, "max_tokens: %lld is below 1", (long long)params->max_tokens);
    }
    mm1_status st = mm1_text_out_init(&w->text, params->stop, params->n_stop, err);
    /* A text that begins here begins as all others do; one that goes on from the prompt is as it is. */
    w->text.strips = mm1_tokenizer_strips_start(m->tokenizer) &&
                     (prompt->n_parts == 0 || prompt->parts[prompt->n_parts - 1].kind != MM1_PART_TEXT);
    st = st != MM1_OK
             ? st
             : mm1_sampler_init(&w->sampler, &params->sampling, m->tokenizer, m->config.decoder.vocab_size, err);
    if (st == MM1_OK && params->end_token != NULL) {
        const int32_t end = mm1_tokenizer_special_id(m->tokenizer, params->end_token);
        if (end >= 0) {
            mm1_sampler_end_with(&w->sampler, end);
        } else {
            st = mm1_error_set(err, MM1_E_FORMAT, "the tokenizer has no special token \"%.80s\" to end with",
                               params->end_token);
        }
    }
    if (st != MM1_OK) {
        mm1__writer_deinit(w);
    }
    return st;
}

void mm1__writer_deinit(mm1__writer *w)
{
    mm1_sampler_deinit(&w->sampler);
    mm1_text_out_deinit(&w->text);
    *w = (mm1__writer){0};
}

mm1_status mm1__writer_next(mm1__writer *w, const float *logits, bool is_full, int32_t *token, bool *is_done,
                            mm1_error *err)
{
    *is_done = true;
    mm1_status st = mm1_sampler_next(&w->sampler, logits, token, err);
    if (st != MM1_OK) {
        return st;
    }
    if (mm1_tokenizer_is_eos(w->tokenizer, *token) || *token == w->sampler.end_id) {
        w->out.finish = MM1_FINISH_STOP;
        return MM1_OK;
    }
    size_t len = 0;
    const char *bytes = mm1_tokenizer_token_bytes(w->tokenizer, *token, &len);
    w->out.n_tokens++;
    st = mm1_text_out_add(&w->text, bytes, len, err);
    st = st != MM1_OK ? st : show(&w->text, w->on_text, w->ctx, err);
    *is_done = w->text.is_stopped || w->out.n_tokens == w->max_tokens || is_full;
    return st;
}

mm1_status mm1__writer_finish(mm1__writer *w, mm1_generated *out, mm1_error *err)
{
    *out = (mm1_generated){0};
    mm1_status st = mm1_text_out_finish(&w->text, err);
    if (w->text.is_stopped) {
        w->out.finish = MM1_FINISH_STOP;
    }
    st = st != MM1_OK ? st : show(&w->text, w->on_text, w->ctx, err);
    if (st == MM1_OK) {
        w->out.len = w->text.text.len;
        w->out.text = mm1_buf_take(&w->text.text);
        st = w->out.text == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the generated text") : MM1_OK;
    }
    if (st == MM1_OK) {
        *out = w->out;
    }
    return st;
}

mm1_status mm1_generate(mm1_session *s, const mm1_document *prompt, const mm1_generate_params *params,
                        mm1_text_fn *on_text, void *ctx, mm1_generated *out, mm1_error *err)
{
    mm1__writer w;
    const float *logits = NULL;
    const double begin = mm1_time_now();
    *out = (mm1_generated){0};
    mm1_status st = mm1__writer_init(&w, mm1_session_model(s), prompt, params, on_text, ctx, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_session_prefill(s, prompt, &logits, err);
    const double start = mm1_time_now();
    w.out.prompt_seconds = start - begin;
    w.out.n_prompt_tokens = mm1_session_n(s);
    for (bool is_done = false; st == MM1_OK && !is_done;) {
        int32_t token = -1;
        st = mm1__writer_next(&w, logits, mm1_session_n(s) == mm1_session_n_max(s), &token, &is_done, err);
        st = st != MM1_OK || is_done ? st : mm1_session_step(s, token, &logits, err);
    }
    st = st != MM1_OK ? st : mm1__writer_finish(&w, out, err);
    out->generate_seconds = st == MM1_OK ? mm1_time_now() - start : 0;
    mm1__writer_deinit(&w);
    return st;
}

/* generate.c - see generate.h. */
#include "generate/generate.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "generate/sampler.h"
#include "generate/text_out.h"

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

static mm1_status go_on(mm1_session *s, mm1_sampler *sampler, const float *logits, int64_t max_tokens,
                        mm1_text_out *text, mm1_text_fn *on_text, void *ctx, mm1_generated *g, mm1_error *err)
{
    const mm1_tokenizer *t = mm1_session_model(s)->tokenizer;
    mm1_status st = MM1_OK;
    g->finish = MM1_FINISH_LENGTH;
    while (st == MM1_OK) {
        int32_t token = -1;
        st = mm1_sampler_next(sampler, logits, &token, err);
        if (st != MM1_OK) {
            break;
        }
        if (mm1_tokenizer_is_eos(t, token) || token == sampler->end_id) {
            g->finish = MM1_FINISH_STOP;
            break;
        }
        size_t len = 0;
        const char *bytes = mm1_tokenizer_token_bytes(t, token, &len);
        g->n_tokens++;
        st = mm1_text_out_add(text, bytes, len, err);
        st = st != MM1_OK ? st : show(text, on_text, ctx, err);
        if (st == MM1_OK && text->is_stopped) {
            g->finish = MM1_FINISH_STOP;
            break;
        }
        if (g->n_tokens == max_tokens || mm1_session_n(s) == mm1_session_n_max(s)) {
            break;
        }
        st = st != MM1_OK ? st : mm1_session_step(s, token, &logits, err);
    }
    st = st != MM1_OK ? st : mm1_text_out_finish(text, err);
    if (st == MM1_OK && text->is_stopped) {
        g->finish = MM1_FINISH_STOP;
    }
    return st != MM1_OK ? st : show(text, on_text, ctx, err);
}

mm1_status mm1_generate(mm1_session *s, const mm1_document *prompt, const mm1_generate_params *params,
                        mm1_text_fn *on_text, void *ctx, mm1_generated *out, mm1_error *err)
{
    const mm1_model *m = mm1_session_model(s);
    mm1_sampler sampler = {0};
    mm1_text_out text = {0};
    mm1_generated g = {.n_images = (int64_t)mm1_document_n_images(prompt)};
    const float *logits = NULL;
    const double begin = mm1_time_now();

    *out = (mm1_generated){0};
    if (params->max_tokens < 1) {
        return mm1_error_set(err, MM1_E_ARG, "max_tokens: %lld is below 1", (long long)params->max_tokens);
    }
    mm1_status st = mm1_text_out_init(&text, params->stop, params->n_stop, err);
    /* A text that begins here begins as all others do; one that goes on from the prompt is as it is. */
    text.strips = mm1_tokenizer_strips_start(m->tokenizer) &&
                  (prompt->n_parts == 0 || prompt->parts[prompt->n_parts - 1].kind != MM1_PART_TEXT);
    st = st != MM1_OK ? st
                      : mm1_sampler_init(&sampler, &params->sampling, m->tokenizer, m->config.decoder.vocab_size, err);
    if (st == MM1_OK && params->end_token != NULL) {
        const int32_t end = mm1_tokenizer_special_id(m->tokenizer, params->end_token);
        if (end >= 0) {
            mm1_sampler_end_with(&sampler, end);
        } else {
            st = mm1_error_set(err, MM1_E_FORMAT, "the tokenizer has no special token \"%.80s\" to end with",
                               params->end_token);
        }
    }
    st = st != MM1_OK ? st : mm1_session_prefill(s, prompt, &logits, err);
    if (st == MM1_OK) {
        const double start = mm1_time_now();
        g.prompt_seconds = start - begin;
        g.n_prompt_tokens = mm1_session_n(s);
        st = go_on(s, &sampler, logits, params->max_tokens, &text, on_text, ctx, &g, err);
        g.generate_seconds = mm1_time_now() - start;
    }
    if (st == MM1_OK) {
        g.len = text.text.len;
        g.text = mm1_buf_take(&text.text);
        st = g.text == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the generated text") : MM1_OK;
    }
    if (st == MM1_OK) {
        *out = g;
    }
    mm1_sampler_deinit(&sampler);
    mm1_text_out_deinit(&text);
    return st;
}

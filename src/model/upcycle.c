/* upcycle.c - see upcycle.h. */
#include "model/upcycle.h"

#include <string.h>

static mm1_status check(const mm1_model *dense, const mm1_moe_config *moe, mm1_error *err)
{
    const mm1_decoder_config *d = &dense->config.decoder;
    if (dense->decoder.embed == NULL) {
        return mm1_error_set(err, MM1_E_CONFIG, "a model without a decoder has no layers that could become sparse");
    }
    if (d->moe.n_experts > 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "the model is sparse already: %lld experts",
                             (long long)d->moe.n_experts);
    }
    if (moe->n_experts < 1) {
        return mm1_error_set(err, MM1_E_CONFIG, "%lld experts: at least one is needed", (long long)moe->n_experts);
    }
    if ((moe->mlp_width != 0 && moe->mlp_width != d->mlp_width) || !moe->normalize) {
        return mm1_error_set(
            err, MM1_E_CONFIG,
            "experts that are copies have the width of the dense MLP, %lld, and gates that add up to 1",
            (long long)d->mlp_width);
    }
    return MM1_OK;
}

static void copy_to_all(mm1_tensor *stack, const mm1_tensor *w)
{
    const size_t bytes = (size_t)mm1_tensor_size(w) * sizeof(float);
    for (int64_t e = 0; e < stack->dims[0]; e++) {
        memcpy(stack->data + e * mm1_tensor_size(w), w->data, bytes);
    }
}

mm1_status mm1_model_upcycle(mm1_model *dense, const mm1_moe_config *moe, uint64_t seed, mm1_model *out, mm1_error *err)
{
    *out = (mm1_model){0};
    mm1_status st = check(dense, moe, err);
    if (st != MM1_OK) {
        return st;
    }
    mm1_model_config config = dense->config;
    config.decoder.moe = *moe;
    st = mm1_model_init(out, &config, err);
    st = st != MM1_OK ? st : mm1_params_alloc(&out->params, false, err);
    if (st != MM1_OK) {
        mm1_model_deinit(out);
        return st;
    }
    for (int64_t i = 0; i < out->params.n_items; i++) {
        mm1_param *to = out->params.items[i];
        const mm1_param *from = mm1_params_find(&dense->params, to->name);
        if (from != NULL) {
            memcpy(to->tensor.data, from->tensor.data, (size_t)to->n * sizeof(float));
        }
    }
    for (int64_t i = 0; i < config.decoder.n_layers; i++) {
        mm1_moe *m = &out->decoder.blocks[i].moe;
        if (m->router_w != NULL) {
            mm1_params_draw(&out->params, m->router_w, seed);
            copy_to_all(m->up_w, dense->decoder.blocks[i].up_w);
            copy_to_all(m->down_w, dense->decoder.blocks[i].down_w);
        }
    }
    out->tokenizer = dense->tokenizer;
    dense->tokenizer = NULL;
    return MM1_OK;
}

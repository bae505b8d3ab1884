/* text_tower.c - see text_tower.h. */
#include "nn/text_tower.h"

#include "base/alloc.h"
#include "nn/vit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define F(member, TYPE, ...) MM1_FIELD(mm1_text_config, member, TYPE, __VA_ARGS__)
const mm1_field mm1__text_fields[] = {
    F(vocab_size, I64, .def.i = 0, .min.i = 0, .max.i = 1 << 24,
      .help = "ids of the embedding; 0: those of the tokenizer"),
    F(width, I64, .def.i = 512, .min.i = 1, .max.i = 65536, .help = "width of the residual stream"),
    F(n_layers, I64, .def.i = 12, .min.i = 0, .max.i = 1024, .help = "transformer blocks"),
    F(n_heads, I64, .def.i = 8, .min.i = 1, .max.i = 1024, .help = "attention heads; must divide width"),
    F(mlp_width, I64, .def.i = 2048, .min.i = 1, .max.i = 1 << 20, .help = "hidden width of the MLP"),
    F(max_positions, I64, .def.i = 77, .min.i = 2, .max.i = 1 << 20, .help = "longest text, its end included"),
    F(act, ENUM, .def.i = MM1_ACT_GELU, .names = mm1__act_names, .help = "activation of the MLP"),
    F(norm_eps, F64, .def.f = 1e-5, .min.f = 0, .max.f = 1, .help = "epsilon of the layer norms"),
    F(bos, BOOL, .def.i = 0, .help = "a text begins with the token that begins documents, as in the released CLIP"),
    {0},
};
#undef F

mm1_status mm1_text_config_check(const mm1_text_config *c, mm1_error *err)
{
    if (c->width % c->n_heads != 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.text.n_heads: %lld does not divide width %lld",
                             (long long)c->n_heads, (long long)c->width);
    }
    if (c->vocab_size < 1) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.text.vocab_size: not set, and no tokenizer to take it from");
    }
    return MM1_OK;
}

mm1_status mm1_text_tower_init(mm1_text_tower *w, const mm1_text_config *c, mm1_params *p, mm1_error *err)
{
    const mm1_param_group group = MM1_GROUP_HEAD;
    *w = (mm1_text_tower){.config = *c};
    mm1_status st = mm1_text_config_check(c, err);
    if (st != MM1_OK) {
        return st;
    }
    w->block_config = (mm1_block_config){.width = c->width,
                                         .n_heads = c->n_heads,
                                         .n_kv_heads = c->n_heads,
                                         .head_dim = c->width / c->n_heads,
                                         .mlp_width = c->mlp_width,
                                         .n_layers = c->n_layers,
                                         .norm = MM1_NORM_LAYER,
                                         .act = (mm1_act)c->act,
                                         .bias = true,
                                         .norm_eps = c->norm_eps};
    w->blocks = mm1_calloc((size_t)c->n_layers, sizeof *w->blocks);
    if (w->blocks == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld text blocks", (long long)c->n_layers);
    }
    w->embed = mm1_params_add(p, group, MM1_INIT_NORMAL, 1.0 / sqrt((double)c->width), true, 2,
                              (int64_t[]){c->vocab_size, c->width}, "text.embed.weight");
    w->pos =
        mm1_params_add(p, group, MM1_INIT_NORMAL, 0.02, false, 2, (int64_t[]){c->max_positions, c->width}, "text.pos");
    for (int64_t i = 0; i < c->n_layers; i++) {
        char prefix[64];
        (void)snprintf(prefix, sizeof prefix, "text.layers.%lld", (long long)i);
        mm1__block_create(&w->blocks[i], &w->block_config, p, group, prefix);
    }
    mm1__norm_create(&w->norm_w, &w->norm_b, MM1_NORM_LAYER, c->width, p, group, "text", "norm");
    return MM1_OK;
}

void mm1_text_tower_deinit(mm1_text_tower *w)
{
    mm1_free(w->blocks);
    *w = (mm1_text_tower){0};
}

mm1_tensor *mm1_text_tower_forward(const mm1_text_tower *w, mm1_tape *t, const mm1_texts *texts)
{
    mm1_attention_spec spec = mm1__block_spec(&w->block_config, 1, texts->N);
    spec.lo = texts->lo;
    spec.hi = texts->hi;
    mm1_tensor *x = mm1_op_embed(t, w->embed, texts->token, texts->N, NULL, NULL);
    x = mm1_op_add(t, x, mm1_op_embed(t, w->pos, texts->position, texts->N, NULL, NULL));
    x = mm1__blocks_forward(w->blocks, w->config.n_layers, &w->block_config, t, x, &spec, NULL);
    /* The norm works on rows, so only those that are read pass through it. */
    x = mm1_op_embed(t, x, texts->last, texts->n, NULL, NULL);
    return mm1_op_norm(t, x, MM1_NORM_LAYER, w->norm_w, w->norm_b, (float)w->config.norm_eps);
}

mm1_status mm1_texts_init(mm1_texts *texts, int64_t n_max, int64_t N_max, mm1_error *err)
{
    *texts = (mm1_texts){0};
    const size_t n = (size_t)N_max;
    texts->token = mm1_alloc(n, sizeof *texts->token);
    texts->position = mm1_alloc(n, sizeof *texts->position);
    texts->lo = mm1_alloc(n, sizeof *texts->lo);
    texts->hi = mm1_alloc(n, sizeof *texts->hi);
    texts->last = mm1_alloc((size_t)n_max, sizeof *texts->last);
    if (texts->token == NULL || texts->position == NULL || texts->lo == NULL || texts->hi == NULL ||
        texts->last == NULL) {
        mm1_texts_deinit(texts);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld texts of %lld tokens", (long long)n_max,
                             (long long)N_max);
    }
    return MM1_OK;
}

void mm1_texts_deinit(mm1_texts *texts)
{
    mm1_free(texts->token);
    mm1_free(texts->position);
    mm1_free(texts->lo);
    mm1_free(texts->hi);
    mm1_free(texts->last);
    *texts = (mm1_texts){0};
}

void mm1_texts_add(mm1_texts *texts, const int32_t *ids, int64_t len, int32_t end, int64_t max_positions)
{
    const bool ends = len > 0 && ids[len - 1] == end;
    const int64_t n_ids = ends ? len - 1 : len, n = n_ids < max_positions ? n_ids + 1 : max_positions;
    const int64_t start = texts->N;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = start + i;
        texts->token[at] = i + 1 < n ? ids[i] : end;
        texts->position[at] = (int32_t)i;
        texts->lo[at] = (int32_t)start;
        texts->hi[at] = (int32_t)(at + 1);
    }
    texts->N += n;
    texts->last[texts->n++] = (int32_t)(texts->N - 1);
}

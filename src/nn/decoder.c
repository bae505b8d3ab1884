/* decoder.c - see decoder.h. */
#include "nn/decoder.h"

#include "base/alloc.h"
#include "nn/vit.h"
#include <math.h>
#include <stdio.h>

enum { MAX_ROPE_FLOATS = 1 << 28 };

static const char *const norm_names[] = {"rmsnorm", "layernorm", NULL};
static const char *const position_names[] = {"rope", "learned", NULL};

static const char *const qk_norm_names[] = {"none", "head", "full", NULL};
static const char *const rope_names[] = {"none", "linear", "llama3", NULL};

#define F(member, TYPE, ...) MM1_FIELD(mm1_rope_scaling, member, TYPE, __VA_ARGS__)
static const mm1_field rope_scaling_fields[] = {
    F(type, ENUM, .def.i = MM1_ROPE_PLAIN, .names = rope_names,
      .help = "how rotary positions are stretched; linear: by factor; llama3: long waves by factor, short ones not"),
    F(factor, F64, .def.f = 1, .min.f = 1, .max.f = 1e6, .help = "how far"),
    F(low_freq_factor, F64, .def.f = 1, .min.f = 0, .max.f = 1e6,
      .help = "llama3: waves are long up to so many turns in original_positions"),
    F(high_freq_factor, F64, .def.f = 4, .min.f = 0, .max.f = 1e6, .help = "llama3: and short from so many on"),
    F(original_positions, I64, .def.i = 8192, .min.i = 1, .max.i = 1 << 24,
      .help = "llama3: longest sequence before stretching"),
    {0},
};
#undef F

#define F(member, TYPE, ...) MM1_FIELD(mm1_decoder_config, member, TYPE, __VA_ARGS__)
const mm1_field mm1__decoder_fields[] = {
    F(vocab_size, I64, .def.i = 0, .min.i = 0, .max.i = 1 << 24,
      .help = "ids of the embedding; 0: those of the tokenizer"),
    F(width, I64, .def.i = 2048, .min.i = 1, .max.i = 65536, .help = "width of the residual stream"),
    F(n_layers, I64, .def.i = 24, .min.i = 0, .max.i = 1024, .help = "transformer blocks"),
    F(n_heads, I64, .def.i = 16, .min.i = 1, .max.i = 1024, .help = "query heads"),
    F(n_kv_heads, I64, .def.i = 0, .min.i = 0, .max.i = 1024,
      .help = "key and value heads; 0: n_heads; must divide it"),
    F(head_dim, I64, .def.i = 0, .min.i = 0, .max.i = 1024, .help = "width of a head; 0: width / n_heads"),
    F(mlp_width, I64, .def.i = 5504, .min.i = 1, .max.i = 1 << 20, .help = "hidden width of the MLP"),
    F(norm, ENUM, .def.i = MM1_NORM_RMS, .names = norm_names, .help = "kind of the norms"),
    F(act, ENUM, .def.i = MM1_ACT_SILU, .names = mm1__act_names, .help = "activation of the MLP"),
    F(gated, BOOL, .def.i = 1, .help = "gated MLP (with silu: SwiGLU)"),
    F(bias, BOOL, .def.i = 0, .help = "biases in the linear layers"),
    F(qkv_bias, BOOL, .def.i = 0, .help = "biases in the projection to queries, keys and values, if not in all"),
    F(qk_norm, ENUM, .def.i = MM1_QK_NORM_NONE, .names = qk_norm_names,
      .help = "queries and keys are divided by their root mean square, each head by itself or all of a position"),
    F(sliding_window, I64, .def.i = 0, .min.i = 0, .max.i = 1 << 24,
      .help = "positions that a position sees, itself included; 0: all before it"),
    F(tie_embeddings, BOOL, .def.i = 1, .help = "the head is the embedding"),
    F(positions, ENUM, .def.i = MM1_POSITIONS_ROPE, .names = position_names, .help = "how positions are told"),
    F(max_positions, I64, .def.i = 4096, .min.i = 1, .max.i = 1 << 24, .help = "longest sequence"),
    F(rope_theta, F64, .def.f = 10000, .min.f = 1, .max.f = 1e9, .help = "base of the rotary frequencies"),
    MM1_FIELD_GROUP_OF(mm1_decoder_config, rope_scaling, rope_scaling_fields),
    F(norm_eps, F64, .def.f = 1e-5, .min.f = 0, .max.f = 1, .help = "epsilon of the norms"),
    MM1_FIELD_GROUP_OF(mm1_decoder_config, moe, mm1__moe_fields),
    {0},
};
#undef F

mm1_status mm1_decoder_config_resolve(mm1_decoder_config *c, mm1_error *err)
{
    if (c->n_kv_heads == 0) {
        c->n_kv_heads = c->n_heads;
    }
    if (c->head_dim == 0) {
        if (c->width % c->n_heads != 0) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "model.decoder.n_heads: %lld does not divide width %lld; set head_dim",
                                 (long long)c->n_heads, (long long)c->width);
        }
        c->head_dim = c->width / c->n_heads;
    }
    if (c->n_heads % c->n_kv_heads != 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.decoder.n_kv_heads: %lld does not divide n_heads %lld",
                             (long long)c->n_kv_heads, (long long)c->n_heads);
    }
    if (c->positions == MM1_POSITIONS_ROPE && c->max_positions > MAX_ROPE_FLOATS / c->head_dim) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "model.decoder.max_positions: a table of %lld positions by head_dim %lld is over 1 GiB",
                             (long long)c->max_positions, (long long)c->head_dim);
    }
    if (c->positions == MM1_POSITIONS_ROPE && c->head_dim % 2 != 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.decoder.head_dim: %lld is odd; rotary positions need pairs",
                             (long long)c->head_dim);
    }
    const mm1_rope_scaling *s = &c->rope_scaling;
    if (s->type == MM1_ROPE_LLAMA3 && s->high_freq_factor <= s->low_freq_factor) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.decoder.rope_scaling.high_freq_factor: %g is not above low_freq_factor %g",
                             s->high_freq_factor, s->low_freq_factor);
    }
    if (c->vocab_size < 1) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.decoder.vocab_size: not set, and no tokenizer to take it from");
    }
    return mm1_moe_config_resolve(&c->moe, c->n_layers, c->mlp_width, c->bias, err);
}

int64_t mm1_decoder_idle_params(const mm1_decoder_config *c, int64_t n)
{
    return mm1_moe_expert_params(&c->moe, c->moe.n_experts - n, c->n_layers, c->width, c->gated);
}

mm1_status mm1_decoder_init(mm1_decoder *d, const mm1_decoder_config *config, mm1_params *p, mm1_error *err)
{
    const mm1_param_group group = MM1_GROUP_DECODER;
    *d = (mm1_decoder){.config = *config};
    mm1_decoder_config *c = &d->config;
    mm1_status st = mm1_decoder_config_resolve(c, err);
    if (st != MM1_OK) {
        return st;
    }
    d->block_config = (mm1_block_config){.width = c->width,
                                         .n_heads = c->n_heads,
                                         .n_kv_heads = c->n_kv_heads,
                                         .head_dim = c->head_dim,
                                         .mlp_width = c->mlp_width,
                                         .n_layers = c->n_layers,
                                         .norm = (mm1_norm)c->norm,
                                         .act = (mm1_act)c->act,
                                         .gated = c->gated,
                                         .bias = c->bias,
                                         .qkv_bias = c->qkv_bias,
                                         .qk_norm = (mm1_qk_norm)c->qk_norm,
                                         .norm_eps = c->norm_eps};
    d->blocks = mm1_calloc((size_t)c->n_layers, sizeof *d->blocks);
    if (d->blocks == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld decoder blocks", (long long)c->n_layers);
    }
    if (c->positions == MM1_POSITIONS_ROPE) {
        d->rope_table = mm1_alloc((size_t)(c->max_positions * c->head_dim), sizeof *d->rope_table);
        if (d->rope_table == NULL) {
            mm1_decoder_deinit(d);
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld positions", (long long)config->max_positions);
        }
        mm1_rope_table(d->rope_table, c->max_positions, c->head_dim, c->rope_theta, &c->rope_scaling);
    }
    st = mm1_routing_init(&d->routing, mm1_moe_n_sparse(&c->moe, c->n_layers), c->moe.n_experts, err);
    if (st != MM1_OK) {
        mm1_decoder_deinit(d);
        return st;
    }
    d->embed = mm1_params_add(p, group, MM1_INIT_NORMAL, 1.0 / sqrt((double)c->width), true, 2,
                              (int64_t[]){c->vocab_size, c->width}, "decoder.embed.weight");
    d->pos = c->positions == MM1_POSITIONS_LEARNED
                 ? mm1_params_add(p, group, MM1_INIT_NORMAL, 0.02, false, 2, (int64_t[]){c->max_positions, c->width},
                                  "decoder.pos")
                 : NULL;
    for (int64_t i = 0; i < c->n_layers; i++) {
        char prefix[64];
        mm1_block_config block = d->block_config;
        block.moe = mm1_moe_is_sparse(&c->moe, i) ? &c->moe : NULL;
        block.n_sparse = mm1_moe_n_sparse(&c->moe, i);
        (void)snprintf(prefix, sizeof prefix, "decoder.layers.%lld", (long long)i);
        mm1__block_create(&d->blocks[i], &block, p, group, prefix);
    }
    mm1__norm_create(&d->norm_w, &d->norm_b, d->block_config.norm, c->width, p, group, "decoder", "norm");
    d->head = c->tie_embeddings ? d->embed
                                : mm1_params_add(p, group, MM1_INIT_NORMAL, 1.0 / sqrt((double)c->width), true, 2,
                                                 (int64_t[]){c->vocab_size, c->width}, "decoder.head.weight");
    return MM1_OK;
}

void mm1_decoder_deinit(mm1_decoder *d)
{
    mm1_free(d->blocks);
    mm1_free(d->rope_table);
    mm1_routing_deinit(&d->routing);
    *d = (mm1_decoder){0};
}

int64_t mm1_decoder_n_embeddings(const mm1_decoder *d)
{
    return d->embed == NULL ? 0 : mm1_tensor_size(d->embed) + (d->head != d->embed ? mm1_tensor_size(d->head) : 0);
}

/* The first keys that N queries see: no more than a window of them.  False on a sticky error. */
static bool first_keys(const mm1_decoder_config *c, mm1_tape *t, const mm1_decoder_input *in, int64_t N,
                       const int32_t **out)
{
    *out = in->lo;
    if (c->sliding_window == 0) {
        return true;
    }
    int32_t *lo = (int32_t *)(void *)mm1__tape_floats(t, N);
    for (int64_t i = 0; lo != NULL && i < N && !t->dry; i++) {
        const int64_t least = in->hi[i] - c->sliding_window;
        lo[i] = in->lo[i] > least ? in->lo[i] : (int32_t)least;
    }
    *out = lo;
    return lo != NULL;
}

mm1_tensor *mm1_decoder_forward(const mm1_decoder *d, mm1_tape *t, const mm1_decoder_input *in, mm1_kv_cache *caches)
{
    const mm1_decoder_config *c = &d->config;
    const int64_t N = in->B * in->T;
    for (int64_t i = 0; i < N && !t->dry; i++) {
        if (in->position[i] < 0 || in->position[i] >= c->max_positions) {
            return mm1_tape_fail(t, MM1_E_LIMIT, "position %d is over model.decoder.max_positions %lld",
                                 in->position[i], (long long)c->max_positions);
        }
    }
    mm1_attention_spec spec = mm1__block_spec(&d->block_config, in->B, in->T);
    if (!first_keys(c, t, in, N, &spec.lo)) {
        return NULL;
    }
    spec.hi = in->hi;
    spec.runs = in->runs;
    spec.n_runs = in->n_runs;
    if (d->rope_table != NULL) {
        spec.position = in->position;
        spec.cos_sin = d->rope_table;
    }
    mm1_tensor *x = mm1_op_embed(t, d->embed, in->token, N, in->visual, in->visual_row);
    if (d->pos != NULL) {
        x = mm1_op_add(t, x, mm1_op_embed(t, d->pos, in->position, N, NULL, NULL));
    }
    x = mm1__blocks_forward(d->blocks, c->n_layers, &d->block_config, t, x, &spec, caches);
    return mm1_op_norm(t, x, d->block_config.norm, d->norm_w, d->norm_b, (float)c->norm_eps);
}

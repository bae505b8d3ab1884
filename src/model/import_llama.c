/* import_llama.c - the decoders of the LLaMA family as Hugging Face transformers stores them: LLaMA 1 to 3 and SmolLM2,
 * Mistral and Mixtral, Qwen 1.5 to 3, OLMoE.
 *
 * All keys are read that change what such a model computes; the rest is refused or, in mm1__import_drop_idle(), known
 * to be harmless.  Where a key is absent, the default is that of transformers' class. */
#include "model/import.h"

#include <string.h>

typedef struct hf_rope {
    double rope_theta; /* 0: not said here */
    double factor, low_freq_factor, high_freq_factor, attention_factor, partial_rotary_factor;
    int64_t original_max_position_embeddings;
} hf_rope;

typedef struct hf_decoder {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads,
        head_dim, max_position_embeddings;
    char *hidden_act;
    double rms_norm_eps, rope_theta;
    hf_rope rope_parameters, rope_scaling;
    bool tie_word_embeddings, attention_bias, mlp_bias;
    int64_t sliding_window, max_window_layers;
    int64_t num_local_experts, num_experts; /* two names of one thing */
    int64_t num_experts_per_tok;
    bool norm_topk_prob;
    bool use_sliding_window;
    char **layer_types;
    size_t n_layer_types;
} hf_decoder;

#define R(member, TYPE, ...) MM1_FIELD(hf_rope, member, TYPE, __VA_ARGS__)
static const mm1_field rope_fields[] = {
    R(rope_theta, F64, .max.f = 1e9),
    R(factor, F64, .def.f = 1, .min.f = 1, .max.f = 1e6),
    R(low_freq_factor, F64, .def.f = 1, .max.f = 1e6),
    R(high_freq_factor, F64, .def.f = 4, .max.f = 1e6),
    R(attention_factor, F64, .def.f = 1, .min.f = 1, .max.f = 1),
    R(partial_rotary_factor, F64, .def.f = 1, .min.f = 1, .max.f = 1),
    R(original_max_position_embeddings, I64, .def.i = 0, .max.i = 1 << 24),
    {0},
};
#undef R

#define F(member, TYPE, ...) MM1_FIELD(hf_decoder, member, TYPE, __VA_ARGS__)
/* Defaults that differ from one class to the next. */
#define COMMON_FIELDS(ids, width, mlp, layers, heads, kv_heads, head, positions, eps, theta)                           \
    F(vocab_size, I64, .def.i = (ids), .min.i = 1, .max.i = 1 << 24),                                                  \
        F(hidden_size, I64, .def.i = (width), .min.i = 1, .max.i = 65536),                                             \
        F(intermediate_size, I64, .def.i = (mlp), .min.i = 1, .max.i = 1 << 20),                                       \
        F(num_hidden_layers, I64, .def.i = (layers), .max.i = 1024),                                                   \
        F(num_attention_heads, I64, .def.i = (heads), .min.i = 1, .max.i = 1024),                                      \
        F(num_key_value_heads, I64, .def.i = (kv_heads), .max.i = 1024),                                               \
        F(head_dim, I64, .def.i = (head), .max.i = 1024),                                                              \
        F(max_position_embeddings, I64, .def.i = (positions), .min.i = 1, .max.i = 1 << 24),                           \
        F(hidden_act, STR, .def.s = "silu"), F(rms_norm_eps, F64, .def.f = (eps), .max.f = 1),                         \
        F(rope_theta, F64, .def.f = (theta), .min.f = 1, .max.f = 1e9), F(tie_word_embeddings, BOOL),                  \
        MM1_FIELD_GROUP_OF(hf_decoder, rope_parameters, rope_fields),                                                  \
        MM1_FIELD_GROUP_OF(hf_decoder, rope_scaling, rope_fields)
#define QWEN_FIELDS                                                                                                    \
    F(sliding_window, I64, .def.i = 4096, .max.i = 1 << 24), F(use_sliding_window, BOOL),                              \
        F(max_window_layers, I64, .def.i = 28, .max.i = 1024),                                                         \
        MM1_FIELD_ITEMS_OF(hf_decoder, layer_types, n_layer_types, STR)

static const mm1_field llama_fields[] = {
    COMMON_FIELDS(32000, 4096, 11008, 32, 32, 0, 0, 2048, 1e-6, 10000),
    F(attention_bias, BOOL),
    F(mlp_bias, BOOL),
    {0},
};

static const mm1_field mistral_fields[] = {
    COMMON_FIELDS(32000, 4096, 14336, 32, 32, 8, 0, 131072, 1e-6, 10000),
    F(sliding_window, I64, .def.i = 4096, .max.i = 1 << 24),
    {0},
};

static const mm1_field qwen2_fields[] = {
    COMMON_FIELDS(151936, 4096, 22016, 32, 32, 32, 0, 32768, 1e-6, 10000),
    QWEN_FIELDS,
    {0},
};

static const mm1_field qwen3_fields[] = {
    COMMON_FIELDS(151936, 4096, 22016, 32, 32, 32, 128, 32768, 1e-6, 10000),
    QWEN_FIELDS,
    F(attention_bias, BOOL),
    {0},
};

static const mm1_field mixtral_fields[] = {
    COMMON_FIELDS(32000, 4096, 14336, 32, 32, 8, 0, 131072, 1e-5, 1e6),
    F(sliding_window, I64, .max.i = 1 << 24),
    F(num_local_experts, I64, .def.i = 8, .min.i = 1, .max.i = MM1_MAX_EXPERTS),
    F(num_experts_per_tok, I64, .def.i = 2, .min.i = 1, .max.i = MM1_MAX_EXPERTS),
    {0},
};

static const mm1_field olmoe_fields[] = {
    COMMON_FIELDS(50304, 2048, 2048, 16, 16, 0, 0, 4096, 1e-5, 10000),
    F(attention_bias, BOOL),
    F(num_experts, I64, .def.i = 64, .min.i = 1, .max.i = MM1_MAX_EXPERTS),
    F(num_experts_per_tok, I64, .def.i = 8, .min.i = 1, .max.i = MM1_MAX_EXPERTS),
    F(norm_topk_prob, BOOL),
    {0},
};
#undef F

/* What one architecture does in its own way. */
typedef struct family {
    const mm1_field *fields;
    const mm1_import_map *experts; /* NULL: it is dense */
    const char *n_experts;         /* key of their number */
    mm1_qk_norm qk_norm;
    bool has_bias, has_window, qkv_bias;
    bool gates_add_up; /* always; else norm_topk_prob says whether */
} family;

/* rope_parameters (transformers 5) or rope_scaling (before); both may be absent.  Takes the type, which is a word or,
 * under an older key, the same word. */
static mm1_status read_rope_type(mm1_yaml_node *map, const char *key, int *type, mm1_error *err)
{
    mm1_yaml_node *group = mm1_yaml_get(map, key);
    *type = MM1_ROPE_PLAIN;
    if (group == NULL) {
        return MM1_OK;
    }
    const mm1_yaml_node *new_name = mm1_yaml_take(group, "rope_type"), *old_name = mm1_yaml_take(group, "type");
    const mm1_yaml_node *said = new_name != NULL ? new_name : old_name;
    if (said == NULL || said->text == NULL) {
        return said == NULL ? MM1_OK : mm1__import_refuse(map, err, "%s: its type is no word", key);
    }
    if (strcmp(said->text, "linear") == 0) {
        *type = MM1_ROPE_LINEAR;
    } else if (strcmp(said->text, "llama3") == 0) {
        *type = MM1_ROPE_LLAMA3;
    } else if (strcmp(said->text, "default") != 0) {
        return mm1__import_refuse(map, err, "%s: type \"%.40s\" is not supported; default, linear and llama3 are", key,
                                  said->text);
    }
    return MM1_OK;
}

static mm1_status read_rope(mm1_decoder_config *out, const hf_decoder *d, int new_type, int old_type,
                            const mm1_yaml_node *map, mm1_error *err)
{
    const hf_rope *r = old_type != MM1_ROPE_PLAIN ? &d->rope_scaling : &d->rope_parameters;
    out->rope_theta = d->rope_parameters.rope_theta > 0 ? d->rope_parameters.rope_theta
                      : d->rope_scaling.rope_theta > 0  ? d->rope_scaling.rope_theta
                                                        : d->rope_theta;
    out->rope_scaling.type = old_type != MM1_ROPE_PLAIN ? old_type : new_type;
    if (out->rope_scaling.type == MM1_ROPE_PLAIN) {
        return MM1_OK;
    }
    out->rope_scaling.factor = r->factor;
    if (out->rope_scaling.type == MM1_ROPE_LLAMA3) {
        if (r->original_max_position_embeddings < 1) {
            return mm1__import_refuse(map, err, "rope type llama3 needs original_max_position_embeddings");
        }
        out->rope_scaling.low_freq_factor = r->low_freq_factor;
        out->rope_scaling.high_freq_factor = r->high_freq_factor;
        out->rope_scaling.original_positions = r->original_max_position_embeddings;
    }
    return MM1_OK;
}

/* Windows that only some layers have are not supported. */
static mm1_status read_window(mm1_decoder_config *out, const hf_decoder *d, const family *f, const mm1_yaml_node *map,
                              mm1_error *err)
{
    if (f->has_window) {
        out->sliding_window = d->sliding_window;
    }
    if (d->use_sliding_window) {
        return mm1__import_refuse(map, err, "use_sliding_window is not supported");
    }
    for (size_t i = 0; i < d->n_layer_types; i++) {
        if (strcmp(d->layer_types[i], "full_attention") != 0) {
            return mm1__import_refuse(map, err, "layer_types: \"%.40s\" is not supported; full_attention is",
                                      d->layer_types[i]);
        }
    }
    return MM1_OK;
}

/* What all of the family have in common. */
static mm1_status to_decoder(mm1_import *out, const hf_decoder *d, const family *f, const mm1_yaml_node *map,
                             mm1_error *err)
{
    mm1_decoder_config *c = &out->config.decoder;
    out->config.kind = MM1_MODEL_DECODER;
    c->vocab_size = d->vocab_size;
    c->width = d->hidden_size;
    c->n_layers = d->num_hidden_layers;
    c->n_heads = d->num_attention_heads;
    c->n_kv_heads = d->num_key_value_heads;
    c->head_dim = d->head_dim;
    c->mlp_width = d->intermediate_size;
    c->norm = MM1_NORM_RMS;
    c->gated = true;
    c->tie_embeddings = d->tie_word_embeddings;
    c->positions = MM1_POSITIONS_ROPE;
    c->max_positions = d->max_position_embeddings;
    c->norm_eps = d->rms_norm_eps;
    c->qkv_bias = f->qkv_bias;
    c->qk_norm = f->qk_norm;
    c->bias = d->attention_bias && d->mlp_bias;
    if (f->experts != NULL) {
        c->moe.n_experts = d->num_local_experts + d->num_experts;
        c->moe.top_k = d->num_experts_per_tok;
        c->moe.every = 1;
        c->moe.mlp_width = d->intermediate_size;
        c->moe.normalize = f->gates_add_up || d->norm_topk_prob;
    }
    if (d->attention_bias != d->mlp_bias) {
        return mm1__import_refuse(map, err, "%s without %s is not supported",
                                  d->attention_bias ? "attention_bias" : "mlp_bias",
                                  d->attention_bias ? "mlp_bias" : "attention_bias");
    }
    return mm1__import_act(map, "hidden_act", d->hidden_act, &c->act, err);
}

#define LAYER "model.layers.*."
static const mm1_import_map llama_maps[] = {
    MM1_MAP("decoder.embed.weight", "model.embed_tokens.weight"),
    MM1_MAP("decoder.layers.*.norm1.weight", LAYER "input_layernorm.weight"),
    MM1_MAP_HEADS("decoder.layers.*.attn.qkv.weight", LAYER "self_attn.q_proj.weight", LAYER "self_attn.k_proj.weight",
                  LAYER "self_attn.v_proj.weight"),
    MM1_MAP_HEADS("decoder.layers.*.attn.qkv.bias", LAYER "self_attn.q_proj.bias", LAYER "self_attn.k_proj.bias",
                  LAYER "self_attn.v_proj.bias"),
    MM1_MAP("decoder.layers.*.attn.q_norm.weight", LAYER "self_attn.q_norm.weight"),
    MM1_MAP("decoder.layers.*.attn.k_norm.weight", LAYER "self_attn.k_norm.weight"),
    MM1_MAP("decoder.layers.*.attn.out.weight", LAYER "self_attn.o_proj.weight"),
    MM1_MAP("decoder.layers.*.attn.out.bias", LAYER "self_attn.o_proj.bias"),
    MM1_MAP("decoder.layers.*.norm2.weight", LAYER "post_attention_layernorm.weight"),
    MM1_MAP("decoder.layers.*.mlp.gate_up.weight", LAYER "mlp.gate_proj.weight", LAYER "mlp.up_proj.weight"),
    MM1_MAP("decoder.layers.*.mlp.gate_up.bias", LAYER "mlp.gate_proj.bias", LAYER "mlp.up_proj.bias"),
    MM1_MAP("decoder.layers.*.mlp.down.weight", LAYER "mlp.down_proj.weight"),
    MM1_MAP("decoder.layers.*.mlp.down.bias", LAYER "mlp.down_proj.bias"),
    MM1_MAP("decoder.norm.weight", "model.norm.weight"),
    MM1_MAP("decoder.head.weight", "lm_head.weight"),
    {0},
};

static const mm1_import_map mixtral_experts[] = {
    MM1_MAP("decoder.layers.*.moe.router.weight", LAYER "block_sparse_moe.gate.weight"),
    MM1_MAP("decoder.layers.*.moe.gate_up.weight", LAYER "block_sparse_moe.experts.#.w1.weight",
            LAYER "block_sparse_moe.experts.#.w3.weight"),
    MM1_MAP("decoder.layers.*.moe.down.weight", LAYER "block_sparse_moe.experts.#.w2.weight"),
    {0},
};

static const mm1_import_map olmoe_experts[] = {
    MM1_MAP("decoder.layers.*.moe.router.weight", LAYER "mlp.gate.weight"),
    MM1_MAP("decoder.layers.*.moe.gate_up.weight", LAYER "mlp.experts.#.gate_proj.weight",
            LAYER "mlp.experts.#.up_proj.weight"),
    MM1_MAP("decoder.layers.*.moe.down.weight", LAYER "mlp.experts.#.down_proj.weight"),
    {0},
};

static const char *const llama_idle[] = {LAYER "self_attn.rotary_emb.inv_freq", NULL};
#undef LAYER

static void set_parts(mm1_import *i, const family *f)
{
    i->parts[i->n_parts++] = (mm1_import_part){.maps = llama_maps};
    if (f->experts != NULL) {
        i->parts[i->n_parts++] = (mm1_import_part){.maps = f->experts};
    }
}

/* Null where absent would stand for a number. */
static void null_is_none(const mm1_yaml_node *map, const char *key)
{
    mm1_yaml_node *node = mm1_yaml_get(map, key);
    if (node != NULL && mm1_yaml_is_null(node)) {
        node->text = "0";
    }
}

static mm1_status read_family(mm1_import *out, const family *f, mm1_yaml_node *map, mm1_error *err)
{
    static const char *const of_training[] = {"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"};
    hf_decoder d = {0};
    int new_type = 0, old_type = 0;
    null_is_none(map, "num_key_value_heads");
    null_is_none(map, "sliding_window");
    mm1__import_drop_idle(map);
    for (size_t i = 0; f->experts != NULL && i < sizeof of_training / sizeof *of_training; i++) {
        (void)mm1_yaml_take(map, of_training[i]);
    }
    mm1_status st = read_rope_type(map, "rope_parameters", &new_type, err);
    st = st != MM1_OK ? st : read_rope_type(map, "rope_scaling", &old_type, err);
    st = st != MM1_OK ? st : mm1__import_fields(f->fields, &d, map, err);
    st = st != MM1_OK ? st : to_decoder(out, &d, f, map, err);
    st = st != MM1_OK ? st : read_rope(&out->config.decoder, &d, new_type, old_type, map, err);
    st = st != MM1_OK ? st : read_window(&out->config.decoder, &d, f, map, err);
    set_parts(out, f);
    mm1_fields_deinit(f->fields, &d);
    return st;
}

/* ---- and back ---- */

static json_t *rope_to_json(const mm1_rope_scaling *s)
{
    if (s->type == MM1_ROPE_LINEAR) {
        return json_pack("{s:s, s:f}", "rope_type", "linear", "factor", s->factor);
    }
    return s->type != MM1_ROPE_LLAMA3
               ? json_null()
               : json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", s->factor, "low_freq_factor",
                           s->low_freq_factor, "high_freq_factor", s->high_freq_factor,
                           "original_max_position_embeddings", (json_int_t)s->original_positions);
}

static mm1_status write_family(mm1_import *i, const family *f, json_t *map, mm1_error *err)
{
    const mm1_decoder_config *c = &i->config.decoder;
    const char *act = mm1__import_act_name(c->act);
    const bool sparse = f->experts != NULL;
    const mm1_import_rule rules[] = {
        {i->config.kind == MM1_MODEL_DECODER, "model.kind"},
        {c->norm == MM1_NORM_RMS, "model.decoder.norm"},
        {act != NULL, "model.decoder.act"},
        {c->gated, "model.decoder.gated"},
        {!c->bias || f->has_bias, "model.decoder.bias"},
        {c->bias || c->qkv_bias == f->qkv_bias, "model.decoder.qkv_bias"},
        {c->qk_norm == (int)f->qk_norm, "model.decoder.qk_norm"},
        {f->qk_norm != MM1_QK_NORM_FULL || c->n_heads * c->head_dim == c->width, "model.decoder.head_dim"},
        {c->sliding_window == 0 || f->has_window, "model.decoder.sliding_window"},
        {c->positions == MM1_POSITIONS_ROPE, "model.decoder.positions"},
        {sparse == (c->moe.n_experts > 0), "model.decoder.moe.n_experts"},
        {!sparse || c->moe.every == 1, "model.decoder.moe.every"},
        {!sparse || c->moe.normalize || !f->gates_add_up, "model.decoder.moe.normalize"},
    };
    const mm1_status st = mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    if (st != MM1_OK) {
        return st;
    }
    /* rope_theta and rope_scaling stand where every version of transformers reads them. */
    json_t *keys =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:o, s:b}", "vocab_size",
                  (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->width, "intermediate_size",
                  (json_int_t)(sparse ? c->moe.mlp_width : c->mlp_width), "num_hidden_layers", (json_int_t)c->n_layers,
                  "num_attention_heads", (json_int_t)c->n_heads, "num_key_value_heads", (json_int_t)c->n_kv_heads,
                  "head_dim", (json_int_t)c->head_dim, "max_position_embeddings", (json_int_t)c->max_positions,
                  "hidden_act", act, "rms_norm_eps", c->norm_eps, "rope_theta", c->rope_theta, "rope_scaling",
                  rope_to_json(&c->rope_scaling), "tie_word_embeddings", (int)c->tie_embeddings);
    if (keys != NULL && f->has_bias) {
        (void)json_object_set_new(keys, "attention_bias", json_boolean(c->bias));
        (void)json_object_set_new(keys, "mlp_bias", json_boolean(c->bias));
    }
    if (keys != NULL && f->has_window) {
        (void)json_object_set_new(keys, "sliding_window",
                                  c->sliding_window > 0 ? json_integer(c->sliding_window) : json_null());
    }
    if (keys != NULL && sparse) {
        (void)json_object_set_new(keys, f->n_experts, json_integer(c->moe.n_experts));
        (void)json_object_set_new(keys, "num_experts_per_tok", json_integer(c->moe.top_k));
        if (!f->gates_add_up) {
            (void)json_object_set_new(keys, "norm_topk_prob", json_boolean(c->moe.normalize));
        }
    }
    set_parts(i, f);
    return mm1__import_add_keys(map, keys, err);
}

/* ---- the rows ---- */

static const family llama = {.fields = llama_fields, .has_bias = true};
static const family mistral = {.fields = mistral_fields, .has_window = true};
static const family qwen2 = {.fields = qwen2_fields, .qkv_bias = true};
static const family qwen3 = {.fields = qwen3_fields, .qk_norm = MM1_QK_NORM_HEAD};
static const family mixtral = {.fields = mixtral_fields,
                               .experts = mixtral_experts,
                               .n_experts = "num_local_experts",
                               .has_window = true,
                               .gates_add_up = true};
static const family olmoe = {
    .fields = olmoe_fields, .experts = olmoe_experts, .n_experts = "num_experts", .qk_norm = MM1_QK_NORM_FULL};

#define ROW(name, class)                                                                                               \
    static mm1_status read_##name(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)                \
    {                                                                                                                  \
        (void)dir;                                                                                                     \
        return read_family(out, &name, map, err);                                                                      \
    }                                                                                                                  \
    static mm1_status write_##name(mm1_import *i, json_t *map, mm1_error *err)                                         \
    {                                                                                                                  \
        return write_family(i, &name, map, err);                                                                       \
    }                                                                                                                  \
    const mm1_architecture mm1__architecture_##name = {                                                                \
        .model_type = #name, .class_name = class, .read = read_##name, .write = write_##name, .idle = llama_idle}

ROW(llama, "LlamaForCausalLM");
ROW(mistral, "MistralForCausalLM");
ROW(qwen2, "Qwen2ForCausalLM");
ROW(qwen3, "Qwen3ForCausalLM");
ROW(mixtral, "MixtralForCausalLM");
ROW(olmoe, "OlmoeForCausalLM");

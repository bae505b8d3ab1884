/* import_gpt2.c - GPT-2 as Hugging Face transformers stores it: learned positions, layer norms, biases everywhere, and
 * matrices that stand transposed. */
#include "model/import.h"

typedef struct hf_gpt2 {
    int64_t vocab_size, n_positions, n_embd, n_layer, n_head;
    int64_t n_inner; /* 0: 4 n_embd */
    char *activation_function;
    double layer_norm_epsilon;
    bool tie_word_embeddings, scale_attn_weights, scale_attn_by_inverse_layer_idx;
} hf_gpt2;

#define F(member, TYPE, ...) MM1_FIELD(hf_gpt2, member, TYPE, __VA_ARGS__)
static const mm1_field gpt2_fields[] = {
    F(vocab_size, I64, .def.i = 50257, .min.i = 1, .max.i = 1 << 24),
    F(n_positions, I64, .def.i = 1024, .min.i = 1, .max.i = 1 << 24),
    F(n_embd, I64, .def.i = 768, .min.i = 1, .max.i = 65536),
    F(n_layer, I64, .def.i = 12, .max.i = 1024),
    F(n_head, I64, .def.i = 12, .min.i = 1, .max.i = 1024),
    F(n_inner, I64, .max.i = 1 << 20),
    F(activation_function, STR, .def.s = "gelu_new"),
    F(layer_norm_epsilon, F64, .def.f = 1e-5, .max.f = 1),
    F(tie_word_embeddings, BOOL, .def.i = 1),
    F(scale_attn_weights, BOOL, .def.i = 1),
    F(scale_attn_by_inverse_layer_idx, BOOL),
    {0},
};
#undef F

#define LAYER "transformer.h.*."
static const mm1_import_map gpt2_maps[] = {
    MM1_MAP("decoder.embed.weight", "transformer.wte.weight"),
    MM1_MAP("decoder.pos", "transformer.wpe.weight"),
    MM1_MAP("decoder.layers.*.norm1.weight", LAYER "ln_1.weight"),
    MM1_MAP("decoder.layers.*.norm1.bias", LAYER "ln_1.bias"),
    MM1_MAP_COLUMNS("decoder.layers.*.attn.qkv.weight", LAYER "attn.c_attn.weight"),
    MM1_MAP("decoder.layers.*.attn.qkv.bias", LAYER "attn.c_attn.bias"),
    MM1_MAP_COLUMNS("decoder.layers.*.attn.out.weight", LAYER "attn.c_proj.weight"),
    MM1_MAP("decoder.layers.*.attn.out.bias", LAYER "attn.c_proj.bias"),
    MM1_MAP("decoder.layers.*.norm2.weight", LAYER "ln_2.weight"),
    MM1_MAP("decoder.layers.*.norm2.bias", LAYER "ln_2.bias"),
    MM1_MAP_COLUMNS("decoder.layers.*.mlp.up.weight", LAYER "mlp.c_fc.weight"),
    MM1_MAP("decoder.layers.*.mlp.up.bias", LAYER "mlp.c_fc.bias"),
    MM1_MAP_COLUMNS("decoder.layers.*.mlp.down.weight", LAYER "mlp.c_proj.weight"),
    MM1_MAP("decoder.layers.*.mlp.down.bias", LAYER "mlp.c_proj.bias"),
    MM1_MAP("decoder.norm.weight", "transformer.ln_f.weight"),
    MM1_MAP("decoder.norm.bias", "transformer.ln_f.bias"),
    MM1_MAP("decoder.head.weight", "lm_head.weight"),
    {0},
};

/* Masks of zeros and ones. */
static const char *const gpt2_idle[] = {LAYER "attn.bias", LAYER "attn.masked_bias", NULL};
#undef LAYER

static mm1_status read_gpt2(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    static const char *const idle[] = {/* dropout, heads of other tasks, and how one would compute */
                                       "attn_pdrop",
                                       "embd_pdrop",
                                       "resid_pdrop",
                                       "n_ctx",
                                       "reorder_and_upcast_attn",
                                       "summary_activation",
                                       "summary_first_dropout",
                                       "summary_proj_to_labels",
                                       "summary_type",
                                       "summary_use_proj",
                                       NULL};
    hf_gpt2 g = {0};
    (void)dir;
    mm1__import_drop_idle(map);
    mm1__import_take_all(map, idle);
    mm1_status st = mm1__import_fields(gpt2_fields, &g, map, err);
    if (st == MM1_OK && (!g.scale_attn_weights || g.scale_attn_by_inverse_layer_idx)) {
        st = mm1__import_refuse(map, err, "%s is not supported",
                                g.scale_attn_weights ? "scale_attn_by_inverse_layer_idx" : "scale_attn_weights: false");
    }
    mm1_decoder_config *c = &out->config.decoder;
    out->config.kind = MM1_MODEL_DECODER;
    c->vocab_size = g.vocab_size;
    c->width = g.n_embd;
    c->n_layers = g.n_layer;
    c->n_heads = g.n_head;
    c->mlp_width = g.n_inner > 0 ? g.n_inner : 4 * g.n_embd;
    c->norm = MM1_NORM_LAYER;
    c->gated = false;
    c->bias = true;
    c->tie_embeddings = g.tie_word_embeddings;
    c->positions = MM1_POSITIONS_LEARNED;
    c->max_positions = g.n_positions;
    c->norm_eps = g.layer_norm_epsilon;
    st = st != MM1_OK ? st : mm1__import_act(map, "activation_function", g.activation_function, &c->act, err);
    out->n_parts = 1;
    out->parts[0] = (mm1_import_part){.maps = gpt2_maps, .namings = {{0}, {"transformer.", ""}}};
    mm1_fields_deinit(gpt2_fields, &g);
    return st;
}

static mm1_status write_gpt2(mm1_import *i, json_t *map, mm1_error *err)
{
    const mm1_decoder_config *c = &i->config.decoder;
    const char *act = c->act == MM1_ACT_GELU_TANH ? "gelu_new" : mm1__import_act_name(c->act);
    const mm1_import_rule rules[] = {
        {i->config.kind == MM1_MODEL_DECODER, "model.kind"},
        {c->positions == MM1_POSITIONS_LEARNED, "model.decoder.positions"},
        {c->norm == MM1_NORM_LAYER, "model.decoder.norm"},
        {act != NULL, "model.decoder.act"},
        {!c->gated, "model.decoder.gated"},
        {c->bias, "model.decoder.bias"},
        {c->qk_norm == MM1_QK_NORM_NONE, "model.decoder.qk_norm"},
        {c->n_kv_heads == c->n_heads, "model.decoder.n_kv_heads"},
        {c->n_heads * c->head_dim == c->width, "model.decoder.head_dim"},
        {c->sliding_window == 0, "model.decoder.sliding_window"},
        {c->moe.n_experts == 0, "model.decoder.moe.n_experts"},
    };
    const mm1_status st = mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    if (st != MM1_OK) {
        return st;
    }
    json_t *keys = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:b}", "vocab_size", (json_int_t)c->vocab_size,
                             "n_positions", (json_int_t)c->max_positions, "n_embd", (json_int_t)c->width, "n_layer",
                             (json_int_t)c->n_layers, "n_head", (json_int_t)c->n_heads, "n_inner",
                             (json_int_t)c->mlp_width, "activation_function", act, "layer_norm_epsilon", c->norm_eps,
                             "tie_word_embeddings", (int)c->tie_embeddings);
    i->n_parts = 1;
    i->parts[0] = (mm1_import_part){.maps = gpt2_maps};
    return mm1__import_add_keys(map, keys, err);
}

const mm1_architecture mm1__architecture_gpt2 = {
    .model_type = "gpt2", .class_name = "GPT2LMHeadModel", .read = read_gpt2, .write = write_gpt2, .idle = gpt2_idle};

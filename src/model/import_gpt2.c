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
                                       "summary_use_proj"};
    hf_gpt2 g = {0};
    (void)dir;
    mm1__import_drop_idle(map);
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        (void)mm1_yaml_take(map, idle[i]);
    }
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

const mm1_architecture mm1__architecture_gpt2 = {.model_type = "gpt2", .read = read_gpt2, .idle = gpt2_idle};

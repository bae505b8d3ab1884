/* import_clip.c - whole CLIP models as Hugging Face transformers stores them: the vision tower of import_vision.c, and
 * the text tower, the two projections and the scale of the comparison that are here.
 *
 * A folder without a tokenizer.json, which cannot compare, is read as its image encoder alone. */
#include "model/import.h"

#include "base/alloc.h"
#include "base/file.h"
#include <string.h>

typedef struct hf_text {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, max_position_embeddings,
        projection_dim;
    char *hidden_act;
    double layer_norm_eps;
} hf_text;

#define F(member, TYPE, ...) MM1_FIELD(hf_text, member, TYPE, __VA_ARGS__)
static const mm1_field text_fields[] = {
    F(vocab_size, I64, .def.i = 49408, .min.i = 1, .max.i = 1 << 24),
    F(hidden_size, I64, .def.i = 512, .min.i = 1, .max.i = 65536),
    F(intermediate_size, I64, .def.i = 2048, .min.i = 1, .max.i = 1 << 20),
    F(num_hidden_layers, I64, .def.i = 12, .max.i = 1024),
    F(num_attention_heads, I64, .def.i = 8, .min.i = 1, .max.i = 1024),
    F(max_position_embeddings, I64, .def.i = 77, .min.i = 2, .max.i = 1 << 20),
    F(projection_dim, I64, .def.i = 512, .min.i = 1, .max.i = 65536), /* that of the whole model counts */
    F(hidden_act, STR, .def.s = "quick_gelu"),
    F(layer_norm_eps, F64, .def.f = 1e-5, .max.f = 1),
    {0},
};
static const mm1_field whole_fields[] = {
    F(projection_dim, I64, .def.i = 512, .min.i = 1, .max.i = 65536),
    {0},
};
#undef F

/* ---- where the parameters are ---- */

#define LAYER "text_model.encoder.layers.*."
static const mm1_import_map text_maps[] = {
    MM1_MAP("text.embed.weight", "text_model.embeddings.token_embedding.weight"),
    MM1_MAP("text.pos", "text_model.embeddings.position_embedding.weight"),
    MM1_MAP("text.layers.*.norm1.weight", LAYER "layer_norm1.weight"),
    MM1_MAP("text.layers.*.norm1.bias", LAYER "layer_norm1.bias"),
    MM1_MAP("text.layers.*.attn.qkv.weight", LAYER "self_attn.q_proj.weight", LAYER "self_attn.k_proj.weight",
            LAYER "self_attn.v_proj.weight"),
    MM1_MAP("text.layers.*.attn.qkv.bias", LAYER "self_attn.q_proj.bias", LAYER "self_attn.k_proj.bias",
            LAYER "self_attn.v_proj.bias"),
    MM1_MAP("text.layers.*.attn.out.weight", LAYER "self_attn.out_proj.weight"),
    MM1_MAP("text.layers.*.attn.out.bias", LAYER "self_attn.out_proj.bias"),
    MM1_MAP("text.layers.*.norm2.weight", LAYER "layer_norm2.weight"),
    MM1_MAP("text.layers.*.norm2.bias", LAYER "layer_norm2.bias"),
    MM1_MAP("text.layers.*.mlp.up.weight", LAYER "mlp.fc1.weight"),
    MM1_MAP("text.layers.*.mlp.up.bias", LAYER "mlp.fc1.bias"),
    MM1_MAP("text.layers.*.mlp.down.weight", LAYER "mlp.fc2.weight"),
    MM1_MAP("text.layers.*.mlp.down.bias", LAYER "mlp.fc2.bias"),
    MM1_MAP("text.norm.weight", "text_model.final_layer_norm.weight"),
    MM1_MAP("text.norm.bias", "text_model.final_layer_norm.bias"),
    MM1_MAP("joint.image.weight", "visual_projection.weight"),
    MM1_MAP("joint.text.weight", "text_projection.weight"),
    MM1_MAP_FOLDED("joint.log_scale", MM1_LAYOUT_SCALAR, "logit_scale"),
    {0},
};
#undef LAYER
static const char *const clip_idle[] = {"vision_model.embeddings.position_ids", "text_model.embeddings.position_ids",
                                        NULL};

/* ---- what the configuration means ---- */

static mm1_status read_text(mm1_import *out, mm1_yaml_node *map, mm1_error *err)
{
    static const int64_t HIGHEST = 2, DEFAULT = 49407; /* eos_token_id */
    mm1_text_config *c = &out->config.text;
    const mm1_yaml_node *end = mm1_yaml_get(map, "eos_token_id");
    hf_text t = {0};
    out->text_end_id = DEFAULT;
    if (end != NULL && !mm1_yaml_is_null(end) &&
        (end->text == NULL || end->is_quoted || !mm1_parse_i64(end->text, &out->text_end_id))) {
        return mm1__import_refuse(map, err, "text_config: eos_token_id: one id is wanted");
    }
    out->text_end = out->text_end_id == HIGHEST ? MM1_TEXT_END_HIGHEST : MM1_TEXT_END_ID;
    mm1__import_drop_idle(map);
    (void)mm1_yaml_take(map, "initializer_factor");
    (void)mm1_yaml_take(map, "dropout");
    (void)mm1_yaml_take(map, "tie_word_embeddings");
    mm1_status st = mm1__import_fields(text_fields, &t, map, err);
    st = st != MM1_OK ? st : mm1__import_act(map, "hidden_act", t.hidden_act, &c->act, err);
    c->vocab_size = t.vocab_size;
    c->width = t.hidden_size;
    c->mlp_width = t.intermediate_size;
    c->n_layers = t.num_hidden_layers;
    c->n_heads = t.num_attention_heads;
    c->max_positions = t.max_position_embeddings;
    c->norm_eps = t.layer_norm_eps;
    c->bos = true;
    out->parts[1] = (mm1_import_part){.maps = text_maps};
    mm1_fields_deinit(text_fields, &t);
    return st;
}

static mm1_status has_tokenizer(const char *dir, bool *has, mm1_error *err)
{
    char *path = mm1_path_join(dir, "tokenizer.json");
    *has = path != NULL && mm1_path_exists(path);
    mm1_free(path);
    return path != NULL ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
}

static mm1_status read_clip(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    hf_text whole = {0};
    mm1_yaml_node *vision = NULL, *text = NULL;
    bool compares = false;
    mm1_status st = has_tokenizer(dir, &compares, err);
    st = st != MM1_OK ? st : mm1__import_take_part(map, "text_config", compares, &text, err);
    st = st != MM1_OK ? st : mm1__import_take_vision(map, &vision, err);
    st = st != MM1_OK ? st : mm1__import_fields(whole_fields, &whole, map, err);
    st = st != MM1_OK ? st : mm1__import_clip_vision(&out->config.vision, &out->parts[0], vision, true, err);
    out->config.vision.projection = whole.projection_dim; /* that of the towers alone is not used */
    st = st != MM1_OK ? st : mm1__import_encoder_pictures(out, map, dir, false, err);
    if (st != MM1_OK || !compares) {
        return st;
    }
    out->config.kind = MM1_MODEL_CLIP;
    out->config.vision.projection = 0;
    out->config.joint.dim = whole.projection_dim;
    out->n_parts = 2;
    out->idle = clip_idle; /* the text tower is not, here */
    return read_text(out, text, err);
}

/* ---- and back ---- */

static mm1_status write_clip(mm1_import *i, json_t *map, mm1_error *err)
{
    const mm1_model_config *c = &i->config;
    const mm1_text_config *t = &c->text;
    const char *act = mm1__import_act_name(t->act);
    const mm1_import_rule rules[] = {{c->kind == MM1_MODEL_CLIP, "model.kind"},
                                     {c->vision.class_token, "model.vision.class_token"},
                                     {c->vision.feature_layer == -1, "model.vision.feature_layer"},
                                     {c->vision.pool == MM1_VISION_POOL_CLASS, "model.vision.pool"},
                                     {act != NULL, "model.text.act"},
                                     {t->bos, "model.text.bos"},
                                     {c->joint.view_width == 0, "model.joint.view_width"}};
    json_t *vision = json_pack("{s:s}", "model_type", "clip_vision_model");
    mm1_status st = mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    st = st != MM1_OK ? st : mm1__import_write_tower(&c->vision, &i->parts[0], vision, err);
    if (st != MM1_OK) {
        json_decref(vision);
        return st;
    }
    i->parts[1] = (mm1_import_part){.maps = text_maps};
    i->n_parts = 2;
    (void)json_object_set_new(vision, "projection_dim", json_integer(c->joint.dim));
    json_t *text =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f}", "model_type", "clip_text_model", "vocab_size",
                  (json_int_t)t->vocab_size, "hidden_size", (json_int_t)t->width, "intermediate_size",
                  (json_int_t)t->mlp_width, "num_hidden_layers", (json_int_t)t->n_layers, "num_attention_heads",
                  (json_int_t)t->n_heads, "max_position_embeddings", (json_int_t)t->max_positions, "projection_dim",
                  (json_int_t)c->joint.dim, "hidden_act", act, "layer_norm_eps", t->norm_eps);
    return mm1__import_add_keys(map,
                                json_pack("{s:o, s:o, s:I}", "text_config", text, "vision_config", vision,
                                          "projection_dim", (json_int_t)c->joint.dim),
                                err);
}

const mm1_architecture mm1__architecture_clip = {.model_type = "clip",
                                                 .class_name = "CLIPModel",
                                                 .image_class = "CLIP",
                                                 .processor_class = "CLIPProcessor",
                                                 .read = read_clip,
                                                 .write = write_clip,
                                                 .idle = mm1__import_whole_idle};

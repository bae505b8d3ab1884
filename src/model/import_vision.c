/* import_vision.c - image encoders as Hugging Face transformers stores them: the vision tower of CLIP, SigLIP and
 * SigLIP 2 at a fixed resolution (which are one architecture), alone or, of SigLIP, out of the whole model, and DINOv2.
 *
 * Where a key is absent, the default is that of transformers' class. */
#include "model/import.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct hf_vision {
    int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_channels, image_size,
        patch_size, projection_dim;
    char *hidden_act;
    double layer_norm_eps, mlp_ratio;
    bool vision_use_head, qkv_bias, use_swiglu_ffn;
} hf_vision;

#define F(member, TYPE, ...) MM1_FIELD(hf_vision, member, TYPE, __VA_ARGS__)
#define COMMON_FIELDS(width, heads, patch, act, eps)                                                                   \
    F(hidden_size, I64, .def.i = (width), .min.i = 1, .max.i = 65536),                                                 \
        F(num_hidden_layers, I64, .def.i = 12, .max.i = 1024),                                                         \
        F(num_attention_heads, I64, .def.i = (heads), .min.i = 1, .max.i = 1024),                                      \
        F(num_channels, I64, .def.i = 3, .min.i = 3, .max.i = 3),                                                      \
        F(image_size, I64, .def.i = 224, .min.i = 1, .max.i = 8192),                                                   \
        F(patch_size, I64, .def.i = (patch), .min.i = 1, .max.i = 1024), F(hidden_act, STR, .def.s = (act)),           \
        F(layer_norm_eps, F64, .def.f = (eps), .max.f = 1)
static const mm1_field clip_fields[] = {
    COMMON_FIELDS(768, 12, 32, "quick_gelu", 1e-5),
    F(intermediate_size, I64, .def.i = 3072, .min.i = 1, .max.i = 1 << 20),
    F(projection_dim, I64, .def.i = 512, .min.i = 1, .max.i = 65536),
    {0},
};
static const mm1_field siglip_fields[] = {
    COMMON_FIELDS(768, 12, 16, "gelu_pytorch_tanh", 1e-6),
    F(intermediate_size, I64, .def.i = 3072, .min.i = 1, .max.i = 1 << 20),
    F(vision_use_head, BOOL, .def.i = 1),
    {0},
};
/* Idefics3's class of the same tower. */
static const mm1_field idefics3_fields[] = {
    COMMON_FIELDS(1152, 16, 32, "gelu_pytorch_tanh", 1e-6),
    F(intermediate_size, I64, .def.i = 3072, .min.i = 1, .max.i = 1 << 20),
    {0},
};
static const mm1_field dinov2_fields[] = {
    COMMON_FIELDS(768, 12, 14, "gelu", 1e-6),
    F(mlp_ratio, F64, .def.f = 4, .min.f = 0, .max.f = 64, .is_above_min = true),
    F(qkv_bias, BOOL, .def.i = 1),
    F(use_swiglu_ffn, BOOL, .def.i = 0),
    {0},
};
#undef F

/* ---- where the parameters are ---- */

#define LAYER "vision_model.encoder.layers.*."
#define HEAD  "vision_model.head."
/* Of CLIP and SigLIP alike: what one of them has not is not asked for. */
static const mm1_import_map tower_maps[] = {
    MM1_MAP_FOLDED("vision.patch.weight", MM1_LAYOUT_PATCHES, "vision_model.embeddings.patch_embedding.weight"),
    MM1_MAP("vision.patch.bias", "vision_model.embeddings.patch_embedding.bias"),
    MM1_MAP_FOLDED("vision.class_token", MM1_LAYOUT_VECTOR, "vision_model.embeddings.class_embedding"),
    MM1_MAP("vision.pos", "vision_model.embeddings.position_embedding.weight"),
    MM1_MAP("vision.pre_norm.weight", "vision_model.pre_layrnorm.weight"),
    MM1_MAP("vision.pre_norm.bias", "vision_model.pre_layrnorm.bias"),
    MM1_MAP("vision.layers.*.norm1.weight", LAYER "layer_norm1.weight"),
    MM1_MAP("vision.layers.*.norm1.bias", LAYER "layer_norm1.bias"),
    MM1_MAP("vision.layers.*.attn.qkv.weight", LAYER "self_attn.q_proj.weight", LAYER "self_attn.k_proj.weight",
            LAYER "self_attn.v_proj.weight"),
    MM1_MAP("vision.layers.*.attn.qkv.bias", LAYER "self_attn.q_proj.bias", LAYER "self_attn.k_proj.bias",
            LAYER "self_attn.v_proj.bias"),
    MM1_MAP("vision.layers.*.attn.out.weight", LAYER "self_attn.out_proj.weight"),
    MM1_MAP("vision.layers.*.attn.out.bias", LAYER "self_attn.out_proj.bias"),
    MM1_MAP("vision.layers.*.norm2.weight", LAYER "layer_norm2.weight"),
    MM1_MAP("vision.layers.*.norm2.bias", LAYER "layer_norm2.bias"),
    MM1_MAP("vision.layers.*.mlp.up.weight", LAYER "mlp.fc1.weight"),
    MM1_MAP("vision.layers.*.mlp.up.bias", LAYER "mlp.fc1.bias"),
    MM1_MAP("vision.layers.*.mlp.down.weight", LAYER "mlp.fc2.weight"),
    MM1_MAP("vision.layers.*.mlp.down.bias", LAYER "mlp.fc2.bias"),
    MM1_MAP("vision.norm.weight", "vision_model.post_layernorm.weight"),
    MM1_MAP("vision.norm.bias", "vision_model.post_layernorm.bias"),
    MM1_MAP_FOLDED("vision.head.query", MM1_LAYOUT_BATCH, HEAD "probe"),
    MM1_MAP("vision.head.qkv.weight", HEAD "attention.in_proj_weight"),
    MM1_MAP("vision.head.qkv.bias", HEAD "attention.in_proj_bias"),
    MM1_MAP("vision.head.out.weight", HEAD "attention.out_proj.weight"),
    MM1_MAP("vision.head.out.bias", HEAD "attention.out_proj.bias"),
    MM1_MAP("vision.head.norm.weight", HEAD "layernorm.weight"),
    MM1_MAP("vision.head.norm.bias", HEAD "layernorm.bias"),
    MM1_MAP("vision.head.mlp.up.weight", HEAD "mlp.fc1.weight"),
    MM1_MAP("vision.head.mlp.up.bias", HEAD "mlp.fc1.bias"),
    MM1_MAP("vision.head.mlp.down.weight", HEAD "mlp.fc2.weight"),
    MM1_MAP("vision.head.mlp.down.bias", HEAD "mlp.fc2.bias"),
    MM1_MAP("vision.projection.weight", "visual_projection.weight"),
    {0},
};
static const char *const tower_idle[] = {"vision_model.embeddings.position_ids", NULL};
#undef LAYER
#undef HEAD

/* Beside the vision tower of a whole CLIP or SigLIP: the text tower and the scale of the comparison. */
const char *const mm1__import_whole_idle[] = {"vision_model.embeddings.position_ids",
                                              "text_model.embeddings.position_ids",
                                              "text_model.embeddings.position_embedding.weight",
                                              "text_model.embeddings.token_embedding.weight",
                                              MM1_TOWER_BLOCK("text_model.encoder.layers.*."),
                                              "text_model.final_layer_norm.weight",
                                              "text_model.final_layer_norm.bias",
                                              "text_model.head.weight",
                                              "text_model.head.bias",
                                              "text_projection.weight",
                                              "logit_scale",
                                              "logit_bias",
                                              NULL};

#define LAYER "encoder.layer.*."
#define DINOV2_COMMON                                                                                                  \
    MM1_MAP_FOLDED("vision.patch.weight", MM1_LAYOUT_PATCHES, "embeddings.patch_embeddings.projection.weight"),        \
        MM1_MAP("vision.patch.bias", "embeddings.patch_embeddings.projection.bias"),                                   \
        MM1_MAP_FOLDED("vision.class_token", MM1_LAYOUT_BATCH, "embeddings.cls_token"),                                \
        MM1_MAP_FOLDED("vision.pos", MM1_LAYOUT_BATCH, "embeddings.position_embeddings"),                              \
        MM1_MAP("vision.layers.*.norm1.weight", LAYER "norm1.weight"),                                                 \
        MM1_MAP("vision.layers.*.norm1.bias", LAYER "norm1.bias"),                                                     \
        MM1_MAP("vision.layers.*.attn.qkv.weight", LAYER "attention.attention.query.weight",                           \
                LAYER "attention.attention.key.weight", LAYER "attention.attention.value.weight"),                     \
        MM1_MAP("vision.layers.*.attn.qkv.bias", LAYER "attention.attention.query.bias",                               \
                LAYER "attention.attention.key.bias", LAYER "attention.attention.value.bias"),                         \
        MM1_MAP("vision.layers.*.attn.out.weight", LAYER "attention.output.dense.weight"),                             \
        MM1_MAP("vision.layers.*.attn.out.bias", LAYER "attention.output.dense.bias"),                                 \
        MM1_MAP("vision.layers.*.scale1", LAYER "layer_scale1.lambda1"),                                               \
        MM1_MAP("vision.layers.*.norm2.weight", LAYER "norm2.weight"),                                                 \
        MM1_MAP("vision.layers.*.norm2.bias", LAYER "norm2.bias"),                                                     \
        MM1_MAP("vision.layers.*.scale2", LAYER "layer_scale2.lambda1"),                                               \
        MM1_MAP("vision.norm.weight", "layernorm.weight"), MM1_MAP("vision.norm.bias", "layernorm.bias")
static const mm1_import_map dinov2_maps[] = {
    DINOV2_COMMON,
    MM1_MAP("vision.layers.*.mlp.up.weight", LAYER "mlp.fc1.weight"),
    MM1_MAP("vision.layers.*.mlp.up.bias", LAYER "mlp.fc1.bias"),
    MM1_MAP("vision.layers.*.mlp.down.weight", LAYER "mlp.fc2.weight"),
    MM1_MAP("vision.layers.*.mlp.down.bias", LAYER "mlp.fc2.bias"),
    {0},
};
/* With a gated MLP: the giant one. */
static const mm1_import_map dinov2_gated_maps[] = {
    DINOV2_COMMON,
    MM1_MAP("vision.layers.*.mlp.gate_up.weight", LAYER "mlp.weights_in.weight"),
    MM1_MAP("vision.layers.*.mlp.gate_up.bias", LAYER "mlp.weights_in.bias"),
    MM1_MAP("vision.layers.*.mlp.down.weight", LAYER "mlp.weights_out.weight"),
    MM1_MAP("vision.layers.*.mlp.down.bias", LAYER "mlp.weights_out.bias"),
    {0},
};
/* What stood for hidden patches in training. */
static const char *const dinov2_idle[] = {"embeddings.mask_token", NULL};
#undef DINOV2_COMMON
#undef LAYER

/* ---- what the configuration means ---- */

/* What all of them have in common. */
static mm1_status to_vision(mm1_vision_config *c, const hf_vision *v, const mm1_yaml_node *map, mm1_error *err)
{
    c->image_size = v->image_size;
    c->patch_size = v->patch_size;
    c->width = v->hidden_size;
    c->n_layers = v->num_hidden_layers;
    c->n_heads = v->num_attention_heads;
    c->mlp_width = v->intermediate_size;
    c->norm_eps = v->layer_norm_eps;
    c->cut_edge = v->image_size % v->patch_size != 0;
    return mm1__import_act(map, "hidden_act", v->hidden_act, &c->act, err);
}

mm1_status mm1__import_clip_vision(mm1_vision_config *c, mm1_import_part *part, mm1_yaml_node *map, bool projected,
                                   mm1_error *err)
{
    /* Old files say of every part whether words are tied. */
    static const char *const idle[] = {"initializer_factor", "dropout", "tie_word_embeddings", NULL};
    hf_vision v = {0};
    mm1__import_take_all(map, idle);
    mm1_status st = mm1__import_fields(clip_fields, &v, map, err);
    st = st != MM1_OK ? st : to_vision(c, &v, map, err);
    c->class_token = c->pre_norm = true;
    c->patch_bias = false;
    c->pool = MM1_VISION_POOL_CLASS;
    c->projection = projected ? v.projection_dim : 0;
    *part = (mm1_import_part){.maps = tower_maps};
    mm1_fields_deinit(clip_fields, &v);
    return st;
}

mm1_status mm1__import_siglip_vision(mm1_vision_config *c, mm1_import_part *part, mm1_yaml_node *map, mm1_error *err)
{
    hf_vision v = {0};
    (void)mm1_yaml_take(map, "tie_word_embeddings");
    mm1_status st = mm1__import_fields(siglip_fields, &v, map, err);
    st = st != MM1_OK ? st : to_vision(c, &v, map, err);
    c->pool = v.vision_use_head ? MM1_VISION_POOL_ATTENTION : MM1_VISION_POOL_NONE;
    *part = (mm1_import_part){.maps = tower_maps};
    mm1_fields_deinit(siglip_fields, &v);
    return st;
}

mm1_status mm1__import_idefics3_vision(mm1_vision_config *c, mm1_import_part *part, mm1_yaml_node *map, mm1_error *err)
{
    hf_vision v = {0};
    mm1_status st = mm1__import_fields(idefics3_fields, &v, map, err);
    st = st != MM1_OK ? st : to_vision(c, &v, map, err);
    c->pool = MM1_VISION_POOL_NONE;
    *part = (mm1_import_part){.maps = tower_maps};
    mm1_fields_deinit(idefics3_fields, &v);
    return st;
}

/* The width of an MLP as DINOv2 has it. */
static int64_t dinov2_width(int64_t width, double ratio, bool gated)
{
    const int64_t hidden = (int64_t)((double)width * ratio);
    /* Gated, two thirds of it, up to a multiple of 8. */
    return gated ? ((int64_t)((double)(hidden * 2) / 3.0) + 7) / 8 * 8 : hidden;
}

static mm1_status read_dinov2_vision(mm1_vision_config *c, mm1_import_part *part, mm1_yaml_node *map, mm1_error *err)
{
    /* Of training, of hidden patches, and of those who use it as a backbone. */
    static const char *const idle[] = {"hidden_dropout_prob",
                                       "attention_probs_dropout_prob",
                                       "drop_path_rate",
                                       "layerscale_value",
                                       "use_mask_token",
                                       "apply_layernorm",
                                       "reshape_hidden_states",
                                       "out_features",
                                       "out_indices",
                                       "stage_names",
                                       NULL};
    hf_vision v = {0};
    mm1__import_take_all(map, idle);
    mm1_status st = mm1__import_fields(dinov2_fields, &v, map, err);
    if (st == MM1_OK && !v.qkv_bias) {
        st = mm1__import_refuse(map, err, "qkv_bias false is not supported");
    }
    st = st != MM1_OK ? st : to_vision(c, &v, map, err);
    c->class_token = c->layer_scale = true;
    c->pool = MM1_VISION_POOL_CLASS;
    c->mlp_width = dinov2_width(v.hidden_size, v.mlp_ratio, v.use_swiglu_ffn);
    *part = (mm1_import_part){.maps = dinov2_maps};
    if (v.use_swiglu_ffn) { /* hidden_act is not used then */
        c->gated = true;
        c->act = MM1_ACT_SILU;
        part->maps = dinov2_gated_maps;
    }
    mm1_fields_deinit(dinov2_fields, &v);
    return st;
}

/* ---- and back ---- */

/* What all of them have in common; act: of DINOv2 with a gated MLP another name. */
static mm1_status put_common(json_t *map, const mm1_vision_config *c, mm1_error *err)
{
    const char *act = c->gated ? "gelu" : mm1__import_act_name(c->act);
    return mm1__import_add_keys(map,
                                json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f}", "hidden_size",
                                          (json_int_t)c->width, "num_hidden_layers", (json_int_t)c->n_layers,
                                          "num_attention_heads", (json_int_t)c->n_heads, "num_channels", (json_int_t)3,
                                          "image_size", (json_int_t)c->image_size, "patch_size",
                                          (json_int_t)c->patch_size, "hidden_act", act, "layer_norm_eps", c->norm_eps),
                                err);
}

mm1_status mm1__import_write_tower(const mm1_vision_config *c, mm1_import_part *part, json_t *map, mm1_error *err)
{
    const mm1_import_rule rules[] = {{mm1__import_act_name(c->act) != NULL, "model.vision.act"},
                                     {!c->gated, "model.vision.gated"},
                                     {!c->layer_scale, "model.vision.layer_scale"},
                                     {c->pre_norm == c->class_token, "model.vision.pre_norm"},
                                     {c->patch_bias != c->class_token, "model.vision.patch_bias"}};
    mm1_status st = mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    st = st != MM1_OK ? st : put_common(map, c, err);
    *part = (mm1_import_part){.maps = tower_maps};
    return st != MM1_OK
               ? st
               : mm1__import_add_keys(map, json_pack("{s:I}", "intermediate_size", (json_int_t)c->mlp_width), err);
}

/* An encoder alone whose features are the last ones, and what its pooled output is made of. */
static mm1_status check_encoder(const mm1_import *i, bool class_token, bool pool_holds, mm1_error *err)
{
    const mm1_vision_config *c = &i->config.vision;
    const mm1_import_rule rules[] = {{i->config.kind == MM1_MODEL_ENCODER, "model.kind"},
                                     {c->class_token == class_token, "model.vision.class_token"},
                                     {c->feature_layer == -1, "model.vision.feature_layer"},
                                     {pool_holds, "model.vision.pool"}};
    return mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
}

static mm1_status write_clip(mm1_import *i, json_t *map, mm1_error *err)
{
    const mm1_vision_config *c = &i->config.vision;
    mm1_status st = check_encoder(i, true, c->pool == MM1_VISION_POOL_CLASS, err);
    st = st != MM1_OK ? st : mm1__import_write_tower(c, &i->parts[0], map, err);
    i->n_parts = 1;
    return st != MM1_OK || c->projection == 0
               ? st
               : mm1__import_add_keys(map,
                                      json_pack("{s:I, s:[s]}", "projection_dim", (json_int_t)c->projection,
                                                "architectures", "CLIPVisionModelWithProjection"),
                                      err);
}

static mm1_status write_siglip(mm1_import *i, json_t *map, mm1_error *err)
{
    const mm1_vision_config *c = &i->config.vision;
    const bool has_head = c->pool == MM1_VISION_POOL_ATTENTION;
    mm1_status st = check_encoder(i, false, (has_head || c->pool == MM1_VISION_POOL_NONE) && c->projection == 0, err);
    st = st != MM1_OK ? st : mm1__import_write_tower(c, &i->parts[0], map, err);
    i->n_parts = 1;
    return st != MM1_OK ? st : mm1__import_add_keys(map, json_pack("{s:b}", "vision_use_head", (int)has_head), err);
}

/* The whole number that gives this width, which is what transformers expects; else a fraction; 0: there is none. */
static double dinov2_ratio(const mm1_vision_config *c)
{
    for (int ratio = 1; ratio <= 64; ratio++) {
        if (dinov2_width(c->width, ratio, c->gated) == c->mlp_width) {
            return ratio;
        }
    }
    const double ratio = (double)c->mlp_width / (double)c->width * (c->gated ? 1.5 : 1);
    return ratio < 64 && dinov2_width(c->width, ratio, c->gated) == c->mlp_width ? ratio : 0;
}

static mm1_status write_dinov2(mm1_import *i, json_t *map, mm1_error *err)
{
    const mm1_vision_config *c = &i->config.vision;
    const double ratio = dinov2_ratio(c);
    const mm1_import_rule rules[] = {
        {c->gated ? c->act == MM1_ACT_SILU : mm1__import_act_name(c->act) != NULL, "model.vision.act"},
        {c->layer_scale, "model.vision.layer_scale"},
        {!c->pre_norm, "model.vision.pre_norm"},
        {c->patch_bias, "model.vision.patch_bias"},
        {c->projection == 0, "model.vision.projection"},
        {ratio > 0, "model.vision.mlp_width"}};
    mm1_status st = check_encoder(i, true, c->pool == MM1_VISION_POOL_CLASS, err);
    st = st != MM1_OK ? st : mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    st = st != MM1_OK ? st : put_common(map, c, err);
    i->n_parts = 1;
    i->parts[0] = (mm1_import_part){.maps = c->gated ? dinov2_gated_maps : dinov2_maps};
    if (st != MM1_OK) {
        return st;
    }
    json_t *number = ratio == floor(ratio) ? json_integer((json_int_t)ratio) : json_real(ratio);
    return mm1__import_add_keys(map,
                                json_pack("{s:o, s:b, s:b, s:b}", "mlp_ratio", number, "qkv_bias", 1, "use_swiglu_ffn",
                                          (int)c->gated, "use_mask_token", 0),
                                err);
}

/* ---- folders ---- */

static bool has_architecture(const mm1_yaml_node *map, const char *name)
{
    const mm1_yaml_node *list = mm1_yaml_get(map, "architectures");
    for (const mm1_yaml_node *item = list != NULL ? list->first : NULL; item != NULL; item = item->next) {
        if (item->text != NULL && strcmp(item->text, name) == 0) {
            return true;
        }
    }
    return false;
}

mm1_status mm1__import_encoder_pictures(mm1_import *out, const mm1_yaml_node *map, const char *dir, bool any_size,
                                        mm1_error *err)
{
    int64_t px = 0;
    const mm1_status st = mm1__import_processor(&out->config.image, &px, dir, err);
    mm1_vision_config *c = &out->config.vision;
    if (st == MM1_OK && px != c->image_size && !any_size) {
        return mm1__import_refuse(map, err,
                                  "image_size is %lld, but preprocessor_config.json makes pictures of %lld px",
                                  (long long)c->image_size, (long long)px);
    }
    c->image_size = st == MM1_OK ? px : c->image_size;
    c->cut_edge = c->image_size % c->patch_size != 0;
    out->config.kind = MM1_MODEL_ENCODER;
    out->n_parts = 1;
    return st;
}

/* Older folders have all names of CLIP's and SigLIP's towers below "vision_model.", newer ones some of them not. */
static void add_namings(mm1_import_part *part)
{
    part->namings[1] = (mm1_import_naming){"vision_model.", ""};
}

static mm1_status read_clip(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    const bool projected = has_architecture(map, "CLIPVisionModelWithProjection");
    mm1__import_drop_idle(map);
    mm1_status st = mm1__import_clip_vision(&out->config.vision, &out->parts[0], map, projected, err);
    add_namings(&out->parts[0]);
    return st != MM1_OK ? st : mm1__import_encoder_pictures(out, map, dir, false, err);
}

static mm1_status read_siglip(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    mm1__import_drop_idle(map);
    mm1_status st = mm1__import_siglip_vision(&out->config.vision, &out->parts[0], map, err);
    add_namings(&out->parts[0]);
    return st != MM1_OK ? st : mm1__import_encoder_pictures(out, map, dir, false, err);
}

mm1_status mm1__import_take_part(mm1_yaml_node *map, const char *key, bool is_wanted, mm1_yaml_node **part,
                                 mm1_error *err)
{
    char again_key[40];
    (void)snprintf(again_key, sizeof again_key, "%s_dict", key);
    const mm1_yaml_node *again = mm1_yaml_take(map, again_key);
    *part = mm1_yaml_take(map, key);
    if (!is_wanted) {
        return MM1_OK;
    }
    if (*part == NULL || (*part)->kind != MM1_YAML_MAP) {
        return mm1__import_refuse(map, err, "has no %s", key);
    }
    /* Old files say some of it twice; the second has the last word, so it must say the same. */
    for (const mm1_yaml_node *x = again != NULL ? again->first : NULL; x != NULL; x = x->next) {
        const mm1_yaml_node *y = mm1_yaml_get(*part, x->key);
        if (x->text != NULL && strcmp(x->key, "transformers_version") != 0 &&
            (y == NULL || y->text == NULL || strcmp(x->text, y->text) != 0)) {
            return mm1__import_refuse(map, err, "%s: %.80s is not what %s says", again_key, x->key, key);
        }
    }
    return MM1_OK;
}

mm1_status mm1__import_take_vision(mm1_yaml_node *map, mm1_yaml_node **vision, mm1_error *err)
{
    mm1__import_drop_idle(map);
    (void)mm1_yaml_take(map, "initializer_factor");
    (void)mm1_yaml_take(map, "logit_scale_init_value");
    (void)mm1_yaml_take(map, "tie_word_embeddings");
    const mm1_status st = mm1__import_take_part(map, "vision_config", true, vision, err);
    if (st == MM1_OK) {
        mm1__import_drop_idle(*vision);
    }
    return st;
}

static mm1_status refuse_rest(const mm1_yaml_node *map, mm1_error *err)
{
    return map->first == NULL ? MM1_OK
                              : mm1__import_refuse(map, err, "key \"%.80s\" is not understood", map->first->key);
}

static mm1_status read_whole_siglip(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    mm1_yaml_node *vision = NULL, *text = NULL;
    mm1_status st = mm1__import_take_part(map, "text_config", false, &text, err);
    st = st != MM1_OK ? st : mm1__import_take_vision(map, &vision, err);
    st = st != MM1_OK ? st : refuse_rest(map, err);
    st = st != MM1_OK ? st : mm1__import_siglip_vision(&out->config.vision, &out->parts[0], vision, err);
    return st != MM1_OK ? st : mm1__import_encoder_pictures(out, map, dir, false, err);
}

static mm1_status read_dinov2(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    mm1__import_drop_idle(map);
    mm1_status st = read_dinov2_vision(&out->config.vision, &out->parts[0], map, err);
    return st != MM1_OK ? st : mm1__import_encoder_pictures(out, map, dir, true, err);
}

const mm1_architecture mm1__architecture_clip_vision = {.model_type = "clip_vision_model",
                                                        .class_name = "CLIPVisionModel",
                                                        .image_class = "CLIP",
                                                        .read = read_clip,
                                                        .write = write_clip,
                                                        .idle = tower_idle};
const mm1_architecture mm1__architecture_siglip_vision = {.model_type = "siglip_vision_model",
                                                          .class_name = "SiglipVisionModel",
                                                          .image_class = "Siglip",
                                                          .read = read_siglip,
                                                          .write = write_siglip,
                                                          .idle = tower_idle};
const mm1_architecture mm1__architecture_siglip = {
    .model_type = "siglip", .read = read_whole_siglip, .idle = mm1__import_whole_idle};
const mm1_architecture mm1__architecture_dinov2 = {.model_type = "dinov2",
                                                   .class_name = "Dinov2Model",
                                                   .image_class = "Bit",
                                                   .read = read_dinov2,
                                                   .write = write_dinov2,
                                                   .idle = dinov2_idle};

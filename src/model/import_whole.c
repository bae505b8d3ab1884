/* import_whole.c - whole multimodal models as Hugging Face transformers stores them: LLaVA-1.5, LLaVA-NeXT, Idefics3
 * and SmolVLM.  Encoder and decoder are those of their own rows; what is here is what stands between them.
 *
 * Names have changed over the years: "language_model.model." and "model.language_model.", with and without
 * "vision_model."; all are read. */
#include "model/import.h"

#include <math.h>
#include <string.h>

typedef struct hf_whole {
    char *projector_hidden_act, *vision_feature_select_strategy;
    int64_t vision_feature_layer, scale_factor;
    bool multimodal_projector_bias, tie_word_embeddings, use_image_newline_parameter;
} hf_whole;

#define F(member, TYPE, ...) MM1_FIELD(hf_whole, member, TYPE, __VA_ARGS__)
static const mm1_field llava_fields[] = {
    F(projector_hidden_act, STR, .def.s = "gelu"),
    F(vision_feature_select_strategy, STR, .def.s = "default"),
    F(vision_feature_layer, I64, .def.i = -2, .min.i = -1024, .max.i = 1024),
    F(multimodal_projector_bias, BOOL, .def.i = 1),
    F(use_image_newline_parameter, BOOL, .def.i = 1),
    F(tie_word_embeddings, BOOL),
    {0},
};
static const mm1_field idefics3_fields[] = {
    F(scale_factor, I64, .def.i = 2, .min.i = 1, .max.i = 64),
    F(tie_word_embeddings, BOOL),
    {0},
};
#undef F

/* ---- where the parameters are ---- */

static const mm1_import_map llava_maps[] = {
    MM1_MAP("connector.readout1.weight", "multi_modal_projector.linear_1.weight"),
    MM1_MAP("connector.readout1.bias", "multi_modal_projector.linear_1.bias"),
    MM1_MAP("connector.readout2.weight", "multi_modal_projector.linear_2.weight"),
    MM1_MAP("connector.readout2.bias", "multi_modal_projector.linear_2.bias"),
    MM1_MAP("connector.newline", "image_newline"),
    {0},
};
static const mm1_import_map idefics3_maps[] = {
    MM1_MAP("connector.readout.weight", "model.connector.modality_projection.proj.weight"),
    {0},
};

/* Decoder and tower have their maps already.  The first naming is the one that is written: every version of
 * transformers reads it. */
static void set_llava_parts(mm1_import *i)
{
    mm1_import_part *text = &i->parts[0], *vision = &i->parts[1];
    text->namings[0] = (mm1_import_naming){"", "language_model."};
    text->namings[1] = (mm1_import_naming){"model.", "model.language_model."};
    vision->namings[0] = (mm1_import_naming){"", "vision_tower."};
    vision->namings[1] = (mm1_import_naming){"", "model.vision_tower."};
    vision->namings[2] = (mm1_import_naming){"vision_model.", "model.vision_tower."};
    vision->namings[3] = (mm1_import_naming){"vision_model.", "vision_tower."};
    i->parts[2] = (mm1_import_part){.maps = llava_maps};
    i->parts[2].namings[1] = (mm1_import_naming){"", "model."};
    i->n_parts = 3;
}

static void set_idefics3_parts(mm1_import *i)
{
    i->parts[0].namings[0] = (mm1_import_naming){"model.", "model.text_model."};
    i->parts[1].namings[0] = (mm1_import_naming){"", "model."};
    i->parts[2] = (mm1_import_part){.maps = idefics3_maps};
    i->n_parts = 3;
}

/* Blocks of the encoder behind the one whose features are read, its last norm, and what llama's files may hold. */
static const char *const idle[] = {"vision_model.embeddings.position_ids",
                                   "vision_model.post_layernorm.weight",
                                   "vision_model.post_layernorm.bias",
                                   MM1_TOWER_BLOCK("vision_model.encoder.layers.*."),
                                   "model.layers.*.self_attn.rotary_emb.inv_freq",
                                   NULL};
static const char *const idefics3_idle[] = {"model.layers.*.self_attn.rotary_emb.inv_freq",
                                            "vision_model.embeddings.position_ids", NULL};

/* ---- what the configuration means ---- */

static mm1_status take_map(mm1_yaml_node *map, const char *key, mm1_yaml_node **out, mm1_error *err)
{
    *out = mm1_yaml_take(map, key);
    return *out != NULL && (*out)->kind == MM1_YAML_MAP ? MM1_OK
                                                        : mm1__import_refuse(map, err, "%s: is not there", key);
}

/* Whether input and output embeddings are one: what the decoder's part says, else what the whole says. */
static bool says_tied(const mm1_yaml_node *text)
{
    return mm1_yaml_get(text, "tie_word_embeddings") != NULL;
}

/* The decoder; *tie_said: its part speaks of tied embeddings. */
static mm1_status read_text(mm1_import *out, mm1_yaml_node *text, const char *dir, bool *tie_said, mm1_error *err)
{
    *tie_said = says_tied(text);
    return mm1__import_decoder(out, &out->parts[0], text, dir, err);
}

static mm1_status read_pictures(mm1_import *out, const char *dir, const mm1_yaml_node *map, mm1_image_mode mode,
                                mm1_error *err)
{
    int64_t px = 0;
    mm1_status st = mm1__import_processor(&out->config.image, &px, dir, err);
    if (st == MM1_OK && px != out->config.vision.image_size) {
        st = mm1__import_refuse(map, err, "the encoder reads %lld px, but the image processor makes tiles of %lld px",
                                (long long)out->config.vision.image_size, (long long)px);
    }
    if (st == MM1_OK && (mm1_image_mode)out->config.image.mode != mode) {
        st = mm1__import_refuse(map, err, "the image processor is not that of this kind of model");
    }
    return st;
}

/* CLIP's tower or SigLIP's, without its pooled output. */
static mm1_status read_tower(mm1_import *out, mm1_yaml_node *map, mm1_error *err)
{
    const mm1_yaml_node *type = mm1_yaml_take(map, "model_type");
    const char *name = type != NULL && type->text != NULL ? type->text : "(none)";
    mm1_vision_config *c = &out->config.vision;
    mm1_status st = MM1_OK;
    mm1__import_drop_idle(map);
    if (strcmp(name, "clip_vision_model") == 0) {
        (void)mm1_yaml_take(map, "vocab_size"); /* older files have the text tower's */
        st = mm1__import_clip_vision(c, &out->parts[1], map, false, err);
    } else if (strcmp(name, "siglip_vision_model") == 0) {
        st = mm1__import_siglip_vision(c, &out->parts[1], map, err);
    } else {
        st = mm1__import_refuse(map, err, "vision_config: model_type \"%.80s\" is not supported", name);
    }
    c->pool = MM1_VISION_POOL_NONE;
    c->projection = 0;
    return st;
}

static mm1_status to_llava(mm1_import *out, const hf_whole *w, const mm1_yaml_node *map, mm1_error *err)
{
    mm1_model_config *c = &out->config;
    /* Layer k of hidden states: k blocks have run.  The last one is without the norm in transformers. */
    const int64_t k =
        w->vision_feature_layer < 0 ? c->vision.n_layers + 1 + w->vision_feature_layer : w->vision_feature_layer;
    const bool drops_first = strcmp(w->vision_feature_select_strategy, "default") == 0;
    int act = 0;
    if (k < 1 || k >= c->vision.n_layers) {
        return mm1__import_refuse(map, err, "vision_feature_layer %lld of %lld blocks is not supported",
                                  (long long)w->vision_feature_layer, (long long)c->vision.n_layers);
    }
    if (drops_first != c->vision.class_token) {
        return mm1__import_refuse(map, err, "vision_feature_select_strategy \"%.40s\" does not fit this encoder",
                                  w->vision_feature_select_strategy);
    }
    if (!w->multimodal_projector_bias || !w->use_image_newline_parameter) {
        return mm1__import_refuse(map, err, "%s false is not supported",
                                  w->multimodal_projector_bias ? "use_image_newline_parameter"
                                                               : "multimodal_projector_bias");
    }
    const mm1_status st = mm1__import_act(map, "projector_hidden_act", w->projector_hidden_act, &act, err);
    if (st == MM1_OK && act != MM1_ACT_GELU) {
        return mm1__import_refuse(map, err, "projector_hidden_act \"%.40s\" is not supported; \"gelu\" is",
                                  w->projector_hidden_act);
    }
    c->kind = MM1_MODEL_MM1;
    c->vision.feature_layer = k - c->vision.n_layers - 1;
    c->connector.kind = MM1_CONNECTOR_MLP;
    c->connector.n_tokens = mm1_vision_grid(&c->vision) * mm1_vision_grid(&c->vision);
    return st;
}

static mm1_status read_llava_kind(mm1_import *out, mm1_yaml_node *map, const char *dir, bool next, mm1_error *err)
{
    /* The size of the vocabulary is said by the decoder's part. */
    static const char *const harmless[] = {"image_token_index", "image_token_id", "ignore_index",
                                           "image_seq_length",  "vocab_size",     NULL};
    hf_whole w = {0};
    mm1_yaml_node *text = NULL, *vision = NULL;
    bool tie_said = false;
    mm1__import_drop_idle(map);
    mm1__import_take_all(map, harmless);
    if (next) { /* the processor has them too, and is what makes tiles */
        (void)mm1_yaml_take(map, "image_grid_pinpoints");
    }
    mm1_status st = take_map(map, "text_config", &text, err);
    st = st != MM1_OK ? st : take_map(map, "vision_config", &vision, err);
    st = st != MM1_OK ? st : mm1__import_fields(llava_fields, &w, map, err);
    st = st != MM1_OK ? st : read_text(out, text, dir, &tie_said, err);
    st = st != MM1_OK ? st : read_tower(out, vision, err);
    st = st != MM1_OK ? st : to_llava(out, &w, map, err);
    st = st != MM1_OK ? st : read_pictures(out, dir, map, next ? MM1_IMAGE_ANYRES : MM1_IMAGE_PLAIN, err);
    out->config.decoder.tie_embeddings = tie_said ? out->config.decoder.tie_embeddings : w.tie_word_embeddings;
    set_llava_parts(out);
    mm1_fields_deinit(llava_fields, &w);
    return st;
}

static mm1_status read_llava(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    return read_llava_kind(out, map, dir, false, err);
}

static mm1_status read_llava_next(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    return read_llava_kind(out, map, dir, true, err);
}

/* Idefics3 finds the position of a patch as a bucket of its fractional coordinate, in f32.  For some grids (25, but not
 * 24, 26, 27 or 32) a rounding error puts a patch into the bucket before its own. */
static bool has_plain_positions(int64_t grid)
{
    const float step = 1.0F / (float)grid;
    for (int64_t i = 0; i < grid; i++) {
        const float x = fminf((float)i * step, 1.0F - 1e-6F);
        int64_t bucket = 0;
        for (int64_t b = 1; b < grid; b++) {
            const double edge = 1.0 / (double)grid + (double)(b - 1) * (1.0 / (double)grid);
            bucket += (float)edge <= x;
        }
        if (bucket != i) {
            return false;
        }
    }
    return true;
}

static mm1_status read_idefics3_tower(mm1_import *out, mm1_yaml_node *map, mm1_error *err)
{
    static const char *const harmless[] = {"max_image_size", "size", "tie_word_embeddings", "use_base_siglip", NULL};
    mm1_vision_config *c = &out->config.vision;
    mm1__import_drop_idle(map);
    mm1__import_take_all(map, harmless);
    const mm1_status st = mm1__import_idefics3_vision(c, &out->parts[1], map, err);
    if (st == MM1_OK && !has_plain_positions(mm1_vision_grid(c))) {
        return mm1__import_refuse(map, err,
                                  "a grid of %lld x %lld patches is not supported: transformers gives some of them the "
                                  "position of a neighbour",
                                  (long long)mm1_vision_grid(c), (long long)mm1_vision_grid(c));
    }
    return st;
}

/* The decoder's part of the released models was written by the class that they were trained with, which could do more:
 * what it did not use, and what the whole says again. */
static mm1_status drop_lineage(mm1_yaml_node *text, mm1_error *err)
{
    static const char *const harmless[] = {"neftune_noise_alpha", "perceiver_config", "pixel_shuffle_factor", NULL};
    static const char *const unused[] = {"qk_layer_norms", "use_resampler"};
    mm1__import_take_all(text, harmless);
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++) {
        const mm1_yaml_node *node = mm1_yaml_take(text, unused[i]);
        if (node != NULL && (node->text == NULL || strcmp(node->text, "false") != 0)) {
            return mm1__import_refuse(text, err, "text_config: %s is not supported", unused[i]);
        }
    }
    return MM1_OK;
}

static mm1_status read_idefics3(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    static const char *const harmless[] = {"image_token_id", "_pad_token_id", "use_reentrant_checkpointing",
                                           "vocab_size", NULL};
    hf_whole w = {0};
    mm1_yaml_node *text = NULL, *vision = NULL;
    bool tie_said = false;
    mm1__import_drop_idle(map);
    mm1__import_take_all(map, harmless);
    mm1_status st = take_map(map, "text_config", &text, err);
    st = st != MM1_OK ? st : take_map(map, "vision_config", &vision, err);
    st = st != MM1_OK ? st : mm1__import_fields(idefics3_fields, &w, map, err);
    st = st != MM1_OK ? st : drop_lineage(text, err);
    st = st != MM1_OK ? st : read_text(out, text, dir, &tie_said, err);
    st = st != MM1_OK ? st : read_idefics3_tower(out, vision, err);
    st = st != MM1_OK ? st : read_pictures(out, dir, map, MM1_IMAGE_SPLITS, err);
    const int64_t grid = st == MM1_OK ? mm1_vision_grid(&out->config.vision) : 0;
    if (st == MM1_OK && grid % w.scale_factor != 0) {
        st = mm1__import_refuse(map, err, "scale_factor %lld does not divide %lld patches", (long long)w.scale_factor,
                                (long long)grid);
    }
    out->config.kind = MM1_MODEL_MM1;
    out->config.connector.kind = MM1_CONNECTOR_PIXEL_SHUFFLE;
    out->config.connector.n_tokens = st == MM1_OK ? (grid / w.scale_factor) * (grid / w.scale_factor) : 1;
    out->config.decoder.tie_embeddings = tie_said ? out->config.decoder.tie_embeddings : w.tie_word_embeddings;
    set_idefics3_parts(out);
    mm1_fields_deinit(idefics3_fields, &w);
    return st;
}

/* ---- and back ---- */

/* What all of them ask for, and the parts' keys.  vision: what is known of the tower already; owned. */
static mm1_status write_parts(mm1_import *i, mm1_connector_kind connector, mm1_image_mode mode, json_t *vision,
                              json_t *map, mm1_error *err)
{
    const mm1_model_config *c = &i->config;
    const mm1_import_rule rules[] = {{c->kind == MM1_MODEL_MM1, "model.kind"},
                                     {c->connector.kind == (int)connector, "model.connector.kind"},
                                     {c->image.mode == (int)mode, "model.image.mode"}};
    json_t *text = json_object();
    mm1_status st = mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    if (st == MM1_OK && (text == NULL || vision == NULL)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for config.json");
    }
    st = st != MM1_OK ? st : mm1__import_write_decoder(i, &i->parts[0], text, err);
    st = st != MM1_OK ? st : mm1__import_write_tower(&c->vision, &i->parts[1], vision, err);
    st = st != MM1_OK ? st
                      : mm1__import_add_keys(map,
                                             json_pack("{s:O, s:O, s:b}", "text_config", text, "vision_config", vision,
                                                       "tie_word_embeddings", (int)c->decoder.tie_embeddings),
                                             err);
    json_decref(text);
    json_decref(vision);
    return st;
}

static mm1_status write_llava_kind(mm1_import *i, json_t *map, bool next, mm1_error *err)
{
    const mm1_vision_config *v = &i->config.vision;
    json_t *vision = v->class_token
                         ? json_pack("{s:s}", "model_type", "clip_vision_model")
                         : json_pack("{s:s, s:b}", "model_type", "siglip_vision_model", "vision_use_head", 0);
    mm1_status st = write_parts(i, MM1_CONNECTOR_MLP, next ? MM1_IMAGE_ANYRES : MM1_IMAGE_PLAIN, vision, map, err);
    if (st == MM1_OK && v->feature_layer == -1) { /* is without the norm there */
        st = mm1_error_set(err, MM1_E_UNSUPPORTED, "model.vision.feature_layer");
    }
    if (st != MM1_OK) {
        return st;
    }
    set_llava_parts(i);
    return mm1__import_add_keys(
        map,
        json_pack("{s:s, s:s, s:I, s:b, s:I}", "projector_hidden_act", "gelu", "vision_feature_select_strategy",
                  v->class_token ? "default" : "full", "vision_feature_layer", (json_int_t)v->feature_layer,
                  "multimodal_projector_bias", 1, "image_seq_length", (json_int_t)i->config.connector.n_tokens),
        err);
}

static mm1_status write_llava(mm1_import *i, json_t *map, mm1_error *err)
{
    return write_llava_kind(i, map, false, err);
}

static mm1_status write_llava_next(mm1_import *i, json_t *map, mm1_error *err)
{
    mm1_status st = write_llava_kind(i, map, true, err);
    json_t *processor = json_object();
    st = st != MM1_OK ? st : mm1__import_write_processor(&i->config, "LlavaNext", processor, err);
    if (st == MM1_OK) { /* the model has them too */
        (void)json_object_set(map, "image_grid_pinpoints", json_object_get(processor, "image_grid_pinpoints"));
    }
    json_decref(processor);
    return st;
}

static mm1_status write_idefics3_kind(mm1_import *i, const char *vision_type, json_t *map, mm1_error *err)
{
    const mm1_vision_config *v = &i->config.vision;
    const int64_t grid = mm1_vision_grid(v);
    const mm1_status st = write_parts(i, MM1_CONNECTOR_PIXEL_SHUFFLE, MM1_IMAGE_SPLITS,
                                      json_pack("{s:s}", "model_type", vision_type), map, err);
    const mm1_import_rule rules[] = {{!v->class_token, "model.vision.class_token"},
                                     {v->feature_layer == -1, "model.vision.feature_layer"},
                                     {has_plain_positions(grid), "model.vision.image_size"}};
    if (st != MM1_OK) {
        return st;
    }
    const mm1_status held = mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    if (held != MM1_OK) {
        return held;
    }
    set_idefics3_parts(i);
    const int64_t side = llround(sqrt((double)i->config.connector.n_tokens));
    return mm1__import_add_keys(map, json_pack("{s:I}", "scale_factor", (json_int_t)(grid / side)), err);
}

static mm1_status write_idefics3(mm1_import *i, json_t *map, mm1_error *err)
{
    return write_idefics3_kind(i, "idefics3_vision", map, err);
}

static mm1_status write_smolvlm(mm1_import *i, json_t *map, mm1_error *err)
{
    return write_idefics3_kind(i, "smolvlm_vision", map, err);
}

const mm1_architecture mm1__architecture_llava = {.model_type = "llava",
                                                  .class_name = "LlavaForConditionalGeneration",
                                                  .image_class = "CLIP",
                                                  .processor_class = "LlavaProcessor",
                                                  .image_token_key = "image_token_index",
                                                  .read = read_llava,
                                                  .write = write_llava,
                                                  .idle = idle};
const mm1_architecture mm1__architecture_llava_next = {.model_type = "llava_next",
                                                       .class_name = "LlavaNextForConditionalGeneration",
                                                       .image_class = "LlavaNext",
                                                       .processor_class = "LlavaNextProcessor",
                                                       .image_token_key = "image_token_index",
                                                       .read = read_llava_next,
                                                       .write = write_llava_next,
                                                       .idle = idle};
const mm1_architecture mm1__architecture_idefics3 = {.model_type = "idefics3",
                                                     .class_name = "Idefics3ForConditionalGeneration",
                                                     .image_class = "Idefics3",
                                                     .processor_class = "Idefics3Processor",
                                                     .image_token_key = "image_token_id",
                                                     .read = read_idefics3,
                                                     .write = write_idefics3,
                                                     .idle = idefics3_idle};
const mm1_architecture mm1__architecture_smolvlm = {.model_type = "smolvlm",
                                                    .class_name = "SmolVLMForConditionalGeneration",
                                                    .image_class = "SmolVLM",
                                                    .processor_class = "SmolVLMProcessor",
                                                    .image_token_key = "image_token_id",
                                                    .read = read_idefics3,
                                                    .write = write_smolvlm,
                                                    .idle = idefics3_idle};

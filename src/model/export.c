/* export.c - see export.h. */
#include "model/export.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/import_gguf.h"
#include <stdio.h>
#include <string.h>

/* Stands for a picture in the texts of transformers; here pictures are no text. */
#define IMAGE_TOKEN "<image>"

/* ---- which architecture ---- */

/* map receives the keys of the configuration. */
static mm1_status try_architecture(const mm1_model *m, const mm1_architecture *a, mm1_import *out, json_t **map,
                                   mm1_error *err)
{
    *out = (mm1_import){.architecture = a, .config = m->config};
    *map = json_object();
    const mm1_status st = *map == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory") : a->write(out, *map, err);
    if (st != MM1_OK) {
        json_decref(*map);
        *map = NULL;
    }
    return st;
}

/* Whether it is the kind of model that does not fit. */
static bool is_of_kind(const mm1_error *reason)
{
    return strcmp(reason->message, "model.kind") == 0;
}

/* Adds why an architecture does not fit to the list. */
static void add_reason(char *reasons, size_t cap, size_t *len, const char *name, const mm1_error *reason)
{
    if (*len < cap && !is_of_kind(reason)) { /* that goes without saying */
        *len += (size_t)snprintf(reasons + *len, cap - *len, "%s%s (%s)", *len > 0 ? ", " : "", name, reason->message);
    }
}

/* The one that the model was read as comes first.  *map is NULL on failure. */
static mm1_status choose(const mm1_model *m, mm1_import *out, json_t **map, mm1_error *err)
{
    char reasons[MM1_ERROR_MESSAGE_BYTES] = "";
    size_t len = 0;
    mm1_status st = MM1_E_UNSUPPORTED;
    const mm1_architecture *a;
    *map = NULL;
    for (int i = 0; m->model_type != NULL && (a = mm1_import_architecture(i)) != NULL; i++) {
        if (a->write != NULL && strcmp(a->model_type, m->model_type) == 0) {
            mm1_error reason = {0};
            st = try_architecture(m, a, out, map, &reason);
            if (st == MM1_E_UNSUPPORTED && is_of_kind(&reason)) { /* a part of it was read */
                break;
            }
            if (st != MM1_OK && err != NULL) {
                *err = reason;
            }
            return st;
        }
    }
    st = MM1_E_UNSUPPORTED;
    for (int i = 0; st == MM1_E_UNSUPPORTED && (a = mm1_import_architecture(i)) != NULL; i++) {
        mm1_error reason = {0};
        if (a->write == NULL) {
            continue;
        }
        st = try_architecture(m, a, out, map, &reason);
        if (st == MM1_E_UNSUPPORTED) {
            add_reason(reasons, sizeof reasons, &len, a->model_type, &reason);
        } else if (st != MM1_OK && err != NULL) {
            *err = reason;
        }
    }
    return st != MM1_E_UNSUPPORTED ? st
                                   : mm1_error_set(err, st,
                                                   "no architecture of transformers holds this model; what each does "
                                                   "not have: %s",
                                                   len > 0 ? reasons : "model.kind");
}

/* ---- config.json and what stands beside it ---- */

static const mm1_token_roles *roles_of(const mm1_model *m)
{
    static const mm1_token_roles none = {.bos = -1, .pad = -1};
    return m->tokenizer != NULL ? mm1_tokenizer_roles(m->tokenizer) : &none;
}

static json_t *id_value(int32_t id)
{
    return id >= 0 ? json_integer(id) : json_null();
}

/* One id, or a list of several. */
static json_t *eos_value(const mm1_token_roles *roles)
{
    if (roles->n_eos <= 1) {
        return id_value(roles->n_eos == 1 ? roles->eos[0] : -1);
    }
    json_t *list = json_array();
    for (int32_t i = 0; i < roles->n_eos; i++) {
        (void)json_array_append_new(list, json_integer(roles->eos[i]));
    }
    return list;
}

static void set_name(json_t *map, const char *key, const mm1_tokenizer *t, int32_t id)
{
    size_t len = 0;
    const char *name = id >= 0 ? mm1_tokenizer_special_name(t, id, &len) : NULL;
    if (name != NULL) {
        (void)json_object_set_new(map, key, json_stringn(name, len));
    }
}

static mm1_status write_config(const mm1_model *m, const mm1_architecture *a, json_t *map, const char *dir,
                               mm1_dtype dtype, mm1_error *err)
{
    const char *type = dtype == MM1_DTYPE_BF16 ? "bfloat16" : dtype == MM1_DTYPE_F16 ? "float16" : "float32";
    if (json_object_get(map, "architectures") == NULL) {
        (void)json_object_set_new(map, "architectures", json_pack("[s]", a->class_name));
    }
    (void)json_object_set_new(map, "model_type", json_string(a->model_type));
    (void)json_object_set_new(map, "torch_dtype", json_string(type));
    if (mm1_model_config_has_tokenizer(&m->config)) {
        (void)json_object_set_new(map, "bos_token_id", id_value(roles_of(m)->bos));
        (void)json_object_set_new(map, "eos_token_id", eos_value(roles_of(m)));
        (void)json_object_set_new(map, "pad_token_id", id_value(roles_of(m)->pad));
    }
    json_t *text = json_object_get(map, "text_config");
    if (m->config.kind == MM1_MODEL_CLIP && text != NULL) {
        if (roles_of(m)->eos[0] == 2) { /* stands for the highest id there */
            return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: texts cannot end with the token of id 2", a->model_type);
        }
        (void)json_object_set_new(text, "bos_token_id", id_value(roles_of(m)->bos));
        (void)json_object_set_new(text, "eos_token_id", id_value(roles_of(m)->eos[0]));
        (void)json_object_set_new(text, "pad_token_id", id_value(roles_of(m)->pad));
    }
    if (a->image_token_key != NULL) {
        const int32_t id = m->tokenizer != NULL ? mm1_tokenizer_special_id(m->tokenizer, IMAGE_TOKEN) : -1;
        if (id < 0) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED,
                                 "a model of type %s needs a tokenizer with the special token \"%s\"", a->model_type,
                                 IMAGE_TOKEN);
        }
        (void)json_object_set_new(map, a->image_token_key, json_integer(id));
    }
    return mm1__model_write_json(json_incref(map), dir, "config.json", err);
}

/* How pictures are read, and of a whole model how they go among the tokens. */
static mm1_status write_pictures(const mm1_model *m, const mm1_architecture *a, const json_t *config, const char *dir,
                                 mm1_error *err)
{
    json_t *map = json_object();
    mm1_status st = a->image_class != NULL ? mm1__import_write_processor(&m->config, a->image_class, map, err) : MM1_OK;
    if (st != MM1_OK) {
        json_decref(map);
        return mm1_error_wrap(err, st, "%s", a->model_type);
    }
    if (a->image_class == NULL) {
        json_decref(map);
        return MM1_OK;
    }
    if (a->processor_class != NULL) {
        (void)json_object_set_new(map, "processor_class", json_string(a->processor_class));
    }
    st = mm1__model_write_json(map, dir, "preprocessor_config.json", err);
    if (st != MM1_OK || a->processor_class == NULL) {
        return st;
    }
    const json_t *strategy = json_object_get(config, "vision_feature_select_strategy");
    map = m->config.kind == MM1_MODEL_CLIP ? json_pack("{s:s}", "processor_class", a->processor_class)
          : strategy != NULL ? json_pack("{s:s, s:s, s:I, s:O, s:i}", "processor_class", a->processor_class,
                                         "image_token", IMAGE_TOKEN, "patch_size",
                                         (json_int_t)m->config.vision.patch_size, "vision_feature_select_strategy",
                                         strategy, "num_additional_image_tokens", (int)m->config.vision.class_token)
                             : json_pack("{s:s, s:I}", "processor_class", a->processor_class, "image_seq_len",
                                         (json_int_t)m->config.connector.n_tokens);
    return mm1__model_write_json(map, dir, "processor_config.json", err);
}

static mm1_status write_tokenizer_config(const mm1_model *m, const char *dir, mm1_error *err)
{
    if (m->tokenizer == NULL) {
        return MM1_OK;
    }
    const mm1_token_roles *roles = roles_of(m);
    const bool compares = m->config.kind == MM1_MODEL_CLIP;
    const int64_t longest = compares ? m->config.text.max_positions : m->config.decoder.max_positions;
    json_t *map = json_pack("{s:s, s:I, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "model_max_length",
                            (json_int_t)longest, "clean_up_tokenization_spaces", 0);
    if (map != NULL) {
        set_name(map, "bos_token", m->tokenizer, roles->bos);
        set_name(map, "eos_token", m->tokenizer, roles->n_eos > 0 ? roles->eos[0] : -1);
        set_name(map, "pad_token", m->tokenizer, roles->pad);
    }
    return mm1__model_write_json(map, dir, "tokenizer_config.json", err);
}

/* ---- weights ---- */

typedef struct tensors {
    mm1_safetensors_entry *items;
    float **copies; /* of what lies otherwise in the file; NULL where it is borrowed */
    size_t n, cap;
    mm1_dtype dtype;
} tensors;

static mm1_status grow(tensors *out, mm1_error *err)
{
    const size_t cap = out->cap == 0 ? 256 : 2 * out->cap;
    mm1_safetensors_entry *items = mm1_realloc(out->items, cap, sizeof *items);
    out->items = items != NULL ? items : out->items;
    float **copies = mm1_realloc(out->copies, cap, sizeof *copies);
    out->copies = copies != NULL ? copies : out->copies;
    if (items == NULL || copies == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a list of %zu tensors", cap);
    }
    out->cap = cap;
    return MM1_OK;
}

static mm1_status add_piece(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err)
{
    tensors *out = ctx;
    mm1_status st = out->n == out->cap ? grow(out, err) : MM1_OK;
    if (st != MM1_OK) {
        return st;
    }
    const bool whole = mm1_import_piece_is_whole(x);
    char *name = mm1_strdup(x->name);
    float *copy = whole ? NULL : mm1_alloc((size_t)(x->outer * x->rows * x->cols), sizeof *copy);
    if (name == NULL || (!whole && copy == NULL)) {
        mm1_free(name);
        mm1_free(copy);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to write '%s'", x->name);
    }
    if (!whole) {
        mm1_import_piece_copy(x, p, copy, false);
    }
    mm1_safetensors_entry *e = &out->items[out->n];
    *e = (mm1_safetensors_entry){.name = name,
                                 .dtype = out->dtype,
                                 .n_dims = x->n_dims,
                                 .data = whole ? mm1_import_piece_data(x, p) : copy,
                                 .is_f32 = true};
    memcpy(e->shape, x->shape, (size_t)x->n_dims * sizeof *e->shape);
    out->copies[out->n++] = copy;
    return MM1_OK;
}

/* ---- what transformers asks for beyond the model ---- */

/* The tower of an encoder in full: zeros, or what the source has. */
typedef struct tower {
    mm1_model full;
    const mm1_model *has;
} tower;

static mm1_status piece_is_there(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err)
{
    (void)p;
    (void)err;
    return mm1_weights_find(ctx, x->name) != NULL ? MM1_OK : MM1_E_STATE;
}

/* Values of what the model itself has no use of, as far as the files of the same architecture have them. */
static mm1_status read_unused(const tower *t, const mm1_architecture *a, const char *source, mm1_error *err)
{
    mm1_import from;
    mm1_weights w;
    mm1_model same = {0};
    mm1_status st = mm1_import_open(&from, &w, source, err);
    if (st != MM1_OK) {
        return st;
    }
    if (from.architecture == a) {
        from.resizes = true;
        st = mm1_model_init(&same, &from.config, err);
        st = st != MM1_OK ? st : mm1_import_check(&from, &same.params, &w, err); /* finds out how names begin */
        for (int64_t k = 0; st == MM1_OK && k < t->full.params.n_items; k++) {
            const mm1_param *p = t->full.params.items[k];
            if (mm1_params_find(&t->has->params, p->name) == NULL &&
                mm1_import_pieces(&from, p, piece_is_there, &w, NULL) == MM1_OK) {
                st = mm1_import_parameter(&from, p, &w, err);
            }
        }
        mm1_model_deinit(&same);
    }
    mm1_weights_close(&w);
    return st;
}

/* Blocks behind the one whose features are read, and the last norm. */
static mm1_status add_unused(tower *t, const mm1_import *i, const char *source, tensors *out, mm1_error *err)
{
    mm1_model_config c = t->has->config;
    if (c.kind != MM1_MODEL_MM1 || c.vision.feature_layer == -1) {
        return MM1_OK;
    }
    c.kind = MM1_MODEL_ENCODER;
    c.vision.feature_layer = -1;
    mm1_status st = mm1_model_init(&t->full, &c, err);
    st = st != MM1_OK ? st : mm1_params_alloc(&t->full.params, false, err);
    st = st != MM1_OK || source == NULL ? st : read_unused(t, i->architecture, source, err);
    for (int64_t k = 0; st == MM1_OK && k < t->full.params.n_items; k++) {
        const mm1_param *p = t->full.params.items[k];
        st = mm1_params_find(&t->has->params, p->name) == NULL ? mm1_import_pieces(i, p, add_piece, out, err) : MM1_OK;
    }
    return st;
}

static mm1_status write_weights(const mm1_model *m, const mm1_import *i, const char *source, const char *dir,
                                mm1_dtype dtype, mm1_error *err)
{
    tensors all = {.dtype = dtype};
    tower more = {.has = m};
    char *path = mm1_path_join(dir, "model.safetensors");
    const mm1_safetensors_pair format = {"format", "pt"}; /* transformers reads no other */
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir) : MM1_OK;
    for (int64_t k = 0; st == MM1_OK && k < m->params.n_items; k++) {
        st = mm1_import_pieces(i, m->params.items[k], add_piece, &all, err);
    }
    st = st != MM1_OK ? st : add_unused(&more, i, source, &all, err);
    st = st != MM1_OK ? st : mm1_safetensors_write(path, all.items, all.n, &format, 1, err);
    for (size_t k = 0; k < all.n; k++) {
        mm1_free((char *)(uintptr_t)all.items[k].name);
        mm1_free(all.copies[k]);
    }
    mm1_free(all.items);
    mm1_free(all.copies);
    mm1_model_deinit(&more.full);
    mm1_free(path);
    return st;
}

mm1_status mm1_export_hf(const mm1_model *m, const char *source, const char *dir, mm1_dtype dtype,
                         const char **model_type, mm1_error *err)
{
    mm1_import import;
    json_t *map;
    mm1_status st = choose(m, &import, &map, err);
    st = st != MM1_OK ? st : write_config(m, import.architecture, map, dir, dtype, err);
    st = st != MM1_OK ? st : write_pictures(m, import.architecture, map, dir, err);
    st = st != MM1_OK ? st : write_weights(m, &import, source, dir, dtype, err);
    st = st != MM1_OK ? st : mm1_model_save_tokenizer(m, dir, err);
    st = st != MM1_OK ? st : write_tokenizer_config(m, dir, err);
    if (st == MM1_OK && model_type != NULL) {
        *model_type = import.architecture->model_type;
    }
    json_decref(map);
    return st;
}

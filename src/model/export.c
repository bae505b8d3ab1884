/* export.c - see export.h. */
#include "model/export.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/import.h"
#include <stdio.h>
#include <string.h>

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
            return try_architecture(m, a, out, map, err);
        }
    }
    for (int i = 0; st == MM1_E_UNSUPPORTED && (a = mm1_import_architecture(i)) != NULL; i++) {
        mm1_error reason = {0};
        if (a->write == NULL) {
            continue;
        }
        st = try_architecture(m, a, out, map, &reason);
        if (st == MM1_E_UNSUPPORTED && len < sizeof reasons) {
            len += (size_t)snprintf(reasons + len, sizeof reasons - len, "%s%s (%s)", len > 0 ? ", " : "",
                                    a->model_type, reason.message);
        } else if (st != MM1_OK && err != NULL) {
            *err = reason;
        }
    }
    return st != MM1_E_UNSUPPORTED ? st
                                   : mm1_error_set(err, st,
                                                   "no architecture of transformers holds this model; what each does "
                                                   "not have: %s",
                                                   reasons);
}

/* ---- config.json, tokenizer_config.json ---- */

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
    (void)json_object_set_new(map, "architectures", json_pack("[s]", a->class_name));
    (void)json_object_set_new(map, "model_type", json_string(a->model_type));
    (void)json_object_set_new(map, "torch_dtype", json_string(type));
    (void)json_object_set_new(map, "bos_token_id", id_value(roles_of(m)->bos));
    (void)json_object_set_new(map, "eos_token_id", eos_value(roles_of(m)));
    (void)json_object_set_new(map, "pad_token_id", id_value(roles_of(m)->pad));
    return mm1__model_write_json(json_incref(map), dir, "config.json", err);
}

static mm1_status write_tokenizer_config(const mm1_model *m, const char *dir, mm1_error *err)
{
    if (m->tokenizer == NULL) {
        return MM1_OK;
    }
    const mm1_token_roles *roles = roles_of(m);
    json_t *map = json_pack("{s:s, s:I, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "model_max_length",
                            (json_int_t)m->config.decoder.max_positions, "clean_up_tokenization_spaces", 0);
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

static mm1_status write_weights(const mm1_model *m, const mm1_import *i, const char *dir, mm1_dtype dtype,
                                mm1_error *err)
{
    tensors all = {.dtype = dtype};
    char *path = mm1_path_join(dir, "model.safetensors");
    const mm1_safetensors_pair format = {"format", "pt"}; /* transformers reads no other */
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir) : MM1_OK;
    for (int64_t k = 0; st == MM1_OK && k < m->params.n_items; k++) {
        st = mm1_import_pieces(i, m->params.items[k], add_piece, &all, err);
    }
    st = st != MM1_OK ? st : mm1_safetensors_write(path, all.items, all.n, &format, 1, err);
    for (size_t k = 0; k < all.n; k++) {
        mm1_free((char *)(uintptr_t)all.items[k].name);
        mm1_free(all.copies[k]);
    }
    mm1_free(all.items);
    mm1_free(all.copies);
    mm1_free(path);
    return st;
}

mm1_status mm1_export_hf(const mm1_model *m, const char *dir, mm1_dtype dtype, const char **model_type, mm1_error *err)
{
    mm1_import import;
    json_t *map;
    mm1_status st = choose(m, &import, &map, err);
    st = st != MM1_OK ? st : write_config(m, import.architecture, map, dir, dtype, err);
    st = st != MM1_OK ? st : write_weights(m, &import, dir, dtype, err);
    st = st != MM1_OK ? st : mm1_model_save_tokenizer(m, dir, err);
    st = st != MM1_OK ? st : write_tokenizer_config(m, dir, err);
    if (st == MM1_OK && model_type != NULL) {
        *model_type = import.architecture->model_type;
    }
    json_decref(map);
    return st;
}

/* lora.c - see lora.h. */
#include "model/lora.h"

#include "base/alloc.h"
#include "base/file.h"
#include "kernels/gemm.h"
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_JSON_BYTES = 1 << 24, NAME_BYTES = 256 };

#define A_NAME "lora_A"
#define B_NAME "lora_B"

static const char all_of_decoder[] = "decoder.layers.*";

const mm1_field mm1__lora_fields[] = {
    MM1_FIELD(mm1_lora_config, rank, I64, .def.i = 0, .min.i = 0, .max.i = 4096,
              .help = "of adapters beside linear layers, which alone are trained; 0: there are none"),
    MM1_FIELD(mm1_lora_config, alpha, F64, .def.f = 16, .min.f = 0, .max.f = 1e6, .is_above_min = true,
              .help = "what adapters add is times alpha / rank"),
    MM1_FIELD_ITEMS_OF(mm1_lora_config, targets, n_targets, STR, .max_items = 64,
                       .help =
                           "patterns of the layers that get adapters, as \"decoder.*.qkv\" (`mm1 inspect --tensors` "
                           "lists them); none: every linear layer of the decoder's blocks"),
    {0},
};

/* ---- which layers ---- */

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), n_end = strlen(end);
    return n > n_end && strcmp(name + n - n_end, end) == 0;
}

/* Weights that the operators of linear layers and MLPs read. */
static bool is_linear(const mm1_model *m, const mm1_param *item)
{
    const mm1_tensor *w = &item->tensor;
    return w->rank == 2 && item->decay && ends_with(item->name, ".weight") && w != m->decoder.embed &&
           w != m->decoder.head && w != m->text.embed && !ends_with(item->name, ".router.weight") &&
           !ends_with(item->name, ".conv2.weight");
}

/* "decoder.layers.0.attn.qkv" */
static void layer_name(const mm1_param *item, char *name, size_t cap)
{
    (void)snprintf(name, cap, "%.*s", (int)(strlen(item->name) - strlen(".weight")), item->name);
}

static bool names(const char *pattern, const mm1_param *item)
{
    char name[NAME_BYTES];
    layer_name(item, name, sizeof name);
    return fnmatch(pattern, name, 0) == 0;
}

static mm1_status check_targets(const mm1_model *m, const char *const *targets, size_t n, mm1_error *err)
{
    for (size_t k = 0; k < n; k++) {
        bool found = false;
        for (int64_t i = 0; i < m->params.n_items; i++) {
            found = found || (is_linear(m, m->params.items[i]) && names(targets[k], m->params.items[i]));
        }
        if (!found) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "lora.targets: \"%.80s\" names no linear layer; `mm1 inspect --tensors` lists them",
                                 targets[k]);
        }
    }
    return MM1_OK;
}

static mm1_status add_adapter(mm1_model *m, int64_t i, mm1_lora *to, mm1_error *err)
{
    mm1_param *item = m->params.items[i];
    const int64_t r = m->lora.rank, M = item->tensor.dims[0], K = item->tensor.dims[1];
    char name[NAME_BYTES];
    layer_name(item, name, sizeof name);
    /* a: the variance of what PEFT draws, which is uniform in +-1 / sqrt(K). */
    to->a = mm1_params_add(&m->params, item->group, MM1_INIT_NORMAL, 1 / sqrt(3 * (double)K), true, 2,
                           (int64_t[]){r, K}, "%s." A_NAME ".weight", name);
    to->b = mm1_params_add(&m->params, item->group, MM1_INIT_ZEROS, 0, true, 2, (int64_t[]){M, r},
                           "%s." B_NAME ".weight", name);
    to->scale = (float)(m->lora.alpha / (double)r);
    if (to->a == NULL || to->b == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the adapters");
    }
    item->tensor.lora = to;
    return MM1_OK;
}

mm1_status mm1_lora_add(mm1_model *m, const mm1_lora_config *c, mm1_error *err)
{
    const char *const usual[] = {all_of_decoder};
    const char *const *targets = c->n_targets > 0 ? (const char *const *)c->targets : usual;
    const size_t n_targets = c->n_targets > 0 ? c->n_targets : 1;
    const int64_t n_own = m->params.n_items;
    if (c->rank == 0) {
        return MM1_OK;
    }
    mm1_status st = check_targets(m, targets, n_targets, err);
    if (st != MM1_OK) {
        return st;
    }
    m->lora.items = mm1_calloc((size_t)n_own, sizeof *m->lora.items);
    if (m->lora.items == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the adapters");
    }
    m->lora.rank = c->rank;
    m->lora.alpha = c->alpha;
    m->lora.n_own = n_own;
    for (int64_t i = 0; st == MM1_OK && i < n_own; i++) {
        bool wanted = false;
        for (size_t k = 0; k < n_targets && is_linear(m, m->params.items[i]); k++) {
            wanted = wanted || names(targets[k], m->params.items[i]);
        }
        st = wanted ? add_adapter(m, i, &m->lora.items[m->lora.n++], err) : MM1_OK;
    }
    mm1_lora_freeze_base(m);
    return st;
}

void mm1_lora_freeze_base(mm1_model *m)
{
    for (int64_t i = 0; m->lora.rank > 0 && i < m->lora.n_own; i++) {
        m->params.items[i]->tensor.needs_grad = false;
    }
}

void mm1_lora_merge(mm1_model *m)
{
    for (int64_t i = 0; m->lora.rank > 0 && i < m->lora.n_own; i++) {
        mm1_tensor *w = &m->params.items[i]->tensor;
        if (w->lora != NULL) {
            mm1_gemm(&(mm1_gemm_args){.M = w->dims[0],
                                      .N = w->dims[1],
                                      .K = m->lora.rank,
                                      .a = w->lora->b->data,
                                      .lda = m->lora.rank,
                                      .b = w->lora->a->data,
                                      .ldb = w->dims[1],
                                      .c = w->data,
                                      .ldc = w->dims[1],
                                      .acc = true,
                                      .alpha = w->lora->scale});
            w->lora = NULL;
        }
    }
    if (m->lora.rank > 0) {
        mm1_params_truncate(&m->params, m->lora.n_own);
    }
    mm1_free(m->lora.items);
    m->lora = (mm1_model_lora){0};
}

/* ---- folders ---- */

/* "base_model.model.decoder.layers.0.attn.qkv.lora_A.weight" */
static void file_name(const mm1_param *item, char *name, size_t cap)
{
    (void)snprintf(name, cap, "base_model.model.%s", item->name);
}

static mm1_status save_values(const mm1_model *m, const char *dir, mm1_error *err)
{
    const size_t n = (size_t)(m->params.n_items - m->lora.n_own);
    char *path = mm1_path_join(dir, "adapter_model.safetensors");
    mm1_safetensors_entry *entries = mm1_calloc(n, sizeof *entries);
    char(*file_names)[NAME_BYTES] = mm1_calloc(n, sizeof *file_names);
    const mm1_safetensors_pair format = {"format", "pt"};
    mm1_status st = path == NULL || entries == NULL || file_names == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to write adapters", dir)
                        : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const mm1_param *item = m->params.items[m->lora.n_own + (int64_t)i];
        file_name(item, file_names[i], NAME_BYTES);
        entries[i] = (mm1_safetensors_entry){.name = file_names[i],
                                             .dtype = MM1_DTYPE_F32,
                                             .n_dims = 2,
                                             .shape = {item->tensor.dims[0], item->tensor.dims[1]},
                                             .data = item->tensor.data};
    }
    st = st != MM1_OK ? st : mm1_safetensors_write(path, entries, n, &format, 1, err);
    mm1_free(file_names);
    mm1_free(entries);
    mm1_free(path);
    return st;
}

static mm1_status save_config(const mm1_model *m, const char *base, const char *dir, mm1_error *err)
{
    json_t *targets = json_array();
    for (int64_t i = 0; i < m->lora.n_own; i++) {
        char name[NAME_BYTES];
        if (m->params.items[i]->tensor.lora != NULL) {
            layer_name(m->params.items[i], name, sizeof name);
            (void)json_array_append_new(targets, json_string(name));
        }
    }
    /* A folder that is there is found from wherever the adapters are read. */
    char *whole = realpath(base, NULL);
    json_t *root = json_pack("{s:s, s:s, s:I, s:f, s:f, s:s, s:o, s:s, s:b}", "peft_type", "LORA",
                             "base_model_name_or_path", whole != NULL ? whole : base, "r", (json_int_t)m->lora.rank,
                             "lora_alpha", m->lora.alpha, "lora_dropout", 0.0, "bias", "none", "target_modules",
                             targets, "task_type", "CAUSAL_LM", "inference_mode", 1);
    free(whole);
    return mm1__model_write_json(root, dir, "adapter_config.json", err);
}

mm1_status mm1_lora_save(const mm1_model *m, const char *base, const char *dir, mm1_error *err)
{
    mm1_status st = mm1_model_config_write(&m->config, dir, err);
    st = st != MM1_OK ? st : mm1_model_save_tokenizer(m, dir, err);
    st = st != MM1_OK ? st : save_config(m, base, dir, err);
    return st != MM1_OK ? st : save_values(m, dir, err);
}

mm1_status mm1_lora_load(mm1_model *m, const char *dir, mm1_error *err)
{
    const size_t n = (size_t)(m->params.n_items - m->lora.n_own);
    mm1_safetensors *sf = NULL;
    char *path = mm1_path_join(dir, "adapter_model.safetensors");
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read adapters", dir)
                                 : mm1_safetensors_open(&sf, path, err);
    if (st == MM1_OK && mm1_safetensors_n(sf) != n) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: %zu tensors; the adapters of these layers are %zu", path,
                           mm1_safetensors_n(sf), n);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const mm1_param *item = m->params.items[m->lora.n_own + (int64_t)i];
        const mm1_safetensors_tensor *t = NULL;
        char name[NAME_BYTES];
        file_name(item, name, sizeof name);
        st = mm1_safetensors_get(sf, name, 2, item->tensor.dims, &t, err);
        st = st != MM1_OK ? st : mm1_safetensors_to_f32(t, item->tensor.data, err);
    }
    mm1_safetensors_close(sf);
    mm1_free(path);
    return st;
}

bool mm1_lora_is_folder(const char *path)
{
    char *config = mm1_path_join(path, "adapter_config.json");
    const bool is_there = config != NULL && mm1_path_exists(config);
    mm1_free(config);
    return is_there;
}

/* The layers are those that the file of values has, by the names of the tensors. */
static mm1_status read_targets(mm1_lora_folder *out, const char *dir, mm1_error *err)
{
    static const char prefix[] = "base_model.model.", suffix[] = "." A_NAME ".weight";
    mm1_safetensors *sf = NULL;
    char *path = mm1_path_join(dir, "adapter_model.safetensors");
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read adapters", dir)
                                 : mm1_safetensors_open(&sf, path, err);
    const size_t n = st == MM1_OK ? mm1_safetensors_n(sf) : 0;
    out->config.targets = st == MM1_OK ? mm1_calloc(n, sizeof *out->config.targets) : NULL;
    if (st == MM1_OK && out->config.targets == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu names", path, n);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const char *name = mm1_safetensors_at(sf, i)->name;
        if (!ends_with(name, suffix)) {
            continue;
        }
        /* "base_model.model.lora_A.weight" has both, which share a point, and names no layer. */
        if (strncmp(name, prefix, strlen(prefix)) != 0 || !ends_with(name + strlen(prefix), suffix) ||
            strpbrk(name, "*?[\\") != NULL) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: \"%.100s\" is no name of an adapter", path, name);
            break;
        }
        char *layer = mm1_strdup(name + strlen(prefix));
        if (layer == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu names", path, n);
            break;
        }
        layer[strlen(layer) - strlen(suffix)] = '\0';
        out->config.targets[out->config.n_targets++] = layer;
    }
    if (st == MM1_OK && out->config.n_targets == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: there is no adapter in it", path);
    }
    mm1_safetensors_close(sf);
    mm1_free(path);
    return st;
}

/* As it stands, or below the folder of the adapters. */
static char *find_base(const char *base, const char *dir)
{
    char *beside = base[0] != '/' ? mm1_path_join(dir, base) : NULL;
    if (beside != NULL && !mm1_path_exists(base) && mm1_path_exists(beside)) {
        return beside;
    }
    mm1_free(beside);
    return mm1_strdup(base);
}

static bool is_set(const json_t *value)
{
    return json_is_true(value) || (json_is_array(value) && json_array_size(value) > 0) ||
           (json_is_object(value) && json_object_size(value) > 0);
}

mm1_status mm1_lora_open(mm1_lora_folder *out, const char *dir, mm1_error *err)
{
    /* What would change the result, and is not done here. */
    static const char *const refused[] = {"use_dora",     "use_rslora",    "modules_to_save",
                                          "rank_pattern", "alpha_pattern", "fan_in_fan_out"};
    char *path = mm1_path_join(dir, "adapter_config.json"), *text = NULL;
    size_t len = 0;
    json_t *root = NULL;
    json_error_t bad;
    *out = (mm1_lora_folder){0};
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir)
                                 : mm1_file_read(path, MAX_JSON_BYTES, &text, &len, err);
    if (st != MM1_OK) {
        goto out;
    }
    const char *type = NULL, *base = NULL;
    json_int_t rank = 0;
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    if (root == NULL ||
        json_unpack_ex(root, &bad, 0, "{s:s, s:s, s:I, s:F}", "peft_type", &type, "base_model_name_or_path", &base, "r",
                       &rank, "lora_alpha", &out->config.alpha) != 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
    } else if (strcmp(type, "LORA") != 0) {
        st = mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: adapters of type \"%.40s\"; LORA is read", path, type);
    } else if (rank < 1 || rank > 4096 || !(out->config.alpha > 0)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: rank %lld and alpha %g make no sense", path, (long long)rank,
                           out->config.alpha);
    }
    for (size_t i = 0; st == MM1_OK && i < sizeof refused / sizeof *refused; i++) {
        if (is_set(json_object_get(root, refused[i]))) {
            st = mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: \"%s\" is not understood", path, refused[i]);
        }
    }
    if (st == MM1_OK) {
        out->config.rank = rank;
        out->base = find_base(base, dir);
        st = out->base == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir) : read_targets(out, dir, err);
    }
out:
    if (st != MM1_OK) {
        mm1_lora_folder_deinit(out);
    }
    json_decref(root);
    mm1_free(text);
    mm1_free(path);
    return st;
}

void mm1_lora_folder_deinit(mm1_lora_folder *f)
{
    for (size_t i = 0; i < f->config.n_targets; i++) {
        mm1_free(f->config.targets[i]);
    }
    mm1_free(f->config.targets);
    mm1_free(f->base);
    *f = (mm1_lora_folder){0};
}

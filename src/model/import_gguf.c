/* import_gguf.c - see import_gguf.h. */
#include "model/import_gguf.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/gguf_tokenizer.h"
#include "model/roles.h"
#include "tensor/gguf.h"
#include "tensor/tensor.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = MM1_GGUF_MAX_NAME_BYTES + 1 };

#define LAYER "blk.*."
static const mm1_import_map decoder_maps[] = {
    MM1_MAP("decoder.embed.weight", "token_embd.weight"),
    MM1_MAP("decoder.layers.*.norm1.weight", LAYER "attn_norm.weight"),
    MM1_MAP_HEADS("decoder.layers.*.attn.qkv.weight", LAYER "attn_q.weight", LAYER "attn_k.weight",
                  LAYER "attn_v.weight"),
    MM1_MAP_HEADS("decoder.layers.*.attn.qkv.bias", LAYER "attn_q.bias", LAYER "attn_k.bias", LAYER "attn_v.bias"),
    MM1_MAP("decoder.layers.*.attn.q_norm.weight", LAYER "attn_q_norm.weight"),
    MM1_MAP("decoder.layers.*.attn.k_norm.weight", LAYER "attn_k_norm.weight"),
    MM1_MAP("decoder.layers.*.attn.out.weight", LAYER "attn_output.weight"),
    MM1_MAP("decoder.layers.*.attn.out.bias", LAYER "attn_output.bias"),
    MM1_MAP("decoder.layers.*.norm2.weight", LAYER "ffn_norm.weight"),
    MM1_MAP("decoder.layers.*.mlp.gate_up.weight", LAYER "ffn_gate.weight", LAYER "ffn_up.weight"),
    MM1_MAP("decoder.layers.*.mlp.gate_up.bias", LAYER "ffn_gate.bias", LAYER "ffn_up.bias"),
    MM1_MAP("decoder.layers.*.mlp.down.weight", LAYER "ffn_down.weight"),
    MM1_MAP("decoder.layers.*.mlp.down.bias", LAYER "ffn_down.bias"),
    MM1_MAP("decoder.norm.weight", "output_norm.weight"),
    MM1_MAP("decoder.head.weight", "output.weight"),
    {0},
};
#undef LAYER

/* Read by read_rope(). */
static const char rope_freqs[] = "rope_freqs.weight";
static const char *const idle[] = {rope_freqs, NULL};

static const struct gguf_architecture {
    mm1_architecture row;
    bool interleaves; /* rotary pairs side by side in queries and keys */
    bool normalises;  /* queries and keys of each head */
} architectures[] = {
    {.row = {.model_type = "llama", .idle = idle}, .interleaves = true},
    {.row = {.model_type = "qwen2", .idle = idle}},
    {.row = {.model_type = "qwen3", .idle = idle}, .normalises = true},
};
enum { N_ARCHITECTURES = sizeof architectures / sizeof *architectures };

/* Below "<architecture>.": what is read, and what says nothing or is checked to say nothing. */
static const char *const known_keys[] = {
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
};

bool mm1_path_is_gguf(const char *path)
{
    return strcmp(mm1_path_extension(path), ".gguf") == 0 && !mm1_path_is_dir(path);
}

const mm1_import_map *mm1__gguf_maps(const char *architecture)
{
    for (int i = 0; i < N_ARCHITECTURES; i++) {
        if (strcmp(architectures[i].row.model_type, architecture) == 0) {
            return decoder_maps;
        }
    }
    return NULL;
}

/* ---- configuration ---- */

typedef struct reader {
    const mm1_gguf *g;
    const struct gguf_architecture *architecture;
    mm1_error *err;
    char key[KEY_BYTES]; /* in full, of the last that was asked for */
} reader;

static bool has(reader *r, const char *name)
{
    (void)snprintf(r->key, sizeof r->key, "%s.%s", r->architecture->row.model_type, name);
    return mm1_gguf_value_find(r->g, r->key) != NULL;
}

static mm1_status refuse(const reader *r, const char *what)
{
    return mm1_error_set(r->err, MM1_E_UNSUPPORTED, "%s: key '%s' %s", mm1_gguf_path(r->g), r->key, what);
}

static mm1_status read_int(reader *r, const char *name, int64_t hi, int64_t *out)
{
    (void)has(r, name);
    return mm1_gguf_get_int(r->g, r->key, 0, hi, out, r->err);
}

/* *out stays if there is no such key. */
static mm1_status read_optional_int(reader *r, const char *name, int64_t hi, int64_t *out)
{
    return has(r, name) ? mm1_gguf_get_int(r->g, r->key, 0, hi, out, r->err) : MM1_OK;
}

static mm1_status read_optional_float(reader *r, const char *name, double *out)
{
    return has(r, name) ? mm1_gguf_get_float(r->g, r->key, out, r->err) : MM1_OK;
}

/* A key that, if it is there, must have the one value that the model computes with anyway. */
static mm1_status must_be(reader *r, const char *name, int64_t value)
{
    int64_t got = value;
    const mm1_status st = read_optional_int(r, name, INT64_MAX, &got);
    return st != MM1_OK || got == value
               ? st
               : mm1_error_set(r->err, MM1_E_UNSUPPORTED, "%s: key '%s' is %lld; only %lld is supported",
                               mm1_gguf_path(r->g), r->key, (long long)got, (long long)value);
}

static mm1_status find_architecture(reader *r)
{
    const char *name = NULL;
    mm1_status st = mm1_gguf_get_string(r->g, "general.architecture", &name, r->err);
    for (int i = 0; st == MM1_OK && i < N_ARCHITECTURES; i++) {
        if (strcmp(architectures[i].row.model_type, name) == 0) {
            r->architecture = &architectures[i];
        }
    }
    if (st == MM1_OK && r->architecture == NULL) {
        char known[100];
        size_t len = 0;
        for (int i = 0; i < N_ARCHITECTURES && len < sizeof known; i++) {
            len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i == 0 ? "" : ", ",
                                    architectures[i].row.model_type);
        }
        st = mm1_error_set(r->err, MM1_E_UNSUPPORTED, "%s: architecture \"%.80s\" is not supported; known are %s",
                           mm1_gguf_path(r->g), name, known);
    }
    return st;
}

/* Every key of the architecture is known, and the file is whole. */
static mm1_status check_keys(reader *r)
{
    int64_t n_files = 1;
    const size_t n_prefix = strlen(r->architecture->row.model_type);
    for (size_t i = 0; i < mm1_gguf_n_values(r->g); i++) {
        const char *key = mm1_gguf_value_at(r->g, i)->key;
        bool known = strncmp(key, r->architecture->row.model_type, n_prefix) != 0 || key[n_prefix] != '.';
        for (size_t k = 0; !known && k < sizeof known_keys / sizeof *known_keys; k++) {
            known = strcmp(key + n_prefix + 1, known_keys[k]) == 0;
        }
        if (!known) {
            (void)snprintf(r->key, sizeof r->key, "%s", key);
            return refuse(r, "is not understood, and may change what the model computes");
        }
    }
    if (mm1_gguf_value_find(r->g, "split.count") != NULL) {
        const mm1_status st = mm1_gguf_get_int(r->g, "split.count", 0, INT64_MAX, &n_files, r->err);
        if (st != MM1_OK || n_files > 1) {
            (void)snprintf(r->key, sizeof r->key, "split.count");
            return st != MM1_OK ? st : refuse(r, "says that the model is in several files; join them first");
        }
    }
    return MM1_OK;
}

static mm1_status read_head_dim(reader *r, mm1_decoder_config *c)
{
    c->head_dim = c->n_heads > 0 ? c->width / c->n_heads : 0;
    mm1_status st = read_optional_int(r, "attention.key_length", 1024, &c->head_dim);
    st = st != MM1_OK ? st : must_be(r, "attention.value_length", c->head_dim);
    return st != MM1_OK ? st : must_be(r, "rope.dimension_count", c->head_dim);
}

/* The factors by which frequencies are divided, if they are those that Llama 3.1 prescribes. */
static mm1_status read_rope_freqs(reader *r, const mm1_gguf_tensor *t, mm1_decoder_config *c)
{
    mm1_rope_scaling *s = &c->rope_scaling;
    const int64_t n = c->head_dim / 2;
    bool same = t->n_dims == 1 && t->shape[0] == n && n > 0 && t->format == MM1_QUANT_F32;
    if (same) {
        float last = 0;
        mm1_quant_to_f32(t->format, t->data + 4 * (n - 1), &last, 1);
        *s = (mm1_rope_scaling){.type = MM1_ROPE_LLAMA3,
                                .factor = (double)last,
                                .low_freq_factor = 1,
                                .high_freq_factor = 4,
                                .original_positions = 8192};
        same = last >= 1 && isfinite(last);
    }
    for (int64_t i = 0; same && i < n; i++) {
        float got = 0;
        mm1_quant_to_f32(t->format, t->data + 4 * i, &got, 1);
        const double rate = pow(c->rope_theta, -2.0 * (double)i / (double)c->head_dim);
        const double want = rate / mm1_rope_rate(rate, s);
        same = fabs((double)got - want) <= 1e-5 * want;
    }
    return same ? MM1_OK
                : mm1_error_set(r->err, MM1_E_UNSUPPORTED,
                                "%s: tensor '%s' stretches positions in another way than Llama 3.1 does",
                                mm1_gguf_path(r->g), t->name);
}

static mm1_status read_rope(reader *r, mm1_decoder_config *c)
{
    const char *type = "none";
    double factor = 1, attention = 1;
    c->rope_theta = 10000;
    mm1_status st = read_optional_float(r, "rope.freq_base", &c->rope_theta);
    st = st != MM1_OK ? st : read_optional_float(r, "rope.scaling.factor", &factor);
    st = st != MM1_OK ? st : read_optional_float(r, "rope.scaling.attn_factor", &attention);
    if (st == MM1_OK && attention != 1) {
        return refuse(r, "is not 1, which is not supported");
    }
    if (st == MM1_OK && has(r, "rope.scaling.type")) {
        st = mm1_gguf_get_string(r->g, r->key, &type, r->err);
    }
    if (st != MM1_OK) {
        return st;
    }
    if (strcmp(type, "linear") == 0 && factor != 1) {
        c->rope_scaling.type = MM1_ROPE_LINEAR;
        c->rope_scaling.factor = factor;
    } else if (strcmp(type, "none") != 0 && strcmp(type, "linear") != 0) {
        return mm1_error_set(r->err, MM1_E_UNSUPPORTED, "%s: key '%s' \"%.40s\" is not supported; none and linear are",
                             mm1_gguf_path(r->g), r->key, type);
    }
    const mm1_gguf_tensor *t = mm1_gguf_tensor_find(r->g, rope_freqs);
    if (t != NULL && c->rope_scaling.type != MM1_ROPE_PLAIN) {
        return refuse(r, "stretches positions, and so does a tensor 'rope_freqs.weight'");
    }
    return t != NULL ? read_rope_freqs(r, t, c) : MM1_OK;
}

/* What is said by which tensors there are. */
static mm1_status read_from_tensors(reader *r, mm1_decoder_config *c)
{
    const mm1_gguf_tensor *embed = mm1_gguf_tensor_find(r->g, "token_embd.weight");
    if (embed == NULL || embed->n_dims != 2) {
        return mm1_error_set(r->err, MM1_E_FORMAT, "%s: tensor 'token_embd.weight' is %s", mm1_gguf_path(r->g),
                             embed == NULL ? "missing" : "no matrix");
    }
    c->vocab_size = embed->shape[0];
    c->tie_embeddings = mm1_gguf_tensor_find(r->g, "output.weight") == NULL;
    c->bias = mm1_gguf_tensor_find(r->g, "blk.0.attn_output.bias") != NULL;
    c->qkv_bias = !c->bias && mm1_gguf_tensor_find(r->g, "blk.0.attn_q.bias") != NULL;
    return must_be(r, "vocab_size", c->vocab_size);
}

static mm1_status read_config(mm1_import *out, reader *r)
{
    mm1_decoder_config *c = &out->config.decoder;
    mm1_status st = mm1_fields_defaults(mm1__model_fields, &out->config, r->err);
    st = st != MM1_OK ? st : find_architecture(r);
    st = st != MM1_OK ? st : check_keys(r);
    if (st != MM1_OK) {
        return st;
    }
    out->architecture = &r->architecture->row;
    out->n_parts = 1;
    out->parts[0] = (mm1_import_part){.maps = decoder_maps};
    out->config.kind = MM1_MODEL_DECODER;
    c->norm = MM1_NORM_RMS;
    c->act = MM1_ACT_SILU;
    c->gated = true;
    c->positions = MM1_POSITIONS_ROPE;
    c->qk_norm = r->architecture->normalises ? MM1_QK_NORM_HEAD : MM1_QK_NORM_NONE;
    c->n_kv_heads = 0;
    (void)has(r, "attention.layer_norm_rms_epsilon");
    st = mm1_gguf_get_float(r->g, r->key, &c->norm_eps, r->err);
    st = st != MM1_OK ? st : read_int(r, "embedding_length", 65536, &c->width);
    st = st != MM1_OK ? st : read_int(r, "block_count", 1024, &c->n_layers);
    st = st != MM1_OK ? st : read_int(r, "attention.head_count", 1024, &c->n_heads);
    st = st != MM1_OK ? st : read_optional_int(r, "attention.head_count_kv", 1024, &c->n_kv_heads);
    st = st != MM1_OK ? st : read_int(r, "feed_forward_length", 1 << 20, &c->mlp_width);
    st = st != MM1_OK ? st : read_int(r, "context_length", 1 << 24, &c->max_positions);
    st = st != MM1_OK ? st : must_be(r, "expert_count", 0);
    st = st != MM1_OK ? st : must_be(r, "expert_used_count", 0);
    st = st != MM1_OK ? st : read_from_tensors(r, c);
    st = st != MM1_OK ? st : read_head_dim(r, c);
    st = st != MM1_OK ? st : read_rope(r, c);
    if (st == MM1_OK && (st = mm1_model_config_resolve(&out->config, r->err)) != MM1_OK) {
        st = st == MM1_E_CONFIG ? MM1_E_FORMAT : st; /* it is the file that is wrong */
        (void)mm1_error_wrap(r->err, st, "%s", mm1_gguf_path(r->g));
    }
    return st;
}

/* ---- weights ---- */

/* What mm1_weight.at points to. */
typedef struct gguf_weight {
    const mm1_gguf_tensor *t;
    int64_t head_dim; /* of rows that are in llama's order; else 0 */
} gguf_weight;

typedef struct gguf_files {
    mm1_gguf *g;
    gguf_weight *weights;
} gguf_files;

static void close_files(void *ctx)
{
    gguf_files *f = ctx;
    mm1_gguf_close(f->g);
    mm1_free(f->weights);
    mm1_free(f);
}

static mm1_status read_tensor(const mm1_weight *w, float *dst, mm1_error *err)
{
    const gguf_weight *x = w->at;
    const mm1_gguf_tensor *t = x->t;
    if (x->head_dim == 0) {
        mm1_quant_to_f32(t->format, t->data, dst, t->n_elements);
        return MM1_OK;
    }
    const int64_t n_rows = t->shape[0], width = t->n_elements / n_rows;
    size_t bytes = 0;
    if (!mm1_quant_bytes(t->format, width, &bytes)) { /* a bias, in blocks: nobody writes that */
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: tensor '%s' is %s, not supported for a bias", w->path,
                             w->name, mm1_quant_name(t->format));
    }
    for (int64_t i = 0; i < n_rows; i++) {
        mm1_quant_to_f32(t->format, t->data + (size_t)i * bytes, dst + mm1__gguf_llama_row(i, x->head_dim) * width,
                         width);
    }
    return MM1_OK;
}

/* "blk.<number>.attn_q.weight" and the like. */
static bool is_query_or_key(const char *name)
{
    const char *dot = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    return dot != NULL && (strcmp(dot, ".attn_q.weight") == 0 || strcmp(dot, ".attn_k.weight") == 0 ||
                           strcmp(dot, ".attn_q.bias") == 0 || strcmp(dot, ".attn_k.bias") == 0);
}

/* Takes g over, whatever it returns. */
static mm1_status list_weights(mm1_weights *w, mm1_gguf *g, int64_t head_dim, mm1_error *err)
{
    const size_t n = mm1_gguf_n_tensors(g);
    gguf_files *f = mm1_calloc(1, sizeof *f);
    if (f == NULL) {
        const mm1_status st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", mm1_gguf_path(g));
        mm1_gguf_close(g);
        return st;
    }
    f->g = g;
    f->weights = mm1_calloc(n, sizeof *f->weights);
    *w = (mm1_weights){.items = mm1_calloc(n, sizeof *w->items),
                       .n = n,
                       .read = read_tensor,
                       .close = close_files,
                       .files = f,
                       .path = mm1_gguf_path(g)};
    if (f->weights == NULL || w->items == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu tensors", mm1_gguf_path(g), n);
    }
    for (size_t i = 0; i < n; i++) { /* both are in byte order of the names */
        const mm1_gguf_tensor *t = mm1_gguf_tensor_at(g, i);
        f->weights[i] = (gguf_weight){.t = t, .head_dim = is_query_or_key(t->name) ? head_dim : 0};
        w->items[i] = (mm1_weight){.name = t->name,
                                   .path = mm1_gguf_path(g),
                                   .n_dims = t->n_dims,
                                   .dtype = mm1_quant_name(t->format),
                                   .n_bytes = t->n_bytes,
                                   .at = &f->weights[i]};
        memcpy(w->items[i].shape, t->shape, sizeof t->shape);
    }
    return MM1_OK;
}

static mm1_status open_gguf(mm1_import *out, mm1_weights *w, const char *path, mm1_error *err)
{
    mm1_gguf *g = NULL;
    mm1_status st = mm1_gguf_open(&g, path, err);
    if (st != MM1_OK) {
        return st;
    }
    reader r = {.g = g, .err = err};
    st = read_config(out, &r);
    if (st != MM1_OK) {
        mm1_gguf_close(g);
        return st;
    }
    st = list_weights(w, g, r.architecture->interleaves ? out->config.decoder.head_dim : 0, err);
    if (st != MM1_OK) {
        mm1_weights_close(w);
    }
    return st;
}

/* ---- a file or a folder ---- */

mm1_status mm1_import_open(mm1_import *out, mm1_weights *w, const char *path, mm1_error *err)
{
    *out = (mm1_import){0};
    *w = (mm1_weights){0};
    if (mm1_path_is_gguf(path)) {
        return open_gguf(out, w, path, err);
    }
    const mm1_status st = mm1_import_read(out, path, err);
    return st != MM1_OK ? st : mm1_weights_open(w, path, err);
}

mm1_status mm1_import_tokenizer(const mm1_weights *w, const char *path, mm1_tokenizer **out, mm1_error *err)
{
    *out = NULL;
    if (mm1_path_is_gguf(path)) {
        const gguf_files *f = w->files;
        return mm1_gguf_tokenizer_read(f->g, out, err);
    }
    char *file = mm1_path_join(path, "tokenizer.json");
    const mm1_status st =
        file != NULL ? mm1_roles_load(file, out, err) : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
    mm1_free(file);
    return st;
}

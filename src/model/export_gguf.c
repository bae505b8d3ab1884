/* export_gguf.c - see export_gguf.h. */
#include "model/export_gguf.h"

#include "base/alloc.h"
#include "model/gguf_tokenizer.h"
#include "model/import_gguf.h"
#include "tensor/gguf.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_VALUES = 48, KEY_BYTES = 80 };

/* Keys, and the numbers that they point to. */
typedef struct metadata {
    const char *architecture;
    mm1_gguf_value values[MAX_VALUES];
    char keys[MAX_VALUES][KEY_BYTES];
    union {
        uint32_t u32;
        float f32;
        uint8_t boolean;
        const char *string;
    } store[MAX_VALUES];
    size_t n;
} metadata;

typedef struct tensors {
    mm1_gguf_entry *entries;
    char (*names)[MM1_IMPORT_NAME_BYTES];
    size_t n, cap;
    mm1_quant format;
    int64_t head_dim;
    int64_t *llama_rows; /* the order of queries, of which keys are the beginning; NULL: as ours */
    float *rope_factors;
} tensors;

/* ---- keys ---- */

/* A key that begins with "*." belongs to the architecture. */
static mm1_gguf_value *add(metadata *m, const char *key, mm1_gguf_type type)
{
    const bool own = strncmp(key, "*.", 2) == 0;
    char *full = m->keys[m->n];
    (void)snprintf(full, KEY_BYTES, "%s%s", own ? m->architecture : "", own ? key + 1 : key);
    mm1_gguf_value *v = &m->values[m->n];
    *v = (mm1_gguf_value){.key = full, .type = type, .n = 1, .numbers = &m->store[m->n]};
    return v;
}

static void add_int(metadata *m, const char *key, int64_t value)
{
    (void)add(m, key, MM1_GGUF_U32);
    m->store[m->n++].u32 = (uint32_t)value;
}

static void add_float(metadata *m, const char *key, double value)
{
    (void)add(m, key, MM1_GGUF_F32);
    m->store[m->n++].f32 = (float)value;
}

static void add_bool(metadata *m, const char *key, bool value)
{
    (void)add(m, key, MM1_GGUF_BOOL);
    m->store[m->n++].boolean = value;
}

static void add_string(metadata *m, const char *key, const char *value)
{
    mm1_gguf_value *v = add(m, key, MM1_GGUF_STRING);
    m->store[m->n].string = value;
    v->strings = &m->store[m->n++].string;
}

static void add_strings(metadata *m, const char *key, char *const *values, size_t n)
{
    mm1_gguf_value *v = add(m, key, MM1_GGUF_STRING);
    v->is_array = true;
    v->n = n;
    v->strings = (const char *const *)values;
    m->n++;
}

static void add_numbers(metadata *m, const char *key, mm1_gguf_type type, const void *values, size_t n)
{
    mm1_gguf_value *v = add(m, key, type);
    v->is_array = true;
    v->n = n;
    v->numbers = values;
    m->n++;
}

/* The number by which llama.cpp names the format of most of a file. */
static int64_t file_type(mm1_quant format)
{
    switch (format) {
    case MM1_QUANT_F16: return 1;
    case MM1_QUANT_Q4_0: return 2;
    case MM1_QUANT_Q8_0: return 7;
    case MM1_QUANT_BF16: return 32;
    default: return 0; /* F32 */
    }
}

static void add_model(metadata *m, const mm1_decoder_config *c, mm1_quant format)
{
    add_string(m, "general.architecture", m->architecture);
    add_string(m, "general.type", "model");
    add_int(m, "general.file_type", file_type(format));
    add_int(m, "general.quantization_version", 2);
    add_int(m, "*.vocab_size", c->vocab_size);
    add_int(m, "*.context_length", c->max_positions);
    add_int(m, "*.embedding_length", c->width);
    add_int(m, "*.block_count", c->n_layers);
    add_int(m, "*.feed_forward_length", c->mlp_width);
    add_int(m, "*.attention.head_count", c->n_heads);
    add_int(m, "*.attention.head_count_kv", c->n_kv_heads);
    add_int(m, "*.attention.key_length", c->head_dim);
    add_int(m, "*.attention.value_length", c->head_dim);
    add_float(m, "*.attention.layer_norm_rms_epsilon", c->norm_eps);
    add_int(m, "*.rope.dimension_count", c->head_dim);
    add_float(m, "*.rope.freq_base", c->rope_theta);
    if (c->rope_scaling.type == MM1_ROPE_LINEAR) {
        add_string(m, "*.rope.scaling.type", "linear");
        add_float(m, "*.rope.scaling.factor", c->rope_scaling.factor);
    }
}

static void add_tokenizer(metadata *m, const mm1_gguf_tokenizer *k, const mm1_tokenizer *t, const char *chat_template)
{
    const mm1_token_roles *roles = mm1_tokenizer_roles(t);
    add_string(m, "tokenizer.ggml.model", k->model);
    if (k->pre != NULL) {
        add_string(m, "tokenizer.ggml.pre", k->pre);
    }
    add_strings(m, "tokenizer.ggml.tokens", k->tokens, k->n_tokens);
    add_numbers(m, "tokenizer.ggml.token_type", MM1_GGUF_I32, k->types, k->n_tokens);
    if (k->scores != NULL) {
        add_numbers(m, "tokenizer.ggml.scores", MM1_GGUF_F32, k->scores, k->n_tokens);
        add_bool(m, "tokenizer.ggml.add_space_prefix", k->add_space_prefix);
    } else {
        add_strings(m, "tokenizer.ggml.merges", k->merges, k->n_merges);
    }
    if (roles->bos >= 0) {
        add_int(m, "tokenizer.ggml.bos_token_id", roles->bos);
    }
    if (roles->n_eos > 0) {
        add_int(m, "tokenizer.ggml.eos_token_id", roles->eos[0]);
    }
    if (roles->n_eos > 1) { /* llama.cpp has a key for one more, which ends the turn of a conversation */
        add_int(m, "tokenizer.ggml.eot_token_id", roles->eos[1]);
    }
    if (roles->pad >= 0) {
        add_int(m, "tokenizer.ggml.padding_token_id", roles->pad);
    }
    add_bool(m, "tokenizer.ggml.add_bos_token", roles->bos >= 0);
    add_bool(m, "tokenizer.ggml.add_eos_token", false);
    if (chat_template != NULL) {
        add_string(m, "tokenizer.chat_template", chat_template);
    }
}

/* ---- tensors ---- */

static mm1_status count_piece(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err)
{
    tensors *t = ctx;
    (void)p;
    (void)x;
    (void)err;
    t->cap++;
    return MM1_OK;
}

static mm1_status each_piece(const mm1_import *i, const mm1_params *p, mm1_import_piece_fn *fn, tensors *t,
                             mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (int64_t k = 0; st == MM1_OK && k < p->n_items; k++) {
        st = mm1_import_pieces(i, p->items[k], fn, t, err);
    }
    return st;
}

static bool has_suffix(const char *s, const char *suffix)
{
    const size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

static mm1_status add_piece(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err)
{
    tensors *t = ctx;
    (void)err;
    mm1_gguf_entry *e = &t->entries[t->n];
    char *name = t->names[t->n++];
    (void)snprintf(name, MM1_IMPORT_NAME_BYTES, "%s", x->name);
    *e = (mm1_gguf_entry){.name = name,
                          .format = x->n_dims < 2 ? MM1_QUANT_F32 : t->format,
                          .n_dims = x->n_dims,
                          .data = mm1_import_piece_data(x, p)};
    memcpy(e->shape, x->shape, (size_t)x->n_dims * sizeof *e->shape);
    if (x->n_dims == 2 && x->shape[1] % mm1_quant_block(t->format) != 0) {
        e->format = MM1_QUANT_F16;
    }
    const bool permuted = has_suffix(name, ".attn_q.weight") || has_suffix(name, ".attn_k.weight") ||
                          has_suffix(name, ".attn_q.bias") || has_suffix(name, ".attn_k.bias");
    e->rows = permuted ? t->llama_rows : NULL;
    return MM1_OK;
}

static mm1_status make_tensors(tensors *t, const mm1_import *i, const mm1_params *p, bool interleaves, mm1_error *err)
{
    const mm1_decoder_config *c = &i->config.decoder;
    const int64_t n_rows = c->n_heads * c->head_dim, n_factors = c->head_dim / 2;
    mm1_status st = each_piece(i, p, count_piece, t, err);
    if (st != MM1_OK) {
        return st;
    }
    t->cap++; /* rope_freqs */
    t->entries = mm1_calloc(t->cap, sizeof *t->entries);
    t->names = mm1_calloc(t->cap, sizeof *t->names);
    t->llama_rows = interleaves ? mm1_alloc((size_t)n_rows, sizeof *t->llama_rows) : NULL;
    t->rope_factors = mm1_alloc((size_t)n_factors, sizeof *t->rope_factors);
    if (t->entries == NULL || t->names == NULL || (interleaves && t->llama_rows == NULL) || t->rope_factors == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the table of %zu tensors", t->cap);
    }
    for (int64_t r = 0; interleaves && r < n_rows; r++) {
        t->llama_rows[r] = mm1__gguf_llama_row(r, c->head_dim);
    }
    st = each_piece(i, p, add_piece, t, err);
    if (c->rope_scaling.type == MM1_ROPE_LLAMA3) {
        for (int64_t r = 0; r < n_factors; r++) {
            const double rate = pow(c->rope_theta, -2.0 * (double)r / (double)c->head_dim);
            t->rope_factors[r] = (float)(rate / mm1_rope_rate(rate, &c->rope_scaling));
        }
        t->entries[t->n++] =
            (mm1_gguf_entry){.name = "rope_freqs.weight", .n_dims = 1, .shape = {n_factors}, .data = t->rope_factors};
    }
    return st;
}

/* ---- the model ---- */

static mm1_status unsupported(const char *what, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s cannot be written as GGUF", what);
}

static mm1_status choose_architecture(const mm1_model *m, const char **out, mm1_error *err)
{
    const mm1_decoder_config *c = &m->config.decoder;
    if (m->config.kind != MM1_MODEL_DECODER) {
        return unsupported(m->config.kind == MM1_MODEL_MM1 ? "a model with pictures" : "an encoder", err);
    }
    if (c->norm != MM1_NORM_RMS || c->act != MM1_ACT_SILU || !c->gated || c->positions != MM1_POSITIONS_ROPE) {
        return unsupported("a decoder without RMS norms, gated SiLU and rotary positions", err);
    }
    if (c->moe.n_experts > 0) {
        return unsupported("a mixture of experts", err);
    }
    if (c->sliding_window > 0 || c->qk_norm == MM1_QK_NORM_FULL ||
        (c->qk_norm == MM1_QK_NORM_HEAD && (c->bias || c->qkv_bias))) {
        return unsupported("a decoder with this sliding window or these norms of queries and keys", err);
    }
    *out = c->qk_norm == MM1_QK_NORM_HEAD ? "qwen3" : c->qkv_bias && !c->bias ? "qwen2" : "llama";
    return MM1_OK;
}

mm1_status mm1_model_export_gguf(const mm1_model *m, const char *path, mm1_quant format, const char *chat_template,
                                 mm1_error *err)
{
    mm1_gguf_tokenizer tokenizer = {0};
    tensors t = {.format = format};
    mm1_architecture row = {0};
    mm1_import import = {.architecture = &row, .config = m->config, .n_parts = 1};
    metadata *keys = mm1_calloc(1, sizeof *keys);
    mm1_status st = keys == NULL           ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the keys")
                    : m->tokenizer == NULL ? mm1_error_set(err, MM1_E_ARG, "the model has no tokenizer")
                                           : choose_architecture(m, &row.model_type, err);
    if (st == MM1_OK) {
        keys->architecture = row.model_type;
        import.parts[0].maps = mm1__gguf_maps(row.model_type);
        st = mm1_gguf_tokenizer_make(&tokenizer, m->tokenizer, m->config.decoder.vocab_size, err);
    }
    st = st != MM1_OK ? st : make_tensors(&t, &import, &m->params, strcmp(row.model_type, "llama") == 0, err);
    if (st == MM1_OK) {
        add_model(keys, &m->config.decoder, format);
        add_tokenizer(keys, &tokenizer, m->tokenizer, chat_template);
        st = mm1_gguf_write(path, keys->values, keys->n, t.entries, t.n, err);
    } else {
        (void)mm1_error_wrap(err, st, "%s", path);
    }
    mm1_gguf_tokenizer_deinit(&tokenizer);
    mm1_free(t.entries);
    mm1_free(t.names);
    mm1_free(t.llama_rows);
    mm1_free(t.rope_factors);
    mm1_free(keys);
    return st;
}

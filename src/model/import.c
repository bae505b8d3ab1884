/* import.c - see import.h. */
#include "model/import.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "nn/position_grid.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const mm1_architecture *const architectures[] = {
    &mm1__architecture_mm1,           &mm1__architecture_llama,  &mm1__architecture_mistral,
    &mm1__architecture_qwen2,         &mm1__architecture_qwen3,  &mm1__architecture_mixtral,
    &mm1__architecture_olmoe,         &mm1__architecture_gpt2,   &mm1__architecture_clip_vision,
    &mm1__architecture_siglip_vision, &mm1__architecture_dinov2, &mm1__architecture_clip,
    &mm1__architecture_siglip,        &mm1__architecture_llava,  &mm1__architecture_llava_next,
    &mm1__architecture_idefics3,      &mm1__architecture_smolvlm};
enum { N_ARCHITECTURES = sizeof architectures / sizeof *architectures, MAX_CONFIG_BYTES = 1 << 20 };

static const char head_name[] = "decoder.head.weight", embed_name[] = "decoder.embed.weight";

const mm1_architecture *mm1_import_architecture(int i)
{
    return i < N_ARCHITECTURES ? architectures[i] : NULL;
}

void mm1_import_list(char *text, size_t cap)
{
    size_t len = 0;
    text[0] = '\0';
    for (int i = 0; i < N_ARCHITECTURES && len < cap; i++) {
        len += (size_t)snprintf(text + len, cap - len, "%s%s", i == 0 ? "" : ", ", architectures[i]->model_type);
    }
}

/* ---- config.json ---- */

mm1_status mm1__import_refuse(const mm1_yaml_node *map, mm1_error *err, const char *format, ...)
{
    char message[MM1_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: %s", map->path, message);
}

void mm1__import_drop_idle(mm1_yaml_node *map)
{
    static const char *const idle[] = {
        /* names and versions */
        "_name_or_path", "architectures", "model_type", "transformers_version", "transformers.js_config",
        "unsloth_version", "unsloth_fixed", "tokenizer_class", "is_llama_config", "finetuning_task",
        "task_specific_params", "problem_type", "id2label", "label2id", "prefix",
        /* element types, and how one would compute */
        "dtype", "torch_dtype", "torchscript", "tf_legacy_loss", "use_bfloat16", "use_cache", "use_return_dict",
        "return_dict", "output_attentions", "output_hidden_states", "chunk_size_feed_forward", "pretraining_tp",
        "attn_implementation", "_attn_implementation", "_attn_implementation_autoset", "_flash_attn_2_enabled",
        "is_decoder",
        /* training */
        "initializer_range", "attention_dropout",
        /* ids of tokens: read by those who speak to the tokenizer */
        "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "decoder_start_token_id",
        /* generation */
        "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
        "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
        "forced_eos_token_id", "length_penalty", "max_length", "max_new_tokens", "min_length", "no_repeat_ngram_size",
        "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "remove_invalid_values",
        "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "temperature", "top_k", "top_p",
        "typical_p"};
    static const char *const idle_if_false[] = {"add_cross_attention", "is_encoder_decoder", "rope_interleaved",
                                                "tie_encoder_decoder", "use_mrope"};
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        (void)mm1_yaml_take(map, idle[i]);
    }
    for (size_t i = 0; i < sizeof idle_if_false / sizeof *idle_if_false; i++) {
        const mm1_yaml_node *node = mm1_yaml_get(map, idle_if_false[i]);
        if (node != NULL && node->text != NULL && !node->is_quoted && strcmp(node->text, "false") == 0) {
            (void)mm1_yaml_take(map, idle_if_false[i]);
        }
    }
    const mm1_yaml_node *pruned = mm1_yaml_get(map, "pruned_heads");
    if (pruned != NULL && pruned->kind == MM1_YAML_MAP && pruned->n == 0) {
        (void)mm1_yaml_take(map, "pruned_heads");
    }
    for (mm1_yaml_node *child = map->first, *next; child != NULL; child = next) {
        next = child->next;
        if (mm1_yaml_is_null(child)) {
            (void)mm1_yaml_take(map, child->key);
        }
    }
}

void mm1__import_take_all(mm1_yaml_node *map, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        (void)mm1_yaml_take(map, *keys);
    }
}

mm1_status mm1__import_fields(const mm1_field *table, void *object, mm1_yaml_node *map, mm1_error *err)
{
    for (const mm1_yaml_node *child = map->first; child != NULL; child = child->next) {
        const mm1_field *f = table;
        while (f->type != MM1_FIELD_END && strcmp(f->key, child->key) != 0) {
            f++;
        }
        if (f->type == MM1_FIELD_END) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED,
                                 "%s:%d: key \"%.80s\" is not understood, and may change what the model computes",
                                 child->path, child->line, child->key);
        }
    }
    mm1_status st = mm1_fields_defaults(table, object, err);
    st = st != MM1_OK ? st : mm1_fields_load_node(table, object, map, err);
    return st != MM1_OK ? st : mm1_fields_check(table, object, err);
}

/* The first name of an activation is the one to write. */
static const struct {
    const char *name;
    mm1_act act;
} acts[] = {{"silu", MM1_ACT_SILU},
            {"swish", MM1_ACT_SILU},
            {"gelu", MM1_ACT_GELU},
            {"gelu_pytorch_tanh", MM1_ACT_GELU_TANH},
            {"gelu_new", MM1_ACT_GELU_TANH},
            {"gelu_fast", MM1_ACT_GELU_TANH},
            {"quick_gelu", MM1_ACT_QUICK_GELU},
            {"relu", MM1_ACT_RELU}};
enum { N_ACTS = sizeof acts / sizeof *acts };

const char *mm1__import_act_name(int act)
{
    for (size_t i = 0; i < N_ACTS; i++) {
        if ((int)acts[i].act == act) {
            return acts[i].name;
        }
    }
    return NULL;
}

mm1_status mm1__import_act(const mm1_yaml_node *map, const char *key, const char *name, int *act, mm1_error *err)
{
    for (size_t i = 0; name != NULL && i < N_ACTS; i++) {
        if (strcmp(acts[i].name, name) == 0) {
            *act = acts[i].act;
            return MM1_OK;
        }
    }
    return mm1__import_refuse(map, err, "%s \"%.40s\" is not supported", key, name != NULL ? name : "(none)");
}

mm1_status mm1__import_rules(const mm1_import_rule *rules, size_t n, mm1_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!rules[i].holds) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s", rules[i].key);
        }
    }
    return MM1_OK;
}

static const mm1_architecture *find_architecture(const mm1_yaml_node *type)
{
    for (int i = 0; type != NULL && type->text != NULL && i < N_ARCHITECTURES; i++) {
        if (strcmp(architectures[i]->model_type, type->text) == 0) {
            return architectures[i];
        }
    }
    return NULL;
}

mm1_status mm1__import_decoder(mm1_import *out, mm1_import_part *part, mm1_yaml_node *map, const char *dir,
                               mm1_error *err)
{
    const mm1_yaml_node *type = mm1_yaml_take(map, "model_type");
    mm1_import alone = {.architecture = find_architecture(type), .config = out->config};
    if (alone.architecture == NULL) {
        return mm1__import_refuse(map, err, "model_type \"%.80s\" of the decoder is not supported",
                                  type != NULL && type->text != NULL ? type->text : "(none)");
    }
    const mm1_status st = alone.architecture->read(&alone, map, dir, err);
    if (st == MM1_OK && (alone.config.kind != MM1_MODEL_DECODER || alone.n_parts != 1)) {
        return mm1__import_refuse(map, err, "model_type \"%s\" is no decoder", alone.architecture->model_type);
    }
    out->config.decoder = alone.config.decoder;
    *part = alone.parts[0];
    return st;
}

mm1_status mm1__import_add_keys(json_t *map, json_t *from, mm1_error *err)
{
    const int failed = from == NULL ? -1 : json_object_update(map, from);
    json_decref(from);
    return failed == 0 ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "no memory for config.json");
}

mm1_status mm1__import_write_decoder(const mm1_import *i, mm1_import_part *part, json_t *map, mm1_error *err)
{
    mm1_status st = MM1_E_UNSUPPORTED;
    bool first = true;
    for (int k = 0; st == MM1_E_UNSUPPORTED && k < N_ARCHITECTURES; k++) {
        mm1_import alone = {.architecture = architectures[k], .config = i->config};
        mm1_error reason = {0};
        if (architectures[k]->write == NULL) {
            continue;
        }
        alone.config.kind = MM1_MODEL_DECODER;
        json_t *keys = json_object();
        st = keys == NULL ? mm1_error_set(&reason, MM1_E_NOMEM, "no memory for config.json")
                          : architectures[k]->write(&alone, keys, &reason);
        /* As in mm1__import_decoder(); and names of a whole model go on from those that begin so. */
        if (st == MM1_OK && (alone.n_parts != 1 || strncmp(alone.parts[0].maps->theirs[0], "model.", 6) != 0)) {
            st = mm1_error_set(&reason, MM1_E_UNSUPPORTED, "model.decoder");
        }
        if (st == MM1_OK) {
            *part = alone.parts[0];
            (void)json_object_set_new(keys, "model_type", json_string(architectures[k]->model_type));
            return mm1__import_add_keys(map, keys, err);
        }
        json_decref(keys);
        if ((first || st != MM1_E_UNSUPPORTED) && err != NULL) {
            *err = reason; /* of what holds most decoders */
        }
        first = false;
    }
    return st;
}

static mm1_status read_root(mm1_import *out, mm1_yaml_node *root, const char *path, const char *dir, mm1_error *err)
{
    const mm1_yaml_node *type = root->kind == MM1_YAML_MAP ? mm1_yaml_take(root, "model_type") : NULL;
    const char *name = type != NULL && type->text != NULL ? type->text : "(none)";
    out->architecture = find_architecture(type);
    if (out->architecture == NULL) {
        char known[300];
        mm1_import_list(known, sizeof known);
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: model_type \"%.80s\" is not supported; known are %s", path,
                             name, known);
    }
    mm1_status st = mm1_fields_defaults(mm1__model_fields, &out->config, err);
    st = st != MM1_OK ? st : out->architecture->read(out, root, dir, err);
    if (st == MM1_OK && (st = mm1_model_config_resolve(&out->config, err)) != MM1_OK) {
        (void)mm1_error_wrap(err, st, "%s", path);
    }
    return st;
}

mm1_status mm1_import_read(mm1_import *out, const char *dir, mm1_error *err)
{
    mm1_yaml doc = {0};
    char *path = mm1_path_join(dir, "config.json"), *text = NULL;
    size_t len = 0;
    mm1_status st = MM1_OK;
    *out = (mm1_import){0};
    if (path == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
    }
    if (!mm1_path_exists(path)) {
        st = mm1_error_set(err, MM1_E_IO, "%s: no config.json; is this a model folder?", dir);
    }
    st = st != MM1_OK ? st : mm1_file_read(path, MAX_CONFIG_BYTES, &text, &len, err);
    st = st != MM1_OK ? st : mm1_yaml_parse(&doc, text, len, path, err); /* JSON is a part of YAML */
    st = st != MM1_OK ? st : read_root(out, doc.root, path, dir, err);
    if (st == MM1_E_CONFIG) {
        st = MM1_E_FORMAT; /* it is the file that is wrong, not the user's recipe */
        if (err != NULL) {
            err->status = st;
        }
    }
    mm1_yaml_deinit(&doc);
    mm1_free(text);
    mm1_free(path);
    return st;
}

/* ---- names ---- */

/* Whether name is pattern with a number in the place of each "*"; the last one goes into *star. */
static bool matches(const char *pattern, const char *name, int64_t *star)
{
    while (*pattern != '\0') {
        if (*pattern != '*') {
            if (*pattern++ != *name++) {
                return false;
            }
            continue;
        }
        pattern++;
        if (!isdigit((unsigned char)*name)) {
            return false;
        }
        for (*star = 0; isdigit((unsigned char)*name); name++) {
            if (*star > INT32_MAX) {
                return false;
            }
            *star = *star * 10 + (*name - '0');
        }
    }
    return *name == '\0';
}

/* A name of a map as it is in the file: the beginning replaced, numbers filled in. */
static void fill(char *out, const char *pattern, const mm1_import_naming *naming, int64_t star, int64_t hash)
{
    const char *from = naming->from != NULL ? naming->from : "";
    const bool begins = strncmp(pattern, from, strlen(from)) == 0;
    const char *rest = begins ? pattern + strlen(from) : pattern;
    size_t len = (size_t)snprintf(out, MM1_IMPORT_NAME_BYTES, "%s", begins && naming->to != NULL ? naming->to : "");
    for (; *rest != '\0' && len < MM1_IMPORT_NAME_BYTES - 1; rest++) {
        const size_t room = MM1_IMPORT_NAME_BYTES - len;
        const int n = *rest == '*' && star >= 0   ? snprintf(out + len, room, "%" PRId64, star)
                      : *rest == '#' && hash >= 0 ? snprintf(out + len, room, "%" PRId64, hash)
                                                  : snprintf(out + len, room, "%c", *rest);
        len += (size_t)n;
    }
}

/* The map of a parameter; NULL if there is none. */
static const mm1_import_map *find_map(const mm1_import *i, const char *ours, const mm1_import_part **part,
                                      int64_t *star)
{
    for (int k = 0; k < i->n_parts; k++) {
        for (const mm1_import_map *m = i->parts[k].maps; m->ours != NULL; m++) {
            if (matches(m->ours, ours, star)) {
                *part = &i->parts[k];
                return m;
            }
        }
    }
    return NULL;
}

static void choose_naming(mm1_import_part *part, const mm1_weights *w)
{
    char name[MM1_IMPORT_NAME_BYTES];
    for (part->naming = 0; part->naming < MM1_IMPORT_MAX_NAMINGS; part->naming++) {
        fill(name, part->maps[0].theirs[0], &part->namings[part->naming], 0, 0);
        if (mm1_weights_find(w, name) != NULL) {
            return;
        }
    }
    part->naming = 0;
}

/* ---- pieces ---- */

static bool is_folded(mm1_layout layout)
{
    return layout == MM1_LAYOUT_SCALAR || layout == MM1_LAYOUT_VECTOR || layout == MM1_LAYOUT_BATCH ||
           layout == MM1_LAYOUT_PATCHES;
}

/* The shape of a matrix [rows, cols] in other dimensions. */
static void fold_shape(mm1_import_piece *x)
{
    const int64_t side = x->layout == MM1_LAYOUT_PATCHES ? llround(sqrt((double)x->cols / 3)) : 0;
    const int64_t shapes[][MM1_MAX_DIMS] = {{0}, {x->cols}, {1, x->rows, x->cols}, {x->rows, 3, side, side}};
    static const int n_dims[] = {0, 1, 3, 4};
    const int k = (int)x->layout - (int)MM1_LAYOUT_SCALAR;
    x->n_dims = n_dims[k];
    memcpy(x->shape, shapes[k], sizeof x->shape);
}

static int64_t piece_rows(const mm1_import *i, const mm1_import_map *m, int k, int n, int64_t all)
{
    const mm1_decoder_config *c = &i->config.decoder;
    return m->split == MM1_SPLIT_HEADS ? (k == 0 ? c->n_heads : c->n_kv_heads) * c->head_dim : all / n;
}

mm1_status mm1_import_pieces(const mm1_import *i, const mm1_param *p, mm1_import_piece_fn *fn, void *ctx,
                             mm1_error *err)
{
    const mm1_tensor *t = &p->tensor;
    const mm1_import_part *part = NULL;
    int64_t star = 0;
    mm1_import_piece x = {.outer = 1, .cols = 1, .n_dims = t->rank};
    memcpy(x.shape, t->dims, sizeof x.shape);
    if (i->n_parts == 0) { /* our own names */
        (void)snprintf(x.name, sizeof x.name, "%s", p->name);
        x.all = x.rows = p->n;
        return fn(ctx, p, &x, err);
    }
    const mm1_import_map *m = find_map(i, p->name, &part, &star);
    if (m == NULL) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "a model of type %s has no parameter \"%s\"",
                             i->architecture->model_type, p->name);
    }
    int n = 0;
    while (n < MM1_IMPORT_MAX_PIECES && m->theirs[n] != NULL) {
        n++;
    }
    const bool counts = strchr(m->theirs[0], '#') != NULL;
    const int64_t n_hash = counts ? t->dims[0] : 1;
    /* Matrices of a stack lie in one tensor, or each in its own. */
    const int row_dim = t->rank >= 3 ? 1 : 0;
    x.outer = row_dim == 1 && !counts ? t->dims[0] : 1;
    x.all = t->dims[row_dim];
    for (int d = row_dim + 1; d < t->rank; d++) {
        x.cols *= t->dims[d];
    }
    if (counts) {
        x.n_dims = t->rank - 1;
        memcpy(x.shape, t->dims + 1, (size_t)x.n_dims * sizeof *x.shape);
    }
    const int shape_row = counts ? row_dim - 1 : row_dim;
    x.layout = m->layout;
    mm1_status st = MM1_OK;
    for (int64_t hash = 0; st == MM1_OK && hash < n_hash; hash++) {
        x.first = hash * x.all * x.cols;
        x.row = 0;
        for (int k = 0; st == MM1_OK && k < n; k++) {
            mm1_import_piece y = x;
            y.rows = piece_rows(i, m, k, n, x.all);
            y.shape[shape_row] = y.rows;
            if (m->layout == MM1_LAYOUT_COLUMNS && y.n_dims > shape_row + 1) {
                y.shape[shape_row] = y.shape[shape_row + 1];
                y.shape[shape_row + 1] = y.rows;
            }
            if (is_folded(m->layout)) {
                fold_shape(&y);
            }
            fill(y.name, m->theirs[k], &part->namings[part->naming], star, hash);
            st = fn(ctx, p, &y, err);
            x.row += y.rows;
        }
        if (st == MM1_OK && x.row != x.all) {
            st = mm1_error_set(err, MM1_E_SHAPE, "\"%s\": pieces of %" PRId64 " rows for %" PRId64, p->name, x.row,
                               x.all);
        }
    }
    return st;
}

void mm1_import_piece_copy(const mm1_import_piece *x, const mm1_param *p, float *values, bool in)
{
    float *ours = mm1_import_piece_data(x, p);
    for (int64_t e = 0; e < x->outer; e++, ours += x->all * x->cols) {
        for (int64_t r = 0; r < x->rows; r++) {
            for (int64_t c = 0; c < x->cols; c++) {
                float *a = ours + r * x->cols + c;
                float *b = values + e * x->rows * x->cols +
                           (x->layout == MM1_LAYOUT_COLUMNS ? c * x->rows + r : r * x->cols + c);
                *(in ? a : b) = *(in ? b : a);
            }
        }
    }
}

typedef struct source {
    const mm1_import *import;
    const mm1_weights *weights;
} source;

/* The dimensions without ones before them; how many are left. */
static int without_ones(const int64_t **shape, int n_dims)
{
    for (; n_dims > 0 && **shape == 1; n_dims--) {
        (*shape)++;
    }
    return n_dims;
}

/* Whether the dimensions behind the first make up as many columns. */
static bool folds(const int64_t *a, int n_a, const int64_t *b, int n_b)
{
    n_a = without_ones(&a, n_a);
    n_b = without_ones(&b, n_b);
    int64_t cols_a = 1, cols_b = 1;
    for (int i = 1; i < n_a; i++) {
        cols_a *= a[i];
    }
    for (int i = 1; i < n_b; i++) {
        cols_b *= b[i];
    }
    return (n_a > 0) == (n_b > 0) && (n_a == 0 || a[0] == b[0]) && cols_a == cols_b;
}

/* The tensor of a piece.  *side: of the grid of positions in it, if that is to be resized; else 0. */
static mm1_status get_piece(const source *s, const mm1_param *p, const mm1_import_piece *x, const mm1_weight **out,
                            int64_t *side, mm1_error *err)
{
    const mm1_weight *found = mm1_weights_find(s->weights, x->name);
    *side = 0;
    if (found != NULL && s->import->resizes && p->grid > 0) {
        const int64_t *shape = found->shape;
        const int n_dims = is_folded(x->layout) ? without_ones(&shape, found->n_dims) : found->n_dims;
        const int64_t its =
            n_dims == 2 && shape[1] == mm1_tensor_cols(&p->tensor) ? mm1_position_grid_side(p, shape[0]) : 0;
        *side = its != p->grid ? its : 0;
    }
    if (found != NULL &&
        (*side > 0 || (is_folded(x->layout) && folds(found->shape, found->n_dims, x->shape, x->n_dims)))) {
        return mm1_weights_get(s->weights, x->name, found->n_dims, found->shape, out, err);
    }
    return mm1_weights_get(s->weights, x->name, x->n_dims, x->shape, out, err);
}

static mm1_status check_piece(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err)
{
    const mm1_weight *found = NULL;
    int64_t side;
    return get_piece(ctx, p, x, &found, &side, err);
}

/* An untied head in the file of a tied model, which must then be the embedding: NULL if there is none. */
static mm1_weight *spare_head(const mm1_import *i, const mm1_weights *w)
{
    const mm1_import_part *part = NULL;
    int64_t star = 0;
    char name[MM1_IMPORT_NAME_BYTES];
    const mm1_import_map *m = find_map(i, head_name, &part, &star);
    if (m == NULL || !mm1_model_config_has_decoder(&i->config) || !i->config.decoder.tie_embeddings) {
        return NULL;
    }
    fill(name, m->theirs[0], &part->namings[part->naming], -1, -1);
    return mm1_weights_find(w, name);
}

static bool is_idle(const mm1_import *i, const char *name)
{
    char pattern[MM1_IMPORT_NAME_BYTES];
    int64_t star = 0;
    const char *const *all = i->idle != NULL ? i->idle : i->architecture->idle;
    for (const char *const *idle = all; idle != NULL && *idle != NULL; idle++) {
        for (int k = 0; k < i->n_parts; k++) {
            fill(pattern, *idle, &i->parts[k].namings[i->parts[k].naming], -1, -1);
            if (matches(pattern, name, &star)) {
                return true;
            }
        }
    }
    return false;
}

mm1_status mm1_import_check_tokenizer(const mm1_import *i, const mm1_tokenizer *t, const char *name, mm1_error *err)
{
    const mm1_token_roles *roles = mm1_tokenizer_roles(t);
    if (i->config.kind != MM1_MODEL_CLIP) {
        return MM1_OK;
    }
    const int64_t end = roles->n_eos > 0 ? roles->eos[0] : -1;
    if ((i->text_end == MM1_TEXT_END_ID && end != i->text_end_id) ||
        (i->text_end == MM1_TEXT_END_HIGHEST && end != mm1_tokenizer_vocab_size(t) - 1)) {
        return mm1_error_set(
            err, MM1_E_FORMAT, "%s: texts end with token %" PRId64 ", but the model reads them at %s %" PRId64, name,
            end, i->text_end == MM1_TEXT_END_ID ? "token" : "that of the highest id,",
            i->text_end == MM1_TEXT_END_ID ? i->text_end_id : (int64_t)mm1_tokenizer_vocab_size(t) - 1);
    }
    return !i->config.text.bos || roles->bos >= 0
               ? MM1_OK
               : mm1_error_set(err, MM1_E_FORMAT,
                               "%s: the model wants a token that begins texts; the tokenizer has none", name);
}

mm1_status mm1_import_check(mm1_import *i, const mm1_params *p, const mm1_weights *w, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (int k = 0; k < i->n_parts; k++) {
        choose_naming(&i->parts[k], w);
    }
    for (int64_t k = 0; st == MM1_OK && k < p->n_items; k++) {
        st = mm1_import_pieces(i, p->items[k], check_piece, &(source){i, w}, err);
    }
    mm1_weight *spare = spare_head(i, w);
    if (st == MM1_OK && spare != NULL) {
        const mm1_weight *same = NULL;
        const mm1_tensor *embed = &mm1_params_find(p, embed_name)->tensor;
        st = mm1_weights_get(w, spare->name, embed->rank, embed->dims, &same, err);
    }
    for (size_t k = 0; st == MM1_OK && k < w->n; k++) {
        if (!w->items[k].used && !is_idle(i, w->items[k].name)) {
            st = mm1_error_set(err, MM1_E_FORMAT,
                               "%s: tensor \"%s\" is none of this model; does config.json belong to it?",
                               w->items[k].path, w->items[k].name);
        }
    }
    return st;
}

/* Positions of a grid of this side. */
static mm1_status read_grid(const mm1_weights *w, const mm1_weight *found, int64_t side, const mm1_param *p,
                            mm1_error *err)
{
    const int64_t C = mm1_tensor_cols(&p->tensor);
    float *from = mm1_alloc((size_t)((p->grid_first + side * side) * C), sizeof *from);
    const mm1_status st = from != NULL
                              ? w->read(found, from, err)
                              : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read '%s'", found->path, found->name);
    if (st == MM1_OK) {
        mm1_position_grid_resize(p->tensor.data, p->grid, from, side, p->grid_first, C);
        mm1_log(MM1_LOG_INFO, "%s: interpolated from %lld x %lld patches to %lld x %lld", p->name, (long long)side,
                (long long)side, (long long)p->grid, (long long)p->grid);
    }
    mm1_free(from);
    return st;
}

static mm1_status read_piece(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err)
{
    const mm1_weights *w = ((const source *)ctx)->weights;
    const mm1_weight *found = NULL;
    int64_t side;
    mm1_status st = get_piece(ctx, p, x, &found, &side, err);
    if (st == MM1_OK && side > 0) {
        return read_grid(w, found, side, p, err);
    }
    if (st != MM1_OK || mm1_import_piece_is_whole(x)) {
        return st != MM1_OK ? st : w->read(found, mm1_import_piece_data(x, p), err);
    }
    float *values = mm1_alloc((size_t)(x->outer * x->rows * x->cols), sizeof *values);
    st = values != NULL ? w->read(found, values, err)
                        : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read '%s'", found->path, found->name);
    if (st == MM1_OK) {
        mm1_import_piece_copy(x, p, values, true);
    }
    mm1_free(values);
    return st;
}

mm1_status mm1_import_parameter(const mm1_import *i, const mm1_param *p, const mm1_weights *w, mm1_error *err)
{
    return mm1_import_pieces(i, p, read_piece, &(source){i, w}, err);
}

mm1_status mm1_import_weights(const mm1_import *i, const mm1_params *p, const mm1_weights *w, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (int64_t k = 0; st == MM1_OK && k < p->n_items; k++) {
        st = mm1_import_parameter(i, p->items[k], w, err);
    }
    const mm1_weight *spare = spare_head(i, w);
    if (st == MM1_OK && spare != NULL) {
        const mm1_param *embed = mm1_params_find(p, embed_name);
        float *head = mm1_alloc((size_t)embed->n, sizeof *head);
        st = head != NULL ? w->read(spare, head, err)
                          : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read '%s'", spare->path, spare->name);
        if (st == MM1_OK && memcmp(head, embed->tensor.data, (size_t)embed->n * sizeof *head) != 0) {
            st = mm1_error_set(err, MM1_E_FORMAT,
                               "%s: tensor '%s' is not the embedding, though the configuration ties the two",
                               spare->path, spare->name);
        }
        mm1_free(head);
    }
    return st;
}

typedef struct visit {
    source from;
    mm1_import_visit *fn;
    void *ctx;
} visit;

static mm1_status visit_piece(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err)
{
    const visit *v = ctx;
    const mm1_weight *found = NULL;
    int64_t side;
    const mm1_status st = get_piece(&v->from, p, x, &found, &side, err);
    return st != MM1_OK ? st : v->fn(v->ctx, found, err);
}

mm1_status mm1_import_sources(const mm1_import *i, const mm1_param *p, const mm1_weights *w, mm1_import_visit *fn,
                              void *ctx, mm1_error *err)
{
    visit v = {.from = {i, w}, .fn = fn, .ctx = ctx};
    return mm1_import_pieces(i, p, visit_piece, &v, err);
}

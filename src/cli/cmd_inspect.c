/* cmd_inspect.c - mm1 inspect: what a model folder or checkpoint holds, without loading it.  Weights stay mapped; one
 * block of them at a time becomes f32. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_ELEMS = 1 << 16, MAX_STATE_BYTES = 1 << 20 };

static const char doc[] =
    "Describes the model in a folder: configuration, parameters by part, element type, tokenizer, and how far the "
    "training had come if it is a checkpoint.\vExits with 3 if a weight is missing or has another shape than the "
    "configuration says.";

static const struct argp_option options[] = {
    {"tensors", 't', NULL, 0, "list every tensor with shape, part, weight decay and root mean square", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

typedef struct args {
    const char *dir;
    bool tensors, json;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 't': a->tensors = true; break;
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_error(state, "one DIR is wanted, \"%s\" is one more", arg);
        }
        a->dir = arg;
        break;
    case ARGP_KEY_END:
        if (a->dir == NULL) {
            argp_error(state, "a DIR is wanted, for example runs/smoke/checkpoints/latest");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Of a training; step -1: there is none. */
typedef struct training {
    int64_t step, n_steps, tokens, images;
    double seconds;
} training;

typedef struct subject {
    mm1_model model; /* the table alone, no values */
    mm1_safetensors *weights;
    const mm1_safetensors_tensor **tensors; /* [model.params.n_items], as the table */
    int64_t vocab_size;                     /* ids of the tokenizer; -1: no tokenizer.json */
    training training;
} subject;

static mm1_status read_training(const char *dir, training *out, mm1_error *err)
{
    char *path = mm1_path_join(dir, "trainer_state.json"), *text = NULL;
    size_t len = 0;
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir) : MM1_OK;
    *out = (training){.step = -1};
    if (st == MM1_OK && mm1_path_exists(path)) {
        st = mm1_file_read(path, MAX_STATE_BYTES, &text, &len, err);
        if (st == MM1_OK) {
            json_error_t bad;
            json_int_t step = 0, n_steps = 0, tokens = 0, images = 0;
            json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
            if (root == NULL ||
                json_unpack_ex(root, &bad, 0, "{s:I, s:I, s:I, s:I, s:F}", "step", &step, "n_steps", &n_steps, "tokens",
                               &tokens, "images", &images, "seconds", &out->seconds) != 0) {
                st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
            } else {
                out->step = step;
                out->n_steps = n_steps;
                out->tokens = tokens;
                out->images = images;
            }
            json_decref(root);
        }
    }
    mm1_free(text);
    mm1_free(path);
    return st;
}

static mm1_status read_vocabulary(const char *dir, int64_t *n, mm1_error *err)
{
    char *path = mm1_path_join(dir, "tokenizer.json");
    mm1_tokenizer *t = NULL;
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir) : MM1_OK;
    *n = -1;
    if (st == MM1_OK && mm1_path_exists(path)) {
        st = mm1_tokenizer_load(path, &t, err);
        *n = st == MM1_OK ? mm1_tokenizer_vocab_size(t) : -1;
    }
    mm1_tokenizer_destroy(t);
    mm1_free(path);
    return st;
}

static mm1_status subject_open(subject *s, const char *dir, mm1_error *err)
{
    mm1_model_config config;
    char *path = mm1_path_join(dir, "model.safetensors");
    mm1_status st =
        path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir) : mm1_model_config_read(&config, dir, err);
    *s = (subject){.vocab_size = -1};
    st = st != MM1_OK ? st : mm1_model_init(&s->model, &config, err);
    st = st != MM1_OK ? st : mm1_safetensors_open(&s->weights, path, err);
    const int64_t n = s->model.params.n_items;
    if (st == MM1_OK && (s->tensors = mm1_calloc((size_t)n, sizeof *s->tensors)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
    }
    for (int64_t i = 0; st == MM1_OK && i < n; i++) {
        const mm1_param *p = s->model.params.items[i];
        st = mm1_safetensors_get(s->weights, p->name, p->tensor.rank, p->tensor.dims, &s->tensors[i], err);
    }
    st = st != MM1_OK ? st : read_vocabulary(dir, &s->vocab_size, err);
    st = st != MM1_OK ? st : read_training(dir, &s->training, err);
    mm1_free(path);
    return st;
}

static void subject_close(subject *s)
{
    mm1_free(s->tensors);
    mm1_safetensors_close(s->weights);
    mm1_model_deinit(&s->model);
}

/* Root mean square of all elements, a block at a time. */
static mm1_status tensor_rms(const mm1_safetensors_tensor *t, double *rms, mm1_error *err)
{
    float *block = mm1_alloc(CHUNK_ELEMS, sizeof *block);
    double sum = 0;
    mm1_status st = block == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", t->name) : MM1_OK;
    for (int64_t at = 0; st == MM1_OK && at < t->n_elements; at += CHUNK_ELEMS) {
        mm1_safetensors_tensor part = *t;
        const size_t each = mm1_dtype_bytes(t->dtype);
        part.n_elements = t->n_elements - at < CHUNK_ELEMS ? t->n_elements - at : CHUNK_ELEMS;
        part.n_bytes = (size_t)part.n_elements * each;
        part.data = t->data + (size_t)at * each;
        st = mm1_safetensors_to_f32(&part, block, err);
        for (int64_t i = 0; st == MM1_OK && i < part.n_elements; i++) {
            sum += (double)block[i] * block[i];
        }
    }
    mm1_free(block);
    *rms = t->n_elements > 0 ? sqrt(sum / (double)t->n_elements) : 0;
    return st;
}

/* "F32", or "BF16 and F32" for mixtures. */
static void dtype_names(const subject *s, char *text, size_t cap)
{
    bool seen[MM1_DTYPE_COUNT] = {0};
    size_t len = 0;
    for (int64_t i = 0; i < s->model.params.n_items; i++) {
        seen[s->tensors[i]->dtype] = true;
    }
    text[0] = '\0';
    for (int d = 0; d < MM1_DTYPE_COUNT; d++) {
        if (seen[d] && len < cap) {
            const int n = snprintf(text + len, cap - len, "%s%s", len > 0 ? " and " : "", mm1_dtype_name((mm1_dtype)d));
            len += n > 0 ? (size_t)n : 0;
        }
    }
}

typedef struct counts {
    int64_t vision, connector, decoder, embeddings, text, all, active, bytes;
} counts;

static counts count(const subject *s)
{
    const mm1_params *p = &s->model.params;
    const mm1_decoder *d = &s->model.decoder;
    counts c = {.vision = mm1_params_count(p, MM1_GROUP_VISION),
                .connector = mm1_params_count(p, MM1_GROUP_CONNECTOR),
                .embeddings = mm1_decoder_n_embeddings(d),
                .text = mm1_params_count(p, MM1_GROUP_TEXT),
                .all = mm1_params_count(p, MM1_GROUP_COUNT)};
    c.decoder = mm1_params_count(p, MM1_GROUP_DECODER) - c.embeddings;
    c.active = mm1_params_count(p, MM1_GROUP_COUNT) - mm1_decoder_idle_params(&d->config, d->config.moe.top_k);
    for (int64_t i = 0; i < p->n_items; i++) {
        c.bytes += (int64_t)s->tensors[i]->n_bytes;
    }
    return c;
}

static void print_vision(const mm1_vision_config *v)
{
    const long long grid = (long long)mm1_vision_grid(v);
    (void)printf("encoder    %lld px in patches of %lld (%lld x %lld), %lld layers, width %lld, %lld heads, MLP %lld\n",
                 (long long)v->image_size, (long long)v->patch_size, grid, grid, (long long)v->n_layers,
                 (long long)v->width, (long long)v->n_heads, (long long)v->mlp_width);
}

static void print_connector(const mm1_connector_config *n)
{
    static const char *const connectors[MM1_CONNECTOR_COUNT] = {"average pooling", "attention pooling", "C-Abstractor"};
    (void)printf("connector  %s to %lld visual tokens",
                 (unsigned)n->kind < MM1_CONNECTOR_COUNT ? connectors[n->kind] : "?", (long long)n->n_tokens);
    if (n->kind == MM1_CONNECTOR_C_ABSTRACTOR) {
        (void)printf(", %lld blocks before and after, width %lld", (long long)n->depth, (long long)n->hidden);
    }
    (void)printf("\n");
}

static void print_decoder(const mm1_decoder_config *d)
{
    (void)printf("decoder    %lld layers, width %lld, %lld heads (%lld for keys) of %lld, %s MLP %lld, %s, %s "
                 "positions up to %lld, %lld ids%s\n",
                 (long long)d->n_layers, (long long)d->width, (long long)d->n_heads, (long long)d->n_kv_heads,
                 (long long)d->head_dim, d->gated ? "gated" : "plain", (long long)d->mlp_width, mm1__act_names[d->act],
                 d->positions == MM1_POSITIONS_ROPE ? "rotary" : "learned", (long long)d->max_positions,
                 (long long)d->vocab_size, d->tie_embeddings ? ", tied" : "");
    if (d->moe.n_experts > 0) {
        (void)printf("experts    %lld of width %lld in every %lld. layer, %lld for a position, gates %s\n",
                     (long long)d->moe.n_experts, (long long)d->moe.mlp_width, (long long)d->moe.every,
                     (long long)d->moe.top_k, d->moe.normalize ? "that add up to 1" : "as the softmax gives them");
    }
}

static void print_text_tower(const mm1_model_config *c)
{
    const mm1_text_config *t = &c->text;
    (void)printf(
        "text tower %lld layers, width %lld, %lld heads, MLP %lld, positions up to %lld, %lld ids; %lld dimensions "
        "in common\n",
        (long long)t->n_layers, (long long)t->width, (long long)t->n_heads, (long long)t->mlp_width,
        (long long)t->max_positions, (long long)t->vocab_size, (long long)c->joint.dim);
}

static void print_configuration(const mm1_model_config *c)
{
    if (mm1_model_config_has_vision(c)) {
        print_vision(&c->vision);
    }
    if (c->kind == MM1_MODEL_MM1) {
        print_connector(&c->connector);
    }
    if (mm1_model_config_has_decoder(c)) {
        print_decoder(&c->decoder);
    }
    if (c->kind == MM1_MODEL_CLIP) {
        print_text_tower(c);
    }
}

static void print_count(const char *name, int64_t n)
{
    char text[32];
    mm1_cli_count(text, sizeof text, (double)n);
    (void)printf("  %-12s %14lld  %6s\n", name, (long long)n, text);
}

static void shape_text(const mm1_safetensors_tensor *t, char *text, size_t cap)
{
    size_t len = 0;
    text[0] = '\0';
    for (int d = 0; d < t->n_dims && len < cap; d++) {
        const int n = snprintf(text + len, cap - len, "%s%lld", d > 0 ? " x " : "", (long long)t->shape[d]);
        len += n > 0 ? (size_t)n : 0;
    }
}

static mm1_status print_tensors(const subject *s, mm1_error *err)
{
    mm1_status st = MM1_OK;
    (void)printf("\n%-56s %-20s %-5s %-10s %-6s %s\n", "tensor", "shape", "dtype", "part", "decay", "rms");
    for (int64_t i = 0; st == MM1_OK && i < s->model.params.n_items; i++) {
        const mm1_param *p = s->model.params.items[i];
        char shape[160];
        double rms = 0;
        shape_text(s->tensors[i], shape, sizeof shape);
        st = tensor_rms(s->tensors[i], &rms, err);
        if (st == MM1_OK) {
            (void)printf("%-56s %-20s %-5s %-10s %-6s %.4g\n", p->name, shape, mm1_dtype_name(s->tensors[i]->dtype),
                         mm1_param_group_name(p->group), p->decay ? "yes" : "no", rms);
        }
    }
    return st;
}

static mm1_status print_text(const subject *s, const args *a, mm1_error *err)
{
    const counts c = count(s);
    char dtypes[96], time[32];
    dtype_names(s, dtypes, sizeof dtypes);
    print_configuration(&s->model.config);
    (void)printf("parameters\n");
    print_count("vision", c.vision);
    print_count("connector", c.connector);
    print_count("decoder", c.decoder);
    print_count("embeddings", c.embeddings);
    print_count("text tower", c.text);
    print_count("all", c.all);
    if (c.active < c.all) {
        print_count("active", c.active);
    }
    (void)printf("weights    %s, %.1f MiB, %lld tensors\n", dtypes, (double)c.bytes / 1048576,
                 (long long)s->model.params.n_items);
    if (s->vocab_size >= 0) {
        (void)printf("tokenizer  %lld ids\n", (long long)s->vocab_size);
    } else {
        (void)printf("tokenizer  none\n");
    }
    if (s->training.step >= 0) {
        mm1_cli_duration(time, sizeof time, s->training.seconds);
        (void)printf("training   step %lld of %lld, %lld positions, %lld images, %s\n", (long long)s->training.step,
                     (long long)s->training.n_steps, (long long)s->training.tokens, (long long)s->training.images,
                     time);
    }
    return a->tensors ? print_tensors(s, err) : MM1_OK;
}

static mm1_status tensors_json(const subject *s, json_t *list, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (int64_t i = 0; st == MM1_OK && i < s->model.params.n_items; i++) {
        const mm1_param *p = s->model.params.items[i];
        const mm1_safetensors_tensor *t = s->tensors[i];
        json_t *shape = json_array();
        double rms = 0;
        for (int d = 0; d < t->n_dims; d++) {
            (void)json_array_append_new(shape, json_integer(t->shape[d]));
        }
        st = tensor_rms(t, &rms, err);
        (void)json_array_append_new(list, json_pack("{s:s, s:o, s:s, s:s, s:b, s:o}", "name", p->name, "shape", shape,
                                                    "dtype", mm1_dtype_name(t->dtype), "group",
                                                    mm1_param_group_name(p->group), "decay", (int)p->decay, "rms",
                                                    isfinite(rms) ? json_real(rms) : json_null()));
    }
    return st;
}

static mm1_status print_json(const subject *s, const args *a, mm1_error *err)
{
    const counts c = count(s);
    char dtypes[96], *text = NULL;
    mm1_status st = MM1_OK;
    json_t *config = NULL;
    char *path = mm1_path_join(a->dir, "config.json"), *raw = NULL;
    size_t len = 0;
    dtype_names(s, dtypes, sizeof dtypes);
    st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory") : mm1_file_read(path, 1 << 20, &raw, &len, err);
    if (st == MM1_OK && (config = json_loadb(raw, len, 0, NULL)) == NULL) {
        config = json_null(); /* read once already, as YAML, which knows comments that JSON does not */
    }
    json_t *root = json_pack(
        "{s:o?, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:s, s:I, s:I}", "config", config, "parameters", "vision",
        (json_int_t)c.vision, "connector", (json_int_t)c.connector, "decoder", (json_int_t)c.decoder, "embeddings",
        (json_int_t)c.embeddings, "text", (json_int_t)c.text, "all", (json_int_t)c.all, "active", (json_int_t)c.active,
        "dtype", dtypes, "weight_bytes", (json_int_t)c.bytes, "n_tensors", (json_int_t)s->model.params.n_items);
    (void)json_object_set_new(root, "vocab_size", s->vocab_size >= 0 ? json_integer(s->vocab_size) : json_null());
    if (s->training.step >= 0) {
        const training *t = &s->training;
        (void)json_object_set_new(root, "training",
                                  json_pack("{s:I, s:I, s:I, s:I, s:f}", "step", (json_int_t)t->step, "n_steps",
                                            (json_int_t)t->n_steps, "tokens", (json_int_t)t->tokens, "images",
                                            (json_int_t)t->images, "seconds", t->seconds));
    }
    if (st == MM1_OK && a->tensors) {
        json_t *list = json_array();
        st = tensors_json(s, list, err);
        (void)json_object_set_new(root, "tensors", list);
    }
    if (st == MM1_OK && (text = json_dumps(root, JSON_INDENT(2))) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the text");
    }
    if (st == MM1_OK) {
        (void)printf("%s\n", text);
    }
    free(text);
    json_decref(root);
    mm1_free(raw);
    mm1_free(path);
    return st;
}

int mm1_cmd_inspect(int argc, char **argv)
{
    const struct argp argp = {options, parse, "DIR", doc, NULL, NULL, NULL};
    args a = {0};
    mm1_error err = {0};
    subject s = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_status st = subject_open(&s, a.dir, &err);
    if (st == MM1_OK) {
        st = a.json ? print_json(&s, &a, &err) : print_text(&s, &a, &err);
    }
    subject_close(&s);
    return mm1_cli_finish("inspect", st, &err);
}

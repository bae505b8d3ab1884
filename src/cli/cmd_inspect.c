/* cmd_inspect.c - mm1 inspect: what a model folder or checkpoint holds, ours or another's, without loading it.  Weights
 * stay mapped; one tensor of them at a time becomes f32. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/import_gguf.h"
#include "model/lora.h"
#include "model/model.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STATE_BYTES = 1 << 20 };

static const char doc[] =
    "Describes the model in a folder: configuration, parameters by part, element type, tokenizer, and how far the "
    "training had come if it is a checkpoint. A model of another maker is shown as mm1 understands it: under mm1's "
    "names, with the tensors that each parameter comes from.\vExits with 3 if a weight is missing, is none of the "
    "model, "
    "or has another shape than the configuration says.";

static const struct argp_option options[] = {
    {"tensors", 't', NULL, 0, "list every parameter with shape, part, weight decay and root mean square", 0},
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
    mm1_import import;
    mm1_weights weights;
    int64_t vocab_size; /* ids of the tokenizer; -1: no tokenizer.json */
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

/* A folder may lack the tokenizer. */
static mm1_status read_vocabulary(const mm1_weights *w, const char *path, int64_t *n, mm1_error *err)
{
    char *file = mm1_path_join(path, "tokenizer.json");
    mm1_tokenizer *t = NULL;
    mm1_status st = file == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path) : MM1_OK;
    *n = -1;
    if (st == MM1_OK && (mm1_path_is_gguf(path) || mm1_path_exists(file))) {
        st = mm1_import_tokenizer(w, path, &t, err);
        *n = st == MM1_OK ? mm1_tokenizer_vocab_size(t) : -1;
    }
    mm1_tokenizer_destroy(t);
    mm1_free(file);
    return st;
}

static mm1_status subject_open(subject *s, const char *dir, mm1_error *err)
{
    *s = (subject){.vocab_size = -1};
    mm1_status st = mm1_lora_is_folder(dir) ? mm1_error_set(err, MM1_E_UNSUPPORTED,
                                                            "%s: adapters; `mm1 merge-lora` makes a model of them and "
                                                            "their base, which can be looked at",
                                                            dir)
                                            : mm1_import_open(&s->import, &s->weights, dir, err);
    st = st != MM1_OK ? st : mm1_model_init(&s->model, &s->import.config, err);
    st = st != MM1_OK ? st : mm1_import_check(&s->import, &s->model.params, &s->weights, err);
    st = st != MM1_OK ? st : read_vocabulary(&s->weights, dir, &s->vocab_size, err);
    st = st != MM1_OK ? st : read_training(dir, &s->training, err);
    return st;
}

static void subject_close(subject *s)
{
    mm1_weights_close(&s->weights);
    mm1_model_deinit(&s->model);
}

/* Whether the tensors of a file have other names or pieces than the parameters. */
static bool is_foreign(const subject *s)
{
    return s->import.n_parts > 0;
}

enum { MAX_TYPES = 8 };

/* What is said of the tensors of one parameter, or of all. */
typedef struct summary {
    const mm1_weights *weights;
    const char *types[MAX_TYPES];
    int n_types;
    int64_t n_bytes, n_elements;
    double sum_sq;
    bool with_values; /* sum_sq is wanted */
    json_t *names;    /* NULL: not wanted */
} summary;

static mm1_status add_tensor(void *ctx, const mm1_weight *from, mm1_error *err)
{
    summary *s = ctx;
    size_t n = 1;
    int type = 0;
    while (type < s->n_types && strcmp(s->types[type], from->dtype) != 0) {
        type++;
    }
    if (type == s->n_types && type < MAX_TYPES) {
        s->types[s->n_types++] = from->dtype;
    }
    for (int d = 0; d < from->n_dims; d++) {
        n *= (size_t)from->shape[d];
    }
    s->n_bytes += (int64_t)from->n_bytes;
    s->n_elements += (int64_t)n;
    if (s->names != NULL) {
        (void)json_array_append_new(s->names, json_string(from->name));
    }
    if (!s->with_values) {
        return MM1_OK;
    }
    float *x = mm1_alloc(n, sizeof *x);
    const mm1_status st = x != NULL
                              ? s->weights->read(from, x, err)
                              : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read '%s'", from->path, from->name);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        s->sum_sq += (double)x[i] * x[i];
    }
    mm1_free(x);
    return st;
}

/* "F32", or "BF16 and F32" for mixtures. */
static void type_names(const summary *s, char *text, size_t cap)
{
    size_t len = 0;
    text[0] = '\0';
    for (int i = 0; i < s->n_types && len < cap; i++) {
        len += (size_t)snprintf(text + len, cap - len, "%s%s", i > 0 ? " and " : "", s->types[i]);
    }
}

static double root_mean_square(const summary *s)
{
    return s->n_elements > 0 ? sqrt(s->sum_sq / (double)s->n_elements) : 0;
}

/* Of all parameters, without their values. */
static mm1_status summarise(const subject *s, summary *all, mm1_error *err)
{
    mm1_status st = MM1_OK;
    *all = (summary){.weights = &s->weights};
    for (int64_t i = 0; st == MM1_OK && i < s->model.params.n_items; i++) {
        st = mm1_import_sources(&s->import, s->model.params.items[i], &s->weights, add_tensor, all, err);
    }
    return st;
}

typedef struct counts {
    int64_t vision, connector, decoder, embeddings, head, all, active;
} counts;

static counts count(const subject *s)
{
    const mm1_params *p = &s->model.params;
    counts c = {.vision = mm1_params_count(p, MM1_GROUP_VISION),
                .connector = mm1_params_count(p, MM1_GROUP_CONNECTOR),
                .embeddings = mm1_decoder_n_embeddings(&s->model.decoder),
                .head = mm1_params_count(p, MM1_GROUP_HEAD),
                .all = mm1_params_count(p, MM1_GROUP_COUNT)};
    c.decoder = mm1_params_count(p, MM1_GROUP_DECODER) - c.embeddings;
    c.active = c.all - mm1_decoder_idle_params(&s->model.decoder.config, s->model.decoder.config.moe.top_k);
    return c;
}

static void print_vision(const mm1_vision_config *v)
{
    const long long grid = (long long)mm1_vision_grid(v);
    (void)printf(
        "encoder    %lld px in patches of %lld (%lld x %lld), %lld layers, width %lld, %lld heads, %sMLP %lld, "
        "%s",
        (long long)v->image_size, (long long)v->patch_size, grid, grid, (long long)mm1_vision_depth(v),
        (long long)v->width, (long long)v->n_heads, v->gated ? "gated " : "", (long long)v->mlp_width,
        mm1__act_names[v->act]);
    const struct {
        bool is_on;
        const char *name;
    } switches[] = {{v->class_token, "class token"},
                    {v->pre_norm, "norm before the blocks"},
                    {v->layer_scale, "LayerScale"},
                    {v->feature_layer != -1, "no last norm"},
                    {v->pool == MM1_VISION_POOL_CLASS, "pooled by its class token"},
                    {v->pool == MM1_VISION_POOL_MEAN, "pooled by the mean"},
                    {v->pool == MM1_VISION_POOL_ATTENTION, "pooled by attention"}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        (void)printf("%s%s", switches[i].is_on ? ", " : "", switches[i].is_on ? switches[i].name : "");
    }
    if (v->projection > 0) {
        (void)printf(" to %lld", (long long)v->projection);
    }
    (void)printf("\n");
}

static void print_connector(const mm1_connector_config *n)
{
    static const char *const connectors[MM1_CONNECTOR_COUNT] = {"average pooling", "attention pooling", "C-Abstractor",
                                                                "two-layer MLP", "pixel shuffle"};
    (void)printf("connector  %s to %lld visual tokens",
                 (unsigned)n->kind < MM1_CONNECTOR_COUNT ? connectors[n->kind] : "?", (long long)n->n_tokens);
    if (n->kind == MM1_CONNECTOR_C_ABSTRACTOR) {
        (void)printf(", %lld blocks before and after, width %lld", (long long)n->depth, (long long)n->hidden);
    }
    (void)printf("\n");
}

static void print_decoder(const mm1_decoder_config *d)
{
    char window[48] = "";
    if (d->sliding_window > 0) {
        (void)snprintf(window, sizeof window, ", window %lld", (long long)d->sliding_window);
    }
    (void)printf("decoder    %lld layers, width %lld, %lld heads (%lld for keys) of %lld, %s MLP %lld, %s, %s "
                 "positions up to %lld%s%s, %lld ids%s\n",
                 (long long)d->n_layers, (long long)d->width, (long long)d->n_heads, (long long)d->n_kv_heads,
                 (long long)d->head_dim, d->gated ? "gated" : "plain", (long long)d->mlp_width, mm1__act_names[d->act],
                 d->positions == MM1_POSITIONS_ROPE ? "rotary" : "learned", (long long)d->max_positions, window,
                 d->qk_norm != MM1_QK_NORM_NONE ? ", queries and keys normalised" : "", (long long)d->vocab_size,
                 d->tie_embeddings ? ", tied" : "");
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

static void print_pixel_head(const mm1_model_config *c)
{
    (void)printf("head       predicts patches, MLP %lld\n", (long long)c->pixel_head.width);
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
    if (c->kind == MM1_MODEL_AIM) {
        print_pixel_head(c);
    }
}

static void print_count(const char *name, int64_t n)
{
    char text[32];
    mm1_cli_count(text, sizeof text, (double)n);
    (void)printf("  %-12s %14lld  %6s\n", name, (long long)n, text);
}

static void shape_text(const mm1_tensor *t, char *text, size_t cap)
{
    size_t len = 0;
    text[0] = '\0';
    for (int d = 0; d < t->rank && len < cap; d++) {
        len += (size_t)snprintf(text + len, cap - len, "%s%lld", d > 0 ? " x " : "", (long long)t->dims[d]);
    }
}

/* Our name and shape; then, if they differ, the tensors that it comes from. */
static mm1_status print_tensor(const subject *s, const mm1_param *p, mm1_error *err)
{
    char shape[160], types[96];
    const char *name;
    size_t i;
    json_t *value;
    summary x = {.weights = &s->weights, .with_values = true, .names = json_array()};
    const mm1_status st = mm1_import_sources(&s->import, p, &s->weights, add_tensor, &x, err);
    if (st == MM1_OK) {
        shape_text(&p->tensor, shape, sizeof shape);
        type_names(&x, types, sizeof types);
        (void)printf("%-56s %-20s %-5s %-10s %-6s %.4g\n", p->name, shape, types, mm1_param_group_name(p->group),
                     p->decay ? "yes" : "no", root_mean_square(&x));
        json_array_foreach(x.names, i, value)
        {
            name = json_string_value(value);
            if (is_foreign(s) && name != NULL) {
                (void)printf("    %s %s\n", i == 0 ? "from" : "    ", name);
            }
        }
    }
    json_decref(x.names);
    return st;
}

static mm1_status print_text(const subject *s, const args *a, mm1_error *err)
{
    const counts c = count(s);
    char types[96], time[32];
    summary all;
    mm1_status st = summarise(s, &all, err);
    if (st != MM1_OK) {
        return st;
    }
    type_names(&all, types, sizeof types);
    if (is_foreign(s)) {
        (void)printf("source     model_type \"%s\", %zu tensors\n", s->import.architecture->model_type, s->weights.n);
    }
    print_configuration(&s->model.config);
    (void)printf("parameters\n");
    print_count("vision", c.vision);
    print_count("connector", c.connector);
    print_count("decoder", c.decoder);
    print_count("embeddings", c.embeddings);
    print_count("head", c.head);
    print_count("all", c.all);
    if (c.active < c.all) {
        print_count("active", c.active);
    }
    (void)printf("weights    %s, %.1f MiB, %lld tensors\n", types, (double)all.n_bytes / 1048576,
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
    if (a->tensors) {
        (void)printf("\n%-56s %-20s %-5s %-10s %-6s %s\n", "tensor", "shape", "dtype", "part", "decay", "rms");
    }
    for (int64_t i = 0; st == MM1_OK && a->tensors && i < s->model.params.n_items; i++) {
        st = print_tensor(s, s->model.params.items[i], err);
    }
    return st;
}

static mm1_status tensors_json(const subject *s, json_t *list, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (int64_t i = 0; st == MM1_OK && i < s->model.params.n_items; i++) {
        const mm1_param *p = s->model.params.items[i];
        char types[96];
        json_t *shape = json_array();
        summary x = {.weights = &s->weights, .with_values = true, .names = json_array()};
        for (int d = 0; d < p->tensor.rank; d++) {
            (void)json_array_append_new(shape, json_integer(p->tensor.dims[d]));
        }
        st = mm1_import_sources(&s->import, p, &s->weights, add_tensor, &x, err);
        type_names(&x, types, sizeof types);
        const double rms = root_mean_square(&x);
        (void)json_array_append_new(list, json_pack("{s:s, s:o, s:s, s:s, s:b, s:o, s:o}", "name", p->name, "shape",
                                                    shape, "dtype", types, "group", mm1_param_group_name(p->group),
                                                    "decay", (int)p->decay, "rms",
                                                    isfinite(rms) ? json_real(rms) : json_null(), "source", x.names));
    }
    return st;
}

static mm1_status print_json(const subject *s, const args *a, mm1_error *err)
{
    const counts c = count(s);
    char types[96];
    summary all;
    json_t *config = NULL;
    char *path = mm1_path_join(a->dir, "config.json"), *raw = NULL;
    size_t len = 0;
    mm1_status st = summarise(s, &all, err);
    type_names(&all, types, sizeof types);
    if (st == MM1_OK && path == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory");
    } else if (st == MM1_OK && !mm1_path_is_gguf(a->dir)) {
        st = mm1_file_read(path, 1 << 20, &raw, &len, err);
        config = st == MM1_OK ? json_loadb(raw, len, 0, NULL) : NULL;
    }
    if (config == NULL) {
        config = json_null(); /* of a GGUF file; or it was read as YAML, which knows comments that JSON does not */
    }
    json_t *root = json_pack("{s:s, s:o?, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:s, s:I, s:I}", "model_type",
                             s->import.architecture->model_type, "config", config, "parameters", "vision",
                             (json_int_t)c.vision, "connector", (json_int_t)c.connector, "decoder",
                             (json_int_t)c.decoder, "embeddings", (json_int_t)c.embeddings, "head", (json_int_t)c.head,
                             "all", (json_int_t)c.all, "active", (json_int_t)c.active, "dtype", types, "weight_bytes",
                             (json_int_t)all.n_bytes, "n_tensors", (json_int_t)s->model.params.n_items);
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
    if (st == MM1_OK) {
        st = mm1_cli_print_json(root, JSON_INDENT(2), err);
    } else {
        json_decref(root);
    }
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

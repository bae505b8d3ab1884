/* cmd_convert.c - mm1 convert: a model in another form and element type. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "model/carry_over.h"
#include "model/export.h"
#include "model/export_gguf.h"
#include "model/import_gguf.h"
#include "model/model_folder.h"
#include <string.h>

static const char doc[] =
    "Loads the model in the folder SOURCE (a checkpoint is one, and so is a model of another maker that mm1 "
    "understands) or in the GGUF file SOURCE, and writes it to the folder or file DEST: configuration, tokenizer, chat "
    "template and weights, without the state of a training.\vSOURCE is not changed. DEST appears only when it is "
    "complete. As f32 "
    "it "
    "holds the same numbers; bf16 and f16 halve it and round; q8_0 and q4_0, for GGUF alone, take 8.5 and 4.5 bits a "
    "weight.";

typedef struct args {
    const char *source, *output;
    int to;          /* row of forms */
    mm1_dtype dtype; /* MM1_DTYPE_COUNT: for GGUF alone */
    mm1_quant quant; /* the same for GGUF */
    int64_t image_size;
    bool encoder, force;
} args;

/* ---- the forms that a model can be written in ---- */

/* What fills a folder. */
typedef struct call {
    const mm1_model *model;
    const char *source;
    mm1_dtype dtype;
    const char *model_type; /* what it became; NULL: ours */
} call;

/* How one speaks to the model stays with it. */
static mm1_status carry_over(const call *c, const char *dir, mm1_error *err)
{
    return c->model->tokenizer != NULL ? mm1_carry_chat_template(c->source, dir, err) : MM1_OK;
}

static mm1_status fill_mm1(void *ctx, const char *dir, mm1_error *err)
{
    const call *c = ctx;
    const mm1_status st = mm1_model_save(c->model, dir, c->dtype, err);
    return st != MM1_OK ? st : carry_over(c, dir, err);
}

static mm1_status fill_hf(void *ctx, const char *dir, mm1_error *err)
{
    call *c = ctx;
    const mm1_status st = mm1_export_hf(c->model, c->source, dir, c->dtype, &c->model_type, err);
    return st != MM1_OK ? st : carry_over(c, dir, err);
}

static mm1_status write_gguf(const call *c, const char *path, mm1_quant format, mm1_error *err)
{
    char *template = NULL;
    mm1_status st = c->model->tokenizer != NULL ? mm1_carry_chat_text(c->source, &template, err) : MM1_OK;
    st = st != MM1_OK ? st : mm1_model_export_gguf(c->model, path, format, template, err);
    mm1_free(template);
    return st;
}

static const struct form {
    const char *name;
    mm1_folder_fill *fill; /* NULL: is no folder */
} forms[] = {{"mm1", fill_mm1}, {"hf", fill_hf}, {"gguf", NULL}};
enum { N_FORMS = sizeof forms / sizeof *forms };

/* ---- options ---- */

static const struct argp_option options[] = {
    {"to", 'T', "mm1|hf|gguf", 0,
     "form: mm1's own (default); that of Hugging Face transformers, in the architecture that SOURCE has or else the "
     "first that can hold it; a GGUF file for llama.cpp, whose name ends with .gguf",
     0},
    {"dtype", 'd', "f32|bf16|f16|q8_0|q4_0", 0, "element type of the weights (default: f32)", 0},
    {"image-size", 'r', "PX", 0, MM1_CLI_IMAGE_SIZE_HELP, 0},
    {"encoder", 'e', NULL, 0, "its vision encoder alone, out of a model of any kind that has one", 0},
    {"force", 'f', NULL, 0, "replace DEST if it is a model that is no checkpoint", 0},
    {0},
};

static void parse_dtype(args *a, const struct argp_state *state, const char *text)
{
    static const struct {
        const char *name;
        mm1_quant quant;
        mm1_dtype dtype;
    } types[] = {{"f32", MM1_QUANT_F32, MM1_DTYPE_F32},
                 {"bf16", MM1_QUANT_BF16, MM1_DTYPE_BF16},
                 {"f16", MM1_QUANT_F16, MM1_DTYPE_F16},
                 {"q8_0", MM1_QUANT_Q8_0, MM1_DTYPE_COUNT},
                 {"q4_0", MM1_QUANT_Q4_0, MM1_DTYPE_COUNT}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(text, types[i].name) == 0) {
            a->quant = types[i].quant;
            a->dtype = types[i].dtype;
            return;
        }
    }
    argp_error(state, "--dtype %s: one of f32, bf16, f16, q8_0, q4_0 is wanted", text);
}

/* What the options say together. */
static void check(const args *a, const struct argp_state *state)
{
    const bool is_file = forms[a->to].fill == NULL;
    if (!is_file && a->dtype == MM1_DTYPE_COUNT) {
        argp_error(state, "--dtype %s is for --to gguf", mm1_quant_name(a->quant));
    }
    if (is_file != mm1_path_is_gguf(a->output)) {
        argp_error(state, "DEST %s: its name ends with .gguf if --to gguf says so, and only then", a->output);
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'T':
        for (a->to = 0; a->to < N_FORMS && strcmp(arg, forms[a->to].name) != 0; a->to++) {
        }
        if (a->to == N_FORMS) {
            argp_error(state, "--to %s: one of mm1, hf, gguf is wanted", arg);
        }
        break;
    case 'd': parse_dtype(a, state, arg); break;
    case 'r': a->image_size = mm1_cli_image_size(state, arg); break;
    case 'e': a->encoder = true; break;
    case 'f': a->force = true; break;
    case ARGP_KEY_ARG:
        if (a->source != NULL && a->output != NULL) {
            argp_error(state, "SOURCE and DEST are wanted, \"%s\" is one more", arg);
        }
        *(a->source == NULL ? &a->source : &a->output) = arg;
        break;
    case ARGP_KEY_END:
        if (a->output == NULL) {
            argp_error(state, "%s is wanted", a->source == NULL ? "SOURCE" : "DEST");
        }
        check(a, state);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int mm1_cmd_convert(int argc, char **argv)
{
    const struct argp argp = {options, parse, "SOURCE DEST", doc, NULL, NULL, NULL};
    args a = {.dtype = MM1_DTYPE_F32, .quant = MM1_QUANT_F32};
    mm1_error err = {0};
    mm1_model model = {0}, encoder = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_threads_set(0);
    call c = {.model = &model, .source = a.source, .dtype = a.dtype};
    mm1_status st = mm1_model_folder_check(a.output, a.force, &err);
    st = st != MM1_OK ? st : mm1_model_load_at(&model, a.source, a.image_size, false, &err);
    if (st == MM1_OK && a.encoder) {
        st = mm1_model_take_encoder(&encoder, &model, &err);
        c.model = &encoder;
    }
    if (st == MM1_OK) {
        st = forms[a.to].fill != NULL ? mm1_model_folder_make(a.output, forms[a.to].fill, &c, &err)
                                      : write_gguf(&c, a.output, a.quant, &err);
    }
    st = st != MM1_OK ? st : mm1_cli_print_files(a.output, &err);
    if (st == MM1_OK && c.model_type != NULL) {
        (void)printf("model_type %s\n", c.model_type);
    }
    mm1_model_deinit(&encoder);
    mm1_model_deinit(&model);
    return mm1_cli_finish("convert", st, &err);
}

/* cmd_export.c - mm1 export: a model folder out of a model folder or checkpoint, in the element type that is wanted. */
#include "cli/cli.h"

#include "base/thread.h"
#include "model/model_folder.h"

static const char doc[] =
    "Loads the model in a folder (a checkpoint is one) and writes a new model folder: configuration, tokenizer and "
    "weights, not the state of a training.\vThe folder appears complete or not at all.";

static const struct argp_option options[] = {
    {"model", 'm', "DIR", 0, "model folder or checkpoint to read", 0},
    {"output", 'o', "DIR", 0, "model folder to write", 0},
    {"dtype", 'd', "f32|bf16|f16", 0, "element type of the weights (default: f32)", 0},
    {"force", 'f', NULL, 0, "replace the model folder that is there", 0},
    {0},
};

typedef struct args {
    const char *model, *output;
    mm1_dtype dtype;
    bool force;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'm': a->model = arg; break;
    case 'o': a->output = arg; break;
    case 'f': a->force = true; break;
    case 'd': a->dtype = mm1_cli_dtype(state, arg); break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" is no option; say --model DIR --output DIR", arg); break;
    case ARGP_KEY_END:
        if (a->model == NULL || a->output == NULL) {
            argp_error(state, "%s is wanted", a->model == NULL ? "--model" : "--output");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int mm1_cmd_export(int argc, char **argv)
{
    const struct argp argp = {options, parse, "--model DIR --output DIR", doc, NULL, NULL, NULL};
    args a = {.dtype = MM1_DTYPE_F32};
    mm1_error err = {0};
    mm1_model model = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_threads_set(0);
    mm1_status st = mm1_model_folder_check(a.output, a.force, &err);
    st = st != MM1_OK ? st : mm1_model_load(&model, a.model, false, &err);
    st = st != MM1_OK ? st : mm1_model_folder_write(&model, a.output, a.dtype, &err);
    st = st != MM1_OK ? st : mm1_cli_print_files(a.output, &err);
    mm1_model_deinit(&model);
    return mm1_cli_finish("export", st, &err);
}

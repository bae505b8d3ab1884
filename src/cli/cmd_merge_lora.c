/* cmd_merge_lora.c - mm1 merge-lora: a model out of a folder of adapters. */
#include "cli/cli.h"

#include "base/thread.h"
#include "model/lora.h"
#include "model/model_folder.h"

static const char doc[] =
    "Adds the adapters in DIR (a checkpoint of a training with lora.rank is one) to the model beside which they were "
    "trained, and writes the sum to OUT, a model folder like any other.\v"
    "adapter_config.json says where that model is.  OUT appears complete or not at all.  `mm1 generate` and the others "
    "take DIR as it is, too.";

static const struct argp_option options[] = {
    {"dtype", 'd', "f32|bf16|f16", 0, "element type of the weights (default: f32)", 0},
    {"force", 'f', NULL, 0, "replace the model folder that is there", 0},
    {0},
};

typedef struct args {
    const char *adapters, *output;
    mm1_dtype dtype;
    bool force;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'd': a->dtype = mm1_cli_dtype(state, arg); break;
    case 'f': a->force = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1) {
            argp_error(state, "DIR and OUT are wanted, \"%s\" is one more", arg);
        }
        *(state->arg_num == 0 ? &a->adapters : &a->output) = arg;
        break;
    case ARGP_KEY_END:
        if (a->output == NULL) {
            argp_error(state, "%s is wanted", a->adapters == NULL ? "DIR" : "OUT");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int mm1_cmd_merge_lora(int argc, char **argv)
{
    const struct argp argp = {options, parse, "DIR OUT", doc, NULL, NULL, NULL};
    args a = {.dtype = MM1_DTYPE_F32};
    mm1_error err = {0};
    mm1_model merged = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_threads_set(0);
    mm1_status st = mm1_kernels_init(NULL, &err);
    st = st != MM1_OK ? st : mm1_model_folder_check(a.output, a.force, &err);
    if (st == MM1_OK && !mm1_lora_is_folder(a.adapters)) {
        st = mm1_error_set(&err, MM1_E_ARG, "%s: there is no adapter_config.json in it", a.adapters);
    }
    st = st != MM1_OK ? st : mm1_model_load(&merged, a.adapters, false, &err);
    st = st != MM1_OK ? st : mm1_model_folder_write(&merged, a.output, a.dtype, &err);
    st = st != MM1_OK ? st : mm1_cli_print_files(a.output, &err);
    mm1_model_deinit(&merged);
    return mm1_cli_finish("merge-lora", st, &err);
}

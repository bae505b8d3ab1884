/* cmd_upcycle.c - mm1 upcycle: a mixture of experts out of a dense model. */
#include "cli/cli.h"

#include "base/thread.h"
#include "model/model_folder.h"
#include "model/upcycle.h"

static const char doc[] = "Makes a sparse model out of the dense one in DIR (a checkpoint is one) and writes it to "
                          "OUT: in every N-th layer of "
                          "the decoder E copies of the MLP, and a router that is drawn anew.\vBefore any training the "
                          "new model computes what "
                          "the old one does, up to rounding.  OUT appears complete or not at all.";

static const struct argp_option options[] = {
    {"experts", 'e', "E", 0, "experts of a sparse layer", 0},
    {"every", 'n', "N", 0, "every so many layers one becomes sparse (default: 2)", 0},
    {"top-k", 'k', "K", 0, "experts that a position goes to (default: 2)", 0},
    {"seed", 's', "SEED", 0, "draws the routers (default: 0)", 0},
    {"dtype", 'd', "f32|bf16|f16", 0, "element type of the weights (default: f32)", 0},
    {"force", 'f', NULL, 0, "replace the model folder that is there", 0},
    {0},
};

typedef struct args {
    const char *model, *output;
    mm1_moe_config moe;
    int64_t seed;
    mm1_dtype dtype;
    bool force;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'e': a->moe.n_experts = mm1_cli_int(state, "--experts", arg, 1, MM1_MAX_EXPERTS); break;
    case 'n': a->moe.every = mm1_cli_int(state, "--every", arg, 1, 1024); break;
    case 'k': a->moe.top_k = mm1_cli_int(state, "--top-k", arg, 1, MM1_MAX_EXPERTS); break;
    case 's': a->seed = mm1_cli_int(state, "--seed", arg, 0, INT64_MAX); break;
    case 'd': a->dtype = mm1_cli_dtype(state, arg); break;
    case 'f': a->force = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1) {
            argp_error(state, "DIR and OUT are wanted, \"%s\" is one more", arg);
        }
        *(state->arg_num == 0 ? &a->model : &a->output) = arg;
        break;
    case ARGP_KEY_END:
        if (a->output == NULL) {
            argp_error(state, "%s is wanted", a->model == NULL ? "DIR" : "OUT");
        }
        if (a->moe.n_experts == 0) {
            argp_error(state, "--experts is wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int mm1_cmd_upcycle(int argc, char **argv)
{
    const struct argp argp = {options, parse, "DIR OUT", doc, NULL, NULL, NULL};
    args a = {.dtype = MM1_DTYPE_F32};
    mm1_error err = {0};
    mm1_model dense = {0}, sparse = {0};
    mm1_status st = mm1_fields_defaults(mm1__moe_fields, &a.moe, &err);
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_threads_set(0);
    st = st != MM1_OK ? st : mm1_model_folder_check(a.output, a.force, &err);
    st = st != MM1_OK ? st : mm1_model_load(&dense, a.model, false, &err);
    st = st != MM1_OK ? st : mm1_model_upcycle(&dense, &a.moe, (uint64_t)a.seed, &sparse, &err);
    st = st != MM1_OK ? st : mm1_model_folder_write(&sparse, a.output, a.dtype, &err);
    st = st != MM1_OK ? st : mm1_cli_print_files(a.output, &err);
    mm1_model_deinit(&sparse);
    mm1_model_deinit(&dense);
    return mm1_cli_finish("upcycle", st, &err);
}

/* cmd_average.c - mm1 average: the mean of checkpoints. */
#include "cli/cli.h"

#include "base/thread.h"
#include "model/average.h"
#include "model/model_folder.h"

static const char doc[] =
    "Writes to OUT the model whose weights are the means of those of the models in DIR..., most often the last "
    "checkpoints of one run (`train.keep_last` says how many stay).\vAll else (tokenizer, preprocessing) is the first "
    "one's.  OUT appears complete or not at all.";

static const struct argp_option options[] = {
    {"dtype", 'd', "f32|bf16|f16", 0, "element type of the weights (default: f32)", 0},
    {"force", 'f', NULL, 0, "replace the model folder that is there", 0},
    {0},
};

typedef struct args {
    char **paths; /* [n], the last one is OUT */
    int n;
    mm1_dtype dtype;
    bool force;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'd': a->dtype = mm1_cli_dtype(state, arg); break;
    case 'f': a->force = true; break;
    case ARGP_KEY_ARGS:
        a->paths = state->argv + state->next;
        a->n = state->argc - state->next;
        break;
    case ARGP_KEY_END:
        if (a->n < 2) {
            argp_error(state, "at least one DIR and OUT are wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static mm1_status add(mm1_model *mean, int64_t n, const char *path, mm1_error *err)
{
    mm1_model next = {0};
    mm1_status st = mm1_model_load(&next, path, false, err);
    if (st == MM1_OK) {
        st = mm1_model_average_add(mean, n, &next, err);
        st = st != MM1_OK ? mm1_error_wrap(err, st, "%s", path) : st;
    }
    mm1_model_deinit(&next);
    return st;
}

int mm1_cmd_average(int argc, char **argv)
{
    const struct argp argp = {options, parse, "DIR... OUT", doc, NULL, NULL, NULL};
    args a = {.dtype = MM1_DTYPE_F32};
    mm1_error err = {0};
    mm1_model mean = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_threads_set(0);
    const char *output = a.paths[a.n - 1];
    mm1_status st = mm1_model_folder_check(output, a.force, &err);
    st = st != MM1_OK ? st : mm1_model_load(&mean, a.paths[0], false, &err);
    for (int i = 1; st == MM1_OK && i < a.n - 1; i++) {
        st = add(&mean, i, a.paths[i], &err);
    }
    st = st != MM1_OK ? st : mm1_model_folder_write(&mean, output, a.dtype, &err);
    st = st != MM1_OK ? st : mm1_cli_print_files(output, &err);
    mm1_model_deinit(&mean);
    return mm1_cli_finish("average", st, &err);
}

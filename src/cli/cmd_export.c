/* cmd_export.c - mm1 export: a model folder out of a model folder or checkpoint, in the element type that is wanted. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "model/model.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
    case 'd':
        if (strcmp(arg, "f32") == 0) {
            a->dtype = MM1_DTYPE_F32;
        } else if (strcmp(arg, "bf16") == 0) {
            a->dtype = MM1_DTYPE_BF16;
        } else if (strcmp(arg, "f16") == 0) {
            a->dtype = MM1_DTYPE_F16;
        } else {
            argp_error(state, "--dtype %s: one of f32, bf16, f16 is wanted", arg);
        }
        break;
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

/* What stands at the output may be replaced only if it is a model and nothing more: --force must not cost anybody a
 * folder that was named by mistake. */
static mm1_status check_output(const args *a, mm1_error *err)
{
    mm1_model_config config;
    if (!mm1_path_exists(a->output)) {
        return MM1_OK;
    }
    if (!a->force) {
        return mm1_error_set(err, MM1_E_STATE, "%s is there already; say --force to replace it", a->output);
    }
    mm1_status st = mm1_model_config_read(&config, a->output, err);
    if (st != MM1_OK) {
        return mm1_error_set(err, MM1_E_STATE, "%s is not a model folder, so that it is not replaced; remove it first",
                             a->output);
    }
    char *state = mm1_path_join(a->output, "optimizer.safetensors");
    if (state == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", a->output);
    } else if (mm1_path_exists(state)) {
        st = mm1_error_set(err, MM1_E_STATE,
                           "%s is a checkpoint of a training, so that it is not replaced; give "
                           "another --output",
                           a->output);
    }
    mm1_free(state);
    return st;
}

/* Puts tmp in the place of the output, and what was there away. */
static mm1_status move_into_place(const char *tmp, const char *output, mm1_error *err)
{
    if (rename(tmp, output) == 0) {
        return MM1_OK;
    }
    if (errno == EEXIST || errno == ENOTEMPTY) {
        if (renameat2(AT_FDCWD, tmp, AT_FDCWD, output, RENAME_EXCHANGE) == 0) {
            return mm1_path_remove(tmp, err);
        }
        if (errno == EINVAL || errno == ENOSYS) { /* a file system that cannot exchange: not in one step then */
            const mm1_status st = mm1_path_remove(output, err);
            if (st != MM1_OK || rename(tmp, output) == 0) {
                return st;
            }
        }
    }
    return mm1_error_set(err, MM1_E_IO, "%s cannot be renamed to %s: %s", tmp, output, strerror(errno));
}

static mm1_status write_model(const args *a, const char *output, const mm1_model *m, mm1_error *err)
{
    const size_t len = strlen(output) + sizeof ".tmp";
    char *tmp = mm1_alloc(len, 1), *parent = mm1_path_dirname(output);
    mm1_status st = tmp == NULL || parent == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", output) : MM1_OK;
    if (st == MM1_OK) {
        (void)snprintf(tmp, len, "%s.tmp", output);
        st = mm1_path_remove(tmp, err);
        st = st != MM1_OK ? st : mm1_dir_make(tmp, err);
        st = st != MM1_OK ? st : mm1_model_save(m, tmp, a->dtype, err);
        st = st != MM1_OK ? st : mm1_dir_sync(tmp, err);
        st = st != MM1_OK ? st : move_into_place(tmp, output, err);
        st = st != MM1_OK ? st : mm1_dir_sync(parent, err);
        if (st != MM1_OK) {
            const mm1_status removed = mm1_path_remove(tmp, NULL);
            (void)removed; /* the first failure is the one to report */
        }
    }
    mm1_free(parent);
    mm1_free(tmp);
    return st;
}

static mm1_status print_sizes(const char *output, mm1_error *err)
{
    mm1_names names = {0};
    mm1_status st = mm1_dir_list(output, &names, err);
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        struct stat info;
        char *path = mm1_path_join(output, names.items[i]);
        if (path != NULL && stat(path, &info) == 0) {
            (void)printf("%12lld  %s\n", (long long)info.st_size, path);
        }
        mm1_free(path);
    }
    mm1_names_free(&names);
    return st;
}

int mm1_cmd_export(int argc, char **argv)
{
    const struct argp argp = {options, parse, "--model DIR --output DIR", doc, NULL, NULL, NULL};
    args a = {.dtype = MM1_DTYPE_F32};
    mm1_error err = {0};
    mm1_model model = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    /* "out/" is "out": the temporary folder stands beside it. */
    char *output = mm1_strdup(a.output);
    for (size_t n = output != NULL ? strlen(output) : 0; n > 1 && output[n - 1] == '/'; n--) {
        output[n - 1] = '\0';
    }
    mm1_threads_set(0);
    mm1_status st = output == NULL ? mm1_error_set(&err, MM1_E_NOMEM, "no memory") : check_output(&a, &err);
    st = st != MM1_OK ? st : mm1_model_load(&model, a.model, false, &err);
    st = st != MM1_OK ? st : write_model(&a, output, &model, &err);
    st = st != MM1_OK ? st : print_sizes(output, &err);
    mm1_model_deinit(&model);
    mm1_free(output);
    return mm1_cli_finish("export", st, &err);
}

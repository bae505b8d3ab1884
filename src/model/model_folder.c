/* model_folder.c - see model_folder.h. */
#include "model/model_folder.h"

#include "base/alloc.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* What stands at the output may be replaced only if it is a model and nothing more: --force must not cost anybody a
 * folder that was named by mistake. */
mm1_status mm1_model_folder_check(const char *output, bool force, mm1_error *err)
{
    mm1_model_config config;
    if (!mm1_path_exists(output)) {
        return MM1_OK;
    }
    if (!force) {
        return mm1_error_set(err, MM1_E_STATE, "%s is there already; say --force to replace it", output);
    }
    mm1_status st = mm1_model_config_read(&config, output, err);
    if (st != MM1_OK) {
        return mm1_error_set(err, MM1_E_STATE, "%s is not a model folder, so that it is not replaced; remove it first",
                             output);
    }
    char *state = mm1_path_join(output, "optimizer.safetensors");
    if (state == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", output);
    } else if (mm1_path_exists(state)) {
        st = mm1_error_set(err, MM1_E_STATE,
                           "%s is a checkpoint of a training, so that it is not replaced; write to another folder",
                           output);
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

mm1_status mm1_model_folder_make(const char *path, mm1_folder_fill *fill, void *ctx, mm1_error *err)
{
    /* "out/" is "out": the temporary folder stands beside it. */
    char *output = mm1_strdup(path);
    for (size_t n = output != NULL ? strlen(output) : 0; n > 1 && output[n - 1] == '/'; n--) {
        output[n - 1] = '\0';
    }
    const size_t len = strlen(path) + sizeof ".tmp";
    char *tmp = mm1_alloc(len, 1), *parent = output != NULL ? mm1_path_dirname(output) : NULL;
    mm1_status st = tmp == NULL || parent == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path) : MM1_OK;
    if (st == MM1_OK) {
        (void)snprintf(tmp, len, "%s.tmp", output);
        st = mm1_path_remove(tmp, err);
        st = st != MM1_OK ? st : mm1_dir_make(tmp, err);
        st = st != MM1_OK ? st : fill(ctx, tmp, err);
        st = st != MM1_OK ? st : mm1_dir_sync(tmp, err);
        st = st != MM1_OK ? st : move_into_place(tmp, output, err);
        st = st != MM1_OK ? st : mm1_dir_sync(parent, err);
        if (st != MM1_OK) {
            const mm1_status removed = mm1_path_remove(tmp, NULL);
            (void)removed; /* the first failure is the one to report */
        }
    }
    mm1_free(output);
    mm1_free(parent);
    mm1_free(tmp);
    return st;
}

typedef struct save_call {
    const mm1_model *model;
    mm1_dtype dtype;
} save_call;

static mm1_status save(void *ctx, const char *dir, mm1_error *err)
{
    const save_call *call = ctx;
    return mm1_model_save(call->model, dir, call->dtype, err);
}

mm1_status mm1_model_folder_write(const mm1_model *m, const char *path, mm1_dtype dtype, mm1_error *err)
{
    save_call call = {.model = m, .dtype = dtype};
    return mm1_model_folder_make(path, save, &call, err);
}

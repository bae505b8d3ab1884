/* checkpoint.c - see checkpoint.h. */
#include "train/checkpoint.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 32 };

static mm1_status no_memory(mm1_error *err, const char *where)
{
    return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for a checkpoint", where);
}

static void *moments_at(const mm1_optimizer *o, bool second, int64_t at)
{
    return o->kind == MM1_MOMENTS_BF16 ? (void *)((second ? o->v16 : o->m16) + at)
                                       : (void *)((second ? o->v : o->m) + at);
}

/* "m.<name>" and "v.<name>" for every parameter that has them, in one block of strings; entries [*n]. */
static mm1_safetensors_entry *moment_entries(const mm1_params *p, const mm1_optimizer *o, char **names_out, size_t *n)
{
    *n = 0;
    size_t bytes = 0;
    for (int64_t i = 0; i < p->n_items; i++) {
        bytes += 2 * (strlen(p->items[i]->name) + 3);
    }
    char *names = mm1_alloc(bytes, 1);
    mm1_safetensors_entry *entries = mm1_calloc((size_t)p->n_items * 2, sizeof *entries);
    if (names == NULL || entries == NULL) {
        mm1_free(names);
        mm1_free(entries);
        return NULL;
    }
    char *at = names;
    for (int64_t i = 0; i < 2 * p->n_items; i++) {
        const mm1_param *item = p->items[i / 2];
        const size_t len = strlen(item->name) + 3;
        if (item->grad_offset < 0) {
            continue;
        }
        (void)snprintf(at, len, "%c.%s", i % 2 == 0 ? 'm' : 'v', item->name);
        mm1_safetensors_entry *e = &entries[(*n)++];
        *e = (mm1_safetensors_entry){.name = at,
                                     .dtype = o->kind == MM1_MOMENTS_BF16 ? MM1_DTYPE_BF16 : MM1_DTYPE_F32,
                                     .n_dims = item->tensor.rank,
                                     .data = moments_at(o, i % 2 != 0, item->grad_offset)};
        memcpy(e->shape, item->tensor.dims, (size_t)item->tensor.rank * sizeof *item->tensor.dims);
        at += len;
    }
    *names_out = names;
    return entries;
}

static mm1_status save_optimizer(const char *dir, const mm1_params *p, const mm1_optimizer *o, mm1_error *err)
{
    char *names = NULL, *path = mm1_path_join(dir, "optimizer.safetensors");
    size_t n = 0;
    mm1_safetensors_entry *entries = moment_entries(p, o, &names, &n);
    char step[32];
    (void)snprintf(step, sizeof step, "%lld", (long long)o->step);
    const mm1_safetensors_pair pair = {"step", step};
    const mm1_status st =
        path == NULL || entries == NULL ? no_memory(err, dir) : mm1_safetensors_write(path, entries, n, &pair, 1, err);
    mm1_free(entries);
    mm1_free(names);
    mm1_free(path);
    return st;
}

static mm1_status save_state(const char *dir, const mm1_trainer_state *s, mm1_error *err)
{
    mm1_buf text;
    mm1_buf_init(&text, 1 << 20);
    char seconds[32];
    mm1_format_f64(seconds, s->seconds);
    mm1_buf_printf(&text,
                   "{\n  \"step\": %lld,\n  \"n_steps\": %lld,\n  \"tokens\": %lld,\n  \"images\": %lld,\n  "
                   "\"seconds\": %s,\n  \"data\": ",
                   (long long)s->step, (long long)s->n_steps, (long long)s->tokens, (long long)s->images, seconds);
    mm1_data_state_write(&s->data, &text);
    mm1_buf_puts(&text, "\n}\n");
    char *path = mm1_path_join(dir, "trainer_state.json");
    const mm1_status st = path == NULL || mm1_buf_status(&text) != MM1_OK
                              ? no_memory(err, dir)
                              : mm1_file_write_atomic(path, text.data, text.len, err);
    mm1_free(path);
    mm1_buf_deinit(&text);
    return st;
}

/* A link that appears whole: made under another name and renamed. */
static mm1_status link_latest(const char *root, const char *name, mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *link = mm1_path_join(root, "latest"), *tmp = mm1_path_join(root, "latest.tmp");
    if (link == NULL || tmp == NULL) {
        st = no_memory(err, root);
    } else {
        (void)unlink(tmp);
        if (symlink(name, tmp) != 0 || rename(tmp, link) != 0) {
            st = mm1_error_set(err, MM1_E_IO, "%s: cannot be linked to %s: %s", link, name, strerror(errno));
        } else {
            st = mm1_dir_sync(root, err);
        }
    }
    mm1_free(tmp);
    mm1_free(link);
    return st;
}

static bool is_checkpoint(const char *name)
{
    long long step;
    int used = 0;
    return sscanf(name, "step_%8lld%n", &step, &used) == 1 && name[used] == '\0';
}

/* Removes "*.tmp", and of the complete ones all but the newest keep_last (0: none is removed). */
static mm1_status prune(const char *root, int64_t keep_last, mm1_error *err)
{
    mm1_names names = {0};
    mm1_status st = mm1_dir_list(root, &names, err);
    int64_t n_complete = 0;
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        n_complete += is_checkpoint(names.items[i]);
    }
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        const char *name = names.items[i];
        const bool old = is_checkpoint(name) && keep_last > 0 && n_complete > keep_last;
        if (old || strcmp(mm1_path_extension(name), ".tmp") == 0) {
            n_complete -= old;
            char *path = mm1_path_join(root, name);
            st = path == NULL ? no_memory(err, root) : mm1_path_remove(path, err);
            mm1_free(path);
        }
    }
    mm1_names_free(&names);
    return st;
}

mm1_status mm1_checkpoint_save(const char *run_dir, const mm1_model *m, const mm1_optimizer *o,
                               const mm1_trainer_state *state, int64_t keep_last, mm1_error *err)
{
    char name[NAME_BYTES], tmp_name[NAME_BYTES + 4];
    (void)snprintf(name, sizeof name, "step_%08lld", (long long)state->step);
    (void)snprintf(tmp_name, sizeof tmp_name, "%s.tmp", name);
    char *root = mm1_path_join(run_dir, "checkpoints");
    char *dir = root != NULL ? mm1_path_join(root, name) : NULL,
         *tmp = root != NULL ? mm1_path_join(root, tmp_name) : NULL;
    mm1_status st = MM1_OK;

    if (dir == NULL || tmp == NULL) {
        st = no_memory(err, run_dir);
        goto out;
    }
    if (mm1_path_exists(dir)) {
        goto out; /* saved already, and the same step of a run is the same bytes */
    }
    st = mm1_path_remove(tmp, err);
    st = st != MM1_OK ? st : mm1_dir_make(tmp, err);
    st = st != MM1_OK ? st : mm1_model_save(m, tmp, MM1_DTYPE_F32, err);
    st = st != MM1_OK ? st : save_optimizer(tmp, &m->params, o, err);
    st = st != MM1_OK ? st : save_state(tmp, state, err);
    st = st != MM1_OK ? st : mm1_dir_sync(tmp, err);
    if (st == MM1_OK && rename(tmp, dir) != 0) {
        st = mm1_error_set(err, MM1_E_IO, "%s: cannot be renamed into place: %s", tmp, strerror(errno));
    }
    st = st != MM1_OK ? st : mm1_dir_sync(root, err);
    st = st != MM1_OK ? st : link_latest(root, name, err);
    st = st != MM1_OK ? st : prune(root, keep_last, err);
    if (st != MM1_OK) {
        st = mm1_error_wrap(err, st, "saving the checkpoint of step %lld", (long long)state->step);
    }
out:
    mm1_free(tmp);
    mm1_free(dir);
    mm1_free(root);
    return st;
}

/* Into the memory that the entry speaks of. */
static mm1_status load_moment(const mm1_safetensors *sf, const mm1_safetensors_entry *e, mm1_error *err)
{
    const mm1_safetensors_tensor *t = NULL;
    mm1_status st = mm1_safetensors_get(sf, e->name, e->n_dims, e->shape, &t, err);
    if (st == MM1_OK && t->dtype != e->dtype) {
        const bool ours = t->dtype == MM1_DTYPE_F32 || t->dtype == MM1_DTYPE_BF16;
        st = mm1_error_set(err, ours ? MM1_E_CONFIG : MM1_E_FORMAT, "%s: \"%s\" is %s; %s", mm1_safetensors_path(sf),
                           e->name, mm1_dtype_name(t->dtype),
                           !ours                        ? "moments are F32 or BF16"
                           : t->dtype == MM1_DTYPE_BF16 ? "go on with train.moments bf16, as the run began"
                                                        : "go on with train.moments f32, as the run began");
    }
    if (st == MM1_OK) {
        memcpy((void *)(uintptr_t)e->data, t->data, t->n_bytes);
    }
    return st;
}

static mm1_status load_moments(const char *dir, const mm1_params *p, mm1_optimizer *o, mm1_error *err)
{
    mm1_safetensors *sf = NULL;
    size_t n = 0, n_new = 0;
    char *names = NULL, *path = mm1_path_join(dir, "optimizer.safetensors");
    mm1_safetensors_entry *entries = moment_entries(p, o, &names, &n);
    mm1_status st = path == NULL || entries == NULL ? no_memory(err, dir) : mm1_safetensors_open(&sf, path, err);
    for (size_t i = 0; st == MM1_OK && i < n; i += 2) {
        if (mm1_safetensors_find(sf, entries[i].name) == NULL &&
            mm1_safetensors_find(sf, entries[i + 1].name) == NULL) {
            n_new++;
            continue;
        }
        st = load_moment(sf, &entries[i], err);
        st = st != MM1_OK ? st : load_moment(sf, &entries[i + 1], err);
    }
    if (st == MM1_OK && n_new > 0) {
        mm1_log(MM1_LOG_WARN, "%s: no moments of %zu parameters, frozen so far; they begin at zero", path, n_new);
    }
    if (st == MM1_OK) {
        const char *step = mm1_safetensors_metadata(sf, "step");
        if (step == NULL || !mm1_parse_i64(step, &o->step) || o->step < 0) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: its metadata has no step", path);
        }
    }
    mm1_safetensors_close(sf);
    mm1_free(entries);
    mm1_free(names);
    mm1_free(path);
    return st;
}

static mm1_status load_state(const char *dir, mm1_trainer_state *s, mm1_error *err)
{
    char *path = mm1_path_join(dir, "trainer_state.json"), *text = NULL, *data_text = NULL;
    size_t len = 0;
    json_t *root = NULL;
    mm1_status st = path == NULL ? no_memory(err, dir) : mm1_file_read(path, 1 << 20, &text, &len, err);
    if (st == MM1_OK) {
        json_error_t bad;
        json_int_t step, n_steps, tokens, images;
        json_t *data = NULL;
        root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
        if (root == NULL ||
            json_unpack_ex(root, &bad, 0, "{s:I, s:I, s:I, s:I, s:F, s:o}", "step", &step, "n_steps", &n_steps,
                           "tokens", &tokens, "images", &images, "seconds", &s->seconds, "data", &data) != 0) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
        } else if (step < 0 || n_steps < step) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: step %lld of %lld makes no sense", path, (long long)step,
                               (long long)n_steps);
        } else {
            s->step = step;
            s->n_steps = n_steps;
            s->tokens = tokens;
            s->images = images;
            data_text = json_dumps(data, JSON_COMPACT);
            st = data_text == NULL ? no_memory(err, dir)
                                   : mm1_data_state_parse(&s->data, data_text, strlen(data_text), err);
            if (st != MM1_OK) {
                st = mm1_error_wrap(err, st, "%s", path);
            }
        }
    }
    json_decref(root);
    free(data_text);
    mm1_free(text);
    mm1_free(path);
    return st;
}

mm1_status mm1_checkpoint_load(const char *dir, mm1_model *m, mm1_optimizer *o, mm1_trainer_state *state,
                               mm1_error *err)
{
    char *weights = mm1_path_join(dir, "model.safetensors");
    mm1_status st = weights == NULL ? no_memory(err, dir) : load_state(dir, state, err);
    st = st != MM1_OK ? st : mm1_model_load_weights(m, weights, err);
    st = st != MM1_OK ? st : load_moments(dir, &m->params, o, err);
    mm1_free(weights);
    return st == MM1_OK ? st : mm1_error_wrap(err, st, "%s cannot be resumed from", dir);
}

mm1_status mm1_checkpoint_latest(const char *run_dir, char **path, mm1_error *err)
{
    *path = NULL;
    char *root = mm1_path_join(run_dir, "checkpoints");
    if (root == NULL) {
        return no_memory(err, run_dir);
    }
    if (!mm1_path_is_dir(root)) {
        mm1_free(root);
        return MM1_OK;
    }
    /* The newest complete folder, not the link: a kill may have come between the two. */
    mm1_names names = {0};
    mm1_status st = prune(root, 0, err);
    st = st != MM1_OK ? st : mm1_dir_list(root, &names, err);
    for (size_t i = names.n; st == MM1_OK && *path == NULL && i-- > 0;) {
        if (is_checkpoint(names.items[i]) && (*path = mm1_path_join(root, names.items[i])) == NULL) {
            st = no_memory(err, run_dir);
        }
    }
    mm1_names_free(&names);
    mm1_free(root);
    return st;
}

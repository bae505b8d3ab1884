/* checkpoint.c - see checkpoint.h. */
#include "train/checkpoint.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "model/lora.h"
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

/* What the optimiser keeps of all parameters, [*n]; NULL if memory is short. */
static mm1_optimizer_state *all_states(const mm1_params *p, const mm1_optimizer *o, size_t *n)
{
    mm1_optimizer_state *states = mm1_calloc((size_t)p->n_items * MM1_OPTIMIZER_MAX_STATES, sizeof *states);
    *n = 0;
    for (int64_t i = 0; states != NULL && i < p->n_items; i++) {
        *n += (size_t)mm1_optimizer_states(o, p, i, states + *n);
    }
    return states;
}

static mm1_status save_optimizer(const char *dir, const mm1_params *p, const mm1_optimizer *o, mm1_error *err)
{
    char *path = mm1_path_join(dir, "optimizer.safetensors");
    size_t n = 0;
    mm1_optimizer_state *states = all_states(p, o, &n);
    mm1_safetensors_entry *entries = states != NULL ? mm1_calloc(n, sizeof *entries) : NULL;
    char step[32];
    (void)snprintf(step, sizeof step, "%lld", (long long)o->step);
    const mm1_safetensors_pair pairs[] = {{"step", step}, {"optimizer", mm1_optimizer_kind_name(o->kind)}};
    for (size_t i = 0; entries != NULL && i < n; i++) {
        const mm1_optimizer_state *s = &states[i];
        entries[i] = (mm1_safetensors_entry){.name = s->name, .dtype = s->dtype, .n_dims = s->rank, .data = s->data};
        memcpy(entries[i].shape, s->dims, sizeof s->dims); /* a shape has room for more */
    }
    const mm1_status st =
        path == NULL || entries == NULL ? no_memory(err, dir) : mm1_safetensors_write(path, entries, n, pairs, 2, err);
    mm1_free(entries);
    mm1_free(states);
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

mm1_status mm1_checkpoint_save(const char *run_dir, const char *base, const mm1_model *m, const mm1_optimizer *o,
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
    st = st != MM1_OK       ? st
         : m->lora.rank > 0 ? mm1_lora_save(m, base, tmp, err)
                            : mm1_model_save(m, tmp, MM1_DTYPE_F32, err);
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

static mm1_status load_one(const mm1_safetensors *sf, const mm1_optimizer_state *s, mm1_error *err)
{
    const mm1_safetensors_tensor *t = NULL;
    mm1_status st = mm1_safetensors_get(sf, s->name, s->rank, s->dims, &t, err);
    if (st == MM1_OK && t->dtype != s->dtype) {
        const bool ours = t->dtype == MM1_DTYPE_F32 || t->dtype == MM1_DTYPE_BF16;
        st = mm1_error_set(err, ours ? MM1_E_CONFIG : MM1_E_FORMAT, "%s: \"%s\" is %s; %s", mm1_safetensors_path(sf),
                           s->name, mm1_dtype_name(t->dtype),
                           !ours                        ? "moments are F32 or BF16"
                           : t->dtype == MM1_DTYPE_BF16 ? "go on with train.moments bf16, as the run began"
                                                        : "go on with train.moments f32, as the run began");
    }
    if (st == MM1_OK) {
        memcpy(s->data, t->data, t->n_bytes);
    }
    return st;
}

/* Checkpoints of before there were two do not name it. */
static mm1_status check_kind(const mm1_safetensors *sf, const mm1_optimizer *o, mm1_error *err)
{
    const char *kind = mm1_safetensors_metadata(sf, "optimizer"), *ours = mm1_optimizer_kind_name(o->kind);
    kind = kind != NULL ? kind : mm1_optimizer_kind_name(MM1_OPTIMIZER_ADAMW);
    return strcmp(kind, ours) == 0
               ? MM1_OK
               : mm1_error_set(err, MM1_E_CONFIG, "%s: is of %.40s; go on with train.optimizer %.40s, as the run began",
                               mm1_safetensors_path(sf), kind, kind);
}

static mm1_status load_optimizer(const char *dir, const mm1_params *p, mm1_optimizer *o, mm1_error *err)
{
    mm1_safetensors *sf = NULL;
    size_t n_new = 0;
    char *path = mm1_path_join(dir, "optimizer.safetensors");
    mm1_status st = path == NULL ? no_memory(err, dir) : mm1_safetensors_open(&sf, path, err);
    st = st != MM1_OK ? st : check_kind(sf, o, err);
    for (int64_t i = 0; st == MM1_OK && i < p->n_items; i++) {
        mm1_optimizer_state states[MM1_OPTIMIZER_MAX_STATES];
        const int n = mm1_optimizer_states(o, p, i, states);
        bool is_new = n > 0;
        for (int k = 0; k < n; k++) {
            is_new = is_new && mm1_safetensors_find(sf, states[k].name) == NULL;
        }
        n_new += is_new;
        for (int k = 0; st == MM1_OK && !is_new && k < n; k++) {
            st = load_one(sf, &states[k], err);
        }
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

static mm1_status load_adapters(mm1_model *m, const char *base, const char *dir, mm1_error *err)
{
    const mm1_status st = mm1_model_load_values(m, base, err);
    return st != MM1_OK ? st : mm1_lora_load(m, dir, err);
}

mm1_status mm1_checkpoint_load(const char *dir, const char *base, mm1_model *m, mm1_optimizer *o,
                               mm1_trainer_state *state, mm1_error *err)
{
    char *weights = mm1_path_join(dir, "model.safetensors");
    mm1_status st = weights == NULL ? no_memory(err, dir) : load_state(dir, state, err);
    st = st != MM1_OK       ? st
         : m->lora.rank > 0 ? load_adapters(m, base, dir, err)
                            : mm1_model_load_weights(m, weights, err);
    st = st != MM1_OK ? st : load_optimizer(dir, &m->params, o, err);
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

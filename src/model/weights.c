/* weights.c - see weights.h. */
#include "model/weights.h"

#include "base/alloc.h"
#include "base/file.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX_BYTES = 64 << 20 };

/* ---- safetensors files ---- */

typedef struct files {
    mm1_names names;        /* paths, in byte order */
    mm1_safetensors **open; /* [names.n] */
    char *path;             /* of the index; that of the file if there is one alone */
} files;

static void close_files(void *ctx)
{
    files *f = ctx;
    for (size_t i = 0; f->open != NULL && i < f->names.n; i++) {
        mm1_safetensors_close(f->open[i]);
    }
    mm1_free(f->open);
    mm1_names_free(&f->names);
    mm1_free(f->path);
    mm1_free(f);
}

static mm1_status read_safetensors(const mm1_weight *w, float *dst, mm1_error *err)
{
    const mm1_status st = mm1_safetensors_to_f32(w->at, dst, err);
    return st == MM1_OK ? MM1_OK : mm1_error_wrap(err, st, "%s", w->path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mm1_weight *)a)->name, ((const mm1_weight *)b)->name);
}

/* Opens the files that f names and lists their tensors. */
static mm1_status list_tensors(mm1_weights *w, files *f, mm1_error *err)
{
    mm1_status st = MM1_OK;
    size_t n = 0, at = 0;
    f->open = mm1_calloc(f->names.n, sizeof(mm1_safetensors *));
    if (f->open == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu files", f->path, f->names.n);
    }
    for (size_t i = 0; st == MM1_OK && i < f->names.n; i++) {
        st = mm1_safetensors_open(&f->open[i], f->names.items[i], err);
        n += st == MM1_OK ? mm1_safetensors_n(f->open[i]) : 0;
    }
    if (st != MM1_OK) {
        return st;
    }
    w->items = mm1_calloc(n, sizeof *w->items);
    if (w->items == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu tensors", f->path, n);
    }
    for (size_t i = 0; i < f->names.n; i++) {
        for (size_t j = 0; j < mm1_safetensors_n(f->open[i]); j++) {
            const mm1_safetensors_tensor *t = mm1_safetensors_at(f->open[i], j);
            mm1_weight *item = &w->items[at++];
            *item = (mm1_weight){.name = t->name,
                                 .path = f->names.items[i],
                                 .n_dims = t->n_dims,
                                 .dtype = mm1_dtype_name(t->dtype),
                                 .n_bytes = t->n_bytes,
                                 .at = t};
            memcpy(item->shape, t->shape, sizeof item->shape);
        }
    }
    w->n = n;
    if (n > 0) {
        qsort(w->items, n, sizeof *w->items, by_name);
    }
    for (size_t i = 1; i < n; i++) {
        if (strcmp(w->items[i - 1].name, w->items[i].name) == 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: tensor '%.200s' is in %s too", w->items[i].path,
                                 w->items[i].name, w->items[i - 1].path);
        }
    }
    w->read = read_safetensors;
    return MM1_OK;
}

/* A name of a file in the folder of the index, and nothing else. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strlen(name) < 256 && strpbrk(name, "/\\") == NULL;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files that a weight_map names, each once, as paths. */
static mm1_status name_files(files *f, const char *dir, const json_t *map, mm1_error *err)
{
    const char *tensor;
    json_t *value;
    json_t *seen = json_object();
    mm1_status st = seen != NULL ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", f->path);
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (st != MM1_OK) {
            break;
        }
        if (name == NULL || !is_plain_name(name)) {
            st = mm1_error_set(err, MM1_E_FORMAT,
                               "%s: tensor '%.200s': \"%.80s\" is not the name of a file in this folder", f->path,
                               tensor, name != NULL ? name : "(no text)");
        } else if (json_object_get(seen, name) == NULL) {
            char *path = mm1_path_join(dir, name);
            if (f->names.n == MM1_WEIGHTS_MAX_FILES) {
                st = mm1_error_set(err, MM1_E_LIMIT, "%s: names over %d files", f->path, MM1_WEIGHTS_MAX_FILES);
            } else if (path == NULL || !mm1_names_add(&f->names, path) ||
                       json_object_set_new(seen, name, json_true()) != 0) {
                st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", f->path);
            } else if (!mm1_path_exists(path)) {
                st = mm1_error_set(err, MM1_E_IO, "%s: is missing, though %s has tensor '%.200s' in it", path, f->path,
                                   tensor);
            }
            mm1_free(path);
        }
    }
    json_decref(seen);
    if (st == MM1_OK && f->names.n == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: its weight_map is empty", f->path);
    }
    if (st == MM1_OK) {
        qsort(f->names.items, f->names.n, sizeof *f->names.items, by_string);
    }
    return st;
}

/* Every tensor is where the map says. */
static mm1_status check_map(const mm1_weights *w, const files *f, const json_t *map, mm1_error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const mm1_weight *item = mm1_weights_find(w, tensor);
        if (item == NULL || strcmp(mm1_path_basename(item->path), json_string_value(value)) != 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: tensor '%.200s' is not in %s", f->path, tensor,
                                 json_string_value(value));
        }
    }
    for (size_t i = 0; i < w->n; i++) {
        if (json_object_get(map, w->items[i].name) == NULL) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: tensor '%.200s' is not in %s", w->items[i].path,
                                 w->items[i].name, f->path);
        }
    }
    return MM1_OK;
}

static mm1_status open_sharded(mm1_weights *w, files *f, const char *dir, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    mm1_status st = mm1_file_read(f->path, MAX_INDEX_BYTES, &text, &len, err);
    if (st != MM1_OK) {
        return st;
    }
    json_error_t bad;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    const json_t *map = json_object_get(root, "weight_map");
    mm1_free(text);
    if (root == NULL) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", f->path, bad.line, bad.text);
    } else if (!json_is_object(map)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: has no \"weight_map\"", f->path);
    } else {
        st = name_files(f, dir, map, err);
        st = st != MM1_OK ? st : list_tensors(w, f, err);
        st = st != MM1_OK ? st : check_map(w, f, map, err);
    }
    json_decref(root);
    return st;
}

/* path: a file, or an index of several in dir. */
static mm1_status open_at(mm1_weights *w, const char *dir, const char *path, mm1_error *err)
{
    *w = (mm1_weights){0};
    files *f = mm1_calloc(1, sizeof *f);
    if (f == NULL || (f->path = mm1_strdup(path)) == NULL || (dir == NULL && !mm1_names_add(&f->names, path))) {
        if (f != NULL) {
            close_files(f);
        }
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
    }
    w->files = f;
    w->close = close_files;
    w->path = f->path;
    const mm1_status st = dir == NULL ? list_tensors(w, f, err) : open_sharded(w, f, dir, err);
    if (st != MM1_OK) {
        mm1_weights_close(w);
    }
    return st;
}

mm1_status mm1_weights_open_file(mm1_weights *w, const char *path, mm1_error *err)
{
    return open_at(w, NULL, path, err);
}

/* Older folders have their weights as a program for Python's unpickler, which is not run. */
static mm1_status say_missing(const char *dir, const char *path, mm1_error *err)
{
    static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++) {
        char *pickle = mm1_path_join(dir, pickles[i]);
        const bool is_there = pickle != NULL && mm1_path_exists(pickle);
        mm1_free(pickle);
        if (is_there) {
            return mm1_error_set(
                err, MM1_E_UNSUPPORTED,
                "%s: is not there, and %s is not read, because it is a Python program; let transformers "
                "load the folder and save it again",
                path, pickles[i]);
        }
    }
    return mm1_error_set(err, MM1_E_IO, "%s: no such file, and no index of several beside it", path);
}

mm1_status mm1_weights_open(mm1_weights *w, const char *dir, mm1_error *err)
{
    char *one = mm1_path_join(dir, "model.safetensors"), *index = mm1_path_join(dir, "model.safetensors.index.json");
    mm1_status st = MM1_OK;
    *w = (mm1_weights){0};
    if (one == NULL || index == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
    } else if (mm1_path_exists(one) && mm1_path_exists(index)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: has model.safetensors and an index of several; remove one", dir);
    } else {
        const bool is_sharded = mm1_path_exists(index);
        st = is_sharded || mm1_path_exists(one) ? MM1_OK : say_missing(dir, one, err);
        st = st != MM1_OK ? st : open_at(w, is_sharded ? dir : NULL, is_sharded ? index : one, err);
    }
    mm1_free(index);
    mm1_free(one);
    return st;
}

void mm1_weights_close(mm1_weights *w)
{
    if (w->close != NULL) {
        w->close(w->files);
    }
    mm1_free(w->items);
    *w = (mm1_weights){0};
}

/* ---- looking things up ---- */

mm1_weight *mm1_weights_find(const mm1_weights *w, const char *name)
{
    const mm1_weight key = {.name = name};
    return w->n > 0 ? bsearch(&key, w->items, w->n, sizeof key, by_name) : NULL;
}

/* "[2, 3]" */
static void format_shape(char *text, size_t cap, int n_dims, const int64_t *shape)
{
    size_t len = (size_t)snprintf(text, cap, "[");
    for (int i = 0; i < n_dims && len < cap; i++) {
        len += (size_t)snprintf(text + len, cap - len, "%s%" PRId64, i == 0 ? "" : ", ", shape[i]);
    }
    if (len < cap) {
        (void)snprintf(text + len, cap - len, "]");
    }
}

mm1_status mm1_weights_get(const mm1_weights *w, const char *name, int n_dims, const int64_t *shape,
                           const mm1_weight **out, mm1_error *err)
{
    mm1_weight *item = mm1_weights_find(w, name);
    *out = NULL;
    if (item == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: tensor '%s' is missing", w->path, name);
    }
    if (item->n_dims != n_dims || memcmp(item->shape, shape, (size_t)n_dims * sizeof *shape) != 0) {
        char got[200], want[200];
        format_shape(got, sizeof got, item->n_dims, item->shape);
        format_shape(want, sizeof want, n_dims, shape);
        return mm1_error_set(err, MM1_E_SHAPE, "%s: tensor '%s' has the shape %s, expected %s", item->path, name, got,
                             want);
    }
    item->used = true;
    *out = item;
    return MM1_OK;
}

/* picture_store.c - see picture_store.h. */
#include "data/picture_store.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/tar.h"
#include <stdlib.h>
#include <string.h>

struct mm1_picture_store {
    char *dir; /* of a folder; else NULL, and */
    mm1_names paths;
    mm1_tar_index *tars;            /* [paths.n] */
    const mm1_tar_member **members; /* [n] of all of them, by name */
    size_t n;
};

static const char *without_dot(const char *name)
{
    while (name[0] == '.' && name[1] == '/') {
        name += 2;
    }
    return name;
}

/* Of one name, that which came first. */
static int compare_members(const void *a, const void *b)
{
    const mm1_tar_member *x = *(const mm1_tar_member *const *)a, *y = *(const mm1_tar_member *const *)b;
    const int by_name = strcmp(without_dot(x->name), without_dot(y->name));
    return by_name != 0 ? by_name : (x > y) - (x < y);
}

static int compare_name(const void *key, const void *member)
{
    return strcmp(key, without_dot((*(const mm1_tar_member *const *)member)->name));
}

static mm1_status open_tars(mm1_picture_store *s, const char *pattern, mm1_error *err)
{
    mm1_status st = mm1_path_glob(pattern, &s->paths, err);
    if (st != MM1_OK) {
        return st;
    }
    s->tars = mm1_calloc(s->paths.n, sizeof *s->tars);
    for (size_t i = 0; st == MM1_OK && s->tars != NULL && i < s->paths.n; i++) {
        st = mm1_tar_index_open(&s->tars[i], s->paths.items[i], err);
        s->n += s->tars[i].n;
    }
    s->members = st == MM1_OK && s->tars != NULL ? mm1_calloc(s->n, sizeof *s->members) : NULL;
    if (st == MM1_OK && s->members == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to index %zu pictures", pattern, s->n);
    }
    for (size_t i = 0, n = 0; st == MM1_OK && i < s->paths.n; i++) {
        for (size_t k = 0; k < s->tars[i].n; k++) {
            s->members[n++] = &s->tars[i].members[k];
        }
    }
    if (st == MM1_OK) {
        qsort(s->members, s->n, sizeof *s->members, compare_members);
    }
    return st;
}

mm1_status mm1_picture_store_open(mm1_picture_store **out, const char *where, mm1_error *err)
{
    mm1_picture_store *s = mm1_calloc(1, sizeof *s);
    mm1_status st = MM1_OK;
    *out = NULL;
    if (s == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to open it", where);
    }
    if (strcmp(mm1_path_extension(where), ".tar") == 0) {
        st = open_tars(s, where, err);
    } else if (!mm1_path_is_dir(where)) {
        st = mm1_error_set(err, MM1_E_IO, "%s: neither a folder of pictures nor a tar file of them", where);
    } else if ((s->dir = mm1_strdup(where)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to open it", where);
    }
    if (st != MM1_OK) {
        mm1_picture_store_close(s);
        return st;
    }
    *out = s;
    return MM1_OK;
}

void mm1_picture_store_close(mm1_picture_store *s)
{
    if (s != NULL) {
        for (size_t i = 0; s->tars != NULL && i < s->paths.n; i++) {
            mm1_tar_index_close(&s->tars[i]);
        }
        mm1_free(s->members);
        mm1_free(s->tars);
        mm1_names_free(&s->paths);
        mm1_free(s->dir);
        mm1_free(s);
    }
}

/* The name has a ".." among its folders, or begins at the root. */
static bool leads_out(const mm1_picture_store *s, const char *name)
{
    if (name[0] == '/' && strcmp(s->dir, "/") != 0) {
        return true;
    }
    for (const char *at = name; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (at[0] == '.' && at[1] == '.' && (at[2] == '/' || at[2] == '\0')) {
            return true;
        }
    }
    return false;
}

static mm1_status add_file(const mm1_picture_store *s, const char *name, mm1_document *out, mm1_error *err)
{
    if (leads_out(s, name)) {
        return mm1_error_set(err, MM1_E_FORMAT, "its picture \"%.100s\" is not below %s", name, s->dir);
    }
    char *path = mm1_path_join(s->dir, name);
    mm1_status st = MM1_OK;
    if (path == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the path of \"%.100s\"", name);
    } else if (!mm1_path_exists(path) || mm1_path_is_dir(path)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "its picture \"%.100s\" is not in %s", name, s->dir);
    } else {
        st = mm1_document_add_image_file(out, path, err);
    }
    mm1_free(path);
    return st;
}

mm1_status mm1_picture_store_add(const mm1_picture_store *s, const char *name, mm1_document *out, mm1_error *err)
{
    if (s->dir != NULL) {
        return add_file(s, name, out, err);
    }
    const mm1_tar_member *const *at = bsearch(without_dot(name), s->members, s->n, sizeof *s->members, compare_name);
    if (at == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "its picture \"%.100s\" is not in %s%s", name, s->paths.items[0],
                             s->paths.n > 1 ? " or the others" : "");
    }
    /* bsearch() finds any of several; the first counts. */
    while (at > (const mm1_tar_member *const *)s->members && compare_name(without_dot(name), at - 1) == 0) {
        at--;
    }
    return mm1_document_add_image(out, (*at)->data, (*at)->size, (*at)->name, err);
}

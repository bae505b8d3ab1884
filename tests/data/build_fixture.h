/* build_fixture.h - a root of packages that a test of the builder makes itself: files below a folder, and what a build
 * of them wrote. */
#ifndef MM1_TESTS_BUILD_FIXTURE_H
#define MM1_TESTS_BUILD_FIXTURE_H

#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "data/count_map.h"
#include <jansson.h>

static inline char *path_in(const char *dir, const char *name)
{
    char *path = mm1_path_join(dir, name);
    assert_non_null(path);
    return path;
}

/* Makes the folders on the way, too. */
static inline void put(const char *root, const char *name, const void *bytes, size_t len)
{
    mm1_error err = {0};
    char *path = path_in(root, name), *dir = mm1_path_dirname(path);
    check_ok(mm1_dir_make(dir, &err), &err);
    check_ok(mm1_file_write_atomic(path, bytes, len, &err), &err);
    mm1_free(dir);
    mm1_free(path);
}

static inline void put_text(const char *root, const char *name, const char *text)
{
    put(root, name, text, strlen(text));
}

/* summary.json of a folder that a build made; json_decref() it. */
static inline json_t *summary_json(const char *out)
{
    char *path = path_in(out, "summary.json");
    json_error_t bad;
    json_t *root = json_load_file(path, 0, &bad);
    if (root == NULL) {
        print_error("%s: line %d: %s\n", path, bad.line, bad.text);
        fail();
    }
    mm1_free(path);
    return root;
}

/* Keys that both have. */
static inline size_t n_common(const mm1_count_map *a, const mm1_count_map *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->cap; i++) {
        n += a->keys[i] != 0 && mm1_count_map_get(b, a->keys[i]) > 0;
    }
    return n;
}

#endif

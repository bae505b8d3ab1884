/* packages.c - see packages.h. */
#include "data/packages.h"

#include "base/alloc.h"
#include "base/file.h"
#include <stdlib.h>
#include <string.h>

static bool is_set(const char *s)
{
    return s != NULL && s[0] != '\0';
}

char *mm1_packages_root(void)
{
    const char *cache = getenv("MM1_CACHE_DIR"), *home = getenv("HOME");
    char *root = is_set(cache)  ? mm1_path_join(cache, "root")
                 : is_set(home) ? mm1_path_join(home, ".cache/mm1/root")
                                : mm1_strdup("/");
    if (root != NULL && !mm1_path_is_dir(root)) {
        mm1_free(root);
        root = mm1_strdup("/");
    }
    return root;
}

char *mm1_packages_path(const char *path)
{
    static const char prefix[] = "package:";
    if (strncmp(path, prefix, sizeof prefix - 1) != 0) {
        return mm1_strdup(path);
    }
    char *root = mm1_packages_root();
    char *below = root != NULL ? mm1_path_join(root, path + sizeof prefix - 1) : NULL;
    mm1_free(root);
    return below;
}

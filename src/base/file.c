/* file.c - see file.h. */
#include "base/file.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static mm1_status fail(mm1_error *err, const char *doing, const char *path)
{
    const mm1_status st = errno == ENOMEM ? MM1_E_NOMEM : MM1_E_IO;
    return mm1_error_set(err, st, "%s: cannot %s: %s", path, doing, strerror(errno));
}

static mm1_status open_regular(const char *path, int *fd, size_t *len, mm1_error *err)
{
    struct stat sb;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) {
        return fail(err, "open", path);
    }
    if (fstat(*fd, &sb) != 0) {
        (void)fail(err, "read", path);
    } else if (!S_ISREG(sb.st_mode)) {
        (void)mm1_error_set(err, MM1_E_IO, "%s: not a regular file", path);
    } else {
        *len = (size_t)sb.st_size;
        return MM1_OK;
    }
    (void)close(*fd);
    *fd = -1;
    return MM1_E_IO;
}

mm1_status mm1_map_open(mm1_map *map, const char *path, mm1_error *err)
{
    int fd = -1;
    *map = (mm1_map){0};
    mm1_status st = open_regular(path, &fd, &map->len, err);
    if (st != MM1_OK) {
        return st;
    }
    if (map->len > 0) {
        void *p = mmap(NULL, map->len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            st = fail(err, "map", path);
            *map = (mm1_map){0};
        } else {
            map->data = p;
        }
    }
    (void)close(fd);
    return st;
}

void mm1_map_close(mm1_map *map)
{
    if (map->data != NULL) {
        (void)munmap((void *)(uintptr_t)map->data, map->len);
    }
    *map = (mm1_map){0};
}

static mm1_status read_all(int fd, char *data, size_t len, const char *path, mm1_error *err)
{
    for (size_t done = 0; done < len;) {
        const ssize_t n = read(fd, data + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(err, "read", path);
        }
        if (n == 0) {
            return mm1_error_set(err, MM1_E_IO, "%s: ended at byte %zu of %zu; was it cut while being read?", path,
                                 done, len);
        }
        done += (size_t)n;
    }
    return MM1_OK;
}

mm1_status mm1_file_read(const char *path, size_t max_bytes, char **out, size_t *len_out, mm1_error *err)
{
    int fd = -1;
    size_t len = 0;
    char *data = NULL;

    *out = NULL;
    mm1_status st = open_regular(path, &fd, &len, err);
    if (st != MM1_OK) {
        return st;
    }
    if (len > max_bytes) {
        st = mm1_error_set(err, MM1_E_LIMIT, "%s: %zu bytes is over the limit of %zu", path, len, max_bytes);
        goto out;
    }
    data = mm1_alloc(len + 1, 1);
    if (data == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu bytes", path, len);
        goto out;
    }
    st = read_all(fd, data, len, path, err);
    if (st == MM1_OK) {
        data[len] = '\0';
        *out = data;
        data = NULL;
        if (len_out != NULL) {
            *len_out = len;
        }
    }
out:
    mm1_free(data);
    (void)close(fd);
    return st;
}

static mm1_status write_all(int fd, const char *bytes, size_t len, const char *path, mm1_error *err)
{
    for (size_t done = 0; done < len;) {
        const ssize_t n = write(fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(err, "write", path);
        }
        done += (size_t)n;
    }
    return MM1_OK;
}

mm1_status mm1_file_write_atomic(const char *path, const void *bytes, size_t len, mm1_error *err)
{
    mm1_status st = MM1_OK;
    int fd = -1;
    mm1_buf tmp;

    mm1_buf_init(&tmp, 1 << 16);
    mm1_buf_printf(&tmp, "%s.tmp", path);
    if (mm1_buf_status(&tmp) != MM1_OK) {
        st = mm1_buf_status(&tmp) == MM1_E_NOMEM ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the path", path)
                                                 : mm1_error_set(err, MM1_E_ARG, "%s: path too long", path);
        goto out;
    }
    fd = open(mm1_buf_str(&tmp), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        st = fail(err, "create", mm1_buf_str(&tmp));
        goto out;
    }
    st = write_all(fd, bytes, len, mm1_buf_str(&tmp), err);
    if (st == MM1_OK && fsync(fd) != 0) {
        st = fail(err, "sync", mm1_buf_str(&tmp));
    }
    if (close(fd) != 0 && st == MM1_OK) {
        st = fail(err, "close", mm1_buf_str(&tmp));
    }
    if (st == MM1_OK && rename(mm1_buf_str(&tmp), path) != 0) {
        st = fail(err, "rename into place", path);
    }
    if (st != MM1_OK) {
        (void)unlink(mm1_buf_str(&tmp));
    }
out:
    mm1_buf_deinit(&tmp);
    return st;
}

mm1_status mm1_dir_make(const char *path, mm1_error *err)
{
    char *copy = mm1_strdup(path);
    if (copy == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the path", path);
    }
    mm1_status st = MM1_OK;
    for (char *p = copy + 1; st == MM1_OK && copy[0] != '\0'; p++) {
        if (*p == '/' || *p == '\0') {
            const char saved = *p;
            *p = '\0';
            if (mkdir(copy, 0755) != 0 && (errno != EEXIST || !mm1_path_is_dir(copy))) {
                st = fail(err, "make the folder", copy);
            }
            *p = saved;
            if (saved == '\0') {
                break;
            }
        }
    }
    mm1_free(copy);
    return st;
}

mm1_status mm1_dir_sync(const char *path, mm1_error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail(err, "open", path);
    }
    const mm1_status st = fsync(fd) != 0 ? fail(err, "sync", path) : MM1_OK;
    (void)close(fd);
    return st;
}

static mm1_status remove_at_depth(const char *path, int depth, mm1_error *err)
{
    struct stat sb;
    if (lstat(path, &sb) != 0) {
        return errno == ENOENT ? MM1_OK : fail(err, "look at", path);
    }
    if (!S_ISDIR(sb.st_mode)) {
        return unlink(path) != 0 ? fail(err, "remove", path) : MM1_OK;
    }
    if (depth > 64) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: folders are nested deeper than 64", path);
    }
    mm1_names names = {0};
    mm1_status st = mm1_dir_list(path, &names, err);
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        char *child = mm1_path_join(path, names.items[i]);
        st = child == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path)
                           : remove_at_depth(child, depth + 1, err);
        mm1_free(child);
    }
    mm1_names_free(&names);
    if (st == MM1_OK && rmdir(path) != 0) {
        st = fail(err, "remove", path);
    }
    return st;
}

mm1_status mm1_path_remove(const char *path, mm1_error *err)
{
    return remove_at_depth(path, 0, err);
}

bool mm1_names_add(mm1_names *names, const char *name)
{
    /* Grows at powers of two, so that no capacity needs to be kept. */
    if ((names->n & (names->n - 1)) == 0) {
        char **items = mm1_realloc(names->items, names->n == 0 ? 1 : names->n * 2, sizeof *items);
        if (items == NULL) {
            return false;
        }
        names->items = items;
    }
    char *copy = mm1_strdup(name);
    if (copy == NULL) {
        return false;
    }
    names->items[names->n++] = copy;
    return true;
}

void mm1_names_free(mm1_names *names)
{
    for (size_t i = 0; i < names->n; i++) {
        mm1_free(names->items[i]);
    }
    mm1_free(names->items);
    *names = (mm1_names){0};
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

mm1_status mm1_dir_list(const char *path, mm1_names *out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    *out = (mm1_names){0};
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return fail(err, "list the folder", path);
    }
    for (const struct dirent *e; (errno = 0, e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !mm1_names_add(out, e->d_name)) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the list of files", path);
            break;
        }
    }
    if (st == MM1_OK && errno != 0) {
        st = fail(err, "list the folder", path);
    }
    (void)closedir(dir);
    if (st != MM1_OK) {
        mm1_names_free(out);
    } else if (out->n > 0) {
        qsort(out->items, out->n, sizeof *out->items, compare_names);
    }
    return st;
}

/* Adds what one pattern without braces matches; a pattern without wildcards stands for itself. */
static mm1_status glob_plain(const char *pattern, mm1_names *out, mm1_error *err)
{
    glob_t found = {0};
    const int rc = glob(pattern, 0, NULL, &found);
    mm1_status st = MM1_OK;
    if (rc == GLOB_NOMATCH) {
        st = mm1_error_set(err, MM1_E_IO, "%s: no such file", pattern);
    } else if (rc != 0) {
        st = mm1_error_set(err, rc == GLOB_NOSPACE ? MM1_E_NOMEM : MM1_E_IO, "%s: cannot be searched", pattern);
    }
    for (size_t i = 0; st == MM1_OK && i < found.gl_pathc; i++) {
        if (!mm1_names_add(out, found.gl_pathv[i])) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the list of files", pattern);
        }
    }
    globfree(&found);
    return st;
}

static mm1_status glob_braces(const char *pattern, int depth, mm1_names *out, mm1_error *err)
{
    enum { MAX_RANGE = 1000000, MAX_BRACES = 8 };
    const char *open = strchr(pattern, '{');
    const char *close = open != NULL ? strchr(open, '}') : NULL;
    if (close == NULL) {
        return glob_plain(pattern, out, err);
    }
    if (depth >= MAX_BRACES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: more than %d braces", pattern, MAX_BRACES);
    }

    mm1_status st = MM1_OK;
    mm1_buf path;
    mm1_buf_init(&path, 1 << 16);
    const char *body = open + 1;
    const char *dots = strstr(body, "..");
    if (dots != NULL && dots < close) {
        char *end = NULL;
        const long first = strtol(body, &end, 10);
        const bool first_ok = end == dots && end > body;
        const long last = strtol(dots + 2, &end, 10);
        if (!first_ok || end != close || first < 0 || last < first || last - first >= MAX_RANGE) {
            st =
                mm1_error_set(err, MM1_E_CONFIG, "%s: a brace range is {first..last} with 0 <= first <= last", pattern);
        }
        for (long i = first; st == MM1_OK && i <= last; i++) {
            mm1_buf_clear(&path);
            mm1_buf_append(&path, pattern, (size_t)(open - pattern));
            mm1_buf_printf(&path, "%0*ld", (int)(dots - body), i);
            mm1_buf_puts(&path, close + 1);
            st = mm1_buf_status(&path) != MM1_OK
                     ? mm1_error_set(err, mm1_buf_status(&path), "%s: no memory for a path, or it is too long", pattern)
                     : glob_braces(mm1_buf_str(&path), depth + 1, out, err);
        }
    } else {
        for (const char *item = body; st == MM1_OK && item <= close;) {
            const char *comma = memchr(item, ',', (size_t)(close - item));
            const char *end = comma != NULL ? comma : close;
            mm1_buf_clear(&path);
            mm1_buf_append(&path, pattern, (size_t)(open - pattern));
            mm1_buf_append(&path, item, (size_t)(end - item));
            mm1_buf_puts(&path, close + 1);
            st = mm1_buf_status(&path) != MM1_OK
                     ? mm1_error_set(err, mm1_buf_status(&path), "%s: no memory for a path, or it is too long", pattern)
                     : glob_braces(mm1_buf_str(&path), depth + 1, out, err);
            item = end + 1;
        }
    }
    mm1_buf_deinit(&path);
    return st;
}

mm1_status mm1_path_glob(const char *pattern, mm1_names *out, mm1_error *err)
{
    *out = (mm1_names){0};
    const mm1_status st = glob_braces(pattern, 0, out, err);
    if (st != MM1_OK) {
        mm1_names_free(out);
    }
    return st;
}

bool mm1_path_exists(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0;
}

bool mm1_path_is_dir(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

char *mm1_path_join(const char *dir, const char *name)
{
    if (name[0] == '/' || dir[0] == '\0') {
        return mm1_strdup(name);
    }
    const size_t n_dir = strlen(dir), n_name = strlen(name);
    const bool slash = dir[n_dir - 1] != '/';
    char *out = mm1_alloc(n_dir + (slash ? 1 : 0) + n_name + 1, 1);
    if (out != NULL) {
        memcpy(out, dir, n_dir);
        if (slash) {
            out[n_dir] = '/';
        }
        memcpy(out + n_dir + (slash ? 1 : 0), name, n_name + 1);
    }
    return out;
}

char *mm1_path_dirname(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return mm1_strdup(".");
    }
    return mm1_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

const char *mm1_path_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

const char *mm1_path_extension(const char *path)
{
    const char *base = mm1_path_basename(path), *dot = strrchr(base, '.');
    return dot != NULL && dot != base ? dot : base + strlen(base);
}

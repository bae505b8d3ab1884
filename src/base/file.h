/* file.h - whole files in and out: mapped or read under a cap, written so that they appear complete or not at all.
 *
 * Errors: MM1_E_IO with the path and the system's reason; MM1_E_LIMIT for a file over its cap. */
#ifndef MM1_BASE_FILE_H
#define MM1_BASE_FILE_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file mapped for reading.  data is NULL for an empty file. */
typedef struct mm1_map {
    const uint8_t *data;
    size_t len;
} mm1_map;

MM1_NODISCARD mm1_status mm1_map_open(mm1_map *map, const char *path, mm1_error *err);
void mm1_map_close(mm1_map *map); /* accepts a zeroed map */

/* The whole file, NUL-terminated, freed by the caller with mm1_free().  len may be NULL. */
MM1_NODISCARD mm1_status mm1_file_read(const char *path, size_t max_bytes, char **out, size_t *len, mm1_error *err);

/* Writes to "<path>.tmp", syncs and renames: a reader sees the old file or the whole new one. */
MM1_NODISCARD mm1_status mm1_file_write_atomic(const char *path, const void *bytes, size_t len, mm1_error *err);

/* Makes a folder and its parents; an existing one is fine. */
MM1_NODISCARD mm1_status mm1_dir_make(const char *path, mm1_error *err);
/* Flushes a folder's entries to disk: after a rename inside it. */
MM1_NODISCARD mm1_status mm1_dir_sync(const char *path, mm1_error *err);
/* Removes a file, or a folder with all that is in it; a missing path is fine.  Never follows links. */
MM1_NODISCARD mm1_status mm1_path_remove(const char *path, mm1_error *err);

/* Names (no "." and "..") in byte order; free with mm1_names_free(). */
typedef struct mm1_names {
    char **items;
    size_t n;
} mm1_names;

MM1_NODISCARD mm1_status mm1_dir_list(const char *path, mm1_names *out, mm1_error *err);
/* Paths matching a pattern with *, ?, [..] and brace ranges {0000..0031} or lists {a,b}, in byte order per brace item.
 * No match is MM1_E_IO. */
MM1_NODISCARD mm1_status mm1_path_glob(const char *pattern, mm1_names *out, mm1_error *err);
void mm1_names_free(mm1_names *names);
/* Appends a copy; false if memory is short. */
bool mm1_names_add(mm1_names *names, const char *name);

bool mm1_path_exists(const char *path);
bool mm1_path_is_dir(const char *path);
/* "<dir>/<name>", or a copy of name if it is absolute or dir is empty; NULL if memory is short.  mm1_free() it. */
char *mm1_path_join(const char *dir, const char *name);
/* The part before the last '/', "." if there is none; mm1_free() it. */
char *mm1_path_dirname(const char *path);
/* Points into path, after the last '/'. */
const char *mm1_path_basename(const char *path);
/* Points to the last '.' of the base name and what follows it, or to the terminating NUL. */
const char *mm1_path_extension(const char *path);

#endif

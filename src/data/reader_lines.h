/* reader_lines.h - text files, plain or zstd-compressed, in memory; files of JSON indexed by line, or by the objects of
 * a list.
 *
 * A plain file is mapped, a compressed one unpacked under a cap when it is opened. */
#ifndef MM1_DATA_READER_LINES_H
#define MM1_DATA_READER_LINES_H

#include "base/file.h"
#include <mm1/error.h>

typedef struct mm1_line {
    size_t offset, len; /* without the newline */
    uint32_t file;
    uint32_t number; /* from 1, of an object of a list from 0; for messages */
} mm1_line;

typedef struct mm1_line_file {
    mm1_map map;    /* of a plain file */
    char *unpacked; /* of a compressed one */
    const char *bytes;
    size_t len;
    bool is_list; /* its "lines" are the objects of a list */
} mm1_line_file;

typedef struct mm1_line_index {
    mm1_line_file *files; /* one for each path, in their order */
    size_t n_files;
    mm1_line *lines; /* that are not blank */
    size_t n_lines, cap_lines;
} mm1_line_index;

MM1_NODISCARD mm1_status mm1_line_index_open(mm1_line_index *out, const mm1_names *paths, mm1_error *err);
/* The same, but a file that begins with "[" is one list of objects, [{..}, {..}], and those are indexed.  MM1_E_FORMAT
 * for a list that does not end or has something else in it. */
MM1_NODISCARD mm1_status mm1_line_index_open_json(mm1_line_index *out, const mm1_names *paths, mm1_error *err);
void mm1_line_index_close(mm1_line_index *lines); /* accepts a zeroed one */

/* A whole file, unpacked if its name ends in .zst, NUL-terminated; the caller frees it with mm1_free().  MM1_E_FORMAT
 * for a compressed file that is damaged or cut short. */
MM1_NODISCARD mm1_status mm1_text_file_read(const char *path, size_t max_bytes, char **out, size_t *len,
                                            mm1_error *err);

#endif

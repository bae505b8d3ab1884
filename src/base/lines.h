/* lines.h - a text file line by line, plain or compressed with Zstandard (told by its first bytes, not by its name).
 *
 * The file is streamed: memory is one line and two small buffers, whatever the file's size.
 * Errors: MM1_E_IO, MM1_E_FORMAT for a damaged compressed file, MM1_E_LIMIT for a line over the limit; each names the
 * path and the line.  Threads: one at a time. */
#ifndef MM1_BASE_LINES_H
#define MM1_BASE_LINES_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_lines mm1_lines;

/* max_line_bytes: without the newline. */
MM1_NODISCARD mm1_status mm1_lines_open(const char *path, size_t max_line_bytes, mm1_lines **out, mm1_error *err);
void mm1_lines_close(mm1_lines *l); /* accepts NULL */

/* The next line (borrowed until the next call, NUL-terminated), with its "\n" if it has one: only the last may lack it.
 * *line is NULL at the end. */
MM1_NODISCARD mm1_status mm1_lines_next(mm1_lines *l, const char **line, size_t *len, mm1_error *err);

/* Number of the line given last, from 1; 0 before the first. */
uint64_t mm1_lines_number(const mm1_lines *l);

#endif

/* json_stream.h - a JSON file of any size, one element at a time: the elements of a list, the members of a map, or one
 * value a line.
 *
 *   whole document     [ {..}, {..} ]                    or {"a": {..}, "b": {..}}
 *   a member of it     {"info": .., "annotations": [ {..}, {..} ]}
 *   lines              {..}\n{..}\n                      also compressed with Zstandard (lines.h)
 *
 * Annotation files of hundreds of megabytes are read with the memory of one element.  An element that is no JSON is
 * given as such, and reading goes on behind it.
 *
 * Errors: MM1_E_IO; MM1_E_FORMAT with path and line if the file is no list or map, lacks the member, or ends too early;
 * MM1_E_LIMIT for an element over 64 MiB; MM1_E_NOMEM.  Threads: one at a time. */
#ifndef MM1_BASE_JSON_STREAM_H
#define MM1_BASE_JSON_STREAM_H

#include <jansson.h>
#include <mm1/error.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mm1_json_stream mm1_json_stream;

typedef struct mm1_json_element {
    json_t *value;    /* NULL: malformed.  Borrowed until the next call */
    const char *key;  /* of a member of a map; NULL in a list.  Borrowed until the next call */
    const char *text; /* [len] as it stands in the file; borrowed until the next call */
    size_t len;
    uint64_t number;    /* from 1 */
    uint64_t line;      /* where it begins, from 1 */
    const char *reason; /* why it is malformed */
} mm1_json_element;

/* member NULL: the document itself is the list or map. */
MM1_NODISCARD mm1_status mm1_json_stream_open(const char *path, const char *member, mm1_json_stream **out,
                                              mm1_error *err);
/* One value a line; empty lines are passed over. */
MM1_NODISCARD mm1_status mm1_json_stream_open_lines(const char *path, mm1_json_stream **out, mm1_error *err);
void mm1_json_stream_close(mm1_json_stream *s); /* accepts NULL */

/* False in *more at the end. */
MM1_NODISCARD mm1_status mm1_json_stream_next(mm1_json_stream *s, mm1_json_element *element, bool *more,
                                              mm1_error *err);

#endif

/* metric_file.h - the records of a file of predictions or references, by id. */
#ifndef MM1_EVAL_METRIC_FILE_H
#define MM1_EVAL_METRIC_FILE_H

#include <jansson.h>
#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mm1_metric_form {
    MM1_METRIC_JSON,  /* one document: a list of objects, possibly a member of the top object */
    MM1_METRIC_LINES, /* an object a line */
    MM1_METRIC_ROWS   /* columns between tabs */
} mm1_metric_form;

/* Where to find what. */
typedef struct mm1_metric_format {
    mm1_metric_form form;
    const char *list;  /* member that holds the list; NULL: the document is the list */
    const char *id[2]; /* one or two members that make the id together; columns are called "0", "1", ... */
    const char
        *text[2]; /* member that holds the text, or a list of texts or of objects with `inner`; else the second */
    const char *inner;
    int n_columns; /* rows: how many there are at least */
} mm1_metric_format;

/* A record gives one text a string: a reference with several answers gives several. */
typedef struct mm1_metric_record {
    char *id;           /* owned */
    const char **texts; /* [n_texts], the array owned, the strings borrowed from the file */
    size_t n_texts;
} mm1_metric_record;

typedef struct mm1_metric_file {
    mm1_metric_record *records; /* sorted by id; those of one id in the order of the file */
    size_t n, cap;
    int64_t malformed;
    json_t *roots; /* list: what the strings are borrowed from */
} mm1_metric_file;

/* On failure nothing is to be freed. */
MM1_NODISCARD mm1_status mm1_metric_file_read(mm1_metric_file *f, const char *path, const mm1_metric_format *format,
                                              mm1_error *err);
void mm1_metric_file_deinit(mm1_metric_file *f);

#endif

/* yaml.h - a YAML file as a tree whose every node remembers the file and line it came from.
 *
 * A small, safe part of YAML 1.1 as read by libyaml: maps with string keys, lists, scalars, block and flow style.
 * Refused with file and line: aliases and anchors, tags, a key given twice, a second document, nesting deeper than
 * MM1_YAML_MAX_DEPTH, files over MM1_YAML_MAX_BYTES, more than MM1_YAML_MAX_KEYS entries in one map.  What a plain
 * scalar means (number, word, text) is decided by who reads it.
 *
 * Errors: MM1_E_CONFIG for what the file says, MM1_E_LIMIT, MM1_E_IO, MM1_E_NOMEM.  Not thread-safe. */
#ifndef MM1_BASE_YAML_H
#define MM1_BASE_YAML_H

#include "base/arena.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MM1_YAML_MAX_BYTES = 1 << 20, /* of one file */
    MM1_YAML_MAX_DEPTH = 32,
    MM1_YAML_MAX_KEYS = 1024, /* entries of one map */
    MM1_YAML_MAX_EXTENDS = 8, /* files in a chain of `extends` */
};

typedef enum mm1_yaml_kind { MM1_YAML_SCALAR, MM1_YAML_MAP, MM1_YAML_LIST } mm1_yaml_kind;

typedef struct mm1_yaml_node mm1_yaml_node;
struct mm1_yaml_node {
    const char *path;            /* the file */
    const char *key;             /* in a map; else NULL */
    const char *text;            /* of a scalar, UTF-8, NUL-terminated; else NULL */
    mm1_yaml_node *first, *last; /* children */
    mm1_yaml_node *next;         /* sibling */
    mm1_yaml_kind kind;
    int line;       /* from 1; that of the key in a map */
    uint32_t n;     /* children of a map or list */
    bool is_quoted; /* scalar in quotes or a block scalar: never a number, a word or null */
};

typedef struct mm1_yaml {
    mm1_yaml_node *root;                    /* an empty file has an empty map */
    mm1_arena arenas[MM1_YAML_MAX_EXTENDS]; /* one a file: they own every node and string */
    int n_arenas;
} mm1_yaml;

/* Reads `path` and the chain of files that it names with a top-level `extends: other.yaml` (relative to the file that
 * says so).  The nearer file wins: maps merge key by key, scalars and lists replace.  The `extends` key itself is not
 * in the tree.  A circle is an error.  On failure nothing needs to be freed. */
MM1_NODISCARD mm1_status mm1_yaml_load(mm1_yaml *doc, const char *path, mm1_error *err);

/* Parses text; `name` stands for the file in messages and is copied.  `extends` has no meaning here. */
MM1_NODISCARD mm1_status mm1_yaml_parse(mm1_yaml *doc, const char *text, size_t len, const char *name, mm1_error *err);

void mm1_yaml_deinit(mm1_yaml *doc); /* accepts a zeroed one */

/* The child of a map by key; NULL if there is none or `map` is no map. */
mm1_yaml_node *mm1_yaml_get(const mm1_yaml_node *map, const char *key);

/* Unlinks and returns the child with this key, NULL if there is none: for parts of a file that no field table reads.
 * It lives as long as the document. */
mm1_yaml_node *mm1_yaml_take(mm1_yaml_node *map, const char *key);

/* An unquoted scalar that is empty, ~ or null. */
bool mm1_yaml_is_null(const mm1_yaml_node *node);

#endif

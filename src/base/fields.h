/* fields.h - one table a struct: it gives the defaults, reads YAML and --set, checks ranges, dumps, and writes the
 * reference page.
 *
 * A table is a static const array of mm1_field ended by {0}; each row describes one member of a plain struct:
 *
 *     typedef struct train { int64_t n_steps; double lr_peak; int schedule; char *notes; } train;
 *     static const char *const schedules[] = {"constant", "cosine", NULL};
 *     const mm1_field train_fields[] = {
 *         MM1_FIELD(train, n_steps, I64, .def.i = 1000, .min.i = 1, .help = "optimiser steps"),
 *         MM1_FIELD(train, lr_peak, F64, .def.f = NAN, .max.f = 1, .special = "law", .special_value.f = NAN),
 *         MM1_FIELD(train, schedule, ENUM, .def.i = 1, .names = schedules),
 *         MM1_FIELD(train, notes, STR),
 *         {0}
 *     };
 *     MM1_FIELD_GROUP_OF(recipe, train, train_fields)                               a nested struct
 *     MM1_FIELD_LIST_OF(data, sources, n_sources, source, source_fields)            source *sources; size_t n_sources
 *     MM1_FIELD_ITEMS_OF(eval, tasks, n_tasks, STR)                                 char **tasks; size_t n_tasks
 *
 * Members by type: I64 int64_t; F64 double; BOOL bool; ENUM int (or an enum type), an index into names; STR char *,
 * owned, NULL while unset; TEXT char [n], never NULL, shorter than n bytes; GROUP a struct with its own table; LIST a
 * pointer (owned) and a size_t count.
 *
 * Ranges are inclusive.  max 0 with min >= 0 stands for "no upper limit", so a member without a range is one that is
 * not negative; give both bounds to allow negative values.  F64 values are always finite, but for special_value.
 *
 * Keys are dotted paths: train.n_steps, model.decoder.width; an element of a list is named by its index
 * (data.sources.0.weight) or, if its table has a STR member `name`, by that name (data.sources.captions.weight).
 *
 * Errors: MM1_E_CONFIG with "path:line: train.n_steps: 0 is below 1"; for a key that is not in the table the nearest
 * one that is; MM1_E_NOMEM, MM1_E_LIMIT, MM1_E_IO.  After any failure the struct is still valid for
 * mm1_fields_deinit(), with some values changed.
 *
 * Threads: tables are read only; a struct is used by one thread at a time. */
#ifndef MM1_BASE_FIELDS_H
#define MM1_BASE_FIELDS_H

#include "base/buf.h"
#include "base/number.h" /* how a value reads and is written */
#include "base/yaml.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mm1_field_type {
    MM1_FIELD_END, /* what {0} is */
    MM1_FIELD_I64,
    MM1_FIELD_F64,
    MM1_FIELD_BOOL,
    MM1_FIELD_ENUM,
    MM1_FIELD_STR,
    MM1_FIELD_TEXT, /* in the struct itself: for structs that are copied with = */
    MM1_FIELD_GROUP,
    MM1_FIELD_LIST
} mm1_field_type;

typedef union mm1_field_value {
    int64_t i;     /* I64, ENUM, BOOL (0 or 1) */
    double f;      /* F64 */
    const char *s; /* STR, TEXT; NULL: unset, for TEXT empty */
} mm1_field_value;

enum { MM1_FIELD_MAX_ITEMS = 4096 }; /* of a list, where its row does not say */

typedef struct mm1_field mm1_field;
struct mm1_field {
    const char *key;
    mm1_field_type type;
    size_t offset, size; /* of the member */
    mm1_field_value def; /* a GROUP takes its table's; a LIST begins empty */
    mm1_field_value min, max;
    bool is_above_min;             /* the value must be greater than min, not equal */
    bool is_required;              /* STR: mm1_fields_check() refuses NULL; LIST: refuses an empty one */
    const char *special;           /* I64, F64: a word that may stand for the number, e.g. "auto" */
    mm1_field_value special_value; /* what is then stored, outside of the range; NAN is allowed */
    const char *const *names;      /* ENUM: ended by NULL */
    const mm1_field *table;        /* GROUP; LIST of structs */
    mm1_field_type item;           /* LIST of I64, F64, ENUM or STR: its type, with names, min, max as above */
    size_t item_size;              /* LIST: sizeof one element */
    size_t count_offset;           /* LIST: of the size_t member that counts */
    size_t max_items;              /* LIST: 0 stands for MM1_FIELD_MAX_ITEMS */
    const char *unit, *help;       /* for the reference page; may be NULL */
};

#define MM1_FIELD_PLACE_(T, member) .key = #member, .offset = offsetof(T, member), .size = sizeof(((T *)0)->member)
#define MM1_FIELD(T, member, TYPE, ...)                                                                                \
    {                                                                                                                  \
        MM1_FIELD_PLACE_(T, member), .type = MM1_FIELD_##TYPE, ##__VA_ARGS__                                           \
    }
#define MM1_FIELD_GROUP_OF(T, member, fields, ...)                                                                     \
    {                                                                                                                  \
        MM1_FIELD_PLACE_(T, member), .type = MM1_FIELD_GROUP, .table = (fields), ##__VA_ARGS__                         \
    }
#define MM1_FIELD_LIST_OF(T, member, count, E, fields, ...)                                                            \
    {                                                                                                                  \
        MM1_FIELD_PLACE_(T, member), .type = MM1_FIELD_LIST, .count_offset = offsetof(T, count),                       \
                                     .item_size = sizeof(E), .table = (fields), ##__VA_ARGS__                          \
    }
#define MM1_FIELD_ITEMS_OF(T, member, count, TYPE, ...)                                                                \
    {                                                                                                                  \
        MM1_FIELD_PLACE_(T, member), .type = MM1_FIELD_LIST, .count_offset = offsetof(T, count),                       \
                                     .item_size = sizeof(*((T *)0)->member), .item = MM1_FIELD_##TYPE, ##__VA_ARGS__   \
    }

/* Sets every member of a struct that holds nothing yet (its old bytes are not looked at). */
MM1_NODISCARD mm1_status mm1_fields_defaults(const mm1_field *table, void *object, mm1_error *err);

/* Frees strings and lists and sets them to NULL and 0.  Accepts a zeroed struct. */
void mm1_fields_deinit(const mm1_field *table, void *object);

/* Reads a file, with `extends`, over a struct that has its defaults: keys that are not there keep their values. */
MM1_NODISCARD mm1_status mm1_fields_load_yaml(const mm1_field *table, void *object, const char *path, mm1_error *err);

/* The same from a tree: for files that hold more than the struct (take the rest out first, mm1_yaml_take()). */
MM1_NODISCARD mm1_status mm1_fields_load_node(const mm1_field *table, void *object, const mm1_yaml_node *map,
                                              mm1_error *err);

/* "train.n_steps=20".  A number, word or string is taken as it stands (quotes are not needed but are understood; "null"
 * or nothing unsets a string); a group or list is YAML, usually in flow style: "eval.tasks=[a, b]". */
MM1_NODISCARD mm1_status mm1_fields_set(const mm1_field *table, void *object, const char *assignment, mm1_error *err);

/* The value of one key as YAML: a scalar as in a dump, a group or list as a block. */
MM1_NODISCARD mm1_status mm1_fields_get(const mm1_field *table, const void *object, const char *key, mm1_buf *out,
                                        mm1_error *err);

/* Every value against its range, and what is required.  Loading and setting check what they touch; this is for the
 * end of it all, and for structs filled by code. */
MM1_NODISCARD mm1_status mm1_fields_check(const mm1_field *table, const void *object, mm1_error *err);

/* Every value as YAML.  Loading the dump over the defaults gives the identical struct: numbers are written in the
 * fewest digits that read back the same.  Check mm1_buf_status(). */
void mm1_fields_dump_yaml(const mm1_field *table, const void *object, mm1_buf *out);

/* Markdown table of the keys, types, defaults, ranges and help texts.  prefix is put before each key ("" for none). */
void mm1_fields_dump_reference(const mm1_field *table, const char *prefix, mm1_buf *out);

/* For tests of tables: sizes fit types, keys are unique, defaults are in range.  MM1_E_INTERNAL names the row. */
MM1_NODISCARD mm1_status mm1_fields_table_check(const mm1_field *table, mm1_error *err);

/* Where a table row lives in a struct; used by fields.c and fields_dump.c. */
static inline const void *mm1__field_at(const mm1_field *f, const void *object)
{
    return (const char *)object + f->offset;
}
/* An element of a scalar list as a row of its own at offset 0. */
mm1_field mm1__field_item(const mm1_field *list);
size_t mm1__field_count(const mm1_field *list, const void *object);
const char *mm1__field_element(const mm1_field *list, const void *object, size_t i);
/* One value as YAML text at this indentation, as mm1_fields_get() gives it. */
void mm1__field_write(const mm1_field *f, const void *object, int indent, mm1_buf *out);
/* "1 .. 100", ">= 0"; empty if the type has no range. */
void mm1__field_write_range(const mm1_field *f, mm1_buf *out);

#endif

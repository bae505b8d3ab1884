/* gguf.h - the model files of llama.cpp, read in place and written as a stream.
 *
 *     "GGUF" | u32 version | u64 tensors | u64 keys | the keys | the table of tensors | padding | data
 *
 * A key is a string, a type and a value; a string is a u64 length and UTF-8.  A row of the table is a name, dimensions
 * (the fastest first), a format of quant.h and an offset into the data.  Data begins, and each tensor in it, at a
 * multiple of the key general.alignment, or of 32.  All is little-endian.
 *
 * Versions 2 and 3 are read, 3 is written.  A file is not trusted.  Refused, with file and key or tensor named: counts
 * and lengths that the file cannot hold or that are over the limits below; strings that are not UTF-8 or hold a NUL;
 * duplicate keys and names; arrays of arrays; formats that quant.h does not have; rows that are not whole blocks;
 * shapes that overflow; offsets that are not aligned, overlap or leave the file.  Gaps are allowed, as in the format.
 *
 * Errors: MM1_E_FORMAT, MM1_E_LIMIT, MM1_E_UNSUPPORTED, MM1_E_SHAPE, MM1_E_IO, MM1_E_NOMEM. */
#ifndef MM1_TENSOR_GGUF_H
#define MM1_TENSOR_GGUF_H

#include "tensor/quant.h"

enum {
    MM1_GGUF_MAX_DIMS = 4,
    MM1_GGUF_MAX_TENSORS = 1 << 18,
    MM1_GGUF_MAX_KEYS = 1 << 16,
    MM1_GGUF_MAX_HEADER_BYTES = 256 << 20, /* keys and table */
    MM1_GGUF_MAX_NAME_BYTES = 255,         /* of a key or a tensor */
};

/* As numbered in the file. */
typedef enum mm1_gguf_type {
    MM1_GGUF_U8,
    MM1_GGUF_I8,
    MM1_GGUF_U16,
    MM1_GGUF_I16,
    MM1_GGUF_U32,
    MM1_GGUF_I32,
    MM1_GGUF_F32,
    MM1_GGUF_BOOL,
    MM1_GGUF_STRING,
    MM1_GGUF_ARRAY,
    MM1_GGUF_U64,
    MM1_GGUF_I64,
    MM1_GGUF_F64,
    MM1_GGUF_TYPE_COUNT
} mm1_gguf_type;

/* "U32"; bytes of one, 0 for strings and arrays. */
const char *mm1_gguf_type_name(mm1_gguf_type type);
size_t mm1_gguf_type_bytes(mm1_gguf_type type);

/* A key and its value, read or to be written. */
typedef struct mm1_gguf_value {
    const char *key;
    mm1_gguf_type type; /* of the value; of the elements if is_array; never MM1_GGUF_ARRAY */
    bool is_array;
    size_t n;                   /* elements; 1 unless is_array */
    const char *const *strings; /* [n] if type is MM1_GGUF_STRING */
    const void *numbers;        /* [n] otherwise, little-endian, aligned to nothing */
} mm1_gguf_value;

typedef struct mm1_gguf_tensor {
    const char *name;
    const uint8_t *data; /* n_bytes, aligned to nothing; never NULL */
    size_t n_bytes;
    int64_t n_elements;
    int64_t shape[MM1_GGUF_MAX_DIMS]; /* row-major, as everywhere in mm1: the last is the length of a row */
    int n_dims;                       /* 0 is a scalar */
    mm1_quant format;
} mm1_gguf_tensor;

typedef struct mm1_gguf mm1_gguf;

/* Maps the file and checks all of its header.  What the functions below lend lives until it is closed.  Reading from
 * several threads is fine. */
MM1_NODISCARD mm1_status mm1_gguf_open(mm1_gguf **out, const char *path, mm1_error *err);
void mm1_gguf_close(mm1_gguf *g); /* accepts NULL */

const char *mm1_gguf_path(const mm1_gguf *g);

/* ---- keys ---- */

size_t mm1_gguf_n_values(const mm1_gguf *g);
/* In byte order of the keys; i < n. */
const mm1_gguf_value *mm1_gguf_value_at(const mm1_gguf *g, size_t i);
/* NULL if there is none. */
const mm1_gguf_value *mm1_gguf_value_find(const mm1_gguf *g, const char *key);

/* Values by type; MM1_E_FORMAT, naming file and key, if the key is missing or of another type. */
/* Any type of whole number, if it lies in [lo, hi]; else MM1_E_LIMIT. */
MM1_NODISCARD mm1_status mm1_gguf_get_int(const mm1_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *out,
                                          mm1_error *err);
/* F32 or F64, finite. */
MM1_NODISCARD mm1_status mm1_gguf_get_float(const mm1_gguf *g, const char *key, double *out, mm1_error *err);
MM1_NODISCARD mm1_status mm1_gguf_get_bool(const mm1_gguf *g, const char *key, bool *out, mm1_error *err);
MM1_NODISCARD mm1_status mm1_gguf_get_string(const mm1_gguf *g, const char *key, const char **out, mm1_error *err);
/* An array of this type. */
MM1_NODISCARD mm1_status mm1_gguf_get_array(const mm1_gguf *g, const char *key, mm1_gguf_type type,
                                            const mm1_gguf_value **out, mm1_error *err);

/* ---- tensors ---- */

size_t mm1_gguf_n_tensors(const mm1_gguf *g);
/* In byte order of the names; i < n. */
const mm1_gguf_tensor *mm1_gguf_tensor_at(const mm1_gguf *g, size_t i);
/* NULL if there is none. */
const mm1_gguf_tensor *mm1_gguf_tensor_find(const mm1_gguf *g, const char *name);
/* The tensor of this name if it has this shape; MM1_E_FORMAT if it is missing, MM1_E_SHAPE with both shapes otherwise.
 */
MM1_NODISCARD mm1_status mm1_gguf_tensor_get(const mm1_gguf *g, const char *name, int n_dims, const int64_t *shape,
                                             const mm1_gguf_tensor **out, mm1_error *err);

/* ---- writing ---- */

/* What to write; borrowed during the call. */
typedef struct mm1_gguf_entry {
    const char *name;
    mm1_quant format; /* one that can be written */
    int n_dims;
    int64_t shape[MM1_GGUF_MAX_DIMS]; /* row-major */
    const float *data;                /* row-major */
    const int64_t *rows;              /* row i of the file, or element i of a vector, is rows[i] of data; NULL: i */
} mm1_gguf_entry;

/* Writes "<path>.tmp", syncs and renames.  The bytes depend on the arguments alone; keys and tensors stand in the given
 * order.  No second copy of the data is made.  MM1_E_ARG: names that are no text or given twice, rows that are not
 * whole blocks; MM1_E_NUMERIC: a value that is not finite or too large for its format. */
MM1_NODISCARD mm1_status mm1_gguf_write(const char *path, const mm1_gguf_value *values, size_t n_values,
                                        const mm1_gguf_entry *entries, size_t n_entries, mm1_error *err);

#endif

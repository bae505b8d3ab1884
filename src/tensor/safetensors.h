/* safetensors.h - the file format of model weights, read in place and written as a stream.
 *
 *     u64 little-endian header length | header: JSON, padded with spaces | data
 *
 * The header maps a tensor's name to {"dtype", "shape", "data_offsets": [begin, end]} relative to the data, and
 * "__metadata__" to a map of strings.  Data is row-major and little-endian.
 *
 * A file is not trusted.  Refused, with file and tensor named: a header that is over MM1_SAFETENSORS_MAX_HEADER_BYTES,
 * longer than the file, or not of the form above; duplicate names; unknown dtypes; shapes that overflow or do not fit
 * their offsets; offsets outside of the file, holes, overlaps, bytes after the last tensor.
 *
 * Errors: MM1_E_FORMAT, MM1_E_LIMIT, MM1_E_UNSUPPORTED (a dtype), MM1_E_SHAPE, MM1_E_IO, MM1_E_NOMEM. */
#ifndef MM1_TENSOR_SAFETENSORS_H
#define MM1_TENSOR_SAFETENSORS_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MM1_SAFETENSORS_MAX_HEADER_BYTES = 100 * 1000 * 1000,
    MM1_SAFETENSORS_MAX_DIMS = 8,
};

typedef enum mm1_dtype {
    MM1_DTYPE_BOOL,
    MM1_DTYPE_U8,
    MM1_DTYPE_I8,
    MM1_DTYPE_U16,
    MM1_DTYPE_I16,
    MM1_DTYPE_F16,
    MM1_DTYPE_BF16,
    MM1_DTYPE_U32,
    MM1_DTYPE_I32,
    MM1_DTYPE_F32,
    MM1_DTYPE_U64,
    MM1_DTYPE_I64,
    MM1_DTYPE_F64,
    MM1_DTYPE_COUNT
} mm1_dtype;

/* As in the file: "BF16". */
const char *mm1_dtype_name(mm1_dtype dtype);
size_t mm1_dtype_bytes(mm1_dtype dtype);

typedef struct mm1_safetensors mm1_safetensors;

/* All pointers are borrowed from the open file. */
typedef struct mm1_safetensors_tensor {
    const char *name;    /* UTF-8 */
    const uint8_t *data; /* n_bytes, aligned to nothing; never NULL */
    size_t n_bytes;
    int64_t n_elements;
    int64_t shape[MM1_SAFETENSORS_MAX_DIMS];
    int n_dims; /* 0 is a scalar */
    mm1_dtype dtype;
} mm1_safetensors_tensor;

/* Maps the file and checks all of its header.  Reading from several threads is fine. */
MM1_NODISCARD mm1_status mm1_safetensors_open(mm1_safetensors **out, const char *path, mm1_error *err);
void mm1_safetensors_close(mm1_safetensors *sf); /* accepts NULL */

const char *mm1_safetensors_path(const mm1_safetensors *sf);
size_t mm1_safetensors_n(const mm1_safetensors *sf);
/* In byte order of the names; i < n. */
const mm1_safetensors_tensor *mm1_safetensors_at(const mm1_safetensors *sf, size_t i);
/* NULL if there is none. */
const mm1_safetensors_tensor *mm1_safetensors_find(const mm1_safetensors *sf, const char *name);
/* A value of "__metadata__"; NULL if there is none. */
const char *mm1_safetensors_metadata(const mm1_safetensors *sf, const char *key);

/* The tensor of this name if it has this shape; MM1_E_FORMAT if it is missing, MM1_E_SHAPE with both shapes otherwise.
 */
MM1_NODISCARD mm1_status mm1_safetensors_get(const mm1_safetensors *sf, const char *name, int n_dims,
                                             const int64_t *shape, const mm1_safetensors_tensor **out, mm1_error *err);

/* All elements as f32 into dst [n_elements]; F32, F16 and BF16, exactly.  Other types are MM1_E_UNSUPPORTED. */
MM1_NODISCARD mm1_status mm1_safetensors_to_f32(const mm1_safetensors_tensor *t, float *dst, mm1_error *err);

/* What to write; borrowed during the call. */
typedef struct mm1_safetensors_entry {
    const char *name;
    mm1_dtype dtype; /* in the file */
    int n_dims;
    int64_t shape[MM1_SAFETENSORS_MAX_DIMS];
    const void *data; /* row-major elements of `dtype`, or f32 if is_f32 is set */
    bool is_f32;      /* for dtype F32, F16 or BF16: data is f32 and is rounded to nearest even while being written */
} mm1_safetensors_entry;

typedef struct mm1_safetensors_pair {
    const char *key, *value;
} mm1_safetensors_pair;

/* Writes "<path>.tmp", syncs and renames.  The bytes depend on the arguments alone.  Tensors stand in the given order,
 * wider element types before narrower ones, so that each is aligned; the header is padded to 8 bytes.  No second copy
 * of the data is made. */
MM1_NODISCARD mm1_status mm1_safetensors_write(const char *path, const mm1_safetensors_entry *entries, size_t n,
                                               const mm1_safetensors_pair *metadata, size_t n_metadata, mm1_error *err);

#endif

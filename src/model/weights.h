/* weights.h - the tensors of a model as it lies on disk: one list, whether they are in one file or in several.
 *
 * A folder holds model.safetensors, or model.safetensors.index.json and the files that its weight_map names, which must
 * lie in the folder itself.  A file is as little trusted as safetensors.h says; a tensor that is in two files, or in
 * another one than the map says, is refused.  Other formats fill the same struct (a sorted list, and how to read one).
 *
 * Errors: those of safetensors.h, with file and tensor named. */
#ifndef MM1_MODEL_WEIGHTS_H
#define MM1_MODEL_WEIGHTS_H

#include "tensor/safetensors.h"

enum { MM1_WEIGHTS_MAX_FILES = 4096 };

/* Strings are borrowed from the open files. */
typedef struct mm1_weight {
    const char *name; /* UTF-8 */
    const char *path; /* of its file, for messages */
    int64_t shape[MM1_SAFETENSORS_MAX_DIMS];
    int n_dims;
    const char *dtype; /* of the elements, as the format calls it: "BF16" */
    size_t n_bytes;
    bool used;      /* has been asked for: mm1_weights_get() sets it */
    const void *at; /* for read() */
} mm1_weight;

typedef struct mm1_weights {
    mm1_weight *items; /* in byte order of the names */
    size_t n;
    /* All elements as f32 into dst. */
    mm1_status (*read)(const mm1_weight *w, float *dst, mm1_error *err);
    void (*close)(void *files); /* and what it closes */
    void *files;
    const char *path; /* of the file or index, for messages */
} mm1_weights;

/* The weights in a folder, and in one safetensors file.  On failure nothing needs to be closed. */
MM1_NODISCARD mm1_status mm1_weights_open(mm1_weights *w, const char *dir, mm1_error *err);
MM1_NODISCARD mm1_status mm1_weights_open_file(mm1_weights *w, const char *path, mm1_error *err);
void mm1_weights_close(mm1_weights *w); /* accepts zeroed ones */

/* NULL if there is none. */
mm1_weight *mm1_weights_find(const mm1_weights *w, const char *name);
/* The tensor of this name and shape, marked as used; MM1_E_FORMAT if it is missing, MM1_E_SHAPE with both shapes. */
MM1_NODISCARD mm1_status mm1_weights_get(const mm1_weights *w, const char *name, int n_dims, const int64_t *shape,
                                         const mm1_weight **out, mm1_error *err);

#endif

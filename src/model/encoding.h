/* encoding.h - one picture on its way into a model, all I tiles of it: pixels, patch features, what stands for the
 * whole picture, and the decoder's visual tokens.
 *
 * Threads: as a tape. */
#ifndef MM1_MODEL_ENCODING_H
#define MM1_MODEL_ENCODING_H

#include "model/model.h"

typedef enum mm1_encoding_part {
    MM1_ENCODING_PIXELS,    /* [3, R, R], [I, 3, R, R] if config.image.mode is not plain: what the encoder reads */
    MM1_ENCODING_FEATURES,  /* [I P, C]: patches, rows first, as the connector gets them */
    MM1_ENCODING_POOLED,    /* [E]: of an encoder with a pooled output; of the first tile */
    MM1_ENCODING_EMBEDDING, /* [D], of length 1: of kind clip; to be compared with those of texts and pictures */
    MM1_ENCODING_TOKENS,    /* [I k, C of the decoder]: of a model with a connector */
    MM1_ENCODING_COUNT
} mm1_encoding_part;

/* A part that the model does not have is NULL. */
typedef struct mm1_encoding {
    float *data[MM1_ENCODING_COUNT]; /* owned */
    int64_t dims[MM1_ENCODING_COUNT][4];
    int rank[MM1_ENCODING_COUNT];
} mm1_encoding;

/* Names in files: "pixels", "features", "pooled", "embedding", "tokens". */
const char *mm1_encoding_name(mm1_encoding_part part);

/* The encoded bytes of a picture (JPEG, PNG, WebP); name is for messages.  MM1_E_STATE for a model that takes none. On
 * failure *out is empty. */
MM1_NODISCARD mm1_status mm1_encode_image(const mm1_model *m, const void *bytes, size_t len, const char *name,
                                          mm1_encoding *out, mm1_error *err);
/* All parts as f32 into a safetensors file. */
MM1_NODISCARD mm1_status mm1_encoding_write(const mm1_encoding *e, const char *path, mm1_error *err);
void mm1_encoding_deinit(mm1_encoding *e); /* accepts an empty one */

#endif

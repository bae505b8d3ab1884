/* embedder.h - what a trained encoder makes of a picture: means of its patches after the final norm, or, of kind clip,
 * unit vectors of pictures and texts that can be compared.
 *
 * Threads: one at a time. */
#ifndef MM1_EVAL_EMBEDDER_H
#define MM1_EVAL_EMBEDDER_H

#include "model/model.h"

typedef struct mm1_embedder mm1_embedder;

/* The model is borrowed; features are means over cells x cells parts of the grid of patches.  MM1_E_STATE if the model
 * takes no pictures; MM1_E_ARG if there are more cells in a row than patches, or none. */
MM1_NODISCARD mm1_status mm1_embedder_create(const mm1_model *m, int64_t cells, mm1_embedder **out, mm1_error *err);
void mm1_embedder_destroy(mm1_embedder *e); /* accepts NULL */

/* pixels [n, 3, R, R] -> features [n, cells, cells, C], C the encoder's width. */
MM1_NODISCARD mm1_status mm1_embedder_features(mm1_embedder *e, const float *pixels, int64_t n, float *features,
                                               mm1_error *err);
/* Kind clip alone: unit rows [n, D] of pictures, and of texts, which are cut to the positions of the text tower. */
MM1_NODISCARD mm1_status mm1_embedder_pictures(mm1_embedder *e, const float *pixels, int64_t n, float *unit,
                                               mm1_error *err);
MM1_NODISCARD mm1_status mm1_embedder_texts(mm1_embedder *e, const char *const *texts, int64_t n, float *unit,
                                            mm1_error *err);

#endif

/* picture.h - the pictures of a corpus: read, decoded, cropped, scaled down, hashed and encoded again, in parallel.
 *
 * Encoded results go to one spill file, in the order of the corpus, so that memory does not grow with the number of
 * pictures and nothing depends on threads. */
#ifndef MM1_DATA_PICTURE_H
#define MM1_DATA_PICTURE_H

#include "data/build.h"
#include "data/corpus.h"
#include <mm1/error.h>

/* Fills what corpus.h says of every picture and writes the spill file.  A picture that cannot be used gets its `drop`
 * and is no failure; a spill file that cannot be written is. */
MM1_NODISCARD mm1_status mm1_pictures_load(mm1_corpus *corpus, const mm1_build_config *config, const char *spill_path,
                                           mm1_error *err);

/* The rectangle outside of which all is white (every channel >= 250), grown by `margin` px where there is room.  False
 * if there is none. */
bool mm1_picture_ink_box(const mm1_image *image, int32_t margin, int32_t box[4]);

/* Hash of the picture at 64 x 64 px: equal for equal pixels.  0 is never returned.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_picture_pixel_hash(const mm1_image *image, uint64_t *hash, bool *one_colour,
                                                mm1_error *err);

#endif

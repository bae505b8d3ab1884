/* augment.h - random changes of training pictures, so that no epoch sees the same pixels: a cut, a mirror image, other
 * brightness and contrast.  All is drawn from the given stream, in a fixed order. */
#ifndef MM1_DATA_AUGMENT_H
#define MM1_DATA_AUGMENT_H

#include "base/rng.h"
#include "data/data_config.h"
#include <mm1/image.h>

/* A rectangle whose sides are each a share, drawn from crop_min to 1, of the picture's. */
MM1_NODISCARD mm1_status mm1_augment_cut(double crop_min, mm1_rng *r, const mm1_image *image, mm1_image *cut,
                                         mm1_error *err);
/* In place: mirrored if the source says so and a coin does, then brightness times one factor, and distance from the
 * mean brightness times another. */
void mm1_augment_square(const mm1_data_source *source, mm1_rng *r, mm1_image *square);

#endif

/* pixel_head.h - what an encoder learns with that predicts pictures patch by patch (AIM: El-Nouby et al. 2024): an MLP
 * from the features of a patch to the numbers of the next one.  It is not used afterwards. */
#ifndef MM1_NN_PIXEL_HEAD_H
#define MM1_NN_PIXEL_HEAD_H

#include "base/fields.h"
#include "nn/params.h"
#include "nn/vit.h"

typedef struct mm1_pixel_head_config {
    int64_t width; /* hidden */
} mm1_pixel_head_config;

extern const mm1_field mm1__pixel_head_fields[];

typedef struct mm1_pixel_head {
    mm1_pixel_head_config config;
    mm1_mlp mlp; /* [width, C], [3 p p, width] */
} mm1_pixel_head;

/* Registers "pixel_head.*". */
void mm1_pixel_head_init(mm1_pixel_head *h, const mm1_pixel_head_config *c, const mm1_vision_config *vision,
                         mm1_params *p);
/* features [n, C] -> patches [n, 3 p p]: channels, then rows, then columns. */
mm1_tensor *mm1_pixel_head_forward(const mm1_pixel_head *h, mm1_tape *t, mm1_tensor *features);

#endif

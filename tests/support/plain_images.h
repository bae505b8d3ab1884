/* plain_images.h - what a sequence made by hand wants beside its tokens: rows in order, and images of one tile each. */
#ifndef TESTS_SUPPORT_PLAIN_IMAGES_H
#define TESTS_SUPPORT_PLAIN_IMAGES_H

#include "model/sequence.h"

static inline mm1_image_spec plain_spec(int64_t n_tokens)
{
    return (mm1_image_spec){.n_tokens = n_tokens};
}

/* Lends visual [s->len] and images [s->n_images] to s. */
static inline void plain_images(mm1_sequence *s, int64_t n_tokens, int32_t *visual, mm1_image_layout *images)
{
    int32_t row = 0;
    for (int64_t t = 0; t < s->len; t++) {
        visual[t] = s->tokens[t] == MM1_IMAGE_SLOT ? row++ : MM1_VISUAL_NONE;
    }
    for (int64_t i = 0; i < s->n_images; i++) {
        images[i] = (mm1_image_layout){.n_tiles = 1, .n_slots = (int32_t)n_tokens, .n_positions = (int32_t)n_tokens};
    }
    s->visual = visual;
    s->images = images;
}

#endif

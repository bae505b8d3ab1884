/* image_cache.h - visual tokens of images, kept by the content of their files.
 *
 * The same picture (a demonstration of every prompt, one picture with several questions) is decoded and encoded once.
 * Pictures are decoded side by side and encoded several at once, whoever asks for them.  Content is compared by 128
 * bits of XXH3: enough against chance, not against someone who builds collisions.
 *
 *   take  ->  decode (all that wait, by all threads)  ->  pixels (one; says what is wrong)  ->  encode  ->  release
 *
 * Ownership: features are borrowed from the cache between take and release; what is taken and not decoded yet points to
 * its part.  Threads: one at a time. */
#ifndef MM1_GENERATE_IMAGE_CACHE_H
#define MM1_GENERATE_IMAGE_CACHE_H

#include "generate/context.h"

typedef struct mm1_image_key {
    uint64_t half[2];
} mm1_image_key;

/* Of one image: plain data, borrowed. */
typedef struct mm1_image_features {
    mm1_image_key key;
    float *visual; /* [n_tiles k, C] once it is encoded */
    float *pixels; /* [n_tiles, 3, R, R] until then, else NULL */
    bool is_decoded;
    const mm1_part *part; /* until it is decoded: of who took it last, or NULL */
    mm1_image_layout layout;
    int64_t n_tiles;
    size_t bytes; /* of visual */
    int64_t n_users;
    uint64_t last_use;
} mm1_image_features;

typedef struct mm1_image_cache {
    mm1_image_features **items; /* [n] */
    size_t n, cap;
    size_t max_bytes; /* what nobody uses is kept up to so many in all */
    size_t bytes;
    uint64_t clock;
    int64_t n_waiting; /* images that are no features yet */
    int64_t n_encoded; /* since the beginning */
} mm1_image_cache;

/* A zeroed cache keeps nothing that is not in use. */
void mm1_image_cache_deinit(mm1_image_cache *c); /* nothing may be in use; accepts a zeroed one */

/* Of what a part of kind image shows: its bytes, and whether as an overview alone. */
mm1_image_key mm1_image_key_of(const mm1_part *part);

/* The features of a part that is an image of layout l: those that are there, or room for them.  name is for messages.
 * MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_image_cache_take(mm1_image_cache *c, const mm1_model *m, const mm1_part *part,
                                              const mm1_image_key *key, const mm1_image_layout *l, const char *name,
                                              mm1_image_features **out, mm1_error *err);
/* Tiles that are no features yet. */
int64_t mm1_image_cache_waiting(const mm1_image_cache *c);
/* Decodes what was taken and is not decoded.  What cannot be stays as it is, and is not tried again before somebody
 * else takes it. */
void mm1_image_cache_decode(mm1_image_cache *c, const mm1_model *m);
/* Decodes f, unless that is done: errors of decoding.  part and name: as f was taken. */
MM1_NODISCARD mm1_status mm1_image_cache_pixels(mm1_image_features *f, const mm1_model *m, const mm1_part *part,
                                                const char *name, mm1_error *err);
/* Makes features of all that is decoded. */
MM1_NODISCARD mm1_status mm1_image_cache_encode(mm1_image_cache *c, mm1_context *ctx, mm1_error *err);
void mm1_image_cache_release(mm1_image_cache *c, mm1_image_features *features);

#endif

/* prompt.h - a document on its way into a slot of a context: its sequence, the visual tokens of its images as they are
 * needed, and what stands at each position in one number, by which prompts that begin alike are known.
 *
 * Ownership: a prompt borrows its document, the model and the cache.  Threads: as its context. */
#ifndef MM1_GENERATE_PROMPT_H
#define MM1_GENERATE_PROMPT_H

#include "generate/image_cache.h"

typedef struct mm1_prompt {
    const mm1_document *document;
    mm1_sequence sequence;
    uint64_t *key;                 /* [len] equal where the same token or the same visual token stands */
    mm1_image_key *image_key;      /* [n_images] */
    mm1_image_features **features; /* [n_images] NULL: not needed yet */
    const float **tile;            /* [n_tiles] their visual tokens [k, C], or NULL */
    const mm1_model *model;
    mm1_image_cache *cache;
} mm1_prompt;

/* complete as in mm1_sequence_build().  MM1_E_UNSUPPORTED: images for a decoder alone; MM1_E_LIMIT: more images than
 * config.image.max_images, or positions than a slot has: nothing is ever cut; MM1_E_ARG: no position at all.  Names the
 * document.  On failure nothing is to be freed. */
MM1_NODISCARD mm1_status mm1_prompt_init(mm1_prompt *p, const mm1_document *d, bool complete, const mm1_context *ctx,
                                         mm1_image_cache *cache, mm1_error *err);
/* The same of a sequence that the prompt then owns, also on failure. */
MM1_NODISCARD mm1_status mm1_prompt_init_sequence(mm1_prompt *p, const mm1_document *d, mm1_sequence *q,
                                                  const mm1_context *ctx, mm1_image_cache *cache, mm1_error *err);
void mm1_prompt_deinit(mm1_prompt *p); /* accepts a zeroed one */

/* Takes the images whose visual tokens stand at positions [begin, end), for mm1_image_cache_decode(): those of several
 * prompts are decoded side by side. */
MM1_NODISCARD mm1_status mm1_prompt_want(mm1_prompt *p, int64_t begin, int64_t end, mm1_error *err);
/* The same, and decodes what is not; mm1_image_cache_encode() makes the visual tokens.  Errors of decoding. */
MM1_NODISCARD mm1_status mm1_prompt_see(mm1_prompt *p, int64_t begin, int64_t end, mm1_error *err);

#endif

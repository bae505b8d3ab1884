/* pixel_cache.h - decoded pictures of samples, kept from one epoch to the next, in bounded memory.
 *
 * What is put first stays: nothing is ever thrown out.  An epoch takes every sample once, in an order of its own, so
 * any set of samples that fills the memory saves as many decodes as any other, and what would be thrown out comes
 * again. Therefore pixels that were put never move or change, and can be lent without a copy.
 *
 * What the pixels are is the loader's business: squares, or whole pictures if cuts are still to be drawn.  They must be
 * a function of source and sample alone, for whether a sample is here depends on timing.
 *
 * Threads: get and put are thread-safe. */
#ifndef MM1_DATA_PIXEL_CACHE_H
#define MM1_DATA_PIXEL_CACHE_H

#include <mm1/error.h>
#include <mm1/image.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_pixel_cache mm1_pixel_cache; /* opaque */

/* For samples [0, n_samples[s]) of each source s.  max_bytes bounds all that the cache takes: pixels, and 16 bytes a
 * sample to find them.  MM1_E_CONFIG if that alone is more; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_pixel_cache_create(size_t n_sources, const int64_t *n_samples, size_t max_bytes,
                                                mm1_pixel_cache **out, mm1_error *err);
/* Frees all pictures.  Accepts NULL. */
void mm1_pixel_cache_destroy(mm1_pixel_cache *c);

/* The n pictures of a sample, lent until destroy; NULL if they are not here. */
const mm1_image *mm1_pixel_cache_get(mm1_pixel_cache *c, size_t source, int64_t sample, size_t n);

/* Keeps an array of n pictures from mm1_alloc().  True: it belongs to the cache now, and is lent to the caller as by
 * get.  False, and the array stays the caller's: there is no room, or another thread put the sample first. */
bool mm1_pixel_cache_put(mm1_pixel_cache *c, size_t source, int64_t sample, mm1_image *pictures, size_t n);

/* What it takes now. */
size_t mm1_pixel_cache_bytes(mm1_pixel_cache *c);

#endif

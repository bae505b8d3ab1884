/* pixel_cache.c - see pixel_cache.h. */
#include "data/pixel_cache.h"

#include "base/alloc.h"
#include <inttypes.h>
#include <pthread.h>

typedef struct entry {
    mm1_image *pictures; /* [n]; NULL: not here */
    size_t n;
} entry;

struct mm1_pixel_cache {
    pthread_mutex_t lock; /* of everything below but the pixels */
    bool has_lock;
    size_t bytes, max_bytes;
    size_t n_sources;
    entry **sources; /* [n_sources], each [n_samples[source]] */
    int64_t *n_samples;
};

mm1_status mm1_pixel_cache_create(size_t n_sources, const int64_t *n_samples, size_t max_bytes, mm1_pixel_cache **out,
                                  mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_pixel_cache *c = mm1_calloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL || pthread_mutex_init(&c->lock, NULL) != 0) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the cache of pixels");
        goto out;
    }
    c->has_lock = true;
    c->max_bytes = max_bytes;
    c->sources = mm1_calloc(n_sources, sizeof *c->sources);
    c->n_samples = mm1_calloc(n_sources, sizeof *c->n_samples);
    if (c->sources == NULL || c->n_samples == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the cache of pixels");
        goto out;
    }
    c->n_sources = n_sources;
    for (size_t i = 0; i < n_sources; i++) {
        size_t bytes = 0;
        if (!mm1_size_mul((size_t)n_samples[i], sizeof **c->sources, &bytes) || bytes > max_bytes - c->bytes) {
            st = mm1_error_set(err, MM1_E_CONFIG,
                               "a cache of %zu bytes has no room for %" PRId64 " samples: %zu bytes each before any "
                               "pixels; make it larger or leave it off",
                               max_bytes, n_samples[i], sizeof **c->sources);
            goto out;
        }
        c->sources[i] = mm1_calloc((size_t)n_samples[i], sizeof **c->sources);
        if (c->sources[i] == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory to find %" PRId64 " samples in the cache of pixels",
                               n_samples[i]);
            goto out;
        }
        c->n_samples[i] = n_samples[i];
        c->bytes += bytes;
    }
    *out = c;
    c = NULL;
out:
    mm1_pixel_cache_destroy(c);
    return st;
}

void mm1_pixel_cache_destroy(mm1_pixel_cache *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->n_sources; i++) {
        for (int64_t k = 0; k < c->n_samples[i]; k++) {
            entry *e = &c->sources[i][k];
            for (size_t p = 0; p < e->n; p++) {
                mm1_image_deinit(&e->pictures[p]);
            }
            mm1_free(e->pictures);
        }
        mm1_free(c->sources[i]);
    }
    mm1_free(c->sources);
    mm1_free(c->n_samples);
    if (c->has_lock) {
        (void)pthread_mutex_destroy(&c->lock);
    }
    mm1_free(c);
}

const mm1_image *mm1_pixel_cache_get(mm1_pixel_cache *c, size_t source, int64_t sample, size_t n)
{
    (void)pthread_mutex_lock(&c->lock);
    const entry e = c->sources[source][sample];
    (void)pthread_mutex_unlock(&c->lock);
    return e.n == n ? e.pictures : NULL;
}

/* What the pictures take, with the rounding of the allocator. */
static size_t bytes_of(const mm1_image *pictures, size_t n)
{
    size_t sum = n * sizeof *pictures + MM1_ALIGN_BYTES;
    for (size_t i = 0; i < n; i++) {
        sum += (size_t)pictures[i].width * (size_t)pictures[i].height * 3 + MM1_ALIGN_BYTES;
    }
    return sum;
}

bool mm1_pixel_cache_put(mm1_pixel_cache *c, size_t source, int64_t sample, mm1_image *pictures, size_t n)
{
    const size_t bytes = bytes_of(pictures, n);
    (void)pthread_mutex_lock(&c->lock);
    entry *e = &c->sources[source][sample];
    const bool fits = e->pictures == NULL && bytes <= c->max_bytes - c->bytes;
    if (fits) {
        *e = (entry){pictures, n};
        c->bytes += bytes;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return fits;
}

size_t mm1_pixel_cache_bytes(mm1_pixel_cache *c)
{
    (void)pthread_mutex_lock(&c->lock);
    const size_t bytes = c->bytes;
    (void)pthread_mutex_unlock(&c->lock);
    return bytes;
}

/* image_cache.c - see image_cache.h. */
#include "generate/image_cache.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/thread.h"
#include <inttypes.h>

static void free_item(mm1_image_features *f)
{
    if (f != NULL) {
        mm1_free(f->visual);
        mm1_free(f->pixels);
        mm1_free(f);
    }
}

static void drop(mm1_image_cache *c, size_t i)
{
    mm1_image_features *f = c->items[i];
    c->bytes -= f->bytes;
    c->n_waiting -= f->pixels != NULL;
    c->items[i] = c->items[--c->n];
    free_item(f);
}

void mm1_image_cache_deinit(mm1_image_cache *c)
{
    while (c->n > 0) {
        drop(c, c->n - 1);
    }
    mm1_free(c->items);
    *c = (mm1_image_cache){0};
}

mm1_image_key mm1_image_key_of(const mm1_part *part)
{
    const uint64_t seed = part->overview ? 2 : 0;
    return (mm1_image_key){{mm1_hash64(part->bytes, part->len, seed), mm1_hash64(part->bytes, part->len, seed + 1)}};
}

/* Gives back what has not been used for longest, until the rest may stay. */
static void shrink(mm1_image_cache *c)
{
    while (c->bytes > c->max_bytes) {
        size_t oldest = c->n;
        for (size_t i = 0; i < c->n; i++) {
            if (c->items[i]->n_users == 0 && (oldest == c->n || c->items[i]->last_use < c->items[oldest]->last_use)) {
                oldest = i;
            }
        }
        if (oldest == c->n) {
            return; /* all of it is in use */
        }
        drop(c, oldest);
    }
    if (c->n == 0) {
        mm1_free(c->items);
        c->items = NULL;
        c->cap = 0;
    }
}

/* A place in the list, and memory for pixels and features of n_tiles. */
static mm1_image_features *new_item(mm1_image_cache *c, const mm1_model *m, int64_t n_tiles)
{
    if (c->n == c->cap) {
        mm1_image_features **items = mm1_realloc(c->items, 2 * c->cap + 16, sizeof(mm1_image_features *));
        if (items == NULL) {
            return NULL;
        }
        c->items = items;
        c->cap = 2 * c->cap + 16;
    }
    mm1_image_features *f = mm1_calloc(1, sizeof *f);
    const size_t n = (size_t)(n_tiles * mm1_model_n_visual(m) * m->config.decoder.width);
    if (f == NULL) {
        return NULL;
    }
    f->n_tiles = n_tiles;
    f->bytes = n * sizeof *f->visual;
    f->visual = mm1_alloc(n, sizeof *f->visual);
    f->pixels = mm1_alloc((size_t)(n_tiles * 3 * m->images.tile_px * m->images.tile_px), sizeof *f->pixels);
    if (f->visual == NULL || f->pixels == NULL) {
        free_item(f);
        return NULL;
    }
    return f;
}

mm1_status mm1_image_cache_take(mm1_image_cache *c, const mm1_model *m, const mm1_part *part, const mm1_image_key *key,
                                const mm1_image_layout *l, const char *name, mm1_image_features **out, mm1_error *err)
{
    mm1_image_features *f = NULL;
    *out = NULL;
    for (size_t i = 0; i < c->n && f == NULL; i++) {
        const mm1_image_key *k = &c->items[i]->key;
        f = k->half[0] == key->half[0] && k->half[1] == key->half[1] ? c->items[i] : NULL;
    }
    if (f == NULL) {
        f = new_item(c, m, l->n_tiles);
        if (f == NULL) {
            shrink(c);
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for an image of %d tiles", name, (int)l->n_tiles);
        }
        f->key = *key;
        f->layout = *l;
        c->items[c->n++] = f;
        c->bytes += f->bytes;
        c->n_waiting++;
    }
    f->part = f->is_decoded ? NULL : part;
    f->n_users++;
    f->last_use = ++c->clock;
    *out = f;
    shrink(c);
    return MM1_OK;
}

static mm1_status to_pixels(mm1_image_features *f, const mm1_model *m, const mm1_part *part, const char *name,
                            mm1_error *err)
{
    return mm1_image_to_pixels(&m->images, &f->layout, part->bytes, part->len, part->name != NULL ? part->name : name,
                               f->pixels, err);
}

mm1_status mm1_image_cache_pixels(mm1_image_features *f, const mm1_model *m, const mm1_part *part, const char *name,
                                  mm1_error *err)
{
    const mm1_status st = f->is_decoded ? MM1_OK : to_pixels(f, m, part, name, err);
    f->is_decoded = st == MM1_OK;
    return st;
}

typedef struct decode_job {
    mm1_image_cache *cache;
    const mm1_model *model;
} decode_job;

/* Who needs a picture that is damaged will find that out again, and say it. */
static void decode_item(void *ctx, int64_t i, int64_t end)
{
    const decode_job *j = ctx;
    for (; i < end; i++) {
        mm1_image_features *f = j->cache->items[i];
        mm1_error error;
        if (!f->is_decoded && f->part != NULL) {
            f->is_decoded = to_pixels(f, j->model, f->part, "image", &error) == MM1_OK;
            f->part = NULL; /* it is not tried twice */
        }
    }
}

void mm1_image_cache_decode(mm1_image_cache *c, const mm1_model *m)
{
    decode_job j = {c, m};
    if (c->n_waiting > 1) {
        mm1_parallel_each((int64_t)c->n, decode_item, &j);
    }
}

int64_t mm1_image_cache_waiting(const mm1_image_cache *c)
{
    int64_t n = 0;
    for (size_t i = 0; c->n_waiting > 0 && i < c->n; i++) {
        n += c->items[i]->pixels != NULL ? c->items[i]->n_tiles : 0;
    }
    return n;
}

/* To be encoded. */
static bool is_ready(const mm1_image_features *f)
{
    return f->pixels != NULL && f->is_decoded;
}

mm1_status mm1_image_cache_encode(mm1_image_cache *c, mm1_context *ctx, mm1_error *err)
{
    enum { MOST = 512 }; /* in a pass: the lists of them are on the stack */
    const mm1_model *m = mm1_context_model(ctx);
    const int64_t n_visual = mm1_model_n_visual(m) * m->config.decoder.width;
    const int64_t n_pixels = 3 * m->images.tile_px * m->images.tile_px;
    const int64_t most = mm1_context_tiles(ctx) < MOST ? mm1_context_tiles(ctx) : MOST;
    const float *pixels[MOST];
    float *visual[MOST];
    int64_t n = 0;
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && c->n_waiting > 0 && i < c->n; i++) {
        const mm1_image_features *f = c->items[i];
        for (int64_t k = 0; st == MM1_OK && is_ready(f) && k < f->n_tiles; k++) {
            pixels[n] = f->pixels + k * n_pixels;
            visual[n++] = f->visual + k * n_visual;
            if (n == most) {
                st = mm1_context_encode(ctx, pixels, visual, n, err);
                n = 0;
            }
        }
    }
    st = st == MM1_OK && n > 0 ? mm1_context_encode(ctx, pixels, visual, n, err) : st;
    for (size_t i = 0; st == MM1_OK && c->n_waiting > 0 && i < c->n; i++) {
        mm1_image_features *f = c->items[i];
        if (is_ready(f)) {
            c->n_encoded++;
            c->n_waiting--;
            mm1_free(f->pixels);
            f->pixels = NULL;
        }
    }
    return st;
}

void mm1_image_cache_release(mm1_image_cache *c, mm1_image_features *features)
{
    features->n_users--;
    if (!features->is_decoded) {
        features->part = NULL; /* it may be that of who goes */
    }
    for (size_t i = 0; features->n_users == 0 && !features->is_decoded && i < c->n; i++) {
        if (c->items[i] == features) {
            drop(c, i);
            break;
        }
    }
    shrink(c);
}

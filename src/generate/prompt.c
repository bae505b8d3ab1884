/* prompt.c - see prompt.h. */
#include "generate/prompt.h"

#include "base/alloc.h"
#include "base/hash.h"
#include <inttypes.h>

static const char *name_of(const mm1_document *d)
{
    return d != NULL && d->name != NULL ? d->name : "the prompt";
}

static int64_t n_image_positions(const mm1_sequence *q)
{
    int64_t n = 0;
    for (int64_t i = 0; i < q->n_images; i++) {
        n += q->images[i].n_positions;
    }
    return n;
}

/* The i-th image of a document. */
static const mm1_part *image_part(const mm1_document *d, int64_t i)
{
    const mm1_part *p = d->parts;
    while (p->kind != MM1_PART_IMAGE || i-- > 0) {
        p++;
    }
    return p;
}

static void fill_keys(mm1_prompt *p, int64_t n_visual)
{
    const mm1_sequence *q = &p->sequence;
    int64_t image = -1, first = 0, end = 0; /* rows of visual tokens of the image at hand */
    for (int64_t t = 0; t < q->len; t++) {
        const int32_t v = q->visual[t];
        if (v < 0) {
            /* Newlines and markers are the same in every image. */
            p->key[t] = v == MM1_VISUAL_NEWLINE ? UINT64_MAX : (uint64_t)q->tokens[t];
            continue;
        }
        while (v >= end) {
            first = end;
            end += q->images[++image].n_tiles * n_visual;
        }
        const uint64_t what[3] = {p->image_key[image].half[0], p->image_key[image].half[1], (uint64_t)(v - first)};
        p->key[t] = mm1_hash64(what, sizeof what, 0) | (uint64_t)1 << 63; /* no token */
    }
}

mm1_status mm1_prompt_init_sequence(mm1_prompt *p, const mm1_document *d, mm1_sequence *q, const mm1_context *ctx,
                                    mm1_image_cache *cache, mm1_error *err)
{
    const mm1_model *m = mm1_context_model(ctx);
    const int64_t n_max = mm1_context_n_max(ctx);
    *p = (mm1_prompt){.document = d, .sequence = *q, .model = m, .cache = cache};
    *q = (mm1_sequence){0};
    q = &p->sequence;
    const size_t n_images = (size_t)q->n_images, n_tiles = (size_t)mm1_sequence_n_tiles(q, 0, q->n_images);
    mm1_status st = MM1_OK;
    if (q->len == 0) {
        st = mm1_error_set(err, MM1_E_ARG, "%s: it is empty, and this model has no token that begins a text",
                           name_of(d));
    } else if (q->len > n_max) {
        st = n_images == 0
                 ? mm1_error_set(err, MM1_E_LIMIT,
                                 "%s: %" PRId64 " positions do not fit in a context of %" PRId64 "; make it shorter",
                                 name_of(d), q->len, n_max)
                 : mm1_error_set(err, MM1_E_LIMIT,
                                 "%s: %" PRId64 " positions (%" PRId64 " of them for %" PRId64
                                 " images) do not fit in a context of %" PRId64 "; make it shorter",
                                 name_of(d), q->len, n_image_positions(q), q->n_images, n_max);
    }
    st = st != MM1_OK ? st : mm1_sequence_check(q, &m->images, name_of(d), err);
    if (st == MM1_OK) {
        p->key = mm1_alloc((size_t)q->len, sizeof *p->key);
        p->image_key = mm1_alloc(n_images, sizeof *p->image_key);
        p->features = mm1_calloc(n_images, sizeof(mm1_image_features *));
        p->tile = mm1_calloc(n_tiles, sizeof(const float *));
        if (p->key == NULL || p->image_key == NULL || p->features == NULL || p->tile == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %" PRId64 " positions", name_of(d), q->len);
        }
    }
    if (st != MM1_OK) {
        mm1_prompt_deinit(p);
        return st;
    }
    for (int64_t i = 0; i < q->n_images; i++) {
        const mm1_part *part = image_part(d, i);
        p->image_key[i] = mm1_image_key_of(part);
    }
    fill_keys(p, mm1_model_n_visual(m));
    return MM1_OK;
}

mm1_status mm1_prompt_init(mm1_prompt *p, const mm1_document *d, bool complete, const mm1_context *ctx,
                           mm1_image_cache *cache, mm1_error *err)
{
    const mm1_model *m = mm1_context_model(ctx);
    const int64_t n_images = (int64_t)mm1_document_n_images(d), max_images = m->config.image.max_images;
    mm1_sequence q;
    *p = (mm1_prompt){0};
    if (n_images > 0 && mm1_model_n_visual(m) == 0) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: this model is a decoder alone; it takes no pictures",
                             name_of(d));
    }
    if (n_images > max_images) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: %" PRId64 " images are more than the %" PRId64 " that this model takes", name_of(d),
                             n_images, max_images);
    }
    const mm1_status st = mm1_sequence_build(d, m->tokenizer, &m->images, complete, &q, err);
    return st != MM1_OK ? st : mm1_prompt_init_sequence(p, d, &q, ctx, cache, err);
}

void mm1_prompt_deinit(mm1_prompt *p)
{
    for (int64_t i = 0; p->features != NULL && i < p->sequence.n_images; i++) {
        if (p->features[i] != NULL) {
            mm1_image_cache_release(p->cache, p->features[i]);
        }
    }
    mm1_sequence_deinit(&p->sequence);
    mm1_free(p->key);
    mm1_free(p->image_key);
    mm1_free(p->features);
    mm1_free(p->tile);
    *p = (mm1_prompt){0};
}

/* All tiles of an image. */
static mm1_status take_image(mm1_prompt *p, int64_t image, mm1_error *err)
{
    const mm1_model *m = p->model;
    const int64_t n = mm1_model_n_visual(m) * m->config.decoder.width;
    const int64_t first = mm1_sequence_n_tiles(&p->sequence, 0, image);
    const mm1_image_layout *l = &p->sequence.images[image];
    mm1_image_features *f;
    const mm1_status st = mm1_image_cache_take(p->cache, m, image_part(p->document, image), &p->image_key[image], l,
                                               name_of(p->document), &f, err);
    if (st == MM1_OK) {
        p->features[image] = f;
        for (int32_t i = 0; i < l->n_tiles; i++) {
            p->tile[first + i] = f->visual + i * n;
        }
    }
    return st;
}

mm1_status mm1_prompt_want(mm1_prompt *p, int64_t begin, int64_t end, mm1_error *err)
{
    const mm1_sequence *q = &p->sequence;
    const int64_t k = mm1_model_n_visual(p->model);
    mm1_status st = MM1_OK;
    for (int64_t t = begin; st == MM1_OK && t < end; t++) {
        if (q->visual[t] < 0 || p->tile[q->visual[t] / k] != NULL) {
            continue;
        }
        int64_t image = 0, last_tile = q->images[0].n_tiles;
        while (q->visual[t] / k >= last_tile) {
            last_tile += q->images[++image].n_tiles;
        }
        st = take_image(p, image, err);
    }
    return st;
}

mm1_status mm1_prompt_see(mm1_prompt *p, int64_t begin, int64_t end, mm1_error *err)
{
    mm1_status st = mm1_prompt_want(p, begin, end, err);
    for (int64_t i = 0; st == MM1_OK && i < p->sequence.n_images; i++) {
        if (p->features[i] != NULL) {
            st =
                mm1_image_cache_pixels(p->features[i], p->model, image_part(p->document, i), name_of(p->document), err);
        }
    }
    return st;
}

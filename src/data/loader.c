/* loader.c - see loader.h.
 *
 * One mutex guards the queues, the ring and the flags; samples and batches themselves belong to one thread at a time: a
 * sample to its worker until it is ready and then to the planner, a batch to the planner until it is made and then to
 * the caller. */
#include "data/loader.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/thread.h"
#include "data/augment.h"
#include "data/mixture.h"
#include "data/pixel_cache.h"
#include "data/reader.h"
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    QUEUE_BASE = 8,       /* samples prepared ahead in every source, */
    QUEUE_PER_WORKER = 4, /* and more for each worker */
    MIN_SEEN = 100,       /* samples before the share of bad ones counts */
    MIN_ROOM = 3,         /* positions in which an example could still stand: <bos>, a token, <eos> */
};

/* One sample, read, tokenised, its pictures made into tiles. */
typedef struct sample {
    bool is_ready;
    mm1_status status;
    char *message; /* if status is not MM1_OK; NULL if memory was short */
    char *name;
    mm1_sequence sequence;
    const mm1_image *tiles; /* of all images, in order; `own`, or lent by the cache */
    mm1_image *own;         /* [n_own] */
    size_t n_own;
} sample;

/* Samples of a source: ordinals [head, claimed) are being prepared or ready, ordinal o in slots[o % depth]. */
typedef struct queue {
    mm1_reader *reader; /* NULL without a weight */
    int64_t head, claimed;
    sample *slots;
    int64_t n_fruitless; /* samples since one gave an example; of the planner */
} queue;

typedef struct ring_slot {
    mm1_batch batch;
    mm1_data_state after;
} ring_slot;

struct mm1_loader {
    mm1_loader_options options;
    int64_t rows, n_ranks, depth;
    double weights[MM1_DATA_MAX_SOURCES];
    int64_t n_samples[MM1_DATA_MAX_SOURCES];
    queue queues[MM1_DATA_MAX_SOURCES];
    size_t n_sources;
    mm1_pixel_cache *cache; /* NULL: none */

    /* Of the planner. */
    mm1_data_state state;
    mm1_sequence scratch; /* [seq_len] */
    char last_bad[MM1_ERROR_MESSAGE_BYTES];

    ring_slot *ring;
    int64_t n_ring;

    pthread_mutex_t lock;
    pthread_cond_t work;     /* a queue has room */
    pthread_cond_t ready;    /* a sample is ready */
    pthread_cond_t room;     /* the ring has room */
    pthread_cond_t produced; /* a batch is made, or the stream has ended */
    bool has_lock;
    bool stop;
    int64_t n_made, n_taken, n_released; /* batches */
    bool failed;
    mm1_error error;

    pthread_t *threads; /* workers, then the planner */
    int64_t n_threads;
};

/* ---- samples ---- */

static void free_pictures(mm1_image *pictures, size_t n)
{
    for (size_t i = 0; pictures != NULL && i < n; i++) {
        mm1_image_deinit(&pictures[i]);
    }
    mm1_free(pictures);
}

static void sample_clear(sample *s)
{
    free_pictures(s->own, s->n_own);
    mm1_free(s->name);
    mm1_free(s->message);
    mm1_sequence_deinit(&s->sequence);
    *s = (sample){0};
}

/* How often a picture of this source stands in its row. */
static int64_t views_of(const mm1_loader *l, size_t source)
{
    return l->options.config->sources[source].kind == MM1_DATA_IMAGES && l->options.n_views > 1 ? l->options.n_views
                                                                                                : 1;
}

/* Decoded as large as is needed: with data.jpeg scaled that may be smaller than it is stored. */
static mm1_status decode(const mm1_loader *l, size_t source, const mm1_part *p, const mm1_image_layout *layout,
                         mm1_image *out, mm1_error *err)
{
    const mm1_data_config *config = l->options.config;
    if (config->jpeg != MM1_DATA_JPEG_SCALED) {
        return mm1_image_decode(p->bytes, p->len, &mm1_image_limits_default, p->name, out, err);
    }
    int32_t width = 0, height = 0;
    const double crop_min = mm1_data_crop_min(config, source);
    mm1_image_decode_size(&l->options.images, layout, &width, &height);
    width = (int32_t)ceil(width / crop_min); /* enough for any cut */
    height = (int32_t)ceil(height / crop_min);
    return mm1_image_decode_scaled(p->bytes, p->len, &mm1_image_limits_default, p->name, width, height, out, err);
}

/* All of a picture that depends on nothing else: its tiles, or, if changes are still to be drawn, all its pixels. */
static mm1_status load_picture(const mm1_loader *l, size_t source, const mm1_part *p, const mm1_image_layout *layout,
                               mm1_image *out, mm1_error *err)
{
    mm1_image whole = {0};
    *out = (mm1_image){0};
    mm1_status st = decode(l, source, p, layout, &whole, err);
    if (st == MM1_OK && mm1_data_changes_pictures(l->options.config, source)) {
        *out = whole;
        return MM1_OK;
    }
    st = st != MM1_OK ? st : mm1_image_tiles(&l->options.images, layout, &whole, out, err);
    mm1_image_deinit(&whole);
    return st;
}

/* Pictures that are kept for a sample: its tiles, or whole pictures. */
static size_t n_kept(const mm1_loader *l, size_t source, const mm1_document *d, const mm1_sequence *q)
{
    return mm1_data_changes_pictures(l->options.config, source) ? mm1_document_n_images(d)
                                                                : (size_t)mm1_sequence_n_tiles(q, 0, q->n_images);
}

/* The pictures of a document, in order; NULL on failure. */
static mm1_status load_pictures(const mm1_loader *l, size_t source, const mm1_document *d, const mm1_sequence *q,
                                mm1_image **out, mm1_error *err)
{
    const size_t n = n_kept(l, source, d, q);
    mm1_image *pictures = mm1_calloc(n, sizeof *pictures);
    mm1_status st = MM1_OK;
    *out = NULL;
    if (pictures == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu pictures", n);
    }
    for (size_t i = 0, image = 0, k = 0; st == MM1_OK && i < d->n_parts; i++) {
        if (d->parts[i].kind == MM1_PART_IMAGE) {
            const mm1_image_layout *layout = &q->images[image++];
            st = load_picture(l, source, &d->parts[i], layout, &pictures[k], err);
            k += mm1_data_changes_pictures(l->options.config, source) ? 1 : (size_t)layout->n_tiles;
        }
    }
    if (st != MM1_OK) {
        free_pictures(pictures, n);
        return st;
    }
    *out = pictures;
    return MM1_OK;
}

/* Tiles of a document's pictures, n_views times each, changed at random: a function of the seed and of which part of
 * which sample it is.  Ordinals count over epochs, so that each epoch changes anew.  A picture is one tile here
 * (check_options()). */
static mm1_status change_pictures(const mm1_loader *l, size_t source, int64_t ordinal, const mm1_document *d,
                                  const mm1_image *pictures, sample *s, mm1_error *err)
{
    mm1_status st = MM1_OK;
    const mm1_data_source *config = &l->options.config->sources[source];
    const double crop_min = mm1_data_crop_min(l->options.config, source);
    const int64_t n_views = views_of(l, source);
    const size_t n = mm1_document_n_images(d) * (size_t)n_views;
    s->own = mm1_calloc(n, sizeof *s->own);
    if (s->own == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu pictures", n);
    }
    s->n_own = n;
    s->tiles = s->own;
    for (size_t i = 0, k = 0, picture = 0; st == MM1_OK && i < d->n_parts; i++) {
        for (int64_t v = 0; st == MM1_OK && d->parts[i].kind == MM1_PART_IMAGE && v < n_views; v++) {
            mm1_image cut = {0};
            mm1_rng r = mm1_rng_make(l->options.seed, MM1_RNG_CROP,
                                     (uint64_t)source << 56 ^ (uint64_t)ordinal << 12 ^ (i + ((uint64_t)v << 52)));
            st = mm1_augment_cut(crop_min, &r, &pictures[picture], &cut, err);
            st = st != MM1_OK ? st : mm1_image_tiles(&l->options.images, &s->sequence.images[k], &cut, &s->own[k], err);
            mm1_image_deinit(&cut);
            if (st == MM1_OK) {
                mm1_augment_square(config, &r, &s->own[k++]);
            }
        }
        picture += d->parts[i].kind == MM1_PART_IMAGE;
    }
    return st;
}

/* sample_index: under which the cache keeps its pictures; -1: it does not. */
static mm1_status make_tiles(const mm1_loader *l, size_t source, int64_t sample_index, int64_t ordinal,
                             const mm1_document *d, sample *s, mm1_error *err)
{
    const size_t n = n_kept(l, source, d, &s->sequence);
    mm1_image *own = NULL; /* what the cache did not take */
    mm1_status st = MM1_OK;
    if (n == 0) {
        return MM1_OK;
    }
    mm1_pixel_cache *cache = sample_index >= 0 ? l->cache : NULL;
    const mm1_image *pictures = cache != NULL ? mm1_pixel_cache_get(cache, source, sample_index, n) : NULL;
    if (pictures == NULL) {
        st = load_pictures(l, source, d, &s->sequence, &own, err);
        pictures = own;
        if (st == MM1_OK && cache != NULL && mm1_pixel_cache_put(cache, source, sample_index, own, n)) {
            own = NULL;
        }
    }
    if (st == MM1_OK && mm1_data_changes_pictures(l->options.config, source)) {
        st = change_pictures(l, source, ordinal, d, pictures, s, err);
        free_pictures(own, n);
    } else if (st == MM1_OK) {
        s->tiles = pictures;
        s->own = own;
        s->n_own = own != NULL ? n : 0;
    }
    return st == MM1_OK ? MM1_OK : mm1_error_wrap(err, st, "%s", d->name);
}

/* With the pictures of a source of kind images as often as there are views of them. */
static mm1_status build_sequence(const mm1_loader *l, size_t source, const mm1_document *d, mm1_sequence *out,
                                 mm1_error *err)
{
    const size_t n_views = (size_t)views_of(l, source);
    mm1_document repeated = *d;
    if (n_views == 1) {
        return mm1_sequence_build(d, l->options.tokenizer, &l->options.images, true, out, err);
    }
    *out = (mm1_sequence){0};
    repeated.parts = mm1_alloc(d->n_parts * n_views, sizeof *d->parts);
    repeated.n_parts = 0;
    if (repeated.parts == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the views of a picture");
    }
    for (size_t i = 0; i < d->n_parts; i++) {
        const size_t n = d->parts[i].kind == MM1_PART_IMAGE ? n_views : 1;
        for (size_t v = 0; v < n; v++) {
            repeated.parts[repeated.n_parts++] = d->parts[i];
        }
    }
    const mm1_status st = mm1_sequence_build(&repeated, l->options.tokenizer, &l->options.images, true, out, err);
    mm1_free(repeated.parts);
    return st;
}

/* One sample, the i-th, as a document; or several together, and then *i is -1. */
static mm1_status read_document(const mm1_loader *l, size_t source, int64_t ordinal, mm1_document *d, int64_t *i,
                                mm1_error *err)
{
    const int64_t n = mm1_data_together(&l->options.config->sources[source]);
    int64_t which[MM1_DATA_MAX_TOGETHER];
    for (int64_t k = 0; k < n; k++) {
        which[k] = mm1_mixture_sample(l->options.seed, source, l->n_samples[source], ordinal * n + k);
    }
    *i = n > 1 ? -1 : which[0];
    return mm1_reader_get_together(l->queues[source].reader, which, (size_t)n, d, err);
}

/* Runs without the lock.  What went wrong is in the sample. */
static void sample_prepare(const mm1_loader *l, size_t source, int64_t ordinal, sample *s)
{
    mm1_document d = {0};
    mm1_error err = {0};
    int64_t i;
    mm1_status st = read_document(l, source, ordinal, &d, &i, &err);
    if (st == MM1_OK) {
        st = build_sequence(l, source, &d, &s->sequence, &err);
    }
    if (st == MM1_OK) {
        st = make_tiles(l, source, i, ordinal, &d, s, &err);
    }
    if (st == MM1_OK && d.name != NULL) {
        s->name = mm1_strdup(d.name);
        if (s->name == NULL) {
            st = mm1_error_set(&err, MM1_E_NOMEM, "%s: no memory for the name", d.name);
        }
    }
    mm1_document_deinit(&d);
    if (st != MM1_OK) {
        s->message = mm1_strdup(err.message);
    }
    s->status = st;
}

/* ---- workers ---- */

/* The source whose queue is shortest, among those with room; n_sources if there is none. */
static size_t hungriest(const mm1_loader *l)
{
    size_t best = l->n_sources;
    int64_t best_len = l->depth;
    for (size_t i = 0; i < l->n_sources; i++) {
        const queue *q = &l->queues[i];
        if (q->reader != NULL && q->claimed - q->head < best_len) {
            best = i;
            best_len = q->claimed - q->head;
        }
    }
    return best;
}

static void *worker_main(void *arg)
{
    mm1_loader *l = arg;
    (void)pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        const size_t source = hungriest(l);
        if (source == l->n_sources) {
            (void)pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        queue *q = &l->queues[source];
        const int64_t ordinal = q->claimed++;
        sample *s = &q->slots[ordinal % l->depth];
        (void)pthread_mutex_unlock(&l->lock);
        sample_prepare(l, source, ordinal, s);
        (void)pthread_mutex_lock(&l->lock);
        s->is_ready = true;
        (void)pthread_cond_signal(&l->ready);
    }
    (void)pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the planner ---- */

/* The sample at hand of a source; NULL if the loader is being stopped. */
static const sample *wait_sample(mm1_loader *l, size_t source)
{
    queue *q = &l->queues[source];
    const sample *s = &q->slots[q->head % l->depth];
    (void)pthread_mutex_lock(&l->lock);
    while (!l->stop && !s->is_ready) {
        (void)pthread_cond_wait(&l->ready, &l->lock);
    }
    const bool stop = l->stop;
    (void)pthread_mutex_unlock(&l->lock);
    return stop ? NULL : s;
}

static void finish_sample(mm1_loader *l, size_t source)
{
    queue *q = &l->queues[source];
    sample_clear(&q->slots[q->head % l->depth]);
    l->state.sources[source].sample++;
    l->state.sources[source].offset = 0;
    (void)pthread_mutex_lock(&l->lock);
    q->head++;
    (void)pthread_cond_signal(&l->work);
    (void)pthread_mutex_unlock(&l->lock);
}

static mm1_status check_bad_share(const mm1_loader *l, mm1_error *err)
{
    int64_t n_seen = 0, n_bad = 0;
    for (size_t i = 0; i < l->n_sources; i++) {
        n_seen += l->state.sources[i].stats.samples + l->state.sources[i].stats.bad;
        n_bad += l->state.sources[i].stats.bad;
    }
    if (n_seen >= MIN_SEEN && (double)n_bad > l->options.config->bad_share_max * (double)n_seen) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "data: %" PRId64 " of %" PRId64
                             " samples could not be read, over data.bad_share_max %g; the last: %s",
                             n_bad, n_seen, l->options.config->bad_share_max,
                             l->last_bad[0] != '\0' ? l->last_bad : "before this run continued");
    }
    return MM1_OK;
}

/* A sample that gave nothing.  A whole epoch of them would never fill a row. */
static mm1_status note_fruitless(mm1_loader *l, size_t source, mm1_error *err)
{
    queue *q = &l->queues[source];
    const mm1_data_source *s = &l->options.config->sources[source];
    if (++q->n_fruitless < l->n_samples[source]) {
        return MM1_OK;
    }
    return mm1_error_set(err, MM1_E_FORMAT, "data.sources.%s: none of the %" PRId64 " samples of %s can be used%s%s",
                         s->name, l->n_samples[source], s->path, l->last_bad[0] != '\0' ? "; the last bad one: " : "",
                         l->last_bad);
}

static mm1_status skip_bad(mm1_loader *l, size_t source, const sample *s, mm1_error *err)
{
    const char *message = s->message != NULL ? s->message : "no memory";
    if (!mm1_reader_is_bad_sample(s->status)) {
        return mm1_error_set(err, s->status, "%s", message);
    }
    mm1_log(MM1_LOG_WARN, "data.sources.%s: sample skipped: %s", l->options.config->sources[source].name, message);
    (void)snprintf(l->last_bad, sizeof l->last_bad, "%s", message);
    l->state.sources[source].stats.bad++;
    finish_sample(l, source);
    const mm1_status st = check_bad_share(l, err);
    return st != MM1_OK ? st : note_fruitless(l, source, err);
}

/* Hides tokens of a caption from the decoder: the padding token stands where they were read, and they are still to be
 * predicted.  So the words so far say less, and the picture is needed (word dropout: Bowman et al. 2016, section 3.1).
 * The share is drawn for each caption, so that whole ones stay among them.
 * The example is the piece that was added last to the row. */
static void hide_tokens(const mm1_loader *l, mm1_batch *batch, int64_t row, size_t source, const mm1_pack_piece *piece)
{
    const double most = l->options.config->token_drop;
    if (most <= 0 || l->options.config->sources[source].kind != MM1_DATA_CAPTIONS) {
        return;
    }
    const int32_t hidden = mm1_tokenizer_roles(l->options.tokenizer)->pad;
    mm1_rng r =
        mm1_rng_make(l->options.seed, MM1_RNG_DROP,
                     (uint64_t)source << 56 ^ (uint64_t)l->state.sources[source].sample << 20 ^ (uint64_t)piece->begin);
    const double share = most * mm1_rng_uniform(&r);
    int32_t *token = batch->token + row * batch->T + batch->row_len[row] - piece->len;
    for (int64_t t = 1; t < piece->len; t++) {
        if (l->scratch.train[t] && mm1_rng_uniform(&r) < share) {
            token[t] = hidden;
        }
    }
}

/* Adds a piece to a row of the batch, with its pixels; batch NULL: the row is another rank's. */
static mm1_status emit(mm1_loader *l, mm1_batch *batch, int64_t row, size_t source, const sample *s,
                       const mm1_pack_piece *piece, mm1_error *err)
{
    mm1_pack_stats *stats = &l->state.sources[source].stats;
    mm1_pack_copy(&s->sequence, piece, l->options.images.n_tokens, &l->scratch);
    if (batch != NULL) {
        const int64_t first = batch->I;
        const mm1_status st = mm1_batch_add(batch, row, &l->scratch, &l->options.images, (int32_t)source, s->name, err);
        if (st != MM1_OK) {
            return st;
        }
        hide_tokens(l, batch, row, source, piece);
        const int64_t R = batch->image_px;
        for (int64_t i = 0; i < piece->n_tiles; i++) {
            mm1_image_normalize(batch->pixels + (first + i) * 3 * R * R, &s->tiles[piece->first_tile + i],
                                l->options.images.mean, l->options.images.std);
        }
    }
    stats->examples++;
    stats->images += piece->n_images;
    stats->positions += piece->len;
    for (int64_t t = 1; t < piece->len; t++) {
        stats->targets += l->scratch.train[t];
    }
    return MM1_OK;
}

/* Images of one example. */
static int64_t most_images(const mm1_loader *l, size_t source)
{
    const mm1_data_config *config = l->options.config;
    const int64_t most = config->sources[source].max_images;
    return l->options.one_example ? views_of(l, source) : most < config->max_images ? most : config->max_images;
}

/* Takes pieces of the sample at hand, until it is used up (*row_done false) or the row is full. */
static mm1_status place_sample(mm1_loader *l, mm1_batch *batch, int64_t row, size_t source, const sample *s,
                               int64_t *room, int64_t *room_images, bool *row_done, mm1_error *err)
{
    const mm1_data_config *config = l->options.config;
    mm1_source_state *at = &l->state.sources[source];
    const int64_t most = most_images(l, source);
    const mm1_pack_limits limits = {.seq_len = config->seq_len,
                                    .max_images = most,
                                    .for_pictures = l->options.one_example,
                                    .whole_turns = config->sources[source].kind == MM1_DATA_CONVERSATIONS};
    for (;;) {
        if (at->offset >= s->sequence.len - 1) {
            return mm1_error_set(err, MM1_E_STATE,
                                 "%s: cannot continue at position %" PRId64 " of %" PRId64
                                 "; have the data or the tokenizer changed since the checkpoint?",
                                 s->name, at->offset, s->sequence.len - 1);
        }
        const mm1_pack_piece piece = mm1_pack_next(&limits, &s->sequence, at->offset, *room, *room_images);
        if (piece.verdict == MM1_PACK_FULL) {
            *row_done = true;
            return MM1_OK;
        }
        mm1_status st = MM1_OK;
        if (piece.begin == 0) {
            at->stats.samples++;
            at->stats.cut_documents += !piece.is_last;
            st = check_bad_share(l, err);
        }
        at->stats.cut_texts += piece.cuts_text;
        at->stats.short_conversations += piece.drops_turns;
        at->stats.dropped_no_target += piece.verdict == MM1_PACK_DROP_NO_TARGET;
        at->stats.dropped_too_large += piece.verdict == MM1_PACK_DROP_TOO_LARGE;
        if (st == MM1_OK && piece.verdict == MM1_PACK_TAKE) {
            l->queues[source].n_fruitless = -1;
            st = emit(l, batch, row, source, s, &piece, err);
            *room -= piece.len;
            *room_images -= piece.n_images;
        }
        if (st != MM1_OK) {
            return st;
        }
        at->offset = piece.end;
        *row_done = l->options.one_example && piece.verdict == MM1_PACK_TAKE;
        if (piece.is_last) {
            finish_sample(l, source);
            return note_fruitless(l, source, err);
        }
        if (*row_done) {
            return MM1_OK;
        }
    }
}

static int64_t images_of_row(const mm1_loader *l, size_t source)
{
    return l->options.one_example ? most_images(l, source) : l->options.config->max_images;
}

static mm1_status fill_row(mm1_loader *l, mm1_batch *batch, int64_t row, size_t source, mm1_error *err)
{
    int64_t room = l->options.config->seq_len, room_images = images_of_row(l, source);
    mm1_status st = MM1_OK;
    for (bool row_done = false; st == MM1_OK && !row_done && room >= MIN_ROOM;) {
        const sample *s = wait_sample(l, source);
        if (s == NULL) {
            return mm1_error_set(err, MM1_E_CANCELLED, "the loader was stopped");
        }
        st = s->status != MM1_OK ? skip_bad(l, source, s, err)
                                 : place_sample(l, batch, row, source, s, &room, &room_images, &row_done, err);
    }
    l->state.sources[source].stats.rows++;
    return st;
}

static mm1_status fill_batch(mm1_loader *l, ring_slot *slot, mm1_error *err)
{
    const int64_t first = l->options.rank * l->rows;
    mm1_batch_clear(&slot->batch);
    for (int64_t k = 0; k < l->rows * l->n_ranks; k++) {
        const size_t source = mm1_mixture_source(l->weights, l->n_sources, l->options.seed, l->state.row);
        const bool is_own = k >= first && k < first + l->rows;
        const mm1_status st = fill_row(l, is_own ? &slot->batch : NULL, k - first, source, err);
        if (st != MM1_OK) {
            return st;
        }
        l->state.row++;
    }
    slot->after = l->state;
    return MM1_OK;
}

static void *planner_main(void *arg)
{
    mm1_loader *l = arg;
    mm1_error err = {0};
    (void)pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && l->n_made - l->n_released == l->n_ring) {
            (void)pthread_cond_wait(&l->room, &l->lock);
        }
        if (l->stop) {
            break;
        }
        ring_slot *slot = &l->ring[l->n_made % l->n_ring];
        (void)pthread_mutex_unlock(&l->lock);
        const mm1_status st = fill_batch(l, slot, &err);
        (void)pthread_mutex_lock(&l->lock);
        if (st != MM1_OK) {
            l->failed = true;
            l->error = err;
            break;
        }
        l->n_made++;
        (void)pthread_cond_signal(&l->produced);
    }
    (void)pthread_cond_signal(&l->produced);
    (void)pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- life ---- */

static mm1_status check_options(const mm1_loader *l, mm1_error *err)
{
    const mm1_loader_options *o = &l->options;
    const mm1_data_config *config = o->config;
    const int64_t n_least = mm1_image_min_positions(&o->images);
    mm1_status st = mm1_data_config_check(config, err);
    if (st != MM1_OK) {
        return st;
    }
    if (l->rows < 1 || l->n_ranks < 1 || o->rank < 0 || o->rank >= l->n_ranks || l->n_ranks > INT32_MAX ||
        l->rows > INT32_MAX) {
        return mm1_error_set(err, MM1_E_ARG, "loader: rank %" PRId64 " of %" PRId64 " with %" PRId64 " rows", o->rank,
                             l->n_ranks, l->rows);
    }
    if (config->token_drop > 0 && o->tokenizer != NULL && mm1_tokenizer_roles(o->tokenizer)->pad < 0) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "data.token_drop: the tokenizer has no token for padding, as " MM1_TOKEN_PAD
                             ", to put in place of a hidden one");
    }
    for (size_t i = 0; i < config->n_sources; i++) {
        const mm1_data_source *s = &config->sources[i];
        if (s->weight <= 0 || s->kind == MM1_DATA_TEXT) {
            continue;
        }
        if (s->kind == MM1_DATA_IMAGES && !o->one_example) {
            return mm1_error_set(
                err, MM1_E_CONFIG,
                "data.sources.%s: pictures alone have nothing to predict; they are for train.objective "
                "contrastive and aim",
                s->name);
        }
        if (s->kind == MM1_DATA_IMAGES && o->n_views > 1 && !mm1_data_changes_pictures(config, i)) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "data.sources.%s: views of a picture are all the same; set crop_min, flip or jitter",
                                 s->name);
        }
        if (o->images.n_tokens < 1 || o->images.tile_px < 1 || o->images.tile_px > 1 << 14) {
            return mm1_error_set(err, MM1_E_CONFIG, "data.sources.%s has pictures, but the model takes none", s->name);
        }
        if (mm1_data_changes_pictures(config, i) && o->images.mode != MM1_IMAGE_PLAIN) {
            return mm1_error_set(
                err, MM1_E_CONFIG,
                "data.sources.%s: pictures in several tiles are not changed at random; leave crop_min, "
                "flip and jitter out, or set model.image.mode to plain",
                s->name);
        }
        if (n_least > config->seq_len - MIN_ROOM) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "data.seq_len %" PRId64 " has no room for an image of %" PRId64
                                 " positions and a text",
                                 config->seq_len, n_least);
        }
    }
    if (o->start != NULL && (size_t)o->start->n_sources != config->n_sources) {
        return mm1_error_set(err, MM1_E_STATE,
                             "cannot continue: the checkpoint has %" PRId64 " data sources, the recipe %zu",
                             o->start->n_sources, config->n_sources);
    }
    return MM1_OK;
}

static mm1_status open_source(mm1_loader *l, size_t i, mm1_error *err)
{
    const mm1_data_source *s = &l->options.config->sources[i];
    queue *q = &l->queues[i];
    l->weights[i] = s->weight;
    if (s->weight <= 0) {
        return MM1_OK;
    }
    mm1_status st = mm1_reader_open_source(s, l->options.config->chat, l->options.seed, &q->reader, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "data.sources.%s", s->name);
    }
    l->n_samples[i] = mm1_reader_len(q->reader);
    if (l->n_samples[i] == 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "data.sources.%s: there are no samples in %s", s->name, s->path);
    }
    q->head = q->claimed = l->state.sources[i].sample;
    q->slots = mm1_calloc((size_t)l->depth, sizeof *q->slots);
    return q->slots != NULL ? MM1_OK
                            : mm1_error_set(err, MM1_E_NOMEM, "loader: no memory for the queue of %s", s->name);
}

/* Sources of text have no pictures to keep. */
static mm1_status make_cache(mm1_loader *l, mm1_error *err)
{
    const mm1_data_config *config = l->options.config;
    int64_t n_samples[MM1_DATA_MAX_SOURCES];
    if (config->cache_mb == 0) {
        return MM1_OK;
    }
    for (size_t i = 0; i < l->n_sources; i++) {
        n_samples[i] = config->sources[i].kind != MM1_DATA_TEXT ? l->n_samples[i] : 0;
    }
    const mm1_status st =
        mm1_pixel_cache_create(l->n_sources, n_samples, (size_t)config->cache_mb << 20, &l->cache, err);
    return st == MM1_OK ? MM1_OK : mm1_error_wrap(err, st, "data.cache_mb");
}

static mm1_status make_ring(mm1_loader *l, mm1_error *err)
{
    const mm1_data_config *config = l->options.config;
    const mm1_image_spec *images = &l->options.images;
    l->n_ring = config->prefetch + 1; /* one is with the caller */
    l->ring = mm1_calloc((size_t)l->n_ring, sizeof *l->ring);
    if (l->ring == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "loader: no memory for %" PRId64 " batches", l->n_ring);
    }
    int64_t most = 0; /* images of a row */
    for (size_t i = 0; i < l->n_sources; i++) {
        const int64_t n = l->weights[i] > 0 ? images_of_row(l, i) : 0;
        most = n > most ? n : most;
    }
    mm1_status st = mm1_sequence_init(&l->scratch, config->seq_len, most, err);
    const int64_t max_tiles = l->rows * mm1_image_max_tiles_in(images, most, config->seq_len);
    for (int64_t i = 0; st == MM1_OK && i < l->n_ring; i++) {
        st = mm1_batch_init(&l->ring[i].batch, l->rows, config->seq_len, max_tiles,
                            images->n_tokens > 0 ? images->tile_px : 0, err);
    }
    return st;
}

/* Threads take no signals: those are for the program's own thread. */
static mm1_status start_threads(mm1_loader *l, mm1_error *err)
{
    const int64_t n = l->options.config->workers + 1;
    sigset_t all, old;
    int rc = 0;
    l->threads = mm1_alloc((size_t)n, sizeof *l->threads);
    if (l->threads == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "loader: no memory for %" PRId64 " threads", n);
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int64_t i = 0; rc == 0 && i < n; i++) {
        rc = pthread_create(&l->threads[i], NULL, i + 1 < n ? worker_main : planner_main, l);
        l->n_threads += rc == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? MM1_OK
                   : mm1_error_set(err, MM1_E_NOMEM, "loader: cannot start thread %" PRId64 " of %" PRId64 ": %s",
                                   l->n_threads, n, strerror(rc));
}

static bool init_lock(mm1_loader *l)
{
    if (pthread_mutex_init(&l->lock, NULL) != 0) {
        return false;
    }
    pthread_cond_t *conds[] = {&l->work, &l->ready, &l->room, &l->produced};
    for (size_t i = 0; i < sizeof conds / sizeof *conds; i++) {
        if (pthread_cond_init(conds[i], NULL) != 0) {
            while (i-- > 0) {
                (void)pthread_cond_destroy(conds[i]);
            }
            (void)pthread_mutex_destroy(&l->lock);
            return false;
        }
    }
    return l->has_lock = true;
}

mm1_status mm1_loader_create(const mm1_loader_options *options, mm1_loader **out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_loader *l = mm1_calloc(1, sizeof *l);
    *out = NULL;
    if (l == NULL || !init_lock(l)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the loader");
        goto out;
    }
    l->options = *options;
    l->rows = options->rows != 0 ? options->rows : options->config->batch;
    l->n_ranks = options->n_ranks != 0 ? options->n_ranks : 1;
    st = check_options(l, err);
    if (st != MM1_OK) {
        goto out;
    }
    l->n_sources = options->config->n_sources;
    l->depth = QUEUE_BASE + QUEUE_PER_WORKER * options->config->workers;
    if (options->start != NULL) {
        l->state = *options->start;
    }
    l->state.n_sources = (int64_t)l->n_sources;
    l->options.start = NULL;
    for (size_t i = 0; st == MM1_OK && i < l->n_sources; i++) {
        st = open_source(l, i, err);
    }
    if (st == MM1_OK) {
        st = make_cache(l, err);
    }
    if (st == MM1_OK) {
        st = make_ring(l, err);
    }
    if (st == MM1_OK) {
        st = start_threads(l, err);
    }
    if (st == MM1_OK) {
        *out = l;
        l = NULL;
    }
out:
    mm1_loader_destroy(l);
    return st;
}

void mm1_loader_destroy(mm1_loader *l)
{
    if (l == NULL) {
        return;
    }
    if (l->has_lock) {
        (void)pthread_mutex_lock(&l->lock);
        l->stop = true;
        (void)pthread_cond_broadcast(&l->work);
        (void)pthread_cond_broadcast(&l->ready);
        (void)pthread_cond_broadcast(&l->room);
        (void)pthread_mutex_unlock(&l->lock);
        for (int64_t i = 0; i < l->n_threads; i++) {
            (void)pthread_join(l->threads[i], NULL);
        }
        (void)pthread_cond_destroy(&l->work);
        (void)pthread_cond_destroy(&l->ready);
        (void)pthread_cond_destroy(&l->room);
        (void)pthread_cond_destroy(&l->produced);
        (void)pthread_mutex_destroy(&l->lock);
    }
    for (size_t i = 0; i < l->n_sources; i++) {
        queue *q = &l->queues[i];
        for (int64_t k = 0; q->slots != NULL && k < l->depth; k++) {
            sample_clear(&q->slots[k]);
        }
        mm1_free(q->slots);
        mm1_reader_destroy(q->reader);
    }
    mm1_pixel_cache_destroy(l->cache);
    for (int64_t i = 0; l->ring != NULL && i < l->n_ring; i++) {
        mm1_batch_deinit(&l->ring[i].batch);
    }
    mm1_free(l->ring);
    mm1_sequence_deinit(&l->scratch);
    mm1_free(l->threads);
    mm1_free(l);
}

/* With the lock held. */
static void give_back(mm1_loader *l)
{
    if (l->n_released < l->n_taken) {
        l->n_released = l->n_taken;
        (void)pthread_cond_signal(&l->room);
    }
}

mm1_status mm1_loader_next(mm1_loader *l, const mm1_batch **batch, mm1_data_state *after, double *wait_seconds,
                           mm1_error *err)
{
    const double start = mm1_time_now();
    mm1_status st = MM1_OK;
    *batch = NULL;
    (void)pthread_mutex_lock(&l->lock);
    give_back(l);
    while (l->n_taken == l->n_made && !l->failed) {
        (void)pthread_cond_wait(&l->produced, &l->lock);
    }
    if (l->n_taken < l->n_made) {
        const ring_slot *slot = &l->ring[l->n_taken % l->n_ring];
        l->n_taken++;
        *batch = &slot->batch;
        if (after != NULL) {
            *after = slot->after;
        }
    } else {
        st = mm1_error_set(err, l->error.status, "%s", l->error.message);
    }
    (void)pthread_mutex_unlock(&l->lock);
    if (wait_seconds != NULL) {
        *wait_seconds = mm1_time_now() - start;
    }
    return st;
}

void mm1_loader_release(mm1_loader *l)
{
    (void)pthread_mutex_lock(&l->lock);
    give_back(l);
    (void)pthread_mutex_unlock(&l->lock);
}

const mm1_data_config *mm1_loader_config(const mm1_loader *l)
{
    return l->options.config;
}

const int64_t *mm1_loader_n_samples(const mm1_loader *l)
{
    return l->n_samples;
}

const mm1_loader_options *mm1_loader_get_options(const mm1_loader *l)
{
    return &l->options;
}

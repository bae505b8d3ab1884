/* heldout.c - the items, their pictures, and the run over all tasks. */
#include "eval/heldout.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/thread.h"
#include "eval/heldout_internal.h"
#include <math.h>
#include <string.h>

const char *const mm1_eval_task_names[] = {"captions", "choice10", "cider", "text", NULL};

mm1_eval_options mm1_eval_options_default(void)
{
    return (mm1_eval_options){.data_dir = "out/demo/data",
                              .shots = {true, true, true},
                              .limit = 0,
                              .text_bytes_limit = 1 << 20,
                              .max_new_tokens = 24};
}

mm1_status mm1__heldout_reader(const mm1_eval_options *o, const char *split, const char *pattern,
                               mm1_data_format format, mm1_reader **out, mm1_error *err)
{
    mm1_buf path;
    mm1_buf_init(&path, 1 << 16);
    mm1_buf_printf(&path, "%s/%s/%s", o->data_dir, split, pattern);
    mm1_status st = mm1_buf_status(&path) != MM1_OK ? mm1_error_set(err, MM1_E_ARG, "the path of the data is too long")
                                                    : mm1_reader_open(format, mm1_buf_str(&path), out, err);
    if (st == MM1_E_IO) {
        st = mm1_error_wrap(err, st, "the data of the evaluation (make it with `mm1 data build`, name it with --data)");
    }
    mm1_buf_deinit(&path);
    return st;
}

void mm1__heldout_progress(const mm1_eval_options *o, const char *task, int64_t done, int64_t total)
{
    if (o->on_progress != NULL) {
        o->on_progress(o->ctx, task, done, total);
    }
}

mm1_status mm1__heldout_stopped(const mm1_eval_options *o, mm1_error *err)
{
    return o->stop != NULL && *o->stop != 0 ? mm1_error_set(err, MM1_E_CANCELLED, "interrupted") : MM1_OK;
}

/* Items of the held-out split in an order drawn by the seed, so that a limit takes a fair sample. */
static mm1_status read_items(mm1_heldout *h, mm1_error *err)
{
    mm1_reader *reader = NULL;
    mm1_status st = mm1__heldout_reader(h->options, "heldout", "captions-*.tar", MM1_DATA_WEBDATASET, &reader, err);
    if (st != MM1_OK) {
        return st;
    }
    const int64_t all = mm1_reader_len(reader), limit = h->options->limit;
    const int64_t n = limit > 0 && limit < all ? limit : all;
    h->items = mm1_calloc((size_t)n, sizeof *h->items);
    if (h->items == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld items", (long long)n);
    }
    for (int64_t i = 0; st == MM1_OK && i < n; i++) {
        mm1_heldout_item *item = &h->items[i];
        const int64_t at =
            (int64_t)mm1_rng_permute(h->options->seed, MM1_RNG_SHUFFLE, UINT64_MAX, (uint64_t)all, (uint64_t)i);
        st = mm1_reader_get(reader, at, &item->document, err);
        if (st != MM1_OK) {
            break;
        }
        h->n = i + 1;
        const mm1_document *d = &item->document;
        if (d->n_parts != 2 || d->parts[0].kind != MM1_PART_IMAGE || d->parts[1].kind != MM1_PART_TEXT) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: a caption pair is one picture and one text", d->name);
            break;
        }
        item->picture = d->parts[0].bytes;
        item->picture_len = d->parts[0].len;
        item->caption = d->parts[1].bytes;
        const char *key = d->name != NULL && strrchr(d->name, ':') != NULL ? strrchr(d->name, ':') + 1 : "";
        (void)snprintf(item->source, sizeof item->source, "%.*s", (int)strcspn(key, "-"), key);
    }
    mm1_reader_destroy(reader);
    return st;
}

/* Pictures [first, ...) of a block, each from its own place in the pixels on. */
typedef struct decode_job {
    const mm1_heldout *h;
    float *pixels;
    int64_t first;
    int64_t *tile; /* of each picture, its first */
    mm1_region_failure failure;
} decode_job;

static void decode_items(void *ctx, int64_t begin, int64_t end)
{
    decode_job *job = ctx;
    const mm1_image_spec *images = &job->h->images;
    for (int64_t i = begin; i < end; i++) {
        const mm1_heldout_item *item = &job->h->items[job->first + i];
        float *pixels = job->pixels + job->tile[i] * 3 * images->tile_px * images->tile_px;
        mm1_error err = {0};
        const mm1_status st = mm1_image_to_pixels(images, &item->layout, item->picture, item->picture_len,
                                                  item->document.name, pixels, &err);
        if (st != MM1_OK) {
            mm1_region_fail(&job->failure, i, st, &err);
        }
    }
}

/* The layout of every picture; *n_tiles: of all. */
static mm1_status lay_out_pictures(mm1_heldout *h, int64_t *n_tiles, mm1_error *err)
{
    mm1_status st = MM1_OK;
    *n_tiles = 0;
    for (int64_t i = 0; st == MM1_OK && i < h->n; i++) {
        mm1_heldout_item *item = &h->items[i];
        st = mm1_image_layout_read(&h->images, item->picture, item->picture_len, item->document.name, &item->layout,
                                   err);
        *n_tiles += item->layout.n_tiles;
    }
    return st;
}

static mm1_status encode_pictures(mm1_heldout *h, mm1_error *err)
{
    enum { AT_ONCE = 64 }; /* tiles, or the tiles of one picture if they are more */
    const mm1_model_config *c = &h->model->config;
    const mm1_image_spec *images = &h->images;
    const int64_t R = images->tile_px;
    const int64_t size = h->embedder != NULL ? c->joint.dim : images->n_tokens * c->decoder.width; /* of a tile */
    const int64_t most = mm1_image_max_tiles(images) > AT_ONCE ? mm1_image_max_tiles(images) : AT_ONCE;
    int64_t n_all = 0, tile[AT_ONCE];
    mm1_status st = lay_out_pictures(h, &n_all, err);
    float *pixels = mm1_alloc((size_t)(most * 3 * R * R), sizeof *pixels);
    h->features = mm1_alloc((size_t)(n_all * size), sizeof *h->features);
    if (st == MM1_OK && (pixels == NULL || h->features == NULL)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the features of %lld pictures", (long long)h->n);
    }
    float *features = h->features;
    for (int64_t i = 0, n = 0; st == MM1_OK && i < h->n; i += n) {
        int64_t n_tiles = 0;
        for (n = 0; i + n < h->n && n < AT_ONCE && n_tiles + h->items[i + n].layout.n_tiles <= most; n++) {
            tile[n] = n_tiles;
            n_tiles += h->items[i + n].layout.n_tiles;
        }
        decode_job job = {.h = h, .pixels = pixels, .first = i, .tile = tile};
        mm1_parallel_each(n, decode_items, &job);
        st = mm1_region_status(&job.failure, err);
        if (st != MM1_OK) {
            break;
        }
        st = h->embedder != NULL ? mm1_embedder_pictures(h->embedder, pixels, n_tiles, features, err)
                                 : mm1_scorer_encode(h->scorer, pixels, n_tiles, features, err);
        for (int64_t j = i; j < i + n; j++) {
            h->items[j].features = features;
            features += h->items[j].layout.n_tiles * size;
        }
        mm1__heldout_progress(h->options, "pictures", i + n, h->n);
    }
    mm1_free(pixels);
    return st;
}

static mm1_status write_results(const mm1_heldout *h, const mm1_eval_results *r, mm1_error *err)
{
    const char *dir = h->options->output_dir;
    char *path = mm1_path_join(dir, "results.json");
    mm1_status st =
        path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the results") : mm1_dir_make(dir, err);
    st = st != MM1_OK ? st : mm1__heldout_write_samples(h, err);
    st = st != MM1_OK ? st : mm1_eval_results_write(r, path, err);
    mm1_free(path);
    return st;
}

/* Which tasks a kind of model can do; those that are asked for are among them, or all if none is. */
static mm1_status settle_tasks(const mm1_model_config *c, bool tasks[MM1_TASK_COUNT], mm1_error *err)
{
    const bool can[MM1_TASK_COUNT] = {[MM1_TASK_CAPTIONS] = c->kind == MM1_MODEL_MM1,
                                      [MM1_TASK_CHOICE10] = c->kind == MM1_MODEL_MM1 || c->kind == MM1_MODEL_CLIP,
                                      [MM1_TASK_CIDER] = c->kind == MM1_MODEL_MM1,
                                      [MM1_TASK_TEXT] = mm1_model_config_has_decoder(c)};
    bool any_asked = false, any_can = false;
    for (int i = 0; i < MM1_TASK_COUNT; i++) {
        any_asked = any_asked || tasks[i];
        any_can = any_can || can[i];
        if (tasks[i] && !can[i]) {
            return mm1_error_set(err, MM1_E_STATE, "task %s: not for a model of this kind", mm1_eval_task_names[i]);
        }
    }
    if (!any_can) {
        return mm1_error_set(err, MM1_E_STATE,
                             "an encoder alone gives no likelihoods; `mm1 probe` measures what it sees");
    }
    for (int i = 0; i < MM1_TASK_COUNT && !any_asked; i++) {
        tasks[i] = can[i];
    }
    return MM1_OK;
}

mm1_status mm1_eval_run(mm1_model *m, const mm1_eval_options *options, mm1_eval_results *results, mm1_error *err)
{
    enum { ROW_LEN = 1024 };
    mm1_eval_options own = *options;
    const bool *tasks = own.tasks, compares = m->config.kind == MM1_MODEL_CLIP;
    mm1_heldout h = {.model = m, .options = &own, .images = compares ? mm1_image_one_tile(&m->images) : m->images};
    mm1_eval_results_init(results);
    mm1_status st = settle_tasks(&m->config, own.tasks, err);
    st = st != MM1_OK ? st : mm1_eval_results_add_seed(results, options->seed, err);
    if (st == MM1_OK && options->model_name != NULL && (results->model = mm1_strdup(options->model_name)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the results");
    }
    for (int i = 0; st == MM1_OK && i < MM1_TASK_COUNT; i++) {
        if (tasks[i] && !mm1_names_add(&results->tasks, mm1_eval_task_names[i])) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the results");
        }
    }
    if (st == MM1_OK) {
        st = compares ? mm1_embedder_create(m, 1, &h.embedder, err) : mm1_scorer_create(m, ROW_LEN, &h.scorer, err);
    }
    if (st == MM1_OK && (tasks[MM1_TASK_CAPTIONS] || tasks[MM1_TASK_CHOICE10] || tasks[MM1_TASK_CIDER])) {
        st = read_items(&h, err);
        st = st != MM1_OK ? st : encode_pictures(&h, err);
    }
    st = st != MM1_OK || !tasks[MM1_TASK_CAPTIONS] ? st : mm1__heldout_captions(&h, results, err);
    if (st == MM1_OK && tasks[MM1_TASK_CHOICE10]) {
        st = compares ? mm1__heldout_choice10_clip(&h, results, err) : mm1__heldout_choice10(&h, results, err);
    }
    st = st != MM1_OK || !tasks[MM1_TASK_TEXT] ? st : mm1__heldout_text(&h, results, err);
    st = st != MM1_OK || !tasks[MM1_TASK_CIDER] ? st : mm1__heldout_cider(&h, results, err);
    st = st != MM1_OK || options->output_dir == NULL ? st : write_results(&h, results, err);
    if (st != MM1_OK) {
        mm1_eval_results_deinit(results);
    }
    mm1_embedder_destroy(h.embedder);
    mm1_scorer_destroy(h.scorer);
    for (int64_t i = 0; i < h.n; i++) {
        mm1_document_deinit(&h.items[i].document);
        for (int s = 0; s < MM1_EVAL_N_SHOTS; s++) {
            mm1_free(h.items[i].generated[s]);
        }
        mm1_free(h.items[i].generated_blind);
    }
    mm1_free(h.items);
    mm1_free(h.features);
    return st;
}

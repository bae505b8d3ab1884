/* plan.c - see plan.h. */
#include "study/plan.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "data/reader.h"
#include "kernels/kernels.h"
#include "model/flops.h"
#include "train/optimizer.h"
#include "train/recipe_loader.h"
#include "train/trainer.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PROBED_SAMPLES = 32,       /* of a source, for the pictures in them */
    PROBED_BATCHES = 8,        /* of the stream, for the images in a row */
    MIN_EXAMPLE = 3,           /* positions beside the image: <bos>, a token, <eos> */
    QUEUE_BASE = 8,            /* samples that the loader prepares ahead in every source, */
    QUEUE_PER_WORKER = 4,      /* and more for each worker (loader.c) */
    KEPT_SAMPLE_BYTES = 80,    /* beside the pixels that the loader keeps, for a sample */
    KEPT_PICTURE_BYTES = 80,   /* and for a picture (pixel_cache.c) */
    TOKENIZER_BYTES_AN_ID = 96 /* measured: 91 at 1024 ids, 95 at 8192 */
};

/* Pages that a running training touches beyond those of this process at the start of a plan: code of kernels and image
 * libraries, heaps of the loader's threads. */
static const double CODE_BYTES = 3.0 * (1 << 20), THREAD_BYTES = 0.25 * (1 << 20);

/* ---- operations ---- */

/* Images of a full row of pictures, each as long as one can be. */
static int64_t images_of_row(const mm1_data_config *d, const mm1_image_spec *images)
{
    const int64_t room = images->n_tokens > 0 ? d->seq_len / (mm1_image_max_positions(images) + MIN_EXAMPLE) : 0;
    return room < d->max_images ? room : d->max_images;
}

/* Share of the rows that have pictures. */
static double picture_share(const mm1_data_config *d)
{
    double all = 0, pictures = 0;
    for (size_t i = 0; i < d->n_sources; i++) {
        const mm1_data_source *s = &d->sources[i];
        all += s->weight;
        pictures += s->kind != MM1_DATA_TEXT ? s->weight : 0;
    }
    return all > 0 ? pictures / all : 0;
}

/* Images of the batches to come: a function of the configuration alone, or of the first batches where the data is
 * there. */
typedef struct images {
    double per_step, tiles_per_step; /* mean */
    int64_t per_row;                 /* largest mean over the rows of one pass, rounded up */
    int64_t most;                    /* tiles in a step */
} images;

/* Pictures in a row that trains an encoder: the views of a picture, or the one with a caption. */
static int64_t images_of_example(const mm1_recipe *r, const mm1_data_source *s)
{
    return s->kind == MM1_DATA_TEXT                                                        ? 0
           : s->kind == MM1_DATA_IMAGES && r->train.objective == MM1_OBJECTIVE_CONTRASTIVE ? 2
                                                                                           : 1;
}

static images images_of_examples(const mm1_recipe *r)
{
    const mm1_data_config *d = &r->data;
    double all = 0, sum = 0;
    images n = {0};
    for (size_t i = 0; i < d->n_sources; i++) {
        const mm1_data_source *s = &d->sources[i];
        const int64_t of_row = s->weight > 0 ? images_of_example(r, s) : 0;
        all += s->weight;
        sum += s->weight * (double)of_row;
        n.per_row = of_row > n.per_row ? of_row : n.per_row;
    }
    n.per_step = n.tiles_per_step = all > 0 ? (double)d->batch * sum / all : 0;
    n.most = d->batch * n.per_row;
    return n;
}

static images images_by_room(const mm1_recipe *r, const mm1_image_spec *spec)
{
    if (r->train.objective != MM1_OBJECTIVE_TEXT) {
        return images_of_examples(r);
    }
    const int64_t row = images_of_row(&r->data, spec), tiles = row * mm1_image_max_tiles(spec);
    const double share = picture_share(&r->data);
    return (images){.per_step = (double)r->data.batch * share * (double)row,
                    .tiles_per_step = (double)r->data.batch * share * (double)tiles,
                    .per_row = share > 0 ? row : 0,
                    .most = share > 0 ? r->data.batch * tiles : 0};
}

/* Draws the first batches of the stream; the shared images stay as they are if there is no stream. */
static void images_by_data(const mm1_recipe *recipe, const mm1_model_config *c, const mm1_tokenizer *tokenizer,
                           images *out)
{
    mm1_recipe r = *recipe;
    mm1_loader *loader = NULL;
    images seen = {0};
    r.data.prefetch = 1;
    r.data.cache_mb = 0;
    mm1_status st = mm1_recipe_loader_create(&r, c, tokenizer, NULL, &loader, NULL);
    for (int k = 0; st == MM1_OK && k < PROBED_BATCHES; k++) {
        const mm1_batch *b = NULL;
        st = mm1_loader_next(loader, &b, NULL, NULL, NULL);
        if (st != MM1_OK) {
            break;
        }
        seen.per_step += (double)b->n_images / PROBED_BATCHES;
        seen.tiles_per_step += (double)b->I / PROBED_BATCHES;
        seen.most = b->I > seen.most ? b->I : seen.most;
        for (int64_t row = 0; row < b->B; row += r.train.micro_batch) {
            int64_t n = 0, n_rows = 0;
            for (; n_rows < r.train.micro_batch && row + n_rows < b->B; n_rows++) {
                n += b->row_images[row + n_rows];
            }
            const int64_t mean = (n + n_rows - 1) / n_rows;
            seen.per_row = mean > seen.per_row ? mean : seen.per_row;
        }
    }
    mm1_loader_destroy(loader);
    if (st == MM1_OK) {
        *out = seen;
    }
}

/* Of n blocks all but the last are run forward a second time. */
static double again(int64_t n_blocks, double flops)
{
    return n_blocks > 0 ? flops * (double)(n_blocks - 1) / (double)n_blocks : 0;
}

static void add_up(mm1_plan *p)
{
    const mm1_plan_flops *const passes[] = {&p->forward, &p->backward};
    p->step_flops = 0;
    for (size_t i = 0; i < 2; i++) {
        const mm1_plan_flops *f = passes[i];
        p->step_flops += f->vision + f->connector + f->decoder + f->attention + f->head;
    }
}

/* Share of the rows whose source is of a kind. */
static double share_of(const mm1_data_config *d, mm1_data_kind kind)
{
    double all = 0, some = 0;
    for (size_t i = 0; i < d->n_sources; i++) {
        all += d->sources[i].weight;
        some += (mm1_data_kind)d->sources[i].kind == kind ? d->sources[i].weight : 0;
    }
    return all > 0 ? some / all : 0;
}

/* A picture finds its caption: every caption as long as it may be. */
static void plan_contrastive(const mm1_recipe *r, const mm1_model_config *c, const images *n, mm1_plan *p)
{
    const double grid = (double)mm1_vision_grid(&c->vision), P = grid * grid;
    const double K = fmax(1, round(r->train.patch_keep * P));
    const double longest = (double)(r->data.seq_len < c->text.max_positions ? r->data.seq_len : c->text.max_positions);
    p->tokens = (double)r->data.batch * (1 - share_of(&r->data, MM1_DATA_IMAGES)) * longest;
    p->forward.vision = n->per_step * mm1_flops_vision(&c->vision, K);
    p->forward.head = mm1_flops_text(&c->text, p->tokens);
    p->backward.vision = r->train.lr_vision > 0 ? 2 * p->forward.vision : 0;
    p->backward.head = r->train.lr_head > 0 ? 2 * p->forward.head : 0;
    /* Of several micro-batches each is embedded twice. */
    p->recomputed = r->train.micro_batch < r->data.batch ? p->forward.vision + p->forward.head : 0;
}

/* A patch predicts the next: the mean over the prefixes 1 to P - 1. */
static void plan_aim(const mm1_recipe *r, const mm1_model_config *c, const images *n, mm1_plan *p)
{
    const double grid = (double)mm1_vision_grid(&c->vision), P = grid * grid;
    double unseen = 0;
    for (double prefix = 1; prefix < P; prefix++) {
        unseen += (P * P - prefix * prefix - (P - prefix) * (P + prefix + 1) / 2) / (P - 1);
    }
    p->forward.vision =
        n->per_step * (mm1_flops_vision(&c->vision, P) - mm1_flops_vision_attention(&c->vision, unseen));
    p->forward.head = n->per_step * P / 2 * mm1_flops_pixel_head(c);
    const bool vision = r->train.lr_vision > 0, head = r->train.lr_head > 0;
    p->backward.vision = vision ? 2 * p->forward.vision : 0;
    p->backward.head = ((vision || head) + head) * p->forward.head;
}

static void plan_encoder_flops(const mm1_recipe *r, const mm1_model_config *c, const images *n, mm1_plan *p)
{
    p->images = n->per_step;
    if (r->train.objective == MM1_OBJECTIVE_CONTRASTIVE) {
        plan_contrastive(r, c, n, p);
    } else {
        plan_aim(r, c, n, p);
    }
    if (r->train.activations == MM1_ACTIVATIONS_RECOMPUTE && r->train.lr_vision > 0) {
        p->recomputed += again(c->vision.n_layers, p->forward.vision);
    }
    add_up(p);
}

static void plan_flops(const mm1_recipe *r, const mm1_model_config *c, const images *n, mm1_trained_parts parts,
                       mm1_plan *p)
{
    if (r->train.objective != MM1_OBJECTIVE_TEXT) {
        plan_encoder_flops(r, c, n, p);
        return;
    }
    const mm1_data_config *d = &r->data;
    const mm1_image_flops image = mm1_flops_image(c);
    const double B = (double)d->batch, T = (double)d->seq_len;
    p->tokens = B * T;
    p->images = n->per_step;
    /* Every token but the first of a row is a target; image slots are none. */
    const double targets = fmax(0, B * (T - 1) - n->tiles_per_step * (double)mm1_model_config_n_visual(c));
    p->forward = (mm1_plan_flops){.vision = n->tiles_per_step * image.vision,
                                  .connector = n->tiles_per_step * image.connector,
                                  .decoder = p->tokens * mm1_flops_position(c),
                                  .attention = B * mm1_flops_causal_attention(c, T),
                                  .head = targets * mm1_flops_head(c)};
    /* As mm1_flops_step(): gradients of the input where something below is trained, of the weights where they are. */
    const bool vision = parts.vision, connector = parts.connector, decoder = parts.decoder;
    const double weights = parts.adapters_only ? 0 : 1;
    const double back_vision = vision ? 1 + weights : 0, back_connector = (vision || connector) + connector * weights,
                 back_decoder = (vision || connector || decoder) + decoder * weights;
    p->backward = (mm1_plan_flops){.vision = back_vision * p->forward.vision,
                                   .connector = back_connector * p->forward.connector,
                                   .decoder = back_decoder * p->forward.decoder,
                                   .attention = back_decoder * p->forward.attention,
                                   .head = back_decoder * p->forward.head};
    add_up(p);
    if (r->train.activations == MM1_ACTIVATIONS_RECOMPUTE) {
        p->recomputed = (vision ? again(mm1_vision_depth(&c->vision), n->tiles_per_step * image.blocks) : 0) +
                        (back_decoder > 0 ? again(c->decoder.n_layers, p->forward.decoder + p->forward.attention) : 0);
    }
}

/* ---- memory ---- */

/* Files below /proc have no size, so that they are not for mm1_file_read(). */
static double resident_bytes(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%*d %20lld", &pages) != 1) {
            pages = 0;
        }
        (void)fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* What the pictures of a source are like. */
typedef struct pictures {
    double per_sample, decoded_bytes, encoded_bytes; /* mean number; largest ones */
} pictures;

static pictures probe_pictures(const mm1_reader *reader)
{
    pictures p = {0};
    const int64_t n = mm1_reader_len(reader), n_probed = n < PROBED_SAMPLES ? n : PROBED_SAMPLES;
    for (int64_t i = 0; i < n_probed; i++) {
        mm1_document d = {0};
        if (mm1_reader_get(reader, i * (n / n_probed), &d, NULL) != MM1_OK) {
            continue; /* training skips it too */
        }
        p.per_sample += (double)mm1_document_n_images(&d) / (double)n_probed;
        for (size_t k = 0; k < d.n_parts; k++) {
            int32_t w = 0, h = 0;
            if (d.parts[k].kind == MM1_PART_IMAGE &&
                mm1_image_probe(d.parts[k].bytes, d.parts[k].len, &mm1_image_limits_default, "", NULL, &w, &h, NULL) ==
                    MM1_OK) {
                p.decoded_bytes = fmax(p.decoded_bytes, 3.0 * w * h);
                p.encoded_bytes = fmax(p.encoded_bytes, (double)d.parts[k].len);
            }
        }
        mm1_document_deinit(&d);
    }
    return p;
}

static double mapped_bytes(const char *pattern)
{
    mm1_names paths = {0};
    double sum = 0;
    if (mm1_path_glob(pattern, &paths, NULL) == MM1_OK) {
        for (size_t i = 0; i < paths.n; i++) {
            struct stat info;
            const bool unpacked = strcmp(mm1_path_extension(paths.items[i]), ".zst") == 0;
            sum += !unpacked && stat(paths.items[i], &info) == 0 ? (double)info.st_size : 0;
        }
    }
    mm1_names_free(&paths);
    return sum;
}

/* Index, queue, and what a worker needs for one sample. */
static void plan_source(const mm1_recipe *r, const mm1_data_source *s, const mm1_image_spec *spec, mm1_plan *p,
                        double *worker_bytes)
{
    const double workers = (double)r->data.workers, R = (double)r->model.vision.image_size;
    const double tiles = (double)mm1_image_max_tiles(spec) * 3 * R * R; /* bytes of a picture, at most */
    const size_t before = mm1_alloc_bytes();
    mm1_reader *reader = NULL;
    int64_t n_samples = 0;
    mm1_error err = {0};
    pictures pics = {.per_sample = s->kind == MM1_DATA_TEXT ? 0
                                   : s->kind == MM1_DATA_CAPTIONS || s->kind == MM1_DATA_IMAGES
                                       ? 1
                                       : (double)s->max_images};
    if (mm1_reader_open_source(s, r->data.chat, (uint64_t)r->train.seed, &reader, &err) == MM1_OK) {
        p->memory.data_index += (double)(mm1_alloc_bytes() - before);
        p->memory.data_files += mapped_bytes(s->path);
        pics = probe_pictures(reader);
        n_samples = mm1_reader_len(reader);
    } else {
        mm1_log(MM1_LOG_WARN, "data.sources.%s is not counted: %s", s->name, err.message);
        p->has_data = false;
    }
    mm1_reader_destroy(reader);
    const double views = r->train.objective == MM1_OBJECTIVE_TEXT ? 1 : fmax(1, (double)images_of_example(r, s));
    const double together = (double)mm1_data_together(s);
    p->memory.samples += (QUEUE_BASE + QUEUE_PER_WORKER * workers) * pics.per_sample * together * views * tiles;
    if (s->kind != MM1_DATA_TEXT && together == 1) {
        const double picture =
            KEPT_PICTURE_BYTES +
            (mm1_data_changes_pictures(&r->data, (size_t)(s - r->data.sources)) ? pics.decoded_bytes : tiles);
        p->memory.pixels += (double)n_samples * (KEPT_SAMPLE_BYTES + pics.per_sample * picture);
    }
    /* The encoded picture, the decoded one, and that turned upright or cut. */
    *worker_bytes = fmax(*worker_bytes, pics.encoded_bytes + 2 * pics.decoded_bytes);
}

static void plan_data(const mm1_recipe *r, const mm1_image_spec *spec, mm1_plan *p)
{
    const mm1_data_config *d = &r->data;
    double worker_bytes = 0;
    for (size_t i = 0; i < d->n_sources; i++) {
        if (d->sources[i].weight > 0) {
            plan_source(r, &d->sources[i], spec, p, &worker_bytes);
        }
    }
    p->memory.decoding = (double)d->workers * worker_bytes;
    /* All pictures, if they fit; where the data are not there, as many as fit. */
    const double cache_bytes = (double)d->cache_mb * (1 << 20);
    p->memory.pixels = p->has_data ? fmin(p->memory.pixels, cache_bytes) : cache_bytes;
}

static void plan_batches(const mm1_recipe *r, const images *n, mm1_plan *p)
{
    enum { BATCH_ARRAYS = 8 }; /* of one i32 a position: mm1_batch */
    const double positions = (double)r->data.batch * (double)r->data.seq_len, R = (double)r->model.vision.image_size;
    const double batch = 4 * (BATCH_ARRAYS * positions + (double)n->most * 3 * R * R);
    p->memory.batches = (double)(r->data.prefetch + 1) * batch;
}

static int64_t vocab_size(const mm1_model_config *c)
{
    return mm1_model_config_has_decoder(c)     ? c->decoder.vocab_size
           : mm1_model_config_has_tokenizer(c) ? c->text.vocab_size
                                               : 0;
}

/* The configuration with its vocabulary: from the tokenizer if it is there (the caller destroys it), else the recipe
 * must say. */
static mm1_status plan_vocabulary(const mm1_recipe *r, mm1_plan *p, mm1_model_config *config, mm1_tokenizer **tokenizer,
                                  mm1_error *err)
{
    const size_t before = mm1_alloc_bytes();
    mm1_status st = MM1_OK;
    if (!mm1_model_config_has_tokenizer(&r->model)) {
        p->has_tokenizer = true; /* there is nothing to miss */
        return mm1_recipe_model_config(r, NULL, config, err);
    }
    p->has_tokenizer = r->tokenizer != NULL ? mm1_path_exists(r->tokenizer) : r->init.model != NULL;
    if (p->has_tokenizer) {
        st = mm1_recipe_tokenizer(r, tokenizer, err);
        p->memory.tokenizer = (double)(mm1_alloc_bytes() - before);
        return st != MM1_OK ? st : mm1_recipe_model_config(r, *tokenizer, config, err);
    }
    *config = r->model;
    const bool has_decoder = mm1_model_config_has_decoder(config);
    const int64_t n_ids = vocab_size(config);
    if (n_ids == 0) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "the vocabulary is not known: %s is not there; train it with `mm1 tokenizer train "
                             "--recipe`, or set model.%s.vocab_size",
                             r->tokenizer != NULL ? r->tokenizer : "tokenizer", has_decoder ? "decoder" : "text");
    }
    if (has_decoder && config->decoder.max_positions < r->data.seq_len) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.decoder.max_positions: %lld is less than data.seq_len %lld",
                             (long long)config->decoder.max_positions, (long long)r->data.seq_len);
    }
    p->memory.tokenizer = TOKENIZER_BYTES_AN_ID * (double)n_ids;
    return mm1_model_config_resolve(config, err);
}

/* Parameters of the largest block of the decoder or the encoder, or of the embedding. */
static double largest_part(const mm1_model *m)
{
    const mm1_model_config *c = &m->config;
    const double sparse = (double)m->decoder.routing.n_layers;
    const double experts = (double)mm1_decoder_idle_params(&m->decoder.config, 0);
    const double rest =
        (double)(mm1_params_count(&m->params, MM1_GROUP_DECODER) - mm1_decoder_n_embeddings(&m->decoder)) - experts;
    const double block =
        (c->decoder.n_layers > 0 ? rest / (double)c->decoder.n_layers : 0) + (sparse > 0 ? experts / sparse : 0);
    const double seen = c->vision.n_layers > 0
                            ? (double)mm1_params_count(&m->params, MM1_GROUP_VISION) / (double)c->vision.n_layers
                            : 0;
    const double embed = m->decoder.embed != NULL ? (double)mm1_tensor_size(m->decoder.embed) : 0;
    return fmax(embed, fmax(block, seen));
}

/* What it holds beside the tape: losses, embeddings of a batch. */
static mm1_status plan_objective(const mm1_recipe *r, mm1_model *m, mm1_plan *p, mm1_error *err)
{
    const size_t before = mm1_alloc_bytes();
    mm1_objective *o = NULL;
    const mm1_status st = mm1_objective_create(r, m, &o, err);
    p->memory.objective = st == MM1_OK ? (double)(mm1_alloc_bytes() - before) : 0;
    mm1_objective_destroy(o);
    return st;
}

static mm1_status plan_model(const mm1_recipe *r, int64_t images_a_row, mm1_plan *p, mm1_trained_parts *parts,
                             mm1_error *err)
{
    const size_t before = mm1_alloc_bytes();
    mm1_recipe full = *r; /* shallow: the dry run takes as many images as a row is going to have */
    mm1_model m = {0};
    size_t arena = 0;
    mm1_status st = mm1_train_model_init(&m, r, &r->model, err);
    if (st == MM1_OK) {
        p->memory.tables = (double)(mm1_alloc_bytes() - before);
        p->n_vision = mm1_params_count(&m.params, MM1_GROUP_VISION);
        p->n_connector = mm1_params_count(&m.params, MM1_GROUP_CONNECTOR);
        p->n_embeddings = mm1_decoder_n_embeddings(&m.decoder);
        p->n_decoder = mm1_params_count(&m.params, MM1_GROUP_DECODER) - p->n_embeddings;
        p->largest_gathered = 4 * largest_part(&m);
        p->n_active = mm1_params_count(&m.params, MM1_GROUP_COUNT) -
                      mm1_decoder_idle_params(&m.decoder.config, m.decoder.config.moe.top_k);
        p->n_head = mm1_params_count(&m.params, MM1_GROUP_HEAD);
        p->vocab_size = vocab_size(&m.config);
        p->lr_peak = mm1_recipe_lr_peak(r, &m);
        p->lr_by_law = isnan(r->train.lr_peak);
        full.data.max_images = images_a_row;
        st = mm1_train_plan_arena(&m, &full, &arena, err);
        st = st != MM1_OK ? st : plan_objective(r, &m, p, err);
        *parts = mm1_flops_trained(&m);
        for (int64_t i = 0; i < m.params.n_items; i++) {
            p->n_trained += m.params.items[i]->tensor.needs_grad ? m.params.items[i]->n : 0;
        }
        const double trained = (double)mm1_params_grad_total(&m.params);
        p->memory.parameters = 4.0 * (double)m.params.total;
        p->memory.gradients = 4 * trained;
        p->memory.moments = mm1_optimizer_bytes(&m.params, &r->train);
        p->memory.activations = (double)arena;
    }
    mm1_model_deinit(&m);
    return st;
}

mm1_status mm1_plan_make(const mm1_recipe *recipe, mm1_plan *plan, mm1_error *err)
{
    mm1_recipe r = *recipe; /* shallow: the model is replaced by the resolved one */
    mm1_plan_memory *mem = &plan->memory;
    mm1_tokenizer *tokenizer = NULL;
    mm1_image_spec spec;
    *plan = (mm1_plan){.n_steps = recipe->train.n_steps, .has_data = true};
    mem->program = resident_bytes() + CODE_BYTES;

    const size_t before = mm1_alloc_bytes();
    mm1_threads_set((int)r.train.threads);
    mm1_status st = mm1_kernels_init(NULL, err);
    mem->products = (double)(mm1_alloc_bytes() - before);
    mem->program += THREAD_BYTES * (double)(mm1_threads() + r.data.workers + 1);
    st = st != MM1_OK ? st : mm1_data_config_check(&r.data, err);
    st = st != MM1_OK ? st : mm1_objective_check(&r, err);
    st = st != MM1_OK ? st : plan_vocabulary(recipe, plan, &r.model, &tokenizer, err);
    st = st != MM1_OK ? st : mm1_recipe_images(&r, &r.model, tokenizer, &spec, err);
    if (st == MM1_OK && picture_share(&r.data) > 0 && mm1_image_min_positions(&spec) > r.data.seq_len - MIN_EXAMPLE) {
        st = mm1_error_set(err, MM1_E_CONFIG, "data.seq_len %lld has no room for an image of %lld positions and a text",
                           (long long)r.data.seq_len, (long long)mm1_image_min_positions(&spec));
    }
    if (st == MM1_OK) {
        images n = images_by_room(&r, &spec);
        plan_data(&r, &spec, plan);
        if (plan->has_data && (tokenizer != NULL || !mm1_model_config_has_tokenizer(&r.model))) {
            images_by_data(&r, &r.model, tokenizer, &n);
        }
        plan_batches(&r, &n, plan);
        mm1_trained_parts parts = {0};
        st = plan_model(&r, n.per_row, plan, &parts, err);
        plan_flops(&r, &r.model, &n, parts, plan);
    }
    mm1_tokenizer_destroy(tokenizer);
    if (st != MM1_OK) {
        return st;
    }
#define ADD(member, text) mem->needed += mem->member;
    MM1_PLAN_MEMORY(ADD)
#undef ADD
    mem->resident = mem->needed + mem->data_files;
    return MM1_OK;
}

double mm1_plan_rank_bytes(const mm1_plan *p, mm1_zero_stage stage, int64_t n_ranks)
{
    const mm1_plan_memory *m = &p->memory;
    const double kept = 1 - 1 / (double)(n_ranks > 1 ? n_ranks : 1);
    double bytes = m->needed - kept * m->batches;
    bytes -= stage >= MM1_ZERO_MOMENTS ? kept * m->moments : 0;
    bytes -= stage >= MM1_ZERO_GRADIENTS ? kept * m->gradients : 0;
    if (stage >= MM1_ZERO_PARAMETERS && n_ranks > 1) {
        bytes += p->largest_gathered - kept * m->parameters;
    }
    return bytes;
}

double mm1_plan_seconds(const mm1_plan *plan, double flops_per_second)
{
    return flops_per_second > 0 ? (plan->step_flops + plan->recomputed) * (double)plan->n_steps / flops_per_second : 0;
}

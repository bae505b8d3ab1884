/* bench_step.c - see bench_step.h. */
#include "study/bench_step.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "base/thread.h"
#include "model/flops.h"
#include "study/median.h"
#include "train/optimizer.h"
#include "train/recipe_loader.h"
#include "train/trainer.h"
#include <math.h>
#include <sys/resource.h>

struct mm1_step_bench {
    mm1_recipe recipe; /* shallow: the model is replaced by the resolved one */
    mm1_data_source
        made_up; /* in place of the recipe's sources: the dry run takes its images from them; never opened */
    mm1_bench_step_options options;
    mm1_model model; /* VISION: its tables alone */
    mm1_vit vit;     /* VISION */
    mm1_params vit_params;
    mm1_tokenizer *tokenizer;
    mm1_optimizer optimizer;
    mm1_loader *loader; /* NULL: `made` is the batch of every step */
    mm1_batch made;
    mm1_arena arena;
    mm1_tape tape;
    mm1_objective *objective;
    mm1_profile profile;
    mm1_bench_step result; /* made_up and params; the rest where a run is measured */
    double seconds[MM1_BENCH_MAX_STEPS], probes[MM1_BENCH_MAX_STEPS + 1];
};

typedef mm1_step_bench bench;

/* ---- a batch out of nothing ---- */

/* One row: <bos>, then the images, of one tile each, with text between and after them, up to the last position. */
static void fill_sequence(mm1_sequence *s, int64_t n_images, int64_t n_visual, int64_t vocab, mm1_rng *rng)
{
    const int64_t text = s->len - n_images * n_visual;
    int64_t at = 0;
    for (int64_t part = 0; part <= n_images; part++) {
        /* The first text is <bos> alone where there are images. */
        const int64_t begin = part == 0 ? 0 : 1 + (text - 1) * (part - 1) / n_images;
        const int64_t end = n_images == 0 ? text : part == 0 ? 1 : 1 + (text - 1) * part / n_images;
        for (int64_t k = 0; part > 0 && k < n_visual; k++, at++) {
            s->tokens[at] = MM1_IMAGE_SLOT;
            s->visual[at] = (int32_t)((part - 1) * n_visual + k);
            s->train[at] = 0;
        }
        for (int64_t k = begin; k < end; k++, at++) {
            s->tokens[at] = (int32_t)mm1_rng_below(rng, (uint64_t)vocab);
            s->train[at] = at > 0;
        }
    }
    for (int64_t i = 0; i < n_images; i++) {
        s->images[i] = (mm1_image_layout){.n_tiles = 1, .n_slots = (int32_t)n_visual};
    }
}

static void fill_pixels(float *pixels, int64_t n, mm1_rng *rng)
{
    for (int64_t i = 0; i < n; i++) {
        pixels[i] = (float)(2 * mm1_rng_uniform(rng) - 1);
    }
}

static mm1_status make_batch(bench *b, int64_t n_images, mm1_error *err)
{
    const mm1_model_config *c = &b->recipe.model;
    const mm1_data_config *d = &b->recipe.data;
    const int64_t T = d->seq_len, n_visual = mm1_model_config_n_visual(c), R = c->vision.image_size;
    mm1_rng rng = mm1_rng_make((uint64_t)b->recipe.train.seed, MM1_RNG_BENCH, 0);
    mm1_sequence s = {0};
    if (n_images * (n_visual + 1) + 1 > T) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "data.seq_len %lld has no room for %lld images of %lld positions and text between them; "
                             "give fewer --images",
                             (long long)T, (long long)n_images, (long long)n_visual);
    }
    mm1_status st = mm1_batch_init(&b->made, d->batch, T, d->batch * n_images, R, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_sequence_init(&s, T, n_images, err);
    for (int64_t row = 0; st == MM1_OK && row < d->batch; row++) {
        fill_sequence(&s, n_images, n_visual, c->decoder.vocab_size, &rng);
        st = mm1_batch_add(&b->made, row, &s, &b->model.images, 0, "the made-up row", err);
    }
    if (st == MM1_OK) {
        fill_pixels(b->made.pixels, b->made.I * 3 * R * R, &rng);
    }
    mm1_sequence_deinit(&s);
    return st;
}

/* ---- preparation ---- */

/* The vocabulary of the recipe, else of its tokenizer. */
static mm1_status resolve_model(bench *b, mm1_error *err)
{
    mm1_model_config config = b->recipe.model;
    mm1_status st = MM1_OK;
    if (b->recipe.tokenizer != NULL || b->recipe.init.model != NULL) {
        st = mm1_recipe_tokenizer(&b->recipe, &b->tokenizer, err);
        st = st != MM1_OK ? st : mm1_recipe_model_config(&b->recipe, b->tokenizer, &config, err);
    } else {
        st = mm1_model_config_resolve(&config, err);
        if (st == MM1_OK && config.decoder.max_positions < b->recipe.data.seq_len) {
            st = mm1_error_set(err, MM1_E_CONFIG, "model.decoder.max_positions: %lld is less than data.seq_len %lld",
                               (long long)config.decoder.max_positions, (long long)b->recipe.data.seq_len);
        }
    }
    b->recipe.model = config;
    return st;
}

static mm1_status prepare_model(bench *b, mm1_bench_step *out, mm1_error *err)
{
    const int64_t images = b->options.images;
    mm1_recipe *r = &b->recipe;
    size_t arena_bytes = 0;
    out->made_up = images >= 0 || r->data.n_sources == 0;
    mm1_status st = resolve_model(b, err);
    st = st != MM1_OK ? st : mm1_train_model_init(&b->model, r, &r->model, err);
    if (st == MM1_OK && out->made_up) {
        b->made_up = (mm1_data_source){.kind = images > 0 ? MM1_DATA_CAPTIONS : MM1_DATA_TEXT, .weight = 1};
        r->data.sources = &b->made_up;
        r->data.n_sources = 1;
        r->data.max_images = images;
        st = make_batch(b, images > 0 ? images : 0, err);
    } else if (st == MM1_OK) {
        st = mm1_data_config_check(&r->data, err);
    }
    st = st != MM1_OK ? st : mm1_train_plan_arena(&b->model, r, &arena_bytes, err);
    st = st != MM1_OK ? st : mm1_params_alloc(&b->model.params, true, err);
    st = st != MM1_OK ? st : mm1_optimizer_init(&b->optimizer, &b->model.params, &r->train, err);
    /* As the trainer: other numbers of pictures reuse buffers less well. */
    st = st != MM1_OK ? st : mm1_arena_init(&b->arena, arena_bytes + arena_bytes / 2, err);
    if (st == MM1_OK && !out->made_up) {
        st = mm1_recipe_loader_create(r, &r->model, b->tokenizer, NULL, &b->loader, err);
    }
    st = st != MM1_OK ? st : mm1_objective_create(r, &b->model, &b->objective, err);
    if (st == MM1_OK) {
        mm1_params_init(&b->model.params, (uint64_t)r->train.seed);
        mm1_train_freeze(&b->model, &r->train);
        for (int64_t i = 0; i < b->model.params.n_items; i++) {
            const mm1_param *p = b->model.params.items[i];
            out->params += p->tensor.needs_grad ? p->n : 0;
        }
    }
    return st;
}

/* Forward and backward of the encoder; the gradient of its features is given. */
static mm1_status run_vision(bench *b, mm1_error *err)
{
    mm1_tape *t = &b->tape;
    mm1_tape_reset(t, 0);
    mm1_params_zero_grad(&b->vit_params);
    mm1__tape_done(t, "zero gradients", b->vit_params.total, 0);
    mm1_tensor *y = mm1_vit_forward(&b->vit, t, b->made.pixels, b->made.max_tiles);
    bool acc;
    float *dy = y != NULL ? mm1__tape_grad(t, y, &acc) : NULL;
    if (dy != NULL) {
        const int64_t n = mm1_tensor_size(y);
        for (int64_t i = 0; i < n && !t->dry; i++) {
            dy[i] = y->data[i] / (float)n;
        }
        mm1_tape_backward(t);
    }
    return mm1_tape_status(t, err);
}

static mm1_status plan_vision(bench *b, size_t *bytes, mm1_error *err)
{
    mm1_status st = mm1_arena_init_dry(&b->arena, err);
    st = st != MM1_OK ? st : mm1_tape_init(&b->tape, &b->arena, err);
    b->tape.recording = true;
    for (int64_t i = 0; i < b->vit_params.n_items; i++) {
        b->vit_params.items[i]->tensor.needs_grad = true;
    }
    st = st != MM1_OK ? st : run_vision(b, err);
    *bytes = b->arena.peak;
    mm1_tape_deinit(&b->tape);
    mm1_arena_deinit(&b->arena);
    return st;
}

static mm1_status prepare_vision(bench *b, mm1_bench_step *out, mm1_error *err)
{
    const mm1_vision_config *c = &b->recipe.model.vision;
    const int64_t I = b->recipe.data.batch * (b->options.images > 0 ? b->options.images : 1);
    size_t arena_bytes = 0;
    mm1_rng rng = mm1_rng_make((uint64_t)b->recipe.train.seed, MM1_RNG_BENCH, 0);
    out->made_up = true;
    mm1_status st = mm1_vit_init(&b->vit, c, &b->vit_params, err);
    st = st != MM1_OK ? st : mm1_batch_init(&b->made, 1, 1, I, c->image_size, err);
    st = st != MM1_OK ? st : plan_vision(b, &arena_bytes, err);
    st = st != MM1_OK ? st : mm1_params_alloc(&b->vit_params, true, err);
    st = st != MM1_OK ? st : mm1_arena_init(&b->arena, arena_bytes, err);
    if (st == MM1_OK) {
        mm1_params_init(&b->vit_params, (uint64_t)b->recipe.train.seed);
        mm1_params_set_trainable(&b->vit_params, MM1_GROUP_VISION, true);
        fill_pixels(b->made.pixels, I * 3 * c->image_size * c->image_size, &rng);
        out->params = mm1_params_count(&b->vit_params, MM1_GROUP_COUNT);
    }
    return st;
}

static void finish(bench *b)
{
    mm1_loader_destroy(b->loader);
    mm1_batch_deinit(&b->made);
    mm1_objective_destroy(b->objective);
    mm1_tape_deinit(&b->tape);
    mm1_arena_deinit(&b->arena);
    mm1_optimizer_deinit(&b->optimizer);
    mm1_vit_deinit(&b->vit);
    mm1_params_deinit(&b->vit_params);
    mm1_model_deinit(&b->model);
    mm1_tokenizer_destroy(b->tokenizer);
}

/* ---- steps ---- */

static mm1_status run_model(bench *b, const mm1_batch *batch, mm1_error *err)
{
    const mm1_train_config *c = &b->recipe.train;
    mm1_profile *p = b->tape.profile;
    const int64_t n = b->model.params.grad_total;
    mm1_status st = mm1_objective_gradients(b->objective, &b->tape, batch, b->optimizer.step + 1, err);
    if (st != MM1_OK) {
        return st;
    }
    const double norm = mm1_optimizer_grad_norm(&b->model.params);
    (void)mm1_profile_lap(p, "gradient norm", MM1_PASS_FORWARD, n);
    if (!isfinite(norm)) {
        return mm1_error_set(err, MM1_E_NUMERIC,
                             "the gradients of the benchmark's step are not finite; lower "
                             "train.lr_peak");
    }
    mm1_optimizer_step(&b->optimizer, &b->model.params, c, mm1_recipe_lr_peak(&b->recipe, &b->model), norm);
    (void)mm1_profile_lap(p, "adamw", MM1_PASS_FORWARD, 7 * n);
    return MM1_OK;
}

/* Adds one step to the sums of *out; seconds: of the step, waiting included. */
static mm1_status one_step(bench *b, mm1_bench_step *out, double *seconds, double *waited, mm1_error *err)
{
    const mm1_batch *batch = &b->made;
    const double start = mm1_time_now();
    mm1_status st = MM1_OK;
    *waited = 0;
    if (b->options.part == MM1_BENCH_VISION) {
        const double I = (double)b->made.max_tiles, grid = (double)mm1_vision_grid(&b->vit.config);
        mm1_profile_start(b->tape.profile);
        st = run_vision(b, err);
        *seconds = mm1_time_now() - start;
        out->positions += I * grid * grid;
        out->images += I;
        out->flops += 3 * I * mm1_flops_image(&b->recipe.model).vision;
        return st;
    }
    if (b->loader != NULL) {
        st = mm1_loader_next(b->loader, &batch, NULL, waited, err);
    }
    mm1_profile_start(b->tape.profile);
    st = st != MM1_OK ? st : run_model(b, batch, err);
    *seconds = mm1_time_now() - start;
    if (st == MM1_OK) {
        out->positions += (double)batch->n_tokens;
        out->images += (double)batch->n_images;
        out->flops += b->objective->report.flops;
        if (out->loss == 0) {
            out->loss = b->objective->report.loss;
        }
        if (b->loader != NULL) {
            mm1_loader_release(b->loader);
        }
    }
    return st;
}

static int64_t resident_peak(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}

static mm1_status measure(bench *b, mm1_bench_step *out, mm1_error *err)
{
    const int64_t n = b->options.steps;
    mm1_bench_step warm = {0};
    double total = 0, waited = 0;
    mm1_status st = one_step(b, &warm, &b->seconds[0], &waited, err);
    out->loss = warm.loss;
    mm1_profile_clear(b->tape.profile);
    double waits = 0;
    b->probes[n] = mm1_fma_probe(mm1_threads());
    for (int64_t i = 0; st == MM1_OK && i < n; i++) {
        st = one_step(b, out, &b->seconds[i], &waited, err);
        total += b->seconds[i];
        waits += waited;
        b->probes[i] = mm1_fma_probe(mm1_threads());
    }
    if (st != MM1_OK) {
        return st;
    }
    out->peak_bytes = resident_peak();
    out->profile = *b->tape.profile;
    out->steps = n;
    out->threads = mm1_threads();
    out->positions /= (double)n;
    out->images /= (double)n;
    out->flops /= (double)n;
    out->fma_median = mm1_median(b->probes, n + 1);
    out->fma_peak = b->probes[n]; /* sorted */
    out->step_seconds = mm1_median(b->seconds, n);
    out->wait_share = waits / total;
    out->tokens_per_second = out->positions / out->step_seconds;
    out->images_per_second = out->images / out->step_seconds;
    out->mfu = out->flops / out->step_seconds / out->fma_peak;
    out->gemm_rate = out->profile.gemm_seconds > 0 ? out->profile.gemm_flops / out->profile.gemm_seconds : 0;
    out->profile_seconds = total - waits;
    out->non_gemm_share = 1 - mm1_profile_product_seconds(&out->profile) / out->profile_seconds;
    out->gemm_probe = mm1_gemm_probe();
    return mm1_bandwidth_probe(&out->bandwidth, err);
}

mm1_status mm1_step_bench_create(const mm1_recipe *recipe, const mm1_bench_step_options *options, mm1_step_bench **out,
                                 mm1_error *err)
{
    *out = NULL;
    bench *b = mm1_calloc(1, sizeof *b);
    if (b == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the benchmark");
    }
    b->recipe = *recipe;
    b->options = *options;
    mm1_profile_clear(&b->profile);
    mm1_threads_set((int)recipe->train.threads);
    mm1_status st = mm1_kernels_init(NULL, err);
    if (st == MM1_OK) {
        st = options->part == MM1_BENCH_VISION ? prepare_vision(b, &b->result, err) : prepare_model(b, &b->result, err);
    }
    st = st != MM1_OK ? st : mm1_tape_init(&b->tape, &b->arena, err);
    if (st != MM1_OK) {
        mm1_step_bench_destroy(b);
        return st;
    }
    b->tape.recording = true;
    b->tape.activations = (mm1_activations)recipe->train.activations;
    b->tape.profile = &b->profile;
    *out = b;
    return MM1_OK;
}

void mm1_step_bench_destroy(mm1_step_bench *b)
{
    if (b != NULL) {
        finish(b);
        mm1_free(b);
    }
}

mm1_status mm1_step_bench_time(mm1_step_bench *b, mm1_step_time *out, mm1_error *err)
{
    mm1_bench_step one = {0};
    double waited;
    *out = (mm1_step_time){0};
    const mm1_status st = one_step(b, &one, &out->seconds, &waited, err);
    out->flops = one.flops;
    out->positions = one.positions;
    out->arena_bytes = b->arena.peak;
    return st;
}

mm1_status mm1_bench_step_run(const mm1_recipe *recipe, const mm1_bench_step_options *options, mm1_bench_step *out,
                              mm1_error *err)
{
    mm1_step_bench *b = NULL;
    *out = (mm1_bench_step){0};
    if (options->steps < 1 || options->steps > MM1_BENCH_MAX_STEPS) {
        return mm1_error_set(err, MM1_E_ARG, "cannot time %lld steps; 1 to %d are possible", (long long)options->steps,
                             MM1_BENCH_MAX_STEPS);
    }
    mm1_status st = mm1_step_bench_create(recipe, options, &b, err);
    if (st == MM1_OK) {
        st = measure(b, &b->result, err);
        *out = b->result;
    }
    mm1_step_bench_destroy(b);
    return st;
}

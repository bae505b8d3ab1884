/* encoder_fixture.h - a small recipe that trains an image encoder on made data: captions, two of them equal, and an idx
 * file of pictures without text. */
#ifndef MM1_TESTS_ENCODER_FIXTURE_H
#define MM1_TESTS_ENCODER_FIXTURE_H

#include "support/check.h"

#include "../data/data_fixture.h"
#include "train/recipe_loader.h"
#include "train/trainer.h"

enum { IDX_N = 20, IDX_W = 6, IDX_H = 5 };

typedef struct encoder_run {
    fixture f;
    mm1_recipe recipe;
    char *tokenizer;
} encoder_run;

static inline void encoder_set(encoder_run *r, const char *assignment)
{
    mm1_error err = {0};
    check_ok(mm1_fields_set(mm1__recipe_fields, &r->recipe, assignment, &err), &err);
}

/* key = <folder of the fixture>/name */
static inline void encoder_set_path(encoder_run *r, const char *key, const char *name)
{
    char assignment[512];
    (void)snprintf(assignment, sizeof assignment, "%s=%s/%s", key, r->f.dir, name);
    encoder_set(r, assignment);
}

static inline void encoder_captions(const fixture *f, int n)
{
    mm1_tar_writer *w = fixture_tar(f, "captions.tar");
    for (int i = 0; i < n; i++) {
        char member[64], text[256];
        size_t len = 0;
        uint8_t *png = fixture_png(9 * i, 3 + i % 5, 4, &len);
        (void)snprintf(member, sizeof member, "%06d.png", i);
        fixture_append(w, member, png, len);
        mm1_free(png);
        (void)snprintf(member, sizeof member, "%06d.txt", i);
        (void)snprintf(text, sizeof text, "%d cat%.*s\n", i / 2, i / 2 % 30, " and the red mat on which it sat");
        fixture_append(w, member, text, strlen(text));
    }
    fixture_finish(w);
}

static inline void encoder_idx(const fixture *f)
{
    uint8_t bytes[16 + IDX_N * IDX_W * IDX_H] = {0, 0, 8, 3, 0, 0, 0, IDX_N, 0, 0, 0, IDX_H, 0, 0, 0, IDX_W};
    for (int i = 0; i < IDX_N * IDX_W * IDX_H; i++) {
        bytes[16 + i] = (uint8_t)(i / (IDX_W * IDX_H) * 12 + 7 * (i % (IDX_W * IDX_H)));
    }
    fixture_write(f, "images-idx3-ubyte", bytes, sizeof bytes);
}

static inline void encoder_run_init(encoder_run *r)
{
    mm1_error err = {0};
    static const char *const assignments[] = {
        "model.kind=clip",
        "model.vision={image_size: 8, patch_size: 2, width: 16, n_layers: 2, n_heads: 2, mlp_width: 32}",
        "model.text={width: 12, n_layers: 1, n_heads: 3, mlp_width: 24, max_positions: 24}",
        "model.joint={dim: 10, view_width: 14}",
        "data.sources=[{name: captions, kind: captions, crop_min: 0.8}, {name: idx, kind: images, crop_min: 0.5, flip: "
        "true, jitter: 0.4}]",
        "data.seq_len=32",
        "data.batch=9",
        "data.prefetch=1",
        "train.objective=contrastive",
        "train.n_steps=40",
        "train.lr_peak=0.01",
        "train.lr_warmup_steps=4",
        "train.checkpoint_every=1000",
        "train.micro_batch=4",
        "train.patch_keep=0.5",
        "train.threads=2",
    };
    fixture_init(&r->f);
    encoder_captions(&r->f, 24);
    encoder_idx(&r->f);
    r->tokenizer = fixture_path(&r->f, "tokenizer.json");
    check_ok(mm1_tokenizer_save(r->f.tokenizer, r->tokenizer, &err), &err);
    check_ok(mm1_fields_defaults(mm1__recipe_fields, &r->recipe, &err), &err);
    for (size_t i = 0; i < sizeof assignments / sizeof *assignments; i++) {
        encoder_set(r, assignments[i]);
    }
    encoder_set_path(r, "data.sources.captions.path", "captions.tar");
    encoder_set_path(r, "data.sources.idx.path", "images-idx3-ubyte");
    encoder_set_path(r, "tokenizer", "tokenizer.json");
}

static inline void encoder_run_deinit(encoder_run *r)
{
    mm1_free(r->tokenizer);
    mm1_recipe_deinit(&r->recipe);
    fixture_deinit(&r->f);
}

typedef struct encoder_watch {
    double loss[65];
    int64_t stop_at;
    volatile sig_atomic_t stop;
} encoder_watch;

static inline void encoder_on_step(void *ctx, const mm1_train_progress *p)
{
    encoder_watch *w = ctx;
    w->loss[p->step] = p->loss;
    w->stop = p->step == w->stop_at;
}

static inline mm1_status encoder_train(encoder_run *r, const char *dir, encoder_watch *w, mm1_error *err)
{
    char *path = fixture_path(&r->f, dir);
    mm1_train_result result;
    const mm1_train_options o = {.run_dir = path, .stop = &w->stop, .on_step = encoder_on_step, .ctx = w};
    const mm1_status st = mm1_train(&r->recipe, &o, &result, err);
    mm1_free(path);
    return st;
}

static inline void encoder_same_weights(const encoder_run *r, const char *a, const char *b)
{
    char path[2][512], *bytes[2] = {NULL, NULL};
    size_t n[2];
    mm1_error err = {0};
    (void)snprintf(path[0], sizeof path[0], "%s/%s/checkpoints/latest/model.safetensors", r->f.dir, a);
    (void)snprintf(path[1], sizeof path[1], "%s/%s/checkpoints/latest/model.safetensors", r->f.dir, b);
    for (int i = 0; i < 2; i++) {
        check_ok(mm1_file_read(path[i], 1 << 24, &bytes[i], &n[i], &err), &err);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    mm1_free(bytes[0]);
    mm1_free(bytes[1]);
}

/* What one step of the recipe works on: model, tape, objective and the first batch. */
typedef struct encoder_step {
    mm1_recipe recipe; /* shallow, resolved */
    mm1_model model;
    mm1_arena arena;
    mm1_tape tape;
    mm1_loader *loader;
    const mm1_batch *batch;
    mm1_objective *objective;
} encoder_step;

static inline void encoder_step_init(encoder_step *s, const encoder_run *r)
{
    mm1_error err = {0};
    size_t bytes = 0;
    memset(s, 0, sizeof *s);
    s->recipe = r->recipe;
    check_ok(mm1_kernels_init(NULL, &err), &err);
    check_ok(mm1_recipe_model_config(&r->recipe, r->f.tokenizer, &s->recipe.model, &err), &err);
    check_ok(mm1_model_init(&s->model, &s->recipe.model, &err), &err);
    check_ok(mm1_train_plan_arena(&s->model, &s->recipe, &bytes, &err), &err);
    check_ok(mm1_params_alloc(&s->model.params, true, &err), &err);
    mm1_params_init(&s->model.params, 3);
    check_ok(mm1_arena_init(&s->arena, bytes + bytes / 2, &err), &err);
    check_ok(mm1_tape_init(&s->tape, &s->arena, &err), &err);
    s->tape.recording = true;
    check_ok(mm1_objective_create(&s->recipe, &s->model, &s->objective, &err), &err);
    check_ok(mm1_recipe_loader_create(&s->recipe, &s->recipe.model, r->f.tokenizer, NULL, &s->loader, &err), &err);
    check_ok(mm1_loader_next(s->loader, &s->batch, NULL, NULL, &err), &err);
}

static inline double encoder_step_run(encoder_step *s)
{
    mm1_error err = {0};
    check_ok(mm1_objective_gradients(s->objective, &s->tape, s->batch, 1, &err), &err);
    return s->objective->report.loss;
}

static inline void encoder_step_deinit(encoder_step *s)
{
    mm1_objective_destroy(s->objective);
    mm1_loader_destroy(s->loader);
    mm1_tape_deinit(&s->tape);
    mm1_arena_deinit(&s->arena);
    mm1_model_deinit(&s->model);
}

/* The gradient along its own direction, by differences of the loss, of every parameter whose gradient is not small. */
static inline void encoder_step_check_gradients(encoder_step *s)
{
    mm1_params *p = &s->model.params;
    int64_t n_checked = 0;
    (void)encoder_step_run(s);
    float *grad = mm1_alloc((size_t)p->grad_total, sizeof *grad);
    memcpy(grad, p->grad, (size_t)p->grad_total * sizeof *grad);
    for (int64_t i = 0; i < p->n_items; i++) {
        const mm1_param *item = p->items[i];
        const float *g = grad + item->grad_offset;
        float *x = item->tensor.data;
        double norm = 0, loss[2];
        for (int64_t k = 0; k < item->n; k++) {
            norm += (double)g[k] * g[k];
        }
        norm = sqrt(norm);
        if (norm < 1e-2) {
            continue;
        }
        float *kept = mm1_alloc((size_t)item->n, sizeof *kept);
        memcpy(kept, x, (size_t)item->n * sizeof *x);
        const double eps = 4e-3;
        for (int side = 0; side < 2; side++) {
            for (int64_t k = 0; k < item->n; k++) {
                x[k] = kept[k] + (float)((side == 0 ? -eps : eps) * g[k] / norm);
            }
            loss[side] = encoder_step_run(s);
        }
        memcpy(x, kept, (size_t)item->n * sizeof *x);
        mm1_free(kept);
        const double got = (loss[1] - loss[0]) / (2 * eps);
        if (fabs(got - norm) > 0.02 * norm + 2e-4) {
            print_error("%s: the loss changes by %g along its gradient, which is %g\n", item->name, got, norm);
            fail();
        }
        n_checked++;
    }
    mm1_free(grad);
    assert_true(n_checked > 20);
}

/* Gradients and loss are the same however the batch of 9 rows is cut; returns its pictures. */
static inline int64_t encoder_check_micro_batches(encoder_run *r)
{
    static const int64_t micros[] = {9, 4, 1};
    float *whole = NULL;
    double loss = 0;
    int64_t n_images = 0;
    for (size_t i = 0; i < sizeof micros / sizeof *micros; i++) {
        encoder_step s;
        r->recipe.train.micro_batch = micros[i];
        encoder_step_init(&s, r);
        const double got = encoder_step_run(&s);
        const int64_t n = s.model.params.grad_total;
        assert_true(i == 0 || s.batch->I == n_images);
        n_images = s.batch->I;
        if (i == 0) {
            loss = got;
            whole = mm1_alloc((size_t)n, sizeof *whole);
            memcpy(whole, s.model.params.grad, (size_t)n * sizeof *whole);
        } else {
            assert_true(fabs(got - loss) < 1e-5);
            check_close(s.model.params.grad, whole, n, 2e-6, 1e-3);
        }
        encoder_step_deinit(&s);
    }
    mm1_free(whole);
    return n_images;
}

/* The loss falls by a fifth in 40 steps; a run that stops and goes on, and one with another number of threads, end in
 * the same bits. */
static inline void encoder_check_runs(encoder_run *r)
{
    mm1_error err = {0};
    encoder_watch once = {0}, stopped = {.stop_at = 17}, resumed = {0}, one_thread = {0};
    check_ok(encoder_train(r, "once", &once, &err), &err);
    double first = 0, last = 0;
    for (int i = 1; i <= 5; i++) {
        first += once.loss[i] / 5;
        last += once.loss[40 + 1 - i] / 5;
    }
    if (!(last < 0.8 * first)) {
        print_error("the loss went from %g to %g\n", first, last);
        fail();
    }
    assert_int_equal(encoder_train(r, "stopped", &stopped, &err), MM1_E_CANCELLED);
    check_ok(encoder_train(r, "stopped", &resumed, &err), &err);
    assert_true(resumed.loss[17] == 0 && resumed.loss[18] == once.loss[18]);
    encoder_same_weights(r, "once", "stopped");
    r->recipe.train.threads = 1;
    check_ok(encoder_train(r, "one", &one_thread, &err), &err);
    encoder_same_weights(r, "once", "one");
}

#endif

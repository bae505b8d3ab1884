/* The training loop on small made data: it learns, allocates nothing, repeats itself to the bit, survives a stop, and
 * names what is not finite. */
#include "support/check.h"

#include "../data/data_fixture.h"
#include "train/trainer.h"

typedef struct run {
    fixture f;
    mm1_recipe recipe;
    char *tokenizer;
} run;

static void run_init(run *r)
{
    mm1_error err = {0};
    char glob[512];
    fixture_init(&r->f);
    fixture_captions(&r->f, "captions-0000.tar", 0, 24, 0);
    fixture_texts(&r->f, "text-0000.jsonl", 10);
    r->tokenizer = fixture_path(&r->f, "tokenizer.json");
    check_ok(mm1_tokenizer_save(r->f.tokenizer, r->tokenizer, &err), &err);
    check_ok(mm1_fields_defaults(mm1__recipe_fields, &r->recipe, &err), &err);
    const char *const assignments[] = {
        "model.vision={image_size: 8, patch_size: 4, width: 16, n_layers: 1, n_heads: 2, mlp_width: 32}",
        "model.connector={kind: c_abstractor, n_tokens: 4, hidden: 16, depth: 1}",
        "model.decoder={width: 32, n_layers: 2, n_heads: 4, mlp_width: 48, max_positions: 64}",
        "data.sources=[{name: captions, kind: captions, weight: 0.7}, {name: text, kind: text, weight: 0.3}]",
        "data.seq_len=64",
        "data.batch=4",
        "data.max_images=4",
        "train.n_steps=40",
        "train.lr_peak=0.01",
        "train.lr_warmup_steps=4",
        "train.checkpoint_every=1000",
        "train.micro_batch=2",
        "train.threads=2",
    };
    for (size_t i = 0; i < sizeof assignments / sizeof *assignments; i++) {
        check_ok(mm1_fields_set(mm1__recipe_fields, &r->recipe, assignments[i], &err), &err);
    }
    (void)snprintf(glob, sizeof glob, "data.sources.captions.path=%s/captions-*.tar", r->f.dir);
    check_ok(mm1_fields_set(mm1__recipe_fields, &r->recipe, glob, &err), &err);
    (void)snprintf(glob, sizeof glob, "data.sources.text.path=%s/text-*.jsonl", r->f.dir);
    check_ok(mm1_fields_set(mm1__recipe_fields, &r->recipe, glob, &err), &err);
    (void)snprintf(glob, sizeof glob, "tokenizer=%s", r->tokenizer);
    check_ok(mm1_fields_set(mm1__recipe_fields, &r->recipe, glob, &err), &err);
}

static void run_deinit(run *r)
{
    mm1_free(r->tokenizer);
    mm1_recipe_deinit(&r->recipe);
    fixture_deinit(&r->f);
}

enum { MAX_STEPS = 64 };

typedef struct watch {
    double loss[MAX_STEPS + 1];
    uint64_t allocs[MAX_STEPS + 1];
    int64_t stop_at;
    volatile sig_atomic_t stop;
} watch;

static void on_step(void *ctx, const mm1_train_progress *p)
{
    watch *w = ctx;
    w->loss[p->step] = p->loss;
    w->allocs[p->step] = mm1_alloc_count_thread();
    w->stop = p->step == w->stop_at;
}

static mm1_status train(run *r, const char *dir, watch *w, mm1_error *err)
{
    char *path = fixture_path(&r->f, dir);
    mm1_train_result result;
    const mm1_train_options o = {.run_dir = path, .stop = &w->stop, .on_step = on_step, .ctx = w};
    const mm1_status st = mm1_train(&r->recipe, &o, &result, err);
    mm1_free(path);
    return st;
}

static char *weights_of(const run *r, const char *dir, size_t *len)
{
    char path[512], *bytes = NULL;
    mm1_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s/checkpoints/latest/model.safetensors", r->f.dir, dir);
    check_ok(mm1_file_read(path, 1 << 24, &bytes, len, &err), &err);
    return bytes;
}

static void assert_same_weights(const run *r, const char *a, const char *b)
{
    size_t na, nb;
    char *x = weights_of(r, a, &na), *y = weights_of(r, b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    mm1_free(x);
    mm1_free(y);
}

static void a_run_learns_and_allocates_nothing_inside_a_step(void **state)
{
    (void)state;
    run r;
    watch w = {0};
    mm1_error err = {0};
    run_init(&r);
    check_ok(train(&r, "a", &w, &err), &err);
    assert_true(w.loss[1] > 5);
    assert_true(w.loss[40] < 0.7 * w.loss[1]);
    /* The last step also saves. */
    for (int step = 2; step < 40; step++) {
        if (w.allocs[step] != w.allocs[1]) {
            print_error("step %d made %llu allocations\n", step,
                        (unsigned long long)(w.allocs[step] - w.allocs[step - 1]));
            fail();
        }
    }
    run_deinit(&r);
}

static void stopping_and_resuming_gives_the_same_bits(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    run_init(&r);
    r.recipe.train.n_steps = 12;
    watch once = {0}, again = {0};
    check_ok(train(&r, "once", &once, &err), &err);
    check_ok(train(&r, "repeated", &again, &err), &err);
    assert_same_weights(&r, "once", "repeated");

    watch stopped = {.stop_at = 5};
    assert_int_equal(train(&r, "stopped", &stopped, &err), MM1_E_CANCELLED);
    check_contains(err.message, "--resume auto");
    watch resumed = {0};
    check_ok(train(&r, "stopped", &resumed, &err), &err);
    assert_true(resumed.loss[5] == 0 && resumed.loss[6] == once.loss[6]);
    assert_same_weights(&r, "once", "stopped");
    run_deinit(&r);
}

static void activations_computed_again_give_the_same_bits_and_rounded_ones_nearly_the_same_loss(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    run_init(&r);
    r.recipe.train.n_steps = 12;
    watch keep = {0}, again = {0}, rounded = {0};
    check_ok(train(&r, "keep", &keep, &err), &err);
    r.recipe.train.activations = MM1_ACTIVATIONS_RECOMPUTE;
    check_ok(train(&r, "again", &again, &err), &err);
    assert_same_weights(&r, "keep", "again");
    r.recipe.train.activations = MM1_ACTIVATIONS_BF16;
    check_ok(train(&r, "rounded", &rounded, &err), &err);
    assert_true(rounded.loss[1] == keep.loss[1]);
    assert_true(rounded.loss[12] != keep.loss[12] && fabs(rounded.loss[12] - keep.loss[12]) < 0.01);
    for (int step = 2; step < 12; step++) {
        assert_int_equal(again.allocs[step], again.allocs[1]);
        assert_int_equal(rounded.allocs[step], rounded.allocs[1]);
    }
    run_deinit(&r);
}

static void moments_in_bf16_are_resumed_to_the_same_bits_and_not_mixed_up(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    run_init(&r);
    r.recipe.train.n_steps = 12;
    watch full = {0}, once = {0}, stopped = {.stop_at = 5}, resumed = {0};
    check_ok(train(&r, "full", &full, &err), &err);
    r.recipe.train.moments = MM1_MOMENTS_BF16;
    check_ok(train(&r, "once", &once, &err), &err);
    assert_true(once.loss[12] != full.loss[12] && fabs(once.loss[12] - full.loss[12]) < 0.02);
    assert_int_equal(train(&r, "stopped", &stopped, &err), MM1_E_CANCELLED);
    check_ok(train(&r, "stopped", &resumed, &err), &err);
    assert_true(resumed.loss[6] == once.loss[6]);
    assert_same_weights(&r, "once", "stopped");

    r.recipe.train.n_steps = 14;
    r.recipe.train.moments = MM1_MOMENTS_F32;
    assert_int_equal(train(&r, "once", &full, &err), MM1_E_CONFIG);
    check_contains(err.message, "go on with train.moments bf16");
    r.recipe.train.moments = MM1_MOMENTS_BF16;
    assert_int_equal(train(&r, "full", &full, &err), MM1_E_CONFIG);
    check_contains(err.message, "go on with train.moments f32");
    run_deinit(&r);
}

static void micro_batches_do_not_change_what_is_learned(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    run_init(&r);
    r.recipe.train.n_steps = 3;
    watch two = {0}, one = {0}, all = {0};
    check_ok(train(&r, "two", &two, &err), &err);
    r.recipe.train.micro_batch = 1;
    check_ok(train(&r, "one", &one, &err), &err);
    r.recipe.train.micro_batch = 100;
    check_ok(train(&r, "all", &all, &err), &err);
    for (int step = 1; step <= 3; step++) {
        assert_true(fabs(one.loss[step] - two.loss[step]) < 1e-4);
        assert_true(fabs(all.loss[step] - two.loss[step]) < 1e-4);
    }
    run_deinit(&r);
}

static void a_frozen_part_keeps_its_bits(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    mm1_model before = {0}, after = {0};
    run_init(&r);
    r.recipe.train.lr_vision = 0;
    r.recipe.train.n_steps = 3;
    watch w = {0};
    check_ok(train(&r, "frozen", &w, &err), &err);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/frozen/checkpoints/latest", r.f.dir);
    check_ok(mm1_model_load(&after, path, false, &err), &err);
    check_ok(mm1_model_init(&before, &after.config, &err), &err);
    check_ok(mm1_params_alloc(&before.params, false, &err), &err);
    mm1_params_init(&before.params, (uint64_t)r.recipe.train.seed);
    for (int64_t i = 0; i < before.params.n_items; i++) {
        const mm1_param *p = before.params.items[i], *q = after.params.items[i];
        const bool same = memcmp(p->tensor.data, q->tensor.data, (size_t)p->n * sizeof(float)) == 0;
        assert_int_equal(same, p->group == MM1_GROUP_VISION);
    }
    /* Nor are there moments of it; it gets some once it is trained. */
    mm1_safetensors *moments = NULL;
    (void)snprintf(path, sizeof path, "%s/frozen/checkpoints/latest/optimizer.safetensors", r.f.dir);
    check_ok(mm1_safetensors_open(&moments, path, &err), &err);
    assert_null(mm1_safetensors_find(moments, "m.vision.pos"));
    assert_non_null(mm1_safetensors_find(moments, "v.decoder.embed.weight"));
    mm1_safetensors_close(moments);
    r.recipe.train.lr_vision = 1;
    r.recipe.train.n_steps = 5;
    check_ok(train(&r, "frozen", &w, &err), &err);
    check_ok(mm1_safetensors_open(&moments, path, &err), &err);
    assert_non_null(mm1_safetensors_find(moments, "m.vision.pos"));
    mm1_safetensors_close(moments);
    mm1_model_deinit(&before);
    mm1_model_deinit(&after);
    run_deinit(&r);
}

static void a_value_that_is_not_finite_stops_the_run_and_is_named(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    mm1_model m = {0};
    run_init(&r);
    r.recipe.train.n_steps = 2;
    watch w = {0};
    check_ok(train(&r, "nan", &w, &err), &err);
    /* Poison one weight of the checkpoint and go on from it. */
    char path[512];
    (void)snprintf(path, sizeof path, "%s/nan/checkpoints/step_00000002", r.f.dir);
    check_ok(mm1_model_load(&m, path, false, &err), &err);
    mm1_params_find(&m.params, "decoder.layers.1.mlp.down.weight")->tensor.data[7] = NAN;
    check_ok(mm1_model_save(&m, path, MM1_DTYPE_F32, &err), &err);
    mm1_model_deinit(&m);
    r.recipe.train.n_steps = 4;
    assert_int_equal(train(&r, "nan", &w, &err), MM1_E_NUMERIC);
    check_contains(err.message, "decoder.layers.1.mlp.down.weight");
    check_contains(err.message, "bad_batch.safetensors");
    (void)snprintf(path, sizeof path, "%s/nan/bad_batch.safetensors", r.f.dir);
    mm1_safetensors *batch = NULL;
    check_ok(mm1_safetensors_open(&batch, path, &err), &err);
    assert_non_null(mm1_safetensors_find(batch, "pixels"));
    mm1_safetensors_close(batch);
    run_deinit(&r);
}

static void a_used_run_folder_is_not_begun_anew_by_accident(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    run_init(&r);
    r.recipe.train.n_steps = 2;
    watch w = {0};
    check_ok(train(&r, "used", &w, &err), &err);
    char *path = fixture_path(&r.f, "used");
    mm1_train_result result;
    const mm1_train_options o = {.run_dir = path, .resume = MM1_RESUME_NEVER};
    assert_int_equal(mm1_train(&r.recipe, &o, &result, &err), MM1_E_STATE);
    check_contains(err.message, "--resume auto");
    mm1_free(path);
    run_deinit(&r);
}

static void a_clock_settles_the_number_of_steps_and_writes_it_down(void **state)
{
    (void)state;
    run r;
    mm1_error err = {0};
    run_init(&r);
    r.recipe.train.n_steps = 1000000;
    r.recipe.train.max_minutes = 1; /* a step takes more than 60 microseconds */
    watch *w = mm1_calloc(1, sizeof *w);
    w->stop_at = 16;
    assert_int_equal(train(&r, "clock", w, &err), MM1_E_CANCELLED);
    char path[512], *text = NULL;
    (void)snprintf(path, sizeof path, "%s/clock/recipe.resolved.yaml", r.f.dir);
    check_ok(mm1_file_read(path, 1 << 20, &text, NULL, &err), &err);
    check_contains(text, "max_minutes: 0");
    assert_null(strstr(text, "n_steps: 1000000"));
    /* Going on with the same recipe keeps what was settled. */
    w->stop_at = 18;
    assert_int_equal(train(&r, "clock", w, &err), MM1_E_CANCELLED);
    char *again = NULL;
    check_ok(mm1_file_read(path, 1 << 20, &again, NULL, &err), &err);
    assert_string_equal(again, text);
    mm1_free(again);
    mm1_free(text);
    mm1_free(w);
    run_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_learns_and_allocates_nothing_inside_a_step),
        cmocka_unit_test(stopping_and_resuming_gives_the_same_bits),
        cmocka_unit_test(activations_computed_again_give_the_same_bits_and_rounded_ones_nearly_the_same_loss),
        cmocka_unit_test(moments_in_bf16_are_resumed_to_the_same_bits_and_not_mixed_up),
        cmocka_unit_test(micro_batches_do_not_change_what_is_learned),
        cmocka_unit_test(a_frozen_part_keeps_its_bits),
        cmocka_unit_test(a_value_that_is_not_finite_stops_the_run_and_is_named),
        cmocka_unit_test(a_used_run_folder_is_not_begun_anew_by_accident),
        cmocka_unit_test(a_clock_settles_the_number_of_steps_and_writes_it_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_plan.c - the plan's numbers against those of the parts they stand for. */
#include "../train/encoder_fixture.h"

#include "base/file.h"
#include "model/flops.h"
#include "study/plan.h"
#include "train/schedule.h"
#include "train/trainer.h"

static char dir[256];

static int make_dir(void **state)
{
    (void)state;
    check_tmpdir(dir, sizeof dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return mm1_path_remove(dir, NULL) != MM1_OK;
}

/* A recipe without tokenizer and data; deinit by the caller. */
static void load(mm1_recipe *r, const char *const *set, size_t n)
{
    static const char text[] =
        "model:\n"
        "  vision: {image_size: 28, patch_size: 14, width: 32, n_layers: 2, n_heads: 2, mlp_width: 64}\n"
        "  connector: {kind: c_abstractor, n_tokens: 4, hidden: 32, depth: 1}\n"
        "  decoder: {vocab_size: 320, width: 48, n_layers: 2, n_heads: 3, mlp_width: 96, max_positions: 64}\n"
        "data:\n"
        "  seq_len: 64\n"
        "  batch: 6\n"
        "  max_images: 4\n"
        "  prefetch: 3\n"
        "  sources: [{name: captions, kind: captions, path: \"nowhere/*.tar\", weight: 1}]\n"
        "train: {micro_batch: 2, n_steps: 10, lr_peak: law}\n";
    mm1_error err = {0};
    char path[400];
    (void)snprintf(path, sizeof path, "%s/plan.yaml", dir);
    check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
    check_ok(mm1_recipe_load(r, path, set, n, &err), &err);
}

static void parameters_and_learning_rate_are_those_of_the_model(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_recipe r;
    mm1_plan p;
    mm1_model m;
    load(&r, NULL, 0);
    check_ok(mm1_plan_make(&r, &p, &err), &err);
    check_ok(mm1_model_init(&m, &r.model, &err), &err);
    assert_int_equal(p.n_vision, mm1_params_count(&m.params, MM1_GROUP_VISION));
    assert_int_equal(p.n_connector, mm1_params_count(&m.params, MM1_GROUP_CONNECTOR));
    assert_int_equal(p.n_embeddings, 320 * 48);
    assert_int_equal(p.n_vision + p.n_connector + p.n_decoder + p.n_embeddings,
                     mm1_params_count(&m.params, MM1_GROUP_COUNT));
    assert_true(p.lr_by_law);
    assert_true(p.lr_peak == mm1_lr_law((double)p.n_decoder));
    assert_true(p.memory.parameters == 4.0 * (double)m.params.total);
    assert_true(p.memory.gradients == p.memory.parameters && p.memory.moments == 2 * p.memory.parameters);
    assert_false(p.has_data || p.has_tokenizer);
    mm1_model_deinit(&m);
    mm1_recipe_deinit(&r);
}

/* The batch that the plan speaks of: one example a row, its images first. */
static void fill(mm1_batch *b, const mm1_plan *p, int64_t n_visual)
{
    const int64_t images = (int64_t)p->images / b->B;
    b->I = images * b->B;
    for (int64_t i = 0; i < b->B * b->T; i++) {
        const int64_t t = i % b->T;
        b->example[i] = 0;
        b->position[i] = (int32_t)t;
        b->n_tokens++;
        b->n_targets += t >= images * n_visual && t + 1 < b->T;
    }
}

static void operations_are_those_of_a_full_batch(void **state)
{
    (void)state;
    static const char *const frozen[][2] = {
        {"train.lr_vision=1", "train.lr_connector=1"}, /* nothing */
        {"train.lr_vision=0", "train.lr_connector=1"}, {"train.lr_vision=0", "train.lr_connector=0"},
        {"train.lr_vision=0", "train.lr_decoder=0"},   {"train.lr_connector=0", "train.lr_decoder=0"},
    };
    for (size_t i = 0; i < sizeof frozen / sizeof *frozen; i++) {
        mm1_error err = {0};
        mm1_recipe r;
        mm1_plan p;
        mm1_batch b;
        load(&r, frozen[i], 2);
        check_ok(mm1_plan_make(&r, &p, &err), &err);
        assert_true(p.images == 6 * 4 && p.tokens == 6 * 64);
        mm1_model_config c = r.model;
        check_ok(mm1_model_config_resolve(&c, &err), &err);
        check_ok(mm1_batch_init(&b, 6, 64, 24, 28, &err), &err);
        mm1_batch_clear(&b);
        fill(&b, &p, 4);
        const mm1_trained_parts parts = {
            .vision = r.train.lr_vision > 0, .connector = r.train.lr_connector > 0, .decoder = r.train.lr_decoder > 0};
        const double want = mm1_flops_step(&c, &b, parts);
        assert_true(fabs(p.step_flops - want) < 1e-9 * want);
        assert_true(fabs(mm1_plan_seconds(&p, 1e9) - 10 * want / 1e9) < 1e-9);
        mm1_batch_deinit(&b);
        mm1_recipe_deinit(&r);
    }
}

static void smaller_passes_frozen_parts_and_fewer_bits_take_less(void **state)
{
    (void)state;
    static const char *const sets[][1] = {{"train.micro_batch=2"},
                                          {"train.micro_batch=1"},
                                          {"train.lr_vision=0"},
                                          {"data.sources.captions.kind=text"},
                                          {"data.prefetch=1"},
                                          {"train.activations=bf16"},
                                          {"train.activations=recompute"},
                                          {"train.moments=bf16"}};
    enum { N = sizeof sets / sizeof *sets };
    mm1_plan plans[N];
    for (size_t i = 0; i < N; i++) {
        mm1_error err = {0};
        mm1_recipe r;
        load(&r, sets[i], 1);
        check_ok(mm1_plan_make(&r, &plans[i], &err), &err);
        mm1_recipe_deinit(&r);
    }
    assert_true(plans[1].memory.activations < 0.9 * plans[0].memory.activations);
    assert_true(plans[2].memory.activations < plans[0].memory.activations);
    assert_true(plans[3].memory.activations < plans[0].memory.activations);
    assert_true(plans[3].images == 0 && plans[3].forward.vision == 0);
    assert_true(plans[4].memory.batches < 0.6 * plans[0].memory.batches);
    const double trained = 4.0 * (double)(plans[2].n_connector + plans[2].n_decoder + plans[2].n_embeddings);
    assert_true(plans[2].memory.gradients >= trained && plans[2].memory.gradients < 1.02 * trained);
    assert_true(plans[2].memory.moments == 2 * plans[2].memory.gradients);
    assert_true(plans[5].memory.activations < plans[0].memory.activations && plans[5].recomputed == 0);
    assert_true(plans[6].memory.activations < plans[5].memory.activations);
    assert_true(plans[7].memory.moments == 0.5 * plans[0].memory.moments);
    /* One of the two blocks of each part is run again; what trains counts as before. */
    assert_true(plans[6].step_flops == plans[0].step_flops && plans[0].recomputed == 0);
    const double blocks = plans[0].forward.vision + plans[0].forward.decoder + plans[0].forward.attention;
    assert_true(plans[6].recomputed > 0.4 * blocks && plans[6].recomputed < 0.5 * blocks);
    assert_true(mm1_plan_seconds(&plans[6], 1) > mm1_plan_seconds(&plans[0], 1));
}

static void kept_pictures_take_what_the_recipe_allows_them(void **state)
{
    (void)state;
    static const char *const set[] = {"data.cache_mb=7"};
    mm1_plan without, with;
    mm1_error err = {0};
    mm1_recipe r;
    load(&r, NULL, 0);
    check_ok(mm1_plan_make(&r, &without, &err), &err);
    mm1_recipe_deinit(&r);
    load(&r, set, 1);
    check_ok(mm1_plan_make(&r, &with, &err), &err);
    mm1_recipe_deinit(&r);
    assert_true(without.memory.pixels == 0);
    assert_true(with.memory.pixels == 7 << 20); /* the data are not there: the most it can be */
    /* `program` is what this process happens to hold. */
    const double added = with.memory.needed - with.memory.program - (without.memory.needed - without.memory.program);
    assert_true(fabs(added - (7 << 20)) < 1);
}

static void a_frozen_encoder_takes_the_activations_of_one_block(void **state)
{
    (void)state;
    static const char *const sets[][2] = {{"train.lr_vision=0", "model.vision.n_layers=1"},
                                          {"train.lr_vision=0", "model.vision.n_layers=9"},
                                          {"train.lr_vision=1", "model.vision.n_layers=9"}};
    mm1_plan plans[3];
    for (size_t i = 0; i < 3; i++) {
        mm1_error err = {0};
        mm1_recipe r;
        load(&r, sets[i], 2);
        check_ok(mm1_plan_make(&r, &plans[i], &err), &err);
        mm1_recipe_deinit(&r);
    }
    assert_true(plans[1].memory.activations == plans[0].memory.activations);
    assert_true(plans[2].memory.activations > 1.2 * plans[0].memory.activations);
}

/* Of the first batches of a recipe that trains an encoder: the plan's, and the mean of what the objective reports. */
static void plan_encoder(encoder_run *r, mm1_plan *p, double *flops, double *images)
{
    enum { BATCHES = 8 };
    encoder_step s;
    mm1_error err = {0};
    check_ok(mm1_plan_make(&r->recipe, p, &err), &err);
    encoder_step_init(&s, r);
    *flops = *images = 0;
    for (int i = 0; i < BATCHES; i++) {
        *images += (double)s.batch->I / BATCHES;
        check_ok(mm1_objective_gradients(s.objective, &s.tape, s.batch, i + 1, &err), &err);
        *flops += s.objective->report.flops / BATCHES;
        check_ok(mm1_loader_next(s.loader, &s.batch, NULL, NULL, &err), &err);
    }
    assert_int_equal(p->n_vision, mm1_params_count(&s.model.params, MM1_GROUP_VISION));
    assert_int_equal(p->n_vision + p->n_head, mm1_params_count(&s.model.params, MM1_GROUP_COUNT));
    assert_true(p->memory.activations > 0 && p->memory.objective > 0 && p->has_data && p->has_tokenizer);
    encoder_step_deinit(&s);
}

static void an_encoders_training_is_planned_as_its_objective_counts(void **state)
{
    (void)state;
    encoder_run r;
    mm1_plan p;
    double flops, images;
    encoder_run_init(&r);
    plan_encoder(&r, &p, &flops, &images);
    assert_true(fabs(p.images - images) < 1e-9);
    /* Texts are planned as long as they may be; nothing else is over. */
    assert_true(flops <= p.step_flops && flops > p.step_flops - 0.9 * (p.forward.head + p.backward.head));
    assert_true(p.recomputed == p.forward.vision + p.forward.head); /* several micro-batches */
    encoder_set(&r, "train.micro_batch=9");
    mm1_error err = {0};
    check_ok(mm1_plan_make(&r.recipe, &p, &err), &err);
    assert_true(p.recomputed == 0);

    encoder_set(&r, "model.kind=aim");
    encoder_set(&r, "train.objective=aim");
    encoder_set(&r, "train.patch_keep=1");
    plan_encoder(&r, &p, &flops, &images);
    assert_true(p.images == 9 && images == 9 && p.tokens == 0);
    assert_true(fabs(flops - p.step_flops) < 0.05 * p.step_flops); /* prefixes are drawn */
    encoder_set(&r, "train.lr_vision=0");
    plan_encoder(&r, &p, &flops, &images);
    assert_true(p.backward.vision == 0 && fabs(flops - p.step_flops) < 0.05 * p.step_flops);
    encoder_run_deinit(&r);
}

static void what_cannot_be_trained_is_not_planned(void **state)
{
    (void)state;
    static const struct {
        const char *set, *message;
    } cases[] = {
        {"model.decoder.vocab_size=0", "mm1 tokenizer train"},
        {"model={connector: {n_tokens: 64}}", "no room for an image"},
        {"model.decoder.max_positions=32", "model.decoder.max_positions"},
        {"data.sources.captions.weight=0", "data.sources"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_error err = {0};
        mm1_recipe r;
        mm1_plan p;
        load(&r, NULL, 0);
        check_ok(mm1_fields_set(mm1__recipe_fields, &r, cases[i].set, &err), &err);
        assert_int_equal(mm1_plan_make(&r, &p, &err), MM1_E_CONFIG);
        check_contains(err.message, cases[i].message);
        mm1_recipe_deinit(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_and_learning_rate_are_those_of_the_model),
        cmocka_unit_test(operations_are_those_of_a_full_batch),
        cmocka_unit_test(smaller_passes_frozen_parts_and_fewer_bits_take_less),
        cmocka_unit_test(a_frozen_encoder_takes_the_activations_of_one_block),
        cmocka_unit_test(kept_pictures_take_what_the_recipe_allows_them),
        cmocka_unit_test(an_encoders_training_is_planned_as_its_objective_counts),
        cmocka_unit_test(what_cannot_be_trained_is_not_planned),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

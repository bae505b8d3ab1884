/* A sparse decoder in training: the gradients and the auxiliary losses of a step do not depend on how the batch is cut
 * or on what becomes of activations, and plans hold. */
#include "support/golden.h"
#include "support/plain_images.h"
#include "support/tiny_model.h"

#include "base/thread.h"
#include "model/flops.h"
#include "train/objective.h"
#include "train/trainer.h"

enum { ROWS = 4, T = 32, MAX_IMAGES = 2, V = 50 };

typedef struct fixture {
    mm1_model model;
    mm1_arena arena;
    mm1_tape tape;
    mm1_batch batch;
    mm1_recipe recipe;
    mm1_objective *objective;
} fixture;

/* Dense and sparse blocks in turn.  Five choices a position at width 32: more than segments take for statistics. */
static mm1_model_config tiny_config(void)
{
    mm1_model_config c = tiny_model_config(V, T, 4);
    c.decoder.n_kv_heads = 2;
    c.decoder.moe.n_experts = 7;
    c.decoder.moe.top_k = 5;
    c.decoder.moe.mlp_width = 20;
    c.decoder.moe.balance_coef = 0.5;
    c.decoder.moe.z_coef = 0.1;
    return c;
}

/* Rows of different lengths, one of them empty; the first has two examples and a picture. */
static void fill_batch(fixture *f)
{
    static const struct {
        int row, n_images, n_text;
    } examples[] = {{0, 1, 9}, {0, 0, 6}, {1, 0, 30}, {3, 1, 3}, {3, 0, 20}};
    const int64_t k = mm1_model_n_visual(&f->model);
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(5, MM1_RNG_TEST, 1);
    check_ok(mm1_batch_init(&f->batch, ROWS, T, MAX_IMAGES, f->model.config.vision.image_size, &err), &err);
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        int32_t tokens[T], visual[T], part[T] = {0};
        uint8_t train[T];
        mm1_image_layout images[1];
        mm1_sequence s = {.tokens = tokens, .train = train, .part = part, .n_images = examples[i].n_images};
        const int64_t n_slots = s.n_images * k, n = n_slots + examples[i].n_text;
        for (; s.len < n; s.len++) {
            const bool is_slot = s.len >= 1 && s.len < 1 + n_slots;
            tokens[s.len] = is_slot ? MM1_IMAGE_SLOT : (int32_t)mm1_rng_below(&r, V);
            train[s.len] = !is_slot && s.len > 0;
        }
        plain_images(&s, k, visual, images);
        check_ok(mm1_batch_add(&f->batch, examples[i].row, &s, &f->model.images, 0, "test", &err), &err);
    }
    check_fill(f->batch.pixels, f->batch.I * 3 * f->batch.image_px * f->batch.image_px, -1, 1, 3);
}

static void setup(fixture *f, const mm1_model_config *c)
{
    mm1_error err = {0};
    memset(f, 0, sizeof *f);
    check_ok(mm1_fields_defaults(mm1__recipe_fields, &f->recipe, &err), &err);
    check_ok(mm1_fields_set(mm1__recipe_fields, &f->recipe,
                            "data.sources=[{name: captions, kind: captions, weight: 1}]", &err),
             &err);
    f->recipe.model = *c;
    f->recipe.data.seq_len = T;
    f->recipe.data.batch = f->recipe.train.micro_batch = ROWS;
    f->recipe.data.max_images = 1;
    check_ok(mm1_model_init(&f->model, c, &err), &err);
    check_ok(mm1_params_alloc(&f->model.params, true, &err), &err);
    check_ok(mm1_objective_create(&f->recipe, &f->model, &f->objective, &err), &err);
    mm1_params_init(&f->model.params, 11);
    check_ok(mm1_arena_init(&f->arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&f->tape, &f->arena, &err), &err);
    f->tape.recording = true;
    fill_batch(f);
}

static void teardown(fixture *f)
{
    mm1_objective_destroy(f->objective);
    mm1_recipe_deinit(&f->recipe);
    mm1_batch_deinit(&f->batch);
    mm1_tape_deinit(&f->tape);
    mm1_arena_deinit(&f->arena);
    mm1_model_deinit(&f->model);
}

static void gradients(fixture *f)
{
    mm1_error err = {0};
    check_ok(mm1_objective_gradients(f->objective, &f->tape, &f->batch, 1, &err), &err);
    assert_null(f->tape.routing);
}

static float *copy_grads(const fixture *f)
{
    const size_t bytes = (size_t)f->model.params.grad_total * sizeof(float);
    float *copy = mm1_alloc(bytes, 1);
    assert_non_null(copy);
    memcpy(copy, f->model.params.grad, bytes);
    return copy;
}

static void micro_batches_add_up_with_auxiliary_losses_and_capacity(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        fixture f;
        mm1_model_config c = tiny_config();
        c.decoder.moe.capacity = full ? 4 : 0;
        setup(&f, &c);
        gradients(&f);
        float *whole = copy_grads(&f);
        const mm1_routing_summary said = mm1_routing_summarize(&f.model.decoder.routing);
        assert_true((said.dropped > 0.01) == (full == 1));
        assert_true(said.balance > 1 && said.z > 0.5 && said.load > 1 && said.load < 1.4);
        assert_int_equal(f.model.decoder.routing.layers[1].n_chosen, 5 * f.batch.n_tokens);
        for (int64_t micro = 1; micro <= 3; micro++) {
            f.recipe.train.micro_batch = micro;
            gradients(&f);
            const mm1_routing_summary got = mm1_routing_summarize(&f.model.decoder.routing);
            assert_true(fabs(got.balance - said.balance) < 1e-5 && fabs(got.z - said.z) < 1e-5);
            assert_true(got.load == said.load && got.dropped == said.dropped);
            assert_true(golden_error(f.model.params.grad, whole, f.model.params.grad_total, NULL) < 2e-6);
        }
        mm1_free(whole);
        teardown(&f);
    }
}

/* The auxiliary losses are in the gradients: that of a router without them is another. */
static void auxiliary_losses_reach_the_router(void **state)
{
    (void)state;
    fixture f;
    const mm1_model_config c = tiny_config();
    setup(&f, &c);
    gradients(&f);
    const mm1_param *router = mm1_params_find(&f.model.params, "decoder.layers.3.moe.router.weight");
    assert_non_null(router);
    assert_null(mm1_params_find(&f.model.params, "decoder.layers.2.moe.router.weight"));
    float with[7 * 32];
    memcpy(with, router->tensor.grad, sizeof with);
    /* Each of two layers has half of the coefficients. */
    for (int i = 1; i < 4; i += 2) {
        mm1_moe *m = &f.model.decoder.blocks[i].moe;
        assert_true(m->balance_coef == 0.25 && m->z_coef == 0.05 && m->layer == i / 2);
        m->balance_coef = m->z_coef = 0;
    }
    gradients(&f);
    assert_true(golden_error(router->tensor.grad, with, 7 * 32, NULL) > 0.1);
    teardown(&f);
}

static void activations_recomputed_or_in_bf16_count_once(void **state)
{
    (void)state;
    fixture f;
    mm1_model_config c = tiny_config();
    c.decoder.moe.capacity = 4;
    setup(&f, &c);
    gradients(&f);
    float *keep = copy_grads(&f);
    const mm1_routing_summary said = mm1_routing_summarize(&f.model.decoder.routing);
    f.tape.activations = MM1_ACTIVATIONS_RECOMPUTE;
    gradients(&f);
    assert_memory_equal(f.model.params.grad, keep, (size_t)f.model.params.grad_total * sizeof *keep);
    mm1_routing_summary got = mm1_routing_summarize(&f.model.decoder.routing);
    assert_memory_equal(&got, &said, sizeof got);
    f.tape.activations = MM1_ACTIVATIONS_BF16;
    gradients(&f);
    got = mm1_routing_summarize(&f.model.decoder.routing);
    assert_memory_equal(&got, &said, sizeof got);
    const double off = golden_error(f.model.params.grad, keep, f.model.params.grad_total, NULL);
    print_message("bf16: gradients are %.2g off\n", off);
    assert_true(off > 0 && off < 0.01);
    mm1_free(keep);
    teardown(&f);
}

static void a_frozen_decoder_passes_gradients_on(void **state)
{
    (void)state;
    fixture f;
    const mm1_model_config c = tiny_config();
    setup(&f, &c);
    gradients(&f);
    const mm1_param *proj = NULL;
    for (int64_t i = 0; i < f.model.params.n_items && proj == NULL; i++) {
        proj = f.model.params.items[i]->group == MM1_GROUP_CONNECTOR ? f.model.params.items[i] : NULL;
    }
    assert_non_null(proj);
    float *want = mm1_alloc((size_t)proj->n, sizeof *want);
    memcpy(want, proj->tensor.grad, (size_t)proj->n * sizeof *want);
    f.recipe.train.lr_decoder = 0;
    mm1_train_freeze(&f.model, &f.recipe.train);
    gradients(&f);
    assert_memory_equal(proj->tensor.grad, want, (size_t)proj->n * sizeof *want);
    for (int64_t i = 0; i < f.model.params.n_items; i++) {
        const mm1_param *p = f.model.params.items[i];
        for (int64_t j = 0; j < p->n && p->group == MM1_GROUP_DECODER; j++) {
            assert_true(p->tensor.grad[j] == 0);
        }
    }
    mm1_free(want);
    teardown(&f);
}

/* Sparse blocks are larger than the dense ones before them here, and smaller in the second round. */
static void plans_hold_for_blocks_of_two_sizes(void **state)
{
    (void)state;
    for (int small = 0; small < 2; small++) {
        fixture f;
        mm1_error err = {0};
        mm1_model_config c = tiny_config();
        c.decoder.moe.mlp_width = small ? 2 : 40;
        setup(&f, &c);
        for (int a = 0; a < MM1_ACTIVATIONS_COUNT; a++) {
            size_t bytes = 0;
            f.tape.activations = (mm1_activations)a;
            f.recipe.train.activations = a;
            check_ok(mm1_train_plan_arena(&f.model, &f.recipe, &bytes, &err), &err);
            f.arena.peak = 0;
            gradients(&f);
            print_message("small %d, activations %d: planned %zu, taken %zu\n", small, a, bytes, f.arena.peak);
            assert_true(bytes >= f.arena.peak && (double)bytes < 1.3 * (double)f.arena.peak);
        }
        teardown(&f);
    }
}

/* Two experts of half the width do what one MLP does, and the router. */
static void operations_and_parameters_are_those_of_a_position(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model sparse, dense;
    mm1_model_config c = tiny_config();
    c.decoder.moe.every = 1;
    c.decoder.moe.top_k = 2;
    c.decoder.moe.mlp_width = c.decoder.mlp_width / 2;
    check_ok(mm1_model_init(&sparse, &c, &err), &err);
    c.decoder.moe.n_experts = 0;
    check_ok(mm1_model_init(&dense, &c, &err), &err);
    const double routers = 4 * 32 * 7;
    assert_true(mm1_flops_position(&sparse.config) == mm1_flops_position(&dense.config) + 2 * routers);
    assert_int_equal(mm1_params_count(&sparse.params, MM1_GROUP_COUNT) -
                         mm1_decoder_idle_params(&sparse.decoder.config, 2),
                     mm1_params_count(&dense.params, MM1_GROUP_COUNT) + (int64_t)routers);
    assert_int_equal(mm1_decoder_idle_params(&dense.decoder.config, 1), 0);
    mm1_model_deinit(&sparse);
    mm1_model_deinit(&dense);
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model m;
    mm1_model_config c = tiny_config();
    c.decoder.moe.top_k = 8;
    assert_int_equal(mm1_model_init(&m, &c, &err), MM1_E_CONFIG);
    check_contains(err.message, "moe.top_k: 8 of 7");
    c = tiny_config();
    c.decoder.moe.every = 5;
    assert_int_equal(mm1_model_init(&m, &c, &err), MM1_E_CONFIG);
    check_contains(err.message, "none would be sparse");
    c = tiny_config();
    c.decoder.bias = true;
    assert_int_equal(mm1_model_init(&m, &c, &err), MM1_E_CONFIG);
    check_contains(err.message, "experts have none");
    /* Without experts the rest does not matter. */
    c.decoder.moe.n_experts = 0;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(m.decoder.routing.n_layers, 0);
    mm1_model_deinit(&m);
}

static int group_setup(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_threads_set(2);
    return mm1_kernels_init(NULL, &err) == MM1_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro_batches_add_up_with_auxiliary_losses_and_capacity),
        cmocka_unit_test(auxiliary_losses_reach_the_router),
        cmocka_unit_test(activations_recomputed_or_in_bf16_count_once),
        cmocka_unit_test(a_frozen_decoder_passes_gradients_on),
        cmocka_unit_test(plans_hold_for_blocks_of_two_sizes),
        cmocka_unit_test(operations_and_parameters_are_those_of_a_position),
        cmocka_unit_test(bad_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

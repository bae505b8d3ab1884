/* The image encoder alone: its pooled outputs and switches against finite differences, rules of its configuration. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "nn/vit.h"

enum { IMAGES = 2, SIDE = 13, WIDTH = 12, SEEDS = 4096 };

typedef struct fixture {
    mm1_params params;
    mm1_vit vit;
    mm1_arena arena;
    mm1_tape tape;
    float pixels[IMAGES * 3 * SIDE * SIDE];
    float seed[SEEDS];
} fixture;

static mm1_vision_config config(void)
{
    mm1_vision_config c;
    mm1_error err = {0};
    check_ok(mm1_fields_defaults(mm1__vision_fields, &c, &err), &err);
    c.image_size = 12;
    c.patch_size = 4;
    c.width = WIDTH;
    c.n_layers = 2;
    c.n_heads = 3;
    c.mlp_width = 10;
    return c;
}

static void setup(fixture *f, const mm1_vision_config *c)
{
    mm1_error err = {0};
    *f = (fixture){0};
    check_ok(mm1_vit_init(&f->vit, c, &f->params, &err), &err);
    check_ok(mm1_params_alloc(&f->params, true, &err), &err);
    /* No norm, bias or scale at its special point. */
    for (int64_t i = 0; i < f->params.n_items; i++) {
        const mm1_param *p = f->params.items[i];
        const double middle = p->init == MM1_INIT_ONES ? 1 : 0;
        check_fill(p->tensor.data, p->n, middle - 0.4, middle + 0.4, (uint64_t)i);
    }
    check_ok(mm1_arena_init(&f->arena, (size_t)16 << 20, &err), &err);
    check_ok(mm1_tape_init(&f->tape, &f->arena, &err), &err);
    check_fill(f->pixels, IMAGES * 3 * SIDE * SIDE, -1, 1, 77);
    check_fill(f->seed, SEEDS, -1, 1, 78);
}

static void teardown(fixture *f)
{
    mm1_tape_deinit(&f->tape);
    mm1_arena_deinit(&f->arena);
    mm1_vit_deinit(&f->vit);
    mm1_params_deinit(&f->params);
}

/* A weighted sum of y, whose gradient is set. */
static double weighted(fixture *f, mm1_tensor *y, const float *seed)
{
    const int64_t n = mm1_tensor_size(y);
    double sum = 0;
    bool acc;
    assert_true(n <= SEEDS / 2);
    for (int64_t i = 0; i < n; i++) {
        sum += (double)y->data[i] * seed[i];
    }
    if (y->needs_grad && f->tape.recording) {
        float *d = mm1__tape_grad(&f->tape, y, &acc);
        assert_non_null(d);
        for (int64_t i = 0; i < n; i++) {
            d[i] = (acc ? d[i] : 0) + seed[i];
        }
    }
    return sum;
}

/* Features and pooled output together. */
static double loss_of(fixture *f, bool backward)
{
    mm1_error err = {0};
    mm1_tensor *pooled;
    mm1_tape_reset(&f->tape, 0);
    f->tape.recording = backward;
    mm1_tensor *y = mm1_vit_forward_pooled(&f->vit, &f->tape, f->pixels, IMAGES, &pooled);
    check_ok(mm1_tape_status(&f->tape, &err), &err);
    assert_non_null(y);
    assert_int_equal(mm1_tensor_rows(y), IMAGES * mm1_vision_grid(&f->vit.config) * mm1_vision_grid(&f->vit.config));
    double sum = weighted(f, y, f->seed);
    if (mm1_vision_pooled_width(&f->vit.config) > 0) {
        assert_non_null(pooled);
        assert_int_equal(mm1_tensor_rows(pooled), IMAGES);
        assert_int_equal(mm1_tensor_cols(pooled), mm1_vision_pooled_width(&f->vit.config));
        sum += weighted(f, pooled, f->seed + SEEDS / 2);
    } else {
        assert_null(pooled);
    }
    if (backward) {
        mm1_params_zero_grad(&f->params);
        mm1_tape_backward(&f->tape);
        check_ok(mm1_tape_status(&f->tape, &err), &err);
    }
    return sum;
}

/* For each parameter: the slope along its own gradient is the gradient's norm. */
static void check_gradients(const mm1_vision_config *c, const char *what)
{
    fixture f;
    float saved[WIDTH * 64];
    setup(&f, c);
    (void)loss_of(&f, true);
    for (int64_t i = 0; i < f.params.n_items; i++) {
        mm1_param *p = f.params.items[i];
        double norm_sq = 0, side[2];
        for (int64_t j = 0; j < p->n; j++) {
            norm_sq += (double)p->tensor.grad[j] * p->tensor.grad[j];
        }
        const double norm = sqrt(norm_sq), eps = fmin(0.02 / norm, 0.02);
        assert_true(p->n <= (int64_t)(sizeof saved / sizeof *saved));
        memcpy(saved, p->tensor.data, (size_t)p->n * sizeof *saved);
        for (int s = 0; s < 2; s++) {
            for (int64_t j = 0; j < p->n; j++) {
                p->tensor.data[j] = (float)(saved[j] + (s == 0 ? eps : -eps) * p->tensor.grad[j] / norm);
            }
            side[s] = loss_of(&f, false);
        }
        memcpy(p->tensor.data, saved, (size_t)p->n * sizeof *saved);
        const double slope = (side[0] - side[1]) / (2 * eps);
        if (!(norm > 1e-3 && fabs(slope - norm) < 0.01 * norm + 2e-3)) {
            print_error("%s: %s: slope %g, gradient %g\n", what, p->name, slope, norm);
            fail();
        }
    }
    teardown(&f);
}

static void gradients_of_every_kind_of_pooling(void **state)
{
    (void)state;
    static const char *const names[MM1_VISION_POOL_COUNT] = {"none", "class", "mean", "attention"};
    for (int kind = 0; kind < MM1_VISION_POOL_COUNT; kind++) {
        for (int projected = 0; projected < (kind == MM1_VISION_POOL_NONE ? 1 : 2); projected++) {
            for (int gated = 0; gated < 2; gated++) {
                mm1_vision_config c = config();
                c.pool = kind;
                c.class_token = kind == MM1_VISION_POOL_CLASS || gated;
                c.projection = projected ? 7 : 0;
                c.gated = gated;
                check_gradients(&c, names[kind]);
            }
        }
    }
}

static void gradients_with_every_switch(void **state)
{
    (void)state;
    mm1_vision_config c = config();
    c.pre_norm = c.class_token = c.layer_scale = c.cut_edge = true;
    c.image_size = SIDE; /* a row and a column of pixels are left */
    check_gradients(&c, "all switches");
    c.patch_bias = false;
    c.n_layers = 3;
    c.feature_layer = -2;
    check_gradients(&c, "second to last block");
}

/* What is not used is not there: neither later blocks, nor the norm. */
static void features_of_an_earlier_block_are_those_of_a_shorter_encoder(void **state)
{
    (void)state;
    fixture whole, cut;
    mm1_error err = {0};
    mm1_vision_config c = config();
    setup(&whole, &c);
    c.feature_layer = -2;
    setup(&cut, &c);
    assert_null(mm1_params_find(&cut.params, "vision.layers.1.norm1.weight"));
    assert_null(mm1_params_find(&cut.params, "vision.norm.weight"));
    for (int64_t i = 0; i < cut.params.n_items; i++) {
        const mm1_param *from = mm1_params_find(&whole.params, cut.params.items[i]->name);
        assert_non_null(from);
        memcpy(cut.params.items[i]->tensor.data, from->tensor.data, (size_t)from->n * sizeof(float));
    }
    /* The last norm of the whole one shows its input if it stands after no further block: give it blocks that add 0. */
    static const char *const silent[] = {"attn.out.weight", "attn.out.bias", "mlp.down.weight", "mlp.down.bias"};
    for (int i = 0; i < 4; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "vision.layers.1.%s", silent[i]);
        mm1_param *p = mm1_params_find(&whole.params, name);
        memset(p->tensor.data, 0, (size_t)p->n * sizeof(float));
    }
    const mm1_tensor *y = mm1_vit_forward(&whole.vit, &whole.tape, whole.pixels, IMAGES);
    mm1_tensor *x = mm1_vit_forward(&cut.vit, &cut.tape, cut.pixels, IMAGES);
    x = mm1_op_norm(&cut.tape, x, MM1_NORM_LAYER, whole.vit.norm_w, whole.vit.norm_b, (float)c.norm_eps);
    check_ok(mm1_tape_status(&whole.tape, &err), &err);
    check_ok(mm1_tape_status(&cut.tape, &err), &err);
    check_close(x->data, y->data, mm1_tensor_size(y), 1e-6, 1e-6);
    teardown(&whole);
    teardown(&cut);
}

/* All patches by name are all patches, in any order; a patch that is not named changes nothing. */
static void some_patches_are_read_with_their_own_positions(void **state)
{
    (void)state;
    enum { P = 9, K = 4 };
    static const int32_t all[IMAGES * P] = {8, 3, 5, 0, 1, 7, 2, 4, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    static const int32_t some[IMAGES * K] = {7, 0, 3, 4, 1, 2, 8, 5};
    for (int kind = 1; kind < MM1_VISION_POOL_COUNT; kind++) {
        fixture f;
        mm1_error err = {0};
        mm1_tensor *pooled, *named, *again;
        mm1_vision_config c = config();
        c.pool = kind;
        c.class_token = kind != MM1_VISION_POOL_MEAN;
        c.pre_norm = true;
        setup(&f, &c);
        const mm1_tensor *y = mm1_vit_forward_pooled(&f.vit, &f.tape, f.pixels, IMAGES, &pooled);
        const mm1_tensor *x = mm1_vit_forward_some(&f.vit, &f.tape, f.pixels, IMAGES, all, P, &named);
        check_ok(mm1_tape_status(&f.tape, &err), &err);
        for (int64_t i = 0; i < (int64_t)IMAGES * P; i++) {
            check_close(x->data + i * WIDTH, y->data + (i / P * P + all[i]) * WIDTH, WIDTH, 1e-5, 1e-5);
        }
        check_close(named->data, pooled->data, mm1_tensor_size(pooled), 1e-5, 1e-5);
        (void)mm1_vit_forward_some(&f.vit, &f.tape, f.pixels, IMAGES, some, K, &named);
        /* Of the second picture patch 0 is not named. */
        f.pixels[3 * 12 * 12] += 1;
        x = mm1_vit_forward_some(&f.vit, &f.tape, f.pixels, IMAGES, some, K, &again);
        check_ok(mm1_tape_status(&f.tape, &err), &err);
        assert_int_equal(mm1_tensor_rows(x), IMAGES * K);
        assert_memory_equal(named->data, again->data, (size_t)mm1_tensor_size(named) * sizeof(float));
        f.pixels[3 * 12 * 12 + 5] += 1; /* in patch 1 */
        (void)mm1_vit_forward_some(&f.vit, &f.tape, f.pixels, IMAGES, some, K, &again);
        assert_memory_not_equal(named->data, again->data, (size_t)mm1_tensor_size(named) * sizeof(float));
        teardown(&f);
    }
}

static void no_pictures_are_a_size_like_any_other(void **state)
{
    (void)state;
    for (int kind = 0; kind < MM1_VISION_POOL_COUNT; kind++) {
        fixture f;
        mm1_error err = {0};
        mm1_tensor *pooled;
        mm1_vision_config c = config();
        c.pool = kind;
        c.class_token = c.pre_norm = c.layer_scale = true;
        setup(&f, &c);
        f.tape.recording = true;
        mm1_tensor *y = mm1_vit_forward_pooled(&f.vit, &f.tape, f.pixels, 0, &pooled);
        check_ok(mm1_tape_status(&f.tape, &err), &err);
        assert_int_equal(mm1_tensor_rows(y), 0);
        assert_true(pooled == NULL || mm1_tensor_rows(pooled) == 0);
        mm1_tape_backward(&f.tape);
        check_ok(mm1_tape_status(&f.tape, &err), &err);
        teardown(&f);
    }
}

static void a_configuration_that_makes_no_sense_is_refused_by_its_key(void **state)
{
    (void)state;
    static const struct {
        const char *assignment[2], *says;
    } bad[] = {
        {{"image_size=13"}, "image_size: 13"},
        {{"image_size=3", "cut_edge=true"}, "image_size: 3"},
        {{"n_heads=5"}, "n_heads: 5"},
        {{"feature_layer=-4"}, "feature_layer: -4"},
        {{"feature_layer=-2", "pool=mean"}, "pool: mean"},
        {{"pool=class"}, "class_token"},
        {{"projection=8"}, "projection: 8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mm1_vision_config c = config();
        mm1_error err = {0};
        mm1_params params = {0};
        mm1_vit vit;
        for (int j = 0; j < 2 && bad[i].assignment[j] != NULL; j++) {
            check_ok(mm1_fields_set(mm1__vision_fields, &c, bad[i].assignment[j], &err), &err);
        }
        assert_int_equal(mm1_vit_init(&vit, &c, &params, &err), MM1_E_CONFIG);
        check_contains(err.message, bad[i].says);
        check_contains(err.message, "model.vision.");
        assert_int_equal(params.n_items, 0);
    }
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
        cmocka_unit_test(gradients_of_every_kind_of_pooling),
        cmocka_unit_test(gradients_with_every_switch),
        cmocka_unit_test(features_of_an_earlier_block_are_those_of_a_shorter_encoder),
        cmocka_unit_test(some_patches_are_read_with_their_own_positions),
        cmocka_unit_test(no_pictures_are_a_size_like_any_other),
        cmocka_unit_test(a_configuration_that_makes_no_sense_is_refused_by_its_key),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

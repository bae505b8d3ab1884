/* Gradients of whole models, every part and every configuration switch, against finite differences. */
#include "support/check.h"
#include "support/plain_images.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "model/lora.h"

enum { ROWS = 2, T = 48, MAX_TILES = 16 };

typedef struct fixture {
    mm1_model model;
    mm1_arena arena;
    mm1_tape tape;
    mm1_batch batch;
    float nll[ROWS * T];
} fixture;

static mm1_model_config tiny_config(void)
{
    mm1_model_config c;
    mm1_error err = {0};
    check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
    c.vision.image_size = 12;
    c.vision.patch_size = 3;
    c.vision.width = 24;
    c.vision.n_layers = 2;
    c.vision.n_heads = 3;
    c.vision.mlp_width = 40;
    c.connector.n_tokens = 9; /* 4 x 4 patches to 3 x 3: overlapping bins */
    c.connector.hidden = 20;
    c.connector.depth = 1;
    c.decoder.vocab_size = 50;
    c.decoder.width = 32;
    c.decoder.n_layers = 2;
    c.decoder.n_heads = 4;
    c.decoder.n_kv_heads = 2;
    c.decoder.mlp_width = 48;
    c.decoder.max_positions = 64;
    return c;
}

/* Rows of random examples: [end] [image] text, text with an image at the end, text alone; some padding. */
static void fill_batch(fixture *f)
{
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(5, MM1_RNG_TEST, 1);
    check_ok(mm1_batch_init(&f->batch, ROWS, T, MAX_TILES, f->model.config.vision.image_size, &err), &err);
    mm1_batch_clear(&f->batch);
    for (int64_t row = 0; row < ROWS; row++) {
        for (int e = 0; e < 2; e++) {
            int32_t tokens[T], visual[T], part[T];
            uint8_t train[T];
            mm1_image_layout image;
            mm1_sequence s = {.tokens = tokens, .visual = visual, .train = train, .part = part, .images = &image};
            check_ok(mm1_image_layout_make(&f->model.images, 20, 10, &image, &err), &err);
            const int n_text = 4 + (int)mm1_rng_below(&r, 4), with_image = row == 0 || e == 1;
            const int image_at = with_image ? (e == 0 ? 1 : n_text - 1) : -1;
            for (int i = 0; i < n_text; i++) {
                if (i == image_at) {
                    mm1_image_layout_write(&f->model.images, &image, 0, tokens + s.len, visual + s.len);
                    memset(train + s.len, 0, (size_t)image.n_positions);
                    s.len += image.n_positions;
                    s.n_images = 1;
                }
                visual[s.len] = MM1_VISUAL_NONE;
                tokens[s.len] = (int32_t)mm1_rng_below(&r, 50);
                train[s.len++] = i > 0;
            }
            memset(part, 0, sizeof part);
            check_ok(mm1_batch_add(&f->batch, row, &s, &f->model.images, 0, "test", &err), &err);
        }
    }
    check_fill(f->batch.pixels, f->batch.I * 3 * f->batch.image_px * f->batch.image_px, -1, 1, 3);
}

/* Adapters of this rank beside every linear layer; then they alone have gradients. */
static int64_t lora_rank;

static void setup(fixture *f, const mm1_model_config *c)
{
    mm1_error err = {0};
    char *everywhere[] = {(char *)(uintptr_t) "*"};
    const mm1_lora_config lora = {.rank = lora_rank, .alpha = 2, .targets = everywhere, .n_targets = 1};
    memset(f, 0, sizeof *f);
    check_ok(mm1_model_init(&f->model, c, &err), &err);
    check_ok(mm1_lora_add(&f->model, &lora, &err), &err);
    check_ok(mm1_params_alloc(&f->model.params, true, &err), &err);
    mm1_params_init(&f->model.params, 11);
    /* Away from the special points 0 and 1 of norms and biases. */
    for (int64_t i = 0; i < f->model.params.n_items; i++) {
        mm1_param *p = f->model.params.items[i];
        if (p->init != MM1_INIT_NORMAL) {
            mm1_rng r = mm1_rng_make(9, MM1_RNG_TEST, (uint64_t)i);
            for (int64_t j = 0; j < p->n; j++) {
                p->tensor.data[j] += (float)(0.2 * mm1_rng_normal(&r));
            }
        }
    }
    check_ok(mm1_arena_init(&f->arena, (size_t)256 << 20, &err), &err);
    check_ok(mm1_tape_init(&f->tape, &f->arena, &err), &err);
    fill_batch(f);
}

static void teardown(fixture *f)
{
    mm1_batch_deinit(&f->batch);
    mm1_tape_deinit(&f->tape);
    mm1_arena_deinit(&f->arena);
    mm1_model_deinit(&f->model);
}

static double loss_of(fixture *f, bool backward)
{
    mm1_error err = {0};
    if (backward) {
        mm1_params_zero_grad(&f->model.params); /* the head's gradient is formed by the loss itself */
    }
    mm1_tape_reset(&f->tape, 0);
    f->tape.recording = backward;
    mm1_tensor *h = mm1_model_hidden(&f->model, &f->tape, &f->batch);
    assert_true(mm1_op_xent(&f->tape, h, f->model.decoder.head, f->batch.target, f->nll, 1.0f, 0.0f));
    if (backward) {
        mm1_tape_backward(&f->tape);
    }
    check_ok(mm1_tape_status(&f->tape, &err), &err);
    double sum = 0;
    for (int i = 0; i < ROWS * T; i++) {
        sum += f->nll[i];
    }
    return sum;
}

/* Slope of the loss when p moves by +-eps along its gradient. */
static double slope(fixture *f, mm1_param *p, const float *saved, double norm, double eps)
{
    double side[2];
    for (int s = 0; s < 2; s++) {
        for (int64_t j = 0; j < p->n; j++) {
            p->tensor.data[j] = (float)(saved[j] + (s == 0 ? eps : -eps) * p->tensor.grad[j] / norm);
        }
        side[s] = loss_of(f, false);
    }
    return (side[0] - side[1]) / (2 * eps);
}

/* For each parameter: the directional derivative along its own gradient equals its squared norm. */
static void check_model(const mm1_model_config *c, const char *what)
{
    fixture f;
    setup(&f, c);
    (void)loss_of(&f, true);
    for (int64_t i = 0; i < f.model.params.n_items; i++) {
        mm1_param *p = f.model.params.items[i];
        double norm_sq = 0;
        assert_int_equal(p->tensor.needs_grad, lora_rank == 0 || i >= f.model.lora.n_own);
        if (!p->tensor.needs_grad) {
            assert_null(p->tensor.grad);
            continue;
        }
        for (int64_t j = 0; j < p->n; j++) {
            norm_sq += (double)p->tensor.grad[j] * p->tensor.grad[j];
        }
        const double norm = sqrt(norm_sq);
        if (norm < 1e-4) {
            print_error("%s: %s: gradient vanishes (%g)\n", what, p->name, norm);
            fail();
        }
        float *saved = mm1_alloc((size_t)p->n, sizeof *saved);
        memcpy(saved, p->tensor.data, (size_t)p->n * sizeof *saved);
        /* A step that moves the loss by about 0.02, but the parameter by 0.05 at most; the cubic term is extrapolated
         * away. */
        const double eps = fmin(0.02 / norm, 0.05);
        const double numeric = (4 * slope(&f, p, saved, norm, eps / 2) - slope(&f, p, saved, norm, eps)) / 3;
        memcpy(p->tensor.data, saved, (size_t)p->n * sizeof *saved);
        mm1_free(saved);
        if (fabs(numeric - norm) > 0.01 * norm + 2e-3) {
            print_error("%s: %s: slope %g, gradient %g\n", what, p->name, numeric, norm);
            fail();
        }
    }
    teardown(&f);
}

static void gradients_with_every_connector(void **state)
{
    (void)state;
    static const char *const names[] = {"avgpool", "attnpool", "c_abstractor", "mlp", "pixel_shuffle"};
    for (int kind = 0; kind < MM1_CONNECTOR_COUNT; kind++) {
        mm1_model_config c = tiny_config();
        c.connector.kind = kind;
        c.vision.patch_size = kind == MM1_CONNECTOR_MLP ? 4 : 3; /* 3 x 3 patches; 4 x 4 in blocks of 2 x 2 */
        c.connector.n_tokens = kind == MM1_CONNECTOR_PIXEL_SHUFFLE ? 4 : 9;
        check_model(&c, names[kind]);
    }
}

static void gradients_of_pictures_in_several_tiles(void **state)
{
    (void)state;
    mm1_model_config c = tiny_config();
    c.connector.kind = MM1_CONNECTOR_AVGPOOL;
    c.connector.n_tokens = 4;
    c.image.mode = MM1_IMAGE_ANYRES;
    (void)snprintf(c.image.grids, sizeof c.image.grids, "1x2");
    check_model(&c, "anyres");
    c.connector.n_tokens = 1;
    c.image.mode = MM1_IMAGE_SUBIMAGES;
    check_model(&c, "subimages");
}

static void gradients_with_layer_norm_biases_learned_positions_untied_head(void **state)
{
    (void)state;
    mm1_model_config c = tiny_config();
    c.decoder.norm = MM1_NORM_LAYER;
    c.decoder.act = MM1_ACT_GELU_TANH;
    c.decoder.gated = false;
    c.decoder.bias = true;
    c.decoder.tie_embeddings = false;
    c.decoder.positions = MM1_POSITIONS_LEARNED;
    c.decoder.n_kv_heads = 1;
    check_model(&c, "GPT-2 like");
}

static void gradients_of_adapters_beside_every_linear_layer(void **state)
{
    (void)state;
    lora_rank = 3;
    for (int kind = 0; kind < MM1_CONNECTOR_COUNT; kind++) {
        mm1_model_config c = tiny_config();
        c.connector.kind = kind;
        c.vision.patch_size = kind == MM1_CONNECTOR_MLP ? 4 : 3;
        c.connector.n_tokens = kind == MM1_CONNECTOR_PIXEL_SHUFFLE ? 4 : 9;
        c.decoder.gated = kind % 2 == 0;
        c.decoder.bias = kind % 2 == 1;
        check_model(&c, "adapters");
    }
    lora_rank = 0;
}

/* All experts take all positions: a choice that a step changes would be a jump. */
static void gradients_of_a_sparse_decoder(void **state)
{
    (void)state;
    mm1_model_config c = tiny_config();
    c.decoder.moe.n_experts = c.decoder.moe.top_k = 3;
    check_model(&c, "sparse");
}

static void gradients_with_normalised_queries_and_a_sliding_window(void **state)
{
    (void)state;
    for (int kind = MM1_QK_NORM_HEAD; kind < MM1_QK_NORM_COUNT; kind++) {
        mm1_model_config c = tiny_config();
        c.connector.kind = MM1_CONNECTOR_AVGPOOL; /* the other parts are looked at above */
        c.vision.n_layers = 0;
        c.decoder.qk_norm = kind;
        c.decoder.qkv_bias = true;
        c.decoder.sliding_window = 5;
        check_model(&c, kind == MM1_QK_NORM_HEAD ? "each head" : "all heads");
    }
}

/* Each value is off by 2^-9 of itself at most; errors of a sum of many average out. */
static void gradients_of_activations_in_bf16_or_computed_again(void **state)
{
    (void)state;
    fixture f;
    mm1_model_config c = tiny_config();
    c.vision.n_layers = 3;
    setup(&f, &c);
    const size_t bytes = (size_t)f.model.params.total * sizeof(float);
    float *keep = mm1_alloc(bytes, 1);
    const double loss = loss_of(&f, true);
    memcpy(keep, f.model.params.grad, bytes);
    f.tape.activations = MM1_ACTIVATIONS_RECOMPUTE;
    assert_true(loss_of(&f, true) == loss);
    assert_memory_equal(f.model.params.grad, keep, bytes);
    f.tape.activations = MM1_ACTIVATIONS_BF16;
    assert_true(loss_of(&f, true) == loss);
    double worst = 0;
    for (int64_t i = 0; i < f.model.params.n_items; i++) {
        const mm1_param *p = f.model.params.items[i];
        double sum = 0, off = 0;
        for (int64_t j = 0; j < p->n; j++) {
            const double want = keep[p->offset + j], e = p->tensor.grad[j] - want;
            sum += want * want;
            off += e * e;
        }
        worst = fmax(worst, sqrt(off / sum));
    }
    print_message("bf16: the worst gradient is %.2g off\n", worst);
    assert_true(worst > 0 && worst < 0.01);
    mm1_free(keep);
    teardown(&f);
}

static void frozen_parts_take_no_gradient_and_the_others_keep_theirs(void **state)
{
    (void)state;
    fixture f;
    mm1_model_config c = tiny_config();
    setup(&f, &c);
    (void)loss_of(&f, true);
    float *before = mm1_alloc((size_t)f.model.params.total, sizeof *before);
    memcpy(before, f.model.params.grad, (size_t)f.model.params.total * sizeof *before);
    mm1_params_set_trainable(&f.model.params, MM1_GROUP_VISION, false);
    (void)loss_of(&f, true);
    for (int64_t i = 0; i < f.model.params.n_items; i++) {
        const mm1_param *p = f.model.params.items[i];
        for (int64_t j = 0; j < p->n; j++) {
            assert_true(p->tensor.grad[j] == (p->group == MM1_GROUP_VISION ? 0.0f : before[p->offset + j]));
        }
    }
    mm1_free(before);
    teardown(&f);
}

static void changing_one_packed_example_never_changes_another(void **state)
{
    (void)state;
    fixture f;
    mm1_model_config c = tiny_config();
    setup(&f, &c);
    (void)loss_of(&f, false);
    float before[ROWS * T];
    memcpy(before, f.nll, sizeof before);
    /* Another picture and other tokens in the first example of row 0; targets of that example change too. */
    for (int64_t i = 0; i < 3 * 12 * 12; i++) {
        f.batch.pixels[i] = -f.batch.pixels[i];
    }
    for (int64_t i = 0; i < T; i++) {
        if (f.batch.example[i] == 0 && f.batch.visual[i] < 0) {
            f.batch.token[i] = (f.batch.token[i] + 7) % 50;
        }
    }
    (void)loss_of(&f, false);
    int changed = 0;
    for (int64_t i = 0; i < ROWS * T; i++) {
        if (i < T && f.batch.example[i] == 0) {
            changed += before[i] != f.nll[i];
        } else {
            assert_true(before[i] == f.nll[i]);
        }
    }
    assert_true(changed > 0);
    teardown(&f);
}

static void a_dry_run_needs_exactly_what_a_real_one_takes(void **state)
{
    (void)state;
    fixture f;
    mm1_model_config c = tiny_config();
    c.vision.n_layers = c.decoder.n_layers = 12; /* so that blocks are most of it */
    setup(&f, &c);
    size_t kept = 0;
    for (int activations = 0; activations < MM1_ACTIVATIONS_COUNT; activations++) {
        f.tape.activations = (mm1_activations)activations;
        f.arena.peak = 0;
        (void)loss_of(&f, true);
        const size_t real = f.arena.peak;
        mm1_arena dry;
        mm1_tape tape;
        mm1_error err = {0};
        check_ok(mm1_arena_init_dry(&dry, &err), &err);
        check_ok(mm1_tape_init(&tape, &dry, &err), &err);
        tape.recording = true;
        tape.activations = (mm1_activations)activations;
        mm1_tensor *h = mm1_model_hidden(&f.model, &tape, &f.batch);
        /* A dry loss counts a target for every position: at least as much as any real batch. */
        assert_true(mm1_op_xent(&tape, h, f.model.decoder.head, NULL, NULL, 1.0f, 0.0f));
        mm1_tape_backward(&tape);
        check_ok(mm1_tape_status(&tape, &err), &err);
        assert_true(dry.peak >= real);
        assert_true((double)dry.peak < 1.2 * (double)real);
        kept = activations == MM1_ACTIVATIONS_KEEP ? real : kept;
        print_message("activations %d: %zu bytes\n", activations, real);
        assert_true(activations != MM1_ACTIVATIONS_BF16 || (double)real < 0.8 * (double)kept);
        assert_true(activations != MM1_ACTIVATIONS_RECOMPUTE || (double)real < 0.6 * (double)kept);
        mm1_tape_deinit(&tape);
        mm1_arena_deinit(&dry);
    }
    teardown(&f);
}

static void an_arena_that_is_too_small_is_an_error_wherever_it_ends(void **state)
{
    (void)state;
    enum { CUTS = 40 };
    fixture f;
    mm1_error err = {0};
    mm1_model_config c = tiny_config();
    setup(&f, &c);
    const size_t cap = f.arena.cap;
    for (int activations = 0; activations < MM1_ACTIVATIONS_COUNT; activations++) {
        f.tape.activations = (mm1_activations)activations;
        f.arena.peak = 0;
        const double loss = loss_of(&f, true);
        for (size_t i = 0, peak = f.arena.peak; i < CUTS; i++) {
            f.arena.cap = peak / CUTS * i;
            mm1_tape_reset(&f.tape, 0);
            mm1_tensor *h = mm1_model_hidden(&f.model, &f.tape, &f.batch);
            if (mm1_op_xent(&f.tape, h, f.model.decoder.head, f.batch.target, f.nll, 1.0f, 0.0f)) {
                mm1_tape_backward(&f.tape);
            }
            assert_int_equal(mm1_tape_status(&f.tape, &err), MM1_E_NOMEM);
            f.arena.cap = cap;
        }
        assert_true(loss_of(&f, true) == loss);
    }
    teardown(&f);
}

static void check_odd_batches(mm1_activations activations)
{
    fixture f;
    mm1_error err = {0};
    mm1_model_config c = tiny_config();
    setup(&f, &c);
    f.tape.activations = activations;
    const int64_t k = mm1_model_n_visual(&f.model);
    int32_t tokens[T] = {1, 2, 3, 4}, visual[T], part[T] = {0};
    uint8_t train[T] = {0, 1, 1, 1};
    mm1_sequence text = {.len = 4, .tokens = tokens, .train = train, .part = part};
    plain_images(&text, k, visual, NULL);
    mm1_batch_clear(&f.batch);
    check_ok(mm1_batch_add(&f.batch, 0, &text, &f.model.images, 0, "text", &err), &err);
    assert_true(loss_of(&f, true) > 0);
    for (int64_t i = 0; i < f.model.params.n_items; i++) {
        const mm1_param *p = f.model.params.items[i];
        for (int64_t j = 0; j < p->n && p->group != MM1_GROUP_DECODER; j++) {
            assert_true(p->tensor.grad[j] == 0.0f);
        }
    }
    /* A picture alone: slots from the first position to the last, nothing to predict. */
    int32_t slots[T];
    uint8_t untrained[T] = {0};
    for (int64_t i = 0; i < k; i++) {
        slots[i] = MM1_IMAGE_SLOT;
    }
    mm1_sequence image = {.len = k, .tokens = slots, .train = untrained, .part = part, .n_images = 1};
    mm1_image_layout layout;
    plain_images(&image, k, visual, &layout);
    mm1_batch_clear(&f.batch);
    check_ok(mm1_batch_add(&f.batch, 0, &image, &f.model.images, 0, "image", &err), &err);
    assert_true(loss_of(&f, true) == 0);
    for (int64_t i = 0; i < f.model.params.total; i++) {
        assert_true(f.model.params.grad[i] == 0.0f);
    }
    /* Nothing at all. */
    mm1_batch_clear(&f.batch);
    assert_true(loss_of(&f, true) == 0);
    teardown(&f);
}

static void batches_without_pictures_and_without_text_are_sizes_like_any_other(void **state)
{
    (void)state;
    for (int activations = 0; activations < MM1_ACTIVATIONS_COUNT; activations++) {
        check_odd_batches((mm1_activations)activations);
    }
}

static void thread_count_does_not_change_a_bit(void **state)
{
    (void)state;
    fixture f;
    mm1_error err = {0};
    mm1_model_config c = tiny_config();
    setup(&f, &c);
    (void)loss_of(&f, true);
    float *before = mm1_alloc((size_t)f.model.params.total, sizeof *before);
    memcpy(before, f.model.params.grad, (size_t)f.model.params.total * sizeof *before);
    mm1_threads_set(1);
    check_ok(mm1_kernels_init(NULL, &err), &err);
    (void)loss_of(&f, true);
    assert_memory_equal(before, f.model.params.grad, (size_t)f.model.params.total * sizeof *before);
    mm1_threads_set(3);
    check_ok(mm1_kernels_init(NULL, &err), &err);
    (void)loss_of(&f, true);
    assert_memory_equal(before, f.model.params.grad, (size_t)f.model.params.total * sizeof *before);
    mm1_free(before);
    teardown(&f);
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
        cmocka_unit_test(gradients_with_every_connector),
        cmocka_unit_test(gradients_of_adapters_beside_every_linear_layer),
        cmocka_unit_test(gradients_of_pictures_in_several_tiles),
        cmocka_unit_test(gradients_with_layer_norm_biases_learned_positions_untied_head),
        cmocka_unit_test(gradients_of_a_sparse_decoder),
        cmocka_unit_test(gradients_with_normalised_queries_and_a_sliding_window),
        cmocka_unit_test(gradients_of_activations_in_bf16_or_computed_again),
        cmocka_unit_test(frozen_parts_take_no_gradient_and_the_others_keep_theirs),
        cmocka_unit_test(changing_one_packed_example_never_changes_another),
        cmocka_unit_test(a_dry_run_needs_exactly_what_a_real_one_takes),
        cmocka_unit_test(an_arena_that_is_too_small_is_an_error_wherever_it_ends),
        cmocka_unit_test(batches_without_pictures_and_without_text_are_sizes_like_any_other),
        cmocka_unit_test(thread_count_does_not_change_a_bit),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

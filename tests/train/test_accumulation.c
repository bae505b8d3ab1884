/* How a batch is cut into micro-batches changes memory and speed, not gradients. */
#include "support/golden.h"
#include "support/plain_images.h"

#include "base/thread.h"
#include "model/model.h"
#include "train/optimizer.h"

enum { ROWS = 4, T = 32, MAX_IMAGES = 4, V = 50 };

typedef struct fixture {
    mm1_model model;
    mm1_arena arena;
    mm1_tape tape;
    mm1_batch batch;
    float nll[ROWS * T];
} fixture;

/* Rows with two images, none, one and one, of different lengths: no two micro-batches are alike. */
static void fill_batch(fixture *f)
{
    static const struct {
        int row, n_before, n_images, n_after;
    } examples[] = {{0, 1, 1, 5}, {0, 3, 1, 9}, {1, 1, 0, 25}, {2, 1, 1, 2}, {3, 6, 1, 1}, {3, 4, 0, 2}, {3, 1, 0, 3}};
    const int64_t k = mm1_model_n_visual(&f->model);
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(5, MM1_RNG_TEST, 1);
    check_ok(mm1_batch_init(&f->batch, ROWS, T, MAX_IMAGES, f->model.config.vision.image_size, &err), &err);
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        int32_t tokens[T], visual[T], part[T] = {0};
        uint8_t train[T];
        mm1_image_layout images[1];
        mm1_sequence s = {.tokens = tokens, .train = train, .part = part, .n_images = examples[i].n_images};
        const int64_t n_slots = s.n_images * k, n = examples[i].n_before + n_slots + examples[i].n_after;
        for (; s.len < n; s.len++) {
            const bool is_slot = s.len >= examples[i].n_before && s.len < examples[i].n_before + n_slots;
            tokens[s.len] = is_slot ? MM1_IMAGE_SLOT : (int32_t)mm1_rng_below(&r, V);
            train[s.len] = !is_slot && s.len > 0;
        }
        plain_images(&s, k, visual, images);
        check_ok(mm1_batch_add(&f->batch, examples[i].row, &s, &f->model.images, 0, "test", &err), &err);
    }
    check_fill(f->batch.pixels, f->batch.I * 3 * f->batch.image_px * f->batch.image_px, -1, 1, 3);
}

static void setup(fixture *f, mm1_connector_kind kind)
{
    mm1_error err = {0};
    mm1_model_config c;
    memset(f, 0, sizeof *f);
    check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
    c.vision.image_size = 12;
    c.vision.patch_size = kind == MM1_CONNECTOR_MLP ? 6 : 3; /* 2 x 2 patches */
    c.vision.width = 24;
    c.vision.n_layers = 2;
    c.vision.n_heads = 3;
    c.vision.mlp_width = 40;
    c.connector.kind = kind;
    c.connector.n_tokens = 4;
    c.connector.hidden = 20;
    c.connector.depth = 1;
    c.decoder.vocab_size = V;
    c.decoder.width = 32;
    c.decoder.n_layers = 2;
    c.decoder.n_heads = 4;
    c.decoder.n_kv_heads = 2;
    c.decoder.mlp_width = 48;
    c.decoder.max_positions = T;
    check_ok(mm1_model_init(&f->model, &c, &err), &err);
    check_ok(mm1_params_alloc(&f->model.params, true, &err), &err);
    mm1_params_init(&f->model.params, 11);
    check_ok(mm1_arena_init(&f->arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&f->tape, &f->arena, &err), &err);
    f->tape.recording = true;
    fill_batch(f);
}

static void teardown(fixture *f)
{
    mm1_batch_deinit(&f->batch);
    mm1_tape_deinit(&f->tape);
    mm1_arena_deinit(&f->arena);
    mm1_model_deinit(&f->model);
}

/* The trainer's loop over micro-batches. */
static void run(fixture *f, int64_t micro)
{
    mm1_error err = {0};
    mm1_batch *b = &f->batch;
    mm1_params_zero_grad(&f->model.params);
    int64_t image = 0;
    for (int64_t row = 0; row < b->B; row += micro) {
        const int64_t n = b->B - row < micro ? b->B - row : micro;
        int64_t n_images = 0;
        for (int64_t i = row; i < row + n; i++) {
            n_images += b->row_images[i];
        }
        mm1_tape_reset(&f->tape, 0);
        mm1_tensor *h = mm1_model_hidden_rows(&f->model, &f->tape, b, row, n, image, n_images);
        assert_true(mm1_op_xent(&f->tape, h, f->model.decoder.head, b->target + row * T, f->nll + row * T,
                                (float)(1.0 / (double)b->n_targets), 1e-4f));
        mm1_tape_backward(&f->tape);
        check_ok(mm1_tape_status(&f->tape, &err), &err);
        image += n_images;
    }
    assert_int_equal(image, b->I);
}

static void micro_batches_add_up_to_the_whole_batch(void **state)
{
    (void)state;
    static const int64_t micros[] = {1, 2, 3, ROWS + 5};
    for (int kind = 0; kind < MM1_CONNECTOR_COUNT; kind++) {
        for (int isa = -1; golden_next_isa(&isa);) {
            fixture f;
            setup(&f, (mm1_connector_kind)kind);
            mm1_params *p = &f.model.params;
            run(&f, ROWS);
            float *whole = mm1_alloc((size_t)p->total, sizeof *whole), nll[ROWS * T];
            assert_non_null(whole);
            memcpy(whole, p->grad, (size_t)p->total * sizeof *whole);
            memcpy(nll, f.nll, sizeof nll);
            const double norm = mm1_optimizer_grad_norm(p);
            assert_true(norm > 1e-3);
            double worst = 0;
            for (size_t m = 0; m < sizeof micros / sizeof *micros; m++) {
                run(&f, micros[m]);
                check_close(f.nll, nll, (int64_t)ROWS * T, 1e-6, 1e-6);
                assert_true(fabs(mm1_optimizer_grad_norm(p) - norm) <= 1e-6 * norm);
                for (int64_t i = 0; i < p->n_items; i++) {
                    const mm1_param *item = p->items[i];
                    const double error = golden_error(item->tensor.grad, whole + item->offset, item->n, NULL);
                    if (!(error < 2e-6)) {
                        print_error("micro_batch %lld: %s is off by %.3g\n", (long long)micros[m], item->name, error);
                        fail();
                    }
                    worst = fmax(worst, error);
                }
                if (micros[m] > ROWS) {
                    assert_memory_equal(p->grad, whole, (size_t)p->total * sizeof *whole);
                }
                assert_true(golden_error(p->grad, whole, p->total, NULL) < 1e-6);
            }
            print_message("%d, %-6s: worst gradient %.2g off\n", kind, mm1_isa_name((mm1_isa)isa), worst);
            mm1_free(whole);
            teardown(&f);
        }
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
        cmocka_unit_test(micro_batches_add_up_to_the_whole_batch),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

/* The linear probe and its neighbours: logistic regression against the conditions of its minimum, made-up idx files
 * that an untrained encoder tells apart or cannot, and files that do not go together. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "eval/encoder_probe.h"
#include "eval/logistic.h"

enum { N = 90, D = 4, K = 3 };

static void make_rows(float *x, uint8_t *label)
{
    check_fill(x, N * D, -1, 1, 5);
    for (int i = 0; i < N; i++) {
        label[i] = (uint8_t)(i % K);
        x[i * D + i % K] += 0.7f; /* classes overlap */
    }
}

/* Of the whole loss by its definition, in f64. */
static double plain_loss(const float *x, const uint8_t *label, const double *w, const double *b, double l2)
{
    double loss = 0;
    for (int i = 0; i < N; i++) {
        double z[K], sum = 0;
        for (int k = 0; k < K; k++) {
            z[k] = b[k];
            for (int d = 0; d < D; d++) {
                z[k] += w[k * D + d] * x[i * D + d];
            }
            sum += exp(z[k]);
        }
        loss += (log(sum) - z[label[i]]) / N;
    }
    for (int i = 0; i < K * D; i++) {
        loss += l2 / 2 * w[i] * w[i];
    }
    return loss;
}

static void logistic_regression_ends_at_the_minimum(void **state)
{
    (void)state;
    static const double penalties[] = {1.0, 1e-2, 0};
    float x[N * D];
    uint8_t label[N];
    mm1_error err = {0};
    check_ok(mm1_kernels_init(NULL, &err), &err);
    make_rows(x, label);
    for (size_t p = 0; p < sizeof penalties / sizeof *penalties; p++) {
        const mm1_labelled data = {.x = x, .label = label, .n = N, .D = D, .n_classes = K};
        mm1_logistic l;
        double w[K * (D + 1)], *b = w + K * D;
        check_ok(mm1_logistic_init(&l, D, K, &err), &err);
        check_ok(mm1_logistic_fit(&l, &data, penalties[p], NULL, &err), &err);
        for (int i = 0; i < K * D; i++) {
            w[i] = l.w[i];
        }
        for (int k = 0; k < K; k++) {
            b[k] = l.b[k];
        }
        const double loss = plain_loss(x, label, w, b, penalties[p]);
        assert_true(fabs(l.loss - loss) < 1e-5);
        assert_true(loss < log(K) && l.n_steps > 0);
        /* The gradient by differences is nothing in any direction, so the point is the minimum: the loss is convex. */
        for (int i = 0; i < K * (D + 1); i++) {
            const double kept = w[i], eps = 1e-4;
            w[i] = kept + eps;
            const double above = plain_loss(x, label, w, b, penalties[p]);
            w[i] = kept - eps;
            const double below = plain_loss(x, label, w, b, penalties[p]);
            w[i] = kept;
            assert_true(fabs(above - below) / (2 * eps) < 2e-4);
        }
        mm1_logistic_deinit(&l);
    }
}

static void a_feature_that_is_not_finite_is_an_error(void **state)
{
    (void)state;
    float x[N * D];
    uint8_t label[N];
    mm1_error err = {0};
    mm1_logistic l;
    make_rows(x, label);
    x[7] = NAN;
    const mm1_labelled data = {.x = x, .label = label, .n = N, .D = D, .n_classes = K};
    check_ok(mm1_logistic_init(&l, D, K, &err), &err);
    assert_int_equal(mm1_logistic_fit(&l, &data, 0.1, NULL, &err), MM1_E_NUMERIC);
    mm1_logistic_deinit(&l);
}

/* ---- whole probes ---- */

enum { SIDE = 6, N_TRAIN = 120, N_TEST = 60 };

typedef struct folder {
    char dir[256];
    mm1_model model;
} folder;

static void write_file(const folder *f, const char *name, const void *bytes, size_t n)
{
    mm1_error err = {0};
    char *path = mm1_path_join(f->dir, name);
    check_ok(mm1_file_write_atomic(path, bytes, n, &err), &err);
    mm1_free(path);
}

/* Noise, over upright stripes for class 0 and level ones for class 1; over nothing where `told` is false. */
static void write_split(const folder *f, const char *prefix, int n, bool told, int n_labels, uint64_t seed)
{
    uint8_t *images = mm1_calloc((size_t)(16 + n * SIDE * SIDE), 1), *labels = mm1_calloc((size_t)(8 + n_labels), 1);
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_TEST, 0);
    char name[64];
    const uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, (uint8_t)n, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    const uint8_t label_head[8] = {0, 0, 8, 1, 0, 0, 0, (uint8_t)n_labels};
    memcpy(images, head, sizeof head);
    memcpy(labels, label_head, sizeof label_head);
    for (int i = 0; i < n; i++) {
        for (int p = 0; p < SIDE * SIDE; p++) {
            const bool bright = told && i % 3 < 2 && (i % 3 == 0 ? p % SIDE : p / SIDE) % 2 == 0;
            images[16 + i * SIDE * SIDE + p] = (uint8_t)((bright ? 150 : 0) + mm1_rng_below(&r, 100));
        }
    }
    for (int i = 0; i < n_labels; i++) {
        labels[8 + i] = (uint8_t)(i % 3);
    }
    (void)snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    write_file(f, name, images, (size_t)(16 + n * SIDE * SIDE));
    (void)snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    write_file(f, name, labels, (size_t)(8 + n_labels));
    mm1_free(labels);
    mm1_free(images);
}

static void folder_init(folder *f, bool told)
{
    mm1_model_config c;
    mm1_error err = {0};
    check_ok(mm1_kernels_init(NULL, &err), &err);
    check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
    c.kind = MM1_MODEL_ENCODER;
    c.vision.image_size = 12;
    c.vision.patch_size = 4;
    c.vision.width = 24;
    c.vision.n_layers = 1;
    c.vision.n_heads = 2;
    c.vision.mlp_width = 32;
    check_tmpdir(f->dir, sizeof f->dir);
    check_ok(mm1_model_init(&f->model, &c, &err), &err);
    check_ok(mm1_params_alloc(&f->model.params, false, &err), &err);
    mm1_params_init(&f->model.params, 1);
    write_split(f, "train", N_TRAIN, told, N_TRAIN, 1);
    write_split(f, "t10k", N_TEST, told, N_TEST, 2);
}

static void folder_deinit(folder *f)
{
    mm1_error err = {0};
    mm1_model_deinit(&f->model);
    check_ok(mm1_path_remove(f->dir, &err), &err);
}

static void classes_that_can_be_seen_are_told_apart(void **state)
{
    (void)state;
    folder f;
    mm1_error err = {0};
    mm1_probe_results r[3];
    folder_init(&f, true);
    mm1_probe_options o = {.dataset = "fashion-mnist", .data_dir = f.dir, .pixels = true};
    for (int i = 0; i < 3; i++) {
        mm1_threads_set(i == 0 ? 2 : 1);
        o.limit = i == 2 ? 48 : 0;
        check_ok(mm1_probe_run(&f.model, &o, &r[i], &err), &err);
        assert_int_equal(r[i].n_train, i == 2 ? 48 : N_TRAIN);
        assert_int_equal(r[i].n_test, i == 2 ? 48 : N_TEST);
        assert_int_equal(r[i].n_classes, 3);
        assert_int_equal(r[i].features.width, 24);
        assert_int_equal(r[i].pixels.width, SIDE * SIDE);
        assert_true(r[i].features.linear.value > 0.9 && r[i].features.neighbours.value > 0.8);
        assert_true(r[i].pixels.linear.value > 0.9 && r[i].pixels.neighbours.value > 0.9);
        assert_true(r[i].features.linear.low <= r[i].features.linear.value);
        assert_true(r[i].features.l2 > 0 && r[i].features.n_steps > 0);
    }
    assert_memory_equal(&r[0], &r[1], sizeof r[0]); /* one thread or two */

    /* More cells are more numbers, and tell what is where; there are no more than patches in a row. */
    o.cells = 3;
    o.pixels = false;
    check_ok(mm1_probe_run(&f.model, &o, &r[2], &err), &err);
    assert_int_equal(r[2].features.width, 9 * 24);
    assert_true(r[2].features.linear.value > 0.9);
    o.cells = 4;
    assert_int_equal(mm1_probe_run(&f.model, &o, &r[2], &err), MM1_E_ARG);
    assert_non_null(strstr(err.message, "3 x 3 patches"));
    folder_deinit(&f);
}

static void noise_is_not(void **state)
{
    (void)state;
    folder f;
    mm1_error err = {0};
    mm1_probe_results r;
    folder_init(&f, false);
    const mm1_probe_options o = {.dataset = "fashion-mnist", .data_dir = f.dir};
    check_ok(mm1_probe_run(&f.model, &o, &r, &err), &err);
    assert_true(r.features.linear.value < 0.6 && r.features.neighbours.value < 0.6);
    assert_int_equal(r.pixels.width, 0);
    folder_deinit(&f);
}

static void what_does_not_go_together_is_named(void **state)
{
    (void)state;
    folder f;
    mm1_error err = {0};
    mm1_probe_results r;
    folder_init(&f, true);
    mm1_probe_options o = {.dataset = "fashion-mnist", .data_dir = "/nowhere"};
    assert_int_equal(mm1_probe_run(&f.model, &o, &r, &err), MM1_E_IO);
    check_contains(err.message, "dataset-fashion-mnist");
    o.data_dir = f.dir;
    o.dataset = "mnist";
    assert_int_equal(mm1_probe_run(&f.model, &o, &r, &err), MM1_E_ARG);
    o.dataset = "fashion-mnist";
    o.limit = 5;
    assert_int_equal(mm1_probe_run(&f.model, &o, &r, &err), MM1_E_ARG);
    check_contains(err.message, "too few");
    o.limit = 0;
    write_split(&f, "t10k", N_TEST, true, N_TEST - 1, 2);
    assert_int_equal(mm1_probe_run(&f.model, &o, &r, &err), MM1_E_FORMAT);
    check_contains(err.message, "59 labels");
    f.model.config.kind = MM1_MODEL_DECODER;
    assert_int_equal(mm1_probe_run(&f.model, &o, &r, &err), MM1_E_STATE);
    folder_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logistic_regression_ends_at_the_minimum),
        cmocka_unit_test(a_feature_that_is_not_finite_is_an_error),
        cmocka_unit_test(classes_that_can_be_seen_are_told_apart),
        cmocka_unit_test(noise_is_not),
        cmocka_unit_test(what_does_not_go_together_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whole models against PyTorch (tools/golden_model.py): visual tokens, hidden states, logits, losses, all gradients. */
#include "support/golden.h"
#include "support/plain_images.h"

#include "base/thread.h"
#include "model/model.h"

static const char *const CASES[] = {"avgpool", "attnpool",    "c_abstractor", "gpt2",
                                    "gqa",     "layer_scale", "pre_norm",     "text_only"};
enum { N_CASES = sizeof CASES / sizeof *CASES };

typedef struct fixture {
    const char *name;
    mm1_safetensors *sf;
    mm1_model model;
    mm1_arena arena;
    mm1_tape tape;
    mm1_batch batch;
    float *nll;
    double z_coef;
} fixture;

static void read_config(const mm1_safetensors *sf, mm1_model_config *c)
{
    mm1_error err = {0};
    char line[160];
    check_ok(mm1_fields_defaults(mm1__model_fields, c, &err), &err);
    const char *text = mm1_safetensors_metadata(sf, "config");
    assert_non_null(text);
    for (size_t len; *text != '\0'; text += len + (text[len] == '\n')) {
        len = strcspn(text, "\n");
        assert_true(len < sizeof line);
        memcpy(line, text, len);
        line[len] = '\0';
        check_ok(mm1_fields_set(mm1__model_fields, c, line, &err), &err);
    }
}

static void read_params(fixture *f)
{
    mm1_error err = {0};
    size_t n = 0;
    for (int64_t i = 0; i < f->model.params.n_items; i++) {
        mm1_param *p = f->model.params.items[i];
        const mm1_safetensors_tensor *x = golden_get(f->sf, "param.", p->name);
        if (x->n_dims != p->tensor.rank ||
            memcmp(x->shape, p->tensor.dims, (size_t)x->n_dims * sizeof *x->shape) != 0) {
            print_error("%s: %s: another shape\n", f->name, p->name);
            fail();
        }
        check_ok(mm1_safetensors_to_f32(x, p->tensor.data, &err), &err);
    }
    for (size_t i = 0; i < mm1_safetensors_n(f->sf); i++) {
        n += strncmp(mm1_safetensors_at(f->sf, i)->name, "param.", 6) == 0;
    }
    assert_int_equal(n, f->model.params.n_items);
}

/* Takes the examples of the golden batch apart and packs them again with our code; the arrays must be the same. */
static void read_batch(fixture *f)
{
    mm1_error err = {0};
    static const char *const names[] = {"token", "visual", "target", "position", "lo", "hi", "example"};
    enum { N = sizeof names / sizeof *names };
    int32_t *a[N];
    for (int i = 0; i < N; i++) {
        a[i] = golden_ints(golden_get(f->sf, "batch.", names[i]));
    }
    const int32_t *token = a[0], *visual = a[1], *target = a[2], *example = a[6];
    const mm1_safetensors_tensor *pixels = golden_get(f->sf, "batch.", "pixels");
    const int64_t *shape = golden_get(f->sf, "batch.", "token")->shape, B = shape[0], T = shape[1];
    const int64_t k = mm1_model_n_visual(&f->model), I = pixels->shape[0];
    mm1_batch *b = &f->batch;
    check_ok(mm1_batch_init(b, B, T, I, f->model.config.vision.image_size, &err), &err);
    assert_int_equal(pixels->shape[3], f->model.config.vision.image_size);
    check_ok(mm1_safetensors_to_f32(pixels, b->pixels, &err), &err);

    for (int64_t row = 0; row < B; row++) {
        for (int64_t begin = row * T, end; begin < (row + 1) * T && example[begin] >= 0; begin = end) {
            int32_t tokens[64], rows[64], part[64] = {0};
            uint8_t train[64];
            mm1_image_layout images[64];
            mm1_sequence s = {.tokens = tokens, .train = train, .part = part};
            int64_t n_slots = 0;
            for (end = begin; end < (row + 1) * T && example[end] == example[begin]; end++) {
                assert_true(s.len < 64);
                tokens[s.len] = visual[end] >= 0 ? MM1_IMAGE_SLOT : token[end];
                train[s.len++] = end > begin && target[end - 1] >= 0;
                n_slots += visual[end] >= 0;
            }
            s.n_images = n_slots / k;
            plain_images(&s, k, rows, images);
            check_ok(mm1_batch_add(b, row, &s, &f->model.images, 0, f->name, &err), &err);
        }
    }
    assert_int_equal(b->I, I);
    const int32_t *const ours[N] = {b->token, b->visual, b->target, b->position, b->lo, b->hi, b->example};
    for (int i = 0; i < N; i++) {
        assert_memory_equal(ours[i], a[i], (size_t)(B * T) * sizeof **a);
        mm1_free(a[i]);
    }
}

static void setup(fixture *f, const char *name)
{
    mm1_error err = {0};
    mm1_model_config c;
    char path[300];
    *f = (fixture){.name = name};
    (void)snprintf(path, sizeof path, "%s/model/golden_%s.safetensors", MM1_TEST_DATA, name);
    f->sf = golden_open(path);
    f->z_coef = strtod(mm1_safetensors_metadata(f->sf, "z_coef"), NULL);
    read_config(f->sf, &c);
    check_ok(mm1_model_init(&f->model, &c, &err), &err);
    check_ok(mm1_params_alloc(&f->model.params, true, &err), &err);
    read_params(f);
    read_batch(f);
    check_ok(mm1_arena_init(&f->arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&f->tape, &f->arena, &err), &err);
    f->nll = mm1_calloc((size_t)(f->batch.B * f->batch.T), sizeof *f->nll);
    assert_non_null(f->nll);
}

static void teardown(fixture *f)
{
    mm1_free(f->nll);
    mm1_batch_deinit(&f->batch);
    mm1_tape_deinit(&f->tape);
    mm1_arena_deinit(&f->arena);
    mm1_model_deinit(&f->model);
    mm1_safetensors_close(f->sf);
}

/* The largest |got - want| / (atol + rtol |want|) so far; 1 is the bound. */
static double worst_forward;

static void check_forward(const fixture *f, const char *what, const float *got, int64_t n)
{
    const double atol = 2e-5, rtol = 1e-4;
    const mm1_safetensors_tensor *x = golden_get(f->sf, "expect.", what);
    float *want = golden_floats(x);
    assert_int_equal(x->n_elements, n);
    check_close(got, want, n, atol, rtol);
    for (int64_t i = 0; i < n; i++) {
        worst_forward = fmax(worst_forward, fabs((double)got[i] - want[i]) / (atol + rtol * fabs((double)want[i])));
    }
    mm1_free(want);
}

static mm1_tensor *forward(fixture *f, bool recording)
{
    mm1_tape_reset(&f->tape, 0);
    f->tape.recording = recording;
    return mm1_model_hidden(&f->model, &f->tape, &f->batch);
}

static void forward_and_backward(fixture *f)
{
    mm1_error err = {0};
    mm1_params_zero_grad(&f->model.params);
    mm1_tensor *h = forward(f, true);
    assert_true(mm1_op_xent(&f->tape, h, f->model.decoder.head, f->batch.target, f->nll,
                            (float)(1.0 / (double)f->batch.n_targets), (float)f->z_coef));
    mm1_tape_backward(&f->tape);
    check_ok(mm1_tape_status(&f->tape, &err), &err);
}

static void check_everything_forward(fixture *f)
{
    mm1_error err = {0};
    const int64_t N = f->batch.B * f->batch.T;
    const mm1_tensor *visual = mm1_model_visual(&f->model, &f->tape, f->batch.pixels, f->batch.I);
    assert_non_null(visual);
    assert_int_equal(mm1_tensor_rows(visual), f->batch.I * mm1_model_n_visual(&f->model));
    if (f->batch.I > 0) {
        check_forward(f, "visual", visual->data, mm1_tensor_size(visual));
    }
    for (int recording = 0; recording < 2; recording++) {
        mm1_tensor *h = forward(f, recording);
        const mm1_tensor *logits = mm1_op_linear(&f->tape, h, f->model.decoder.head, NULL, MM1_ACT_NONE, NULL);
        check_ok(mm1_tape_status(&f->tape, &err), &err);
        check_forward(f, "hidden", h->data, mm1_tensor_size(h));
        check_forward(f, "logits", logits->data, mm1_tensor_size(logits));
        assert_true(mm1_op_xent(&f->tape, h, f->model.decoder.head, f->batch.target, f->nll, 1.0f, 0.0f));
        check_forward(f, "nll", f->nll, N);
    }
}

/* Of the error's norm in that of a gradient.  bf16 has 8 bits: each value is off by 2^-9 at most. */
static const double GRAD_BOUND[MM1_ACTIVATIONS_COUNT] = {1e-4, 2e-2, 1e-4};
static double worst_grad, worst_cosine = 1;

static void check_gradient(const fixture *f, const mm1_param *p)
{
    const mm1_safetensors_tensor *x = golden_find(f->sf, "grad.", p->name);
    if (x == NULL) { /* not used by this batch */
        for (int64_t i = 0; i < p->n; i++) {
            assert_true(p->tensor.grad[i] == 0);
        }
        return;
    }
    double cosine;
    float *want = golden_floats(x);
    const double error = golden_error(p->tensor.grad, want, p->n, &cosine);
    mm1_free(want);
    const double bound = GRAD_BOUND[f->tape.activations];
    if (!(error < bound && cosine > 1 - 0.1 * bound)) {
        print_error("%s: %s: gradient is off by %.3g of its norm, cosine %.8f\n", f->name, p->name, error, cosine);
        fail();
    }
    worst_grad = fmax(worst_grad, error);
    worst_cosine = fmin(worst_cosine, cosine);
}

static void every_model_computes_what_pytorch_computes(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        fixture f;
        setup(&f, CASES[i]);
        for (int isa = -1; golden_next_isa(&isa);) {
            for (int activations = 0; activations < MM1_ACTIVATIONS_COUNT; activations++) {
                worst_forward = worst_grad = 0;
                worst_cosine = 1;
                f.tape.activations = (mm1_activations)activations;
                check_everything_forward(&f);
                forward_and_backward(&f);
                for (int64_t p = 0; p < f.model.params.n_items; p++) {
                    check_gradient(&f, f.model.params.items[p]);
                }
                print_message("%-12s %-6s %d: forward %.4f of the bound; worst gradient %.2g off, 1 - cosine %.2g\n",
                              f.name, mm1_isa_name((mm1_isa)isa), activations, worst_forward, worst_grad,
                              1 - worst_cosine);
            }
        }
        teardown(&f);
    }
}

/* Training only some parts gives these the very gradients that training all gives them, also where activations are
 * computed again. */
static void frozen_parts_and_recomputation_change_no_other_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        fixture f;
        setup(&f, CASES[i]);
        mm1_params *params = &f.model.params;
        forward_and_backward(&f);
        float *all = mm1_alloc((size_t)params->total, sizeof *all);
        assert_non_null(all);
        memcpy(all, params->grad, (size_t)params->total * sizeof *all);
        for (int j = 0; j < 2 << MM1_GROUP_COUNT; j++) {
            const int trained = j / 2;
            f.tape.activations = j % 2 == 0 ? MM1_ACTIVATIONS_KEEP : MM1_ACTIVATIONS_RECOMPUTE;
            for (int g = 0; g < MM1_GROUP_COUNT; g++) {
                mm1_params_set_trainable(params, (mm1_param_group)g, trained >> g & 1);
            }
            forward_and_backward(&f);
            for (int64_t p = 0; p < params->n_items; p++) {
                const mm1_param *item = params->items[p];
                for (int64_t e = 0; e < item->n; e++) {
                    const float want = trained >> item->group & 1 ? all[item->offset + e] : 0;
                    if (item->tensor.grad[e] != want) {
                        print_error("%s: %s[%lld] with groups %d, activations %d: %g, want %g\n", f.name, item->name,
                                    (long long)e, trained, (int)f.tape.activations, (double)item->tensor.grad[e],
                                    (double)want);
                        fail();
                    }
                }
            }
        }
        mm1_free(all);
        teardown(&f);
    }
}

static void recording_changes_no_bit_of_the_forward_pass(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        fixture f;
        setup(&f, CASES[i]);
        const int64_t n = f.batch.B * f.batch.T * f.model.config.decoder.width;
        float *first = mm1_alloc((size_t)n, sizeof *first);
        assert_non_null(first);
        const mm1_tensor *h = forward(&f, false);
        assert_non_null(h);
        memcpy(first, h->data, (size_t)n * sizeof *first);
        h = forward(&f, true);
        assert_non_null(h);
        assert_memory_equal(first, h->data, (size_t)n * sizeof *first);
        mm1_free(first);
        teardown(&f);
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
        cmocka_unit_test(every_model_computes_what_pytorch_computes),
        cmocka_unit_test(frozen_parts_and_recomputation_change_no_other_gradient),
        cmocka_unit_test(recording_changes_no_bit_of_the_forward_pass),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

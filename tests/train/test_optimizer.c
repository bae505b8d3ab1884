/* AdamW with clipping, decay and a schedule, against ten steps of torch.optim.AdamW (tools/golden_ops.py); AdaFactor
 * against twelve of transformers' Adafactor (tools/golden_adafactor.py). */
#include "support/golden.h"

#include "base/thread.h"
#include "train/optimizer.h"
#include "train/schedule.h"

static const struct {
    const char *name;
    mm1_param_group group;
    int64_t dims[2];
    int rank;
    bool decay;
} TABLE[] = {{"vision.w", MM1_GROUP_VISION, {5, 7}, 2, true},
             {"vision.b", MM1_GROUP_VISION, {5}, 1, false},
             {"connector.w", MM1_GROUP_CONNECTOR, {3, 11}, 2, true},
             {"decoder.w", MM1_GROUP_DECODER, {9, 4}, 2, true},
             {"decoder.norm", MM1_GROUP_DECODER, {17}, 1, false}};
enum { N_PARAMS = sizeof TABLE / sizeof *TABLE, N_STEPS = 10 };

typedef struct fixture {
    mm1_safetensors *sf;
    mm1_params params;
    mm1_optimizer optimizer;
    mm1_train_config config;
} fixture;

static double setting(const fixture *f, const char *key)
{
    const char *text = mm1_safetensors_metadata(f->sf, key);
    assert_non_null(text);
    return strtod(text, NULL);
}

static void setup(fixture *f)
{
    mm1_error err = {0};
    *f = (fixture){.sf = golden_open(MM1_TEST_DATA "/tensor/ops_adamw.safetensors")};
    for (int i = 0; i < N_PARAMS; i++) {
        assert_non_null(mm1_params_add(&f->params, TABLE[i].group, MM1_INIT_ZEROS, 0, TABLE[i].decay, TABLE[i].rank,
                                       TABLE[i].dims, "%s", TABLE[i].name));
    }
    check_ok(mm1_params_alloc(&f->params, true, &err), &err);
    check_ok(mm1_optimizer_init(&f->optimizer, &f->params, &(mm1_train_config){0}, &err), &err);
    f->config = (mm1_train_config){.n_steps = (int64_t)setting(f, "n_steps"),
                                   .lr_warmup_steps = (int64_t)setting(f, "lr_warmup_steps"),
                                   .lr_peak = setting(f, "lr_peak"),
                                   .lr_final = setting(f, "lr_final"),
                                   .lr_vision = setting(f, "lr_vision"),
                                   .lr_connector = setting(f, "lr_connector"),
                                   .lr_decoder = setting(f, "lr_decoder"),
                                   .weight_decay = setting(f, "weight_decay"),
                                   .beta1 = setting(f, "beta1"),
                                   .eps = setting(f, "eps"),
                                   .clip_norm = setting(f, "clip_norm")};
}

static void teardown(fixture *f)
{
    mm1_optimizer_deinit(&f->optimizer);
    mm1_params_deinit(&f->params);
    mm1_safetensors_close(f->sf);
}

static void read(const fixture *f, float *dst, const char *prefix, const char *name)
{
    mm1_error err = {0};
    check_ok(mm1_safetensors_to_f32(golden_get(f->sf, prefix, name), dst, &err), &err);
}

static void read_gradients(fixture *f, const char *run, int step)
{
    char prefix[40];
    (void)snprintf(prefix, sizeof prefix, "%s/grad.%d.", run, step);
    for (int i = 0; i < N_PARAMS; i++) {
        read(f, f->params.items[i]->tensor.grad, prefix, TABLE[i].name);
    }
}

static void start(fixture *f, const char *run)
{
    char prefix[40], key[40];
    (void)snprintf(prefix, sizeof prefix, "%s/start.", run);
    (void)snprintf(key, sizeof key, "beta2.%s", run);
    f->config.beta2 = setting(f, key);
    for (int i = 0; i < N_PARAMS; i++) {
        read(f, f->params.items[i]->tensor.data, prefix, TABLE[i].name);
    }
}

/* As the trainer does it. */
static double step(fixture *f, int i)
{
    const double norm = mm1_optimizer_grad_norm(&f->params);
    mm1_optimizer_step(&f->optimizer, &f->params, &f->config, f->config.lr_peak * mm1_lr_scale(&f->config, i + 1),
                       norm);
    return norm;
}

static void ten_steps_equal_those_of_pytorch(void **state)
{
    (void)state;
    static const char *const runs[] = {"a", "b"}; /* beta2 0.95 and 0.999 */
    for (int r = 0; r < 2; r++) {
        for (int isa = -1; golden_next_isa(&isa);) {
            fixture f;
            float before[64], want[64], norm;
            double worst = 0;
            setup(&f);
            start(&f, runs[r]);
            for (int i = 0; i < N_STEPS; i++) {
                char prefix[40];
                read_gradients(&f, runs[r], i);
                const double got = step(&f, i);
                (void)snprintf(prefix, sizeof prefix, "%s/norm.%d", runs[r], i);
                read(&f, &norm, prefix, "");
                assert_true(fabs(got - norm) <= 1e-6 * norm);
                (void)snprintf(prefix, sizeof prefix, "%s/after.%d.", runs[r], i);
                char begin[40];
                (void)snprintf(begin, sizeof begin, "%s/start.", runs[r]);
                for (int p = 0; p < N_PARAMS; p++) {
                    /* Against how far the parameters have moved since the start, not against how large they are. */
                    const mm1_param *item = f.params.items[p];
                    read(&f, before, begin, TABLE[p].name);
                    read(&f, want, prefix, TABLE[p].name);
                    double moved = 0, off = 0;
                    for (int64_t j = 0; j < item->n; j++) {
                        moved = fmax(moved, fabs((double)want[j] - before[j]));
                        off = fmax(off, fabs((double)want[j] - item->tensor.data[j]));
                    }
                    assert_true(moved > 1e-4);
                    worst = fmax(worst, off / moved);
                }
            }
            assert_int_equal(f.optimizer.step, N_STEPS);
            print_message("run %s, %-6s: at most %.2g of the way off\n", runs[r], mm1_isa_name((mm1_isa)isa), worst);
            assert_true(worst < 2e-5);
            teardown(&f);
        }
    }
}

static void a_frozen_group_stands_still_and_does_not_count_in_the_norm(void **state)
{
    (void)state;
    fixture f;
    setup(&f);
    start(&f, "a");
    float *before = mm1_alloc((size_t)f.params.total, sizeof *before);
    assert_non_null(before);
    memcpy(before, f.params.data, (size_t)f.params.total * sizeof *before);
    mm1_params_set_trainable(&f.params, MM1_GROUP_DECODER, false);
    double norm = 0;
    for (int i = 0; i < N_STEPS; i++) {
        read_gradients(&f, "a", i);
        norm = step(&f, i);
    }
    double want = 0;
    for (int p = 0; p < N_PARAMS; p++) {
        const mm1_param *item = f.params.items[p];
        int moved = 0;
        for (int64_t j = 0; j < item->n; j++) {
            const bool frozen = item->group == MM1_GROUP_DECODER;
            moved += item->tensor.data[j] != before[item->offset + j];
            want += frozen ? 0 : (double)item->tensor.grad[j] * item->tensor.grad[j];
            assert_true(!frozen || (f.optimizer.m[item->offset + j] == 0 && f.optimizer.v[item->offset + j] == 0));
        }
        assert_int_equal(moved, item->group == MM1_GROUP_DECODER ? 0 : item->n);
    }
    assert_true(fabs(norm - sqrt(want)) <= 1e-6 * norm);
    mm1_free(before);
    teardown(&f);
}

/* Bias correction makes the first update the learning rate in size, whatever the gradient; decay comes on top. */
static void the_first_step_is_the_learning_rate_and_decay_is_apart_from_it(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_params params = {0};
    mm1_optimizer o;
    mm1_tensor *w = mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_ONES, 0, true, 1, (int64_t[]){3}, "w");
    mm1_tensor *b = mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_ONES, 0, false, 1, (int64_t[]){3}, "b");
    check_ok(mm1_params_alloc(&params, true, &err), &err);
    check_ok(mm1_optimizer_init(&o, &params, &(mm1_train_config){0}, &err), &err);
    const float g[3] = {1e-3f, -50, 0};
    /* The correction undoes the very factor that the moments were given, also where f32 holds 1 - beta badly. */
    static const double betas[] = {0.95, 0.999, 0.99999, 0.9999999};
    for (size_t j = 0; j < sizeof betas / sizeof *betas; j++) {
        mm1_params_init(&params, 1);
        mm1_params_zero_grad(&params);
        memset(o.m, 0, (size_t)params.total * sizeof *o.m);
        memset(o.v, 0, (size_t)params.total * sizeof *o.v);
        o.step = 0;
        for (int i = 0; i < 3; i++) {
            w->grad[i] = b->grad[i] = g[i];
        }
        const mm1_train_config c = {
            .lr_decoder = 1, .weight_decay = 0.5, .beta1 = 0.9, .beta2 = betas[j], .eps = 1e-12};
        mm1_optimizer_step(&o, &params, &c, 0.01, 50);
        check_close(b->data, ((const float[]){0.99f, 1.01f, 1}), 3, 1e-6, 0);
        check_close(w->data, ((const float[]){0.985f, 1.005f, 0.995f}), 3, 1e-6, 0);
    }
    mm1_optimizer_deinit(&o);
    mm1_params_deinit(&params);
}

/* A parameter of several chunks, and any number of threads, get what each of its elements gets alone. */
static void large_parameters_and_threads_give_the_same_bits(void **state)
{
    (void)state;
    enum { PERIOD = 48, N = 40000 };
    mm1_error err = {0};
    float small[PERIOD] = {0};
    for (int threads = 1; threads <= 3; threads++) {
        for (int large = threads > 1; large < 2; large++) {
            const int64_t n = large ? N : PERIOD;
            mm1_params params = {0};
            mm1_optimizer o;
            mm1_threads_set(threads);
            check_ok(mm1_kernels_init(NULL, &err), &err);
            mm1_tensor *x = mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_ZEROS, 0, true, 1, &n, "x");
            check_ok(mm1_params_alloc(&params, true, &err), &err);
            check_ok(mm1_optimizer_init(&o, &params, &(mm1_train_config){0}, &err), &err);
            const mm1_train_config c = {.lr_decoder = 1, .weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
            for (int i = 0; i < 3; i++) {
                for (int64_t j = 0; j < n; j++) {
                    x->grad[j] = (float)(j % PERIOD - 20) * (float)(i + 1);
                }
                mm1_optimizer_step(&o, &params, &c, 0.01, 1);
            }
            for (int64_t j = 0; j < n; j++) {
                if (large) {
                    assert_true(x->data[j] == small[j % PERIOD]);
                } else {
                    small[j] = x->data[j];
                }
            }
            mm1_optimizer_deinit(&o);
            mm1_params_deinit(&params);
        }
    }
}

static const struct {
    const char *name;
    mm1_param_group group;
    int64_t dims[3];
    int rank;
    bool decay;
    int64_t n_kept; /* numbers that AdaFactor keeps */
} FACTORED[] = {{"vision.w", MM1_GROUP_VISION, {5, 7}, 2, true, 12},
                {"vision.b", MM1_GROUP_VISION, {5}, 1, false, 5},
                {"connector.w", MM1_GROUP_CONNECTOR, {3, 11}, 2, true, 14},
                {"decoder.w", MM1_GROUP_DECODER, {9, 4}, 2, true, 13},
                {"decoder.experts", MM1_GROUP_DECODER, {2, 4, 6}, 3, true, 20},
                {"decoder.norm", MM1_GROUP_DECODER, {17}, 1, false, 17}};
enum { N_FACTORED = sizeof FACTORED / sizeof *FACTORED };

static void adafactor_equals_that_of_transformers(void **state)
{
    (void)state;
    static const char *const runs[] = {"fixed", "scaled"};
    mm1_error err = {0};
    mm1_safetensors *sf = golden_open(MM1_TEST_DATA "/tensor/ops_adafactor.safetensors");
    const double lr = strtod(mm1_safetensors_metadata(sf, "lr"), NULL);
    const int n_steps = (int)strtol(mm1_safetensors_metadata(sf, "n_steps"), NULL, 10);
    for (int r = 0; r < 2; r++) {
        const mm1_train_config c = {.optimizer = MM1_OPTIMIZER_ADAFACTOR,
                                    .lr_vision = 0.5,
                                    .lr_connector = 2,
                                    .lr_decoder = 1,
                                    .weight_decay = strtod(mm1_safetensors_metadata(sf, "weight_decay"), NULL),
                                    .scale_parameter = r == 1};
        mm1_params params = {0};
        mm1_optimizer o;
        double n_kept = 0, worst = 0;
        char prefix[40];
        for (int i = 0; i < N_FACTORED; i++) {
            assert_non_null(mm1_params_add(&params, FACTORED[i].group, MM1_INIT_ZEROS, 0, FACTORED[i].decay,
                                           FACTORED[i].rank, FACTORED[i].dims, "%s", FACTORED[i].name));
            n_kept += (double)FACTORED[i].n_kept;
        }
        check_ok(mm1_params_alloc(&params, true, &err), &err);
        check_ok(mm1_optimizer_init(&o, &params, &c, &err), &err);
        assert_true(mm1_optimizer_bytes(&params, &c) < 4 * n_kept + 8 * 40);
        (void)snprintf(prefix, sizeof prefix, "%s/start.", runs[r]);
        for (int i = 0; i < N_FACTORED; i++) {
            check_ok(
                mm1_safetensors_to_f32(golden_get(sf, prefix, FACTORED[i].name), params.items[i]->tensor.data, &err),
                &err);
        }
        for (int step = 0; step < n_steps; step++) {
            (void)snprintf(prefix, sizeof prefix, "%s/grad.%d.", runs[r], step);
            for (int i = 0; i < N_FACTORED; i++) {
                check_ok(mm1_safetensors_to_f32(golden_get(sf, prefix, FACTORED[i].name), params.items[i]->tensor.grad,
                                                &err),
                         &err);
            }
            mm1_optimizer_step(&o, &params, &c, lr, mm1_optimizer_grad_norm(&params));
            (void)snprintf(prefix, sizeof prefix, "%s/after.%d.", runs[r], step);
            for (int i = 0; i < N_FACTORED; i++) {
                float want[64];
                check_ok(mm1_safetensors_to_f32(golden_get(sf, prefix, FACTORED[i].name), want, &err), &err);
                for (int64_t j = 0; j < params.items[i]->n; j++) {
                    worst = fmax(worst, fabs((double)want[j] - params.items[i]->tensor.data[j]));
                }
            }
        }
        print_message("%s: at most %.2g off, steps are of %g\n", runs[r], worst, lr);
        assert_true(worst < 2e-6);
        /* What a checkpoint holds is what is kept. */
        int64_t n = 0;
        for (int i = 0; i < N_FACTORED; i++) {
            mm1_optimizer_state states[MM1_OPTIMIZER_MAX_STATES];
            const int n_states = mm1_optimizer_states(&o, &params, i, states);
            assert_int_equal(n_states, FACTORED[i].rank >= 2 ? 2 : 1);
            for (int k = 0; k < n_states; k++) {
                int64_t size = 1;
                for (int d = 0; d < states[k].rank; d++) {
                    size *= states[k].dims[d];
                }
                assert_ptr_equal(states[k].data, o.state + n);
                n += size;
            }
        }
        assert_true(n == (int64_t)n_kept);
        mm1_optimizer_deinit(&o);
        mm1_params_deinit(&params);
    }
    mm1_safetensors_close(sf);
    mm1_params none = {0};
    mm1_optimizer o;
    const mm1_train_config half = {.optimizer = MM1_OPTIMIZER_ADAFACTOR, .moments = MM1_MOMENTS_BF16};
    assert_int_equal(mm1_optimizer_init(&o, &none, &half, &err), MM1_E_CONFIG);
}

/* Clipping scales gradients by 1/4 here, to the bit: a norm of 2^30, of which 2^28 may be. */
static void adafactor_clips_as_if_gradients_were_smaller(void **state)
{
    (void)state;
    enum { STEPS = 3 };
    mm1_error err = {0};
    float want[2][64];
    for (int clips = 0; clips < 2; clips++) {
        const mm1_train_config c = {.optimizer = MM1_OPTIMIZER_ADAFACTOR,
                                    .lr_decoder = 1,
                                    .weight_decay = 0.1,
                                    .clip_norm = clips ? 1 << 28 : 0};
        mm1_params params = {0};
        mm1_optimizer o;
        (void)mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_NORMAL, 1, true, 2, (int64_t[]){4, 16}, "w");
        (void)mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_NORMAL, 1, true, 1, (int64_t[]){64}, "v");
        check_ok(mm1_params_alloc(&params, true, &err), &err);
        check_ok(mm1_optimizer_init(&o, &params, &c, &err), &err);
        mm1_params_init(&params, 3);
        for (int i = 0; i < STEPS; i++) {
            for (int64_t j = 0; j < params.grad_total; j++) {
                params.grad[j] = (float)((j * 37 + i) % 101 - 50) * (clips ? 4 : 1);
            }
            mm1_optimizer_step(&o, &params, &c, 0.01, 1 << 30);
        }
        for (int k = 0; k < 2; k++) {
            const float *got = params.items[k]->tensor.data;
            if (clips) {
                assert_memory_equal(got, want[k], sizeof want[k]);
            }
            memcpy(want[k], got, sizeof want[k]);
        }
        mm1_optimizer_deinit(&o);
        mm1_params_deinit(&params);
    }
}

/* Where there is no gradient, what is left of a step is the decay: lr times it, also where a step is clipped, as the
 * last one is, whose gradient is far over those before it. */
static void adafactor_decays_apart_from_the_step(void **state)
{
    (void)state;
    enum { STEPS = 9 };
    mm1_error err = {0};
    mm1_params params = {0};
    mm1_optimizer o;
    const mm1_train_config c = {.optimizer = MM1_OPTIMIZER_ADAFACTOR, .lr_decoder = 0.5, .weight_decay = 0.25};
    float left = 1;
    (void)mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_ONES, 0, true, 2, (int64_t[]){2, 2}, "w");
    (void)mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_ONES, 0, true, 1, (int64_t[]){4}, "v");
    (void)mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_ONES, 0, false, 1, (int64_t[]){4}, "norm");
    check_ok(mm1_params_alloc(&params, true, &err), &err);
    check_ok(mm1_optimizer_init(&o, &params, &c, &err), &err);
    mm1_params_init(&params, 3);
    for (int step = 0; step < STEPS; step++) {
        for (int64_t i = 0; i < 3; i++) {
            params.items[i]->tensor.grad[0] = step + 1 < STEPS ? 0.001f : 8;
        }
        mm1_optimizer_step(&o, &params, &c, 0.5, 1);
        left *= 1 - 0.5f * 0.5f * 0.25f;
    }
    for (int64_t i = 0; i < 3; i++) {
        for (int64_t j = 1; j < 4; j++) {
            assert_true(params.items[i]->tensor.data[j] == (i < 2 ? left : 1));
        }
    }
    mm1_optimizer_deinit(&o);
    mm1_params_deinit(&params);
}

static void adafactor_gives_the_same_bits_with_any_number_of_threads(void **state)
{
    (void)state;
    mm1_error err = {0};
    float *one = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        const mm1_train_config c = {
            .optimizer = MM1_OPTIMIZER_ADAFACTOR, .lr_decoder = 1, .weight_decay = 0.1, .scale_parameter = true};
        mm1_params params = {0};
        mm1_optimizer o;
        mm1_threads_set(threads);
        check_ok(mm1_kernels_init(NULL, &err), &err);
        (void)mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_NORMAL, 1, true, 2, (int64_t[]){301, 700}, "w");
        (void)mm1_params_add(&params, MM1_GROUP_DECODER, MM1_INIT_NORMAL, 1, false, 1, (int64_t[]){40001}, "v");
        check_ok(mm1_params_alloc(&params, true, &err), &err);
        check_ok(mm1_optimizer_init(&o, &params, &c, &err), &err);
        mm1_params_init(&params, 3);
        for (int i = 0; i < 3; i++) {
            for (int64_t j = 0; j < params.grad_total; j++) {
                params.grad[j] = (float)((j * 37 + i) % 1009 - 500);
            }
            mm1_optimizer_step(&o, &params, &c, 0.01, 1);
        }
        if (one == NULL) {
            one = mm1_alloc((size_t)params.total, sizeof *one);
            assert_non_null(one);
            memcpy(one, params.data, (size_t)params.total * sizeof *one);
        }
        assert_memory_equal(one, params.data, (size_t)params.total * sizeof *one);
        mm1_optimizer_deinit(&o);
        mm1_params_deinit(&params);
    }
    mm1_free(one);
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
        cmocka_unit_test(ten_steps_equal_those_of_pytorch),
        cmocka_unit_test(a_frozen_group_stands_still_and_does_not_count_in_the_norm),
        cmocka_unit_test(the_first_step_is_the_learning_rate_and_decay_is_apart_from_it),
        cmocka_unit_test(adafactor_equals_that_of_transformers),
        cmocka_unit_test(adafactor_clips_as_if_gradients_were_smaller),
        cmocka_unit_test(adafactor_decays_apart_from_the_step),
        cmocka_unit_test(adafactor_gives_the_same_bits_with_any_number_of_threads),
        cmocka_unit_test(large_parameters_and_threads_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

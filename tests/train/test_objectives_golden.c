/* What image encoders are trained by against PyTorch (tools/golden_objectives.py): losses and every gradient. */
#include "support/golden.h"

#include "model/model.h"
#include "train/info_nce.h"
#include "train/patch_loss.h"

static mm1_safetensors *open_file(void)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/train/golden_objectives.safetensors", MM1_TEST_DATA);
    return golden_open(path);
}

static void check_tensor(const mm1_safetensors *sf, const char *prefix, const char *name, const float *got, int64_t n,
                         double atol)
{
    const mm1_safetensors_tensor *x = golden_get(sf, prefix, name);
    float *want = golden_floats(x);
    assert_int_equal(x->n_elements, n);
    check_close(got, want, n, atol, 1e-4);
    mm1_free(want);
}

static void contrast(const mm1_safetensors *sf, const char *prefix)
{
    enum { MAX = 16 };
    const int64_t *shape = golden_get(sf, prefix, "a")->shape, n = shape[0], D = shape[1];
    float *a = golden_floats(golden_get(sf, prefix, "a")), *b = golden_floats(golden_get(sf, prefix, "b"));
    float *log_scale = golden_floats(golden_get(sf, prefix, "log_scale"));
    int32_t *keys = golden_ints(golden_get(sf, prefix, "key"));
    float loss[MAX], da[MAX * MAX], db[MAX * MAX], logits[MAX * MAX], lse[2 * MAX];
    uint64_t key[MAX];
    assert_true(n <= MAX && D <= MAX);
    for (int64_t i = 0; i < n; i++) {
        key[i] = (uint64_t)keys[i];
    }
    mm1_info_nce nce = {.n = n,
                        .D = D,
                        .a = a,
                        .b = b,
                        .key = key,
                        .log_scale = log_scale[0],
                        .weight = 1.0 / (double)n,
                        .loss = loss,
                        .da = da,
                        .db = db,
                        .logits = logits,
                        .lse = lse};
    mm1_info_nce_run(&nce);
    const float d_log_scale = (float)nce.d_log_scale;
    check_tensor(sf, prefix, "loss", loss, n, 1e-5);
    check_tensor(sf, prefix, "da", da, n * D, 1e-6);
    check_tensor(sf, prefix, "db", db, n * D, 1e-6);
    check_tensor(sf, prefix, "d_log_scale", &d_log_scale, 1, 1e-6);
    mm1_free(keys);
    mm1_free(log_scale);
    mm1_free(b);
    mm1_free(a);
}

static void contrast_is_pytorchs(void **state)
{
    (void)state;
    mm1_safetensors *sf = open_file();
    for (int isa = -1; golden_next_isa(&isa);) {
        contrast(sf, "nce.distinct/");
        contrast(sf, "nce.twins/");
    }
    mm1_safetensors_close(sf);
}

static void aim_init(mm1_model *m, const mm1_safetensors *sf)
{
    mm1_error err = {0};
    mm1_model_config c;
    char line[160];
    check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
    const char *text = mm1_safetensors_metadata(sf, "aim");
    assert_non_null(text);
    for (size_t len; *text != '\0'; text += len + (text[len] == '\n')) {
        len = strcspn(text, "\n");
        assert_true(len < sizeof line);
        memcpy(line, text, len);
        line[len] = '\0';
        check_ok(mm1_fields_set(mm1__model_fields, &c, line, &err), &err);
    }
    check_ok(mm1_model_init(m, &c, &err), &err);
    check_ok(mm1_params_alloc(&m->params, true, &err), &err);
    for (int64_t i = 0; i < m->params.n_items; i++) {
        mm1_param *p = m->params.items[i];
        const mm1_safetensors_tensor *x = golden_get(sf, "aim/param.", p->name);
        assert_int_equal(x->n_elements, p->n);
        check_ok(mm1_safetensors_to_f32(x, p->tensor.data, &err), &err);
    }
}

static void patches_are_predicted_as_by_pytorch(void **state)
{
    (void)state;
    enum { P = 9, D = 48, MAX = 3 * P };
    mm1_safetensors *sf = open_file();
    mm1_error err = {0};
    mm1_model m;
    mm1_arena arena;
    mm1_tape t;
    aim_init(&m, sf);
    const int64_t I = golden_get(sf, "aim/", "pixels")->shape[0];
    float *pixels = golden_floats(golden_get(sf, "aim/", "pixels"));
    int32_t *prefix = golden_ints(golden_get(sf, "aim/", "prefix")), from[MAX], to[MAX];
    int64_t n = 0;
    for (int32_t i = 0; i < I; i++) {
        for (int32_t p = prefix[i]; p < P; p++, n++) {
            from[n] = i * P + p - 1;
            to[n] = i * P + p;
        }
    }
    check_ok(mm1_arena_init(&arena, (size_t)8 << 20, &err), &err);
    check_ok(mm1_tape_init(&t, &arena, &err), &err);
    for (int isa = -1; golden_next_isa(&isa);) {
        float loss[MAX];
        bool acc;
        mm1_tape_reset(&t, 0);
        mm1_params_zero_grad(&m.params);
        t.recording = true;
        mm1_tensor *x = mm1_vit_forward_prefix(&m.vit, &t, pixels, I, prefix);
        mm1_tensor *y = mm1_pixel_head_forward(&m.pixel_head, &t, mm1_op_embed(&t, x, from, n, NULL, NULL));
        const mm1_tensor *patches = mm1_op_patchify(&t, pixels, I, m.config.vision.image_size, 4);
        check_ok(mm1_tape_status(&t, &err), &err);
        check_tensor(sf, "aim/", "features", x->data, mm1_tensor_size(x), 2e-5);
        mm1_patch_loss_run(&(mm1_patch_loss){.n = n,
                                             .D = D,
                                             .y = y->data,
                                             .patches = patches->data,
                                             .patch = to,
                                             .weight = 1.0 / (double)n,
                                             .loss = loss,
                                             .dy = mm1__tape_grad(&t, y, &acc)});
        mm1_tape_backward(&t);
        check_ok(mm1_tape_status(&t, &err), &err);
        check_tensor(sf, "aim/", "loss", loss, n, 2e-5);
        for (int64_t i = 0; i < m.params.n_items; i++) {
            const mm1_param *p = m.params.items[i];
            check_tensor(sf, "aim/grad.", p->name, p->tensor.grad, p->n, 2e-6);
        }
    }
    mm1_tape_deinit(&t);
    mm1_arena_deinit(&arena);
    mm1_free(prefix);
    mm1_free(pixels);
    mm1_model_deinit(&m);
    mm1_safetensors_close(sf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contrast_is_pytorchs),
        cmocka_unit_test(patches_are_predicted_as_by_pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

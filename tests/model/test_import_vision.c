/* Image encoders of other makers against transformers (tools/golden_vision.py): pixels, features and pooled outputs, at
 * their own and at other resolutions; and what is refused, by name. */
#include "support/golden.h"
#include "support/tmp.h"

#include "base/file.h"
#include "base/thread.h"
#include "model/encoding.h"

#define VISION MM1_TEST_DATA "/vision/"

static const char *const MODELS[] = {"clip",    "clip_projection", "clip_whole", "siglip",
                                     "siglip2", "siglip_whole",    "dinov2",     "dinov2_giant"};
enum { N_MODELS = sizeof MODELS / sizeof *MODELS };

static double worst;

static void load(mm1_model *m, const char *dir, int64_t image_size)
{
    mm1_error err = {0};
    check_ok(mm1_model_load_at(m, dir, image_size, false, &err), &err);
}

static void encode(const mm1_model *m, const char *picture, mm1_encoding *e)
{
    mm1_error err = {0};
    char path[300], *bytes = NULL;
    size_t len = 0;
    (void)snprintf(path, sizeof path, VISION "pictures/%s.png", picture);
    check_ok(mm1_file_read(path, 1 << 20, &bytes, &len, &err), &err);
    check_ok(mm1_encode_image(m, bytes, len, picture, e, &err), &err);
    mm1_free(bytes);
}

/* Of a part, every so many rows against a tensor.  Pixels must be equal. */
static void compare(const mm1_encoding *e, mm1_encoding_part part, const mm1_safetensors_tensor *x, int64_t every)
{
    float *want = golden_floats(x);
    const int64_t n = x->n_elements, C = part == MM1_ENCODING_FEATURES ? e->dims[part][1] : n;
    assert_non_null(e->data[part]);
    assert_int_equal(x->shape[0],
                     part == MM1_ENCODING_FEATURES ? (e->dims[part][0] + every - 1) / every : e->dims[part][0]);
    if (part == MM1_ENCODING_PIXELS) {
        assert_memory_equal(e->data[part], want, (size_t)n * sizeof *want);
    }
    for (int64_t row = 0; row < n / C; row++) {
        const float *got = e->data[part] + row * every * C;
        check_close(got, want + row * C, C, 1e-4, 1e-4);
        for (int64_t i = 0; i < C; i++) {
            worst = fmax(worst, fabs((double)got[i] - (double)want[row * C + i]));
        }
    }
    mm1_free(want);
}

/* "<picture>.<part>" or "<picture>@<px>.<part>". */
static int64_t split_name(const char *name, char picture[40], mm1_encoding_part *part)
{
    const size_t len = strcspn(name, "@.");
    const char *dot = strchr(name, '.');
    assert_non_null(dot);
    (void)snprintf(picture, 40, "%.*s", (int)len, name);
    for (int i = 0; i < MM1_ENCODING_COUNT; i++) {
        if (strcmp(dot + 1, mm1_encoding_name((mm1_encoding_part)i)) == 0) {
            *part = (mm1_encoding_part)i;
            return name[len] == '@' ? strtoll(name + len + 1, NULL, 10) : 0;
        }
    }
    fail();
    return 0;
}

/* All that a golden file holds; returns how many tensors. */
static int check_model(const char *name)
{
    char path[300], dir[300], picture[40];
    int n = 0;
    (void)snprintf(dir, sizeof dir, VISION "%s", name);
    (void)snprintf(path, sizeof path, VISION "%s/golden.safetensors", name);
    mm1_safetensors *sf = golden_open(path);
    const int64_t every = strtoll(mm1_safetensors_metadata(sf, "every"), NULL, 10);
    worst = 0;
    for (size_t i = 0; i < mm1_safetensors_n(sf); i++, n++) {
        const mm1_safetensors_tensor *x = mm1_safetensors_at(sf, i);
        mm1_encoding_part part = MM1_ENCODING_PIXELS;
        mm1_encoding e;
        mm1_model m;
        load(&m, dir, split_name(x->name, picture, &part));
        encode(&m, picture, &e);
        assert_null(e.data[MM1_ENCODING_TOKENS]);
        compare(&e, part, x, part == MM1_ENCODING_FEATURES ? every : 1);
        mm1_encoding_deinit(&e);
        mm1_model_deinit(&m);
    }
    print_message("%-15s %2d tensors, largest difference %.1e\n", name, n, worst);
    mm1_safetensors_close(sf);
    return n;
}

static void encoders_compute_what_transformers_computes(void **state)
{
    (void)state;
    static const int n_tensors[N_MODELS] = {13, 3, 3, 13, 6, 3, 9, 3};
    for (int i = 0; i < N_MODELS; i++) {
        assert_int_equal(check_model(MODELS[i]), n_tensors[i]);
    }
}

/* 224 to 672 px in patches of 14: grids of 16, 24, 27, 32, 40 and 48. */
static void one_set_of_weights_sees_at_six_resolutions(void **state)
{
    (void)state;
    assert_int_equal(check_model("resolution"), 6);
}

/* ---- what is refused ---- */

/* A file of a model into tmp, with the first `from` replaced by `to` if it is `changed`. */
static void copy_file(const char *model, const char *file, bool changed, const char *from, const char *to)
{
    mm1_error err = {0};
    char path[300], *text = NULL;
    size_t len = 0;
    mm1_buf out;
    (void)snprintf(path, sizeof path, VISION "%s/%s", model, file);
    check_ok(mm1_file_read(path, 16 << 20, &text, &len, &err), &err);
    mm1_buf_init(&out, 32 << 20);
    const char *at = changed ? memmem(text, len, from, strlen(from)) : NULL;
    if (changed && at == NULL) {
        print_error("%s does not hold %s\n", path, from);
        fail();
    }
    const size_t before = at != NULL ? (size_t)(at - text) : len;
    mm1_buf_append(&out, text, before);
    if (at != NULL) {
        mm1_buf_puts(&out, to);
        mm1_buf_append(&out, at + strlen(from), len - before - strlen(from));
    }
    (void)snprintf(path, sizeof path, "%s/%s", tmp, file);
    check_ok(mm1_file_write_atomic(path, mm1_buf_str(&out), out.len, &err), &err);
    mm1_buf_deinit(&out);
    mm1_free(text);
}

enum { CONFIG, PROCESSOR, WEIGHTS, N_FILES };
static const char *const FILES[N_FILES] = {"config.json", "preprocessor_config.json", "model.safetensors"};

static void copy_model(const char *model, int changed, const char *from, const char *to)
{
    for (int i = 0; i < N_FILES; i++) {
        copy_file(model, FILES[i], i == changed, from, to);
    }
}

static void what_is_not_understood_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int file;
        const char *from, *to, *said;
        mm1_status status;
    } cases[] = {
        {"clip", CONFIG, "\"clip_vision_model\"", "\"clip_vision\"", "model_type \"clip_vision\"", MM1_E_UNSUPPORTED},
        {"siglip", CONFIG, "\"siglip_vision_model\"", "\"siglip2_vision_model\"", "siglip2_vision_model",
         MM1_E_UNSUPPORTED},
        {"clip", CONFIG, "\"patch_size\"", "\"num_registers\": 4, \"patch_size\"", "\"num_registers\"",
         MM1_E_UNSUPPORTED},
        {"clip", CONFIG, "\"quick_gelu\"", "\"mish\"", "hidden_act \"mish\"", MM1_E_UNSUPPORTED},
        {"clip", CONFIG, "\"num_channels\": 3", "\"num_channels\": 1", "num_channels", MM1_E_FORMAT},
        {"clip", CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "layers.2.layer_norm1.weight",
         MM1_E_FORMAT},
        {"clip", CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "encoder.layers.1.", MM1_E_FORMAT},
        {"clip", CONFIG, "\"patch_size\": 6", "\"patch_size\": 5", "patch_embedding.weight", MM1_E_SHAPE},
        {"clip", CONFIG, "\"image_size\": 30", "\"image_size\": 36", "pictures of 30 px", MM1_E_UNSUPPORTED},
        {"clip_projection", CONFIG, "CLIPVisionModelWithProjection", "CLIPVisionModel", "visual_projection.weight",
         MM1_E_FORMAT},
        {"siglip", CONFIG, "\"vision_use_head\": true", "\"vision_use_head\": false", "head.attention", MM1_E_FORMAT},
        {"dinov2", CONFIG, "\"qkv_bias\": true", "\"qkv_bias\": false", "qkv_bias", MM1_E_UNSUPPORTED},
        {"dinov2", CONFIG, "\"use_swiglu_ffn\": false", "\"use_swiglu_ffn\": true", "mlp.weights_in", MM1_E_FORMAT},
        {"dinov2", CONFIG, "\"mlp_ratio\": 2", "\"mlp_ratio\": 3", "mlp.fc1", MM1_E_SHAPE},
        {"dinov2", CONFIG, "\"dinov2\"", "\"dinov2_with_registers\"", "dinov2_with_registers", MM1_E_UNSUPPORTED},
        {"clip", WEIGHTS, "pre_layrnorm.bias", "pre_layrnorm.bIas", "pre_layrnorm.bias", MM1_E_FORMAT},
        {"clip_whole", CONFIG, "\"vision_config\"", "\"vision_conf\"", "has no vision_config", MM1_E_UNSUPPORTED},
        {"clip_whole", CONFIG, "\"projection_dim\": 11", "\"projection_dim\": 12", "visual_projection.weight",
         MM1_E_SHAPE},
        {"clip_whole", CONFIG, "\"projection_dim\": 11", "\"audio_config\": {}", "audio_config", MM1_E_UNSUPPORTED},
        {"clip_whole", CONFIG, "\"projection_dim\": 11", "\"vision_config_dict\": {\"patch_size\": 5}",
         "vision_config_dict: patch_size", MM1_E_UNSUPPORTED},
        {"siglip_whole", CONFIG, "\"initializer_factor\"", "\"audio_config\": {}, \"initializer_factor\"",
         "audio_config", MM1_E_UNSUPPORTED},
        {"siglip_whole", WEIGHTS, "text_model.head.bias", "text_model.hEad.bias", "text_model.hEad.bias", MM1_E_FORMAT},
        /* pictures */
        {"clip", PROCESSOR, "\"CLIPImageProcessor\"", "\"OwlViTImageProcessor\"", "OwlViTImageProcessor",
         MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"do_resize\": true", "\"do_resize\": false", "do_resize", MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"do_center_crop\": true", "\"do_center_crop\": false", "shortest_edge",
         MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"shortest_edge\": 30", "\"longest_edge\": 30", "size", MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"shortest_edge\": 30", "\"shortest_edge\": 30, \"longest_edge\": 60", "size",
         MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"shortest_edge\": 30", "\"shortest_edge\": 20", "larger than", MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"shortest_edge\": 30", "\"shortest_edge\": -30", "size", MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"resample\": 3", "\"resample\": 0", "resample 0", MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"rescale_factor\": 0.0039", "\"rescale_factor\": 0.0049", "255", MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"do_rescale\": true", "\"do_rescale\": false", "255", MM1_E_UNSUPPORTED},
        {"clip", PROCESSOR, "\"do_rescale\"", "\"do_pad\": true, \"do_rescale\"", "\"do_pad\"", MM1_E_UNSUPPORTED},
        {"siglip", PROCESSOR, "\"height\": 30", "\"height\": 36", "no square", MM1_E_UNSUPPORTED},
        {"siglip", PROCESSOR, "0.5,", "\"half\",", "image_mean", MM1_E_UNSUPPORTED},
        {"siglip", PROCESSOR, "0.5,", "0.5, 0.5,", "image_mean", MM1_E_UNSUPPORTED},
        {"dinov2", PROCESSOR, "0.229", "0", "model.image.std", MM1_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_error err = {0};
        mm1_model m;
        copy_model(cases[i].model, cases[i].file, cases[i].from, cases[i].to);
        const mm1_status st = mm1_model_load(&m, tmp, false, &err);
        if (st != cases[i].status || strstr(err.message, cases[i].said) == NULL) {
            print_error("%s -> %s: %s: \"%s\"\n", cases[i].from, cases[i].to, mm1_status_name(st), err.message);
            fail();
        }
        /* The file is named. */
        assert_non_null(strstr(err.message, tmp));
    }
}

/* The same in other words. */
static void older_and_newer_files_mean_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int file;
        const char *from, *to;
    } cases[] = {
        {"clip", PROCESSOR, "\"image_processor_type\": \"CLIPImageProcessor\"",
         "\"feature_extractor_type\": \"CLIPFeatureExtractor\""},
        {"clip", PROCESSOR, "\"CLIPImageProcessor\"", "\"CLIPImageProcessorFast\""},
        {"clip", PROCESSOR, "\"do_rescale\"", "\"input_data_format\": null, \"do_rescale\""},
        {"clip", PROCESSOR, "\"do_center_crop\": true,", ""},
        {"clip", PROCESSOR, "\"resample\": 3,", ""},
        {"clip", CONFIG, "\"quick_gelu\"", "\"quick_gelu\", \"dropout\": 0.0, \"tie_word_embeddings\": true"},
        {"clip_whole", CONFIG, "\"projection_dim\": 11",
         "\"vision_config_dict\": {\"patch_size\": 6}, \"projection_dim\": 11"},
        {"siglip", CONFIG, "\"vision_use_head\": true", "\"initializer_range\": 0.02"},
        {"dinov2", CONFIG, "\"mlp_ratio\": 2", "\"mlp_ratio\": 2.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char dir[300];
        mm1_model a, b;
        mm1_encoding x, y;
        (void)snprintf(dir, sizeof dir, VISION "%s", cases[i].model);
        copy_model(cases[i].model, cases[i].file, cases[i].from, cases[i].to);
        load(&a, dir, 0);
        load(&b, tmp, 0);
        encode(&a, "wide", &x);
        encode(&b, "wide", &y);
        for (int k = 0; k < MM1_ENCODING_COUNT; k++) {
            assert_int_equal(x.data[k] == NULL, y.data[k] == NULL);
            if (x.data[k] != NULL) {
                const size_t n = (size_t)x.dims[k][0] * (size_t)(x.rank[k] > 1 ? x.dims[k][1] : 1);
                assert_memory_equal(x.dims[k], y.dims[k], sizeof x.dims[k]);
                assert_memory_equal(x.data[k], y.data[k], n * sizeof(float));
            }
        }
        mm1_encoding_deinit(&x);
        mm1_encoding_deinit(&y);
        mm1_model_deinit(&a);
        mm1_model_deinit(&b);
    }
}

/* An imported encoder that is saved as ours and read again gives the same bits, at another resolution too. */
static void an_imported_encoder_is_one_of_ours(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        char dir[300], path[300];
        mm1_error err = {0};
        mm1_model a, b;
        mm1_encoding x, y;
        (void)snprintf(dir, sizeof dir, VISION "%s", MODELS[i]);
        (void)snprintf(path, sizeof path, "%s/%s", tmp, MODELS[i]);
        load(&a, dir, 0);
        check_ok(mm1_dir_make(path, &err), &err);
        check_ok(mm1_model_save(&a, path, MM1_DTYPE_F32, &err), &err);
        for (int64_t px = 0; px <= 42; px += 42) {
            mm1_model_deinit(&a);
            load(&a, dir, px);
            load(&b, path, px);
            encode(&a, "tall", &x);
            encode(&b, "tall", &y);
            const size_t n = (size_t)x.dims[MM1_ENCODING_FEATURES][0] * 16;
            assert_memory_equal(x.data[MM1_ENCODING_PIXELS], y.data[MM1_ENCODING_PIXELS], 30 * 30 * 3 * sizeof(float));
            if (strncmp(MODELS[i], "dinov2", 6) != 0 || px == 0) { /* saved at 30 px, its positions were of 42 before */
                assert_memory_equal(x.data[MM1_ENCODING_FEATURES], y.data[MM1_ENCODING_FEATURES], n * sizeof(float));
                assert_memory_equal(x.data[MM1_ENCODING_POOLED], y.data[MM1_ENCODING_POOLED], 10 * sizeof(float));
            }
            mm1_encoding_deinit(&x);
            mm1_encoding_deinit(&y);
            mm1_model_deinit(&b);
        }
        mm1_model_deinit(&a);
    }
}

/* What a whole SigLIP has for its text tower, a tokenizer of another kind among it, does not matter to its encoder. */
static void a_whole_siglip_needs_no_tokenizer_that_is_understood(void **state)
{
    (void)state;
    static const char unigram[] = "{\"version\": \"1.0\", \"model\": {\"type\": \"Unigram\", \"vocab\": []}}";
    mm1_error err = {0};
    mm1_model m;
    char path[300];
    copy_model("siglip_whole", -1, NULL, NULL);
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", tmp);
    check_ok(mm1_file_write_atomic(path, unigram, sizeof unigram - 1, &err), &err);
    load(&m, tmp, 0);
    assert_int_equal(m.config.kind, MM1_MODEL_ENCODER);
    assert_null(m.tokenizer);
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
        cmocka_unit_test(encoders_compute_what_transformers_computes),
        cmocka_unit_test(one_set_of_weights_sees_at_six_resolutions),
        cmocka_unit_test_setup_teardown(what_is_not_understood_is_named, make_tmp, remove_tmp),
        cmocka_unit_test_setup_teardown(older_and_newer_files_mean_the_same, make_tmp, remove_tmp),
        cmocka_unit_test_setup_teardown(an_imported_encoder_is_one_of_ours, make_tmp, remove_tmp),
        cmocka_unit_test_setup_teardown(a_whole_siglip_needs_no_tokenizer_that_is_understood, make_tmp, remove_tmp),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

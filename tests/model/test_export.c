/* Models written as transformers stores them: what is read, written and read again has the same bits, and the files
 * hold what the files of transformers hold. */
#include "support/tmp.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "model/export.h"
#include "model/import.h"

static void check_same_model(const mm1_model *a, const mm1_model *b)
{
    assert_int_equal(a->params.total, b->params.total);
    assert_int_equal(a->params.n_items, b->params.n_items);
    for (int64_t i = 0; i < a->params.n_items; i++) {
        assert_string_equal(a->params.items[i]->name, b->params.items[i]->name);
    }
    assert_memory_equal(a->params.data, b->params.data, (size_t)a->params.total * sizeof(float));
    assert_memory_equal(&a->config, &b->config, sizeof a->config);
}

/* A name of ours as another folder may have it: the beginning is replaced by the first renaming that fits. */
static void rename_tensor(char *out, size_t cap, const char *name, const mm1_import_naming *renames)
{
    for (; renames->from != NULL; renames++) {
        const size_t n = strlen(renames->from);
        if (strncmp(name, renames->from, n) == 0) {
            (void)snprintf(out, cap, "%s%s", renames->to, name + n);
            return;
        }
    }
    (void)snprintf(out, cap, "%s", name);
}

/* Names, shapes and values in one folder and in another, which may begin names otherwise and holds `more` tensors. */
static void check_same_tensors(const char *dir, const char *other, const mm1_import_naming *renames, size_t more)
{
    mm1_error err = {0};
    mm1_weights a, b;
    check_ok(mm1_weights_open(&a, dir, &err), &err);
    check_ok(mm1_weights_open(&b, other, &err), &err);
    assert_int_equal(a.n + more, b.n);
    for (size_t i = 0; i < a.n; i++) {
        const mm1_weight *x = &a.items[i], *y;
        char name[300];
        rename_tensor(name, sizeof name, x->name, renames);
        check_ok(mm1_weights_get(&b, name, x->n_dims, x->shape, &y, &err), &err);
        size_t n = 1;
        for (int d = 0; d < x->n_dims; d++) {
            n *= (size_t)x->shape[d];
        }
        assert_string_equal(x->dtype, y->dtype);
        float *values = mm1_alloc(2 * n, sizeof *values);
        check_ok(a.read(x, values, &err), &err);
        check_ok(b.read(y, values + n, &err), &err);
        assert_memory_equal(values, values + n, n * sizeof *values);
        mm1_free(values);
    }
    mm1_weights_close(&a);
    mm1_weights_close(&b);
}

static void what_was_read_is_written_as_it_was(void **state)
{
    static const struct {
        const char *name, *model_type;
        mm1_dtype dtype;
        mm1_import_naming renames[5];
        size_t more; /* tensors that have no place in what is written */
    } cases[] = {
        {"model/hf/llama", "llama", MM1_DTYPE_F32, .more = 0},
        {"model/hf/llama_scaled", "llama", MM1_DTYPE_BF16, .more = 0},
        {"model/hf/llama_biased", "llama", MM1_DTYPE_F16, .more = 0},
        {"model/hf/mistral", "mistral", MM1_DTYPE_BF16, .more = 0},
        {"model/hf/qwen2", "qwen2", MM1_DTYPE_BF16, .more = 0},
        {"model/hf/qwen3", "qwen3", MM1_DTYPE_BF16, .more = 0},
        {"model/hf/mixtral", "mixtral", MM1_DTYPE_BF16, .more = 0},
        {"model/hf/olmoe", "olmoe", MM1_DTYPE_BF16, .more = 0},
        {"model/hf/gpt2", "gpt2", MM1_DTYPE_F16, .more = 0},
        {"model/hf/gpt2_bare", "gpt2", MM1_DTYPE_F16, {{"transformer.", ""}}, .more = 0},
        {"vision/clip", "clip_vision_model", MM1_DTYPE_F32, {{"vision_model.", ""}}, .more = 0},
        {"vision/clip_projection", "clip_vision_model", MM1_DTYPE_F32, .more = 0},
        {"vision/siglip", "siglip_vision_model", MM1_DTYPE_F32, {{"vision_model.", ""}}, .more = 0},
        {"vision/siglip2", "siglip_vision_model", MM1_DTYPE_F32, {{"vision_model.", ""}}, .more = 0},
        {"vision/clip_whole", "clip_vision_model", MM1_DTYPE_F32, .more = 22},     /* it has no tokenizer */
        {"vision/siglip_whole", "siglip_vision_model", MM1_DTYPE_F32, .more = 24}, /* the text tower */
        {"vision/resolution", "dinov2", MM1_DTYPE_F32, .more = 1},                 /* the token of hidden patches */
        {"whole/llava",
         "llava",
         MM1_DTYPE_BF16,
         {{"language_model.model.", "model.language_model."},
          {"language_model.lm_head.", "lm_head."},
          {"vision_tower.vision_model.", "model.vision_tower."},
          {"multi_modal_projector.", "model.multi_modal_projector."}},
         .more = 0},
        {"whole/llava_next", "llava_next", MM1_DTYPE_BF16, .more = 0},
        {"whole/idefics3", "idefics3", MM1_DTYPE_BF16, .more = 0},
        {"whole/smolvlm", "smolvlm", MM1_DTYPE_BF16, .more = 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int exact = 0; exact < 2; exact++) {
            mm1_error err = {0};
            mm1_model before, after;
            char source[300];
            const char *model_type = NULL;
            (void)snprintf(source, sizeof source, MM1_TEST_DATA "/%s", cases[i].name);
            check_ok(mm1_model_load(&before, source, false, &err), &err);
            check_ok(
                mm1_export_hf(&before, source, tmp, exact == 1 ? MM1_DTYPE_F32 : cases[i].dtype, &model_type, &err),
                &err);
            assert_string_equal(model_type, cases[i].model_type);
            check_ok(mm1_model_load(&after, tmp, false, &err), &err);
            check_same_model(&before, &after);
            if (exact == 0) {
                check_same_tensors(tmp, source, cases[i].renames, cases[i].more);
            }
            mm1_model_deinit(&before);
            mm1_model_deinit(&after);
        }
    }
}

static mm1_model_config tiny_config(void)
{
    mm1_model_config c = {0};
    mm1_error err = {0};
    check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
    c.kind = MM1_MODEL_DECODER;
    c.decoder.vocab_size = 30;
    c.decoder.width = 16;
    c.decoder.n_layers = 2;
    c.decoder.n_heads = 4;
    c.decoder.n_kv_heads = 2;
    c.decoder.mlp_width = 24;
    c.decoder.max_positions = 32;
    return c;
}

/* Into a chosen architecture: the first that holds the configuration; reading it gives the same configuration. */
static void check_chosen(const mm1_model_config *c, const char *want)
{
    mm1_error err = {0};
    mm1_model m;
    mm1_import import;
    mm1_weights w;
    const char *got = NULL;
    check_ok(mm1_model_init(&m, c, &err), &err);
    check_ok(mm1_params_alloc(&m.params, false, &err), &err);
    mm1_params_init(&m.params, 3);
    check_ok(mm1_export_hf(&m, NULL, tmp, MM1_DTYPE_F32, &got, &err), &err);
    assert_string_equal(got, want);
    check_ok(mm1_import_read(&import, tmp, &err), &err);
    if (c->kind == MM1_MODEL_DECODER) {
        assert_memory_equal(&import.config.decoder, &m.config.decoder, sizeof m.config.decoder);
    } else {
        assert_memory_equal(&import.config.vision, &m.config.vision, sizeof m.config.vision);
        mm1_image_spec x;
        check_ok(mm1_model_config_images(&import.config, NULL, &x, &err), &err);
        assert_int_equal(x.fit, m.images.fit);
        assert_int_equal(x.filter, m.images.filter);
        assert_true(x.fit != MM1_FIT_CROP || x.shorter_px == m.images.shorter_px);
        assert_memory_equal(x.mean, m.images.mean, sizeof x.mean);
        assert_memory_equal(x.std, m.images.std, sizeof x.std);
    }
    check_ok(mm1_weights_open(&w, tmp, &err), &err);
    check_ok(mm1_import_check(&import, &m.params, &w, &err), &err);
    mm1_weights_close(&w);
    mm1_model_deinit(&m);
}

static void what_was_made_here_finds_its_architecture(void **state)
{
    (void)state;
    mm1_model_config c = tiny_config();
    check_chosen(&c, "llama");
    c.decoder.bias = true;
    c.decoder.head_dim = 6;
    c.decoder.act = MM1_ACT_QUICK_GELU;
    check_chosen(&c, "llama");
    c = tiny_config();
    c.decoder.sliding_window = 7;
    check_chosen(&c, "mistral");
    c = tiny_config();
    c.decoder.qkv_bias = true;
    c.decoder.tie_embeddings = false;
    check_chosen(&c, "qwen2");
    c = tiny_config();
    c.decoder.qk_norm = MM1_QK_NORM_HEAD;
    c.decoder.rope_scaling.type = MM1_ROPE_LINEAR;
    c.decoder.rope_scaling.factor = 1.7;
    check_chosen(&c, "qwen3");
    c = tiny_config();
    c.decoder.sliding_window = 9;
    c.decoder.moe.n_experts = 3;
    c.decoder.moe.every = 1;
    c.decoder.moe.mlp_width = 24;
    check_chosen(&c, "mixtral");
    c.decoder.sliding_window = 0;
    c.decoder.moe.normalize = false;
    c.decoder.qk_norm = MM1_QK_NORM_FULL;
    check_chosen(&c, "olmoe");
    c = tiny_config();
    c.decoder.norm = MM1_NORM_LAYER;
    c.decoder.act = MM1_ACT_GELU_TANH;
    c.decoder.gated = false;
    c.decoder.bias = true;
    c.decoder.positions = MM1_POSITIONS_LEARNED;
    c.decoder.n_kv_heads = 4;
    check_chosen(&c, "gpt2");
}

static void encoders_made_here_find_theirs(void **state)
{
    (void)state;
    mm1_model_config c = tiny_config();
    c.kind = MM1_MODEL_ENCODER;
    c.vision = (mm1_vision_config){.image_size = 26, /* no multiple of the patches */
                                   .patch_size = 6,
                                   .width = 16,
                                   .n_layers = 2,
                                   .n_heads = 2,
                                   .mlp_width = 20,
                                   .act = MM1_ACT_RELU,
                                   .norm_eps = 1e-4,
                                   .patch_bias = true,
                                   .cut_edge = true,
                                   .feature_layer = -1};
    c.image.filter = MM1_FILTER_LANCZOS;
    c.image.mean.g = 0.25;
    check_chosen(&c, "siglip_vision_model");
    c.image.fit = MM1_FIT_CROP;
    c.image.crop_share = 26.0 / 31;
    check_chosen(&c, "siglip_vision_model");
    c.image.fit = MM1_FIT_PAD;
    c.image.fill = MM1_FILL_MEAN;
    check_chosen(&c, "siglip_vision_model");
    c.vision.class_token = true;
    c.vision.pool = MM1_VISION_POOL_CLASS;
    c.vision.layer_scale = true;
    check_chosen(&c, "dinov2"); /* 20 is 1.25 times 16 */
    c.vision.gated = true;
    c.vision.act = MM1_ACT_SILU;
    c.vision.mlp_width = 24;
    check_chosen(&c, "dinov2");
    c.vision.layer_scale = c.vision.gated = c.vision.patch_bias = false;
    c.vision.pre_norm = true;
    check_chosen(&c, "clip_vision_model");
    c.vision.projection = 5;
    check_chosen(&c, "clip_vision_model");

    mm1_error err = {0};
    mm1_model m;
    c.image.fill = MM1_FILL_WHITE; /* padding is of the mean there */
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, NULL, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "clip_vision_model: model.image.fill");
    mm1_model_deinit(&m);
    c.vision.pool = MM1_VISION_POOL_MEAN;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, NULL, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "clip_vision_model (model.vision.pool)");
    mm1_model_deinit(&m);
}

/* Tokenizer and image token are those of transformers' own processors. */
static void a_whole_model_needs_a_token_for_pictures(void **state)
{
    mm1_error err = {0};
    mm1_model m;
    mm1_model_config c = tiny_config();
    (void)state;
    c.kind = MM1_MODEL_MM1;
    c.vision = (mm1_vision_config){.image_size = 24,
                                   .patch_size = 6,
                                   .width = 16,
                                   .n_layers = 2,
                                   .n_heads = 2,
                                   .mlp_width = 20,
                                   .act = MM1_ACT_GELU_TANH,
                                   .norm_eps = 1e-4,
                                   .patch_bias = true,
                                   .feature_layer = -1};
    c.connector.kind = MM1_CONNECTOR_PIXEL_SHUFFLE;
    c.connector.n_tokens = 4;
    c.image.mode = MM1_IMAGE_SPLITS;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, NULL, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "idefics3 needs a tokenizer with the special token \"<image>\"");
    mm1_model_deinit(&m);
}

static void what_no_architecture_holds_is_refused_with_the_reasons(void **state)
{
    mm1_error err = {0};
    mm1_model m;
    mm1_model_config c = tiny_config();
    (void)state;
    c.decoder.qk_norm = MM1_QK_NORM_FULL;
    c.decoder.moe.n_experts = 4;
    c.decoder.moe.every = 2;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, NULL, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "llama (model.decoder.qk_norm)");
    check_contains(err.message, "olmoe (model.decoder.moe.every)");
    check_contains(err.message, "gpt2 (model.decoder.positions)");
    mm1_model_deinit(&m);

    c.decoder.moe.every = 1;
    c.decoder.head_dim = 6;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, NULL, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "mixtral (model.decoder.qk_norm), olmoe (model.decoder.head_dim)");
    mm1_model_deinit(&m);

    c = tiny_config();
    c.kind = MM1_MODEL_MM1;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, NULL, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "idefics3 (model.connector.kind)");
    assert_null(strstr(err.message, "llama")); /* of another kind */
    mm1_model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_is_written_as_it_was),
        cmocka_unit_test(what_was_made_here_finds_its_architecture),
        cmocka_unit_test(encoders_made_here_find_theirs),
        cmocka_unit_test(a_whole_model_needs_a_token_for_pictures),
        cmocka_unit_test(what_no_architecture_holds_is_refused_with_the_reasons),
    };
    mm1_threads_set(2);
    return cmocka_run_group_tests(tests, make_tmp, remove_tmp);
}

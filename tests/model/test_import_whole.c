/* Whole multimodal models against transformers (tools/golden_whole.py): ids of a message with a picture, pixels, image
 * features, logits; and what is refused, by name. */
#include "support/golden.h"

#include "base/file.h"
#include "kernels/gemm.h"
#include "model/chat_template.h"
#include "model/import.h"
#include "model/model.h"

#define WHOLE MM1_TEST_DATA "/whole/"

static const char *const CASES[] = {"llava", "llava_next", "idefics3", "smolvlm"};
enum { N_CASES = sizeof CASES / sizeof *CASES };

static void path_of(char *path, size_t cap, const char *name, const char *file)
{
    (void)snprintf(path, cap, WHOLE "%s/%s", name, file);
}

/* The prompt of one message: the case's picture, then a question. */
static void make_prompt(const char *name, mm1_document *prompt)
{
    static const char question[] = "What is shown in this picture?";
    mm1_error err = {0};
    mm1_document message = {0};
    mm1_chat_template which;
    char path[300];
    *prompt = (mm1_document){0};
    path_of(path, sizeof path, name, "picture.png");
    check_ok(mm1_document_add_image_file(&message, path, &err), &err);
    check_ok(mm1_document_add_text(&message, question, strlen(question), false, &err), &err);
    path_of(path, sizeof path, name, "");
    check_ok(mm1_chat_template_of(path, &which, &err), &err);
    check_ok(mm1_chat_render(which, &message, prompt, &err), &err);
    mm1_document_deinit(&message);
}

static double worst_of(const float *got, const float *want, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    }
    return worst;
}

static void check_case(const char *name)
{
    mm1_error err = {0};
    mm1_model m;
    mm1_document prompt;
    mm1_sequence q;
    mm1_batch b;
    mm1_arena arena;
    mm1_tape tape;
    char path[300];
    path_of(path, sizeof path, name, "");
    check_ok(mm1_model_load(&m, path, false, &err), &err);
    path_of(path, sizeof path, name, "golden.safetensors");
    mm1_safetensors *sf = golden_open(path);

    /* Token ids, and where the picture stands among them. */
    const mm1_safetensors_tensor *ids = golden_get(sf, "", "ids");
    int32_t *want_ids = golden_ints(ids);
    make_prompt(name, &prompt);
    check_ok(mm1_sequence_build(&prompt, m.tokenizer, &m.images, false, &q, &err), &err);
    assert_int_equal(q.len, ids->shape[0]);
    for (int64_t t = 0; t < q.len; t++) {
        assert_int_equal(q.tokens[t], want_ids[t]);
        assert_int_equal(q.tokens[t] < 0, q.visual[t] >= 0 || q.visual[t] == MM1_VISUAL_NEWLINE);
    }

    /* Pixels, bit for bit. */
    const mm1_safetensors_tensor *pixels = golden_get(sf, "", "pixels");
    const int64_t I = mm1_sequence_n_tiles(&q, 0, 1), C = m.config.decoder.width, V = m.config.decoder.vocab_size;
    assert_int_equal(I, pixels->shape[0]);
    check_ok(mm1_batch_init(&b, 1, q.len, I, m.images.tile_px, &err), &err);
    check_ok(mm1_batch_add(&b, 0, &q, &m.images, 0, name, &err), &err);
    const mm1_part *picture = NULL;
    for (size_t i = 0; i < prompt.n_parts; i++) {
        picture = prompt.parts[i].kind == MM1_PART_IMAGE ? &prompt.parts[i] : picture;
    }
    check_ok(mm1_image_to_pixels(&m.images, &q.images[0], picture->bytes, picture->len, name, b.pixels, &err), &err);
    float *want_pixels = golden_floats(pixels);
    assert_memory_equal(b.pixels, want_pixels, (size_t)pixels->n_elements * sizeof(float));

    /* What stands in the slots, in their order. */
    const mm1_safetensors_tensor *features = golden_get(sf, "", "features");
    float *want = golden_floats(features), *got = mm1_alloc((size_t)features->n_elements, sizeof *got);
    check_ok(mm1_arena_init(&arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    const mm1_tensor *visual = mm1_model_visual(&m, &tape, b.pixels, I);
    check_ok(mm1_tape_status(&tape, &err), &err);
    int64_t n_slots = 0;
    for (int64_t t = 0; t < q.len; t++) {
        const int32_t row = q.visual[t];
        if (row >= 0 || row == MM1_VISUAL_NEWLINE) {
            assert_true(n_slots < features->shape[0]);
            memcpy(got + n_slots++ * C, row >= 0 ? visual->data + row * C : m.newline->data, (size_t)C * sizeof *got);
        }
    }
    assert_int_equal(n_slots, features->shape[0]);
    const double worst_feature = worst_of(got, want, features->n_elements);
    check_close(got, want, features->n_elements, 1e-4, 1e-4);
    mm1_free(got);
    mm1_free(want);

    /* Logits of the last positions. */
    const mm1_safetensors_tensor *logits = golden_get(sf, "", "logits");
    const int64_t n = logits->shape[0];
    assert_int_equal(logits->shape[1], V);
    want = golden_floats(logits);
    got = mm1_alloc((size_t)logits->n_elements, sizeof *got);
    mm1_tape_reset(&tape, 0);
    const mm1_tensor *h = mm1_model_hidden(&m, &tape, &b);
    check_ok(mm1_tape_status(&tape, &err), &err);
    mm1_gemm(&(mm1_gemm_args){.M = n,
                              .N = V,
                              .K = C,
                              .a = h->data + (q.len - n) * C,
                              .lda = C,
                              .b = m.decoder.head->data,
                              .ldb = C,
                              .trans_b = true,
                              .c = got,
                              .ldc = V,
                              .alpha = 1});
    print_message("%s: largest difference of a feature %.1e, of a logit %.1e\n", name, worst_feature,
                  worst_of(got, want, logits->n_elements));
    check_close(got, want, logits->n_elements, 1e-4, 1e-4);
    mm1_free(got);
    mm1_free(want);
    mm1_free(want_pixels);
    mm1_free(want_ids);
    mm1_safetensors_close(sf);
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
    mm1_batch_deinit(&b);
    mm1_sequence_deinit(&q);
    mm1_document_deinit(&prompt);
    mm1_model_deinit(&m);
}

static void ids_pixels_features_and_logits_are_those_of_transformers(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        check_case(CASES[i]);
    }
}

/* Saved as ours and read again, a model says the same. */
static void an_imported_model_survives_our_folder(void **state)
{
    (void)state;
    char dir[200], path[300];
    check_tmpdir(dir, sizeof dir);
    for (int i = 0; i < N_CASES; i++) {
        mm1_error err = {0};
        mm1_model m, again;
        path_of(path, sizeof path, CASES[i], "");
        check_ok(mm1_model_load(&m, path, false, &err), &err);
        check_ok(mm1_model_save(&m, dir, MM1_DTYPE_F32, &err), &err);
        check_ok(mm1_model_load(&again, dir, false, &err), &err);
        assert_memory_equal(&m.config, &again.config, sizeof m.config);
        assert_memory_equal(&m.images, &again.images, sizeof m.images);
        assert_int_equal(m.params.total, again.params.total);
        assert_memory_equal(m.params.data, again.params.data, (size_t)m.params.total * sizeof(float));
        mm1_model_deinit(&again);
        mm1_model_deinit(&m);
    }
}

/* ---- what is refused ---- */

/* The folder of a case in dir, with one text of one of its files replaced. */
static void copy_changed(const char *dir, const char *name, const char *file, const char *from, const char *to)
{
    static const char *const files[] = {"config.json", "preprocessor_config.json", "model.safetensors",
                                        "tokenizer.json"};
    mm1_error err = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[300], *text = NULL;
        size_t len = 0;
        path_of(path, sizeof path, name, files[i]);
        check_ok(mm1_file_read(path, 1 << 24, &text, &len, &err), &err);
        char *out = mm1_path_join(dir, files[i]);
        if (strcmp(files[i], file) == 0) {
            char *at = strstr(text, from);
            if (at == NULL) {
                print_error("%s: no %s\n", path, from);
                fail();
            }
            mm1_buf changed;
            mm1_buf_init(&changed, 1 << 24);
            mm1_buf_append(&changed, text, (size_t)(at - text));
            mm1_buf_puts(&changed, to);
            mm1_buf_append(&changed, at + strlen(from), len - (size_t)(at - text) - strlen(from));
            check_ok(mm1_file_write_atomic(out, changed.data, changed.len, &err), &err);
            mm1_buf_deinit(&changed);
        } else {
            check_ok(mm1_file_write_atomic(out, text, len, &err), &err);
        }
        mm1_free(out);
        mm1_free(text);
    }
}

static void what_is_not_understood_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *name, *file, *from, *to, *says;
    } lies[] = {
        {"llava", "config.json", "\"projector_hidden_act\": \"gelu\"", "\"projector_hidden_act\": \"relu\"",
         "projector_hidden_act \"relu\""},
        {"llava", "config.json", "\"vision_feature_layer\": -2", "\"vision_feature_layer\": -1",
         "vision_feature_layer -1 of 3 blocks"},
        {"llava", "config.json", "\"vision_feature_layer\": -2", "\"vision_feature_layer\": [-2, -1]",
         "vision_feature_layer"},
        {"llava", "config.json", "_strategy\": \"default\"", "_strategy\": \"full\"",
         "vision_feature_select_strategy \"full\""},
        {"llava", "config.json", "\"vision_feature_layer\": -2", "\"mm_hidden_size\": 3, \"vision_feature_layer\": -2",
         "key \"mm_hidden_size\" is not understood"},
        {"llava", "config.json", "\"clip_vision_model\"", "\"vit\"", "model_type \"vit\""},
        {"llava", "config.json", "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"", "model_type \"mamba\""},
        {"llava_next", "preprocessor_config.json", "LlavaNextImageProcessor", "CLIPImageProcessor",
         "is not understood"},
        {"llava_next", "preprocessor_config.json", "56", "57", "image_grid_pinpoints"},
        {"llava_next", "preprocessor_config.json", "\"anyres\"", "\"square\"", "aspect_ratio_setting \"square\""},
        {"smolvlm", "config.json", "\"qk_layer_norms\": false", "\"qk_layer_norms\": true", "qk_layer_norms"},
        {"smolvlm", "config.json", "\"use_resampler\": false", "\"use_resampler\": true", "use_resampler"},
        {"idefics3", "config.json", "\"scale_factor\": 2", "\"scale_factor\": 3", "scale_factor 3 does not divide 4"},
        {"idefics3", "config.json", "\"patch_size\": 7", "\"patch_siz\": 7", "patch_siz"},
        {"idefics3", "preprocessor_config.json", "\"do_image_splitting\": true", "\"do_image_splitting\": false",
         "do_image_splitting"},
        {"smolvlm", "tokenizer.json",
         "{\"id\":6,\"content\":\"<fake_token_around_image>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
         "\"normalized\":false,\"special\":true},",
         "", "no special token <fake_token_around_image>"},
    };
    char dir[200];
    check_tmpdir(dir, sizeof dir);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        mm1_error err = {0};
        mm1_model m;
        copy_changed(dir, lies[i].name, lies[i].file, lies[i].from, lies[i].to);
        const mm1_status st = mm1_model_load(&m, dir, false, &err);
        if (st == MM1_OK) {
            print_error("%s with %s was read\n", lies[i].name, lies[i].to);
            fail();
        }
        check_contains(err.message, lies[i].says);
    }
}

/* LLaVA's own processor can pad to a square with the mean, where CLIP's cuts. */
static void a_processor_may_pad_with_the_mean(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model m;
    char dir[200];
    check_tmpdir(dir, sizeof dir);
    copy_changed(dir, "llava", "preprocessor_config.json", "\"image_processor_type\": \"CLIPImageProcessor\"",
                 "\"do_pad\": true, \"image_processor_type\": \"LlavaImageProcessor\"");
    check_ok(mm1_model_load(&m, dir, false, &err), &err);
    assert_int_equal(m.images.fit, MM1_FIT_PAD);
    static const uint8_t mean[3] = {122, 116, 104};
    assert_memory_equal(m.images.fill, mean, 3);
    mm1_model_deinit(&m);
    copy_changed(dir, "llava", "preprocessor_config.json", "\"image_processor_type\": \"CLIPImageProcessor\"",
                 "\"do_pad\": \"yes\", \"image_processor_type\": \"LlavaImageProcessor\"");
    assert_int_equal(mm1_model_load(&m, dir, false, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "do_pad: true or false");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_pixels_features_and_logits_are_those_of_transformers),
        cmocka_unit_test(an_imported_model_survives_our_folder),
        cmocka_unit_test(what_is_not_understood_is_refused_by_name),
        cmocka_unit_test(a_processor_may_pad_with_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

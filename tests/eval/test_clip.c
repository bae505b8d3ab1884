/* Whole CLIP models against transformers (tools/golden_clip.py): ids of texts, unit vectors of pictures and texts,
 * logits; written again; and what is refused, by name. */
#include "support/golden.h"
#include "support/tmp.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "eval/embedder.h"
#include "model/export.h"
#include "model/import.h"
#include <jansson.h>

#define CLIP MM1_TEST_DATA "/clip/"

static const char *const MODELS[] = {"plain", "legacy"};
enum { N_MODELS = 2 };

/* The cases of a tokenizer: calls fn for each, with the ids between the first token and the last. */
static size_t each_case(const char *name, void (*fn)(void *ctx, const char *text, size_t len, const json_t *ids),
                        void *ctx)
{
    json_t *cases = json_load_file(CLIP "cases.json", JSON_ALLOW_NUL, NULL), *item;
    size_t i, n = 0;
    assert_non_null(cases);
    json_array_foreach(cases, i, item)
    {
        const json_t *text = json_object_get(item, "text");
        if (strcmp(json_string_value(json_object_get(item, "tokenizer")), name) == 0) {
            fn(ctx, json_string_value(text), json_string_length(text), json_object_get(item, "ids"));
            n++;
        }
    }
    json_decref(cases);
    return n;
}

static void check_ids(void *ctx, const char *text, size_t len, const json_t *want)
{
    const mm1_tokenizer *t = ctx;
    const mm1_token_roles *roles = mm1_tokenizer_roles(t);
    mm1_error err = {0};
    mm1_ids ids = {0};
    check_ok(mm1_tokenizer_encode(t, text, len, &ids, &err), &err);
    const size_t n = json_array_size(want);
    assert_int_equal(json_integer_value(json_array_get(want, 0)), roles->bos);
    assert_int_equal(json_integer_value(json_array_get(want, n - 1)), roles->eos[0]);
    for (size_t i = 0; i < ids.n && i + 2 < n; i++) {
        if (ids.items[i] != json_integer_value(json_array_get(want, i + 1))) {
            print_error("\"%s\": id %d at %zu, %lld is wanted\n", text, ids.items[i], i,
                        json_integer_value(json_array_get(want, i + 1)));
            fail();
        }
    }
    assert_int_equal(ids.n + 2, n);
    mm1_ids_free(&ids);
}

static void ids_are_those_of_the_package_before_and_after_saving(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        mm1_error err = {0};
        mm1_tokenizer *t = NULL, *again = NULL;
        char path[300], *text = NULL;
        size_t len = 0;
        (void)snprintf(path, sizeof path, CLIP "%s/tokenizer.json", MODELS[i]);
        check_ok(mm1_tokenizer_load(path, &t, &err), &err);
        assert_true(each_case(MODELS[i], check_ids, t) > 20);
        check_ok(mm1_tokenizer_to_json(t, &text, &len, &err), &err);
        check_ok(mm1_tokenizer_from_json(text, len, "again", &again, &err), &err);
        (void)each_case(MODELS[i], check_ids, again);
        mm1_free(text);

        /* Words end with a blank, and letters are small. */
        mm1_ids ids = {0};
        check_ok(mm1_tokenizer_encode(again, "A Photo,\nÉté", 14, &ids, &err), &err);
        check_ok(mm1_tokenizer_decode(again, ids.items, ids.n, &text, &len, &err), &err);
        assert_string_equal(text, "a photo , été ");
        mm1_free(text);
        mm1_ids_free(&ids);
        mm1_tokenizer_destroy(again);
        mm1_tokenizer_destroy(t);
    }
}

typedef struct text_list {
    const char *texts[40];
    char *owned[40];
    int64_t n;
} text_list;

static void keep_text(void *ctx, const char *text, size_t len, const json_t *ids)
{
    text_list *list = ctx;
    (void)len;
    (void)ids;
    assert_true(list->n < 40);
    list->owned[list->n] = mm1_strdup(text);
    list->texts[list->n] = list->owned[list->n];
    list->n++;
}

static double compare(const char *what, const float *got, const mm1_safetensors_tensor *x, int64_t n)
{
    float *want = golden_floats(x);
    double worst = 0;
    assert_int_equal(x->n_elements, n);
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    }
    if (worst > 1e-4) {
        print_error("%s: differs by %g\n", what, worst);
        fail();
    }
    mm1_free(want);
    return worst;
}

/* Vectors and logits of a folder, which holds what the model of this name does. */
static void check_folder(const char *dir, const char *name)
{
    mm1_error err = {0};
    mm1_model m;
    mm1_embedder *e = NULL;
    text_list list = {.n = 0};
    char path[300];
    (void)snprintf(path, sizeof path, CLIP "%s/golden.safetensors", name);
    mm1_safetensors *sf = golden_open(path);
    const mm1_safetensors_tensor *text = golden_get(sf, "", "text"), *image = golden_get(sf, "", "image");
    const int64_t n = text->shape[0], n_images = image->shape[0];
    (void)each_case(name, keep_text, &list);
    check_ok(mm1_model_load(&m, dir, false, &err), &err);
    assert_int_equal(m.config.kind, MM1_MODEL_CLIP);
    check_ok(mm1_embedder_create(&m, 1, &e, &err), &err);
    const int64_t D = m.config.joint.dim;
    float *pixels = golden_floats(golden_get(sf, "", "pixels"));
    float *units = mm1_alloc((size_t)((n + n_images) * D), sizeof *units), *images = units + n * D, logits[60];
    check_ok(mm1_embedder_texts(e, list.texts, n, units, &err), &err);
    check_ok(mm1_embedder_pictures(e, pixels, n_images, images, &err), &err);
    for (int64_t i = 0; i < n_images * n; i++) {
        double dot = 0;
        for (int64_t d = 0; d < D; d++) {
            dot += (double)images[i / n * D + d] * units[i % n * D + d];
        }
        logits[i] = (float)(exp(m.joint.log_scale->data[0]) * dot);
    }
    const double of_texts = compare("text", units, text, n * D),
                 of_images = compare("image", images, image, n_images * D),
                 of_logits = compare("logits", logits, golden_get(sf, "", "logits"), n_images * n);
    print_message("%s: largest difference of a text %.1e, of a picture %.1e, of a logit %.1e\n", name, of_texts,
                  of_images, of_logits);
    for (int64_t i = 0; i < list.n; i++) {
        mm1_free(list.owned[i]);
    }
    mm1_free(units);
    mm1_free(pixels);
    mm1_embedder_destroy(e);
    mm1_model_deinit(&m);
    mm1_safetensors_close(sf);
}

static void both_towers_compute_what_transformers_computes(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        mm1_error err = {0};
        mm1_model m;
        char dir[300], path[300];
        const char *model_type = NULL;
        (void)snprintf(dir, sizeof dir, CLIP "%s", MODELS[i]);
        check_folder(dir, MODELS[i]);
        /* In our own form, and in theirs again. */
        check_ok(mm1_model_load(&m, dir, false, &err), &err);
        (void)snprintf(path, sizeof path, "%s/ours", tmp);
        check_ok(mm1_dir_make(path, &err), &err);
        check_ok(mm1_model_save(&m, path, MM1_DTYPE_F32, &err), &err);
        check_folder(path, MODELS[i]);
        mm1_model_deinit(&m);
        check_ok(mm1_model_load(&m, path, false, &err), &err);
        (void)snprintf(path, sizeof path, "%s/theirs", tmp);
        check_ok(mm1_dir_make(path, &err), &err);
        check_ok(mm1_export_hf(&m, NULL, path, MM1_DTYPE_F32, &model_type, &err), &err);
        assert_string_equal(model_type, "clip");
        check_folder(path, MODELS[i]);
        mm1_model_deinit(&m);
    }
}

/* ---- what is refused ---- */

/* A file of the plain model into tmp, with the first `from` replaced by `to`. */
static void copy_file(const char *file, const char *from, const char *to)
{
    mm1_error err = {0};
    char path[300], *text = NULL;
    size_t len = 0;
    mm1_buf out;
    (void)snprintf(path, sizeof path, CLIP "plain/%s", file);
    check_ok(mm1_file_read(path, 16 << 20, &text, &len, &err), &err);
    mm1_buf_init(&out, 32 << 20);
    const char *at = from != NULL ? memmem(text, len, from, strlen(from)) : NULL;
    assert_true(from == NULL || at != NULL);
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

static void what_is_not_understood_is_named(void **state)
{
    static const char *const files[] = {"config.json", "preprocessor_config.json", "model.safetensors",
                                        "tokenizer.json"};
    static const struct {
        int file;
        const char *from, *to, *said;
        mm1_status status;
    } cases[] = {
        {0, "\"text_config\"", "\"text_conf\"", "has no text_config", MM1_E_UNSUPPORTED},
        {0, "\"vocab_size\": 707", "\"vocab_size\": 708", "token_embedding.weight", MM1_E_SHAPE},
        {0, "\"vocab_size\": 707", "\"n_registers\": 1, \"vocab_size\": 707", "n_registers", MM1_E_UNSUPPORTED},
        {0, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "text_model.encoder.layers.1.", MM1_E_FORMAT},
        {0, "\"hidden_act\": \"quick_gelu\"", "\"hidden_act\": \"mish\"", "hidden_act \"mish\"", MM1_E_UNSUPPORTED},
        {0, "\"eos_token_id\": 706", "\"eos_token_id\": 705", "texts end with token 706", MM1_E_FORMAT},
        {0, "\"eos_token_id\": 706", "\"eos_token_id\": [706]", "eos_token_id", MM1_E_UNSUPPORTED},
        {0, "\"projection_dim\": 11", "\"text_config_dict\": {\"hidden_size\": 13}, \"projection_dim\": 11",
         "text_config_dict: hidden_size", MM1_E_UNSUPPORTED},
        {2, "text_projection", "text_prOjection", "text_projection.weight", MM1_E_FORMAT},
        {2, "logit_scale", "logit_sCale", "logit_scale", MM1_E_FORMAT},
        {3, "\"sep\":[\"<|endoftext|>\",706]", "\"sep\":[\"<|endoftext|>\",705]", "\"sep\"", MM1_E_FORMAT},
        {3, "\"end_of_word_suffix\":\"</w>\"", "\"end_of_word_suffix\":\"</word>\"", "normalizer", MM1_E_UNSUPPORTED},
        {3, "\"!</w>\":256", "\"! </w>\":256", "lacks byte 33", MM1_E_FORMAT},
        {3, "{\"type\":\"Lowercase\"}", "{\"type\":\"Strip\"}", "normalizer", MM1_E_UNSUPPORTED},
        {3, "\"invert\":true", "\"invert\":false", "Removed", MM1_E_UNSUPPORTED},
        {3, "\"invert\":true", "\"invert\":1", "invert", MM1_E_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_error err = {0};
        mm1_model m;
        for (int k = 0; k < 4; k++) {
            copy_file(files[k], k == cases[i].file ? cases[i].from : NULL, cases[i].to);
        }
        const mm1_status st = mm1_model_load(&m, tmp, false, &err);
        if (st != cases[i].status || strstr(err.message, cases[i].said) == NULL || strstr(err.message, tmp) == NULL) {
            print_error("%s -> %s: %s: \"%s\"\n", cases[i].from, cases[i].to, mm1_status_name(st), err.message);
            fail();
        }
    }
}

int main(void)
{
    mm1_error err = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_the_package_before_and_after_saving),
        cmocka_unit_test_setup_teardown(both_towers_compute_what_transformers_computes, make_tmp, remove_tmp),
        cmocka_unit_test_setup_teardown(what_is_not_understood_is_named, make_tmp, remove_tmp),
    };
    mm1_threads_set(2);
    return mm1_kernels_init(NULL, &err) == MM1_OK ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}

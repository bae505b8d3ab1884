/* Adapters: they change nothing before they are trained, merged they are the same model, and a folder of them is one.
 */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "model/average.h"
#include "model/lora.h"
#include <stdio.h>

#define NANO MM1_TEST_DATA "/../../models/mm1-nano"

enum { T = 24 };

static const char text[] = "A red car is on the road.";

/* Hidden states [T, C] of a text. */
static void hidden_of(const mm1_model *m, float *out)
{
    mm1_error err = {0};
    mm1_arena arena;
    mm1_tape tape;
    mm1_batch b;
    mm1_document d = {0};
    mm1_sequence q;
    check_ok(mm1_document_add_text(&d, text, strlen(text), false, &err), &err);
    check_ok(mm1_sequence_build(&d, m->tokenizer, &m->images, false, &q, &err), &err);
    check_ok(mm1_batch_init(&b, 1, T, 0, 0, &err), &err);
    check_ok(mm1_batch_add(&b, 0, &q, &m->images, 0, "text", &err), &err);
    check_ok(mm1_arena_init(&arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    const mm1_tensor *h = mm1_model_hidden(m, &tape, &b);
    check_ok(mm1_tape_status(&tape, &err), &err);
    memcpy(out, h->data, sizeof *out * (size_t)(T * m->config.decoder.width));
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
    mm1_batch_deinit(&b);
    mm1_sequence_deinit(&q);
    mm1_document_deinit(&d);
}

static void load_with_adapters(mm1_model *m, const mm1_lora_config *c)
{
    mm1_error err = {0};
    mm1_model base;
    check_ok(mm1_model_load(&base, NANO, false, &err), &err);
    check_ok(mm1_model_init(m, &base.config, &err), &err);
    check_ok(mm1_lora_add(m, c, &err), &err);
    check_ok(mm1_params_alloc(&m->params, true, &err), &err);
    mm1_params_init(&m->params, 5);
    check_ok(mm1_model_load_values(m, NANO, &err), &err);
    check_ok(mm1_model_set_tokenizer(m, base.tokenizer, &err), &err);
    base.tokenizer = NULL;
    mm1_model_deinit(&base);
}

static void adapters_change_nothing_at_first_and_merge_to_the_same_model(void **state)
{
    (void)state;
    char *everywhere[] = {(char *)(uintptr_t) "*"};
    const mm1_lora_config c = {.rank = 4, .alpha = 8, .targets = everywhere, .n_targets = 1};
    mm1_error err = {0};
    mm1_model base, m, loaded;
    char dir[200];
    check_ok(mm1_model_load(&base, NANO, false, &err), &err);
    const size_t n = (size_t)(T * base.config.decoder.width);
    float *want = mm1_alloc(n, sizeof *want), *got = mm1_alloc(n, sizeof *got), *merged = mm1_alloc(n, sizeof *merged);
    assert_true(want != NULL && got != NULL && merged != NULL);
    load_with_adapters(&m, &c);
    hidden_of(&base, want);
    hidden_of(&m, got);
    assert_memory_equal(want, got, n * sizeof *want);
    for (int64_t i = 0; i < m.params.n_items; i++) {
        const mm1_param *p = m.params.items[i];
        assert_int_equal(p->tensor.needs_grad, i >= m.lora.n_own);
        assert_true(i >= m.lora.n_own || p->tensor.grad == NULL);
        if (i >= m.lora.n_own && p->init == MM1_INIT_ZEROS) {
            check_fill(p->tensor.data, p->n, -0.02f, 0.02f, (uint64_t)i);
        }
    }
    hidden_of(&m, got);
    double moved = 0, off = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        moved = fmax(moved, fabs((double)got[i] - want[i]));
    }
    assert_true(moved > 0.01);

    /* A folder of them is the base with the adapters merged. */
    check_tmpdir(dir, sizeof dir);
    m.chat = MM1_CHAT_PLAIN;
    check_ok(mm1_lora_save(&m, NANO, dir, &err), &err);
    assert_true(mm1_lora_is_folder(dir));
    check_ok(mm1_model_load(&loaded, dir, false, &err), &err);
    assert_int_equal(loaded.params.n_items, base.params.n_items);
    assert_int_equal(loaded.chat, MM1_CHAT_PLAIN);
    hidden_of(&loaded, merged);
    mm1_lora_merge(&m);
    assert_int_equal(m.params.n_items, base.params.n_items);
    hidden_of(&m, want);
    assert_memory_equal(want, merged, n * sizeof *want);
    for (size_t i = 0; i < n; i++) {
        off = fmax(off, fabs((double)got[i] - merged[i]));
        largest = fmax(largest, fabs((double)got[i]));
    }
    print_message("merged, hidden states of up to %.2g are at most %.2g off; the adapters move them by %.2g\n", largest,
                  off, moved);
    assert_true(off < 1e-5 * largest);
    mm1_free(want);
    mm1_free(got);
    mm1_free(merged);
    mm1_model_deinit(&loaded);
    mm1_model_deinit(&m);
    mm1_model_deinit(&base);
}

/* w + alpha / rank b a, as PEFT has it: forward pass and merging share the scale, and would agree on a wrong one. */
static void a_merged_weight_is_the_base_and_alpha_over_rank_of_the_product(void **state)
{
    (void)state;
    char *one[] = {(char *)(uintptr_t) "decoder.layers.1.mlp.down"};
    const mm1_lora_config c = {.rank = 4, .alpha = 6, .targets = one, .n_targets = 1};
    mm1_model m;
    load_with_adapters(&m, &c);
    mm1_tensor *w = &mm1_params_find(&m.params, "decoder.layers.1.mlp.down.weight")->tensor;
    const mm1_lora *l = w->lora;
    check_fill(l->b->data, mm1_tensor_size(l->b), -0.1f, 0.1f, 3);
    const int64_t M = w->dims[0], K = w->dims[1];
    double *want = mm1_alloc((size_t)(M * K), sizeof *want);
    assert_non_null(want);
    for (int64_t i = 0; i < M * K; i++) {
        want[i] = w->data[i];
        for (int64_t k = 0; k < 4; k++) {
            want[i] += 1.5 * (double)l->b->data[i / K * 4 + k] * (double)l->a->data[k * K + i % K];
        }
    }
    mm1_lora_merge(&m);
    for (int64_t i = 0; i < M * K; i++) {
        assert_true(fabs(want[i] - w->data[i]) < 1e-6);
    }
    mm1_free(want);
    mm1_model_deinit(&m);
}

/* The slab of a model with merged adapters is longer than its base's. */
static void merged_adapters_and_their_base_have_a_mean(void **state)
{
    (void)state;
    const mm1_lora_config c = {.rank = 4, .alpha = 8};
    mm1_error err = {0};
    mm1_model m, base;
    load_with_adapters(&m, &c);
    mm1_lora_merge(&m);
    check_ok(mm1_model_load(&base, NANO, false, &err), &err);
    assert_int_equal(m.params.total, base.params.total);
    check_ok(mm1_model_average_add(&m, 1, &base, &err), &err);
    for (int64_t i = 0; i < base.params.n_items; i++) { /* b is still zero */
        const mm1_param *want = base.params.items[i], *got = m.params.items[i];
        assert_memory_equal(got->tensor.data, want->tensor.data, (size_t)want->n * sizeof(float));
    }
    mm1_model_deinit(&base);
    mm1_model_deinit(&m);
}

static void targets_choose_layers_and_a_wrong_one_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        int64_t n_layers; /* with adapters; nano has six blocks in the decoder and six in the encoder */
    } cases[] = {{NULL, 24}, {"*.qkv", 12}, {"decoder.*.down", 6}, {"connector.*", 26}, {"decoder.layers.5.*", 4}};
    static const char *const wrong[] = {"decoder.embed", "*.norm1", "*.conv2", "q_proj"};
    mm1_error err = {0};
    mm1_model_config config;
    check_ok(mm1_model_config_read(&config, NANO, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases + sizeof wrong / sizeof *wrong; i++) {
        const size_t n_cases = sizeof cases / sizeof *cases;
        char *targets[] = {(char *)(uintptr_t)(i < n_cases ? cases[i].pattern : wrong[i - n_cases])};
        const mm1_lora_config c = {.rank = 2, .alpha = 2, .targets = targets, .n_targets = targets[0] != NULL};
        mm1_model m;
        check_ok(mm1_model_init(&m, &config, &err), &err);
        const int64_t n_own = m.params.n_items;
        if (i < n_cases) {
            check_ok(mm1_lora_add(&m, &c, &err), &err);
            if (m.lora.n != cases[i].n_layers) {
                print_error("%s: %d layers\n", targets[0], (int)m.lora.n);
                fail();
            }
            assert_int_equal(m.params.n_items, n_own + 2 * m.lora.n);
        } else {
            assert_int_equal(mm1_lora_add(&m, &c, &err), MM1_E_CONFIG);
            check_contains(err.message, targets[0]);
        }
        mm1_model_deinit(&m);
    }
}

static void write_file(const char *dir, const char *name, const char *bytes)
{
    mm1_error err = {0};
    char *path = mm1_path_join(dir, name);
    check_ok(mm1_file_write_atomic(path, bytes, strlen(bytes), &err), &err);
    mm1_free(path);
}

#define LORA_X "{\"peft_type\": \"LORA\", \"base_model_name_or_path\": \"x\", \"r\": 4, \"lora_alpha\": 8"

static void folders_that_are_not_understood_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        mm1_status status;
        const char *says;
    } cases[] = {
        {"{", MM1_E_FORMAT, "adapter_config.json:1"},
        {"{\"peft_type\": \"LORA\", \"r\": 4}", MM1_E_FORMAT, "base_model_name_or_path"},
        {"{\"peft_type\": \"IA3\", \"base_model_name_or_path\": \"x\", \"r\": 4, \"lora_alpha\": 8}", MM1_E_UNSUPPORTED,
         "IA3"},
        {"{\"peft_type\": \"LORA\", \"base_model_name_or_path\": \"x\", \"r\": -1, \"lora_alpha\": 8}", MM1_E_FORMAT,
         "rank -1"},
        {LORA_X ", \"use_dora\": true}", MM1_E_UNSUPPORTED, "use_dora"},
        {LORA_X ", \"use_rslora\": true}", MM1_E_UNSUPPORTED, "use_rslora"},
        {LORA_X ", \"modules_to_save\": [\"head\"]}", MM1_E_UNSUPPORTED, "modules_to_save"},
        {LORA_X ", \"rank_pattern\": {\"qkv\": 8}}", MM1_E_UNSUPPORTED, "rank_pattern"},
        {LORA_X ", \"alpha_pattern\": {\"qkv\": 8}}", MM1_E_UNSUPPORTED, "alpha_pattern"},
        {LORA_X ", \"fan_in_fan_out\": true}", MM1_E_UNSUPPORTED, "fan_in_fan_out"},
        /* What changes nothing is no reason: only the values are missing. */
        {LORA_X ", \"use_dora\": false, \"modules_to_save\": null, \"rank_pattern\": {}}", MM1_E_IO,
         "adapter_model.safetensors"},
        {LORA_X "}", MM1_E_IO, "adapter_model.safetensors"},
    };
    char dir[200];
    check_tmpdir(dir, sizeof dir);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_error err = {0};
        mm1_model m;
        write_file(dir, "adapter_config.json", cases[i].config);
        assert_int_equal(mm1_model_load(&m, dir, false, &err), cases[i].status);
        check_contains(err.message, cases[i].says);
    }
}

/* An adapter_model.safetensors of zeros. */
static void write_tensors(const char *dir, mm1_safetensors_entry *entries, size_t n)
{
    static const float zeros[4096];
    mm1_error err = {0};
    char *path = mm1_path_join(dir, "adapter_model.safetensors");
    for (size_t i = 0; i < n; i++) {
        assert_true(entries[i].shape[0] * entries[i].shape[1] <= 4096);
        entries[i].dtype = MM1_DTYPE_F32;
        entries[i].n_dims = 2;
        entries[i].data = zeros;
    }
    check_ok(mm1_safetensors_write(path, entries, n, NULL, 0, &err), &err);
    mm1_free(path);
}

static void write_config(const char *dir)
{
    write_file(dir, "adapter_config.json",
               "{\"peft_type\": \"LORA\", \"base_model_name_or_path\": \"" NANO "\", \"r\": 2, \"lora_alpha\": 2}");
}

/* A bias beside an adapter, say, which PEFT saves on request. */
static void a_tensor_beside_the_adapters_is_not_passed_over(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model_config config;
    mm1_model m;
    char dir[200];
    check_tmpdir(dir, sizeof dir);
    check_ok(mm1_model_config_read(&config, NANO, &err), &err);
    mm1_safetensors_entry entries[] = {
        {.name = "base_model.model.decoder.layers.0.attn.out.lora_A.weight",
         .shape = {2, config.decoder.n_heads * config.decoder.head_dim}},
        {.name = "base_model.model.decoder.layers.0.attn.out.lora_B.weight", .shape = {config.decoder.width, 2}},
        {.name = "base_model.model.decoder.layers.0.attn.out.bias", .shape = {1, config.decoder.width}}};
    write_config(dir);
    write_tensors(dir, entries, 2);
    check_ok(mm1_model_load(&m, dir, false, &err), &err);
    mm1_model_deinit(&m);
    write_tensors(dir, entries, 3);
    assert_int_equal(mm1_model_load(&m, dir, false, &err), MM1_E_FORMAT);
    check_contains(err.message, "3 tensors");
}

/* As for every other model: not a size that is passed over. */
static void an_image_size_for_adapters_of_a_decoder_is_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model_config config;
    mm1_model m;
    char dir[200];
    check_tmpdir(dir, sizeof dir);
    check_ok(mm1_model_config_read(&config, NANO, &err), &err);
    config.kind = MM1_MODEL_DECODER;
    check_ok(mm1_model_config_write(&config, dir, &err), &err);
    write_config(dir);
    write_tensors(dir,
                  &(mm1_safetensors_entry){.name = "base_model.model.decoder.layers.0.attn.out.lora_A.weight",
                                           .shape = {2, config.decoder.n_heads * config.decoder.head_dim}},
                  1);
    assert_int_equal(mm1_model_load_at(&m, dir, 64, false, &err), MM1_E_CONFIG);
    check_contains(err.message, "takes no pictures");
}

/* Prefix and suffix of a name may overlap: what is between them then has less than no length. */
static void a_tensor_that_names_no_layer_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"base_model.model.lora_A.weight", "base_model.model..lora_A.weight",
                                        "model.decoder.layers.0.attn.qkv.lora_A.weight",
                                        "base_model.model.decoder.*.lora_A.weight"};
    char dir[200];
    check_tmpdir(dir, sizeof dir);
    write_config(dir);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mm1_lora_folder f;
        mm1_error err = {0};
        write_tensors(dir, &(mm1_safetensors_entry){.name = wrong[i], .shape = {2, 2}}, 1);
        assert_int_equal(mm1_lora_open(&f, dir, &err), MM1_E_FORMAT);
        check_contains(err.message, wrong[i]);
        check_contains(err.message, "adapter_model.safetensors");
    }
}

static int group_setup(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_threads_set(1);
    return mm1_kernels_init(NULL, &err) == MM1_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_change_nothing_at_first_and_merge_to_the_same_model),
        cmocka_unit_test(a_merged_weight_is_the_base_and_alpha_over_rank_of_the_product),
        cmocka_unit_test(merged_adapters_and_their_base_have_a_mean),
        cmocka_unit_test(targets_choose_layers_and_a_wrong_one_is_named),
        cmocka_unit_test(folders_that_are_not_understood_are_refused),
        cmocka_unit_test(a_tensor_beside_the_adapters_is_not_passed_over),
        cmocka_unit_test(an_image_size_for_adapters_of_a_decoder_is_refused),
        cmocka_unit_test(a_tensor_that_names_no_layer_is_refused),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

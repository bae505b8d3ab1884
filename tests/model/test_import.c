/* Models of other makers against transformers (tools/golden_import.py): logits, whole and with a cache; and what is
 * refused, by name. */
#include "support/golden.h"
#include "support/tmp.h"

#include "base/file.h"
#include "base/thread.h"
#include "kernels/gemm.h"
#include "model/import.h"
#include "model/model.h"

#define HF MM1_TEST_DATA "/model/hf/"

static const char *const CASES[] = {"llama", "llama_scaled", "llama_biased", "mistral", "qwen2",
                                    "qwen3", "mixtral",      "olmoe",        "gpt2",    "gpt2_bare"};
enum { N_CASES = sizeof CASES / sizeof *CASES, MAX_T = 64 };

/* ---- logits ---- */

typedef struct fixture {
    mm1_model model;
    mm1_arena arena;
    mm1_tape tape;
    int32_t *ids, position[MAX_T], lo[MAX_T], hi[MAX_T];
    float *want, *got; /* [T, V] */
    int64_t T, V;
} fixture;

static void setup(fixture *f, const char *name)
{
    mm1_error err = {0};
    char path[300];
    *f = (fixture){0};
    (void)snprintf(path, sizeof path, HF "%s", name);
    check_ok(mm1_model_load(&f->model, path, false, &err), &err);
    (void)snprintf(path, sizeof path, HF "%s/golden.safetensors", name);
    mm1_safetensors *sf = golden_open(path);
    const mm1_safetensors_tensor *logits = golden_get(sf, "", "logits");
    f->T = logits->shape[0];
    f->V = logits->shape[1];
    f->want = golden_floats(logits);
    f->got = mm1_alloc((size_t)logits->n_elements, sizeof *f->got);
    f->ids = golden_ints(golden_get(sf, "", "ids"));
    mm1_safetensors_close(sf);
    assert_true(f->T > 1 && f->T <= MAX_T);
    assert_int_equal(f->V, f->model.config.decoder.vocab_size);
    for (int32_t t = 0; t < f->T; t++) {
        f->position[t] = t;
        f->lo[t] = 0;
        f->hi[t] = t + 1;
    }
    check_ok(mm1_arena_init(&f->arena, 64 << 20, &err), &err);
    check_ok(mm1_tape_init(&f->tape, &f->arena, &err), &err);
}

static void teardown(fixture *f)
{
    mm1_tape_deinit(&f->tape);
    mm1_arena_deinit(&f->arena);
    mm1_model_deinit(&f->model);
    mm1_free(f->ids);
    mm1_free(f->want);
    mm1_free(f->got);
}

/* Logits of positions [begin, begin + n). */
static void forward(fixture *f, int64_t begin, int64_t n, mm1_kv_cache *caches)
{
    mm1_error err = {0};
    const mm1_decoder_config *c = &f->model.config.decoder;
    const mm1_decoder_input in = {.B = 1,
                                  .T = n,
                                  .token = f->ids + begin,
                                  .position = f->position + begin,
                                  .lo = f->lo + begin,
                                  .hi = f->hi + begin,
                                  .runs = &(mm1_kv_run){.n_past = begin, .T = n},
                                  .n_runs = 1};
    mm1_tape_reset(&f->tape, 0);
    const mm1_tensor *h = mm1_decoder_forward(&f->model.decoder, &f->tape, &in, caches);
    check_ok(mm1_tape_status(&f->tape, &err), &err);
    mm1_gemm(&(mm1_gemm_args){.M = n,
                              .N = f->V,
                              .K = c->width,
                              .a = h->data,
                              .lda = c->width,
                              .b = f->model.decoder.head->data,
                              .ldb = c->width,
                              .trans_b = true,
                              .c = f->got + begin * f->V,
                              .ldc = f->V,
                              .alpha = 1});
}

static void logits_are_those_of_transformers(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        fixture f;
        double worst = 0;
        setup(&f, CASES[i]);
        forward(&f, 0, f.T, NULL);
        for (int64_t k = 0; k < f.T * f.V; k++) {
            worst = fmax(worst, fabs((double)f.got[k] - (double)f.want[k]));
        }
        print_message("%s: largest difference of a logit %.1e\n", CASES[i], worst);
        check_close(f.got, f.want, f.T * f.V, 1e-4, 1e-4);
        teardown(&f);
    }
}

/* A first piece, then one position at a time. */
static void logits_with_a_cache_are_the_same(void **state)
{
    (void)state;
    enum { FIRST = 5 };
    for (int i = 0; i < N_CASES; i++) {
        fixture f;
        setup(&f, CASES[i]);
        const mm1_decoder_config *c = &f.model.config.decoder;
        const int64_t n = f.T * c->n_kv_heads * c->head_dim;
        float *kv = mm1_alloc((size_t)(2 * c->n_layers * n), sizeof *kv);
        mm1_kv_cache caches[8];
        assert_true(c->n_layers <= 8);
        for (int64_t k = 0; k < c->n_layers; k++) {
            caches[k] = (mm1_kv_cache){.k = kv + 2 * k * n, .v = kv + (2 * k + 1) * n, .n_slots = 1, .n_max = f.T};
        }
        for (int64_t t = 0; t < f.T; t += t == 0 ? FIRST : 1) {
            forward(&f, t, t == 0 ? FIRST : 1, caches);
        }
        check_close(f.got, f.want, f.T * f.V, 1e-4, 1e-4);
        mm1_free(kv);
        teardown(&f);
    }
}

/* ---- what is refused ---- */

static const char *tmp_path(const char *name)
{
    static char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", tmp, name);
    return path;
}

/* A file of a case with the first `from` replaced by `to` (NULL: as it is), cut to `most` bytes. */
static void copy_file(const char *name, const char *file, const char *from, const char *to, size_t most)
{
    mm1_error err = {0};
    char path[300], *text = NULL;
    size_t len = 0;
    (void)snprintf(path, sizeof path, HF "%s/%s", name, file);
    check_ok(mm1_file_read(path, 16 << 20, &text, &len, &err), &err);
    mm1_buf out;
    mm1_buf_init(&out, 32 << 20);
    const char *at = from != NULL ? memmem(text, len, from, strlen(from)) : NULL;
    if (from != NULL && at == NULL) {
        print_error("%s does not hold %s\n", path, from);
        fail();
    }
    const size_t before = at != NULL ? (size_t)(at - text) : len;
    mm1_buf_append(&out, text, before);
    if (at != NULL) {
        mm1_buf_puts(&out, to);
        mm1_buf_append(&out, at + strlen(from), len - before - strlen(from));
    }
    check_ok(mm1_file_write_atomic(tmp_path(file), mm1_buf_str(&out), out.len < most ? out.len : most, &err), &err);
    mm1_buf_deinit(&out);
    mm1_free(text);
}

/* The folder tmp as a copy of a case. */
static void copy_case(const char *name)
{
    mm1_error err = {0};
    mm1_names names = {0};
    char path[300];
    check_ok(mm1_path_remove(tmp, &err), &err);
    check_ok(mm1_dir_make(tmp, &err), &err);
    (void)snprintf(path, sizeof path, HF "%s", name);
    check_ok(mm1_dir_list(path, &names, &err), &err);
    for (size_t i = 0; i < names.n; i++) {
        copy_file(name, names.items[i], NULL, NULL, SIZE_MAX);
    }
    mm1_names_free(&names);
}

static void refused(mm1_status status, const char *first, const char *second)
{
    mm1_error err = {0};
    mm1_model m;
    const mm1_status st = mm1_model_load(&m, tmp, false, &err);
    if (st != status) {
        print_error("%s: \"%s\", for %s, %s\n", mm1_status_name(st), err.message, first, second);
        fail();
    }
    check_contains(err.message, first);
    check_contains(err.message, second);
}

static void what_is_not_understood_is_named(void **state)
{
    static const struct {
        const char *name, *from, *to;
        mm1_status status;
        const char *said;
    } cases[] = {
        {"llama", "\"llama\"", "\"lama\"", MM1_E_UNSUPPORTED,
         "model_type \"lama\" is not supported; known are mm1, llama, mistral"},
        {"llama", "\"use_cache\"", "\"logit_softcap\": 30.0, \"use_cache\"", MM1_E_UNSUPPORTED, "\"logit_softcap\""},
        {"llama", "\"use_cache\"", "\"quantization_config\": {}, \"use_cache\"", MM1_E_UNSUPPORTED,
         "\"quantization_config\""},
        {"llama", "\"use_cache\"", "\"is_encoder_decoder\": true, \"use_cache\"", MM1_E_UNSUPPORTED,
         "\"is_encoder_decoder\""},
        {"llama", "\"silu\"", "\"mish\"", MM1_E_UNSUPPORTED, "hidden_act \"mish\""},
        {"llama", "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", MM1_E_UNSUPPORTED, "type \"yarn\""},
        {"llama", "\"rope_type\": \"default\"", "\"beta_fast\": 32", MM1_E_FORMAT, "beta_fast"},
        {"llama", "\"rope_type\": \"default\"", "\"partial_rotary_factor\": 0.5", MM1_E_FORMAT,
         "partial_rotary_factor"},
        {"llama_scaled", "\"original_max_position_embeddings\": 16", "\"factor\": 8", MM1_E_FORMAT, "factor"},
        {"llama_scaled", "\"original_max_position_embeddings\": 16,", "", MM1_E_UNSUPPORTED,
         "original_max_position_embeddings"},
        {"llama", "\"attention_bias\": false", "\"attention_bias\": true", MM1_E_UNSUPPORTED, "attention_bias"},
        {"llama", "\"mlp_bias\": false", "\"mlp_bias\": true", MM1_E_UNSUPPORTED, "mlp_bias"},
        {"llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000", MM1_E_FORMAT, "num_hidden_layers"},
        {"llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": \"two\"", MM1_E_FORMAT, "num_hidden_layers"},
        {"llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", MM1_E_FORMAT,
         "'model.layers.2.input_layernorm.weight' is missing"},
        {"llama", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", MM1_E_FORMAT, "\"model.layers.1."},
        {"llama", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", MM1_E_FORMAT, "n_kv_heads"},
        {"llama", "\"vocab_size\": 288", "\"vocab_size\": 16000000", MM1_E_SHAPE, "model.embed_tokens.weight"},
        {"llama", "\"hidden_size\": 24", "\"hidden_size\": 25", MM1_E_SHAPE, "[288, 24], expected [288, 25]"},
        {"llama", "\"head_dim\": 12", "\"head_dim\": 6", MM1_E_SHAPE, "q_proj.weight"},
        {"llama", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", MM1_E_FORMAT,
         "'lm_head.weight' is not the embedding"},
        {"llama_scaled", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", MM1_E_FORMAT,
         "'lm_head.weight' is missing"},
        {"mistral", "\"sliding_window\": 6", "\"sliding_window\": -6", MM1_E_FORMAT, "sliding_window"},
        {"qwen2", "\"use_sliding_window\": false", "\"use_sliding_window\": true", MM1_E_UNSUPPORTED,
         "use_sliding_window"},
        {"qwen2", "\"full_attention\"", "\"sliding_attention\"", MM1_E_UNSUPPORTED, "\"sliding_attention\""},
        {"qwen2", "\"qwen2\"", "\"qwen3\"", MM1_E_SHAPE, "self_attn.q_proj.weight"},
        {"qwen3", "\"attention_bias\": false", "\"attention_bias\": true", MM1_E_UNSUPPORTED, "attention_bias"},
        {"qwen3", "\"head_dim\": 8", "\"head_dim\": 6", MM1_E_SHAPE, "[32, 24], expected [24, 24]"},
        {"gpt2", "\"scale_attn_weights\": true", "\"scale_attn_weights\": false", MM1_E_UNSUPPORTED,
         "scale_attn_weights"},
        {"gpt2", "\"scale_attn_by_inverse_layer_idx\": false", "\"scale_attn_by_inverse_layer_idx\": true",
         MM1_E_UNSUPPORTED, "scale_attn_by_inverse_layer_idx"},
        {"gpt2", "\"n_inner\": null", "\"n_inner\": 48", MM1_E_SHAPE,
         "mlp.c_fc.weight' has the shape [24, 96], expected [24, 48]"},
        {"mixtral", "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 5", MM1_E_FORMAT, "top_k: 5 of 4"},
        {"mixtral", "\"num_local_experts\": 4", "\"num_local_experts\": 5", MM1_E_SHAPE,
         "gate.weight' has the shape [4, 24], expected [5, 24]"},
        {"mixtral", "\"num_local_experts\": 4", "\"num_experts\": 4", MM1_E_UNSUPPORTED, "num_experts"},
        {"olmoe", "\"clip_qkv\": null", "\"clip_qkv\": 8.0", MM1_E_UNSUPPORTED, "clip_qkv"},
        {"olmoe", "\"intermediate_size\": 16", "\"intermediate_size\": 20", MM1_E_SHAPE,
         "mlp.experts.0.gate_proj.weight"},
        {"gpt2_bare", "\"n_layer\": 2", "\"n_layer\": 3", MM1_E_FORMAT, "'h.2.ln_1.weight' is missing"},
        {"llama", "\"model_type\"", "\"extends\": \"/etc/passwd\", \"model_type\"", MM1_E_UNSUPPORTED, "\"extends\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_case(cases[i].name);
        copy_file(cases[i].name, "config.json", cases[i].from, cases[i].to, SIZE_MAX);
        refused(cases[i].status, tmp, cases[i].said);
    }
}

static void broken_files_are_named(void **state)
{
    mm1_error err = {0};
    static const char index[] = "model.safetensors.index.json", shard[] = "model-00002-of-00003.safetensors";
    (void)state;

    copy_case("llama");
    copy_file("llama", shard, NULL, NULL, 3000);
    refused(MM1_E_FORMAT, shard, "cut off");
    copy_case("llama");
    check_ok(mm1_path_remove(tmp_path(shard), &err), &err);
    refused(MM1_E_IO, shard, "is missing");
    copy_case("llama");
    copy_file("llama", index, shard, "../model.safetensors", SIZE_MAX);
    refused(MM1_E_FORMAT, index, "\"../model.safetensors\" is not the name of a file in this folder");
    copy_case("llama");
    copy_file("llama", index, shard, "/etc/passwd", SIZE_MAX);
    refused(MM1_E_FORMAT, index, "\"/etc/passwd\"");
    copy_case("llama");
    copy_file("llama", index, shard, "model-00001-of-00003.safetensors", SIZE_MAX);
    refused(MM1_E_FORMAT, index, "is not in model-00001-of-00003.safetensors");
    copy_case("llama");
    copy_file("llama", index, "lm_head", "lm_heap", SIZE_MAX);
    refused(MM1_E_FORMAT, index, "lm_heap.weight");
    copy_case("llama");
    copy_file("llama", index, "weight_map", "map", SIZE_MAX);
    refused(MM1_E_FORMAT, index, "weight_map");
    copy_case("llama");
    copy_file("llama", index, NULL, NULL, 100);
    refused(MM1_E_FORMAT, index, ":");
    copy_case("llama");
    copy_file("llama", shard, "\"F32\"", "\"F8X\"", SIZE_MAX);
    refused(MM1_E_UNSUPPORTED, shard, "F8X");
    copy_case("llama_scaled");
    copy_file("llama_scaled", "model.safetensors", "\"BF16\"", "\"I16\" ", SIZE_MAX);
    refused(MM1_E_UNSUPPORTED, "model.safetensors", "I16");
    copy_case("llama_scaled");
    copy_file("llama_scaled", "model.safetensors", "[24,32]", "[32,24]", SIZE_MAX);
    refused(MM1_E_SHAPE, "model.safetensors", "[32, 24], expected [24, 32]");
    copy_case("llama_scaled");
    copy_file("llama_scaled", "config.json", NULL, NULL, 60);
    refused(MM1_E_FORMAT, "config.json", ":");
    copy_case("llama_scaled");
    check_ok(mm1_path_remove(tmp_path("model.safetensors"), &err), &err);
    refused(MM1_E_IO, "model.safetensors: no such file", "");
    check_ok(mm1_file_write_atomic(tmp_path("pytorch_model.bin"), "x", 1, &err), &err);
    refused(MM1_E_UNSUPPORTED, "pytorch_model.bin is not read", "let transformers load the folder and save it again");
}

/* Named as transformers 4 does, and with what it puts beside. */
static void older_configurations_say_the_same(void **state)
{
    mm1_error err = {0};
    mm1_import a, b;
    (void)state;
    copy_case("llama_scaled");
    check_ok(mm1_import_read(&a, tmp, &err), &err);
    copy_file("llama_scaled", "config.json", "\"rope_parameters\": {",
              "\"rope_theta\": 500, \"rope_interleaved\": false, \"is_llama_config\": true, \"rope_scaling\": {",
              SIZE_MAX);
    check_ok(mm1_import_read(&b, tmp, &err), &err);
    assert_memory_equal(&a.config, &b.config, sizeof a.config);
    assert_int_equal(b.config.decoder.rope_scaling.type, MM1_ROPE_LLAMA3);
}

/* Mistral's window is 4096 where the file says nothing, and none where it says null. */
static void a_window_that_is_null_is_none(void **state)
{
    static const struct {
        const char *to;
        int64_t window;
    } cases[] = {{"\"sliding_window\": null,", 0}, {"", 4096}, {"\"sliding_window\": 9,", 9}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_error err = {0};
        mm1_import import;
        copy_case("mistral");
        copy_file("mistral", "config.json", "\"sliding_window\": 6,", cases[i].to, SIZE_MAX);
        check_ok(mm1_import_read(&import, tmp, &err), &err);
        assert_int_equal(import.config.decoder.sliding_window, cases[i].window);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),  cmocka_unit_test(logits_with_a_cache_are_the_same),
        cmocka_unit_test(what_is_not_understood_is_named),   cmocka_unit_test(broken_files_are_named),
        cmocka_unit_test(older_configurations_say_the_same), cmocka_unit_test(a_window_that_is_null_is_none),
    };
    mm1_threads_set(2);
    return cmocka_run_group_tests(tests, make_tmp, remove_tmp);
}

/* GGUF models against llama.cpp (tools/golden_import_gguf.py): logits and ids of text; what is written again; what is
 * refused, by name. */
#include "support/golden.h"

#include "base/alloc.h"
#include "base/file.h"
#include "kernels/gemm.h"
#include "model/carry_over.h"
#include "model/export_gguf.h"
#include "model/import_gguf.h"
#include "tensor/gguf.h"
#include <jansson.h>

#define GGUF MM1_TEST_DATA "/model/gguf/"

static const char *const CASES[] = {"llama", "llama_wide", "llama3", "llama_mixed", "qwen2", "qwen3"};
enum { N_CASES = sizeof CASES / sizeof *CASES, MAX_T = 64 };

static mm1_error err;
static char dir[256], path[300];

static int make_dir(void **state)
{
    (void)state;
    check_tmpdir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/x.gguf", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return mm1_path_remove(dir, NULL) == MM1_OK ? 0 : 1;
}

static const char *case_path(const char *name, const char *suffix)
{
    static char full[300];
    (void)snprintf(full, sizeof full, GGUF "%s%s", name, suffix);
    return full;
}

/* ---- what llama.cpp computes ---- */

/* Logits [T, V] of ids; the caller frees. */
static float *logits_of(const mm1_model *m, const int32_t *ids, int64_t T)
{
    const mm1_decoder_config *c = &m->config.decoder;
    int32_t position[MAX_T], lo[MAX_T], hi[MAX_T];
    mm1_arena arena;
    mm1_tape tape;
    float *out = mm1_alloc((size_t)(T * c->vocab_size), sizeof *out);
    assert_true(T <= MAX_T && out != NULL);
    for (int32_t t = 0; t < T; t++) {
        position[t] = t;
        lo[t] = 0;
        hi[t] = t + 1;
    }
    check_ok(mm1_arena_init(&arena, 64 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    const mm1_decoder_input in = {.B = 1, .T = T, .token = ids, .position = position, .lo = lo, .hi = hi};
    const mm1_tensor *h = mm1_decoder_forward(&m->decoder, &tape, &in, NULL);
    check_ok(mm1_tape_status(&tape, &err), &err);
    mm1_gemm(&(mm1_gemm_args){.M = T,
                              .N = c->vocab_size,
                              .K = c->width,
                              .a = h->data,
                              .lda = c->width,
                              .b = m->decoder.head->data,
                              .ldb = c->width,
                              .trans_b = true,
                              .c = out,
                              .ldc = c->vocab_size,
                              .alpha = 1});
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
    return out;
}

static void logits_are_those_of_llama_cpp(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        mm1_model m;
        check_ok(mm1_model_load(&m, case_path(CASES[i], ".gguf"), false, &err), &err);
        mm1_safetensors *sf = golden_open(case_path(CASES[i], ".golden.safetensors"));
        const mm1_safetensors_tensor *golden = golden_get(sf, "", "logits");
        int32_t *ids = golden_ints(golden_get(sf, "", "ids"));
        float *want = golden_floats(golden), *got = logits_of(&m, ids, golden->shape[0]);
        assert_int_equal(golden->shape[1], m.config.decoder.vocab_size);
        double worst = 0;
        for (int64_t k = 0; k < golden->n_elements; k++) {
            worst = fmax(worst, fabs((double)got[k] - (double)want[k]));
        }
        print_message("%s: largest difference of a logit %.1e\n", CASES[i], worst);
        check_close(got, want, golden->n_elements, 1e-4, 1e-4);
        mm1_free(got);
        mm1_free(want);
        mm1_free(ids);
        mm1_safetensors_close(sf);
        mm1_model_deinit(&m);
    }
}

static void ids_of_text_are_those_of_llama_cpp(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        mm1_model m;
        check_ok(mm1_model_load(&m, case_path(CASES[i], ".gguf"), false, &err), &err);
        mm1_safetensors *sf = golden_open(case_path(CASES[i], ".golden.safetensors"));
        int n = 0;
        for (char name[32];; n++) {
            (void)snprintf(name, sizeof name, "text.%d", n);
            const mm1_safetensors_tensor *text = mm1_safetensors_find(sf, name);
            if (text == NULL) {
                break;
            }
            (void)snprintf(name, sizeof name, "text_ids.%d", n);
            const mm1_safetensors_tensor *want = golden_get(sf, "", name);
            mm1_ids ids = {0};
            check_ok(mm1_tokenizer_encode(m.tokenizer, (const char *)text->data, text->n_bytes, &ids, &err), &err);
            if (ids.n != (size_t)want->n_elements || (ids.n > 0 && memcmp(ids.items, want->data, want->n_bytes) != 0)) {
                print_error("%s: text %d has %zu ids, or others than llama.cpp's %lld\n", CASES[i], n, ids.n,
                            (long long)want->n_elements);
                fail();
            }
            mm1_ids_free(&ids);
        }
        assert_true(n > 15);
        mm1_safetensors_close(sf);
        mm1_model_deinit(&m);
    }
}

static void the_configuration_is_what_the_keys_say(void **state)
{
    (void)state;
    mm1_model_config c;
    check_ok(mm1_model_config_read(&c, case_path("llama3", ".gguf"), &err), &err);
    assert_int_equal(c.kind, MM1_MODEL_DECODER);
    assert_int_equal(c.decoder.rope_scaling.type, MM1_ROPE_LLAMA3);
    assert_true(c.decoder.rope_scaling.factor == 8 && c.decoder.rope_theta == 500000);
    assert_true(!c.decoder.tie_embeddings && !c.decoder.bias && !c.decoder.qkv_bias);
    assert_int_equal(c.decoder.head_dim, 64);
    check_ok(mm1_model_config_read(&c, case_path("llama_wide", ".gguf"), &err), &err);
    assert_int_equal(c.decoder.rope_scaling.type, MM1_ROPE_LINEAR);
    assert_true(c.decoder.rope_scaling.factor == 4);
    check_ok(mm1_model_config_read(&c, case_path("qwen2", ".gguf"), &err), &err);
    assert_true(c.decoder.tie_embeddings && c.decoder.qkv_bias && !c.decoder.bias);
    assert_int_equal(c.decoder.qk_norm, MM1_QK_NORM_NONE);
    assert_int_equal(c.decoder.rope_scaling.type, MM1_ROPE_PLAIN);
    assert_int_equal(c.decoder.max_positions, 64);
}

/* ---- writing ---- */

static void check_same_value(const mm1_gguf *a, const mm1_gguf *b, const char *key)
{
    const mm1_gguf_value *x = mm1_gguf_value_find(a, key), *y = mm1_gguf_value_find(b, key);
    assert_true((x == NULL) == (y == NULL));
    if (x == NULL) {
        return;
    }
    assert_true(x->type == y->type && x->is_array == y->is_array && x->n == y->n);
    for (size_t i = 0; x->type == MM1_GGUF_STRING && i < x->n; i++) {
        assert_string_equal(x->strings[i], y->strings[i]);
    }
    if (x->type != MM1_GGUF_STRING) {
        assert_memory_equal(x->numbers, y->numbers, x->n * mm1_gguf_type_bytes(x->type));
    }
}

static void what_is_read_is_written_again(void **state)
{
    (void)state;
    static const char *const keys[] = {"general.architecture",  "tokenizer.ggml.model",      "tokenizer.ggml.pre",
                                       "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"};
    for (int i = 0; i < N_CASES; i++) {
        mm1_model m;
        mm1_gguf *first = NULL, *again = NULL;
        check_ok(mm1_model_load(&m, case_path(CASES[i], ".gguf"), false, &err), &err);
        check_ok(mm1_model_export_gguf(&m, path, MM1_QUANT_F32, NULL, &err), &err);
        check_ok(mm1_gguf_open(&first, case_path(CASES[i], ".gguf"), &err), &err);
        check_ok(mm1_gguf_open(&again, path, &err), &err);
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            check_same_value(first, again, keys[k]);
        }
        assert_int_equal(mm1_gguf_n_tensors(first), mm1_gguf_n_tensors(again));
        for (size_t k = 0; k < mm1_gguf_n_tensors(first); k++) {
            const mm1_gguf_tensor *x = mm1_gguf_tensor_at(first, k), *y = mm1_gguf_tensor_at(again, k);
            float *f = mm1_alloc((size_t)x->n_elements, sizeof *f);
            assert_string_equal(x->name, y->name);
            assert_true(x->n_dims == y->n_dims && y->format == MM1_QUANT_F32);
            assert_memory_equal(x->shape, y->shape, sizeof x->shape);
            mm1_quant_to_f32(x->format, x->data, f, x->n_elements);
            assert_memory_equal(f, y->data, y->n_bytes);
            mm1_free(f);
        }
        /* Every key of the first file that is a number of the model is in the second. */
        const char *architecture = NULL;
        check_ok(mm1_gguf_get_string(first, "general.architecture", &architecture, &err), &err);
        for (size_t k = 0; k < mm1_gguf_n_values(first); k++) {
            const char *key = mm1_gguf_value_at(first, k)->key;
            if (strncmp(key, architecture, strlen(architecture)) == 0) {
                check_same_value(first, again, key);
            }
        }
        mm1_gguf_close(again);
        mm1_gguf_close(first);
        mm1_model_deinit(&m);
    }
}

/* Another program reads it there, and so do we. */
static void a_chat_template_goes_along(void **state)
{
    (void)state;
    static const char chatml[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                                 "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt "
                                 "%}{{ '<|im_start|>assistant\n' }}{% endif %}";
    static const char *const texts[] = {chatml, "{{ messages }}", NULL};
    static const mm1_chat_template known[] = {MM1_CHAT_CHATML, MM1_CHAT_AUTO, MM1_CHAT_AUTO};
    mm1_model m, back;
    check_ok(mm1_model_load(&m, case_path("llama", ".gguf"), false, &err), &err);
    for (int i = 0; i < 3; i++) {
        char *text = NULL;
        check_ok(mm1_model_export_gguf(&m, path, MM1_QUANT_F32, texts[i], &err), &err);
        check_ok(mm1_carry_chat_text(path, &text, &err), &err);
        assert_int_equal(text == NULL, texts[i] == NULL);
        if (text != NULL) {
            assert_string_equal(text, texts[i]);
        }
        mm1_free(text);
        check_ok(mm1_model_load(&back, path, false, &err), &err);
        assert_int_equal(back.chat, known[i]);
        mm1_model_deinit(&back);
    }
    mm1_model_deinit(&m);
}

static void other_formats_are_rounded_and_read_back(void **state)
{
    (void)state;
    static const mm1_quant formats[] = {MM1_QUANT_F16, MM1_QUANT_BF16, MM1_QUANT_Q8_0, MM1_QUANT_Q4_0};
    for (int i = 0; i < 4; i++) {
        mm1_model m, back;
        mm1_gguf *g = NULL;
        check_ok(mm1_model_load(&m, case_path("llama", ".gguf"), false, &err), &err);
        check_ok(mm1_model_export_gguf(&m, path, formats[i], NULL, &err), &err);
        check_ok(mm1_gguf_open(&g, path, &err), &err);
        /* Rows of 24 are no whole blocks, rows of 32 are. */
        const mm1_quant fallback = mm1_quant_block(formats[i]) == 1 ? formats[i] : MM1_QUANT_F16;
        assert_int_equal(mm1_gguf_tensor_find(g, "blk.0.ffn_down.weight")->format, formats[i]);
        assert_int_equal(mm1_gguf_tensor_find(g, "blk.0.attn_q.weight")->format, fallback);
        assert_int_equal(mm1_gguf_tensor_find(g, "blk.0.attn_norm.weight")->format, MM1_QUANT_F32);
        mm1_gguf_close(g);
        check_ok(mm1_model_load(&back, path, false, &err), &err);
        for (int64_t k = 0; k < m.params.n_items; k++) {
            const mm1_param *x = m.params.items[k], *y = back.params.items[k];
            const double error = golden_error(y->tensor.data, x->tensor.data, x->n, NULL);
            const double most = x->tensor.rank < 2 ? 0 : formats[i] == MM1_QUANT_Q4_0 ? 0.15 : 0.01;
            if (error > most || (x->tensor.rank > 1 && error == 0)) {
                print_error("%s as %s: %.3g of it is lost\n", x->name, mm1_quant_name(formats[i]), error);
                fail();
            }
        }
        mm1_model_deinit(&back);
        mm1_model_deinit(&m);
    }
}

/* Ids of all cases of a tokenizer of characters, which may begin a text with a token. */
static void check_char_cases(const char *name, const mm1_tokenizer *t)
{
    json_t *cases = json_load_file(MM1_TEST_DATA "/text/char_cases.json", JSON_ALLOW_NUL, NULL), *item;
    size_t i, n = 0;
    assert_non_null(cases);
    json_array_foreach(cases, i, item)
    {
        const json_t *text = json_object_get(item, "text"), *want = json_object_get(item, "ids");
        mm1_ids ids = {0};
        if (strcmp(json_string_value(json_object_get(item, "tokenizer")), name) != 0) {
            continue;
        }
        check_ok(mm1_tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, &err), &err);
        assert_int_equal(ids.n, json_array_size(want));
        for (size_t k = 0; k < ids.n; k++) {
            assert_int_equal(ids.items[k], json_integer_value(json_array_get(want, k)));
        }
        mm1_ids_free(&ids);
        n++;
    }
    json_decref(cases);
    assert_true(n > 40);
}

/* SentencePiece's kind: bytes for what is not in the vocabulary, U+2581 for blanks. */
static void a_tokenizer_of_characters_comes_back(void **state)
{
    static const char *const names[] = {"llama2", "noprefix"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        mm1_model_config c = {0};
        mm1_model m, back;
        mm1_tokenizer *t = NULL;
        char file[300];
        (void)snprintf(file, sizeof file, MM1_TEST_DATA "/text/char_%s.tokenizer.json", names[i]);
        check_ok(mm1_tokenizer_load(file, &t, &err), &err);
        mm1_token_roles roles = *mm1_tokenizer_roles(t);
        roles.n_eos = 1;
        roles.eos[0] = mm1_tokenizer_special_id(t, "</s>");
        check_ok(mm1_tokenizer_set_roles(t, &roles, &err), &err);
        check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
        c.kind = MM1_MODEL_DECODER;
        c.decoder.vocab_size = mm1_tokenizer_vocab_size(t) + 5; /* rows without a token */
        c.decoder.width = 32;
        c.decoder.n_layers = 1;
        c.decoder.n_heads = 2;
        c.decoder.mlp_width = 32;
        check_ok(mm1_model_init(&m, &c, &err), &err);
        check_ok(mm1_params_alloc(&m.params, false, &err), &err);
        mm1_params_init(&m.params, 5);
        check_ok(mm1_model_set_tokenizer(&m, t, &err), &err);
        (void)snprintf(path, sizeof path, "%s/%s.gguf", dir, names[i]);
        check_ok(mm1_model_export_gguf(&m, path, MM1_QUANT_F32, NULL, &err), &err);
        check_ok(mm1_model_load(&back, path, false, &err), &err);
        check_char_cases(names[i], m.tokenizer);
        check_char_cases(names[i], back.tokenizer);
        assert_int_equal(mm1_tokenizer_roles(back.tokenizer)->bos, roles.bos);
        assert_int_equal(mm1_tokenizer_roles(back.tokenizer)->eos[0], roles.eos[0]);
        mm1_model_deinit(&back);
        mm1_model_deinit(&m);
    }
}

static void what_llama_cpp_cannot_do_is_not_written(void **state)
{
    (void)state;
    mm1_model m;
    check_ok(mm1_model_load(&m, case_path("llama", ".gguf"), false, &err), &err);
    m.config.decoder.norm = MM1_NORM_LAYER;
    assert_int_equal(mm1_model_export_gguf(&m, path, MM1_QUANT_F16, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message,
                   "x.gguf: a decoder without RMS norms, gated SiLU and rotary positions cannot be written");
    m.config.decoder.norm = MM1_NORM_RMS;
    m.config.kind = MM1_MODEL_MM1;
    assert_int_equal(mm1_model_export_gguf(&m, path, MM1_QUANT_F16, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "a model with pictures cannot be written as GGUF");
    m.config.kind = MM1_MODEL_DECODER;
    m.config.decoder.sliding_window = 7;
    assert_int_equal(mm1_model_export_gguf(&m, path, MM1_QUANT_F16, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "a decoder with this sliding window");
    m.config.decoder.sliding_window = 0;
    m.params.items[0]->tensor.data[7] = 1e6f;
    assert_int_equal(mm1_model_export_gguf(&m, path, MM1_QUANT_F16, NULL, &err), MM1_E_NUMERIC);
    check_contains(err.message, "tensor 'token_embd.weight', row 0: a value is not finite or too large for F16");
    mm1_tokenizer *t = m.tokenizer;
    m.tokenizer = NULL;
    assert_int_equal(mm1_model_export_gguf(&m, path, MM1_QUANT_F32, NULL, &err), MM1_E_ARG);
    m.tokenizer = t;
    mm1_model_deinit(&m);

    /* A pattern that has no name. */
    check_ok(mm1_model_load(&m, case_path("qwen2", ".gguf"), false, &err), &err);
    char *json = NULL;
    size_t len = 0;
    check_ok(mm1_tokenizer_to_json(m.tokenizer, &json, &len, &err), &err);
    char *digits = strstr(json, "p{N}|");
    assert_non_null(digits);
    digits[2] = 'S';
    mm1_tokenizer_destroy(m.tokenizer);
    check_ok(mm1_tokenizer_from_json(json, len, "json", &m.tokenizer, &err), &err);
    assert_int_equal(mm1_model_export_gguf(&m, path, MM1_QUANT_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "llama.cpp has no name for how this tokenizer splits text");
    mm1_free(json);
    mm1_model_deinit(&m);
}

/* ---- what is refused ---- */

/* A copy of a case in `path` with one value put in or, if its type is MM1_GGUF_TYPE_COUNT, left out, and one tensor
 * left out, renamed or given another number of rows. */
typedef struct change {
    mm1_gguf_value value;
    const char *tensor, *new_name;
    int64_t rows;
} change;

static void write_changed(const char *name, const change *x)
{
    mm1_gguf *g = NULL;
    mm1_gguf_value values[64];
    mm1_gguf_entry entries[64];
    float *data[64];
    size_t n_values = 0, n = 0;
    check_ok(mm1_gguf_open(&g, case_path(name, ".gguf"), &err), &err);
    assert_true(mm1_gguf_n_values(g) < 60 && mm1_gguf_n_tensors(g) < 60);
    for (size_t i = 0; i < mm1_gguf_n_values(g); i++) {
        const mm1_gguf_value *v = mm1_gguf_value_at(g, i);
        if (x->value.key == NULL || strcmp(v->key, x->value.key) != 0) {
            values[n_values++] = *v;
        }
    }
    if (x->value.key != NULL && x->value.type != MM1_GGUF_TYPE_COUNT) {
        values[n_values++] = x->value;
    }
    for (size_t i = 0; i < mm1_gguf_n_tensors(g); i++) {
        const mm1_gguf_tensor *t = mm1_gguf_tensor_at(g, i);
        const bool is_it = x->tensor != NULL && strcmp(x->tensor, t->name) == 0;
        if (is_it && x->new_name == NULL && x->rows == 0) {
            continue;
        }
        data[n] = mm1_calloc((size_t)t->n_elements + 4096, sizeof **data);
        mm1_quant_to_f32(t->format, t->data, data[n], t->n_elements);
        entries[n] = (mm1_gguf_entry){
            .name = is_it && x->new_name != NULL ? x->new_name : t->name, .n_dims = t->n_dims, .data = data[n]};
        memcpy(entries[n].shape, t->shape, sizeof t->shape);
        entries[n].shape[0] += is_it ? x->rows : 0;
        n++;
    }
    check_ok(mm1_gguf_write(path, values, n_values, entries, n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        mm1_free(data[i]);
    }
    mm1_gguf_close(g);
}

#define INT(name, ...)                                                                                                 \
    {                                                                                                                  \
        .key = (name), .type = MM1_GGUF_U32, .n = 1, .numbers = &(const uint32_t)                                      \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define FLOAT(name, ...)                                                                                               \
    {                                                                                                                  \
        .key = (name), .type = MM1_GGUF_F32, .n = 1, .numbers = &(const float)                                         \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define TEXT(name, ...)                                                                                                \
    {                                                                                                                  \
        .key = (name), .type = MM1_GGUF_STRING, .n = 1, .strings = (const char *const[])                               \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define NOTHING(name)                                                                                                  \
    {                                                                                                                  \
        .key = (name), .type = MM1_GGUF_TYPE_COUNT                                                                     \
    }

static void what_is_not_understood_is_refused_by_name(void **state)
{
    (void)state;
    const struct {
        const char *name;
        change change;
        mm1_status status;
        const char *message;
    } cases[] = {
        {"llama",
         {.value = TEXT("general.architecture", "mamba")},
         MM1_E_UNSUPPORTED,
         "architecture \"mamba\" is not supported; known are llama, qwen2, qwen3"},
        {"llama", {.value = NOTHING("general.architecture")}, MM1_E_FORMAT, "key 'general.architecture' is missing"},
        {"llama",
         {.value = INT("llama.attention.sliding_window", 5)},
         MM1_E_UNSUPPORTED,
         "key 'llama.attention.sliding_window' is not understood, and may change what the model computes"},
        {"llama",
         {.value = INT("split.count", 3)},
         MM1_E_UNSUPPORTED,
         "the model is in several files; join them first"},
        {"llama",
         {.value = INT("llama.expert_count", 8)},
         MM1_E_UNSUPPORTED,
         "key 'llama.expert_count' is 8; only 0 is supported"},
        {"llama",
         {.value = INT("llama.rope.dimension_count", 4)},
         MM1_E_UNSUPPORTED,
         "key 'llama.rope.dimension_count' is 4; only 6 is supported"},
        {"llama", {.value = INT("llama.attention.value_length", 8)}, MM1_E_UNSUPPORTED, "only 6 is supported"},
        {"llama", {.value = NOTHING("llama.block_count")}, MM1_E_FORMAT, "key 'llama.block_count' is missing"},
        {"llama",
         {.value = INT("llama.block_count", 4000000000)},
         MM1_E_LIMIT,
         "key 'llama.block_count' is 4000000000, outside of [0, 1024]"},
        {"llama", {.value = INT("llama.context_length", 4000000000)}, MM1_E_LIMIT, "key 'llama.context_length'"},
        {"llama", {.value = INT("llama.context_length", 0)}, MM1_E_FORMAT, "decoder.max_positions: 0 is below 1"},
        {"llama",
         {.value = INT("llama.embedding_length", 65536)},
         MM1_E_SHAPE,
         "tensor 'token_embd.weight' has the shape [288, 24], expected [288, 65536]"},
        {"llama", {.value = INT("llama.feed_forward_length", 1 << 20)}, MM1_E_SHAPE, "tensor 'blk.0.ffn_gate.weight'"},
        {"llama", {.value = INT("llama.attention.head_count", 0)}, MM1_E_FORMAT, "decoder.n_heads: 0 is below 1"},
        {"llama", {.value = INT("llama.attention.head_count_kv", 3)}, MM1_E_FORMAT, "does not divide n_heads"},
        {"llama", {.value = INT("llama.attention.key_length", 5)}, MM1_E_UNSUPPORTED, "llama.attention.value_length"},
        {"llama", {.value = INT("llama.vocab_size", 300)}, MM1_E_UNSUPPORTED, "only 288 is supported"},
        {"llama", {.value = FLOAT("llama.attention.layer_norm_rms_epsilon", NAN)}, MM1_E_FORMAT, "is not finite"},
        {"llama", {.value = FLOAT("llama.rope.freq_base", -3)}, MM1_E_FORMAT, "decoder.rope_theta: -3 is below 1"},
        {"llama",
         {.value = FLOAT("llama.rope.scaling.attn_factor", 2)},
         MM1_E_UNSUPPORTED,
         "key 'llama.rope.scaling.attn_factor' is not 1"},
        {"llama",
         {.value = TEXT("llama.rope.scaling.type", "yarn")},
         MM1_E_UNSUPPORTED,
         "key 'llama.rope.scaling.type' \"yarn\" is not supported"},
        {"llama3",
         {.value = FLOAT("llama.rope.freq_base", 10000)},
         MM1_E_UNSUPPORTED,
         "tensor 'rope_freqs.weight' stretches positions in another way than Llama 3.1 does"},
        {"llama", {.tensor = "token_embd.weight"}, MM1_E_FORMAT, "tensor 'token_embd.weight' is missing"},
        {"llama", {.tensor = "blk.1.attn_k.weight"}, MM1_E_FORMAT, "tensor 'blk.1.attn_k.weight' is missing"},
        {"llama",
         {.tensor = "blk.1.attn_k.weight", .rows = 1},
         MM1_E_SHAPE,
         "tensor 'blk.1.attn_k.weight' has the shape [13, 24], expected [12, 24]"},
        {"llama", {.tensor = "output_norm.weight", .rows = -1}, MM1_E_SHAPE, "tensor 'output_norm.weight'"},
        {"llama",
         {.tensor = "blk.1.attn_k.weight", .new_name = "blk.2.attn_k.weight"},
         MM1_E_FORMAT,
         "tensor 'blk.1.attn_k.weight' is missing"},
        {"llama_wide",
         {.tensor = "output.weight", .new_name = "output.bias"},
         MM1_E_FORMAT,
         "tensor \"output.bias\" is none of this model"},
        {"qwen3", {.tensor = "blk.1.attn_k_norm.weight"}, MM1_E_FORMAT, "tensor 'blk.1.attn_k_norm.weight' is missing"},
        {"qwen2", {.tensor = "blk.0.attn_v.bias"}, MM1_E_FORMAT, "tensor 'blk.0.attn_v.bias' is missing"},
        {"llama",
         {.value = TEXT("tokenizer.ggml.model", "rwkv")},
         MM1_E_UNSUPPORTED,
         "key 'tokenizer.ggml.model' \"rwkv\" is not supported; gpt2 and llama are"},
        {"llama",
         {.value = TEXT("tokenizer.ggml.pre", "tekken")},
         MM1_E_UNSUPPORTED,
         "key 'tokenizer.ggml.pre' \"tekken\" is not supported; gpt-2, smollm, llama-bpe and qwen2 are"},
        {"llama", {.value = NOTHING("tokenizer.ggml.pre")}, MM1_E_FORMAT, "key 'tokenizer.ggml.pre' is missing"},
        {"llama", {.value = NOTHING("tokenizer.ggml.tokens")}, MM1_E_FORMAT, "'tokenizer.ggml.tokens' is missing"},
        {"llama", {.value = NOTHING("tokenizer.ggml.merges")}, MM1_E_FORMAT, "'tokenizer.ggml.merges' is missing"},
        {"llama", {.value = TEXT("tokenizer.ggml.merges", "a b")}, MM1_E_FORMAT, "expected an array of STRING"},
        {"llama",
         {.value = {.key = "tokenizer.ggml.merges",
                    .type = MM1_GGUF_STRING,
                    .is_array = true,
                    .n = 1,
                    .strings = (const char *const[]){"a zzz"}}},
         MM1_E_FORMAT,
         "merge 0 (\"a\" and \"zzz\")"},
        {"llama",
         {.value = {.key = "tokenizer.ggml.token_type",
                    .type = MM1_GGUF_I32,
                    .is_array = true,
                    .n = 2,
                    .numbers = (const int32_t[]){1, 1}}},
         MM1_E_FORMAT,
         "key 'tokenizer.ggml.token_type' has 2 elements for 288 tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t before = mm1_alloc_bytes();
        mm1_model m;
        write_changed(cases[i].name, &cases[i].change);
        const mm1_status st = mm1_model_load(&m, path, false, &err);
        if (st != cases[i].status) {
            print_error("\"%s\" expected, got %s: %s\n", cases[i].message, mm1_status_name(st), err.message);
            fail();
        }
        check_contains(err.message, cases[i].message);
        check_contains(err.message, "x.gguf: ");
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    mm1_model_config c;
    check_ok(mm1_model_config_read(&c, case_path("llama", ".gguf"), &err), &err);
    c.decoder.max_positions = 1 << 20;
    check_ok(mm1_model_config_resolve(&c, &err), &err);
    c.decoder.max_positions = 1 << 24;
    c.decoder.head_dim = 1024;
    assert_int_equal(mm1_model_config_resolve(&c, &err), MM1_E_LIMIT);
    check_contains(err.message, "a table of 16777216 positions by head_dim 1024 is over 1 GiB");
    /* Unchanged, it loads; other keys of other makers do not matter. */
    mm1_model m;
    write_changed("llama", &(change){.value = INT("quantize.imatrix.chunks_count", 3)});
    check_ok(mm1_model_load(&m, path, false, &err), &err);
    mm1_model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_llama_cpp),
        cmocka_unit_test(ids_of_text_are_those_of_llama_cpp),
        cmocka_unit_test(the_configuration_is_what_the_keys_say),
        cmocka_unit_test(what_is_read_is_written_again),
        cmocka_unit_test(other_formats_are_rounded_and_read_back),
        cmocka_unit_test(a_chat_template_goes_along),
        cmocka_unit_test(a_tokenizer_of_characters_comes_back),
        cmocka_unit_test(what_llama_cpp_cannot_do_is_not_written),
        cmocka_unit_test(what_is_not_understood_is_refused_by_name),
    };
    mm1_error init = {0};
    if (mm1_kernels_init(NULL, &init) != MM1_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

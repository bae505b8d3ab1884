/* Models written as transformers stores them: what is read, written and read again has the same bits, and the files
 * hold what the files of transformers hold. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "model/export.h"
#include "model/import.h"

#define HF MM1_TEST_DATA "/model/hf/"

static char tmp[200];

static int make_tmp(void **state)
{
    (void)state;
    check_tmpdir(tmp, sizeof tmp);
    return 0;
}

static int remove_tmp(void **state)
{
    mm1_error err = {0};
    (void)state;
    check_ok(mm1_path_remove(tmp, &err), &err);
    return 0;
}

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

/* Names, shapes and values in one folder and in another, but for a beginning that one of them may leave out. */
static void check_same_tensors(const char *dir, const char *other, const char *prefix)
{
    mm1_error err = {0};
    mm1_weights a, b;
    check_ok(mm1_weights_open(&a, dir, &err), &err);
    check_ok(mm1_weights_open(&b, other, &err), &err);
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        const mm1_weight *x = &a.items[i], *y;
        const char *name = strncmp(x->name, prefix, strlen(prefix)) == 0 ? x->name + strlen(prefix) : x->name;
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
        const char *name, *model_type, *prefix;
        mm1_dtype dtype;
    } cases[] = {{"llama", "llama", "", MM1_DTYPE_F32},        {"llama_scaled", "llama", "", MM1_DTYPE_BF16},
                 {"llama_biased", "llama", "", MM1_DTYPE_F16}, {"mistral", "mistral", "", MM1_DTYPE_BF16},
                 {"qwen2", "qwen2", "", MM1_DTYPE_BF16},       {"qwen3", "qwen3", "", MM1_DTYPE_BF16},
                 {"mixtral", "mixtral", "", MM1_DTYPE_BF16},   {"olmoe", "olmoe", "", MM1_DTYPE_BF16},
                 {"gpt2", "gpt2", "", MM1_DTYPE_F16},          {"gpt2_bare", "gpt2", "transformer.", MM1_DTYPE_F16}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int exact = 0; exact < 2; exact++) {
            mm1_error err = {0};
            mm1_model before, after;
            char source[300];
            const char *model_type = NULL;
            (void)snprintf(source, sizeof source, HF "%s", cases[i].name);
            check_ok(mm1_model_load(&before, source, false, &err), &err);
            check_ok(mm1_export_hf(&before, tmp, exact == 1 ? MM1_DTYPE_F32 : cases[i].dtype, &model_type, &err), &err);
            assert_string_equal(model_type, cases[i].model_type);
            check_ok(mm1_model_load(&after, tmp, false, &err), &err);
            check_same_model(&before, &after);
            if (exact == 0) {
                check_same_tensors(tmp, source, cases[i].prefix);
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
    check_ok(mm1_export_hf(&m, tmp, MM1_DTYPE_F32, &got, &err), &err);
    assert_string_equal(got, want);
    check_ok(mm1_import_read(&import, tmp, &err), &err);
    assert_memory_equal(&import.config.decoder, &m.config.decoder, sizeof m.config.decoder);
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
    assert_int_equal(mm1_export_hf(&m, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "llama (model.decoder.qk_norm)");
    check_contains(err.message, "olmoe (model.decoder.moe.every)");
    check_contains(err.message, "gpt2 (model.decoder.positions)");
    mm1_model_deinit(&m);

    c.decoder.moe.every = 1;
    c.decoder.head_dim = 6;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "mixtral (model.decoder.qk_norm), olmoe (model.decoder.head_dim)");
    mm1_model_deinit(&m);

    c = tiny_config();
    c.kind = MM1_MODEL_MM1;
    check_ok(mm1_model_init(&m, &c, &err), &err);
    assert_int_equal(mm1_export_hf(&m, tmp, MM1_DTYPE_F32, NULL, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "llama (model.kind)");
    mm1_model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_is_written_as_it_was),
        cmocka_unit_test(what_was_made_here_finds_its_architecture),
        cmocka_unit_test(what_no_architecture_holds_is_refused_with_the_reasons),
    };
    mm1_threads_set(2);
    return cmocka_run_group_tests(tests, make_tmp, remove_tmp);
}

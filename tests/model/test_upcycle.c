/* A model that was made sparse computes what the dense one does, until it is trained. */
#include "support/tiny_model.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "model/upcycle.h"

enum { T = 30, V = 50 };

static mm1_moe_config experts(int64_t n, int64_t top_k, int64_t every)
{
    mm1_moe_config c;
    mm1_error err = {0};
    check_ok(mm1_fields_defaults(mm1__moe_fields, &c, &err), &err);
    c.n_experts = n;
    c.top_k = top_k;
    c.every = every;
    return c;
}

static void make_dense(mm1_model *m, bool gated)
{
    mm1_error err = {0};
    mm1_model_config c = tiny_model_config(V, T, 4);
    c.decoder.gated = gated;
    check_ok(mm1_model_init(m, &c, &err), &err);
    check_ok(mm1_params_alloc(&m->params, false, &err), &err);
    mm1_params_init(&m->params, 3);
}

/* Logits [T, V] of a text; mm1_free() them. */
static float *logits_of(const mm1_model *m)
{
    mm1_error err = {0};
    mm1_arena arena;
    mm1_tape tape;
    int32_t token[T], position[T], lo[T] = {0}, hi[T];
    for (int i = 0; i < T; i++) {
        token[i] = (7 * i + 3) % V;
        position[i] = i;
        hi[i] = i + 1;
    }
    check_ok(mm1_arena_init(&arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    const mm1_decoder_input in = {.B = 1, .T = T, .token = token, .position = position, .lo = lo, .hi = hi};
    mm1_tensor *h = mm1_decoder_forward(&m->decoder, &tape, &in, NULL);
    const mm1_tensor *y = mm1_op_linear(&tape, h, m->decoder.head, NULL, MM1_ACT_NONE, NULL);
    check_ok(mm1_tape_status(&tape, &err), &err);
    float *logits = mm1_alloc((size_t)T * V, sizeof *logits);
    memcpy(logits, y->data, (size_t)T * V * sizeof *logits);
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
    return logits;
}

static void logits_stay_what_they_were(void **state)
{
    (void)state;
    static const struct {
        int64_t n, top_k, every;
        bool gated;
    } cases[] = {{8, 2, 2, true}, {4, 1, 1, true}, {5, 3, 4, false}, {1, 1, 1, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_error err = {0};
        mm1_model dense, sparse;
        make_dense(&dense, cases[i].gated);
        const mm1_moe_config moe = experts(cases[i].n, cases[i].top_k, cases[i].every);
        check_ok(mm1_model_upcycle(&dense, &moe, 5, &sparse, &err), &err);
        assert_int_equal(sparse.decoder.routing.n_layers, 4 / cases[i].every);
        assert_int_equal(sparse.config.decoder.moe.mlp_width, 48);
        float *want = logits_of(&dense), *got = logits_of(&sparse);
        /* The gates of copies add up to 1 but for their rounding. */
        check_close(got, want, (int64_t)T * V, 1e-5, 1e-5);
        mm1_free(want);
        mm1_free(got);
        mm1_model_deinit(&dense);
        mm1_model_deinit(&sparse);
    }
}

static void routers_differ_and_follow_the_seed(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model dense, sparse[3];
    const mm1_moe_config moe = experts(4, 2, 2);
    make_dense(&dense, true);
    for (int i = 0; i < 3; i++) {
        check_ok(mm1_model_upcycle(&dense, &moe, i == 2 ? 6 : 5, &sparse[i], &err), &err);
    }
    const float *a = sparse[0].decoder.blocks[1].moe.router_w->data,
                *b = sparse[1].decoder.blocks[1].moe.router_w->data;
    const float *other = sparse[2].decoder.blocks[1].moe.router_w->data;
    const float *next = sparse[0].decoder.blocks[3].moe.router_w->data;
    assert_memory_equal(a, b, 4 * 32 * sizeof *a);
    assert_memory_not_equal(a, other, 4 * 32 * sizeof *a);
    assert_memory_not_equal(a, next, 4 * 32 * sizeof *a);
    double sum = 0;
    for (int i = 0; i < 4 * 32; i++) {
        sum += (double)a[i] * a[i];
    }
    assert_true(sum > 2 && sum < 8); /* 4 rows of norm about 1 */
    for (int i = 0; i < 3; i++) {
        mm1_model_deinit(&sparse[i]);
    }
    mm1_model_deinit(&dense);
}

static void what_cannot_be_copied_is_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model dense, sparse, twice;
    mm1_moe_config moe = experts(4, 2, 2);
    make_dense(&dense, true);
    moe.normalize = false;
    assert_int_equal(mm1_model_upcycle(&dense, &moe, 0, &sparse, &err), MM1_E_CONFIG);
    moe = experts(4, 2, 2);
    moe.mlp_width = 20;
    assert_int_equal(mm1_model_upcycle(&dense, &moe, 0, &sparse, &err), MM1_E_CONFIG);
    check_contains(err.message, "48");
    moe = experts(4, 5, 2);
    assert_int_equal(mm1_model_upcycle(&dense, &moe, 0, &sparse, &err), MM1_E_CONFIG);
    check_contains(err.message, "top_k: 5 of 4");
    moe = experts(0, 2, 2);
    assert_int_equal(mm1_model_upcycle(&dense, &moe, 0, &sparse, &err), MM1_E_CONFIG);
    moe = experts(4, 2, 2);
    check_ok(mm1_model_upcycle(&dense, &moe, 0, &sparse, &err), &err);
    assert_int_equal(mm1_model_upcycle(&sparse, &moe, 0, &twice, &err), MM1_E_CONFIG);
    check_contains(err.message, "sparse already");
    mm1_model_deinit(&sparse);
    mm1_model_deinit(&dense);
    mm1_model_config c = tiny_model_config(V, T, 4);
    c.decoder.bias = true;
    check_ok(mm1_model_init(&dense, &c, &err), &err);
    assert_int_equal(mm1_model_upcycle(&dense, &moe, 0, &sparse, &err), MM1_E_CONFIG);
    check_contains(err.message, "bias");
    mm1_model_deinit(&dense);
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
        cmocka_unit_test(logits_stay_what_they_were),
        cmocka_unit_test(routers_differ_and_follow_the_seed),
        cmocka_unit_test(what_cannot_be_copied_is_refused),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

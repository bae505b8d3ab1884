/* The profile of a tape: all time and all work is in one row or another, and measuring changes nothing. */
#include "support/golden.h"

#include "base/thread.h"
#include "tensor/tensor.h"

enum { N = 6, C = 8, H = 2, D = 4, V = 12 };

typedef struct net {
    mm1_arena arena;
    mm1_tape tape;
    mm1_tensor norm, qkv, head;
    float norm_data[2][C], qkv_data[2][3 * C * C], head_data[2][V * C]; /* values, gradients */
    float x[N * C], nll[N];
    int32_t lo[N], hi[N], target[N];
} net;

static mm1_tensor param(float *data, float *grad, int64_t rows, int64_t n, uint64_t seed)
{
    check_fill(data, rows * n, -1, 1, seed);
    return (mm1_tensor){.data = data, .grad = grad, .dims = {rows, n}, .rank = 2, .needs_grad = true, .is_param = true};
}

static void net_setup(net *n)
{
    mm1_error err = {0};
    memset(n, 0, sizeof *n);
    check_ok(mm1_arena_init(&n->arena, 1 << 24, &err), &err);
    check_ok(mm1_tape_init(&n->tape, &n->arena, &err), &err);
    n->tape.recording = true;
    n->norm = param(n->norm_data[0], n->norm_data[1], 1, C, 1);
    n->qkv = param(n->qkv_data[0], n->qkv_data[1], 3 * C, C, 2);
    n->head = param(n->head_data[0], n->head_data[1], V, C, 3);
    check_fill(n->x, N * C, -1, 1, 4);
    for (int i = 0; i < N; i++) {
        n->hi[i] = i + 1; /* causal, but the first two see nothing */
        n->lo[i] = i < 2 ? n->hi[i] : 0;
        n->target[i] = i % 2 == 0 ? i : -1;
    }
}

static void net_teardown(net *n)
{
    mm1_tape_deinit(&n->tape);
    mm1_arena_deinit(&n->arena);
}

static void net_run(net *n)
{
    mm1_error err = {0};
    mm1_tape *t = &n->tape;
    const mm1_attention_spec spec = {
        .B = 1, .T = N, .S = N, .H = H, .Hkv = H, .D = D, .k_col = C, .v_col = 2 * C, .lo = n->lo, .hi = n->hi};
    mm1_tape_reset(t, 0);
    mm1_tensor *x = mm1_tensor_borrow(t, n->x, 2, (int64_t[]){N, C});
    x = mm1_op_norm(t, x, MM1_NORM_RMS, &n->norm, NULL, 1e-5f);
    x = mm1_op_linear(t, x, &n->qkv, NULL, MM1_ACT_NONE, NULL);
    x = mm1_op_attention(t, x, x, x, &spec);
    assert_true(mm1_op_xent(t, x, &n->head, n->target, n->nll, 1, 0));
    mm1_tape_backward(t);
    check_ok(mm1_tape_status(t, &err), &err);
}

static const mm1_profile_row *row(const mm1_profile *p, const char *name)
{
    for (int i = 0; i < p->n_rows; i++) {
        if (strcmp(p->rows[i].name, name) == 0) {
            return &p->rows[i];
        }
    }
    fail_msg("no row \"%s\"", name);
    return NULL;
}

static void every_operation_is_counted_where_it_is_done(void **state)
{
    (void)state;
    enum { TARGETS = N / 2, PAIRS = 3 + 4 + 5 + 6, STEPS = 3 };
    net n;
    mm1_profile p;
    net_setup(&n);
    mm1_profile_clear(&p);
    n.tape.profile = &p;
    const double start = mm1_time_now();
    for (int i = 0; i < STEPS; i++) {
        mm1_profile_start(&p);
        net_run(&n);
    }
    const double took = mm1_time_now() - start;
    assert_int_equal(p.n_rows, 4);
    for (int i = 0; i < p.n_rows; i++) {
        for (int pass = 0; pass < MM1_PASS_COUNT; pass++) {
            assert_int_equal(p.rows[i].pass[pass].calls, STEPS);
            assert_true(p.rows[i].pass[pass].seconds > 0);
        }
    }
    assert_true(mm1_profile_seconds(&p) <= took);
    assert_true(mm1_profile_seconds(&p) > 0.5 * took);
    assert_true(mm1_profile_product_seconds(&p) <= mm1_profile_seconds(&p));

    const double linear = 2.0 * N * 3 * C * C * STEPS, head = 2.0 * TARGETS * V * C * STEPS;
    const mm1_profile_row *r = row(&p, "linear");
    assert_true(r->pass[MM1_PASS_FORWARD].flops == linear);
    assert_true(r->pass[MM1_PASS_BACKWARD].flops == 2 * linear);
    r = row(&p, "head and loss"); /* both gradients are formed in the forward pass */
    assert_true(r->pass[MM1_PASS_FORWARD].flops == 3 * head);
    assert_true(p.gemm_flops == 3 * linear + 3 * head);
    r = row(&p, "attention");
    assert_true(r->pass[MM1_PASS_FORWARD].flops == 4.0 * PAIRS * H * D * STEPS);
    assert_true(r->pass[MM1_PASS_BACKWARD].flops == 10.0 * PAIRS * H * D * STEPS);
    assert_true(p.attention_flops == 14.0 * PAIRS * H * D * STEPS);
    r = row(&p, "norm");
    assert_true(r->pass[MM1_PASS_FORWARD].bytes == 4.0 * 2 * N * C * STEPS);
    assert_true(r->pass[MM1_PASS_FORWARD].flops == 0);
    net_teardown(&n);
}

static void measuring_changes_no_bit(void **state)
{
    (void)state;
    net plain, measured;
    mm1_profile p;
    mm1_profile_clear(&p);
    net_setup(&plain);
    net_run(&plain);
    net_setup(&measured);
    measured.tape.profile = &p;
    mm1_profile_start(&p);
    net_run(&measured);
    assert_memory_equal(plain.nll, measured.nll, sizeof plain.nll);
    assert_memory_equal(plain.qkv_data, measured.qkv_data, sizeof plain.qkv_data);
    assert_memory_equal(plain.head_data, measured.head_data, sizeof plain.head_data);
    assert_memory_equal(plain.norm_data, measured.norm_data, sizeof plain.norm_data);
    net_teardown(&measured);
    net_teardown(&plain);
}

static void attention_is_a_product_as_long_as_the_product_would_have_taken(void **state)
{
    (void)state;
    const mm1_profile slow = {.gemm_seconds = 2, .gemm_flops = 100, .attention_seconds = 3, .attention_flops = 50};
    assert_true(mm1_profile_product_seconds(&slow) == 3); /* 50 operations take 1 s at that rate */
    const mm1_profile fast = {.gemm_seconds = 2, .gemm_flops = 100, .attention_seconds = 0.5, .attention_flops = 50};
    assert_true(mm1_profile_product_seconds(&fast) == 2.5);
    const mm1_profile none = {.attention_seconds = 3, .attention_flops = 50};
    assert_true(mm1_profile_product_seconds(&none) == 0);
}

static void a_full_table_adds_to_its_last_row(void **state)
{
    (void)state;
    static char names[MM1_PROFILE_ROWS + 2][8];
    mm1_profile p;
    mm1_profile_clear(&p);
    mm1_profile_start(&p);
    for (int i = 0; i < MM1_PROFILE_ROWS + 2; i++) {
        (void)snprintf(names[i], sizeof names[i], "row %d", i);
        const int at = mm1_profile_lap(&p, names[i], MM1_PASS_FORWARD, 1);
        assert_int_equal(at, i < MM1_PROFILE_ROWS ? i : MM1_PROFILE_ROWS - 1);
    }
    assert_int_equal(p.n_rows, MM1_PROFILE_ROWS);
    assert_int_equal(p.rows[MM1_PROFILE_ROWS - 1].pass[MM1_PASS_FORWARD].calls, 3);
    assert_int_equal(mm1_profile_lap(&p, "row 0", MM1_PASS_BACKWARD, 0), 0);
}

int main(void)
{
    mm1_error err = {0};
    mm1_threads_set(2);
    check_ok(mm1_kernels_init(NULL, &err), &err);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_counted_where_it_is_done),
        cmocka_unit_test(measuring_changes_no_bit),
        cmocka_unit_test(attention_is_a_product_as_long_as_the_product_would_have_taken),
        cmocka_unit_test(a_full_table_adds_to_its_last_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

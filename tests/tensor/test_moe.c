/* Mixture of experts: invariants of the formulas, experts that are full or empty, and the same bits for any number of
 * threads.  Values and gradients against PyTorch are in test_ops_golden.c. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "tensor/tensor.h"

enum { MAX_E = 64 };

/* One sparse layer on memory of its own; all inputs are trained. */
typedef struct layer {
    int64_t N, E, K, F;
    mm1_arena arena;
    mm1_tape tape;
    mm1_tensor x, router, up, down, residual;
    mm1_moe moe;
    mm1_routing routing;
    mm1_routing_layer said;
    int64_t load[MAX_E];
    float *dy;
} layer;

static void tensor_init(mm1_tensor *t, int rank, const int64_t *dims, double range, uint64_t seed)
{
    *t = (mm1_tensor){.rank = rank, .needs_grad = true, .is_param = true};
    memcpy(t->dims, dims, (size_t)rank * sizeof *dims);
    const int64_t n = mm1_tensor_size(t);
    t->data = mm1_alloc((size_t)n, sizeof *t->data);
    t->grad = mm1_calloc((size_t)n, sizeof *t->grad);
    check_fill(t->data, n, -range, range, seed);
}

static void setup(layer *l, int64_t N, int64_t E, int64_t K, int64_t F, int64_t top_k, bool gated)
{
    mm1_error err = {0};
    memset(l, 0, sizeof *l);
    l->N = N;
    l->E = E;
    l->K = K;
    l->F = F;
    tensor_init(&l->x, 2, (int64_t[]){N, K}, 1, 1);
    tensor_init(&l->router, 2, (int64_t[]){E, K}, 1, 2);
    tensor_init(&l->up, 3, (int64_t[]){E, gated ? 2 * F : F, K}, 0.5, 3);
    tensor_init(&l->down, 3, (int64_t[]){E, K, F}, 0.5, 4);
    tensor_init(&l->residual, 2, (int64_t[]){N, K}, 1, 5);
    l->moe = (mm1_moe){.router_w = &l->router,
                       .up_w = &l->up,
                       .down_w = &l->down,
                       .act = MM1_ACT_SILU,
                       .gated = gated,
                       .normalize = true,
                       .top_k = top_k};
    l->routing = (mm1_routing){
        .T = N, .scale = 1.0 / (double)N, .n_layers = 1, .n_experts = E, .layers = &l->said, .load = l->load};
    l->dy = mm1_alloc((size_t)(N * K), sizeof *l->dy);
    check_fill(l->dy, N * K, -1, 1, 6);
    check_ok(mm1_arena_init(&l->arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&l->tape, &l->arena, &err), &err);
    l->tape.recording = true;
    l->tape.routing = &l->routing;
}

static void teardown(layer *l)
{
    mm1_tensor *const all[] = {&l->x, &l->router, &l->up, &l->down, &l->residual};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        mm1_free(all[i]->data);
        mm1_free(all[i]->grad);
    }
    mm1_free(l->dy);
    mm1_tape_deinit(&l->tape);
    mm1_arena_deinit(&l->arena);
}

/* y of a forward pass; with `back` the gradients of <y, dy> and the auxiliary losses too. */
static const float *run(layer *l, bool back)
{
    mm1_error err = {0};
    l->said = (mm1_routing_layer){0};
    memset(l->load, 0, sizeof l->load);
    mm1_tape_reset(&l->tape, 0);
    mm1_tensor *y = mm1_op_moe(&l->tape, &l->x, &l->moe, &l->residual);
    check_ok(mm1_tape_status(&l->tape, &err), &err);
    if (back) {
        bool acc;
        mm1_tensor *const all[] = {&l->x, &l->router, &l->up, &l->down, &l->residual};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            memset(all[i]->grad, 0, (size_t)mm1_tensor_size(all[i]) * sizeof(float));
        }
        memcpy(mm1__tape_grad(&l->tape, y, &acc), l->dy, (size_t)(l->N * l->K) * sizeof(float));
        mm1_tape_backward(&l->tape);
        check_ok(mm1_tape_status(&l->tape, &err), &err);
    }
    return y->data;
}

static double loss(layer *l)
{
    const float *y = run(l, false);
    double sum = l->moe.balance_coef * l->said.balance + l->moe.z_coef * l->said.z;
    for (int64_t i = 0; i < l->N * l->K; i++) {
        sum += (double)y[i] * l->dy[i];
    }
    return sum;
}

static void uniform_router_has_balance_one_and_z_of_log_e_squared(void **state)
{
    (void)state;
    static const struct {
        int64_t E;
        double z;
    } cases[] = {{64, 17.30}, {32, 12.01}, {1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        layer l;
        setup(&l, 40, cases[i].E, 6, 3, 1, true);
        memset(l.router.data, 0, (size_t)(l.E * l.K) * sizeof(float));
        (void)run(&l, false);
        assert_true(fabs(l.said.balance - 1) < 1e-6);
        assert_true(fabs(l.said.z - cases[i].z) < 0.005);
        assert_true(fabs(l.said.z - pow(log((double)l.E), 2)) < 1e-5);
        /* All are equal: the lowest number is chosen. */
        assert_int_equal(l.load[0], 40);
        teardown(&l);
    }
}

static void one_expert_is_the_mlp_to_the_bit(void **state)
{
    (void)state;
    for (int gated = 0; gated < 2; gated++) {
        layer l;
        mm1_error err = {0};
        setup(&l, 70, 1, 24, 20, 1, gated == 1);
        l.moe.balance_coef = 1; /* of one expert: no gradient */
        const float *y = run(&l, true);
        float *keep = mm1_alloc((size_t)(l.N * l.K), sizeof *keep), *dx = mm1_alloc((size_t)(l.N * l.K), sizeof *dx);
        memcpy(keep, y, (size_t)(l.N * l.K) * sizeof *keep);
        memcpy(dx, l.x.grad, (size_t)(l.N * l.K) * sizeof *dx);
        for (int64_t i = 0; i < l.K; i++) {
            assert_true(l.router.grad[i] == 0);
        }
        const int64_t n_up = gated ? 2 * l.F : l.F;
        mm1_tensor up = l.up, down = l.down;
        up.rank = down.rank = 2;
        memmove(up.dims, up.dims + 1, 2 * sizeof *up.dims);
        memmove(down.dims, down.dims + 1, 2 * sizeof *down.dims);
        up.grad = mm1_calloc((size_t)(n_up * l.K), sizeof *up.grad);
        down.grad = mm1_calloc((size_t)(l.K * l.F), sizeof *down.grad);
        mm1_tape_reset(&l.tape, 0);
        memset(l.x.grad, 0, (size_t)(l.N * l.K) * sizeof(float));
        const mm1_mlp mlp = {.up_w = &up, .down_w = &down, .act = MM1_ACT_SILU, .gated = gated == 1};
        mm1_tensor *want = mm1_op_mlp(&l.tape, &l.x, &mlp, &l.residual);
        bool acc;
        memcpy(mm1__tape_grad(&l.tape, want, &acc), l.dy, (size_t)(l.N * l.K) * sizeof(float));
        mm1_tape_backward(&l.tape);
        check_ok(mm1_tape_status(&l.tape, &err), &err);
        assert_memory_equal(keep, want->data, (size_t)(l.N * l.K) * sizeof *keep);
        assert_memory_equal(dx, l.x.grad, (size_t)(l.N * l.K) * sizeof *dx);
        assert_memory_equal(l.up.grad, up.grad, (size_t)(n_up * l.K) * sizeof(float));
        assert_memory_equal(l.down.grad, down.grad, (size_t)(l.K * l.F) * sizeof(float));
        mm1_free(up.grad);
        mm1_free(down.grad);
        mm1_free(keep);
        mm1_free(dx);
        teardown(&l);
    }
}

/* Every row likes expert 2 best, then 0; nobody goes to 1 or 3. */
static void make_favourites(layer *l)
{
    static const float likes[] = {2, -3, 4, -5};
    memset(l->router.data, 0, (size_t)(l->E * l->K) * sizeof(float));
    for (int64_t e = 0; e < l->E; e++) {
        l->router.data[e * l->K] = likes[e];
    }
    for (int64_t i = 0; i < l->N; i++) {
        l->x.data[i * l->K] = 1 + 0.1F * (float)(i % 3);
    }
}

static void experts_without_rows_have_no_gradient(void **state)
{
    (void)state;
    layer l;
    setup(&l, 12, 4, 6, 5, 2, true);
    make_favourites(&l);
    (void)run(&l, true);
    const int64_t n_up = 2 * l.F * l.K, n_down = l.K * l.F;
    for (int64_t e = 0; e < 4; e++) {
        double up = 0, down = 0;
        for (int64_t i = 0; i < n_up; i++) {
            up += fabs(l.up.grad[e * n_up + i]);
        }
        for (int64_t i = 0; i < n_down; i++) {
            down += fabs(l.down.grad[e * n_down + i]);
        }
        const bool used = e % 2 == 0;
        assert_int_equal(l.load[e], used ? 12 : 0);
        assert_true((up > 0) == used && (down > 0) == used);
    }
    teardown(&l);
    /* And no rows at all. */
    setup(&l, 0, 4, 6, 5, 2, true);
    (void)run(&l, true);
    teardown(&l);
}

/* Groups of 8 rows, the last two of the second padding: with capacity 1, 8 / 4 and 6 / 4 rows fit. */
static void full_experts_drop_the_rows_that_come_last(void **state)
{
    (void)state;
    layer l;
    int32_t example[16] = {0};
    setup(&l, 16, 4, 6, 5, 2, true);
    make_favourites(&l);
    l.routing.T = 8;
    l.routing.scale = 1.0 / 14;
    l.routing.example = example;
    example[14] = example[15] = -1;
    l.moe.capacity = 1;
    const float *y = run(&l, false);
    for (int64_t i = 0; i < 16; i++) {
        const bool same = memcmp(y + i * l.K, l.residual.data + i * l.K, (size_t)l.K * sizeof *y) == 0;
        assert_true(same == !(i < 2 || i == 8));
    }
    assert_int_equal(l.said.n_chosen, 2 * 14);
    assert_int_equal(l.said.n_dropped, 2 * (14 - 3));
    assert_int_equal(l.load[2], 14);
    /* All rows choose one expert: L_bal = E P_2. */
    assert_true(l.said.balance > 3 && l.said.balance < 4);

    l.moe.capacity = 4; /* E: nobody is ever full */
    (void)run(&l, false);
    assert_int_equal(l.said.n_dropped, 0);

    /* Outside of training there is no capacity. */
    l.moe.capacity = 1;
    l.tape.routing = NULL;
    y = run(&l, false);
    for (int64_t i = 0; i < 16; i++) {
        assert_true(memcmp(y + i * l.K, l.residual.data + i * l.K, (size_t)l.K * sizeof *y) != 0);
    }
    teardown(&l);
}

/* First choices are served before second ones, whatever row they are of: rows 0 and 1 like expert 1 best and 0 next,
 * rows 2 and 3 the other way round. */
static void first_choices_come_first(void **state)
{
    (void)state;
    layer l;
    setup(&l, 4, 2, 4, 3, 2, true);
    memset(l.router.data, 0, 8 * sizeof(float));
    l.router.data[0] = 1;
    for (int64_t i = 0; i < 4; i++) {
        l.x.data[i * 4] = i < 2 ? -2 : 2;
    }
    l.moe.capacity = 1; /* two rows each */
    (void)run(&l, false);
    assert_int_equal(l.said.n_dropped, 4);
    const float *y = run(&l, false);
    /* Each row keeps its first expert alone.  Of two experts the normalised gate is p. */
    float first[16];
    for (int i = 0; i < 16; i++) {
        first[i] = y[i] - l.residual.data[i];
    }
    l.moe.top_k = 1;
    l.moe.normalize = false;
    y = run(&l, false);
    assert_int_equal(l.said.n_dropped, 0);
    for (int i = 0; i < 16; i++) {
        assert_true(fabs(first[i] - (y[i] - l.residual.data[i])) < 1e-6);
    }
    teardown(&l);
}

static void dropped_rows_and_padding_take_no_gradient_from_experts(void **state)
{
    (void)state;
    layer l;
    int32_t example[12] = {0};
    setup(&l, 12, 4, 6, 5, 2, true);
    make_favourites(&l);
    example[11] = -1;
    l.routing.example = example;
    l.moe.capacity = 1; /* floor(11 / 4) = 2 */
    (void)run(&l, true);
    for (int64_t i = 0; i < 12; i++) {
        double sum = 0;
        for (int64_t j = 0; j < l.K; j++) {
            sum += fabs(l.x.grad[i * l.K + j]);
        }
        assert_true((sum > 0) == (i < 2)); /* without auxiliary losses */
    }
    assert_memory_equal(l.residual.grad, l.dy, (size_t)(l.N * l.K) * sizeof(float));
    l.moe.z_coef = 1;
    (void)run(&l, true);
    for (int64_t i = 0; i < 12; i++) {
        assert_true((l.x.grad[i * l.K] != 0) == (i < 11));
    }
    teardown(&l);
}

/* The directional derivative of the whole loss along the gradient of each input is its squared norm.  A step that
 * changed a choice would be a jump: rows whose choices are close are few, and the steps small. */
static void gradients_agree_with_finite_differences(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        layer l;
        const bool gated = kind != 1, normalize = kind != 2;
        setup(&l, 10, 4, 5, 6, kind == 3 ? 4 : 2, gated);
        l.moe.normalize = normalize;
        l.moe.balance_coef = 0.8;
        l.moe.z_coef = 0.3;
        l.moe.capacity = kind == 0 ? 1.5 : 0;
        l.routing.T = 5;
        for (int64_t i = 0; i < l.E * l.K; i++) {
            l.router.data[i] *= 3; /* choices that are clear */
        }
        (void)run(&l, true);
        mm1_tensor *const all[] = {&l.x, &l.router, &l.up, &l.down, &l.residual};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            const int64_t n = mm1_tensor_size(all[i]);
            float *const saved = mm1_alloc((size_t)n, sizeof *saved);
            double norm = 0, side[2];
            memcpy(saved, all[i]->data, (size_t)n * sizeof *saved);
            for (int64_t j = 0; j < n; j++) {
                norm += (double)all[i]->grad[j] * all[i]->grad[j];
            }
            norm = sqrt(norm);
            assert_true(norm > 1e-2);
            const double eps = 2e-3;
            for (int s = 0; s < 2; s++) {
                for (int64_t j = 0; j < n; j++) {
                    all[i]->data[j] = (float)(saved[j] + (s == 0 ? eps : -eps) * all[i]->grad[j] / norm);
                }
                side[s] = loss(&l);
            }
            memcpy(all[i]->data, saved, (size_t)n * sizeof *saved);
            mm1_free(saved);
            const double slope = (side[0] - side[1]) / (2 * eps);
            if (fabs(slope - norm) > 0.01 * norm) {
                print_error("kind %d, input %d: slope %g, gradient %g\n", kind, (int)i, slope, norm);
                fail();
            }
        }
        teardown(&l);
    }
}

/* How rows are grouped on the tape does not matter: two halves add up to the whole, and say the same. */
static void halves_add_up(void **state)
{
    (void)state;
    enum { N = 24, K = 6 };
    layer l;
    float whole[4 * K], halves[4 * K];
    setup(&l, N, 4, K, 5, 2, true);
    l.moe.balance_coef = 0.8;
    l.moe.z_coef = 0.3;
    l.moe.capacity = 1;
    l.routing.T = 6;
    (void)run(&l, true);
    memcpy(whole, l.router.grad, sizeof whole);
    const mm1_routing_layer said = l.said;
    assert_true(said.n_dropped > 0);
    memset(halves, 0, sizeof halves);
    mm1_routing_layer sum = {0};
    float *x = l.x.data, *residual = l.residual.data, *dy = l.dy;
    l.N = l.x.dims[0] = l.residual.dims[0] = N / 2;
    for (int half = 0; half < 2; half++) {
        l.x.data = x + half * N / 2 * K;
        l.residual.data = residual + half * N / 2 * K;
        l.dy = dy + half * N / 2 * K;
        (void)run(&l, true);
        for (int i = 0; i < 4 * K; i++) {
            halves[i] += l.router.grad[i];
        }
        sum.balance += l.said.balance;
        sum.z += l.said.z;
        sum.n_chosen += l.said.n_chosen;
        sum.n_dropped += l.said.n_dropped;
    }
    l.x.data = x;
    l.residual.data = residual;
    l.dy = dy;
    check_close(halves, whole, 4 * K, 1e-5, 1e-5);
    assert_true(fabs(sum.balance - said.balance) < 1e-12 && fabs(sum.z - said.z) < 1e-12);
    assert_int_equal(sum.n_chosen, said.n_chosen);
    assert_int_equal(sum.n_dropped, said.n_dropped);
    teardown(&l);
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    mm1_error err = {0};
    layer l;
    setup(&l, 1500, 6, 48, 40, 2, true);
    l.moe.balance_coef = 0.8;
    l.moe.z_coef = 0.3;
    l.moe.capacity = 1.25;
    l.routing.T = 300;
    mm1_tensor *const all[] = {&l.x, &l.router, &l.up, &l.down, &l.residual};
    enum { N_ALL = sizeof all / sizeof *all };
    float *y = mm1_alloc((size_t)(l.N * l.K), sizeof *y), *grads[N_ALL];
    for (int n = 1; n <= 3; n++) {
        mm1_threads_set(n);
        check_ok(mm1_kernels_init(NULL, &err), &err);
        const float *got = run(&l, true);
        for (size_t i = 0; i < N_ALL; i++) {
            const size_t bytes = (size_t)mm1_tensor_size(all[i]) * sizeof(float);
            if (n == 1) {
                grads[i] = mm1_alloc(bytes, 1);
                memcpy(grads[i], all[i]->grad, bytes);
            } else {
                assert_memory_equal(grads[i], all[i]->grad, bytes);
            }
        }
        if (n == 1) {
            memcpy(y, got, (size_t)(l.N * l.K) * sizeof *y);
        } else {
            assert_memory_equal(y, got, (size_t)(l.N * l.K) * sizeof *y);
        }
    }
    for (size_t i = 0; i < N_ALL; i++) {
        mm1_free(grads[i]);
    }
    mm1_free(y);
    teardown(&l);
    mm1_threads_set(2);
    check_ok(mm1_kernels_init(NULL, &err), &err);
}

static void wrong_shapes_are_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    layer l;
    setup(&l, 4, 4, 6, 5, 2, true);
    l.moe.top_k = 5;
    assert_null(mm1_op_moe(&l.tape, &l.x, &l.moe, &l.residual));
    assert_int_equal(mm1_tape_status(&l.tape, &err), MM1_E_SHAPE);
    check_contains(err.message, "5 of 4 experts");
    mm1_tape_reset(&l.tape, 0);
    l.moe.top_k = 2;
    l.up.dims[2] = 5;
    assert_null(mm1_op_moe(&l.tape, &l.x, &l.moe, &l.residual));
    assert_int_equal(mm1_tape_status(&l.tape, &err), MM1_E_SHAPE);
    mm1_tape_reset(&l.tape, 0);
    l.up.dims[2] = 6;
    l.moe.layer = 1;
    assert_null(mm1_op_moe(&l.tape, &l.x, &l.moe, &l.residual));
    assert_int_equal(mm1_tape_status(&l.tape, &err), MM1_E_STATE);
    teardown(&l);
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
        cmocka_unit_test(uniform_router_has_balance_one_and_z_of_log_e_squared),
        cmocka_unit_test(one_expert_is_the_mlp_to_the_bit),
        cmocka_unit_test(experts_without_rows_have_no_gradient),
        cmocka_unit_test(full_experts_drop_the_rows_that_come_last),
        cmocka_unit_test(first_choices_come_first),
        cmocka_unit_test(dropped_rows_and_padding_take_no_gradient_from_experts),
        cmocka_unit_test(gradients_agree_with_finite_differences),
        cmocka_unit_test(halves_add_up),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(wrong_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

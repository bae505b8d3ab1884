/* The tape: gradients that meet, a head in blocks, parts that are frozen, nothing at all, memory that ends, planning
 * without memory. */
#include "support/golden.h"

#include "base/thread.h"
#include "tensor/tensor.h"
#include <math.h>
#include <sys/mman.h>

/* A network that uses every operator; sizes are odd on purpose. */
enum { V = 13, C = 9, T = 7, H = 3, D = 3, F = 5, GRID = 3, PATCH = 2, SIDE = GRID * PATCH, P = GRID * GRID };
enum { MAX_IMAGES = 2, K = 4, MAX_ROWS = 2 }; /* K: visual tokens of an image */
enum { PATCH_W, POS, CONV, GATE, EMBED, NORM_W, NORM_B, QKV, OUT, UP, DOWN, N_PARAMS };

static const int64_t SIZES[N_PARAMS][2] = {
    [PATCH_W] = {C, 3 * PATCH *PATCH},
    [POS] = {P, C},
    [CONV] = {9, C},
    [GATE] = {C, C},
    [EMBED] = {V, C},
    [NORM_W] = {1, C},
    [NORM_B] = {1, C},
    [QKV] = {3 * H * D, C},
    [OUT] = {C, H *D},
    [UP] = {2 * F, C},
    [DOWN] = {C, F},
};
enum { PARAM_FLOATS = 256 }; /* room for the largest */

typedef struct net {
    mm1_arena arena;
    mm1_tape tape;
    mm1_tensor params[N_PARAMS];
    float data[N_PARAMS][PARAM_FLOATS], grad[N_PARAMS][PARAM_FLOATS];
    float pixels[MAX_IMAGES * 3 * SIDE * SIDE];
    int32_t id[MAX_ROWS * T], visual_row[MAX_ROWS * T], target[MAX_ROWS * T];
    int32_t lo[MAX_ROWS * T], hi[MAX_ROWS * T];
    int32_t image_lo[MAX_IMAGES * P], image_hi[MAX_IMAGES * P];
    float nll[MAX_ROWS * T];
} net;

static void net_setup(net *n, size_t arena_bytes)
{
    mm1_error err = {0};
    memset(n, 0, sizeof *n);
    check_ok(arena_bytes == 0 ? mm1_arena_init_dry(&n->arena, &err) : mm1_arena_init(&n->arena, arena_bytes, &err),
             &err);
    check_ok(mm1_tape_init(&n->tape, &n->arena, &err), &err);
    n->tape.recording = true;
    for (int i = 0; i < N_PARAMS; i++) {
        assert_true(SIZES[i][0] * SIZES[i][1] <= PARAM_FLOATS);
        check_fill(n->data[i], PARAM_FLOATS, -1, 1, (uint64_t)i + 1);
        n->params[i] = (mm1_tensor){.data = n->data[i],
                                    .grad = n->grad[i],
                                    .dims = {SIZES[i][0], SIZES[i][1]},
                                    .rank = 2,
                                    .needs_grad = true,
                                    .is_param = true};
    }
    check_fill(n->pixels, (int64_t)(sizeof n->pixels / sizeof(float)), -1, 1, 77);
    for (int i = 0; i < MAX_ROWS * T; i++) {
        n->id[i] = i * 5 % V;
        n->visual_row[i] = i % 2 == 0 && i / 2 < MAX_IMAGES * K ? i / 2 : -1;
        n->target[i] = i % 3 == 0 ? -1 : i * 7 % V;
        n->hi[i] = i % T + 1;
    }
    for (int i = 0; i < MAX_IMAGES * P; i++) {
        n->image_hi[i] = P;
    }
}

static void net_teardown(net *n)
{
    mm1_tape_deinit(&n->tape);
    mm1_arena_deinit(&n->arena);
}

/* Rows of text and images -> hidden states. */
static mm1_tensor *net_hidden(net *n, int64_t rows, int64_t I)
{
    mm1_tape *t = &n->tape;
    mm1_tensor *p[N_PARAMS];
    for (int i = 0; i < N_PARAMS; i++) {
        p[i] = &n->params[i];
    }
    const mm1_attention_spec images = {.B = I,
                                       .T = P,
                                       .S = P,
                                       .H = H,
                                       .Hkv = H,
                                       .D = D,
                                       .k_col = H * D,
                                       .v_col = 2 * H * D,
                                       .lo = n->image_lo,
                                       .hi = n->image_hi};
    mm1_attention_spec text = images;
    text.B = rows;
    text.T = text.S = T;
    text.lo = n->lo;
    text.hi = n->hi;

    mm1_tensor *x = mm1_op_patchify(t, n->pixels, I, SIDE, PATCH);
    x = mm1_op_linear(t, x, p[PATCH_W], NULL, MM1_ACT_NONE, NULL);
    x = mm1_op_add_rows(t, x, p[POS], I);
    mm1_tensor *qkv = mm1_op_linear(t, x, p[QKV], NULL, MM1_ACT_NONE, NULL);
    x = mm1_op_linear(t, mm1_op_attention(t, qkv, qkv, qkv, &images), p[OUT], NULL, MM1_ACT_NONE, x);
    x = mm1_op_dwconv(t, mm1_op_act(t, x, MM1_ACT_SILU), p[CONV], I, GRID, GRID);
    mm1_tensor *g = mm1_op_linear(t, mm1_op_pool(t, x, I, GRID, GRID, 1, 1), p[GATE], NULL, MM1_ACT_SIGMOID, NULL);
    x = mm1_op_pool(t, mm1_op_gate(t, x, g, I), I, GRID, GRID, 2, 2);

    x = mm1_op_embed(t, p[EMBED], n->id, rows * T, x, I > 0 ? n->visual_row : NULL);
    mm1_tensor *y = mm1_op_norm(t, x, MM1_NORM_LAYER, p[NORM_W], p[NORM_B], 1e-5f);
    qkv = mm1_op_linear(t, y, p[QKV], NULL, MM1_ACT_NONE, NULL);
    x = mm1_op_linear(t, mm1_op_attention(t, qkv, qkv, qkv, &text), p[OUT], NULL, MM1_ACT_NONE, x);
    y = mm1_op_norm(t, x, MM1_NORM_RMS, p[NORM_W], NULL, 1e-5f);
    const mm1_mlp mlp = {.up_w = p[UP], .down_w = p[DOWN], .act = MM1_ACT_GELU, .gated = true};
    return mm1_op_mlp(t, y, &mlp, x);
}

/* One step; the gradients of the parameters are left in n->grad. */
static mm1_status net_step(net *n, int64_t rows, int64_t I, mm1_error *err)
{
    memset(n->grad, 0, sizeof n->grad);
    mm1_tape_reset(&n->tape, 0);
    if (mm1_op_xent(&n->tape, net_hidden(n, rows, I), &n->params[EMBED], n->target, n->nll, 1, 0.1f)) {
        mm1_tape_backward(&n->tape);
    }
    return mm1_tape_status(&n->tape, err);
}

/* ---- gradients that meet ---- */

/* dst [n] receives the gradient of a parameter x through `build`, for the gradient dy of the result. */
static void gradient(mm1_tape *t, float *dst, const float *x, int64_t rows, int64_t cols, const float *dy,
                     mm1_tensor *(*build)(mm1_tape *, mm1_tensor *, mm1_tensor *), bool one, float *other)
{
    mm1_tape_reset(t, 0);
    memset(dst, 0, (size_t)(rows * cols) * sizeof *dst);
    mm1_tensor leaf = {.data = (float *)(uintptr_t)x,
                       .grad = dst,
                       .dims = {rows, cols},
                       .rank = 2,
                       .needs_grad = true,
                       .is_param = true};
    mm1_tensor copy = leaf;
    copy.grad = other;
    /* Results of operators, so that their gradients begin as fresh memory. */
    mm1_tensor *a = mm1_op_act(t, &leaf, MM1_ACT_SILU), *b = one ? a : mm1_op_act(t, &copy, MM1_ACT_SILU);
    mm1_tensor *y = build(t, a, b);
    bool acc;
    memcpy(mm1__tape_grad(t, y, &acc), dy, (size_t)mm1_tensor_size(y) * sizeof *dy);
    mm1_tape_backward(t);
    assert_int_equal(mm1_tape_status(t, NULL), MM1_OK);
}

enum { MEET_N = 6 };
static float meet_weights[MEET_N * MEET_N];

static mm1_tensor *meet_add(mm1_tape *t, mm1_tensor *a, mm1_tensor *b)
{
    return mm1_op_add(t, a, b);
}

static mm1_tensor *meet_residual(mm1_tape *t, mm1_tensor *a, mm1_tensor *b)
{
    mm1_tensor *w = mm1_tensor_borrow(t, meet_weights, 2, (int64_t[]){MEET_N, MEET_N});
    return mm1_op_linear(t, a, w, NULL, MM1_ACT_GELU, b);
}

static mm1_tensor *meet_gate(mm1_tape *t, mm1_tensor *a, mm1_tensor *b)
{
    return mm1_op_gate(t, a, b, MEET_N); /* one row to an image */
}

/* a and b meet again and again on the way. */
static mm1_tensor *meet_often(mm1_tape *t, mm1_tensor *a, mm1_tensor *b)
{
    mm1_tensor *norm_w = mm1_tensor_borrow(t, meet_weights, 1, (int64_t[]){MEET_N});
    mm1_tensor *y = mm1_op_add(t, mm1_op_norm(t, a, MM1_NORM_RMS, norm_w, NULL, 1e-5f), b);
    mm1_tensor *z = mm1_op_add(t, mm1_op_act(t, y, MM1_ACT_SIGMOID), mm1_op_gate(t, b, y, MEET_N));
    return mm1_op_add_rows(t, meet_residual(t, z, a), mm1_op_pool(t, y, 1, MEET_N, 1, MEET_N, 1), 1);
}

static mm1_tensor *meet_attention(mm1_tape *t, mm1_tensor *a, mm1_tensor *b)
{
    static const int32_t lo[MEET_N], hi[MEET_N] = {1, 2, 3, 4, 5, 6};
    const mm1_attention_spec s = {
        .B = 1, .T = MEET_N, .S = MEET_N, .H = 2, .Hkv = 1, .D = 3, .k_col = 2, .lo = lo, .hi = hi};
    return mm1_op_attention(t, a, b, b, &s);
}

static void a_tensor_used_twice_gets_the_sum_of_both_gradients(void **state)
{
    (void)state;
    mm1_tensor *(*const builds[])(mm1_tape *, mm1_tensor *, mm1_tensor *) = {meet_add, meet_residual, meet_gate,
                                                                             meet_often, meet_attention};
    enum { SIZE = MEET_N * MEET_N };
    mm1_error err = {0};
    mm1_arena arena;
    mm1_tape tape;
    float x[SIZE], dy[SIZE], one[SIZE], first[SIZE], second[SIZE];
    check_fill(x, SIZE, -1, 1, 1);
    check_fill(dy, SIZE, -1, 1, 2);
    check_fill(meet_weights, SIZE, -1, 1, 3);
    check_ok(mm1_arena_init(&arena, 1 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    tape.recording = true;
    for (size_t i = 0; i < sizeof builds / sizeof *builds; i++) {
        memset(second, 0, sizeof second);
        gradient(&tape, one, x, MEET_N, MEET_N, dy, builds[i], true, second);
        for (int j = 0; j < SIZE; j++) {
            assert_true(second[j] == 0);
        }
        gradient(&tape, first, x, MEET_N, MEET_N, dy, builds[i], false, second);
        for (int j = 0; j < SIZE; j++) {
            first[j] += second[j];
        }
        check_close(one, first, SIZE, 1e-6, 1e-5);
    }
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
}

/* ---- the head in blocks of rows ---- */

/* nll [HN], d nll / dx [HN, HC] and d nll / dw [HV, HC] by their definition. */
enum { HN = 1200, HV = 8192, HC = 4 };

static void define_head(const float *x, const float *w, const int32_t *target, double *nll, double *dx, double *dw)
{
    static double p[HV];
    for (int64_t i = 0; i < HN; i++) {
        double sum = 0;
        for (int64_t v = 0; target[i] >= 0 && v < HV; v++) {
            double logit = 0;
            for (int64_t c = 0; c < HC; c++) {
                logit += (double)x[i * HC + c] * w[v * HC + c];
            }
            p[v] = exp(logit);
            sum += p[v];
        }
        for (int64_t v = 0; target[i] >= 0 && v < HV; v++) {
            const double d = p[v] / sum - (v == target[i]);
            for (int64_t c = 0; c < HC; c++) {
                dx[i * HC + c] += d * w[v * HC + c];
                dw[v * HC + c] += d * x[i * HC + c];
            }
        }
        nll[i] = target[i] >= 0 ? log(sum) - log(p[target[i]]) : 0;
    }
}

static void a_head_that_takes_several_blocks_of_rows_is_its_definition(void **state)
{
    (void)state;
    static float x[HN * HC], w[HV * HC], dx[HN * HC], dw[HV * HC], nll[HN];
    static double want_dx[HN * HC], want_dw[HV * HC], want_nll[HN];
    static int32_t target[HN];
    mm1_error err = {0};
    mm1_arena arena;
    mm1_tape tape;
    check_fill(x, HN * HC, -1, 1, 1);
    check_fill(w, HV * HC, -1, 1, 2);
    for (int32_t i = 0; i < HN; i++) {
        target[i] = i % 9 == 4 ? -1 : i * 37 % HV;
    }
    define_head(x, w, target, want_nll, want_dx, want_dw);
    check_ok(mm1_arena_init(&arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    tape.recording = true;
    mm1_tensor tx = {.data = x, .grad = dx, .dims = {HN, HC}, .rank = 2, .needs_grad = true, .is_param = true};
    mm1_tensor tw = {.data = w, .grad = dw, .dims = {HV, HC}, .rank = 2, .needs_grad = true, .is_param = true};
    assert_true(mm1_op_xent(&tape, &tx, &tw, target, nll, 1, 0));
    mm1_tape_backward(&tape);
    check_ok(mm1_tape_status(&tape, &err), &err);
    for (int64_t i = 0; i < HN; i++) {
        assert_true(fabs((double)nll[i] - want_nll[i]) < 1e-5 * (1 + want_nll[i]));
    }
    for (int64_t i = 0; i < HN * HC; i++) {
        assert_true(fabs((double)dx[i] - want_dx[i]) < 1e-5);
    }
    for (int64_t i = 0; i < HV * HC; i++) {
        assert_true(fabs((double)dw[i] - want_dw[i]) < 1e-5);
    }
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
}

/* ---- frozen parts, recording ---- */

static void a_frozen_parameter_keeps_its_gradient_and_changes_no_other(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net n;
    static float all[N_PARAMS][PARAM_FLOATS];
    net_setup(&n, 1 << 20);
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
    memcpy(all, n.grad, sizeof all);
    for (int frozen = 0; frozen < N_PARAMS; frozen++) {
        n.params[frozen].needs_grad = false;
        check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
        n.params[frozen].needs_grad = true;
        for (int i = 0; i < N_PARAMS; i++) {
            for (int j = 0; j < PARAM_FLOATS; j++) {
                assert_true(n.grad[i][j] == (i == frozen ? 0 : all[i][j]));
            }
        }
    }
    net_teardown(&n);
}

static void with_all_inputs_frozen_no_node_is_left(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net n;
    net_setup(&n, 1 << 20);
    for (int i = 0; i < N_PARAMS; i++) {
        n.params[i].needs_grad = false;
    }
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
    assert_null(n.tape.last);
    mm1_tensor *h = net_hidden(&n, MAX_ROWS, MAX_IMAGES);
    assert_non_null(h);
    assert_false(h->needs_grad);
    assert_null(n.tape.last);
    net_teardown(&n);
}

static void recording_changes_no_bit_of_the_results(void **state)
{
    (void)state;
    static net n;
    float first[MAX_ROWS * T * C];
    net_setup(&n, 1 << 20);
    for (int isa = -1; golden_next_isa(&isa);) {
        for (int recording = 0; recording < 2; recording++) {
            mm1_tape_reset(&n.tape, 0);
            n.tape.recording = recording;
            const mm1_tensor *h = net_hidden(&n, MAX_ROWS, MAX_IMAGES);
            assert_non_null(h);
            assert_int_equal(h->needs_grad, recording);
            assert_int_equal(n.tape.last != NULL, recording);
            if (recording) {
                assert_memory_equal(first, h->data, sizeof first);
            }
            memcpy(first, h->data, sizeof first);
        }
    }
    net_teardown(&n);
}

static void the_second_step_repeats_the_first_in_the_same_memory(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net n;
    static float first[N_PARAMS][PARAM_FLOATS];
    net_setup(&n, 1 << 20);
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
    memcpy(first, n.grad, sizeof first);
    const size_t peak = n.arena.peak;
    for (int i = 0; i < 3; i++) {
        check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
        assert_memory_equal(first, n.grad, sizeof first);
        assert_int_equal(n.arena.peak, peak);
    }
    net_teardown(&n);
}

/* ---- nothing at all ---- */

static void no_images_and_no_rows_are_allowed(void **state)
{
    (void)state;
    static const bool of_images[N_PARAMS] = {[PATCH_W] = true, [POS] = true, [CONV] = true, [GATE] = true};
    mm1_error err = {0};
    static net n;
    net_setup(&n, 1 << 20);
    for (int isa = -1; golden_next_isa(&isa);) {
        for (int rows = 0; rows <= 1; rows++) {
            check_ok(net_step(&n, rows, 0, &err), &err);
            for (int i = 0; i < N_PARAMS; i++) {
                double norm = 0;
                for (int j = 0; j < PARAM_FLOATS; j++) {
                    norm += fabs((double)n.grad[i][j]);
                }
                assert_true(rows > 0 && !of_images[i] ? norm > 0 : norm == 0);
            }
        }
    }
    net_teardown(&n);
}

static void operators_on_nothing_give_nothing(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net n;
    net_setup(&n, 1 << 20);
    mm1_tape *t = &n.tape;
    mm1_tensor *none = mm1_op_embed(t, &n.params[EMBED], n.id, 0, NULL, NULL);
    assert_non_null(none);
    assert_int_equal(mm1_tensor_rows(none), 0);
    const mm1_attention_spec cross = {.B = 0, .T = K, .S = P, .H = H, .Hkv = H, .D = D, .lo = n.lo, .hi = n.hi};
    mm1_tensor *results[] = {
        mm1_op_linear(t, none, &n.params[UP], NULL, MM1_ACT_GELU, NULL),
        mm1_op_norm(t, none, MM1_NORM_LAYER, &n.params[NORM_W], &n.params[NORM_B], 1e-5f),
        mm1_op_norm(t, none, MM1_NORM_RMS, &n.params[NORM_W], NULL, 1e-5f),
        mm1_op_qk_norm(t, none, 2, 2, mm1_tensor_borrow(t, meet_weights, 1, (int64_t[]){2}),
                       mm1_tensor_borrow(t, meet_weights, 1, (int64_t[]){1}), 1e-5f),
        mm1_op_act(t, none, MM1_ACT_GELU),
        mm1_op_mlp(t, none,
                   &(mm1_mlp){.up_w = &n.params[UP], .down_w = &n.params[DOWN], .act = MM1_ACT_SILU, .gated = true},
                   NULL),
        mm1_op_add(t, none, none),
        mm1_op_add_rows(t, none, &n.params[POS], 0),
        mm1_op_add_rows(t, NULL, &n.params[POS], 0),
        mm1_op_attention(t, none, none, none, &cross),
        mm1_op_patchify(t, n.pixels, 0, SIDE, PATCH),
        mm1_op_dwconv(t, none, &n.params[CONV], 0, GRID, GRID),
        mm1_op_pool(t, none, 0, GRID, GRID, 2, 2),
        mm1_op_gate(t, none, none, 0)};
    check_ok(mm1_tape_status(t, &err), &err);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        assert_non_null(results[i]);
        assert_int_equal(mm1_tensor_rows(results[i]), 0);
        if (results[i]->needs_grad) {
            bool acc;
            assert_non_null(mm1__tape_grad(t, results[i], &acc));
        }
    }
    mm1_tape_backward(t);
    check_ok(mm1_tape_status(t, &err), &err);
    for (int i = 0; i < N_PARAMS; i++) {
        for (int j = 0; j < PARAM_FLOATS; j++) {
            assert_true(n.grad[i][j] == 0);
        }
    }
    net_teardown(&n);
}

/* Rows without a target: no loss, no gradient, no error. */
static void a_batch_without_targets_has_no_gradient(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net n;
    net_setup(&n, 1 << 20);
    for (int i = 0; i < MAX_ROWS * T; i++) {
        n.target[i] = -1;
        n.nll[i] = 5;
    }
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
    for (int i = 0; i < MAX_ROWS * T; i++) {
        assert_true(n.nll[i] == 0);
    }
    for (int i = 0; i < N_PARAMS; i++) {
        for (int j = 0; j < PARAM_FLOATS; j++) {
            assert_true(n.grad[i][j] == 0);
        }
    }
    net_teardown(&n);
}

/* ---- memory that ends ---- */

static void a_full_arena_is_a_sticky_error_wherever_it_ends(void **state)
{
    (void)state;
    enum { STEP = 64 }; /* what arenas round to: every allocation fails once */
    mm1_error err = {0};
    static net n;
    static float whole[N_PARAMS][PARAM_FLOATS];
    net_setup(&n, 1 << 20);
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
    memcpy(whole, n.grad, sizeof whole);
    const size_t need = n.arena.peak, room = n.arena.cap;
    for (size_t cap = 0; cap < need; cap += STEP) {
        n.arena.cap = cap;
        err = (mm1_error){0};
        assert_int_equal(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), MM1_E_NOMEM);
        check_contains(err.message, "arena");
        assert_true(n.arena.top <= cap);
        /* It sticks: neither backward nor another operator that would fit clears it. */
        mm1_tape_backward(&n.tape);
        mm1_tensor *tiny = mm1_tensor_borrow(&n.tape, n.data[0], 1, (int64_t[]){1});
        (void)mm1_op_act(&n.tape, tiny, MM1_ACT_RELU);
        assert_int_equal(mm1_tape_status(&n.tape, NULL), MM1_E_NOMEM);
    }
    /* A reset clears it, and what was needed is enough. */
    n.arena.cap = need;
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
    assert_memory_equal(whole, n.grad, sizeof whole);
    n.arena.cap = room;
    net_teardown(&n);
}

static void too_many_nodes_are_a_sticky_error(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net n;
    net_setup(&n, (size_t)64 << 20);
    mm1_tensor *x = &n.params[NORM_W];
    int ops = 0;
    for (; x != NULL && ops < 1000000; ops++) {
        x = mm1_op_act(&n.tape, x, MM1_ACT_NONE);
    }
    assert_null(x);
    assert_true(ops > 10000); /* far more than a step has */
    assert_int_equal(mm1_tape_status(&n.tape, &err), MM1_E_NOMEM);
    check_contains(err.message, "nodes");
    mm1_tape_backward(&n.tape);
    assert_int_equal(mm1_tape_status(&n.tape, NULL), MM1_E_NOMEM);
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err); /* a reset, and all is well */
    net_teardown(&n);
}

static void wrong_shapes_are_named_and_null_goes_through(void **state)
{
    (void)state;
    static net n;
    net_setup(&n, 1 << 20);
    mm1_tape *t = &n.tape;
    mm1_tensor *x = &n.params[EMBED], *w = &n.params[DOWN]; /* [13, 9] and [9, 5] */
    const int32_t bad_id[] = {0, V}, bad_row[] = {-1, 2};
    const mm1_attention_spec spec = {.B = 1, .T = V, .S = V, .H = 2, .Hkv = 2, .D = 5, .lo = n.lo, .hi = n.hi};
    enum { N = 15 };
    for (int i = 0; i < N; i++) {
        mm1_error err = {0};
        mm1_tensor *y = NULL;
        mm1_tape_reset(t, 0);
        switch (i) {
        case 0: y = mm1_op_linear(t, x, w, NULL, MM1_ACT_NONE, NULL); break;
        case 1: y = mm1_op_linear(t, x, &n.params[UP], x, MM1_ACT_NONE, NULL); break;
        case 2: y = mm1_op_linear(t, x, &n.params[UP], NULL, MM1_ACT_NONE, w); break;
        case 3: y = mm1_op_norm(t, x, MM1_NORM_RMS, w, NULL, 0); break;
        case 4: y = mm1_op_norm(t, x, MM1_NORM_LAYER, &n.params[NORM_W], w, 0); break;
        case 5: y = mm1_op_mlp(t, x, &(mm1_mlp){.up_w = &n.params[UP], .down_w = w, .act = MM1_ACT_SILU}, NULL); break;
        case 6: y = mm1_op_add(t, x, w); break;
        case 7: y = mm1_op_add_rows(t, x, w, 2); break;
        case 8: y = mm1_op_embed(t, x, bad_id, 2, NULL, NULL); break;
        case 9: y = mm1_op_embed(t, x, n.id, 2, &n.params[NORM_W], bad_row); break;
        case 10: y = mm1_op_attention(t, x, x, x, &spec); break;
        case 11: y = mm1_op_dwconv(t, x, &n.params[CONV], 2, 2, 3); break;
        case 12: y = mm1_op_pool(t, x, 1, 3, 4, 2, 2); break;
        case 13: y = mm1_op_qk_norm(t, x, 9, 0, w, w, 0); break;
        default: y = mm1_op_gate(t, x, w, 2); break;
        }
        assert_null(y);
        assert_int_equal(mm1_tape_status(t, &err), MM1_E_SHAPE);
        assert_true(err.message[0] != '\0');
        assert_null(mm1_op_act(t, NULL, MM1_ACT_NONE));
        assert_null(mm1_op_mlp(t, NULL, &(mm1_mlp){.up_w = x, .down_w = w}, NULL));
        assert_null(mm1_op_add(t, x, NULL));
        assert_false(mm1_op_xent(t, NULL, x, n.target, n.nll, 1, 0));
        mm1_tape_backward(t);
        assert_int_equal(mm1_tape_status(t, NULL), MM1_E_SHAPE);
    }
    net_teardown(&n);
}

/* ---- planning ---- */

/* A dry arena has addresses that may not be touched: one access and the test dies. */
static void a_dry_run_touches_no_memory_and_counts_what_a_real_one_takes(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net real, dry;
    net_setup(&real, 1 << 20);
    for (int i = 0; i < MAX_ROWS * T; i++) {
        real.target[i] = 1; /* planning counts a target for every position */
    }
    check_ok(net_step(&real, MAX_ROWS, MAX_IMAGES, &err), &err);

    net_setup(&dry, 0);
    assert_true(dry.tape.dry);
    /* Neither values nor gradients exist while a step is planned. */
    void *unreadable = mmap(NULL, PARAM_FLOATS * sizeof(float), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(unreadable != MAP_FAILED);
    for (int i = 0; i < N_PARAMS; i++) {
        dry.params[i].data = dry.params[i].grad = unreadable;
    }
    mm1_tape_reset(&dry.tape, 0);
    mm1_tensor *h = net_hidden(&dry, MAX_ROWS, MAX_IMAGES);
    assert_non_null(h);
    assert_true(mm1_op_xent(&dry.tape, h, &dry.params[EMBED], NULL, NULL, 1, 0));
    mm1_tape_backward(&dry.tape);
    check_ok(mm1_tape_status(&dry.tape, &err), &err);
    assert_int_equal(dry.arena.peak, real.arena.peak);
    assert_int_equal(munmap(unreadable, PARAM_FLOATS * sizeof(float)), 0);
    net_teardown(&dry);
    net_teardown(&real);
}

/* A batch has fewer images or targets than its plan, and buffers of other sizes are reused less well; the trainer
 * leaves half of the plan for that. */
static void no_smaller_batch_takes_half_more_than_the_plan(void **state)
{
    (void)state;
    mm1_error err = {0};
    static net n;
    double worst = 0;
    net_setup(&n, 1 << 20);
    for (int i = 0; i < MAX_ROWS * T; i++) {
        n.target[i] = 1;
    }
    check_ok(net_step(&n, MAX_ROWS, MAX_IMAGES, &err), &err);
    const size_t plan = n.arena.peak;
    for (int I = 0; I <= MAX_IMAGES; I++) {
        for (int n_targets = 0; n_targets <= MAX_ROWS * T; n_targets++) {
            for (int i = 0; i < MAX_ROWS * T; i++) {
                n.target[i] = i < n_targets ? 1 : -1;
                n.visual_row[i] = i % 2 == 0 && i / 2 < I * K ? i / 2 : -1;
            }
            n.arena.peak = 0;
            check_ok(net_step(&n, MAX_ROWS, I, &err), &err);
            worst = fmax(worst, (double)n.arena.peak / (double)plan);
        }
    }
    print_message("at most %.3f of the plan\n", worst);
    assert_true(worst < 1.5);
    net_teardown(&n);
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
        cmocka_unit_test(a_tensor_used_twice_gets_the_sum_of_both_gradients),
        cmocka_unit_test(a_head_that_takes_several_blocks_of_rows_is_its_definition),
        cmocka_unit_test(a_frozen_parameter_keeps_its_gradient_and_changes_no_other),
        cmocka_unit_test(with_all_inputs_frozen_no_node_is_left),
        cmocka_unit_test(recording_changes_no_bit_of_the_results),
        cmocka_unit_test(the_second_step_repeats_the_first_in_the_same_memory),
        cmocka_unit_test(no_images_and_no_rows_are_allowed),
        cmocka_unit_test(operators_on_nothing_give_nothing),
        cmocka_unit_test(a_batch_without_targets_has_no_gradient),
        cmocka_unit_test(a_full_arena_is_a_sticky_error_wherever_it_ends),
        cmocka_unit_test(too_many_nodes_are_a_sticky_error),
        cmocka_unit_test(wrong_shapes_are_named_and_null_goes_through),
        cmocka_unit_test(no_smaller_batch_takes_half_more_than_the_plan),
        cmocka_unit_test(a_dry_run_touches_no_memory_and_counts_what_a_real_one_takes),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

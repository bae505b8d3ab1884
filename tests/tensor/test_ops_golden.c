/* Every operator, forward and backward, against PyTorch (tools/golden_ops.py) on odd sizes.
 *
 * Each case runs with its inputs as parameters, whose gradients are added to, and as results of another operator, whose
 * gradients are fresh memory (filled with NaN here); with all inputs trained and with each of them alone. */
#include "support/golden.h"

#include "base/thread.h"
#include "tensor/tensor.h"

enum { MAX_INPUTS = 5, ALL = -1 };

/* What gradients of parameters hold before. */
static const float BEFORE = 0.25f;

typedef struct input {
    char name[80];
    mm1_tensor *tensor;
    float *data, *grad;
} input;

typedef struct ctx {
    const mm1_safetensors *sf;
    mm1_tape tape;
    mm1_arena arena;
    const char *name; /* "linear.gelu" */
    int32_t *dims;
    bool indirect; /* inputs that may be results of operators are */
    int trained;   /* number of the one input that is trained, or ALL */
    input inputs[MAX_INPUTS];
    int n_inputs;
    void *owned[16]; /* freed after a run */
    int n_owned;
} ctx;

static char *key_of(const ctx *c, const char *prefix, const char *name, char out[120])
{
    (void)snprintf(out, 120, "%s/%s%s", c->name, prefix, name);
    return out;
}

static const mm1_safetensors_tensor *find(const ctx *c, const char *prefix, const char *name)
{
    char key[120];
    return mm1_safetensors_find(c->sf, key_of(c, prefix, name, key));
}

static void *own(ctx *c, void *p)
{
    assert_true(c->n_owned < 16);
    c->owned[c->n_owned++] = p;
    return p;
}

static float *floats(ctx *c, const char *name)
{
    const mm1_safetensors_tensor *x = find(c, "", name);
    return x == NULL ? NULL : own(c, golden_floats(x));
}

static int32_t *ints(ctx *c, const char *name)
{
    const mm1_safetensors_tensor *x = find(c, "", name);
    return x == NULL ? NULL : own(c, golden_ints(x));
}

/* The input of this name; NULL if the case has none. */
static mm1_tensor *take(ctx *c, const char *name, bool is_weight)
{
    const mm1_safetensors_tensor *x = find(c, "", name);
    if (x == NULL) {
        return NULL;
    }
    assert_true(c->n_inputs < MAX_INPUTS);
    const int i = c->n_inputs++;
    input *in = &c->inputs[i];
    (void)snprintf(in->name, sizeof in->name, "%s", name);
    in->data = own(c, golden_floats(x));
    in->grad = own(c, mm1_alloc((size_t)x->n_elements, sizeof(float)));
    for (int64_t j = 0; j < x->n_elements; j++) {
        in->grad[j] = BEFORE;
    }
    in->tensor = mm1_tensor_borrow(&c->tape, in->data, x->n_dims, x->shape);
    assert_non_null(in->tensor);
    in->tensor->is_param = true;
    in->tensor->grad = in->grad;
    in->tensor->needs_grad = c->trained == ALL || c->trained == i;
    return c->indirect && !is_weight ? mm1_op_act(&c->tape, in->tensor, MM1_ACT_NONE) : in->tensor;
}

static mm1_tensor *value(ctx *c, const char *name)
{
    return take(c, name, false);
}

/* Weights are parameters always: the operators add to their gradients directly. */
static mm1_tensor *weight(ctx *c, const char *name)
{
    return take(c, name, true);
}

/* ---- the operators ---- */

static mm1_tensor *linear(ctx *c)
{
    mm1_tensor *x = value(c, "x"), *w = weight(c, "w"), *b = weight(c, "b"), *residual = value(c, "residual");
    return mm1_op_linear(&c->tape, x, w, b, (mm1_act)c->dims[0], residual);
}

static mm1_tensor *norm(ctx *c)
{
    mm1_tensor *x = value(c, "x"), *w = weight(c, "w"), *b = weight(c, "b");
    return mm1_op_norm(&c->tape, x, (mm1_norm)c->dims[0], w, b, 1e-5f);
}

static mm1_tensor *qk_norm(ctx *c)
{
    mm1_tensor *x = value(c, "x"), *q_w = weight(c, "q_w"), *k_w = weight(c, "k_w");
    return mm1_op_qk_norm(&c->tape, x, c->dims[0], c->dims[1], q_w, k_w, 1e-5f);
}

static mm1_tensor *act(ctx *c)
{
    return mm1_op_act(&c->tape, value(c, "x"), (mm1_act)c->dims[0]);
}

/* [n, n] */
static mm1_tensor *identity(ctx *c, int64_t n)
{
    float *data = own(c, mm1_calloc((size_t)(n * n), sizeof *data));
    for (int64_t i = 0; i < n; i++) {
        data[i * n + i] = 1;
    }
    return mm1_tensor_borrow(&c->tape, data, 2, (int64_t[]){n, n});
}

/* The gated unit alone: an MLP whose layers change nothing. */
static mm1_tensor *glu(ctx *c)
{
    mm1_tensor *x = value(c, "x");
    const int64_t n = mm1_tensor_cols(x);
    const mm1_mlp mlp = {
        .up_w = identity(c, n), .down_w = identity(c, n / 2), .act = (mm1_act)c->dims[0], .gated = true};
    return mm1_op_mlp(&c->tape, x, &mlp, NULL);
}

/* Also checks what the layer says of itself. */
static mm1_tensor *moe(ctx *c)
{
    const int32_t *d = c->dims;
    const float *coefs = floats(c, "coefs");
    mm1_tensor *x = value(c, "x");
    mm1_moe m = {.router_w = weight(c, "router"),
                 .up_w = weight(c, "up"),
                 .down_w = weight(c, "down"),
                 .top_k = d[0],
                 .act = (mm1_act)d[1],
                 .gated = d[2] != 0,
                 .normalize = d[3] != 0,
                 .capacity = coefs[0],
                 .balance_coef = coefs[1],
                 .z_coef = coefs[2],
                 .layer = 1};
    const int64_t N = mm1_tensor_rows(x), E = m.router_w->dims[0];
    const int32_t *example = ints(c, "example");
    mm1_routing_layer layers[2] = {0};
    int64_t n = 0, *load = own(c, mm1_calloc((size_t)(2 * E), sizeof *load));
    for (int64_t i = 0; i < N; i++) {
        n += example == NULL || example[i] >= 0;
    }
    mm1_routing *routing = own(c, mm1_alloc(1, sizeof *routing));
    *routing = (mm1_routing){.example = example,
                             .T = d[4],
                             .scale = 1.0 / (double)n,
                             .n_layers = 2,
                             .n_experts = E,
                             .layers = layers,
                             .load = load};
    c->tape.routing = d[4] > 0 ? routing : NULL;
    mm1_tensor *y = mm1_op_moe(&c->tape, x, &m, value(c, "residual"));
    if (d[4] > 0) {
        const float *said = floats(c, "said");
        assert_true(fabs(layers[1].balance - said[0]) < 1e-5 && fabs(layers[1].z - said[1]) < 1e-4);
        assert_int_equal(layers[1].n_chosen, (int64_t)said[2]);
        assert_int_equal(layers[1].n_dropped, (int64_t)said[3]);
        for (int64_t e = 0; e < E; e++) {
            assert_int_equal(load[e], 0);
            layers[1].n_chosen -= load[E + e];
        }
        assert_int_equal(layers[1].n_chosen, 0);
    }
    routing->layers = NULL; /* not read by the backward pass */
    return y;
}

static mm1_tensor *add(ctx *c)
{
    mm1_tensor *a = value(c, "a"), *b = value(c, "b");
    return mm1_op_add(&c->tape, a, b != NULL ? b : a);
}

static mm1_tensor *add_rows(ctx *c)
{
    mm1_tensor *x = value(c, "x"), *r = value(c, "r");
    return mm1_op_add_rows(&c->tape, x, r, c->dims[0]);
}

static mm1_tensor *scale(ctx *c)
{
    mm1_tensor *x = value(c, "x"), *s = weight(c, "s"), *residual = value(c, "residual");
    return mm1_op_scale(&c->tape, x, s, residual);
}

static mm1_tensor *attention(ctx *c)
{
    const int32_t *d = c->dims;
    mm1_attention_spec s = {.B = d[0],
                            .T = d[1],
                            .S = d[2],
                            .H = d[3],
                            .Hkv = d[4],
                            .D = d[5],
                            .q_col = d[6],
                            .k_col = d[7],
                            .v_col = d[8],
                            .lo = ints(c, "lo"),
                            .hi = ints(c, "hi")};
    if (d[9] != 0) {
        float *table = own(c, mm1_alloc((size_t)(s.T * s.D), sizeof *table));
        mm1_rope_table(table, s.T, s.D, 100, NULL);
        s.cos_sin = table;
        s.position = ints(c, "position");
    }
    mm1_tensor *q = value(c, "q"), *k = value(c, "k"), *v = value(c, "v");
    k = k != NULL ? k : q;
    return mm1_op_attention(&c->tape, q, k, v != NULL ? v : k, &s);
}

static mm1_tensor *embed(ctx *c)
{
    mm1_tensor *table = value(c, "table"), *visual = value(c, "visual");
    return mm1_op_embed(&c->tape, table, ints(c, "id"), find(c, "", "id")->n_elements, visual, ints(c, "visual_row"));
}

static mm1_tensor *dwconv(ctx *c)
{
    mm1_tensor *x = value(c, "x"), *w = weight(c, "w");
    return mm1_op_dwconv(&c->tape, x, w, c->dims[0], c->dims[1], c->dims[2]);
}

static mm1_tensor *pool(ctx *c)
{
    const int32_t *d = c->dims;
    return mm1_op_pool(&c->tape, value(c, "x"), d[0], d[1], d[2], d[3], d[4]);
}

static mm1_tensor *gate(ctx *c)
{
    mm1_tensor *x = value(c, "x"), *g = value(c, "g");
    return mm1_op_gate(&c->tape, x, g, c->dims[0]);
}

static mm1_tensor *patchify(ctx *c)
{
    return mm1_op_patchify(&c->tape, floats(c, "pixels"), c->dims[0], c->dims[1], c->dims[2]);
}

/* Forms its gradients itself; the losses are handed out as a tensor. */
static mm1_tensor *xent(ctx *c)
{
    const float *coefs = floats(c, "coefs");
    const int64_t N = find(c, "", "target")->n_elements;
    mm1_tensor *x = value(c, "x"), *w = weight(c, "w");
    float *nll = own(c, mm1_alloc((size_t)N, sizeof *nll));
    assert_true(mm1_op_xent(&c->tape, x, w, ints(c, "target"), nll, coefs[0], coefs[1]));
    return mm1_tensor_borrow(&c->tape, nll, 1, &N);
}

static const struct {
    const char *name;
    mm1_tensor *(*run)(ctx *c);
    int n_cases;
} OPERATORS[] = {{"linear", linear, 11},      {"norm", norm, 4},     {"qk_norm", qk_norm, 3},
                 {"act", act, MM1_ACT_COUNT}, {"glu", glu, 4},       {"add", add, 2},
                 {"add_rows", add_rows, 2},   {"pool", pool, 4},     {"attention", attention, 7},
                 {"embed", embed, 2},         {"dwconv", dwconv, 4}, {"gate", gate, 1},
                 {"patchify", patchify, 1},   {"xent", xent, 3},     {"moe", moe, 8},
                 {"scale", scale, 2}};
enum { N_OPERATORS = sizeof OPERATORS / sizeof *OPERATORS };

/* ---- one case ---- */

static double worst_forward, worst_grad;

static void fail_case(const ctx *c, const char *what, double error)
{
    print_error("%s%s (%s, trained %d): %s is off by %.3g\n", c->name, c->indirect ? " of results" : "",
                mm1_isa_name(mm1_kernels_get()->isa), c->trained, what, error);
    fail();
}

/* Every byte of free memory reads as NaN: nothing may depend on it. */
static void poison(mm1_arena *a)
{
    const size_t n = a->cap - a->top;
    const mm1_arena_mark mark = mm1_arena_mark_get(a);
    void *p = mm1_arena_alloc(a, n, 1);
    assert_non_null(p);
    memset(p, 0xff, n);
    mm1_arena_reset_to(a, mark);
}

static void check_input(ctx *c, int i)
{
    const input *in = &c->inputs[i];
    const mm1_safetensors_tensor *x = find(c, "d.", in->name);
    assert_non_null(x);
    const bool trained = c->trained == ALL || c->trained == i;
    float *want = golden_floats(x);
    double cosine;
    for (int64_t j = 0; j < x->n_elements; j++) {
        in->grad[j] -= BEFORE;
        want[j] = trained ? want[j] : 0;
    }
    const double error = golden_error(in->grad, want, x->n_elements, &cosine);
    mm1_free(want);
    if (!(error < 1e-5 && cosine > 0.99999)) {
        fail_case(c, in->name, error);
    }
    worst_grad = fmax(worst_grad, error);
}

/* Returns how many inputs the case has. */
static int run_case(ctx *c, mm1_tensor *(*run)(ctx *))
{
    mm1_error err = {0};
    c->n_inputs = 0;
    c->tape.routing = NULL;
    mm1_tape_reset(&c->tape, 0);
    poison(&c->arena);
    mm1_tensor *y = run(c);
    check_ok(mm1_tape_status(&c->tape, &err), &err);
    const mm1_safetensors_tensor *expected = find(c, "", "y"), *seed = find(c, "", "dy");
    float *want = own(c, golden_floats(expected));
    assert_int_equal(mm1_tensor_size(y), expected->n_elements);
    check_close(y->data, want, expected->n_elements, 1e-5, 1e-5);
    worst_forward = fmax(worst_forward, golden_error(y->data, want, expected->n_elements, NULL));
    if (y->needs_grad) {
        bool acc;
        assert_non_null(mm1__tape_grad(&c->tape, y, &acc));
        assert_false(acc);
        check_ok(mm1_safetensors_to_f32(seed, y->grad, &err), &err);
    }
    mm1_tape_backward(&c->tape);
    check_ok(mm1_tape_status(&c->tape, &err), &err);
    for (int i = 0; i < c->n_inputs; i++) {
        check_input(c, i);
    }
    while (c->n_owned > 0) {
        mm1_free(c->owned[--c->n_owned]);
    }
    return c->n_inputs;
}

static void every_operator_computes_what_pytorch_computes(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_safetensors *sf = golden_open(MM1_TEST_DATA "/tensor/ops_golden.safetensors");
    ctx c = {.sf = sf};
    check_ok(mm1_arena_init(&c.arena, (size_t)1 << 20, &err), &err);
    check_ok(mm1_tape_init(&c.tape, &c.arena, &err), &err);
    c.tape.recording = true;
    for (int isa = -1; golden_next_isa(&isa);) {
        for (int op = 0; op < N_OPERATORS; op++) {
            const size_t len = strlen(OPERATORS[op].name);
            int n_cases = 0;
            worst_forward = worst_grad = 0;
            for (size_t i = 0; i < mm1_safetensors_n(sf); i++) {
                char name[80];
                const char *key = mm1_safetensors_at(sf, i)->name, *slash = strchr(key, '/');
                if (strcmp(slash, "/dims") != 0 || strncmp(key, OPERATORS[op].name, len) != 0 || key[len] != '.') {
                    continue;
                }
                (void)snprintf(name, sizeof name, "%.*s", (int)(slash - key), key);
                c.name = name;
                c.dims = golden_ints(mm1_safetensors_at(sf, i));
                for (int indirect = 0; indirect < 2; indirect++) {
                    c.indirect = indirect;
                    c.trained = ALL;
                    const int n_inputs = run_case(&c, OPERATORS[op].run);
                    for (c.trained = 0; c.trained < n_inputs; c.trained++) {
                        (void)run_case(&c, OPERATORS[op].run);
                    }
                }
                mm1_free(c.dims);
                n_cases++;
            }
            assert_int_equal(n_cases, OPERATORS[op].n_cases);
            print_message("%-6s %-9s worst forward %.2g, worst gradient %.2g off\n", mm1_isa_name((mm1_isa)isa),
                          OPERATORS[op].name, worst_forward, worst_grad);
        }
    }
    mm1_tape_deinit(&c.tape);
    mm1_arena_deinit(&c.arena);
    mm1_safetensors_close(sf);
}

/* The head of a large vocabulary sees its rows block by block; the blocks make up the whole. */
static void blocks_of_the_loss_add_up(void **state)
{
    (void)state;
    enum { N = 23, C = 3, V = 300001 }; /* six rows to a block */
    mm1_error err = {0};
    mm1_arena arena;
    mm1_tape tape;
    float x[N * C], dx[2][N * C], nll[2][N], *w = mm1_alloc(V * C, sizeof *w), *dw[2];
    int32_t target[N];
    mm1_rng r = mm1_rng_make(1, MM1_RNG_TEST, 0);
    check_fill(x, N * C, -2, 2, 5);
    check_fill(w, V * C, -2, 2, 6);
    for (int i = 0; i < N; i++) {
        target[i] = i % 5 == 2 ? -1 : (int32_t)mm1_rng_below(&r, V);
    }
    check_ok(mm1_arena_init(&arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    tape.recording = true;
    memset(dx, 0, sizeof dx);
    for (int apart = 0; apart < 2; apart++) {
        dw[apart] = mm1_calloc(V * C, sizeof **dw);
        const int step = apart ? 1 : N;
        for (int row = 0; row < N; row += step) {
            mm1_tape_reset(&tape, 0);
            mm1_tensor *tx = mm1_tensor_borrow(&tape, x + row * C, 2, (int64_t[]){step, C});
            mm1_tensor *tw = mm1_tensor_borrow(&tape, w, 2, (int64_t[]){V, C});
            tx->is_param = tw->is_param = tx->needs_grad = tw->needs_grad = true;
            tx->grad = dx[apart] + row * C;
            tw->grad = dw[apart];
            assert_true(mm1_op_xent(&tape, tx, tw, target + row, nll[apart] + row, 0.5f, 0.01f));
            mm1_tape_backward(&tape);
        }
    }
    check_ok(mm1_tape_status(&tape, &err), &err);
    check_close(nll[0], nll[1], N, 1e-6, 1e-6);
    const double off_x = golden_error(dx[0], dx[1], (int64_t)N * C, NULL);
    const double off_w = golden_error(dw[0], dw[1], (int64_t)V * C, NULL);
    print_message("blocks against single rows: dx %.2g, dw %.2g\n", off_x, off_w);
    /* dx sums over the vocabulary in f32, and the product has another path for few rows. */
    assert_true(off_x < 1e-5 && off_w < 1e-6);
    for (int i = 0; i < N; i++) {
        assert_true(target[i] >= 0 ? nll[0][i] > 1 : nll[0][i] == 0);
    }
    mm1_free(dw[0]);
    mm1_free(dw[1]);
    mm1_free(w);
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
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
        cmocka_unit_test(every_operator_computes_what_pytorch_computes),
        cmocka_unit_test(blocks_of_the_loss_add_up),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

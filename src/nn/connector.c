/* connector.c - see connector.h. */
#include "nn/connector.h"

#include "base/alloc.h"
#include "nn/position_grid.h"
#include <math.h>
#include <stdio.h>

static const char *const kind_names[] = {"avgpool", "attnpool", "c_abstractor", "mlp", "pixel_shuffle", NULL};
static const float NORM_EPS = 1e-6f;

#define F(member, TYPE, ...) MM1_FIELD(mm1_connector_config, member, TYPE, __VA_ARGS__)
const mm1_field mm1__connector_fields[] = {
    F(kind, ENUM, .def.i = MM1_CONNECTOR_C_ABSTRACTOR, .names = kind_names, .help = "how patches become visual tokens"),
    F(n_tokens, I64, .def.i = 144, .min.i = 1, .max.i = 65536, .help = "visual tokens of a tile; a square number"),
    F(hidden, I64, .def.i = 1024, .min.i = 1, .max.i = 65536, .help = "c_abstractor: width of its blocks"),
    F(depth, I64, .def.i = 3, .min.i = 0, .max.i = 64, .help = "c_abstractor: blocks on each side of the pooling"),
    F(n_heads, I64, .def.i = 0, .min.i = 0, .max.i = 1024, .help = "attnpool: heads; 0: those of the encoder"),
    {0},
};
#undef F

static int64_t side_of(int64_t n_tokens)
{
    int64_t h = 1;
    while (h * h < n_tokens) {
        h++;
    }
    return h;
}

mm1_status mm1_connector_config_check(const mm1_connector_config *c, int64_t grid, int64_t width_in,
                                      int64_t vision_heads, mm1_error *err)
{
    const int64_t h = side_of(c->n_tokens), heads = c->n_heads != 0 ? c->n_heads : vision_heads;
    if (h * h != c->n_tokens) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.connector.n_tokens: %lld is no square; %lld and %lld are",
                             (long long)c->n_tokens, (long long)((h - 1) * (h - 1)), (long long)(h * h));
    }
    if (c->kind == MM1_CONNECTOR_MLP && h != grid) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.connector.n_tokens: mlp keeps all %lld patches; set it to that, not %lld",
                             (long long)(grid * grid), (long long)c->n_tokens);
    }
    if (c->kind == MM1_CONNECTOR_PIXEL_SHUFFLE && grid % h != 0) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.connector.n_tokens: %lld x %lld tokens do not divide the encoder's %lld x %lld "
                             "patches into blocks",
                             (long long)h, (long long)h, (long long)grid, (long long)grid);
    }
    if (c->kind == MM1_CONNECTOR_ATTNPOOL && width_in % heads != 0) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.connector.n_heads: %lld does not divide the encoder's width %lld", (long long)heads,
                             (long long)width_in);
    }
    return MM1_OK;
}

static mm1_tensor *weight(mm1_params *p, int64_t rows, int64_t cols, const char *prefix, const char *name)
{
    return mm1_params_add(p, MM1_GROUP_CONNECTOR, MM1_INIT_NORMAL, 1.0 / sqrt((double)cols), true, 2,
                          (int64_t[]){rows, cols}, "connector.%s%s.weight", prefix, name);
}

static mm1_affine linear(mm1_params *p, int64_t rows, int64_t cols, const char *prefix, const char *name)
{
    mm1_affine a = {.w = weight(p, rows, cols, prefix, name)};
    a.b = mm1_params_add(p, MM1_GROUP_CONNECTOR, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){rows}, "connector.%s%s.bias",
                         prefix, name);
    return a;
}

static mm1_affine norm(mm1_params *p, int64_t C, const char *prefix, const char *name)
{
    mm1_affine a;
    a.w = mm1_params_add(p, MM1_GROUP_CONNECTOR, MM1_INIT_ONES, 0, false, 1, (int64_t[]){C}, "connector.%s%s.weight",
                         prefix, name);
    a.b = mm1_params_add(p, MM1_GROUP_CONNECTOR, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){C}, "connector.%s%s.bias",
                         prefix, name);
    return a;
}

static void bottleneck_create(mm1_bottleneck *b, int64_t C_in, int64_t C, mm1_params *p, const char *stage, int64_t i)
{
    char at[32];
    (void)snprintf(at, sizeof at, "%s.%lld.", stage, (long long)i);
    /* A half goes to the even number, as in Honeybee's Python: weights made there must fit. */
    const int64_t quarter = llrint(0.25 * (double)C_in), squeezed = quarter > 0 ? quarter : 1;
    b->conv1 = weight(p, C, C_in, at, "conv1");
    b->norm1 = norm(p, C, at, "norm1");
    b->conv2 = mm1_params_add(p, MM1_GROUP_CONNECTOR, MM1_INIT_NORMAL, 1.0 / 3.0, true, 2, (int64_t[]){9, C},
                              "connector.%sconv2.weight", at);
    b->norm2 = norm(p, C, at, "norm2");
    b->se1 = linear(p, squeezed, C, at, "se1");
    b->se2 = linear(p, C, squeezed, at, "se2");
    b->conv3 = weight(p, C, C, at, "conv3");
    b->norm3 = norm(p, C, at, "norm3");
    b->shortcut = NULL;
    if (C_in != C) {
        b->shortcut = weight(p, C, C_in, at, "shortcut");
        b->norm_shortcut = norm(p, C, at, "norm_shortcut");
    }
}

static mm1_tensor *bottleneck_forward(const mm1_bottleneck *b, mm1_tape *t, mm1_tensor *x, int64_t I, int64_t side)
{
    mm1_tensor *y = mm1_op_linear(t, x, b->conv1, NULL, MM1_ACT_NONE, NULL);
    y = mm1_op_act(t, mm1_op_norm(t, y, MM1_NORM_LAYER, b->norm1.w, b->norm1.b, NORM_EPS), MM1_ACT_SILU);
    y = mm1_op_dwconv(t, y, b->conv2, I, side, side);
    y = mm1_op_act(t, mm1_op_norm(t, y, MM1_NORM_LAYER, b->norm2.w, b->norm2.b, NORM_EPS), MM1_ACT_SILU);
    mm1_tensor *g = mm1_op_pool(t, y, I, side, side, 1, 1);
    g = mm1_op_linear(t, g, b->se1.w, b->se1.b, MM1_ACT_SILU, NULL);
    g = mm1_op_linear(t, g, b->se2.w, b->se2.b, MM1_ACT_SIGMOID, NULL);
    y = mm1_op_gate(t, y, g, I);
    y = mm1_op_linear(t, y, b->conv3, NULL, MM1_ACT_NONE, NULL);
    y = mm1_op_norm(t, y, MM1_NORM_LAYER, b->norm3.w, b->norm3.b, NORM_EPS);
    mm1_tensor *s = x;
    if (b->shortcut != NULL) {
        s = mm1_op_linear(t, x, b->shortcut, NULL, MM1_ACT_NONE, NULL);
        s = mm1_op_norm(t, s, MM1_NORM_LAYER, b->norm_shortcut.w, b->norm_shortcut.b, NORM_EPS);
    }
    return mm1_op_act(t, mm1_op_add(t, y, s), MM1_ACT_SILU);
}

mm1_status mm1_connector_init(mm1_connector *c, const mm1_connector_config *config, int64_t grid, int64_t width_in,
                              int64_t vision_heads, int64_t width_out, mm1_params *p, mm1_error *err)
{
    *c = (mm1_connector){.config = *config, .grid = grid, .width_in = width_in, .width_out = width_out};
    c->n_heads = config->n_heads != 0 ? config->n_heads : vision_heads;
    mm1_status st = mm1_connector_config_check(config, grid, width_in, vision_heads, err);
    if (st != MM1_OK) {
        return st;
    }
    const int64_t depth = config->depth, hidden = config->hidden;
    switch ((mm1_connector_kind)config->kind) {
    case MM1_CONNECTOR_AVGPOOL: c->read2 = linear(p, width_out, width_in, "", "readout"); break;
    case MM1_CONNECTOR_ATTNPOOL:
        c->queries = mm1_params_add(p, MM1_GROUP_CONNECTOR, MM1_INIT_NORMAL, 0.02, false, 2,
                                    (int64_t[]){config->n_tokens, width_in}, "connector.queries");
        c->norm_q = norm(p, width_in, "", "norm_q");
        c->norm_x = norm(p, width_in, "", "norm_x");
        c->q = linear(p, width_in, width_in, "", "q");
        c->kv = linear(p, 2 * width_in, width_in, "", "kv");
        c->out = linear(p, width_in, width_in, "", "out");
        c->norm_out = norm(p, width_in, "", "norm_out");
        c->read2 = linear(p, width_out, width_in, "", "readout");
        break;
    case MM1_CONNECTOR_C_ABSTRACTOR:
        c->before = mm1_calloc((size_t)depth, sizeof *c->before);
        c->after = mm1_calloc((size_t)depth, sizeof *c->after);
        if (c->before == NULL || c->after == NULL) {
            mm1_connector_deinit(c);
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for a connector of depth %lld", (long long)depth);
        }
        c->pos = mm1__position_grid_create(grid, 0, width_in, p, MM1_GROUP_CONNECTOR, "connector.pos");
        for (int64_t i = 0; i < depth; i++) {
            bottleneck_create(&c->before[i], i == 0 ? width_in : hidden, hidden, p, "before", i);
        }
        for (int64_t i = 0; i < depth; i++) {
            bottleneck_create(&c->after[i], hidden, hidden, p, "after", i);
        }
        c->read1 = linear(p, width_out, depth > 0 ? hidden : width_in, "", "readout1");
        c->read2 = linear(p, width_out, width_out, "", "readout2");
        break;
    case MM1_CONNECTOR_MLP:
        c->read1 = linear(p, width_out, width_in, "", "readout1");
        c->read2 = linear(p, width_out, width_out, "", "readout2");
        break;
    case MM1_CONNECTOR_PIXEL_SHUFFLE: {
        const int64_t s = grid / side_of(config->n_tokens);
        c->read2.w = weight(p, width_out, s * s * width_in, "", "readout");
        break;
    }
    case MM1_CONNECTOR_COUNT:
        return mm1_error_set(err, MM1_E_CONFIG, "model.connector.kind: %d is no kind", config->kind);
    }
    return MM1_OK;
}

void mm1_connector_deinit(mm1_connector *c)
{
    mm1_free(c->before);
    mm1_free(c->after);
    *c = (mm1_connector){0};
}

static mm1_tensor *attnpool_forward(const mm1_connector *c, mm1_tape *t, mm1_tensor *features, int64_t I)
{
    const int64_t k = c->config.n_tokens, P = c->grid * c->grid, D = c->width_in / c->n_heads;
    int32_t *lo = (int32_t *)(void *)mm1__tape_floats(t, I * k), *hi = (int32_t *)(void *)mm1__tape_floats(t, I * k);
    if (lo == NULL || hi == NULL) {
        return NULL;
    }
    for (int64_t i = 0; i < I * k && !t->dry; i++) {
        lo[i] = 0;
        hi[i] = (int32_t)P;
    }
    const mm1_attention_spec spec = {
        .B = I, .T = k, .S = P, .H = c->n_heads, .Hkv = c->n_heads, .D = D, .v_col = c->width_in, .lo = lo, .hi = hi};
    mm1_tensor *queries = mm1_op_add_rows(t, NULL, c->queries, I);
    mm1_tensor *q = mm1_op_norm(t, queries, MM1_NORM_LAYER, c->norm_q.w, c->norm_q.b, NORM_EPS);
    mm1_tensor *x = mm1_op_norm(t, features, MM1_NORM_LAYER, c->norm_x.w, c->norm_x.b, NORM_EPS);
    q = mm1_op_linear(t, q, c->q.w, c->q.b, MM1_ACT_NONE, NULL);
    mm1_tensor *kv = mm1_op_linear(t, x, c->kv.w, c->kv.b, MM1_ACT_NONE, NULL);
    mm1_tensor *o = mm1_op_attention(t, q, kv, kv, &spec);
    o = mm1_op_linear(t, o, c->out.w, c->out.b, MM1_ACT_NONE, queries);
    o = mm1_op_norm(t, o, MM1_NORM_LAYER, c->norm_out.w, c->norm_out.b, NORM_EPS);
    return mm1_op_linear(t, o, c->read2.w, c->read2.b, MM1_ACT_NONE, NULL);
}

mm1_tensor *mm1_connector_forward(const mm1_connector *c, mm1_tape *t, mm1_tensor *features, int64_t I)
{
    const int64_t h = side_of(c->config.n_tokens);
    if (features == NULL) {
        return NULL;
    }
    if (mm1_tensor_rows(features) != I * c->grid * c->grid || mm1_tensor_cols(features) != c->width_in) {
        return mm1_tape_fail(t, MM1_E_SHAPE, "connector: %lld feature rows for %lld images of %lld x %lld patches",
                             (long long)mm1_tensor_rows(features), (long long)I, (long long)c->grid,
                             (long long)c->grid);
    }
    mm1_tensor *x = features;
    switch ((mm1_connector_kind)c->config.kind) {
    case MM1_CONNECTOR_AVGPOOL:
        x = mm1_op_pool(t, x, I, c->grid, c->grid, h, h);
        return mm1_op_linear(t, x, c->read2.w, c->read2.b, MM1_ACT_NONE, NULL);
    case MM1_CONNECTOR_ATTNPOOL: return attnpool_forward(c, t, x, I);
    case MM1_CONNECTOR_C_ABSTRACTOR:
        x = mm1_op_add_rows(t, x, c->pos, I);
        for (int64_t i = 0; i < c->config.depth; i++) {
            x = bottleneck_forward(&c->before[i], t, x, I, c->grid);
        }
        x = mm1_op_pool(t, x, I, c->grid, c->grid, h, h);
        for (int64_t i = 0; i < c->config.depth; i++) {
            x = bottleneck_forward(&c->after[i], t, x, I, h);
        }
        x = mm1_op_linear(t, x, c->read1.w, c->read1.b, MM1_ACT_SILU, NULL);
        return mm1_op_linear(t, x, c->read2.w, c->read2.b, MM1_ACT_NONE, NULL);
    case MM1_CONNECTOR_MLP:
        x = mm1_op_linear(t, x, c->read1.w, c->read1.b, MM1_ACT_GELU, NULL);
        return mm1_op_linear(t, x, c->read2.w, c->read2.b, MM1_ACT_NONE, NULL);
    case MM1_CONNECTOR_PIXEL_SHUFFLE:
        x = mm1_op_space_to_depth(t, x, I, c->grid, c->grid, c->grid / h);
        return mm1_op_linear(t, x, c->read2.w, NULL, MM1_ACT_NONE, NULL);
    case MM1_CONNECTOR_COUNT: break;
    }
    return mm1_tape_fail(t, MM1_E_INTERNAL, "connector: unknown kind %d", c->config.kind);
}

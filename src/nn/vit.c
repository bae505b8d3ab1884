/* vit.c - see vit.h. */
#include "nn/vit.h"

#include "base/alloc.h"
#include "nn/position_grid.h"
#include <math.h>
#include <stdio.h>

const char *const mm1__act_names[] = {"none", "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "sigmoid", NULL};

static const char *const pool_names[] = {"none", "class", "mean", "attention", NULL};

#define F(member, TYPE, ...) MM1_FIELD(mm1_vision_config, member, TYPE, __VA_ARGS__)
const mm1_field mm1__vision_fields[] = {
    F(image_size, I64, .def.i = 336, .min.i = 1, .max.i = 8192, .unit = "px",
      .help = "side of the square picture; a multiple of patch_size. Weights made at another size fit: their positions "
              "are interpolated"),
    F(patch_size, I64, .def.i = 14, .min.i = 1, .max.i = 1024, .unit = "px", .help = "side of a patch"),
    F(width, I64, .def.i = 1024, .min.i = 1, .max.i = 65536, .help = "width of the residual stream"),
    F(n_layers, I64, .def.i = 24, .min.i = 0, .max.i = 1024, .help = "transformer blocks"),
    F(n_heads, I64, .def.i = 16, .min.i = 1, .max.i = 1024, .help = "attention heads; must divide width"),
    F(mlp_width, I64, .def.i = 4096, .min.i = 1, .max.i = 1 << 20, .help = "hidden width of the MLP"),
    F(act, ENUM, .def.i = MM1_ACT_GELU, .names = mm1__act_names, .help = "activation of the MLP"),
    F(norm_eps, F64, .def.f = 1e-6, .min.f = 0, .max.f = 1, .help = "epsilon of the layer norms"),
    F(class_token, BOOL, .def.i = 0,
      .help = "a learned token before the patches, with a position of its own (CLIP, DINOv2); the connector does not "
              "get it"),
    F(patch_bias, BOOL, .def.i = 1, .help = "a bias in the embedding of patches (CLIP has none)"),
    F(pre_norm, BOOL, .def.i = 0, .help = "a layer norm between the embedding and the blocks (CLIP)"),
    F(layer_scale, BOOL, .def.i = 0,
      .help = "a learned factor for each channel of what attention and MLP add (DINOv2)"),
    F(gated, BOOL, .def.i = 0, .help = "gated MLP; with silu: SwiGLU (DINOv2 giant)"),
    F(cut_edge, BOOL, .def.i = 0,
      .help = "image_size need be no multiple of patch_size; what is left on the right and at the bottom is not seen "
              "(SigLIP at 384 px in patches of 14)"),
    F(feature_layer, I64, .def.i = -1, .min.i = -1025, .max.i = -1,
      .help = "-1: features come from the last block and its norm; -2: from the block before, without a norm (LLaVA), "
              "and so on; what comes later is left out of the model"),
    F(pool, ENUM, .def.i = MM1_VISION_POOL_NONE, .names = pool_names,
      .help = "one vector for the whole picture, of an encoder that stands alone: the class token (CLIP, DINOv2), the "
              "mean of the features, or attention of a learned query to them (SigLIP); none is mean in a model of kind "
              "clip"),
    F(projection, I64, .def.i = 0, .min.i = 0, .max.i = 65536,
      .help = "width that the pooled vector is projected to (CLIP); 0: not projected"),
    {0},
};
#undef F

mm1_status mm1_vision_config_check(const mm1_vision_config *c, mm1_error *err)
{
    if (c->image_size < c->patch_size || (c->image_size % c->patch_size != 0 && !c->cut_edge)) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.vision.image_size: %lld is no multiple of patch_size %lld",
                             (long long)c->image_size, (long long)c->patch_size);
    }
    if (c->width % c->n_heads != 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.vision.n_heads: %lld does not divide width %lld",
                             (long long)c->n_heads, (long long)c->width);
    }
    if (mm1_vision_depth(c) < 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.vision.feature_layer: %lld, but there are %lld blocks",
                             (long long)c->feature_layer, (long long)c->n_layers);
    }
    if (c->pool != MM1_VISION_POOL_NONE && c->feature_layer != -1) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.vision.pool: %s needs the last block; set feature_layer to -1",
                             pool_names[c->pool]);
    }
    if (c->pool == MM1_VISION_POOL_CLASS && !c->class_token) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.vision.pool: class, but class_token is off");
    }
    if (c->pool == MM1_VISION_POOL_NONE && c->projection != 0) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.vision.projection: %lld, but nothing is pooled; set pool, or projection to 0",
                             (long long)c->projection);
    }
    return MM1_OK;
}

int64_t mm1_vision_grid(const mm1_vision_config *c)
{
    return c->image_size / c->patch_size;
}

int64_t mm1_vision_rows(const mm1_vision_config *c)
{
    return mm1_vision_grid(c) * mm1_vision_grid(c) + (c->class_token ? 1 : 0);
}

int64_t mm1_vision_depth(const mm1_vision_config *c)
{
    return c->n_layers + 1 + c->feature_layer;
}

int64_t mm1_vision_pooled_width(const mm1_vision_config *c)
{
    return c->pool == MM1_VISION_POOL_NONE ? 0 : c->projection != 0 ? c->projection : c->width;
}

static mm1_tensor *matrix(mm1_params *p, int64_t rows, int64_t cols, const char *name)
{
    return mm1_params_add(p, MM1_GROUP_VISION, MM1_INIT_NORMAL, 1.0 / sqrt((double)cols), true, 2,
                          (int64_t[]){rows, cols}, "vision.%s.weight", name);
}

static mm1_tensor *bias(mm1_params *p, int64_t n, const char *name)
{
    return mm1_params_add(p, MM1_GROUP_VISION, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){n}, "vision.%s.bias", name);
}

static void norm_create(mm1_tensor **w, mm1_tensor **b, int64_t C, mm1_params *p, const char *name)
{
    mm1__norm_create(w, b, MM1_NORM_LAYER, C, p, MM1_GROUP_VISION, "vision", name);
}

static void head_create(mm1_vision_head *h, const mm1_vision_config *c, mm1_params *p)
{
    const int64_t C = c->width, n_up = c->gated ? 2 * c->mlp_width : c->mlp_width;
    const char *const up = c->gated ? "head.mlp.gate_up" : "head.mlp.up";
    h->query =
        mm1_params_add(p, MM1_GROUP_VISION, MM1_INIT_NORMAL, 0.02, false, 2, (int64_t[]){1, C}, "vision.head.query");
    h->qkv_w = matrix(p, 3 * C, C, "head.qkv");
    h->qkv_b = bias(p, 3 * C, "head.qkv");
    h->out_w = matrix(p, C, C, "head.out");
    h->out_b = bias(p, C, "head.out");
    norm_create(&h->norm_w, &h->norm_b, C, p, "head.norm");
    h->up_w = matrix(p, n_up, C, up);
    h->up_b = bias(p, n_up, up);
    h->down_w = matrix(p, C, c->mlp_width, "head.mlp.down");
    h->down_b = bias(p, C, "head.mlp.down");
}

mm1_status mm1_vit_init(mm1_vit *v, const mm1_vision_config *c, mm1_params *p, mm1_error *err)
{
    const mm1_param_group group = MM1_GROUP_VISION;
    *v = (mm1_vit){.config = *c};
    mm1_status st = mm1_vision_config_check(c, err);
    if (st != MM1_OK) {
        return st;
    }
    const int64_t C = c->width, depth = mm1_vision_depth(c);
    v->block_config = (mm1_block_config){.width = C,
                                         .n_heads = c->n_heads,
                                         .n_kv_heads = c->n_heads,
                                         .head_dim = C / c->n_heads,
                                         .mlp_width = c->mlp_width,
                                         .n_layers = c->n_layers,
                                         .norm = MM1_NORM_LAYER,
                                         .act = (mm1_act)c->act,
                                         .gated = c->gated,
                                         .bias = true,
                                         .layer_scale = c->layer_scale,
                                         .norm_eps = c->norm_eps};
    v->blocks = mm1_calloc((size_t)depth, sizeof *v->blocks);
    if (v->blocks == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld vision blocks", (long long)depth);
    }
    v->patch_w = matrix(p, C, 3 * c->patch_size * c->patch_size, "patch");
    v->patch_b = c->patch_bias ? bias(p, C, "patch") : NULL;
    v->class_token = c->class_token ? mm1_params_add(p, group, MM1_INIT_NORMAL, 0.02, false, 2, (int64_t[]){1, C},
                                                     "vision.class_token")
                                    : NULL;
    v->pos = mm1__position_grid_create(mm1_vision_grid(c), c->class_token ? 1 : 0, C, p, group, "vision.pos");
    if (c->pre_norm) {
        norm_create(&v->pre_norm_w, &v->pre_norm_b, C, p, "pre_norm");
    }
    for (int64_t i = 0; i < depth; i++) {
        char prefix[64];
        (void)snprintf(prefix, sizeof prefix, "vision.layers.%lld", (long long)i);
        mm1__block_create(&v->blocks[i], &v->block_config, p, group, prefix);
    }
    if (c->feature_layer == -1) {
        norm_create(&v->norm_w, &v->norm_b, C, p, "norm");
    }
    if (c->pool == MM1_VISION_POOL_ATTENTION) {
        head_create(&v->head, c, p);
    }
    v->projection = c->projection > 0 ? matrix(p, c->projection, C, "projection") : NULL;
    return MM1_OK;
}

void mm1_vit_deinit(mm1_vit *v)
{
    mm1_free(v->blocks);
    *v = (mm1_vit){0};
}

/* In the arena of the step: on a dry one it must not be written. */
static int32_t *step_ints(mm1_tape *t, int64_t n)
{
    return (int32_t *)(void *)mm1__tape_floats(t, n);
}

/* Of I images n queries of each see its m keys: all of them, or, with a prefix, what is in that and what is not
 * behind. */
static bool make_mask(mm1_tape *t, int64_t I, int64_t n, int64_t m, const int32_t *prefix, mm1_attention_spec *spec)
{
    int32_t *lo = step_ints(t, I * n), *hi = step_ints(t, I * n);
    if (lo == NULL || hi == NULL) {
        return false;
    }
    for (int64_t i = 0; i < I * n && !t->dry; i++) {
        lo[i] = 0;
        const int32_t seen = (int32_t)(i % n) + 1;
        hi[i] = prefix == NULL ? (int32_t)m : prefix[i / n] > seen ? prefix[i / n] : seen;
    }
    spec->lo = lo;
    spec->hi = hi;
    return true;
}

/* Row `first` and those behind it, `count` of the n rows of each image. */
static mm1_tensor *take_rows(mm1_tape *t, mm1_tensor *x, int64_t I, int64_t n, int64_t first, int64_t count)
{
    int32_t *row = step_ints(t, I * count);
    if (row == NULL) {
        return NULL;
    }
    for (int64_t i = 0; i < I * count && !t->dry; i++) {
        row[i] = (int32_t)(i / count * n + first + i % count);
    }
    return mm1_op_embed(t, x, row, I * count, NULL, NULL);
}

/* [I K, C] -> [I (K + 1), C], the class token before the patches of each image. */
static mm1_tensor *prepend_class(const mm1_vit *v, mm1_tape *t, mm1_tensor *patches, int64_t I, int64_t K)
{
    const int64_t n = K + 1;
    int32_t *id = step_ints(t, I * n), *row = step_ints(t, I * n);
    if (id == NULL || row == NULL) {
        return NULL;
    }
    for (int64_t i = 0; i < I * n && !t->dry; i++) {
        id[i] = 0;
        row[i] = i % n == 0 ? -1 : (int32_t)(i - i / n - 1);
    }
    return mm1_op_embed(t, v->class_token, id, I * n, patches, row);
}

/* Adds to the rows of each image, class token first if there is one, the positions of its K patches. */
static mm1_tensor *add_positions(const mm1_vit *v, mm1_tape *t, mm1_tensor *x, int64_t I, const int32_t *patch,
                                 int64_t K)
{
    if (patch == NULL) {
        return mm1_op_add_rows(t, x, v->pos, I);
    }
    const int64_t first = v->config.class_token ? 1 : 0, n = K + first;
    int32_t *row = step_ints(t, I * n);
    if (row == NULL) {
        return NULL;
    }
    for (int64_t i = 0; i < I * n && !t->dry; i++) {
        const int64_t k = i % n - first;
        row[i] = k < 0 ? 0 : (int32_t)first + patch[i / n * K + k];
    }
    return mm1_op_add(t, x, mm1_op_embed(t, v->pos, row, I * n, NULL, NULL));
}

/* All patches of each image [I P, 3 p p], or those that are named. */
static mm1_tensor *cut_patches(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, const int32_t *patch,
                               int64_t K)
{
    const int64_t grid = mm1_vision_grid(&v->config);
    mm1_tensor *all = mm1_op_patchify(t, pixels, I, v->config.image_size, v->config.patch_size);
    if (patch == NULL) {
        return all;
    }
    int32_t *row = step_ints(t, I * K);
    if (row == NULL) {
        return NULL;
    }
    for (int64_t i = 0; i < I * K && !t->dry; i++) {
        row[i] = (int32_t)(i / K * grid * grid) + patch[i];
    }
    return mm1_op_embed(t, all, row, I * K, NULL, NULL);
}

static mm1_tensor *last_norm(const mm1_vit *v, mm1_tape *t, mm1_tensor *x)
{
    return v->norm_w == NULL ? x : mm1_op_norm(t, x, MM1_NORM_LAYER, v->norm_w, v->norm_b, (float)v->config.norm_eps);
}

/* features [I K, C] -> [I, C] */
static mm1_tensor *pool_by_attention(const mm1_vit *v, mm1_tape *t, mm1_tensor *features, int64_t I, int64_t K)
{
    const mm1_vision_config *c = &v->config;
    const mm1_vision_head *h = &v->head;
    mm1_attention_spec spec = mm1__block_spec(&v->block_config, I, 1);
    spec.S = K;
    if (!make_mask(t, I, 1, K, NULL, &spec)) {
        return NULL;
    }
    mm1_tensor *q = mm1_op_linear(t, h->query, h->qkv_w, h->qkv_b, MM1_ACT_NONE, NULL);
    mm1_tensor *kv = mm1_op_linear(t, features, h->qkv_w, h->qkv_b, MM1_ACT_NONE, NULL);
    mm1_tensor *x = mm1_op_attention(t, mm1_op_add_rows(t, NULL, q, I), kv, kv, &spec);
    x = mm1_op_linear(t, x, h->out_w, h->out_b, MM1_ACT_NONE, NULL);
    const mm1_mlp mlp = {.up_w = h->up_w,
                         .up_b = h->up_b,
                         .down_w = h->down_w,
                         .down_b = h->down_b,
                         .act = (mm1_act)c->act,
                         .gated = c->gated};
    return mm1_op_mlp(t, mm1_op_norm(t, x, MM1_NORM_LAYER, h->norm_w, h->norm_b, (float)c->norm_eps), &mlp, x);
}

/* x: the residual stream, n rows an image, of which the last K are patches. */
static mm1_tensor *pool(const mm1_vit *v, mm1_tape *t, mm1_tensor *x, mm1_tensor *features, int64_t I, int64_t n,
                        int64_t K)
{
    mm1_tensor *y = NULL;
    switch ((mm1_vision_pool)v->config.pool) {
    case MM1_VISION_POOL_CLASS: y = last_norm(v, t, take_rows(t, x, I, n, 0, 1)); break;
    case MM1_VISION_POOL_MEAN: y = mm1_op_pool(t, features, I, K, 1, 1, 1); break;
    case MM1_VISION_POOL_ATTENTION: y = pool_by_attention(v, t, features, I, K); break;
    case MM1_VISION_POOL_NONE:
    case MM1_VISION_POOL_COUNT: return NULL;
    }
    return v->projection != NULL ? mm1_op_linear(t, y, v->projection, NULL, MM1_ACT_NONE, NULL) : y;
}

/* patch NULL: all K patches of each image.  prefix as for the mask.  pooled may be NULL. */
static mm1_tensor *forward(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, const int32_t *patch,
                           int64_t K, const int32_t *prefix, mm1_tensor **pooled)
{
    const mm1_vision_config *c = &v->config;
    const int64_t n = K + (c->class_token ? 1 : 0);
    mm1_attention_spec spec = mm1__block_spec(&v->block_config, I, n);
    if (!make_mask(t, I, n, n, prefix, &spec)) {
        return NULL;
    }
    mm1_tensor *x = cut_patches(v, t, pixels, I, patch, K);
    x = mm1_op_linear(t, x, v->patch_w, v->patch_b, MM1_ACT_NONE, NULL);
    x = c->class_token ? prepend_class(v, t, x, I, K) : x;
    x = add_positions(v, t, x, I, patch, K);
    x = c->pre_norm ? mm1_op_norm(t, x, MM1_NORM_LAYER, v->pre_norm_w, v->pre_norm_b, (float)c->norm_eps) : x;
    x = mm1__blocks_forward(v->blocks, mm1_vision_depth(c), &v->block_config, t, x, &spec, NULL);
    mm1_tensor *features = last_norm(v, t, c->class_token ? take_rows(t, x, I, n, 1, K) : x);
    if (pooled != NULL) {
        *pooled = features != NULL ? pool(v, t, x, features, I, n, K) : NULL;
    }
    return features;
}

static int64_t n_patches(const mm1_vit *v)
{
    return mm1_vision_grid(&v->config) * mm1_vision_grid(&v->config);
}

mm1_tensor *mm1_vit_forward(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I)
{
    return forward(v, t, pixels, I, NULL, n_patches(v), NULL, NULL);
}

mm1_tensor *mm1_vit_forward_prefix(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, const int32_t *prefix)
{
    return forward(v, t, pixels, I, NULL, n_patches(v), prefix, NULL);
}

mm1_tensor *mm1_vit_forward_pooled(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, mm1_tensor **pooled)
{
    *pooled = NULL;
    return forward(v, t, pixels, I, NULL, n_patches(v), NULL, pooled);
}

mm1_tensor *mm1_vit_forward_some(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, const int32_t *patch,
                                 int64_t K, mm1_tensor **pooled)
{
    *pooled = NULL;
    return forward(v, t, pixels, I, patch, K, NULL, pooled);
}

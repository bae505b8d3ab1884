/* vit.c - see vit.h. */
#include "nn/vit.h"

#include "base/alloc.h"
#include <math.h>
#include <stdio.h>

const char *const mm1__act_names[] = {"none", "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "sigmoid", NULL};

#define F(member, TYPE, ...) MM1_FIELD(mm1_vision_config, member, TYPE, __VA_ARGS__)
const mm1_field mm1__vision_fields[] = {
    F(image_size, I64, .def.i = 336, .min.i = 1, .max.i = 8192, .unit = "px",
      .help = "side of the square picture; a multiple of patch_size"),
    F(patch_size, I64, .def.i = 14, .min.i = 1, .max.i = 1024, .unit = "px", .help = "side of a patch"),
    F(width, I64, .def.i = 1024, .min.i = 1, .max.i = 65536, .help = "width of the residual stream"),
    F(n_layers, I64, .def.i = 24, .min.i = 0, .max.i = 1024, .help = "transformer blocks"),
    F(n_heads, I64, .def.i = 16, .min.i = 1, .max.i = 1024, .help = "attention heads; must divide width"),
    F(mlp_width, I64, .def.i = 4096, .min.i = 1, .max.i = 1 << 20, .help = "hidden width of the MLP"),
    F(act, ENUM, .def.i = MM1_ACT_GELU, .names = mm1__act_names, .help = "activation of the MLP"),
    F(norm_eps, F64, .def.f = 1e-6, .min.f = 0, .max.f = 1, .help = "epsilon of the layer norms"),
    {0},
};
#undef F

mm1_status mm1_vision_config_check(const mm1_vision_config *c, mm1_error *err)
{
    if (c->image_size % c->patch_size != 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.vision.image_size: %lld is no multiple of patch_size %lld",
                             (long long)c->image_size, (long long)c->patch_size);
    }
    if (c->width % c->n_heads != 0) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.vision.n_heads: %lld does not divide width %lld",
                             (long long)c->n_heads, (long long)c->width);
    }
    return MM1_OK;
}

int64_t mm1_vision_grid(const mm1_vision_config *c)
{
    return c->image_size / c->patch_size;
}

mm1_status mm1_vit_init(mm1_vit *v, const mm1_vision_config *c, mm1_params *p, mm1_error *err)
{
    const mm1_param_group group = MM1_GROUP_VISION;
    *v = (mm1_vit){.config = *c};
    mm1_status st = mm1_vision_config_check(c, err);
    if (st != MM1_OK) {
        return st;
    }
    v->block_config = (mm1_block_config){.width = c->width,
                                         .n_heads = c->n_heads,
                                         .n_kv_heads = c->n_heads,
                                         .head_dim = c->width / c->n_heads,
                                         .mlp_width = c->mlp_width,
                                         .n_layers = c->n_layers,
                                         .norm = MM1_NORM_LAYER,
                                         .act = (mm1_act)c->act,
                                         .bias = true,
                                         .norm_eps = c->norm_eps};
    v->blocks = mm1_calloc((size_t)c->n_layers, sizeof *v->blocks);
    if (v->blocks == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld vision blocks", (long long)c->n_layers);
    }
    const int64_t grid = mm1_vision_grid(c), patch = 3 * c->patch_size * c->patch_size;
    v->patch_w = mm1_params_add(p, group, MM1_INIT_NORMAL, 1.0 / sqrt((double)patch), true, 2,
                                (int64_t[]){c->width, patch}, "vision.patch.weight");
    v->patch_b = mm1_params_add(p, group, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){c->width}, "vision.patch.bias");
    v->pos =
        mm1_params_add(p, group, MM1_INIT_NORMAL, 0.02, false, 2, (int64_t[]){grid * grid, c->width}, "vision.pos");
    for (int64_t i = 0; i < c->n_layers; i++) {
        char prefix[64];
        (void)snprintf(prefix, sizeof prefix, "vision.layers.%lld", (long long)i);
        mm1__block_create(&v->blocks[i], &v->block_config, p, group, prefix);
    }
    mm1__norm_create(&v->norm_w, &v->norm_b, MM1_NORM_LAYER, c->width, p, group, "vision", "norm");
    return MM1_OK;
}

void mm1_vit_deinit(mm1_vit *v)
{
    mm1_free(v->blocks);
    *v = (mm1_vit){0};
}

/* Everybody sees everybody: the mask of I images of P patches, in the arena of the step. */
static bool full_mask(mm1_tape *t, int64_t I, int64_t P, const int32_t **lo, const int32_t **hi)
{
    int32_t *a = (int32_t *)(void *)mm1__tape_floats(t, I * P), *b = (int32_t *)(void *)mm1__tape_floats(t, I * P);
    if (a == NULL || b == NULL) {
        return false;
    }
    for (int64_t i = 0; i < I * P && !t->dry; i++) {
        a[i] = 0;
        b[i] = (int32_t)P;
    }
    *lo = a;
    *hi = b;
    return true;
}

/* Embedded patches [I K, C] -> features, everybody sees everybody. */
static mm1_tensor *encode(const mm1_vit *v, mm1_tape *t, mm1_tensor *x, int64_t I, int64_t K)
{
    mm1_attention_spec spec = mm1__block_spec(&v->block_config, I, K);
    if (!full_mask(t, I, K, &spec.lo, &spec.hi)) {
        return NULL;
    }
    x = mm1__blocks_forward(v->blocks, v->config.n_layers, &v->block_config, t, x, &spec, NULL);
    return mm1_op_norm(t, x, MM1_NORM_LAYER, v->norm_w, v->norm_b, (float)v->config.norm_eps);
}

mm1_tensor *mm1_vit_forward(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I)
{
    const mm1_vision_config *c = &v->config;
    mm1_tensor *patches = mm1_op_patchify(t, pixels, I, c->image_size, c->patch_size);
    mm1_tensor *x = mm1_op_linear(t, patches, v->patch_w, v->patch_b, MM1_ACT_NONE, NULL);
    return encode(v, t, mm1_op_add_rows(t, x, v->pos, I), I, mm1_vision_grid(c) * mm1_vision_grid(c));
}

mm1_tensor *mm1_vit_forward_some(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, const int32_t *patch,
                                 int64_t K)
{
    const mm1_vision_config *c = &v->config;
    const int64_t P = mm1_vision_grid(c) * mm1_vision_grid(c);
    int32_t *row = (int32_t *)(void *)mm1__tape_floats(t, I * K);
    if (row == NULL) {
        return NULL;
    }
    for (int64_t i = 0; i < I * K && !t->dry; i++) {
        row[i] = (int32_t)(i / K * P) + patch[i];
    }
    mm1_tensor *patches = mm1_op_patchify(t, pixels, I, c->image_size, c->patch_size);
    mm1_tensor *x = mm1_op_embed(t, patches, row, I * K, NULL, NULL);
    x = mm1_op_linear(t, x, v->patch_w, v->patch_b, MM1_ACT_NONE, NULL);
    return encode(v, t, mm1_op_add(t, x, mm1_op_embed(t, v->pos, patch, I * K, NULL, NULL)), I, K);
}

mm1_tensor *mm1_vit_pool(mm1_tape *t, mm1_tensor *features, int64_t I, int64_t K)
{
    return mm1_op_pool(t, features, I, K, 1, 1, 1);
}

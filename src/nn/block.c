/* block.c - see block.h. */
#include "nn/block.h"

#include "tensor/rows.h"
#include <math.h>

static mm1_tensor *matrix(mm1_params *p, mm1_param_group group, int64_t rows, int64_t cols, double scale,
                          const char *prefix, const char *name)
{
    return mm1_params_add(p, group, MM1_INIT_NORMAL, scale / sqrt((double)cols), true, 2, (int64_t[]){rows, cols},
                          "%s.%s.weight", prefix, name);
}

static mm1_tensor *bias(bool wanted, mm1_params *p, mm1_param_group group, int64_t n, const char *prefix,
                        const char *name)
{
    return !wanted ? NULL
                   : mm1_params_add(p, group, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){n}, "%s.%s.bias", prefix, name);
}

static mm1_tensor *channel_scale(const mm1_block_config *c, mm1_params *p, mm1_param_group group, const char *prefix,
                                 const char *name)
{
    return !c->layer_scale
               ? NULL
               : mm1_params_add(p, group, MM1_INIT_ONES, 0, false, 1, (int64_t[]){c->width}, "%s.%s", prefix, name);
}

void mm1__norm_create(mm1_tensor **w, mm1_tensor **b, mm1_norm kind, int64_t C, mm1_params *p, mm1_param_group group,
                      const char *prefix, const char *name)
{
    *w = mm1_params_add(p, group, MM1_INIT_ONES, 0, false, 1, (int64_t[]){C}, "%s.%s.weight", prefix, name);
    *b = kind == MM1_NORM_LAYER
             ? mm1_params_add(p, group, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){C}, "%s.%s.bias", prefix, name)
             : NULL;
}

void mm1__block_create(mm1_block *b, const mm1_block_config *c, mm1_params *p, mm1_param_group group,
                       const char *prefix)
{
    const int64_t C = c->width, n_qkv = (c->n_heads + 2 * c->n_kv_heads) * c->head_dim,
                  n_out = c->n_heads * c->head_dim;
    const int64_t n_up = c->gated ? 2 * c->mlp_width : c->mlp_width;
    const double into_residual = 1.0 / sqrt(2.0 * (double)(c->n_layers > 0 ? c->n_layers : 1));

    mm1__norm_create(&b->norm1_w, &b->norm1_b, c->norm, C, p, group, prefix, "norm1");
    b->qkv_w = matrix(p, group, n_qkv, C, 1, prefix, "attn.qkv");
    b->qkv_b = bias(c->bias || c->qkv_bias, p, group, n_qkv, prefix, "attn.qkv");
    if (c->qk_norm != MM1_QK_NORM_NONE) {
        const bool full = c->qk_norm == MM1_QK_NORM_FULL;
        mm1_tensor *none;
        mm1__norm_create(&b->q_norm, &none, MM1_NORM_RMS, (full ? c->n_heads : 1) * c->head_dim, p, group, prefix,
                         "attn.q_norm");
        mm1__norm_create(&b->k_norm, &none, MM1_NORM_RMS, (full ? c->n_kv_heads : 1) * c->head_dim, p, group, prefix,
                         "attn.k_norm");
    }
    b->out_w = matrix(p, group, C, n_out, into_residual, prefix, "attn.out");
    b->out_b = bias(c->bias, p, group, C, prefix, "attn.out");
    mm1__norm_create(&b->norm2_w, &b->norm2_b, c->norm, C, p, group, prefix, "norm2");
    b->scale1 = channel_scale(c, p, group, prefix, "scale1");
    b->scale2 = channel_scale(c, p, group, prefix, "scale2");
    if (c->moe != NULL) {
        mm1__moe_create(&b->moe, c->moe, c->n_sparse, c->n_layers, C, c->act, c->gated, p, group, prefix);
        return;
    }
    b->up_w = matrix(p, group, n_up, C, 1, prefix, c->gated ? "mlp.gate_up" : "mlp.up");
    b->up_b = bias(c->bias, p, group, n_up, prefix, c->gated ? "mlp.gate_up" : "mlp.up");
    b->down_w = matrix(p, group, C, c->mlp_width, into_residual, prefix, "mlp.down");
    b->down_b = bias(c->bias, p, group, C, prefix, "mlp.down");
}

mm1_attention_spec mm1__block_spec(const mm1_block_config *c, int64_t B, int64_t T)
{
    return (mm1_attention_spec){.B = B,
                                .T = T,
                                .S = T,
                                .H = c->n_heads,
                                .Hkv = c->n_kv_heads,
                                .D = c->head_dim,
                                .q_col = 0,
                                .k_col = c->n_heads * c->head_dim,
                                .v_col = (c->n_heads + c->n_kv_heads) * c->head_dim};
}

/* x [N, *], which nothing reads on the way back but the gradients of one linear layer or MLP. */
static mm1_tensor *operand(mm1_tape *t, mm1_tensor *x)
{
    if (x != NULL) {
        mm1__tape_operand(t, x->data, mm1_tensor_size(x));
    }
    return x;
}

mm1_tensor *mm1__block_forward(const mm1_block *b, const mm1_block_config *c, mm1_tape *t, mm1_tensor *x,
                               const mm1_attention_spec *spec, mm1_kv_cache *cache)
{
    const float eps = (float)c->norm_eps;
    const bool sparse = b->moe.router_w != NULL;
    mm1_tensor *n1 = operand(t, mm1_op_norm(t, x, c->norm, b->norm1_w, b->norm1_b, eps));
    mm1_tensor *qkv = mm1_op_linear(t, n1, b->qkv_w, b->qkv_b, MM1_ACT_NONE, NULL);
    if (b->q_norm != NULL) {
        qkv = mm1_op_qk_norm(t, qkv, spec->k_col, spec->v_col - spec->k_col, b->q_norm, b->k_norm, eps);
    }
    mm1_tensor *o =
        cache != NULL ? mm1_op_attention_cached(t, qkv, spec, cache) : mm1_op_attention(t, qkv, qkv, qkv, spec);
    const bool scaled = c->layer_scale;
    mm1_tensor *h = mm1_op_linear(t, o, b->out_w, b->out_b, MM1_ACT_NONE, scaled ? NULL : x);
    h = scaled ? mm1_op_scale(t, h, b->scale1, x) : h;
    mm1_tensor *n2 = mm1_op_norm(t, h, c->norm, b->norm2_w, b->norm2_b, eps);
    mm1_tensor *residual = scaled ? NULL : h;
    mm1_tensor *y = sparse ? mm1_op_moe(t, n2, &b->moe, residual)
                           : mm1_op_mlp(t, operand(t, n2),
                                        &(mm1_mlp){.up_w = b->up_w,
                                                   .up_b = b->up_b,
                                                   .down_w = b->down_w,
                                                   .down_b = b->down_b,
                                                   .act = c->act,
                                                   .gated = c->gated},
                                        residual);
    return scaled ? mm1_op_scale(t, y, b->scale2, h) : y;
}

typedef struct block_call {
    const mm1_block *block;
    const mm1_block_config *config;
    mm1_attention_spec spec;
    mm1_kv_cache *cache;
} block_call;

static mm1_tensor *call_block(mm1_tape *t, mm1_tensor *x, const void *ctx)
{
    const block_call *call = ctx;
    return mm1__block_forward(call->block, call->config, t, x, &call->spec, call->cache);
}

mm1_tensor *mm1__blocks_forward(const mm1_block *blocks, int64_t n, const mm1_block_config *c, mm1_tape *t,
                                mm1_tensor *x, const mm1_attention_spec *spec, mm1_kv_cache *caches)
{
    if (n == 0) {
        return x;
    }
    /* All parameters of a block are trained, or none is. */
    if (x == NULL || (t->recording && (x->needs_grad || blocks[0].norm1_w->needs_grad))) {
        mm1_window *window = NULL;
        size_t bytes = 0; /* sparse blocks want more than dense ones */
        for (int64_t i = 0; i < n; i++) {
            const block_call call = {&blocks[i], c, *spec, caches != NULL ? &caches[i] : NULL};
            const size_t need = mm1__segment_bytes(t, x, call_block, &call);
            bytes = need > bytes ? need : bytes;
        }
        if (x == NULL || !mm1__tape_window(t, &window, bytes)) {
            return NULL;
        }
        for (int64_t i = 0; i < n; i++) {
            const block_call call = {&blocks[i], c, *spec, caches != NULL ? &caches[i] : NULL};
            x = mm1__tape_segment(t, &window, x, call_block, &call, sizeof call);
        }
        return x;
    }
    mm1_tensor *y = mm1__tape_tensor(t, x->rank, x->dims, false);
    if (y == NULL) {
        return NULL;
    }
    const int64_t size = mm1_tensor_size(x);
    if (!t->dry) {
        mm1__rows_copy_or_add(y->data, x->data, size, false);
    }
    for (int64_t i = 0; i < n; i++) {
        const mm1_arena_mark mark = mm1_arena_mark_get(t->arena);
        const mm1_tensor *z = mm1__block_forward(&blocks[i], c, t, y, spec, caches != NULL ? &caches[i] : NULL);
        if (z == NULL) {
            return NULL;
        }
        if (!t->dry) {
            mm1__rows_copy_or_add(y->data, z->data, size, false);
        }
        /* Pooled buffers lie above the mark. */
        t->n_free_grads = 0;
        mm1_arena_reset_to(t->arena, mark);
    }
    return y;
}

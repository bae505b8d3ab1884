/* block.h - the pre-norm transformer block that the vision encoder and the decoder are both made of.
 *
 *   h = x + Wo attention(norm1(x) Wqkv)        y = h + Wdown act(norm2(h) Wup)
 *
 * with grouped-query heads, queries and keys normalised before they are rotated if `qk_norm` says so, a gated unit in
 * place of the plain activation if `gated`, and in a sparse block a mixture of experts in place of the MLP.  If
 * `layer_scale`, what attention and MLP add to the residual stream is scaled by a learned factor for each channel
 * (LayerScale, Touvron et al. 2021). */
#ifndef MM1_NN_BLOCK_H
#define MM1_NN_BLOCK_H

#include "nn/moe.h"

typedef enum mm1_qk_norm {
    MM1_QK_NORM_NONE,
    MM1_QK_NORM_HEAD, /* each head by itself, all with the same weights */
    MM1_QK_NORM_FULL, /* all heads of a position together */
    MM1_QK_NORM_COUNT
} mm1_qk_norm;

typedef struct mm1_block_config {
    int64_t width, n_heads, n_kv_heads, head_dim, mlp_width, n_layers;
    mm1_norm norm;
    mm1_act act;
    bool gated, bias, qkv_bias, layer_scale;
    mm1_qk_norm qk_norm;
    double norm_eps;
    const mm1_moe_config *moe; /* of a sparse block, read by mm1__block_create(); NULL: the block has an MLP */
    int64_t n_sparse;          /* sparse blocks before it */
} mm1_block_config;

/* Tensors are borrowed from the parameter table; biases are NULL where the configuration has none. */
typedef struct mm1_block {
    mm1_tensor *norm1_w, *norm1_b, *norm2_w, *norm2_b;
    mm1_tensor *qkv_w, *qkv_b;   /* [(H + 2 Hkv) D, C]: q rows, then k, then v */
    mm1_tensor *q_norm, *k_norm; /* [D], or [H D] and [Hkv D]; NULL if queries and keys stay as they are */
    mm1_tensor *out_w, *out_b;   /* [C, H D] */
    mm1_tensor *up_w, *up_b;     /* [F or 2F, C]: gate rows first */
    mm1_tensor *down_w, *down_b; /* [C, F] */
    mm1_moe moe;                 /* in place of these four if it has a router */
    mm1_tensor *scale1, *scale2; /* [C]; NULL without layer_scale */
} mm1_block;

/* Registers the parameters "<prefix>.*" of one block.  Matrices are drawn with standard deviation 1 / sqrt(fan in),
 * those that write into the residual stream with that over sqrt(2 n_layers). */
void mm1__block_create(mm1_block *b, const mm1_block_config *c, mm1_params *p, mm1_param_group group,
                       const char *prefix);

/* x [N, C] -> [N, C].  spec says who sees whom (its sizes, columns included, come from mm1__block_spec()); with a cache
 * the new positions are appended to it. */
mm1_tensor *mm1__block_forward(const mm1_block *b, const mm1_block_config *c, mm1_tape *t, mm1_tensor *x,
                               const mm1_attention_spec *spec, mm1_kv_cache *cache);

/* Head counts and columns of the fused projection for B sequences of T positions; the caller fills the mask. */
mm1_attention_spec mm1__block_spec(const mm1_block_config *c, int64_t B, int64_t T);

/* Runs n blocks, each a segment of the tape.  Where no gradient is wanted, the memory of each block is given back
 * before the next one. */
mm1_tensor *mm1__blocks_forward(const mm1_block *blocks, int64_t n, const mm1_block_config *c, mm1_tape *t,
                                mm1_tensor *x, const mm1_attention_spec *spec, mm1_kv_cache *caches);

/* A norm's weight "<prefix>.<name>.weight" of ones and, for layer norm, its bias. */
void mm1__norm_create(mm1_tensor **w, mm1_tensor **b, mm1_norm kind, int64_t C, mm1_params *p, mm1_param_group group,
                      const char *prefix, const char *name);

#endif

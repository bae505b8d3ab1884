/* vit.h - the image encoder: a vision transformer of any size, patch and resolution (specs: MM1 section 3.1, ViT), with
 * the switches that make it the vision tower of CLIP, SigLIP or DINOv2.
 *
 *   x = patches W (+ b), a class token before them if there is one; + positions; norm if pre_norm; blocks; norm
 *
 * pixels [I, 3, R, R] -> patch features [I P, C], P = (R / patch)^2, rows first.  The class token is dropped: the
 * connector takes patches alone.  What stands for the whole picture is the pooled output, of encoders that have one. */
#ifndef MM1_NN_VIT_H
#define MM1_NN_VIT_H

#include "base/fields.h"
#include "nn/block.h"

/* What the pooled output is made of. */
typedef enum mm1_vision_pool {
    MM1_VISION_POOL_NONE,      /* there is none */
    MM1_VISION_POOL_CLASS,     /* the class token after the last norm (CLIP, DINOv2) */
    MM1_VISION_POOL_MEAN,      /* the mean of the features */
    MM1_VISION_POOL_ATTENTION, /* a learned query attends to the features, then an MLP (SigLIP) */
    MM1_VISION_POOL_COUNT
} mm1_vision_pool;

typedef struct mm1_vision_config {
    int64_t image_size; /* R, px; a multiple of patch_size unless cut_edge */
    int64_t patch_size; /* px */
    int64_t width, n_layers, n_heads, mlp_width;
    int act; /* mm1_act */
    double norm_eps;
    bool class_token, patch_bias, pre_norm, layer_scale, gated, cut_edge;
    int64_t feature_layer; /* -1: features are those after the last block and norm; -n: after the n-th block from the
                              end, without a norm: later blocks and the norm do not exist */
    int pool;              /* mm1_vision_pool */
    int64_t projection;    /* width of the pooled output; 0: C, not projected */
} mm1_vision_config;

extern const mm1_field mm1__vision_fields[];

/* The head of MM1_VISION_POOL_ATTENTION. */
typedef struct mm1_vision_head {
    mm1_tensor *query;         /* [1, C] */
    mm1_tensor *qkv_w, *qkv_b; /* [3 C, C]: as the released models have it; q rows are for the query alone */
    mm1_tensor *out_w, *out_b; /* [C, C] */
    mm1_tensor *norm_w, *norm_b;
    mm1_tensor *up_w, *up_b, *down_w, *down_b;
} mm1_vision_head;

typedef struct mm1_vit {
    mm1_vision_config config;
    mm1_block_config block_config;
    mm1_tensor *patch_w, *patch_b;       /* [C, 3 p p], [C] or NULL */
    mm1_tensor *class_token;             /* [1, C] or NULL */
    mm1_tensor *pos;                     /* [P, C], the class token's before them */
    mm1_tensor *pre_norm_w, *pre_norm_b; /* or NULL */
    mm1_block *blocks;                   /* [mm1_vision_depth()] */
    mm1_tensor *norm_w, *norm_b;         /* NULL where features are taken from an earlier block */
    mm1_vision_head head;
    mm1_tensor *projection; /* [E, C] or NULL */
} mm1_vit;

/* MM1_E_CONFIG names the rule that is broken. */
MM1_NODISCARD mm1_status mm1_vision_config_check(const mm1_vision_config *c, mm1_error *err);
/* Patches along one side. */
int64_t mm1_vision_grid(const mm1_vision_config *c);
/* Rows of the residual stream of one image: patches and class token. */
int64_t mm1_vision_rows(const mm1_vision_config *c);
/* Blocks that there are: those up to feature_layer. */
int64_t mm1_vision_depth(const mm1_vision_config *c);
/* Width of the pooled output; 0: there is none. */
int64_t mm1_vision_pooled_width(const mm1_vision_config *c);
/* Registers "vision.*". */
MM1_NODISCARD mm1_status mm1_vit_init(mm1_vit *v, const mm1_vision_config *c, mm1_params *p, mm1_error *err);
void mm1_vit_deinit(mm1_vit *v);
/* Features [I P, C].  pixels are borrowed until the tape is reset.  I may be 0. */
mm1_tensor *mm1_vit_forward(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I);
/* The same, and the pooled output [I, mm1_vision_pooled_width()]; NULL where there is none, or on a sticky error. */
mm1_tensor *mm1_vit_forward_pooled(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, mm1_tensor **pooled);
/* The same for some patches of each image alone: patch [I, K] names them, 0 to P - 1 -> features [I K, C].  In training
 * on whole pictures this costs K / P and is a noise that helps (Li et al. 2023, FLIP).  Borrowed as the pixels. */
mm1_tensor *mm1_vit_forward_some(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, const int32_t *patch,
                                 int64_t K, mm1_tensor **pooled);
/* For learning to predict pictures: patch i, in raster order, sees [0, max(i + 1, prefix)) of its image alone (AIM:
 * El-Nouby et al. 2024).  prefix [I], up to P; NULL: as mm1_vit_forward().  Borrowed as the pixels.  There must be no
 * class token. */
mm1_tensor *mm1_vit_forward_prefix(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I,
                                   const int32_t *prefix);

/* Names for recipes: "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", ... in the order of mm1_act. */
extern const char *const mm1__act_names[];

#endif

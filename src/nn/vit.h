/* vit.h - the image encoder: a vision transformer of any size, patch and resolution (specs: MM1 section 3.1, ViT).
 *
 * pixels [I, 3, R, R] -> patch features [I P, C], P = (R / patch)^2, rows first; no class token: the connector takes
 * patches alone. */
#ifndef MM1_NN_VIT_H
#define MM1_NN_VIT_H

#include "base/fields.h"
#include "nn/block.h"

typedef struct mm1_vision_config {
    int64_t image_size; /* R, px; a multiple of patch_size */
    int64_t patch_size; /* px */
    int64_t width, n_layers, n_heads, mlp_width;
    int act; /* mm1_act */
    double norm_eps;
} mm1_vision_config;

extern const mm1_field mm1__vision_fields[];

typedef struct mm1_vit {
    mm1_vision_config config;
    mm1_block_config block_config;
    mm1_tensor *patch_w, *patch_b; /* [C, 3 p p], [C] */
    mm1_tensor *pos;               /* [P, C] */
    mm1_block *blocks;
    mm1_tensor *norm_w, *norm_b;
} mm1_vit;

/* MM1_E_CONFIG names the rule that is broken. */
MM1_NODISCARD mm1_status mm1_vision_config_check(const mm1_vision_config *c, mm1_error *err);
/* Patches along one side. */
int64_t mm1_vision_grid(const mm1_vision_config *c);
/* Registers "vision.*". */
MM1_NODISCARD mm1_status mm1_vit_init(mm1_vit *v, const mm1_vision_config *c, mm1_params *p, mm1_error *err);
void mm1_vit_deinit(mm1_vit *v);
/* pixels are borrowed until the tape is reset.  I may be 0. */
mm1_tensor *mm1_vit_forward(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I);
/* Some patches of each image alone: patch [I, K] names them, 0 to P - 1 -> features [I K, C].  In training on whole
 * pictures this costs K / P and is a noise that helps (Li et al. 2023, FLIP).  Borrowed as the pixels. */
mm1_tensor *mm1_vit_forward_some(const mm1_vit *v, mm1_tape *t, const float *pixels, int64_t I, const int32_t *patch,
                                 int64_t K);
/* The mean of the K patches of each image: [I K, C] -> [I, C]. */
mm1_tensor *mm1_vit_pool(mm1_tape *t, mm1_tensor *features, int64_t I, int64_t K);

/* Names for recipes: "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", ... in the order of mm1_act. */
extern const char *const mm1__act_names[];

#endif

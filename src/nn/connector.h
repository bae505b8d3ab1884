/* connector.h - patch features of an image to k visual tokens of the decoder's width (specs/mm1.md 1.4).
 *
 *   avgpool      adaptive average pooling of the grid to h x h, then one linear layer
 *   attnpool     k learned queries attend to the patches, then one linear layer
 *   c_abstractor Honeybee's: + positions, RegNet bottlenecks, adaptive pooling, bottlenecks, two-layer readout
 *
 *   mlp          two linear layers with GELU between them on every patch; k is the number of patches (LLaVA-1.5)
 *   pixel_shuffle  the features of each square block of patches side by side, then one linear layer without bias; k is
 *                the number of blocks (Idefics3, SmolVLM)
 *
 * k = h * h is square.  features [I P, Cv] -> [I k, C]; I may be 0. */
#ifndef MM1_NN_CONNECTOR_H
#define MM1_NN_CONNECTOR_H

#include "base/fields.h"
#include "nn/params.h"

typedef enum mm1_connector_kind {
    MM1_CONNECTOR_AVGPOOL,
    MM1_CONNECTOR_ATTNPOOL,
    MM1_CONNECTOR_C_ABSTRACTOR,
    MM1_CONNECTOR_MLP,
    MM1_CONNECTOR_PIXEL_SHUFFLE,
    MM1_CONNECTOR_COUNT
} mm1_connector_kind;

typedef struct mm1_connector_config {
    int kind;         /* mm1_connector_kind */
    int64_t n_tokens; /* k, a square */
    int64_t hidden;   /* c_abstractor: width of its blocks */
    int64_t depth;    /* c_abstractor: blocks before and after the pooling */
    int64_t n_heads;  /* attnpool: 0: as many as the encoder has */
} mm1_connector_config;

extern const mm1_field mm1__connector_fields[];

/* Layer norm with its affine parameters. */
typedef struct mm1_affine {
    mm1_tensor *w, *b;
} mm1_affine;

/* RegNet bottleneck: 1x1, depthwise 3x3, squeeze-excite, 1x1, each normalised over channels. */
typedef struct mm1_bottleneck {
    mm1_tensor *conv1, *conv2, *conv3, *shortcut; /* shortcut is NULL where widths agree */
    mm1_affine norm1, norm2, norm3, norm_shortcut;
    mm1_affine se1, se2;
} mm1_bottleneck;

typedef struct mm1_connector {
    mm1_connector_config config;
    int64_t grid, width_in, width_out, n_heads;
    mm1_tensor *pos; /* c_abstractor: [P, Cv] */
    mm1_bottleneck *before, *after;
    mm1_affine read1, read2; /* linear layers; avgpool, attnpool and pixel_shuffle use read2 alone */
    mm1_tensor *queries;     /* attnpool: [k, Cv] */
    mm1_affine norm_q, norm_x, norm_out;
    mm1_affine q, kv, out;
} mm1_connector;

MM1_NODISCARD mm1_status mm1_connector_config_check(const mm1_connector_config *c, int64_t grid, int64_t width_in,
                                                    int64_t vision_heads, mm1_error *err);
/* Registers "connector.*".  grid: patches along one side of the encoder's picture. */
MM1_NODISCARD mm1_status mm1_connector_init(mm1_connector *c, const mm1_connector_config *config, int64_t grid,
                                            int64_t width_in, int64_t vision_heads, int64_t width_out, mm1_params *p,
                                            mm1_error *err);
void mm1_connector_deinit(mm1_connector *c);
mm1_tensor *mm1_connector_forward(const mm1_connector *c, mm1_tape *t, mm1_tensor *features, int64_t I);

#endif

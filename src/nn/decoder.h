/* decoder.h - the causal language model: norm, activation, heads, biases, tying and positions are configuration. */
#ifndef MM1_NN_DECODER_H
#define MM1_NN_DECODER_H

#include "base/fields.h"
#include "nn/block.h"
#include "nn/moe.h"

typedef enum mm1_positions { MM1_POSITIONS_ROPE, MM1_POSITIONS_LEARNED, MM1_POSITIONS_COUNT } mm1_positions;

typedef struct mm1_decoder_config {
    int64_t vocab_size;
    int64_t width, n_layers, n_heads;
    int64_t n_kv_heads; /* 0: n_heads */
    int64_t head_dim;   /* 0: width / n_heads */
    int64_t mlp_width;
    int norm; /* mm1_norm */
    int act;  /* mm1_act */
    bool gated, bias, qkv_bias, tie_embeddings;
    int qk_norm;            /* mm1_qk_norm */
    int64_t sliding_window; /* positions that one sees, itself included; 0: all before it */
    int positions;          /* mm1_positions */
    int64_t max_positions;  /* longest sequence */
    double rope_theta;
    mm1_rope_scaling rope_scaling;
    double norm_eps;
    mm1_moe_config moe;
} mm1_decoder_config;

extern const mm1_field mm1__decoder_fields[];

typedef struct mm1_decoder {
    mm1_decoder_config config; /* zeros resolved */
    mm1_block_config block_config;
    mm1_tensor *embed; /* [V, C] */
    mm1_tensor *pos;   /* [max_positions, C]; NULL for rotary ones */
    mm1_block *blocks;
    mm1_tensor *norm_w, *norm_b;
    mm1_tensor *head;    /* [V, C]; the embedding if tied */
    float *rope_table;   /* [max_positions, D]; NULL for learned positions */
    mm1_routing routing; /* of the last training step; no layers if the decoder is dense */
} mm1_decoder;

/* What a forward pass reads: positions of B sequences of T, visual tokens where visual_row says so. */
typedef struct mm1_decoder_input {
    int64_t B, T;
    const int32_t *token, *position, *lo, *hi; /* [B, T] */
    const int32_t *visual_row;                 /* [B, T] row of visual or -1; NULL: none */
    mm1_tensor *visual;                        /* [*, C] or NULL */
    const mm1_kv_run *runs;                    /* [n_runs] with caches: whose rows these are; B = 1 */
    int64_t n_runs;
} mm1_decoder_input;

/* Fills in what 0 stands for and checks the rules. */
MM1_NODISCARD mm1_status mm1_decoder_config_resolve(mm1_decoder_config *c, mm1_error *err);
/* Parameters of the experts that a position does not go to, if it goes to n of each sparse layer; 0 if there is none.
 */
int64_t mm1_decoder_idle_params(const mm1_decoder_config *c, int64_t n);
/* Registers "decoder.*". */
MM1_NODISCARD mm1_status mm1_decoder_init(mm1_decoder *d, const mm1_decoder_config *c, mm1_params *p, mm1_error *err);
void mm1_decoder_deinit(mm1_decoder *d);
/* Parameters of the embedding and of a head of its own; 0 for a decoder that is not there. */
int64_t mm1_decoder_n_embeddings(const mm1_decoder *d);
/* Hidden states [B T, C] after the last norm; logits are hidden times head^T.  caches: [n_layers] or NULL. */
mm1_tensor *mm1_decoder_forward(const mm1_decoder *d, mm1_tape *t, const mm1_decoder_input *in, mm1_kv_cache *caches);

#endif

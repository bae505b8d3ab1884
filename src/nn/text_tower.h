/* text_tower.h - the text encoder of contrastive training: a small causal transformer that gives one vector a text
 * (CLIP: Radford et al. 2021, section 2.4; the facts used are in its figure 3 and the released models).
 *
 *   token and position embeddings -> blocks -> norm -> the row at the text's last token, which is <end>
 *
 * Texts of different lengths stand one after another in a single row without padding: who sees whom is an interval of
 * keys for each query, so a text sees nothing of its neighbours. */
#ifndef MM1_NN_TEXT_TOWER_H
#define MM1_NN_TEXT_TOWER_H

#include "base/fields.h"
#include "nn/block.h"

typedef struct mm1_text_config {
    int64_t vocab_size; /* 0: that of the tokenizer */
    int64_t width, n_layers, n_heads, mlp_width;
    int64_t max_positions; /* longest text, its <end> included */
    int act;               /* mm1_act */
    double norm_eps;
    bool bos; /* the token that begins documents is the first of a text */
} mm1_text_config;

extern const mm1_field mm1__text_fields[];

typedef struct mm1_text_tower {
    mm1_text_config config;
    mm1_block_config block_config;
    mm1_tensor *embed; /* [V, C] */
    mm1_tensor *pos;   /* [max_positions, C] */
    mm1_block *blocks;
    mm1_tensor *norm_w, *norm_b;
} mm1_text_tower;

/* n texts of N tokens together. */
typedef struct mm1_texts {
    int64_t n, N;
    int32_t *token, *position; /* [N]; positions from 0 in each text */
    int32_t *lo, *hi;          /* [N] visible keys: of the same text, not behind */
    int32_t *last;             /* [n] where each text ends */
} mm1_texts;

MM1_NODISCARD mm1_status mm1_text_config_check(const mm1_text_config *c, mm1_error *err);
/* Registers "text.*". */
MM1_NODISCARD mm1_status mm1_text_tower_init(mm1_text_tower *w, const mm1_text_config *c, mm1_params *p,
                                             mm1_error *err);
void mm1_text_tower_deinit(mm1_text_tower *w);
/* [n, C]; the arrays are borrowed until the tape is reset. */
mm1_tensor *mm1_text_tower_forward(const mm1_text_tower *w, mm1_tape *t, const mm1_texts *texts);

/* Room for n_max texts of N_max tokens; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_texts_init(mm1_texts *texts, int64_t n_max, int64_t N_max, mm1_error *err);
void mm1_texts_deinit(mm1_texts *texts);
/* Appends a text of `len` ids and `end`, unless that is its last one already, cut to max_positions in all.  The caller
 * has seen to the room. */
void mm1_texts_add(mm1_texts *texts, const int32_t *ids, int64_t len, int32_t end, int64_t max_positions);

#endif

/* scorer.h - log-likelihoods of many short sequences: pictures are encoded once, sequences are packed into full rows.
 *
 * Packed sequences do not see each other.  Where in a row a sequence stands changes the order of its sums, and so its
 * score in the last bits; the content of its neighbours changes nothing.  Threads: one at a time. */
#ifndef MM1_EVAL_SCORER_H
#define MM1_EVAL_SCORER_H

#include "model/model.h"

typedef struct mm1_scorer mm1_scorer;

/* The model is borrowed.  row_len: positions of a row; the longest sequence that can be scored. */
MM1_NODISCARD mm1_status mm1_scorer_create(mm1_model *m, int64_t row_len, mm1_scorer **out, mm1_error *err);
void mm1_scorer_destroy(mm1_scorer *s);

/* Encodes n tiles of pictures, pixels [n, 3, R, R], into visual tokens features [n, k, C]. */
MM1_NODISCARD mm1_status mm1_scorer_encode(mm1_scorer *s, const float *pixels, int64_t n, float *features,
                                           mm1_error *err);

/* What is to be scored: a sequence, and where the visual tokens of each of its images are. */
typedef struct mm1_score_item {
    const mm1_sequence *sequence; /* borrowed */
    const float *const *features; /* [sequence->n_images] each [n_tiles, k, C]; borrowed */
    float *nll; /* [sequence->len] out: -log p of token t given what is before it; 0 where t is not trained */
} mm1_score_item;

MM1_NODISCARD mm1_status mm1_scorer_run(mm1_scorer *s, const mm1_score_item *items, int64_t n, mm1_error *err);

int64_t mm1_scorer_row_len(const mm1_scorer *s);

#endif

/* score.h - how likely a text is: log p of every token given all before it, in one pass over the whole sequence.
 *
 * p is normalised over all rows of the embedding, as in training, so that the mean of -log p is the training loss.
 * Logits are formed for a few rows at a time unless all of them are wanted.
 *
 * Threads: as the session. */
#ifndef MM1_GENERATE_SCORE_H
#define MM1_GENERATE_SCORE_H

#include "generate/session.h"
#include <mm1/generate.h>

/* The session forgets what it had read.  closed: the closing <eos> is part of the sequence.  On failure *out is empty.
 * Errors as mm1_session_prefill(). */
MM1_NODISCARD mm1_status mm1_score_document(mm1_session *s, const mm1_document *d, bool closed, bool with_logits,
                                            mm1_score *out, mm1_error *err);
/* Exactly these ids, nothing added.  MM1_E_ARG for none, or an id that the embedding does not have. */
MM1_NODISCARD mm1_status mm1_score_tokens(mm1_session *s, const int32_t *tokens, int64_t n, bool with_logits,
                                          mm1_score *out, mm1_error *err);

/* A score on its way: its rows come piece by piece. */
typedef struct mm1__scorer {
    const mm1_context *context;
    const mm1_sequence *sequence; /* borrowed */
    int64_t first;                /* of the tokens that are scored, at least 1 */
    mm1_score score;              /* owned; who takes it zeroes it */
} mm1__scorer;

/* Room for some rows of logits, which scorers use in turn. */
typedef struct mm1__score_room {
    int64_t block; /* rows */
    float *logits; /* [block, V] */
    float *nll;    /* [2, block] */
    int32_t *next; /* [block] the token after each row; any id where there is none to predict */
} mm1__score_room;

MM1_NODISCARD mm1_status mm1__score_room_init(mm1__score_room *r, const mm1_context *ctx, mm1_error *err);
void mm1__score_room_deinit(mm1__score_room *r); /* accepts a zeroed one */
/* On failure nothing is to be freed. */
MM1_NODISCARD mm1_status mm1__scorer_init(mm1__scorer *s, const mm1_context *ctx, const mm1_sequence *q, int64_t first,
                                          bool with_logits, mm1_error *err);
/* hidden [n, C] of the positions [begin, begin + n), which predict the tokens [begin + 1, begin + n + 1). */
MM1_NODISCARD mm1_status mm1__scorer_rows(mm1__scorer *s, const mm1__score_room *r, const float *hidden, int64_t begin,
                                          int64_t n, mm1_error *err);

/* "logits" [n, V] f32 and "tokens" [n] i32 (-1 at image slots).  MM1_E_STATE without logits. */
MM1_NODISCARD mm1_status mm1_score_write_logits(const mm1_score *s, const char *path, mm1_error *err);

#endif

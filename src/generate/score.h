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

/* "logits" [n, V] f32 and "tokens" [n] i32 (-1 at image slots).  MM1_E_STATE without logits. */
MM1_NODISCARD mm1_status mm1_score_write_logits(const mm1_score *s, const char *path, mm1_error *err);

#endif

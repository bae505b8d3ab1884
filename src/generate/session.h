/* session.h - one conversation with a model: what it has read so far, and what it expects next.
 *
 *   prompt document -> mm1_sequence -> [pieces of up to MM1_CONTEXT_PIECE positions] -> keys and values in the cache
 *                                                                                    -> logits of the last position
 *
 * A session is a context of one slot (context.h).  Positions, masks and the leading <bos> are those of
 * mm1_sequence_build() and mm1_batch_add(), as in training.  A step allocates nothing.
 *
 * Ownership: a session borrows its model.  Threads: as a tape; several sessions may share a model if they take turns.
 */
#ifndef MM1_GENERATE_SESSION_H
#define MM1_GENERATE_SESSION_H

#include "generate/prompt.h"

typedef struct mm1_session mm1_session;

/* n_positions: room of the context; 0: all that the model was made for.  MM1_E_LIMIT over that, MM1_E_STATE if the
 * model has no tokenizer or no values, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_session_create(const mm1_model *m, int64_t n_positions, mm1_session **out, mm1_error *err);
void mm1_session_destroy(mm1_session *s); /* accepts NULL */

/* Forgets what was read. */
void mm1_session_reset(mm1_session *s);

/* Forgets, then reads a document as a prompt.  *logits [V], V = config.decoder.vocab_size, are those of the last
 * position; they live until the next call.  On failure the session is empty. MM1_E_LIMIT: more images than
 * config.image.max_images, or a prompt longer than the context: nothing is ever cut. */
MM1_NODISCARD mm1_status mm1_session_prefill(mm1_session *s, const mm1_document *prompt, const float **logits,
                                             mm1_error *err);
/* Reads one more token.  MM1_E_LIMIT if the context is full, MM1_E_STATE before a prompt. */
MM1_NODISCARD mm1_status mm1_session_step(mm1_session *s, int32_t token, const float **logits, mm1_error *err);

const mm1_model *mm1_session_model(const mm1_session *s);
int64_t mm1_session_n(const mm1_session *s);     /* positions read */
int64_t mm1_session_n_max(const mm1_session *s); /* room */
size_t mm1_session_bytes(const mm1_session *s);  /* of the cache and the arena */

/* Called with the hidden states [n, C] of the positions [begin, begin + n), in order. */
typedef mm1_status mm1_session_rows_fn(void *ctx, const float *hidden, int64_t begin, int64_t n, mm1_error *err);

/* Forgets, then reads a prompt.  rows may be NULL.  No logits are formed. */
MM1_NODISCARD mm1_status mm1__session_read(mm1_session *s, mm1_prompt *p, mm1_session_rows_fn *rows, void *ctx,
                                           mm1_error *err);
/* For prompts that are to be read here. */
const mm1_context *mm1__session_context(const mm1_session *s);
mm1_image_cache *mm1__session_images(mm1_session *s);

#endif

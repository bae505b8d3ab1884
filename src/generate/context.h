/* context.h - the memory of a model at work: slots that hold the keys and values of a sequence each, and the two ways
 * through the decoder.
 *
 *   read   positions of prompts, of several slots in one pass     -> hidden states
 *   step   one more token for each of several slots, in one pass  -> hidden states
 *
 * Bits: what a position gives depends on its own sequence alone: not on how a prompt is cut into passes, on what else
 * is in a pass, on slots or threads.  Reading orders sums as among many rows, a step as for a row alone (mm1_rows), so
 * a token that was read and the same token after a step differ by rounding.
 *
 * All memory for the decoder is taken when the context is made: the cache in one block, an arena that was measured by a
 * dry run; reading and stepping allocate nothing.
 *
 * Ownership: a context borrows its model.  Threads: as a tape; several contexts may share a model if they take turns.
 */
#ifndef MM1_GENERATE_CONTEXT_H
#define MM1_GENERATE_CONTEXT_H

#include "model/model.h"

/* Positions that are read at once: enough for the matrix product, little memory for activations. */
enum { MM1_CONTEXT_PIECE = 256, MM1_CONTEXT_MAX_SLOTS = 1024 };
/* Patches of tiles that a thread encodes at once, if it is more than one tile. */
enum { MM1_CONTEXT_PATCHES = 256 };

typedef struct mm1_context mm1_context;

/* n_positions: room of each slot; 0: all that the model was made for.  MM1_E_LIMIT over that, MM1_E_ARG for n_slots,
 * MM1_E_STATE if the model has no decoder, tokenizer or values, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_context_create(const mm1_model *m, int64_t n_slots, int64_t n_positions, mm1_context **out,
                                            mm1_error *err);
void mm1_context_destroy(mm1_context *c); /* accepts NULL */

const mm1_model *mm1_context_model(const mm1_context *c);
int64_t mm1_context_n(const mm1_context *c, int64_t slot); /* positions that it holds */
int64_t mm1_context_n_max(const mm1_context *c);           /* room of a slot */
int64_t mm1_context_piece(const mm1_context *c);           /* positions that may be read at once */
int64_t mm1_context_tiles(const mm1_context *c);           /* tiles that are encoded at once, at most; 0: no vision */
size_t mm1_context_bytes(const mm1_context *c);            /* of the cache and the arena */

/* A slot keeps its first n positions at most, n >= 0. */
void mm1_context_cut(mm1_context *c, int64_t slot, int64_t n);
/* Slot `to` holds the first n positions of slot `from`, n at most mm1_context_n(from), and nothing else. */
void mm1_context_copy(mm1_context *c, int64_t to, int64_t from, int64_t n);

/* The next n positions of a sequence, from mm1_context_n(slot) on.  tiles: for each tile of its images the visual
 * tokens [k, C]; those that stand at these positions must be there. */
typedef struct mm1_reading {
    int64_t slot, n;
    const mm1_sequence *sequence;
    const float *const *tiles;
} mm1_reading;

/* n readings of different slots, mm1_context_piece() positions in all at most.  *hidden [positions, C], in their order,
 * lives until the next call.  MM1_E_LIMIT if a slot is full.  After a failure the slots hold what they held. */
MM1_NODISCARD mm1_status mm1_context_read(mm1_context *c, const mm1_reading *readings, int64_t n, const float **hidden,
                                          mm1_error *err);
/* tokens [n] for different slots [n]; *hidden [n, C] as above. */
MM1_NODISCARD mm1_status mm1_context_step(mm1_context *c, const int64_t *slots, const int32_t *tokens, int64_t n,
                                          const float **hidden, mm1_error *err);
/* logits [n, V] of hidden [n, C]: MM1_ROWS_FEW to choose a token, MM1_ROWS_MANY to score. */
void mm1_context_logits(const mm1_context *c, const float *hidden, int64_t n, mm1_rows rows, float *logits);
/* Visual tokens [k, C] of each of n tiles [3, R, R], mm1_context_tiles() at most.  Where there is a tile for each
 * thread, it is encoded by that thread alone: a pass over several tiles is cut less finely so. */
MM1_NODISCARD mm1_status mm1_context_encode(mm1_context *c, const float *const *pixels, float *const *visual, int64_t n,
                                            mm1_error *err);

#endif

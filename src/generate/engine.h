/* engine.h - many prompts at once: requests wait in a queue, take a slot of one model, and leave with a result.
 *
 *   requests -> queue -> [ slot | slot | slot | ... ] -> results, in the order in which they end
 *                          each: keys and values of one sequence, a sampler, a text
 *
 * A step reads a piece of the prompts that are new in their slots, then gives every text that goes on one more token,
 * all of them in one pass through the decoder.  Who has ended leaves, who waits takes the slot.  Memory is bounded by
 * slots and positions; the queue holds addresses.
 *
 * What sequences begin with alike (demonstrations, a question with several answers, the turns of a chat) is read once:
 * a slot takes the keys and values from one that has read the same tokens and the same images, whoever asked.  Features
 * of an image are kept by its content (XXH3: not made against someone who builds collisions).
 *
 * The rule: a result is equal to the bit whatever stands beside it: number of slots, order of requests, threads, how
 * prompts are cut into pieces, what was shared.  A text is that of mm1_generate(), a score that of
 * mm1_score_document(), bit for bit.  (Another set of kernels gives other bits, as everywhere.)
 *
 * Ownership: an engine borrows its model; a request and what it points to are borrowed until its result is taken.
 * Threads: as a session: one at a time, and engines and sessions that share a model take turns. */
#ifndef MM1_GENERATE_ENGINE_H
#define MM1_GENERATE_ENGINE_H

#include "generate/context.h"
#include <mm1/generate.h>

typedef struct mm1_engine mm1_engine;

typedef struct mm1_engine_options {
    int64_t n_slots;     /* sequences at once, 1 to MM1_CONTEXT_MAX_SLOTS */
    int64_t n_positions; /* room of each; 0: all that the model was made for */
    size_t image_bytes;  /* features of images that nobody needs now are kept up to so many bytes */
} mm1_engine_options;

/* 8 slots, all positions, 64 MiB. */
mm1_engine_options mm1_engine_defaults(void);

/* The sequence is that of the parts of prefix, then those of document.  A text goes on from it; a score is that of the
 * tokens of document: those of prefix are NAN and not counted in it. */
typedef struct mm1_engine_request {
    const mm1_document *prefix; /* NULL: none; is_bare and the name for messages are those of document */
    const mm1_document *document;
    const mm1_generate_params *params; /* NULL: a score */
    mm1_text_fn *on_text;              /* text: may be NULL; called within mm1_engine_step() */
    void *ctx;
    bool closed; /* score: with the end token that closes a document */
} mm1_engine_request;

typedef struct mm1_engine_result {
    int64_t id;        /* as mm1_engine_add() gave it */
    mm1_status status; /* not MM1_OK: this request has failed, and text and score are empty */
    mm1_error error;
    mm1_generated text; /* prompt_seconds and generate_seconds: since it had a slot, beside the others */
    mm1_score score;    /* without logits */
    int64_t n_shared;   /* positions that were not read because another sequence, or the one before, had read them */
} mm1_engine_result;

void mm1_engine_result_deinit(mm1_engine_result *r); /* accepts a zeroed one */

/* MM1_E_ARG for n_slots; else as mm1_session_create(). */
MM1_NODISCARD mm1_status mm1_engine_create(const mm1_model *m, const mm1_engine_options *options, mm1_engine **out,
                                           mm1_error *err);
/* Accepts NULL; requests that have no result yet are dropped. */
void mm1_engine_destroy(mm1_engine *e);

/* Puts a request at the end of the queue; what is wrong with it comes as its result.  *id counts from 0. */
MM1_NODISCARD mm1_status mm1_engine_add(mm1_engine *e, const mm1_engine_request *request, int64_t *id, mm1_error *err);
/* Some work for all of them; see above.  A failure is one of the whole engine. */
MM1_NODISCARD mm1_status mm1_engine_step(mm1_engine *e, mm1_error *err);
/* Whether there is work left: requests without a result. */
bool mm1_engine_is_busy(const mm1_engine *e);
/* Takes a result, the one that has been there longest; false if there is none. */
bool mm1_engine_collect(mm1_engine *e, mm1_engine_result *out);

/* Adds n requests to an engine that is not busy and works until all are done; results [n] in their order, each to be
 * deinitialised.  On failure results are empty. */
MM1_NODISCARD mm1_status mm1_engine_run(mm1_engine *e, const mm1_engine_request *requests, size_t n,
                                        mm1_engine_result *results, mm1_error *err);

#endif

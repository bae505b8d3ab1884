/* generate.h - a session and a sampler go on from a prompt until the model ends, a stop string comes, or room is out.
 *
 * Threads: as the session. */
#ifndef MM1_GENERATE_GENERATE_H
#define MM1_GENERATE_GENERATE_H

#include "generate/sampler.h"
#include "generate/session.h"
#include "generate/text_out.h"

/* A text on its way: what is to be done between the logits of one position and the next token.  mm1_generate() gives it
 * those of a session, an engine (engine.h) those of one of its slots. */
typedef struct mm1__writer {
    const mm1_tokenizer *tokenizer;
    mm1_sampler sampler;
    mm1_text_out text;
    int64_t max_tokens;
    mm1_text_fn *on_text;
    void *ctx;
    mm1_generated out; /* counts; the text comes in the end */
} mm1__writer;

/* Checks params; the text goes on from prompt.  Borrows the model and what params point to.  On failure nothing is to
 * be freed. */
MM1_NODISCARD mm1_status mm1__writer_init(mm1__writer *w, const mm1_model *m, const mm1_document *prompt,
                                          const mm1_generate_params *params, mm1_text_fn *on_text, void *ctx,
                                          mm1_error *err);
void mm1__writer_deinit(mm1__writer *w); /* accepts a zeroed one */
/* Chooses a token by the logits [V] of the last position.  *is_done: the text ends here, as out.finish says, else
 * *token is to be read next; is_full: there is no room for that. */
MM1_NODISCARD mm1_status mm1__writer_next(mm1__writer *w, const float *logits, bool is_full, int32_t *token,
                                          bool *is_done, mm1_error *err);
/* The last of the text, and all of it into out.  Seconds are the caller's. */
MM1_NODISCARD mm1_status mm1__writer_finish(mm1__writer *w, mm1_generated *out, mm1_error *err);

/* The session forgets what it had read.  on_text may be NULL; see <mm1/generate.h> for params, result and errors.  On
 * failure *out is empty. */
MM1_NODISCARD mm1_status mm1_generate(mm1_session *s, const mm1_document *prompt, const mm1_generate_params *params,
                                      mm1_text_fn *on_text, void *ctx, mm1_generated *out, mm1_error *err);

#endif

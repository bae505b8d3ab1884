/* generate.h - a session and a sampler go on from a prompt until the model ends, a stop string comes, or room is out.
 *
 * Threads: as the session. */
#ifndef MM1_GENERATE_GENERATE_H
#define MM1_GENERATE_GENERATE_H

#include "generate/session.h"
#include <mm1/generate.h>

/* The session forgets what it had read.  on_text may be NULL; see <mm1/generate.h> for params, result and errors.  On
 * failure *out is empty. */
MM1_NODISCARD mm1_status mm1_generate(mm1_session *s, const mm1_document *prompt, const mm1_generate_params *params,
                                      mm1_text_fn *on_text, void *ctx, mm1_generated *out, mm1_error *err);

#endif

/* text_out.h - from the bytes of tokens to text that may be shown: whole characters, and nothing that may yet turn out
 * to be a stop string.
 *
 *   bytes of tokens -> raw (at most 3 bytes wait for their character) -> text -> [sent | held back]
 *
 * Bytes that are no UTF-8 become U+FFFD, one for each longest piece that begins a character, however the tokens cut
 * them.  Ownership: owns its memory, borrows the stop strings.  Threads: one at a time. */
#ifndef MM1_GENERATE_TEXT_OUT_H
#define MM1_GENERATE_TEXT_OUT_H

#include "base/buf.h"
#include <stdbool.h>

typedef struct mm1_text_out {
    const char *const *stop; /* [n_stop] */
    size_t n_stop;
    size_t longest_stop; /* bytes */
    mm1_buf raw, text;
    size_t n_sent;   /* bytes of text that were taken */
    size_t n_ready;  /* bytes of text that may be taken */
    size_t searched; /* no stop string begins before this byte of text */
    bool strips;     /* a blank at the start is dropped; set it after mm1_text_out_init() */
    bool is_stopped; /* one was found: text ends before it */
} mm1_text_out;

/* MM1_E_ARG for a stop string that is empty or no UTF-8. */
MM1_NODISCARD mm1_status mm1_text_out_init(mm1_text_out *o, const char *const *stop, size_t n_stop, mm1_error *err);
void mm1_text_out_deinit(mm1_text_out *o); /* accepts a zeroed one */

/* Adds the bytes of a token; ignored once stopped. */
MM1_NODISCARD mm1_status mm1_text_out_add(mm1_text_out *o, const char *bytes, size_t len, mm1_error *err);
/* No more will come: nothing is held back any longer. */
MM1_NODISCARD mm1_status mm1_text_out_finish(mm1_text_out *o, mm1_error *err);
/* What may be shown and was not taken yet; *len may be 0.  Borrowed until the next call. */
const char *mm1_text_out_take(mm1_text_out *o, size_t *len);

#endif

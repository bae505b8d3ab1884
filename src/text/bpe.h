/* bpe.h - one pre-token to ids: merges pairs of neighbours, best rank first and leftmost among equals. */
#ifndef MM1_TEXT_BPE_H
#define MM1_TEXT_BPE_H

#include "text/tokenizer_impl.h"

/* Appends the ids of one pre-token, which is not empty.  O(n log n) in its length.  Thread-safe.  MM1_E_NOMEM, or
 * MM1_E_LIMIT for a pre-token of 2 GiB and more. */
mm1_status mm1__bpe_encode(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids, mm1_error *err);

/* The same without the short cut for pre-tokens that are a token: what the merges alone make of it. */
mm1_status mm1__bpe_encode_by_merges(const mm1_tokenizer *t, const char *word, size_t len, mm1_ids *ids,
                                     mm1_error *err);

#endif

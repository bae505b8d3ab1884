/* gguf_tokenizer.h - tokenizers between the keys of a GGUF file and tokenizer.json.
 *
 * llama.cpp names how text is split before merging (tokenizer.ggml.pre); here each name stands for the components that
 * tokenizer.json writes in full, and what is read is what mm1/tokenizer.h says of such a file.  Known are
 *
 *     model gpt2   byte-level BPE; pre gpt-2, smollm, llama-bpe, qwen2
 *     model llama  SentencePiece's BPE: blanks as U+2581, bytes for what is not in the vocabulary, merges by score
 *
 * Errors: MM1_E_UNSUPPORTED names the key and what it says; MM1_E_FORMAT for lists that do not fit together. */
#ifndef MM1_MODEL_GGUF_TOKENIZER_H
#define MM1_MODEL_GGUF_TOKENIZER_H

#include "tensor/gguf.h"
#include <mm1/tokenizer.h>

/* The roles are those of the keys bos_token_id (if add_bos_token is true; without that key it is so for model llama and
 * pre llama-bpe, and nothing is said for others), eos_token_id, eot_token_id, eom_token_id, padding_token_id; else as
 * roles.h says. */
MM1_NODISCARD mm1_status mm1_gguf_tokenizer_read(const mm1_gguf *g, mm1_tokenizer **out, mm1_error *err);

/* The keys of a tokenizer.  Zero it before use. */
typedef struct mm1_gguf_tokenizer {
    const char *model, *pre; /* pre is NULL for model llama */
    size_t n_tokens, n_merges;
    char **tokens;  /* [n_tokens] */
    int32_t *types; /* [n_tokens] */
    float *scores;  /* [n_tokens]; NULL for model gpt2 */
    char **merges;  /* [n_merges]; NULL for model llama */
    bool add_space_prefix;
} mm1_gguf_tokenizer;

/* n_rows: of the embedding; ids without a token become unused ones.  MM1_E_UNSUPPORTED if llama.cpp has no name for
 * what the tokenizer does. */
MM1_NODISCARD mm1_status mm1_gguf_tokenizer_make(mm1_gguf_tokenizer *out, const mm1_tokenizer *t, int64_t n_rows,
                                                 mm1_error *err);
void mm1_gguf_tokenizer_deinit(mm1_gguf_tokenizer *k); /* accepts a zeroed one */

#endif

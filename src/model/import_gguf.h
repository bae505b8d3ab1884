/* import_gguf.h - decoders as llama.cpp stores them: one GGUF file with configuration, tokenizer and weights.
 *
 * Read are the architectures llama, qwen2 and qwen3, in every format of quant.h.  As with folders, a model is
 * understood in full or refused by the key or tensor that is not.  What differs from a folder:
 *
 *   - llama's queries and keys have the two halves of a rotary pair side by side; ours have them half a head apart.
 *   - The stretched frequencies of Llama 3.1 come as the tensor rope_freqs.weight; the rule behind it is found again.
 *   - A model without output.weight has the embedding as its head.
 *
 * Errors: those of gguf.h and import.h. */
#ifndef MM1_MODEL_IMPORT_GGUF_H
#define MM1_MODEL_IMPORT_GGUF_H

#include "model/import.h"
#include <mm1/tokenizer.h>

/* Whether this path is to be read as a GGUF file: it ends with .gguf and is no folder. */
bool mm1_path_is_gguf(const char *path);

/* A GGUF file, or a folder (import.h, weights.h): the configuration, resolved, and the weights, which hold the files
 * until mm1_weights_close().  On failure nothing needs to be closed. */
MM1_NODISCARD mm1_status mm1_import_open(mm1_import *out, mm1_weights *w, const char *path, mm1_error *err);
/* The tokenizer that belongs to weights from mm1_import_open(path): in the file, or tokenizer.json in the folder. */
MM1_NODISCARD mm1_status mm1_import_tokenizer(const mm1_weights *w, const char *path, mm1_tokenizer **out,
                                              mm1_error *err);

/* The names of an architecture, llama, qwen2 or qwen3; NULL if there is none of this name. */
const mm1_import_map *mm1__gguf_maps(const char *architecture);
/* Row of ours that stands as row i of the queries or keys of llama, in heads of D rows. */
static inline int64_t mm1__gguf_llama_row(int64_t i, int64_t D)
{
    const int64_t in_head = i % D;
    return i - in_head + in_head / 2 + in_head % 2 * (D / 2);
}

#endif

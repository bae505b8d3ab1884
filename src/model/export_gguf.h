/* export_gguf.h - a decoder as a GGUF file that llama.cpp loads and runs.
 *
 * The architecture is the one of import_gguf.h that computes what the model computes; a model that none of them does
 * (with pictures, learned positions, layer norms, ...) is MM1_E_UNSUPPORTED, and so is a tokenizer that llama.cpp has
 * no name for.  Matrices are written in the format that is asked for (those whose rows are not whole blocks of it as
 * F16), norms and biases as F32. */
#ifndef MM1_MODEL_EXPORT_GGUF_H
#define MM1_MODEL_EXPORT_GGUF_H

#include "model/model.h"
#include "tensor/quant.h"

/* format: one that can be written.  The file appears whole or not at all.  chat_template: the text of the model's, a
 * program in the Jinja language, or NULL. */
MM1_NODISCARD mm1_status mm1_model_export_gguf(const mm1_model *m, const char *path, mm1_quant format,
                                               const char *chat_template, mm1_error *err);

#endif

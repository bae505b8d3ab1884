/* export.h - a model as Hugging Face transformers stores it: import.h backwards.
 *
 *     mm1_model_config --write()--> config.json         table of parameters --maps--> model.safetensors
 *     pictures -------------------> preprocessor_config.json, and processor_config.json of a whole model
 *     tokenizer ------------------> tokenizer.json, tokenizer_config.json, generation_config.json
 *
 * The architecture is the one that the model was read as; a model that was made here gets the first of import.h that
 * can hold its configuration (our usual decoder is a LLaMA).  Reading what was written gives the same bits as f32. */
#ifndef MM1_MODEL_EXPORT_H
#define MM1_MODEL_EXPORT_H

#include "model/model.h"

/* Into an existing folder, weights as dtype (F32, BF16 or F16).  source: the folder that m was read from, or NULL; what
 * transformers asks for and m does not have (blocks of an encoder behind the one whose features are read) is taken from
 * there if it is of the same architecture, else 0.  model_type receives the name of the architecture; NULL: not wanted.
 * MM1_E_UNSUPPORTED, naming for each architecture what it does not have, if none fits. */
MM1_NODISCARD mm1_status mm1_export_hf(const mm1_model *m, const char *source, const char *dir, mm1_dtype dtype,
                                       const char **model_type, mm1_error *err);

#endif

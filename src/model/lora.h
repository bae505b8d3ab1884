/* lora.h - adapters of low rank beside frozen linear layers (Hu et al. 2021, arXiv 2106.09685): x w^T + s (x a^T) b^T,
 * where s = alpha / rank, a is drawn at random and b begins at zero, so that nothing changes at first.
 *
 * A folder of adapters holds what PEFT writes, and what is needed to read it without the run:
 *
 *   adapter_config.json         "peft_type": "LORA", "r", "lora_alpha", "target_modules", "base_model_name_or_path"
 *   adapter_model.safetensors   "base_model.model.<layer>.lora_A.weight" [r, in], "..lora_B.weight" [out, r]
 *   config.json, preprocessor_config.json, tokenizer.json, generation_config.json   as in a model folder
 *
 * mm1_model_load() takes such a folder: it loads the base and merges the adapters into it.
 *
 * Threads: as a model. */
#ifndef MM1_MODEL_LORA_H
#define MM1_MODEL_LORA_H

#include "model/model.h"

typedef struct mm1_lora_config {
    int64_t rank; /* 0: no adapters */
    double alpha;
    char **targets; /* patterns of layers, as of fnmatch(3); none: every linear layer of the decoder's blocks */
    size_t n_targets;
} mm1_lora_config;

extern const mm1_field mm1__lora_fields[];

/* Adds adapters to the table for every linear layer that a target names, and freezes all else; before
 * mm1_params_alloc().  With rank 0 nothing happens.  MM1_E_CONFIG for a target that names no linear layer: embeddings,
 * heads, routers, experts and depthwise convolutions are none. */
MM1_NODISCARD mm1_status mm1_lora_add(mm1_model *m, const mm1_lora_config *c, mm1_error *err);
/* Freezes what is no adapter, if there are some. */
void mm1_lora_freeze_base(mm1_model *m);
/* w += s b a for every adapter, and there are none any more. */
void mm1_lora_merge(mm1_model *m);

/* The folder of adapters of m, whose base is at `base`, into an existing folder. */
MM1_NODISCARD mm1_status mm1_lora_save(const mm1_model *m, const char *base, const char *dir, mm1_error *err);
/* The values of m's adapters out of such a folder.  MM1_E_FORMAT or MM1_E_SHAPE if it holds others. */
MM1_NODISCARD mm1_status mm1_lora_load(mm1_model *m, const char *dir, mm1_error *err);

/* Whether this is a folder of adapters. */
bool mm1_lora_is_folder(const char *path);
/* What mm1_lora_open() has read; strings are freed with mm1_lora_folder_deinit(). */
typedef struct mm1_lora_folder {
    mm1_lora_config config; /* its targets are the layers that have adapters */
    char *base;             /* where the base is: as it stands, or relative to the folder if that is where it is */
} mm1_lora_folder;
MM1_NODISCARD mm1_status mm1_lora_open(mm1_lora_folder *out, const char *dir, mm1_error *err);
void mm1_lora_folder_deinit(mm1_lora_folder *f);

#endif

/* part_init.h - training that begins with another model, or with parts of others: an encoder trained by contrast, a
 * decoder that has read text. */
#ifndef MM1_TRAIN_PART_INIT_H
#define MM1_TRAIN_PART_INIT_H

#include "model/model.h"
#include "train/recipe.h"

/* Copies the model that `config` names out of its folder, then the parts out of theirs.  MM1_E_CONFIG if the model has
 * no such part; MM1_E_SHAPE if the folder's is another, with the first tensor that differs; what mm1_model_load()
 * gives. */
MM1_NODISCARD mm1_status mm1_part_init(mm1_model *m, const mm1_init_config *config, mm1_error *err);

#endif

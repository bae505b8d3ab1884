/* recipe_loader.h - the stream of batches that a recipe describes, the same one for training and for looking at it. */
#ifndef MM1_TRAIN_RECIPE_LOADER_H
#define MM1_TRAIN_RECIPE_LOADER_H

#include "data/loader.h"
#include "train/recipe.h"

/* How pictures are shown in training: to a model that writes as to it, to an encoder as one tile.  config: of the
 * recipe, resolved (mm1_recipe_model_config()).  Errors as of mm1_model_config_images(). */
MM1_NODISCARD mm1_status mm1_recipe_images(const mm1_recipe *recipe, const mm1_model_config *config,
                                           const mm1_tokenizer *tokenizer, mm1_image_spec *out, mm1_error *err);

/* config: as above.  Recipe and tokenizer are borrowed until the loader is
 * destroyed.  start: NULL for the beginning.  Errors as of mm1_loader_create(). */
MM1_NODISCARD mm1_status mm1_recipe_loader_create(const mm1_recipe *recipe, const mm1_model_config *config,
                                                  const mm1_tokenizer *tokenizer, const mm1_data_state *start,
                                                  mm1_loader **out, mm1_error *err);

#endif

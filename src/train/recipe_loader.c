/* recipe_loader.c - see recipe_loader.h. */
#include "train/recipe_loader.h"

mm1_status mm1_recipe_loader_create(const mm1_recipe *recipe, const mm1_model_config *config,
                                    const mm1_tokenizer *tokenizer, const mm1_data_state *start, mm1_loader **out,
                                    mm1_error *err)
{
    const mm1_image_config *i = &config->image;
    const bool is_text = recipe->train.objective == MM1_OBJECTIVE_TEXT;
    const mm1_loader_options o = {.config = &recipe->data,
                                  .tokenizer = tokenizer,
                                  .image = {.image_px = config->vision.image_size,
                                            .shorter_px = mm1_model_config_shorter_px(config),
                                            .mean = {(float)i->mean.r, (float)i->mean.g, (float)i->mean.b},
                                            .std = {(float)i->std.r, (float)i->std.g, (float)i->std.b},
                                            .fit = (mm1_image_fit)i->fit,
                                            .filter = (mm1_image_filter)i->filter},
                                  .n_visual = is_text ? mm1_model_config_n_visual(config)
                                                      : 1, /* an encoder's row only marks it */
                                  .one_example = !is_text,
                                  .n_views = recipe->train.objective == MM1_OBJECTIVE_CONTRASTIVE ? 2 : 1,
                                  .seed = (uint64_t)recipe->train.seed,
                                  .start = start};
    return mm1_loader_create(&o, out, err);
}

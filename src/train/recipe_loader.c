/* recipe_loader.c - see recipe_loader.h. */
#include "train/recipe_loader.h"

mm1_status mm1_recipe_images(const mm1_recipe *recipe, const mm1_model_config *config, const mm1_tokenizer *tokenizer,
                             mm1_image_spec *out, mm1_error *err)
{
    const mm1_status st = mm1_model_config_images(config, tokenizer, out, err);
    if (recipe->train.objective != MM1_OBJECTIVE_TEXT) {
        *out = mm1_image_one_tile(out);
    }
    return st;
}

mm1_status mm1_recipe_loader_create(const mm1_recipe *recipe, const mm1_model_config *config,
                                    const mm1_tokenizer *tokenizer, const mm1_data_state *start, mm1_loader **out,
                                    mm1_error *err)
{
    const bool is_text = recipe->train.objective == MM1_OBJECTIVE_TEXT;
    mm1_loader_options o = {.config = &recipe->data,
                            .tokenizer = tokenizer,
                            .one_example = !is_text,
                            .n_views = recipe->train.objective == MM1_OBJECTIVE_CONTRASTIVE ? 2 : 1,
                            .seed = (uint64_t)recipe->train.seed,
                            .start = start};
    const mm1_status st = mm1_recipe_images(recipe, config, tokenizer, &o.images, err);
    *out = NULL;
    return st != MM1_OK ? st : mm1_loader_create(&o, out, err);
}

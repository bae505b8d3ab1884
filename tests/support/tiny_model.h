/* tiny_model.h - the configuration of a whole model that is small enough for a test; what a test is about it sets. */
#ifndef MM1_TESTS_TINY_MODEL_H
#define MM1_TESTS_TINY_MODEL_H

#include "support/check.h"

#include "model/model_config.h"

/* Pictures of 4 x 4 patches to 4 visual tokens by mean pooling; a decoder of width 32 with heads of 8. */
static inline mm1_model_config tiny_model_config(int64_t vocab_size, int64_t max_positions, int64_t n_layers)
{
    mm1_model_config c;
    mm1_error err = {0};
    check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
    c.vision.image_size = 12;
    c.vision.patch_size = 3;
    c.vision.width = 24;
    c.vision.n_layers = 1;
    c.vision.n_heads = 3;
    c.vision.mlp_width = 40;
    c.connector.kind = MM1_CONNECTOR_AVGPOOL;
    c.connector.n_tokens = 4;
    c.decoder.vocab_size = vocab_size;
    c.decoder.width = 32;
    c.decoder.n_layers = n_layers;
    c.decoder.n_heads = 4;
    c.decoder.mlp_width = 48;
    c.decoder.max_positions = max_positions;
    return c;
}

#endif

/* model_config.h - the configuration of a whole model: what a recipe says under `model:` and what config.json holds. */
#ifndef MM1_MODEL_MODEL_CONFIG_H
#define MM1_MODEL_MODEL_CONFIG_H

#include "base/fields.h"
#include "nn/connector.h"
#include "nn/decoder.h"
#include "nn/vit.h"
#include <mm1/image.h>

typedef struct mm1_rgb {
    double r, g, b;
} mm1_rgb;

/* How pictures become pixels. */
typedef struct mm1_image_config {
    int fit;    /* mm1_image_fit */
    int filter; /* mm1_image_filter */
    mm1_rgb mean, std;
    int64_t max_images; /* of one prompt or packed sequence */
} mm1_image_config;

/* Plain data; copied with =. */
typedef struct mm1_model_config {
    mm1_vision_config vision;
    mm1_connector_config connector;
    mm1_decoder_config decoder;
    mm1_image_config image;
} mm1_model_config;

extern const mm1_field mm1__model_fields[];

/* Ranges, and rules between the parts; fills in what 0 stands for in the decoder. */
MM1_NODISCARD mm1_status mm1_model_config_resolve(mm1_model_config *c, mm1_error *err);
/* <dir>/config.json and <dir>/preprocessor_config.json. */
MM1_NODISCARD mm1_status mm1_model_config_read(mm1_model_config *c, const char *dir, mm1_error *err);
MM1_NODISCARD mm1_status mm1_model_config_write(const mm1_model_config *c, const char *dir, mm1_error *err);

#endif

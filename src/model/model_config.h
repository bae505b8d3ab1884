/* model_config.h - the configuration of a whole model: what a recipe says under `model:` and what config.json holds. */
#ifndef MM1_MODEL_MODEL_CONFIG_H
#define MM1_MODEL_MODEL_CONFIG_H

#include "base/fields.h"
#include "model/image_layout.h"
#include "nn/connector.h"
#include "nn/decoder.h"
#include "nn/joint.h"
#include "nn/pixel_head.h"
#include "nn/text_tower.h"
#include "nn/vit.h"
#include <jansson.h>

/* Which parts there are.  Only those are registered, saved, and named in config.json. */
typedef enum mm1_model_kind {
    MM1_MODEL_MM1,     /* vision encoder, connector, decoder */
    MM1_MODEL_DECODER, /* a language model: takes no pictures */
    MM1_MODEL_ENCODER, /* a vision encoder: has no tokenizer and no text */
    MM1_MODEL_CLIP,    /* a vision encoder and a text tower in a joint space: compares, writes nothing */
    MM1_MODEL_AIM,     /* a vision encoder and the head with which it learns to predict patches: no text */
    MM1_MODEL_COUNT
} mm1_model_kind;

typedef struct mm1_rgb {
    double r, g, b;
} mm1_rgb;

/* Colour of what is added to make a picture fit. */
typedef enum mm1_image_fill { MM1_FILL_WHITE, MM1_FILL_BLACK, MM1_FILL_MEAN } mm1_image_fill;

/* How pictures become pixels. */
typedef struct mm1_image_config {
    int mode;           /* mm1_image_mode */
    int64_t crops;      /* SUBIMAGES: along each side */
    char grids[192];    /* ANYRES: as in mm1_image_grids_parse() */
    int64_t longest_px; /* SPLITS: 0: four tiles */
    int fit;            /* mm1_image_fit */
    int fill;           /* mm1_image_fill */
    int filter;         /* mm1_image_filter */
    double crop_share;  /* MM1_FIT_CROP: of the shorter side, that the cut keeps */
    mm1_rgb mean, std;
    int64_t max_images; /* of one prompt or packed sequence */
} mm1_image_config;

/* Plain data; copied with =. */
typedef struct mm1_model_config {
    int kind; /* mm1_model_kind */
    mm1_vision_config vision;
    mm1_connector_config connector;
    mm1_decoder_config decoder;
    mm1_text_config text;
    mm1_joint_config joint;
    mm1_pixel_head_config pixel_head;
    mm1_image_config image;
} mm1_model_config;

extern const mm1_field mm1__model_fields[];

static inline bool mm1_model_config_has_vision(const mm1_model_config *c)
{
    return c->kind != MM1_MODEL_DECODER;
}

static inline bool mm1_model_config_has_decoder(const mm1_model_config *c)
{
    return c->kind == MM1_MODEL_MM1 || c->kind == MM1_MODEL_DECODER;
}

static inline bool mm1_model_config_has_tokenizer(const mm1_model_config *c)
{
    return c->kind != MM1_MODEL_ENCODER && c->kind != MM1_MODEL_AIM;
}

/* Visual tokens of a tile; 0 where there is no connector. */
static inline int64_t mm1_model_config_n_visual(const mm1_model_config *c)
{
    return c->kind == MM1_MODEL_MM1 ? c->connector.n_tokens : 0;
}

/* MM1_FIT_CROP: px that the shorter side of a picture is resized to before the cut. */
int64_t mm1_model_config_shorter_px(const mm1_model_config *c);

/* Ranges, and rules between the parts; fills in what 0 stands for in the decoder. */
MM1_NODISCARD mm1_status mm1_model_config_resolve(mm1_model_config *c, mm1_error *err);
/* How the model reads pictures.  t may be NULL; with it markers are looked up where the mode has them.  MM1_E_FORMAT if
 * it lacks one. */
MM1_NODISCARD mm1_status mm1_model_config_images(const mm1_model_config *c, const mm1_tokenizer *t, mm1_image_spec *out,
                                                 mm1_error *err);
/* Of a GGUF file, or of a model folder, ours or another that import.h understands: <dir>/config.json and, for a model
 * that sees, <dir>/preprocessor_config.json.  Ours are written. */
MM1_NODISCARD mm1_status mm1_model_config_read(mm1_model_config *c, const char *path, mm1_error *err);
MM1_NODISCARD mm1_status mm1_model_config_write(const mm1_model_config *c, const char *dir, mm1_error *err);
/* <dir>/<name>; gives root up, which may be NULL for want of memory. */
MM1_NODISCARD mm1_status mm1__model_write_json(json_t *root, const char *dir, const char *name, mm1_error *err);

#endif

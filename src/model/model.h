/* model.h - an assembled MM1: encoder, connector, decoder, tokenizer, and one table of parameters.  By config.kind a
 * model may be a decoder or an encoder alone, or an encoder with what it is trained with; the other parts are then
 * zeroed.
 *
 * Ownership: a model owns all of these.  Threads: as a tape; loading and reading the configuration is free of state. */
#ifndef MM1_MODEL_MODEL_H
#define MM1_MODEL_MODEL_H

#include "model/chat_template.h"
#include "model/model_config.h"
#include "model/sequence.h"
#include "nn/params.h"
#include "tensor/safetensors.h"
#include <mm1/tokenizer.h>

/* Adapters (lora.h); rank 0: none. */
typedef struct mm1_model_lora {
    int64_t rank, n_own; /* entries of the table before those of the adapters */
    double alpha;
    mm1_lora *items; /* [n] */
    int64_t n;
} mm1_model_lora;

typedef struct mm1_model {
    mm1_model_config config;
    mm1_params params;
    mm1_vit vit;
    mm1_connector connector;
    mm1_tensor *newline; /* [C] the learned row that ends a row of a grid; NULL if config.image.mode has none */
    mm1_decoder decoder;
    mm1_text_tower text;
    mm1_joint joint;
    mm1_pixel_head pixel_head;
    mm1_tokenizer *tokenizer; /* NULL if the model was made without one */
    mm1_image_spec images;    /* how it reads pictures; its markers come with the tokenizer */
    mm1_model_lora lora;
    mm1_chat_template chat; /* by which messages are put to it; AUTO: none is known */
    const char *model_type; /* as which it was read: a row of import.h; NULL if it was made here */
} mm1_model;

/* The parameter table alone, no memory for values: for planning.  config is resolved in the copy that the model keeps.
 */
MM1_NODISCARD mm1_status mm1_model_init(mm1_model *m, const mm1_model_config *config, mm1_error *err);
void mm1_model_deinit(mm1_model *m); /* accepts a zeroed model */
/* The model owns t from now on, also on failure.  MM1_E_FORMAT if the model needs a special token that t lacks. */
MM1_NODISCARD mm1_status mm1_model_set_tokenizer(mm1_model *m, mm1_tokenizer *t, mm1_error *err);

/* A GGUF file (import_gguf.h), or a model folder, ours or another that import.h understands: config.json,
 * preprocessor_config.json, tokenizer.json, model.safetensors (or an index and several files), as far as the kind of
 * model has them.  Every parameter must be there with its shape and nothing else; the message names the first that is
 * not. */
MM1_NODISCARD mm1_status mm1_model_load(mm1_model *m, const char *path, bool with_grad, mm1_error *err);
/* The same for pictures of image_size px a side: positions of another grid of patches are interpolated to that of this
 * size.  0: the size that the folder says.  MM1_E_CONFIG for a size that patches do not fill.  A folder of adapters
 * (lora.h) is its base with the adapters merged, without gradients. */
MM1_NODISCARD mm1_status mm1_model_load_at(mm1_model *m, const char *path, int64_t image_size, bool with_grad,
                                           mm1_error *err);
/* From now on the model reads pictures plainly, or as an overview and crops.  MM1_E_CONFIG for other modes, or if its
 * own is another; MM1_E_STATE if it takes no pictures. */
MM1_NODISCARD mm1_status mm1_model_set_image_mode(mm1_model *m, mm1_image_mode mode, mm1_error *err);
/* The values of another model's folder into the parameters of this one, which have memory; positions of another grid
 * are interpolated.  Its tokenizer is not looked at.  Errors as of mm1_model_load(). */
MM1_NODISCARD mm1_status mm1_model_load_values(mm1_model *m, const char *path, mm1_error *err);
/* The same four files into an existing folder, and generation_config.json for what has a decoder; weights as dtype
 * (F32, BF16 or F16). */
MM1_NODISCARD mm1_status mm1_model_save(const mm1_model *m, const char *dir, mm1_dtype dtype, mm1_error *err);
/* The last two of them, if the model has a tokenizer. */
MM1_NODISCARD mm1_status mm1_model_save_tokenizer(const mm1_model *m, const char *dir, mm1_error *err);
/* Weights alone, from a file with the names of the table. */
MM1_NODISCARD mm1_status mm1_model_load_weights(mm1_model *m, const char *path, mm1_error *err);

/* A model of kind encoder that holds from's vision encoder, values copied.  MM1_E_STATE if it has none. */
MM1_NODISCARD mm1_status mm1_model_take_encoder(mm1_model *out, const mm1_model *from, mm1_error *err);

/* Visual tokens of a tile; 0 for a model that takes none. */
static inline int64_t mm1_model_n_visual(const mm1_model *m)
{
    return mm1_model_config_n_visual(&m->config);
}

/* pixels [I, 3, R, R] of I tiles -> visual tokens [I k, C]; borrowed until the tape is reset.  NULL on a sticky error
 * of the tape. */
mm1_tensor *mm1_model_visual(const mm1_model *m, mm1_tape *t, const float *pixels, int64_t I);
/* The rows of a visual tensor before those of its tiles: the newline, if there is one. */
void mm1_model_visual_begin(const mm1_model *m, float *visual);
/* Hidden states [B T, C] of a batch. */
mm1_tensor *mm1_model_hidden(const mm1_model *m, mm1_tape *t, const mm1_batch *b);
/* The same for rows [row, row + n) of a batch, whose tiles are [tile, tile + n_tiles). */
mm1_tensor *mm1_model_hidden_rows(const mm1_model *m, mm1_tape *t, const mm1_batch *b, int64_t row, int64_t n,
                                  int64_t tile, int64_t n_tiles);

#endif

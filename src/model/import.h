/* import.h - models that others have made: what their configuration means here, and where our parameters are in their
 * files.
 *
 *     config.json --read()--> mm1_import: mm1_model_config, and for each part of the model a list of mm1_import_map
 *     weights     --maps----> the table of parameters
 *
 * A model is understood in full or refused by the name of what is not: a key of the configuration that nothing reads, a
 * tensor that no parameter takes, a parameter without a tensor.  The shapes of all tensors are checked before any
 * memory is taken.
 *
 * The same maps, walked backwards, write such folders: export.h.
 *
 * A new architecture is one mm1_architecture in import_<family>.c and one line in the table of import.c.  A format
 * other than a folder of safetensors fills mm1_weights and an mm1_import, and then calls mm1_import_check() and
 * mm1_import_weights().  Model type "mm1" is a row as any other, whose names are ours.
 *
 * Errors: MM1_E_UNSUPPORTED for what is not understood, MM1_E_FORMAT and MM1_E_SHAPE for files that do not fit
 * together, with file and key or tensor. */
#ifndef MM1_MODEL_IMPORT_H
#define MM1_MODEL_IMPORT_H

#include "base/yaml.h"
#include "model/model_config.h"
#include "model/weights.h"
#include "nn/params.h"

enum { MM1_IMPORT_MAX_PIECES = 3, MM1_IMPORT_MAX_PARTS = 4, MM1_IMPORT_MAX_NAMINGS = 4, MM1_IMPORT_NAME_BYTES = 256 };

/* How a piece lies in its file. */
typedef enum mm1_layout {
    MM1_LAYOUT_ROWS,    /* as ours: [rows, cols], or [n] */
    MM1_LAYOUT_COLUMNS, /* transposed: [cols, rows] */
    /* The same order in other dimensions; read, ones before it and how columns are cut make no difference. */
    MM1_LAYOUT_SCALAR, /* [], of one element */
    MM1_LAYOUT_VECTOR, /* [cols], of one row */
    MM1_LAYOUT_BATCH,  /* [1, rows, cols] */
    MM1_LAYOUT_PATCHES /* [rows, 3, p, p] */
} mm1_layout;

/* How many rows of our parameter each of several pieces has. */
typedef enum mm1_split {
    MM1_SPLIT_EVEN, /* as many as the others */
    MM1_SPLIT_HEADS /* those of the decoder's queries, keys, values */
} mm1_split;

/* Where one of our parameters, or one in each layer, comes from.  "*" stands for a number, the same in all names; "#"
 * for the index along the first dimension of our parameter [E, rows, cols], each E from pieces of its own. */
typedef struct mm1_import_map {
    const char *ours;                          /* "decoder.layers.*.attn.qkv.weight" */
    const char *theirs[MM1_IMPORT_MAX_PIECES]; /* pieces, one below the other; ended by NULL if there are fewer */
    mm1_layout layout;
    mm1_split split;
} mm1_import_map;

#define MM1_MAP(name, ...)                                                                                             \
    {                                                                                                                  \
        .ours = (name), .theirs = { __VA_ARGS__ }                                                                      \
    }
#define MM1_MAP_HEADS(name, ...)                                                                                       \
    {                                                                                                                  \
        .ours = (name), .theirs = {__VA_ARGS__}, .split = MM1_SPLIT_HEADS                                              \
    }
#define MM1_MAP_COLUMNS(name, ...)                                                                                     \
    {                                                                                                                  \
        .ours = (name), .theirs = {__VA_ARGS__}, .layout = MM1_LAYOUT_COLUMNS                                          \
    }
#define MM1_MAP_FOLDED(name, how, ...)                                                                                 \
    {                                                                                                                  \
        .ours = (name), .theirs = {__VA_ARGS__}, .layout = (how)                                                       \
    }

/* The tensors of a block of CLIP's and SigLIP's towers; layer: how their names begin. */
#define MM1_TOWER_BLOCK(layer)                                                                                         \
    layer "layer_norm1.weight", layer "layer_norm1.bias", layer "self_attn.q_proj.weight",                             \
        layer "self_attn.q_proj.bias", layer "self_attn.k_proj.weight", layer "self_attn.k_proj.bias",                 \
        layer "self_attn.v_proj.weight", layer "self_attn.v_proj.bias", layer "self_attn.out_proj.weight",             \
        layer "self_attn.out_proj.bias", layer "layer_norm2.weight", layer "layer_norm2.bias", layer "mlp.fc1.weight", \
        layer "mlp.fc1.bias", layer "mlp.fc2.weight", layer "mlp.fc2.bias"

/* Names that begin with `from` in a map begin with `to` in the file. */
typedef struct mm1_import_naming {
    const char *from, *to;
} mm1_import_naming;

/* A part of a model whose names have a prefix of their own. */
typedef struct mm1_import_part {
    const mm1_import_map *maps; /* ended by a row without `ours` */
    /* The first that finds what the first map names holds for all names of the part; {0}: as in the maps. */
    mm1_import_naming namings[MM1_IMPORT_MAX_NAMINGS];
    int naming; /* found; set by mm1_import_check() */
} mm1_import_part;

typedef struct mm1_architecture mm1_architecture;

/* At which token a text tower is read.  Here it is the one that ends documents, which stands last. */
typedef enum mm1_text_end {
    MM1_TEXT_END_ANY,     /* that one, whatever it is */
    MM1_TEXT_END_HIGHEST, /* that of the highest id in the text, as older files of CLIP mean it */
    MM1_TEXT_END_ID       /* that of text_end_id */
} mm1_text_end;

/* A model that was read so far as its configuration goes. */
typedef struct mm1_import {
    const mm1_architecture *architecture;
    mm1_model_config config;
    const char *const *idle; /* instead of the architecture's; NULL: those */
    mm1_text_end text_end;
    int64_t text_end_id;
    bool resizes; /* positions of another grid of patches are interpolated (position_grid.h), not refused */
    int n_parts;  /* 0: names and shapes are ours */
    mm1_import_part parts[MM1_IMPORT_MAX_PARTS];
} mm1_import;

struct mm1_architecture {
    const char *model_type; /* in config.json */
    /* Fills config (which has its defaults) and parts from the keys of `map`, and refuses what is left of them.  dir is
     * the folder, for other files. */
    mm1_status (*read)(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err);
    /* The way back, for export.h: the keys of `map` (model_type, ids and types of tokens and tensors left out) and the
     * parts of i, from i->config.  MM1_E_UNSUPPORTED naming what this architecture does not have.  NULL: is not
     * written. */
    mm1_status (*write)(mm1_import *i, json_t *map, mm1_error *err);
    const char *class_name; /* of transformers, for "architectures", where write() does not say another */
    /* Of what takes pictures: the class of its image processor without "ImageProcessor"; of a whole model also the
     * class of its processor and the key under which its configuration has the id of "<image>".  NULLs else. */
    const char *image_class, *processor_class, *image_token_key;
    /* Tensors that may be in a file and say nothing, as patterns with "*"; ended by NULL, or NULL. */
    const char *const *idle;
};

/* The rows. */
extern const mm1_architecture mm1__architecture_mm1, mm1__architecture_llama, mm1__architecture_mistral,
    mm1__architecture_qwen2, mm1__architecture_qwen3, mm1__architecture_mixtral, mm1__architecture_olmoe,
    mm1__architecture_gpt2, mm1__architecture_clip_vision, mm1__architecture_siglip_vision, mm1__architecture_dinov2,
    mm1__architecture_clip, mm1__architecture_siglip, mm1__architecture_llava, mm1__architecture_llava_next,
    mm1__architecture_idefics3, mm1__architecture_smolvlm;

/* Row i, in the order in which they are tried; NULL after the last. */
const mm1_architecture *mm1_import_architecture(int i);
/* "mm1, llama, ..." of all rows. */
void mm1_import_list(char *text, size_t cap);

/* <dir>/config.json and what it needs beside it; the configuration is resolved. */
MM1_NODISCARD mm1_status mm1_import_read(mm1_import *out, const char *dir, mm1_error *err);
/* The tokenizer is one that a text tower of this kind can be used with; MM1_E_FORMAT. */
MM1_NODISCARD mm1_status mm1_import_check_tokenizer(const mm1_import *i, const mm1_tokenizer *t, const char *name,
                                                    mm1_error *err);
/* Every parameter has its tensors and no tensor is left; p needs no memory yet.  Marks what is used in w. */
MM1_NODISCARD mm1_status mm1_import_check(mm1_import *i, const mm1_params *p, const mm1_weights *w, mm1_error *err);
/* The values, after mm1_import_check() and mm1_params_alloc(). */
MM1_NODISCARD mm1_status mm1_import_weights(const mm1_import *i, const mm1_params *p, const mm1_weights *w,
                                            mm1_error *err);
/* One of them alone, which the model need not have had among those that were checked. */
MM1_NODISCARD mm1_status mm1_import_parameter(const mm1_import *i, const mm1_param *p, const mm1_weights *w,
                                              mm1_error *err);
/* Calls fn for each tensor that a parameter is made of, in the order of its rows; after mm1_import_check(). */
typedef mm1_status mm1_import_visit(void *ctx, const mm1_weight *from, mm1_error *err);
MM1_NODISCARD mm1_status mm1_import_sources(const mm1_import *i, const mm1_param *p, const mm1_weights *w,
                                            mm1_import_visit *fn, void *ctx, mm1_error *err);

/* ---- pieces ---- */

/* Rows [row, row + rows) of each of `outer` matrices [all, cols] of a parameter, and the tensor that holds them. */
typedef struct mm1_import_piece {
    char name[MM1_IMPORT_NAME_BYTES];
    mm1_layout layout;
    int64_t first; /* element of the parameter where the first matrix begins */
    int64_t outer, all, cols, row, rows;
    int n_dims; /* of the tensor */
    int64_t shape[MM1_MAX_DIMS];
} mm1_import_piece;

/* Calls fn for each piece of a parameter, in the order of its rows. */
typedef mm1_status mm1_import_piece_fn(void *ctx, const mm1_param *p, const mm1_import_piece *x, mm1_error *err);
MM1_NODISCARD mm1_status mm1_import_pieces(const mm1_import *i, const mm1_param *p, mm1_import_piece_fn *fn, void *ctx,
                                           mm1_error *err);

/* The tensor lies in the parameter as it does in the file, from mm1_import_piece_data() on. */
static inline bool mm1_import_piece_is_whole(const mm1_import_piece *x)
{
    return x->layout != MM1_LAYOUT_COLUMNS && (x->outer == 1 || x->rows == x->all);
}

static inline float *mm1_import_piece_data(const mm1_import_piece *x, const mm1_param *p)
{
    return p->tensor.data + x->first + x->row * x->cols;
}

/* From the elements of the tensor into the parameter, or out of it. */
void mm1_import_piece_copy(const mm1_import_piece *x, const mm1_param *p, float *values, bool in);

/* ---- for readers and writers of configurations ---- */

/* Takes away what every config.json may hold and no model computes with (names, versions, ids of tokens, what training
 * and generation would do), and every key that is null. */
void mm1__import_drop_idle(mm1_yaml_node *map);
/* Takes away keys that say nothing here; ended by NULL. */
void mm1__import_take_all(mm1_yaml_node *map, const char *const *keys);
/* A field table over what is left; a key that is not in it is refused by name. */
MM1_NODISCARD mm1_status mm1__import_fields(const mm1_field *table, void *object, mm1_yaml_node *map, mm1_error *err);
/* "path:line: key: " and the rest as MM1_E_UNSUPPORTED. */
mm1_status mm1__import_refuse(const mm1_yaml_node *map, mm1_error *err, const char *format, ...) MM1_PRINTF(3, 4);
/* Our activation of this name; and the name that transformers gives to ours, NULL if it has none. */
MM1_NODISCARD mm1_status mm1__import_act(const mm1_yaml_node *map, const char *key, const char *name, int *act,
                                         mm1_error *err);
const char *mm1__import_act_name(int act);

/* What an architecture asks of a configuration that it is to hold. */
typedef struct mm1_import_rule {
    bool holds;
    const char *key; /* "model.decoder.norm" */
} mm1_import_rule;
/* MM1_E_UNSUPPORTED with the key of the first of n that does not hold. */
MM1_NODISCARD mm1_status mm1__import_rules(const mm1_import_rule *rules, size_t n, mm1_error *err);
/* The vision tower of CLIP or SigLIP out of its part of a configuration, idle keys dropped; c has its defaults.  Its
 * names begin with "vision_model." where part->namings say nothing else. */
MM1_NODISCARD mm1_status mm1__import_clip_vision(mm1_vision_config *c, mm1_import_part *part, mm1_yaml_node *map,
                                                 bool projected, mm1_error *err);
MM1_NODISCARD mm1_status mm1__import_siglip_vision(mm1_vision_config *c, mm1_import_part *part, mm1_yaml_node *map,
                                                   mm1_error *err);
/* The same tower as Idefics3 and SmolVLM have it: without a head, and with other defaults. */
MM1_NODISCARD mm1_status mm1__import_idefics3_vision(mm1_vision_config *c, mm1_import_part *part, mm1_yaml_node *map,
                                                     mm1_error *err);
/* Takes a part of a whole model's configuration, and the "<key>_dict" of old files, which must say the same; of a part
 * that is not wanted nothing is asked. */
MM1_NODISCARD mm1_status mm1__import_take_part(mm1_yaml_node *map, const char *key, bool is_wanted,
                                               mm1_yaml_node **part, mm1_error *err);
/* The vision part of a whole CLIP or SigLIP, with what is idle beside it. */
MM1_NODISCARD mm1_status mm1__import_take_vision(mm1_yaml_node *map, mm1_yaml_node **vision, mm1_error *err);
/* Beside that tower in its file. */
extern const char *const mm1__import_whole_idle[];
/* The picture part of an encoder's folder, which out is from now on.  any_size: the model takes the processor's size,
 * whatever its own is. */
MM1_NODISCARD mm1_status mm1__import_encoder_pictures(mm1_import *out, const mm1_yaml_node *map, const char *dir,
                                                      bool any_size, mm1_error *err);
/* The decoder out of its part of a configuration, whose model_type may be that of any row that is a decoder alone:
 * out->config.decoder and *part. */
MM1_NODISCARD mm1_status mm1__import_decoder(mm1_import *out, mm1_import_part *part, mm1_yaml_node *map,
                                             const char *dir, mm1_error *err);
/* The ways back: keys into map, and *part.  The tower is CLIP's if it has a class token, else SigLIP's; its model_type
 * and pooled output are for the caller to say.  The decoder is of the first row that holds it, whose type is in map. */
MM1_NODISCARD mm1_status mm1__import_write_tower(const mm1_vision_config *c, mm1_import_part *part, json_t *map,
                                                 mm1_error *err);
MM1_NODISCARD mm1_status mm1__import_write_decoder(const mm1_import *i, mm1_import_part *part, json_t *map,
                                                   mm1_error *err);
/* Adds the keys of `from`, which is owned, to map; MM1_E_NOMEM also if from is NULL. */
MM1_NODISCARD mm1_status mm1__import_add_keys(json_t *map, json_t *from, mm1_error *err);
/* preprocessor_config.json of a row for pictures of c->vision.image_size px.  MM1_E_UNSUPPORTED. */
MM1_NODISCARD mm1_status mm1__import_write_processor(const mm1_model_config *c, const char *image_class, json_t *map,
                                                     mm1_error *err);
/* How pictures become pixels of *image_px x *image_px: <dir>/preprocessor_config.json of the image processors of CLIP,
 * SigLIP, BiT (DINOv2), ViT, LLaVA, LLaVA-NeXT, Idefics3 and SmolVLM, or the same in processor_config.json.  What
 * Pillow's resampling gives is what counts: the processors that are built on torchvision give slightly other pixels. */
MM1_NODISCARD mm1_status mm1__import_processor(mm1_image_config *out, int64_t *image_px, const char *dir,
                                               mm1_error *err);

#endif

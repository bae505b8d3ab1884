/* recipe.c - see recipe.h. */
#include "train/recipe.h"

#include "base/log.h"
#include "model/import_gguf.h"
#include "model/roles.h"
#include <math.h>

static const char *const activations_names[] = {"keep", "bf16", "recompute", NULL};
static const char *const objective_names[] = {"text", "contrastive", "aim", NULL};
static const char *const optimizer_names[] = {"adamw", "adafactor", NULL};
static const char *const moments_names[] = {"f32", "bf16", NULL};

#define F(member, TYPE, ...) MM1_FIELD(mm1_train_config, member, TYPE, __VA_ARGS__)
static const mm1_field train_fields[] = {
    F(objective, ENUM, .def.i = MM1_OBJECTIVE_TEXT, .names = objective_names,
      .help = "what is learned; text: the next token; contrastive: which picture belongs to which caption (model.kind "
              "clip); aim: the next patch of a picture (model.kind aim)"),
    F(n_steps, I64, .def.i = 1000, .min.i = 1, .max.i = INT64_MAX / 2, .help = "optimiser steps"),
    F(max_minutes, F64, .def.f = 0, .min.f = 0, .max.f = 1e7, .unit = "min",
      .help = "if not 0, n_steps is lowered once, from the speed of the first steps, to what fits; "
              "recipe.resolved.yaml then "
              "holds the number, and repeats the run exactly"),
    F(seed, I64, .def.i = 0, .min.i = 0, .max.i = INT64_MAX, .help = "of initialisation and of the order of the data"),
    F(threads, I64, .def.i = 0, .min.i = 0, .max.i = 1024,
      .help = "compute threads; 0: MM1_THREADS, OMP_NUM_THREADS or all CPUs"),
    F(micro_batch, I64, .def.i = 1, .min.i = 1, .max.i = 1 << 20, .unit = "rows",
      .help = "rows of one forward and backward pass; changes memory and speed, not what is learned"),
    F(activations, ENUM, .def.i = MM1_ACTIVATIONS_KEEP, .names = activations_names,
      .help = "what the blocks of encoder and decoder leave for the backward pass; bf16: half the memory, gradients of "
              "rounded values; recompute: next to none, the same bits as keep for one more forward pass of all blocks "
              "but the last"),
    F(optimizer, ENUM, .def.i = MM1_OPTIMIZER_ADAMW, .names = optimizer_names,
      .help = "adamw: two moments for each parameter; adafactor: for a matrix one number a row and one a column"),
    F(moments, ENUM, .def.i = MM1_MOMENTS_F32, .names = moments_names,
      .help = "of AdamW, in memory and in checkpoints; bf16: half the memory, rounded at random"),
    F(lr_peak, F64, .def.f = NAN, .min.f = 0, .max.f = 1, .special = "law", .special_value.f = NAN,
      .help = "after warm-up; law: exp(-0.4214 ln N - 0.5535), N the decoder's parameters without embeddings, "
              "with one expert a sparse layer"),
    F(lr_final, F64, .def.f = 0.1, .min.f = 0, .max.f = 1, .help = "share of the peak left after the cosine"),
    F(lr_warmup_steps, I64, .def.i = 100, .min.i = 0, .max.i = INT64_MAX / 2, .help = "linear rise from 0"),
    F(lr_vision, F64, .def.f = 1, .min.f = 0, .max.f = 1000, .help = "factor for the encoder; 0 freezes it"),
    F(lr_connector, F64, .def.f = 1, .min.f = 0, .max.f = 1000, .help = "factor for the connector; 0 freezes it"),
    F(lr_decoder, F64, .def.f = 1, .min.f = 0, .max.f = 1000, .help = "factor for the decoder; 0 freezes it"),
    F(lr_head, F64, .def.f = 1, .min.f = 0, .max.f = 1000,
      .help = "factor for what an encoder is trained with: text tower and joint space, or the head for patches; 0 "
              "freezes it"),
    F(weight_decay, F64, .def.f = 0.1, .min.f = 0, .max.f = 10,
      .help = "decoupled, times the learning rate; matrices only, not norms, biases or positions"),
    F(beta1, F64, .def.f = 0.9, .min.f = 0, .max.f = 0.9999999, .help = "of AdamW"),
    F(beta2, F64, .def.f = 0.95, .min.f = 0, .max.f = 0.9999999, .help = "of AdamW"),
    F(eps, F64, .def.f = 1e-8, .min.f = 0, .max.f = 1, .help = "of AdamW"),
    F(scale_parameter, BOOL,
      .help = "adafactor: steps are relative to the parameter, the rate times its root mean square (at least 1e-3)"),
    F(clip_norm, F64, .def.f = 1, .min.f = 0, .max.f = 1e9, .help = "bound on the norm of all gradients; 0: none"),
    F(z_loss, F64, .def.f = 0, .min.f = 0, .max.f = 1, .help = "coefficient of (log sum exp of the logits)^2"),
    F(patch_keep, F64, .def.f = 1, .min.f = 0.01, .max.f = 1,
      .help =
          "contrastive: share of a picture's patches, drawn anew each time, that the encoder reads in training; the "
          "cost goes down with it"),
    F(view_temperature, F64, .def.f = 0.2, .min.f = 0.01, .max.f = 10,
      .help = "contrastive: what cosines between two views of a picture are divided by"),
    F(checkpoint_every, I64, .def.i = 200, .min.i = 1, .max.i = INT64_MAX / 2, .unit = "steps"),
    F(keep_last, I64, .def.i = 2, .min.i = 1, .max.i = 1000000, .help = "checkpoints kept"),
    F(log_every, I64, .def.i = 10, .min.i = 1, .max.i = 1000000, .unit = "steps",
      .help = "progress lines where standard error is no terminal"),
    {0},
};
#undef F

static const mm1_field init_fields[] = {
    MM1_FIELD(mm1_init_config, model, STR,
              .help =
                  "model that training begins with, of any kind that can be read: its values, and, where the recipe "
                  "says nothing else, its `model` and its tokenizer"),
    MM1_FIELD(mm1_init_config, vision, STR,
              .help = "model folder whose encoder training begins with, of any kind that "
                      "has one; read at the first step only"),
    MM1_FIELD(mm1_init_config, connector, STR, .help = "the same of the connector"),
    MM1_FIELD(mm1_init_config, decoder, STR,
              .help = "the same of the decoder, with the tokenizer that it was made for"),
    {0},
};

const mm1_field mm1__recipe_fields[] = {
    MM1_FIELD(mm1_recipe, name, STR, .def.s = "mm1", .help = "shown in reports"),
    MM1_FIELD(mm1_recipe, tokenizer, STR, .help = "path of tokenizer.json; unset: that of init.model"),
    MM1_FIELD_GROUP_OF(mm1_recipe, build, mm1__build_fields),
    MM1_FIELD_GROUP_OF(mm1_recipe, model, mm1__model_fields),
    MM1_FIELD_GROUP_OF(mm1_recipe, init, init_fields),
    MM1_FIELD_GROUP_OF(mm1_recipe, lora, mm1__lora_fields),
    MM1_FIELD_GROUP_OF(mm1_recipe, data, mm1__data_fields),
    MM1_FIELD_GROUP_OF(mm1_recipe, train, train_fields),
    {0},
};

static mm1_status read_over(mm1_recipe *r, const char *path, const char *const *assignments, size_t n, mm1_error *err)
{
    mm1_status st = mm1_fields_load_yaml(mm1__recipe_fields, r, path, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = mm1_fields_set(mm1__recipe_fields, r, assignments[i], err);
    }
    return st;
}

/* What the folder says under what the recipe says. */
static mm1_status begin_with_model(mm1_recipe *r, const char *folder, mm1_error *err)
{
    mm1_error unknown = {0};
    mm1_status st = mm1_model_config_read(&r->model, folder, err);
    if (st == MM1_OK && mm1_chat_template_in(folder, &r->data.chat, &unknown) == MM1_E_UNSUPPORTED) {
        /* It matters to conversations alone, and they may name another. */
        r->data.chat = MM1_CHAT_AUTO;
        mm1_log(MM1_LOG_WARN, "init.model: %s", unknown.message);
    }
    return st != MM1_OK ? mm1_error_wrap(err, st, "init.model") : st;
}

mm1_status mm1_recipe_load(mm1_recipe *r, const char *path, const char *const *assignments, size_t n, mm1_error *err)
{
    mm1_status st = mm1_fields_defaults(mm1__recipe_fields, r, err);
    if (st != MM1_OK) {
        return st;
    }
    st = read_over(r, path, assignments, n, err);
    if (st == MM1_OK && r->init.model != NULL) {
        /* A second time, over the folder's values. */
        const mm1_recipe first = *r;
        st = mm1_fields_defaults(mm1__recipe_fields, r, err);
        st = st != MM1_OK ? st : begin_with_model(r, first.init.model, err);
        const mm1_chat_template chat = r->data.chat;
        st = st != MM1_OK ? st : read_over(r, path, assignments, n, err);
        r->data.chat = r->data.chat == MM1_CHAT_AUTO ? chat : r->data.chat;
        mm1_recipe old = first;
        mm1_recipe_deinit(&old);
    }
    st = st != MM1_OK ? st : mm1_fields_check(mm1__recipe_fields, r, err);
    if (st != MM1_OK) {
        mm1_recipe_deinit(r);
    }
    return st;
}

bool mm1_recipe_has_conversations(const mm1_recipe *r)
{
    bool has = false;
    for (size_t i = 0; i < r->data.n_sources; i++) {
        has = has || (r->data.sources[i].kind == MM1_DATA_CONVERSATIONS && r->data.sources[i].weight > 0);
    }
    return has;
}

mm1_status mm1_recipe_tokenizer(const mm1_recipe *r, mm1_tokenizer **out, mm1_error *err)
{
    mm1_import import;
    mm1_weights weights;
    *out = NULL;
    if (r->tokenizer != NULL) {
        return mm1_roles_load(r->tokenizer, out, err);
    }
    if (r->init.model == NULL) {
        return mm1_error_set(err, MM1_E_CONFIG, "tokenizer: not set; train one with `mm1 tokenizer train`");
    }
    mm1_status st = mm1_import_open(&import, &weights, r->init.model, err);
    if (st == MM1_OK) {
        st = mm1_import_tokenizer(&weights, r->init.model, out, err);
        mm1_weights_close(&weights);
    }
    return st;
}

void mm1_recipe_deinit(mm1_recipe *r)
{
    mm1_fields_deinit(mm1__recipe_fields, r);
}

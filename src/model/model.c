/* model.c - see model.h. */
#include "model/model.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "model/import_gguf.h"
#include "model/lora.h"
#include "model/roles.h"
#include <math.h>
#include <string.h>

mm1_status mm1_model_init(mm1_model *m, const mm1_model_config *config, mm1_error *err)
{
    *m = (mm1_model){.config = *config};
    mm1_model_config *c = &m->config;
    mm1_status st = mm1_model_config_resolve(c, err);
    if (st == MM1_OK && mm1_model_config_has_vision(c)) {
        st = mm1_vit_init(&m->vit, &c->vision, &m->params, err);
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_MM1) {
        st = mm1_connector_init(&m->connector, &c->connector, mm1_vision_grid(&c->vision), c->vision.width,
                                c->vision.n_heads, c->decoder.width, &m->params, err);
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_MM1 && c->image.mode == MM1_IMAGE_ANYRES) {
        const int64_t C = c->decoder.width;
        m->newline = mm1_params_add(&m->params, MM1_GROUP_CONNECTOR, MM1_INIT_NORMAL, 1 / sqrt((double)C), false, 1, &C,
                                    "connector.newline");
    }
    if (st == MM1_OK && mm1_model_config_has_decoder(c)) {
        st = mm1_decoder_init(&m->decoder, &c->decoder, &m->params, err);
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_CLIP) {
        st = mm1_text_tower_init(&m->text, &c->text, &m->params, err);
        st = st != MM1_OK ? st : mm1_joint_init(&m->joint, &c->joint, c->vision.width, c->text.width, &m->params, err);
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_AIM) {
        mm1_pixel_head_init(&m->pixel_head, &c->pixel_head, &c->vision, &m->params);
    }
    st = st != MM1_OK ? st : mm1_model_config_images(c, NULL, &m->images, err);
    if (st == MM1_OK && m->params.failed) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the table of parameters");
    }
    if (st != MM1_OK) {
        mm1_model_deinit(m);
    }
    return st;
}

mm1_status mm1_model_set_tokenizer(mm1_model *m, mm1_tokenizer *t, mm1_error *err)
{
    mm1_tokenizer_destroy(m->tokenizer);
    m->tokenizer = t;
    return mm1_model_config_images(&m->config, t, &m->images, err);
}

void mm1_model_deinit(mm1_model *m)
{
    mm1_vit_deinit(&m->vit);
    mm1_connector_deinit(&m->connector);
    mm1_decoder_deinit(&m->decoder);
    mm1_text_tower_deinit(&m->text);
    mm1_joint_deinit(&m->joint);
    mm1_params_deinit(&m->params);
    mm1_free(m->lora.items);
    mm1_tokenizer_destroy(m->tokenizer);
    *m = (mm1_model){0};
}

/* Shapes first: memory is taken only for weights that are there. */
static mm1_status load_weights(mm1_model *m, mm1_import *i, const mm1_weights *w, bool alloc, bool with_grad,
                               mm1_error *err)
{
    mm1_params own = m->params; /* adapters are not among them */
    own.n_items = m->lora.rank > 0 ? m->lora.n_own : own.n_items;
    mm1_status st = mm1_import_check(i, &own, w, err);
    st = st != MM1_OK || !alloc ? st : mm1_params_alloc(&m->params, with_grad, err);
    return st != MM1_OK ? st : mm1_import_weights(i, &own, w, err);
}

mm1_status mm1_model_load_weights(mm1_model *m, const char *path, mm1_error *err)
{
    mm1_weights w;
    mm1_import ours = {.architecture = &mm1__architecture_mm1, .config = m->config};
    mm1_status st = mm1_weights_open_file(&w, path, err);
    if (st == MM1_OK) {
        st = load_weights(m, &ours, &w, false, false, err);
        mm1_weights_close(&w);
    }
    return st;
}

/* The configuration at another resolution if image_size is not 0. */
static mm1_status set_image_size(mm1_model_config *c, const char *path, int64_t image_size, mm1_error *err)
{
    if (image_size != 0 && !mm1_model_config_has_vision(c)) {
        return mm1_error_set(err, MM1_E_CONFIG, "%s: takes no pictures, so that it has no image size", path);
    }
    c->vision.image_size = image_size != 0 ? image_size : c->vision.image_size;
    return MM1_OK;
}

/* One that is not known is said by who wants to use it. */
static mm1_status find_chat(mm1_model *m, const char *path, mm1_error *err)
{
    mm1_error unknown = {0};
    const mm1_status st = mm1_chat_template_in(path, &m->chat, &unknown);
    if (st == MM1_OK || st == MM1_E_UNSUPPORTED) {
        return MM1_OK;
    }
    return mm1_error_set(err, st, "%s", unknown.message);
}

mm1_status mm1_model_load_values(mm1_model *m, const char *path, mm1_error *err)
{
    mm1_import import;
    mm1_weights weights = {0};
    const bool sees = mm1_model_config_has_vision(&m->config);
    if (mm1_lora_is_folder(path)) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: adapters; make a model of them first: `mm1 merge-lora`",
                             path);
    }
    mm1_status st = mm1_import_open(&import, &weights, path, err);
    if (st == MM1_OK) {
        import.resizes = true;
        st = set_image_size(&import.config, path, sees ? m->config.vision.image_size : 0, err);
        st = st != MM1_OK ? st : load_weights(m, &import, &weights, false, false, err);
        mm1_weights_close(&weights);
    }
    return st;
}

static mm1_status check_vocabulary(const mm1_model *m, const char *path, mm1_error *err)
{
    const int64_t n_rows =
        mm1_model_config_has_decoder(&m->config) ? m->config.decoder.vocab_size : m->config.text.vocab_size;
    return mm1_tokenizer_vocab_size(m->tokenizer) <= n_rows
               ? MM1_OK
               : mm1_error_set(err, MM1_E_FORMAT, "%s: its tokenizer has ids up to %d, but the embedding has %lld rows",
                               path, mm1_tokenizer_vocab_size(m->tokenizer) - 1, (long long)n_rows);
}

/* The tokenizer of a folder or GGUF file, and how messages are put. */
static mm1_status load_language(mm1_model *m, const char *path, mm1_error *err)
{
    mm1_import import;
    mm1_weights weights = {0};
    mm1_tokenizer *t = NULL;
    mm1_status st = MM1_OK;
    char *file = mm1_path_join(path, "tokenizer.json");
    if (file != NULL && mm1_path_exists(file)) {
        st = mm1_roles_load(file, &t, err);
    } else {
        st = mm1_import_open(&import, &weights, path, err);
        st = st != MM1_OK ? st : mm1_import_tokenizer(&weights, path, &t, err);
        mm1_weights_close(&weights);
    }
    mm1_free(file);
    st = st != MM1_OK ? st : mm1_model_set_tokenizer(m, t, err);
    st = st != MM1_OK ? st : find_chat(m, path, err);
    return st != MM1_OK ? st : check_vocabulary(m, path, err);
}

static bool holds(const char *dir, const char *name)
{
    char *path = mm1_path_join(dir, name);
    const bool is_there = path != NULL && mm1_path_exists(path);
    mm1_free(path);
    return is_there;
}

/* The base of a folder of adapters, with these merged into it.  What the folder does not say is the base's. */
static mm1_status load_adapters(mm1_model *m, const char *path, int64_t image_size, mm1_error *err)
{
    mm1_lora_folder f;
    mm1_model_config config;
    mm1_status st = mm1_lora_open(&f, path, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_kernels_init(NULL, err); /* merging is a product */
    st = st != MM1_OK ? st : mm1_model_config_read(&config, holds(path, "config.json") ? path : f.base, err);
    st = st != MM1_OK ? st : set_image_size(&config, path, image_size, err);
    st = st != MM1_OK ? st : mm1_model_init(m, &config, err);
    st = st != MM1_OK ? st : mm1_lora_add(m, &f.config, err);
    st = st != MM1_OK ? st : mm1_params_alloc(&m->params, false, err);
    st = st != MM1_OK ? st : mm1_model_load_values(m, f.base, err);
    st = st != MM1_OK ? st : mm1_lora_load(m, path, err);
    if (st == MM1_OK) {
        mm1_lora_merge(m);
        st = mm1_model_config_has_tokenizer(&m->config)
                 ? load_language(m, holds(path, "tokenizer.json") ? path : f.base, err)
                 : MM1_OK;
    }
    mm1_lora_folder_deinit(&f);
    if (st != MM1_OK) {
        mm1_model_deinit(m);
        st = mm1_error_wrap(err, st, "%s", path);
    }
    return st;
}

mm1_status mm1_model_load(mm1_model *m, const char *path, bool with_grad, mm1_error *err)
{
    return mm1_model_load_at(m, path, 0, with_grad, err);
}

mm1_status mm1_model_load_at(mm1_model *m, const char *path, int64_t image_size, bool with_grad, mm1_error *err)
{
    mm1_import import;
    mm1_weights weights = {0};
    *m = (mm1_model){0};
    if (mm1_lora_is_folder(path)) {
        return load_adapters(m, path, image_size, err);
    }
    mm1_status st = mm1_import_open(&import, &weights, path, err);
    import.resizes = true;
    st = st != MM1_OK ? st : set_image_size(&import.config, path, image_size, err);
    st = st != MM1_OK ? st : mm1_model_init(m, &import.config, err);
    st = st != MM1_OK ? st : load_weights(m, &import, &weights, true, with_grad, err);
    m->model_type = st == MM1_OK ? import.architecture->model_type : NULL;
    if (st != MM1_OK || !mm1_model_config_has_tokenizer(&m->config)) {
        goto out;
    }
    mm1_tokenizer *t = NULL;
    st = mm1_import_tokenizer(&weights, path, &t, err);
    if (st == MM1_OK) {
        st = mm1_model_set_tokenizer(m, t, err);
        st = st == MM1_OK ? st : mm1_error_wrap(err, st, "%s", path);
        st = st != MM1_OK ? st : mm1_import_check_tokenizer(&import, t, path, err);
    }
    if (st == MM1_OK) {
        st = find_chat(m, path, err);
    }
    st = st != MM1_OK ? st : check_vocabulary(m, path, err);
out:
    mm1_weights_close(&weights);
    if (st != MM1_OK) {
        mm1_model_deinit(m);
    }
    return st;
}

mm1_status mm1_model_set_image_mode(mm1_model *m, mm1_image_mode mode, mm1_error *err)
{
    mm1_model_config config = m->config;
    const mm1_image_mode own = (mm1_image_mode)config.image.mode;
    if (!mm1_model_config_has_vision(&config)) {
        return mm1_error_set(err, MM1_E_STATE, "the model takes no pictures, so it has no way to read them");
    }
    if (mode > MM1_IMAGE_SUBIMAGES || own > MM1_IMAGE_SUBIMAGES) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "only models that read pictures plainly or as subimages can be switched");
    }
    config.image.mode = (int)mode;
    mm1_status st = mm1_model_config_resolve(&config, err);
    st = st != MM1_OK ? st : mm1_model_config_images(&config, m->tokenizer, &m->images, err);
    if (st == MM1_OK) {
        m->config.image.mode = (int)mode;
    }
    return st;
}

static mm1_status save_weights(const mm1_model *m, const char *path, mm1_dtype dtype, mm1_error *err)
{
    const int64_t n = m->params.n_items;
    mm1_safetensors_entry *entries = mm1_calloc((size_t)n, sizeof *entries);
    if (entries == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its header", path);
    }
    for (int64_t i = 0; i < n; i++) {
        const mm1_param *p = m->params.items[i];
        entries[i] = (mm1_safetensors_entry){
            .name = p->name, .dtype = dtype, .n_dims = p->tensor.rank, .data = p->tensor.data, .is_f32 = true};
        memcpy(entries[i].shape, p->tensor.dims, (size_t)p->tensor.rank * sizeof *p->tensor.dims);
    }
    const mm1_safetensors_pair format = {"format", "mm1"};
    const mm1_status st = mm1_safetensors_write(path, entries, (size_t)n, &format, 1, err);
    mm1_free(entries);
    return st;
}

static mm1_status save_roles(const mm1_token_roles *roles, mm1_chat_template chat, const char *path, mm1_error *err)
{
    mm1_buf text;
    mm1_buf_init(&text, 4096);
    mm1_buf_puts(&text, "{\n");
    if (roles->bos >= 0) {
        mm1_buf_printf(&text, "  \"bos_token_id\": %d,\n", roles->bos);
    }
    mm1_buf_puts(&text, roles->n_eos == 1 ? "  \"eos_token_id\": " : "  \"eos_token_id\": [");
    for (int32_t i = 0; i < roles->n_eos; i++) {
        mm1_buf_printf(&text, "%s%d", i > 0 ? ", " : "", roles->eos[i]);
    }
    mm1_buf_puts(&text, roles->n_eos == 1 ? "" : "]");
    if (roles->pad >= 0) {
        mm1_buf_printf(&text, ",\n  \"pad_token_id\": %d", roles->pad);
    }
    if (chat != MM1_CHAT_AUTO) {
        mm1_buf_printf(&text, ",\n  \"chat_template\": \"%s\"", mm1_chat_template_names[chat]);
    }
    mm1_buf_puts(&text, "\n}\n");
    const mm1_status st = mm1_buf_status(&text) == MM1_OK ? mm1_file_write_atomic(path, text.data, text.len, err)
                                                          : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
    mm1_buf_deinit(&text);
    return st;
}

mm1_status mm1_model_save_tokenizer(const mm1_model *m, const char *dir, mm1_error *err)
{
    char *tokenizer = mm1_path_join(dir, "tokenizer.json"), *generation = mm1_path_join(dir, "generation_config.json");
    mm1_status st = MM1_OK;
    if (tokenizer == NULL || generation == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
    } else if (m->tokenizer != NULL) {
        st = mm1_tokenizer_save(m->tokenizer, tokenizer, err);
    }
    if (st == MM1_OK && m->tokenizer != NULL && mm1_model_config_has_decoder(&m->config)) {
        st = save_roles(mm1_tokenizer_roles(m->tokenizer), m->chat, generation, err);
    }
    mm1_free(generation);
    mm1_free(tokenizer);
    return st;
}

mm1_status mm1_model_save(const mm1_model *m, const char *dir, mm1_dtype dtype, mm1_error *err)
{
    char *weights = mm1_path_join(dir, "model.safetensors");
    mm1_status st = weights == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir)
                                    : mm1_model_config_write(&m->config, dir, err);
    st = st != MM1_OK ? st : save_weights(m, weights, dtype, err);
    st = st != MM1_OK ? st : mm1_model_save_tokenizer(m, dir, err);
    mm1_free(weights);
    return st;
}

mm1_status mm1_model_take_encoder(mm1_model *out, const mm1_model *from, mm1_error *err)
{
    mm1_model_config c = from->config;
    *out = (mm1_model){0};
    if (!mm1_model_config_has_vision(&c)) {
        return mm1_error_set(err, MM1_E_STATE, "this kind of model has no encoder");
    }
    c.kind = MM1_MODEL_ENCODER;
    mm1_status st = mm1_model_init(out, &c, err);
    st = st != MM1_OK ? st : mm1_params_alloc(&out->params, false, err);
    for (int64_t i = 0; st == MM1_OK && i < out->params.n_items; i++) {
        mm1_param *to = out->params.items[i];
        const mm1_param *has = mm1_params_find(&from->params, to->name);
        memcpy(to->tensor.data, has->tensor.data, (size_t)to->n * sizeof *to->tensor.data);
    }
    if (st != MM1_OK) {
        mm1_model_deinit(out);
    }
    return st;
}

mm1_tensor *mm1_model_visual(const mm1_model *m, mm1_tape *t, const float *pixels, int64_t I)
{
    return mm1_connector_forward(&m->connector, t, mm1_vit_forward(&m->vit, t, pixels, I), I);
}

void mm1_model_visual_begin(const mm1_model *m, float *visual)
{
    if (m->newline != NULL) {
        memcpy(visual, m->newline->data, (size_t)m->config.decoder.width * sizeof *visual);
    }
}

mm1_tensor *mm1_model_hidden_rows(const mm1_model *m, mm1_tape *t, const mm1_batch *b, int64_t row, int64_t n,
                                  int64_t tile, int64_t n_tiles)
{
    const int64_t R = b->image_px, N = n * b->T, before = mm1_batch_visual_row(&m->images, 0);
    mm1_decoder_input in = {.B = n,
                            .T = b->T,
                            .token = b->token + row * b->T,
                            .position = b->position + row * b->T,
                            .lo = b->lo + row * b->T,
                            .hi = b->hi + row * b->T};
    if (n_tiles > 0) {
        /* Tiles are numbered over the batch; here they count from the first one of these rows. */
        const int64_t skipped = mm1_batch_visual_row(&m->images, tile) - before;
        int32_t *local = (int32_t *)(void *)mm1__tape_floats(t, N);
        in.visual = mm1_model_visual(m, t, b->pixels + tile * 3 * R * R, n_tiles);
        if (m->newline != NULL) {
            in.visual = mm1_op_join(t, m->newline, in.visual);
        }
        if (local == NULL || in.visual == NULL) {
            return NULL;
        }
        for (int64_t i = 0; i < N && !t->dry; i++) {
            const int32_t at = b->visual[row * b->T + i];
            local[i] = at < before ? at : (int32_t)(at - skipped);
        }
        in.visual_row = local;
    }
    return mm1_decoder_forward(&m->decoder, t, &in, NULL);
}

mm1_tensor *mm1_model_hidden(const mm1_model *m, mm1_tape *t, const mm1_batch *b)
{
    return mm1_model_hidden_rows(m, t, b, 0, b->B, 0, b->I);
}

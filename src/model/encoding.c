/* encoding.c - see encoding.h. */
#include "model/encoding.h"

#include "base/alloc.h"
#include <string.h>

const char *mm1_encoding_name(mm1_encoding_part part)
{
    static const char *const names[MM1_ENCODING_COUNT] = {"pixels", "features", "pooled", "embedding", "tokens"};
    return (unsigned)part < MM1_ENCODING_COUNT ? names[part] : "?";
}

/* The parts behind the pixels, on the tape; NULL where there are none. */
static mm1_status forward(const mm1_model *m, mm1_tape *t, const float *pixels, int64_t I,
                          mm1_tensor *out[MM1_ENCODING_COUNT], mm1_error *err)
{
    out[MM1_ENCODING_FEATURES] = mm1_vit_forward_pooled(&m->vit, t, pixels, I, &out[MM1_ENCODING_POOLED]);
    if (m->config.kind == MM1_MODEL_CLIP) {
        out[MM1_ENCODING_EMBEDDING] = mm1_joint_image(&m->joint, t, out[MM1_ENCODING_POOLED]);
    }
    if (m->config.kind == MM1_MODEL_MM1) {
        out[MM1_ENCODING_TOKENS] = mm1_connector_forward(&m->connector, t, out[MM1_ENCODING_FEATURES], I);
    }
    return mm1_tape_status(t, err);
}

static mm1_status plan_arena(const mm1_model *m, int64_t I, size_t *bytes, mm1_error *err)
{
    mm1_arena dry;
    mm1_tape tape;
    mm1_tensor *parts[MM1_ENCODING_COUNT] = {NULL};
    mm1_status st = mm1_arena_init_dry(&dry, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_tape_init(&tape, &dry, err);
    if (st == MM1_OK) {
        st = forward(m, &tape, NULL, I, parts, err);
        *bytes = dry.peak;
        mm1_tape_deinit(&tape);
    }
    mm1_arena_deinit(&dry);
    return st;
}

/* Memory of a part: dims are its last ones. */
static mm1_status add_part(mm1_encoding *e, mm1_encoding_part part, int rank, const int64_t *dims, mm1_error *err)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        n *= e->dims[part][i] = dims[i];
    }
    e->rank[part] = rank;
    e->data[part] = mm1_alloc((size_t)n, sizeof(float));
    return e->data[part] != NULL
               ? MM1_OK
               : mm1_error_set(err, MM1_E_NOMEM, "no memory for the %s of a picture", mm1_encoding_name(part));
}

static mm1_status run(const mm1_model *m, mm1_tape *t, int64_t I, mm1_encoding *out, mm1_error *err)
{
    mm1_tensor *parts[MM1_ENCODING_COUNT] = {NULL};
    mm1_status st = forward(m, t, out->data[MM1_ENCODING_PIXELS], I, parts, err);
    for (int i = 0; st == MM1_OK && i < MM1_ENCODING_COUNT; i++) {
        const mm1_tensor *x = parts[i];
        if (x != NULL) {
            /* One vector has no rows. */
            const bool is_vector = i == MM1_ENCODING_POOLED || i == MM1_ENCODING_EMBEDDING;
            st = add_part(out, (mm1_encoding_part)i, is_vector ? 1 : 2, x->dims + (is_vector ? 1 : 0), err);
            if (st == MM1_OK) {
                memcpy(out->data[i], x->data, (size_t)(is_vector ? x->dims[1] : mm1_tensor_size(x)) * sizeof(float));
            }
        }
    }
    return st;
}

mm1_status mm1_encode_image(const mm1_model *m, const void *bytes, size_t len, const char *name, mm1_encoding *out,
                            mm1_error *err)
{
    const int64_t R = m->config.vision.image_size;
    const mm1_image_spec images = m->config.kind == MM1_MODEL_MM1 ? m->images : mm1_image_one_tile(&m->images);
    mm1_image_layout layout = {0};
    mm1_arena arena = {0};
    mm1_tape tape = {0};
    size_t arena_bytes = 0;
    *out = (mm1_encoding){0};
    if (!mm1_model_config_has_vision(&m->config)) {
        return mm1_error_set(err, MM1_E_STATE, "%s: a decoder alone takes no pictures; it needs an encoder", name);
    }
    const bool is_plain = images.mode == MM1_IMAGE_PLAIN;
    mm1_status st = mm1_image_layout_read(&images, bytes, len, name, &layout, err);
    const int64_t I = layout.n_tiles, dims[] = {I, 3, R, R};
    st = st != MM1_OK ? st : add_part(out, MM1_ENCODING_PIXELS, is_plain ? 3 : 4, is_plain ? dims + 1 : dims, err);
    st = st != MM1_OK ? st
                      : mm1_image_to_pixels(&images, &layout, bytes, len, name, out->data[MM1_ENCODING_PIXELS], err);
    st = st != MM1_OK ? st : plan_arena(m, I, &arena_bytes, err);
    st = st != MM1_OK ? st : mm1_arena_init(&arena, arena_bytes, err);
    st = st != MM1_OK ? st : mm1_tape_init(&tape, &arena, err);
    st = st != MM1_OK ? st : run(m, &tape, I, out, err);
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
    if (st != MM1_OK) {
        mm1_encoding_deinit(out);
    }
    return st;
}

mm1_status mm1_encoding_write(const mm1_encoding *e, const char *path, mm1_error *err)
{
    mm1_safetensors_entry entries[MM1_ENCODING_COUNT];
    size_t n = 0;
    for (int i = 0; i < MM1_ENCODING_COUNT; i++) {
        if (e->data[i] != NULL) {
            entries[n] = (mm1_safetensors_entry){.name = mm1_encoding_name((mm1_encoding_part)i),
                                                 .dtype = MM1_DTYPE_F32,
                                                 .n_dims = e->rank[i],
                                                 .data = e->data[i],
                                                 .is_f32 = true};
            memcpy(entries[n++].shape, e->dims[i], (size_t)e->rank[i] * sizeof *e->dims[i]);
        }
    }
    const mm1_safetensors_pair format = {"format", "mm1"};
    return mm1_safetensors_write(path, entries, n, &format, 1, err);
}

void mm1_encoding_deinit(mm1_encoding *e)
{
    for (int i = 0; i < MM1_ENCODING_COUNT; i++) {
        mm1_free(e->data[i]);
    }
    *e = (mm1_encoding){0};
}

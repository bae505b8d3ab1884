/* embedder.c - see embedder.h. */
#include "eval/embedder.h"

#include "base/alloc.h"
#include <string.h>

enum { AT_ONCE = 32 };

struct mm1_embedder {
    const mm1_model *model;
    int64_t cells;
    mm1_texts texts; /* kind clip */
    mm1_arena arena;
    mm1_tape tape;
};

/* Unit vectors of pictures, from what the encoder was trained to give. */
static mm1_tensor *joint_pictures(const mm1_model *m, mm1_tape *t, const float *pixels, int64_t n)
{
    mm1_tensor *x = NULL;
    (void)mm1_vit_forward_pooled(&m->vit, t, pixels, n, &x);
    return mm1_joint_image(&m->joint, t, x);
}

/* [n cells cells, C] */
static mm1_tensor *mean_patches(const mm1_model *m, mm1_tape *t, const float *pixels, int64_t n, int64_t cells)
{
    const int64_t grid = mm1_vision_grid(&m->config.vision);
    return mm1_op_pool(t, mm1_vit_forward(&m->vit, t, pixels, n), n, grid, grid, cells, cells);
}

/* Arena of the largest pass, by a dry run. */
static mm1_status plan(const mm1_model *m, int64_t cells, const mm1_texts *texts, size_t *bytes, mm1_error *err)
{
    mm1_arena dry;
    mm1_tape t;
    mm1_status st = mm1_arena_init_dry(&dry, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_tape_init(&t, &dry, err);
    if (st == MM1_OK) {
        (void)mean_patches(m, &t, NULL, AT_ONCE, cells);
        mm1_tape_reset(&t, 0);
        if (m->config.kind == MM1_MODEL_CLIP) {
            mm1_texts largest = *texts;
            largest.n = AT_ONCE;
            largest.N = AT_ONCE * m->config.text.max_positions;
            (void)joint_pictures(m, &t, NULL, AT_ONCE);
            (void)mm1_joint_text(&m->joint, &t, mm1_text_tower_forward(&m->text, &t, &largest));
        }
        st = mm1_tape_status(&t, err);
        *bytes = dry.peak;
        mm1_tape_deinit(&t);
    }
    mm1_arena_deinit(&dry);
    return st;
}

mm1_status mm1_embedder_create(const mm1_model *m, int64_t cells, mm1_embedder **out, mm1_error *err)
{
    size_t bytes = 0;
    *out = NULL;
    if (!mm1_model_config_has_vision(&m->config)) {
        return mm1_error_set(err, MM1_E_STATE, "a decoder alone takes no pictures");
    }
    const int64_t grid = mm1_vision_grid(&m->config.vision);
    if (cells < 1 || cells > grid) {
        return mm1_error_set(err, MM1_E_ARG, "%lld x %lld cells out of %lld x %lld patches; 1 to %lld are possible",
                             (long long)cells, (long long)cells, (long long)grid, (long long)grid, (long long)grid);
    }
    mm1_embedder *e = mm1_calloc(1, sizeof *e);
    if (e == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to encode pictures");
    }
    e->model = m;
    e->cells = cells;
    mm1_status st = MM1_OK;
    if (m->config.kind == MM1_MODEL_CLIP) {
        st = mm1_texts_init(&e->texts, AT_ONCE, AT_ONCE * m->config.text.max_positions, err);
    }
    st = st != MM1_OK ? st : plan(m, cells, &e->texts, &bytes, err);
    st = st != MM1_OK ? st : mm1_arena_init(&e->arena, bytes, err);
    st = st != MM1_OK ? st : mm1_tape_init(&e->tape, &e->arena, err);
    if (st != MM1_OK) {
        mm1_embedder_destroy(e);
        return st;
    }
    *out = e;
    return MM1_OK;
}

void mm1_embedder_destroy(mm1_embedder *e)
{
    if (e != NULL) {
        mm1_tape_deinit(&e->tape);
        mm1_arena_deinit(&e->arena);
        mm1_texts_deinit(&e->texts);
        mm1_free(e);
    }
}

static mm1_status encode(mm1_embedder *e, const float *pixels, int64_t n, bool joint, float *out, mm1_error *err)
{
    const mm1_model *m = e->model;
    const int64_t R = m->config.vision.image_size;
    const int64_t width = joint ? m->config.joint.dim : e->cells * e->cells * m->config.vision.width;
    for (int64_t i = 0; i < n; i += AT_ONCE) {
        const int64_t count = n - i < AT_ONCE ? n - i : AT_ONCE;
        mm1_tape_reset(&e->tape, 0);
        const float *these = pixels + i * 3 * R * R;
        const mm1_tensor *x =
            joint ? joint_pictures(m, &e->tape, these, count) : mean_patches(m, &e->tape, these, count, e->cells);
        const mm1_status st = mm1_tape_status(&e->tape, err);
        if (st != MM1_OK) {
            return st;
        }
        memcpy(out + i * width, x->data, (size_t)(count * width) * sizeof *out);
    }
    return MM1_OK;
}

mm1_status mm1_embedder_features(mm1_embedder *e, const float *pixels, int64_t n, float *features, mm1_error *err)
{
    return encode(e, pixels, n, false, features, err);
}

static mm1_status not_clip(const mm1_embedder *e, mm1_error *err)
{
    return e->model->config.kind == MM1_MODEL_CLIP
               ? MM1_OK
               : mm1_error_set(err, MM1_E_STATE, "only a model of kind clip compares pictures and texts");
}

mm1_status mm1_embedder_pictures(mm1_embedder *e, const float *pixels, int64_t n, float *unit, mm1_error *err)
{
    const mm1_status st = not_clip(e, err);
    return st != MM1_OK ? st : encode(e, pixels, n, true, unit, err);
}

/* The ids that training gave the tower for this text: those of its sequence, with or without the <bos>. */
static mm1_status add_text(mm1_embedder *e, const char *text, mm1_error *err)
{
    const mm1_model *m = e->model;
    mm1_part part = {.kind = MM1_PART_TEXT, .bytes = (char *)(uintptr_t)text, .len = strlen(text), .train = true};
    const mm1_document d = {.parts = &part, .n_parts = 1}; /* borrows the text */
    mm1_sequence q = {0};
    const mm1_status st = mm1_sequence_build(&d, m->tokenizer, &m->images, true, &q, err);
    if (st == MM1_OK) {
        const int64_t lead = m->config.text.bos ? 0 : mm1_sequence_lead(&q);
        mm1_texts_add(&e->texts, q.tokens + lead, q.len - lead, q.tokens[q.len - 1], m->config.text.max_positions);
    }
    mm1_sequence_deinit(&q);
    return st;
}

mm1_status mm1_embedder_texts(mm1_embedder *e, const char *const *texts, int64_t n, float *unit, mm1_error *err)
{
    const mm1_model *m = e->model;
    const int64_t D = m->config.joint.dim;
    mm1_status st = not_clip(e, err);
    for (int64_t i = 0; st == MM1_OK && i < n; i += AT_ONCE) {
        const int64_t count = n - i < AT_ONCE ? n - i : AT_ONCE;
        e->texts.n = e->texts.N = 0;
        for (int64_t j = 0; st == MM1_OK && j < count; j++) {
            st = add_text(e, texts[i + j], err);
        }
        if (st == MM1_OK) {
            mm1_tape_reset(&e->tape, 0);
            const mm1_tensor *x =
                mm1_joint_text(&m->joint, &e->tape, mm1_text_tower_forward(&m->text, &e->tape, &e->texts));
            st = mm1_tape_status(&e->tape, err);
            if (st == MM1_OK) {
                memcpy(unit + i * D, x->data, (size_t)(count * D) * sizeof *unit);
            }
        }
    }
    return st;
}

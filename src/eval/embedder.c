/* embedder.c - see embedder.h. */
#include "eval/embedder.h"

#include "base/alloc.h"
#include <string.h>

enum { AT_ONCE = 32 };

struct mm1_embedder {
    const mm1_model *model;
    mm1_arena arena;
    mm1_tape tape;
};

static mm1_tensor *pooled(const mm1_model *m, mm1_tape *t, const float *pixels, int64_t n)
{
    const int64_t grid = mm1_vision_grid(&m->config.vision);
    return mm1_op_pool(t, mm1_vit_forward(&m->vit, t, pixels, n), n, grid * grid, 1, 1, 1);
}

/* Arena of the largest pass, by a dry run. */
static mm1_status plan(const mm1_model *m, size_t *bytes, mm1_error *err)
{
    mm1_arena dry;
    mm1_tape t;
    mm1_status st = mm1_arena_init_dry(&dry, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_tape_init(&t, &dry, err);
    if (st == MM1_OK) {
        (void)pooled(m, &t, NULL, AT_ONCE);
        st = mm1_tape_status(&t, err);
        *bytes = dry.peak;
        mm1_tape_deinit(&t);
    }
    mm1_arena_deinit(&dry);
    return st;
}

mm1_status mm1_embedder_create(const mm1_model *m, mm1_embedder **out, mm1_error *err)
{
    size_t bytes = 0;
    *out = NULL;
    if (!mm1_model_config_has_vision(&m->config)) {
        return mm1_error_set(err, MM1_E_STATE, "a decoder alone takes no pictures");
    }
    mm1_embedder *e = mm1_calloc(1, sizeof *e);
    if (e == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to encode pictures");
    }
    e->model = m;
    mm1_status st = plan(m, &bytes, err);
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
        mm1_free(e);
    }
}

mm1_status mm1_embedder_features(mm1_embedder *e, const float *pixels, int64_t n, float *features, mm1_error *err)
{
    const int64_t R = e->model->config.vision.image_size, C = e->model->config.vision.width;
    for (int64_t i = 0; i < n; i += AT_ONCE) {
        const int64_t count = n - i < AT_ONCE ? n - i : AT_ONCE;
        mm1_tape_reset(&e->tape, 0);
        const mm1_tensor *x = pooled(e->model, &e->tape, pixels + i * 3 * R * R, count);
        const mm1_status st = mm1_tape_status(&e->tape, err);
        if (st != MM1_OK) {
            return st;
        }
        memcpy(features + i * C, x->data, (size_t)(count * C) * sizeof *features);
    }
    return MM1_OK;
}

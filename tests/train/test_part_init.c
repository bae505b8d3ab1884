/* Training that begins with a part of another model. */
#include "encoder_fixture.h"

#include "nn/position_grid.h"

/* The recipe of a whole model around the encoder that the fixture trains. */
static void make_whole(encoder_run *r)
{
    static const char *const assignments[] = {
        "model.kind=mm1",
        "model.connector={kind: avgpool, n_tokens: 4}",
        "model.decoder={width: 16, n_layers: 1, n_heads: 2, mlp_width: 24, max_positions: 64}",
        "data.sources.idx.weight=0",
        "data.batch=2",
        "train.objective=text",
        "train.n_steps=2",
        "train.lr_vision=0",
    };
    for (size_t i = 0; i < sizeof assignments / sizeof *assignments; i++) {
        encoder_set(r, assignments[i]);
    }
}

static void load(const encoder_run *r, const char *run, mm1_model *m)
{
    char path[512];
    mm1_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s/checkpoints/latest", r->f.dir, run);
    check_ok(mm1_model_load(m, path, false, &err), &err);
}

static void an_encoder_is_taken_over_once(void **state)
{
    (void)state;
    encoder_run r;
    encoder_watch w = {0};
    mm1_error err = {0};
    mm1_model clip, whole;
    int64_t n = 0;
    encoder_run_init(&r);
    r.recipe.train.n_steps = 2;
    check_ok(encoder_train(&r, "clip", &w, &err), &err);
    make_whole(&r);
    encoder_set_path(&r, "init.vision", "clip/checkpoints/latest");
    check_ok(encoder_train(&r, "whole", &w, &err), &err);
    load(&r, "clip", &clip);
    load(&r, "whole", &whole);
    for (int64_t i = 0; i < whole.params.n_items; i++) {
        const mm1_param *p = whole.params.items[i];
        if (p->group == MM1_GROUP_VISION) {
            const mm1_param *from = mm1_params_find(&clip.params, p->name);
            assert_non_null(from);
            assert_memory_equal(p->tensor.data, from->tensor.data, (size_t)p->n * sizeof(float));
            n += p->n;
        }
    }
    assert_int_equal(n, mm1_params_count(&clip.params, MM1_GROUP_VISION));
    mm1_model_deinit(&clip);
    mm1_model_deinit(&whole);

    /* A run that goes on does not look there. */
    char *path = fixture_path(&r.f, "clip");
    check_ok(mm1_path_remove(path, &err), &err);
    mm1_free(path);
    r.recipe.train.n_steps = 3;
    check_ok(encoder_train(&r, "whole", &w, &err), &err);
    encoder_run_deinit(&r);
}

/* 4 x 4 patches become 7 x 7; everything else is as it was. */
static void an_encoder_is_taken_over_at_another_resolution(void **state)
{
    (void)state;
    encoder_run r;
    encoder_watch w = {0};
    mm1_error err = {0};
    mm1_model clip, whole;
    encoder_run_init(&r);
    r.recipe.train.n_steps = 1;
    check_ok(encoder_train(&r, "clip", &w, &err), &err);
    make_whole(&r);
    encoder_set_path(&r, "init.vision", "clip/checkpoints/latest");
    encoder_set(&r, "model.vision.image_size=14");
    check_ok(encoder_train(&r, "whole", &w, &err), &err);
    load(&r, "clip", &clip);
    load(&r, "whole", &whole);
    for (int64_t i = 0; i < whole.params.n_items; i++) {
        const mm1_param *p = whole.params.items[i], *from = mm1_params_find(&clip.params, p->name);
        if (p->group != MM1_GROUP_VISION) {
            continue;
        }
        assert_non_null(from);
        if (p->grid > 0) {
            float want[49 * 16];
            assert_int_equal(p->n, 49 * 16);
            assert_int_equal(from->n, 16 * 16);
            mm1_position_grid_resize(want, 7, from->tensor.data, 4, 0, 16);
            assert_memory_equal(p->tensor.data, want, sizeof want);
        } else {
            assert_memory_equal(p->tensor.data, from->tensor.data, (size_t)p->n * sizeof(float));
        }
    }
    mm1_model_deinit(&clip);
    mm1_model_deinit(&whole);

    /* A run that goes on stays at its resolution. */
    encoder_set(&r, "model.vision.image_size=8");
    encoder_set(&r, "train.n_steps=3");
    assert_int_equal(encoder_train(&r, "whole", &w, &err), MM1_E_SHAPE);
    check_contains(err.message, "vision.pos");
    encoder_run_deinit(&r);
}

static void a_part_that_does_not_fit_is_named(void **state)
{
    (void)state;
    encoder_run r;
    encoder_watch w = {0};
    mm1_error err = {0};
    encoder_run_init(&r);
    r.recipe.train.n_steps = 1;
    check_ok(encoder_train(&r, "clip", &w, &err), &err);
    make_whole(&r);
    encoder_set_path(&r, "init.vision", "clip/checkpoints/latest");
    encoder_set(&r, "model.vision.width=24");
    assert_int_equal(encoder_train(&r, "wide", &w, &err), MM1_E_SHAPE);
    check_contains(err.message, "init.vision");
    check_contains(err.message, "vision.patch.weight");
    encoder_set(&r, "model.vision.width=16");
    encoder_set_path(&r, "init.decoder", "clip/checkpoints/latest");
    assert_int_equal(encoder_train(&r, "blind", &w, &err), MM1_E_SHAPE);
    check_contains(err.message, "has no \"decoder.");
    encoder_set(&r, "model.kind=decoder");
    encoder_set(&r, "data.sources.captions.weight=0");
    encoder_set(&r, "data.sources.idx.weight=1");
    assert_int_not_equal(encoder_train(&r, "none", &w, &err), MM1_OK);
    check_contains(err.message, "init.vision: model.kind: this kind of model has no vision");
    encoder_set_path(&r, "init.vision", "nowhere");
    assert_int_equal(encoder_train(&r, "nowhere", &w, &err), MM1_E_IO);
    encoder_run_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_encoder_is_taken_over_once),
        cmocka_unit_test(an_encoder_is_taken_over_at_another_resolution),
        cmocka_unit_test(a_part_that_does_not_fit_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

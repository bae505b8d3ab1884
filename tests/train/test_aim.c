/* Learning to predict patches: who sees whom, gradients against differences, micro-batches against the whole batch, and
 * runs that learn, stop, go on and end in the same bits. */
#include "encoder_fixture.h"

static void aim_run_init(encoder_run *r)
{
    encoder_run_init(r);
    encoder_set(r, "model.kind=aim");
    encoder_set(r, "model.pixel_head.width=20");
    encoder_set(r, "train.objective=aim");
    encoder_set(r, "train.patch_keep=1");
}

static void a_patch_sees_what_is_before_it_and_in_the_prefix(void **state)
{
    (void)state;
    enum { P = 16, C = 16, PREFIX = 5, R = 8, I = 2 };
    encoder_run r;
    encoder_step s;
    float pixels[I * 3 * R * R], before[I * P * C];
    const int32_t prefix[I] = {PREFIX, 1};
    mm1_error err = {0};
    aim_run_init(&r);
    encoder_step_init(&s, &r);
    check_fill(pixels, I * 3 * R * R, -1, 1, 4);
    s.tape.recording = false;
    for (int changed = -1; changed < P; changed++) {
        if (changed >= 0) { /* one patch, 2 x 2 px, of the first picture */
            pixels[changed / 4 * 2 * R + changed % 4 * 2] += 0.5f;
        }
        mm1_tape_reset(&s.tape, 0);
        const mm1_tensor *x = mm1_vit_forward_prefix(&s.model.vit, &s.tape, pixels, I, prefix);
        check_ok(mm1_tape_status(&s.tape, &err), &err);
        for (int i = 0; changed >= 0 && i < I * P; i++) {
            const bool sees = i < P && (changed <= i || (i < PREFIX && changed < PREFIX));
            assert_int_equal(memcmp(x->data + i * C, before + i * C, C * sizeof *before) != 0, sees);
        }
        memcpy(before, x->data, sizeof before);
    }
    encoder_step_deinit(&s);
    encoder_run_deinit(&r);
}

static void gradients_are_those_of_the_loss(void **state)
{
    (void)state;
    encoder_run r;
    encoder_step s;
    aim_run_init(&r);
    encoder_step_init(&s, &r);
    encoder_step_check_gradients(&s);
    encoder_step_deinit(&s);
    encoder_run_deinit(&r);
}

static void micro_batches_change_no_gradient(void **state)
{
    (void)state;
    encoder_run r;
    aim_run_init(&r);
    assert_int_equal(encoder_check_micro_batches(&r), 9); /* one view of each picture */
    encoder_run_deinit(&r);
}

static void a_run_learns_stops_and_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    encoder_run r;
    aim_run_init(&r);
    encoder_check_runs(&r);
    encoder_run_deinit(&r);
}

static void what_cannot_be_predicted_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *set, *says;
    } cases[] = {{"model.kind=clip", "set model.kind aim"},
                 {"model.vision.patch_size=8", "no next one"},
                 {"model.vision.class_token=true", "model.vision.class_token"},
                 {"train.patch_keep=0.5", "train.patch_keep"},
                 {"train.lr_peak=law", "train.lr_peak"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        encoder_run r;
        mm1_error err = {0};
        aim_run_init(&r);
        encoder_set(&r, cases[i].set);
        assert_int_equal(mm1_objective_check(&r.recipe, &err), MM1_E_CONFIG);
        check_contains(err.message, cases[i].says);
        encoder_run_deinit(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_patch_sees_what_is_before_it_and_in_the_prefix),
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(micro_batches_change_no_gradient),
        cmocka_unit_test(a_run_learns_stops_and_goes_on_to_the_same_bits),
        cmocka_unit_test(what_cannot_be_predicted_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

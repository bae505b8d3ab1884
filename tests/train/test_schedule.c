/* The numbers of the paper's schedule and learning-rate law. */
#include "support/check.h"

#include "train/schedule.h"
#include "train/trainer.h"

static void check_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance)) {
        print_error("got %.9g, want %.9g\n", got, want);
        fail();
    }
}

static void the_papers_schedule_passes_its_known_points(void **state)
{
    (void)state;
    const mm1_train_config c = {.n_steps = 200000, .lr_warmup_steps = 2000, .lr_final = 0.1};
    check_near(mm1_lr_scale(&c, 0), 0, 0);
    check_near(mm1_lr_scale(&c, 1000), 0.5, 1e-12);
    check_near(mm1_lr_scale(&c, 2000), 1, 1e-12);
    check_near(mm1_lr_scale(&c, 101000), 0.55, 1e-12);
    check_near(mm1_lr_scale(&c, 200000), 0.1, 1e-12);
    check_near(mm1_lr_scale(&c, 250000), 0.1, 1e-12); /* stays there */
    for (int64_t s = 0; s < 200000; s += 500) {
        const double here = mm1_lr_scale(&c, s), next = mm1_lr_scale(&c, s + 500);
        assert_true(s < 2000 ? next > here : next < here);
        assert_true(here >= 0 && here <= 1);
    }
}

static void short_runs_and_odd_settings_stay_in_range(void **state)
{
    (void)state;
    /* No warm-up: the peak at once. */
    const mm1_train_config at_once = {.n_steps = 10, .lr_final = 0.1};
    check_near(mm1_lr_scale(&at_once, 0), 1, 1e-12);
    check_near(mm1_lr_scale(&at_once, 10), 0.1, 1e-12);
    /* A warm-up longer than the run takes half of it. */
    const mm1_train_config too_long = {.n_steps = 10, .lr_warmup_steps = 100, .lr_final = 0};
    check_near(mm1_lr_scale(&too_long, 5), 1, 1e-12);
    check_near(mm1_lr_scale(&too_long, 10), 0, 1e-12);
    /* lr_final 1 is a constant rate. */
    const mm1_train_config constant = {.n_steps = 10, .lr_final = 1};
    for (int n_steps = 1; n_steps < 6; n_steps++) {
        for (int warmup = 0; warmup < 8; warmup++) {
            const mm1_train_config c = {.n_steps = n_steps, .lr_warmup_steps = warmup, .lr_final = 0.1};
            for (int s = 0; s <= n_steps; s++) {
                const double scale = mm1_lr_scale(&c, s);
                assert_true(scale >= 0 && scale <= 1);
                assert_true(s == 0 || scale > 0); /* no update is lost: the first one is step 1 */
                check_near(mm1_lr_scale(&constant, s), 1, 1e-12);
            }
            check_near(mm1_lr_scale(&c, n_steps), 0.1, 1e-12);
        }
    }
}

static void the_law_gives_the_papers_rates_to_three_digits(void **state)
{
    (void)state;
    static const struct {
        double n, rate;
    } known[] = {{9e6, 6.75e-4},   {85e6, 2.62e-4},  {302e6, 1.54e-4}, {1.2e9, 8.58e-5},
                 {2.9e9, 5.92e-5}, {6.4e9, 4.24e-5}, {30e9, 2.21e-5}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const double digit = pow(10, floor(log10(known[i].rate)) - 2);
        check_near(mm1_lr_law(known[i].n), known[i].rate, 0.5 * digit);
    }
}

/* The law counts the decoder without embeddings and head, and a recipe may set the rate instead. */
static void the_law_counts_the_decoder_without_embeddings(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_recipe recipe = {.train.lr_peak = NAN};
    for (int tied = 0; tied < 2; tied++) {
        mm1_model m;
        check_ok(mm1_fields_defaults(mm1__model_fields, &recipe.model, &err), &err);
        mm1_decoder_config *d = &recipe.model.decoder;
        d->vocab_size = 1000;
        d->width = 64;
        d->n_layers = 3;
        d->n_heads = 4;
        d->mlp_width = 100;
        d->tie_embeddings = tied;
        check_ok(mm1_model_init(&m, &recipe.model, &err), &err);
        const double n = 3 * (4 * 64 * 64 + 3 * 64 * 100 + 2 * 64) + 64;
        check_near(mm1_recipe_lr_peak(&recipe, &m), exp(-0.4214 * log(n) - 0.5535), 1e-12);
        mm1_model_deinit(&m);
    }
    recipe.train.lr_peak = 0.5;
    check_near(mm1_recipe_lr_peak(&recipe, NULL), 0.5, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_papers_schedule_passes_its_known_points),
        cmocka_unit_test(short_runs_and_odd_settings_stay_in_range),
        cmocka_unit_test(the_law_gives_the_papers_rates_to_three_digits),
        cmocka_unit_test(the_law_counts_the_decoder_without_embeddings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

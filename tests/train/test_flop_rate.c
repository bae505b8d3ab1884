/* The share of the machine that a training uses is never over 1, whatever was probed. */
#include "support/check.h"

#include "train/flop_rate.h"

static void shares_are_of_the_probed_rate(void **state)
{
    (void)state;
    mm1_flop_rate r = {0};
    mm1_flop_rate_probe(&r, 100);
    assert_true(mm1_flop_rate_step(&r, 50, 1) == 0.5);
    assert_true(mm1_flop_rate_step(&r, 150, 2) == 0.75);
    assert_true(mm1_flop_rate_share(&r) == 200.0 / 3 / 100);
    assert_false(r.is_low);
    mm1_flop_rate_probe(&r, 80); /* the machine was busy */
    assert_true(r.peak == 100);
}

/* Probed at 100 while the machine could do 160. */
static void a_step_that_beats_the_probe_raises_the_peak(void **state)
{
    (void)state;
    mm1_flop_rate r = {0};
    mm1_flop_rate_probe(&r, 100);
    assert_true(mm1_flop_rate_step(&r, 60, 1) == 0.6);
    assert_true(mm1_flop_rate_step(&r, 122, 1) == 1);
    assert_true(r.peak == 122 && r.is_low);
    assert_true(mm1_flop_rate_share(&r) <= 1);
    mm1_flop_rate_probe(&r, 160);
    assert_true(r.peak == 160 && !r.is_low);
    assert_true(mm1_flop_rate_step(&r, 122, 1) == 122.0 / 160);
    /* All steps count against what is known now. */
    assert_true(mm1_flop_rate_share(&r) == 304.0 / 3 / 160);
}

static void without_a_probe_there_is_no_share(void **state)
{
    (void)state;
    mm1_flop_rate r = {0};
    assert_true(mm1_flop_rate_share(&r) == 0);
    assert_true(mm1_flop_rate_step(&r, 50, 1) == 0);
    assert_true(mm1_flop_rate_share(&r) == 0 && r.peak == 0);
    mm1_flop_rate_probe(&r, 100);
    assert_true(mm1_flop_rate_step(&r, 50, 0) == 0); /* a clock that stood still */
    assert_true(mm1_flop_rate_share(&r) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_of_the_probed_rate),
        cmocka_unit_test(a_step_that_beats_the_probe_raises_the_peak),
        cmocka_unit_test(without_a_probe_there_is_no_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

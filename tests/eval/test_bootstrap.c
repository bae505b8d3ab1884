/* test_bootstrap.c - intervals: known coverage, the same for the same seed, honest at the edges. */
#include "support/check.h"

#include "base/alloc.h"
#include "eval/bootstrap.h"

static void draw(double *x, size_t n, uint64_t index, double mean, double std)
{
    mm1_rng r = mm1_rng_make(42, MM1_RNG_TEST, index);
    for (size_t i = 0; i < n; i++) {
        x[i] = mean + std * mm1_rng_normal(&r);
    }
}

static void ninety_five_of_a_hundred_intervals_hold_the_true_mean(void **state)
{
    (void)state;
    enum { N = 100, TRIALS = 400 };
    mm1_error err = {0};
    mm1_bootstrap b = mm1_bootstrap_default();
    b.n_replicates = 1000;
    int held = 0, below = 0;
    double width = 0;
    for (int t = 0; t < TRIALS; t++) {
        double x[N];
        mm1_interval got;
        draw(x, N, (uint64_t)t, 3.0, 2.0);
        b.seed = (uint64_t)t;
        check_ok(mm1_bootstrap_mean(&b, x, N, &got, &err), &err);
        assert_true(got.low < got.value && got.value < got.high);
        held += got.low <= 3.0 && 3.0 <= got.high;
        below += got.high < 3.0;
        width += (got.high - got.low) / TRIALS;
    }
    /* 95 % of 400 is 380 with a standard deviation of 4.4; the percentile method is a little narrow at n = 100. */
    assert_in_range(held, 362, 394);
    assert_in_range(below, 1, 25);
    /* 2 * 1.96 * sigma / sqrt(n) = 0.784 */
    assert_true(fabs(width - 0.784) < 0.03);
}

static void the_same_seed_gives_the_same_bits_and_another_seed_others(void **state)
{
    (void)state;
    mm1_error err = {0};
    double x[30];
    mm1_interval a, b, c;
    mm1_bootstrap how = mm1_bootstrap_default();
    draw(x, 30, 9, 0, 1);
    check_ok(mm1_bootstrap_mean(&how, x, 30, &a, &err), &err);
    check_ok(mm1_bootstrap_mean(&how, x, 30, &b, &err), &err);
    assert_memory_equal(&a, &b, sizeof a);
    how.seed = 1;
    check_ok(mm1_bootstrap_mean(&how, x, 30, &c, &err), &err);
    assert_true(c.value == a.value && c.low != a.low && fabs(c.low - a.low) < 0.1);
}

static void a_paired_interval_does_not_feel_what_both_share(void **state)
{
    (void)state;
    mm1_error err = {0};
    enum { N = 200 };
    double x[N], y[N], noise[N];
    mm1_interval paired, alone;
    const mm1_bootstrap how = mm1_bootstrap_default();
    draw(x, N, 1, 10, 5);
    draw(noise, N, 2, 0.2, 0.1);
    for (int i = 0; i < N; i++) {
        y[i] = x[i] - noise[i];
    }
    check_ok(mm1_bootstrap_paired(&how, x, y, N, &paired, &err), &err);
    check_ok(mm1_bootstrap_mean(&how, x, N, &alone, &err), &err);
    assert_true(fabs(paired.value - 0.2) < 0.03 && paired.low > 0.17 && paired.high < 0.23);
    assert_true(alone.high - alone.low > 1.0);
}

static void a_ratio_weighs_items_by_their_size(void **state)
{
    (void)state;
    mm1_error err = {0};
    const double nats[] = {10, 90, 0}, tokens[] = {10, 30, 0};
    mm1_interval got;
    const mm1_bootstrap how = mm1_bootstrap_default();
    check_ok(mm1_bootstrap_ratio(&how, nats, tokens, 3, &got, &err), &err);
    assert_true(got.value == 2.5 && got.low >= 1.0 && got.high <= 3.0 && got.low < got.high);

    const double zeros[] = {0, 0, 0}, negative[] = {1, -1, 2};
    assert_int_equal(mm1_bootstrap_ratio(&how, nats, zeros, 3, &got, &err), MM1_E_NUMERIC);
    assert_int_equal(mm1_bootstrap_ratio(&how, nats, negative, 3, &got, &err), MM1_E_NUMERIC);
    check_contains(err.message, "item 1");
}

static void one_item_is_its_own_interval_and_none_is_an_error(void **state)
{
    (void)state;
    mm1_error err = {0};
    const double x = 4.5;
    mm1_interval got;
    mm1_bootstrap how = mm1_bootstrap_default();
    check_ok(mm1_bootstrap_mean(&how, &x, 1, &got, &err), &err);
    assert_true(got.value == 4.5 && got.low == 4.5 && got.high == 4.5);
    assert_int_equal(mm1_bootstrap_mean(&how, NULL, 0, &got, &err), MM1_E_ARG);
    assert_true(isnan(got.value) && isnan(got.low));
    assert_int_equal(mm1_bootstrap_paired(&how, NULL, NULL, 0, &got, &err), MM1_E_ARG);
    assert_int_equal(mm1_bootstrap_ratio(&how, NULL, NULL, 0, &got, &err), MM1_E_ARG);

    how.n_replicates = 1;
    check_ok(mm1_bootstrap_mean(&how, &x, 1, &got, &err), &err);
    how.n_replicates = 0;
    assert_int_equal(mm1_bootstrap_mean(&how, &x, 1, &got, &err), MM1_E_ARG);
    how = mm1_bootstrap_default();
    how.level = 1;
    assert_int_equal(mm1_bootstrap_mean(&how, &x, 1, &got, &err), MM1_E_ARG);
}

static void a_value_that_is_not_finite_is_named(void **state)
{
    (void)state;
    mm1_error err = {0};
    const double x[] = {1, 2, NAN};
    mm1_interval got;
    const mm1_bootstrap how = mm1_bootstrap_default();
    assert_int_equal(mm1_bootstrap_mean(&how, x, 3, &got, &err), MM1_E_NUMERIC);
    check_contains(err.message, "item 2 of 3");
    assert_true(isnan(got.low));
}

static void a_constant_has_an_interval_of_no_width(void **state)
{
    (void)state;
    mm1_error err = {0};
    const double x[] = {2, 2, 2, 2};
    mm1_interval got;
    const mm1_bootstrap how = mm1_bootstrap_default();
    check_ok(mm1_bootstrap_mean(&how, x, 4, &got, &err), &err);
    assert_true(got.low == 2 && got.high == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ninety_five_of_a_hundred_intervals_hold_the_true_mean),
        cmocka_unit_test(the_same_seed_gives_the_same_bits_and_another_seed_others),
        cmocka_unit_test(a_paired_interval_does_not_feel_what_both_share),
        cmocka_unit_test(a_ratio_weighs_items_by_their_size),
        cmocka_unit_test(one_item_is_its_own_interval_and_none_is_an_error),
        cmocka_unit_test(a_value_that_is_not_finite_is_named),
        cmocka_unit_test(a_constant_has_an_interval_of_no_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

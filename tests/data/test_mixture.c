/* Which source a row comes from, and in which order a source gives its samples. */
#include "support/check.h"

#include "data/mixture.h"

static void shares_are_within_three_sigma_of_the_weights(void **state)
{
    (void)state;
    enum { N = 100000 };
    static const double weights[][4] = {
        {0.45, 0.45, 0.1, 0}, {5, 5, 1, 0}, {0, 1, 0, 3}, {1e-3, 1, 2, 4}, {0, 0, 7, 0}};
    for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            int64_t counts[4] = {0};
            double total = 0;
            for (int i = 0; i < 4; i++) {
                total += weights[w][i];
            }
            for (int64_t row = 0; row < N; row++) {
                counts[mm1_mixture_source(weights[w], 4, seed, row)]++;
            }
            for (int i = 0; i < 4; i++) {
                const double p = weights[w][i] / total, sigma = sqrt(N * p * (1 - p));
                assert_true(fabs((double)counts[i] - N * p) <= 3 * sigma);
            }
        }
    }
}

static void rows_do_not_depend_on_what_was_drawn_before(void **state)
{
    (void)state;
    static const double weights[] = {1, 1, 1};
    size_t forward[100];
    int n_different = 0;
    for (int64_t row = 0; row < 100; row++) {
        forward[row] = mm1_mixture_source(weights, 3, 9, row);
    }
    for (int64_t row = 99; row >= 0; row--) {
        assert_int_equal(mm1_mixture_source(weights, 3, 9, row), forward[row]);
        n_different += mm1_mixture_source(weights, 3, 10, row) != forward[row];
    }
    assert_true(n_different > 30);
}

static void every_epoch_is_another_permutation(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 17, 64, 1000};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int64_t n = sizes[k];
        int64_t n_same_epoch = 0, n_same_source = 0;
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            uint8_t seen[1000] = {0};
            for (int64_t i = 0; i < n; i++) {
                const int64_t s = mm1_mixture_sample(4, 0, n, epoch * n + i);
                assert_in_range(s, 0, n - 1);
                assert_false(seen[s]);
                seen[s] = 1;
                n_same_epoch += epoch > 0 && s == mm1_mixture_sample(4, 0, n, i);
                n_same_source += s == mm1_mixture_sample(4, 1, n, epoch * n + i);
            }
        }
        if (n == 1000) { /* about one fixed point is expected in each comparison */
            assert_true(n_same_epoch < 15);
            assert_true(n_same_source < 20);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_within_three_sigma_of_the_weights),
        cmocka_unit_test(rows_do_not_depend_on_what_was_drawn_before),
        cmocka_unit_test(every_epoch_is_another_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which token comes next, on logits made by hand. */
#include "support/check.h"

#include "generate/generate_fixture.h"
#include "generate/sampler.h"

enum { V = 320, N_DRAWS = 20000 };

/* Five ordinary tokens; all others are out of reach. */
static const int32_t ids[] = {40, 60, 80, 100, 120};
static const double probability[] = {0.4, 0.3, 0.15, 0.1, 0.05};

static void five_tokens(float logits[V])
{
    for (int i = 0; i < V; i++) {
        logits[i] = -INFINITY;
    }
    for (int i = 0; i < 5; i++) {
        logits[ids[i]] = (float)log(probability[i]) + 3;
    }
}

static mm1_sampling at_temperature(double temperature)
{
    mm1_sampling c = mm1_generate_defaults().sampling;
    c.temperature = temperature;
    return c;
}

static void start(mm1_sampler *s, const mm1_sampling *c)
{
    mm1_error err = {0};
    mm1_tokenizer *t = fixture_tokenizer();
    check_ok(mm1_sampler_init(s, c, t, V, &err), &err);
    mm1_tokenizer_destroy(t); /* is only asked once */
}

/* Draws many times; the shares are those of want [5] (they need not sum to 1), and nothing else comes. */
static void check_shares(const mm1_sampling *c, const double want[5])
{
    float logits[V];
    mm1_sampler s;
    mm1_error err = {0};
    int count[V] = {0};
    double total = 0;
    five_tokens(logits);
    start(&s, c);
    for (int i = 0; i < N_DRAWS; i++) {
        int32_t id = -1;
        check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
        assert_in_range(id, 0, V - 1);
        count[id]++;
    }
    for (int i = 0; i < 5; i++) {
        total += want[i];
    }
    int n = 0;
    for (int i = 0; i < 5; i++) {
        const double p = want[i] / total, got = (double)count[ids[i]] / N_DRAWS;
        n += count[ids[i]];
        assert_true(p > 0 || count[ids[i]] == 0);
        if (fabs(got - p) > 5 * sqrt(p * (1 - p) / N_DRAWS) + 1e-12) {
            print_error("token %d: share %g, want %g\n", ids[i], got, p);
            fail();
        }
    }
    assert_int_equal(n, N_DRAWS);
    mm1_sampler_deinit(&s);
}

static void temperature_sharpens_and_flattens(void **state)
{
    (void)state;
    mm1_sampling c = at_temperature(1);
    check_shares(&c, probability);
    double want[5];
    for (int i = 0; i < 5; i++) {
        want[i] = pow(probability[i], 1 / 0.5);
    }
    c.temperature = 0.5;
    check_shares(&c, want);
    for (int i = 0; i < 5; i++) {
        want[i] = pow(probability[i], 1 / 3.0);
    }
    c.temperature = 3;
    check_shares(&c, want);
    c.temperature = 1e-6;
    check_shares(&c, (double[]){1, 0, 0, 0, 0});
}

static void top_k_keeps_the_k_most_likely(void **state)
{
    (void)state;
    mm1_sampling c = at_temperature(1);
    c.top_k = 2;
    check_shares(&c, (double[]){0.4, 0.3, 0, 0, 0});
    c.top_k = 1;
    check_shares(&c, (double[]){1, 0, 0, 0, 0});
    c.top_k = 1000;
    check_shares(&c, probability);
}

static void top_p_keeps_the_fewest_that_reach_p(void **state)
{
    (void)state;
    mm1_sampling c = at_temperature(1);
    c.top_p = 0.65; /* 0.4 is not enough, 0.7 is */
    check_shares(&c, (double[]){0.4, 0.3, 0, 0, 0});
    c.top_p = 0.75;
    check_shares(&c, (double[]){0.4, 0.3, 0.15, 0, 0});
    c.top_p = 1e-9; /* the first always stays */
    check_shares(&c, (double[]){1, 0, 0, 0, 0});
    /* After top-k: of 0.4 and 0.3 the first alone is 0.571. */
    c.top_k = 2;
    c.top_p = 0.55;
    check_shares(&c, (double[]){1, 0, 0, 0, 0});
    c.top_p = 0.6;
    check_shares(&c, (double[]){0.4, 0.3, 0, 0, 0});
}

static void min_p_keeps_what_is_likely_enough_beside_the_first(void **state)
{
    (void)state;
    mm1_sampling c = at_temperature(1);
    c.min_p = 0.3; /* at least 0.12 */
    check_shares(&c, (double[]){0.4, 0.3, 0.15, 0, 0});
    c.min_p = 1;
    check_shares(&c, (double[]){1, 0, 0, 0, 0});
    c.min_p = 0.3;
    c.top_p = 0.5;
    check_shares(&c, (double[]){0.4, 0.3, 0, 0, 0});
}

static void greedy_is_the_most_likely_and_the_lower_id_of_equals(void **state)
{
    (void)state;
    float logits[V];
    mm1_sampler s;
    mm1_error err = {0};
    int32_t id = -1;
    mm1_sampling c = at_temperature(0);
    start(&s, &c);
    five_tokens(logits);
    check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
    assert_int_equal(id, 40);
    logits[200] = logits[250] = logits[40];
    check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
    assert_int_equal(id, 40);
    logits[40] = -INFINITY;
    check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
    assert_int_equal(id, 200);
    check_fill(logits, V, -5, 5, 3);
    int32_t want = 40;
    for (int32_t i = 3; i < 280; i++) {
        want = logits[i] > logits[want] ? i : want;
    }
    for (int32_t i = 280; i < V; i++) {
        logits[i] = -9;
    }
    logits[0] = logits[1] = logits[2] = -9;
    check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
    assert_int_equal(id, want);
    mm1_sampler_deinit(&s);

    /* The same order decides among equals that a filter cuts. */
    c = at_temperature(1);
    c.top_k = 3;
    start(&s, &c);
    for (int i = 0; i < V; i++) {
        logits[i] = i >= 50 && i < 90 ? 1.0f : -INFINITY;
    }
    for (int i = 0; i < 200; i++) {
        check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
        assert_in_range(id, 50, 52);
    }
    mm1_sampler_deinit(&s);
}

static void special_tokens_and_padding_never_come(void **state)
{
    (void)state;
    float logits[V];
    mm1_sampler s;
    mm1_error err = {0};
    mm1_tokenizer *t = fixture_tokenizer();
    const int32_t n_ids = mm1_tokenizer_vocab_size(t);
    assert_true(n_ids < V);
    for (int mode = 0; mode < 4; mode++) {
        mm1_sampling c = at_temperature(mode == 0 ? 0 : 2);
        c.top_k = mode == 2 ? 5 : 0;
        c.top_p = mode == 3 ? 0.9 : 1;
        start(&s, &c);
        check_fill(logits, V, -1, 1, 4);
        logits[mm1_tokenizer_special_id(t, MM1_TOKEN_PAD)] = 1e30f;
        logits[mm1_tokenizer_special_id(t, MM1_TOKEN_IMAGE)] = INFINITY;
        for (int32_t i = n_ids; i < V; i++) {
            logits[i] = i % 2 == 0 ? 1e30f : NAN;
        }
        for (int i = 0; i < 2000; i++) {
            int32_t id = -1;
            check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
            assert_in_range(id, 0, n_ids - 1);
            assert_true(mm1_tokenizer_is_eos(t, id) || !mm1_tokenizer_is_special(t, id));
        }
        logits[mm1_tokenizer_roles(t)->eos[0]] = 1e30f; /* the end may come */
        int32_t id = -1;
        check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
        assert_int_equal(id, mm1_tokenizer_special_id(t, MM1_TOKEN_END));
        mm1_sampler_deinit(&s);
    }
    mm1_tokenizer_destroy(t);
}

static void equal_seeds_give_equal_tokens_and_other_ones_do_not(void **state)
{
    (void)state;
    float logits[V];
    mm1_error err = {0};
    int32_t drawn[4][50];
    check_fill(logits, V, -1, 1, 8);
    for (int run = 0; run < 4; run++) {
        mm1_sampler s;
        mm1_sampling c = at_temperature(1);
        c.seed = run == 2 ? 8 : 7;
        c.index = run == 3 ? 1 : 0;
        c.top_p = 0.95;
        start(&s, &c);
        for (int i = 0; i < 50; i++) {
            check_ok(mm1_sampler_next(&s, logits, &drawn[run][i], &err), &err);
        }
        mm1_sampler_deinit(&s);
    }
    assert_memory_equal(drawn[0], drawn[1], sizeof drawn[0]);
    assert_memory_not_equal(drawn[0], drawn[2], sizeof drawn[0]);
    assert_memory_not_equal(drawn[0], drawn[3], sizeof drawn[0]);
}

static void a_repetition_penalty_moves_on(void **state)
{
    (void)state;
    float logits[V];
    mm1_sampler s;
    mm1_error err = {0};
    mm1_sampling c = at_temperature(0);
    c.repetition_penalty = 2;
    start(&s, &c);
    for (int i = 0; i < V; i++) {
        logits[i] = -100;
    }
    logits[40] = 3;
    logits[60] = 2; /* above 3 / 2 */
    logits[80] = -2;
    int32_t id = -1;
    const int32_t want[] = {40, 60, 40};
    for (int i = 0; i < 3; i++) {
        check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
        assert_int_equal(id, want[i]);
    }
    /* Below 0 it is multiplied: -1.5 becomes -3. */
    logits[40] = -1.5f;
    logits[60] = -100;
    check_ok(mm1_sampler_next(&s, logits, &id, &err), &err);
    assert_int_equal(id, 80);
    mm1_sampler_deinit(&s);
}

static void bad_settings_and_damaged_logits_are_errors(void **state)
{
    (void)state;
    mm1_error err = {0};
    const mm1_sampling good = at_temperature(1);
    mm1_sampling c = good;
    c.temperature = -1;
    assert_int_equal(mm1_sampling_check(&c, &err), MM1_E_ARG);
    check_contains(err.message, "temperature: -1");
    c = good;
    c.temperature = NAN;
    assert_int_equal(mm1_sampling_check(&c, &err), MM1_E_ARG);
    c = good;
    c.top_k = -1;
    assert_int_equal(mm1_sampling_check(&c, &err), MM1_E_ARG);
    c = good;
    c.top_p = 0;
    assert_int_equal(mm1_sampling_check(&c, &err), MM1_E_ARG);
    c = good;
    c.min_p = 1.5;
    assert_int_equal(mm1_sampling_check(&c, &err), MM1_E_ARG);
    c = good;
    c.repetition_penalty = 0;
    assert_int_equal(mm1_sampling_check(&c, &err), MM1_E_ARG);

    mm1_sampler s;
    float logits[V];
    int32_t id = -1;
    mm1_tokenizer *t = fixture_tokenizer();
    assert_int_equal(mm1_sampler_init(&s, &good, t, 100, &err), MM1_E_SHAPE);
    mm1_tokenizer_destroy(t);
    for (int mode = 0; mode < 3; mode++) {
        c = at_temperature(mode == 0 ? 1 : 0);
        c.repetition_penalty = mode == 1 ? 1.5 : 1;
        start(&s, &c);
        five_tokens(logits);
        logits[90] = NAN;
        assert_int_equal(mm1_sampler_next(&s, logits, &id, &err), MM1_E_NUMERIC);
        check_contains(err.message, "90");
        logits[90] = 0;
        logits[91] = INFINITY;
        assert_int_equal(mm1_sampler_next(&s, logits, &id, &err), MM1_E_NUMERIC);
        check_contains(err.message, "91");
        for (int i = 0; i < V; i++) {
            logits[i] = -INFINITY;
        }
        assert_int_equal(mm1_sampler_next(&s, logits, &id, &err), MM1_E_NUMERIC);
        mm1_sampler_deinit(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperature_sharpens_and_flattens),
        cmocka_unit_test(top_k_keeps_the_k_most_likely),
        cmocka_unit_test(top_p_keeps_the_fewest_that_reach_p),
        cmocka_unit_test(min_p_keeps_what_is_likely_enough_beside_the_first),
        cmocka_unit_test(greedy_is_the_most_likely_and_the_lower_id_of_equals),
        cmocka_unit_test(special_tokens_and_padding_never_come),
        cmocka_unit_test(equal_seeds_give_equal_tokens_and_other_ones_do_not),
        cmocka_unit_test(a_repetition_penalty_moves_on),
        cmocka_unit_test(bad_settings_and_damaged_logits_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

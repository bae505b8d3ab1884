/* test_results.c - results.json: written and read back, null for what was not measured, errors with a place. */
#include "support/check.h"

#include "base/alloc.h"
#include "eval/results.h"

static char dir[256], path[300];

static int make_dir(void **state)
{
    (void)state;
    check_tmpdir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/results.json", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return mm1_path_remove(dir, NULL) != MM1_OK;
}

static void write_text(const char *text)
{
    mm1_error err = {0};
    check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_eval_results a, b;
    mm1_eval_results_init(&a);
    a.model = mm1_strdup("out/\"demo\"/mödel");
    assert_true(mm1_names_add(&a.tasks, "captions") && mm1_names_add(&a.tasks, "choice10"));
    check_ok(mm1_eval_results_add_seed(&a, 7, &err), &err);
    check_ok(mm1_eval_results_add_seed(&a, 8, &err), &err);
    a.n_captions = 500;
    a.n_text_bytes = (int64_t)1 << 40;
    a.caption_nll[MM1_PICTURE_TRUE] = (mm1_interval){2.125, 2.0, 2.25};
    a.caption_nll[MM1_PICTURE_SHUFFLED].value = 2.5; /* measured without an interval */
    a.caption_nll_difference[MM1_PICTURE_NONE] = (mm1_interval){0.4, 0.3, 0.5};
    a.choice10 = (mm1_interval){0.41, 0.37, 0.45};
    a.cider[1] = (mm1_interval){0.35, 0.3, 0.4};
    a.text_bits_per_byte = (mm1_interval){1.9, 1.88, 1.92};
    check_ok(mm1_eval_results_write(&a, path, &err), &err);
    check_ok(mm1_eval_results_read(&b, path, &err), &err);

    assert_string_equal(b.model, a.model);
    assert_int_equal(b.tasks.n, 2);
    assert_string_equal(b.tasks.items[1], "choice10");
    assert_true(b.n_seeds == 2 && b.seeds[1] == 8);
    assert_true(b.n_captions == 500 && b.n_choice10 == 0 && b.n_text_bytes == a.n_text_bytes);
    assert_memory_equal(&b.caption_nll[MM1_PICTURE_TRUE], &a.caption_nll[MM1_PICTURE_TRUE], sizeof(mm1_interval));
    assert_true(b.caption_nll[MM1_PICTURE_SHUFFLED].value == 2.5 && isnan(b.caption_nll[MM1_PICTURE_SHUFFLED].low));
    assert_true(isnan(b.caption_nll[MM1_PICTURE_NONE].value));
    assert_true(b.caption_nll_difference[MM1_PICTURE_NONE].high == 0.5);
    assert_true(b.choice10.value == 0.41 && b.choice10.low == 0.37 && b.choice10.high == 0.45);
    assert_true(isnan(b.cider[0].value) && b.cider[1].low == 0.3 && b.text_bits_per_byte.high == 1.92);
    mm1_eval_results_deinit(&a);
    mm1_eval_results_deinit(&b);
}

static void the_keys_are_those_of_the_contract(void **state)
{
    (void)state;
    mm1_eval_results r;
    mm1_eval_results_init(&r);
    r.caption_nll[MM1_PICTURE_TRUE] = (mm1_interval){2, 1, 3};
    json_t *h = mm1_eval_results_heldout(&r);
    double value = 0, low = 0, high = 0;
    assert_int_equal(json_unpack(h, "{s:{s:f},s:{s:[f,f]}}", "caption_nll_per_token", "true", &value,
                                 "caption_nll_per_token_interval", "true", &low, &high),
                     0);
    assert_true(value == 2 && low == 1 && high == 3);
    static const char *const inner[][2] = {{"caption_nll_per_token", "shuffled"},
                                           {"caption_nll_per_token", "none"},
                                           {"choice10", "accuracy"},
                                           {"choice10", "low"},
                                           {"choice10", "high"},
                                           {"cider", "shots0"},
                                           {"cider", "shots4"},
                                           {"cider", "shots8"},
                                           {"cider_interval", "shots0"}};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        assert_true(json_is_null(json_object_get(json_object_get(h, inner[i][0]), inner[i][1])));
    }
    assert_true(json_is_null(json_object_get(h, "text_bits_per_byte")));
    json_decref(h);
}

static void an_empty_object_is_an_evaluation_of_nothing(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_eval_results r;
    write_text("{\"something\": \"else\"}");
    check_ok(mm1_eval_results_read(&r, path, &err), &err);
    assert_true(r.model == NULL && isnan(r.choice10.value) && isnan(r.cider[2].low));
    mm1_eval_results_deinit(&r);
}

static void what_is_wrong_in_a_file_is_said_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"{\"model\": \n\n", ":"},
               {"[1]", "object is expected"},
               {"{\"heldout\": {\"choice10\": {\"accuracy\": \"high\"}}}", "\"accuracy\" is not a number"},
               {"{\"heldout\": {\"cider_interval\": {\"shots4\": [1]}}}", "\"shots4\" is not [low, high]"},
               {"{\"tasks\": [3]}", "\"tasks\""}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        mm1_error err = {0};
        mm1_eval_results r;
        write_text(bad[i].text);
        assert_int_equal(mm1_eval_results_read(&r, path, &err), MM1_E_FORMAT);
        check_contains(err.message, bad[i].says);
        check_contains(err.message, path);
    }
    mm1_error err = {0};
    mm1_eval_results r;
    assert_int_equal(mm1_eval_results_read(&r, "/nowhere/results.json", &err), MM1_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(the_keys_are_those_of_the_contract),
        cmocka_unit_test(an_empty_object_is_an_evaluation_of_nothing),
        cmocka_unit_test(what_is_wrong_in_a_file_is_said_with_its_place),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

/* metrics.jsonl: the form of a line, and a run that stops and goes on. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "train/metrics_log.h"

static mm1_error err;
static char dir[256], path[300];

static int make_dir(void **state)
{
    (void)state;
    check_tmpdir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return mm1_path_remove(dir, NULL) == MM1_OK ? 0 : 1;
}

static void check_file(const char *want)
{
    char *got;
    check_ok(mm1_file_read(path, 1 << 20, &got, NULL, &err), &err);
    assert_string_equal(got, want);
    mm1_free(got);
}

static void write_steps(int64_t last_step, int from, int to)
{
    mm1_metrics_log *log = NULL;
    check_ok(mm1_metrics_log_open(&log, path, last_step, &err), &err);
    for (int i = from; i < to; i++) {
        mm1_metrics_log_begin(log, i);
        mm1_metrics_log_f64(log, "loss", 1.0 / (i + 1));
        check_ok(mm1_metrics_log_end(log, &err), &err);
    }
    mm1_metrics_log_close(log);
}

static void a_line_has_this_form_and_is_there_at_once(void **state)
{
    (void)state;
    mm1_metrics_log *log = NULL;
    check_ok(mm1_metrics_log_open(&log, path, -1, &err), &err);
    mm1_metrics_log_begin(log, 7);
    mm1_metrics_log_f64(log, "loss", 0.1);
    mm1_metrics_log_f64(log, "lr", 1e-4);
    mm1_metrics_log_f64(log, "nan", (double)NAN);
    mm1_metrics_log_f64(log, "inf", -(double)INFINITY);
    mm1_metrics_log_i64(log, "tokens", INT64_MAX);
    mm1_metrics_log_text(log, "no\"te", "a\nb");
    check_ok(mm1_metrics_log_end(log, &err), &err);
    const char *const want = "{\"step\":7,\"loss\":0.1,\"lr\":0.0001,\"nan\":null,\"inf\":null,"
                             "\"tokens\":9223372036854775807,\"no\\\"te\":\"a\\nb\"}\n";
    check_file(want);
    assert_int_equal(mm1_metrics_log_end(log, &err), MM1_E_STATE);
    mm1_metrics_log_begin(log, 8);
    mm1_metrics_log_close(log); /* a line that did not end is not there */
    check_file(want);
}

static void a_run_that_stopped_and_went_on_leaves_the_same_bytes(void **state)
{
    (void)state;
    write_steps(-1, 0, 10);
    char *whole;
    check_ok(mm1_file_read(path, 1 << 20, &whole, NULL, &err), &err);
    /* Checkpoint after step 3, stopped in step 7 in the middle of a line. */
    write_steps(-1, 0, 7);
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    assert_true(fputs("{\"step\":7,\"lo", f) >= 0);
    assert_int_equal(fclose(f), 0);
    write_steps(3, 4, 10);
    check_file(whole);
    /* A checkpoint at the very end changes nothing, and neither does a torn line after it. */
    write_steps(9, 0, 0);
    check_file(whole);
    f = fopen(path, "ab");
    assert_non_null(f);
    assert_true(fputs("{\"step\":2}", f) >= 0); /* whole but for its newline: the write did not finish */
    assert_int_equal(fclose(f), 0);
    write_steps(9, 0, 0);
    check_file(whole);
    mm1_free(whole);
}

static void only_whole_lines_up_to_the_step_stay(void **state)
{
    (void)state;
    const char *const text = "{\"step\":1,\"x\":1}\n"
                             "garbage\n"
                             "[1]\n"
                             "\n"
                             "{\"loss\":1}\n"
                             "{\"step\":\"1\"}\n"
                             "{\"step\":1.0}\n"
                             "{\"step\":3}\n"
                             "{\"step\":2, \"eval\": {\"a\": null}}\r\n"
                             "{\"step\":1}{\"step\":2}\n"
                             "{\"step\":2}\n";
    check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
    write_steps(2, 0, 0);
    check_file("{\"step\":1,\"x\":1}\n{\"step\":2, \"eval\": {\"a\": null}}\r\n{\"step\":2}\n");
    write_steps(-1, 0, 0);
    check_file("");
}

static void failures_are_reported(void **state)
{
    (void)state;
    mm1_metrics_log *log = (void *)&err;
    assert_int_equal(mm1_metrics_log_open(&log, "/nowhere/metrics.jsonl", -1, &err), MM1_E_IO);
    assert_null(log);
    check_contains(err.message, "/nowhere/metrics.jsonl: cannot open");
    check_ok(mm1_metrics_log_open(&log, path, -1, &err), &err);
    char *long_text = mm1_calloc(1, (1 << 20) + 1);
    memset(long_text, 'x', 1 << 20);
    mm1_metrics_log_begin(log, 1);
    mm1_metrics_log_text(log, "t", long_text);
    assert_int_equal(mm1_metrics_log_end(log, &err), MM1_E_LIMIT);
    mm1_free(long_text);
    mm1_metrics_log_begin(log, 2);
    check_ok(mm1_metrics_log_end(log, &err), &err);
    mm1_metrics_log_close(log);
    check_file("{\"step\":2}\n");
    if (mm1_path_exists("/dev/full")) { /* always "no space left on device" */
        check_ok(mm1_path_remove(path, &err), &err);
        (void)snprintf(path, sizeof path, "/dev/full");
        assert_int_equal(mm1_metrics_log_open(&log, path, -1, &err), MM1_E_IO); /* not a regular file */
        check_contains(err.message, "/dev/full: not a regular file");
        assert_null(log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_this_form_and_is_there_at_once),
        cmocka_unit_test(a_run_that_stopped_and_went_on_leaves_the_same_bytes),
        cmocka_unit_test(only_whole_lines_up_to_the_step_stay),
        cmocka_unit_test(failures_are_reported),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

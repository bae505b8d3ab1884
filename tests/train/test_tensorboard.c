/* TensorBoard event files against bytes made by TensorBoard's own code. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "train/tensorboard.h"

static mm1_error err;
static const double start = 1700000000.25;

static void write_two_files(const char *dir, char *first, char *second, size_t cap)
{
    mm1_tensorboard *tb = NULL;
    check_ok(mm1_tensorboard_open(&tb, dir, 0, start, "host", &err), &err);
    check_ok(mm1_tensorboard_add_scalar(tb, "train/loss", 0, 2.5, start + 1, &err), &err);
    check_ok(mm1_tensorboard_add_scalar(tb, "train/loss", 1, (double)NAN, start + 2, &err), &err);
    check_ok(mm1_tensorboard_add_scalar(tb, "train/loss", 2, 9, start + 3, &err), &err);
    check_ok(mm1_tensorboard_add_scalar(tb, "lr", 300, -1e-4, start + 4, &err), &err);
    (void)snprintf(first, cap, "%s", mm1_tensorboard_path(tb));
    mm1_tensorboard_close(tb);
    check_ok(mm1_tensorboard_open(&tb, dir, 2, start + 10, "host", &err), &err);
    check_ok(mm1_tensorboard_add_scalar(tb, "train/loss", 2, 1.5, start + 11, &err), &err);
    check_ok(mm1_tensorboard_add_scalar(tb, "train/\xc3\xa4", INT64_C(1) << 40, (double)INFINITY, start + 12, &err),
             &err);
    (void)snprintf(second, cap, "%s", mm1_tensorboard_path(tb));
    check_ok(mm1_tensorboard_flush(tb, &err), &err);
    mm1_tensorboard_close(tb);
}

/* The folder is left for tools/golden_tensorboard.py check. */
static void the_bytes_are_those_of_tensorboard(void **state)
{
    (void)state;
    char first[600], second[600];
    const char *const dir = MM1_BINARY_DIR "/tensorboard";
    check_ok(mm1_path_remove(dir, &err), &err);
    check_ok(mm1_dir_make(dir, &err), &err);
    write_two_files(dir, first, second, sizeof first);
    assert_string_equal(mm1_path_basename(first), "events.out.tfevents.1700000000.host");
    assert_string_equal(mm1_path_basename(second), "events.out.tfevents.1700000010.host");
    mm1_map a, b, golden;
    check_ok(mm1_map_open(&a, first, &err), &err);
    check_ok(mm1_map_open(&b, second, &err), &err);
    check_ok(mm1_map_open(&golden, MM1_TEST_DATA "/train/tensorboard.golden", &err), &err);
    assert_int_equal(a.len + b.len, golden.len);
    assert_memory_equal(a.data, golden.data, a.len);
    assert_memory_equal(b.data, golden.data + a.len, b.len);
    mm1_map_close(&a);
    mm1_map_close(&b);
    mm1_map_close(&golden);
}

static void a_taken_name_gets_a_suffix_and_points_reach_the_file_by_flush(void **state)
{
    (void)state;
    char dir[256], path[300];
    check_tmpdir(dir, sizeof dir);
    mm1_tensorboard *a = NULL, *b = NULL, *c = NULL;
    check_ok(mm1_tensorboard_open(&a, dir, 0, start, "host", &err), &err);
    check_ok(mm1_tensorboard_open(&b, dir, 0, start, "host", &err), &err);
    (void)snprintf(path, sizeof path, "%s/events.out.tfevents.1700000000.host.1", dir);
    assert_string_equal(mm1_tensorboard_path(b), path);
    check_ok(mm1_tensorboard_add_scalar(b, "x", 1, 1, 0, &err), &err);
    check_ok(mm1_tensorboard_flush(b, &err), &err);
    mm1_map map;
    check_ok(mm1_map_open(&map, path, &err), &err);
    /* Two records of 16 bytes around 24 and 9 + 2 + 2 + 2 + 8 bytes of messages. */
    assert_int_equal(map.len, 16 + 24 + 16 + 23);
    mm1_map_close(&map);
    const uint64_t before = mm1_alloc_count();
    for (int i = 0; i < 100; i++) {
        check_ok(mm1_tensorboard_add_scalar(b, "x", i, i, 0, &err), &err);
    }
    assert_int_equal(mm1_alloc_count(), before);
    /* Host and time of the system. */
    check_ok(mm1_tensorboard_open(&c, dir, 0, 0, NULL, &err), &err);
    assert_true(strcmp(mm1_path_basename(mm1_tensorboard_path(c)), "events.out.tfevents.17") > 0);
    mm1_tensorboard_close(a);
    mm1_tensorboard_close(b);
    mm1_tensorboard_close(c);
    check_ok(mm1_path_remove(dir, &err), &err);
}

static void failures_are_reported(void **state)
{
    (void)state;
    char dir[256];
    mm1_tensorboard *tb = (void *)&err;
    assert_int_equal(mm1_tensorboard_open(&tb, "/nowhere", 0, start, "host", &err), MM1_E_IO);
    assert_null(tb);
    check_contains(err.message, "/nowhere/events.out.tfevents.1700000000.host: cannot create");
    check_tmpdir(dir, sizeof dir);
    check_ok(mm1_tensorboard_open(&tb, dir, 0, start, "host", &err), &err);
    char *tag = mm1_calloc(1, 70001);
    memset(tag, 't', 70000);
    assert_int_equal(mm1_tensorboard_add_scalar(tb, tag, 0, 0, 0, &err), MM1_E_LIMIT);
    mm1_free(tag);
    check_ok(mm1_tensorboard_add_scalar(tb, "fine", 0, 0, 0, &err), &err);
    mm1_tensorboard_close(tb);
    const size_t before = mm1_alloc_bytes();
    for (uint64_t i = 1; i < 4; i++) {
        mm1_alloc_fail_at(i);
        assert_int_equal(mm1_tensorboard_open(&tb, dir, 0, start, "host", &err), MM1_E_NOMEM);
        mm1_alloc_fail_at(0);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    check_ok(mm1_path_remove(dir, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_tensorboard),
        cmocka_unit_test(a_taken_name_gets_a_suffix_and_points_reach_the_file_by_flush),
        cmocka_unit_test(failures_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

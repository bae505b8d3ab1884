/* Memory, buffers, files, random numbers, hashes. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"

static void error_message_gains_context_and_keeps_the_inner_one(void **state)
{
    (void)state;
    mm1_error err = {0};
    assert_int_equal(mm1_error_set(&err, MM1_E_FORMAT, "line %d is bad", 3), MM1_E_FORMAT);
    assert_int_equal(mm1_error_wrap(&err, MM1_E_FORMAT, "%s", "a.yaml"), MM1_E_FORMAT);
    assert_string_equal(err.message, "a.yaml: line 3 is bad");
    assert_int_equal(mm1_status_exit_code(MM1_E_FORMAT), 3);
    assert_int_equal(mm1_error_set(NULL, MM1_E_IO, "ignored"), MM1_E_IO);
}

static void alloc_is_aligned_counted_and_refuses_overflow(void **state)
{
    (void)state;
    const uint64_t before = mm1_alloc_count();
    const size_t bytes = mm1_alloc_bytes();
    void *p = mm1_alloc(3, 5);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % MM1_ALIGN_BYTES, 0);
    assert_int_equal(mm1_alloc_count() - before, 1);
    assert_int_equal(mm1_alloc_bytes() - bytes, 15);
    mm1_free(p);
    assert_int_equal(mm1_alloc_bytes(), bytes);
    volatile size_t huge = SIZE_MAX;
    assert_null(mm1_alloc(huge, 2));
    assert_null(mm1_alloc(huge, 1));
    mm1_alloc_fail_at(2);
    p = mm1_alloc(1, 1);
    assert_non_null(p);
    assert_null(mm1_alloc(1, 1));
    mm1_free(p);
}

static void arena_gives_aligned_blocks_and_null_when_full(void **state)
{
    (void)state;
    mm1_arena a;
    mm1_error err = {0};
    check_ok(mm1_arena_init(&a, 256, &err), &err);
    char *p = mm1_arena_alloc(&a, 1, 100);
    const mm1_arena_mark mark = mm1_arena_mark_get(&a);
    char *q = mm1_arena_alloc(&a, 1, 100);
    assert_non_null(p);
    assert_int_equal((uintptr_t)q % MM1_ALIGN_BYTES, 0);
    assert_null(mm1_arena_alloc(&a, 1, 1));
    mm1_arena_reset_to(&a, mark);
    assert_ptr_equal(mm1_arena_alloc(&a, 1, 64), q);
    assert_int_equal(a.peak, 256);
    mm1_arena_deinit(&a);
}

static void buf_stops_at_its_maximum_and_says_so(void **state)
{
    (void)state;
    mm1_buf b;
    mm1_buf_init(&b, 8);
    mm1_buf_puts(&b, "12345678");
    assert_int_equal(mm1_buf_status(&b), MM1_OK);
    mm1_buf_putc(&b, '9');
    assert_int_equal(mm1_buf_status(&b), MM1_E_LIMIT);
    assert_string_equal(mm1_buf_str(&b), "12345678");
    mm1_buf_deinit(&b);
    mm1_buf_init(&b, 100);
    mm1_buf_put_json(&b, "a\"\n\x01");
    mm1_buf_put_html(&b, "<&>");
    mm1_buf_put_base64(&b, "ab", 2);
    assert_string_equal(mm1_buf_str(&b), "\"a\\\"\\n\\u0001\"&lt;&amp;&gt;YWI=");
    mm1_buf_deinit(&b);
}

static void file_write_is_read_back_and_leaves_no_temporary(void **state)
{
    (void)state;
    char dir[256];
    mm1_error err = {0};
    check_tmpdir(dir, sizeof dir);
    char *path = mm1_path_join(dir, "x-01.txt"), *text = NULL;
    size_t len = 0;
    check_ok(mm1_file_write_atomic(path, "abc", 3, &err), &err);
    check_ok(mm1_file_read(path, 3, &text, &len, &err), &err);
    assert_int_equal(len, 3);
    assert_string_equal(text, "abc");
    mm1_free(text);
    assert_int_equal(mm1_file_read(path, 2, &text, &len, &err), MM1_E_LIMIT);
    assert_null(text);
    check_contains(err.message, "over the limit of 2");
    mm1_names names;
    check_ok(mm1_dir_list(dir, &names, &err), &err);
    assert_int_equal(names.n, 1);
    mm1_names_free(&names);

    char *pattern = mm1_path_join(dir, "x-{00..01}.txt");
    assert_int_equal(mm1_path_glob(pattern, &names, &err), MM1_E_IO);
    check_contains(err.message, "x-00.txt");
    mm1_free(pattern);
    pattern = mm1_path_join(dir, "x-{01..01}.t?t");
    check_ok(mm1_path_glob(pattern, &names, &err), &err);
    assert_int_equal(names.n, 1);
    assert_string_equal(names.items[0], path);
    mm1_names_free(&names);
    mm1_free(pattern);
    mm1_free(path);
    check_ok(mm1_path_remove(dir, &err), &err);
    assert_false(mm1_path_exists(dir));
    assert_int_equal(mm1_file_read(dir, 10, &text, NULL, &err), MM1_E_IO);
}

static void philox_gives_the_published_vectors(void **state)
{
    (void)state;
    /* Known answers of the Random123 distribution for philox4x32-10. */
    const uint32_t zero[4] = {0}, ones[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    uint32_t out[4];
    mm1_philox(out, zero, zero);
    assert_int_equal(out[0], 0x6627e8d5u);
    assert_int_equal(out[3], 0x9b00dbd8u);
    mm1_philox(out, ones, ones);
    assert_int_equal(out[0], 0x408f276du);
}

static void rng_streams_differ_and_have_the_right_moments(void **state)
{
    (void)state;
    mm1_rng a = mm1_rng_make(1, MM1_RNG_INIT, 0), b = mm1_rng_make(1, MM1_RNG_INIT, 1),
            c = mm1_rng_make(1, MM1_RNG_INIT, 0);
    const uint64_t first = mm1_rng_u64(&a);
    assert_int_not_equal(first, mm1_rng_u64(&b));
    assert_int_equal(first, mm1_rng_u64(&c));
    double sum = 0, sum_sq = 0;
    enum { N = 200000 };
    for (int i = 0; i < N; i++) {
        const double x = mm1_rng_normal(&a);
        sum += x;
        sum_sq += x * x;
    }
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(sum_sq / N - 1) < 0.02);
    assert_true(mm1_rng_below(&a, 3) < 3);
}

static void permutation_visits_everything_once(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 5, 64, 65, 1000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        unsigned char seen[1000] = {0};
        for (uint64_t i = 0; i < sizes[s]; i++) {
            const uint64_t j = mm1_rng_permute(7, MM1_RNG_SHUFFLE, 3, sizes[s], i);
            assert_true(j < sizes[s]);
            assert_int_equal(seen[j]++, 0);
        }
    }
}

static void sha256_gives_the_published_vector(void **state)
{
    (void)state;
    char hex[MM1_SHA256_HEX_BYTES];
    mm1_sha256_hex(hex, "abc", 3);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_message_gains_context_and_keeps_the_inner_one),
        cmocka_unit_test(alloc_is_aligned_counted_and_refuses_overflow),
        cmocka_unit_test(arena_gives_aligned_blocks_and_null_when_full),
        cmocka_unit_test(buf_stops_at_its_maximum_and_says_so),
        cmocka_unit_test(file_write_is_read_back_and_leaves_no_temporary),
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(rng_streams_differ_and_have_the_right_moments),
        cmocka_unit_test(permutation_visits_everything_once),
        cmocka_unit_test(sha256_gives_the_published_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

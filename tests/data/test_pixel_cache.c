/* test_pixel_cache.c - what the loader keeps of pictures: found again, never over its bound, freed at the end. */
#include "support/check.h"

#include "base/alloc.h"
#include "data/pixel_cache.h"

enum { SIDE = 32 };

/* n pictures whose first byte is v. */
static mm1_image *pictures(size_t n, uint8_t v)
{
    mm1_image *p = mm1_calloc(n, sizeof *p);
    mm1_error err = {0};
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        check_ok(mm1_image_init(&p[i], SIDE, SIDE, &err), &err);
        p[i].rgb[0] = v;
    }
    return p;
}

static void free_pictures(mm1_image *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mm1_image_deinit(&p[i]);
    }
    mm1_free(p);
}

static void pictures_are_found_by_source_sample_and_number(void **state)
{
    (void)state;
    const int64_t n_samples[] = {3, 0, 5};
    const size_t live = mm1_alloc_bytes();
    mm1_pixel_cache *c = NULL;
    mm1_error err = {0};
    check_ok(mm1_pixel_cache_create(3, n_samples, 1 << 20, &c, &err), &err);
    assert_null(mm1_pixel_cache_get(c, 0, 2, 1));
    mm1_image *one = pictures(1, 7), *two = pictures(2, 9), *again = pictures(1, 8);
    assert_true(mm1_pixel_cache_put(c, 0, 2, one, 1));
    assert_true(mm1_pixel_cache_put(c, 2, 2, two, 2));
    assert_false(mm1_pixel_cache_put(c, 0, 2, again, 1)); /* the first stays, and may be lent already */
    free_pictures(again, 1);
    assert_ptr_equal(mm1_pixel_cache_get(c, 0, 2, 1), one);
    assert_ptr_equal(mm1_pixel_cache_get(c, 2, 2, 2), two);
    assert_int_equal(one[0].rgb[0], 7);
    assert_null(mm1_pixel_cache_get(c, 2, 2, 1)); /* the document has changed */
    assert_null(mm1_pixel_cache_get(c, 0, 1, 1));
    mm1_pixel_cache_destroy(c);
    assert_int_equal(mm1_alloc_bytes(), live);
}

static void a_full_cache_takes_no_more_and_keeps_what_it_has(void **state)
{
    (void)state;
    enum { N = 100, MAX_BYTES = 100000 };
    const int64_t n_samples[] = {N};
    const size_t live = mm1_alloc_bytes();
    mm1_pixel_cache *c = NULL;
    mm1_error err = {0};
    int64_t n_kept = 0;
    check_ok(mm1_pixel_cache_create(1, n_samples, MAX_BYTES, &c, &err), &err);
    for (int64_t i = 0; i < N; i++) {
        mm1_image *p = pictures(1, (uint8_t)i);
        if (!mm1_pixel_cache_put(c, 0, i, p, 1)) {
            free_pictures(p, 1);
            assert_null(mm1_pixel_cache_get(c, 0, i, 1));
        } else {
            n_kept++;
        }
        assert_true(mm1_pixel_cache_bytes(c) <= MAX_BYTES);
        assert_true(mm1_alloc_bytes() - live <= mm1_pixel_cache_bytes(c) + 512); /* the struct itself */
    }
    assert_in_range(n_kept, MAX_BYTES / (SIDE * SIDE * 3) * 9 / 10, MAX_BYTES / (SIDE * SIDE * 3));
    for (int64_t i = 0; i < n_kept; i++) {
        assert_int_equal(mm1_pixel_cache_get(c, 0, i, 1)->rgb[0], i);
    }
    mm1_pixel_cache_destroy(c);
    assert_int_equal(mm1_alloc_bytes(), live);
}

static void a_bound_below_the_index_is_an_error_that_says_so(void **state)
{
    (void)state;
    static const int64_t n_samples[][2] = {{10, 1 << 20}, {INT64_MAX, 1}};
    for (size_t i = 0; i < 2; i++) {
        const size_t live = mm1_alloc_bytes();
        mm1_pixel_cache *c = NULL;
        mm1_error err = {0};
        assert_int_equal(mm1_pixel_cache_create(2, n_samples[i], 1 << 20, &c, &err), MM1_E_CONFIG);
        assert_null(c);
        check_contains(err.message, "make it larger or leave it off");
        assert_int_equal(mm1_alloc_bytes(), live);
    }
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    const int64_t n_samples[] = {4, 4};
    const size_t live = mm1_alloc_bytes();
    mm1_status st = MM1_E_NOMEM;
    for (uint64_t n = 1; st != MM1_OK; n++) {
        mm1_pixel_cache *c = NULL;
        mm1_error err = {0};
        assert_true(n < 10);
        mm1_alloc_fail_at(n);
        st = mm1_pixel_cache_create(2, n_samples, 1 << 20, &c, &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || st == MM1_E_NOMEM);
        assert_true((st == MM1_OK) == (c != NULL));
        mm1_pixel_cache_destroy(c);
        assert_int_equal(mm1_alloc_bytes(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_found_by_source_sample_and_number),
        cmocka_unit_test(a_full_cache_takes_no_more_and_keeps_what_it_has),
        cmocka_unit_test(a_bound_below_the_index_is_an_error_that_says_so),
        cmocka_unit_test(running_out_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

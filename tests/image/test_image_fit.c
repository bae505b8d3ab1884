/* test_image_fit.c - cropping, squares from any shape, floats, and encoding. */
#include "image_support.h"

static void a_crop_copies_its_rectangle_and_refuses_one_outside(void **state)
{
    mm1_image src = image_noise(11, 7, 1), out;
    mm1_error err = {0};
    (void)state;
    check_ok(mm1_image_crop(&src, 2, 3, 5, 4, &out, &err), &err);
    assert_int_equal(out.width, 5);
    assert_int_equal(out.height, 4);
    for (size_t y = 0; y < 4; y++) {
        assert_memory_equal(out.rgb + y * 15, src.rgb + ((y + 3) * 11 + 2) * 3, 15);
    }
    mm1_image_deinit(&out);
    check_ok(mm1_image_crop(&src, 0, 0, 11, 7, &out, &err), &err);
    assert_memory_equal(out.rgb, src.rgb, 11 * 7 * 3);
    mm1_image_deinit(&out);

    static const int32_t outside[][4] = {{-1, 0, 2, 2}, {0, -1, 2, 2}, {10, 0, 2, 2},
                                         {0, 6, 2, 2},  {0, 0, 12, 1}, {0, 0, 0, 1},
                                         {0, 0, 1, 0},  {0, 0, -1, 1}, {INT32_MAX, 0, INT32_MAX, 1}};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        const int32_t *r = outside[i];
        assert_int_equal(mm1_image_crop(&src, r[0], r[1], r[2], r[3], &out, &err), MM1_E_ARG);
        assert_null(out.rgb);
    }
    mm1_image_deinit(&src);
}

static void squashing_is_resizing_both_sides(void **state)
{
    mm1_image src = image_noise(23, 40, 2), a, b;
    mm1_error err = {0};
    (void)state;
    check_ok(mm1_image_fit_square(&src, 17, MM1_FIT_SQUASH, MM1_FILTER_BICUBIC, NULL, &a, &err), &err);
    check_ok(mm1_image_resize(&src, 17, 17, MM1_FILTER_BICUBIC, &b, &err), &err);
    assert_int_equal(a.width, 17);
    assert_int_equal(a.height, 17);
    assert_memory_equal(a.rgb, b.rgb, 17 * 17 * 3);
    mm1_image_deinit(&a);
    mm1_image_deinit(&b);
    mm1_image_deinit(&src);
}

static void sizes_below_one_are_refused(void **state)
{
    mm1_image src = image_noise(3, 3, 3), out;
    const mm1_image empty = {0};
    mm1_error err = {0};
    (void)state;
    assert_int_equal(mm1_image_resize(&src, 0, 3, MM1_FILTER_BICUBIC, &out, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_resize(&src, 3, -1, MM1_FILTER_BICUBIC, &out, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_resize(&empty, 3, 3, MM1_FILTER_BICUBIC, &out, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_fit_square(&src, 0, MM1_FIT_PAD, MM1_FILTER_BICUBIC, NULL, &out, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_fit_square(&empty, 4, MM1_FIT_CROP, MM1_FILTER_BICUBIC, NULL, &out, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_init(&out, 0, 1, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_init(&out, 1, -5, &err), MM1_E_ARG);
    mm1_alloc_fail_at(1);
    assert_int_equal(mm1_image_init(&out, 30000, 30000, &err), MM1_E_NOMEM);
    mm1_alloc_fail_at(0);
    check_contains(err.message, "30000 x 30000");
    assert_null(out.rgb);
    mm1_image_deinit(&src);
}

/* A canvas of 30000 x 30000 px would be 2.7 GB, a strip of 11340000 x 378 px 12.9 GB. */
static void a_hairline_picture_becomes_a_square_without_a_giant_in_between(void **state)
{
    enum { LONG = 30000, R = 378 };
    (void)state;
    for (int upright = 0; upright < 2; upright++) {
        mm1_image src = image_noise(upright ? 1 : LONG, upright ? LONG : 1, 4), pad, crop;
        mm1_error err = {0};
        const size_t live = mm1_alloc_bytes();

        check_ok(mm1_image_fit_square(&src, R, MM1_FIT_PAD, MM1_FILTER_BICUBIC, NULL, &pad, &err), &err);
        check_ok(mm1_image_fit_square(&src, R, MM1_FIT_CROP, MM1_FILTER_BICUBIC, NULL, &crop, &err), &err);
        assert_true(mm1_alloc_peak_bytes() < live + (100 << 20));
        assert_int_equal(pad.rgb[0], 255); /* a corner is white */
        assert_int_equal(crop.width, R);
        assert_int_equal(crop.height, R);
        const uint8_t *mid = src.rgb + (size_t)(LONG / 2) * 3; /* the cut shows less than one source pixel */
        for (size_t c = 0; c < 3; c++) {
            const int lo = mid[c] < (mid - 3)[c] ? mid[c] : (mid - 3)[c],
                      hi = mid[c] > (mid - 3)[c] ? mid[c] : (mid - 3)[c];
            const uint8_t v = crop.rgb[((size_t)R / 2 * R + R / 2) * 3 + c];
            assert_true(v >= lo - 40 && v <= hi + 40);
        }
        mm1_image_deinit(&pad);
        mm1_image_deinit(&crop);
        mm1_image_deinit(&src);
    }
    mm1_image src = image_noise(LONG, 1, 5), out;
    mm1_error err = {0};
    assert_int_equal(mm1_image_fit_square(&src, 100000, MM1_FIT_CROP, MM1_FILTER_BICUBIC, NULL, &out, &err),
                     MM1_E_LIMIT);
    check_contains(err.message, "fit it with padding");
    mm1_image_deinit(&src);
}

static void a_flat_picture_stays_flat_at_every_size(void **state)
{
    (void)state;
    for (int32_t w = 1; w < 40; w += 3) {
        for (int f = 0; f < 2; f++) {
            mm1_image src = image_noise(13, 19, 6), out;
            mm1_error err = {0};
            memset(src.rgb, 201, 13 * 19 * 3);
            check_ok(mm1_image_resize(&src, w, 40 - w, f ? MM1_FILTER_BICUBIC : MM1_FILTER_BILINEAR, &out, &err), &err);
            for (size_t i = 0; i < (size_t)w * (size_t)(40 - w) * 3; i++) {
                assert_int_equal(out.rgb[i], 201);
            }
            mm1_image_deinit(&out);
            mm1_image_deinit(&src);
        }
    }
}

static void normalising_gives_planes_of_the_stated_formula(void **state)
{
    static const float mean[3] = {0.48145466F, 0.4578275F, 0.40821073F},
                       std[3] = {0.26862954F, 0.26130258F, 0.27577711F};
    enum { W = 16, H = 17 };
    mm1_image src = image_noise(W, H, 7);
    float got[3 * W * H], want[3 * W * H];
    (void)state;
    for (size_t i = 0; i < 256; i++) {
        src.rgb[3 * i] = (uint8_t)i;
    }
    mm1_image_normalize(got, &src, mean, std);
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < W * H; i++) {
            want[c * W * H + i] = ((float)src.rgb[3 * i + c] / 255.0F - mean[c]) / std[c];
        }
    }
    check_close(got, want, 3 * W * H, 0, 0);
    mm1_image_deinit(&src);
}

static void a_png_round_trip_keeps_every_byte(void **state)
{
    static const int32_t sizes[][2] = {{1, 1}, {7, 3}, {64, 65}, {300, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        mm1_image src = image_noise(sizes[i][0], sizes[i][1], i), back;
        uint8_t *bytes = NULL;
        size_t len = 0;
        mm1_error err = {0};
        check_ok(mm1_image_encode_png(&src, &bytes, &len, &err), &err);
        check_ok(mm1_image_decode(bytes, len, NULL, "memory", &back, &err), &err);
        assert_int_equal(back.width, src.width);
        assert_int_equal(back.height, src.height);
        assert_memory_equal(back.rgb, src.rgb, (size_t)src.width * (size_t)src.height * 3);
        mm1_image_deinit(&back);
        mm1_image_deinit(&src);
        mm1_free(bytes);
    }
}

static double mean_difference(const mm1_image *a, const mm1_image *b)
{
    const size_t n = (size_t)a->width * (size_t)a->height * 3;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += abs((int)a->rgb[i] - (int)b->rgb[i]);
    }
    return sum / (double)n;
}

static void a_jpeg_round_trip_is_closer_at_higher_quality(void **state)
{
    mm1_image src, small = image_load("filtered.png"), back;
    mm1_error err = {0};
    double difference[2];
    size_t len[2];
    (void)state;
    check_ok(mm1_image_resize(&small, 200, 150, MM1_FILTER_BICUBIC, &src, &err), &err);
    for (int i = 0; i < 2; i++) {
        uint8_t *bytes = NULL;
        check_ok(mm1_image_encode_jpeg(&src, i == 0 ? 30 : 95, &bytes, &len[i], &err), &err);
        check_ok(mm1_image_decode(bytes, len[i], NULL, "memory", &back, &err), &err);
        assert_int_equal(back.width, 200);
        assert_int_equal(back.height, 150);
        difference[i] = mean_difference(&src, &back);
        mm1_image_deinit(&back);
        mm1_free(bytes);
    }
    assert_true(len[1] > len[0]);
    assert_true(difference[1] < difference[0]);
    assert_true(difference[1] < 6); /* the colours are stored at half the size */
    mm1_image_deinit(&src);
    mm1_image_deinit(&small);
}

static void encoding_refuses_what_it_cannot_do(void **state)
{
    mm1_image src = image_noise(4, 4, 8), wide = image_noise(65501, 1, 8);
    const mm1_image empty = {0};
    uint8_t *bytes = (uint8_t *)1;
    size_t len = 1;
    mm1_error err = {0};
    (void)state;
    assert_int_equal(mm1_image_encode_jpeg(&src, 0, &bytes, &len, &err), MM1_E_ARG);
    assert_null(bytes);
    assert_int_equal(mm1_image_encode_jpeg(&src, 101, &bytes, &len, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_encode_jpeg(&empty, 90, &bytes, &len, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_encode_png(&empty, &bytes, &len, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_encode_jpeg(&wide, 90, &bytes, &len, &err), MM1_E_LIMIT);
    check_contains(err.message, "use PNG");
    mm1_image_deinit(&src);
    mm1_image_deinit(&wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crop_copies_its_rectangle_and_refuses_one_outside),
        cmocka_unit_test(squashing_is_resizing_both_sides),
        cmocka_unit_test(sizes_below_one_are_refused),
        cmocka_unit_test(a_hairline_picture_becomes_a_square_without_a_giant_in_between),
        cmocka_unit_test(a_flat_picture_stays_flat_at_every_size),
        cmocka_unit_test(normalising_gives_planes_of_the_stated_formula),
        cmocka_unit_test(a_png_round_trip_keeps_every_byte),
        cmocka_unit_test(a_jpeg_round_trip_is_closer_at_higher_quality),
        cmocka_unit_test(encoding_refuses_what_it_cannot_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

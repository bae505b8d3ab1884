/* test_image_scaled.c - decoding a JPEG small: which size it comes out at, how close its pixels are to the exact ones,
 * and that they are the exact ones where nothing smaller will do. */
#include "image_support.h"

#include <math.h>

/* Something like a photograph: light that falls off, a horizon, round things with edges, leaves.  As a JPEG of quality
 * 90, upright or with an EXIF orientation; mm1_free() it. */
static uint8_t *photo(int32_t width, int32_t height, int orientation, size_t *len)
{
    static const uint8_t exif[] = "\xff\xe1\0\x22"
                                  "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0";
    enum { START = 2, EXIF = sizeof exif - 1, ORIENTATION = 28 };
    mm1_image image;
    mm1_error err = {0};
    uint8_t *plain = NULL;
    mm1_rng r = mm1_rng_make(3, MM1_RNG_TEST, 0);
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            const double u = (double)x / width, v = (double)y / height;
            const bool ball = hypot(u - 0.6, v - 0.4)<0.2, ground = v> 0.7 + 0.05 * sin(9 * u);
            const double leaf = ground ? 30 * sin(60 * u + 20 * v) * cos(70 * v) : 0;
            const double rgb[3] = {ball     ? 220 - 300 * fabs(u - 0.55)
                                   : ground ? 60 + leaf
                                            : 90 + 100 * v,
                                   ball ? 60 : 130 - 50 * u + leaf, ground ? 40 : 200 - 80 * v};
            for (int c = 0; c < 3; c++) {
                const double noisy = rgb[c] + 6 * (mm1_rng_uniform(&r) - 0.5);
                image.rgb[3 * ((size_t)y * (size_t)width + (size_t)x) + (size_t)c] =
                    (uint8_t)fmax(0, fmin(255, round(noisy)));
            }
        }
    }
    check_ok(mm1_image_encode_jpeg(&image, 90, &plain, len, &err), &err);
    mm1_image_deinit(&image);
    if (orientation == 0) {
        return plain;
    }
    uint8_t *turned = mm1_alloc(*len + EXIF, 1);
    assert_non_null(turned);
    memcpy(turned, plain, START);
    memcpy(turned + START, exif, EXIF);
    turned[START + ORIENTATION] = (uint8_t)orientation;
    memcpy(turned + START + EXIF, plain + START, *len - START);
    *len += EXIF;
    mm1_free(plain);
    return turned;
}

static void both_sides_stay_five_quarters_of_what_is_wanted(void **state)
{
    static const struct {
        int orientation;
        int32_t for_width, for_height, width, height; /* of a stored picture of 403 x 301 px */
    } cases[] = {
        {0, 1, 1, 51, 38},       {0, 40, 30, 51, 38},         {0, 41, 30, 101, 76},    {0, 40, 31, 101, 76},
        {0, 80, 60, 101, 76},    {0, 81, 1, 202, 151},        {0, 161, 120, 202, 151}, {0, 162, 120, 403, 301},
        {0, 403, 301, 403, 301}, {0, INT32_MAX, 1, 403, 301}, {3, 40, 30, 51, 38},     {6, 30, 40, 38, 51},
        {6, 40, 30, 76, 101},    {8, 60, 80, 76, 101},        {5, 120, 161, 151, 202}, {7, 1, INT32_MAX, 301, 403},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = 0;
        uint8_t *bytes = photo(403, 301, cases[i].orientation, &len);
        mm1_image got;
        mm1_error err = {0};
        check_ok(
            mm1_image_decode_scaled(bytes, len, NULL, "photo", cases[i].for_width, cases[i].for_height, &got, &err),
            &err);
        assert_int_equal(got.width, cases[i].width);
        assert_int_equal(got.height, cases[i].height);
        mm1_image_deinit(&got);
        mm1_free(bytes);
    }
}

/* dB */
static double psnr(const mm1_image *a, const mm1_image *b)
{
    double sum = 0;
    const size_t n = (size_t)a->width * (size_t)a->height * 3;
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (size_t i = 0; i < n; i++) {
        const double d = (double)a->rgb[i] - b->rgb[i];
        sum += d * d;
    }
    return 10 * log10(255.0 * 255.0 * (double)n / fmax(sum, 1e-9));
}

static void a_square_of_a_small_decode_is_close_to_the_exact_one(void **state)
{
    enum { TURNED = 6 };
    static const int32_t sides[] = {40, 56, 80, 112, 160};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof sides / sizeof sides[0]; i++) {
        const int32_t r = sides[i / 2];
        size_t len = 0;
        uint8_t *bytes = photo(600, 440, i % 2 == 0 ? 0 : TURNED, &len);
        mm1_image whole, small, want, got;
        mm1_error err = {0};
        check_ok(mm1_image_decode(bytes, len, NULL, "photo", &whole, &err), &err);
        check_ok(mm1_image_decode_scaled(bytes, len, NULL, "photo", r, r, &small, &err), &err);
        assert_true(small.width < whole.width && small.height < whole.height);
        assert_true((small.width < small.height) == (whole.width < whole.height));
        check_ok(mm1_image_resize(&whole, r, r, MM1_FILTER_BICUBIC, &want, &err), &err);
        check_ok(mm1_image_resize(&small, r, r, MM1_FILTER_BICUBIC, &got, &err), &err);
        const double db = psnr(&want, &got);
        if (db < 45) {
            fail_msg("%d px from %d x %d: %.1f dB", r, small.width, small.height, db);
        }
        mm1_image_deinit(&whole);
        mm1_image_deinit(&small);
        mm1_image_deinit(&want);
        mm1_image_deinit(&got);
        mm1_free(bytes);
    }
}

static void where_nothing_smaller_will_do_the_pixels_are_exact(void **state)
{
    static const struct {
        const char *name;
        int32_t side; /* wanted */
    } cases[] = {{"rgb420.jpg", INT32_MAX}, {"progressive.jpg", INT32_MAX},
                 {"exif6.jpg", INT32_MAX},  {"cmyk.jpg", INT32_MAX},
                 {"filtered.png", 1},       {"lossy.webp", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = 0;
        char *bytes = image_bytes(cases[i].name, &len);
        mm1_image want = image_load(cases[i].name), got;
        mm1_error err = {0};
        check_ok(mm1_image_decode_scaled(bytes, len, NULL, cases[i].name, cases[i].side, cases[i].side, &got, &err),
                 &err);
        assert_int_equal(got.width, want.width);
        assert_int_equal(got.height, want.height);
        assert_memory_equal(got.rgb, want.rgb, (size_t)want.width * (size_t)want.height * 3);
        mm1_image_deinit(&got);
        mm1_image_deinit(&want);
        mm1_free(bytes);
    }
}

/* The small result would be within the limit; the work to get there would not. */
static void limits_hold_for_the_stored_size(void **state)
{
    const mm1_image_limits limits = {.max_bytes = 1 << 20, .max_pixels = 403 * 301 - 1, .max_side = 1000};
    size_t len = 0;
    uint8_t *bytes = photo(403, 301, 0, &len);
    mm1_image got;
    mm1_error err = {0};
    (void)state;
    assert_int_equal(mm1_image_decode_scaled(bytes, len, &limits, "photo", 8, 8, &got, &err), MM1_E_LIMIT);
    assert_null(got.rgb);
    check_contains(err.message, "photo: 403 x 301 px");
    mm1_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_stay_five_quarters_of_what_is_wanted),
        cmocka_unit_test(a_square_of_a_small_decode_is_close_to_the_exact_one),
        cmocka_unit_test(where_nothing_smaller_will_do_the_pixels_are_exact),
        cmocka_unit_test(limits_hold_for_the_stored_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

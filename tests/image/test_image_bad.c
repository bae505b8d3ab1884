/* test_image_bad.c - pictures that are cut, damaged, lying or too large: an error with a name in it, never a crash, a
 * leak or memory taken before the limits were checked.  Inputs are copied to blocks of their exact length, so that the
 * address sanitizer sees any read past the end. */
#include "image_support.h"

#include "image/image_internal.h"

static const char *const samples[] = {
    "filtered.png",  "pal4_trns_i.png", "grey16_i.png",  "deep6.png",          "split.png",       "exif8_late.png",
    "rgb420.jpg",    "progressive.jpg", "cmyk.jpg",      "grey.jpg",           "exif6.jpg",       "lossy.webp",
    "lossless.webp", "exif7.webp",      "animated.webp", "partial_alpha.webp", "lossy_alpha.webp"};

enum { N_SAMPLES = sizeof samples / sizeof samples[0] };

static mm1_status decode_copy(const char *bytes, size_t len, const mm1_image_limits *limits, mm1_image *out,
                              mm1_error *err)
{
    char *copy = malloc(len + (len == 0));
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    const mm1_status probed = mm1_image_probe(copy, len, limits, "dir/pic", NULL, NULL, NULL, err);
    const mm1_status st = mm1_image_decode(copy, len, limits, "dir/pic", out, err);
    if (probed != MM1_OK) {
        assert_int_not_equal(st, MM1_OK); /* what a probe refuses, decoding refuses */
    }
    if (st != MM1_OK) {
        check_contains(err->message, "dir/pic");
        assert_null(out->rgb);
        assert_int_equal(out->width, 0);
    }
    mm1_image small;
    mm1_error small_err = {0};
    assert_int_equal(mm1_image_decode_scaled(copy, len, limits, "dir/pic", 1, 1, &small, &small_err), st);
    assert_true((st == MM1_OK) == (small.rgb != NULL));
    mm1_image_deinit(&small);
    free(copy);
    return st;
}

static void put_be16(char *p, unsigned v)
{
    p[0] = (char)(v >> 8);
    p[1] = (char)v;
}

static size_t find(const char *bytes, size_t len, const char *what, size_t n)
{
    const char *p = memmem(bytes, len, what, n);
    assert_non_null(p);
    return (size_t)(p - bytes);
}

static void every_prefix_is_an_error_or_the_whole_picture(void **state)
{
    (void)state;
    for (int i = 0; i < N_SAMPLES; i++) {
        size_t len = 0, n_whole = 0;
        char *bytes = image_bytes(samples[i], &len);
        mm1_image whole = image_load(samples[i]), got;
        mm1_error err = {0};
        const size_t live = mm1_alloc_bytes();

        for (size_t n = 0; n < len; n++) {
            const mm1_status st = decode_copy(bytes, n, NULL, &got, &err);
            if (st == MM1_OK) {
                n_whole++;
                assert_int_equal((int64_t)got.width * got.height, (int64_t)whole.width * whole.height);
                if (got.width == whole.width) { /* an orientation behind the pixels may be cut off */
                    assert_memory_equal(got.rgb, whole.rgb, (size_t)whole.width * (size_t)whole.height * 3);
                }
                mm1_image_deinit(&got);
            } else if (st != MM1_E_FORMAT) {
                fail_msg("%s cut to %zu bytes: %s %s", samples[i], n, mm1_status_name(st), err.message);
            }
            assert_int_equal(mm1_alloc_bytes(), live);
        }
        /* Only a PNG may lack its end, and then not more than the chunks behind the pixels. */
        assert_true(n_whole <= (strstr(samples[i], ".png") != NULL ? 64 : 0));
        mm1_image_deinit(&whole);
        mm1_free(bytes);
    }
}

static void damaged_bytes_never_crash_or_leak(void **state)
{
    enum { ROUNDS = 400 };
    mm1_rng r = mm1_rng_make(7, MM1_RNG_TEST, 0);
    const mm1_image_limits limits = {.max_bytes = 1 << 20, .max_pixels = 1 << 20, .max_side = 4096};

    (void)state;
    for (int i = 0; i < N_SAMPLES; i++) {
        size_t len = 0;
        char *bytes = image_bytes(samples[i], &len), *copy = mm1_alloc(len, 1);
        const size_t live = mm1_alloc_bytes();
        assert_non_null(copy);
        for (int round = 0; round < ROUNDS; round++) {
            mm1_error err = {0};
            mm1_image got;
            memcpy(copy, bytes, len);
            const int n_changes = 1 + (int)(mm1_rng_uniform(&r) * 6);
            for (int c = 0; c < n_changes; c++) { /* half of the changes go to the first 64 bytes, where headers are */
                const size_t span = c % 2 == 0 || len < 64 ? len : 64;
                copy[(size_t)(mm1_rng_uniform(&r) * (double)span)] = (char)(mm1_rng_uniform(&r) * 256);
            }
            const mm1_status st = decode_copy(copy, len, &limits, &got, &err);
            if (st != MM1_OK && st != MM1_E_FORMAT && st != MM1_E_LIMIT && st != MM1_E_UNSUPPORTED) {
                fail_msg("%s round %d: %s %s", samples[i], round, mm1_status_name(st), err.message);
            }
            mm1_image_deinit(&got);
            assert_int_equal(mm1_alloc_bytes(), live);
        }
        mm1_free(copy);
        mm1_free(bytes);
    }
}

static void what_is_no_picture_is_named_and_explained(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        mm1_status status;
        const char *says;
    } cases[] = {
        {"", 0, MM1_E_FORMAT, "empty"},
        {"hello, world", 12, MM1_E_FORMAT, "no JPEG, PNG or WebP"},
        {"\xff\xd8", 2, MM1_E_FORMAT, "no JPEG, PNG or WebP"},
        {"\xff\xd8\xff", 3, MM1_E_FORMAT, "no JPEG frame header"},
        {"\xff\xd8\xff\xd9", 4, MM1_E_FORMAT, "no JPEG frame header"},
        {"\x89PNG\r\n\x1a\n", 8, MM1_E_FORMAT, "no whole PNG header"},
        {"RIFF\0\0\0\0WEBP", 12, MM1_E_FORMAT, "WebP"},
        {"GIF89a..........", 16, MM1_E_UNSUPPORTED, "convert it to JPEG, PNG or WebP"},
        {"BM..........................", 28, MM1_E_UNSUPPORTED, "BMP"},
        {"II*\0............", 16, MM1_E_UNSUPPORTED, "TIFF"},
        {"\0\0\0\x1c"
         "ftypavif....",
         16, MM1_E_UNSUPPORTED, "AVIF"},
        {"\0\0\0\x1c"
         "ftypheic....",
         16, MM1_E_UNSUPPORTED, "HEIF"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mm1_error err = {0};
        mm1_image out = {.width = 3};
        assert_int_equal(decode_copy(cases[i].bytes, cases[i].len, NULL, &out, &err), cases[i].status);
        check_contains(err.message, cases[i].says);
    }
}

static void a_png_header_that_lies_is_refused_before_memory_is_taken(void **state)
{
    size_t len = 0;
    char *bytes = image_bytes("one.png", &len);
    mm1_error err = {0};
    mm1_image out;

    (void)state;
    put_be16(bytes + 16, 0);
    put_be16(bytes + 18, 40000);
    put_be16(bytes + 20, 0);
    put_be16(bytes + 22, 40000);
    const uint64_t allocations = mm1_alloc_count();
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_LIMIT);
    assert_int_equal(mm1_alloc_count(), allocations);
    check_contains(err.message, "40000 x 40000");
    check_contains(err.message, "30000 px a side");

    put_be16(bytes + 18, 20000); /* within the sides, over the pixels */
    put_be16(bytes + 22, 20000);
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_LIMIT);
    check_contains(err.message, "67108864 pixels");

    put_be16(bytes + 18, 0);
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_FORMAT);
    put_be16(bytes + 16, 0x8000); /* negative as an int */
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_LIMIT);
    mm1_free(bytes);
}

static void a_jpeg_header_that_lies_is_refused_before_memory_is_taken(void **state)
{
    size_t len = 0;
    char *bytes = image_bytes("rgb420.jpg", &len);
    const size_t frame = find(bytes, len, "\xff\xc0", 2);
    mm1_error err = {0};
    mm1_image out;

    (void)state;
    put_be16(bytes + frame + 5, 65500);
    put_be16(bytes + frame + 7, 65500);
    const uint64_t allocations = mm1_alloc_count();
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_LIMIT);
    assert_int_equal(mm1_alloc_count(), allocations);
    check_contains(err.message, "65500 x 65500");

    put_be16(bytes + frame + 5, 200); /* more rows than there are data */
    put_be16(bytes + frame + 7, 37);
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_FORMAT);
    check_contains(err.message, "data are missing");

    bytes[frame + 4] = 12;
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "12 bits");
    bytes[frame + 4] = 8;
    bytes[frame + 9] = 2;
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_UNSUPPORTED);
    bytes[frame + 1] = (char)0xc3;
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "lossless");
    mm1_free(bytes);
}

static void a_webp_canvas_that_lies_is_refused_before_memory_is_taken(void **state)
{
    size_t len = 0;
    char *bytes = image_bytes("partial.webp", &len);
    const size_t canvas = find(bytes, len, "VP8X", 4) + 12;
    mm1_error err = {0};
    mm1_image out;

    (void)state;
    memset(bytes + canvas, 0x7f, 6); /* 8355712 x 8355712 px */
    const uint64_t allocations = mm1_alloc_count();
    assert_int_not_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_OK);
    assert_int_equal(mm1_alloc_count(), allocations);
    memset(bytes + canvas, 0, 6);
    bytes[canvas + 1] = 0x27; /* 9985 x 9985 px: legal, over the limit */
    bytes[canvas + 4] = 0x27;
    const mm1_image_limits limits = {.max_bytes = 1 << 20, .max_pixels = 1 << 20, .max_side = 10000};
    assert_int_equal(decode_copy(bytes, len, &limits, &out, &err), MM1_E_LIMIT);
    check_contains(err.message, "9985 x 9985");
    bytes[canvas + 1] = 0; /* 1 x 1 px: the frame does not fit */
    bytes[canvas + 4] = 0;
    assert_int_equal(decode_copy(bytes, len, &limits, &out, &err), MM1_E_FORMAT);
    mm1_free(bytes);
}

static void each_limit_holds_for_each_format(void **state)
{
    static const char *const names[] = {"filtered.png", "rgb420.jpg", "lossy.webp"}; /* 40x31, 37x23, 37x23 */
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        size_t len = 0;
        char *bytes = image_bytes(names[i], &len);
        const int32_t w = i == 0 ? 40 : 37, h = i == 0 ? 31 : 23;
        const mm1_image_limits exact = {.max_bytes = (int64_t)len, .max_pixels = w * h, .max_side = w};
        mm1_image_limits tight[3] = {exact, exact, exact};
        mm1_error err = {0};
        mm1_image out;

        check_ok(decode_copy(bytes, len, &exact, &out, &err), &err);
        mm1_image_deinit(&out);
        tight[0].max_bytes--;
        tight[1].max_pixels--;
        tight[2].max_side--;
        static const char *const says[] = {"max_bytes", "max_pixels", "max_side"};
        for (size_t t = 0; t < 3; t++) {
            assert_int_equal(decode_copy(bytes, len, &tight[t], &out, &err), MM1_E_LIMIT);
            check_contains(err.message, says[t]);
        }
        mm1_free(bytes);
    }
}

static void a_file_over_the_limit_or_missing_is_named(void **state)
{
    const mm1_image_limits limits = {.max_bytes = 10, .max_pixels = 1 << 20, .max_side = 4096};
    mm1_error err = {0};
    mm1_image out = {.width = 3};
    (void)state;
    assert_int_equal(mm1_image_read(image_path("src/one.png"), &limits, &out, &err), MM1_E_LIMIT);
    check_contains(err.message, "src/one.png");
    check_contains(err.message, "limit of 10 bytes");
    assert_int_equal(out.width, 0);
    assert_int_equal(mm1_image_read(image_path("src/absent.png"), NULL, &out, &err), MM1_E_IO);
    check_contains(err.message, "src/absent.png");
}

/* A progressive file whose last scan is repeated. */
static char *many_scans(int n, size_t *len)
{
    char *bytes = image_bytes("progressive.jpg", len);
    size_t scan = 0;
    for (size_t at = 0; at + 1 < *len; at++) {
        scan = memcmp(bytes + at, "\xff\xda", 2) == 0 ? at : scan;
    }
    const size_t scan_len = *len - 2 - scan;
    char *out = mm1_alloc(scan + scan_len * (size_t)n + 2, 1);
    assert_non_null(out);
    memcpy(out, bytes, scan);
    for (int i = 0; i < n; i++) {
        memcpy(out + scan + scan_len * (size_t)i, bytes + scan, scan_len);
    }
    *len = scan + scan_len * (size_t)n + 2;
    memcpy(out + *len - 2, "\xff\xd9", 2);
    mm1_free(bytes);
    return out;
}

static void a_progressive_jpeg_of_endless_scans_is_refused(void **state)
{
    mm1_error err = {0};
    mm1_image out;
    size_t len = 0;
    (void)state;
    char *bytes = many_scans(600, &len);
    assert_int_equal(decode_copy(bytes, len, NULL, &out, &err), MM1_E_LIMIT);
    check_contains(err.message, "scans");
    mm1_free(bytes);

    bytes = many_scans(40, &len); /* fine for a small picture, too much for one as large as may be */
    const mm1_image_limits limits = {.max_bytes = 1 << 20, .max_pixels = 37 * 23, .max_side = 64};
    assert_int_equal(decode_copy(bytes, len, &limits, &out, &err), MM1_E_LIMIT);
    check_contains(err.message, "scans");
    check_ok(decode_copy(bytes, len, NULL, &out, &err), &err);
    mm1_image_deinit(&out);
    mm1_free(bytes);
}

static void an_end_mark_in_the_thumbnail_does_not_hide_a_cut(void **state)
{
    size_t len = 0;
    char *bytes = image_bytes("rgb420.jpg", &len);
    const size_t cut = len / 2;
    char *out_bytes = mm1_alloc(cut + 20, 1);
    mm1_error err = {0};
    mm1_image out;

    (void)state;
    assert_non_null(out_bytes);
    memcpy(out_bytes,
           "\xff\xd8\xff\xe5\0\x08"
           "ab\xff\xd9"
           "cd",
           12); /* APP5 that holds an end marker */
    memcpy(out_bytes + 12, bytes + 2, cut - 2);
    assert_int_equal(decode_copy(out_bytes, cut + 10, NULL, &out, &err), MM1_E_FORMAT);
    check_contains(err.message, "cut short");
    mm1_free(out_bytes);
    mm1_free(bytes);
}

static void damaged_exif_means_upright(void **state)
{
    static const uint8_t good[] = "Exif\0\0II*\0\x08\0\0\0\x02\0"
                                  "\x00\x01\x04\0\x01\0\0\0\x07\0\0\0"
                                  "\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    const size_t len = sizeof good - 1, needed = 6 + 8 + 2 + 24;
    (void)state;
    assert_int_equal(mm1__exif_orientation(good, len), 6);
    assert_int_equal(mm1__exif_orientation(good + 6, len - 6), 6);
    for (size_t n = 0; n < len; n++) {
        uint8_t *copy = malloc(n + (n == 0));
        assert_non_null(copy);
        memcpy(copy, good, n);
        assert_int_equal(mm1__exif_orientation(copy, n), n >= needed ? 6 : 1);
        free(copy);
    }
    uint8_t bad[sizeof good];
    for (size_t at = 0; at < len; at++) { /* any one byte wrong: some orientation, no read outside */
        memcpy(bad, good, sizeof good);
        bad[at] = 0xff;
        const int o = mm1__exif_orientation(bad, len);
        assert_true(o == 1 || o == 6);
    }
    memcpy(bad, good, sizeof good);
    memset(bad + 10, 0xff, 4); /* the directory lies 4 GB away */
    assert_int_equal(mm1__exif_orientation(bad, len), 1);
    memcpy(bad, good, sizeof good);
    memset(bad + 14, 0xff, 2); /* 65535 entries */
    assert_int_equal(mm1__exif_orientation(bad, len), 6);
}

/* Fails the first, second, ... allocation of `run` until it gets through; every failure is NOMEM and leaks nothing. */
static int fail_each(mm1_status (*run)(const void *, mm1_error *), const void *arg)
{
    const size_t live = mm1_alloc_bytes();
    for (int n = 1; n < 1000; n++) {
        mm1_error err = {0};
        mm1_alloc_fail_at((uint64_t)n);
        const mm1_status st = run(arg, &err);
        mm1_alloc_fail_at(0);
        assert_int_equal(mm1_alloc_bytes(), live);
        if (st == MM1_OK) {
            return n - 1;
        }
        if (st != MM1_E_NOMEM || err.message[0] == '\0') {
            fail_msg("allocation %d: %s %s", n, mm1_status_name(st), err.message);
        }
    }
    fail_msg("still failing after 1000 allocations");
    return 0;
}

typedef struct blob {
    char *bytes;
    size_t len;
} blob;

static mm1_status run_decode(const void *arg, mm1_error *err)
{
    const blob *b = arg;
    mm1_image out;
    const mm1_status st = mm1_image_decode(b->bytes, b->len, NULL, "pic", &out, err);
    if (st != MM1_OK) {
        assert_null(out.rgb);
        check_contains(err->message, "pic");
    }
    mm1_image_deinit(&out);
    return st;
}

static mm1_status run_resample(const void *arg, mm1_error *err)
{
    mm1_image a, b;
    mm1_status st = mm1_image_resize(arg, 9, 50, MM1_FILTER_BICUBIC, &a, err);
    if (st == MM1_OK) {
        st = mm1_image_fit_square(&a, 20, MM1_FIT_PAD, MM1_FILTER_BILINEAR, NULL, &b, err);
        mm1_image_deinit(&b);
    }
    if (st == MM1_OK) {
        st = mm1_image_crop(&a, 1, 1, 3, 3, &b, err);
        mm1_image_deinit(&b);
    }
    mm1_image_deinit(&a);
    return st;
}

static mm1_status run_encode_png(const void *arg, mm1_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    const mm1_status st = mm1_image_encode_png(arg, &bytes, &len, err);
    assert_true((st == MM1_OK) == (bytes != NULL));
    mm1_free(bytes);
    return st;
}

static void running_out_of_memory_is_an_error_without_a_leak(void **state)
{
    (void)state;
    for (int i = 0; i < N_SAMPLES; i++) {
        blob b = {0};
        b.bytes = image_bytes(samples[i], &b.len);
        assert_true(fail_each(run_decode, &b) > 0);
        mm1_free(b.bytes);
    }
    mm1_image image = image_noise(31, 17, 1);
    assert_true(fail_each(run_resample, &image) > 10);
    assert_true(fail_each(run_encode_png, &image) > 2);
    mm1_image_deinit(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_is_an_error_or_the_whole_picture),
        cmocka_unit_test(damaged_bytes_never_crash_or_leak),
        cmocka_unit_test(what_is_no_picture_is_named_and_explained),
        cmocka_unit_test(a_png_header_that_lies_is_refused_before_memory_is_taken),
        cmocka_unit_test(a_jpeg_header_that_lies_is_refused_before_memory_is_taken),
        cmocka_unit_test(a_webp_canvas_that_lies_is_refused_before_memory_is_taken),
        cmocka_unit_test(each_limit_holds_for_each_format),
        cmocka_unit_test(a_file_over_the_limit_or_missing_is_named),
        cmocka_unit_test(a_progressive_jpeg_of_endless_scans_is_refused),
        cmocka_unit_test(an_end_mark_in_the_thumbnail_does_not_hide_a_cut),
        cmocka_unit_test(damaged_exif_means_upright),
        cmocka_unit_test(running_out_of_memory_is_an_error_without_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

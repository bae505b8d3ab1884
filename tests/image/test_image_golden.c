/* test_image_golden.c - decoded, resized and fitted pixels against those of Pillow 9.4 (tools/golden_image.py). */
#include "image_support.h"

typedef struct record {
    uint32_t kind;
    char name[33];
    uint32_t a, b, width, height;
    const uint8_t *rgb;
} record;

enum { KIND_DECODE, KIND_RESIZE, KIND_FIT, RECORD_BYTES = 4 + 32 + 16 };

static uint32_t le32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void check_pixels(const mm1_image *got, const record *want)
{
    assert_int_equal(got->width, want->width);
    assert_int_equal(got->height, want->height);
    for (size_t i = 0; i < (size_t)want->width * want->height * 3; i++) {
        if (got->rgb[i] != want->rgb[i]) {
            print_error("%s kind %u a %u b %u %ux%u: pixel (%zu, %zu) channel %zu: got %d, want %d\n", want->name,
                        want->kind, want->a, want->b, want->width, want->height, i / 3 % want->width,
                        i / 3 / want->width, i % 3, got->rgb[i], want->rgb[i]);
            fail();
        }
    }
}

/* Calls visit() for every record of a kind; returns how many there were. */
static int for_each(uint32_t kind, void (*visit)(const record *))
{
    char *bytes = NULL;
    size_t len = 0, at = 0;
    mm1_error err = {0};
    int n = 0;

    check_ok(mm1_file_read(image_path("golden.bin"), 1 << 20, &bytes, &len, &err), &err);
    while (at < len) {
        record r = {0};
        assert_true(len - at > RECORD_BYTES);
        r.kind = le32(bytes + at);
        memcpy(r.name, bytes + at + 4, 32);
        r.a = le32(bytes + at + 36);
        r.b = le32(bytes + at + 40);
        r.width = le32(bytes + at + 44);
        r.height = le32(bytes + at + 48);
        r.rgb = (const uint8_t *)bytes + at + RECORD_BYTES;
        at += RECORD_BYTES + (size_t)r.width * r.height * 3;
        assert_true(at <= len);
        if (r.kind == kind) {
            visit(&r);
            n++;
        }
    }
    mm1_free(bytes);
    return n;
}

static void decode_one(const record *r)
{
    mm1_image got = image_load(r->name);
    check_pixels(&got, r);
    mm1_image_deinit(&got);
}

static void every_picture_decodes_to_the_pixels_of_pillow(void **state)
{
    (void)state;
    assert_true(for_each(KIND_DECODE, decode_one) > 100);
}

static void probe_one(const record *r)
{
    mm1_image_format format;
    mm1_error err = {0};
    int32_t width = 0, height = 0;
    size_t len = 0;
    char *bytes = image_bytes(r->name, &len);

    check_ok(mm1_image_probe(bytes, len, NULL, r->name, &format, &width, &height, &err), &err);
    assert_int_equal((int64_t)width * height, (int64_t)r->width * r->height); /* orientation may have swapped them */
    assert_true(width == (int32_t)r->width || width == (int32_t)r->height);
    assert_int_equal(format, strstr(r->name, ".jpg") != NULL   ? MM1_IMAGE_JPEG
                             : strstr(r->name, ".png") != NULL ? MM1_IMAGE_PNG
                                                               : MM1_IMAGE_WEBP);
    check_ok(mm1_image_probe(bytes, len, NULL, r->name, NULL, NULL, NULL, &err), &err);
    check_ok(mm1_image_upright_size(bytes, len, NULL, r->name, &width, &height, &err), &err);
    assert_int_equal(width, r->width);
    assert_int_equal(height, r->height);
    mm1_free(bytes);
}

static void a_probe_tells_format_and_size_by_content(void **state)
{
    (void)state;
    assert_true(for_each(KIND_DECODE, probe_one) > 100);
}

static void resize_one(const record *r)
{
    mm1_image src = image_load(r->name), got;
    mm1_error err = {0};
    check_ok(mm1_image_resize(&src, (int32_t)r->width, (int32_t)r->height,
                              r->a != 0 ? MM1_FILTER_BICUBIC : MM1_FILTER_BILINEAR, &got, &err),
             &err);
    check_pixels(&got, r);
    mm1_image_deinit(&got);
    mm1_image_deinit(&src);
}

static void both_filters_resize_to_the_pixels_of_pillow_on_every_isa(void **state)
{
    static const char *const isas[] = {"ref", "avx2",
                                       "avx512"}; /* one that is absent falls back to the widest there is */
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(setenv("MM1_ISA", isas[i], 1), 0);
        assert_true(for_each(KIND_RESIZE, resize_one) > 40);
    }
    assert_int_equal(unsetenv("MM1_ISA"), 0);
}

static void fit_one(const record *r)
{
    mm1_image src = image_load(r->name), got;
    mm1_error err = {0};
    check_ok(mm1_image_fit_square(&src, (int32_t)r->width, r->a == 1 ? MM1_FIT_PAD : MM1_FIT_CROP,
                                  r->b != 0 ? MM1_FILTER_BICUBIC : MM1_FILTER_BILINEAR, NULL, &got, &err),
             &err);
    check_pixels(&got, r);
    mm1_image_deinit(&got);
    mm1_image_deinit(&src);
}

static void padding_and_cropping_give_the_pixels_of_pillow(void **state)
{
    (void)state;
    assert_true(for_each(KIND_FIT, fit_one) > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_picture_decodes_to_the_pixels_of_pillow),
        cmocka_unit_test(a_probe_tells_format_and_size_by_content),
        cmocka_unit_test(both_filters_resize_to_the_pixels_of_pillow_on_every_isa),
        cmocka_unit_test(padding_and_cropping_give_the_pixels_of_pillow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

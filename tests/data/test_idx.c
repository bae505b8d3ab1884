/* Files of the MNIST kind: what is right is read, plain or gzipped; what lies is named.  And what becomes of pictures
 * between the file and the batch: views of one picture, changed at random. */
#include "data_fixture.h"

#include "data/augment.h"
#include "data/idx.h"
#include "data/reader.h"
#include <zlib.h>

static const uint8_t good[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255};

static void write_gz(const fixture *f, const char *name, const void *bytes, size_t len)
{
    char *path = fixture_path(f, name);
    gzFile gz = gzopen(path, "wb");
    assert_non_null(gz);
    assert_int_equal(gzwrite(gz, bytes, (unsigned)len), (int)len);
    assert_int_equal(gzclose(gz), Z_OK);
    mm1_free(path);
}

static void pictures_are_read_plain_and_gzipped(void **state)
{
    (void)state;
    fixture f;
    mm1_error err = {0};
    fixture_init(&f);
    fixture_write(&f, "plain-ubyte", good, sizeof good);
    write_gz(&f, "packed-ubyte.gz", good, sizeof good);
    for (int i = 0; i < 2; i++) {
        char *path = fixture_path(&f, i == 0 ? "plain-ubyte" : "packed-ubyte.gz");
        mm1_idx idx;
        mm1_image image;
        check_ok(mm1_idx_read(&idx, path, 3, &err), &err);
        assert_true(idx.dims[0] == 2 && idx.dims[1] == 2 && idx.dims[2] == 3);
        check_ok(mm1_idx_image(&idx, 1, &image, &err), &err);
        assert_true(image.width == 3 && image.height == 2);
        assert_true(image.rgb[0] == 7 && image.rgb[1] == 7 && image.rgb[2] == 7 && image.rgb[17] == 255);
        mm1_image_deinit(&image);
        mm1_idx_deinit(&idx);

        /* Through the reader the pixels are the same: a PNG loses nothing. */
        mm1_reader *reader = NULL;
        mm1_document d;
        check_ok(mm1_reader_open(MM1_DATA_IDX, path, &reader, &err), &err);
        assert_int_equal(mm1_reader_len(reader), 2);
        check_ok(mm1_reader_get(reader, 1, &d, &err), &err);
        check_contains(d.name, "-ubyte");
        check_contains(d.name, ":1");
        assert_int_equal(d.n_parts, 1);
        check_ok(mm1_image_decode(d.parts[0].bytes, d.parts[0].len, &mm1_image_limits_default, "", &image, &err), &err);
        assert_true(image.width == 3 && image.height == 2 && image.rgb[0] == 7 && image.rgb[17] == 255);
        mm1_image_deinit(&image);
        mm1_document_deinit(&d);
        mm1_reader_destroy(reader);
        mm1_free(path);
    }
    fixture_deinit(&f);
}

static void a_file_that_lies_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        size_t len;
        mm1_status status;
        const char *says;
    } lies[] = {
        {0, 0, sizeof good - 1, MM1_E_FORMAT, "ends before"},     /* one byte short */
        {0, 0, 11, MM1_E_FORMAT, "ends before"},                  /* in the header */
        {0, 0, 0, MM1_E_FORMAT, "ends before"},                   /* empty */
        {7, 1, sizeof good, MM1_E_FORMAT, "goes on after the 6"}, /* fewer pictures than bytes */
        {7, 3, sizeof good, MM1_E_FORMAT, "ends before"},         /* more */
        {4, 255, sizeof good, MM1_E_LIMIT, "over the limit"},     /* four thousand million of them */
        {8, 1, sizeof good, MM1_E_LIMIT, "over the limit"},       /* rows beyond any picture */
        {11, 0, sizeof good, MM1_E_FORMAT, "size 1 of its header is 0"},
        {2, 9, sizeof good, MM1_E_FORMAT, "00 00 09 03"}, /* signed bytes */
        {3, 1, sizeof good, MM1_E_FORMAT, "in 3 dimensions begins"},
    };
    fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t bytes[sizeof good];
        memcpy(bytes, good, sizeof good);
        if (lies[i].len == sizeof good) {
            bytes[lies[i].at] = lies[i].value;
        }
        fixture_write(&f, "bad-ubyte", bytes, lies[i].len);
        write_gz(&f, "bad-ubyte.gz", bytes, lies[i].len);
        for (int packed = 0; packed < 2; packed++) {
            char *path = fixture_path(&f, packed ? "bad-ubyte.gz" : "bad-ubyte");
            mm1_idx idx;
            mm1_error err = {0};
            assert_int_equal(mm1_idx_read(&idx, path, 3, &err), lies[i].status);
            check_contains(err.message, "bad-ubyte");
            check_contains(err.message, lies[i].says);
            assert_null(idx.bytes);
            mm1_free(path);
        }
    }
    /* A gzip stream that is cut, and one whose checksum is wrong. */
    write_gz(&f, "whole.gz", good, sizeof good);
    char *path = fixture_path(&f, "whole.gz"), *bytes = NULL;
    size_t len = 0;
    mm1_error err = {0};
    mm1_idx idx;
    check_ok(mm1_file_read(path, 1 << 16, &bytes, &len, &err), &err);
    fixture_write(&f, "whole.gz", bytes, len - 9);
    assert_int_equal(mm1_idx_read(&idx, path, 3, &err), MM1_E_FORMAT);
    bytes[len - 6] ^= 1;
    fixture_write(&f, "whole.gz", bytes, len);
    assert_int_equal(mm1_idx_read(&idx, path, 3, &err), MM1_E_FORMAT);
    mm1_free(bytes);
    mm1_free(path);
    fixture_deinit(&f);
}

static mm1_image stripes(int32_t width, int32_t height)
{
    mm1_error err = {0};
    mm1_image image;
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (int32_t i = 0; i < width * height; i++) {
        for (int c = 0; c < 3; c++) {
            image.rgb[3 * i + c] = (uint8_t)(80 + 10 * (i % width) + 20 * c);
        }
    }
    return image;
}

static void changes_are_what_they_are_called(void **state)
{
    (void)state;
    mm1_error err = {0};
    int n_mirrored = 0;
    for (uint64_t i = 0; i < 40; i++) {
        mm1_rng r = mm1_rng_make(i, MM1_RNG_TEST, 0);
        mm1_image image = stripes(5, 3);
        mm1_augment_square(&(mm1_data_source){.flip = true}, &r, &image);
        const bool mirrored = image.rgb[0] == 120;
        for (int k = 0; k < 15; k++) {
            for (int c = 0; c < 3; c++) {
                assert_int_equal(image.rgb[3 * k + c], 80 + 10 * (mirrored ? 4 - k % 5 : k % 5) + 20 * c);
            }
        }
        n_mirrored += mirrored;
        mm1_image_deinit(&image);
    }
    assert_true(n_mirrored > 10 && n_mirrored < 30);

    /* Light: one line through all values, within the bounds of both factors; the middle stays in the middle. */
    for (uint64_t i = 0; i < 40; i++) {
        mm1_rng r = mm1_rng_make(i, MM1_RNG_TEST, 1);
        mm1_image image = stripes(5, 3);
        mm1_augment_square(&(mm1_data_source){.jitter = 0.2}, &r, &image);
        const double slope = (image.rgb[12] - image.rgb[0]) / 40.0, middle = image.rgb[6 + 1] / 120.0;
        assert_true(slope > 0.8 * 0.8 - 0.03 && slope < 1.2 * 1.2 + 0.03);
        assert_true(middle > 0.8 - 0.01 && middle < 1.2 + 0.01);
        mm1_image_deinit(&image);
    }

    /* Cuts: inside, and no smaller than asked for. */
    for (uint64_t i = 0; i < 40; i++) {
        mm1_rng r = mm1_rng_make(i, MM1_RNG_TEST, 2);
        mm1_image image = stripes(10, 8), cut;
        check_ok(mm1_augment_cut(0.5, &r, &image, &cut, &err), &err);
        assert_true(cut.width >= 5 && cut.width <= 10 && cut.height >= 4 && cut.height <= 8);
        mm1_image_deinit(&cut);
        mm1_image_deinit(&image);
    }
}

static void an_encoder_gets_one_picture_a_row_or_two_views_of_one(void **state)
{
    (void)state;
    enum { ITEMS = 40, SIDE = 6 };
    fixture f;
    mm1_error err = {0};
    uint8_t bytes[16 + ITEMS * SIDE * SIDE] = {0, 0, 8, 3, 0, 0, 0, ITEMS, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    for (int i = 0; i < ITEMS * SIDE * SIDE; i++) {
        bytes[16 + i] = (uint8_t)(5 * (i / (SIDE * SIDE)) + i % SIDE);
    }
    fixture_init(&f);
    fixture_captions(&f, "captions.tar", 0, 30, 0);
    fixture_write(&f, "images-ubyte", bytes, sizeof bytes);
    char names[2][12] = {"captions", "idx"};
    mm1_data_source sources[] = {
        {.name = names[0], .kind = MM1_DATA_CAPTIONS, .weight = 1, .max_images = 16},
        {.name = names[1], .kind = MM1_DATA_IMAGES, .weight = 1, .max_images = 16, .crop_min = 0.3},
    };
    sources[0].path = fixture_path(&f, "captions.tar");
    sources[1].path = fixture_path(&f, "images-ubyte");
    mm1_data_config config;
    check_ok(mm1_fields_defaults(mm1__data_fields, &config, &err), &err);
    config.sources = sources;
    config.n_sources = 2;
    config.seq_len = 40;
    config.batch = 32;
    mm1_loader_options o = {.config = &config,
                            .tokenizer = f.tokenizer,
                            .images = {.tile_px = FIXTURE_PX, .n_tokens = 1, .std = {1, 1, 1}},
                            .one_example = true,
                            .n_views = 2,
                            .seed = 5};
    for (int blind = 0; blind < 2; blind++) {
        mm1_loader *l = NULL;
        const mm1_batch *b = NULL;
        int n_pairs = 0, n_views = 0, n_different = 0;
        o.tokenizer = blind ? NULL : f.tokenizer; /* without one, captions are pictures alone */
        check_ok(mm1_loader_create(&o, &l, &err), &err);
        check_ok(mm1_loader_next(l, &b, NULL, NULL, &err), &err);
        for (int64_t row = 0, image = 0; row < b->B; image += b->row_images[row++]) {
            const int64_t at = row * b->T, n = 3 * FIXTURE_PX * FIXTURE_PX;
            assert_int_equal(b->example[at + b->row_len[row] - 1], 0);
            if (b->source[at] == 0) {
                assert_int_equal(b->row_images[row], 1);
                assert_true(blind ? b->row_len[row] == 3 : b->row_len[row] > 5);
                n_pairs++;
            } else {
                assert_int_equal(b->row_images[row], 2);
                assert_int_equal(b->row_len[row], 4);
                const float *a = b->pixels + image * n;
                assert_true(fabsf(a[0] - a[n]) < 0.04); /* the same picture, */
                n_different += memcmp(a, a + n, (size_t)n * sizeof *a) != 0;
                n_views++;
            }
        }
        assert_true(n_pairs > 5 && n_views > 5 && n_different > n_views / 2);
        mm1_loader_destroy(l);
    }
    mm1_loader *l = NULL;
    sources[1].crop_min = 0;
    assert_int_equal(mm1_loader_create(&o, &l, &err), MM1_E_CONFIG);
    check_contains(err.message, "views of a picture are all the same");
    o.one_example = false;
    assert_int_equal(mm1_loader_create(&o, &l, &err), MM1_E_CONFIG);
    check_contains(err.message, "nothing to predict");
    mm1_free(sources[0].path);
    mm1_free(sources[1].path);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_read_plain_and_gzipped),
        cmocka_unit_test(a_file_that_lies_is_refused_by_name),
        cmocka_unit_test(changes_are_what_they_are_called),
        cmocka_unit_test(an_encoder_gets_one_picture_a_row_or_two_views_of_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Layouts and tiles of pictures: against transformers (tools/golden_whole.py), against rules written out by hand, and
 * what is refused. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "model/sequence.h"
#include <stdio.h>
#include <stdlib.h>

enum { R = 28, K = 16 };

static const float mean[3] = {0.48145466F, 0.4578275F, 0.40821073F}, std[3] = {0.26862954F, 0.26130258F, 0.27577711F};

static mm1_marker marker(int32_t id, int32_t n)
{
    mm1_marker m = {.n = n};
    for (int32_t i = 0; i < n; i++) {
        m.ids[i] = id + i;
    }
    return m;
}

/* Modes as golden_whole.py names them. */
static mm1_image_spec spec_of(const char *mode)
{
    mm1_error err = {0};
    mm1_image_spec s = {.tile_px = R,
                        .n_tokens = K,
                        .filter = MM1_FILTER_BICUBIC,
                        .crops = 2,
                        .longest_px = 4 * R,
                        .has_markers = true};
    const bool splits = strcmp(mode, "splits") == 0;
    for (int c = 0; c < 3; c++) {
        s.mean[c] = splits ? 0.5F : mean[c];
        s.std[c] = splits ? 0.5F : std[c];
        s.fill[c] = strcmp(mode, "pad") == 0 ? (uint8_t)(mean[c] * 255) : 0;
    }
    s.fit = strcmp(mode, "crop") == 0 ? MM1_FIT_CROP : MM1_FIT_PAD;
    if (strcmp(mode, "anyres") == 0) {
        s.mode = MM1_IMAGE_ANYRES;
        check_ok(mm1_image_grids_parse("1x2 2x1 2x2 3x1 1x3", &s, &err), &err);
    } else if (splits) {
        s.mode = MM1_IMAGE_SPLITS;
        s.filter = MM1_FILTER_LANCZOS;
    } else if (strcmp(mode, "subimages") == 0) {
        s.mode = MM1_IMAGE_SUBIMAGES;
    }
    return s;
}

static mm1_image picture(int32_t width, int32_t height)
{
    mm1_image image;
    mm1_error err = {0};
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            for (int32_t c = 0; c < 3; c++) {
                image.rgb[3 * (y * width + x) + c] =
                    (uint8_t)((x * 7 + y * 13 + c * 29 + (x * y + 17 * c) % 31 * 5) % 256);
            }
        }
    }
    return image;
}

static void check_case(const char *mode, int32_t width, int32_t height, int n_tiles, int n_positions,
                       const char *pixels_sha, const char *rows_sha)
{
    const mm1_image_spec spec = spec_of(mode);
    mm1_error err = {0};
    mm1_image_layout l;
    check_ok(mm1_image_layout_make(&spec, width, height, &l, &err), &err);
    if (l.n_tiles != n_tiles || l.n_positions != n_positions) {
        print_error("%s %d x %d: %d tiles, %d positions, not %d and %d\n", mode, (int)width, (int)height,
                    (int)l.n_tiles, (int)l.n_positions, n_tiles, n_positions);
        fail();
    }
    char sha[MM1_SHA256_HEX_BYTES];
    int32_t *tokens = mm1_alloc((size_t)n_positions, sizeof *tokens);
    int32_t *rows = mm1_alloc((size_t)n_positions, sizeof *rows);
    mm1_image_layout_write(&spec, &l, 0, tokens, rows);
    mm1_sha256_hex(sha, rows, (size_t)n_positions * sizeof *rows);
    assert_string_equal(sha, rows_sha);

    mm1_image source = picture(width, height);
    mm1_image *tiles = mm1_calloc((size_t)l.n_tiles, sizeof *tiles);
    float *pixels = mm1_alloc((size_t)l.n_tiles * 3 * R * R, sizeof *pixels);
    check_ok(mm1_image_tiles(&spec, &l, &source, tiles, &err), &err);
    for (int32_t i = 0; i < l.n_tiles; i++) {
        mm1_image_normalize(pixels + i * 3 * R * R, &tiles[i], spec.mean, spec.std);
        mm1_image_deinit(&tiles[i]);
    }
    mm1_sha256_hex(sha, pixels, (size_t)l.n_tiles * 3 * R * R * sizeof *pixels);
    if (strcmp(sha, pixels_sha) != 0) {
        print_error("%s %d x %d: other pixels than transformers\n", mode, (int)width, (int)height);
        fail();
    }
    mm1_image_deinit(&source);
    mm1_free(tiles);
    mm1_free(pixels);
    mm1_free(tokens);
    mm1_free(rows);
}

static void tiles_pixels_and_rows_are_those_of_transformers(void **state)
{
    (void)state;
    FILE *f = fopen(MM1_TEST_DATA "/whole/images.txt", "r");
    char mode[16], pixels[80], rows[80];
    int width, height, n_tiles, n_positions, n = 0;
    assert_non_null(f);
    while (fscanf(f, "%15s %d %d %d %d %79s %79s", mode, &width, &height, &n_tiles, &n_positions, pixels, rows) == 7) {
        check_case(mode, width, height, n_tiles, n_positions, pixels, rows);
        n++;
    }
    (void)fclose(f);
    assert_int_equal(n, 60);
}

/* MM1, figure 7a: the overview, then top left, top right, bottom left, bottom right; 5 x 144 = 720 tokens. */
static void sub_images_are_an_overview_and_four_corners(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_image_spec spec = spec_of("subimages");
    mm1_image_layout l;
    spec.n_tokens = 144;
    check_ok(mm1_image_layout_make(&spec, 0, 0, &l, &err), &err);
    assert_int_equal(l.n_tiles, 5);
    assert_int_equal(l.n_positions, 720);
    assert_int_equal(mm1_image_max_tiles(&spec), 5);
    assert_int_equal(mm1_image_min_positions(&spec), 720);
    int32_t tokens[720], rows[720];
    mm1_image_layout_write(&spec, &l, 2, tokens, rows);
    for (int i = 0; i < 720; i++) {
        assert_int_equal(tokens[i], MM1_IMAGE_SLOT);
        assert_int_equal(rows[i], 2 * 144 + i);
    }
    /* A picture of one colour in each corner. */
    mm1_image image, tiles[5];
    spec.fit = MM1_FIT_SQUASH;
    check_ok(mm1_image_init(&image, 2 * R, 2 * R, &err), &err);
    for (int32_t i = 0; i < 4 * R * R; i++) {
        memset(image.rgb + 3 * i, 50 * (i / (2 * R) / R * 2 + i % (2 * R) / R), 3);
    }
    check_ok(mm1_image_tiles(&spec, &l, &image, tiles, &err), &err);
    for (int32_t t = 1; t < 5; t++) {
        for (int32_t i = 0; i < 3 * R * R; i++) {
            assert_int_equal(tiles[t].rgb[i], 50 * (t - 1));
        }
    }
    assert_int_equal(tiles[0].rgb[0], 0);
    assert_int_equal(tiles[0].rgb[3 * R * R - 1], 150);
    for (int32_t t = 0; t < 5; t++) {
        mm1_image_deinit(&tiles[t]);
    }
    mm1_image_deinit(&image);
    /* The number of crops is configuration. */
    spec.crops = 3;
    check_ok(mm1_image_layout_make(&spec, 0, 0, &l, &err), &err);
    assert_int_equal(l.n_tiles, 10);
}

/* Rows: each visual token at most once, of the tiles alone; counts as the layout says; markers where splits have them.
 */
static void layouts_of_random_pictures_keep_the_rules(void **state)
{
    (void)state;
    static const char *const modes[] = {"crop", "subimages", "anyres", "splits"};
    mm1_rng r = mm1_rng_make(4, MM1_RNG_TEST, 0);
    for (int round = 0; round < 2000; round++) {
        mm1_error err = {0};
        mm1_image_spec spec = spec_of(modes[round % 4]);
        mm1_image_layout l;
        const int32_t side = 1 + (int32_t)mm1_rng_below(&r, 5), first = (int32_t)mm1_rng_below(&r, 3);
        spec.n_tokens = side * side;
        spec.longest_px = 1 + (int32_t)mm1_rng_below(&r, 7 * R);
        spec.around = marker(100, 1);
        spec.overview = marker(200, 1 + (int32_t)mm1_rng_below(&r, 4));
        spec.row_end = marker(300, 1);
        spec.before_overview = marker(400, 1 + (int32_t)mm1_rng_below(&r, 2));
        for (int i = 0; i < 64; i++) {
            spec.cell[i / 8][i % 8] = marker(1000 + 10 * i, 1 + i % 3);
        }
        const int32_t width = 1 + (int32_t)mm1_rng_below(&r, 1200), height = 1 + (int32_t)mm1_rng_below(&r, 1200);
        const mm1_status st = mm1_image_layout_make(&spec, width, height, &l, &err);
        if (st != MM1_OK) {
            assert_int_equal(st, MM1_E_LIMIT);
            check_contains(err.message, "too long and thin");
            assert_int_equal(l.n_tiles, 0);
            continue;
        }
        assert_true(l.n_tiles >= 1 && l.n_tiles <= mm1_image_max_tiles(&spec));
        assert_true(l.n_positions >= mm1_image_min_positions(&spec) && l.n_positions <= mm1_image_max_positions(&spec));
        int32_t *tokens = mm1_alloc((size_t)l.n_positions + 1, sizeof *tokens);
        int32_t *rows = mm1_alloc((size_t)l.n_positions + 1, sizeof *rows);
        const size_t n_rows = (size_t)l.n_tiles * (size_t)spec.n_tokens;
        uint8_t *seen = mm1_calloc(n_rows, 1);
        tokens[l.n_positions] = rows[l.n_positions] = 12345; /* not to be written */
        mm1_image_layout_write(&spec, &l, first, tokens, rows);
        assert_int_equal(tokens[l.n_positions], 12345);
        assert_int_equal(rows[l.n_positions], 12345);
        int64_t n_slots = 0, n_visual = 0;
        for (int32_t i = 0; i < l.n_positions; i++) {
            if (rows[i] >= 0) {
                const int64_t row = rows[i] - first * spec.n_tokens;
                assert_true(row >= 0 && row < (int64_t)n_rows);
                assert_false(seen[row]);
                seen[row] = 1;
                n_visual++;
            } else if (rows[i] == MM1_VISUAL_NEWLINE) {
                assert_true(mm1_image_has_newline(&spec));
            } else {
                assert_int_equal(rows[i], MM1_VISUAL_MARKER);
                assert_int_equal(spec.mode, MM1_IMAGE_SPLITS);
            }
            assert_int_equal(tokens[i] == MM1_IMAGE_SLOT, rows[i] != MM1_VISUAL_MARKER);
            n_slots += tokens[i] == MM1_IMAGE_SLOT;
        }
        assert_int_equal(n_slots, l.n_slots);
        if (spec.mode != MM1_IMAGE_ANYRES) {
            assert_int_equal(n_visual, n_rows); /* every token of every tile */
        }
        mm1_free(seen);
        mm1_free(rows);
        mm1_free(tokens);
    }
}

/* <fake><row_1_col_1> k <fake><row_1_col_2> k \n ... \n\n <fake><global-img> k <fake> */
static void splits_put_their_markers_around_tiles(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_image_spec spec = spec_of("splits");
    mm1_image_layout l;
    spec.n_tokens = 1;
    spec.longest_px = 2 * R;
    spec.around = marker(1, 1);
    spec.overview = marker(2, 1);
    spec.row_end = marker(3, 1);
    spec.before_overview = marker(4, 1);
    for (int i = 0; i < 64; i++) {
        spec.cell[i / 8][i % 8] = marker(100 + 10 * (i / 8) + i % 8, 1);
    }
    check_ok(mm1_image_layout_make(&spec, 50, 49, &l, &err), &err);
    static const int32_t want[] = {1, 100, -1, 1, 101, -1, 3, 1, 110, -1, 1, 111, -1, 4, 1, 2, -1, 1};
    int32_t tokens[18], rows[18];
    assert_int_equal(l.n_positions, 18);
    mm1_image_layout_write(&spec, &l, 0, tokens, rows);
    assert_memory_equal(tokens, want, sizeof want);
    /* A picture that fits one tile is the overview alone. */
    spec.longest_px = R;
    check_ok(mm1_image_layout_make(&spec, 50, 49, &l, &err), &err);
    static const int32_t alone[] = {1, 2, -1, 1};
    assert_int_equal(l.n_tiles, 1);
    assert_int_equal(l.n_positions, 4);
    mm1_image_layout_write(&spec, &l, 0, tokens, rows);
    assert_memory_equal(tokens, alone, sizeof alone);
}

static void what_cannot_be_laid_out_is_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_image_layout l;
    mm1_image_spec spec = spec_of("anyres");
    assert_int_equal(mm1_image_layout_make(&spec, 0, 5, &l, &err), MM1_E_ARG);
    assert_int_equal(mm1_image_layout_make(&spec, 30000, 1, &l, &err), MM1_E_LIMIT);
    check_contains(err.message, "30000 x 1 px is too long and thin");
    static const char not_a_picture[] = "GIF89a........";
    assert_int_equal(mm1_image_layout_read(&spec, not_a_picture, sizeof not_a_picture, "a.gif", &l, &err),
                     MM1_E_UNSUPPORTED);
    check_contains(err.message, "a.gif");
    spec.n_tokens = INT64_C(1) << 31;
    assert_int_equal(mm1_image_layout_make(&spec, 50, 50, &l, &err), MM1_E_LIMIT);
    spec = spec_of("splits");
    spec.has_markers = false;
    assert_int_equal(mm1_image_layout_make(&spec, 5, 5, &l, &err), MM1_E_STATE);
    static const char *const bad[] = {"", "0x1", "1x9", "2", "2x", "1x2,2x1", "x", "1x2 y"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mm1_image_grids_parse(bad[i], &spec, &err), MM1_E_CONFIG);
        check_contains(err.message, "model.image.grids");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_pixels_and_rows_are_those_of_transformers),
        cmocka_unit_test(sub_images_are_an_overview_and_four_corners),
        cmocka_unit_test(layouts_of_random_pictures_keep_the_rules),
        cmocka_unit_test(splits_put_their_markers_around_tiles),
        cmocka_unit_test(what_cannot_be_laid_out_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

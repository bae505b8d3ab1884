/* The data builder: what is read, dropped, split and written. */
#include "build_fixture.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/tar.h"
#include "base/thread.h"
#include "data/build.h"
#include "data/build_internal.h"
#include "data/picture.h"
#include "data/prose.h"
#include <jansson.h>
#include <mm1/image.h>
#include <sys/stat.h>
#include <zstd.h>

typedef struct place {
    char dir[256];
    mm1_build_source sources[4];
    mm1_build_config config;
} place;

/* A picture with something to see, different for every number. */
static void put_png(const place *p, const char *name, int number, int32_t width, int32_t height)
{
    mm1_error err = {0};
    mm1_image image;
    uint8_t *bytes = NULL;
    size_t len = 0;
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            uint8_t *rgb = image.rgb + 3 * ((size_t)y * (size_t)width + (size_t)x);
            rgb[0] = (uint8_t)(x * 7 + number * 37);
            rgb[1] = (uint8_t)(y * 5 + number * 11);
            rgb[2] = (uint8_t)(number * 101);
        }
    }
    check_ok(mm1_image_encode_png(&image, &bytes, &len, &err), &err);
    put(p->dir, name, bytes, len);
    mm1_free(bytes);
    mm1_image_deinit(&image);
}

static void set_up(place *p, const char *kind, const char *path)
{
    *p = (place){0};
    check_tmpdir(p->dir, sizeof p->dir);
    p->config = mm1_build_config_default();
    p->config.root = p->dir;
    p->config.out = path_in(p->dir, "out");
    p->config.heldout_one_in = 4;
    p->config.sources = p->sources;
    p->config.n_sources = 1;
    p->sources[0].kind = mm1_strdup(kind);
    p->sources[0].path = mm1_strdup(path);
}

static void tear_down(place *p)
{
    mm1_error err = {0};
    check_ok(mm1_path_remove(p->dir, &err), &err);
    mm1_free(p->config.out);
    for (size_t i = 0; i < 4; i++) {
        mm1_free(p->sources[i].kind);
        mm1_free(p->sources[i].path);
        mm1_free(p->sources[i].name);
        mm1_free(p->sources[i].caption_prefix);
    }
}

/* dropped[reason] of source i. */
static int64_t dropped(const place *p, size_t i, mm1_drop reason)
{
    json_t *root = summary_json(p->config.out);
    const json_t *source = json_array_get(json_object_get(root, "sources"), i);
    const json_t *n = json_object_get(json_object_get(source, "dropped"), mm1_drop_text(reason));
    const int64_t value = n != NULL ? json_integer_value(n) : 0;
    json_decref(root);
    return value;
}

/* Everything of one split that may leak. */
typedef struct seen {
    mm1_count_map pixels, concepts, captions, keys, keywords; /* keys: of captions */
    size_t n_pictures, n_samples;
} seen;

static void seen_deinit(seen *s)
{
    mm1_count_map_deinit(&s->pixels);
    mm1_count_map_deinit(&s->concepts);
    mm1_count_map_deinit(&s->captions);
    mm1_count_map_deinit(&s->keys);
    mm1_count_map_deinit(&s->keywords);
}

static uint64_t hash_text(const char *text, size_t len)
{
    return mm1_hash64(text, len, 0);
}

static void add_key(mm1_count_map *map, const char *text, size_t len)
{
    mm1_buf key;
    mm1_buf_init(&key, 1 << 16);
    mm1_prose_key(&key, text, len);
    mm1_count_map_add(map, hash_text(mm1_buf_str(&key), key.len));
    mm1_buf_deinit(&key);
}

static void look_at_member(seen *s, const mm1_tar_member *m)
{
    mm1_error err = {0};
    const char *ext = mm1_path_extension(m->name);
    if (strcmp(ext, ".png") == 0 || strcmp(ext, ".jpg") == 0) {
        mm1_image image = {0};
        uint64_t hash = 0;
        bool one_colour = false;
        check_ok(mm1_image_decode(m->data, m->size, &mm1_image_limits_default, m->name, &image, &err), &err);
        check_ok(mm1_picture_pixel_hash(&image, &hash, &one_colour, &err), &err);
        assert_true(image.width <= 256 && image.height <= 256);
        mm1_count_map_add(&s->pixels, hash);
        mm1_image_deinit(&image);
        s->n_pictures++;
    } else if (strcmp(ext, ".json") == 0) {
        json_t *root = json_loadb((const char *)m->data, m->size, 0, NULL);
        const char *concept = json_string_value(json_object_get(root, "concept"));
        assert_non_null(concept);
        assert_int_equal(strlen(json_string_value(json_object_get(root, "sha256"))), 64);
        assert_non_null(json_string_value(json_object_get(root, "licence")));
        mm1_count_map_add(&s->concepts, hash_text(concept, strlen(concept)));
        const char *words = json_string_value(json_object_get(root, "keywords"));
        for (const char *end = NULL; words != NULL; words = end != NULL ? end + 3 : NULL) {
            end = strstr(words, " | ");
            add_key(&s->keywords, words, end != NULL ? (size_t)(end - words) : strlen(words));
        }
        json_decref(root);
        s->n_samples++;
    } else {
        add_key(&s->keys, (const char *)m->data, m->size);
        mm1_count_map_add(&s->captions, hash_text((const char *)m->data, m->size));
    }
}

static void look_at_shards(const place *p, const char *split, seen *s)
{
    static const char *const groups[] = {"captions", "documents"};
    mm1_error err = {0};
    mm1_buf pattern;
    mm1_buf_init(&pattern, 4096);
    for (size_t g = 0; g < 2; g++) {
        mm1_names shards = {0};
        mm1_buf_clear(&pattern);
        mm1_buf_printf(&pattern, "%s/%s/%s-*.tar", p->config.out, split, groups[g]);
        if (mm1_path_glob(mm1_buf_str(&pattern), &shards, NULL) != MM1_OK) {
            continue;
        }
        for (size_t i = 0; i < shards.n; i++) {
            mm1_tar_index index;
            check_ok(mm1_tar_index_open(&index, shards.items[i], &err), &err);
            for (size_t k = 0; k < index.n; k++) {
                look_at_member(s, &index.members[k]);
            }
            mm1_tar_index_close(&index);
        }
        mm1_names_free(&shards);
    }
    mm1_buf_deinit(&pattern);
}

/* Builds and proves that nothing of held-out is in train. */
static void build_and_check_split(const place *p, mm1_build_summary *summary)
{
    mm1_error err = {0};
    seen train = {0}, heldout = {0};
    check_ok(mm1_data_build(&p->config, summary, &err), &err);
    look_at_shards(p, "train", &train);
    look_at_shards(p, "heldout", &heldout);
    assert_int_equal(train.n_samples, summary->train.captions + summary->train.documents);
    assert_int_equal(heldout.n_samples, summary->heldout.captions + summary->heldout.documents);
    assert_true(heldout.n_samples > 0);
    assert_true(train.n_samples > heldout.n_samples);
    assert_int_equal(n_common(&heldout.concepts, &train.concepts), 0);
    assert_int_equal(n_common(&heldout.pixels, &train.pixels), 0);
    assert_int_equal(n_common(&heldout.captions, &train.captions), 0);
    assert_int_equal(n_common(&heldout.keys, &train.keywords), 0);
    seen_deinit(&train);
    seen_deinit(&heldout);
}

enum { N_PICTURES = 60 };

static void fill_folder(const place *p)
{
    char name[64], caption[64];
    for (int i = 0; i < N_PICTURES; i++) {
        (void)snprintf(name, sizeof name, "in/%c/p%02d.png", 'a' + i % 3, i);
        put_png(p, name, i, 140 + i, 300 + i);
        (void)snprintf(name, sizeof name, "in/%c/p%02d.txt", 'a' + i % 3, i);
        /* Each caption is written in two ways: they are one concept. */
        (void)snprintf(caption, sizeof caption, i % 2 == 0 ? "A thing number %d." : "thing  NUMBER %d", i / 2);
        const size_t n = strlen(caption); /* and then keywords: a neighbour's caption, which may be held out */
        (void)snprintf(caption + n, sizeof caption - n, "\nthe Thing, number %d | toy", (i / 2 + 1) % (N_PICTURES / 2));
        put_text(p->dir, name, caption);
    }
    /* Three copies of one picture under other names. */
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "in/copy%d.png", i);
        put_png(p, name, 7, 147, 307);
        (void)snprintf(name, sizeof name, "in/copy%d.txt", i);
        (void)snprintf(caption, sizeof caption, "copy of something %d", i);
        put_text(p->dir, name, caption);
    }
    put_png(p, "in/lonely.png", 99, 30, 30);
    put_text(p->dir, "in/broken.png", "this is no picture");
    put_text(p->dir, "in/broken.txt", "a broken file");
    put_png(p, "in/long.png", 98, 200, 10);
    put_text(p->dir, "in/long.txt", "a long strip");
    put_png(p, "in/latin.png", 97, 30, 30);
    put_text(p->dir, "in/latin.txt", "caf\xe9 with cream");
}

static void no_concept_and_no_pixels_of_heldout_occur_in_train(void **state)
{
    (void)state;
    place p;
    mm1_build_summary summary;
    set_up(&p, "images", "in");
    fill_folder(&p);
    build_and_check_split(&p, &summary);
    assert_int_equal(summary.train.captions + summary.heldout.captions + dropped(&p, 0, MM1_DROP_SAME_PIXELS) +
                         dropped(&p, 0, MM1_DROP_HELDOUT_PIXELS),
                     N_PICTURES + 3);
    assert_int_equal(dropped(&p, 0, MM1_DROP_SAME_PIXELS) + dropped(&p, 0, MM1_DROP_HELDOUT_PIXELS), 3);
    assert_int_equal(dropped(&p, 0, MM1_DROP_NO_CAPTION), 1);
    assert_int_equal(dropped(&p, 0, MM1_DROP_CORRUPT), 1);
    assert_int_equal(dropped(&p, 0, MM1_DROP_ASPECT), 1);
    assert_int_equal(dropped(&p, 0, MM1_DROP_NOT_UTF8), 1);
    check_contains(summary.table, "picture too long or too tall (images 1)");
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

static void the_stamps_are_split_without_leaks_where_their_package_is_unpacked(void **state)
{
    (void)state;
    const char *cache = getenv("MM1_CACHE_DIR"), *home = getenv("HOME");
    char roots[3][512] = {"", "", "/"}, *root = NULL;
    if (cache != NULL) {
        (void)snprintf(roots[0], sizeof roots[0], "%s/root", cache);
    }
    if (home != NULL) {
        (void)snprintf(roots[1], sizeof roots[1], "%s/.cache/mm1/root", home);
    }
    for (size_t i = 0; root == NULL && i < 3; i++) {
        char *stamps = mm1_path_join(roots[i], "usr/share/tuxpaint/stamps");
        root = roots[i][0] != '\0' && mm1_path_is_dir(stamps) ? roots[i] : NULL;
        mm1_free(stamps);
    }
    if (root == NULL) {
        skip();
    }
    place p;
    mm1_build_summary summary;
    set_up(&p, "tuxpaint", "usr/share/tuxpaint/stamps");
    p.config.root = root;
    p.config.heldout_one_in = 20;
    build_and_check_split(&p, &summary);
    assert_true(summary.train.captions > 600);
    assert_true(summary.heldout.captions > 15);
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

/* A digest of all that a build wrote. */
static void digest(const char *dir, char hex[MM1_SHA256_HEX_BYTES])
{
    static const char *const names[] = {"train/captions-0000.tar", "heldout/captions-0000.tar",
                                        "train/documents-0000.tar", "train/text-0000.jsonl.zst", "manifest.jsonl"};
    mm1_error err = {0};
    mm1_buf all;
    mm1_buf_init(&all, 1 << 26);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = mm1_path_join(dir, names[i]), *bytes = NULL;
        size_t len = 0;
        if (mm1_path_exists(path)) {
            check_ok(mm1_file_read(path, 1 << 26, &bytes, &len, &err), &err);
            mm1_buf_append(&all, bytes, len);
        }
        mm1_buf_printf(&all, "%zu", len);
        mm1_free(bytes);
        mm1_free(path);
    }
    assert_int_equal(mm1_buf_status(&all), MM1_OK);
    mm1_sha256_hex(hex, mm1_buf_str(&all), all.len);
    mm1_buf_deinit(&all);
}

static void bytes_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    char first[MM1_SHA256_HEX_BYTES], again[MM1_SHA256_HEX_BYTES];
    set_up(&p, "images", "in");
    fill_folder(&p);
    mm1_threads_set(1);
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    digest(p.config.out, first);
    mm1_build_summary_deinit(&summary);
    check_ok(mm1_path_remove(p.config.out, &err), &err);
    mm1_threads_set(4);
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    digest(p.config.out, again);
    assert_string_equal(first, again);
    assert_false(summary.skipped);
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

static void the_same_recipe_is_not_built_twice_and_another_one_is_refused(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p, "images", "in");
    fill_folder(&p);
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    mm1_build_summary_deinit(&summary);
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    assert_true(summary.skipped);
    mm1_build_summary_deinit(&summary);
    p.config.max_px = 64;
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_STATE);
    check_contains(err.message, "another recipe");
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

static void a_folder_that_is_no_data_is_never_overwritten(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p, "images", "in");
    put_text(p.dir, "out/thesis.txt", "do not lose this");
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_STATE);
    check_contains(err.message, "summary.json");
    char *kept = path_in(p.dir, "out/thesis.txt");
    assert_true(mm1_path_exists(kept));
    mm1_free(kept);
    tear_down(&p);
}

static void missing_sources_and_wrong_values_say_what_to_do(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p, "images", "nowhere");
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_IO);
    check_contains(err.message, "scripts/demo-data.sh");
    mm1_free(p.sources[0].kind);
    p.sources[0].kind = mm1_strdup("pictures");
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_CONFIG);
    check_contains(err.message, "'pictures' is no source kind");
    p.config.n_sources = 0;
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_CONFIG);
    check_contains(err.message, "neither sources nor questions");
    p.config.n_sources = 1;
    p.config.max_aspect = 0.5;
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_CONFIG);
    check_contains(err.message, "max_aspect");
    assert_int_equal(mm1_fields_table_check(mm1__build_fields, &err), MM1_OK);
    tear_down(&p);
}

static void the_split_is_sha256_of_the_concept_modulo(void **state)
{
    (void)state;
    /* sha256("") = e3b0c442 98fc1c14 9afbf4c8 996fb924 27ae41e4 649b934c a495991b 7852b855; mod 5 is the sum of its hex
     * digits mod 5, since 16 mod 5 is 1: 478 mod 5 = 3. */
    const char *hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    int sum = 0;
    for (const char *q = hex; *q != '\0'; q++) {
        sum += *q <= '9' ? *q - '0' : *q - 'a' + 10;
    }
    assert_int_equal(mm1__build_is_heldout("", 5), sum % 5 == 0);
    assert_int_equal(mm1__build_is_heldout("", 3), sum % 3 == 0);
    assert_true(mm1__build_is_heldout("anything", 1));
    assert_false(mm1__build_is_heldout("anything", 0));
    int n = 0;
    for (int i = 0; i < 2000; i++) {
        char concept[32];
        (void)snprintf(concept, sizeof concept, "concept %d", i);
        n += mm1__build_is_heldout(concept, 20);
    }
    assert_in_range(n, 70, 130);
}

static void a_manifest_gives_captions_and_groups(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p, "manifest", "list.jsonl");
    put_png(&p, "pics/one.png", 1, 50, 50);
    put_png(&p, "pics/two.png", 2, 50, 50);
    put_png(&p, "pics/three.png", 3, 50, 50);
    put_text(p.dir, "list.jsonl",
             "{\"path\":\"pics/one.png\",\"caption\":\"the first one\",\"concept\":\"ones\"}\n"
             "pics/two.png\tthe second one\tones\r\n"
             "pics/three.png\tthe third\n"
             "pics/none.png\tnot there\n"
             "{\"path\":\"pics/three.png\"}\n");
    p.config.heldout_one_in = 0;
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    assert_int_equal(summary.train.captions, 3);
    assert_int_equal(summary.heldout.captions, 0);
    assert_int_equal(dropped(&p, 0, MM1_DROP_UNREADABLE), 1);
    assert_int_equal(dropped(&p, 0, MM1_DROP_NO_CAPTION), 1);
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

/* The captions of a build's half, each between two "|", in the order of the shard. */
static void read_captions(const char *out, const char *half, mm1_buf *text)
{
    mm1_error err = {0};
    mm1_tar_index index = {0};
    char *dir = path_in(out, half), *path = path_in(dir, "captions-0000.tar");
    mm1_buf_puts(text, "|");
    check_ok(mm1_tar_index_open(&index, path, &err), &err);
    for (size_t i = 0; i < index.n; i++) {
        if (strcmp(mm1_path_extension(index.members[i].name), ".txt") == 0) {
            mm1_buf_printf(text, "%.*s|", (int)index.members[i].size, (const char *)index.members[i].data);
        }
    }
    mm1_tar_index_close(&index);
    mm1_free(path);
    mm1_free(dir);
}

static void check_captions(const char *out, const char *half, const char *const *wanted, size_t n)
{
    mm1_buf text;
    mm1_buf_init(&text, 1 << 16);
    read_captions(out, half, &text);
    size_t n_found = 0;
    for (const char *p = mm1_buf_str(&text) + 1; *p != '\0'; p++) {
        n_found += *p == '|';
    }
    for (size_t i = 0; i < n; i++) {
        check_contains(mm1_buf_str(&text), wanted[i]);
    }
    assert_int_equal(n_found, n);
    mm1_buf_deinit(&text);
}

static void emoji_of_a_folder_are_named_by_their_code_points(void **state)
{
    (void)state;
    static const char *const wanted[] = {"|emoji: dog face|", "|emoji: waving hand: dark skin tone|",
                                         "|emoji: family: man, boy|", "|emoji: flag of Kenya|"};
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p, "emoji", "pics");
    p.sources[0].caption_prefix = mm1_strdup("emoji: ");
    put_png(&p, "pics/1F436.png", 1, 50, 50);
    put_png(&p, "pics/emoji_u1f44b_1f3ff.png", 2, 50, 50);
    put_png(&p, "pics/1F468-1F466.png", 3, 50, 50); /* without the joiner that the sequence has */
    put_png(&p, "pics/KE.png", 4, 50, 50);
    put_png(&p, "pics/1F4.png", 5, 50, 50);       /* too short for a code point */
    put_png(&p, "pics/1F436-dog.png", 6, 50, 50); /* not only code points */
    put_png(&p, "pics/1F431.png", 7, 50, 50);     /* no annotation names it */
    put_text(
        p.dir, "usr/share/unicode/cldr/common/annotations/en.xml",
        "<ldml><annotations>"
        "<annotation cp=\"\xf0\x9f\x90\xb6\">dog | pet</annotation>"
        "<annotation cp=\"\xf0\x9f\x90\xb6\" type=\"tts\">dog face</annotation>"
        "<annotation cp=\"\xf0\x9f\x91\x8b\xf0\x9f\x8f\xbf\" type=\"tts\">waving hand: dark skin tone</annotation>"
        "<annotation cp=\"\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa6\" type=\"tts\">family: man, boy</annotation>"
        "<annotation cp=\"\xf0\x9f\x87\xb0\xf0\x9f\x87\xaa\" type=\"tts\">flag: Kenya</annotation>"
        "<annotation cp=\"\xf0\x9f\x90\xae\" type=\"tts\">cow face</annotation>"
        "</annotations></ldml>");
    p.config.heldout_one_in = 0;
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    check_captions(p.config.out, "train", wanted, 4);
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

static void the_folder_of_a_word_says_what_it_is(void **state)
{
    (void)state;
    static const char *const wanted[] = {"|ice skating, sport|", "|bee, animal|", "|riddle|"};
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p, "art4apps", "words");
    put_png(&p, "words/sport/ice_skating.png", 1, 50, 50);
    put_png(&p, "words/animals/bee.png", 2, 50, 50);
    put_png(&p, "words/others/riddle.png", 3, 50, 50);
    p.config.heldout_one_in = 0;
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    check_captions(p.config.out, "train", wanted, 3);
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

static void what_another_build_holds_out_is_not_trained_on(void **state)
{
    (void)state;
    static const char *const wanted[] = {"|a third thing|"};
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p, "manifest", "first.tsv");
    put_png(&p, "pics/one.png", 1, 50, 50);
    put_png(&p, "pics/two.png", 2, 50, 50);
    put_png(&p, "pics/three.png", 3, 50, 50);
    put_text(p.dir, "first.tsv", "pics/one.png\tThe bee\tany\n");
    put_text(p.dir, "second.tsv",
             "pics/two.png\ta bee\tinsects\n"    /* its caption, under another concept and prefix */
             "pics/one.png\ta flower\tflowers\n" /* its pixels */
             "pics/three.png\ta third thing\tthings\n");
    p.sources[0].caption_prefix = mm1_strdup("clip art: ");
    p.config.heldout_one_in = 1; /* all of it */
    char nowhere[] = "nowhere", *first = p.config.out, *second = path_in(p.dir, "second");
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    assert_int_equal(summary.heldout.captions, 1);
    mm1_build_summary_deinit(&summary);

    mm1_free(p.sources[0].path);
    p.sources[0].path = mm1_strdup("second.tsv");
    mm1_free(p.sources[0].caption_prefix);
    p.sources[0].caption_prefix = NULL;
    p.config.out = second;
    p.config.heldout_one_in = 0;
    p.config.against = nowhere;
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_IO);
    check_contains(err.message, "build 'nowhere' first");
    assert_false(mm1_path_exists(second));
    p.config.against = first;
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    assert_int_equal(dropped(&p, 0, MM1_DROP_HELDOUT_ELSEWHERE), 2);
    check_captions(second, "train", wanted, 1);
    mm1_build_summary_deinit(&summary);
    mm1_free(first);
    tear_down(&p);
}

/* The text of a shard of lines. */
static char *read_lines(const place *p, const char *name)
{
    mm1_error err = {0};
    char *path = mm1_path_join(p->config.out, name), *packed = NULL;
    size_t len = 0;
    check_ok(mm1_file_read(path, 1 << 24, &packed, &len, &err), &err);
    char *text = mm1_calloc(1 << 20, 1);
    assert_non_null(text);
    const size_t n = ZSTD_decompress(text, (1 << 20) - 1, packed, len);
    assert_false(ZSTD_isError(n));
    text[n] = '\0'; /* zstd may have scribbled behind the end */
    mm1_free(packed);
    mm1_free(path);
    return text;
}

static void text_is_cut_and_repeated_paragraphs_are_dropped(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    mm1_buf text;
    mm1_buf_init(&text, 1 << 20);
    set_up(&p, "text", "in");
    for (int i = 0; i < 30; i++) {
        mm1_buf_printf(
            &text, "Paragraph %d speaks at some length of the matter that bears the number %d.\nIt has two lines.\n\n",
            i, i);
    }
    put(p.dir, "in/a.txt", mm1_buf_str(&text), text.len);
    put(p.dir, "in/b.txt", mm1_buf_str(&text), text.len); /* nothing of it is new */
    put_text(p.dir, "in/c.md",
             "# A heading\n\nSome words that stand below the heading, and they are more than twenty in "
             "number so that the text is kept by the builder.\n\n```\ncode()\n```\n");
    put_text(p.dir, "in/d.jsonl",
             "{\"text\":\"A line of JSON that holds a text of its own, long enough to be kept, with more "
             "than twenty words in it, or so one may hope.\"}\nnot json\n");
    p.config.heldout_one_in = 0;
    p.config.max_words = 60;
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    char *lines = read_lines(&p, "train/text-0000.jsonl.zst");
    check_contains(lines, "A heading");
    check_contains(lines, "A line of JSON");
    check_contains(lines, "the number 29. It has two lines.");
    assert_null(strstr(lines, "code()"));
    for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *row = json_loads(line, 0, NULL);
        const char *value = json_string_value(json_object_get(row, "text"));
        if (value == NULL) {
            print_error("no JSON with a text: %s\n", line);
            fail();
        }
        int n = 1;
        for (const char *q = value; *q != '\0'; q++) {
            n += *q == ' ' || *q == '\n';
        }
        assert_true(n <= 60 + 10); /* blanks; empty lines count twice here */
        json_decref(row);
    }
    assert_int_equal(dropped(&p, 0, MM1_DROP_PARAGRAPH_AGAIN), 30);
    assert_int_equal(dropped(&p, 0, MM1_DROP_CODE_BLOCK), 1);
    assert_int_equal(dropped(&p, 0, MM1_DROP_PAGE_UNPARSED), 1);
    mm1_free(lines);
    mm1_buf_deinit(&text);
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_concept_and_no_pixels_of_heldout_occur_in_train),
        cmocka_unit_test(the_stamps_are_split_without_leaks_where_their_package_is_unpacked),
        cmocka_unit_test(bytes_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(the_same_recipe_is_not_built_twice_and_another_one_is_refused),
        cmocka_unit_test(a_folder_that_is_no_data_is_never_overwritten),
        cmocka_unit_test(missing_sources_and_wrong_values_say_what_to_do),
        cmocka_unit_test(the_split_is_sha256_of_the_concept_modulo),
        cmocka_unit_test(a_manifest_gives_captions_and_groups),
        cmocka_unit_test(emoji_of_a_folder_are_named_by_their_code_points),
        cmocka_unit_test(the_folder_of_a_word_says_what_it_is),
        cmocka_unit_test(what_another_build_holds_out_is_not_trained_on),
        cmocka_unit_test(text_is_cut_and_repeated_paragraphs_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

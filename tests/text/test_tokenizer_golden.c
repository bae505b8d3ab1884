/* test_tokenizer_golden.c - the same ids as the `tokenizers` package, and the same vocabulary from the same text. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "text/split_pattern.h"
#include "text/utf8.h"
#include <inttypes.h>
#include <jansson.h>
#include <mm1/tokenizer.h>
#include <unistd.h>
#include <zstd.h>

#define DATA MM1_TEST_DATA "/text/"

static char *read_zst(const char *path, size_t *len)
{
    mm1_error err = {0};
    mm1_map map;
    check_ok(mm1_map_open(&map, path, &err), &err);
    const unsigned long long size = ZSTD_getFrameContentSize(map.data, map.len);
    assert_true(size > 0 && size < 16 << 20);
    char *text = mm1_alloc(size + 1, 1);
    assert_non_null(text);
    assert_int_equal(ZSTD_decompress(text, size, map.data, map.len), size);
    text[size] = '\0';
    *len = size;
    mm1_map_close(&map);
    return text;
}

static mm1_tokenizer *load(const char *path)
{
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    check_ok(mm1_tokenizer_load(path, &t, &err), &err);
    return t;
}

static void check_round_trip(const mm1_tokenizer *t, const char *text, size_t len, const mm1_ids *ids)
{
    mm1_error err = {0};
    char *back = NULL;
    size_t n = 0;
    check_ok(mm1_tokenizer_decode(t, ids->items, ids->n, &back, &n, &err), &err);
    assert_int_equal(n, len);
    assert_memory_equal(back, text, len);
    mm1_free(back);
}

static void ids_of_every_piece_equal_the_golden_ones(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t[2] = {load(DATA "gpt2.tokenizer.json"), load(DATA "qwen.tokenizer.json")};
    size_t len;
    char *text = read_zst(DATA "golden.txt.zst", &len);
    FILE *f = fopen(DATA "golden.ids", "r");
    assert_non_null(f);
    char line[200];
    size_t end = 0;
    int checked[2] = {0, 0};
    mm1_ids ids = {0};
    while (fgets(line, sizeof line, f) != NULL) {
        size_t at, n, want_n[2];
        char want[2][20];
        if (line[0] == '#') {
            continue;
        }
        assert_int_equal(sscanf(line, "%zu %zu %zu %19s %zu %19s", &at, &n, &want_n[0], want[0], &want_n[1], want[1]),
                         6);
        assert_int_equal(at, end);
        end = at + n;
        assert_true(end <= len);
        for (int k = 0; k < 2; k++) {
            if (want[k][0] == '-') {
                continue;
            }
            ids.n = 0;
            check_ok(mm1_tokenizer_encode(t[k], text + at, n, &ids, &err), &err);
            char have[20];
            (void)snprintf(have, sizeof have, "%016" PRIx64, mm1_hash64(ids.items, ids.n * sizeof(int32_t), 0));
            if (ids.n != want_n[k] || strcmp(have, want[k]) != 0) {
                print_error("%s: piece at %zu: %zu ids (want %zu), hash %s (want %s)\n", k == 0 ? "gpt2" : "qwen", at,
                            ids.n, want_n[k], have, want[k]);
                fail();
            }
            if (k == 0) {
                check_round_trip(t[k], text + at, n, &ids);
            }
            checked[k]++;
        }
    }
    (void)fclose(f);
    assert_int_equal(end, len);
    assert_true(checked[0] > 300 && checked[1] > 300);
    mm1_ids_free(&ids);
    mm1_free(text);
    mm1_tokenizer_destroy(t[0]);
    mm1_tokenizer_destroy(t[1]);
}

/* Loads gpt2.tokenizer.json with the first `from` replaced by `to`. */
static mm1_tokenizer *load_edited(const char *from, const char *to)
{
    mm1_error err = {0};
    char dir[200], path[240], *text, *at;
    size_t len;
    mm1_tokenizer *t = NULL;
    check_tmpdir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/t.json", dir);
    check_ok(mm1_file_read(DATA "gpt2.tokenizer.json", 1 << 24, &text, &len, &err), &err);
    at = strstr(text, from);
    assert_non_null(at);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(fclose(f), 0);
    check_ok(mm1_tokenizer_load(path, &t, &err), &err);
    check_ok(mm1_path_remove(dir, &err), &err);
    mm1_free(text);
    return t;
}

#define ADDED(id, content)                                                                                             \
    "{\"id\":" id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"              \
    "\"normalized\":false,\"special\":false}"

#define BYTE_LEVEL                                                                                                     \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define BEHIND_DIGITS(each)                                                                                            \
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":" each     \
    "},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}]}"

static void ids_of_short_texts_equal_the_golden_ones(void **state)
{
    (void)state;
    mm1_error err = {0};
    enum { N = 6 };
    const char *const names[N] = {"gpt2", "qwen", "prefix", "added", "digits", "runs"};
    mm1_tokenizer *t[N] = {load(DATA "gpt2.tokenizer.json"),
                           load(DATA "qwen.tokenizer.json"),
                           load_edited("\"add_prefix_space\":false", "\"add_prefix_space\":true"),
                           load_edited("\"added_tokens\":[",
                                       "\"added_tokens\":[" ADDED("4096", "<tool>") "," ADDED("4097", "<tool>er") ","),
                           load_edited(BYTE_LEVEL, BEHIND_DIGITS("true")),
                           load_edited(BYTE_LEVEL, BEHIND_DIGITS("false"))};
    json_error_t at;
    json_t *cases = json_load_file(DATA "cases.json", JSON_ALLOW_NUL, &at);
    assert_true(json_array_size(cases) > 100);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *want = json_object_get(c, "ids"),
                     *text = json_object_get(c, "text");
        int k = 0;
        while (strcmp(names[k], json_string_value(json_object_get(c, "tokenizer"))) != 0) {
            k++;
        }
        mm1_ids ids = {0};
        check_ok(mm1_tokenizer_encode(t[k], json_string_value(text), json_string_length(text), &ids, &err), &err);
        bool same = ids.n == json_array_size(want);
        for (size_t j = 0; same && j < ids.n; j++) {
            same = ids.items[j] == json_integer_value(json_array_get(want, j));
        }
        if (!same) {
            print_error("case %zu (%s): \"%s\": got", i, names[k], json_string_value(text));
            for (size_t j = 0; j < ids.n; j++) {
                print_error(" %d", ids.items[j]);
            }
            print_error("\n");
            fail();
        }
        mm1_ids_free(&ids);
    }
    json_decref(cases);
    for (int k = 0; k < N; k++) {
        mm1_tokenizer_destroy(t[k]);
    }
}

typedef struct one_text {
    const char *text;
    size_t len;
    bool given;
} one_text;

static bool give_once(void *ctx, const char **text, size_t *len)
{
    one_text *o = ctx;
    *text = o->text;
    *len = o->len;
    return o->given ? false : (o->given = true);
}

static void training_gives_the_vocabulary_and_merges_of_the_package(void **state)
{
    (void)state;
    mm1_error err = {0};
    char dir[200], path[240];
    size_t len;
    mm1_tokenizer *t = NULL;
    char *text = read_zst(DATA "golden.txt.zst", &len);
    one_text source = {.text = text, .len = len};
    const mm1_tokenizer_train_config config = {.vocab_size = 4096};
    check_ok(mm1_tokenizer_train(&config, give_once, &source, &t, &err), &err);
    check_tmpdir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    check_ok(mm1_tokenizer_save(t, path, &err), &err);
    json_error_t at;
    json_t *have = json_load_file(path, 0, &at), *want = json_load_file(DATA "gpt2.tokenizer.json", 0, &at);
    assert_non_null(have);
    assert_non_null(want);
    const json_t *have_model = json_object_get(have, "model"), *want_model = json_object_get(want, "model");
    const json_t *have_merges = json_object_get(have_model, "merges"),
                 *want_merges = json_object_get(want_model, "merges");
    for (size_t i = 0; i < json_array_size(want_merges); i++) {
        if (!json_equal(json_array_get(have_merges, i), json_array_get(want_merges, i))) {
            print_error("merge %zu differs\n", i);
            fail();
        }
    }
    assert_int_equal(json_array_size(have_merges), json_array_size(want_merges));
    assert_true(json_equal(json_object_get(have_model, "vocab"), json_object_get(want_model, "vocab")));
    assert_true(json_equal(json_object_get(have, "added_tokens"), json_object_get(want, "added_tokens")));
    assert_true(json_equal(json_object_get(have, "pre_tokenizer"), json_object_get(want, "pre_tokenizer")));
    json_decref(have);
    json_decref(want);
    check_ok(mm1_path_remove(dir, &err), &err);
    mm1_tokenizer_destroy(t);
    mm1_free(text);
}

static void a_saved_tokenizer_says_what_the_loaded_file_said(void **state)
{
    (void)state;
    static const char *const names[] = {DATA "gpt2.tokenizer.json", DATA "qwen.tokenizer.json"};
    for (size_t i = 0; i < 2; i++) {
        mm1_error err = {0};
        char dir[200], path[240];
        mm1_tokenizer *t = load(names[i]);
        check_tmpdir(dir, sizeof dir);
        (void)snprintf(path, sizeof path, "%s/tokenizer.json", dir);
        check_ok(mm1_tokenizer_save(t, path, &err), &err);
        json_error_t at;
        json_t *have = json_load_file(path, 0, &at), *want = json_load_file(names[i], 0, &at);
        assert_non_null(have);
        assert_true(json_equal(have, want));
        json_decref(have);
        json_decref(want);
        check_ok(mm1_path_remove(dir, &err), &err);
        mm1_tokenizer_destroy(t);
    }
}

static void the_hand_written_pattern_cuts_as_the_regular_expression(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_split *split = NULL;
    size_t len, n_pieces = 0;
    char *text = read_zst(DATA "golden.txt.zst", &len);
    check_ok(mm1_split_create("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
                              &split, &err),
             &err);
    const size_t old_len = len - 40000; /* the last part has characters that PCRE2 does not know */
    const size_t stop = old_len + mm1_utf8_invalid_prefix(text + old_len, len - old_len);
    mm1_split_cursor c;
    check_ok(mm1_split_cursor_open(&c, split, text, stop, &err), &err);
    for (size_t at = 0; at < stop;) {
        size_t begin, end;
        check_ok(mm1_split_cursor_next(&c, &begin, &end, &err), &err);
        const size_t n = mm1_gpt2_piece(text + at, stop - at);
        if (begin != at || end != at + n) {
            print_error("at byte %zu: by hand %zu bytes, by PCRE2 [%zu, %zu)\n", at, n, begin, end);
            fail();
        }
        at += n;
        n_pieces++;
    }
    assert_true(n_pieces > 100000);
    mm1_split_cursor_close(&c);
    mm1_split_destroy(split);
    mm1_free(text);
}

static void bytes_that_are_no_text_survive(void **state)
{
    (void)state;
    mm1_error err = {0};
    size_t len;
    char *bytes = read_zst(DATA "invalid.bin.zst", &len);
    mm1_tokenizer *t = load(DATA "gpt2.tokenizer.json");
    mm1_rng r = mm1_rng_make(3, MM1_RNG_TEST, 0);
    mm1_ids ids = {0};
    check_ok(mm1_tokenizer_encode(t, bytes, len, &ids, &err), &err);
    check_round_trip(t, bytes, len, &ids);
    for (int round = 0; round < 3000; round++) {
        const size_t begin = mm1_rng_below(&r, len), n = mm1_rng_below(&r, 60) % (len - begin);
        ids.n = 0;
        check_ok(mm1_tokenizer_encode(t, bytes + begin, n, &ids, &err), &err);
        check_round_trip(t, bytes + begin, n, &ids);
    }
    mm1_ids_free(&ids);
    mm1_tokenizer_destroy(t);
    mm1_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_of_every_piece_equal_the_golden_ones),
        cmocka_unit_test(ids_of_short_texts_equal_the_golden_ones),
        cmocka_unit_test(training_gives_the_vocabulary_and_merges_of_the_package),
        cmocka_unit_test(a_saved_tokenizer_says_what_the_loaded_file_said),
        cmocka_unit_test(the_hand_written_pattern_cuts_as_the_regular_expression),
        cmocka_unit_test(bytes_that_are_no_text_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

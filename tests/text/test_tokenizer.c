/* test_tokenizer.c - training, round trips, hostile files and hostile text. */
#include "support/tmp.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "text/byte_alphabet.h"
#include "text/split_pattern.h"
#include "text/text_source.h"
#include "text/tokenizer_impl.h"
#include <mm1/tokenizer.h>
#include <unistd.h>
#include <zstd.h>

#define DATA MM1_TEST_DATA "/text/"

static const char *tmp_path(const char *name)
{
    static char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", tmp, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

typedef struct texts {
    const char *const *items;
    size_t n, i;
} texts;

static bool give_texts(void *ctx, const char **text, size_t *len)
{
    texts *t = ctx;
    if (t->i == t->n) {
        return false;
    }
    *text = t->items[t->i++];
    *len = strlen(*text);
    return true;
}

static mm1_tokenizer *train(const char *text, int32_t vocab_size, int32_t min_frequency)
{
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    texts source = {.items = &text, .n = 1};
    const mm1_tokenizer_train_config config = {.vocab_size = vocab_size, .min_frequency = min_frequency};
    check_ok(mm1_tokenizer_train(&config, give_texts, &source, &t, &err), &err);
    return t;
}

static mm1_ids encode(const mm1_tokenizer *t, const char *text, size_t len)
{
    mm1_error err = {0};
    mm1_ids ids = {0};
    check_ok(mm1_tokenizer_encode(t, text, len, &ids, &err), &err);
    return ids;
}

static void check_round_trip(const mm1_tokenizer *t, const char *text, size_t len)
{
    mm1_error err = {0};
    char *back = NULL;
    size_t n = 0;
    mm1_ids ids = encode(t, text, len);
    check_ok(mm1_tokenizer_decode(t, ids.items, ids.n, &back, &n, &err), &err);
    assert_int_equal(n, len);
    assert_memory_equal(back, text, len);
    assert_int_equal(back[n], '\0');
    mm1_free(back);
    mm1_ids_free(&ids);
}

static void check_token(const mm1_tokenizer *t, int32_t id, const char *want)
{
    size_t len = 0;
    const char *bytes = mm1_tokenizer_token_bytes(t, id, &len);
    assert_non_null(bytes);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(bytes, want, len);
}

/* -------- training -------- */

static void training_merges_the_most_frequent_pair_and_breaks_ties_by_ids(void **state)
{
    (void)state;
    /* Words: "ab" 3 times (once alone, twice behind a blank), "cd" 2, "xy" 2: "cd" before "xy". */
    mm1_tokenizer *t = train("ab ab ab\tcd\tcd\txy\txy", 262, 0);
    assert_int_equal(mm1_tokenizer_vocab_size(t), 262);
    check_token(t, 259, "ab");
    check_token(t, 260, "cd");
    check_token(t, 261, "xy");
    mm1_tokenizer_destroy(t);
    t = train("ab ab ab\tcd\tcd\txy\txy", 1000, 3);
    assert_int_equal(mm1_tokenizer_vocab_size(t), 260);
    mm1_tokenizer_destroy(t);
}

static void a_run_of_one_letter_is_counted_without_overlap(void **state)
{
    (void)state;
    mm1_tokenizer *t = train("aaaaaaa", 270, 0);
    check_token(t, 259, "aa");
    /* aa aa aa a: the pair (aa, aa) is there twice, (aa, a) once */
    check_token(t, 260, "aaaa");
    mm1_tokenizer_destroy(t);
}

static void special_tokens_and_bytes_have_their_ids(void **state)
{
    (void)state;
    mm1_tokenizer *t = train("", 259, 0);
    assert_int_equal(mm1_tokenizer_vocab_size(t), 259);
    assert_int_equal(mm1_tokenizer_special_id(t, MM1_TOKEN_END), 0);
    assert_int_equal(mm1_tokenizer_special_id(t, MM1_TOKEN_PAD), 1);
    assert_int_equal(mm1_tokenizer_special_id(t, MM1_TOKEN_IMAGE), 2);
    assert_int_equal(mm1_tokenizer_special_id(t, "a"), -1);
    for (int32_t id = -1; id < 260; id++) {
        size_t len = 7;
        const char *bytes = mm1_tokenizer_token_bytes(t, id, &len);
        assert_int_equal(mm1_tokenizer_is_special(t, id), id >= 0 && id < 3);
        assert_int_equal(bytes != NULL, id >= 0 && id < 259);
        assert_int_equal(len, id >= 3 && id < 259 ? 1 : 0);
        if (len == 1) {
            assert_int_equal((uint8_t)*bytes, mm1_byte_of_rank(id - 3));
        }
    }
    mm1_tokenizer_destroy(t);
}

static void training_does_not_depend_on_how_texts_are_told(void **state)
{
    (void)state;
    mm1_error err = {0};
    static const char *const forward[] = {"one two three", "two three\n", "three\xFF\xFEtwo"};
    static const char *const back[] = {"three\xFFtwo", "two three\n", "one two three"};
    const mm1_tokenizer_train_config config = {.vocab_size = 280};
    texts a = {.items = forward, .n = 3}, b = {.items = back, .n = 3};
    mm1_tokenizer *t[2];
    check_ok(mm1_tokenizer_train(&config, give_texts, &a, &t[0], &err), &err);
    check_ok(mm1_tokenizer_train(&config, give_texts, &b, &t[1], &err), &err);
    assert_int_equal(mm1_tokenizer_vocab_size(t[0]), mm1_tokenizer_vocab_size(t[1]));
    for (int32_t id = 0; id < mm1_tokenizer_vocab_size(t[0]); id++) {
        size_t n[2];
        const char *bytes[2] = {mm1_tokenizer_token_bytes(t[0], id, &n[0]), mm1_tokenizer_token_bytes(t[1], id, &n[1])};
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
    }
    mm1_tokenizer_destroy(t[0]);
    mm1_tokenizer_destroy(t[1]);
}

static void a_training_config_out_of_range_is_refused(void **state)
{
    (void)state;
    static const mm1_tokenizer_train_config bad[] = {{258, 0}, {1000001, 0}, {-1, 0}, {300, -1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        mm1_error err = {0};
        mm1_tokenizer *t = (mm1_tokenizer *)&err; /* must become NULL */
        texts none = {0};
        assert_int_equal(mm1_tokenizer_train(&bad[i], give_texts, &none, &t, &err), MM1_E_CONFIG);
        assert_null(t);
        check_contains(err.message, "must");
    }
}

static void a_long_run_is_trained_and_encoded_in_linear_time(void **state)
{
    (void)state;
    const size_t n = 1000000;
    char *run = mm1_alloc(n + 1, 1);
    assert_non_null(run);
    memset(run, 'a', n);
    run[n] = '\0';
    const double begin = mm1_time_now();
    mm1_tokenizer *t = train(run, 300, 0);
    check_round_trip(t, run, n); /* a quadratic way would need 10^12 steps */
    mm1_ids ids = encode(t, run, n);
    assert_true(ids.n < n / 1000); /* doubled up to the longest token that is allowed */
    for (size_t i = 0; i < n; i++) {
        run[i] = (char)(i % 7 == 3 ? 'b' : 'a');
    }
    check_round_trip(t, run, n);
    assert_true(mm1_time_now() - begin < 60);
    mm1_ids_free(&ids);
    mm1_tokenizer_destroy(t);
    mm1_free(run);
}

/* -------- round trips -------- */

static void a_typed_special_token_is_text(void **state)
{
    (void)state;
    mm1_tokenizer *t = train("<|endoftext|> <|endoftext|> <|endoftext|>", 400, 0);
    static const char *const typed[] = {"<|endoftext|>", "a<|pad|>b", "<|image|><|image|>", " <|endoftext|>"};
    for (size_t i = 0; i < 4; i++) {
        mm1_ids ids = encode(t, typed[i], strlen(typed[i]));
        assert_true(ids.n > 1);
        for (size_t k = 0; k < ids.n; k++) {
            assert_false(mm1_tokenizer_is_special(t, ids.items[k]));
        }
        mm1_ids_free(&ids);
        check_round_trip(t, typed[i], strlen(typed[i]));
    }
    mm1_tokenizer_destroy(t);
}

static void special_ids_decode_to_nothing_and_unknown_ids_are_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t = train("", 259, 0);
    const int32_t ids[] = {0, 3, 1, 4, 2}, bad[] = {3, 259}, negative[] = {-1};
    char *text = NULL;
    size_t len = 0;
    check_ok(mm1_tokenizer_decode(t, ids, 5, &text, &len, &err), &err);
    assert_string_equal(text, "!\"");
    mm1_free(text);
    assert_int_equal(mm1_tokenizer_decode(t, bad, 2, &text, &len, &err), MM1_E_ARG);
    check_contains(err.message, "259 at position 1");
    assert_null(text);
    assert_int_equal(mm1_tokenizer_decode(t, negative, 1, &text, &len, &err), MM1_E_ARG);
    check_ok(mm1_tokenizer_decode(t, NULL, 0, &text, &len, &err), &err);
    assert_int_equal(len, 0);
    mm1_free(text);
    mm1_tokenizer_destroy(t);
}

static void every_byte_and_nul_and_the_empty_text_survive(void **state)
{
    (void)state;
    mm1_tokenizer *t = train("hello hello world", 270, 0);
    check_round_trip(t, "", 0);
    check_round_trip(t, "a\0b\0\0c", 6);
    char all[512];
    for (int i = 0; i < 256; i++) {
        const char one = (char)i;
        check_round_trip(t, &one, 1);
        all[2 * i] = 'h';
        all[2 * i + 1] = one;
    }
    check_round_trip(t, all, sizeof all);
    mm1_tokenizer_destroy(t);
}

static void random_bytes_survive(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(11, MM1_RNG_TEST, 0);
    mm1_tokenizer *t = NULL;
    check_ok(mm1_tokenizer_load(DATA "gpt2.tokenizer.json", &t, &err), &err);
    for (int round = 0; round < 20000; round++) {
        char bytes[120];
        const size_t n = mm1_rng_below(&r, sizeof bytes);
        const uint64_t range = round % 3 == 0 ? 256 : round % 3 == 1 ? 128 : 8;
        for (size_t i = 0; i < n; i++) {
            bytes[i] =
                (char)(range == 8 ? " '\xC3\xA9\xE2\x82\xAC\n"[mm1_rng_below(&r, 8)] : (char)mm1_rng_below(&r, range));
        }
        check_round_trip(t, bytes, n);
    }
    mm1_tokenizer_destroy(t);
}

/* The definition of byte-pair encoding: each merge in order of rank, from left to right.  Equal to "best pair first"
 * for merges that were learnt in this order. */
static size_t merge_naively(const mm1_tokenizer *t, const char *word, size_t len, int32_t *ids)
{
    size_t n = len;
    for (size_t i = 0; i < len; i++) {
        ids[i] = t->byte_ids[(uint8_t)word[i]];
    }
    for (size_t rank = 0; rank < t->n_merges; rank++) {
        size_t kept = 0;
        for (size_t i = 0; i < n; i++) {
            const bool hit = i + 1 < n && ids[i] == t->merges[rank].left && ids[i + 1] == t->merges[rank].right;
            ids[kept++] = hit ? t->merges[rank].result : ids[i];
            i += hit;
        }
        n = kept;
    }
    return n;
}

static void words_of_every_length_are_merged_as_defined(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(12, MM1_RNG_TEST, 0);
    mm1_tokenizer *t = NULL;
    check_ok(mm1_tokenizer_load(DATA "gpt2.tokenizer.json", &t, &err), &err);
    for (int round = 0; round < 300; round++) {
        char word[160];
        int32_t want[160];
        const size_t len = 1 + mm1_rng_below(&r, sizeof word);
        const size_t n_letters = 1 + mm1_rng_below(&r, 9);
        for (size_t i = 0; i < len; i++) {
            word[i] = "aetoinshr"[mm1_rng_below(&r, n_letters)];
        }
        const size_t n = merge_naively(t, word, len, want);
        mm1_ids ids = encode(t, word, len);
        assert_int_equal(ids.n, n);
        assert_memory_equal(ids.items, want, n * sizeof want[0]);
        mm1_ids_free(&ids);
    }
    mm1_tokenizer_destroy(t);
}

static void a_token_is_found_by_its_bytes_and_by_no_others(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    int n_of_len[2] = {0, 0};
    check_ok(mm1_tokenizer_load(DATA "gpt2.tokenizer.json", &t, &err), &err);
    for (int32_t id = 3; id < mm1_tokenizer_vocab_size(t); id++) {
        size_t len, n;
        const char *bytes = mm1_tokenizer_token_bytes(t, id, &len);
        assert_int_equal(mm1__tokenizer_find(t, bytes, len)->id, id);
        n_of_len[len > MM1__KEY_BYTES]++;
        for (size_t i = 0; i <= len; i++) { /* each byte changed, then one more */
            char other[MM1__MAX_TOKEN_BYTES + 1];
            memcpy(other, bytes, len);
            other[i] = i < len ? (char)(bytes[i] ^ 1) : '\0';
            const size_t other_len = i < len ? len : len + 1;
            const int32_t found = mm1__tokenizer_find(t, other, other_len)->id;
            const char *have = mm1_tokenizer_token_bytes(t, found, &n);
            assert_true(found < 0 || (n == other_len && memcmp(have, other, n) == 0));
        }
    }
    assert_true(n_of_len[0] > 1000 && n_of_len[1] > 10);
    assert_int_equal(mm1__tokenizer_find(t, "", 0)->id, -1);
    mm1_tokenizer_destroy(t);
}

static void encoding_appends_and_leaves_the_list_alone_when_it_fails(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t = train("", 259, 0);
    mm1_ids ids = {0};
    check_ok(mm1_ids_add(&ids, 42, &err), &err);
    check_ok(mm1_tokenizer_encode(t, "ab", 2, &ids, &err), &err);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.items[0], 42);
    char text[400];
    memset(text, 'x', sizeof text);
    mm1_alloc_fail_at(1);
    assert_int_equal(mm1_tokenizer_encode(t, text, sizeof text, &ids, &err), MM1_E_NOMEM);
    mm1_alloc_fail_at(0);
    assert_int_equal(ids.n, 3);
    mm1_ids_free(&ids);
    mm1_tokenizer_destroy(t);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const text = "the cat and the dog and the bird 'twas here";
    const size_t before = mm1_alloc_bytes();
    mm1_status st = MM1_E_NOMEM;
    char path[300];
    (void)snprintf(path, sizeof path, "%s", tmp_path("small.json"));
    for (uint64_t n = 1; st != MM1_OK && n < 5000; n++) { /* train and save */
        mm1_error err = {0};
        mm1_tokenizer *t = NULL;
        texts source = {.items = &text, .n = 1};
        const mm1_tokenizer_train_config config = {.vocab_size = 280};
        mm1_alloc_fail_at(n);
        st = mm1_tokenizer_train(&config, give_texts, &source, &t, &err);
        const bool saving = st == MM1_OK;
        if (saving) {
            st = mm1_tokenizer_save(t, path, &err);
        }
        mm1_alloc_fail_at(0);
        if (st != MM1_OK && st != MM1_E_NOMEM && !saving) { /* the file layer has its own words */
            print_error("allocation %d: %s\n", (int)n, err.message);
            fail();
        }
        mm1_tokenizer_destroy(t);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_int_equal(st, MM1_OK);
    st = MM1_E_NOMEM;
    for (uint64_t n = 1; st != MM1_OK && n < 5000; n++) { /* load */
        mm1_error err = {0};
        mm1_tokenizer *t = NULL;
        mm1_alloc_fail_at(n);
        st = mm1_tokenizer_load(path, &t, &err);
        mm1_alloc_fail_at(0);
        if (st != MM1_OK && st != MM1_E_NOMEM) {
            print_error("allocation %d: %s\n", (int)n, err.message);
            fail();
        }
        assert_int_equal(t != NULL, st == MM1_OK);
        mm1_tokenizer_destroy(t);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_int_equal(st, MM1_OK);
}

/* -------- hostile files -------- */

/* A small valid file whose parts the cases below replace. */
static char *small_file(size_t *len)
{
    mm1_error err = {0};
    mm1_tokenizer *t = train("abc abc abc", 261, 0);
    char *text = NULL;
    check_ok(mm1_tokenizer_save(t, tmp_path("valid.json"), &err), &err);
    check_ok(mm1_file_read(tmp_path("valid.json"), 1 << 20, &text, len, &err), &err);
    mm1_tokenizer_destroy(t);
    return text;
}

static void a_file_with_a_lie_in_it_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        mm1_status status;
        const char *message;
    } cases[] = {
        {"\"version\": \"1.0\"", "\"version\": \"2.0\"", MM1_E_UNSUPPORTED, "version \"2.0\""},
        {"\"version\": \"1.0\",", "", MM1_E_FORMAT, "version"},
        {"\"truncation\": null", "\"truncation\": {\"max_length\": 5}", MM1_E_UNSUPPORTED, "truncation"},
        {"\"padding\": null", "\"surprise\": 1", MM1_E_UNSUPPORTED, "surprise"},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}", MM1_E_UNSUPPORTED, "Lowercase"},
        {"\"normalizer\": null", "\"normalizer\": 3", MM1_E_FORMAT, "normalizer"},
        {"\"type\": \"ByteLevel\"", "\"type\": \"Metaspace\"", MM1_E_UNSUPPORTED, "Metaspace"},
        {"\"trim_offsets\": true", "\"trim_offsets\": 1", MM1_E_FORMAT, "trim_offsets"},
        {"\"trim_offsets\": true", "\"prepend\": true", MM1_E_UNSUPPORTED, "prepend"},
        {"\"post_processor\": {\"type\": \"ByteLevel\"", "\"post_processor\": {\"type\": \"TemplateProcessing\"",
         MM1_E_UNSUPPORTED, "TemplateProcessing"},
        {"\"decoder\": {\"type\": \"ByteLevel\"", "\"decoder\": {\"type\": \"WordPiece\"", MM1_E_UNSUPPORTED,
         "decoder: type \"WordPiece\""},
        {"\"decoder\": {\"type\": \"ByteLevel\"", "\"decoder\": {\"kind\": \"ByteLevel\"", MM1_E_FORMAT, "decoder"},
        {"\"type\": \"BPE\"", "\"type\": \"Unigram\"", MM1_E_UNSUPPORTED, "Unigram"},
        {"\"dropout\": null", "\"dropout\": 0.1", MM1_E_UNSUPPORTED, "dropout"},
        {"\"unk_token\": null", "\"unk_token\": \"<unk>\"", MM1_E_UNSUPPORTED, "unk_token"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", MM1_E_FORMAT, "lacks byte 0"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"@@\"", MM1_E_UNSUPPORTED, "end_of_word_suffix"},
        {"\"byte_fallback\": false", "\"byte_fallback\": true", MM1_E_UNSUPPORTED, "byte_fallback"},
        {"\"ignore_merges\": false", "\"ignore_merges\": \"no\"", MM1_E_FORMAT, "ignore_merges"},
        {"\"vocab\": {", "\"words\": {", MM1_E_FORMAT, "vocab"},
        {"\"merges\": [", "\"pairs\": [", MM1_E_FORMAT, "merges"},
        {"\"ab\": 259", "\"ab\": 258", MM1_E_FORMAT, "same id 258"},
        {"\"ab\": 259", "\"ab\": 261", MM1_E_FORMAT, "no token has id 259"},
        {"\"ab\": 259", "\"ab\": 999999999", MM1_E_FORMAT, "integer from 0"},
        {"\"ab\": 259", "\"ab\": 99999999999999999999", MM1_E_FORMAT, "too big integer"},
        {"\"ab\": 259", "\"ab\": -1", MM1_E_FORMAT, "integer from 0"},
        {"\"ab\": 259", "\"ab\": 259.0", MM1_E_FORMAT, "integer from 0"},
        {"\"ab\": 259", "\"ab\": null", MM1_E_FORMAT, "integer from 0"},
        {"\"ab\": 259", "\"\": 259", MM1_E_FORMAT, "empty token"},
        {"\"ab\": 259", "\"a\\u0000b\": 259", MM1_E_FORMAT, "line"},
        {"\"ab\": 259", "\"xy\": 259", MM1_E_FORMAT, "merge 0"},
        {"\"ab\": 259", "\"a\": 259", MM1_E_FORMAT, "duplicate"},
        {"\"a\": 67", "\"aa\": 67", MM1_E_FORMAT, "no first part"},
        {"[\"a\", \"b\"]", "[\"a\"]", MM1_E_FORMAT, "merge 0"},
        {"[\"a\", \"b\"]", "\"ab\"", MM1_E_FORMAT, "merge 0"},
        {"[\"a\", \"b\"]", "\"a b c\"", MM1_E_FORMAT, "merge 0"},
        {"[\"a\", \"b\"]", "[\"a\", \"\"]", MM1_E_FORMAT, "merge 0"},
        {"[\"a\", \"b\"]", "7", MM1_E_FORMAT, "merge 0"},
        {"[\"a\", \"b\"]", "[\"a\", \"z\"]", MM1_E_FORMAT, "token of both"},
        {"[\"a\", \"b\"]", "[\"\\u4e2d\", \"b\"]", MM1_E_FORMAT, "first part"},
        {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 5, \"content\": \"x\", \"special\": true},", MM1_E_FORMAT,
         "not its own"},
        {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 261, \"content\": \"\", \"special\": true},", MM1_E_FORMAT,
         "empty"},
        {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 262, \"content\": \"<x>\", \"special\": true},",
         MM1_E_FORMAT, "no token has id 261"},
        {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 261, \"content\": \"<x>\", \"lstrip\": true},",
         MM1_E_UNSUPPORTED, "lstrip"},
        {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 261, \"content\": \"<x>\", \"color\": 1},",
         MM1_E_UNSUPPORTED, "color"},
        {"\"added_tokens\": [", "\"added_tokens\": [7,", MM1_E_FORMAT, "content"},
    };
    size_t len;
    char *valid = small_file(&len);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mm1_error err = {0};
        mm1_tokenizer *t = (mm1_tokenizer *)&err; /* must become NULL */
        const char *at = strstr(valid, cases[i].from);
        if (at == NULL) {
            print_error("case %zu: %s is not in the file\n", i, cases[i].from);
            fail();
        }
        FILE *f = fopen(tmp_path("lie.json"), "w");
        assert_non_null(f);
        (void)fprintf(f, "%.*s%s%s", (int)(at - valid), valid, cases[i].to, at + strlen(cases[i].from));
        assert_int_equal(fclose(f), 0);
        const mm1_status st = mm1_tokenizer_load(tmp_path("lie.json"), &t, &err);
        if (st != cases[i].status || strstr(err.message, cases[i].message) == NULL ||
            strstr(err.message, "lie.json") == NULL) {
            print_error("case %zu (%s): %s: %s\n", i, cases[i].to, mm1_status_name(st), err.message);
            fail();
        }
        assert_null(t);
    }
    mm1_free(valid);
}

static void a_merge_written_as_one_string_is_read(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    size_t len;
    char *valid = small_file(&len), *at = strstr(valid, "[\"a\", \"b\"]");
    assert_non_null(at);
    memcpy(at, "\"a b\"     ", 10);
    write_file(tmp_path("string.json"), valid, len);
    check_ok(mm1_tokenizer_load(tmp_path("string.json"), &t, &err), &err);
    mm1_ids ids = encode(t, "ab", 2);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.items[0], 259);
    mm1_ids_free(&ids);
    mm1_tokenizer_destroy(t);
    mm1_free(valid);
}

static void a_truncated_or_corrupted_file_never_crashes(void **state)
{
    (void)state;
    size_t len;
    char *valid = small_file(&len);
    mm1_rng r = mm1_rng_make(13, MM1_RNG_TEST, 0);
    for (size_t n = 0; n < len - 2; n += 61) {
        mm1_error err = {0};
        mm1_tokenizer *t = NULL;
        write_file(tmp_path("cut.json"), valid, n);
        assert_int_equal(mm1_tokenizer_load(tmp_path("cut.json"), &t, &err), MM1_E_FORMAT);
        assert_null(t);
    }
    for (int round = 0; round < 1500; round++) {
        mm1_error err = {0};
        mm1_tokenizer *t = NULL;
        char *bad = mm1_strndup(valid, len);
        assert_non_null(bad);
        for (uint64_t k = 1 + mm1_rng_below(&r, 3); k > 0; k--) {
            const char any = (char)mm1_rng_below(&r, 256);
            bad[mm1_rng_below(&r, len)] = round % 2 == 0 ? any : "{}[],:\"0919a \\"[mm1_rng_below(&r, 13)];
        }
        write_file(tmp_path("bad.json"), bad, len);
        if (mm1_tokenizer_load(tmp_path("bad.json"), &t, &err) == MM1_OK) {
            check_round_trip(t, "abc ab \xFF<|pad|>", 14);
        } else {
            assert_true(strlen(err.message) > 0);
        }
        mm1_tokenizer_destroy(t);
        mm1_free(bad);
    }
    mm1_free(valid);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    assert_int_equal(mm1_tokenizer_load("/nonexistent/tokenizer.json", &t, &err), MM1_E_IO);
    check_contains(err.message, "/nonexistent/tokenizer.json");
    t = train("", 259, 0);
    assert_int_equal(mm1_tokenizer_save(t, "/nonexistent/tokenizer.json", &err), MM1_E_IO);
    mm1_tokenizer_destroy(t);
}

static void ignore_merges_takes_a_token_that_no_merge_makes(void **state)
{
    (void)state;
    size_t len;
    char *valid = small_file(&len);
    for (int ignore = 0; ignore < 2; ignore++) {
        mm1_error err = {0};
        mm1_tokenizer *t = NULL;
        FILE *f = fopen(tmp_path("ignore.json"), "w");
        assert_non_null(f);
        const char *a = strstr(valid, "\"ignore_merges\": false"), *b = strstr(valid, "\"ab\": 259");
        (void)fprintf(f, "%.*s\"ignore_merges\": %s%.*s\"xyz\": 261, %s", (int)(a - valid), valid,
                      ignore ? "true" : "false", (int)(b - a - 22), a + 22, b);
        assert_int_equal(fclose(f), 0);
        check_ok(mm1_tokenizer_load(tmp_path("ignore.json"), &t, &err), &err);
        mm1_ids ids = encode(t, "xyz", 3);
        assert_int_equal(ids.n, ignore ? 1 : 3);
        mm1_ids_free(&ids);
        mm1_tokenizer_destroy(t);
    }
    mm1_free(valid);
}

/* As in the package `tokenizers`, which gives these ids. */
static void a_byte_without_a_token_is_left_out(void **state)
{
    (void)state;
    static const char json[] = "{\"version\":\"1.0\",\"added_tokens\":[],\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                               "\"add_prefix_space\":false,\"use_regex\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
                               "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    static const struct {
        const char *text;
        size_t n;
        int32_t ids[2];
    } cases[] = {{"ab", 1, {2}},
                 {"a\004b", 1, {2}},
                 {"\004", 0, {0}},
                 {"b a", 2, {1, 0}},
                 {"cab", 1, {2}},
                 {"\xff\xfe"
                  "a",
                  1,
                  {0}}};
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    check_ok(mm1_tokenizer_from_json(json, sizeof json - 1, "gaps", &t, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_ids ids = encode(t, cases[i].text, strlen(cases[i].text));
        assert_int_equal(ids.n, cases[i].n);
        for (size_t k = 0; k < ids.n; k++) {
            assert_int_equal(ids.items[k], cases[i].ids[k]);
        }
        mm1_ids_free(&ids);
    }
    char *long_text = mm1_alloc(301, 1); /* the other way to merge */
    for (int i = 0; i < 300; i++) {
        long_text[i] = "a b"[i % 3];
    }
    mm1_ids ids = encode(t, long_text, 300);
    assert_int_equal(ids.n, 100);
    mm1_ids_free(&ids);
    mm1_free(long_text);
    mm1_tokenizer_destroy(t);
    assert_int_equal(mm1_tokenizer_from_json("{\"version\":1", 12, "cut", &t, &err), MM1_E_FORMAT);
    check_contains(err.message, "cut: line 1");
    assert_null(t);
}

/* -------- patterns -------- */

static void unknown_pattern_syntax_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        mm1_status status;
    } cases[] = {
        {"\\w+", MM1_E_UNSUPPORTED},     {"\\bx", MM1_E_UNSUPPORTED},    {"(*LIMIT_MATCH=1)x", MM1_E_UNSUPPORTED},
        {"(?x)a b", MM1_E_UNSUPPORTED},  {"(?<n>a)", MM1_E_UNSUPPORTED}, {"[a[b]]", MM1_E_UNSUPPORTED},
        {"[a&&b]", MM1_E_UNSUPPORTED},   {"[^\\S]", MM1_E_UNSUPPORTED},  {"a{1,2}+", MM1_E_UNSUPPORTED},
        {"a{,2}", MM1_E_UNSUPPORTED},    {"(a)\\1", MM1_E_UNSUPPORTED},  {"\\p{L", MM1_E_UNSUPPORTED},
        {"\\pL", MM1_E_UNSUPPORTED},     {"\\xFF", MM1_E_UNSUPPORTED},   {"a\\", MM1_E_UNSUPPORTED},
        {"[]a]", MM1_E_UNSUPPORTED},     {"(a", MM1_E_FORMAT},           {"[a", MM1_E_FORMAT},
        {"\\p{Nonesuch}", MM1_E_FORMAT}, {"a**", MM1_E_FORMAT},          {"\xFF", MM1_E_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mm1_error err = {0};
        mm1_split *s = (mm1_split *)&err;
        const mm1_status st = mm1_split_create(cases[i].pattern, &s, &err);
        if (st != cases[i].status) {
            print_error("%s: %s: %s\n", cases[i].pattern, mm1_status_name(st), err.message);
            fail();
        }
        assert_null(s);
    }
}

static void check_pieces(const char *pattern, const char *text, const char *want)
{
    mm1_error err = {0};
    mm1_split *s = NULL;
    mm1_split_cursor c;
    char have[200] = "";
    size_t n = 0, begin, end;
    check_ok(mm1_split_create(pattern, &s, &err), &err);
    check_ok(mm1_split_cursor_open(&c, s, text, strlen(text), &err), &err);
    for (;;) {
        check_ok(mm1_split_cursor_next(&c, &begin, &end, &err), &err);
        if (begin == end) {
            break;
        }
        n += (size_t)snprintf(have + n, sizeof have - n, "[%.*s]", (int)(end - begin), text + begin);
    }
    assert_string_equal(have, want);
    mm1_split_cursor_close(&c);
    mm1_split_destroy(s);
}

static void matches_and_gaps_are_pieces(void **state)
{
    (void)state;
    check_pieces("b+", "abbac", "[a][bb][ac]");
    check_pieces("x", "abc", "[abc]");
    check_pieces("x", "", "");
    check_pieces("b*", "ab\u00e9", "[a][b][\u00e9]");
    check_pieces("\\p{N}{1,3}", "a12345b", "[a][123][45][b]");
    check_pieces("\\p{Han}|\\s", "a\u4e2d b", "[a][\u4e2d][ ][b]");
    check_pieces("\\u4e2d|[\\x{61}-\\x{62}]", "x\u4e2da", "[x][\u4e2d][a]");
    check_pieces("[^\\s]+", "ab\u180ec d", "[ab\u180ec][ ][d]"); /* U+180E is no space */
    check_pieces("(?i:'S)|\\p{^L}", "a's1", "[a]['s][1]");
    check_pieces("^a$", "a\nba", "[a][\nba]"); /* Ruby's anchors are those of lines */
}

static void a_pattern_that_explodes_is_an_error(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_split *s = NULL;
    mm1_split_cursor c;
    size_t begin, end;
    char text[64];
    memset(text, 'a', sizeof text);
    text[63] = 'b';
    check_ok(mm1_split_create("(a+)+$c", &s, &err), &err);
    mm1_split_destroy(s);
    check_ok(mm1_split_create("(?:a|aa|a+)+(?=c)", &s, &err), &err);
    check_ok(mm1_split_cursor_open(&c, s, text, sizeof text, &err), &err);
    assert_int_equal(mm1_split_cursor_next(&c, &begin, &end, &err), MM1_E_LIMIT);
    check_contains(err.message, "limit");
    mm1_split_cursor_close(&c);
    mm1_split_destroy(s);
}

/* -------- files of text -------- */

static void the_text_source_reads_text_and_json_lines_plain_and_compressed(void **state)
{
    (void)state;
    mm1_error err = {0};
    char plain[300], json[300];
    static const char lines[] = "{\"text\": \"one\"}\n\n{\"text\": \"t\\u0000wo\", \"n\": 1}";
    char packed[400];
    (void)snprintf(plain, sizeof plain, "%s/a.txt", tmp);
    (void)snprintf(json, sizeof json, "%s/b.jsonl.zst", tmp);
    write_file(plain, "first\n  second\r\n", 16);
    const size_t n_packed = ZSTD_compress(packed, sizeof packed, lines, strlen(lines), 3);
    assert_false(ZSTD_isError(n_packed));
    write_file(json, packed, n_packed);
    const char *const paths[] = {plain, json};
    mm1_text_source *s = NULL;
    const char *text;
    size_t len;
    check_ok(mm1_text_source_open(paths, 2, &s, &err), &err);
    assert_true(mm1_text_source_next(s, &text, &len));
    assert_string_equal(text, "first\n  second\r\n");
    assert_true(mm1_text_source_next(s, &text, &len));
    assert_string_equal(text, "one");
    assert_true(mm1_text_source_next(s, &text, &len));
    assert_int_equal(len, 4);
    assert_memory_equal(text, "t\0wo", 4);
    assert_false(mm1_text_source_next(s, &text, &len));
    check_ok(mm1_text_source_status(s, &err), &err);
    assert_int_equal(mm1_text_source_bytes(s), 16 + 3 + 4);
    mm1_text_source_close(s);
}

static void a_bad_line_of_json_is_named(void **state)
{
    (void)state;
    mm1_error err = {0};
    char json[300];
    (void)snprintf(json, sizeof json, "%s/c.jsonl", tmp);
    const char *const paths[] = {json};
    static const char *const bad[] = {"{\"text\": \"a\"}\n{\"txt\": 1}\n", "{\"text\": \"a\"}\n{broken\n"};
    for (size_t i = 0; i < 2; i++) {
        mm1_text_source *s = NULL;
        const char *text;
        size_t len;
        write_file(json, bad[i], strlen(bad[i]));
        check_ok(mm1_text_source_open(paths, 1, &s, &err), &err);
        assert_true(mm1_text_source_next(s, &text, &len));
        assert_false(mm1_text_source_next(s, &text, &len));
        assert_false(mm1_text_source_next(s, &text, &len));
        assert_int_equal(mm1_text_source_status(s, &err), MM1_E_FORMAT);
        check_contains(err.message, "c.jsonl: line 2");
        mm1_text_source_close(s);
    }
}

static void pieces_of_a_file_have_the_pre_tokens_of_the_whole(void **state)
{
    (void)state;
    mm1_error err = {0};
    char path[300];
    mm1_rng r = mm1_rng_make(14, MM1_RNG_TEST, 0);
    const size_t n = 1000000;
    char *text = mm1_alloc(n + 1, 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        text[i] = "abcdefghij klmnop  \n\n\r\t'"[mm1_rng_below(&r, 25) % 24];
    }
    text[n] = '\0';
    (void)snprintf(path, sizeof path, "%s/d.txt", tmp);
    write_file(path, text, n);
    const char *const paths[] = {path};
    mm1_text_source *s = NULL;
    const char *piece;
    size_t len, at = 0, n_pieces = 0;
    check_ok(mm1_text_source_open(paths, 1, &s, &err), &err);
    while (mm1_text_source_next(s, &piece, &len)) {
        for (size_t i = 0, k; i < len; i += k) {
            k = mm1_gpt2_piece(piece + i, len - i);
            assert_int_equal(k, mm1_gpt2_piece(text + at, n - at));
            assert_memory_equal(piece + i, text + at, k);
            at += k;
        }
        n_pieces++;
    }
    check_ok(mm1_text_source_status(s, &err), &err);
    assert_int_equal(at, n);
    assert_true(n_pieces > 10);
    mm1_text_source_close(s);
    mm1_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_merges_the_most_frequent_pair_and_breaks_ties_by_ids),
        cmocka_unit_test(a_run_of_one_letter_is_counted_without_overlap),
        cmocka_unit_test(special_tokens_and_bytes_have_their_ids),
        cmocka_unit_test(training_does_not_depend_on_how_texts_are_told),
        cmocka_unit_test(a_training_config_out_of_range_is_refused),
        cmocka_unit_test(a_long_run_is_trained_and_encoded_in_linear_time),
        cmocka_unit_test(a_typed_special_token_is_text),
        cmocka_unit_test(special_ids_decode_to_nothing_and_unknown_ids_are_refused),
        cmocka_unit_test(every_byte_and_nul_and_the_empty_text_survive),
        cmocka_unit_test(random_bytes_survive),
        cmocka_unit_test(words_of_every_length_are_merged_as_defined),
        cmocka_unit_test(a_token_is_found_by_its_bytes_and_by_no_others),
        cmocka_unit_test(encoding_appends_and_leaves_the_list_alone_when_it_fails),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(a_file_with_a_lie_in_it_is_refused_by_name),
        cmocka_unit_test(a_merge_written_as_one_string_is_read),
        cmocka_unit_test(a_truncated_or_corrupted_file_never_crashes),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(ignore_merges_takes_a_token_that_no_merge_makes),
        cmocka_unit_test(a_byte_without_a_token_is_left_out),
        cmocka_unit_test(unknown_pattern_syntax_is_refused_by_name),
        cmocka_unit_test(matches_and_gaps_are_pieces),
        cmocka_unit_test(a_pattern_that_explodes_is_an_error),
        cmocka_unit_test(the_text_source_reads_text_and_json_lines_plain_and_compressed),
        cmocka_unit_test(a_bad_line_of_json_is_named),
        cmocka_unit_test(pieces_of_a_file_have_the_pre_tokens_of_the_whole),
    };
    return cmocka_run_group_tests(tests, make_tmp, remove_tmp);
}

/* Vocabularies of characters with tokens for bytes (SentencePiece's BPE), and other makers' components: the same ids
 * and texts as the `tokenizers` package. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include <jansson.h>
#include <mm1/tokenizer.h>

#define DATA MM1_TEST_DATA "/text/"

static const char *const names[] = {"llama2", "noprefix", "mistral", "always", "never", "llama3", "inner", "noblank"};
enum { N_NAMES = 8 };

static mm1_tokenizer *load(const char *name)
{
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    char path[512];
    (void)snprintf(path, sizeof path, DATA "char_%s.tokenizer.json", name);
    check_ok(mm1_tokenizer_load(path, &t, &err), &err);
    return t;
}

/* The same tokenizer out of what it writes. */
static mm1_tokenizer *reload(const mm1_tokenizer *t)
{
    mm1_error err = {0};
    char *text = NULL;
    size_t len = 0;
    mm1_tokenizer *out = NULL;
    check_ok(mm1_tokenizer_to_json(t, &text, &len, &err), &err);
    check_ok(mm1_tokenizer_from_json(text, len, "again", &out, &err), &err);
    mm1_free(text);
    return out;
}

static int check_case(const mm1_tokenizer *t, const json_t *c)
{
    mm1_error err = {0};
    mm1_ids ids = {0};
    const json_t *text = json_object_get(c, "text"), *want = json_object_get(c, "ids");
    const json_t *decoded = json_object_get(c, "decoded");
    check_ok(mm1_tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, &err), &err);
    assert_int_equal(ids.n, json_array_size(want));
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_equal(ids.items[i], json_integer_value(json_array_get(want, i)));
    }
    char *back = NULL;
    size_t len = 0;
    check_ok(mm1_tokenizer_decode(t, ids.items, ids.n, &back, &len, &err), &err);
    assert_int_equal(len, json_string_length(decoded));
    assert_memory_equal(back, json_string_value(decoded), len);
    mm1_free(back);
    mm1_ids_free(&ids);
    return 1;
}

static void ids_and_texts_equal_the_golden_ones(void **state)
{
    (void)state;
    json_t *cases = json_load_file(DATA "char_cases.json", JSON_ALLOW_NUL, NULL);
    assert_non_null(cases);
    int n = 0;
    for (int k = 0; k < N_NAMES; k++) {
        mm1_tokenizer *t = load(names[k]), *again = reload(t);
        for (size_t i = 0; i < json_array_size(cases); i++) {
            const json_t *c = json_array_get(cases, i);
            if (strcmp(json_string_value(json_object_get(c, "tokenizer")), names[k]) == 0) {
                n += check_case(t, c) + check_case(again, c);
            }
        }
        mm1_tokenizer_destroy(again);
        mm1_tokenizer_destroy(t);
    }
    assert_int_equal(n, 2 * (int)json_array_size(cases));
    json_decref(cases);
}

static void a_template_gives_the_token_that_begins_a_text(void **state)
{
    (void)state;
    static const int bos[N_NAMES] = {1, -1, 1, 1, 1, 0, -1, -1};
    for (int k = 0; k < N_NAMES; k++) {
        mm1_tokenizer *t = load(names[k]), *again = reload(t);
        assert_int_equal(mm1_tokenizer_roles(t)->bos, bos[k]);
        assert_int_equal(mm1_tokenizer_roles(again)->bos, bos[k]);
        mm1_tokenizer_destroy(again);
        mm1_tokenizer_destroy(t);
    }
}

static void any_bytes_come_back_and_none_becomes_special(void **state)
{
    (void)state;
    mm1_rng r = mm1_rng_make(3, MM1_RNG_TEST, 0);
    int n_behind = 0;
    static const char *const pieces[] = {" ",
                                         "  ",
                                         "a",
                                         "the",
                                         "<s>",
                                         "</s>",
                                         "<unk>",
                                         "<0x0A>",
                                         "<tool>",
                                         "\xff",
                                         "\xe4\xbd",
                                         "\xe4\xbd\xa0",
                                         "\xf0\x9f\x98\x80",
                                         "\n",
                                         ".",
                                         "\xc3\xa9"};
    for (int k = 0; k < N_NAMES - 1; k++) { /* not the one without a token for blanks */
        mm1_tokenizer *t = load(names[k]);
        for (int round = 0; round < 300; round++) {
            mm1_error err = {0};
            mm1_ids ids = {0};
            char text[256] = "", *back = NULL;
            size_t len = 0;
            for (uint64_t n = mm1_rng_below(&r, 20); n > 0; n--) {
                strcat(text, pieces[mm1_rng_below(&r, sizeof pieces / sizeof *pieces)]);
            }
            check_ok(mm1_tokenizer_encode(t, text, strlen(text), &ids, &err), &err);
            for (size_t i = 0; i < ids.n; i++) {
                assert_false(mm1_tokenizer_is_special(t, ids.items[i]));
            }
            check_ok(mm1_tokenizer_decode(t, ids.items, ids.n, &back, &len, &err), &err);
            /* Behind <tool> some put a blank, and some take one away at the start that was not theirs. */
            if (strstr(text, "<tool>") == NULL && (k == 0 || k == 1 || k == 4 || k >= 5)) {
                /* What is no UTF-8 at the start hides it from the blank that is put before text. */
                const bool bare = k == 0 && ((uint8_t)*text == 0xff || strncmp(text, "\xe4\xbd", 2) == 0);
                assert_true(bare || strcmp(back, text) == 0);
            }
            mm1_free(back);
            /* What goes on from a text has nothing put before it: bytes are as they were. */
            ids.n = 0;
            check_ok(mm1_tokenizer_encode_at(t, MM1_TEXT_GOES_ON, text, strlen(text), &ids, &err), &err);
            size_t at = 0;
            for (size_t i = 0; i < ids.n && strstr(text, "<tool>") == NULL; i++) {
                const char *bytes = mm1_tokenizer_token_bytes(t, ids.items[i], &len);
                assert_memory_equal(text + at, bytes, len);
                at += len;
            }
            assert_true(strstr(text, "<tool>") != NULL || at == strlen(text));
            /* Behind a token is the same whether that stands in the text or before it (not all have one). */
            mm1_ids whole = {0};
            char with_token[300];
            (void)snprintf(with_token, sizeof with_token, "<tool>%s", text);
            check_ok(mm1_tokenizer_encode_at(t, MM1_TEXT_GOES_ON, "<tool>", 6, &whole, &err), &err);
            if (whole.n == 1) {
                ids.n = whole.n = 0;
                check_ok(mm1_tokenizer_encode(t, with_token, strlen(with_token), &whole, &err), &err);
                check_ok(mm1_tokenizer_encode_at(t, MM1_TEXT_BEHIND_TOKEN, text, strlen(text), &ids, &err), &err);
                assert_int_equal(whole.n, ids.n + 1);
                assert_true(ids.n == 0 || memcmp(whole.items + 1, ids.items, ids.n * sizeof *ids.items) == 0);
                n_behind++;
            }
            mm1_ids_free(&whole);
            mm1_ids_free(&ids);
        }
        mm1_tokenizer_destroy(t);
    }
    assert_true(n_behind > 0);
}

/* llama2's file with one change. */
static void refuse(const char *from, const char *to, mm1_status want, const char *says)
{
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    char *text = NULL;
    size_t len = 0;
    mm1_buf changed;
    mm1_buf_init(&changed, 1 << 20);
    check_ok(mm1_file_read(DATA "char_llama2.tokenizer.json", 1 << 20, &text, &len, &err), &err);
    const char *at = strstr(text, from);
    assert_non_null(at);
    mm1_buf_append(&changed, text, (size_t)(at - text));
    mm1_buf_puts(&changed, to);
    mm1_buf_puts(&changed, at + strlen(from));
    assert_int_equal(mm1_tokenizer_from_json(mm1_buf_str(&changed), changed.len, "changed", &t, &err), want);
    check_contains(err.message, says);
    assert_null(t);
    mm1_buf_deinit(&changed);
    mm1_free(text);
}

static void what_is_not_understood_is_refused_by_name(void **state)
{
    (void)state;
    refuse("\"Prepend\"", "\"Lowercase\"", MM1_E_UNSUPPORTED, "normalizer");
    refuse("\"pre_tokenizer\":null", "\"pre_tokenizer\":{\"type\":\"Digits\"}", MM1_E_UNSUPPORTED, "pre_tokenizer");
    refuse("\"Fuse\"", "\"CTC\"", MM1_E_UNSUPPORTED, "decoder");
    refuse("\"TemplateProcessing\"", "\"BertProcessing\"", MM1_E_UNSUPPORTED, "post_processor");
    refuse("\"ids\":[1]", "\"ids\":[400000]", MM1_E_FORMAT, "TemplateProcessing");
    refuse("\"ids\":[1]", "\"ids\":[]", MM1_E_FORMAT, "TemplateProcessing");
    refuse("\"<0x41>\"", "\"<0x4g>\"", MM1_E_FORMAT, "<0x41>");
    refuse("\"byte_fallback\":true", "\"byte_fallback\":false", MM1_E_UNSUPPORTED, "normalizer");
    refuse("\"unk_token\":\"<unk>\"", "\"unk_token\":\"<none>\"", MM1_E_FORMAT, "unk_token");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_and_texts_equal_the_golden_ones),
        cmocka_unit_test(a_template_gives_the_token_that_begins_a_text),
        cmocka_unit_test(any_bytes_come_back_and_none_becomes_special),
        cmocka_unit_test(what_is_not_understood_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

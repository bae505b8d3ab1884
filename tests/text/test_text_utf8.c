/* test_text_utf8.c - UTF-8, the byte alphabet, classes of characters and NFC. */
#include "support/check.h"

#include "base/alloc.h"
#include "text/byte_alphabet.h"
#include "text/nfc.h"
#include "text/unicode_class.h"
#include "text/utf8.h"
#include <utf8proc.h>

static void every_code_point_survives_utf8(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char s[MM1_UTF8_MAX_BYTES];
        uint32_t back = 0;
        const size_t n = mm1_utf8_encode(s, code);
        const bool surrogate = code >= 0xD800 && code < 0xE000;
        assert_int_equal(mm1_utf8_decode(s, n, &back), surrogate ? 0 : n);
        if (!surrogate) {
            assert_int_equal(back, code);
            for (size_t cut = 1; cut < n; cut++) {
                assert_int_equal(mm1_utf8_decode(s, cut, &back), 0);
                assert_int_equal(mm1_utf8_incomplete_tail(s, cut), cut);
            }
            assert_int_equal(mm1_utf8_incomplete_tail(s, n), 0);
        }
    }
}

static void malformed_bytes_are_no_characters(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "\xE2\x28\xA1",
                                      "\xC3\x28"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t code;
        assert_int_equal(mm1_utf8_decode(bad[i], strlen(bad[i]), &code), 0);
        assert_int_equal(mm1_utf8_valid(bad[i], strlen(bad[i])), 0);
    }
    assert_int_equal(mm1_utf8_valid("plain text of many bytes \xC3\xA9\xFFzz", 30), 27);
    for (size_t at = 0; at < 40; at++) { /* ASCII is passed over in blocks, wherever they begin and end */
        char text[40];
        memset(text, 'a', sizeof text);
        text[at] = '\xFF';
        for (size_t begin = 0; begin <= at; begin++) {
            assert_int_equal(mm1_utf8_valid(text + begin, sizeof text - begin), at - begin);
            assert_int_equal(mm1_utf8_valid(text + begin, at - begin), at - begin);
        }
    }
    assert_int_equal(mm1_utf8_invalid_prefix("\xFF\x80\xE2\x82z", 5), 4);
    assert_int_equal(mm1_utf8_invalid_prefix("\xFF\x80\xE2\x82", 4), 4);
    assert_int_equal(mm1_utf8_invalid_prefix("a", 1), 0);
    assert_int_equal(mm1_utf8_valid("", 0), 0);
}

static void only_a_tail_that_can_be_completed_is_held_back(void **state)
{
    (void)state;
    assert_int_equal(mm1_utf8_incomplete_tail("ab\xE2\x82", 4), 2);
    assert_int_equal(mm1_utf8_incomplete_tail("ab\xE2\x82\xAC", 5), 0);
    assert_int_equal(mm1_utf8_incomplete_tail("\xF0\x9F\x98", 3), 3);
    assert_int_equal(mm1_utf8_incomplete_tail("\xED\xA0", 2), 0); /* a surrogate */
    assert_int_equal(mm1_utf8_incomplete_tail("\xF4\x90", 2), 0); /* above U+10FFFF */
    assert_int_equal(mm1_utf8_incomplete_tail("\x80\x80\x80", 3), 0);
    assert_int_equal(mm1_utf8_incomplete_tail("\xFF", 1), 0);
    assert_int_equal(mm1_utf8_incomplete_tail("", 0), 0);
}

static void byte_alphabet_is_the_one_of_gpt2(void **state)
{
    (void)state;
    uint32_t last = 0;
    for (int b = 0; b < 256; b++) {
        assert_int_equal(mm1_char_byte(mm1_byte_char((uint8_t)b)), b);
        const uint32_t code = mm1_byte_char(mm1_byte_of_rank(b));
        assert_true(code > last);
        last = code;
    }
    assert_int_equal(mm1_byte_char(' '), 0x120);
    assert_int_equal(mm1_byte_char('\n'), 0x10A);
    assert_int_equal(mm1_byte_char(0xAD), 0x143);
    assert_int_equal(mm1_char_byte(' '), -1);
    assert_int_equal(mm1_char_byte(0x144), -1);
    mm1_buf b;
    mm1_buf_init(&b, 100);
    mm1_bytes_spell(&b, " a\n", 3);
    assert_string_equal(mm1_buf_str(&b), "\u0120a\u010A");
    mm1_buf_clear(&b);
    assert_true(mm1_bytes_unspell(&b, "\u0120a\u010A"));
    assert_string_equal(mm1_buf_str(&b), " a\n");
    assert_false(mm1_bytes_unspell(&b, "a b"));
    assert_string_equal(mm1_buf_str(&b), " a\n");
    mm1_buf_deinit(&b);
}

static void classes_agree_with_utf8proc_where_it_knows_the_character(void **state)
{
    (void)state;
    int differ = 0;
    for (uint32_t code = 0; code < 0x110000; code++) {
        const utf8proc_category_t c = utf8proc_category((int32_t)code);
        const bool letter = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
        const bool number = c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
        const mm1_char_class have = mm1_char_class_of(code);
        if (c != UTF8PROC_CATEGORY_CN) {
            differ += (have == MM1_CHAR_LETTER) != letter || (have == MM1_CHAR_NUMBER) != number;
        }
    }
    assert_true(differ <= 4); /* characters whose category changed between versions of Unicode, such as U+19DA */
    assert_int_equal(mm1_char_class_of(0x85), MM1_CHAR_SPACE);
    assert_int_equal(mm1_char_class_of(0x180E), MM1_CHAR_OTHER);
    assert_int_equal(mm1_char_class_of(UINT32_MAX >> 2), MM1_CHAR_OTHER);
}

static void nfc_equals_utf8proc_and_orders_long_runs_of_marks(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(1, MM1_RNG_TEST, 0);
    char *out = NULL;
    size_t n = 0;
    check_ok(mm1_nfc("caf\xC3\xA9", 5, &out, &n, &err), &err);
    assert_null(out);
    for (int round = 0; round < 2000; round++) {
        char text[400];
        size_t len = 0;
        for (int k = 0; k < 40; k++) {
            static const uint32_t blocks[] = {0x41, 0x300, 0x300, 0x5B0, 0x1100, 0x1161, 0xAC00, 0x1E00, 0x915, 0x2126};
            const bool low = mm1_rng_below(&r, 10) < (uint64_t)round % 10; /* short runs and long ones */
            uint32_t code =
                (low ? round % 3 == 0 ? 0xC0 : 0x41 : blocks[mm1_rng_below(&r, 10)]) + (uint32_t)mm1_rng_below(&r, 40);
            len += mm1_utf8_encode(text + len, code);
        }
        text[len] = '\0';
        utf8proc_uint8_t *want = utf8proc_NFC((const utf8proc_uint8_t *)text);
        check_ok(mm1_nfc(text, len, &out, &n, &err), &err);
        assert_string_equal(out != NULL ? out : text, (const char *)want); /* NULL: it is NFC already */
        assert_int_equal(out != NULL ? n : len, strlen((const char *)want));
        free(want);
        mm1_free(out);
    }
    /* 400 KB of marks in the worst order: by insertion this would take minutes. */
    const size_t marks = 200000;
    char *text = mm1_alloc(marks * 2, 1);
    assert_non_null(text);
    for (size_t i = 0; i < marks; i++) {
        (void)mm1_utf8_encode(text + 2 * i, i % 2 == 0 ? 0x301 : 0x323);
    }
    check_ok(mm1_nfc(text, marks * 2, &out, &n, &err), &err);
    assert_int_equal(n, marks * 2);
    assert_memory_equal(out, "\xCC\xA3\xCC\xA3", 4);
    assert_memory_equal(out + n - 4, "\xCC\x81\xCC\x81", 4);
    mm1_free(out);
    mm1_free(text);
}

static void nfc_reports_each_failed_allocation_and_leaks_nothing(void **state)
{
    (void)state;
    static const char text[] = "e\xCC\x81 and \xE1\x84\x80\xE1\x85\xA1 and o\xCC\x88";
    const size_t before = mm1_alloc_bytes();
    mm1_status st = MM1_E_NOMEM;
    for (uint64_t n = 1; st != MM1_OK; n++) {
        mm1_error err = {0};
        char *out = (char *)&err; /* must become NULL */
        size_t len = 0;
        mm1_alloc_fail_at(n);
        st = mm1_nfc(text, sizeof text - 1, &out, &len, &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK ? n > 1 : st == MM1_E_NOMEM && out == NULL);
        assert_true(n < 20);
        if (st == MM1_OK) {
            assert_string_equal(out, "\xC3\xA9 and \xEA\xB0\x80 and \xC3\xB6");
        }
        mm1_free(out);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_survives_utf8),
        cmocka_unit_test(malformed_bytes_are_no_characters),
        cmocka_unit_test(only_a_tail_that_can_be_completed_is_held_back),
        cmocka_unit_test(byte_alphabet_is_the_one_of_gpt2),
        cmocka_unit_test(classes_agree_with_utf8proc_where_it_knows_the_character),
        cmocka_unit_test(nfc_equals_utf8proc_and_orders_long_runs_of_marks),
        cmocka_unit_test(nfc_reports_each_failed_allocation_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

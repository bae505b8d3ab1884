/* Base64 back into bytes: the vectors of RFC 4648, every digit, and what was written here. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/base64.h"
#include "base/buf.h"

static void check_bytes(const char *digits, const void *want, size_t n)
{
    mm1_error err = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    check_ok(mm1_base64_decode(digits, strlen(digits), &bytes, &len, &err), &err);
    assert_int_equal(len, n);
    assert_memory_equal(bytes, want, n);
    mm1_free(bytes);
}

static void vectors_with_and_without_padding(void **state)
{
    (void)state;
    static const char *const digits[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy", "Zg", "Zm8"};
    static const char *const texts[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar", "f", "fo"};
    for (size_t i = 0; i < sizeof digits / sizeof *digits; i++) {
        check_bytes(digits[i], texts[i], strlen(texts[i]));
    }
}

/* All bytes at each of the three places of a group, and so all digits. */
static void what_was_written_comes_back(void **state)
{
    (void)state;
    uint8_t bytes[258];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    for (size_t begin = 0; begin < 3; begin++) {
        mm1_buf b;
        mm1_buf_init(&b, 1 << 10);
        mm1_buf_put_base64(&b, bytes + begin, sizeof bytes - begin);
        check_bytes(mm1_buf_str(&b), bytes + begin, sizeof bytes - begin);
        mm1_buf_deinit(&b);
    }
}

static void another_character_is_named_by_its_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {"Zm9-", "Zm9 ", "Zm9_", "Zm9\n", "Zm9\xc3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mm1_error err = {0};
        uint8_t *bytes = NULL;
        size_t len = 0;
        assert_int_equal(mm1_base64_decode(wrong[i], strlen(wrong[i]), &bytes, &len, &err), MM1_E_FORMAT);
        check_contains(err.message, "character 3");
        assert_null(bytes);
    }
    mm1_error err = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    assert_int_equal(mm1_base64_decode("Zg==Zg==", 8, &bytes, &len, &err), MM1_E_FORMAT); /* padding is at the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_with_and_without_padding),
        cmocka_unit_test(what_was_written_comes_back),
        cmocka_unit_test(another_character_is_named_by_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

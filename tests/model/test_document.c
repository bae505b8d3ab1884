/* Documents: parts in order, copies, limits, JSON from a user's file. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/document.h"

static void parts_keep_their_order_and_own_their_bytes(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_document d = {0};
    char text[] = "a\0b";
    check_ok(mm1_document_set_name(&d, "shard.tar:000012", &err), &err);
    check_ok(mm1_document_add_image(&d, "\xff\xd8", 2, "000012.jpg", &err), &err);
    check_ok(mm1_document_add_text(&d, text, 3, true, &err), &err);
    check_ok(mm1_document_add_text(&d, "", 0, false, &err), &err);
    text[0] = 'x';
    assert_int_equal(d.n_parts, 3);
    assert_int_equal(mm1_document_n_images(&d), 1);
    assert_int_equal(d.parts[0].kind, MM1_PART_IMAGE);
    assert_false(d.parts[0].train);
    assert_string_equal(d.parts[0].name, "000012.jpg");
    assert_int_equal(d.parts[1].len, 3);
    assert_memory_equal(d.parts[1].bytes, "a\0b", 4);
    assert_true(d.parts[1].train);
    assert_string_equal(d.parts[2].bytes, "");
    assert_string_equal(d.name, "shard.tar:000012");
    mm1_document_deinit(&d);
    assert_null(d.parts);
}

static void append_copies_the_parts_even_of_itself(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_document a = {0}, b = {0};
    check_ok(mm1_document_add_text(&a, "one", 3, true, &err), &err);
    check_ok(mm1_document_add_image(&b, "png", 3, "b.png", &err), &err);
    check_ok(mm1_document_add_text(&b, "two", 3, false, &err), &err);
    check_ok(mm1_document_append(&a, &b, &err), &err);
    mm1_document_deinit(&b);
    check_ok(mm1_document_append(&a, &a, &err), &err);
    assert_int_equal(a.n_parts, 6);
    assert_string_equal(a.parts[1].name, "b.png");
    assert_string_equal(a.parts[5].bytes, "two");
    assert_true(a.parts[5].bytes != a.parts[2].bytes);
    mm1_document_deinit(&a);
}

static void the_limit_of_parts_is_an_error(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_document d = {0};
    for (int i = 0; i < MM1_DOCUMENT_MAX_PARTS; i++) {
        check_ok(mm1_document_add_text(&d, "x", 1, true, &err), &err);
    }
    assert_int_equal(mm1_document_add_text(&d, "x", 1, true, &err), MM1_E_LIMIT);
    check_contains(err.message, "4096");
    assert_int_equal(d.n_parts, MM1_DOCUMENT_MAX_PARTS);
    mm1_document_deinit(&d);
}

static void json_reads_images_relative_to_the_folder(void **state)
{
    (void)state;
    mm1_error err = {0};
    char dir[256];
    check_tmpdir(dir, sizeof dir);
    char *path = mm1_path_join(dir, "a.png");
    check_ok(mm1_file_write_atomic(path, "pixels", 6, &err), &err);

    static const char json[] = "{\"parts\":[{\"type\":\"image\",\"path\":\"a.png\"},{\"type\":\"text\",\"text\":"
                               "\"caf\\u00e9\",\"train\":false},"
                               "{\"type\":\"text\",\"text\":\"<|image|>\"}]}";
    mm1_document d = {0};
    check_ok(mm1_document_parse_json(&d, json, sizeof json - 1, dir, "doc.json", &err), &err);
    assert_int_equal(d.n_parts, 3);
    assert_memory_equal(d.parts[0].bytes, "pixels", 6);
    assert_string_equal(d.parts[0].name, path);
    assert_string_equal(d.parts[1].bytes, "caf\xc3\xa9");
    assert_false(d.parts[1].train);
    assert_true(d.parts[2].train);
    assert_int_equal(d.parts[2].kind, MM1_PART_TEXT);
    assert_string_equal(d.name, "doc.json");

    /* A failure leaves what was there. */
    assert_int_equal(mm1_document_parse_json(&d, "[]", 2, dir, "x", &err), MM1_E_FORMAT);
    assert_int_equal(d.n_parts, 3);
    mm1_document_deinit(&d);
    mm1_free(path);
    check_ok(mm1_path_remove(dir, &err), &err);
}

static void json_errors_name_the_file_and_the_part(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        mm1_status status;
        const char *says;
    } cases[] = {
        {"{\"parts\":[", MM1_E_FORMAT, "doc.json:1:"},
        {"{\"parts\":[],\"parts\":[]}", MM1_E_FORMAT, "duplicate"},
        {"[]", MM1_E_FORMAT, "a list \"parts\""},
        {"{\"parts\":{}}", MM1_E_FORMAT, "a list \"parts\""},
        {"{\"parts\":[],\"prats\":1}", MM1_E_FORMAT, "unknown key \"prats\""},
        {"{\"parts\":[{\"type\":\"text\",\"text\":\"a\"},7]}", MM1_E_FORMAT, "parts[1]"},
        {"{\"parts\":[{\"type\":\"video\"}]}", MM1_E_FORMAT, "parts[0]: type \"video\""},
        {"{\"parts\":[{\"type\":\"text\"}]}", MM1_E_FORMAT, "needs a string \"text\""},
        {"{\"parts\":[{\"type\":\"text\",\"text\":\"a\",\"train\":1}]}", MM1_E_FORMAT, "\"train\" is true or false"},
        {"{\"parts\":[{\"type\":\"text\",\"text\":\"a\",\"path\":\"b\"}]}", MM1_E_FORMAT, "unknown key \"path\""},
        {"{\"parts\":[{\"type\":\"image\"}]}", MM1_E_FORMAT, "needs a string \"path\""},
        {"{\"parts\":[{\"type\":\"image\",\"path\":\"no/such.png\"}]}", MM1_E_IO, "/tmp/no/such.png"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_document d = {0};
        mm1_error err = {0};
        assert_int_equal(mm1_document_parse_json(&d, cases[i].json, strlen(cases[i].json), "/tmp", "doc.json", &err),
                         cases[i].status);
        check_contains(err.message, "doc.json");
        check_contains(err.message, cases[i].says);
        assert_int_equal(d.n_parts, 0);
    }
}

static void failing_allocations_leak_nothing(void **state)
{
    (void)state;
    static const char json[] = "{\"parts\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}";
    const size_t before = mm1_alloc_bytes();
    bool done = false;
    for (uint64_t n = 1; n < 100 && !done; n++) {
        mm1_document d = {0};
        mm1_error err = {0};
        mm1_alloc_fail_at(n);
        const mm1_status st = mm1_document_parse_json(&d, json, sizeof json - 1, NULL, "doc", &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || st == MM1_E_NOMEM);
        done = st == MM1_OK;
        mm1_document_deinit(&d);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_keep_their_order_and_own_their_bytes),
        cmocka_unit_test(append_copies_the_parts_even_of_itself),
        cmocka_unit_test(the_limit_of_parts_is_an_error),
        cmocka_unit_test(json_reads_images_relative_to_the_folder),
        cmocka_unit_test(json_errors_name_the_file_and_the_part),
        cmocka_unit_test(failing_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

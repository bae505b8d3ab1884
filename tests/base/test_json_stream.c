/* Elements of lists, maps and lines, one at a time; what is malformed among them; files that end too early. */
#include "support/tmp.h"

#include "base/file.h"
#include "base/json_stream.h"
#include <stdlib.h>

static char *put(const char *text)
{
    static char path[300];
    mm1_error err = {0};
    (void)snprintf(path, sizeof path, "%s/x.json", tmp);
    check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
    return path;
}

/* "key=json@line" of every element, "!" for a malformed one. */
static void check_elements(const char *text, const char *member, bool lines, const char *want)
{
    mm1_error err = {0};
    mm1_json_stream *s = NULL;
    mm1_json_element e;
    bool more = true;
    char got[1024] = "";
    size_t n = 0;
    const char *path = put(text);
    check_ok(lines ? mm1_json_stream_open_lines(path, &s, &err) : mm1_json_stream_open(path, member, &s, &err), &err);
    while (more) {
        check_ok(mm1_json_stream_next(s, &e, &more, &err), &err);
        if (more) {
            char *value = e.value != NULL ? json_dumps(e.value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
            n += (size_t)snprintf(got + n, sizeof got - n, "%s%s%s@%d ", e.key != NULL ? e.key : "",
                                  e.key != NULL ? "=" : "", value != NULL ? value : "!", (int)e.line);
            assert_true(value != NULL || e.reason[0] != '\0');
            free(value);
        }
    }
    mm1_json_stream_close(s);
    assert_string_equal(got, want);
}

static void check_fails(const char *text, const char *member, const char *want)
{
    mm1_error err = {0};
    mm1_json_stream *s = NULL;
    mm1_json_element e;
    bool more = true;
    mm1_status st = mm1_json_stream_open(put(text), member, &s, &err);
    while (st == MM1_OK && more) {
        st = mm1_json_stream_next(s, &e, &more, &err);
    }
    mm1_json_stream_close(s);
    assert_int_equal(st, MM1_E_FORMAT);
    if (strstr(err.message, want) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", want, err.message);
    }
}

static void test_elements(void **state)
{
    (void)state;
    check_elements("[]", NULL, false, "");
    check_elements(" [ {\"a\": \"]}\\\"\"} ,\n 2, [1, [2]]\n]", NULL, false, "{\"a\":\"]}\\\"\"}@1 2@2 [1,[2]]@2 ");
    check_elements("{\"x\": {\"k\": 1},\n \"y\": []}", NULL, false, "x={\"k\":1}@1 y=[]@2 ");
    check_elements("\xef\xbb\xbf{\"info\": {\"list\": [9]}, \"s\": \"list\", \"list\": [1, 2], \"rest\": 3}", "list",
                   false, "1@1 2@1 ");
    check_elements("{\"m\": {\"b\\u00e9\": null}}", "m", false, "b\xc3\xa9=null@1 ");
    check_elements("{\"a\": 1}\n\n  \n{\"b\": 2}\nno\n3", NULL, true, "{\"a\":1}@1 {\"b\":2}@4 !@5 3@6 ");
}

static void test_malformed(void **state)
{
    (void)state;
    check_elements("[{\"a\": 1}, {\"a\" 2}, nul,\n tru e, {\"a\": 3}]", NULL, false,
                   "{\"a\":1}@1 !@1 !@1 !@2 {\"a\":3}@2 ");
    check_fails("[1, 2", NULL, "ends too early");
    check_fails("[1, \"abc", NULL, "ends too early");
    check_fails("{\"a\": [1, 2], \"b\": ", NULL, "ends too early");
    check_fails("{\"a\": 1, b: 2}", NULL, "the key of a member");
    check_fails("{\"a\": 1, \"b\" 2}", NULL, "':' is expected");
    check_fails("", NULL, "a list or a map is expected");
    check_fails("7", NULL, "a list or a map is expected");
    check_fails("[1]", "list", "with the member \"list\"");
    check_fails("{\"a\": [1]}", "list", "has no member \"list\"");
    check_fails("{\"list\": 5}", "list", "no list and no map");
    check_fails("[1,,2]", NULL, "a value is expected");
    char deep[2000];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    check_fails(deep, NULL, "nested too deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_elements), cmocka_unit_test(test_malformed)};
    return cmocka_run_group_tests(tests, make_tmp, remove_tmp);
}

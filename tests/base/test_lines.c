/* test_lines.c - lines of plain and compressed files. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lines.h"
#include <sys/stat.h>
#include <zstd.h>

static char tmp[200], path[240];

static int make_tmp(void **state)
{
    (void)state;
    check_tmpdir(tmp, sizeof tmp);
    (void)snprintf(path, sizeof path, "%s/file", tmp);
    return 0;
}

static int remove_tmp(void **state)
{
    (void)state;
    return mm1_path_remove(tmp, NULL) == MM1_OK ? 0 : -1;
}

static void write_file(const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* Compresses into two frames, if asked, and writes. */
static size_t write_packed(const char *text, size_t len, int frames)
{
    const size_t cap = ZSTD_compressBound(len) * 2 + 100;
    char *packed = mm1_alloc(cap, 1);
    assert_non_null(packed);
    const size_t first = frames == 2 ? len / 2 : len;
    size_t n = ZSTD_compress(packed, cap, text, first, 1);
    if (frames == 2) {
        n += ZSTD_compress(packed + n, cap - n, text + first, len - first, 1);
    }
    write_file(packed, n);
    mm1_free(packed);
    return n;
}

static void check_lines(const char *text, size_t len)
{
    mm1_error err = {0};
    mm1_lines *l = NULL;
    const char *line;
    size_t n, at = 0, number = 0;
    check_ok(mm1_lines_open(path, 1000000, &l, &err), &err);
    for (;;) {
        check_ok(mm1_lines_next(l, &line, &n, &err), &err);
        if (line == NULL) {
            break;
        }
        const char *newline = memchr(text + at, '\n', len - at);
        assert_int_equal(n, newline == NULL ? len - at : (size_t)(newline - text) + 1 - at);
        assert_memory_equal(line, text + at, n);
        assert_int_equal(line[n], '\0');
        at += n;
        assert_int_equal(mm1_lines_number(l), ++number);
    }
    assert_int_equal(at, len);
    check_ok(mm1_lines_next(l, &line, &n, &err), &err); /* the end stays the end */
    assert_null(line);
    mm1_lines_close(l);
}

static void every_line_comes_as_it_is_plain_and_packed(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "a", "a\n", "a\nb", "\n\nx\r\n\n", "abc", "\x28\xB5\x2F"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const size_t len = strlen(texts[i]);
        write_file(texts[i], len);
        check_lines(texts[i], len);
        (void)write_packed(texts[i], len, 1);
        check_lines(texts[i], len);
        (void)write_packed(texts[i], len, 2);
        check_lines(texts[i], len);
    }
    mm1_rng r = mm1_rng_make(1, MM1_RNG_TEST, 0);
    const size_t len = 3000000; /* many buffers */
    char *text = mm1_alloc(len, 1);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++) {
        text[i] = mm1_rng_below(&r, i < len / 2 ? 10 : 200000) == 0 ? '\n' : (char)mm1_rng_below(&r, 256);
    }
    text[0] = 'x';
    write_file(text, len);
    check_lines(text, len);
    (void)write_packed(text, len, 2);
    check_lines(text, len);
    mm1_free(text);
}

/* Reads to the end or the first failure. */
static mm1_status read_all(size_t max_line_bytes, mm1_error *err)
{
    mm1_lines *l = NULL;
    const char *line = "";
    size_t n;
    mm1_status st = mm1_lines_open(path, max_line_bytes, &l, err);
    while (st == MM1_OK && line != NULL) {
        st = mm1_lines_next(l, &line, &n, err);
    }
    mm1_lines_close(l);
    return st;
}

static void a_line_over_the_limit_is_named(void **state)
{
    (void)state;
    mm1_error err = {0};
    write_file("1234\n12345\n", 11);
    check_ok(read_all(5, &err), &err);
    assert_int_equal(read_all(4, &err), MM1_E_LIMIT);
    check_contains(err.message, "line 2");
    check_contains(err.message, path);
    write_file("1234\n12345", 10);
    assert_int_equal(read_all(4, &err), MM1_E_LIMIT);
}

static void a_small_file_that_unpacks_to_much_does_not_fill_memory(void **state)
{
    (void)state;
    mm1_error err = {0};
    const size_t len = 64 << 20;
    char *text = mm1_alloc(len, 1);
    assert_non_null(text);
    memset(text, 'a', len);
    (void)write_packed(text, len, 1);
    mm1_free(text);
    const size_t before = mm1_alloc_bytes();
    mm1_lines *l = NULL;
    const char *line;
    size_t n;
    check_ok(mm1_lines_open(path, 1000, &l, &err), &err);
    assert_int_equal(mm1_lines_next(l, &line, &n, &err), MM1_E_LIMIT);
    assert_true(mm1_alloc_bytes() - before < 1 << 20);
    mm1_lines_close(l);
    assert_int_equal(mm1_alloc_bytes(), before);
}

static void a_cut_or_damaged_packed_file_is_an_error(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(2, MM1_RNG_TEST, 0);
    char text[20000];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = "abc \n"[mm1_rng_below(&r, 5)];
    }
    const size_t n = write_packed(text, sizeof text, 1);
    char *packed = NULL;
    check_ok(mm1_file_read(path, 1 << 20, &packed, NULL, &err), &err);
    for (size_t cut = 4; cut < n; cut += 97) {
        write_file(packed, cut);
        assert_int_equal(read_all(100000, &err), MM1_E_FORMAT);
        check_contains(err.message, "line");
    }
    for (int round = 0; round < 300; round++) { /* a changed byte may go unseen, but must not crash */
        const size_t at = mm1_rng_below(&r, n);
        const char was = packed[at];
        packed[at] = (char)mm1_rng_below(&r, 256);
        write_file(packed, n);
        const mm1_status st = read_all(100000, &err);
        assert_true(st == MM1_OK || st == MM1_E_FORMAT);
        packed[at] = was;
    }
    mm1_free(packed);
}

static void a_missing_file_and_a_folder_are_errors(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_lines *l = (mm1_lines *)&err; /* must become NULL */
    assert_int_equal(mm1_lines_open("/nonexistent/x", 10, &l, &err), MM1_E_IO);
    check_contains(err.message, "/nonexistent/x");
    assert_null(l);
    assert_int_equal(mm1_lines_open(tmp, 10, &l, &err), MM1_E_IO);
    assert_null(l);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    const size_t before = mm1_alloc_bytes();
    (void)write_packed("one\ntwo\n", 8, 1);
    mm1_status st = MM1_E_NOMEM;
    for (uint64_t n = 1; st != MM1_OK && n < 100; n++) {
        mm1_error err = {0};
        mm1_alloc_fail_at(n);
        st = read_all(100, &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || st == MM1_E_NOMEM);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_int_equal(st, MM1_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_comes_as_it_is_plain_and_packed),
        cmocka_unit_test(a_line_over_the_limit_is_named),
        cmocka_unit_test(a_small_file_that_unpacks_to_much_does_not_fill_memory),
        cmocka_unit_test(a_cut_or_damaged_packed_file_is_an_error),
        cmocka_unit_test(a_missing_file_and_a_folder_are_errors),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_tmp, remove_tmp);
}

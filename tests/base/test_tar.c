/* Tar shards: three dialects, compression, the index, the writer, and archives that are cut or lie. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/tar.h"
#include <zstd.h>

static mm1_error err;
static char dir[256], path[300];

static int make_dir(void **state)
{
    (void)state;
    check_tmpdir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/shard.tar", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return mm1_path_remove(dir, NULL) == MM1_OK ? 0 : 1;
}

static void write_file(const char *name, const void *bytes, size_t len)
{
    /* Thousands of files are written here: without the sync of mm1_file_write_atomic(). */
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* Reads on to the end; the status says how it ended, n how many members came before. */
static mm1_status read_all(const char *name, size_t max, size_t *n)
{
    mm1_tar *tar = NULL;
    mm1_tar_member m;
    *n = 0;
    mm1_status st = mm1_tar_open(&tar, name, max, &err);
    while (st == MM1_OK) {
        st = mm1_tar_next(tar, &m, &err);
        if (st == MM1_OK && m.name == NULL) {
            assert_int_equal(mm1_tar_next(tar, &m, &err), MM1_OK); /* the end stays the end */
            assert_null(m.name);
            break;
        }
        *n += st == MM1_OK;
    }
    if (st != MM1_OK && tar != NULL) {
        assert_int_equal(mm1_tar_next(tar, &m, &err), st); /* and a failure a failure */
        assert_null(m.name);
    }
    mm1_tar_close(tar);
    return st;
}

static void repeat(char *text, char c, int n, const char *end)
{
    memset(text, c, (size_t)n);
    (void)snprintf(text + n, 16, "%s", end);
}

static void the_dialects_of_python_read_alike(void **state)
{
    (void)state;
    static const char *const dialects[] = {"ustar", "gnu", "pax"};
    char longer[500], shard[400], long_name[200];
    repeat(longer, 'x', 400, ".json");
    memset(long_name, 'd', 90);
    long_name[90] = '/';
    repeat(long_name + 91, 'n', 60, ".txt");
    for (int i = 0; i < 3; i++) {
        mm1_tar *tar = NULL;
        mm1_tar_member m;
        (void)snprintf(shard, sizeof shard, "%s/base/tar_%s.tar.gz", MM1_TEST_DATA, dialects[i]);
        check_ok(mm1_tar_open(&tar, shard, 4096, &err), &err);
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_string_equal(m.name, "folder/000.jpg");
        assert_int_equal(m.size, 768);
        assert_int_equal(m.data[767], 255);
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_string_equal(m.name, "folder/000.txt");
        assert_memory_equal(m.data, "a caption", 9);
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_string_equal(m.name, "empty");
        assert_int_equal(m.size, 0);
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_string_equal(m.name, long_name);
        if (i > 0) {
            check_ok(mm1_tar_next(tar, &m, &err), &err);
            assert_string_equal(m.name, longer);
            assert_memory_equal(m.data, "longer name", 11);
        }
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_string_equal(m.name, "\xc3\xa4.txt");
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_int_equal(m.size, 512);
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_null(m.name);
        mm1_tar_close(tar);
    }
}

static void write_sample(const char *name)
{
    mm1_tar_writer *w = NULL;
    char text[600];
    check_ok(mm1_tar_writer_open(&w, name, &err), &err);
    check_ok(mm1_tar_writer_append(w, "a.txt", "hello", 5, &err), &err);
    check_ok(mm1_tar_writer_append(w, "empty", NULL, 0, &err), &err);
    repeat(text, 'n', 100, "");
    check_ok(mm1_tar_writer_append(w, text, "100", 3, &err), &err);
    repeat(text, 'n', 101, "");
    check_ok(mm1_tar_writer_append(w, text, "101", 3, &err), &err);
    repeat(text, 'x', 400, ".json");
    check_ok(mm1_tar_writer_append(w, text, "longer", 6, &err), &err);
    for (int i = 0; i < 60; i++) {
        memcpy(text + 2 * i, "\xc3\xa4", 3);
    }
    check_ok(mm1_tar_writer_append(w, text, "umlauts", 7, &err), &err);
    memset(text, 'b', 512);
    check_ok(mm1_tar_writer_append(w, "block", text, 512, &err), &err);
    assert_int_equal(mm1_tar_writer_append(w, "", "x", 1, &err), MM1_E_ARG);
    assert_int_equal(mm1_tar_writer_append(w, "folder/", "x", 1, &err), MM1_E_ARG);
    const uint64_t size = mm1_tar_writer_size(w);
    assert_int_equal(size % 512, 0);
    check_ok(mm1_tar_writer_commit(w, &err), &err);
    assert_int_equal(mm1_tar_writer_commit(w, &err), MM1_E_STATE);
    mm1_tar_writer_close(w);
}

/* The file is left for tools/golden_tar.py check. */
static void what_is_written_reads_back_and_indexes_alike(void **state)
{
    (void)state;
    const char *const out = MM1_BINARY_DIR "/written.tar";
    write_sample(out);
    write_sample(path);
    mm1_tar_index a, b;
    check_ok(mm1_tar_index_open(&a, out, &err), &err);
    check_ok(mm1_tar_index_open(&b, path, &err), &err);
    assert_int_equal(a.map.len, b.map.len);
    assert_memory_equal(a.map.data, b.map.data, a.map.len);
    assert_int_equal(a.n, 7);
    mm1_tar *tar = NULL;
    mm1_tar_member m;
    check_ok(mm1_tar_open(&tar, path, 512, &err), &err);
    for (size_t i = 0; i < a.n; i++) {
        check_ok(mm1_tar_next(tar, &m, &err), &err);
        assert_string_equal(m.name, a.members[i].name);
        assert_int_equal(m.size, a.members[i].size);
        assert_int_equal(m.offset, a.members[i].offset);
        assert_memory_equal(m.data, a.map.data + a.members[i].offset, m.size);
        assert_memory_equal(m.data, a.members[i].data, m.size);
    }
    check_ok(mm1_tar_next(tar, &m, &err), &err);
    assert_null(m.name);
    assert_string_equal(a.members[0].name, "a.txt");
    assert_int_equal(strlen(a.members[4].name), 405);
    mm1_tar_close(tar);
    mm1_tar_index_close(&a);
    mm1_tar_index_close(&b);
}

static void an_archive_that_is_not_committed_leaves_nothing(void **state)
{
    (void)state;
    mm1_tar_writer *w = NULL;
    char other[300], tmp[310];
    (void)snprintf(other, sizeof other, "%s/other.tar", dir);
    (void)snprintf(tmp, sizeof tmp, "%s.tmp", other);
    check_ok(mm1_tar_writer_open(&w, other, &err), &err);
    check_ok(mm1_tar_writer_append(w, "a", "x", 1, &err), &err);
    assert_true(mm1_path_exists(tmp));
    mm1_tar_writer_close(w);
    assert_false(mm1_path_exists(tmp));
    assert_false(mm1_path_exists(other));
    assert_int_equal(mm1_tar_writer_open(&w, "/nowhere/x.tar", &err), MM1_E_IO);
    assert_null(w);
}

static void compression_is_recognised_by_content_and_its_end_is_checked(void **state)
{
    (void)state;
    char *plain, zst[300];
    size_t len, n = 0;
    write_sample(path);
    check_ok(mm1_file_read(path, 1 << 20, &plain, &len, &err), &err);
    const size_t cap = ZSTD_compressBound(len);
    char *packed = mm1_alloc(cap, 1);
    const size_t packed_len = ZSTD_compress(packed, cap, plain, len, 3);
    assert_false(ZSTD_isError(packed_len));
    (void)snprintf(zst, sizeof zst, "%s/odd name", dir);
    write_file(zst, packed, packed_len);
    check_ok(read_all(zst, 4096, &n), &err);
    assert_int_equal(n, 7);
    mm1_tar_index index;
    assert_int_equal(mm1_tar_index_open(&index, zst, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "decompress it first");
    for (size_t cut = 1; cut < packed_len; cut++) {
        write_file(zst, packed, cut);
        assert_int_equal(read_all(zst, 4096, &n), MM1_E_FORMAT);
        check_contains(err.message, "odd name: ");
    }
    mm1_free(packed);
    mm1_free(plain);

    char *gz;
    check_ok(mm1_file_read(MM1_TEST_DATA "/base/tar_pax.tar.gz", 1 << 20, &gz, &len, &err), &err);
    for (size_t cut = 2; cut < len - 8; cut += 7) { /* the last 8 are a checksum that zlib may not miss */
        write_file(zst, gz, cut);
        assert_int_equal(read_all(zst, 4096, &n), MM1_E_FORMAT);
        check_contains(err.message, "odd name: ");
    }
    mm1_free(gz);
}

static void an_archive_cut_anywhere_is_named_with_the_byte(void **state)
{
    (void)state;
    char *bytes;
    size_t len, n = 0;
    write_sample(path);
    check_ok(mm1_file_read(path, 1 << 20, &bytes, &len, &err), &err);
    for (size_t cut = 0; cut <= len - 1024; cut += cut % 512 == 0 ? 1 : 511) {
        mm1_tar_index index;
        char text[64];
        write_file(path, bytes, cut);
        assert_int_equal(read_all(path, 4096, &n), MM1_E_FORMAT);
        check_contains(err.message, "shard.tar: ");
        (void)snprintf(text, sizeof text, "ends at byte %zu ", cut);
        check_contains(err.message, text);
        assert_int_equal(mm1_tar_index_open(&index, path, &err), MM1_E_FORMAT);
        check_contains(err.message, text);
        assert_null(index.members);
    }
    /* In the middle of the first member's bytes, and between members. */
    write_file(path, bytes, 514);
    (void)read_all(path, 4096, &n);
    check_contains(err.message, "ends at byte 514 inside member 'a.txt'; was it cut off?");
    write_file(path, bytes, 1024);
    (void)read_all(path, 4096, &n);
    assert_int_equal(n, 1);
    check_contains(err.message, "ends at byte 1024 without an end mark; was it cut off?");
    mm1_free(bytes);
}

/* Sets the checksum of the header at h. */
static void sign(char *h)
{
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++) {
        sum += (unsigned char)h[i];
    }
    (void)snprintf(h + 148, 8, "%06o", sum);
}

static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    char *good;
    size_t len, n = 0;
    write_sample(path);
    check_ok(mm1_file_read(path, 1 << 20, &good, &len, &err), &err);
    static const struct {
        size_t at;
        const char *bytes;
        size_t n_bytes;
        mm1_status status;
        const char *message;
    } lies[] = {
        {124, "77777777777", 11, MM1_E_LIMIT,
         "member 'a.txt' at byte 512: 8589934591 bytes are over the limit of 4096"},
        {124, "x", 1, MM1_E_FORMAT, "header at byte 0: bad size"},
        {124, "\x80\0\0\0\x80\0\0\0\0\0\0\0", 12, MM1_E_FORMAT, "bad size"},
        {124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, MM1_E_FORMAT, "bad size"},
        {124, "\x80\0\0\0\0\0\0\0\0\0\0\5", 12, MM1_OK, ""},
        {156, "S", 1, MM1_E_UNSUPPORTED, "sparse"},
        {0, "\0", 1, MM1_E_FORMAT, "a name that is empty"},
        {156, "5", 1, MM1_E_FORMAT, "header at byte 512: wrong checksum"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        char *bad = mm1_strndup(good, len);
        memcpy(bad + lies[i].at, lies[i].bytes, lies[i].n_bytes);
        sign(bad);
        write_file(path, bad, len);
        mm1_free(bad);
        const mm1_status st = read_all(path, 4096, &n);
        if (st != lies[i].status) {
            print_error("lie %zu gave %s: %s\n", i, mm1_status_name(st), err.message);
            fail();
        }
        if (st != MM1_OK) {
            check_contains(err.message, lies[i].message);
        }
    }
    good[0] ^= 1;
    write_file(path, good, len);
    assert_int_equal(read_all(path, 4096, &n), MM1_E_FORMAT);
    check_contains(err.message, "header at byte 0: wrong checksum; not a tar archive, or damaged");
    mm1_free(good);

    static const struct {
        const char *record;
        const char *message;
    } pax[] = {
        {"8 path=a\n", "bad pax record"},
        {"99 path=a\n", "bad pax record"},
        {"path=a\n", "bad pax record"},
        {"0 \n", "bad pax record"},
        {"5 ab\n", "bad pax record"},
        {"9 size=x\n", "bad size in a pax record"},
        {"29 size=99999999999999999999\n", "bad size in a pax record"},
        {"3 \n", "bad pax record"},
        {"99999999999999999999 path=a\n", "bad pax record"},
        {"19 GNU.sparse.map=\n", "sparse"},
    };
    for (size_t i = 0; i < sizeof pax / sizeof *pax; i++) {
        char file[512 * 5] = {0};
        memcpy(file, "pax", 3);
        (void)snprintf(file + 124, 12, "%011o", (unsigned)strlen(pax[i].record));
        file[156] = 'x';
        sign(file);
        memcpy(file + 512, pax[i].record, strlen(pax[i].record));
        write_file(path, file, sizeof file);
        assert_int_not_equal(read_all(path, 4096, &n), MM1_OK);
        check_contains(err.message, pax[i].message);
    }
}

static void garbage_never_crashes_or_leaks(void **state)
{
    (void)state;
    char *good;
    size_t len, n = 0;
    write_sample(path);
    check_ok(mm1_file_read(path, 1 << 20, &good, &len, &err), &err);
    const size_t before = mm1_alloc_bytes();
    int n_refused = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        mm1_rng rng = mm1_rng_make(i, MM1_RNG_TEST, 3);
        char *bad = mm1_strndup(good, len);
        char *h = bad + 512 * mm1_rng_below(&rng, len / 512);
        for (int k = 0; k < 3; k++) {
            h[mm1_rng_below(&rng, i % 2 == 0 ? 512 : 160)] =
                (char)(i % 3 == 0 ? mm1_rng_u32(&rng) : '0' + mm1_rng_below(&rng, 8));
        }
        sign(h);
        write_file(path, bad, len);
        mm1_free(bad);
        mm1_tar_index index;
        n_refused += read_all(path, 1 << 16, &n) != MM1_OK;
        if (mm1_tar_index_open(&index, path, &err) == MM1_OK) {
            for (size_t k = 0; k < index.n; k++) {
                assert_true(index.members[k].offset + index.members[k].size <= index.map.len);
            }
        }
        mm1_tar_index_close(&index);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_in_range(n_refused, 100, 900);
    mm1_free(good);
}

static void memory_that_runs_out_is_an_error(void **state)
{
    (void)state;
    int n_failed = 0;
    for (uint64_t i = 1; i < 16; i++) {
        const size_t before = mm1_alloc_bytes();
        size_t n = 0;
        mm1_alloc_fail_at(i);
        const mm1_status st = read_all(MM1_TEST_DATA "/base/tar_pax.tar.gz", 1 << 16, &n);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || st == MM1_E_NOMEM);
        n_failed += st != MM1_OK;
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(n_failed >= 4 && n_failed < 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dialects_of_python_read_alike),
        cmocka_unit_test(what_is_written_reads_back_and_indexes_alike),
        cmocka_unit_test(an_archive_that_is_not_committed_leaves_nothing),
        cmocka_unit_test(compression_is_recognised_by_content_and_its_end_is_checked),
        cmocka_unit_test(an_archive_cut_anywhere_is_named_with_the_byte),
        cmocka_unit_test(headers_that_lie_are_refused),
        cmocka_unit_test(garbage_never_crashes_or_leaks),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

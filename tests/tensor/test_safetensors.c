/* safetensors: a file of the reference package, our own writing, 16-bit floats, and files that lie. */
#include "support/tmp.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/half.h"
#include "tensor/safetensors.h"

static mm1_error err;
static char path[300];

static int make_path(void **state)
{
    const int failed = make_tmp(state);
    (void)snprintf(path, sizeof path, "%s/x.safetensors", tmp);
    return failed;
}

static const mm1_safetensors_tensor *need(const mm1_safetensors *sf, const char *name)
{
    const mm1_safetensors_tensor *t = mm1_safetensors_find(sf, name);
    if (t == NULL) {
        print_error("no tensor %s\n", name);
        fail();
    }
    return t;
}

static void the_golden_file_reads_as_its_maker_meant(void **state)
{
    (void)state;
    mm1_safetensors *sf = NULL;
    check_ok(mm1_safetensors_open(&sf, MM1_TEST_DATA "/tensor/golden.safetensors", &err), &err);
    assert_int_equal(mm1_safetensors_n(sf), 13);
    for (size_t i = 1; i < 13; i++) {
        assert_true(strcmp(mm1_safetensors_at(sf, i - 1)->name, mm1_safetensors_at(sf, i)->name) < 0);
    }
    assert_string_equal(mm1_safetensors_metadata(sf, "format"), "pt");
    assert_string_equal(mm1_safetensors_metadata(sf, "note"),
                        "quote \" backslash \\ newline \n umlaut \xc3\xa4 face \xf0\x9f\x98\x80");
    assert_null(mm1_safetensors_metadata(sf, "other"));
    const mm1_safetensors_tensor *w = need(sf, "weight \xc3\xa4 \"quoted\"");
    assert_int_equal(w->n_dims, 3);
    assert_int_equal(w->shape[0] * 100 + w->shape[1] * 10 + w->shape[2], 234);
    float x[24];
    check_ok(mm1_safetensors_to_f32(w, x, &err), &err);
    for (int i = 0; i < 24; i++) {
        assert_true(x[i] == (float)i);
    }
    assert_int_equal(need(sf, "scalar")->n_dims, 0);
    assert_int_equal(need(sf, "scalar")->n_elements, 1);
    assert_int_equal(need(sf, "empty")->n_elements, 0);
    check_ok(mm1_safetensors_to_f32(need(sf, "empty"), x, &err), &err);
    assert_int_equal(need(sf, "ids")->dtype, MM1_DTYPE_I64);
    int64_t id;
    memcpy(&id, need(sf, "ids")->data + 16, sizeof id);
    assert_true(id == INT64_C(1) << 40);
    assert_int_equal(mm1_safetensors_to_f32(need(sf, "ids"), x, &err), MM1_E_UNSUPPORTED);
    check_contains(err.message, "tensor 'ids' is I64; expected F32, F16 or BF16");
    assert_null(mm1_safetensors_find(sf, "nothing"));

    const mm1_safetensors_tensor *t;
    check_ok(mm1_safetensors_get(sf, "ids", 2, (const int64_t[]){2, 2}, &t, &err), &err);
    assert_int_equal(mm1_safetensors_get(sf, "ids", 1, (const int64_t[]){4}, &t, &err), MM1_E_SHAPE);
    check_contains(err.message, "golden.safetensors: tensor 'ids' has the shape [2, 2], expected [4]");
    assert_int_equal(mm1_safetensors_get(sf, "scalar", 2, (const int64_t[]){4, 5}, &t, &err), MM1_E_SHAPE);
    check_contains(err.message, "has the shape [], expected [4, 5]");
    assert_int_equal(mm1_safetensors_get(sf, "nothing", 0, NULL, &t, &err), MM1_E_FORMAT);
    check_contains(err.message, "tensor 'nothing' is missing");
    mm1_safetensors_close(sf);
}

static void sixteen_bit_floats_round_as_numpy_does(void **state)
{
    (void)state;
    mm1_safetensors *sf = NULL;
    check_ok(mm1_safetensors_open(&sf, MM1_TEST_DATA "/tensor/golden.safetensors", &err), &err);
    const mm1_safetensors_tensor *f32 = need(sf, "half.f32"), *f16 = need(sf, "half.f16"),
                                 *bf16 = need(sf, "half.bf16");
    assert_true(f32->n_elements > 2000);
    for (int64_t i = 0; i < f32->n_elements; i++) {
        float v;
        uint16_t h, b;
        memcpy(&v, f32->data + 4 * i, sizeof v);
        memcpy(&h, f16->data + 2 * i, sizeof h);
        memcpy(&b, bf16->data + 2 * i, sizeof b);
        if (mm1_f16_from_f32(v) != h || mm1_bf16_from_f32(v) != b) {
            print_error("%.9g (%08x): f16 %04x, want %04x; bf16 %04x, want %04x\n", (double)v, mm1_f32_bits(v),
                        mm1_f16_from_f32(v), h, mm1_bf16_from_f32(v), b);
            fail();
        }
    }
    const mm1_safetensors_tensor *narrow = need(sf, "widen.f16"), *wide = need(sf, "widen.f32");
    float *x = mm1_alloc((size_t)narrow->n_elements, sizeof *x);
    check_ok(mm1_safetensors_to_f32(narrow, x, &err), &err);
    assert_memory_equal(x, wide->data, wide->n_bytes);
    mm1_free(x);
    mm1_safetensors_close(sf);
}

static void every_sixteen_bit_number_survives_f32(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 1u << 16; h++) {
        const uint16_t f = (uint16_t)h;
        if ((f & 0x7fff) <= 0x7c00) {
            assert_int_equal(mm1_f16_from_f32(mm1_f16_to_f32(f)), f);
        } else {
            assert_true(isnan(mm1_f16_to_f32(f)));
            assert_true((mm1_f16_from_f32(mm1_f16_to_f32(f)) & 0x7fff) > 0x7c00);
        }
        if ((f & 0x7fff) <= 0x7f80) {
            assert_int_equal(mm1_bf16_from_f32(mm1_bf16_to_f32(f)), f);
        } else {
            assert_true((mm1_bf16_from_f32(mm1_bf16_to_f32(f)) & 0x7fff) > 0x7f80);
        }
    }
    assert_int_equal(mm1_bf16_from_f32(mm1_f32_from_bits(0x7f800001)) & 0x7fc0, 0x7fc0);
    assert_int_equal(mm1_f16_from_f32(mm1_f32_from_bits(0x7f800001)) & 0x7e00, 0x7e00);
}

/* Writes again what the golden file holds, in the same order of names; the file is left for
 * tools/golden_safetensors.py check. */
static void what_is_written_reads_back_equal_and_is_deterministic(void **state)
{
    (void)state;
    mm1_safetensors *sf = NULL, *again = NULL;
    mm1_safetensors_entry entries[13];
    const char *const out = MM1_BINARY_DIR "/rewritten.safetensors";
    check_ok(mm1_safetensors_open(&sf, MM1_TEST_DATA "/tensor/golden.safetensors", &err), &err);
    const mm1_safetensors_pair meta[] = {{"format", "pt"}, {"note", mm1_safetensors_metadata(sf, "note")}};
    for (size_t i = 0; i < 13; i++) {
        const mm1_safetensors_tensor *t = mm1_safetensors_at(sf, i);
        entries[i] = (mm1_safetensors_entry){.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims, .data = t->data};
        memcpy(entries[i].shape, t->shape, sizeof t->shape);
        /* Two of them come as f32 and are rounded on the way. */
        if (strcmp(t->name, "half.f16") == 0 || strcmp(t->name, "half.bf16") == 0) {
            entries[i].data = need(sf, "half.f32")->data;
            entries[i].is_f32 = true;
        }
    }
    check_ok(mm1_safetensors_write(out, entries, 13, meta, 2, &err), &err);
    check_ok(mm1_safetensors_write(path, entries, 13, meta, 2, &err), &err);
    mm1_map a, b;
    check_ok(mm1_map_open(&a, out, &err), &err);
    check_ok(mm1_map_open(&b, path, &err), &err);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    assert_int_equal(a.data[0] % 8, 0);
    mm1_map_close(&a);
    mm1_map_close(&b);
    (void)snprintf(path, sizeof path, "%s/x.safetensors.tmp", tmp);
    assert_false(mm1_path_exists(path));
    (void)snprintf(path, sizeof path, "%s/x.safetensors", tmp);

    check_ok(mm1_safetensors_open(&again, out, &err), &err);
    assert_int_equal(mm1_safetensors_n(again), 13);
    for (size_t i = 0; i < 13; i++) {
        const mm1_safetensors_tensor *x = mm1_safetensors_at(sf, i), *y = mm1_safetensors_at(again, i);
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->dtype, y->dtype);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
        assert_int_equal((uintptr_t)y->data % mm1_dtype_bytes(y->dtype), 0);
    }
    assert_string_equal(mm1_safetensors_metadata(again, "note"), meta[1].value);
    mm1_safetensors_close(again);
    mm1_safetensors_close(sf);
}

static void the_bytes_of_a_small_file_are_these(void **state)
{
    (void)state;
    const float x[] = {1, -2};
    const uint8_t u[] = {7};
    const mm1_safetensors_entry entries[] = {
        {.name = "u", .dtype = MM1_DTYPE_U8, .n_dims = 1, .shape = {1}, .data = u},
        {.name = "x", .dtype = MM1_DTYPE_BF16, .n_dims = 2, .shape = {2, 1}, .data = x, .is_f32 = true}};
    check_ok(mm1_safetensors_write(path, entries, 2, NULL, 0, &err), &err);
    static const char want[] = "\x70\0\0\0\0\0\0\0"
                               "{\"x\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[0,4]},"
                               "\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]}}"
                               "   "
                               "\x80\x3f\x00\xc0\x07";
    char *got;
    size_t len;
    check_ok(mm1_file_read(path, 1000, &got, &len, &err), &err);
    assert_int_equal(len, sizeof want - 1);
    assert_memory_equal(got, want, len);
    mm1_free(got);
}

static void the_writer_refuses_what_no_reader_could_use(void **state)
{
    (void)state;
    const float x[4] = {0};
    mm1_safetensors_entry e[2] = {{.name = "a", .dtype = MM1_DTYPE_F32, .n_dims = 1, .shape = {2}, .data = x},
                                  {.name = "a", .dtype = MM1_DTYPE_F32, .n_dims = 1, .shape = {2}, .data = x}};
    assert_int_equal(mm1_safetensors_write(path, e, 2, NULL, 0, &err), MM1_E_ARG);
    check_contains(err.message, "two tensors are called 'a'");
    e[1].name = "__metadata__";
    assert_int_equal(mm1_safetensors_write(path, e, 2, NULL, 0, &err), MM1_E_ARG);
    e[1].name = "\xff";
    assert_int_equal(mm1_safetensors_write(path, e, 2, NULL, 0, &err), MM1_E_ARG);
    e[1].name = "b";
    e[1].shape[0] = -1;
    assert_int_equal(mm1_safetensors_write(path, e, 2, NULL, 0, &err), MM1_E_ARG);
    e[1].shape[0] = 2;
    e[1].dtype = MM1_DTYPE_I64;
    e[1].is_f32 = true;
    assert_int_equal(mm1_safetensors_write(path, e, 2, NULL, 0, &err), MM1_E_ARG);
    check_contains(err.message, "f32 cannot be written as I64");
    const mm1_safetensors_pair twice[] = {{"k", "1"}, {"k", "2"}};
    assert_int_equal(mm1_safetensors_write(path, e, 1, twice, 2, &err), MM1_E_ARG);
    assert_false(mm1_path_exists("/nowhere"));
    assert_int_equal(mm1_safetensors_write("/nowhere/x", e, 1, NULL, 0, &err), MM1_E_IO);
    check_contains(err.message, "/nowhere/x.tmp: cannot create");
    check_ok(mm1_safetensors_write(path, NULL, 0, NULL, 0, &err), &err);
    mm1_safetensors *sf;
    check_ok(mm1_safetensors_open(&sf, path, &err), &err);
    assert_int_equal(mm1_safetensors_n(sf), 0);
    assert_null(mm1_safetensors_find(sf, "a"));
    mm1_safetensors_close(sf);
}

/* A file with this header and this much data. */
static void write_header(const char *header, size_t n_data)
{
    mm1_buf b;
    mm1_buf_init(&b, 1 << 20);
    mm1_buf_put_le64(&b, strlen(header));
    mm1_buf_puts(&b, header);
    for (size_t i = 0; i < n_data; i++) {
        mm1_buf_putc(&b, (char)i);
    }
    check_ok(mm1_file_write_atomic(path, b.data, b.len, &err), &err);
    mm1_buf_deinit(&b);
}

static void a_header_that_lies_is_refused_with_the_tensor_named(void **state)
{
    (void)state;
#define T(name, dtype, shape, offsets)                                                                                 \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header;
        size_t n_data;
        mm1_status status;
        const char *message;
    } lies[] = {
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 7, MM1_E_FORMAT,
         "tensor 'a': data_offsets [0, 8] are not within the 7 bytes"},
        {"{" T("a", "F32", "[2]", "[8,0]") "}", 8, MM1_E_FORMAT, "tensor 'a': data_offsets [8, 0]"},
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 9, MM1_E_FORMAT, "1 bytes after the last tensor belong to none"},
        {"{" T("a", "F32", "[2]", "[4,12]") "}", 12, MM1_E_FORMAT, "a hole between them"},
        {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "U8", "[4]", "[4,8]") "}", 8, MM1_E_FORMAT,
         "tensor 'b': begins at byte 4 of the data, the one before ends at 8 (they overlap)"},
        {"{" T("a", "F32", "[3]", "[0,8]") "}", 8, MM1_E_FORMAT,
         "tensor 'a': 8 bytes of data do not fit its shape and dtype F32"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, MM1_E_FORMAT, "do not fit its shape"},
        {"{" T("a", "F32", "[9223372036854775807]", "[0,8]") "}", 8, MM1_E_FORMAT, "do not fit its shape"},
        {"{" T("a", "F32", "[9223372036854775808]", "[0,8]") "}", 8, MM1_E_FORMAT, "over 2^63"},
        {"{" T("a", "F32", "[2]", "[0,18446744073709551616]") "}", 8, MM1_E_FORMAT, "number over 2^64"},
        {"{" T("a", "F32", "[-2]", "[0,8]") "}", 8, MM1_E_FORMAT, "expected a whole number that is not negative"},
        {"{" T("a", "F32", "[02]", "[0,8]") "}", 8, MM1_E_FORMAT, "expected a whole number"},
        {"{" T("a", "F32", "[2.0]", "[0,8]") "}", 8, MM1_E_FORMAT, "expected ']'"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, MM1_E_LIMIT, "more than 8 dimensions"},
        {"{" T("a", "F4", "[2]", "[0,1]") "}", 1, MM1_E_UNSUPPORTED, "tensor 'a': dtype 'F4' is not supported"},
        {"{" T("a", "U8", "[1]", "[0,1]") "," T("a", "U8", "[1]", "[1,2]") "}", 2, MM1_E_FORMAT,
         "tensor 'a' is there twice"},
        {"{" T("a", "U8", "[0]", "[0,0]") "," T("a", "U8", "[0]", "[0,0]") "}", 0, MM1_E_FORMAT,
         "tensor 'a' is there twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, MM1_E_FORMAT, "tensor 'a': has no \"data_offsets\""},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 1, MM1_E_FORMAT, "key 'dtype' is given twice"},
        {"{\"a\":{\"kind\":1}}", 1, MM1_E_FORMAT, "key 'kind' is unknown"},
        {"{\"a\":3}", 1, MM1_E_FORMAT, "tensor 'a': header, byte 13: expected '{'"},
        {"{\"a\\u0000\":{}}", 0, MM1_E_FORMAT, "a string contains a NUL"},
        {"{\"a\\ud800\":{}}", 0, MM1_E_FORMAT, "half a surrogate pair"},
        {"{\"\xff\":{}}", 0, MM1_E_FORMAT, "a string is not UTF-8"},
        {"{\"a\n\":{}}", 0, MM1_E_FORMAT, "control character in a string"},
        {"{\"a", 0, MM1_E_FORMAT, "the header ends inside a string"},
        {"{\"a\\", 0, MM1_E_FORMAT, "unknown escape"},
        {"{\"__metadata__\":{\"k\":1}}", 0, MM1_E_FORMAT, "expected '\"'"},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, MM1_E_FORMAT, "__metadata__: 'k' is there twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, MM1_E_FORMAT, "__metadata__ is given twice"},
        {" {}", 0, MM1_E_FORMAT, "header, byte 8: the header must begin with '{'"},
        {"", 0, MM1_E_FORMAT, "must begin with '{'"},
        {"{}x", 0, MM1_E_FORMAT, "text after the end of the header"},
        {"{", 0, MM1_E_FORMAT, "expected '\"'"},
        {"{,}", 0, MM1_E_FORMAT, "expected '\"'"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        const size_t before = mm1_alloc_bytes();
        mm1_safetensors *sf = (void *)&err;
        write_header(lies[i].header, lies[i].n_data);
        const mm1_status st = mm1_safetensors_open(&sf, path, &err);
        if (st != lies[i].status) {
            print_error("%s gave %s: %s\n", lies[i].header, mm1_status_name(st), err.message);
            fail();
        }
        check_contains(err.message, lies[i].message);
        check_contains(err.message, "x.safetensors: ");
        assert_null(sf);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
}

static void a_length_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        mm1_status status;
        const char *message;
    } lies[] = {
        {"", 0, MM1_E_FORMAT, "0 bytes are too few"},
        {"\2\0\0\0\0\0\0", 7, MM1_E_FORMAT, "7 bytes are too few"},
        {"\3\0\0\0\0\0\0\0{}", 10, MM1_E_FORMAT, "header says 3 bytes but the file has 2 more; is it cut off?"},
        {"\0\0\0\x10\0\0\0\0{}", 10, MM1_E_LIMIT, "header of 268435456 bytes is over the limit of 100000000"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, MM1_E_LIMIT, "over the limit"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        mm1_safetensors *sf = (void *)&err;
        check_ok(mm1_file_write_atomic(path, lies[i].bytes, lies[i].len, &err), &err);
        assert_int_equal(mm1_safetensors_open(&sf, path, &err), lies[i].status);
        check_contains(err.message, lies[i].message);
        assert_null(sf);
    }
    mm1_safetensors *sf = (void *)&err;
    assert_int_equal(mm1_safetensors_open(&sf, "/nowhere/x", &err), MM1_E_IO);
    assert_null(sf);
}

static void garbage_and_cut_files_never_crash_or_leak(void **state)
{
    (void)state;
    char *golden;
    size_t len;
    check_ok(mm1_file_read(MM1_TEST_DATA "/tensor/golden.safetensors", 1 << 20, &golden, &len, &err), &err);
    const size_t before = mm1_alloc_bytes();
    static const char spice[] = "{}[]\",:0123456789-\\u d\xff";
    int n_refused = 0;
    for (uint64_t i = 0; i < 1500; i++) {
        mm1_rng rng = mm1_rng_make(i, MM1_RNG_TEST, 2);
        char *copy = mm1_strndup(golden, len);
        size_t n = len;
        if (i % 3 == 0) {
            n = (size_t)mm1_rng_below(&rng, i % 2 == 0 ? len : 1200);
        }
        for (uint64_t k = mm1_rng_below(&rng, 4); i % 3 != 0 && k < 4; k++) {
            copy[8 + mm1_rng_below(&rng, 1000)] = spice[mm1_rng_below(&rng, sizeof spice - 1)];
        }
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(copy, 1, n, f), n);
        assert_int_equal(fclose(f), 0);
        mm1_free(copy);
        mm1_safetensors *sf = NULL;
        n_refused += mm1_safetensors_open(&sf, path, &err) != MM1_OK;
        uint64_t sum = 0;
        for (size_t t = 0; sf != NULL && t < mm1_safetensors_n(sf); t++) {
            const mm1_safetensors_tensor *x = mm1_safetensors_at(sf, t);
            for (size_t k = 0; k < x->n_bytes; k++) {
                sum += x->data[k];
            }
        }
        assert_true(sf == NULL || sum > 0);
        mm1_safetensors_close(sf);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(n_refused > 1000);
    mm1_free(golden);
}

static void memory_that_runs_out_is_an_error(void **state)
{
    (void)state;
    const size_t before = mm1_alloc_bytes();
    int n_failed = 0;
    for (uint64_t i = 1; i < 12; i++) {
        mm1_safetensors *sf = NULL;
        mm1_alloc_fail_at(i);
        const mm1_status st = mm1_safetensors_open(&sf, MM1_TEST_DATA "/tensor/golden.safetensors", &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || (st == MM1_E_NOMEM && sf == NULL));
        n_failed += st != MM1_OK;
        mm1_safetensors_close(sf);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(n_failed >= 5 && n_failed < 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_golden_file_reads_as_its_maker_meant),
        cmocka_unit_test(sixteen_bit_floats_round_as_numpy_does),
        cmocka_unit_test(every_sixteen_bit_number_survives_f32),
        cmocka_unit_test(what_is_written_reads_back_equal_and_is_deterministic),
        cmocka_unit_test(the_bytes_of_a_small_file_are_these),
        cmocka_unit_test(the_writer_refuses_what_no_reader_could_use),
        cmocka_unit_test(a_header_that_lies_is_refused_with_the_tensor_named),
        cmocka_unit_test(a_length_that_lies_is_refused),
        cmocka_unit_test(garbage_and_cut_files_never_crash_or_leak),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_path, remove_tmp);
}

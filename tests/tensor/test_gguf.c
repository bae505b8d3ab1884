/* GGUF and its number formats: a file of the reference package, our own writing of it, and files that lie. */
#include "support/tmp.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/half.h"
#include "tensor/gguf.h"

static const char golden_path[] = MM1_TEST_DATA "/tensor/golden.gguf";
static mm1_error err;
static char path[300];

static int make_path(void **state)
{
    const int failed = make_tmp(state);
    (void)snprintf(path, sizeof path, "%s/x.gguf", tmp);
    return failed;
}

static const mm1_gguf_tensor *need(const mm1_gguf *g, const char *name)
{
    const mm1_gguf_tensor *t = mm1_gguf_tensor_find(g, name);
    if (t == NULL) {
        print_error("no tensor %s\n", name);
        fail();
    }
    return t;
}

/* ---- what the package wrote ---- */

static void the_golden_file_reads_as_its_maker_meant(void **state)
{
    (void)state;
    mm1_gguf *g = NULL;
    check_ok(mm1_gguf_open(&g, golden_path, &err), &err);
    for (size_t i = 1; i < mm1_gguf_n_tensors(g); i++) {
        assert_true(strcmp(mm1_gguf_tensor_at(g, i - 1)->name, mm1_gguf_tensor_at(g, i)->name) < 0);
    }
    static const struct {
        const char *key;
        int64_t value;
    } ints[] = {{"test.u8", 200},
                {"test.i8", -100},
                {"test.u16", 60000},
                {"test.i16", -30000},
                {"test.u32", 4000000000},
                {"test.i32", -2000000000},
                {"test.i64", -(INT64_C(1) << 62)},
                {"general.alignment", 64}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        int64_t v = 0;
        check_ok(mm1_gguf_get_int(g, ints[i].key, INT64_MIN, INT64_MAX, &v, &err), &err);
        assert_true(v == ints[i].value);
    }
    int64_t n = 0;
    assert_int_equal(mm1_gguf_get_int(g, "test.u64", INT64_MIN, INT64_MAX, &n, &err), MM1_E_LIMIT);
    check_contains(err.message, "golden.gguf: key 'test.u64' is 9223372036854775808; at most");
    assert_int_equal(mm1_gguf_get_int(g, "test.u8", 0, 199, &n, &err), MM1_E_LIMIT);
    check_contains(err.message, "key 'test.u8' is 200, outside of [0, 199]");
    assert_int_equal(mm1_gguf_get_int(g, "test.i8", -99, 199, &n, &err), MM1_E_LIMIT);
    assert_int_equal(mm1_gguf_get_int(g, "test.f32", 0, 9, &n, &err), MM1_E_FORMAT);
    check_contains(err.message, "key 'test.f32' is F32; expected a whole number");
    assert_int_equal(mm1_gguf_get_int(g, "test.ints", 0, 9, &n, &err), MM1_E_FORMAT);
    check_contains(err.message, "key 'test.ints' is an array of I32; expected a whole number");
    assert_int_equal(mm1_gguf_get_int(g, "test.none", 0, 9, &n, &err), MM1_E_FORMAT);
    check_contains(err.message, "golden.gguf: key 'test.none' is missing");

    double x = 0;
    check_ok(mm1_gguf_get_float(g, "test.f32", &x, &err), &err);
    assert_true(x == (double)0.1f);
    check_ok(mm1_gguf_get_float(g, "test.f64", &x, &err), &err);
    assert_true(x == 0.1);
    assert_int_equal(mm1_gguf_get_float(g, "test.u8", &x, &err), MM1_E_FORMAT);

    bool yes = false, no = true;
    check_ok(mm1_gguf_get_bool(g, "test.true", &yes, &err), &err);
    check_ok(mm1_gguf_get_bool(g, "test.false", &no, &err), &err);
    assert_true(yes && !no);
    assert_int_equal(mm1_gguf_get_bool(g, "test.u8", &yes, &err), MM1_E_FORMAT);

    const char *s = NULL;
    check_ok(mm1_gguf_get_string(g, "test.string", &s, &err), &err);
    assert_string_equal(s, "quote \" newline \n umlaut \xc3\xa4 face \xf0\x9f\x98\x80");
    check_ok(mm1_gguf_get_string(g, "test.empty", &s, &err), &err);
    assert_string_equal(s, "");
    check_ok(mm1_gguf_get_string(g, "general.architecture", &s, &err), &err);
    assert_string_equal(s, "test");
    assert_int_equal(mm1_gguf_get_string(g, "test.strings", &s, &err), MM1_E_FORMAT);
    check_contains(err.message, "is an array of STRING; expected STRING");

    const mm1_gguf_value *v = NULL;
    check_ok(mm1_gguf_get_array(g, "test.strings", MM1_GGUF_STRING, &v, &err), &err);
    assert_int_equal(v->n, 4);
    assert_string_equal(v->strings[1], "");
    assert_string_equal(v->strings[2], "\xc4\xa0the");
    check_ok(mm1_gguf_get_array(g, "test.ints", MM1_GGUF_I32, &v, &err), &err);
    int32_t three[3];
    assert_int_equal(v->n, 3);
    memcpy(three, v->numbers, sizeof three);
    assert_int_equal(three[0] * 100 + three[1] * 10 + three[2], 83);
    check_ok(mm1_gguf_get_array(g, "test.floats", MM1_GGUF_F32, &v, &err), &err);
    assert_int_equal(mm1_gguf_get_array(g, "test.floats", MM1_GGUF_I32, &v, &err), MM1_E_FORMAT);
    check_contains(err.message, "is an array of F32; expected an array of I32");
    assert_int_equal(mm1_gguf_get_array(g, "test.string", MM1_GGUF_STRING, &v, &err), MM1_E_FORMAT);

    const mm1_gguf_tensor *t = need(g, "cube");
    assert_int_equal(t->n_dims, 3);
    assert_int_equal(t->shape[0] * 100 + t->shape[1] * 10 + t->shape[2], 234);
    float cube[24];
    mm1_quant_to_f32(t->format, t->data, cube, 24);
    for (int i = 0; i < 24; i++) {
        assert_true(cube[i] == (float)i);
    }
    check_ok(mm1_gguf_tensor_get(g, "cube", 3, (const int64_t[]){2, 3, 4}, &t, &err), &err);
    assert_int_equal(mm1_gguf_tensor_get(g, "cube", 3, (const int64_t[]){2, 4, 3}, &t, &err), MM1_E_SHAPE);
    check_contains(err.message, "golden.gguf: tensor 'cube' has the shape [2, 3, 4], expected [2, 4, 3]");
    assert_int_equal(mm1_gguf_tensor_get(g, "scalars", 0, NULL, &t, &err), MM1_E_SHAPE);
    check_contains(err.message, "has the shape [5], expected []");
    assert_int_equal(mm1_gguf_tensor_get(g, "nothing", 0, NULL, &t, &err), MM1_E_FORMAT);
    check_contains(err.message, "tensor 'nothing' is missing");
    mm1_gguf_close(g);
}

static void every_format_gives_the_bits_of_the_package(void **state)
{
    (void)state;
    mm1_gguf *g = NULL;
    check_ok(mm1_gguf_open(&g, golden_path, &err), &err);
    for (int q = 1; q < MM1_QUANT_COUNT; q++) {
        char name[32];
        const mm1_gguf_tensor *raw = need(g, mm1_quant_name((mm1_quant)q));
        (void)snprintf(name, sizeof name, "%s.f32", raw->name);
        const mm1_gguf_tensor *want = need(g, name);
        assert_int_equal(raw->format, q);
        assert_int_equal(raw->n_elements, want->n_elements);
        float *got = mm1_alloc((size_t)raw->n_elements, sizeof *got);
        assert_non_null(got);
        mm1_quant_to_f32((mm1_quant)q, raw->data, got, raw->n_elements);
        if (memcmp(got, want->data, want->n_bytes) != 0) {
            for (int64_t i = 0; i < raw->n_elements; i++) {
                float w;
                memcpy(&w, want->data + 4 * i, sizeof w);
                if (mm1_f32_bits(got[i]) != mm1_f32_bits(w)) {
                    print_error("%s: element %lld is %.9g, want %.9g\n", raw->name, (long long)i, (double)got[i],
                                (double)w);
                    fail();
                }
            }
        }
        mm1_free(got);
    }
    mm1_gguf_close(g);
}

static void what_is_written_has_the_bits_of_the_package(void **state)
{
    (void)state;
    static const mm1_quant written[] = {MM1_QUANT_F16, MM1_QUANT_BF16, MM1_QUANT_Q8_0, MM1_QUANT_Q4_0};
    mm1_gguf *g = NULL;
    check_ok(mm1_gguf_open(&g, golden_path, &err), &err);
    const mm1_gguf_tensor *source = need(g, "source");
    float *x = mm1_alloc((size_t)source->n_elements, sizeof *x);
    memcpy(x, source->data, source->n_bytes);
    for (int i = 0; i < 4; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "source.%s", mm1_quant_name(written[i]));
        const mm1_gguf_tensor *want = need(g, name);
        uint8_t *got = mm1_alloc(want->n_bytes, 1);
        assert_true(mm1_quant_can_write(written[i]));
        assert_true(mm1_quant_from_f32(written[i], x, got, source->n_elements));
        for (size_t k = 0; k < want->n_bytes; k++) {
            if (got[k] != want->data[k]) {
                print_error("%s: byte %zu is %02x, want %02x\n", name, k, got[k], want->data[k]);
                fail();
            }
        }
        mm1_free(got);
    }
    mm1_free(x);
    mm1_gguf_close(g);
}

/* ---- edges of the formats ---- */

static void numbers_that_a_format_cannot_hold_are_refused(void **state)
{
    (void)state;
    uint8_t out[32 * 4];
    for (int q = 0; q < MM1_QUANT_COUNT; q++) {
        if (!mm1_quant_can_write((mm1_quant)q)) {
            assert_true(q == MM1_QUANT_Q4_1 || q >= MM1_QUANT_Q5_0);
            continue;
        }
        static const float bad[] = {NAN, INFINITY, -INFINITY};
        for (int at = 0; at < 32; at += 31) {
            for (int k = 0; k < 3; k++) {
                float x[32] = {1, -3, 2};
                assert_true(mm1_quant_from_f32((mm1_quant)q, x, out, 32));
                x[at] = bad[k];
                assert_false(mm1_quant_from_f32((mm1_quant)q, x, out, 32));
            }
        }
    }
    float large[32] = {65504};
    assert_true(mm1_quant_from_f32(MM1_QUANT_F16, large, out, 32));
    large[0] = 65520;
    assert_false(mm1_quant_from_f32(MM1_QUANT_F16, large, out, 32));
    assert_true(mm1_quant_from_f32(MM1_QUANT_Q8_0, large, out, 32));
    large[0] = 65520.0f * 127;
    assert_false(mm1_quant_from_f32(MM1_QUANT_Q8_0, large, out, 32));
    large[0] = 65520.0f * 8;
    assert_false(mm1_quant_from_f32(MM1_QUANT_Q4_0, large, out, 32));
    assert_true(mm1_quant_from_f32(MM1_QUANT_BF16, large, out, 32));

    /* A scale so small that it has no reciprocal: all is zero. */
    float tiny[32] = {1e-44f, -1e-44f}, back[32];
    for (int i = 0; i < 2; i++) {
        const mm1_quant q = i == 0 ? MM1_QUANT_Q8_0 : MM1_QUANT_Q4_0;
        assert_true(mm1_quant_from_f32(q, tiny, out, 32));
        mm1_quant_to_f32(q, out, back, 32);
        for (int k = 0; k < 32; k++) {
            assert_true(back[k] == 0);
        }
    }
}

static void sizes_are_whole_blocks(void **state)
{
    (void)state;
    size_t n = 0;
    assert_true(mm1_quant_bytes(MM1_QUANT_F16, 7, &n) && n == 14);
    assert_true(mm1_quant_bytes(MM1_QUANT_Q8_0, 64, &n) && n == 68);
    assert_true(mm1_quant_bytes(MM1_QUANT_Q6_K, 0, &n) && n == 0);
    assert_false(mm1_quant_bytes(MM1_QUANT_Q8_0, 33, &n));
    assert_false(mm1_quant_bytes(MM1_QUANT_Q4_K, 32, &n));
    assert_false(mm1_quant_bytes(MM1_QUANT_F32, -1, &n));
    assert_false(mm1_quant_bytes(MM1_QUANT_F32, INT64_MAX, &n));
    for (int i = 0; i < MM1_QUANT_COUNT; i++) {
        mm1_quant q = MM1_QUANT_COUNT;
        assert_true(mm1_quant_from_id(mm1_quant_id((mm1_quant)i), &q) && (int)q == i);
        assert_string_equal(mm1_quant_id_name(mm1_quant_id(q)), mm1_quant_name(q));
    }
    mm1_quant q;
    assert_false(mm1_quant_from_id(4, &q) || mm1_quant_from_id(UINT32_MAX, &q));
    assert_string_equal(mm1_quant_id_name(10), "Q2_K");
    assert_string_equal(mm1_quant_id_name(4), "unknown");
    assert_string_equal(mm1_quant_id_name(UINT32_MAX), "unknown");
}

/* ---- writing ---- */

/* Writes again what can be written of the golden file; it is left for tools/golden_gguf.py check. */
static void what_is_written_reads_back_equal_and_is_deterministic(void **state)
{
    (void)state;
    const char *const out = MM1_BINARY_DIR "/rewritten.gguf";
    mm1_gguf *g = NULL, *again = NULL;
    check_ok(mm1_gguf_open(&g, golden_path, &err), &err);
    const mm1_gguf_tensor *source = need(g, "source");
    mm1_gguf_value values[40];
    size_t n_values = 0;
    for (size_t i = 0; i < mm1_gguf_n_values(g); i++) {
        if (strcmp(mm1_gguf_value_at(g, i)->key, "general.alignment") != 0) { /* ours is 32 */
            values[n_values++] = *mm1_gguf_value_at(g, i);
        }
    }
    mm1_gguf_entry entries[40];
    size_t n = 0;
    for (size_t i = 0; i < mm1_gguf_n_tensors(g); i++) {
        const mm1_gguf_tensor *t = mm1_gguf_tensor_at(g, i);
        const bool rounded = strncmp(t->name, "source.", 7) == 0;
        if (t->format == MM1_QUANT_F32 || rounded) {
            /* The golden data is aligned to 64. */
            entries[n] = (mm1_gguf_entry){.name = t->name,
                                          .format = t->format,
                                          .n_dims = t->n_dims,
                                          .data = (const void *)(rounded ? source->data : t->data)};
            memcpy(entries[n++].shape, t->shape, sizeof t->shape);
        }
    }
    assert_true(n > 15);
    check_ok(mm1_gguf_write(out, values, n_values, entries, n, &err), &err);
    check_ok(mm1_gguf_write(path, values, n_values, entries, n, &err), &err);
    mm1_map a, b;
    check_ok(mm1_map_open(&a, out, &err), &err);
    check_ok(mm1_map_open(&b, path, &err), &err);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    mm1_map_close(&a);
    mm1_map_close(&b);

    check_ok(mm1_gguf_open(&again, out, &err), &err);
    assert_int_equal(mm1_gguf_n_tensors(again), n);
    assert_int_equal(mm1_gguf_n_values(again), n_values);
    for (size_t i = 0; i < n; i++) {
        const mm1_gguf_tensor *y = mm1_gguf_tensor_at(again, i), *x = need(g, y->name);
        assert_int_equal(x->format, y->format);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
    for (size_t i = 0; i < n_values; i++) {
        const mm1_gguf_value *y = mm1_gguf_value_at(again, i), *x = &values[i];
        assert_string_equal(x->key, y->key);
        assert_true(x->type == y->type && x->is_array == y->is_array && x->n == y->n);
        for (size_t k = 0; k < x->n; k++) {
            if (x->type == MM1_GGUF_STRING) {
                assert_string_equal(x->strings[k], y->strings[k]);
            }
        }
        if (x->type != MM1_GGUF_STRING) {
            assert_memory_equal(x->numbers, y->numbers, x->n * mm1_gguf_type_bytes(x->type));
        }
    }
    mm1_gguf_close(again);
    mm1_gguf_close(g);
}

static void rows_are_written_in_the_order_asked_for(void **state)
{
    (void)state;
    const float x[] = {0, 1, 10, 11, 20, 21};
    const int64_t rows[] = {2, 0, 1};
    const mm1_gguf_entry e = {
        .name = "w", .format = MM1_QUANT_F16, .n_dims = 2, .shape = {3, 2}, .data = x, .rows = rows};
    check_ok(mm1_gguf_write(path, NULL, 0, &e, 1, &err), &err);
    mm1_gguf *g = NULL;
    check_ok(mm1_gguf_open(&g, path, &err), &err);
    float got[6];
    mm1_quant_to_f32(MM1_QUANT_F16, need(g, "w")->data, got, 6);
    const float want[] = {20, 21, 0, 1, 10, 11};
    assert_memory_equal(got, want, sizeof want);
    mm1_gguf_close(g);
}

static void the_writer_refuses_what_no_reader_could_use(void **state)
{
    (void)state;
    static float x[64];
    mm1_gguf_entry e[2] = {{.name = "a", .n_dims = 2, .shape = {2, 32}, .data = x},
                           {.name = "a", .n_dims = 2, .shape = {2, 32}, .data = x}};
    assert_int_equal(mm1_gguf_write(path, NULL, 0, e, 2, &err), MM1_E_ARG);
    check_contains(err.message, "tensor 'a' is given twice");
    e[1].name = "\xff";
    assert_int_equal(mm1_gguf_write(path, NULL, 0, e, 2, &err), MM1_E_ARG);
    e[1].name = "";
    assert_int_equal(mm1_gguf_write(path, NULL, 0, e, 2, &err), MM1_E_ARG);
    e[1].name = "b";
    e[1].shape[0] = -1;
    assert_int_equal(mm1_gguf_write(path, NULL, 0, e, 2, &err), MM1_E_ARG);
    e[1].shape[0] = 4;
    e[1].shape[1] = 16;
    e[1].format = MM1_QUANT_Q8_0;
    assert_int_equal(mm1_gguf_write(path, NULL, 0, e, 2, &err), MM1_E_ARG);
    check_contains(err.message,
                   "tensor 'b': cannot be written as Q8_0; rows of 16 elements must be whole blocks of 32");
    e[1].format = MM1_QUANT_Q6_K;
    assert_int_equal(mm1_gguf_write(path, NULL, 0, e, 2, &err), MM1_E_ARG);
    e[1].format = MM1_QUANT_F16;
    x[20] = 1e6f;
    assert_int_equal(mm1_gguf_write(path, NULL, 0, e, 2, &err), MM1_E_NUMERIC);
    check_contains(err.message, "x.gguf: tensor 'b', row 1: a value is not finite or too large for F16");
    x[20] = 0;
    const uint32_t one = 1;
    const mm1_gguf_value twice[] = {{.key = "k", .type = MM1_GGUF_U32, .n = 1, .numbers = &one},
                                    {.key = "k", .type = MM1_GGUF_U32, .n = 1, .numbers = &one}};
    assert_int_equal(mm1_gguf_write(path, twice, 2, e, 2, &err), MM1_E_ARG);
    check_contains(err.message, "key 'k' is given twice");
    const mm1_gguf_value two = {.key = "k", .type = MM1_GGUF_U32, .n = 2, .numbers = &one};
    assert_int_equal(mm1_gguf_write(path, &two, 1, e, 2, &err), MM1_E_ARG);
    const mm1_gguf_value nested = {.key = "k", .type = MM1_GGUF_ARRAY, .n = 1, .numbers = &one};
    assert_int_equal(mm1_gguf_write(path, &nested, 1, e, 2, &err), MM1_E_ARG);
    const char *const latin = "\xe4";
    const mm1_gguf_value no_utf8 = {.key = "k", .type = MM1_GGUF_STRING, .n = 1, .strings = &latin};
    assert_int_equal(mm1_gguf_write(path, &no_utf8, 1, e, 2, &err), MM1_E_ARG);
    assert_int_equal(mm1_gguf_write("/nowhere/x", NULL, 0, e, 2, &err), MM1_E_IO);
    check_contains(err.message, "/nowhere/x.tmp: cannot create");

    char left[320];
    (void)snprintf(left, sizeof left, "%s.tmp", path);
    assert_false(mm1_path_exists(left));
    check_ok(mm1_gguf_write(path, NULL, 0, NULL, 0, &err), &err);
    mm1_gguf *g = NULL;
    check_ok(mm1_gguf_open(&g, path, &err), &err);
    assert_int_equal(mm1_gguf_n_tensors(g) + mm1_gguf_n_values(g), 0);
    assert_null(mm1_gguf_tensor_find(g, "a"));
    assert_null(mm1_gguf_value_find(g, "a"));
    mm1_gguf_close(g);
}

/* ---- files that lie ---- */

/* A small good file: two keys, an array of strings, two tensors. */
static void make_small(char **bytes, size_t *len)
{
    static const float x[64];
    static const char *const words[] = {"one", "two"}, *const text = "hello";
    const uint32_t alignment = 32;
    const mm1_gguf_value values[] = {
        {.key = "general.alignment", .type = MM1_GGUF_U32, .n = 1, .numbers = &alignment},
        {.key = "t.text", .type = MM1_GGUF_STRING, .n = 1, .strings = &text},
        {.key = "t.list", .type = MM1_GGUF_STRING, .is_array = true, .n = 2, .strings = words}};
    const mm1_gguf_entry entries[] = {
        {.name = "w.quant", .format = MM1_QUANT_Q8_0, .n_dims = 2, .shape = {2, 32}, .data = x},
        {.name = "w.plain", .format = MM1_QUANT_F32, .n_dims = 1, .shape = {8}, .data = x}};
    check_ok(mm1_gguf_write(path, values, 3, entries, 2, &err), &err);
    check_ok(mm1_file_read(path, 1 << 16, bytes, len, &err), &err);
}

static void write_bytes(const char *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void a_lie_in_any_field_is_refused_with_its_place(void **state)
{
    (void)state;
    /* A number of `width` bytes, `at` bytes behind the first place of a word, is replaced. */
    static const struct {
        const char *word;
        int at, width;
        uint64_t value;
        mm1_status status;
        const char *message;
    } lies[] = {
        {"GGUF", -4, 1, 'X', MM1_E_FORMAT, "is no GGUF file"},
        {"GGUF", 0, 4, 1, MM1_E_UNSUPPORTED, "GGUF version 1 is not supported; 2 and 3 are"},
        {"GGUF", 0, 4, 4, MM1_E_UNSUPPORTED, "GGUF version 4 is not supported"},
        {"GGUF", 0, 4, 0x03000000, MM1_E_UNSUPPORTED, "is it big-endian?"},
        {"GGUF", 4, 8, 3, MM1_E_FORMAT, "tensor 3 of 3: byte 226: a name of 0 bytes"},
        {"GGUF", 4, 8, UINT64_MAX, MM1_E_LIMIT, "18446744073709551615 tensors and 3 keys; at most 262144"},
        {"GGUF", 12, 8, 1 << 20, MM1_E_LIMIT, "1048576 keys"},
        {"GGUF", 12, 8, 4, MM1_E_FORMAT, "tensor 1 of 2: byte"},
        {"GGUF", 20, 8, 1 << 20, MM1_E_FORMAT, "key 1 of 3: byte 32: 1048576 bytes expected"},
        {"GGUF", 20, 8, UINT64_MAX, MM1_E_FORMAT, "key 1 of 3: byte 32: 18446744073709551615 bytes expected"},
        {"general.align", 0, 1, 0, MM1_E_FORMAT, "a string is not UTF-8, or holds a NUL"},
        {"general.align", 0, 1, 0xff, MM1_E_FORMAT, "a string is not UTF-8, or holds a NUL"},
        {"general.alignment", 0, 4, 13, MM1_E_FORMAT, "key 'general.alignment': there is no type 13"},
        {"general.alignment", 0, 4, MM1_GGUF_F32, MM1_E_FORMAT, "key 'general.alignment' is no U32"},
        {"general.alignment", 4, 4, 0, MM1_E_FORMAT, "key 'general.alignment': 0 is no power of two"},
        {"general.alignment", 4, 4, 24, MM1_E_FORMAT, "24 is no power of two up to 65536"},
        {"general.alignment", 4, 4, 1u << 31, MM1_E_FORMAT, "2147483648 is no power of two"},
        {"general.alignment", 4, 4, 1 << 16, MM1_E_FORMAT, "not within the 0 bytes of data"},
        {"general.alignment", 4, 4, 64, MM1_E_FORMAT, "tensor 'w.plain': its offset 96 is no multiple of 64"},
        {"t.text", -4, 4, 0x7473696c, MM1_E_FORMAT, "key 't.list' is there twice"},
        {"t.text", 4, 8, UINT64_MAX, MM1_E_FORMAT, "key 't.text': byte"},
        {"t.list", 4, 4, MM1_GGUF_ARRAY, MM1_E_UNSUPPORTED, "key 't.list': an array of arrays is not supported"},
        {"t.list", 4, 4, 99, MM1_E_FORMAT, "key 't.list': there is no type 99"},
        {"t.list", 8, 8, UINT64_MAX, MM1_E_FORMAT, "key 't.list': byte"},
        {"t.list", 4, 4, MM1_GGUF_F64, MM1_E_FORMAT, ""},
        {"w.quant", -7, 7, 0x6e69616c702e77, MM1_E_FORMAT, "tensor 'w.plain' is there twice"},
        {"w.quant", -15, 8, 300, MM1_E_FORMAT, "tensor 1 of 2: byte"},
        {"w.quant", 0, 4, 5, MM1_E_LIMIT, "tensor 'w.quant': 5 dimensions; at most 4"},
        {"w.quant", 4, 8, 48, MM1_E_SHAPE, "tensor 'w.quant': a row of 48 elements is not whole blocks of 32 of Q8_0"},
        {"w.quant", 4, 8, UINT64_C(1) << 63, MM1_E_FORMAT, "tensor 'w.quant': a dimension is over 2^63 - 1"},
        {"w.quant", 4, 8, UINT64_C(1) << 62, MM1_E_FORMAT, "tensor 'w.quant': its shape is larger than any file"},
        {"w.quant", 12, 8, UINT64_C(1) << 62, MM1_E_FORMAT, "tensor 'w.quant': its shape is larger than any file"},
        {"w.quant", 12, 8, 3, MM1_E_FORMAT, "tensor 'w.plain': begins at byte 96 of the data, where tensor 'w.quant'"},
        {"w.quant", 12, 8, 100, MM1_E_FORMAT, "tensor 'w.quant': 3400 bytes at 0 are not within the"},
        {"w.quant", 20, 4, 10, MM1_E_UNSUPPORTED, "tensor 'w.quant': its format 10 (Q2_K) is not supported"},
        {"w.quant", 20, 4, 77, MM1_E_UNSUPPORTED, "tensor 'w.quant': its format 77 (unknown) is not supported"},
        {"w.quant", 24, 8, 8, MM1_E_FORMAT, "tensor 'w.quant': its offset 8 is no multiple of 32"},
        {"w.plain", 16, 8, UINT64_MAX - 31, MM1_E_FORMAT, "tensor 'w.plain': 32 bytes at 18446744073709551584 are not"},
        {"w.plain", 16, 8, 128, MM1_E_FORMAT, "tensor 'w.plain': 32 bytes at 128 are not within the 128 bytes of data"},
    };
    char *good = NULL;
    size_t len = 0;
    make_small(&good, &len);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        const size_t before = mm1_alloc_bytes();
        char *bad = mm1_alloc(len, 1);
        memcpy(bad, good, len);
        char *at = memmem(bad, len, lies[i].word, strlen(lies[i].word));
        assert_non_null(at);
        at += (ptrdiff_t)strlen(lies[i].word) + lies[i].at;
        memcpy(at, &lies[i].value, (size_t)lies[i].width);
        write_bytes(bad, len);
        mm1_free(bad);
        mm1_gguf *g = (void *)&err;
        const mm1_status st = mm1_gguf_open(&g, path, &err);
        if (st != lies[i].status) {
            print_error("%s%+d = %llu gave %s: %s\n", lies[i].word, lies[i].at, (unsigned long long)lies[i].value,
                        mm1_status_name(st), err.message);
            fail();
        }
        check_contains(err.message, lies[i].message);
        check_contains(err.message, "x.gguf: ");
        assert_null(g);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    /* Version 2 differs in nothing that we read. */
    good[4] = 2;
    write_bytes(good, len);
    mm1_gguf *g = NULL;
    check_ok(mm1_gguf_open(&g, path, &err), &err);
    assert_int_equal(mm1_gguf_n_tensors(g), 2);
    mm1_gguf_close(g);
    mm1_free(good);
    g = (void *)&err;
    assert_int_equal(mm1_gguf_open(&g, "/nowhere/x", &err), MM1_E_IO);
    assert_null(g);
}

static void cut_and_spoilt_files_never_crash_or_leak(void **state)
{
    (void)state;
    char *good = NULL;
    size_t len = 0;
    make_small(&good, &len);
    const size_t before = mm1_alloc_bytes();
    for (size_t n = 0; n < len; n++) {
        write_bytes(good, n);
        mm1_gguf *g = NULL;
        assert_true(mm1_gguf_open(&g, path, &err) != MM1_OK);
    }
    int n_good = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        mm1_rng rng = mm1_rng_make(i, MM1_RNG_TEST, 3);
        char *copy = mm1_alloc(len, 1);
        memcpy(copy, good, len);
        for (uint64_t k = 0; k <= i % 3; k++) {
            static const char spice[] = {0, 1, 8, 9, 31, 32, 33, 127, -1, -128};
            copy[mm1_rng_below(&rng, len)] = spice[mm1_rng_below(&rng, sizeof spice)];
        }
        write_bytes(copy, len);
        mm1_free(copy);
        mm1_gguf *g = NULL;
        const bool is_good = mm1_gguf_open(&g, path, &err) == MM1_OK;
        n_good += is_good;
        float x[64];
        for (size_t t = 0; is_good && t < mm1_gguf_n_tensors(g); t++) {
            const mm1_gguf_tensor *w = mm1_gguf_tensor_at(g, t);
            if (w->n_elements <= 64) {
                mm1_quant_to_f32(w->format, w->data, x, w->n_elements);
            }
        }
        mm1_gguf_close(g);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(n_good > 300 && n_good < 2700);
    mm1_free(good);
}

static void memory_that_runs_out_is_an_error(void **state)
{
    (void)state;
    const size_t before = mm1_alloc_bytes();
    int n_failed = 0;
    for (uint64_t i = 1; i < 12; i++) {
        mm1_gguf *g = NULL;
        mm1_alloc_fail_at(i);
        const mm1_status st = mm1_gguf_open(&g, golden_path, &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || (st == MM1_E_NOMEM && g == NULL));
        n_failed += st != MM1_OK;
        mm1_gguf_close(g);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(n_failed >= 7 && n_failed < 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_golden_file_reads_as_its_maker_meant),
        cmocka_unit_test(every_format_gives_the_bits_of_the_package),
        cmocka_unit_test(what_is_written_has_the_bits_of_the_package),
        cmocka_unit_test(numbers_that_a_format_cannot_hold_are_refused),
        cmocka_unit_test(sizes_are_whole_blocks),
        cmocka_unit_test(what_is_written_reads_back_equal_and_is_deterministic),
        cmocka_unit_test(rows_are_written_in_the_order_asked_for),
        cmocka_unit_test(the_writer_refuses_what_no_reader_could_use),
        cmocka_unit_test(a_lie_in_any_field_is_refused_with_its_place),
        cmocka_unit_test(cut_and_spoilt_files_never_crash_or_leak),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_path, remove_tmp);
}

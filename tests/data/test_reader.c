/* Files as lists of documents: every format, corrupt samples, damaged files. */
#include "data_fixture.h"

#include "data/reader.h"

static mm1_reader *open_ok(const fixture *f, mm1_data_format format, const char *name)
{
    mm1_error err = {0};
    mm1_reader *r = NULL;
    char *path = fixture_path(f, name);
    check_ok(mm1_reader_open(format, path, &r, &err), &err);
    mm1_free(path);
    return r;
}

static void check_open_fails(const fixture *f, mm1_data_format format, const char *name, mm1_status status,
                             const char *says)
{
    mm1_error err = {0};
    mm1_reader *r = NULL;
    char *path = fixture_path(f, name);
    assert_int_equal(mm1_reader_open(format, path, &r, &err), status);
    assert_null(r);
    check_contains(err.message, says);
    mm1_free(path);
}

/* "[img c/000001.png][text]": images by name, texts as they are. */
static void check_document(const mm1_reader *r, int64_t i, const char *want)
{
    mm1_error err = {0};
    mm1_document d;
    mm1_buf got;
    mm1_buf_init(&got, 1 << 20);
    check_ok(mm1_reader_get(r, i, &d, &err), &err);
    for (size_t k = 0; k < d.n_parts; k++) {
        const mm1_part *p = &d.parts[k];
        assert_int_equal(p->train, p->kind == MM1_PART_TEXT);
        if (p->kind == MM1_PART_IMAGE) {
            mm1_buf_printf(&got, "[img %s]", p->name != NULL ? p->name : "?");
        } else {
            mm1_buf_printf(&got, "[%s]", p->bytes);
        }
    }
    assert_string_equal(mm1_buf_str(&got), want);
    mm1_buf_deinit(&got);
    mm1_document_deinit(&d);
}

static void check_get_fails(const mm1_reader *r, int64_t i, const char *name, const char *says)
{
    mm1_error err = {0};
    mm1_document d;
    const mm1_status st = mm1_reader_get(r, i, &d, &err);
    assert_true(mm1_reader_is_bad_sample(st));
    assert_null(d.parts);
    check_contains(err.message, name);
    check_contains(err.message, says);
}

static void append_text(mm1_tar_writer *w, const char *name, const char *text)
{
    fixture_append(w, name, text, strlen(text));
}

static void captions_come_as_picture_and_text(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    mm1_tar_writer *w = fixture_tar(&f, "a.tar");
    fixture_append_png(w, "x/000.png", 1);
    append_text(w, "x/000.txt", "  a cat\n");
    append_text(w, "x/000.cls", "3");
    append_text(w, "x/001.json", "{\"caption\": \"caf\\u00e9\", \"text\": \"no\"}");
    fixture_append_png(w, "x/001.JPG", 2); /* what it is, is told by its content */
    fixture_append_png(w, "x/002.webp", 3);
    append_text(w, "x/002.json", "{\"text\": \"from text\"}");
    append_text(w, "y.d/002.txt", "another folder, another sample");
    append_text(w, "003.txt", "no picture");
    fixture_append_png(w, "004.png", 4);
    fixture_append_png(w, "005.png", 5);
    append_text(w, "005.txt", " \n ");
    fixture_append_png(w, "006.png", 6);
    append_text(w, "006.json", "{\"caption\": 7}");
    fixture_append_png(w, "007.png", 6);
    append_text(w, "007.json", "{\"caption\": ");
    fixture_append_png(w, "008.png", 8);
    fixture_append_png(w, "008.b.png", 9); /* not the sample's picture: its extension is "b.png" */
    append_text(w, "008.txt", "eight");
    fixture_append_png(w, "009.png", 8);
    fixture_append_png(w, "009.jpg", 8);
    append_text(w, "009.txt", "nine");
    fixture_finish(w);
    mm1_reader *r = open_ok(&f, MM1_DATA_WEBDATASET, "a.tar");
    assert_int_equal(mm1_reader_len(r), 11);
    check_document(r, 0, "[img x/000.png][a cat]");
    check_document(r, 1, "[img x/001.JPG][caf\xc3\xa9]");
    check_document(r, 2, "[img x/002.webp][from text]");
    check_get_fails(r, 3, "a.tar:y.d/002", "no picture");
    check_get_fails(r, 4, "a.tar:003", "no picture");
    check_get_fails(r, 5, "a.tar:004", "no caption");
    check_get_fails(r, 6, "a.tar:005", "caption is empty");
    check_get_fails(r, 7, "a.tar:006", "no \"caption\" or \"text\"");
    check_get_fails(r, 8, "a.tar:007", "not valid JSON");
    check_document(r, 9, "[img 008.png][eight]");
    check_get_fails(r, 10, "a.tar:009", "two pictures");
    mm1_error err = {0};
    mm1_document d;
    assert_int_equal(mm1_reader_get(r, 11, &d, &err), MM1_E_ARG);
    assert_int_equal(mm1_reader_get(r, -1, &d, &err), MM1_E_ARG);
    mm1_reader_destroy(r);
    fixture_deinit(&f);
}

static void several_shards_are_one_list_in_order(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_captions(&f, "c-0000.tar", 0, 3, 0);
    fixture_captions(&f, "c-0001.tar", 3, 2, 0);
    mm1_reader *r = open_ok(&f, MM1_DATA_WEBDATASET, "c-{0000..0001}.tar");
    assert_int_equal(mm1_reader_len(r), 5);
    check_document(r, 3, "[img c/000003.png][a cat 3 an]");
    mm1_error err = {0};
    mm1_document d;
    check_ok(mm1_reader_get(r, 4, &d, &err), &err);
    check_contains(d.name, "c-0001.tar:c/000004");
    mm1_document_deinit(&d);
    mm1_reader_destroy(r);
    check_open_fails(&f, MM1_DATA_WEBDATASET, "c-{0000..0002}.tar", MM1_E_IO, "c-0002.tar");
    fixture_deinit(&f);
}

static void damaged_files_are_refused_by_name(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_captions(&f, "a.tar", 0, 4, 0);
    fixture_texts(&f, "a.jsonl.zst", 50);
    static const char *const names[] = {"a.tar", "a.jsonl.zst"};
    static const mm1_data_format formats[] = {MM1_DATA_WEBDATASET, MM1_DATA_JSONL};
    for (int i = 0; i < 2; i++) {
        char *path = fixture_path(&f, names[i]), *bytes = NULL;
        size_t len = 0;
        mm1_error err = {0};
        check_ok(mm1_file_read(path, 1 << 20, &bytes, &len, &err), &err);
        /* A tar may miss padding behind its end mark, so cuts are tried up to where its last member ends. */
        const size_t most = i == 0 ? len - 1024 : len - 1;
        for (size_t cut = 1; cut < most; cut += 1 + most / 40) {
            char name[64];
            (void)snprintf(name, sizeof name, "cut-%zu-%s", cut, names[i]);
            fixture_write(&f, name, bytes, cut);
            check_open_fails(&f, formats[i], name, MM1_E_FORMAT, name);
        }
        mm1_free(bytes);
        mm1_free(path);
    }
    fixture_write(&f, "b.jsonl.zst", "not zstd", 8);
    check_open_fails(&f, MM1_DATA_JSONL, "b.jsonl.zst", MM1_E_FORMAT, "b.jsonl.zst");
    check_open_fails(&f, MM1_DATA_PLAIN, "no-*.txt", MM1_E_IO, "no-*.txt");
    check_open_fails(&f, MM1_DATA_AUTO, "a.tar", MM1_E_ARG, "no reader");
    fixture_deinit(&f);
}

static void pages_keep_the_order_of_text_and_pictures(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    mm1_tar_writer *w = fixture_tar(&f, "p.tar");
    append_text(w, "d/0.json",
                "{\"texts\":[\"one\",null,\"two\",\" three \",null,null,\"\"],"
                "\"images\":[null,\"0.a.png\",null,null,null,\"d/0.b.png\",null],\"url\":\"x\"}");
    fixture_append_png(w, "d/0.b.png", 1);
    fixture_append_png(w, "d/0.a.png", 2);
    append_text(w, "1.json", "{\"texts\":[null,\"x\"],\"images\":[\"1.9.png\",null]}");
    append_text(w, "2.json", "{\"texts\":[\"x\"],\"images\":[]}");
    append_text(w, "3.json", "{\"texts\":[\"x\"],\"images\":[\"y\"]}");
    append_text(w, "4.json", "{\"texts\":[null],\"images\":[null]}");
    fixture_append_png(w, "5.0.png", 3);
    append_text(w, "6.json", "{\"texts\":[5],\"images\":[null]}");
    append_text(w, "7.json", "[]");
    append_text(w, "8.json", "{\"texts\":[null],\"images\":[\"8.0.png\"]}");
    fixture_append_png(w, "8.0.png", 3);
    fixture_finish(w);
    mm1_reader *r = open_ok(&f, MM1_DATA_OBELICS, "p.tar");
    assert_int_equal(mm1_reader_len(r), 9);
    check_document(r, 0, "[one][img d/0.a.png][two][\n\nthree][img d/0.b.png]");
    check_get_fails(r, 1, "p.tar:1: place 0", "\"1.9.png\" is not among its members");
    check_get_fails(r, 2, "p.tar:2", "not two lists of one length");
    check_get_fails(r, 3, "p.tar:3: place 0", "or both");
    check_get_fails(r, 4, "p.tar:4", "no text");
    check_get_fails(r, 5, "p.tar:5", "no .json member");
    check_get_fails(r, 6, "p.tar:6: place 0", "neither a text");
    check_get_fails(r, 7, "p.tar:7", "not an object");
    check_get_fails(r, 8, "p.tar:8", "no text");
    mm1_reader_destroy(r);
    fixture_deinit(&f);
}

static void mmc4_puts_a_picture_before_its_sentence(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    size_t len = 0;
    uint8_t *png = fixture_png(9, 5, 4, &len);
    mm1_buf json;
    mm1_buf_init(&json, 1 << 16);
    mm1_buf_puts(&json, "{\"text_list\":[\"One.\",\"Two.\",\"Three.\"],\"image_info\":[{\"image_name\":\"b\","
                        "\"matched_text_index\":2,\"image_base64\":\"");
    mm1_buf_put_base64(&json, png, len);
    mm1_buf_puts(&json, "\"},{\"image_name\":\"0.x.png\",\"matched_text_index\":0}]}");

    mm1_tar_writer *w = fixture_tar(&f, "m.tar");
    append_text(w, "0.json", mm1_buf_str(&json));
    fixture_append_png(w, "0.x.png", 1);
    append_text(w, "1.json",
                "{\"text_list\":[\"a\"],\"image_info\":[{\"image_name\":\"q\",\"matched_text_index\":1}]}");
    append_text(w, "2.json", "{\"text_list\":[\"a\"],\"image_info\":[{\"matched_text_index\":0}]}");
    append_text(w, "3.json",
                "{\"text_list\":[\"a\"],\"image_info\":[{\"matched_text_index\":0,\"image_base64\":\"a?\"}]}");
    append_text(w, "4.json", "{\"text_list\":\"a\",\"image_info\":[]}");
    fixture_finish(w);
    mm1_reader *r = open_ok(&f, MM1_DATA_MMC4, "m.tar");
    check_document(r, 0, "[img 0.x.png][One.][ Two.][img b][Three.]");
    mm1_error err = {0};
    mm1_document d;
    check_ok(mm1_reader_get(r, 0, &d, &err), &err);
    assert_int_equal(d.parts[3].len, len);
    assert_memory_equal(d.parts[3].bytes, png, len);
    mm1_document_deinit(&d);
    check_get_fails(r, 1, "m.tar:1: image_info[0]", "not in 0 .. 1");
    check_get_fails(r, 2, "m.tar:2: image_info[0]", "neither");
    check_get_fails(r, 3, "m.tar:3: image_info[0]", "character 1 is no base64");
    check_get_fails(r, 4, "m.tar:4", "not two lists");
    mm1_reader_destroy(r);

    /* The same without a tar: pictures can only be base64. */
    mm1_buf_clear(&json);
    mm1_buf_puts(&json, "{\"text_list\":[\"x\",\"y\"],\"image_info\":[{\"matched_text_index\":1,\"image_base64\":\"");
    mm1_buf_put_base64(&json, png, len);
    mm1_buf_puts(&json,
                 "\"}]}\n\n{\"text_list\":[\"x\"],\"image_info\":[{\"image_name\":\"q\",\"matched_text_index\":0}]}");
    fixture_write(&f, "m.jsonl", mm1_buf_str(&json), json.len);
    r = open_ok(&f, MM1_DATA_MMC4, "m.jsonl");
    assert_int_equal(mm1_reader_len(r), 2);
    check_document(r, 0, "[x][img ?][y]");
    check_get_fails(r, 1, "m.jsonl:3", "not among its members");
    mm1_reader_destroy(r);
    mm1_free(png);
    mm1_buf_deinit(&json);
    fixture_deinit(&f);
}

static void text_comes_from_lines_and_files_compressed_or_not(void **state)
{
    (void)state;
    static const char lines[] =
        "{\"text\": \"one\\n\", \"source\": \"s\"}\n\n \r\n{\"text\": \"\"}\n{\"txt\": 1}\n{\"text\"\n"
        "{\"text\": \"last\"}";
    fixture f;
    fixture_init(&f);
    fixture_write(&f, "a.jsonl", lines, sizeof lines - 1);
    fixture_write_zst(&f, "b.jsonl.zst", lines);
    static const char *const names[] = {"a.jsonl", "b.jsonl.zst"};
    for (int i = 0; i < 2; i++) {
        mm1_reader *r = open_ok(&f, MM1_DATA_JSONL, names[i]);
        char place[64];
        assert_int_equal(mm1_reader_len(r), 5);
        check_document(r, 0, "[one]");
        (void)snprintf(place, sizeof place, "%s:4", names[i]);
        check_get_fails(r, 1, place, "text is empty");
        check_get_fails(r, 2, names[i], "no string \"text\"");
        check_get_fails(r, 3, names[i], "not valid JSON");
        check_document(r, 4, "[last]");
        mm1_reader_destroy(r);
    }
    fixture_write(&f, "t1.txt", "first\nfile\n", 11);
    fixture_write_zst(&f, "t2.txt.zst", "second file");
    fixture_write(&f, "t3.txt", "", 0);
    mm1_reader *r = open_ok(&f, MM1_DATA_PLAIN, "t*");
    assert_int_equal(mm1_reader_len(r), 3);
    check_document(r, 0, "[first\nfile]");
    check_document(r, 1, "[second file]");
    check_get_fails(r, 2, "t3.txt", "text is empty");
    mm1_reader_destroy(r);
    fixture_deinit(&f);
}

static void what_unpacks_to_more_than_its_limit_is_a_bad_sample(void **state)
{
    (void)state;
    enum { N = 65 << 20 };
    fixture f;
    fixture_init(&f);
    char *big = mm1_alloc(N + 1, 1);
    assert_non_null(big);
    memset(big, 'a', N);
    big[N] = '\0';
    fixture_write_zst(&f, "bomb.txt.zst", big);
    mm1_free(big);
    mm1_reader *r = open_ok(&f, MM1_DATA_PLAIN, "bomb.txt.zst");
    check_get_fails(r, 0, "bomb.txt.zst", "more than the limit of 67108864");
    mm1_reader_destroy(r);
    fixture_deinit(&f);
}

static void failing_allocations_are_errors_and_leak_nothing(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_pages(&f, "p.tar", 2);
    fixture_texts(&f, "t.jsonl.zst", 3);
    static const char *const names[] = {"p.tar", "t.jsonl.zst"};
    static const mm1_data_format formats[] = {MM1_DATA_OBELICS, MM1_DATA_JSONL};
    for (int i = 0; i < 2; i++) {
        char *path = fixture_path(&f, names[i]);
        const size_t before = mm1_alloc_bytes();
        bool done = false;
        for (uint64_t n = 1; n < 1000 && !done; n++) {
            mm1_error err = {0};
            mm1_reader *r = NULL;
            mm1_document d = {0};
            mm1_alloc_fail_at(n);
            mm1_status st = mm1_reader_open(formats[i], path, &r, &err);
            if (st == MM1_OK) {
                st = mm1_reader_get(r, 1, &d, &err);
            }
            mm1_alloc_fail_at(0);
            assert_true(st == MM1_OK || st == MM1_E_NOMEM);
            done = st == MM1_OK;
            mm1_document_deinit(&d);
            mm1_reader_destroy(r);
            assert_int_equal(mm1_alloc_bytes(), before);
        }
        assert_true(done);
        mm1_free(path);
    }
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captions_come_as_picture_and_text),
        cmocka_unit_test(several_shards_are_one_list_in_order),
        cmocka_unit_test(damaged_files_are_refused_by_name),
        cmocka_unit_test(pages_keep_the_order_of_text_and_pictures),
        cmocka_unit_test(mmc4_puts_a_picture_before_its_sentence),
        cmocka_unit_test(text_comes_from_lines_and_files_compressed_or_not),
        cmocka_unit_test(what_unpacks_to_more_than_its_limit_is_a_bad_sample),
        cmocka_unit_test(failing_allocations_are_errors_and_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

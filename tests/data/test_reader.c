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

/* A conversation as "[text][img name]{learned}": a token is <name>, and what ends a text is <>. */
static void check_together(const mm1_reader *r, const int64_t *which, size_t n, const char *want)
{
    mm1_error err = {0};
    mm1_document d;
    mm1_buf got;
    mm1_buf_init(&got, 1 << 20);
    check_ok(mm1_reader_get_together(r, which, n, &d, &err), &err);
    assert_true(d.is_closed);
    for (size_t k = 0; k < d.n_parts; k++) {
        const mm1_part *p = &d.parts[k];
        const bool is_image = p->kind == MM1_PART_IMAGE, is_token = p->kind == MM1_PART_TOKEN;
        const char *text = is_image ? p->name != NULL ? mm1_path_basename(p->name) : "?" : p->bytes;
        assert_false(is_image && p->train);
        mm1_buf_printf(&got, "%c%s%s%s%c", p->train ? '{' : '[',
                       is_image   ? "img "
                       : is_token ? "<"
                                  : "",
                       text, is_token ? ">" : "", p->train ? '}' : ']');
    }
    assert_string_equal(mm1_buf_str(&got), want);
    mm1_buf_deinit(&got);
    mm1_document_deinit(&d);
}

static void check_conversation(const mm1_reader *r, int64_t i, const char *want)
{
    check_together(r, &i, 1, want);
}

static mm1_reader *open_conversations(const fixture *f, mm1_data_format format, const char *name, const char *images,
                                      mm1_chat_template chat, const char *sampling)
{
    mm1_error err = {0};
    mm1_reader *r = NULL;
    mm1_data_source s = {.kind = MM1_DATA_CONVERSATIONS, .format = format, .path = fixture_path(f, name)};
    s.images = images != NULL ? fixture_path(f, images) : NULL;
    s.sampling_strategy = (char *)(uintptr_t)sampling;
    check_ok(mm1_reader_open_source(&s, chat, 7, &r, &err), &err);
    mm1_free(s.images);
    mm1_free(s.path);
    return r;
}

static void write_png(const fixture *f, const char *name, int i)
{
    size_t len = 0;
    uint8_t *png = fixture_png(i, 4, 4, &len);
    fixture_write(f, name, png, len);
    mm1_free(png);
}

static void write_text(const fixture *f, const char *name, const char *text)
{
    fixture_write(f, name, text, strlen(text));
}

static void conversations_of_llava_learn_their_answers(void **state)
{
    (void)state;
    static const char text[] =
        "[\n {\"id\": 1, \"image\": \"a.png\", \"conversations\": [\n"
        "  {\"from\": \"human\", \"value\": \"<image>\\nWhat? \"}, {\"from\": \"gpt\", \"value\": \" A \\\"cat\\\" "
        "]}.\"},\n"
        "  {\"from\": \"human\", \"value\": \"Sure?\"}, {\"from\": \"gpt\", \"value\": \"Yes.\"}]},\n"
        " {\"image\": [\"a.png\", \"b.png\"], \"conversations\": [{\"from\": \"human\", \"value\": \"Is <image> "
        "or\\n<image>"
        " red?\"}, {\"from\": \"gpt\", \"value\": \"b\"}]},\n"
        " {\"conversations\": [{\"from\": \"system\", \"value\": \"Be kind.\"}, {\"from\": \"human\", \"value\": "
        "\"Hi\"},"
        " {\"from\": \"gpt\", \"value\": \"Hello\"}]},\n"
        " {\"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"no place\"},"
        " {\"from\": \"gpt\", \"value\": \"b\"}]},\n"
        " {\"conversations\": [{\"from\": \"human\", \"value\": \"<image> a\"}, {\"from\": \"gpt\", \"value\": "
        "\"b\"}]},\n"
        " {\"image\": \"../a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": "
        "\"gpt\", "
        "\"value\": \"b\"}]},\n"
        " {\"image\": \"c.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": "
        "\"gpt\", "
        "\"value\": \"b\"}]},\n"
        " {\"conversations\": [{\"from\": \"gpt\", \"value\": \"b\"}]},\n"
        " {\"conversations\": [{\"from\": \"human\", \"value\": \"b\"}]},\n"
        " {\"conversations\": [{\"from\": \"human\", \"value\": \"b\"}, {\"from\": \"gpt\", \"value\": \" \"}]},\n"
        " {\"messages\": []}\n]\n";
    fixture f;
    fixture_init(&f);
    write_text(&f, "l.json", text);
    fixture_write_zst(&f, "z.json.zst", text);
    write_png(&f, "a.png", 1);
    write_png(&f, "b.png", 2);
    for (int zst = 0; zst < 2; zst++) {
        mm1_reader *r = open_conversations(&f, MM1_DATA_AUTO, zst ? "z.json.zst" : "l.json", NULL, MM1_CHAT_AUTO, NULL);
        assert_int_equal(mm1_reader_len(r), 11);
        check_conversation(
            r, 0, "[User:][img a.png][What?\nAssistant:]{ A \"cat\" ]}.}{<>}[User: Sure?\nAssistant:]{ Yes.}{<>}");
        check_conversation(r, 1, "[User: Is ][img a.png][ or][img b.png][ red?\nAssistant:]{ b}{<>}");
        check_conversation(r, 2, "[System: Be kind.\nUser: Hi\nAssistant:]{ Hello}{<>}");
        check_together(r, (const int64_t[]){2, 1, 2}, 3,
                       "[System: Be kind.\nUser: Hi\nAssistant:]{ Hello}{<>}"
                       "[User: Is ][img a.png][ or][img b.png][ red?\nAssistant:]{ b}{<>}"
                       "[User: Hi\nAssistant:]{ Hello}{<>}");
        mm1_document none;
        mm1_error err = {0};
        assert_int_equal(mm1_reader_get_together(r, (const int64_t[]){1, 6}, 2, &none, &err), MM1_E_FORMAT);
        check_contains(err.message, "[6]");
        check_contains(err.message, "\"c.png\" is not in");
        assert_int_equal(none.n_parts, 0);
        check_get_fails(r, 3, zst ? "z.json.zst[3]" : "l.json[3]", "0 places for a picture (<image>), but 1 picture");
        check_get_fails(r, 4, "json", "1 place for a picture (<image>), but 0 pictures");
        check_get_fails(r, 5, "[5]", "\"../a.png\" is not below");
        check_get_fails(r, 6, "[6]", "\"c.png\" is not in");
        check_get_fails(r, 7, "[7]", "where a user's is expected");
        check_get_fails(r, 8, "[8]", "the last message has no answer");
        check_get_fails(r, 9, "[9]", "empty");
        check_get_fails(r, 10, "[10]", "no list \"conversations\"; it is of format messages");
        mm1_reader_destroy(r);
    }
    mm1_reader *r = open_conversations(&f, MM1_DATA_LLAVA, "l.json", NULL, MM1_CHAT_CHATML, NULL);
    check_conversation(
        r, 2,
        "[<<|im_start|>>][system\nBe kind.][<<|im_end|>>][\n][<<|im_start|>>][user\nHi][<<|im_end|>>][\n]"
        "[<<|im_start|>>][assistant\n]{Hello}{<<|im_end|>>}");
    mm1_reader_destroy(r);
    r = open_conversations(&f, MM1_DATA_LLAVA, "l.json", NULL, MM1_CHAT_INST, NULL);
    check_get_fails(r, 2, "[2]", "inst has no place for a system's message");
    check_conversation(r, 0,
                       "[[INST] ][img a.png][\nWhat? [/INST]]{ A \"cat\" ]}.}{<>}[[INST] Sure? [/INST]]{ Yes.}{<>}");
    mm1_reader_destroy(r);
    fixture_deinit(&f);
}

static void messages_may_be_lists_of_parts_with_pictures_of_every_kind(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    write_text(
        &f, "m.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}, {\"type\": \"text\", \"text\": "
        "\"and <image>\"}, {\"type\": \"image\"}]}, {\"role\": \"assistant\", \"content\": [{\"type\": \"text\", "
        "\"text\": \"one\"}]}], \"images\": [\"p/a.png\", {\"path\": \"./p/b.png\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {\"url\": "
        "\"data:image/png;base64,aGk=\"}}, {\"type\": \"image_url\", \"image_url\": \"p/a.png\"}, {\"type\": "
        "\"image\", "
        "\"image\": \"p/b.png\"}, {\"type\": \"image\", \"path\": \"p/a.png\"}]}, {\"role\": \"assistant\", "
        "\"content\": \"four\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"<image><image>x\"}, {\"role\": \"assistant\", "
        "\"content\": "
        "\"y\"}], \"images\": [{\"bytes\": \"aGk=\", \"path\": null}, \"p/b.png\"]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {\"url\": "
        "\"https://x.org/a.png\"}}]}, {\"role\": \"assistant\", \"content\": \"y\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"video\"}]}]}\n"
        "{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"content\": [{\"type\": "
        "\"image\", \"image\": \"p/a.png\"}]}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"content\": null}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"<image>\"}, {\"role\": \"assistant\", \"content\": "
        "\"y\"}], \"images\": [{\"bytes\": \"a*k=\"}]}\n");
    mm1_tar_writer *w = fixture_tar(&f, "pictures.tar");
    fixture_append_png(w, "p/b.png", 1);
    fixture_append_png(w, "./p/a.png", 2);
    fixture_finish(w);
    mm1_reader *r = open_conversations(&f, MM1_DATA_AUTO, "m.jsonl", "pictures.tar", MM1_CHAT_PLAIN, NULL);
    check_conversation(r, 0, "[User:][img a.png][and <image>][img b.png][\nAssistant:]{ one}{<>}");
    check_conversation(r, 1, "[User:][img ?][img a.png][img b.png][img a.png][\nAssistant:]{ four}{<>}");
    check_conversation(r, 2, "[User:][img ?][img b.png][x\nAssistant:]{ y}{<>}");
    check_get_fails(r, 3, "m.jsonl:4", "\"https://x.org/a.png\": pictures are not fetched");
    check_get_fails(r, 4, "m.jsonl:5", "a part of type \"video\"");
    check_get_fails(r, 5, "m.jsonl:6", "\"role\" is \"tool\"");
    check_get_fails(r, 6, "m.jsonl:7", "message 1, the assistant's, has a picture");
    check_get_fails(r, 7, "m.jsonl:8", "neither a text nor a list of parts");
    check_get_fails(r, 8, "m.jsonl:9", "character 1 is no base64");
    mm1_reader_destroy(r);

    /* In a tar the pictures are beside the conversation. */
    w = fixture_tar(&f, "c.tar");
    append_text(w, "0.json",
                "{\"messages\": [{\"role\": \"user\", \"content\": \"<image>x\"}, {\"role\": \"assistant\", "
                "\"content\": \"y\"}], \"images\": [\"0.b.png\"]}");
    fixture_append_png(w, "0.a.png", 1);
    fixture_append_png(w, "0.b.png", 2);
    fixture_finish(w);
    r = open_conversations(&f, MM1_DATA_AUTO, "c.tar", NULL, MM1_CHAT_PLAIN, NULL);
    check_conversation(r, 0, "[User:][img 0.b.png][x\nAssistant:]{ y}{<>}");
    mm1_reader_destroy(r);
    mm1_error err = {0};
    mm1_data_source both = {.kind = MM1_DATA_CONVERSATIONS, .format = MM1_DATA_MESSAGES};
    both.path = fixture_path(&f, "c.tar");
    both.images = fixture_path(&f, "pictures.tar");
    assert_int_equal(mm1_reader_open_source(&both, MM1_CHAT_PLAIN, 0, &r, &err), MM1_E_CONFIG);
    assert_null(r);
    check_contains(err.message, "c.tar: a tar holds the pictures of its conversations; leave `images` out");
    mm1_free(both.images);
    mm1_free(both.path);
    fixture_deinit(&f);
}

/* Without a source that says more: the template is plain, the pictures are beside the file. */
static void conversations_opened_by_format_alone_find_their_pictures(void **state)
{
    (void)state;
    static const char text[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"<image>x\"}, {\"role\": \"assistant\", "
        "\"content\": \"y\"}], \"images\": [\"0.b.png\"]}";
    fixture f;
    fixture_init(&f);
    write_text(&f, "m.jsonl", text);
    write_png(&f, "0.b.png", 1);
    mm1_tar_writer *w = fixture_tar(&f, "m.tar");
    append_text(w, "0.json", text);
    fixture_append_png(w, "0.b.png", 2);
    fixture_finish(w);
    static const char *const names[] = {"m.jsonl", "m.tar"};
    for (int i = 0; i < 2; i++) {
        mm1_reader *r = open_ok(&f, MM1_DATA_MESSAGES, names[i]);
        assert_int_equal(mm1_reader_len(r), 1);
        check_conversation(r, 0, "[User:][img 0.b.png][x\nAssistant:]{ y}{<>}");
        mm1_reader_destroy(r);
    }
    fixture_deinit(&f);
}

/* 256 pictures are read.  Of more, the first that is too many is refused, before one that is not there. */
static void no_more_pictures_than_the_limit_are_read_into_memory(void **state)
{
    (void)state;
    static const int counts[] = {256, 257};
    fixture f;
    mm1_buf chat, texts, images;
    fixture_init(&f);
    mm1_tar_writer *chats = fixture_tar(&f, "chats.tar"), *pages = fixture_tar(&f, "pages.tar");
    mm1_buf_init(&chat, 1 << 20);
    mm1_buf_init(&texts, 1 << 20);
    mm1_buf_init(&images, 1 << 20);
    for (int i = 0; i < 2; i++) {
        char name[16], picture[16];
        (void)snprintf(name, sizeof name, "%d.json", i);
        (void)snprintf(picture, sizeof picture, "%d.a.png", i);
        mm1_buf_clear(&chat);
        mm1_buf_clear(&texts);
        mm1_buf_clear(&images);
        mm1_buf_puts(&chat, "{\"messages\":[{\"role\":\"user\",\"content\":[");
        for (int k = 0; k < counts[i] + i; k++) {
            const char *shown = k < 257 ? picture : "missing.png";
            mm1_buf_printf(&chat, "{\"type\":\"image\",\"image\":\"%s\"},", shown);
            mm1_buf_puts(&texts, "null,");
            mm1_buf_printf(&images, "\"%s\",", shown);
        }
        mm1_buf_puts(&chat, "{\"type\":\"text\",\"text\":\"x\"}]},{\"role\":\"assistant\",\"content\":\"y\"}]}");
        append_text(chats, name, mm1_buf_str(&chat));
        fixture_append_png(chats, picture, 1);
        mm1_buf_clear(&chat);
        mm1_buf_printf(&chat, "{\"texts\":[%s\"x\"],\"images\":[%snull]}", mm1_buf_str(&texts), mm1_buf_str(&images));
        append_text(pages, name, mm1_buf_str(&chat));
        fixture_append_png(pages, picture, 1);
    }
    mm1_buf_deinit(&chat);
    mm1_buf_deinit(&texts);
    mm1_buf_deinit(&images);
    fixture_finish(chats);
    fixture_finish(pages);
    for (int i = 0; i < 2; i++) {
        mm1_error err = {0};
        mm1_document d;
        mm1_reader *r =
            i == 0 ? open_ok(&f, MM1_DATA_MESSAGES, "chats.tar") : open_ok(&f, MM1_DATA_OBELICS, "pages.tar");
        check_ok(mm1_reader_get(r, 0, &d, &err), &err);
        assert_int_equal(mm1_document_n_images(&d), 256);
        mm1_document_deinit(&d);
        check_get_fails(r, 1, ".tar:1", "more pictures than the limit of 256");
        mm1_reader_destroy(r);
    }
    fixture_deinit(&f);
}

/* Also where the file exists that the name leads to. */
static void names_of_pictures_do_not_lead_out_of_their_folder(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "../secret.png", "in/../../secret.png",  "./../secret.png",     "..", "@/secret.png", "file://@/secret.png",
        "in/..",         "in//../../secret.png", "file://../secret.png"};
    fixture f;
    mm1_buf line;
    fixture_init(&f);
    char *in = fixture_path(&f, "pictures/in");
    mm1_error err = {0};
    check_ok(mm1_dir_make(in, &err), &err);
    mm1_free(in);
    write_png(&f, "secret.png", 1);
    write_png(&f, "pictures/in/..a.png", 2);
    mm1_buf_init(&line, 1 << 16);
    const size_t n = sizeof bad / sizeof *bad;
    for (size_t i = 0; i <= n; i++) {
        mm1_buf_puts(&line,
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"<image>\"},{\"role\":\"assistant\",\"content\":"
                     "\"y\"}],\"images\":[\"");
        for (const char *p = i < n ? bad[i] : "in/..a.png"; *p != '\0'; p++) {
            if (*p == '@') {
                mm1_buf_puts(&line, f.dir);
            } else {
                mm1_buf_putc(&line, *p);
            }
        }
        mm1_buf_puts(&line, "\"]}\n");
    }
    write_text(&f, "m.jsonl", mm1_buf_str(&line));
    mm1_buf_deinit(&line);
    mm1_reader *r = open_conversations(&f, MM1_DATA_AUTO, "m.jsonl", "pictures", MM1_CHAT_PLAIN, NULL);
    for (size_t i = 0; i < n; i++) {
        check_get_fails(r, (int64_t)i, "m.jsonl:", "is not below");
    }
    check_conversation(r, (int64_t)n, "[User:][img ..a.png][\nAssistant:]{ y}{<>}");
    mm1_reader_destroy(r);
    fixture_deinit(&f);
}

static void lists_of_samples_that_are_damaged_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"[{\"a\": \"]}\"}, {\"b\"", "is it cut off?"},
                                         {"[{}", "is it cut off?"},
                                         {"[{},", "is it cut off?"},
                                         {"[", "is it cut off?"},
                                         {"[{} {}]", "a comma or the end of the list is expected"},
                                         {"[7]", "byte 1: an object of the list is expected"},
                                         {"[{}] x", "something comes behind the list"}};
    fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(&f, "bad.json", bad[i][0]);
        check_open_fails(&f, MM1_DATA_LLAVA, "bad.json", MM1_E_FORMAT, bad[i][1]);
    }
    write_text(&f, "empty.json", " [ ] \n");
    mm1_reader *r = open_ok(&f, MM1_DATA_LLAVA, "empty.json");
    assert_int_equal(mm1_reader_len(r), 0);
    mm1_reader_destroy(r);
    fixture_deinit(&f);
}

/* Numbers of the samples that a strategy uses, in order. */
static void check_sampling(const fixture *f, const char *strategy, const char *want)
{
    mm1_reader *r = open_conversations(f, MM1_DATA_AUTO, "n.jsonl", NULL, MM1_CHAT_PLAIN, strategy);
    char got[64] = "";
    for (int64_t i = 0; i < mm1_reader_len(r); i++) {
        mm1_error err = {0};
        mm1_document d;
        check_ok(mm1_reader_get(r, i, &d, &err), &err);
        const size_t n = strlen(got);
        (void)snprintf(got + n, sizeof got - n, "%s", d.parts[1].bytes + 1);
        mm1_document_deinit(&d);
    }
    if (want != NULL) {
        assert_string_equal(got, want);
    } else { /* three different ones */
        assert_int_equal(strlen(got), 3);
        assert_true(got[0] != got[1] && got[0] != got[2] && got[1] != got[2]);
    }
    mm1_reader_destroy(r);
}

static void a_source_may_use_some_of_its_samples(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    mm1_buf lines;
    mm1_buf_init(&lines, 1 << 16);
    for (int i = 0; i < 8; i++) {
        mm1_buf_printf(&lines,
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"n\"}, {\"role\": \"assistant\", "
                       "\"content\": \"%d\"}]}\n",
                       i);
    }
    write_text(&f, "n.jsonl", mm1_buf_str(&lines));
    mm1_buf_deinit(&lines);
    check_sampling(&f, NULL, "01234567");
    check_sampling(&f, "all", "01234567");
    check_sampling(&f, "first:3", "012");
    check_sampling(&f, "last:25%", "67");
    check_sampling(&f, "end:1%", "7");
    check_sampling(&f, "first:100", "01234567");
    check_sampling(&f, "random:3", NULL);
    static const char *const bad[] = {"",          "half",      "first:",  "first:0", "first:-1",
                                      "random:0%", "last:101%", "first:%", "all:3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mm1_error err = {0};
        mm1_sampling_strategy s;
        assert_int_equal(mm1_data_sampling_parse(bad[i], &s, &err), MM1_E_CONFIG);
        check_contains(err.message, "first:N");
    }
    fixture_deinit(&f);
}

/* Keywords of a picture as its text; where it has none, its caption. */
static void the_text_of_a_caption_may_be_a_field_of_its_json(void **state)
{
    (void)state;
    static const char *const json[] = {"{\"keywords\": \"cat | pet\"}", "{\"keywords\": \"\"}", "{\"keywords\": 7}",
                                       "{}", NULL};
    static const char *const want[] = {"tags: cat | pet", "caption 1", "caption 2", "caption 3", "caption 4"};
    fixture f;
    fixture_init(&f);
    mm1_tar_writer *w = fixture_tar(&f, "k.tar");
    char name[32], text[64];
    for (int i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof name, "%d.png", i);
        fixture_append_png(w, name, i);
        (void)snprintf(name, sizeof name, "%d.txt", i);
        (void)snprintf(text, sizeof text, "caption %d", i);
        append_text(w, name, text);
        (void)snprintf(name, sizeof name, "%d.json", i);
        if (json[i] != NULL) {
            append_text(w, name, json[i]);
        }
    }
    fixture_append_png(w, "5.png", 5);
    append_text(w, "5.json", "{\"caption\": \"in JSON\", \"keywords\": \"dog\"}");
    fixture_append_png(w, "6.png", 6);
    append_text(w, "6.txt", "six");
    append_text(w, "6.json", "{\"keywords\": ");
    fixture_finish(w);
    mm1_error err = {0};
    mm1_reader *r = NULL;
    mm1_data_source source = {.kind = MM1_DATA_CAPTIONS, .text_field = (char[]){"keywords"}};
    source.path = fixture_path(&f, "k.tar");
    for (int prefixed = 0; prefixed < 2; prefixed++) {
        source.text_prefix = prefixed ? (char[]){"tags: "} : NULL;
        check_ok(mm1_reader_open_source(&source, MM1_CHAT_AUTO, 0, &r, &err), &err);
        for (int i = 0; i < 5; i++) {
            (void)snprintf(text, sizeof text, "[img %d.png][%s]", i, want[i] + (i == 0 && !prefixed ? 6 : 0));
            check_document(r, i, text);
        }
        check_document(r, 5, prefixed ? "[img 5.png][tags: dog]" : "[img 5.png][dog]");
        check_get_fails(r, 6, "k.tar:6", "not valid JSON");
        mm1_reader_destroy(r);
    }
    source.text_field = NULL; /* the JSON beside a caption is not even read */
    check_ok(mm1_reader_open_source(&source, MM1_CHAT_AUTO, 0, &r, &err), &err);
    check_document(r, 0, "[img 0.png][caption 0]");
    check_document(r, 6, "[img 6.png][six]");
    mm1_reader_destroy(r);
    mm1_free(source.path);
    fixture_deinit(&f);
}

static void failing_allocations_are_errors_and_leak_nothing(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_pages(&f, "p.tar", 2);
    fixture_texts(&f, "t.jsonl.zst", 3);
    write_text(&f, "l.json",
               "[{}, {\"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>x\"},"
               "{\"from\": \"gpt\", \"value\": \"y\"}]}]");
    mm1_tar_writer *w = fixture_tar(&f, "a.tar");
    fixture_append_png(w, "a.png", 1);
    fixture_finish(w);
    static const char *const names[] = {"p.tar", "t.jsonl.zst", "l.json"};
    static const mm1_data_format formats[] = {MM1_DATA_OBELICS, MM1_DATA_JSONL, MM1_DATA_LLAVA};
    static const mm1_data_kind kinds[] = {MM1_DATA_INTERLEAVED, MM1_DATA_TEXT, MM1_DATA_CONVERSATIONS};
    for (int i = 0; i < 3; i++) {
        char *path = fixture_path(&f, names[i]), *images = fixture_path(&f, "a.tar");
        const mm1_data_source source = {.kind = kinds[i], .format = formats[i], .path = path, .images = images};
        const size_t before = mm1_alloc_bytes();
        bool done = false;
        for (uint64_t n = 1; n < 1000 && !done; n++) {
            mm1_error err = {0};
            mm1_reader *r = NULL;
            mm1_document d = {0};
            mm1_alloc_fail_at(n);
            mm1_status st = mm1_reader_open_source(&source, MM1_CHAT_PLAIN, 0, &r, &err);
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
        mm1_free(images);
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
        cmocka_unit_test(conversations_of_llava_learn_their_answers),
        cmocka_unit_test(messages_may_be_lists_of_parts_with_pictures_of_every_kind),
        cmocka_unit_test(conversations_opened_by_format_alone_find_their_pictures),
        cmocka_unit_test(no_more_pictures_than_the_limit_are_read_into_memory),
        cmocka_unit_test(names_of_pictures_do_not_lead_out_of_their_folder),
        cmocka_unit_test(lists_of_samples_that_are_damaged_are_refused),
        cmocka_unit_test(a_source_may_use_some_of_its_samples),
        cmocka_unit_test(the_text_of_a_caption_may_be_a_field_of_its_json),
        cmocka_unit_test(failing_allocations_are_errors_and_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* HTML pages into interleaved documents; XML and small text chores. */
#include "build_fixture.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/tar.h"
#include "data/build.h"
#include "data/corpus.h"
#include "data/html.h"
#include "data/prose.h"
#include "data/xml_scan.h"
#include <jansson.h>
#include <mm1/image.h>

static mm1_html_page extract(const char *html)
{
    mm1_error err = {0};
    mm1_html_page page;
    check_ok(mm1_html_extract(&page, html, strlen(html), &err), &err);
    return page;
}

static void expect_block(const mm1_html_page *page, size_t i, mm1_html_kind kind, const char *text)
{
    assert_true(i < page->n);
    assert_string_equal(page->blocks[i].text, text);
    assert_int_equal(page->blocks[i].kind, kind);
}

static void a_page_gives_what_a_reader_reads_in_its_order(void **state)
{
    (void)state;
    mm1_html_page page =
        extract("<html><head><title>no</title><style>p{}</style></head><body><nav>menu</nav>"
                "<div class='navheader'>Prev Next</div>"
                "<h1>Ducks<a class='headerlink' href='#d'>&para;</a></h1>"
                "<p>A duck\n  is a <b>bird</b>&nbsp;&amp; swims.</p>"
                "<script>alert(1)</script><pre>quack();</pre>"
                "<div class='figure'><img src='a/duck.png' alt='A duck on a pond'><p>Figure 1</p></div>"
                "<ul><li><p>one</p></li><li>two <img src='b.png'> three</li><li></li></ul>"
                "<table><tr><td>1</td></tr></table><dl><dt>term</dt><dd>meaning</dd></dl>"
                "<footer>imprint</footer></body></html>");
    expect_block(&page, 0, MM1_HTML_HEADING, "Ducks");
    assert_int_equal(page.blocks[0].level, 1);
    expect_block(&page, 1, MM1_HTML_TEXT, "A duck is a bird & swims.");
    expect_block(&page, 2, MM1_HTML_PICTURE, "a/duck.png");
    assert_string_equal(page.blocks[2].alt, "A duck on a pond");
    expect_block(&page, 3, MM1_HTML_TEXT, "Figure 1");
    expect_block(&page, 4, MM1_HTML_TEXT, "- one");
    expect_block(&page, 5, MM1_HTML_TEXT, "- two");
    assert_int_equal(page.blocks[5].joint, MM1_JOINT_LINE);
    expect_block(&page, 6, MM1_HTML_PICTURE, "b.png");
    expect_block(&page, 7, MM1_HTML_TEXT, "three");
    assert_int_equal(page.blocks[7].joint, MM1_JOINT_SPACE);
    expect_block(&page, 8, MM1_HTML_HEADING, "term");
    expect_block(&page, 9, MM1_HTML_TEXT, "meaning");
    assert_int_equal(page.n, 10);
    assert_int_equal(page.n_code, 1);
    assert_int_equal(page.n_tables, 1);
    mm1_html_page_deinit(&page);
}

static void only_the_main_part_is_taken_if_the_page_marks_one(void **state)
{
    (void)state;
    mm1_html_page page = extract("<body><p>outside</p><div role='main'><p>inside</p></div><p>outside</p></body>");
    assert_int_equal(page.n, 1);
    expect_block(&page, 0, MM1_HTML_TEXT, "inside");
    mm1_html_page_deinit(&page);
}

static void html_that_nests_too_deep_or_is_not_utf8_is_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_html_page page;
    mm1_buf html;
    mm1_buf_init(&html, 1 << 24);
    for (int i = 0; i < 200000; i++) {
        mm1_buf_puts(&html, "<div>");
    }
    assert_int_equal(mm1_html_extract(&page, mm1_buf_str(&html), html.len, &err), MM1_E_LIMIT);
    check_contains(err.message, "nested");
    assert_int_equal(page.n, 0);
    assert_int_equal(mm1_html_extract(&page, "<p>caf\xe9", 7, &err), MM1_E_FORMAT);
    mm1_html_page_deinit(&page);
    page = extract("<meta charset='iso-8859-1'><p>caf\xe9</p>");
    expect_block(&page, 0, MM1_HTML_TEXT, "caf\xc3\xa9");
    mm1_html_page_deinit(&page);
    page = extract("");
    assert_int_equal(page.n, 0);
    mm1_html_page_deinit(&page);
    mm1_buf_deinit(&html);
}

typedef struct place {
    char dir[256];
    mm1_build_source source;
    mm1_build_config config;
} place;

static void put_png(const place *p, const char *name, int number, int32_t width, int32_t height)
{
    mm1_error err = {0};
    mm1_image image;
    uint8_t *bytes = NULL;
    size_t len = 0;
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++) {
        image.rgb[i] = (uint8_t)(i * (size_t)(number + 3) / 7);
    }
    check_ok(mm1_image_encode_png(&image, &bytes, &len, &err), &err);
    put(p->dir, name, bytes, len);
    mm1_free(bytes);
    mm1_image_deinit(&image);
}

static const char *const filler =
    "These words only stand here so that the document has some text to go with its pictures.";

/* Documents of the built train split, as a JSON array. */
static json_t *read_documents(const place *p)
{
    mm1_error err = {0};
    mm1_tar_index index;
    json_t *all = json_array();
    char *path = mm1_path_join(p->config.out, "train/documents-0000.tar");
    check_ok(mm1_tar_index_open(&index, path, &err), &err);
    for (size_t i = 0; i < index.n; i++) {
        if (strcmp(mm1_path_extension(index.members[i].name), ".json") == 0) {
            json_array_append_new(all, json_loadb((const char *)index.members[i].data, index.members[i].size, 0, NULL));
        }
    }
    mm1_tar_index_close(&index);
    mm1_free(path);
    return all;
}

static int64_t dropped(const place *p, mm1_drop reason)
{
    mm1_error err = {0};
    char *text = NULL, *path = mm1_path_join(p->config.out, "summary.json");
    check_ok(mm1_file_read(path, 1 << 24, &text, NULL, &err), &err);
    json_t *root = json_loads(text, 0, NULL);
    const json_t *source = json_array_get(json_object_get(root, "sources"), 0);
    const int64_t n = json_integer_value(json_object_get(json_object_get(source, "dropped"), mm1_drop_text(reason)));
    json_decref(root);
    mm1_free(text);
    mm1_free(path);
    return n;
}

static void pages_become_interleaved_documents_and_every_drop_is_counted(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_build_summary summary;
    mm1_buf html;
    place p = {0};
    mm1_buf_init(&html, 1 << 20);
    check_tmpdir(p.dir, sizeof p.dir);
    p.config = mm1_build_config_default();
    p.config.root = p.dir;
    p.config.out = mm1_path_join(p.dir, "out");
    p.config.heldout_one_in = 0;
    p.config.max_words = 40;
    p.config.max_repeats = 2;
    p.config.sources = &p.source;
    p.config.n_sources = 1;
    p.source.kind = mm1_strdup("html");
    p.source.path = mm1_strdup("site");
    put_png(&p, "site/img/one.png", 1, 100, 80);
    put_png(&p, "site/img/two.png", 2, 100, 80);
    put_png(&p, "site/img/small.png", 3, 20, 20);
    put_png(&p, "site/img/wide.png", 4, 900, 64);
    put_png(&p, "site/img/often.png", 5, 90, 90);
    mm1_buf_printf(
        &html,
        "<body><h1>First</h1><p>Begin. %s</p><img src='img/one.png' alt='the first of all figures'><p>Then the "
        "end.</p><h2>Second</h2><p>Here is the second section. %s %s</p><img src='./x/../img/two.png'>"
        "<img src='img/two.png'><img src='img/small.png'><img src='img/wide.png'><img src='img/site-logo.png'>"
        "<img src='http://example.org/far.png'><img src='img/gone.png'><img src='../../../../etc/passwd'>"
        "<h2>Third</h2><p>Only text in this third section. %s</p><h2>Empty</h2></body>",
        filler, filler, filler,
        "It is long enough to be kept, since it has more than twenty words, or so it "
        "seems to the one who wrote them down.");
    put(p.dir, "site/page.html", mm1_buf_str(&html), html.len);
    for (int i = 0; i < 4; i++) { /* one figure and one paragraph on four pages */
        char name[32], text[512];
        (void)snprintf(name, sizeof name, "site/p%d.html", i);
        (void)snprintf(text, sizeof text,
                       "<p>Page %d has words of its own. %d</p><p>Note: all rights are reserved by "
                       "somebody, somewhere.</p><img src='img/often.png'>",
                       i, i);
        put(p.dir, name, text, strlen(text));
    }
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    json_t *documents = read_documents(&p);
    assert_int_equal(json_array_size(documents), 2);
    assert_int_equal(summary.train.documents, 2);
    assert_int_equal(summary.train.images, 2);
    bool first = false, second = false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *texts = json_object_get(json_array_get(documents, i), "texts");
        const json_t *images = json_object_get(json_array_get(documents, i), "images");
        const char *begin = json_string_value(json_array_get(texts, 0));
        assert_non_null(begin);
        assert_int_equal(json_array_size(texts), json_array_size(images));
        assert_true(json_is_null(json_array_get(texts, 1)));
        assert_true(json_is_null(json_array_get(images, 0)));
        check_contains(json_string_value(json_array_get(images, 1)), ".0.png");
        if (strncmp(begin, "First\n\nBegin. ", 13) == 0) {
            first = true;
            assert_int_equal(json_array_size(texts), 3);
            assert_string_equal(json_string_value(json_array_get(texts, 2)), "Then the end.");
        } else {
            second = strncmp(begin, "Second\n\nHere is", 15) == 0;
            assert_int_equal(json_array_size(texts), 2);
        }
    }
    assert_true(first && second);
    assert_int_equal(summary.train.captions, 1);
    assert_int_equal(summary.train.texts, 1); /* the third section */
    assert_int_equal(dropped(&p, MM1_DROP_TOO_SMALL), 1);
    assert_int_equal(dropped(&p, MM1_DROP_ASPECT), 1);
    assert_int_equal(dropped(&p, MM1_DROP_PICTURE_URL), 1);
    assert_int_equal(dropped(&p, MM1_DROP_PICTURE_REMOTE), 2); /* another host, outside of the root */
    assert_int_equal(dropped(&p, MM1_DROP_PICTURE_MISSING), 1);
    assert_int_equal(dropped(&p, MM1_DROP_PICTURE_AGAIN), 1);
    assert_int_equal(dropped(&p, MM1_DROP_PICTURE_FREQUENT), 4);
    assert_int_equal(dropped(&p, MM1_DROP_PARAGRAPH_FREQUENT), 4);
    json_decref(documents);
    mm1_build_summary_deinit(&summary);
    check_ok(mm1_path_remove(p.dir, &err), &err);
    mm1_free(p.config.out);
    mm1_free(p.source.kind);
    mm1_free(p.source.path);
    mm1_buf_deinit(&html);
}

static void xml_gives_tags_attributes_and_text_and_survives_nonsense(void **state)
{
    (void)state;
    const char *xml =
        "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x '>'>]><!-- <no> --><a:b c='1 &amp; 2' d:e=\"&#x41;\">"
        "t&lt;<i>u</i><![CDATA[<v>&amp;]]></a:b><empty/>";
    mm1_buf out;
    mm1_buf_init(&out, 4096);
    mm1_xml x = mm1_xml_begin(xml, strlen(xml));
    assert_int_equal(mm1_xml_next(&x), MM1_XML_OPEN);
    assert_true(mm1_xml_is(&x, MM1_XML_OPEN, "b"));
    assert_true(mm1_xml_attribute(&x, "c", &out));
    assert_true(mm1_xml_attribute(&x, "e", &out));
    assert_false(mm1_xml_attribute(&x, "f", &out));
    assert_string_equal(mm1_buf_str(&out), "1 & 2A");
    mm1_buf_clear(&out);
    mm1_xml_text(&x, &out);
    assert_string_equal(mm1_buf_str(&out), "t< u <v>&amp; ");
    assert_int_equal(mm1_xml_next(&x), MM1_XML_OPEN);
    assert_true(x.is_empty);
    assert_int_equal(mm1_xml_next(&x), MM1_XML_END);
    /* Every beginning of it, and every one with a byte changed, ends. */
    for (size_t n = 0; n <= strlen(xml); n++) {
        char copy[256];
        memcpy(copy, xml, n);
        if (n > 0) {
            copy[n / 2] = '<';
        }
        char *exact = mm1_alloc(n, 1); /* so that a sanitizer sees a read past the end */
        assert_non_null(exact);
        memcpy(exact, copy, n);
        x = mm1_xml_begin(exact, n);
        int steps = 0;
        while (mm1_xml_next(&x) != MM1_XML_END) {
            mm1_buf_clear(&out);
            (void)mm1_xml_attribute(&x, "c", &out);
            assert_true(++steps < 1000);
        }
        mm1_free(exact);
    }
    mm1_buf_deinit(&out);
}

static void expect_key(const char *text, const char *key)
{
    mm1_buf out;
    mm1_buf_init(&out, 4096);
    mm1_prose_key(&out, text, strlen(text));
    assert_string_equal(mm1_buf_str(&out), key);
    mm1_buf_deinit(&out);
}

static void captions_are_compared_without_case_accents_articles_and_points(void **state)
{
    (void)state;
    expect_key("An Indian blackbuck.", "indian blackbuck");
    expect_key("  THE  Caf\xc3\xa9, a \"bar\" ", "cafe bar");
    expect_key("The", "The"); /* nothing else would be left */
    expect_key("wheel-chair #3", "wheel chair 3");
    expect_key("", "");
    mm1_buf out;
    mm1_buf_init(&out, 4096);
    assert_true(mm1_prose_squeeze(&out, " a\xc2\xa0\t b\xc2\xad\n", 10));
    assert_string_equal(mm1_buf_str(&out), "a b");
    assert_false(mm1_prose_squeeze(&out, "\xff", 1));
    mm1_buf_clear(&out);
    mm1_prose_from_name(&out, "BigRedBall_02-photo_01", 22);
    assert_string_equal(mm1_buf_str(&out), "Big Red Ball 02 photo");
    mm1_buf_deinit(&out);
    assert_int_equal(mm1_prose_words(" two words ", 11), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_gives_what_a_reader_reads_in_its_order),
        cmocka_unit_test(only_the_main_part_is_taken_if_the_page_marks_one),
        cmocka_unit_test(html_that_nests_too_deep_or_is_not_utf8_is_refused),
        cmocka_unit_test(pages_become_interleaved_documents_and_every_drop_is_counted),
        cmocka_unit_test(xml_gives_tags_attributes_and_text_and_survives_nonsense),
        cmocka_unit_test(captions_are_compared_without_case_accents_articles_and_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

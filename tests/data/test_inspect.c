/* What `mm1 data inspect` shows: text with marks, and the page with its pictures. */
#include "data_fixture.h"

#include "base/utf8.h"
#include "data/inspect.h"

static void one_caption(fixture *f, const char *text)
{
    fixture_init(f);
    mm1_tar_writer *w = fixture_tar(f, "one.tar");
    fixture_append_png(w, "0.png", 200);
    fixture_append(w, "0.txt", text, strlen(text));
    fixture_finish(w);
    fixture_sources(f, "[{name: captions, kind: captions, path: '@one.tar'}]");
    f->config.seq_len = 24;
    f->config.batch = 1;
    f->config.max_images = 1;
}

static void text_shows_tokens_slots_marks_and_boundaries(void **state)
{
    (void)state;
    fixture f;
    one_caption(&f, "zq");
    mm1_error err = {0};
    mm1_loader *l = NULL;
    mm1_buf text;
    const mm1_loader_options options = fixture_options(&f, 1);
    mm1_buf_init(&text, 1 << 16);
    check_ok(mm1_loader_create(&options, &l, &err), &err);
    check_ok(mm1_data_inspect(l, 1, &text, NULL, &err), &err);
    static const char want[] = "row 0: captions; 8 of 24 positions used, 1 example, 1 image, 3 tokens learned\n"
                               "  example 0: 8 positions\n"
                               "         0 |<|endoftext|>|[image 0: 4 slots]|z|q|<|endoftext|>|\n"
                               "                                             ^ ^ ^^^^^^^^^^^^^\n"
                               "captions: ";
    assert_memory_equal(mm1_buf_str(&text), want, sizeof want - 1);
    mm1_loader_destroy(l);
    mm1_buf_deinit(&text);
    fixture_deinit(&f);
}

static void data_cannot_write_to_the_terminal_or_the_page(void **state)
{
    (void)state;
    fixture f;
    one_caption(&f, "\x1b[2J<b>\xff\xe2\x80\xae\n<i>");
    mm1_error err = {0};
    mm1_loader *l = NULL;
    mm1_buf text, html;
    const mm1_loader_options options = fixture_options(&f, 1);
    mm1_buf_init(&text, 1 << 16);
    mm1_buf_init(&html, 1 << 20);
    check_ok(mm1_loader_create(&options, &l, &err), &err);
    check_ok(mm1_data_inspect(l, 1, &text, &html, &err), &err);
    assert_null(strchr(mm1_buf_str(&text), '\x1b'));
    check_contains(mm1_buf_str(&text), "\\u{1b}");
    check_contains(mm1_buf_str(&text), "\\xff");
    check_contains(mm1_buf_str(&text), "\\n");
    assert_null(strstr(mm1_buf_str(&html), "<b>"));
    assert_null(strchr(mm1_buf_str(&html), '\x1b'));
    assert_int_equal(mm1_utf8_valid(mm1_buf_str(&html), html.len), html.len);
    mm1_loader_destroy(l);
    mm1_buf_deinit(&text);
    mm1_buf_deinit(&html);
    fixture_deinit(&f);
}

static uint8_t *decode_base64(const char *s, size_t *n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *out = mm1_alloc(strlen(s), 1);
    uint32_t bits = 0;
    int n_bits = 0;
    *n = 0;
    assert_non_null(out);
    for (const char *d; *s != '\0' && (d = strchr(digits, *s)) != NULL; s++) {
        bits = bits << 6 | (uint32_t)(d - digits);
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[(*n)++] = (uint8_t)(bits >> n_bits);
        }
    }
    return out;
}

static void the_page_holds_every_picture_as_the_model_sees_it(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    mm1_error err = {0};
    mm1_loader *l = NULL, *again = NULL;
    mm1_buf html;
    const mm1_loader_options options = fixture_options(&f, 2);
    mm1_buf_init(&html, 1 << 24);
    check_ok(mm1_loader_create(&options, &l, &err), &err);
    check_ok(mm1_data_inspect(l, 6, NULL, &html, &err), &err); /* more than one batch of 4 rows */
    check_ok(mm1_loader_create(&options, &again, &err), &err);
    const char *at = mm1_buf_str(&html);
    int n_sections = 0;
    for (const char *p = at; (p = strstr(p, "<section>")) != NULL; p++) {
        n_sections++;
    }
    assert_int_equal(n_sections, 6);
    assert_null(strstr(at, "http"));
    assert_null(strstr(at, "<script"));
    for (int64_t rows = 0; rows < 6;) {
        const mm1_batch *b = NULL;
        check_ok(mm1_loader_next(again, &b, NULL, NULL, &err), &err);
        int64_t image = 0;
        for (int64_t row = 0; row < b->B && rows < 6; row++, rows++) {
            for (int64_t k = 0; k < b->row_images[row]; k++, image++) {
                static const char mark[] = "src=\"data:image/png;base64,";
                size_t len = 0;
                mm1_image picture;
                at = strstr(at, mark);
                assert_non_null(at);
                at += sizeof mark - 1;
                uint8_t *png = decode_base64(at, &len);
                check_ok(mm1_image_decode(png, len, &mm1_image_limits_default, "page", &picture, &err), &err);
                mm1_free(png);
                assert_int_equal(picture.width, FIXTURE_PX);
                const float *p = b->pixels + image * 3 * FIXTURE_PX * FIXTURE_PX;
                float pixels[3 * FIXTURE_PX * FIXTURE_PX];
                mm1_image_normalize(pixels, &picture, options.images.mean, options.images.std);
                assert_memory_equal(pixels, p, sizeof pixels);
                mm1_image_deinit(&picture);
            }
        }
    }
    assert_null(strstr(at, "src=\"data"));
    check_contains(at, "</html>");
    check_contains(at, "captions: ");
    mm1_loader_destroy(l);
    mm1_loader_destroy(again);
    mm1_buf_deinit(&html);
    fixture_deinit(&f);
}

static void a_full_buffer_is_an_error(void **state)
{
    (void)state;
    fixture f;
    one_caption(&f, "zq");
    mm1_error err = {0};
    mm1_loader *l = NULL;
    mm1_buf text;
    const mm1_loader_options options = fixture_options(&f, 1);
    mm1_buf_init(&text, 100);
    check_ok(mm1_loader_create(&options, &l, &err), &err);
    assert_int_equal(mm1_data_inspect(l, 3, &text, NULL, &err), MM1_E_LIMIT);
    mm1_loader_destroy(l);
    mm1_buf_deinit(&text);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_shows_tokens_slots_marks_and_boundaries),
        cmocka_unit_test(data_cannot_write_to_the_terminal_or_the_page),
        cmocka_unit_test(the_page_holds_every_picture_as_the_model_sees_it),
        cmocka_unit_test(a_full_buffer_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

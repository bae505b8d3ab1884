/* From tokens to text: whole characters, stop strings, reasons to end. */
#include "support/check.h"

#include "generate/generate.h"
#include "generate/generate_fixture.h"
#include "generate/text_out.h"
#include "text/utf8.h"

/* ---- text_out alone ---- */

/* Feeds bytes in pieces of `step`; everything taken is whole characters and the sum is the text. */
static void check_text_out(const char *bytes, size_t step, const char *const *stop, size_t n_stop, const char *want,
                           bool want_stopped)
{
    const size_t len = strlen(bytes);
    mm1_text_out o;
    mm1_error err = {0};
    mm1_buf taken;
    mm1_buf_init(&taken, 1 << 16);
    check_ok(mm1_text_out_init(&o, stop, n_stop, &err), &err);
    for (size_t at = 0; at <= len; at += step) {
        if (at + step <= len) {
            check_ok(mm1_text_out_add(&o, bytes + at, step, &err), &err);
        } else {
            check_ok(mm1_text_out_add(&o, bytes + at, len - at, &err), &err);
            check_ok(mm1_text_out_finish(&o, &err), &err);
        }
        size_t n = 0;
        const char *piece = mm1_text_out_take(&o, &n);
        assert_int_equal(mm1_utf8_valid(piece, n), n);
        mm1_buf_append(&taken, piece, n);
    }
    assert_string_equal(mm1_buf_str(&taken), want);
    assert_int_equal(taken.len, strlen(want));
    assert_string_equal(mm1_buf_str(&o.text), want);
    assert_int_equal(o.is_stopped, want_stopped);
    mm1_buf_deinit(&taken);
    mm1_text_out_deinit(&o);
}

static void pieces_are_whole_characters_however_tokens_cut_them(void **state)
{
    (void)state;
    static const char text[] = "a\xc3\xa9\xe6\x97\xa5 \xf0\x9f\x98\x80.";
    for (size_t step = 1; step < 8; step++) {
        check_text_out(text, step, NULL, 0, text, false);
    }
}

static void bytes_that_are_no_character_become_one_sign_however_they_are_cut(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe6\x97"
         "x",
         "\xef\xbf\xbd"
         "x"}, /* a cut character is one */
        {"\xf0\x9f\x98"
         "x\xc3",
         "\xef\xbf\xbd"
         "x\xef\xbf\xbd"}, /* and so at the end */
        {"\xe6\x97\xe6\x97\xa5", "\xef\xbf\xbd\xe6\x97\xa5"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
        {"\x80\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 1; step < 6; step++) {
            check_text_out(cases[i].bytes, step, NULL, 0, cases[i].want, false);
        }
    }
}

static void the_first_stop_string_ends_the_text_and_no_part_of_it_is_shown(void **state)
{
    (void)state;
    const char *stop[] = {"###", "\n\nQ:", "\xc3\xa9nd"};
    for (size_t step = 1; step < 9; step++) {
        check_text_out("one ## two # three", step, stop, 3, "one ## two # three", false);
        check_text_out("one ## two###three", step, stop, 3, "one ## two", true);
        check_text_out("a\n\n\nQ: b###", step, stop, 3, "a\n", true);
        check_text_out("####", step, stop, 3, "", true);
        check_text_out("x ##", step, stop, 3, "x ##", false); /* held back, then given out */
        check_text_out("caf\xc3\xa9 f\xc3\xa9nd x", step, stop, 3, "caf\xc3\xa9 f", true);
        check_text_out("\xc3", step, stop, 3, "\xef\xbf\xbd", false);
    }
}

static void a_possible_start_of_a_stop_string_waits(void **state)
{
    (void)state;
    mm1_text_out o;
    mm1_error err = {0};
    const char *stop[] = {"END"};
    size_t n = 0;
    check_ok(mm1_text_out_init(&o, stop, 1, &err), &err);
    check_ok(mm1_text_out_add(&o, "the E", 5, &err), &err);
    assert_memory_equal(mm1_text_out_take(&o, &n), "the ", 4);
    assert_int_equal(n, 4);
    check_ok(mm1_text_out_add(&o, "N", 1, &err), &err);
    (void)mm1_text_out_take(&o, &n);
    assert_int_equal(n, 0);
    check_ok(mm1_text_out_add(&o, "E", 1, &err), &err);
    assert_memory_equal(mm1_text_out_take(&o, &n), "EN", 2);
    assert_int_equal(n, 2);
    mm1_text_out_deinit(&o);

    stop[0] = "";
    assert_int_equal(mm1_text_out_init(&o, stop, 1, &err), MM1_E_ARG);
    stop[0] = "\xff";
    assert_int_equal(mm1_text_out_init(&o, stop, 1, &err), MM1_E_ARG);
}

/* ---- with a model ---- */

typedef struct collected {
    mm1_buf text;
    int n_pieces, n_wanted; /* 0: all */
} collected;

static bool collect(void *ctx, const char *text, size_t len)
{
    collected *c = ctx;
    assert_true(len > 0);
    assert_int_equal(mm1_utf8_valid(text, len), len);
    mm1_buf_append(&c->text, text, len);
    return ++c->n_pieces != c->n_wanted;
}

typedef struct speaker {
    mm1_model model;
    mm1_session *session;
    mm1_document prompt;
} speaker;

/* Says `text` after the prompt, an image and nothing else. */
static void setup(speaker *s, const char *text)
{
    mm1_error err = {0};
    make_document(&s->prompt, "i");
    fixture_model_by_heart_text(&s->model, FIXTURE_SLOTS, text);
    check_ok(mm1_session_create(&s->model, 128, &s->session, &err), &err);
}

static void teardown(speaker *s)
{
    mm1_session_destroy(s->session);
    mm1_model_deinit(&s->model);
    mm1_document_deinit(&s->prompt);
}

static void check_generate(speaker *s, const mm1_generate_params *p, const char *want, mm1_finish finish)
{
    mm1_generated g;
    mm1_error err = {0};
    collected c = {0};
    mm1_buf_init(&c.text, 1 << 16);
    check_ok(mm1_generate(s->session, &s->prompt, p, collect, &c, &g, &err), &err);
    assert_string_equal(g.text, want);
    assert_int_equal(g.len, strlen(want));
    assert_string_equal(mm1_buf_str(&c.text), want);
    assert_int_equal(g.finish, finish);
    assert_int_equal(g.n_prompt_tokens, 1 + FIXTURE_SLOTS);
    assert_int_equal(g.n_images, 1);
    assert_true(g.prompt_seconds > 0 && g.generate_seconds > 0);
    mm1_generated_deinit(&g);
    mm1_buf_deinit(&c.text);
}

static void a_text_ends_by_itself_by_a_stop_string_or_by_its_length(void **state)
{
    (void)state;
    static const char text[] = "the cat \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 sat. STOP here";
    speaker s;
    mm1_generate_params p = mm1_generate_defaults();
    setup(&s, text);
    check_generate(&s, &p, text, MM1_FINISH_STOP);
    const char *stop[] = {"nothing", "STOP"};
    p.stop = stop;
    p.n_stop = 2;
    check_generate(&s, &p, "the cat \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 sat. ", MM1_FINISH_STOP);
    stop[1] = "the"; /* at the very start */
    check_generate(&s, &p, "", MM1_FINISH_STOP);

    /* One token after the other: a cut character is not shown before it is whole, or the text is over. */
    mm1_ids ids = {0};
    mm1_error err = {0};
    p.n_stop = 0;
    check_ok(mm1_tokenizer_encode(s.model.tokenizer, text, strlen(text), &ids, &err), &err);
    for (size_t n = 1; n <= ids.n; n++) {
        char *want = NULL;
        size_t len = 0;
        check_ok(mm1_tokenizer_decode(s.model.tokenizer, ids.items, n, &want, &len, &err), &err);
        p.max_tokens = (int64_t)n;
        mm1_generated g;
        check_ok(mm1_generate(s.session, &s.prompt, &p, NULL, NULL, &g, &err), &err);
        assert_int_equal(g.n_tokens, n);
        assert_int_equal(g.finish, MM1_FINISH_LENGTH);
        const size_t whole = len - mm1_utf8_incomplete_tail(want, len);
        assert_memory_equal(g.text, want, whole);
        assert_string_equal(g.text + whole, whole == len ? "" : "\xef\xbf\xbd");
        mm1_generated_deinit(&g);
        mm1_free(want);
    }
    mm1_ids_free(&ids);
    teardown(&s);
}

static void the_context_ends_a_text_where_it_is_full(void **state)
{
    (void)state;
    speaker s;
    mm1_error err = {0};
    mm1_generated g;
    mm1_generate_params p = mm1_generate_defaults();
    setup(&s, "one two three cats and the other ball sat there and there and there");
    for (int64_t room = 1 + FIXTURE_SLOTS; room < 12; room++) {
        mm1_session_destroy(s.session);
        check_ok(mm1_session_create(&s.model, room, &s.session, &err), &err);
        check_ok(mm1_generate(s.session, &s.prompt, &p, NULL, NULL, &g, &err), &err);
        assert_int_equal(g.finish, MM1_FINISH_LENGTH);
        assert_int_equal(g.n_tokens, room - FIXTURE_SLOTS); /* the last one is not read any more */
        mm1_generated_deinit(&g);
    }
    teardown(&s);
}

static void the_receiver_may_end_it(void **state)
{
    (void)state;
    speaker s;
    mm1_error err = {0};
    mm1_generated g;
    mm1_generate_params p = mm1_generate_defaults();
    collected c = {.n_wanted = 2};
    mm1_buf_init(&c.text, 1 << 16);
    setup(&s, "one two three cats");
    assert_int_equal(mm1_generate(s.session, &s.prompt, &p, collect, &c, &g, &err), MM1_E_CANCELLED);
    assert_int_equal(c.n_pieces, 2);
    assert_null(g.text);
    p.max_tokens = 0;
    assert_int_equal(mm1_generate(s.session, &s.prompt, &p, NULL, NULL, &g, &err), MM1_E_ARG);
    mm1_buf_deinit(&c.text);
    teardown(&s);
}

static void equal_seeds_give_equal_texts(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    mm1_document d;
    mm1_generated g[3];
    mm1_generate_params p = mm1_generate_defaults();
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    make_document(&d, "itit");
    check_ok(mm1_session_create(&m, 0, &s, &err), &err);
    p.sampling.temperature = 1;
    for (int i = 0; i < 3; i++) {
        p.sampling.seed = i == 2 ? 6 : 5;
        check_ok(mm1_generate(s, &d, &p, NULL, NULL, &g[i], &err), &err);
        assert_int_equal(mm1_utf8_valid(g[i].text, g[i].len), g[i].len);
    }
    assert_string_equal(g[0].text, g[1].text);
    assert_string_not_equal(g[0].text, g[2].text);
    for (int i = 0; i < 3; i++) {
        mm1_generated_deinit(&g[i]);
    }
    mm1_session_destroy(s);
    mm1_document_deinit(&d);
    mm1_model_deinit(&m);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    speaker s;
    mm1_generate_params p = mm1_generate_defaults();
    const char *stop[] = {"STOP"};
    p.stop = stop;
    p.n_stop = 1;
    setup(&s, "the cat sat STOP");
    const size_t live = mm1_alloc_bytes();
    mm1_status st = MM1_E_NOMEM;
    for (uint64_t n = 1; st != MM1_OK; n++) {
        mm1_generated g;
        mm1_error err = {0};
        mm1_alloc_fail_at(n);
        st = mm1_generate(s.session, &s.prompt, &p, NULL, NULL, &g, &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || (st == MM1_E_NOMEM && g.text == NULL));
        mm1_generated_deinit(&g);
        assert_int_equal(mm1_alloc_bytes(), live);
    }
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_whole_characters_however_tokens_cut_them),
        cmocka_unit_test(bytes_that_are_no_character_become_one_sign_however_they_are_cut),
        cmocka_unit_test(the_first_stop_string_ends_the_text_and_no_part_of_it_is_shown),
        cmocka_unit_test(a_possible_start_of_a_stop_string_waits),
        cmocka_unit_test(a_text_ends_by_itself_by_a_stop_string_or_by_its_length),
        cmocka_unit_test(the_context_ends_a_text_where_it_is_full),
        cmocka_unit_test(the_receiver_may_end_it),
        cmocka_unit_test(equal_seeds_give_equal_texts),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, fixture_group_setup, NULL);
}

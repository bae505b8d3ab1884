/* The text that a tokenizer is trained on. */
#include "data_fixture.h"

#include "base/hash.h"
#include "data/text_stream.h"

/* A hash of all texts in order, and their bytes. */
static uint64_t read_all(const mm1_data_config *config, int64_t max_bytes, int64_t *bytes)
{
    mm1_error err = {0};
    mm1_text_stream *s = NULL;
    const char *text = NULL;
    size_t len = 0;
    uint64_t h = 0;
    check_ok(mm1_text_stream_open(config, max_bytes, &s, &err), &err);
    while (mm1_text_stream_next(s, &text, &len)) {
        h = mm1_hash64(text, len, h);
    }
    check_ok(mm1_text_stream_status(s, &err), &err);
    *bytes = mm1_text_stream_bytes(s);
    mm1_text_stream_close(s);
    return h;
}

static void sources_take_turns_until_all_are_read_or_it_is_enough(void **state)
{
    (void)state;
    fixture f;
    int64_t all = 0, some = 0, texts = 0;
    fixture_init(&f);
    fixture_three_sources(&f);
    (void)read_all(&f.config, INT64_MAX, &all);
    (void)read_all(&f.config, 500, &some);
    assert_in_range(some, 500, 1500);
    fixture_sources(&f, "[]");
    fixture_sources(&f, "[{name: text, kind: text, path: '@text-*.jsonl.zst'}]");
    (void)read_all(&f.config, INT64_MAX, &texts);
    assert_true(texts > 0 && all > texts);
    fixture_deinit(&f);
}

static void the_same_files_in_two_sources_count_once(void **state)
{
    (void)state;
    fixture f;
    int64_t one = 0, two = 0, more = 0;
    fixture_init(&f);
    fixture_three_sources(&f);
    const uint64_t before = read_all(&f.config, INT64_MAX, &one);
    fixture_sources(&f, "[]");
    fixture_sources(&f, "[{name: captions, kind: captions, path: '@captions-{0000..0001}.tar', weight: 0.25},"
                        " {name: series, kind: captions, path: '@captions-{0000..0001}.tar', weight: 0.2, together: 4},"
                        " {name: pages, kind: interleaved, path: '@pages-*.tar', weight: 0.45, max_images: 3},"
                        " {name: text, kind: text, path: '@text-*.jsonl.zst', weight: 0.1}]");
    const uint64_t after = read_all(&f.config, INT64_MAX, &two);
    assert_int_equal(one, two);
    assert_true(before == after);
    /* Another field of the same files is another text. */
    fixture_sources(&f, "[]");
    fixture_sources(&f, "[{name: captions, kind: captions, path: '@captions-{0000..0001}.tar', weight: 0.25},"
                        " {name: keywords, kind: captions, path: '@captions-{0000..0001}.tar', weight: 0.2,"
                        "  text_field: keywords},"
                        " {name: pages, kind: interleaved, path: '@pages-*.tar', weight: 0.45, max_images: 3},"
                        " {name: text, kind: text, path: '@text-*.jsonl.zst', weight: 0.1}]");
    (void)read_all(&f.config, INT64_MAX, &more);
    assert_true(more != one);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_take_turns_until_all_are_read_or_it_is_enough),
        cmocka_unit_test(the_same_files_in_two_sources_count_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

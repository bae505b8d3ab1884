/* test_cider.c - caption words and CIDEr-D against coco-caption's own results (tools/golden_cider.py). */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "eval/cider.h"
#include "eval/ptb.h"
#include <jansson.h>

static json_t *golden;

static int load_golden(void **state)
{
    (void)state;
    golden = json_load_file(MM1_TEST_DATA "/eval/cider.json", 0, NULL);
    return golden == NULL;
}

static int free_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    assert_non_null(s);
    return s;
}

/* The golden items; free `references` of each, then the array. */
static mm1_caption_item *golden_items(const char *candidate_key, const char *references_key, size_t *n)
{
    const json_t *list = json_object_get(golden, "items");
    *n = json_array_size(list);
    mm1_caption_item *items = mm1_calloc(*n, sizeof *items);
    assert_non_null(items);
    for (size_t i = 0; i < *n; i++) {
        const json_t *item = json_array_get(list, i), *refs = json_object_get(item, references_key);
        const char **references = mm1_calloc(json_array_size(refs), sizeof *references);
        assert_non_null(references);
        for (size_t r = 0; r < json_array_size(refs); r++) {
            references[r] = json_string_value(json_array_get(refs, r));
        }
        items[i] = (mm1_caption_item){
            .candidate = text_of(item, candidate_key), .references = references, .n_references = json_array_size(refs)};
    }
    return items;
}

static void free_items(mm1_caption_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mm1_free((void *)(uintptr_t)items[i].references);
    }
    mm1_free(items);
}

static void check_words(mm1_ptb *ptb, const char *text, const char *want)
{
    mm1_error err = {0};
    mm1_buf got;
    mm1_buf_init(&got, 1 << 20);
    check_ok(mm1_ptb_tokenize(ptb, text, strlen(text), &got, &err), &err);
    if (strcmp(mm1_buf_str(&got), want) != 0) {
        print_error("caption: %s\ngot:     %s\nwant:    %s\n", text, mm1_buf_str(&got), want);
        fail();
    }
    mm1_buf_deinit(&got);
}

static void words_equal_those_of_the_stanford_tokeniser(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_ptb *ptb = NULL;
    check_ok(mm1_ptb_create(&ptb, &err), &err);
    const json_t *list = json_object_get(golden, "items");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        check_words(ptb, text_of(item, "candidate"), text_of(item, "candidate_words"));
        const json_t *refs = json_object_get(item, "references"), *words = json_object_get(item, "reference_words");
        for (size_t r = 0; r < json_array_size(refs); r++, n++) {
            check_words(ptb, json_string_value(json_array_get(refs, r)), json_string_value(json_array_get(words, r)));
        }
    }
    assert_true(json_array_size(list) >= 200 && n >= 200);
    mm1_ptb_destroy(ptb);
}

/* As the original gave it for these lines. */
static void names_of_files_and_entities_of_letters_are_words(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_ptb *ptb = NULL;
    check_ok(mm1_ptb_create(&ptb, &err), &err);
    check_words(ptb, "see a-b.py and a_b.py, x.y.py", "see a-b py and a_b py x.y.py");
    check_words(ptb, "see 2.py here, 2.tiff there", "see 2.py here 2 tiff there");
    check_words(ptb, "flag W&uuml;rttemberg, &auml;pfel caf&eacute;", "flag w&uuml;rttemberg &auml;pfel caf&eacute;");
    check_words(ptb, "fa&ccedil;ade", "fa & ccedil ade");
    mm1_ptb_destroy(ptb);
}

static void bytes_that_are_no_text_only_separate_words(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_ptb *ptb = NULL;
    mm1_buf got;
    check_ok(mm1_ptb_create(&ptb, &err), &err);
    mm1_buf_init(&got, 1 << 10);
    static const char bytes[] = "a\0cat\xFF\xFEon\xC3 the\nmat\xE2\x82";
    check_ok(mm1_ptb_tokenize(ptb, bytes, sizeof bytes - 1, &got, &err), &err);
    assert_string_equal(mm1_buf_str(&got), "a cat on the mat");
    check_ok(mm1_ptb_tokenize(ptb, "", 0, &got, &err), &err);
    assert_string_equal(mm1_buf_str(&got), "");
    assert_int_equal(mm1_ptb_tokenize(ptb, bytes, (size_t)1 << 30, &got, &err), MM1_E_LIMIT);
    mm1_buf_deinit(&got);
    mm1_ptb_destroy(ptb);
}

static void scores_equal_those_of_coco_caption(void **state)
{
    (void)state;
    static const char *const keys[][2] = {{"candidate", "references"}, {"candidate_words", "reference_words"}};
    for (int raw = 0; raw < 2; raw++) {
        mm1_error err = {0};
        size_t n = 0;
        double mean = 0, largest = 0;
        mm1_caption_item *items = golden_items(keys[raw][0], keys[raw][1], &n);
        double *scores = mm1_calloc(n, sizeof *scores);
        assert_non_null(scores);
        check_ok((raw == 0 ? mm1_cider_score : mm1_cider_score_words)(items, n, scores, &mean, &err), &err);
        for (size_t i = 0; i < n; i++) {
            const json_t *item = json_array_get(json_object_get(golden, "items"), i);
            const double want = json_real_value(json_object_get(item, "score"));
            if (!(fabs(scores[i] - want) <= 1e-6)) {
                print_error("item %zu: got %.9f, want %.9f\n", i, scores[i], want);
                fail();
            }
            largest = scores[i] > largest ? scores[i] : largest;
        }
        assert_true(fabs(mean - json_real_value(json_object_get(golden, "mean"))) <= 1e-6);
        assert_true(largest > 9.9); /* some candidates are their own reference */
        mm1_free(scores);
        free_items(items, n);
    }
}

static void nothing_scores_nothing_and_one_item_scores_zero(void **state)
{
    (void)state;
    mm1_error err = {0};
    double mean = 7, score = 7;
    check_ok(mm1_cider_score(NULL, 0, NULL, &mean, &err), &err);
    assert_true(isnan(mean));

    const char *reference = "a cat on a mat";
    const mm1_caption_item item = {.candidate = "a cat on a mat", .references = &reference, .n_references = 1};
    check_ok(mm1_cider_score(&item, 1, &score, &mean, &err), &err);
    assert_true(score == 0 && mean == 0);
}

static void an_item_without_reference_is_an_error_that_names_it(void **state)
{
    (void)state;
    mm1_error err = {0};
    double mean = 0;
    const char *reference = "a cat";
    const mm1_caption_item items[] = {{.candidate = "x", .references = &reference, .n_references = 1},
                                      {.candidate = "y", .references = NULL, .n_references = 0}};
    assert_int_equal(mm1_cider_score(items, 2, NULL, &mean, &err), MM1_E_ARG);
    check_contains(err.message, "item 1 of 2");
}

static void running_out_of_memory_anywhere_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    const char *references[] = {"a cat on a mat", "the cat sat"};
    const mm1_caption_item items[] = {{.candidate = "a cat", .references = references, .n_references = 2},
                                      {.candidate = "the dog", .references = references, .n_references = 1}};
    const size_t before = mm1_alloc_bytes();
    bool done = false;
    for (uint64_t at = 1; !done && at < 10000; at++) {
        mm1_error err = {0};
        double mean = 0;
        mm1_alloc_fail_at(at);
        const mm1_status st = mm1_cider_score(items, 2, NULL, &mean, &err);
        mm1_alloc_fail_at(0);
        done = st == MM1_OK;
        assert_true(done || st == MM1_E_NOMEM);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_equal_those_of_the_stanford_tokeniser),
        cmocka_unit_test(names_of_files_and_entities_of_letters_are_words),
        cmocka_unit_test(bytes_that_are_no_text_only_separate_words),
        cmocka_unit_test(scores_equal_those_of_coco_caption),
        cmocka_unit_test(nothing_scores_nothing_and_one_item_scores_zero),
        cmocka_unit_test(an_item_without_reference_is_an_error_that_names_it),
        cmocka_unit_test(running_out_of_memory_anywhere_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}

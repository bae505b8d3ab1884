/* test_metrics.c - captions and answers against the reference implementations (tools/golden_metrics.py), and the demo's
 * held-out captions, where they are there (tools/golden_heldout.py). */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "eval/answer.h"
#include "eval/bench_reader.h"
#include "eval/bleu.h"
#include "eval/cider.h"
#include "eval/rouge.h"
#include <ctype.h>
#include <jansson.h>
#include <math.h>

static json_t *golden;

static int load_golden(void **state)
{
    (void)state;
    golden = json_load_file(MM1_TEST_DATA "/eval/metrics.json", 0, NULL);
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

static double number_of(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

/* The strings of a list; freed by the caller. */
static const char **texts_of(const json_t *object, const char *key, size_t *n)
{
    const json_t *list = json_object_get(object, key);
    *n = json_array_size(list);
    const char **texts = mm1_calloc(*n, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < *n; i++) {
        texts[i] = json_string_value(json_array_get(list, i));
        assert_non_null(texts[i]);
    }
    return texts;
}

static void assert_near(double got, double want, const char *what, size_t i)
{
    if (!(fabs(got - want) <= 1e-6)) {
        fail_msg("%s, item %zu: %.9f, not %.9f", what, i, got, want);
    }
}

static mm1_caption_item *caption_items(const json_t *list, size_t *n)
{
    *n = json_array_size(list);
    assert_true(*n >= 500);
    mm1_caption_item *items = mm1_calloc(*n, sizeof *items);
    assert_non_null(items);
    for (size_t i = 0; i < *n; i++) {
        const json_t *x = json_array_get(list, i);
        items[i].candidate = text_of(x, "candidate");
        items[i].references = texts_of(x, "references", &items[i].n_references);
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

static void captions_score_as_coco_caption_scores_them(void **state)
{
    const json_t *list = json_object_get(golden, "captions"), *means = json_object_get(golden, "means");
    size_t n = 0;
    mm1_error err = {0};
    (void)state;
    mm1_caption_item *items = caption_items(list, &n);
    double *scores = mm1_calloc(n, sizeof *scores), mean = 0, bleu[MM1_BLEU_MAX_N];

    assert_int_equal(mm1_cider_score(items, n, scores, &mean, &err), MM1_OK);
    assert_near(mean, number_of(means, "cider"), "mean CIDEr-D", 0);
    for (size_t i = 0; i < n; i++) {
        assert_near(scores[i], number_of(json_array_get(list, i), "cider"), "CIDEr-D", i);
    }
    assert_int_equal(mm1_bleu_score(items, n, true, scores, bleu, &err), MM1_OK);
    for (size_t k = 0; k < MM1_BLEU_MAX_N; k++) {
        assert_near(bleu[k], json_number_value(json_array_get(json_object_get(means, "bleu"), k)), "corpus BLEU", k);
    }
    for (size_t i = 0; i < n; i++) {
        assert_near(scores[i], number_of(json_array_get(list, i), "bleu4"), "BLEU-4", i);
    }
    assert_int_equal(mm1_rouge_score(items, n, true, scores, &mean, &err), MM1_OK);
    assert_near(mean, number_of(means, "rougel"), "mean ROUGE-L", 0);
    for (size_t i = 0; i < n; i++) {
        assert_near(scores[i], number_of(json_array_get(list, i), "rougel"), "ROUGE-L", i);
    }
    mm1_free(scores);
    free_items(items, n);
}

static void captions_of_nothing_score_nothing(void **state)
{
    const char *const references[] = {"a b c d e", "a b"};
    mm1_caption_item item = {"", references, 2};
    double score = -1, mean = -1, bleu[MM1_BLEU_MAX_N];
    mm1_error err = {0};
    (void)state;
    assert_int_equal(mm1_bleu_score(&item, 1, false, &score, bleu, &err), MM1_OK);
    assert_true(score >= 0 && score < 1e-6);
    assert_int_equal(mm1_rouge_score(&item, 1, false, &score, &mean, &err), MM1_OK);
    assert_true(score == 0 && mean == 0);
    assert_int_equal(mm1_bleu_score(NULL, 0, false, NULL, bleu, &err), MM1_OK);
    assert_true(isnan(bleu[3]));
    item.n_references = 0;
    assert_int_equal(mm1_rouge_score(&item, 1, false, &score, &mean, &err), MM1_E_ARG);
    assert_non_null(strstr(err.message, "no reference"));
}

static void a_caption_longer_than_any_is_refused(void **state)
{
    enum { WORDS = 9000 };
    char *text = mm1_alloc(2 * WORDS + 1, 1);
    const char *const references[] = {"a b"};
    double mean = 0;
    mm1_error err = {0};
    (void)state;
    for (size_t i = 0; i < WORDS; i++) {
        text[2 * i] = 'a';
        text[2 * i + 1] = ' ';
    }
    text[2 * WORDS] = '\0';
    const mm1_caption_item item = {text, references, 1};
    assert_int_equal(mm1_rouge_score(&item, 1, false, NULL, &mean, &err), MM1_E_LIMIT);
    mm1_free(text);
}

/* ---- the demo's held-out captions ---- */

static int by_key(const void *a, const void *b)
{
    const mm1_bench_item *x = a, *y = b;
    return strcmp(strrchr(x->id, ':'), strrchr(y->id, ':'));
}

/* "The letter R.": the original reads its end by what the next caption begins with, ours by itself (ptb.h). */
static bool depends_on_the_next(const char *text)
{
    const size_t len = strlen(text);
    return len >= 2 && text[len - 1] == '.' && isalnum((unsigned char)text[len - 2]) &&
           (len == 2 || !isalnum((unsigned char)text[len - 3]));
}

/* The captions that the golden file is of, sorted by key; NULL if they are not there, or others are. */
static const char **read_heldout(mm1_bench_set *set, const json_t *want, size_t *n)
{
    const mm1_task_files files = {.file = MM1_SOURCE_DIR "/out/demo/data/heldout/captions-*.tar"};
    mm1_error err = {0};
    if (!mm1_path_is_dir(MM1_SOURCE_DIR "/out/demo/data/heldout")) {
        print_message("out/demo/data is not there: `make demo` makes it\n");
        return NULL;
    }
    check_ok(mm1_bench_read(MM1_BENCH_PAIRS, "heldout_captions", &files, true, set, &err), &err);
    qsort(set->items, (size_t)set->n, sizeof *set->items, by_key);
    const char **texts = mm1_calloc((size_t)set->n, sizeof *texts);
    mm1_buf all;
    char hash[MM1_SHA256_HEX_BYTES];
    assert_non_null(texts);
    mm1_buf_init(&all, 1 << 24);
    *n = 0;
    for (int64_t i = 0; i < set->n; i++) {
        const char *text = set->items[i].answers[0];
        if (!depends_on_the_next(text)) {
            texts[(*n)++] = text;
            mm1_buf_printf(&all, "%s\n", text);
        }
    }
    mm1_sha256_hex(hash, all.data, all.len);
    mm1_buf_deinit(&all);
    if (strcmp(hash, text_of(want, "sha256")) != 0) {
        print_message("the captions of out/demo/data are not those of the golden file: %s, not %s\n", hash,
                      text_of(want, "sha256"));
        mm1_free((void *)(uintptr_t)texts);
        return NULL;
    }
    return texts;
}

/* What stands behind the last ": " or ", ". */
static const char *short_answer(const char *caption)
{
    const char *at = caption;
    for (const char *p = caption; *p != '\0'; p++) {
        at = (p[0] == ':' || p[0] == ',') && p[1] == ' ' ? p + 2 : at;
    }
    return at;
}

static void assert_each_near(const json_t *want, const char *metric, const double *scores, size_t n)
{
    const json_t *list = json_object_get(json_object_get(want, metric), "items");
    double mean = 0;
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        assert_near(scores[i], json_number_value(json_array_get(list, i)), metric, i);
        mean += scores[i] / (double)n;
    }
    if (strcmp(metric, "bleu4") != 0) { /* a set's is no mean */
        assert_near(mean, number_of(json_object_get(want, metric), "mean"), metric, n);
    }
}

static void held_out_captions_score_as_the_references_score_them(void **state)
{
    json_t *want = json_load_file(MM1_TEST_DATA "/eval/heldout.json", 0, NULL);
    mm1_bench_set set = {0};
    mm1_error err = {0};
    size_t n = 0;
    (void)state;
    assert_non_null(want);
    const char **texts = read_heldout(&set, want, &n);
    if (texts == NULL) {
        mm1_bench_set_deinit(&set);
        json_decref(want);
        skip();
    }
    assert_true(n >= 500);

    /* Beyond the last caption the first ones again: references are a piece of the list. */
    enum { MOST = 10 };
    const char **round = mm1_calloc(n + MOST, sizeof *round), **answers = mm1_calloc(n + MOST, sizeof *answers);
    mm1_caption_item *items = mm1_calloc(n, sizeof *items);
    double *scores = mm1_calloc(n, sizeof *scores), mean = 0, bleu[MM1_BLEU_MAX_N];
    assert_true(round != NULL && answers != NULL && items != NULL && scores != NULL);
    for (size_t i = 0; i < n + MOST; i++) {
        round[i] = texts[i % n];
        answers[i] = short_answer(texts[i % n]);
    }
    for (size_t i = 0; i < n; i++) {
        items[i] = (mm1_caption_item){round[i], round + i + 1, 1 + i % 5};
    }
    check_ok(mm1_cider_score(items, n, scores, &mean, &err), &err);
    assert_each_near(want, "cider", scores, n);
    check_ok(mm1_rouge_score(items, n, true, scores, &mean, &err), &err);
    assert_each_near(want, "rougel", scores, n);
    check_ok(mm1_bleu_score(items, n, true, scores, bleu, &err), &err);
    assert_each_near(want, "bleu4", scores, n);
    for (size_t k = 0; k < MM1_BLEU_MAX_N; k++) {
        assert_near(bleu[k], json_number_value(json_array_get(json_object_get(want, "bleu"), k)), "corpus BLEU", k);
    }
    for (size_t i = 0; i < n; i++) {
        check_ok(mm1_answer_vqa(answers[i], answers + i + 1, 10, &scores[i], &err), &err);
    }
    assert_each_near(want, "vqa", scores, n);
    for (size_t i = 0; i < n; i++) {
        check_ok(mm1_answer_anls(answers[i], answers + i + 1, 3, &scores[i], &err), &err);
    }
    assert_each_near(want, "anls", scores, n);

    mm1_free(scores);
    mm1_free(items);
    mm1_free((void *)(uintptr_t)answers);
    mm1_free((void *)(uintptr_t)round);
    mm1_free((void *)(uintptr_t)texts);
    mm1_bench_set_deinit(&set);
    json_decref(want);
}

static void vqa_accuracy_is_the_official_one(void **state)
{
    const json_t *list = json_object_get(golden, "vqa");
    mm1_error err = {0};
    mm1_buf normal;
    (void)state;
    mm1_buf_init(&normal, 1 << 20);
    assert_true(json_array_size(list) >= 500);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        size_t n = 0;
        const char **humans = texts_of(x, "humans", &n);
        double score = -1;
        assert_int_equal(mm1_answer_normalize_vqa(text_of(x, "answer"), &normal, &err), MM1_OK);
        assert_string_equal(mm1_buf_str(&normal), text_of(x, "normal"));
        assert_int_equal(mm1_answer_vqa(text_of(x, "answer"), humans, n, &score, &err), MM1_OK);
        assert_near(score, number_of(x, "score"), text_of(x, "answer"), i);
        mm1_free(humans);
    }
    mm1_buf_deinit(&normal);
}

static void anls_is_that_of_the_reference(void **state)
{
    const json_t *list = json_object_get(golden, "anls");
    mm1_error err = {0};
    (void)state;
    assert_true(json_array_size(list) >= 500);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        size_t n = 0;
        const char **truths = texts_of(x, "truths", &n);
        double score = -1;
        assert_int_equal(mm1_answer_anls(text_of(x, "answer"), truths, n, &score, &err), MM1_OK);
        assert_near(score, number_of(x, "score"), text_of(x, "answer"), i);
        mm1_free(truths);
    }
    double score = 0;
    assert_int_equal(mm1_answer_anls("a", NULL, 0, &score, &err), MM1_E_ARG);
}

static void relaxed_match_reads_numbers_as_python_does(void **state)
{
    const json_t *list = json_object_get(golden, "relaxed");
    (void)state;
    assert_true(json_array_size(list) >= 500);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        const char *answer = text_of(x, "answer"), *truth = text_of(x, "truth");
        if (mm1_answer_relaxed(answer, truth) != json_is_true(json_object_get(x, "score"))) {
            fail_msg("\"%s\" for \"%s\"", answer, truth);
        }
    }
}

static void yes_and_no_are_read_as_pope_and_mme_read_them(void **state)
{
    (void)state;
    assert_int_equal(mm1_answer_pope("No, there is none."), MM1_ANSWER_NO);
    assert_int_equal(mm1_answer_pope("There is not. Yes"), MM1_ANSWER_NO);
    assert_int_equal(mm1_answer_pope("Yes. There is no doubt"), MM1_ANSWER_YES);
    assert_int_equal(mm1_answer_pope("NO"), MM1_ANSWER_YES); /* the original's */
    assert_int_equal(mm1_answer_pope("nothing"), MM1_ANSWER_YES);
    assert_int_equal(mm1_answer_pope("n,o"), MM1_ANSWER_NO);
    assert_int_equal(mm1_answer_pope(""), MM1_ANSWER_YES);
    assert_int_equal(mm1_answer_mme("Yes, it is"), MM1_ANSWER_YES);
    assert_int_equal(mm1_answer_mme("No."), MM1_ANSWER_NO);
    assert_int_equal(mm1_answer_mme("The answer is no"), MM1_ANSWER_OTHER);
    assert_int_equal(mm1_answer_mme("I know"), MM1_ANSWER_OTHER);
    assert_int_equal(mm1_answer_mme(""), MM1_ANSWER_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captions_score_as_coco_caption_scores_them),
        cmocka_unit_test(captions_of_nothing_score_nothing),
        cmocka_unit_test(held_out_captions_score_as_the_references_score_them),
        cmocka_unit_test(a_caption_longer_than_any_is_refused),
        cmocka_unit_test(vqa_accuracy_is_the_official_one),
        cmocka_unit_test(anls_is_that_of_the_reference),
        cmocka_unit_test(relaxed_match_reads_numbers_as_python_does),
        cmocka_unit_test(yes_and_no_are_read_as_pope_and_mme_read_them),
    };
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}

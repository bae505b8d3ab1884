/* What a backend gives is what a session gives, bit for bit, at any batch: texts and likelihoods of prompts that share
 * pictures, one of them shown as an overview in some and with its crops in others; and what a run leaves in
 * records.sqlite. */
#include "support/tmp.h"

#include "base/alloc.h"
#include "base/file.h"
#include "eval/benchmark.h"
#include "generate/generate.h"
#include "generate/score.h"
#include "kernels/gemm.h"
#include <sqlite3.h>

#define WHOLE MM1_TEST_DATA "/whole/llava_next"

enum { N = 9 };

/* Pictures and words in turn; the first picture of even ones is an overview: what is kept of it is not what
 * the next one needs. */
static void make_prompts(mm1_document prompts[N])
{
    static const char *const words[] = {"What is this?", "A photo of", "Question: how many? Short answer:"};
    mm1_error err = {0};
    memset(prompts, 0, N * sizeof *prompts);
    for (int i = 0; i < N; i++) {
        if (i % 3 != 2) {
            check_ok(mm1_document_add_image_file(&prompts[i], WHOLE "/picture.png", &err), &err);
            prompts[i].parts[0].overview = i % 2 == 0;
        }
        check_ok(mm1_document_add_text(&prompts[i], words[i % 3], strlen(words[i % 3]), false, &err), &err);
        if (i >= 6) {
            check_ok(mm1_document_add_image_file(&prompts[i], MM1_TEST_DATA "/tiny/black-bar.png", &err), &err);
            check_ok(mm1_document_add_text(&prompts[i], words[0], strlen(words[0]), false, &err), &err);
        }
    }
}

static void test_equal_at_any_batch(void **state)
{
    static const int64_t batches[] = {1, 7};
    static const char *const stop[] = {"\n"};
    (void)state;
    mm1_error err = {0};
    mm1_model m;
    mm1_session *session = NULL;
    mm1_document prompts[N];
    check_ok(mm1_model_load(&m, WHOLE, false, &err), &err);
    check_ok(mm1_session_create(&m, 0, &session, &err), &err);
    make_prompts(prompts);
    mm1_generate_params params = mm1_generate_defaults();
    params.max_tokens = 5;
    params.stop = stop;
    params.n_stop = 1;
    mm1_sequence whole, overview;
    check_ok(mm1_sequence_build(&prompts[0], m.tokenizer, &m.images, false, &overview, &err), &err);
    check_ok(mm1_sequence_build(&prompts[1], m.tokenizer, &m.images, false, &whole, &err), &err);
    assert_true(whole.images[0].n_tiles > 1);
    assert_int_equal(overview.images[0].n_tiles, 1);
    assert_int_equal(overview.images[0].n_positions, mm1_model_n_visual(&m));
    mm1_sequence_deinit(&whole);
    mm1_sequence_deinit(&overview);

    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        mm1_backend *backend = NULL;
        mm1_ask asks[N] = {0};
        mm1_continuation continuations[N][2];
        check_ok(mm1_backend_open_model(&m, batches[b], &backend, &err), &err);
        assert_true(mm1_backend_can_score(backend));
        for (int i = 0; i < N; i++) {
            continuations[i][0] = (mm1_continuation){.text = " a red bus"};
            continuations[i][1] = (mm1_continuation){.given = " yes", .text = " and no"};
            asks[i] = (mm1_ask){.prompt = &prompts[i], .continuations = continuations[i], .n = 2};
        }
        check_ok(mm1_backend_generate(backend, asks, N, &params, &err), &err);
        check_ok(mm1_backend_score(backend, asks, N, &err), &err);
        for (int i = 0; i < N; i++) {
            mm1_generated g;
            check_ok(mm1_generate(session, &prompts[i], &params, NULL, NULL, &g, &err), &err);
            assert_int_equal(asks[i].status, MM1_OK);
            assert_string_equal(asks[i].text, g.text);
            assert_int_equal(asks[i].n_prompt_tokens, g.n_prompt_tokens);
            mm1_generated_deinit(&g);
            for (int c = 0; c < 2; c++) {
                const mm1_continuation *at = &continuations[i][c];
                mm1_document d = {0};
                mm1_score s;
                double sum = 0;
                check_ok(mm1_document_append(&d, &prompts[i], &err), &err);
                if (at->given != NULL) {
                    check_ok(mm1_document_add_text(&d, at->given, strlen(at->given), false, &err), &err);
                }
                check_ok(mm1_document_add_text(&d, at->text, strlen(at->text), true, &err), &err);
                check_ok(mm1_score_document(session, &d, false, false, &s, &err), &err);
                for (int64_t t = 0; t < s.n; t++) {
                    sum += s.part[t] == (int32_t)d.n_parts - 1 ? (double)s.logprob[t] : 0;
                }
                assert_memory_equal(&sum, &at->logprob, sizeof sum);
                assert_true(at->n_tokens > 0);
                mm1_score_deinit(&s);
                mm1_document_deinit(&d);
            }
            mm1_ask_deinit(&asks[i]);
        }
        mm1_backend_close(backend);
    }
    for (int i = 0; i < N; i++) {
        mm1_document_deinit(&prompts[i]);
    }
    mm1_session_destroy(session);
    mm1_model_deinit(&m);
}

/* A prompt that does not fit is its own failure; the others have their answers. */
static void test_one_too_long(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_model m;
    mm1_backend *backend = NULL;
    mm1_document prompts[2] = {0};
    char *longer = mm1_calloc(1 << 16, 1);
    assert_non_null(longer);
    memset(longer, 'x', (1 << 16) - 1);
    check_ok(mm1_model_load(&m, WHOLE, false, &err), &err);
    check_ok(mm1_backend_open_model(&m, 2, &backend, &err), &err);
    check_ok(mm1_document_add_text(&prompts[0], longer, strlen(longer), false, &err), &err);
    check_ok(mm1_document_add_text(&prompts[1], "a", 1, false, &err), &err);
    mm1_ask asks[2] = {{.prompt = &prompts[0]}, {.prompt = &prompts[1]}};
    mm1_generate_params params = mm1_generate_defaults();
    params.max_tokens = 2;
    check_ok(mm1_backend_generate(backend, asks, 2, &params, &err), &err);
    assert_int_equal(asks[0].status, MM1_E_LIMIT);
    assert_null(asks[0].text);
    assert_non_null(strstr(asks[0].error.message, "do not fit"));
    assert_int_equal(asks[1].status, MM1_OK);
    assert_non_null(asks[1].text);
    for (int i = 0; i < 2; i++) {
        mm1_ask_deinit(&asks[i]);
        mm1_document_deinit(&prompts[i]);
    }
    mm1_backend_close(backend);
    mm1_model_deinit(&m);
    mm1_free(longer);
}

/* ---- a run and its records ---- */

static void check_sql(sqlite3 *db, const char *sql, const char *want)
{
    sqlite3_stmt *s = NULL;
    char got[512] = "";
    size_t n = 0;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            const unsigned char *text = sqlite3_column_text(s, i);
            n += (size_t)snprintf(got + n, sizeof got - n, "%s%s", text != NULL ? (const char *)text : "null",
                                  i + 1 < sqlite3_column_count(s) ? "|" : "\n");
        }
    }
    (void)sqlite3_finalize(s);
    assert_string_equal(got, want);
}

static void run(const mm1_model *m, mm1_benchmark_options *o, mm1_benchmark_results *r)
{
    mm1_error err = {0};
    mm1_backend *backend = NULL;
    check_ok(mm1_backend_open_model(m, 2, &backend, &err), &err);
    check_ok(mm1_benchmark_run(backend, o, r, &err), &err);
    mm1_backend_close(backend);
}

static void test_records(void **state)
{
    static const char *const tasks[] = {"arc_easy", "piqa"};
    (void)state;
    mm1_error err = {0};
    mm1_model m;
    mm1_benchmark_results r;
    mm1_benchmark_options o = mm1_benchmark_options_default();
    sqlite3 *db = NULL;
    char path[300];
    check_ok(mm1_model_load(&m, WHOLE, false, &err), &err);
    o.tasks = tasks;
    o.n_tasks = 2;
    o.data_dir = MM1_TEST_DATA "/bench";
    o.shots[0] = 0;
    o.shots[1] = 1;
    o.n_shots = 2;
    o.n_seeds = 2;
    o.output_dir = tmp;
    o.model_name = "tiny";
    check_ok(mm1_benchmark_model_hash(WHOLE, &o.model_hash, &err), &err);
    run(&m, &o, &r);
    assert_int_equal(r.n, 4);
    assert_string_equal(r.cells[0].task, "arc_easy");
    assert_int_equal(r.cells[0].n_seeds, 1); /* with 0 shots a seed changes nothing */
    assert_int_equal(r.cells[1].n_seeds, 2);
    assert_int_equal(r.cells[1].n, 2);
    assert_int_equal(r.cells[3].n, 3);
    assert_int_equal(r.cells[0].left_out.malformed, 1);
    assert_true(r.cells[3].score.low <= r.cells[3].score.value && r.cells[3].score.value <= r.cells[3].score.high);
    const double score = r.cells[3].score.value;
    mm1_benchmark_results_deinit(&r);

    o.shots[0] = 1;
    o.n_shots = 1;
    run(&m, &o, &r);
    assert_int_equal(r.cells[1].n_known, 6); /* two seeds of three items */
    assert_true(r.cells[1].score.value == score);
    mm1_benchmark_results_deinit(&r);

    (void)snprintf(path, sizeof path, "%s/records.sqlite", tmp);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    check_sql(db, "SELECT id, model, seeds, finished FROM runs", "1|tiny|2|1\n2|tiny|2|1\n");
    check_sql(db, "SELECT run, task, metric, answered_by, shots, n, left_out FROM cells",
              "1|arc_easy|choice|likelihood|0|2|1\n1|arc_easy|choice|likelihood|1|2|1\n1|piqa|choice|likelihood|0|3|0\n"
              "1|piqa|choice|likelihood|1|3|0\n2|arc_easy|choice|likelihood|1|2|1\n2|piqa|choice|likelihood|1|3|0\n");
    check_sql(db, "SELECT cell, count(*), count(DISTINCT seed), count(score) FROM samples GROUP BY cell",
              "1|2|1|2\n2|4|2|4\n3|3|1|3\n4|6|2|6\n5|4|2|4\n6|6|2|6\n");
    check_sql(db, "SELECT count(*) FROM parts WHERE name = 'accuracy_per_char'", "6\n");
    (void)sqlite3_close(db);
    mm1_model_deinit(&m);
}

/* A line of answers.jsonl with more texts than the run asks for: they were written behind the room for them. */
static void test_more_answers_than_votes(void **state)
{
    static const char *const tasks[] = {"arc_easy"};
    enum { N_TEXTS = 4000 };
    (void)state;
    mm1_error err = {0};
    mm1_model m;
    mm1_benchmark_results r;
    mm1_benchmark_options o = mm1_benchmark_options_default();
    char path[300], *text = NULL;
    size_t len = 0;
    mm1_buf edited;
    mm1_buf_init(&edited, 1 << 24);
    check_ok(mm1_model_load(&m, WHOLE, false, &err), &err);
    o.tasks = tasks;
    o.n_tasks = 1;
    o.data_dir = MM1_TEST_DATA "/bench";
    o.by = MM1_BY_LETTER;
    o.max_tokens = 2;
    o.output_dir = tmp;
    run(&m, &o, &r);
    assert_int_equal(r.cells[0].n_known, 0);
    mm1_benchmark_results_deinit(&r);
    run(&m, &o, &r);
    assert_int_equal(r.cells[0].n_known, 2);
    mm1_benchmark_results_deinit(&r);

    (void)snprintf(path, sizeof path, "%s/answers.jsonl", tmp);
    check_ok(mm1_file_read(path, 1 << 20, &text, &len, &err), &err);
    for (const char *p = text; *p != '\0'; p++) {
        mm1_buf_putc(&edited, *p);
        for (int i = 0; *p == '[' && p[1] == '"' && i < N_TEXTS; i++) {
            mm1_buf_puts(&edited, "\"B\", ");
        }
    }
    check_ok(mm1_file_write_atomic(path, edited.data, edited.len, &err), &err);
    run(&m, &o, &r);
    assert_int_equal(r.cells[0].n_known, 0);
    mm1_benchmark_results_deinit(&r);
    mm1_free(text);
    mm1_buf_deinit(&edited);
    mm1_model_deinit(&m);
}

static int set_up(void **state)
{
    mm1_error err = {0};
    (void)state;
    return mm1_kernels_init(NULL, &err) != MM1_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_at_any_batch), cmocka_unit_test(test_one_too_long),
        cmocka_unit_test_setup_teardown(test_records, make_tmp, remove_tmp),
        cmocka_unit_test_setup_teardown(test_more_answers_than_votes, make_tmp, remove_tmp)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}

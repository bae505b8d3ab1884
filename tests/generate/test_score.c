/* Scores against the full forward pass, against stepping, and their file of logits. */
#include "support/check.h"

#include "base/file.h"
#include "generate/generate_fixture.h"
#include "generate/score.h"

static double log_p(const float *logits, int64_t V, int32_t id)
{
    double max = -INFINITY, sum = 0;
    for (int64_t v = 0; v < V; v++) {
        max = fmax(max, (double)logits[v]);
    }
    for (int64_t v = 0; v < V; v++) {
        sum += exp((double)logits[v] - max);
    }
    return (double)logits[id] - max - log(sum);
}

static void check_score(const mm1_model *m, mm1_session *s, const mm1_document *d, bool closed)
{
    mm1_error err = {0};
    mm1_score plain, full;
    mm1_sequence q;
    const int64_t V = m->config.decoder.vocab_size;
    check_ok(mm1_sequence_build(d, m->tokenizer, &m->images, closed, &q, &err), &err);
    float *logits = full_logits(m, d, &q);
    check_ok(mm1_score_document(s, d, closed, false, &plain, &err), &err);
    check_ok(mm1_score_document(s, d, closed, true, &full, &err), &err);
    assert_int_equal(plain.n, q.len);
    assert_int_equal(plain.n_vocab, V);
    assert_null(plain.logits);
    check_close(full.logits, logits, q.len * V, 1e-5, 1e-5);
    double sum = 0;
    int64_t n = 0;
    for (int64_t t = 0; t < q.len; t++) {
        assert_int_equal(plain.token[t], q.tokens[t]);
        assert_int_equal(plain.part[t], q.part[t]);
        if (t == 0 || q.tokens[t] < 0) {
            assert_true(isnan(plain.logprob[t]));
            continue;
        }
        const double want = log_p(logits + (t - 1) * V, V, q.tokens[t]);
        check_close(&plain.logprob[t], &(float){(float)want}, 1, 1e-5, 1e-5);
        sum += want;
        n++;
    }
    assert_int_equal(plain.n_scored, n);
    assert_true(fabs(plain.sum_logprob - sum) <= 1e-5 * (double)q.len);
    assert_true(fabs(full.sum_logprob - sum) <= 1e-5 * (double)q.len);
    mm1_score_deinit(&plain);
    mm1_score_deinit(&full);
    mm1_sequence_deinit(&q);
    mm1_free(logits);
}

static void log_probabilities_are_those_of_the_full_forward(void **state)
{
    (void)state;
    static const char *const plans[] = {"", "t", "i", "it", "ti", "itit", "iitt"};
    for (int gpt2 = 0; gpt2 < 2; gpt2++) {
        mm1_model m;
        mm1_session *s = NULL;
        mm1_error err = {0};
        const mm1_model_config config = fixture_config(gpt2 == 1);
        fixture_model(&m, &config);
        check_ok(mm1_session_create(&m, 0, &s, &err), &err);
        for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
            mm1_document d;
            make_document(&d, plans[i]);
            check_score(&m, s, &d, true);
            check_score(&m, s, &d, false);
            mm1_document_deinit(&d);
        }
        mm1_document d = {0};
        for (int i = 0; i < 40; i++) { /* several pieces */
            add_text(&d, " the cat sat on a red hat seven");
        }
        mm1_sequence q;
        check_ok(mm1_sequence_build(&d, m.tokenizer, &m.images, true, &q, &err), &err);
        assert_in_range(q.len, MM1_CONTEXT_PIECE + 1, FIXTURE_POSITIONS);
        mm1_sequence_deinit(&q);
        check_score(&m, s, &d, true);
        mm1_document_deinit(&d);
        mm1_session_destroy(s);
        mm1_model_deinit(&m);
    }
}

static void the_sum_equals_that_of_single_steps(void **state)
{
    (void)state;
    static const char text[] = " on the mat and the other ball";
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    mm1_document d;
    mm1_score score;
    mm1_ids ids = {0};
    const float *logits = NULL;
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    make_document(&d, "i");
    check_ok(mm1_session_create(&m, 0, &s, &err), &err);
    check_ok(mm1_tokenizer_encode(m.tokenizer, text, strlen(text), &ids, &err), &err);
    check_ok(mm1_session_prefill(s, &d, &logits, &err), &err);
    double sum = 0;
    for (size_t i = 0; i < ids.n; i++) {
        sum += log_p(logits, config.decoder.vocab_size, ids.items[i]);
        check_ok(mm1_session_step(s, ids.items[i], &logits, &err), &err);
    }
    add_text(&d, text);
    check_ok(mm1_score_document(s, &d, false, false, &score, &err), &err);
    assert_int_equal(score.n_scored, ids.n);
    assert_true(fabs(score.sum_logprob - sum) < 1e-4);
    mm1_score_deinit(&score);
    mm1_ids_free(&ids);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

static void a_list_of_tokens_is_read_as_it_stands(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    mm1_document d = {0};
    mm1_sequence q;
    mm1_score by_text, by_ids;
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    add_text(&d, "the cat sat on the mat");
    check_ok(mm1_session_create(&m, 64, &s, &err), &err);
    check_ok(mm1_sequence_build(&d, m.tokenizer, &m.images, true, &q, &err), &err);
    check_ok(mm1_score_document(s, &d, true, false, &by_text, &err), &err);
    check_ok(mm1_score_tokens(s, q.tokens, q.len, false, &by_ids, &err), &err);
    assert_int_equal(by_ids.n, by_text.n);
    assert_memory_equal(by_ids.token, by_text.token, (size_t)q.len * sizeof *by_ids.token);
    assert_memory_equal(by_ids.logprob + 1, by_text.logprob + 1, (size_t)(q.len - 1) * sizeof *by_ids.logprob);
    assert_true(by_ids.sum_logprob == by_text.sum_logprob);
    mm1_score_deinit(&by_text);
    mm1_score_deinit(&by_ids);

    assert_int_equal(mm1_score_tokens(s, q.tokens, 0, false, &by_ids, &err), MM1_E_ARG);
    assert_int_equal(mm1_score_tokens(s, (int32_t[]){4, 320}, 2, false, &by_ids, &err), MM1_E_ARG);
    check_contains(err.message, "token 1 is 320");
    assert_int_equal(mm1_score_tokens(s, (int32_t[]){4, -1}, 2, false, &by_ids, &err), MM1_E_ARG);
    const int32_t many[65] = {0};
    assert_int_equal(mm1_score_tokens(s, many, 65, false, &by_ids, &err), MM1_E_LIMIT);
    check_contains(err.message, "65 positions do not fit in a context of 64");
    assert_null(by_ids.token);
    mm1_sequence_deinit(&q);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

static void logits_are_written_with_their_tokens(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    mm1_document d;
    mm1_score score;
    mm1_safetensors *sf = NULL;
    const mm1_safetensors_tensor *t = NULL;
    char dir[256];
    const mm1_model_config config = fixture_config(false);
    check_tmpdir(dir, sizeof dir);
    fixture_model(&m, &config);
    make_document(&d, "it");
    check_ok(mm1_session_create(&m, 0, &s, &err), &err);
    check_ok(mm1_score_document(s, &d, true, true, &score, &err), &err);
    char *path = mm1_path_join(dir, "logits.safetensors");
    check_ok(mm1_score_write_logits(&score, path, &err), &err);
    check_ok(mm1_safetensors_open(&sf, path, &err), &err);
    check_ok(mm1_safetensors_get(sf, "logits", 2, (int64_t[]){score.n, 320}, &t, &err), &err);
    assert_int_equal(t->dtype, MM1_DTYPE_F32);
    assert_memory_equal(t->data, score.logits, t->n_bytes);
    check_ok(mm1_safetensors_get(sf, "tokens", 1, (int64_t[]){score.n}, &t, &err), &err);
    assert_int_equal(t->dtype, MM1_DTYPE_I32);
    assert_memory_equal(t->data, score.token, t->n_bytes);
    for (int i = 1; i <= FIXTURE_SLOTS; i++) {
        assert_int_equal(score.token[i], -1);
    }
    mm1_safetensors_close(sf);
    mm1_score_deinit(&score);
    check_ok(mm1_score_document(s, &d, true, false, &score, &err), &err);
    assert_int_equal(mm1_score_write_logits(&score, path, &err), MM1_E_STATE);
    mm1_score_deinit(&score);
    mm1_free(path);
    check_ok(mm1_path_remove(dir, &err), &err);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

static void damaged_weights_and_a_lack_of_memory_are_errors(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    mm1_document d;
    mm1_score score;
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    make_document(&d, "it");
    check_ok(mm1_session_create(&m, 0, &s, &err), &err);
    const size_t live = mm1_alloc_bytes();
    mm1_status st = MM1_E_NOMEM;
    for (uint64_t n = 1; st != MM1_OK; n++) {
        mm1_alloc_fail_at(n);
        st = mm1_score_document(s, &d, true, true, &score, &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || (st == MM1_E_NOMEM && score.token == NULL));
        mm1_score_deinit(&score);
        assert_int_equal(mm1_alloc_bytes(), live);
    }
    m.decoder.norm_w->data[3] = NAN;
    assert_int_equal(mm1_score_document(s, &d, true, false, &score, &err), MM1_E_NUMERIC);
    assert_null(score.token);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_probabilities_are_those_of_the_full_forward),
        cmocka_unit_test(the_sum_equals_that_of_single_steps),
        cmocka_unit_test(a_list_of_tokens_is_read_as_it_stands),
        cmocka_unit_test(logits_are_written_with_their_tokens),
        cmocka_unit_test(damaged_weights_and_a_lack_of_memory_are_errors),
    };
    return cmocka_run_group_tests(tests, fixture_group_setup, NULL);
}

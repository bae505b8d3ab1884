/* The cache against the whole forward pass of training, and what a session refuses. */
#include "support/check.h"

#include "generate/generate_fixture.h"
#include "generate/session.h"

/* The sequence of a prompt with more ids after it. */
static void extended(const mm1_model *m, const mm1_document *d, const mm1_ids *more, mm1_sequence *q)
{
    mm1_error err = {0};
    check_ok(mm1_sequence_build(d, m->tokenizer, &m->images, false, q, &err), &err);
    const size_t len = (size_t)q->len + more->n;
    q->tokens = mm1_realloc(q->tokens, len, sizeof *q->tokens);
    q->visual = mm1_realloc(q->visual, len, sizeof *q->visual);
    q->train = mm1_realloc(q->train, len, sizeof *q->train);
    q->part = mm1_realloc(q->part, len, sizeof *q->part);
    for (size_t i = 0; i < more->n; i++, q->len++) {
        q->tokens[q->len] = more->items[i];
        q->visual[q->len] = MM1_VISUAL_NONE;
        q->train[q->len] = 1;
        q->part[q->len] = 0;
    }
}

typedef struct rows_check {
    const mm1_session *s;
    const float *want; /* [len, V] */
    int64_t n_seen, V;
} rows_check;

static mm1_status check_rows(void *ctx, const float *hidden, int64_t begin, int64_t n, mm1_error *err)
{
    rows_check *c = ctx;
    (void)err;
    assert_int_equal(begin, c->n_seen);
    float *logits = mm1_alloc((size_t)(n * c->V), sizeof *logits);
    mm1_context_logits(mm1__session_context(c->s), hidden, n, MM1_ROWS_MANY, logits);
    check_close(logits, c->want + begin * c->V, n * c->V, 1e-5, 1e-5);
    mm1_free(logits);
    c->n_seen += n;
    return MM1_OK;
}

/* Prompt in one go, then token by token: logits of every position equal those of one full pass. */
static void check_prompt(const mm1_model *m, const mm1_document *d)
{
    static const char continuation[] = "the other one is a red cat and the mat sat there";
    mm1_session *s = NULL;
    mm1_error err = {0};
    mm1_ids more = {0};
    mm1_sequence q;
    const int64_t V = m->config.decoder.vocab_size;
    const float *logits = NULL;
    check_ok(mm1_tokenizer_encode(m->tokenizer, continuation, strlen(continuation), &more, &err), &err);
    extended(m, d, &more, &q);
    float *want = full_logits(m, d, &q);

    check_ok(mm1_session_create(m, 0, &s, &err), &err);
    check_ok(mm1_session_prefill(s, d, &logits, &err), &err);
    assert_int_equal(mm1_session_n(s), q.len - (int64_t)more.n);
    for (size_t i = 0; i <= more.n; i++) {
        check_close(logits, want + (mm1_session_n(s) - 1) * V, V, 1e-5, 1e-5);
        if (i < more.n) {
            check_ok(mm1_session_step(s, more.items[i], &logits, &err), &err);
        }
    }
    assert_int_equal(mm1_session_n(s), q.len);

    /* Every position of the prompt and of the rest when all of it is read as a prompt. */
    rows_check c = {.s = s, .want = want, .V = V};
    const int64_t len = q.len;
    mm1_prompt p;
    check_ok(mm1_prompt_init_sequence(&p, d, &q, mm1__session_context(s), mm1__session_images(s), &err), &err);
    check_ok(mm1__session_read(s, &p, check_rows, &c, &err), &err);
    assert_int_equal(c.n_seen, len);
    mm1_prompt_deinit(&p);

    mm1_session_destroy(s);
    mm1_free(want);
    mm1_ids_free(&more);
}

static void cached_logits_equal_the_full_forward_at_every_position(void **state)
{
    (void)state;
    static const char *const plans[] = {"", "t", "i", "it", "ti", "itit", "iitt", "titi", "iii"};
    enum { ROTARY, GPT2, SPARSE, N_KINDS };
    for (int kind = 0; kind < N_KINDS; kind++) {
        mm1_model m;
        mm1_model_config config = fixture_config(kind == GPT2);
        config.decoder.moe.n_experts = kind == SPARSE ? 5 : 0;
        config.decoder.moe.capacity = 0.1; /* of training alone */
        fixture_model(&m, &config);
        for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
            mm1_document d;
            make_document(&d, plans[i]);
            check_prompt(&m, &d);
            mm1_document_deinit(&d);
        }
        mm1_model_deinit(&m);
    }
}

static void pictures_in_several_tiles_are_read_as_in_training(void **state)
{
    (void)state;
    static const int modes[] = {MM1_IMAGE_SUBIMAGES, MM1_IMAGE_ANYRES};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        mm1_model m;
        mm1_document d;
        mm1_model_config config = fixture_config(false);
        config.image.mode = modes[i];
        fixture_model(&m, &config);
        make_document(&d, "titti");
        check_prompt(&m, &d);
        mm1_document_deinit(&d);
        mm1_model_deinit(&m);
    }
}

static void prompts_longer_than_a_piece_are_read_in_pieces(void **state)
{
    (void)state;
    mm1_model m;
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    mm1_document d;
    make_document(&d, "i");
    for (int i = 0; i < 48; i++) {
        add_text(&d, " the cat sat on seven ");
        if (i == 40) {
            add_image(&d, 5); /* far behind the first piece */
        }
    }
    mm1_sequence q;
    mm1_error err = {0};
    check_ok(mm1_sequence_build(&d, m.tokenizer, &m.images, false, &q, &err), &err);
    assert_in_range(q.len, 2 * MM1_CONTEXT_PIECE + 1, FIXTURE_POSITIONS - 60);
    mm1_sequence_deinit(&q);
    check_prompt(&m, &d);
    mm1_document_deinit(&d);
    mm1_model_deinit(&m);
}

static void an_image_makes_a_difference_and_so_does_its_place(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    check_ok(mm1_session_create(&m, 64, &s, &err), &err);
    float seen[3][320];
    for (int i = 0; i < 3; i++) {
        mm1_document d = {0};
        const float *logits = NULL;
        add_image(&d, i == 1 ? 9 : 8);
        add_image(&d, i == 1 ? 8 : 9);
        add_text(&d, "the cat");
        check_ok(mm1_session_prefill(s, &d, &logits, &err), &err);
        memcpy(seen[i], logits, sizeof seen[i]);
        mm1_document_deinit(&d);
    }
    assert_memory_equal(seen[0], seen[2], sizeof seen[0]); /* nothing is left over from the prompt before */
    double most = 0;
    for (int v = 0; v < 320; v++) {
        most = fmax(most, fabs((double)seen[0][v] - seen[1][v]));
    }
    assert_true(most > 1e-3);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

static void text_that_names_a_special_token_makes_no_image_slot(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    mm1_sequence q;
    const float *logits = NULL;
    mm1_document d = {0};
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    add_text(&d, "see <|image|> and <|endoftext|>");
    check_ok(mm1_session_create(&m, 0, &s, &err), &err);
    check_ok(mm1_sequence_build(&d, m.tokenizer, &m.images, false, &q, &err), &err);
    assert_int_equal(q.n_images, 0);
    for (int64_t i = 1; i < q.len; i++) {
        assert_true(q.tokens[i] >= 0 && !mm1_tokenizer_is_special(m.tokenizer, q.tokens[i]));
    }
    check_ok(mm1_session_prefill(s, &d, &logits, &err), &err);
    assert_int_equal(mm1_session_n(s), q.len);
    mm1_sequence_deinit(&q);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

static void what_does_not_fit_is_refused_with_both_numbers(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    const float *logits = NULL;
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);

    assert_int_equal(mm1_session_create(&m, FIXTURE_POSITIONS + 1, &s, &err), MM1_E_LIMIT);
    check_contains(err.message, "641");
    check_contains(err.message, "640");
    assert_null(s);
    check_ok(mm1_session_create(&m, 20, &s, &err), &err);
    assert_int_equal(mm1_session_n_max(s), 20);

    mm1_document d;
    make_document(&d, "iiii");
    assert_int_equal(mm1_session_prefill(s, &d, &logits, &err), MM1_E_LIMIT);
    check_contains(err.message, "4 images are more than the 3");
    assert_null(logits);
    mm1_document_deinit(&d);

    make_document(&d, "ittttttttt");
    assert_int_equal(mm1_session_prefill(s, &d, &logits, &err), MM1_E_LIMIT);
    check_contains(err.message, "context of 20");
    mm1_document_deinit(&d);

    /* Up to the last position, and not one further. */
    make_document(&d, "");
    check_ok(mm1_session_prefill(s, &d, &logits, &err), &err);
    while (mm1_session_n(s) < 20) {
        check_ok(mm1_session_step(s, 40, &logits, &err), &err);
    }
    assert_int_equal(mm1_session_step(s, 40, &logits, &err), MM1_E_LIMIT);
    check_contains(err.message, "20");
    assert_int_equal(mm1_session_n(s), 20);
    mm1_session_reset(s);
    assert_int_equal(mm1_session_step(s, 40, &logits, &err), MM1_E_STATE);
    check_ok(mm1_session_prefill(s, &d, &logits, &err), &err);
    assert_int_equal(mm1_session_step(s, 320, &logits, &err), MM1_E_ARG);
    assert_int_equal(mm1_session_step(s, -1, &logits, &err), MM1_E_ARG);
    check_ok(mm1_session_step(s, 319, &logits, &err), &err);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);

    mm1_tokenizer *t = m.tokenizer;
    m.tokenizer = NULL;
    assert_int_equal(mm1_session_create(&m, 0, &s, &err), MM1_E_STATE);
    m.tokenizer = t;
    mm1_model_deinit(&m);
}

static void a_damaged_image_is_named_and_leaves_the_session_empty(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    const float *logits = NULL;
    mm1_document d = {0};
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    add_image(&d, 1);
    size_t len = 0;
    uint8_t *png = fixture_png(2, &len);
    check_ok(mm1_document_add_image(&d, png, len / 2, "broken.png", &err), &err);
    mm1_free(png);
    check_ok(mm1_session_create(&m, 0, &s, &err), &err);
    assert_int_equal(mm1_session_prefill(s, &d, &logits, &err), MM1_E_FORMAT);
    check_contains(err.message, "broken.png");
    assert_null(logits);
    assert_int_equal(mm1_session_n(s), 0);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

static void a_step_allocates_nothing(void **state)
{
    (void)state;
    mm1_model m;
    mm1_session *s = NULL;
    mm1_error err = {0};
    const float *logits = NULL;
    mm1_document d;
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    make_document(&d, "it");
    check_ok(mm1_session_create(&m, 100, &s, &err), &err);
    check_ok(mm1_session_prefill(s, &d, &logits, &err), &err);
    const uint64_t before = mm1_alloc_count();
    while (mm1_session_n(s) < 100) {
        check_ok(mm1_session_step(s, 50, &logits, &err), &err);
    }
    assert_int_equal(mm1_alloc_count(), before);
    mm1_document_deinit(&d);
    mm1_session_destroy(s);
    mm1_model_deinit(&m);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    mm1_model m;
    mm1_document d;
    const mm1_model_config config = fixture_config(false);
    fixture_model(&m, &config);
    make_document(&d, "it");
    const size_t live = mm1_alloc_bytes();
    mm1_status st = MM1_E_NOMEM;
    uint64_t n = 1;
    for (; st != MM1_OK; n++) {
        mm1_session *s = NULL;
        const float *logits = NULL;
        mm1_error err = {0};
        mm1_alloc_fail_at(n);
        st = mm1_session_create(&m, 64, &s, &err);
        st = st != MM1_OK ? st : mm1_session_prefill(s, &d, &logits, &err);
        mm1_alloc_fail_at(0);
        if (st != MM1_OK && st != MM1_E_NOMEM) {
            print_error("allocation %llu: %s: %s\n", (unsigned long long)n, mm1_status_name(st), err.message);
            fail();
        }
        mm1_session_destroy(s);
        assert_int_equal(mm1_alloc_bytes(), live);
    }
    assert_true(n > 10);
    mm1_document_deinit(&d);
    mm1_model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_logits_equal_the_full_forward_at_every_position),
        cmocka_unit_test(pictures_in_several_tiles_are_read_as_in_training),
        cmocka_unit_test(prompts_longer_than_a_piece_are_read_in_pieces),
        cmocka_unit_test(an_image_makes_a_difference_and_so_does_its_place),
        cmocka_unit_test(text_that_names_a_special_token_makes_no_image_slot),
        cmocka_unit_test(what_does_not_fit_is_refused_with_both_numbers),
        cmocka_unit_test(a_damaged_image_is_named_and_leaves_the_session_empty),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, fixture_group_setup, NULL);
}

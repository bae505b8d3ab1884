/* Sequences and batches, by brute force against the rules in sequence.h. */
#include "support/check.h"

#include "base/alloc.h"
#include "model/sequence.h"

enum { N_VISUAL = 3 };

static const mm1_image_spec images_of_3 = {.n_tokens = N_VISUAL}, images_of_2 = {.n_tokens = 2},
                            no_images = {.n_tokens = 0};

static mm1_tokenizer *tokenizer;
static int32_t end_id;

static bool next_text(void *ctx, const char **text, size_t *len)
{
    static const char *const corpus[] = {"a red cat sat on the mat", "the cat and the red mat", "the image of a cat"};
    int *i = ctx;
    if (*i >= 3) {
        return false;
    }
    *text = corpus[(*i)++];
    *len = strlen(*text);
    return true;
}

static int train_tokenizer(void **state)
{
    (void)state;
    int at = 0;
    mm1_error err = {0};
    const mm1_tokenizer_train_config config = {.vocab_size = 280, .min_frequency = 2};
    check_ok(mm1_tokenizer_train(&config, next_text, &at, &tokenizer, &err), &err);
    end_id = mm1_tokenizer_special_id(tokenizer, MM1_TOKEN_END);
    return 0;
}

static int drop_tokenizer(void **state)
{
    (void)state;
    mm1_tokenizer_destroy(tokenizer);
    return 0;
}

static void add_text(mm1_document *d, const char *text, bool train)
{
    mm1_error err = {0};
    check_ok(mm1_document_add_text(d, text, strlen(text), train, &err), &err);
}

static void add_image(mm1_document *d)
{
    mm1_error err = {0};
    check_ok(mm1_document_add_image(d, "img", 3, NULL, &err), &err);
}

/* A document of up to 6 parts of any kind in any order, empty texts included. */
static void random_document(mm1_document *d, mm1_rng *r)
{
    static const char *const texts[] = {"",        "the cat", "a red mat.", "<|image|>", "caf\xc3\xa9 <|endoftext|>",
                                        "\xff\xfe"};
    const uint64_t n = mm1_rng_below(r, 7);
    for (uint64_t i = 0; i < n; i++) {
        if (mm1_rng_below(r, 2) == 0) {
            add_image(d);
        } else {
            add_text(d, texts[mm1_rng_below(r, 6)], mm1_rng_below(r, 2) == 0);
        }
    }
}

/* What the header says, part by part, with nothing shared with the code under test. */
static void check_sequence(const mm1_document *d, const mm1_sequence *s, bool complete)
{
    mm1_error err = {0};
    int64_t at = 0, n_images = 0;
    assert_int_equal(s->tokens[at], end_id);
    assert_int_equal(s->train[at], 0);
    assert_int_equal(s->part[at], -1);
    at++;
    for (size_t i = 0; i < d->n_parts; i++) {
        if (d->parts[i].kind == MM1_PART_IMAGE) {
            n_images++;
            for (int k = 0; k < N_VISUAL; k++, at++) {
                assert_true(at < s->len);
                assert_int_equal(s->tokens[at], MM1_IMAGE_SLOT);
                assert_int_equal(s->train[at], 0);
                assert_int_equal(s->part[at], i);
            }
            continue;
        }
        mm1_ids ids = {0};
        check_ok(mm1_tokenizer_encode(tokenizer, d->parts[i].bytes, d->parts[i].len, &ids, &err), &err);
        for (size_t k = 0; k < ids.n; k++, at++) {
            assert_true(at < s->len);
            assert_int_equal(s->tokens[at], ids.items[k]);
            assert_false(mm1_tokenizer_is_special(tokenizer, s->tokens[at]));
            assert_int_equal(s->train[at], d->parts[i].train);
            assert_int_equal(s->part[at], i);
        }
        mm1_ids_free(&ids);
    }
    if (complete) {
        const bool train = d->n_parts > 0 && d->parts[d->n_parts - 1].train;
        assert_true(at < s->len);
        assert_int_equal(s->tokens[at], end_id);
        assert_int_equal(s->train[at], train);
        assert_int_equal(s->part[at], -1);
        at++;
    }
    assert_int_equal(s->len, at);
    assert_int_equal(s->n_images, n_images);
}

static void sequences_of_random_documents_follow_the_rules(void **state)
{
    (void)state;
    mm1_rng r = mm1_rng_make(1, MM1_RNG_TEST, 0);
    for (int i = 0; i < 500; i++) {
        mm1_error err = {0};
        mm1_document d = {0};
        mm1_sequence s;
        const bool complete = i % 2 == 0;
        random_document(&d, &r);
        check_ok(mm1_sequence_build(&d, tokenizer, &images_of_3, complete, &s, &err), &err);
        check_sequence(&d, &s, complete);
        mm1_sequence_deinit(&s);
        mm1_document_deinit(&d);
    }
}

static void text_that_names_special_tokens_stays_text(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_document d = {0};
    mm1_sequence s;
    add_text(&d, "see <|image|> and <|endoftext|>", true);
    check_ok(mm1_sequence_build(&d, tokenizer, &images_of_3, false, &s, &err), &err);
    assert_int_equal(s.n_images, 0);
    for (int64_t t = 1; t < s.len; t++) {
        assert_true(s.tokens[t] >= 0);
        assert_false(mm1_tokenizer_is_special(tokenizer, s.tokens[t]));
    }
    char *text = NULL;
    size_t len = 0;
    check_ok(mm1_tokenizer_decode(tokenizer, s.tokens, (size_t)s.len, &text, &len, &err), &err);
    assert_string_equal(text, "see <|image|> and <|endoftext|>");
    mm1_free(text);
    mm1_sequence_deinit(&s);
    mm1_document_deinit(&d);
}

/* target, position, lo, hi, example and source of every place of a row from the sequences that were put there. */
static void check_row(const mm1_batch *b, int64_t row, mm1_sequence *const *seqs, size_t n, int64_t *image,
                      int64_t *n_targets)
{
    int64_t at = 0;
    for (size_t e = 0; e < n; e++) {
        const mm1_sequence *s = seqs[e];
        const int64_t start = at;
        int64_t slot = *image * N_VISUAL;
        for (int64_t t = 0; t < s->len; t++, at++) {
            const int64_t i = row * b->T + at;
            const bool is_slot = s->tokens[t] < 0, has_next = t + 1 < s->len;
            assert_int_equal(b->token[i], is_slot ? 0 : s->tokens[t]);
            assert_int_equal(b->visual[i], is_slot ? slot : -1);
            slot += is_slot;
            if (has_next && s->tokens[t + 1] >= 0 && s->train[t + 1]) {
                assert_int_equal(b->target[i], s->tokens[t + 1]);
                (*n_targets)++;
            } else {
                assert_int_equal(b->target[i], -1);
            }
            assert_int_equal(b->position[i], t);
            assert_int_equal(b->lo[i], start);
            assert_int_equal(b->hi[i], at + 1);
            assert_int_equal(b->example[i], e);
            assert_int_equal(b->source[i], 7 + row);
        }
        *image += s->n_images;
    }
    assert_int_equal(b->row_len[row], at);
    for (; at < b->T; at++) {
        const int64_t i = row * b->T + at;
        assert_int_equal(b->visual[i], -1);
        assert_int_equal(b->target[i], -1);
        assert_int_equal(b->lo[i], 0);
        assert_int_equal(b->hi[i], 0);
        assert_int_equal(b->example[i], -1);
        assert_int_equal(b->source[i], -1);
    }
}

static void batches_of_random_documents_follow_the_rules(void **state)
{
    (void)state;
    enum { B = 3, T = 64, MAX_SEQS = 64 };
    mm1_rng r = mm1_rng_make(2, MM1_RNG_TEST, 0);
    mm1_batch b;
    mm1_error err = {0};
    check_ok(mm1_batch_init(&b, B, T, 60, 4, &err), &err);
    for (int round = 0; round < 50; round++) { /* the same batch over and over: clear must clear all */
        mm1_sequence *seqs[B][MAX_SEQS];
        size_t n[B] = {0};
        mm1_batch_clear(&b);
        for (int64_t row = 0; row < B; row++) {
            for (bool fits = true; fits;) {
                mm1_document d = {0};
                mm1_sequence *s = mm1_alloc(1, sizeof *s);
                assert_non_null(s);
                random_document(&d, &r);
                check_ok(mm1_sequence_build(&d, tokenizer, &images_of_3, true, s, &err), &err);
                mm1_document_deinit(&d);
                const int64_t len = b.row_len[row], images = b.I;
                fits = len + s->len <= T;
                const mm1_status st = mm1_batch_add(&b, row, s, &images_of_3, (int32_t)(7 + row), "doc", &err);
                assert_int_equal(st, fits ? MM1_OK : MM1_E_SHAPE);
                if (fits) {
                    seqs[row][n[row]++] = s;
                } else {
                    check_contains(err.message, "doc");
                    assert_int_equal(b.row_len[row], len);
                    assert_int_equal(b.I, images);
                    mm1_sequence_deinit(s);
                    mm1_free(s);
                }
            }
        }
        int64_t image = 0, n_targets = 0, n_tokens = 0;
        for (int64_t row = 0; row < B; row++) {
            check_row(&b, row, seqs[row], n[row], &image, &n_targets);
            n_tokens += b.row_len[row];
            for (size_t i = 0; i < n[row]; i++) {
                mm1_sequence_deinit(seqs[row][i]);
                mm1_free(seqs[row][i]);
            }
        }
        assert_int_equal(b.I, image);
        assert_int_equal(b.n_targets, n_targets);
        assert_int_equal(b.n_tokens, n_tokens);
    }
    mm1_batch_deinit(&b);
}

static void image_first_and_last_get_no_target_but_the_last_slot_predicts_text(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_document d = {0};
    mm1_sequence s;
    mm1_batch b;
    add_image(&d);
    add_text(&d, "x", true);
    add_image(&d);
    check_ok(mm1_sequence_build(&d, tokenizer, &images_of_2, true, &s, &err), &err);
    assert_int_equal(s.len, 1 + 2 + 1 + 2 + 1);
    check_ok(mm1_batch_init(&b, 1, 8, 2, 4, &err), &err);
    check_ok(mm1_batch_add(&b, 0, &s, &images_of_2, 0, "doc", &err), &err);
    /* <end> i i x i i <end> pad: only the second slot has a target; the closing <end> follows an image: untrained. */
    const int32_t target[8] = {-1, -1, s.tokens[3], -1, -1, -1, -1, -1};
    const int32_t visual[8] = {-1, 0, 1, -1, 2, 3, -1, -1};
    assert_memory_equal(b.target, target, sizeof target);
    assert_memory_equal(b.visual, visual, sizeof visual);
    assert_int_equal(b.n_targets, 1);
    mm1_batch_deinit(&b);
    mm1_sequence_deinit(&s);
    mm1_document_deinit(&d);
}

static void zero_images_and_empty_documents_are_ordinary(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_document d = {0};
    mm1_sequence s;
    mm1_batch b;
    check_ok(mm1_batch_init(&b, 2, 4, 0, 0, &err), &err);
    check_ok(mm1_sequence_build(&d, tokenizer, &no_images, true, &s, &err), &err);
    assert_int_equal(s.len, 2);
    check_ok(mm1_batch_add(&b, 1, &s, &no_images, 0, NULL, &err), &err);
    assert_int_equal(b.n_targets, 0);
    assert_int_equal(b.n_tokens, 2);
    check_ok(mm1_batch_add(&b, 0, &s, &no_images, 0, NULL, &err), &err); /* without images rows may come in any order */
    mm1_batch_deinit(&b);
    mm1_sequence_deinit(&s);
}

static void wrong_counts_are_refused_and_change_nothing(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_document d = {0};
    mm1_sequence s, none;
    mm1_batch b;
    const mm1_image_spec huge = {.n_tokens = (int64_t)INT32_MAX + 1};
    add_image(&d);
    assert_int_equal(mm1_sequence_build(&d, tokenizer, &no_images, true, &none, &err), MM1_E_ARG);
    assert_null(none.tokens);
    assert_int_equal(mm1_sequence_build(&d, tokenizer, &huge, true, &none, &err), MM1_E_LIMIT);
    check_ok(mm1_sequence_build(&d, tokenizer, &images_of_3, true, &s, &err), &err);
    check_ok(mm1_batch_init(&b, 2, 16, 2, 4, &err), &err);
    /* Every count in turn is a lie. */
    s.images[0].n_slots++;
    assert_int_equal(mm1_batch_add(&b, 0, &s, &images_of_3, 0, "the doc", &err), MM1_E_SHAPE);
    check_contains(err.message, "the doc: 3 image slots for 1 images of 4");
    s.images[0].n_slots--;
    assert_int_equal(mm1_batch_add(&b, 0, &s, &images_of_2, 0, "the doc", &err), MM1_E_SHAPE); /* rows of a tile */
    check_contains(err.message, "the doc: position 3 holds token -1 and row 2 of 2 visual tokens");
    s.images[0].n_tiles = 3;
    assert_int_equal(mm1_batch_add(&b, 0, &s, &images_of_3, 0, "the doc", &err), MM1_E_SHAPE);
    check_contains(err.message, "the doc: 1 images of 3 tiles do not fit");
    s.images[0].n_tiles = 1;
    s.n_images = 0;
    assert_int_equal(mm1_batch_add(&b, 0, &s, &images_of_3, 0, "the doc", &err), MM1_E_SHAPE);
    s.n_images = 1;
    static const int32_t lies[][2] = {{MM1_IMAGE_SLOT, MM1_VISUAL_NONE}, {5, 0}, {MM1_IMAGE_SLOT, MM1_VISUAL_NEWLINE}};
    const int32_t token = s.tokens[1], visual = s.visual[1];
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        s.tokens[1] = lies[i][0];
        s.visual[1] = lies[i][1];
        assert_int_equal(mm1_batch_add(&b, 0, &s, &images_of_3, 0, "the doc", &err), MM1_E_SHAPE);
        check_contains(err.message, "the doc");
    }
    s.tokens[1] = token;
    s.visual[1] = visual;
    assert_int_equal(mm1_batch_add(&b, 2, &s, &images_of_3, 0, "the doc", &err), MM1_E_ARG);
    assert_int_equal(b.n_tokens, 0);
    check_ok(mm1_batch_add(&b, 1, &s, &images_of_3, 0, "the doc", &err), &err);
    assert_int_equal(mm1_batch_add(&b, 0, &s, &images_of_3, 0, "late", &err), MM1_E_STATE);
    assert_int_equal(b.I, 1);
    mm1_batch_deinit(&b);
    assert_int_equal(mm1_batch_init(&b, 0, 4, 1, 4, &err), MM1_E_ARG);
    assert_int_equal(mm1_batch_init(&b, 1, 4, INT64_MAX / 2, 4, &err), MM1_E_LIMIT);
    assert_int_equal(mm1_batch_init(&b, INT64_MAX, 4, 1, 4, &err), MM1_E_LIMIT);
    mm1_sequence_deinit(&s);
    mm1_document_deinit(&d);
}

static void failing_allocations_leak_nothing(void **state)
{
    (void)state;
    mm1_document d = {0};
    add_text(&d, "the cat", true);
    add_image(&d);
    const size_t before = mm1_alloc_bytes();
    bool done = false;
    for (uint64_t n = 1; n < 200 && !done; n++) {
        mm1_error err = {0};
        mm1_sequence s;
        mm1_batch b = {0};
        mm1_alloc_fail_at(n);
        mm1_status st = mm1_sequence_build(&d, tokenizer, &images_of_3, true, &s, &err);
        if (st == MM1_OK) {
            st = mm1_batch_init(&b, 2, 16, 1, 4, &err);
        }
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || st == MM1_E_NOMEM);
        done = st == MM1_OK;
        mm1_batch_deinit(&b);
        mm1_sequence_deinit(&s);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(done);
    mm1_document_deinit(&d);
}

/* MM1's 720 tokens a picture: nine pictures with all crops are 6480, and with the crops of the last three
 * demonstrations and of the question alone 8 demonstrations fit 4096. */
static void eight_demonstrations_of_720_tokens_a_picture_fit_4096_positions(void **state)
{
    static const mm1_image_spec images = {.mode = MM1_IMAGE_SUBIMAGES, .n_tokens = 144, .crops = 2};
    enum { SHOTS = 8, WHOLE = 3, TEXTS = 400 };
    (void)state;
    for (int is_mixed = 0; is_mixed < 2; is_mixed++) {
        mm1_error err = {0};
        mm1_document d = {0};
        mm1_sequence s;
        for (int i = 0; i <= SHOTS; i++) {
            add_image(&d);
            d.parts[d.n_parts - 1].overview = is_mixed && i < SHOTS - WHOLE;
            add_text(&d, "a red cat sat on the mat", false);
        }
        check_ok(mm1_sequence_build(&d, tokenizer, &images, false, &s, &err), &err);
        const int64_t n_slots = is_mixed ? (SHOTS - WHOLE) * 144 + (WHOLE + 1) * 720 : (SHOTS + 1) * 720;
        int64_t n = 0;
        for (int64_t i = 0; i < s.n_images; i++) {
            n += s.images[i].n_positions;
            assert_int_equal(s.images[i].n_tiles, is_mixed && i < SHOTS - WHOLE ? 1 : 5);
        }
        assert_int_equal(n, n_slots);
        assert_true(s.len >= n_slots && s.len <= n_slots + TEXTS);
        assert_true(is_mixed == (s.len <= 4096));
        mm1_sequence_deinit(&s);
        mm1_document_deinit(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_demonstrations_of_720_tokens_a_picture_fit_4096_positions),
        cmocka_unit_test(sequences_of_random_documents_follow_the_rules),
        cmocka_unit_test(text_that_names_special_tokens_stays_text),
        cmocka_unit_test(batches_of_random_documents_follow_the_rules),
        cmocka_unit_test(image_first_and_last_get_no_target_but_the_last_slot_predicts_text),
        cmocka_unit_test(zero_images_and_empty_documents_are_ordinary),
        cmocka_unit_test(wrong_counts_are_refused_and_change_nothing),
        cmocka_unit_test(failing_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, train_tokenizer, drop_tokenizer);
}

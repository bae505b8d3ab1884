/* The held-out measures on a small made data set and a random model: what is scored, with which picture, among which
 * choices; and that nothing depends on how items are packed. */
#include "support/check.h"

#include "../data/data_fixture.h"
#include "base/thread.h"
#include "eval/embedder.h"
#include "eval/heldout.h"
#include "eval/scorer.h"
#include "generate/score.h"
#include <jansson.h>

static void make_model_of(mm1_model *m, fixture *f, mm1_model_kind kind, mm1_image_mode mode)
{
    mm1_model_config c;
    mm1_error err = {0};
    check_ok(mm1_fields_defaults(mm1__model_fields, &c, &err), &err);
    c.vision.image_size = 8;
    c.vision.patch_size = 4;
    c.vision.width = 16;
    c.vision.n_layers = 1;
    c.vision.n_heads = 2;
    c.vision.mlp_width = 32;
    c.kind = kind;
    c.text.vocab_size = 320;
    c.text.width = 16;
    c.text.n_layers = 1;
    c.text.n_heads = 2;
    c.text.mlp_width = 24;
    c.text.max_positions = 12;
    c.joint.dim = 8;
    c.connector.kind = MM1_CONNECTOR_AVGPOOL;
    c.connector.n_tokens = 4;
    c.image.mode = mode;
    c.decoder.vocab_size = 320;
    c.decoder.width = 32;
    c.decoder.n_layers = 2;
    c.decoder.n_heads = 4;
    c.decoder.mlp_width = 48;
    c.decoder.max_positions = 512;
    check_ok(mm1_model_init(m, &c, &err), &err);
    check_ok(mm1_params_alloc(&m->params, false, &err), &err);
    mm1_params_init(&m->params, 3);
    /* Strong enough pictures and weights that every input shows in the scores. */
    for (int64_t i = 0; i < m->params.total; i++) {
        m->params.data[i] *= 2;
    }
    m->tokenizer = f->tokenizer;
    f->tokenizer = NULL;
}

static void make_model(mm1_model *m, fixture *f, mm1_image_mode mode)
{
    make_model_of(m, f, MM1_MODEL_MM1, mode);
}

static void check_scores(mm1_image_mode mode)
{
    enum { N = 9, MAX_TILES = 5 };
    fixture f;
    mm1_model m;
    mm1_error err = {0};
    mm1_scorer *scorer = NULL;
    mm1_session *session = NULL;
    fixture_init(&f);
    make_model(&m, &f, mode);
    check_ok(mm1_scorer_create(&m, 96, &scorer, &err), &err);
    check_ok(mm1_session_create(&m, 0, &session, &err), &err);
    const int64_t size = mm1_model_n_visual(&m) * m.config.decoder.width;
    float *pixels = mm1_calloc(3 * 8 * 8 * N * MAX_TILES, sizeof *pixels),
          *features = mm1_calloc((size_t)(N * MAX_TILES * size), sizeof *features);

    mm1_document documents[N] = {0};
    mm1_sequence sequences[N] = {0};
    mm1_score_item items[N];
    const float *pointers[N];
    for (int i = 0; i < N; i++) {
        char text[64];
        size_t len = 0;
        uint8_t *png = fixture_png(40 * i, 5, 4, &len);
        const int n = snprintf(text, sizeof text, "a cat %d%.*s", i, i * 3, " and the red mat on which the cat sat");
        if (i % 3 != 1) {
            mm1_image_layout layout;
            check_ok(mm1_image_layout_read(&m.images, png, len, "a", &layout, &err), &err);
            assert_true(layout.n_tiles <= MAX_TILES);
            check_ok(mm1_document_add_image(&documents[i], png, len, "a", &err), &err);
            check_ok(mm1_image_to_pixels(&m.images, &layout, png, len, "a", pixels + i * MAX_TILES * 3 * 64, &err),
                     &err);
        }
        check_ok(mm1_document_add_text(&documents[i], text, (size_t)n, true, &err), &err);
        check_ok(mm1_sequence_build(&documents[i], m.tokenizer, &m.images, true, &sequences[i], &err), &err);
        mm1_free(png);
    }
    check_ok(mm1_scorer_encode(scorer, pixels, N * MAX_TILES, features, &err), &err);
    for (int i = 0; i < N; i++) {
        pointers[i] = features + i * MAX_TILES * size;
        items[i] = (mm1_score_item){&sequences[i], &pointers[i], mm1_calloc((size_t)sequences[i].len, sizeof(float))};
    }
    check_ok(mm1_scorer_run(scorer, items, N, &err), &err);
    for (int i = 0; i < N; i++) {
        float *alone = mm1_calloc((size_t)sequences[i].len, sizeof *alone);
        const mm1_score_item one = {&sequences[i], &pointers[i], alone};
        check_ok(mm1_scorer_run(scorer, &one, 1, &err), &err);
        check_close(alone, items[i].nll, sequences[i].len, 2e-5, 1e-5);
        mm1_free(alone);

        mm1_score score;
        check_ok(mm1_score_document(session, &documents[i], true, false, &score, &err), &err);
        assert_int_equal(score.n, sequences[i].len);
        for (int64_t t = 0; t < score.n; t++) {
            if (sequences[i].train[t]) {
                assert_true(fabs(score.logprob[t] + items[i].nll[t]) < 1e-4);
            }
        }
        mm1_score_deinit(&score);
    }
    for (int i = 0; i < N; i++) {
        mm1_free(items[i].nll);
        mm1_sequence_deinit(&sequences[i]);
        mm1_document_deinit(&documents[i]);
    }
    mm1_free(pixels);
    mm1_free(features);
    mm1_session_destroy(session);
    mm1_scorer_destroy(scorer);
    mm1_model_deinit(&m);
    fixture_deinit(&f);
}

static void a_score_does_not_depend_on_its_neighbours_and_equals_the_session(void **state)
{
    (void)state;
    check_scores(MM1_IMAGE_PLAIN);
    check_scores(MM1_IMAGE_SUBIMAGES);
    check_scores(MM1_IMAGE_ANYRES);
}

static void make_data(fixture *f)
{
    mm1_error err = {0};
    char *heldout = fixture_path(f, "heldout"), *train = fixture_path(f, "train");
    check_ok(mm1_dir_make(heldout, &err), &err);
    check_ok(mm1_dir_make(train, &err), &err);
    mm1_free(heldout);
    mm1_free(train);
    fixture_captions(f, "heldout/captions-0000.tar", 0, 23, 0);
    fixture_captions(f, "train/captions-0000.tar", 100, 30, 0);
    fixture_texts(f, "heldout/text-0000.jsonl.zst", 12);
}

static void every_sample_is_told_with_true_and_strange_pictures_and_ten_choices(void **state)
{
    (void)state;
    fixture f;
    mm1_model m;
    mm1_error err = {0};
    mm1_eval_results r;
    fixture_init(&f);
    make_model(&m, &f, MM1_IMAGE_PLAIN);
    make_data(&f);
    char *output = fixture_path(&f, "eval");
    mm1_eval_options o = mm1_eval_options_default();
    o.data_dir = f.dir;
    o.output_dir = output;
    o.max_new_tokens = 4;
    check_ok(mm1_eval_run(&m, &o, &r, &err), &err);

    assert_int_equal(r.n_captions, 23);
    assert_int_equal(r.n_choice10, 23);
    assert_true(isfinite(r.cider[0].value) && isfinite(r.cider[2].value) && r.text_bits_per_byte.value > 1);
    assert_true(r.caption_nll[MM1_PICTURE_TRUE].low <= r.caption_nll[MM1_PICTURE_TRUE].value);

    char *path = mm1_path_join(output, "samples.jsonl"), *text = NULL;
    check_ok(mm1_file_read(path, 1 << 20, &text, NULL, &err), &err);
    int n = 0, n_strange = 0, n_right = 0, n_right_gain = 0;
    double blind[23];
    double sum = 0, tokens = 0;
    char captions[23][64];
    for (char *line = text; *line != '\0'; line = strchr(line, '\n') + 1, n++) {
        json_error_t bad;
        json_t *s = json_loadb(line, (size_t)(strchr(line, '\n') - line), 0, &bad);
        assert_true(s != NULL && n < 23);
        blind[n] = json_number_value(json_object_get(json_object_get(s, "nll"), "none"));
        (void)snprintf(captions[n], sizeof captions[n], "%s", json_string_value(json_object_get(s, "reference")));
        json_decref(s);
    }
    n = 0;
    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n');
        json_error_t bad;
        json_t *s = json_loadb(line, (size_t)(end - line), 0, &bad);
        assert_non_null(s);
        const char *picture = json_string_value(json_object_get(s, "image"));
        char *at = mm1_path_join(output, picture);
        assert_true(mm1_path_exists(at));
        mm1_free(at);
        const json_t *choices = json_object_get(s, "choices"), *nll = json_object_get(s, "nll");
        const int answer = (int)json_integer_value(json_object_get(s, "answer"));
        assert_int_equal(json_array_size(choices), 10);
        for (size_t i = 0; i < 10; i++) {
            for (size_t j = 0; j < i; j++) {
                assert_string_not_equal(json_string_value(json_array_get(choices, i)),
                                        json_string_value(json_array_get(choices, j)));
            }
        }
        assert_string_equal(json_string_value(json_array_get(choices, (size_t)answer)),
                            json_string_value(json_object_get(s, "reference")));
        const double own = json_number_value(json_object_get(nll, "true"));
        assert_true(fabs(own + json_number_value(json_array_get(json_object_get(s, "choice_scores"), (size_t)answer))) <
                    1e-3);
        n_strange += own != json_number_value(json_object_get(nll, "shuffled"));
        n_right += json_integer_value(json_object_get(s, "picked")) == answer;
        int best = -1;
        double best_gain = -INFINITY;
        for (int i = 0; i < 10; i++) {
            int k = 0;
            while (strcmp(captions[k], json_string_value(json_array_get(choices, (size_t)i))) != 0) {
                k++;
                assert_true(k < 23);
            }
            const double gain =
                json_number_value(json_array_get(json_object_get(s, "choice_scores"), (size_t)i)) + blind[k];
            best = gain > best_gain ? i : best;
            best_gain = fmax(gain, best_gain);
        }
        n_right_gain += best == answer;
        sum += own;
        tokens += (double)json_integer_value(json_object_get(s, "n_tokens"));
        assert_non_null(json_object_get(s, "generated"));
        json_decref(s);
        n++;
        line = end + 1;
    }
    assert_int_equal(n, 23);
    assert_int_equal(n_strange, 23);
    assert_true(fabs(sum / tokens - r.caption_nll[MM1_PICTURE_TRUE].value) < 1e-4);
    assert_true(fabs(n_right / 23.0 - r.choice10.value) < 1e-9);
    assert_true(fabs(n_right_gain / 23.0 - r.choice10_gain.value) < 1e-9);
    mm1_free(text);
    mm1_free(path);
    mm1_free(output);
    mm1_eval_results_deinit(&r);
    mm1_model_deinit(&m);
    fixture_deinit(&f);
}

/* The member of each line of samples.jsonl under `key`, as an array. */
static json_t *read_samples(const char *output, const char *key)
{
    char *path = mm1_path_join(output, "samples.jsonl"), *text = NULL;
    mm1_error err = {0};
    json_t *all = json_array();
    check_ok(mm1_file_read(path, 1 << 20, &text, NULL, &err), &err);
    for (char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        json_error_t bad;
        json_t *s = json_loadb(line, (size_t)(strchr(line, '\n') - line), 0, &bad);
        assert_non_null(s);
        assert_int_equal(json_array_append(all, json_object_get(s, key)), 0);
        json_decref(s);
    }
    mm1_free(text);
    mm1_free(path);
    return all;
}

static void a_model_that_compares_chooses_among_the_same_captions(void **state)
{
    (void)state;
    mm1_error err = {0};
    json_t *choices[2], *answers[2], *picked = NULL, *scores = NULL;
    mm1_eval_results r;
    double scale = 0;
    for (int k = 0; k < 2; k++) {
        fixture f;
        mm1_model m;
        fixture_init(&f);
        /* One that compares is shown one tile whatever the mode. */
        make_model_of(&m, &f, k == 0 ? MM1_MODEL_MM1 : MM1_MODEL_CLIP, k == 0 ? MM1_IMAGE_PLAIN : MM1_IMAGE_ANYRES);
        make_data(&f);
        char *output = fixture_path(&f, "eval");
        mm1_eval_options o = mm1_eval_options_default();
        o.data_dir = f.dir;
        o.output_dir = output;
        o.tasks[MM1_TASK_CHOICE10] = k == 0; /* all that the other can do */
        check_ok(mm1_eval_run(&m, &o, &r, &err), &err);
        choices[k] = read_samples(output, "choices");
        answers[k] = read_samples(output, "answer");
        if (k == 1) {
            picked = read_samples(output, "picked");
            scores = read_samples(output, "choice_scores");
            scale = exp(m.joint.log_scale->data[0]);
            o.tasks[MM1_TASK_CAPTIONS] = true;
            mm1_eval_results none;
            assert_int_equal(mm1_eval_run(&m, &o, &none, &err), MM1_E_STATE);
            check_contains(err.message, "captions");
        }
        mm1_free(output);
        if (k == 0) {
            mm1_eval_results_deinit(&r);
        }
        mm1_model_deinit(&m);
        fixture_deinit(&f);
    }
    assert_true(json_array_size(choices[0]) == 23 && json_equal(choices[0], choices[1]));
    assert_true(json_equal(answers[0], answers[1]));
    int n_right = 0;
    for (size_t i = 0; i < 23; i++) {
        const json_t *s = json_array_get(scores, i);
        const json_int_t p = json_integer_value(json_array_get(picked, i));
        for (size_t c = 0; c < 10; c++) {
            const double score = json_number_value(json_array_get(s, c));
            assert_true(fabs(score) <= scale * 1.0001);
            assert_true(score <= json_number_value(json_array_get(s, (size_t)p)));
        }
        n_right += p == json_integer_value(json_array_get(answers[1], i));
    }
    assert_int_equal(r.n_choice10, 23);
    assert_true(fabs(n_right / 23.0 - r.choice10.value) < 1e-9);
    assert_true(isnan(r.choice10_gain.value) && isnan(r.caption_nll[MM1_PICTURE_TRUE].value));
    assert_int_equal(r.tasks.n, 1);
    mm1_eval_results_deinit(&r);
    json_decref(scores);
    json_decref(picked);
    for (int k = 0; k < 2; k++) {
        json_decref(choices[k]);
        json_decref(answers[k]);
    }
}

static void a_text_is_embedded_as_in_training_whatever_stands_beside_it(void **state)
{
    (void)state;
    enum { N = 40, D = 8 };
    fixture f;
    mm1_model m;
    mm1_embedder *e = NULL;
    mm1_error err = {0};
    static char text[N][64];
    const char *texts[N];
    float together[N * D], alone[D];
    fixture_init(&f);
    make_model_of(&m, &f, MM1_MODEL_CLIP, MM1_IMAGE_PLAIN);
    check_ok(mm1_embedder_create(&m, 1, &e, &err), &err);
    for (int i = 0; i < N; i++) {
        (void)snprintf(text[i], sizeof text[i], "cat %d%.*s", i, i % 36, " and the red mat on which the cat sat");
        texts[i] = text[i];
    }
    check_ok(mm1_embedder_texts(e, texts, N, together, &err), &err);
    for (int i = 0; i < N; i++) {
        double square = 0;
        check_ok(mm1_embedder_texts(e, &texts[i], 1, alone, &err), &err);
        check_close(alone, together + i * D, D, 2e-5, 1e-5);
        for (int d = 0; d < D; d++) {
            square += alone[d] * alone[d];
        }
        assert_true(fabs(square - 1) < 1e-4);
    }
    /* In training the text stands behind its picture. */
    size_t len = 0;
    uint8_t *png = fixture_png(3, 5, 4, &len);
    const mm1_image_spec images = mm1_image_one_tile(&m.images);
    mm1_document d = {0};
    mm1_sequence q = {0};
    mm1_texts one = {0};
    mm1_arena arena;
    mm1_tape t;
    int32_t ids[64];
    int64_t n = 0;
    check_ok(mm1_document_add_image(&d, png, len, "a", &err), &err);
    check_ok(mm1_document_add_text(&d, text[7], strlen(text[7]), true, &err), &err);
    check_ok(mm1_sequence_build(&d, m.tokenizer, &images, true, &q, &err), &err);
    for (int64_t i = 1; i < q.len; i++) {
        if (q.tokens[i] != MM1_IMAGE_SLOT) {
            ids[n++] = q.tokens[i];
        }
    }
    check_ok(mm1_texts_init(&one, 1, 64, &err), &err);
    mm1_texts_add(&one, ids, n, q.tokens[0], m.config.text.max_positions);
    check_ok(mm1_arena_init(&arena, 1 << 20, &err), &err);
    check_ok(mm1_tape_init(&t, &arena, &err), &err);
    const mm1_tensor *x = mm1_joint_text(&m.joint, &t, mm1_text_tower_forward(&m.text, &t, &one));
    check_ok(mm1_tape_status(&t, &err), &err);
    check_close(together + 7 * D, x->data, D, 2e-5, 1e-5);
    mm1_tape_deinit(&t);
    mm1_arena_deinit(&arena);
    mm1_texts_deinit(&one);
    mm1_sequence_deinit(&q);
    mm1_document_deinit(&d);
    mm1_free(png);
    mm1_embedder_destroy(e);
    mm1_model_deinit(&m);
    fixture_deinit(&f);
}

static void data_that_is_not_there_is_named_with_the_remedy(void **state)
{
    (void)state;
    fixture f;
    mm1_model m;
    mm1_error err = {0};
    mm1_eval_results r;
    fixture_init(&f);
    make_model(&m, &f, MM1_IMAGE_PLAIN);
    mm1_eval_options o = mm1_eval_options_default();
    o.data_dir = f.dir;
    assert_int_equal(mm1_eval_run(&m, &o, &r, &err), MM1_E_IO);
    check_contains(err.message, "mm1 data build");
    check_contains(err.message, f.dir);
    mm1_model_deinit(&m);
    fixture_deinit(&f);
}

static int group_setup(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_threads_set(2);
    return mm1_kernels_init(NULL, &err) == MM1_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_score_does_not_depend_on_its_neighbours_and_equals_the_session),
        cmocka_unit_test(every_sample_is_told_with_true_and_strange_pictures_and_ten_choices),
        cmocka_unit_test(a_model_that_compares_chooses_among_the_same_captions),
        cmocka_unit_test(a_text_is_embedded_as_in_training_whatever_stands_beside_it),
        cmocka_unit_test(data_that_is_not_there_is_named_with_the_remedy),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}

/* Which tokens begin and end documents: precedence of the files, and what sequences do without a first token. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "data/packing.h"
#include "model/roles.h"
#include "model/sequence.h"
#include "support/plain_images.h"

static char dir[] = "/tmp/mm1_roles_XXXXXX";
enum { END, PAD, IMAGE };

static bool next_text(void *ctx, const char **text, size_t *len)
{
    int *i = ctx;
    *text = "the cat and the red mat";
    *len = strlen(*text);
    return (*i)++ < 3;
}

static void write_file(const char *name, const char *text)
{
    mm1_error err = {0};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text == NULL) {
        (void)remove(path);
    } else {
        check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
    }
}

static int make_folder(void **state)
{
    (void)state;
    int at = 0;
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    char path[128];
    const mm1_tokenizer_train_config config = {.vocab_size = 270, .min_frequency = 2};
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    check_ok(mm1_tokenizer_train(&config, next_text, &at, &t, &err), &err);
    check_ok(mm1_tokenizer_save(t, path, &err), &err);
    mm1_tokenizer_destroy(t);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    write_file("tokenizer.json", NULL);
    write_file("tokenizer_config.json", NULL);
    write_file("generation_config.json", NULL);
    write_file("config.json", NULL);
    return remove(dir);
}

static mm1_status load(const char *tokenizer, const char *generation, const char *config, mm1_tokenizer **t,
                       mm1_error *err)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    write_file("tokenizer_config.json", tokenizer);
    write_file("generation_config.json", generation);
    write_file("config.json", config);
    return mm1_roles_load(path, t, err);
}

static void files_have_their_precedence(void **state)
{
    (void)state;
    static const struct {
        const char *tokenizer, *generation, *config;
        int bos, pad, n_eos, eos[2];
    } cases[] = {
        {NULL, NULL, NULL, END, PAD, 1, {END}},
        {"{\"add_bos_token\":false,\"bos_token\":\"<|pad|>\"}", NULL, NULL, -1, PAD, 1, {END}},
        {"{\"add_bos_token\":true,\"bos_token\":{\"content\":\"<|pad|>\"}}", NULL, NULL, PAD, PAD, 1, {END}},
        {"{\"bos_token\":\"<|pad|>\"}", NULL, "{\"bos_token_id\":1}", END, PAD, 1, {END}},
        {NULL, "{\"eos_token_id\":[2,1]}", "{\"eos_token_id\":0}", END, PAD, 2, {IMAGE, PAD}},
        {NULL, "{\"eos_token_id\":null}", "{\"eos_token_id\":2,\"pad_token_id\":2}", END, IMAGE, 1, {IMAGE}},
        {NULL, NULL, "{\"text_config\":{\"eos_token_id\":2,\"pad_token_id\":0}}", END, END, 1, {IMAGE}},
        {NULL, NULL, "{\"eos_token_id\":1,\"text_config\":{\"eos_token_id\":2}}", END, PAD, 1, {PAD}},
        {"{\"eos_token\":\"<|pad|>\",\"pad_token\":\"<|image|>\"}",
         "{\"eos_token_id\":[0,1]}",
         NULL,
         END,
         IMAGE,
         2,
         {PAD, END}},
        {"{\"eos_token\":\"</s>\"}", "{\"eos_token_id\":[50,-1,99999,\"a\",1]}", NULL, END, PAD, 1, {PAD}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_error err = {0};
        mm1_tokenizer *t = NULL, *again = NULL;
        char path[128];
        (void)snprintf(path, sizeof path, "%s/again.json", dir);
        check_ok(load(cases[i].tokenizer, cases[i].generation, cases[i].config, &t, &err), &err);
        const mm1_token_roles *r = mm1_tokenizer_roles(t);
        assert_int_equal(r->bos, cases[i].bos);
        assert_int_equal(r->pad, cases[i].pad);
        assert_int_equal(r->n_eos, cases[i].n_eos);
        for (int k = 0; k < r->n_eos; k++) {
            assert_int_equal(r->eos[k], cases[i].eos[k]);
            assert_true(mm1_tokenizer_is_eos(t, r->eos[k]));
        }
        /* tokenizer.json keeps what begins a text. */
        check_ok(mm1_tokenizer_save(t, path, &err), &err);
        check_ok(mm1_tokenizer_load(path, &again, &err), &err);
        assert_int_equal(mm1_tokenizer_roles(again)->bos, cases[i].bos);
        mm1_tokenizer_destroy(again);
        mm1_tokenizer_destroy(t);
        (void)remove(path);
    }
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    assert_int_equal(load("{\"add_bos_token\":true}", NULL, NULL, &t, &err), MM1_E_FORMAT);
    check_contains(err.message, "add_bos_token");
    assert_null(t);
    assert_int_equal(load(NULL, "[", NULL, &t, &err), MM1_E_FORMAT);
    check_contains(err.message, "generation_config.json");
    assert_int_equal(load(NULL, NULL, "[]", &t, &err), MM1_E_FORMAT);
    check_contains(err.message, "config.json");
}

static void without_a_bos_the_first_token_is_no_target(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    mm1_document d = {0};
    const mm1_image_spec images = plain_spec(1);
    mm1_sequence q, empty, piece;
    mm1_batch b;
    check_ok(load("{\"add_bos_token\":false}", NULL, NULL, &t, &err), &err);
    check_ok(mm1_document_add_text(&d, "xyz", 3, true, &err), &err);
    check_ok(mm1_sequence_build(&d, t, &images, true, &q, &err), &err);
    assert_int_equal(q.len, 4);
    assert_int_equal(mm1_sequence_lead(&q), 0);
    assert_int_equal(q.tokens[3], END);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(q.train[i], i > 0);
        assert_int_equal(q.part[i], i < 3 ? 0 : -1);
    }
    check_ok(mm1_batch_init(&b, 1, 8, 0, 0, &err), &err);
    check_ok(mm1_batch_add(&b, 0, &q, &images, 0, NULL, &err), &err);
    assert_int_equal(b.n_targets, 3);
    /* Cut into rows of 3: x y z, and the end alone, which follows nothing and is dropped. */
    const mm1_pack_limits limits = {.seq_len = 3, .max_images = 1};
    mm1_pack_piece p = mm1_pack_next(&limits, &q, 0, 3, 1);
    assert_int_equal(p.verdict, MM1_PACK_TAKE);
    assert_int_equal(p.begin, 0);
    assert_int_equal(p.end, 3);
    assert_int_equal(p.len, 3);
    check_ok(mm1_sequence_init(&piece, 3, 0, &err), &err);
    mm1_pack_copy(&q, &p, 1, &piece);
    assert_int_equal(piece.len, 3);
    assert_memory_equal(piece.tokens, q.tokens, 3 * sizeof *piece.tokens);
    assert_int_equal(piece.train[0], 0);
    mm1_sequence_deinit(&piece);
    /* Nothing at all is an empty prompt. */
    mm1_document none = {0};
    check_ok(mm1_sequence_build(&none, t, &images, false, &empty, &err), &err);
    assert_int_equal(empty.len, 0);
    mm1_sequence_deinit(&empty);
    mm1_batch_deinit(&b);
    mm1_sequence_deinit(&q);
    mm1_document_deinit(&d);
    mm1_tokenizer_destroy(t);
}

static void without_a_bos_a_piece_counts_its_tiles_from_its_first_position(void **state)
{
    (void)state;
    enum { K = 2, CUT = K + 2 };
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    mm1_document d = {0};
    mm1_sequence q, piece;
    const mm1_image_spec images = plain_spec(K);
    check_ok(load("{\"add_bos_token\":false}", NULL, NULL, &t, &err), &err);
    for (int i = 0; i < 2; i++) {
        check_ok(mm1_document_add_image(&d, "", 0, "picture", &err), &err);
        check_ok(mm1_document_add_text(&d, "xy", 2, true, &err), &err);
    }
    check_ok(mm1_sequence_build(&d, t, &images, true, &q, &err), &err);
    assert_int_equal(q.len, 2 * CUT + 1);
    check_ok(mm1_sequence_init(&piece, q.len, 1, &err), &err);
    const mm1_pack_limits limits = {.seq_len = CUT + 1, .max_images = 1};
    for (int64_t i = 0; i < 2; i++) {
        const mm1_pack_piece p = mm1_pack_next(&limits, &q, i * CUT, CUT + 1, 1);
        assert_int_equal(p.verdict, MM1_PACK_TAKE);
        assert_int_equal(p.begin, i * CUT);
        assert_int_equal(p.len, CUT + i);
        assert_int_equal(p.first_tile, i);
        mm1_pack_copy(&q, &p, K, &piece);
        assert_int_equal(piece.n_images, 1);
        for (int64_t at = 0; at < piece.len; at++) {
            assert_int_equal(piece.tokens[at], q.tokens[p.begin + at]);
            assert_int_equal(piece.visual[at], at < K ? at : MM1_VISUAL_NONE);
        }
    }
    mm1_sequence_deinit(&piece);
    mm1_sequence_deinit(&q);
    mm1_document_deinit(&d);
    mm1_tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_have_their_precedence),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(without_a_bos_the_first_token_is_no_target),
        cmocka_unit_test(without_a_bos_a_piece_counts_its_tiles_from_its_first_position),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

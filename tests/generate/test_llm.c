/* The public handle: the same texts and scores as the parts it is made of, and programs that embed it. */
#include "support/check.h"

#include "base/file.h"
#include "generate/generate.h"
#include "generate/generate_fixture.h"
#include "generate/score.h"
#include <sys/wait.h>
#include <unistd.h>

#define EMBED MM1_BINARY_DIR "/tests/generate/embed/"

typedef struct folder {
    char dir[256], image[300];
    mm1_model model; /* what was saved */
    uint8_t *png;
    size_t png_len;
} folder;

static void setup(folder *f)
{
    mm1_error err = {0};
    const mm1_model_config config = fixture_config(false);
    check_tmpdir(f->dir, sizeof f->dir);
    fixture_model(&f->model, &config);
    check_ok(mm1_model_save(&f->model, f->dir, MM1_DTYPE_F32, &err), &err);
    (void)snprintf(f->image, sizeof f->image, "%s/a.png", f->dir);
    f->png = fixture_png(1, &f->png_len);
    check_ok(mm1_file_write_atomic(f->image, f->png, f->png_len, &err), &err);
}

static void teardown(folder *f)
{
    mm1_error err = {0};
    mm1_free(f->png);
    mm1_model_deinit(&f->model);
    check_ok(mm1_path_remove(f->dir, &err), &err);
}

/* What the parts below the handle give for the picture and "the cat". */
static void expected(folder *f, const mm1_generate_params *p, mm1_generated *g, mm1_score *score)
{
    mm1_document d = {0};
    mm1_session *s = NULL;
    mm1_error err = {0};
    check_ok(mm1_document_add_image(&d, f->png, f->png_len, NULL, &err), &err);
    add_text(&d, "the cat");
    check_ok(mm1_session_create(&f->model, 0, &s, &err), &err);
    check_ok(mm1_generate(s, &d, p, NULL, NULL, g, &err), &err);
    check_ok(mm1_score_document(s, &d, true, false, score, &err), &err);
    mm1_session_destroy(s);
    mm1_document_deinit(&d);
}

static void a_folder_is_loaded_goes_on_and_scores(void **state)
{
    (void)state;
    folder f;
    mm1_llm *llm = NULL;
    mm1_error err = {0};
    mm1_generated got, want;
    mm1_score score, want_score;
    mm1_generate_params p = mm1_generate_defaults();
    p.max_tokens = 8;
    setup(&f);
    expected(&f, &p, &want, &want_score);
    check_ok(mm1_llm_load(f.dir, &(mm1_llm_options){.threads = 2}, &llm, &err), &err);
    const mm1_llm_part by_path[] = {mm1_llm_image_file(f.image), mm1_llm_text("the cat", 7)};
    const mm1_llm_part by_bytes[] = {mm1_llm_image(f.png, f.png_len, "memory"), mm1_llm_text("the cat", 7)};
    for (int i = 0; i < 2; i++) {
        const mm1_llm_part *prompt = i == 0 ? by_path : by_bytes;
        check_ok(mm1_llm_generate(llm, prompt, 2, &p, NULL, NULL, &got, &err), &err);
        assert_string_equal(got.text, want.text);
        assert_int_equal(got.n_tokens, want.n_tokens);
        check_ok(mm1_llm_score(llm, prompt, 2, true, false, &score, &err), &err);
        assert_true(score.n == want_score.n && score.sum_logprob == want_score.sum_logprob);
        mm1_generated_deinit(&got);
        mm1_score_deinit(&score);
    }
    /* Failures leave nothing behind and the handle usable. */
    const mm1_llm_part missing[] = {mm1_llm_image_file("/no/such.png")};
    assert_int_equal(mm1_llm_generate(llm, missing, 1, &p, NULL, NULL, &got, &err), MM1_E_IO);
    check_contains(err.message, "/no/such.png");
    assert_null(got.text);
    const mm1_llm_part broken[] = {mm1_llm_image(f.png, f.png_len / 2, "memory")};
    assert_int_equal(mm1_llm_generate(llm, broken, 1, &p, NULL, NULL, &got, &err), MM1_E_FORMAT);
    check_contains(err.message, "memory");
    const mm1_llm_part unknown[] = {{.kind = (mm1_llm_part_kind)7}};
    assert_int_equal(mm1_llm_score(llm, unknown, 1, true, false, &score, &err), MM1_E_ARG);
    assert_null(score.token);
    check_ok(mm1_llm_generate(llm, by_path, 2, &p, NULL, NULL, &got, &err), &err);
    assert_string_equal(got.text, want.text);
    mm1_generated_deinit(&got);
    mm1_llm_destroy(llm);
    mm1_generated_deinit(&want);
    mm1_score_deinit(&want_score);
    teardown(&f);
}

static void a_folder_that_is_none_is_refused(void **state)
{
    (void)state;
    mm1_llm *llm = NULL;
    mm1_error err = {0};
    assert_int_equal(mm1_llm_load("/no/such/folder", NULL, &llm, &err), MM1_E_IO);
    check_contains(err.message, "/no/such/folder");
    assert_null(llm);
    assert_int_equal(mm1_llm_load("/", &(mm1_llm_options){.threads = -1}, &llm, &err), MM1_E_ARG);
    mm1_llm_destroy(NULL);
}

/* Runs a program without a shell; returns its exit code, standard output in text. */
static int run(const char *program, const char *model, const char *image, char *text, size_t cap)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(fds[1], STDOUT_FILENO);
        (void)close(fds[0]);
        (void)close(fds[1]);
        (void)execl(program, program, model, image, (char *)NULL);
        _exit(127);
    }
    (void)close(fds[1]);
    size_t len = 0;
    for (ssize_t n = 1; n > 0 && len + 1 < cap;) {
        n = read(fds[0], text + len, cap - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    text[len] = '\0';
    (void)close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void check_embedded(const char *program)
{
    folder f;
    char text[4096], figures[256];
    mm1_generated want;
    mm1_score score;
    mm1_generate_params p = mm1_generate_defaults();
    p.max_tokens = 8;
    setup(&f);
    expected(&f, &p, &want, &score);
    assert_int_equal(run(program, f.dir, f.image, text, sizeof text), 0);
    assert_memory_equal(text, want.text, want.len);
    (void)snprintf(figures, sizeof figures, "\n%lld tokens, %s\n%lld tokens scored, %.4f\n", (long long)want.n_tokens,
                   mm1_finish_name(want.finish), (long long)score.n_scored, score.sum_logprob);
    assert_string_equal(text + want.len, figures);
    assert_int_equal(run(program, f.dir, "/no/such.png", text, sizeof text), 4);
    assert_string_equal(text, "");
    mm1_generated_deinit(&want);
    mm1_score_deinit(&score);
    teardown(&f);
}

static void a_program_in_c_embeds_it(void **state)
{
    (void)state;
    check_embedded(EMBED "embed_c");
}

static void a_program_in_cxx_embeds_it(void **state)
{
    (void)state;
    if (!mm1_path_exists(EMBED "embed_cxx")) {
        skip(); /* no compiler for C++ */
    }
    check_embedded(EMBED "embed_cxx");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_loaded_goes_on_and_scores),
        cmocka_unit_test(a_folder_that_is_none_is_refused),
        cmocka_unit_test(a_program_in_c_embeds_it),
        cmocka_unit_test(a_program_in_cxx_embeds_it),
    };
    return cmocka_run_group_tests(tests, fixture_group_setup, NULL);
}

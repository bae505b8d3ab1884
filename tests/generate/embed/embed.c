/* embed.c - an embedding program, compiled as C and as C++: nothing but the public header.  embed MODEL IMAGE */
#include <mm1/generate.h>

#include <stdio.h>
#include <string.h>

static bool print(void *ctx, const char *text, size_t len)
{
    return fwrite(text, 1, len, (FILE *)ctx) == len;
}

int main(int argc, char **argv)
{
    mm1_llm *llm = NULL;
    mm1_error err;
    mm1_generated out;
    mm1_score score;
    if (argc != 3) {
        (void)fprintf(stderr, "embed MODEL IMAGE\n");
        return 2;
    }
    const mm1_llm_part prompt[] = {mm1_llm_image_file(argv[2]), mm1_llm_text("the cat", strlen("the cat"))};
    mm1_llm_options options = {0, 1};
    mm1_generate_params params = mm1_generate_defaults();
    params.max_tokens = 8;
    mm1_status st = mm1_llm_load(argv[1], &options, &llm, &err);
    if (st == MM1_OK) {
        st = mm1_llm_generate(llm, prompt, 2, &params, print, stdout, &out, &err);
    }
    if (st == MM1_OK) {
        (void)printf("\n%lld tokens, %s\n", (long long)out.n_tokens, mm1_finish_name(out.finish));
        mm1_generated_deinit(&out);
        st = mm1_llm_score(llm, prompt, 2, true, false, &score, &err);
    }
    if (st == MM1_OK) {
        (void)printf("%lld tokens scored, %.4f\n", (long long)score.n_scored, score.sum_logprob);
        mm1_score_deinit(&score);
    } else {
        (void)fprintf(stderr, "%s\n", err.message);
    }
    mm1_llm_destroy(llm);
    return mm1_status_exit_code(st);
}

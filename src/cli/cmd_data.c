/* cmd_data.c - mm1 data build and mm1 data inspect. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/thread.h"
#include "data/build.h"
#include "data/inspect.h"
#include "train/recipe_loader.h"
#include "train/trainer.h"
#include <string.h>

typedef struct args {
    const char *recipe, *html;
    mm1_cli_list set;
    int64_t n;
    bool list_sources;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 's': mm1_cli_list_add(state, &a->set, arg); break;
    case 'n': a->n = mm1_cli_int(state, "--n", arg, 1, 1000); break;
    case 'H': a->html = arg; break;
    case 'L': a->list_sources = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_error(state, "one RECIPE is wanted, \"%s\" is one more", arg);
        }
        a->recipe = arg;
        break;
    case ARGP_KEY_END:
        if (a->recipe == NULL && !a->list_sources) {
            argp_error(state, "a RECIPE is wanted, for example recipes/smoke.yaml");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int build(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
        {"list-sources", 'L', NULL, 0, "print the kinds of sources and of questions", 0},
        {0},
    };
    const struct argp argp = {
        options, parse, "RECIPE", "Builds the training and held-out shards that the `build` part of RECIPE describes.",
        NULL,    NULL,  NULL};
    args a = {0};
    mm1_error err = {0};
    mm1_recipe recipe;
    mm1_build_summary summary = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (a.list_sources) {
        mm1_buf text;
        mm1_buf_init(&text, 1 << 20);
        mm1_build_list_kinds(&text);
        (void)fputs(mm1_buf_str(&text), stdout);
        mm1_buf_deinit(&text);
        return mm1_cli_finish("data build", MM1_OK, &err);
    }
    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    if (st == MM1_OK) {
        mm1_threads_set((int)recipe.train.threads);
        st = mm1_data_build(&recipe.build, &summary, &err);
        if (st == MM1_OK) {
            if (summary.table != NULL) {
                (void)fputs(summary.table, stderr);
            }
            (void)printf("%s\n", recipe.build.out);
        }
        mm1_build_summary_deinit(&summary);
        mm1_recipe_deinit(&recipe);
    }
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("data build", st, &err);
}

static mm1_status write_page(const char *path, const mm1_buf *html, mm1_error *err)
{
    const mm1_status st = mm1_file_write_atomic(path, html->data, html->len, err);
    if (st == MM1_OK) {
        (void)fprintf(stderr, "%s\n", path);
    }
    return st;
}

static int inspect(int argc, char **argv)
{
    enum { MAX_TEXT_BYTES = 1 << 28, MAX_PAGE_BYTES = 1 << 30 };
    static const struct argp_option options[] = {
        {"n", 'n', "N", 0, "rows to show (default: 8)", 0},
        {"html", 'H', "FILE", 0, "also write a page with the pictures", 0},
        {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
        {0},
    };
    const struct argp argp = {options,
                              parse,
                              "RECIPE",
                              "Prints the first rows of the training batches of RECIPE as the model will see them: "
                              "tokens, image slots, and what is learned.",
                              NULL,
                              NULL,
                              NULL};
    args a = {.n = 8};
    mm1_error err = {0};
    mm1_recipe recipe;
    mm1_model_config config;
    mm1_tokenizer *tokenizer = NULL;
    mm1_loader *loader = NULL;
    mm1_buf text, html;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_buf_init(&text, MAX_TEXT_BYTES);
    mm1_buf_init(&html, MAX_PAGE_BYTES);
    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    if (st == MM1_OK) {
        mm1_threads_set((int)recipe.train.threads);
        st = mm1_recipe_tokenizer(&recipe, &tokenizer, &err);
        st = st != MM1_OK ? st : mm1_recipe_model_config(&recipe, tokenizer, &config, &err);
        st = st != MM1_OK ? st : mm1_recipe_loader_create(&recipe, &config, tokenizer, NULL, &loader, &err);
        st = st != MM1_OK ? st : mm1_data_inspect(loader, a.n, &text, a.html != NULL ? &html : NULL, &err);
        if (st == MM1_OK) {
            (void)fputs(mm1_buf_str(&text), stdout);
            st = a.html != NULL ? write_page(a.html, &html, &err) : MM1_OK;
        }
        mm1_loader_destroy(loader);
        mm1_tokenizer_destroy(tokenizer);
        mm1_recipe_deinit(&recipe);
    }
    mm1_buf_deinit(&html);
    mm1_buf_deinit(&text);
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("data inspect", st, &err);
}

static const mm1_command commands[] = {
    {"build", "make shards out of packages and folders", build},
    {"inspect", "print rows of the training batches; write a page with the pictures", inspect},
    {0},
};

int mm1_cmd_data(int argc, char **argv)
{
    return mm1_cli_dispatch("mm1 data", "Training data: where it comes from and what the model sees of it.", commands,
                            argc, argv);
}

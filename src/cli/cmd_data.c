/* cmd_data.c - mm1 data build and mm1 data inspect. */
#include "cli/cli.h"

#include "base/thread.h"
#include "data/build.h"
#include "train/recipe.h"
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
        {"list-sources", 'L', NULL, 0, "print the kinds of sources", 0},
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

static const mm1_command commands[] = {
    {"build", "make shards out of packages and folders", build},
    {0},
};

int mm1_cmd_data(int argc, char **argv)
{
    return mm1_cli_dispatch("mm1 data", "Training data: where it comes from and what the model sees of it.", commands,
                            argc, argv);
}

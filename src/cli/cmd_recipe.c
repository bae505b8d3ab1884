/* cmd_recipe.c - mm1 recipe reference|resolve|get: what a recipe may say, and what one says. */
#include "cli/cli.h"

#include "train/recipe.h"
#include <string.h>

enum { MAX_TEXT_BYTES = 16 << 20 };

typedef struct args {
    const char *recipe, *key;
    mm1_cli_list set;
    bool wants_key;
} args;

static const struct argp_option set_options[] = {
    {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 's': mm1_cli_list_add(state, &a->set, arg); break;
    case ARGP_KEY_ARG:
        if (a->recipe == NULL) {
            a->recipe = arg;
        } else if (a->wants_key && a->key == NULL) {
            a->key = arg;
        } else {
            argp_error(state, "\"%s\" is one argument too many", arg);
        }
        break;
    case ARGP_KEY_END:
        if (a->recipe == NULL) {
            argp_error(state, "a RECIPE is wanted, for example recipes/smoke.yaml");
        }
        if (a->wants_key && a->key == NULL) {
            argp_error(state, "a KEY is wanted, for example train.n_steps");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Prints the text, or says why there is none. */
static mm1_status print(mm1_status st, mm1_buf *text, mm1_error *err)
{
    if (st == MM1_OK && mm1_buf_status(text) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(text), "no memory for the text");
    }
    if (st == MM1_OK) {
        (void)fputs(mm1_buf_str(text), stdout);
    }
    mm1_buf_deinit(text);
    return st;
}

/* The rows of the table that are no group, under one heading; then a heading for each group. */
static void write_reference(mm1_buf *out)
{
    enum { MAX_ROWS = 16 };
    mm1_field plain[MAX_ROWS] = {{0}};
    size_t n = 0;
    mm1_buf_puts(out, "# Recipe reference\n\n"
                      "Every key that a recipe may hold. This page is the output of `mm1 recipe reference`; it is made "
                      "from the table\nthat reads recipes. A key of a list is shown with `*` for the index or name of "
                      "an element. `mm1 recipe resolve RECIPE`\nprints a recipe with every value filled in, and `--set "
                      "KEY=VALUE` changes one for a run.\n\n");
    for (const mm1_field *f = mm1__recipe_fields; f->type != MM1_FIELD_END; f++) {
        if (f->type != MM1_FIELD_GROUP && n + 1 < MAX_ROWS) {
            plain[n++] = *f;
        }
    }
    mm1_fields_dump_reference(plain, "", out);
    for (const mm1_field *f = mm1__recipe_fields; f->type != MM1_FIELD_END; f++) {
        if (f->type == MM1_FIELD_GROUP) {
            char prefix[64];
            (void)snprintf(prefix, sizeof prefix, "%s.", f->key);
            mm1_buf_printf(out, "\n## %s\n\n", f->key);
            mm1_fields_dump_reference(f->table, prefix, out);
        }
    }
}

static int reference(int argc, char **argv)
{
    const struct argp argp = {NULL, NULL, NULL, "Prints the reference of all keys of a recipe, as Markdown.",
                              NULL, NULL, NULL};
    mm1_error err = {0};
    mm1_buf text;
    (void)argp_parse(&argp, argc, argv, 0, NULL, NULL);
    mm1_buf_init(&text, MAX_TEXT_BYTES);
    write_reference(&text);
    return mm1_cli_finish("recipe reference", print(MM1_OK, &text, &err), &err);
}

static int resolve(int argc, char **argv)
{
    const struct argp argp = {set_options, parse, "RECIPE", "Prints RECIPE with the value of every key, as YAML.",
                              NULL,        NULL,  NULL};
    args a = {0};
    mm1_error err = {0};
    mm1_recipe recipe;
    mm1_buf text;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_buf_init(&text, MAX_TEXT_BYTES);
    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    if (st == MM1_OK) {
        mm1_fields_dump_yaml(mm1__recipe_fields, &recipe, &text);
        mm1_recipe_deinit(&recipe);
    }
    st = print(st, &text, &err);
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("recipe resolve", st, &err);
}

static int get(int argc, char **argv)
{
    const struct argp argp = {set_options,
                              parse,
                              "RECIPE KEY",
                              "Prints the value of one key of RECIPE, for example train.n_steps or "
                              "data.sources.captions.weight.",
                              NULL,
                              NULL,
                              NULL};
    args a = {.wants_key = true};
    mm1_error err = {0};
    mm1_recipe recipe;
    mm1_buf text;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_buf_init(&text, MAX_TEXT_BYTES);
    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    if (st == MM1_OK) {
        st = mm1_fields_get(mm1__recipe_fields, &recipe, a.key, &text, &err);
        if (st == MM1_OK && (text.len == 0 || text.data[text.len - 1] != '\n')) {
            mm1_buf_putc(&text, '\n');
        }
        mm1_recipe_deinit(&recipe);
    }
    st = print(st, &text, &err);
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("recipe get", st, &err);
}

static const mm1_command commands[] = {
    {"reference", "all keys with types, defaults, ranges and meaning, as Markdown", reference},
    {"resolve", "a recipe with every value, as YAML", resolve},
    {"get", "one value of a recipe", get},
    {0},
};

int mm1_cmd_recipe(int argc, char **argv)
{
    return mm1_cli_dispatch("mm1 recipe", "Recipes: what they may say and what they say.", commands, argc, argv);
}

/* Field tables: defaults, YAML with extends, --set, checks, dumps, and text that lies. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/fields.h"
#include "base/file.h"
#include <locale.h>

typedef struct source {
    char *name;
    double weight;
    char *path;
    int64_t max_images;
} source;

typedef struct train {
    int64_t n_steps;
    double lr_peak;
    double momentum;
    int schedule;
    bool is_deterministic;
    int64_t workers;
} train;

typedef struct recipe {
    char *notes;
    train train;
    struct {
        struct source *sources;
        size_t n_sources;
    } data;
    char **tasks;
    size_t n_tasks;
    int64_t *seeds;
    size_t n_seeds;
} recipe;

static const char *const schedules[] = {"constant", "cosine", "off", NULL};

static const mm1_field source_fields[] = {
    MM1_FIELD(source, name, STR, .is_required = true, .help = "for messages and --set"),
    MM1_FIELD(source, weight, F64, .def.f = 1, .max.f = 1e9, .is_above_min = true, .help = "a|b"),
    MM1_FIELD(source, path, STR, .is_required = true),
    MM1_FIELD(source, max_images, I64, .def.i = 16, .min.i = 0, .max.i = 64),
    {0},
};

static const mm1_field train_fields[] = {
    MM1_FIELD(train, n_steps, I64, .def.i = 1000, .min.i = 1, .unit = "steps", .help = "optimiser steps"),
    MM1_FIELD(train, lr_peak, F64, .def.f = NAN, .max.f = 1, .special = "law", .special_value.f = NAN),
    MM1_FIELD(train, momentum, F64, .def.f = 0.9, .min.f = -1, .max.f = 1),
    MM1_FIELD(train, schedule, ENUM, .def.i = 1, .names = schedules),
    MM1_FIELD(train, is_deterministic, BOOL, .def.i = 1),
    MM1_FIELD(train, workers, I64, .def.i = -1, .min.i = 1, .max.i = 64, .special = "auto", .special_value.i = -1),
    {0},
};

/* The type of recipe.data has no name; its members' offsets are taken from recipe. */
#define DATA(member) (offsetof(recipe, data.member) - offsetof(recipe, data))
static const mm1_field data_fields[] = {
    {.key = "sources",
     .type = MM1_FIELD_LIST,
     .offset = DATA(sources),
     .size = sizeof(source *),
     .count_offset = DATA(n_sources),
     .item_size = sizeof(source),
     .table = source_fields,
     .max_items = 5},
    {0},
};

static const mm1_field recipe_fields[] = {
    MM1_FIELD(recipe, notes, STR, .def.s = "none: yet"),
    MM1_FIELD_GROUP_OF(recipe, train, train_fields),
    MM1_FIELD_GROUP_OF(recipe, data, data_fields),
    MM1_FIELD_ITEMS_OF(recipe, tasks, n_tasks, STR),
    MM1_FIELD_ITEMS_OF(recipe, seeds, n_seeds, I64, .min.i = 0, .max.i = 99),
    {0},
};

static mm1_error err;

static const char *const good_text = "# a recipe\n"
                                     "notes: \"tab\\tquote \\\" end\"\n"
                                     "train:\n"
                                     "  n_steps: 20\n"
                                     "  lr_peak: 1e-4\n"
                                     "  schedule: off\n"
                                     "  is_deterministic: false\n"
                                     "  workers: 4\n"
                                     "data:\n"
                                     "  sources:\n"
                                     "    - {name: captions, weight: 0.45, path: \"data/{0000..0031}.tar\"}\n"
                                     "    - name: text\n"
                                     "      path: data/*.jsonl\n"
                                     "      max_images: 0\n"
                                     "tasks: [coco, vqav2]\n"
                                     "seeds: [1, 2, 3]\n";

static mm1_status load_text(recipe *r, const char *text)
{
    mm1_yaml doc;
    check_ok(mm1_fields_defaults(recipe_fields, r, &err), &err);
    mm1_status st = mm1_yaml_parse(&doc, text, strlen(text), "a.yaml", &err);
    if (st == MM1_OK) {
        st = mm1_fields_load_node(recipe_fields, r, doc.root, &err);
        mm1_yaml_deinit(&doc);
    }
    return st;
}

/* The text fails with exactly this message. */
static void check_refused(const char *text, const char *message)
{
    recipe r;
    const mm1_status st = load_text(&r, text);
    if (st != MM1_E_CONFIG && st != MM1_E_LIMIT) {
        print_error("\"%s\" gave %s\n", text, mm1_status_name(st));
        fail();
    }
    check_contains(err.message, message);
    mm1_fields_deinit(recipe_fields, &r);
}

static void tables_of_this_test_are_sound_and_bad_ones_are_named(void **state)
{
    (void)state;
    check_ok(mm1_fields_table_check(recipe_fields, &err), &err);
    static const mm1_field twice[] = {
        MM1_FIELD(train, n_steps, I64, .def.i = 1), MM1_FIELD(train, n_steps, I64, .def.i = 1), {0}};
    assert_int_equal(mm1_fields_table_check(twice, &err), MM1_E_INTERNAL);
    check_contains(err.message, "n_steps: is in the table twice");
    static const mm1_field size[] = {MM1_FIELD(train, n_steps, BOOL), {0}};
    assert_int_equal(mm1_fields_table_check(size, &err), MM1_E_INTERNAL);
    check_contains(err.message, "the member has 8 bytes, its type 1");
    static const mm1_field range[] = {MM1_FIELD(train, n_steps, I64, .min.i = 1), {0}};
    assert_int_equal(mm1_fields_table_check(range, &err), MM1_E_INTERNAL);
    check_contains(err.message, "n_steps: 0 is below 1");
}

static void a_text_lives_in_the_struct_and_has_a_longest_length(void **state)
{
    (void)state;
    typedef struct label {
        char name[8];
    } label;
    static const mm1_field fields[] = {MM1_FIELD(label, name, TEXT, .def.s = "seven77", .help = "short"), {0}};
    static const mm1_field empty[] = {MM1_FIELD(label, name, TEXT), {0}};
    static const mm1_field too_long[] = {MM1_FIELD(label, name, TEXT, .def.s = "eight888"), {0}};
    label a, b;
    mm1_buf text;
    check_ok(mm1_fields_table_check(fields, &err), &err);
    check_ok(mm1_fields_table_check(empty, &err), &err);
    assert_int_equal(mm1_fields_table_check(too_long, &err), MM1_E_INTERNAL);
    check_contains(err.message, "name: the default does not fit in 8 bytes");
    memset(&b, 0xab, sizeof b);
    check_ok(mm1_fields_defaults(empty, &b, &err), &err);
    assert_string_equal(b.name, "");
    check_ok(mm1_fields_defaults(fields, &a, &err), &err);
    assert_string_equal(a.name, "seven77");
    assert_int_equal(mm1_fields_set(fields, &a, "name=1x2 2x1 1", &err), MM1_E_CONFIG);
    check_contains(err.message, "name: over 7 bytes");
    assert_string_equal(a.name, "seven77");
    check_ok(mm1_fields_set(fields, &a, "name=1x2 2", &err), &err);
    b = a;
    assert_string_equal(b.name, "1x2 2");
    mm1_buf_init(&text, 1 << 10);
    mm1_fields_dump_yaml(fields, &b, &text);
    assert_string_equal(mm1_buf_str(&text), "name: \"1x2 2\"\n");
    mm1_buf_clear(&text);
    mm1_fields_dump_reference(fields, "", &text);
    check_contains(mm1_buf_str(&text), "| `name` | text | `seven77` |");
    mm1_buf_deinit(&text);
    memset(b.name, 'x', sizeof b.name);
    assert_int_equal(mm1_fields_check(fields, &b, &err), MM1_E_CONFIG);
    check_contains(err.message, "name: over 7 bytes");
}

static void defaults_are_those_of_the_table(void **state)
{
    (void)state;
    recipe r;
    memset(&r, 0xab, sizeof r);
    check_ok(mm1_fields_defaults(recipe_fields, &r, &err), &err);
    assert_int_equal(r.train.n_steps, 1000);
    assert_true(isnan(r.train.lr_peak));
    assert_int_equal(r.train.schedule, 1);
    assert_true(r.train.is_deterministic);
    assert_int_equal(r.train.workers, -1);
    assert_string_equal(r.notes, "none: yet");
    assert_null(r.data.sources);
    assert_int_equal(r.n_tasks, 0);
    check_ok(mm1_fields_check(recipe_fields, &r, &err), &err);
    mm1_fields_deinit(recipe_fields, &r);
    assert_null(r.notes);
}

static void a_recipe_fills_groups_lists_words_and_numbers(void **state)
{
    (void)state;
    recipe r;
    check_ok(load_text(&r, good_text), &err);
    assert_string_equal(r.notes, "tab\tquote \" end");
    assert_int_equal(r.train.n_steps, 20);
    assert_true(r.train.lr_peak == 1e-4);
    assert_int_equal(r.train.schedule, 2);
    assert_false(r.train.is_deterministic);
    assert_int_equal(r.train.workers, 4);
    assert_int_equal(r.data.n_sources, 2);
    assert_string_equal(r.data.sources[0].path, "data/{0000..0031}.tar");
    assert_true(r.data.sources[0].weight == 0.45);
    assert_int_equal(r.data.sources[0].max_images, 16);
    assert_true(r.data.sources[1].weight == 1);
    assert_string_equal(r.data.sources[1].name, "text");
    assert_int_equal(r.n_tasks, 2);
    assert_string_equal(r.tasks[1], "vqav2");
    assert_int_equal(r.n_seeds, 3);
    assert_int_equal(r.seeds[2], 3);
    mm1_fields_deinit(recipe_fields, &r);
    check_ok(load_text(&r, ""), &err);
    mm1_fields_deinit(recipe_fields, &r);
    check_ok(load_text(&r, "# nothing\ntrain:\n"), &err);
    assert_int_equal(r.train.n_steps, 1000);
    mm1_fields_deinit(recipe_fields, &r);
}

static void each_wrong_line_is_named_with_place_and_remedy(void **state)
{
    (void)state;
    check_refused("train:\n  n_steps: 0\n", "a.yaml:2: train.n_steps: 0 is below 1");
    check_refused("train:\n\n  n_step: 5\n", "a.yaml:3: train: unknown key 'n_step'; did you mean 'n_steps'?");
    check_refused("train: {lr: 1}\n", "did you mean 'lr_peak'?");
    check_refused("zebra: 1\n", "a.yaml:1: unknown key 'zebra'; known here: notes, train, data, tasks, seeds");
    check_refused("train:\n  n_steps: 1\n  n_steps: 2\n", "a.yaml:3: key 'n_steps' is given twice, first in line 2");
    check_refused("train:\n  n_steps: 1e6\n", "a.yaml:2: train.n_steps: expected a whole number, found 1e6");
    check_refused("train:\n  n_steps: \"5\"\n", "expected a whole number, found \"5\"");
    check_refused("train:\n  n_steps: 99999999999999999999\n", "expected a whole number, found 99999999999999999999");
    check_refused("train:\n  n_steps:\n", "expected a whole number, found nothing");
    check_refused("train:\n  lr_peak: fast\n", "train.lr_peak: expected a number or law, found fast");
    check_refused("train:\n  lr_peak: 0x10\n", "expected a number or law, found 0x10");
    check_refused("train:\n  lr_peak: nan\n", "expected a number or law, found nan");
    check_refused("train:\n  lr_peak: 1e999\n", "expected a number or law, found 1e999");
    check_refused("train:\n  lr_peak: 1.5\n", "train.lr_peak: 1.5 is above 1");
    check_refused("train:\n  momentum: -1.5\n", "train.momentum: -1.5 is below -1");
    check_refused("train:\n  schedule: linear\n", "expected one of constant, cosine, off, found linear");
    check_refused("train:\n  is_deterministic: yes\n", "expected true or false, found yes");
    check_refused("train: 3\n", "a.yaml:1: train: expected keys and values, found 3");
    check_refused("train: [1]\n", "train: expected keys and values, found a list");
    check_refused("- 1\n", "a.yaml:1: expected keys and values, found a list");
    check_refused("notes: {a: 1}\n", "notes: expected text, found keys and values");
    check_refused("tasks: coco\n", "tasks: expected a list ([] is an empty one), found coco");
    check_refused("seeds: [1, 100]\n", "a.yaml:1: seeds.1: 100 is above 99");
    check_refused("data:\n  sources:\n    - {weight: 0}\n", "a.yaml:3: data.sources.0.weight: 0 is not above 0");
    check_refused("data:\n  sources: [{},{},{},{},{},{}]\n", "data.sources: 6 elements are over the limit of 5");
    check_refused("a: &x 1\nb: *x\n", "a.yaml:1: anchors (&) and aliases (*) are not supported");
    check_refused("notes: *x\n", "a.yaml:1: anchors (&) and aliases (*) are not supported");
    check_refused("notes: !!str x\n", "a.yaml:1: tags are not supported");
    check_refused("notes: \"a\\0b\"\n", "a.yaml:1: a value contains a NUL");
    check_refused("? [a]\n: 1\n", "a.yaml:1: a key must be plain text");
    check_refused("notes: a\n---\nnotes: b\n", "a.yaml:2: a second document (---) in one file is not supported");
    check_refused("notes: [\n", "not valid YAML");
    check_refused("notes: a\n\tx: 1\n", "not valid YAML");
    check_refused("notes: \xff\xfe\n", "a.yaml: byte");
    check_refused("extends: b.yaml\n", "unknown key 'extends'"); /* text has no folder to look in */
}

static void nesting_and_width_have_limits(void **state)
{
    (void)state;
    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    check_refused(deep, "nested deeper than 32");
    mm1_buf wide;
    mm1_buf_init(&wide, 1 << 21);
    for (int i = 0; i < 1025; i++) {
        mm1_buf_printf(&wide, "k%d: 1\n", i);
    }
    check_refused(mm1_buf_str(&wide), "a.yaml:1025: more than 1024 keys in one map");
    while (wide.len <= MM1_YAML_MAX_BYTES) {
        mm1_buf_puts(&wide, "# much text\n");
    }
    check_refused(mm1_buf_str(&wide), "is over the limit of 1048576");
    /* The densest file fits into its arena. */
    mm1_buf_clear(&wide);
    mm1_buf_puts(&wide, "tasks: [");
    while (wide.len < MM1_YAML_MAX_BYTES - 8) {
        mm1_buf_puts(&wide, "{a,b},");
    }
    mm1_buf_puts(&wide, "]");
    check_refused(mm1_buf_str(&wide), "elements are over the limit of 4096");
    mm1_buf_deinit(&wide);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
}

static mm1_status load_file(recipe *r, const char *dir, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    check_ok(mm1_fields_defaults(recipe_fields, r, &err), &err);
    return mm1_fields_load_yaml(recipe_fields, r, path, &err);
}

static void extends_merges_maps_and_replaces_lists(void **state)
{
    (void)state;
    char dir[256];
    recipe r;
    check_tmpdir(dir, sizeof dir);
    char sub[300];
    (void)snprintf(sub, sizeof sub, "%s/sub", dir);
    check_ok(mm1_dir_make(sub, &err), &err);
    write_file(dir, "base.yaml", "train: {n_steps: 5, workers: 2}\ntasks: [a, b]\nnotes: base\n");
    write_file(dir, "sub/mid.yaml", "extends: ../base.yaml\ntrain:\n  n_steps: 6\ntasks: [c]\n");
    write_file(dir, "sub/top.yaml", "extends: mid.yaml\ntrain:\nnotes: top\n");
    check_ok(load_file(&r, dir, "sub/top.yaml"), &err);
    assert_int_equal(r.train.n_steps, 6);
    assert_int_equal(r.train.workers, 2);
    assert_int_equal(r.n_tasks, 1);
    assert_string_equal(r.tasks[0], "c");
    assert_string_equal(r.notes, "top");
    mm1_fields_deinit(recipe_fields, &r);

    /* A mistake in a base file is reported where it stands. */
    write_file(dir, "base.yaml", "notes: x\ntrain: {n_steps: -5}\n");
    write_file(dir, "sub/mid.yaml", "extends: ../base.yaml\n");
    assert_int_equal(load_file(&r, dir, "sub/top.yaml"), MM1_E_CONFIG);
    check_contains(err.message, "base.yaml:2: train.n_steps: -5 is below 1");
    mm1_fields_deinit(recipe_fields, &r);

    write_file(dir, "base.yaml", "extends: ./sub/top.yaml\n");
    assert_int_equal(load_file(&r, dir, "sub/top.yaml"), MM1_E_CONFIG);
    check_contains(err.message, "circle of 3 file(s)");
    mm1_fields_deinit(recipe_fields, &r);

    write_file(dir, "base.yaml", "extends: [a]\n");
    assert_int_equal(load_file(&r, dir, "base.yaml"), MM1_E_CONFIG);
    check_contains(err.message, "base.yaml:1: extends: expected the name of one file");
    mm1_fields_deinit(recipe_fields, &r);

    write_file(dir, "base.yaml", "extends: missing.yaml\n");
    assert_int_equal(load_file(&r, dir, "base.yaml"), MM1_E_IO);
    check_contains(err.message, "base.yaml:1: extends: ");
    check_contains(err.message, "missing.yaml: cannot open");
    mm1_fields_deinit(recipe_fields, &r);

    for (int i = 0; i < 9; i++) {
        char name[32], text[64];
        (void)snprintf(name, sizeof name, "c%d.yaml", i);
        (void)snprintf(text, sizeof text, "extends: c%d.yaml\n", i + 1);
        write_file(dir, name, i < 8 ? text : "notes: end\n");
    }
    assert_int_equal(load_file(&r, dir, "c0.yaml"), MM1_E_LIMIT);
    check_contains(err.message, "the chain is longer than 8 files");
    mm1_fields_deinit(recipe_fields, &r);
    check_ok(load_file(&r, dir, "c1.yaml"), &err);
    assert_string_equal(r.notes, "end");
    mm1_fields_deinit(recipe_fields, &r);
    check_ok(mm1_path_remove(dir, &err), &err);
}

static void set_reaches_members_elements_and_lists(void **state)
{
    (void)state;
    recipe r;
    check_ok(load_text(&r, good_text), &err);
    static const char *const good[] = {
        "train.n_steps=7",
        "train.lr_peak=law",
        "train.workers=auto",
        "data.sources.0.weight=0.3",
        "data.sources.text.weight=2",
        "data.sources.text.path=x=y: {a}",
        "tasks=[p, q, \"r s\"]",
        "tasks.1=z",
        "seeds=[]",
        "train.schedule=constant",
        "notes=\"a\\nb\"",
        "train.is_deterministic=true",
        "data.sources.captions={max_images: 3}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        check_ok(mm1_fields_set(recipe_fields, &r, good[i], &err), &err);
    }
    assert_int_equal(r.train.n_steps, 7);
    assert_true(isnan(r.train.lr_peak));
    assert_int_equal(r.train.workers, -1);
    assert_true(r.data.sources[0].weight == 0.3);
    assert_int_equal(r.data.sources[0].max_images, 3);
    assert_true(r.data.sources[1].weight == 2);
    assert_string_equal(r.data.sources[1].path, "x=y: {a}");
    assert_int_equal(r.n_tasks, 3);
    assert_string_equal(r.tasks[1], "z");
    assert_string_equal(r.tasks[2], "r s");
    assert_int_equal(r.n_seeds, 0);
    assert_string_equal(r.notes, "a\nb");
    check_ok(mm1_fields_check(recipe_fields, &r, &err), &err);
    check_ok(mm1_fields_set(recipe_fields, &r, "data.sources.text.path=null", &err), &err);
    assert_int_equal(mm1_fields_check(recipe_fields, &r, &err), MM1_E_CONFIG);
    assert_string_equal(err.message, "data.sources.1.path: must be given");

    static const struct {
        const char *text, *message;
    } bad[] = {
        {"train.n_steps=0", "--set: train.n_steps: 0 is below 1"},
        {"train.n_stepz=1", "--set: train: unknown key 'n_stepz'; did you mean 'n_steps'?"},
        {"train.n_steps.x=1", "--set: train.n_steps: has no member 'x'"},
        {"data.sources.2.weight=1", "--set: data.sources: element 2 is not there: the list has 2"},
        {"data.sources.pages.weight=1", "no element is named 'pages'; there are: captions, text"},
        {"tasks.first=1", "--set: tasks: 'first' is not an index"},
        {"train.n_steps", "write key=value"},
        {"=3", "write key=value"},
        {"train..n_steps=3", "--set: train: unknown key ''"},
        {"tasks=[a", "not valid YAML"},
        {"train=3", "--set: train: expected keys and values, found 3"},
        {"notes=\xff", "--set: notes: byte 0 of the value is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mm1_fields_set(recipe_fields, &r, bad[i].text, &err), MM1_E_CONFIG);
        check_contains(err.message, bad[i].message);
    }
    mm1_fields_deinit(recipe_fields, &r);
}

static char *dump(const recipe *r)
{
    mm1_buf b;
    mm1_buf_init(&b, 1 << 20);
    mm1_fields_dump_yaml(recipe_fields, r, &b);
    assert_int_equal(mm1_buf_status(&b), MM1_OK);
    return mm1_buf_take(&b);
}

static void a_dump_reads_back_to_the_identical_struct(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",           "plain", "null",      "~",
        "true",       "Yes",   "1e5",       "- x",
        "a: b",       "# c",   "x #y",      "tab\there",
        "nl\n",       " lead", "quote\"\\", "\xc3\xa4\xe2\x80\xa8\xef\xbb\xbf\xc2\x85\xf0\x9f\x98\x80",
        "\x01\x7f\r", "*a",    "&b",        "!c",
        "%d",         "@e",    "{f",        "[g",
        "'h",         "|",     ">",         "?",
        "data/*.tar", "..",    "-5",        "0x10",
        "a,b",
    };
    recipe r, again;
    check_ok(load_text(&r, good_text), &err);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        mm1_free(r.notes);
        r.notes = mm1_strdup(texts[i]);
        mm1_free(r.tasks[0]);
        r.tasks[0] = mm1_strdup(texts[i]);
        mm1_rng rng = mm1_rng_make(i, MM1_RNG_TEST, 0);
        r.train.lr_peak = i % 5 == 0 ? NAN : mm1_rng_uniform(&rng) * pow(10, -(double)(i * 9));
        r.data.sources[1].weight = i == 0 ? 5e-324 : mm1_rng_uniform(&rng) * 1e9;
        char *text = dump(&r);
        check_ok(load_text(&again, text), &err);
        assert_string_equal(again.notes, texts[i]);
        assert_string_equal(again.tasks[0], texts[i]);
        assert_memory_equal(&again.train.n_steps, &r.train.n_steps, sizeof r.train.n_steps);
        assert_true(again.train.lr_peak == r.train.lr_peak || (isnan(again.train.lr_peak) && isnan(r.train.lr_peak)));
        assert_true(again.data.sources[1].weight == r.data.sources[1].weight);
        char *text2 = dump(&again);
        assert_string_equal(text, text2);
        mm1_free(text);
        mm1_free(text2);
        mm1_fields_deinit(recipe_fields, &again);
    }
    mm1_fields_deinit(recipe_fields, &r);
}

static void the_dump_and_the_reference_have_this_form(void **state)
{
    (void)state;
    recipe r;
    check_ok(load_text(&r, good_text), &err);
    char *text = dump(&r);
    assert_string_equal(text, "notes: \"tab\\tquote \\\" end\"\n"
                              "train:\n"
                              "  n_steps: 20\n"
                              "  lr_peak: 0.0001\n"
                              "  momentum: 0.9\n"
                              "  schedule: off\n"
                              "  is_deterministic: false\n"
                              "  workers: 4\n"
                              "data:\n"
                              "  sources:\n"
                              "    - name: captions\n"
                              "      weight: 0.45\n"
                              "      path: \"data/{0000..0031}.tar\"\n"
                              "      max_images: 16\n"
                              "    - name: text\n"
                              "      weight: 1\n"
                              "      path: \"data/*.jsonl\"\n"
                              "      max_images: 0\n"
                              "tasks:\n"
                              "  - coco\n"
                              "  - vqav2\n"
                              "seeds:\n"
                              "  - 1\n"
                              "  - 2\n"
                              "  - 3\n");
    mm1_free(text);
    mm1_buf b;
    mm1_buf_init(&b, 1 << 16);
    check_ok(mm1_fields_get(recipe_fields, &r, "data.sources.captions.weight", &b, &err), &err);
    assert_string_equal(mm1_buf_str(&b), "0.45");
    mm1_buf_clear(&b);
    check_ok(mm1_fields_get(recipe_fields, &r, "tasks", &b, &err), &err);
    assert_string_equal(mm1_buf_str(&b), "- coco\n- vqav2\n");
    mm1_buf_clear(&b);
    mm1_fields_dump_reference(recipe_fields, "", &b);
    check_contains(mm1_buf_str(&b), "| key | type | default | range | unit | meaning |\n| --- |");
    check_contains(mm1_buf_str(&b), "| `notes` | text | `\"none: yet\"` |  |  |  |\n");
    check_contains(mm1_buf_str(&b), "| `train.n_steps` | integer | `1000` | >= 1 | steps | optimiser steps |\n");
    check_contains(mm1_buf_str(&b), "| `train.lr_peak` | number | `law` | 0 .. 1 or `law` |");
    check_contains(mm1_buf_str(&b), "| `train.schedule` | word | `cosine` | `constant`, `cosine`, `off` |");
    check_contains(mm1_buf_str(&b), "| `data.sources` | list of groups | `[]` |");
    check_contains(mm1_buf_str(&b), "| `data.sources.*.weight` | number | `1` | > 0, <= 1e+09 |  | a\\|b |\n");
    check_contains(mm1_buf_str(&b), "| `seeds` | list of integer | `[]` | 0 .. 99 |");
    mm1_buf_deinit(&b);
    mm1_fields_deinit(recipe_fields, &r);
}

static void check_finds_what_code_put_in(void **state)
{
    (void)state;
    recipe r;
    check_ok(load_text(&r, good_text), &err);
    r.train.momentum = INFINITY;
    assert_int_equal(mm1_fields_check(recipe_fields, &r, &err), MM1_E_CONFIG);
    assert_string_equal(err.message, "train.momentum: inf is not a finite number");
    r.train.momentum = 0;
    r.train.schedule = 3;
    assert_int_equal(mm1_fields_check(recipe_fields, &r, &err), MM1_E_CONFIG);
    assert_string_equal(err.message, "train.schedule: 3 is not one of its 3 values");
    r.train.schedule = 0;
    r.seeds[1] = -1;
    assert_int_equal(mm1_fields_check(recipe_fields, &r, &err), MM1_E_CONFIG);
    assert_string_equal(err.message, "seeds.1: -1 is below 0");
    mm1_fields_deinit(recipe_fields, &r);
}

static void the_rest_of_a_file_can_be_taken_out_first(void **state)
{
    (void)state;
    mm1_yaml doc;
    recipe r;
    const char *text = "train: {n_steps: 3}\nablate:\n  train.n_steps: [1, 2]\n";
    check_ok(mm1_fields_defaults(recipe_fields, &r, &err), &err);
    check_ok(mm1_yaml_parse(&doc, text, strlen(text), "study.yaml", &err), &err);
    const mm1_yaml_node *ablate = mm1_yaml_take(doc.root, "ablate");
    assert_non_null(ablate);
    assert_null(mm1_yaml_take(doc.root, "ablate"));
    assert_string_equal(ablate->first->key, "train.n_steps");
    assert_int_equal(ablate->first->n, 2);
    assert_string_equal(ablate->first->last->text, "2");
    check_ok(mm1_fields_load_node(recipe_fields, &r, doc.root, &err), &err);
    assert_int_equal(r.train.n_steps, 3);
    mm1_yaml_deinit(&doc);
    mm1_fields_deinit(recipe_fields, &r);
}

static void garbage_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    const size_t before = mm1_alloc_bytes();
    const size_t n = strlen(good_text);
    char *text = mm1_strdup(good_text);
    static const char spice[] = ":-{}[],&*!|>'\"%@`#\n\t 0aZ\xff\x80\xe2~?.";
    int n_refused = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        mm1_rng rng = mm1_rng_make(i, MM1_RNG_TEST, 1);
        memcpy(text, good_text, n + 1);
        for (uint64_t k = mm1_rng_below(&rng, 6); k < 6; k++) {
            text[mm1_rng_below(&rng, n)] = spice[mm1_rng_below(&rng, sizeof spice - 1)];
        }
        if (i % 7 == 0) {
            text[mm1_rng_below(&rng, n)] = '\0';
        }
        recipe r;
        err.message[0] = '\0';
        if (load_text(&r, text) != MM1_OK) {
            assert_true(strlen(err.message) > 0);
            n_refused++;
        } else {
            char *back = dump(&r);
            mm1_free(back);
        }
        mm1_fields_deinit(recipe_fields, &r);
        assert_int_equal(mm1_alloc_bytes(), before + n + 1);
    }
    assert_true(n_refused > 2000);
    mm1_free(text);
}

static void memory_that_runs_out_anywhere_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    const size_t before = mm1_alloc_bytes();
    int n_failed = 0;
    for (uint64_t i = 1; i < 100; i++) {
        recipe r;
        mm1_yaml doc = {0};
        mm1_alloc_fail_at(i);
        mm1_status st = mm1_fields_defaults(recipe_fields, &r, &err);
        st = st != MM1_OK ? st : mm1_yaml_parse(&doc, good_text, strlen(good_text), "a.yaml", &err);
        st = st != MM1_OK ? st : mm1_fields_load_node(recipe_fields, &r, doc.root, &err);
        st = st != MM1_OK ? st : mm1_fields_set(recipe_fields, &r, "tasks=[a, b, c]", &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || st == MM1_E_NOMEM);
        n_failed += st != MM1_OK;
        mm1_yaml_deinit(&doc);
        mm1_fields_deinit(recipe_fields, &r);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(n_failed > 10 && n_failed < 90);
}

static void numbers_do_not_depend_on_the_locale(void **state)
{
    (void)state;
    double v = 0;
    int64_t i = 0;
    char text[32];
    (void)setlocale(LC_ALL, "de_DE.UTF-8"); /* where it is installed */
    assert_true(mm1_parse_f64("-2.5e-1", &v) && v == -0.25);
    assert_true(mm1_parse_f64(".5", &v) && v == 0.5);
    assert_true(mm1_parse_f64("5.", &v) && v == 5);
    mm1_format_f64(text, 0.1);
    assert_string_equal(text, "0.1");
    (void)setlocale(LC_ALL, "C");
    assert_false(mm1_parse_f64("", &v));
    assert_false(mm1_parse_f64(".", &v));
    assert_false(mm1_parse_f64("1e", &v));
    assert_false(mm1_parse_f64("1,5", &v));
    assert_false(mm1_parse_f64(" 1", &v));
    assert_false(mm1_parse_f64("inf", &v));
    assert_true(mm1_parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_false(mm1_parse_i64("9223372036854775808", &i));
    assert_false(mm1_parse_i64("", &i));
    assert_false(mm1_parse_i64("-", &i));
    assert_false(mm1_parse_i64("1 ", &i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_this_test_are_sound_and_bad_ones_are_named),
        cmocka_unit_test(a_text_lives_in_the_struct_and_has_a_longest_length),
        cmocka_unit_test(defaults_are_those_of_the_table),
        cmocka_unit_test(a_recipe_fills_groups_lists_words_and_numbers),
        cmocka_unit_test(each_wrong_line_is_named_with_place_and_remedy),
        cmocka_unit_test(nesting_and_width_have_limits),
        cmocka_unit_test(extends_merges_maps_and_replaces_lists),
        cmocka_unit_test(set_reaches_members_elements_and_lists),
        cmocka_unit_test(a_dump_reads_back_to_the_identical_struct),
        cmocka_unit_test(the_dump_and_the_reference_have_this_form),
        cmocka_unit_test(check_finds_what_code_put_in),
        cmocka_unit_test(the_rest_of_a_file_can_be_taken_out_first),
        cmocka_unit_test(garbage_is_an_error_and_leaks_nothing),
        cmocka_unit_test(memory_that_runs_out_anywhere_is_an_error_and_leaks_nothing),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

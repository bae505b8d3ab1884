/* Rows and readers of benchmarks on the files of tests/data/bench (official formats, made-up content): what is read,
 * what is left out, how it is put, which demonstrations are drawn, how answers are read. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "eval/bench_score.h"
#include "eval/bench_shots.h"
#include "eval/benchmark.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define DATA MM1_TEST_DATA "/bench"

static void read_row(const char *name, bool train, mm1_bench_set *set)
{
    mm1_error err = {0};
    mm1_bench_set paths = {0};
    mm1_task_files files;
    const mm1_task *t = mm1_task_find(name);
    assert_non_null(t);
    check_ok(mm1_benchmark_files(t, train ? &t->train : &t->test, DATA, &paths, &files, &err), &err);
    check_ok(mm1_bench_read(t->format, name, &files, t->metric != MM1_SCORE_JUDGE, set, &err), &err);
    mm1_bench_set_deinit(&paths);
}

/* "id|question|answers or choices*right" of the items, one a line. */
static void check_items(const char *name, bool train, const char *want)
{
    mm1_bench_set s;
    mm1_buf got;
    mm1_buf_init(&got, 1 << 20);
    read_row(name, train, &s);
    for (int64_t i = 0; i < s.n; i++) {
        const mm1_bench_item *item = &s.items[i];
        mm1_buf_printf(&got, "%s|", item->id);
        for (size_t k = 0; k < item->n_question; k++) {
            if (item->question[k].text != NULL) {
                mm1_buf_puts(&got, item->question[k].text);
            } else {
                mm1_buf_printf(&got, "<%lld>", (long long)item->question[k].image);
            }
        }
        mm1_buf_puts(&got, "|");
        for (size_t k = 0; k < item->n_choices; k++) {
            mm1_buf_printf(&got, "%s%s%s", k > 0 ? "/" : "", item->choices[k], item->right == (int64_t)k ? "*" : "");
        }
        for (size_t k = 0; k < item->n_answers && k < 3; k++) {
            mm1_buf_printf(&got, "%s%s", k > 0 ? "/" : "", item->answers[k]);
        }
        mm1_buf_putc(&got, '\n');
    }
    assert_string_equal(mm1_buf_str(&got), want);
    mm1_buf_deinit(&got);
    mm1_bench_set_deinit(&s);
}

static void test_readers(void **state)
{
    (void)state;
    check_items("coco", false, "1||A black bar./a dark bar on white\n2||A blue circle\n");
    check_items("coco", true, "11||A green square\n4||A red cross\n");
    check_items("coco_val2014", false, "1||A black bar./a bar\n2||a blue circle\n");
    check_items("nocaps", false, "0||A baby standing in front of a house.\n1||An oven.\n");
    check_items("textcaps", false, "tval||a sign that says stop/a stop sign\nuval||a clock\n");
    check_items("vqav2", false,
                "1000|What colour is the bar?|black/black/black\n1001|How many bars are there?|1/1/1\n"
                "1002|Is it a circle?|yes/yes/yes\n");
    check_items("vqav2_testdev", false, "1000|What colour is the bar?|\n");
    check_items("textvqa", false, "34602|what does it say?|stop/stop/stop\n34603|what time is it?|10:10/ten/10:10\n");
    check_items("vizwiz", false,
                "VizWiz_val_00000000.jpg|Can you tell me what this medicine is please?|night time/nighttime\n"
                "VizWiz_val_00000001.jpg|What is this?|unanswerable/unanswerable\n");
    check_items("gqa", false, "2testdev1|Is the sky dark?|yes\n2testdev2|What is to the left of the tree?|fence\n");
    check_items("chartqa_human", false,
                "ctest.png: What is the largest value (human)?|What is the largest value (human)?|14\n"
                "ctest.png: Which is the largest (human)?|Which is the largest (human)?|Norway\n");
    check_items(
        "docvqa", false,
        "337|what is the date mentioned in this letter?|1/8/93\n338|who is it from?|P. Carter/Paul D. Carter\n");
    check_items("scienceqa", false,
                "2|Which figure of speech is used in this text?|chiasmus/apostrophe*\n"
                "3|What is the name of the colony shown?|Maryland/Rhode Island/Maine*\n");
    check_items("mathvista", false,
                "1|When a spring does work on an object, what is d? (Unit: m)|1.2\n"
                "2|Is the bar longer than the line?|Yes/No*No\n");
    check_items("seedbench", false,
                "101669|How many towels are in the image?|One*/Two/Three/Four\n"
                "101670|Which colour?|Red/Blue/Green*/Grey\n");
    check_items("ai2d", false,
                "0.png-0|What is A in the diagram?|ears/nose/mouth/face*\n"
                "0.png-1|What is B in the diagram?|face/mouth*/nose/ears\n");
    check_items("ai2d", true,
                "1.png-0|What is A in the diagram?|ears/nose/mouth/face*\n"
                "1.png-1|What is B in the diagram?|face/mouth*/nose/ears\n");
    check_items("pope_random", false,
                "1|Is there a snowboard in the image? (random)|yes\n2|Is there a dining table in the image?|no\n"
                "3|Is there a circle in the image?|yes\n");
    check_items("llava_bench", false,
                "0|What is the name of this famous sight in the photo?|\n1|Describe this photo in detail.|\n");
    check_items("arc_easy", false,
                "EasyTest-1|Which statement best explains why photosynthesis is the foundation of most food webs?|"
                "Sunlight is the source of energy.*/Most ecosystems are found on land./Carbon dioxide is rare.\n"
                "EasyTest-2|Which is a metal?|iron*/wood\n");
    check_items(
        "piqa", false,
        "1|How do I ready a guinea pig cage?|Provide the guinea pig with a cage full of a few inches of "
        "bedding.*/Provide the guinea pig with a cage full of a few inches of jeans material.\n"
        "2|dresser|replace drawer with bobby pin/finish with wood stain*\n3|To fight a fire|use water*/use oil\n");
    check_items(
        "lambada", false,
        "1|In my palm is a clear stone, and inside it is a small ivory statue. A guardian angel. \"Figured if you "
        "were going to get hurt you would need an|angel\n"
        "2|He took the bread to the baker, and the baker thanked him for the|bread\n");
    check_items("winogrande", false,
                "dev-1|Sarah was a better surgeon than Maria so|Sarah/Maria*\n"
                "dev-2|The trophy does not fit the case as the|trophy*/case\n");
    check_items(
        "hellaswag", false,
        "24|Roof shingle removal: A man is sitting on a roof. He|is using wrap to wrap a pair of skis./is ripping "
        "level tiles off./is holding a rubik's cube./starts pulling up roofing on a roof.*\n"
        "25|Home and Garden: How to clean. Take a cloth.|Wipe it well.*/Eat it./Burn it./Sell it.\n");
    check_items("sciq", false,
                "1|Compounds that are capable of accepting electrons are called "
                "what?|oxidants*/antioxidants/oxygen/residues\n"
                "2|What is water made of?|iron/hydrogen and oxygen*/gold/salt\n");
    check_items("triviaqa", false,
                "tc_dev|Who was the man behind The Chipmunks (dev)?|David Bowie/(David) Bowie lyrics/David Bowie\n"
                "tb_dev|Where is the railway museum (dev)?|York/York\n");
    check_items("webqs", false,
                "1|what does jamaican people speak?|Jamaican/Jamaican Creole English Language\n"
                "2|what character did natalie portman play in star wars?|Padme Amidala\n");
}

static void check_counts(const char *name, int64_t malformed, int64_t duplicates, int64_t unanswered,
                         int64_t without_question)
{
    mm1_bench_set s;
    read_row(name, false, &s);
    assert_int_equal(s.counts.malformed, malformed);
    assert_int_equal(s.counts.duplicates, duplicates);
    assert_int_equal(s.counts.unanswered, unanswered);
    assert_int_equal(s.counts.without_question, without_question);
    mm1_bench_set_deinit(&s);
}

static void test_what_is_left_out(void **state)
{
    (void)state;
    check_counts("coco", 1, 0, 0, 0);
    check_counts("coco_val2014", 0, 0, 0, 1);
    check_counts("vqav2", 0, 1, 1, 1);
    check_counts("vizwiz", 1, 0, 0, 0);
    check_counts("scienceqa", 1, 0, 0, 0);
    check_counts("mme", 1, 0, 0, 0);
    check_counts("arc_easy", 1, 0, 0, 0);
}

static void check_read(const char *name, const char *text, size_t len, int64_t n, int64_t malformed)
{
    mm1_error err = {0};
    mm1_bench_set s;
    char path[] = "/tmp/mm1-task-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    check_ok(mm1_file_write_atomic(path, text, len, &err), &err);
    const mm1_task_files files = {.file = path};
    check_ok(mm1_bench_read(mm1_task_find(name)->format, name, &files, true, &s, &err), &err);
    assert_int_equal(s.n, n);
    assert_int_equal(s.counts.malformed, malformed);
    for (int64_t i = 0; i < s.n; i++) {
        assert_true(s.items[i].right < (int64_t)s.items[i].n_choices);
    }
    mm1_bench_set_deinit(&s);
    (void)unlink(path);
}

/* A right answer among choices that have no letter any more was read from behind the list. */
static void test_more_choices_than_letters(void **state)
{
    mm1_buf text;
    (void)state;
    mm1_buf_init(&text, 1 << 16);
    for (int n = MM1_BENCH_MAX_CHOICES; n <= MM1_BENCH_MAX_CHOICES + 4; n += 4) {
        mm1_buf_printf(&text, "{\"id\": \"of %d\", \"question\": {\"stem\": \"Which?\", \"choices\": [", n);
        for (int i = 1; i <= n; i++) {
            mm1_buf_printf(&text, "%s{\"text\": \"no %d\", \"label\": \"%d\"}", i > 1 ? ", " : "", i, i);
        }
        mm1_buf_printf(&text, "]}, \"answerKey\": \"%d\"}\n", n);
    }
    check_read("arc_easy", mm1_buf_str(&text), text.len, 1, 1);
    mm1_buf_clear(&text);
    for (int n = MM1_BENCH_MAX_IMAGES; n <= MM1_BENCH_MAX_IMAGES + 1; n++) {
        mm1_buf_printf(&text, "{\"id\": \"of %d\", \"messages\": [{\"role\": \"user\", \"content\": \"How many?\"}, ",
                       n);
        mm1_buf_puts(&text, "{\"role\": \"assistant\", \"content\": \"many\"}], \"images\": [");
        for (int i = 0; i < n; i++) {
            mm1_buf_printf(&text, "%s\"%d.png\"", i > 0 ? ", " : "", i);
        }
        mm1_buf_puts(&text, "]}\n");
    }
    check_read("heldout_questions", mm1_buf_str(&text), text.len, 1, 1);
    mm1_buf_deinit(&text);
}

/* ---- damage ---- */

static const char table[] =
    "index\timage\timage_path\tquestion\thint\tA\tB\tanswer\tcategory\tsplit\n"
    "1\tiVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFElEQVR4nGNgYGDAhv9jEyUkCQA\tx\t\"a "
    "\"\"q\"\"\nb\"\tnan\tyes\tno\tB\tc\tdev\n"
    "2\t1\t\tIs it <image 1>?\th\tyes\tno\tA\tc\tdev\n"
    "3\t\"['iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFElEQVR4nGNg', 'iVBO']\"\t\tq\t\t\t\topen\tc\ttest\n"
    "4\t9\t\tq\t\ta\tb\tA\tc\tdev\n";

/* Cuts, changes, doubles or inserts somewhere. */
static size_t damage(mm1_rng *r, const char *from, size_t len, char *to)
{
    static const char odd[] = "\"{}[],:\\\t\n\0\xff'<9-";
    const size_t at = (size_t)mm1_rng_below(r, len);
    const size_t rest = len - at;
    memcpy(to, from, len);
    switch (mm1_rng_below(r, 4)) {
    case 0: return at;
    case 1: to[at] = odd[mm1_rng_below(r, sizeof odd - 1)]; return len;
    case 2: memmove(to + at, to + at + 1, rest - 1); return len - 1;
    default:
        memmove(to + at + 1, to + at, rest);
        to[at] = odd[mm1_rng_below(r, sizeof odd - 1)];
        return len + 1;
    }
}

/* Every reader takes damaged files for what they are: fewer items, or an error that names the file. */
static void test_damaged(void **state)
{
    enum { TRIES = 60, MAX_BYTES = 1 << 20 };
    (void)state;
    char path[] = "/tmp/mm1-damaged-XXXXXX";
    const int fd = mkstemp(path);
    char *damaged = mm1_alloc(MAX_BYTES, 1);
    assert_true(fd >= 0 && damaged != NULL);
    (void)close(fd);
    int n_read = 0, n_refused = 0;
    for (size_t i = 0; i <= mm1_n_tasks; i++) {
        mm1_error err = {0};
        mm1_bench_set paths = {0};
        mm1_task_files files = {0};
        const mm1_task *t = i < mm1_n_tasks ? &mm1_tasks[i] : mm1_task_find("mmbench");
        char *text = NULL;
        size_t len = 0;
        if (i == mm1_n_tasks) {
            text = mm1_strndup(table, sizeof table - 1);
            len = sizeof table - 1;
        } else if (mm1_benchmark_files(t, &t->test, DATA, &paths, &files, &err) != MM1_OK ||
                   mm1_path_is_dir(files.file) ||
                   mm1_file_read(files.file, MAX_BYTES / 2, &text, &len, &err) != MM1_OK) {
            mm1_bench_set_deinit(&paths); /* tables and folders are not here */
            continue;
        }
        assert_non_null(text);
        for (int k = 0; k < TRIES; k++) {
            mm1_rng r = mm1_rng_make(7, MM1_RNG_TEST, i * TRIES + (size_t)k);
            mm1_bench_set s;
            const size_t n = damage(&r, text, len, damaged);
            FILE *f = fopen(path, "wb"); /* without the sync of a file that is to last */
            assert_non_null(f);
            assert_int_equal(fwrite(damaged, 1, n, f), n);
            assert_int_equal(fclose(f), 0);
            mm1_task_files own = files;
            own.file = path;
            own.answers = files.answers != NULL && k % 2 == 1 ? files.answers : NULL;
            const mm1_status st = mm1_bench_read(t->format, t->name, &own, false, &s, &err);
            if (st == MM1_OK) {
                assert_true(s.n > 0);
                n_read++;
                mm1_bench_set_deinit(&s);
            } else {
                assert_true(mm1_reader_is_bad_sample(st) || st == MM1_E_IO || st == MM1_E_ARG);
                assert_true(err.message[0] != '\0');
                n_refused++;
            }
        }
        mm1_free(text);
        mm1_bench_set_deinit(&paths);
    }
    assert_true(n_read > 500);
    assert_true(n_refused > 100);
    mm1_free(damaged);
    (void)unlink(path);
}

/* ---- rows ---- */

static void test_table(void **state)
{
    static const char *const names[] = {"image", "question", "context", "choices", NULL};
    mm1_error err = {0};
    (void)state;
    check_ok(mm1_fields_table_check(mm1_task_fields, &err), &err);
    for (int i = 0; i < MM1_BENCH_FORMAT_COUNT; i++) {
        assert_string_equal(mm1_bench_format_names[i], mm1_bench_formats[i].name);
    }
    for (size_t i = 0; i < mm1_n_tasks; i++) {
        const mm1_task *t = &mm1_tasks[i];
        assert_ptr_equal(mm1_task_find(t->name), t); /* names are unique */
        assert_non_null(t->prompt);
        assert_non_null(t->answer);
        assert_non_null(t->separator);
        assert_non_null(t->marker);
        assert_non_null(t->test.file);
        assert_true(t->max_tokens > 0);
        assert_null(mm1_task_unknown_placeholder(t->prompt, names));
        assert_null(mm1_task_unknown_placeholder(t->chat, names));
        assert_true(t->by == MM1_BY_GENERATION || t->metric == MM1_SCORE_CHOICE);
    }
}

static void check_yaml_fails(const char *text, const char *want)
{
    mm1_error err = {0};
    mm1_task t;
    char path[] = "/tmp/mm1-task-XXXXXX.yaml";
    const int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    (void)close(fd);
    check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
    assert_int_equal(mm1_task_load(&t, path, &err), MM1_E_CONFIG);
    if (strstr(err.message, want) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", want, err.message);
    }
    (void)unlink(path);
}

static void test_yaml(void **state)
{
    mm1_error err = {0};
    mm1_task t;
    (void)state;
    check_ok(mm1_task_load(&t, DATA "/own/task.yaml", &err), &err);
    assert_string_equal(t.name, "own_questions");
    assert_string_equal(t.test.file, "own/questions.jsonl");
    assert_int_equal(t.format, MM1_BENCH_JSONL);
    assert_int_equal(t.metric, MM1_SCORE_VQA);
    assert_int_equal(t.n_stop, 2);
    assert_string_equal(t.stop[0], "\n");
    assert_string_equal(t.answer, " {answer}");
    mm1_fields_deinit(mm1_task_fields, &t);
    check_yaml_fails("name: x\ntest: {file: a}\npromt: y\n", ".yaml:3: unknown key 'promt'");
    check_yaml_fails("name: x\ntest: {file: a}\nprompt: \"{questoin}\"\n", "\"{questoin}\" names nothing of an item");
    check_yaml_fails("name: x\ntest: {file: a}\nmetric: spice\n", ".yaml:3: metric");
    check_yaml_fails("name: x\n", "test.file");
    check_yaml_fails("test: {file: a}\n", "name");
}

/* ---- prompts and demonstrations ---- */

static char *shown(const mm1_document *d)
{
    mm1_buf text;
    mm1_buf_init(&text, 1 << 20);
    mm1_bench_show(d, &text);
    char *out = mm1_buf_take(&text);
    assert_non_null(out);
    return out;
}

/* Texts need no pictures, so that prompts of text tasks can be compared here. */
static void check_prompt(const char *name, mm1_task_by by, bool thinks, int64_t n_shots, const char *id,
                         const char *want)
{
    mm1_error err = {0};
    mm1_bench_set test, train;
    mm1_bench_style style;
    mm1_bench_index index;
    mm1_bench_shots *shots = NULL;
    mm1_document d = {0};
    read_row(name, false, &test);
    read_row(name, true, &train);
    check_ok(mm1_bench_style_init(&style, mm1_task_find(name), by, false, thinks, &err), &err);
    check_ok(mm1_bench_index_init(&index, &test, &err), &err);
    const mm1_bench_item *item = mm1_bench_index_find(&index, id);
    assert_non_null(item);
    check_ok(mm1_bench_shots_create(&style, &train, false, MM1_SHOTS_FIXED, 1, 0, NULL, &shots, &err), &err);
    check_ok(mm1_bench_shots_put(shots, &test, item, n_shots, &d, &err), &err);
    check_ok(mm1_bench_put_question(&style, &test, item, &d, &err), &err);
    char *got = shown(&d);
    assert_string_equal(got, want);
    assert_int_equal(d.n_parts, 1); /* texts side by side are one part */
    mm1_free(got);
    mm1_document_deinit(&d);
    mm1_bench_shots_destroy(shots);
    mm1_bench_index_deinit(&index);
    mm1_bench_set_deinit(&train);
    mm1_bench_set_deinit(&test);
}

static void test_prompts(void **state)
{
    (void)state;
    check_prompt("arc_easy", MM1_BY_COUNT, false, 0, "EasyTest-2", "Question: Which is a metal?\nAnswer:");
    check_prompt("arc_easy", MM1_BY_COUNT, false, 1, "EasyTest-2",
                 "Question: Which is a metal?\nAnswer: iron\nQuestion: Which is a metal?\nAnswer:");
    check_prompt("arc_easy", MM1_BY_LETTER, false, 1, "EasyTest-2",
                 "Which is a metal?\nA. iron\nB. wood\nAnswer: A\nWhich is a metal?\nA. iron\nB. wood\nAnswer:");
    check_prompt(
        "winogrande", MM1_BY_COUNT, false, 1, "dev-1",
        "The trophy does not fit the case as the trophy is too large.\nSarah was a better surgeon than Maria so");
    check_prompt("scienceqa", MM1_BY_COUNT, true, 1, "2",
                 "Which is a vowel?\nA. b\nB. e\nAnswer: The vowels are a, e, i, o and u. The answer is B.\n"
                 "Sing, O muse.\nWhich figure of speech is used in this text?\nA. chiasmus\nB. apostrophe\nAnswer:");
}

/* A set of n questions without pictures, "q0", "q1", ... */
static void make_set(mm1_bench_set *s, int n, int n_classes)
{
    *s = (mm1_bench_set){0};
    for (int i = 0; i < n; i++) {
        mm1_bench_item item = {.id = mm1_bench_printf(s, "q%d", i), .right = n_classes > 0 ? i % n_classes : -1};
        mm1_bench_ask(s, &item, item.id);
        mm1_bench_answer(s, &item, item.id);
        for (int c = 0; c < n_classes; c++) {
            mm1_bench_choice(s, &item, mm1_bench_printf(s, "class%d", c));
        }
        assert_non_null(mm1_bench_add(s, &item));
    }
}

static const mm1_task plain = {.name = "plain",
                               .prompt = "{question}:",
                               .answer = "{answer}",
                               .separator = ";",
                               .marker = "",
                               .max_tokens = 1,
                               .metric = MM1_SCORE_EXACT};

static char *draw(const mm1_task *task, const mm1_bench_set *s, bool is_own, mm1_shot_choice choice, uint64_t seed,
                  const mm1_bench_item *item, int64_t n)
{
    mm1_error err = {0};
    mm1_bench_style style;
    mm1_bench_shots *shots = NULL;
    mm1_document d = {0};
    check_ok(mm1_bench_style_init(&style, task, MM1_BY_COUNT, false, false, &err), &err);
    check_ok(mm1_bench_shots_create(&style, s, is_own, choice, seed, 0, NULL, &shots, &err), &err);
    check_ok(mm1_bench_shots_put(shots, s, item, n, &d, &err), &err);
    char *text = shown(&d);
    mm1_document_deinit(&d);
    mm1_bench_shots_destroy(shots);
    return text;
}

static void test_shots(void **state)
{
    enum { N = 9, SHOTS = 8 };
    mm1_bench_set s;
    (void)state;
    make_set(&s, N, 0);
    int n_different = 0;
    for (int i = 0; i < N; i++) {
        char own[16];
        (void)snprintf(own, sizeof own, "q%d:", i);
        char *a = draw(&plain, &s, true, MM1_SHOTS_RANDOM, 1, &s.items[i], SHOTS),
             *b = draw(&plain, &s, true, MM1_SHOTS_RANDOM, 1, &s.items[i], SHOTS),
             *c = draw(&plain, &s, true, MM1_SHOTS_RANDOM, 2, &s.items[i], SHOTS),
             *few = draw(&plain, &s, true, MM1_SHOTS_RANDOM, 1, &s.items[i], 3);
        assert_string_equal(a, b);
        assert_null(strstr(a, own));  /* never the query */
        for (int k = 0; k < N; k++) { /* all others once: drawn without replacement */
            char other[16];
            (void)snprintf(other, sizeof other, "q%d:", k);
            const char *at = strstr(a, other);
            assert_true((k == i) == (at == NULL));
            assert_true(at == NULL || strstr(at + 1, other) == NULL);
        }
        assert_memory_equal(a, few, strlen(few)); /* fewer are the first of more */
        n_different += strcmp(a, c) != 0;
        mm1_free(a);
        mm1_free(b);
        mm1_free(c);
        mm1_free(few);
    }
    assert_true(n_different > N / 2);
    char *x = draw(&plain, &s, false, MM1_SHOTS_FIXED, 1, &s.items[0], 4),
         *y = draw(&plain, &s, false, MM1_SHOTS_FIXED, 1, &s.items[5], 4);
    assert_string_equal(x, y);
    mm1_free(x);
    mm1_free(y);

    mm1_error err = {0};
    mm1_bench_style style;
    mm1_bench_shots *shots = NULL;
    mm1_document d = {0};
    check_ok(mm1_bench_style_init(&style, &plain, MM1_BY_COUNT, false, false, &err), &err);
    check_ok(mm1_bench_shots_create(&style, &s, true, MM1_SHOTS_RANDOM, 1, 0, NULL, &shots, &err), &err);
    assert_int_equal(mm1_bench_shots_put(shots, &s, &s.items[0], N, &d, &err), MM1_E_ARG);
    assert_non_null(strstr(err.message, "9 demonstrations are wanted for item q0; there are 8"));
    mm1_bench_shots_destroy(shots);
    mm1_document_deinit(&d);
    assert_int_equal(mm1_bench_shots_create(&style, &s, true, MM1_SHOTS_SIMILAR, 1, 0, NULL, &shots, &err),
                     MM1_E_UNSUPPORTED);
    mm1_bench_set_deinit(&s);
}

/* Items of one picture never stand before each other. */
static void test_shots_of_other_pictures(void **state)
{
    enum { N = 12 };
    mm1_bench_set s;
    (void)state;
    make_set(&s, N, 0);
    for (int i = 0; i < N; i++) { /* texts alone are read: a picture that is compared by its key, and not shown */
        mm1_bench_image image = {.kind = MM1_BENCH_FILE, .path = "", .key = i % 2 == 0 ? "even" : "odd"};
        mm1_bench_image_add(&s, &s.items[i], &image);
    }
    for (int i = 0; i < N; i++) {
        char *text = draw(&plain, &s, true, MM1_SHOTS_RANDOM, 3, &s.items[i], 6);
        for (int k = i % 2; k < N; k += 2) {
            char other[16];
            (void)snprintf(other, sizeof other, "q%d:", k);
            assert_null(strstr(text, other));
        }
        mm1_free(text);
    }
    mm1_bench_set_deinit(&s);
}

/* With ways, each class that is offered has n demonstrations, and no other has any. */
static void test_ways(void **state)
{
    static const char *const offered[] = {"class4", "class1", "class2"};
    mm1_task task = plain;
    mm1_bench_set s;
    (void)state;
    task.ways = 3;
    task.by = MM1_BY_LIKELIHOOD;
    task.metric = MM1_SCORE_CHOICE;
    make_set(&s, 60, 6);
    mm1_bench_item item = s.items[4];
    item.choices = offered;
    item.n_choices = 3;
    item.right = 0;
    char *text = draw(&task, &s, true, MM1_SHOTS_RANDOM, 1, &item, 4);
    int n[6] = {0};
    for (int c = 0; c < 6; c++) {
        char word[16];
        (void)snprintf(word, sizeof word, ":class%d;", c);
        for (const char *p = strstr(text, word); p != NULL; p = strstr(p + 1, word)) {
            n[c]++;
        }
    }
    const int want[6] = {0, 4, 4, 0, 4, 0};
    assert_memory_equal(n, want, sizeof n);
    mm1_free(text);
    mm1_bench_set_deinit(&s);
}

/* ---- answers ---- */

static void check_extract(const char *text, const char *want)
{
    char *got = mm1_bench_extract(text, "The answer is");
    assert_non_null(got);
    assert_string_equal(got, want);
    mm1_free(got);
}

static void test_answers(void **state)
{
    static const char *const choices[] = {"a red bus", "two dogs", "dogs"};
    static const struct {
        const char *text;
        int64_t want;
    } cases[] = {{"B", 1},
                 {" (C)", 2},
                 {"B. two dogs", 1},
                 {"A", 0},
                 {"A: yes", 0},
                 {"A dog", -1},
                 {"D", -1},
                 {"", -1},
                 {"The answer is B.", 1},
                 {"I think the answer is: (A)", 0},
                 {"Two dogs!", 1},
                 {"It is a red bus.", 0},
                 {"dogs", 2},
                 {"a red bus and two dogs", -1},
                 {"Because", -1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (mm1_bench_read_letter(cases[i].text, choices, 3) != cases[i].want) {
            fail_msg("\"%s\" is read as %lld", cases[i].text,
                     (long long)mm1_bench_read_letter(cases[i].text, choices, 3));
        }
    }
    check_extract("2 and 2. The answer is 4.\nAnd more", "4");
    check_extract("The answer is 3. No: The answer is: 3.5.", "3.5");
    check_extract("  four \n", "four");
    mm1_buf text;
    mm1_buf_init(&text, 1000);
    mm1_bench_normalize(" The  Quick, (brown) A fox's an\n", &text);
    assert_string_equal(mm1_buf_str(&text), "quick brown foxs");
    mm1_bench_normalize("a", &text);
    assert_string_equal(mm1_buf_str(&text), "");
    mm1_buf_deinit(&text);
}

static void check_score(mm1_task_metric metric, const char *said, const char *const *answers, size_t n, double want)
{
    mm1_error err = {0};
    mm1_task task = plain;
    mm1_bench_style style;
    mm1_metric_result r;
    double score = 0;
    task.metric = metric;
    const mm1_bench_item item = {.id = "x", .answers = answers, .n_answers = n, .right = -1};
    const mm1_bench_said one = {&item, said, -1, -1};
    check_ok(mm1_bench_style_init(&style, &task, MM1_BY_COUNT, false, false, &err), &err);
    check_ok(mm1_bench_score(&style, &one, 1, &score, &r, &err), &err);
    if (isnan(want)) {
        assert_true(isnan(score));
        assert_int_equal(r.n, 0);
    } else {
        assert_true(fabs(score - want) < 1e-9);
    }
}

static void test_scores(void **state)
{
    static const char *const people[] = {"2", "two", "two", "3", "3", "3", "3", "3", "3", "3"};
    static const char *const york[] = {"York", "the city of York"}, *const ten[] = {"10"}, *const no[] = {"no"};
    (void)state;
    check_score(MM1_SCORE_VQA, "Two", people, 10, 90);
    check_score(MM1_SCORE_VQA, "Two", people, 0, (double)NAN);
    check_score(MM1_SCORE_EXACT, "york.", york, 2, 100);
    check_score(MM1_SCORE_EXACT, "City of  york", york, 2, 100);
    check_score(MM1_SCORE_EXACT, "New York", york, 2, 0);
    check_score(MM1_SCORE_FIRST_WORD, " York, she said", york, 1, 100);
    check_score(MM1_SCORE_FIRST_WORD, " Yorkshire", york, 1, 0);
    check_score(MM1_SCORE_RELAXED, "10.4", ten, 1, 100);
    check_score(MM1_SCORE_ANLS, "100", ten, 1, 200.0 / 3);
    check_score(MM1_SCORE_POPE, "No, there is none", no, 1, 100);
    check_score(MM1_SCORE_JUDGE, "no", no, 1, (double)NAN);
}

/* Both questions of a picture, category by category: 100 + 100 where all is right, 50 + 0 where half is. */
static void test_mme(void **state)
{
    static const char *const yes[] = {"Yes"};
    static const mm1_bench_image bar = {.key = "bar"}, code = {.key = "code"};
    const mm1_bench_item items[] = {
        {.id = "1", .category = "existence", .images = &bar, .n_images = 1, .answers = yes, .n_answers = 1},
        {.id = "2", .category = "code_reasoning", .images = &code, .n_images = 1, .answers = yes, .n_answers = 1},
        {.id = "3", .category = "existence", .images = &bar, .n_images = 1, .answers = yes, .n_answers = 1},
        {.id = "4", .category = "code_reasoning", .images = &code, .n_images = 1, .answers = yes, .n_answers = 1}};
    static const char *const texts[] = {"yes", "no", "Yes.", "yes"};
    static const double want[] = {100, 0, 100, 100};
    mm1_error err = {0};
    mm1_task task = plain;
    mm1_bench_style style;
    mm1_metric_result r;
    mm1_bench_said said[4];
    double scores[4];
    (void)state;
    task.metric = MM1_SCORE_MME;
    for (int i = 0; i < 4; i++) {
        said[i] = (mm1_bench_said){&items[i], texts[i], -1, -1};
    }
    check_ok(mm1_bench_style_init(&style, &task, MM1_BY_COUNT, false, false, &err), &err);
    check_ok(mm1_bench_score(&style, said, 4, scores, &r, &err), &err);
    assert_memory_equal(scores, want, sizeof want);
    assert_true(r.score.value == 250);
    assert_int_equal(r.n_parts, 2);
    assert_string_equal(r.parts[0].name, "perception");
    assert_true(r.parts[0].value == 200);
    assert_string_equal(r.parts[1].name, "cognition");
    assert_true(r.parts[1].value == 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_what_is_left_out),
        cmocka_unit_test(test_more_choices_than_letters),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_shots),
        cmocka_unit_test(test_shots_of_other_pictures),
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_mme),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

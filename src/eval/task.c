/* task.c - see task.h: names, the keys of a YAML row, and the check of its templates. */
#include "eval/task.h"

#include <string.h>

const char *const mm1_task_by_names[] = {"generation", "likelihood", "letter", NULL};
const char *const mm1_task_metric_names[] = {"cider", "vqa", "exact",  "first_word", "relaxed", "anls",
                                             "pope",  "mme", "choice", "judge",      NULL};
static const char *const export_names[] = {"none",      "coco",  "vqa",     "vizwiz", "mmmu",
                                           "mathvista", "llava", "letters", NULL};

#define F(member, TYPE, ...) MM1_FIELD(mm1_task_files, member, TYPE, __VA_ARGS__)
static const mm1_field files_fields[] = {
    F(file, STR, .help = "questions, or everything; below the data folder"),
    F(answers, STR, .help = "a second file: annotations or labels"),
    F(images, STR, .help = "folder of the pictures; default: that of `file`"),
    F(split, STR, .help = "the part of the file that is meant"),
    {0},
};
#undef F

#define F(member, TYPE, ...) MM1_FIELD(mm1_task, member, TYPE, __VA_ARGS__)
const mm1_field mm1_task_fields[] = {
    F(name, STR, .is_required = true, .help = "of the benchmark"),
    F(about, STR, .help = "a line for --list-tasks"),
    F(format, ENUM, .names = mm1_bench_format_names, .def.i = MM1_BENCH_JSONL, .help = "of its files"),
    MM1_FIELD_GROUP_OF(mm1_task, test, files_fields, .help = "what is asked"),
    MM1_FIELD_GROUP_OF(mm1_task, train, files_fields, .help = "what demonstrations are taken from; default: test"),
    F(data, STR, .help = "default of --data"),
    F(prompt, STR, .def.s = "{image}Question: {question} Short answer:", .help = "up to where the answer begins"),
    F(chat, STR, .help = "the same for a model that holds conversations"),
    F(answer, STR, .def.s = " {answer}", .help = "of a demonstration"),
    F(separator, STR, .def.s = "\n", .help = "behind a demonstration"),
    MM1_FIELD_ITEMS_OF(mm1_task, stop, n_stop, STR, .max_items = 16, .help = "an answer ends before any of these"),
    F(max_tokens, I64, .def.i = 16, .min.i = 1, .max.i = 65536, .help = "of an answer"),
    F(by, ENUM, .names = mm1_task_by_names, .help = "how an answer is had"),
    F(metric, ENUM, .names = mm1_task_metric_names, .def.i = MM1_SCORE_VQA, .help = "how it is judged"),
    F(ways, I64, .max.i = MM1_BENCH_MAX_CHOICES,
      .help = "not 0: an item offers its class and others, this many in all; shots are counted for each class"),
    F(only_pictures, BOOL, .help = "items without a picture are passed over"),
    F(circular, BOOL,
      .help = "choices: asked once for each, all moved on by a place; right if every pass is (MMBench)"),
    F(marker, STR, .def.s = "The answer is", .help = "chain of thought: the answer stands behind this"),
    F(export_as, ENUM, .names = export_names,
      .help = "form in which answers are written for the benchmark's own tools"),
    {0},
};
#undef F

const mm1_task *mm1_task_find(const char *name)
{
    for (size_t i = 0; i < mm1_n_tasks; i++) {
        if (strcmp(mm1_tasks[i].name, name) == 0) {
            return &mm1_tasks[i];
        }
    }
    return NULL;
}

const char *mm1_task_unknown_placeholder(const char *text, const char *const *names)
{
    for (const char *p = text != NULL ? strchr(text, '{') : NULL; p != NULL; p = strchr(p + 1, '{')) {
        bool known = false;
        for (size_t i = 0; names[i] != NULL && !known; i++) {
            const size_t len = strlen(names[i]);
            known = strncmp(p + 1, names[i], len) == 0 && p[1 + len] == '}';
        }
        if (!known) {
            return p;
        }
    }
    return NULL;
}

static mm1_status check_template(const char *path, const char *key, const char *text, const char *const *names,
                                 mm1_error *err)
{
    const char *bad = mm1_task_unknown_placeholder(text, names);
    return bad == NULL ? MM1_OK
                       : mm1_error_set(err, MM1_E_CONFIG, "%s: %s: \"%.24s\" names nothing of an item", path, key, bad);
}

mm1_status mm1_task_load(mm1_task *task, const char *path, mm1_error *err)
{
    static const char *const of_prompt[] = {"image", "question", "context", "choices", NULL};
    static const char *const of_answer[] = {"answer", "rationale", NULL};
    mm1_status st = mm1_fields_defaults(mm1_task_fields, task, err);
    st = st != MM1_OK ? st : mm1_fields_load_yaml(mm1_task_fields, task, path, err);
    st = st != MM1_OK ? st : mm1_fields_check(mm1_task_fields, task, err);
    if (st == MM1_OK && task->test.file == NULL) {
        st = mm1_error_set(err, MM1_E_CONFIG, "%s: test.file: a task needs a file of questions", path);
    }
    st = st != MM1_OK ? st : check_template(path, "prompt", task->prompt, of_prompt, err);
    st = st != MM1_OK ? st : check_template(path, "chat", task->chat, of_prompt, err);
    st = st != MM1_OK ? st : check_template(path, "answer", task->answer, of_answer, err);
    if (st != MM1_OK) {
        mm1_fields_deinit(mm1_task_fields, task);
    }
    return st;
}

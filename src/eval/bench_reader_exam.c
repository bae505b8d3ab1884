/* bench_reader_exam.c - multiple choice about pictures in the JSON of its makers. */
#include "eval/bench_reader.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lines.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SPLIT_BYTES = 64 << 20 };

typedef struct job {
    const mm1_task_files *files;
    json_t *wanted; /* keys: what belongs to the split; NULL: all does */
    const char *path;
} job;

/* {key: true} of a list of texts and numbers. */
static json_t *keys_of(const json_t *list)
{
    json_t *keys = json_object();
    for (size_t i = 0; keys != NULL && i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        char number[32];
        (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
        (void)json_object_set_new(keys, json_is_string(v) ? json_string_value(v) : number, json_true());
    }
    return keys;
}

/* ---- ScienceQA ---- */

static const char *take_scienceqa(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const json_t *choices = json_object_get(e->value, "choices"), *answer = json_object_get(e->value, "answer");
    const char *question = mm1__bench_text(e->value, "question"), *image = mm1__bench_text(e->value, "image"),
               *hint = mm1__bench_text(e->value, "hint"), *lecture = mm1__bench_text(e->value, "lecture"),
               *solution = mm1__bench_text(e->value, "solution"), *split = mm1__bench_text(e->value, "split");
    if (e->key == NULL || (j->wanted != NULL && json_object_get(j->wanted, e->key) == NULL)) {
        return NULL;
    }
    if (question == NULL || json_array_size(choices) < 2 || !json_is_integer(answer)) {
        return "\"question\", \"choices\" or \"answer\" is not there";
    }
    mm1_bench_item item = {.id = mm1_bench_str(s, e->key), .right = (int64_t)json_integer_value(answer)};
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const char *text = json_string_value(json_array_get(choices, i));
        if (text == NULL) {
            return "a choice is no text";
        }
        mm1_bench_choice(s, &item, text);
    }
    if (item.right < 0 || item.right >= (int64_t)item.n_choices) {
        return "\"answer\" is the number of no choice";
    }
    if (image != NULL && j->files->images != NULL) { /* images/test/1/image.png */
        const char *name = mm1_bench_printf(s, "%s/%s/%s", split != NULL ? split : "", e->key, image);
        mm1_bench_image_file(s, &item, j->files->images, name != NULL ? name : image);
    }
    mm1_bench_ask(s, &item, question);
    item.context = hint != NULL && hint[0] != '\0' ? mm1_bench_str(s, hint) : NULL;
    if (solution != NULL && solution[0] != '\0') {
        item.rationale = lecture != NULL && lecture[0] != '\0' ? mm1_bench_printf(s, "%s %s", lecture, solution)
                                                               : mm1_bench_str(s, solution);
    }
    item.category = mm1_bench_str(s, mm1__bench_text(e->value, "subject"));
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_scienceqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    char *text = NULL;
    size_t len = 0;
    json_error_t where;
    json_t *splits = NULL;
    mm1_status st = MM1_OK;
    if (files->answers != NULL && files->split != NULL) {
        st = mm1_file_read(files->answers, MAX_SPLIT_BYTES, &text, &len, err);
        splits = st == MM1_OK ? json_loadb(text, len, 0, &where) : NULL;
        const json_t *list = json_object_get(splits, files->split);
        if (st == MM1_OK && !json_is_array(list)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: has no list \"%s\" of the problems of this split",
                               files->answers, files->split);
        } else if (st == MM1_OK && (j.wanted = keys_of(list)) == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", files->answers);
        }
    }
    st = st != MM1_OK ? st : mm1__bench_json(files->file, NULL, s, take_scienceqa, &j, err);
    json_decref(j.wanted);
    json_decref(splits);
    mm1_free(text);
    return st;
}

/* ---- MathVista: choices or a free answer ---- */

static const char *take_mathvista(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const json_t *choices = json_object_get(e->value, "choices");
    const char *question = mm1__bench_text(e->value, "question"), *image = mm1__bench_text(e->value, "image"),
               *answer = mm1__bench_id(s, e->value, "answer"), *unit = mm1__bench_text(e->value, "unit");
    if (e->key == NULL || question == NULL || image == NULL) {
        return "the pid, \"question\" or \"image\" is not there";
    }
    mm1_bench_item item = {.id = mm1_bench_str(s, e->key), .right = -1};
    item.record = mm1_bench_strn(s, e->text, e->len);
    item.category = mm1_bench_str(s, mm1__bench_text(json_object_get(e->value, "metadata"), "task"));
    mm1_bench_image_file(s, &item, j->files->images, image);
    const char *asked = unit != NULL ? mm1_bench_printf(s, "%s (Unit: %s)", question, unit) : question;
    mm1_bench_ask(s, &item, asked != NULL ? asked : question);
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const char *text = json_string_value(json_array_get(choices, i));
        if (text == NULL) {
            return "a choice is no text";
        }
        mm1_bench_choice(s, &item, text);
        if (answer != NULL && strcmp(text, answer) == 0) {
            item.right = (int64_t)i;
        }
    }
    if (answer != NULL) {
        mm1_bench_answer(s, &item, answer);
    }
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_mathvista(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, NULL, s, take_mathvista, &j, err);
}

/* ---- SEED-Bench: questions about pictures; those about videos are passed over ---- */

static const char *take_seed(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    static const char *const keys[] = {"choice_a", "choice_b", "choice_c", "choice_d"};
    const job *j = ctx;
    const char *question = mm1__bench_text(e->value, "question"), *type = mm1__bench_text(e->value, "data_type"),
               *image = mm1__bench_id(s, e->value, "data_id"), *answer = mm1__bench_text(e->value, "answer");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "question_id"), .right = -1};
    if (type != NULL && strcmp(type, "image") != 0) {
        return NULL;
    }
    if (item.id == NULL || question == NULL || image == NULL) {
        return "\"question_id\", \"data_id\" or \"question\" is not there";
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = mm1__bench_id(s, e->value, keys[i]);
        if (text == NULL) {
            return "a choice is not there";
        }
        mm1_bench_choice(s, &item, text);
    }
    item.right = answer != NULL && answer[0] >= 'A' && answer[0] <= 'D' && answer[1] == '\0' ? answer[0] - 'A' : -1;
    item.category = mm1__bench_id(s, e->value, "question_type_id");
    mm1_bench_image_file(s, &item, j->files->images, image);
    mm1_bench_ask(s, &item, question);
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_seed(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, "questions", s, take_seed, &j, err);
}

/* ---- AI2D: a file a picture, {"imageName": .., "questions": {question: {..}}} ---- */

static mm1_status read_ids(const char *path, json_t **out, mm1_error *err)
{
    mm1_lines *lines = NULL;
    const char *line = NULL;
    size_t len = 0;
    json_t *ids = json_object();
    mm1_status st = mm1_lines_open(path, 4096, &lines, err);
    do {
        st = st != MM1_OK ? st : mm1_lines_next(lines, &line, &len, err);
        char id[4096];
        if (st == MM1_OK && line != NULL) {
            (void)snprintf(id, sizeof id, "%.*s", (int)strcspn(line, "\r\n,"), line);
            (void)json_object_set_new(ids, id, json_true());
        }
    } while (st == MM1_OK && line != NULL);
    mm1_lines_close(lines);
    if (st != MM1_OK || ids == NULL) {
        json_decref(ids);
        return st != MM1_OK ? st : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
    }
    *out = ids;
    return MM1_OK;
}

typedef struct ai2d {
    const mm1_task_files *files;
    const char *image; /* "1011.png" */
} ai2d;

static const char *take_ai2d(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const ai2d *j = ctx;
    const json_t *texts = json_object_get(e->value, "answerTexts"), *right = json_object_get(e->value, "correctAnswer");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "questionId"), .right = -1};
    if (item.id == NULL || e->key == NULL || json_array_size(texts) < 2) {
        return "\"questionId\" or \"answerTexts\" is not there";
    }
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        if (text == NULL) {
            return "a choice is no text";
        }
        mm1_bench_choice(s, &item, text);
    }
    const int64_t n = json_is_integer(right) ? (int64_t)json_integer_value(right) : -1;
    item.right = n < (int64_t)item.n_choices ? n : -1;
    mm1_bench_image_file(s, &item, j->files->images, j->image);
    mm1_bench_ask(s, &item, e->key);
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_ai2d(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    ai2d j = {.files = files};
    mm1_names names = {0};
    json_t *test = NULL;
    mm1_status st = mm1_dir_list(files->file, &names, err);
    if (st == MM1_OK && files->answers != NULL) {
        st = read_ids(files->answers, &test, err);
    }
    /* The split "train": all pictures that are not on the list. */
    const bool on_list = files->split == NULL || strcmp(files->split, "train") != 0;
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        char image[300];
        const char *dot = strrchr(names.items[i], '.');
        if (dot == NULL || strcmp(dot, ".json") != 0 || dot - names.items[i] > 290) {
            continue;
        }
        (void)snprintf(image, sizeof image, "%.*s", (int)(dot - names.items[i]), names.items[i]);
        char stem[300];
        (void)snprintf(stem, sizeof stem, "%.*s", (int)strcspn(image, "."), image);
        if (test != NULL && (json_object_get(test, stem) != NULL) != on_list) {
            continue;
        }
        char *path = mm1_path_join(files->file, names.items[i]);
        j.image = image;
        mm1_error why = {0};
        st = path != NULL ? mm1__bench_json(path, "questions", s, take_ai2d, &j, &why)
                          : mm1_error_set(&why, MM1_E_NOMEM, "no memory for a path");
        if (st == MM1_E_FORMAT) { /* one of thousands of files */
            mm1_bench_bad(s, &s->counts.malformed, path, 0, why.message);
            st = MM1_OK;
        } else if (st != MM1_OK) {
            st = mm1_error_set(err, st, "%s", why.message);
        }
        mm1_free(path);
    }
    json_decref(test);
    mm1_names_free(&names);
    return st;
}

/* bench_reader_vqa.c - open questions about pictures. */
#include "eval/bench_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    const mm1_task_files *files;
    mm1_bench_index index;
} job;

/* Texts, or objects that hold one as "answer". */
static void take_answers(mm1_bench_set *s, mm1_bench_item *item, const json_t *answers)
{
    for (size_t i = 0; i < json_array_size(answers); i++) {
        const json_t *a = json_array_get(answers, i);
        const char *text = json_is_object(a) ? mm1__bench_text(a, "answer") : json_string_value(a);
        if (text != NULL) {
            mm1_bench_answer(s, item, text);
        }
    }
}

/* ---- VQAv2, OK-VQA: questions here, answers there ---- */

static const char *take_question(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *question = mm1__bench_text(e->value, "question"), *image = mm1__bench_id(s, e->value, "image_id");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "question_id"), .right = -1};
    if (item.id == NULL || question == NULL || image == NULL) {
        return "\"question_id\", \"image_id\" or \"question\" is not there";
    }
    /* COCO_val2014_000000123456.jpg: the split names the pictures. */
    const char *split = j->files->split != NULL ? j->files->split : "val2014";
    char name[160];
    (void)snprintf(name, sizeof name, "COCO_%.100s_%012lld.jpg", split, strtoll(image, NULL, 10));
    mm1_bench_image_file(s, &item, j->files->images, name);
    mm1_bench_ask(s, &item, question);
    (void)mm1_bench_add(s, &item);
    return NULL;
}

static const char *take_annotation(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *id = mm1__bench_id(s, e->value, "question_id");
    const json_t *answers = json_object_get(e->value, "answers");
    if (id == NULL || !json_is_array(answers)) {
        return "\"question_id\" or \"answers\" is not there";
    }
    mm1_bench_item *item = mm1_bench_index_find(&j->index, id);
    if (item == NULL) {
        mm1_bench_bad(s, &s->counts.without_question, j->files->answers, e->line, "answers to no question");
        return NULL;
    }
    if (item->n_answers > 0) {
        mm1_bench_bad(s, &s->counts.duplicates, j->files->answers, e->line, "answers to a question that has some");
        return NULL;
    }
    item->category = mm1_bench_str(s, mm1__bench_text(e->value, "answer_type"));
    take_answers(s, item, answers);
    return NULL;
}

mm1_status mm1__bench_read_vqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    mm1_status st = mm1__bench_json(files->file, "questions", s, take_question, &j, err);
    if (st == MM1_OK && files->answers != NULL) { /* test splits have none */
        st = mm1_bench_index_init(&j.index, s, err);
        st = st != MM1_OK ? st : mm1__bench_json(files->answers, "annotations", s, take_annotation, &j, err);
        mm1_bench_index_deinit(&j.index);
    }
    return st;
}

/* ---- TextVQA ---- */

static const char *take_textvqa(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *question = mm1__bench_text(e->value, "question"), *image = mm1__bench_id(s, e->value, "image_id");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "question_id"), .right = -1};
    if (item.id == NULL || question == NULL || image == NULL) {
        return "\"question_id\", \"image_id\" or \"question\" is not there";
    }
    const char *name = mm1_bench_printf(s, "%s.jpg", image);
    mm1_bench_image_file(s, &item, j->files->images, name != NULL ? name : image);
    mm1_bench_ask(s, &item, question);
    take_answers(s, &item, json_object_get(e->value, "answers"));
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_textvqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, "data", s, take_textvqa, &j, err);
}

/* ---- VizWiz: one question a picture, so the picture is the id ---- */

static const char *take_vizwiz(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *question = mm1__bench_text(e->value, "question"), *image = mm1__bench_text(e->value, "image");
    if (question == NULL || image == NULL) {
        return "\"image\" or \"question\" is not there";
    }
    mm1_bench_item item = {.id = mm1_bench_str(s, image), .right = -1};
    item.category = mm1_bench_str(s, mm1__bench_text(e->value, "answer_type"));
    mm1_bench_image_file(s, &item, j->files->images, image);
    mm1_bench_ask(s, &item, question);
    take_answers(s, &item, json_object_get(e->value, "answers"));
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_vizwiz(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, NULL, s, take_vizwiz, &j, err);
}

/* ---- GQA ---- */

static const char *take_gqa(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *question = mm1__bench_text(e->value, "question"), *image = mm1__bench_id(s, e->value, "imageId"),
               *answer = mm1__bench_text(e->value, "answer");
    if (e->key == NULL || question == NULL || image == NULL) {
        return "the id, \"imageId\" or \"question\" is not there";
    }
    mm1_bench_item item = {.id = mm1_bench_str(s, e->key), .right = -1};
    const char *name = mm1_bench_printf(s, "%s.jpg", image);
    mm1_bench_image_file(s, &item, j->files->images, name != NULL ? name : image);
    mm1_bench_ask(s, &item, question);
    if (answer != NULL) {
        mm1_bench_answer(s, &item, answer);
    }
    item.category = mm1_bench_str(s, mm1__bench_text(json_object_get(e->value, "types"), "structural"));
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_gqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, NULL, s, take_gqa, &j, err);
}

/* ---- ChartQA: a question has no id; its picture and text are one ---- */

static const char *take_chartqa(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *question = mm1__bench_text(e->value, "query"), *image = mm1__bench_text(e->value, "imgname"),
               *answer = mm1__bench_id(s, e->value, "label");
    if (question == NULL || image == NULL) {
        return "\"imgname\" or \"query\" is not there";
    }
    mm1_bench_item item = {.id = mm1_bench_printf(s, "%s: %s", image, question), .right = -1};
    if (item.id == NULL) {
        return "no memory";
    }
    mm1_bench_image_file(s, &item, j->files->images, image);
    mm1_bench_ask(s, &item, question);
    if (answer != NULL) {
        mm1_bench_answer(s, &item, answer);
    }
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_chartqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, NULL, s, take_chartqa, &j, err);
}

/* ---- DocVQA ---- */

static const char *take_docvqa(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *question = mm1__bench_text(e->value, "question"), *image = mm1__bench_text(e->value, "image");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "questionId"), .right = -1};
    if (item.id == NULL || question == NULL || image == NULL) {
        return "\"questionId\", \"image\" or \"question\" is not there";
    }
    mm1_bench_image_file(s, &item, j->files->images, image);
    mm1_bench_ask(s, &item, question);
    take_answers(s, &item, json_object_get(e->value, "answers"));
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_docvqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, "data", s, take_docvqa, &j, err);
}

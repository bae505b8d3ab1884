/* bench_reader_caption.c - pictures and what people wrote of them. */
#include "eval/bench_reader.h"

#include <stdio.h>
#include <string.h>

typedef struct job {
    const mm1_task_files *files;
    mm1_bench_index index;
} job;

/* ---- COCO and NoCaps: {images: [{id, file_name}], annotations: [{image_id, caption}]} ---- */

static const char *take_coco_image(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "id"), .right = -1};
    const char *name = mm1__bench_text(e->value, "file_name");
    if (item.id == NULL || name == NULL) {
        return "\"id\" or \"file_name\" is not there";
    }
    item.category = mm1_bench_str(s, mm1__bench_text(e->value, "domain")); /* NoCaps: in, near, out */
    mm1_bench_image_file(s, &item, j->files->images, name);
    (void)mm1_bench_add(s, &item);
    return NULL;
}

static const char *take_coco_caption(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *id = mm1__bench_id(s, e->value, "image_id"), *caption = mm1__bench_text(e->value, "caption");
    if (id == NULL || caption == NULL) {
        return "\"image_id\" or \"caption\" is not there";
    }
    mm1_bench_item *item = mm1_bench_index_find(&j->index, id);
    if (item == NULL) {
        mm1_bench_bad(s, &s->counts.without_question, j->files->file, e->line, "a caption of no picture");
    } else {
        mm1_bench_answer(s, item, caption);
    }
    return NULL;
}

mm1_status mm1__bench_read_coco(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    mm1_status st = mm1__bench_json(files->file, "images", s, take_coco_image, &j, err);
    st = st != MM1_OK ? st : mm1_bench_index_init(&j.index, s, err);
    const char *captions = files->answers != NULL ? files->answers : files->file;
    st = st != MM1_OK ? st : mm1__bench_json(captions, "annotations", s, take_coco_caption, &j, err);
    mm1_bench_index_deinit(&j.index);
    return st;
}

/* ---- the Karpathy split of COCO ---- */

/* Is this split wanted?  "train" stands for train and restval, as everybody trains on both. */
static bool is_wanted(const char *wanted, const char *split)
{
    return wanted == NULL || strcmp(wanted, split) == 0 ||
           (strcmp(wanted, "train") == 0 && strcmp(split, "restval") == 0);
}

static const char *take_karpathy(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *split = mm1__bench_text(e->value, "split"), *name = mm1__bench_text(e->value, "filename"),
               *dir = mm1__bench_text(e->value, "filepath");
    const json_t *sentences = json_object_get(e->value, "sentences");
    if (split == NULL || name == NULL || !json_is_array(sentences)) {
        return "\"split\", \"filename\" or \"sentences\" is not there";
    }
    if (!is_wanted(j->files->split, split)) {
        return NULL;
    }
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "cocoid"), .right = -1};
    item.id = item.id != NULL ? item.id : mm1__bench_id(s, e->value, "imgid");
    if (item.id == NULL) {
        return "neither \"cocoid\" nor \"imgid\" is there";
    }
    const char *path = mm1_bench_path(s, dir != NULL ? dir : "", name);
    mm1_bench_image_file(s, &item, j->files->images, path != NULL ? path : name);
    for (size_t i = 0; i < json_array_size(sentences); i++) {
        const char *raw = mm1__bench_text(json_array_get(sentences, i), "raw");
        if (raw != NULL) {
            mm1_bench_answer(s, &item, raw);
        }
    }
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_karpathy(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_json(files->file, "images", s, take_karpathy, &j, err);
}

/* ---- TextCaps: a record a caption, each with all references of its picture ---- */

typedef struct textcaps {
    const mm1_task_files *files;
    char last[128]; /* id of the picture of the record before: records of one stand together */
} textcaps;

static const char *take_textcaps(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    textcaps *j = ctx;
    const char *id = mm1__bench_text(e->value, "image_id"), *path = mm1__bench_text(e->value, "image_path");
    const json_t *references = json_object_get(e->value, "reference_strs");
    if (id == NULL || strlen(id) >= sizeof j->last) {
        return "\"image_id\" is not there";
    }
    if (strcmp(j->last, id) == 0) {
        return NULL;
    }
    (void)snprintf(j->last, sizeof j->last, "%s", id);
    mm1_bench_item item = {.id = mm1_bench_str(s, id), .right = -1};
    /* "train/<id>.jpg" even in the file of val: pictures of both lie in train_images. */
    const char *name = path != NULL && strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    name = name != NULL ? name : mm1_bench_printf(s, "%s.jpg", id);
    mm1_bench_image_file(s, &item, j->files->images, name != NULL ? name : id);
    for (size_t i = 0; i < json_array_size(references); i++) {
        const char *text = json_string_value(json_array_get(references, i));
        if (text != NULL) {
            mm1_bench_answer(s, &item, text);
        }
    }
    if (item.n_answers == 0 && mm1__bench_text(e->value, "caption_str") != NULL) {
        mm1_bench_answer(s, &item, mm1__bench_text(e->value, "caption_str"));
    }
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_textcaps(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    textcaps j = {.files = files};
    return mm1__bench_json(files->file, "data", s, take_textcaps, &j, err);
}

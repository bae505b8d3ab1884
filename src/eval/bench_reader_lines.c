/* bench_reader_lines.c - benchmarks of a JSON object or a question a line: POPE, LLaVA-Bench, MME, and our own. */
#include "eval/bench_reader.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lines.h"
#include "base/tar.h"
#include <stdio.h>
#include <string.h>

typedef struct job {
    const mm1_task_files *files;
    const mm1_tar_index *tar; /* messages: pictures are members of it; NULL: files */
    const char *tar_path;
    size_t member; /* that is read: pictures stand near it */
} job;

/* ---- POPE and LLaVA-Bench: {question_id, image, text, label?, category?} ---- */

static const char *take_llava(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const char *text = mm1__bench_text(e->value, "text"), *image = mm1__bench_text(e->value, "image"),
               *label = mm1__bench_text(e->value, "label");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "question_id"), .right = -1};
    if (item.id == NULL || text == NULL) {
        return "\"question_id\" or \"text\" is not there";
    }
    if (image != NULL) {
        mm1_bench_image_file(s, &item, j->files->images, image);
    }
    mm1_bench_ask(s, &item, text);
    if (label != NULL) {
        mm1_bench_answer(s, &item, label);
    }
    item.category = mm1_bench_str(s, mm1__bench_text(e->value, "category"));
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_llava(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_lines(files->file, s, take_llava, &j, err);
}

/* ---- MME: <category>/[questions_answers_YN/]<name>.txt beside <category>/[images/]<name>.jpg ---- */

/* The first of these that is there; of none, one for the message that says so. */
static void find_picture(const char *category, const char *stem, char *path, size_t cap)
{
    static const char *const dirs[] = {"", "images/"}, *const endings[] = {"jpg", "png", "jpeg", "webp"};
    for (size_t d = 0; d < sizeof dirs / sizeof *dirs; d++) {
        for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
            const int n = snprintf(path, cap, "%s/%s%s.%s", category, dirs[d], stem, endings[e]);
            if (n > 0 && (size_t)n < cap && mm1_path_exists(path)) {
                return;
            }
        }
    }
    (void)snprintf(path, cap, "%s/%s.jpg", category, stem);
}

static mm1_status read_mme_file(mm1_bench_set *s, const char *path, const char *category, const char *name,
                                const char *stem, mm1_error *err)
{
    mm1_lines *lines = NULL;
    const char *line = NULL;
    size_t len = 0;
    char picture[2048];
    find_picture(category, stem, picture, sizeof picture);
    mm1_status st = mm1_lines_open(path, 1 << 16, &lines, err);
    do {
        st = st != MM1_OK ? st : mm1_lines_next(lines, &line, &len, err);
        if (st != MM1_OK || line == NULL || strspn(line, " \r\n\t") == len) {
            continue;
        }
        const char *tab = memchr(line, '\t', len);
        if (tab == NULL) {
            mm1_bench_bad(s, &s->counts.malformed, path, mm1_lines_number(lines),
                          "a question, a tab and an answer are "
                          "expected");
            continue;
        }
        mm1_bench_item item = {.right = -1, .category = mm1_bench_str(s, name)};
        item.id = mm1_bench_printf(s, "%s/%s\t%.*s", name, stem, (int)(tab - line), line);
        mm1_bench_image_file(s, &item, NULL, picture);
        const char *question = mm1_bench_strn(s, line, (size_t)(tab - line));
        const char *answer = mm1_bench_strn(s, tab + 1, strcspn(tab + 1, "\r\n"));
        if (item.id != NULL && question != NULL && answer != NULL) {
            mm1_bench_ask(s, &item, question);
            mm1_bench_answer(s, &item, answer);
            (void)mm1_bench_add(s, &item);
        }
    } while (st == MM1_OK && line != NULL);
    mm1_lines_close(lines);
    return st;
}

static mm1_status read_mme_category(mm1_bench_set *s, const char *category, const char *name, mm1_error *err)
{
    mm1_names files = {0};
    char *inner = mm1_path_join(category, "questions_answers_YN");
    const char *dir = inner != NULL && mm1_path_is_dir(inner) ? inner : category;
    mm1_status st = mm1_dir_list(dir, &files, err);
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *dot = strrchr(files.items[i], '.');
        if (dot == NULL || strcmp(dot, ".txt") != 0) {
            continue;
        }
        char *path = mm1_path_join(dir, files.items[i]),
             *stem = mm1_strndup(files.items[i], (size_t)(dot - files.items[i]));
        st = path == NULL || stem == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir)
                                          : read_mme_file(s, path, category, name, stem, err);
        mm1_free(stem);
        mm1_free(path);
    }
    mm1_names_free(&files);
    mm1_free(inner);
    return st;
}

mm1_status mm1__bench_read_mme(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    mm1_names categories = {0};
    mm1_status st = mm1_dir_list(files->file, &categories, err);
    for (size_t i = 0; st == MM1_OK && i < categories.n; i++) {
        char *path = mm1_path_join(files->file, categories.items[i]);
        if (path == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", files->file);
        } else if (mm1_path_is_dir(path)) {
            st = read_mme_category(s, path, categories.items[i], err);
        }
        mm1_free(path);
    }
    mm1_names_free(&categories);
    return st;
}

/* ---- {messages: [{role, content}], images: [path]}: the first question and its answer ---- */

/* Texts, and pictures that stand between them; false if a content cannot be read. */
static bool take_content(mm1_bench_set *s, mm1_bench_item *item, const json_t *content, int64_t *next_image)
{
    if (json_is_string(content)) {
        mm1_bench_ask(s, item, json_string_value(content));
        return true;
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *type = mm1__bench_text(part, "type"), *text = mm1__bench_text(part, "text");
        if (type != NULL && strcmp(type, "image") == 0 && item->n_question == 0) {
            ++*next_image; /* stands where the prompt has its pictures */
        } else if (type != NULL && strcmp(type, "image") == 0) {
            mm1_bench_ask_image(s, item, (*next_image)++);
        } else if (text != NULL) {
            mm1_bench_ask(s, item, text);
        } else {
            return false;
        }
    }
    return json_is_array(content);
}

/* A picture of the tar that is read, by its name: it stands behind the record. */
static bool add_member(mm1_bench_set *s, mm1_bench_item *item, const job *j, const char *name)
{
    for (size_t i = j->member + 1; i < j->tar->n && i <= j->member + MM1_BENCH_MAX_IMAGES; i++) {
        const mm1_tar_member *m = &j->tar->members[i];
        if (strcmp(m->name, name) == 0) {
            const char *key = mm1_bench_printf(s, "%s#%s", j->tar_path, name);
            if (key != NULL) {
                mm1_bench_image_add(s, item,
                                    &(mm1_bench_image){.kind = MM1_BENCH_SPAN,
                                                       .path = j->tar_path,
                                                       .at = (int64_t)m->offset,
                                                       .len = (int64_t)m->size,
                                                       .key = key});
            }
            return true;
        }
    }
    return false;
}

static const char *take_messages(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const json_t *messages = json_object_get(e->value, "messages"), *images = json_object_get(e->value, "images");
    mm1_bench_item item = {.right = -1};
    int64_t next_image = 0;
    bool asked = false;
    item.id = mm1__bench_id(s, e->value, "id");
    item.id = item.id != NULL ? item.id : mm1_bench_printf(s, "%llu", (unsigned long long)e->number);
    for (size_t i = 0; i < json_array_size(images); i++) {
        const char *path = json_string_value(json_array_get(images, i));
        if (path == NULL) {
            return "an image is no path";
        }
        if (j->tar == NULL) {
            mm1_bench_image_file(s, &item, j->files->images, path);
        } else if (!add_member(s, &item, j, path)) {
            return "an image is no member of the tar near it";
        }
    }
    for (size_t i = 0; i < json_array_size(messages) && item.n_answers == 0; i++) {
        const json_t *m = json_array_get(messages, i), *content = json_object_get(m, "content");
        const char *role = mm1__bench_text(m, "role");
        if (role != NULL && strcmp(role, "user") == 0 && !asked) {
            if (!take_content(s, &item, content, &next_image)) {
                return "a content is neither a text nor a list of texts and images";
            }
            asked = true;
        } else if (role != NULL && strcmp(role, "assistant") == 0 && asked) {
            const char *text = json_string_value(content);
            text = text != NULL ? text : mm1__bench_text(json_array_get(content, 0), "text");
            if (text == NULL) {
                return "an answer is no text";
            }
            mm1_bench_answer(s, &item, text);
        }
    }
    if (!asked || item.id == NULL) {
        return "there is no message of a user";
    }
    if (next_image > (int64_t)item.n_images) {
        return "there are fewer images than the messages show";
    }
    item.category = mm1_bench_str(s, mm1__bench_text(e->value, "category"));
    if (item.category == NULL) { /* what `mm1 data build` writes */
        item.category = mm1_bench_str(s, mm1__bench_text(json_object_get(e->value, "qa"), "kind"));
    }
    (void)mm1_bench_add(s, &item);
    return NULL;
}

/* Every key.json of a tar, whose pictures are members beside it. */
static mm1_status read_messages_tar(const char *path, job *j, mm1_bench_set *s, mm1_error *err)
{
    mm1_tar_index tar;
    mm1_status st = mm1_tar_index_open(&tar, path, err);
    if (st != MM1_OK) {
        return st;
    }
    j->tar = &tar;
    j->tar_path = mm1_bench_str(s, path);
    for (size_t i = 0; i < tar.n && j->tar_path != NULL && !s->no_memory; i++) {
        const mm1_tar_member *m = &tar.members[i];
        json_error_t where;
        if (strcmp(mm1_path_extension(m->name), ".json") != 0) {
            continue;
        }
        j->member = i;
        const mm1_json_element e = {.value = json_loadb((const char *)m->data, m->size, 0, &where), .number = i};
        const char *why = !json_is_object(e.value) ? "an object is expected" : NULL;
        const int64_t before = s->n;
        why = why != NULL ? why : take_messages(j, s, &e);
        if (why != NULL) {
            const char *place = mm1_bench_printf(s, "%s:%s", path, m->name);
            mm1_bench_bad(s, &s->counts.malformed, place != NULL ? place : path, 0, why);
        } else if (s->n > before && json_object_get(e.value, "id") == NULL) { /* its key */
            s->items[before].id = mm1_bench_strn(s, m->name, strlen(m->name) - 5);
        }
        json_decref(e.value);
    }
    mm1_tar_index_close(&tar);
    return s->no_memory ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its records", path) : MM1_OK;
}

mm1_status mm1__bench_read_messages(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    if (strcmp(mm1_path_extension(files->file), ".tar") != 0) {
        return mm1__bench_lines(files->file, s, take_messages, &j, err);
    }
    mm1_names tars = {0};
    mm1_status st = mm1_path_glob(files->file, &tars, err);
    for (size_t i = 0; st == MM1_OK && i < tars.n; i++) {
        st = read_messages_tar(tars.items[i], &j, s, err);
    }
    mm1_names_free(&tars);
    return st;
}

/* ---- our own: what a new benchmark is written in ---- */

/* A text, or a list of texts. */
static void take_texts(mm1_bench_set *s, mm1_bench_item *item, const json_t *v,
                       void (*add)(mm1_bench_set *, mm1_bench_item *, const char *))
{
    if (json_is_string(v)) {
        add(s, item, json_string_value(v));
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *text = json_string_value(json_array_get(v, i));
        if (text != NULL) {
            add(s, item, text);
        }
    }
}

static const char *take_jsonl(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    const job *j = ctx;
    const json_t *image = json_object_get(e->value, "image"), *images = json_object_get(e->value, "images");
    const char *question = mm1__bench_text(e->value, "question"), *split = mm1__bench_text(e->value, "split"),
               *answer = mm1__bench_id(s, e->value, "answer");
    mm1_bench_item item = {.right = -1};
    if (j->files->split != NULL && split != NULL && strcmp(split, j->files->split) != 0) {
        return NULL;
    }
    item.id = mm1__bench_id(s, e->value, "id");
    item.id = item.id != NULL ? item.id : mm1_bench_printf(s, "%llu", (unsigned long long)e->number);
    if (json_is_string(image)) {
        mm1_bench_image_file(s, &item, j->files->images, json_string_value(image));
    }
    for (size_t i = 0; i < json_array_size(images); i++) {
        const char *path = json_string_value(json_array_get(images, i));
        if (path == NULL) {
            return "an image is no path";
        }
        mm1_bench_image_file(s, &item, j->files->images, path);
    }
    if (question == NULL && item.n_images == 0) {
        return "neither a question nor an image is there";
    }
    if (question != NULL) {
        mm1_bench_ask_marked(s, &item, question);
    }
    take_texts(s, &item, json_object_get(e->value, "choices"), mm1_bench_choice);
    for (size_t i = 0; i < item.n_choices; i++) { /* the answer as a text of a choice, or as its letter */
        if (answer != NULL && (strcmp(answer, item.choices[i]) == 0 ||
                               (answer[0] == 'A' + (char)i && answer[1] == '\0' && item.right < 0))) {
            item.right = (int64_t)i;
        }
    }
    if (item.n_choices == 0 && answer != NULL) {
        mm1_bench_answer(s, &item, answer);
    }
    take_texts(s, &item, json_object_get(e->value, "answers"), mm1_bench_answer);
    item.context = mm1_bench_str(s, mm1__bench_text(e->value, "context"));
    item.rationale = mm1_bench_str(s, mm1__bench_text(e->value, "rationale"));
    item.category = mm1_bench_str(s, mm1__bench_text(e->value, "category"));
    if (item.id != NULL) {
        (void)mm1_bench_add(s, &item);
    }
    return NULL;
}

mm1_status mm1__bench_read_jsonl(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    job j = {.files = files};
    return mm1__bench_lines(files->file, s, take_jsonl, &j, err);
}

/* bench_reader_tsv.c - tables with a column a field and pictures in base64, as VLMEvalKit publishes benchmarks.
 *
 *   index <tab> image <tab> question <tab> hint <tab> A <tab> B <tab> ... <tab> answer <tab> category <tab> split
 *
 * A field may stand in quotes, with tabs and line breaks in it and quotes doubled.  An image may be one picture, a list
 * "['..', '..']" of them, or the index of the row that has it. */
#include "eval/bench_reader.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 64, MAX_FIELD_BYTES = 1 << 20, LETTERS = 26, REFERENCE_BYTES = 64, DROPPED = -2 };

typedef enum column {
    INDEX,
    IMAGE,
    IMAGE_PATH,
    QUESTION,
    HINT,
    ANSWER,
    CATEGORY,
    SPLIT,
    OPTION_A, /* and the other letters after it */
    N_COLUMNS = OPTION_A + LETTERS
} column;

/* A field as it stands in the file; quotes are still there. */
typedef struct field {
    const char *text;
    size_t len;
} field;

typedef struct table {
    const mm1_task_files *files;
    mm1_map map;
    size_t at;
    uint64_t line;
    int column_of[N_COLUMNS]; /* -1: the table has none */
    int n_columns;
    field fields[MAX_COLUMNS];
} table;

/* Reads the fields of a row; how many, 0 at the end of the file. */
static int read_row(table *t)
{
    const char *p = (const char *)t->map.data;
    int n = 0;
    while (t->at < t->map.len && (p[t->at] == '\n' || p[t->at] == '\r')) {
        t->line += p[t->at++] == '\n';
    }
    while (t->at < t->map.len) {
        const size_t begin = t->at;
        if (p[t->at] == '"') {
            for (t->at++; t->at < t->map.len; t->at++) {
                if (p[t->at] == '\n') {
                    t->line++;
                } else if (p[t->at] == '"') {
                    if (t->at + 1 < t->map.len && p[t->at + 1] == '"') {
                        t->at++;
                    } else {
                        break;
                    }
                }
            }
        }
        const char *stop = p + t->at, *const end = p + t->map.len;
        while (stop < end && *stop != '\t' && *stop != '\n') { /* two memchr() would look far beyond a short field */
            stop++;
        }
        if (n < MAX_COLUMNS) {
            size_t len = (size_t)(stop - (p + begin));
            len -= len > 0 && stop[-1] == '\r';
            t->fields[n] = (field){p + begin, len};
        }
        n++;
        t->at = (size_t)(stop - p) + (stop < end);
        if (stop == end || *stop == '\n') {
            t->line += stop < end;
            return n;
        }
    }
    return n;
}

/* The field without its quotes; "" for a column that the table has not. */
static const char *text_of(mm1_bench_set *s, const table *t, int which)
{
    const int c = t->column_of[which];
    if (c < 0 || t->fields[c].len > MAX_FIELD_BYTES) {
        return "";
    }
    const field *f = &t->fields[c];
    if (f->len < 2 || f->text[0] != '"') {
        const char *plain = mm1_bench_strn(s, f->text, f->len);
        return plain != NULL ? plain : "";
    }
    char *out = mm1_bench_take(s, f->len, 1);
    size_t n = 0;
    for (size_t i = 1; out != NULL && i + 1 < f->len; i++) {
        i += f->text[i] == '"' && f->text[i + 1] == '"' && i + 2 < f->len;
        out[n++] = f->text[i];
    }
    return out != NULL ? out : "";
}

/* pandas writes nothing or nan for what a row has not. */
static bool is_empty(const char *text)
{
    return text[0] == '\0' || strcmp(text, "nan") == 0;
}

static mm1_status read_header(table *t, mm1_error *err)
{
    static const char *const names[] = {
        [INDEX] = "index", [IMAGE] = "image",   [IMAGE_PATH] = "image_path", [QUESTION] = "question",
        [HINT] = "hint",   [ANSWER] = "answer", [CATEGORY] = "category",     [SPLIT] = "split"};
    for (int i = 0; i < N_COLUMNS; i++) {
        t->column_of[i] = -1;
    }
    t->n_columns = read_row(t);
    for (int c = 0; c < t->n_columns && c < MAX_COLUMNS; c++) {
        const field *f = &t->fields[c];
        if (f->len == 1 && f->text[0] >= 'A' && f->text[0] <= 'Z') {
            t->column_of[OPTION_A + f->text[0] - 'A'] = c;
        }
        for (int i = 0; i < OPTION_A; i++) {
            if (strlen(names[i]) == f->len && memcmp(names[i], f->text, f->len) == 0) {
                t->column_of[i] = c;
            }
        }
    }
    if (t->n_columns > MAX_COLUMNS || t->column_of[INDEX] < 0 || t->column_of[QUESTION] < 0) {
        return mm1_error_set(
            err, MM1_E_FORMAT,
            "%s:1: the first line of a table names its columns, \"index\" and \"question\" among them, "
            "with tabs between",
            t->files->file);
    }
    return MM1_OK;
}

static void add_base64(mm1_bench_set *s, const table *t, mm1_bench_item *item, const char *digits, size_t len)
{
    mm1_bench_image image = {.kind = MM1_BENCH_BASE64,
                             .path = mm1_bench_str(s, t->files->file),
                             .at = digits - (const char *)t->map.data,
                             .len = (int64_t)len};
    image.key = mm1_bench_printf(s, "%s#%016llx", mm1_path_basename(t->files->file),
                                 (unsigned long long)mm1_hash64(digits, len, 0));
    if (image.path != NULL && image.key != NULL) {
        mm1_bench_image_add(s, item, &image);
    }
}

/* The pictures of a field; false if it is the index of another row. */
static bool add_pictures(mm1_bench_set *s, const table *t, mm1_bench_item *item)
{
    const field *f = &t->fields[t->column_of[IMAGE]];
    const char *p = f->text, *end = f->text + f->len;
    if (f->len > 1 && *p == '"' && end[-1] == '"') {
        p++;
        end--;
    }
    if (p == end || (end - p == 3 && memcmp(p, "nan", 3) == 0)) {
        return true;
    }
    if (*p != '[') {
        if (end - p < REFERENCE_BYTES) {
            return false;
        }
        add_base64(s, t, item, p, (size_t)(end - p));
        return true;
    }
    while (p < end) { /* what stands between quotes */
        const char *open = p;
        while (open < end && *open != '\'' && *open != '"') {
            open++;
        }
        const char *close = open + 1;
        while (close < end && *close != '\'' && *close != '"') {
            close++;
        }
        if (close < end && close > open + 1) {
            add_base64(s, t, item, open + 1, (size_t)(close - open - 1));
        }
        p = close + 1;
    }
    return true;
}

static const char *take_row(mm1_bench_set *s, const table *t, int n, bool *refers)
{
    *refers = false;
    if (n != t->n_columns) {
        return "it has not as many columns as the first line names";
    }
    const char *split = text_of(s, t, SPLIT), *answer = text_of(s, t, ANSWER), *hint = text_of(s, t, HINT),
               *question = text_of(s, t, QUESTION), *category = text_of(s, t, CATEGORY);
    if (t->files->split != NULL && t->column_of[SPLIT] >= 0 && strcmp(split, t->files->split) != 0) {
        return NULL;
    }
    mm1_bench_item item = {.id = text_of(s, t, INDEX), .right = -1};
    if (item.id[0] == '\0' || question[0] == '\0') {
        return "index or question is empty";
    }
    for (int i = 0; i < LETTERS; i++) {
        const char *choice = text_of(s, t, OPTION_A + i);
        if (is_empty(choice)) {
            break; /* letters are numbers of choices: there is no gap */
        }
        mm1_bench_choice(s, &item, choice);
    }
    if (item.n_choices > 0 && answer[0] >= 'A' && answer[0] < 'A' + (int)item.n_choices && answer[1] == '\0') {
        item.right = answer[0] - 'A';
    } else if (!is_empty(answer)) {
        mm1_bench_answer(s, &item, answer);
    }
    item.context = is_empty(hint) ? NULL : hint;
    item.category = is_empty(category) ? NULL : category;
    mm1_bench_ask_marked(s, &item, question);
    if (t->column_of[IMAGE] >= 0) {
        *refers = !add_pictures(s, t, &item);
    }
    if (item.n_images == 0 && !*refers && !is_empty(text_of(s, t, IMAGE_PATH))) {
        mm1_bench_image_file(s, &item, t->files->images, text_of(s, t, IMAGE_PATH));
    }
    if (*refers) {
        item.record = text_of(s, t, IMAGE); /* until all rows are there */
    }
    (void)mm1_bench_add(s, &item);
    return NULL;
}

/* Rows whose image is the index of another row get that one's pictures. */
static mm1_status follow(mm1_bench_set *s, const char *path, mm1_error *err)
{
    mm1_bench_index index;
    mm1_status st = mm1_bench_index_init(&index, s, err);
    for (int64_t i = 0; st == MM1_OK && i < s->n; i++) {
        mm1_bench_item *item = &s->items[i];
        if (item->record == NULL) {
            continue;
        }
        const mm1_bench_item *other = mm1_bench_index_find(&index, item->record);
        if (other != NULL && other->record == NULL) {
            item->images = other->images;
            item->n_images = other->n_images;
        } else {
            char why[160];
            (void)snprintf(why, sizeof why, "item %.60s: its image is row %.40s, which has none", item->id,
                           item->record);
            mm1_bench_bad(s, &s->counts.without_picture, path, 0, why);
            item->right = DROPPED;
        }
    }
    int64_t n = 0;
    for (int64_t i = 0; st == MM1_OK && i < s->n; i++) {
        if (s->items[i].right != DROPPED) {
            s->items[i].record = NULL;
            s->items[n++] = s->items[i];
        }
    }
    s->n = st == MM1_OK ? n : s->n;
    mm1_bench_index_deinit(&index);
    return st;
}

mm1_status mm1__bench_read_tsv(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    table t = {.files = files, .line = 1};
    bool refers = false, any_refers = false;
    mm1_status st = mm1_map_open(&t.map, files->file, err);
    st = st != MM1_OK ? st : read_header(&t, err);
    while (st == MM1_OK && !s->no_memory) {
        const uint64_t line = t.line;
        const int n = read_row(&t);
        if (n == 0) {
            break;
        }
        const char *why = take_row(s, &t, n, &refers);
        any_refers = any_refers || refers;
        if (why != NULL) {
            mm1_bench_bad(s, &s->counts.malformed, files->file, line, why);
        }
    }
    if (st == MM1_OK && any_refers) {
        st = follow(s, files->file, err);
    }
    mm1_map_close(&t.map);
    return st;
}

/* metric_file.c - see metric_file.h. */
#include "eval/metric_file.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/lines.h"
#include "base/log.h"
#include <inttypes.h>
#include <string.h>

enum { MAX_LINE_BYTES = 1 << 24, MAX_TEXTS = 4096, MAX_LOGGED = 10 };

static const size_t MAX_FILE_BYTES = (size_t)1 << 31;

static mm1_status no_memory(const char *path, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its records", path);
}

/* Numbers and texts; false if the member is neither. */
static bool put_id(mm1_buf *out, const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (json_is_string(v)) {
        mm1_buf_puts(out, json_string_value(v));
    } else if (json_is_integer(v)) {
        mm1_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else {
        return false;
    }
    return true;
}

static const json_t *text_member(const json_t *object, const mm1_metric_format *format)
{
    const json_t *v = json_object_get(object, format->text[0]);
    return v == NULL && format->text[1] != NULL ? json_object_get(object, format->text[1]) : v;
}

static const char *text_of(const json_t *v, const char *inner)
{
    return json_string_value(json_is_object(v) && inner != NULL ? json_object_get(v, inner) : v);
}

/* The texts of a record; false if there are none or one is no text. */
static bool take_texts(mm1_metric_record *r, const json_t *v, const char *inner)
{
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n == 0 || n > MAX_TEXTS || (r->texts = mm1_calloc(n, sizeof *r->texts)) == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char *text = text_of(json_is_array(v) ? json_array_get(v, i) : v, inner);
        if (text == NULL) {
            return false;
        }
        r->texts[r->n_texts++] = text;
    }
    return true;
}

static mm1_status append(mm1_metric_file *f, const mm1_metric_record *r, const char *path, mm1_error *err)
{
    if (f->n == f->cap) {
        const size_t cap = f->cap > 0 ? 2 * f->cap : 1024;
        mm1_metric_record *grown = mm1_realloc(f->records, cap, sizeof *grown);
        if (grown == NULL) {
            return no_memory(path, err);
        }
        f->records = grown;
        f->cap = cap;
    }
    f->records[f->n++] = *r;
    return MM1_OK;
}

static void complain(mm1_metric_file *f, const char *path, const char *what, uint64_t at, const char *why)
{
    if (++f->malformed <= MAX_LOGGED) {
        mm1_log(MM1_LOG_WARN, "%s: %s %" PRIu64 " is left out: %s%s", path, what, at, why,
                f->malformed == MAX_LOGGED ? "; more of the kind are only counted" : "");
    }
}

static mm1_status take_object(mm1_metric_file *f, const json_t *object, const mm1_metric_format *format,
                              const char *path, const char *what, uint64_t at, mm1_error *err)
{
    mm1_metric_record r = {0};
    mm1_buf id;
    mm1_buf_init(&id, MAX_LINE_BYTES);
    bool ok = json_is_object(object) && put_id(&id, object, format->id[0]);
    if (ok && format->id[1] != NULL) {
        mm1_buf_putc(&id, '\t');
        ok = put_id(&id, object, format->id[1]);
    }
    ok = ok && take_texts(&r, text_member(object, format), format->inner);
    mm1_status st = MM1_OK;
    if (ok && (r.id = mm1_buf_take(&id)) != NULL) {
        st = append(f, &r, path, err);
    } else {
        complain(f, path, what, at, "its id or its text is not there, or of another type");
    }
    if (!ok || st != MM1_OK || r.id == NULL) {
        mm1_free(r.id);
        mm1_free(r.texts);
    }
    mm1_buf_deinit(&id);
    return st;
}

static mm1_status read_document(mm1_metric_file *f, const char *path, const mm1_metric_format *format, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    json_error_t bad;
    mm1_status st = mm1_file_read(path, MAX_FILE_BYTES, &text, &len, err);
    if (st != MM1_OK) {
        return st;
    }
    json_t *root = json_loadb(text, len, 0, &bad);
    mm1_free(text);
    if (root == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
    }
    const json_t *list = format->list != NULL ? json_object_get(root, format->list) : root;
    if (!json_is_array(list)) {
        st =
            mm1_error_set(err, MM1_E_FORMAT, "%s: %s%s%s", path, format->list != NULL ? "has no list \"" : "is no list",
                          format->list != NULL ? format->list : "", format->list != NULL ? "\"" : "");
    }
    for (size_t i = 0; st == MM1_OK && i < json_array_size(list); i++) {
        st = take_object(f, json_array_get(list, i), format, path, "record", i, err);
    }
    if (json_array_append_new(f->roots, root) != 0 && st == MM1_OK) {
        st = no_memory(path, err);
    }
    return st;
}

/* A row becomes an object with the columns' numbers as keys, so that all records are taken by one function. */
static json_t *row_object(const char *line, size_t len, const mm1_metric_format *format)
{
    json_t *object = json_object();
    int n = 0;
    for (const char *p = line, *end = line + len; object != NULL; n++) {
        const char *tab = memchr(p, '\t', (size_t)(end - p));
        const char key[2] = {(char)('0' + n), '\0'};
        /* Text that is not UTF-8 is not set, and then missed. */
        (void)json_object_set_new(object, key, json_stringn(p, (size_t)((tab != NULL ? tab : end) - p)));
        if (tab == NULL || n == 9) {
            break;
        }
        p = tab + 1;
    }
    if (n + 1 < format->n_columns) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static mm1_status read_lines(mm1_metric_file *f, const char *path, const mm1_metric_format *format, mm1_error *err)
{
    mm1_lines *lines = NULL;
    mm1_status st = mm1_lines_open(path, MAX_LINE_BYTES, &lines, err);
    while (st == MM1_OK) {
        const char *line = NULL;
        size_t len = 0;
        st = mm1_lines_next(lines, &line, &len, err);
        if (st != MM1_OK || line == NULL) {
            break;
        }
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
            len--;
        }
        if (len == 0) {
            continue;
        }
        json_t *object =
            format->form == MM1_METRIC_ROWS ? row_object(line, len, format) : json_loadb(line, len, 0, NULL);
        if (object == NULL) {
            complain(f, path, "line", mm1_lines_number(lines),
                     format->form == MM1_METRIC_ROWS ? "it has too few columns" : "it is no JSON");
            continue;
        }
        st = take_object(f, object, format, path, "line", mm1_lines_number(lines), err);
        if (json_array_append_new(f->roots, object) != 0 && st == MM1_OK) {
            st = no_memory(path, err);
        }
    }
    mm1_lines_close(lines);
    return st;
}

/* Merge sort, because records of one id keep the order of the file. */
static bool sort(mm1_metric_record *r, size_t n)
{
    mm1_metric_record *spare = mm1_alloc(n, sizeof *spare);
    if (spare == NULL) {
        return false;
    }
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * run) {
            const size_t middle = begin + run < n ? begin + run : n, end = middle + run < n ? middle + run : n;
            size_t i = begin, j = middle;
            for (size_t k = begin; k < end; k++) {
                const bool left = i < middle && (j >= end || strcmp(r[i].id, r[j].id) <= 0);
                spare[k] = left ? r[i++] : r[j++];
            }
        }
        memcpy(r, spare, n * sizeof *r);
    }
    mm1_free(spare);
    return true;
}

mm1_status mm1_metric_file_read(mm1_metric_file *f, const char *path, const mm1_metric_format *format, mm1_error *err)
{
    *f = (mm1_metric_file){.roots = json_array()};
    mm1_status st = f->roots == NULL                  ? no_memory(path, err)
                    : format->form == MM1_METRIC_JSON ? read_document(f, path, format, err)
                                                      : read_lines(f, path, format, err);
    if (st == MM1_OK && f->n > 0 && !sort(f->records, f->n)) {
        st = no_memory(path, err);
    }
    if (st != MM1_OK) {
        mm1_metric_file_deinit(f);
    }
    return st;
}

void mm1_metric_file_deinit(mm1_metric_file *f)
{
    for (size_t i = 0; i < f->n; i++) {
        mm1_free(f->records[i].id);
        mm1_free((void *)(uintptr_t)f->records[i].texts);
    }
    mm1_free(f->records);
    json_decref(f->roots);
    *f = (mm1_metric_file){0};
}

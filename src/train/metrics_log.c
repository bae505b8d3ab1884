/* metrics_log.c - see metrics_log.h. */
#include "train/metrics_log.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/file_writer.h"
#include "base/number.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LINE_BYTES = 1 << 20 };

struct mm1_metrics_log {
    FILE *file;
    char *path;
    mm1_buf line; /* empty between lines */
};

/* Is this line an object whose step is at most last_step? */
static bool keeps(const char *line, size_t len, int64_t last_step)
{
    json_t *object = len <= MAX_LINE_BYTES ? json_loadb(line, len, 0, NULL) : NULL;
    const json_t *step = json_object_get(object, "step"); /* NULL for what is no object */
    const bool yes = json_is_integer(step) && json_integer_value(step) <= last_step;
    json_decref(object);
    return yes;
}

/* Rewrites the file with the lines that stay; leaves it alone if that is all of them. */
static mm1_status cut_back(const char *path, int64_t last_step, mm1_error *err)
{
    mm1_map map;
    mm1_file_writer *w = NULL;
    uint64_t n_kept = 0;
    mm1_status st = mm1_map_open(&map, path, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_file_writer_open(&w, path, err);
    for (size_t at = 0; st == MM1_OK && at < map.len;) {
        const char *line = (const char *)map.data + at;
        const char *end = memchr(line, '\n', map.len - at);
        if (end == NULL) {
            break; /* the writer was stopped in the middle of it */
        }
        const size_t len = (size_t)(end - line) + 1;
        if (keeps(line, len - 1, last_step)) {
            st = mm1_file_writer_append(w, line, len, err);
            n_kept += len;
        }
        at += len;
    }
    if (st == MM1_OK && n_kept != map.len) {
        st = mm1_file_writer_commit(w, err);
    }
    mm1_file_writer_close(w);
    mm1_map_close(&map);
    return st;
}

mm1_status mm1_metrics_log_open(mm1_metrics_log **out, const char *path, int64_t last_step, mm1_error *err)
{
    mm1_status st = MM1_OK;

    *out = NULL;
    mm1_metrics_log *log = mm1_calloc(1, sizeof *log);
    if (log == NULL || (log->path = mm1_strdup(path)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the log", path);
        goto out;
    }
    mm1_buf_init(&log->line, MAX_LINE_BYTES);
    if (mm1_path_exists(path)) {
        st = cut_back(path, last_step, err);
        if (st != MM1_OK) {
            goto out;
        }
    }
    log->file = fopen(path, "abe");
    if (log->file == NULL) {
        st = mm1_error_set(err, MM1_E_IO, "%s: cannot open: %s", path, strerror(errno));
        goto out;
    }
    *out = log;
    log = NULL;
out:
    mm1_metrics_log_close(log);
    return st;
}

void mm1_metrics_log_begin(mm1_metrics_log *log, int64_t step)
{
    mm1_buf_clear(&log->line);
    mm1_buf_printf(&log->line, "{\"step\":%" PRId64, step);
}

static void put_key(mm1_metrics_log *log, const char *key)
{
    mm1_buf_putc(&log->line, ',');
    mm1_buf_put_json(&log->line, key);
    mm1_buf_putc(&log->line, ':');
}

void mm1_metrics_log_f64(mm1_metrics_log *log, const char *key, double v)
{
    char text[32] = "null";
    if (isfinite(v)) {
        mm1_format_f64(text, v);
    }
    put_key(log, key);
    mm1_buf_puts(&log->line, text);
}

void mm1_metrics_log_i64(mm1_metrics_log *log, const char *key, int64_t v)
{
    put_key(log, key);
    mm1_buf_printf(&log->line, "%" PRId64, v);
}

void mm1_metrics_log_text(mm1_metrics_log *log, const char *key, const char *v)
{
    put_key(log, key);
    mm1_buf_put_json(&log->line, v);
}

mm1_status mm1_metrics_log_end(mm1_metrics_log *log, mm1_error *err)
{
    mm1_status st = MM1_OK;
    const bool is_begun = log->line.len > 0;
    mm1_buf_puts(&log->line, "}\n");
    if (!is_begun) {
        st = mm1_error_set(err, MM1_E_STATE, "%s: a line ends that was not begun", log->path);
    } else if (mm1_buf_status(&log->line) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(&log->line), "%s: a line is over %d bytes, or memory is short",
                           log->path, MAX_LINE_BYTES);
    } else if (fwrite(log->line.data, 1, log->line.len, log->file) != log->line.len || fflush(log->file) != 0) {
        st = mm1_error_set(err, MM1_E_IO, "%s: cannot write: %s", log->path, strerror(errno));
    }
    mm1_buf_clear(&log->line);
    return st;
}

void mm1_metrics_log_close(mm1_metrics_log *log)
{
    if (log != NULL) {
        if (log->file != NULL) {
            (void)fclose(log->file);
        }
        mm1_buf_deinit(&log->line);
        mm1_free(log->path);
        mm1_free(log);
    }
}

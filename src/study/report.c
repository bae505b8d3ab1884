/* report.c - see report.h. */
#include "study/report.h"

#include "base/alloc.h"
#include "study/report_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PAGE_BYTES = 256 << 20 };

/* Whole numbers without a fraction, null for what is not known. */
static json_t *number(double v)
{
    return !isfinite(v) ? json_null() : v == floor(v) && fabs(v) < 9e15 ? json_integer((json_int_t)v) : json_real(v);
}

static json_t *count(int64_t n)
{
    return n > 0 ? json_integer(n) : json_null();
}

static double data_total(const mm1__report *r, const char *split, const char *key)
{
    return r->has_data ? mm1__report_data_number(r->data, split, key) : NAN;
}

static json_t *make_json(const mm1__report *r)
{
    const mm1__metrics *m = &r->metrics;
    const mm1_report_plan *p = &r->in->plan;
    const json_t *distinct = json_object_get(r->data, "train_distinct_images");
    const double train_images = json_is_number(distinct)
                                    ? json_number_value(distinct)
                                    : data_total(r, "train", "captions") + data_total(r, "train", "document_images");
    json_t *problems = json_array();
    for (size_t i = 0; i < r->problems.n; i++) {
        (void)json_array_append_new(problems, json_string(r->problems.items[i]));
    }
    return json_pack(
        "{s:s?,s:{s:o,s:o,s:o,s:o},s:o,s:{s:o,s:o,s:o,s:o,s:o,s:o},s:{s:o,s:o,s:o,s:o,s:o},s:o}", "title", r->in->title,
        "model", "parameters", count(p->parameters), "vision", count(p->vision), "connector", count(p->connector),
        "decoder", count(p->decoder), "heldout", mm1_eval_results_heldout(&r->results), "train", "steps",
        number(m->steps), "tokens", number(m->tokens), "images", number(m->images), "seconds", number(m->seconds),
        "tokens_per_second", number(m->tokens_per_second), "mfu", number(m->mfu), "data", "captions",
        number(data_total(r, "train", "captions")), "documents", number(data_total(r, "train", "documents")), "text_mb",
        number(data_total(r, "train", "text_mb")), "images_train", number(train_images), "images_heldout",
        number(data_total(r, "heldout", "captions") + data_total(r, "heldout", "document_images")), "problems",
        problems);
}

static mm1_status write_below(const char *dir, const char *name, const void *bytes, size_t len, mm1_error *err)
{
    char *path = mm1_path_join(dir, name);
    if (path == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "report: no memory for a path");
    }
    const mm1_status st = mm1_file_write_atomic(path, bytes, len, err);
    mm1_free(path);
    return st;
}

mm1_status mm1_report_write(const mm1_report_input *in, mm1_error *err)
{
    mm1__report r = {.in = in};
    mm1_buf page;
    json_t *json = NULL;
    char *text = NULL;

    if (in->out_dir == NULL) {
        return mm1_error_set(err, MM1_E_ARG, "report: no folder to write to");
    }
    mm1_buf_init(&page, MAX_PAGE_BYTES);
    mm1_status st = mm1__report_load(&r, err);
    if (st == MM1_OK) {
        st = mm1_dir_make(in->out_dir, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    mm1__report_html(&r, &page); /* first: it finds problems with pictures */
    if (mm1_buf_status(&page) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(&page), "report: the page does not fit into %d bytes", MAX_PAGE_BYTES);
        goto out;
    }
    json = make_json(&r);
    text = json != NULL ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    if (text == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "report: report.json cannot be made: no memory, or text that is no UTF-8");
        goto out;
    }
    st = write_below(in->out_dir, "report.json", text, strlen(text), err);
    if (st == MM1_OK) {
        st = write_below(in->out_dir, "report.html", page.data, page.len, err);
    }
out:
    free(text);
    json_decref(json);
    mm1_buf_deinit(&page);
    mm1__report_deinit(&r);
    return st;
}

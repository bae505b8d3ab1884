/* bench_files.c - what a run leaves in its output folder: samples.jsonl, results.json, and those of bench_page.c,
 * bench_records.c and bench_export.c. */
#include "base/alloc.h"
#include "base/file.h"
#include "eval/benchmark_internal.h"
#include "eval/task_group.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mm1_bench_files {
    const mm1_benchmark_options *o;
    mm1_file_writer *samples;
    mm1_bench_records *records;
    mm1_buf page;
    int64_t n_pictures;
};

const char *mm1_benchmark_unit(mm1_task_metric metric, double *scale)
{
    *scale = 1;
    switch (metric) {
    case MM1_SCORE_CIDER: *scale = 100; return "CIDEr-D x 100";
    case MM1_SCORE_MME: return "of 2800";
    case MM1_SCORE_POPE: return "% right";
    case MM1_SCORE_JUDGE: return "for a judge";
    default: return "%";
    }
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *cell_json(const mm1_bench_cell *c)
{
    json_t *seeds = json_array(), *scores = json_array(), *parts = json_object();
    for (int64_t s = 0; s < c->n_seeds; s++) {
        (void)json_array_append_new(seeds, json_integer((json_int_t)(c->seed + (uint64_t)s)));
        (void)json_array_append_new(scores, number(c->seed_scores[s]));
    }
    for (int i = 0; i < c->all.n_parts; i++) {
        (void)json_object_set_new(parts, c->all.parts[i].name, number(c->all.parts[i].value));
    }
    json_t *categories = json_object();
    for (size_t i = 0; i < c->n_categories; i++) {
        const mm1_bench_category *k = &c->categories[i];
        (void)json_object_set_new(categories, k->name,
                                  json_pack("{s:f,s:I}", "score", k->score, "n", (json_int_t)k->n));
    }
    const mm1_bench_counts *l = &c->left_out;
    json_t *left_out = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "malformed", (json_int_t)l->malformed, "duplicates",
                                 (json_int_t)l->duplicates, "unanswered", (json_int_t)l->unanswered, "without_question",
                                 (json_int_t)l->without_question, "without_picture", (json_int_t)l->without_picture,
                                 "too_long", (json_int_t)c->too_long);
    return json_pack("{s:s,s:s,s:s,s:I,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:I}", "task", c->task, "metric",
                     mm1_task_metric_names[c->metric], "by", mm1_task_by_names[c->by], "shots", (json_int_t)c->shots,
                     "seeds", seeds, "score", number(c->score.value), "low", number(c->score.low), "high",
                     number(c->score.high), "seed_scores", scores, "n", (json_int_t)c->n, "n_asked",
                     (json_int_t)c->n_asked, "parts", parts, "categories", categories, "left_out", left_out, "n_known",
                     (json_int_t)c->n_known);
}

/* [{"group", "shots", "mean"}], of those of which all tasks were scored. */
static json_t *groups_json(const mm1_benchmark_options *o, const mm1_benchmark_results *r)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < mm1_n_task_groups; i++) {
        for (size_t k = 0; k < o->n_shots; k++) {
            const double mean = mm1_task_group_mean(&mm1_task_groups[i], r, o->shots[k]);
            if (isfinite(mean)) {
                (void)json_array_append_new(groups, json_pack("{s:s,s:I,s:f}", "group", mm1_task_groups[i].name,
                                                              "shots", (json_int_t)o->shots[k], "mean", mean));
            }
        }
    }
    return groups;
}

json_t *mm1_benchmark_json(const mm1_benchmark_options *o, const mm1_benchmark_results *r)
{
    json_t *tasks = json_array(), *seeds = json_array(), *cells = json_array();
    for (size_t i = 0; i < o->n_tasks; i++) {
        (void)json_array_append_new(tasks, json_string(o->tasks[i]));
    }
    for (int64_t i = 0; i < o->n_seeds; i++) {
        (void)json_array_append_new(seeds, json_integer((json_int_t)(o->seed + (uint64_t)i)));
    }
    for (size_t i = 0; i < r->n; i++) {
        (void)json_array_append_new(cells, cell_json(&r->cells[i]));
    }
    char hash[20];
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)o->model_hash);
    return json_pack("{s:s?,s:s,s:o,s:o,s:s,s:s,s:I,s:o,s:o}", "model", o->model_name, "model_hash", hash, "tasks",
                     tasks, "seeds", seeds, "shot_choice", mm1_shot_choice_names[o->shot_choice], "pictures",
                     mm1_bench_pictures_names[o->pictures], "votes", (json_int_t)o->n_votes, "benchmarks", cells,
                     "groups", groups_json(o, r));
}

/* ---- samples ---- */

static void put_texts(mm1_buf *out, const char *key, const char *const *texts, size_t n)
{
    mm1_buf_printf(out, ", \"%s\": [", key);
    for (size_t i = 0; i < n; i++) {
        mm1_buf_puts(out, i > 0 ? ", " : "");
        mm1_buf_put_json(out, texts[i]);
    }
    mm1_buf_putc(out, ']');
}

static void put_text(mm1_buf *out, const char *key, const char *text)
{
    if (text != NULL) {
        mm1_buf_printf(out, ", \"%s\": ", key);
        mm1_buf_put_json(out, text);
    }
}

void mm1__bench_sample_write(const mm1_bench_style *style, const mm1_bench_cell *cell, const mm1_bench_sample *s,
                             const char *picture, mm1_buf *out)
{
    mm1_buf_printf(out, "{\"task\": ");
    mm1_buf_put_json(out, cell->task);
    mm1_buf_printf(out, ", \"shots\": %lld, \"seed\": %llu, \"id\": ", (long long)cell->shots,
                   (unsigned long long)s->seed);
    mm1_buf_put_json(out, s->item.id);
    mm1_buf_printf(out, ", \"hash\": \"%016llx\"", (unsigned long long)s->hash);
    put_text(out, "image", picture);
    put_text(out, "prompt", s->prompt);
    put_text(out, "answer", s->said);
    if (s->n_raw > 1 || style->thinks) {
        put_texts(out, "written", (const char *const *)s->raw, s->n_raw);
    }
    if (s->item.n_answers > 0) {
        put_texts(out, "references", s->item.answers, s->item.n_answers);
    }
    if (s->item.n_choices > 0) {
        put_texts(out, "choices", s->item.choices, s->item.n_choices);
        mm1_buf_printf(out, ", \"right\": %lld, \"picked\": %lld", (long long)s->item.right, (long long)s->picked);
    }
    if (s->logprob != NULL) {
        mm1_buf_printf(out, ", \"picked_per_char\": %lld, \"logprobs\": [", (long long)s->picked_per_char);
        for (size_t i = 0; i < s->item.n_choices; i++) {
            mm1_buf_printf(out, "%s%.9g", i > 0 ? ", " : "", s->logprob[i]);
        }
        mm1_buf_putc(out, ']');
    }
    put_text(out, "category", s->item.category);
    if (isfinite(s->score)) {
        mm1_buf_printf(out, ", \"score\": %.12g}\n", s->score);
    } else {
        mm1_buf_puts(out, ", \"score\": null}\n");
    }
}

/* pictures/<number>.<ending> with the first picture of an item; mm1_free() the path.  NULL if there is none or it
 * cannot be written: the page does without. */
static char *write_picture(mm1_bench_files *f, const mm1_bench_set *set, const mm1_bench_item *item)
{
    static const char *const endings[] = {[MM1_IMAGE_JPEG] = "jpg", [MM1_IMAGE_PNG] = "png", [MM1_IMAGE_WEBP] = "webp"};
    mm1_document d = {0};
    mm1_image_format format = MM1_IMAGE_JPEG;
    mm1_error ignored;
    char *relative = NULL;
    if (item->n_images > 0 && mm1_bench_image_load(set, &item->images[0], &d, &ignored) == MM1_OK &&
        mm1_image_probe(d.parts[0].bytes, d.parts[0].len, &mm1_image_limits_default, NULL, &format, NULL, NULL,
                        &ignored) == MM1_OK) {
        mm1_buf name;
        mm1_buf_init(&name, 128);
        mm1_buf_printf(&name, "pictures/%05lld.%s", (long long)f->n_pictures++, endings[format]);
        relative = mm1_buf_take(&name);
        mm1_buf_deinit(&name);
        char *path = relative != NULL ? mm1_path_join(f->o->output_dir, relative) : NULL;
        if (path == NULL || mm1_file_write_atomic(path, d.parts[0].bytes, d.parts[0].len, &ignored) != MM1_OK) {
            mm1_free(relative);
            relative = NULL;
        }
        mm1_free(path);
    }
    mm1_document_deinit(&d);
    return relative;
}

mm1_status mm1__bench_files_open(const mm1_benchmark_options *o, mm1_bench_files **out, mm1_error *err)
{
    mm1_bench_files *f = mm1_calloc(1, sizeof *f);
    char *path = mm1_path_join(o->output_dir, "samples.jsonl"), *pictures = mm1_path_join(o->output_dir, "pictures");
    *out = NULL;
    mm1_status st = f == NULL || path == NULL || pictures == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the files of an evaluation")
                        : mm1_dir_make(pictures, err);
    if (st == MM1_OK) {
        f->o = o;
        mm1_buf_init(&f->page, (size_t)256 << 20);
        mm1__bench_page_begin(o, &f->page);
        st = mm1_file_writer_open(&f->samples, path, err);
        st = st != MM1_OK ? st : mm1__bench_records_open(o->output_dir, o, &f->records, err);
    }
    mm1_free(pictures);
    mm1_free(path);
    if (st != MM1_OK) {
        mm1__bench_files_close(f);
        return st;
    }
    *out = f;
    return MM1_OK;
}

void mm1__bench_files_close(mm1_bench_files *f)
{
    if (f != NULL) {
        mm1_file_writer_close(f->samples);
        mm1__bench_records_close(f->records);
        mm1_buf_deinit(&f->page);
        mm1_free(f);
    }
}

mm1_status mm1__bench_files_add(mm1_bench_files *f, const mm1_bench_style *style, const mm1_bench_set *set,
                                const mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err)
{
    char **pictures = mm1_calloc(n, sizeof *pictures);
    bool *shown = mm1_calloc(n, sizeof *shown);
    mm1_status st = MM1_OK;
    if (pictures == NULL || shown == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for paths of pictures");
    } else {
        mm1__bench_page_choose(samples, n, shown);
    }
    mm1_buf line;
    mm1_buf_init(&line, SIZE_MAX / 2);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (!samples[i].is_asked) {
            continue;
        }
        if (shown[i]) {
            pictures[i] = write_picture(f, set, &samples[i].item);
        }
        mm1_buf_clear(&line);
        mm1__bench_sample_write(style, cell, &samples[i], pictures[i], &line);
        st = mm1_buf_status(&line) != MM1_OK ? mm1_error_set(err, mm1_buf_status(&line), "no memory for a sample")
                                             : mm1_file_writer_append(f->samples, line.data, line.len, err);
    }
    if (st == MM1_OK) {
        mm1__bench_page_cell(style, cell, samples, n, (const char *const *)pictures, &f->page);
        st = mm1__bench_records_add(f->records, cell, samples, n, err);
    }
    if (st == MM1_OK && style->task->export_as != MM1_EXPORT_NONE) {
        st = mm1__bench_export(f->o->output_dir, f->o, style, cell, samples, n, err);
    }
    for (size_t i = 0; pictures != NULL && i < n; i++) {
        mm1_free(pictures[i]);
    }
    mm1_free(pictures);
    mm1_free(shown);
    mm1_buf_deinit(&line);
    return st;
}

static mm1_status write_text(const char *dir, const char *name, const char *text, size_t len, mm1_error *err)
{
    char *path = mm1_path_join(dir, name);
    const mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path")
                                       : mm1_file_write_atomic(path, text, len, err);
    mm1_free(path);
    return st;
}

mm1_status mm1__bench_files_finish(mm1_bench_files *f, const mm1_benchmark_results *r, mm1_error *err)
{
    json_t *root = mm1_benchmark_json(f->o, r);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    mm1_status st = text == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "no memory for results.json, or text that is no UTF-8")
                        : write_text(f->o->output_dir, "results.json", text, strlen(text), err);
    mm1__bench_page_end(&f->page);
    if (st == MM1_OK && mm1_buf_status(&f->page) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(&f->page), "samples.html: too long to be held in memory");
    }
    st = st != MM1_OK ? st : write_text(f->o->output_dir, "samples.html", mm1_buf_str(&f->page), f->page.len, err);
    st = st != MM1_OK ? st : mm1_file_writer_commit(f->samples, err);
    st = st != MM1_OK ? st : mm1__bench_records_finish(f->records, err);
    free(text);
    json_decref(root);
    return st;
}

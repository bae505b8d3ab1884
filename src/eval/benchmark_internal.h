/* benchmark_internal.h - what a run over benchmarks shares; included by benchmark*.c and bench_{item,asking,
 * answers,files,page,records,export}.c only. */
#ifndef MM1_EVAL_BENCHMARK_INTERNAL_H
#define MM1_EVAL_BENCHMARK_INTERNAL_H

#include "base/file_writer.h"
#include "eval/benchmark.h"

/* One item, asked once. */
typedef struct mm1_bench_sample {
    mm1_bench_item item; /* with the choices that are offered; strings borrowed from the set */
    uint64_t seed, hash;
    char *prompt; /* as it is shown */
    char **raw;   /* [n_raw] what was written: one, or the votes; NULL by likelihood */
    size_t n_raw;
    char *said;      /* what is scored */
    double *logprob; /* [item.n_choices] by likelihood */
    int64_t picked, picked_per_char;
    double score;
    bool is_asked; /* false: left out */
} mm1_bench_sample;

void mm1__bench_sample_deinit(mm1_bench_sample *s);

/* Answers by hash, from earlier runs and of this one. */
typedef struct mm1_bench_answers mm1_bench_answers;
/* dir NULL: nothing is kept. */
mm1_status mm1__bench_answers_open(const char *dir, mm1_bench_answers **out, mm1_error *err);
void mm1__bench_answers_close(mm1_bench_answers *a); /* accepts NULL */
/* Fills raw [n_votes] or logprob [item.n_choices] of a sample; false if just so many are not known. */
bool mm1__bench_answers_find(const mm1_bench_answers *a, mm1_bench_sample *s, size_t n_votes);
mm1_status mm1__bench_answers_add(mm1_bench_answers *a, const mm1_bench_sample *s, mm1_error *err);

/* What the cells of a task share. */
typedef struct mm1_bench_work {
    mm1_backend *backend;
    const mm1_benchmark_options *o;
    const mm1_task *task;
    mm1_bench_style style;
    mm1_bench_set test, train;
    mm1_bench_set paths; /* only for its pool: strings of files and offers */
    bool has_train;      /* demonstrations are of a set of their own */
    int64_t *chosen;     /* [n] items that are asked */
    int64_t n;
    mm1_bench_answers *answers;
} mm1_bench_work;

/* The item as options.pictures and the row's classes have it; its strings are of w->paths then. */
mm1_status mm1__bench_item_make(mm1_bench_work *w, mm1_bench_item *item, mm1_error *err);
/* Answers for samples [first, first + n); what is known already is not asked, and what cannot be asked is counted. */
mm1_status mm1__bench_ask(mm1_bench_work *w, mm1_bench_shots *shots, mm1_bench_cell *cell, mm1_bench_sample *samples,
                          size_t first, size_t n, const mm1_generate_params *params, mm1_error *err);

/* The files of a run in the output folder, cell by cell; they appear when it is finished. */
typedef struct mm1_bench_files mm1_bench_files;
mm1_status mm1__bench_files_open(const mm1_benchmark_options *o, mm1_bench_files **out, mm1_error *err);
void mm1__bench_files_close(mm1_bench_files *f); /* accepts NULL */
/* Samples [n] of all seeds of a cell. */
mm1_status mm1__bench_files_add(mm1_bench_files *f, const mm1_bench_style *style, const mm1_bench_set *set,
                                const mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err);
mm1_status mm1__bench_files_finish(mm1_bench_files *f, const mm1_benchmark_results *r, mm1_error *err);

/* What a sample looks like in samples.jsonl; picture: path of its first picture in the folder, NULL: none. */
void mm1__bench_sample_write(const mm1_bench_style *style, const mm1_bench_cell *cell, const mm1_bench_sample *s,
                             const char *picture, mm1_buf *out);

/* exports/<task>-<shots>shot.* */
mm1_status mm1__bench_export(const char *dir, const mm1_benchmark_options *o, const mm1_bench_style *style,
                             const mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err);

/* A cell of samples.html: figures and some right and wrong answers; pictures [n] paths or NULL. */
void mm1__bench_page_begin(const mm1_benchmark_options *o, mm1_buf *out);
void mm1__bench_page_cell(const mm1_bench_style *style, const mm1_bench_cell *cell, const mm1_bench_sample *samples,
                          size_t n, const char *const *pictures, mm1_buf *out);
void mm1__bench_page_end(mm1_buf *out);
/* Sets shown [n] of the samples that the page shows. */
void mm1__bench_page_choose(const mm1_bench_sample *samples, size_t n, bool *shown);

/* records.sqlite */
typedef struct mm1_bench_records mm1_bench_records;
mm1_status mm1__bench_records_open(const char *dir, const mm1_benchmark_options *o, mm1_bench_records **out,
                                   mm1_error *err);
void mm1__bench_records_close(mm1_bench_records *r); /* accepts NULL */
mm1_status mm1__bench_records_add(mm1_bench_records *r, const mm1_bench_cell *cell, const mm1_bench_sample *samples,
                                  size_t n, mm1_error *err);
mm1_status mm1__bench_records_finish(mm1_bench_records *r, mm1_error *err);

#endif

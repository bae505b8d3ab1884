/* benchmark.h - tasks by the paper's protocol: demonstrations, prompt, answer, score, files.
 *
 *   rows of the table -> items -> [demonstrations][question] -> backend -> answers -> scores -> files
 *
 * A cell is one task with one number of demonstrations.  Its items are the same for every seed and every number of
 * demonstrations: the first `limit` of an order that options.seed draws.  Seeds draw demonstrations: seed, seed + 1,
 * ... Answers are greedy unless several are drawn for a vote.  Scores do not depend on the batch size or on threads.
 *
 * In the output folder:
 *   answers.jsonl     every answer as it comes, by a hash of all that it depends on: what is there is not asked again
 *   samples.jsonl     an object an item: prompt, answer, references, score
 *   results.json      the cells
 *   samples.html      pictures with right and wrong answers side by side
 *   records.sqlite    runs, cells and samples, one run after another
 *   pictures/, exports/
 *
 * Threads: one at a time. */
#ifndef MM1_EVAL_BENCHMARK_H
#define MM1_EVAL_BENCHMARK_H

#include "eval/backend.h"
#include "eval/bench_score.h"
#include "eval/bench_shots.h"
#include <jansson.h>

enum { MM1_BENCH_MAX_SHOTS = 64, MM1_BENCH_MAX_SEEDS = 100, MM1_BENCH_MAX_VOTES = 100 };

/* Which pictures an item shows: a control of whether they are looked at.  Demonstrations keep theirs. */
typedef enum mm1_bench_pictures {
    MM1_PICTURES_TRUE,
    MM1_PICTURES_SHUFFLED, /* those of another item */
    MM1_PICTURES_NONE,
    MM1_PICTURES_COUNT
} mm1_bench_pictures;

extern const char *const mm1_bench_pictures_names[]; /* "true", "shuffled", "none" */

typedef struct mm1_benchmark_options {
    const char *const *tasks; /* [n_tasks] rows, or paths of YAML rows */
    size_t n_tasks;
    const char *data_dir; /* NULL: that of the row, or "benchmarks" */
    int64_t shots[MM1_BENCH_MAX_SHOTS];
    size_t n_shots;
    int64_t n_seeds, limit; /* limit 0: all */
    uint64_t seed;
    mm1_shot_choice shot_choice;
    int64_t shot_pool; /* candidates for similar demonstrations; 0: all */
    int64_t n_whole;   /* the last demonstrations whose pictures are shown with all crops; -1: all */
    mm1_bench_pictures pictures;
    mm1_task_by by; /* MM1_BY_COUNT: as the row says */
    bool is_chat;   /* prompts are messages of a user */
    bool renders;   /* put as chat_template says; else the backend does that */
    mm1_chat_template chat_template;
    bool thinks;        /* chain of thought */
    int64_t n_votes;    /* 1: greedy */
    double temperature; /* of votes */
    int64_t max_tokens; /* 0: as the row says */
    int64_t n_show;     /* prompts of each cell for on_prompt */
    void (*on_prompt)(void *ctx, const char *title, const char *prompt);
    void (*on_progress)(void *ctx, const char *task, int64_t done, int64_t total); /* may be NULL */
    void *ctx;                                                                     /* of both */
    const volatile int *stop; /* not 0: MM1_E_CANCELLED; may be NULL */
    const char *model_name;   /* for the files */
    uint64_t model_hash;      /* names what answers */
    const mm1_model *model;   /* for similar demonstrations; NULL: a server answers */
    const char *output_dir;   /* NULL: no files */
} mm1_benchmark_options;

mm1_benchmark_options mm1_benchmark_options_default(void);

/* Items of one category of a benchmark. */
typedef struct mm1_bench_category {
    char *name;   /* owned */
    double score; /* mean of its items */
    int64_t n;
} mm1_bench_category;

typedef struct mm1_bench_cell {
    char *task; /* owned */
    mm1_task_metric metric;
    mm1_task_by by;
    int64_t shots, n_seeds;
    uint64_t seed;                  /* the first */
    mm1_interval score;             /* mean over seeds and items; NaN: not scored here */
    double *seed_scores;            /* [n_seeds] owned */
    mm1_metric_result all;          /* of the last seed: parts */
    int64_t n_asked;                /* items with an answer */
    int64_t n;                      /* items that the score rests on: asked, and with something to be compared with */
    mm1_bench_category *categories; /* [n_categories] owned, sorted by name */
    size_t n_categories;
    mm1_bench_counts left_out;
    int64_t too_long; /* prompts that do not fit into the context: left out */
    int64_t n_known;  /* answers that were there already */
} mm1_bench_cell;

typedef struct mm1_benchmark_results {
    mm1_bench_cell *cells; /* [n] */
    size_t n;
} mm1_benchmark_results;

void mm1_benchmark_results_deinit(mm1_benchmark_results *r); /* accepts a zeroed one */

/* MM1_E_ARG for a task that is none; MM1_E_IO names the file that a benchmark lacks, and says where to put it. */
MM1_NODISCARD mm1_status mm1_benchmark_run(mm1_backend *backend, const mm1_benchmark_options *options,
                                           mm1_benchmark_results *results, mm1_error *err);

/* XXH3 over the files of a model folder, or over a file. */
MM1_NODISCARD mm1_status mm1_benchmark_model_hash(const char *path, uint64_t *hash, mm1_error *err);

/* The object of results.json: a new reference, NULL if memory is short. */
json_t *mm1_benchmark_json(const mm1_benchmark_options *options, const mm1_benchmark_results *results);
/* In which units a metric's score is: "CIDEr-D", "%"; for tables: by what it is multiplied to read as in papers. */
const char *mm1_benchmark_unit(mm1_task_metric metric, double *scale);

/* The files of a row below a data folder, as they are to be opened.  MM1_E_IO if one is not there.  Strings are those
 * of `set`, which may be empty and takes them into its pool. */
MM1_NODISCARD mm1_status mm1_benchmark_files(const mm1_task *task, const mm1_task_files *of, const char *data_dir,
                                             mm1_bench_set *set, mm1_task_files *out, mm1_error *err);

#endif

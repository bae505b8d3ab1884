/* task.h - a benchmark is a row: where its items are, how they are put to a model, and how the answer is judged.
 *
 * The rows of the public benchmarks are in task_table.c; a YAML file with the same keys is one more row:
 *
 *     name: birds
 *     format: jsonl
 *     test: {file: birds/test.jsonl, images: birds/pictures}
 *     train: {file: birds/train.jsonl, images: birds/pictures}
 *     prompt: "{image}Question: {question} Short answer:"
 *     metric: vqa
 *     stop: ["\n", "."]
 *
 * A prompt names what of an item stands where: {image} (all pictures that the question does not place itself),
 * {question}, {context} (with a line break behind it, or nothing), {choices} ("A. text" a line).  An answer's template,
 * which demonstrations show, knows {answer} and {rationale}.
 *
 * Threads: rows are read only. */
#ifndef MM1_EVAL_TASK_H
#define MM1_EVAL_TASK_H

#include "base/fields.h"
#include "eval/bench_reader.h"

/* How an answer is had. */
typedef enum mm1_task_by {
    MM1_BY_GENERATION, /* the model writes it */
    MM1_BY_LIKELIHOOD, /* the most likely of the choices, and the most likely a character */
    MM1_BY_LETTER,     /* the model writes the letter of a choice */
    MM1_BY_COUNT
} mm1_task_by;

typedef enum mm1_task_metric {
    MM1_SCORE_CIDER,      /* captions: CIDEr-D, with BLEU-4 and ROUGE-L beside it */
    MM1_SCORE_VQA,        /* VQA accuracy over the answers of several people */
    MM1_SCORE_EXACT,      /* equal to an answer but for case, punctuation, articles and white space */
    MM1_SCORE_FIRST_WORD, /* begins with the answer's word */
    MM1_SCORE_RELAXED,    /* ChartQA: numbers within 5 % */
    MM1_SCORE_ANLS,       /* DocVQA */
    MM1_SCORE_POPE,       /* yes or no, with precision, recall and F1 */
    MM1_SCORE_MME,        /* yes or no, both questions of a picture, summed over categories */
    MM1_SCORE_CHOICE,     /* right choices */
    MM1_SCORE_JUDGE,      /* none here: answers are written down for a judge */
    MM1_SCORE_COUNT
} mm1_task_metric;

/* In which form answers are written beside the results, for the tools of the benchmark. */
typedef enum mm1_task_export {
    MM1_EXPORT_NONE,
    MM1_EXPORT_COCO,      /* [{image_id, caption}] */
    MM1_EXPORT_VQA,       /* [{question_id, answer}] */
    MM1_EXPORT_VIZWIZ,    /* [{image, answer}] */
    MM1_EXPORT_MMMU,      /* [{id, question_type, answer, all_choices, index2ans, response}] */
    MM1_EXPORT_MATHVISTA, /* {pid: {..., response}} */
    MM1_EXPORT_LLAVA,     /* a line: {question_id, prompt, text, answer_id, model_id, metadata} */
    MM1_EXPORT_LETTERS,   /* index, prediction between tabs: MMBench */
    MM1_EXPORT_COUNT
} mm1_task_export;

typedef struct mm1_task {
    const char *name, *about;
    mm1_bench_format_id format;
    mm1_task_files test;   /* what is asked */
    mm1_task_files train;  /* what demonstrations are taken from; without a file: test, but for the query */
    const char *data;      /* default of --data */
    const char *prompt;    /* up to where the answer begins */
    const char *chat;      /* the same for a model that holds conversations; NULL: prompt */
    const char *answer;    /* of a demonstration */
    const char *separator; /* behind a demonstration */
    const char **stop;     /* [n_stop] an answer ends before any of these */
    size_t n_stop;
    int64_t max_tokens;
    mm1_task_by by;
    mm1_task_metric metric;
    int64_t ways; /* not 0: an item offers its class and others, this many in all; shots are counted for each class */
    bool only_pictures; /* items without a picture are passed over */
    bool circular;      /* choices: a question is right if it is with every order of its choices (bench_circle.h) */
    const char *marker; /* chain of thought: the answer stands behind this */
    mm1_task_export export_as;
} mm1_task;

extern const char *const mm1_task_by_names[];     /* "generation", "likelihood", "letter" */
extern const char *const mm1_task_metric_names[]; /* "cider", "vqa", "exact", ... */

/* The built-in rows, sorted by kind. */
extern const mm1_task mm1_tasks[];
extern const size_t mm1_n_tasks;

/* The keys of a YAML row. */
extern const mm1_field mm1_task_fields[];

/* NULL if there is no such row. */
const mm1_task *mm1_task_find(const char *name);
/* Reads a YAML row; unknown keys, unknown {placeholders} and what is out of range are MM1_E_CONFIG with the line.
 * Free it with mm1_fields_deinit(mm1_task_fields, task). */
MM1_NODISCARD mm1_status mm1_task_load(mm1_task *task, const char *path, mm1_error *err);
/* The first {name} of a template that is not in names (ended by NULL); NULL if there is none. */
const char *mm1_task_unknown_placeholder(const char *text, const char *const *names);

#endif

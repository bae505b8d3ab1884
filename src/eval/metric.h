/* metric.h - a benchmark's score from its own files: what a model answered, and what people said.
 *
 * name     predictions                                    references
 * cider    COCO results: [{image_id, caption}]            COCO captions: {annotations: [{image_id, caption}]}
 * bleu4    as cider                                       as cider
 * rougel   as cider                                       as cider
 * vqa      VQA results: [{question_id, answer}]           VQA: {annotations: [{question_id, answers: [{answer}]}]}
 * anls     DocVQA results: [{questionId, answer}]         DocVQA: {data: [{questionId, answers: [text]}]}
 * relaxed  [{imgname, query, answer}]                     ChartQA: [{imgname, query, label}]
 * pope     lines of {question_id, text or answer}         POPE: lines of {question_id, label}
 * mme      lines of image, question, truth, answer,       lines of image, question, truth
 *          between tabs
 *
 * Files are JSON or, where it says lines, one object or row a line, possibly compressed with Zstandard.  Ids may be
 * numbers or texts.  What is malformed is left out, counted and logged with its place; a score is of the items that
 * have both a prediction and a reference, and says how many these are.
 *
 * Threads: thread-safe. */
#ifndef MM1_EVAL_METRIC_H
#define MM1_EVAL_METRIC_H

#include "eval/bootstrap.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MM1_METRIC_MAX_PARTS = 6 };

typedef struct mm1_metric_result {
    mm1_interval score; /* as published: CIDEr-D as it is, all else in percent; mme: accuracy + accuracy+ */
    struct {
        const char *name;
        double value;
    } parts[MM1_METRIC_MAX_PARTS]; /* BLEU-1 to BLEU-3; accuracy, precision, ... */
    int n_parts;
    int64_t n;          /* items scored */
    int64_t missing;    /* references without a prediction */
    int64_t unknown;    /* predictions without a reference */
    int64_t duplicates; /* second and later predictions of an item; the first counts */
    int64_t malformed;  /* records that cannot be read */
} mm1_metric_result;

bool mm1_metric_exists(const char *name);

/* One scored item: what was said, and all that is right.  All borrowed. */
typedef struct mm1_metric_pair {
    const char *id; /* mme: picture, tab, question; pairs of one picture stand side by side */
    const char *said;
    const char *const *truths; /* [n_truths], at least 1 */
    size_t n_truths;
} mm1_metric_pair;

/* Scores pairs [n] into scores [n], as a metric counts them; out: the score and its parts, with an interval where the
 * score is a mean over items.  n 0: NaN.  MM1_E_ARG for a name that is none; MM1_E_LIMIT, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_metric_score(const char *name, const mm1_metric_pair *pairs, size_t n, double *scores,
                                          mm1_metric_result *out, mm1_error *err);

/* items: a file to be written with a line {"id", "score"} for each item, sorted by id; NULL: none.  MM1_E_ARG for a
 * name that is none, MM1_E_IO, MM1_E_FORMAT for a file that is not of this kind at all, or if nothing is left to be
 * scored; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_metric_run(const char *name, const char *predictions, const char *references,
                                        const char *items, mm1_metric_result *out, mm1_error *err);

#endif

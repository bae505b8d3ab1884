/* bench_score.h - answers against what is right, by the metric of a task.
 *
 * Scores are as published: CIDEr-D from 0 to 10 (papers print it times 100), MME's sum up to 2800, all else in percent.
 * Threads: thread-safe. */
#ifndef MM1_EVAL_BENCH_SCORE_H
#define MM1_EVAL_BENCH_SCORE_H

#include "eval/bench_prompt.h"
#include "eval/metric.h"

/* What was asked and answered.  Borrowed. */
typedef struct mm1_bench_said {
    const mm1_bench_item *item; /* with the choices that were offered */
    const char *text;           /* what is scored: behind the marker, the vote; NULL of a likelihood */
    int64_t picked;             /* number of the choice that was picked; -1: none */
    int64_t picked_per_char;    /* by likelihood: with the likelihood of each divided by its characters */
} mm1_bench_said;

/* What stands behind the last marker up to the end of its line, without a full stop at its end; all of the text if the
 * marker is not there.  mm1_free() it; NULL if memory is short. */
char *mm1_bench_extract(const char *text, const char *marker);
/* Lower case, no punctuation, no articles, single blanks.  out is replaced. */
void mm1_bench_normalize(const char *text, mm1_buf *out);
/* The choice that a text names: its letter at the start ("B", "(B)", "B. text"), a letter by itself after "answer is",
 * or the text of exactly one choice; -1. */
int64_t mm1_bench_read_letter(const char *text, const char *const *choices, size_t n_choices);

/* scores [n] and the figures over all of them; score.low is NaN where the score is no mean.  Items without anything to
 * be compared with get NaN and are not counted in out->n. */
MM1_NODISCARD mm1_status mm1_bench_score(const mm1_bench_style *style, const mm1_bench_said *answers, size_t n,
                                         double *scores, mm1_metric_result *out, mm1_error *err);

#endif

/* answer.h - how right an answer to a question is, as the public benchmarks count it.
 *
 * All strings are UTF-8; bytes that are not are compared as they are.  Scores are between 0 and 1.
 * Threads: all functions are thread-safe. */
#ifndef MM1_EVAL_ANSWER_H
#define MM1_EVAL_ANSWER_H

#include "base/buf.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>

/* The text as VQA's official evaluation compares it: lower case, without articles and most punctuation, numbers below
 * eleven as digits, contractions with their apostrophe.  Its quirks are part of the metric and are kept: a comma
 * between digits makes all punctuation vanish, where elsewhere it becomes a space; a full stop stays only before a
 * digit, and of more than 32 to be dropped the rest stays.  out is replaced.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_answer_normalize_vqa(const char *text, mm1_buf *out, mm1_error *err);

/* VQA accuracy: the mean over the n human answers, each left out in turn, of min(1, matches among the others / 3).
 * Everything is normalised (one version of the official script leaves that out where all ten answers agree).
 * MM1_E_ARG if n is 0, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_answer_vqa(const char *answer, const char *const *humans, size_t n, double *score,
                                        mm1_error *err);

/* ANLS (ST-VQA, DocVQA): the largest over the n true answers of 1 - edit distance / longer length, 0 if that distance
 * is not below one half.  In code points, lower case, runs of white space as one space.  MM1_E_ARG if n is 0,
 * MM1_E_LIMIT over 1 MiB, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_answer_anls(const char *answer, const char *const *truths, size_t n, double *score,
                                         mm1_error *err);

/* ChartQA's relaxed match: numbers (with % as hundredths) within 5 % of a truth that is not 0, all else equal but for
 * case. */
bool mm1_answer_relaxed(const char *answer, const char *truth);

typedef enum mm1_yes_no { MM1_ANSWER_NO, MM1_ANSWER_YES, MM1_ANSWER_OTHER } mm1_yes_no;

/* POPE's reading: "no" if the first sentence has the word No, no or not, else "yes". */
mm1_yes_no mm1_answer_pope(const char *text);
/* MME's reading: "yes" or "no" among the first four letters, else other. */
mm1_yes_no mm1_answer_mme(const char *text);

#endif

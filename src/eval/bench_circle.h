/* bench_circle.h - circular evaluation, as MMBench asks for it: a question is asked once for each of its choices, which
 * move on by a place each time, and is right only if every pass is.
 *
 * A pass is an item of its own.  MMBench's tables have them already, with the index of the question and a million for
 * each pass; where a file has none they are made.
 *
 * Threads: one at a time. */
#ifndef MM1_EVAL_BENCH_CIRCLE_H
#define MM1_EVAL_BENCH_CIRCLE_H

#include "eval/bench_set.h"

/* Puts the passes of a question behind it, with pass_of set.  Questions without choices, or of which the right one is
 * not known, have no passes.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_bench_circle(mm1_bench_set *s, mm1_error *err);

#endif

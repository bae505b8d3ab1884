/* bench_prompt.h - an item as a document: demonstrations with their answers, then the question up to where the answer
 * begins.  With 0 shots there is nothing before the question.
 *
 * Threads: thread-safe. */
#ifndef MM1_EVAL_BENCH_PROMPT_H
#define MM1_EVAL_BENCH_PROMPT_H

#include "base/rng.h"
#include "eval/task.h"
#include "model/chat_template.h"

/* How the items of a task are put. */
typedef struct mm1_bench_style {
    const mm1_task *task;
    mm1_task_by by;
    const char *prompt; /* template, borrowed */
    bool is_chat;       /* the prompt is one message of a user */
    bool renders;       /* it is put as the template below does; else whoever reads it does that */
    mm1_chat_template chat_template;
    bool thinks;             /* demonstrations show their rationale, the answer stands behind the marker */
    int64_t n_whole;         /* the last demonstrations that show their pictures with all crops; -1: all */
    const char *const *stop; /* [n_stop] */
    size_t n_stop;
    int64_t max_tokens;
} mm1_bench_style;

/* by MM1_BY_COUNT: the task's own.  MM1_E_ARG for a likelihood or a letter where the task has no choices. */
MM1_NODISCARD mm1_status mm1_bench_style_init(mm1_bench_style *style, const mm1_task *task, mm1_task_by by,
                                              bool is_chat, bool thinks, mm1_error *err);

/* A demonstration. */
typedef struct mm1_bench_shot {
    const mm1_bench_set *set;
    const mm1_bench_item *item;
} mm1_bench_shot;

/* Appends one demonstration.  answers: draws one of several captions.  Where the style renders, nothing is put around
 * question and answer, and the answer is the last part. */
MM1_NODISCARD mm1_status mm1_bench_put_shot(const mm1_bench_style *style, const mm1_bench_shot *shot, mm1_rng *answers,
                                            mm1_document *d, mm1_error *err);
/* Appends the question. */
MM1_NODISCARD mm1_status mm1_bench_put_question(const mm1_bench_style *style, const mm1_bench_set *set,
                                                const mm1_bench_item *item, mm1_document *d, mm1_error *err);
/* Appends a document; text that goes on from text becomes one part with it. */
MM1_NODISCARD mm1_status mm1_bench_join(mm1_document *d, const mm1_document *more, mm1_error *err);
/* Shows all pictures as their overview alone. */
void mm1_bench_shrink(mm1_document *d);

/* What the model reads: texts as they are, <image: name> for a picture, the names of control tokens. */
void mm1_bench_show(const mm1_document *d, mm1_buf *out);

/* The answer of a demonstration: what most people said, or the right choice, or its letter.  Borrowed; NULL: none. */
const char *mm1_bench_shown_answer(const mm1_bench_style *style, const mm1_bench_item *item, mm1_rng *answers);
/* "A", "B", ...; of choice i. */
const char *mm1_bench_letter(int64_t i);

#endif

/* heldout.h - the captions, pages and texts that a model has never seen, and what it is measured on with them.
 *
 *   captions   loss of a caption's tokens with its own picture, with another item's, and with none
 *   choice10   the right caption of ten, by likelihood p(caption | picture), and by gain p(caption | picture) /
 *              p(caption): the ten are drawn evenly, so a short caption is no likelier than a long one, which the
 *              likelihood does not know (Lin et al. 2023, arXiv 2306.01879); kind clip: by similarity
 *   cider      captions written by the model, after 0, 4 and 8 demonstrations from the training split
 *   text       bits a byte of held-out prose
 *
 * Everything is a document: a caption is [image][text], scored as the model was trained on it; a prompt with k
 * demonstrations is [image][caption newline] k times, then [image].  Scores do not depend on how items are batched:
 * they are packed into rows that do not see each other. */
#ifndef MM1_EVAL_HELDOUT_H
#define MM1_EVAL_HELDOUT_H

#include "data/reader.h"
#include "eval/results.h"
#include "model/model.h"

typedef enum mm1_eval_task {
    MM1_TASK_CAPTIONS,
    MM1_TASK_CHOICE10,
    MM1_TASK_CIDER,
    MM1_TASK_TEXT,
    MM1_TASK_COUNT
} mm1_eval_task;

/* Names for --tasks, in the order above, ended by NULL. */
extern const char *const mm1_eval_task_names[];

typedef struct mm1_eval_options {
    const char *data_dir;         /* folder that `mm1 data build` made: train/ and heldout/ */
    bool tasks[MM1_TASK_COUNT];   /* none: all that this kind of model can do */
    bool shots[MM1_EVAL_N_SHOTS]; /* which of 0, 4, 8 for cider */
    int64_t limit;                /* items of each task at most; 0: all */
    int64_t text_bytes_limit;     /* of held-out text; 0: all */
    int64_t max_new_tokens;       /* of a generated caption */
    uint64_t seed;
    const char *model_name; /* written into the results; may be NULL */
    const char *output_dir; /* results.json, samples.jsonl and the samples' pictures; NULL: none */
    void (*on_progress)(void *ctx, const char *task, int64_t done, int64_t total); /* may be NULL */
    void *ctx;
    const volatile int *stop; /* not 0: MM1_E_CANCELLED; may be NULL */
} mm1_eval_options;

mm1_eval_options mm1_eval_options_default(void);

/* MM1_E_STATE for a task that is not for this kind of model.  results is initialised here; free it with
 * mm1_eval_results_deinit(). */
MM1_NODISCARD mm1_status mm1_eval_run(mm1_model *m, const mm1_eval_options *options, mm1_eval_results *results,
                                      mm1_error *err);

#endif

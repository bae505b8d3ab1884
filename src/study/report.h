/* report.h - one page that shows a run: report.html for people, report.json for programs.
 *
 * The page is one file without scripts or links to elsewhere; pictures and charts are inside it.  Every text that comes
 * from a file is escaped.  What is missing is said on the page, and does not stop the report.
 *
 * Inputs, each optional:
 *
 *   <run_dir>/metrics.jsonl         an object a step: step, loss, lr, grad_norm, tokens, images, seconds,
 *                                   tokens_per_second, mfu, loader_wait_seconds, loss_<source>...; any may be missing.
 *                                   tokens, images and seconds are totals so far; a column that falls somewhere
 *                                   or never changes is taken for those of each step.  Of two lines of a step the
 *                                   later counts.
 *   <run_dir>/recipe.resolved.yaml  shown as it is
 *   results_path                    results.json of `mm1 eval` (eval/results.h)
 *   samples_path                    samples.jsonl of `mm1 eval`: an object an item with "image" (a path relative to the
 *                                   file) or "image_png_base64"; "reference" or "references"; "generated";
 *                                   "generated_without_image"; "choices" (up to 10), "choice_scores" (log likelihoods),
 *                                   "answer", "picked" (indices from 0); "concept", "source"
 *   data_summary_path               summary.json of `mm1 data build` (data/build.h)
 *
 * report.json, null for what is not known:
 *   heldout                           as in results.json
 *   train.{steps,tokens,images,seconds,tokens_per_second,mfu}          mfu: median of the steps
 *   data.{captions,documents,text_mb,images_train,images_heldout}      captions, documents, text_mb: of the training
 * split model.{parameters,vision,connector,decoder}, title, problems       problems: what the page could not show, and
 * why
 *
 * Threads: not to be called twice at once for one out_dir. */
#ifndef MM1_STUDY_REPORT_H
#define MM1_STUDY_REPORT_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

/* From the plan of the model; 0: not known. */
typedef struct mm1_report_plan {
    int64_t parameters, vision, connector, decoder;
    int64_t active_parameters; /* of a mixture of experts, for one token */
    int64_t image_px, image_tokens, context_tokens, vocabulary;
} mm1_report_plan;

/* All strings are borrowed UTF-8; NULL: not given. */
typedef struct mm1_report_input {
    const char *out_dir; /* made if it is not there; the only one that must be given */
    const char *title;
    const char *identity; /* one line on what the model is; NULL: made from the plan */
    const char *run_dir, *results_path, *samples_path, *data_summary_path;
    mm1_report_plan plan;
    const char *const *commands; /* [n_commands] that make all this again */
    size_t n_commands;
    const char *const *cannot; /* [n_cannot] sentences on limits, beside those that follow from the numbers */
    size_t n_cannot;
    const char *machine; /* where it ran, one line */
    const char *date;    /* of the run, as it shall be shown; no clock is read, so that reports can be compared */
    size_t max_pictures; /* 0: 60 */
} mm1_report_input;

/* Writes <out_dir>/report.json and <out_dir>/report.html, each complete or not at all.
 * MM1_E_ARG (no out_dir), MM1_E_IO (cannot write), MM1_E_NOMEM, MM1_E_LIMIT (a page over 256 MiB). */
MM1_NODISCARD mm1_status mm1_report_write(const mm1_report_input *in, mm1_error *err);

#endif

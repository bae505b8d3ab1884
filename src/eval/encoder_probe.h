/* encoder_probe.h - what an image encoder is worth as it is: its features are frozen, and the classes of a labelled
 * data set are told apart by them.
 *
 *   linear      multinomial logistic regression on all training pictures; l2 is the best of the decades from 0.1 to
 * 1e-6 on a sixth of them, fitted on the rest; the test pictures choose nothing neighbours  the class that is most
 * frequent among the 20 training pictures with the largest cosine, the nearest of them deciding a tie
 *
 * Features are the means of the patches after the final norm, of all of them or of each of cells x cells parts of the
 * picture, each centred and scaled by the training pictures for the linear probe.  Raw pixels can be measured beside
 * them in the same way.
 *
 * Threads: one at a time; the same figures for any number of compute threads. */
#ifndef MM1_EVAL_ENCODER_PROBE_H
#define MM1_EVAL_ENCODER_PROBE_H

#include "eval/bootstrap.h"
#include "model/model.h"

enum { MM1_PROBE_NEIGHBOURS = 20 };

/* Names for --dataset, ended by NULL. */
extern const char *const mm1_probe_datasets[];

typedef struct mm1_probe_options {
    const char *dataset;  /* one of the names */
    const char *data_dir; /* folder with its idx files, gzipped or not; NULL: where its Debian package lies */
    int64_t cells;        /* features of cells x cells parts of the picture; 0: as 1 */
    int64_t limit;        /* pictures of each split at most, drawn by the seed; 0: all */
    bool pixels;          /* measure raw pixels too */
    uint64_t seed;
    void (*on_progress)(void *ctx, const char *task, int64_t done, int64_t total); /* may be NULL */
    void *ctx;
    const volatile int *stop; /* not 0: MM1_E_CANCELLED; may be NULL */
} mm1_probe_options;

/* Of one kind of features. */
typedef struct mm1_probe_scores {
    int64_t width;                   /* numbers a picture */
    mm1_interval linear, neighbours; /* share of right classes among the test pictures */
    double l2;
    int64_t n_steps; /* of the last fit */
} mm1_probe_scores;

typedef struct mm1_probe_results {
    int64_t n_train, n_test, n_classes;
    mm1_probe_scores features, pixels; /* pixels.width 0: not measured */
} mm1_probe_results;

/* MM1_E_ARG for a data set that is not known or too many cells; MM1_E_FORMAT where pictures and labels do not go
 * together; what mm1_idx_read() gives. */
MM1_NODISCARD mm1_status mm1_probe_run(const mm1_model *m, const mm1_probe_options *options, mm1_probe_results *results,
                                       mm1_error *err);

#endif

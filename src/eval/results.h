/* results.h - what an evaluation found: numbers with intervals, and what they were measured on (results.json).
 *
 * A value that was not measured is NaN here and null in the file.  The file:
 *
 *   {"model": "out/demo/model", "tasks": ["captions", "choice10"], "seeds": [1],
 *    "n": {"captions": 500, "choice10": 500, "cider": 200, "text_bytes": 1000000},
 *    "heldout": {
 *      "caption_nll_per_token": {"true": 2.1, "shuffled": 2.6, "none": 2.5},
 *      "caption_nll_per_token_interval": {"true": [2.0, 2.2], "shuffled": [..], "none": [..]},
 *      "caption_nll_per_token_difference": {"shuffled": 0.5, "none": 0.4},           to "true", on the same captions
 *      "caption_nll_per_token_difference_interval": {"shuffled": [0.4, 0.6], "none": [..]},
 *      "choice10": {"accuracy": 0.41, "low": 0.37, "high": 0.45},
 *      "choice10_same_source": {...},            wrong captions of the picture's own kind: the harder control
 *      "choice10_gain": {...}, "choice10_gain_same_source": {...},      chosen by gain: see heldout.h
 *      "cider": {"shots0": 0.31, "shots4": 0.35, "shots8": 0.36}, "cider_interval": {"shots0": [0.27, 0.35], ...},
 *      "text_bits_per_byte": 1.9, "text_bits_per_byte_interval": [1.88, 1.92]}}
 *
 * Threads: a struct belongs to one thread at a time. */
#ifndef MM1_EVAL_RESULTS_H
#define MM1_EVAL_RESULTS_H

#include "base/file.h"
#include "eval/bootstrap.h"
#include <jansson.h>
#include <mm1/error.h>
#include <stdint.h>

/* Which picture a caption was scored with. */
typedef enum mm1_eval_picture {
    MM1_PICTURE_TRUE,     /* its own */
    MM1_PICTURE_SHUFFLED, /* another item's */
    MM1_PICTURE_NONE,
    MM1_PICTURE_COUNT
} mm1_eval_picture;

enum { MM1_EVAL_N_SHOTS = 3 };
/* Demonstrations before the item: 0, 4, 8. */
extern const int mm1_eval_shots[MM1_EVAL_N_SHOTS];

typedef struct mm1_eval_results {
    char *model;     /* folder or name; owned, may be NULL */
    mm1_names tasks; /* that were run; owned */
    uint64_t *seeds; /* [n_seeds] owned: of shots, choices and intervals */
    size_t n_seeds;
    int64_t n_captions, n_choice10, n_choice10_same_source, n_cider, n_text_bytes;
    mm1_interval caption_nll[MM1_PICTURE_COUNT];            /* nats a token */
    mm1_interval caption_nll_difference[MM1_PICTURE_COUNT]; /* to the true picture, paired; [TRUE] is not used */
    mm1_interval choice10;                                  /* share of right choices out of ten, 0..1 */
    mm1_interval choice10_same_source;                      /* the same, all ten from one source */
    mm1_interval choice10_gain;                             /* both again, chosen by what the picture adds */
    mm1_interval choice10_gain_same_source;
    mm1_interval cider[MM1_EVAL_N_SHOTS]; /* CIDEr-D, 0..10 */
    mm1_interval text_bits_per_byte;
} mm1_eval_results;

/* Nothing measured: every value NaN. */
void mm1_eval_results_init(mm1_eval_results *r);
void mm1_eval_results_deinit(mm1_eval_results *r); /* accepts a zeroed one */

/* MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_eval_results_add_seed(mm1_eval_results *r, uint64_t seed, mm1_error *err);

MM1_NODISCARD mm1_status mm1_eval_results_write(const mm1_eval_results *r, const char *path, mm1_error *err);

/* Keys that are missing stay unmeasured; unknown keys are passed over.  MM1_E_IO; MM1_E_FORMAT with path, line or key.
 * On failure *r holds nothing that needs to be freed. */
MM1_NODISCARD mm1_status mm1_eval_results_read(mm1_eval_results *r, const char *path, mm1_error *err);

/* The object under "heldout": a new reference, NULL if memory is short. */
json_t *mm1_eval_results_heldout(const mm1_eval_results *r);

#endif

/* bootstrap.h - how far a mean over items would move with other items: percentile bootstrap intervals.
 *
 * Items are drawn with replacement n_replicates times; the interval holds the middle `level` of the replicates' values
 * (linear interpolation between order statistics).  The draw of replicate r is a pure function of (seed, r): the same
 * seed gives the same interval on every machine.  Items must be independent: pass one value a picture, not one a token.
 *
 * An interval is about which items were drawn, not about which seed the model was trained with.  With few items it is
 * too narrow (percentile bootstrap of 10 items covers about 90 % when 95 % is asked for); with one item it is that
 * item.
 *
 * Errors: MM1_E_ARG (no item, n_replicates < 1, level outside (0, 1)), MM1_E_NUMERIC (an item that is not finite, with
 * its index), MM1_E_NOMEM.  Threads: all functions are thread-safe. */
#ifndef MM1_EVAL_BOOTSTRAP_H
#define MM1_EVAL_BOOTSTRAP_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_interval {
    double value; /* of the items as they are */
    double low, high;
} mm1_interval;

typedef struct mm1_bootstrap {
    int n_replicates; /* 1000 or more */
    double level;     /* 0.95 */
    uint64_t seed;
} mm1_bootstrap;

/* 2000 replicates, 95 %, seed 0. */
mm1_bootstrap mm1_bootstrap_default(void);

/* Mean of x [n]. */
MM1_NODISCARD mm1_status mm1_bootstrap_mean(const mm1_bootstrap *b, const double *x, size_t n, mm1_interval *out,
                                            mm1_error *err);

/* Mean of x[i] - y[i], both [n]: two models, or one model with and without the picture, on the same items. */
MM1_NODISCARD mm1_status mm1_bootstrap_paired(const mm1_bootstrap *b, const double *x, const double *y, size_t n,
                                              mm1_interval *out, mm1_error *err);

/* sum(x) / sum(y), both [n] with y >= 0: nats over tokens, bits over bytes, resampled by item.  MM1_E_NUMERIC if the
 * denominators are all zero or one is negative. */
MM1_NODISCARD mm1_status mm1_bootstrap_ratio(const mm1_bootstrap *b, const double *x, const double *y, size_t n,
                                             mm1_interval *out, mm1_error *err);

#endif

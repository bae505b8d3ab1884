/* mixture.h - which source a row comes from, and in which order a source gives its samples: pure functions of the seed
 * and of numbers that count up, so that nothing has to be stored to continue a run, and no thread can change them. */
#ifndef MM1_DATA_MIXTURE_H
#define MM1_DATA_MIXTURE_H

#include <stddef.h>
#include <stdint.h>

/* The source of row number `row` (counted over the whole run): source i with probability weights[i] / sum.  Weights are
 * not negative and one is positive. */
size_t mm1_mixture_source(const double *weights, size_t n_sources, uint64_t seed, int64_t row);

/* The sample that source `source` of n_samples gives as its `ordinal`-th: each epoch is another permutation. */
int64_t mm1_mixture_sample(uint64_t seed, size_t source, int64_t n_samples, int64_t ordinal);

#endif

/* mixture.c - see mixture.h. */
#include "data/mixture.h"

#include "base/rng.h"

size_t mm1_mixture_source(const double *weights, size_t n_sources, uint64_t seed, int64_t row)
{
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_MIXTURE, (uint64_t)row);
    double total = 0;
    size_t last = 0; /* with a weight: rounding may let no partial sum pass u */
    for (size_t i = 0; i < n_sources; i++) {
        total += weights[i];
        last = weights[i] > 0 ? i : last;
    }
    const double u = mm1_rng_uniform(&r) * total;
    double sum = 0;
    for (size_t i = 0; i < n_sources; i++) {
        sum += weights[i];
        if (u < sum) {
            return i;
        }
    }
    return last;
}

int64_t mm1_mixture_sample(uint64_t seed, size_t source, int64_t n_samples, int64_t ordinal)
{
    const uint64_t epoch = (uint64_t)(ordinal / n_samples) & UINT32_MAX;
    return (int64_t)mm1_rng_permute(seed, MM1_RNG_SHUFFLE, (uint64_t)source << 32 | epoch, (uint64_t)n_samples,
                                    (uint64_t)(ordinal % n_samples));
}

/* rng.h - counter-based random numbers (Philox4x32-10, Salmon et al., SC 2011).
 *
 * A stream is named by (seed, stream, index): what is drawn is a pure function of these and of how many numbers were
 * drawn before.  So there is no state to save in a checkpoint, and no order of threads can change a result.
 *
 * Threads: each thread uses its own mm1_rng. */
#ifndef MM1_BASE_RNG_H
#define MM1_BASE_RNG_H

#include <stdint.h>

/* What a stream is for; add at the end, never renumber: results depend on it. */
typedef enum mm1_rng_stream {
    MM1_RNG_INIT,      /* parameters; index = entry in the table */
    MM1_RNG_MIXTURE,   /* which source a sequence comes from; index = sequence */
    MM1_RNG_SHUFFLE,   /* order of a source; index = (source, epoch) */
    MM1_RNG_SAMPLE,    /* generation; index = sample */
    MM1_RNG_SHOTS,     /* demonstrations of an evaluation; index = item */
    MM1_RNG_BOOTSTRAP, /* intervals; index = replicate */
    MM1_RNG_DATA,      /* choices of a data builder */
    MM1_RNG_TEST,
    MM1_RNG_CROP,  /* cut-outs of training pictures; index = (source, sample, picture) */
    MM1_RNG_DROP,  /* tokens hidden from the decoder; index = (source, sample, offset) */
    MM1_RNG_ROUND, /* moments to 16 bits; index = update, counter = (chunk, entry in the table) */
    MM1_RNG_BENCH, /* made-up batches; index 0 */
    MM1_RNG_PATCH  /* patches that an encoder reads in training; index = (step, picture) */
} mm1_rng_stream;

typedef struct mm1_rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t out[4];
    int n_left; /* unused words of out */
} mm1_rng;

/* One block of Philox: out = f(key, counter). */
void mm1_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* The i-th word under a key that Philox has given: a mixing of 32 bits, far cheaper than Philox and good enough to
 * round by, not to draw samples from. */
static inline uint32_t mm1_rng_mix(uint32_t i, const uint32_t key[2])
{
    uint32_t x = i ^ key[0];
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16 ^ key[1];
}

mm1_rng mm1_rng_make(uint64_t seed, mm1_rng_stream stream, uint64_t index);
uint32_t mm1_rng_u32(mm1_rng *r);
uint64_t mm1_rng_u64(mm1_rng *r);
/* [0, n) without bias; n must not be 0. */
uint64_t mm1_rng_below(mm1_rng *r, uint64_t n);
/* [0, 1) with 53 random bits. */
double mm1_rng_uniform(mm1_rng *r);
/* Standard normal (Box-Muller). */
double mm1_rng_normal(mm1_rng *r);

/* The i-th element of a random permutation of [0, n) that is named by (seed, stream, index), without holding the
 * permutation: a four-round Feistel network on the next even power of two, walked until it lands inside. */
uint64_t mm1_rng_permute(uint64_t seed, mm1_rng_stream stream, uint64_t index, uint64_t n, uint64_t i);

#endif

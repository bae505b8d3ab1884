/* rng.c - see rng.h. */
#include "base/rng.h"

#include <math.h>

void mm1_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Words 0 and 1 of the counter run; the index sits in words 2 and 3; seed and stream are mixed into the key. */
mm1_rng mm1_rng_make(uint64_t seed, mm1_rng_stream stream, uint64_t index)
{
    mm1_rng r = {.counter = {0, 0, (uint32_t)index, (uint32_t)(index >> 32)}};
    const uint32_t seed_counter[4] = {(uint32_t)stream, 0x6d6d31u, 0, 0};
    const uint32_t seed_key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t mixed[4];
    mm1_philox(mixed, seed_counter, seed_key);
    r.key[0] = mixed[0];
    r.key[1] = mixed[1];
    return r;
}

uint32_t mm1_rng_u32(mm1_rng *r)
{
    if (r->n_left == 0) {
        mm1_philox(r->out, r->counter, r->key);
        if (++r->counter[0] == 0) {
            r->counter[1]++;
        }
        r->n_left = 4;
    }
    return r->out[4 - r->n_left--];
}

uint64_t mm1_rng_u64(mm1_rng *r)
{
    const uint64_t lo = mm1_rng_u32(r);
    return lo | (uint64_t)mm1_rng_u32(r) << 32;
}

uint64_t mm1_rng_below(mm1_rng *r, uint64_t n)
{
    const uint64_t reject_under = (0 - n) % n; /* 2^64 mod n */
    uint64_t v;
    do {
        v = mm1_rng_u64(r);
    } while (v < reject_under);
    return v % n;
}

double mm1_rng_uniform(mm1_rng *r)
{
    return (double)(mm1_rng_u64(r) >> 11) * 0x1p-53;
}

double mm1_rng_normal(mm1_rng *r)
{
    const double u = 1.0 - mm1_rng_uniform(r); /* (0, 1]: the logarithm is finite */
    const double v = mm1_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

uint64_t mm1_rng_permute(uint64_t seed, mm1_rng_stream stream, uint64_t index, uint64_t n, uint64_t i)
{
    if (n < 2) {
        return 0;
    }
    int half_bits = 1;
    while (half_bits < 32 && ((uint64_t)1 << (2 * half_bits)) < n) {
        half_bits++;
    }
    const uint64_t mask = half_bits == 32 ? UINT32_MAX : ((uint64_t)1 << half_bits) - 1;
    const mm1_rng r = mm1_rng_make(seed, stream, index);
    uint64_t x = i;
    do {
        uint64_t left = x >> half_bits, right = x & mask;
        for (uint32_t round = 0; round < 4; round++) {
            const uint32_t counter[4] = {(uint32_t)right, round, r.counter[2], r.counter[3]};
            uint32_t f[4];
            mm1_philox(f, counter, r.key);
            const uint64_t next = left ^ (f[0] & mask);
            left = right;
            right = next;
        }
        x = left << half_bits | right;
    } while (x >= n);
    return x;
}

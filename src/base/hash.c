/* hash.c - see hash.h; libmd and xxhash do the work. */
#include "base/hash.h"

#include <sha2.h>
#include <sys/types.h>
#include <xxhash.h>

void mm1_sha256_hex(char out[MM1_SHA256_HEX_BYTES], const void *bytes, size_t len)
{
    (void)SHA256Data(bytes, len, out);
}

uint64_t mm1_hash64(const void *bytes, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, len, seed);
}

/* hash.h - content hashes: SHA-256 for manifests, XXH3 for everything that is not security. */
#ifndef MM1_BASE_HASH_H
#define MM1_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { MM1_SHA256_HEX_BYTES = 65 };

/* Lower-case hexadecimal and a NUL. */
void mm1_sha256_hex(char out[MM1_SHA256_HEX_BYTES], const void *bytes, size_t len);
uint64_t mm1_hash64(const void *bytes, size_t len, uint64_t seed);

#endif

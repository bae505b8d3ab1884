/* base64.h - bytes out of base64, of the alphabet with + and /, with or without padding at the end.
 *
 * Threads: thread-safe. */
#ifndef MM1_BASE_BASE64_H
#define MM1_BASE_BASE64_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

/* *out [*len] is freed with mm1_free().  MM1_E_FORMAT for another character, with its place; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_base64_decode(const char *digits, size_t n, uint8_t **out, size_t *len, mm1_error *err);

#endif

/* alloc.h - the one seam through which mm1 asks for memory: aligned, counted, and able to fail on purpose.
 *
 * Every block is 64-byte aligned.  Out of memory is an ordinary result (NULL), never an abort.
 * Threads: all functions are thread-safe. */
#ifndef MM1_BASE_ALLOC_H
#define MM1_BASE_ALLOC_H

#include <mm1/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MM1_ALIGN_BYTES = 64 };

/* n * size bytes, not cleared; NULL if the product overflows or memory is short.  n or size 0 gives a valid block. */
MM1_NODISCARD void *mm1_alloc(size_t n, size_t size);
/* The same, zeroed. */
MM1_NODISCARD void *mm1_calloc(size_t n, size_t size);
/* Grows or shrinks; the old block stays valid if NULL is returned.  p may be NULL. */
MM1_NODISCARD void *mm1_realloc(void *p, size_t n, size_t size);
/* Accepts NULL. */
void mm1_free(void *p);
MM1_NODISCARD char *mm1_strdup(const char *s);
MM1_NODISCARD char *mm1_strndup(const char *s, size_t len);

/* a * b into *out; false on overflow (*out is then unchanged). */
bool mm1_size_mul(size_t a, size_t b, size_t *out);
bool mm1_size_add(size_t a, size_t b, size_t *out);

/* How many blocks have been handed out since the program started, to all threads and to the calling one.  A training
 * step must not move the second. */
uint64_t mm1_alloc_count(void);
uint64_t mm1_alloc_count_thread(void);
/* Bytes asked for and not yet freed, and the most that ever was. */
size_t mm1_alloc_bytes(void);
size_t mm1_alloc_peak_bytes(void);

/* For tests: the n-th allocation from now (1 is the next) returns NULL; 0 turns this off. */
void mm1_alloc_fail_at(uint64_t n);

#endif

/* arena.h - a bump allocator for memory that dies together.
 *
 *   base                          mark            top                       cap
 *    |  saved for backward ...     |  scratch ...  |  free ................  |
 *
 * Nothing is freed one by one: mm1_arena_reset_to(mark) drops all that came after the mark.  Every block is 64-byte
 * aligned and not cleared.  Under ASan the free part is poisoned, so that use after a reset is reported at once.
 *
 * An arena never grows: it returns NULL when full.  A dry arena hands out addresses that may not be touched and only
 * counts: `peak` then says what a real one needs.  Not thread-safe. */
#ifndef MM1_BASE_ARENA_H
#define MM1_BASE_ARENA_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_arena {
    uint8_t *base;
    size_t top, cap, peak; /* bytes; peak is the largest top ever reached */
    bool dry;
} mm1_arena;

typedef size_t mm1_arena_mark;

MM1_NODISCARD mm1_status mm1_arena_init(mm1_arena *a, size_t cap_bytes, mm1_error *err);
/* Reserves 2^44 bytes of addresses without memory behind them. */
MM1_NODISCARD mm1_status mm1_arena_init_dry(mm1_arena *a, mm1_error *err);
void mm1_arena_deinit(mm1_arena *a); /* accepts a zeroed arena */

/* n * size bytes; NULL if the arena is full or the product overflows. */
void *mm1_arena_alloc(mm1_arena *a, size_t n, size_t size);
void *mm1_arena_calloc(mm1_arena *a, size_t n, size_t size);
mm1_arena_mark mm1_arena_mark_get(const mm1_arena *a);
void mm1_arena_reset_to(mm1_arena *a, mm1_arena_mark mark);

#endif

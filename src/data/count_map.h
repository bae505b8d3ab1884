/* count_map.h - how often a 64-bit hash has been seen: the set behind every "drop what occurs twice".
 *
 * Two different things with one hash are taken for the same: at 10 million entries the chance of one such pair is 3e-6.
 * Not thread-safe. */
#ifndef MM1_DATA_COUNT_MAP_H
#define MM1_DATA_COUNT_MAP_H

#include <mm1/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_count_map {
    uint64_t *keys;   /* [cap], 0 is an empty place */
    uint32_t *counts; /* [cap] */
    size_t n, cap;    /* cap is 0 or a power of two */
} mm1_count_map;

/* A zeroed map is empty. */
void mm1_count_map_deinit(mm1_count_map *map);
/* Adds one and returns how often the key had been added before; UINT32_MAX if memory is short. */
uint32_t mm1_count_map_add(mm1_count_map *map, uint64_t key);
uint32_t mm1_count_map_get(const mm1_count_map *map, uint64_t key);
/* Sets the value of a key (0 removes nothing: it reads as never added); false if memory is short. */
bool mm1_count_map_set(mm1_count_map *map, uint64_t key, uint32_t value);

#endif

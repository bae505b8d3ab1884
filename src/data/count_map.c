/* count_map.c - see count_map.h: open addressing, linear probing, at most 70 % full. */
#include "data/count_map.h"

#include "base/alloc.h"

void mm1_count_map_deinit(mm1_count_map *map)
{
    mm1_free(map->keys);
    mm1_free(map->counts);
    *map = (mm1_count_map){0};
}

/* The place of the key, or the empty place where it belongs.  cap must not be 0. */
static size_t find(const mm1_count_map *map, uint64_t key)
{
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (map->cap - 1);
    while (map->keys[i] != 0 && map->keys[i] != key) {
        i = (i + 1) & (map->cap - 1);
    }
    return i;
}

static bool grow(mm1_count_map *map)
{
    if (map->cap > SIZE_MAX / 2) {
        return false;
    }
    mm1_count_map next = {.cap = map->cap == 0 ? 1024 : map->cap * 2};
    next.keys = mm1_calloc(next.cap, sizeof *next.keys);
    next.counts = mm1_calloc(next.cap, sizeof *next.counts);
    if (next.keys == NULL || next.counts == NULL) {
        mm1_count_map_deinit(&next);
        return false;
    }
    for (size_t i = 0; i < map->cap; i++) {
        if (map->keys[i] != 0) {
            const size_t at = find(&next, map->keys[i]);
            next.keys[at] = map->keys[i];
            next.counts[at] = map->counts[i];
        }
    }
    next.n = map->n;
    mm1_count_map_deinit(map);
    *map = next;
    return true;
}

/* A pointer to the value, entered with 0 if new; NULL if memory is short. */
static uint32_t *enter(mm1_count_map *map, uint64_t key)
{
    key += key == 0; /* 0 marks an empty place */
    if (map->n * 10 >= map->cap * 7 && !grow(map)) {
        return NULL;
    }
    const size_t i = find(map, key);
    if (map->keys[i] == 0) {
        map->keys[i] = key;
        map->n++;
    }
    return &map->counts[i];
}

uint32_t mm1_count_map_add(mm1_count_map *map, uint64_t key)
{
    uint32_t *count = enter(map, key);
    if (count == NULL) {
        return UINT32_MAX;
    }
    if (*count < UINT32_MAX - 1) {
        ++*count;
    }
    return *count - 1;
}

uint32_t mm1_count_map_get(const mm1_count_map *map, uint64_t key)
{
    key += key == 0;
    return map->cap != 0 ? map->counts[find(map, key)] : 0;
}

bool mm1_count_map_set(mm1_count_map *map, uint64_t key, uint32_t value)
{
    uint32_t *count = enter(map, key);
    if (count != NULL) {
        *count = value;
    }
    return count != NULL;
}

/* arena.c - see arena.h. */
#include "base/arena.h"

#include "base/alloc.h"
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

mm1_status mm1_arena_init(mm1_arena *a, size_t cap_bytes, mm1_error *err)
{
    *a = (mm1_arena){0};
    size_t cap = cap_bytes;
    if (!mm1_size_add(cap, MM1_ALIGN_BYTES - 1, &cap)) {
        return mm1_error_set(err, MM1_E_NOMEM, "an arena of %zu bytes is too large", cap_bytes);
    }
    cap &= ~(size_t)(MM1_ALIGN_BYTES - 1);
    a->base = mm1_alloc(cap, 1);
    if (a->base == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for an arena of %zu bytes", cap_bytes);
    }
    a->cap = cap;
    POISON(a->base, cap);
    return MM1_OK;
}

mm1_status mm1_arena_init_dry(mm1_arena *a, mm1_error *err)
{
#if defined(__SANITIZE_THREAD__)
    const size_t cap = (size_t)1 << 39; /* it leaves a program few addresses */
#else
    const size_t cap = (size_t)1 << 44;
#endif
    *a = (mm1_arena){0};
    void *p = mmap(NULL, cap, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return mm1_error_set(err, MM1_E_NOMEM,
                             "cannot reserve addresses for planning; is there an address space limit (ulimit -v)?");
    }
    *a = (mm1_arena){.base = p, .cap = cap, .dry = true};
    return MM1_OK;
}

void mm1_arena_deinit(mm1_arena *a)
{
    if (a->dry) {
        (void)munmap(a->base, a->cap);
    } else if (a->base != NULL) {
        UNPOISON(a->base, a->cap);
        mm1_free(a->base);
    }
    *a = (mm1_arena){0};
}

void *mm1_arena_alloc(mm1_arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!mm1_size_mul(n, size, &bytes) || bytes > a->cap - a->top) {
        return NULL;
    }
    size_t rounded = (bytes + MM1_ALIGN_BYTES - 1) & ~(size_t)(MM1_ALIGN_BYTES - 1);
    if (rounded > a->cap - a->top) {
        return NULL;
    }
    uint8_t *p = a->base + a->top;
    if (!a->dry) {
        UNPOISON(p, bytes);
    }
    a->top += rounded;
    if (a->top > a->peak) {
        a->peak = a->top;
    }
    return p;
}

void *mm1_arena_calloc(mm1_arena *a, size_t n, size_t size)
{
    void *p = mm1_arena_alloc(a, n, size);
    if (p != NULL && !a->dry) {
        memset(p, 0, n * size);
    }
    return p;
}

mm1_arena_mark mm1_arena_mark_get(const mm1_arena *a)
{
    return a->top;
}

void mm1_arena_reset_to(mm1_arena *a, mm1_arena_mark mark)
{
    if (mark < a->top) {
        if (!a->dry) {
            POISON(a->base + mark, a->top - mark);
        }
        a->top = mark;
    }
}

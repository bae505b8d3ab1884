/* alloc.c - aligned blocks with a header that remembers their size. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The header takes one alignment unit before the block, so that the block keeps its alignment. */
typedef struct header {
    size_t bytes;
} header;

_Static_assert(sizeof(header) <= MM1_ALIGN_BYTES, "header must fit before the block");

static atomic_uint_fast64_t n_allocs;
static _Thread_local uint64_t n_allocs_thread;
static atomic_size_t live_bytes;
static atomic_size_t peak_bytes;
static atomic_uint_fast64_t fail_countdown;

bool mm1_size_mul(size_t a, size_t b, size_t *out)
{
    if (b != 0 && a > SIZE_MAX / b) {
        return false;
    }
    *out = a * b;
    return true;
}

bool mm1_size_add(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) {
        return false;
    }
    *out = a + b;
    return true;
}

static bool injected_failure(void)
{
    uint_fast64_t left = atomic_load(&fail_countdown);
    return left != 0 && atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static void account(size_t bytes)
{
    size_t now = atomic_fetch_add(&live_bytes, bytes) + bytes;
    size_t peak = atomic_load(&peak_bytes);
    while (now > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, now)) {
    }
}

void *mm1_alloc(size_t n, size_t size)
{
    size_t bytes, total;
    if (!mm1_size_mul(n, size, &bytes) || !mm1_size_add(bytes, 2 * MM1_ALIGN_BYTES - 1, &total) || injected_failure()) {
        return NULL;
    }
    total &= ~(size_t)(MM1_ALIGN_BYTES - 1);
    unsigned char *raw = aligned_alloc(MM1_ALIGN_BYTES, total);
    if (raw == NULL) {
        return NULL;
    }
    ((header *)(void *)raw)->bytes = bytes;
    atomic_fetch_add(&n_allocs, 1);
    n_allocs_thread++;
    account(bytes);
    return raw + MM1_ALIGN_BYTES;
}

void *mm1_calloc(size_t n, size_t size)
{
    void *p = mm1_alloc(n, size);
    if (p != NULL) {
        memset(p, 0, n * size);
    }
    return p;
}

static header *header_of(void *p)
{
    return (header *)(void *)((unsigned char *)p - MM1_ALIGN_BYTES);
}

void *mm1_realloc(void *p, size_t n, size_t size)
{
    void *q = mm1_alloc(n, size);
    if (q == NULL || p == NULL) {
        return q;
    }
    size_t old = header_of(p)->bytes, want = n * size;
    memcpy(q, p, old < want ? old : want);
    mm1_free(p);
    return q;
}

void mm1_free(void *p)
{
    if (p != NULL) {
        header *h = header_of(p);
        atomic_fetch_sub(&live_bytes, h->bytes);
        free(h);
    }
}

char *mm1_strndup(const char *s, size_t len)
{
    char *copy = mm1_alloc(len + 1, 1);
    if (copy != NULL) {
        memcpy(copy, s, len);
        copy[len] = '\0';
    }
    return copy;
}

char *mm1_strdup(const char *s)
{
    return mm1_strndup(s, strlen(s));
}

uint64_t mm1_alloc_count(void)
{
    return atomic_load(&n_allocs);
}

uint64_t mm1_alloc_count_thread(void)
{
    return n_allocs_thread;
}

size_t mm1_alloc_bytes(void)
{
    return atomic_load(&live_bytes);
}

size_t mm1_alloc_peak_bytes(void)
{
    return atomic_load(&peak_bytes);
}

void mm1_alloc_fail_at(uint64_t n)
{
    atomic_store(&fail_countdown, n);
}

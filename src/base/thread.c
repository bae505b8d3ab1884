/* thread.c - see thread.h.
 *
 * Each worker waits at a gate of its own.  The caller of a region opens the gates of as many as it needs; a worker that
 * passes closes its gate behind itself, and has the part of its number.  The caller closes the gates that are still
 * open once its own part is done, and computes those parts.  The last to finish opens the caller's gate, if that is not
 * the caller itself. */
#include "base/thread.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* A thread that waits for longer than this sleeps: waking it costs about as much as it has spun by then. */
static const double spin_seconds = 50e-6;
enum { SPINS_A_LOOK = 32 }; /* between two looks at the clock: 1 microsecond or less */

enum { CLOSED, OPEN, ASLEEP }; /* ASLEEP: closed, and its thread must be woken */

/* One thread waits at it. */
typedef struct gate {
    _Alignas(64) _Atomic uint32_t state;
} gate;

typedef struct worker {
    gate go;
    pthread_t thread;
    int index;
} worker;

static struct {
    _Atomic int n_threads;
    _Atomic bool spins;
    _Atomic bool busy; /* a region is under way; whoever sets it owns all that follows */
    bool at_fork;      /* the child of a fork is provided for */
    bool ending;
    int n_workers;
    worker workers[MM1_MAX_THREADS - 1];

    /* The region. */
    mm1_range_fn *fn;
    void *ctx;
    int64_t n, grain; /* grain 0: items one by one */
    int n_parts;
    _Alignas(64) _Atomic int64_t next; /* item */
    _Alignas(64) _Atomic int n_left;   /* parts that are not done */
    gate done;
} pool = {.n_threads = 1};

static _Thread_local int own_index;
static _Thread_local bool in_region;

void mm1_thread_flush_denormals(void)
{
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u); /* FTZ | DAZ */
#endif
}

double mm1_time_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- gates ---- */

static void pause_briefly(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_open(gate *g)
{
    if (atomic_exchange_explicit(&g->state, OPEN, memory_order_acq_rel) == ASLEEP) {
        (void)syscall(SYS_futex, &g->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

/* False: it is not open. */
static bool gate_close(gate *g)
{
    uint32_t state = OPEN;
    return atomic_load_explicit(&g->state, memory_order_relaxed) == OPEN &&
           atomic_compare_exchange_strong_explicit(&g->state, &state, CLOSED, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static bool gate_pass_soon(gate *g)
{
    double until = 0;
    for (int i = 1; !gate_close(g); i++) {
        if (i % SPINS_A_LOOK == 0) {
            const double now = mm1_time_now();
            until = until > 0 ? until : now + spin_seconds;
            if (now >= until) {
                return false;
            }
        }
        pause_briefly();
    }
    return true;
}

/* Waits until it is open, and closes it. */
static void gate_pass(gate *g)
{
    while (!(atomic_load_explicit(&pool.spins, memory_order_relaxed) ? gate_pass_soon(g) : gate_close(g))) {
        uint32_t state = CLOSED;
        if (atomic_compare_exchange_strong_explicit(&g->state, &state, ASLEEP, memory_order_relaxed,
                                                    memory_order_relaxed) ||
            state == ASLEEP) {
            (void)syscall(SYS_futex, &g->state, FUTEX_WAIT_PRIVATE, ASLEEP, NULL, NULL, 0);
        }
    }
}

/* ---- workers ---- */

static void compute_part(int part)
{
    if (pool.grain == 0) {
        for (int64_t i; (i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < pool.n;) {
            pool.fn(pool.ctx, i, i + 1);
        }
        return;
    }
    const int64_t n_grains = (pool.n - 1) / pool.grain + 1;
    const int64_t begin = n_grains * part / pool.n_parts * pool.grain;
    const int64_t end = part + 1 < pool.n_parts ? n_grains * (part + 1) / pool.n_parts * pool.grain : pool.n;
    pool.fn(pool.ctx, begin, end);
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    own_index = w->index;
    in_region = true; /* it does nothing else */
    mm1_thread_flush_denormals();
    for (;;) {
        gate_pass(&w->go);
        if (pool.ending) {
            return NULL;
        }
        compute_part(w->index);
        if (atomic_fetch_sub_explicit(&pool.n_left, 1, memory_order_acq_rel) == 1) {
            gate_open(&pool.done);
        }
    }
}

/* The threads of the parent are not there. */
static void forget_workers(void)
{
    for (int i = 0; i < pool.n_workers; i++) {
        atomic_store(&pool.workers[i].go.state, CLOSED);
    }
    pool.n_workers = 0;
    atomic_store(&pool.done.state, CLOSED);
    atomic_store(&pool.busy, false);
}

/* Has n workers, or as many as the system gives. */
static void start_workers(int n)
{
    if (pool.n_workers >= n) {
        return;
    }
    if (!pool.at_fork) {
        pool.at_fork = pthread_atfork(NULL, NULL, forget_workers) == 0;
    }
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    for (; pool.n_workers < n; pool.n_workers++) {
        worker *w = &pool.workers[pool.n_workers];
        w->index = pool.n_workers + 1;
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            break;
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Where another thread still computes, nobody can wait for it here; without workers, all that follows is serial. */
__attribute__((destructor)) static void end_workers(void)
{
    if (atomic_exchange(&pool.busy, true)) {
        return;
    }
    pool.ending = true;
    for (int i = 0; i < pool.n_workers; i++) {
        gate_open(&pool.workers[i].go);
        (void)pthread_join(pool.workers[i].thread, NULL);
    }
    pool.n_workers = 0;
}

/* ---- regions ---- */

/* How many threads share so many parts.  If more than one, the pool is the caller's. */
static int take_pool(int64_t wanted)
{
    const int n_threads = mm1_threads(), n = wanted < n_threads ? (int)wanted : n_threads;
    if (n <= 1 || in_region || atomic_load_explicit(&pool.busy, memory_order_relaxed) ||
        atomic_exchange_explicit(&pool.busy, true, memory_order_acquire)) {
        return 1;
    }
    start_workers(n - 1);
    if (pool.n_workers == 0) {
        atomic_store_explicit(&pool.busy, false, memory_order_release);
        return 1;
    }
    return n <= pool.n_workers ? n : pool.n_workers + 1;
}

static void run_region(int64_t n, int64_t grain, mm1_range_fn *fn, void *ctx, int n_parts)
{
    pool.fn = fn;
    pool.ctx = ctx;
    pool.n = n;
    pool.grain = grain;
    pool.n_parts = n_parts;
    atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.n_left, n_parts, memory_order_relaxed);
    for (int i = 1; i < n_parts; i++) {
        gate_open(&pool.workers[i - 1].go);
    }
    in_region = true;
    compute_part(0);
    int n_done = 1;
    for (int i = 1; i < n_parts; i++) {
        if (gate_close(&pool.workers[i - 1].go)) {
            compute_part(i);
            n_done++;
        }
    }
    in_region = false;
    if (atomic_fetch_sub_explicit(&pool.n_left, n_done, memory_order_acq_rel) != n_done) {
        gate_pass(&pool.done);
    }
    atomic_store_explicit(&pool.busy, false, memory_order_release);
}

void mm1_parallel_for(int64_t n, int64_t grain, mm1_range_fn *fn, void *ctx)
{
    const int64_t least = grain > 0 ? grain : 1;
    if (n <= 0) {
        return;
    }
    const int n_parts = take_pool((n - 1) / least + 1);
    if (n_parts <= 1) {
        fn(ctx, 0, n);
    } else {
        run_region(n, least, fn, ctx, n_parts);
    }
}

void mm1_parallel_each(int64_t n, mm1_range_fn *fn, void *ctx)
{
    const int n_parts = take_pool(n);
    if (n_parts > 1) {
        run_region(n, 0, fn, ctx, n_parts);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        fn(ctx, i, i + 1);
    }
}

int mm1_thread_index(void)
{
    return own_index;
}

bool mm1_in_parallel(void)
{
    return in_region;
}

void mm1_region_fail(mm1_region_failure *f, int64_t item, mm1_status status, const mm1_error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&lock);
    if (f->status == MM1_OK || item < f->item) {
        *f = (mm1_region_failure){item, status, *err};
    }
    (void)pthread_mutex_unlock(&lock);
}

mm1_status mm1_region_status(const mm1_region_failure *f, mm1_error *err)
{
    if (f->status != MM1_OK && err != NULL) {
        *err = f->err;
    }
    return f->status;
}

/* ---- how many ---- */

static int env_threads(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    const long n = text != NULL ? strtol(text, &end, 10) : 0;
    return text != NULL && end != text && *end == '\0' && n > 0 && n <= MM1_MAX_THREADS ? (int)n : 0;
}

static int usable_cpus(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
}

void mm1_threads_set(int n)
{
    const int cpus = usable_cpus();
    if (n <= 0) {
        n = env_threads("MM1_THREADS");
    }
    if (n <= 0) {
        n = env_threads("OMP_NUM_THREADS");
    }
    if (n <= 0) {
        n = cpus;
    }
    n = n < 1 ? 1 : n > MM1_MAX_THREADS ? MM1_MAX_THREADS : n;
    atomic_store_explicit(&pool.n_threads, n, memory_order_relaxed);
    atomic_store_explicit(&pool.spins, n <= cpus, memory_order_relaxed);
    mm1_thread_flush_denormals();
}

int mm1_threads(void)
{
    return atomic_load_explicit(&pool.n_threads, memory_order_relaxed);
}

/* thread.h - the pool of compute threads, and clocks.
 *
 * Work is split by output: fn(ctx, begin, end) owns what belongs to [begin, end) alone, so that a result never depends
 * on the number of threads or on scheduling.  Denormals are flushed to zero in every compute thread: they cost a factor
 * of four in a measured training step.
 *
 * One call of mm1_parallel_for() or mm1_parallel_each() is a region.  Its parts are offered to the workers; the caller
 * computes one of them, then those that no worker has begun yet, waits for the rest, and sees what they wrote.  So a
 * worker that the system has not let run by then, because other programs use its core, holds nobody up.  Threads
 * without work spin for some microseconds and then sleep: an idle pool takes no processor time.  Where there are more
 * threads than CPUs they sleep at once.
 *
 * Threads: every thread may call; nobody waits for the pool.  A region inside a part of another one, or begun while
 * another thread's is under way, runs serially on its caller.  Workers start when they are first needed and block all
 * signals; they end when the program does, or when the library that holds them is unloaded.  The child of a fork() has
 * no workers at first; where a part forked, the child does not come back from its region. */
#ifndef MM1_BASE_THREAD_H
#define MM1_BASE_THREAD_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stdint.h>

enum { MM1_MAX_THREADS = 1024 };

/* How many compute threads, at most MM1_MAX_THREADS; 0 asks for MM1_THREADS, then OMP_NUM_THREADS, then one for each
 * CPU this process may use.  Also sets flush-to-zero for the caller: call it once, from the thread that will compute.
 */
void mm1_threads_set(int n);
int mm1_threads(void);

/* Flush-to-zero and denormals-are-zero for the calling thread. */
void mm1_thread_flush_denormals(void);

typedef void mm1_range_fn(void *ctx, int64_t begin, int64_t end);

/* Calls fn on ranges that cover [0, n) once, at most one for each thread.  Each begins at a multiple of `grain`: n <=
 * grain runs serially. */
void mm1_parallel_for(int64_t n, int64_t grain, mm1_range_fn *fn, void *ctx);

/* Calls fn(ctx, i, i + 1) for every i, handed out dynamically: for items of unequal cost that write apart. */
void mm1_parallel_each(int64_t n, mm1_range_fn *fn, void *ctx);

/* Index of the calling thread in its region, 0 .. mm1_threads() - 1, for scratch memory that belongs to the region; 0
 * outside. */
int mm1_thread_index(void);

/* Whether the caller computes a part of a region, where another one would run serially. */
bool mm1_in_parallel(void);

/* What went wrong in a region, if it is zero at first: of the lowest item, whichever thread comes first. */
typedef struct mm1_region_failure {
    int64_t item;
    mm1_status status;
    mm1_error err;
} mm1_region_failure;

void mm1_region_fail(mm1_region_failure *f, int64_t item, mm1_status status, const mm1_error *err);

/* After the region; err may be NULL. */
mm1_status mm1_region_status(const mm1_region_failure *f, mm1_error *err);

/* Seconds of a clock that never goes back. */
double mm1_time_now(void);

#endif

/* thread.h - the pool of compute threads (OpenMP) and clocks.
 *
 * Work is split by output: fn(ctx, begin, end) owns the rows [begin, end) alone, so that a result never depends on the
 * number of threads or on scheduling.  Denormals are flushed to zero in every compute thread: they cost a factor of
 * four in a measured training step. */
#ifndef MM1_BASE_THREAD_H
#define MM1_BASE_THREAD_H

#include <stdint.h>

/* How many compute threads; 0 asks for MM1_THREADS, then OMP_NUM_THREADS, then one for each CPU this process may use.
 * Also sets flush-to-zero in all of them.  Call it once, from the thread that will compute. */
void mm1_threads_set(int n);
int mm1_threads(void);

/* Flush-to-zero and denormals-are-zero for the calling thread. */
void mm1_thread_flush_denormals(void);

typedef void mm1_range_fn(void *ctx, int64_t begin, int64_t end);

/* Calls fn on consecutive ranges that cover [0, n), each at least `grain` long (but for the last), one for each thread.
 * Inside another parallel region it runs serially. */
void mm1_parallel_for(int64_t n, int64_t grain, mm1_range_fn *fn, void *ctx);

/* Calls fn(ctx, i, i + 1) for every i, handed out dynamically: for items of unequal cost that write apart. */
void mm1_parallel_each(int64_t n, mm1_range_fn *fn, void *ctx);

/* Index of the calling compute thread, 0 .. mm1_threads() - 1, for scratch memory. */
int mm1_thread_index(void);

/* Seconds of a clock that never goes back. */
double mm1_time_now(void);

#endif

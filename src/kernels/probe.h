/* probe.h - what this machine can do at most, measured: multiply-adds in registers, memory, the matrix product.
 *
 * Every speed that the program reports is a share of one of these, probed in the same run.  Whatever else runs on the
 * machine only takes away, so that the best of a few runs counts.  Threads: the probes use the pool of the caller's
 * mm1_threads_set(); call them from the thread that computes. */
#ifndef MM1_KERNELS_PROBE_H
#define MM1_KERNELS_PROBE_H

#include "kernels/kernels.h"

/* Operations a second of independent multiply-adds in registers (two operations each) on n_threads threads, with the
 * widest vectors of the table in use; about 20 ms.  n_threads at most mm1_threads(). */
double mm1_fma_probe(int n_threads);
/* The mean over about so many seconds: what the machine gives at that time.  Some processors run a fifth faster than
 * they can for long, for fractions of a millisecond; the best probe is one of these. */
double mm1_fma_rate(int n_threads, double seconds);

/* Rate of mm1_gemm() at 1024 x 1024 x 1024, in operations a second; about 0.3 s.  0 if memory is short. */
double mm1_gemm_probe(void);
/* The same in memory of the caller, which is overwritten. */
enum { MM1_GEMM_PROBE_FLOATS = 3 << 20 };
double mm1_gemm_probe_in(float *memory);

typedef struct mm1_bandwidth {
    double read, triad; /* bytes a second, all threads; the triad y += a x counts two reads and a write */
} mm1_bandwidth;

/* On 2 x 64 MiB, which no cache of this class of machines holds; about 0.2 s. */
MM1_NODISCARD mm1_status mm1_bandwidth_probe(mm1_bandwidth *out, mm1_error *err);

#endif

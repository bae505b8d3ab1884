/* own_threads.h - what the threads of this process do, by /proc: for measurements that some of them would disturb.  The
 * clocks of the processor's time do not tell: that of a running thread may stand still from one tick of the kernel to
 * the next, milliseconds.  Where /proc is not mounted none runs and none waits. */
#ifndef MM1_STUDY_OWN_THREADS_H
#define MM1_STUDY_OWN_THREADS_H

#include <stdbool.h>

/* Whether a thread other than the caller runs, or waits for a processor: spinning is running. */
bool mm1_other_threads_run(void);

/* Seconds, in all, that its threads could have run and had no processor. */
double mm1_threads_delay(void);

#endif

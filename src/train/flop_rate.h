/* flop_rate.h - how much of the machine a training uses: its operations over their time, as a share of the rate of the
 * matrix product (probe.h).
 *
 * Other work on the machine while it is probed makes that rate too small.  A step that was faster shows it, and counts
 * as a probe: no share is over 1. */
#ifndef MM1_TRAIN_FLOP_RATE_H
#define MM1_TRAIN_FLOP_RATE_H

#include <stdbool.h>

/* Zeroed: nothing was probed, and all shares are 0. */
typedef struct mm1_flop_rate {
    double peak;           /* operations a second, the best of all probes and steps */
    double flops, seconds; /* of all steps */
    bool is_low;           /* a step was faster than the probes: worth another one */
} mm1_flop_rate;

/* What a probe found; a lower rate than the best so far says nothing. */
void mm1_flop_rate_probe(mm1_flop_rate *r, double rate);
/* A step of so many operations; its share of the peak. */
double mm1_flop_rate_step(mm1_flop_rate *r, double flops, double seconds);
/* That of all steps together. */
double mm1_flop_rate_share(const mm1_flop_rate *r);

#endif

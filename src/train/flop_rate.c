/* flop_rate.c - see flop_rate.h. */
#include "train/flop_rate.h"

void mm1_flop_rate_probe(mm1_flop_rate *r, double rate)
{
    r->peak = rate > r->peak ? rate : r->peak;
    r->is_low = false;
}

double mm1_flop_rate_step(mm1_flop_rate *r, double flops, double seconds)
{
    r->flops += flops;
    r->seconds += seconds;
    if (r->peak <= 0 || seconds <= 0) {
        return 0;
    }
    const double rate = flops / seconds;
    if (rate > r->peak) {
        r->peak = rate;
        r->is_low = true;
    }
    return rate / r->peak;
}

double mm1_flop_rate_share(const mm1_flop_rate *r)
{
    return r->peak > 0 && r->seconds > 0 ? r->flops / r->seconds / r->peak : 0;
}

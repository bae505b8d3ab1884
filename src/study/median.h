/* median.h - the median of measured times: what a shared machine does now and then does not move it. */
#ifndef MM1_STUDY_MEDIAN_H
#define MM1_STUDY_MEDIAN_H

#include <stdint.h>

/* Sorts x [n]; of an even number the upper one; NAN for n = 0. */
double mm1_median(double *x, int64_t n);

#endif

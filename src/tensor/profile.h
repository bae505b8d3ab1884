/* profile.h - where the time of a step goes: a table of operators, filled by a tape whose `profile` points to one.
 *
 * Operators run one after the other in one thread, so time is kept in laps: when an operator is done, everything since
 * the one before is its own.  No time is lost between rows, and the sum of them is the time of the step.  The lap of a
 * node's backward pass goes to the row of the operator that left the node.
 *
 * Work is counted where it is done.  Every matrix product of the tape goes through mm1__tape_gemm(), which counts its
 * 2 M N K operations and its seconds (packing and the fused epilogue - bias, activation, residual - included);
 * attention counts the pairs of query and key that its mask lets through, 4 D operations each forward and 10 D backward
 * (five products: the scores are formed again).  An operator that is limited by memory says how many floats it reads
 * and writes, each array once.
 *
 * A tape without a profile pays one comparison an operator.  Not thread-safe. */
#ifndef MM1_TENSOR_PROFILE_H
#define MM1_TENSOR_PROFILE_H

#include <stdint.h>

enum { MM1_PROFILE_ROWS = 32 };

typedef enum mm1_pass { MM1_PASS_FORWARD, MM1_PASS_BACKWARD, MM1_PASS_COUNT } mm1_pass;

/* Of one pass of one operator, since mm1_profile_clear(). */
typedef struct mm1_profile_cell {
    int64_t calls;
    double seconds, flops, bytes;
} mm1_profile_cell;

typedef struct mm1_profile_row {
    const char *name; /* a literal */
    mm1_profile_cell pass[MM1_PASS_COUNT];
} mm1_profile_row;

typedef struct mm1_profile {
    mm1_profile_row rows[MM1_PROFILE_ROWS]; /* in order of first use */
    int n_rows;
    double gemm_seconds, gemm_flops;           /* inside the matrix product */
    double attention_seconds, attention_flops; /* inside the kernels of attention */
    double lap_start, lap_flops;
} mm1_profile;

/* Empties the table. */
void mm1_profile_clear(mm1_profile *p);
/* A lap begins now: time since the last one belongs to nobody. */
void mm1_profile_start(mm1_profile *p);
/* Ends the lap and gives it to a row, which is made if it is new; returns the row's index.  name is kept.  What does
 * not fit into the table any more is added to its last row. */
int mm1_profile_lap(mm1_profile *p, const char *name, mm1_pass pass, int64_t floats);

/* Seconds of all rows. */
double mm1_profile_seconds(const mm1_profile *p);
/* Seconds that were matrix products: those of the matrix product, and of attention as long as its operations would have
 * taken at the rate of the matrix product in the same step.  What attention takes beyond that - softmax, packing, tiles
 * that are half empty - is no product. */
double mm1_profile_product_seconds(const mm1_profile *p);

#endif

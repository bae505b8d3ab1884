/* info_nce.h - the contrastive loss of pairs (InfoNCE: van den Oord et al. 2018; both ways with a learned temperature:
 * Radford et al. 2021, CLIP figure 3).
 *
 *   logits [n, n] = scale a b^T            a, b [n, D], unit rows
 *   loss[i] = (-log p(b_i | a_i) - log p(a_i | b_i)) / 2, softmax over a row and over a column
 *
 * Pairs with equal keys are the same thing twice (two pictures of one caption): they stand beside each other in neither
 * softmax.  Each is right where it belongs and no negative of the other.  The alternative, both as positives of both,
 * would ask for equal similarity to both, and its loss would not go to 0.
 *
 * The same bits for any number of threads. */
#ifndef MM1_TRAIN_INFO_NCE_H
#define MM1_TRAIN_INFO_NCE_H

#include <stdint.h>

typedef struct mm1_info_nce {
    int64_t n, D;
    const float *a, *b;  /* [n, D] */
    const uint64_t *key; /* [n]; NULL: all differ */
    double log_scale;
    double weight;                /* gradients are of weight * sum of loss */
    float *loss;                  /* [n] out */
    float *da, *db;               /* [n, D] out */
    float *logits;                /* [n, n] scratch */
    float *lse;                   /* [2 n] scratch */
    double d_log_scale;           /* out */
    int64_t n_right_a, n_right_b; /* out: pairs found from a's side and from b's, nothing else being as near */
} mm1_info_nce;

void mm1_info_nce_run(mm1_info_nce *x);

#endif

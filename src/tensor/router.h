/* router.h - which experts take which rows, for the mixture of experts (mm1_moe in tensor.h has the formulas).
 *
 * Pairs of row and rank (0 for the first choice) are numbered row * top_k + rank.  The order of pairs is a counting
 * sort by expert that keeps the order in which they were accepted: group by group, and in it by rank, then by row.  It
 * does not depend on threads. */
#ifndef MM1_TENSOR_ROUTER_H
#define MM1_TENSOR_ROUTER_H

#include "tensor/tensor.h"

/* Memory is the tape's, exact in every segment. */
typedef struct mm1_route {
    int64_t N, E, top_k;
    float *p;        /* [N, E] softmax of the logits */
    float *lse;      /* [N] log sum exp of the logits */
    float *gate;     /* [N, top_k] */
    int32_t *choice; /* [N, top_k] expert, -1 for padding */
    int32_t *order;  /* [first[E]] pairs, those of expert e from first[e] to first[e + 1] */
    int64_t *first;  /* [E + 1] */
} mm1_route;

static inline int64_t mm1__route_count(const mm1_route *r, int64_t e)
{
    return r->first[e + 1] - r->first[e];
}

/* Memory for rows of x; false on a sticky error. */
bool mm1__route_alloc(mm1_tape *t, mm1_route *r, const mm1_tensor *x, const mm1_moe *moe);
/* Chooses, sorts, and adds to t->routing what it wants to know. */
void mm1__route(mm1_tape *t, mm1_route *r, const mm1_tensor *x, const mm1_moe *moe);
/* From dgate [N, top_k] (0 for dropped pairs; overwritten) to the gradient of router_w, added, and dx [N, K] (or NULL),
 * added; with those of the auxiliary losses.  dlogits [N, E] is scratch. */
void mm1__route_backward(mm1_tape *t, const mm1_route *r, const mm1_tensor *x, const mm1_moe *moe, float *dgate,
                         float *dx, float *dlogits);

#endif

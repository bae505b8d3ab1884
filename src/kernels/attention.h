/* attention.h - tiled softmax attention, forward and backward, threaded; no T x T matrix is ever in memory.
 *
 * Every mask of this project is an interval: query t of sequence b sees the keys [lo[b,t], hi[b,t]) of its sequence.
 *   causal                     lo = 0,              hi = t + 1
 *   causal, packed examples    lo = start of own,   hi = t + 1
 *   bidirectional              lo = 0,              hi = S
 *   prefix-causal              lo = 0,              hi = max(prefix, t + 1)
 *   decoding with a cache      lo = 0,              hi = n_past + t + 1
 * Tiles that no query of the tile sees are skipped, so packed examples cost what they are long.  A query that sees
 * nothing (lo >= hi) gives zeros.
 *
 * q [B, T, H, D], k and v [B, S, Hkv, D], o [B, T, H, D]; each of them with its own row stride (elements from one
 * position to the next), heads following each other in a row, sequences following each other without gap.  H is a
 * multiple of Hkv: query head h reads key head h / (H / Hkv) (grouped-query attention).
 *
 * Threads: split over (b, key head) and, where those are few, over queries; results do not depend on the number of
 * threads.  The tasks of one region may each run a forward pass with one scratch, of which each thread uses its own
 * part, if their S, D and rows are equal: where the parts lie depends on these alone. */
#ifndef MM1_KERNELS_ATTENTION_H
#define MM1_KERNELS_ATTENTION_H

#include "kernels/kernels.h"
#include <stddef.h>

typedef struct mm1_attention_args {
    int64_t B, T, S, H, Hkv, D;
    const float *q, *k, *v;
    int64_t ldq, ldk, ldv, ldo; /* row strides in elements */
    const int32_t *lo, *hi;     /* [B, T] */
    float scale;                /* of the scores; 1 / sqrt(D) as a rule */
    /* Rotary positions (kernels.h, rope): position [B, T] and the table turn q and k on their way into the tiles, and
     * their gradients back.  Needs S == T.  NULL: q and k are taken as they are. */
    const int32_t *position;
    const float *cos_sin;
    /* FEW, MANY: the bits of a query depend on its keys alone, not on the other queries; the forward pass only. */
    mm1_rows rows;
    const int64_t *first_key; /* [B] row of k and v where a sequence's keys begin; NULL: b S; the forward pass only */
} mm1_attention_args;

/* Bytes of 64-byte aligned scratch for these sizes and mm1_threads() threads, linear in S: what the forward pass needs,
 * or, with `backward`, what either needs. */
size_t mm1_attention_scratch_bytes(const mm1_attention_args *args, bool backward);

/* o is overwritten; lse [B, H, T] = log sum exp of the scaled scores, saved for the backward pass (-INFINITY where
 * nothing is seen). */
void mm1_attention_fwd(float *o, float *lse, const mm1_attention_args *args, void *scratch);

/* dq, dk, dv have the shapes and strides of q, k, v and are overwritten.  d_o and o have stride ldo. */
void mm1_attention_bwd(float *dq, float *dk, float *dv, const float *d_o, const float *o, const float *lse,
                       const mm1_attention_args *args, void *scratch);

#endif

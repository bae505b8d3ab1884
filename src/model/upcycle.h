/* upcycle.h - a sparse model out of a dense one (sparse upcycling, Komatsuzaki et al. 2022): every expert begins as a
 * copy of the MLP whose place it takes, the routers are drawn anew.
 *
 * The gates of a position add up to 1, so that before the first step the logits are those of the dense model up to the
 * rounding of f32. */
#ifndef MM1_MODEL_UPCYCLE_H
#define MM1_MODEL_UPCYCLE_H

#include "model/model.h"

/* Makes *out, with values and without gradients, out of a dense model with a decoder; moe->mlp_width is 0 or the dense
 * one's, moe->normalize is true.  The seed draws the routers.  The tokenizer moves from dense to out. */
MM1_NODISCARD mm1_status mm1_model_upcycle(mm1_model *dense, const mm1_moe_config *moe, uint64_t seed, mm1_model *out,
                                           mm1_error *err);

#endif

/* average.h - one model out of several of the same shape: the mean of their weights (Izmailov et al. 2018,
 * arXiv 1803.05407; Wortsman et al. 2022, arXiv 2203.05482).
 *
 * Made for the last checkpoints of one run, whose noise it takes out; models that were trained apart from different
 * beginnings have no meaningful mean. */
#ifndef MM1_MODEL_AVERAGE_H
#define MM1_MODEL_AVERAGE_H

#include "model/model.h"

/* Makes mean, which is the mean of n models so far, that of n + 1 with `next`.  MM1_E_FORMAT, naming the first
 * parameter that one has and the other has not or in another shape; mean is as it was then. */
MM1_NODISCARD mm1_status mm1_model_average_add(mm1_model *mean, int64_t n, const mm1_model *next, mm1_error *err);

#endif

/* task_group.h - benchmarks that are reported as one number: the mean of their scores.
 *
 * "textcore" is what the ablations of MM1 call TextCore, "fewshot" the seven of its Table 3 (VQAv2 by its validation
 * set).  Scores are in the units of the paper's tables: percent, CIDEr times 100.
 *
 * Threads: rows are read only. */
#ifndef MM1_EVAL_TASK_GROUP_H
#define MM1_EVAL_TASK_GROUP_H

#include "eval/benchmark.h"

typedef struct mm1_task_group {
    const char *name, *about;
    const char *const *tasks; /* names, up to NULL */
} mm1_task_group;

extern const mm1_task_group mm1_task_groups[];
extern const size_t mm1_n_task_groups;

/* NULL: there is none of that name. */
const mm1_task_group *mm1_task_group_find(const char *name);

/* Mean over the group's tasks with that many demonstrations; NaN unless all of them were scored. */
double mm1_task_group_mean(const mm1_task_group *group, const mm1_benchmark_results *results, int64_t shots);

#endif

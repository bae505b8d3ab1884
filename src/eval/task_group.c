/* task_group.c - see task_group.h. */
#include "eval/task_group.h"

#include <math.h>
#include <string.h>

static const char *const textcore[] = {"arc_easy",  "arc_challenge", "piqa",     "lambada", "winogrande",
                                       "hellaswag", "sciq",          "triviaqa", "webqs",   NULL};
static const char *const fewshot[] = {"coco", "nocaps", "textcaps", "vqav2", "textvqa", "vizwiz", "okvqa", NULL};

const mm1_task_group mm1_task_groups[] = {
    {"textcore", "language alone, nine tasks", textcore},
    {"fewshot", "captions and questions, the seven of MM1's Table 3", fewshot},
};
const size_t mm1_n_task_groups = sizeof mm1_task_groups / sizeof mm1_task_groups[0];

const mm1_task_group *mm1_task_group_find(const char *name)
{
    for (size_t i = 0; i < mm1_n_task_groups; i++) {
        if (strcmp(mm1_task_groups[i].name, name) == 0) {
            return &mm1_task_groups[i];
        }
    }
    return NULL;
}

double mm1_task_group_mean(const mm1_task_group *group, const mm1_benchmark_results *results, int64_t shots)
{
    double sum = 0;
    size_t n = 0;
    for (; group->tasks[n] != NULL; n++) {
        double score = NAN;
        for (size_t i = 0; i < results->n; i++) {
            const mm1_bench_cell *c = &results->cells[i];
            if (c->shots == shots && strcmp(c->task, group->tasks[n]) == 0) {
                double scale = 1;
                (void)mm1_benchmark_unit(c->metric, &scale);
                score = scale * c->score.value;
            }
        }
        sum += score;
    }
    return n > 0 ? sum / (double)n : NAN;
}

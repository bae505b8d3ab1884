/* cmd_eval.h - the parts of mm1 eval. */
#ifndef MM1_CLI_CMD_EVAL_H
#define MM1_CLI_CMD_EVAL_H

#include "eval/benchmark.h"

typedef struct mm1_cli_benchmark {
    mm1_benchmark_options o;
    const char *model, *url;               /* one or both */
    const char *chat_template;             /* NULL: that of the folder */
    int64_t batch, image_size, max_images; /* max_images 0: as the model folder says */
    bool json;
} mm1_cli_benchmark;

/* Asks and prints. */
mm1_status mm1_cli_run_benchmarks(mm1_cli_benchmark *b, mm1_error *err);
void mm1_cli_list_tasks(void);
/* argv[0] is "compare". */
int mm1_cmd_eval_compare(int argc, char **argv);

#endif

/* cmd_eval.h - the parts of mm1 eval. */
#ifndef MM1_CLI_CMD_EVAL_H
#define MM1_CLI_CMD_EVAL_H

#include "eval/benchmark.h"

enum { MM1_CLI_MODEL_NAME_BYTES = 4200 };

typedef struct mm1_cli_benchmark {
    mm1_benchmark_options o;
    const char *model, *url;               /* one or both */
    const char *chat_template;             /* NULL: that of the folder */
    int64_t batch, image_size, max_images; /* max_images 0: as the model folder says */
    int image_mode;                        /* -1: as the model folder says */
    bool json;
    char name[MM1_CLI_MODEL_NAME_BYTES]; /* written by mm1_cli_run_benchmarks() */
} mm1_cli_benchmark;

/* Loads a model, and writes how results call it: its folder, and how it reads pictures if not as that says. */
mm1_status mm1_cli_load_model(mm1_model *m, const char *dir, int64_t image_size, int image_mode,
                              char name[MM1_CLI_MODEL_NAME_BYTES], mm1_error *err);

/* Asks and prints. */
mm1_status mm1_cli_run_benchmarks(mm1_cli_benchmark *b, mm1_error *err);
/* Which of them have their files below data_dir, or NULL, where each expects them, stands in the last line. */
void mm1_cli_list_tasks(const char *data_dir);
/* argv[0] is "compare". */
int mm1_cmd_eval_compare(int argc, char **argv);

#endif

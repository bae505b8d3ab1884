/* main.c - the program: a table of commands. */
#include "base/log.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

static const mm1_command commands[] = {
    {"data", "build training data from packages and folders; look at what the model will see", mm1_cmd_data},
    {"tokenizer", "train a tokenizer; text to ids and back", mm1_cmd_tokenizer},
    {"recipe", "what a recipe may say, and what one says", mm1_cmd_recipe},
    {"plan", "what training a recipe will cost: parameters, operations, memory, time", mm1_cmd_plan},
    {"pretrain", "train a model from a recipe", mm1_cmd_pretrain},
    {"sft", "fine-tune a model on conversations", mm1_cmd_sft},
    {"eval", "measure a model on held-out data and public benchmarks", mm1_cmd_eval},
    {"probe", "measure an image encoder alone on a labelled data set", mm1_cmd_probe},
    {"metrics", "score a file of answers as a public benchmark does", mm1_cmd_metrics},
    {"report", "one page about a run: curves, tables, pictures", mm1_cmd_report},
    {"generate", "go on from a prompt of text and images", mm1_cmd_generate},
    {"score", "log-probability of every token of a document", mm1_cmd_score},
    {"encode", "what a model makes of a picture: pixels, features, visual tokens", mm1_cmd_encode},
    {"inspect", "describe a model folder or checkpoint", mm1_cmd_inspect},
    {"convert", "write a model in another form: mm1's, Hugging Face's or llama.cpp's; in another element type",
     mm1_cmd_convert},
    {"average", "make one model out of the last checkpoints of a run: the mean of their weights", mm1_cmd_average},
    {"merge-lora", "make a model out of adapters and their base", mm1_cmd_merge_lora},
    {"upcycle", "make a mixture of experts out of a dense model", mm1_cmd_upcycle},
    {"bench", "how fast this machine trains: matrix product, attention, a step by operator", mm1_cmd_bench},
    {"doctor", "look at this machine and this build, and say what is missing", mm1_cmd_doctor},
    {0},
};

static void print_log(void *ctx, mm1_log_level level, const char *message)
{
    (void)ctx;
    static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
    /* A progress line may stand on the terminal: clear it first. */
    (void)fprintf(stderr, "%s%s%s\n", mm1_cli_is_terminal() ? "\r\033[K" : "", prefixes[level], message);
}

int main(int argc, char **argv)
{
    const char *level = getenv("MM1_LOG");
    mm1_log_set(print_log, NULL,
                level == NULL                   ? MM1_LOG_INFO
                : strcmp(level, "error") == 0   ? MM1_LOG_ERROR
                : strcmp(level, "warning") == 0 ? MM1_LOG_WARN
                : strcmp(level, "debug") == 0   ? MM1_LOG_DEBUG
                                                : MM1_LOG_INFO);
    argp_err_exit_status = 2;
    argp_program_version = "mm1 0.1.0";
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        (void)puts(argp_program_version);
        return 0;
    }
    return mm1_cli_dispatch(
        "mm1", "The whole life of a multimodal language model of the MM1 kind: data, training, evaluation, use.",
        commands, argc, argv);
}

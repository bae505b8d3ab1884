/* cli.h - what the commands share.  A command parses its options, makes one call and prints: results on standard
 * output, everything else on standard error. */
#ifndef MM1_CLI_CLI_H
#define MM1_CLI_CLI_H

#include "tensor/safetensors.h"
#include <argp.h>
#include <jansson.h>
#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef int mm1_command_fn(int argc, char **argv);

/* One row a command; argv[0] of the function is "mm1 <name>". */
typedef struct mm1_command {
    const char *name, *summary;
    mm1_command_fn *run;
} mm1_command;

int mm1_cmd_average(int argc, char **argv);
int mm1_cmd_bench(int argc, char **argv);
int mm1_cmd_convert(int argc, char **argv);
int mm1_cmd_data(int argc, char **argv);
int mm1_cmd_doctor(int argc, char **argv);
int mm1_cmd_encode(int argc, char **argv);
int mm1_cmd_eval(int argc, char **argv);
int mm1_cmd_generate(int argc, char **argv);
int mm1_cmd_inspect(int argc, char **argv);
int mm1_cmd_merge_lora(int argc, char **argv);
int mm1_cmd_metrics(int argc, char **argv);
int mm1_cmd_plan(int argc, char **argv);
int mm1_cmd_pretrain(int argc, char **argv);
int mm1_cmd_probe(int argc, char **argv);
int mm1_cmd_recipe(int argc, char **argv);
int mm1_cmd_report(int argc, char **argv);
int mm1_cmd_score(int argc, char **argv);
int mm1_cmd_sft(int argc, char **argv);
int mm1_cmd_tokenizer(int argc, char **argv);
int mm1_cmd_upcycle(int argc, char **argv);

/* Prints "mm1 <command>: <message>" on failure; returns the exit code that belongs to st. */
int mm1_cli_finish(const char *command, mm1_status st, const mm1_error *err);

/* Runs one of several commands by argv[1]; prints the list for --help or nothing, and the nearest name for a wrong one.
 */
int mm1_cli_dispatch(const char *program, const char *about, const mm1_command *commands, int argc, char **argv);

/* Integers of options: whole text, in [min, max]; on failure prints what is wrong and exits with 2. */
int64_t mm1_cli_int(const struct argp_state *state, const char *option, const char *text, int64_t min, int64_t max);
double mm1_cli_number(const struct argp_state *state, const char *option, const char *text, double min, double max);

/* --image-size: pictures at another resolution than the folder's; 0 where it is not given. */
#define MM1_CLI_IMAGE_SIZE_HELP "side of the pictures in pixels, if not the model's own; positions are interpolated"
int64_t mm1_cli_image_size(const struct argp_state *state, const char *text);
/* --image-mode: the index of the word in mm1_cli_image_modes; -1 where it is not given. */
#define MM1_CLI_IMAGE_MODE_HELP "plain, or subimages: an overview and crops (default: as the model folder says)"
extern const char *const mm1_cli_image_modes[];
int mm1_cli_image_mode(const struct argp_state *state, const char *text);

/* A growing list of option arguments (borrowed). */
typedef struct mm1_cli_list {
    const char **items;
    size_t n;
} mm1_cli_list;
void mm1_cli_list_add(const struct argp_state *state, mm1_cli_list *list, const char *item);
void mm1_cli_list_free(mm1_cli_list *list);

/* f32, bf16 or f16 of the option --dtype; prints what is wrong and exits with 2. */
mm1_dtype mm1_cli_dtype(const struct argp_state *state, const char *text);

/* Prints an object that is no longer needed, on standard output; flags are jansson's.  MM1_E_NOMEM for NULL. */
mm1_status mm1_cli_print_json(json_t *root, size_t flags, mm1_error *err);

/* Size and path of a file, or of every file of a folder. */
mm1_status mm1_cli_print_files(const char *path, mm1_error *err);

/* Standard error is a terminal that may be redrawn. */
bool mm1_cli_is_terminal(void);
/* How far a long task has come, on standard error: a line that moves on a terminal, else one at the end of a task. */
typedef struct mm1_cli_progress {
    bool terminal;
    double next; /* time of the next line */
} mm1_cli_progress;
mm1_cli_progress mm1_cli_progress_make(void);
/* ctx: an mm1_cli_progress. */
void mm1_cli_progress_print(void *ctx, const char *task, int64_t done, int64_t total);
/* "2h13m", "45s" */
void mm1_cli_duration(char *text, size_t cap, double seconds);
/* "12.3M" */
void mm1_cli_count(char *text, size_t cap, double n);

#endif

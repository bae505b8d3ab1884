/* cmd_report.c - mm1 report: a page about a run, out of its folder and what `mm1 eval` and `mm1 data build` wrote. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include "study/report.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct argp_option options[] = {
    {"run", 'r', "DIR", 0, "run folder of `mm1 pretrain`", 0},
    {"eval", 'e', "DIR", 0, "output folder of `mm1 eval`", 0},
    {"data", 'd', "DIR", 0, "output folder of `mm1 data build`", 0},
    {"title", 't', "TEXT", 0, "title of the page", 0},
    {"output", 'o', "DIR", 0, "where report.html and report.json go (default: the run folder)", 0},
    {0},
};

typedef struct args {
    const char *run, *eval, *data, *title, *output;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'r': a->run = arg; break;
    case 'e': a->eval = arg; break;
    case 'd': a->data = arg; break;
    case 't': a->title = arg; break;
    case 'o': a->output = arg; break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" belongs to no option", arg); break;
    case ARGP_KEY_END:
        if (a->run == NULL) {
            argp_error(state, "--run is wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Sizes of the model in the newest checkpoint; zeros if there is none. */
static void plan_of(const char *run, mm1_report_plan *plan)
{
    mm1_model_config config;
    mm1_model m;
    mm1_error err = {0};
    char *dir = mm1_path_join(run, "checkpoints/latest");
    if (dir != NULL && mm1_model_config_read(&config, dir, &err) == MM1_OK &&
        mm1_model_init(&m, &config, &err) == MM1_OK) {
        plan->vision = mm1_params_count(&m.params, MM1_GROUP_VISION);
        plan->connector = mm1_params_count(&m.params, MM1_GROUP_CONNECTOR);
        plan->decoder = mm1_params_count(&m.params, MM1_GROUP_DECODER);
        plan->parameters = mm1_params_count(&m.params, MM1_GROUP_COUNT);
        plan->active_parameters = plan->parameters;
        plan->image_px = config.vision.image_size;
        plan->image_tokens = mm1_model_config_n_visual(&config);
        plan->context_tokens = config.decoder.max_positions;
        plan->vocabulary = config.decoder.vocab_size;
        mm1_model_deinit(&m);
    }
    mm1_free(dir);
}

/* "AMD EPYC, 2 CPUs" */
static void machine_name(char *text, size_t cap)
{
    const char *name = "unknown CPU";
    size_t len = strlen(name);
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            name = strchr(line, ':') + 2;
            len = strcspn(name, "\n");
            break;
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    (void)snprintf(text, cap, "%.*s, %ld CPUs", (int)len, name, sysconf(_SC_NPROCESSORS_ONLN));
}

int mm1_cmd_report(int argc, char **argv)
{
    const struct argp argp = {
        options, parse, NULL, "Writes report.html, one self-contained page about a run, and report.json, its figures.",
        NULL,    NULL,  NULL};
    static const char *const commands[] = {"make demo"};
    args a = {0};
    mm1_error err = {0};
    char machine[320], date[32] = "";
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    const time_t now = time(NULL);
    struct tm day;
    if (localtime_r(&now, &day) != NULL) {
        (void)strftime(date, sizeof date, "%Y-%m-%d", &day);
    }
    machine_name(machine, sizeof machine);
    char *results = a.eval != NULL ? mm1_path_join(a.eval, "results.json") : NULL;
    char *samples = a.eval != NULL ? mm1_path_join(a.eval, "samples.jsonl") : NULL;
    char *summary = a.data != NULL ? mm1_path_join(a.data, "summary.json") : NULL;
    mm1_report_input in = {.out_dir = a.output != NULL ? a.output : a.run,
                           .title = a.title,
                           .run_dir = a.run,
                           .results_path = results,
                           .samples_path = samples,
                           .data_summary_path = summary,
                           .commands = commands,
                           .n_commands = sizeof commands / sizeof *commands,
                           .machine = machine,
                           .date = date};
    plan_of(a.run, &in.plan);
    const mm1_status st = mm1_report_write(&in, &err);
    if (st == MM1_OK) {
        (void)printf("%s/report.html\n", in.out_dir);
    }
    mm1_free(results);
    mm1_free(samples);
    mm1_free(summary);
    return mm1_cli_finish("report", st, &err);
}

/* cmd_metrics.c - mm1 metrics: options, one call, a few lines. */
#include "cli/cli.h"

#include "eval/metric.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static const char doc[] =
    "Scores predictions against references, both in the formats of the benchmarks' own files; no model is needed. NAME "
    "is "
    "cider, bleu4, rougel (COCO), vqa (VQAv2 and its kin), anls (DocVQA), relaxed (ChartQA), pope or mme.\v"
    "The formats are listed in docs/formats.md.  A score is of the items that have both a prediction and a reference; "
    "what "
    "is missing, unknown, double or malformed is counted beside it.";

static const struct argp_option options[] = {
    {"predictions", 'p', "FILE", 0, "what a model answered", 0},
    {"references", 'r', "FILE", 0, "what people answered", 0},
    {"items", 'i', "FILE", 0, "write a line {id, score} of each item there", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

typedef struct args {
    const char *name, *predictions, *references, *items;
    bool json;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'p': a->predictions = arg; break;
    case 'r': a->references = arg; break;
    case 'i': a->items = arg; break;
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_error(state, "one NAME is wanted, \"%s\" is one more", arg);
        }
        a->name = arg;
        break;
    case ARGP_KEY_END:
        if (a->name == NULL || !mm1_metric_exists(a->name)) {
            argp_error(state, "a NAME is wanted: cider, bleu4, rougel, vqa, anls, relaxed, pope or mme");
        }
        if (a->predictions == NULL || a->references == NULL) {
            argp_error(state, "--predictions and --references are wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void print_text(const char *name, const mm1_metric_result *r)
{
    (void)printf("%-14s %9.3f", name, r->score.value);
    if (!isnan(r->score.low)) {
        (void)printf("  [%.3f, %.3f]", r->score.low, r->score.high);
    }
    (void)printf("  of %lld items\n", (long long)r->n);
    for (int i = 0; i < r->n_parts; i++) {
        (void)printf("  %-12s %9.3f\n", r->parts[i].name, r->parts[i].value);
    }
    const struct {
        const char *text;
        int64_t n;
    } counts[] = {{"references without a prediction", r->missing},
                  {"predictions without a reference", r->unknown},
                  {"second predictions of an item, not used", r->duplicates},
                  {"malformed records, left out", r->malformed}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i].n > 0) {
            (void)printf("%lld %s\n", (long long)counts[i].n, counts[i].text);
        }
    }
}

static mm1_status print_json(const char *name, const mm1_metric_result *r, mm1_error *err)
{
    json_t *root = json_pack("{s:s, s:f, s:I, s:I, s:I, s:I, s:I}", "metric", name, "score", r->score.value, "n",
                             (json_int_t)r->n, "missing", (json_int_t)r->missing, "unknown", (json_int_t)r->unknown,
                             "duplicates", (json_int_t)r->duplicates, "malformed", (json_int_t)r->malformed);
    if (!isnan(r->score.low)) {
        (void)json_object_set_new(root, "low", json_real(r->score.low));
        (void)json_object_set_new(root, "high", json_real(r->score.high));
    }
    for (int i = 0; i < r->n_parts; i++) {
        (void)json_object_set_new(root, r->parts[i].name, json_real(r->parts[i].value));
    }
    return mm1_cli_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12), err);
}

int mm1_cmd_metrics(int argc, char **argv)
{
    const struct argp argp = {options, parse, "NAME", doc, NULL, NULL, NULL};
    args a = {0};
    mm1_error err = {0};
    mm1_metric_result r;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_status st = mm1_metric_run(a.name, a.predictions, a.references, a.items, &r, &err);
    if (st == MM1_OK) {
        if (a.json) {
            st = print_json(a.name, &r, &err);
        } else {
            print_text(a.name, &r);
        }
    }
    return mm1_cli_finish("metrics", st, &err);
}

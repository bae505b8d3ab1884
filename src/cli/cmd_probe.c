/* cmd_probe.c - mm1 probe: options, one call, a table. */
#include "cli/cli.h"

#include "base/thread.h"
#include "eval/encoder_probe.h"
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
    "Measures the image encoder of a model as it is: a linear probe and nearest neighbours on its frozen features, on "
    "a labelled data set.\vThe L2 penalty is chosen on a part of the training pictures.  Each share comes with a 95 % "
    "bootstrap interval over test pictures.";

static const struct argp_option options[] = {
    {"model", 'm', "DIR", 0, "model folder of any kind that has an encoder", 0},
    {"dataset", 'D', "NAME", 0, "fashion-mnist", 0},
    {"data", 'd', "DIR", 0, "folder with its idx files (default: where its Debian package lies)", 0},
    {"cells", 'c', "N", 0, "features are means over N x N parts of the picture (default: 1, all patches)", 0},
    {"pixels", 'p', NULL, 0, "measure raw pixels too", 0},
    {"limit", 'l', "N", 0, "pictures of each split at most (default: all)", 0},
    {"seed", 's', "N", 0, "of the choice of pictures (default: 0)", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {"threads", 'T', "N", 0, "compute threads", 0},
    {0},
};

typedef struct args {
    const char *model;
    mm1_probe_options o;
    int threads;
    bool json;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'm': a->model = arg; break;
    case 'D': a->o.dataset = arg; break;
    case 'd': a->o.data_dir = arg; break;
    case 'c': a->o.cells = mm1_cli_int(state, "--cells", arg, 1, 1024); break;
    case 'p': a->o.pixels = true; break;
    case 'l': a->o.limit = mm1_cli_int(state, "--limit", arg, 1, INT64_MAX); break;
    case 's': a->o.seed = (uint64_t)mm1_cli_int(state, "--seed", arg, 0, INT64_MAX); break;
    case 'j': a->json = true; break;
    case 'T': a->threads = (int)mm1_cli_int(state, "--threads", arg, 1, 1024); break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" belongs to no option", arg); break;
    case ARGP_KEY_END:
        if (a->model == NULL || a->o.dataset == NULL) {
            argp_error(state, "%s is wanted", a->model == NULL ? "--model" : "--dataset");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static volatile int stop;

static void on_interrupt(int sig)
{
    stop = 1;
    (void)signal(sig, SIG_DFL);
}

static void row(const char *name, const mm1_interval *i)
{
    (void)printf("  %-20s %6.2f %%  [%.2f, %.2f]\n", name, 100 * i->value, 100 * i->low, 100 * i->high);
}

static void print_scores(const char *name, const mm1_probe_scores *s)
{
    (void)printf("%s, %lld numbers a picture\n", name, (long long)s->width);
    row("linear probe", &s->linear);
    row("nearest neighbours", &s->neighbours);
    (void)printf("  l2 %g, %lld steps of L-BFGS; %d neighbours by cosine\n", s->l2, (long long)s->n_steps,
                 MM1_PROBE_NEIGHBOURS);
}

static void print_table(const mm1_probe_results *r, const char *dataset)
{
    (void)printf("%s: %lld classes, %lld training and %lld test pictures\n", dataset, (long long)r->n_classes,
                 (long long)r->n_train, (long long)r->n_test);
    print_scores("encoder", &r->features);
    if (r->pixels.width > 0) {
        print_scores("raw pixels", &r->pixels);
    }
}

static json_t *interval_json(const mm1_interval *i)
{
    return json_pack("{s:f, s:f, s:f}", "accuracy", i->value, "low", i->low, "high", i->high);
}

static json_t *scores_json(const mm1_probe_scores *s)
{
    if (s->width == 0) {
        return json_null();
    }
    return json_pack("{s:I, s:o, s:f, s:I, s:o}", "width", (json_int_t)s->width, "linear", interval_json(&s->linear),
                     "l2", s->l2, "steps", (json_int_t)s->n_steps, "neighbours", interval_json(&s->neighbours));
}

static mm1_status print_json(const mm1_probe_results *r, const args *a, mm1_error *err)
{
    json_t *root =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:o, s:o}", "model", a->model, "dataset", a->o.dataset, "cells",
                  (json_int_t)(a->o.cells > 0 ? a->o.cells : 1), "classes", (json_int_t)r->n_classes, "n_train",
                  (json_int_t)r->n_train, "n_test", (json_int_t)r->n_test, "k", MM1_PROBE_NEIGHBOURS, "encoder",
                  scores_json(&r->features), "pixels", scores_json(&r->pixels));
    return mm1_cli_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6), err);
}

int mm1_cmd_probe(int argc, char **argv)
{
    const struct argp argp = {options, parse, "--model DIR --dataset NAME", doc, NULL, NULL, NULL};
    mm1_cli_progress p = mm1_cli_progress_make();
    args a = {.o = {.on_progress = mm1_cli_progress_print, .ctx = &p, .stop = &stop}};
    mm1_model model = {0};
    mm1_probe_results results;
    mm1_error err = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    (void)signal(SIGINT, on_interrupt);

    mm1_threads_set(a.threads);
    mm1_status st = mm1_kernels_init(NULL, &err);
    st = st != MM1_OK ? st : mm1_model_load(&model, a.model, false, &err);
    st = st != MM1_OK ? st : mm1_probe_run(&model, &a.o, &results, &err);
    if (st == MM1_OK && a.json) {
        st = print_json(&results, &a, &err);
    } else if (st == MM1_OK) {
        print_table(&results, a.o.dataset);
    }
    mm1_model_deinit(&model);
    return mm1_cli_finish("probe", st, &err);
}

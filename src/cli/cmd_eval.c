/* cmd_eval.c - mm1 eval: options, one call, a table. */
#include "cli/cli.h"

#include "base/buf.h"
#include "base/thread.h"
#include "eval/heldout.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] = "Measures a model on held-out data that `mm1 data build` made.\v"
                          "Tasks: captions (loss with the true picture, another one, none), choice10 (the right "
                          "caption of ten by likelihood, of kind clip by similarity), cider "
                          "(captions written after 0, 4 and 8 demonstrations from the training split), text (bits a "
                          "byte).  Every figure comes with "
                          "a 95 % bootstrap interval over items.";

static const struct argp_option options[] = {
    {"model", 'm', "DIR", 0, "model folder", 0},
    {"tasks", 't', "NAME,...", 0, "captions, choice10, cider, text (default: all that the kind of model can do)", 0},
    {"data", 'd', "DIR", 0, "folder of `mm1 data build` (default: out/demo/data)", 0},
    {"shots", 'k', "N,...", 0, "demonstrations for cider: of 0, 4, 8 (default: all)", 0},
    {"limit", 'l', "N", 0, "items of each task at most (default: all)", 0},
    {"seed", 's', "N", 0, "of the choice of items, strangers and demonstrations (default: 0)", 0},
    {"output", 'o', "DIR", 0, "write results.json, samples.jsonl and pictures there", 0},
    {"json", 'j', NULL, 0, "print results.json rather than a table", 0},
    {"image-size", 'r', "PX", 0, MM1_CLI_IMAGE_SIZE_HELP, 0},
    {"threads", 'T', "N", 0, "compute threads", 0},
    {0},
};

typedef struct args {
    const char *model;
    mm1_eval_options o;
    int64_t image_size;
    int threads;
    bool json;
} args;

static void parse_tasks(const struct argp_state *state, args *a, const char *text)
{
    memset(a->o.tasks, 0, sizeof a->o.tasks);
    for (const char *p = text; *p != '\0';) {
        const size_t len = strcspn(p, ",");
        int found = -1;
        for (int i = 0; i < MM1_TASK_COUNT; i++) {
            if (strlen(mm1_eval_task_names[i]) == len && strncmp(mm1_eval_task_names[i], p, len) == 0) {
                found = i;
            }
        }
        if (found < 0) {
            argp_error(state, "--tasks %s: \"%.*s\" is none of captions, choice10, cider, text", text, (int)len, p);
            return;
        }
        a->o.tasks[found] = true;
        p += len + (p[len] == ',');
    }
}

static void parse_shots(const struct argp_state *state, args *a, const char *text)
{
    memset(a->o.shots, 0, sizeof a->o.shots);
    for (const char *p = text; *p != '\0';) {
        char *end = NULL;
        const long n = strtol(p, &end, 10);
        int found = -1;
        for (int i = 0; i < MM1_EVAL_N_SHOTS; i++) {
            found = end != p && mm1_eval_shots[i] == n ? i : found;
        }
        if (found < 0 || (*end != ',' && *end != '\0')) {
            argp_error(state, "--shots %s: a list of 0, 4 and 8 is wanted", text);
            return;
        }
        a->o.shots[found] = true;
        p = end + (*end == ',');
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'm': a->model = arg; break;
    case 't': parse_tasks(state, a, arg); break;
    case 'd': a->o.data_dir = arg; break;
    case 'k': parse_shots(state, a, arg); break;
    case 'l': a->o.limit = mm1_cli_int(state, "--limit", arg, 1, INT64_MAX); break;
    case 's': a->o.seed = (uint64_t)mm1_cli_int(state, "--seed", arg, 0, INT64_MAX); break;
    case 'o': a->o.output_dir = arg; break;
    case 'j': a->json = true; break;
    case 'r': a->image_size = mm1_cli_image_size(state, arg); break;
    case 'T': a->threads = (int)mm1_cli_int(state, "--threads", arg, 1, 1024); break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" belongs to no option", arg); break;
    case ARGP_KEY_END:
        if (a->model == NULL) {
            argp_error(state, "--model is wanted, for example out/demo/run/checkpoints/latest");
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

static void row(const char *name, const mm1_interval *i, double scale, const char *unit, int64_t n)
{
    if (isfinite(i->value)) {
        (void)printf("%-34s %8.3f  [%.3f, %.3f]  %-16s n %lld\n", name, scale * i->value, scale * i->low,
                     scale * i->high, unit, (long long)n);
    }
}

static void print_table(const mm1_eval_results *r)
{
    row("caption loss, true picture", &r->caption_nll[MM1_PICTURE_TRUE], 1, "nats a token", r->n_captions);
    row("caption loss, another picture", &r->caption_nll[MM1_PICTURE_SHUFFLED], 1, "nats a token", r->n_captions);
    row("caption loss, no picture", &r->caption_nll[MM1_PICTURE_NONE], 1, "nats a token", r->n_captions);
    row("  another minus true", &r->caption_nll_difference[MM1_PICTURE_SHUFFLED], 1, "nats a token", r->n_captions);
    row("  none minus true", &r->caption_nll_difference[MM1_PICTURE_NONE], 1, "nats a token", r->n_captions);
    row("right caption of ten", &r->choice10, 100, "% (chance 10)", r->n_choice10);
    row("  all ten of the same source", &r->choice10_same_source, 100, "% (chance 10)", r->n_choice10_same_source);
    row("right caption of ten, by gain", &r->choice10_gain, 100, "% (chance 10)", r->n_choice10);
    row("  all ten of the same source", &r->choice10_gain_same_source, 100, "% (chance 10)", r->n_choice10_same_source);
    for (int s = 0; s < MM1_EVAL_N_SHOTS; s++) {
        char name[32];
        (void)snprintf(name, sizeof name, "CIDEr-D, %d shots", mm1_eval_shots[s]);
        row(name, &r->cider[s], 1, "0..10", r->n_cider);
    }
    row("text", &r->text_bits_per_byte, 1, "bits a byte", r->n_text_bytes);
}

static mm1_status print_json(const mm1_eval_results *r, mm1_error *err)
{
    json_t *heldout = mm1_eval_results_heldout(r);
    char *text = heldout != NULL ? json_dumps(heldout, JSON_INDENT(2)) : NULL;
    mm1_status st = MM1_OK;
    if (text != NULL) {
        (void)printf("%s\n", text);
    } else {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the results");
    }
    free(text);
    json_decref(heldout);
    return st;
}

int mm1_cmd_eval(int argc, char **argv)
{
    const struct argp argp = {options, parse, NULL, doc, NULL, NULL, NULL};
    mm1_cli_progress p = mm1_cli_progress_make();
    args a = {.o = mm1_eval_options_default()};
    mm1_model model = {0};
    mm1_eval_results results = {0};
    mm1_error err = {0};
    a.o.on_progress = mm1_cli_progress_print;
    a.o.ctx = &p;
    a.o.stop = &stop;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    (void)signal(SIGINT, on_interrupt);

    mm1_threads_set(a.threads);
    mm1_status st = mm1_kernels_init(NULL, &err);
    st = st != MM1_OK ? st : mm1_model_load_at(&model, a.model, a.image_size, false, &err);
    char name[4200];
    a.o.model_name = a.model;
    if (a.image_size > 0) { /* the results say that it was not the model's own size */
        (void)snprintf(name, sizeof name, "%s at %lld px", a.model, (long long)a.image_size);
        a.o.model_name = name;
    }
    st = st != MM1_OK ? st : mm1_eval_run(&model, &a.o, &results, &err);
    if (st == MM1_OK && a.json) {
        st = print_json(&results, &err);
    } else if (st == MM1_OK) {
        print_table(&results);
    }
    mm1_eval_results_deinit(&results);
    mm1_model_deinit(&model);
    return mm1_cli_finish("eval", st, &err);
}

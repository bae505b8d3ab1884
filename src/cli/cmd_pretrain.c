/* cmd_pretrain.c - mm1 pretrain and mm1 sft: options, one call, a progress line. */
#include "cli/cli.h"

#include "train/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
    "Trains a model from RECIPE and writes checkpoints, metrics and TensorBoard events into the run folder.\v"
    "Interrupting once (Ctrl-C) saves a checkpoint and stops; a second time stops at once.  The same command "
    "goes on where the run stopped.";

static const char sft_doc[] =
    "Fine-tunes the model that init.model of RECIPE names on conversations: what is learned are the answers.  Writes "
    "checkpoints, metrics and TensorBoard events into the run folder.\v"
    "Interrupting once (Ctrl-C) saves a checkpoint and stops; a second time stops at once.  The same command "
    "goes on where the run stopped.  `mm1 generate --chat` talks to a checkpoint by the template it was trained with.";

static const struct argp_option options[] = {
    {"run", 'r', "DIR", 0, "run folder (default: runs/<name of the recipe>)", 0},
    {"resume", 'R', "auto|never|DIR", 0, "go on from the newest checkpoint (default), refuse to, or from a given one",
     0},
    {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
    {"quiet", 'q', NULL, 0, "no progress", 0},
    {0},
};

typedef struct args {
    const char *recipe, *run, *resume;
    mm1_cli_list set;
    bool quiet;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'r': a->run = arg; break;
    case 'R': a->resume = arg; break;
    case 's': mm1_cli_list_add(state, &a->set, arg); break;
    case 'q': a->quiet = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_error(state, "one RECIPE is wanted, \"%s\" is one more", arg);
        }
        a->recipe = arg;
        break;
    case ARGP_KEY_END:
        if (a->recipe == NULL) {
            argp_error(state, "a RECIPE is wanted, for example recipes/smoke.yaml");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static volatile sig_atomic_t stop;

static void on_interrupt(int sig)
{
    stop = 1;
    (void)signal(sig, SIG_DFL); /* the second one ends the program */
}

typedef struct printer {
    int64_t every;
    bool terminal;
} printer;

static void print_step(void *ctx, const mm1_train_progress *p)
{
    const printer *to = ctx;
    const bool last = p->step == p->n_steps;
    if (!to->terminal && p->step % to->every != 0 && p->step != 1 && !last) {
        return;
    }
    char eta[32], rate[32], more[256] = "";
    for (int64_t i = 0, at = 0; i < p->report->n_values && at < (int64_t)sizeof more; i++) {
        at += snprintf(more + at, sizeof more - (size_t)at, "  %s %.3g", p->report->values[i].name,
                       p->report->values[i].value);
    }
    mm1_cli_duration(eta, sizeof eta, p->eta_seconds);
    mm1_cli_count(rate, sizeof rate, p->tokens_per_second);
    (void)fprintf(
        stderr,
        "%sstep %lld/%lld  loss %.3f%s  lr %.2e  gnorm %.2f  tok/s %s  img/s %.1f  mfu %.0f%%  wait %.1f%%  eta %s%s",
        to->terminal ? "\r\033[K" : "", (long long)p->step, (long long)p->n_steps, p->loss, more, p->lr, p->grad_norm,
        rate, p->images_per_second, 100 * p->mfu, 100 * p->wait_seconds / p->step_seconds, eta,
        to->terminal && !last ? "" : "\n");
    (void)fflush(stderr);
}

static char *default_run(const char *name)
{
    const size_t len = strlen(name) + sizeof "runs/";
    char *dir = malloc(len);
    if (dir != NULL) {
        (void)snprintf(dir, len, "runs/%s", name);
    }
    return dir;
}

/* What fine-tuning cannot do without. */
static mm1_status check_sft(const mm1_recipe *r, mm1_error *err)
{
    if (r->init.model == NULL) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "init.model: not set; name the model to fine-tune, a folder or a GGUF file");
    }
    if (!mm1_recipe_has_conversations(r)) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "data.sources: none is of kind conversations; `mm1 pretrain` trains on "
                             "other kinds alone");
    }
    if (isnan(r->train.lr_peak)) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "train.lr_peak: the law is one of pre-training; set a rate, as 1e-5, which MM1 was "
                             "fine-tuned with");
    }
    return MM1_OK;
}

static int train_from(int argc, char **argv, bool is_sft)
{
    const struct argp argp = {options, parse, "RECIPE", is_sft ? sft_doc : doc, NULL, NULL, NULL};
    args a = {.resume = "auto"};
    mm1_error err = {0};
    mm1_recipe recipe;
    mm1_train_result result = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    if (st == MM1_OK) {
        char *run = a.run == NULL ? default_run(recipe.name) : NULL;
        printer to = {.every = recipe.train.log_every, .terminal = mm1_cli_is_terminal()};
        const mm1_train_options o = {.run_dir = a.run != NULL ? a.run : run,
                                     .resume = strcmp(a.resume, "auto") == 0    ? MM1_RESUME_AUTO
                                               : strcmp(a.resume, "never") == 0 ? MM1_RESUME_NEVER
                                                                                : MM1_RESUME_FROM,
                                     .resume_dir = a.resume,
                                     .stop = &stop,
                                     .on_step = a.quiet ? NULL : print_step,
                                     .ctx = &to};
        (void)signal(SIGINT, on_interrupt);
        (void)signal(SIGTERM, on_interrupt);
        st = is_sft ? check_sft(&recipe, &err) : MM1_OK;
        st = st != MM1_OK ? st : mm1_train(&recipe, &o, &result, &err);
        if (st == MM1_OK) {
            char time[32], tokens[32], rate[32];
            mm1_cli_duration(time, sizeof time, result.seconds);
            mm1_cli_count(tokens, sizeof tokens, (double)result.tokens);
            mm1_cli_count(rate, sizeof rate, result.gemm_flops);
            (void)fprintf(
                stderr,
                "done: %lld steps, %s positions, %lld images in %s; %.0f%% of the matrix product's %sFLOP/s; the "
                "loader was waited for %.2f%% of the time\n",
                (long long)result.steps, tokens, (long long)result.images, time, 100 * result.mfu, rate,
                result.seconds > 0 ? 100 * result.wait_seconds / result.seconds : 0.0);
            (void)printf("%s/checkpoints/latest\n", o.run_dir);
        } else if (to.terminal && !a.quiet) {
            (void)fputc('\n', stderr);
        }
        free(run);
        mm1_recipe_deinit(&recipe);
    }
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish(is_sft ? "sft" : "pretrain", st, &err);
}

int mm1_cmd_pretrain(int argc, char **argv)
{
    return train_from(argc, argv, false);
}

int mm1_cmd_sft(int argc, char **argv)
{
    return train_from(argc, argv, true);
}

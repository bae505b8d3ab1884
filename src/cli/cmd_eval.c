/* cmd_eval.c - mm1 eval: options, one call, a table. */
#include "cli/cmd_eval.h"
#include "cli/cli.h"

#include "base/buf.h"
#include "base/thread.h"
#include "eval/heldout.h"
#include "eval/task_group.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
    "Measures a model: on held-out data that `mm1 data build` made, and on public benchmarks.\n"
    "`mm1 eval compare A B` compares two evaluations (folders or samples.jsonl) item by item.\v"
    "Tasks on held-out data: captions (loss with the true picture, another one, none), choice10 (the right caption of "
    "ten by likelihood, of kind clip by similarity), cider (captions written after 0, 4 and 8 demonstrations from the "
    "training split), text (bits a byte).  --list-tasks shows the benchmarks; docs/eval.md says where their files are "
    "had and how a YAML file adds one.  Every figure that is a mean comes with a 95 % bootstrap interval over items.";

enum {
    OPT_LIST = 256,
    OPT_IMAGE_MODE,
    OPT_SEEDS,
    OPT_SHOW,
    OPT_URL,
    OPT_SHOT_CHOICE,
    OPT_POOL,
    OPT_SUBIMAGES,
    OPT_PICTURES,
    OPT_CHOOSE,
    OPT_CHAT,
    OPT_TEMPLATE,
    OPT_COT,
    OPT_VOTES,
    OPT_TEMPERATURE,
    OPT_MAX_TOKENS,
    OPT_MAX_IMAGES
};

static const struct argp_option options[] = {
    {"model", 'm', "DIR", 0, "model folder; with --base-url: the name that the server knows", 0},
    {"tasks", 't', "NAME,...", 0,
     "captions, choice10, cider, text (default: all that the kind of model can do), or benchmarks by name, by group "
     "(textcore, fewshot) or by the path of a YAML file",
     0},
    {"list-tasks", OPT_LIST, NULL, 0, "print the benchmarks and the files they read", 0},
    {"data", 'd', "DIR", 0,
     "folder of `mm1 data build` (default: out/demo/data), or of benchmarks (default: benchmarks)", 0},
    {"shots", 'k', "N,...", 0, "demonstrations (default: 0; cider: of 0, 4, 8, all)", 0},
    {"limit", 'l', "N", 0, "items of each task at most (default: all)", 0},
    {"seed", 's', "N", 0, "of the choice of items, strangers and demonstrations (default: 0)", 0},
    {"output", 'o', "DIR", 0, "write results.json, samples.jsonl and pictures there", 0},
    {"json", 'j', NULL, 0, "print results.json rather than a table", 0},
    {"image-size", 'r', "PX", 0, MM1_CLI_IMAGE_SIZE_HELP, 0},
    {"image-mode", OPT_IMAGE_MODE, "MODE", 0, MM1_CLI_IMAGE_MODE_HELP, 0},
    {"threads", 'T', "N", 0, "compute threads", 0},
    {NULL, 0, NULL, 0, "Benchmarks alone:", 1},
    {"seeds", OPT_SEEDS, "N", 0, "draw demonstrations N times and report the mean (default: 1)", 1},
    {"batch-size", 'b', "N", 0, "prompts at once; changes speed, not a bit of the scores (default: 16)", 1},
    {"show-prompts", OPT_SHOW, "N", 0,
     "print what the model reads for the first N items (0 demonstrations really are none)", 1},
    {"base-url", OPT_URL, "URL", 0,
     "ask an OpenAI-compatible server, e.g. http://localhost:8080/v1, instead of a model", 1},
    {"shot-choice", OPT_SHOT_CHOICE, "HOW", 0, "random for each item (default), fixed for all, or similar pictures", 1},
    {"shot-pool", OPT_POOL, "N", 0, "candidates for similar pictures; 0: all (default: 1000)", 1},
    {"subimage-shots", OPT_SUBIMAGES, "N", 0,
     "show the pictures of the last N demonstrations with all their crops, earlier ones as an overview (default: all "
     "with crops)",
     1},
    {"pictures", OPT_PICTURES, "WHICH", 0,
     "what an item shows: true (default); a control of whether it is looked at: shuffled (another item's) or none", 1},
    {"choose-by", OPT_CHOOSE, "HOW", 0, "multiple choice by likelihood or by letter (default: as the benchmark has it)",
     1},
    {"chat", OPT_CHAT, NULL, 0, "put prompts as messages, by the chat template of the model folder", 1},
    {"chat-template", OPT_TEMPLATE, "NAME", 0, "by this one", 1},
    {"cot", OPT_COT, NULL, 0, "chain of thought: demonstrations show their rationale, answers stand behind a marker",
     1},
    {"votes", OPT_VOTES, "N", 0, "draw N answers and take the most frequent (default: 1, greedy)", 1},
    {"temperature", OPT_TEMPERATURE, "T", 0, "of votes (default: 0.7)", 1},
    {"max-tokens", OPT_MAX_TOKENS, "N", 0, "of an answer (default: as the benchmark has it)", 1},
    {"max-images", OPT_MAX_IMAGES, "N", 0, "let a prompt hold N pictures (default: as many as the model folder says)",
     1},
    {0},
};

typedef struct args {
    const char *model;
    mm1_eval_options o;      /* held-out tasks */
    mm1_cli_benchmark bench; /* benchmarks */
    mm1_cli_list tasks;
    int64_t shots[MM1_BENCH_MAX_SHOTS];
    size_t n_shots;
    bool has_bench_option, lists;
    int64_t image_size;
    int image_mode, threads; /* image_mode -1: as the folder says */
    bool json;
} args;

static void parse_tasks(const struct argp_state *state, args *a, char *text)
{
    for (char *p = text, *comma = NULL; p != NULL && *p != '\0'; p = comma != NULL ? comma + 1 : NULL) {
        comma = strchr(p, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        const mm1_task_group *group = mm1_task_group_find(p);
        for (size_t i = 0; group != NULL && group->tasks[i] != NULL; i++) {
            mm1_cli_list_add(state, &a->tasks, group->tasks[i]);
        }
        if (group == NULL) {
            mm1_cli_list_add(state, &a->tasks, p);
        }
    }
}

static void parse_shots(const struct argp_state *state, args *a, const char *text)
{
    a->n_shots = 0;
    for (const char *p = text; *p != '\0';) {
        char *end = NULL;
        const long n = strtol(p, &end, 10);
        if (end == p || n < 0 || n > 1024 || (*end != ',' && *end != '\0') || a->n_shots == MM1_BENCH_MAX_SHOTS) {
            argp_error(state, "--shots %s: a list of numbers from 0 to 1024 is wanted, such as 0,4,8", text);
            return;
        }
        a->shots[a->n_shots++] = n;
        p = end + (*end == ',');
    }
}

static int parse_word(const struct argp_state *state, const char *option, const char *text, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            return i;
        }
    }
    argp_error(state, "%s: \"%s\" is none of its words; see --help", option, text);
    return 0;
}

/* Which tasks are meant: those on held-out data, or benchmarks; both at once would write over each other's files. */
static void settle_tasks(const struct argp_state *state, args *a)
{
    size_t n_heldout = 0;
    memset(a->o.tasks, 0, sizeof a->o.tasks);
    for (size_t t = 0; t < a->tasks.n; t++) {
        for (int i = 0; i < MM1_TASK_COUNT; i++) {
            if (strcmp(mm1_eval_task_names[i], a->tasks.items[t]) == 0) {
                a->o.tasks[i] = true;
                n_heldout++;
            }
        }
    }
    if (n_heldout > 0 && n_heldout < a->tasks.n) {
        argp_error(state, "--tasks: captions, choice10, cider and text are measured in a run of their own");
    }
    a->bench.o.tasks = a->tasks.items;
    a->bench.o.n_tasks = n_heldout > 0 ? 0 : a->tasks.n;
    if (a->bench.o.n_tasks == 0 && a->has_bench_option) {
        argp_error(state,
                   "--base-url, --seeds, --batch-size, --show-prompts, --chat and the like are for benchmarks; name "
                   "some with --tasks (--list-tasks shows them)");
    }
    for (size_t i = 0; i < a->n_shots && a->bench.o.n_tasks == 0; i++) {
        int found = -1;
        for (int s = 0; s < MM1_EVAL_N_SHOTS; s++) {
            found = mm1_eval_shots[s] == a->shots[i] ? s : found;
            a->o.shots[s] = i > 0 && a->o.shots[s];
        }
        if (found < 0) {
            argp_error(state, "--shots: of 0, 4 and 8 for cider");
            return;
        }
        a->o.shots[found] = true;
    }
    if (a->n_shots > 0) {
        memcpy(a->bench.o.shots, a->shots, sizeof a->shots);
        a->bench.o.n_shots = a->n_shots;
    }
}

/* Is something wanted that a server would never hear of? */
static bool is_of_a_folder(const args *a)
{
    return a->image_size > 0 || a->image_mode >= 0 || a->bench.max_images > 0 || a->bench.o.n_whole >= 0 ||
           a->bench.chat_template != NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    mm1_benchmark_options *b = &a->bench.o;
    a->has_bench_option = a->has_bench_option || (key >= OPT_SEEDS && key <= OPT_MAX_IMAGES) || key == 'b';
    switch (key) {
    case 'm': a->model = arg; break;
    case 't': parse_tasks(state, a, arg); break;
    case 'd': a->o.data_dir = b->data_dir = arg; break;
    case 'k': parse_shots(state, a, arg); break;
    case 'l': a->o.limit = b->limit = mm1_cli_int(state, "--limit", arg, 1, INT64_MAX); break;
    case 's': a->o.seed = b->seed = (uint64_t)mm1_cli_int(state, "--seed", arg, 0, INT64_MAX); break;
    case 'o': a->o.output_dir = b->output_dir = arg; break;
    case 'j': a->json = true; break;
    case 'r': a->image_size = mm1_cli_image_size(state, arg); break;
    case OPT_IMAGE_MODE: a->image_mode = mm1_cli_image_mode(state, arg); break;
    case 'T': a->threads = (int)mm1_cli_int(state, "--threads", arg, 1, 1024); break;
    case 'b': a->bench.batch = mm1_cli_int(state, "--batch-size", arg, 1, 1024); break;
    case OPT_LIST: a->lists = true; break;
    case OPT_SEEDS: b->n_seeds = mm1_cli_int(state, "--seeds", arg, 1, MM1_BENCH_MAX_SEEDS); break;
    case OPT_SHOW: b->n_show = mm1_cli_int(state, "--show-prompts", arg, 0, INT64_MAX); break;
    case OPT_URL: a->bench.url = arg; break;
    case OPT_SHOT_CHOICE:
        b->shot_choice = (mm1_shot_choice)parse_word(state, "--shot-choice", arg, mm1_shot_choice_names);
        break;
    case OPT_POOL: b->shot_pool = mm1_cli_int(state, "--shot-pool", arg, 0, INT64_MAX); break;
    case OPT_SUBIMAGES: b->n_whole = mm1_cli_int(state, "--subimage-shots", arg, 0, 1024); break;
    case OPT_PICTURES:
        b->pictures = (mm1_bench_pictures)parse_word(state, "--pictures", arg, mm1_bench_pictures_names);
        break;
    case OPT_CHOOSE: b->by = (mm1_task_by)parse_word(state, "--choose-by", arg, mm1_task_by_names); break;
    case OPT_CHAT: b->is_chat = true; break;
    case OPT_TEMPLATE:
        b->is_chat = true;
        a->bench.chat_template = arg;
        break;
    case OPT_COT: b->thinks = true; break;
    case OPT_VOTES: b->n_votes = mm1_cli_int(state, "--votes", arg, 1, MM1_BENCH_MAX_VOTES); break;
    case OPT_TEMPERATURE: b->temperature = mm1_cli_number(state, "--temperature", arg, 0, 100); break;
    case OPT_MAX_IMAGES: a->bench.max_images = mm1_cli_int(state, "--max-images", arg, 1, 4096); break;
    case OPT_MAX_TOKENS: b->max_tokens = mm1_cli_int(state, "--max-tokens", arg, 1, INT32_MAX); break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" belongs to no option", arg); break;
    case ARGP_KEY_END:
        if (a->lists) {
            break;
        }
        settle_tasks(state, a);
        if (a->bench.url != NULL && is_of_a_folder(a)) {
            argp_error(state,
                       "--image-size, --image-mode, --max-images, --subimage-shots and --chat-template: a server "
                       "reads pictures and messages in its own way");
        }
        if (a->model == NULL && a->bench.url == NULL) {
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

static mm1_status run_heldout(const args *a, mm1_error *err)
{
    mm1_model model = {0};
    mm1_eval_results results = {0};
    mm1_eval_options o = a->o;
    char name[MM1_CLI_MODEL_NAME_BYTES];
    mm1_status st = mm1_cli_load_model(&model, a->model, a->image_size, a->image_mode, name, err);
    o.model_name = name;
    st = st != MM1_OK ? st : mm1_eval_run(&model, &o, &results, err);
    if (st == MM1_OK && a->json) {
        st = mm1_cli_print_json(mm1_eval_results_heldout(&results), JSON_INDENT(2), err);
    } else if (st == MM1_OK) {
        print_table(&results);
    }
    mm1_eval_results_deinit(&results);
    mm1_model_deinit(&model);
    return st;
}

int mm1_cmd_eval(int argc, char **argv)
{
    const struct argp argp = {options, parse, "\ncompare A B", doc, NULL, NULL, NULL};
    mm1_cli_progress p = mm1_cli_progress_make();
    args a = {.o = mm1_eval_options_default(),
              .image_mode = -1,
              .bench = {.o = mm1_benchmark_options_default(), .batch = 16}};
    mm1_error err = {0};
    if (argc > 1 && strcmp(argv[1], "compare") == 0) {
        return mm1_cmd_eval_compare(argc - 1, argv + 1);
    }
    a.o.on_progress = a.bench.o.on_progress = mm1_cli_progress_print;
    a.o.ctx = a.bench.o.ctx = &p;
    a.o.stop = a.bench.o.stop = &stop;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (a.lists) {
        mm1_cli_list_tasks(a.bench.o.data_dir);
        return 0;
    }
    (void)signal(SIGINT, on_interrupt);

    mm1_threads_set(a.threads);
    mm1_status st = mm1_kernels_init(NULL, &err);
    if (st == MM1_OK) {
        a.bench.model = a.model;
        a.bench.image_size = a.image_size;
        a.bench.image_mode = a.image_mode;
        a.bench.json = a.json;
        st = a.bench.o.n_tasks > 0 ? mm1_cli_run_benchmarks(&a.bench, &err) : run_heldout(&a, &err);
    }
    mm1_cli_list_free(&a.tasks);
    return mm1_cli_finish("eval", st, &err);
}

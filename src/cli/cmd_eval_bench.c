/* cmd_eval_bench.c - mm1 eval --tasks: benchmarks, their table, and the comparison of two runs. */
#include "cli/cli.h"
#include "cli/cmd_eval.h"

#include "base/hash.h"
#include "eval/bench_compare.h"
#include "eval/task_group.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool has_files(const mm1_task *t, const char *data_dir)
{
    mm1_bench_set paths = {0};
    mm1_task_files ignored;
    mm1_error why;
    const mm1_status st = mm1_benchmark_files(t, &t->test, data_dir, &paths, &ignored, &why);
    mm1_bench_set_deinit(&paths);
    return st == MM1_OK;
}

void mm1_cli_list_tasks(const char *data_dir)
{
    (void)printf("%-18s %-11s %-11s %s\n", "task", "answered by", "metric",
                 "what it is; its files below the data folder");
    for (size_t i = 0; i < mm1_n_tasks; i++) {
        const mm1_task *t = &mm1_tasks[i];
        (void)printf("%-18s %-11s %-11s %s\n", t->name, mm1_task_by_names[t->by], mm1_task_metric_names[t->metric],
                     t->about);
        const struct {
            const char *name;
            const mm1_task_files *files;
        } splits[] = {{"test", &t->test}, {"shots", &t->train}};
        for (size_t k = 0; k < 2; k++) {
            const mm1_task_files *f = splits[k].files;
            if (f->file != NULL) {
                (void)printf("%-18s   %-6s %s%s%s%s%s%s%s\n", "", splits[k].name, f->file,
                             f->answers != NULL ? ", " : "", f->answers != NULL ? f->answers : "",
                             f->images != NULL ? "; pictures: " : "", f->images != NULL ? f->images : "",
                             f->split != NULL ? "; split: " : "", f->split != NULL ? f->split : "");
            }
        }
        if (t->train.file == NULL) {
            (void)printf("%-18s   %-6s the other items of test\n", "", "shots");
        }
    }
    for (size_t i = 0; i < mm1_n_task_groups; i++) {
        const mm1_task_group *g = &mm1_task_groups[i];
        (void)printf("Group %s, %s, and their mean:", g->name, g->about);
        for (size_t k = 0; g->tasks[k] != NULL; k++) {
            (void)printf(" %s", g->tasks[k]);
        }
        (void)printf("\n");
    }
    (void)printf("Files are there%s%s for:", data_dir != NULL ? " in " : "", data_dir != NULL ? data_dir : "");
    size_t n = 0;
    for (size_t i = 0; i < mm1_n_tasks; i++) {
        if (has_files(&mm1_tasks[i], data_dir)) {
            (void)printf("%s %s", n++ > 0 ? "," : "", mm1_tasks[i].name);
        }
    }
    (void)printf("%s\n", n == 0 ? " none; docs/eval.md says where each is had" : "");
}

/* ---- results ---- */

static void print_left_out(const mm1_bench_cell *c)
{
    const struct {
        const char *text;
        int64_t n;
    } counts[] = {{"records malformed", c->left_out.malformed},
                  {"ids double", c->left_out.duplicates},
                  {"questions without an answer", c->left_out.unanswered},
                  {"answers to no question", c->left_out.without_question},
                  {"items without their picture", c->left_out.without_picture},
                  {"prompts too long for the context", c->too_long}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i].n > 0) {
            (void)printf("    left out: %lld %s\n", (long long)counts[i].n, counts[i].text);
        }
    }
}

static void print_cell(const mm1_bench_cell *c)
{
    double scale = 1;
    const char *unit = mm1_benchmark_unit(c->metric, &scale);
    (void)printf("%-20s %5lld  ", c->task, (long long)c->shots);
    if (isfinite(c->score.value)) {
        (void)printf("%8.2f", scale * c->score.value);
    } else {
        (void)printf("%8s", "-");
    }
    if (isfinite(c->score.low)) {
        (void)printf("  [%.2f, %.2f]", scale * c->score.low, scale * c->score.high);
    }
    (void)printf("  %s, n %lld", unit, (long long)(c->metric == MM1_SCORE_JUDGE ? c->n_asked : c->n));
    if (c->n_seeds > 1) {
        double sum = 0;
        for (int64_t s = 0; s < c->n_seeds; s++) {
            sum += (c->seed_scores[s] - c->score.value) * (c->seed_scores[s] - c->score.value);
        }
        (void)printf(", %lld seeds (deviation %.2f)", (long long)c->n_seeds,
                     scale * sqrt(sum / (double)(c->n_seeds - 1)));
    }
    for (int i = 0; i < c->all.n_parts; i++) {
        (void)printf("%s%s %.2f", i == 0 ? "; " : ", ", c->all.parts[i].name, c->all.parts[i].value);
    }
    (void)printf("\n");
    print_left_out(c);
}

/* A line for each group and number of demonstrations of which all tasks were scored. */
static void print_groups(const mm1_cli_benchmark *b, const mm1_benchmark_results *results)
{
    for (size_t i = 0; i < mm1_n_task_groups; i++) {
        for (size_t k = 0; k < b->o.n_shots; k++) {
            const double mean = mm1_task_group_mean(&mm1_task_groups[i], results, b->o.shots[k]);
            if (isfinite(mean)) {
                (void)printf("%-20s %5lld  %8.2f  mean of %s\n", mm1_task_groups[i].name, (long long)b->o.shots[k],
                             mean, mm1_task_groups[i].about);
            }
        }
    }
}

/* ---- running ---- */

typedef struct shower {
    FILE *to;
    void (*on_progress)(void *ctx, const char *task, int64_t done, int64_t total);
    void *ctx;
} shower;

static void show_prompt(void *ctx, const char *title, const char *prompt)
{
    const shower *s = ctx;
    (void)fprintf(s->to, "--- %s\n%s\n---\n", title, prompt);
}

static void show_progress(void *ctx, const char *task, int64_t done, int64_t total)
{
    const shower *s = ctx;
    s->on_progress(s->ctx, task, done, total);
}

/* The template of the folder, or the one that was named. */
static mm1_status settle_chat(mm1_cli_benchmark *b, mm1_error *err)
{
    if (!b->o.is_chat || b->url != NULL) {
        return MM1_OK;
    }
    b->o.renders = true;
    return b->chat_template != NULL ? mm1_chat_template_find(b->chat_template, &b->o.chat_template, err)
                                    : mm1_chat_template_of(b->model, &b->o.chat_template, err);
}

mm1_status mm1_cli_load_model(mm1_model *m, const char *dir, int64_t image_size, int image_mode,
                              char name[MM1_CLI_MODEL_NAME_BYTES], mm1_error *err)
{
    char size[32] = "";
    if (image_size > 0) {
        (void)snprintf(size, sizeof size, " at %lld px", (long long)image_size);
    }
    (void)snprintf(name, MM1_CLI_MODEL_NAME_BYTES, "%s%s%s%s", dir, size, image_mode >= 0 ? ", " : "",
                   image_mode >= 0 ? mm1_cli_image_modes[image_mode] : "");
    const mm1_status st = mm1_model_load_at(m, dir, image_size, false, err);
    return st != MM1_OK || image_mode < 0 ? st : mm1_model_set_image_mode(m, (mm1_image_mode)image_mode, err);
}

static mm1_status open_backend(mm1_cli_benchmark *b, mm1_model *model, mm1_backend **out, mm1_error *err)
{
    if (b->url != NULL) {
        b->o.is_chat = true;
        b->o.model_name = b->model != NULL ? b->model : b->url;
        b->o.model_hash =
            mm1_hash64(b->url, strlen(b->url), b->model != NULL ? mm1_hash64(b->model, strlen(b->model), 0) : 0);
        return mm1_backend_open_url(b->url, b->model, b->batch, out, err);
    }
    mm1_status st = mm1_benchmark_model_hash(b->model, &b->o.model_hash, err);
    b->o.model_hash ^= (uint64_t)b->image_size ^ (uint64_t)(b->image_mode + 1) << 32;
    st = st != MM1_OK ? st : mm1_cli_load_model(model, b->model, b->image_size, b->image_mode, b->name, err);
    b->o.model_name = b->name;
    b->o.model = model;
    if (st == MM1_OK && b->max_images > 0) {
        model->config.image.max_images = b->max_images;
    }
    return st != MM1_OK ? st : mm1_backend_open_model(model, b->batch, out, err);
}

mm1_status mm1_cli_run_benchmarks(mm1_cli_benchmark *b, mm1_error *err)
{
    mm1_model model = {0};
    mm1_backend *backend = NULL;
    mm1_benchmark_results results = {0};
    shower s = {b->json ? stderr : stdout, b->o.on_progress, b->o.ctx};
    mm1_status st = settle_chat(b, err);
    st = st != MM1_OK ? st : open_backend(b, &model, &backend, err);
    b->o.on_prompt = show_prompt;
    b->o.on_progress = show_progress;
    b->o.ctx = &s;
    st = st != MM1_OK ? st : mm1_benchmark_run(backend, &b->o, &results, err);
    if (st == MM1_OK && b->json) {
        st = mm1_cli_print_json(mm1_benchmark_json(&b->o, &results), JSON_INDENT(2) | JSON_REAL_PRECISION(12), err);
    } else if (st == MM1_OK) {
        (void)printf("%-20s %5s  %8s\n", "task", "shots", "score");
        for (size_t i = 0; i < results.n; i++) {
            print_cell(&results.cells[i]);
        }
        print_groups(b, &results);
    }
    mm1_benchmark_results_deinit(&results);
    mm1_backend_close(backend);
    mm1_model_deinit(&model);
    return st;
}

/* ---- compare ---- */

static const char compare_doc[] = "Compares two evaluations, item by item: A and B are output folders of `mm1 eval "
                                  "--tasks`, or their samples.jsonl.\v"
                                  "The interval is a paired bootstrap over the items that both have; where it does not "
                                  "hold 0, one model is better on "
                                  "items like these.";

static const struct argp_option compare_options[] = {{"json", 'j', NULL, 0, "print one JSON object", 0}, {0}};

typedef struct compare_args {
    const char *paths[2];
    bool json;
} compare_args;

static error_t parse_compare(int key, char *arg, struct argp_state *state)
{
    compare_args *a = state->input;
    switch (key) {
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1) {
            argp_error(state, "two evaluations are wanted, \"%s\" is one more", arg);
        }
        a->paths[state->arg_num] = arg;
        break;
    case ARGP_KEY_END:
        if (state->arg_num < 2) {
            argp_error(state, "two evaluations are wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static json_t *comparison_json(const mm1_bench_comparison *c)
{
    json_t *cells = json_array();
    for (size_t i = 0; i < c->n; i++) {
        const mm1_bench_difference *d = &c->cells[i];
        json_t *o =
            json_pack("{s:s,s:I,s:I,s:I,s:I}", "task", d->task, "shots", (json_int_t)d->shots, "n", (json_int_t)d->n,
                      "n_only_first", (json_int_t)d->n_only_first, "n_only_second", (json_int_t)d->n_only_second);
        const struct {
            const char *name;
            double value;
        } numbers[] = {{"first", d->first},
                       {"second", d->second},
                       {"difference", d->difference.value},
                       {"low", d->difference.low},
                       {"high", d->difference.high}};
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            (void)json_object_set_new(o, numbers[k].name,
                                      isfinite(numbers[k].value) ? json_real(numbers[k].value) : json_null());
        }
        (void)json_array_append_new(cells, o);
    }
    return json_pack("{s:o}", "comparisons", cells);
}

int mm1_cmd_eval_compare(int argc, char **argv)
{
    static char name[] = "mm1 eval compare";
    const struct argp argp = {compare_options, parse_compare, "A B", compare_doc, NULL, NULL, NULL};
    compare_args a = {0};
    mm1_bench_comparison c = {0};
    mm1_error err = {0};
    argv[0] = name;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_status st = mm1_bench_compare(a.paths[0], a.paths[1], &c, &err);
    if (st == MM1_OK && a.json) {
        st = mm1_cli_print_json(comparison_json(&c), JSON_INDENT(2) | JSON_REAL_PRECISION(12), &err);
    } else if (st == MM1_OK) {
        (void)printf("%-20s %5s %9s %9s  %s\n", "task", "shots", "first", "second", "first minus second");
        for (size_t i = 0; i < c.n; i++) {
            const mm1_bench_difference *d = &c.cells[i];
            (void)printf("%-20s %5lld %9.3f %9.3f  %+.3f [%+.3f, %+.3f]  n %lld", d->task, (long long)d->shots,
                         d->first, d->second, d->difference.value, d->difference.low, d->difference.high,
                         (long long)d->n);
            if (d->n_only_first + d->n_only_second > 0) {
                (void)printf(" (%lld in the first alone, %lld in the second alone)", (long long)d->n_only_first,
                             (long long)d->n_only_second);
            }
            (void)printf("\n");
        }
    }
    mm1_bench_comparison_deinit(&c);
    return mm1_cli_finish("eval compare", st, &err);
}

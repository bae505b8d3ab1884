/* benchmark.c - the run over tasks and numbers of demonstrations. */
#include "eval/benchmark.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/packages.h"
#include "eval/bench_circle.h"
#include "eval/benchmark_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BATCHES = 4 };

mm1_benchmark_options mm1_benchmark_options_default(void)
{
    return (mm1_benchmark_options){.n_shots = 1,
                                   .n_seeds = 1,
                                   .shot_pool = 1000,
                                   .n_whole = -1,
                                   .by = MM1_BY_COUNT,
                                   .n_votes = 1,
                                   .temperature = 0.7};
}

const char *const mm1_bench_pictures_names[] = {"true", "shuffled", "none", NULL};

void mm1_benchmark_results_deinit(mm1_benchmark_results *r)
{
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; k < r->cells[i].n_categories; k++) {
            mm1_free(r->cells[i].categories[k].name);
        }
        mm1_free(r->cells[i].categories);
        mm1_free(r->cells[i].task);
        mm1_free(r->cells[i].seed_scores);
    }
    mm1_free(r->cells);
    *r = (mm1_benchmark_results){0};
}

void mm1__bench_sample_deinit(mm1_bench_sample *s)
{
    for (size_t i = 0; i < s->n_raw; i++) {
        mm1_free(s->raw[i]);
    }
    mm1_free(s->raw);
    mm1_free(s->prompt);
    mm1_free(s->said);
    mm1_free(s->logprob);
    *s = (mm1_bench_sample){0};
}

/* ---- what answers ---- */

static mm1_status hash_file(const char *path, uint64_t *hash, mm1_error *err)
{
    mm1_map map;
    const mm1_status st = mm1_map_open(&map, path, err);
    if (st == MM1_OK) {
        *hash = mm1_hash64(map.data, map.len, *hash);
        mm1_map_close(&map);
    }
    return st;
}

mm1_status mm1_benchmark_model_hash(const char *path, uint64_t *hash, mm1_error *err)
{
    static const char *const endings[] = {".safetensors", ".json", ".jinja", ".model"};
    mm1_names names = {0};
    *hash = 0;
    if (!mm1_path_is_dir(path)) {
        return hash_file(path, hash, err);
    }
    mm1_status st = mm1_dir_list(path, &names, err);
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        bool counts = false;
        for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
            counts = counts || strcmp(mm1_path_extension(names.items[i]), endings[e]) == 0;
        }
        if (counts) {
            char *file = mm1_path_join(path, names.items[i]);
            st = file == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path") : hash_file(file, hash, err);
            mm1_free(file);
        }
    }
    mm1_names_free(&names);
    return st;
}

/* ---- files of a row ---- */

/* The path below the data folder; "package:..." is where Debian packages lie, perhaps gzipped. */
static const char *full_path(mm1_bench_set *set, const char *data_dir, const char *path)
{
    if (strncmp(path, "package:", 8) != 0) {
        return mm1_bench_path(set, data_dir, path);
    }
    char *plain = mm1_packages_path(path);
    const char *full = plain != NULL ? mm1_bench_str(set, plain) : NULL;
    if (full != NULL && !mm1_path_exists(full)) {
        const char *packed = mm1_bench_printf(set, "%s.gz", full);
        full = packed != NULL && mm1_path_exists(packed) ? packed : full;
    }
    mm1_free(plain);
    return full;
}

static bool is_there(const char *path)
{
    if (strpbrk(path, "*?{") == NULL) {
        return mm1_path_exists(path);
    }
    mm1_names names = {0};
    mm1_error ignored;
    const bool found = mm1_path_glob(path, &names, &ignored) == MM1_OK;
    mm1_names_free(&names);
    return found;
}

mm1_status mm1_benchmark_files(const mm1_task *task, const mm1_task_files *of, const char *data_dir, mm1_bench_set *set,
                               mm1_task_files *out, mm1_error *err)
{
    const char *dir = data_dir != NULL ? data_dir : task->data != NULL ? task->data : "benchmarks";
    const char *const paths[] = {of->file, of->answers};
    const char *full[] = {NULL, NULL};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (paths[i] == NULL || paths[i][0] == '\0') {
            continue;
        }
        full[i] = full_path(set, dir, paths[i]);
        if (full[i] == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for a path");
        }
        if (!is_there(full[i])) {
            return mm1_error_set(
                err, MM1_E_IO,
                "task %s: %s is not there (%s); put it there, or name the folder that has %s with --data "
                "(docs/eval.md says where each benchmark is had)",
                task->name, full[i], mm1_bench_formats[task->format].help, paths[i]);
        }
    }
    out->file = full[0];
    out->answers = full[1];
    char *own = full[0] != NULL ? mm1_path_dirname(full[0]) : NULL;
    out->images =
        of->images != NULL && of->images[0] != '\0' ? full_path(set, dir, of->images) : mm1_bench_str(set, own);
    mm1_free(own);
    out->split = of->split;
    return set->no_memory ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path") : MM1_OK;
}

/* ---- one task ---- */

static mm1_status stopped(const mm1_benchmark_options *o, mm1_error *err)
{
    return o->stop != NULL && *o->stop != 0 ? mm1_error_set(err, MM1_E_CANCELLED, "interrupted") : MM1_OK;
}

/* The items of the limit, less those whose pictures are known not to be there; a question and its passes are one. */
static mm1_status choose_items(mm1_bench_work *w, mm1_error *err)
{
    const int64_t all = w->test.n, most = w->o->limit > 0 && w->o->limit < all ? w->o->limit : all;
    int64_t n_questions = 0;
    w->chosen = mm1_alloc((size_t)all, sizeof *w->chosen);
    if (w->chosen == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld items", (long long)all);
    }
    for (int64_t i = 0; i < all && n_questions < most; i++) {
        int64_t at = (int64_t)mm1_rng_permute(w->o->seed, MM1_RNG_SHUFFLE, UINT64_MAX - 7, (uint64_t)all, (uint64_t)i);
        const mm1_bench_item *item = &w->test.items[at];
        const mm1_bench_image *missing = NULL;
        if (item->pass_of != NULL) {
            continue; /* comes with its question */
        }
        for (size_t k = 0; k < item->n_images && missing == NULL; k++) {
            missing = mm1_bench_image_exists(&item->images[k]) ? NULL : &item->images[k];
        }
        if (missing == NULL) {
            n_questions++;
            do {
                w->chosen[w->n++] = at++;
            } while (at < all && w->test.items[at].pass_of != NULL);
        } else {
            mm1_bench_bad(&w->test, &w->test.counts.without_picture, missing->key, 0, "the picture is not there");
        }
    }
    return w->n > 0 ? MM1_OK
                    : mm1_error_set(err, MM1_E_IO,
                                    "task %s: none of its %lld items has its picture, the first of which "
                                    "is %s",
                                    w->task->name, (long long)all,
                                    all > 0 && w->test.items[0].n_images > 0 ? w->test.items[0].images[0].key : "");
}

static bool wants_train(const mm1_benchmark_options *o)
{
    bool any = false;
    for (size_t i = 0; i < o->n_shots; i++) {
        any = any || o->shots[i] > 0;
    }
    return any;
}

static void keep_pictured(mm1_bench_set *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->items[i].n_images > 0) {
            s->items[n++] = s->items[i];
        }
    }
    s->n = n;
}

static mm1_status read_set(const mm1_task *t, const mm1_task_files *files, bool wants_answers, mm1_bench_set *out,
                           mm1_error *err)
{
    const mm1_status st = mm1_bench_read(t->format, t->name, files, wants_answers, out, err);
    if (st == MM1_OK && t->only_pictures) {
        keep_pictured(out);
    }
    return st == MM1_OK && out->n == 0
               ? mm1_error_set(err, MM1_E_FORMAT, "task %s: no item of %s has a picture", t->name, files->file)
               : st;
}

static mm1_status read_sets(mm1_bench_work *w, mm1_error *err)
{
    const mm1_task *t = w->task;
    mm1_task_files test, train;
    mm1_status st = mm1_benchmark_files(t, &t->test, w->o->data_dir, &w->paths, &test, err);
    st = st != MM1_OK ? st : read_set(t, &test, t->metric != MM1_SCORE_JUDGE, &w->test, err);
    st = st != MM1_OK || !t->circular ? st : mm1_bench_circle(&w->test, err);
    w->has_train = t->train.file != NULL && wants_train(w->o);
    if (st == MM1_OK && w->has_train) {
        st = mm1_benchmark_files(t, &t->train, w->o->data_dir, &w->paths, &train, err);
        st = st != MM1_OK ? st : read_set(t, &train, true, &w->train, err);
    }
    return st != MM1_OK ? st : choose_items(w, err);
}

/* ---- a cell ---- */

static mm1_status score_seed(mm1_bench_work *w, mm1_bench_sample *samples, size_t n, mm1_metric_result *out,
                             mm1_error *err)
{
    mm1_bench_said *said = mm1_alloc(n, sizeof *said);
    double *scores = mm1_alloc(n, sizeof *scores);
    size_t m = 0;
    mm1_status st =
        said == NULL || scores == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory to score %zu items", n) : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (samples[i].is_asked) {
            said[m++] =
                (mm1_bench_said){&samples[i].item, samples[i].said, samples[i].picked, samples[i].picked_per_char};
        }
    }
    st = st != MM1_OK ? st : mm1_bench_score(&w->style, said, m, scores, out, err);
    m = 0;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (samples[i].is_asked) {
            samples[i].score = scores[m++];
        }
    }
    mm1_free(scores);
    mm1_free(said);
    return st;
}

/* Over seeds: the mean of each item, and the interval of their mean; of a score that is no mean, the mean of seeds. */
static mm1_status sum_up(mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err)
{
    const mm1_bootstrap b = mm1_bootstrap_default();
    double *means = mm1_alloc(n, sizeof *means), over_seeds = 0;
    size_t m = 0;
    mm1_status st = means == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu scores", n) : MM1_OK;
    for (int64_t s = 0; s < cell->n_seeds; s++) {
        over_seeds += cell->seed_scores[s] / (double)cell->n_seeds;
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        double sum = 0;
        bool is_asked = true;
        for (int64_t s = 0; s < cell->n_seeds; s++) {
            sum += samples[(size_t)s * n + i].score;
            is_asked = is_asked && samples[(size_t)s * n + i].is_asked;
        }
        cell->n_asked += is_asked;
        if (!isnan(sum)) {
            means[m++] = sum / (double)cell->n_seeds;
        }
    }
    cell->score = (mm1_interval){over_seeds, NAN, NAN};
    cell->n = (int64_t)m;
    if (st == MM1_OK && m > 0 && !isnan(cell->all.score.low)) {
        st = mm1_bootstrap_mean(&b, means, m, &cell->score, err);
    }
    mm1_free(means);
    return st;
}

static int by_category(const void *a, const void *b)
{
    const mm1_bench_sample *const *x = a, *const *y = b;
    return strcmp((*x)->item.category, (*y)->item.category);
}

/* Means of the categories, over all seeds. */
static mm1_status sum_up_categories(mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err)
{
    const mm1_bench_sample **sorted = mm1_calloc(n, sizeof *sorted);
    size_t m = 0;
    mm1_status st = sorted == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for categories") : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (samples[i].item.category != NULL && !isnan(samples[i].score)) {
            sorted[m++] = &samples[i];
        }
    }
    if (m > 0) {
        qsort(sorted, m, sizeof *sorted, by_category);
    }
    for (size_t i = 0, k = 0; st == MM1_OK && i < m; i = k) {
        double sum = 0;
        for (k = i; k < m && by_category(&sorted[k], &sorted[i]) == 0; k++) {
            sum += sorted[k]->score;
        }
        mm1_bench_category *more = mm1_realloc(cell->categories, cell->n_categories + 1, sizeof *more);
        char *name = more != NULL ? mm1_strdup(sorted[i]->item.category) : NULL;
        cell->categories = more != NULL ? more : cell->categories;
        if (name == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for categories");
        } else {
            more[cell->n_categories++] =
                (mm1_bench_category){name, sum / (double)(k - i), (int64_t)(k - i) / cell->n_seeds};
        }
    }
    mm1_free(sorted);
    return st;
}

static mm1_status run_cell(mm1_bench_work *w, int64_t n_shots, mm1_bench_files *files, mm1_bench_cell *cell,
                           mm1_error *err)
{
    const mm1_benchmark_options *o = w->o;
    const size_t n = (size_t)w->n;
    const bool same = n_shots == 0 && o->n_votes == 1; /* no seed changes anything */
    *cell = (mm1_bench_cell){.metric = w->task->metric,
                             .by = w->style.by,
                             .shots = n_shots,
                             .n_seeds = same ? 1 : o->n_seeds,
                             .seed = o->seed,
                             .score = {NAN, NAN, NAN},
                             .task = mm1_strdup(w->task->name)};
    const size_t n_seeds = (size_t)cell->n_seeds;
    const size_t step = (size_t)mm1_backend_batch(w->backend) * CHUNK_BATCHES;
    mm1_bench_sample *samples = mm1_calloc(n * n_seeds, sizeof *samples);
    cell->seed_scores = mm1_calloc(n_seeds, sizeof *cell->seed_scores);
    mm1_generate_params params = mm1_generate_defaults();
    params.stop = w->style.stop;
    params.n_stop = w->style.n_stop;
    params.max_tokens = o->max_tokens > 0 ? o->max_tokens : w->style.max_tokens;
    params.end_token = w->style.renders ? mm1_chat_end_token(w->style.chat_template) : NULL;
    params.sampling.temperature = o->n_votes > 1 ? o->temperature : 0;
    mm1_status st = samples == NULL || cell->seed_scores == NULL || cell->task == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu samples", n * n_seeds)
                        : MM1_OK;
    char label[96];
    (void)snprintf(label, sizeof label, "%.60s, %lld shots", w->task->name, (long long)n_shots);
    for (size_t s = 0; st == MM1_OK && s < n_seeds; s++) {
        mm1_bench_shots *shots = NULL;
        params.sampling.seed = o->seed + s;
        st = n_shots == 0 ? MM1_OK
                          : mm1_bench_shots_create(&w->style, w->has_train ? &w->train : &w->test, !w->has_train,
                                                   o->shot_choice, o->seed + s, o->shot_pool, o->model, &shots, err);
        for (size_t i = 0; st == MM1_OK && i < n; i++) {
            mm1_bench_sample *sample = &samples[s * n + i];
            sample->item = w->test.items[w->chosen[i]];
            sample->seed = o->seed + s;
            sample->score = (double)NAN;
            st = mm1__bench_item_make(w, &sample->item, err);
        }
        for (size_t i = 0; st == MM1_OK && i < n; i += step) {
            st = mm1__bench_ask(w, shots, cell, samples + s * n, i, n - i < step ? n - i : step, &params, err);
            st = st != MM1_OK ? st : stopped(o, err);
            if (o->on_progress != NULL) {
                o->on_progress(o->ctx, label, (int64_t)(s * n + (i + step < n ? i + step : n)), (int64_t)(n * n_seeds));
            }
        }
        mm1_metric_result r = {0};
        st = st != MM1_OK ? st : score_seed(w, samples + s * n, n, &r, err);
        if (st == MM1_OK) {
            cell->seed_scores[s] = r.score.value;
            cell->all = r;
        }
        mm1_bench_shots_destroy(shots);
    }
    if (st == MM1_OK) {
        const mm1_bench_counts *c = &w->test.counts;
        cell->left_out.malformed += c->malformed;
        cell->left_out.duplicates += c->duplicates;
        cell->left_out.unanswered += c->unanswered;
        cell->left_out.without_question += c->without_question;
        cell->left_out.without_picture += c->without_picture;
        st = sum_up(cell, samples, n, err);
        st = st != MM1_OK ? st : sum_up_categories(cell, samples, n * n_seeds, err);
    }
    if (st == MM1_OK && files != NULL) {
        st = mm1__bench_files_add(files, &w->style, &w->test, cell, samples, n * n_seeds, err);
    }
    for (size_t i = 0; samples != NULL && i < n * n_seeds; i++) {
        mm1__bench_sample_deinit(&samples[i]);
    }
    mm1_free(samples);
    return st;
}

static mm1_status run_task(mm1_backend *backend, const mm1_benchmark_options *o, const mm1_task *task,
                           mm1_bench_answers *answers, mm1_bench_files *files, mm1_benchmark_results *results,
                           mm1_error *err)
{
    mm1_bench_work w = {.backend = backend, .o = o, .task = task, .answers = answers};
    mm1_status st = mm1_bench_style_init(&w.style, task, o->by, o->is_chat, o->thinks, err);
    w.style.renders = o->renders;
    w.style.chat_template = o->chat_template;
    w.style.n_whole = o->n_whole;
    if (st == MM1_OK && w.style.by == MM1_BY_LIKELIHOOD && !mm1_backend_can_score(backend)) {
        st = mm1_error_set(
            err, MM1_E_UNSUPPORTED,
            "task %s: a server gives texts, no likelihoods; let it choose by letter (--choose-by letter)", task->name);
    }
    st = st != MM1_OK ? st : read_sets(&w, err);
    for (size_t i = 0; st == MM1_OK && i < o->n_shots; i++) {
        mm1_bench_cell *cells = mm1_realloc(results->cells, results->n + 1, sizeof *cells);
        if (cells == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for results");
            break;
        }
        results->cells = cells;
        st = run_cell(&w, o->shots[i], files, &cells[results->n++], err);
    }
    mm1_free(w.chosen);
    mm1_bench_set_deinit(&w.test);
    mm1_bench_set_deinit(&w.train);
    mm1_bench_set_deinit(&w.paths);
    return st;
}

/* A row by name, or a YAML file, which the caller frees if *is_owned. */
static mm1_status find_task(const char *name, mm1_task *out, bool *is_owned, mm1_error *err)
{
    const mm1_task *row = mm1_task_find(name);
    const char *ending = mm1_path_extension(name);
    *is_owned = false;
    if (row != NULL) {
        *out = *row;
        return MM1_OK;
    }
    if (strcmp(ending, ".yaml") != 0 && strcmp(ending, ".yml") != 0) {
        return mm1_error_set(
            err, MM1_E_ARG,
            "--tasks: \"%.100s\" is no task; `mm1 eval --list-tasks` shows all, and the path of a YAML "
            "file adds one",
            name);
    }
    const mm1_status st = mm1_task_load(out, name, err);
    *is_owned = st == MM1_OK;
    return st;
}

static mm1_status check_files(const mm1_benchmark_options *o, const mm1_task *task, mm1_error *err)
{
    mm1_bench_set paths = {0};
    mm1_task_files ignored;
    mm1_status st = mm1_benchmark_files(task, &task->test, o->data_dir, &paths, &ignored, err);
    if (st == MM1_OK && task->train.file != NULL && wants_train(o)) {
        st = mm1_benchmark_files(task, &task->train, o->data_dir, &paths, &ignored, err);
    }
    mm1_bench_set_deinit(&paths);
    return st;
}

mm1_status mm1_benchmark_run(mm1_backend *backend, const mm1_benchmark_options *o, mm1_benchmark_results *results,
                             mm1_error *err)
{
    mm1_bench_answers *answers = NULL;
    mm1_bench_files *files = NULL;
    *results = (mm1_benchmark_results){0};
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < o->n_tasks; i++) { /* what is wrong is said before hours of work */
        mm1_task task;
        bool is_owned = false;
        st = find_task(o->tasks[i], &task, &is_owned, err);
        st = st != MM1_OK ? st : check_files(o, &task, err);
        if (is_owned) {
            mm1_fields_deinit(mm1_task_fields, &task);
        }
    }
    st = st != MM1_OK || o->output_dir == NULL ? st : mm1_dir_make(o->output_dir, err);
    st = st != MM1_OK ? st : mm1__bench_answers_open(o->output_dir, &answers, err);
    st = st != MM1_OK || o->output_dir == NULL ? st : mm1__bench_files_open(o, &files, err);
    for (size_t i = 0; st == MM1_OK && i < o->n_tasks; i++) {
        mm1_task task;
        bool is_owned = false;
        st = find_task(o->tasks[i], &task, &is_owned, err);
        st = st != MM1_OK ? st : run_task(backend, o, &task, answers, files, results, err);
        if (is_owned) {
            mm1_fields_deinit(mm1_task_fields, &task);
        }
    }
    st = st != MM1_OK || files == NULL ? st : mm1__bench_files_finish(files, results, err);
    mm1__bench_files_close(files);
    mm1__bench_answers_close(answers);
    if (st != MM1_OK) {
        mm1_benchmark_results_deinit(results);
    }
    return st;
}

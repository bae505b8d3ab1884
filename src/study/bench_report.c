/* bench_report.c - see bench_report.h. */
#include "study/bench_report.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "study/median.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TURNS = 32, MAX_BYTES = 64 << 20 };

/* Kernels whose count differs by more from the baseline are shown. */
static const double COUNT_TOLERANCE = 0.02;

typedef struct report {
    const char *dir;
    json_t *root;
    mm1_buf md;
    mm1_error *err;
} report;

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

/* A cell of a table; "-" where there is no number. */
static void put_number(mm1_buf *b, int digits, double v, const char *unit)
{
    if (isnan(v)) {
        mm1_buf_puts(b, " - |");
    } else {
        mm1_buf_printf(b, " %.*f%s |", digits, v, unit);
    }
}

static void put_gain(mm1_buf *b, double ratio)
{
    if (isnan(ratio)) {
        mm1_buf_puts(b, " - |");
    } else {
        mm1_buf_printf(b, " **%.2f** |", ratio);
    }
}

/* The object in dir/name; *out NULL if the file is not there. */
static mm1_status load(const report *r, const char *name, json_t **out)
{
    json_error_t at;
    mm1_status st = MM1_OK;
    *out = NULL;
    char *path = mm1_path_join(r->dir, name);
    if (path == NULL) {
        return mm1_error_set(r->err, MM1_E_NOMEM, "%s: no memory", r->dir);
    }
    if (mm1_path_exists(path)) {
        *out = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
        if (!json_is_object(*out)) {
            st = mm1_error_set(r->err, MM1_E_FORMAT, "%s:%d: %s; run this section of the benchmark again", path,
                               *out == NULL ? at.line : 1, *out == NULL ? at.text : "no object");
            json_decref(*out);
            *out = NULL;
        }
    }
    mm1_free(path);
    return st;
}

/* ---- steps ---- */

enum { OURS, EAGER, COMPILE, MODES };
static const char *const mode_names[MODES] = {"mm1", "eager", "compile"};

/* Turns of one case: ours always, the peers where they ran. */
typedef struct turns {
    int n;
    json_t *of[MODES][MAX_TURNS];
} turns;

static mm1_status load_turns(const report *r, const char *name, turns *t)
{
    mm1_status st = MM1_OK;
    char file[160];
    *t = (turns){0};
    while (st == MM1_OK && t->n < MAX_TURNS) {
        for (int mode = 0; st == MM1_OK && mode < MODES; mode++) {
            (void)snprintf(file, sizeof file, "step-%s.%d.%s.json", name, t->n + 1, mode_names[mode]);
            st = load(r, file, &t->of[mode][t->n]);
        }
        if (t->of[OURS][t->n] == NULL) {
            break;
        }
        t->n++;
    }
    return st;
}

static void free_turns(turns *t)
{
    for (int mode = 0; mode < MODES; mode++) {
        for (int i = 0; i < MAX_TURNS; i++) {
            json_decref(t->of[mode][i]);
        }
    }
}

/* Median over the turns of seconds, and of theirs by ours; NAN where a mode never ran. */
static double median_seconds(const turns *t, int mode, double *ratio)
{
    double seconds[MAX_TURNS], ratios[MAX_TURNS];
    int n = 0;
    for (int i = 0; i < t->n; i++) {
        const double ours = number(t->of[OURS][i], "step_seconds"), theirs = number(t->of[mode][i], "step_seconds");
        if (ours > 0 && theirs > 0) {
            seconds[n] = theirs;
            ratios[n++] = theirs / ours;
        }
    }
    *ratio = mm1_median(ratios, n);
    return mm1_median(seconds, n);
}

static double median_of(const turns *t, const char *key)
{
    double values[MAX_TURNS];
    for (int i = 0; i < t->n; i++) {
        values[i] = number(t->of[OURS][i], key);
    }
    return mm1_median(values, t->n);
}

static double first_loss(const turns *t, int mode)
{
    double loss = NAN;
    for (int i = 0; i < t->n && isnan(loss); i++) {
        loss = number(t->of[mode][i], "first_loss");
    }
    return loss;
}

static void set_real(json_t *o, const char *key, double v)
{
    if (!isnan(v)) {
        (void)json_object_set_new(o, key, json_real(v));
    }
}

static json_t *case_json(const turns *t)
{
    static const char *const medians[] = {"tokens_per_second", "images_per_second", "mfu",
                                          "fma_peak_gflops",   "gemm_gflops",       "non_gemm_share",
                                          "loader_wait_share"};
    double ratio;
    json_t *o = json_object(), *runs = json_array();
    set_real(o, "step_seconds", median_seconds(t, OURS, &ratio));
    for (size_t i = 0; i < sizeof medians / sizeof *medians; i++) {
        set_real(o, medians[i], median_of(t, medians[i]));
    }
    set_real(o, "peak_bytes", median_of(t, "peak_bytes"));
    for (int mode = EAGER; mode < MODES; mode++) {
        const double seconds = median_seconds(t, mode, &ratio);
        if (!isnan(seconds)) {
            json_t *peer = json_object();
            set_real(peer, "step_seconds", seconds);
            set_real(peer, "time_ratio", ratio);
            set_real(peer, "first_loss", first_loss(t, mode));
            (void)json_object_set_new(o, mode == EAGER ? "torch_eager" : "torch_compile", peer);
        }
    }
    for (int i = 0; i < t->n; i++) {
        for (int mode = 0; mode < MODES; mode++) {
            if (t->of[mode][i] != NULL) {
                (void)json_array_append(runs, t->of[mode][i]);
            }
        }
    }
    (void)json_object_set_new(o, "runs", runs);
    return o;
}

static void case_row(mm1_buf *b, const char *name, const turns *t)
{
    double ratio;
    mm1_buf_printf(b, "| %s |", name);
    put_number(b, 3, median_seconds(t, OURS, &ratio), "");
    put_number(b, 0, median_of(t, "tokens_per_second"), "");
    const double images = median_of(t, "images_per_second");
    put_number(b, 2, images > 0 ? images : NAN, "");
    put_number(b, 3, median_of(t, "mfu"), "");
    put_number(b, 1, 100 * median_of(t, "non_gemm_share"), " %");
    put_number(b, 0, median_of(t, "peak_bytes") / 1048576, "");
    for (int mode = EAGER; mode < MODES; mode++) {
        put_number(b, 3, median_seconds(t, mode, &ratio), "");
        put_gain(b, ratio);
    }
    put_number(b, 3, first_loss(t, OURS), "");
    put_number(b, 3, first_loss(t, EAGER), "");
    mm1_buf_putc(b, '\n');
}

static void put_cell(mm1_buf *b, const json_t *cell)
{
    const double flops = number(cell, "gflops"), bytes = number(cell, "gbytes_per_second");
    put_number(b, 2, number(cell, "calls") > 0 ? 1e3 * number(cell, "seconds") : NAN, "");
    put_number(b, 1, isnan(flops) ? bytes : flops, isnan(flops) ? " GB/s" : " GFLOP/s");
}

/* Of the last turn. */
static void operators_table(mm1_buf *b, const char *name, const turns *t)
{
    size_t i;
    json_t *o;
    mm1_buf_printf(b,
                   "\n### %s by operator\n\n| operator | share | forward, ms | | backward, ms | |\n"
                   "| --- | --: | --: | --: | --: | --: |\n",
                   name);
    json_array_foreach(json_object_get(t->of[OURS][t->n - 1], "operators"), i, o)
    {
        mm1_buf_printf(b, "| %s |", text(o, "name"));
        put_number(b, 1, 100 * number(o, "share"), " %");
        put_cell(b, json_object_get(o, "forward"));
        put_cell(b, json_object_get(o, "backward"));
        mm1_buf_putc(b, '\n');
    }
}

/* "decoder" of ".../step-decoder.1.mm1.json". */
static void case_of(const char *path, char name[64])
{
    const char *at = strrchr(path, '/');
    at = (at != NULL ? at + 1 : path) + strlen("step-");
    (void)snprintf(name, 64, "%.*s", (int)strcspn(at, "."), at);
}

static mm1_status add_steps(report *r)
{
    mm1_names files = {0};
    mm1_buf operators;
    mm1_buf_init(&operators, MAX_BYTES);
    json_t *steps = json_object();
    char *pattern = mm1_path_join(r->dir, "step-*.1.mm1.json");
    mm1_status st = pattern == NULL ? mm1_error_set(r->err, MM1_E_NOMEM, "%s: no memory", r->dir) : MM1_OK;
    if (st == MM1_OK && mm1_path_glob(pattern, &files, NULL) == MM1_OK && files.n > 0) {
        mm1_buf_puts(&r->md, "\n## Training steps\n\n"
                             "| step | s | tokens/s | images/s | MFU | no product | peak MiB | PyTorch, s | gain | "
                             "compiled, s | gain | first loss | PyTorch's |\n"
                             "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n");
    }
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        char name[64];
        turns t;
        case_of(files.items[i], name);
        st = load_turns(r, name, &t);
        if (st == MM1_OK && t.n > 0) {
            case_row(&r->md, name, &t);
            operators_table(&operators, name, &t);
            (void)json_object_set_new(steps, name, case_json(&t));
            const json_t *last = t.of[OURS][t.n - 1];
            (void)json_object_set_new(r->root, "machine",
                                      json_pack("{s:s, s:f, s:f, s:f, s:f}", "isa", text(last, "isa"), "threads",
                                                number(last, "threads"), "fma_peak_gflops",
                                                number(last, "fma_peak_gflops"), "read_gbytes_per_second",
                                                number(last, "read_gbytes_per_second"), "triad_gbytes_per_second",
                                                number(last, "triad_gbytes_per_second")));
        }
        free_turns(&t);
    }
    mm1_buf_puts(&r->md, mm1_buf_str(&operators));
    if (json_object_size(steps) > 0) {
        (void)json_object_set(r->root, "steps", steps);
    }
    json_decref(steps);
    mm1_buf_deinit(&operators);
    mm1_names_free(&files);
    mm1_free(pattern);
    return st;
}

/* ---- the matrix product and attention ---- */

/* What one library makes of one form on one number of threads. */
typedef struct group {
    double rates[1024], share_sum, share_least, fma_sum, fma_least, ratio_log_sum, ratio_least;
    int n;
} group;

static void group_of(const json_t *rows, const char *library, const char *form, int threads, group *g)
{
    enum { MOST = sizeof g->rates / sizeof *g->rates };
    size_t i;
    json_t *row;
    *g = (group){.share_least = NAN, .fma_least = NAN, .ratio_least = NAN};
    json_array_foreach(rows, i, row)
    {
        if (strcmp(text(row, "library"), library) == 0 && strcmp(text(row, "form"), form) == 0 &&
            number(row, "threads") == threads && g->n < MOST) {
            const double share = number(row, "fraction_of_peak"), fma = number(row, "fraction_of_fma");
            const double ratio = number(row, "time_ratio");
            g->rates[g->n++] = number(row, "gflops");
            g->share_sum += share;
            g->share_least = fmin(g->share_least, share);
            g->fma_sum += fma;
            g->fma_least = fmin(g->fma_least, fma);
            g->ratio_log_sum += log(ratio);
            g->ratio_least = fmin(g->ratio_least, ratio);
        }
    }
}

static void gemm_table(mm1_buf *b, const json_t *gemm)
{
    static const char *const libraries[] = {"mm1", "mm1-bf16", "openblas", "onednn", "blis"};
    static const char *const forms[] = {"NT", "NN", "TN"};
    const json_t *rows = json_object_get(gemm, "rows");
    const int all = (int)number(gemm, "threads");
    size_t i;
    json_t *missing;
    mm1_buf_puts(b, "\n## Matrix product\n\nOperands come from memory, as in a step.\n\n"
                    "| form | threads | library | shapes | GFLOP/s, median | of the peak, mean | least "
                    "| of multiply-adds at that time, mean | least | gain of mm1, mean | least |\n"
                    "| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n");
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        for (int threads = 1; threads <= all; threads += all > 1 ? all - 1 : 1) {
            for (size_t l = 0; l < sizeof libraries / sizeof *libraries; l++) {
                group g;
                group_of(rows, libraries[l], forms[f], threads, &g);
                if (g.n > 0) {
                    mm1_buf_printf(b, "| %s | %d | %s | %d |", forms[f], threads, libraries[l], g.n);
                    put_number(b, 1, mm1_median(g.rates, g.n), "");
                    put_number(b, 2, g.share_sum / g.n, "");
                    put_number(b, 2, g.share_least, "");
                    put_number(b, 2, g.fma_sum / g.n, "");
                    put_number(b, 2, g.fma_least, "");
                    put_gain(b, l == 0 ? NAN : exp(g.ratio_log_sum / g.n));
                    put_number(b, 2, l == 0 ? NAN : g.ratio_least, "");
                    mm1_buf_putc(b, '\n');
                }
            }
        }
    }
    json_array_foreach(json_object_get(gemm, "missing"), i, missing)
    {
        mm1_buf_printf(b, "\n%s is not installed: `apt-get install %s`\n", text(missing, "library"),
                       text(missing, "package"));
    }
}

static void attention_table(mm1_buf *b, const json_t *attention)
{
    size_t i;
    json_t *row;
    mm1_buf_puts(
        b, "\n## Attention\n\n| batch | positions | examples | heads | of | mask | forward, GFLOP/s | of the peak | "
           "backward, GFLOP/s | of the peak |\n| --: | --: | --: | --: | --: | --- | --: | --: | --: | --: |\n");
    json_array_foreach(json_object_get(attention, "rows"), i, row)
    {
        mm1_buf_printf(b, "| %.0f | %.0f | %.0f | %.0f/%.0f | %.0f | %s |", number(row, "batch"),
                       number(row, "positions"), number(row, "examples"), number(row, "heads"), number(row, "kv_heads"),
                       number(row, "head_dim"), json_is_true(json_object_get(row, "causal")) ? "causal" : "all");
        put_number(b, 1, number(row, "forward_gflops"), "");
        put_number(b, 2, number(row, "forward_fraction_of_peak"), "");
        put_number(b, 1, number(row, "backward_gflops"), "");
        put_number(b, 2, number(row, "backward_fraction_of_peak"), "");
        mm1_buf_putc(b, '\n');
    }
}

static void growth_table(mm1_buf *b, const json_t *growth)
{
    size_t i;
    json_t *row;
    mm1_buf_puts(b,
                 "\n## Growth of a step\n\n| axis | from | to | s | GFLOP | time, ratio | by the ratio of the work | "
                 "activations, MiB | ratio |\n| --- | --: | --: | --: | --: | --: | --: | --: | --: |\n");
    json_array_foreach(json_object_get(growth, "rows"), i, row)
    {
        const double bytes = number(row, "arena_bytes");
        mm1_buf_printf(b, "| %s | %.0f | %.0f |", text(row, "axis"), number(row, "base_value"), number(row, "value"));
        put_number(b, 3, number(row, "seconds"), "");
        put_number(b, 1, number(row, "gflop"), "");
        put_number(b, 2, number(row, "time_ratio"), "");
        put_number(b, 2, number(row, "relative"), "");
        put_number(b, 0, bytes / 1048576, "");
        put_number(b, 2, bytes / number(row, "base_arena_bytes"), "");
        mm1_buf_putc(b, '\n');
    }
}

/* ---- kernels ---- */

/* Rows of `kernel <tab> table <tab> instructions <tab> baseline`. */
static mm1_status add_kernels(report *r)
{
    char *path = mm1_path_join(r->dir, "kernels.tsv");
    FILE *f = path != NULL ? fopen(path, "r") : NULL;
    if (f == NULL) {
        mm1_free(path);
        return MM1_OK;
    }
    json_t *kernels = json_array();
    mm1_status st = MM1_OK;
    char line[256], kernel[64], table[16];
    double count = 0, base = 0;
    int n = 0, n_changed = 0;
    mm1_buf_puts(&r->md, "\n## Instructions of the kernels\n");
    while (st == MM1_OK && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%63[^\t]\t%15[^\t]\t%lf\t%lf", kernel, table, &count, &base) != 4) {
            st = mm1_error_set(r->err, MM1_E_FORMAT, "%s:%d: kernel, table and two counts are wanted", path, n + 1);
            break;
        }
        n++;
        (void)json_array_append_new(kernels, json_pack("{s:s, s:s, s:f, s:f}", "kernel", kernel, "table", table,
                                                       "instructions", count, "baseline", base));
        if (base == 0 || fabs(count / base - 1) > COUNT_TOLERANCE) {
            if (n_changed++ == 0) {
                mm1_buf_puts(&r->md, "\n| kernel | table | instructions | baseline | ratio |\n"
                                     "| --- | --- | --: | --: | --: |\n");
            }
            mm1_buf_printf(&r->md, "| %s | %s |", kernel, table);
            put_number(&r->md, 0, count, "");
            put_number(&r->md, 0, base > 0 ? base : NAN, "");
            put_number(&r->md, 2, base > 0 ? count / base : NAN, "");
            mm1_buf_putc(&r->md, '\n');
        }
    }
    mm1_buf_printf(&r->md, "\n%d of %d counts are within %.0f %% of bench/instructions.tsv.\n", n - n_changed, n,
                   100 * COUNT_TOLERANCE);
    (void)json_object_set(r->root, "kernels", kernels);
    json_decref(kernels);
    (void)fclose(f);
    mm1_free(path);
    return st;
}

/* ---- sections ---- */

static mm1_status add_section(report *r, const char *path)
{
    const char *at = strrchr(path, '/');
    char name[64], file[80];
    (void)snprintf(name, sizeof name, "%s", at != NULL ? at + 1 : path);
    name[strcspn(name, ".")] = '\0';
    /* A section's own pieces have names with a hyphen. */
    if (strchr(name, '-') != NULL || strcmp(name, "bench") == 0) {
        return MM1_OK;
    }
    json_t *o = NULL;
    (void)snprintf(file, sizeof file, "%s.json", name);
    mm1_status st = load(r, file, &o);
    if (o != NULL && strcmp(name, "gemm") == 0) {
        gemm_table(&r->md, o);
    } else if (o != NULL && strcmp(name, "attention") == 0) {
        attention_table(&r->md, o);
    } else if (o != NULL && strcmp(name, "growth") == 0) {
        growth_table(&r->md, o);
    }
    if (o != NULL) {
        (void)json_object_set_new(r->root, name, o);
    }
    (void)snprintf(file, sizeof file, "%s.md", name);
    char *md = mm1_path_join(r->dir, file);
    if (st == MM1_OK && md != NULL && mm1_path_exists(md)) {
        char *content = NULL;
        st = mm1_file_read(md, MAX_BYTES, &content, NULL, r->err);
        mm1_buf_printf(&r->md, "\n%s", content != NULL ? content : "");
        mm1_free(content);
    }
    mm1_free(md);
    return st;
}

static mm1_status add_sections(report *r)
{
    mm1_names files = {0};
    char *pattern = mm1_path_join(r->dir, "*.json");
    mm1_status st = pattern == NULL ? mm1_error_set(r->err, MM1_E_NOMEM, "%s: no memory", r->dir) : MM1_OK;
    if (st == MM1_OK && mm1_path_glob(pattern, &files, NULL) == MM1_OK) {
        for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
            st = add_section(r, files.items[i]);
        }
    }
    mm1_names_free(&files);
    mm1_free(pattern);
    return st;
}

static mm1_status write_file(report *r, const char *name, const void *bytes, size_t len)
{
    char *path = mm1_path_join(r->dir, name);
    const mm1_status st = path == NULL ? mm1_error_set(r->err, MM1_E_NOMEM, "%s: no memory", r->dir)
                                       : mm1_file_write_atomic(path, bytes, len, r->err);
    mm1_free(path);
    return st;
}

static void machine_line(mm1_buf *b, const json_t *machine)
{
    if (machine != NULL) {
        mm1_buf_printf(
            b,
            "\nMachine: %.0f threads, %s kernels, %.1f GFLOP/s of multiply-adds in registers, memory %.1f GB/s "
            "read and %.1f GB/s triad.\n",
            number(machine, "threads"), text(machine, "isa"), number(machine, "fma_peak_gflops"),
            number(machine, "read_gbytes_per_second"), number(machine, "triad_gbytes_per_second"));
    }
}

mm1_status mm1_bench_report(const char *dir, mm1_error *err)
{
    report r = {.dir = dir, .root = json_object(), .err = err};
    mm1_buf head;
    mm1_buf_init(&head, MAX_BYTES);
    mm1_buf_init(&r.md, MAX_BYTES);
    mm1_buf_puts(&head, "# Benchmark\n\nSpeeds are medians; a gain is the median over the turns of their time by ours, "
                        "both run one after the other.  What each figure means: docs/performance.md.\n");
    mm1_status st = add_steps(&r);
    st = st != MM1_OK ? st : add_sections(&r);
    st = st != MM1_OK ? st : add_kernels(&r);
    machine_line(&head, json_object_get(r.root, "machine"));
    mm1_buf_puts(&head, mm1_buf_str(&r.md));
    char *json = st == MM1_OK ? json_dumps(r.root, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
    if (st == MM1_OK && (json == NULL || mm1_buf_status(&head) != MM1_OK)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the report", dir);
    }
    st = st != MM1_OK ? st : write_file(&r, "bench.json", json, strlen(json));
    st = st != MM1_OK ? st : write_file(&r, "bench.md", head.data, head.len);
    free(json);
    json_decref(r.root);
    mm1_buf_deinit(&r.md);
    mm1_buf_deinit(&head);
    return st;
}

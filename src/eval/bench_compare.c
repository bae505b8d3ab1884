/* bench_compare.c - see bench_compare.h. */
#include "eval/bench_compare.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json_stream.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One score of one file. */
typedef struct row {
    char *task, *id;
    int64_t shots;
    double score;
    int side; /* 0 or 1: of which file */
} row;

typedef struct rows {
    row *items;
    size_t n, cap;
} rows;

static void rows_free(rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        mm1_free(r->items[i].task);
        mm1_free(r->items[i].id);
    }
    mm1_free(r->items);
}

static mm1_status add_row(rows *r, const char *path, const mm1_json_element *e, int side, mm1_error *err)
{
    const char *task = json_string_value(json_object_get(e->value, "task")),
               *id = json_string_value(json_object_get(e->value, "id"));
    const json_t *shots = json_object_get(e->value, "shots"), *score = json_object_get(e->value, "score");
    if (task == NULL || id == NULL || !json_is_integer(shots)) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "%s:%llu: no sample of a benchmark: \"task\", \"shots\" and \"id\" are expected", path,
                             (unsigned long long)e->line);
    }
    if (!json_is_number(score)) { /* answered, but there is nothing to compare it with */
        return MM1_OK;
    }
    if (r->n == r->cap) {
        const size_t cap = r->cap > 0 ? 2 * r->cap : 1024;
        row *more = mm1_realloc(r->items, cap, sizeof *more);
        if (more == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its samples", path);
        }
        r->items = more;
        r->cap = cap;
    }
    row *at = &r->items[r->n++];
    *at = (row){mm1_strdup(task), mm1_strdup(id), (int64_t)json_integer_value(shots), json_number_value(score), side};
    return at->task != NULL && at->id != NULL ? MM1_OK
                                              : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its samples", path);
}

static mm1_status read_samples(rows *r, const char *path, int side, mm1_error *err)
{
    mm1_json_stream *stream = NULL;
    mm1_json_element e;
    bool more = true;
    char *file = mm1_path_is_dir(path) ? mm1_path_join(path, "samples.jsonl") : mm1_strdup(path);
    mm1_status st = file == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path")
                                 : mm1_json_stream_open_lines(file, &stream, err);
    while (st == MM1_OK && more) {
        st = mm1_json_stream_next(stream, &e, &more, err);
        st = st != MM1_OK || !more ? st : add_row(r, file, &e, side, err);
    }
    mm1_json_stream_close(stream);
    mm1_free(file);
    return st;
}

static int by_cell(const row *x, const row *y)
{
    const int c = strcmp(x->task, y->task);
    return c != 0 ? c : (x->shots > y->shots) - (x->shots < y->shots);
}

static int by_item(const void *a, const void *b)
{
    const row *x = a, *y = b;
    int c = by_cell(x, y);
    c = c != 0 ? c : strcmp(x->id, y->id);
    return c != 0 ? c : x->side - y->side;
}

/* Rows [begin, end) are one cell. */
static mm1_status compare_cell(const rows *r, size_t begin, size_t end, mm1_bench_difference *d, mm1_error *err)
{
    const mm1_bootstrap b = mm1_bootstrap_default();
    double *x = mm1_alloc(end - begin, sizeof *x), *y = mm1_alloc(end - begin, sizeof *y);
    size_t n = 0;
    *d = (mm1_bench_difference){
        .task = mm1_strdup(r->items[begin].task), .shots = r->items[begin].shots, .difference = {NAN, NAN, NAN}};
    mm1_status st =
        x == NULL || y == NULL || d->task == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory to compare") : MM1_OK;
    for (size_t i = begin, k = 0; st == MM1_OK && i < end; i = k) {
        double sum[2] = {0, 0};
        int64_t count[2] = {0, 0};
        for (k = i; k < end && strcmp(r->items[k].id, r->items[i].id) == 0; k++) {
            sum[r->items[k].side] += r->items[k].score;
            count[r->items[k].side]++;
        }
        d->n_only_first += count[1] == 0;
        d->n_only_second += count[0] == 0;
        if (count[0] > 0 && count[1] > 0) {
            x[n] = sum[0] / (double)count[0];
            y[n] = sum[1] / (double)count[1];
            d->first += x[n];
            d->second += y[n++];
        }
    }
    d->n = (int64_t)n;
    d->first = n > 0 ? d->first / (double)n : (double)NAN;
    d->second = n > 0 ? d->second / (double)n : (double)NAN;
    if (st == MM1_OK && n > 0) {
        st = mm1_bootstrap_paired(&b, x, y, n, &d->difference, err);
    }
    mm1_free(x);
    mm1_free(y);
    return st;
}

void mm1_bench_comparison_deinit(mm1_bench_comparison *c)
{
    for (size_t i = 0; i < c->n; i++) {
        mm1_free(c->cells[i].task);
    }
    mm1_free(c->cells);
    *c = (mm1_bench_comparison){0};
}

mm1_status mm1_bench_compare(const char *first, const char *second, mm1_bench_comparison *out, mm1_error *err)
{
    rows r = {0};
    int64_t n_both = 0;
    *out = (mm1_bench_comparison){0};
    mm1_status st = read_samples(&r, first, 0, err);
    st = st != MM1_OK ? st : read_samples(&r, second, 1, err);
    if (st == MM1_OK && r.n > 0) {
        qsort(r.items, r.n, sizeof *r.items, by_item);
    }
    for (size_t i = 0, k = 0; st == MM1_OK && i < r.n; i = k) {
        for (k = i; k < r.n && by_cell(&r.items[k], &r.items[i]) == 0; k++) {
        }
        mm1_bench_difference *cells = mm1_realloc(out->cells, out->n + 1, sizeof *cells);
        if (cells == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory to compare");
            break;
        }
        out->cells = cells;
        st = compare_cell(&r, i, k, &cells[out->n++], err);
        n_both += cells[out->n - 1].n;
    }
    if (st == MM1_OK && n_both == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s and %s have no item with a score in common", first, second);
    }
    if (st != MM1_OK) {
        mm1_bench_comparison_deinit(out);
    }
    rows_free(&r);
    return st;
}

/* bench_records.c - records.sqlite: runs, cells and samples of every evaluation into this folder, for comparisons by
 * SQL.  A cell is one transaction: it is there as a whole or not at all; a run is marked as finished at its end. */
#include "base/alloc.h"
#include "base/file.h"
#include "eval/benchmark_internal.h"
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <time.h>

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS runs(id INTEGER PRIMARY KEY, time TEXT NOT NULL, model TEXT, model_hash TEXT NOT NULL, "
    "seed INTEGER NOT NULL, seeds INTEGER NOT NULL, item_limit INTEGER NOT NULL, shot_choice TEXT NOT NULL, "
    "pictures TEXT NOT NULL, "
    "votes INTEGER NOT NULL, chat INTEGER NOT NULL, thinks INTEGER NOT NULL, finished INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS cells(id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(id), "
    "task TEXT NOT NULL, metric TEXT NOT NULL, answered_by TEXT NOT NULL, shots INTEGER NOT NULL, score REAL, low "
    "REAL, "
    "high REAL, n INTEGER NOT NULL, n_asked INTEGER NOT NULL, left_out INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS parts(cell INTEGER NOT NULL REFERENCES cells(id), name TEXT NOT NULL, value REAL);"
    "CREATE TABLE IF NOT EXISTS samples(cell INTEGER NOT NULL REFERENCES cells(id), seed INTEGER NOT NULL, "
    "item TEXT NOT NULL, hash TEXT NOT NULL, answer TEXT, picked INTEGER, score REAL);"
    "CREATE INDEX IF NOT EXISTS samples_of ON samples(cell);";

struct mm1_bench_records {
    sqlite3 *db;
    int64_t run;
};

static mm1_status failed(const mm1_bench_records *r, mm1_error *err)
{
    const int code = sqlite3_errcode(r->db);
    return mm1_error_set(err, code == SQLITE_NOMEM ? MM1_E_NOMEM : MM1_E_IO, "records.sqlite: %s",
                         sqlite3_errmsg(r->db));
}

static mm1_status run_sql(mm1_bench_records *r, const char *sql, mm1_error *err)
{
    return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK ? MM1_OK : failed(r, err);
}

/* Binds by the letters of `types`: i int64_t, d double (not finite: NULL), t text (NULL: NULL); then steps. */
typedef struct value {
    char type;
    int64_t i;
    double d;
    const char *t;
} value;

static mm1_status insert(mm1_bench_records *r, sqlite3_stmt *s, const value *v, int n, mm1_error *err)
{
    for (int i = 0; i < n; i++) {
        if (v[i].type == 'i') {
            (void)sqlite3_bind_int64(s, i + 1, v[i].i);
        } else if (v[i].type == 'd' && isfinite(v[i].d)) {
            (void)sqlite3_bind_double(s, i + 1, v[i].d);
        } else if (v[i].type == 't' && v[i].t != NULL) {
            (void)sqlite3_bind_text(s, i + 1, v[i].t, -1, SQLITE_STATIC);
        } else {
            (void)sqlite3_bind_null(s, i + 1);
        }
    }
    const int code = sqlite3_step(s);
    (void)sqlite3_reset(s);
    return code == SQLITE_DONE ? MM1_OK : failed(r, err);
}

static mm1_status insert_one(mm1_bench_records *r, const char *sql, const value *v, int n, mm1_error *err)
{
    sqlite3_stmt *s = NULL;
    const mm1_status st =
        sqlite3_prepare_v2(r->db, sql, -1, &s, NULL) == SQLITE_OK ? insert(r, s, v, n, err) : failed(r, err);
    (void)sqlite3_finalize(s);
    return st;
}

static mm1_status add_run(mm1_bench_records *r, const mm1_benchmark_options *o, mm1_error *err)
{
    char when[32] = "", hash[20];
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)o->model_hash);
    const value v[] = {{.type = 't', .t = when},
                       {.type = 't', .t = o->model_name},
                       {.type = 't', .t = hash},
                       {.type = 'i', .i = (int64_t)o->seed},
                       {.type = 'i', .i = o->n_seeds},
                       {.type = 'i', .i = o->limit},
                       {.type = 't', .t = mm1_shot_choice_names[o->shot_choice]},
                       {.type = 't', .t = mm1_bench_pictures_names[o->pictures]},
                       {.type = 'i', .i = o->n_votes},
                       {.type = 'i', .i = o->is_chat},
                       {.type = 'i', .i = o->thinks}};
    const mm1_status st =
        insert_one(r,
                   "INSERT INTO runs(time, model, model_hash, seed, seeds, item_limit, shot_choice, pictures, votes, "
                   "chat, thinks) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                   v, sizeof v / sizeof *v, err);
    r->run = sqlite3_last_insert_rowid(r->db);
    return st;
}

mm1_status mm1__bench_records_open(const char *dir, const mm1_benchmark_options *o, mm1_bench_records **out,
                                   mm1_error *err)
{
    enum { BUSY_MS = 10000 };
    mm1_bench_records *r = mm1_calloc(1, sizeof *r);
    char *path = mm1_path_join(dir, "records.sqlite");
    *out = NULL;
    mm1_status st = r == NULL || path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for records") : MM1_OK;
    if (st == MM1_OK && sqlite3_open(path, &r->db) != SQLITE_OK) {
        st = mm1_error_set(err, MM1_E_IO, "%s: cannot be opened: %s", path, sqlite3_errmsg(r->db));
    }
    if (st == MM1_OK) {
        (void)sqlite3_busy_timeout(r->db, BUSY_MS);
        st = run_sql(r, schema, err);
        st = st != MM1_OK ? st : add_run(r, o, err);
    }
    mm1_free(path);
    if (st != MM1_OK) {
        mm1__bench_records_close(r);
        return st;
    }
    *out = r;
    return MM1_OK;
}

void mm1__bench_records_close(mm1_bench_records *r)
{
    if (r != NULL) {
        (void)sqlite3_close(r->db);
        mm1_free(r);
    }
}

static mm1_status add_cell(mm1_bench_records *r, const mm1_bench_cell *cell, int64_t *id, mm1_error *err)
{
    const mm1_bench_counts *l = &cell->left_out;
    const value v[] = {
        {.type = 'i', .i = r->run},
        {.type = 't', .t = cell->task},
        {.type = 't', .t = mm1_task_metric_names[cell->metric]},
        {.type = 't', .t = mm1_task_by_names[cell->by]},
        {.type = 'i', .i = cell->shots},
        {.type = 'd', .d = cell->score.value},
        {.type = 'd', .d = cell->score.low},
        {.type = 'd', .d = cell->score.high},
        {.type = 'i', .i = cell->n},
        {.type = 'i', .i = cell->n_asked},
        {.type = 'i', .i = l->malformed + l->duplicates + l->unanswered + l->without_picture + cell->too_long}};
    const mm1_status st = insert_one(r,
                                     "INSERT INTO cells(run, task, metric, answered_by, shots, score, low, high, n, "
                                     "n_asked, left_out) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                                     v, sizeof v / sizeof *v, err);
    *id = sqlite3_last_insert_rowid(r->db);
    return st;
}

static mm1_status add_parts(mm1_bench_records *r, const mm1_bench_cell *cell, int64_t id, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (int i = 0; st == MM1_OK && i < cell->all.n_parts; i++) {
        const value v[] = {{.type = 'i', .i = id},
                           {.type = 't', .t = cell->all.parts[i].name},
                           {.type = 'd', .d = cell->all.parts[i].value}};
        st = insert_one(r, "INSERT INTO parts VALUES(?,?,?)", v, sizeof v / sizeof *v, err);
    }
    return st;
}

static mm1_status add_samples(mm1_bench_records *r, int64_t id, const mm1_bench_sample *samples, size_t n,
                              mm1_error *err)
{
    sqlite3_stmt *s = NULL;
    mm1_status st = sqlite3_prepare_v2(r->db, "INSERT INTO samples VALUES(?,?,?,?,?,?,?)", -1, &s, NULL) == SQLITE_OK
                        ? MM1_OK
                        : failed(r, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        char hash[20];
        (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)samples[i].hash);
        const value v[] = {{.type = 'i', .i = id},
                           {.type = 'i', .i = (int64_t)samples[i].seed},
                           {.type = 't', .t = samples[i].item.id},
                           {.type = 't', .t = hash},
                           {.type = 't', .t = samples[i].said},
                           {.type = samples[i].picked >= 0 ? 'i' : 'n', .i = samples[i].picked},
                           {.type = 'd', .d = samples[i].score}};
        st = samples[i].is_asked ? insert(r, s, v, sizeof v / sizeof *v, err) : MM1_OK;
    }
    (void)sqlite3_finalize(s);
    return st;
}

mm1_status mm1__bench_records_add(mm1_bench_records *r, const mm1_bench_cell *cell, const mm1_bench_sample *samples,
                                  size_t n, mm1_error *err)
{
    int64_t id = 0;
    mm1_status st = run_sql(r, "BEGIN IMMEDIATE", err);
    if (st != MM1_OK) {
        return st;
    }
    st = add_cell(r, cell, &id, err);
    st = st != MM1_OK ? st : add_parts(r, cell, id, err);
    st = st != MM1_OK ? st : add_samples(r, id, samples, n, err);
    st = st != MM1_OK ? st : run_sql(r, "COMMIT", err);
    if (st != MM1_OK) {
        (void)sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return st;
}

mm1_status mm1__bench_records_finish(mm1_bench_records *r, mm1_error *err)
{
    const value v[] = {{.type = 'i', .i = r->run}};
    return insert_one(r, "UPDATE runs SET finished = 1 WHERE id = ?", v, 1, err);
}

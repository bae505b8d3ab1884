/* bench_answers.c - answers.jsonl: what a model has said, by a hash of all that it depends on.  Lines are added as
 * answers come, so that a run that was stopped goes on where it was; a last line that was cut is passed over. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/json_stream.h"
#include "data/count_map.h"
#include "eval/benchmark_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line. */
typedef struct answer {
    char **texts;     /* [n] */
    double *logprobs; /* [n] */
    size_t n;
} answer;

struct mm1_bench_answers {
    mm1_count_map at; /* hash -> number + 1 */
    answer *list;
    size_t n, cap;
    char *path;
    FILE *file; /* NULL: nothing is kept */
};

static void answer_deinit(answer *a)
{
    for (size_t i = 0; a->texts != NULL && i < a->n; i++) {
        mm1_free(a->texts[i]);
    }
    mm1_free(a->texts);
    mm1_free(a->logprobs);
}

/* False if it is no answer, or memory is short. */
static bool take_answer(answer *a, const json_t *object)
{
    const json_t *texts = json_object_get(object, "texts"), *logprobs = json_object_get(object, "logprobs");
    const size_t n = json_array_size(texts != NULL ? texts : logprobs);
    *a = (answer){.n = n};
    if (n == 0) {
        return false;
    }
    if (texts != NULL) {
        a->texts = mm1_calloc(n, sizeof *a->texts);
    } else {
        a->logprobs = mm1_calloc(n, sizeof *a->logprobs);
    }
    bool ok = a->texts != NULL || a->logprobs != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        const json_t *v = json_array_get(texts != NULL ? texts : logprobs, i);
        if (texts != NULL) {
            a->texts[i] = json_is_string(v) ? mm1_strdup(json_string_value(v)) : NULL;
            ok = a->texts[i] != NULL;
        } else {
            a->logprobs[i] = json_number_value(v);
            ok = json_is_number(v);
        }
    }
    if (!ok) {
        answer_deinit(a);
    }
    return ok;
}

static bool keep(mm1_bench_answers *a, uint64_t hash, const answer *one)
{
    if (a->n == a->cap) {
        const size_t cap = a->cap > 0 ? 2 * a->cap : 256;
        answer *list = mm1_realloc(a->list, cap, sizeof *list);
        if (list == NULL) {
            return false;
        }
        a->list = list;
        a->cap = cap;
    }
    a->list[a->n++] = *one;
    return a->n < UINT32_MAX && mm1_count_map_set(&a->at, hash, (uint32_t)a->n);
}

static mm1_status read_known(mm1_bench_answers *a, mm1_error *err)
{
    mm1_json_stream *stream = NULL;
    mm1_json_element e;
    bool more = true;
    mm1_status st = mm1_json_stream_open_lines(a->path, &stream, err);
    while (st == MM1_OK && more) {
        st = mm1_json_stream_next(stream, &e, &more, err);
        const char *hash = st == MM1_OK && more ? json_string_value(json_object_get(e.value, "hash")) : NULL;
        answer one;
        if (hash != NULL && take_answer(&one, e.value) && !keep(a, strtoull(hash, NULL, 16), &one)) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its answers", a->path);
        }
    }
    mm1_json_stream_close(stream);
    return st;
}

/* A line that was cut gets its end, so that the next one begins anew. */
static mm1_status open_to_add(mm1_bench_answers *a, mm1_error *err)
{
    a->file = fopen(a->path, "ab+");
    if (a->file == NULL) {
        return mm1_error_set(err, MM1_E_IO, "%s: cannot be written: %s", a->path, strerror(errno));
    }
    const bool is_cut = fseek(a->file, -1, SEEK_END) == 0 && fgetc(a->file) != '\n';
    (void)fseek(a->file, 0, SEEK_END); /* C wants it between reading and writing */
    if (is_cut) {
        (void)fputc('\n', a->file);
    }
    return MM1_OK;
}

mm1_status mm1__bench_answers_open(const char *dir, mm1_bench_answers **out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_bench_answers *a = mm1_calloc(1, sizeof *a);
    *out = NULL;
    if (a == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for answers");
    }
    if (dir != NULL) {
        a->path = mm1_path_join(dir, "answers.jsonl");
        st = a->path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path") : MM1_OK;
        st = st != MM1_OK || !mm1_path_exists(a->path) ? st : read_known(a, err);
        st = st != MM1_OK ? st : open_to_add(a, err);
    }
    if (st != MM1_OK) {
        mm1__bench_answers_close(a);
        return st;
    }
    *out = a;
    return MM1_OK;
}

void mm1__bench_answers_close(mm1_bench_answers *a)
{
    if (a != NULL) {
        if (a->file != NULL) {
            (void)fclose(a->file);
        }
        for (size_t i = 0; i < a->n; i++) {
            answer_deinit(&a->list[i]);
        }
        mm1_free(a->list);
        mm1_count_map_deinit(&a->at);
        mm1_free(a->path);
        mm1_free(a);
    }
}

bool mm1__bench_answers_find(const mm1_bench_answers *a, mm1_bench_sample *s, size_t n_votes)
{
    const uint32_t at = mm1_count_map_get(&a->at, s->hash);
    if (at == 0) {
        return false;
    }
    const answer *one = &a->list[at - 1];
    if (s->logprob != NULL) {
        if (one->logprobs == NULL || one->n != s->item.n_choices) {
            return false;
        }
        memcpy(s->logprob, one->logprobs, one->n * sizeof *one->logprobs);
        return true;
    }
    if (one->texts == NULL || one->n != n_votes) {
        return false;
    }
    while (s->n_raw < n_votes && (s->raw[s->n_raw] = mm1_strdup(one->texts[s->n_raw])) != NULL) {
        s->n_raw++;
    }
    if (s->n_raw == n_votes) {
        return true;
    }
    while (s->n_raw > 0) { /* no memory: it is asked again, and its answers begin anew */
        mm1_free(s->raw[--s->n_raw]);
    }
    return false;
}

mm1_status mm1__bench_answers_add(mm1_bench_answers *a, const mm1_bench_sample *s, mm1_error *err)
{
    if (a->file == NULL) {
        return MM1_OK;
    }
    mm1_buf line;
    mm1_buf_init(&line, SIZE_MAX / 2);
    mm1_buf_printf(&line, "{\"hash\": \"%016" PRIx64 "\", \"%s\": [", s->hash,
                   s->logprob != NULL ? "logprobs" : "texts");
    for (size_t i = 0; i < (s->logprob != NULL ? s->item.n_choices : s->n_raw); i++) {
        mm1_buf_puts(&line, i > 0 ? ", " : "");
        if (s->logprob != NULL) {
            mm1_buf_printf(&line, "%.17g", s->logprob[i]);
        } else {
            mm1_buf_put_json(&line, s->raw[i]);
        }
    }
    mm1_buf_puts(&line, "]}\n");
    mm1_status st = mm1_buf_status(&line);
    if (st != MM1_OK) {
        st = mm1_error_set(err, st, "%s: no memory for a line", a->path);
    } else if (fwrite(line.data, 1, line.len, a->file) != line.len || fflush(a->file) != 0) {
        st = mm1_error_set(err, MM1_E_IO, "%s: cannot be written: %s", a->path, strerror(errno));
    }
    mm1_buf_deinit(&line);
    return st;
}

/* metric.c - see metric.h. */
#include "eval/metric.h"

#include "base/alloc.h"
#include "base/file_writer.h"
#include "eval/answer.h"
#include "eval/bleu.h"
#include "eval/cider.h"
#include "eval/metric_file.h"
#include "eval/rouge.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct pairs {
    mm1_metric_pair *items;
    size_t n;
} pairs;

typedef mm1_status score_fn(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err);

typedef struct metric {
    const char *name;
    mm1_metric_format predictions, references;
    score_fn *score; /* fills scores [n], one an item, and parts; out->score is their mean if it is left at NaN */
} metric;

/* ---- scores ---- */

static void part(mm1_metric_result *out, const char *name, double value)
{
    out->parts[out->n_parts].name = name;
    out->parts[out->n_parts++].value = value;
}

static mm1_caption_item *caption_items(const pairs *p)
{
    mm1_caption_item *items = mm1_calloc(p->n, sizeof *items);
    for (size_t i = 0; items != NULL && i < p->n; i++) {
        items[i] = (mm1_caption_item){p->items[i].said, p->items[i].truths, p->items[i].n_truths};
    }
    return items;
}

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "no memory for the items");
}

static mm1_status score_cider(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    mm1_caption_item *items = caption_items(p);
    double mean = 0;
    (void)out;
    const mm1_status st = items == NULL ? no_memory(err) : mm1_cider_score(items, p->n, scores, &mean, err);
    mm1_free(items);
    return st;
}

static mm1_status score_bleu(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    static const char *const names[] = {"bleu1", "bleu2", "bleu3", "bleu4"};
    mm1_caption_item *items = caption_items(p);
    double corpus[MM1_BLEU_MAX_N];
    const mm1_status st = items == NULL ? no_memory(err) : mm1_bleu_score(items, p->n, true, scores, corpus, err);
    for (int k = 0; st == MM1_OK && k < MM1_BLEU_MAX_N; k++) {
        part(out, names[k], 100 * corpus[k]);
    }
    for (size_t i = 0; st == MM1_OK && i < p->n; i++) {
        scores[i] *= 100;
    }
    if (st == MM1_OK) {
        /* A set's BLEU is no mean over its items: there is no interval to go with it. */
        out->score = (mm1_interval){100 * corpus[MM1_BLEU_MAX_N - 1], NAN, NAN};
    }
    mm1_free(items);
    return st;
}

static mm1_status score_rouge(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    mm1_caption_item *items = caption_items(p);
    double mean = 0;
    (void)out;
    const mm1_status st = items == NULL ? no_memory(err) : mm1_rouge_score(items, p->n, true, scores, &mean, err);
    for (size_t i = 0; st == MM1_OK && i < p->n; i++) {
        scores[i] *= 100;
    }
    mm1_free(items);
    return st;
}

static mm1_status score_vqa(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    (void)out;
    for (size_t i = 0; st == MM1_OK && i < p->n; i++) {
        st = mm1_answer_vqa(p->items[i].said, p->items[i].truths, p->items[i].n_truths, &scores[i], err);
        scores[i] *= 100;
    }
    return st;
}

static mm1_status score_anls(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    (void)out;
    for (size_t i = 0; st == MM1_OK && i < p->n; i++) {
        st = mm1_answer_anls(p->items[i].said, p->items[i].truths, p->items[i].n_truths, &scores[i], err);
        scores[i] *= 100;
    }
    return st;
}

static mm1_status score_relaxed(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    (void)out;
    (void)err;
    for (size_t i = 0; i < p->n; i++) {
        scores[i] = 0;
        for (size_t t = 0; t < p->items[i].n_truths; t++) {
            scores[i] = mm1_answer_relaxed(p->items[i].said, p->items[i].truths[t]) ? 100 : scores[i];
        }
    }
    return MM1_OK;
}

static double percent(double part_of, double whole)
{
    return whole > 0 ? 100 * part_of / whole : 0;
}

static mm1_status score_pope(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    double yes = 0, true_yes = 0, yes_truths = 0, right = 0;
    const double n = (double)p->n;
    (void)err;
    for (size_t i = 0; i < p->n; i++) {
        const bool said = mm1_answer_pope(p->items[i].said) == MM1_ANSWER_YES;
        const bool truth = mm1_answer_pope(p->items[i].truths[0]) == MM1_ANSWER_YES;
        yes += said;
        yes_truths += truth;
        true_yes += said && truth;
        right += said == truth;
        scores[i] = said == truth ? 100 : 0;
    }
    const double precision = percent(true_yes, yes), recall = percent(true_yes, yes_truths);
    part(out, "accuracy", percent(right, n));
    part(out, "precision", precision);
    part(out, "recall", recall);
    part(out, "f1", precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0);
    part(out, "yes_share", percent(yes, n));
    return MM1_OK;
}

/* The picture of a question: the id up to its tab. */
static size_t picture_len(const char *id)
{
    return strcspn(id, "\t");
}

/* Accuracy over questions, and over pictures both of whose questions are right; items are sorted by picture. */
static mm1_status score_mme(const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    double right = 0, pictures = 0, both = 0;
    (void)err;
    for (size_t i = 0; i < p->n;) {
        const size_t len = picture_len(p->items[i].id), begin = i;
        bool all = true;
        for (; i < p->n && picture_len(p->items[i].id) == len && memcmp(p->items[i].id, p->items[begin].id, len) == 0;
             i++) {
            const bool ok = mm1_answer_mme(p->items[i].said) == mm1_answer_mme(p->items[i].truths[0]);
            scores[i] = ok ? 100 : 0;
            right += ok;
            all = all && ok;
        }
        pictures++;
        both += all;
    }
    const double accuracy = percent(right, (double)p->n), plus = percent(both, pictures);
    part(out, "accuracy", accuracy);
    part(out, "accuracy_plus", plus);
    out->score = (mm1_interval){accuracy + plus, NAN, NAN};
    return MM1_OK;
}

/* ---- the table ---- */

#define COCO_RESULTS                                                                                                   \
    {                                                                                                                  \
        .id = {"image_id"}, .text = { "caption" }                                                                      \
    }
#define COCO_CAPTIONS                                                                                                  \
    {                                                                                                                  \
        .list = "annotations", .id = {"image_id"}, .text = { "caption" }                                               \
    }

static const metric metrics[] = {
    {"cider", COCO_RESULTS, COCO_CAPTIONS, score_cider},
    {"bleu4", COCO_RESULTS, COCO_CAPTIONS, score_bleu},
    {"rougel", COCO_RESULTS, COCO_CAPTIONS, score_rouge},
    {"vqa",
     {.id = {"question_id"}, .text = {"answer"}},
     {.list = "annotations", .id = {"question_id"}, .text = {"answers"}, .inner = "answer"},
     score_vqa},
    {"anls",
     {.id = {"questionId"}, .text = {"answer"}},
     {.list = "data", .id = {"questionId"}, .text = {"answers"}},
     score_anls},
    {"relaxed",
     {.id = {"imgname", "query"}, .text = {"answer"}},
     {.id = {"imgname", "query"}, .text = {"label"}},
     score_relaxed},
    {"pope",
     {.form = MM1_METRIC_LINES, .id = {"question_id"}, .text = {"text", "answer"}},
     {.form = MM1_METRIC_LINES, .id = {"question_id"}, .text = {"label"}},
     score_pope},
    {"mme",
     {.form = MM1_METRIC_ROWS, .id = {"0", "1"}, .text = {"3"}, .n_columns = 4},
     {.form = MM1_METRIC_ROWS, .id = {"0", "1"}, .text = {"2"}, .n_columns = 3},
     score_mme},
};

enum { N_METRICS = sizeof metrics / sizeof *metrics };

static const metric *find(const char *name)
{
    for (size_t i = 0; i < N_METRICS; i++) {
        if (strcmp(metrics[i].name, name) == 0) {
            return &metrics[i];
        }
    }
    return NULL;
}

bool mm1_metric_exists(const char *name)
{
    return find(name) != NULL;
}

/* ---- joining ---- */

/* All texts of the records [begin, end) of a file. */
static bool gather(mm1_metric_pair *p, const mm1_metric_file *f, size_t begin, size_t end)
{
    size_t n = 0;
    for (size_t i = begin; i < end; i++) {
        n += f->records[i].n_texts;
    }
    const char **truths = mm1_calloc(n, sizeof *truths);
    for (size_t i = begin; truths != NULL && i < end; i++) {
        for (size_t t = 0; t < f->records[i].n_texts; t++) {
            truths[p->n_truths++] = f->records[i].texts[t];
        }
    }
    p->truths = truths;
    return truths != NULL;
}

static size_t run_end(const mm1_metric_file *f, size_t i)
{
    size_t end = i + 1;
    while (end < f->n && strcmp(f->records[end].id, f->records[i].id) == 0) {
        end++;
    }
    return end;
}

/* Both files are sorted by id: one walk over them. */
static mm1_status join(const mm1_metric_file *said, const mm1_metric_file *truths, pairs *p, mm1_metric_result *out,
                       mm1_error *err)
{
    p->items = mm1_calloc(said->n, sizeof *p->items);
    if (p->items == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0, k = 0; i < said->n || k < truths->n;) {
        const int c = i == said->n ? 1 : k == truths->n ? -1 : strcmp(said->records[i].id, truths->records[k].id);
        const size_t said_end = c <= 0 ? run_end(said, i) : i, truths_end = c >= 0 ? run_end(truths, k) : k;
        out->duplicates += c <= 0 ? (int64_t)(said_end - i - 1) : 0;
        out->unknown += c < 0;
        out->missing += c > 0;
        if (c == 0) {
            mm1_metric_pair *at = &p->items[p->n++];
            at->id = said->records[i].id;
            at->said = said->records[i].texts[0];
            if (!gather(at, truths, k, truths_end)) {
                return no_memory(err);
            }
        }
        i = said_end;
        k = truths_end;
    }
    return MM1_OK;
}

static void pairs_deinit(pairs *p)
{
    for (size_t i = 0; i < p->n; i++) {
        mm1_free((void *)(uintptr_t)p->items[i].truths);
    }
    mm1_free(p->items);
}

/* The metric's own figures, and the mean of the items with its interval where that is the score. */
static mm1_status score(const metric *m, const pairs *p, double *scores, mm1_metric_result *out, mm1_error *err)
{
    const mm1_bootstrap b = mm1_bootstrap_default();
    const mm1_status st = m->score(p, scores, out, err);
    return st != MM1_OK || !isnan(out->score.value) || p->n == 0
               ? st
               : mm1_bootstrap_mean(&b, scores, p->n, &out->score, err);
}

mm1_status mm1_metric_score(const char *name, const mm1_metric_pair *items, size_t n, double *scores,
                            mm1_metric_result *out, mm1_error *err)
{
    const metric *m = find(name);
    *out = (mm1_metric_result){.score = {NAN, NAN, NAN}, .n = (int64_t)n};
    if (m == NULL) {
        return mm1_error_set(err, MM1_E_ARG, "\"%s\" is no metric", name);
    }
    const pairs p = {(mm1_metric_pair *)(uintptr_t)items, n}; /* only read */
    return n == 0 ? MM1_OK : score(m, &p, scores, out, err);
}

/* A line an item. */
static mm1_status write_items(const char *path, const pairs *p, const double *scores, mm1_error *err)
{
    mm1_file_writer *w = NULL;
    mm1_status st = mm1_file_writer_open(&w, path, err);
    for (size_t i = 0; st == MM1_OK && i < p->n; i++) {
        json_t *item = json_pack("{s:s, s:f}", "id", p->items[i].id, "score", scores[i]);
        char *line = item != NULL ? json_dumps(item, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
        json_decref(item);
        if (line == NULL) {
            st = no_memory(err);
            break;
        }
        (void)mm1_file_writer_append(w, line, strlen(line), err);
        st = mm1_file_writer_append(w, "\n", 1, err);
        free(line); /* jansson's */
    }
    st = st != MM1_OK ? st : mm1_file_writer_commit(w, err);
    mm1_file_writer_close(w);
    return st;
}

mm1_status mm1_metric_run(const char *name, const char *predictions, const char *references, const char *items,
                          mm1_metric_result *out, mm1_error *err)
{
    const metric *m = find(name);
    mm1_metric_file said = {0}, truths = {0};
    pairs p = {0};
    double *scores = NULL;
    *out = (mm1_metric_result){.score = {NAN, NAN, NAN}};
    if (m == NULL) {
        return mm1_error_set(err, MM1_E_ARG, "\"%s\" is no metric", name);
    }
    mm1_status st = mm1_metric_file_read(&said, predictions, &m->predictions, err);
    st = st != MM1_OK ? st : mm1_metric_file_read(&truths, references, &m->references, err);
    st = st != MM1_OK ? st : join(&said, &truths, &p, out, err);
    out->malformed = said.malformed + truths.malformed;
    out->n = (int64_t)p.n;
    if (st == MM1_OK && p.n == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: no prediction belongs to a reference of %s; do the ids agree?",
                           predictions, references);
    }
    if (st == MM1_OK && (scores = mm1_calloc(p.n, sizeof *scores)) == NULL) {
        st = no_memory(err);
    }
    st = st != MM1_OK ? st : score(m, &p, scores, out, err);
    st = st != MM1_OK || items == NULL ? st : write_items(items, &p, scores, err);
    mm1_free(scores);
    pairs_deinit(&p);
    mm1_metric_file_deinit(&truths);
    mm1_metric_file_deinit(&said);
    return st;
}

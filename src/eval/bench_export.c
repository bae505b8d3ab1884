/* bench_export.c - answers in the formats that the benchmarks' own tools and judges read. */
#include "base/alloc.h"
#include "base/file.h"
#include "eval/benchmark_internal.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ids that are numbers stay numbers, as in the official files; "007", "+7" and what is too large are none. */
static json_t *id_of(const char *id)
{
    char again[24];
    const long long n = strtoll(id, NULL, 10);
    (void)snprintf(again, sizeof again, "%lld", n);
    return strcmp(again, id) == 0 ? json_integer((json_int_t)n) : json_string(id);
}

static const char *letter_or_text(const mm1_bench_sample *s)
{
    return s->picked >= 0 ? mm1_bench_letter(s->picked) : s->said != NULL ? s->said : "";
}

static json_t *coco(const mm1_bench_sample *s)
{
    return json_pack("{s:o,s:s}", "image_id", id_of(s->item.id), "caption", s->said != NULL ? s->said : "");
}

static json_t *vqa(const mm1_bench_sample *s)
{
    return json_pack("{s:o,s:s}", "question_id", id_of(s->item.id), "answer", s->said != NULL ? s->said : "");
}

static json_t *vizwiz(const mm1_bench_sample *s)
{
    return json_pack("{s:s,s:s}", "image", s->item.id, "answer", s->said != NULL ? s->said : "");
}

static json_t *mmmu(const mm1_bench_sample *s)
{
    json_t *letters = json_array(), *texts = json_object();
    for (size_t i = 0; i < s->item.n_choices; i++) {
        (void)json_array_append_new(letters, json_string(mm1_bench_letter((int64_t)i)));
        (void)json_object_set_new(texts, mm1_bench_letter((int64_t)i), json_string(s->item.choices[i]));
    }
    const bool has_choices = s->item.n_choices > 0;
    const char *answer = has_choices             ? mm1_bench_letter(s->item.right)
                         : s->item.n_answers > 0 ? s->item.answers[0]
                                                 : "";
    return json_pack("{s:s,s:s,s:s,s:o,s:o,s:s}", "id", s->item.id, "question_type",
                     has_choices ? "multiple-choice" : "short-answer", "answer", answer, "all_choices", letters,
                     "index2ans", texts, "response", s->said != NULL ? s->said : letter_or_text(s));
}

static json_t *mathvista(const mm1_bench_sample *s)
{
    json_error_t where;
    json_t *record = s->item.record != NULL ? json_loads(s->item.record, 0, &where) : json_object();
    if (record != NULL) {
        (void)json_object_set_new(record, "query", json_string(s->prompt));
        (void)json_object_set_new(record, "response", json_string(s->said != NULL ? s->said : letter_or_text(s)));
    }
    return record;
}

static json_t *llava(const mm1_bench_sample *s, const char *model)
{
    mm1_buf question;
    char answer_id[20];
    mm1_buf_init(&question, 1 << 22);
    for (size_t i = 0; i < s->item.n_question; i++) {
        mm1_buf_puts(&question, s->item.question[i].text != NULL ? s->item.question[i].text : "");
    }
    (void)snprintf(answer_id, sizeof answer_id, "%016llx", (unsigned long long)s->hash);
    json_t *o = json_pack("{s:o,s:s,s:s,s:s,s:s,s:{}}", "question_id", id_of(s->item.id), "prompt",
                          mm1_buf_str(&question), "text", s->said != NULL ? s->said : "", "answer_id", answer_id,
                          "model_id", model != NULL ? model : "mm1", "metadata");
    mm1_buf_deinit(&question);
    return o;
}

static void put_json(mm1_buf *out, json_t *o, size_t flags)
{
    char *text = o != NULL ? json_dumps(o, flags) : NULL;
    mm1_buf_puts(out, text != NULL ? text : "null");
    free(text);
    json_decref(o);
}

/* A cell of a table: no tabs, no line breaks. */
static void put_cell(mm1_buf *out, const char *text, char end)
{
    for (; *text != '\0'; text++) {
        mm1_buf_putc(out, *text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text);
    }
    mm1_buf_putc(out, end);
}

static void put_one(const mm1_benchmark_options *o, const mm1_bench_style *style, const mm1_bench_sample *s,
                    bool is_first, mm1_buf *out)
{
    const char *between = is_first ? "" : ",\n";
    switch (style->task->export_as) {
    case MM1_EXPORT_COCO:
        mm1_buf_puts(out, between);
        put_json(out, coco(s), 0);
        break;
    case MM1_EXPORT_VQA:
        mm1_buf_puts(out, between);
        put_json(out, vqa(s), 0);
        break;
    case MM1_EXPORT_VIZWIZ:
        mm1_buf_puts(out, between);
        put_json(out, vizwiz(s), 0);
        break;
    case MM1_EXPORT_MMMU:
        mm1_buf_puts(out, between);
        put_json(out, mmmu(s), 0);
        break;
    case MM1_EXPORT_MATHVISTA:
        mm1_buf_puts(out, between);
        mm1_buf_put_json(out, s->item.id);
        mm1_buf_puts(out, ": ");
        put_json(out, mathvista(s), 0);
        break;
    case MM1_EXPORT_LLAVA:
        put_json(out, llava(s, o->model_name), 0);
        mm1_buf_putc(out, '\n');
        break;
    case MM1_EXPORT_LETTERS:
        put_cell(out, s->item.id, '\t');
        put_cell(out, letter_or_text(s), '\n');
        break;
    case MM1_EXPORT_NONE:
    case MM1_EXPORT_COUNT: break;
    }
}

static const struct {
    const char *ending, *begin, *end;
} forms[MM1_EXPORT_COUNT] = {
    [MM1_EXPORT_NONE] = {"", "", ""},         [MM1_EXPORT_COCO] = {"json", "[", "]\n"},
    [MM1_EXPORT_VQA] = {"json", "[", "]\n"},  [MM1_EXPORT_VIZWIZ] = {"json", "[", "]\n"},
    [MM1_EXPORT_MMMU] = {"json", "[", "]\n"}, [MM1_EXPORT_MATHVISTA] = {"json", "{", "}\n"},
    [MM1_EXPORT_LLAVA] = {"jsonl", "", ""},   [MM1_EXPORT_LETTERS] = {"tsv", "index\tprediction\n", ""},
};

mm1_status mm1__bench_export(const char *dir, const mm1_benchmark_options *o, const mm1_bench_style *style,
                             const mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err)
{
    const size_t form = (size_t)style->task->export_as;
    mm1_buf text, path;
    mm1_buf_init(&text, SIZE_MAX / 2);
    mm1_buf_init(&path, 1 << 16);
    mm1_buf_printf(&path, "%s/exports", dir);
    mm1_status st = mm1_dir_make(mm1_buf_str(&path), err);
    /* Of several seeds the first: a server takes one answer to a question. */
    bool is_first = true;
    mm1_buf_puts(&text, forms[form].begin);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (samples[i].is_asked && samples[i].seed == cell->seed) {
            put_one(o, style, &samples[i], is_first, &text);
            is_first = false;
        }
    }
    mm1_buf_puts(&text, forms[form].end);
    mm1_buf_printf(&path, "/%s-%lldshot.%s", mm1_path_basename(cell->task), (long long)cell->shots, forms[form].ending);
    if (st == MM1_OK && (mm1_buf_status(&text) != MM1_OK || mm1_buf_status(&path) != MM1_OK)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the answers of %s", cell->task);
    }
    st = st != MM1_OK ? st : mm1_file_write_atomic(mm1_buf_str(&path), mm1_buf_str(&text), text.len, err);
    mm1_buf_deinit(&path);
    mm1_buf_deinit(&text);
    return st;
}

/* bench_prompt.c - see bench_prompt.h. */
#include "eval/bench_prompt.h"

#include "base/alloc.h"
#include "base/file.h"
#include <string.h>

static const size_t MAX_TEXT_BYTES = (size_t)8 << 20;

/* For choices asked for otherwise than the task would. */
static const char with_letters[] = "{image}{context}{question}\n{choices}Answer:";
static const char without_letters[] = "{image}{context}Question: {question}\nAnswer:";

mm1_status mm1_bench_style_init(mm1_bench_style *style, const mm1_task *task, mm1_task_by by, bool is_chat, bool thinks,
                                mm1_error *err)
{
    static const char *const line_ends[] = {"\n"};
    const bool has_choices = task->metric == MM1_SCORE_CHOICE;
    *style = (mm1_bench_style){.task = task,
                               .by = by == MM1_BY_COUNT ? task->by : by,
                               .prompt = is_chat && task->chat != NULL ? task->chat : task->prompt,
                               .is_chat = is_chat,
                               .thinks = thinks,
                               .n_whole = -1,
                               .stop = task->stop,
                               .n_stop = task->n_stop,
                               .max_tokens = thinks && task->max_tokens < 256 ? 256 : task->max_tokens};
    if (by != MM1_BY_COUNT && by != MM1_BY_GENERATION && !has_choices) {
        return mm1_error_set(err, MM1_E_ARG, "task %s offers no choices to be chosen by %s", task->name,
                             mm1_task_by_names[by]);
    }
    if (thinks && style->by == MM1_BY_LIKELIHOOD) {
        return mm1_error_set(err, MM1_E_ARG,
                             "task %s: a chain of thought is written; choose by letter rather than by likelihood",
                             task->name);
    }
    if (has_choices && style->by != task->by) {
        style->prompt = style->by == MM1_BY_LETTER ? with_letters : without_letters;
    }
    if (is_chat) { /* the model ends its turn itself */
        style->stop = NULL;
        style->n_stop = 0;
    } else if (thinks) { /* a rationale has points and commas */
        style->stop = line_ends;
        style->n_stop = 1;
    }
    return MM1_OK;
}

const char *mm1_bench_letter(int64_t i)
{
    static const char letters[][2] = {"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
                                      "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z"};
    return i >= 0 && i < MM1_BENCH_MAX_CHOICES ? letters[i] : "";
}

/* What most people said; of equals the first. */
static const char *most_frequent(const mm1_bench_item *item)
{
    size_t best = 0, most = 0;
    for (size_t i = 0; i < item->n_answers; i++) {
        size_t n = 0;
        for (size_t k = 0; k < item->n_answers; k++) {
            n += strcmp(item->answers[i], item->answers[k]) == 0;
        }
        if (n > most) {
            most = n;
            best = i;
        }
    }
    return item->answers[best];
}

const char *mm1_bench_shown_answer(const mm1_bench_style *style, const mm1_bench_item *item, mm1_rng *answers)
{
    if (item->n_choices > 0 && style->by != MM1_BY_GENERATION) {
        return item->right < 0              ? NULL
               : style->by == MM1_BY_LETTER ? mm1_bench_letter(item->right)
                                            : item->choices[item->right];
    }
    if (item->n_answers == 0) {
        return item->right >= 0 ? item->choices[item->right] : NULL;
    }
    switch (style->task->metric) {
    case MM1_SCORE_CIDER: return item->answers[mm1_rng_below(answers, item->n_answers)];
    case MM1_SCORE_VQA: return most_frequent(item);
    default: return item->answers[0];
    }
}

/* ---- templates ---- */

mm1_status mm1_bench_join(mm1_document *d, const mm1_document *more, mm1_error *err)
{
    mm1_part *last = d->n_parts > 0 ? &d->parts[d->n_parts - 1] : NULL;
    if (last == NULL || last->kind != MM1_PART_TEXT || more->n_parts == 0 || more->parts[0].kind != MM1_PART_TEXT) {
        return mm1_document_append(d, more, err);
    }
    mm1_buf all;
    mm1_buf_init(&all, MAX_TEXT_BYTES);
    mm1_buf_append(&all, last->bytes, last->len);
    mm1_buf_append(&all, more->parts[0].bytes, more->parts[0].len);
    const mm1_status st = mm1_buf_status(&all);
    const size_t len = all.len;
    char *text = mm1_buf_take(&all);
    mm1_buf_deinit(&all);
    if (text == NULL) {
        return mm1_error_set(err, st == MM1_OK ? MM1_E_NOMEM : st, "a prompt of over %zu bytes of text",
                             MAX_TEXT_BYTES);
    }
    mm1_free(last->bytes);
    last->bytes = text;
    last->len = len;
    const mm1_document rest = {.parts = more->parts + 1, .n_parts = more->n_parts - 1};
    return mm1_document_append(d, &rest, err);
}

/* Where text gathers until a picture comes. */
typedef struct writer {
    const mm1_bench_set *set;
    const mm1_bench_item *item;
    mm1_document *d;
    mm1_buf text;
    mm1_error *err;
    mm1_status status;
} writer;

static void flush(writer *w)
{
    if (w->status == MM1_OK && w->text.len > 0) {
        mm1_part part = {.kind = MM1_PART_TEXT, .bytes = w->text.data, .len = w->text.len};
        const mm1_document more = {.parts = &part, .n_parts = 1};
        w->status = mm1_bench_join(w->d, &more, w->err);
    }
    mm1_buf_clear(&w->text);
}

static void put_image(writer *w, int64_t i)
{
    flush(w);
    if (w->status == MM1_OK && i >= 0 && i < (int64_t)w->item->n_images) {
        w->status = mm1_bench_image_load(w->set, &w->item->images[i], w->d, w->err);
    }
}

static void put_images(writer *w)
{
    for (size_t i = 0; i < w->item->n_images; i++) {
        bool is_placed = false;
        for (size_t p = 0; p < w->item->n_question; p++) {
            is_placed = is_placed || (w->item->question[p].text == NULL && w->item->question[p].image == (int64_t)i);
        }
        if (!is_placed) {
            put_image(w, (int64_t)i);
        }
    }
}

static void put_question(writer *w)
{
    for (size_t i = 0; i < w->item->n_question; i++) {
        if (w->item->question[i].text != NULL) {
            mm1_buf_puts(&w->text, w->item->question[i].text);
        } else {
            put_image(w, w->item->question[i].image);
        }
    }
}

static void put_choices(writer *w)
{
    for (size_t i = 0; i < w->item->n_choices; i++) {
        mm1_buf_printf(&w->text, "%s. %s\n", mm1_bench_letter((int64_t)i), w->item->choices[i]);
    }
}

/* A text on one line. */
static void put_line(writer *w, const char *text)
{
    for (; *text != '\0'; text++) {
        mm1_buf_putc(&w->text, *text == '\n' || *text == '\r' ? ' ' : *text);
    }
}

static bool is_word(const char *p, const char *word)
{
    return strncmp(p, word, strlen(word)) == 0;
}

static void put_template(writer *w, const char *text, const char *answer)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (is_word(p, "{image}")) {
            put_images(w);
        } else if (is_word(p, "{question}")) {
            put_question(w);
        } else if (is_word(p, "{context}")) {
            if (w->item->context != NULL) {
                mm1_buf_printf(&w->text, "%s\n", w->item->context);
            }
        } else if (is_word(p, "{choices}")) {
            put_choices(w);
        } else if (is_word(p, "{answer}") && answer != NULL) {
            mm1_buf_puts(&w->text, answer);
        } else if (is_word(p, "{rationale}")) {
            put_line(w, w->item->rationale != NULL ? w->item->rationale : "");
        } else {
            mm1_buf_putc(&w->text, *p);
            continue;
        }
        p = strchr(p, '}');
    }
}

static void begin(writer *w, const mm1_bench_set *set, const mm1_bench_item *item, mm1_document *d, mm1_error *err)
{
    *w = (writer){.set = set, .item = item, .d = d, .err = err};
    mm1_buf_init(&w->text, MAX_TEXT_BYTES);
}

static mm1_status end(writer *w)
{
    const mm1_status st = mm1_buf_status(&w->text);
    if (w->status == MM1_OK && st != MM1_OK) {
        w->status = mm1_error_set(w->err, st, "item %.100s: its text is too long", w->item->id);
    }
    flush(w);
    mm1_buf_deinit(&w->text);
    return w->status;
}

/* Text that a demonstration shows as its answer. */
static void put_answer(writer *w, const mm1_bench_style *style, const char *answer)
{
    const mm1_task *t = style->task;
    if (style->thinks) {
        mm1_buf_puts(&w->text, style->renders ? "" : " ");
        put_line(w, w->item->rationale != NULL ? w->item->rationale : "");
        mm1_buf_printf(&w->text, " %s", t->marker);
    }
    put_template(w, t->answer, answer != NULL ? answer : "");
    mm1_buf_puts(&w->text, style->thinks ? "." : "");
    if (style->by == MM1_BY_LIKELIHOOD && w->item->suffix != NULL) {
        mm1_buf_puts(&w->text, w->item->suffix);
    }
}

mm1_status mm1_bench_put_shot(const mm1_bench_style *style, const mm1_bench_shot *shot, mm1_rng *answers,
                              mm1_document *d, mm1_error *err)
{
    const mm1_task *t = style->task;
    const char *answer = mm1_bench_shown_answer(style, shot->item, answers);
    writer w;
    begin(&w, shot->set, shot->item, d, err);
    put_template(&w, style->prompt, NULL);
    if (!style->renders) {
        mm1_buf_puts(&w.text, style->is_chat && style->prompt == t->chat ? "\n" : "");
        put_answer(&w, style, answer);
        mm1_buf_puts(&w.text, t->separator);
        return end(&w);
    }
    mm1_status st = end(&w);
    begin(&w, shot->set, shot->item, d, err);
    put_answer(&w, style, answer);
    const char *text = mm1_buf_str(&w.text);
    text += strspn(text, " "); /* the template says what stands before an answer */
    st = st != MM1_OK ? st : mm1_document_add_text(d, text, strlen(text), false, err);
    mm1_buf_deinit(&w.text);
    return st;
}

mm1_status mm1_bench_put_question(const mm1_bench_style *style, const mm1_bench_set *set, const mm1_bench_item *item,
                                  mm1_document *d, mm1_error *err)
{
    writer w;
    begin(&w, set, item, d, err);
    put_template(&w, style->prompt, NULL);
    return end(&w);
}

void mm1_bench_shrink(mm1_document *d)
{
    for (size_t i = 0; i < d->n_parts; i++) {
        d->parts[i].overview = d->parts[i].kind == MM1_PART_IMAGE;
    }
}

void mm1_bench_show(const mm1_document *d, mm1_buf *out)
{
    for (size_t i = 0; i < d->n_parts; i++) {
        const mm1_part *p = &d->parts[i];
        switch (p->kind) {
        case MM1_PART_TEXT: mm1_buf_append(out, p->bytes, p->len); break;
        case MM1_PART_TOKEN: mm1_buf_puts(out, p->len > 0 ? p->bytes : "<eos>"); break;
        case MM1_PART_IMAGE:
            mm1_buf_printf(out, "<image: %s%s>", p->name != NULL ? mm1_path_basename(p->name) : "",
                           p->overview ? ", overview" : "");
            break;
        }
    }
}

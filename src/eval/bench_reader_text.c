/* bench_reader_text.c - questions without pictures: the tasks of the paper's text average. */
#include "eval/bench_reader.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/lines.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The number of a choice by its label: A, B, ... or 1, 2, ...; -1 if it is none. */
static int64_t label_number(const json_t *choices, const char *label)
{
    for (size_t i = 0; label != NULL && i < json_array_size(choices); i++) {
        const char *own = mm1__bench_text(json_array_get(choices, i), "label");
        if (own != NULL && strcmp(own, label) == 0) {
            return (int64_t)i;
        }
    }
    return -1;
}

/* ---- ARC ---- */

static const char *take_arc(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    (void)ctx;
    const json_t *question = json_object_get(e->value, "question"), *choices = json_object_get(question, "choices");
    const char *stem = mm1__bench_text(question, "stem");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "id")};
    if (item.id == NULL || stem == NULL || json_array_size(choices) < 2) {
        return "\"id\", \"stem\" or \"choices\" is not there";
    }
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const char *text = mm1__bench_text(json_array_get(choices, i), "text");
        if (text == NULL) {
            return "a choice is no text";
        }
        mm1_bench_choice(s, &item, text);
    }
    item.right = label_number(choices, mm1__bench_text(e->value, "answerKey"));
    mm1_bench_ask(s, &item, stem);
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_arc(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    return mm1__bench_lines(files->file, s, take_arc, NULL, err);
}

/* ---- PIQA: the labels are the lines of a second file ---- */

static const char *take_piqa(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    (void)ctx;
    const char *goal = mm1__bench_text(e->value, "goal"), *first = mm1__bench_text(e->value, "sol1"),
               *second = mm1__bench_text(e->value, "sol2");
    if (goal == NULL || first == NULL || second == NULL) {
        return "\"goal\", \"sol1\" or \"sol2\" is not there";
    }
    /* By its line, as labels are found by it. */
    mm1_bench_item item = {.id = mm1_bench_printf(s, "%llu", (unsigned long long)e->line), .right = -1};
    if (item.id != NULL) {
        mm1_bench_ask(s, &item, goal);
        mm1_bench_choice(s, &item, first);
        mm1_bench_choice(s, &item, second);
        (void)mm1_bench_add(s, &item);
    }
    return NULL;
}

static mm1_status take_labels(const char *path, mm1_bench_set *s, mm1_error *err)
{
    mm1_lines *lines = NULL;
    mm1_bench_index index;
    const char *line = NULL;
    size_t len = 0;
    mm1_status st = mm1_bench_index_init(&index, s, err);
    st = st != MM1_OK ? st : mm1_lines_open(path, 64, &lines, err);
    do {
        st = st != MM1_OK ? st : mm1_lines_next(lines, &line, &len, err);
        if (st == MM1_OK && line != NULL) {
            char id[32];
            (void)snprintf(id, sizeof id, "%llu", (unsigned long long)mm1_lines_number(lines));
            mm1_bench_item *item = mm1_bench_index_find(&index, id);
            if (item != NULL && (line[0] == '0' || line[0] == '1')) {
                item->right = line[0] - '0';
            } else if (item == NULL && len > 1) {
                mm1_bench_bad(s, &s->counts.without_question, path, mm1_lines_number(lines), "a label of no question");
            } else if (len > 1) {
                mm1_bench_bad(s, &s->counts.malformed, path, mm1_lines_number(lines), "a label is 0 or 1");
            }
        }
    } while (st == MM1_OK && line != NULL);
    mm1_lines_close(lines);
    mm1_bench_index_deinit(&index);
    return st;
}

mm1_status mm1__bench_read_piqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    mm1_status st = mm1__bench_lines(files->file, s, take_piqa, NULL, err);
    return st != MM1_OK || files->answers == NULL ? st : take_labels(files->answers, s, err);
}

/* ---- LAMBADA: the last word is asked for ---- */

static const char *take_lambada(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    (void)ctx;
    const char *text = mm1__bench_text(e->value, "text");
    if (text == NULL) {
        return "\"text\" is not there";
    }
    size_t end = strlen(text);
    while (end > 0 && isspace((unsigned char)text[end - 1])) {
        end--;
    }
    size_t word = end;
    while (word > 0 && text[word - 1] != ' ') {
        word--;
    }
    if (word < 2) {
        return "there is no last word to be asked for";
    }
    mm1_bench_item item = {.id = mm1_bench_printf(s, "%llu", (unsigned long long)e->number), .right = -1};
    const char *passage = mm1_bench_strn(s, text, word - 1), *last = mm1_bench_strn(s, text + word, end - word);
    if (item.id != NULL && passage != NULL && last != NULL) {
        mm1_bench_ask(s, &item, passage);
        mm1_bench_answer(s, &item, last);
        (void)mm1_bench_add(s, &item);
    }
    return NULL;
}

mm1_status mm1__bench_read_lambada(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    return mm1__bench_lines(files->file, s, take_lambada, NULL, err);
}

/* ---- WinoGrande: which of two fills the gap is told by what follows it (partial scoring) ---- */

static const char *take_winogrande(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    (void)ctx;
    const char *sentence = mm1__bench_text(e->value, "sentence"), *first = mm1__bench_text(e->value, "option1"),
               *second = mm1__bench_text(e->value, "option2"), *answer = mm1__bench_text(e->value, "answer");
    const char *gap = sentence != NULL ? strchr(sentence, '_') : NULL;
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "qID"), .right = -1};
    if (item.id == NULL || gap == NULL || first == NULL || second == NULL) {
        return "\"qID\", an option or a sentence with a gap is not there";
    }
    /* The blank before the gap belongs to the choice. */
    size_t len = (size_t)(gap - sentence);
    while (len > 0 && sentence[len - 1] == ' ') {
        len--;
    }
    const char *before = mm1_bench_strn(s, sentence, len);
    if (before != NULL) {
        mm1_bench_ask(s, &item, before);
    }
    mm1_bench_choice(s, &item, first);
    mm1_bench_choice(s, &item, second);
    item.suffix = mm1_bench_str(s, gap + 1);
    item.right = answer != NULL && (answer[0] == '1' || answer[0] == '2') ? answer[0] - '1' : -1;
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_winogrande(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    return mm1__bench_lines(files->file, s, take_winogrande, NULL, err);
}

/* ---- HellaSwag ---- */

/* WikiHow's markup goes: " [title]" becomes ". ", other brackets and double blanks vanish; as the harnesses have it. */
static const char *without_markup(mm1_bench_set *s, const char *text)
{
    static const char title[] = " [title]";
    mm1_buf out;
    mm1_buf_init(&out, 1 << 20);
    text += strspn(text, " \t\n");
    for (const char *p = text; *p != '\0'; p++) {
        const char *close = NULL;
        if (strncmp(p, title, sizeof title - 1) == 0) {
            mm1_buf_puts(&out, ". ");
            p += sizeof title - 2;
        } else if (*p == '[' && (close = strchr(p, ']')) != NULL) {
            p = close;
        } else {
            mm1_buf_putc(&out, *p);
        }
    }
    mm1_buf squeezed;
    mm1_buf_init(&squeezed, 1 << 20);
    for (const char *p = mm1_buf_str(&out); *p != '\0'; p++) {
        if (!(p[0] == ' ' && p[1] == ' ')) {
            mm1_buf_putc(&squeezed, *p);
        }
    }
    while (squeezed.len > 0 && squeezed.data[squeezed.len - 1] == ' ') {
        squeezed.data[--squeezed.len] = '\0';
    }
    const char *copy = mm1_bench_str(s, mm1_buf_str(&squeezed));
    mm1_buf_deinit(&squeezed);
    mm1_buf_deinit(&out);
    return copy;
}

static const char *take_hellaswag(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    (void)ctx;
    const char *activity = mm1__bench_text(e->value, "activity_label"), *a = mm1__bench_text(e->value, "ctx_a"),
               *b = mm1__bench_text(e->value, "ctx_b");
    const json_t *endings = json_object_get(e->value, "endings"), *label = json_object_get(e->value, "label");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "ind"), .right = -1};
    if (item.id == NULL || activity == NULL || a == NULL || json_array_size(endings) < 2) {
        return "\"ind\", \"activity_label\", \"ctx_a\" or \"endings\" is not there";
    }
    char *second = mm1_strdup(b != NULL ? b : "");
    if (second == NULL) {
        return "no memory";
    }
    for (char *p = second; *p != '\0'; p++) { /* as Python's capitalize() */
        *p = (char)(p == second ? toupper((unsigned char)*p) : tolower((unsigned char)*p));
    }
    const char *all = mm1_bench_printf(s, "%s: %s %s", activity, a, second);
    mm1_free(second);
    const char *context = all != NULL ? without_markup(s, all) : NULL;
    if (context != NULL) {
        mm1_bench_ask(s, &item, context);
    }
    for (size_t i = 0; i < json_array_size(endings); i++) {
        const char *text = json_string_value(json_array_get(endings, i));
        if (text == NULL) {
            return "an ending is no text";
        }
        const char *ending = without_markup(s, text);
        mm1_bench_choice(s, &item, ending != NULL ? ending : "");
    }
    const int64_t right = json_is_integer(label)  ? (int64_t)json_integer_value(label)
                          : json_is_string(label) ? json_string_value(label)[0] - '0'
                                                  : -1;
    item.right = right >= 0 && right < (int64_t)item.n_choices ? right : -1;
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_hellaswag(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    return mm1__bench_lines(files->file, s, take_hellaswag, NULL, err);
}

/* ---- SciQ: no order is published, so the right choice stands at each place in turn; always at the same, its letter
 * would be learned from demonstrations ---- */

static const char *take_sciq(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    enum { N_WRONG = 3 };
    static const char *const wrong[N_WRONG] = {"distractor1", "distractor2", "distractor3"};
    (void)ctx;
    const char *question = mm1__bench_text(e->value, "question"), *support = mm1__bench_text(e->value, "support");
    if (question == NULL) {
        return "\"question\" is not there";
    }
    mm1_bench_item item = {.id = mm1_bench_printf(s, "%llu", (unsigned long long)e->number),
                           .right = (int64_t)((e->number - 1) % (N_WRONG + 1))};
    for (int64_t i = 0; i <= N_WRONG; i++) {
        const char *key = i == item.right ? "correct_answer" : wrong[i < item.right ? i : i - 1];
        const char *text = mm1__bench_text(e->value, key);
        if (text == NULL) {
            return "a distractor or the answer is not there";
        }
        mm1_bench_choice(s, &item, text);
    }
    mm1_bench_ask(s, &item, question);
    item.context = support != NULL && support[0] != '\0' ? mm1_bench_str(s, support) : NULL;
    if (item.id != NULL) {
        (void)mm1_bench_add(s, &item);
    }
    return NULL;
}

mm1_status mm1__bench_read_sciq(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    return mm1__bench_json(files->file, NULL, s, take_sciq, NULL, err);
}

/* ---- TriviaQA ---- */

static const char *take_triviaqa(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    (void)ctx;
    const char *question = mm1__bench_text(e->value, "Question");
    const json_t *answer = json_object_get(e->value, "Answer"), *aliases = json_object_get(answer, "Aliases");
    mm1_bench_item item = {.id = mm1__bench_id(s, e->value, "QuestionId"), .right = -1};
    if (item.id == NULL || question == NULL) {
        return "\"QuestionId\" or \"Question\" is not there";
    }
    mm1_bench_ask(s, &item, question);
    if (mm1__bench_text(answer, "Value") != NULL) { /* the first: demonstrations show it */
        mm1_bench_answer(s, &item, mm1__bench_text(answer, "Value"));
    }
    for (size_t i = 0; i < json_array_size(aliases); i++) {
        const char *text = json_string_value(json_array_get(aliases, i));
        if (text != NULL) {
            mm1_bench_answer(s, &item, text);
        }
    }
    (void)mm1_bench_add(s, &item);
    return NULL;
}

mm1_status mm1__bench_read_triviaqa(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    return mm1__bench_json(files->file, "Data", s, take_triviaqa, NULL, err);
}

/* ---- WebQuestions: (list (description Jamaican) (description "Jamaican English")) ---- */

static void take_target(mm1_bench_set *s, mm1_bench_item *item, const char *target)
{
    static const char word[] = "(description ";
    for (const char *p = strstr(target, word); p != NULL; p = strstr(p, word)) {
        p += sizeof word - 1;
        const bool is_quoted = *p == '"';
        p += is_quoted;
        mm1_buf text;
        mm1_buf_init(&text, 1 << 16);
        for (; *p != '\0' && *p != (is_quoted ? '"' : ')'); p++) {
            p += is_quoted && *p == '\\' && p[1] != '\0';
            mm1_buf_putc(&text, *p);
        }
        if (text.len > 0) {
            mm1_bench_answer(s, item, mm1_buf_str(&text));
        }
        mm1_buf_deinit(&text);
    }
}

static const char *take_webquestions(void *ctx, mm1_bench_set *s, const mm1_json_element *e)
{
    (void)ctx;
    const char *question = mm1__bench_text(e->value, "utterance"), *target = mm1__bench_text(e->value, "targetValue");
    if (question == NULL || target == NULL) {
        return "\"utterance\" or \"targetValue\" is not there";
    }
    mm1_bench_item item = {.id = mm1_bench_printf(s, "%llu", (unsigned long long)e->number), .right = -1};
    mm1_bench_ask(s, &item, question);
    take_target(s, &item, target);
    if (item.id != NULL) {
        (void)mm1_bench_add(s, &item);
    }
    return NULL;
}

mm1_status mm1__bench_read_webquestions(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    return mm1__bench_json(files->file, NULL, s, take_webquestions, NULL, err);
}

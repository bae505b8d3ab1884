/* bench_score.c - see bench_score.h. */
#include "eval/bench_score.h"

#include "base/alloc.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT_BYTES = 1 << 20 };

/* ---- reading an answer ---- */

char *mm1_bench_extract(const char *text, const char *marker)
{
    const char *at = NULL;
    for (const char *p = marker[0] != '\0' ? strstr(text, marker) : NULL; p != NULL; p = strstr(p + 1, marker)) {
        at = p;
    }
    const char *begin = at != NULL ? at + strlen(marker) : text;
    begin += at != NULL ? strspn(begin, " :\t") : strspn(begin, " \t\n");
    size_t len = at != NULL ? strcspn(begin, "\n") : strlen(begin);
    while (len > 0 && (isspace((unsigned char)begin[len - 1]) || (at != NULL && begin[len - 1] == '.'))) {
        len--;
    }
    return mm1_strndup(begin, len);
}

static bool is_article(const char *word, size_t len)
{
    return (len == 1 && word[0] == 'a') || (len == 2 && memcmp(word, "an", 2) == 0) ||
           (len == 3 && memcmp(word, "the", 3) == 0);
}

void mm1_bench_normalize(const char *text, mm1_buf *out)
{
    mm1_buf_clear(out);
    size_t word = 0; /* where the word at hand begins in out */
    for (const char *p = text;; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c == '\0' || isspace(c)) {
            if (out->len > word && is_article(mm1_buf_str(out) + word, out->len - word)) {
                out->data[out->len = word] = '\0';
            }
            if (c == '\0') {
                break;
            }
            if (out->len > word) {
                mm1_buf_putc(out, ' ');
                word = out->len;
            }
        } else if (c >= 0x80 || !ispunct(c)) {
            mm1_buf_putc(out, (char)tolower(c));
        }
    }
    while (out->len > 0 && out->data[out->len - 1] == ' ') {
        out->data[--out->len] = '\0';
    }
}

/* "B", "(B)", "B.", "B)", "B:" at p; -1. */
static int64_t letter_at(const char *p, size_t n_choices)
{
    p += strspn(p, " \t\n*");
    const bool is_bracketed = *p == '(';
    p += is_bracketed;
    const int64_t i = *p - 'A';
    if (i < 0 || i >= (int64_t)n_choices) {
        return -1;
    }
    return isalnum((unsigned char)p[1]) || (p[1] == '\'' && isalpha((unsigned char)p[2])) ||
                   (i == 0 && !is_bracketed && p[1] == ' ' && islower((unsigned char)p[2])) /* "A dog" */
               ? -1
               : i;
}

int64_t mm1_bench_read_letter(const char *text, const char *const *choices, size_t n_choices)
{
    static const char says[] = "nswer is";
    int64_t found = letter_at(text, n_choices);
    for (const char *p = strstr(text, says); found < 0 && p != NULL; p = strstr(p + 1, says)) {
        const char *after = p + sizeof says - 1;
        found = letter_at(after + strspn(after, " :"), n_choices);
    }
    if (found >= 0) {
        return found;
    }
    mm1_buf said, choice;
    mm1_buf_init(&said, MAX_TEXT_BYTES);
    mm1_buf_init(&choice, MAX_TEXT_BYTES);
    mm1_bench_normalize(text, &said);
    int64_t n_in = 0, last_in = -1;
    for (size_t i = 0; i < n_choices && found < 0; i++) {
        mm1_bench_normalize(choices[i], &choice);
        if (strcmp(mm1_buf_str(&said), mm1_buf_str(&choice)) == 0) {
            found = (int64_t)i;
        } else if (choice.len > 0 && strstr(mm1_buf_str(&said), mm1_buf_str(&choice)) != NULL) {
            n_in++;
            last_in = (int64_t)i;
        }
    }
    mm1_buf_deinit(&choice);
    mm1_buf_deinit(&said);
    return found >= 0 ? found : n_in == 1 ? last_in : -1;
}

/* ---- scores ---- */

static void part(mm1_metric_result *out, const char *name, double value)
{
    if (out->n_parts < MM1_METRIC_MAX_PARTS) {
        out->parts[out->n_parts].name = name;
        out->parts[out->n_parts++].value = value;
    }
}

static double exact(const char *said, const mm1_bench_item *item, mm1_buf *a, mm1_buf *b)
{
    mm1_bench_normalize(said, a);
    for (size_t i = 0; i < item->n_answers; i++) {
        mm1_bench_normalize(item->answers[i], b);
        if (strcmp(mm1_buf_str(a), mm1_buf_str(b)) == 0) {
            return 100;
        }
    }
    return 0;
}

/* The answer's word, and then no more of the same word. */
static double first_word(const char *said, const mm1_bench_item *item)
{
    said += strspn(said, " \t");
    for (size_t i = 0; i < item->n_answers; i++) {
        const size_t len = strlen(item->answers[i]);
        if (strncmp(said, item->answers[i], len) == 0 && !isalnum((unsigned char)said[len])) {
            return 100;
        }
    }
    return 0;
}

/* Mean over the items that have a score. */
static mm1_status mean_of(const double *scores, size_t n, mm1_metric_result *out, mm1_error *err)
{
    const mm1_bootstrap b = mm1_bootstrap_default();
    double *kept = mm1_alloc(n, sizeof *kept);
    size_t m = 0;
    if (kept == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu scores", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (!isnan(scores[i])) {
            kept[m++] = scores[i];
        }
    }
    out->n = (int64_t)m;
    const mm1_status st = m > 0 ? mm1_bootstrap_mean(&b, kept, m, &out->score, err) : MM1_OK;
    mm1_free(kept);
    return st;
}

/* "category\tanswer" */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What the most frequent answer of each category would score: the least that a model must be better than. */
static void score_majority(const mm1_bench_said *answers, size_t n, mm1_buf *text, mm1_metric_result *out)
{
    mm1_bench_set pool = {0};
    const char **keys = mm1_bench_take(&pool, n, sizeof *keys);
    size_t m = 0, right = 0;
    for (size_t i = 0; i < n && keys != NULL; i++) {
        const mm1_bench_item *item = answers[i].item;
        if (item->n_answers > 0) {
            mm1_bench_normalize(item->answers[0], text);
            keys[m] =
                mm1_bench_printf(&pool, "%s\t%s", item->category != NULL ? item->category : "", mm1_buf_str(text));
            m += keys[m] != NULL;
        }
    }
    if (m > 0) {
        qsort(keys, m, sizeof *keys, by_text);
    }
    size_t best = 0;
    for (size_t i = 0, k = 0; i < m; i = k) {
        const size_t len = strcspn(keys[i], "\t") + 1;
        for (k = i; k < m && strcmp(keys[k], keys[i]) == 0; k++) {
        }
        best = k - i > best ? k - i : best;
        if (k == m || strncmp(keys[k], keys[i], len) != 0) { /* the last answer of a category */
            right += best;
            best = 0;
        }
    }
    if (m > 0 && !pool.no_memory) {
        part(out, "majority", 100 * (double)right / (double)m);
    }
    mm1_bench_set_deinit(&pool);
}

static mm1_status score_words(mm1_task_metric metric, const mm1_bench_said *answers, size_t n, double *scores,
                              mm1_metric_result *out, mm1_error *err)
{
    mm1_buf a, b;
    mm1_buf_init(&a, MAX_TEXT_BYTES);
    mm1_buf_init(&b, MAX_TEXT_BYTES);
    for (size_t i = 0; i < n; i++) {
        const mm1_bench_item *item = answers[i].item;
        scores[i] = item->n_answers == 0             ? (double)NAN
                    : metric == MM1_SCORE_FIRST_WORD ? first_word(answers[i].text, item)
                                                     : exact(answers[i].text, item, &a, &b);
    }
    if (metric == MM1_SCORE_EXACT) {
        score_majority(answers, n, &a, out);
    }
    mm1_buf_deinit(&b);
    mm1_buf_deinit(&a);
    return mean_of(scores, n, out, err);
}

static const char *question_of(const mm1_bench_said *a)
{
    return a->item->pass_of != NULL ? a->item->pass_of : a->item->id;
}

/* Passes of a question stand side by side: the first gets the score of the worst, the others have none of their own. */
static void join_passes(const mm1_bench_said *answers, size_t n, double *scores, mm1_metric_result *out)
{
    double right = 0, asked = 0;
    for (size_t i = 0, question = 0; i < n; i++) {
        const bool is_pass = i > 0 && strcmp(question_of(&answers[i]), question_of(&answers[question])) == 0;
        question = is_pass ? question : i;
        if (!isnan(scores[i])) {
            right += scores[i];
            asked++;
        }
        if (is_pass) {
            scores[question] = isnan(scores[i]) || scores[question] < scores[i] ? scores[question] : scores[i];
            scores[i] = (double)NAN;
        }
    }
    if (asked > 0) {
        part(out, "each_pass", right / asked);
    }
}

/* Right choices; questions that offer none are compared as texts. */
static mm1_status score_choices(const mm1_bench_style *style, const mm1_bench_said *answers, size_t n, double *scores,
                                mm1_metric_result *out, mm1_error *err)
{
    double per_char = 0, unread = 0, open = 0, offered = 0;
    mm1_buf a, b;
    mm1_buf_init(&a, MAX_TEXT_BYTES);
    mm1_buf_init(&b, MAX_TEXT_BYTES);
    for (size_t i = 0; i < n; i++) {
        const mm1_bench_item *item = answers[i].item;
        scores[i] = (double)NAN;
        if (item->right >= 0) {
            scores[i] = answers[i].picked == item->right ? 100 : 0;
            per_char += answers[i].picked_per_char == item->right ? 100 : 0;
            unread += answers[i].picked < 0 ? 100 : 0;
            offered++;
        } else if (item->n_answers > 0 && answers[i].text != NULL) {
            scores[i] = exact(answers[i].text, item, &a, &b);
            open++;
        }
    }
    mm1_buf_deinit(&b);
    mm1_buf_deinit(&a);
    if (style->by == MM1_BY_LIKELIHOOD && offered > 0) {
        part(out, "accuracy_per_char", per_char / offered);
    } else if (offered > 0) {
        part(out, "unread", unread / offered);
    }
    if (open > 0) {
        part(out, "open_questions", open);
    }
    if (style->task->circular) {
        join_passes(answers, n, scores, out);
    }
    return mean_of(scores, n, out, err);
}

/* Pairs of the items that have something to be compared with; back: where each came from. */
typedef struct pairs {
    mm1_metric_pair *items;
    size_t *back;
    size_t n;
} pairs;

static void pairs_free(pairs *p)
{
    mm1_free(p->items);
    mm1_free(p->back);
}

static mm1_status make_pairs(const mm1_bench_said *answers, size_t n, pairs *p, mm1_error *err)
{
    *p = (pairs){mm1_alloc(n, sizeof *p->items), mm1_alloc(n, sizeof *p->back), 0};
    if (p->items == NULL || p->back == NULL) {
        pairs_free(p);
        *p = (pairs){0};
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to score %zu answers", n);
    }
    for (size_t i = 0; i < n; i++) {
        const mm1_bench_item *item = answers[i].item;
        if (item->n_answers > 0 && answers[i].text != NULL) {
            p->back[p->n] = i;
            p->items[p->n++] = (mm1_metric_pair){item->id, answers[i].text, item->answers, item->n_answers};
        }
    }
    return MM1_OK;
}

static mm1_status score_pairs(const char *metric, const mm1_bench_said *answers, size_t n, double *scores,
                              mm1_metric_result *out, mm1_error *err)
{
    pairs p;
    mm1_status st = make_pairs(answers, n, &p, err);
    double *own = st == MM1_OK ? mm1_calloc(p.n, sizeof *own) : NULL;
    if (st == MM1_OK && own == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to score %zu answers", n);
    }
    st = st != MM1_OK ? st : mm1_metric_score(metric, p.items, p.n, own, out, err);
    for (size_t i = 0; i < n; i++) {
        scores[i] = (double)NAN;
    }
    for (size_t i = 0; st == MM1_OK && i < p.n; i++) {
        scores[p.back[i]] = own[i];
    }
    if (st == MM1_OK && strcmp(metric, "cider") == 0 && p.n > 0) { /* the others beside it */
        static const char *const beside[] = {"bleu4", "rougel"};
        for (size_t m = 0; st == MM1_OK && m < sizeof beside / sizeof *beside; m++) {
            mm1_metric_result other;
            st = mm1_metric_score(beside[m], p.items, p.n, own, &other, err);
            part(out, beside[m], other.score.value);
        }
    }
    mm1_free(own);
    pairs_free(&p);
    return st;
}

/* ---- MME: each category by itself, then summed ---- */

static const char *category_of(const mm1_bench_item *item)
{
    return item->category != NULL ? item->category : "";
}

/* By category, then picture. */
static int by_picture(const void *a, const void *b, void *ctx)
{
    const mm1_bench_said *answers = ctx, *x = &answers[*(const size_t *)a], *y = &answers[*(const size_t *)b];
    int c = strcmp(category_of(x->item), category_of(y->item));
    c = c != 0 ? c
               : strcmp(x->item->n_images > 0 ? x->item->images[0].key : x->item->id,
                        y->item->n_images > 0 ? y->item->images[0].key : y->item->id);
    return c != 0 ? c : (x > y) - (x < y);
}

static bool is_cognition(const char *category)
{
    static const char *const names[] = {"commonsense_reasoning", "numerical_calculation", "text_translation",
                                        "code_reasoning"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        found = found || strcmp(names[i], category) == 0;
    }
    return found;
}

static mm1_status score_mme(const mm1_bench_said *answers, size_t n, double *scores, mm1_metric_result *out,
                            mm1_error *err)
{
    size_t *order = mm1_alloc(n, sizeof *order);
    mm1_metric_pair *p = mm1_alloc(n, sizeof *p);
    double *own = mm1_alloc(n, sizeof *own), perception = 0, cognition = 0;
    mm1_bench_set ids = {0};
    mm1_status st = MM1_OK;
    size_t n_ordered = 0;
    if (order == NULL || p == NULL || own == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to score %zu answers", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        scores[i] = (double)NAN;
        if (answers[i].item->n_answers > 0 && answers[i].text != NULL) {
            order[n_ordered++] = i;
        }
    }
    qsort_r(order, n_ordered, sizeof *order, by_picture, (void *)(uintptr_t)answers);
    for (size_t i = 0, k = 0; st == MM1_OK && i < n_ordered; i = k) {
        const char *category = category_of(answers[order[i]].item);
        mm1_metric_result r;
        for (k = i; k < n_ordered && strcmp(category_of(answers[order[k]].item), category) == 0; k++) {
            const mm1_bench_said *a = &answers[order[k]];
            const char *key = a->item->n_images > 0 ? a->item->images[0].key : a->item->id;
            const char *id = mm1_bench_printf(&ids, "%s\t%zu", key, k);
            p[k - i] = (mm1_metric_pair){id != NULL ? id : "", a->text, a->item->answers, a->item->n_answers};
        }
        st = mm1_metric_score("mme", p, k - i, own, &r, err);
        for (size_t j = i; st == MM1_OK && j < k; j++) {
            scores[order[j]] = own[j - i];
        }
        perception += is_cognition(category) ? 0 : r.score.value;
        cognition += is_cognition(category) ? r.score.value : 0;
    }
    out->n = (int64_t)n_ordered;
    if (st == MM1_OK && n_ordered > 0) {
        out->score = (mm1_interval){perception + cognition, NAN, NAN};
        part(out, "perception", perception);
        part(out, "cognition", cognition);
    }
out:
    mm1_bench_set_deinit(&ids);
    mm1_free(own);
    mm1_free(p);
    mm1_free(order);
    return st;
}

mm1_status mm1_bench_score(const mm1_bench_style *style, const mm1_bench_said *answers, size_t n, double *scores,
                           mm1_metric_result *out, mm1_error *err)
{
    *out = (mm1_metric_result){.score = {NAN, NAN, NAN}};
    switch (style->task->metric) {
    case MM1_SCORE_CIDER: return score_pairs("cider", answers, n, scores, out, err);
    case MM1_SCORE_VQA: return score_pairs("vqa", answers, n, scores, out, err);
    case MM1_SCORE_RELAXED: return score_pairs("relaxed", answers, n, scores, out, err);
    case MM1_SCORE_ANLS: return score_pairs("anls", answers, n, scores, out, err);
    case MM1_SCORE_POPE: return score_pairs("pope", answers, n, scores, out, err);
    case MM1_SCORE_MME: return score_mme(answers, n, scores, out, err);
    case MM1_SCORE_CHOICE: return score_choices(style, answers, n, scores, out, err);
    case MM1_SCORE_EXACT:
    case MM1_SCORE_FIRST_WORD: return score_words(style->task->metric, answers, n, scores, out, err);
    case MM1_SCORE_JUDGE:
    case MM1_SCORE_COUNT: break;
    }
    for (size_t i = 0; i < n; i++) {
        scores[i] = (double)NAN;
    }
    return MM1_OK;
}

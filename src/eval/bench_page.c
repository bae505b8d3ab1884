/* bench_page.c - samples.html: for each cell its figures, and some answers with their pictures, wrong ones on the left
 * and right ones on the right. */
#include "eval/benchmark_internal.h"
#include <math.h>
#include <string.h>

enum { SHOWN_ON_A_SIDE = 12, MAX_PROMPT_BYTES = 4000 };

/* clang-format off */
static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>mm1 eval: samples</title><style>"
    ":root{color-scheme:light dark;--bg:#faf9f6;--card:#fff;--ink:#1c1e23;--soft:#5e636c;--edge:#e5e2da;--good:#1f8a5b;"
    "--bad:#b94a3c;--well:#f2f0ea}"
    "@media(prefers-color-scheme:dark){:root{--bg:#131519;--card:#1a1d22;--ink:#e9e7e2;--soft:#a5a9b1;--edge:#2b2f37;"
    "--good:#5fcf9b;--bad:#f08d7e;--well:#22262d}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:1120px;margin:0 auto;padding:40px 24px 80px}h1{font-size:32px;margin:0 0 4px}"
    "h2{font-size:22px;margin:48px 0 4px}p{margin:0 0 8px;color:var(--soft)}"
    ".sides{display:grid;grid-template-columns:1fr 1fr;gap:24px}@media(max-width:760px){.sides{grid-template-columns:1fr}}"
    "h3{font-size:14px;margin:12px 0;letter-spacing:.05em;text-transform:uppercase}.bad h3{color:var(--bad)}"
    ".good h3{color:var(--good)}article{background:var(--card);border:1px solid var(--edge);border-radius:10px;"
    "padding:12px;margin:0 0 12px;display:grid;grid-template-columns:120px 1fr;gap:12px}"
    "article.text{grid-template-columns:1fr}article details{grid-column:1/-1}"
    "article img{width:120px;max-height:160px;object-fit:contain;border-radius:6px;background:var(--well)}"
    "dl{margin:0;min-width:0;overflow-wrap:anywhere}dt{font-size:12px;color:var(--soft)}dd{margin:0 0 6px}"
    ".bad .a{color:var(--bad)}.good .a{color:var(--good)}details{font-size:13px;color:var(--soft)}"
    "pre{white-space:pre-wrap;margin:4px 0 0;background:var(--well);padding:8px;border-radius:6px}"
    "</style></head><body><main>\n";
/* clang-format on */

void mm1__bench_page_begin(const mm1_benchmark_options *o, mm1_buf *out)
{
    mm1_buf_puts(out, head);
    mm1_buf_puts(out, "<h1>Answers</h1><p>");
    mm1_buf_put_html(out, o->model_name != NULL ? o->model_name : "a model");
    mm1_buf_puts(out, "</p>\n");
}

void mm1__bench_page_end(mm1_buf *out)
{
    mm1_buf_puts(out, "</main></body></html>\n");
}

/* The first of each side: which these are, and how many there are to choose from.  Half of the best score counts as
 * right: an answer is mostly one or the other. */
static void choose(const mm1_bench_sample *samples, size_t n, size_t side[2][SHOWN_ON_A_SIDE], size_t count[2],
                   size_t all[2])
{
    double best = 0;
    count[0] = count[1] = all[0] = all[1] = 0;
    for (size_t k = 0; k < n; k++) {
        best = samples[k].is_asked && samples[k].score > best ? samples[k].score : best;
    }
    for (size_t i = 0; i < n; i++) {
        const int right = best > 0 && samples[i].score >= best / 2;
        const bool is_pass = samples[i].item.pass_of != NULL; /* judged with its question */
        all[right] += samples[i].is_asked && !is_pass;
        if (samples[i].is_asked && !is_pass && count[right] < SHOWN_ON_A_SIDE) {
            side[right][count[right]++] = i;
        }
    }
}

void mm1__bench_page_choose(const mm1_bench_sample *samples, size_t n, bool *shown)
{
    size_t side[2][SHOWN_ON_A_SIDE], count[2], all[2];
    choose(samples, n, side, count, all);
    for (int s = 0; s < 2; s++) {
        for (size_t k = 0; k < count[s]; k++) {
            shown[side[s][k]] = true;
        }
    }
}

static void put_pair(mm1_buf *out, const char *name, const char *class, const char *text)
{
    mm1_buf_printf(out, "<dt>%s</dt><dd class=\"%s\">", name, class);
    mm1_buf_put_html(out, text);
    mm1_buf_puts(out, "</dd>");
}

/* "B. text" */
static void put_choice(mm1_buf *text, const mm1_bench_item *item, int64_t i)
{
    mm1_buf_printf(text, "%s. %s", mm1_bench_letter(i), item->choices[i]);
}

static void put_sample(const mm1_bench_sample *s, const char *picture, mm1_buf *out)
{
    const mm1_bench_item *item = &s->item;
    if (picture != NULL) {
        mm1_buf_puts(out, "<article><img alt=\"\" loading=\"lazy\" src=\"");
        mm1_buf_put_html(out, picture);
        mm1_buf_puts(out, "\"><dl>");
    } else {
        mm1_buf_puts(out, "<article class=\"text\"><dl>");
    }
    mm1_buf text;
    mm1_buf_init(&text, 1 << 22);
    for (size_t i = 0; i < item->n_question; i++) {
        mm1_buf_puts(&text, item->question[i].text != NULL ? item->question[i].text : "[picture]");
    }
    if (text.len > 0) {
        put_pair(out, "question", "q", mm1_buf_str(&text));
    }
    mm1_buf_clear(&text);
    if (s->picked >= 0) {
        put_choice(&text, item, s->picked);
    } else {
        mm1_buf_puts(&text, s->said != NULL ? s->said : "");
    }
    put_pair(out, "answer", "a", mm1_buf_str(&text));
    mm1_buf_clear(&text);
    if (item->right >= 0) {
        put_choice(&text, item, item->right);
    }
    for (size_t i = 0; i < item->n_answers && i < 5; i++) {
        mm1_buf_printf(&text, "%s%s", text.len > 0 ? " / " : "", item->answers[i]);
    }
    put_pair(out, "right", "r", mm1_buf_str(&text));
    mm1_buf_printf(out, "<dt>score</dt><dd>%.3g</dd></dl><details><summary>", s->score);
    mm1_buf_put_html(out, item->id);
    mm1_buf_puts(out, "</summary><pre>");
    mm1_buf_clear(&text);
    const size_t len = strlen(s->prompt);
    const size_t skip = len > MAX_PROMPT_BYTES ? len - MAX_PROMPT_BYTES : 0;
    size_t begin = skip;
    while (begin < len && ((unsigned char)s->prompt[begin] & 0xc0) == 0x80) {
        begin++;
    }
    mm1_buf_puts(&text, skip > 0 ? "... " : "");
    mm1_buf_puts(&text, s->prompt + begin);
    mm1_buf_put_html(out, mm1_buf_str(&text));
    mm1_buf_puts(out, "</pre></details></article>\n");
    mm1_buf_deinit(&text);
}

void mm1__bench_page_cell(const mm1_bench_style *style, const mm1_bench_cell *cell, const mm1_bench_sample *samples,
                          size_t n, const char *const *pictures, mm1_buf *out)
{
    /* Answers of some metrics are more or less right. */
    const bool is_graded = cell->metric == MM1_SCORE_CIDER || cell->metric == MM1_SCORE_ANLS;
    static const char *const sides[2][2] = {{"wrong", "right"}, {"low scores", "high scores"}};
    size_t side[2][SHOWN_ON_A_SIDE], count[2], all[2];
    double scale = 1;
    const char *unit = mm1_benchmark_unit(cell->metric, &scale);
    choose(samples, n, side, count, all);
    mm1_buf_puts(out, "<section><h2>");
    mm1_buf_put_html(out, cell->task);
    mm1_buf_printf(out, ", %lld shots</h2><p>", (long long)cell->shots);
    if (isfinite(cell->score.value)) {
        mm1_buf_printf(out, "%.2f ", scale * cell->score.value);
    }
    if (isfinite(cell->score.low)) {
        mm1_buf_printf(out, "[%.2f, %.2f] ", scale * cell->score.low, scale * cell->score.high);
    }
    mm1_buf_printf(out, "%s, %lld items, answered by %s</p><div class=\"sides\">", unit, (long long)cell->n,
                   mm1_task_by_names[style->by]);
    for (int s = 0; s < 2; s++) {
        const char *name = cell->metric != MM1_SCORE_JUDGE ? sides[is_graded][s] : s == 0 ? "not scored" : "";
        mm1_buf_printf(out, "<div class=\"%s\"><h3>%s", s == 0 ? "bad" : "good", name);
        if (all[s] > count[s]) {
            mm1_buf_printf(out, ": %zu of %zu", count[s], all[s]);
        }
        mm1_buf_puts(out, "</h3>\n");
        for (size_t i = 0; i < count[s]; i++) {
            put_sample(&samples[side[s][i]], pictures[side[s][i]], out);
        }
        mm1_buf_puts(out, "</div>");
    }
    mm1_buf_puts(out, "</div></section>\n");
}

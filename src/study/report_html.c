/* report_html.c - the page, section by section, in the order in which one wants to know. */
#include "study/report_internal.h"
#include "study/report_style.h"
#include "study/svg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_CHOICES = 8, SHOWN_CAPTIONS = 16, FAILED_CAPTIONS = 8, FAILED_CHOICES = 4, MAX_SOURCES = 64 };

static void section(mm1_buf *out, const char *id, const char *title, const char *about)
{
    mm1_buf_printf(out, "<section id=\"%s\"><h2>%s</h2>", id, title);
    if (about != NULL) {
        mm1_buf_printf(out, "<p class=\"about\">%s</p>", about);
    }
}

static void missing(mm1_buf *out, const char *what, const char *how)
{
    mm1_buf_printf(out, "<p class=\"missing\">%s %s</p>", what, how);
}

static void end_section(mm1_buf *out)
{
    mm1_buf_puts(out, "</section>\n");
}

/* ---- header ---- */

static void tile(mm1_buf *out, const char *name, double value, const char *suffix)
{
    if (isfinite(value)) {
        mm1_buf_printf(out, "<div><dt>%s</dt><dd>", name);
        mm1_svg_put_number(out, value);
        mm1_buf_printf(out, "<small>%s</small></dd></div>", suffix);
    }
}

static void tile_time(mm1_buf *out, double seconds)
{
    if (!isfinite(seconds)) {
        return;
    }
    mm1_buf_puts(out, "<div><dt>wall time</dt><dd>");
    const int64_t minutes = (int64_t)(seconds / 60 + 0.5);
    if (seconds < 90) {
        mm1_buf_printf(out, "%.0f<small> s</small>", seconds);
    } else if (minutes < 120) {
        mm1_buf_printf(out, "%lld<small> min</small>", (long long)minutes);
    } else {
        mm1_buf_printf(out, "%lld<small> h </small>%lld<small> min</small>", (long long)(minutes / 60),
                       (long long)(minutes % 60));
    }
    mm1_buf_puts(out, "</dd></div>");
}

static void put_identity(mm1_buf *out, const mm1_report_input *in)
{
    const mm1_report_plan *p = &in->plan;
    if (in->identity != NULL) {
        mm1_buf_put_html(out, in->identity);
        return;
    }
    if (p->parameters <= 0) {
        mm1_buf_puts(out, "A multimodal language model.");
        return;
    }
    mm1_buf_puts(out, "A multimodal language model of ");
    mm1_svg_put_number(out, (double)p->parameters);
    mm1_buf_puts(out, " parameters");
    const struct {
        int64_t n;
        const char *name;
    } parts[] = {{p->vision, "to see"}, {p->connector, "to connect"}, {p->decoder, "to speak"}};
    const char *before = ": ";
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].n > 0) {
            mm1_buf_puts(out, before);
            mm1_svg_put_number(out, (double)parts[i].n);
            mm1_buf_printf(out, " %s", parts[i].name);
            before = ", ";
        }
    }
    mm1_buf_puts(out, ".");
    if (p->image_px > 0 && p->image_tokens > 0) {
        mm1_buf_printf(out, " A picture is %lld&nbsp;×&nbsp;%lld&nbsp;px and becomes %lld&nbsp;tokens.",
                       (long long)p->image_px, (long long)p->image_px, (long long)p->image_tokens);
    }
}

/* What the evaluation says about the picture, with no more than it supports. */
static void put_finding(mm1_buf *out, const mm1__report *r)
{
    const mm1_eval_results *e = &r->results;
    const mm1_interval *d = &e->caption_nll_difference[MM1_PICTURE_SHUFFLED];
    const double right = e->caption_nll[MM1_PICTURE_TRUE].value, wrong = e->caption_nll[MM1_PICTURE_SHUFFLED].value;
    if (!isfinite(right) || !isfinite(wrong)) {
        return;
    }
    mm1_buf_printf(out,
                   "<p class=\"finding\">A caption it has never seen costs <b>%.2f</b> nats a token with its own "
                   "picture and <b>%.2f</b> with somebody else’s",
                   right, wrong);
    if (isfinite(d->low) && d->low > 0) {
        mm1_buf_puts(out, ": it looks at what it describes.");
    } else if (isfinite(d->high) && d->high < 0) {
        mm1_buf_puts(out, ": the right picture makes it worse. Something is broken.");
    } else if (isfinite(d->low)) {
        mm1_buf_puts(out, ": no evidence that it looks at the picture.");
    } else {
        mm1_buf_puts(out, ".");
    }
    if (isfinite(e->choice10.value)) {
        mm1_buf_printf(out,
                       " Given ten captions it picks the right one in <b>%.0f&#8239;%%</b> of cases; chance is "
                       "10&#8239;%%.",
                       100 * e->choice10.value);
    }
    mm1_buf_puts(out, "</p>");
}

static void put_header(mm1_buf *out, const mm1__report *r)
{
    const mm1_report_input *in = r->in;
    const mm1__metrics *m = &r->metrics;
    mm1_buf_puts(out, "<header><p class=\"eyebrow\">mm1 · report of a run");
    if (in->date != NULL) {
        mm1_buf_puts(out, " · ");
        mm1_buf_put_html(out, in->date);
    }
    mm1_buf_puts(out, "</p><h1>");
    mm1_buf_put_html(out, in->title != NULL ? in->title : "A model and how it came to be");
    mm1_buf_puts(out, "</h1><p class=\"lede\">");
    put_identity(out, in);
    mm1_buf_puts(out, "</p>");
    put_finding(out, r);
    mm1_buf_puts(out, "<dl class=\"tiles\">");
    tile(out, "parameters", in->plan.parameters > 0 ? (double)in->plan.parameters : NAN, "");
    tile(out, "steps", m->steps, "");
    tile(out, "tokens seen", m->tokens, "");
    tile(out, "pictures seen", m->images, "");
    tile_time(out, m->seconds);
    tile(out, "throughput", m->tokens_per_second, " tokens/s");
    tile(out, "of peak FLOP/s", 100 * m->mfu, " %");
    tile(out, "choice of ten", 100 * r->results.choice10.value, " % right");
    tile(out, "CIDEr-D, no examples", r->results.cider[0].value, "");
    tile(out, "text", r->results.text_bits_per_byte.value, " bits/byte");
    mm1_buf_puts(out, "</dl>");
    mm1_buf_puts(out, "<nav><a href=\"#picture\">Does the picture matter?</a> <a href=\"#choice\">Choice of ten</a> "
                      "<a href=\"#captions\">Captions</a> <a href=\"#fails\">Where it fails</a> "
                      "<a href=\"#training\">Training</a> <a href=\"#data\">Data</a> <a href=\"#limits\">Limits</a> "
                      "<a href=\"#again\">Make it again</a></nav></header>\n");
}

/* ---- held-out numbers ---- */

static mm1_svg_value value_row(const char *name, const mm1_interval *i, int colour)
{
    return (mm1_svg_value){.name = name, .value = i->value, .low = i->low, .high = i->high, .colour = colour};
}

static void put_count(mm1_buf *out, int64_t n, const char *of)
{
    if (n > 0) {
        mm1_buf_printf(out,
                       "<p class=\"meta\">%lld %s, never seen in training. Whiskers: 95 %% bootstrap intervals over "
                       "them.</p>",
                       (long long)n, of);
    }
}

static void put_difference(mm1_buf *out, const char *what, const mm1_interval *d)
{
    if (!isfinite(d->value)) {
        return;
    }
    mm1_buf_printf(out, "<tr><td>%s</td><td>%+.3f</td>", what, d->value);
    if (isfinite(d->low) && isfinite(d->high)) {
        mm1_buf_printf(out, "<td>%+.3f … %+.3f</td><td class=\"%s\">%s</td></tr>", d->low, d->high,
                       d->low > 0 ? "good" : "bad", d->low > 0 ? "yes" : "not shown");
    } else {
        mm1_buf_puts(out, "<td class=\"z\">–</td><td class=\"z\">no interval</td></tr>");
    }
}

static void put_heldout(mm1_buf *out, const mm1__report *r)
{
    const mm1_eval_results *e = &r->results;
    section(out, "picture", "Does the picture matter?",
            "A model can learn to write plausible captions without looking. So the same held-out captions are scored "
            "three times: with their own picture, with another item’s, and with none. Lower is better.");
    if (!r->has_results) {
        missing(out, "No evaluation is shown:", "run <code>mm1 eval</code> and give its results.json to the report.");
        end_section(out);
        return;
    }
    const mm1_svg_value nll[] = {value_row("its own picture", &e->caption_nll[MM1_PICTURE_TRUE], 1),
                                 value_row("another picture", &e->caption_nll[MM1_PICTURE_SHUFFLED], 2),
                                 value_row("no picture", &e->caption_nll[MM1_PICTURE_NONE], 4)};
    mm1_buf_puts(out, "<div class=\"card\"><h3>Cost of a held-out caption</h3><div class=\"scroll\">");
    mm1_svg_put_values(out, &(mm1_svg_values){.label = "Cost of a held-out caption",
                                              .x_name = "nats a token",
                                              .rows = nll,
                                              .n_rows = 3,
                                              .reference = NAN,
                                              .min = NAN,
                                              .max = NAN,
                                              .width = 980});
    mm1_buf_puts(out, "</div>");
    const mm1_interval *d = e->caption_nll_difference;
    if (isfinite(d[MM1_PICTURE_SHUFFLED].value) || isfinite(d[MM1_PICTURE_NONE].value)) {
        mm1_buf_puts(out, "<div class=\"scroll\"><table><tr><th>what the right picture saves, caption by caption</th>"
                          "<th>nats a token</th><th>95 % interval</th><th>used?</th></tr>");
        put_difference(out, "against another picture", &d[MM1_PICTURE_SHUFFLED]);
        put_difference(out, "against no picture", &d[MM1_PICTURE_NONE]);
        mm1_buf_puts(out, "</table></div>");
    }
    put_count(out, e->n_captions, "captions");

    const mm1_svg_value choices[] = {
        value_row("any kind", &e->choice10, 3), value_row("its own kind", &e->choice10_same_source, 3),
        value_row("any, by gain", &e->choice10_gain, 3), value_row("own, by gain", &e->choice10_gain_same_source, 3)};
    mm1_svg_value choice[sizeof choices / sizeof *choices];
    size_t n_choice = 0;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (i == 0 || isfinite(choices[i].value)) {
            choice[n_choice++] = choices[i];
        }
    }
    mm1_buf_puts(out, "</div><div class=\"two gap\"><div class=\"card\"><h3>Choice of ten</h3>");
    mm1_svg_put_values(out, &(mm1_svg_values){.label = "Choice of ten",
                                              .x_name = "share right",
                                              .rows = choice,
                                              .n_rows = n_choice,
                                              .reference = 0.1,
                                              .reference_name = "chance",
                                              .min = 0,
                                              .max = 1,
                                              .is_percent = true,
                                              .width = 480});
    put_count(out, e->n_choice10, "pictures");
    if (isfinite(e->choice10_gain.value)) {
        mm1_buf_puts(
            out, "<p class=\"meta\">The most likely caption is taken, or the one that the picture makes more likely "
                 "by the largest factor (gain), which does not favour short captions.</p>");
    }
    if (isfinite(e->text_bits_per_byte.value)) {
        mm1_buf_puts(out, "<table class=\"gap\"><tr><th>text without pictures, never seen</th><th>bits a byte</th>"
                          "<th>95 % interval</th></tr><tr><td>");
        if (e->n_text_bytes > 0) {
            mm1_svg_put_number(out, (double)e->n_text_bytes);
            mm1_buf_puts(out, " bytes");
        }
        mm1_buf_printf(out, "</td><td>%.3f</td>", e->text_bits_per_byte.value);
        if (isfinite(e->text_bits_per_byte.low) && isfinite(e->text_bits_per_byte.high)) {
            mm1_buf_printf(out, "<td>%.3f … %.3f</td>", e->text_bits_per_byte.low, e->text_bits_per_byte.high);
        } else {
            mm1_buf_puts(out, "<td class=\"z\">–</td>");
        }
        mm1_buf_puts(out, "</tr></table>");
    }

    const mm1_svg_value cider[] = {value_row("no examples", &e->cider[0], 5), value_row("4 examples", &e->cider[1], 5),
                                   value_row("8 examples", &e->cider[2], 5)};
    mm1_buf_puts(out, "</div><div class=\"card\"><h3>Captions against what people wrote</h3>");
    mm1_svg_put_values(out, &(mm1_svg_values){.label = "Captions against what people wrote",
                                              .x_name = "CIDEr-D (10 is the most)",
                                              .rows = cider,
                                              .n_rows = 3,
                                              .reference = NAN,
                                              .min = 0,
                                              .max = NAN,
                                              .width = 480});
    put_count(out, e->n_cider, "pictures");
    mm1_buf_puts(out, "</div></div>");
    end_section(out);
}

/* ---- pictures ---- */

static void put_shot(mm1_buf *out, mm1__report *r, const mm1__sample *s)
{
    mm1_buf address;
    mm1_buf_init(&address, (size_t)128 << 20);
    if (mm1__report_put_picture(r, s, &address) && mm1_buf_status(&address) == MM1_OK) {
        mm1_buf_puts(out, "<div class=\"shot\"><img loading=\"lazy\" alt=\"\" src=\"");
        mm1_buf_append(out, address.data, address.len);
        mm1_buf_puts(out, "\"></div>");
    } else {
        mm1_buf_puts(out, "<div class=\"shot none\">no picture</div>");
    }
    mm1_buf_deinit(&address);
}

static void put_meta(mm1_buf *out, const mm1__sample *s)
{
    if (s->concept != NULL || s->source != NULL) {
        mm1_buf_puts(out, "<p class=\"meta\">");
        mm1_buf_put_html(out, s->concept != NULL ? s->concept : "");
        mm1_buf_puts(out, s->concept != NULL && s->source != NULL ? " · " : "");
        mm1_buf_put_html(out, s->source != NULL ? s->source : "");
        mm1_buf_puts(out, "</p>");
    }
}

static void put_choice(mm1_buf *out, mm1__report *r, mm1__sample *s)
{
    const bool right = s->picked == s->answer;
    mm1_buf_puts(out, "<div class=\"card pick\"><div>");
    put_shot(out, r, s);
    mm1_buf_printf(out, "<p class=\"meta\"><span class=\"verdict %s\">%s</span></p>", right ? "good" : "bad",
                   right ? "✓ right" : "✗ wrong");
    put_meta(out, s);
    mm1_buf_puts(out, "</div><ol class=\"bars\">");
    /* The most likely first: what a reader looks for is how far down the right one is. */
    bool done[MM1__REPORT_MAX_CHOICES] = {false};
    for (size_t k = 0; k < s->n_choices; k++) {
        size_t best = s->n_choices;
        for (size_t i = 0; i < s->n_choices; i++) {
            if (!done[i] && (best == s->n_choices || s->shares[i] > s->shares[best])) {
                best = i;
            }
        }
        done[best] = true;
        const bool is_answer = (int)best == s->answer, is_wrong_pick = (int)best == s->picked && !is_answer;
        mm1_buf_printf(out, "<li%s title=\"", is_answer ? " class=\"right\"" : is_wrong_pick ? " class=\"wrong\"" : "");
        mm1_buf_put_html(out, s->choices[best]);
        mm1_buf_printf(out, "\"><i style=\"width:%.1f%%\"></i><span>%s", 100 * s->shares[best],
                       is_answer       ? "✓ "
                       : is_wrong_pick ? "✗ "
                                       : "");
        mm1_buf_put_html(out, s->choices[best]);
        mm1_buf_printf(out, "</span><b>%.0f</b></li>", 100 * s->shares[best]);
    }
    mm1_buf_puts(out, "</ol></div>");
    s->is_shown = true;
}

static void put_said(mm1_buf *out, const char *text)
{
    if (text[0] == '\0') {
        mm1_buf_puts(out, "<span class=\"empty\">(nothing)</span>");
    } else {
        mm1_buf_put_html(out, text);
    }
}

static void put_caption(mm1_buf *out, mm1__report *r, mm1__sample *s)
{
    mm1_buf_puts(out, "<figure class=\"card\">");
    put_shot(out, r, s);
    mm1_buf_puts(out, "<figcaption><p class=\"said\">");
    put_said(out, s->generated);
    mm1_buf_puts(out, "</p><dl>");
    if (s->reference != NULL) {
        mm1_buf_puts(out, "<dt>people</dt><dd>");
        mm1_buf_put_html(out, s->reference);
        mm1_buf_puts(out, "</dd>");
    }
    if (s->blind != NULL) {
        mm1_buf_puts(out, "<dt>unseen</dt><dd>");
        put_said(out, s->blind);
        mm1_buf_puts(out, "</dd>");
    }
    mm1_buf_puts(out, "</dl>");
    put_meta(out, s);
    mm1_buf_puts(out, "</figcaption></figure>");
    s->is_shown = true;
}

static void put_choices(mm1_buf *out, mm1__report *r)
{
    section(
        out, "choice", "Which of these ten?",
        "Ten captions, one of them right; the other nine belong to other pictures. Numbers are the model’s shares of "
        "100 among the ten. The items are the first of the file, not chosen.");
    int shown = 0;
    for (size_t i = 0; i < r->n_samples && shown < SHOWN_CHOICES; i++) {
        if (r->samples[i].n_choices > 0) {
            mm1_buf_puts(out, shown == 0 ? "<div class=\"two\">" : "");
            put_choice(out, r, &r->samples[i]);
            shown++;
        }
    }
    if (shown > 0) {
        mm1_buf_puts(out, "</div>");
    } else {
        missing(out, "No choices are shown:",
                "the samples of <code>mm1 eval --tasks choice10</code> were not given to the report.");
    }
    end_section(out);
}

static void put_captions(mm1_buf *out, mm1__report *r)
{
    section(out, "captions", "What it says",
            "In bold what the model wrote for a held-out picture; “people” is what the source says, “unseen” what the "
            "model writes when it is not shown the picture. The first of the file, not chosen.");
    int shown = 0;
    for (size_t i = 0; i < r->n_samples && shown < SHOWN_CAPTIONS; i++) {
        if (r->samples[i].generated != NULL) {
            mm1_buf_puts(out, shown == 0 ? "<div class=\"gallery\">" : "");
            put_caption(out, r, &r->samples[i]);
            shown++;
        }
    }
    if (shown > 0) {
        mm1_buf_puts(out, "</div>");
    } else {
        missing(out, "No captions are shown:",
                "samples.jsonl of <code>mm1 eval</code> was not given to the report, or has no generated text.");
    }
    end_section(out);
}

/* The sample with the least score that is not on the page yet; NULL if there is none. */
static mm1__sample *worst_caption(mm1__report *r)
{
    mm1__sample *worst = NULL;
    for (size_t i = 0; i < r->n_samples; i++) {
        mm1__sample *s = &r->samples[i];
        if (!s->is_shown && isfinite(s->score) && (worst == NULL || s->score < worst->score)) {
            worst = s;
        }
    }
    return worst;
}

/* How much surer the model was of its wrong pick than of the right one. */
static double wrongness(const mm1__sample *s)
{
    return s->shares[s->picked] - s->shares[s->answer];
}

static mm1__sample *worst_choice(mm1__report *r)
{
    mm1__sample *worst = NULL;
    for (size_t i = 0; i < r->n_samples; i++) {
        mm1__sample *s = &r->samples[i];
        if (!s->is_shown && s->n_choices > 0 && s->picked != s->answer &&
            (worst == NULL || wrongness(s) > wrongness(worst))) {
            worst = s;
        }
    }
    return worst;
}

static void put_failures(mm1_buf *out, mm1__report *r)
{
    section(
        out, "fails", "Where it fails",
        "Chosen this time: of the samples not shown above, the captions that agree least with what people wrote, and "
        "the choices it was most sure of and wrong about.");
    int shown = 0, captions = 0;
    for (mm1__sample *s; shown < FAILED_CHOICES && (s = worst_choice(r)) != NULL; shown++) {
        mm1_buf_puts(out, shown == 0 ? "<div class=\"two\">" : "");
        put_choice(out, r, s);
    }
    mm1_buf_puts(out, shown > 0 ? "</div>" : "");
    for (mm1__sample *s; captions < FAILED_CAPTIONS && (s = worst_caption(r)) != NULL; captions++) {
        mm1_buf_puts(out, captions == 0 ? "<div class=\"gallery gap\">" : "");
        put_caption(out, r, s);
    }
    mm1_buf_puts(out, captions > 0 ? "</div>" : "");
    if (shown + captions == 0) {
        missing(out,
                "No failures are shown:", "there are no samples beyond those above. That is not the same as none.");
    }
    end_section(out);
}

/* ---- training ---- */

/* One column from the line `first` on. */
static void put_small(mm1_buf *out, const mm1__metrics *m, mm1__metric column, const char *title, const char *unit,
                      int colour, size_t first)
{
    const mm1_svg_series s = {.name = title,
                              .colour = colour,
                              .x = m->columns[MM1__METRIC_STEP] + first,
                              .y = m->columns[column] + first,
                              .n = m->n - first};
    mm1_buf_printf(out, "<div class=\"card\"><h3>%s</h3>", title);
    mm1_svg_put_lines(out, &(mm1_svg_lines){.label = title,
                                            .y_name = unit,
                                            .series = &s,
                                            .n_series = 1,
                                            .width = 340,
                                            .height = 170,
                                            .zero_y = column != MM1__METRIC_LOSS,
                                            .is_smooth = column != MM1__METRIC_LR});
    mm1_buf_puts(out, "</div>");
}

static void put_training(mm1_buf *out, const mm1__report *r)
{
    const mm1__metrics *m = &r->metrics;
    section(
        out, "training", "How it learned",
        "Loss in nats a token on what it was being trained on, by kind of data: strong lines are running means, faint "
        "ones the values themselves. Steps on a logarithmic axis when there are many.");
    if (!r->has_metrics) {
        missing(out, "No training is shown:", "there is no metrics.jsonl in the run folder, or none was given.");
        end_section(out);
        return;
    }
    mm1_svg_series losses[MM1__REPORT_MAX_LOSSES + 1];
    size_t n = 0;
    for (size_t i = 0; i < m->n_sources; i++) {
        losses[n++] = (mm1_svg_series){.name = m->sources[i],
                                       .colour = 1 + (int)i % MM1_SVG_COLOURS,
                                       .x = m->columns[MM1__METRIC_STEP],
                                       .y = m->columns[MM1__METRIC_SOURCES + i],
                                       .n = m->n};
    }
    if (n != 1) { /* one kind alone is all there is */
        losses[n] = (mm1_svg_series){.name = "all",
                                     .colour = 1 + (int)n % MM1_SVG_COLOURS,
                                     .x = m->columns[MM1__METRIC_STEP],
                                     .y = m->columns[MM1__METRIC_LOSS],
                                     .n = m->n};
        n++;
    }
    mm1_buf_puts(out, "<div class=\"card\"><h3>Loss</h3><div class=\"scroll\">");
    mm1_svg_put_lines(out, &(mm1_svg_lines){.label = "Loss",
                                            .x_name = "step",
                                            .y_name = "nats a token",
                                            .series = losses,
                                            .n_series = n,
                                            .width = 1000,
                                            .height = 380,
                                            .log_x = m->steps >= 300,
                                            .is_smooth = true,
                                            .has_names = true});
    mm1_buf_puts(out, "</div></div><div class=\"three gap\">");
    put_small(out, m, MM1__METRIC_LOSS, "Loss, second half", "nats a token", 6, m->n / 2);
    put_small(out, m, MM1__METRIC_LR, "Learning rate", NULL, 4, 0);
    put_small(out, m, MM1__METRIC_GRAD_NORM, "Norm of the gradient", NULL, 5, 0);
    put_small(out, m, MM1__METRIC_TOKENS_PER_SECOND, "Throughput", "tokens/s", 3, 0);
    put_small(out, m, MM1__METRIC_MFU, "Share of peak FLOP/s", "MFU", 1, 0);
    put_small(out, m, MM1__METRIC_WAIT, "Waiting for data", "s a step", 2, 0);
    mm1_buf_puts(out, "</div>");
    end_section(out);
}

/* ---- data ---- */

static const char *source_name(const json_t *source)
{
    const char *name = json_string_value(json_object_get(source, "source"));
    return name != NULL ? name : json_string_value(json_object_get(source, "name"));
}

typedef struct ranked {
    const json_t *source;
    double train, heldout;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    const double p = x->train + x->heldout, q = y->train + y->heldout;
    return (p < q) - (p > q);
}

/* Bars of one kind of data by source, the largest first; nothing if no source has any. */
static void put_composition(mm1_buf *out, const json_t *sources, const char *title, const char *key, const char *unit,
                            int colour)
{
    enum { MAX_BARS = 16, NOTE = 48 };
    ranked list[MAX_SOURCES];
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(sources) && n < MAX_SOURCES; i++) {
        const json_t *s = json_array_get(sources, i);
        const double train = mm1__report_data_number(s, "train", key);
        const double heldout = mm1__report_data_number(s, "heldout", key);
        if (train + heldout > 0 && source_name(s) != NULL) {
            list[n++] = (ranked){.source = s, .train = train, .heldout = heldout};
        }
    }
    if (n == 0) {
        return;
    }
    qsort(list, n, sizeof *list, compare_ranked);
    mm1_svg_bar rows[MAX_BARS];
    char notes[MAX_BARS][NOTE];
    n = n < MAX_BARS ? n : MAX_BARS;
    for (size_t i = 0; i < n; i++) {
        mm1_buf text;
        mm1_buf_init(&text, NOTE - 1);
        mm1_svg_put_number(&text, list[i].train + list[i].heldout);
        (void)snprintf(notes[i], NOTE, "%s%s", mm1_buf_str(&text), unit);
        mm1_buf_deinit(&text);
        rows[i] = (mm1_svg_bar){.name = source_name(list[i].source),
                                .note = notes[i],
                                .strong = list[i].train,
                                .faint = list[i].heldout,
                                .colour = colour};
    }
    mm1_buf_printf(out, "<div class=\"card\"><h3>%s</h3>", title);
    mm1_svg_put_bars(out, &(mm1_svg_bars){.label = title, .rows = rows, .n_rows = n, .width = 340});
    mm1_buf_puts(out, "</div>");
}

/* 12 345 678, with spaces that do not break. */
static void put_grouped(mm1_buf *out, int64_t n)
{
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%lld", (long long)n);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-') {
            mm1_buf_puts(out, "&#8239;");
        }
        mm1_buf_putc(out, digits[i]);
    }
}

static void put_cell(mm1_buf *out, double v, bool is_whole)
{
    if (v > 0) {
        mm1_buf_puts(out, "<td>");
        if (is_whole && v < 9e15) {
            put_grouped(out, (int64_t)v);
        } else {
            mm1_buf_printf(out, "%.1f", v);
        }
        mm1_buf_puts(out, "</td>");
    } else {
        mm1_buf_puts(out, "<td class=\"z\">–</td>");
    }
}

static void put_data_cells(mm1_buf *out, const json_t *s)
{
    put_cell(out, mm1__report_data_number(s, "train", "captions"), true);
    put_cell(out, mm1__report_data_number(s, "train", "documents"), true);
    put_cell(out, mm1__report_data_number(s, "train", "document_images"), true);
    put_cell(out, mm1__report_data_number(s, "train", "text_mb"), false);
    put_cell(out, mm1__report_data_number(s, "heldout", "captions"), true);
}

static void put_data(mm1_buf *out, const mm1__report *r)
{
    section(
        out, "data", "What it learned from",
        "By source, the largest first. Held out are whole concepts: no picture of a held-out thing is in training.");
    if (!r->has_data) {
        missing(out, "No data is shown:", "summary.json of <code>mm1 data build</code> was not given to the report.");
        end_section(out);
        return;
    }
    const json_t *sources = json_object_get(r->data, "sources");
    mm1_buf_puts(out, "<p class=\"key\"><span><i></i>training</span><span><i class=\"h\"></i>held out</span></p>"
                      "<div class=\"three\">");
    put_composition(out, sources, "Pictures with a caption", "captions", "", 1);
    put_composition(out, sources, "Pictures inside documents", "document_images", "", 2);
    put_composition(out, sources, "Text", "text_mb", " MB", 3);
    mm1_buf_puts(out, "</div><div class=\"card gap scroll\"><table><tr><th>source</th><th class=\"l\">licence</th>"
                      "<th>captions</th><th>documents</th><th>their pictures</th><th>text, MB</th>"
                      "<th>held-out captions</th></tr>");
    for (size_t i = 0; i < json_array_size(sources); i++) {
        const json_t *s = json_array_get(sources, i);
        const char *name = source_name(s), *licence = json_string_value(json_object_get(s, "licence"));
        mm1_buf_puts(out, "<tr><td>");
        mm1_buf_put_html(out, name != NULL ? name : "(no name)");
        mm1_buf_puts(out, "</td><td class=\"l\">");
        mm1_buf_put_html(out, json_is_true(json_object_get(s, "missing")) ? "not installed, left out"
                              : licence != NULL                           ? licence
                                                                          : "not said");
        mm1_buf_puts(out, "</td>");
        put_data_cells(out, s);
        mm1_buf_puts(out, "</tr>");
    }
    mm1_buf_puts(out, "<tr><td><b>all</b></td><td class=\"l\"></td>");
    put_data_cells(out, r->data);
    mm1_buf_puts(out, "</tr></table></div>");
    end_section(out);
}

/* ---- limits, reproduction ---- */

static void put_limits(mm1_buf *out, const mm1__report *r)
{
    const mm1_eval_results *e = &r->results;
    const mm1_interval *d = &e->caption_nll_difference[MM1_PICTURE_SHUFFLED];
    section(out, "limits", "What it can and cannot do",
            "On the left only what the numbers above support; on the right what to keep in mind.");
    mm1_buf_puts(out, "<div class=\"two\"><div class=\"card\"><h3>Shown above</h3><ul class=\"plain can\">");
    size_t n = 0;
    if (isfinite(d->low) && d->low > 0) {
        mm1_buf_puts(out, "<li>It uses the picture: the right one saves more than chance can explain.</li>");
        n++;
    }
    if (isfinite(e->choice10.low) && e->choice10.low > 0.1) {
        mm1_buf_printf(out,
                       "<li>It tells the right caption from nine others in %.0f %% of cases (%.0f to %.0f %%).</li>",
                       100 * e->choice10.value, 100 * e->choice10.low, 100 * e->choice10.high);
        n++;
    }
    if (isfinite(e->cider[0].value) && e->cider[1].low > e->cider[0].high) {
        mm1_buf_puts(out, "<li>It learns from examples in the prompt: four of them make its captions better.</li>");
        n++;
    }
    if (n == 0) {
        mm1_buf_puts(out, "<li>Nothing yet: no measured ability is beyond doubt.</li>");
    }
    mm1_buf_puts(out, "</ul></div><div class=\"card\"><h3>Not to be expected</h3><ul class=\"plain cannot\">");
    for (size_t i = 0; i < r->in->n_cannot; i++) {
        mm1_buf_puts(out, "<li>");
        mm1_buf_put_html(out, r->in->cannot[i]);
        mm1_buf_puts(out, "</li>");
    }
    if (isfinite(d->low) && d->low <= 0) {
        mm1_buf_puts(out, "<li>It was not shown that it uses the picture at all.</li>");
    }
    if (isfinite(e->choice10.low) && e->choice10.low <= 0.1) {
        mm1_buf_puts(out, "<li>It was not shown to pick the right caption of ten better than chance.</li>");
    }
    mm1_buf_puts(out,
                 "<li>It knows only kinds of pictures that occur in the data above; anything else gets the name of "
                 "the nearest thing it knows, said with the same confidence.</li>"
                 "<li>Nothing it says is checked against the world.</li>"
                 "<li>Intervals are over items, for this one training run; another seed may differ by more.</li>"
                 "</ul></div></div>");
    end_section(out);
}

static void plan_row(mm1_buf *out, const char *name, int64_t n)
{
    if (n > 0) {
        mm1_buf_printf(out, "<tr><td>%s</td><td>", name);
        put_grouped(out, n);
        mm1_buf_puts(out, "</td></tr>");
    }
}

static void put_again(mm1_buf *out, const mm1__report *r)
{
    const mm1_report_input *in = r->in;
    section(out, "again", "Make it again",
            "The same recipe, seed, threads and ranks give the same bits. Everything needed is in the recipe.");
    if (in->n_commands > 0) {
        mm1_buf_puts(out, "<pre>");
        for (size_t i = 0; i < in->n_commands; i++) {
            mm1_buf_put_html(out, in->commands[i]);
            mm1_buf_putc(out, '\n');
        }
        mm1_buf_puts(out, "</pre>");
    }
    mm1_buf_puts(out, "<div class=\"two\"><div class=\"card\"><table>");
    plan_row(out, "parameters", in->plan.parameters);
    plan_row(out, "of these active for one token", in->plan.active_parameters);
    plan_row(out, "vision encoder", in->plan.vision);
    plan_row(out, "connector", in->plan.connector);
    plan_row(out, "decoder", in->plan.decoder);
    plan_row(out, "picture side, px", in->plan.image_px);
    plan_row(out, "tokens of a picture", in->plan.image_tokens);
    plan_row(out, "context, tokens", in->plan.context_tokens);
    plan_row(out, "vocabulary", in->plan.vocabulary);
    if (r->results.n_seeds > 0) {
        mm1_buf_puts(out, "<tr><td>seeds of the evaluation</td><td>");
        for (size_t i = 0; i < r->results.n_seeds; i++) {
            mm1_buf_printf(out, "%s%llu", i > 0 ? ", " : "", (unsigned long long)r->results.seeds[i]);
        }
        mm1_buf_puts(out, "</td></tr>");
    }
    if (in->machine != NULL) {
        mm1_buf_puts(out, "<tr><td>machine</td><td class=\"l\">");
        mm1_buf_put_html(out, in->machine);
        mm1_buf_puts(out, "</td></tr>");
    }
    if (r->results.model != NULL) {
        mm1_buf_puts(out, "<tr><td>model evaluated</td><td class=\"l\">");
        mm1_buf_put_html(out, r->results.model);
        mm1_buf_puts(out, "</td></tr>");
    }
    mm1_buf_puts(out, "</table></div><div class=\"card\">");
    if (r->recipe != NULL) {
        mm1_buf_puts(out, "<details><summary>the whole recipe, as resolved</summary><pre>");
        mm1_buf_put_html(out, r->recipe);
        mm1_buf_puts(out, "</pre></details>");
    } else {
        missing(out, "No recipe is shown:", "there is no recipe.resolved.yaml in the run folder, or none was given.");
    }
    mm1_buf_puts(out, "</div></div>");
    end_section(out);
}

static void put_problems(mm1_buf *out, const mm1__report *r)
{
    mm1_buf_puts(out, "<footer>");
    if (r->problems.n > 0) {
        mm1_buf_puts(out, "<p>What this page could not show:</p><ul>");
        for (size_t i = 0; i < r->problems.n; i++) {
            mm1_buf_puts(out, "<li>");
            mm1_buf_put_html(out, r->problems.items[i]);
            mm1_buf_puts(out, "</li>");
        }
        mm1_buf_puts(out, "</ul>");
    }
    mm1_buf_puts(out, "Written by <code>mm1 report</code>. The same numbers for programs are in report.json.</footer>");
}

void mm1__report_html(mm1__report *r, mm1_buf *out)
{
    mm1_buf_puts(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                      /* Nothing is loaded and nothing runs, whatever a caption says. */
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
                      "style-src 'unsafe-inline'\"><title>");
    mm1_buf_put_html(out, r->in->title != NULL ? r->in->title : "mm1 report");
    mm1_buf_puts(out, "</title><style>");
    mm1_buf_puts(out, mm1__report_css);
    mm1_buf_puts(out, "</style></head><body><main>\n");
    put_header(out, r);
    put_heldout(out, r);
    put_choices(out, r);
    put_captions(out, r);
    put_failures(out, r);
    put_training(out, r);
    put_data(out, r);
    put_limits(out, r);
    put_again(out, r);
    put_problems(out, r);
    mm1_buf_puts(out, "</main></body></html>\n");
}

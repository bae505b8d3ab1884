/* svg.c - see svg.h. */
#include "study/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_BUCKETS = 360, SMOOTH_HALF = 6 };

void mm1_svg_put_number(mm1_buf *out, double v)
{
    static const struct {
        double unit;
        const char *suffix;
    } units[] = {{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}};
    if (!isfinite(v)) {
        mm1_buf_puts(out, "–");
        return;
    }
    const double size = fabs(v);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (size >= 0.9995 * units[i].unit && size >= 1e3) {
            mm1_buf_printf(out, "%.3g%s", v / units[i].unit, units[i].suffix);
            return;
        }
    }
    if (size != 0 && size < 1e-3) {
        mm1_buf_printf(out, "%.2g", v);
    } else {
        mm1_buf_printf(out, "%.3g", v);
    }
}

/* A step of 1, 2 or 5 times a power of ten that cuts `span` into about n parts. */
static double nice_step(double span, int n)
{
    const double raw = span / n, power = pow(10, floor(log10(raw)));
    const double f = raw / power;
    return power * (f < 1.5 ? 1 : f < 3 ? 2 : f < 7 ? 5 : 10);
}

typedef struct axis {
    double min, max; /* of what is drawn, after the logarithm */
    double from, to; /* px */
    bool is_log;
} axis;

static double place(const axis *a, double v)
{
    const double x = a->is_log ? log10(v) : v;
    return a->from + (x - a->min) / (a->max - a->min) * (a->to - a->from);
}

static void open_svg(mm1_buf *out, int width, int height, const char *label)
{
    mm1_buf_printf(out, "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, height);
    mm1_buf_put_html(out, label);
    mm1_buf_puts(out, "\">");
}

static void put_empty(mm1_buf *out, const char *label)
{
    mm1_buf_puts(out, "<p class=\"missing\">");
    mm1_buf_put_html(out, label);
    mm1_buf_puts(out, ": nothing was recorded.</p>");
}

static void put_text(mm1_buf *out, const char *css, const char *anchor, double x, double y, const char *text)
{
    mm1_buf_printf(out, "<text class=\"%s\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", css, anchor, x, y);
    mm1_buf_put_html(out, text);
    mm1_buf_puts(out, "</text>");
}

static void put_tick_text(mm1_buf *out, const char *anchor, double x, double y, double value, bool is_percent)
{
    mm1_buf_printf(out, "<text class=\"t\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", anchor, x, y);
    if (is_percent) {
        mm1_buf_printf(out, "%.3g%%", 100 * value);
    } else {
        mm1_svg_put_number(out, fabs(value) < 1e-12 ? 0 : value);
    }
    mm1_buf_puts(out, "</text>");
}

/* ---- lines ---- */

/* A series in at most N_BUCKETS points of equal width on the axis: the mean of what falls into each. */
typedef struct thinned {
    double x[N_BUCKETS], y[N_BUCKETS], smooth[N_BUCKETS];
    int n;
    double last; /* the last of the smooth values */
} thinned;

static bool is_drawn(const mm1_svg_series *s, size_t i, bool log_x)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]) && (!log_x || s->x[i] > 0);
}

static void thin(thinned *t, const mm1_svg_series *s, const axis *xs)
{
    double weight[N_BUCKETS] = {0};
    double x[N_BUCKETS] = {0}, y[N_BUCKETS] = {0};
    for (size_t i = 0; i < s->n; i++) {
        if (is_drawn(s, i, xs->is_log)) {
            const double at = (place(xs, s->x[i]) - xs->from) / (xs->to - xs->from);
            int b = (int)(at * N_BUCKETS);
            b = b < 0 ? 0 : b >= N_BUCKETS ? N_BUCKETS - 1 : b;
            weight[b] += 1;
            x[b] += at;
            y[b] += s->y[i];
        }
    }
    t->n = 0;
    for (int b = 0; b < N_BUCKETS; b++) {
        if (weight[b] > 0) {
            t->x[t->n] = xs->from + x[b] / weight[b] * (xs->to - xs->from);
            t->y[t->n] = y[b] / weight[b];
            t->n++;
        }
    }
    for (int i = 0; i < t->n; i++) {
        /* On the left, where curves are steep, the same reach on both sides; on the right, where they are noisy, the
         * mean of what came last rather than the last value. */
        const int half = i < SMOOTH_HALF ? i : SMOOTH_HALF;
        const int end = i + half < t->n ? i + half : t->n - 1;
        double sum = 0;
        for (int k = i - half; k <= end; k++) {
            sum += t->y[k];
        }
        t->smooth[i] = sum / (end - (i - half) + 1);
    }
    t->last = t->n > 0 ? t->smooth[t->n - 1] : NAN;
}

static void put_path(mm1_buf *out, const char *css, int colour, const double *x, const double *y, int n, const axis *ys)
{
    mm1_buf_printf(out, "<path class=\"%s s%d\" d=\"", css, colour);
    for (int i = 0; i < n; i++) {
        mm1_buf_printf(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', x[i], place(ys, y[i]));
    }
    mm1_buf_puts(out, "\"/>");
}

static void put_y_grid(mm1_buf *out, const axis *xs, const axis *ys, int n)
{
    const double step = nice_step(ys->max - ys->min, n);
    for (double v = ceil(ys->min / step) * step; v <= ys->max + 1e-9 * step; v += step) {
        const double y = place(ys, v);
        mm1_buf_printf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", xs->from, xs->to,
                       y, y);
        put_tick_text(out, "end", xs->from - 7, y + 4, v, false);
    }
}

static void put_x_ticks(mm1_buf *out, const axis *xs, double y, int n)
{
    if (xs->is_log) {
        const double decades = xs->max - xs->min;
        for (int p = (int)floor(xs->min); p <= (int)ceil(xs->max); p++) {
            for (int m = 1; m < 10; m = m == 1 ? 2 : m == 2 ? 5 : 10) {
                const double v = m * pow(10, p), at = log10(v);
                if ((m == 1 || decades < 2.5) && at >= xs->min - 1e-9 && at <= xs->max + 1e-9) {
                    put_tick_text(out, "middle", place(xs, v), y, v, false);
                }
            }
        }
        return;
    }
    const double step = nice_step(xs->max - xs->min, n);
    for (double v = ceil(xs->min / step) * step; v <= xs->max + 1e-9 * step; v += step) {
        put_tick_text(out, "middle", place(xs, v), y, v, false);
    }
}

static void find_ranges(const mm1_svg_lines *c, axis *xs, axis *ys)
{
    xs->min = ys->min = INFINITY;
    xs->max = ys->max = -INFINITY;
    for (size_t k = 0; k < c->n_series; k++) {
        const mm1_svg_series *s = &c->series[k];
        for (size_t i = 0; i < s->n; i++) {
            if (is_drawn(s, i, c->log_x)) {
                const double x = c->log_x ? log10(s->x[i]) : s->x[i];
                xs->min = fmin(xs->min, x);
                xs->max = fmax(xs->max, x);
            }
        }
    }
    if (xs->max <= xs->min) {
        xs->max = xs->min + 1;
    }
}

/* Names at the right ends, moved apart until none covers another. */
static void put_names(mm1_buf *out, const mm1_svg_lines *c, const thinned *t, const axis *xs, const axis *ys)
{
    enum { LINE = 17 };
    double at[MM1_SVG_MAX_SERIES];
    size_t order[MM1_SVG_MAX_SERIES], n = 0;
    for (size_t k = 0; k < c->n_series; k++) {
        if (t[k].n > 0) {
            size_t i = n++;
            const double y = place(ys, t[k].last);
            for (; i > 0 && at[order[i - 1]] > y; i--) {
                order[i] = order[i - 1];
            }
            order[i] = k;
            at[k] = y;
        }
    }
    for (size_t i = 1; i < n; i++) {
        at[order[i]] = fmax(at[order[i]], at[order[i - 1]] + LINE);
    }
    for (size_t i = n; i-- > 0;) { /* back up from the lower edge */
        const double limit = i + 1 < n ? at[order[i + 1]] - LINE : ys->from;
        at[order[i]] = fmin(at[order[i]], limit);
    }
    for (size_t i = 0; i < n; i++) {
        const size_t k = order[i];
        mm1_buf_printf(out, "<text class=\"name f%d\" x=\"%.1f\" y=\"%.1f\">", c->series[k].colour, xs->to + 8,
                       at[k] + 4);
        mm1_buf_put_html(out, c->series[k].name);
        mm1_buf_puts(out, " <tspan class=\"v\">");
        mm1_svg_put_number(out, t[k].last);
        mm1_buf_puts(out, "</tspan></text>");
    }
}

void mm1_svg_put_lines(mm1_buf *out, const mm1_svg_lines *c)
{
    thinned t[MM1_SVG_MAX_SERIES];
    const bool is_large = c->height > 200;
    axis xs = {.from = 52, .to = c->width - (c->has_names ? 128 : 14), .is_log = c->log_x};
    axis ys = {.from = c->height - (is_large ? 40 : 24), .to = 22};

    mm1_svg_lines chart = *c;
    chart.n_series = c->n_series < MM1_SVG_MAX_SERIES ? c->n_series : MM1_SVG_MAX_SERIES;
    find_ranges(&chart, &xs, &ys);
    if (!isfinite(xs.min)) {
        put_empty(out, c->label);
        return;
    }
    for (size_t k = 0; k < chart.n_series; k++) {
        thin(&t[k], &c->series[k], &xs);
        for (int i = 0; i < t[k].n; i++) {
            /* One wild step must not flatten the rest: without smoothing all values count, with it only the means. */
            ys.min = fmin(ys.min, c->is_smooth ? t[k].smooth[i] : t[k].y[i]);
            ys.max = fmax(ys.max, c->is_smooth ? t[k].smooth[i] : t[k].y[i]);
        }
    }
    if (c->zero_y) {
        ys.min = fmin(ys.min, 0);
    }
    const double span = ys.max > ys.min ? ys.max - ys.min : fmax(fabs(ys.max), 1e-9) * 0.1;
    ys.max += 0.06 * span;
    ys.min -= c->zero_y && ys.min >= 0 ? 0 : 0.06 * span;

    open_svg(out, c->width, c->height, c->label);
    put_y_grid(out, &xs, &ys, is_large ? 5 : 3);
    mm1_buf_printf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", xs.from, xs.to,
                   ys.from, ys.from);
    put_x_ticks(out, &xs, ys.from + 17, is_large ? 6 : 3);
    if (c->y_name != NULL) {
        put_text(out, "t", "start", 4, 12, c->y_name);
    }
    if (c->x_name != NULL && is_large) {
        put_text(out, "t", "middle", (xs.from + xs.to) / 2, c->height - 6, c->x_name);
    }
    /* Faint values may leave the range of the means: they end at the frame. */
    for (int front = 0; front < 2; front++) {
        for (size_t k = 0; k < chart.n_series; k++) {
            for (int i = 0; front == 0 && i < t[k].n; i++) {
                t[k].y[i] = fmin(fmax(t[k].y[i], ys.min), ys.max);
            }
            if (t[k].n > 0 && (front == 1 || c->is_smooth)) {
                put_path(out, front == 1 ? "line" : "faint", c->series[k].colour, t[k].x,
                         front == 1 && c->is_smooth ? t[k].smooth : t[k].y, t[k].n, &ys);
            }
        }
    }
    if (c->has_names) {
        put_names(out, &chart, t, &xs, &ys);
    }
    mm1_buf_puts(out, "</svg>");
}

/* ---- values with intervals ---- */

void mm1_svg_put_values(mm1_buf *out, const mm1_svg_values *c)
{
    enum { ROW = 38, TOP = 20 };
    const int left = c->width >= 600 ? 150 : 116, right = c->width >= 600 ? 132 : 104;
    axis xs = {.min = c->min, .max = c->max, .from = left, .to = c->width - right};
    double min = INFINITY, max = -INFINITY;
    for (size_t i = 0; i < c->n_rows; i++) {
        const double v[3] = {c->rows[i].value, c->rows[i].low, c->rows[i].high};
        for (int k = 0; k < 3; k++) {
            min = isfinite(v[k]) ? fmin(min, v[k]) : min;
            max = isfinite(v[k]) ? fmax(max, v[k]) : max;
        }
    }
    if (!isfinite(min)) {
        put_empty(out, c->label);
        return;
    }
    if (isfinite(c->reference)) {
        min = fmin(min, c->reference);
        max = fmax(max, c->reference);
    }
    const double pad = max > min ? 0.12 * (max - min) : fmax(fabs(max), 1e-9) * 0.1;
    xs.min = isfinite(c->min) ? c->min : min - pad;
    xs.max = isfinite(c->max) ? c->max : max + pad;

    const int bottom = TOP + ROW * (int)c->n_rows;
    open_svg(out, c->width, bottom + 38, c->label);
    const double step = nice_step(xs.max - xs.min, 5);
    for (double v = ceil(xs.min / step) * step; v <= xs.max + 1e-9 * step; v += step) {
        mm1_buf_printf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", place(&xs, v),
                       place(&xs, v), TOP, bottom);
        put_tick_text(out, "middle", place(&xs, v), bottom + 15, v, c->is_percent);
    }
    if (c->x_name != NULL) {
        put_text(out, "t", "middle", (xs.from + xs.to) / 2, bottom + 32, c->x_name);
    }
    if (isfinite(c->reference)) {
        const double x = place(&xs, c->reference);
        mm1_buf_printf(out, "<line class=\"ref\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", x, x, TOP - 4, bottom);
        put_text(out, "t", "middle", x, TOP - 8, c->reference_name != NULL ? c->reference_name : "");
    }
    for (size_t i = 0; i < c->n_rows; i++) {
        const mm1_svg_value *r = &c->rows[i];
        const double y = TOP + ROW * ((double)i + 0.5);
        put_text(out, "row", "end", left - 14, y + 5, r->name);
        if (!isfinite(r->value)) {
            put_text(out, "t", "start", left + 8, y + 4, "not measured");
            continue;
        }
        const double x = place(&xs, r->value);
        mm1_buf_puts(out, "<g><title>");
        mm1_buf_put_html(out, r->name);
        mm1_buf_printf(out, ": %.4g", r->value);
        if (isfinite(r->low) && isfinite(r->high)) {
            const double a = place(&xs, r->low), b = place(&xs, r->high);
            mm1_buf_printf(out, " (%.4g to %.4g)</title>", r->low, r->high);
            mm1_buf_printf(out, "<line class=\"whisker s%d\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                           r->colour, a, b, y, y);
            for (int k = 0; k < 2; k++) {
                mm1_buf_printf(out, "<line class=\"cap s%d\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                               r->colour, k == 0 ? a : b, k == 0 ? a : b, y - 6, y + 6);
            }
        } else {
            mm1_buf_puts(out, "</title>");
        }
        mm1_buf_printf(out, "<circle class=\"dot b%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"5.5\"/></g>", r->colour, x, y);
        mm1_buf_printf(out, "<text class=\"value\" x=\"%.1f\" y=\"%.1f\">", xs.to + 12, y + 5);
        mm1_buf_printf(out, c->is_percent ? "%.1f%%" : "%.3f", c->is_percent ? 100 * r->value : r->value);
        if (isfinite(r->low) && isfinite(r->high)) {
            const double half = (r->high - r->low) / 2;
            mm1_buf_printf(out,
                           c->is_percent ? " <tspan class=\"v\">±%.1f</tspan>" : " <tspan class=\"v\">±%.3f</tspan>",
                           c->is_percent ? 100 * half : half);
        }
        mm1_buf_puts(out, "</text>");
    }
    mm1_buf_puts(out, "</svg>");
}

/* ---- bars ---- */

void mm1_svg_put_bars(mm1_buf *out, const mm1_svg_bars *c)
{
    enum { ROW = 24, LEFT = 122, RIGHT = 66, BAR = 13 };
    double max = 0;
    for (size_t i = 0; i < c->n_rows; i++) {
        const double sum = c->rows[i].strong + c->rows[i].faint;
        max = isfinite(sum) && sum > max ? sum : max;
    }
    if (max <= 0) {
        put_empty(out, c->label);
        return;
    }
    const axis xs = {.min = 0, .max = max, .from = LEFT, .to = c->width - RIGHT};
    open_svg(out, c->width, ROW * (int)c->n_rows + 4, c->label);
    for (size_t i = 0; i < c->n_rows; i++) {
        const mm1_svg_bar *r = &c->rows[i];
        const double y = ROW * (double)i + 4, strong = place(&xs, r->strong), end = place(&xs, r->strong + r->faint);
        put_text(out, "row", "end", LEFT - 12, y + BAR - 2, r->name);
        mm1_buf_puts(out, "<g><title>");
        mm1_buf_put_html(out, r->name);
        mm1_buf_printf(out, ": %.6g in training, %.6g held out</title>", r->strong, r->faint);
        mm1_buf_printf(out, "<rect class=\"b%d\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
                       r->colour, LEFT, y, fmax(strong - LEFT, r->strong > 0 ? 1 : 0), BAR);
        if (r->faint > 0) {
            mm1_buf_printf(out,
                           "<rect class=\"b%d half\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
                           r->colour, strong + 1, y, fmax(end - strong - 1, 1), BAR);
        }
        mm1_buf_puts(out, "</g>");
        put_text(out, "v", "start", end + 8, y + BAR - 2, r->note != NULL ? r->note : "");
    }
    mm1_buf_puts(out, "</svg>");
}

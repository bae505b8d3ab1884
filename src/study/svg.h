/* svg.h - small charts as inline SVG: lines over steps, values with their intervals, bars made of parts.
 *
 * Colours, fonts and strokes are CSS classes (s1..s6 for series, grid, axis, t for text), so that a page decides how
 * they look in light, in dark and on paper.  All text is escaped.  What cannot be drawn (no finite value) becomes a
 * line of text in the chart's place, never an empty box.
 *
 * Errors: none but those of the buffer written to.  Threads: pure functions. */
#ifndef MM1_STUDY_SVG_H
#define MM1_STUDY_SVG_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

enum { MM1_SVG_COLOURS = 6, MM1_SVG_MAX_SERIES = 12 };

/* Points in the order of x; values that are not finite are left out. */
typedef struct mm1_svg_series {
    const char *name;
    int colour; /* 1..MM1_SVG_COLOURS */
    const double *x, *y;
    size_t n;
} mm1_svg_series;

typedef struct mm1_svg_lines {
    const char *label; /* for readers that do not see it */
    const char *x_name, *y_name;
    const mm1_svg_series *series;
    size_t n_series; /* at most MM1_SVG_MAX_SERIES */
    int width, height;
    bool log_x;     /* only if all x are above 0 */
    bool zero_y;    /* the y axis begins at 0 */
    bool is_smooth; /* a running mean over 2 % of the axis in front, the values faintly behind */
    bool has_names; /* each line is named at its right end, with its last value */
} mm1_svg_lines;

void mm1_svg_put_lines(mm1_buf *out, const mm1_svg_lines *chart);

/* One row a value: a dot, and its interval as a whisker if low and high are finite. */
typedef struct mm1_svg_value {
    const char *name;
    double value, low, high;
    int colour;
} mm1_svg_value;

typedef struct mm1_svg_values {
    const char *label, *x_name;
    const mm1_svg_value *rows;
    size_t n_rows;
    double reference;           /* a dashed line, e.g. chance; NaN: none */
    const char *reference_name; /* may be NULL */
    double min, max;            /* of the axis; NaN: from the values */
    bool is_percent;            /* 0..1 shown as % */
    int width;
} mm1_svg_values;

void mm1_svg_put_values(mm1_buf *out, const mm1_svg_values *chart);

/* One row a bar of two parts: strong (train) and faint (held out). */
typedef struct mm1_svg_bar {
    const char *name, *note; /* note: at the end of the bar; may be NULL */
    double strong, faint;
    int colour;
} mm1_svg_bar;

typedef struct mm1_svg_bars {
    const char *label;
    const mm1_svg_bar *rows;
    size_t n_rows;
    int width;
} mm1_svg_bars;

void mm1_svg_put_bars(mm1_buf *out, const mm1_svg_bars *chart);

/* A number as people read it: 12, 3.4k, 1.25M, 0.0031, with at most three digits that count. */
void mm1_svg_put_number(mm1_buf *out, double v);

#endif

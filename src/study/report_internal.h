/* report_internal.h - what report_load.c reads, report_html.c shows and report.c writes down. */
#ifndef MM1_STUDY_REPORT_INTERNAL_H
#define MM1_STUDY_REPORT_INTERNAL_H

#include "base/buf.h"
#include "base/file.h"
#include "eval/results.h"
#include "study/report.h"
#include <jansson.h>
#include <stdbool.h>

enum { MM1__REPORT_MAX_LOSSES = 10, MM1__REPORT_MAX_CHOICES = 10 };

typedef enum mm1__metric {
    MM1__METRIC_STEP,
    MM1__METRIC_LOSS,
    MM1__METRIC_LR,
    MM1__METRIC_GRAD_NORM,
    MM1__METRIC_TOKENS,
    MM1__METRIC_IMAGES,
    MM1__METRIC_SECONDS,
    MM1__METRIC_TOKENS_PER_SECOND,
    MM1__METRIC_MFU,
    MM1__METRIC_WAIT,
    MM1__METRIC_PEAK,
    MM1__METRIC_SOURCES, /* the losses of sources follow */
    MM1__METRIC_MAX = MM1__METRIC_SOURCES + MM1__REPORT_MAX_LOSSES
} mm1__metric;

/* One column a metric, NaN where a line does not say. */
typedef struct mm1__metrics {
    double *columns[MM1__METRIC_MAX]; /* [n] each */
    char *sources[MM1__REPORT_MAX_LOSSES];
    size_t n, cap, n_sources, n_bad_lines;
    double steps, tokens, images, seconds, tokens_per_second, mfu; /* of the whole run; NaN: not known */
} mm1__metrics;

typedef struct mm1__sample {
    const json_t *json;                                           /* borrowed from the report's list */
    const char *generated, *reference, *blind, *concept, *source; /* borrowed; NULL: not said */
    size_t n_choices;
    const char *choices[MM1__REPORT_MAX_CHOICES];
    double shares[MM1__REPORT_MAX_CHOICES]; /* softmax of the scores; sums to 1 */
    int answer, picked;                     /* index, or -1 */
    double score;                           /* CIDEr-D among the samples; NaN without a caption */
    bool is_shown;
} mm1__sample;

typedef struct mm1__report {
    const mm1_report_input *in;
    mm1__metrics metrics;
    mm1_eval_results results;
    bool has_metrics, has_results, has_samples, has_data;
    json_t *sample_list; /* array of objects */
    mm1__sample *samples;
    size_t n_samples;
    json_t *data;       /* summary.json */
    char *recipe;       /* text */
    mm1_names problems; /* what could not be shown */
    size_t pictures_left;
} mm1__report;

/* Reads all inputs; what is missing or malformed becomes a problem.  MM1_E_NOMEM only. */
MM1_NODISCARD mm1_status mm1__report_load(mm1__report *r, mm1_error *err);
void mm1__report_deinit(mm1__report *r);

/* A sample's picture as a data: address, at most 320 px long.  false (and a problem noted) if there is none. */
bool mm1__report_put_picture(mm1__report *r, const mm1__sample *s, mm1_buf *out);

/* A number below `path` ("train.captions") of the data summary; 0 if there is none. */
double mm1__report_data_number(const json_t *object, const char *split, const char *key);

void mm1__report_html(mm1__report *r, mm1_buf *out);

#endif

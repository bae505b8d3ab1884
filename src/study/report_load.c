/* report_load.c - reads what a run, an evaluation and a data build left behind, forgiving what is missing. */
#include "study/report_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "eval/cider.h"
#include <math.h>
#include <mm1/image.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_JSON_BYTES = 256 << 20,
    MAX_RECIPE_BYTES = 1 << 20,
    MAX_SAMPLES = 20000,
    MAX_PROBLEMS = 40,
    PICTURE_PX = 320,
    PICTURE_KEEP_BYTES = 64 << 10, /* smaller files are embedded as they are */
    PICTURE_BASE64_BYTES = 1 << 20,
};

static const char *const metric_keys[MM1__METRIC_SOURCES] = {
    "step",       "loss",
    "lr",         "grad_norm",
    "tokens",     "images",
    "seconds",    "tokens_per_second",
    "mfu",        "loader_wait_seconds",
    "peak_flops",
};

static void add_problem(mm1__report *r, const char *text)
{
    if (r->problems.n < MAX_PROBLEMS) {
        (void)mm1_names_add(&r->problems, text);
        mm1_log(MM1_LOG_WARN, "report: %s", text);
    }
}

/* ---- metrics ---- */

static bool grow(mm1__metrics *m)
{
    if (m->n < m->cap) {
        return true;
    }
    const size_t cap = m->cap == 0 ? 256 : m->cap * 2;
    for (int c = 0; c < MM1__METRIC_MAX; c++) {
        double *column = mm1_realloc(m->columns[c], cap, sizeof *column);
        if (column == NULL) {
            return false; /* those that grew are longer than cap says, which is harmless */
        }
        m->columns[c] = column;
    }
    m->cap = cap;
    return true;
}

static double number_or_nan(const json_t *v)
{
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Index of the column of loss_<source>; -1 if there are too many. */
static int source_column(mm1__metrics *m, const char *source)
{
    for (size_t i = 0; i < m->n_sources; i++) {
        if (strcmp(m->sources[i], source) == 0) {
            return MM1__METRIC_SOURCES + (int)i;
        }
    }
    if (m->n_sources == MM1__REPORT_MAX_LOSSES) {
        return -1;
    }
    char *copy = mm1_strdup(source);
    if (copy == NULL) {
        return -1;
    }
    const int column = MM1__METRIC_SOURCES + (int)m->n_sources;
    for (size_t i = 0; i < m->n; i++) {
        m->columns[column][i] = NAN; /* lines before it was first seen */
    }
    m->sources[m->n_sources++] = copy;
    return column;
}

static bool add_line(mm1__metrics *m, json_t *line)
{
    const double step = number_or_nan(json_object_get(line, "step"));
    if (isfinite(step)) {
        /* A run that was resumed says some steps again: the later line holds. */
        while (m->n > 0 && !(m->columns[MM1__METRIC_STEP][m->n - 1] < step)) {
            m->n--;
        }
    }
    if (!grow(m)) {
        return false;
    }
    for (int c = 0; c < MM1__METRIC_MAX; c++) {
        m->columns[c][m->n] = NAN;
    }
    for (int c = 0; c < MM1__METRIC_SOURCES; c++) {
        m->columns[c][m->n] = number_or_nan(json_object_get(line, metric_keys[c]));
    }
    if (!isfinite(step)) {
        m->columns[MM1__METRIC_STEP][m->n] = m->n > 0 ? m->columns[MM1__METRIC_STEP][m->n - 1] + 1 : 1;
    }
    const char *key;
    json_t *value;
    json_object_foreach(line, key, value)
    {
        if (strncmp(key, "loss_", 5) == 0 && key[5] != '\0') {
            const int c = source_column(m, key + 5);
            if (c >= 0) {
                m->columns[c][m->n] = number_or_nan(value);
            }
        }
    }
    m->n++;
    return true;
}

/* Total of a column that holds totals or parts; see report.h. */
static double total(const mm1__metrics *m, mm1__metric column)
{
    const double *v = m->columns[column];
    double first = NAN, last = NAN, sum = 0;
    bool falls = false;
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (isfinite(v[i])) {
            falls = falls || (n > 0 && v[i] < last);
            first = n == 0 ? v[i] : first;
            last = v[i];
            sum += v[i];
            n++;
        }
    }
    return n == 0 ? NAN : !falls && last > first ? last : sum;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const mm1__metrics *m, mm1__metric column)
{
    double *copy = mm1_alloc(m->n, sizeof *copy);
    size_t n = 0;
    for (size_t i = 0; copy != NULL && i < m->n; i++) {
        if (isfinite(m->columns[column][i])) {
            copy[n++] = m->columns[column][i];
        }
    }
    double value = NAN;
    if (n > 0) {
        qsort(copy, n, sizeof *copy, compare_doubles);
        value = n % 2 == 1 ? copy[n / 2] : (copy[n / 2 - 1] + copy[n / 2]) / 2;
    }
    mm1_free(copy);
    return value;
}

/* Shares of the highest rate that any step knew of or reached: what a step was compared with may have been probed while
 * the machine did other work.  Older files do not say the rate, which was one for all their steps. */
static void settle_mfu(mm1__metrics *m)
{
    double *share = m->columns[MM1__METRIC_MFU];
    const double *peak = m->columns[MM1__METRIC_PEAK];
    bool is_said = false;
    double top = 0;
    for (size_t i = 0; i < m->n; i++) {
        is_said = is_said || peak[i] > 0;
    }
    for (size_t i = 0; i < m->n; i++) {
        const double of = is_said ? peak[i] : 1;
        top = of > 0 && isfinite(share[i]) ? fmax(top, of * fmax(share[i], 1)) : top;
    }
    for (size_t i = 0; i < m->n; i++) {
        const double of = is_said ? peak[i] : 1;
        share[i] = of > 0 ? share[i] * of / top : share[i] > 1 ? 1 : share[i];
    }
}

/* Calls fn for every line of a JSON-lines file; a line that is no object is counted in *n_bad. */
static mm1_status each_line(const char *path, bool (*fn)(void *, json_t *), void *ctx, size_t *n_bad, mm1_error *err)
{
    mm1_map map;
    mm1_status st = mm1_map_open(&map, path, err);
    if (st != MM1_OK) {
        return st;
    }
    if (map.len > MAX_JSON_BYTES) {
        st = mm1_error_set(err, MM1_E_LIMIT, "%s: %zu bytes is over the limit of %d", path, map.len, MAX_JSON_BYTES);
    }
    const char *p = (const char *)map.data;
    for (size_t at = 0; st == MM1_OK && at < map.len;) {
        const char *end = memchr(p + at, '\n', map.len - at);
        const size_t len = end != NULL ? (size_t)(end - (p + at)) : map.len - at;
        if (len > 0) {
            json_t *line = json_loadb(p + at, len, 0, NULL);
            if (!json_is_object(line)) {
                (*n_bad)++;
            } else if (!fn(ctx, line)) {
                st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
            }
            json_decref(line);
        }
        at += len + 1;
    }
    mm1_map_close(&map);
    return st;
}

static bool on_metrics_line(void *ctx, json_t *line)
{
    return add_line(ctx, line);
}

/* A failed read is a problem on the page; only a lack of memory is an error. */
static mm1_status forgive(mm1__report *r, mm1_status st, const mm1_error *err)
{
    if (st != MM1_OK && st != MM1_E_NOMEM) {
        add_problem(r, err->message);
        return MM1_OK;
    }
    return st;
}

static mm1_status load_metrics(mm1__report *r, const char *path, mm1_error *err)
{
    mm1__metrics *m = &r->metrics;
    mm1_error local = {0};
    mm1_status st = each_line(path, on_metrics_line, m, &m->n_bad_lines, &local);
    r->has_metrics = st == MM1_OK && m->n > 0;
    if (st == MM1_OK && m->n == 0) {
        st = mm1_error_set(&local, MM1_E_FORMAT, "%s: no step is recorded", path);
    }
    if (m->n_bad_lines > 0) {
        mm1_error bad = {0};
        (void)mm1_error_set(&bad, MM1_E_FORMAT, "%s: lines left out because they are no JSON objects: %zu", path,
                            m->n_bad_lines);
        add_problem(r, bad.message);
    }
    if (r->has_metrics) {
        m->steps = m->columns[MM1__METRIC_STEP][m->n - 1];
        m->tokens = total(m, MM1__METRIC_TOKENS);
        m->images = total(m, MM1__METRIC_IMAGES);
        m->seconds = total(m, MM1__METRIC_SECONDS);
        m->tokens_per_second =
            m->seconds > 0 && isfinite(m->tokens) ? m->tokens / m->seconds : median(m, MM1__METRIC_TOKENS_PER_SECOND);
        settle_mfu(m);
        m->mfu = median(m, MM1__METRIC_MFU);
    }
    st = forgive(r, st, &local);
    return st == MM1_OK ? st : mm1_error_set(err, st, "%s", local.message);
}

/* ---- samples ---- */

static bool on_sample_line(void *ctx, json_t *line)
{
    json_t *list = ctx;
    return json_array_size(list) >= MAX_SAMPLES || json_array_append(list, line) == 0;
}

static void read_choices(mm1__sample *s)
{
    const json_t *choices = json_object_get(s->json, "choices"), *scores = json_object_get(s->json, "choice_scores");
    const size_t n = json_array_size(choices);
    s->answer = s->picked = -1;
    if (n < 2 || n > MM1__REPORT_MAX_CHOICES || json_array_size(scores) != n) {
        return;
    }
    double best = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        s->choices[i] = json_string_value(json_array_get(choices, i));
        s->shares[i] = number_or_nan(json_array_get(scores, i));
        if (s->choices[i] == NULL || !isfinite(s->shares[i])) {
            return;
        }
        best = fmax(best, s->shares[i]);
    }
    for (size_t i = 0; i < n; i++) {
        s->shares[i] = exp(s->shares[i] - best);
        sum += s->shares[i];
    }
    int largest = 0;
    for (size_t i = 0; i < n; i++) {
        s->shares[i] /= sum;
        largest = s->shares[i] > s->shares[largest] ? (int)i : largest;
    }
    const json_t *answer = json_object_get(s->json, "answer"), *picked = json_object_get(s->json, "picked");
    const json_int_t a = json_integer_value(answer), p = json_integer_value(picked);
    if (!json_is_integer(answer) || a < 0 || (size_t)a >= n) {
        return; /* without the right one there is nothing to judge */
    }
    s->answer = (int)a;
    s->picked = json_is_integer(picked) && p >= 0 && (size_t)p < n ? (int)p : largest;
    s->n_choices = n;
}

/* CIDEr-D of the samples' captions among themselves: to find the worst of them, not to be quoted. */
static mm1_status score_samples(mm1__report *r, mm1_error *err)
{
    mm1_caption_item *items = mm1_calloc(r->n_samples, sizeof *items);
    double *scores = mm1_calloc(r->n_samples, sizeof *scores), mean = 0;
    mm1_status st = MM1_OK;
    size_t n = 0;
    if (items == NULL || scores == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "report: no memory for %zu samples", r->n_samples);
        goto out;
    }
    for (size_t i = 0; i < r->n_samples; i++) {
        const mm1__sample *s = &r->samples[i];
        if (s->generated != NULL && s->reference != NULL) {
            items[n++] = (mm1_caption_item){.candidate = s->generated, .references = &s->reference, .n_references = 1};
        }
    }
    st = mm1_cider_score(items, n, scores, &mean, err);
    for (size_t i = 0, k = 0; st == MM1_OK && i < r->n_samples; i++) {
        mm1__sample *s = &r->samples[i];
        if (s->generated != NULL && s->reference != NULL) {
            s->score = scores[k++];
        }
    }
out:
    mm1_free(items);
    mm1_free(scores);
    return st;
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL && s[0] != '\0' ? s : NULL;
}

static mm1_status load_samples(mm1__report *r, mm1_error *err)
{
    size_t n_bad = 0;
    mm1_error local = {0};
    r->sample_list = json_array();
    if (r->sample_list == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "report: no memory for samples");
    }
    mm1_status st = each_line(r->in->samples_path, on_sample_line, r->sample_list, &n_bad, &local);
    if (n_bad > 0) {
        mm1_error bad = {0};
        (void)mm1_error_set(&bad, MM1_E_FORMAT, "%s: lines left out because they are no JSON objects: %zu",
                            r->in->samples_path, n_bad);
        add_problem(r, bad.message);
    }
    if (st == MM1_OK && json_array_size(r->sample_list) == 0) {
        st = mm1_error_set(&local, MM1_E_FORMAT, "%s: no sample", r->in->samples_path);
    }
    if (st != MM1_OK) {
        st = forgive(r, st, &local);
        return st == MM1_OK ? st : mm1_error_set(err, st, "%s", local.message);
    }
    r->n_samples = json_array_size(r->sample_list);
    r->samples = mm1_calloc(r->n_samples, sizeof *r->samples);
    if (r->samples == NULL) {
        r->n_samples = 0;
        return mm1_error_set(err, MM1_E_NOMEM, "report: no memory for samples");
    }
    for (size_t i = 0; i < r->n_samples; i++) {
        mm1__sample *s = &r->samples[i];
        s->json = json_array_get(r->sample_list, i);
        s->generated = json_string_value(json_object_get(s->json, "generated")); /* may be empty: that is a caption */
        s->blind = json_string_value(json_object_get(s->json, "generated_without_image"));
        s->reference = string_of(s->json, "reference");
        if (s->reference == NULL) {
            s->reference = json_string_value(json_array_get(json_object_get(s->json, "references"), 0));
        }
        s->concept = string_of(s->json, "concept");
        s->source = string_of(s->json, "source");
        s->score = NAN;
        read_choices(s);
    }
    r->has_samples = true;
    return score_samples(r, err);
}

/* ---- pictures ---- */

static bool is_base64(const char *s)
{
    const size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    const size_t pad = strspn(s + n, "=");
    return n > 0 && pad <= 2 && s[n + pad] == '\0' && (n + pad) % 4 == 0;
}

/* Encodes the picture no longer than PICTURE_PX; *png says as what. */
static mm1_status shrink(const char *bytes, size_t len, const char *name, uint8_t **out, size_t *out_len,
                         mm1_error *err)
{
    mm1_image full = {0}, small = {0};
    mm1_status st = mm1_image_decode(bytes, len, &mm1_image_limits_default, name, &full, err);
    if (st == MM1_OK) {
        const double longest = full.width > full.height ? full.width : full.height;
        const double scale = longest > PICTURE_PX ? PICTURE_PX / longest : 1;
        const int32_t w = (int32_t)lround(full.width * scale), h = (int32_t)lround(full.height * scale);
        st = mm1_image_resize(&full, w > 0 ? w : 1, h > 0 ? h : 1, MM1_FILTER_BICUBIC, &small, err);
    }
    if (st == MM1_OK) {
        st = mm1_image_encode_jpeg(&small, 88, out, out_len, err);
    }
    mm1_image_deinit(&full);
    mm1_image_deinit(&small);
    return st;
}

static mm1_status put_file(const char *path, mm1_buf *out, mm1_error *err)
{
    char *bytes = NULL;
    uint8_t *small = NULL;
    size_t len = 0, small_len = 0;
    mm1_image_format format = MM1_IMAGE_JPEG;
    int32_t width = 0, height = 0;

    mm1_status st = mm1_file_read(path, (size_t)mm1_image_limits_default.max_bytes, &bytes, &len, err);
    if (st == MM1_OK) {
        st = mm1_image_probe(bytes, len, &mm1_image_limits_default, path, &format, &width, &height, err);
    }
    if (st == MM1_OK && len <= PICTURE_KEEP_BYTES && format != MM1_IMAGE_WEBP) {
        mm1_buf_puts(out, format == MM1_IMAGE_PNG ? "data:image/png;base64," : "data:image/jpeg;base64,");
        mm1_buf_put_base64(out, bytes, len);
    } else if (st == MM1_OK) {
        st = shrink(bytes, len, path, &small, &small_len, err);
        if (st == MM1_OK) {
            mm1_buf_puts(out, "data:image/jpeg;base64,");
            mm1_buf_put_base64(out, small, small_len);
        }
    }
    mm1_free(small);
    mm1_free(bytes);
    return st;
}

bool mm1__report_put_picture(mm1__report *r, const mm1__sample *s, mm1_buf *out)
{
    const char *base64 = string_of(s->json, "image_png_base64"), *image = string_of(s->json, "image");
    mm1_error err = {0};
    if (r->pictures_left == 0) {
        return false;
    }
    if (base64 != NULL) {
        if (strlen(base64) > PICTURE_BASE64_BYTES || !is_base64(base64)) {
            add_problem(r, "a sample's \"image_png_base64\" is no base64, or over 1 MiB");
            return false;
        }
        mm1_buf_puts(out, "data:image/png;base64,");
        mm1_buf_puts(out, base64);
        r->pictures_left--;
        return true;
    }
    if (image == NULL) {
        return false;
    }
    char *dir = mm1_path_dirname(r->in->samples_path);
    char *path = dir != NULL ? mm1_path_join(dir, image) : NULL;
    const bool done = path != NULL && put_file(path, out, &err) == MM1_OK;
    if (!done) {
        add_problem(r, path != NULL ? err.message : "no memory for the path of a picture");
    } else {
        r->pictures_left--;
    }
    mm1_free(path);
    mm1_free(dir);
    return done;
}

/* ---- all ---- */

double mm1__report_data_number(const json_t *object, const char *split, const char *key)
{
    const json_t *v = json_object_get(json_object_get(object, split), key);
    return json_is_number(v) && json_number_value(v) > 0 ? json_number_value(v) : 0;
}

static mm1_status load_data(mm1__report *r, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    json_error_t where;
    mm1_error local = {0};
    mm1_status st = mm1_file_read(r->in->data_summary_path, MAX_JSON_BYTES, &text, &len, &local);
    if (st == MM1_OK) {
        r->data = json_loadb(text, len, 0, &where);
        r->has_data = json_is_object(r->data);
        if (!r->has_data) {
            st = mm1_error_set(&local, MM1_E_FORMAT, "%s: no summary of a data build: %s", r->in->data_summary_path,
                               r->data == NULL ? where.text : "an object is expected");
        }
    }
    mm1_free(text);
    st = forgive(r, st, &local);
    return st == MM1_OK ? st : mm1_error_set(err, st, "%s", local.message);
}

static mm1_status load_run(mm1__report *r, mm1_error *err)
{
    mm1_status st = MM1_E_NOMEM;
    mm1_error local = {0};
    char *metrics = mm1_path_join(r->in->run_dir, "metrics.jsonl");
    char *recipe = mm1_path_join(r->in->run_dir, "recipe.resolved.yaml");
    if (metrics == NULL || recipe == NULL) {
        (void)mm1_error_set(err, st, "report: no memory");
        goto out;
    }
    st = load_metrics(r, metrics, err);
    if (st == MM1_OK) {
        st = mm1_file_read(recipe, MAX_RECIPE_BYTES, &r->recipe, NULL, &local);
        st = forgive(r, st, &local);
        if (st != MM1_OK) {
            (void)mm1_error_set(err, st, "%s", local.message);
        }
    }
out:
    mm1_free(metrics);
    mm1_free(recipe);
    return st;
}

mm1_status mm1__report_load(mm1__report *r, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_error local = {0};
    mm1_eval_results_init(&r->results);
    r->pictures_left = r->in->max_pictures != 0 ? r->in->max_pictures : 60;
    mm1__metrics *m = &r->metrics;
    m->steps = m->tokens = m->images = m->seconds = m->tokens_per_second = m->mfu = NAN;

    if (r->in->run_dir != NULL) {
        st = load_run(r, err);
    }
    if (st == MM1_OK && r->in->results_path != NULL) {
        st = mm1_eval_results_read(&r->results, r->in->results_path, &local);
        r->has_results = st == MM1_OK;
        if (!r->has_results) {
            mm1_eval_results_init(&r->results);
            st = forgive(r, st, &local);
            if (st != MM1_OK) {
                (void)mm1_error_set(err, st, "%s", local.message);
            }
        }
    }
    if (st == MM1_OK && r->in->samples_path != NULL) {
        st = load_samples(r, err);
    }
    if (st == MM1_OK && r->in->data_summary_path != NULL) {
        st = load_data(r, err);
    }
    return st;
}

void mm1__report_deinit(mm1__report *r)
{
    for (int c = 0; c < MM1__METRIC_MAX; c++) {
        mm1_free(r->metrics.columns[c]);
    }
    for (size_t i = 0; i < r->metrics.n_sources; i++) {
        mm1_free(r->metrics.sources[i]);
    }
    mm1_eval_results_deinit(&r->results);
    json_decref(r->sample_list);
    json_decref(r->data);
    mm1_free(r->samples);
    mm1_free(r->recipe);
    mm1_names_free(&r->problems);
    *r = (mm1__report){0};
}

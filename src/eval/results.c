/* results.c - see results.h. */
#include "eval/results.h"

#include "base/alloc.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 16 << 20 };

const int mm1_eval_shots[MM1_EVAL_N_SHOTS] = {0, 4, 8};

static const char *const picture_names[MM1_PICTURE_COUNT] = {"true", "shuffled", "none"};
static const char *const shot_names[MM1_EVAL_N_SHOTS] = {"shots0", "shots4", "shots8"};

static const mm1_interval unmeasured = {.value = NAN, .low = NAN, .high = NAN};

void mm1_eval_results_init(mm1_eval_results *r)
{
    *r = (mm1_eval_results){.choice10 = unmeasured,
                            .choice10_same_source = unmeasured,
                            .choice10_gain = unmeasured,
                            .choice10_gain_same_source = unmeasured,
                            .text_bits_per_byte = unmeasured};
    for (int i = 0; i < MM1_PICTURE_COUNT; i++) {
        r->caption_nll[i] = r->caption_nll_difference[i] = unmeasured;
    }
    for (int i = 0; i < MM1_EVAL_N_SHOTS; i++) {
        r->cider[i] = unmeasured;
    }
}

void mm1_eval_results_deinit(mm1_eval_results *r)
{
    mm1_free(r->model);
    mm1_names_free(&r->tasks);
    mm1_free(r->seeds);
    *r = (mm1_eval_results){0};
}

mm1_status mm1_eval_results_add_seed(mm1_eval_results *r, uint64_t seed, mm1_error *err)
{
    uint64_t *seeds = mm1_realloc(r->seeds, r->n_seeds + 1, sizeof *seeds);
    if (seeds == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "evaluation results: no memory for a seed");
    }
    r->seeds = seeds;
    r->seeds[r->n_seeds++] = seed;
    return MM1_OK;
}

/* NaN and infinity have no form in JSON. */
static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *bounds(const mm1_interval *i)
{
    return isfinite(i->low) && isfinite(i->high) ? json_pack("[f,f]", i->low, i->high) : json_null();
}

/* {"a": value, ...} of n intervals, or of their bounds. */
static json_t *values(const mm1_interval *v, const char *const *names, int first, int n, json_t *(*of)(const void *))
{
    json_t *object = json_object();
    for (int i = first; i < n; i++) {
        if (json_object_set_new(object, names[i], of(&v[i])) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *value_of(const void *interval)
{
    return number(((const mm1_interval *)interval)->value);
}

static json_t *bounds_of(const void *interval)
{
    return bounds(interval);
}

static json_t *choice(const mm1_interval *i)
{
    return json_pack("{s:o,s:o,s:o}", "accuracy", number(i->value), "low", number(i->low), "high", number(i->high));
}

json_t *mm1_eval_results_heldout(const mm1_eval_results *r)
{
    /* "o" takes over references and fails as a whole if one of them is NULL. */
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "caption_nll_per_token",
        values(r->caption_nll, picture_names, 0, MM1_PICTURE_COUNT, value_of), "caption_nll_per_token_interval",
        values(r->caption_nll, picture_names, 0, MM1_PICTURE_COUNT, bounds_of), "caption_nll_per_token_difference",
        values(r->caption_nll_difference, picture_names, 1, MM1_PICTURE_COUNT, value_of),
        "caption_nll_per_token_difference_interval",
        values(r->caption_nll_difference, picture_names, 1, MM1_PICTURE_COUNT, bounds_of), "choice10",
        choice(&r->choice10), "choice10_same_source", choice(&r->choice10_same_source), "choice10_gain",
        choice(&r->choice10_gain), "choice10_gain_same_source", choice(&r->choice10_gain_same_source), "cider",
        values(r->cider, shot_names, 0, MM1_EVAL_N_SHOTS, value_of), "cider_interval",
        values(r->cider, shot_names, 0, MM1_EVAL_N_SHOTS, bounds_of), "text_bits_per_byte",
        number(r->text_bits_per_byte.value), "text_bits_per_byte_interval", bounds(&r->text_bits_per_byte));
}

mm1_status mm1_eval_results_write(const mm1_eval_results *r, const char *path, mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *text = NULL;
    json_t *tasks = json_array(), *seeds = json_array();
    for (size_t i = 0; i < r->tasks.n; i++) {
        (void)json_array_append_new(tasks, json_string(r->tasks.items[i]));
    }
    for (size_t i = 0; i < r->n_seeds; i++) {
        (void)json_array_append_new(seeds, json_integer((json_int_t)r->seeds[i]));
    }
    json_t *root =
        json_pack("{s:s?,s:o,s:o,s:{s:I,s:I,s:I,s:I,s:I},s:o}", "model", r->model, "tasks", tasks, "seeds", seeds, "n",
                  "captions", (json_int_t)r->n_captions, "choice10", (json_int_t)r->n_choice10, "choice10_same_source",
                  (json_int_t)r->n_choice10_same_source, "cider", (json_int_t)r->n_cider, "text_bytes",
                  (json_int_t)r->n_text_bytes, "heldout", mm1_eval_results_heldout(r));
    if (root != NULL) {
        text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    }
    if (text == NULL) {
        st =
            mm1_error_set(err, MM1_E_NOMEM, "%s: results cannot be written: no memory, or text that is no UTF-8", path);
    } else {
        st = mm1_file_write_atomic(path, text, strlen(text), err);
    }
    free(text);
    json_decref(root);
    return st;
}

/* A number into *out; null or nothing leaves it. */
static mm1_status read_number(const json_t *object, const char *key, double *out, const char *path, mm1_error *err)
{
    const json_t *v = json_object_get(object, key);
    if (v == NULL || json_is_null(v)) {
        return MM1_OK;
    }
    if (!json_is_number(v)) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: \"%s\" is not a number", path, key);
    }
    *out = json_number_value(v);
    return MM1_OK;
}

static mm1_status read_bounds(const json_t *object, const char *key, mm1_interval *out, const char *path,
                              mm1_error *err)
{
    const json_t *v = json_object_get(object, key);
    if (v == NULL || json_is_null(v)) {
        return MM1_OK;
    }
    const json_t *low = json_array_get(v, 0), *high = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_number(low) || !json_is_number(high)) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: interval \"%s\" is not [low, high]", path, key);
    }
    out->low = json_number_value(low);
    out->high = json_number_value(high);
    return MM1_OK;
}

static mm1_status read_values(const json_t *heldout, const char *key, const char *const *names, int first, int n,
                              mm1_interval *out, const char *path, mm1_error *err)
{
    char interval_key[128];
    (void)snprintf(interval_key, sizeof interval_key, "%s_interval", key);
    const json_t *v = json_object_get(heldout, key), *b = json_object_get(heldout, interval_key);
    mm1_status st = MM1_OK;
    for (int i = first; st == MM1_OK && i < n; i++) {
        st = read_number(v, names[i], &out[i].value, path, err);
        if (st == MM1_OK) {
            st = read_bounds(b, names[i], &out[i], path, err);
        }
    }
    return st;
}

static mm1_status read_choice(const json_t *choice, mm1_interval *out, const char *path, mm1_error *err)
{
    mm1_status st = read_number(choice, "accuracy", &out->value, path, err);
    st = st != MM1_OK ? st : read_number(choice, "low", &out->low, path, err);
    return st != MM1_OK ? st : read_number(choice, "high", &out->high, path, err);
}

static mm1_status read_heldout(mm1_eval_results *r, const json_t *h, const char *path, mm1_error *err)
{
    mm1_status st =
        read_values(h, "caption_nll_per_token", picture_names, 0, MM1_PICTURE_COUNT, r->caption_nll, path, err);
    if (st == MM1_OK) {
        st = read_values(h, "caption_nll_per_token_difference", picture_names, 1, MM1_PICTURE_COUNT,
                         r->caption_nll_difference, path, err);
    }
    if (st == MM1_OK) {
        st = read_values(h, "cider", shot_names, 0, MM1_EVAL_N_SHOTS, r->cider, path, err);
    }
    const struct {
        const char *key;
        mm1_interval *to;
    } choices[] = {{"choice10", &r->choice10},
                   {"choice10_same_source", &r->choice10_same_source},
                   {"choice10_gain", &r->choice10_gain},
                   {"choice10_gain_same_source", &r->choice10_gain_same_source}};
    for (size_t i = 0; st == MM1_OK && i < sizeof choices / sizeof *choices; i++) {
        st = read_choice(json_object_get(h, choices[i].key), choices[i].to, path, err);
    }
    if (st == MM1_OK) {
        st = read_number(h, "text_bits_per_byte", &r->text_bits_per_byte.value, path, err);
    }
    if (st == MM1_OK) {
        st = read_bounds(h, "text_bits_per_byte_interval", &r->text_bits_per_byte, path, err);
    }
    return st;
}

static mm1_status read_lists(mm1_eval_results *r, const json_t *root, const char *path, mm1_error *err)
{
    const char *model = json_string_value(json_object_get(root, "model"));
    if (model != NULL) {
        r->model = mm1_strdup(model);
        if (r->model == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
        }
    }
    const json_t *tasks = json_object_get(root, "tasks"), *seeds = json_object_get(root, "seeds");
    for (size_t i = 0; i < json_array_size(tasks); i++) {
        const char *name = json_string_value(json_array_get(tasks, i));
        if (name == NULL) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: \"tasks\" holds something that is no text", path);
        }
        if (!mm1_names_add(&r->tasks, name)) {
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
        }
    }
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < json_array_size(seeds); i++) {
        st = mm1_eval_results_add_seed(r, (uint64_t)json_integer_value(json_array_get(seeds, i)), err);
    }
    const json_t *n = json_object_get(root, "n");
    r->n_captions = json_integer_value(json_object_get(n, "captions"));
    r->n_choice10 = json_integer_value(json_object_get(n, "choice10"));
    r->n_choice10_same_source = json_integer_value(json_object_get(n, "choice10_same_source"));
    r->n_cider = json_integer_value(json_object_get(n, "cider"));
    r->n_text_bytes = json_integer_value(json_object_get(n, "text_bytes"));
    return st;
}

mm1_status mm1_eval_results_read(mm1_eval_results *r, const char *path, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    json_error_t where;
    json_t *root = NULL;

    mm1_eval_results_init(r);
    mm1_status st = mm1_file_read(path, MAX_FILE_BYTES, &text, &len, err);
    if (st != MM1_OK) {
        return st;
    }
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(root)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: no results of an evaluation: %s", path,
                           root == NULL ? where.line : 1, root == NULL ? where.text : "an object is expected");
        goto out;
    }
    st = read_lists(r, root, path, err);
    if (st == MM1_OK) {
        st = read_heldout(r, json_object_get(root, "heldout"), path, err);
    }
out:
    if (st != MM1_OK) {
        mm1_eval_results_deinit(r);
    }
    json_decref(root);
    mm1_free(text);
    return st;
}

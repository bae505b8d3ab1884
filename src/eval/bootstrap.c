/* bootstrap.c - see bootstrap.h. */
#include "eval/bootstrap.h"

#include "base/alloc.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>

mm1_bootstrap mm1_bootstrap_default(void)
{
    return (mm1_bootstrap){.n_replicates = 2000, .level = 0.95, .seed = 0};
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Quantile q of sorted x [n], interpolated. */
static double quantile(const double *x, int n, double q)
{
    const double at = q * (n - 1);
    const int i = (int)at;
    return i + 1 < n ? x[i] + (at - i) * (x[i + 1] - x[i]) : x[n - 1];
}

static mm1_status check(const mm1_bootstrap *b, const double *x, const double *y, size_t n, mm1_error *err)
{
    if (n == 0) {
        return mm1_error_set(err, MM1_E_ARG, "bootstrap: no item, so there is no interval");
    }
    if (b->n_replicates < 1) {
        return mm1_error_set(err, MM1_E_ARG, "bootstrap: %d replicates; at least 1 is needed, 1000 is usual",
                             b->n_replicates);
    }
    if (!(b->level > 0 && b->level < 1)) {
        return mm1_error_set(err, MM1_E_ARG, "bootstrap: level %g is not between 0 and 1", b->level);
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) || (y != NULL && !isfinite(y[i]))) {
            return mm1_error_set(err, MM1_E_NUMERIC, "bootstrap: item %zu of %zu is not finite", i, n);
        }
    }
    return MM1_OK;
}

/* sum(x) / sum(y) of the items and of their resamples; y NULL stands for ones. */
static mm1_status resample(const mm1_bootstrap *b, const double *x, const double *y, size_t n, mm1_interval *out,
                           mm1_error *err)
{
    double *values = mm1_alloc((size_t)b->n_replicates, sizeof *values);
    if (values == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "bootstrap: no memory for %d replicates", b->n_replicates);
    }
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) {
        num += x[i];
        den += y != NULL ? y[i] : 1.0;
    }
    out->value = num / den;
    for (int r = 0; r < b->n_replicates; r++) {
        mm1_rng rng = mm1_rng_make(b->seed, MM1_RNG_BOOTSTRAP, (uint64_t)r);
        num = den = 0;
        /* A draw of nothing but empty items has no ratio: it is drawn again. */
        while (den <= 0) {
            num = den = 0;
            for (size_t i = 0; i < n; i++) {
                const uint64_t k = mm1_rng_below(&rng, n);
                num += x[k];
                den += y != NULL ? y[k] : 1.0;
            }
        }
        values[r] = num / den;
    }
    qsort(values, (size_t)b->n_replicates, sizeof *values, compare_doubles);
    out->low = quantile(values, b->n_replicates, (1 - b->level) / 2);
    out->high = quantile(values, b->n_replicates, (1 + b->level) / 2);
    mm1_free(values);
    return MM1_OK;
}

mm1_status mm1_bootstrap_mean(const mm1_bootstrap *b, const double *x, size_t n, mm1_interval *out, mm1_error *err)
{
    *out = (mm1_interval){.value = NAN, .low = NAN, .high = NAN};
    const mm1_status st = check(b, x, NULL, n, err);
    return st == MM1_OK ? resample(b, x, NULL, n, out, err) : st;
}

mm1_status mm1_bootstrap_paired(const mm1_bootstrap *b, const double *x, const double *y, size_t n, mm1_interval *out,
                                mm1_error *err)
{
    *out = (mm1_interval){.value = NAN, .low = NAN, .high = NAN};
    mm1_status st = check(b, x, y, n, err);
    if (st != MM1_OK) {
        return st;
    }
    double *difference = mm1_alloc(n, sizeof *difference);
    if (difference == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "bootstrap: no memory for %zu items", n);
    }
    for (size_t i = 0; i < n; i++) {
        difference[i] = x[i] - y[i];
    }
    st = resample(b, difference, NULL, n, out, err);
    mm1_free(difference);
    return st;
}

mm1_status mm1_bootstrap_ratio(const mm1_bootstrap *b, const double *x, const double *y, size_t n, mm1_interval *out,
                               mm1_error *err)
{
    *out = (mm1_interval){.value = NAN, .low = NAN, .high = NAN};
    mm1_status st = check(b, x, y, n, err);
    if (st != MM1_OK) {
        return st;
    }
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        if (y[i] < 0) {
            return mm1_error_set(err, MM1_E_NUMERIC, "bootstrap: denominator %g of item %zu is negative", y[i], i);
        }
        total += y[i];
    }
    if (total <= 0) {
        return mm1_error_set(err, MM1_E_NUMERIC, "bootstrap: the denominators of all %zu items are zero", n);
    }
    return resample(b, x, y, n, out, err);
}

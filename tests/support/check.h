/* check.h - what the tests share on top of cmocka: comparison of floats, random vectors, temporary folders. */
#ifndef MM1_TESTS_CHECK_H
#define MM1_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>

#include "base/rng.h"
#include <math.h>
#include <mm1/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* |got - want| <= atol + rtol * |want| for every element, NaN never; names the worst place. */
#define check_close(got, want, n, atol, rtol) check_close_at(got, want, n, atol, rtol, __FILE__, __LINE__)

static inline void check_close_at(const float *got, const float *want, int64_t n, double atol, double rtol,
                                  const char *file, int line)
{
    int64_t worst = -1;
    double worst_excess = 0;
    for (int64_t i = 0; i < n; i++) {
        const double diff = fabs((double)got[i] - (double)want[i]), bound = atol + rtol * fabs((double)want[i]);
        const double excess = isnan(diff) ? INFINITY : diff - bound;
        if (excess > 0 && (worst < 0 || excess > worst_excess)) {
            worst = i;
            worst_excess = excess;
        }
    }
    if (worst >= 0) {
        print_error("element %lld of %lld: got %.9g, want %.9g, difference %.3g (atol %g, rtol %g)\n", (long long)worst,
                    (long long)n, (double)got[worst], (double)want[worst],
                    fabs((double)got[worst] - (double)want[worst]), atol, rtol);
        _fail(file, line);
    }
}

/* The call succeeds; its message is printed if not. */
#define check_ok(call, err)                                                                                            \
    do {                                                                                                               \
        const mm1_status check_status_ = (call);                                                                       \
        if (check_status_ != MM1_OK) {                                                                                 \
            print_error("%s: %s\n", mm1_status_name(check_status_), (err)->message);                                   \
            fail();                                                                                                    \
        }                                                                                                              \
    } while (0)

#define check_contains(haystack, needle)                                                                               \
    do {                                                                                                               \
        if (strstr(haystack, needle) == NULL) {                                                                        \
            print_error("\"%s\" does not contain \"%s\"\n", haystack, needle);                                         \
            fail();                                                                                                    \
        }                                                                                                              \
    } while (0)

static inline void check_fill(float *x, int64_t n, double lo, double hi, uint64_t seed)
{
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_TEST, 0);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(lo + (hi - lo) * mm1_rng_uniform(&r));
    }
}

/* A fresh folder under $TMPDIR or /tmp; the caller removes it. */
static inline void check_tmpdir(char *path, size_t cap)
{
    const char *root = getenv("TMPDIR");
    (void)snprintf(path, cap, "%s/mm1-test-XXXXXX", root != NULL ? root : "/tmp");
    assert_non_null(mkdtemp(path));
}

#endif

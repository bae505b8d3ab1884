/* compare.h - runs one kernel case with the reference and with every instruction set of this CPU, and compares.
 *
 * A case takes its arrays from in(), out() and in_i32(): the contents depend only on the order of these calls, so each
 * run sees the same.  All arrays lie between canary words that are NaN: a kernel that writes outside is caught, and one
 * that lets a read outside reach a result turns it into NaN.  The case is run once more with other addresses: the fast
 * version must then give the same bits. */
#ifndef MM1_TESTS_COMPARE_H
#define MM1_TESTS_COMPARE_H

#include "support/check.h"

#include "kernels/kernels.h"

enum { COMPARE_ARRAYS = 16, COMPARE_GUARD = 40 };
static const uint32_t COMPARE_CANARY = 0x7fc0beefu;

/* Sizes of a case; each case says what its letters are. */
typedef struct shape {
    int64_t a, b, c, d, e, f;
    int act;
    bool acc, alias, flag;
    float number;
} shape;

typedef struct run {
    int n_arrays, n_outs;
    uint32_t *block[COMPARE_ARRAYS];
    int64_t n[COMPARE_ARRAYS], shift; /* floats by which arrays are off 64 bytes */
    int out[COMPARE_ARRAYS];          /* indices of the outputs */
} run;

typedef void (*case_fn)(const mm1_kernels *k, run *r, const shape *s);

static inline float *compare_array(run *r, int index)
{
    return (float *)(void *)(r->block[index] + COMPARE_GUARD + r->shift);
}

static inline float *in(run *r, int64_t n, double lo, double hi)
{
    assert_true(r->n_arrays < COMPARE_ARRAYS);
    const int index = r->n_arrays++;
    const int64_t total = n + 2 * COMPARE_GUARD + 8;
    r->n[index] = n;
    r->block[index] = aligned_alloc(64, ((size_t)total * 4 + 63) / 64 * 64);
    assert_non_null(r->block[index]);
    for (int64_t i = 0; i < total; i++) {
        r->block[index][i] = COMPARE_CANARY;
    }
    check_fill(compare_array(r, index), n, lo, hi, (uint64_t)index);
    return compare_array(r, index);
}

/* An array that is compared afterwards; it starts with random contents. */
static inline float *out(run *r, int64_t n)
{
    float *x = in(r, n, -1, 1);
    r->out[r->n_outs++] = r->n_arrays - 1;
    return x;
}

/* Numbers in [0, below). */
static inline int32_t *in_i32(run *r, int64_t n, int64_t below)
{
    int32_t *x = (int32_t *)(void *)in(r, n, 0, 1);
    mm1_rng g = mm1_rng_make((uint64_t)r->n_arrays, MM1_RNG_TEST, 1);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (int32_t)mm1_rng_below(&g, (uint64_t)below);
    }
    return x;
}

static inline void compare_start(run *r, int64_t shift)
{
    memset(r, 0, sizeof *r);
    r->shift = shift;
}

/* Canaries are whole; frees. */
static inline void compare_finish(run *r)
{
    for (int i = 0; i < r->n_arrays; i++) {
        for (int64_t j = 0; j < COMPARE_GUARD + r->shift; j++) {
            assert_int_equal(r->block[i][j], COMPARE_CANARY);
        }
        for (int64_t j = COMPARE_GUARD + r->shift + r->n[i]; j < r->n[i] + 2 * COMPARE_GUARD + 8; j++) {
            assert_int_equal(r->block[i][j], COMPARE_CANARY);
        }
        free(r->block[i]);
    }
    memset(r, 0, sizeof *r);
}

static inline void compare_case(case_fn fn, const shape *s, double atol, double rtol, const char *file, int line)
{
    run want, got, moved;
    compare_start(&want, 0);
    fn(mm1_kernels_for(MM1_ISA_REF), &want, s);
    for (mm1_isa isa = MM1_ISA_REF + 1; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        compare_start(&got, 0);
        fn(k, &got, s);
        compare_start(&moved, 1 + (s->a + s->b) % 7);
        fn(k, &moved, s);
        for (int i = 0; i < want.n_outs; i++) {
            const int o = want.out[i];
            const float *g = compare_array(&got, o), *w = compare_array(&want, o), *m = compare_array(&moved, o);
            const size_t bytes = (size_t)want.n[o] * sizeof *g;
            bool close = true;
            for (int64_t j = 0; j < want.n[o]; j++) {
                close = close && fabs((double)g[j] - (double)w[j]) <= atol + rtol * fabs((double)w[j]);
            }
            if (!close || memcmp(g, m, bytes) != 0) {
                print_error(
                    "%s, output %d, a %lld b %lld c %lld d %lld e %lld f %lld act %d acc %d alias %d flag %d%s\n",
                    mm1_isa_name(isa), i, (long long)s->a, (long long)s->b, (long long)s->c, (long long)s->d,
                    (long long)s->e, (long long)s->f, s->act, s->acc, s->alias, s->flag,
                    close ? ": other addresses gave other bits" : "");
                check_close_at(g, w, want.n[o], atol, rtol, file, line);
                _fail(file, line);
            }
        }
        compare_finish(&got);
        compare_finish(&moved);
    }
    compare_finish(&want);
}
#define compare(fn, atol, rtol, ...) compare_case(fn, &(shape){__VA_ARGS__}, atol, rtol, __FILE__, __LINE__)

/* Central differences of loss(ctx) in double over x [n], against got [n]. */
static inline void check_gradient(double (*loss)(const void *ctx), const void *ctx, double *x, int64_t n,
                                  const float *got, double tolerance)
{
    const double h = 1e-5;
    for (int64_t i = 0; i < n; i++) {
        const double keep = x[i];
        x[i] = keep + h;
        const double up = loss(ctx);
        x[i] = keep - h;
        const double down = loss(ctx);
        x[i] = keep;
        const double want = (up - down) / (2 * h);
        if (!(fabs(want - (double)got[i]) <= tolerance * (1 + fabs(want)))) {
            print_error("gradient of element %lld: got %.9g, differences give %.9g\n", (long long)i, (double)got[i],
                        want);
            fail();
        }
    }
}

static inline void to_double(double *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = (double)x[i];
    }
}

static const int64_t compare_sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 257};
enum { COMPARE_SIZES = sizeof compare_sizes / sizeof compare_sizes[0] };

#endif

/* Tiled attention against its definition in f64: values, gradients, masks, head groups, threads. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "kernels/attention.h"
#include "kernels/kernels.h"

typedef enum mask { CAUSAL, PACKED, LONG_PACKED, UNEVEN, GAPS, BOTH_WAYS, PREFIX, CACHE, HOLES } mask;
enum { N_MASKS = HOLES + 1 };

typedef struct shape {
    int64_t B, T, S, H, Hkv, D;
    int pad; /* elements between rows */
} shape;

/* One case: inputs, what the definition gives, what the product gives. */
typedef struct problem {
    mm1_attention_args a;
    float *q, *k, *v, *d_o;
    int32_t *lo, *hi;
    double *o, *lse, *dq, *dk, *dv; /* wanted */
    float *got_o, *got_lse, *got_dq, *got_dk, *got_dv;
    int64_t n_q, n_kv, n_o, n_lse;
    void *scratch;
} problem;

static void *room(int64_t n, size_t size)
{
    void *p = calloc((size_t)n + 1, size);
    assert_non_null(p);
    return p;
}

static float *filled(int64_t n, uint64_t seed)
{
    float *x = room(n, sizeof *x);
    check_fill(x, n, -1.5, 1.5, seed);
    return x;
}

static void see(problem *p, mask kind)
{
    const mm1_attention_args *a = &p->a;
    for (int64_t b = 0; b < a->B; b++) {
        int32_t start = 0;
        for (int64_t t = 0; t < a->T; t++) {
            const int64_t i = b * a->T + t;
            const int32_t S = (int32_t)a->S, causal = (int32_t)(t + 1 < a->S ? t + 1 : a->S);
            int32_t lo = 0, hi = causal;
            if (kind == PACKED) {
                if (t % 37 == 11 + b) {
                    start = (int32_t)t;
                }
                lo = start;
            } else if (kind == LONG_PACKED) {
                /* examples of 150 and 75 in turn; they begin anywhere in a tile */
                lo = (int32_t)(t / 225 * 225 + (t % 225 < 150 ? 0 : 150));
            } else if (kind == UNEVEN) {
                /* short examples, and one that is half of the row */
                lo = (int32_t)(t < a->T / 4       ? t / 100 * 100
                               : t < a->T * 3 / 4 ? a->T / 4
                                                  : a->T * 3 / 4 + (t - a->T * 3 / 4) / 100 * 100);
            } else if (kind == GAPS) {
                /* packed examples of 60, the first keys of which nobody sees; in every third one no query sees any */
                lo = (int32_t)(t / 60 * 60 + 7);
                hi = t / 60 % 3 == 1 ? 0 : hi;
            } else if (kind == BOTH_WAYS) {
                hi = S;
            } else if (kind == PREFIX) {
                hi = causal > S / 3 ? causal : S / 3;
            } else if (kind == CACHE) {
                hi = (int32_t)(a->S - a->T + t + 1);
            } else if (kind == HOLES) {
                /* rows that see nothing, narrow windows, and limits outside the sequence */
                lo = t % 5 == 0 ? 7 : (int32_t)(t / 2) - 3;
                hi = t % 5 == 0 ? 7 : t % 7 == 1 ? S + 9 : (int32_t)(t / 2 + 2);
            }
            p->lo[i] = lo;
            p->hi[i] = hi;
        }
    }
}

static problem problem_make(shape s, mask kind, uint64_t seed)
{
    problem p = {.a = {.B = s.B, .T = s.T, .S = s.S, .H = s.H, .Hkv = s.Hkv, .D = s.D}};
    p.a.ldq = s.H * s.D + s.pad;
    p.a.ldk = s.Hkv * s.D + 2 * s.pad;
    p.a.ldv = s.Hkv * s.D + 2 * s.pad;
    p.a.ldo = s.H * s.D + 3 * s.pad;
    p.a.scale = 1.0f / sqrtf((float)s.D) * 1.5f;
    p.n_q = s.B * s.T * p.a.ldq;
    p.n_kv = s.B * s.S * p.a.ldk;
    p.n_o = s.B * s.T * p.a.ldo;
    p.n_lse = s.B * s.H * s.T;
    p.a.q = p.q = filled(p.n_q, seed);
    p.a.k = p.k = filled(p.n_kv, seed + 1);
    p.a.v = p.v = filled(p.n_kv, seed + 2);
    p.d_o = filled(p.n_o, seed + 3);
    p.a.lo = p.lo = room(s.B * s.T, sizeof *p.lo);
    p.a.hi = p.hi = room(s.B * s.T, sizeof *p.hi);
    p.o = room(p.n_o, sizeof *p.o);
    p.lse = room(p.n_lse, sizeof *p.lse);
    p.dq = room(p.n_q, sizeof *p.dq);
    p.dk = room(p.n_kv, sizeof *p.dk);
    p.dv = room(p.n_kv, sizeof *p.dv);
    p.got_o = filled(p.n_o, 9);
    p.got_lse = filled(p.n_lse, 9);
    p.got_dq = filled(p.n_q, 9);
    p.got_dk = filled(p.n_kv, 9);
    p.got_dv = filled(p.n_kv, 9);
    see(&p, kind);
    return p;
}

static void problem_free(problem *p)
{
    void *parts[] = {p->q,  p->k,  p->v,  p->d_o,   p->lo,      p->hi,     p->o,      p->lse,
                     p->dq, p->dk, p->dv, p->got_o, p->got_lse, p->got_dq, p->got_dk, p->got_dv};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        free(parts[i]);
    }
}

/* o and lse by definition, in f64. */
static void define_fwd(const problem *p, double *o, double *lse)
{
    const mm1_attention_args *a = &p->a;
    double *w = room(a->S, sizeof *w);
    for (int64_t b = 0; b < a->B; b++) {
        for (int64_t h = 0; h < a->H; h++) {
            const int64_t g = h / (a->H / a->Hkv);
            for (int64_t t = 0; t < a->T; t++) {
                const int64_t lo = p->lo[b * a->T + t] > 0 ? p->lo[b * a->T + t] : 0;
                const int64_t hi = p->hi[b * a->T + t] < a->S ? p->hi[b * a->T + t] : a->S;
                double top = -INFINITY, sum = 0;
                for (int64_t s = lo; s < hi; s++) {
                    w[s] = 0;
                    for (int64_t d = 0; d < a->D; d++) {
                        w[s] += (double)p->q[(b * a->T + t) * a->ldq + h * a->D + d] *
                                (double)p->k[(b * a->S + s) * a->ldk + g * a->D + d];
                    }
                    w[s] *= (double)a->scale;
                    top = w[s] > top ? w[s] : top;
                }
                for (int64_t s = lo; s < hi; s++) {
                    w[s] = exp(w[s] - top);
                    sum += w[s];
                }
                lse[(b * a->H + h) * a->T + t] = top + log(sum);
                for (int64_t d = 0; d < a->D; d++) {
                    double x = 0;
                    for (int64_t s = lo; s < hi; s++) {
                        x += w[s] / sum * (double)p->v[(b * a->S + s) * a->ldv + g * a->D + d];
                    }
                    o[(b * a->T + t) * a->ldo + h * a->D + d] = x;
                }
            }
        }
    }
    free(w);
}

/* Gradients by definition, from the wanted o and lse. */
static void define_bwd(problem *p)
{
    const mm1_attention_args *a = &p->a;
    for (int64_t b = 0; b < a->B; b++) {
        for (int64_t h = 0; h < a->H; h++) {
            const int64_t g = h / (a->H / a->Hkv);
            for (int64_t t = 0; t < a->T; t++) {
                const int64_t lo = p->lo[b * a->T + t] > 0 ? p->lo[b * a->T + t] : 0;
                const int64_t hi = p->hi[b * a->T + t] < a->S ? p->hi[b * a->T + t] : a->S;
                const int64_t at_q = (b * a->T + t) * a->ldq + h * a->D, at_o = (b * a->T + t) * a->ldo + h * a->D;
                double delta = 0;
                for (int64_t d = 0; d < a->D; d++) {
                    delta += (double)p->d_o[at_o + d] * p->o[at_o + d];
                }
                for (int64_t s = lo; s < hi; s++) {
                    const int64_t at_k = (b * a->S + s) * a->ldk + g * a->D, at_v = (b * a->S + s) * a->ldv + g * a->D;
                    double x = 0, dp = 0;
                    for (int64_t d = 0; d < a->D; d++) {
                        x += (double)p->q[at_q + d] * (double)p->k[at_k + d];
                        dp += (double)p->d_o[at_o + d] * (double)p->v[at_v + d];
                    }
                    const double w = exp(x * (double)a->scale - p->lse[(b * a->H + h) * a->T + t]);
                    const double ds = w * (dp - delta) * (double)a->scale;
                    for (int64_t d = 0; d < a->D; d++) {
                        p->dv[at_v + d] += w * (double)p->d_o[at_o + d];
                        p->dk[at_k + d] += ds * (double)p->q[at_q + d];
                        p->dq[at_q + d] += ds * (double)p->k[at_k + d];
                    }
                }
            }
        }
    }
}

static void run(problem *p)
{
    /* Each of its own size, so that a tool sees what lies beyond; NaN: nothing may be read before it is written. */
    const size_t fwd_bytes = mm1_attention_scratch_bytes(&p->a, false),
                 bwd_bytes = mm1_attention_scratch_bytes(&p->a, true);
    void *fwd = mm1_alloc(fwd_bytes, 1), *bwd = mm1_alloc(bwd_bytes, 1);
    assert_non_null(fwd);
    assert_non_null(bwd);
    memset(fwd, 0xff, fwd_bytes);
    mm1_attention_fwd(p->got_o, p->got_lse, &p->a, fwd);
    memset(bwd, 0xff, bwd_bytes);
    mm1_attention_bwd(p->got_dq, p->got_dk, p->got_dv, p->d_o, p->got_o, p->got_lse, &p->a, bwd);
    mm1_free(bwd);
    mm1_free(fwd);
}

/* Rows of `width` are compared with the wanted ones; what lies between rows must be as check_fill(seed 9) left it. */
static void check_rows(const float *got, const double *want, int64_t n, int64_t ld, int64_t width, double atol)
{
    float *all = filled(n * ld, 9);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < width; c++) {
            all[i * ld + c] = (float)want[i * ld + c];
        }
    }
    check_close(got, all, n * ld, atol, 1e-5);
    free(all);
}

static void check_problem(shape s, mask kind)
{
    problem p = problem_make(s, kind, (uint64_t)(s.T * 31 + s.D));
    const mm1_attention_args *a = &p.a;
    define_fwd(&p, p.o, p.lse);
    define_bwd(&p);
    run(&p);
    check_rows(p.got_o, p.o, a->B * a->T, a->ldo, a->H * a->D, 3e-6);
    for (int64_t i = 0; i < p.n_lse; i++) {
        if (p.lse[i] == -INFINITY) {
            assert_true(p.got_lse[i] == -INFINITY);
        } else {
            assert_true(fabs((double)p.got_lse[i] - p.lse[i]) <= 3e-6 * (1 + fabs(p.lse[i])));
        }
    }
    check_rows(p.got_dq, p.dq, a->B * a->T, a->ldq, a->H * a->D, 2e-5);
    check_rows(p.got_dk, p.dk, a->B * a->S, a->ldk, a->Hkv * a->D, 6e-5);
    check_rows(p.got_dv, p.dv, a->B * a->S, a->ldv, a->Hkv * a->D, 6e-5);
    problem_free(&p);
}

static bool use(int isa, int n_threads)
{
    mm1_error err = {0};
    if (mm1_kernels_for((mm1_isa)isa) == NULL) {
        return false;
    }
    mm1_threads_set(n_threads);
    check_ok(mm1_kernels_init(mm1_isa_name((mm1_isa)isa), &err), &err);
    return true;
}

static void every_mask_and_head_width_gives_the_definition(void **state)
{
    (void)state;
    static const int64_t widths[] = {4, 8, 16, 32, 64, 80, 128};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        for (int kind = 0; kind < N_MASKS; kind++) {
            for (size_t d = 0; d < sizeof widths / sizeof *widths; d++) {
                const int64_t T = 5 + 29 * (int64_t)d;
                check_problem((shape){1 + kind % 2, T, kind == CACHE ? T + 50 : T, 4, d % 2 == 0 ? 2 : 4, widths[d],
                                      (int)(d % 3)},
                              (mask)kind);
            }
        }
    }
}

static void every_small_length_gives_the_definition(void **state)
{
    (void)state;
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        for (int64_t T = 1; T < 36; T++) {
            check_problem((shape){1, T, T, 3, 1, 8, 1}, CAUSAL);
            check_problem((shape){2, T, 3 * T % 41 + 1, 2, 2, 4, 0}, BOTH_WAYS);
            check_problem((shape){1, T, T, 2, 1, 12, 0}, HOLES);
        }
    }
}

static void lengths_around_tiles_give_the_definition(void **state)
{
    (void)state;
    static const int64_t lengths[] = {83, 84, 85, 95, 96, 97, 196, 223, 224, 225, 240, 255, 256, 257, 300, 513};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 3)) {
            continue;
        }
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            check_problem((shape){1, lengths[i], lengths[i], 2, 1, 16, 0}, (mask)(i % N_MASKS));
            check_problem((shape){1, 60, lengths[i], 2, 2, 16, 5}, BOTH_WAYS);
            check_problem((shape){1, lengths[i], 50, 2, 2, 16, 0}, BOTH_WAYS);
            check_problem((shape){1, lengths[i], lengths[i], 1, 1, 32, 0}, CAUSAL);
        }
    }
}

static void a_few_long_sequences_split_into_stretches_give_the_definition(void **state)
{
    (void)state;
    static const shape shapes[] = {{1, 1100, 1100, 2, 1, 16, 1}, {2, 500, 500, 6, 2, 8, 0}, {1, 400, 430, 4, 1, 32, 2}};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (int kind = 0; kind < N_MASKS; kind++) {
                check_problem(shapes[i], (mask)kind);
            }
        }
    }
}

/* Rows of several stretches: with as many heads as need no parts, and in two parts, which can be cut apart or not. */
static void examples_packed_in_long_rows_give_the_definition(void **state)
{
    (void)state;
    static const shape shapes[] = {{2, 700, 700, 8, 8, 4, 1}, {1, 1600, 1600, 8, 8, 4, 0}};
    static const mask kinds[] = {PACKED, LONG_PACKED, UNEVEN, GAPS};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                check_problem(shapes[i], kinds[k]);
            }
        }
    }
}

static void decoding_with_a_cache_gives_the_definition(void **state)
{
    (void)state;
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        for (int64_t T = 1; T <= 6; T++) {
            check_problem((shape){3, T, 333, 6, 2, 32, 0}, CACHE);
            check_problem((shape){1, T, 97, 8, 8, 20, 3}, CACHE);
            check_problem((shape){1, T, 40, 200, 1, 4, 0}, HOLES);
        }
    }
}

/* x [N, ld] with each of its heads turned by its position, or back. */
static void turn(const problem *p, float *x, int64_t ld, int64_t heads, const int32_t *position, const float *table,
                 bool inverse)
{
    mm1_kernels_get()->rope(x, ld, x, ld, position, table, p->a.B * p->a.T, heads, p->a.D, inverse, false);
}

static void rotating_inside_is_rotating_before_and_after(void **state)
{
    (void)state;
    enum { D = 20, N_POSITIONS = 512 };
    static const shape shapes[] = {{2, 150, 150, 4, 2, D, 3}, {1, 2, 2, 2, 2, D, 0}, {1, 97, 97, 1, 1, D, 0}};
    float *table = filled(N_POSITIONS * D, 4);
    for (int64_t i = 0; i < N_POSITIONS * D / 2; i++) {
        table[i / (D / 2) * D + i % (D / 2)] = cosf(0.1f * (float)i);
        table[i / (D / 2) * D + D / 2 + i % (D / 2)] = sinf(0.1f * (float)i);
    }
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
            const shape s = shapes[i / 2];
            problem before = problem_make(s, i % 2 == 0 ? PACKED : CAUSAL, 3);
            problem inside = problem_make(s, i % 2 == 0 ? PACKED : CAUSAL, 3);
            int32_t *position = room(s.B * s.T, sizeof *position);
            for (int64_t n = 0; n < s.B * s.T; n++) {
                position[n] = (int32_t)(n * 7 % N_POSITIONS);
            }
            turn(&before, before.q, before.a.ldq, s.H, position, table, false);
            turn(&before, before.k, before.a.ldk, s.Hkv, position, table, false);
            run(&before);
            turn(&before, before.got_dq, before.a.ldq, s.H, position, table, true);
            turn(&before, before.got_dk, before.a.ldk, s.Hkv, position, table, true);
            inside.a.position = position;
            inside.a.cos_sin = table;
            run(&inside);
            check_close(inside.got_o, before.got_o, inside.n_o, 1e-6, 1e-6);
            check_close(inside.got_dq, before.got_dq, inside.n_q, 2e-6, 1e-6);
            check_close(inside.got_dk, before.got_dk, inside.n_kv, 2e-6, 1e-6);
            check_close(inside.got_dv, before.got_dv, inside.n_kv, 2e-6, 1e-6);
            problem_free(&before);
            problem_free(&inside);
            free(position);
        }
    }
    free(table);
}

/* The gradient of sum(d_o * o) along random directions, by central differences of the definition. */
static void gradients_agree_with_differences(void **state)
{
    (void)state;
    static const shape shapes[] = {{2, 30, 30, 4, 2, 8, 1}, {1, 110, 130, 2, 1, 16, 0}};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            problem p = problem_make(shapes[i], i == 0 ? PACKED : PREFIX, 5);
            run(&p);
            float *const inputs[] = {p.q, p.k, p.v};
            const float *const grads[] = {p.got_dq, p.got_dk, p.got_dv};
            const int64_t counts[] = {p.n_q, p.n_kv, p.n_kv}, lds[] = {p.a.ldq, p.a.ldk, p.a.ldv};
            const int64_t used[] = {p.a.H * p.a.D, p.a.Hkv * p.a.D, p.a.Hkv * p.a.D};
            for (int which = 0; which < 3; which++) {
                float *dir = filled(counts[which], 77), *keep = filled(counts[which], 0);
                memcpy(keep, inputs[which], (size_t)counts[which] * sizeof *keep);
                double value[2] = {0, 0}, want = 0, step = 0;
                for (int side = 0; side < 2; side++) {
                    const double h = side == 0 ? 1e-3 : -1e-3;
                    for (int64_t e = 0; e < counts[which]; e++) {
                        inputs[which][e] = (float)((double)keep[e] + h * (double)dir[e]);
                    }
                    define_fwd(&p, p.o, p.lse);
                    for (int64_t row = 0; row < p.a.B * p.a.T; row++) {
                        for (int64_t c = 0; c < p.a.H * p.a.D; c++) {
                            value[side] += (double)p.d_o[row * p.a.ldo + c] * p.o[row * p.a.ldo + c];
                        }
                    }
                    step += fabs(h);
                }
                double size = 0;
                for (int64_t e = 0; e < counts[which]; e++) {
                    if (e % lds[which] < used[which]) {
                        want += (double)grads[which][e] * (double)dir[e];
                        size += fabs((double)grads[which][e] * (double)dir[e]);
                    }
                }
                assert_true(size > 0);
                assert_true(fabs((value[0] - value[1]) / step - want) <= 1e-3 * sqrt(size) + 1e-4 * fabs(want));
                memcpy(inputs[which], keep, (size_t)counts[which] * sizeof *keep);
                free(dir);
                free(keep);
            }
            problem_free(&p);
        }
    }
}

static void empty_sizes_do_nothing_or_give_zeros(void **state)
{
    (void)state;
    assert_true(use(MM1_ISA_REF, 2));
    check_problem((shape){0, 5, 5, 2, 1, 8, 0}, CAUSAL);
    check_problem((shape){2, 0, 5, 2, 1, 8, 0}, CAUSAL);
    problem p = problem_make((shape){2, 20, 0, 2, 1, 8, 0}, BOTH_WAYS, 1);
    run(&p);
    for (int64_t i = 0; i < p.n_o; i++) {
        assert_true(p.got_o[i] == 0.0f && p.got_dq[i] == 0.0f);
    }
    for (int64_t i = 0; i < p.n_lse; i++) {
        assert_true(p.got_lse[i] == -INFINITY);
    }
    problem_free(&p);
}

static void large_scores_do_not_overflow(void **state)
{
    (void)state;
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 2)) {
            continue;
        }
        problem p = problem_make((shape){1, 120, 120, 1, 1, 16, 0}, CAUSAL, 3);
        p.a.scale = 300.0f;
        define_fwd(&p, p.o, p.lse);
        run(&p);
        /* scores of some hundreds carry their rounding, 3e-5 each, into the exponent */
        check_rows(p.got_o, p.o, 120, p.a.ldo, 16, 5e-3);
        for (int64_t i = 0; i < p.n_q; i++) {
            assert_true(isfinite(p.got_dq[i]) && isfinite(p.got_dk[i]) && isfinite(p.got_dv[i]));
        }
        problem_free(&p);
    }
}

static void a_long_sequence_needs_memory_linear_in_its_length(void **state)
{
    (void)state;
    mm1_threads_set(2);
    for (int64_t B = 1; B <= 4; B += 3) { /* with stretches of queries and without */
        mm1_attention_args a = {.B = B, .T = 16384, .S = 16384, .H = 16, .Hkv = 4, .D = 64};
        const size_t fwd = mm1_attention_scratch_bytes(&a, false), bwd = mm1_attention_scratch_bytes(&a, true);
        a.T = a.S = 8192;
        assert_true(fwd < 2 * mm1_attention_scratch_bytes(&a, false));
        assert_true(bwd < 2 * mm1_attention_scratch_bytes(&a, true));
        assert_true(fwd < (size_t)32 << 20);
        assert_true(bwd < (size_t)(B == 1 ? 192 : 64) << 20);
    }
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    static const shape shapes[] = {{1, 700, 700, 4, 1, 32, 0},
                                   {2, 130, 200, 6, 3, 16, 1},
                                   {2, 1, 300, 6, 3, 16, 0},
                                   {1, 900, 900, 2, 1, 16, 0},
                                   {1, 900, 920, 2, 1, 16, 0}};
    static const mask kinds[] = {PACKED, CACHE, CACHE, LONG_PACKED, GAPS};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 1)) {
            continue;
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            problem first = problem_make(shapes[i], kinds[i], 2);
            assert_true(use(isa, 1));
            run(&first);
            for (int n = 2; n <= 4; n++) {
                problem p = problem_make(shapes[i], kinds[i], 2);
                assert_true(use(isa, n));
                run(&p);
                assert_memory_equal(p.got_o, first.got_o, (size_t)p.n_o * sizeof *p.got_o);
                assert_memory_equal(p.got_lse, first.got_lse, (size_t)p.n_lse * sizeof *p.got_lse);
                assert_memory_equal(p.got_dq, first.got_dq, (size_t)p.n_q * sizeof *p.got_dq);
                assert_memory_equal(p.got_dk, first.got_dk, (size_t)p.n_kv * sizeof *p.got_dk);
                assert_memory_equal(p.got_dv, first.got_dv, (size_t)p.n_kv * sizeof *p.got_dv);
                problem_free(&p);
            }
            problem_free(&first);
        }
    }
}

/* The last T queries of a sequence in one call, or `step` at a time, with keys that begin anywhere. */
static void check_queries_alike(mm1_rows rows, int64_t window, int64_t step)
{
    enum { T = 160, S = 520, FIRST = 40 };
    problem p = problem_make((shape){1, T, S + FIRST, 4, 2, 24, 0}, CACHE, 3),
            q = problem_make((shape){1, T, S + FIRST, 4, 2, 24, 0}, CACHE, 3);
    const int64_t first = FIRST;
    mm1_attention_args a = p.a;
    a.S = S;
    a.rows = rows;
    a.first_key = &first;
    for (int64_t t = 0; t < T; t++) {
        p.hi[t] = (int32_t)(S - T + t + 1);
        p.lo[t] = window == 0 || p.hi[t] < window ? 0 : p.hi[t] - (int32_t)window;
    }
    void *scratch = mm1_alloc(mm1_attention_scratch_bytes(&a, false), 1);
    assert_non_null(scratch);
    mm1_attention_fwd(p.got_o, NULL, &a, scratch);
    for (int64_t t = 0; t < T; t += step) {
        mm1_attention_args part = a;
        part.T = step < T - t ? step : T - t;
        part.S = S - T + t + part.T;
        part.q = a.q + t * a.ldq;
        part.lo = p.lo + t;
        part.hi = p.hi + t;
        mm1_attention_fwd(q.got_o + t * a.ldo, NULL, &part, scratch);
    }
    assert_memory_equal(p.got_o, q.got_o, (size_t)p.n_o * sizeof *p.got_o);

    /* And it is the definition, of the sequence that begins later. */
    memmove(p.k, p.k + FIRST * a.ldk, (size_t)(S * a.ldk) * sizeof *p.k);
    memmove(p.v, p.v + FIRST * a.ldv, (size_t)(S * a.ldv) * sizeof *p.v);
    p.a.S = S;
    define_fwd(&p, p.o, p.lse);
    check_rows(p.got_o, p.o, T, a.ldo, 4 * 24, 1e-5);
    mm1_free(scratch);
    problem_free(&p);
    problem_free(&q);
}

static void a_query_has_the_same_bits_whatever_stands_beside_it(void **state)
{
    (void)state;
    static const int64_t windows[] = {0, 50, 1}, steps[] = {1, 3, 5, 29, 96, 150};
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        if (!use(isa, 1)) {
            continue;
        }
        for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
            for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
                check_queries_alike(MM1_ROWS_MANY, windows[i], steps[k]);
                check_queries_alike(MM1_ROWS_FEW, windows[i], steps[k]);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mask_and_head_width_gives_the_definition),
        cmocka_unit_test(every_small_length_gives_the_definition),
        cmocka_unit_test(lengths_around_tiles_give_the_definition),
        cmocka_unit_test(a_few_long_sequences_split_into_stretches_give_the_definition),
        cmocka_unit_test(examples_packed_in_long_rows_give_the_definition),
        cmocka_unit_test(decoding_with_a_cache_gives_the_definition),
        cmocka_unit_test(rotating_inside_is_rotating_before_and_after),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(empty_sizes_do_nothing_or_give_zeros),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(a_long_sequence_needs_memory_linear_in_its_length),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(a_query_has_the_same_bits_whatever_stands_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* bench_gemm.c - see bench_gemm.h. */
#include "study/bench_gemm.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "base/thread.h"
#include "kernels/gemm.h"
#include "kernels/probe.h"
#include "study/median.h"
#include "study/own_threads.h"
#include <dlfcn.h>
#include <math.h>
#include <sched.h>
#include <string.h>

enum { MAX_TURNS = 11, MIN_TURNS = 5 };
/* Operands that take turns are more than L3 holds, but no more than so many sets. */
enum { OPERANDS_MIB = 320, MOST_SETS = 1024 };
/* Seconds: least of a slice; from here on fewer turns do; least of what comes before a slice. */
static const double SLICE = 3e-3, LONG = 30e-3, WARM = 1e-3;

/* ---- the libraries ---- */

/* As declared by OpenBLAS and BLIS with 32-bit integers, and by oneDNN (row-major). */
typedef void cblas_sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a,
                            int lda, const float *b, int ldb, float beta, float *c, int ldc);
typedef int dnnl_sgemm_fn(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                          int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
typedef void set_threads_fn(int n);
typedef void set_threads_long_fn(long n);

static const struct {
    const char *name, *package, *files[3];
} libraries[MM1_GEMM_LIBRARIES] = {
    [MM1_GEMM_OURS] = {"mm1", NULL, {NULL}},
    [MM1_GEMM_OURS_BF16] = {"mm1-bf16", NULL, {NULL}},
    [MM1_GEMM_OPENBLAS] = {"openblas",
                           "libopenblas0-openmp",
                           {"/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0", "libopenblas.so.0", NULL}},
    [MM1_GEMM_ONEDNN] = {"onednn", "libdnnl2", {"libdnnl.so.2", "libdnnl.so.3", NULL}},
    [MM1_GEMM_BLIS] = {"blis",
                       "libblis4-openmp",
                       {"/usr/lib/x86_64-linux-gnu/blis-openmp/libblis.so.4", "libblis.so.4", NULL}},
};

const char *mm1_gemm_library_name(mm1_gemm_library l)
{
    return libraries[l].name;
}

const char *mm1_gemm_library_package(mm1_gemm_library l)
{
    return libraries[l].package;
}

typedef struct peer {
    bool runs;    /* it is there and wanted */
    void *handle; /* stays open: the threads of a library outlive its use */
    cblas_sgemm_fn *cblas;
    dnnl_sgemm_fn *dnnl;
    set_threads_fn *set_threads, *set_omp_threads;
    set_threads_long_fn *set_threads_long;
} peer;

/* dlsym() gives a pointer to data; POSIX says that a function's fits in it. */
static void take(void *handle, const char *name, void *fn)
{
    void *symbol = dlsym(handle, name);
    memcpy(fn, &symbol, sizeof symbol);
}

static bool is_ours(mm1_gemm_library l)
{
    return l == MM1_GEMM_OURS || l == MM1_GEMM_OURS_BF16;
}

/* LeakSanitizer crashes at the end of a program that has BLIS's threads, and a rate beside it says nothing. */
#if defined(__SANITIZE_ADDRESS__)
enum { PEERS_MAY_RUN = 0 };
#else
enum { PEERS_MAY_RUN = 1 };
#endif

static mm1_status open_peer(mm1_gemm_library l, peer *p, char **found, mm1_error *err)
{
    *p = (peer){.runs = is_ours(l)};
    if (is_ours(l)) {
        *found = mm1_strdup("");
        return *found != NULL ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "no memory for the name of a library");
    }
    for (size_t i = 0; PEERS_MAY_RUN && libraries[l].files[i] != NULL && p->handle == NULL; i++) {
        p->handle = dlopen(libraries[l].files[i], RTLD_NOW | RTLD_LOCAL);
        if (p->handle != NULL && (*found = mm1_strdup(libraries[l].files[i])) == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for the name of a library");
        }
    }
    if (p->handle == NULL) {
        return MM1_OK;
    }
    if (l == MM1_GEMM_ONEDNN) {
        take(p->handle, "dnnl_sgemm", &p->dnnl);
    } else {
        take(p->handle, "cblas_sgemm", &p->cblas);
    }
    if (p->dnnl == NULL && p->cblas == NULL) { /* another build than Debian's */
        mm1_free(*found);
        *found = NULL;
        return MM1_OK;
    }
    p->runs = true;
    take(p->handle, "omp_set_num_threads", &p->set_omp_threads); /* of the OpenMP that it brought, if any */
    if (l == MM1_GEMM_OPENBLAS) {
        take(p->handle, "openblas_set_num_threads", &p->set_threads);
    } else if (l == MM1_GEMM_BLIS) {
        take(p->handle, "bli_thread_set_num_threads", &p->set_threads_long);
    }
    return MM1_OK;
}

/* g has b in both formats. */
static void multiply(mm1_gemm_library l, const peer *p, const mm1_gemm_args *g)
{
    enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
    const float beta = g->acc ? 1.0f : 0.0f;
    if (is_ours(l)) {
        mm1_gemm_args own = *g;
        own.b16 = l == MM1_GEMM_OURS_BF16 ? g->b16 : NULL;
        mm1_gemm(&own);
    } else if (p->dnnl != NULL) {
        (void)p->dnnl(g->trans_a ? 'T' : 'N', g->trans_b ? 'T' : 'N', g->M, g->N, g->K, g->alpha, g->a, g->lda, g->b,
                      g->ldb, beta, g->c, g->ldc);
    } else {
        p->cblas(ROW_MAJOR, g->trans_a ? TRANS : NO_TRANS, g->trans_b ? TRANS : NO_TRANS, (int)g->M, (int)g->N,
                 (int)g->K, g->alpha, g->a, (int)g->lda, g->b, (int)g->ldb, beta, g->c, (int)g->ldc);
    }
}

/* ---- operands ---- */

/* Copies of the operands of one product.  Each product takes the next, so that they come from memory, as in a step. */
typedef struct operands {
    mm1_gemm_args *sets; /* [n] */
    float *memory;       /* of all */
    size_t n, next;
} operands;

static void operands_deinit(operands *o)
{
    mm1_free(o->sets);
    mm1_free(o->memory);
    *o = (operands){0};
}

static void fill(float *x, int64_t n, uint64_t seed)
{
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_BENCH, 0);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(2 * mm1_rng_uniform(&r) - 1);
    }
}

/* Every array begins on a line of the caches, as those of a step do. */
static int64_t whole_lines(int64_t floats)
{
    return (floats + 15) / 16 * 16;
}

static mm1_status operands_init(operands *o, const mm1_gemm_result *r, bool is_hot, mm1_error *err)
{
    const int64_t a = whole_lines(r->m * r->k), b = whole_lines(r->k * r->n), c = whole_lines(r->m * r->n);
    const int64_t each = a + b + whole_lines((r->k * r->n + 1) / 2) + c, all = ((int64_t)OPERANDS_MIB << 20) / 4;
    const int64_t n = is_hot || each > all ? 1 : all / each < MOST_SETS ? all / each : MOST_SETS;
    const bool trans_a = r->form == MM1_GEMM_TN, trans_b = r->form == MM1_GEMM_NT;
    *o = (operands){.sets = mm1_alloc((size_t)n, sizeof *o->sets),
                    .memory = mm1_calloc((size_t)(n * each), sizeof *o->memory),
                    .n = (size_t)n};
    if (o->sets == NULL || o->memory == NULL) {
        operands_deinit(o);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for products of %lld x %lld x %lld", (long long)r->m,
                             (long long)r->n, (long long)r->k);
    }
    float *at = o->memory;
    uint16_t *b16 = (uint16_t *)(void *)(at + a + b + c);
    fill(at, r->m * r->k, 1);
    fill(at + a, r->k * r->n, 2);
    mm1_kernels_get()->to_bf16(b16, at + a, r->k * r->n); /* and back: all multiply the same numbers */
    mm1_kernels_get()->from_bf16(at + a, b16, r->k * r->n);
    for (int64_t i = 0; i < n; i++, at += each) {
        if (i > 0) {
            memcpy(at, o->memory, (size_t)each * sizeof *at);
        }
        o->sets[i] = (mm1_gemm_args){.M = r->m,
                                     .N = r->n,
                                     .K = r->k,
                                     .a = at,
                                     .b = at + a,
                                     .b16 = (uint16_t *)(void *)(at + a + b + c),
                                     .c = at + a + b,
                                     .lda = trans_a ? r->m : r->k,
                                     .ldb = trans_b ? r->k : r->n,
                                     .ldc = r->n,
                                     .trans_a = trans_a,
                                     .trans_b = trans_b,
                                     .acc = trans_a, /* gradients of weights are added up */
                                     .alpha = 1.0f};
    }
    return MM1_OK;
}

static void product(mm1_gemm_library l, const peer *p, operands *o)
{
    multiply(l, p, &o->sets[o->next++ % o->n]);
}

/* ---- one race ---- */

/* Waits until no other thread of this process runs, or for 30 ms: those of the library before, which spin for a while,
 * would hold up the next one's.  It does not sleep: a thread that does may wake up on another core, the one that its
 * workers ran on last and are woken on. */
static void settle(void)
{
    static const double MOST = 0.03;
    const double until = mm1_time_now() + MOST;
    while (mm1_other_threads_run() && mm1_time_now() < until) {
    }
}

/* To another core than that which the caller runs on. */
static void move(void)
{
    cpu_set_t all, one;
    const int here = sched_getcpu();
    if (here < 0 || sched_getaffinity(0, sizeof all, &all) != 0) {
        return;
    }
    for (int i = 1; i < CPU_SETSIZE; i++) {
        const int cpu = (here + i) % CPU_SETSIZE;
        if (CPU_ISSET(cpu, &all)) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one);
            (void)sched_setaffinity(0, sizeof all, &all);
            return;
        }
    }
}

/* Seconds of one.  Some come first, where one is short or has threads to wake: it finds the caches as it left them.
 * A thread that was woken on the core of another may stay there for a while, and both run at half the speed; so may a
 * thread of another program.  What had to wait for a core is measured again, the caller elsewhere, as often as `tries`
 * says, which counts down over a race: other programs may take the cores all the time. */
static double timed(mm1_gemm_library l, const peer *p, operands *o, int threads, int repeat, int *tries)
{
    static const double MOST_DELAY = 0.05;   /* of the time of one thread */
    static const double MOST_SECONDS = 0.03; /* threads that spin for each other on one core take 1000 times as long */
    for (;;) {
        settle();
        const double warm = mm1_time_now() + WARM;
        while ((repeat > 1 || threads > 1) && mm1_time_now() < warm) {
            product(l, p, o);
        }
        const double delay = mm1_threads_delay(), start = mm1_time_now();
        double seconds = 0;
        int n = 0;
        while (n < repeat && seconds < MOST_SECONDS) {
            product(l, p, o);
            n++;
            seconds = mm1_time_now() - start;
        }
        if (mm1_threads_delay() - delay < MOST_DELAY * seconds || --*tries < 0) {
            return seconds / n;
        }
        move();
    }
}

/* Whether both made the same product: the sums are in another order, of numbers between -1 and 1. */
static bool agree(const float *c, const float *d, const mm1_gemm_result *r)
{
    const double bound = 1e-5 * sqrt((double)r->k) + 1e-5;
    for (int64_t i = 0; i < r->m * r->n; i += 1 + r->m * r->n / 997) {
        if (!(fabs((double)c[i] - (double)d[i]) <= bound)) {
            return false;
        }
    }
    return true;
}

/* That all make the same product; the first one of a library also makes its buffers and code, which none shall time. */
static mm1_status check_all(const peer *peers, const operands *o, const mm1_gemm_result *r, mm1_error *err)
{
    const size_t n = (size_t)(r->m * r->n);
    float *c = mm1_calloc(n, sizeof *c), *d = mm1_alloc(n, sizeof *d);
    mm1_status st = MM1_OK;
    mm1_gemm_args g = o->sets[0];
    if (c == NULL || d == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a product of %lld x %lld x %lld", (long long)r->m,
                           (long long)r->n, (long long)r->k);
        goto out;
    }
    g.c = c;
    multiply(MM1_GEMM_OURS, NULL, &g);
    g.c = d;
    for (int l = MM1_GEMM_OURS + 1; l < MM1_GEMM_LIBRARIES; l++) {
        if (peers[l].runs) {
            memset(d, 0, n * sizeof *d);
            multiply((mm1_gemm_library)l, &peers[l], &g);
            if (!agree(c, d, r)) {
                st = mm1_error_set(err, MM1_E_INTERNAL, "%s makes another product %s of %lld x %lld x %lld than we do",
                                   libraries[l].name, mm1_gemm_form_name(r->form), (long long)r->m, (long long)r->n,
                                   (long long)r->k);
                goto out;
            }
        }
    }
out:
    mm1_free(d);
    mm1_free(c);
    return st;
}

static mm1_status race(const peer *peers, operands *o, int threads, mm1_gemm_result *r, double *fma_peak,
                       mm1_error *err)
{
    double times[MM1_GEMM_LIBRARIES][MAX_TURNS], ratios[MAX_TURNS], fma[MAX_TURNS];
    int tries = 2 * MAX_TURNS;
    const mm1_status st = check_all(peers, o, r, err);
    if (st != MM1_OK) {
        return st;
    }
    const double once = timed(MM1_GEMM_OURS, NULL, o, threads, 1, &tries);
    const int repeat = once > SLICE ? 1 : (int)(SLICE / once) + 1, turns = once > LONG ? MIN_TURNS : MAX_TURNS;
    for (int i = 0; i < turns; i++) {
        for (int k = 0; k < MM1_GEMM_LIBRARIES; k++) {
            const int l = (i + k) % MM1_GEMM_LIBRARIES; /* none is always the first */
            if (peers[l].runs) {
                times[l][i] = timed((mm1_gemm_library)l, &peers[l], o, threads, repeat, &tries);
            }
        }
        settle();
        fma[i] = mm1_fma_rate(threads, SLICE);
    }
    *fma_peak = fmax(*fma_peak, mm1_fma_probe(threads));
    for (int l = MM1_GEMM_LIBRARIES - 1; l >= 0; l--) { /* ours last: sorting it breaks the pairs */
        r->seconds[l] = r->ratio[l] = r->fma_share[l] = NAN;
        if (peers[l].runs) {
            for (int i = 0; i < turns; i++) {
                ratios[i] = 2.0 * (double)r->m * (double)r->n * (double)r->k / times[l][i] / fma[i];
            }
            r->fma_share[l] = mm1_median(ratios, turns);
            for (int i = 0; i < turns; i++) {
                ratios[i] = times[l][i] / times[MM1_GEMM_OURS][i];
            }
            r->ratio[l] = mm1_median(ratios, turns);
            r->seconds[l] = mm1_median(times[l], turns);
        }
    }
    return MM1_OK;
}

/* ---- all of them ---- */

static const mm1_gemm_layer recipe_layers[] = {
    /* rows, outputs, inputs */
    {4096, 1536, 512},  /* decoder of bench/recipes: q, k and v */
    {4096, 512, 512},   /* attention's output */
    {4096, 2816, 512},  /* MLP, gate and up */
    {4096, 512, 1408},  /* MLP, down */
    {512, 8192, 512},   /* head, a block of rows */
    {1568, 1152, 384},  /* ViT-S/16 at 224, 8 images: q, k and v */
    {1568, 384, 384},   /* attention's output */
    {1568, 1536, 384},  /* MLP, up */
    {1568, 384, 1536},  /* MLP, down */
    {2304, 384, 588},   /* ViT-S/14 at 336, 4 images: patches */
    {2304, 512, 384},   /* C-Abstractor, its first block */
    {2304, 512, 512},   /* its others before the pooling */
    {576, 512, 512},    /* and after it */
    {2048, 768, 256},   /* nano: q, k and v */
    {2048, 1408, 256},  /* MLP, gate and up */
    {2048, 256, 704},   /* MLP, down */
    {2048, 576, 192},   /* its encoder: q, k and v */
    {2048, 704, 128},   /* demo: MLP, gate and up */
    {512, 512, 512},    /* squares */
    {1024, 1024, 1024}, /* and larger */
    {2048, 2048, 2048}, /* and larger */
};

const mm1_gemm_layer *mm1_bench_gemm_layers(size_t *n)
{
    *n = sizeof recipe_layers / sizeof *recipe_layers;
    return recipe_layers;
}

const char *mm1_gemm_form_name(mm1_gemm_form f)
{
    static const char *const names[MM1_GEMM_FORMS] = {"NT", "NN", "TN"};
    return names[f];
}

static mm1_gemm_result shaped(const mm1_gemm_layer *layer, mm1_gemm_form form, int threads)
{
    switch (form) {
    case MM1_GEMM_NN:
        return (mm1_gemm_result){.m = layer->rows, .n = layer->in, .k = layer->out, .form = form, .threads = threads};
    case MM1_GEMM_TN:
        return (mm1_gemm_result){.m = layer->out, .n = layer->in, .k = layer->rows, .form = form, .threads = threads};
    default:
        return (mm1_gemm_result){.m = layer->rows, .n = layer->out, .k = layer->in, .form = form, .threads = threads};
    }
}

static mm1_status set_threads(const peer *peers, int n, mm1_error *err)
{
    mm1_threads_set(n);
    for (int l = 0; l < MM1_GEMM_LIBRARIES; l++) {
        if (peers[l].set_threads != NULL) {
            peers[l].set_threads(n);
        }
        if (peers[l].set_omp_threads != NULL) {
            peers[l].set_omp_threads(n);
        }
        if (peers[l].set_threads_long != NULL) {
            peers[l].set_threads_long(n);
        }
    }
    return mm1_kernels_init(NULL, err);
}

/* Whether all or none are set: both mean all. */
static bool has_all(const bool *set, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += set[i];
    }
    return count == 0 || count == n;
}

/* The products of one layer in one form, on one thread and on all. */
static mm1_status race_form(const peer *peers, const mm1_gemm_layer *layer, mm1_gemm_form form, mm1_bench_gemm *out,
                            mm1_error *err)
{
    const mm1_gemm_result shape = shaped(layer, form, 0);
    operands o;
    mm1_status st = set_threads(peers, 1, err);
    st = st != MM1_OK ? st : operands_init(&o, &shape, out->hot, err);
    if (st != MM1_OK) {
        return st;
    }
    for (int count = 0; st == MM1_OK && count < (out->threads > 1 ? 2 : 1); count++) {
        const int n = count == 0 ? 1 : out->threads;
        mm1_gemm_result *r = &out->results[out->n_results];
        *r = shaped(layer, form, n);
        st = set_threads(peers, n, err);
        st = st != MM1_OK ? st : race(peers, &o, n, r, &out->fma_peak[count], err);
        out->n_results += st == MM1_OK;
    }
    operands_deinit(&o);
    return st;
}

mm1_status mm1_bench_gemm_run(const mm1_bench_gemm_options *o, mm1_bench_gemm *out, mm1_error *err)
{
    peer peers[MM1_GEMM_LIBRARIES] = {0};
    mm1_status st = MM1_OK;
    *out = (mm1_bench_gemm){0};
    mm1_threads_set(o->threads);
    out->threads = mm1_threads();
    out->hot = o->hot;
    out->results = mm1_alloc(o->n_layers * MM1_GEMM_FORMS * 2, sizeof *out->results);
    if (out->results == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the results of %zu layers", o->n_layers);
    }
    for (int l = 0; st == MM1_OK && l < MM1_GEMM_LIBRARIES; l++) {
        out->wanted[l] = l == MM1_GEMM_OURS || o->beside[l] || has_all(o->beside, MM1_GEMM_LIBRARIES);
        if (out->wanted[l]) {
            st = open_peer((mm1_gemm_library)l, &peers[l], &out->found[l], err);
        }
    }
    for (size_t i = 0; st == MM1_OK && i < o->n_layers * MM1_GEMM_FORMS; i++) {
        const int form = (int)(i % MM1_GEMM_FORMS);
        if (o->forms[form] || has_all(o->forms, MM1_GEMM_FORMS)) {
            st = race_form(peers, &o->layers[i / MM1_GEMM_FORMS], (mm1_gemm_form)form, out, err);
        }
    }
    out->fma_peak[1] = out->threads == 1 ? out->fma_peak[0] : out->fma_peak[1];
    return st;
}

void mm1_bench_gemm_deinit(mm1_bench_gemm *b)
{
    for (int l = 0; l < MM1_GEMM_LIBRARIES; l++) {
        mm1_free(b->found[l]);
    }
    mm1_free(b->results);
    *b = (mm1_bench_gemm){0};
}

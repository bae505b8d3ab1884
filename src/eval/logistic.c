/* logistic.c - see logistic.h.  Weights and biases are one vector in L-BFGS: n = n_classes (D + 1) numbers, the biases
 * last. */
#include "eval/logistic.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "kernels/gemm.h"
#include <math.h>
#include <string.h>

enum { HISTORY = 10, MAX_STEPS = 1000, MAX_HALVINGS = 30 };

static const double GRADIENT_MAX = 1e-4, DESCENT = 1e-4; /* of Armijo's rule */

typedef struct fit {
    mm1_logistic *l;
    const mm1_labelled *data;
    double l2;
    int64_t n;
    float *logits;       /* [rows, n_classes], then their gradients */
    double *nll;         /* [rows] */
    float *dw;           /* [n_classes, D] */
    double *x, *g;       /* [n] here */
    double *x2, *g2;     /* [n] where a step leads */
    double *d;           /* [n] direction */
    double *s, *y;       /* [HISTORY, n] steps and changes of the gradient */
    double rho[HISTORY]; /* 1 / s y */
    int n_history, newest;
} fit;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static void logits_of(const mm1_logistic *l, const mm1_labelled *data, float *logits)
{
    mm1_gemm(&(mm1_gemm_args){.M = data->n,
                              .N = l->n_classes,
                              .K = l->D,
                              .a = data->x,
                              .lda = l->D,
                              .b = l->w,
                              .ldb = l->D,
                              .trans_b = true,
                              .c = logits,
                              .ldc = l->n_classes,
                              .alpha = 1,
                              .bias = l->b});
}

/* Logits of rows become gradients of the mean loss. */
static void to_gradients(void *ctx, int64_t begin, int64_t end)
{
    const fit *f = ctx;
    const int64_t K = f->l->n_classes;
    for (int64_t i = begin; i < end; i++) {
        float *z = f->logits + i * K;
        double most = z[0], sum = 0;
        for (int64_t k = 1; k < K; k++) {
            most = fmax(most, z[k]);
        }
        for (int64_t k = 0; k < K; k++) {
            sum += exp(z[k] - most);
        }
        const double lse = most + log(sum);
        f->nll[i] = lse - z[f->data->label[i]];
        for (int64_t k = 0; k < K; k++) {
            z[k] = (float)((exp(z[k] - lse) - (k == f->data->label[i])) / (double)f->data->n);
        }
    }
}

/* Loss at x and its gradient; leaves x in the model as f32. */
static double loss_at(fit *f, const double *x, double *g)
{
    const mm1_labelled *data = f->data;
    const int64_t K = f->l->n_classes, D = f->l->D, n = data->n;
    for (int64_t i = 0; i < K * D; i++) {
        f->l->w[i] = (float)x[i];
    }
    for (int64_t k = 0; k < K; k++) {
        f->l->b[k] = (float)x[K * D + k];
    }
    logits_of(f->l, data, f->logits);
    mm1_parallel_for(n, 1, to_gradients, f);
    mm1_gemm(&(mm1_gemm_args){.M = K,
                              .N = D,
                              .K = n,
                              .a = f->logits,
                              .lda = K,
                              .trans_a = true,
                              .b = data->x,
                              .ldb = D,
                              .c = f->dw,
                              .ldc = D,
                              .alpha = 1});
    double loss = 0;
    memset(g + K * D, 0, (size_t)K * sizeof *g);
    for (int64_t i = 0; i < n; i++) {
        loss += f->nll[i];
        for (int64_t k = 0; k < K; k++) {
            g[K * D + k] += f->logits[i * K + k];
        }
    }
    for (int64_t i = 0; i < K * D; i++) {
        g[i] = f->dw[i] + f->l2 * x[i];
    }
    return loss / (double)n + f->l2 / 2 * dot(x, x, K * D);
}

/* d = -H g by the two loops of the method; the history is a ring. */
static void direction(fit *f)
{
    const int64_t n = f->n;
    double alpha[HISTORY];
    for (int64_t i = 0; i < n; i++) {
        f->d[i] = -f->g[i];
    }
    for (int h = 0; h < f->n_history; h++) {
        const int at = (f->newest - h + HISTORY) % HISTORY;
        alpha[h] = f->rho[at] * dot(f->s + at * n, f->d, n);
        for (int64_t i = 0; i < n; i++) {
            f->d[i] -= alpha[h] * f->y[at * n + i];
        }
    }
    if (f->n_history > 0) {
        const double *y = f->y + f->newest * n, scale = 1 / (f->rho[f->newest] * dot(y, y, n));
        for (int64_t i = 0; i < n; i++) {
            f->d[i] *= scale;
        }
    }
    for (int h = f->n_history - 1; h >= 0; h--) {
        const int at = (f->newest - h + HISTORY) % HISTORY;
        const double beta = f->rho[at] * dot(f->y + at * n, f->d, n);
        for (int64_t i = 0; i < n; i++) {
            f->d[i] += (alpha[h] - beta) * f->s[at * n + i];
        }
    }
}

static void remember(fit *f)
{
    const int64_t n = f->n;
    const int at = (f->newest + 1) % HISTORY;
    double *s = f->s + at * n, *y = f->y + at * n;
    for (int64_t i = 0; i < n; i++) {
        s[i] = f->x2[i] - f->x[i];
        y[i] = f->g2[i] - f->g[i];
    }
    const double curvature = dot(s, y, n);
    if (curvature > 1e-10 * dot(y, y, n)) {
        f->rho[at] = 1 / curvature;
        f->newest = at;
        f->n_history += f->n_history < HISTORY;
    }
}

static double largest(const double *g, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs(g[i]));
    }
    return most;
}

/* A step along d that lowers the loss enough; false if none does. */
static bool descend(fit *f, double *loss)
{
    const double slope = dot(f->g, f->d, f->n);
    double step = f->n_history > 0 ? 1 : fmin(1, 1 / sqrt(dot(f->g, f->g, f->n)));
    for (int tries = 0; tries < MAX_HALVINGS && slope < 0; tries++, step /= 2) {
        for (int64_t i = 0; i < f->n; i++) {
            f->x2[i] = f->x[i] + step * f->d[i];
        }
        const double there = loss_at(f, f->x2, f->g2);
        if (there <= *loss + DESCENT * step * slope) {
            *loss = there;
            return true;
        }
    }
    return false;
}

static mm1_status minimise(fit *f, const volatile int *stop, mm1_error *err)
{
    mm1_logistic *l = f->l;
    l->n_steps = 0;
    l->loss = loss_at(f, f->x, f->g);
    while (isfinite(l->loss) && (l->gradient = largest(f->g, f->n)) > GRADIENT_MAX && l->n_steps < MAX_STEPS) {
        if (stop != NULL && *stop != 0) {
            return mm1_error_set(err, MM1_E_CANCELLED, "interrupted");
        }
        direction(f);
        if (!descend(f, &l->loss)) {
            if (f->n_history == 0) {
                l->loss = loss_at(f, f->x, f->g); /* the weights of the best point go back into the model */
                break;
            }
            f->n_history = 0; /* once more, straight downhill */
            continue;
        }
        remember(f);
        double *x = f->x, *g = f->g;
        f->x = f->x2;
        f->g = f->g2;
        f->x2 = x;
        f->g2 = g;
        l->n_steps++;
    }
    return isfinite(l->loss) ? MM1_OK : mm1_error_set(err, MM1_E_NUMERIC, "a feature is not finite");
}

mm1_status mm1_logistic_fit(mm1_logistic *l, const mm1_labelled *data, double l2, const volatile int *stop,
                            mm1_error *err)
{
    const int64_t K = l->n_classes, n = K * (l->D + 1);
    mm1_status st = MM1_OK;
    fit f = {.l = l, .data = data, .l2 = l2, .n = n};
    f.logits = mm1_alloc((size_t)(data->n * K), sizeof *f.logits);
    f.nll = mm1_alloc((size_t)data->n, sizeof *f.nll);
    f.dw = mm1_alloc((size_t)n, sizeof *f.dw);
    double *vectors = mm1_alloc((size_t)n, (5 + 2 * HISTORY) * sizeof *vectors);
    if (f.logits == NULL || f.nll == NULL || f.dw == NULL || vectors == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to fit %lld rows", (long long)data->n);
    } else {
        f.x = vectors;
        f.g = f.x + n;
        f.x2 = f.g + n;
        f.g2 = f.x2 + n;
        f.d = f.g2 + n;
        f.s = f.d + n;
        f.y = f.s + HISTORY * n;
        for (int64_t i = 0; i < n; i++) {
            f.x[i] = i < K * l->D ? l->w[i] : l->b[i - K * l->D];
        }
        st = minimise(&f, stop, err);
    }
    mm1_free(vectors);
    mm1_free(f.dw);
    mm1_free(f.nll);
    mm1_free(f.logits);
    return st;
}

mm1_status mm1_logistic_score(const mm1_logistic *l, const mm1_labelled *data, double *right, double *share,
                              mm1_error *err)
{
    const int64_t K = l->n_classes;
    int64_t n_right = 0;
    float *logits = mm1_alloc((size_t)(data->n * K), sizeof *logits);
    if (logits == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to score %lld rows", (long long)data->n);
    }
    logits_of(l, data, logits);
    for (int64_t i = 0; i < data->n; i++) {
        const float *z = logits + i * K;
        int64_t best = 0;
        for (int64_t k = 1; k < K; k++) {
            best = z[k] > z[best] ? k : best;
        }
        const bool is_right = best == data->label[i];
        n_right += is_right;
        if (right != NULL) {
            right[i] = is_right;
        }
    }
    *share = (double)n_right / (double)data->n;
    mm1_free(logits);
    return MM1_OK;
}

mm1_status mm1_logistic_init(mm1_logistic *l, int64_t D, int64_t n_classes, mm1_error *err)
{
    *l = (mm1_logistic){.D = D,
                        .n_classes = n_classes,
                        .w = mm1_calloc((size_t)(n_classes * D), sizeof *l->w),
                        .b = mm1_calloc((size_t)n_classes, sizeof *l->b)};
    if (l->w == NULL || l->b == NULL) {
        mm1_logistic_deinit(l);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld classes", (long long)n_classes);
    }
    return MM1_OK;
}

void mm1_logistic_deinit(mm1_logistic *l)
{
    mm1_free(l->w);
    mm1_free(l->b);
    *l = (mm1_logistic){0};
}

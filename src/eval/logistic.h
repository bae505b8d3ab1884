/* logistic.h - multinomial logistic regression with L2, fitted by L-BFGS (Liu and Nocedal 1989).
 *
 *   minimise  mean over i of -log softmax(w x_i + b)[label_i]  +  l2 / 2 |w|^2
 *
 * Products are f32, sums over rows and the steps f64.  The same bits for any number of threads. */
#ifndef MM1_EVAL_LOGISTIC_H
#define MM1_EVAL_LOGISTIC_H

#include <mm1/error.h>
#include <stdint.h>

typedef struct mm1_labelled {
    const float *x;       /* [n, D] */
    const uint8_t *label; /* [n], below n_classes */
    int64_t n, D, n_classes;
} mm1_labelled;

typedef struct mm1_logistic {
    int64_t D, n_classes;
    float *w, *b;    /* [n_classes, D], [n_classes]; owned */
    double loss;     /* of the last fit, penalty included */
    double gradient; /* and the largest element of its gradient */
    int64_t n_steps; /* it took */
} mm1_logistic;

/* Zeros.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_logistic_init(mm1_logistic *l, int64_t D, int64_t n_classes, mm1_error *err);
void mm1_logistic_deinit(mm1_logistic *l); /* accepts a zeroed one */

/* From the weights that are there (a fit with another l2 is a good beginning) to where no element of the gradient is
 * over 1e-4, 1000 steps are done, or rounding hides any further descent.  stop not 0: MM1_E_CANCELLED; may be NULL.
 * MM1_E_NUMERIC if a feature is not finite; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_logistic_fit(mm1_logistic *l, const mm1_labelled *data, double l2,
                                          const volatile int *stop, mm1_error *err);
/* The share of rows that get their label, and which: right [n] 1 or 0, may be NULL.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_logistic_score(const mm1_logistic *l, const mm1_labelled *data, double *right,
                                            double *share, mm1_error *err);

#endif

/* bench_gemm.h - the matrix product beside the machine's limit and other libraries.
 *
 * All run in turns on the same numbers (A B C A B C ...) and medians are compared: on a shared machine only such ratios
 * mean anything.  Each product takes the next of many copies of the operands, 320 MiB in all, so that they come from
 * memory, as those of a training step do; or all the same ones, from whatever cache holds them.  The others are opened
 * at run time where they are installed; nothing links them. */
#ifndef MM1_STUDY_BENCH_GEMM_H
#define MM1_STUDY_BENCH_GEMM_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mm1_gemm_library {
    MM1_GEMM_OURS,
    MM1_GEMM_OURS_BF16, /* the right operand in bf16, as mm1_gemm_args.b16 has it */
    MM1_GEMM_OPENBLAS,
    MM1_GEMM_ONEDNN,
    MM1_GEMM_BLIS,
    MM1_GEMM_LIBRARIES
} mm1_gemm_library;

/* "mm1", "mm1-bf16", "openblas", "onednn", "blis", and the Debian package that has it (NULL for ours). */
const char *mm1_gemm_library_name(mm1_gemm_library l);
const char *mm1_gemm_library_package(mm1_gemm_library l);

/* The three products of a linear layer over `rows` rows, `out` outputs and `in` inputs. */
typedef enum mm1_gemm_form {
    MM1_GEMM_NT, /* Y = X W^T:   m = rows, n = out, k = in */
    MM1_GEMM_NN, /* dX = dY W:   m = rows, n = in,  k = out */
    MM1_GEMM_TN, /* dW += dY^T X: m = out, n = in,  k = rows */
    MM1_GEMM_FORMS
} mm1_gemm_form;

const char *mm1_gemm_form_name(mm1_gemm_form f);

typedef struct mm1_gemm_layer {
    int64_t rows, out, in;
} mm1_gemm_layer;

/* The layers of the recipes: of bench/recipes, of nano and the demo, and squares. */
const mm1_gemm_layer *mm1_bench_gemm_layers(size_t *n);

typedef struct mm1_gemm_result {
    int64_t m, n, k;
    mm1_gemm_form form;
    int threads;
    double seconds[MM1_GEMM_LIBRARIES]; /* median of one product; NAN: library is not there */
    double ratio[MM1_GEMM_LIBRARIES];   /* median of (its time / our time) over the turns; 1 for ours */
    /* Median of (its rate / that of multiply-adds in registers over about as long, in the same turn). */
    double fma_share[MM1_GEMM_LIBRARIES];
} mm1_gemm_result;

typedef struct mm1_bench_gemm {
    mm1_gemm_result *results; /* by layer, form, then threads: 1 and all, or 1 alone */
    size_t n_results;
    char *found[MM1_GEMM_LIBRARIES]; /* file that was opened, "" for ours; NULL: not there, or not wanted */
    bool wanted[MM1_GEMM_LIBRARIES];
    int threads;        /* all */
    bool hot;           /* operands */
    double fma_peak[2]; /* operations a second, the best probe of the run: on 1 thread and on all */
} mm1_bench_gemm;

typedef struct mm1_bench_gemm_options {
    const mm1_gemm_layer *layers;
    size_t n_layers;
    int threads;                     /* 0: as everywhere */
    bool forms[MM1_GEMM_FORMS];      /* none at all: each */
    bool beside[MM1_GEMM_LIBRARIES]; /* ours always runs; none at all: each that is there */
    bool hot;                        /* the same operands every time */
} mm1_bench_gemm_options;

/* Sets the threads and the kernels.  Free with mm1_bench_gemm_deinit(), also after a failure. */
MM1_NODISCARD mm1_status mm1_bench_gemm_run(const mm1_bench_gemm_options *o, mm1_bench_gemm *out, mm1_error *err);
void mm1_bench_gemm_deinit(mm1_bench_gemm *b);

#endif

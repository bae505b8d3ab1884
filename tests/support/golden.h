/* golden.h - reads golden files (safetensors) in tests: arrays by name, and how far ours are from them. */
#ifndef MM1_TESTS_GOLDEN_H
#define MM1_TESTS_GOLDEN_H

#include "support/check.h"

#include "base/alloc.h"
#include "kernels/kernels.h"
#include "tensor/safetensors.h"

static inline mm1_safetensors *golden_open(const char *path)
{
    mm1_safetensors *sf = NULL;
    mm1_error err = {0};
    check_ok(mm1_safetensors_open(&sf, path, &err), &err);
    return sf;
}

/* The tensor "<prefix><name>"; NULL if there is none. */
static inline const mm1_safetensors_tensor *golden_find(const mm1_safetensors *sf, const char *prefix, const char *name)
{
    char full[200];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    return mm1_safetensors_find(sf, full);
}

static inline const mm1_safetensors_tensor *golden_get(const mm1_safetensors *sf, const char *prefix, const char *name)
{
    const mm1_safetensors_tensor *x = golden_find(sf, prefix, name);
    if (x == NULL) {
        print_error("%s: no tensor %s%s\n", mm1_safetensors_path(sf), prefix, name);
        fail();
    }
    return x;
}

/* All elements; the caller frees.  One element more is taken, so that an empty tensor has an address. */
static inline float *golden_floats(const mm1_safetensors_tensor *x)
{
    mm1_error err = {0};
    float *p = mm1_alloc((size_t)x->n_elements + 1, sizeof *p);
    assert_non_null(p);
    check_ok(mm1_safetensors_to_f32(x, p, &err), &err);
    return p;
}

static inline int32_t *golden_ints(const mm1_safetensors_tensor *x)
{
    assert_int_equal(x->dtype, MM1_DTYPE_I32);
    int32_t *p = mm1_alloc((size_t)x->n_elements + 1, sizeof *p);
    assert_non_null(p);
    memcpy(p, x->data, x->n_bytes);
    return p;
}

/* |got - want| / |want|, and the cosine of the two; NaN anywhere gives NaN. */
static inline double golden_error(const float *got, const float *want, int64_t n, double *cosine)
{
    double diff = 0, norm = 0, dot = 0, own = 0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
        own += (double)got[i] * got[i];
        dot += (double)got[i] * want[i];
    }
    if (cosine != NULL) {
        *cosine = norm == 0 && own == 0 ? 1 : dot / sqrt(norm * own);
    }
    return diff == 0 ? 0 : sqrt(diff / norm);
}

/* Chooses each instruction set of this CPU in turn: for (int isa = -1; golden_next_isa(&isa);). */
static inline bool golden_next_isa(int *isa)
{
    mm1_error err = {0};
    while (++*isa < MM1_ISA_COUNT) {
        if (mm1_kernels_for((mm1_isa)*isa) != NULL) {
            check_ok(mm1_kernels_init(mm1_isa_name((mm1_isa)*isa), &err), &err);
            return true;
        }
    }
    check_ok(mm1_kernels_init(NULL, &err), &err);
    return false;
}

#endif

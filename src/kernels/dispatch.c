/* dispatch.c - one table for each instruction set, chosen once, visible to the user. */
#include "kernels/gemm.h"
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

static mm1_kernels tables[MM1_ISA_COUNT];
static const mm1_kernels *current;

static const char *const isa_names[MM1_ISA_COUNT] = {"ref", "avx2", "avx512"};

const char *mm1_isa_name(mm1_isa isa)
{
    return (unsigned)isa < MM1_ISA_COUNT ? isa_names[isa] : "?";
}

static bool cpu_has(mm1_isa isa)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    switch (isa) {
    case MM1_ISA_REF: return true;
    case MM1_ISA_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case MM1_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    default: return false;
    }
#else
    return isa == MM1_ISA_REF;
#endif
}

/* Idempotent, and the bytes written are the same each time; the first call comes before other threads start. */
static void fill(void)
{
    if (current != NULL) {
        return;
    }
    for (int isa = 0; isa < MM1_ISA_COUNT; isa++) {
        mm1_kernels *k = &tables[isa];
        mm1__kernels_rows_ref(k);
        mm1__kernels_spatial_ref(k);
        mm1__kernels_gemm_ref(k);
#if defined(__x86_64__)
        if (isa == MM1_ISA_AVX2) {
            mm1__kernels_rows_avx2(k);
            mm1__kernels_spatial_avx2(k);
            mm1__kernels_gemm_avx2(k);
        } else if (isa == MM1_ISA_AVX512) {
            mm1__kernels_rows_avx512(k);
            mm1__kernels_spatial_avx512(k);
            mm1__kernels_gemm_avx512(k);
        }
#endif
        k->isa = (mm1_isa)isa;
    }
    current = &tables[MM1_ISA_REF];
}

mm1_status mm1_kernels_init(const char *name, mm1_error *err)
{
    fill();
    const char *forced = name != NULL ? name : getenv("MM1_ISA");
    int isa = MM1_ISA_COUNT - 1;
    if (forced != NULL && forced[0] != '\0') {
        while (isa >= 0 && strcmp(forced, isa_names[isa]) != 0) {
            isa--;
        }
        if (isa < 0) {
            return mm1_error_set(err, MM1_E_CONFIG, "MM1_ISA=%s: use ref, avx2 or avx512", forced);
        }
        if (!cpu_has((mm1_isa)isa)) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "MM1_ISA=%s: this CPU lacks it; leave MM1_ISA unset to use the best one", forced);
        }
    } else {
        while (!cpu_has((mm1_isa)isa)) {
            isa--;
        }
    }
    current = &tables[isa];
    return mm1__gemm_scratch_init(err);
}

const mm1_kernels *mm1_kernels_get(void)
{
    fill();
    return current;
}

const mm1_kernels *mm1_kernels_for(mm1_isa isa)
{
    fill();
    return (unsigned)isa < MM1_ISA_COUNT && cpu_has(isa) ? &tables[isa] : NULL;
}

/* simd_spatial.c - fast versions of ref_spatial.c; a kernel that has none yet keeps its reference. */
#include "kernels/kernels.h"
#include "kernels/simd.h"

void SIMD_NAME(mm1__kernels_spatial)(mm1_kernels *k)
{
    (void)k;
}

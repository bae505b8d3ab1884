/* simd_adamw.c - AdamW with moments in f32 and in bf16, fast version of those in ref_rows.c. */
#include "kernels/simd.h"
#include "kernels/simd_bf16.h"
#include "kernels/simd_parts.h"

#include <math.h>

typedef struct factors {
    vf beta1, beta2, rest1, rest2, root2, lr, shrink, eps, grad_scale;
} factors;

static inline factors factors_of(const mm1_adamw_args *args)
{
    return (factors){
        .beta1 = v_set(args->beta1),
        .beta2 = v_set(args->beta2),
        .rest1 = v_set((float)(1 - (double)args->beta1)),
        .rest2 = v_set((float)(1 - (double)args->beta2)),
        .root2 = v_set((float)(1 / sqrt((double)args->correction2))), /* sqrt(v / c) = sqrt(v) / sqrt(c) */
        .lr = v_set((float)((double)args->lr / args->correction1)),
        /* p - (p lr decay + step) keeps a decay that 1 - lr decay would lose to rounding. */
        .shrink = v_set((float)((double)args->lr * args->decay)),
        .eps = v_set(args->eps),
        .grad_scale = v_set(args->grad_scale),
    };
}

/* `left` parameters; m and v are replaced by the new moments. */
static inline void update(float *p, vf *m, vf *v, const float *g, int64_t left, const factors *f)
{
    const vf grad = v_mul(v_get(g, left), f->grad_scale), p_old = v_get(p, left);
    *m = v_fma(f->beta1, *m, v_mul(f->rest1, grad));
    *v = v_fma(f->beta2, *v, v_mul(v_mul(f->rest2, grad), grad));
    const vf step = v_div(v_mul(f->lr, *m), v_fma(v_sqrt(*v), f->root2, f->eps));
    v_put(p, v_sub(p_old, v_fma(p_old, f->shrink, step)), left);
}

static void adamw(float *p, float *m, float *v, const float *g, int64_t n, const mm1_adamw_args *args)
{
    const factors f = factors_of(args);
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t left = v_left(n - i);
        vf m_i = v_get(m + i, left), v_i = v_get(v + i, left);
        update(p + i, &m_i, &v_i, g + i, left, &f);
        v_put(m + i, m_i, left);
        v_put(v + i, v_i, left);
    }
}

static void adamw_bf16(float *p, uint16_t *m, uint16_t *v, const float *g, int64_t n, const mm1_adamw_args *args,
                       const uint32_t key[2])
{
    const factors f = factors_of(args);
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t left = v_left(n - i);
        const vi random = vi_mix(vi_from((int32_t)i), key);
        vf m_i = bf16_get(m + i, left), v_i = bf16_get(v + i, left);
        update(p + i, &m_i, &v_i, g + i, left, &f);
        bf16_put(m + i, vi_upper(vi_add(vi_of(m_i), vi_upper(random))), left);
        bf16_put(v + i, vi_upper(vi_add(vi_of(v_i), vi_and(random, vi_set(0xffff)))), left);
    }
}

void SIMD_NAME(mm1__kernels_adamw)(mm1_kernels *k)
{
    k->adamw = adamw;
    k->adamw_bf16 = adamw_bf16;
}

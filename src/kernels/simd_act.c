/* simd_act.c - activations and gated units, fast version of those in ref_rows.c. */
#include "kernels/simd.h"
#include "kernels/simd_parts.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* 2 u(x), u being the argument of tanh in the tanh form of GELU: (1 + tanh u) / 2 = sigmoid(2 u). */
ALWAYS_INLINE vf gelu_tanh_2u(vf x)
{
    const vf cubic = v_fma(v_mul(x, x), v_set(1.5957691216057308f * 0.044715f), v_set(1.5957691216057308f));
    return v_mul(x, cubic);
}

/* act(x) */
ALWAYS_INLINE vf act_value(vf x, mm1_act act)
{
    vf density;
    switch (act) {
    case MM1_ACT_RELU: return v_max(v_zero(), x); /* in this order max passes NaN on */
    case MM1_ACT_GELU: return v_mul(x, v_normal_cdf(x, &density));
    case MM1_ACT_GELU_TANH: return v_mul(x, v_sigmoid(gelu_tanh_2u(x)));
    case MM1_ACT_QUICK_GELU: return v_mul(x, v_sigmoid(v_mul(x, v_set(1.702f))));
    case MM1_ACT_SILU: return v_mul(x, v_sigmoid(x));
    case MM1_ACT_SIGMOID: return v_sigmoid(x);
    default: return x;
    }
}

/* s + x s (1 - s) du: the slope of x sigmoid(u(x)), with s = sigmoid(u) */
ALWAYS_INLINE vf gated_slope(vf x, vf s, vf du)
{
    return v_fma(v_mul(v_mul(x, du), s), v_sub(v_set(1.0f), s), s);
}

/* act'(x), and act(x) in *value */
ALWAYS_INLINE vf act_slope(vf x, mm1_act act, vf *value)
{
    const vf one = v_set(1.0f);
    switch (act) {
    case MM1_ACT_RELU: *value = v_max(v_zero(), x); return v_select_lt(v_zero(), x, one, v_zero());
    case MM1_ACT_GELU: {
        vf density;
        const vf cdf = v_normal_cdf(x, &density);
        *value = v_mul(x, cdf);
        return v_fma(x, density, cdf);
    }
    case MM1_ACT_GELU_TANH: {
        const vf s = v_sigmoid(gelu_tanh_2u(x));
        const vf du = v_fma(v_mul(x, x), v_set(3 * 1.5957691216057308f * 0.044715f), v_set(1.5957691216057308f));
        *value = v_mul(x, s);
        return gated_slope(x, s, du);
    }
    case MM1_ACT_QUICK_GELU: {
        const vf s = v_sigmoid(v_mul(x, v_set(1.702f)));
        *value = v_mul(x, s);
        return gated_slope(x, s, v_set(1.702f));
    }
    case MM1_ACT_SILU: {
        const vf s = v_sigmoid(x);
        *value = v_mul(x, s);
        return gated_slope(x, s, one);
    }
    case MM1_ACT_SIGMOID: {
        const vf s = v_sigmoid(x);
        *value = s;
        return v_mul(s, v_sub(one, s));
    }
    default: *value = x; return one;
    }
}

/* The loops are inlined once for each activation, so that the switch on it is outside of them. */
#define FOR_EACH_ACT(call)                                                                                             \
    switch (act) {                                                                                                     \
    case MM1_ACT_RELU: call(MM1_ACT_RELU); break;                                                                      \
    case MM1_ACT_GELU: call(MM1_ACT_GELU); break;                                                                      \
    case MM1_ACT_GELU_TANH: call(MM1_ACT_GELU_TANH); break;                                                            \
    case MM1_ACT_QUICK_GELU: call(MM1_ACT_QUICK_GELU); break;                                                          \
    case MM1_ACT_SILU: call(MM1_ACT_SILU); break;                                                                      \
    case MM1_ACT_SIGMOID: call(MM1_ACT_SIGMOID); break;                                                                \
    default: call(MM1_ACT_NONE); break;                                                                                \
    }

ALWAYS_INLINE void act_fwd_loop(float *y, const float *x, int64_t n, mm1_act act)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(y + i, act_value(v_get(x + i, m), act), m);
    }
}

static void act_fwd(float *y, const float *x, int64_t n, mm1_act act){
#define CALL(a) act_fwd_loop(y, x, n, a)
    FOR_EACH_ACT(CALL)
#undef CALL
}

ALWAYS_INLINE void act_bwd_loop(float *dx, const float *dy, const float *x, int64_t n, mm1_act act, bool acc)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        vf value;
        const vf d = v_mul(v_get(dy + i, m), act_slope(v_get(x + i, m), act, &value));
        v_put_acc(dx + i, d, m, acc);
    }
}

static void act_bwd(float *dx, const float *dy, const float *x, int64_t n, mm1_act act, bool acc){
#define CALL(a) act_bwd_loop(dx, dy, x, n, a, acc)
    FOR_EACH_ACT(CALL)
#undef CALL
}

ALWAYS_INLINE void glu_fwd_loop(float *y, const float *gate, const float *up, int64_t n, mm1_act act)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(y + i, v_mul(act_value(v_get(gate + i, m), act), v_get(up + i, m)), m);
    }
}

static void glu_fwd(float *y, const float *gate, const float *up, int64_t n, mm1_act act){
#define CALL(a) glu_fwd_loop(y, gate, up, n, a)
    FOR_EACH_ACT(CALL)
#undef CALL
}

ALWAYS_INLINE void glu_bwd_loop(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                                int64_t n, mm1_act act)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        vf value;
        const vf d = v_get(dy + i, m), slope = act_slope(v_get(gate + i, m), act, &value);
        v_put(dgate + i, v_mul(v_mul(d, v_get(up + i, m)), slope), m);
        v_put(dup + i, v_mul(d, value), m);
    }
}

static void glu_bwd(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n,
                    mm1_act act)
{
#define CALL(a) glu_bwd_loop(dgate, dup, dy, gate, up, n, a)
    FOR_EACH_ACT(CALL)
#undef CALL
}

void SIMD_NAME(mm1__simd_exp)(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        v_put(y + i, v_exp(v_get(x + i, m)), m);
    }
}

void SIMD_NAME(mm1__simd_normal_cdf)(float *cdf, float *density, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VW) {
        const int64_t m = v_left(n - i);
        vf d;
        v_put(cdf + i, v_normal_cdf(v_get(x + i, m), &d), m);
        v_put(density + i, d, m);
    }
}

void SIMD_NAME(mm1__kernels_act)(mm1_kernels *k)
{
    k->act_fwd = act_fwd;
    k->act_bwd = act_bwd;
    k->glu_fwd = glu_fwd;
    k->glu_bwd = glu_bwd;
}

/* Kernels of bf16: conversions, and AdamW with moments in it. */
#include "kernels/compare.h"

#include "base/half.h"

/* Moments in bf16: the parameters are those of f32, and where a rounding falls the other way it is one step of 2^-7. */
static void case_adamw_bf16(const mm1_kernels *k, run *r, const shape *s)
{
    const mm1_adamw_args args = {.lr = 0.01f,
                                 .beta1 = 0.9f,
                                 .beta2 = 0.95f,
                                 .eps = 1e-8f,
                                 .decay = 0.1f,
                                 .correction1 = 0.271f,
                                 .correction2 = 0.142625f,
                                 .grad_scale = 0.7f};
    const uint32_t key[2] = {0x12345678u, 0x9abcdef0u};
    const float *g = in(r, s->a, -1, 1), *m = in(r, s->a, -1, 1), *v = in(r, s->a, 0, 1);
    /* bf16 beside the guards of their arrays; what is compared is f32 again. */
    uint16_t *m16 = (uint16_t *)(void *)in(r, s->a / 2 + s->a % 2, 0, 1),
             *v16 = (uint16_t *)(void *)in(r, s->a / 2 + s->a % 2, 0, 1);
    float *p = out(r, s->a);
    k->to_bf16(m16, m, s->a);
    k->to_bf16(v16, v, s->a);
    k->adamw_bf16(p, m16, v16, g, s->a, &args, key);
    if (s->flag) {
        k->from_bf16(out(r, s->a), m16, s->a);
        k->from_bf16(out(r, s->a), v16, s->a);
    }
}

static void adamw_with_moments_in_bf16_matches_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < COMPARE_SIZES; i++) {
        compare(case_adamw_bf16, 1e-7, 1e-6, .a = compare_sizes[i]);
        compare(case_adamw_bf16, 1e-7, 0x1p-7, .a = compare_sizes[i], .flag = true);
    }
}

/* A change of a hundredth of a step is lost to rounding to nearest; at random it is kept in the mean. */
static void moments_in_bf16_are_right_in_the_mean(void **state)
{
    (void)state;
    enum { N = 4096, STEPS = 50 };
    static uint16_t m[N], v[N];
    static float p[N], g[N];
    const mm1_adamw_args args = {
        .lr = 0, .beta1 = 0.9999f, .beta2 = 0.9999f, .eps = 1, .correction1 = 1, .correction2 = 1, .grad_scale = 1};
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        if (k == NULL) {
            continue;
        }
        double want = 1, mean_m = 0, mean_v = 0;
        for (int i = 0; i < N; i++) {
            m[i] = v[i] = 0x3f80; /* 1 */
            g[i] = 1.5f;
        }
        for (int step = 0; step < STEPS; step++) {
            mm1_rng r = mm1_rng_make(7, MM1_RNG_ROUND, (uint64_t)step);
            const uint32_t key[2] = {mm1_rng_u32(&r), mm1_rng_u32(&r)};
            k->adamw_bf16(p, m, v, g, N, &args, key);
            want = 0.9999 * want + 1e-4 * 1.5;
        }
        for (int i = 0; i < N; i++) {
            mean_m += (double)mm1_bf16_to_f32(m[i]) / N;
            mean_v += (double)mm1_bf16_to_f32(v[i]) / N;
        }
        /* Five standard deviations of a mean of steps of 2^-7. */
        assert_true(fabs(mean_m - want) < 5 * 0x1p-7 * 0.5 / 64);
        assert_true(fabs(mean_v - (1 + 1.25 * (1 - pow(0.9999, STEPS)))) < 5 * 0x1p-7 * 0.5 / 64);
    }
}

static void bf16_of_every_kind_of_number_is_that_of_half_h(void **state)
{
    (void)state;
    enum { N = 1027 };
    static float x[N], back[N];
    static uint16_t y[N];
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        const mm1_kernels *k = mm1_kernels_for(isa);
        for (uint32_t round = 0; k != NULL && round < 64; round++) {
            const uint32_t key[2] = {round, 1};
            for (uint32_t i = 0; i < N; i++) { /* all exponents; ties, infinities and NaN among them */
                const uint32_t random = mm1_rng_mix(i, key);
                const uint32_t low = i % 3 == 0 ? 0x8000u : i % 3 == 1 ? random & 0xffffu : 0;
                const uint32_t upper = i % 5 == 0 ? (random >> 31 << 15 | 0x7f80u | (i & 1u)) : random >> 16;
                x[i] = mm1_f32_from_bits(upper << 16 | low);
            }
            k->to_bf16(y, x, N);
            k->from_bf16(back, y, N);
            for (int i = 0; i < N; i++) {
                assert_int_equal(y[i], mm1_bf16_from_f32(x[i]));
                assert_int_equal(mm1_f32_bits(back[i]), (uint32_t)y[i] << 16);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_with_moments_in_bf16_matches_the_reference),
        cmocka_unit_test(moments_in_bf16_are_right_in_the_mean),
        cmocka_unit_test(bf16_of_every_kind_of_number_is_that_of_half_h),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

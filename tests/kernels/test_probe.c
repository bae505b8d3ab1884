/* The probes of the machine: positive, finite, and ordered as any machine orders them. */
#include "support/check.h"

#include "base/thread.h"
#include "kernels/probe.h"

static void the_probes_measure_something(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_bandwidth b;
    mm1_threads_set(2);
    check_ok(mm1_kernels_init(NULL, &err), &err);
    const double fma = mm1_fma_probe(1);
    assert_true(fma > 1e8 && fma < 1e13);
    assert_true(mm1_fma_probe(2) > 1e8);
    const double start = mm1_time_now(), mean = mm1_fma_rate(1, 0.01);
    assert_true(mm1_time_now() - start >= 0.01);
    assert_true(mean > 1e8 && mean < 3 * fma); /* the clock may have risen since */
    check_ok(mm1_bandwidth_probe(&b, &err), &err);
    assert_true(b.read > 1e7 && b.read < 1e13);
    assert_true(b.triad > 1e7 && b.triad < 1e13);
}

static void wider_vectors_are_not_slower(void **state)
{
    (void)state;
    mm1_error err = {0};
    double rate[MM1_ISA_COUNT] = {0};
    mm1_threads_set(1);
    for (mm1_isa isa = MM1_ISA_REF; isa < MM1_ISA_COUNT; isa++) {
        if (mm1_kernels_for(isa) != NULL) {
            check_ok(mm1_kernels_init(mm1_isa_name(isa), &err), &err);
            rate[isa] = mm1_fma_probe(1);
            assert_true(rate[isa] > 0.5 * rate[MM1_ISA_REF]); /* other work may run on the machine */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_probes_measure_something),
        cmocka_unit_test(wider_vectors_are_not_slower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The benchmarks on a model of no size: what they count is what was done, and a report is made of what is there. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "study/bench_gemm.h"
#include "study/bench_growth.h"
#include "study/bench_report.h"
#include "study/bench_step.h"
#include "study/median.h"
#include "study/own_threads.h"
#include "train/trainer.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

static void load(mm1_recipe *r)
{
    static const char *const set[] = {
        "model.vision={image_size: 28, patch_size: 14, width: 32, n_layers: 1, n_heads: 2, mlp_width: 64}",
        "model.connector={kind: c_abstractor, n_tokens: 4, hidden: 32, depth: 1}",
        "model.decoder={vocab_size: 320, width: 48, n_layers: 2, n_heads: 3, mlp_width: 96, max_positions: 64}",
        "data.seq_len=64",
        "data.batch=3",
        "train.micro_batch=2",
        "train.threads=2",
        "train.lr_peak=1e-3",
    };
    mm1_error err = {0};
    check_ok(mm1_fields_defaults(mm1__recipe_fields, r, &err), &err);
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        check_ok(mm1_fields_set(mm1__recipe_fields, r, set[i], &err), &err);
    }
}

static void a_made_up_step_is_a_whole_one(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_recipe r;
    mm1_bench_step a, b;
    const mm1_bench_step_options o = {.steps = 2, .images = 3};
    load(&r);
    check_ok(mm1_bench_step_run(&r, &o, &a, &err), &err);
    assert_true(a.made_up);
    assert_true(a.positions == 3 * 64 && a.images == 9);
    assert_true(fabs(a.loss - (log(320) + 0.5)) < 0.5); /* logits of variance 1 */
    assert_true(a.flops > 0 && a.mfu > 0 && a.non_gemm_share > 0 && a.non_gemm_share < 1);
    assert_true(a.wait_share == 0);
    assert_true(mm1_profile_seconds(&a.profile) <= a.profile_seconds);
    assert_true(mm1_profile_seconds(&a.profile) > 0.5 * a.profile_seconds);
    /* Products of the step: at least what the mathematics asks for, attention left out; no more than is computed. */
    assert_true(a.profile.gemm_flops + a.profile.attention_flops > 0.9 * a.flops * 2);
    assert_true(a.profile.gemm_flops < 1.1 * a.flops * 2);
    check_ok(mm1_bench_step_run(&r, &o, &b, &err), &err);
    assert_true(a.loss == b.loss);
    mm1_recipe_deinit(&r);
}

static void the_encoder_alone_needs_no_decoder(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_recipe r;
    mm1_bench_step s;
    load(&r);
    check_ok(mm1_fields_set(mm1__recipe_fields, &r, "model.decoder.vocab_size=0", &err), &err);
    check_ok(
        mm1_bench_step_run(&r, &(mm1_bench_step_options){.part = MM1_BENCH_VISION, .steps = 1, .images = -1}, &s, &err),
        &err);
    assert_true(s.images == 3 && s.positions == 3 * 4);
    /* There is no gradient of the pixels. */
    assert_true(s.profile.gemm_flops > 0.7 * s.flops && s.profile.gemm_flops < s.flops);
    mm1_recipe_deinit(&r);
}

static void what_a_row_has_no_room_for_is_refused(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_recipe r;
    mm1_bench_step s;
    load(&r);
    assert_int_equal(mm1_bench_step_run(&r, &(mm1_bench_step_options){.steps = 1, .images = 13}, &s, &err),
                     MM1_E_CONFIG);
    check_contains(err.message, "no room for 13 images");
    assert_int_equal(mm1_bench_step_run(&r, &(mm1_bench_step_options){.steps = 0}, &s, &err), MM1_E_ARG);
    check_contains(err.message, "0 steps");
    mm1_recipe_deinit(&r);
}

static void an_axis_multiplies_one_size(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_recipe r;
    mm1_growth g[MM1_GROWTH_SIZES];
    size_t n = 0;
    load(&r);
    for (int axis = 0; axis < MM1_GROWTH_AXES; axis++) {
        assert_int_equal(mm1_growth_axis_find(mm1_growth_axis_name((mm1_growth_axis)axis)), axis);
        check_ok(mm1_bench_growth_run(&r, 1, (mm1_growth_axis)axis, 1, g, &n, &err), &err);
        assert_int_equal(n, 1);
        assert_true(g[0].value == g[0].base_value * (axis == MM1_GROWTH_VOCABULARY ? 4 : 2));
        assert_true(g[0].rounds >= 2 && g[0].seconds > 0 && g[0].base_seconds > 0);
        assert_true(fabs(g[0].relative * g[0].flops / g[0].base_flops - g[0].time_ratio) < 1e-9 * g[0].time_ratio);
        assert_true(g[0].arena_bytes > 0 && g[0].base_arena_bytes > 0);
        if (axis == MM1_GROWTH_ROWS) {
            assert_true(fabs(g[0].flops / g[0].base_flops - 2) < 1e-9);
        } else if (axis != MM1_GROWTH_LENGTH) { /* half of three rows is one */
            assert_true(g[0].flops > g[0].base_flops);
        }
    }
    /* More experts are more routes, and nothing else that a position goes through. */
    check_ok(mm1_bench_growth_run(&r, 1, MM1_GROWTH_EXPERTS, 1, g, &n, &err), &err);
    assert_true(g[0].base_value == 2 && g[0].flops < 1.05 * g[0].base_flops);
    r.model.decoder.bias = true;
    assert_int_equal(mm1_bench_growth_run(&r, 1, MM1_GROWTH_EXPERTS, 1, g, &n, &err), MM1_E_CONFIG);
    check_contains(err.message, "experts have none");
    r.model.decoder.bias = false;
    assert_int_equal(mm1_growth_axis_find("height"), MM1_GROWTH_AXES);
    check_ok(mm1_bench_growth_run(&r, 0, MM1_GROWTH_DEPTH, MM1_GROWTH_SIZES, g, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(mm1_bench_growth_run(&r, 12, MM1_GROWTH_IMAGES, 1, g, &n, &err), MM1_E_CONFIG);
    check_contains(err.message, "no room for 24 images");
    mm1_recipe_deinit(&r);
}

/* 16384 positions: what a step takes is planned, not taken. */
static void activations_grow_as_the_length_does(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_recipe r;
    size_t bytes[2] = {0};
    for (int i = 0; i < 2; i++) {
        mm1_model m = {0};
        load(&r);
        r.data.batch = r.train.micro_batch = 1;
        r.data.seq_len = r.model.decoder.max_positions = i == 0 ? 4096 : 16384;
        check_ok(mm1_model_config_resolve(&r.model, &err), &err);
        check_ok(mm1_model_init(&m, &r.model, &err), &err);
        check_ok(mm1_train_plan_arena(&m, &r, &bytes[i], &err), &err);
        mm1_model_deinit(&m);
        mm1_recipe_deinit(&r);
    }
    assert_true(bytes[1] > 3 * bytes[0] && (double)bytes[1] < 4.1 * (double)bytes[0]);
}

/* Most memory that the process has had, KiB, after the race of one layer. */
static long peak_after_race(bool is_hot)
{
    const mm1_gemm_layer layer = {.rows = 256, .out = 256, .in = 256};
    mm1_error err = {0};
    mm1_bench_gemm b;
    struct rusage usage;
    const mm1_bench_gemm_options o = {.layers = &layer,
                                      .n_layers = 1,
                                      .threads = 1,
                                      .forms = {[MM1_GEMM_NT] = true},
                                      .beside = {[MM1_GEMM_OURS_BF16] = true},
                                      .hot = is_hot};
    check_ok(mm1_bench_gemm_run(&o, &b, &err), &err);
    assert_true(b.hot == is_hot);
    mm1_bench_gemm_deinit(&b);
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* Comes first: the peak of a process never falls. */
static void operands_come_from_more_memory_than_caches_hold_unless_they_are_hot(void **state)
{
    (void)state;
    const long hot = peak_after_race(true);
    assert_true(hot < 250 << 10);
    assert_true(peak_after_race(false) > 300 << 10);
}

static void a_layer_is_raced_in_three_forms_on_one_thread_and_on_all(void **state)
{
    (void)state;
    static const int64_t sizes[MM1_GEMM_FORMS][3] = {{48, 40, 24}, {48, 24, 40}, {40, 24, 48}};
    const mm1_gemm_layer layer = {.rows = 48, .out = 40, .in = 24};
    mm1_error err = {0};
    mm1_bench_gemm b;
    check_ok(mm1_bench_gemm_run(&(mm1_bench_gemm_options){.layers = &layer, .n_layers = 1, .threads = 2}, &b, &err),
             &err);
    assert_int_equal(b.n_results, 2 * MM1_GEMM_FORMS);
    for (size_t i = 0; i < b.n_results; i++) {
        const mm1_gemm_result *r = &b.results[i];
        assert_int_equal(r->form, i / 2);
        assert_int_equal(r->threads, 1 + i % 2);
        assert_int_equal(r->m, sizes[r->form][0]);
        assert_int_equal(r->n, sizes[r->form][1]);
        assert_int_equal(r->k, sizes[r->form][2]);
        assert_true(r->seconds[MM1_GEMM_OURS] > 0 && r->ratio[MM1_GEMM_OURS] == 1);
        assert_true(r->fma_share[MM1_GEMM_OURS] > 0 && r->fma_share[MM1_GEMM_OURS] < 2); /* other work may run */
        for (int l = MM1_GEMM_OURS + 1; l < MM1_GEMM_LIBRARIES; l++) {
            assert_int_equal(isnan(r->seconds[l]) != 0, b.found[l] == NULL);
        }
    }
    mm1_bench_gemm_deinit(&b);
}

static void the_median_is_the_one_in_the_middle(void **state)
{
    (void)state;
    double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2};
    assert_true(mm1_median(odd, 3) == 5);
    assert_true(mm1_median(even, 4) == 3);
    assert_true(isnan(mm1_median(odd, 0)));
}

static void write_text(const char *dir, const char *name, const char *text)
{
    mm1_error err = {0};
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    check_ok(mm1_file_write_atomic(path, text, strlen(text), &err), &err);
}

static void a_report_is_made_of_what_is_there(void **state)
{
    (void)state;
    mm1_error err = {0};
    char dir[256], path[512], *md = NULL;
    check_tmpdir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/bench.md", dir);
    check_ok(mm1_bench_report(dir, &err), &err); /* nothing is there */

    write_text(dir, "step-a.1.mm1.json", "{\"step_seconds\": 2, \"operators\": [{\"name\": \"x\"}, 7]}");
    write_text(dir, "step-a.2.mm1.json", "{\"step_seconds\": 4}");
    write_text(dir, "step-a.2.compile.json", "{\"step_seconds\": 6}");
    write_text(dir, "step-b.1.mm1.json", "{}");
    check_ok(mm1_bench_report(dir, &err), &err);
    check_ok(mm1_file_read(path, 1 << 20, &md, NULL, &err), &err);
    check_contains(md, "| a | 4.000 |");
    check_contains(md, "**1.50**");
    check_contains(md, "| b | - |");
    mm1_free(md);

    write_text(dir, "kernels.tsv", "add\tref\tmany\t1\n");
    assert_int_equal(mm1_bench_report(dir, &err), MM1_E_FORMAT);
    check_contains(err.message, "kernels.tsv:1");
    write_text(dir, "step-a.1.eager.json", "[1, 2]");
    assert_int_equal(mm1_bench_report(dir, &err), MM1_E_FORMAT);
    check_contains(err.message, "step-a.1.eager.json");
    check_ok(mm1_path_remove(dir, &err), &err);
}

static _Atomic bool ends;

static void *spin(void *arg)
{
    (void)arg;
    while (!atomic_load_explicit(&ends, memory_order_relaxed)) {
    }
    return NULL;
}

/* The processor's clocks said that it slept, between two ticks of the kernel. */
static void a_thread_that_spins_is_seen_at_once_and_what_it_delays_is_counted(void **state)
{
    (void)state;
    pthread_t thread;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
        }
    }
    while (mm1_other_threads_run()) { /* of the products before */
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0); /* the other thread's as well */
    const double delay = mm1_threads_delay();
    assert_int_equal(pthread_create(&thread, NULL, spin, NULL), 0);
    assert_true(mm1_other_threads_run());
    for (const double until = mm1_time_now() + 0.1; mm1_time_now() < until;) {
        assert_true(mm1_other_threads_run());
    }
    if (access("/proc/self/schedstat", R_OK) == 0) { /* kernels may be built without it */
        assert_true(mm1_threads_delay() - delay > 0.03);
    }
    atomic_store(&ends, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (const double until = mm1_time_now() + 1; mm1_other_threads_run() && mm1_time_now() < until;) { /* it ends */
    }
    assert_false(mm1_other_threads_run());
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_come_from_more_memory_than_caches_hold_unless_they_are_hot),
        cmocka_unit_test(a_made_up_step_is_a_whole_one),
        cmocka_unit_test(the_encoder_alone_needs_no_decoder),
        cmocka_unit_test(what_a_row_has_no_room_for_is_refused),
        cmocka_unit_test(an_axis_multiplies_one_size),
        cmocka_unit_test(activations_grow_as_the_length_does),
        cmocka_unit_test(a_layer_is_raced_in_three_forms_on_one_thread_and_on_all),
        cmocka_unit_test(a_thread_that_spins_is_seen_at_once_and_what_it_delays_is_counted),
        cmocka_unit_test(the_median_is_the_one_in_the_middle),
        cmocka_unit_test(a_report_is_made_of_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

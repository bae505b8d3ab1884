/* test_thread.c - the pool of compute threads. */
#include "support/check.h"

#include "base/thread.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MOST = 1000 };

/* What became of each item of a region. */
typedef struct record {
    _Atomic int hits[MOST];
    _Atomic int n_calls, by_index[MM1_MAX_THREADS];
    int64_t n, grain;
    _Atomic bool crooked; /* a range that does not begin at a multiple of the grain, or leaves [0, n) */
} record;

static void mark(void *ctx, int64_t begin, int64_t end)
{
    record *r = ctx;
    if (begin < 0 || begin >= end || end > r->n || begin % r->grain != 0) {
        r->crooked = true;
        return;
    }
    r->n_calls++;
    r->by_index[mm1_thread_index()]++;
    for (int64_t i = begin; i < end; i++) {
        r->hits[i]++;
    }
}

static void assert_once(const record *r)
{
    assert_false(r->crooked);
    for (int64_t i = 0; i < MOST; i++) {
        assert_int_equal(r->hits[i], i < r->n ? 1 : 0);
    }
}

static void ranges_cover_every_item_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 16, 63, 64, 65, 101, 997, MOST}, grains[] = {1, 2, 7, 64, 5000};
    static const int threads[] = {1, 2, 3, 4, 7, 16};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        mm1_threads_set(threads[t]);
        assert_int_equal(mm1_threads(), threads[t]);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
                record r = {.n = sizes[s], .grain = grains[g]};
                mm1_parallel_for(r.n, r.grain, mark, &r);
                assert_once(&r);
                assert_true(r.n_calls <= threads[t]);
                assert_true(r.n > r.grain || r.n_calls == (r.n > 0));
            }
            record r = {.n = sizes[s], .grain = 1};
            mm1_parallel_each(r.n, mark, &r);
            assert_once(&r);
            assert_int_equal(r.n_calls, r.n);
            for (int i = threads[t]; i < MM1_MAX_THREADS; i++) {
                assert_int_equal(r.by_index[i], 0);
            }
        }
    }
}

static void a_grain_below_one_is_one_and_less_than_nothing_is_nothing(void **state)
{
    (void)state;
    mm1_threads_set(3);
    for (int64_t grain = -1; grain <= 0; grain++) {
        record r = {.n = 10, .grain = 1};
        mm1_parallel_for(r.n, grain, mark, &r);
        assert_once(&r);
        record none = {.n = 0, .grain = 1};
        mm1_parallel_for(-5, grain, mark, &none);
        mm1_parallel_each(-5, mark, &none);
        assert_once(&none);
    }
}

static void add_up(void *ctx, int64_t begin, int64_t end)
{
    _Atomic int64_t *sum = ctx;
    *sum += end - begin;
}

static void the_largest_sizes_do_not_overflow(void **state)
{
    (void)state;
    static const int64_t grains[] = {INT64_MAX / 2, INT64_MAX - 1, INT64_MAX, (int64_t)1 << 40};
    mm1_threads_set(4);
    for (size_t i = 0; i < sizeof grains / sizeof *grains; i++) {
        _Atomic int64_t sum = 0;
        mm1_parallel_for(INT64_MAX, grains[i], add_up, &sum);
        assert_true(sum == INT64_MAX);
    }
    mm1_threads_set(INT32_MAX);
    assert_int_equal(mm1_threads(), MM1_MAX_THREADS);
}

/* ---- several threads ---- */

typedef struct meeting {
    _Atomic int n_here, failures;
    int wanted;
} meeting;

/* Waits for the others for up to five seconds. */
static void meet(void *ctx, int64_t begin, int64_t end)
{
    meeting *m = ctx;
    const double until = mm1_time_now() + 5;
    m->n_here += (int)(end - begin);
    while (m->n_here < m->wanted && mm1_time_now() < until) {
        (void)usleep(50);
    }
    m->failures += m->n_here < m->wanted;
}

static void parts_run_at_the_same_time(void **state)
{
    (void)state;
    for (int n = 2; n <= 5; n++) {
        mm1_threads_set(n);
        meeting m = {.wanted = n};
        mm1_parallel_for(n, 1, meet, &m);
        assert_int_equal(m.failures, 0);
        meeting each = {.wanted = n};
        mm1_parallel_each(n, meet, &each);
        assert_int_equal(each.failures, 0);
    }
}

typedef struct nest {
    record inner[4];
    _Atomic int not_serial, flat;
} nest;

static void mark_within(void *ctx, int64_t begin, int64_t end)
{
    nest *n = ctx;
    for (int64_t i = begin; i < end; i++) {
        record *r = &n->inner[i];
        r->n = 101;
        r->grain = 1;
        n->flat += !mm1_in_parallel();
        mm1_parallel_for(101, 1, mark, r);
        n->not_serial += r->n_calls != 1 || r->by_index[mm1_thread_index()] != 1;
    }
}

static void a_region_inside_another_runs_serially(void **state)
{
    (void)state;
    static nest n;
    mm1_threads_set(4);
    for (int round = 0; round < 50; round++) {
        memset(&n, 0, sizeof n);
        mm1_parallel_for(4, 1, mark_within, &n);
        assert_int_equal(n.not_serial, 0);
        assert_int_equal(n.flat, 0);
        for (int i = 0; i < 4; i++) {
            assert_once(&n.inner[i]);
        }
    }
    assert_false(mm1_in_parallel());
}

typedef struct caller {
    pthread_t thread;
    int64_t lost;
} caller;

static void *call_often(void *arg)
{
    caller *c = arg;
    for (int64_t i = 0; i < 5000; i++) {
        _Atomic int64_t sum = 0;
        const int64_t n = 1 + i % 17;
        if (i % 2 == 0) {
            mm1_parallel_for(n, 1, add_up, &sum);
        } else {
            mm1_parallel_each(n, add_up, &sum);
        }
        c->lost += sum != n;
    }
    return NULL;
}

static void several_threads_may_call(void **state)
{
    (void)state;
    enum { CALLERS = 4 };
    caller callers[CALLERS] = {0};
    mm1_threads_set(3);
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
        assert_int_equal(callers[i].lost, 0);
    }
}

static void *compute_beside(void *arg)
{
    mm1_parallel_for(101, 1, mark, arg);
    return NULL;
}

/* The pool is taken for as long as another thread computes. */
static void call_from_beside(void *ctx, int64_t begin, int64_t end)
{
    record *r = ctx;
    for (int64_t i = begin; i < end; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, compute_beside, &r[i]) != 0 || pthread_join(thread, NULL) != 0) {
            r[i].crooked = true;
        }
    }
}

static void a_thread_that_finds_the_pool_taken_computes_alone(void **state)
{
    (void)state;
    static record r[2];
    mm1_threads_set(2);
    for (int i = 0; i < 2; i++) {
        r[i] = (record){.n = 101, .grain = 1};
    }
    mm1_parallel_for(2, 1, call_from_beside, r);
    for (int i = 0; i < 2; i++) {
        assert_once(&r[i]);
        assert_int_equal(r[i].n_calls, 1);
        assert_int_equal(r[i].by_index[0], 1);
    }
}

static void many_small_regions(int threads, int64_t n_regions)
{
    _Atomic int64_t sum = 0;
    int64_t wanted = 0;
    mm1_threads_set(threads);
    for (int64_t i = 0; i < n_regions; i++) {
        const int64_t n = 1 + i % (2 * threads);
        wanted += n;
        if (i % 3 == 0) {
            mm1_parallel_each(n, add_up, &sum);
        } else {
            mm1_parallel_for(n, 1, add_up, &sum);
        }
        if (i % 4096 == 0) {
            (void)usleep(200); /* so that the workers fall asleep */
        }
    }
    assert_int_equal(sum, wanted);
}

static void nothing_is_lost_in_many_small_regions(void **state)
{
    (void)state;
    many_small_regions(2, 100000);
}

static void nothing_is_lost_with_more_threads_than_cpus(void **state)
{
    (void)state;
    many_small_regions(2 * (int)sysconf(_SC_NPROCESSORS_ONLN) + 3, 5000);
}

static void the_caller_does_what_no_worker_has_begun(void **state)
{
    (void)state;
    enum { REGIONS = 200, THREADS = 32 };
    int n_done = 0;
    mm1_threads_set(THREADS);
    for (int i = 0; i < REGIONS; i++) {
        record r = {.n = THREADS, .grain = 1};
        mm1_parallel_for(THREADS, 1, mark, &r);
        assert_once(&r);
        n_done += r.by_index[0];
    }
    assert_true(n_done > REGIONS); /* more than its own */
}

/* ---- the rest of the machine ---- */

static double cpu_seconds(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void idle_threads_take_no_processor_time(void **state)
{
    (void)state;
    mm1_threads_set((int)sysconf(_SC_NPROCESSORS_ONLN)); /* with more of them, none would spin */
    meeting m = {.wanted = mm1_threads()};
    mm1_parallel_for(m.wanted, 1, meet, &m);
    assert_int_equal(m.failures, 0);
    (void)usleep(20000);
    const double before = cpu_seconds();
    (void)usleep(300000);
    assert_true(cpu_seconds() - before < 0.01);
}

static void flushes(void *ctx, int64_t begin, int64_t end)
{
    (void)begin;
    (void)end;
#if defined(__x86_64__)
    *(_Atomic int *)ctx += (_mm_getcsr() & 0x8040u) == 0x8040u;
#else
    *(_Atomic int *)ctx += 1;
#endif
}

static void every_thread_flushes_denormals(void **state)
{
    (void)state;
    mm1_threads_set(4);
    for (int i = 0; i < 100; i++) {
        _Atomic int n = 0;
        mm1_parallel_for(4, 1, flushes, &n);
        assert_int_equal(n, 4);
    }
}

#if !defined(__SANITIZE_THREAD__) /* which knows no threads after fork() */
static void a_forked_child_has_a_pool_of_its_own(void **state)
{
    (void)state;
    mm1_threads_set(3);
    meeting m = {.wanted = 3};
    mm1_parallel_for(3, 1, meet, &m);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        meeting own = {.wanted = 3};
        mm1_parallel_for(3, 1, meet, &own);
        exit(own.failures == 0 ? 0 : 1); /* ends the workers as well */
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    meeting again = {.wanted = 3};
    mm1_parallel_for(3, 1, meet, &again);
    assert_int_equal(again.failures, 0);
}
#endif

static void fail_odd(void *ctx, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        if (i % 2 == 1) {
            mm1_error err = {0};
            const mm1_status st = mm1_error_set(&err, MM1_E_FORMAT, "item %d", (int)i);
            mm1_region_fail(ctx, i, st, &err);
        }
    }
}

static void the_failure_of_the_lowest_item_is_reported(void **state)
{
    (void)state;
    mm1_threads_set(4);
    for (int i = 0; i < 100; i++) {
        mm1_region_failure f = {0};
        mm1_error err = {0};
        assert_int_equal(mm1_region_status(&f, &err), MM1_OK);
        mm1_parallel_each(40, fail_odd, &f);
        assert_int_equal(mm1_region_status(&f, NULL), MM1_E_FORMAT);
        assert_int_equal(mm1_region_status(&f, &err), MM1_E_FORMAT);
        assert_string_equal(err.message, "item 1");
    }
}

static void the_environment_says_how_many(void **state)
{
    (void)state;
    (void)setenv("OMP_NUM_THREADS", "5", 1);
    (void)setenv("MM1_THREADS", "3", 1);
    mm1_threads_set(0);
    assert_int_equal(mm1_threads(), 3);
    static const char *const wrong[] = {"0", "-2", "4x", "", "1025"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        (void)setenv("MM1_THREADS", wrong[i], 1);
        mm1_threads_set(0);
        assert_int_equal(mm1_threads(), 5);
    }
    mm1_threads_set(2);
    assert_int_equal(mm1_threads(), 2);
    (void)unsetenv("MM1_THREADS");
    (void)unsetenv("OMP_NUM_THREADS");
    mm1_threads_set(0);
    assert_true(mm1_threads() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_cover_every_item_once),
        cmocka_unit_test(a_grain_below_one_is_one_and_less_than_nothing_is_nothing),
        cmocka_unit_test(the_largest_sizes_do_not_overflow),
        cmocka_unit_test(parts_run_at_the_same_time),
        cmocka_unit_test(a_region_inside_another_runs_serially),
        cmocka_unit_test(several_threads_may_call),
        cmocka_unit_test(a_thread_that_finds_the_pool_taken_computes_alone),
        cmocka_unit_test(nothing_is_lost_in_many_small_regions),
        cmocka_unit_test(nothing_is_lost_with_more_threads_than_cpus),
        cmocka_unit_test(the_caller_does_what_no_worker_has_begun),
        cmocka_unit_test(idle_threads_take_no_processor_time),
        cmocka_unit_test(every_thread_flushes_denormals),
#if !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(a_forked_child_has_a_pool_of_its_own),
#endif
        cmocka_unit_test(the_failure_of_the_lowest_item_is_reported),
        cmocka_unit_test(the_environment_says_how_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_circle.c - circular evaluation: which passes there are, where they stand, and that a question is right only if
 * all of its passes are. */
#include "support/check.h"

#include "eval/bench_circle.h"
#include "eval/bench_score.h"

/* An item with the choices "a", "b", ... of which number `right` is right. */
static void add(mm1_bench_set *s, const char *id, int n_choices, int64_t right)
{
    static const char letters[][2] = {"a", "b", "c", "d"};
    mm1_bench_item item = {.id = id, .right = right};
    for (int i = 0; i < n_choices; i++) {
        mm1_bench_choice(s, &item, letters[i]);
    }
    (void)mm1_bench_add(s, &item);
}

/* "id:choices, the right one in brackets; id of the question" of all items. */
static void check_set(const mm1_bench_set *s, const char *want)
{
    mm1_buf got;
    mm1_buf_init(&got, 1 << 16);
    for (int64_t i = 0; i < s->n; i++) {
        const mm1_bench_item *item = &s->items[i];
        mm1_buf_printf(&got, "%s:", item->id);
        for (size_t k = 0; k < item->n_choices; k++) {
            mm1_buf_printf(&got, item->right == (int64_t)k ? "(%s)" : "%s", item->choices[k]);
        }
        mm1_buf_printf(&got, "%s%s\n", item->pass_of != NULL ? " of " : "", item->pass_of != NULL ? item->pass_of : "");
    }
    assert_string_equal(mm1_buf_str(&got), want);
    mm1_buf_deinit(&got);
}

static void passes_are_made_where_there_are_none(void **state)
{
    mm1_bench_set s = {0};
    mm1_error err = {0};
    (void)state;
    add(&s, "7", 3, 1);
    add(&s, "open", 0, -1);
    add(&s, "unknown", 3, -1);
    add(&s, "x", 2, 0);
    check_ok(mm1_bench_circle(&s, &err), &err);
    check_set(&s, "7:a(b)c\n1000007:(b)ca of 7\n2000007:ca(b) of 7\nopen:\nunknown:abc\nx:(a)b\nx, pass 2:b(a) of x\n");
    mm1_bench_set_deinit(&s);
}

static void passes_of_the_file_are_put_behind_their_questions(void **state)
{
    mm1_bench_set s = {0};
    mm1_error err = {0};
    (void)state;
    add(&s, "1000008", 2, 1);
    add(&s, "7", 2, 0);
    add(&s, "8", 2, 0);
    add(&s, "2000007", 2, 0);
    add(&s, "1000007", 2, 1);
    add(&s, "1000009", 2, 1); /* of no question */
    check_ok(mm1_bench_circle(&s, &err), &err);
    check_set(&s, "7:(a)b\n2000007:(a)b of 7\n1000007:a(b) of 7\n8:(a)b\n1000008:a(b) of 8\n1000009:a(b)\n");
    mm1_bench_set_deinit(&s);
}

static void a_question_is_right_if_every_pass_is(void **state)
{
    /* 1: one of two passes is wrong.  2: both are right.  3: its first pass was not asked.  4: has none. */
    static const mm1_bench_item items[] = {{.id = "1", .right = 0},
                                           {.id = "1000001", .pass_of = "1", .right = 0},
                                           {.id = "2", .right = 0},
                                           {.id = "1000002", .pass_of = "2", .right = 0},
                                           {.id = "1000003", .pass_of = "3", .right = 0},
                                           {.id = "4", .right = 0}};
    static const int64_t picked[] = {0, 1, 0, 0, 0, 1};
    enum { N = sizeof items / sizeof *items };
    const mm1_task task = {.name = "t", .by = MM1_BY_LETTER, .metric = MM1_SCORE_CHOICE, .circular = true};
    mm1_bench_style style;
    mm1_bench_said said[N];
    mm1_metric_result r;
    mm1_error err = {0};
    double scores[N];
    (void)state;
    for (size_t i = 0; i < N; i++) {
        said[i] = (mm1_bench_said){&items[i], "", picked[i], -1};
    }
    check_ok(mm1_bench_style_init(&style, &task, MM1_BY_COUNT, false, false, &err), &err);
    check_ok(mm1_bench_score(&style, said, N, scores, &r, &err), &err);
    assert_true(scores[0] == 0 && isnan(scores[1]) && scores[2] == 100 && isnan(scores[3]));
    assert_true(scores[4] == 100 && scores[5] == 0);
    assert_int_equal(r.n, 4);
    assert_true(fabs(r.score.value - 50) < 1e-9);
    assert_string_equal(r.parts[r.n_parts - 1].name, "each_pass");
    assert_true(fabs(r.parts[r.n_parts - 1].value - 400.0 / 6) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_are_made_where_there_are_none),
        cmocka_unit_test(passes_of_the_file_are_put_behind_their_questions),
        cmocka_unit_test(a_question_is_right_if_every_pass_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

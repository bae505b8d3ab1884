/* Text out of tokens, piece by piece: the blank that begins a text, and characters in several tokens. */
#include "support/check.h"

#include "generate/text_out.h"

/* Gives the pieces one after the other; returns what is shown in all, with '|' between the shares. */
static const char *run(bool strips, const char *const *pieces)
{
    static char shown[128];
    mm1_error err = {0};
    mm1_text_out o;
    check_ok(mm1_text_out_init(&o, NULL, 0, &err), &err);
    o.strips = strips;
    shown[0] = '\0';
    for (; *pieces != NULL; pieces++) {
        size_t len = 0;
        check_ok(mm1_text_out_add(&o, *pieces, strlen(*pieces), &err), &err);
        const char *at = mm1_text_out_take(&o, &len);
        strncat(shown, at, len);
        strcat(shown, "|");
    }
    check_ok(mm1_text_out_finish(&o, &err), &err);
    size_t len = 0;
    const char *at = mm1_text_out_take(&o, &len);
    strncat(shown, at, len);
    mm1_text_out_deinit(&o);
    return shown;
}

static void one_blank_at_the_start_is_dropped(void **state)
{
    (void)state;
    assert_string_equal(run(true, (const char *const[]){" a", " b", NULL}), "a| b|");
    assert_string_equal(run(true, (const char *const[]){"", " ", " b", NULL}), "|| b|");
    assert_string_equal(run(true, (const char *const[]){"  a", NULL}), " a|");
    assert_string_equal(run(true, (const char *const[]){"a", " b", NULL}), "a| b|");
    assert_string_equal(run(false, (const char *const[]){" a", " b", NULL}), " a| b|");
}

static void a_character_in_several_tokens_waits_for_its_end(void **state)
{
    (void)state;
    assert_string_equal(run(true, (const char *const[]){" ", "\xe4", "\xbd", "\xa0", "!", NULL}), "|||\xe4\xbd\xa0|!|");
    assert_string_equal(run(false, (const char *const[]){"a", "\xe4", "b", NULL}), "a||\xef\xbf\xbd"
                                                                                   "b|");
    assert_string_equal(run(false, (const char *const[]){"a", "\xe4", NULL}), "a||\xef\xbf\xbd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_blank_at_the_start_is_dropped),
        cmocka_unit_test(a_character_in_several_tokens_waits_for_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tmp.h - a temporary folder for the tests of a program: setup and teardown of a test or of the group. */
#ifndef MM1_TESTS_TMP_H
#define MM1_TESTS_TMP_H

#include "support/check.h"

#include "base/file.h"

static char tmp[256];

static inline int make_tmp(void **state)
{
    (void)state;
    check_tmpdir(tmp, sizeof tmp);
    return 0;
}

static inline int remove_tmp(void **state)
{
    mm1_error err = {0};
    (void)state;
    check_ok(mm1_path_remove(tmp, &err), &err);
    return 0;
}

#endif

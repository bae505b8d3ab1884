/* number.c - see number.h. */
#include "base/number.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The C locale for the calling thread: a program that embeds mm1 may have set one with a decimal comma. */
static locale_t enter_c_locale(locale_t *c)
{
    *c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return *c != (locale_t)0 ? uselocale(*c) : (locale_t)0;
}

static void leave_c_locale(locale_t c, locale_t old)
{
    if (c != (locale_t)0) {
        (void)uselocale(old);
        freelocale(c);
    }
}

bool mm1_parse_f64(const char *text, double *out)
{
    /* [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. */
    const char *p = text;
    size_t n_digits = 0;
    p += *p == '+' || *p == '-';
    for (; *p >= '0' && *p <= '9'; p++) {
        n_digits++;
    }
    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9'; p++) {
            n_digits++;
        }
    }
    if (n_digits == 0) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        if (*p < '0' || *p > '9') {
            return false;
        }
        while (*p >= '0' && *p <= '9') {
            p++;
        }
    }
    if (*p != '\0') {
        return false;
    }
    locale_t c, old = enter_c_locale(&c);
    const double v = strtod(text, NULL);
    leave_c_locale(c, old);
    if (!isfinite(v)) {
        return false;
    }
    *out = v;
    return true;
}

bool mm1_parse_i64(const char *text, int64_t *out)
{
    const char *p = text + (*text == '+' || *text == '-');
    if (*p == '\0' || strspn(p, "0123456789") != strlen(p)) {
        return false;
    }
    errno = 0;
    const long long v = strtoll(text, NULL, 10);
    if (errno != 0) {
        return false;
    }
    *out = v;
    return true;
}

void mm1_format_f64(char text[32], double v)
{
    locale_t c, old = enter_c_locale(&c);
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, 32, "%.*g", digits, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    leave_c_locale(c, old);
}

/* error.c - status names, and messages that gain context on the way up. */
#include <mm1/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int exit_code;
    const char *text;
} statuses[MM1_STATUS_COUNT] = {
#define MM1_STATUS_ROW(name, exit_code, text) {"MM1_" #name, exit_code, text},
    MM1_STATUS_LIST(MM1_STATUS_ROW)
#undef MM1_STATUS_ROW
};

const char *mm1_status_name(mm1_status status)
{
    return (unsigned)status < MM1_STATUS_COUNT ? statuses[status].name : "?";
}

int mm1_status_exit_code(mm1_status status)
{
    return (unsigned)status < MM1_STATUS_COUNT ? statuses[status].exit_code : 1;
}

mm1_status mm1_error_set(mm1_error *err, mm1_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        err->status = status;
        (void)vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return status;
}

mm1_status mm1_error_wrap(mm1_error *err, mm1_status status, const char *format, ...)
{
    if (err != NULL) {
        char inner[MM1_ERROR_MESSAGE_BYTES];
        memcpy(inner, err->message, sizeof inner);
        inner[sizeof inner - 1] = '\0';

        va_list args;
        va_start(args, format);
        int n = vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < sizeof err->message) {
            (void)snprintf(err->message + n, sizeof err->message - (size_t)n, ": %s", inner);
        }
        err->status = status;
    }
    return status;
}

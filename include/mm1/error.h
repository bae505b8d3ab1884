/* error.h - what every fallible function of mm1 returns, and where it says what went wrong.
 *
 * A function that can fail returns an mm1_status and takes `mm1_error *err` as its last parameter (may be NULL).  On
 * failure it fills `err` with one sentence: what was being done, what was wrong (value and limit), where (path, byte
 * offset, line, key) and what to do.  The library never exits, aborts or prints because of data.
 *
 * Threads: an mm1_error belongs to one thread at a time. */
#ifndef MM1_ERROR_H
#define MM1_ERROR_H

#include <mm1/export.h>

MM1_BEGIN_DECLS

/*      name          exit code  meaning */
#define MM1_STATUS_LIST(X)                                                                                             \
    X(OK, 0, "done")                                                                                                   \
    X(E_ARG, 2, "invalid argument")                                                                                    \
    X(E_CONFIG, 2, "invalid recipe or option")                                                                         \
    X(E_FORMAT, 3, "malformed data")                                                                                   \
    X(E_UNSUPPORTED, 3, "well-formed but not supported")                                                               \
    X(E_LIMIT, 3, "over a stated limit")                                                                               \
    X(E_SHAPE, 3, "sizes do not agree")                                                                                \
    X(E_IO, 4, "input or output failed")                                                                               \
    X(E_NOMEM, 5, "out of memory")                                                                                     \
    X(E_STATE, 1, "called in the wrong order")                                                                         \
    X(E_NUMERIC, 1, "a value is not finite")                                                                           \
    X(E_CANCELLED, 130, "interrupted")                                                                                 \
    X(E_INTERNAL, 1, "a bug in mm1")

typedef enum mm1_status {
#define MM1_STATUS_ENUM(name, exit_code, text) MM1_##name,
    MM1_STATUS_LIST(MM1_STATUS_ENUM)
#undef MM1_STATUS_ENUM
        MM1_STATUS_COUNT
} mm1_status;

enum { MM1_ERROR_MESSAGE_BYTES = 1024 };

typedef struct mm1_error {
    mm1_status status;
    char message[MM1_ERROR_MESSAGE_BYTES]; /* UTF-8, NUL-terminated, no newline at the end; empty if status is MM1_OK */
} mm1_error;

/* "MM1_E_FORMAT" and the like; "?" for a number that is no status. */
MM1_API const char *mm1_status_name(mm1_status status);

/* Exit code of the command-line program for this status: 0, 1, 2, 3, 4, 5 or 130. */
MM1_API int mm1_status_exit_code(mm1_status status);

/* Fills `err` (ignored if NULL) and returns `status`, so that a failure is one line: return mm1_error_set(err, ...). */
MM1_API mm1_status mm1_error_set(mm1_error *err, mm1_status status, const char *format, ...) MM1_PRINTF(3, 4);

/* Prepends "<formatted>: " to the message on the way up; keeps and returns the status. */
MM1_API mm1_status mm1_error_wrap(mm1_error *err, mm1_status status, const char *format, ...) MM1_PRINTF(3, 4);

MM1_END_DECLS

#endif

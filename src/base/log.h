/* log.h - messages for a person, through a callback.  The library never prints by itself: without a callback, nothing.
 *
 * Threads: mm1_log() may be called from any thread; the callback is called under a lock.  Set the callback once, before
 * other threads start. */
#ifndef MM1_BASE_LOG_H
#define MM1_BASE_LOG_H

#include <mm1/export.h>

typedef enum mm1_log_level { MM1_LOG_ERROR, MM1_LOG_WARN, MM1_LOG_INFO, MM1_LOG_DEBUG } mm1_log_level;

/* message has no newline at its end and is valid during the call only. */
typedef void mm1_log_fn(void *ctx, mm1_log_level level, const char *message);

void mm1_log_set(mm1_log_fn *fn, void *ctx, mm1_log_level most_verbose);
void mm1_log(mm1_log_level level, const char *format, ...) MM1_PRINTF(2, 3);

#endif

/* log.c - see log.h. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static struct {
    mm1_log_fn *fn;
    void *ctx;
    mm1_log_level most_verbose;
    pthread_mutex_t lock;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};

void mm1_log_set(mm1_log_fn *fn, void *ctx, mm1_log_level most_verbose)
{
    (void)pthread_mutex_lock(&sink.lock);
    sink.fn = fn;
    sink.ctx = ctx;
    sink.most_verbose = most_verbose;
    (void)pthread_mutex_unlock(&sink.lock);
}

void mm1_log(mm1_log_level level, const char *format, ...)
{
    (void)pthread_mutex_lock(&sink.lock);
    if (sink.fn != NULL && level <= sink.most_verbose) {
        char message[2048];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(message, sizeof message, format, args);
        va_end(args);
        sink.fn(sink.ctx, level, message);
    }
    (void)pthread_mutex_unlock(&sink.lock);
}

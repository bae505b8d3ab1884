/* own_threads.c - see own_threads.h. */
#include "study/own_threads.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The beginning of a file of /proc/self/task/TID; "" if the thread has ended. */
static void read_about(const char *tid, const char *file, char *text, size_t size)
{
    char path[300];
    (void)snprintf(path, sizeof path, "/proc/self/task/%s/%s", tid, file);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, text, size - 1) : 0;
    text[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* Calls fn with the name of each thread, a number, until it returns false. */
static void each_thread(bool (*fn)(void *ctx, const char *tid), void *ctx)
{
    DIR *tasks = opendir("/proc/self/task");
    for (const struct dirent *d; tasks != NULL && (d = readdir(tasks)) != NULL;) {
        if (d->d_name[0] != '.' && !fn(ctx, d->d_name)) {
            break;
        }
    }
    if (tasks != NULL) {
        (void)closedir(tasks);
    }
}

static bool look_for_running(void *ctx, const char *tid)
{
    bool *runs = ctx;
    char text[256];
    if (strtol(tid, NULL, 10) == syscall(SYS_gettid)) {
        return true;
    }
    read_about(tid, "stat", text, sizeof text); /* "7 (name) R ...": a name may have brackets, numbers have none */
    const char *name_end = strrchr(text, ')');
    *runs = name_end != NULL && strncmp(name_end, ") R", 3) == 0;
    return !*runs;
}

bool mm1_other_threads_run(void)
{
    bool runs = false;
    each_thread(look_for_running, &runs);
    return runs;
}

static bool add_delay(void *ctx, const char *tid)
{
    char text[128];
    double *sum = ctx, delay = 0;
    read_about(tid, "schedstat", text, sizeof text); /* nanoseconds: run, waited to run; how often */
    if (sscanf(text, "%*f %lf", &delay) == 1) {
        *sum += 1e-9 * delay;
    }
    return true;
}

double mm1_threads_delay(void)
{
    double sum = 0;
    each_thread(add_delay, &sum);
    return sum;
}

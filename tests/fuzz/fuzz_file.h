/* fuzz_file.h - what the fuzz targets share: the bytes at hand as a file that has a path. */
#ifndef MM1_TESTS_FUZZ_FILE_H
#define MM1_TESTS_FUZZ_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* One input; what libFuzzer and replay.c call.  A defect ends the process: by a sanitizer, or by fuzz_check(). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_check(int holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "fuzz: %s\n", what);
        abort();
    }
}

/* What was read to get v cannot be left out by the compiler. */
static inline void fuzz_use(uint64_t v)
{
    volatile uint64_t keep = v;
    (void)keep;
}

typedef struct fuzz_file {
    int fd;
    char path[32];
} fuzz_file;

/* A file in memory. */
static inline fuzz_file fuzz_file_open(const uint8_t *data, size_t size)
{
    fuzz_file f = {.fd = memfd_create("fuzz", MFD_CLOEXEC)};
    fuzz_check(f.fd >= 0 && write(f.fd, data, size) == (ssize_t)size, "no file in memory");
    (void)snprintf(f.path, sizeof f.path, "/proc/self/fd/%d", f.fd);
    return f;
}

static inline void fuzz_file_close(const fuzz_file *f)
{
    (void)close(f->fd);
}

#endif

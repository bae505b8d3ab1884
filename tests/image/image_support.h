/* image_support.h - reading tests/data/image; shared by the tests of this folder. */
#ifndef MM1_TESTS_IMAGE_SUPPORT_H
#define MM1_TESTS_IMAGE_SUPPORT_H

#include "support/check.h"

#include "base/alloc.h"
#include "base/file.h"
#include <mm1/image.h>

static inline char *image_path(const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/image/%s", MM1_TEST_DATA, name);
    return path;
}

/* A whole picture file of tests/data/image/src; mm1_free() it. */
static inline char *image_bytes(const char *name, size_t *len)
{
    char path[1024], *bytes = NULL;
    mm1_error err = {0};
    (void)snprintf(path, sizeof path, "%s/image/src/%s", MM1_TEST_DATA, name);
    check_ok(mm1_file_read(path, 1 << 20, &bytes, len, &err), &err);
    return bytes;
}

static inline mm1_image image_load(const char *name)
{
    char path[1024];
    mm1_error err = {0};
    mm1_image image;
    (void)snprintf(path, sizeof path, "%s/image/src/%s", MM1_TEST_DATA, name);
    check_ok(mm1_image_read(path, NULL, &image, &err), &err);
    return image;
}

/* width x height px of noise. */
static inline mm1_image image_noise(int32_t width, int32_t height, uint64_t seed)
{
    mm1_image image;
    mm1_error err = {0};
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_TEST, 0);
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++) {
        image.rgb[i] = (uint8_t)(mm1_rng_uniform(&r) * 256);
    }
    return image;
}

#endif

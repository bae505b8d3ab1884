/* decode.c - tells the three formats apart, checks limits, and drives decoder and orientation. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include "base/file.h"
#include <inttypes.h>
#include <string.h>

const mm1_image_limits mm1_image_limits_default = {
    .max_bytes = INT64_C(64) << 20, .max_pixels = INT64_C(64) << 20, .max_side = 30000};

typedef struct codec {
    mm1_status (*size)(const mm1__image_source *src, int64_t *width, int64_t *height, mm1_error *err);
    int (*orientation)(const mm1__image_source *src);
    mm1_status (*decode)(const mm1__image_source *src, mm1_image *out, int *orientation, mm1_error *err);
} codec;

static const codec codecs[] = {
    [MM1_IMAGE_JPEG] = {mm1__jpeg_size, mm1__jpeg_orientation, mm1__jpeg_decode},
    [MM1_IMAGE_PNG] = {mm1__png_size, mm1__png_orientation, mm1__png_decode},
    [MM1_IMAGE_WEBP] = {mm1__webp_size, mm1__webp_orientation, mm1__webp_decode},
};

mm1_status mm1_image_init(mm1_image *out, int32_t width, int32_t height, mm1_error *err)
{
    *out = (mm1_image){0};
    if (width <= 0 || height <= 0) {
        return mm1_error_set(err, MM1_E_ARG, "an image of %" PRId32 " x %" PRId32 " px: both sides must be at least 1",
                             width, height);
    }
    uint8_t *rgb = mm1_alloc((size_t)width * (size_t)height, 3);
    if (rgb == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM,
                             "no memory for an image of %" PRId32 " x %" PRId32 " px (%zu MiB); use smaller pictures or"
                             " fewer workers",
                             width, height, (size_t)width * (size_t)height / ((1 << 20) / 3));
    }
    *out = (mm1_image){.width = width, .height = height, .rgb = rgb};
    return MM1_OK;
}

void mm1_image_deinit(mm1_image *image)
{
    mm1_free(image->rgb);
    *image = (mm1_image){0};
}

mm1_status mm1__image_check_size(const mm1__image_source *src, int64_t width, int64_t height, mm1_error *err)
{
    const mm1_image_limits *lim = src->limits;
    if (width <= 0 || height <= 0) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "%s: the header says %" PRId64 " x %" PRId64 " px; the file is damaged, fetch it again",
                             src->name, width, height);
    }
    if (width > lim->max_side || height > lim->max_side) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: %" PRId64 " x %" PRId64 " px is over the limit of %" PRId32
                             " px a side; shrink the picture, or raise max_side if you trust it",
                             src->name, width, height, lim->max_side);
    }
    if (width * height > lim->max_pixels) { /* no overflow: both sides fit 31 bits here */
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: %" PRId64 " x %" PRId64 " px is over the limit of %" PRId64
                             " pixels; shrink the picture, or raise max_pixels if you trust it",
                             src->name, width, height, lim->max_pixels);
    }
    return MM1_OK;
}

static bool starts_with(const mm1__image_source *src, size_t at, const char *magic, size_t n)
{
    return src->len >= at + n && memcmp(src->bytes + at, magic, n) == 0;
}

/* The name of a picture format that is not read here, so that the message can say what to do; NULL if unknown. */
static const char *foreign_format(const mm1__image_source *src)
{
    if (starts_with(src, 0, "GIF8", 4)) {
        return "GIF";
    }
    if (starts_with(src, 0, "BM", 2) && src->len >= 26) {
        return "BMP";
    }
    if (starts_with(src, 0, "II*\0", 4) || starts_with(src, 0, "MM\0*", 4)) {
        return "TIFF";
    }
    if (starts_with(src, 4, "ftypavif", 8)) {
        return "AVIF";
    }
    if (starts_with(src, 4, "ftyphei", 7) || starts_with(src, 4, "ftypmif1", 8)) {
        return "HEIF";
    }
    if (starts_with(src, 0, "\0\0\0\x0cjP  \r\n", 10)) {
        return "JPEG 2000";
    }
    if (starts_with(src, 0, "\0\0\0\x0cJXL ", 8) || starts_with(src, 0, "\xff\x0a", 2)) {
        return "JPEG XL";
    }
    return NULL;
}

static mm1_status recognise(const mm1__image_source *src, mm1_image_format *format, mm1_error *err)
{
    const int64_t max_bytes = src->limits->max_bytes;
    if (src->len == 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: the file is empty; fetch it again or leave it out", src->name);
    }
    if (max_bytes < 0 || src->len > (uint64_t)max_bytes) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: %zu bytes is over the limit of %" PRId64
                             " bytes for a picture; shrink it, or raise max_bytes if you trust it",
                             src->name, src->len, max_bytes);
    }
    if (starts_with(src, 0, "\xff\xd8\xff", 3)) {
        *format = MM1_IMAGE_JPEG;
    } else if (starts_with(src, 0, "\x89PNG\r\n\x1a\n", 8)) {
        *format = MM1_IMAGE_PNG;
    } else if (starts_with(src, 0, "RIFF", 4) && starts_with(src, 8, "WEBP", 4)) {
        *format = MM1_IMAGE_WEBP;
    } else {
        const char *foreign = foreign_format(src);
        if (foreign != NULL) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: a %s picture; convert it to JPEG, PNG or WebP", src->name,
                                 foreign);
        }
        return mm1_error_set(err, MM1_E_FORMAT, "%s: %zu bytes that are no JPEG, PNG or WebP picture; check the path",
                             src->name, src->len);
    }
    return MM1_OK;
}

static mm1__image_source source(const void *bytes, size_t len, const mm1_image_limits *limits, const char *name)
{
    return (mm1__image_source){.bytes = bytes,
                               .len = len,
                               .limits = limits != NULL ? limits : &mm1_image_limits_default,
                               .name = name != NULL ? name : "image",
                               .for_width = INT32_MAX,
                               .for_height = INT32_MAX};
}

mm1_status mm1_image_probe(const void *bytes, size_t len, const mm1_image_limits *limits, const char *name,
                           mm1_image_format *format, int32_t *width, int32_t *height, mm1_error *err)
{
    const mm1__image_source src = source(bytes, len, limits, name);
    mm1_image_format found = MM1_IMAGE_JPEG;
    int64_t w = 0, h = 0;

    mm1_status st = recognise(&src, &found, err);
    if (st == MM1_OK) {
        st = codecs[found].size(&src, &w, &h, err);
    }
    if (st == MM1_OK) {
        st = mm1__image_check_size(&src, w, h, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    if (format != NULL) {
        *format = found;
    }
    if (width != NULL) {
        *width = (int32_t)w;
    }
    if (height != NULL) {
        *height = (int32_t)h;
    }
    return MM1_OK;
}

mm1_status mm1_image_upright_size(const void *bytes, size_t len, const mm1_image_limits *limits, const char *name,
                                  int32_t *width, int32_t *height, mm1_error *err)
{
    const mm1__image_source src = source(bytes, len, limits, name);
    mm1_image_format format = MM1_IMAGE_JPEG;
    int32_t w = 0, h = 0;
    const mm1_status st = mm1_image_probe(bytes, len, limits, name, &format, &w, &h, err);
    if (st == MM1_OK) {
        const bool turned = codecs[format].orientation(&src) >= 5; /* stored rows are upright columns */
        *width = turned ? h : w;
        *height = turned ? w : h;
    }
    return st;
}

static mm1_status decode(const mm1__image_source *src, mm1_image *out, mm1_error *err)
{
    mm1_image_format format = MM1_IMAGE_JPEG;
    int orientation = 1;

    *out = (mm1_image){0};
    mm1_status st = recognise(src, &format, err);
    if (st == MM1_OK) {
        st = codecs[format].decode(src, out, &orientation, err);
    }
    if (st == MM1_OK) {
        st = mm1__image_orient(out, orientation, src->name, err);
    }
    if (st != MM1_OK) {
        mm1_image_deinit(out);
    }
    return st;
}

mm1_status mm1_image_decode(const void *bytes, size_t len, const mm1_image_limits *limits, const char *name,
                            mm1_image *out, mm1_error *err)
{
    const mm1__image_source src = source(bytes, len, limits, name);
    return decode(&src, out, err);
}

mm1_status mm1_image_decode_scaled(const void *bytes, size_t len, const mm1_image_limits *limits, const char *name,
                                   int32_t for_width, int32_t for_height, mm1_image *out, mm1_error *err)
{
    mm1__image_source src = source(bytes, len, limits, name);
    src.for_width = for_width;
    src.for_height = for_height;
    return decode(&src, out, err);
}

mm1_status mm1_image_read(const char *path, const mm1_image_limits *limits, mm1_image *out, mm1_error *err)
{
    const mm1_image_limits *lim = limits != NULL ? limits : &mm1_image_limits_default;
    char *bytes = NULL;
    size_t len = 0;

    *out = (mm1_image){0};
    mm1_status st = mm1_file_read(path, lim->max_bytes > 0 ? (size_t)lim->max_bytes : 0, &bytes, &len, err);
    if (st == MM1_E_LIMIT) {
        return mm1_error_set(err, st,
                             "%s: the file is over the limit of %" PRId64
                             " bytes for a picture; shrink it, or raise max_bytes if you trust it",
                             path, lim->max_bytes);
    }
    if (st == MM1_OK) {
        st = mm1_image_decode(bytes, len, lim, path, out, err);
    }
    mm1_free(bytes);
    return st;
}

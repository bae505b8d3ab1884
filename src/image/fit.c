/* fit.c - crop, the three ways to a square, and pixels to floats. */
#include "image/image_internal.h"

#include <inttypes.h>
#include <string.h>

mm1_status mm1_image_crop(const mm1_image *src, int32_t x, int32_t y, int32_t width, int32_t height, mm1_image *out,
                          mm1_error *err)
{
    *out = (mm1_image){0};
    if (x < 0 || y < 0 || width <= 0 || height <= 0 || x > src->width - width || y > src->height - height) {
        return mm1_error_set(err, MM1_E_ARG,
                             "cannot cut %" PRId32 " x %" PRId32 " px at (%" PRId32 ", %" PRId32 ") out of %" PRId32
                             " x %" PRId32 ": the rectangle must lie inside",
                             width, height, x, y, src->width, src->height);
    }
    const mm1_status st = mm1_image_init(out, width, height, err);
    for (size_t row = 0; st == MM1_OK && row < (size_t)height; row++) {
        memcpy(out->rgb + row * (size_t)width * 3, src->rgb + (((size_t)y + row) * (size_t)src->width + (size_t)x) * 3,
               (size_t)width * 3);
    }
    return st;
}

static mm1_status check_square(const mm1_image *src, int32_t r, mm1_error *err)
{
    return src->rgb != NULL && r > 0 ? MM1_OK
                                     : mm1_error_set(err, MM1_E_ARG,
                                                     "cannot fit an image of %" PRId32 " x %" PRId32
                                                     " px into a square of %" PRId32 ": every side must be at least 1",
                                                     src->width, src->height, r);
}

/* The longer side is scaled down to whole pixels; the cut has the odd pixel right and below. */
mm1_status mm1_image_crop_square(const mm1_image *src, int32_t shorter, int32_t r, mm1_image_filter filter,
                                 mm1_image *out, mm1_error *err)
{
    *out = (mm1_image){0};
    mm1_status st = check_square(src, r, err);
    if (st == MM1_OK && shorter < r) {
        st = mm1_error_set(err, MM1_E_ARG, "cannot cut %" PRId32 " px out of a shorter side of %" PRId32, r, shorter);
    }
    if (st != MM1_OK) {
        return st;
    }
    const bool wide = src->width > src->height;
    const int64_t short_px = wide ? src->height : src->width, long_px = wide ? src->width : src->height;
    const int64_t scaled = long_px * shorter / short_px;
    if (scaled > INT32_MAX) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "cannot scale %" PRId32 " x %" PRId32 " px to a shorter side of %" PRId32
                             ": the longer side would be %" PRId64 " px; fit it with padding",
                             src->width, src->height, shorter, scaled);
    }
    mm1__resample_job job = {.src = src,
                             .canvas_width = src->width,
                             .canvas_height = src->height,
                             .full_width = wide ? (int32_t)scaled : shorter,
                             .full_height = wide ? shorter : (int32_t)scaled,
                             .filter = filter};
    job.x = (job.full_width - r) / 2;
    job.y = (job.full_height - r) / 2;
    return mm1__image_resample(&job, r, r, out, err);
}

/* PAD puts the odd pixel of padding right and below. */
mm1_status mm1_image_fit_square(const mm1_image *src, int32_t r, mm1_image_fit fit, mm1_image_filter filter,
                                const uint8_t fill[3], mm1_image *out, mm1_error *err)
{
    if (fit == MM1_FIT_CROP) {
        return mm1_image_crop_square(src, r, r, filter, out, err);
    }
    mm1__resample_job job = {
        .src = src,
        .canvas_width = src->width,
        .canvas_height = src->height,
        .full_width = r,
        .full_height = r,
        .filter = filter,
        .fill = {fill != NULL ? fill[0] : 255, fill != NULL ? fill[1] : 255, fill != NULL ? fill[2] : 255}};
    *out = (mm1_image){0};
    const mm1_status st = check_square(src, r, err);
    if (st != MM1_OK) {
        return st;
    }
    if (fit == MM1_FIT_PAD) {
        const int32_t side = src->width > src->height ? src->width : src->height;
        job.left = (side - src->width) / 2;
        job.top = (side - src->height) / 2;
        job.canvas_width = job.canvas_height = side;
    }
    return mm1__image_resample(&job, r, r, out, err);
}

/* One colour: rgb [n, 3] from its byte on. */
static void normalize_plane(float *restrict plane, const uint8_t *restrict rgb, size_t n, float mean, float std)
{
    float table[256]; /* a byte has only so many values */
    for (int v = 0; v < 256; v++) {
        table[v] = ((float)v / 255.0F - mean) / std;
    }
    size_t i = 0;
    for (; i + 4 <= n; i += 4, rgb += 12) { /* stores of single numbers would hold up the loads that follow */
        const float four[4] = {table[rgb[0]], table[rgb[3]], table[rgb[6]], table[rgb[9]]};
        memcpy(plane + i, four, sizeof four);
    }
    for (; i < n; i++, rgb += 3) {
        plane[i] = table[rgb[0]];
    }
}

void mm1_image_normalize(float *pixels, const mm1_image *image, const float mean[3], const float std[3])
{
    const size_t n = (size_t)image->width * (size_t)image->height;
    for (size_t c = 0; c < 3; c++) {
        normalize_plane(pixels + c * n, image->rgb + c, n, mean[c], std[c]);
    }
}

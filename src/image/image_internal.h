/* image_internal.h - what the files of src/image share: the three decoders behind mm1_image_decode(), orientation, and
 * the windowed resampler under mm1_image_resize() and mm1_image_fit_square().
 *
 * Decoders: `bytes` is untrusted.  Every one checks the size in the header against the limits before it takes memory
 * for pixels, fills `out` (the empty image on failure) with alpha laid on white, and gives the EXIF orientation, 1..8,
 * which the caller applies.  Messages begin with `name`.
 *
 * Threads: all functions are thread-safe. */
#ifndef MM1_IMAGE_INTERNAL_H
#define MM1_IMAGE_INTERNAL_H

#include <mm1/image.h>
#include <stdbool.h>

/* One picture on its way in. */
typedef struct mm1__image_source {
    const uint8_t *bytes; /* borrowed */
    size_t len;
    const mm1_image_limits *limits;
    const char *name;
    int32_t for_width, for_height; /* px that the upright picture will be resampled to; INT32_MAX: it is wanted whole */
} mm1__image_source;

/* E_FORMAT for a size that is not positive, E_LIMIT for one over max_side or max_pixels. */
MM1_NODISCARD mm1_status mm1__image_check_size(const mm1__image_source *src, int64_t width, int64_t height,
                                               mm1_error *err);

/* Size of the stored picture; reads no further than needed. */
MM1_NODISCARD mm1_status mm1__jpeg_size(const mm1__image_source *src, int64_t *width, int64_t *height, mm1_error *err);
MM1_NODISCARD mm1_status mm1__png_size(const mm1__image_source *src, int64_t *width, int64_t *height, mm1_error *err);
MM1_NODISCARD mm1_status mm1__webp_size(const mm1__image_source *src, int64_t *width, int64_t *height, mm1_error *err);

/* The EXIF orientation, 1..8, without decoding; 1 where none can be read. */
int mm1__jpeg_orientation(const mm1__image_source *src);
int mm1__png_orientation(const mm1__image_source *src);
int mm1__webp_orientation(const mm1__image_source *src);

MM1_NODISCARD mm1_status mm1__jpeg_decode(const mm1__image_source *src, mm1_image *out, int *orientation,
                                          mm1_error *err);
MM1_NODISCARD mm1_status mm1__png_decode(const mm1__image_source *src, mm1_image *out, int *orientation,
                                         mm1_error *err);
MM1_NODISCARD mm1_status mm1__webp_decode(const mm1__image_source *src, mm1_image *out, int *orientation,
                                          mm1_error *err);

/* The Orientation tag of an EXIF block (a TIFF file, with or without "Exif\0\0" before it): 1..8, and 1 when it is
 * absent or the block is damaged. */
int mm1__exif_orientation(const uint8_t *exif, size_t len);

/* Turns the picture upright in place (the pixels may move to a new block).  On failure the image is left as it was. */
MM1_NODISCARD mm1_status mm1__image_orient(mm1_image *image, int orientation, const char *name, mm1_error *err);

/* rgb [n, 3] = rgba [n, 4] laid on white, with Pillow's rounding.  rgb and rgba do not overlap. */
void mm1__rgba_on_white(uint8_t *rgb, const uint8_t *rgba, size_t n);

/* One 8-bit sample v of opacity a on white: the arithmetic of Pillow's alpha_composite() over an opaque 255. */
static inline uint8_t mm1__on_white(uint8_t v, uint8_t a)
{
    const uint32_t over = (uint32_t)a * 128, under = 255u * 128 - over; /* weights with 7 fractional bits, sum 255 */
    const uint32_t t = v * over + 255 * under + (0x80u << 7);
    return a == 0 ? 255 : (uint8_t)((((t >> 8) + t) >> 8) >> 7);
}

/* The picture to be resampled is `src` laid at (left, top) on a canvas of one colour; the canvas is scaled to
 * full_width x full_height, and only the window at (x, y) of the size of the output is computed.  So neither padding
 * nor a centre cut of a very long picture needs memory for what is not kept. */
typedef struct mm1__resample_job {
    const mm1_image *src;
    int32_t left, top, canvas_width, canvas_height;
    int32_t full_width, full_height;
    int32_t x, y;
    mm1_image_filter filter;
    uint8_t fill[3]; /* of the canvas */
} mm1__resample_job;

MM1_NODISCARD mm1_status mm1__image_resample(const mm1__resample_job *job, int32_t width, int32_t height,
                                             mm1_image *out, mm1_error *err);

#endif

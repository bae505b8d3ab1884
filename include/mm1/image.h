/* image.h - pictures from outside: probed, decoded under limits, oriented, laid on white, resampled, normalised.
 *
 * JPEG, PNG and WebP (first frame) are recognised by their content, never by their name.  The result is what Pillow
 * gives for ImageOps.exif_transpose(), alpha composited on white, convert("RGB"): grey, palette, 16-bit and CMYK
 * included.  Limits are checked against the header before any pixel memory is taken.  mm1_image_decode_scaled() gives
 * up that equality for speed.
 *
 * Threads: all functions are thread-safe; an mm1_image belongs to one thread at a time. */
#ifndef MM1_IMAGE_H
#define MM1_IMAGE_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

MM1_BEGIN_DECLS

/* 8-bit RGB; rows follow each other without padding: rgb [height, width, 3].  A zeroed struct is the empty image. */
typedef struct mm1_image {
    int32_t width, height; /* px */
    uint8_t *rgb;          /* owned; freed by mm1_image_deinit() */
} mm1_image;

typedef struct mm1_image_limits {
    int64_t max_bytes;  /* of the file */
    int64_t max_pixels; /* width * height */
    int32_t max_side;   /* px */
} mm1_image_limits;

typedef enum mm1_image_format { MM1_IMAGE_JPEG, MM1_IMAGE_PNG, MM1_IMAGE_WEBP } mm1_image_format;

typedef enum mm1_image_filter { MM1_FILTER_BILINEAR, MM1_FILTER_BICUBIC, MM1_FILTER_LANCZOS } mm1_image_filter;

/* How a picture of any shape becomes a square of r x r px. */
typedef enum mm1_image_fit {
    MM1_FIT_SQUASH, /* resize both sides to r; the aspect ratio is lost (default) */
    MM1_FIT_PAD,    /* centre on a square of the longer side and one colour, then resize */
    MM1_FIT_CROP    /* resize the shorter side to r, then cut the centre out */
} mm1_image_fit;

/* 64 MiB, 64 Mpixel, 30,000 px. */
MM1_API extern const mm1_image_limits mm1_image_limits_default;

/* Reads the header only.  Width and height are those of the stored picture, before orientation.  Any out-pointer may be
 * NULL.  MM1_E_FORMAT (not a picture, header cut), MM1_E_LIMIT (over a limit). */
MM1_API MM1_NODISCARD mm1_status mm1_image_probe(const void *bytes, size_t len, const mm1_image_limits *limits,
                                                 const char *name, mm1_image_format *format, int32_t *width,
                                                 int32_t *height, mm1_error *err);

/* The same for the picture as mm1_image_decode() will give it: width and height after orientation. */
MM1_API MM1_NODISCARD mm1_status mm1_image_upright_size(const void *bytes, size_t len, const mm1_image_limits *limits,
                                                        const char *name, int32_t *width, int32_t *height,
                                                        mm1_error *err);

/* Decodes, orients by EXIF, lays alpha on white.  `name` (a path, a member of a shard) only appears in messages.
 * On failure *out is the empty image.  A picture whose data is cut short is MM1_E_FORMAT, not a grey rectangle. */
MM1_API MM1_NODISCARD mm1_status mm1_image_decode(const void *bytes, size_t len, const mm1_image_limits *limits,
                                                  const char *name, mm1_image *out, mm1_error *err);
/* The same for a picture that will be resampled to for_width x for_height px: a JPEG is decoded at 1/8, 1/4 or 1/2 of
 * its sides (rounded up) if both, turned upright, stay at least 5/4 of those.  That takes a fraction of the time, and
 * the resampled pixels are close to those of a whole decode, not equal: 43 to 60 dB PSNR on photographs of 1 to 18
 * Mpixel at 378 x 378 px (bench/jpeg.sh).  Where no smaller size will do, and for PNG and WebP, the result is
 * mm1_image_decode()'s. Limits hold for the stored size. */
MM1_API MM1_NODISCARD mm1_status mm1_image_decode_scaled(const void *bytes, size_t len, const mm1_image_limits *limits,
                                                         const char *name, int32_t for_width, int32_t for_height,
                                                         mm1_image *out, mm1_error *err);
MM1_API MM1_NODISCARD mm1_status mm1_image_read(const char *path, const mm1_image_limits *limits, mm1_image *out,
                                                mm1_error *err);
/* width x height px, not cleared. */
MM1_API MM1_NODISCARD mm1_status mm1_image_init(mm1_image *out, int32_t width, int32_t height, mm1_error *err);
/* Accepts the empty image. */
MM1_API void mm1_image_deinit(mm1_image *image);

/* Antialiased resampling, bit-equal to Pillow's Image.resize() on 8-bit RGB (22-bit fixed-point weights, horizontal
 * pass first, 8 bit between the passes, bicubic a = -0.5, Lanczos a = 3; the same size is a copy), up to version 12: 13
 * takes the vertical pass first where the height shrinks much more than the width.  out must not be src. */
MM1_API MM1_NODISCARD mm1_status mm1_image_resize(const mm1_image *src, int32_t width, int32_t height,
                                                  mm1_image_filter filter, mm1_image *out, mm1_error *err);
/* Copies the rectangle [x, x + width) x [y, y + height), which must lie inside. */
MM1_API MM1_NODISCARD mm1_status mm1_image_crop(const mm1_image *src, int32_t x, int32_t y, int32_t width,
                                                int32_t height, mm1_image *out, mm1_error *err);

/* A square of r x r px by `fit`; `fill`: the colour that MM1_FIT_PAD adds, NULL: white. */
MM1_API MM1_NODISCARD mm1_status mm1_image_fit_square(const mm1_image *src, int32_t r, mm1_image_fit fit,
                                                      mm1_image_filter filter, const uint8_t fill[3], mm1_image *out,
                                                      mm1_error *err);

/* Resizes the shorter side to `shorter` px, r or more, and cuts r x r px out of the centre; with `shorter` = r this is
 * MM1_FIT_CROP. */
MM1_API MM1_NODISCARD mm1_status mm1_image_crop_square(const mm1_image *src, int32_t shorter, int32_t r,
                                                       mm1_image_filter filter, mm1_image *out, mm1_error *err);

/* pixels [3, height, width] f32 = (rgb / 255 - mean[c]) / std[c]. */
MM1_API void mm1_image_normalize(float *pixels, const mm1_image *image, const float mean[3], const float std[3]);

/* Encoded bytes, freed by the caller with mm1_free(). */
MM1_API MM1_NODISCARD mm1_status mm1_image_encode_png(const mm1_image *image, uint8_t **bytes, size_t *len,
                                                      mm1_error *err);
MM1_API MM1_NODISCARD mm1_status mm1_image_encode_jpeg(const mm1_image *image, int quality, uint8_t **bytes,
                                                       size_t *len, mm1_error *err);

MM1_END_DECLS

#endif

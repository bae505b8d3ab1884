/* encode.c - PNG and JPEG out of memory: for the server's replies, contact sheets and generated data. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <inttypes.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>
#include <turbojpeg.h>

enum { JPEG_MAX_SIDE = 65500 };

typedef struct writer {
    mm1_buf buf;
    bool short_of_memory;
    char why[160];
    png_structp png;
    png_infop info;
} writer;

static mm1_status check_image(const mm1_image *image, mm1_error *err)
{
    if (image->rgb == NULL || image->width <= 0 || image->height <= 0) {
        return mm1_error_set(err, MM1_E_ARG, "cannot encode an empty image; decode or fill one first");
    }
    return MM1_OK;
}

static png_voidp writer_get_memory(png_structp png, png_alloc_size_t n)
{
    writer *w = png_get_mem_ptr(png);
    void *p = mm1_alloc(n, 1);
    if (p == NULL && w != NULL) {
        w->short_of_memory = true;
    }
    return p;
}

static void writer_put_memory(png_structp png, png_voidp p)
{
    (void)png;
    mm1_free(p);
}

_Noreturn static void on_error(png_structp png, png_const_charp message)
{
    writer *w = png_get_error_ptr(png);
    (void)snprintf(w->why, sizeof w->why, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_write(png_structp png, png_bytep bytes, size_t n)
{
    writer *w = png_get_io_ptr(png);
    mm1_buf_append(&w->buf, bytes, n);
    if (mm1_buf_status(&w->buf) != MM1_OK) {
        w->short_of_memory = true;
        png_error(png, "no memory for the output");
    }
}

static void on_flush(png_structp png)
{
    (void)png;
}

static mm1_status write_failed(const writer *w, const mm1_image *image, mm1_error *err)
{
    if (w->short_of_memory || w->png == NULL || w->info == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to encode a PNG of %" PRId32 " x %" PRId32 " px",
                             image->width, image->height);
    }
    return mm1_error_set(err, MM1_E_INTERNAL, "cannot encode a PNG of %" PRId32 " x %" PRId32 " px: %s", image->width,
                         image->height, w->why);
}

/* Left by longjmp on failure; owns nothing. */
static mm1_status write_image(writer *w, const mm1_image *image, mm1_error *err)
{
    if (setjmp(png_jmpbuf(w->png)) != 0) {
        return write_failed(w, image, err);
    }
    png_set_user_limits(w->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_write_fn(w->png, w, on_write, on_flush);
    png_set_IHDR(w->png, w->info, (png_uint_32)image->width, (png_uint_32)image->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(w->png, w->info);
    for (size_t y = 0; y < (size_t)image->height; y++) {
        png_write_row(w->png, image->rgb + y * (size_t)image->width * 3);
    }
    png_write_end(w->png, w->info);
    return MM1_OK;
}

mm1_status mm1_image_encode_png(const mm1_image *image, uint8_t **bytes, size_t *len, mm1_error *err)
{
    writer w = {0};

    *bytes = NULL;
    *len = 0;
    mm1_status st = check_image(image, err);
    if (st != MM1_OK) {
        return st;
    }
    mm1_buf_init(&w.buf, SIZE_MAX / 4); /* bounded by the picture, which is ours */
    w.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning, &w, writer_get_memory,
                                      writer_put_memory);
    w.info = w.png != NULL ? png_create_info_struct(w.png) : NULL;
    st = w.info != NULL ? write_image(&w, image, err) : write_failed(&w, image, err);
    png_destroy_write_struct(&w.png, &w.info);
    if (st == MM1_OK) {
        *len = w.buf.len;
        *bytes = (uint8_t *)mm1_buf_take(&w.buf);
    }
    mm1_buf_deinit(&w.buf);
    return st;
}

mm1_status mm1_image_encode_jpeg(const mm1_image *image, int quality, uint8_t **bytes, size_t *len, mm1_error *err)
{
    tjhandle tj = NULL;
    uint8_t *room = NULL;

    *bytes = NULL;
    *len = 0;
    mm1_status st = check_image(image, err);
    if (st != MM1_OK) {
        return st;
    }
    if (quality < 1 || quality > 100) {
        return mm1_error_set(err, MM1_E_ARG, "JPEG quality %d: use 1 (small) to 100 (good)", quality);
    }
    if (image->width > JPEG_MAX_SIDE || image->height > JPEG_MAX_SIDE) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "a JPEG cannot be %" PRId32 " x %" PRId32 " px: at most %d a side; use PNG", image->width,
                             image->height, JPEG_MAX_SIDE);
    }
    unsigned long n = tjBufSize(image->width, image->height, TJSAMP_420);
    tj = tjInitCompress();
    room = n != (unsigned long)-1 ? mm1_alloc(n, 1) : NULL;
    if (tj == NULL || room == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to encode a JPEG of %" PRId32 " x %" PRId32 " px", image->width,
                           image->height);
        goto out;
    }
    if (tjCompress2(tj, image->rgb, image->width, 0, image->height, TJPF_RGB, &room, &n, TJSAMP_420, quality,
                    TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT) != 0) {
        st = mm1_error_set(err, MM1_E_INTERNAL, "cannot encode a JPEG of %" PRId32 " x %" PRId32 " px: %s",
                           image->width, image->height, tjGetErrorStr2(tj));
        goto out;
    }
    *bytes = mm1_realloc(room, n, 1); /* the room is for the worst case */
    if (*bytes == NULL) {
        *bytes = room; /* too long, but whole */
    }
    room = NULL;
    *len = n;
out:
    mm1_free(room);
    if (tj != NULL) {
        (void)tjDestroy(tj);
    }
    return st;
}

/* png.c - PNG through libpng, with samples turned to RGB as Pillow turns them.
 *
 * libpng only unpacks, checks and unfilters here; what the samples mean is decided below, because Pillow differs from
 * libpng (and from the specification) in ways that a model trained elsewhere has seen:
 *   - 16-bit grey is clipped to 255, not scaled: anything from 255 up is white;
 *   - 16-bit RGB, RGBA and grey with alpha keep the high byte;
 *   - a transparent colour (tRNS of grey and RGB) is compared by its low byte with the 8-bit sample, after grey of 1, 2
 *     or 4 bits was spread over 0..255;
 *   - a palette index beyond the palette is that grey;
 *   - gamma, colour profiles and background are ignored.
 * Orientation is read from eXIf (the last one); the XMP and "Raw profile" text forms are not.
 *
 * libpng reports errors by longjmp: only read_image() and mm1_image_encode_png() call setjmp, each keeps what must
 * survive in a struct of its caller, and no other function between them and libpng owns anything. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

enum { SIGNATURE_BYTES = 8, HEADER_BYTES = 8 + 8 + 13 + 4 };

typedef struct reader {
    const mm1__image_source *src;
    size_t at; /* bytes already given to libpng */
    mm1_status status;
    char why[160]; /* libpng's message */
    png_structp png;
    png_infop info;
    png_bytep *rows; /* [height] pointers, into out->rgb or `raw` */
    uint8_t *raw;    /* samples as libpng gives them: all rows if interlaced, else one */
} reader;

/* How one row of samples becomes RGB. */
typedef struct samples {
    int color_type, bit_depth, channels; /* as given by libpng, bit_depth 8 or 16 */
    bool has_key;                        /* one colour is transparent */
    uint8_t key[3];
    uint8_t scale;           /* spreads grey of fewer than 8 bits over 0..255 */
    uint8_t palette[256][3]; /* laid on white already */
} samples;

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

mm1_status mm1__png_size(const mm1__image_source *src, int64_t *width, int64_t *height, mm1_error *err)
{
    if (src->len < HEADER_BYTES || be32(src->bytes + SIGNATURE_BYTES) != 13 ||
        memcmp(src->bytes + SIGNATURE_BYTES + 4, "IHDR", 4) != 0) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "%s: no whole PNG header in %zu bytes; the file is cut short or damaged, fetch it again",
                             src->name, src->len);
    }
    *width = be32(src->bytes + 16);
    *height = be32(src->bytes + 20);
    return MM1_OK;
}

/* Orientation from the last eXIf chunk: libpng keeps none that comes after the pixels. */
int mm1__png_orientation(const mm1__image_source *src)
{
    int orientation = 1;
    for (size_t at = SIGNATURE_BYTES; src->len - at >= 12;) {
        const size_t n = be32(src->bytes + at);
        if (n > src->len - at - 12) {
            break;
        }
        if (memcmp(src->bytes + at + 4, "eXIf", 4) == 0) {
            orientation = mm1__exif_orientation(src->bytes + at + 8, n);
        }
        at += 12 + n;
    }
    return orientation;
}

static png_voidp png_get_memory(png_structp png, png_alloc_size_t n)
{
    reader *r = png_get_mem_ptr(png);
    void *p = mm1_alloc(n, 1);
    if (p == NULL && r != NULL) {
        r->status = MM1_E_NOMEM;
    }
    return p;
}

static void png_put_memory(png_structp png, png_voidp p)
{
    (void)png;
    mm1_free(p);
}

_Noreturn static void on_error(png_structp png, png_const_charp message)
{
    reader *r = png_get_error_ptr(png);
    if (r->status == MM1_OK) {
        r->status = MM1_E_FORMAT;
    }
    (void)snprintf(r->why, sizeof r->why, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep dst, size_t n)
{
    reader *r = png_get_io_ptr(png);
    if (n > r->src->len - r->at) {
        png_error(png, "the file is cut short");
    }
    memcpy(dst, r->src->bytes + r->at, n);
    r->at += n;
}

static void gather_transparency(const reader *r, samples *s, int stored_depth)
{
    png_bytep alpha = NULL;
    png_color_16p key = NULL;
    png_colorp colors = NULL;
    int n_alpha = 0, n_colors = 0;

    (void)png_get_tRNS(r->png, r->info, &alpha, &n_alpha, &key);
    if (s->color_type == PNG_COLOR_TYPE_PALETTE) {
        (void)png_get_PLTE(r->png, r->info, &colors, &n_colors);
        for (int i = 0; i < 256; i++) {
            const uint8_t a = alpha != NULL && i < n_alpha ? alpha[i] : 255, grey = (uint8_t)i;
            const bool known = i < n_colors;
            s->palette[i][0] = mm1__on_white(known ? colors[i].red : grey, a);
            s->palette[i][1] = mm1__on_white(known ? colors[i].green : grey, a);
            s->palette[i][2] = mm1__on_white(known ? colors[i].blue : grey, a);
        }
    } else if (key != NULL && s->color_type == PNG_COLOR_TYPE_GRAY) {
        s->has_key = true;
        s->key[0] = (uint8_t)key->gray;
    } else if (key != NULL && s->color_type == PNG_COLOR_TYPE_RGB) {
        s->has_key = true;
        s->key[0] = (uint8_t)key->red;
        s->key[1] = (uint8_t)key->green;
        s->key[2] = (uint8_t)key->blue;
    }
    s->scale =
        s->color_type == PNG_COLOR_TYPE_GRAY && stored_depth < 8 ? (uint8_t)(255 / ((1 << stored_depth) - 1)) : 1;
}

static void convert_row(uint8_t *rgb, const uint8_t *in, size_t width, const samples *s)
{
    for (size_t x = 0; x < width; x++, rgb += 3) {
        switch (s->color_type) {
        case PNG_COLOR_TYPE_PALETTE: memcpy(rgb, s->palette[in[x]], 3); break;
        case PNG_COLOR_TYPE_GRAY: {
            const uint8_t v = s->bit_depth == 16 ? (in[2 * x] != 0 ? 255 : in[2 * x + 1]) : (uint8_t)(in[x] * s->scale);
            memset(rgb, s->has_key && v == s->key[0] ? 255 : v, 3);
            break;
        }
        case PNG_COLOR_TYPE_GRAY_ALPHA: memset(rgb, mm1__on_white(in[2 * x], in[2 * x + 1]), 3); break;
        case PNG_COLOR_TYPE_RGB:
            if (s->has_key && memcmp(in + 3 * x, s->key, 3) == 0) {
                memset(rgb, 255, 3);
            } else {
                memcpy(rgb, in + 3 * x, 3);
            }
            break;
        default: mm1__rgba_on_white(rgb, in + 4 * x, 1); break;
        }
    }
}

static mm1_status out_of_memory(const reader *r, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to decode the PNG; use smaller pictures or fewer workers",
                         r->src->name);
}

/* Allocates what the pixels need, once libpng knows the layout of a row. */
static mm1_status take_memory(reader *r, const samples *s, size_t row_bytes, bool interlaced, mm1_image *out,
                              mm1_error *err)
{
    const size_t width = png_get_image_width(r->png, r->info), height = png_get_image_height(r->png, r->info);
    const bool direct = s->color_type == PNG_COLOR_TYPE_RGB && !s->has_key;

    mm1_status st = mm1_image_init(out, (int32_t)width, (int32_t)height, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s", r->src->name);
    }
    if (!direct) {
        r->raw = mm1_alloc(interlaced ? height : 1, row_bytes);
    }
    r->rows = mm1_alloc(height, sizeof *r->rows);
    if ((!direct && r->raw == NULL) || r->rows == NULL) {
        return out_of_memory(r, err);
    }
    for (size_t y = 0; y < height; y++) {
        r->rows[y] = direct ? out->rgb + y * width * 3 : r->raw + (interlaced ? y * row_bytes : 0);
    }
    return MM1_OK;
}

/* The part that libpng may leave by longjmp; everything it takes is in *r and *out, and freed by the caller. */
static mm1_status read_image(reader *r, samples *s, mm1_image *out, mm1_error *err)
{
    if (setjmp(png_jmpbuf(r->png)) != 0) {
        if (r->status == MM1_E_NOMEM) {
            return out_of_memory(r, err);
        }
        return mm1_error_set(err, r->status,
                             "%s: cannot decode the PNG at byte %zu of %zu: %s; fetch it again or leave it"
                             " out",
                             r->src->name, r->at, r->src->len, r->why);
    }
    png_set_read_fn(r->png, r, on_read);
    png_set_user_limits(r->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours were checked already */
    /* Text, profiles and the like may unpack to megabytes and are of no use here. */
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(r->png, r->info);

    const int stored_depth = png_get_bit_depth(r->png, r->info);
    const bool interlaced = png_get_interlace_type(r->png, r->info) != PNG_INTERLACE_NONE;
    s->color_type = png_get_color_type(r->png, r->info);
    gather_transparency(r, s, stored_depth);
    if (stored_depth < 8) {
        png_set_packing(r->png);
    } else if (stored_depth == 16 && s->color_type != PNG_COLOR_TYPE_GRAY) {
        png_set_strip_16(r->png);
    }
    const int n_passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    s->bit_depth = png_get_bit_depth(r->png, r->info);
    s->channels = png_get_channels(r->png, r->info);

    const mm1_status st = take_memory(r, s, png_get_rowbytes(r->png, r->info), interlaced, out, err);
    if (st != MM1_OK) {
        return st;
    }
    const size_t width = (size_t)out->width, height = (size_t)out->height;
    for (int pass = 0; pass < n_passes; pass++) {
        for (size_t y = 0; y < height; y++) {
            png_read_row(r->png, r->rows[y], NULL);
            if (pass == n_passes - 1 && r->raw != NULL) {
                convert_row(out->rgb + y * width * 3, r->rows[y], width, s);
            }
        }
    }
    return MM1_OK;
}

mm1_status mm1__png_decode(const mm1__image_source *src, mm1_image *out, int *orientation, mm1_error *err)
{
    reader r = {.src = src};
    samples s = {0};
    int64_t width = 0, height = 0;

    mm1_status st = mm1__png_size(src, &width, &height, err);
    if (st == MM1_OK) {
        st = mm1__image_check_size(src, width, height, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    r.png =
        png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning, &r, png_get_memory, png_put_memory);
    r.info = r.png != NULL ? png_create_info_struct(r.png) : NULL;
    st = r.info != NULL ? read_image(&r, &s, out, err) : out_of_memory(&r, err);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    mm1_free(r.rows);
    mm1_free(r.raw);
    if (st != MM1_OK) {
        mm1_image_deinit(out);
        return st;
    }
    *orientation = mm1__png_orientation(src);
    return MM1_OK;
}

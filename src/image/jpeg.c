/* jpeg.c - JPEG through TurboJPEG.
 *
 * The markers are walked here first: it costs little, and gives the size before anything is decoded, the EXIF block,
 * the number of scans (a progressive file of a few bytes a scan can ask for hours of work) and whether the file has an
 * end. TurboJPEG itself treats a cut file as a warning and fills in grey; here, as in Pillow, it is an error.  Other
 * damage that the decoder survives is accepted, as Pillow accepts it.
 *
 * Where the caller needs less than the stored size, the decoder's own scaling gives it: 1, 2 or 4 pixels of a block's 8
 * in each direction, for which it has vector code; its other factors are plain C, and slower than they save.
 *
 * Four components are taken for Adobe's inverted CMYK or YCCK whatever the markers say, which is what Pillow does. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include <inttypes.h>
#include <string.h>
#include <turbojpeg.h>

/* All scans together may visit this many times the pixels of the largest picture allowed. */
enum { MAX_SCANS_OF_LARGEST = 32 };

typedef struct jpeg_info {
    int64_t width, height;
    int precision, n_components; /* 0 until the frame header was seen */
    int frame_marker;            /* 0xc0.. */
    int64_t n_scans;
    const uint8_t *exif; /* borrowed; NULL if there is none */
    size_t exif_len;
    bool complete; /* an end marker was seen */
} jpeg_info;

/* n/8 of a side, as the decoder rounds it. */
static int32_t scaled(int64_t side, int n)
{
    return (int32_t)((side * n + 7) / 8);
}

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static bool is_frame_marker(int marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* Position after the next marker, whose code goes to *marker; 0 if there is none.  Skips stray bytes, and with
 * `in_scan` also restart markers. */
static size_t next_marker(const uint8_t *p, size_t at, size_t len, bool in_scan, int *marker)
{
    while (at < len) {
        const uint8_t *ff = memchr(p + at, 0xff, len - at);
        if (ff == NULL) {
            return 0;
        }
        at = (size_t)(ff - p);
        while (at < len && p[at] == 0xff) {
            at++;
        }
        if (at == len) {
            return 0;
        }
        const int code = p[at++];
        if (code != 0 && !(in_scan && code >= 0xd0 && code <= 0xd7)) {
            *marker = code;
            return at;
        }
    }
    return 0;
}

typedef enum walk_end { TO_FRAME, TO_SCAN, TO_END } walk_end;

/* Walks to the frame header, the first scan or the end marker. */
static void walk(const uint8_t *p, size_t len, walk_end until, jpeg_info *info)
{
    size_t at = 2; /* after the start marker, which recognise() has seen */
    bool in_scan = false;

    *info = (jpeg_info){0};
    for (;;) {
        int marker = 0;
        at = next_marker(p, at, len, in_scan, &marker);
        if (at == 0) {
            return;
        }
        if (marker == 0xd9) {
            info->complete = true;
            return;
        }
        if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
            continue; /* no segment follows */
        }
        if (len - at < 2) {
            return;
        }
        const size_t seg_len = be16(p + at);
        if (seg_len < 2 || seg_len > len - at) {
            return;
        }
        const uint8_t *seg = p + at + 2;
        if (is_frame_marker(marker) && seg_len >= 8 && info->n_components == 0) {
            info->frame_marker = marker;
            info->precision = seg[0];
            info->height = be16(seg + 1);
            info->width = be16(seg + 3);
            info->n_components = seg[5];
            if (until == TO_FRAME) {
                return;
            }
        } else if (marker == 0xe1 && info->exif == NULL && info->n_scans == 0 && seg_len >= 8 &&
                   memcmp(seg, "Exif\0", 5) == 0) {
            info->exif = seg;
            info->exif_len = seg_len - 2;
        } else if (marker == 0xda) {
            if (until == TO_SCAN) {
                return;
            }
            info->n_scans++;
            in_scan = true;
        }
        at += seg_len;
    }
}

static mm1_status cut_short(const mm1__image_source *src, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_FORMAT,
                         "%s: the JPEG is cut short (%zu bytes without an end marker); fetch it again or leave it out",
                         src->name, src->len);
}

static mm1_status check_frame(const mm1__image_source *src, const jpeg_info *info, mm1_error *err)
{
    if (info->n_components == 0) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "%s: no JPEG frame header in %zu bytes; the file is cut short or damaged, fetch it again",
                             src->name, src->len);
    }
    if (info->frame_marker > 0xc2 && info->frame_marker != 0xc9 && info->frame_marker != 0xca) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED,
                             "%s: a lossless or hierarchical JPEG (frame type 0x%x); save it as a baseline JPEG or PNG",
                             src->name, (unsigned)info->frame_marker);
    }
    if (info->precision != 8) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: a JPEG with %d bits a sample; save it with 8", src->name,
                             info->precision);
    }
    if (info->n_components != 1 && info->n_components != 3 && info->n_components != 4) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED,
                             "%s: a JPEG with %d components; save it as grey, RGB or CMYK (1, 3 or 4)", src->name,
                             info->n_components);
    }
    return MM1_OK;
}

mm1_status mm1__jpeg_size(const mm1__image_source *src, int64_t *width, int64_t *height, mm1_error *err)
{
    jpeg_info info;
    walk(src->bytes, src->len, TO_FRAME, &info);
    *width = info.width;
    *height = info.height;
    return check_frame(src, &info, err);
}

static int orientation_of(const jpeg_info *info)
{
    return info->exif != NULL ? mm1__exif_orientation(info->exif, info->exif_len) : 1;
}

int mm1__jpeg_orientation(const mm1__image_source *src)
{
    jpeg_info info;
    walk(src->bytes, src->len, TO_SCAN, &info);
    return orientation_of(&info);
}

/* inverted [n, 4] C, M, Y, K with 255 = no ink, as Adobe stores them.  Pillow's integer arithmetic. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *inverted, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const int white = inverted[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            const int t = (255 - inverted[4 * i + c]) * white + 128;
            const int v = white - (((t >> 8) + t) >> 8);
            rgb[3 * i + c] = (uint8_t)(v < 0 ? 0 : v);
        }
    }
}

/* What TurboJPEG's complaint means for the caller.  It keeps only the text of the first warning, but every cut that
 * leaves no end marker was caught before; this one sees data that stop inside a file that does have an end. */
static mm1_status judge(const mm1__image_source *src, tjhandle tj, mm1_error *err)
{
    const char *why = tjGetErrorStr2(tj);
    if (tjGetErrorCode(tj) == TJERR_WARNING) {
        if (strstr(why, "remature end") == NULL) {
            return MM1_OK;
        }
        return mm1_error_set(err, MM1_E_FORMAT, "%s: JPEG data are missing (%s); fetch it again or leave it out",
                             src->name, why);
    }
    if (strstr(why, "nsufficient memory") != NULL) {
        return mm1_error_set(err, MM1_E_NOMEM,
                             "%s: no memory to decode the JPEG; use smaller pictures or fewer workers", src->name);
    }
    if (strstr(why, "scans") != NULL) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: %s; save the JPEG again as baseline", src->name, why);
    }
    return mm1_error_set(err, MM1_E_FORMAT, "%s: cannot decode the JPEG: %s; save it again or leave it out", src->name,
                         why);
}

/* Pixels that are made of each 8 stored ones.  At exactly the wanted size the sharp edges of the blocks' averages would
 * go through the resampler as they are (35 dB where 5/4 gives 46). */
static int pixels_of_8(const mm1__image_source *src, const jpeg_info *info, int orientation)
{
    const bool turned = orientation >= 5; /* stored rows are upright columns */
    const int64_t width = turned ? src->for_height : src->for_width, height = turned ? src->for_width : src->for_height;
    int n = 1;
    while (n < 8 &&
           (INT64_C(4) * scaled(info->width, n) < 5 * width || INT64_C(4) * scaled(info->height, n) < 5 * height)) {
        n *= 2;
    }
    return n;
}

static mm1_status decompress(const mm1__image_source *src, const mm1_image *to, uint8_t *pixels, int n_components,
                             mm1_error *err)
{
    mm1_status st = MM1_OK;
    tjhandle tj = tjInitDecompress();
    if (tj == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for a JPEG decoder; use fewer workers", src->name);
    }
    /* The decoder takes its largest factor whose result fits the given size: one that gives just that size.  And it
     * writes no more even if it should read another size than walk() did. */
    if (tjDecompress2(tj, src->bytes, (unsigned long)src->len, pixels, to->width, 0, to->height,
                      n_components == 4 ? TJPF_CMYK : TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0) {
        st = judge(src, tj, err);
    }
    (void)tjDestroy(tj);
    return st;
}

mm1_status mm1__jpeg_decode(const mm1__image_source *src, mm1_image *out, int *orientation, mm1_error *err)
{
    uint8_t *cmyk = NULL;
    jpeg_info info;

    walk(src->bytes, src->len, TO_END, &info);
    mm1_status st = check_frame(src, &info, err);
    if (st == MM1_OK) {
        st = mm1__image_check_size(src, info.width, info.height, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    if (!info.complete) {
        return cut_short(src, err);
    }
    if ((info.n_scans - 1) / MAX_SCANS_OF_LARGEST >= src->limits->max_pixels / (info.width * info.height)) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: %" PRId64 " scans over %" PRId64 " x %" PRId64
                             " px is too much work for a picture; save the JPEG again as baseline",
                             src->name, info.n_scans, info.width, info.height);
    }
    *orientation = orientation_of(&info);
    const int n = pixels_of_8(src, &info, *orientation);
    st = mm1_image_init(out, scaled(info.width, n), scaled(info.height, n), err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s", src->name);
    }
    if (info.n_components == 4) {
        const size_t n_pixels = (size_t)out->width * (size_t)out->height;
        cmyk = mm1_alloc(n_pixels, 4);
        if (cmyk == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu CMYK pixels; use smaller pictures", src->name,
                               n_pixels);
            goto out;
        }
        st = decompress(src, out, cmyk, info.n_components, err);
        if (st == MM1_OK) {
            cmyk_to_rgb(out->rgb, cmyk, n_pixels);
        }
    } else {
        st = decompress(src, out, out->rgb, info.n_components, err);
    }
out:
    mm1_free(cmyk);
    if (st != MM1_OK) {
        mm1_image_deinit(out);
    }
    return st;
}

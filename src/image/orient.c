/* orient.c - the EXIF Orientation tag, and turning a picture upright by it. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include <string.h>

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, TYPE_LONG = 4 };

static uint32_t load(const uint8_t *p, int n, bool big)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++) {
        v = v << 8 | p[big ? i : n - 1 - i];
    }
    return v;
}

int mm1__exif_orientation(const uint8_t *exif, size_t len)
{
    int orientation = 1;
    if (len >= 6 && memcmp(exif, "Exif\0\0", 6) == 0) {
        exif += 6;
        len -= 6;
    }
    if (len < 8) {
        return orientation;
    }
    const bool big = exif[0] == 'M' && exif[1] == 'M';
    if ((!big && (exif[0] != 'I' || exif[1] != 'I')) || load(exif + 2, 2, big) != 42) {
        return orientation;
    }
    const uint32_t ifd = load(exif + 4, 4, big);
    if (ifd > len - 2 || len - ifd < 2) {
        return orientation;
    }
    const uint32_t n_entries = load(exif + ifd, 2, big);
    const uint8_t *entry = exif + ifd + 2;
    for (uint32_t i = 0; i < n_entries && (size_t)(exif + len - entry) >= 12; i++, entry += 12) {
        const uint32_t type = load(entry + 2, 2, big);
        if (load(entry, 2, big) != TAG_ORIENTATION || load(entry + 4, 4, big) != 1 ||
            (type != TYPE_SHORT && type != TYPE_LONG)) {
            continue;
        }
        const uint32_t v = load(entry + 8, type == TYPE_SHORT ? 2 : 4, big);
        orientation = v >= 1 && v <= 8 ? (int)v : 1;
    }
    return orientation;
}

/* dst pixel (x, y) is src pixel (x0 + x*dx_x + y*dy_x, ...), written as one start and two steps in bytes. */
static void remap(uint8_t *dst, int32_t width, int32_t height, const uint8_t *start, ptrdiff_t step_x, ptrdiff_t step_y)
{
    enum { TILE = 32 }; /* keeps the source rows of a turned picture in L1 */
    for (int32_t ty = 0; ty < height; ty += TILE) {
        for (int32_t tx = 0; tx < width; tx += TILE) {
            const int32_t y_end = ty + TILE < height ? ty + TILE : height,
                          x_end = tx + TILE < width ? tx + TILE : width;
            for (int32_t y = ty; y < y_end; y++) {
                uint8_t *d = dst + ((size_t)y * (size_t)width + (size_t)tx) * 3;
                for (int32_t x = tx; x < x_end; x++, d += 3) {
                    const uint8_t *s = start + x * step_x + y * step_y;
                    d[0] = s[0];
                    d[1] = s[1];
                    d[2] = s[2];
                }
            }
        }
    }
}

mm1_status mm1__image_orient(mm1_image *image, int orientation, const char *name, mm1_error *err)
{
    /* Orientation n says where the stored first row and column belong; columns: swap the axes, then read the stored
     * columns or rows backwards. */
    static const struct {
        bool swap, flip_x, flip_y; /* flips are of the stored picture */
    } moves[9] = {
        [2] = {false, true, false}, [3] = {false, true, true}, [4] = {false, false, true}, [5] = {true, false, false},
        [6] = {true, false, true},  [7] = {true, true, true},  [8] = {true, true, false}};
    const ptrdiff_t row = (ptrdiff_t)image->width * 3;
    mm1_image upright = {0};

    if (orientation < 2 || orientation > 8) {
        return MM1_OK;
    }
    const bool swap = moves[orientation].swap, flip_x = moves[orientation].flip_x, flip_y = moves[orientation].flip_y;
    const mm1_status st =
        mm1_image_init(&upright, swap ? image->height : image->width, swap ? image->width : image->height, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s: cannot turn the picture by its EXIF orientation", name);
    }
    const uint8_t *start = image->rgb + (flip_x ? row - 3 : 0) + (flip_y ? row * (image->height - 1) : 0);
    const ptrdiff_t col_step = flip_x ? -3 : 3, row_step = flip_y ? -row : row;
    remap(upright.rgb, upright.width, upright.height, start, swap ? row_step : col_step, swap ? col_step : row_step);
    mm1_image_deinit(image);
    *image = upright;
    return MM1_OK;
}

void mm1__rgba_on_white(uint8_t *rgb, const uint8_t *rgba, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t a = rgba[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            rgb[3 * i + c] = a == 255 ? rgba[4 * i + c] : mm1__on_white(rgba[4 * i + c], a);
        }
    }
}

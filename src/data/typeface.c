/* typeface.c - see typeface.h. */
#include "data/typeface.h"

#include "base/alloc.h"
#include <ft2build.h>
#include <pthread.h>
#include <string.h>
#include <utf8proc.h>
#include FT_FREETYPE_H

struct mm1_typeface {
    FT_Library library;
    FT_Face face;
    pthread_mutex_t lock;
    char *path;
};

void mm1_typeface_close(mm1_typeface *f)
{
    if (f == NULL) {
        return;
    }
    if (f->face != NULL) {
        (void)FT_Done_Face(f->face);
    }
    if (f->library != NULL) {
        (void)FT_Done_FreeType(f->library);
    }
    (void)pthread_mutex_destroy(&f->lock);
    mm1_free(f->path);
    mm1_free(f);
}

mm1_status mm1_typeface_open(const char *path, mm1_typeface **out, mm1_error *err)
{
    *out = NULL;
    mm1_typeface *f = mm1_calloc(1, sizeof *f);
    if (f == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "'%s': no memory for the font", path);
    }
    (void)pthread_mutex_init(&f->lock, NULL);
    f->path = mm1_strdup(path);
    if (f->path == NULL) {
        mm1_typeface_close(f);
        return mm1_error_set(err, MM1_E_NOMEM, "'%s': no memory for the font", path);
    }
    if (FT_Init_FreeType(&f->library) != 0 || FT_New_Face(f->library, path, 0, &f->face) != 0 ||
        !FT_IS_SCALABLE(f->face)) {
        mm1_typeface_close(f);
        return mm1_error_set(err, MM1_E_FORMAT, "'%s': FreeType cannot open this font, or it has no outlines", path);
    }
    *out = f;
    return MM1_OK;
}

/* Where the glyphs of a line lie, relative to its pen: called with each rendered glyph. */
typedef void glyph_fn(void *ctx, const FT_GlyphSlot slot, int32_t left, int32_t top);

static mm1_status each_glyph(mm1_typeface *f, const char *text, int32_t em_px, glyph_fn *fn, void *ctx, mm1_error *err)
{
    mm1_status st = MM1_OK;
    FT_Pos pen = 0;
    (void)pthread_mutex_lock(&f->lock);
    if (em_px < 1 || FT_Set_Pixel_Sizes(f->face, 0, (FT_UInt)em_px) != 0) {
        st = mm1_error_set(err, MM1_E_ARG, "'%s': no size of %d px", f->path, em_px);
    }
    for (const char *p = text; st == MM1_OK && *p != '\0';) {
        utf8proc_int32_t c = -1;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p, -1, &c);
        const FT_UInt glyph = n > 0 ? FT_Get_Char_Index(f->face, (FT_ULong)c) : 0;
        if (glyph == 0 || FT_Load_Glyph(f->face, glyph, FT_LOAD_RENDER | FT_LOAD_NO_HINTING) != 0 ||
            f->face->glyph->bitmap.pixel_mode != FT_PIXEL_MODE_GRAY) {
            st = mm1_error_set(err, MM1_E_FORMAT, "'%s': a character of \"%s\" cannot be drawn", f->path, text);
            break;
        }
        const FT_GlyphSlot slot = f->face->glyph;
        fn(ctx, slot, (int32_t)(pen >> 6) + slot->bitmap_left, -slot->bitmap_top);
        pen += slot->advance.x;
        p += n;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return st;
}

typedef struct ink {
    int32_t x0, y0, x1, y1; /* the box of what has been drawn; empty: x1 <= x0 */
} ink;

static void grow(void *ctx, const FT_GlyphSlot slot, int32_t left, int32_t top)
{
    ink *box = ctx;
    const int32_t w = (int32_t)slot->bitmap.width, h = (int32_t)slot->bitmap.rows;
    if (w == 0 || h == 0) {
        return;
    }
    if (box->x1 <= box->x0) {
        *box = (ink){left, top, left + w, top + h};
        return;
    }
    box->x0 = left < box->x0 ? left : box->x0;
    box->y0 = top < box->y0 ? top : box->y0;
    box->x1 = left + w > box->x1 ? left + w : box->x1;
    box->y1 = top + h > box->y1 ? top + h : box->y1;
}

mm1_status mm1_typeface_measure(mm1_typeface *f, const char *text, int32_t em_px, int32_t *width, int32_t *height,
                                mm1_error *err)
{
    ink box = {0};
    const mm1_status st = each_glyph(f, text, em_px, grow, &box, err);
    *width = box.x1 > box.x0 ? box.x1 - box.x0 : 1;
    *height = box.y1 > box.y0 ? box.y1 - box.y0 : 1;
    return st;
}

typedef struct pen {
    mm1_image *image;
    const uint8_t *rgb;
    int32_t x, y; /* added to the place of a glyph */
} pen;

static void blend(void *ctx, const FT_GlyphSlot slot, int32_t left, int32_t top)
{
    const pen *p = ctx;
    for (int32_t row = 0; row < (int32_t)slot->bitmap.rows; row++) {
        const int32_t y = p->y + top + row;
        const uint8_t *cover = slot->bitmap.buffer + (ptrdiff_t)row * slot->bitmap.pitch;
        for (int32_t col = 0; y >= 0 && y < p->image->height && col < (int32_t)slot->bitmap.width; col++) {
            const int32_t x = p->x + left + col;
            if (x < 0 || x >= p->image->width) {
                continue;
            }
            uint8_t *to = p->image->rgb + 3 * ((size_t)y * (size_t)p->image->width + (size_t)x);
            for (int c = 0; c < 3; c++) {
                to[c] = (uint8_t)((to[c] * (255 - cover[col]) + p->rgb[c] * cover[col] + 127) / 255);
            }
        }
    }
}

mm1_status mm1_typeface_draw(mm1_typeface *f, const char *text, int32_t em_px, const uint8_t rgb[3], int32_t x,
                             int32_t y, mm1_image *image, mm1_error *err)
{
    ink box = {0};
    mm1_status st = each_glyph(f, text, em_px, grow, &box, err);
    if (st == MM1_OK) {
        pen p = {image, rgb, x - box.x0, y - box.y0};
        st = each_glyph(f, text, em_px, blend, &p, err);
    }
    return st;
}

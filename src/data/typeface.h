/* typeface.h - an outline font and short lines of text drawn with it into pictures.
 *
 * For text that is its own ground truth: one glyph after the other by its advance, no shaping, so Latin letters, digits
 * and the like.  Sizes are the height of the em square in px.
 *
 * Threads: all functions are thread-safe; a lock is held while FreeType draws. */
#ifndef MM1_DATA_TYPEFACE_H
#define MM1_DATA_TYPEFACE_H

#include <mm1/error.h>
#include <mm1/image.h>
#include <stdint.h>

typedef struct mm1_typeface mm1_typeface;

/* MM1_E_FORMAT (FreeType cannot read it, or it has no outlines), MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_typeface_open(const char *path, mm1_typeface **out, mm1_error *err);
void mm1_typeface_close(mm1_typeface *face); /* accepts NULL */

/* The size of the ink of `text` (UTF-8) in px; at least 1 x 1.  MM1_E_FORMAT for a character that the font lacks. */
MM1_NODISCARD mm1_status mm1_typeface_measure(mm1_typeface *face, const char *text, int32_t em_px, int32_t *width,
                                              int32_t *height, mm1_error *err);

/* Blends `text` in colour rgb over the image, the upper left corner of its ink at (x, y); what falls outside is cut
 * off. */
MM1_NODISCARD mm1_status mm1_typeface_draw(mm1_typeface *face, const char *text, int32_t em_px, const uint8_t rgb[3],
                                           int32_t x, int32_t y, mm1_image *image, mm1_error *err);

#endif

/* source_emoji.c - Noto Color Emoji, drawn by FreeType, named by the annotations of Unicode CLDR.
 *
 *   annotations/en.xml:        <annotation cp="x" type="tts">grinning face</annotation>, and keywords without a type
 *   annotationsDerived/en.xml: the same for sequences: skin tones, professions, flags
 *
 * HarfBuzz turns a sequence into glyphs; one is taken if that is a single glyph of the font.  A name "flag: Kenya"
 * becomes "flag of Kenya", as other sources write it.
 *
 * Groups: variants of one emoji by skin tone and gender are one group, named by the sequence without them. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/xml_scan.h"
#include <ft2build.h>
#include <hb-ft.h>
#include <hb.h>
#include <pthread.h>
#include <string.h>
#include <utf8proc.h>
#include FT_FREETYPE_H

enum { MAX_SEQUENCE = 32 };

/* Drawing is under a lock: a face is not thread-safe, and decoding a 136 px bitmap is short. */
typedef struct emoji_font {
    FT_Library library;
    FT_Face face;
    hb_font_t *shaper;
    pthread_mutex_t lock;
} emoji_font;

static void font_close(void *ctx)
{
    emoji_font *f = ctx;
    hb_font_destroy(f->shaper); /* accepts NULL */
    if (f->face != NULL) {
        (void)FT_Done_Face(f->face);
    }
    if (f->library != NULL) {
        (void)FT_Done_FreeType(f->library);
    }
    (void)pthread_mutex_destroy(&f->lock);
    mm1_free(f);
}

static mm1_status font_open(const char *path, emoji_font **out, mm1_error *err)
{
    *out = NULL;
    emoji_font *f = mm1_calloc(1, sizeof *f);
    if (f == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "'%s': no memory for the font", path);
    }
    (void)pthread_mutex_init(&f->lock, NULL);
    if (FT_Init_FreeType(&f->library) != 0 || FT_New_Face(f->library, path, 0, &f->face) != 0) {
        font_close(f);
        return mm1_error_set(err, MM1_E_FORMAT, "'%s': FreeType cannot open this font", path);
    }
    if (f->face->num_fixed_sizes < 1 || FT_Select_Size(f->face, 0) != 0) {
        font_close(f);
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "'%s': a font with colour bitmaps is needed", path);
    }
    f->shaper = hb_ft_font_create_referenced(f->face);
    *out = f;
    return MM1_OK;
}

/* One glyph on white.  Bitmaps are BGRA, premultiplied. */
static mm1_status draw(void *ctx, uint32_t glyph, mm1_image *out, mm1_error *err)
{
    emoji_font *f = ctx;
    mm1_status st = MM1_OK;
    (void)pthread_mutex_lock(&f->lock);
    const FT_GlyphSlot slot = f->face->glyph;
    if (FT_Load_Glyph(f->face, glyph, FT_LOAD_COLOR | FT_LOAD_RENDER) != 0 ||
        slot->bitmap.pixel_mode != FT_PIXEL_MODE_BGRA || slot->bitmap.width == 0 || slot->bitmap.rows == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "glyph %u has no colour bitmap", glyph);
    } else {
        st = mm1_image_init(out, (int32_t)slot->bitmap.width, (int32_t)slot->bitmap.rows, err);
    }
    for (int32_t y = 0; st == MM1_OK && y < out->height; y++) {
        const uint8_t *from = slot->bitmap.buffer + (ptrdiff_t)y * slot->bitmap.pitch;
        uint8_t *to = out->rgb + (size_t)y * (size_t)out->width * 3;
        for (int32_t x = 0; x < out->width; x++) {
            for (int c = 0; c < 3; c++) {
                const int v = from[4 * x + 2 - c] + 255 - from[4 * x + 3];
                to[3 * x + c] = (uint8_t)(v < 255 ? v : 255);
            }
        }
    }
    (void)pthread_mutex_unlock(&f->lock);
    return st;
}

/* The one glyph of a sequence, 0 if it is none or several. */
static uint32_t glyph_of(emoji_font *f, hb_buffer_t *buffer, const char *text, size_t len)
{
    unsigned n = 0;
    hb_buffer_clear_contents(buffer);
    hb_buffer_add_utf8(buffer, text, (int)len, 0, (int)len);
    hb_buffer_guess_segment_properties(buffer);
    hb_shape(f->shaper, buffer, NULL, 0);
    const hb_glyph_info_t *glyphs = hb_buffer_get_glyph_infos(buffer, &n);
    return n == 1 ? glyphs[0].codepoint : 0;
}

static bool is_skin_tone(utf8proc_int32_t c)
{
    return c >= 0x1f3fb && c <= 0x1f3ff;
}

/* "emoji:1f9d1-200d-1f680": skin tones, gender signs and variation selectors gone, man and woman a person. */
static void put_concept(mm1_buf *out, const char *text, size_t len)
{
    utf8proc_int32_t seq[MAX_SEQUENCE];
    size_t n = 0;
    for (size_t at = 0; at < len && n < MAX_SEQUENCE;) {
        utf8proc_int32_t c = -1;
        const utf8proc_ssize_t step =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(len - at), &c);
        if (step <= 0) {
            break;
        }
        at += (size_t)step;
        if (c == 0x2640 || c == 0x2642) { /* gender sign, and the joiner in front of it */
            n -= n > 0 && seq[n - 1] == 0x200d;
        } else if (c == 0x1f468 || c == 0x1f469) {
            seq[n++] = 0x1f9d1;
        } else if (!is_skin_tone(c) && c != 0xfe0f) {
            seq[n++] = c;
        }
    }
    mm1_buf_puts(out, "emoji:");
    for (size_t i = 0; i < n; i++) {
        mm1_buf_printf(out, "%s%x", i > 0 ? "-" : "", (unsigned)seq[i]);
    }
}

typedef struct emoji_reader {
    mm1_source *s;
    emoji_font *font;
    hb_buffer_t *shape;
    mm1_buf sequence, keywords_of, keywords, name, caption, concept, path, is_tts;
    size_t n;
} emoji_reader;

/* The file has for each sequence first its keywords, then its name. */
static mm1_status add_name(emoji_reader *r, mm1_error *err)
{
    mm1_source *s = r->s;
    const uint32_t glyph = glyph_of(r->font, r->shape, mm1_buf_str(&r->sequence), r->sequence.len);
    const char *name = mm1_buf_str(&r->name);
    if (glyph == 0 || mm1_source_full(s, r->n)) {
        return MM1_OK;
    }
    r->n++;
    mm1_buf_clear(&r->caption);
    mm1_buf_clear(&r->concept);
    if (strncmp(name, "flag: ", 6) == 0) {
        mm1_buf_printf(&r->caption, "flag of %s", name + 6);
        mm1__flag_concept(&r->concept, name + 6);
    } else {
        mm1_buf_puts(&r->caption, name);
        put_concept(&r->concept, mm1_buf_str(&r->sequence), r->sequence.len);
    }
    mm1_buf_clear(&r->path);
    mm1_buf_printf(&r->path, "%s!glyph%u", mm1_source_origin(s, s->path), glyph);
    mm1_picture picture = mm1_source_picture(s, s->path);
    picture.path = mm1_buf_str(&r->path);
    picture.file = NULL;
    picture.draw = draw;
    picture.draw_ctx = r->font;
    picture.draw_id = glyph;
    const bool same = strcmp(mm1_buf_str(&r->keywords_of), mm1_buf_str(&r->sequence)) == 0;
    return mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&r->caption), mm1_buf_str(&r->concept),
                                  same ? mm1_buf_str(&r->keywords) : NULL, err);
}

static mm1_status read_annotations(emoji_reader *r, const char *text, size_t len, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_xml x = mm1_xml_begin(text, len);
    while (st == MM1_OK && mm1_xml_next(&x) != MM1_XML_END) {
        if (!mm1_xml_is(&x, MM1_XML_OPEN, "annotation")) {
            continue;
        }
        mm1_buf_clear(&r->sequence);
        mm1_buf_clear(&r->is_tts);
        if (!mm1_xml_attribute(&x, "cp", &r->sequence)) {
            continue;
        }
        const bool is_name = mm1_xml_attribute(&x, "type", &r->is_tts) && strcmp(mm1_buf_str(&r->is_tts), "tts") == 0;
        mm1_buf *to = is_name ? &r->name : &r->keywords;
        mm1_buf_clear(to);
        mm1_xml_text(&x, to);
        if (is_name) {
            st = add_name(r, err);
        } else {
            mm1_buf_clear(&r->keywords_of);
            mm1_buf_append(&r->keywords_of, mm1_buf_str(&r->sequence), r->sequence.len);
        }
    }
    return st;
}

mm1_status mm1__source_emoji(mm1_source *s, mm1_error *err)
{
    static const char *const lists[] = {"usr/share/unicode/cldr/common/annotations/en.xml",
                                        "usr/share/unicode/cldr/common/annotationsDerived/en.xml"};
    emoji_reader r = {.s = s};
    mm1_buf *bufs[] = {&r.sequence, &r.keywords_of, &r.keywords, &r.name, &r.caption, &r.concept, &r.path, &r.is_tts};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        mm1_buf_init(bufs[i], 1 << 16);
    }
    mm1_status st = font_open(s->path, &r.font, err);
    if (st == MM1_OK) {
        st = mm1_corpus_on_close(s->corpus, font_close, r.font, err);
    }
    r.shape = hb_buffer_create(); /* never NULL: an inert buffer stands for "no memory" */
    for (size_t i = 0; st == MM1_OK && i < sizeof lists / sizeof lists[0]; i++) {
        size_t len = 0;
        char *path = mm1_path_join(s->config->root, lists[i]);
        char *text = path != NULL ? mm1_source_slurp(s, path, &len) : NULL;
        if (text != NULL) {
            st = read_annotations(&r, text, len, err);
        }
        mm1_free(text);
        mm1_free(path);
    }
    hb_buffer_destroy(r.shape);
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        mm1_buf_deinit(bufs[i]);
    }
    return st;
}

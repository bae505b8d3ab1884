/* source_emoji.c - emoji of a font, drawn by FreeType, or of a folder of pictures; named by the annotations of Unicode
 * CLDR.
 *
 *   annotations/en.xml:        <annotation cp="x" type="tts">grinning face</annotation>, and keywords without a type
 *   annotationsDerived/en.xml: the same for sequences: skin tones, professions, flags
 *
 * HarfBuzz turns a sequence into glyphs; one is taken if that is a single glyph of the font, which has colour bitmaps
 * (Noto Color Emoji) or outlines (Symbola).  The pictures of a folder are named by their code points, "1F468-1F3FB.png"
 * or "emoji_u1f468_1f3fb.png".  A name "flag: Kenya" becomes "flag of Kenya", as other sources write it.
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
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include FT_FREETYPE_H

enum { MAX_SEQUENCE = 32, OUTLINE_PX = 128 };

/* Drawing is under a lock: a face is not thread-safe, and decoding a 136 px bitmap is short. */
typedef struct emoji_font {
    FT_Library library;
    FT_Face face;
    hb_font_t *shaper;
    bool outlines;
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
    f->outlines = f->face->num_fixed_sizes < 1;
    if (f->outlines ? FT_Set_Pixel_Sizes(f->face, 0, OUTLINE_PX) != 0 : FT_Select_Size(f->face, 0) != 0) {
        font_close(f);
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "'%s': a font with colour bitmaps or outlines is needed", path);
    }
    f->shaper = hb_ft_font_create_referenced(f->face);
    *out = f;
    return MM1_OK;
}

/* One glyph on white.  Colour bitmaps are BGRA, premultiplied; outlines are rendered as coverage, and become black. */
static mm1_status draw(void *ctx, uint32_t glyph, mm1_image *out, mm1_error *err)
{
    emoji_font *f = ctx;
    mm1_status st = MM1_OK;
    (void)pthread_mutex_lock(&f->lock);
    const FT_GlyphSlot slot = f->face->glyph;
    const int mode = f->outlines ? FT_PIXEL_MODE_GRAY : FT_PIXEL_MODE_BGRA;
    if (FT_Load_Glyph(f->face, glyph, (f->outlines ? 0 : FT_LOAD_COLOR) | FT_LOAD_RENDER) != 0 ||
        slot->bitmap.pixel_mode != mode || slot->bitmap.width == 0 || slot->bitmap.rows == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "glyph %u has no %s", glyph, f->outlines ? "outline" : "colour bitmap");
    } else {
        st = mm1_image_init(out, (int32_t)slot->bitmap.width, (int32_t)slot->bitmap.rows, err);
    }
    for (int32_t y = 0; st == MM1_OK && y < out->height; y++) {
        const uint8_t *from = slot->bitmap.buffer + (ptrdiff_t)y * slot->bitmap.pitch;
        uint8_t *to = out->rgb + (size_t)y * (size_t)out->width * 3;
        for (int32_t x = 0; x < out->width; x++) {
            for (int c = 0; c < 3; c++) {
                const int v = f->outlines ? 255 - from[x] : from[4 * x + 2 - c] + 255 - from[4 * x + 3];
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

/* The code points of a text, at most MAX_SEQUENCE, up to the first that is none. */
static size_t code_points(const char *text, size_t len, utf8proc_int32_t *out)
{
    size_t n = 0;
    for (size_t at = 0; at < len && n < MAX_SEQUENCE;) {
        const utf8proc_ssize_t step =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(len - at), &out[n]);
        if (step <= 0) {
            break;
        }
        at += (size_t)step;
        n++;
    }
    return n;
}

/* "emoji:1f9d1-200d-1f680": skin tones, gender signs and variation selectors gone, man and woman a person. */
static void put_concept(mm1_buf *out, const char *text, size_t len)
{
    utf8proc_int32_t all[MAX_SEQUENCE], seq[MAX_SEQUENCE];
    const size_t n_all = code_points(text, len, all);
    size_t n = 0;
    for (size_t i = 0; i < n_all; i++) {
        const utf8proc_int32_t c = all[i];
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

/* A picture of a folder, by the code points that its name gives, without joiners and variation selectors, which names
 * often leave out; the rest is 0. */
typedef struct emoji_file {
    utf8proc_int32_t seq[MAX_SEQUENCE];
    const char *path;
} emoji_file;

static int by_sequence(const void *a, const void *b)
{
    const emoji_file *x = a, *y = b;
    return memcmp(x->seq, y->seq, sizeof x->seq);
}

static void add_point(emoji_file *f, size_t *n, utf8proc_int32_t c)
{
    if (c != 0x200d && c != 0xfe0f && *n < MAX_SEQUENCE) {
        f->seq[(*n)++] = c;
    }
}

/* "1F468-1F3FB.png", "emoji_u1f468_1f3fb.png", and two letters for a flag, "KE.png".  False for other names. */
static bool name_sequence(const char *path, emoji_file *out)
{
    const char *p = mm1_path_basename(path), *end = mm1_path_extension(path);
    size_t n = 0;
    *out = (emoji_file){.path = path};
    if (end - p == 2 && p[0] >= 'A' && p[0] <= 'Z' && p[1] >= 'A' && p[1] <= 'Z') {
        add_point(out, &n, 0x1f1e6 + p[0] - 'A');
        add_point(out, &n, 0x1f1e6 + p[1] - 'A');
        return true;
    }
    p += strncmp(p, "emoji_u", 7) == 0 ? 7 : 0;
    for (char *next; p < end; p = next + 1) {
        const unsigned long c = strtoul(p, &next, 16);
        if (next - p < 4 || next - p > 6 || (*next != '-' && *next != '_' && next != end)) {
            return false;
        }
        add_point(out, &n, (utf8proc_int32_t)c);
    }
    return n > 0;
}

/* The pictures of a folder, by sequence; MM1_E_NOMEM or what the walk says. */
static mm1_status list_files(const mm1_source *s, mm1_names *names, emoji_file **out, size_t *n_out, mm1_error *err)
{
    mm1_status st = mm1_source_walk(s->path, ".png", true, names, NULL, err);
    *n_out = 0;
    *out = st == MM1_OK ? mm1_calloc(names->n + 1, sizeof **out) : NULL;
    if (st == MM1_OK && *out == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "'%s': no memory for the list of its pictures", s->path);
    }
    for (size_t i = 0; st == MM1_OK && i < names->n; i++) {
        if (name_sequence(names->items[i], &(*out)[*n_out])) {
            (*n_out)++;
        }
    }
    if (st == MM1_OK) {
        qsort(*out, *n_out, sizeof **out, by_sequence);
    }
    return st;
}

typedef struct emoji_reader {
    mm1_source *s;
    emoji_font *font; /* NULL: pictures of a folder */
    hb_buffer_t *shape;
    mm1_names names;
    emoji_file *files;
    size_t n_files;
    mm1_buf sequence, keywords_of, keywords, name, caption, concept, path, is_tts;
    size_t n;
} emoji_reader;

/* Where the sequence that r->sequence holds is drawn; false if nowhere. */
static bool find_picture(emoji_reader *r, mm1_picture *out)
{
    mm1_source *s = r->s;
    const char *sequence = mm1_buf_str(&r->sequence);
    *out = mm1_source_picture(s, s->path);
    if (r->font == NULL) {
        utf8proc_int32_t all[MAX_SEQUENCE];
        const size_t n_all = code_points(sequence, r->sequence.len, all);
        emoji_file wanted = {0};
        for (size_t i = 0, n = 0; i < n_all; i++) {
            add_point(&wanted, &n, all[i]);
        }
        const emoji_file *found =
            r->n_files > 0 ? bsearch(&wanted, r->files, r->n_files, sizeof *r->files, by_sequence) : NULL;
        if (found != NULL) {
            *out = mm1_source_picture(s, found->path);
        }
        return found != NULL;
    }
    const uint32_t glyph = glyph_of(r->font, r->shape, sequence, r->sequence.len);
    mm1_buf_clear(&r->path);
    mm1_buf_printf(&r->path, "%s!glyph%u", mm1_source_origin(s, s->path), glyph);
    out->path = mm1_buf_str(&r->path);
    out->file = NULL;
    out->draw = draw;
    out->draw_ctx = r->font;
    out->draw_id = glyph;
    return glyph != 0;
}

/* The file has for each sequence first its keywords, then its name. */
static mm1_status add_name(emoji_reader *r, mm1_error *err)
{
    const char *name = mm1_buf_str(&r->name);
    mm1_picture picture;
    if (!find_picture(r, &picture) || mm1_source_full(r->s, r->n)) {
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
    const bool same = strcmp(mm1_buf_str(&r->keywords_of), mm1_buf_str(&r->sequence)) == 0;
    return mm1_corpus_add_caption(r->s->corpus, &picture, mm1_buf_str(&r->caption), mm1_buf_str(&r->concept),
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
    mm1_status st = MM1_OK;
    if (mm1_path_is_dir(s->path)) {
        st = list_files(s, &r.names, &r.files, &r.n_files, err);
    } else {
        st = font_open(s->path, &r.font, err);
        if (st == MM1_OK) {
            st = mm1_corpus_on_close(s->corpus, font_close, r.font, err);
        }
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
    mm1_names_free(&r.names);
    mm1_free(r.files);
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        mm1_buf_deinit(bufs[i]);
    }
    return st;
}

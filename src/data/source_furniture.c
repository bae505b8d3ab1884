/* source_furniture.c - Sweet Home 3D: rendered furniture and household goods, in zip files with a catalogue.
 *
 *   PluginFurnitureCatalog.properties (Latin-1, \uXXXX escapes):
 *     name#1=Screen door
 *     category#1=Doors and windows
 *     icon#1=/katorlegaz/screen-door.png
 *     width#1=94.0        (depth, height: in cm)
 *
 * gives "Screen door, doors and windows".  The category "Miscellaneous" says nothing and is left out. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "data/prose.h"
#include <archive.h>
#include <archive_entry.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_MEMBER_BYTES = 16 << 20, MAX_PIECES = 10000 };

typedef struct piece {
    char *name, *category, *icon;
    char *size_cm[3]; /* width, depth, height, as written */
} piece;

typedef struct catalogue {
    piece *pieces; /* [MAX_PIECES + 1], by the number after '#' */
} catalogue;

static void catalogue_deinit(catalogue *c)
{
    for (size_t i = 0; c->pieces != NULL && i <= MAX_PIECES; i++) {
        mm1_free(c->pieces[i].name);
        mm1_free(c->pieces[i].category);
        mm1_free(c->pieces[i].icon);
        for (int k = 0; k < 3; k++) {
            mm1_free(c->pieces[i].size_cm[k]);
        }
    }
    mm1_free(c->pieces);
    *c = (catalogue){0};
}

/* Java's escapes, from Latin-1 to UTF-8. */
static void put_value(mm1_buf *out, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '\\' && i + 5 < len && p[i + 1] == 'u') {
            char hex[5] = {0};
            char *end = NULL;
            memcpy(hex, p + i + 2, 4);
            const long c = strtol(hex, &end, 16);
            if (end == hex + 4 && utf8proc_codepoint_valid((utf8proc_int32_t)c)) {
                utf8proc_uint8_t bytes[4];
                mm1_buf_append(out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
            }
            i += 5;
        } else if (p[i] == '\\' && i + 1 < len) {
            mm1_buf_putc(out, p[++i]);
        } else {
            mm1_prose_from_latin1(out, p + i, 1);
        }
    }
}

/* Where the value of a key goes; NULL for keys that are not read. */
static char **slot_of(piece *p, const char *key, size_t len)
{
    static const char *const names[] = {"name", "category", "icon", "width", "depth", "height"};
    char **const slots[] = {&p->name, &p->category, &p->icon, &p->size_cm[0], &p->size_cm[1], &p->size_cm[2]};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (len == strlen(names[i]) && memcmp(key, names[i], len) == 0) {
            return slots[i];
        }
    }
    return NULL;
}

static bool parse_catalogue(catalogue *c, const char *text, size_t len)
{
    const char *end = text + len;
    mm1_buf value;
    mm1_buf_init(&value, 4096);
    bool ok = true;
    for (const char *line = text; ok && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop != NULL ? stop : end;
        const char *hash = memchr(line, '#', (size_t)(stop - line)), *equals = memchr(line, '=', (size_t)(stop - line));
        if (hash != NULL && hash > line && equals != NULL && equals > hash) {
            const long i = strtol(hash + 1, NULL, 10);
            char **slot = i > 0 && i <= MAX_PIECES ? slot_of(&c->pieces[i], line, (size_t)(hash - line)) : NULL;
            if (slot != NULL && *slot == NULL) {
                size_t n = (size_t)(stop - equals - 1);
                while (n > 0 && isspace((unsigned char)equals[n])) {
                    n--;
                }
                mm1_buf_clear(&value);
                put_value(&value, equals + 1, n);
                *slot = mm1_strndup(mm1_buf_str(&value), value.len);
                ok = *slot != NULL;
            }
        }
        line = stop + 1;
    }
    mm1_buf_deinit(&value);
    return ok;
}

/* Reads one member into a fresh block; NULL if it is too large or broken. */
static char *read_member(struct archive *a, size_t *len)
{
    mm1_buf bytes;
    mm1_buf_init(&bytes, MAX_MEMBER_BYTES);
    char block[1 << 14];
    la_ssize_t n = 0;
    while ((n = archive_read_data(a, block, sizeof block)) > 0) {
        mm1_buf_append(&bytes, block, (size_t)n);
    }
    *len = bytes.len;
    if (n < 0) {
        mm1_buf_deinit(&bytes);
        return NULL;
    }
    return mm1_buf_take(&bytes);
}

static mm1_status add_piece(mm1_source *s, const piece *p, const char *file, const void *bytes, size_t len,
                            mm1_error *err)
{
    mm1_buf caption, path;
    mm1_buf_init(&caption, 4096);
    mm1_buf_init(&path, 4096);
    mm1_buf_puts(&caption, p->name);
    if (p->category != NULL && strcmp(p->category, "Miscellaneous") != 0) {
        mm1_buf_puts(&caption, ", ");
        for (const char *q = p->category; *q != '\0'; q++) {
            mm1_buf_putc(&caption, (char)tolower((unsigned char)*q));
        }
    }
    mm1_buf_printf(&path, "%s!%s", mm1_source_origin(s, file), p->icon);
    mm1_picture picture = mm1_source_picture(s, file);
    picture.path = mm1_buf_str(&path);
    picture.file = NULL;
    picture.bytes = bytes;
    picture.len = len;
    /* The group is the name: "chair" of two libraries belongs together. */
    mm1_buf concept;
    mm1_buf_init(&concept, 4096);
    mm1_prose_key(&concept, p->name, strlen(p->name));
    const size_t n = s->corpus->n_captions;
    const mm1_status st =
        mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&caption), mm1_buf_str(&concept), NULL, err);
    for (int k = 0; k < 3 && s->corpus->n_captions > n; k++) {
        const double cm = p->size_cm[k] != NULL ? strtod(p->size_cm[k], NULL) : 0;
        s->corpus->captions[n].size_cm[k] = cm > 0 && cm < 1e5 ? (float)cm : 0;
    }
    mm1_buf_deinit(&concept);
    mm1_buf_deinit(&caption);
    mm1_buf_deinit(&path);
    return st;
}

/* Members come in any order: the catalogue is read in a first pass, pictures in a second. */
static mm1_status scan(mm1_source *s, const char *file, catalogue *c, bool pictures, size_t *n, mm1_error *err)
{
    mm1_status st = MM1_OK;
    struct archive *a = archive_read_new();
    struct archive_entry *entry = NULL;
    int r = ARCHIVE_OK;
    if (a == NULL || archive_read_support_format_zip(a) != ARCHIVE_OK ||
        archive_read_open_filename(a, file, 1 << 16) != ARCHIVE_OK) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_UNREADABLE, 1);
        goto out;
    }
    while (st == MM1_OK && (r = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        size_t len = 0;
        if (name == NULL) {
            continue;
        }
        if (!pictures && strcmp(name, "PluginFurnitureCatalog.properties") == 0) {
            char *text = read_member(a, &len);
            if (text == NULL || !parse_catalogue(c, text, len)) {
                st = mm1_error_set(err, MM1_E_FORMAT, "'%s': its catalogue cannot be read", file);
            }
            mm1_free(text);
            break;
        }
        for (size_t i = 1; pictures && st == MM1_OK && i <= MAX_PIECES; i++) {
            const piece *p = &c->pieces[i];
            const char *icon = p->icon != NULL ? p->icon + (p->icon[0] == '/') : NULL;
            if (icon == NULL || p->name == NULL || strcmp(icon, name) != 0) {
                continue;
            }
            if (!mm1_source_full(s, *n)) {
                char *bytes = read_member(a, &len);
                if (bytes == NULL) {
                    mm1_corpus_drop(s->corpus, s->index, MM1_DROP_UNREADABLE, 1);
                } else {
                    ++*n;
                    st = add_piece(s, p, file, bytes, len, err);
                }
                mm1_free(bytes);
            }
            break;
        }
    }
    if (r != ARCHIVE_OK && r != ARCHIVE_EOF && st == MM1_OK) {
        mm1_log(MM1_LOG_WARN, "'%s': the rest cannot be read: %s", file, archive_error_string(a));
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_UNREADABLE, 1);
    }
out:
    (void)archive_read_free(a);
    return st;
}

mm1_status mm1__source_furniture(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    size_t n = 0;
    mm1_status st = mm1_source_walk(s->path, ".sh3f", true, &files, NULL, err);
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        catalogue c = {.pieces = mm1_calloc(MAX_PIECES + 1, sizeof *c.pieces)};
        if (c.pieces == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the catalogue of '%s'", files.items[i]);
        }
        if (st == MM1_OK) {
            st = scan(s, files.items[i], &c, false, &n, err);
        }
        if (st == MM1_OK) {
            st = scan(s, files.items[i], &c, true, &n, err);
        }
        catalogue_deinit(&c);
    }
    mm1_names_free(&files);
    return st;
}

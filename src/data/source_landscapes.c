/* source_landscapes.c - Endless Sky: photographs of landscapes with what their file names say, and planets: one
 * photograph with two to four paragraphs of fiction, as interleaved documents.
 *
 *   images/land/beach7-sfiera.jpg  -> "photo of a beach"
 *   data/map.txt:  planet Ada / landscape land/canyon4 / description `...`
 *
 * Files named after their photographer (sfiera, nasa, ...) have no caption; they still serve as pictures of planets. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/prose.h"
#include <ctype.h>
#include <string.h>

static const struct {
    const char *word, *caption;
} scenes[] = {
    {"badlands", "photo of badlands"},
    {"beach", "photo of a beach"},
    {"canyon", "photo of a canyon"},
    {"city", "photo of a city"},
    {"desert", "photo of a desert"},
    {"dune", "photo of sand dunes"},
    {"earthrise", "photo of the Earth seen from space"},
    {"fields", "photo of fields"},
    {"fog", "photo of a landscape in fog"},
    {"forest", "photo of a forest"},
    {"hills", "photo of hills"},
    {"industrial", "photo of an industrial landscape"},
    {"lava", "photo of lava"},
    {"mountain", "photo of mountains"},
    {"sea", "photo of the sea"},
    {"sky", "photo of the sky"},
    {"snow", "photo of a landscape in snow"},
    {"space", "picture of space"},
    {"station", "picture of a space station"},
    {"valley", "photo of a valley"},
    {"water", "photo of water"},
};

static mm1_status list_photos(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    char *dir = mm1_path_join(s->path, "images/land");
    mm1_status st =
        dir != NULL && mm1_path_is_dir(dir) ? mm1_source_walk(dir, ".jpg,.png", false, &files, NULL, err) : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *base = mm1_path_basename(files.items[i]), *caption = NULL;
        size_t n = 0;
        while (isalpha((unsigned char)base[n])) {
            n++;
        }
        for (size_t k = 0; k < sizeof scenes / sizeof scenes[0]; k++) {
            if (strlen(scenes[k].word) == n && memcmp(scenes[k].word, base, n) == 0) {
                caption = scenes[k].caption;
            }
        }
        if (caption == NULL) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NO_CAPTION, 1);
            continue;
        }
        const mm1_picture picture = mm1_source_picture(s, files.items[i]);
        st = mm1_corpus_add_caption(s->corpus, &picture, caption, NULL, NULL, err);
    }
    mm1_names_free(&files);
    mm1_free(dir);
    return st;
}

enum { MAX_PARTS = 32 };

typedef struct planet {
    mm1_page_part parts[MAX_PARTS];
    size_t n;
    const char *name;
    bool has_photo;
} planet;

static mm1_status close_planet(mm1_source *s, planet *p, const char *path, const char *sha256, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (p->name != NULL && p->has_photo && p->n > 2) {
        mm1_buf concept;
        mm1_buf_init(&concept, 4096);
        mm1_buf_printf(&concept, "planet:%s", p->name);
        mm1_page page = {.source = s->index, .path = path, .sha256 = sha256, .parts = p->parts, .n_parts = p->n};
        page.concept = mm1_corpus_strndup(s->corpus, mm1_buf_str(&concept), concept.len);
        /* Every planet is a page of its own. */
        mm1_buf_clear(&concept);
        mm1_buf_printf(&concept, "%s#%s", path, p->name);
        page.path = mm1_corpus_strndup(s->corpus, mm1_buf_str(&concept), concept.len);
        mm1_buf_deinit(&concept);
        st = page.concept != NULL && page.path != NULL ? mm1_corpus_add_page(s->corpus, &page, err)
                                                       : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    }
    *p = (planet){0};
    return st;
}

static mm1_status add_photo(mm1_source *s, planet *p, const char *value, size_t len, mm1_error *err)
{
    mm1_buf path;
    mm1_status st = MM1_OK;
    mm1_buf_init(&path, 4096);
    mm1_buf_printf(&path, "%s/images/%.*s.jpg", s->path, (int)len, value);
    if (!mm1_path_exists(mm1_buf_str(&path))) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_PICTURE_MISSING, 1);
    } else if (p->n < MAX_PARTS && !p->has_photo) {
        const mm1_picture picture = mm1_source_picture(s, mm1_buf_str(&path));
        st = mm1_corpus_add_picture(s->corpus, &picture, &p->parts[p->n].picture, err);
        p->n++;
        p->has_photo = true;
    }
    mm1_buf_deinit(&path);
    return st;
}

static mm1_status add_paragraph(mm1_source *s, planet *p, const char *value, size_t len, bool heading, mm1_error *err)
{
    mm1_buf text;
    mm1_status st = MM1_OK;
    mm1_buf_init(&text, 1 << 16);
    if (p->n < MAX_PARTS && mm1_prose_squeeze(&text, value, len) && text.len > 0) {
        mm1_page_part *part = &p->parts[p->n++];
        *part = (mm1_page_part){.picture = MM1_PICTURE_NONE, .level = heading};
        part->text = mm1_corpus_strndup(s->corpus, mm1_buf_str(&text), text.len);
        p->name = heading ? part->text : p->name;
        st = part->text != NULL ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    }
    mm1_buf_deinit(&text);
    return st;
}

/* The value after a key: quoted by ", by ` or bare. */
static const char *value_of(const char *line, size_t len, const char *key, size_t *n)
{
    const size_t k = strlen(key);
    if (len <= k + 1 || memcmp(line, key, k) != 0 || line[k] != ' ') {
        return NULL;
    }
    const char *p = line + k + 1;
    *n = len - k - 1;
    if (*n >= 2 && (*p == '"' || *p == '`') && p[*n - 1] == *p) {
        *n -= 2;
        p++;
    }
    return p;
}

static mm1_status read_planets(mm1_source *s, const char *file, mm1_error *err)
{
    size_t len = 0;
    char sha256[MM1_SHA256_HEX_BYTES];
    char *text = mm1_source_slurp(s, file, &len);
    planet p = {0};
    mm1_status st = MM1_OK;
    if (text == NULL || strstr(text, "\nplanet ") == NULL) {
        mm1_free(text);
        return MM1_OK;
    }
    mm1_sha256_hex(sha256, text, len);
    const char *hash = mm1_corpus_strndup(s->corpus, sha256, strlen(sha256)), *origin = mm1_source_origin(s, file);
    for (const char *line = text; st == MM1_OK && *line != '\0';) {
        size_t n_line = strcspn(line, "\n"), n = 0;
        const char *next = line + n_line + (line[n_line] == '\n'), *value = NULL;
        while (n_line > 0 && (line[n_line - 1] == '\r' || line[n_line - 1] == ' ')) {
            n_line--;
        }
        if (n_line > 0 && line[0] != '\t') {
            st = close_planet(s, &p, origin, hash, err);
            value = value_of(line, n_line, "planet", &n);
            if (st == MM1_OK && value != NULL) {
                st = add_paragraph(s, &p, value, n, true, err);
            }
        } else if (p.name != NULL && n_line > 1 && (value = value_of(line + 1, n_line - 1, "landscape", &n)) != NULL) {
            st = add_photo(s, &p, value, n, err);
        } else if (p.name != NULL && n_line > 1 &&
                   ((value = value_of(line + 1, n_line - 1, "description", &n)) != NULL ||
                    (value = value_of(line + 1, n_line - 1, "spaceport", &n)) != NULL)) {
            st = add_paragraph(s, &p, value, n, false, err);
        }
        line = next;
    }
    if (st == MM1_OK) {
        st = close_planet(s, &p, origin, hash, err);
    }
    mm1_free(text);
    return st;
}

mm1_status mm1__source_landscapes(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    char *dir = mm1_path_join(s->path, "data");
    mm1_status st = list_photos(s, err);
    if (st == MM1_OK && dir != NULL && mm1_path_is_dir(dir)) {
        st = mm1_source_walk(dir, ".txt", false, &files, NULL, err);
    }
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        st = read_planets(s, files.items[i], err);
    }
    mm1_names_free(&files);
    mm1_free(dir);
    return st;
}

/* source_novels.c - the six novels of Jane Austen, as the R package janeaustenr holds them.
 *
 * Rdata.rdb is a row of blocks, one a novel: u32 big-endian length, then a zlib stream of that many bytes: R's XDR
 * serialisation (version 2 or 3) of a character vector, one string a line of the book, "" between paragraphs.
 *
 * A chapter is a page and a group of its own. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/page_cut.h"
#include <string.h>
#include <strings.h>
#include <zlib.h>

enum { MAX_NOVEL_BYTES = 64 << 20, TYPE_STRINGS = 16, TYPE_STRING = 9 };

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A cursor that never leaves its bytes: past the end, ok is false and numbers are 0. */
typedef struct cursor {
    const uint8_t *at, *end;
    bool ok;
} cursor;

static uint32_t take_u32(cursor *c)
{
    if (!c->ok || c->end - c->at < 4) {
        c->ok = false;
        return 0;
    }
    const uint32_t v = load_be32(c->at);
    c->at += 4;
    return v;
}

/* The strings of the vector, a newline after each. */
static bool unserialise(const uint8_t *bytes, size_t len, mm1_buf *out)
{
    cursor c = {bytes + 2, bytes + len, len >= 2 && bytes[0] == 'X' && bytes[1] == '\n'};
    const uint32_t version = take_u32(&c);
    (void)take_u32(&c); /* of the writer */
    (void)take_u32(&c); /* of the oldest reader */
    if (version == 3) {
        const uint32_t n = take_u32(&c); /* the name of the native encoding */
        c.ok = c.ok && n <= (size_t)(c.end - c.at);
        c.at += c.ok ? n : 0;
    }
    if ((take_u32(&c) & 0xff) != TYPE_STRINGS) {
        return false;
    }
    const uint32_t n_strings = take_u32(&c);
    for (uint32_t i = 0; c.ok && i < n_strings; i++) {
        const uint32_t flags = take_u32(&c), n = take_u32(&c);
        c.ok = c.ok && (flags & 0xff) == TYPE_STRING && (n == UINT32_MAX || n <= (size_t)(c.end - c.at));
        if (c.ok && n != UINT32_MAX) { /* UINT32_MAX: NA */
            mm1_buf_append(out, c.at, n);
            c.at += n;
        }
        mm1_buf_putc(out, '\n');
    }
    return c.ok && mm1_buf_status(out) == MM1_OK;
}

static mm1_status add_chapter(mm1_source *s, const char *title, size_t n_title, int number, const char *text,
                              size_t len, const char *sha256, mm1_error *err)
{
    mm1_page_parts parts = {0};
    mm1_buf path, clean;
    mm1_buf_init(&path, 4096);
    mm1_buf_init(&clean, len + 1);
    for (size_t i = 0; i < len; i++) { /* _so_ is how the transcription shows italics */
        if (text[i] != '_') {
            mm1_buf_putc(&clean, text[i]);
        }
    }
    mm1_buf_printf(&path, "%s#%.*s:%d", mm1_source_origin(s, s->path), (int)n_title, title, number);
    mm1_page page = {.source = s->index,
                     .path = mm1_corpus_strndup(s->corpus, mm1_buf_str(&path), path.len),
                     .sha256 = mm1_corpus_strndup(s->corpus, sha256, strlen(sha256))};
    page.concept = page.path;
    mm1_status st = page.path != NULL && page.sha256 != NULL
                        ? mm1_page_parts_add_text(&parts, s->corpus, mm1_buf_str(&clean), clean.len, false, NULL, err)
                        : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    if (st == MM1_E_FORMAT) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NOT_UTF8, 1);
        st = MM1_OK;
    } else if (st == MM1_OK) {
        page.parts = parts.items;
        page.n_parts = parts.n;
        st = mm1_page_cut(s->corpus, &page, s->config->max_words, err);
    }
    mm1_page_parts_deinit(&parts);
    mm1_buf_deinit(&path);
    mm1_buf_deinit(&clean);
    return st;
}

static bool is_chapter_line(const char *line)
{
    return strncasecmp(line, "chapter ", 8) == 0 && strcspn(line, "\n") < 24;
}

/* What stands before the first chapter (title page) is left out. */
static mm1_status add_novel(mm1_source *s, const char *text, const char *sha256, mm1_error *err)
{
    mm1_status st = MM1_OK;
    const char *begin = NULL;
    int number = 0;
    const size_t n_title = strcspn(text, "\n");
    for (const char *line = text; st == MM1_OK && *line != '\0';) {
        const char *next = line + strcspn(line, "\n");
        next += *next == '\n';
        if (is_chapter_line(line) || *next == '\0') {
            if (begin != NULL) {
                const char *end = *next == '\0' ? next : line;
                st = add_chapter(s, text, n_title, ++number, begin, (size_t)(end - begin), sha256, err);
            }
            begin = line;
        }
        line = next;
    }
    return st;
}

mm1_status mm1__source_novels(mm1_source *s, mm1_error *err)
{
    char *file = NULL;
    uint8_t *bytes = NULL;
    size_t len = 0;
    char sha256[MM1_SHA256_HEX_BYTES];
    mm1_buf text;
    mm1_buf_init(&text, (size_t)2 * MAX_NOVEL_BYTES);
    mm1_status st = mm1_file_read(s->path, MAX_NOVEL_BYTES, &file, &len, err);
    if (st == MM1_OK) {
        mm1_sha256_hex(sha256, file, len);
    }
    for (size_t at = 0; st == MM1_OK && len - at > 4;) {
        const uint32_t n = load_be32((const uint8_t *)file + at);
        z_stream z = {.next_in = (Bytef *)file + at + 4, .avail_in = (uInt)(len - at - 4), .avail_out = n};
        bytes = n <= MAX_NOVEL_BYTES ? mm1_alloc(n, 1) : NULL;
        z.next_out = bytes;
        if (bytes == NULL || inflateInit(&z) != Z_OK) {
            st = mm1_error_set(err, MM1_E_LIMIT, "'%s': block of %u bytes at offset %zu is over the limit of %d",
                               s->path, n, at, MAX_NOVEL_BYTES);
            break;
        }
        const int r = inflate(&z, Z_FINISH);
        const size_t used = z.total_in;
        const bool whole = r == Z_STREAM_END && z.total_out == n;
        (void)inflateEnd(&z);
        mm1_buf_clear(&text);
        if (!whole || !unserialise(bytes, n, &text)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "'%s': block at offset %zu is not a vector of strings", s->path, at);
        } else {
            st = add_novel(s, mm1_buf_str(&text), sha256, err);
        }
        mm1_free(bytes);
        bytes = NULL;
        at += 4 + used;
    }
    mm1_free(bytes);
    mm1_free(file);
    mm1_buf_deinit(&text);
    return st;
}

/* source_sword.c - commentaries of the SWORD project, module type zCom4 with zlib and one block a chapter.
 *
 *   ot.czs   rows of three little-endian u32: offset and length in ot.czz, length after decompression
 *   ot.czz   the blocks, zlib; inside OSIS XML: <title>, <div sID=".." type="x-p"/> ... <div eID=".." type="x-p"/>
 *
 * A block is a page and a group of its own. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/page_cut.h"
#include "data/prose.h"
#include "data/xml_scan.h"
#include <string.h>
#include <zlib.h>

enum { MAX_BLOCK_BYTES = 64 << 20, ROW_BYTES = 12 };

static uint32_t load_le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static mm1_status put_part(mm1_source *s, mm1_page_parts *parts, mm1_buf *text, uint8_t level, mm1_error *err)
{
    mm1_buf clean;
    mm1_status st = MM1_OK;
    mm1_buf_init(&clean, text->len + 1);
    if (!mm1_prose_squeeze(&clean, mm1_buf_str(text), text->len)) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NOT_UTF8, 1);
    } else if (clean.len > 0) {
        const mm1_page_part part = {.text = mm1_corpus_strndup(s->corpus, mm1_buf_str(&clean), clean.len),
                                    .picture = MM1_PICTURE_NONE,
                                    .level = level};
        st = part.text != NULL && mm1_page_parts_add(parts, part) ? MM1_OK
                                                                  : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    }
    mm1_buf_deinit(&clean);
    mm1_buf_clear(text);
    return st;
}

static mm1_status read_osis(mm1_source *s, const char *xml, size_t len, mm1_page_parts *parts, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_buf text;
    mm1_buf_init(&text, MAX_BLOCK_BYTES);
    mm1_xml x = mm1_xml_begin(xml, len);
    while (st == MM1_OK && mm1_xml_next(&x) != MM1_XML_END) {
        if (x.kind == MM1_XML_TEXT) {
            mm1_xml_decode(x.body, x.body_len, &text);
        } else if (mm1_xml_is(&x, MM1_XML_OPEN, "title")) {
            st = put_part(s, parts, &text, 0, err);
            mm1_xml_text(&x, &text);
            st = st == MM1_OK ? put_part(s, parts, &text, 3, err) : st;
        } else if (mm1_xml_is(&x, MM1_XML_OPEN, "div") || mm1_xml_is(&x, MM1_XML_OPEN, "lb") ||
                   mm1_xml_is(&x, MM1_XML_OPEN, "l") || mm1_xml_is(&x, MM1_XML_OPEN, "p") ||
                   mm1_xml_is(&x, MM1_XML_CLOSE, "p")) {
            st = put_part(s, parts, &text, 0, err);
        }
    }
    st = st == MM1_OK ? put_part(s, parts, &text, 0, err) : st;
    mm1_buf_deinit(&text);
    return st;
}

static mm1_status add_block(mm1_source *s, const uint8_t *data, size_t len, size_t n_plain, size_t number,
                            mm1_error *err)
{
    mm1_page_parts parts = {0};
    mm1_buf path;
    char sha256[MM1_SHA256_HEX_BYTES];
    mm1_status st = MM1_OK;
    uLongf n = (uLongf)n_plain;
    char *plain = n_plain <= MAX_BLOCK_BYTES ? mm1_alloc(n_plain + 1, 1) : NULL;
    mm1_buf_init(&path, 4096);
    if (plain == NULL || uncompress((Bytef *)plain, &n, data, (uLong)len) != Z_OK) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_PAGE_UNPARSED, 1);
        goto out;
    }
    mm1_sha256_hex(sha256, data, len);
    mm1_buf_printf(&path, "%s#%zu", mm1_source_origin(s, s->path), number);
    mm1_page page = {.source = s->index,
                     .path = mm1_corpus_strndup(s->corpus, mm1_buf_str(&path), path.len),
                     .sha256 = mm1_corpus_strndup(s->corpus, sha256, strlen(sha256))};
    page.concept = page.path;
    st = page.path != NULL && page.sha256 != NULL ? read_osis(s, plain, n, &parts, err)
                                                  : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    if (st == MM1_OK) {
        page.parts = parts.items;
        page.n_parts = parts.n;
        st = mm1_page_cut(s->corpus, &page, s->config->max_words, err);
    }
out:
    mm1_page_parts_deinit(&parts);
    mm1_buf_deinit(&path);
    mm1_free(plain);
    return st;
}

mm1_status mm1__source_sword(mm1_source *s, mm1_error *err)
{
    static const char *const testaments[] = {"ot", "nt"};
    mm1_status st = MM1_OK;
    for (size_t t = 0; st == MM1_OK && t < 2; t++) {
        mm1_map index = {0}, data = {0};
        mm1_buf path;
        mm1_buf_init(&path, 4096);
        mm1_buf_printf(&path, "%s/%s.czs", s->path, testaments[t]);
        st = mm1_map_open(&index, mm1_buf_str(&path), err);
        if (st == MM1_OK) {
            mm1_buf_clear(&path);
            mm1_buf_printf(&path, "%s/%s.czz", s->path, testaments[t]);
            st = mm1_map_open(&data, mm1_buf_str(&path), err);
        }
        for (size_t i = 0; st == MM1_OK && i < index.len / ROW_BYTES; i++) {
            const uint8_t *row = index.data + i * ROW_BYTES;
            const uint32_t offset = load_le32(row), len = load_le32(row + 4);
            if (offset > data.len || len > data.len - offset) {
                st = mm1_error_set(err, MM1_E_FORMAT, "'%s': block %zu lies at %u + %u, outside of its %zu bytes",
                                   mm1_buf_str(&path), i, offset, len, data.len);
            } else if (len > 0) {
                st = add_block(s, data.data + offset, len, load_le32(row + 8), i, err);
            }
        }
        mm1_map_close(&index);
        mm1_map_close(&data);
        mm1_buf_deinit(&path);
    }
    return st;
}

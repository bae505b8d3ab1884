/* source_text.c - folders (or one file) of plain text, Markdown and JSON lines, compressed or not.
 *
 *   .txt              paragraphs apart by empty lines
 *   .md               the same, "# " begins a heading, fenced code is left out
 *   .jsonl, .jsonl.zst, .jsonl.gz   one {"text": "..."} a line, each a page of its own
 *
 * A file is a group; a line of JSON is its own. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/page_cut.h"
#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

enum { MAX_TEXT_BYTES = 1 << 30 };

/* Reads and decompresses; NULL, and counted, if that fails. */
static char *read_any(mm1_source *s, const char *path, size_t *len)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry = NULL;
    mm1_buf text;
    mm1_buf_init(&text, MAX_TEXT_BYTES);
    la_ssize_t n = -1;
    if (a != NULL && archive_read_support_filter_all(a) >= ARCHIVE_WARN &&
        archive_read_support_format_raw(a) == ARCHIVE_OK && archive_read_support_format_empty(a) == ARCHIVE_OK &&
        archive_read_open_filename(a, path, 1 << 16) == ARCHIVE_OK) {
        const int r = archive_read_next_header(a, &entry);
        char block[1 << 15];
        n = r == ARCHIVE_EOF ? 0 : -1;
        while (r == ARCHIVE_OK && (n = archive_read_data(a, block, sizeof block)) > 0) {
            mm1_buf_append(&text, block, (size_t)n);
        }
    }
    (void)archive_read_free(a);
    *len = text.len;
    char *out = n == 0 ? mm1_buf_take(&text) : NULL;
    if (out == NULL) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_UNREADABLE, 1);
    }
    mm1_buf_deinit(&text);
    return out;
}

static mm1_status add_page(mm1_source *s, const char *origin, const char *sha256, const char *text, size_t len,
                           bool markdown, mm1_error *err)
{
    mm1_page_parts parts = {0};
    mm1_buf concept;
    int64_t n_code = 0;
    mm1_buf_init(&concept, 4096);
    mm1_buf_printf(&concept, "page:%s", origin);
    mm1_page page = {.source = s->index,
                     .path = mm1_corpus_strndup(s->corpus, origin, strlen(origin)),
                     .sha256 = sha256,
                     .concept = mm1_corpus_strndup(s->corpus, mm1_buf_str(&concept), concept.len)};
    mm1_status st = page.path != NULL && page.concept != NULL
                        ? mm1_page_parts_add_text(&parts, s->corpus, text, len, markdown, &n_code, err)
                        : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    mm1_corpus_drop(s->corpus, s->index, MM1_DROP_CODE_BLOCK, n_code);
    if (st == MM1_E_FORMAT) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NOT_UTF8, 1);
        st = MM1_OK;
    } else if (st == MM1_OK) {
        page.parts = parts.items;
        page.n_parts = parts.n;
        st = mm1_page_cut(s->corpus, &page, s->config->max_words, err);
    }
    mm1_page_parts_deinit(&parts);
    mm1_buf_deinit(&concept);
    return st;
}

static mm1_status add_json_lines(mm1_source *s, const char *origin, const char *sha256, const char *text, size_t len,
                                 mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_buf name;
    size_t number = 0;
    mm1_buf_init(&name, 4096);
    for (const char *line = text; st == MM1_OK && line < text + len;) {
        const size_t n = strcspn(line, "\n");
        number++;
        json_t *row = n > 0 ? json_loadb(line, n, 0, NULL) : NULL;
        const json_t *value = json_object_get(row, "text");
        if (json_is_string(value)) {
            mm1_buf_clear(&name);
            mm1_buf_printf(&name, "%s:%zu", origin, number);
            st = add_page(s, mm1_buf_str(&name), sha256, json_string_value(value), json_string_length(value), false,
                          err);
        } else if (n > 0) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_PAGE_UNPARSED, 1);
        }
        json_decref(row);
        line += n + 1;
    }
    mm1_buf_deinit(&name);
    return st;
}

static mm1_status read_file(mm1_source *s, const char *file, mm1_error *err)
{
    size_t len = 0;
    char sha256[MM1_SHA256_HEX_BYTES];
    char *text = read_any(s, file, &len);
    if (text == NULL) {
        return MM1_OK;
    }
    mm1_sha256_hex(sha256, text, len);
    const char *origin = mm1_source_origin(s, file), *hash = mm1_corpus_strndup(s->corpus, sha256, strlen(sha256));
    mm1_status st = MM1_OK;
    if (hash == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory");
    } else if (strstr(mm1_path_basename(file), ".jsonl") != NULL) {
        st = add_json_lines(s, origin, hash, text, len, err);
    } else {
        st = add_page(s, origin, hash, text, len, strstr(mm1_path_basename(file), ".md") != NULL, err);
    }
    mm1_free(text);
    return st;
}

mm1_status mm1__source_text(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    mm1_status st = MM1_OK;
    if (mm1_path_is_dir(s->path)) {
        st = mm1_source_walk(s->path, ".txt,.md,.jsonl,.zst,.gz", true, &files, NULL, err);
    } else if (!mm1_names_add(&files, s->path)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory");
    }
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        if (mm1_source_wants(s, files.items[i]) && !mm1_source_full(s, i)) {
            st = read_file(s, files.items[i], err);
        }
    }
    mm1_names_free(&files);
    return st;
}

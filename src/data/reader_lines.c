/* reader_lines.c - see reader_lines.h. */
#include "data/reader_lines.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <string.h>
#include <zstd.h>

static const size_t max_unpacked_bytes = (size_t)4 << 30; /* of one compressed file of lines */

static bool is_zstd(const char *path)
{
    return strcmp(mm1_path_extension(path), ".zst") == 0;
}

static mm1_status unpack(const char *path, const mm1_map *map, size_t max_bytes, mm1_buf *out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    size_t left = 1; /* 0 at the end of a frame */
    ZSTD_inBuffer in = {map->data, map->len, 0};
    ZSTD_DCtx *zstd = ZSTD_createDCtx();
    const size_t chunk_len = ZSTD_DStreamOutSize();
    char *chunk = mm1_alloc(chunk_len, 1);

    mm1_buf_init(out, max_bytes);
    if (zstd == NULL || chunk == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to unpack it", path);
        goto out;
    }
    while (in.pos < in.size) {
        ZSTD_outBuffer piece = {chunk, chunk_len, 0};
        left = ZSTD_decompressStream(zstd, &piece, &in);
        if (ZSTD_isError(left)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: byte %zu: cannot be unpacked: %s", path, in.pos,
                               ZSTD_getErrorName(left));
            goto out;
        }
        mm1_buf_append(out, chunk, piece.pos);
    }
    /* What a full chunk held back. */
    for (bool more = left != 0; more;) {
        ZSTD_outBuffer piece = {chunk, chunk_len, 0};
        left = ZSTD_decompressStream(zstd, &piece, &in);
        if (ZSTD_isError(left)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: cannot be unpacked: %s", path, ZSTD_getErrorName(left));
            goto out;
        }
        mm1_buf_append(out, chunk, piece.pos);
        more = left != 0 && piece.pos > 0 && mm1_buf_status(out) == MM1_OK;
    }
    if (mm1_buf_status(out) == MM1_E_LIMIT) {
        st = mm1_error_set(err, MM1_E_LIMIT, "%s: unpacks to more than the limit of %zu bytes", path, max_bytes);
    } else if (mm1_buf_status(out) != MM1_OK) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to unpack it", path);
    } else if (left != 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: %zu bytes, ends inside a frame; is it cut off?", path, map->len);
    }
out:
    mm1_free(chunk);
    (void)ZSTD_freeDCtx(zstd);
    if (st != MM1_OK) {
        mm1_buf_deinit(out);
    }
    return st;
}

mm1_status mm1_text_file_read(const char *path, size_t max_bytes, char **out, size_t *len, mm1_error *err)
{
    mm1_map map = {0};
    mm1_buf text;
    *out = NULL;
    if (!is_zstd(path)) {
        return mm1_file_read(path, max_bytes, out, len, err);
    }
    mm1_status st = mm1_map_open(&map, path, err);
    if (st != MM1_OK) {
        return st;
    }
    st = unpack(path, &map, max_bytes, &text, err);
    if (st == MM1_OK) {
        *len = text.len;
        *out = mm1_buf_take(&text);
        if (*out == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
        }
    }
    mm1_map_close(&map);
    return st;
}

static bool is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') {
            return false;
        }
    }
    return true;
}

static mm1_status add_line(mm1_line_index *lines, mm1_line line, const char *path, mm1_error *err)
{
    if (lines->n_lines == lines->cap_lines) {
        const size_t cap = lines->cap_lines == 0 ? 1024 : lines->cap_lines * 2;
        mm1_line *grown = mm1_realloc(lines->lines, cap, sizeof *grown);
        if (grown == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to index %zu lines", path, cap);
        }
        lines->lines = grown;
        lines->cap_lines = cap;
    }
    lines->lines[lines->n_lines++] = line;
    return MM1_OK;
}

static mm1_status open_file(mm1_line_file *f, const char *path, mm1_error *err)
{
    mm1_status st = mm1_map_open(&f->map, path, err);
    if (st != MM1_OK) {
        return st;
    }
    f->bytes = (const char *)f->map.data;
    f->len = f->map.len;
    if (is_zstd(path)) {
        mm1_buf text;
        st = unpack(path, &f->map, max_unpacked_bytes, &text, err);
        if (st == MM1_OK) {
            f->len = text.len;
            f->bytes = f->unpacked = mm1_buf_take(&text);
            if (f->unpacked == NULL) {
                st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path);
            }
        }
        mm1_map_close(&f->map);
    }
    return st;
}

static mm1_status index_lines(mm1_line_index *out, size_t i, const char *path, mm1_error *err)
{
    const mm1_line_file *f = &out->files[i];
    mm1_status st = MM1_OK;
    uint32_t number = 0;
    for (size_t at = 0; st == MM1_OK && at < f->len;) {
        const char *newline = memchr(f->bytes + at, '\n', f->len - at);
        const size_t len = newline != NULL ? (size_t)(newline - f->bytes) - at : f->len - at;
        number++;
        if (!is_blank(f->bytes + at, len)) {
            st = add_line(out, (mm1_line){at, len, (uint32_t)i, number}, path, err);
        }
        at += len + 1;
    }
    return st;
}

/* The first byte from `at` on that is no white space of JSON; len if there is none. */
static size_t skip_blanks(const mm1_line_file *f, size_t at)
{
    while (at < f->len &&
           (f->bytes[at] == ' ' || f->bytes[at] == '\t' || f->bytes[at] == '\r' || f->bytes[at] == '\n')) {
        at++;
    }
    return at;
}

/* Where the object that begins at `at` ends, by its brackets; len if it does not end. */
static size_t object_end(const mm1_line_file *f, size_t at)
{
    size_t depth = 0;
    bool in_string = false;
    for (; at < f->len; at++) {
        const char c = f->bytes[at];
        if (in_string) {
            at += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return at + 1;
        }
    }
    return f->len;
}

/* The objects of the list that begins at `at`. */
static mm1_status index_list(mm1_line_index *out, size_t i, size_t at, const char *path, mm1_error *err)
{
    const mm1_line_file *f = &out->files[i];
    mm1_status st = MM1_OK;
    uint32_t number = 0;
    at = skip_blanks(f, at + 1);
    bool ends = at < f->len && f->bytes[at] == ']';
    while (st == MM1_OK && !ends && at < f->len) {
        if (f->bytes[at] != '{') {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: byte %zu: an object of the list is expected", path, at);
        }
        const size_t end = object_end(f, at), next = skip_blanks(f, end);
        st = add_line(out, (mm1_line){at, end - at, (uint32_t)i, number++}, path, err);
        ends = next < f->len && f->bytes[next] == ']';
        at = ends ? next : skip_blanks(f, next + 1);
        if (st == MM1_OK && next < f->len && !ends && f->bytes[next] != ',') {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: byte %zu: a comma or the end of the list is expected", path,
                                 next);
        }
    }
    if (st == MM1_OK && !ends) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: %zu bytes, the list does not end; is it cut off?", path, f->len);
    }
    if (st == MM1_OK && skip_blanks(f, at + 1) != f->len) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: byte %zu: something comes behind the list", path, at + 1);
    }
    return st;
}

static mm1_status open_index(mm1_line_index *out, const mm1_names *paths, bool allow_lists, mm1_error *err)
{
    mm1_status st = MM1_OK;
    *out = (mm1_line_index){0};
    out->files = mm1_calloc(paths->n, sizeof *out->files);
    if (out->files == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu files of lines", paths->n);
    }
    out->n_files = paths->n;
    for (size_t i = 0; st == MM1_OK && i < paths->n; i++) {
        mm1_line_file *f = &out->files[i];
        st = open_file(f, paths->items[i], err);
        const size_t begin = st == MM1_OK && allow_lists ? skip_blanks(f, 0) : 0;
        f->is_list = st == MM1_OK && allow_lists && begin < f->len && f->bytes[begin] == '[';
        if (st == MM1_OK) {
            st = f->is_list ? index_list(out, i, begin, paths->items[i], err)
                            : index_lines(out, i, paths->items[i], err);
        }
    }
    if (st != MM1_OK) {
        mm1_line_index_close(out);
    }
    return st;
}

mm1_status mm1_line_index_open(mm1_line_index *out, const mm1_names *paths, mm1_error *err)
{
    return open_index(out, paths, false, err);
}

mm1_status mm1_line_index_open_json(mm1_line_index *out, const mm1_names *paths, mm1_error *err)
{
    return open_index(out, paths, true, err);
}

void mm1_line_index_close(mm1_line_index *lines)
{
    for (size_t i = 0; i < lines->n_files; i++) {
        mm1_map_close(&lines->files[i].map);
        mm1_free(lines->files[i].unpacked);
    }
    mm1_free(lines->files);
    mm1_free(lines->lines);
    *lines = (mm1_line_index){0};
}

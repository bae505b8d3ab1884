/* text_source.c - see text_source.h. */
#include "text/text_source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/lines.h"
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

enum { PIECE_BYTES = 64 << 10 };

struct mm1_text_source {
    const char *const *paths;
    size_t n_paths, i_path; /* i_path: the next to be opened */
    mm1_lines *lines;       /* of the file before it; NULL between files */
    bool json;
    json_t *object;   /* whose "text" was given last */
    mm1_buf piece;    /* plain text gathered */
    const char *held; /* a line that begins the next piece */
    size_t held_len;
    uint64_t bytes;
    mm1_error error;
};

mm1_status mm1_text_source_open(const char *const *paths, size_t n_paths, mm1_text_source **out, mm1_error *err)
{
    *out = mm1_calloc(1, sizeof **out);
    if (*out == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to read %zu files of text", n_paths);
    }
    (*out)->paths = paths;
    (*out)->n_paths = n_paths;
    mm1_buf_init(&(*out)->piece, (size_t)MM1_TEXT_SOURCE_MAX_LINE_BYTES + 2 * (size_t)PIECE_BYTES);
    return MM1_OK;
}

void mm1_text_source_close(mm1_text_source *s)
{
    if (s != NULL) {
        json_decref(s->object);
        mm1_lines_close(s->lines);
        mm1_buf_deinit(&s->piece);
        mm1_free(s);
    }
}

mm1_status mm1_text_source_status(const mm1_text_source *s, mm1_error *err)
{
    if (s->error.status != MM1_OK && err != NULL) {
        *err = s->error;
    }
    return s->error.status;
}

uint64_t mm1_text_source_bytes(const mm1_text_source *s)
{
    return s->bytes;
}

static bool ends_with(const char *s, const char *suffix)
{
    const size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

static bool is_blank(char c)
{
    /* Any byte that could belong to a space of another script counts as one. */
    return c == ' ' || (c >= '\t' && c <= '\r') || (unsigned char)c >= 0x80;
}

/* The text of one line of JSON; false at a failure. */
static bool give_json(mm1_text_source *s, const char *line, size_t line_len, const char **text, size_t *len)
{
    const char *path = s->paths[s->i_path - 1];
    json_error_t at;
    json_decref(s->object);
    s->object = json_loadb(line, line_len, JSON_ALLOW_NUL, &at);
    const json_t *value = json_object_get(s->object, "text");
    if (s->object == NULL) {
        (void)mm1_error_set(&s->error, MM1_E_FORMAT, "%s: line %" PRIu64 ": no JSON: %s", path,
                            mm1_lines_number(s->lines), at.text);
        return false;
    }
    if (!json_is_string(value)) {
        (void)mm1_error_set(&s->error, MM1_E_FORMAT, "%s: line %" PRIu64 ": no string \"text\"", path,
                            mm1_lines_number(s->lines));
        return false;
    }
    *text = json_string_value(value);
    *len = json_string_length(value);
    return true;
}

static bool give_piece(mm1_text_source *s, const char **text, size_t *len)
{
    if (mm1_buf_status(&s->piece) != MM1_OK) {
        (void)mm1_error_set(&s->error, MM1_E_NOMEM, "%s: no memory for a piece of text", s->paths[s->i_path - 1]);
        return false;
    }
    *text = mm1_buf_str(&s->piece);
    *len = s->piece.len;
    return true;
}

/* Whether the gathered text may end before this line. */
static bool may_cut(const mm1_buf *piece, const char *line)
{
    const size_t n = piece->len;
    return n >= PIECE_BYTES && piece->data[n - 1] == '\n' && !is_blank(piece->data[n - 2]) && !is_blank(line[0]);
}

/* The next text of the open file; *text is NULL at its end. */
static bool next_in_file(mm1_text_source *s, const char **text, size_t *len)
{
    *text = NULL;
    mm1_buf_clear(&s->piece);
    for (;;) {
        const char *line = s->held;
        size_t line_len = s->held_len;
        s->held = NULL;
        if (line == NULL && mm1_lines_next(s->lines, &line, &line_len, &s->error) != MM1_OK) {
            return false;
        }
        if (line == NULL) {
            return s->piece.len == 0 || give_piece(s, text, len);
        }
        if (s->json) {
            if (strspn(line, " \t\r\n") == line_len) {
                continue;
            }
            return give_json(s, line, line_len, text, len);
        }
        if (may_cut(&s->piece, line) ||
            (s->piece.len >= PIECE_BYTES && line_len > MM1_TEXT_SOURCE_MAX_LINE_BYTES / 2) ||
            s->piece.len >= MM1_TEXT_SOURCE_MAX_LINE_BYTES / 2) {
            s->held = line;
            s->held_len = line_len;
            return give_piece(s, text, len);
        }
        mm1_buf_append(&s->piece, line, line_len);
    }
}

bool mm1_text_source_next(void *ctx, const char **text, size_t *len)
{
    mm1_text_source *s = ctx;
    while (s->error.status == MM1_OK) {
        if (s->lines == NULL) {
            if (s->i_path == s->n_paths) {
                return false;
            }
            const char *path = s->paths[s->i_path++];
            s->json = ends_with(path, ".jsonl") || ends_with(path, ".jsonl.zst");
            if (mm1_lines_open(path, MM1_TEXT_SOURCE_MAX_LINE_BYTES, &s->lines, &s->error) != MM1_OK) {
                return false;
            }
        }
        if (!next_in_file(s, text, len)) {
            return false;
        }
        if (*text != NULL) {
            s->bytes += *len;
            return true;
        }
        mm1_lines_close(s->lines);
        s->lines = NULL;
    }
    return false;
}

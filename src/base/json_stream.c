/* json_stream.c - see json_stream.h.  A scanner that knows strings and brackets finds where an element ends; what it
 * means is read by jansson. */
#include "base/json_stream.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lines.h"
#include <string.h>

enum { MAX_ELEMENT_BYTES = 64 << 20, MAX_DEPTH = 512 };

struct mm1_json_stream {
    char *path;
    mm1_map map;
    size_t at;
    uint64_t line, number;
    char close;       /* ']' or '}': of the list or map that is read */
    mm1_lines *lines; /* one value a line; then there is no map */
    json_t *value;
    char *key;
    char reason[256];
};

static mm1_status wrong(const mm1_json_stream *s, const char *what, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_FORMAT, "%s:%llu: %s", s->path, (unsigned long long)s->line, what);
}

/* The next byte that is no white space; 0 at the end. */
static char peek(mm1_json_stream *s)
{
    for (; s->at < s->map.len; s->at++) {
        const char c = (char)s->map.data[s->at];
        if (c == '\n') {
            s->line++;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            return c;
        }
    }
    return '\0';
}

/* Behind the string that begins here; false if it does not end. */
static bool skip_string(mm1_json_stream *s)
{
    for (s->at++; s->at < s->map.len; s->at++) {
        const char c = (char)s->map.data[s->at];
        if (c == '\\') {
            s->at++;
        } else if (c == '"') {
            s->at++;
            return true;
        } else if (c == '\n') {
            s->line++;
        }
    }
    s->at = s->map.len;
    return false;
}

/* Behind the value that begins here: up to the bracket that closes it, or the end of a scalar. */
static bool skip_value(mm1_json_stream *s)
{
    int depth = 0;
    for (char c = peek(s); c != '\0'; c = peek(s)) {
        if (c == '"') {
            if (!skip_string(s)) {
                return false;
            }
        } else if (c == '[' || c == '{') {
            depth++;
            s->at++;
        } else if (c == ']' || c == '}') {
            if (depth == 0) {
                return true; /* nothing stands here */
            }
            depth--;
            s->at++;
        } else if (depth == 0 && c == ',') {
            return true;
        } else {
            s->at++;
            while (s->at < s->map.len && memchr(" \t\r\n,]}[{\"", s->map.data[s->at], 10) == NULL) {
                s->at++;
            }
        }
        if (depth > MAX_DEPTH) {
            return false;
        }
        if (depth == 0) {
            const char next = peek(s);
            if (next == ',' || next == ']' || next == '}' || next == '\0') {
                return true;
            }
        }
    }
    return false;
}

/* "key": at a member of a map, into s->key. */
static mm1_status read_key(mm1_json_stream *s, mm1_error *err)
{
    json_error_t where;
    const size_t begin = s->at;
    if (peek(s) != '"' || !skip_string(s)) {
        return wrong(s, "the key of a member is expected", err);
    }
    json_t *key = json_loadb((const char *)s->map.data + begin, s->at - begin, JSON_DECODE_ANY, &where);
    mm1_free(s->key);
    s->key = json_is_string(key) ? mm1_strdup(json_string_value(key)) : NULL;
    const bool is_key = json_is_string(key);
    json_decref(key);
    if (!is_key) {
        return wrong(s, "the key of a member is no text", err);
    }
    if (s->key == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for a key", s->path);
    }
    if (peek(s) != ':') {
        return wrong(s, "':' is expected behind a key", err);
    }
    s->at++;
    (void)peek(s);
    return MM1_OK;
}

/* Behind the bracket that opens the list or map. */
static mm1_status enter(mm1_json_stream *s, const char *member, mm1_error *err)
{
    const char c = peek(s);
    if (c != '[' && c != '{') {
        return wrong(s, member != NULL ? "the member is no list and no map" : "a list or a map is expected", err);
    }
    s->close = c == '[' ? ']' : '}';
    s->at++;
    return MM1_OK;
}

static mm1_status find_member(mm1_json_stream *s, const char *member, mm1_error *err)
{
    if (peek(s) != '{') {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: a map with the member \"%s\" is expected", s->path, member);
    }
    s->at++;
    while (peek(s) == '"') {
        mm1_status st = read_key(s, err);
        if (st != MM1_OK) {
            return st;
        }
        if (strcmp(s->key, member) == 0) {
            mm1_free(s->key);
            s->key = NULL;
            return enter(s, member, err);
        }
        if (!skip_value(s)) {
            return wrong(s, "the file ends too early", err);
        }
        if (peek(s) == ',') {
            s->at++;
        }
    }
    return mm1_error_set(err, MM1_E_FORMAT, "%s: has no member \"%s\"", s->path, member);
}

static mm1_status create(const char *path, mm1_json_stream **out, mm1_error *err)
{
    mm1_json_stream *s = mm1_calloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL || (s->path = mm1_strdup(path)) == NULL) {
        mm1_free(s);
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read it", path);
    }
    s->line = 1;
    *out = s;
    return MM1_OK;
}

mm1_status mm1_json_stream_open(const char *path, const char *member, mm1_json_stream **out, mm1_error *err)
{
    mm1_json_stream *s = NULL;
    *out = NULL;
    mm1_status st = create(path, &s, err);
    st = st != MM1_OK ? st : mm1_map_open(&s->map, path, err);
    if (st == MM1_OK) {
        if (s->map.len >= 3 && memcmp(s->map.data, "\xef\xbb\xbf", 3) == 0) {
            s->at = 3;
        }
        st = member != NULL ? find_member(s, member, err) : enter(s, NULL, err);
    }
    if (st != MM1_OK) {
        mm1_json_stream_close(s);
        return st;
    }
    *out = s;
    return MM1_OK;
}

mm1_status mm1_json_stream_open_lines(const char *path, mm1_json_stream **out, mm1_error *err)
{
    mm1_json_stream *s = NULL;
    *out = NULL;
    mm1_status st = create(path, &s, err);
    st = st != MM1_OK ? st : mm1_lines_open(path, MAX_ELEMENT_BYTES, &s->lines, err);
    if (st != MM1_OK) {
        mm1_json_stream_close(s);
        return st;
    }
    *out = s;
    return MM1_OK;
}

void mm1_json_stream_close(mm1_json_stream *s)
{
    if (s != NULL) {
        json_decref(s->value);
        mm1_lines_close(s->lines);
        mm1_map_close(&s->map);
        mm1_free(s->key);
        mm1_free(s->path);
        mm1_free(s);
    }
}

/* Gives text [len], which may be no JSON at all. */
static void give(mm1_json_stream *s, const char *text, size_t len, uint64_t line, mm1_json_element *e)
{
    json_error_t where;
    s->value = json_loadb(text, len, JSON_DECODE_ANY, &where);
    if (s->value == NULL) {
        memcpy(s->reason, where.text, sizeof where.text < sizeof s->reason ? sizeof where.text : sizeof s->reason);
        s->reason[sizeof s->reason - 1] = '\0';
    }
    *e = (mm1_json_element){s->value, s->key, text, len, ++s->number, line, s->value == NULL ? s->reason : NULL};
}

static mm1_status next_line(mm1_json_stream *s, mm1_json_element *e, bool *more, mm1_error *err)
{
    const char *line = NULL;
    size_t len = 0;
    do {
        const mm1_status st = mm1_lines_next(s->lines, &line, &len, err);
        if (st != MM1_OK) {
            return st;
        }
    } while (line != NULL && strspn(line, " \t\r\n") == len);
    *more = line != NULL;
    if (line != NULL) {
        give(s, line, len, mm1_lines_number(s->lines), e);
    }
    return MM1_OK;
}

mm1_status mm1_json_stream_next(mm1_json_stream *s, mm1_json_element *e, bool *more, mm1_error *err)
{
    json_decref(s->value);
    s->value = NULL;
    *more = false;
    if (s->lines != NULL) {
        return next_line(s, e, more, err);
    }
    char c = peek(s);
    if (c == ',' && s->number > 0) {
        s->at++;
        c = peek(s);
    }
    if (c == s->close) {
        return MM1_OK;
    }
    mm1_status st = s->close == '}' ? read_key(s, err) : MM1_OK;
    if (st != MM1_OK) {
        return st;
    }
    (void)peek(s);
    const size_t begin = s->at;
    const uint64_t line = s->line;
    if (!skip_value(s) || s->at == s->map.len) {
        return wrong(s, "the file ends too early, or is nested too deep", err);
    }
    if (s->at == begin) {
        return wrong(s, "a value is expected", err);
    }
    if (s->at - begin > MAX_ELEMENT_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s:%llu: an element of %zu bytes is over the limit", s->path,
                             (unsigned long long)line, s->at - begin);
    }
    give(s, (const char *)s->map.data + begin, s->at - begin, line, e);
    *more = true;
    return MM1_OK;
}

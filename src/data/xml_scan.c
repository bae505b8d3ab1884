/* xml_scan.c - see xml_scan.h. */
#include "data/xml_scan.h"

#include <string.h>
#include <utf8proc.h>

mm1_xml mm1_xml_begin(const char *text, size_t len)
{
    return (mm1_xml){.at = text, .end = text + len};
}

static const char *find(const char *at, const char *end, const char *what)
{
    return memmem(at, (size_t)(end - at), what, strlen(what));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static mm1_xml_kind finish(mm1_xml *x)
{
    x->at = x->end;
    x->kind = MM1_XML_END;
    return MM1_XML_END;
}

/* Passes over "<!-- -->", "<? ?>" and "<!DOCTYPE [...]>"; false if it does not end. */
static bool skip_markup(mm1_xml *x)
{
    const size_t left = (size_t)(x->end - x->at);
    const char *stop = NULL;
    if (left >= 4 && memcmp(x->at, "<!--", 4) == 0) {
        stop = find(x->at + 4, x->end, "-->");
        x->at = stop != NULL ? stop + 3 : x->end;
    } else if (x->at[1] == '?') {
        stop = find(x->at, x->end, "?>");
        x->at = stop != NULL ? stop + 2 : x->end;
    } else {
        int depth = 0;
        for (stop = x->at; stop < x->end && (*stop != '>' || depth > 0); stop++) {
            depth += (*stop == '[') - (*stop == ']');
        }
        x->at = stop < x->end ? stop + 1 : x->end;
        stop = stop < x->end ? stop : NULL;
    }
    return stop != NULL;
}

/* The '>' that ends the tag, quotes respected. */
static const char *tag_end(const mm1_xml *x)
{
    char quote = '\0';
    for (const char *p = x->at; p < x->end; p++) {
        if (quote != '\0') {
            quote = *p == quote ? '\0' : quote;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (*p == '>') {
            return p;
        }
    }
    return NULL;
}

mm1_xml_kind mm1_xml_next(mm1_xml *x)
{
    for (;;) {
        const size_t left = (size_t)(x->end - x->at);
        if (left == 0) {
            return finish(x);
        }
        if (*x->at != '<') {
            const char *stop = memchr(x->at, '<', left);
            x->body = x->at;
            x->body_len = stop != NULL ? (size_t)(stop - x->at) : left;
            x->at += x->body_len;
            x->is_cdata = false;
            return x->kind = MM1_XML_TEXT;
        }
        if (left >= 9 && memcmp(x->at, "<![CDATA[", 9) == 0) {
            const char *stop = find(x->at, x->end, "]]>");
            if (stop == NULL) {
                return finish(x);
            }
            x->body = x->at + 9;
            x->body_len = (size_t)(stop - x->body);
            x->at = stop + 3;
            x->is_cdata = true;
            return x->kind = MM1_XML_TEXT;
        }
        if (left < 3) {
            return finish(x);
        }
        if (x->at[1] == '!' || x->at[1] == '?') {
            if (!skip_markup(x)) {
                return finish(x);
            }
            continue;
        }
        const char *stop = tag_end(x);
        if (stop == NULL) {
            return finish(x);
        }
        const bool close = x->at[1] == '/';
        const char *name = x->at + 1 + close, *p = name;
        while (p < stop && !is_space(*p) && *p != '/') {
            if (*p == ':') {
                name = p + 1;
            }
            p++;
        }
        x->name = name;
        x->name_len = (size_t)(p - name);
        x->is_empty = !close && stop[-1] == '/';
        x->body = p;
        x->body_len = (size_t)(stop - p) - (x->is_empty && p < stop ? 1 : 0);
        x->at = stop + 1;
        return x->kind = close ? MM1_XML_CLOSE : MM1_XML_OPEN;
    }
}

bool mm1_xml_is(const mm1_xml *x, mm1_xml_kind kind, const char *name)
{
    return x->kind == kind && strlen(name) == x->name_len && memcmp(x->name, name, x->name_len) == 0;
}

void mm1_xml_decode(const char *text, size_t len, mm1_buf *out)
{
    static const struct {
        const char *name;
        char c;
    } named[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    for (size_t i = 0; i < len; i++) {
        const char *semicolon = text[i] == '&' ? memchr(text + i, ';', len - i < 12 ? len - i : 12) : NULL;
        const size_t n = semicolon != NULL ? (size_t)(semicolon - text) - i - 1 : 0;
        bool done = false;
        if (n >= 2 && text[i + 1] == '#') {
            const bool hex = text[i + 2] == 'x' || text[i + 2] == 'X';
            utf8proc_int32_t c = 0;
            bool valid = n > (hex ? 2u : 1u);
            for (const char *p = text + i + 2 + hex; valid && p < semicolon; p++) {
                const int d = *p >= '0' && *p <= '9'                        ? *p - '0'
                              : hex && (*p | 32) >= 'a' && (*p | 32) <= 'f' ? (*p | 32) - 'a' + 10
                                                                            : -1;
                valid = d >= 0 && c <= 0x110000;
                c = c * (hex ? 16 : 10) + d;
            }
            if (valid && c > 0 && utf8proc_codepoint_valid(c)) {
                utf8proc_uint8_t bytes[4];
                mm1_buf_append(out, bytes, (size_t)utf8proc_encode_char(c, bytes));
                done = true;
            }
        }
        for (size_t k = 0; !done && n > 0 && k < sizeof named / sizeof named[0]; k++) {
            if (strlen(named[k].name) == n && memcmp(named[k].name, text + i + 1, n) == 0) {
                mm1_buf_putc(out, named[k].c);
                done = true;
            }
        }
        if (done) {
            i += n + 1;
        } else {
            mm1_buf_putc(out, text[i]);
        }
    }
}

bool mm1_xml_attribute(const mm1_xml *x, const char *name, mm1_buf *out)
{
    const size_t n = strlen(name);
    const char *p = x->body, *end = x->body + x->body_len;
    while (x->kind == MM1_XML_OPEN && p < end) {
        while (p < end && (is_space(*p) || *p == '/')) {
            p++;
        }
        const char *key = p;
        while (p < end && *p != '=' && !is_space(*p)) {
            key = *p == ':' ? p + 1 : key;
            p++;
        }
        const size_t key_len = (size_t)(p - key);
        while (p < end && (is_space(*p) || *p == '=')) {
            p++;
        }
        if (p >= end || (*p != '"' && *p != '\'')) {
            return false;
        }
        const char *value = p + 1, *stop = memchr(value, *p, (size_t)(end - value));
        if (stop == NULL) {
            return false;
        }
        if (key_len == n && memcmp(key, name, n) == 0) {
            mm1_xml_decode(value, (size_t)(stop - value), out);
            return true;
        }
        p = stop + 1;
    }
    return false;
}

void mm1_xml_text(mm1_xml *x, mm1_buf *out)
{
    int depth = x->kind == MM1_XML_OPEN && !x->is_empty;
    while (depth > 0 && mm1_xml_next(x) != MM1_XML_END) {
        if (x->kind == MM1_XML_TEXT) {
            if (x->is_cdata) {
                mm1_buf_append(out, x->body, x->body_len);
            } else {
                mm1_xml_decode(x->body, x->body_len, out);
            }
        } else {
            mm1_buf_putc(out, ' ');
            depth += x->kind == MM1_XML_OPEN && !x->is_empty;
            depth -= x->kind == MM1_XML_CLOSE;
        }
    }
}

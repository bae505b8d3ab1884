/* buf.c - see buf.h. */
#include "base/buf.h"

#include "base/alloc.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mm1_buf_init(mm1_buf *b, size_t max)
{
    *b = (mm1_buf){.max = max};
}

void mm1_buf_deinit(mm1_buf *b)
{
    mm1_free(b->data);
    *b = (mm1_buf){0};
}

void mm1_buf_clear(mm1_buf *b)
{
    b->len = 0;
    b->status = MM1_OK;
    if (b->data != NULL) {
        b->data[0] = '\0';
    }
}

/* Room for `more` bytes and the NUL. */
static bool reserve(mm1_buf *b, size_t more)
{
    if (b->status != MM1_OK) {
        return false;
    }
    if (more > b->max - b->len) {
        b->status = MM1_E_LIMIT;
        return false;
    }
    size_t need = b->len + more + 1;
    if (need > b->cap) {
        size_t cap = b->cap < 128 ? 256 : b->cap;
        while (cap < need) {
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        }
        char *data = mm1_realloc(b->data, cap, 1);
        if (data == NULL) {
            b->status = MM1_E_NOMEM;
            return false;
        }
        b->data = data;
        b->cap = cap;
    }
    return true;
}

void mm1_buf_append(mm1_buf *b, const void *bytes, size_t len)
{
    if (reserve(b, len)) {
        if (len != 0) {
            memcpy(b->data + b->len, bytes, len);
        }
        b->len += len;
        b->data[b->len] = '\0';
    }
}

void mm1_buf_puts(mm1_buf *b, const char *s)
{
    mm1_buf_append(b, s, strlen(s));
}

void mm1_buf_putc(mm1_buf *b, char c)
{
    mm1_buf_append(b, &c, 1);
}

void mm1_buf_printf(mm1_buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        b->status = MM1_E_INTERNAL;
    } else if (reserve(b, (size_t)n)) {
        (void)vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void mm1_buf_put_le32(mm1_buf *b, uint32_t v)
{
    unsigned char bytes[4];
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(v >> (8 * i));
    }
    mm1_buf_append(b, bytes, sizeof bytes);
}

void mm1_buf_put_le64(mm1_buf *b, uint64_t v)
{
    mm1_buf_put_le32(b, (uint32_t)v);
    mm1_buf_put_le32(b, (uint32_t)(v >> 32));
}

void mm1_buf_put_json(mm1_buf *b, const char *s)
{
    mm1_buf_putc(b, '"');
    for (const char *p = s; *p != '\0'; p++) {
        const unsigned char c = (unsigned char)*p;
        switch (c) {
        case '"': mm1_buf_puts(b, "\\\""); break;
        case '\\': mm1_buf_puts(b, "\\\\"); break;
        case '\n': mm1_buf_puts(b, "\\n"); break;
        case '\r': mm1_buf_puts(b, "\\r"); break;
        case '\t': mm1_buf_puts(b, "\\t"); break;
        default:
            if (c < 0x20) {
                mm1_buf_printf(b, "\\u%04x", c);
            } else {
                mm1_buf_putc(b, *p);
            }
        }
    }
    mm1_buf_putc(b, '"');
}

void mm1_buf_put_html(mm1_buf *b, const char *s)
{
    for (const char *p = s; *p != '\0'; p++) {
        switch (*p) {
        case '&': mm1_buf_puts(b, "&amp;"); break;
        case '<': mm1_buf_puts(b, "&lt;"); break;
        case '>': mm1_buf_puts(b, "&gt;"); break;
        case '"': mm1_buf_puts(b, "&quot;"); break;
        case '\'': mm1_buf_puts(b, "&#39;"); break;
        default: mm1_buf_putc(b, *p);
        }
    }
}

void mm1_buf_put_base64(mm1_buf *b, const void *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i += 3) {
        const size_t left = len - i;
        const uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        const char quad[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                              left > 2 ? digits[v & 63] : '='};
        mm1_buf_append(b, quad, sizeof quad);
    }
}

const char *mm1_buf_str(const mm1_buf *b)
{
    return b->data != NULL ? b->data : "";
}

mm1_status mm1_buf_status(const mm1_buf *b)
{
    return b->status;
}

char *mm1_buf_take(mm1_buf *b)
{
    char *data = NULL;
    if (b->status == MM1_OK) {
        data = b->data != NULL ? b->data : mm1_strdup("");
        b->data = NULL;
    }
    mm1_buf_deinit(b);
    return data;
}

/* buf.h - a growable byte string with a hard maximum, always NUL-terminated.
 *
 * The first failure (maximum passed, no memory) sticks: later appends do nothing, and mm1_buf_status() says which it
 * was.  So a writer appends freely and checks once at the end.  Not thread-safe. */
#ifndef MM1_BASE_BUF_H
#define MM1_BASE_BUF_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_buf {
    char *data; /* NULL while empty; use mm1_buf_str() for a string that is never NULL */
    size_t len; /* bytes without the NUL */
    size_t cap;
    size_t max; /* bytes without the NUL that may ever be held */
    mm1_status status;
} mm1_buf;

void mm1_buf_init(mm1_buf *b, size_t max);
void mm1_buf_deinit(mm1_buf *b);
/* Empties; keeps the memory and clears a sticky failure. */
void mm1_buf_clear(mm1_buf *b);

void mm1_buf_append(mm1_buf *b, const void *bytes, size_t len);
void mm1_buf_puts(mm1_buf *b, const char *s);
void mm1_buf_putc(mm1_buf *b, char c);
void mm1_buf_printf(mm1_buf *b, const char *format, ...) MM1_PRINTF(2, 3);
void mm1_buf_put_le32(mm1_buf *b, uint32_t v);
void mm1_buf_put_le64(mm1_buf *b, uint64_t v);
/* Text as a JSON string with quotes; as HTML text; bytes as base64. */
void mm1_buf_put_json(mm1_buf *b, const char *s);
void mm1_buf_put_html(mm1_buf *b, const char *s);
void mm1_buf_put_base64(mm1_buf *b, const void *bytes, size_t len);

const char *mm1_buf_str(const mm1_buf *b);
mm1_status mm1_buf_status(const mm1_buf *b);
/* Gives the bytes to the caller, who frees them with mm1_free(); the buffer is empty afterwards.  NULL on failure. */
char *mm1_buf_take(mm1_buf *b);

#endif

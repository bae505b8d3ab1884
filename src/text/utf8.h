/* utf8.h - what writing and cutting UTF-8 needs on top of base/utf8.h, which reads it.
 *
 * Lengths are bytes.  No function reads at or behind s + len, allocates, or fails.  Thread-safe. */
#ifndef MM1_TEXT_UTF8_H
#define MM1_TEXT_UTF8_H

#include "base/utf8.h"
#include <stddef.h>
#include <stdint.h>

enum { MM1_UTF8_MAX_BYTES = 4 };

/* Writes one character, at most U+10FFFF and no surrogate, and returns its bytes, 1 to 4. */
size_t mm1_utf8_encode(char out[MM1_UTF8_MAX_BYTES], uint32_t code);

/* Length of the run at the start of s that holds no valid character: up to the next valid one or the end. */
size_t mm1_utf8_invalid_prefix(const char *s, size_t len);

/* How many bytes at the end, 0 to 3, begin a character that later bytes could complete.  Who sends text piece by piece
 * holds them back: `send = len - mm1_utf8_incomplete_tail(s, len)`.  Bytes that nothing can complete are not counted.
 */
size_t mm1_utf8_incomplete_tail(const char *s, size_t len);

#endif

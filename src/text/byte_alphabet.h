/* byte_alphabet.h - the printable characters by which tokenizer.json writes the 256 bytes (GPT-2's table).
 *
 * A byte that is a visible character of Latin-1 stands for itself; the 68 others take U+0100, U+0101, ... in order.  In
 * the order of these characters the visible bytes come first: that is the order of ids in a vocabulary trained here,
 * and the one that the `tokenizers` package uses.  Thread-safe. */
#ifndef MM1_TEXT_BYTE_ALPHABET_H
#define MM1_TEXT_BYTE_ALPHABET_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character of a byte, U+0021 to U+0143. */
uint32_t mm1_byte_char(uint8_t byte);
/* The byte of a character, -1 if it is outside the alphabet. */
int mm1_char_byte(uint32_t code);
/* The byte whose character is the rank-th (0 to 255) in order of code points. */
uint8_t mm1_byte_of_rank(int rank);

/* Appends bytes written in the alphabet (UTF-8). */
void mm1_bytes_spell(mm1_buf *out, const char *bytes, size_t len);
/* Appends the bytes that s, NUL-terminated UTF-8, spells; false (and nothing appended) if s has another character. */
bool mm1_bytes_unspell(mm1_buf *out, const char *s);

#endif

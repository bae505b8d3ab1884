/* unicode_class.h - which of the four kinds of character a pre-tokenizer pattern tells apart a code point is.
 *
 * The table is part of the source and not taken from a library, so that ids do not change when a system library moves
 * to another version of Unicode.  It is Unicode 16, made by tools/golden_tokenizer.py.  Thread-safe. */
#ifndef MM1_TEXT_UNICODE_CLASS_H
#define MM1_TEXT_UNICODE_CLASS_H

#include <stdint.h>

typedef enum mm1_char_class {
    MM1_CHAR_LETTER, /* \p{L} */
    MM1_CHAR_NUMBER, /* \p{N} */
    MM1_CHAR_SPACE,  /* \s: White_Space */
    MM1_CHAR_OTHER
} mm1_char_class;

/* MM1_CHAR_OTHER above U+10FFFF. */
mm1_char_class mm1_char_class_of(uint32_t code);

#endif

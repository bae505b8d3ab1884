/* prose.h - small chores on UTF-8 text from outside: clean it, compare it, count it.
 *
 * Threads: all functions are thread-safe; none keeps state. */
#ifndef MM1_DATA_PROSE_H
#define MM1_DATA_PROSE_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

bool mm1_prose_is_utf8(const char *text, size_t len);

/* Appends `text` with every run of white space (no-break spaces included) as one space, none at either end; control
 * characters, soft hyphens, zero-width spaces and byte-order marks are left out.  False, and nothing appended, if the
 * text is not valid UTF-8. */
bool mm1_prose_squeeze(mm1_buf *out, const char *text, size_t len);

/* The same for text whose lines matter: each line keeps its indentation, trailing space goes, and more than one empty
 * line in a row becomes one. */
bool mm1_prose_squeeze_lines(mm1_buf *out, const char *text, size_t len);

/* Appends the form in which two captions are compared: case folded, accents removed, everything but letters and digits
 * one space, "a", "an" and "the" left out, e.g. "An Indian blackbuck." -> "indian blackbuck".  Symbols such as emoji
 * count as letters.  Falls back to the squeezed text where nothing would be left ("the"). */
void mm1_prose_key(mm1_buf *out, const char *text, size_t len);

/* Words are runs of anything but white space. */
size_t mm1_prose_words(const char *text, size_t len);

/* Letters of any script, at least `least` of them. */
bool mm1_prose_has_letters(const char *text, size_t len, size_t least);

/* "BigRedBall_02-photo" -> "Big Red Ball photo": underscores, hyphens between letters and changes of case become
 * spaces, a trailing number goes.  For names of files. */
void mm1_prose_from_name(mm1_buf *out, const char *name, size_t len);

/* Latin-1 to UTF-8. */
void mm1_prose_from_latin1(mm1_buf *out, const char *bytes, size_t len);

#endif

/* split_pattern.h - cutting text by a regular expression, as the `Split` pre-tokenizer with behaviour "Isolated" does.
 *
 * Every match is a piece and every gap between matches is a piece, so that the pieces make up the text.  Patterns are
 * written for Oniguruma (Ruby syntax); the part of it that tokenizers use is rewritten for PCRE2 so that it means the
 * same, and all else is refused by name.  \p{..} follows the Unicode version of the system's PCRE2.
 *
 * Threads: an mm1_split is read-only; each thread has its own cursors. */
#ifndef MM1_TEXT_SPLIT_PATTERN_H
#define MM1_TEXT_SPLIT_PATTERN_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct mm1_split mm1_split;

enum { MM1__MAX_PATTERN_BYTES = 16384 };

/* MM1_E_UNSUPPORTED for syntax outside the known part, MM1_E_FORMAT for a pattern that does not compile. */
MM1_NODISCARD mm1_status mm1_split_create(const char *pattern, mm1_split **out, mm1_error *err);
void mm1_split_destroy(mm1_split *s); /* accepts NULL */
/* The pattern as it was given. */
const char *mm1_split_pattern(const mm1_split *s);

/* A walk over the pieces of one text. */
typedef struct mm1_split_cursor {
    const mm1_split *split;
    const char *text;
    size_t len, pos;               /* pos: end of the last piece given */
    size_t match_begin, match_end; /* a match found and not yet given, if has_match */
    size_t search;                 /* where to look for the next match */
    bool has_match;
    bool is_gap;      /* of the last piece given: it lies between matches */
    void *match_data; /* pcre2_match_data */
    void *match_context;
} mm1_split_cursor;

/* text must be valid UTF-8 and stay until mm1_split_cursor_close(). */
MM1_NODISCARD mm1_status mm1_split_cursor_open(mm1_split_cursor *c, const mm1_split *s, const char *text, size_t len,
                                               mm1_error *err);
/* The next piece as [*begin, *end); *begin == *end at the end of the text.  MM1_E_LIMIT if the pattern needs more steps
 * on this text than is reasonable. */
MM1_NODISCARD mm1_status mm1_split_cursor_next(mm1_split_cursor *c, size_t *begin, size_t *end, mm1_error *err);
void mm1_split_cursor_close(mm1_split_cursor *c); /* accepts a zeroed cursor */

/* Length of the first piece of valid UTF-8 (len > 0) by GPT-2's pattern
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * scanned by hand with the classes of unicode_class.h. */
size_t mm1_gpt2_piece(const char *text, size_t len);

#endif

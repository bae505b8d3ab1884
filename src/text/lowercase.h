/* lowercase.h - small letters, a character at a time, as the normalizer `Lowercase` of tokenizers makes them: by the
 * simple mappings of utf8proc's Unicode, and U+0130 in full; a capital sigma is never a final one. */
#ifndef MM1_TEXT_LOWERCASE_H
#define MM1_TEXT_LOWERCASE_H

#include <mm1/error.h>
#include <stddef.h>

/* Of valid UTF-8 into *out, freed by the caller with mm1_free().  MM1_E_NOMEM only, with *out NULL.  text may not be
 * *out.  Thread-safe. */
MM1_NODISCARD mm1_status mm1_lowercase(const char *text, size_t len, char **out, size_t *out_len, mm1_error *err);

#endif

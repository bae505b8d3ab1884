/* nfc.h - Unicode normalization form C, by the tables of utf8proc. */
#ifndef MM1_TEXT_NFC_H
#define MM1_TEXT_NFC_H

#include <mm1/error.h>
#include <stddef.h>

/* Puts the NFC of valid UTF-8 into *out, freed by the caller with mm1_free(); *out is NULL if text already is NFC in an
 * obvious way (no character from U+0300 on).  n log n in the longest run of combining marks.  MM1_E_NOMEM only.
 * Thread-safe. */
MM1_NODISCARD mm1_status mm1_nfc(const char *text, size_t len, char **out, size_t *out_len, mm1_error *err);

#endif

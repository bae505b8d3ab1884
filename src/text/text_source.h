/* text_source.h - text for the trainer of tokenizers, out of files: plain text, or lines of JSON with a "text".
 *
 * A name that ends in .jsonl or .jsonl.zst is read as JSON lines, any other as text.  Plain text comes in pieces of
 * some 64 KiB, cut where a line ends and begins with no space, so that the pre-tokens are those of the whole file.
 * Threads: one at a time. */
#ifndef MM1_TEXT_TEXT_SOURCE_H
#define MM1_TEXT_TEXT_SOURCE_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_text_source mm1_text_source;

enum { MM1_TEXT_SOURCE_MAX_LINE_BYTES = 64 << 20 };

/* paths [n_paths] is borrowed until mm1_text_source_close(); the files are opened one after the other. */
MM1_NODISCARD mm1_status mm1_text_source_open(const char *const *paths, size_t n_paths, mm1_text_source **out,
                                              mm1_error *err);
void mm1_text_source_close(mm1_text_source *s); /* accepts NULL */

/* An mm1_text_next; ctx is the source.  Gives false at the end and at a failure. */
bool mm1_text_source_next(void *ctx, const char **text, size_t *len);

/* MM1_OK, or why the source stopped early.  Ask when mm1_text_source_next() has given false. */
MM1_NODISCARD mm1_status mm1_text_source_status(const mm1_text_source *s, mm1_error *err);
/* Bytes of text given so far. */
uint64_t mm1_text_source_bytes(const mm1_text_source *s);

#endif

/* reader.h - files on disk as a list of documents with random access.
 *
 * A reader opens all files that its pattern names, indexes them once, and then gives sample i as a document: a caption
 * pair is [image][text], a page its parts in order, a text one part; all text is trained on.  A conversation is what
 * its chat template makes of it, and its answers are trained on.  Pictures stay encoded.
 *
 * Errors at open name the file: MM1_E_IO (missing, unreadable), MM1_E_FORMAT (cut short), MM1_E_LIMIT, MM1_E_NOMEM.
 * Errors of get() name the sample; mm1_reader_is_bad_sample() tells a bad sample from trouble of the machine.
 *
 * Threads: mm1_reader_get() is thread-safe. */
#ifndef MM1_DATA_READER_H
#define MM1_DATA_READER_H

#include "data/data_config.h"
#include "model/document.h"
#include <stdbool.h>

typedef struct mm1_reader mm1_reader; /* opaque */

/* All samples of the files.  pattern: mm1_path_glob() of mm1_packages_path().  format: not MM1_DATA_AUTO.
 * Conversations are put by the template plain; their pictures lie beside the first file, or in the tar. */
MM1_NODISCARD mm1_status mm1_reader_open(mm1_data_format format, const char *pattern, mm1_reader **out, mm1_error *err);
/* All that a source of a recipe says: its format, where the pictures of its conversations are, which field of its
 * captions is their text, and which of its samples are used.  chat: of conversations; MM1_CHAT_AUTO stands for plain.
 * seed: of what is drawn at random.  MM1_E_CONFIG for a sampling strategy that says nothing, and for a folder of
 * pictures beside tar files that hold them. */
MM1_NODISCARD mm1_status mm1_reader_open_source(const mm1_data_source *source, mm1_chat_template chat, uint64_t seed,
                                                mm1_reader **out, mm1_error *err);
void mm1_reader_destroy(mm1_reader *r); /* accepts NULL */
int64_t mm1_reader_len(const mm1_reader *r);
/* Sample i of [0, mm1_reader_len()).  *out is overwritten; on failure it is the empty document. */
MM1_NODISCARD mm1_status mm1_reader_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err);

/* Samples which[n], n > 0, as one document, named by the first: captions in lines; conversations as one, with the
 * system's message of the first.  Other formats have no such form: MM1_E_ARG for n > 1. */
MM1_NODISCARD mm1_status mm1_reader_get_together(const mm1_reader *r, const int64_t *which, size_t n, mm1_document *out,
                                                 mm1_error *err);

/* Whether a failure is the sample's own: malformed, unsupported or over a limit. */
bool mm1_reader_is_bad_sample(mm1_status status);

#endif

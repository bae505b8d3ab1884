/* text_stream.h - the text of a recipe's data sources, one piece after another: what a tokenizer is trained on.
 *
 * Sources take turns in proportion to their weights, counted in bytes, until each that has a weight has been read to
 * its end at least once or max_bytes are given; a small source is read up to MAX_PASSES times, so that captions count
 * beside prose. Pictures are skipped.  Samples that cannot be read are skipped and counted.
 * Files that two sources name, one by one and together (data_config.h), count as one with the weights of both.
 *
 * Threads: one at a time. */
#ifndef MM1_DATA_TEXT_STREAM_H
#define MM1_DATA_TEXT_STREAM_H

#include "data/data_config.h"
#include <stdint.h>

typedef struct mm1_text_stream mm1_text_stream;

MM1_NODISCARD mm1_status mm1_text_stream_open(const mm1_data_config *config, int64_t max_bytes, mm1_text_stream **out,
                                              mm1_error *err);
void mm1_text_stream_close(mm1_text_stream *s); /* accepts NULL */
/* An mm1_text_next (tokenizer.h); ctx is the stream. */
bool mm1_text_stream_next(void *ctx, const char **text, size_t *len);
/* What ended the stream: MM1_OK, or the error that did. */
MM1_NODISCARD mm1_status mm1_text_stream_status(const mm1_text_stream *s, mm1_error *err);
int64_t mm1_text_stream_bytes(const mm1_text_stream *s);

#endif

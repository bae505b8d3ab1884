/* inspect.h - what the model will really see: rows of a batch as text for a terminal, and as a page with the pictures.
 *
 * The text form marks with ^ what is learned; bytes that are no printable UTF-8 are escaped, so that data cannot write
 * control codes to a terminal:
 *
 *   row 0: captions; 61 of 64 positions used, 2 examples, 1 image, 37 tokens learned
 *     example 0: 14 positions
 *          0 |<|endoftext|>|[image 0: 4 slots]|a| cat| 12|<|endoftext|>|
 *                                              ^ ^^^^ ^^^ ^^^^^^^^^^^^^
 *
 * The page is one file without scripts or links, for light and dark screens; its pictures are the pixels of the batch,
 * de-normalised; behind the crops of a fixed grid stands the picture that they make together.  Append to a buffer, then
 * check mm1_buf_status(). */
#ifndef MM1_DATA_INSPECT_H
#define MM1_DATA_INSPECT_H

#include "data/loader.h"

/* Rows [first, first + n) of a batch made by loader options; `number` is what the first row is called. */
void mm1_data_inspect_text(const mm1_loader_options *options, const mm1_batch *batch, int64_t first, int64_t n,
                           int64_t number, mm1_buf *out);

/* A page is one begin, rows, one end. */
void mm1_data_inspect_html_begin(const mm1_loader_options *options, mm1_buf *out);
MM1_NODISCARD mm1_status mm1_data_inspect_html_rows(const mm1_loader_options *options, const mm1_batch *batch,
                                                    int64_t first, int64_t n, int64_t number, mm1_buf *out,
                                                    mm1_error *err);
void mm1_data_inspect_html_end(const char *footer, mm1_buf *out);

/* The next n_rows rows of the loader into either or both (NULL: not wanted), with the statistics of the sources at the
 * end.  What mm1_loader_next() gives; MM1_E_LIMIT or MM1_E_NOMEM if a buffer is full. */
MM1_NODISCARD mm1_status mm1_data_inspect(mm1_loader *loader, int64_t n_rows, mm1_buf *text, mm1_buf *html,
                                          mm1_error *err);

#endif

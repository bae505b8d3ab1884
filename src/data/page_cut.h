/* page_cut.h - long pages into pieces of at most max_words words, at headings if possible. */
#ifndef MM1_DATA_PAGE_CUT_H
#define MM1_DATA_PAGE_CUT_H

#include "data/corpus.h"
#include <mm1/error.h>

/* A growing list of parts. */
typedef struct mm1_page_parts {
    mm1_page_part *items;
    size_t n, cap;
} mm1_page_parts;

void mm1_page_parts_deinit(mm1_page_parts *parts);
/* False if memory is short. */
bool mm1_page_parts_add(mm1_page_parts *parts, mm1_page_part part);

/* Appends paragraphs of plain text: an empty line ends one, the lines of one are joined; in Markdown, "# " begins a
 * heading and fenced code is left out and counted in *n_code (may be NULL).  Text is copied into the corpus.
 * MM1_E_NOMEM; text that is not UTF-8 is MM1_E_FORMAT. */
MM1_NODISCARD mm1_status mm1_page_parts_add_text(mm1_page_parts *parts, mm1_corpus *corpus, const char *text,
                                                 size_t len, bool markdown, int64_t *n_code, mm1_error *err);

/* Adds the pieces of a page to the corpus.  Sections (a heading of level 1 to 3 and what follows it) go together while
 * they fit; one that does not fit is cut between paragraphs, and a paragraph over max_words after a sentence. */
MM1_NODISCARD mm1_status mm1_page_cut(mm1_corpus *corpus, const mm1_page *page, int64_t max_words, mm1_error *err);

#endif

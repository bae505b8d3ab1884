/* html.h - what a reader of an HTML page would read: headings, paragraphs and pictures in the order of the document.
 *
 * Navigation, headers, footers, scripts, forms and the furniture of Sphinx, DocBook, Doxygen and mdBook are left out;
 * if the page marks its main part (<main>, role="main"), only that is taken.  Code blocks and tables without pictures
 * are left out and counted.
 *
 * Threads: all functions are thread-safe; a page belongs to one thread. */
#ifndef MM1_DATA_HTML_H
#define MM1_DATA_HTML_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mm1_html_kind { MM1_HTML_TEXT, MM1_HTML_HEADING, MM1_HTML_PICTURE } mm1_html_kind;

typedef struct mm1_html_block {
    mm1_html_kind kind;
    int level;  /* HEADING: 1 .. 6 */
    int joint;  /* TEXT: mm1_joint, how it follows the text before */
    char *text; /* owned; TEXT, HEADING: squeezed UTF-8; PICTURE: the address as written */
    char *alt;  /* owned; PICTURE: may be NULL */
} mm1_html_block;

typedef struct mm1_html_page {
    mm1_html_block *blocks;
    size_t n, cap;
    int64_t n_code, n_tables; /* left out */
} mm1_html_page;

enum { MM1_HTML_MAX_BYTES = 16 << 20 };

/* MM1_E_LIMIT (over MM1_HTML_MAX_BYTES, nested too deep), MM1_E_FORMAT (not UTF-8, unless the page says Latin-1),
 * MM1_E_NOMEM.  On failure *page is empty. */
MM1_NODISCARD mm1_status mm1_html_extract(mm1_html_page *page, const char *html, size_t len, mm1_error *err);
void mm1_html_page_deinit(mm1_html_page *page); /* accepts a zeroed page */

#endif

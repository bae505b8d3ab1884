/* xml_scan.h - a forward scan over XML that somebody else wrote: tags, their attributes, and the text between them.
 *
 * For metadata (RDF of pictures, CLDR, map descriptions), not for documents: nesting is not checked, namespaces are cut
 * off ("dc:title" is "title"), DTDs, comments and processing instructions are passed over.  Broken input ends the scan,
 * it never reads outside.  Strings point into the input.  Threads: a scan belongs to one thread. */
#ifndef MM1_DATA_XML_SCAN_H
#define MM1_DATA_XML_SCAN_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

typedef enum mm1_xml_kind { MM1_XML_END, MM1_XML_OPEN, MM1_XML_CLOSE, MM1_XML_TEXT } mm1_xml_kind;

typedef struct mm1_xml {
    const char *at, *end;
    mm1_xml_kind kind;
    const char *name; /* OPEN, CLOSE: [name_len], without the namespace */
    size_t name_len;
    const char *body; /* OPEN: the attributes as written; TEXT: the text, entities not decoded */
    size_t body_len;
    bool is_empty; /* OPEN: <name/>, no CLOSE follows */
    bool is_cdata; /* TEXT: has no entities */
} mm1_xml;

mm1_xml mm1_xml_begin(const char *text, size_t len);
/* Moves to the next tag or text and returns its kind. */
mm1_xml_kind mm1_xml_next(mm1_xml *x);
/* True at an OPEN (or CLOSE) tag of that name. */
bool mm1_xml_is(const mm1_xml *x, mm1_xml_kind kind, const char *name);
/* Appends the decoded value of an attribute of the OPEN tag; false if it is not there. */
bool mm1_xml_attribute(const mm1_xml *x, const char *name, mm1_buf *out);
/* Appends the decoded text up to the CLOSE that belongs to the present OPEN tag, inner tags as a space each; moves
 * there. */
void mm1_xml_text(mm1_xml *x, mm1_buf *out);
/* Appends text with &amp; &#38; &#x26; and the like decoded; an unknown entity stays as it is. */
void mm1_xml_decode(const char *text, size_t len, mm1_buf *out);

#endif

/* caption_words.h - what metrics of captions compare: the words of candidates and references, as numbers. */
#ifndef MM1_EVAL_CAPTION_WORDS_H
#define MM1_EVAL_CAPTION_WORDS_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One picture: what was generated and what people wrote.  All strings are borrowed UTF-8. */
typedef struct mm1_caption_item {
    const char *candidate;
    const char *const *references;
    size_t n_references; /* at least 1 */
} mm1_caption_item;

/* The words of one caption: the rank of each among all distinct words, + 1. */
typedef struct mm1_caption {
    uint32_t *words; /* [n_words] */
    size_t n_words;
} mm1_caption;

typedef struct mm1_captions {
    mm1_caption *items; /* [n]: for each picture its candidate, then its references */
    size_t n;
    uint32_t *ids; /* all words back to back */
} mm1_captions;

/* ptb: captions go through the tokeniser of ptb.h; else they are words separated by ASCII white space already.
 * MM1_E_ARG for an item without references, MM1_E_LIMIT, MM1_E_NOMEM; nothing is to be freed then. */
MM1_NODISCARD mm1_status mm1_captions_load(mm1_captions *c, const mm1_caption_item *items, size_t n, bool ptb,
                                           mm1_error *err);
void mm1_captions_deinit(mm1_captions *c);

#endif

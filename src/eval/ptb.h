/* ptb.h - the words of a caption as coco-caption counts them: Penn Treebank tokens, lower case, punctuation dropped.
 *
 * coco-caption runs Stanford's PTBTokenizer 3.4.1 with -preserveLines -lowerCase and then drops the tokens
 *     '' ' `` ` . ? ! , : - -- ... ; -LRB- -RRB- -LCB- -RCB-
 * Its quirks are part of the metric and are kept: brackets stay as "-lrb-" (the list above is compared after
 * lower-casing), as do "!!" and "?!"; the pound sign becomes "#", the euro "$", one half "1/2"; emoji beyond U+FFFF
 * vanish.
 *
 * Equal to the original on all captions of tests/data/eval (made by running it), and on all 12 205 training captions of
 * the demo. Known differences: every caption is read by itself, so that "The letter R." always ends in the word "r"
 * (the original looks at the next caption and makes it "r." unless that begins with a word like "The" or "A"); all
 * kinds of line break count as spaces (the original would lose its place); letters beyond U+FFFF separate words as
 * emoji do; of the original's smileys, abbreviations and rules for markup those that occur outside newspapers are known
 * here.
 *
 * Threads: one tokeniser belongs to one thread at a time. */
#ifndef MM1_EVAL_PTB_H
#define MM1_EVAL_PTB_H

#include "base/buf.h"
#include <mm1/error.h>
#include <stddef.h>

typedef struct mm1_ptb mm1_ptb; /* opaque */

/* MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_ptb_create(mm1_ptb **out, mm1_error *err);
void mm1_ptb_destroy(mm1_ptb *t); /* accepts NULL */

/* Replaces what out holds by the words of text, one space between them.  Bytes that are not UTF-8
 * separate words.  MM1_E_LIMIT over 1 MiB of text; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_ptb_tokenize(mm1_ptb *t, const char *text, size_t len, mm1_buf *out, mm1_error *err);

#endif

/* bleu.h - BLEU: how many of a caption's n-grams people wrote too (Papineni et al., ACL 2002).
 *
 * As coco-caption computes it: n-grams of 1 to 4 words, clipped by the largest count in a reference; over a set the
 * counts are summed first; the brevity penalty uses, of each item, the reference length that is closest to the
 * candidate's (the shorter of two that are as close).  Scores are between 0 and 1. */
#ifndef MM1_EVAL_BLEU_H
#define MM1_EVAL_BLEU_H

#include "eval/caption_words.h"

enum { MM1_BLEU_MAX_N = 4 };

/* ptb as in caption_words.h.
 *
 * scores [n] [out] BLEU-4 of each item; may be NULL
 * corpus [4] [out] BLEU-1 to BLEU-4 of the set; NaN if n is 0
 *
 * MM1_E_ARG for an item without references, MM1_E_LIMIT, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_bleu_score(const mm1_caption_item *items, size_t n, bool ptb, double *scores,
                                        double corpus[MM1_BLEU_MAX_N], mm1_error *err);

#endif

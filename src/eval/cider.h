/* cider.h - CIDEr-D: how much a caption agrees with what people wrote, weighted by how telling each n-gram is.
 *
 * As coco-caption computes it (Vedantam, Zitnick and Parikh, CVPR 2015, with the "D" changes): n-grams of 1 to 4 words,
 * idf from the references of the items given here, clipped counts, a Gaussian penalty (sigma 6) on the difference of
 * length, mean over n and over references, times 10.  A length is counted in bigrams, as the original does.
 *
 * So a score has no meaning by itself: it depends on the whole set, and one item alone always scores 0 (every n-gram is
 * in every document).  Compare models on the same items only. */
#ifndef MM1_EVAL_CIDER_H
#define MM1_EVAL_CIDER_H

#include "eval/caption_words.h"

/* Scores raw captions: both sides go through the tokeniser of ptb.h first.
 *
 * scores [n] [out] may be NULL
 * mean       [out] NaN if n is 0
 *
 * MM1_E_ARG for an item without references, MM1_E_LIMIT, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_cider_score(const mm1_caption_item *items, size_t n, double *scores, double *mean,
                                         mm1_error *err);

/* The same for captions that are words separated by ASCII white space already. */
MM1_NODISCARD mm1_status mm1_cider_score_words(const mm1_caption_item *items, size_t n, double *scores, double *mean,
                                               mm1_error *err);

#endif

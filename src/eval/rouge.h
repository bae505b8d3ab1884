/* rouge.h - ROUGE-L: the longest common subsequence of a caption and what people wrote (Lin, 2004).
 *
 * As coco-caption computes it: precision and recall are the best over the references, each for itself; F with beta 1.2.
 * Scores are between 0 and 1. */
#ifndef MM1_EVAL_ROUGE_H
#define MM1_EVAL_ROUGE_H

#include "eval/caption_words.h"

/* ptb as in caption_words.h.
 *
 * scores [n] [out] may be NULL
 * mean       [out] NaN if n is 0
 *
 * MM1_E_ARG for an item without references, MM1_E_LIMIT, MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_rouge_score(const mm1_caption_item *items, size_t n, bool ptb, double *scores,
                                         double *mean, mm1_error *err);

#endif

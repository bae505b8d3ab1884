/* heldout_internal.h - what the held-out tasks share; included by heldout*.c only. */
#ifndef MM1_EVAL_HELDOUT_INTERNAL_H
#define MM1_EVAL_HELDOUT_INTERNAL_H

#include "base/buf.h"
#include "eval/embedder.h"
#include "eval/heldout.h"
#include "eval/scorer.h"

enum { MM1_N_CHOICES = 10 };

/* A held-out caption pair. */
typedef struct mm1_heldout_item {
    mm1_document document; /* [image][text] */
    const char *caption;   /* in the document */
    const char *picture;   /* encoded bytes, in the document */
    size_t picture_len;
    char source[48]; /* from the key: "emoji-000123" is of "emoji" */
    mm1_image_layout layout;
    const float *features;         /* [layout.n_tiles, k, C] visual tokens; kind clip: [D] in the joint space */
    double nll[MM1_PICTURE_COUNT]; /* nats over the caption's tokens */
    int64_t n_tokens;
    int64_t choices[MM1_N_CHOICES]; /* items whose captions were offered */
    double choice_scores[MM1_N_CHOICES];
    int answer, picked;
    char *generated[MM1_EVAL_N_SHOTS]; /* NULL: not asked for */
    char *generated_blind;             /* the caption without the picture */
} mm1_heldout_item;

typedef struct mm1_heldout {
    mm1_model *model;
    const mm1_eval_options *options;
    mm1_heldout_item *items;
    int64_t n;
    mm1_image_spec images;  /* how pictures are shown: kind clip: as one tile */
    float *features;        /* of all items */
    mm1_scorer *scorer;     /* of a model that writes, else NULL */
    mm1_embedder *embedder; /* of kind clip, else NULL */
} mm1_heldout;

/* Ten captions for an item's picture. */
typedef struct mm1_heldout_offer {
    int64_t choices[MM1_N_CHOICES]; /* items whose captions they are */
    double scores[MM1_N_CHOICES];   /* filled by the caller; the largest is picked */
    int answer;                     /* which is the item's own */
    bool made;                      /* false: there are no ten different captions */
} mm1_heldout_offer;

/* Opens <data_dir>/<split>/<pattern>; the message says how to make the folder. */
mm1_status mm1__heldout_reader(const mm1_eval_options *o, const char *split, const char *pattern,
                               mm1_data_format format, mm1_reader **out, mm1_error *err);
void mm1__heldout_progress(const mm1_eval_options *o, const char *task, int64_t done, int64_t total);
mm1_status mm1__heldout_stopped(const mm1_eval_options *o, mm1_error *err);

mm1_status mm1__heldout_captions(mm1_heldout *h, mm1_eval_results *r, mm1_error *err);
mm1_status mm1__heldout_choice10(mm1_heldout *h, mm1_eval_results *r, mm1_error *err);
/* By similarity, for kind clip. */
mm1_status mm1__heldout_choice10_clip(mm1_heldout *h, mm1_eval_results *r, mm1_error *err);
mm1_status mm1__heldout_cider(mm1_heldout *h, mm1_eval_results *r, mm1_error *err);
mm1_status mm1__heldout_text(mm1_heldout *h, mm1_eval_results *r, mm1_error *err);

/* An offer for each item, [n], of captions of any source or of its own; the same for any model.  NULL if memory is
 * short; mm1_free() it. */
mm1_heldout_offer *mm1__heldout_offers(const mm1_heldout *h, bool same_source);
/* The share of right picks among the offers that were made, and their number; *share stays as it is if that is 0. */
mm1_status mm1__heldout_judge(const mm1_heldout *h, const mm1_heldout_offer *offers, mm1_interval *share,
                              int64_t *n_made, mm1_error *err);
/* Keeps what each item was offered and what was picked. */
void mm1__heldout_keep(mm1_heldout *h, const mm1_heldout_offer *offers);
/* MM1_E_ARG if not every item had an offer.  Among items of one source some may sit out. */
mm1_status mm1__heldout_enough(const mm1_heldout *h, int64_t n_made, mm1_error *err);

/* samples.jsonl beside the results. */
mm1_status mm1__heldout_write_samples(const mm1_heldout *h, mm1_error *err);

#endif

/* sampler.h - which token comes next: a function of the logits, the settings and the random numbers they name.
 *
 * Never chosen: special tokens that do not end a text, ids that the tokenizer does not have (the embedding is padded
 * to whole tiles), logits of -infinity.  Equal logits stand in the order of their ids.
 *
 * Ownership: a sampler owns its memory; choosing allocates nothing.  Threads: one at a time. */
#ifndef MM1_GENERATE_SAMPLER_H
#define MM1_GENERATE_SAMPLER_H

#include "base/rng.h"
#include <mm1/generate.h>
#include <mm1/tokenizer.h>

typedef struct mm1_candidate {
    float logit;
    int32_t id;
} mm1_candidate;

typedef struct mm1_sampler {
    mm1_sampling config;
    int64_t n_vocab;           /* V: length of the logits */
    int32_t end_id;            /* ends a text beside the tokenizer's own; -1: none */
    uint8_t *is_banned;        /* [V] */
    uint8_t *is_seen;          /* [V] for the repetition penalty */
    mm1_candidate *candidates; /* [V] scratch: a heap, most likely first */
    mm1_candidate *kept;       /* [V] scratch: what the filters left, most likely first */
    double *weight;            /* [V] scratch: of kept, not normalised */
    mm1_rng rng;
} mm1_sampler;

/* Ranges of every member; MM1_E_ARG names the one that is out of it. */
MM1_NODISCARD mm1_status mm1_sampling_check(const mm1_sampling *config, mm1_error *err);

/* n_vocab: length of the logits, at least the tokenizer's.  On failure nothing is to be freed. */
MM1_NODISCARD mm1_status mm1_sampler_init(mm1_sampler *s, const mm1_sampling *config, const mm1_tokenizer *t,
                                          int64_t n_vocab, mm1_error *err);
void mm1_sampler_deinit(mm1_sampler *s); /* accepts a zeroed one */
/* Another special token ends the text too. */
void mm1_sampler_end_with(mm1_sampler *s, int32_t id);

/* The next token for logits [V], remembered for the repetition penalty.  MM1_E_NUMERIC if a logit that counts is no
 * number, or none is above -infinity. */
MM1_NODISCARD mm1_status mm1_sampler_next(mm1_sampler *s, const float *logits, int32_t *token, mm1_error *err);

#endif

/* plan.h - what a recipe will cost, worked out before any of it is spent: parameters, operations and memory.
 *
 * Nothing of the model is allocated, so that a plan of the paper's 30B takes seconds on a laptop.  Where the tokenizer
 * and the data are there they are opened as training does, and what they take is measured; where they are not, the
 * tokenizer is estimated by its size and the data left out, which the plan says.  Bad samples are logged as in
 * training.
 *
 * A step is planned with full rows: every position used, one example a row (attention costs most then).  Its images
 * are those of the first batches if tokenizer and data are there, else as many as a row has room for.  So operations
 * and time are upper estimates, and activations and batches are those of the largest of the first batches: a later one
 * may pass it by a little.
 *
 * Threads: sets the compute threads of the recipe, as training does. */
#ifndef MM1_STUDY_PLAN_H
#define MM1_STUDY_PLAN_H

#include "train/recipe.h"

/* Operations of one pass over a step; a multiply-add is two.  decoder: its matrices, without attention and head; head:
 * of an encoder's training, what it is trained with. */
typedef struct mm1_plan_flops {
    double vision, connector, decoder, attention, head;
} mm1_plan_flops;

/* What takes memory.     member, text */
#define MM1_PLAN_MEMORY(X)                                                                                             \
    X(parameters, "parameters")                                                                                        \
    X(gradients, "gradients")                                                                                          \
    X(moments, "moments of the optimiser")                                                                             \
    X(activations, "activations of a step")                                                                            \
    X(objective, "losses and embeddings of a batch")                                                                   \
    X(batches, "batches made ahead")                                                                                   \
    X(samples, "samples prepared ahead")                                                                               \
    X(decoding, "pictures being decoded")                                                                              \
    X(pixels, "decoded pictures kept for later epochs")                                                                \
    X(data_index, "index of the data, text unpacked")                                                                  \
    X(tokenizer, "tokenizer")                                                                                          \
    X(tables, "tables of the model")                                                                                   \
    X(products, "packing buffers of the matrix product")                                                               \
    X(program, "program, libraries, stacks")

typedef struct mm1_plan_memory {
#define MM1_PLAN_MEMBER(member, text) double member; /* bytes */
    MM1_PLAN_MEMORY(MM1_PLAN_MEMBER)
#undef MM1_PLAN_MEMBER
    double needed;     /* the sum of these */
    double data_files; /* mapped: the system drops them when memory is short */
    double resident;   /* the predicted peak: needed and data_files */
} mm1_plan_memory;

/* What the ranks of a run share out among them instead of each holding a copy (ZeRO, arXiv 1910.02054). */
typedef enum mm1_zero_stage {
    MM1_ZERO_OFF,
    MM1_ZERO_MOMENTS,    /* stage 1 */
    MM1_ZERO_GRADIENTS,  /* stage 2: and moments */
    MM1_ZERO_PARAMETERS, /* stage 3: and all of these; one block, or the embedding, is gathered at a time */
    MM1_ZERO_COUNT
} mm1_zero_stage;

typedef struct mm1_plan {
    int64_t n_vision, n_connector, n_decoder, n_embeddings; /* parameters; decoder: without embeddings */
    int64_t n_head;                                         /* what an encoder is trained with */
    int64_t n_active;  /* parameters that a position uses: all but the experts that it does not go to */
    int64_t n_trained; /* parameters that are not frozen */
    int64_t vocab_size;
    double lr_peak;
    bool lr_by_law;
    int64_t n_steps;
    double tokens, images; /* of a step; tokens are positions, images a mean */
    mm1_plan_flops forward, backward;
    double step_flops;       /* both */
    double recomputed;       /* operations that train.activations recompute adds to a step; no efficiency counts them */
    double largest_gathered; /* bytes of the largest block, or of the embedding: what stage 3 gathers */
    mm1_plan_memory memory;
    bool has_tokenizer, has_data; /* the files were there; has_data: of every source with a weight */
} mm1_plan;

/* Working memory is a few MiB and what the data's index takes.  MM1_E_CONFIG if the vocabulary is not known: neither
 * tokenizer nor vocab_size of model.decoder or model.text; what mm1_objective_check() says. */
MM1_NODISCARD mm1_status mm1_plan_make(const mm1_recipe *recipe, mm1_plan *plan, mm1_error *err);

/* Bytes that one of n_ranks (1 and more) needs, each with its share of a step's rows. */
double mm1_plan_rank_bytes(const mm1_plan *plan, mm1_zero_stage stage, int64_t n_ranks);

/* Seconds for all steps at a rate of operations a second, what is recomputed included. */
double mm1_plan_seconds(const mm1_plan *plan, double flops_per_second);

#endif

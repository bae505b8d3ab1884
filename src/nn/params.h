/* params.h - the one table of parameters.
 *
 * Every trainable array is one entry; initialisation, optimiser, checkpoints, freezing and `mm1 inspect` walk this
 * table. Values lie in one flat slab, the gradients of what is trained in a second one; each entry starts on 64 bytes
 * and the gap after it stays zero, so that a whole slab can be updated, summed or compared in one go.  Moments of an
 * optimiser lie as gradients do: a frozen part has neither.
 *
 * Threads: as the model it belongs to. */
#ifndef MM1_NN_PARAMS_H
#define MM1_NN_PARAMS_H

#include "tensor/tensor.h"

typedef enum mm1_param_group {
    MM1_GROUP_VISION,
    MM1_GROUP_CONNECTOR,
    MM1_GROUP_DECODER,
    MM1_GROUP_HEAD, /* what an encoder is trained with: text tower and joint space, or the head for patches */
    MM1_GROUP_COUNT
} mm1_param_group;

typedef enum mm1_param_init {
    MM1_INIT_ZEROS,
    MM1_INIT_ONES,
    MM1_INIT_NORMAL,  /* standard deviation `std` */
    MM1_INIT_CONSTANT /* `std` itself */
} mm1_param_init;

typedef struct mm1_param {
    char *name;        /* as in model.safetensors: "decoder.layers.3.attn.qkv.weight" */
    mm1_tensor tensor; /* data and grad point into the slabs after mm1_params_alloc() */
    mm1_param_group group;
    bool decay; /* weight decay applies: matrices, not norms, biases, embeddings of positions */
    mm1_param_init init;
    double std;
    int64_t offset;      /* elements into the slab of values */
    int64_t grad_offset; /* elements into the slabs of gradients and moments; -1: has none */
    int64_t n;           /* elements */
    int64_t grid;       /* rows are positions of a square grid of this side, after grid_first others; 0: they are not */
    int64_t grid_first; /* (position_grid.h) */
} mm1_param;

typedef struct mm1_params {
    mm1_param **items;
    int64_t n_items;
    int64_t total;      /* elements of the slab, gaps included */
    int64_t grad_total; /* the same of gradients; those of all parameters if all are trained */
    float *data;        /* [total]; NULL before mm1_params_alloc() */
    float *grad;        /* [grad_total]; NULL without gradients */
    bool failed;        /* memory ran out while the table was made */
} mm1_params;

/* Short name of a group: "vision", "connector", "decoder", "head". */
const char *mm1_param_group_name(mm1_param_group group);

/* Adds an entry and returns its tensor, which stays where it is for the life of the table; NULL if memory is short,
 * which mm1_params_alloc() reports.  std counts for MM1_INIT_NORMAL and MM1_INIT_CONSTANT. */
mm1_tensor *mm1_params_add(mm1_params *p, mm1_param_group group, mm1_param_init init, double std, bool decay, int rank,
                           const int64_t *dims, const char *name_format, ...) MM1_PRINTF(8, 9);

/* Takes the slabs, zeroed, and points all tensors into them.  with_grad: gradients for what is trainable. */
MM1_NODISCARD mm1_status mm1_params_alloc(mm1_params *p, bool with_grad, mm1_error *err);
/* Draws all values; a function of (seed, position in the table) alone. */
void mm1_params_init(mm1_params *p, uint64_t seed);
/* The same for one of its tensors. */
void mm1_params_draw(mm1_params *p, const mm1_tensor *t, uint64_t seed);
void mm1_params_zero_grad(mm1_params *p);
/* Whether the parameters of a group take gradients; all do until this says otherwise.  Called before
 * mm1_params_alloc() it saves their memory; afterwards only what has that memory can be switched off and on. */
void mm1_params_set_trainable(mm1_params *p, mm1_param_group group, bool trainable);
/* Elements that gradients take, gaps included, if memory for them is taken now. */
int64_t mm1_params_grad_total(const mm1_params *p);
/* Takes all entries from n on out of the table, and out of its total.  Memory that was taken for them stays with the
 * slabs. */
void mm1_params_truncate(mm1_params *p, int64_t n);
mm1_param *mm1_params_find(const mm1_params *p, const char *name);
/* Parameters (gaps not counted) of a group; MM1_GROUP_COUNT: of all. */
int64_t mm1_params_count(const mm1_params *p, mm1_param_group group);
void mm1_params_deinit(mm1_params *p);

#endif

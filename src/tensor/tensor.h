/* tensor.h - f32 tensors, the tape, and the operators that models are made of.
 *
 * Operators run eagerly and, if the tape records and an input needs a gradient, leave a node; mm1_tape_backward() walks
 * the nodes back.  Without recording the same code is inference.  Operators are coarse: one of them is a whole linear
 * layer with bias, activation and residual, or a whole attention.
 *
 * Memory: the data of results, saved values and gradients come from the tape's arena, so a step allocates nothing;
 * nodes come from a second small one.  A gradient buffer is reused as soon as the node that produced its tensor has
 * run. With a dry arena the operators only allocate: that is how a step is planned.  What a segment of the model (a
 * block) leaves for the backward pass may be kept in 16 bits, or dropped and computed again: mm1__tape_segment().
 *
 * Errors stick: an operator whose memory does not fit, or one of whose inputs is NULL, returns NULL, and
 * mm1_tape_status() says what came first.  So a model is written as straight lines and checked once.
 *
 * Glossary of letters: B sequences, T positions, N = B T rows, C width, H heads, D head width, F hidden width, V
 * vocabulary, I images, P patches of an image, R pixels of its side.
 *
 * Threads: a tape and its tensors belong to one thread, which drives the pool of base/thread.h. */
#ifndef MM1_TENSOR_TENSOR_H
#define MM1_TENSOR_TENSOR_H

#include "base/arena.h"
#include "kernels/kernels.h"
#include "tensor/profile.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stdint.h>

enum { MM1_MAX_DIMS = 4 };

typedef struct mm1_lora mm1_lora;

typedef struct mm1_tensor {
    float *data; /* row-major; borrowed from an arena or a slab */
    float *grad; /* NULL until a gradient has reached it; parameters have theirs from the start */
    int64_t dims[MM1_MAX_DIMS];
    int rank;
    bool needs_grad;
    bool is_param;  /* grad lives in a slab, is added to and never recycled */
    mm1_lora *lora; /* borrowed; beside the weights of a linear layer or an MLP: an adapter; NULL: none */
} mm1_tensor;

/* x w^T becomes x w^T + scale (x a^T) b^T (Hu et al. 2021). */
struct mm1_lora {
    mm1_tensor *a; /* [r, K] */
    mm1_tensor *b; /* [M, r] */
    float scale;
};

static inline int64_t mm1_tensor_size(const mm1_tensor *x)
{
    int64_t n = 1;
    for (int i = 0; i < x->rank; i++) {
        n *= x->dims[i];
    }
    return n;
}

/* Width of a row (last dimension) and number of rows. */
static inline int64_t mm1_tensor_cols(const mm1_tensor *x)
{
    return x->dims[x->rank - 1];
}

static inline int64_t mm1_tensor_rows(const mm1_tensor *x)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < x->rank; i++) {
        n *= x->dims[i];
    }
    return n;
}

typedef struct mm1_node mm1_node;
typedef struct mm1_tape mm1_tape;

/* What the profile wants to know of an operator when its node runs back. */
typedef struct mm1_tape_lap {
    int row;
    int64_t floats; /* read and written by the backward pass */
} mm1_tape_lap;

struct mm1_node {
    void (*backward)(mm1_tape *t, mm1_node *node); /* reads out->grad, adds to the gradients of the inputs */
    mm1_tensor *out;
    mm1_node *prev;
    mm1_tape_lap lap;
};

enum { MM1_TAPE_FREE_GRADS = 64 };

/* What becomes of the values that a segment computes, from its forward to its backward pass. */
typedef enum mm1_activations {
    MM1_ACTIVATIONS_KEEP,      /* they stay */
    MM1_ACTIVATIONS_BF16,      /* they are rounded to 16 bits, statistics of rows and heads left out */
    MM1_ACTIVATIONS_RECOMPUTE, /* they are dropped, and computed again to the same bits */
    MM1_ACTIVATIONS_COUNT
} mm1_activations;

struct mm1_tape {
    mm1_arena *arena; /* data */
    mm1_arena meta;   /* nodes and tensor headers */
    bool recording;
    bool dry;      /* allocate and record, compute nothing */
    mm1_rows rows; /* of products and of attention with a cache; set by who reads sequences that share a pass */
    mm1_activations activations;
    mm1_arena *window;                 /* of the segment that runs forward, takes its values; else NULL */
    int64_t window_from;               /* floats: what is smaller goes to the arena all the same */
    bool again;                        /* a segment is computed a second time: what it says of itself counts already */
    struct mm1_operands *operands;     /* of the segment that runs forward and is rounded; else NULL */
    const struct mm1_operands *packed; /* of the segment that runs back out of 16 bits; else NULL */
    struct mm1_routing *routing;       /* borrowed; of the training step, NULL elsewhere: see mm1_op_moe() */
    mm1_node *last;
    struct {
        float *data;
        size_t bytes;
    } free_grads[MM1_TAPE_FREE_GRADS];
    int n_free_grads;
    mm1_error err;
    mm1_profile *profile; /* borrowed; NULL: time is not measured */
    mm1_tape_lap lap;     /* of the last operator */
};

/* The tape borrows `arena`, which may be dry. */
MM1_NODISCARD mm1_status mm1_tape_init(mm1_tape *t, mm1_arena *arena, mm1_error *err);
void mm1_tape_deinit(mm1_tape *t);
/* Forgets all nodes and errors and empties the arena down to `mark`. */
void mm1_tape_reset(mm1_tape *t, mm1_arena_mark mark);
/* Runs all nodes back.  The loss operator has seeded the gradients already. */
void mm1_tape_backward(mm1_tape *t);
/* The first error since the last reset, also into err. */
MM1_NODISCARD mm1_status mm1_tape_status(const mm1_tape *t, mm1_error *err);
/* Records the first error; returns NULL for convenience. */
void *mm1_tape_fail(mm1_tape *t, mm1_status status, const char *format, ...) MM1_PRINTF(3, 4);

/* For operators: memory (NULL and a sticky error when full), a result, a node of `bytes` bytes, the gradient of a
 * tensor. */
float *mm1__tape_floats(mm1_tape *t, int64_t n);
/* The same for what no segment may round, as integers that steer the backward pass. */
float *mm1__tape_exact(mm1_tape *t, int64_t n);
mm1_tensor *mm1__tape_tensor(mm1_tape *t, int rank, const int64_t *dims, bool needs_grad);
void *mm1__tape_node(mm1_tape *t, size_t bytes, mm1_tensor *out, void (*backward)(mm1_tape *, mm1_node *));
/* The gradient buffer of x; *acc says whether it already holds something to be added to.  NULL if memory is short. */
float *mm1__tape_grad(mm1_tape *t, mm1_tensor *x, bool *acc);
/* Adds the gradient of `out` to that of `to`, of the same size: the buffer changes hands where `to` has none yet.  Last
 * in a backward function: out->grad may be gone. */
void mm1__tape_pass_grad(mm1_tape *t, mm1_tensor *out, mm1_tensor *to);
/* Scratch for the length of one backward call, from the same pool as gradients. */
float *mm1__tape_scratch(mm1_tape *t, int64_t n);
void mm1__tape_scratch_free(mm1_tape *t, float *p, int64_t n);
/* Zeroed memory that lives as long as the nodes. */
void *mm1__tape_meta(mm1_tape *t, size_t bytes);

/* ---- segments ---- */

/* Memory that the segments of one run of equal parts share, one after the other. */
typedef struct mm1_window mm1_window;
/* y = body(x), out of operators.  It may be called more than once and must ask for the same memory each time. */
typedef mm1_tensor *mm1_segment_body(mm1_tape *t, mm1_tensor *x, const void *ctx);
/* Where the segments of a run differ: the window that this one asks for (0 if t->activations wants none), and a window
 * of so many bytes, to be made before the first segment.  False on a sticky error. */
size_t mm1__segment_bytes(const mm1_tape *t, mm1_tensor *x, mm1_segment_body *body, const void *ctx);
bool mm1__tape_window(mm1_tape *t, mm1_window **window, size_t bytes);
/* Runs body as a segment, treated as t->activations says; ctx (ctx_bytes, copied) must hold no address that dies before
 * the tape is reset.  *window is NULL for the first segment of a run of equal ones, and is passed on to the next ones.
 * Segments do not nest. */
mm1_tensor *mm1__tape_segment(mm1_tape *t, mm1_window **window, mm1_tensor *x, mm1_segment_body *body, const void *ctx,
                              size_t ctx_bytes);

/* For the profile (profile.h).  Every operator says, when its result is there and before its node is made, that it is
 * done: its name, and the floats that it moves forward and backward if memory is what limits it (else 0). */
void mm1__tape_lap(mm1_tape *t, const char *name, int64_t floats, int64_t floats_back);
void mm1__tape_lap_back(mm1_tape *t, const mm1_node *node);
static inline void mm1__tape_done(mm1_tape *t, const char *name, int64_t floats, int64_t floats_back)
{
    if (t->profile != NULL) {
        mm1__tape_lap(t, name, floats, floats_back);
    }
}
/* The matrix product, counted. */
struct mm1_gemm_args;
void mm1__tape_gemm(mm1_tape *t, const struct mm1_gemm_args *args);
/* Attention, counted: the time before it, and after it what it has cost for each pair seen and unit of head width. */
struct mm1_attention_args;
double mm1__tape_clock(const mm1_tape *t);
void mm1__tape_attended(mm1_tape *t, const struct mm1_attention_args *args, double start, double flops_a_pair);

/* Values of a segment that the backward pass reads through mm1__layer_grads() alone: x, n of them, as one array, told
 * of in the order of their memory.  Where a segment is rounded they stay in 16 bits, which the product takes; x then
 * holds nothing. */
void mm1__tape_operand(mm1_tape *t, const float *x, int64_t n);
/* On the way back: x in bf16, of such an array; NULL: x holds its values. */
const uint16_t *mm1__tape_operand_bf16(const mm1_tape *t, const float *x);

/* ---- leaves ---- */

/* A tensor over borrowed memory that needs no gradient. */
mm1_tensor *mm1_tensor_borrow(mm1_tape *t, float *data, int rank, const int64_t *dims);

/* ---- operators; every result is a new tensor ---- */

/* y [N, M] = act(x [N, K] w^T + b) + residual, w [M, K], b [M] or NULL, residual [N, M] or NULL. */
mm1_tensor *mm1_op_linear(mm1_tape *t, mm1_tensor *x, mm1_tensor *w, mm1_tensor *b, mm1_act act, mm1_tensor *residual);

/* An MLP of two layers: y [N, M] = hidden down^T + down_b + residual, with u = x up^T + up_b [N, n_up] and
 *   hidden = act(u)                          [N, F], F = n_up
 *   hidden = act(gate) * up, u = gate | up   [N, F], F = n_up / 2, if gated
 * up_w [n_up, K], down_w [M, F]; biases and residual [N, M] may be NULL. */
typedef struct mm1_mlp {
    mm1_tensor *up_w, *up_b, *down_w, *down_b;
    mm1_act act;
    bool gated;
} mm1_mlp;
mm1_tensor *mm1_op_mlp(mm1_tape *t, mm1_tensor *x, const mm1_mlp *mlp, mm1_tensor *residual);

/* A mixture of experts in the place of an MLP (Shazeer et al. 2017; GShard, Lepikhin et al. 2020; ST-MoE, Zoph et al.
 * 2022): y [N, M] = residual + sum over the top_k experts e of a row of gate_e mlp_e(x), with
 *   p = softmax(x router^T)                       [N, E], in f32
 *   gate_e = p_e, or p_e / (sum of the top_k)     if normalised; equal p: the lower e comes first
 * and experts without biases.  In training (t->routing is not NULL) three things come to it.  All of them are counted
 * in groups of T rows without their padding, n of them in a group, so that it does not matter how a batch is cut:
 *   - padding goes to no expert;
 *   - with a capacity, an expert takes max(1, floor(capacity n / E)) rows of a group, first choices first, then by
 *     row, and adds 0 to the others;
 *   - the gradient of balance_coef L_bal + z_coef L_z joins that of the loss.
 *     L_bal = E sum_e f_e P_e, with f_e the share of rows whose first choice is e (dropped or not), P_e the mean of
 *     p_e; its mean over groups, weighted by n.  L_z = mean over rows of (log sum exp of x router^T)^2. */
enum { MM1_MAX_EXPERTS = 1024 };
typedef struct mm1_moe {
    mm1_tensor *router_w; /* [E, K], E at most MM1_MAX_EXPERTS */
    mm1_tensor *up_w;     /* [E, n_up, K], see mm1_mlp */
    mm1_tensor *down_w;   /* [E, M, F] */
    mm1_act act;
    bool gated, normalize;
    int64_t top_k;
    double capacity; /* 0: no expert is ever full */
    double balance_coef, z_coef;
    int64_t layer; /* its number in mm1_routing */
} mm1_moe;
mm1_tensor *mm1_op_moe(mm1_tape *t, mm1_tensor *x, const mm1_moe *moe, mm1_tensor *residual);

/* What a training step tells its sparse layers, and what they add up until it is cleared. */
typedef struct mm1_routing_layer {
    double balance, z;           /* L_bal and L_z */
    int64_t n_chosen, n_dropped; /* pairs of row and expert */
} mm1_routing_layer;
typedef struct mm1_routing {
    const int32_t *example; /* [N] of the rows on the tape, -1 for padding; NULL: none is padding */
    int64_t T;              /* rows of a group; the last one may be shorter */
    double scale;           /* 1 / rows of the whole batch without padding: every row on the tape weighs as much */
    int64_t n_layers, n_experts;
    mm1_routing_layer *layers; /* [n_layers] */
    int64_t *load;             /* [n_layers, n_experts] rows that chose it, dropped or not */
} mm1_routing;

typedef enum mm1_norm { MM1_NORM_RMS, MM1_NORM_LAYER, MM1_NORM_COUNT } mm1_norm;

/* Over the last dimension; w [C], b [C] or NULL (RMS takes none). */
mm1_tensor *mm1_op_norm(mm1_tape *t, mm1_tensor *x, mm1_norm kind, mm1_tensor *w, mm1_tensor *b, float eps);

/* Rows of queries, keys and others, n_q + n_k + any columns of qkv [N, *]: each group of as many queries as q_w has
 * weights (one head, or all of a row), and of keys as k_w, is normalised by its root mean square; the others stay.
 * Dehghani et al. 2023 ("Scaling Vision Transformers to 22 Billion Parameters"); a head: Qwen3, all: OLMoE. */
mm1_tensor *mm1_op_qk_norm(mm1_tape *t, mm1_tensor *qkv, int64_t n_q, int64_t n_k, mm1_tensor *q_w, mm1_tensor *k_w,
                           float eps);

mm1_tensor *mm1_op_act(mm1_tape *t, mm1_tensor *x, mm1_act act);
/* Same shapes. */
mm1_tensor *mm1_op_add(mm1_tape *t, mm1_tensor *a, mm1_tensor *b);
/* x [I P, C] + r [P, C], repeated I times; x NULL: r repeated I times. */
mm1_tensor *mm1_op_add_rows(mm1_tape *t, mm1_tensor *x, mm1_tensor *r, int64_t I);
/* y [N, C] = x * s [C] + residual [N, C] or NULL; s is a parameter. */
mm1_tensor *mm1_op_scale(mm1_tape *t, mm1_tensor *x, mm1_tensor *s, mm1_tensor *residual);

/* Rows of table [V, C] by id [N]; where visual_row [N] >= 0 (visual_row may be NULL) that row of visual [*, C] instead.
 */
mm1_tensor *mm1_op_embed(mm1_tape *t, mm1_tensor *table, const int32_t *id, int64_t N, mm1_tensor *visual,
                         const int32_t *visual_row);

/* The rows of a, then those of b; a may be one row [C]. */
mm1_tensor *mm1_op_join(mm1_tape *t, mm1_tensor *a, mm1_tensor *b);

/* Keys and values of what has been read so far; for generation, without recording. */
typedef struct mm1_kv_cache {
    float *k, *v;           /* [n_slots, n_max, Hkv D], k already rotated */
    int64_t n_slots, n_max; /* sequences, positions of each */
} mm1_kv_cache;

/* The next T positions of the sequence in a slot, where n_past are already. */
typedef struct mm1_kv_run {
    int64_t slot, n_past, T;
} mm1_kv_run;

/* Where q, k and v stand: columns of (possibly the same) tensors. */
typedef struct mm1_attention_spec {
    int64_t B, T, S, H, Hkv, D;  /* queries are rows [B T], keys rows [B S] */
    int64_t q_col, k_col, v_col; /* first column in q, k, v */
    const int32_t *lo, *hi;      /* [B, T]; visible keys */
    const int32_t *position;     /* [B, T] for rotary positions (S == T), or NULL for none */
    const float *cos_sin;        /* [n_positions, D], see mm1_rope_table */
    const mm1_kv_run *runs;      /* [n_runs] with a cache: the rows' sequences */
    int64_t n_runs;
} mm1_attention_spec;

/* o [B T, H D] = softmax(q k^T / sqrt(D)) v. */
mm1_tensor *mm1_op_attention(mm1_tape *t, mm1_tensor *q, mm1_tensor *k, mm1_tensor *v, const mm1_attention_spec *spec);

/* As above with qkv fused in one tensor, whose rows are those of spec->runs, one after the other (B = 1, T of them in
 * all): they are written to the cache first, and then see what is in their slots.  lo and hi count positions of a slot.
 * spec->S is ignored.  No slot may come twice. */
mm1_tensor *mm1_op_attention_cached(mm1_tape *t, mm1_tensor *qkv, const mm1_attention_spec *spec, mm1_kv_cache *cache);

/* How rotary positions are stretched over more than they were learned for. */
typedef enum mm1_rope_type {
    MM1_ROPE_PLAIN,
    MM1_ROPE_LINEAR, /* all by `factor` */
    MM1_ROPE_LLAMA3, /* by the turns that a frequency makes in original_positions: up to low_freq_factor of them by
                      * `factor`, from high_freq_factor on not at all, between them by parts */
    MM1_ROPE_TYPE_COUNT
} mm1_rope_type;
typedef struct mm1_rope_scaling {
    int type; /* mm1_rope_type */
    double factor, low_freq_factor, high_freq_factor;
    int64_t original_positions;
} mm1_rope_scaling;

/* What a frequency, in radians a position, becomes; scaling may be NULL. */
double mm1_rope_rate(double rate, const mm1_rope_scaling *scaling);
/* table [n, D]: D/2 cosines, then D/2 sines of position / theta^(2 i / D).  scaling may be NULL. */
void mm1_rope_table(float *table, int64_t n, int64_t D, double theta, const mm1_rope_scaling *scaling);

/* pixels [I, 3, R, R] -> [I P, 3 p p], p = patch size, P = floor(R / p)^2; channels, then rows, then columns inside a
 * patch.  What is left of R at the right and the bottom is not read. */
mm1_tensor *mm1_op_patchify(mm1_tape *t, const float *pixels, int64_t I, int64_t R, int64_t p);
/* Channels last, [I H W, C]. */
mm1_tensor *mm1_op_dwconv(mm1_tape *t, mm1_tensor *x, mm1_tensor *w, int64_t I, int64_t H, int64_t W);
mm1_tensor *mm1_op_pool(mm1_tape *t, mm1_tensor *x, int64_t I, int64_t H, int64_t W, int64_t h, int64_t w);
/* x [I H W, C] -> [I H/s W/s, s s C]: the s x s cells of a block side by side, row by row.  s divides H and W. */
mm1_tensor *mm1_op_space_to_depth(mm1_tape *t, mm1_tensor *x, int64_t I, int64_t H, int64_t W, int64_t s);
/* y [I P, C] = x * g [I, C]. */
mm1_tensor *mm1_op_gate(mm1_tape *t, mm1_tensor *x, mm1_tensor *g, int64_t I);

/* Fused head and cross-entropy: logits of a few rows at a time, never of all positions.  x [N, C], w [V, C]; target
 * [N], -1 for none.  nll [N] receives -log p(target), 0 where there is none.  The gradients of scale * sum(nll + z_coef
 * lse^2) are formed at once (recording only): those of w are added here, that of x is passed on by mm1_tape_backward().
 * Returns false on a sticky error. */
bool mm1_op_xent(mm1_tape *t, mm1_tensor *x, mm1_tensor *w, const int32_t *target, float *nll, float scale,
                 float z_coef);

#endif

/* moe.h - sparse layers of the decoder: which blocks have them, their parameters, and what a step says of them.
 *
 * The operator and its formulas are mm1_op_moe() in tensor.h.  The total loss of a step is
 *   cross-entropy + mean over the sparse layers of (balance_coef L_bal + z_coef L_z). */
#ifndef MM1_NN_MOE_H
#define MM1_NN_MOE_H

#include "base/fields.h"
#include "nn/params.h"

typedef struct mm1_moe_config {
    int64_t n_experts; /* 0: the decoder is dense, and nothing else counts */
    int64_t top_k, every;
    int64_t mlp_width; /* of an expert; 0: the decoder's */
    bool normalize;
    double capacity, balance_coef, z_coef;
} mm1_moe_config;

extern const mm1_field mm1__moe_fields[];

/* Fills in what 0 stands for and checks the rules, for a decoder of n_layers with MLPs of mlp_width. */
MM1_NODISCARD mm1_status mm1_moe_config_resolve(mm1_moe_config *c, int64_t n_layers, int64_t mlp_width, bool bias,
                                                mm1_error *err);

/* Whether block i is sparse, and how many of n_layers are. */
static inline bool mm1_moe_is_sparse(const mm1_moe_config *c, int64_t i)
{
    return c->n_experts > 0 && (i + 1) % c->every == 0;
}
static inline int64_t mm1_moe_n_sparse(const mm1_moe_config *c, int64_t n_layers)
{
    return c->n_experts > 0 ? n_layers / c->every : 0;
}

/* Parameters of n experts of each sparse layer, all layers together, in a decoder of this width. */
int64_t mm1_moe_expert_params(const mm1_moe_config *c, int64_t n, int64_t n_layers, int64_t width, bool gated);

/* Registers "<prefix>.moe.router.weight" [E, C], "<prefix>.moe.gate_up.weight" [E, 2F, C], gate rows first (or
 * "<prefix>.moe.up.weight" [E, F, C] if not gated), and "<prefix>.moe.down.weight" [E, C, F], of sparse layer number
 * `layer` in a decoder of n_layers.  Each expert is drawn as an MLP of the block would be. */
void mm1__moe_create(mm1_moe *m, const mm1_moe_config *c, int64_t layer, int64_t n_layers, int64_t C, mm1_act act,
                     bool gated, mm1_params *p, mm1_param_group group, const char *prefix);

/* Room for n_sparse layers, cleared; without any nothing is taken. */
MM1_NODISCARD mm1_status mm1_routing_init(mm1_routing *g, int64_t n_sparse, int64_t n_experts, mm1_error *err);
void mm1_routing_deinit(mm1_routing *g);
void mm1_routing_clear(mm1_routing *g);

/* What a step's routing comes to. */
typedef struct mm1_routing_summary {
    double balance, z; /* L_bal and L_z, means over the layers */
    double load;       /* rows of the expert chosen most, over the mean; of the worst layer */
    double dropped;    /* share of the choices for which there was no room */
} mm1_routing_summary;
mm1_routing_summary mm1_routing_summarize(const mm1_routing *g);

#endif

/* moe.c - see moe.h. */
#include "nn/moe.h"

#include "base/alloc.h"
#include <math.h>
#include <string.h>

#define F(member, TYPE, ...) MM1_FIELD(mm1_moe_config, member, TYPE, __VA_ARGS__)
const mm1_field mm1__moe_fields[] = {
    F(n_experts, I64, .def.i = 0, .min.i = 0, .max.i = MM1_MAX_EXPERTS,
      .help = "experts of a sparse layer; 0: the decoder is dense"),
    F(top_k, I64, .def.i = 2, .min.i = 1, .max.i = MM1_MAX_EXPERTS, .help = "experts that a position goes to"),
    F(every, I64, .def.i = 2, .min.i = 1, .max.i = 1024,
      .help = "every so many blocks one is sparse, the last of them"),
    F(mlp_width, I64, .def.i = 0, .min.i = 0, .max.i = 1 << 20,
      .help = "hidden width of an expert; 0: that of the decoder's MLP"),
    F(normalize, BOOL, .def.i = 1, .help = "the gates of a position add up to 1"),
    F(capacity, F64, .def.f = 0, .min.f = 0, .max.f = 1024,
      .help =
          "in training an expert takes at most capacity * n / n_experts of a row's n positions, first choices first; "
          "0: all that come"),
    F(balance_coef, F64, .def.f = 0.01, .min.f = 0, .max.f = 100, .help = "factor of the load-balance loss"),
    F(z_coef, F64, .def.f = 0.001, .min.f = 0, .max.f = 100, .help = "factor of the router's z-loss"),
    {0},
};
#undef F

mm1_status mm1_moe_config_resolve(mm1_moe_config *c, int64_t n_layers, int64_t mlp_width, bool bias, mm1_error *err)
{
    if (c->n_experts == 0) {
        return MM1_OK;
    }
    if (c->top_k > c->n_experts) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.decoder.moe.top_k: %lld of %lld experts; lower it",
                             (long long)c->top_k, (long long)c->n_experts);
    }
    if (c->every > n_layers) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.decoder.moe.every: %lld, but the decoder has %lld layers: none would be sparse",
                             (long long)c->every, (long long)n_layers);
    }
    if (bias) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.decoder.bias: experts have none; set it to false, or moe.n_experts to 0");
    }
    c->mlp_width = c->mlp_width == 0 ? mlp_width : c->mlp_width;
    return MM1_OK;
}

int64_t mm1_moe_expert_params(const mm1_moe_config *c, int64_t n, int64_t n_layers, int64_t width, bool gated)
{
    return mm1_moe_n_sparse(c, n_layers) * n * (gated ? 3 : 2) * width * c->mlp_width;
}

void mm1__moe_create(mm1_moe *m, const mm1_moe_config *c, int64_t layer, int64_t n_layers, int64_t C, mm1_act act,
                     bool gated, mm1_params *p, mm1_param_group group, const char *prefix)
{
    const int64_t E = c->n_experts, F = c->mlp_width, n_up = gated ? 2 * F : F;
    const double n_sparse = (double)mm1_moe_n_sparse(c, n_layers), from_width = 1 / sqrt((double)C);
    const double into_residual = 1 / sqrt(2.0 * (double)n_layers * (double)F);
    *m = (mm1_moe){.router_w = mm1_params_add(p, group, MM1_INIT_NORMAL, from_width, true, 2, (int64_t[]){E, C},
                                              "%s.moe.router.weight", prefix),
                   .act = act,
                   .gated = gated,
                   .normalize = c->normalize,
                   .top_k = c->top_k,
                   .capacity = c->capacity,
                   .balance_coef = c->balance_coef / n_sparse,
                   .z_coef = c->z_coef / n_sparse,
                   .layer = layer};
    m->up_w = mm1_params_add(p, group, MM1_INIT_NORMAL, from_width, true, 3, (int64_t[]){E, n_up, C},
                             "%s.moe.%s.weight", prefix, gated ? "gate_up" : "up");
    m->down_w = mm1_params_add(p, group, MM1_INIT_NORMAL, into_residual, true, 3, (int64_t[]){E, C, F},
                               "%s.moe.down.weight", prefix);
}

mm1_status mm1_routing_init(mm1_routing *g, int64_t n_sparse, int64_t n_experts, mm1_error *err)
{
    *g = (mm1_routing){.n_layers = n_sparse, .n_experts = n_experts};
    if (n_sparse == 0) {
        return MM1_OK;
    }
    g->layers = mm1_calloc((size_t)n_sparse, sizeof *g->layers);
    g->load = mm1_calloc((size_t)(n_sparse * n_experts), sizeof *g->load);
    if (g->layers == NULL || g->load == NULL) {
        mm1_routing_deinit(g);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the loads of %lld sparse layers", (long long)n_sparse);
    }
    return MM1_OK;
}

void mm1_routing_deinit(mm1_routing *g)
{
    mm1_free(g->layers);
    mm1_free(g->load);
    *g = (mm1_routing){0};
}

void mm1_routing_clear(mm1_routing *g)
{
    if (g->n_layers > 0) {
        memset(g->layers, 0, (size_t)g->n_layers * sizeof *g->layers);
        memset(g->load, 0, (size_t)(g->n_layers * g->n_experts) * sizeof *g->load);
    }
}

mm1_routing_summary mm1_routing_summarize(const mm1_routing *g)
{
    mm1_routing_summary s = {0};
    double n_chosen = 0;
    for (int64_t i = 0; i < g->n_layers; i++) {
        const mm1_routing_layer *l = &g->layers[i];
        int64_t most = 0;
        for (int64_t e = 0; e < g->n_experts; e++) {
            const int64_t n = g->load[i * g->n_experts + e];
            most = n > most ? n : most;
        }
        s.balance += l->balance / (double)g->n_layers;
        s.z += l->z / (double)g->n_layers;
        s.dropped += (double)l->n_dropped;
        n_chosen += (double)l->n_chosen;
        if (l->n_chosen > 0) {
            s.load = fmax(s.load, (double)most * (double)g->n_experts / (double)l->n_chosen);
        }
    }
    s.dropped = n_chosen > 0 ? s.dropped / n_chosen : 0;
    return s;
}

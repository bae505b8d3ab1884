/* flops.c - see flops.h. */
#include "model/flops.h"

#include <math.h>

static double block_flops(double width, double n_heads, double n_kv, double head_dim, double mlp, bool gated)
{
    return 2 * (width * (n_heads + 2 * n_kv) * head_dim + n_heads * head_dim * width + (gated ? 3 : 2) * width * mlp);
}

static double bottleneck_flops(double cells, double c_in, double c)
{
    const double squeezed = round(0.25 * c_in);
    return 2 * cells * (c_in * c + 9 * c + c * c + (c_in != c ? c_in * c : 0)) + 2 * 2 * c * squeezed;
}

double mm1_flops_vision_attention(const mm1_vision_config *v, double n_pairs)
{
    return (double)mm1_vision_depth(v) * 4 * n_pairs * (double)v->width;
}

double mm1_flops_pixel_head(const mm1_model_config *c)
{
    const double patch = 3 * (double)(c->vision.patch_size * c->vision.patch_size);
    return 2 * (double)c->pixel_head.width * ((double)c->vision.width + patch);
}

/* Blocks alone, of K patches and the class token. */
static double vision_blocks(const mm1_vision_config *v, double K)
{
    const double W = (double)v->width, H = (double)v->n_heads, rows = K + (v->class_token ? 1 : 0);
    return (double)mm1_vision_depth(v) * rows * block_flops(W, H, H, W / H, (double)v->mlp_width, v->gated) +
           mm1_flops_vision_attention(v, rows * rows);
}

double mm1_flops_vision(const mm1_vision_config *v, double K)
{
    return K * 2 * 3.0 * (double)(v->patch_size * v->patch_size) * (double)v->width + vision_blocks(v, K);
}

double mm1_flops_text(const mm1_text_config *c, double N)
{
    const double W = (double)c->width, H = (double)c->n_heads;
    return N * (double)c->n_layers * block_flops(W, H, H, W / H, (double)c->mlp_width, false);
}

mm1_image_flops mm1_flops_image(const mm1_model_config *c)
{
    const mm1_vision_config *v = &c->vision;
    const mm1_connector_config *n = &c->connector;
    const double grid = (double)mm1_vision_grid(v), P = grid * grid, W = (double)v->width, k = (double)n->n_tokens;
    const double C = (double)c->decoder.width;
    mm1_image_flops f = {.blocks = vision_blocks(v, P), .vision = mm1_flops_vision(v, P)};
    switch ((mm1_connector_kind)n->kind) {
    case MM1_CONNECTOR_AVGPOOL: f.connector = k * 2 * W * C; break;
    case MM1_CONNECTOR_ATTNPOOL: f.connector = k * 2 * (2 * W * W + W * C) + P * 4 * W * W + 4 * k * P * W; break;
    case MM1_CONNECTOR_C_ABSTRACTOR: {
        const double h = (double)n->hidden, depth = (double)n->depth;
        if (n->depth > 0) {
            f.connector =
                bottleneck_flops(P, W, h) + (depth - 1) * bottleneck_flops(P, h, h) + depth * bottleneck_flops(k, h, h);
        }
        f.connector += k * 2 * ((n->depth > 0 ? h : W) * C + C * C);
        break;
    }
    case MM1_CONNECTOR_MLP: f.connector = k * 2 * (W * C + C * C); break;
    case MM1_CONNECTOR_PIXEL_SHUFFLE: f.connector = P * 2 * W * C; break;
    case MM1_CONNECTOR_COUNT: break;
    }
    return f;
}

double mm1_flops_position(const mm1_model_config *c)
{
    const mm1_decoder_config *d = &c->decoder;
    const mm1_moe_config *m = &d->moe;
    const double W = (double)d->width, sparse = (double)mm1_moe_n_sparse(m, d->n_layers);
    const double attention = block_flops(W, (double)d->n_heads, (double)d->n_kv_heads, (double)d->head_dim, 0, false);
    const double up_and_down = 2 * (d->gated ? 3 : 2) * W;
    return (double)d->n_layers * attention + ((double)d->n_layers - sparse) * up_and_down * (double)d->mlp_width +
           sparse * ((double)m->top_k * up_and_down * (double)m->mlp_width + 2 * W * (double)m->n_experts);
}

double mm1_flops_causal_attention(const mm1_model_config *c, double n)
{
    const mm1_decoder_config *d = &c->decoder;
    const double w = d->sliding_window > 0 ? fmin(n, (double)d->sliding_window) : n;
    return (double)d->n_layers * 4 * (double)d->n_heads * (double)d->head_dim * (w * (w + 1) / 2 + (n - w) * w);
}

double mm1_flops_head(const mm1_model_config *c)
{
    return 2 * (double)c->decoder.width * (double)c->decoder.vocab_size;
}

mm1_trained_parts mm1_flops_trained(const mm1_model *m)
{
    bool any[MM1_GROUP_COUNT] = {false};
    for (int64_t i = 0; i < m->params.n_items; i++) {
        any[m->params.items[i]->group] = any[m->params.items[i]->group] || m->params.items[i]->tensor.needs_grad;
    }
    return (mm1_trained_parts){.vision = any[MM1_GROUP_VISION],
                               .connector = any[MM1_GROUP_CONNECTOR],
                               .decoder = any[MM1_GROUP_DECODER],
                               .adapters_only = m->lora.rank > 0};
}

double mm1_flops_step(const mm1_model_config *c, const mm1_batch *b, mm1_trained_parts parts)
{
    const mm1_image_flops image = mm1_flops_image(c);
    double attention = 0;
    for (int64_t row = 0; row < b->B; row++) {
        for (int64_t t = 0, len = 0; t < b->T; t++) {
            const int64_t at = row * b->T + t;
            len = b->example[at] >= 0 ? b->position[at] + 1 : 0;
            const bool last = t + 1 == b->T || b->example[at + 1] != b->example[at];
            attention += last && len > 0 ? mm1_flops_causal_attention(c, (double)len) : 0;
        }
    }
    const double decoder =
        (double)b->n_tokens * mm1_flops_position(c) + attention + (double)b->n_targets * mm1_flops_head(c);
    /* Forward once; gradients of the input wherever something below is trained, gradients of the weights where they
     * are. */
    const bool below_connector = parts.vision, below_decoder = parts.vision || parts.connector;
    const double weights = parts.adapters_only ? 0 : 1;
    return decoder * (1 + (below_decoder || parts.decoder ? 1 : 0) + (parts.decoder ? weights : 0)) +
           (double)b->I * image.connector *
               (1 + (below_connector || parts.connector ? 1 : 0) + (parts.connector ? weights : 0)) +
           (double)b->I * image.vision * (1 + (parts.vision ? 1 + weights : 0));
}

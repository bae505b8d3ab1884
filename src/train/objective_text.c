/* objective_text.c - the next token: the sum of -log p over all live targets of the batch divided by their number,
 * however the batch is cut into micro-batches.  The auxiliary losses of sparse layers are means over all positions of
 * the batch that are no padding, each balance loss that of one row of the batch (tensor.h): they do not depend on the
 * cut either.  They are in the gradients and in the logs, not in the loss that is reported. */
#include "train/objective.h"

#include "base/alloc.h"
#include "model/flops.h"

typedef struct text_objective {
    mm1_objective base;
    float *nll; /* [batch * seq_len] */
} text_objective;

/* Forward and backward of rows [row, row + n) on the tape. */
static mm1_status run_rows(mm1_objective *o, mm1_tape *t, const mm1_batch *b, int64_t row, int64_t n, int64_t tile,
                           int64_t n_tiles, float *nll, mm1_error *err)
{
    mm1_tape_reset(t, 0);
    if (t->routing != NULL) {
        t->routing->example = b->example + row * b->T;
    }
    const float scale = t->dry || b->n_targets == 0 ? 1.0f : (float)(1.0 / (double)b->n_targets);
    mm1_tensor *h = mm1_model_hidden_rows(o->model, t, b, row, n, tile, n_tiles);
    if (mm1_op_xent(t, h, o->model->decoder.head, b->target + row * b->T, nll, scale, (float)o->recipe->train.z_loss)) {
        mm1_tape_backward(t);
    }
    return mm1_tape_status(t, err);
}

static void report(text_objective *o, const mm1_batch *b)
{
    double sums[MM1_DATA_MAX_SOURCES] = {0};
    int64_t counts[MM1_DATA_MAX_SOURCES] = {0};
    for (int64_t i = 0; i < b->B * b->T; i++) {
        if (b->target[i] >= 0) {
            sums[b->source[i]] += o->nll[i];
            counts[b->source[i]]++;
        }
    }
    mm1__objective_by_source(&o->base, sums, counts);
    o->base.report.flops = mm1_flops_step(&o->base.model->config, b, mm1_flops_trained(o->base.model));
}

/* What sparse layers are told of the batch, and what they have said. */
static void begin_routing(mm1_routing *g, mm1_tape *t, const mm1_batch *b)
{
    mm1_routing_clear(g);
    g->T = b->T;
    g->scale = b->n_tokens > 0 ? 1.0 / (double)b->n_tokens : 0;
    t->routing = g->n_layers > 0 ? g : NULL;
}

static void report_routing(mm1_objective *o, const mm1_routing *g)
{
    const mm1_routing_summary s = mm1_routing_summarize(g);
    if (g->n_layers > 0) {
        mm1__objective_value(o, "moe_balance", s.balance);
        mm1__objective_value(o, "moe_z", s.z);
        mm1__objective_value(o, "moe_load", s.load);
        mm1__objective_value(o, "moe_dropped", s.dropped);
    }
}

static mm1_status gradients(mm1_objective *base, mm1_tape *t, const mm1_batch *b, int64_t step, mm1_error *err)
{
    text_objective *o = (text_objective *)(void *)base;
    const int64_t micro = base->recipe->train.micro_batch;
    mm1_status st = MM1_OK;
    (void)step; /* nothing is drawn at random here */
    begin_routing(&base->model->decoder.routing, t, b);
    for (int64_t row = 0, tile = 0; st == MM1_OK && row < b->B; row += micro) {
        const int64_t n = b->B - row < micro ? b->B - row : micro;
        int64_t n_tiles = 0;
        for (int64_t i = row; i < row + n; i++) {
            n_tiles += b->row_tiles[i];
        }
        st = run_rows(base, t, b, row, n, tile, n_tiles, o->nll + row * b->T, err);
        tile += n_tiles;
    }
    t->routing = NULL;
    if (st == MM1_OK) {
        report(o, b);
        report_routing(base, &base->model->decoder.routing);
    }
    return st;
}

static mm1_status plan(mm1_objective *base, mm1_tape *t, mm1_error *err)
{
    const mm1_recipe *r = base->recipe;
    const int64_t micro = r->train.micro_batch < r->data.batch ? r->train.micro_batch : r->data.batch;
    const mm1_batch shape = {.B = micro,
                             .T = r->data.seq_len,
                             .I = micro *
                                  mm1_image_max_tiles_in(&base->model->images, r->data.max_images, r->data.seq_len),
                             .image_px = r->model.vision.image_size};
    bool has_images = false;
    for (size_t i = 0; i < r->data.n_sources; i++) {
        has_images = has_images || (r->data.sources[i].kind != MM1_DATA_TEXT && r->data.sources[i].weight > 0);
    }
    return run_rows(base, t, &shape, 0, micro, 0, has_images ? shape.I : 0, NULL, err);
}

static void destroy(mm1_objective *base)
{
    text_objective *o = (text_objective *)(void *)base;
    mm1_free(o->nll);
    mm1_free(o);
}

mm1_status mm1__objective_text(const mm1_recipe *recipe, mm1_objective **out, mm1_error *err)
{
    text_objective *o = mm1_calloc(1, sizeof *o);
    if (o == NULL ||
        (o->nll = mm1_calloc((size_t)(recipe->data.batch * recipe->data.seq_len), sizeof *o->nll)) == NULL) {
        mm1_free(o);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the losses of a batch");
    }
    o->base = (mm1_objective){.gradients = gradients, .plan = plan, .destroy = destroy};
    *out = &o->base;
    return MM1_OK;
}

/* objective_aim.c - each patch of a picture, in raster order, predicts the next one (AIM: El-Nouby et al. 2024).  The
 * first patches, as many as a prefix drawn for each picture, see each other; patch i sees all up to itself; what is
 * predicted of the prefix does not count.  So the encoder learns both ways of looking, and is used with all patches
 * seeing all.  Only pixels are read: captions are left out.
 *
 * The loss is the mean over all patches that are predicted, however the batch is cut into micro-batches. */
#include "train/objective.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "model/flops.h"
#include "train/patch_loss.h"

typedef struct aim {
    mm1_objective base;
    int64_t P;

    /* Of the micro-batch at hand, which has n_images pictures and predicts n patches. */
    int64_t n_images, n;
    int32_t *prefix;    /* [n_images] */
    int32_t *from, *to; /* [n] rows of the micro-batch's patches: which predicts, and what */
    int32_t *source;    /* [n] */
    float *loss;        /* [n] */
} aim;

/* Patches at the beginning of a picture that see each other, 1 to P - 1: a function of the seed, the step and the
 * picture's number in the batch. */
static int64_t draw_prefix(const aim *o, int64_t step, int64_t image)
{
    mm1_rng r =
        mm1_rng_make((uint64_t)o->base.recipe->train.seed, MM1_RNG_PATCH, (uint64_t)step << 22 ^ (uint64_t)image);
    return 1 + (int64_t)mm1_rng_below(&r, (uint64_t)(o->P - 1));
}

static void read_rows(aim *o, const mm1_batch *b, int64_t row, int64_t n, int64_t image, int64_t step)
{
    o->n_images = o->n = 0;
    for (int64_t r = row; r < row + n; r++) {
        for (int64_t i = 0; i < b->row_images[r]; i++) {
            const int64_t prefix = draw_prefix(o, step, image + o->n_images), first = o->n_images * o->P;
            o->prefix[o->n_images++] = (int32_t)prefix;
            for (int64_t p = prefix; p < o->P; p++, o->n++) {
                o->from[o->n] = (int32_t)(first + p - 1);
                o->to[o->n] = (int32_t)(first + p);
                o->source[o->n] = b->source[r * b->T];
            }
        }
    }
}

/* Forward and backward of the pictures at hand. */
static mm1_status run_pictures(aim *o, mm1_tape *t, const float *pixels, double weight, mm1_error *err)
{
    const mm1_model *m = o->base.model;
    const mm1_vision_config *c = &m->config.vision;
    mm1_tape_reset(t, 0);
    mm1_tensor *x = mm1_vit_forward_prefix(&m->vit, t, pixels, o->n_images, o->prefix);
    mm1_tensor *y = mm1_pixel_head_forward(&m->pixel_head, t, mm1_op_embed(t, x, o->from, o->n, NULL, NULL));
    const mm1_tensor *patches = mm1_op_patchify(t, pixels, o->n_images, c->image_size, c->patch_size);
    if (y != NULL && patches != NULL) {
        bool acc;
        float *dy = y->needs_grad ? mm1__tape_grad(t, y, &acc) : NULL;
        if (!t->dry) {
            mm1_patch_loss_run(&(mm1_patch_loss){.n = o->n,
                                                 .D = mm1_tensor_cols(y),
                                                 .y = y->data,
                                                 .patches = patches->data,
                                                 .patch = o->to,
                                                 .weight = weight,
                                                 .loss = o->loss,
                                                 .dy = dy});
        }
        mm1_tape_backward(t);
    }
    return mm1_tape_status(t, err);
}

/* Pairs of patches that see each other, and patches that are predicted, of the whole batch. */
static void count(const aim *o, const mm1_batch *b, int64_t step, double *n_pairs, int64_t *n_predicted)
{
    *n_pairs = 0;
    *n_predicted = 0;
    for (int64_t i = 0; i < b->I; i++) {
        const double prefix = (double)draw_prefix(o, step, i), P = (double)o->P;
        *n_pairs += prefix * prefix + (P - prefix) * (P + prefix + 1) / 2;
        *n_predicted += o->P - (int64_t)prefix;
    }
}

static mm1_status gradients(mm1_objective *base, mm1_tape *t, const mm1_batch *b, int64_t step, mm1_error *err)
{
    aim *o = (aim *)(void *)base;
    const mm1_train_config *c = &base->recipe->train;
    const mm1_model_config *m = &base->model->config;
    const int64_t micro = c->micro_batch, R = b->image_px;
    double sums[MM1_DATA_MAX_SOURCES] = {0}, n_pairs = 0;
    int64_t counts[MM1_DATA_MAX_SOURCES] = {0}, n_predicted = 0;
    mm1_status st = MM1_OK;
    count(o, b, step, &n_pairs, &n_predicted);
    for (int64_t row = 0, image = 0; st == MM1_OK && row < b->B; row += micro) {
        read_rows(o, b, row, b->B - row < micro ? b->B - row : micro, image, step);
        st = run_pictures(o, t, b->pixels + image * 3 * R * R, 1.0 / (double)n_predicted, err);
        for (int64_t i = 0; st == MM1_OK && i < o->n; i++) {
            sums[o->source[i]] += o->loss[i];
            counts[o->source[i]]++;
        }
        image += o->n_images;
    }
    if (st == MM1_OK) {
        const double unseen = (double)(b->I * o->P * o->P) - n_pairs;
        mm1__objective_by_source(base, sums, counts);
        base->report.flops = ((double)b->I * mm1_flops_vision(&m->vision, (double)o->P) -
                              mm1_flops_vision_attention(&m->vision, unseen)) *
                                 (c->lr_vision > 0 ? 3 : 1) +
                             (double)n_predicted * mm1_flops_pixel_head(m) *
                                 (1 + (c->lr_vision > 0 || c->lr_head > 0) + (c->lr_head > 0));
    }
    return st;
}

static mm1_status plan(mm1_objective *base, mm1_tape *t, mm1_error *err)
{
    aim *o = (aim *)(void *)base;
    const mm1_recipe *r = base->recipe;
    o->n_images = r->train.micro_batch < r->data.batch ? r->train.micro_batch : r->data.batch;
    o->n = o->n_images * (o->P - 1);
    return run_pictures(o, t, NULL, 1, err);
}

static void destroy(mm1_objective *base)
{
    aim *o = (aim *)(void *)base;
    mm1_free(o->prefix);
    mm1_free(o->from);
    mm1_free(o->to);
    mm1_free(o->source);
    mm1_free(o->loss);
    mm1_free(o);
}

mm1_status mm1__objective_aim(const mm1_recipe *recipe, const mm1_model *m, mm1_objective **out, mm1_error *err)
{
    const int64_t grid = mm1_vision_grid(&m->config.vision), P = grid * grid;
    const int64_t micro =
        recipe->train.micro_batch < recipe->data.batch ? recipe->train.micro_batch : recipe->data.batch;
    const size_t n = (size_t)(micro * P);
    for (size_t i = 0; i < recipe->data.n_sources; i++) {
        if (recipe->data.sources[i].weight > 0 && recipe->data.sources[i].kind == MM1_DATA_TEXT) {
            return mm1_error_set(err, MM1_E_CONFIG, "data.sources.%s: text alone has no picture to be predicted",
                                 recipe->data.sources[i].name);
        }
    }
    aim *o = mm1_calloc(1, sizeof *o);
    if (o == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the objective");
    }
    o->base = (mm1_objective){.gradients = gradients, .plan = plan, .destroy = destroy};
    o->P = P;
    o->prefix = mm1_alloc((size_t)micro, sizeof *o->prefix);
    o->from = mm1_alloc(n, sizeof *o->from);
    o->to = mm1_alloc(n, sizeof *o->to);
    o->source = mm1_alloc(n, sizeof *o->source);
    o->loss = mm1_alloc(n, sizeof *o->loss);
    if (o->prefix == NULL || o->from == NULL || o->to == NULL || o->source == NULL || o->loss == NULL) {
        destroy(&o->base);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the patches of %lld rows; lower train.micro_batch",
                             (long long)micro);
    }
    *out = &o->base;
    return MM1_OK;
}

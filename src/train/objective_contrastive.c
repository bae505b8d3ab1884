/* objective_contrastive.c - a picture finds its caption among those of the batch, and a caption its picture (CLIP:
 * Radford et al. 2021); a picture without text finds another view of itself (SimCLR: Chen et al. 2020, with the views
 * of other pictures as negatives; beside captions: Mu et al. 2022, SLIP).  The loss is the mean over the rows of the
 * batch, whichever of the two a row is.  A row with a picture and no text where one is due takes no part.
 *
 * The loss of a row depends on all others, but memory does not grow with the batch (GradCache: Gao et al. 2021): all
 * rows are embedded without recording, the loss gives the gradients of the embeddings, and each micro-batch is embedded
 * again to take them back.  A batch of one micro-batch is embedded once. */
#include "train/objective.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/rng.h"
#include "model/flops.h"
#include "train/info_nce.h"
#include <math.h>
#include <string.h>

/* One kind of pairs over the whole batch: pictures and captions, or two views. */
typedef struct pair_set {
    int64_t n;
    float *unit[2], *grad[2]; /* [n, D] */
    uint64_t *key;            /* [n]; NULL for views */
    int32_t *source;          /* [n] */
} pair_set;

typedef struct contrastive {
    mm1_objective base;
    int64_t D, P, K; /* joint dimension; patches of a picture, and how many of them are read */
    bool has_captions, has_views;
    pair_set captions, views;
    float *loss, *logits, *lse; /* [B], [B, B], [2 B] */

    /* Of the micro-batch at hand. */
    int64_t n_images, n_captions, n_views;
    mm1_texts texts;
    int32_t *ids;                        /* [T] */
    int32_t *caption_image, *view_image; /* [n_captions], [2 n_views] of the micro-batch's pictures */
    int32_t *patch;                      /* [n_images, K] */
} contrastive;

typedef struct embedded {
    mm1_tensor *image, *text; /* [n_captions, D] */
    mm1_tensor *view;         /* [2 n_views, D]; the two views of a picture beside each other */
} embedded;

/* ---- rows ---- */

/* The text of a row from position `first` on into o->ids; returns its length. */
static int64_t text_of(contrastive *o, const mm1_batch *b, int64_t row, int64_t first)
{
    int64_t n = 0;
    for (int64_t t = first; t < b->row_len[row]; t++) {
        const int64_t at = row * b->T + t;
        if (b->visual[at] < 0) {
            o->ids[n++] = b->token[at];
        }
    }
    return n;
}

/* Which patches of a picture are read: a function of the seed, the step and its number in the batch. */
static void draw_patches(const contrastive *o, int64_t step, int64_t image, int32_t *patch)
{
    const uint64_t index = (uint64_t)step << 22 ^ (uint64_t)image;
    for (int64_t k = 0; k < o->K; k++) {
        patch[k] = (int32_t)mm1_rng_permute((uint64_t)o->base.recipe->train.seed, MM1_RNG_PATCH, index, (uint64_t)o->P,
                                            (uint64_t)k);
    }
}

/* Sorts out rows [row, row + n), whose pictures begin at `image`; with `count` they are added to the sets. */
static void read_rows(contrastive *o, const mm1_batch *b, int64_t row, int64_t n, int64_t image, int64_t step,
                      bool count)
{
    const mm1_recipe *recipe = o->base.recipe;
    const mm1_tokenizer *tokenizer = o->base.model->tokenizer;
    const mm1_token_roles *roles = tokenizer != NULL ? mm1_tokenizer_roles(tokenizer) : &mm1__no_tokenizer_roles;
    const int32_t end = roles->eos[0];
    const bool has_bos = roles->bos >= 0, reads_bos = has_bos && o->base.model->config.text.bos;
    o->n_images = o->n_captions = o->n_views = o->texts.n = o->texts.N = 0;
    for (int64_t r = row; r < row + n; r++) {
        const int64_t first = o->n_images, n_images = b->row_images[r];
        const int32_t source = b->source[r * b->T];
        for (int64_t i = 0; i < n_images && o->K < o->P; i++) {
            draw_patches(o, step, image + first + i, o->patch + (first + i) * o->K);
        }
        o->n_images += n_images;
        if (n_images == 2 && recipe->data.sources[source].kind == MM1_DATA_IMAGES) {
            o->view_image[2 * o->n_views] = (int32_t)first;
            o->view_image[2 * o->n_views + 1] = (int32_t)first + 1;
            o->n_views++;
            if (count) {
                o->views.source[o->views.n++] = source;
            }
            continue;
        }
        const int64_t len = text_of(o, b, r, has_bos && !reads_bos);
        if (n_images != 1 || len <= reads_bos || o->ids[reads_bos] == end) {
            continue;
        }
        o->caption_image[o->n_captions++] = (int32_t)first;
        mm1_texts_add(&o->texts, o->ids, len, end, o->base.model->config.text.max_positions);
        if (count) {
            o->captions.source[o->captions.n] = source;
            o->captions.key[o->captions.n++] = mm1_hash64(o->ids, (size_t)len * sizeof *o->ids, 0);
        }
    }
}

/* ---- embeddings ---- */

static embedded embed(contrastive *o, mm1_tape *t, const float *pixels)
{
    const mm1_model *m = o->base.model;
    embedded e = {0};
    mm1_tensor *x = NULL;
    if (o->K < o->P) {
        (void)mm1_vit_forward_some(&m->vit, t, pixels, o->n_images, o->patch, o->K, &x);
    } else {
        (void)mm1_vit_forward_pooled(&m->vit, t, pixels, o->n_images, &x);
    }
    if (o->n_captions > 0) {
        e.image = mm1_joint_image(&m->joint, t, mm1_op_embed(t, x, o->caption_image, o->n_captions, NULL, NULL));
        e.text = mm1_joint_text(&m->joint, t, mm1_text_tower_forward(&m->text, t, &o->texts));
    }
    if (o->n_views > 0) {
        e.view = mm1_joint_view(&m->joint, t, mm1_op_embed(t, x, o->view_image, 2 * o->n_views, NULL, NULL));
    }
    return e;
}

/* Between the sets, from number `at` on, and the rows of a micro-batch. */
static void store(const contrastive *o, const embedded *e, int64_t caption, int64_t view)
{
    const size_t bytes = (size_t)o->D * sizeof(float);
    for (int64_t i = 0; i < o->n_captions; i++) {
        memcpy(o->captions.unit[0] + (caption + i) * o->D, e->image->data + i * o->D, bytes);
        memcpy(o->captions.unit[1] + (caption + i) * o->D, e->text->data + i * o->D, bytes);
    }
    for (int64_t i = 0; i < 2 * o->n_views; i++) {
        memcpy(o->views.unit[i % 2] + (view + i / 2) * o->D, e->view->data + i * o->D, bytes);
    }
}

/* The gradient of y's rows: row i of each of n_sets in turn. */
static void seed(mm1_tape *t, mm1_tensor *y, float *const *grads, int64_t n_sets, int64_t at)
{
    bool acc;
    if (y == NULL || !y->needs_grad) {
        return;
    }
    float *dy = mm1__tape_grad(t, y, &acc);
    const int64_t D = mm1_tensor_cols(y), n = mm1_tensor_rows(y);
    for (int64_t i = 0; i < n && dy != NULL && !t->dry; i++) {
        memcpy(dy + i * D, grads[i % n_sets] + (at + i / n_sets) * D, (size_t)D * sizeof *dy);
    }
}

static void take_back(const contrastive *o, mm1_tape *t, const embedded *e, int64_t caption, int64_t view)
{
    seed(t, e->image, &o->captions.grad[0], 1, caption);
    seed(t, e->text, &o->captions.grad[1], 1, caption);
    seed(t, e->view, o->views.grad, 2, view);
    mm1_tape_backward(t);
}

/* ---- the loss ---- */

static mm1_info_nce compare(contrastive *o, const pair_set *set, double log_scale, double weight, double *sums,
                            int64_t *counts)
{
    mm1_info_nce x = {.n = set->n,
                      .D = o->D,
                      .a = set->unit[0],
                      .b = set->unit[1],
                      .key = set->key,
                      .log_scale = log_scale,
                      .weight = weight,
                      .loss = o->loss,
                      .da = set->grad[0],
                      .db = set->grad[1],
                      .logits = o->logits,
                      .lse = o->lse};
    mm1_info_nce_run(&x);
    for (int64_t i = 0; i < set->n; i++) {
        sums[set->source[i]] += o->loss[i];
        counts[set->source[i]]++;
    }
    return x;
}

static void measure(contrastive *o)
{
    const mm1_recipe *recipe = o->base.recipe;
    mm1_tensor *scale = o->base.model->joint.log_scale;
    double sums[MM1_DATA_MAX_SOURCES] = {0};
    int64_t counts[MM1_DATA_MAX_SOURCES] = {0};
    const int64_t n = o->captions.n + o->views.n;
    const double weight = n > 0 ? 1.0 / (double)n : 0;
    if (o->captions.n > 0) {
        const double n_captions = (double)o->captions.n;
        const mm1_info_nce x = compare(o, &o->captions, scale->data[0], weight, sums, counts);
        if (scale->needs_grad) {
            scale->grad[0] += (float)x.d_log_scale;
        }
        mm1__objective_value(&o->base, "image_to_text", (double)x.n_right_a / n_captions);
        mm1__objective_value(&o->base, "text_to_image", (double)x.n_right_b / n_captions);
    }
    mm1__objective_value(&o->base, "logit_scale", exp(scale->data[0]));
    if (o->views.n > 0) {
        const mm1_info_nce x = compare(o, &o->views, -log(recipe->train.view_temperature), weight, sums, counts);
        mm1__objective_value(&o->base, "view_to_view", (double)(x.n_right_a + x.n_right_b) / (2 * (double)o->views.n));
    }
    mm1__objective_by_source(&o->base, sums, counts);
}

/* ---- a step ---- */

static double flops(const contrastive *o, const mm1_batch *b, int64_t n_tokens)
{
    const mm1_train_config *c = &o->base.recipe->train;
    const mm1_model_config *m = &o->base.model->config;
    return (double)b->I * mm1_flops_vision(&m->vision, (double)o->K) * (c->lr_vision > 0 ? 3 : 1) +
           mm1_flops_text(&m->text, (double)n_tokens) * (c->lr_head > 0 ? 3 : 1);
}

static mm1_status gradients(mm1_objective *base, mm1_tape *t, const mm1_batch *b, int64_t step, mm1_error *err)
{
    contrastive *o = (contrastive *)(void *)base;
    const int64_t micro = base->recipe->train.micro_batch, R = b->image_px;
    const bool at_once = micro >= b->B;
    embedded e = {0};
    int64_t n_tokens = 0;
    mm1_status st = MM1_OK;
    o->captions.n = o->views.n = 0;
    t->recording = at_once;
    for (int64_t row = 0, image = 0; st == MM1_OK && row < b->B; row += micro) {
        const int64_t caption = o->captions.n, view = o->views.n;
        mm1_tape_reset(t, 0);
        read_rows(o, b, row, b->B - row < micro ? b->B - row : micro, image, step, true);
        e = embed(o, t, b->pixels + image * 3 * R * R);
        st = mm1_tape_status(t, err);
        if (st == MM1_OK) {
            store(o, &e, caption, view);
        }
        image += o->n_images;
        n_tokens += o->texts.N;
    }
    t->recording = true;
    if (st != MM1_OK) {
        return st;
    }
    measure(o);
    for (int64_t row = 0, image = 0, caption = 0, view = 0; st == MM1_OK && row < b->B; row += micro) {
        if (!at_once) {
            mm1_tape_reset(t, 0);
            read_rows(o, b, row, b->B - row < micro ? b->B - row : micro, image, step, false);
            e = embed(o, t, b->pixels + image * 3 * R * R);
        }
        take_back(o, t, &e, caption, view);
        st = mm1_tape_status(t, err);
        image += o->n_images;
        caption += o->n_captions;
        view += o->n_views;
    }
    base->report.flops = flops(o, b, n_tokens);
    return st;
}

static mm1_status plan(mm1_objective *base, mm1_tape *t, mm1_error *err)
{
    contrastive *o = (contrastive *)(void *)base;
    const mm1_recipe *r = base->recipe;
    const int64_t micro = r->train.micro_batch < r->data.batch ? r->train.micro_batch : r->data.batch;
    o->n_images = o->has_views ? 2 * micro : micro;
    o->n_captions = o->has_captions ? micro : 0;
    o->n_views = o->has_views ? micro : 0;
    o->texts.n = o->n_captions;
    o->texts.N = o->n_captions * r->data.seq_len;
    const embedded e = embed(o, t, NULL);
    take_back(o, t, &e, 0, 0);
    return mm1_tape_status(t, err);
}

/* The temperature's bound (Radford et al. 2021, section 2.5). */
static void settle(mm1_objective *base)
{
    float *log_scale = base->model->joint.log_scale->data;
    *log_scale = fminf(*log_scale, (float)MM1_JOINT_LOG_SCALE_MAX);
}

/* ---- life ---- */

static void destroy(mm1_objective *base)
{
    contrastive *o = (contrastive *)(void *)base;
    pair_set *const sets[] = {&o->captions, &o->views};
    for (int i = 0; i < 2; i++) {
        for (int side = 0; side < 2; side++) {
            mm1_free(sets[i]->unit[side]);
            mm1_free(sets[i]->grad[side]);
        }
        mm1_free(sets[i]->key);
        mm1_free(sets[i]->source);
    }
    mm1_free(o->loss);
    mm1_free(o->logits);
    mm1_free(o->lse);
    mm1_texts_deinit(&o->texts);
    mm1_free(o->ids);
    mm1_free(o->caption_image);
    mm1_free(o->view_image);
    mm1_free(o->patch);
    mm1_free(o);
}

static bool set_init(pair_set *s, int64_t B, int64_t D, bool has_keys)
{
    bool ok = (s->source = mm1_alloc((size_t)B, sizeof *s->source)) != NULL;
    for (int side = 0; side < 2; side++) {
        s->unit[side] = mm1_alloc((size_t)(B * D), sizeof(float));
        s->grad[side] = mm1_alloc((size_t)(B * D), sizeof(float));
        ok = ok && s->unit[side] != NULL && s->grad[side] != NULL;
    }
    return ok && (!has_keys || (s->key = mm1_alloc((size_t)B, sizeof *s->key)) != NULL);
}

static mm1_status check_sources(contrastive *o, const mm1_recipe *recipe, mm1_error *err)
{
    for (size_t i = 0; i < recipe->data.n_sources; i++) {
        const mm1_data_source *s = &recipe->data.sources[i];
        if (s->weight <= 0) {
            continue;
        }
        if (s->kind == MM1_DATA_TEXT) {
            return mm1_error_set(err, MM1_E_CONFIG, "data.sources.%s: text alone has no picture to be compared with",
                                 s->name);
        }
        if (s->kind == MM1_DATA_IMAGES && recipe->model.joint.view_width == 0) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "data.sources.%s: pictures without text need a head; set model.joint.view_width",
                                 s->name);
        }
        o->has_views = o->has_views || s->kind == MM1_DATA_IMAGES;
        o->has_captions = o->has_captions || s->kind != MM1_DATA_IMAGES;
    }
    return MM1_OK;
}

mm1_status mm1__objective_contrastive(const mm1_recipe *recipe, const mm1_model *m, mm1_objective **out, mm1_error *err)
{
    const int64_t B = recipe->data.batch, grid = mm1_vision_grid(&m->config.vision), T = recipe->data.seq_len;
    const int64_t micro = recipe->train.micro_batch < B ? recipe->train.micro_batch : B;
    contrastive *o = mm1_calloc(1, sizeof *o);
    if (o == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the objective");
    }
    o->base = (mm1_objective){.gradients = gradients, .plan = plan, .settle = settle, .destroy = destroy};
    o->D = m->config.joint.dim;
    o->P = grid * grid;
    o->K = (int64_t)fmax(1, round(recipe->train.patch_keep * (double)o->P));
    mm1_status st = check_sources(o, recipe, err);
    st = st != MM1_OK ? st : mm1_texts_init(&o->texts, micro, micro * T, err);
    if (st == MM1_OK) {
        const bool sets = set_init(&o->captions, B, o->D, true) && set_init(&o->views, B, o->D, false);
        o->loss = mm1_alloc((size_t)B, sizeof *o->loss);
        o->logits = mm1_alloc((size_t)(B * B), sizeof *o->logits);
        o->lse = mm1_alloc((size_t)(2 * B), sizeof *o->lse);
        o->ids = mm1_alloc((size_t)T, sizeof *o->ids);
        o->caption_image = mm1_alloc((size_t)micro, sizeof *o->caption_image);
        o->view_image = mm1_alloc((size_t)(2 * micro), sizeof *o->view_image);
        o->patch = mm1_alloc((size_t)(2 * micro * o->K), sizeof *o->patch);
        if (!sets || o->loss == NULL || o->logits == NULL || o->lse == NULL || o->ids == NULL ||
            o->caption_image == NULL || o->view_image == NULL || o->patch == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory to compare %lld rows; lower data.batch", (long long)B);
        }
    }
    if (st != MM1_OK) {
        destroy(&o->base);
        return st;
    }
    *out = &o->base;
    return MM1_OK;
}

/* objective.c - see objective.h. */
#include "train/objective.h"

#include <math.h>

mm1_status mm1_objective_check(const mm1_recipe *recipe, mm1_error *err)
{
    const mm1_model_config *c = &recipe->model;
    switch ((mm1_objective_kind)recipe->train.objective) {
    case MM1_OBJECTIVE_CONTRASTIVE:
        if (c->kind != MM1_MODEL_CLIP) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "train.objective: contrastive trains an encoder with a text tower; "
                                 "set model.kind clip");
        }
        break;
    case MM1_OBJECTIVE_AIM:
        if (c->kind != MM1_MODEL_AIM) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "train.objective: aim trains an encoder with a head for patches; set model.kind aim");
        }
        if (c->vision.image_size == c->vision.patch_size) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "model.vision.patch_size: one patch has no next one to be predicted");
        }
        if (c->vision.class_token) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "model.vision.class_token: true; with the aim objective every row is a patch");
        }
        if (recipe->train.patch_keep < 1) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "train.patch_keep: for contrastive only; a patch is predicted from all before it");
        }
        break;
    default:
        if (!mm1_model_config_has_decoder(c)) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "model.kind: a model without a decoder cannot be trained to predict text; see "
                                 "train.objective");
        }
        return MM1_OK;
    }
    return !isnan(recipe->train.lr_peak)
               ? MM1_OK
               : mm1_error_set(err, MM1_E_CONFIG,
                               "train.lr_peak: the law is one of decoders; this objective needs a number");
}

mm1_status mm1_objective_create(const mm1_recipe *recipe, mm1_model *m, mm1_objective **out, mm1_error *err)
{
    *out = NULL;
    mm1_status st = mm1_objective_check(recipe, err);
    if (st != MM1_OK) {
        return st;
    }
    switch ((mm1_objective_kind)recipe->train.objective) {
    case MM1_OBJECTIVE_CONTRASTIVE: st = mm1__objective_contrastive(recipe, m, out, err); break;
    case MM1_OBJECTIVE_AIM: st = mm1__objective_aim(recipe, m, out, err); break;
    default: st = mm1__objective_text(recipe, out, err); break;
    }
    if (st == MM1_OK) {
        (*out)->recipe = recipe;
        (*out)->model = m;
    }
    return st;
}

void mm1_objective_destroy(mm1_objective *o)
{
    if (o != NULL) {
        o->destroy(o);
    }
}

mm1_status mm1_objective_gradients(mm1_objective *o, mm1_tape *t, const mm1_batch *b, int64_t step, mm1_error *err)
{
    mm1_params_zero_grad(&o->model->params);
    mm1__tape_done(t, "zero gradients", o->model->params.grad_total, 0);
    o->report.n_values = 0;
    return o->gradients(o, t, b, step, err);
}

void mm1__objective_value(mm1_objective *o, const char *name, double value)
{
    mm1_objective_report *r = &o->report;
    r->values[r->n_values].name = name;
    r->values[r->n_values++].value = value;
}

void mm1__objective_by_source(mm1_objective *o, const double *sums, const int64_t *counts)
{
    mm1_objective_report *r = &o->report;
    double sum = 0;
    int64_t n = 0;
    for (size_t i = 0; i < o->recipe->data.n_sources; i++) {
        sum += sums[i];
        n += counts[i];
        r->source_targets[i] = counts[i];
        r->source_loss[i] = counts[i] > 0 ? sums[i] / (double)counts[i] : NAN;
    }
    r->loss = n > 0 ? sum / (double)n : 0;
}

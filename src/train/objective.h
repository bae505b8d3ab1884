/* objective.h - what a training step lowers.
 *
 *   text         -log p of the next token                    (objective_text.c, any model with a decoder)
 *   contrastive  a picture finds its caption among others    (objective_contrastive.c, kind clip)
 *   aim          a patch of a picture predicts the next one  (objective_aim.c, kind aim)
 *
 * The loop (trainer.c) asks an objective for the gradients of a batch and for what it has to say of it; all else, from
 * the data to the checkpoint, is the same for all of them.
 *
 * Threads: as the tape. */
#ifndef MM1_TRAIN_OBJECTIVE_H
#define MM1_TRAIN_OBJECTIVE_H

#include "model/model.h"
#include "train/recipe.h"

enum { MM1_OBJECTIVE_MAX_VALUES = 8 };

/* Of the last batch. */
typedef struct mm1_objective_report {
    double loss;
    double source_loss[MM1_DATA_MAX_SOURCES];     /* NAN where the batch has none of this source */
    int64_t source_targets[MM1_DATA_MAX_SOURCES]; /* what the losses are means over: tokens, or rows */
    double flops;                                 /* what the mathematics asks for, nothing counted twice */
    struct {
        const char *name;
        double value;
    } values[MM1_OBJECTIVE_MAX_VALUES]; /* for the logs */
    int64_t n_values;
} mm1_objective_report;

typedef struct mm1_objective mm1_objective;
struct mm1_objective {
    const mm1_recipe *recipe; /* borrowed, as the model */
    mm1_model *model;
    mm1_objective_report report;
    /* Adds the gradients of one step to the slab, micro-batch by micro-batch, and fills the report. */
    mm1_status (*gradients)(mm1_objective *o, mm1_tape *t, const mm1_batch *b, int64_t step, mm1_error *err);
    /* One micro-batch of the largest size on a dry tape. */
    mm1_status (*plan)(mm1_objective *o, mm1_tape *t, mm1_error *err);
    void (*settle)(mm1_objective *o); /* after the update; may be NULL */
    void (*destroy)(mm1_objective *o);
};

/* By recipe->train.objective, whose model configuration is resolved.  MM1_E_CONFIG as the check gives it. */
MM1_NODISCARD mm1_status mm1_objective_create(const mm1_recipe *recipe, mm1_model *m, mm1_objective **out,
                                              mm1_error *err);
void mm1_objective_destroy(mm1_objective *o); /* accepts NULL */
/* Whether this kind of model can be trained so; the message names the remedy. */
MM1_NODISCARD mm1_status mm1_objective_check(const mm1_recipe *recipe, mm1_error *err);

/* The gradients of one step into the slab, which is zeroed first; the tape records.  step counts from 1; what is drawn
 * at random depends on it and the seed. */
MM1_NODISCARD mm1_status mm1_objective_gradients(mm1_objective *o, mm1_tape *t, const mm1_batch *b, int64_t step,
                                                 mm1_error *err);

/* ---- for objectives ---- */

MM1_NODISCARD mm1_status mm1__objective_text(const mm1_recipe *recipe, mm1_objective **out, mm1_error *err);
MM1_NODISCARD mm1_status mm1__objective_contrastive(const mm1_recipe *recipe, const mm1_model *m, mm1_objective **out,
                                                    mm1_error *err);
MM1_NODISCARD mm1_status mm1__objective_aim(const mm1_recipe *recipe, const mm1_model *m, mm1_objective **out,
                                            mm1_error *err);
void mm1__objective_value(mm1_objective *o, const char *name, double value);
/* Sums of losses and their numbers, by source, become the report's means; the mean over all is its loss. */
void mm1__objective_by_source(mm1_objective *o, const double *sums, const int64_t *counts);

#endif

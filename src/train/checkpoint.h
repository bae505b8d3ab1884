/* checkpoint.h - a run on disk: model folder, optimiser moments and the trainer's state, complete or not there.
 *
 *   <run>/checkpoints/step_00000100/   config.json ... model.safetensors   a model folder like any other
 *                                      optimizer.safetensors               what the optimiser keeps, see below
 *                                      trainer_state.json                  step, data position, totals
 *   <run>/checkpoints/latest           link to the newest complete one
 *
 * With adapters it is a folder of these (lora.h), which names its base.
 *
 * Of what is trained: AdamW's moments "m.<parameter>" and "v.<parameter>" as they are held, F32 or BF16; AdaFactor's
 * "row.<parameter>" and "col.<parameter>", or "v.<parameter>" of a vector.  A frozen part has none.
 *
 * A checkpoint is written to "step_....tmp", synced and renamed, then the link is replaced: a kill at any point leaves
 * the previous checkpoint in use. */
#ifndef MM1_TRAIN_CHECKPOINT_H
#define MM1_TRAIN_CHECKPOINT_H

#include "data/packing.h"
#include "train/optimizer.h"

typedef struct mm1_trainer_state {
    int64_t step;    /* updates made */
    int64_t n_steps; /* of the whole run; may have been lowered by train.max_minutes */
    int64_t tokens, images;
    double seconds; /* of training, over all sessions of the run */
    mm1_data_state data;
} mm1_trainer_state;

/* base: the model beside which m's adapters stand; of a model without any it is not looked at. */

/* Writes the checkpoint of state->step and removes the oldest beyond keep_last. */
MM1_NODISCARD mm1_status mm1_checkpoint_save(const char *run_dir, const char *base, const mm1_model *m,
                                             const mm1_optimizer *o, const mm1_trainer_state *state, int64_t keep_last,
                                             mm1_error *err);
/* Reads one into a model and optimiser of the same shape.  Another optimiser's, and moments of the other kind, are
 * MM1_E_CONFIG; where there are none, as the part was frozen so far, they begin at zero. */
MM1_NODISCARD mm1_status mm1_checkpoint_load(const char *dir, const char *base, mm1_model *m, mm1_optimizer *o,
                                             mm1_trainer_state *state, mm1_error *err);
/* Path of the newest complete checkpoint of a run, freed by the caller with mm1_free(); NULL if there is none.  Also
 * removes what a killed save left behind. */
MM1_NODISCARD mm1_status mm1_checkpoint_latest(const char *run_dir, char **path, mm1_error *err);

#endif

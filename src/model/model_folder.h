/* model_folder.h - a model folder that a command writes: complete or not there, and never in the place of anything
 * else.
 *
 * Threads: as a model. */
#ifndef MM1_MODEL_MODEL_FOLDER_H
#define MM1_MODEL_MODEL_FOLDER_H

#include "model/model.h"

/* Whether the folder may be written: it is not there, or it holds a model and nothing more and force is set.  To be
 * asked before the work begins. */
MM1_NODISCARD mm1_status mm1_model_folder_check(const char *output, bool force, mm1_error *err);
/* Fills an empty folder. */
typedef mm1_status mm1_folder_fill(void *ctx, const char *dir, mm1_error *err);
/* Lets fill write to "<path>.tmp" and moves that into the place of path, which mm1_model_folder_check() has allowed. */
MM1_NODISCARD mm1_status mm1_model_folder_make(const char *path, mm1_folder_fill *fill, void *ctx, mm1_error *err);
/* The same with m, as our own folder. */
MM1_NODISCARD mm1_status mm1_model_folder_write(const mm1_model *m, const char *path, mm1_dtype dtype, mm1_error *err);

#endif

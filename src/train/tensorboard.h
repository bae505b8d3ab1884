/* tensorboard.h - scalars for TensorBoard: an event file that it reads while the run goes on.
 *
 * A file is a row of records (u64 length, u32 masked CRC-32C of the length, bytes, u32 masked CRC-32C of the bytes),
 * each one Event message; the first says "brain.Event:2".  A run that is resumed begins another file in the same
 * folder; TensorBoard reads them in the order of their names.
 *
 * Errors: MM1_E_IO with the path; the first one sticks.  One thread at a time. */
#ifndef MM1_TRAIN_TENSORBOARD_H
#define MM1_TRAIN_TENSORBOARD_H

#include <mm1/error.h>
#include <stdint.h>

typedef struct mm1_tensorboard mm1_tensorboard;

/* Makes "<dir>/events.out.tfevents.<seconds>.<host>" (with ".1", ".2" .. if that exists); the folder must exist.
 * wall_time is in seconds since 1970, 0 takes the clock; host NULL asks the system.
 * first_step > 0 resumes: TensorBoard then forgets what earlier files of the folder say of first_step and later, which
 * a run that was interrupted after its last checkpoint does again. */
MM1_NODISCARD mm1_status mm1_tensorboard_open(mm1_tensorboard **out, const char *dir, int64_t first_step,
                                              double wall_time, const char *host, mm1_error *err);

/* One point of the curve `tag`, e.g. "train/loss"; wall_time as above.  NaN and infinity are written as they are. */
MM1_NODISCARD mm1_status mm1_tensorboard_add_scalar(mm1_tensorboard *tb, const char *tag, int64_t step, double value,
                                                    double wall_time, mm1_error *err);

/* Hands the points so far to the system, so that TensorBoard sees them. */
MM1_NODISCARD mm1_status mm1_tensorboard_flush(mm1_tensorboard *tb, mm1_error *err);

const char *mm1_tensorboard_path(const mm1_tensorboard *tb);

/* Flush first to learn of a failure.  Accepts NULL. */
void mm1_tensorboard_close(mm1_tensorboard *tb);

#endif

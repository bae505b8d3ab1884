/* metrics_log.h - metrics.jsonl: one JSON object a line, {"step":120,"loss":2.31,..}, in the order of the calls.
 *
 * Each line reaches the system as a whole when it ends.  A run that is resumed cuts the file back to its checkpoint, so
 * that in the end it is as if the run had never stopped.
 *
 * Errors: MM1_E_IO with the path, MM1_E_NOMEM, MM1_E_STATE.  One thread at a time. */
#ifndef MM1_TRAIN_METRICS_LOG_H
#define MM1_TRAIN_METRICS_LOG_H

#include <mm1/error.h>
#include <stdint.h>

typedef struct mm1_metrics_log mm1_metrics_log;

/* Opens for appending.  Of a file that is there only the lines stay that are whole JSON objects with an integer "step"
 * of at most last_step, byte for byte: last_step is that of the checkpoint, or -1 to begin anew.  The shortened file
 * takes the place of the old one in one step. */
MM1_NODISCARD mm1_status mm1_metrics_log_open(mm1_metrics_log **out, const char *path, int64_t last_step,
                                              mm1_error *err);

/* One line: begin, any number of values, end.  Keys and text are UTF-8.  A value that is not finite is null: JSON has
 * no other word for it.  Numbers are written in the fewest digits that read back the same. */
void mm1_metrics_log_begin(mm1_metrics_log *log, int64_t step);
void mm1_metrics_log_f64(mm1_metrics_log *log, const char *key, double v);
void mm1_metrics_log_i64(mm1_metrics_log *log, const char *key, int64_t v);
void mm1_metrics_log_text(mm1_metrics_log *log, const char *key, const char *v);
/* Writes the line and flushes; what went wrong since begin is reported here. */
MM1_NODISCARD mm1_status mm1_metrics_log_end(mm1_metrics_log *log, mm1_error *err);

void mm1_metrics_log_close(mm1_metrics_log *log); /* accepts NULL; a line without its end is dropped */

#endif

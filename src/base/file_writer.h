/* file_writer.h - a file written piece by piece that appears whole or not at all.
 *
 * mm1_file_write_atomic() for what does not fit into one buffer: the bytes go to "<path>.tmp"; commit syncs and renames
 * it; close without commit removes it.  The first failure sticks and is what commit returns, so a writer may append
 * freely and check once.  Call mm1_dir_sync() on the folder to make the rename itself durable.
 *
 * Errors: MM1_E_IO with path and the system's reason, MM1_E_NOMEM.  Not thread-safe. */
#ifndef MM1_BASE_FILE_WRITER_H
#define MM1_BASE_FILE_WRITER_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_file_writer mm1_file_writer;

MM1_NODISCARD mm1_status mm1_file_writer_open(mm1_file_writer **out, const char *path, mm1_error *err);
/* Buffered; err is filled by the first failure only. */
mm1_status mm1_file_writer_append(mm1_file_writer *w, const void *bytes, size_t len, mm1_error *err);
/* n zero bytes. */
mm1_status mm1_file_writer_pad(mm1_file_writer *w, size_t n, mm1_error *err);
/* Bytes appended. */
uint64_t mm1_file_writer_size(const mm1_file_writer *w);
/* Flushes, syncs and renames.  Whatever it returns, mm1_file_writer_close() follows. */
MM1_NODISCARD mm1_status mm1_file_writer_commit(mm1_file_writer *w, mm1_error *err);
/* Removes the temporary file unless it was committed.  Accepts NULL. */
void mm1_file_writer_close(mm1_file_writer *w);

#endif

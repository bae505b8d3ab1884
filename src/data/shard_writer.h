/* shard_writer.h - samples into numbered shards: WebDataset tar files, or zstd-compressed JSON lines.
 *
 * Shards are <dir>/<name>-0000.tar and so on; a new one starts when the next sample would pass shard_bytes.  The bytes
 * depend on the samples only (no times, no owners).  A writer that was given nothing leaves no file.  Not thread-safe.
 */
#ifndef MM1_DATA_SHARD_WRITER_H
#define MM1_DATA_SHARD_WRITER_H

#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mm1_shard_writer mm1_shard_writer;

typedef enum mm1_shard_format { MM1_SHARD_TAR, MM1_SHARD_JSONL_ZST } mm1_shard_format;

MM1_NODISCARD mm1_status mm1_shard_writer_open(const char *dir, const char *name, mm1_shard_format format,
                                               int64_t shard_bytes, mm1_shard_writer **out, mm1_error *err);

/* Says how many bytes the next sample has, so that its members stay in one shard. */
MM1_NODISCARD mm1_status mm1_shard_writer_begin(mm1_shard_writer *w, size_t sample_bytes, mm1_error *err);
/* Tar only: one member, "<key>.<extension>". */
MM1_NODISCARD mm1_status mm1_shard_writer_member(mm1_shard_writer *w, const char *key, const char *extension,
                                                 const void *bytes, size_t len, mm1_error *err);
/* JSON lines only: a line without its newline. */
MM1_NODISCARD mm1_status mm1_shard_writer_line(mm1_shard_writer *w, const char *line, size_t len, mm1_error *err);

/* Finishes the last shard.  After it, or after a failure, only mm1_shard_writer_destroy() may follow. */
MM1_NODISCARD mm1_status mm1_shard_writer_close(mm1_shard_writer *w, mm1_error *err);
int64_t mm1_shard_writer_shards(const mm1_shard_writer *w);
void mm1_shard_writer_destroy(mm1_shard_writer *w); /* accepts NULL */

#endif

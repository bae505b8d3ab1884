/* tar.h - tar shards: members one after the other, an index for access in any order, and a writer.
 *
 * Read: POSIX ustar and pax, GNU long names, old V7; regular files only (folders, links and devices are passed over;
 * sparse files are MM1_E_UNSUPPORTED).  Compression by gzip, zstd, xz or bzip2 is recognised by content, not by name,
 * and undone by libarchive; an index needs a plain tar.
 *
 * An archive must end with its end mark (a zero block).  One that stops earlier, even between two members, is cut off:
 * MM1_E_FORMAT names the shard and the byte.  Offsets count from the start of the uncompressed tar.
 *
 * Errors: MM1_E_FORMAT, MM1_E_LIMIT (a member over its cap), MM1_E_UNSUPPORTED, MM1_E_IO, MM1_E_NOMEM.  A reader or
 * writer is used by one thread at a time; an open index is read only and may be shared. */
#ifndef MM1_BASE_TAR_H
#define MM1_BASE_TAR_H

#include "base/file.h"
#include <mm1/error.h>
#include <stddef.h>
#include <stdint.h>

enum { MM1_TAR_MAX_NAME_BYTES = 1 << 16 };

typedef struct mm1_tar_member {
    const char *name;    /* as in the archive, NUL-terminated; bytes, usually UTF-8 */
    const uint8_t *data; /* size bytes */
    size_t size;
    uint64_t offset; /* of data */
} mm1_tar_member;

typedef struct mm1_tar mm1_tar;

/* Members over max_member_bytes are MM1_E_LIMIT when they are reached. */
MM1_NODISCARD mm1_status mm1_tar_open(mm1_tar **out, const char *path, size_t max_member_bytes, mm1_error *err);
/* The next regular file into *out, borrowed until the next call; name is NULL at the end of the archive.  After a
 * failure every further call fails in the same way. */
MM1_NODISCARD mm1_status mm1_tar_next(mm1_tar *tar, mm1_tar_member *out, mm1_error *err);
void mm1_tar_close(mm1_tar *tar); /* accepts NULL */

/* All regular files of a plain tar, in the order of the archive; names and data are borrowed from it until it is
 * closed. */
typedef struct mm1_tar_index {
    mm1_tar_member *members;
    size_t n;
    mm1_map map; /* the whole archive */
    char *names;
} mm1_tar_index;

/* Reads the headers only: one page of each member. */
MM1_NODISCARD mm1_status mm1_tar_index_open(mm1_tar_index *index, const char *path, mm1_error *err);
void mm1_tar_index_close(mm1_tar_index *index); /* accepts a zeroed one */

/* Writes ustar, with a pax header where a name is over 100 bytes or a member over 8 GiB; time, owner and group are 0,
 * so that the bytes depend on names and contents alone.  "<path>.tmp" until mm1_tar_writer_commit(). */
typedef struct mm1_tar_writer mm1_tar_writer;

MM1_NODISCARD mm1_status mm1_tar_writer_open(mm1_tar_writer **out, const char *path, mm1_error *err);
MM1_NODISCARD mm1_status mm1_tar_writer_append(mm1_tar_writer *w, const char *name, const void *data, size_t size,
                                               mm1_error *err);
/* Bytes so far: for cutting a data set into shards of a size. */
uint64_t mm1_tar_writer_size(const mm1_tar_writer *w);
MM1_NODISCARD mm1_status mm1_tar_writer_commit(mm1_tar_writer *w, mm1_error *err);
/* Without a commit nothing is left.  Accepts NULL. */
void mm1_tar_writer_close(mm1_tar_writer *w);

#endif

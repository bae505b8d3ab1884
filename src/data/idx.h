/* idx.h - the file format of MNIST and its successors: arrays of bytes with a short header, plain or gzipped.
 *
 *   00 00 08 n   then n sizes as big-endian u32, slowest first, then the bytes   (08: unsigned bytes)
 *
 * Pictures are [items, rows, columns], labels [items]. */
#ifndef MM1_DATA_IDX_H
#define MM1_DATA_IDX_H

#include <mm1/error.h>
#include <mm1/image.h>
#include <stdint.h>

enum { MM1_IDX_MAX_DIMS = 3, MM1_IDX_MAX_SIDE = 4096 };

typedef struct mm1_idx {
    int n_dims;
    int64_t dims[MM1_IDX_MAX_DIMS]; /* unused ones are 1 */
    uint8_t *bytes;                 /* owned */
} mm1_idx;

/* n_dims: what the caller can use, 3 for pictures, 1 for labels.  MM1_E_IO; MM1_E_FORMAT for another header, and for a
 * file that holds fewer or more bytes than its header says; MM1_E_LIMIT over 4 GiB or a side over MM1_IDX_MAX_SIDE. */
MM1_NODISCARD mm1_status mm1_idx_read(mm1_idx *idx, const char *path, int n_dims, mm1_error *err);
void mm1_idx_deinit(mm1_idx *idx); /* accepts a zeroed one */

/* Picture i of [items, rows, columns] as grey RGB; the caller frees it.  Bytes are brightness, as in the files. */
MM1_NODISCARD mm1_status mm1_idx_image(const mm1_idx *idx, int64_t i, mm1_image *out, mm1_error *err);

#endif

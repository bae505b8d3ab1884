/* idx.c - see idx.h. */
#include "data/idx.h"

#include "base/alloc.h"
#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { READ_BYTES = 1 << 20 }; /* zlib counts a read in an int */

static const uint64_t MAX_BYTES = (uint64_t)4 << 30;

static mm1_status cut_short(const char *path, gzFile f, mm1_error *err)
{
    int code = 0;
    const char *text = gzerror(f, &code);
    return mm1_error_set(err, code == Z_ERRNO ? MM1_E_IO : MM1_E_FORMAT, "%s: %s", path,
                         code == Z_ERRNO                       ? strerror(errno)
                         : code == Z_OK || code == Z_BUF_ERROR ? "ends before all that its header speaks of"
                                                               : text);
}

/* Exactly n bytes. */
static mm1_status read_bytes(const char *path, gzFile f, uint8_t *bytes, size_t n, mm1_error *err)
{
    for (size_t at = 0; at < n;) {
        const size_t left = n - at;
        const int got = gzread(f, bytes + at, left < READ_BYTES ? (unsigned)left : READ_BYTES);
        if (got <= 0) {
            return cut_short(path, f, err);
        }
        at += (size_t)got;
    }
    return MM1_OK;
}

static mm1_status read_header(mm1_idx *idx, const char *path, gzFile f, int n_dims, uint64_t *total, mm1_error *err)
{
    uint8_t magic[4], size[4];
    mm1_status st = read_bytes(path, f, magic, sizeof magic, err);
    if (st != MM1_OK) {
        return st;
    }
    if (magic[0] != 0 || magic[1] != 0 || magic[2] != 0x08 || magic[3] != n_dims) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "%s: begins with %02x %02x %02x %02x; an idx file of bytes in %d dimension%s begins with "
                             "00 00 08 %02x",
                             path, magic[0], magic[1], magic[2], magic[3], n_dims, n_dims > 1 ? "s" : "", n_dims);
    }
    *total = 1;
    for (int i = 0; i < n_dims; i++) {
        st = read_bytes(path, f, size, sizeof size, err);
        if (st != MM1_OK) {
            return st;
        }
        const uint64_t n = (uint64_t)size[0] << 24 | (uint64_t)size[1] << 16 | (uint64_t)size[2] << 8 | size[3];
        if (n == 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: size %d of its header is 0", path, i);
        }
        /* No overflow: both factors are below 2^33. */
        *total *= n;
        if (*total > MAX_BYTES || (i > 0 && n > MM1_IDX_MAX_SIDE)) {
            return mm1_error_set(err, MM1_E_LIMIT, "%s: size %d of its header is %llu, over the limit", path, i,
                                 (unsigned long long)n);
        }
        idx->dims[i] = (int64_t)n;
    }
    return MM1_OK;
}

mm1_status mm1_idx_read(mm1_idx *idx, const char *path, int n_dims, mm1_error *err)
{
    uint64_t total = 0;
    uint8_t more;
    *idx = (mm1_idx){.n_dims = n_dims, .dims = {1, 1, 1}};
    gzFile f = gzopen(path, "rb");
    if (f == NULL) {
        return mm1_error_set(err, MM1_E_IO, "%s: cannot be opened: %s", path,
                             errno != 0 ? strerror(errno) : "no memory");
    }
    mm1_status st = read_header(idx, path, f, n_dims, &total, err);
    if (st == MM1_OK) {
        idx->bytes = mm1_alloc((size_t)total, 1);
        st = idx->bytes == NULL
                 ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %llu bytes", path, (unsigned long long)total)
                 : read_bytes(path, f, idx->bytes, (size_t)total, err);
    }
    if (st == MM1_OK) {
        const int got = gzread(f, &more, 1);
        if (got != 0) {
            st = got < 0 ? cut_short(path, f, err)
                         : mm1_error_set(err, MM1_E_FORMAT, "%s: goes on after the %llu bytes of its header", path,
                                         (unsigned long long)total);
        }
    }
    /* Bytes may all be there and the end of the stream, with its checksum, not. */
    if (gzclose(f) != Z_OK && st == MM1_OK) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: the compressed stream is cut short", path);
    }
    if (st != MM1_OK) {
        mm1_idx_deinit(idx);
    }
    return st;
}

void mm1_idx_deinit(mm1_idx *idx)
{
    mm1_free(idx->bytes);
    *idx = (mm1_idx){0};
}

mm1_status mm1_idx_image(const mm1_idx *idx, int64_t i, mm1_image *out, mm1_error *err)
{
    const int64_t n = idx->dims[1] * idx->dims[2];
    const uint8_t *grey = idx->bytes + i * n;
    const mm1_status st = mm1_image_init(out, (int32_t)idx->dims[2], (int32_t)idx->dims[1], err);
    for (int64_t p = 0; st == MM1_OK && p < n; p++) {
        out->rgb[3 * p] = out->rgb[3 * p + 1] = out->rgb[3 * p + 2] = grey[p];
    }
    return st;
}

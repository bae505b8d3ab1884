/* lines.c - see lines.h. */
#include "base/lines.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { IN_BYTES = 128 << 10, OUT_BYTES = 256 << 10, WINDOW_LOG_MAX = 27 };

struct mm1_lines {
    char *path;
    int fd;
    size_t max_line_bytes;
    uint64_t number;
    ZSTD_DStream *zstd; /* NULL for a plain file */
    size_t frame_left;  /* what zstd last said; not 0 inside a frame */
    char *in, *out;     /* [IN_BYTES] from the file, [OUT_BYTES] decompressed; a plain file has no out */
    size_t in_pos, in_len, out_pos, out_len;
    bool in_end; /* the file is read to its end */
    mm1_buf line;
};

/* Reads the next bytes of the file behind what is in l->in, which must have room. */
static mm1_status read_more(mm1_lines *l, mm1_error *err)
{
    ssize_t n;
    do {
        n = read(l->fd, l->in + l->in_len, IN_BYTES - l->in_len);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return mm1_error_set(err, MM1_E_IO, "%s: cannot read: %s", l->path, strerror(errno));
    }
    l->in_end = n == 0;
    l->in_len += (size_t)n;
    return MM1_OK;
}

mm1_status mm1_lines_open(const char *path, size_t max_line_bytes, mm1_lines **out, mm1_error *err)
{
    static const unsigned char magic[4] = {0x28, 0xB5, 0x2F, 0xFD};
    mm1_status st = MM1_OK;
    *out = NULL;
    mm1_lines *l = mm1_calloc(1, sizeof *l);
    if (l == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read lines", path);
    }
    l->fd = -1;
    l->max_line_bytes = max_line_bytes;
    mm1_buf_init(&l->line, max_line_bytes > SIZE_MAX - 2 ? SIZE_MAX - 1 : max_line_bytes + 1);
    l->path = mm1_strdup(path);
    l->in = mm1_alloc(IN_BYTES, 1);
    if (l->path == NULL || l->in == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read lines", path);
        goto out;
    }
    l->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (l->fd < 0) {
        st = mm1_error_set(err, MM1_E_IO, "%s: cannot open: %s", path, strerror(errno));
        goto out;
    }
    while (st == MM1_OK && !l->in_end && l->in_len < sizeof magic) { /* a pipe may give one byte at a time */
        st = read_more(l, err);
    }
    if (st == MM1_OK && l->in_len >= sizeof magic && memcmp(l->in, magic, sizeof magic) == 0) {
        l->zstd = ZSTD_createDStream();
        l->out = mm1_alloc(OUT_BYTES, 1);
        if (l->zstd == NULL || l->out == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to decompress", path);
            goto out;
        }
        (void)ZSTD_DCtx_setParameter(l->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    }
out:
    if (st != MM1_OK) {
        mm1_lines_close(l);
        return st;
    }
    *out = l;
    return MM1_OK;
}

void mm1_lines_close(mm1_lines *l)
{
    if (l != NULL) {
        if (l->fd >= 0) {
            (void)close(l->fd);
        }
        (void)ZSTD_freeDStream(l->zstd);
        mm1_buf_deinit(&l->line);
        mm1_free(l->out);
        mm1_free(l->in);
        mm1_free(l->path);
        mm1_free(l);
    }
}

uint64_t mm1_lines_number(const mm1_lines *l)
{
    return l->number;
}

/* More bytes of the file into l->in, which is used up; l->in_len stays 0 at the end. */
static mm1_status refill(mm1_lines *l, mm1_error *err)
{
    l->in_pos = l->in_len = 0;
    return l->in_end ? MM1_OK : read_more(l, err);
}

/* Makes bytes of text available in *data, *len; *len is 0 at the end. */
static mm1_status text_bytes(mm1_lines *l, const char **data, size_t *len, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (l->zstd == NULL) {
        if (l->in_pos == l->in_len) {
            st = refill(l, err);
        }
        *data = l->in + l->in_pos;
        *len = l->in_len - l->in_pos;
        return st;
    }
    while (l->out_pos == l->out_len) {
        bool at_end = false;
        if (l->in_pos == l->in_len) {
            st = refill(l, err);
            if (st != MM1_OK) {
                return st;
            }
            at_end = l->in_len == 0;
        }
        ZSTD_inBuffer in = {.src = l->in, .size = l->in_len, .pos = l->in_pos};
        ZSTD_outBuffer out = {.dst = l->out, .size = OUT_BYTES, .pos = 0};
        if (at_end && l->frame_left == 0) {
            break;
        }
        const size_t left = ZSTD_decompressStream(l->zstd, &out, &in);
        if (ZSTD_isError(left)) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: line %" PRIu64 ": cannot decompress: %s", l->path,
                                 l->number + 1, ZSTD_getErrorName(left));
        }
        if (at_end && out.pos == 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: line %" PRIu64 ": the compressed file is cut off", l->path,
                                 l->number + 1);
        }
        l->frame_left = left;
        l->in_pos = in.pos;
        l->out_pos = 0;
        l->out_len = out.pos;
    }
    *data = l->out == NULL ? "" : l->out + l->out_pos;
    *len = l->out_len - l->out_pos;
    return MM1_OK;
}

mm1_status mm1_lines_next(mm1_lines *l, const char **line, size_t *len, mm1_error *err)
{
    *line = NULL;
    *len = 0;
    mm1_buf_clear(&l->line);
    for (bool ended = false; !ended;) {
        const char *data = NULL;
        size_t n = 0;
        const mm1_status st = text_bytes(l, &data, &n, err);
        if (st != MM1_OK) {
            return st;
        }
        if (n == 0) {
            break;
        }
        const char *newline = memchr(data, '\n', n);
        ended = newline != NULL;
        if (ended) {
            n = (size_t)(newline - data) + 1;
        }
        if (n - ended > l->max_line_bytes - l->line.len) {
            return mm1_error_set(err, MM1_E_LIMIT, "%s: line %" PRIu64 " is longer than the limit of %zu bytes",
                                 l->path, l->number + 1, l->max_line_bytes);
        }
        mm1_buf_append(&l->line, data, n);
        if (mm1_buf_status(&l->line) != MM1_OK) {
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for line %" PRIu64, l->path, l->number + 1);
        }
        if (l->zstd == NULL) {
            l->in_pos += n;
        } else {
            l->out_pos += n;
        }
    }
    if (l->line.len > 0) {
        l->number++;
        *line = l->line.data;
        *len = l->line.len;
    }
    return MM1_OK;
}

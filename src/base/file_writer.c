/* file_writer.c - see file_writer.h. */
#include "base/file_writer.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18 };

struct mm1_file_writer {
    char *path, *tmp_path;
    int fd;       /* -1 once closed */
    bool has_tmp; /* the temporary file is there, and ours */
    uint64_t size;
    size_t n_held;
    mm1_error first_error; /* status MM1_OK while all is well */
    char held[BUFFER_BYTES];
};

/* Remembers the first failure and reports it. */
static mm1_status fail(mm1_file_writer *w, const char *doing, mm1_error *err)
{
    if (w->first_error.status == MM1_OK) {
        (void)mm1_error_set(&w->first_error, MM1_E_IO, "%s: cannot %s: %s", w->tmp_path, doing, strerror(errno));
    }
    return mm1_error_set(err, w->first_error.status, "%s", w->first_error.message);
}

mm1_status mm1_file_writer_open(mm1_file_writer **out, const char *path, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_buf tmp;

    *out = NULL;
    mm1_buf_init(&tmp, 1 << 16);
    mm1_buf_printf(&tmp, "%s.tmp", path);
    mm1_file_writer *w = mm1_alloc(1, sizeof *w);
    if (w == NULL) {
        mm1_buf_deinit(&tmp);
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to write it", path);
    }
    w->fd = -1;
    w->has_tmp = false;
    w->size = 0;
    w->n_held = 0;
    w->first_error = (mm1_error){.status = MM1_OK};
    w->path = mm1_strdup(path);
    w->tmp_path = mm1_buf_take(&tmp);
    if (w->path == NULL || w->tmp_path == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the path", path);
        goto out;
    }
    w->fd = open(w->tmp_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (w->fd < 0) {
        st = fail(w, "create", err);
        goto out;
    }
    w->has_tmp = true;
    *out = w;
    w = NULL;
out:
    mm1_file_writer_close(w);
    return st;
}

static mm1_status write_out(mm1_file_writer *w, const char *bytes, size_t len, mm1_error *err)
{
    while (len > 0) {
        const ssize_t n = write(w->fd, bytes, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(w, "write", err);
        }
        bytes += n;
        len -= (size_t)n;
    }
    return MM1_OK;
}

static mm1_status flush(mm1_file_writer *w, mm1_error *err)
{
    const mm1_status st = write_out(w, w->held, w->n_held, err);
    w->n_held = 0;
    return st;
}

mm1_status mm1_file_writer_append(mm1_file_writer *w, const void *bytes, size_t len, mm1_error *err)
{
    if (w->first_error.status != MM1_OK) {
        return mm1_error_set(err, w->first_error.status, "%s", w->first_error.message);
    }
    mm1_status st = MM1_OK;
    w->size += len;
    if (len > BUFFER_BYTES - w->n_held) {
        st = flush(w, err);
        if (st == MM1_OK && len >= BUFFER_BYTES) {
            return write_out(w, bytes, len, err); /* large pieces are not copied */
        }
    }
    if (st == MM1_OK && len > 0) {
        memcpy(w->held + w->n_held, bytes, len);
        w->n_held += len;
    }
    return st;
}

mm1_status mm1_file_writer_pad(mm1_file_writer *w, size_t n, mm1_error *err)
{
    static const char zeros[512];
    mm1_status st = MM1_OK;
    while (st == MM1_OK && n > 0) {
        const size_t now = n < sizeof zeros ? n : sizeof zeros;
        st = mm1_file_writer_append(w, zeros, now, err);
        n -= now;
    }
    return st;
}

uint64_t mm1_file_writer_size(const mm1_file_writer *w)
{
    return w->size;
}

mm1_status mm1_file_writer_commit(mm1_file_writer *w, mm1_error *err)
{
    if (w->first_error.status != MM1_OK) {
        return mm1_error_set(err, w->first_error.status, "%s", w->first_error.message);
    }
    if (w->fd < 0) {
        return mm1_error_set(err, MM1_E_STATE, "%s: committed twice", w->path);
    }
    if (flush(w, err) != MM1_OK) {
        return w->first_error.status;
    }
    if (fsync(w->fd) != 0) {
        return fail(w, "sync", err);
    }
    const int rc = close(w->fd);
    w->fd = -1;
    if (rc != 0) {
        return fail(w, "close", err);
    }
    if (rename(w->tmp_path, w->path) != 0) {
        return fail(w, "rename into place", err);
    }
    w->has_tmp = false;
    return MM1_OK;
}

void mm1_file_writer_close(mm1_file_writer *w)
{
    if (w == NULL) {
        return;
    }
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    if (w->has_tmp) {
        (void)unlink(w->tmp_path);
    }
    mm1_free(w->tmp_path);
    mm1_free(w->path);
    mm1_free(w);
}

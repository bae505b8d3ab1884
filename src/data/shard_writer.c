/* shard_writer.c - see shard_writer.h. */
#include "data/shard_writer.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file_writer.h"
#include "base/tar.h"
#include <zstd.h>

enum { ZSTD_LEVEL = 6, MAX_NAME_BYTES = 4096 };

struct mm1_shard_writer {
    char *dir, *name;
    mm1_shard_format format;
    int64_t shard_bytes, n_bytes; /* n_bytes: of the open shard, before compression */
    int64_t n_shards;
    mm1_tar_writer *tar;   /* open shard of a tar writer */
    mm1_file_writer *file; /* open shard of a line writer */
    ZSTD_CCtx *zstd;
    char *out;
    size_t out_cap;
    mm1_buf path;
};

mm1_status mm1_shard_writer_open(const char *dir, const char *name, mm1_shard_format format, int64_t shard_bytes,
                                 mm1_shard_writer **out, mm1_error *err)
{
    *out = NULL;
    mm1_shard_writer *w = mm1_calloc(1, sizeof *w);
    if (w == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "shards '%s/%s': no memory", dir, name);
    }
    mm1_buf_init(&w->path, MAX_NAME_BYTES);
    w->format = format;
    w->shard_bytes = shard_bytes;
    w->dir = mm1_strdup(dir);
    w->name = mm1_strdup(name);
    bool ok = w->dir != NULL && w->name != NULL;
    if (format == MM1_SHARD_JSONL_ZST) {
        w->zstd = ZSTD_createCCtx();
        w->out_cap = ZSTD_CStreamOutSize();
        w->out = mm1_alloc(w->out_cap, 1);
        ok = ok && w->zstd != NULL && w->out != NULL &&
             ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)) == 0 &&
             ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1)) == 0;
    }
    if (!ok) {
        mm1_shard_writer_destroy(w);
        return mm1_error_set(err, MM1_E_NOMEM, "shards '%s/%s': no memory", dir, name);
    }
    *out = w;
    return MM1_OK;
}

static mm1_status failed(const mm1_shard_writer *w, const char *why, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_IO, "shard '%s': cannot write: %s", mm1_buf_str(&w->path), why);
}

static mm1_status compress(mm1_shard_writer *w, const void *bytes, size_t len, ZSTD_EndDirective end, mm1_error *err)
{
    ZSTD_inBuffer in = {bytes, len, 0};
    size_t left = 1;
    while (in.pos < in.size || (end == ZSTD_e_end && left != 0)) {
        ZSTD_outBuffer out = {w->out, w->out_cap, 0};
        left = ZSTD_compressStream2(w->zstd, &out, &in, end);
        if (ZSTD_isError(left)) {
            return failed(w, ZSTD_getErrorName(left), err);
        }
        const mm1_status st = mm1_file_writer_append(w->file, w->out, out.pos, err);
        if (st != MM1_OK) {
            return st;
        }
    }
    return MM1_OK;
}

static mm1_status finish_shard(mm1_shard_writer *w, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (w->tar != NULL) {
        st = mm1_tar_writer_commit(w->tar, err);
        mm1_tar_writer_close(w->tar);
        w->tar = NULL;
    }
    if (w->file != NULL) {
        st = compress(w, "", 0, ZSTD_e_end, err);
        if (st == MM1_OK) {
            st = mm1_file_writer_commit(w->file, err);
        }
        mm1_file_writer_close(w->file);
        w->file = NULL;
    }
    return st;
}

static mm1_status start_shard(mm1_shard_writer *w, mm1_error *err)
{
    mm1_buf_clear(&w->path);
    mm1_buf_printf(&w->path, "%s/%s-%04lld.%s", w->dir, w->name, (long long)w->n_shards,
                   w->format == MM1_SHARD_TAR ? "tar" : "jsonl.zst");
    if (mm1_buf_status(&w->path) != MM1_OK) {
        return mm1_error_set(err, MM1_E_LIMIT, "shards '%s': path over %d bytes", w->name, MAX_NAME_BYTES);
    }
    mm1_status st = MM1_OK;
    if (w->format == MM1_SHARD_TAR) {
        st = mm1_tar_writer_open(&w->tar, mm1_buf_str(&w->path), err);
    } else {
        st = mm1_file_writer_open(&w->file, mm1_buf_str(&w->path), err);
        (void)ZSTD_CCtx_reset(w->zstd, ZSTD_reset_session_only);
    }
    if (st != MM1_OK) {
        return st;
    }
    w->n_shards++;
    w->n_bytes = 0;
    return MM1_OK;
}

mm1_status mm1_shard_writer_begin(mm1_shard_writer *w, size_t sample_bytes, mm1_error *err)
{
    const bool open = w->tar != NULL || w->file != NULL;
    mm1_status st = MM1_OK;
    if (open && w->n_bytes > 0 &&
        (sample_bytes > (size_t)w->shard_bytes || w->n_bytes > w->shard_bytes - (int64_t)sample_bytes)) {
        st = finish_shard(w, err);
    }
    if (st == MM1_OK && w->tar == NULL && w->file == NULL) {
        st = start_shard(w, err);
    }
    w->n_bytes += (int64_t)(sample_bytes < INT64_MAX / 2 ? sample_bytes : INT64_MAX / 2);
    return st;
}

mm1_status mm1_shard_writer_member(mm1_shard_writer *w, const char *key, const char *extension, const void *bytes,
                                   size_t len, mm1_error *err)
{
    mm1_buf name;
    mm1_buf_init(&name, MAX_NAME_BYTES);
    mm1_buf_printf(&name, "%s.%s", key, extension);
    const mm1_status st = mm1_buf_status(&name) == MM1_OK
                              ? mm1_tar_writer_append(w->tar, mm1_buf_str(&name), bytes, len, err)
                              : mm1_error_set(err, MM1_E_LIMIT, "shard '%s': a name is over %d bytes",
                                              mm1_buf_str(&w->path), MAX_NAME_BYTES);
    mm1_buf_deinit(&name);
    return st;
}

mm1_status mm1_shard_writer_line(mm1_shard_writer *w, const char *line, size_t len, mm1_error *err)
{
    const mm1_status st = compress(w, line, len, ZSTD_e_continue, err);
    return st == MM1_OK ? compress(w, "\n", 1, ZSTD_e_continue, err) : st;
}

mm1_status mm1_shard_writer_close(mm1_shard_writer *w, mm1_error *err)
{
    return finish_shard(w, err);
}

int64_t mm1_shard_writer_shards(const mm1_shard_writer *w)
{
    return w->n_shards;
}

void mm1_shard_writer_destroy(mm1_shard_writer *w)
{
    if (w == NULL) {
        return;
    }
    mm1_tar_writer_close(w->tar);
    mm1_file_writer_close(w->file);
    (void)ZSTD_freeCCtx(w->zstd);
    mm1_buf_deinit(&w->path);
    mm1_free(w->out);
    mm1_free(w->dir);
    mm1_free(w->name);
    mm1_free(w);
}

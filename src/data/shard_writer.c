/* shard_writer.c - see shard_writer.h. */
#include "data/shard_writer.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

enum { ZSTD_LEVEL = 6, MAX_NAME_BYTES = 4096 };

struct mm1_shard_writer {
    char *dir, *name;
    mm1_shard_format format;
    int64_t shard_bytes, n_bytes; /* n_bytes: of the open shard, before compression */
    int64_t n_shards;
    struct archive *tar; /* open shard of a tar writer */
    FILE *file;          /* open shard of a line writer */
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
        if (fwrite(w->out, 1, out.pos, w->file) != out.pos) {
            return failed(w, strerror(errno), err);
        }
    }
    return MM1_OK;
}

static mm1_status finish_shard(mm1_shard_writer *w, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (w->tar != NULL) {
        if (archive_write_close(w->tar) != ARCHIVE_OK) {
            st = failed(w, archive_error_string(w->tar), err);
        }
        (void)archive_write_free(w->tar);
        w->tar = NULL;
    }
    if (w->file != NULL) {
        st = compress(w, "", 0, ZSTD_e_end, err);
        if (fclose(w->file) != 0 && st == MM1_OK) {
            st = failed(w, strerror(errno), err);
        }
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
    if (w->format == MM1_SHARD_TAR) {
        w->tar = archive_write_new();
        if (w->tar == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "shard '%s': no memory", mm1_buf_str(&w->path));
        }
        if (archive_write_set_format_ustar(w->tar) != ARCHIVE_OK ||
            archive_write_open_filename(w->tar, mm1_buf_str(&w->path)) != ARCHIVE_OK) {
            const mm1_status st = failed(w, archive_error_string(w->tar), err);
            (void)archive_write_free(w->tar);
            w->tar = NULL;
            return st;
        }
    } else {
        w->file = fopen(mm1_buf_str(&w->path), "wb");
        if (w->file == NULL) {
            return failed(w, strerror(errno), err);
        }
        (void)ZSTD_CCtx_reset(w->zstd, ZSTD_reset_session_only);
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
    mm1_status st = MM1_OK;
    mm1_buf name;
    mm1_buf_init(&name, 255);
    mm1_buf_printf(&name, "%s.%s", key, extension);
    struct archive_entry *entry = archive_entry_new();
    if (entry == NULL || mm1_buf_status(&name) != MM1_OK) {
        st = mm1_error_set(err, entry == NULL ? MM1_E_NOMEM : MM1_E_LIMIT, "shard '%s': no entry for '%s.%s'",
                           mm1_buf_str(&w->path), key, extension);
        goto out;
    }
    archive_entry_set_pathname(entry, mm1_buf_str(&name));
    archive_entry_set_size(entry, (la_int64_t)len);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 0, 0);
    if (archive_write_header(w->tar, entry) != ARCHIVE_OK ||
        archive_write_data(w->tar, bytes, len) != (la_ssize_t)len) {
        st = failed(w, archive_error_string(w->tar), err);
    }
out:
    archive_entry_free(entry);
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
    if (w->tar != NULL) {
        (void)archive_write_free(w->tar);
    }
    if (w->file != NULL) {
        (void)fclose(w->file);
    }
    (void)ZSTD_freeCCtx(w->zstd);
    mm1_buf_deinit(&w->path);
    mm1_free(w->out);
    mm1_free(w->dir);
    mm1_free(w->name);
    mm1_free(w);
}

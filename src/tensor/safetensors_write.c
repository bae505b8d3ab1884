/* safetensors_write.c - the writer; see safetensors.h. */
#include "tensor/safetensors.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file_writer.h"
#include "base/half.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const mm1_safetensors_entry *const *)a)->name, (*(const mm1_safetensors_entry *const *)b)->name);
}

static mm1_status entry_bytes(const mm1_safetensors_entry *e, size_t *bytes, mm1_error *err)
{
    size_t n = mm1_dtype_bytes(e->dtype);
    if (n == 0 || e->n_dims < 0 || e->n_dims > MM1_SAFETENSORS_MAX_DIMS) {
        return mm1_error_set(err, MM1_E_ARG, "tensor '%s': no such dtype, or %d dimensions of at most %d", e->name,
                             e->n_dims, MM1_SAFETENSORS_MAX_DIMS);
    }
    if (e->is_f32 && e->dtype != MM1_DTYPE_F32 && e->dtype != MM1_DTYPE_F16 && e->dtype != MM1_DTYPE_BF16) {
        return mm1_error_set(err, MM1_E_ARG, "tensor '%s': f32 cannot be written as %s", e->name,
                             mm1_dtype_name(e->dtype));
    }
    for (int i = 0; i < e->n_dims; i++) {
        if (e->shape[i] < 0 || !mm1_size_mul(n, (size_t)e->shape[i], &n)) {
            return mm1_error_set(err, MM1_E_ARG, "tensor '%s': dimension %d is %" PRId64, e->name, i, e->shape[i]);
        }
    }
    *bytes = n;
    return MM1_OK;
}

static mm1_status check_text(const char *what, const char *text, mm1_error *err)
{
    const size_t len = strlen(text);
    return mm1_utf8_valid(text, len) == len ? MM1_OK
                                            : mm1_error_set(err, MM1_E_ARG, "%s '%s' is not UTF-8", what, text);
}

/* Names are text, each once, and none of them "__metadata__". */
static mm1_status check_names(const mm1_safetensors_entry **sorted, size_t n, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (n > 0) {
        qsort(sorted, n, sizeof *sorted, by_name);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = check_text("tensor name", sorted[i]->name, err);
        if (st == MM1_OK && strcmp(sorted[i]->name, "__metadata__") == 0) {
            st = mm1_error_set(err, MM1_E_ARG, "no tensor may be called __metadata__");
        } else if (st == MM1_OK && i > 0 && strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
            st = mm1_error_set(err, MM1_E_ARG, "two tensors are called '%s'", sorted[i]->name);
        }
    }
    return st;
}

/* Wider types first, else the given order: 8, 4, 2, 1 bytes an element. */
static void order_entries(const mm1_safetensors_entry **order, const mm1_safetensors_entry *entries, size_t n)
{
    size_t n_done = 0;
    for (size_t width = 8; width > 0; width /= 2) {
        for (size_t i = 0; i < n; i++) {
            if (mm1_dtype_bytes(entries[i].dtype) == width) {
                order[n_done++] = &entries[i];
            }
        }
    }
}

static mm1_status make_header(mm1_buf *b, const mm1_safetensors_entry *const *order, size_t n,
                              const mm1_safetensors_pair *metadata, size_t n_metadata, mm1_error *err)
{
    mm1_status st = MM1_OK;
    size_t begin = 0;
    mm1_buf_putc(b, '{');
    if (n_metadata > 0) {
        mm1_buf_puts(b, "\"__metadata__\":{");
        for (size_t i = 0; st == MM1_OK && i < n_metadata; i++) {
            st = check_text("metadata", metadata[i].key, err);
            st = st != MM1_OK ? st : check_text("metadata", metadata[i].value, err);
            for (size_t j = 0; st == MM1_OK && j < i; j++) {
                if (strcmp(metadata[i].key, metadata[j].key) == 0) {
                    st = mm1_error_set(err, MM1_E_ARG, "metadata '%s' is given twice", metadata[i].key);
                }
            }
            mm1_buf_puts(b, i > 0 ? "," : "");
            mm1_buf_put_json(b, metadata[i].key);
            mm1_buf_putc(b, ':');
            mm1_buf_put_json(b, metadata[i].value);
        }
        mm1_buf_putc(b, '}');
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const mm1_safetensors_entry *e = order[i];
        size_t bytes = 0, end = 0;
        st = entry_bytes(e, &bytes, err);
        if (st != MM1_OK || !mm1_size_add(begin, bytes, &end)) {
            return st != MM1_OK ? st : mm1_error_set(err, MM1_E_ARG, "the tensors are larger than any file");
        }
        mm1_buf_puts(b, i > 0 || n_metadata > 0 ? "," : "");
        mm1_buf_put_json(b, e->name);
        mm1_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", mm1_dtype_name(e->dtype));
        for (int d = 0; d < e->n_dims; d++) {
            mm1_buf_printf(b, "%s%" PRId64, d > 0 ? "," : "", e->shape[d]);
        }
        mm1_buf_printf(b, "],\"data_offsets\":[%zu,%zu]}", begin, end);
        begin = end;
    }
    mm1_buf_putc(b, '}');
    while (b->len % 8 != 0 && mm1_buf_status(b) == MM1_OK) {
        mm1_buf_putc(b, ' ');
    }
    if (st == MM1_OK && mm1_buf_status(b) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(b), "the header is over %d bytes, or memory is short",
                           MM1_SAFETENSORS_MAX_HEADER_BYTES);
    }
    return st;
}

static mm1_status write_tensor(mm1_file_writer *w, const mm1_safetensors_entry *e, mm1_error *err)
{
    enum { CHUNK = 4096 };
    uint16_t half[CHUNK];
    size_t bytes = 0;
    mm1_status st = entry_bytes(e, &bytes, err);
    if (st != MM1_OK || !e->is_f32 || e->dtype == MM1_DTYPE_F32) {
        return st != MM1_OK ? st : mm1_file_writer_append(w, e->data, bytes, err);
    }
    const float *x = e->data;
    for (size_t left = bytes / 2; st == MM1_OK && left > 0;) {
        const size_t n = left < CHUNK ? left : CHUNK;
        for (size_t i = 0; i < n; i++) {
            half[i] = e->dtype == MM1_DTYPE_BF16 ? mm1_bf16_from_f32(x[i]) : mm1_f16_from_f32(x[i]);
        }
        st = mm1_file_writer_append(w, half, n * sizeof *half, err);
        x += n;
        left -= n;
    }
    return st;
}

mm1_status mm1_safetensors_write(const char *path, const mm1_safetensors_entry *entries, size_t n,
                                 const mm1_safetensors_pair *metadata, size_t n_metadata, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_file_writer *w = NULL;
    const mm1_safetensors_entry **order = mm1_calloc(n, sizeof *order);
    unsigned char length[8];
    mm1_buf header;

    mm1_buf_init(&header, MM1_SAFETENSORS_MAX_HEADER_BYTES);
    if (order == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu tensors", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        size_t bytes;
        order[i] = &entries[i];
        st = entry_bytes(&entries[i], &bytes, err);
        if (st != MM1_OK) {
            goto out;
        }
    }
    st = check_names(order, n, err);
    if (st != MM1_OK) {
        goto out;
    }
    order_entries(order, entries, n);
    st = make_header(&header, order, n, metadata, n_metadata, err);
    if (st != MM1_OK) {
        goto out;
    }
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)header.len >> (8 * i));
    }
    st = mm1_file_writer_open(&w, path, err);
    st = st != MM1_OK ? st : mm1_file_writer_append(w, length, sizeof length, err);
    st = st != MM1_OK ? st : mm1_file_writer_append(w, mm1_buf_str(&header), header.len, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = write_tensor(w, order[i], err);
    }
    st = st != MM1_OK ? st : mm1_file_writer_commit(w, err);
out:
    if (st != MM1_OK && st != MM1_E_IO) {
        (void)mm1_error_wrap(err, st, "%s", path);
    }
    mm1_file_writer_close(w);
    mm1_buf_deinit(&header);
    mm1_free(order);
    return st;
}

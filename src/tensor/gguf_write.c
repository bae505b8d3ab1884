/* gguf_write.c - the writer; see gguf.h. */
#include "tensor/gguf.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file_writer.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, VERSION = 3, CHUNK_BYTES = 1 << 18 };

static void put_string(mm1_buf *b, const char *s)
{
    const size_t n = strlen(s);
    mm1_buf_put_le64(b, n);
    mm1_buf_append(b, s, n);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names are short text, each once.  Sorts them. */
static mm1_status check_names(const char *what, const char **names, size_t n, mm1_error *err)
{
    if (n > 0) {
        qsort(names, n, sizeof *names, by_text);
    }
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(names[i]);
        if (len == 0 || len > MM1_GGUF_MAX_NAME_BYTES || mm1_utf8_valid(names[i], len) != len) {
            return mm1_error_set(err, MM1_E_ARG, "%s '%.80s': %zu bytes; names have 1 to %d, of UTF-8", what, names[i],
                                 len, MM1_GGUF_MAX_NAME_BYTES);
        }
        if (i > 0 && strcmp(names[i - 1], names[i]) == 0) {
            return mm1_error_set(err, MM1_E_ARG, "%s '%s' is given twice", what, names[i]);
        }
    }
    return MM1_OK;
}

static mm1_status put_value(mm1_buf *b, const mm1_gguf_value *v, mm1_error *err)
{
    const size_t width = mm1_gguf_type_bytes(v->type);
    size_t bytes = 0;
    if ((width == 0 && v->type != MM1_GGUF_STRING) || (!v->is_array && v->n != 1) ||
        !mm1_size_mul(v->n, width, &bytes)) {
        return mm1_error_set(err, MM1_E_ARG, "key '%s': no such type, or not one element", v->key);
    }
    put_string(b, v->key);
    if (v->is_array) {
        mm1_buf_put_le32(b, MM1_GGUF_ARRAY);
    }
    mm1_buf_put_le32(b, v->type);
    if (v->is_array) {
        mm1_buf_put_le64(b, v->n);
    }
    for (size_t i = 0; v->type == MM1_GGUF_STRING && i < v->n; i++) {
        const size_t len = strlen(v->strings[i]);
        if (mm1_utf8_valid(v->strings[i], len) != len) {
            return mm1_error_set(err, MM1_E_ARG, "key '%s': string %zu is not UTF-8", v->key, i);
        }
        put_string(b, v->strings[i]);
    }
    if (bytes > 0) {
        mm1_buf_append(b, v->numbers, bytes);
    }
    return MM1_OK;
}

static size_t padding(size_t n)
{
    return (ALIGNMENT - n % ALIGNMENT) % ALIGNMENT;
}

/* Elements of a row, number of rows, bytes of all. */
static mm1_status measure(const mm1_gguf_entry *e, int64_t *row, int64_t *n_rows, size_t *bytes, mm1_error *err)
{
    size_t n = 1, row_bytes = 0;
    bool fits = e->n_dims >= 0 && e->n_dims <= MM1_GGUF_MAX_DIMS && mm1_quant_can_write(e->format);
    *row = fits && e->n_dims > 0 ? e->shape[e->n_dims - 1] : 1;
    for (int i = 0; fits && i + 1 < e->n_dims; i++) {
        fits = e->shape[i] >= 0 && mm1_size_mul(n, (size_t)e->shape[i], &n) && n <= INT64_MAX;
    }
    *n_rows = (int64_t)n;
    fits = fits && (e->rows == NULL || e->n_dims != 1 || mm1_quant_block(e->format) == 1);
    return fits && mm1_quant_bytes(e->format, *row, &row_bytes) && mm1_size_mul(row_bytes, n, bytes)
               ? MM1_OK
               : mm1_error_set(err, MM1_E_ARG,
                               "tensor '%s': cannot be written as %s; rows of %" PRId64
                               " elements must be whole blocks of %" PRId64,
                               e->name, mm1_quant_name(e->format), *row, mm1_quant_block(e->format));
}

static mm1_status put_header(mm1_buf *b, const mm1_gguf_value *values, size_t n_values, const mm1_gguf_entry *entries,
                             size_t n_entries, mm1_error *err)
{
    mm1_status st = MM1_OK;
    size_t offset = 0;
    mm1_buf_puts(b, "GGUF");
    mm1_buf_put_le32(b, VERSION);
    mm1_buf_put_le64(b, n_entries);
    mm1_buf_put_le64(b, n_values);
    for (size_t i = 0; st == MM1_OK && i < n_values; i++) {
        st = put_value(b, &values[i], err);
    }
    for (size_t i = 0; st == MM1_OK && i < n_entries; i++) {
        const mm1_gguf_entry *e = &entries[i];
        int64_t row, n_rows;
        size_t bytes = 0;
        st = measure(e, &row, &n_rows, &bytes, err);
        if (st != MM1_OK) {
            return st;
        }
        put_string(b, e->name);
        mm1_buf_put_le32(b, (uint32_t)e->n_dims);
        for (int d = e->n_dims - 1; d >= 0; d--) {
            mm1_buf_put_le64(b, (uint64_t)e->shape[d]);
        }
        mm1_buf_put_le32(b, mm1_quant_id(e->format));
        mm1_buf_put_le64(b, offset);
        if (!mm1_size_add(offset, bytes, &offset) || !mm1_size_add(offset, padding(offset), &offset)) {
            return mm1_error_set(err, MM1_E_ARG, "the tensors are larger than any file");
        }
    }
    const size_t gap = padding(b->len);
    for (size_t i = 0; i < gap; i++) {
        mm1_buf_putc(b, '\0');
    }
    if (st == MM1_OK && mm1_buf_status(b) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(b), "the header is over %d bytes, or memory is short",
                           MM1_GGUF_MAX_HEADER_BYTES);
    }
    return st;
}

/* In pieces of whole blocks that fit `chunk`. */
static mm1_status write_tensor(mm1_file_writer *w, const mm1_gguf_entry *e, uint8_t *chunk, mm1_error *err)
{
    int64_t row = 0, n_rows = 0;
    size_t total = 0;
    mm1_status st = measure(e, &row, &n_rows, &total, err);
    const int64_t block = mm1_quant_block(e->format);
    if (st == MM1_OK && e->rows != NULL && e->n_dims == 1) {
        n_rows = row;
        row = 1;
    }
    const int64_t most = CHUNK_BYTES / (int64_t)sizeof(float) / block * block; /* no format is wider than F32 */
    for (int64_t r = 0; st == MM1_OK && r < n_rows; r++) {
        const float *src = e->data + (e->rows != NULL ? e->rows[r] : r) * row;
        for (int64_t i = 0; st == MM1_OK && i < row; i += most) {
            const int64_t n = row - i < most ? row - i : most;
            size_t bytes = 0;
            if (!mm1_quant_from_f32(e->format, src + i, chunk, n) || !mm1_quant_bytes(e->format, n, &bytes)) {
                return mm1_error_set(err, MM1_E_NUMERIC,
                                     "tensor '%s', row %" PRId64 ": a value is not finite or too large for %s", e->name,
                                     r, mm1_quant_name(e->format));
            }
            st = mm1_file_writer_append(w, chunk, bytes, err);
        }
    }
    return st != MM1_OK ? st : mm1_file_writer_pad(w, padding(total), err);
}

mm1_status mm1_gguf_write(const char *path, const mm1_gguf_value *values, size_t n_values,
                          const mm1_gguf_entry *entries, size_t n_entries, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_file_writer *w = NULL;
    uint8_t *chunk = mm1_alloc(CHUNK_BYTES, 1);
    const char **names = mm1_alloc(n_values > n_entries ? n_values : n_entries, sizeof *names);
    mm1_buf header;

    mm1_buf_init(&header, MM1_GGUF_MAX_HEADER_BYTES);
    if (chunk == NULL || names == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the names of %zu tensors", n_entries);
        goto out;
    }
    for (size_t i = 0; i < n_values; i++) {
        names[i] = values[i].key;
    }
    st = check_names("key", names, n_values, err);
    for (size_t i = 0; i < n_entries; i++) {
        names[i] = entries[i].name;
    }
    st = st != MM1_OK ? st : check_names("tensor", names, n_entries, err);
    st = st != MM1_OK ? st : put_header(&header, values, n_values, entries, n_entries, err);
    if (st != MM1_OK) {
        goto out;
    }
    st = mm1_file_writer_open(&w, path, err);
    st = st != MM1_OK ? st : mm1_file_writer_append(w, mm1_buf_str(&header), header.len, err);
    for (size_t i = 0; st == MM1_OK && i < n_entries; i++) {
        st = write_tensor(w, &entries[i], chunk, err);
    }
    st = st != MM1_OK ? st : mm1_file_writer_commit(w, err);
out:
    if (st != MM1_OK && st != MM1_E_IO) {
        (void)mm1_error_wrap(err, st, "%s", path);
    }
    mm1_file_writer_close(w);
    mm1_buf_deinit(&header);
    mm1_free(names);
    mm1_free(chunk);
    return st;
}

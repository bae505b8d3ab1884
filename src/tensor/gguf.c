/* gguf.c - the reader; gguf_write.c is the writer.  See gguf.h.
 *
 * The header is walked twice: once to check it and to count what the index will hold, once to fill the index.  So
 * nothing is taken for a number that the file merely claims. */
#include "tensor/gguf.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 16 };

static const struct {
    const char *name;
    size_t bytes; /* 0: it varies */
} types[MM1_GGUF_TYPE_COUNT] = {
    [MM1_GGUF_U8] = {"U8", 1},       [MM1_GGUF_I8] = {"I8", 1},     [MM1_GGUF_U16] = {"U16", 2},
    [MM1_GGUF_I16] = {"I16", 2},     [MM1_GGUF_U32] = {"U32", 4},   [MM1_GGUF_I32] = {"I32", 4},
    [MM1_GGUF_F32] = {"F32", 4},     [MM1_GGUF_BOOL] = {"BOOL", 1}, [MM1_GGUF_STRING] = {"STRING", 0},
    [MM1_GGUF_ARRAY] = {"ARRAY", 0}, [MM1_GGUF_U64] = {"U64", 8},   [MM1_GGUF_I64] = {"I64", 8},
    [MM1_GGUF_F64] = {"F64", 8},
};

struct mm1_gguf {
    mm1_map map;
    char *path;
    char *text;           /* all strings, NUL-terminated */
    const char **strings; /* those of values */
    mm1_gguf_value *values;
    size_t n_values;
    mm1_gguf_tensor *tensors;
    size_t n_tensors;
};

/* A tensor as the table states it. */
typedef struct row {
    mm1_gguf_tensor t;
    uint64_t offset; /* into the data */
} row;

typedef struct parser {
    mm1_gguf *g;
    mm1_error *err;
    const uint8_t *bytes;
    size_t len; /* of the file, or the limit of a header */
    size_t pos;
    bool fill; /* the second walk */
    size_t n_text, n_strings;
    row *rows;                              /* of the second walk */
    char name[MM1_GGUF_MAX_NAME_BYTES + 1]; /* of the key or tensor at hand */
} parser;

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "no memory for the index of the file");
}

/* ---- walking ---- */

static mm1_status take(parser *p, uint64_t n, const uint8_t **out)
{
    if (n > p->len - p->pos) {
        return p->len < p->g->map.len
                   ? mm1_error_set(p->err, MM1_E_LIMIT, "byte %zu: the header is over the limit of %d bytes", p->pos,
                                   MM1_GGUF_MAX_HEADER_BYTES)
                   : mm1_error_set(p->err, MM1_E_FORMAT,
                                   "byte %zu: %" PRIu64 " bytes expected, %zu are left; is it cut off?", p->pos, n,
                                   p->len - p->pos);
    }
    *out = p->bytes + p->pos;
    p->pos += (size_t)n;
    return MM1_OK;
}

static mm1_status take_u32(parser *p, uint32_t *out)
{
    const uint8_t *at = NULL;
    const mm1_status st = take(p, sizeof *out, &at);
    if (st == MM1_OK) {
        memcpy(out, at, sizeof *out);
    }
    return st;
}

static mm1_status take_u64(parser *p, uint64_t *out)
{
    const uint8_t *at = NULL;
    const mm1_status st = take(p, sizeof *out, &at);
    if (st == MM1_OK) {
        memcpy(out, at, sizeof *out);
    }
    return st;
}

/* Counts a string; in the second walk *out is its copy in the index. */
static mm1_status take_string(parser *p, const char **out)
{
    const size_t start = p->pos;
    uint64_t n = 0;
    const uint8_t *bytes = NULL;
    mm1_status st = take_u64(p, &n);
    st = st != MM1_OK ? st : take(p, n, &bytes);
    if (st != MM1_OK) {
        return st;
    }
    const size_t len = (size_t)n;
    if (memchr(bytes, '\0', len) != NULL || mm1_utf8_valid((const char *)bytes, len) != len) {
        return mm1_error_set(p->err, MM1_E_FORMAT, "byte %zu: a string is not UTF-8, or holds a NUL", start);
    }
    if (p->fill) {
        char *copy = p->g->text + p->n_text;
        memcpy(copy, bytes, len);
        copy[len] = '\0';
        *out = copy;
    }
    p->n_text += len + 1;
    return MM1_OK;
}

/* A string that names what follows. */
static mm1_status take_name(parser *p, const char **out)
{
    const size_t start = p->pos;
    const mm1_status st = take_string(p, out);
    if (st != MM1_OK) {
        return st;
    }
    const size_t len = p->pos - start - sizeof(uint64_t);
    if (len == 0 || len >= sizeof p->name) {
        return mm1_error_set(p->err, len == 0 ? MM1_E_FORMAT : MM1_E_LIMIT,
                             "byte %zu: a name of %zu bytes; names have 1 to %d", start, len, MM1_GGUF_MAX_NAME_BYTES);
    }
    memcpy(p->name, p->bytes + start + sizeof(uint64_t), len);
    p->name[len] = '\0';
    return MM1_OK;
}

static mm1_status take_elements(parser *p, mm1_gguf_value *v)
{
    if (v->type != MM1_GGUF_STRING) {
        const uint8_t *bytes = NULL;
        size_t n = 0;
        if (!mm1_size_mul(v->n, types[v->type].bytes, &n)) {
            n = SIZE_MAX; /* which no file has */
        }
        const mm1_status st = take(p, n, &bytes);
        v->numbers = bytes;
        return st;
    }
    const char **strings = p->fill ? p->g->strings + p->n_strings : NULL;
    for (size_t i = 0; i < v->n; i++) {
        const char *s = NULL;
        const mm1_status st = take_string(p, &s);
        if (st != MM1_OK) {
            return st;
        }
        if (p->fill) {
            strings[i] = s;
        }
    }
    v->strings = strings;
    p->n_strings += v->n;
    return MM1_OK;
}

static mm1_status take_value(parser *p, mm1_gguf_value *v)
{
    uint32_t type = 0;
    mm1_status st = take_u32(p, &type);
    v->is_array = st == MM1_OK && type == MM1_GGUF_ARRAY;
    v->n = 1;
    if (v->is_array) {
        uint64_t n = 0;
        st = take_u32(p, &type);
        st = st != MM1_OK ? st : take_u64(p, &n);
        v->n = (size_t)n;
        if (st == MM1_OK && type == MM1_GGUF_ARRAY) {
            return mm1_error_set(p->err, MM1_E_UNSUPPORTED, "an array of arrays is not supported");
        }
    }
    if (st == MM1_OK && type >= MM1_GGUF_TYPE_COUNT) {
        return mm1_error_set(p->err, MM1_E_FORMAT, "there is no type %" PRIu32, type);
    }
    v->type = (mm1_gguf_type)type;
    return st != MM1_OK ? st : take_elements(p, v);
}

/* Elements and bytes that format and shape ask for. */
static mm1_status check_shape(mm1_gguf_tensor *t, mm1_error *err)
{
    const int64_t width = t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1, block = mm1_quant_block(t->format);
    size_t n = 1;
    bool fits = true, is_empty = false;
    for (int i = 0; i < t->n_dims; i++) {
        is_empty = is_empty || t->shape[i] == 0; /* 0 times whatever the others say */
    }
    for (int i = 0; i < t->n_dims && fits && !is_empty; i++) {
        fits = mm1_size_mul(n, (size_t)t->shape[i], &n);
    }
    if (width % block != 0) {
        return mm1_error_set(err, MM1_E_SHAPE, "a row of %" PRId64 " elements is not whole blocks of %" PRId64 " of %s",
                             width, block, mm1_quant_name(t->format));
    }
    t->n_elements = is_empty ? 0 : (int64_t)n;
    if (!fits || n > INT64_MAX || !mm1_quant_bytes(t->format, t->n_elements, &t->n_bytes)) {
        return mm1_error_set(err, MM1_E_FORMAT, "its shape is larger than any file");
    }
    return MM1_OK;
}

static mm1_status take_tensor(parser *p, row *r)
{
    mm1_gguf_tensor *t = &r->t;
    uint32_t n_dims = 0, format = 0;
    mm1_status st = take_u32(p, &n_dims);
    if (st == MM1_OK && n_dims > MM1_GGUF_MAX_DIMS) {
        return mm1_error_set(p->err, MM1_E_LIMIT, "%" PRIu32 " dimensions; at most %d are read", n_dims,
                             MM1_GGUF_MAX_DIMS);
    }
    t->n_dims = (int)n_dims;
    for (int i = t->n_dims - 1; st == MM1_OK && i >= 0; i--) {
        uint64_t n = 0;
        st = take_u64(p, &n);
        if (st == MM1_OK && n > INT64_MAX) {
            return mm1_error_set(p->err, MM1_E_FORMAT, "a dimension is over 2^63 - 1");
        }
        t->shape[i] = (int64_t)n;
    }
    st = st != MM1_OK ? st : take_u32(p, &format);
    st = st != MM1_OK ? st : take_u64(p, &r->offset);
    if (st == MM1_OK && !mm1_quant_from_id(format, &t->format)) {
        return mm1_error_set(p->err, MM1_E_UNSUPPORTED, "its format %" PRIu32 " (%s) is not supported", format,
                             mm1_quant_id_name(format));
    }
    return st != MM1_OK ? st : check_shape(t, p->err);
}

/* The keys and the table, from the byte after the counts. */
static mm1_status walk(parser *p)
{
    mm1_gguf *g = p->g;
    for (size_t i = 0; i < g->n_values; i++) {
        mm1_gguf_value v = {.key = NULL};
        mm1_status st = take_name(p, &v.key);
        if (st != MM1_OK) {
            return mm1_error_wrap(p->err, st, "key %zu of %zu", i + 1, g->n_values);
        }
        st = take_value(p, &v);
        if (st != MM1_OK) {
            return mm1_error_wrap(p->err, st, "key '%s'", p->name);
        }
        if (p->fill) {
            g->values[i] = v;
        }
    }
    for (size_t i = 0; i < g->n_tensors; i++) {
        row r = {.t.name = NULL};
        mm1_status st = take_name(p, &r.t.name);
        if (st != MM1_OK) {
            return mm1_error_wrap(p->err, st, "tensor %zu of %zu", i + 1, g->n_tensors);
        }
        st = take_tensor(p, &r);
        if (st != MM1_OK) {
            return mm1_error_wrap(p->err, st, "tensor '%s'", p->name);
        }
        if (p->fill) {
            p->rows[i] = r;
        }
    }
    return MM1_OK;
}

/* ---- what the header says against what is there ---- */

static int by_offset(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return x->t.n_bytes < y->t.n_bytes ? -1 : x->t.n_bytes > y->t.n_bytes;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mm1_gguf_tensor *)a)->name, ((const mm1_gguf_tensor *)b)->name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const mm1_gguf_value *)a)->key, ((const mm1_gguf_value *)b)->key);
}

static mm1_status index_values(mm1_gguf *g, mm1_error *err)
{
    if (g->n_values > 0) {
        qsort(g->values, g->n_values, sizeof *g->values, by_key);
    }
    for (size_t i = 1; i < g->n_values; i++) {
        if (strcmp(g->values[i - 1].key, g->values[i].key) == 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "key '%s' is there twice", g->values[i].key);
        }
    }
    return MM1_OK;
}

static mm1_status read_alignment(const mm1_gguf *g, size_t *out, mm1_error *err)
{
    static const char key[] = "general.alignment";
    const mm1_gguf_value *v = mm1_gguf_value_find(g, key);
    uint32_t n = DEFAULT_ALIGNMENT;
    if (v != NULL && (v->type != MM1_GGUF_U32 || v->is_array)) {
        return mm1_error_set(err, MM1_E_FORMAT, "key '%s' is no U32", key);
    }
    if (v != NULL) {
        memcpy(&n, v->numbers, sizeof n);
    }
    if (n == 0 || n > MAX_ALIGNMENT || (n & (n - 1)) != 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "key '%s': %" PRIu32 " is no power of two up to %d", key, n,
                             MAX_ALIGNMENT);
    }
    *out = n;
    return MM1_OK;
}

/* data is what follows the header and its padding; both sides of it were checked to lie in the file. */
static mm1_status index_tensors(parser *p, const uint8_t *data, size_t data_len, size_t alignment)
{
    mm1_gguf *g = p->g;
    uint64_t done = 0;
    if (g->n_tensors > 0) {
        qsort(p->rows, g->n_tensors, sizeof *p->rows, by_offset);
    }
    for (size_t i = 0; i < g->n_tensors; i++) {
        row *r = &p->rows[i];
        if (r->offset % alignment != 0) {
            return mm1_error_set(p->err, MM1_E_FORMAT, "tensor '%s': its offset %" PRIu64 " is no multiple of %zu",
                                 r->t.name, r->offset, alignment);
        }
        if (r->offset > data_len || r->t.n_bytes > data_len - r->offset) {
            return mm1_error_set(p->err, MM1_E_FORMAT,
                                 "tensor '%s': %zu bytes at %" PRIu64
                                 " are not within the %zu bytes of data; is the file cut off?",
                                 r->t.name, r->t.n_bytes, r->offset, data_len);
        }
        if (r->offset < done) {
            return mm1_error_set(p->err, MM1_E_FORMAT,
                                 "tensor '%s': begins at byte %" PRIu64 " of the data, where tensor '%s' has not ended",
                                 r->t.name, r->offset, p->rows[i - 1].t.name);
        }
        done = r->offset + r->t.n_bytes;
        r->t.data = data + r->offset;
        g->tensors[i] = r->t;
    }
    if (g->n_tensors > 0) {
        qsort(g->tensors, g->n_tensors, sizeof *g->tensors, by_name);
    }
    for (size_t i = 1; i < g->n_tensors; i++) {
        if (strcmp(g->tensors[i - 1].name, g->tensors[i].name) == 0) {
            return mm1_error_set(p->err, MM1_E_FORMAT, "tensor '%s' is there twice", g->tensors[i].name);
        }
    }
    return MM1_OK;
}

static mm1_status take_counts(parser *p)
{
    const uint8_t *magic = NULL;
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_values = 0;
    if (p->len < 4 || memcmp(p->bytes, "GGUF", 4) != 0) {
        return mm1_error_set(p->err, MM1_E_FORMAT, "is no GGUF file: it does not begin with \"GGUF\"");
    }
    mm1_status st = take(p, 4, &magic);
    st = st != MM1_OK ? st : take_u32(p, &version);
    if (st == MM1_OK && version != 2 && version != 3) {
        return mm1_error_set(p->err, MM1_E_UNSUPPORTED, "GGUF version %" PRIu32 " is not supported%s; 2 and 3 are",
                             version, (version & 0xffff) == 0 ? " (is it big-endian?)" : "");
    }
    st = st != MM1_OK ? st : take_u64(p, &n_tensors);
    st = st != MM1_OK ? st : take_u64(p, &n_values);
    if (st == MM1_OK && (n_tensors > MM1_GGUF_MAX_TENSORS || n_values > MM1_GGUF_MAX_KEYS)) {
        return mm1_error_set(p->err, MM1_E_LIMIT,
                             "%" PRIu64 " tensors and %" PRIu64 " keys; at most %d and %d are read", n_tensors,
                             n_values, MM1_GGUF_MAX_TENSORS, MM1_GGUF_MAX_KEYS);
    }
    p->g->n_tensors = (size_t)n_tensors;
    p->g->n_values = (size_t)n_values;
    return st;
}

static mm1_status read_index(mm1_gguf *g, mm1_error *err)
{
    const size_t len = g->map.len < MM1_GGUF_MAX_HEADER_BYTES ? g->map.len : MM1_GGUF_MAX_HEADER_BYTES;
    parser p = {.g = g, .err = err, .bytes = g->map.data, .len = len};
    mm1_status st = take_counts(&p);
    const size_t first = p.pos;
    st = st != MM1_OK ? st : walk(&p);
    if (st != MM1_OK) {
        return st;
    }
    g->text = mm1_alloc(p.n_text, 1);
    g->strings = mm1_alloc(p.n_strings, sizeof *g->strings);
    g->values = mm1_alloc(g->n_values, sizeof *g->values);
    g->tensors = mm1_alloc(g->n_tensors, sizeof *g->tensors);
    row *rows = mm1_alloc(g->n_tensors, sizeof *rows);
    if (g->text == NULL || g->strings == NULL || g->values == NULL || g->tensors == NULL || rows == NULL) {
        mm1_free(rows);
        return no_memory(err);
    }
    p = (parser){.g = g, .err = err, .bytes = g->map.data, .len = len, .pos = first, .fill = true, .rows = rows};
    size_t alignment = DEFAULT_ALIGNMENT;
    st = walk(&p);
    st = st != MM1_OK ? st : index_values(g, err);
    st = st != MM1_OK ? st : read_alignment(g, &alignment, err);
    if (st == MM1_OK) {
        /* Without tensors a file may end before the padding does. */
        const size_t padded = (p.pos + alignment - 1) / alignment * alignment;
        const size_t start = padded < g->map.len ? padded : g->map.len;
        st = index_tensors(&p, g->map.data + start, g->map.len - start, alignment);
    }
    mm1_free(rows);
    return st;
}

mm1_status mm1_gguf_open(mm1_gguf **out, const char *path, mm1_error *err)
{
    mm1_status st = MM1_OK;

    *out = NULL;
    mm1_gguf *g = mm1_calloc(1, sizeof *g);
    if (g == NULL || (g->path = mm1_strdup(path)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the index of the file", path);
        goto out;
    }
    st = mm1_map_open(&g->map, path, err);
    if (st != MM1_OK) {
        goto out;
    }
    st = read_index(g, err);
    if (st != MM1_OK) {
        (void)mm1_error_wrap(err, st, "%s", path);
        goto out;
    }
    *out = g;
    g = NULL;
out:
    mm1_gguf_close(g);
    return st;
}

void mm1_gguf_close(mm1_gguf *g)
{
    if (g != NULL) {
        mm1_map_close(&g->map);
        mm1_free(g->path);
        mm1_free(g->text);
        mm1_free(g->strings);
        mm1_free(g->values);
        mm1_free(g->tensors);
        mm1_free(g);
    }
}

/* ---- looking things up ---- */

const char *mm1_gguf_path(const mm1_gguf *g)
{
    return g->path;
}

size_t mm1_gguf_n_values(const mm1_gguf *g)
{
    return g->n_values;
}

const mm1_gguf_value *mm1_gguf_value_at(const mm1_gguf *g, size_t i)
{
    return &g->values[i];
}

const mm1_gguf_value *mm1_gguf_value_find(const mm1_gguf *g, const char *key)
{
    const mm1_gguf_value wanted = {.key = key};
    return g->n_values > 0 ? bsearch(&wanted, g->values, g->n_values, sizeof wanted, by_key) : NULL;
}

size_t mm1_gguf_n_tensors(const mm1_gguf *g)
{
    return g->n_tensors;
}

const mm1_gguf_tensor *mm1_gguf_tensor_at(const mm1_gguf *g, size_t i)
{
    return &g->tensors[i];
}

const mm1_gguf_tensor *mm1_gguf_tensor_find(const mm1_gguf *g, const char *name)
{
    const mm1_gguf_tensor wanted = {.name = name};
    return g->n_tensors > 0 ? bsearch(&wanted, g->tensors, g->n_tensors, sizeof wanted, by_name) : NULL;
}

/* The shape in the words of safetensors.c: "[2, 3]". */
static void format_shape(char *text, size_t cap, int n_dims, const int64_t *shape)
{
    size_t len = 0;
    for (int i = 0; i < n_dims && len < cap; i++) {
        const int n = snprintf(text + len, cap - len, "%s%" PRId64, i == 0 ? "[" : ", ", shape[i]);
        len += n > 0 ? (size_t)n : 0;
    }
    if (len < cap) {
        (void)snprintf(text + len, cap - len, "%s]", n_dims == 0 ? "[" : "");
    }
}

mm1_status mm1_gguf_tensor_get(const mm1_gguf *g, const char *name, int n_dims, const int64_t *shape,
                               const mm1_gguf_tensor **out, mm1_error *err)
{
    const mm1_gguf_tensor *t = mm1_gguf_tensor_find(g, name);
    *out = NULL;
    if (t == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: tensor '%s' is missing", g->path, name);
    }
    bool same = t->n_dims == n_dims;
    for (int i = 0; same && i < n_dims; i++) {
        same = t->shape[i] == shape[i];
    }
    if (!same) {
        char got[100], want[100];
        format_shape(got, sizeof got, t->n_dims, t->shape);
        format_shape(want, sizeof want, n_dims, shape);
        return mm1_error_set(err, MM1_E_SHAPE, "%s: tensor '%s' has the shape %s, expected %s", g->path, name, got,
                             want);
    }
    *out = t;
    return MM1_OK;
}

/* ---- values by type ---- */

const char *mm1_gguf_type_name(mm1_gguf_type type)
{
    return (unsigned)type < MM1_GGUF_TYPE_COUNT ? types[type].name : "?";
}

size_t mm1_gguf_type_bytes(mm1_gguf_type type)
{
    return (unsigned)type < MM1_GGUF_TYPE_COUNT ? types[type].bytes : 0;
}

static mm1_status find_value(const mm1_gguf *g, const char *key, const mm1_gguf_value **out, mm1_error *err)
{
    *out = mm1_gguf_value_find(g, key);
    return *out != NULL ? MM1_OK : mm1_error_set(err, MM1_E_FORMAT, "%s: key '%s' is missing", g->path, key);
}

static mm1_status wrong_type(const mm1_gguf *g, const mm1_gguf_value *v, const char *expected, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_FORMAT, "%s: key '%s' is %s%s; expected %s", g->path, v->key,
                         v->is_array ? "an array of " : "", types[v->type].name, expected);
}

mm1_status mm1_gguf_get_int(const mm1_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *out, mm1_error *err)
{
    const mm1_gguf_value *v = NULL;
    const mm1_status st = find_value(g, key, &v, err);
    if (st != MM1_OK) {
        return st;
    }
    const bool is_signed =
        v->type == MM1_GGUF_I8 || v->type == MM1_GGUF_I16 || v->type == MM1_GGUF_I32 || v->type == MM1_GGUF_I64;
    const bool is_unsigned =
        v->type == MM1_GGUF_U8 || v->type == MM1_GGUF_U16 || v->type == MM1_GGUF_U32 || v->type == MM1_GGUF_U64;
    if (v->is_array || (!is_signed && !is_unsigned)) {
        return wrong_type(g, v, "a whole number", err);
    }
    /* Little-endian, so a narrow number is the low end of a wide one; then the sign is spread. */
    uint64_t bits = 0;
    memcpy(&bits, v->numbers, types[v->type].bytes);
    const unsigned shift = 64 - 8 * (unsigned)types[v->type].bytes;
    const int64_t n = is_signed ? (int64_t)(bits << shift) >> shift : (int64_t)bits;
    const bool over = is_unsigned && bits > INT64_MAX;
    if (over || n < lo || n > hi) {
        return over ? mm1_error_set(err, MM1_E_LIMIT, "%s: key '%s' is %" PRIu64 "; at most %" PRId64 " is allowed",
                                    g->path, key, bits, hi)
                    : mm1_error_set(err, MM1_E_LIMIT,
                                    "%s: key '%s' is %" PRId64 ", outside of [%" PRId64 ", %" PRId64 "]", g->path, key,
                                    n, lo, hi);
    }
    *out = n;
    return MM1_OK;
}

mm1_status mm1_gguf_get_float(const mm1_gguf *g, const char *key, double *out, mm1_error *err)
{
    const mm1_gguf_value *v = NULL;
    const mm1_status st = find_value(g, key, &v, err);
    if (st != MM1_OK) {
        return st;
    }
    if (v->is_array || (v->type != MM1_GGUF_F32 && v->type != MM1_GGUF_F64)) {
        return wrong_type(g, v, "F32 or F64", err);
    }
    float narrow = 0;
    double wide = 0;
    memcpy(v->type == MM1_GGUF_F32 ? (void *)&narrow : &wide, v->numbers, types[v->type].bytes);
    wide = v->type == MM1_GGUF_F32 ? (double)narrow : wide;
    if (!isfinite(wide)) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: key '%s' is not finite", g->path, key);
    }
    *out = wide;
    return MM1_OK;
}

mm1_status mm1_gguf_get_bool(const mm1_gguf *g, const char *key, bool *out, mm1_error *err)
{
    const mm1_gguf_value *v = NULL;
    const mm1_status st = find_value(g, key, &v, err);
    if (st != MM1_OK) {
        return st;
    }
    if (v->is_array || v->type != MM1_GGUF_BOOL) {
        return wrong_type(g, v, "BOOL", err);
    }
    *out = *(const uint8_t *)v->numbers != 0;
    return MM1_OK;
}

mm1_status mm1_gguf_get_string(const mm1_gguf *g, const char *key, const char **out, mm1_error *err)
{
    const mm1_gguf_value *v = NULL;
    const mm1_status st = find_value(g, key, &v, err);
    if (st != MM1_OK) {
        return st;
    }
    if (v->is_array || v->type != MM1_GGUF_STRING) {
        return wrong_type(g, v, "STRING", err);
    }
    *out = v->strings[0];
    return MM1_OK;
}

mm1_status mm1_gguf_get_array(const mm1_gguf *g, const char *key, mm1_gguf_type type, const mm1_gguf_value **out,
                              mm1_error *err)
{
    const mm1_gguf_value *v = NULL;
    const mm1_status st = find_value(g, key, &v, err);
    if (st != MM1_OK) {
        return st;
    }
    if (!v->is_array || v->type != type) {
        char expected[32];
        (void)snprintf(expected, sizeof expected, "an array of %s", mm1_gguf_type_name(type));
        return wrong_type(g, v, expected, err);
    }
    *out = v;
    return MM1_OK;
}

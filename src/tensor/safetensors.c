/* safetensors.c - the reader; safetensors_write.c is the writer.  See safetensors.h.
 *
 * The header is a small fixed form of JSON, so it is parsed here: messages then carry byte offsets, memory stays within
 * a few times the header's size, and nothing but the form is accepted. */
#include "tensor/safetensors.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/half.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} dtypes[MM1_DTYPE_COUNT] = {
    [MM1_DTYPE_BOOL] = {"BOOL", 1}, [MM1_DTYPE_U8] = {"U8", 1},   [MM1_DTYPE_I8] = {"I8", 1},
    [MM1_DTYPE_U16] = {"U16", 2},   [MM1_DTYPE_I16] = {"I16", 2}, [MM1_DTYPE_F16] = {"F16", 2},
    [MM1_DTYPE_BF16] = {"BF16", 2}, [MM1_DTYPE_U32] = {"U32", 4}, [MM1_DTYPE_I32] = {"I32", 4},
    [MM1_DTYPE_F32] = {"F32", 4},   [MM1_DTYPE_U64] = {"U64", 8}, [MM1_DTYPE_I64] = {"I64", 8},
    [MM1_DTYPE_F64] = {"F64", 8},
};

/* A tensor as the header states it, with the offsets that are needed only for checking. */
typedef struct row {
    mm1_safetensors_tensor t;
    uint64_t begin, end; /* in the data */
} row;

struct mm1_safetensors {
    mm1_map map;
    char *path;
    char *strings; /* all names, keys and values, decoded */
    mm1_safetensors_tensor *tensors;
    size_t n;
    mm1_safetensors_pair *metadata;
    size_t n_metadata;
};

typedef struct parser {
    mm1_safetensors *sf;
    mm1_error *err;
    const char *text; /* the header */
    size_t len, pos;
    char *strings; /* the next free byte of sf->strings: decoding never grows a string, so there is always room */
    row *rows;
    size_t n_rows, rows_cap, metadata_cap;
    bool has_metadata;
} parser;

const char *mm1_dtype_name(mm1_dtype dtype)
{
    return (unsigned)dtype < MM1_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

size_t mm1_dtype_bytes(mm1_dtype dtype)
{
    return (unsigned)dtype < MM1_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

/* ---- the JSON of the header ---- */

static mm1_status malformed(const parser *p, const char *what)
{
    return mm1_error_set(p->err, MM1_E_FORMAT, "header, byte %zu: %s", p->pos + 8, what);
}

static void skip_space(parser *p)
{
    while (p->pos < p->len && strchr(" \t\r\n", p->text[p->pos]) != NULL && p->text[p->pos] != '\0') {
        p->pos++;
    }
}

/* Takes this character, after blanks; false if another one stands there. */
static bool take(parser *p, char c)
{
    skip_space(p);
    if (p->pos < p->len && p->text[p->pos] == c) {
        p->pos++;
        return true;
    }
    return false;
}

static mm1_status expect(parser *p, char c)
{
    char what[] = "expected 'x'";
    what[sizeof what - 3] = c;
    return take(p, c) ? MM1_OK : malformed(p, what);
}

/* Four hexadecimal digits. */
static bool take_hex(parser *p, uint32_t *out)
{
    uint32_t v = 0;
    if (p->len - p->pos < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        const char c = p->text[p->pos + (size_t)i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return false;
        }
        v = v << 4 | (uint32_t)digit;
    }
    p->pos += 4;
    *out = v;
    return true;
}

static void put_utf8(parser *p, uint32_t c)
{
    if (c < 0x80) {
        *p->strings++ = (char)c;
    } else if (c < 0x800) {
        *p->strings++ = (char)(0xc0 | c >> 6);
        *p->strings++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *p->strings++ = (char)(0xe0 | c >> 12);
        *p->strings++ = (char)(0x80 | (c >> 6 & 0x3f));
        *p->strings++ = (char)(0x80 | (c & 0x3f));
    } else {
        *p->strings++ = (char)(0xf0 | c >> 18);
        *p->strings++ = (char)(0x80 | (c >> 12 & 0x3f));
        *p->strings++ = (char)(0x80 | (c >> 6 & 0x3f));
        *p->strings++ = (char)(0x80 | (c & 0x3f));
    }
}

/* What follows a backslash. */
static mm1_status take_escape(parser *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char c = p->pos < p->len ? p->text[p->pos] : '\0';
    const char *plain = c != '\0' ? strchr(from, c) : NULL;
    uint32_t v = 0, low = 0;
    if (plain != NULL) {
        p->pos++;
        *p->strings++ = to[plain - from];
        return MM1_OK;
    }
    if (c != 'u') {
        return malformed(p, "unknown escape in a string");
    }
    p->pos++;
    if (!take_hex(p, &v)) {
        return malformed(p, "\\u needs four hexadecimal digits");
    }
    if (v >= 0xd800 && v < 0xdc00) {
        if (p->len - p->pos < 6 || p->text[p->pos] != '\\' || p->text[p->pos + 1] != 'u') {
            return malformed(p, "half a surrogate pair in a string");
        }
        p->pos += 2;
        if (!take_hex(p, &low) || low < 0xdc00 || low >= 0xe000) {
            return malformed(p, "half a surrogate pair in a string");
        }
        v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    } else if (v >= 0xdc00 && v < 0xe000) {
        return malformed(p, "half a surrogate pair in a string");
    }
    if (v == 0) {
        return malformed(p, "a string contains a NUL");
    }
    put_utf8(p, v);
    return MM1_OK;
}

static mm1_status take_string(parser *p, const char **out)
{
    char *start = p->strings;
    mm1_status st = expect(p, '"');
    if (st != MM1_OK) {
        return st;
    }
    for (;;) {
        if (p->pos >= p->len) {
            return malformed(p, "the header ends inside a string");
        }
        const unsigned char c = (unsigned char)p->text[p->pos];
        if (c == '"') {
            break;
        }
        if (c < 0x20) {
            return malformed(p, "control character in a string");
        }
        p->pos++;
        if (c != '\\') {
            *p->strings++ = (char)c;
        } else if ((st = take_escape(p)) != MM1_OK) {
            return st;
        }
    }
    p->pos++;
    const size_t len = (size_t)(p->strings - start);
    if (mm1_utf8_valid(start, len) != len) {
        return malformed(p, "a string is not UTF-8");
    }
    *p->strings++ = '\0'; /* takes the place of the closing quote */
    *out = start;
    return MM1_OK;
}

static mm1_status take_number(parser *p, uint64_t *out)
{
    uint64_t v = 0;
    skip_space(p);
    const size_t start = p->pos;
    for (; p->pos < p->len && p->text[p->pos] >= '0' && p->text[p->pos] <= '9'; p->pos++) {
        const uint64_t digit = (uint64_t)(p->text[p->pos] - '0');
        if (v > (UINT64_MAX - digit) / 10) {
            return malformed(p, "number over 2^64");
        }
        v = v * 10 + digit;
    }
    if (p->pos == start || (p->text[start] == '0' && p->pos > start + 1)) {
        return malformed(p, "expected a whole number that is not negative");
    }
    *out = v;
    return MM1_OK;
}

static mm1_status take_shape(parser *p, row *r)
{
    mm1_status st = expect(p, '[');
    if (st != MM1_OK || take(p, ']')) {
        return st;
    }
    do {
        uint64_t d = 0;
        st = take_number(p, &d);
        if (st != MM1_OK) {
            return st;
        }
        if (r->t.n_dims == MM1_SAFETENSORS_MAX_DIMS) {
            return mm1_error_set(p->err, MM1_E_LIMIT, "more than %d dimensions", MM1_SAFETENSORS_MAX_DIMS);
        }
        if (d > INT64_MAX) {
            return malformed(p, "a dimension is over 2^63 - 1");
        }
        r->t.shape[r->t.n_dims++] = (int64_t)d;
    } while (take(p, ','));
    return expect(p, ']');
}

static mm1_status take_dtype(parser *p, row *r)
{
    const char *name = NULL;
    const mm1_status st = take_string(p, &name);
    if (st != MM1_OK) {
        return st;
    }
    for (int i = 0; i < MM1_DTYPE_COUNT; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            r->t.dtype = (mm1_dtype)i;
            return MM1_OK;
        }
    }
    return mm1_error_set(p->err, MM1_E_UNSUPPORTED, "dtype '%.40s' is not supported", name);
}

static mm1_status take_offsets(parser *p, row *r)
{
    mm1_status st = expect(p, '[');
    st = st != MM1_OK ? st : take_number(p, &r->begin);
    st = st != MM1_OK ? st : expect(p, ',');
    st = st != MM1_OK ? st : take_number(p, &r->end);
    return st != MM1_OK ? st : expect(p, ']');
}

/* {"dtype": .., "shape": .., "data_offsets": ..} in any order, each once. */
static mm1_status take_tensor(parser *p, row *r)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    unsigned seen = 0;
    mm1_status st = expect(p, '{');
    while (st == MM1_OK) {
        const char *key = NULL;
        st = take_string(p, &key);
        if (st != MM1_OK || (st = expect(p, ':')) != MM1_OK) {
            return st;
        }
        unsigned i = 0;
        while (i < 3 && strcmp(key, keys[i]) != 0) {
            i++;
        }
        if (i == 3 || (seen & 1u << i) != 0) {
            return mm1_error_set(p->err, MM1_E_FORMAT, "key '%.40s' is %s", key, i == 3 ? "unknown" : "given twice");
        }
        seen |= 1u << i;
        st = i == 0 ? take_dtype(p, r) : i == 1 ? take_shape(p, r) : take_offsets(p, r);
        if (st == MM1_OK && !take(p, ',')) {
            break;
        }
    }
    st = st != MM1_OK ? st : expect(p, '}');
    for (unsigned i = 0; st == MM1_OK && i < 3; i++) {
        if ((seen & 1u << i) == 0) {
            st = mm1_error_set(p->err, MM1_E_FORMAT, "has no \"%s\"", keys[i]);
        }
    }
    return st;
}

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "no memory for the index of tensors");
}

/* Room for one more element; doubles. */
static bool grow(void **items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return true;
    }
    const size_t more = *cap == 0 ? 64 : *cap * 2;
    void *p = mm1_realloc(*items, more, size);
    if (p == NULL) {
        return false;
    }
    *items = p;
    *cap = more;
    return true;
}

static mm1_status take_metadata(parser *p)
{
    mm1_safetensors *sf = p->sf;
    if (p->has_metadata) {
        return malformed(p, "__metadata__ is given twice");
    }
    p->has_metadata = true;
    mm1_status st = expect(p, '{');
    if (st != MM1_OK || take(p, '}')) {
        return st;
    }
    do {
        void *items = sf->metadata;
        if (!grow(&items, sf->n_metadata, &p->metadata_cap, sizeof *sf->metadata)) {
            return no_memory(p->err);
        }
        sf->metadata = items;
        mm1_safetensors_pair *pair = &sf->metadata[sf->n_metadata];
        st = take_string(p, &pair->key);
        st = st != MM1_OK ? st : expect(p, ':');
        st = st != MM1_OK ? st : take_string(p, &pair->value);
        if (st != MM1_OK) {
            return st;
        }
        sf->n_metadata++;
    } while (take(p, ','));
    return expect(p, '}');
}

static mm1_status parse_header(parser *p)
{
    mm1_status st = MM1_OK;
    if (p->len == 0 || p->text[0] != '{') {
        return malformed(p, "the header must begin with '{'");
    }
    p->pos = 1;
    if (!take(p, '}')) {
        do {
            const char *name = NULL;
            st = take_string(p, &name);
            st = st != MM1_OK ? st : expect(p, ':');
            if (st != MM1_OK) {
                return st;
            }
            if (strcmp(name, "__metadata__") == 0) {
                st = take_metadata(p);
            } else {
                void *items = p->rows;
                if (!grow(&items, p->n_rows, &p->rows_cap, sizeof *p->rows)) {
                    return no_memory(p->err);
                }
                p->rows = items;
                p->rows[p->n_rows] = (row){.t.name = name};
                st = take_tensor(p, &p->rows[p->n_rows]);
                p->n_rows++;
            }
            if (st != MM1_OK) {
                return mm1_error_wrap(p->err, st, "tensor '%.200s'", name);
            }
        } while (take(p, ','));
        st = expect(p, '}');
    }
    skip_space(p);
    return st == MM1_OK && p->pos != p->len ? malformed(p, "text after the end of the header") : st;
}

/* ---- what the header says against what is there ---- */

static int by_begin(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mm1_safetensors_tensor *)a)->name, ((const mm1_safetensors_tensor *)b)->name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const mm1_safetensors_pair *)a)->key, ((const mm1_safetensors_pair *)b)->key);
}

/* Number of bytes that dtype and shape ask for; false on overflow. */
static bool shape_bytes(mm1_safetensors_tensor *t, size_t *bytes)
{
    size_t n = 1;
    bool is_empty = false;
    for (int i = 0; i < t->n_dims; i++) {
        is_empty = is_empty || t->shape[i] == 0; /* 0 times whatever the others say */
    }
    for (int i = 0; i < t->n_dims && !is_empty; i++) {
        if (!mm1_size_mul(n, (size_t)t->shape[i], &n)) {
            return false;
        }
    }
    n = is_empty ? 0 : n;
    t->n_elements = (int64_t)n;
    return n <= INT64_MAX && mm1_size_mul(n, mm1_dtype_bytes(t->dtype), bytes);
}

static mm1_status check_rows(parser *p, const uint8_t *data, size_t data_len)
{
    uint64_t done = 0;
    if (p->n_rows > 0) {
        qsort(p->rows, p->n_rows, sizeof *p->rows, by_begin);
    }
    for (size_t i = 0; i < p->n_rows; i++) {
        row *r = &p->rows[i];
        size_t bytes = 0;
        if (r->begin > r->end || r->end > data_len) {
            return mm1_error_set(p->err, MM1_E_FORMAT,
                                 "tensor '%.200s': data_offsets [%" PRIu64 ", %" PRIu64
                                 "] are not within the %zu bytes of data; is the file cut off?",
                                 r->t.name, r->begin, r->end, data_len);
        }
        if (r->begin != done) {
            return mm1_error_set(p->err, MM1_E_FORMAT,
                                 "tensor '%.200s': begins at byte %" PRIu64
                                 " of the data, the one before ends at %" PRIu64 " (%s)",
                                 r->t.name, r->begin, done, r->begin < done ? "they overlap" : "a hole between them");
        }
        if (!shape_bytes(&r->t, &bytes) || bytes != r->end - r->begin) {
            return mm1_error_set(p->err, MM1_E_FORMAT,
                                 "tensor '%.200s': %" PRIu64 " bytes of data do not fit its shape and dtype %s",
                                 r->t.name, r->end - r->begin, mm1_dtype_name(r->t.dtype));
        }
        r->t.data = data + r->begin;
        r->t.n_bytes = bytes;
        done = r->end;
    }
    if (done != data_len) {
        return mm1_error_set(p->err, MM1_E_FORMAT, "%" PRIu64 " bytes after the last tensor belong to none",
                             (uint64_t)data_len - done);
    }
    return MM1_OK;
}

/* Turns the checked rows into the sorted index. */
static mm1_status index_rows(parser *p)
{
    mm1_safetensors *sf = p->sf;
    sf->tensors = mm1_alloc(p->n_rows, sizeof *sf->tensors);
    if (sf->tensors == NULL) {
        return no_memory(p->err);
    }
    for (size_t i = 0; i < p->n_rows; i++) {
        sf->tensors[i] = p->rows[i].t;
    }
    sf->n = p->n_rows;
    if (sf->n > 0) {
        qsort(sf->tensors, sf->n, sizeof *sf->tensors, by_name);
    }
    if (sf->n_metadata > 0) {
        qsort(sf->metadata, sf->n_metadata, sizeof *sf->metadata, by_key);
    }
    for (size_t i = 1; i < sf->n; i++) {
        if (strcmp(sf->tensors[i - 1].name, sf->tensors[i].name) == 0) {
            return mm1_error_set(p->err, MM1_E_FORMAT, "tensor '%.200s' is there twice", sf->tensors[i].name);
        }
    }
    for (size_t i = 1; i < sf->n_metadata; i++) {
        if (strcmp(sf->metadata[i - 1].key, sf->metadata[i].key) == 0) {
            return mm1_error_set(p->err, MM1_E_FORMAT, "__metadata__: '%.200s' is there twice", sf->metadata[i].key);
        }
    }
    return MM1_OK;
}

static mm1_status read_index(mm1_safetensors *sf, mm1_error *err)
{
    uint64_t header_len = 0;
    if (sf->map.len < 8) {
        return mm1_error_set(err, MM1_E_FORMAT, "%zu bytes are too few for a safetensors file", sf->map.len);
    }
    for (int i = 0; i < 8; i++) {
        header_len |= (uint64_t)sf->map.data[i] << (8 * i);
    }
    if (header_len > MM1_SAFETENSORS_MAX_HEADER_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "header of %" PRIu64 " bytes is over the limit of %d; is this a safetensors file?",
                             header_len, MM1_SAFETENSORS_MAX_HEADER_BYTES);
    }
    if (header_len > sf->map.len - 8) { /* cannot wrap: len >= 8 */
        return mm1_error_set(err, MM1_E_FORMAT,
                             "header says %" PRIu64 " bytes but the file has %zu more; is it cut off?", header_len,
                             sf->map.len - 8);
    }
    const uint8_t *data = sf->map.data + 8 + header_len;
    parser p = {.sf = sf, .err = err, .text = (const char *)sf->map.data + 8, .len = (size_t)header_len};
    sf->strings = p.strings = mm1_alloc(p.len + 1, 1);
    mm1_status st = sf->strings != NULL ? parse_header(&p) : no_memory(err);
    st = st != MM1_OK ? st : check_rows(&p, data, sf->map.len - 8 - p.len);
    st = st != MM1_OK ? st : index_rows(&p);
    mm1_free(p.rows);
    return st;
}

mm1_status mm1_safetensors_open(mm1_safetensors **out, const char *path, mm1_error *err)
{
    mm1_status st = MM1_OK;

    *out = NULL;
    mm1_safetensors *sf = mm1_calloc(1, sizeof *sf);
    if (sf == NULL || (sf->path = mm1_strdup(path)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the index of tensors", path);
        goto out;
    }
    st = mm1_map_open(&sf->map, path, err);
    if (st != MM1_OK) {
        goto out;
    }
    st = read_index(sf, err);
    if (st != MM1_OK) {
        (void)mm1_error_wrap(err, st, "%s", path);
        goto out;
    }
    *out = sf;
    sf = NULL;
out:
    mm1_safetensors_close(sf);
    return st;
}

void mm1_safetensors_close(mm1_safetensors *sf)
{
    if (sf != NULL) {
        mm1_map_close(&sf->map);
        mm1_free(sf->path);
        mm1_free(sf->strings);
        mm1_free(sf->tensors);
        mm1_free(sf->metadata);
        mm1_free(sf);
    }
}

/* ---- looking things up ---- */

const char *mm1_safetensors_path(const mm1_safetensors *sf)
{
    return sf->path;
}

size_t mm1_safetensors_n(const mm1_safetensors *sf)
{
    return sf->n;
}

const mm1_safetensors_tensor *mm1_safetensors_at(const mm1_safetensors *sf, size_t i)
{
    return &sf->tensors[i];
}

const mm1_safetensors_tensor *mm1_safetensors_find(const mm1_safetensors *sf, const char *name)
{
    const mm1_safetensors_tensor key = {.name = name};
    return sf->n > 0 ? bsearch(&key, sf->tensors, sf->n, sizeof key, by_name) : NULL;
}

const char *mm1_safetensors_metadata(const mm1_safetensors *sf, const char *name)
{
    const mm1_safetensors_pair key = {.key = name};
    const mm1_safetensors_pair *pair =
        sf->n_metadata > 0 ? bsearch(&key, sf->metadata, sf->n_metadata, sizeof key, by_key) : NULL;
    return pair != NULL ? pair->value : NULL;
}

/* "[2, 3]" */
static void format_shape(char *text, size_t cap, int n_dims, const int64_t *shape)
{
    size_t len = 0;
    text[0] = '\0';
    for (int i = 0; i <= n_dims; i++) {
        int n = i == n_dims ? snprintf(text + len, cap - len, "%s]", n_dims == 0 ? "[" : "")
                            : snprintf(text + len, cap - len, "%s%" PRId64, i == 0 ? "[" : ", ", shape[i]);
        len = n < 0 || (size_t)n >= cap - len ? cap - 1 : len + (size_t)n;
    }
}

mm1_status mm1_safetensors_get(const mm1_safetensors *sf, const char *name, int n_dims, const int64_t *shape,
                               const mm1_safetensors_tensor **out, mm1_error *err)
{
    const mm1_safetensors_tensor *t = mm1_safetensors_find(sf, name);
    *out = NULL;
    if (t == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: tensor '%s' is missing", sf->path, name);
    }
    bool same = t->n_dims == n_dims;
    for (int i = 0; same && i < n_dims; i++) {
        same = t->shape[i] == shape[i];
    }
    if (!same) {
        char got[200], want[200];
        format_shape(got, sizeof got, t->n_dims, t->shape);
        format_shape(want, sizeof want, n_dims, shape);
        return mm1_error_set(err, MM1_E_SHAPE, "%s: tensor '%s' has the shape %s, expected %s", sf->path, name, got,
                             want);
    }
    *out = t;
    return MM1_OK;
}

mm1_status mm1_safetensors_to_f32(const mm1_safetensors_tensor *t, float *dst, mm1_error *err)
{
    switch (t->dtype) {
    case MM1_DTYPE_F32:
        if (t->n_bytes > 0) {
            memcpy(dst, t->data, t->n_bytes);
        }
        return MM1_OK;
    case MM1_DTYPE_BF16:
    case MM1_DTYPE_F16:
        for (int64_t i = 0; i < t->n_elements; i++) {
            uint16_t h; /* the data may stand at an odd address */
            memcpy(&h, t->data + 2 * i, sizeof h);
            dst[i] = t->dtype == MM1_DTYPE_BF16 ? mm1_bf16_to_f32(h) : mm1_f16_to_f32(h);
        }
        return MM1_OK;
    default:
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "tensor '%s' is %s; expected F32, F16 or BF16", t->name,
                             mm1_dtype_name(t->dtype));
    }
}

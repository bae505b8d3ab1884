/* tar.c - see tar.h.
 *
 * One reader of headers over one source of bytes.  The source is the mapped file (data is then pointed at) or what
 * libarchive decompresses from it (data is then copied); so both give the same messages and the same offsets. */
#include "base/tar.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file_writer.h"
#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    BLOCK = 512,
    MAX_EXTENSION_BYTES = 1 << 20, /* of one pax header */
};

/* Byte ranges of the fields of a header. */
enum {
    NAME = 0,
    MODE = 100,
    UID = 108,
    GID = 116,
    SIZE = 124,
    MTIME = 136,
    SUM = 148,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345
};
enum { NAME_LEN = 100, ID_LEN = 8, SIZE_LEN = 12, SUM_LEN = 8, PREFIX_LEN = 155 };

struct mm1_tar {
    char *path;
    mm1_map map;
    struct archive *unpacker; /* NULL: the file is a plain tar */
    uint64_t pos;             /* in the uncompressed tar */
    size_t max_member_bytes;
    bool at_end;
    mm1_buf name; /* of the member at hand */
    char *held;   /* a copy of what was taken last, for compressed files */
    size_t held_cap;
    mm1_error failure; /* sticks */
};

static mm1_status cut_off(const mm1_tar *t, uint64_t end, mm1_error *err)
{
    return t->name.len > 0
               ? mm1_error_set(err, MM1_E_FORMAT,
                               "%s: ends at byte %" PRIu64 " inside member '%.200s'; was it cut off?", t->path, end,
                               mm1_buf_str(&t->name))
               : mm1_error_set(err, MM1_E_FORMAT, "%s: ends at byte %" PRIu64 " without an end mark; was it cut off?",
                               t->path, end);
}

static mm1_status malformed(const mm1_tar *t, uint64_t at, const char *what, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_FORMAT, "%s: header at byte %" PRIu64 ": %s", t->path, at, what);
}

/* Fills dst from the decompressor; *got is less than n only at the end. */
static mm1_status unpack(mm1_tar *t, char *dst, size_t n, size_t *got, mm1_error *err)
{
    *got = 0;
    while (*got < n) {
        const la_ssize_t m = archive_read_data(t->unpacker, dst + *got, n - *got);
        if (m < 0) {
            const char *why = archive_error_string(t->unpacker);
            return mm1_error_set(err, MM1_E_FORMAT, "%s: cannot be decompressed at byte %" PRIu64 " of the tar: %s",
                                 t->path, t->pos + *got, why != NULL ? why : "unknown reason");
        }
        if (m == 0) {
            break;
        }
        *got += (size_t)m;
    }
    return MM1_OK;
}

/* The next n bytes, borrowed until the next call. */
static mm1_status take(mm1_tar *t, size_t n, const uint8_t **out, mm1_error *err)
{
    if (t->unpacker == NULL) {
        if (n > t->map.len - t->pos) {
            return cut_off(t, t->map.len, err);
        }
        *out = t->map.data + t->pos;
        t->pos += n;
        return MM1_OK;
    }
    size_t done = 0;
    do {
        /* Room grows with what was really there, so that a header that lies about a size costs nothing. */
        const size_t room = done == 0 ? 1 << 16 : done * 2, want = n < room ? n : room;
        size_t got = 0;
        if (want > t->held_cap || t->held == NULL) {
            char *held = mm1_realloc(t->held, want < BLOCK ? BLOCK : want, 1);
            if (held == NULL) {
                return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for a member of %zu bytes", t->path, n);
            }
            t->held = held;
            t->held_cap = want < BLOCK ? BLOCK : want;
        }
        const mm1_status st = unpack(t, t->held + done, want - done, &got, err);
        t->pos += got;
        if (st != MM1_OK) {
            return st;
        }
        done += got;
        if (done < want) {
            return cut_off(t, t->pos, err);
        }
    } while (done < n);
    *out = (const uint8_t *)t->held;
    return MM1_OK;
}

static mm1_status skip(mm1_tar *t, uint64_t n, mm1_error *err)
{
    const uint8_t *p;
    if (t->unpacker == NULL) {
        if (n > t->map.len - t->pos) {
            return cut_off(t, t->map.len, err);
        }
        t->pos += n;
        return MM1_OK;
    }
    mm1_status st = MM1_OK;
    while (st == MM1_OK && n > 0) {
        const size_t now = n < (1 << 16) ? (size_t)n : 1 << 16;
        st = take(t, now, &p, err);
        n -= now;
    }
    return st;
}

static mm1_status skip_padding(mm1_tar *t, uint64_t size, mm1_error *err)
{
    return skip(t, (BLOCK - size % BLOCK) % BLOCK, err);
}

/* A number field: octal digits with blanks around, or base 256 if its first bit is set. */
static bool read_number(const uint8_t *p, size_t len, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    if ((p[0] & 0x80) != 0) {
        if (p[0] != 0x80) {
            return false; /* negative, or over 2^88 */
        }
        for (i = 1; i < len; i++) {
            if (v >> 56 != 0) {
                return false;
            }
            v = v << 8 | p[i];
        }
        *out = v;
        return true;
    }
    while (i < len && p[i] == ' ') {
        i++;
    }
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
        if (v >> 61 != 0) {
            return false;
        }
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    for (; i < len; i++) {
        if (p[i] != ' ' && p[i] != '\0') {
            return false;
        }
    }
    *out = v;
    return true;
}

/* Sum of all bytes with the checksum field as blanks; some old writers took bytes as signed. */
static bool sum_is_right(const uint8_t *h)
{
    uint64_t want = 0;
    int64_t sum = 0, signed_sum = 0;
    for (int i = 0; i < BLOCK; i++) {
        const bool is_sum = i >= SUM && i < SUM + SUM_LEN;
        sum += is_sum ? ' ' : h[i];
        signed_sum += is_sum ? ' ' : (int8_t)h[i];
    }
    return read_number(h + SUM, SUM_LEN, &want) && ((uint64_t)sum == want || (uint64_t)signed_sum == want);
}

static bool is_zero(const uint8_t *h)
{
    for (int i = 0; i < BLOCK; i++) {
        if (h[i] != 0) {
            return false;
        }
    }
    return true;
}

/* What extension headers say about the next member. */
typedef struct extension {
    bool has_size;
    uint64_t size;
} extension;

/* Records "<length> <key>=<value>\n"; path goes to t->name. */
static mm1_status read_pax(mm1_tar *t, uint64_t at, const char *p, size_t len, extension *ext, mm1_error *err)
{
    while (len > 0) {
        size_t n = 0, i = 0;
        for (; i < len && p[i] >= '0' && p[i] <= '9' && n <= MAX_EXTENSION_BYTES; i++) {
            n = n * 10 + (size_t)(p[i] - '0');
        }
        if (i == 0 || i >= len || p[i] != ' ' || n > len || n < i + 2 || p[n - 1] != '\n') {
            return malformed(t, at, "bad pax record", err);
        }
        const char *key = p + i + 1, *end = p + n - 1, *equals = memchr(key, '=', (size_t)(end - key));
        if (equals == NULL) {
            return malformed(t, at, "bad pax record", err);
        }
        const size_t key_len = (size_t)(equals - key), value_len = (size_t)(end - equals) - 1;
        if (key_len == 4 && memcmp(key, "path", 4) == 0) {
            mm1_buf_clear(&t->name);
            mm1_buf_append(&t->name, equals + 1, value_len);
        } else if (key_len == 4 && memcmp(key, "size", 4) == 0) {
            ext->has_size = true;
            ext->size = 0;
            for (const char *d = equals + 1; d < end; d++) {
                if (*d < '0' || *d > '9' || ext->size > (uint64_t)INT64_MAX / 10 - 1) {
                    return malformed(t, at, "bad size in a pax record", err);
                }
                ext->size = ext->size * 10 + (uint64_t)(*d - '0');
            }
        } else if (key_len > 11 && memcmp(key, "GNU.sparse.", 11) == 0) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED,
                                 "%s: header at byte %" PRIu64 ": sparse files are not supported", t->path, at);
        }
        p += n;
        len -= n;
    }
    return MM1_OK;
}

/* The name in the header itself, unless an extension gave one. */
static void read_name(mm1_tar *t, const uint8_t *h)
{
    if (t->name.len == 0) {
        const char *prefix = (const char *)h + PREFIX, *name = (const char *)h + NAME;
        if (memcmp(h + MAGIC, "ustar\0", 6) == 0 && prefix[0] != '\0') { /* GNU's own form has other things there */
            mm1_buf_append(&t->name, prefix, strnlen(prefix, PREFIX_LEN));
            mm1_buf_putc(&t->name, '/');
        }
        mm1_buf_append(&t->name, name, strnlen(name, NAME_LEN));
    }
}

static mm1_status read_extension(mm1_tar *t, uint64_t at, char type, uint64_t size, extension *ext, mm1_error *err)
{
    const uint8_t *p = NULL;
    if (size > MAX_EXTENSION_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: header at byte %" PRIu64 ": extension of %" PRIu64 " bytes is over the limit of %d",
                             t->path, at, size, MAX_EXTENSION_BYTES);
    }
    mm1_status st = take(t, (size_t)size, &p, err);
    if (st != MM1_OK) {
        return st;
    }
    if (type == 'x') {
        st = read_pax(t, at, (const char *)p, (size_t)size, ext, err);
    } else if (type == 'L') {
        mm1_buf_clear(&t->name);
        mm1_buf_append(&t->name, p, strnlen((const char *)p, (size_t)size));
    }
    return st != MM1_OK ? st : skip_padding(t, size, err);
}

/* Moves to the data of the next regular file; t->name is empty at the end of the archive. */
static mm1_status next_file(mm1_tar *t, uint64_t *size, mm1_error *err)
{
    extension ext = {0};
    mm1_buf_clear(&t->name);
    for (;;) {
        const uint64_t at = t->pos;
        const uint8_t *h = NULL;
        mm1_status st = take(t, BLOCK, &h, err);
        if (st != MM1_OK) {
            return st;
        }
        if (is_zero(h)) {
            if (t->name.len > 0 || ext.has_size) {
                return malformed(t, at, "the end mark follows an extension header", err);
            }
            return MM1_OK;
        }
        if (!sum_is_right(h)) {
            return malformed(t, at, "wrong checksum; not a tar archive, or damaged", err);
        }
        if (!read_number(h + SIZE, SIZE_LEN, size) || *size > INT64_MAX) {
            return malformed(t, at, "bad size", err);
        }
        const char type = (char)h[TYPE];
        if (type == 'x' || type == 'g' || type == 'L' || type == 'K') {
            st = read_extension(t, at, type, *size, &ext, err);
            if (st != MM1_OK) {
                return st;
            }
            continue;
        }
        if (ext.has_size) {
            *size = ext.size;
        }
        if (type == 'S' || type == 'M') {
            return mm1_error_set(err, MM1_E_UNSUPPORTED,
                                 "%s: header at byte %" PRIu64 ": sparse and multi-volume files are not supported",
                                 t->path, at);
        }
        read_name(t, h);
        if (mm1_buf_status(&t->name) != MM1_OK) {
            return mm1_error_set(err, mm1_buf_status(&t->name),
                                 "%s: header at byte %" PRIu64 ": name over the limit of %d bytes, or memory is short",
                                 t->path, at, MM1_TAR_MAX_NAME_BYTES);
        }
        if (strlen(mm1_buf_str(&t->name)) != t->name.len || t->name.len == 0) {
            return malformed(t, at, "a name that is empty or contains a NUL", err);
        }
        /* V7 marks a folder by a slash alone. */
        const bool is_dir = mm1_buf_str(&t->name)[t->name.len - 1] == '/';
        if (type == '0' || type == '7' || (type == '\0' && !is_dir)) {
            return MM1_OK;
        }
        /* Links, devices and folders have no data whatever their size field says; unknown types do. */
        if (type == '\0' || (type >= '1' && type <= '6')) {
            *size = 0;
        }
        st = skip(t, *size, err);
        st = st != MM1_OK ? st : skip_padding(t, *size, err);
        if (st != MM1_OK) {
            return st;
        }
        mm1_buf_clear(&t->name);
        ext = (extension){0};
    }
}

static bool is_compressed(const mm1_map *map)
{
    static const struct {
        const char *bytes;
        size_t len;
    } magics[] = {{"\x1f\x8b", 2},
                  {"\x28\xb5\x2f\xfd", 4},
                  {"\xfd"
                   "7zXZ\0",
                   6},
                  {"BZh", 3}};
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (map->len >= magics[i].len && memcmp(map->data, magics[i].bytes, magics[i].len) == 0) {
            /* A plain tar whose first name begins in this way has a right checksum as well. */
            return map->len < BLOCK || !sum_is_right(map->data);
        }
    }
    return false;
}

static mm1_status start_unpacker(mm1_tar *t, mm1_error *err)
{
    struct archive_entry *entry = NULL;
    struct archive *a = t->unpacker = archive_read_new();
    if (a == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to decompress it", t->path);
    }
    (void)archive_read_support_filter_gzip(a);
    (void)archive_read_support_filter_zstd(a);
    (void)archive_read_support_filter_xz(a);
    (void)archive_read_support_filter_bzip2(a);
    (void)archive_read_support_format_raw(a);
    if (archive_read_open_memory(a, t->map.data, t->map.len) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK) {
        const char *why = archive_error_string(a);
        return mm1_error_set(err, MM1_E_FORMAT, "%s: cannot be decompressed: %s", t->path,
                             why != NULL ? why : "it holds nothing");
    }
    return MM1_OK;
}

mm1_status mm1_tar_open(mm1_tar **out, const char *path, size_t max_member_bytes, mm1_error *err)
{
    mm1_status st = MM1_OK;

    *out = NULL;
    mm1_tar *t = mm1_calloc(1, sizeof *t);
    if (t == NULL || (t->path = mm1_strdup(path)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read it", path);
        goto out;
    }
    mm1_buf_init(&t->name, MM1_TAR_MAX_NAME_BYTES);
    t->max_member_bytes = max_member_bytes;
    st = mm1_map_open(&t->map, path, err);
    if (st == MM1_OK && is_compressed(&t->map)) {
        st = start_unpacker(t, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    *out = t;
    t = NULL;
out:
    mm1_tar_close(t);
    return st;
}

/* Decompresses what follows the end mark: only at its very end does a compressed file prove to be whole. */
static mm1_status drain(mm1_tar *t, mm1_error *err)
{
    char rest[4096];
    size_t got = 0;
    mm1_status st;
    do {
        st = unpack(t, rest, sizeof rest, &got, err);
        t->pos += got;
    } while (st == MM1_OK && got == sizeof rest);
    return st;
}

static mm1_status next_member(mm1_tar *t, mm1_tar_member *out, mm1_error *err)
{
    uint64_t size = 0;
    if (t->at_end) {
        return MM1_OK;
    }
    mm1_status st = next_file(t, &size, err);
    if (st != MM1_OK) {
        return st;
    }
    if (t->name.len == 0) {
        t->at_end = true;
        return t->unpacker != NULL ? drain(t, err) : MM1_OK;
    }
    const uint64_t at = t->pos;
    if (size > t->max_member_bytes) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "%s: member '%.200s' at byte %" PRIu64 ": %" PRIu64 " bytes are over the limit of %zu",
                             t->path, mm1_buf_str(&t->name), at, size, t->max_member_bytes);
    }
    /* The padding is taken with the data, so that data stays borrowed from one piece. */
    const uint8_t *data = NULL;
    st = take(t, (size_t)(size + (BLOCK - size % BLOCK) % BLOCK), &data, err);
    if (st == MM1_OK) {
        *out = (mm1_tar_member){.name = mm1_buf_str(&t->name), .data = data, .size = (size_t)size, .offset = at};
    }
    return st;
}

mm1_status mm1_tar_next(mm1_tar *tar, mm1_tar_member *out, mm1_error *err)
{
    *out = (mm1_tar_member){0};
    if (tar->failure.status == MM1_OK && next_member(tar, out, &tar->failure) == MM1_OK) {
        return MM1_OK;
    }
    return mm1_error_set(err, tar->failure.status, "%s", tar->failure.message);
}

void mm1_tar_close(mm1_tar *tar)
{
    if (tar != NULL) {
        if (tar->unpacker != NULL) {
            (void)archive_read_free(tar->unpacker);
        }
        mm1_map_close(&tar->map);
        mm1_buf_deinit(&tar->name);
        mm1_free(tar->held);
        mm1_free(tar->path);
        mm1_free(tar);
    }
}

/* ---- index ---- */

mm1_status mm1_tar_index_open(mm1_tar_index *index, const char *path, mm1_error *err)
{
    mm1_tar *t = NULL;
    mm1_tar_member *members = NULL;
    size_t n = 0, cap = 0;
    mm1_buf names;

    *index = (mm1_tar_index){0};
    mm1_buf_init(&names, SIZE_MAX / 2);
    mm1_status st = mm1_tar_open(&t, path, SIZE_MAX, err);
    if (st != MM1_OK) {
        goto out;
    }
    if (t->unpacker != NULL) {
        st = mm1_error_set(err, MM1_E_UNSUPPORTED,
                           "%s: a compressed archive cannot be read in any order; decompress it first", path);
        goto out;
    }
    for (;;) {
        uint64_t size = 0;
        st = next_file(t, &size, err);
        if (st != MM1_OK || t->name.len == 0) {
            break;
        }
        if (n == cap) {
            cap = cap == 0 ? 256 : cap * 2;
            mm1_tar_member *more = mm1_realloc(members, cap, sizeof *members);
            if (more == NULL) {
                st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the index", path);
                break;
            }
            members = more;
        }
        members[n++] = (mm1_tar_member){.data = t->map.data + t->pos, .size = (size_t)size, .offset = t->pos};
        mm1_buf_append(&names, mm1_buf_str(&t->name), t->name.len + 1);
        st = skip(t, size, err);
        st = st != MM1_OK ? st : skip_padding(t, size, err);
        if (st != MM1_OK) {
            break;
        }
    }
    if (st == MM1_OK) {
        index->names = mm1_buf_take(&names);
        if (index->names == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the index", path);
        }
    }
    if (st != MM1_OK) {
        goto out;
    }
    const char *name = index->names;
    for (size_t i = 0; i < n; i++) {
        members[i].name = name;
        name += strlen(name) + 1;
    }
    index->members = members;
    index->n = n;
    index->map = t->map;
    members = NULL;
    t->map = (mm1_map){0}; /* given to the index */
out:
    mm1_buf_deinit(&names);
    mm1_free(members);
    mm1_tar_close(t);
    return st;
}

void mm1_tar_index_close(mm1_tar_index *index)
{
    mm1_map_close(&index->map);
    mm1_free(index->members);
    mm1_free(index->names);
    *index = (mm1_tar_index){0};
}

/* ---- writer ---- */

struct mm1_tar_writer {
    mm1_file_writer *file;
    char *path;
};

mm1_status mm1_tar_writer_open(mm1_tar_writer **out, const char *path, mm1_error *err)
{
    mm1_status st = MM1_OK;

    *out = NULL;
    mm1_tar_writer *w = mm1_calloc(1, sizeof *w);
    if (w == NULL || (w->path = mm1_strdup(path)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to write it", path);
        goto out;
    }
    st = mm1_file_writer_open(&w->file, path, err);
    if (st != MM1_OK) {
        goto out;
    }
    *out = w;
    w = NULL;
out:
    mm1_tar_writer_close(w);
    return st;
}

static mm1_status write_header(mm1_tar_writer *w, const char *name, size_t name_len, char type, uint64_t size,
                               mm1_error *err)
{
    char h[BLOCK] = {0}, digits[32];
    unsigned sum = 0;
    memcpy(h + NAME, name, name_len < NAME_LEN ? name_len : NAME_LEN);
    memcpy(h + MODE, "0000644", 8);
    memcpy(h + UID, "0000000", 8);
    memcpy(h + GID, "0000000", 8);
    /* A size that does not fit stands in the pax header before this one. */
    (void)snprintf(digits, sizeof digits, "%011" PRIo64, size >> 33 == 0 ? size : 0);
    memcpy(h + SIZE, digits, SIZE_LEN);
    memcpy(h + MTIME, "00000000000", 12);
    h[TYPE] = type;
    memcpy(h + MAGIC,
           "ustar\0"
           "00",
           8);
    memset(h + SUM, ' ', SUM_LEN);
    for (int i = 0; i < BLOCK; i++) {
        sum += (unsigned char)h[i];
    }
    (void)snprintf(digits, sizeof digits, "%06o", sum);
    memcpy(h + SUM, digits, 7);
    return mm1_file_writer_append(w->file, h, BLOCK, err);
}

static mm1_status write_data(mm1_tar_writer *w, const void *data, size_t size, mm1_error *err)
{
    const mm1_status st = mm1_file_writer_append(w->file, data, size, err);
    return st != MM1_OK ? st : mm1_file_writer_pad(w->file, (BLOCK - size % BLOCK) % BLOCK, err);
}

/* "<length> <key>=<value>\n", where the length counts its own digits. */
static void put_pax(mm1_buf *b, const char *key, const char *value)
{
    const size_t rest = strlen(key) + strlen(value) + 3;
    size_t len = rest + 1;
    for (;;) {
        char digits[24];
        const size_t want = rest + (size_t)snprintf(digits, sizeof digits, "%zu", len);
        if (want == len) {
            break;
        }
        len = want;
    }
    mm1_buf_printf(b, "%zu %s=%s\n", len, key, value);
}

mm1_status mm1_tar_writer_append(mm1_tar_writer *w, const char *name, const void *data, size_t size, mm1_error *err)
{
    const size_t name_len = strlen(name);
    mm1_status st = MM1_OK;
    if (name_len == 0 || name_len > MM1_TAR_MAX_NAME_BYTES || name[name_len - 1] == '/') {
        return mm1_error_set(err, MM1_E_ARG, "%s: '%.200s' cannot be the name of a member", w->path, name);
    }
    if (name_len > NAME_LEN || (uint64_t)size >> 33 != 0) {
        mm1_buf pax;
        mm1_buf_init(&pax, MAX_EXTENSION_BYTES);
        if (name_len > NAME_LEN) {
            put_pax(&pax, "path", name);
        }
        if ((uint64_t)size >> 33 != 0) {
            char digits[24];
            (void)snprintf(digits, sizeof digits, "%zu", size);
            put_pax(&pax, "size", digits);
        }
        st = mm1_buf_status(&pax) != MM1_OK ? mm1_error_set(err, mm1_buf_status(&pax), "%s: no memory", w->path)
                                            : write_header(w, "././@PaxHeader", 14, 'x', pax.len, err);
        st = st != MM1_OK ? st : write_data(w, mm1_buf_str(&pax), pax.len, err);
        mm1_buf_deinit(&pax);
    }
    st = st != MM1_OK ? st : write_header(w, name, name_len, '0', size, err);
    return st != MM1_OK ? st : write_data(w, data, size, err);
}

uint64_t mm1_tar_writer_size(const mm1_tar_writer *w)
{
    return mm1_file_writer_size(w->file);
}

mm1_status mm1_tar_writer_commit(mm1_tar_writer *w, mm1_error *err)
{
    const mm1_status st = mm1_file_writer_pad(w->file, 2 * BLOCK, err);
    return st != MM1_OK ? st : mm1_file_writer_commit(w->file, err);
}

void mm1_tar_writer_close(mm1_tar_writer *w)
{
    if (w != NULL) {
        mm1_file_writer_close(w->file);
        mm1_free(w->path);
        mm1_free(w);
    }
}

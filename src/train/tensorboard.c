/* tensorboard.c - see tensorboard.h; the few protobuf messages are put together by hand. */
#include "train/tensorboard.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENT_BYTES = 1 << 16 };

struct mm1_tensorboard {
    FILE *file;
    char *path;
    uint32_t crc_table[256];
    mm1_buf value, summary, event; /* scratch: nothing is allocated once they have grown */
    mm1_status status;
};

/* Table of CRC-32C (Castagnoli) for one byte at a time, reflected polynomial. */
static void fill_crc_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) {
            c = (c & 1) != 0 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        }
        table[i] = c;
    }
}

/* The masked form that record files hold: a CRC of data that contains CRCs would be weak. */
static uint32_t masked_crc(const mm1_tensorboard *tb, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        c = tb->crc_table[(c ^ p[i]) & 0xff] ^ c >> 8;
    }
    c ^= 0xffffffffu;
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* ---- protobuf: keys are field << 3 | wire type; 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes ---- */

static void put_varint(mm1_buf *b, uint64_t v)
{
    while (v >= 0x80) {
        mm1_buf_putc(b, (char)(v | 0x80));
        v >>= 7;
    }
    mm1_buf_putc(b, (char)v);
}

static void put_bytes(mm1_buf *b, unsigned field, const void *bytes, size_t len)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, len);
    mm1_buf_append(b, bytes, len);
}

/* Event.wall_time = 1 (double) and Event.step = 2 (int64, left out if 0 as protobuf does). */
static void begin_event(mm1_buf *b, double wall_time, int64_t step)
{
    uint64_t bits;
    memcpy(&bits, &wall_time, sizeof bits);
    mm1_buf_clear(b);
    mm1_buf_putc(b, 1 << 3 | 1);
    mm1_buf_put_le64(b, bits);
    if (step != 0) {
        mm1_buf_putc(b, 2 << 3 | 0);
        put_varint(b, (uint64_t)step);
    }
}

static double clock_or(double wall_time)
{
    struct timespec now;
    if (wall_time != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0) {
        return wall_time;
    }
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Writes tb->event as one record. */
static mm1_status write_event(mm1_tensorboard *tb, mm1_error *err)
{
    unsigned char head[12], tail[4];
    const size_t len = tb->event.len;
    if (tb->status == MM1_OK && mm1_buf_status(&tb->event) != MM1_OK) {
        return mm1_error_set(err, mm1_buf_status(&tb->event), "%s: an event is over %d bytes, or memory is short",
                             tb->path, MAX_EVENT_BYTES);
    }
    for (int i = 0; i < 8; i++) {
        head[i] = (unsigned char)((uint64_t)len >> (8 * i));
    }
    const uint32_t head_crc = masked_crc(tb, head, 8), tail_crc = masked_crc(tb, mm1_buf_str(&tb->event), len);
    for (int i = 0; i < 4; i++) {
        head[8 + i] = (unsigned char)(head_crc >> (8 * i));
        tail[i] = (unsigned char)(tail_crc >> (8 * i));
    }
    if (tb->status != MM1_OK || fwrite(head, 1, sizeof head, tb->file) != sizeof head ||
        fwrite(mm1_buf_str(&tb->event), 1, len, tb->file) != len ||
        fwrite(tail, 1, sizeof tail, tb->file) != sizeof tail) {
        tb->status = MM1_E_IO;
        return mm1_error_set(err, MM1_E_IO, "%s: cannot write: %s", tb->path, strerror(errno));
    }
    return MM1_OK;
}

/* Creates the file under the first free name. */
static mm1_status create_file(mm1_tensorboard *tb, const char *dir, double wall_time, const char *host, mm1_error *err)
{
    enum { MAX_TRIES = 1000 };
    char here[256] = "localhost";
    if (host == NULL) {
        if (gethostname(here, sizeof here) != 0 || here[0] == '\0') {
            (void)snprintf(here, sizeof here, "localhost");
        }
        here[sizeof here - 1] = '\0';
        host = here;
    }
    for (int i = 0; i < MAX_TRIES; i++) {
        mm1_buf path;
        char suffix[16] = "";
        mm1_buf_init(&path, 1 << 16);
        if (i > 0) {
            (void)snprintf(suffix, sizeof suffix, ".%d", i);
        }
        /* Ten digits, so that names sort as times do. */
        mm1_buf_printf(&path, "%s/events.out.tfevents.%010lld.%s%s", dir, (long long)wall_time, host, suffix);
        mm1_free(tb->path);
        tb->path = mm1_buf_take(&path);
        if (tb->path == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the path", dir);
        }
        tb->file = fopen(tb->path, "wbxe");
        if (tb->file != NULL) {
            return MM1_OK;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    return mm1_error_set(err, MM1_E_IO, "%s: cannot create: %s", tb->path, strerror(errno));
}

mm1_status mm1_tensorboard_open(mm1_tensorboard **out, const char *dir, int64_t first_step, double wall_time,
                                const char *host, mm1_error *err)
{
    static const char version[] = "brain.Event:2";
    static const char session_start[] = {1 << 3 | 0, 1}; /* SessionLog.status = 1, START */
    mm1_status st = MM1_OK;

    *out = NULL;
    mm1_tensorboard *tb = mm1_calloc(1, sizeof *tb);
    if (tb == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the event file", dir);
        goto out;
    }
    mm1_buf_init(&tb->value, MAX_EVENT_BYTES);
    mm1_buf_init(&tb->summary, MAX_EVENT_BYTES);
    mm1_buf_init(&tb->event, MAX_EVENT_BYTES);
    fill_crc_table(tb->crc_table);
    wall_time = clock_or(wall_time);
    st = create_file(tb, dir, wall_time, host, err);
    if (st != MM1_OK) {
        goto out;
    }
    begin_event(&tb->event, wall_time, 0);
    put_bytes(&tb->event, 3, version, sizeof version - 1); /* Event.file_version */
    st = write_event(tb, err);
    if (st == MM1_OK && first_step > 0) {
        begin_event(&tb->event, wall_time, first_step);
        put_bytes(&tb->event, 7, session_start, sizeof session_start); /* Event.session_log */
        st = write_event(tb, err);
    }
    st = st != MM1_OK ? st : mm1_tensorboard_flush(tb, err);
    if (st != MM1_OK) {
        goto out;
    }
    *out = tb;
    tb = NULL;
out:
    mm1_tensorboard_close(tb);
    return st;
}

mm1_status mm1_tensorboard_add_scalar(mm1_tensorboard *tb, const char *tag, int64_t step, double value,
                                      double wall_time, mm1_error *err)
{
    const float simple = (float)value;
    uint32_t bits;
    memcpy(&bits, &simple, sizeof bits);
    /* Summary.Value: tag = 1, simple_value = 2 (float); Summary.value = 1; Event.summary = 5. */
    mm1_buf_clear(&tb->value);
    put_bytes(&tb->value, 1, tag, strlen(tag));
    mm1_buf_putc(&tb->value, 2 << 3 | 5);
    mm1_buf_put_le32(&tb->value, bits);
    mm1_buf_clear(&tb->summary);
    put_bytes(&tb->summary, 1, mm1_buf_str(&tb->value), tb->value.len);
    begin_event(&tb->event, clock_or(wall_time), step);
    put_bytes(&tb->event, 5, mm1_buf_str(&tb->summary), tb->summary.len);
    if (mm1_buf_status(&tb->value) != MM1_OK || mm1_buf_status(&tb->summary) != MM1_OK) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: the tag '%.40s..' is too long, or memory is short", tb->path, tag);
    }
    return write_event(tb, err);
}

mm1_status mm1_tensorboard_flush(mm1_tensorboard *tb, mm1_error *err)
{
    if (tb->status != MM1_OK || fflush(tb->file) != 0) {
        tb->status = MM1_E_IO;
        return mm1_error_set(err, MM1_E_IO, "%s: cannot write: %s", tb->path, strerror(errno));
    }
    return MM1_OK;
}

const char *mm1_tensorboard_path(const mm1_tensorboard *tb)
{
    return tb->path;
}

void mm1_tensorboard_close(mm1_tensorboard *tb)
{
    if (tb != NULL) {
        if (tb->file != NULL) {
            (void)fclose(tb->file);
        }
        mm1_buf_deinit(&tb->value);
        mm1_buf_deinit(&tb->summary);
        mm1_buf_deinit(&tb->event);
        mm1_free(tb->path);
        mm1_free(tb);
    }
}

/* text_out.c - see text_out.h. */
#include "generate/text_out.h"

#include "text/utf8.h"
#include <string.h>

static const size_t MAX_TEXT_BYTES = (size_t)1 << 30;
static const char REPLACEMENT[] = "\xef\xbf\xbd";

mm1_status mm1_text_out_init(mm1_text_out *o, const char *const *stop, size_t n_stop, mm1_error *err)
{
    *o = (mm1_text_out){.stop = stop, .n_stop = n_stop};
    mm1_buf_init(&o->raw, MAX_TEXT_BYTES);
    mm1_buf_init(&o->text, MAX_TEXT_BYTES);
    for (size_t i = 0; i < n_stop; i++) {
        const size_t len = stop[i] != NULL ? strlen(stop[i]) : 0;
        if (len == 0 || mm1_utf8_valid(stop[i], len) != len) {
            return mm1_error_set(err, MM1_E_ARG, "stop string %zu is %s", i, len == 0 ? "empty" : "no valid UTF-8");
        }
        o->longest_stop = len > o->longest_stop ? len : o->longest_stop;
    }
    return MM1_OK;
}

void mm1_text_out_deinit(mm1_text_out *o)
{
    mm1_buf_deinit(&o->raw);
    mm1_buf_deinit(&o->text);
    *o = (mm1_text_out){0};
}

/* How many bytes at s, which begin no whole character, one U+FFFD stands for: the longest start of a character. */
static size_t bad_bytes(const char *s, size_t len)
{
    for (size_t n = len < MM1_UTF8_MAX_BYTES - 1 ? len : MM1_UTF8_MAX_BYTES - 1; n > 1; n--) {
        if (mm1_utf8_incomplete_tail(s, n) == n) {
            return n;
        }
    }
    return 1;
}

/* raw -> text, but for the last `keep` bytes. */
static void clean(mm1_text_out *o, size_t keep)
{
    const char *s = mm1_buf_str(&o->raw);
    const size_t end = o->raw.len - keep;
    char tail[MM1_UTF8_MAX_BYTES];
    for (size_t at = 0; at < end;) {
        const size_t good = mm1_utf8_valid(s + at, end - at);
        mm1_buf_append(&o->text, s + at, good);
        at += good;
        if (at < end) {
            mm1_buf_puts(&o->text, REPLACEMENT);
            at += bad_bytes(s + at, end - at);
        }
    }
    if (keep > 0) {
        memcpy(tail, s + end, keep);
    }
    mm1_buf_clear(&o->raw);
    mm1_buf_append(&o->raw, tail, keep);
}

static void find_stop(mm1_text_out *o)
{
    const char *text = mm1_buf_str(&o->text);
    size_t first = o->text.len;
    for (size_t i = 0; i < o->n_stop; i++) {
        const char *at = memmem(text + o->searched, o->text.len - o->searched, o->stop[i], strlen(o->stop[i]));
        if (at != NULL && (size_t)(at - text) < first) {
            first = (size_t)(at - text);
            o->is_stopped = true;
        }
    }
    if (o->is_stopped) {
        o->text.len = first;
        o->text.data[first] = '\0';
    } else if (o->longest_stop > 0 && o->text.len >= o->longest_stop) {
        o->searched = o->text.len - o->longest_stop + 1;
    }
}

/* Length of the longest end of the text that begins a stop string. */
static size_t held_back(const mm1_text_out *o)
{
    const char *text = mm1_buf_str(&o->text);
    size_t n = o->text.len - o->n_sent;
    n = n < o->longest_stop ? n : o->longest_stop;
    for (; n > 0; n--) {
        for (size_t i = 0; i < o->n_stop; i++) {
            if (n < strlen(o->stop[i]) && memcmp(text + o->text.len - n, o->stop[i], n) == 0) {
                return n;
            }
        }
    }
    return 0;
}

static mm1_status update(mm1_text_out *o, size_t keep, bool is_last, mm1_error *err)
{
    clean(o, keep);
    if (mm1_buf_status(&o->raw) != MM1_OK || mm1_buf_status(&o->text) != MM1_OK) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a generated text of %zu bytes", o->text.len);
    }
    find_stop(o);
    o->n_ready = o->text.len - (is_last || o->is_stopped ? 0 : held_back(o));
    return MM1_OK;
}

mm1_status mm1_text_out_add(mm1_text_out *o, const char *bytes, size_t len, mm1_error *err)
{
    if (o->is_stopped) {
        return MM1_OK;
    }
    if (o->strips && len > 0) {
        const bool is_blank = *bytes == ' ';
        o->strips = false;
        bytes += is_blank;
        len -= is_blank;
    }
    mm1_buf_append(&o->raw, bytes, len);
    return update(o, mm1_utf8_incomplete_tail(mm1_buf_str(&o->raw), o->raw.len), false, err);
}

mm1_status mm1_text_out_finish(mm1_text_out *o, mm1_error *err)
{
    return o->is_stopped ? MM1_OK : update(o, 0, true, err);
}

const char *mm1_text_out_take(mm1_text_out *o, size_t *len)
{
    const char *at = mm1_buf_str(&o->text) + o->n_sent;
    *len = o->n_ready - o->n_sent;
    o->n_sent = o->n_ready;
    return at;
}

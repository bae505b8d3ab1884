/* text_stream.c - see text_stream.h. */
#include "data/text_stream.h"

#include "base/alloc.h"
#include "data/reader.h"
#include <string.h>

enum { MAX_PASSES = 8 };

typedef struct stream_source {
    const mm1_data_source *config;
    mm1_reader *reader;
    double weight;
    int64_t next;  /* sample */
    int64_t bytes; /* given so far */
    int passes;    /* times read to the end */
} stream_source;

struct mm1_text_stream {
    stream_source *sources;
    size_t n;
    mm1_document document; /* at hand */
    size_t part;           /* next part of it */
    stream_source *from;   /* where it came from */
    int64_t bytes, max_bytes, n_bad;
    mm1_error err;
};

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The source that gives the same texts already; NULL if there is none. */
static stream_source *find_same(const mm1_text_stream *s, const mm1_data_source *c)
{
    for (size_t i = 0; i < s->n; i++) {
        const mm1_data_source *o = s->sources[i].config;
        if (same(o->path, c->path) && mm1_data_source_format(o) == mm1_data_source_format(c) &&
            same(o->text_field, c->text_field) && same(o->text_prefix, c->text_prefix) &&
            same(o->sampling_strategy, c->sampling_strategy)) {
            return &s->sources[i];
        }
    }
    return NULL;
}

mm1_status mm1_text_stream_open(const mm1_data_config *config, int64_t max_bytes, mm1_text_stream **out, mm1_error *err)
{
    *out = NULL;
    mm1_text_stream *s = mm1_calloc(1, sizeof *s);
    mm1_status st = MM1_OK;
    if (s == NULL || (s->sources = mm1_calloc(config->n_sources, sizeof *s->sources)) == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to read %zu sources", config->n_sources);
        goto out;
    }
    s->max_bytes = max_bytes;
    for (size_t i = 0; st == MM1_OK && i < config->n_sources; i++) {
        const mm1_data_source *c = &config->sources[i];
        stream_source *known = find_same(s, c);
        if (known != NULL) {
            known->weight += c->weight;
        } else if (c->weight > 0) {
            stream_source *to = &s->sources[s->n++];
            to->config = c;
            to->weight = c->weight;
            st = mm1_reader_open_source(c, config->chat, 0, &to->reader, err);
            to->passes = st == MM1_OK && mm1_reader_len(to->reader) == 0 ? MAX_PASSES : 0;
        }
    }
out:
    if (st != MM1_OK) {
        mm1_text_stream_close(s);
        s = NULL;
    }
    *out = s;
    return st;
}

void mm1_text_stream_close(mm1_text_stream *s)
{
    if (s != NULL) {
        for (size_t i = 0; i < s->n; i++) {
            mm1_reader_destroy(s->sources[i].reader);
        }
        mm1_document_deinit(&s->document);
        mm1_free(s->sources);
        mm1_free(s);
    }
}

/* The source that is furthest behind its share; NULL when all have been read and none may be read again. */
static stream_source *whose_turn(mm1_text_stream *s)
{
    stream_source *best = NULL;
    bool all_read = true;
    for (size_t i = 0; i < s->n; i++) {
        stream_source *c = &s->sources[i];
        all_read = all_read && c->passes > 0;
        if (c->passes < MAX_PASSES &&
            (best == NULL || (double)c->bytes / c->weight < (double)best->bytes / best->weight)) {
            best = c;
        }
    }
    return all_read ? NULL : best;
}

static bool next_document(mm1_text_stream *s)
{
    for (;;) {
        stream_source *c = s->bytes < s->max_bytes ? whose_turn(s) : NULL;
        if (c == NULL) {
            return false;
        }
        const int64_t i = c->next++;
        if (c->next == mm1_reader_len(c->reader)) {
            c->next = 0;
            c->passes++;
        }
        mm1_document_deinit(&s->document);
        s->part = 0;
        s->from = c;
        const mm1_status st = mm1_reader_get(c->reader, i, &s->document, &s->err);
        if (st == MM1_OK) {
            return true;
        }
        if (!mm1_reader_is_bad_sample(st)) {
            return false;
        }
        s->n_bad++;
        s->err = (mm1_error){0};
    }
}

bool mm1_text_stream_next(void *ctx, const char **text, size_t *len)
{
    mm1_text_stream *s = ctx;
    for (;;) {
        while (s->part < s->document.n_parts) {
            const mm1_part *p = &s->document.parts[s->part++];
            if (p->kind == MM1_PART_TEXT && p->len > 0) {
                *text = p->bytes;
                *len = p->len;
                s->bytes += (int64_t)p->len;
                s->from->bytes += (int64_t)p->len;
                return true;
            }
        }
        if (!next_document(s)) {
            return false;
        }
    }
}

mm1_status mm1_text_stream_status(const mm1_text_stream *s, mm1_error *err)
{
    if (s->err.status != MM1_OK && err != NULL) {
        *err = s->err;
    }
    return s->err.status;
}

int64_t mm1_text_stream_bytes(const mm1_text_stream *s)
{
    return s->bytes;
}

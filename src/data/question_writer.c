/* question_writer.c - conversations into shards, and what there is of each kind of question.
 *
 *   <key>.json     {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ".."}]},
 *                                {"role": "assistant", "content": ".."}, ..],
 *                   "images": ["<key>.0.png", ..],
 *                   "qa": {"kind": "flags.choice", "answer": "France", "choices": [..]},      of the last answer
 *                   "concept", "source", "licence", "note", "origins": [{"path", "sha256", "source", "licence"}, ..]}
 *   <key>.0.png    the pictures, in the order of the image parts; <key>.1.jpg ...
 *
 * Pictures are drawn in parallel, a chunk at a time, and written in an order shuffled by the seed. */
#include "data/build_internal.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "base/thread.h"
#include "data/picture.h"
#include "data/shard_writer.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 256, MAX_LINE_BYTES = 1 << 20, SHUFFLE_STREAM = 6, MAX_KINDS = 64 };

/* A picture as it is written. */
typedef struct encoded {
    const uint8_t *bytes;
    uint8_t *owned; /* what bytes points to, if it was drawn */
    size_t len;
    uint64_t pixels;
    bool jpeg;
} encoded;

typedef struct write_job {
    mm1_questions *q;
    mm1_conversation *items[CHUNK];
    size_t index[CHUNK]; /* in the plan */
    encoded pictures[CHUNK][MM1_MAX_QA_PICTURES];
    mm1_status status[CHUNK];
    mm1_error errors[CHUNK];
    mm1_count_map train_pixels;
    mm1_buf json, manifest_line, key;
    FILE *manifest;
} write_job;

static mm1_status encode(const mm1_questions *q, const mm1_qa_picture *p, encoded *out, mm1_error *err)
{
    if (p->stored != MM1_PICTURE_NONE) {
        const mm1_picture *stored = &q->corpus->pictures[p->stored];
        *out = (encoded){q->spill->data + stored->spill_offset, NULL, stored->spill_len, stored->pixels, stored->jpeg};
        return MM1_OK;
    }
    mm1_image image = {0};
    bool one_colour = false;
    *out = (encoded){.jpeg = p->jpeg};
    mm1_status st = p->draw(p->draw_ctx, p->draw_id, &image, err);
    if (st == MM1_OK) {
        st = mm1_picture_pixel_hash(&image, &out->pixels, &one_colour, err);
    }
    if (st == MM1_OK) {
        st = p->jpeg ? mm1_image_encode_jpeg(&image, (int)q->config->jpeg_quality, &out->owned, &out->len, err)
                     : mm1_image_encode_png(&image, &out->owned, &out->len, err);
    }
    out->bytes = out->owned;
    mm1_image_deinit(&image);
    return st;
}

static void encode_range(void *ctx, int64_t begin, int64_t end)
{
    write_job *job = ctx;
    for (int64_t i = begin; i < end; i++) {
        const mm1_conversation *c = job->items[i];
        job->status[i] = MM1_OK;
        for (size_t k = 0; job->status[i] == MM1_OK && k < c->n_pictures; k++) {
            job->status[i] = encode(job->q, &c->pictures[k], &job->pictures[i][k], &job->errors[i]);
        }
    }
}

static void put_messages(mm1_buf *json, const mm1_conversation *c)
{
    mm1_buf_puts(json, "{\"messages\":[");
    for (size_t i = 0; i < c->n_turns; i++) {
        mm1_buf_puts(json, i > 0 ? ",{\"role\":\"user\",\"content\":" : "{\"role\":\"user\",\"content\":");
        if (i == 0 && c->n_pictures > 0) {
            mm1_buf_putc(json, '[');
            for (size_t k = 0; k < c->n_pictures; k++) {
                mm1_buf_puts(json, "{\"type\":\"image\"},");
            }
            mm1_buf_puts(json, "{\"type\":\"text\",\"text\":");
            mm1_buf_put_json(json, c->turns[i].question);
            mm1_buf_puts(json, "}]");
        } else {
            mm1_buf_put_json(json, c->turns[i].question);
        }
        mm1_buf_puts(json, "},{\"role\":\"assistant\",\"content\":");
        mm1_buf_put_json(json, c->turns[i].answer);
        mm1_buf_putc(json, '}');
    }
    mm1_buf_putc(json, ']');
}

/* The names of the members that the image parts stand for. */
static void put_images(write_job *job, size_t i)
{
    const mm1_conversation *c = job->items[i];
    for (size_t k = 0; k < c->n_pictures; k++) {
        mm1_buf_printf(&job->json, "%s\"%s.%zu.%s\"%s", k == 0 ? ",\"images\":[" : ",", mm1_buf_str(&job->key), k,
                       job->pictures[i][k].jpeg ? "jpg" : "png", k + 1 == c->n_pictures ? "]" : "");
    }
}

static void put_qa(mm1_buf *json, const mm1_turn *turn)
{
    mm1_buf_puts(json, ",\"qa\":{");
    mm1_buf_printf(json, "\"kind\":\"%s\",\"answer\":", turn->kind);
    mm1_buf_put_json(json, turn->answer);
    for (size_t i = 0; i < turn->n_choices; i++) {
        mm1_buf_puts(json, i == 0 ? ",\"choices\":[" : ",");
        mm1_buf_put_json(json, turn->choices[i]);
    }
    mm1_buf_puts(json, turn->n_choices > 0 ? "]}" : "}");
}

/* Concept, source and origins, at the end of an object. */
static void put_origins(mm1_buf *json, const mm1_conversation *c)
{
    mm1__build_put_field(json, "concept", c->concept);
    mm1__build_put_field(json, "source", c->kind->name);
    if (c->kind->note != NULL) {
        mm1__build_put_field(json, "note", c->kind->note);
    }
    mm1_buf_puts(json, ",\"origins\":[");
    for (size_t i = 0; i < c->n_origins; i++) {
        const mm1_origin *o = &c->origins[i];
        mm1_buf_puts(json, i > 0 ? ",{\"path\":" : "{\"path\":");
        mm1_buf_put_json(json, o->path);
        mm1__build_put_field(json, "sha256", o->sha256);
        mm1__build_put_field(json, "source", o->source);
        mm1__build_put_field(json, "licence", o->licence);
        mm1_buf_putc(json, '}');
    }
    mm1_buf_putc(json, ']');
}

static mm1_status write_one(write_job *job, mm1_shard_writer *w, size_t i, mm1_error *err)
{
    const mm1_conversation *c = job->items[i];
    size_t bytes = 4096;
    char extension[16];

    mm1_buf_clear(&job->key);
    mm1_buf_printf(&job->key, "%s-%06zu", c->kind->name, job->index[i]);
    mm1_buf_clear(&job->json);
    put_messages(&job->json, c);
    put_images(job, i);
    put_qa(&job->json, &c->turns[c->n_turns - 1]);
    put_origins(&job->json, c);
    mm1_buf_putc(&job->json, '}');
    mm1_buf_clear(&job->manifest_line);
    mm1_buf_putc(&job->manifest_line, '{');
    mm1__build_put_field(&job->manifest_line, "kind", "conversation");
    mm1__build_put_field(&job->manifest_line, "key", mm1_buf_str(&job->key));
    mm1__build_put_field(&job->manifest_line, "split", c->heldout ? "heldout" : "train");
    put_origins(&job->manifest_line, c);
    mm1_buf_puts(&job->manifest_line, "}\n");
    if (mm1_buf_status(&job->json) != MM1_OK || mm1_buf_status(&job->manifest_line) != MM1_OK) {
        return mm1_error_set(err, MM1_E_LIMIT, "data build: conversation '%s' is too large to write",
                             mm1_buf_str(&job->key));
    }
    for (size_t k = 0; k < c->n_pictures; k++) {
        bytes += job->pictures[i][k].len + 1024;
    }
    mm1_status st = mm1_shard_writer_begin(w, bytes + job->json.len, err);
    if (st == MM1_OK) {
        st = mm1_shard_writer_member(w, mm1_buf_str(&job->key), "json", mm1_buf_str(&job->json), job->json.len, err);
    }
    for (size_t k = 0; st == MM1_OK && k < c->n_pictures; k++) {
        const encoded *p = &job->pictures[i][k];
        (void)snprintf(extension, sizeof extension, "%zu.%s", k, p->jpeg ? "jpg" : "png");
        st = mm1_shard_writer_member(w, mm1_buf_str(&job->key), extension, p->bytes, p->len, err);
    }
    if (st == MM1_OK &&
        fwrite(mm1_buf_str(&job->manifest_line), 1, job->manifest_line.len, job->manifest) != job->manifest_line.len) {
        st = mm1_error_set(err, MM1_E_IO, "data build: cannot write the manifest: %s", strerror(errno));
    }
    return st;
}

/* Train: remembers the pixels.  Held-out: *leaks if one of its pictures has been remembered. */
static mm1_status compare_pixels(write_job *job, size_t i, bool *leaks, mm1_error *err)
{
    const mm1_conversation *c = job->items[i];
    *leaks = false;
    for (size_t k = 0; k < c->n_pictures; k++) {
        const uint64_t pixels = job->pictures[i][k].pixels;
        if (c->heldout) {
            *leaks = *leaks || mm1_count_map_get(&job->train_pixels, pixels) > 0;
        } else if (mm1_count_map_add(&job->train_pixels, pixels) == UINT32_MAX) {
            return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory to compare pictures");
        }
    }
    return MM1_OK;
}

static mm1_status write_chunk(write_job *job, mm1_shard_writer *w, size_t n, mm1_error *err)
{
    mm1_status st = MM1_OK;
    memset(job->pictures, 0, sizeof job->pictures);
    mm1_parallel_each((int64_t)n, encode_range, job);
    for (size_t i = 0; i < n; i++) {
        bool leaks = false;
        if (st == MM1_OK && job->status[i] != MM1_OK) {
            st = mm1_error_set(err, job->status[i], "data build: %s", job->errors[i].message);
        }
        if (st == MM1_OK) {
            st = compare_pixels(job, i, &leaks, err);
        }
        if (st == MM1_OK && leaks) {
            job->items[i]->n_turns = 0;
        } else if (st == MM1_OK) {
            st = write_one(job, w, i, err);
        }
        for (size_t k = 0; k < MM1_MAX_QA_PICTURES; k++) {
            mm1_free(job->pictures[i][k].owned);
        }
    }
    return st;
}

static mm1_status write_split(write_job *job, const char *dir, bool heldout, mm1_error *err)
{
    mm1_questions *q = job->q;
    mm1_shard_writer *w = NULL;
    size_t n = 0;
    char *split = mm1_path_join(dir, heldout ? "heldout" : "train");
    mm1_status st = split != NULL ? mm1_dir_make(split, err) : mm1_questions_no_memory(err);
    if (st == MM1_OK) {
        st = mm1_shard_writer_open(split, "messages", MM1_SHARD_TAR, q->config->shard_bytes, &w, err);
    }
    for (size_t i = 0; st == MM1_OK && i < q->n; i++) {
        const size_t item =
            (size_t)mm1_rng_permute((uint64_t)q->config->seed, MM1_RNG_DATA, SHUFFLE_STREAM + heldout, q->n, i);
        if (q->items[item].heldout == heldout) {
            job->items[n] = &q->items[item];
            job->index[n++] = item;
        }
        if (n == CHUNK) {
            st = write_chunk(job, w, n, err);
            n = 0;
        }
    }
    if (st == MM1_OK && n > 0) {
        st = write_chunk(job, w, n, err);
    }
    if (st == MM1_OK) {
        st = mm1_shard_writer_close(w, err);
    }
    mm1_shard_writer_destroy(w);
    mm1_free(split);
    return st;
}

mm1_status mm1__build_write_questions(mm1_questions *q, const char *dir, mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *path = mm1_path_join(dir, "manifest.jsonl");
    write_job *job = mm1_calloc(1, sizeof *job);
    if (path == NULL || job == NULL) {
        mm1_free(path);
        mm1_free(job);
        return mm1_questions_no_memory(err);
    }
    job->q = q;
    mm1_buf_init(&job->json, MAX_LINE_BYTES);
    mm1_buf_init(&job->manifest_line, MAX_LINE_BYTES);
    mm1_buf_init(&job->key, 200);
    job->manifest = fopen(path, "wb");
    if (job->manifest == NULL) {
        st = mm1_error_set(err, MM1_E_IO, "'%s': cannot write: %s", path, strerror(errno));
    }
    for (int heldout = 0; st == MM1_OK && heldout < 2; heldout++) {
        st = write_split(job, dir, heldout == 1, err);
    }
    if (job->manifest != NULL && fclose(job->manifest) != 0 && st == MM1_OK) {
        st = mm1_error_set(err, MM1_E_IO, "'%s': cannot write: %s", path, strerror(errno));
    }
    mm1_count_map_deinit(&job->train_pixels);
    mm1_buf_deinit(&job->json);
    mm1_buf_deinit(&job->manifest_line);
    mm1_buf_deinit(&job->key);
    mm1_free(job);
    mm1_free(path);
    return st;
}

/* One kind of question in the summary. */
typedef struct kind_count {
    const char *kind;
    int64_t n[2], most[2]; /* train, heldout: questions; those with the most frequent answer */
    const char *frequent[2];
} kind_count;

typedef struct summary {
    kind_count kinds[MAX_KINDS];
    size_t n_kinds;
    int64_t conversations[2], pictures[2], questions[2];
    mm1_count_map answers; /* (kind, answer, split) -> how many */
} summary;

static kind_count *find_kind(summary *s, const char *kind)
{
    for (size_t i = 0; i < s->n_kinds; i++) {
        if (strcmp(s->kinds[i].kind, kind) == 0) {
            return &s->kinds[i];
        }
    }
    if (s->n_kinds < MAX_KINDS) {
        s->kinds[s->n_kinds++] = (kind_count){.kind = kind};
    }
    return &s->kinds[s->n_kinds - 1];
}

/* False if memory is short. */
static bool count(summary *s, const mm1_questions *q)
{
    for (size_t i = 0; i < q->n; i++) {
        const mm1_conversation *c = &q->items[i];
        if (c->n_turns == 0) {
            continue;
        }
        s->conversations[c->heldout]++;
        s->pictures[c->heldout] += (int64_t)c->n_pictures;
        s->questions[c->heldout] += (int64_t)c->n_turns;
        for (size_t t = 0; t < c->n_turns; t++) {
            kind_count *k = find_kind(s, c->turns[t].kind);
            const char *answer = c->turns[t].answer;
            const uint64_t what[3] = {mm1_hash64(k->kind, strlen(k->kind), 0), mm1_hash64(answer, strlen(answer), 0),
                                      c->heldout};
            const uint32_t before = mm1_count_map_add(&s->answers, mm1_hash64(what, sizeof what, 0));
            if (before == UINT32_MAX) {
                return false;
            }
            k->n[c->heldout]++;
            if ((int64_t)before + 1 > k->most[c->heldout]) {
                k->most[c->heldout] = (int64_t)before + 1;
                k->frequent[c->heldout] = answer;
            }
        }
    }
    return true;
}

static void put_json(const summary *s, mm1_buf *out)
{
    static const char *const splits[] = {"train", "heldout"};
    mm1_buf_puts(out, "\"questions\":{");
    for (int split = 0; split < 2; split++) {
        mm1_buf_printf(out, "\n\"%s\":{\"conversations\":%lld,\"questions\":%lld,\"pictures\":%lld},", splits[split],
                       (long long)s->conversations[split], (long long)s->questions[split],
                       (long long)s->pictures[split]);
    }
    mm1_buf_puts(out, "\n\"kinds\":[");
    for (size_t i = 0; i < s->n_kinds; i++) {
        const kind_count *k = &s->kinds[i];
        mm1_buf_printf(out, "%s\n{\"kind\":\"%s\"", i > 0 ? "," : "", k->kind);
        for (int split = 0; split < 2; split++) {
            mm1_buf_printf(out, ",\"%s\":{\"questions\":%lld,\"most_frequent\":%lld,\"answer\":", splits[split],
                           (long long)k->n[split], (long long)k->most[split]);
            mm1_buf_put_json(out, k->frequent[split] != NULL ? k->frequent[split] : "");
            mm1_buf_putc(out, '}');
        }
        mm1_buf_putc(out, '}');
    }
    mm1_buf_puts(out, "\n]},\n");
}

static void put_table(const summary *s, mm1_buf *out)
{
    mm1_buf_printf(out, "%-24s %9s %9s %9s %9s  %s\n", "kind of question", "train", "majority", "held out", "majority",
                   "(answer)");
    for (size_t i = 0; i < s->n_kinds; i++) {
        const kind_count *k = &s->kinds[i];
        mm1_buf_printf(out, "%-24s", k->kind);
        for (int split = 0; split < 2; split++) {
            mm1_buf_printf(out, " %9lld %7.1f %%", (long long)k->n[split],
                           k->n[split] > 0 ? 100.0 * (double)k->most[split] / (double)k->n[split] : 0.0);
        }
        mm1_buf_printf(out, "  (%s)\n", k->frequent[1] != NULL ? k->frequent[1] : "");
    }
    mm1_buf_printf(out, "%-24s %9lld %9s %9lld\n%-24s %9lld %9s %9lld\n\n", "questions", (long long)s->questions[0], "",
                   (long long)s->questions[1], "conversations", (long long)s->conversations[0], "",
                   (long long)s->conversations[1]);
}

mm1_status mm1__question_summary(const mm1_questions *q, mm1_buf *json, mm1_buf *table, mm1_error *err)
{
    summary s = {0};
    const bool ok = count(&s, q);
    if (ok) {
        put_json(&s, json);
        put_table(&s, table);
    }
    mm1_count_map_deinit(&s.answers);
    return ok ? MM1_OK : mm1_questions_no_memory(err);
}

/* build_write.c - shards and manifest from what was selected.
 *
 * Items are written in an order shuffled by the seed, so that a reader that takes them one after the other sees all
 * sources mixed. */
#include "data/build_internal.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "data/prose.h"
#include "data/shard_writer.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LINE_BYTES = 64 << 20 };

typedef struct write_job {
    const mm1_corpus *corpus;
    const mm1_build_config *config;
    const mm1_source *sources;
    const mm1_map *spill;
    FILE *manifest;
    const char *manifest_path;
    const char *dir;
    mm1_build_row *rows;
    mm1_buf json, text, key, extension, caption;
} write_job;

static mm1_status check_bufs(const write_job *job, mm1_error *err)
{
    const mm1_buf *bufs[] = {&job->json, &job->text, &job->key, &job->extension, &job->caption};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        if (mm1_buf_status(bufs[i]) != MM1_OK) {
            return mm1_error_set(err, mm1_buf_status(bufs[i]), "data build: item '%s' is too large to write",
                                 mm1_buf_str(&job->key));
        }
    }
    return MM1_OK;
}

/* One line of the manifest, whose JSON object has been begun in job->text. */
static mm1_status put_manifest(write_job *job, mm1_error *err)
{
    mm1_buf_puts(&job->text, "}\n");
    const mm1_status st = check_bufs(job, err);
    if (st == MM1_OK && fwrite(mm1_buf_str(&job->text), 1, job->text.len, job->manifest) != job->text.len) {
        return mm1_error_set(err, MM1_E_IO, "'%s': cannot write: %s", job->manifest_path, strerror(errno));
    }
    return st;
}

void mm1__build_put_field(mm1_buf *json, const char *name, const char *value)
{
    mm1_buf_printf(json, "%s\"%s\":", json->len > 1 ? "," : "", name);
    mm1_buf_put_json(json, value);
}

static void put_origin(mm1_buf *json, const mm1_source *s, const char *concept, const char *path, const char *sha256)
{
    mm1__build_put_field(json, "concept", concept);
    mm1__build_put_field(json, "source", s->name);
    mm1__build_put_field(json, "licence", s->licence);
    mm1__build_put_field(json, "path", path);
    mm1__build_put_field(json, "sha256", sha256);
}

static mm1_build_counts *counts_of(write_job *job, int32_t source, bool heldout)
{
    return heldout ? &job->rows[source].heldout : &job->rows[source].train;
}

/* "<source>-000012", made of what a key may hold. */
static void make_key(write_job *job, const mm1_source *s, size_t i)
{
    mm1_buf_clear(&job->key);
    for (const char *p = s->name; *p != '\0'; p++) {
        const bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        mm1_buf_putc(&job->key, ok ? *p : '_');
    }
    mm1_buf_printf(&job->key, "-%06zu", i);
}

static mm1_status write_caption(write_job *job, mm1_shard_writer *w, size_t i, mm1_error *err)
{
    const mm1_caption *c = &job->corpus->captions[i];
    const mm1_picture *p = &job->corpus->pictures[c->picture];
    const mm1_source *s = &job->sources[c->source];
    const char *prefix = s->entry->caption_prefix != NULL ? s->entry->caption_prefix : "";
    mm1_build_counts *counts = counts_of(job, c->source, c->heldout);

    make_key(job, s, i);
    mm1_buf_clear(&job->caption);
    mm1_buf_puts(&job->caption, prefix);
    mm1_buf_puts(&job->caption, c->text);
    const char *text = mm1_buf_str(&job->caption);
    const size_t n_text = job->caption.len;
    mm1_buf_clear(&job->json);
    mm1_buf_putc(&job->json, '{');
    put_origin(&job->json, s, c->concept, p->path, p->sha256);
    if (c->keywords != NULL) {
        mm1__build_put_field(&job->json, "keywords", c->keywords);
    }
    mm1_buf_putc(&job->json, '}');
    mm1_status st = check_bufs(job, err);
    if (st == MM1_OK) {
        st = mm1_shard_writer_begin(w, p->spill_len + n_text + job->json.len + (size_t)3 * 1024, err);
    }
    if (st == MM1_OK) {
        st = mm1_shard_writer_member(w, mm1_buf_str(&job->key), p->jpeg ? "jpg" : "png",
                                     job->spill->data + p->spill_offset, p->spill_len, err);
    }
    if (st == MM1_OK) {
        st = mm1_shard_writer_member(w, mm1_buf_str(&job->key), "txt", text, n_text, err);
    }
    if (st == MM1_OK) {
        st = mm1_shard_writer_member(w, mm1_buf_str(&job->key), "json", mm1_buf_str(&job->json), job->json.len, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    counts->captions++;
    counts->caption_words += (int64_t)mm1_prose_words(text, n_text);
    mm1_buf_clear(&job->text);
    mm1_buf_putc(&job->text, '{');
    mm1__build_put_field(&job->text, "kind", "caption");
    mm1__build_put_field(&job->text, "key", mm1_buf_str(&job->key));
    mm1__build_put_field(&job->text, "split", c->heldout ? "heldout" : "train");
    put_origin(&job->text, s, c->concept, p->path, p->sha256);
    return put_manifest(job, err);
}

static bool is_picture(const mm1_page_part *part)
{
    return part->text == NULL && part->picture != MM1_PICTURE_NONE;
}

/* Appends the text from part k on up to the next picture, joined as they say; returns the part after. */
static size_t join_text(const mm1_page *page, size_t k, mm1_buf *out)
{
    const size_t begin = out->len;
    for (; k < page->n_parts && !is_picture(&page->parts[k]); k++) {
        if (page->parts[k].text != NULL) {
            if (out->len > begin) {
                static const char *const joints[] = {"\n\n", "\n", " "};
                mm1_buf_puts(out, joints[page->parts[k].joint]);
            }
            mm1_buf_puts(out, page->parts[k].text);
        }
    }
    return k;
}

static mm1_status write_document(write_job *job, mm1_shard_writer *w, size_t i, mm1_error *err)
{
    const mm1_page *page = &job->corpus->pages[i];
    const mm1_source *s = &job->sources[page->source];
    mm1_build_counts *counts = counts_of(job, page->source, page->heldout);
    mm1_buf images;
    mm1_status st = MM1_OK;
    size_t bytes = 4096, n_words = 0, n_images = 0, n_items = 0;

    mm1_buf_init(&images, MAX_LINE_BYTES);
    make_key(job, s, i);
    mm1_buf_clear(&job->json);
    mm1_buf_puts(&job->json, "{\"texts\":[");
    for (size_t k = 0; k < page->n_parts;) {
        mm1_buf_clear(&job->text);
        k = join_text(page, k, &job->text);
        if (job->text.len > 0) {
            mm1_buf_puts(&job->json, n_items > 0 ? "," : "");
            mm1_buf_put_json(&job->json, mm1_buf_str(&job->text));
            mm1_buf_puts(&images, n_items > 0 ? ",null" : "null");
            n_words += mm1_prose_words(mm1_buf_str(&job->text), job->text.len);
            n_items++;
        }
        if (k < page->n_parts) {
            const mm1_picture *p = &job->corpus->pictures[page->parts[k++].picture];
            mm1_buf_puts(&job->json, n_items > 0 ? ",null" : "null");
            mm1_buf_printf(&images, "%s\"%s.%zu.%s\"", n_items > 0 ? "," : "", mm1_buf_str(&job->key), n_images++,
                           p->jpeg ? "jpg" : "png");
            bytes += p->spill_len + (size_t)1024;
            n_items++;
        }
    }
    mm1_buf_printf(&job->json, "],\"images\":[%s],", mm1_buf_str(&images));
    mm1_buf_clear(&job->text);
    mm1_buf_putc(&job->text, '{');
    put_origin(&job->text, s, page->concept, page->path, page->sha256);
    mm1_buf_printf(&job->json, "%s}", mm1_buf_str(&job->text) + 1);
    st = mm1_buf_status(&images) == MM1_OK
             ? check_bufs(job, err)
             : mm1_error_set(err, MM1_E_LIMIT, "data build: page '%s' is too large", page->path);
    if (st == MM1_OK) {
        st = mm1_shard_writer_begin(w, bytes + job->json.len, err);
    }
    if (st == MM1_OK) {
        st = mm1_shard_writer_member(w, mm1_buf_str(&job->key), "json", mm1_buf_str(&job->json), job->json.len, err);
    }
    mm1_buf_clear(&images);
    n_images = 0;
    for (size_t k = 0; st == MM1_OK && k < page->n_parts; k++) {
        if (!is_picture(&page->parts[k])) {
            continue;
        }
        const mm1_picture *p = &job->corpus->pictures[page->parts[k].picture];
        mm1_buf_printf(&images, "%s{\"path\":", n_images > 0 ? "," : "");
        mm1_buf_put_json(&images, p->path);
        mm1_buf_printf(&images, ",\"sha256\":\"%s\"}", p->sha256);
        mm1_buf_clear(&job->extension);
        mm1_buf_printf(&job->extension, "%zu.%s", n_images++, p->jpeg ? "jpg" : "png");
        st = mm1_shard_writer_member(w, mm1_buf_str(&job->key), mm1_buf_str(&job->extension),
                                     job->spill->data + p->spill_offset, p->spill_len, err);
    }
    if (st == MM1_OK) {
        counts->documents++;
        counts->images += (int64_t)n_images;
        counts->document_words += (int64_t)n_words;
        mm1_buf_clear(&job->text);
        mm1_buf_putc(&job->text, '{');
        mm1__build_put_field(&job->text, "kind", "document");
        mm1__build_put_field(&job->text, "key", mm1_buf_str(&job->key));
        mm1__build_put_field(&job->text, "split", page->heldout ? "heldout" : "train");
        put_origin(&job->text, s, page->concept, page->path, page->sha256);
        mm1_buf_printf(&job->text, ",\"images\":[%s]", mm1_buf_str(&images));
        st = put_manifest(job, err);
    }
    mm1_buf_deinit(&images);
    return st;
}

static mm1_status write_text(write_job *job, mm1_shard_writer *w, size_t i, mm1_error *err)
{
    const mm1_page *page = &job->corpus->pages[i];
    const mm1_source *s = &job->sources[page->source];
    mm1_build_counts *counts = counts_of(job, page->source, page->heldout);

    make_key(job, s, i);
    mm1_buf_clear(&job->text);
    (void)join_text(page, 0, &job->text);
    counts->texts++;
    counts->text_bytes += (int64_t)job->text.len;
    counts->text_words += (int64_t)mm1_prose_words(mm1_buf_str(&job->text), job->text.len);
    mm1_buf_clear(&job->json);
    mm1_buf_putc(&job->json, '{');
    mm1__build_put_field(&job->json, "text", mm1_buf_str(&job->text));
    mm1__build_put_field(&job->json, "source", s->name);
    mm1__build_put_field(&job->json, "path", page->path);
    mm1_buf_putc(&job->json, '}');
    mm1_status st = check_bufs(job, err);
    if (st == MM1_OK) {
        st = mm1_shard_writer_begin(w, job->json.len + 1, err);
    }
    if (st == MM1_OK) {
        st = mm1_shard_writer_line(w, mm1_buf_str(&job->json), job->json.len, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    mm1_buf_clear(&job->text);
    mm1_buf_putc(&job->text, '{');
    mm1__build_put_field(&job->text, "kind", "text");
    mm1__build_put_field(&job->text, "key", mm1_buf_str(&job->key));
    mm1__build_put_field(&job->text, "split", page->heldout ? "heldout" : "train");
    put_origin(&job->text, s, page->concept, page->path, page->sha256);
    return put_manifest(job, err);
}

typedef mm1_status write_fn(write_job *job, mm1_shard_writer *w, size_t i, mm1_error *err);

/* Which items a group of shards takes. */
typedef struct shard_group {
    const char *name;
    mm1_shard_format format;
    write_fn *write;
    uint64_t stream; /* of the shuffle */
} shard_group;

enum { GROUP_CAPTIONS, GROUP_DOCUMENTS, GROUP_TEXT, N_GROUPS };

static const shard_group groups[N_GROUPS] = {
    {"captions", MM1_SHARD_TAR, write_caption, 0},
    {"documents", MM1_SHARD_TAR, write_document, 1},
    {"text", MM1_SHARD_JSONL_ZST, write_text, 2},
};

static bool belongs(const mm1_corpus *corpus, int group, size_t i, bool heldout)
{
    if (group == GROUP_CAPTIONS) {
        return corpus->captions[i].drop == MM1_DROP_NONE && corpus->captions[i].heldout == heldout;
    }
    const mm1_page *page = &corpus->pages[i];
    return page->drop == MM1_DROP_NONE && page->heldout == heldout && page->n_parts > 0 &&
           (mm1__page_pictures(page) > 0) == (group == GROUP_DOCUMENTS);
}

static mm1_status write_group(write_job *job, int group, bool heldout, mm1_error *err)
{
    const shard_group *g = &groups[group];
    const size_t n = group == GROUP_CAPTIONS ? job->corpus->n_captions : job->corpus->n_pages;
    mm1_shard_writer *w = NULL;
    mm1_status st = mm1_shard_writer_open(job->dir, g->name, g->format, job->config->shard_bytes, &w, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const size_t item =
            (size_t)mm1_rng_permute((uint64_t)job->config->seed, MM1_RNG_DATA, g->stream * 2 + heldout, n, i);
        if (belongs(job->corpus, group, item, heldout)) {
            st = g->write(job, w, item, err);
        }
    }
    if (st == MM1_OK) {
        st = mm1_shard_writer_close(w, err);
    }
    mm1_shard_writer_destroy(w);
    return st;
}

mm1_status mm1__build_write(const mm1_corpus *corpus, const mm1_build_config *config, const mm1_source *sources,
                            const char *dir, const char *spill_path, mm1_build_row *rows, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_map spill = {0};
    char *manifest_path = mm1_path_join(dir, "manifest.jsonl");
    write_job job = {.corpus = corpus, .config = config, .sources = sources, .spill = &spill, .rows = rows};
    mm1_buf_init(&job.json, MAX_LINE_BYTES);
    mm1_buf_init(&job.text, MAX_LINE_BYTES);
    mm1_buf_init(&job.key, 200);
    mm1_buf_init(&job.extension, 64);
    mm1_buf_init(&job.caption, MAX_LINE_BYTES);
    if (manifest_path == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "data build: no memory");
        goto out;
    }
    job.manifest_path = manifest_path;
    st = mm1_map_open(&spill, spill_path, err);
    if (st != MM1_OK) {
        goto out;
    }
    job.manifest = fopen(manifest_path, "wb");
    if (job.manifest == NULL) {
        st = mm1_error_set(err, MM1_E_IO, "'%s': cannot write: %s", manifest_path, strerror(errno));
        goto out;
    }
    for (int heldout = 0; st == MM1_OK && heldout < 2; heldout++) {
        char *split = mm1_path_join(dir, heldout ? "heldout" : "train");
        st = split != NULL ? mm1_dir_make(split, err) : mm1_error_set(err, MM1_E_NOMEM, "data build: no memory");
        job.dir = split;
        for (int group = 0; st == MM1_OK && group < N_GROUPS; group++) {
            st = write_group(&job, group, heldout == 1, err);
        }
        mm1_free(split);
    }
out:
    if (job.manifest != NULL && fclose(job.manifest) != 0 && st == MM1_OK) {
        st = mm1_error_set(err, MM1_E_IO, "'%s': cannot write: %s", manifest_path, strerror(errno));
    }
    mm1_map_close(&spill);
    mm1_buf_deinit(&job.json);
    mm1_buf_deinit(&job.caption);
    mm1_buf_deinit(&job.text);
    mm1_buf_deinit(&job.key);
    mm1_buf_deinit(&job.extension);
    mm1_free(manifest_path);
    return st;
}

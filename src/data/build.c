/* build.c - see build.h. */
#include "data/build.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "data/build_internal.h"
#include "data/packages.h"
#include "data/picture.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUILDER_VERSION = 1, MAX_TEXT_BYTES = 64 << 20 };

static const mm1_field source_fields[] = {
    MM1_FIELD(mm1_build_source, kind, STR, .is_required = true,
              .help = "a source kind; `mm1 data build --list-sources`"),
    MM1_FIELD(mm1_build_source, name, STR, .help = "in shards and manifest; by default the kind"),
    MM1_FIELD(mm1_build_source, path, STR,
              .help = "folder or file, relative to root; by default where the package puts it"),
    MM1_FIELD(mm1_build_source, licence, STR, .help = "written to the manifest; by default that of the package"),
    MM1_FIELD(mm1_build_source, include, STR, .help = "pattern of file paths below `path` (* also matches /)"),
    MM1_FIELD(mm1_build_source, exclude, STR, .help = "the same for what is left out"),
    MM1_FIELD(mm1_build_source, caption_prefix, STR,
              .help = "written before every caption: what kind of picture it is, as in \"clip art: \""),
    MM1_FIELD(mm1_build_source, max_items, I64, .help = "captions, pages or files read at most; 0 is all"),
    {0},
};

static const mm1_field question_fields[] = {
    MM1_FIELD(mm1_build_questions, kind, STR, .is_required = true,
              .help = "a kind of question; `mm1 data build --list-sources`"),
    MM1_FIELD(mm1_build_questions, train, I64, .def.i = 1000, .max.i = 100000000,
              .help = "conversations for training at most"),
    MM1_FIELD(mm1_build_questions, heldout, I64, .def.i = 100, .max.i = 100000000,
              .help = "held-out conversations at most; each has one question"),
    MM1_FIELD(mm1_build_questions, px, I64, .max.i = 4096, .special = "auto", .special_value.i = 0, .min.i = 64,
              .unit = "px", .help = "side of the pictures that the kind draws; auto is the kind's own"),
    {0},
};

const mm1_field mm1__build_fields[] = {
    MM1_FIELD(mm1_build_config, out, STR, .help = "folder that is made"),
    MM1_FIELD(mm1_build_config, root, STR,
              .help = "where packages are unpacked; by default what scripts/demo-data.sh has made, else / (installed)"),
    MM1_FIELD(mm1_build_config, package_lists, STR, .def.s = "/var/lib/apt/lists",
              .help = "apt's package lists: descriptions of games"),
    MM1_FIELD(mm1_build_config, max_px, I64, .def.i = 256, .min.i = 16, .max.i = 8192, .unit = "px",
              .help = "longer pictures are scaled down to this long side"),
    MM1_FIELD(mm1_build_config, min_px, I64, .def.i = 64, .min.i = 1, .max.i = 8192, .unit = "px",
              .help = "figures of pages with a shorter side below this are dropped (MM1: 100)"),
    MM1_FIELD(mm1_build_config, max_aspect, F64, .def.f = 4, .min.f = 1, .max.f = 100,
              .help = "pictures longer or taller than this are dropped (MM1: 2)"),
    MM1_FIELD(mm1_build_config, max_pixels, I64, .def.i = 25000000, .min.i = 1, .max.i = 1000000000, .unit = "px",
              .help = "pictures with more pixels are not decoded"),
    MM1_FIELD(mm1_build_config, jpeg_quality, I64, .def.i = 92, .min.i = 1, .max.i = 100,
              .help = "of stored photographs; all else is PNG"),
    MM1_FIELD(mm1_build_config, max_words, I64, .def.i = 350, .min.i = 16, .max.i = 1000000, .unit = "words",
              .help = "of one document or text; longer pages are cut at headings, then between paragraphs"),
    MM1_FIELD(mm1_build_config, max_images, I64, .def.i = 30, .min.i = 1, .max.i = 4096,
              .help = "documents with more figures are dropped"),
    MM1_FIELD(mm1_build_config, max_repeats, I64, .def.i = 10, .min.i = 1, .max.i = 1000000000,
              .help = "figures and paragraphs that stand on more pages of a source are dropped"),
    MM1_FIELD(mm1_build_config, max_same_caption, I64, .def.i = 30, .min.i = 1, .max.i = 1000000000,
              .help = "of the captions that are the same, so many stay"),
    MM1_FIELD(mm1_build_config, heldout_one_in, I64, .def.i = 20, .min.i = 0, .max.i = 1000000,
              .help = "one concept in so many is held out; 0 is none"),
    MM1_FIELD(mm1_build_config, against, STR,
              .help = "folder of an earlier build: what has a caption or the pixels of its held-out half is not "
                      "trained on here"),
    MM1_FIELD(mm1_build_config, shard_bytes, I64, .def.i = 64 << 20, .min.i = 1, .max.i = (int64_t)1 << 40,
              .unit = "bytes", .help = "a new shard starts after so many"),
    MM1_FIELD(mm1_build_config, seed, I64, .help = "of the order in which items are written"),
    MM1_FIELD_LIST_OF(mm1_build_config, sources, n_sources, mm1_build_source, source_fields),
    MM1_FIELD_LIST_OF(mm1_build_config, questions, n_questions, mm1_build_questions, question_fields,
                      .help = "if there are any, conversations about the pictures are written instead"),
    {0},
};

mm1_build_config mm1_build_config_default(void)
{
    /* The numbers of the table, without its strings: those a caller in C sets itself. */
    mm1_build_config c = {0};
    for (const mm1_field *f = mm1__build_fields; f->key != NULL; f++) {
        if (f->type == MM1_FIELD_I64) {
            memcpy((char *)&c + f->offset, &f->def.i, sizeof f->def.i);
        } else if (f->type == MM1_FIELD_F64) {
            memcpy((char *)&c + f->offset, &f->def.f, sizeof f->def.f);
        }
    }
    return c;
}

static bool is_set(const char *s)
{
    return s != NULL && s[0] != '\0';
}

/* Same hash: same shards, if the packages are the same. */
static mm1_status recipe_hash(const mm1_build_config *config, char hex[MM1_SHA256_HEX_BYTES], mm1_error *err)
{
    mm1_build_config copy = *config;
    mm1_field fields[sizeof mm1__build_fields / sizeof mm1__build_fields[0]];
    mm1_buf text;
    size_t n = 0;
    mm1_buf_init(&text, MAX_TEXT_BYTES);
    copy.out = NULL; /* may be moved */
    for (const mm1_field *f = mm1__build_fields; f->key != NULL; f++) {
        /* Folders from before there were these keys stay what they are. */
        if ((config->n_questions > 0 || strcmp(f->key, "questions") != 0) &&
            (is_set(config->against) || strcmp(f->key, "against") != 0)) {
            fields[n++] = *f;
        }
    }
    fields[n] = (mm1_field){0};
    mm1_buf_printf(&text, "builder %d\n", BUILDER_VERSION);
    mm1_fields_dump_yaml(fields, &copy, &text);
    mm1_sha256_hex(hex, mm1_buf_str(&text), text.len);
    const mm1_status st = mm1_buf_status(&text);
    mm1_buf_deinit(&text);
    return st == MM1_OK ? st : mm1_error_set(err, st, "data build: the recipe is too long");
}

/* *done: `out` holds this very build. */
static mm1_status look_at_out(const mm1_build_config *config, const char *hash, bool *done, mm1_error *err)
{
    *done = false;
    if (!mm1_path_exists(config->out)) {
        return MM1_OK;
    }
    char *path = mm1_path_join(config->out, "summary.json"), *text = NULL;
    if (path == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory");
    }
    mm1_status st = MM1_OK;
    if (!mm1_path_exists(path)) {
        st = mm1_error_set(err, MM1_E_STATE,
                           "data build: '%s' exists and is not a data folder (it has no summary.json); remove it or "
                           "choose another `out`",
                           config->out);
    } else {
        st = mm1_file_read(path, MAX_TEXT_BYTES, &text, NULL, err);
    }
    if (st == MM1_OK) {
        json_t *root = json_loads(text, 0, NULL);
        const char *old = json_string_value(json_object_get(root, "recipe_sha256"));
        *done = old != NULL && strcmp(old, hash) == 0;
        json_decref(root);
        if (!*done) {
            st = mm1_error_set(err, MM1_E_STATE,
                               "data build: '%s' was made by another recipe; remove it to build it again, or choose "
                               "another `out`",
                               config->out);
        }
    }
    mm1_free(text);
    mm1_free(path);
    return st;
}

/* Where packages are: what the recipe says, else the cache that scripts/demo-data.sh fills, else the system. */
static char *find_root(const mm1_build_config *config)
{
    return is_set(config->root) ? mm1_strdup(config->root) : mm1_packages_root();
}

static mm1_status resolve_sources(const mm1_build_config *config, mm1_corpus *corpus, mm1_source *sources,
                                  mm1_build_row *rows, mm1_error *err)
{
    for (size_t i = 0; i < config->n_sources; i++) {
        const mm1_build_source *entry = &config->sources[i];
        mm1_source *s = &sources[i];
        s->kind = is_set(entry->kind) ? mm1_source_kind_find(entry->kind) : NULL;
        if (s->kind == NULL) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "sources.%zu.kind: '%s' is no source kind; see `mm1 data build --list-sources`", i,
                                 is_set(entry->kind) ? entry->kind : "");
        }
        const char *below = is_set(entry->path) ? entry->path : s->kind->path;
        if (below == NULL) {
            return mm1_error_set(err, MM1_E_CONFIG, "sources.%zu.path: kind '%s' needs a path", i, entry->kind);
        }
        char *path = mm1_path_join(config->root, below);
        s->path = path != NULL ? mm1_corpus_strndup(corpus, path, strlen(path)) : NULL;
        mm1_free(path);
        if (s->path == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory");
        }
        s->config = config;
        s->entry = entry;
        s->name = is_set(entry->name) ? entry->name : s->kind->name;
        s->licence = is_set(entry->licence) ? entry->licence : s->kind->licence;
        s->index = (int32_t)i;
        s->corpus = corpus;
        rows[i].source = s;
    }
    return MM1_OK;
}

static mm1_status read_sources(mm1_source *sources, size_t n, mm1_error *err)
{
    size_t n_missing = 0;
    for (size_t i = 0; i < n; i++) {
        mm1_source *s = &sources[i];
        if (!mm1_path_exists(s->path)) {
            s->missing = true;
            n_missing++;
            mm1_log(MM1_LOG_WARN, "data build: source '%s': '%s' is not there%s%s", s->name, s->path,
                    s->kind->package != NULL ? "; it comes with the Debian packages " : "",
                    s->kind->package != NULL ? s->kind->package : "");
            continue;
        }
        const double started = mm1_time_now();
        const size_t n_captions = s->corpus->n_captions, n_pages = s->corpus->n_pages;
        const mm1_status st = s->kind->read(s, err);
        if (st != MM1_OK) {
            return mm1_error_wrap(err, st, "source '%s'", s->name);
        }
        mm1_log(MM1_LOG_INFO, "read %s: %zu captions, %zu pieces of pages (%.1f s)", s->name,
                s->corpus->n_captions - n_captions, s->corpus->n_pages - n_pages, mm1_time_now() - started);
    }
    if (n > 0 && n_missing == n) {
        return mm1_error_set(err, MM1_E_IO,
                             "data build: none of the %zu sources is there; install their packages, or run "
                             "scripts/demo-data.sh and set `root` to its folder",
                             n);
    }
    return MM1_OK;
}

/* Distinct pictures, by pixels, in what train holds. */
static int64_t count_train_images(const mm1_corpus *corpus)
{
    mm1_count_map seen = {0};
    for (size_t i = 0; i < corpus->n_captions; i++) {
        const mm1_caption *c = &corpus->captions[i];
        if (!c->heldout && c->drop == MM1_DROP_NONE) {
            (void)mm1_count_map_add(&seen, corpus->pictures[c->picture].pixels);
        }
    }
    for (size_t i = 0; i < corpus->n_pages; i++) {
        const mm1_page *page = &corpus->pages[i];
        for (size_t k = 0; !page->heldout && page->drop == MM1_DROP_NONE && k < page->n_parts; k++) {
            if (page->parts[k].text == NULL && page->parts[k].picture != MM1_PICTURE_NONE) {
                (void)mm1_count_map_add(&seen, corpus->pictures[page->parts[k].picture].pixels);
            }
        }
    }
    const int64_t n = (int64_t)seen.n;
    mm1_count_map_deinit(&seen);
    return n;
}

/* Conversations instead of captions and documents; what was written is said in json and table.  rows get the captions
 * that there were to ask about. */
static mm1_status write_questions(mm1_corpus *corpus, const mm1_build_config *config, const mm1_source *sources,
                                  mm1_build_row *rows, const char *tmp, const char *spill_path, mm1_buf *json,
                                  mm1_buf *table, mm1_error *err)
{
    mm1_map spill = {0};
    for (size_t i = 0; i < corpus->n_captions; i++) {
        const mm1_caption *c = &corpus->captions[i];
        mm1_build_row *row = &rows[c->source];
        (c->heldout ? &row->heldout : &row->train)->captions += c->drop == MM1_DROP_NONE;
    }
    mm1_questions questions = {.corpus = corpus, .config = config, .sources = sources, .spill = &spill};
    mm1_status st = mm1_map_open(&spill, spill_path, err);
    if (st == MM1_OK) {
        st = mm1_questions_plan(&questions, err);
    }
    if (st == MM1_OK) {
        st = mm1__build_write_questions(&questions, tmp, err);
    }
    if (st == MM1_OK) {
        st = mm1__question_summary(&questions, json, table, err);
    }
    mm1_questions_deinit(&questions);
    mm1_map_close(&spill);
    return st;
}

static mm1_status write_all(mm1_corpus *corpus, const mm1_build_config *config, const mm1_source *sources,
                            mm1_build_row *rows, const char *tmp, const char *hash, double started,
                            mm1_build_summary *summary, mm1_error *err)
{
    mm1_buf json, questions, table;
    mm1_build_heldout other = {0};
    char *spill = mm1_path_join(tmp, "pictures.spill"), *path = mm1_path_join(tmp, "summary.json");
    mm1_status st = MM1_OK;
    mm1_buf_init(&json, MAX_TEXT_BYTES);
    mm1_buf_init(&questions, MAX_TEXT_BYTES);
    mm1_buf_init(&table, MAX_TEXT_BYTES);
    if (spill == NULL || path == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "data build: no memory");
        goto out;
    }
    /* First: what is missing there is said before hours of decoding. */
    if (is_set(config->against)) {
        st = mm1__build_read_heldout(config->against, &other, err);
        if (st != MM1_OK) {
            goto out;
        }
    }
    const double t0 = mm1_time_now();
    st = mm1_pictures_load(corpus, config, spill, err);
    if (st != MM1_OK) {
        goto out;
    }
    const double t1 = mm1_time_now();
    mm1_log(MM1_LOG_INFO, "decoded %zu pictures (%.1f s)", corpus->n_pictures, t1 - t0);
    st = mm1__build_select(corpus, config, &other, err);
    if (st == MM1_OK && config->n_questions > 0) {
        st = write_questions(corpus, config, sources, rows, tmp, spill, &questions, &table, err);
    } else if (st == MM1_OK) {
        st = mm1__build_write(corpus, config, sources, tmp, spill, rows, err);
    }
    if (st == MM1_OK) {
        st = mm1_path_remove(spill, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    mm1_log(MM1_LOG_INFO, "selected and wrote (%.1f s)", mm1_time_now() - t1);
    for (size_t i = 0; i < config->n_sources; i++) {
        mm1__build_counts_add(&summary->train, &rows[i].train);
        mm1__build_counts_add(&summary->heldout, &rows[i].heldout);
    }
    summary->train_images = count_train_images(corpus);
    summary->seconds = mm1_time_now() - started;
    mm1__build_summary_json(corpus, config, rows, summary, hash, mm1_buf_str(&questions), &json);
    mm1__build_summary_table(corpus, rows, summary, &table);
    st = mm1_buf_status(&json);
    st = st != MM1_OK ? st : mm1_buf_status(&questions);
    st = st != MM1_OK ? st : mm1_buf_status(&table);
    if (st != MM1_OK) {
        st = mm1_error_set(err, st, "data build: the summary is too long");
        goto out;
    }
    st = mm1_file_write_atomic(path, mm1_buf_str(&json), json.len, err);
    summary->table = mm1_buf_take(&table);
out:
    mm1__build_heldout_deinit(&other);
    mm1_buf_deinit(&json);
    mm1_buf_deinit(&questions);
    mm1_buf_deinit(&table);
    mm1_free(spill);
    mm1_free(path);
    return st;
}

mm1_status mm1_data_build(const mm1_build_config *recipe, mm1_build_summary *summary, mm1_error *err)
{
    mm1_build_config copy = *recipe;
    const mm1_build_config *config = &copy;
    const double started = mm1_time_now();
    char hash[MM1_SHA256_HEX_BYTES], *tmp = NULL, *root = NULL;
    mm1_corpus corpus = {0};
    mm1_source *sources = NULL;
    mm1_build_row *rows = NULL;
    mm1_buf name;
    mm1_status st = MM1_OK;

    *summary = (mm1_build_summary){0};
    mm1_buf_init(&name, 4096);
    st = mm1_fields_check(mm1__build_fields, config, err);
    if (st == MM1_OK && !is_set(config->out)) {
        st = mm1_error_set(err, MM1_E_CONFIG, "data build: `out` is not set: which folder shall be made?");
    }
    /* Not in the table: a recipe may train on data built elsewhere. */
    if (st == MM1_OK && config->n_sources == 0 && config->n_questions == 0) {
        st = mm1_error_set(err, MM1_E_CONFIG, "build: has neither sources nor questions; there is nothing to make");
    }
    if (st == MM1_OK) {
        st = mm1_questions_check(config, err);
    }
    if (st == MM1_OK) {
        st = recipe_hash(config, hash, err);
    }
    if (st == MM1_OK) {
        st = look_at_out(config, hash, &summary->skipped, err);
    }
    if (st != MM1_OK || summary->skipped) {
        goto out;
    }
    mm1_buf_printf(&name, "%s.tmp", config->out);
    tmp = mm1_buf_take(&name);
    copy.root = root = find_root(recipe);
    sources = mm1_calloc(config->n_sources, sizeof *sources);
    rows = mm1_calloc(config->n_sources, sizeof *rows);
    if (tmp == NULL || root == NULL || sources == NULL || rows == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "data build: no memory");
        goto out;
    }
    st = mm1_corpus_init(&corpus, (int32_t)config->n_sources, err);
    if (st == MM1_OK) {
        st = resolve_sources(config, &corpus, sources, rows, err);
    }
    if (st == MM1_OK) {
        st = read_sources(sources, config->n_sources, err);
    }
    if (st == MM1_OK) {
        st = mm1_path_remove(tmp, err);
    }
    if (st == MM1_OK) {
        st = mm1_dir_make(tmp, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    st = write_all(&corpus, config, sources, rows, tmp, hash, started, summary, err);
    if (st == MM1_OK && rename(tmp, config->out) != 0) {
        st = mm1_error_set(err, MM1_E_IO, "data build: cannot rename '%s' to '%s': %s", tmp, config->out,
                           strerror(errno));
    }
    if (st != MM1_OK) {
        mm1_build_summary_deinit(summary);
        if (mm1_path_remove(tmp, NULL) != MM1_OK) {
            mm1_log(MM1_LOG_WARN, "data build: '%s' could not be removed", tmp);
        }
    }
out:
    mm1_corpus_deinit(&corpus);
    mm1_buf_deinit(&name);
    mm1_free(root);
    mm1_free(sources);
    mm1_free(rows);
    mm1_free(tmp);
    return st;
}

void mm1_build_summary_deinit(mm1_build_summary *summary)
{
    mm1_free(summary->table);
    *summary = (mm1_build_summary){0};
}

/* build_select.c - what stays, and on which side: the split by concept, duplicates, leaks, boilerplate.
 *
 *   1. figures of pages: those that cannot be used, that occur too often in the source, that repeat on one page
 *   2. paragraphs that stand on many pages of a source (headings excepted), headings with nothing below them
 *   3. a piece left without a figure becomes text; neighbouring texts of one page are merged up to max_words
 *   4. captions and documents of train, without what another build holds out; then held-out ones, without what has
 *      pixels or a caption of train
 *   5. keywords of training captions, without those that are a held-out caption
 *   6. texts, without paragraphs that stand in a document or an earlier text */
#include "data/build_internal.h"

#include "base/alloc.h"
#include "data/prose.h"
#include <string.h>

enum { MIN_DOCUMENT_WORDS = 8, MIN_TEXT_WORDS = 20, MIN_PARAGRAPH_WORDS = 8 };

typedef struct select_job {
    mm1_corpus *corpus;
    const mm1_build_config *config;
    mm1_count_map train_pixels, heldout_pixels, caption_pixels; /* of what has been kept */
    mm1_count_map train_captions, heldout_captions;
    mm1_count_map paragraphs; /* kept ones of MIN_PARAGRAPH_WORDS or more */
    mm1_count_map documents;
    const mm1_build_heldout *other;
} select_job;

bool mm1__build_is_heldout(const char *concept, int64_t one_in)
{
    char hex[MM1_SHA256_HEX_BYTES];
    int64_t rest = 0;
    if (one_in <= 0) {
        return false;
    }
    mm1_sha256_hex(hex, concept, strlen(concept));
    for (const char *p = hex; *p != '\0'; p++) {
        rest = (rest * 16 + (*p <= '9' ? *p - '0' : *p - 'a' + 10)) % one_in;
    }
    return rest == 0;
}

size_t mm1__page_pictures(const mm1_page *page)
{
    size_t n = 0;
    for (size_t i = 0; i < page->n_parts; i++) {
        n += page->parts[i].text == NULL && page->parts[i].picture != MM1_PICTURE_NONE;
    }
    return n;
}

static bool is_picture(const mm1_page_part *part)
{
    return part->text == NULL && part->picture != MM1_PICTURE_NONE;
}

static void remove_part(mm1_page_part *part)
{
    *part = (mm1_page_part){.picture = MM1_PICTURE_NONE};
}

static size_t page_words(const mm1_page *page)
{
    size_t n = 0;
    for (size_t i = 0; i < page->n_parts; i++) {
        const char *text = page->parts[i].text;
        n += text != NULL ? mm1_prose_words(text, strlen(text)) : 0;
    }
    return n;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    const uint64_t pair[2] = {a, b};
    return mm1_hash64(pair, sizeof pair, 0);
}

static bool same_file(const mm1_page *a, const mm1_page *b)
{
    return a->source == b->source && strcmp(a->path, b->path) == 0;
}

/* Steps 1 and 2 count in how many files something stands, not how often. */
static mm1_status count_parts(mm1_corpus *corpus, mm1_count_map *frequency, mm1_error *err)
{
    mm1_count_map here = {0}; /* (file, thing) */
    bool ok = true;
    for (size_t i = 0; ok && i < corpus->n_pages; i++) {
        const mm1_page *page = &corpus->pages[i];
        const uint64_t file = mix(mm1__build_text_hash(page->path), (uint64_t)page->source);
        for (size_t k = 0; ok && k < page->n_parts; k++) {
            const mm1_page_part *part = &page->parts[k];
            if (!is_picture(part) && part->text == NULL) {
                continue;
            }
            const uint64_t thing =
                is_picture(part) ? corpus->pictures[part->picture].pixels : mm1__build_text_hash(part->text);
            const uint32_t before = mm1_count_map_add(&here, mix(file, thing));
            ok = before != UINT32_MAX;
            if (before == 0) {
                ok = mm1_count_map_add(frequency, mix((uint64_t)page->source, thing)) != UINT32_MAX;
            }
        }
    }
    mm1_count_map_deinit(&here);
    return ok ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "data build: no memory to count repeats");
}

static mm1_status clean_pages(mm1_corpus *corpus, const mm1_build_config *config, mm1_error *err)
{
    mm1_count_map frequency = {0}, on_page = {0};
    /* Unusable figures go first: they have no pixels to count. */
    for (size_t i = 0; i < corpus->n_pages; i++) {
        for (size_t k = 0; k < corpus->pages[i].n_parts; k++) {
            mm1_page_part *part = &corpus->pages[i].parts[k];
            if (is_picture(part) && corpus->pictures[part->picture].drop != MM1_DROP_NONE) {
                remove_part(part);
            }
        }
    }
    mm1_status st = count_parts(corpus, &frequency, err);
    for (size_t i = 0; st == MM1_OK && i < corpus->n_pages; i++) {
        mm1_page *page = &corpus->pages[i];
        for (size_t k = 0; k < page->n_parts; k++) {
            mm1_page_part *part = &page->parts[k];
            mm1_drop drop = MM1_DROP_NONE;
            if (is_picture(part)) {
                const uint64_t pixels = corpus->pictures[part->picture].pixels;
                const uint32_t again = mm1_count_map_add(&on_page, mix(mm1__build_text_hash(page->path), pixels));
                if (again == UINT32_MAX) {
                    st = mm1_error_set(err, MM1_E_NOMEM, "data build: no memory to count repeats");
                }
                if (mm1_count_map_get(&frequency, mix((uint64_t)page->source, pixels)) > config->max_repeats) {
                    drop = MM1_DROP_PICTURE_FREQUENT;
                } else if (again > 0) {
                    drop = MM1_DROP_PICTURE_AGAIN;
                }
            } else if (part->text != NULL && part->level == 0 &&
                       mm1_count_map_get(&frequency, mix((uint64_t)page->source, mm1__build_text_hash(part->text))) >
                           config->max_repeats) {
                drop = MM1_DROP_PARAGRAPH_FREQUENT;
            }
            if (drop != MM1_DROP_NONE) {
                mm1_corpus_drop(corpus, page->source, drop, 1);
                remove_part(part);
            }
        }
    }
    mm1_count_map_deinit(&frequency);
    mm1_count_map_deinit(&on_page);
    return st;
}

/* Headings that have nothing below them before the next heading of their own level or a higher one. */
static void remove_bare_headings(mm1_page *page)
{
    bool has_body[8] = {false}; /* by level: something to read before the next heading that ends this level */
    for (size_t k = page->n_parts; k-- > 0;) {
        mm1_page_part *part = &page->parts[k];
        if (part->text != NULL && part->level > 0) {
            const int level = part->level < 7 ? part->level : 7;
            if (!has_body[level]) {
                remove_part(part);
            }
            for (int i = level; i < 8; i++) {
                has_body[i] = false;
            }
        } else if (part->text != NULL || is_picture(part)) {
            for (int i = 0; i < 8; i++) {
                has_body[i] = true;
            }
        }
    }
}

/* Appends the parts of `more` to `page`, which stands in front of it in the same file. */
static mm1_status append_parts(mm1_corpus *corpus, mm1_page *page, const mm1_page *more, mm1_error *err)
{
    mm1_page_part *parts = mm1_corpus_alloc(corpus, page->n_parts + more->n_parts, sizeof *parts);
    if (parts == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for a text");
    }
    if (page->n_parts != 0) {
        memcpy(parts, page->parts, page->n_parts * sizeof *parts);
    }
    if (more->n_parts != 0) {
        memcpy(parts + page->n_parts, more->parts, more->n_parts * sizeof *parts);
    }
    page->parts = parts;
    page->n_parts += more->n_parts;
    return MM1_OK;
}

static mm1_status merge_texts(mm1_corpus *corpus, const mm1_build_config *config, mm1_error *err)
{
    mm1_page *open = NULL; /* the text that may still grow */
    size_t open_words = 0;
    for (size_t i = 0; i < corpus->n_pages; i++) {
        mm1_page *page = &corpus->pages[i];
        if (mm1__page_pictures(page) > 0) {
            continue; /* a document between two texts does not keep them apart */
        }
        const size_t words = page_words(page);
        if (open != NULL && same_file(open, page) && open_words + words <= (size_t)config->max_words) {
            const mm1_status st = append_parts(corpus, open, page, err);
            if (st != MM1_OK) {
                return st;
            }
            page->n_parts = 0;
            open_words += words;
        } else {
            open = page;
            open_words = words;
        }
    }
    return MM1_OK;
}

static mm1_status out_of_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory to compare items");
}

static mm1_status select_caption(select_job *job, mm1_caption *c, mm1_error *err)
{
    const mm1_picture *p = &job->corpus->pictures[c->picture];
    const uint64_t key = mm1__build_text_hash(c->key);
    if (p->drop != MM1_DROP_NONE) {
        c->drop = p->drop; /* counted with the pictures */
        return MM1_OK;
    }
    if (!c->heldout &&
        (mm1_count_map_get(&job->other->captions, key) > 0 || mm1_count_map_get(&job->other->pixels, p->pixels) > 0)) {
        c->drop = MM1_DROP_HELDOUT_ELSEWHERE;
    } else if (mm1_count_map_get(&job->caption_pixels, p->pixels) > 0) {
        c->drop = MM1_DROP_SAME_PIXELS;
    } else if (c->heldout && mm1_count_map_get(&job->train_pixels, p->pixels) > 0) {
        c->drop = MM1_DROP_HELDOUT_PIXELS;
    } else if (c->heldout && mm1_count_map_get(&job->train_captions, key) > 0) {
        c->drop = MM1_DROP_HELDOUT_CAPTION;
    } else {
        mm1_count_map *captions = c->heldout ? &job->heldout_captions : &job->train_captions;
        const uint32_t before = mm1_count_map_add(captions, key);
        if (before == UINT32_MAX) {
            return out_of_memory(err);
        }
        if (before >= job->config->max_same_caption) {
            c->drop = MM1_DROP_CAPTION_REPEATED;
        } else if (mm1_count_map_add(&job->caption_pixels, p->pixels) == UINT32_MAX ||
                   mm1_count_map_add(c->heldout ? &job->heldout_pixels : &job->train_pixels, p->pixels) == UINT32_MAX) {
            return out_of_memory(err);
        }
    }
    if (c->drop != MM1_DROP_NONE) {
        mm1_corpus_drop(job->corpus, c->source, c->drop, 1);
    }
    return MM1_OK;
}

/* Leaves out the keywords of a training caption that are captions of held-out pictures: those are for the test alone.
 */
static mm1_status drop_heldout_keywords(select_job *job, mm1_caption *c, mm1_error *err)
{
    static const char between[] = " | ";
    mm1_buf kept, key;
    mm1_buf_init(&kept, SIZE_MAX / 2);
    mm1_buf_init(&key, SIZE_MAX / 2);
    for (const char *p = c->keywords, *end = NULL; *p != '\0'; p = end + (*end != '\0' ? strlen(between) : 0)) {
        end = strstr(p, between);
        end = end != NULL ? end : p + strlen(p);
        mm1_buf_clear(&key);
        mm1_prose_key(&key, p, (size_t)(end - p));
        const uint64_t word = mm1__build_text_hash(mm1_buf_str(&key));
        if (mm1_count_map_get(&job->heldout_captions, word) == 0 &&
            mm1_count_map_get(&job->other->captions, word) == 0) {
            mm1_buf_printf(&kept, "%s%.*s", kept.len > 0 ? between : "", (int)(end - p), p);
        }
    }
    bool ok = mm1_buf_status(&kept) == MM1_OK && mm1_buf_status(&key) == MM1_OK;
    if (ok && kept.len < strlen(c->keywords)) {
        c->keywords = kept.len > 0 ? mm1_corpus_strndup(job->corpus, mm1_buf_str(&kept), kept.len) : NULL;
        ok = kept.len == 0 || c->keywords != NULL;
    }
    mm1_buf_deinit(&kept);
    mm1_buf_deinit(&key);
    return ok ? MM1_OK : out_of_memory(err);
}

/* Drops the paragraphs of a page that have been kept elsewhere, and remembers those that stay. */
static mm1_status drop_known_paragraphs(select_job *job, mm1_page *page, bool drop, mm1_error *err)
{
    for (size_t k = 0; k < page->n_parts; k++) {
        mm1_page_part *part = &page->parts[k];
        if (part->text == NULL || part->level > 0 ||
            mm1_prose_words(part->text, strlen(part->text)) < MIN_PARAGRAPH_WORDS) {
            continue;
        }
        const uint32_t before = mm1_count_map_add(&job->paragraphs, mm1__build_text_hash(part->text));
        if (before == UINT32_MAX) {
            return out_of_memory(err);
        }
        if (before > 0 && drop) {
            mm1_corpus_drop(job->corpus, page->source, MM1_DROP_PARAGRAPH_AGAIN, 1);
            remove_part(part);
        }
    }
    remove_bare_headings(page);
    return MM1_OK;
}

static mm1_status select_document(select_job *job, mm1_page *page, mm1_error *err)
{
    const mm1_corpus *corpus = job->corpus;
    const size_t n_pictures = mm1__page_pictures(page);
    mm1_status st = drop_known_paragraphs(job, page, page->heldout, err);
    if (st != MM1_OK) {
        return st;
    }
    uint64_t hash = 0;
    for (size_t k = 0; k < page->n_parts; k++) {
        const mm1_page_part *part = &page->parts[k];
        if (part->text != NULL || is_picture(part)) {
            hash = mix(hash,
                       part->text != NULL ? mm1__build_text_hash(part->text) : corpus->pictures[part->picture].pixels);
        }
        const uint64_t pixels = is_picture(part) ? corpus->pictures[part->picture].pixels : 0;
        if (page->heldout && mm1_count_map_get(&job->train_pixels, pixels) > 0) {
            page->drop = MM1_DROP_HELDOUT_PIXELS;
        } else if (!page->heldout && mm1_count_map_get(&job->other->pixels, pixels) > 0) {
            page->drop = MM1_DROP_HELDOUT_ELSEWHERE;
        }
    }
    if (page_words(page) < MIN_DOCUMENT_WORDS) {
        page->drop = MM1_DROP_DOCUMENT_NO_TEXT;
    } else if (n_pictures > (size_t)job->config->max_images) {
        page->drop = MM1_DROP_DOCUMENT_MANY_PICTURES;
    } else if (page->drop == MM1_DROP_NONE) {
        const uint32_t before = mm1_count_map_add(&job->documents, hash);
        if (before == UINT32_MAX) {
            return out_of_memory(err);
        }
        if (before > 0) {
            page->drop = MM1_DROP_DOCUMENT_AGAIN;
        }
    }
    if (page->drop != MM1_DROP_NONE) {
        mm1_corpus_drop(job->corpus, page->source, page->drop, 1);
        return MM1_OK;
    }
    for (size_t k = 0; k < page->n_parts; k++) {
        const mm1_page_part *part = &page->parts[k];
        if (is_picture(part) && mm1_count_map_add(page->heldout ? &job->heldout_pixels : &job->train_pixels,
                                                  corpus->pictures[part->picture].pixels) == UINT32_MAX) {
            return out_of_memory(err);
        }
    }
    return MM1_OK;
}

static mm1_status select_text(select_job *job, mm1_page *page, mm1_error *err)
{
    const mm1_status st = drop_known_paragraphs(job, page, true, err);
    size_t n_letters = 0, n_bytes = 0;
    if (st != MM1_OK) {
        return st;
    }
    for (size_t k = 0; k < page->n_parts; k++) {
        for (const char *p = page->parts[k].text; p != NULL && *p != '\0'; p++) {
            n_letters += (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p & 0x80) != 0 || *p == ' ';
            n_bytes++;
        }
    }
    if (page_words(page) < MIN_TEXT_WORDS) {
        page->drop = MM1_DROP_TEXT_SHORT;
    } else if (n_letters * 10 < n_bytes * 8) {
        page->drop = MM1_DROP_TEXT_LANGUAGE;
    }
    if (page->drop != MM1_DROP_NONE) {
        mm1_corpus_drop(job->corpus, page->source, page->drop, 1);
    }
    return MM1_OK;
}

mm1_status mm1__build_select(mm1_corpus *corpus, const mm1_build_config *config, const mm1_build_heldout *other,
                             mm1_error *err)
{
    select_job job = {.corpus = corpus, .config = config, .other = other};
    mm1_status st = MM1_OK;

    for (size_t i = 0; i < corpus->n_pictures; i++) {
        if (corpus->pictures[i].drop != MM1_DROP_NONE) {
            mm1_corpus_drop(corpus, corpus->pictures[i].source, corpus->pictures[i].drop, 1);
        }
    }
    st = clean_pages(corpus, config, err);
    for (size_t i = 0; i < corpus->n_pages; i++) {
        remove_bare_headings(&corpus->pages[i]);
        corpus->pages[i].heldout = mm1__build_is_heldout(corpus->pages[i].concept, config->heldout_one_in);
    }
    for (size_t i = 0; i < corpus->n_captions; i++) {
        corpus->captions[i].heldout = mm1__build_is_heldout(corpus->captions[i].concept, config->heldout_one_in);
    }
    for (int heldout = 0; heldout < 2; heldout++) {
        for (size_t i = 0; st == MM1_OK && i < corpus->n_captions; i++) {
            if (corpus->captions[i].heldout == (heldout == 1)) {
                st = select_caption(&job, &corpus->captions[i], err);
            }
        }
        for (size_t i = 0; st == MM1_OK && i < corpus->n_pages; i++) {
            if (corpus->pages[i].heldout == (heldout == 1) && mm1__page_pictures(&corpus->pages[i]) > 0) {
                st = select_document(&job, &corpus->pages[i], err);
            }
        }
    }
    for (size_t i = 0; st == MM1_OK && i < corpus->n_captions; i++) {
        mm1_caption *c = &corpus->captions[i];
        if (c->keywords != NULL && !c->heldout && c->drop == MM1_DROP_NONE) {
            st = drop_heldout_keywords(&job, c, err);
        }
    }
    if (st == MM1_OK) {
        st = merge_texts(corpus, config, err);
    }
    for (int heldout = 0; heldout < 2; heldout++) {
        for (size_t i = 0; st == MM1_OK && i < corpus->n_pages; i++) {
            mm1_page *page = &corpus->pages[i];
            if (page->n_parts > 0 && page->heldout == (heldout == 1) && mm1__page_pictures(page) == 0) {
                st = select_text(&job, page, err);
            }
        }
    }
    mm1_count_map_deinit(&job.train_pixels);
    mm1_count_map_deinit(&job.heldout_pixels);
    mm1_count_map_deinit(&job.caption_pixels);
    mm1_count_map_deinit(&job.train_captions);
    mm1_count_map_deinit(&job.heldout_captions);
    mm1_count_map_deinit(&job.paragraphs);
    mm1_count_map_deinit(&job.documents);
    return st;
}

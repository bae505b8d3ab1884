/* corpus.c - see corpus.h. */
#include "data/corpus.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/prose.h"
#include <string.h>

enum { POOL_BLOCK_BYTES = 1 << 20, MAX_CAPTION_BYTES = 1 << 16 };

struct mm1_pool_block {
    mm1_pool_block *next;
    size_t top, cap;
};

const char *mm1_drop_text(mm1_drop reason)
{
    static const char *const texts[] = {
#define MM1_DROP_TEXT(name, text) text,
        MM1_DROP_LIST(MM1_DROP_TEXT)
#undef MM1_DROP_TEXT
    };
    return (size_t)reason < MM1_DROP_COUNT ? texts[reason] : "?";
}

mm1_status mm1_corpus_init(mm1_corpus *corpus, int32_t n_sources, mm1_error *err)
{
    *corpus = (mm1_corpus){.n_sources = n_sources};
    corpus->drops = mm1_calloc((size_t)n_sources, sizeof *corpus->drops);
    return corpus->drops != NULL ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for the corpus");
}

void mm1_corpus_deinit(mm1_corpus *corpus)
{
    for (int i = corpus->n_closers; i-- > 0;) {
        corpus->closers[i].fn(corpus->closers[i].ctx);
    }
    for (mm1_pool_block *block = corpus->pool; block != NULL;) {
        mm1_pool_block *next = block->next;
        mm1_free(block);
        block = next;
    }
    mm1_free(corpus->pictures);
    mm1_free(corpus->captions);
    mm1_free(corpus->pages);
    mm1_free(corpus->drops);
    mm1_count_map_deinit(&corpus->picture_of_path);
    *corpus = (mm1_corpus){0};
}

void *mm1_corpus_alloc(mm1_corpus *corpus, size_t n, size_t size)
{
    size_t bytes = 0;
    if (!mm1_size_mul(n, size, &bytes) || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    bytes = (bytes + 7) & ~(size_t)7;
    mm1_pool_block *block = corpus->pool;
    if (block == NULL || bytes > block->cap - block->top) {
        const size_t cap = bytes > POOL_BLOCK_BYTES / 4 ? bytes : POOL_BLOCK_BYTES;
        mm1_pool_block *fresh = mm1_alloc(sizeof *fresh + cap, 1);
        if (fresh == NULL) {
            return NULL;
        }
        *fresh = (mm1_pool_block){.cap = cap};
        if (block != NULL && cap != POOL_BLOCK_BYTES) { /* a large one: the open block stays in front */
            fresh->next = block->next;
            block->next = fresh;
        } else {
            fresh->next = block;
            corpus->pool = fresh;
        }
        block = fresh;
    }
    void *out = (char *)(block + 1) + block->top;
    block->top += bytes;
    return out;
}

char *mm1_corpus_strndup(mm1_corpus *corpus, const char *s, size_t len)
{
    char *out = len < SIZE_MAX ? mm1_corpus_alloc(corpus, len + 1, 1) : NULL;
    if (out != NULL) {
        if (len != 0) {
            memcpy(out, s, len);
        }
        out[len] = '\0';
    }
    return out;
}

mm1_status mm1_corpus_on_close(mm1_corpus *corpus, void (*fn)(void *ctx), void *ctx, mm1_error *err)
{
    const int cap = (int)(sizeof corpus->closers / sizeof corpus->closers[0]);
    if (corpus->n_closers == cap) {
        fn(ctx);
        return mm1_error_set(err, MM1_E_LIMIT, "data build: over %d sources that draw their pictures", cap);
    }
    corpus->closers[corpus->n_closers].fn = fn;
    corpus->closers[corpus->n_closers++].ctx = ctx;
    return MM1_OK;
}

void mm1_corpus_drop(mm1_corpus *corpus, int32_t source, mm1_drop reason, int64_t n)
{
    if (source >= 0 && source < corpus->n_sources && (size_t)reason < MM1_DROP_COUNT) {
        corpus->drops[source][reason] += n;
    }
}

static mm1_status no_memory(mm1_error *err, const char *what)
{
    return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for %s", what);
}

/* Room for one more element. */
static bool reserve(void **items, size_t *cap, size_t n, size_t size)
{
    if (n < *cap) {
        return true;
    }
    const size_t more = *cap == 0 ? 256 : *cap * 2;
    void *grown = more > *cap ? mm1_realloc(*items, more, size) : NULL;
    if (grown != NULL) {
        *items = grown;
        *cap = more;
    }
    return grown != NULL;
}

mm1_status mm1_corpus_add_picture(mm1_corpus *corpus, const mm1_picture *picture, uint32_t *id, mm1_error *err)
{
    const uint64_t key = mm1_hash64(picture->path, strlen(picture->path), 0);
    const uint32_t known = mm1_count_map_get(&corpus->picture_of_path, key);
    if (known != 0) {
        *id = known - 1;
        return MM1_OK;
    }
    if (corpus->n_pictures >= MM1_PICTURE_NONE) {
        return mm1_error_set(err, MM1_E_LIMIT, "data build: over %d pictures", MM1_PICTURE_NONE);
    }
    mm1_picture copy = *picture;
    copy.drop = MM1_DROP_NONE;
    copy.path = mm1_corpus_strndup(corpus, picture->path, strlen(picture->path));
    bool ok = copy.path != NULL;
    if (ok && picture->file != NULL) {
        copy.file = mm1_corpus_strndup(corpus, picture->file, strlen(picture->file));
        ok = copy.file != NULL;
    }
    if (ok && picture->bytes != NULL) {
        uint8_t *bytes = mm1_corpus_alloc(corpus, picture->len, 1);
        ok = bytes != NULL;
        if (ok) {
            memcpy(bytes, picture->bytes, picture->len);
        }
        copy.bytes = bytes;
    }
    void *items = corpus->pictures;
    ok = ok && reserve(&items, &corpus->cap_pictures, corpus->n_pictures, sizeof copy);
    corpus->pictures = items;
    if (!ok || !mm1_count_map_set(&corpus->picture_of_path, key, (uint32_t)corpus->n_pictures + 1)) {
        return no_memory(err, "the list of pictures");
    }
    *id = (uint32_t)corpus->n_pictures;
    corpus->pictures[corpus->n_pictures++] = copy;
    return MM1_OK;
}

mm1_status mm1_corpus_add_caption(mm1_corpus *corpus, const mm1_picture *picture, const char *text, const char *concept,
                                  const char *keywords, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_caption c = {.source = picture->source, .drop = MM1_DROP_NONE};
    mm1_buf line, key, words;
    mm1_buf_init(&line, MAX_CAPTION_BYTES);
    mm1_buf_init(&key, MAX_CAPTION_BYTES);
    mm1_buf_init(&words, MAX_CAPTION_BYTES);

    if (!mm1_prose_squeeze(&line, text, strlen(text))) {
        mm1_corpus_drop(corpus, c.source, MM1_DROP_NOT_UTF8, 1);
        goto out;
    }
    if (mm1_buf_status(&line) == MM1_OK) {
        mm1_prose_key(&key, mm1_buf_str(&line), line.len);
    }
    /* Shorter than "ox" is a letter of an alphabet: "a", "7" are honest captions of a picture of a letter, but say
     * nothing elsewhere; sources that know better write "the letter a". */
    if (line.len < 2 || key.len == 0 || mm1_buf_status(&key) != MM1_OK) {
        mm1_corpus_drop(corpus, c.source, MM1_DROP_CAPTION_EMPTY, 1);
        goto out;
    }
    if (keywords != NULL && (!mm1_prose_squeeze(&words, keywords, strlen(keywords)) || words.len == 0)) {
        keywords = NULL;
    }
    st = mm1_corpus_add_picture(corpus, picture, &c.picture, err);
    if (st != MM1_OK) {
        goto out;
    }
    c.text = mm1_corpus_strndup(corpus, mm1_buf_str(&line), line.len);
    c.key = mm1_corpus_strndup(corpus, mm1_buf_str(&key), key.len);
    c.concept = concept != NULL ? mm1_corpus_strndup(corpus, concept, strlen(concept)) : c.key;
    c.keywords = keywords != NULL ? mm1_corpus_strndup(corpus, mm1_buf_str(&words), words.len) : NULL;
    void *items = corpus->captions;
    const bool room = reserve(&items, &corpus->cap_captions, corpus->n_captions, sizeof c);
    corpus->captions = items;
    if (!room || c.text == NULL || c.key == NULL || c.concept == NULL || (keywords != NULL && c.keywords == NULL)) {
        st = no_memory(err, "the list of captions");
        goto out;
    }
    corpus->captions[corpus->n_captions++] = c;
out:
    mm1_buf_deinit(&line);
    mm1_buf_deinit(&key);
    mm1_buf_deinit(&words);
    return st;
}

mm1_status mm1_corpus_add_page(mm1_corpus *corpus, const mm1_page *page, mm1_error *err)
{
    mm1_page copy = *page;
    copy.drop = MM1_DROP_NONE;
    copy.parts = mm1_corpus_alloc(corpus, page->n_parts, sizeof *page->parts);
    void *items = corpus->pages;
    const bool room = reserve(&items, &corpus->cap_pages, corpus->n_pages, sizeof copy);
    corpus->pages = items;
    if (!room || copy.parts == NULL) {
        return no_memory(err, "the list of pages");
    }
    if (page->n_parts != 0) {
        memcpy(copy.parts, page->parts, page->n_parts * sizeof *page->parts);
    }
    corpus->pages[corpus->n_pages++] = copy;
    return MM1_OK;
}

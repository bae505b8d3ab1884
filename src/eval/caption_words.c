/* caption_words.c - see caption_words.h.  Nothing is hashed: words are numbered by sorting, so that whatever is summed
 * over them later has one order and the same bits everywhere. */
#include "eval/caption_words.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "eval/ptb.h"
#include <stdlib.h>
#include <string.h>

/* BLEU and ROUGE-L take a time that grows with the square of a caption. */
enum { MAX_WORDS = 8192 };

typedef struct slice {
    const char *p;
    size_t len;
} slice;

/* Captions while they are read: their text, and how many words each gave. */
typedef struct reading {
    mm1_ptb *ptb; /* NULL: words are there already */
    mm1_buf words;
    mm1_buf text; /* of all captions, a zero byte after each */
    slice *slices;
    size_t n_slices;
} reading;

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "no memory for the words of the captions; score fewer at a time");
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int compare_slices(const void *a, const void *b)
{
    const slice *x = a, *y = b;
    const size_t len = x->len < y->len ? x->len : y->len;
    const int c = memcmp(x->p, y->p, len);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static mm1_status append(reading *r, const char *text, mm1_error *err)
{
    size_t len = strlen(text);
    if (r->ptb != NULL) {
        const mm1_status st = mm1_ptb_tokenize(r->ptb, text, len, &r->words, err);
        if (st != MM1_OK) {
            return st;
        }
        text = mm1_buf_str(&r->words);
        len = r->words.len;
    }
    mm1_buf_append(&r->text, text, len);
    mm1_buf_append(&r->text, "", 1);
    return mm1_buf_status(&r->text) != MM1_OK ? no_memory(err) : MM1_OK;
}

static mm1_status read_texts(reading *r, const mm1_caption_item *items, size_t n, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = append(r, items[i].candidate, err);
        for (size_t k = 0; st == MM1_OK && k < items[i].n_references; k++) {
            st = append(r, items[i].references[k], err);
        }
        if (st != MM1_OK) {
            st = mm1_error_wrap(err, st, "item %zu of %zu", i, n);
        }
    }
    return st;
}

/* Cuts the text of all captions into words. */
static mm1_status split(reading *r, mm1_captions *c, mm1_error *err)
{
    const char *p = mm1_buf_str(&r->text);
    size_t n = 0;
    for (size_t i = 0; i < r->text.len; i++) {
        n += p[i] != '\0' && !is_space(p[i]) && (p[i + 1] == '\0' || is_space(p[i + 1]));
    }
    if (n >= UINT32_MAX) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu words of captions are over the limit of %u", n, UINT32_MAX - 1);
    }
    r->slices = mm1_alloc(n, sizeof *r->slices);
    c->ids = mm1_alloc(n, sizeof *c->ids);
    if (r->slices == NULL || c->ids == NULL) {
        return no_memory(err);
    }
    for (size_t k = 0; k < c->n; k++, p++) {
        c->items[k].words = c->ids + r->n_slices;
        while (*p != '\0') {
            const char *end = p;
            while (*end != '\0' && !is_space(*end)) {
                end++;
            }
            if (end > p) {
                r->slices[r->n_slices++] = (slice){.p = p, .len = (size_t)(end - p)};
                c->items[k].n_words++;
            }
            p = *end != '\0' ? end + 1 : end;
        }
        if (c->items[k].n_words > MAX_WORDS) {
            return mm1_error_set(err, MM1_E_LIMIT, "a caption of %zu words is over the limit of %d",
                                 c->items[k].n_words, MAX_WORDS);
        }
    }
    return MM1_OK;
}

/* Gives every word its rank among the distinct ones. */
static mm1_status number(const reading *r, mm1_captions *c, mm1_error *err)
{
    slice *distinct = mm1_alloc(r->n_slices, sizeof *distinct);
    size_t n = 0;
    if (distinct == NULL) {
        return no_memory(err);
    }
    if (r->n_slices > 0) {
        memcpy(distinct, r->slices, r->n_slices * sizeof *distinct);
        qsort(distinct, r->n_slices, sizeof *distinct, compare_slices);
    }
    for (size_t i = 0; i < r->n_slices; i++) {
        if (n == 0 || compare_slices(&distinct[i], &distinct[n - 1]) != 0) {
            distinct[n++] = distinct[i];
        }
    }
    for (size_t i = 0; i < r->n_slices; i++) {
        const slice *found = bsearch(&r->slices[i], distinct, n, sizeof *distinct, compare_slices);
        c->ids[i] = (uint32_t)(found - distinct) + 1;
    }
    mm1_free(distinct);
    return MM1_OK;
}

mm1_status mm1_captions_load(mm1_captions *c, const mm1_caption_item *items, size_t n, bool ptb, mm1_error *err)
{
    reading r = {0};
    mm1_status st = MM1_OK;
    *c = (mm1_captions){0};
    mm1_buf_init(&r.words, 1 << 24);
    mm1_buf_init(&r.text, SIZE_MAX / 2);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (items[i].n_references == 0) {
            st = mm1_error_set(err, MM1_E_ARG, "item %zu of %zu has no reference; leave it out", i, n);
        } else if (!mm1_size_add(c->n, 1, &c->n) || !mm1_size_add(c->n, items[i].n_references, &c->n)) {
            st = no_memory(err);
        }
    }
    if (st == MM1_OK && (c->items = mm1_calloc(c->n, sizeof *c->items)) == NULL) {
        st = no_memory(err);
    }
    st = st != MM1_OK || !ptb ? st : mm1_ptb_create(&r.ptb, err);
    st = st != MM1_OK ? st : read_texts(&r, items, n, err);
    st = st != MM1_OK ? st : split(&r, c, err);
    st = st != MM1_OK ? st : number(&r, c, err);
    mm1_free(r.slices);
    mm1_buf_deinit(&r.words);
    mm1_buf_deinit(&r.text);
    mm1_ptb_destroy(r.ptb);
    if (st != MM1_OK) {
        mm1_captions_deinit(c);
    }
    return st;
}

void mm1_captions_deinit(mm1_captions *c)
{
    mm1_free(c->items);
    mm1_free(c->ids);
    *c = (mm1_captions){0};
}

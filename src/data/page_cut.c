/* page_cut.c - see page_cut.h. */
#include "data/page_cut.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/prose.h"
#include <ctype.h>
#include <string.h>

void mm1_page_parts_deinit(mm1_page_parts *parts)
{
    mm1_free(parts->items);
    *parts = (mm1_page_parts){0};
}

bool mm1_page_parts_add(mm1_page_parts *parts, mm1_page_part part)
{
    if (parts->n == parts->cap) {
        const size_t cap = parts->cap == 0 ? 64 : parts->cap * 2;
        mm1_page_part *grown = mm1_realloc(parts->items, cap, sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        parts->items = grown;
        parts->cap = cap;
    }
    parts->items[parts->n++] = part;
    return true;
}

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for a page");
}

/* One paragraph as it stands in the file. */
static mm1_status add_paragraph(mm1_page_parts *parts, mm1_corpus *corpus, const char *text, size_t len, bool markdown,
                                mm1_error *err)
{
    mm1_page_part part = {.picture = MM1_PICTURE_NONE};
    mm1_buf clean;
    mm1_status st = MM1_OK;
    while (len > 0 && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    if (markdown && len > 0 && *text == '#') {
        while (len > 0 && *text == '#' && part.level < 6) {
            part.level++;
            text++;
            len--;
        }
    }
    mm1_buf_init(&clean, len + 1);
    if (!mm1_prose_squeeze(&clean, text, len)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "text is not UTF-8");
    } else if (clean.len > 0) {
        part.text = mm1_corpus_strndup(corpus, mm1_buf_str(&clean), clean.len);
        st = part.text != NULL && mm1_page_parts_add(parts, part) ? MM1_OK : no_memory(err);
    }
    mm1_buf_deinit(&clean);
    return st;
}

mm1_status mm1_page_parts_add_text(mm1_page_parts *parts, mm1_corpus *corpus, const char *text, size_t len,
                                   bool markdown, int64_t *n_code, mm1_error *err)
{
    const char *end = text + len, *begin = text; /* of the open paragraph */
    mm1_status st = MM1_OK;
    bool in_code = false;
    for (const char *line = text; st == MM1_OK && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line)), *p = line;
        const char *next = stop != NULL ? stop + 1 : end;
        while (p < next && isspace((unsigned char)*p)) {
            p++;
        }
        const bool fence = markdown && next - p >= 3 && memcmp(p, "```", 3) == 0;
        const bool heading = markdown && !in_code && p < next && *p == '#';
        if (p == next || fence || heading || in_code) {
            if (!in_code) {
                st = add_paragraph(parts, corpus, begin, (size_t)(line - begin), markdown, err);
            }
            if (st == MM1_OK && heading) {
                st = add_paragraph(parts, corpus, line, (size_t)(next - line), markdown, err);
            }
            begin = next;
        }
        if (fence) {
            in_code = !in_code;
            if (in_code && n_code != NULL) {
                ++*n_code;
            }
        }
        line = next;
    }
    if (st == MM1_OK && !in_code && begin < end) {
        st = add_paragraph(parts, corpus, begin, (size_t)(end - begin), markdown, err);
    }
    return st;
}

static size_t part_words(const mm1_page_part *part)
{
    return part->text != NULL ? mm1_prose_words(part->text, strlen(part->text)) : 0;
}

/* Length of the longest beginning of `text` with at most max_words words that ends a sentence, or else a word. */
static size_t cut_point(const char *text, size_t max_words)
{
    size_t n_words = 0, sentence = 0, word = 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (text[i] == ' ') {
            if (++n_words > max_words) {
                break;
            }
            word = i;
            const char before = i > 0 ? text[i - 1] : ' ';
            if (before == '.' || before == '!' || before == '?' || before == '"' || before == ';') {
                sentence = i;
            }
            if (n_words == max_words) {
                break;
            }
        }
    }
    /* A sentence of most of the piece is not cut off near its beginning. */
    return sentence > word / 2 ? sentence : word;
}

typedef struct cutter {
    mm1_corpus *corpus;
    const mm1_page *page;
    mm1_page_parts open; /* the piece being filled */
    size_t n_words;
    bool has_body; /* more than headings */
    size_t max_words;
} cutter;

static mm1_status close_piece(cutter *c, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (c->has_body) {
        mm1_page piece = *c->page;
        piece.parts = c->open.items;
        piece.n_parts = c->open.n;
        st = mm1_corpus_add_page(c->corpus, &piece, err);
        c->open.n = 0;
        c->n_words = 0;
        c->has_body = false;
    }
    return st;
}

static mm1_status put(cutter *c, mm1_page_part part, size_t n_words, mm1_error *err)
{
    if (!mm1_page_parts_add(&c->open, part)) {
        return no_memory(err);
    }
    c->n_words += n_words;
    c->has_body = c->has_body || part.level == 0;
    return MM1_OK;
}

static mm1_status put_long(cutter *c, mm1_page_part part, mm1_error *err)
{
    const char *rest = part.text;
    mm1_status st = close_piece(c, err);
    while (st == MM1_OK && mm1_prose_words(rest, strlen(rest)) > c->max_words) {
        const size_t n = cut_point(rest, c->max_words - c->n_words);
        if (n == 0) {
            break;
        }
        part.text = mm1_corpus_strndup(c->corpus, rest, n);
        st = part.text != NULL ? put(c, part, mm1_prose_words(part.text, n), err) : no_memory(err);
        if (st == MM1_OK) {
            st = close_piece(c, err);
        }
        rest += n + 1;
        part.joint = MM1_JOINT_SPACE;
    }
    if (st == MM1_OK && *rest != '\0') {
        part.text = rest;
        st = put(c, part, mm1_prose_words(rest, strlen(rest)), err);
    }
    return st;
}

mm1_status mm1_page_cut(mm1_corpus *corpus, const mm1_page *page, int64_t max_words, mm1_error *err)
{
    cutter c = {.corpus = corpus, .page = page, .max_words = (size_t)max_words};
    mm1_status st = MM1_OK;
    for (size_t begin = 0, end; st == MM1_OK && begin < page->n_parts; begin = end) {
        size_t n_section = part_words(&page->parts[begin]);
        for (end = begin + 1; end < page->n_parts; end++) {
            const mm1_page_part *part = &page->parts[end];
            if (part->level > 0 && part->level <= 3) {
                break;
            }
            n_section += part_words(part);
        }
        if (c.n_words + n_section > c.max_words) {
            st = close_piece(&c, err);
        }
        for (size_t k = begin; st == MM1_OK && k < end; k++) {
            const size_t n = part_words(&page->parts[k]);
            /* A fourth-level heading goes with what it heads. */
            const size_t next = k + 1 < end && page->parts[k].level > 0 ? part_words(&page->parts[k + 1]) : 0;
            if (n > c.max_words) {
                st = put_long(&c, page->parts[k], err);
                continue;
            }
            if (c.n_words + n + next > c.max_words) {
                st = close_piece(&c, err);
            }
            if (st == MM1_OK) {
                st = put(&c, page->parts[k], n, err);
            }
        }
    }
    if (st == MM1_OK) {
        st = close_piece(&c, err);
    }
    mm1_page_parts_deinit(&c.open);
    return st;
}

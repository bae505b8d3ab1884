/* source_html.c - folders of HTML pages into interleaved documents, texts, and captions from the alt texts of figures.
 *
 * The procedure is that of MM1's interleaved set (500 million documents) on a small scale: text and pictures of the
 * body in the order of the page; pictures whose address says logo, button, icon, plugin or widget are dropped here,
 * broken, small, long and frequent ones later (picture.c, build_select.c), and so are pages with too many.  A page is
 * cut at its headings (page_cut.h); pieces left without a picture become text. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/thread.h"
#include "data/html.h"
#include "data/page_cut.h"
#include "data/prose.h"
#include <string.h>
#include <strings.h>

enum { CHUNK = 256, MIN_ALT_WORDS = 3, MAX_ALT_WORDS = 60 };

typedef struct parsed_page {
    mm1_html_page html;
    char sha256[MM1_SHA256_HEX_BYTES];
    mm1_status st;
} parsed_page;

typedef struct parse_job {
    char *const *files;
    parsed_page pages[CHUNK];
} parse_job;

static void parse_range(void *ctx, int64_t begin, int64_t end)
{
    parse_job *job = ctx;
    for (int64_t i = begin; i < end; i++) {
        parsed_page *p = &job->pages[i];
        mm1_error err = {0};
        char *text = NULL;
        size_t len = 0;
        p->st = mm1_file_read(job->files[i], MM1_HTML_MAX_BYTES, &text, &len, &err);
        if (p->st == MM1_OK) {
            mm1_sha256_hex(p->sha256, text, len);
            p->st = mm1_html_extract(&p->html, text, len, &err);
        }
        mm1_free(text);
    }
}

/* Pages that hold lists of links only. */
static bool is_index(const char *file)
{
    static const char *const names[] = {"genindex",  "search.",      "py-modindex", "ix01",          "bookindex",
                                        "all.html",  "print.html",   "changelog",   "contents.html", "toc.html",
                                        "annotated", "classes",      "functions_",  "globals_",      "hierarchy",
                                        "namespace", "modules.html", "files.html",  "bibliography",  "genindex-"};
    const char *base = mm1_path_basename(file);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strncmp(base, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

static bool says_furniture(const char *src)
{
    static const char *const words[] = {"logo", "button", "icon", "plugin", "widget"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasestr(src, words[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The file that `src` on page `file` means; false for what is no local file below the root. */
static bool resolve(const mm1_source *s, const char *file, const char *src, mm1_buf *out)
{
    mm1_buf_clear(out);
    if (strstr(src, "://") != NULL || strncmp(src, "data:", 5) == 0 || src[0] == '/') {
        return false;
    }
    mm1_buf_append(out, file, (size_t)(mm1_path_basename(file) - file));
    for (const char *p = src; *p != '\0' && *p != '?' && *p != '#';) {
        /* out ends with '/' here: one step of the path. */
        const size_t n = strcspn(p, "/?#");
        if (n == 2 && memcmp(p, "..", 2) == 0) {
            size_t len = out->len > 0 ? out->len - 1 : 0;
            while (len > 0 && out->data[len - 1] != '/') {
                len--;
            }
            if (len == 0) {
                return false;
            }
            out->len = len;
            out->data[len] = '\0';
        } else if (!(n == 1 && *p == '.') && n > 0) {
            for (size_t i = 0; i < n; i++) {
                const int high = p[i] == '%' && i + 2 < n ? hex_digit(p[i + 1]) : -1;
                const int low = high >= 0 ? hex_digit(p[i + 2]) : -1;
                if (low >= 0 && high * 16 + low != 0) {
                    mm1_buf_putc(out, (char)(high * 16 + low));
                    i += 2;
                } else {
                    mm1_buf_putc(out, p[i]);
                }
            }
            if (p[n] == '/') {
                mm1_buf_putc(out, '/');
            }
        }
        p += n + (p[n] == '/');
    }
    const char *root = s->config->root;
    const bool below =
        strncmp(mm1_buf_str(out), root, strlen(root)) == 0 || strncmp(mm1_buf_str(out), s->path, strlen(s->path)) == 0;
    return mm1_buf_status(out) == MM1_OK && below && strstr(mm1_buf_str(out), "/../") == NULL;
}

/* A sentence or phrase, not a file name: "../_images/x.png" is what Sphinx writes for want of better. */
static bool is_good_alt(const char *alt)
{
    const size_t n = alt != NULL ? mm1_prose_words(alt, strlen(alt)) : 0;
    return n >= MIN_ALT_WORDS && n <= MAX_ALT_WORDS && mm1_prose_has_letters(alt, strlen(alt), 8) &&
           strstr(alt, "../") == NULL && strstr(alt, ".png") == NULL && strchr(alt, '\\') == NULL &&
           strncmp(alt, "plot ", 5) != 0;
}

static mm1_status add_picture(mm1_source *s, const char *file, const mm1_html_block *block, const char *concept,
                              mm1_page_parts *parts, mm1_buf *path, mm1_error *err)
{
    mm1_page_part part = {0};
    mm1_drop drop = MM1_DROP_NONE;
    const char *ext = mm1_path_extension(block->text);
    if (says_furniture(block->text)) {
        drop = MM1_DROP_PICTURE_URL;
    } else if (strncasecmp(ext, ".svg", 4) == 0) {
        drop = MM1_DROP_VECTOR_ONLY;
    } else if (!resolve(s, file, block->text, path)) {
        drop = MM1_DROP_PICTURE_REMOTE;
    } else if (!mm1_path_exists(mm1_buf_str(path))) {
        drop = MM1_DROP_PICTURE_MISSING;
    }
    if (drop != MM1_DROP_NONE) {
        mm1_corpus_drop(s->corpus, s->index, drop, 1);
        return MM1_OK;
    }
    mm1_picture picture = mm1_source_picture(s, mm1_buf_str(path));
    picture.figure = true;
    picture.crop = false;
    picture.photo = strncasecmp(ext, ".jp", 3) == 0;
    const size_t n_before = s->corpus->n_pictures;
    mm1_status st = mm1_corpus_add_picture(s->corpus, &picture, &part.picture, err);
    if (st == MM1_OK && !mm1_page_parts_add(parts, part)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a page");
    }
    /* The first page that shows a figure gives its caption. */
    if (st == MM1_OK && s->corpus->n_pictures > n_before && is_good_alt(block->alt)) {
        st = mm1_corpus_add_caption(s->corpus, &picture, block->alt, concept, NULL, err);
    }
    return st;
}

/* What an author leaves for later. */
static bool is_placeholder(const char *text)
{
    static const char *const words[] = {"TODO", "TODO.", "TODO:", "TBD", "TBD.", "FIXME", "...", "- TODO", "[TODO]"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static mm1_status add_page(mm1_source *s, const char *file, const parsed_page *p, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_page_parts parts = {0};
    mm1_buf path;
    mm1_page page = {.source = s->index};
    mm1_buf_init(&path, 4096);
    const char *origin = mm1_source_origin(s, file);
    mm1_buf_printf(&path, "page:%s", origin);
    page.path = mm1_corpus_strndup(s->corpus, origin, strlen(origin));
    page.sha256 = mm1_corpus_strndup(s->corpus, p->sha256, strlen(p->sha256));
    page.concept = mm1_corpus_strndup(s->corpus, mm1_buf_str(&path), path.len);
    if (page.path == NULL || page.sha256 == NULL || page.concept == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a page");
    }
    for (size_t i = 0; st == MM1_OK && i < p->html.n; i++) {
        const mm1_html_block *block = &p->html.blocks[i];
        if (block->kind == MM1_HTML_PICTURE) {
            st = add_picture(s, file, block, page.concept, &parts, &path, err);
            continue;
        }
        if (is_placeholder(block->text)) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_PLACEHOLDER, 1);
            continue;
        }
        const mm1_page_part part = {.text = mm1_corpus_strndup(s->corpus, block->text, strlen(block->text)),
                                    .picture = MM1_PICTURE_NONE,
                                    .level = block->kind == MM1_HTML_HEADING ? (uint8_t)block->level : 0,
                                    .joint = (uint8_t)block->joint};
        if (part.text == NULL || !mm1_page_parts_add(&parts, part)) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a page");
        }
    }
    if (st == MM1_OK && parts.n == 0) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_PAGE_NO_TEXT, 1);
    } else if (st == MM1_OK) {
        page.parts = parts.items;
        page.n_parts = parts.n;
        st = mm1_page_cut(s->corpus, &page, s->config->max_words, err);
    }
    mm1_page_parts_deinit(&parts);
    mm1_buf_deinit(&path);
    return st;
}

mm1_status mm1__source_html(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0}, wanted = {0};
    parse_job *job = mm1_calloc(1, sizeof *job);
    mm1_status st = job != NULL ? mm1_source_walk(s->path, ".html,.htm,.xhtml", true, &files, NULL, err)
                                : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        if (mm1_source_wants(s, files.items[i]) && !is_index(files.items[i]) && !mm1_source_full(s, wanted.n) &&
            !mm1_names_add(&wanted, files.items[i])) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory");
        }
    }
    for (size_t begin = 0; st == MM1_OK && begin < wanted.n; begin += CHUNK) {
        const size_t n = wanted.n - begin < CHUNK ? wanted.n - begin : CHUNK;
        job->files = wanted.items + begin;
        memset(job->pages, 0, sizeof job->pages);
        mm1_parallel_each((int64_t)n, parse_range, job);
        for (size_t i = 0; i < n; i++) {
            parsed_page *p = &job->pages[i];
            if (p->st != MM1_OK) {
                mm1_corpus_drop(s->corpus, s->index, MM1_DROP_PAGE_UNPARSED, 1);
            } else if (st == MM1_OK) {
                mm1_corpus_drop(s->corpus, s->index, MM1_DROP_CODE_BLOCK, p->html.n_code);
                mm1_corpus_drop(s->corpus, s->index, MM1_DROP_TABLE, p->html.n_tables);
                st = add_page(s, job->files[i], p, err);
            }
            mm1_html_page_deinit(&p->html);
        }
    }
    mm1_names_free(&files);
    mm1_names_free(&wanted);
    mm1_free(job);
    return st;
}

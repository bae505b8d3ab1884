/* html.c - see html.h. */
#include "data/html.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/corpus.h"
#include "data/prose.h"
#include <ctype.h>
#include <gumbo.h>
#include <string.h>
#include <strings.h>

enum { MAX_DEPTH = 256, MAX_OPEN_TAGS = 20000 };

typedef struct walk_state {
    mm1_html_page *page;
    mm1_buf text; /* of the paragraph being read, as written */
    int joint;    /* of that paragraph */
    bool bullet;  /* the next paragraph is the first of a list item */
    bool no_memory;
} walk_state;

void mm1_html_page_deinit(mm1_html_page *page)
{
    for (size_t i = 0; i < page->n; i++) {
        mm1_free(page->blocks[i].text);
        mm1_free(page->blocks[i].alt);
    }
    mm1_free(page->blocks);
    *page = (mm1_html_page){0};
}

static void add_block(walk_state *w, mm1_html_block block)
{
    mm1_html_page *page = w->page;
    if (page->n == page->cap) {
        const size_t cap = page->cap == 0 ? 32 : page->cap * 2;
        mm1_html_block *grown = mm1_realloc(page->blocks, cap, sizeof *grown);
        if (grown == NULL) {
            mm1_free(block.text);
            mm1_free(block.alt);
            w->no_memory = true;
            return;
        }
        page->blocks = grown;
        page->cap = cap;
    }
    page->blocks[page->n++] = block;
}

/* Ends the paragraph; what follows joins it by `next`. */
static void flush_text(walk_state *w, mm1_html_kind kind, int level, int next)
{
    mm1_buf clean;
    mm1_buf_init(&clean, MM1_HTML_MAX_BYTES);
    if (w->bullet) {
        mm1_buf_puts(&clean, "- ");
    }
    const size_t empty = clean.len;
    if (w->text.len > 0 && mm1_prose_squeeze(&clean, mm1_buf_str(&w->text), w->text.len) && clean.len > empty) {
        const mm1_html_block block = {
            .kind = kind, .level = level, .joint = w->joint, .text = mm1_strndup(mm1_buf_str(&clean), clean.len)};
        if (block.text != NULL) {
            add_block(w, block);
        } else {
            w->no_memory = true;
        }
        w->joint = next;
        w->bullet = false;
    } else if (next != MM1_JOINT_SPACE && !w->bullet) {
        w->joint = next;
    }
    mm1_buf_deinit(&clean);
    mm1_buf_clear(&w->text);
}

static const char *attribute(const GumboElement *e, const char *name)
{
    const GumboAttribute *a = gumbo_get_attribute(&e->attributes, name);
    return a != NULL ? a->value : NULL;
}

/* One of the words of a list such as class="a b". */
static bool has_word(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = list; p != NULL && *p != '\0';) {
        const size_t len = strcspn(p, " \t\n\r\f");
        if (len == n && memcmp(p, word, n) == 0) {
            return true;
        }
        p += len + strspn(p + len, " \t\n\r\f");
    }
    return false;
}

/* Furniture by class or id. */
static bool is_furniture(const GumboElement *e)
{
    static const char *const classes[] = {
        /* Sphinx and its gallery */
        "related", "sphinxsidebar", "headerlink", "toctree-wrapper", "sphx-glr-thumbcontainer", "sphx-glr-thumbnails",
        "sphx-glr-download", "sphx-glr-download-link-note", "sphx-glr-footer", "sphx-glr-timing", "sphx-glr-signature",
        "sphx-glr-script-out", "sphx-glr-horizontal-thumb", "viewcode-link", "sk-content-footer", "sk-sidebar-toc",
        "sk-estimator-doc-link", "prev-next-area", "breadcrumb", "bottomnav", "local", "binder-badge", "deprecated",
        "versionadded", "versionchanged",
        /* DocBook */
        "navheader", "navfooter", "toc", "list-of-figures", "list-of-tables", "list-of-examples", "indexterm", "index",
        "revhistory", "copyright", "legalnotice", "docnav", "part-toc", "genhead",
        /* Doxygen */
        "navpath", "tabs", "directory", "dynheader", "prevnext", "memproto", "memtitle", "footer", "ttc",
        /* mdBook, rustdoc, others */
        "sidebar", "nav-wrapper", "nav-chapters", "menu-bar", "buttons", "navbar", "menu", "search", "skip-link",
        "mobile-nav", "noprint", "screen-reader-text", "edit-link"};
    static const char *const ids[] = {"top",
                                      "nav-tree",
                                      "side-nav",
                                      "footer",
                                      "sidebar",
                                      "navigation",
                                      "searchbox",
                                      "nav-path",
                                      "MSearchSelectWindow",
                                      "MSearchResultsWindow",
                                      "menu"};
    const char *class = attribute(e, "class"), *id = attribute(e, "id"), *role = attribute(e, "role");
    for (size_t i = 0; class != NULL && i < sizeof classes / sizeof classes[0]; i++) {
        if (has_word(class, classes[i])) {
            return true;
        }
    }
    for (size_t i = 0; id != NULL && i < sizeof ids / sizeof ids[0]; i++) {
        if (strcmp(id, ids[i]) == 0) {
            return true;
        }
    }
    return (role != NULL && (strcmp(role, "navigation") == 0 || strcmp(role, "search") == 0)) ||
           attribute(e, "hidden") != NULL;
}

static bool is_skipped_tag(GumboTag tag)
{
    switch (tag) {
    case GUMBO_TAG_SCRIPT:
    case GUMBO_TAG_STYLE:
    case GUMBO_TAG_NOSCRIPT:
    case GUMBO_TAG_TEMPLATE:
    case GUMBO_TAG_HEAD:
    case GUMBO_TAG_NAV:
    case GUMBO_TAG_HEADER:
    case GUMBO_TAG_FOOTER:
    case GUMBO_TAG_ASIDE:
    case GUMBO_TAG_FORM:
    case GUMBO_TAG_BUTTON:
    case GUMBO_TAG_SELECT:
    case GUMBO_TAG_TEXTAREA:
    case GUMBO_TAG_INPUT:
    case GUMBO_TAG_IFRAME:
    case GUMBO_TAG_OBJECT:
    case GUMBO_TAG_SVG:
    case GUMBO_TAG_MATH:
    case GUMBO_TAG_AUDIO:
    case GUMBO_TAG_VIDEO:
    case GUMBO_TAG_CANVAS: return true;
    default: return false;
    }
}

static bool is_block_tag(GumboTag tag)
{
    switch (tag) {
    case GUMBO_TAG_P:
    case GUMBO_TAG_DIV:
    case GUMBO_TAG_SECTION:
    case GUMBO_TAG_ARTICLE:
    case GUMBO_TAG_MAIN:
    case GUMBO_TAG_BODY:
    case GUMBO_TAG_UL:
    case GUMBO_TAG_OL:
    case GUMBO_TAG_DL:
    case GUMBO_TAG_LI:
    case GUMBO_TAG_DD:
    case GUMBO_TAG_BLOCKQUOTE:
    case GUMBO_TAG_FIGURE:
    case GUMBO_TAG_FIGCAPTION:
    case GUMBO_TAG_TABLE:
    case GUMBO_TAG_TBODY:
    case GUMBO_TAG_THEAD:
    case GUMBO_TAG_TR:
    case GUMBO_TAG_TD:
    case GUMBO_TAG_TH:
    case GUMBO_TAG_CAPTION:
    case GUMBO_TAG_CENTER:
    case GUMBO_TAG_ADDRESS:
    case GUMBO_TAG_DETAILS:
    case GUMBO_TAG_SUMMARY:
    case GUMBO_TAG_HR: return true;
    default: return false;
    }
}

static int heading_level(GumboTag tag)
{
    switch (tag) {
    case GUMBO_TAG_H1: return 1;
    case GUMBO_TAG_H2: return 2;
    case GUMBO_TAG_H3: return 3;
    case GUMBO_TAG_H4: return 4;
    case GUMBO_TAG_H5: return 5;
    case GUMBO_TAG_H6:
    case GUMBO_TAG_DT: return 6; /* a term heads its description */
    default: return 0;
    }
}

static bool holds_picture(const GumboNode *node, int depth)
{
    if (node->type != GUMBO_NODE_ELEMENT || depth > MAX_DEPTH) {
        return false;
    }
    if (node->v.element.tag == GUMBO_TAG_IMG) {
        return true;
    }
    for (unsigned i = 0; i < node->v.element.children.length; i++) {
        if (holds_picture(node->v.element.children.data[i], depth + 1)) {
            return true;
        }
    }
    return false;
}

static void add_picture(walk_state *w, const GumboElement *e)
{
    const char *src = attribute(e, "src"), *alt = attribute(e, "alt");
    if (src == NULL || src[0] == '\0') {
        return;
    }
    /* A picture inside a sentence: what follows goes on with it. */
    const bool inside = w->text.len > 0;
    const int joint = w->joint;
    flush_text(w, MM1_HTML_TEXT, 0, MM1_JOINT_SPACE);
    if (!inside) {
        w->joint = joint;
    }
    mm1_html_block block = {.kind = MM1_HTML_PICTURE, .text = mm1_strdup(src)};
    if (block.text == NULL) {
        w->no_memory = true;
        return;
    }
    mm1_buf clean;
    mm1_buf_init(&clean, 1 << 16);
    if (alt != NULL && mm1_prose_squeeze(&clean, alt, strlen(alt)) && clean.len > 0 &&
        mm1_buf_status(&clean) == MM1_OK) {
        block.alt = mm1_buf_take(&clean);
    }
    mm1_buf_deinit(&clean);
    add_block(w, block);
}

static void walk(walk_state *w, const GumboNode *node, int depth);

static void walk_children(walk_state *w, const GumboElement *e, int depth)
{
    for (unsigned i = 0; i < e->children.length; i++) {
        walk(w, e->children.data[i], depth + 1);
    }
}

static void walk_element(walk_state *w, const GumboNode *node, int depth)
{
    const GumboElement *e = &node->v.element;
    const int level = heading_level(e->tag);
    if (is_skipped_tag(e->tag) || is_furniture(e)) {
        return;
    }
    if (e->tag == GUMBO_TAG_PRE || has_word(attribute(e, "class"), "fragment")) {
        flush_text(w, MM1_HTML_TEXT, 0, MM1_JOINT_PARAGRAPH);
        w->page->n_code++;
        return;
    }
    if (e->tag == GUMBO_TAG_TABLE && !holds_picture(node, depth)) {
        flush_text(w, MM1_HTML_TEXT, 0, MM1_JOINT_PARAGRAPH);
        w->page->n_tables++;
        return;
    }
    if (e->tag == GUMBO_TAG_IMG) {
        add_picture(w, e);
        return;
    }
    if (e->tag == GUMBO_TAG_BR) {
        mm1_buf_putc(&w->text, ' ');
        return;
    }
    if (e->tag == GUMBO_TAG_DT && has_word(attribute(e, "class"), "sig")) {
        w->page->n_code++; /* the signature of a function */
        return;
    }
    if (level > 0) {
        flush_text(w, MM1_HTML_TEXT, 0, MM1_JOINT_PARAGRAPH);
        walk_children(w, e, depth);
        flush_text(w, MM1_HTML_HEADING, level, MM1_JOINT_PARAGRAPH);
        return;
    }
    if (!is_block_tag(e->tag)) {
        walk_children(w, e, depth);
        return;
    }
    const bool is_item = e->tag == GUMBO_TAG_LI;
    flush_text(w, MM1_HTML_TEXT, 0, MM1_JOINT_PARAGRAPH);
    if (is_item) {
        w->joint = MM1_JOINT_LINE;
        w->bullet = true;
    }
    walk_children(w, e, depth);
    flush_text(w, MM1_HTML_TEXT, 0, is_item ? MM1_JOINT_LINE : MM1_JOINT_PARAGRAPH);
    w->bullet = w->bullet && !is_item;
}

static void walk(walk_state *w, const GumboNode *node, int depth)
{
    if (depth > MAX_DEPTH || w->no_memory) {
        return;
    }
    switch (node->type) {
    case GUMBO_NODE_TEXT:
    case GUMBO_NODE_CDATA:
    case GUMBO_NODE_WHITESPACE: mm1_buf_puts(&w->text, node->v.text.text); break;
    case GUMBO_NODE_ELEMENT: walk_element(w, node, depth); break;
    default: break;
    }
}

/* The main part of the page, if it says which that is. */
static const GumboNode *find_main(const GumboNode *node, int depth)
{
    if (node->type != GUMBO_NODE_ELEMENT || depth > MAX_DEPTH) {
        return NULL;
    }
    const char *role = attribute(&node->v.element, "role");
    if (node->v.element.tag == GUMBO_TAG_MAIN || (role != NULL && strcmp(role, "main") == 0)) {
        return node;
    }
    for (unsigned i = 0; i < node->v.element.children.length; i++) {
        const GumboNode *found = find_main(node->v.element.children.data[i], depth + 1);
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

/* A bound on nesting before the parser, which recurses, sees the page: open tags minus close tags.  Elements that have
 * no close tag, or whose close tag may be left out, are not counted; they do not nest in themselves. */
static bool nests_too_deep(const char *html, size_t len)
{
    static const char *const flat[] = {"p",   "br",    "img",    "hr",     "li",    "input", "meta", "link",
                                       "td",  "tr",    "th",     "dt",     "dd",    "col",   "area", "base",
                                       "wbr", "param", "option", "source", "tbody", "thead", "tfoot"};
    int64_t open = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        if (html[i] != '<') {
            continue;
        }
        const bool close = html[i + 1] == '/';
        const char *name = html + i + 1 + close, *end = html + len;
        size_t n = 0;
        while (name + n < end && n < 16 && isalnum((unsigned char)name[n])) {
            n++;
        }
        if (n == 0 || !isalpha((unsigned char)name[0])) {
            continue;
        }
        bool counts = true;
        for (size_t k = 0; counts && k < sizeof flat / sizeof flat[0]; k++) {
            counts = strlen(flat[k]) != n || strncasecmp(flat[k], name, n) != 0;
        }
        if (counts) {
            open += close ? (open > 0 ? -1 : 0) : 1;
            if (open > MAX_OPEN_TAGS) {
                return true;
            }
        }
    }
    return false;
}

static bool says_latin1(const char *html, size_t len)
{
    static const char *const names[] = {"iso-8859-1", "ISO-8859-1", "windows-1252"};
    const size_t n = len < 2048 ? len : 2048;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (memmem(html, n, names[i], strlen(names[i])) != NULL) {
            return true;
        }
    }
    return false;
}

mm1_status mm1_html_extract(mm1_html_page *page, const char *html, size_t len, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_buf utf8;
    walk_state w = {.page = page};
    GumboOutput *tree = NULL;
    GumboOptions options = kGumboDefaultOptions;

    *page = (mm1_html_page){0};
    mm1_buf_init(&utf8, (size_t)2 * MM1_HTML_MAX_BYTES);
    mm1_buf_init(&w.text, (size_t)2 * MM1_HTML_MAX_BYTES);
    if (len > MM1_HTML_MAX_BYTES) {
        st = mm1_error_set(err, MM1_E_LIMIT, "HTML of %zu bytes is over the limit of %d", len, MM1_HTML_MAX_BYTES);
        goto out;
    }
    if (nests_too_deep(html, len)) {
        st = mm1_error_set(err, MM1_E_LIMIT, "HTML is nested over %d deep", MAX_OPEN_TAGS);
        goto out;
    }
    if (!mm1_prose_is_utf8(html, len)) {
        if (!says_latin1(html, len)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "HTML is not UTF-8");
            goto out;
        }
        mm1_prose_from_latin1(&utf8, html, len);
        html = mm1_buf_str(&utf8);
        len = utf8.len;
    }
    options.max_errors = 0;
    tree = gumbo_parse_with_options(&options, html, len);
    if (tree == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "HTML of %zu bytes: no memory", len);
        goto out;
    }
    const GumboNode *main_part = find_main(tree->root, 0);
    walk(&w, main_part != NULL ? main_part : tree->root, 0);
    flush_text(&w, MM1_HTML_TEXT, 0, MM1_JOINT_PARAGRAPH);
    if (w.no_memory || mm1_buf_status(&w.text) != MM1_OK) {
        st = mm1_error_set(err, MM1_E_NOMEM, "HTML of %zu bytes: no memory for its text", len);
    }
out:
    if (tree != NULL) {
        gumbo_destroy_output(&options, tree);
    }
    mm1_buf_deinit(&utf8);
    mm1_buf_deinit(&w.text);
    if (st != MM1_OK) {
        mm1_html_page_deinit(page);
    }
    return st;
}

/* source_openclipart.c - the Open Clip Art Library: rendered PNG, with what the SVG beside it says of itself.
 *
 *   png/food/beverages/alcohol/martini_glass_k_yager_02.png
 *   svg/food/beverages/alcohol/martini_glass_k_yager_02.svg   RDF: dc:title "Martini glass", keywords
 *
 * Caption: title, then the names of its folders that the title does not hold, "Martini glass, food, beverages,
 * alcohol". The titles are as good as the thousand hands that wrote them, so:
 *
 *   flags          "flag of <title or file name>"
 *   playing cards  all are titled "card": "8 of clubs, playing card", from the file name simple_c_8
 *   stars          1,375 of one program: "star with 12 points", from star_12pt05step; the first MAX_STARS stay
 *   collections    a title that stands on more than MAX_SAME_TITLE pictures, or "Clipart by <name> - <often another
 *                  picture>", is no title: the file name is taken; icons of desktop themes are left out, their file
 *                  names are those of programs
 *   Italian        one author's titles and file names: left out
 *   gradients      left out: the PNG are all the same */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/prose.h"
#include "data/xml_scan.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STARS = 100, MAX_SAME_TITLE = 12, MAX_TITLE_BYTES = 80 };

typedef struct clip {
    char *title, *keywords; /* may be NULL */
    bool italian;
} clip;

typedef struct clip_reader {
    mm1_source *s;
    mm1_buf path, title, words, creator, caption, concept, scratch;
    mm1_count_map same_title;
    int n_stars;
} clip_reader;

/* The first title and the keywords of the Work. */
static void read_metadata(clip_reader *r, const char *text, size_t len)
{
    bool in_work = false, in_subject = false, has_title = false;
    mm1_xml x = mm1_xml_begin(text, len);
    mm1_buf_clear(&r->title);
    mm1_buf_clear(&r->words);
    mm1_buf_clear(&r->creator);
    while (mm1_xml_next(&x) != MM1_XML_END) {
        if (mm1_xml_is(&x, MM1_XML_OPEN, "Work")) {
            in_work = true;
        } else if (mm1_xml_is(&x, MM1_XML_CLOSE, "Work")) {
            break;
        } else if (mm1_xml_is(&x, MM1_XML_OPEN, "subject") || mm1_xml_is(&x, MM1_XML_CLOSE, "subject")) {
            in_subject = x.kind == MM1_XML_OPEN && !x.is_empty;
        } else if (in_work && mm1_xml_is(&x, MM1_XML_OPEN, "creator")) {
            mm1_xml_text(&x, &r->creator);
        } else if (in_work && !has_title && mm1_xml_is(&x, MM1_XML_OPEN, "title")) {
            has_title = true;
            mm1_xml_text(&x, &r->title);
        } else if (in_subject && mm1_xml_is(&x, MM1_XML_OPEN, "li")) {
            mm1_buf_clear(&r->scratch);
            mm1_xml_text(&x, &r->scratch);
            const char *word = mm1_buf_str(&r->scratch);
            /* "hash" and "0x935a874" are slips of the program that wrote the files. */
            if (r->scratch.len > 1 && strcmp(word, "hash") != 0 && strncmp(word, "0x", 2) != 0) {
                mm1_buf_printf(&r->words, "%s%s", r->words.len > 0 ? " | " : "", word);
            }
        }
    }
}

static bool has(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

/* "simple_d_6" -> "6 of diamonds, playing card"; false if the name is not of that kind. */
static bool put_card(mm1_buf *out, const char *name)
{
    static const struct {
        char c;
        const char *suit;
    } suits[] = {{'c', "clubs"}, {'d', "diamonds"}, {'h', "hearts"}, {'s', "spades"}};
    static const struct {
        const char *code, *rank;
    } ranks[] = {{"a", "ace"}, {"k", "king"}, {"q", "queen"}, {"j", "jack"}};
    const char *last = strrchr(name, '_');
    if (last == NULL || last - name < 2 || last[-2] != '_') {
        return false;
    }
    char rank[8];
    const size_t n = strcspn(last + 1, ".");
    if (n == 0 || n >= sizeof rank) {
        return false;
    }
    memcpy(rank, last + 1, n);
    rank[n] = '\0';
    const char *shown = isdigit((unsigned char)rank[0]) ? rank : NULL;
    for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++) {
        shown = strcmp(rank, ranks[i].code) == 0 ? ranks[i].rank : shown;
    }
    for (size_t i = 0; shown != NULL && i < sizeof suits / sizeof suits[0]; i++) {
        if (last[-1] == suits[i].c) {
            mm1_buf_printf(out, "%s of %s, playing card", shown, suits[i].suit);
            return true;
        }
    }
    return false;
}

static bool is_artist(const char *word, size_t len)
{
    static const char *const artists[] = {"ganson", "benj", "benji", "aj", "sek",  "peterm", "romus", "nicu",
                                          "r",      "gm",   "aiga",  "md", "jean", "bb",     "bmp"};
    for (size_t i = 0; i < sizeof artists / sizeof artists[0]; i++) {
        if (strlen(artists[i]) == len && memcmp(artists[i], word, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Words of the file name.  Names that end in "_01" or "_" carry a cut-off author: "lion_simple_bw_benji_01". */
static void put_file_words(clip_reader *r, mm1_buf *out, const char *name, size_t len)
{
    mm1_buf_clear(&r->scratch);
    mm1_prose_from_name(&r->scratch, name, len);
    const char *p = mm1_buf_str(&r->scratch);
    while (*p != '\0') {
        const size_t n = strcspn(p, " ");
        if (n == 2 && memcmp(p, "bw", 2) == 0) {
            mm1_buf_puts(out, out->len > 0 ? ", black and white" : "black and white");
        } else if (!is_artist(p, n)) {
            mm1_buf_printf(out, "%s%.*s", out->len > 0 ? " " : "", (int)n, p);
        }
        p += n + (p[n] == ' ');
    }
}

/* The title as a phrase: slugs become words, "(B and W)" is said in full, ".svg" goes. */
static void put_title(clip_reader *r, mm1_buf *out, const char *title)
{
    static const char *const endings[] = {"(B and W)", "(B & W)", "(b and w)", "(BW)", "B and W"};
    const char *bw = NULL;
    for (size_t i = 0; bw == NULL && i < sizeof endings / sizeof endings[0]; i++) {
        bw = strstr(title, endings[i]);
    }
    size_t len = bw != NULL ? (size_t)(bw - title) : strlen(title);
    if (len > 4 && memcmp(title + len - 4, ".svg", 4) == 0) {
        len -= 4;
    }
    const size_t begin = out->len;
    if (memchr(title, ' ', len) == NULL || memchr(title, '_', len) != NULL) {
        put_file_words(r, out, title, len);
    } else {
        mm1_buf_append(out, title, len);
    }
    while (out->len > begin && (out->data[out->len - 1] == ' ' || out->data[out->len - 1] == '-')) {
        out->data[--out->len] = '\0';
    }
    if (bw != NULL && out->len > begin) {
        mm1_buf_puts(out, ", black and white");
    }
}

/* "France - Auvergne" -> "Auvergne, France". */
static void turn_round(mm1_buf *words, mm1_buf *scratch)
{
    const char *dash = strstr(mm1_buf_str(words), " - ");
    if (dash != NULL && dash[3] != '\0') {
        mm1_buf_clear(scratch);
        mm1_buf_printf(scratch, "%s, %.*s", dash + 3, (int)(dash - mm1_buf_str(words)), mm1_buf_str(words));
        mm1_buf_clear(words);
        mm1_buf_puts(words, mm1_buf_str(scratch));
    }
}

/* True if the key of `text` holds the word (or the word without its plural s). */
static bool says(const char *text, const char *word, size_t len)
{
    mm1_buf key, wanted;
    mm1_buf_init(&key, 4096);
    mm1_buf_init(&wanted, 256);
    mm1_prose_key(&key, text, strlen(text));
    mm1_prose_key(&wanted, word, len);
    if (wanted.len > 3 && wanted.data[wanted.len - 1] == 's') {
        wanted.data[--wanted.len] = '\0';
    }
    const bool found = wanted.len == 0 || has(mm1_buf_str(&key), mm1_buf_str(&wanted));
    mm1_buf_deinit(&key);
    mm1_buf_deinit(&wanted);
    return found;
}

/* ", food, beverages": folders below png/ that say something and are not said yet. */
static void put_folders(mm1_buf *out, const char *below)
{
    static const char *const dull[] = {"unsorted", "special",     "recreation",  "signs_and_symbols",
                                       "shapes",   "computer",    "science",     "geography",
                                       "office",   "electronics", "people",      "tools",
                                       "smilies",  "callouts",    "map_symbols", "icons",
                                       "buttons",  "unsorted"};
    for (const char *p = below, *slash; (slash = strchr(p, '/')) != NULL; p = slash + 1) {
        const size_t n = (size_t)(slash - p);
        bool skip = says(mm1_buf_str(out), p, n);
        for (size_t i = 0; i < sizeof dull / sizeof dull[0]; i++) {
            skip = skip || (strlen(dull[i]) == n && memcmp(dull[i], p, n) == 0);
        }
        if (!skip) {
            mm1_buf_puts(out, ", ");
            mm1_prose_from_name(out, p, n);
        }
    }
}

/* Fills caption and concept; the reason if there is none. */
static mm1_drop make_caption(clip_reader *r, const char *below, const clip *c)
{
    const char *title = c->title != NULL ? c->title : "";
    const char *name = mm1_path_basename(below);
    int points = 0;
    mm1_buf_clear(&r->caption);
    mm1_buf_clear(&r->concept);
    if (sscanf(name, "star_%2dpt", &points) == 1 && points > 0) {
        if (r->n_stars++ >= MAX_STARS) {
            return MM1_DROP_NEAR_IDENTICAL;
        }
        mm1_buf_printf(&r->caption, "star with %d points", points);
        return MM1_DROP_NONE;
    }
    if (has(below, "special/gradients/")) {
        return MM1_DROP_NEAR_IDENTICAL;
    }
    if (c->italian || has(name, "archite") || has(name, "francesc")) {
        return MM1_DROP_CAPTION_LANGUAGE;
    }
    if (has(below, "games/cards/") && put_card(&r->caption, name)) {
        return MM1_DROP_NONE;
    }
    const bool collection = title[0] == '\0' ||
                            mm1_count_map_get(&r->same_title, mm1_hash64(title, strlen(title), 0)) > MAX_SAME_TITLE ||
                            strncmp(title, "Clipart by", 10) == 0 || has(title, "Collection") || has(title, "SVG") ||
                            has(title, "@") || has(title, "://") || strlen(title) > MAX_TITLE_BYTES;
    if (collection && has(below, "computer/icons/")) {
        return MM1_DROP_CAPTION_EMPTY;
    }
    const bool flag = has(below, "signs_and_symbols/flags/");
    mm1_buf words;
    mm1_buf_init(&words, 4096);
    if (collection) {
        put_file_words(r, &words, name, (size_t)(mm1_path_extension(name) - name));
    } else {
        put_title(r, &words, title);
    }
    const bool ok = mm1_prose_has_letters(mm1_buf_str(&words), words.len, 3);
    if (ok && flag && !says(mm1_buf_str(&words), "flag", 4)) {
        bool upper = true;
        turn_round(&words, &r->scratch);
        mm1__flag_concept(&r->concept, mm1_buf_str(&words));
        mm1_buf_puts(&r->caption, "flag of ");
        for (const char *p = mm1_buf_str(&words); *p != '\0'; p++) {
            mm1_buf_putc(&r->caption, upper ? (char)toupper((unsigned char)*p) : *p);
            upper = *p == ' ' && strncmp(p + 1, "and ", 4) != 0 && strncmp(p + 1, "of ", 3) != 0 &&
                    strncmp(p + 1, "the ", 4) != 0;
        }
    } else if (ok) {
        mm1_buf_puts(&r->caption, mm1_buf_str(&words));
        mm1_prose_key(&r->concept, mm1_buf_str(&words), words.len);
        if (!flag) {
            put_folders(&r->caption, below);
        }
    }
    mm1_buf_deinit(&words);
    return ok ? MM1_DROP_NONE : MM1_DROP_CAPTION_EMPTY;
}

static mm1_status list_titles(clip_reader *r, const mm1_names *files, const char *png, const char *svg, clip *clips,
                              mm1_error *err)
{
    for (size_t i = 0; i < files->n; i++) {
        const char *below = files->items[i] + strlen(png) + 1;
        size_t len = 0;
        mm1_buf_clear(&r->path);
        mm1_buf_printf(&r->path, "%s/%.*s.svg", svg, (int)(mm1_path_extension(below) - below), below);
        char *text =
            mm1_path_exists(mm1_buf_str(&r->path)) ? mm1_source_slurp(r->s, mm1_buf_str(&r->path), &len) : NULL;
        if (text == NULL) {
            continue;
        }
        read_metadata(r, text, len);
        mm1_free(text);
        mm1_buf_clear(&r->caption);
        /* Some titles were escaped twice. */
        mm1_buf_clear(&r->scratch);
        mm1_xml_decode(mm1_buf_str(&r->title), r->title.len, &r->scratch);
        if (!mm1_prose_squeeze(&r->caption, mm1_buf_str(&r->scratch), r->scratch.len)) {
            continue;
        }
        clips[i].italian = strcasestr(mm1_buf_str(&r->creator), "rollandin") != NULL ||
                           strcasestr(mm1_buf_str(&r->creator), "archite") != NULL;
        clips[i].title = mm1_strndup(mm1_buf_str(&r->caption), r->caption.len);
        clips[i].keywords = mm1_strndup(mm1_buf_str(&r->words), r->words.len);
        if (clips[i].title == NULL || clips[i].keywords == NULL ||
            mm1_count_map_add(&r->same_title, mm1_hash64(clips[i].title, strlen(clips[i].title), 0)) == UINT32_MAX) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu titles", files->n);
        }
    }
    return MM1_OK;
}

mm1_status mm1__source_openclipart(mm1_source *s, mm1_error *err)
{
    clip_reader r = {.s = s};
    mm1_buf *bufs[] = {&r.path, &r.title, &r.words, &r.creator, &r.caption, &r.concept, &r.scratch};
    mm1_names files = {0};
    clip *clips = NULL;
    int64_t n_links = 0;
    char *png = mm1_path_join(s->path, "png"), *svg = mm1_path_join(s->path, "svg");
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        mm1_buf_init(bufs[i], 1 << 16);
    }
    mm1_status st = png != NULL && svg != NULL ? mm1_source_walk(png, ".png", false, &files, &n_links, err)
                                               : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    if (st == MM1_OK) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_LINK, n_links);
        clips = mm1_calloc(files.n, sizeof *clips);
        st = clips != NULL ? list_titles(&r, &files, png, svg, clips, err)
                           : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    }
    size_t n = 0;
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *below = files.items[i] + strlen(png) + 1;
        const mm1_drop drop = make_caption(&r, below, &clips[i]);
        if (drop != MM1_DROP_NONE) {
            mm1_corpus_drop(s->corpus, s->index, drop, 1);
        } else if (!mm1_source_full(s, n++)) {
            const mm1_picture picture = mm1_source_picture(s, files.items[i]);
            st = mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&r.caption),
                                        r.concept.len > 0 ? mm1_buf_str(&r.concept) : NULL, clips[i].keywords, err);
        }
    }
    for (size_t i = 0; clips != NULL && i < files.n; i++) {
        mm1_free(clips[i].title);
        mm1_free(clips[i].keywords);
    }
    mm1_free(clips);
    mm1_names_free(&files);
    mm1_count_map_deinit(&r.same_title);
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        mm1_buf_deinit(bufs[i]);
    }
    mm1_free(png);
    mm1_free(svg);
    return st;
}

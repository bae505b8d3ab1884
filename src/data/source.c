/* source.c - the table of sources and what their readers share. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/questions.h"
#include <dirent.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 32, MAX_SMALL_FILE_BYTES = 16 << 20 };

static const mm1_source_kind kinds[] = {
    {.name = "tuxpaint",
     .path = "usr/share/tuxpaint/stamps",
     .read = mm1__source_tuxpaint,
     .licence = "GPL-2",
     .package = "tuxpaint-stamps-default",
     .gives = "captions"},
    {.name = "openclipart",
     .path = "usr/share/openclipart",
     .read = mm1__source_openclipart,
     .licence = "CC-PDDC",
     .package = "openclipart-png openclipart-svg",
     .gives = "captions"},
    {.name = "furniture",
     .path = "usr/share/sweethome3d/furniture",
     .read = mm1__source_furniture,
     .licence = "CC0-1.0, CC-BY-3.0",
     .package = "sweethome3d-furniture",
     .gives = "captions"},
    {.name = "qabcs",
     .path = "usr/share/qabcs/abcs/all/pics",
     .read = mm1__source_words,
     .licence = "GPL-3+, CC0-1.0, MIT, PD",
     .package = "qabcs-data",
     .gives = "captions"},
    {.name = "art4apps",
     .path = "usr/share/games/pysiogame/res/images/art4apps",
     .read = mm1__source_words,
     .licence = "public domain, as the package says",
     .package = "pysiogame",
     .gives = "captions"},
    {.name = "games",
     .path = "usr/share/games/thumbnails",
     .read = mm1__source_games,
     .licence = "that of each game",
     .package = "games-thumbnails",
     .gives = "captions"},
    {.name = "emoji",
     .path = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
     .read = mm1__source_emoji,
     .licence = "OFL-1.1, Apache-2.0; names Unicode-DFS-2016",
     .package = "fonts-noto-color-emoji unicode-cldr-core",
     .gives = "captions"},
    {.name = "flags",
     .path = "usr/share/kgeography",
     .read = mm1__source_flags,
     .licence = "GPL-2+",
     .package = "kgeography-data",
     .gives = "captions"},
    {.name = "nebulae",
     .path = "usr/share/stellarium/nebulae/default",
     .read = mm1__source_nebulae,
     .licence = "GPL-2+; credits in textures.json",
     .package = "stellarium-data",
     .gives = "captions",
     .photo = true},
    {.name = "landscapes",
     .path = "usr/share/games/endless-sky",
     .read = mm1__source_landscapes,
     .licence = "CC-BY-SA-4.0, CC-BY-SA-3.0, PD, GPL-3+",
     .package = "endless-sky-data",
     .gives = "captions, documents",
     .photo = true},
    {.name = "gimp-help",
     .path = "usr/share/gimp/2.0/help/en",
     .read = mm1__source_html,
     .licence = "GFDL-1.2+",
     .package = "gimp-help-en",
     .gives = "documents, captions, text"},
    {.name = "sklearn-doc",
     .path = "usr/share/doc/python-sklearn-doc/html",
     .read = mm1__source_html,
     .licence = "BSD-3-Clause",
     .exclude = "*generated/*",
     .package = "python-sklearn-doc",
     .gives = "documents, captions, text"},
    {.name = "skimage-doc",
     .path = "usr/share/doc/python-skimage-doc/html",
     .read = mm1__source_html,
     .licence = "BSD-3-Clause",
     .exclude = "api/*",
     .package = "python-skimage-doc",
     .gives = "documents, captions, text"},
    {.name = "opencv-doc",
     .path = "usr/share/doc/opencv-doc/opencv4/html",
     .read = mm1__source_html,
     .licence = "Apache-2.0",
     .include = "*tutorial_*.html",
     .package = "opencv-doc",
     .gives = "documents, text"},
    {.name = "debian-handbook",
     .path = "usr/share/doc/debian-handbook/html/en-US",
     .read = mm1__source_html,
     .licence = "CC-BY-SA-3.0 or GPL-2+",
     .package = "debian-handbook",
     .gives = "documents, text"},
    {.name = "python-doc",
     .path = "usr/share/doc/python3.11/html",
     .read = mm1__source_html,
     .licence = "PSF-2.0",
     .package = "python3.11-doc",
     .gives = "text, documents"},
    {.name = "rust-doc",
     .path = "usr/share/doc/rust-doc/html/book",
     .read = mm1__source_html,
     .licence = "MIT or Apache-2.0",
     .package = "rust-doc",
     .gives = "text, documents"},
    {.name = "postgresql-doc",
     .path = "usr/share/doc/postgresql-doc-15/html",
     .read = mm1__source_html,
     .licence = "PostgreSQL",
     .package = "postgresql-doc-15",
     .gives = "text, documents"},
    {.name = "debian-policy",
     .path = "usr/share/doc/debian-policy",
     .read = mm1__source_html,
     .licence = "GPL-2+",
     .package = "debian-policy",
     .gives = "text, documents"},
    {.name = "debian-reference",
     .path = "usr/share/debian-reference",
     .read = mm1__source_html,
     .licence = "GPL-2+",
     .package = "debian-reference-en",
     .gives = "text"},
    {.name = "linux-doc",
     .path = "usr/share/doc/linux-doc-6.1/html",
     .read = mm1__source_html,
     .licence = "GPL-2",
     .package = "linux-doc-6.1",
     .gives = "text, documents"},
    {.name = "novels",
     .path = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb",
     .read = mm1__source_novels,
     .licence = "public domain",
     .package = "r-cran-janeaustenr",
     .gives = "text"},
    {.name = "sword",
     .path = "usr/share/sword/modules/comments/zcom/tdavid",
     .read = mm1__source_sword,
     .licence = "public domain",
     .package = "sword-comm-tdavid",
     .gives = "text"},
    {.name = "html", .read = mm1__source_html, .licence = "unknown", .gives = "documents, captions, text"},
    {.name = "text", .read = mm1__source_text, .licence = "unknown", .gives = "text"},
    {.name = "images", .read = mm1__source_images, .licence = "unknown", .gives = "captions"},
    {.name = "manifest", .read = mm1__source_manifest, .licence = "unknown", .gives = "captions"},
    {0},
};

const mm1_source_kind *mm1_source_kind_at(size_t i)
{
    return i + 1 < sizeof kinds / sizeof kinds[0] ? &kinds[i] : NULL;
}

const mm1_source_kind *mm1_source_kind_find(const char *name)
{
    for (const mm1_source_kind *k = kinds; k->name != NULL; k++) {
        if (strcmp(k->name, name) == 0) {
            return k;
        }
    }
    return NULL;
}

void mm1_build_list_kinds(mm1_buf *out)
{
    mm1_buf_printf(out, "%-14s %-26s %s\n", "kind", "gives", "Debian packages");
    for (const mm1_source_kind *k = kinds; k->name != NULL; k++) {
        mm1_buf_printf(out, "%-14s %-26s %s\n", k->name, k->gives, k->package != NULL ? k->package : "(any files)");
    }
    mm1_buf_printf(out, "\n%-14s %s\n", "questions", "ask");
    for (size_t i = 0; mm1_question_kind_at(i) != NULL; i++) {
        const mm1_question_kind *k = mm1_question_kind_at(i);
        mm1_buf_printf(out, "%-14s %s%s%s%s\n", k->name, k->gives, k->package != NULL ? " (" : "",
                       k->package != NULL ? k->package : "", k->package != NULL ? ")" : "");
    }
}

const char *mm1_source_origin(const mm1_source *s, const char *path)
{
    const size_t n = strlen(s->config->root);
    if (n > 0 && strncmp(path, s->config->root, n) == 0) {
        path += n;
        while (*path == '/') {
            path++;
        }
    }
    return path;
}

mm1_picture mm1_source_picture(const mm1_source *s, const char *path)
{
    return (mm1_picture){.path = mm1_source_origin(s, path),
                         .file = path,
                         .photo = s->kind->photo,
                         .crop = !s->kind->photo,
                         .source = s->index};
}

static const char *choose(const char *mine, const char *otherwise)
{
    return mine != NULL && mine[0] != '\0' ? mine : otherwise;
}

bool mm1_source_wants(const mm1_source *s, const char *file)
{
    const char *include = choose(s->entry->include, s->kind->include), *below = file;
    const char *exclude = choose(s->entry->exclude, s->kind->exclude);
    const size_t n = strlen(s->path);
    if (strncmp(file, s->path, n) == 0 && file[n] != '\0') {
        below = file + n + (file[n] == '/');
    }
    return (include == NULL || fnmatch(include, below, 0) == 0) && (exclude == NULL || fnmatch(exclude, below, 0) != 0);
}

bool mm1_source_full(const mm1_source *s, size_t n_so_far)
{
    const bool full = s->entry->max_items > 0 && n_so_far >= (size_t)s->entry->max_items;
    if (full) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_OVER_MAX_ITEMS, 1);
    }
    return full;
}

static bool has_extension(const char *name, const char *extensions)
{
    const char *ext = mm1_path_extension(name);
    const size_t n = strlen(ext);
    for (const char *p = extensions; n > 0 && *p != '\0';) {
        const size_t len = strcspn(p, ",");
        if (len == n && strncasecmp(p, ext, n) == 0) {
            return true;
        }
        p += len + (p[len] == ',');
    }
    return false;
}

static mm1_status walk(const char *dir, const char *extensions, bool links, int depth, mm1_names *out, int64_t *n_links,
                       mm1_error *err)
{
    mm1_names names = {0};
    if (depth > MAX_DEPTH) {
        return mm1_error_set(err, MM1_E_LIMIT, "'%s': folders nested over %d deep", dir, MAX_DEPTH);
    }
    mm1_status st = mm1_dir_list(dir, &names, err);
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        struct stat sb, target;
        char *path = mm1_path_join(dir, names.items[i]);
        if (path == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "'%s': no memory for its list of files", dir);
        } else if (lstat(path, &sb) != 0) {
            /* It has gone since the folder was read. */
        } else if (S_ISDIR(sb.st_mode)) {
            st = walk(path, extensions, links, depth + 1, out, n_links, err);
        } else if (has_extension(path, extensions)) {
            const bool is_link = S_ISLNK(sb.st_mode);
            if (is_link && !links) {
                if (n_links != NULL) {
                    ++*n_links;
                }
            } else if (!is_link || (stat(path, &target) == 0 && S_ISREG(target.st_mode))) {
                if (!mm1_names_add(out, path)) {
                    st = mm1_error_set(err, MM1_E_NOMEM, "'%s': no memory for its list of files", dir);
                }
            }
        }
        mm1_free(path);
    }
    mm1_names_free(&names);
    return st;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

mm1_status mm1_source_walk(const char *dir, const char *extensions, bool links, mm1_names *out, int64_t *n_links,
                           mm1_error *err)
{
    const mm1_status st = walk(dir, extensions, links, 0, out, n_links, err);
    if (st != MM1_OK) {
        mm1_names_free(out);
    } else if (out->n > 1) {
        qsort(out->items, out->n, sizeof *out->items, by_bytes);
    }
    return st;
}

char *mm1_source_slurp(const mm1_source *s, const char *path, size_t *len)
{
    char *text = NULL;
    mm1_error err = {0};
    if (mm1_file_read(path, MAX_SMALL_FILE_BYTES, &text, len, &err) != MM1_OK) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_UNREADABLE, 1);
        return NULL;
    }
    return text;
}

/* source.h - what a source of a build is: a row of a table and a function that lists captions, pages or both.
 *
 * A reader only lists: it opens the small files that say what there is (titles, translations, HTML) and leaves pixels
 * to picture.h.  A file that is missing or broken is counted with mm1_corpus_drop() and passed over; only memory, and a
 * source that is not what the recipe says it is, are failures. */
#ifndef MM1_DATA_SOURCE_H
#define MM1_DATA_SOURCE_H

#include "base/file.h"
#include "data/build.h"
#include "data/corpus.h"
#include <mm1/error.h>

typedef struct mm1_source mm1_source;

typedef struct mm1_source_kind {
    const char *name;
    const char *path; /* below the root; NULL: the recipe must say */
    mm1_status (*read)(mm1_source *s, mm1_error *err);
    const char *licence;
    const char *package;           /* Debian packages that have it; NULL for generic kinds */
    const char *gives;             /* "captions", "documents, text", ...: for the list of kinds */
    bool photo;                    /* pictures are stored as JPEG */
    const char *include, *exclude; /* where the recipe does not say; NULL: all, none */
} mm1_source_kind;

struct mm1_source {
    const mm1_source_kind *kind;
    const mm1_build_config *config;
    const mm1_build_source *entry;
    const char *path; /* resolved: the folder or file to read */
    const char *name; /* in shards and manifest */
    const char *licence;
    int32_t index; /* in the recipe and in corpus->drops */
    mm1_corpus *corpus;
    bool missing; /* its files are not there */
};

/* NULL if there is no kind of that name. */
const mm1_source_kind *mm1_source_kind_find(const char *name);
/* Row i, NULL after the last. */
const mm1_source_kind *mm1_source_kind_at(size_t i);

/* Where `path` would be after unpacking: the part below the root, for the manifest. */
const char *mm1_source_origin(const mm1_source *s, const char *path);

/* A picture in a file, with what the row says. */
mm1_picture mm1_source_picture(const mm1_source *s, const char *path);

/* False if the recipe's (or the row's) patterns leave this file, below s->path, out. */
bool mm1_source_wants(const mm1_source *s, const char *file);

/* True, and counted, when the source has given its max_items. */
bool mm1_source_full(const mm1_source *s, size_t n_so_far);

/* All files below `dir` whose extension (lower-cased) is in the comma list ".png,.jpg", in byte order of the path;
 * links are not followed but listed if they end at a file and `links` is true, else counted in *n_links (may be NULL).
 */
MM1_NODISCARD mm1_status mm1_source_walk(const char *dir, const char *extensions, bool links, mm1_names *out,
                                         int64_t *n_links, mm1_error *err);

/* A whole file, at most 16 MiB, or NULL (counted as unreadable). */
char *mm1_source_slurp(const mm1_source *s, const char *path, size_t *len);

/* Sets `out` to the group of a flag, shared by all sources that have flags. */
void mm1__flag_concept(mm1_buf *out, const char *name);

/* The readers, one file each. */
mm1_status mm1__source_tuxpaint(mm1_source *s, mm1_error *err);
mm1_status mm1__source_openclipart(mm1_source *s, mm1_error *err);
mm1_status mm1__source_furniture(mm1_source *s, mm1_error *err);
mm1_status mm1__source_words(mm1_source *s, mm1_error *err);
mm1_status mm1__source_games(mm1_source *s, mm1_error *err);
mm1_status mm1__source_emoji(mm1_source *s, mm1_error *err);
mm1_status mm1__source_flags(mm1_source *s, mm1_error *err);
mm1_status mm1__source_nebulae(mm1_source *s, mm1_error *err);
mm1_status mm1__source_landscapes(mm1_source *s, mm1_error *err);
mm1_status mm1__source_html(mm1_source *s, mm1_error *err);
mm1_status mm1__source_text(mm1_source *s, mm1_error *err);
mm1_status mm1__source_novels(mm1_source *s, mm1_error *err);
mm1_status mm1__source_sword(mm1_source *s, mm1_error *err);
mm1_status mm1__source_images(mm1_source *s, mm1_error *err);
mm1_status mm1__source_manifest(mm1_source *s, mm1_error *err);

#endif

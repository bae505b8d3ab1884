/* corpus.h - what the sources of a build have given, before it is split and written: pictures, captions, interleaved
 * documents and texts; and a count of all that was dropped, by source and reason.
 *
 * Text is held in memory (a few times the size of what is written); of pictures only the place, their pixels are read
 * by picture.h when all sources have been listed.  All strings belong to the corpus and live as long as it does.
 *
 * Not thread-safe: sources are read one after the other, and what they do in parallel they hand over in order. */
#ifndef MM1_DATA_CORPUS_H
#define MM1_DATA_CORPUS_H

#include "base/hash.h"
#include "data/count_map.h"
#include <mm1/error.h>
#include <mm1/image.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why an item, a picture or a paragraph was left out.       name, text in summary.json and in the table */
#define MM1_DROP_LIST(X)                                                                                               \
    X(NO_CAPTION, "no caption")                                                                                        \
    X(CAPTION_EMPTY, "caption without information")                                                                    \
    X(CAPTION_REPEATED, "caption repeated too often")                                                                  \
    X(CAPTION_LANGUAGE, "caption not in the wanted language")                                                          \
    X(NOT_UTF8, "text is not UTF-8")                                                                                   \
    X(VECTOR_ONLY, "vector graphics only")                                                                             \
    X(LINK, "link to another picture")                                                                                 \
    X(NEAR_IDENTICAL, "near-identical series, over its cap")                                                           \
    X(OVER_MAX_ITEMS, "over max_items of the source")                                                                  \
    X(UNREADABLE, "file cannot be read")                                                                               \
    X(CORRUPT, "picture corrupt or of an unknown format")                                                              \
    X(TOO_LARGE, "picture over the size limits")                                                                       \
    X(TOO_SMALL, "picture too small")                                                                                  \
    X(ASPECT, "picture too long or too tall")                                                                          \
    X(BLANK, "picture of one colour")                                                                                  \
    X(SAME_PIXELS, "same pixels as an earlier item")                                                                   \
    X(PICTURE_URL, "figure's name says logo, button, icon, plugin or widget")                                          \
    X(PICTURE_REMOTE, "figure is not a local file")                                                                    \
    X(PICTURE_MISSING, "figure's file is missing")                                                                     \
    X(PICTURE_FREQUENT, "figure occurs too often in the source")                                                       \
    X(PICTURE_AGAIN, "figure repeated on one page")                                                                    \
    X(PAGE_NO_TEXT, "page without text")                                                                               \
    X(PAGE_UNPARSED, "page cannot be parsed or is over the size limit")                                                \
    X(DOCUMENT_NO_PICTURE, "document left without a figure, kept as text")                                             \
    X(DOCUMENT_MANY_PICTURES, "document with too many figures")                                                        \
    X(DOCUMENT_NO_TEXT, "document with too little text")                                                               \
    X(DOCUMENT_AGAIN, "same document as an earlier one")                                                               \
    X(PARAGRAPH_AGAIN, "paragraph repeated elsewhere")                                                                 \
    X(PARAGRAPH_FREQUENT, "boilerplate paragraph on many pages")                                                       \
    X(PLACEHOLDER, "placeholder paragraph (TODO)")                                                                     \
    X(CODE_BLOCK, "code block")                                                                                        \
    X(TABLE, "table")                                                                                                  \
    X(TEXT_SHORT, "text too short")                                                                                    \
    X(TEXT_LANGUAGE, "text mostly symbols or digits")                                                                  \
    X(HELDOUT_PIXELS, "held-out item whose pixels occur in train")                                                     \
    X(HELDOUT_CAPTION, "held-out item whose caption occurs in train")                                                  \
    X(HELDOUT_ELSEWHERE, "pixels or caption held out by the build it is kept apart from")

typedef enum mm1_drop {
#define MM1_DROP_ENUM(name, text) MM1_DROP_##name,
    MM1_DROP_LIST(MM1_DROP_ENUM)
#undef MM1_DROP_ENUM
        MM1_DROP_COUNT,
    MM1_DROP_NONE = MM1_DROP_COUNT
} mm1_drop;

const char *mm1_drop_text(mm1_drop reason);

/* Draws picture `id` (an emoji, say).  Thread-safe. */
typedef mm1_status mm1_picture_draw_fn(void *ctx, uint32_t id, mm1_image *out, mm1_error *err);

/* A picture: where its pixels come from, and what is known once picture.h has read them. */
typedef struct mm1_picture {
    const char *path;     /* of origin, relative to the root; names the picture: one path is one picture */
    const char *file;     /* to read; or NULL and `bytes` or `draw` */
    const uint8_t *bytes; /* [len], belongs to the corpus; encoded */
    size_t len;
    mm1_picture_draw_fn *draw;
    void *draw_ctx;
    uint32_t draw_id;
    bool photo;  /* stored as JPEG */
    bool crop;   /* white margins are cut off */
    bool figure; /* of a page: min_px and max_aspect apply to the file as it is */
    int32_t source;

    /* Filled by mm1_pictures_load(). */
    mm1_drop drop; /* MM1_DROP_NONE: usable */
    char sha256[MM1_SHA256_HEX_BYTES];
    uint64_t pixels;       /* hash of the picture at 64 x 64 px */
    int32_t width, height; /* px, as stored */
    bool jpeg;
    uint64_t spill_offset; /* of the encoded bytes in the spill file */
    uint32_t spill_len;
} mm1_picture;

enum { MM1_PICTURE_NONE = UINT32_MAX >> 1 };

typedef struct mm1_caption {
    int32_t source;
    uint32_t picture;
    const char *text;     /* squeezed UTF-8 */
    const char *key;      /* mm1_prose_key() of text */
    const char *concept;  /* names the group that is not split between train and held-out */
    const char *keywords; /* "animal | cat | pet"; may be NULL */
    float size_cm[3];     /* width, depth, height of the thing itself; 0: not known */
    bool heldout;
    mm1_drop drop;
} mm1_caption;

typedef enum mm1_joint { MM1_JOINT_PARAGRAPH, MM1_JOINT_LINE, MM1_JOINT_SPACE } mm1_joint;

typedef struct mm1_page_part {
    const char *text; /* NULL: a picture, or nothing if that is MM1_PICTURE_NONE */
    uint32_t picture;
    uint8_t level; /* of a heading, 1 .. 6; 0: none */
    uint8_t joint; /* mm1_joint: how the text follows the one before */
} mm1_page_part;

/* An interleaved document, or a text if none of its parts is a picture. */
typedef struct mm1_page {
    int32_t source;
    const char *path;   /* of origin */
    const char *sha256; /* of the original file */
    const char *concept;
    mm1_page_part *parts;
    size_t n_parts;
    bool heldout;
    mm1_drop drop;
} mm1_page;

typedef struct mm1_pool_block mm1_pool_block;

typedef struct mm1_corpus {
    mm1_picture *pictures;
    size_t n_pictures, cap_pictures;
    mm1_caption *captions;
    size_t n_captions, cap_captions;
    mm1_page *pages;
    size_t n_pages, cap_pages;
    int64_t (*drops)[MM1_DROP_COUNT]; /* [n_sources] */
    int32_t n_sources;
    mm1_count_map picture_of_path; /* hash of the path -> index + 1 */
    mm1_pool_block *pool;
    /* Called with its argument when the corpus goes: for what the pictures' draw_ctx points to. */
    struct {
        void (*fn)(void *ctx);
        void *ctx;
    } closers[16];
    int n_closers;
} mm1_corpus;

MM1_NODISCARD mm1_status mm1_corpus_init(mm1_corpus *corpus, int32_t n_sources, mm1_error *err);
void mm1_corpus_deinit(mm1_corpus *corpus); /* accepts a zeroed corpus */

/* Memory that lives as long as the corpus; 8-byte aligned; NULL if short. */
void *mm1_corpus_alloc(mm1_corpus *corpus, size_t n, size_t size);
/* A copy with a NUL at its end. */
char *mm1_corpus_strndup(mm1_corpus *corpus, const char *s, size_t len);

/* fn(ctx) will run when the corpus goes; MM1_E_LIMIT over 16 (fn has then run already). */
MM1_NODISCARD mm1_status mm1_corpus_on_close(mm1_corpus *corpus, void (*fn)(void *ctx), void *ctx, mm1_error *err);

void mm1_corpus_drop(mm1_corpus *corpus, int32_t source, mm1_drop reason, int64_t n);

/* Adds a picture (strings are copied, bytes too) or finds the one that has this path already.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_corpus_add_picture(mm1_corpus *corpus, const mm1_picture *picture, uint32_t *id,
                                                mm1_error *err);

/* Adds a caption pair.  text is squeezed; it is counted as dropped, and MM1_OK returned, if it is empty, not UTF-8, or
 * has fewer than two letters or digits and no symbol.  concept NULL: the caption's key.  keywords may be NULL. */
MM1_NODISCARD mm1_status mm1_corpus_add_caption(mm1_corpus *corpus, const mm1_picture *picture, const char *text,
                                                const char *concept, const char *keywords, mm1_error *err);

/* Adds a page with copies of its parts; the strings must already belong to the corpus. */
MM1_NODISCARD mm1_status mm1_corpus_add_page(mm1_corpus *corpus, const mm1_page *page, mm1_error *err);

#endif

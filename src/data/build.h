/* build.h - from files on this machine to training shards: captions, interleaved documents and text, split by concept.
 *
 * mm1_data_build() reads every source of the configuration, cleans and filters it, splits it into train and held-out by
 * concept, and writes
 *
 *   <out>/train/captions-0000.tar ...     WebDataset: key.png or key.jpg, key.txt, key.json
 *   <out>/train/documents-0000.tar ...    key.json {"texts": [.., null], "images": [null, "key.0.png"]} and its
 * pictures <out>/train/text-0000.jsonl.zst ...   {"text": "...", "source": "..."} <out>/heldout/... the same
 *   <out>/manifest.jsonl                  one line an item: path, sha256 of the original, licence, split, source,
 * concept <out>/summary.json                    counts by source and split, what was dropped and why
 *
 * With `questions` it writes conversations about the pictures instead (questions.h, question_writer.c):
 *
 *   <out>/train/messages-0000.tar ...     key.json {"messages": [..], "qa": {..}, ..}, key.0.png or key.0.jpg, ...
 *
 * The folder appears complete or not at all.  The same files and configuration give the same bytes, whatever the number
 * of threads.  What each source is: docs/data.md. */
#ifndef MM1_DATA_BUILD_H
#define MM1_DATA_BUILD_H

#include "base/buf.h"
#include "base/fields.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One entry of `build.sources` in a recipe. */
typedef struct mm1_build_source {
    char *kind;    /* a row of the table in source.c: "tuxpaint", "html", ... */
    char *name;    /* in shards and manifest; NULL or "": the kind */
    char *path;    /* folder or file; relative to root; NULL or "": where the kind's package puts it */
    char *licence; /* NULL or "": the kind's */
    char *include; /* pattern (*, ?, [..]; * also matches /) of paths below `path`; NULL or "": the kind's, or all */
    char *exclude; /* the same for what is left out */
    char *caption_prefix; /* before every caption: what kind of picture it is, "clip art: "; NULL or "": nothing */
    int64_t max_items;    /* captions, pages or files read at most; 0: all */
} mm1_build_source;

/* One entry of `build.questions`: conversations of one kind. */
typedef struct mm1_build_questions {
    char *kind;             /* a row of the table in questions.c: "naming", "scenes", ... */
    int64_t train, heldout; /* conversations at most */
    int64_t px;             /* side of the pictures that the kind draws; 0: the kind's */
} mm1_build_questions;

typedef struct mm1_build_config {
    char *out;  /* folder to make */
    char *root; /* where packages are unpacked, "/" for installed ones; NULL or "": scripts/demo-data.sh's, else "/" */
    char *package_lists;      /* folder with apt's *_Packages files, for the descriptions of games */
    int64_t max_px;           /* longer pictures are scaled down to this long side */
    int64_t min_px;           /* figures of pages whose shorter side is less are dropped */
    double max_aspect;        /* pictures longer or taller than this are dropped */
    int64_t max_pixels;       /* pictures over this are not decoded */
    int64_t jpeg_quality;     /* of stored photographs */
    int64_t max_words;        /* of one document or text; longer pages are cut at headings and paragraphs */
    int64_t max_images;       /* of one document; pages with more are dropped */
    int64_t max_repeats;      /* a figure or a paragraph that stands on more pages of a source is dropped */
    int64_t max_same_caption; /* of the captions that are the same, so many stay */
    char *against;          /* folder of an earlier build; what it holds out is not trained on here; NULL or "": none */
    int64_t heldout_one_in; /* concepts with sha256 mod this == 0 are held out; 0: none */
    int64_t shard_bytes;    /* a new shard starts after so many bytes */
    int64_t seed;           /* of the order in which items are written */
    mm1_build_source *sources;
    size_t n_sources;
    mm1_build_questions *questions; /* none: captions, documents and text are written; else conversations */
    size_t n_questions;
} mm1_build_config;

/* The table of mm1_build_config: a recipe reads it, mm1_fields_deinit() frees it. */
extern const mm1_field mm1__build_fields[];

/* The table's numbers, for callers in C; strings and sources are NULL. */
mm1_build_config mm1_build_config_default(void);

typedef struct mm1_build_counts {
    int64_t captions, documents, images, texts; /* images: of documents */
    int64_t caption_words, document_words, text_bytes, text_words;
} mm1_build_counts;

typedef struct mm1_build_summary {
    bool skipped; /* <out> was already there, made from the same recipe; counts are then zero */
    mm1_build_counts train, heldout;
    int64_t train_images; /* distinct pictures (by pixels) of captions and documents in train */
    double seconds;
    char *table; /* what a person wants to see, several lines; freed by mm1_build_summary_deinit() */
} mm1_build_summary;

/* MM1_E_CONFIG (unknown kind, value out of range), MM1_E_STATE (<out> exists and comes from another recipe), MM1_E_IO,
 * MM1_E_NOMEM.  A source whose files are not there is reported through the log and in the summary, and is no failure
 * unless no source is there at all (MM1_E_IO). */
MM1_NODISCARD mm1_status mm1_data_build(const mm1_build_config *config, mm1_build_summary *summary, mm1_error *err);
void mm1_build_summary_deinit(mm1_build_summary *summary);

/* The tables of source kinds and of question kinds, for `mm1 data build --list-sources`. */
void mm1_build_list_kinds(mm1_buf *out);

#endif

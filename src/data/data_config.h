/* data_config.h - the `data` part of a recipe: where samples come from, in which proportion, and how they fill batches.
 *
 *     data:
 *       seq_len: 512
 *       batch: 8
 *       sources:
 *         - {name: captions, kind: captions, path: "data/train/captions-*.tar", weight: 0.45}
 *         - {name: pages, kind: interleaved, path: "data/train/documents-{0000..0003}.tar", weight: 0.45}
 *         - {name: text, kind: text, format: jsonl, path: "data/train/text-*.jsonl.zst", weight: 0.1}
 *
 * Plain data, owned strings; filled by the tables below (base/fields.h), freed by mm1_fields_deinit(). */
#ifndef MM1_DATA_DATA_CONFIG_H
#define MM1_DATA_DATA_CONFIG_H

#include "base/fields.h"
#include "model/chat_template.h"

typedef enum mm1_data_kind {
    MM1_DATA_CAPTIONS,
    MM1_DATA_INTERLEAVED,
    MM1_DATA_TEXT,
    MM1_DATA_IMAGES,        /* pictures without text: for encoders */
    MM1_DATA_CONVERSATIONS, /* of which the answers are learned */
    MM1_DATA_KIND_COUNT
} mm1_data_kind;

typedef enum mm1_data_format {
    MM1_DATA_AUTO, /* captions: webdataset; interleaved: obelics; text: jsonl for *.jsonl and *.jsonl.zst, else text;
                      images: idx; conversations: llava for *.json, else messages */
    MM1_DATA_WEBDATASET, /* tar: key.png|jpg|webp and key.txt, or key.json with "caption" or "text" */
    MM1_DATA_OBELICS,    /* tar: key.json {"texts": [...|null], "images": ["member"|null ...]} and its pictures */
    MM1_DATA_MMC4,       /* tar of key.json, or *.jsonl, with "text_list" and "image_info" */
    MM1_DATA_JSONL,      /* one object with "text" a line; also .zst */
    MM1_DATA_PLAIN,      /* "text": a file is a document; also .zst */
    MM1_DATA_IDX,        /* pictures of one byte a pixel as in MNIST (idx.h); also .gz */
    MM1_DATA_LLAVA,      /* JSON list or lines: "conversations" of {"from", "value"}, "image"; or tar of key.json */
    MM1_DATA_MESSAGES,   /* JSON lines or list: "messages" of {"role", "content"}, "images"; or tar of key.json */
    MM1_DATA_FORMAT_COUNT
} mm1_data_format;

typedef enum mm1_data_jpeg {
    MM1_DATA_JPEG_EXACT,  /* mm1_image_decode() */
    MM1_DATA_JPEG_SCALED, /* mm1_image_decode_scaled() */
    MM1_DATA_JPEG_COUNT
} mm1_data_jpeg;

enum { MM1_DATA_MAX_SOURCES = 64, MM1_DATA_MAX_TOGETHER = 64 };

typedef struct mm1_data_source {
    char *name;
    mm1_data_kind kind;
    mm1_data_format format;
    char *path;         /* *, ?, [..], {a,b} and {0000..0031}, as mm1_path_glob() reads them */
    double weight;      /* share of the rows, relative to the other sources; 0 leaves the source out */
    int64_t max_images; /* of one example: documents with more are cut */
    double crop_min;    /* as data.crop_min, for this source; 0: that one */
    bool flip;          /* pictures are mirrored, left for right, half of the time */
    double jitter;      /* brightness and contrast change by a factor drawn from 1 - jitter to 1 + jitter */
    char *images;       /* CONVERSATIONS: folder or tar files of their pictures; NULL: the folder of the first file */
    char *text_field;   /* CAPTIONS: member of a sample's JSON that is its text, if it has one; NULL: the caption */
    char *text_prefix;  /* put in front of that text; NULL: nothing */
    int64_t together;   /* CAPTIONS, CONVERSATIONS: so many samples make one document; 0 is 1 */
    char *sampling_strategy; /* as mm1_data_sampling_parse() reads it; NULL: all */
} mm1_data_source;

typedef struct mm1_data_config {
    mm1_data_source *sources;
    size_t n_sources;
    int64_t seq_len;        /* positions of a row */
    int64_t batch;          /* rows a step, over all ranks */
    int64_t max_images;     /* of a row */
    double crop_min;        /* pictures are cut at random to a share of each side drawn from [crop_min, 1]; 1: never */
    mm1_chat_template chat; /* how conversations are put; AUTO: as the model's folder says, or plain */
    double token_drop;      /* most of a caption's tokens that the decoder does not get to read, only to predict */
    mm1_data_jpeg jpeg;     /* how much of a JPEG is decoded */
    int64_t cache_mb;       /* MiB of decoded pictures kept for later epochs; 0: none */
    double bad_share_max;   /* samples that cannot be read, of those seen, before the run stops */
    int64_t workers;        /* threads that read, tokenise and decode */
    int64_t prefetch;       /* batches made ahead */
} mm1_data_config;

extern const mm1_field mm1__data_source_fields[];
extern const mm1_field mm1__data_fields[];
extern const char *const mm1__data_kind_names[];   /* ends with NULL */
extern const char *const mm1__data_format_names[]; /* ends with NULL */
extern const char *const mm1__data_jpeg_names[];   /* ends with NULL */

/* Beyond the ranges: at least one source with a weight, names given once, formats that belong to their kind.
 * MM1_E_CONFIG names the key. */
MM1_NODISCARD mm1_status mm1_data_config_check(const mm1_data_config *config, mm1_error *err);

/* data.crop_min as it holds for source i. */
/* How many samples of a source make one document, 1 or more. */
int64_t mm1_data_together(const mm1_data_source *source);
double mm1_data_crop_min(const mm1_data_config *config, size_t i);
/* Whether each epoch sees other pixels of the pictures of source i. */
bool mm1_data_changes_pictures(const mm1_data_config *config, size_t i);

/* Which samples of a source are used: "all", "first:N", "last:N" (or "end:N") or "random:N"; N a number, or "P%". */
typedef struct mm1_sampling_strategy {
    enum { MM1_SAMPLING_ALL, MM1_SAMPLING_FIRST, MM1_SAMPLING_LAST, MM1_SAMPLING_RANDOM } kind;
    int64_t n;    /* samples; 0: */
    double share; /* this share of them */
} mm1_sampling_strategy;

/* text NULL: all.  MM1_E_CONFIG says what may be written. */
MM1_NODISCARD mm1_status mm1_data_sampling_parse(const char *text, mm1_sampling_strategy *out, mm1_error *err);
/* Samples of n_all that are used: a share is rounded up, and none is used twice. */
int64_t mm1_data_sampling_count(const mm1_sampling_strategy *s, int64_t n_all);

/* What MM1_DATA_AUTO stands for. */
mm1_data_format mm1_data_source_format(const mm1_data_source *source);

#endif

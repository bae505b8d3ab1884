/* reader_impl.h - what the formats behind reader.h share. */
#ifndef MM1_DATA_READER_IMPL_H
#define MM1_DATA_READER_IMPL_H

#include "data/idx.h"
#include "data/picture_store.h"
#include "data/reader.h"
#include "data/reader_lines.h"
#include "data/reader_shards.h"
#include <jansson.h>

enum {
    MM1_READER_MAX_TEXT_BYTES = 64 << 20, /* of one sample */
    MM1_READER_MAX_JSON_BYTES = 64 << 20,
    MM1_READER_MAX_IMAGES = 256, /* of one sample */
};

struct mm1_reader {
    mm1_data_format format;
    mm1_names paths;
    mm1_shards shards;    /* tar formats; else empty */
    mm1_line_index lines; /* line formats; else empty */
    mm1_idx *idx;         /* [paths.n] of the idx format; else NULL */
    int64_t n_samples;    /* that are used: */
    int64_t n_all, first; /* of all, from this one on, */
    bool is_random;       /* or drawn from all by the seed */
    uint64_t seed;
    char *text_field, *text_prefix; /* of captions; may be NULL */
    mm1_chat_template chat;         /* of conversations */
    mm1_picture_store *pictures;    /* of conversations in files of JSON; else NULL */
};

/* Fill *out (which has its name already) from sample i of tar shards, a line of JSON, or a file.  Errors do not name
 * the sample: mm1_reader_get() does. */
MM1_NODISCARD mm1_status mm1__webdataset_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err);
MM1_NODISCARD mm1_status mm1__obelics_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err);
MM1_NODISCARD mm1_status mm1__mmc4_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err);
MM1_NODISCARD mm1_status mm1__jsonl_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err);
MM1_NODISCARD mm1_status mm1__plain_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err);
/* Samples which[n], one after the other; *bad is the one that failed. */
MM1_NODISCARD mm1_status mm1__conversation_get(const mm1_reader *r, const int64_t *which, size_t n, size_t *bad,
                                               mm1_document *out, mm1_error *err);

MM1_NODISCARD mm1_status mm1__idx_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err);

/* Files of idx are read whole at once.  find: the file that sample i is in, and its number there. */
MM1_NODISCARD mm1_status mm1__idx_open(mm1_reader *r, mm1_error *err);
void mm1__idx_close(mm1_reader *r);
size_t mm1__idx_find(const mm1_reader *r, int64_t i, int64_t *item);

/* An object from bytes, with caps; free it with json_decref(). */
MM1_NODISCARD mm1_status mm1__reader_json(const void *bytes, size_t len, json_t **out, mm1_error *err);
/* The JSON of sample i, from its .json member (*sample then says where) or its line (*sample is NULL). */
MM1_NODISCARD mm1_status mm1__reader_load(const mm1_reader *r, int64_t i, const mm1_shard_sample **sample,
                                          json_t **root, mm1_error *err);
/* Adds the member of the sample that is called `name`, with or without its folder. */
MM1_NODISCARD mm1_status mm1__reader_member_image(const mm1_reader *r, const mm1_shard_sample *sample, const char *name,
                                                  mm1_document *out, mm1_error *err);
/* Moves *text over white space at both ends. */
void mm1__reader_trim(const char **text, size_t *len);

#endif

/* reader_shards.h - tar shards in WebDataset's order: neighbouring members with the same key are one sample.
 *
 * The key is the name up to the first '.' of its base name: "a/000012.0.png" has the key "a/000012" and the extension
 * "0.png".  Every shard is mapped and indexed once. */
#ifndef MM1_DATA_READER_SHARDS_H
#define MM1_DATA_READER_SHARDS_H

#include "base/file.h"
#include "base/tar.h"

typedef struct mm1_shard_sample {
    uint32_t shard;
    uint32_t first, n; /* members */
} mm1_shard_sample;

typedef struct mm1_shards {
    mm1_tar_index *tars; /* one a path */
    size_t n_tars;
    mm1_shard_sample *samples;
    size_t n_samples, cap_samples;
} mm1_shards;

typedef struct mm1_shard_member {
    const char *name;      /* in the tar */
    const char *extension; /* points into name, behind the key's '.'; "" if there is none */
    const uint8_t *bytes;  /* borrowed from the map */
    size_t len;
} mm1_shard_member;

/* A shard that is cut short is MM1_E_FORMAT with its path. */
MM1_NODISCARD mm1_status mm1_shards_open(mm1_shards *out, const mm1_names *paths, mm1_error *err);
void mm1_shards_close(mm1_shards *shards); /* accepts a zeroed one */

/* Member k < n of a sample. */
mm1_shard_member mm1_shards_member(const mm1_shards *shards, const mm1_shard_sample *sample, uint32_t k);
/* Length of the key in a member's name. */
size_t mm1_shards_key_len(const char *name);

#endif

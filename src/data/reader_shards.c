/* reader_shards.c - see reader_shards.h. */
#include "data/reader_shards.h"

#include "base/alloc.h"
#include <string.h>

size_t mm1_shards_key_len(const char *name)
{
    const char *base = mm1_path_basename(name), *dot = strchr(base, '.');
    return dot != NULL ? (size_t)(dot - name) : strlen(name);
}

static mm1_status add_sample(mm1_shards *shards, mm1_shard_sample sample, const char *path, mm1_error *err)
{
    if (shards->n_samples == shards->cap_samples) {
        const size_t cap = shards->cap_samples == 0 ? 256 : shards->cap_samples * 2;
        mm1_shard_sample *grown = mm1_realloc(shards->samples, cap, sizeof *grown);
        if (grown == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to index %zu samples", path, cap);
        }
        shards->samples = grown;
        shards->cap_samples = cap;
    }
    shards->samples[shards->n_samples++] = sample;
    return MM1_OK;
}

static bool same_key(const char *a, const char *b)
{
    const size_t len = mm1_shards_key_len(a);
    return len == mm1_shards_key_len(b) && memcmp(a, b, len) == 0;
}

static mm1_status index_shard(mm1_shards *shards, size_t i, const char *path, mm1_error *err)
{
    const mm1_tar_index *tar = &shards->tars[i];
    mm1_status st = MM1_OK;
    if (tar->n > UINT32_MAX) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: %zu members are over the limit of %u", path, tar->n, UINT32_MAX);
    }
    for (size_t first = 0, end; st == MM1_OK && first < tar->n; first = end) {
        end = first + 1;
        while (end < tar->n && same_key(tar->members[first].name, tar->members[end].name)) {
            end++;
        }
        st = add_sample(shards, (mm1_shard_sample){(uint32_t)i, (uint32_t)first, (uint32_t)(end - first)}, path, err);
    }
    return st;
}

mm1_status mm1_shards_open(mm1_shards *out, const mm1_names *paths, mm1_error *err)
{
    mm1_status st = MM1_OK;
    *out = (mm1_shards){0};
    out->tars = mm1_calloc(paths->n, sizeof *out->tars);
    if (out->tars == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu shards", paths->n);
    }
    out->n_tars = paths->n;
    for (size_t i = 0; st == MM1_OK && i < paths->n; i++) {
        st = mm1_tar_index_open(&out->tars[i], paths->items[i], err);
        if (st == MM1_OK) {
            st = index_shard(out, i, paths->items[i], err);
        }
    }
    if (st != MM1_OK) {
        mm1_shards_close(out);
    }
    return st;
}

void mm1_shards_close(mm1_shards *shards)
{
    for (size_t i = 0; i < shards->n_tars; i++) {
        mm1_tar_index_close(&shards->tars[i]);
    }
    mm1_free(shards->tars);
    mm1_free(shards->samples);
    *shards = (mm1_shards){0};
}

mm1_shard_member mm1_shards_member(const mm1_shards *shards, const mm1_shard_sample *sample, uint32_t k)
{
    const mm1_tar_member *m = &shards->tars[sample->shard].members[sample->first + k];
    const size_t key = mm1_shards_key_len(m->name);
    return (mm1_shard_member){.name = m->name,
                              .extension = m->name[key] == '.' ? m->name + key + 1 : m->name + key,
                              .bytes = m->data,
                              .len = m->size};
}

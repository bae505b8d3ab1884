/* build_against.c - what another build holds out, so that this one does not train on it. */
#include "data/build_internal.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/tar.h"
#include "data/picture.h"
#include "data/prose.h"
#include <mm1/image.h>
#include <string.h>

enum { MAX_MEMBER_BYTES = 64 << 20 };

static mm1_status out_of_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for what another build holds out");
}

static bool add_key(mm1_buf *key, const char *text, size_t len, mm1_count_map *captions)
{
    mm1_buf_clear(key);
    mm1_prose_key(key, text, len);
    return mm1_buf_status(key) == MM1_OK &&
           (key->len == 0 || mm1_count_map_add(captions, mm1__build_text_hash(mm1_buf_str(key))) != UINT32_MAX);
}

/* A caption counts as it is and without what a caption_prefix may have put before it ("clip art: "). */
static mm1_status read_member(const mm1_tar_member *m, mm1_buf *key, mm1_build_heldout *out, mm1_error *err)
{
    const char *ext = mm1_path_extension(m->name), *text = (const char *)m->data;
    if (strcmp(ext, ".txt") == 0) {
        const char *colon = memchr(text, ':', m->size);
        const size_t skip = colon != NULL ? (size_t)(colon + 1 - text) : m->size;
        const bool ok =
            add_key(key, text, m->size, &out->captions) && add_key(key, text + skip, m->size - skip, &out->captions);
        return ok ? MM1_OK : out_of_memory(err);
    }
    if (strcmp(ext, ".png") != 0 && strcmp(ext, ".jpg") != 0) {
        return MM1_OK;
    }
    mm1_image image = {0};
    uint64_t hash = 0;
    bool one_colour = false;
    mm1_status st = mm1_image_decode(m->data, m->size, &mm1_image_limits_default, m->name, &image, err);
    if (st == MM1_OK) {
        st = mm1_picture_pixel_hash(&image, &hash, &one_colour, err);
    }
    if (st == MM1_OK && mm1_count_map_add(&out->pixels, hash) == UINT32_MAX) {
        st = out_of_memory(err);
    }
    mm1_image_deinit(&image);
    return st;
}

static mm1_status read_shard(const char *path, mm1_buf *key, mm1_build_heldout *out, mm1_error *err)
{
    mm1_tar *tar = NULL;
    mm1_tar_member m = {.name = ""};
    mm1_status st = mm1_tar_open(&tar, path, MAX_MEMBER_BYTES, err);
    while (st == MM1_OK && m.name != NULL) {
        st = mm1_tar_next(tar, &m, err);
        if (st == MM1_OK && m.name != NULL) {
            st = read_member(&m, key, out, err);
            st = st == MM1_OK ? MM1_OK : mm1_error_wrap(err, st, "build.against: %s", path);
        }
    }
    mm1_tar_close(tar);
    return st;
}

mm1_status mm1__build_read_heldout(const char *dir, mm1_build_heldout *out, mm1_error *err)
{
    mm1_names files = {0};
    mm1_buf key;
    mm1_buf_init(&key, 1 << 20);
    char *heldout = mm1_path_join(dir, "heldout");
    mm1_status st = heldout != NULL ? mm1_dir_list(heldout, &files, err) : out_of_memory(err);
    if (st == MM1_E_IO) {
        st = mm1_error_wrap(err, st, "build.against: build '%s' first, or leave the key out", dir);
    }
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        if (strcmp(mm1_path_extension(files.items[i]), ".tar") == 0) {
            char *path = mm1_path_join(heldout, files.items[i]);
            st = path != NULL ? read_shard(path, &key, out, err) : out_of_memory(err);
            mm1_free(path);
        }
    }
    mm1_names_free(&files);
    mm1_buf_deinit(&key);
    mm1_free(heldout);
    return st;
}

void mm1__build_heldout_deinit(mm1_build_heldout *heldout)
{
    mm1_count_map_deinit(&heldout->captions);
    mm1_count_map_deinit(&heldout->pixels);
}

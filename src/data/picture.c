/* picture.c - see picture.h. */
#include "data/picture.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    HASH_PX = 64,    /* side of the square that is hashed */
    WHITE = 250,     /* a channel from here on is white */
    CHUNK = 256,     /* pictures in memory at a time */
    MIN_ANY_PX = 16, /* the longer side of any picture */
    MAX_FILE_BYTES = 64 << 20
};

bool mm1_picture_ink_box(const mm1_image *image, int32_t margin, int32_t box[4])
{
    int32_t x0 = image->width, x1 = -1, y0 = image->height, y1 = -1;
    for (int32_t y = 0; y < image->height; y++) {
        const uint8_t *row = image->rgb + (size_t)y * (size_t)image->width * 3;
        for (int32_t x = 0; x < image->width; x++) {
            if (row[3 * x] < WHITE || row[3 * x + 1] < WHITE || row[3 * x + 2] < WHITE) {
                x0 = x < x0 ? x : x0;
                x1 = x > x1 ? x : x1;
                y0 = y < y0 ? y : y0;
                y1 = y;
            }
        }
    }
    if (x1 < 0) {
        return false;
    }
    x0 = x0 > margin ? x0 - margin : 0;
    y0 = y0 > margin ? y0 - margin : 0;
    x1 = x1 + margin < image->width - 1 ? x1 + margin : image->width - 1;
    y1 = y1 + margin < image->height - 1 ? y1 + margin : image->height - 1;
    box[0] = x0;
    box[1] = y0;
    box[2] = x1 - x0 + 1;
    box[3] = y1 - y0 + 1;
    return true;
}

mm1_status mm1_picture_pixel_hash(const mm1_image *image, uint64_t *hash, bool *one_colour, mm1_error *err)
{
    mm1_image small = {0};
    const mm1_status st = mm1_image_resize(image, HASH_PX, HASH_PX, MM1_FILTER_BILINEAR, &small, err);
    if (st != MM1_OK) {
        return st;
    }
    const size_t n = (size_t)HASH_PX * HASH_PX * 3;
    *hash = mm1_hash64(small.rgb, n, 0);
    *hash += *hash == 0;
    *one_colour = true;
    for (size_t i = 3; i < n && *one_colour; i++) {
        const int diff = small.rgb[i] - small.rgb[i % 3];
        *one_colour = diff >= -3 && diff <= 3;
    }
    mm1_image_deinit(&small);
    return MM1_OK;
}

typedef struct load_job {
    mm1_picture *pictures; /* of this chunk */
    uint8_t *encoded[CHUNK];
    size_t encoded_len[CHUNK];
    const mm1_build_config *config;
} load_job;

static bool too_long(int32_t width, int32_t height, double max_aspect)
{
    const double aspect = width > height ? (double)width / height : (double)height / width;
    return aspect > max_aspect;
}

/* Replaces *image by a part of it. */
static mm1_status crop_to(mm1_image *image, const int32_t box[4], mm1_error *err)
{
    mm1_image part = {0};
    if (box[2] == image->width && box[3] == image->height) {
        return MM1_OK;
    }
    const mm1_status st = mm1_image_crop(image, box[0], box[1], box[2], box[3], &part, err);
    if (st == MM1_OK) {
        mm1_image_deinit(image);
        *image = part;
    }
    return st;
}

static mm1_status scale_to(mm1_image *image, int32_t max_px, mm1_error *err)
{
    const int32_t longer = image->width > image->height ? image->width : image->height;
    if (longer <= max_px) {
        return MM1_OK;
    }
    mm1_image small = {0};
    const int32_t w = (int32_t)(((int64_t)image->width * max_px + longer / 2) / longer);
    const int32_t h = (int32_t)(((int64_t)image->height * max_px + longer / 2) / longer);
    const mm1_status st = mm1_image_resize(image, w > 0 ? w : 1, h > 0 ? h : 1, MM1_FILTER_BICUBIC, &small, err);
    if (st == MM1_OK) {
        mm1_image_deinit(image);
        *image = small;
    }
    return st;
}

static mm1_drop drop_of(mm1_status st)
{
    return st == MM1_E_LIMIT || st == MM1_E_NOMEM ? MM1_DROP_TOO_LARGE : MM1_DROP_CORRUPT;
}

/* The pixels of p and the hash of its original. */
static mm1_drop read_pixels(mm1_picture *p, const mm1_build_config *config, mm1_image *image)
{
    const mm1_image_limits limits = {.max_bytes = MAX_FILE_BYTES, .max_pixels = config->max_pixels, .max_side = 30000};
    mm1_error err = {0};
    mm1_drop drop = MM1_DROP_NONE;
    char *file = NULL;
    const void *bytes = p->bytes;
    size_t len = p->len;

    if (p->draw != NULL) {
        const mm1_status st = p->draw(p->draw_ctx, p->draw_id, image, &err);
        if (st != MM1_OK) {
            return drop_of(st);
        }
        mm1_sha256_hex(p->sha256, image->rgb, (size_t)image->width * (size_t)image->height * 3);
        return MM1_DROP_NONE;
    }
    if (bytes == NULL) {
        const mm1_status st = mm1_file_read(p->file, MAX_FILE_BYTES, &file, &len, &err);
        if (st != MM1_OK) {
            return st == MM1_E_LIMIT ? MM1_DROP_TOO_LARGE : MM1_DROP_UNREADABLE;
        }
        bytes = file;
    }
    mm1_sha256_hex(p->sha256, bytes, len);
    const mm1_status st = mm1_image_decode(bytes, len, &limits, p->path, image, &err);
    if (st != MM1_OK) {
        drop = drop_of(st);
    }
    mm1_free(file);
    return drop;
}

static mm1_drop load_one(mm1_picture *p, const mm1_build_config *config, uint8_t **encoded, size_t *len)
{
    mm1_image image = {0};
    mm1_error err = {0};
    bool one_colour = false;
    mm1_status st = MM1_OK;
    mm1_drop drop = read_pixels(p, config, &image);
    if (drop != MM1_DROP_NONE) {
        goto out;
    }
    const int32_t shorter = image.width < image.height ? image.width : image.height;
    if (p->figure && shorter < config->min_px) {
        drop = MM1_DROP_TOO_SMALL;
        goto out;
    }
    if (p->crop) {
        const int32_t longer = image.width > image.height ? image.width : image.height;
        int32_t box[4];
        if (!mm1_picture_ink_box(&image, longer / 50, box)) {
            drop = MM1_DROP_BLANK;
            goto out;
        }
        st = crop_to(&image, box, &err);
    }
    if (st == MM1_OK && too_long(image.width, image.height, config->max_aspect)) {
        drop = MM1_DROP_ASPECT;
        goto out;
    }
    if (st == MM1_OK && image.width < MIN_ANY_PX && image.height < MIN_ANY_PX) {
        drop = MM1_DROP_TOO_SMALL;
        goto out;
    }
    if (st == MM1_OK) {
        st = scale_to(&image, config->max_px, &err);
    }
    if (st == MM1_OK) {
        st = mm1_picture_pixel_hash(&image, &p->pixels, &one_colour, &err);
    }
    if (st == MM1_OK && one_colour) {
        drop = MM1_DROP_BLANK;
        goto out;
    }
    if (st == MM1_OK) {
        st = p->photo ? mm1_image_encode_jpeg(&image, config->jpeg_quality, encoded, len, &err)
                      : mm1_image_encode_png(&image, encoded, len, &err);
    }
    if (st == MM1_OK && *len > UINT32_MAX) {
        st = MM1_E_LIMIT;
    }
    if (st != MM1_OK) {
        drop = drop_of(st);
    }
    p->jpeg = p->photo;
    p->width = image.width;
    p->height = image.height;
out:
    mm1_image_deinit(&image);
    return drop;
}

static void load_range(void *ctx, int64_t begin, int64_t end)
{
    load_job *job = ctx;
    for (int64_t i = begin; i < end; i++) {
        mm1_picture *p = &job->pictures[i];
        p->drop = load_one(p, job->config, &job->encoded[i], &job->encoded_len[i]);
    }
}

mm1_status mm1_pictures_load(mm1_corpus *corpus, const mm1_build_config *config, const char *spill_path, mm1_error *err)
{
    mm1_status st = MM1_OK;
    uint64_t offset = 0;
    load_job *job = mm1_calloc(1, sizeof *job);
    FILE *spill = fopen(spill_path, "wb");
    if (job == NULL || spill == NULL) {
        st = mm1_error_set(err, spill == NULL ? MM1_E_IO : MM1_E_NOMEM, "data build: cannot write '%s': %s", spill_path,
                           spill == NULL ? strerror(errno) : "no memory");
        goto out;
    }
    job->config = config;
    for (size_t begin = 0; st == MM1_OK && begin < corpus->n_pictures; begin += CHUNK) {
        const size_t n = corpus->n_pictures - begin < CHUNK ? corpus->n_pictures - begin : CHUNK;
        memset(job->encoded, 0, sizeof job->encoded);
        memset(job->encoded_len, 0, sizeof job->encoded_len);
        job->pictures = corpus->pictures + begin;
        mm1_parallel_each((int64_t)n, load_range, job);
        for (size_t i = 0; i < n; i++) {
            mm1_picture *p = &job->pictures[i];
            if (st == MM1_OK && p->drop == MM1_DROP_NONE) {
                p->spill_offset = offset;
                p->spill_len = (uint32_t)job->encoded_len[i];
                offset += p->spill_len;
                if (fwrite(job->encoded[i], 1, p->spill_len, spill) != p->spill_len) {
                    st = mm1_error_set(err, MM1_E_IO, "data build: cannot write '%s': %s", spill_path, strerror(errno));
                }
            }
            mm1_free(job->encoded[i]);
        }
    }
out:
    if (spill != NULL && fclose(spill) != 0 && st == MM1_OK) {
        st = mm1_error_set(err, MM1_E_IO, "data build: cannot write '%s': %s", spill_path, strerror(errno));
    }
    mm1_free(job);
    return st;
}

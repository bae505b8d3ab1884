/* data_fixture.h - small data sets made by the tests themselves: shards of pictures and text, a tokenizer for them. */
#ifndef MM1_TESTS_DATA_FIXTURE_H
#define MM1_TESTS_DATA_FIXTURE_H

#include "support/check.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/tar.h"
#include "data/loader.h"
#include <zstd.h>

enum { FIXTURE_PX = 8, FIXTURE_N_VISUAL = 4 };

typedef struct fixture {
    char dir[256];
    mm1_tokenizer *tokenizer;
    mm1_data_config config;
} fixture;

static inline char *fixture_path(const fixture *f, const char *name)
{
    char *path = mm1_path_join(f->dir, name);
    assert_non_null(path);
    return path;
}

static inline void fixture_write(const fixture *f, const char *name, const void *bytes, size_t len)
{
    mm1_error err = {0};
    char *path = fixture_path(f, name);
    check_ok(mm1_file_write_atomic(path, bytes, len, &err), &err);
    mm1_free(path);
}

static inline void fixture_write_zst(const fixture *f, const char *name, const char *text)
{
    const size_t cap = ZSTD_compressBound(strlen(text));
    char *packed = mm1_alloc(cap, 1);
    assert_non_null(packed);
    const size_t len = ZSTD_compress(packed, cap, text, strlen(text), 3);
    assert_false(ZSTD_isError(len));
    fixture_write(f, name, packed, len);
    mm1_free(packed);
}

/* A PNG of one colour that tells pictures apart: (i, 255 - i, 7 i) mod 256. */
static inline uint8_t *fixture_png(int i, int32_t width, int32_t height, size_t *len)
{
    mm1_error err = {0};
    mm1_image image;
    uint8_t *bytes = NULL;
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (int64_t k = 0; k < (int64_t)width * height; k++) {
        image.rgb[3 * k] = (uint8_t)i;
        image.rgb[3 * k + 1] = (uint8_t)(255 - i);
        image.rgb[3 * k + 2] = (uint8_t)(7 * i);
    }
    check_ok(mm1_image_encode_png(&image, &bytes, len, &err), &err);
    mm1_image_deinit(&image);
    return bytes;
}

static inline void fixture_append(mm1_tar_writer *w, const char *name, const void *bytes, size_t len)
{
    mm1_error err = {0};
    check_ok(mm1_tar_writer_append(w, name, bytes, len, &err), &err);
}

static inline void fixture_append_png(mm1_tar_writer *w, const char *name, int i)
{
    size_t len = 0;
    uint8_t *png = fixture_png(i, 3 + i % 5, 4, &len);
    fixture_append(w, name, png, len);
    mm1_free(png);
}

static inline mm1_tar_writer *fixture_tar(const fixture *f, const char *name)
{
    mm1_error err = {0};
    mm1_tar_writer *w = NULL;
    char *path = fixture_path(f, name);
    check_ok(mm1_tar_writer_open(&w, path, &err), &err);
    mm1_free(path);
    return w;
}

static inline void fixture_finish(mm1_tar_writer *w)
{
    mm1_error err = {0};
    check_ok(mm1_tar_writer_commit(w, &err), &err);
    mm1_tar_writer_close(w);
}

/* captions [first, first + n) with texts of different lengths; bad_every > 0: the picture of every such one is cut off.
 */
static inline void fixture_captions(const fixture *f, const char *name, int first, int n, int bad_every)
{
    mm1_tar_writer *w = fixture_tar(f, name);
    for (int i = first; i < first + n; i++) {
        char member[64], text[256];
        size_t len = 0;
        uint8_t *png = fixture_png(i, 3 + i % 5, 4, &len);
        (void)snprintf(member, sizeof member, "c/%06d.png", i);
        fixture_append(w, member, png, bad_every > 0 && i % bad_every == 0 ? len / 2 : len);
        mm1_free(png);
        (void)snprintf(member, sizeof member, "c/%06d.txt", i);
        (void)snprintf(text, sizeof text, "a cat %d%.*s\n", i, i % 40, " and the red mat on which the cat sat");
        fixture_append(w, member, text, strlen(text));
    }
    fixture_finish(w);
}

/* Pages: page i has 1 + i % 5 pictures between texts, sometimes two texts in a row. */
static inline void fixture_pages(const fixture *f, const char *name, int n)
{
    mm1_tar_writer *w = fixture_tar(f, name);
    for (int i = 0; i < n; i++) {
        mm1_buf json;
        char member[64];
        const int n_images = 1 + i % 5;
        mm1_buf_init(&json, 1 << 16);
        mm1_buf_puts(&json, "{\"texts\":[");
        for (int k = 0; k < n_images; k++) {
            mm1_buf_printf(&json, "%snull,\"page %d text %d: the cat sat on the red mat\"%s", k > 0 ? "," : "", i, k,
                           i % 3 == 0 ? ",\"and again the cat\"" : "");
        }
        mm1_buf_puts(&json, "],\"images\":[");
        for (int k = 0; k < n_images; k++) {
            mm1_buf_printf(&json, "%s\"%06d.%d.png\",null%s", k > 0 ? "," : "", i, k, i % 3 == 0 ? ",null" : "");
        }
        mm1_buf_puts(&json, "]}");
        (void)snprintf(member, sizeof member, "%06d.json", i);
        fixture_append(w, member, mm1_buf_str(&json), json.len);
        mm1_buf_deinit(&json);
        for (int k = 0; k < n_images; k++) {
            (void)snprintf(member, sizeof member, "%06d.%d.png", i, k);
            fixture_append_png(w, member, 16 * i + k);
        }
    }
    fixture_finish(w);
}

/* Lines of 3 to 60 words. */
static inline void fixture_texts(const fixture *f, const char *name, int n)
{
    mm1_buf lines;
    mm1_buf_init(&lines, 1 << 20);
    for (int i = 0; i < n; i++) {
        mm1_buf_printf(&lines, "{\"text\":\"text %d:", i);
        for (int k = 0; k < 3 + i * 7 % 60; k++) {
            mm1_buf_puts(&lines, k % 2 == 0 ? " the cat" : " sat");
        }
        mm1_buf_puts(&lines, "\"}\n");
    }
    if (strstr(name, ".zst") != NULL) {
        fixture_write_zst(f, name, mm1_buf_str(&lines));
    } else {
        fixture_write(f, name, mm1_buf_str(&lines), lines.len);
    }
    mm1_buf_deinit(&lines);
}

static inline bool fixture_next_text(void *ctx, const char **text, size_t *len)
{
    static const char *const corpus[] = {"a cat and the red mat on which the cat sat",
                                         "page text: the cat sat on the mat", "and again the cat and the red mat",
                                         "text: the cat sat the cat sat"};
    int *i = ctx;
    if (*i >= 4) {
        return false;
    }
    *text = corpus[(*i)++];
    *len = strlen(*text);
    return true;
}

static inline void fixture_init(fixture *f)
{
    int at = 0;
    mm1_error err = {0};
    const mm1_tokenizer_train_config config = {.vocab_size = 290, .min_frequency = 2};
    *f = (fixture){0};
    check_tmpdir(f->dir, sizeof f->dir);
    check_ok(mm1_tokenizer_train(&config, fixture_next_text, &at, &f->tokenizer, &err), &err);
    check_ok(mm1_fields_defaults(mm1__data_fields, &f->config, &err), &err);
    f->config.seq_len = 64;
    f->config.batch = 4;
    f->config.max_images = 5;
}

static inline void fixture_deinit(fixture *f)
{
    mm1_error err = {0};
    mm1_fields_deinit(mm1__data_fields, &f->config);
    mm1_tokenizer_destroy(f->tokenizer);
    check_ok(mm1_path_remove(f->dir, &err), &err);
}

/* YAML for one more source; name, kind and so on as in a recipe, path relative to the folder of the fixture. */
static inline void fixture_sources(fixture *f, const char *yaml_list)
{
    mm1_error err = {0};
    mm1_buf assignment;
    mm1_buf_init(&assignment, 1 << 16);
    mm1_buf_puts(&assignment, "sources=");
    for (const char *p = yaml_list; *p != '\0'; p++) {
        if (*p == '@') {
            mm1_buf_printf(&assignment, "%s/", f->dir);
        } else {
            mm1_buf_putc(&assignment, *p);
        }
    }
    check_ok(mm1_fields_set(mm1__data_fields, &f->config, mm1_buf_str(&assignment), &err), &err);
    mm1_buf_deinit(&assignment);
}

/* One shard of each kind and the three sources that read them. */
static inline void fixture_three_sources(fixture *f)
{
    fixture_captions(f, "captions-0000.tar", 0, 25, 0);
    fixture_captions(f, "captions-0001.tar", 25, 14, 0);
    fixture_pages(f, "pages-0000.tar", 17);
    fixture_texts(f, "text-0000.jsonl.zst", 23);
    fixture_sources(f, "[{name: captions, kind: captions, path: '@captions-{0000..0001}.tar', weight: 0.45},"
                       " {name: pages, kind: interleaved, path: '@pages-*.tar', weight: 0.45, max_images: 3},"
                       " {name: text, kind: text, path: '@text-*.jsonl.zst', weight: 0.1}]");
}

static inline mm1_loader_options fixture_options(const fixture *f, uint64_t seed)
{
    return (mm1_loader_options){.config = &f->config,
                                .tokenizer = f->tokenizer,
                                .images = {.tile_px = FIXTURE_PX,
                                           .n_tokens = FIXTURE_N_VISUAL,
                                           .mean = {0.5f, 0.4f, 0.3f},
                                           .std = {0.25f, 0.5f, 0.125f},
                                           .fit = MM1_FIT_SQUASH,
                                           .filter = MM1_FILTER_BICUBIC},
                                .seed = seed};
}

#endif

/* The stream of batches: the same bits for any number of workers and from any checkpoint; bad samples; errors. */
#include "data_fixture.h"

#include "base/hash.h"
#include "base/log.h"
#include <stdatomic.h>

/* Everything of a batch that the model sees. */
static uint64_t hash_batch(const mm1_batch *b)
{
    const size_t bytes = (size_t)(b->B * b->T) * sizeof(int32_t);
    const int32_t *arrays[] = {b->token, b->visual, b->target, b->position, b->lo, b->hi, b->example, b->source};
    uint64_t h = mm1_hash64(&b->I, sizeof b->I, 0);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        h = mm1_hash64(arrays[i], bytes, h);
    }
    h = mm1_hash64(&b->n_targets, sizeof b->n_targets, h);
    h = mm1_hash64(&b->n_tokens, sizeof b->n_tokens, h);
    return mm1_hash64(b->pixels, (size_t)(b->I * 3 * b->image_px * b->image_px) * sizeof(float), h);
}

static uint64_t hash_state(const mm1_data_state *s)
{
    mm1_buf json;
    mm1_buf_init(&json, 1 << 16);
    mm1_data_state_write(s, &json);
    const uint64_t h = mm1_hash64(mm1_buf_str(&json), json.len, 0);
    mm1_buf_deinit(&json);
    return h;
}

enum { N_STEPS = 40 };

/* Hashes of n batches and the states after them. */
static void run(const mm1_loader_options *options, int n, uint64_t *batches, mm1_data_state *states)
{
    mm1_error err = {0};
    mm1_loader *l = NULL;
    check_ok(mm1_loader_create(options, &l, &err), &err);
    for (int i = 0; i < n; i++) {
        const mm1_batch *b = NULL;
        check_ok(mm1_loader_next(l, &b, &states[i], NULL, &err), &err);
        batches[i] = hash_batch(b);
        assert_true(b->n_targets > 0);
    }
    mm1_loader_destroy(l);
}

static void the_number_of_workers_changes_no_bit(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    uint64_t want[N_STEPS], got[N_STEPS];
    static mm1_data_state states[N_STEPS], others[N_STEPS];
    const mm1_loader_options options = fixture_options(&f, 7);
    run(&options, N_STEPS, want, states);
    static const int64_t workers[] = {2, 3, 5, 2}, prefetch[] = {1, 3, 2, 6};
    for (size_t i = 0; i < sizeof workers / sizeof *workers; i++) {
        f.config.workers = workers[i];
        f.config.prefetch = prefetch[i];
        run(&options, N_STEPS, got, others);
        assert_memory_equal(got, want, sizeof want);
        for (int k = 0; k < N_STEPS; k++) {
            assert_int_equal(hash_state(&others[k]), hash_state(&states[k]));
        }
    }
    mm1_loader_options other_seed = options;
    other_seed.seed = 8;
    run(&other_seed, N_STEPS, got, others);
    assert_memory_not_equal(got, want, sizeof want);
    fixture_deinit(&f);
}

static void a_run_continues_as_if_it_had_not_stopped(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    uint64_t want[N_STEPS], got[N_STEPS];
    static mm1_data_state states[N_STEPS], others[N_STEPS];
    mm1_loader_options options = fixture_options(&f, 3);
    run(&options, N_STEPS, want, states);
    static const int stops[] = {1, 2, 3, 7, 16, 31};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        const int k = stops[i];
        mm1_buf json;
        mm1_error err = {0};
        mm1_data_state start = {0};
        mm1_buf_init(&json, 1 << 16);
        mm1_data_state_write(&states[k - 1], &json); /* as a checkpoint would */
        check_ok(mm1_data_state_parse(&start, mm1_buf_str(&json), json.len, &err), &err);
        mm1_buf_deinit(&json);
        options.start = &start;
        run(&options, N_STEPS - k, got, others);
        assert_memory_equal(got, want + k, (size_t)(N_STEPS - k) * sizeof *want);
        assert_int_equal(hash_state(&others[N_STEPS - k - 1]), hash_state(&states[N_STEPS - 1]));
    }
    fixture_deinit(&f);
}

/* Pictures with a slope of colours, so that every cut shows. */
static void slope_captions(const fixture *f, const char *name, int n)
{
    mm1_tar_writer *w = fixture_tar(f, name);
    for (int i = 0; i < n; i++) {
        char member[64];
        mm1_error err = {0};
        mm1_image image;
        uint8_t *png = NULL;
        size_t len = 0;
        check_ok(mm1_image_init(&image, 20, 30, &err), &err);
        for (int k = 0; k < 20 * 30; k++) {
            image.rgb[3 * k] = (uint8_t)(12 * (k % 20));
            image.rgb[3 * k + 1] = (uint8_t)(8 * (k / 20));
            image.rgb[3 * k + 2] = (uint8_t)i;
        }
        check_ok(mm1_image_encode_png(&image, &png, &len, &err), &err);
        mm1_image_deinit(&image);
        (void)snprintf(member, sizeof member, "%06d.png", i);
        fixture_append(w, member, png, len);
        mm1_free(png);
        (void)snprintf(member, sizeof member, "%06d.txt", i);
        fixture_append(w, member, "a cat", 5);
    }
    fixture_finish(w);
}

static void random_cuts_are_named_by_the_seed_and_differ_from_whole_pictures(void **state)
{
    (void)state;
    enum { N = 8 };
    fixture f;
    mm1_error err = {0};
    char path[512];
    uint64_t whole[N], cut[N], again[N];
    static mm1_data_state states[N];
    fixture_init(&f);
    slope_captions(&f, "slopes.tar", 3);
    (void)snprintf(path, sizeof path, "sources=[{name: slopes, kind: captions, weight: 1, path: %s/slopes.tar}]",
                   f.dir);
    check_ok(mm1_fields_set(mm1__data_fields, &f.config, path, &err), &err);
    const mm1_loader_options options = fixture_options(&f, 5);
    run(&options, N, whole, states);
    f.config.crop_min = 0.5;
    run(&options, N, cut, states);
    f.config.workers = 3;
    run(&options, N, again, states);
    assert_memory_equal(cut, again, sizeof cut);
    for (int i = 0; i < N; i++) {
        assert_int_not_equal(cut[i], whole[i]);
    }
    fixture_deinit(&f);
}

/* Hidden tokens are captions' own, as many as asked for, and everything else of a batch stays as it was. */
static void tokens_are_hidden_from_the_decoder_but_still_predicted(void **state)
{
    (void)state;
    enum { N = 30 };
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    mm1_error err = {0};
    const mm1_loader_options options = fixture_options(&f, 5);
    const int32_t pad = mm1_tokenizer_special_id(f.tokenizer, MM1_TOKEN_PAD);
    mm1_data_config hiding = f.config;
    hiding.token_drop = 0.8;
    hiding.workers = 3;
    mm1_loader_options hiding_options = options;
    hiding_options.config = &hiding;
    mm1_loader *plain = NULL, *hidden = NULL;
    check_ok(mm1_loader_create(&options, &plain, &err), &err);
    check_ok(mm1_loader_create(&hiding_options, &hidden, &err), &err);
    int64_t n_hidden = 0, n_captions = 0;
    for (int i = 0; i < N; i++) {
        const mm1_batch *a = NULL, *b = NULL;
        check_ok(mm1_loader_next(plain, &a, NULL, NULL, &err), &err);
        check_ok(mm1_loader_next(hidden, &b, NULL, NULL, &err), &err);
        const size_t bytes = (size_t)(a->B * a->T) * sizeof(int32_t);
        assert_memory_equal(a->target, b->target, bytes);
        assert_memory_equal(a->visual, b->visual, bytes);
        assert_memory_equal(a->example, b->example, bytes);
        for (int64_t t = 0; t < a->B * a->T; t++) {
            const bool is_caption = a->source[t] >= 0 && f.config.sources[a->source[t]].kind == MM1_DATA_CAPTIONS;
            /* A token that was itself a target one position before is one of the caption's. */
            const bool may_hide = is_caption && t > 0 && a->target[t - 1] >= 0 && a->example[t] == a->example[t - 1];
            assert_true(b->token[t] == a->token[t] || (may_hide && b->token[t] == pad));
            n_captions += may_hide;
            n_hidden += b->token[t] != a->token[t];
        }
    }
    assert_true(n_captions > 300);
    /* Half of the most, on average; the shares of some forty captions vary. */
    assert_true(fabs((double)n_hidden / (double)n_captions - 0.4) < 0.1);
    mm1_loader_destroy(plain);
    mm1_loader_destroy(hidden);
    fixture_deinit(&f);
}

/* Captions put together: every example has three pictures and two learned line breaks, whatever the cache keeps. */
static void captions_put_together_are_one_example_in_lines(void **state)
{
    (void)state;
    enum { N = 12, TOGETHER = 3 };
    fixture f;
    mm1_error err = {0};
    mm1_loader *l = NULL;
    uint64_t kept[N], plain[N];
    static mm1_data_state states[N];
    fixture_init(&f);
    slope_captions(&f, "slopes.tar", 5);
    fixture_sources(&f, "[{name: slopes, kind: captions, together: 3, path: '@slopes.tar'}]");
    const mm1_loader_options options = fixture_options(&f, 5);
    mm1_ids newline = {0};
    check_ok(mm1_tokenizer_encode(f.tokenizer, "\n", 1, &newline, &err), &err);
    assert_int_equal(newline.n, 1);
    check_ok(mm1_loader_create(&options, &l, &err), &err);
    int64_t n_examples = 0, n_images = 0, n_breaks = 0;
    for (int i = 0; i < N; i++) {
        const mm1_batch *b = NULL;
        check_ok(mm1_loader_next(l, &b, NULL, NULL, &err), &err);
        n_images += b->I;
        for (int64_t t = 0; t < b->B * b->T; t++) {
            n_examples += b->example[t] >= 0 && (t == 0 || b->example[t] != b->example[t - 1]);
            n_breaks += b->target[t] == newline.items[0];
        }
    }
    mm1_loader_destroy(l);
    mm1_ids_free(&newline);
    assert_true(n_examples >= N);
    assert_int_equal(n_images, TOGETHER * n_examples);
    assert_int_equal(n_breaks, (TOGETHER - 1) * n_examples);

    run(&options, N, plain, states);
    f.config.cache_mb = 8;
    run(&options, N, kept, states);
    assert_memory_equal(plain, kept, sizeof plain);
    /* Epochs count pairs. */
    const int64_t n_samples = 5;
    mm1_buf json;
    char wanted[64];
    mm1_buf_init(&json, 1 << 16);
    mm1_data_stats_write(&states[N - 1], &f.config, &n_samples, &json);
    (void)snprintf(wanted, sizeof wanted, "\"epochs\":%.6g,",
                   (double)(states[N - 1].sources[0].sample * TOGETHER) / (double)n_samples);
    check_contains(mm1_buf_str(&json), wanted);
    mm1_buf_deinit(&json);
    fixture_deinit(&f);
}

enum { N_PHOTOS = 6 };

/* Captions of JPEGs of 96 x 80 px, large enough to be decoded small for FIXTURE_PX. */
static void photo_captions(const fixture *f, const char *name)
{
    mm1_tar_writer *w = fixture_tar(f, name);
    for (int i = 0; i < N_PHOTOS; i++) {
        char member[64];
        mm1_error err = {0};
        mm1_image image;
        uint8_t *jpeg = NULL;
        size_t len = 0;
        check_ok(mm1_image_init(&image, 96, 80, &err), &err);
        for (int k = 0; k < 96 * 80; k++) {
            image.rgb[3 * k] = (uint8_t)(2 * (k % 96));
            image.rgb[3 * k + 1] = (uint8_t)(3 * (k / 96));
            image.rgb[3 * k + 2] = (uint8_t)(20 * i + (k % 96 * (k / 96) & 63));
        }
        check_ok(mm1_image_encode_jpeg(&image, 90, &jpeg, &len, &err), &err);
        mm1_image_deinit(&image);
        (void)snprintf(member, sizeof member, "%06d.jpg", i);
        fixture_append(w, member, jpeg, len);
        mm1_free(jpeg);
        (void)snprintf(member, sizeof member, "%06d.txt", i);
        fixture_append(w, member, "a cat", 5);
    }
    fixture_finish(w);
}

static void kept_pictures_change_no_bit_of_a_batch(void **state)
{
    (void)state;
    enum { N = 12 };
    fixture f;
    uint64_t want[4][N], got[N];
    static mm1_data_state states[N], others[N];
    fixture_init(&f);
    photo_captions(&f, "photos.tar");
    fixture_pages(&f, "pages.tar", 5);
    fixture_sources(&f, "[{name: photos, kind: captions, path: '@photos.tar', weight: 2},"
                        " {name: pages, kind: interleaved, path: '@pages.tar'}]");
    const mm1_loader_options options = fixture_options(&f, 5);
    for (int i = 0; i < 4; i++) {
        f.config.jpeg = i % 2 == 0 ? MM1_DATA_JPEG_EXACT : MM1_DATA_JPEG_SCALED;
        f.config.crop_min = i / 2 == 0 ? 1 : 0.6;
        f.config.cache_mb = 0;
        run(&options, N, want[i], states);
        assert_true(states[N - 1].sources[0].sample > 3 * N_PHOTOS); /* several epochs */
        f.config.cache_mb = 1;
        for (f.config.workers = 1; f.config.workers <= 3; f.config.workers += 2) {
            run(&options, N, got, others);
            assert_memory_equal(got, want[i], sizeof got);
            assert_int_equal(hash_state(&others[N - 1]), hash_state(&states[N - 1]));
        }
        for (int k = 0; k < i; k++) {
            assert_memory_not_equal(want[i], want[k], sizeof got); /* both keys do something */
        }
    }
    fixture_deinit(&f);
}

static void later_epochs_take_their_pictures_from_memory(void **state)
{
    (void)state;
    enum { N = 12, READ = 4 };
    fixture f;
    uint64_t want[N];
    static mm1_data_state states[N];
    mm1_error err = {0};
    mm1_loader *l = NULL;
    fixture_init(&f);
    photo_captions(&f, "photos.tar");
    fixture_sources(&f, "[{name: photos, kind: captions, path: '@photos.tar'}]");
    const mm1_loader_options options = fixture_options(&f, 5);
    run(&options, N, want, states);
    assert_true(states[READ - 1].sources[0].sample >= N_PHOTOS && states[N - 1].sources[0].sample > 100);
    f.config.cache_mb = 1;
    check_ok(mm1_loader_create(&options, &l, &err), &err);
    for (int i = 0; i < N; i++) {
        const mm1_batch *b = NULL;
        check_ok(mm1_loader_next(l, &b, NULL, NULL, &err), &err);
        assert_int_equal(hash_batch(b), want[i]);
        if (i + 1 == READ) { /* every sample was read: make the pictures unreadable where they lie */
            char *path = fixture_path(&f, "photos.tar"), *bytes = NULL;
            size_t len = 0;
            check_ok(mm1_file_read(path, 1 << 20, &bytes, &len, &err), &err);
            FILE *file = fopen(path, "r+b");
            assert_non_null(file);
            for (char *at = bytes; (at = memmem(at, (size_t)(bytes + (ptrdiff_t)len - at), "\xff\xd8\xff", 3)) != NULL;
                 at++) {
                assert_int_equal(fseek(file, at - bytes, SEEK_SET), 0);
                assert_int_equal(fputc(0, file), 0);
            }
            assert_int_equal(fclose(file), 0);
            mm1_free(bytes);
            mm1_free(path);
        }
    }
    mm1_loader_destroy(l);
    fixture_deinit(&f);
}

/* Rows of the ranks, put together, are the rows of one. */
static void ranks_together_get_the_rows_of_one(void **state)
{
    (void)state;
    enum { N = 6 };
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    mm1_error err = {0};
    mm1_loader *whole = NULL, *parts[2] = {NULL, NULL};
    mm1_loader_options options = fixture_options(&f, 5);
    check_ok(mm1_loader_create(&options, &whole, &err), &err);
    options.n_ranks = 2;
    options.rows = 2;
    for (int r = 0; r < 2; r++) {
        options.rank = r;
        check_ok(mm1_loader_create(&options, &parts[r], &err), &err);
    }
    for (int i = 0; i < N; i++) {
        const mm1_batch *b = NULL, *p = NULL;
        mm1_data_state after, after_part;
        check_ok(mm1_loader_next(whole, &b, &after, NULL, &err), &err);
        assert_int_equal(b->B, 4);
        int64_t image = 0;
        for (int r = 0; r < 2; r++) {
            check_ok(mm1_loader_next(parts[r], &p, &after_part, NULL, &err), &err);
            assert_int_equal(p->B, 2);
            assert_memory_equal(p->token, b->token + 2 * r * b->T, (size_t)(2 * b->T) * sizeof *b->token);
            assert_memory_equal(p->target, b->target + 2 * r * b->T, (size_t)(2 * b->T) * sizeof *b->target);
            assert_memory_equal(p->lo, b->lo + 2 * r * b->T, (size_t)(2 * b->T) * sizeof *b->lo);
            assert_memory_equal(p->pixels, b->pixels + image * 3 * FIXTURE_PX * FIXTURE_PX,
                                (size_t)(p->I * 3 * FIXTURE_PX * FIXTURE_PX) * sizeof(float));
            image += p->I;
            assert_int_equal(hash_state(&after_part), hash_state(&after));
        }
        assert_int_equal(image, b->I);
    }
    mm1_loader_destroy(whole);
    mm1_loader_destroy(parts[0]);
    mm1_loader_destroy(parts[1]);
    fixture_deinit(&f);
}

/* Each position sees its own example only, positions restart, no target leaves the example, images hold their pixels.
 */
static void nothing_of_another_example_is_visible(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    mm1_error err = {0};
    mm1_loader *l = NULL;
    mm1_data_state after = {0};
    const mm1_loader_options options = fixture_options(&f, 11);
    const int32_t end_id = mm1_tokenizer_special_id(f.tokenizer, MM1_TOKEN_END);
    int64_t n_examples = 0;
    check_ok(mm1_loader_create(&options, &l, &err), &err);
    for (int step = 0; step < N_STEPS; step++) {
        const mm1_batch *b = NULL;
        check_ok(mm1_loader_next(l, &b, &after, NULL, &err), &err);
        int64_t next_slot = 0;
        for (int64_t row = 0; row < b->B; row++) {
            int64_t start = 0, row_slots = 0;
            for (int64_t t = 0; t < b->T; t++) {
                const int64_t i = row * b->T + t;
                if (b->example[i] < 0) {
                    assert_true(t == b->row_len[row] || b->example[i - 1] < 0);
                    assert_int_equal(b->hi[i], 0);
                    continue;
                }
                if (t == 0 || b->example[i] != b->example[i - 1]) {
                    start = t;
                    n_examples++;
                    assert_int_equal(b->token[i], end_id);
                    assert_int_equal(b->visual[i], -1);
                }
                assert_int_equal(b->lo[i], start);
                assert_int_equal(b->hi[i], t + 1);
                assert_int_equal(b->position[i], t - start);
                assert_int_equal(b->source[i], b->source[row * b->T]);
                if (b->visual[i] >= 0) {
                    assert_int_equal(b->visual[i], next_slot++);
                    row_slots++;
                }
                if (b->target[i] >= 0) {
                    assert_true(t + 1 < b->T);
                    assert_int_equal(b->example[i + 1], b->example[i]);
                    assert_int_equal(b->target[i], b->token[i + 1]);
                    assert_int_equal(b->visual[i + 1], -1);
                }
            }
            assert_true(row_slots <= f.config.max_images * FIXTURE_N_VISUAL);
        }
        assert_int_equal(next_slot, b->I * FIXTURE_N_VISUAL);
        for (int64_t k = 0; k < b->I; k++) { /* one colour: green = 255 - red, blue = 7 red */
            const float *p = b->pixels + k * 3 * FIXTURE_PX * FIXTURE_PX;
            const double red = 255 * ((double)p[0] * 0.25 + 0.5);
            const int value = (int)(red + 0.5);
            for (int64_t j = 0; j < FIXTURE_PX * FIXTURE_PX; j++) {
                assert_true(fabs((double)p[j] - (value / 255.0 - 0.5) / 0.25) < 1e-5);
                assert_true(fabs((double)p[FIXTURE_PX * FIXTURE_PX + j] - ((255 - value) / 255.0 - 0.4) / 0.5) < 1e-5);
                assert_true(fabs((double)p[2 * FIXTURE_PX * FIXTURE_PX + j] - (7 * value % 256 / 255.0 - 0.3) / 0.125) <
                            1e-5);
            }
        }
    }
    int64_t counted = 0, rows = 0;
    for (int i = 0; i < 3; i++) {
        counted += after.sources[i].stats.examples;
        rows += after.sources[i].stats.rows;
        assert_int_equal(after.sources[i].stats.bad, 0);
    }
    assert_int_equal(counted, n_examples);
    assert_int_equal(rows, N_STEPS * 4);
    assert_int_equal(after.row, rows);
    mm1_loader_destroy(l);
    fixture_deinit(&f);
}

static atomic_int n_warnings;

static void count_warning(void *ctx, mm1_log_level level, const char *message)
{
    (void)ctx;
    if (level == MM1_LOG_WARN) {
        check_contains(message, "data.sources.captions: sample skipped:");
        check_contains(message, "captions-0000.tar:c/");
        atomic_fetch_add(&n_warnings, 1);
    }
}

static void bad_samples_are_skipped_counted_and_named(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_captions(&f, "captions-0000.tar", 0, 40, 20); /* 2 of 40 */
    fixture_sources(&f, "[{name: captions, kind: captions, path: '@captions-0000.tar'}]");
    f.config.bad_share_max = 0.06;
    uint64_t want[N_STEPS], got[N_STEPS];
    static mm1_data_state states[N_STEPS], others[N_STEPS];
    mm1_loader_options options = fixture_options(&f, 7);
    atomic_store(&n_warnings, 0);
    mm1_log_set(count_warning, NULL, MM1_LOG_INFO);
    run(&options, N_STEPS, want, states);
    mm1_log_set(NULL, NULL, MM1_LOG_INFO);
    const mm1_pack_stats *stats = &states[N_STEPS - 1].sources[0].stats;
    const int64_t epochs = states[N_STEPS - 1].sources[0].sample / 40;
    assert_true(epochs >= 5);
    assert_in_range(stats->bad, 2 * epochs, 2 * epochs + 2);
    assert_true(atomic_load(&n_warnings) >= stats->bad); /* batches made ahead may have seen more */
    assert_int_equal(stats->samples + stats->bad, states[N_STEPS - 1].sources[0].sample);
    f.config.workers = 4;
    options.start = &states[9];
    run(&options, N_STEPS - 10, got, others);
    assert_memory_equal(got, want + 10, (N_STEPS - 10) * sizeof *want);
    fixture_deinit(&f);
}

/* Batches until the stream ends with an error. */
static int64_t count_batches(const mm1_loader_options *options, mm1_error *err)
{
    mm1_loader *l = NULL;
    const mm1_batch *b = NULL;
    int64_t n = 0;
    check_ok(mm1_loader_create(options, &l, err), err);
    while (n < 1000 && mm1_loader_next(l, &b, NULL, NULL, err) == MM1_OK) {
        n++;
    }
    mm1_error again = {0};
    assert_int_equal(mm1_loader_next(l, &b, NULL, NULL, &again), err->status);
    assert_null(b);
    assert_string_equal(again.message, err->message);
    mm1_loader_destroy(l);
    return n;
}

static void too_many_bad_samples_stop_the_stream_at_the_same_batch(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_captions(&f, "captions-0000.tar", 0, 60, 10);
    fixture_sources(&f, "[{name: captions, kind: captions, path: '@captions-0000.tar'}]");
    f.config.bad_share_max = 0.05;
    const mm1_loader_options options = fixture_options(&f, 7);
    mm1_error err = {0};
    const int64_t n = count_batches(&options, &err);
    assert_int_equal(err.status, MM1_E_FORMAT);
    check_contains(err.message, " of 100 samples could not be read, over data.bad_share_max 0.05");
    check_contains(err.message, "captions-0000.tar:c/");
    assert_in_range(n, 1, 100);
    f.config.workers = 4;
    f.config.prefetch = 1;
    assert_int_equal(count_batches(&options, &err), n);
    fixture_deinit(&f);
}

static void a_source_without_any_usable_sample_is_an_error_not_a_loop(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_captions(&f, "captions-0000.tar", 0, 5, 1);
    fixture_sources(&f, "[{name: captions, kind: captions, path: '@captions-0000.tar'}]");
    const mm1_loader_options options = fixture_options(&f, 7);
    mm1_error err = {0};
    assert_int_equal(count_batches(&options, &err), 0);
    assert_int_equal(err.status, MM1_E_FORMAT);
    check_contains(err.message, "none of the 5 samples");
    fixture_deinit(&f);
}

static void errors_of_the_configuration_name_the_key_and_the_path(void **state)
{
    (void)state;
    static const struct {
        const char *sources;
        mm1_status status;
        const char *says;
    } cases[] = {
        {"[]", MM1_E_CONFIG, "no source has a weight above 0"},
        {"[{name: a, kind: text, path: '@text.jsonl', weight: 0}]", MM1_E_CONFIG, "no source has a weight above 0"},
        {"[{name: a, kind: text, path: '@empty.jsonl'}]", MM1_E_FORMAT, "empty.jsonl"},
        {"[{name: a, kind: text, path: '@none.jsonl'}]", MM1_E_IO, "none.jsonl"},
        {"[{name: a, kind: captions, path: '@cut.tar'}]", MM1_E_FORMAT, "cut.tar"},
        {"[{name: a, kind: captions, format: jsonl, path: '@text.jsonl'}]", MM1_E_CONFIG,
         "data.sources.a: format jsonl"},
        {"[{name: a, kind: text, path: '@text.jsonl'}, {name: a, kind: text, path: '@text.jsonl'}]", MM1_E_CONFIG,
         "name a is given twice"},
        {"[{name: a, kind: text}]", MM1_E_CONFIG, "path"},
        {"[{name: a, kind: text, path: '@text.jsonl', together: 4}]", MM1_E_CONFIG,
         "data.sources.a.together: only captions and conversations"},
    };
    fixture f;
    fixture_init(&f);
    fixture_texts(&f, "text.jsonl", 3);
    fixture_write(&f, "empty.jsonl", "\n \n", 3);
    fixture_captions(&f, "whole.tar", 0, 3, 0);
    char *whole = fixture_path(&f, "whole.tar"), *bytes = NULL;
    size_t len = 0;
    mm1_error err = {0};
    check_ok(mm1_file_read(whole, 1 << 20, &bytes, &len, &err), &err);
    fixture_write(&f, "cut.tar", bytes, len / 2 / 512 * 512);
    mm1_free(bytes);
    mm1_free(whole);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mm1_loader *l = NULL;
        const mm1_loader_options options = fixture_options(&f, 1);
        fixture_sources(&f, "[]");
        fixture_sources(&f, cases[i].sources);
        assert_int_equal(mm1_loader_create(&options, &l, &err), cases[i].status);
        assert_null(l);
        check_contains(err.message, cases[i].says);
    }
    fixture_sources(&f, "[]");
    fixture_sources(&f, "[{name: a, kind: text, path: '@text.jsonl'}]");
    mm1_loader_options options = fixture_options(&f, 1);
    mm1_loader *l = NULL;
    const mm1_data_state other = {.n_sources = 2};
    options.start = &other;
    assert_int_equal(mm1_loader_create(&options, &l, &err), MM1_E_STATE);
    mm1_data_state beyond = {.n_sources = 1};
    beyond.sources[0].offset = 1000;
    options.start = &beyond;
    options.images.n_tokens = 0; /* a model without pictures reads text */
    count_batches(&options, &err);
    assert_int_equal(err.status, MM1_E_STATE);
    check_contains(err.message, "text.jsonl:");
    fixture_sources(&f, "[{name: a, kind: captions, path: '@whole.tar'}]");
    options.start = NULL;
    assert_int_equal(mm1_loader_create(&options, &l, &err), MM1_E_CONFIG);
    check_contains(err.message, "takes none");
    options.images.n_tokens = 62;
    assert_int_equal(mm1_loader_create(&options, &l, &err), MM1_E_CONFIG);
    check_contains(err.message, "no room for an image of 62");
    fixture_deinit(&f);
}

/* Every visual row of a batch stands for a tile of the batch, and at most once; newlines are row 0. */
static void check_rows(const mm1_batch *b, const mm1_image_spec *images, int64_t *n_newlines)
{
    const int64_t n_rows = mm1_batch_visual_row(images, b->I), first = mm1_batch_visual_row(images, 0);
    uint8_t *seen = mm1_calloc((size_t)n_rows + 1, 1);
    int64_t n_tiles = 0;
    for (int64_t row = 0; row < b->B; row++) {
        const int64_t begin = mm1_batch_visual_row(images, n_tiles);
        n_tiles += b->row_tiles[row];
        for (int64_t t = 0; t < b->T; t++) {
            const int32_t v = b->visual[row * b->T + t];
            if (v >= first) {
                assert_true(v >= begin && v < mm1_batch_visual_row(images, n_tiles));
                assert_false(seen[v]);
                seen[v] = 1;
            }
            *n_newlines += v >= 0 && v < first;
        }
    }
    assert_int_equal(n_tiles, b->I);
    for (int64_t v = first; images->mode == MM1_IMAGE_SUBIMAGES && v < n_rows; v++) {
        assert_true(seen[v]);
    }
    mm1_free(seen);
}

static void pictures_become_tiles_whatever_was_kept(void **state)
{
    (void)state;
    static const mm1_image_mode modes[] = {MM1_IMAGE_SUBIMAGES, MM1_IMAGE_ANYRES};
    enum { N = 12 };
    fixture f;
    mm1_error err = {0};
    fixture_init(&f);
    fixture_three_sources(&f);
    mm1_loader_options options = fixture_options(&f, 3);
    const size_t n_overview = (size_t)(3 * FIXTURE_PX * FIXTURE_PX) * sizeof(float);
    float *overview = mm1_alloc(n_overview, 1);
    for (size_t i = 0; i < 2; i++) {
        uint64_t want[N];
        int64_t n_newlines = 0, n_tiles = 0, n_images = 0;
        for (int cache = 0; cache < 3; cache++) {
            mm1_loader *l = NULL;
            const mm1_batch *b = NULL;
            f.config.cache_mb = cache;
            options.images.mode = MM1_IMAGE_PLAIN;
            check_ok(mm1_loader_create(&options, &l, &err), &err);
            do {
                check_ok(mm1_loader_next(l, &b, NULL, NULL, &err), &err);
            } while (b->I == 0);
            memcpy(overview, b->pixels, n_overview);
            mm1_loader_destroy(l);

            options.images.mode = modes[i];
            options.images.crops = 1;
            check_ok(mm1_image_grids_parse("1x1 1x2 2x1", &options.images, &err), &err);
            check_ok(mm1_loader_create(&options, &l, &err), &err);
            bool is_first = true;
            for (int k = 0; k < N; k++) {
                check_ok(mm1_loader_next(l, &b, NULL, NULL, &err), &err);
                check_rows(b, &options.images, &n_newlines);
                n_tiles += b->I;
                n_images += b->n_images;
                want[k] = cache == 0 ? hash_batch(b) : want[k];
                assert_true(hash_batch(b) == want[k]);
                if (is_first && b->I > 0) { /* of the first picture; the mixture is the same */
                    assert_memory_equal(b->pixels, overview, n_overview);
                    is_first = false;
                }
            }
            assert_false(is_first);
            mm1_loader_destroy(l);
        }
        assert_true(n_tiles >= 2 * n_images && n_images > 0);
        assert_int_equal(n_newlines > 0, modes[i] == MM1_IMAGE_ANYRES);
    }
    f.config.crop_min = 0.5;
    mm1_loader *l = NULL;
    assert_int_equal(mm1_loader_create(&options, &l, &err), MM1_E_CONFIG);
    check_contains(err.message, "several tiles");
    mm1_free(overview);
    fixture_deinit(&f);
}

static void it_can_be_stopped_at_any_time(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    f.config.workers = 3;
    const size_t before = mm1_alloc_bytes();
    for (int n = 0; n < 12; n++) {
        mm1_error err = {0};
        mm1_loader *l = NULL;
        double wait = -1;
        const mm1_loader_options options = fixture_options(&f, (uint64_t)n);
        check_ok(mm1_loader_create(&options, &l, &err), &err);
        for (int i = 0; i < n; i++) {
            const mm1_batch *b = NULL;
            check_ok(mm1_loader_next(l, &b, NULL, &wait, &err), &err);
            assert_true(wait >= 0);
            if (i % 2 == 0) {
                mm1_loader_release(l);
            }
        }
        mm1_loader_destroy(l);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    fixture_deinit(&f);
}

static void failing_allocations_end_the_stream_and_leak_nothing(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    const size_t before = mm1_alloc_bytes();
    const mm1_loader_options options = fixture_options(&f, 5);
    int n_failed = 0;
    for (uint64_t n = 1; n < 400; n += 1 + n / 16) {
        mm1_error err = {0};
        mm1_loader *l = NULL;
        const mm1_batch *b = NULL;
        mm1_alloc_fail_at(n);
        mm1_status st = mm1_loader_create(&options, &l, &err);
        for (int i = 0; st == MM1_OK && i < 6; i++) {
            st = mm1_loader_next(l, &b, NULL, NULL, &err);
        }
        mm1_alloc_fail_at(0);
        if (st != MM1_OK && st != MM1_E_NOMEM) {
            print_error("allocation %d: %s: %s\n", (int)n, mm1_status_name(st), err.message);
            fail();
        }
        n_failed += st != MM1_OK;
        mm1_loader_destroy(l);
        assert_int_equal(mm1_alloc_bytes(), before);
    }
    assert_true(n_failed > 20);
    fixture_deinit(&f);
}

static void the_statistics_name_sources_cuts_and_drops(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    fixture_three_sources(&f);
    uint64_t batches[N_STEPS];
    static mm1_data_state states[N_STEPS];
    const mm1_loader_options options = fixture_options(&f, 7);
    const int64_t n_samples[] = {39, 17, 23};
    mm1_buf json, text;
    run(&options, N_STEPS, batches, states);
    mm1_buf_init(&json, 1 << 16);
    mm1_buf_init(&text, 1 << 16);
    mm1_data_stats_write(&states[N_STEPS - 1], &f.config, n_samples, &json);
    mm1_data_stats_describe(&states[N_STEPS - 1], &f.config, n_samples, &text);
    check_contains(mm1_buf_str(&json), "\"name\":\"pages\",\"weight\":0.45,\"n_samples\":17,");
    check_contains(mm1_buf_str(&text), "pages: ");
    check_contains(mm1_buf_str(&text), "documents longer than a row, cut into several examples: ");
    assert_true(states[N_STEPS - 1].sources[1].stats.cut_documents > 0);
    assert_true(states[N_STEPS - 1].sources[2].stats.cut_texts > 0);
    mm1_buf_deinit(&json);
    mm1_buf_deinit(&text);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_of_workers_changes_no_bit),
        cmocka_unit_test(a_run_continues_as_if_it_had_not_stopped),
        cmocka_unit_test(random_cuts_are_named_by_the_seed_and_differ_from_whole_pictures),
        cmocka_unit_test(tokens_are_hidden_from_the_decoder_but_still_predicted),
        cmocka_unit_test(captions_put_together_are_one_example_in_lines),
        cmocka_unit_test(kept_pictures_change_no_bit_of_a_batch),
        cmocka_unit_test(later_epochs_take_their_pictures_from_memory),
        cmocka_unit_test(ranks_together_get_the_rows_of_one),
        cmocka_unit_test(nothing_of_another_example_is_visible),
        cmocka_unit_test(bad_samples_are_skipped_counted_and_named),
        cmocka_unit_test(too_many_bad_samples_stop_the_stream_at_the_same_batch),
        cmocka_unit_test(a_source_without_any_usable_sample_is_an_error_not_a_loop),
        cmocka_unit_test(errors_of_the_configuration_name_the_key_and_the_path),
        cmocka_unit_test(pictures_become_tiles_whatever_was_kept),
        cmocka_unit_test(it_can_be_stopped_at_any_time),
        cmocka_unit_test(failing_allocations_end_the_stream_and_leak_nothing),
        cmocka_unit_test(the_statistics_name_sources_cuts_and_drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

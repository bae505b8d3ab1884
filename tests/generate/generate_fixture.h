/* generate_fixture.h - a tiny model with a tokenizer and pictures, made in memory; and one that speaks by heart. */
#ifndef MM1_TESTS_GENERATE_FIXTURE_H
#define MM1_TESTS_GENERATE_FIXTURE_H

#include "support/tiny_model.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "model/model.h"

enum { FIXTURE_PX = 12, FIXTURE_SLOTS = 4, FIXTURE_POSITIONS = 640, FIXTURE_IMAGES = 3 };

static bool next_sentence(void *ctx, const char **text, size_t *len)
{
    static const char *const sentences[] = {"the cat sat on the mat and the hat", "a red ball on a red hat sat there",
                                            "one two three cats and the other ball", "the other one is a red cat"};
    size_t *i = ctx;
    if (*i >= 4 * sizeof sentences / sizeof *sentences) {
        return false;
    }
    *text = sentences[*i % (sizeof sentences / sizeof *sentences)];
    *len = strlen(*text);
    (*i)++;
    return true;
}

static inline mm1_tokenizer *fixture_tokenizer(void)
{
    const mm1_tokenizer_train_config c = {.vocab_size = 290, .min_frequency = 2};
    mm1_tokenizer *t = NULL;
    mm1_error err = {0};
    size_t i = 0;
    check_ok(mm1_tokenizer_train(&c, next_sentence, &i, &t, &err), &err);
    return t;
}

/* Rotary positions and grouped heads, or GPT-2 like: learned positions, layer norms, biases, a head of its own. */
static inline mm1_model_config fixture_config(bool gpt2)
{
    mm1_model_config c = tiny_model_config(320, FIXTURE_POSITIONS, 2); /* the tokenizer has fewer ids */
    c.connector.kind = MM1_CONNECTOR_C_ABSTRACTOR;
    c.connector.n_tokens = FIXTURE_SLOTS;
    c.connector.hidden = 20;
    c.connector.depth = 1;
    c.image.max_images = FIXTURE_IMAGES;
    c.decoder.n_kv_heads = 2;
    if (gpt2) {
        c.decoder.norm = MM1_NORM_LAYER;
        c.decoder.act = MM1_ACT_GELU_TANH;
        c.decoder.gated = false;
        c.decoder.bias = true;
        c.decoder.tie_embeddings = false;
        c.decoder.positions = MM1_POSITIONS_LEARNED;
        c.decoder.n_kv_heads = 4;
    }
    return c;
}

static inline void fixture_model(mm1_model *m, const mm1_model_config *c)
{
    mm1_error err = {0};
    check_ok(mm1_model_init(m, c, &err), &err);
    check_ok(mm1_params_alloc(&m->params, false, &err), &err);
    mm1_params_init(&m->params, 11);
    /* Larger than after a usual start: logits that differ. */
    for (int64_t i = 0; i < m->params.n_items; i++) {
        const mm1_param *p = m->params.items[i];
        mm1_rng r = mm1_rng_make(9, MM1_RNG_TEST, (uint64_t)i);
        for (int64_t j = 0; j < p->n; j++) {
            p->tensor.data[j] += (float)(0.1 * mm1_rng_normal(&r));
        }
    }
    m->tokenizer = fixture_tokenizer();
}

/* A model that says `ids`, whatever it reads: at position first the first of them, and so on. */
static inline void fixture_model_by_heart(mm1_model *m, int64_t first, const int32_t *ids, size_t n)
{
    mm1_model_config c = fixture_config(true);
    c.decoder.n_layers = 0;
    c.decoder.width = 256;
    c.decoder.head_dim = 64;
    fixture_model(m, &c);
    const int64_t C = c.decoder.width;
    float *head = m->decoder.head->data, *pos = m->decoder.pos->data;
    memset(m->decoder.embed->data, 0, (size_t)(c.decoder.vocab_size * C) * sizeof(float));
    memset(head, 0, (size_t)(c.decoder.vocab_size * C) * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        float *p = pos + (first + (int64_t)i) * C;
        check_fill(p, C, -1, 1, 100 + i);
        for (int64_t j = 0; j < C; j++) {
            head[ids[i] * C + j] += p[j];
        }
    }
    for (int64_t j = 0; j < C; j++) { /* the last norm changes nothing but the scale */
        m->decoder.norm_w->data[j] = 1;
        m->decoder.norm_b->data[j] = 0;
    }
}

/* The same for a text that is followed by <end>. */
static inline void fixture_model_by_heart_text(mm1_model *m, int64_t first, const char *text)
{
    mm1_tokenizer *t = fixture_tokenizer();
    mm1_ids ids = {0};
    mm1_error err = {0};
    check_ok(mm1_tokenizer_encode(t, text, strlen(text), &ids, &err), &err);
    check_ok(mm1_ids_add(&ids, mm1_tokenizer_special_id(t, MM1_TOKEN_END), &err), &err);
    fixture_model_by_heart(m, first, ids.items, ids.n);
    mm1_ids_free(&ids);
    mm1_tokenizer_destroy(t);
}

/* A PNG of noise; mm1_free() it. */
static inline uint8_t *fixture_png(uint64_t seed, size_t *len)
{
    mm1_image image;
    mm1_error err = {0};
    uint8_t *bytes = NULL;
    check_ok(mm1_image_init(&image, 20, 14, &err), &err);
    mm1_rng r = mm1_rng_make(seed, MM1_RNG_TEST, 77);
    for (int i = 0; i < 20 * 14 * 3; i++) {
        image.rgb[i] = (uint8_t)mm1_rng_below(&r, 256);
    }
    check_ok(mm1_image_encode_png(&image, &bytes, len, &err), &err);
    mm1_image_deinit(&image);
    return bytes;
}

static inline void add_text(mm1_document *d, const char *text)
{
    mm1_error err = {0};
    check_ok(mm1_document_add_text(d, text, strlen(text), true, &err), &err);
}

static inline void add_image(mm1_document *d, uint64_t seed)
{
    mm1_error err = {0};
    size_t len = 0;
    uint8_t *png = fixture_png(seed, &len);
    check_ok(mm1_document_add_image(d, png, len, "noise.png", &err), &err);
    mm1_free(png);
}

/* A document from a plan: 'i' is a picture, 't' a text. */
static inline void make_document(mm1_document *d, const char *plan)
{
    static const char *const texts[] = {"the cat sat", " on the red hat", "and two other balls"};
    *d = (mm1_document){0};
    for (size_t i = 0; plan[i] != '\0'; i++) {
        if (plan[i] == 'i') {
            add_image(d, i + 1);
        } else {
            add_text(d, texts[i % 3]);
        }
    }
}

/* Logits [len, V] of a sequence by the training code: one batch, no cache; mm1_free() them. */
static inline float *full_logits(const mm1_model *m, const mm1_document *d, const mm1_sequence *q)
{
    mm1_arena arena;
    mm1_tape tape;
    mm1_batch b;
    mm1_error err = {0};
    const int64_t V = m->config.decoder.vocab_size, C = m->config.decoder.width;
    check_ok(mm1_arena_init(&arena, (size_t)64 << 20, &err), &err);
    check_ok(mm1_tape_init(&tape, &arena, &err), &err);
    check_ok(mm1_batch_init(&b, 1, q->len, mm1_sequence_n_tiles(q, 0, q->n_images), FIXTURE_PX, &err), &err);
    check_ok(mm1_batch_add(&b, 0, q, &m->images, 0, "test", &err), &err);
    int64_t image = 0, tile = 0;
    for (size_t i = 0; i < d->n_parts; i++) {
        if (d->parts[i].kind == MM1_PART_IMAGE) {
            const mm1_image_layout *l = &q->images[image++];
            check_ok(mm1_image_to_pixels(&m->images, l, d->parts[i].bytes, d->parts[i].len, "image",
                                         b.pixels + tile * 3 * FIXTURE_PX * FIXTURE_PX, &err),
                     &err);
            tile += l->n_tiles;
        }
    }
    const mm1_tensor *h = mm1_model_hidden(m, &tape, &b);
    check_ok(mm1_tape_status(&tape, &err), &err);
    float *logits = mm1_alloc((size_t)(q->len * V), sizeof *logits);
    assert_non_null(logits);
    for (int64_t t = 0; t < q->len; t++) {
        for (int64_t v = 0; v < V; v++) {
            double sum = 0;
            for (int64_t c = 0; c < C; c++) {
                sum += (double)h->data[t * C + c] * m->decoder.head->data[v * C + c];
            }
            logits[t * V + v] = (float)sum;
        }
    }
    mm1_batch_deinit(&b);
    mm1_tape_deinit(&tape);
    mm1_arena_deinit(&arena);
    return logits;
}

static inline int fixture_group_setup(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_threads_set(2);
    check_ok(mm1_kernels_init(NULL, &err), &err);
    return 0;
}

#endif

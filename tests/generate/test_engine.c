/* Many requests at once give what each gives alone, bit for bit; what is wrong with one is its own. */
#include "support/check.h"

#include "generate/engine.h"
#include "generate/generate.h"
#include "generate/generate_fixture.h"
#include "generate/prompt.h"
#include "generate/score.h"

enum { N_REQUESTS = 22, MAX_DOCUMENTS = 2 * N_REQUESTS };

/* Requests over documents of its own, and what a session alone makes of each. */
typedef struct work {
    size_t n;
    mm1_engine_request requests[N_REQUESTS];
    mm1_engine_result wanted[N_REQUESTS];
    mm1_generate_params params[N_REQUESTS];
    mm1_document documents[MAX_DOCUMENTS], whole[N_REQUESTS];
    size_t n_documents;
} work;

static const mm1_document *plan(work *w, const char *p, const char *more)
{
    mm1_document *d = &w->documents[w->n_documents++];
    make_document(d, p);
    if (more != NULL) {
        add_text(d, more);
    }
    return d;
}

/* A text for even n, a score for odd ones; prefix may be NULL. */
static void add(work *w, const mm1_document *prefix, const mm1_document *document)
{
    static const char *const stops[] = {" re", "the", "z"};
    mm1_error err = {0};
    const size_t i = w->n++;
    w->requests[i] = (mm1_engine_request){.prefix = prefix, .document = document, .closed = i % 3 == 0};
    w->params[i] = mm1_generate_defaults();
    w->params[i].max_tokens = 1 + (int64_t)(i * 7 % 30);
    w->params[i].sampling.temperature = i % 4 == 0 ? 0 : 1;
    w->params[i].sampling.repetition_penalty = i % 5 == 0 ? 1.3 : 1;
    w->params[i].sampling.index = i;
    w->params[i].stop = stops;
    w->params[i].n_stop = i % 6 == 2 ? 3 : 0;
    if (i % 2 == 0) {
        w->requests[i].params = &w->params[i];
    }
    if (prefix != NULL) {
        check_ok(mm1_document_append(&w->whole[i], prefix, &err), &err);
    }
    check_ok(mm1_document_append(&w->whole[i], document, &err), &err);
}

/* Demonstrations with several tails, prompts longer than a piece, prompts of a few tokens, scores of all lengths. */
static void make_work(work *w)
{
    *w = (work){0};
    const mm1_document *demos = plan(w, "itit", NULL), *question = plan(w, "tit", " which one is it? the");
    mm1_document *page = &w->documents[w->n_documents++];
    for (int i = 0; i < 12; i++) {
        add_text(page, " the cat sat on a red hat seven times and 12345678 other ones");
    }
    for (int i = 0; i < 4; i++) {
        static const char *const tails[] = {" cat", " red ball and the hat", " dog", " cats on the mat"};
        add(w, demos, plan(w, i < 2 ? "i" : "t", tails[i]));
        add(w, question, plan(w, "", tails[i]));
    }
    add(w, NULL, plan(w, "", "the"));
    add(w, NULL, plan(w, "", "a cat"));
    add(w, page, plan(w, "i", NULL));
    add(w, page, plan(w, "t", NULL));
    add(w, NULL, page);
    add(w, demos, plan(w, "", " 9"));
    add(w, NULL, plan(w, "iii", NULL));
    add(w, NULL, plan(w, "", ""));
    add(w, page, plan(w, "", " and so on"));
    add(w, NULL, plan(w, "i", " the red one"));
    /* A picture as an overview alone, that others show in full: it comes after them, or before them. */
    for (int i = 0; i < 2; i++) {
        const mm1_document *d = plan(w, "ti", " which");
        d->parts[1].overview = true;
        add(w, NULL, d);
    }
    /* A text, and a score of nothing but the token that closes a document. */
    add(w, demos, plan(w, "", ""));
    add(w, demos, plan(w, "", ""));
}

/* What a session gives, one request after the other. */
static void want(work *w, const mm1_model *m)
{
    mm1_session *s = NULL;
    mm1_error err = {0};
    check_ok(mm1_session_create(m, 0, &s, &err), &err);
    for (size_t i = 0; i < w->n; i++) {
        const mm1_engine_request *r = &w->requests[i];
        mm1_engine_result *out = &w->wanted[i];
        if (r->params != NULL) {
            check_ok(mm1_generate(s, &w->whole[i], r->params, NULL, NULL, &out->text, &err), &err);
            continue;
        }
        check_ok(mm1_score_document(s, &w->whole[i], r->closed, false, &out->score, &err), &err);
        const int32_t n_prefix = r->prefix != NULL ? (int32_t)r->prefix->n_parts : 0;
        mm1_score *score = &out->score;
        int64_t begin = 0;
        /* The token that begins a document has no part, as the one that ends it. */
        while (n_prefix > 0 && begin < score->n && score->part[begin] < n_prefix &&
               (begin == 0 || score->part[begin] >= 0)) {
            score->logprob[begin++] = NAN;
        }
        score->n_scored = 0;
        score->sum_logprob = 0;
        for (int64_t t = begin; t < score->n; t++) {
            if (!isnan(score->logprob[t])) {
                score->n_scored++;
                score->sum_logprob += (double)score->logprob[t];
            }
        }
    }
    mm1_session_destroy(s);
}

static void check_result(const mm1_engine_result *got, const mm1_engine_result *wanted)
{
    check_ok(got->status, &got->error);
    assert_int_equal(got->text.len, wanted->text.len);
    assert_int_equal(got->text.text == NULL, wanted->text.text == NULL);
    if (wanted->text.text != NULL) {
        assert_string_equal(got->text.text, wanted->text.text);
    }
    assert_int_equal(got->text.n_prompt_tokens, wanted->text.n_prompt_tokens);
    assert_int_equal(got->text.n_images, wanted->text.n_images);
    assert_int_equal(got->text.n_tokens, wanted->text.n_tokens);
    assert_int_equal(got->text.finish, wanted->text.finish);
    const mm1_score *a = &got->score, *b = &wanted->score;
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_scored, b->n_scored);
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_memory_equal(&a->sum_logprob, &b->sum_logprob, sizeof a->sum_logprob);
    for (int64_t t = 0; t < a->n; t++) {
        assert_int_equal(a->token[t], b->token[t]);
        assert_int_equal(a->part[t], b->part[t]);
        assert_int_equal(isnan(a->logprob[t]), isnan(b->logprob[t]));
        if (!isnan(b->logprob[t])) {
            assert_memory_equal(&a->logprob[t], &b->logprob[t], sizeof(float));
        }
    }
}

static void end_work(work *w)
{
    for (size_t i = 0; i < w->n; i++) {
        mm1_engine_result_deinit(&w->wanted[i]);
        mm1_document_deinit(&w->whole[i]);
    }
    for (size_t i = 0; i < w->n_documents; i++) {
        mm1_document_deinit(&w->documents[i]);
    }
}

/* All requests with so many slots, in their order or the other way round. */
static int64_t check_engine(const work *w, const mm1_model *m, int64_t n_slots, bool backwards, size_t image_bytes)
{
    mm1_engine *e = NULL;
    mm1_error err = {0};
    mm1_engine_request requests[N_REQUESTS];
    mm1_engine_result results[N_REQUESTS];
    int64_t n_shared = 0;
    check_ok(mm1_engine_create(m, &(mm1_engine_options){.n_slots = n_slots, .image_bytes = image_bytes}, &e, &err),
             &err);
    for (size_t i = 0; i < w->n; i++) {
        requests[i] = w->requests[backwards ? w->n - 1 - i : i];
    }
    check_ok(mm1_engine_run(e, requests, w->n, results, &err), &err);
    for (size_t i = 0; i < w->n; i++) {
        check_result(&results[i], &w->wanted[backwards ? w->n - 1 - i : i]);
        n_shared += results[i].n_shared;
        mm1_engine_result_deinit(&results[i]);
    }
    mm1_engine_destroy(e);
    return n_shared;
}

static void check_config(const mm1_model_config *c)
{
    static const int64_t n_slots[] = {1, 3, 7};
    mm1_model m;
    mm1_error err = {0};
    work w;
    fixture_model(&m, c);
    make_work(&w);
    assert_int_equal(w.n, N_REQUESTS);
    want(&w, &m);
    for (int threads = 1; threads <= 3; threads++) {
        mm1_threads_set(threads);
        check_ok(mm1_kernels_init(NULL, &err), &err);
        for (size_t i = 0; i < 3; i++) {
            check_engine(&w, &m, n_slots[i], i % 2 == 1, i == 0 ? 0 : 1 << 20);
        }
    }
    end_work(&w);
    mm1_model_deinit(&m);
}

static void results_do_not_depend_on_what_is_beside_them(void **state)
{
    (void)state;
    for (int gpt2 = 0; gpt2 < 2; gpt2++) {
        const mm1_model_config c = fixture_config(gpt2 == 1);
        check_config(&c);
    }
}

static void nor_do_they_with_experts(void **state)
{
    (void)state;
    mm1_model_config c = fixture_config(false);
    c.decoder.moe.n_experts = 5;
    c.decoder.moe.top_k = 2;
    c.decoder.moe.every = 2;
    check_config(&c);
}

static void nor_with_windows_and_norms_of_queries(void **state)
{
    (void)state;
    mm1_model_config c = fixture_config(false);
    c.decoder.sliding_window = 50;
    c.decoder.qk_norm = MM1_QK_NORM_HEAD;
    check_config(&c);
}

static void nor_with_pictures_of_several_tiles(void **state)
{
    (void)state;
    mm1_model_config c = fixture_config(false);
    c.image.mode = MM1_IMAGE_SUBIMAGES;
    check_config(&c);
    c.image.mode = MM1_IMAGE_ANYRES;
    check_config(&c);
    c.vision.patch_size = 2; /* more tiles at once than are encoded together (MM1_CONTEXT_PATCHES) */
    check_config(&c);
}

static void what_is_wrong_with_a_request_is_its_result(void **state)
{
    (void)state;
    mm1_model m;
    mm1_engine *e = NULL;
    mm1_error err = {0};
    const mm1_model_config c = fixture_config(false);
    mm1_engine_options options = mm1_engine_defaults();
    fixture_model(&m, &c);
    options.n_slots = 0;
    assert_int_equal(mm1_engine_create(&m, &options, &e, &err), MM1_E_ARG);
    options.n_slots = MM1_CONTEXT_MAX_SLOTS + 1;
    assert_int_equal(mm1_engine_create(&m, &options, &e, &err), MM1_E_ARG);
    options.n_slots = 2;
    options.n_positions = FIXTURE_POSITIONS + 1;
    assert_int_equal(mm1_engine_create(&m, &options, &e, &err), MM1_E_LIMIT);
    options.n_positions = 40;
    check_ok(mm1_engine_create(&m, &options, &e, &err), &err);

    mm1_document good, long_one, broken = {0}, many;
    make_document(&good, "it");
    make_document(&long_one, "tttttttttttttttttt");
    make_document(&many, "iiii");
    check_ok(mm1_document_add_image(&broken, "no image", 8, "broken.png", &err), &err);
    mm1_generate_params params = mm1_generate_defaults(), bad = params, no_token = params;
    bad.sampling.top_p = 2;
    no_token.end_token = "<|none|>";
    params.max_tokens = 1000; /* the context ends before */
    const mm1_engine_request requests[] = {
        {.document = &good, .params = &params},
        {.document = &broken, .params = &params},
        {.document = &long_one},
        {.document = &many, .params = &params},
        {.document = &good, .params = &bad},
        {.document = &good, .params = &no_token},
        {.document = &good},
    };
    enum { N = sizeof requests / sizeof *requests };
    static const mm1_status statuses[N] = {MM1_OK,    MM1_E_FORMAT, MM1_E_LIMIT, MM1_E_LIMIT,
                                           MM1_E_ARG, MM1_E_FORMAT, MM1_OK};
    mm1_engine_result results[N];
    check_ok(mm1_engine_run(e, requests, N, results, &err), &err);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(results[i].status, statuses[i]);
        assert_int_equal(results[i].error.message[0] != '\0', statuses[i] != MM1_OK);
        mm1_engine_result_deinit(&results[i]);
    }
    assert_false(mm1_engine_is_busy(e));
    mm1_engine_destroy(e);

    mm1_document_deinit(&good);
    mm1_document_deinit(&long_one);
    mm1_document_deinit(&broken);
    mm1_document_deinit(&many);
    mm1_model_deinit(&m);
}

/* Positions of a document with more after it. */
static int64_t length(const mm1_model *m, const mm1_document *d)
{
    mm1_sequence q;
    mm1_error err = {0};
    check_ok(mm1_sequence_build(d, m->tokenizer, &m->images, false, &q, &err), &err);
    const int64_t len = q.len;
    mm1_sequence_deinit(&q);
    return len;
}

static void a_common_beginning_is_read_once(void **state)
{
    (void)state;
    mm1_model m;
    mm1_error err = {0};
    const mm1_model_config c = fixture_config(false);
    enum { N = 5 };
    static const char *const tails[N] = {" red", " cat and", " the", " 123", " 9"};
    mm1_document demos, tail[N], other;
    mm1_engine_request requests[N];
    mm1_engine_result results[N];
    mm1_generate_params params = mm1_generate_defaults();
    fixture_model(&m, &c);
    make_document(&demos, "ititttttttttttttttt");
    make_document(&other, "ti");
    for (int i = 0; i < N; i++) {
        make_document(&tail[i], "");
        add_text(&tail[i], tails[i]);
        requests[i] = (mm1_engine_request){.prefix = &demos, .document = &tail[i], .params = i < 3 ? &params : NULL};
    }
    const int64_t n_demos = length(&m, &demos);
    for (int64_t n_slots = 1; n_slots <= N; n_slots++) {
        mm1_engine *e = NULL;
        mm1_engine_options options = mm1_engine_defaults();
        options.n_slots = n_slots;
        check_ok(mm1_engine_create(&m, &options, &e, &err), &err);
        for (int round = 0; round < 2; round++) { /* in the second one, slots still hold what is wanted */
            check_ok(mm1_engine_run(e, requests, N, results, &err), &err);
            for (int i = 0; i < N; i++) {
                check_ok(results[i].status, &results[i].error);
                /* A score needs the last position before its tokens. */
                const int64_t most = n_demos - (i < 3 ? 0 : 1);
                assert_in_range(results[i].n_shared, i == 0 && round == 0 ? 0 : most, length(&m, &demos) + 3);
                assert_true(round > 0 || i > 0 || results[i].n_shared == 0);
                mm1_engine_result_deinit(&results[i]);
            }
        }
        /* Nothing in common but the first token. */
        check_ok(mm1_engine_run(e, &(mm1_engine_request){.document = &other, .params = &params}, 1, results, &err),
                 &err);
        assert_int_equal(results[0].n_shared, 1);
        mm1_engine_result_deinit(&results[0]);
        mm1_engine_destroy(e);
    }
    for (int i = 0; i < N; i++) {
        mm1_document_deinit(&tail[i]);
    }
    mm1_document_deinit(&demos);
    mm1_document_deinit(&other);
    mm1_model_deinit(&m);
}

static void a_picture_is_encoded_once_while_there_is_room_for_it(void **state)
{
    (void)state;
    mm1_model m;
    mm1_context *ctx = NULL;
    mm1_error err = {0};
    mm1_document d;
    const mm1_model_config c = fixture_config(false);
    fixture_model(&m, &c);
    make_document(&d, "iti");
    check_ok(mm1_context_create(&m, 1, 0, &ctx, &err), &err);
    const size_t each = (size_t)(FIXTURE_SLOTS * c.decoder.width) * sizeof(float);
    for (size_t room = 0; room <= 2; room++) {
        mm1_image_cache cache = {.max_bytes = room * each};
        for (int round = 0; round < 3; round++) {
            mm1_prompt p;
            check_ok(mm1_prompt_init(&p, &d, false, ctx, &cache, &err), &err);
            check_ok(mm1_prompt_see(&p, 0, 2, &err), &err); /* the first one alone is needed there */
            assert_non_null(p.tile[0]);
            assert_null(p.tile[1]);
            check_ok(mm1_prompt_see(&p, 0, p.sequence.len, &err), &err);
            assert_int_equal(cache.n_waiting, room == 2 && round > 0 ? 0 : 2);
            check_ok(mm1_image_cache_encode(&cache, ctx, &err), &err);
            assert_int_equal(cache.n_waiting, 0);
            assert_non_null(p.tile[1]);
            assert_int_equal(cache.n, 2);
            mm1_prompt_deinit(&p);
            assert_int_equal(cache.n, room);
            assert_int_equal(cache.bytes, room * each);
        }
        assert_int_equal(cache.n_encoded, room == 2 ? 2 : 6);
        mm1_image_cache_deinit(&cache);
    }
    mm1_context_destroy(ctx);
    mm1_document_deinit(&d);
    mm1_model_deinit(&m);
}

/* Pictures that are cut off are decoded beside whole ones: who needs one is told so, by the name it has there. */
static void a_damaged_picture_ends_those_alone_that_need_it(void **state)
{
    (void)state;
    enum { N = 5 };
    mm1_model m;
    mm1_session *s = NULL;
    mm1_engine *e = NULL;
    mm1_error err = {0};
    mm1_document d[N];
    mm1_engine_request requests[N];
    mm1_engine_result results[N];
    mm1_generated want;
    mm1_engine_options options = mm1_engine_defaults();
    mm1_generate_params params = mm1_generate_defaults();
    const mm1_model_config c = fixture_config(false);
    size_t len = 0;
    uint8_t *png = fixture_png(77, &len);
    fixture_model(&m, &c);
    params.max_tokens = 5;
    for (int i = 0; i < N; i++) {
        char name[16];
        make_document(&d[i], i == 4 ? "ti" : "it");
        (void)snprintf(name, sizeof name, "cut%d.png", i);
        if (i < 3) { /* the first two end in the same bytes */
            check_ok(mm1_document_add_image(&d[i], png, len - (i == 2 ? 30 : 20), name, &err), &err);
        }
        requests[i] = (mm1_engine_request){.document = &d[i], .params = &params};
    }
    check_ok(mm1_session_create(&m, 0, &s, &err), &err);
    for (options.n_slots = 1; options.n_slots <= N; options.n_slots++) {
        check_ok(mm1_engine_create(&m, &options, &e, &err), &err);
        for (int round = 0; round < 2; round++) {
            check_ok(mm1_engine_run(e, requests, N, results, &err), &err);
            for (int i = 0; i < N; i++) {
                if (i < 3) {
                    char name[16];
                    (void)snprintf(name, sizeof name, "cut%d.png", i);
                    assert_int_equal(results[i].status, MM1_E_FORMAT);
                    check_contains(results[i].error.message, name);
                } else {
                    check_ok(results[i].status, &results[i].error);
                    check_ok(mm1_generate(s, &d[i], &params, NULL, NULL, &want, &err), &err);
                    assert_string_equal(results[i].text.text, want.text);
                    mm1_generated_deinit(&want);
                }
                mm1_engine_result_deinit(&results[i]);
            }
        }
        mm1_engine_destroy(e);
    }
    assert_int_equal(mm1_generate(s, &d[2], &params, NULL, NULL, &want, &err), MM1_E_FORMAT);
    check_contains(err.message, "cut2.png");
    mm1_session_destroy(s);
    for (int i = 0; i < N; i++) {
        mm1_document_deinit(&d[i]);
    }
    mm1_free(png);
    mm1_model_deinit(&m);
}

/* Slots that step together, on top of sequences that were read in pieces, have the logits of one that is alone. */
static void logits_are_equal_to_the_bit(void **state)
{
    (void)state;
    enum { N = 7, STEPS = 3 };
    mm1_model m;
    mm1_context *one = NULL, *many = NULL;
    mm1_image_cache cache = {.max_bytes = SIZE_MAX};
    mm1_error err = {0};
    mm1_prompt p[N];
    mm1_document d[N];
    const mm1_model_config c = fixture_config(true);
    const int64_t V = c.decoder.vocab_size, C = c.decoder.width;
    float *want = mm1_alloc((size_t)(N * (STEPS + 1) * V), sizeof *want),
          *got = mm1_alloc((size_t)(N * V), sizeof *got);
    const float *hidden;
    assert_true(want != NULL && got != NULL);
    fixture_model(&m, &c);
    check_ok(mm1_context_create(&m, 1, 0, &one, &err), &err);
    check_ok(mm1_context_create(&m, N, 0, &many, &err), &err);
    for (int i = 0; i < N; i++) {
        static const char *const plans[N] = {"t", "it", "ti", "ttttttttt", "iti", "i", "tttit"};
        make_document(&d[i], plans[i]);
        check_ok(mm1_prompt_init(&p[i], &d[i], false, one, &cache, &err), &err);
        const int64_t len = p[i].sequence.len;
        check_ok(mm1_prompt_see(&p[i], 0, len, &err), &err);
        check_ok(mm1_image_cache_encode(&cache, one, &err), &err);
        mm1_context_cut(one, 0, 0);
        mm1_reading r = {.n = len, .sequence = &p[i].sequence, .tiles = p[i].tile};
        check_ok(mm1_context_read(one, &r, 1, &hidden, &err), &err);
        hidden += (len - 1) * C;
        for (int s = 0; s <= STEPS; s++) {
            mm1_context_logits(one, hidden, 1, MM1_ROWS_FEW, want + (i * (STEPS + 1) + s) * V);
            if (s < STEPS) {
                check_ok(mm1_context_step(one, &(int64_t){0}, &(int32_t){7 * i + s}, 1, &hidden, &err), &err);
            }
        }
    }
    /* Readings of all of them, a few positions each time, so that their ends fall together as they will. */
    float last[N * 32];
    assert_true(C == 32);
    for (bool reading = true; reading;) {
        mm1_reading r[N];
        int64_t n = 0;
        for (int i = 0; i < N; i++) {
            const int64_t left = p[i].sequence.len - mm1_context_n(many, i), most = 1 + i % 3;
            if (left > 0) {
                r[n++] = (mm1_reading){
                    .slot = i, .n = left < most ? left : most, .sequence = &p[i].sequence, .tiles = p[i].tile};
            }
        }
        reading = n > 0;
        if (reading) {
            check_ok(mm1_context_read(many, r, n, &hidden, &err), &err);
        }
        for (int64_t k = 0; k < n; hidden += r[k++].n * C) {
            memcpy(last + r[k].slot * C, hidden + (r[k].n - 1) * C, (size_t)C * sizeof *last);
        }
    }
    mm1_context_logits(many, last, N, MM1_ROWS_FEW, got);
    for (int s = 0; s <= STEPS; s++) {
        for (int i = 0; i < N; i++) {
            assert_memory_equal(got + i * V, want + (i * (STEPS + 1) + s) * V, (size_t)V * sizeof *got);
        }
        if (s < STEPS) {
            int64_t slots[N];
            int32_t tokens[N];
            for (int i = 0; i < N; i++) {
                slots[i] = i;
                tokens[i] = 7 * i + s;
            }
            check_ok(mm1_context_step(many, slots, tokens, N, &hidden, &err), &err);
            mm1_context_logits(many, hidden, N, MM1_ROWS_FEW, got);
        }
    }
    for (int i = 0; i < N; i++) {
        mm1_prompt_deinit(&p[i]);
        mm1_document_deinit(&d[i]);
    }
    mm1_image_cache_deinit(&cache);
    mm1_context_destroy(one);
    mm1_context_destroy(many);
    mm1_free(want);
    mm1_free(got);
    mm1_model_deinit(&m);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    mm1_model m;
    mm1_document demos, d;
    const mm1_model_config c = fixture_config(false);
    const char *stop[] = {"STOP"};
    mm1_generate_params params = mm1_generate_defaults();
    params.stop = stop;
    params.n_stop = 1;
    params.max_tokens = 5;
    fixture_model(&m, &c);
    make_document(&demos, "it");
    make_document(&d, "it");
    const mm1_engine_request requests[] = {{.prefix = &demos, .document = &d, .params = &params},
                                           {.prefix = &demos, .document = &d, .closed = true}};
    const size_t live = mm1_alloc_bytes();
    bool is_whole = false;
    for (uint64_t n = 1; !is_whole; n++) {
        mm1_engine *e = NULL;
        mm1_engine_result results[2] = {{0}};
        mm1_error err = {0};
        mm1_engine_options options = mm1_engine_defaults();
        options.n_slots = 2;
        mm1_alloc_fail_at(n);
        mm1_status st = mm1_engine_create(&m, &options, &e, &err);
        st = st != MM1_OK ? st : mm1_engine_run(e, requests, 2, results, &err);
        mm1_alloc_fail_at(0);
        assert_true(st == MM1_OK || st == MM1_E_NOMEM);
        is_whole = st == MM1_OK;
        for (int i = 0; i < 2; i++) {
            assert_true(results[i].status == MM1_OK || results[i].status == MM1_E_NOMEM);
            is_whole = is_whole && results[i].status == MM1_OK;
            mm1_engine_result_deinit(&results[i]);
        }
        mm1_engine_destroy(e);
        assert_int_equal(mm1_alloc_bytes(), live);
    }
    mm1_document_deinit(&demos);
    mm1_document_deinit(&d);
    mm1_model_deinit(&m);
}

typedef struct listener {
    size_t n_bytes, n_most;
} listener;

static bool listen(void *ctx, const char *text, size_t len)
{
    listener *l = ctx;
    (void)text;
    l->n_bytes += len;
    return l->n_bytes <= l->n_most;
}

/* As a server does: requests come while others run, and one listener goes away. */
static void requests_may_come_at_any_time(void **state)
{
    (void)state;
    mm1_model m;
    mm1_engine *e = NULL;
    mm1_error err = {0};
    const mm1_model_config c = fixture_config(true);
    mm1_engine_options options = mm1_engine_defaults();
    enum { N = 6 };
    mm1_document d;
    listener listeners[N];
    bool is_done[N] = {false};
    size_t n_added = 0, n_done = 0;
    fixture_model(&m, &c);
    make_document(&d, "it");
    options.n_slots = 2;
    check_ok(mm1_engine_create(&m, &options, &e, &err), &err);
    mm1_generate_params params = mm1_generate_defaults();
    params.max_tokens = 12;
    for (int step = 0; n_done < N; step++) {
        assert_true(step < 1000);
        if (step % 3 == 0 && n_added < N) {
            int64_t id = -1;
            listeners[n_added] = (listener){.n_most = n_added == 1 ? 2 : SIZE_MAX};
            const mm1_engine_request r = {
                .document = &d, .params = &params, .on_text = listen, .ctx = &listeners[n_added]};
            check_ok(mm1_engine_add(e, &r, &id, &err), &err);
            assert_int_equal(id, n_added++);
        }
        check_ok(mm1_engine_step(e, &err), &err);
        mm1_engine_result r;
        while (mm1_engine_collect(e, &r)) {
            assert_true(r.id >= 0 && r.id < N && !is_done[r.id]);
            is_done[r.id] = true;
            n_done++;
            assert_int_equal(r.status, r.id == 1 ? MM1_E_CANCELLED : MM1_OK);
            if (r.status == MM1_OK) {
                assert_int_equal(r.text.len, listeners[r.id].n_bytes);
            }
            mm1_engine_result_deinit(&r);
        }
        assert_int_equal(mm1_engine_is_busy(e), n_done < n_added);
    }
    mm1_engine_destroy(e);
    mm1_document_deinit(&d);
    mm1_model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_do_not_depend_on_what_is_beside_them),
        cmocka_unit_test(nor_do_they_with_experts),
        cmocka_unit_test(nor_with_windows_and_norms_of_queries),
        cmocka_unit_test(nor_with_pictures_of_several_tiles),
        cmocka_unit_test(what_is_wrong_with_a_request_is_its_result),
        cmocka_unit_test(a_common_beginning_is_read_once),
        cmocka_unit_test(a_picture_is_encoded_once_while_there_is_room_for_it),
        cmocka_unit_test(a_damaged_picture_ends_those_alone_that_need_it),
        cmocka_unit_test(logits_are_equal_to_the_bit),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(requests_may_come_at_any_time),
    };
    return cmocka_run_group_tests(tests, fixture_group_setup, NULL);
}

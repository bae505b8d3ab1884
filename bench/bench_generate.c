/* bench_generate - captions a second by the number of sequences at once, beside one after the other.
 *
 *   bench_generate MODEL SHARD [N [TOKENS [SHOTS]]]
 *
 * The first N (64) pictures of a tar shard each get a caption of TOKENS (24) tokens, or shorter if the model ends it;
 * with = before TOKENS it cannot.  SHOTS (0) pictures with the words "a picture" stand before each.  MM1_THREADS says
 * how many threads.  First mm1_generate() one by one, then an engine of 1 to 32 slots; the texts must be equal.  Each
 * is run TURNS times in turn, and the fastest counts.  Columns: CPU seconds of all threads and wall seconds for one
 * picture, the gain in CPU time and in wall time over one by one; below, what reading and encoding the pictures alone
 * takes. */
#include "base/alloc.h"
#include "base/tar.h"
#include "base/thread.h"
#include "generate/engine.h"
#include "generate/generate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 3, MAX_ITEMS = 4096, WAYS = 7 };

static const int64_t slots_of[WAYS] = {0, 1, 2, 4, 8, 16, 32}; /* 0: mm1_generate() */

static struct {
    mm1_model model;
    mm1_document prefix, items[MAX_ITEMS], whole[MAX_ITEMS];
    char *texts[MAX_ITEMS];
    size_t n;
    mm1_generate_params params;
    int64_t n_tokens;
} the;

static mm1_error err;

static void must(mm1_status st)
{
    if (st != MM1_OK) {
        (void)fprintf(stderr, "bench_generate: %s\n", err.message);
        exit(mm1_status_exit_code(st));
    }
}

static double cpu_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void load_items(const char *shard, size_t n, size_t shots)
{
    mm1_tar *tar;
    mm1_tar_member m;
    size_t n_seen = 0;
    must(mm1_tar_open(&tar, shard, (size_t)1 << 28, &err));
    while (the.n < n) {
        must(mm1_tar_next(tar, &m, &err));
        if (m.name == NULL) {
            break;
        }
        const char *dot = strrchr(m.name, '.');
        if (dot == NULL || (strcmp(dot, ".jpg") != 0 && strcmp(dot, ".png") != 0 && strcmp(dot, ".webp") != 0)) {
            continue;
        }
        if (n_seen++ < shots) {
            must(mm1_document_add_image(&the.prefix, m.data, m.size, m.name, &err));
            must(mm1_document_add_text(&the.prefix, "a picture\n", 10, false, &err));
        } else {
            must(mm1_document_add_image(&the.items[the.n++], m.data, m.size, m.name, &err));
        }
    }
    mm1_tar_close(tar);
    for (size_t i = 0; i < the.n; i++) {
        must(mm1_document_append(&the.whole[i], &the.prefix, &err));
        must(mm1_document_append(&the.whole[i], &the.items[i], &err));
    }
}

/* The first text of an item is kept; all others must be like it. */
static void check_text(size_t i, mm1_generated *g)
{
    if (the.texts[i] == NULL) {
        the.texts[i] = mm1_strdup(g->text);
        the.n_tokens += g->n_tokens;
    } else if (strcmp(the.texts[i], g->text) != 0) {
        (void)fprintf(stderr, "bench_generate: picture %zu: \"%s\" and \"%s\"\n", i, the.texts[i], g->text);
        exit(1);
    }
    mm1_generated_deinit(g);
}

static void one_by_one(void)
{
    mm1_session *s;
    must(mm1_session_create(&the.model, 0, &s, &err));
    for (size_t i = 0; i < the.n; i++) {
        mm1_generated g;
        must(mm1_generate(s, &the.whole[i], &the.params, NULL, NULL, &g, &err));
        check_text(i, &g);
    }
    mm1_session_destroy(s);
}

static void together(int64_t n_slots)
{
    mm1_engine *e;
    mm1_engine_options options = mm1_engine_defaults();
    static mm1_engine_request requests[MAX_ITEMS];
    static mm1_engine_result results[MAX_ITEMS];
    options.n_slots = n_slots;
    must(mm1_engine_create(&the.model, &options, &e, &err));
    for (size_t i = 0; i < the.n; i++) {
        requests[i] = (mm1_engine_request){.prefix = &the.prefix, .document = &the.items[i], .params = &the.params};
    }
    must(mm1_engine_run(e, requests, the.n, results, &err));
    for (size_t i = 0; i < the.n; i++) {
        err = results[i].error;
        must(results[i].status);
        check_text(i, &results[i].text);
    }
    mm1_engine_destroy(e);
}

/* Files to pixels, and pixels to visual tokens; no decoder. */
static void pictures(double seconds[2])
{
    mm1_context *ctx;
    mm1_image_cache cache = {.max_bytes = SIZE_MAX};
    must(mm1_context_create(&the.model, 1, 0, &ctx, &err));
    const double start = cpu_now();
    for (size_t i = 0; i < the.n; i++) {
        const mm1_part *p = &the.items[i].parts[0];
        mm1_image_layout l;
        mm1_image_features *f;
        must(mm1_image_layout_read(&the.model.images, p->bytes, p->len, "picture", &l, &err));
        must(mm1_image_cache_take(&cache, &the.model, p, &(mm1_image_key){{i, 0}}, &l, "picture", &f, &err));
        must(mm1_image_cache_pixels(f, &the.model, p, "picture", &err));
        mm1_image_cache_release(&cache, f);
    }
    const double middle = cpu_now();
    must(mm1_image_cache_encode(&cache, ctx, &err));
    seconds[0] = (middle - start) / (double)the.n;
    seconds[1] = (cpu_now() - middle) / (double)the.n;
    mm1_image_cache_deinit(&cache);
    mm1_context_destroy(ctx);
}

int main(int argc, char **argv)
{
    double cpu[WAYS], wall[WAYS], alone[2];
    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench_generate MODEL SHARD [N [TOKENS [SHOTS]]]\n");
        return 2;
    }
    const size_t n = argc > 3 ? (size_t)atol(argv[3]) : 64, shots = argc > 5 ? (size_t)atol(argv[5]) : 0;
    mm1_threads_set(0);
    must(mm1_kernels_init(NULL, &err));
    must(mm1_model_load(&the.model, argv[1], false, &err));
    load_items(argv[2], n < MAX_ITEMS ? n : MAX_ITEMS, shots);
    the.params = mm1_generate_defaults();
    const char *tokens = argc > 4 ? argv[4] : "24";
    if (tokens[0] == '=') {
        mm1_token_roles roles = *mm1_tokenizer_roles(the.model.tokenizer);
        roles.n_eos = 0;
        must(mm1_tokenizer_set_roles(the.model.tokenizer, &roles, &err));
        tokens++;
    }
    the.params.max_tokens = atol(tokens);
    for (int turn = 0; turn < TURNS; turn++) {
        for (int w = 0; w < WAYS; w++) {
            const double c = cpu_now(), t = mm1_time_now();
            if (slots_of[w] == 0) {
                one_by_one();
            } else {
                together(slots_of[w]);
            }
            const double c2 = (cpu_now() - c) / (double)the.n, t2 = (mm1_time_now() - t) / (double)the.n;
            cpu[w] = turn == 0 || c2 < cpu[w] ? c2 : cpu[w];
            wall[w] = turn == 0 || t2 < wall[w] ? t2 : wall[w];
        }
    }
    (void)printf("%zu pictures, %.1f tokens each, %zu shots, %d threads\n%12s %12s %12s %10s %10s\n", the.n,
                 (double)the.n_tokens / (double)the.n, shots, mm1_threads(), "slots", "CPU ms", "wall ms", "CPU gain",
                 "wall gain");
    for (int w = 0; w < WAYS; w++) {
        char name[24] = "one by one";
        if (slots_of[w] > 0) {
            (void)snprintf(name, sizeof name, "%lld", (long long)slots_of[w]);
        }
        (void)printf("%12s %12.2f %12.2f %10.2f %10.2f\n", name, 1e3 * cpu[w], 1e3 * wall[w], cpu[0] / cpu[w],
                     wall[0] / wall[w]);
    }
    pictures(alone);
    (void)printf("of it, CPU ms: reading a picture %.2f, encoding it %.2f\n", 1e3 * alone[0], 1e3 * alone[1]);
    mm1_model_deinit(&the.model);
    return 0;
}

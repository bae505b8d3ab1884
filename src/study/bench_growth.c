/* bench_growth.c - see bench_growth.h. */
#include "study/bench_growth.h"

#include "study/bench_step.h"
#include "study/median.h"
#include <math.h>
#include <string.h>

enum { MIN_ROUNDS = 2, MAX_ROUNDS = 7 };

#define SECONDS 8.0 /* of all turns of a size: long steps have fewer */

/* What is multiplied, and by what. */
typedef struct growing {
    const char *name;
    void (*base)(mm1_recipe *r); /* gives the recipe what grows; NULL: it has it */
    void (*grow)(mm1_recipe *r, int64_t *images, int64_t factor);
    int64_t (*value)(const mm1_recipe *r, int64_t images);
    int64_t factors[MM1_GROWTH_SIZES]; /* 0 ends them */
} growing;

static void grow_width(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)images;
    mm1_decoder_config *d = &r->model.decoder;
    mm1_vision_config *v = &r->model.vision;
    int64_t *const sizes[] = {&d->width,
                              &d->n_heads,
                              &d->n_kv_heads,
                              &d->mlp_width,
                              &v->width,
                              &v->n_heads,
                              &v->mlp_width,
                              &r->model.connector.hidden,
                              &r->model.connector.n_heads};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *sizes[i] *= factor;
    }
}

static int64_t width(const mm1_recipe *r, int64_t images)
{
    (void)images;
    return r->model.decoder.width;
}

static void grow_depth(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)images;
    r->model.decoder.n_layers *= factor;
    r->model.vision.n_layers *= factor;
}

static int64_t depth(const mm1_recipe *r, int64_t images)
{
    (void)images;
    return r->model.decoder.n_layers;
}

static void grow_length(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)images;
    const int64_t rows = r->data.batch / factor > 1 ? r->data.batch / factor : 1;
    r->data.seq_len *= factor;
    r->model.decoder.max_positions *= factor;
    r->data.batch = rows;
    r->train.micro_batch = r->train.micro_batch < rows ? r->train.micro_batch : rows;
}

static int64_t length(const mm1_recipe *r, int64_t images)
{
    (void)images;
    return r->data.seq_len;
}

static void grow_rows(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)images;
    r->data.batch *= factor;
    r->train.micro_batch *= factor;
}

static int64_t rows(const mm1_recipe *r, int64_t images)
{
    (void)images;
    return r->data.batch;
}

static void grow_images(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)r;
    *images *= factor;
}

static int64_t images_of(const mm1_recipe *r, int64_t images)
{
    (void)r;
    return images;
}

static void grow_resolution(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)images;
    r->model.vision.image_size *= factor;
}

static int64_t resolution(const mm1_recipe *r, int64_t images)
{
    (void)images;
    return r->model.vision.image_size;
}

static void grow_vocabulary(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)images;
    r->model.decoder.vocab_size *= factor;
}

static int64_t vocabulary(const mm1_recipe *r, int64_t images)
{
    (void)images;
    return r->model.decoder.vocab_size;
}

static void base_experts(mm1_recipe *r)
{
    enum { LEAST = 2 };
    mm1_decoder_config *d = &r->model.decoder;
    if (d->moe.n_experts == 0) {
        d->moe.n_experts = d->moe.top_k = LEAST;
        d->moe.every = 1;
        d->moe.mlp_width = d->mlp_width / LEAST;
    }
}

static void grow_experts(mm1_recipe *r, int64_t *images, int64_t factor)
{
    (void)images;
    r->model.decoder.moe.n_experts *= factor;
}

static int64_t experts(const mm1_recipe *r, int64_t images)
{
    (void)images;
    return r->model.decoder.moe.n_experts;
}

static const growing axes[MM1_GROWTH_AXES] = {
    [MM1_GROWTH_WIDTH] = {"width", NULL, grow_width, width, {2, 4}},
    [MM1_GROWTH_DEPTH] = {"depth", NULL, grow_depth, depth, {2, 4}},
    [MM1_GROWTH_LENGTH] = {"length", NULL, grow_length, length, {2, 4, 8, 16, 32}},
    [MM1_GROWTH_ROWS] = {"rows", NULL, grow_rows, rows, {2, 4}},
    [MM1_GROWTH_IMAGES] = {"images", NULL, grow_images, images_of, {2, 4}},
    [MM1_GROWTH_RESOLUTION] = {"resolution", NULL, grow_resolution, resolution, {2, 4}},
    [MM1_GROWTH_VOCABULARY] = {"vocabulary", NULL, grow_vocabulary, vocabulary, {4, 16}},
    [MM1_GROWTH_EXPERTS] = {"experts", base_experts, grow_experts, experts, {2, 4, 8}},
};

const char *mm1_growth_axis_name(mm1_growth_axis axis)
{
    return axes[axis].name;
}

mm1_growth_axis mm1_growth_axis_find(const char *name)
{
    int i = 0;
    while (i < MM1_GROWTH_AXES && strcmp(axes[i].name, name) != 0) {
        i++;
    }
    return (mm1_growth_axis)i;
}

/* Turns of both, until the time is over. */
static mm1_status take_turns(mm1_step_bench *base, mm1_step_bench *grown, mm1_growth *g, mm1_error *err)
{
    double seconds[MAX_ROUNDS], base_seconds[MAX_ROUNDS], ratios[MAX_ROUNDS], total = 0;
    mm1_step_time b, t;
    g->rounds = 0;
    for (int64_t i = -1; i < MAX_ROUNDS && (i < MIN_ROUNDS || total < SECONDS); i++) { /* the first one warms up */
        mm1_status st = mm1_step_bench_time(base, &b, err);
        st = st != MM1_OK ? st : mm1_step_bench_time(grown, &t, err);
        if (st != MM1_OK) {
            return st;
        }
        const int64_t at = i < 0 ? 0 : i;
        seconds[at] = t.seconds;
        base_seconds[at] = b.seconds;
        ratios[at] = t.seconds / b.seconds;
        total += t.seconds + b.seconds;
        g->rounds = i + 1;
    }
    g->seconds = mm1_median(seconds, g->rounds);
    g->base_seconds = mm1_median(base_seconds, g->rounds);
    g->time_ratio = mm1_median(ratios, g->rounds);
    g->flops = t.flops;
    g->base_flops = b.flops;
    g->relative = g->time_ratio / (t.flops / b.flops);
    g->arena_bytes = t.arena_bytes;
    g->base_arena_bytes = b.arena_bytes;
    return MM1_OK;
}

mm1_status mm1_bench_growth_run(const mm1_recipe *recipe, int64_t images, mm1_growth_axis axis, size_t n_sizes,
                                mm1_growth out[MM1_GROWTH_SIZES], size_t *n, mm1_error *err)
{
    mm1_step_bench *base = NULL;
    mm1_recipe from = *recipe;
    if (axes[axis].base != NULL) {
        axes[axis].base(&from);
    }
    mm1_status st = mm1_step_bench_create(&from, &(mm1_bench_step_options){.images = images}, &base, err);
    *n = 0;
    for (size_t i = 0; st == MM1_OK && i < n_sizes && i < MM1_GROWTH_SIZES && axes[axis].factors[i] != 0; i++) {
        mm1_recipe r = from;
        mm1_step_bench *grown = NULL;
        int64_t grown_images = images;
        axes[axis].grow(&r, &grown_images, axes[axis].factors[i]);
        out[i] = (mm1_growth){
            .axis = axis, .value = axes[axis].value(&r, grown_images), .base_value = axes[axis].value(&from, images)};
        st = mm1_step_bench_create(&r, &(mm1_bench_step_options){.images = grown_images}, &grown, err);
        st = st != MM1_OK ? st : take_turns(base, grown, &out[i], err);
        mm1_step_bench_destroy(grown);
        *n = i + 1;
    }
    mm1_step_bench_destroy(base);
    return st;
}

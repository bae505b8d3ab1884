/* bench_shots.c - see bench_shots.h. */
#include "eval/bench_shots.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "eval/embedder.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const mm1_shot_choice_names[] = {"random", "fixed", "similar", NULL};

/* A candidate and how much it is like the item at hand. */
typedef struct candidate {
    int64_t item;
    float cosine;
} candidate;

struct mm1_bench_shots {
    const mm1_bench_style *style;
    const mm1_bench_set *from;
    bool is_own;
    mm1_shot_choice choice;
    uint64_t seed;
    bool has_passed_over;
    /* of similar ones */
    const mm1_model *model;
    mm1_embedder *embedder;
    int64_t n_pool, C;
    int64_t *pool;         /* [n_pool] items */
    float *features;       /* [n_pool, C] */
    candidate *candidates; /* [n_pool] scratch */
};

/* ---- features ---- */

/* Unit features [C] of the first picture of an item. */
static mm1_status read_features(mm1_bench_shots *s, const mm1_bench_set *set, const mm1_bench_item *item, float *out,
                                mm1_error *err)
{
    const mm1_image_spec spec = mm1_image_one_tile(&s->model->images);
    const size_t n = (size_t)(3 * spec.tile_px * spec.tile_px);
    mm1_document d = {0};
    mm1_image_layout layout;
    float *pixels = mm1_alloc(n, sizeof *pixels);
    mm1_status st = pixels == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a picture")
                                   : mm1_bench_image_load(set, &item->images[0], &d, err);
    if (st == MM1_OK) {
        const mm1_part *p = &d.parts[0];
        st = mm1_image_layout_read(&spec, p->bytes, p->len, p->name, &layout, err);
        st = st != MM1_OK ? st : mm1_image_to_pixels(&spec, &layout, p->bytes, p->len, p->name, pixels, err);
        st = st != MM1_OK ? st : mm1_embedder_features(s->embedder, pixels, 1, out, err);
    }
    double norm = 0;
    for (int64_t c = 0; st == MM1_OK && c < s->C; c++) {
        norm += (double)out[c] * (double)out[c];
    }
    for (int64_t c = 0; st == MM1_OK && c < s->C; c++) {
        out[c] = (float)((double)out[c] / (sqrt(norm) + 1e-12));
    }
    mm1_document_deinit(&d);
    mm1_free(pixels);
    return st;
}

static uint64_t drawn(const mm1_bench_shots *s, uint64_t index, int64_t i)
{
    return mm1_rng_permute(s->seed, MM1_RNG_SHOTS, index, (uint64_t)s->from->n, (uint64_t)i);
}

/* Only the first is named: each item draws anew, and meets the same ones again and again. */
static void pass_over(mm1_bench_shots *s, const char *why)
{
    if (!s->has_passed_over) {
        s->has_passed_over = true;
        mm1_log(MM1_LOG_WARN, "%s: a demonstration is passed over, as will be others like it: %s", s->style->task->name,
                why);
    }
}

static mm1_status read_pool(mm1_bench_shots *s, int64_t pool, mm1_error *err)
{
    const int64_t n = pool > 0 && pool < s->from->n ? pool : s->from->n;
    mm1_status st = mm1_embedder_create(s->model, 1, &s->embedder, err);
    s->C = s->model->config.vision.width;
    s->pool = mm1_alloc((size_t)n, sizeof *s->pool);
    s->candidates = mm1_alloc((size_t)n, sizeof *s->candidates);
    s->features = mm1_alloc((size_t)(n * s->C), sizeof *s->features);
    if (st == MM1_OK && (s->pool == NULL || s->candidates == NULL || s->features == NULL)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the features of %lld pictures", (long long)n);
    }
    for (int64_t i = 0; st == MM1_OK && i < n; i++) {
        const int64_t at = (int64_t)drawn(s, UINT64_MAX, i);
        const mm1_bench_item *item = &s->from->items[at];
        if (item->n_images == 0) {
            continue;
        }
        mm1_error why = {0};
        const mm1_status got = read_features(s, s->from, item, s->features + s->n_pool * s->C, &why);
        if (got == MM1_OK) {
            s->pool[s->n_pool++] = at;
        } else if (got == MM1_E_IO || mm1_reader_is_bad_sample(got)) {
            pass_over(s, why.message);
        } else {
            st = mm1_error_set(err, got, "%s", why.message);
        }
    }
    if (st == MM1_OK && s->n_pool == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "similar demonstrations: none of them has a picture that can be read");
    }
    return st;
}

mm1_status mm1_bench_shots_create(const mm1_bench_style *style, const mm1_bench_set *from, bool is_own,
                                  mm1_shot_choice choice, uint64_t seed, int64_t pool, const mm1_model *model,
                                  mm1_bench_shots **out, mm1_error *err)
{
    *out = NULL;
    if (choice == MM1_SHOTS_SIMILAR && (model == NULL || !mm1_model_config_has_vision(&model->config))) {
        return mm1_error_set(
            err, MM1_E_UNSUPPORTED,
            "similar demonstrations are found by the features of a model with an encoder, loaded here");
    }
    mm1_bench_shots *s = mm1_calloc(1, sizeof *s);
    if (s == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for demonstrations");
    }
    *s = (mm1_bench_shots){
        .style = style, .from = from, .is_own = is_own, .choice = choice, .seed = seed, .model = model};
    const mm1_status st = choice == MM1_SHOTS_SIMILAR ? read_pool(s, pool, err) : MM1_OK;
    if (st != MM1_OK) {
        mm1_bench_shots_destroy(s);
        return st;
    }
    *out = s;
    return MM1_OK;
}

void mm1_bench_shots_destroy(mm1_bench_shots *s)
{
    if (s != NULL) {
        mm1_embedder_destroy(s->embedder);
        mm1_free(s->pool);
        mm1_free(s->features);
        mm1_free(s->candidates);
        mm1_free(s);
    }
}

/* ---- choosing ---- */

/* May it stand before the item? */
static bool may_show(const mm1_bench_shots *s, const mm1_bench_item *shot, const mm1_bench_item *item)
{
    mm1_rng any = mm1_rng_make(0, MM1_RNG_SHOTS, 0);
    const char *asked = item->pass_of != NULL ? item->pass_of : item->id;
    return mm1_bench_shown_answer(s->style, shot, &any) != NULL && (!s->style->thinks || shot->rationale != NULL) &&
           !(s->is_own && (shot->pass_of != NULL || strcmp(shot->id, asked) == 0)) &&
           !mm1_bench_shares_picture(shot, item);
}

static int by_likeness(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->cosine != y->cosine ? (x->cosine < y->cosine) - (x->cosine > y->cosine)
                                  : (x->item > y->item) - (x->item < y->item);
}

/* Orders the candidates by their likeness to the item. */
static mm1_status compare(mm1_bench_shots *s, const mm1_bench_set *set, const mm1_bench_item *item, mm1_error *err)
{
    if (item->n_images == 0) {
        return mm1_error_set(err, MM1_E_ARG, "item %.100s shows no picture that others could be similar to", item->id);
    }
    float *own = mm1_alloc((size_t)s->C, sizeof *own);
    mm1_status st =
        own == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for features") : read_features(s, set, item, own, err);
    for (int64_t i = 0; st == MM1_OK && i < s->n_pool; i++) {
        double dot = 0;
        for (int64_t c = 0; c < s->C; c++) {
            dot += (double)own[c] * (double)s->features[i * s->C + c];
        }
        s->candidates[i] = (candidate){s->pool[i], (float)dot};
    }
    if (st == MM1_OK) {
        qsort(s->candidates, (size_t)s->n_pool, sizeof *s->candidates, by_likeness);
    }
    mm1_free(own);
    return st;
}

/* A demonstration with the choices that the item offers, in its order; false if it cannot be shown so. */
static bool offer(mm1_bench_item *shot, const mm1_bench_item *item)
{
    for (size_t i = 0; shot->right >= 0 && i < item->n_choices; i++) {
        if (strcmp(item->choices[i], shot->choices[shot->right]) == 0) {
            shot->choices = item->choices;
            shot->n_choices = item->n_choices;
            shot->right = (int64_t)i;
            return true;
        }
    }
    return false;
}

/* The demonstrations of an item as they are found: n of each class, or n in all. */
typedef struct found {
    mm1_document *list;                        /* [n_classes n] class after class */
    int64_t *order;                            /* [n_classes n] places in the list, the first that was found first */
    int64_t n_of_class[MM1_BENCH_MAX_CHOICES]; /* how many there are */
    int64_t n, n_classes, n_found;
} found;

/* Fills the list as far as there are demonstrations; a picture that cannot be read is passed over. */
static mm1_status gather(mm1_bench_shots *s, const mm1_bench_item *item, uint64_t index, found *f, mm1_error *err)
{
    const bool is_similar = s->choice == MM1_SHOTS_SIMILAR, by_class = s->style->task->ways > 0;
    const int64_t n_all = is_similar ? s->n_pool : s->from->n;
    mm1_status st = MM1_OK;
    for (int64_t i = 0; st == MM1_OK && i < n_all && f->n_found < f->n_classes * f->n; i++) {
        const int64_t at = is_similar ? s->candidates[i].item : (int64_t)drawn(s, index, i);
        mm1_bench_item shot = s->from->items[at];
        if (!may_show(s, &shot, item) || (by_class && !offer(&shot, item))) {
            continue;
        }
        const int64_t class = by_class ? shot.right : 0;
        if (f->n_of_class[class] == f->n) {
            continue;
        }
        const int64_t place = class * f->n + f->n_of_class[class];
        mm1_rng answers = mm1_rng_make(s->seed, MM1_RNG_SHOTS, index ^ mm1_hash64(shot.id, strlen(shot.id), 1));
        mm1_error why = {0};
        st = mm1_bench_put_shot(s->style, &(mm1_bench_shot){s->from, &shot}, &answers, &f->list[place], &why);
        if (st == MM1_OK) {
            f->order[f->n_found++] = place;
            f->n_of_class[class]++;
        } else {
            mm1_document_deinit(&f->list[place]);
            if (st == MM1_E_IO || mm1_reader_is_bad_sample(st)) {
                pass_over(s, why.message);
                st = MM1_OK;
            } else {
                st = mm1_error_set(err, st, "%s", why.message);
            }
        }
    }
    return st;
}

void mm1_bench_shots_free(mm1_document *shots, size_t n_shots)
{
    for (size_t i = 0; shots != NULL && i < n_shots; i++) {
        mm1_document_deinit(&shots[i]);
    }
    mm1_free(shots);
}

mm1_status mm1_bench_shots_draw(mm1_bench_shots *s, const mm1_bench_set *set, const mm1_bench_item *item, int64_t n,
                                mm1_document **shots, size_t *n_shots, mm1_error *err)
{
    const bool by_class = s->style->task->ways > 0, is_similar = s->choice == MM1_SHOTS_SIMILAR;
    const int64_t n_classes = by_class ? (int64_t)item->n_choices : 1, wanted = n * n_classes;
    const uint64_t id = mm1_hash64(item->id, strlen(item->id), 0);
    found f = {.list = mm1_calloc((size_t)wanted, sizeof *f.list),
               .order = mm1_calloc((size_t)wanted, sizeof *f.order),
               .n = n,
               .n_classes = n_classes};
    mm1_document *ordered = mm1_calloc((size_t)wanted, sizeof *ordered);
    *shots = NULL;
    *n_shots = 0;
    mm1_status st = f.list == NULL || f.order == NULL || ordered == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "no memory for demonstrations")
                        : MM1_OK;
    st = st != MM1_OK || !is_similar ? st : compare(s, set, item, err);
    st = st != MM1_OK ? st : gather(s, item, s->choice == MM1_SHOTS_FIXED ? 0 : id, &f, err);
    if (st == MM1_OK && f.n_found < wanted) {
        st = mm1_error_set(err, MM1_E_ARG, "%lld demonstrations are wanted for item %.100s; there are %lld",
                           (long long)wanted, item->id, (long long)f.n_found);
    }
    for (int64_t i = 0; st == MM1_OK && i < wanted; i++) {
        /* Classes come mixed; the most similar of all stands last. */
        const int64_t at = is_similar ? f.order[wanted - 1 - i]
                           : by_class
                               ? (int64_t)mm1_rng_permute(s->seed, MM1_RNG_SHOTS, ~id, (uint64_t)wanted, (uint64_t)i)
                               : i;
        ordered[i] = f.list[at];
        if (s->style->n_whole >= 0 && i < wanted - s->style->n_whole) {
            mm1_bench_shrink(&ordered[i]);
        }
    }
    mm1_free(f.order);
    if (st != MM1_OK) {
        mm1_bench_shots_free(f.list, (size_t)wanted);
        mm1_free(ordered);
        return st;
    }
    mm1_free(f.list);
    *shots = ordered;
    *n_shots = (size_t)wanted;
    return MM1_OK;
}

mm1_status mm1_bench_shots_put(mm1_bench_shots *s, const mm1_bench_set *set, const mm1_bench_item *item, int64_t n,
                               mm1_document *d, mm1_error *err)
{
    mm1_document *shots = NULL;
    size_t n_shots = 0;
    mm1_status st = mm1_bench_shots_draw(s, set, item, n, &shots, &n_shots, err);
    for (size_t i = 0; st == MM1_OK && i < n_shots; i++) {
        st = mm1_bench_join(d, &shots[i], err);
    }
    mm1_bench_shots_free(shots, n_shots);
    return st;
}

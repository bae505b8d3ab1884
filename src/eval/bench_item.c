/* bench_item.c - an item as it is asked: with the classes that are offered, and the control of its pictures. */
#include "eval/benchmark_internal.h"

#include "base/hash.h"
#include "base/rng.h"
#include <string.h>

/* The item's own class and others, in an order drawn for it. */
static mm1_status offer_classes(mm1_bench_work *w, mm1_bench_item *item, mm1_error *err)
{
    const size_t ways = (size_t)w->task->ways;
    if (item->right < 0 || item->n_choices < ways) {
        return mm1_error_set(err, MM1_E_ARG, "task %s: an item offers %zu classes, but there are %zu", w->task->name,
                             ways, item->n_choices);
    }
    const uint64_t index = mm1_hash64(item->id, strlen(item->id), 2);
    const char **offered = mm1_bench_take(&w->paths, ways, sizeof *offered);
    if (offered == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for choices");
    }
    const int64_t place = (int64_t)(index % ways);
    size_t n = 0;
    for (uint64_t i = 0; i < item->n_choices && n < ways; i++) {
        const uint64_t class = mm1_rng_permute(w->o->seed, MM1_RNG_SHOTS, index, item->n_choices, i);
        if ((int64_t)n == place) {
            offered[n++] = item->choices[item->right];
        }
        if (n < ways && (int64_t) class != item->right) {
            offered[n++] = item->choices[class];
        }
    }
    item->choices = offered;
    item->n_choices = ways;
    item->right = place;
    return MM1_OK;
}

/* The item without its pictures. */
static mm1_status take_pictures(mm1_bench_work *w, mm1_bench_item *item, mm1_error *err)
{
    mm1_bench_part *parts = mm1_bench_take(&w->paths, item->n_question, sizeof *parts);
    size_t n = 0;
    if (parts == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a question");
    }
    for (size_t i = 0; i < item->n_question; i++) {
        if (item->question[i].text != NULL) {
            parts[n++] = item->question[i];
        }
    }
    item->question = parts;
    item->n_question = n;
    item->n_images = 0;
    return MM1_OK;
}

/* The item with as many pictures of another one, drawn by its id. */
static mm1_status swap_pictures(const mm1_bench_work *w, mm1_bench_item *item, mm1_error *err)
{
    const uint64_t index = mm1_hash64(item->id, strlen(item->id), 4);
    for (int64_t i = 0; i < w->test.n && item->n_images > 0; i++) {
        const uint64_t at = mm1_rng_permute(w->o->seed, MM1_RNG_SHOTS, index, (uint64_t)w->test.n, (uint64_t)i);
        const mm1_bench_item *other = &w->test.items[at];
        bool fits = other->n_images >= item->n_images && !mm1_bench_shares_picture(other, item);
        for (size_t k = 0; k < item->n_images && fits; k++) {
            fits = mm1_bench_image_exists(&other->images[k]);
        }
        if (fits) {
            item->images = other->images;
            return MM1_OK;
        }
    }
    return item->n_images == 0
               ? MM1_OK
               : mm1_error_set(err, MM1_E_ARG,
                               "task %s: no other item has pictures to be shown in the place of those of "
                               "item %.100s",
                               w->task->name, item->id);
}

mm1_status mm1__bench_item_make(mm1_bench_work *w, mm1_bench_item *item, mm1_error *err)
{
    const mm1_status st = w->o->pictures == MM1_PICTURES_NONE       ? take_pictures(w, item, err)
                          : w->o->pictures == MM1_PICTURES_SHUFFLED ? swap_pictures(w, item, err)
                                                                    : MM1_OK;
    return st != MM1_OK || w->task->ways == 0 ? st : offer_classes(w, item, err);
}

/* question_sizes.c - two pictures of furniture, which show nothing of scale, and which of the two is taller, wider or
 * deeper in a house: Sweet Home 3D's catalogue says so in cm.  Asked where one is at least half as large again.
 *
 * Pairs are drawn at random; the larger one is first and second in turn. */
#include "data/questions.h"

#include "base/alloc.h"
#include <string.h>

enum { MAX_TRIES = 64, N_SIDES = 3 };

static const double MIN_RATIO = 1.5;

static const char *const which[N_SIDES][4] = {
    {"Which is wider, {}?", "Which of the two is wider in a house: {}?", "What is wider, {}?", NULL},
    {"Which is deeper from front to back, {}?", "Which of the two has more depth: {}?", NULL},
    {"Which is taller, {}?", "Which of the two is taller in a house: {}?", "What is higher, {}?", NULL},
};
static const char *const kinds[N_SIDES] = {"sizes.wider", "sizes.deeper", "sizes.taller"};

static float size_of(const mm1_questions *q, uint32_t caption, int side)
{
    return q->corpus->captions[caption].size_cm[side];
}

/* Two things of which the second is so much larger. */
static bool find_pair(const mm1_questions *q, mm1_rng *rng, const uint32_t *list, size_t n, int side, uint32_t pair[2])
{
    for (int i = 0; i < MAX_TRIES; i++) {
        pair[0] = list[mm1_rng_below(rng, n)];
        pair[1] = list[mm1_rng_below(rng, n)];
        if (size_of(q, pair[0], side) > size_of(q, pair[1], side)) {
            const uint32_t swap = pair[0];
            pair[0] = pair[1];
            pair[1] = swap;
        }
        const double a = size_of(q, pair[0], side), b = size_of(q, pair[1], side);
        if (a > 0 && b >= a * MIN_RATIO && strcmp(q->things[pair[0]].name, q->things[pair[1]].name) != 0) {
            return true;
        }
    }
    return false;
}

/* Shows and names the larger one first, or second. */
static mm1_status plan_pair(mm1_questions *q, mm1_rng *rng, const uint32_t pair[2], int side, bool larger_first,
                            size_t i, mm1_error *err)
{
    const uint32_t one = pair[larger_first ? 1 : 0], other = pair[larger_first ? 0 : 1];
    mm1_conversation *c = mm1_questions_add_numbered(q, "sizes", i);
    const char *names[2] = {q->things[one].name, q->things[other].name};
    const char *with_article[2] = {mm1_questions_a(q, names[0]), mm1_questions_a(q, names[1])};
    if (c == NULL || with_article[0] == NULL || with_article[1] == NULL) {
        return mm1_questions_no_memory(err);
    }
    const char *list = mm1_questions_or(q, with_article, 2);
    const bool ok = list != NULL && mm1_conversation_show(q, c, one) && mm1_conversation_show(q, c, other) &&
                    mm1_conversation_ask(q, c, kinds[side], mm1_questions_say(q, rng, which[side], list, NULL),
                                         names[larger_first ? 0 : 1], names, 2);
    return ok ? MM1_OK : mm1_questions_no_memory(err);
}

mm1_status mm1__questions_sizes(mm1_questions *q, mm1_error *err)
{
    uint32_t *list = NULL;
    size_t n = 0, n_sized = 0, n_asked[N_SIDES] = {0};
    const size_t before = q->n;
    mm1_status st = mm1_questions_list(q, mm1_thing_has_name, 1, &list, &n, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (size_of(q, list[i], 0) > 0) {
            list[n_sized++] = list[i];
        }
    }
    for (size_t i = 0; st == MM1_OK && n_sized > 1 && i < q->wanted * 2 && q->n - before < q->wanted; i++) {
        mm1_rng rng = mm1_questions_rng(q, i);
        const int side = (int)(i % N_SIDES);
        uint32_t pair[2];
        if (find_pair(q, &rng, list, n_sized, side, pair)) {
            st = plan_pair(q, &rng, pair, side, n_asked[side]++ % 2 == 0, i, err);
        }
    }
    mm1_free(list);
    return st;
}

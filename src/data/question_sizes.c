/* question_sizes.c - two pictures of furniture, which show nothing of scale, and which of the two is taller, wider or
 * deeper in a house, the first or the second: Sweet Home 3D's catalogue says so in cm.  Asked where one is at least
 * half as large again.
 *
 * Pairs are drawn at random; the larger one is first and second in turn. */
#include "data/questions.h"

#include "base/alloc.h"
#include <string.h>

enum { MAX_TRIES = 64, N_SIDES = 3 };

static const double MIN_RATIO = 1.5;

static const char *const which[N_SIDES][3] = {
    {"Which is wider in a house, the first or the second?", "Which of the two is wider: first or second?", NULL},
    {"Which is deeper from front to back, the first or the second?",
     "Which of the two has more depth: first or second?", NULL},
    {"Which is taller in a house, the first or the second?", "Which of the two is taller: first or second?", NULL},
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

/* Shows the larger one first, or second. */
static mm1_status plan_pair(mm1_questions *q, mm1_rng *rng, const uint32_t pair[2], int side, bool larger_first,
                            size_t i, mm1_error *err)
{
    static const char *const answers[2] = {"first", "second"};
    mm1_conversation *c = mm1_questions_add_numbered(q, "sizes", i);
    const bool ok = c != NULL && mm1_conversation_show(q, c, pair[larger_first ? 1 : 0]) &&
                    mm1_conversation_show(q, c, pair[larger_first ? 0 : 1]) &&
                    mm1_conversation_ask(q, c, kinds[side], mm1_questions_say(q, rng, which[side], NULL, NULL),
                                         answers[larger_first ? 0 : 1], answers, 2);
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

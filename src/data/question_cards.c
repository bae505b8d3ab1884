/* question_cards.c - playing cards of Open Clip Art, titled "8 of clubs": suit, rank, red or black. */
#include "data/questions.h"

#include "base/alloc.h"
#include <string.h>

enum { N_SUITS = 4, MAX_SAME = 8 };

static const char *const suits[N_SUITS] = {"clubs", "spades", "diamonds", "hearts"}; /* black, black, red, red */

static const char *const which_suit[] = {"Which suit is this card?", "Of which suit is the card?",
                                         "Clubs, spades, diamonds or hearts?", NULL};
static const char *const which_rank[] = {"Which rank has the card?", "What is the rank of this card?",
                                         "Which card of {} is this?", NULL};
static const char *const which_colour[] = {"Is the suit red or black?", "Is this a red or a black card?", NULL};

/* The suit of "8 of clubs", or -1; *rank_len of the "8". */
static int suit_of(const char *title, size_t *rank_len)
{
    const char *of = title != NULL ? strstr(title, " of ") : NULL;
    for (int i = 0; of != NULL && i < N_SUITS; i++) {
        if (strcmp(of + 4, suits[i]) == 0) {
            *rank_len = (size_t)(of - title);
            return i;
        }
    }
    return -1;
}

static bool is_card(const mm1_thing *thing)
{
    size_t rank_len = 0;
    return thing->category != MM1_CATEGORY_NONE && suit_of(thing->title, &rank_len) >= 0;
}

/* forms: bit 0 suit, bit 1 rank, bit 2 colour. */
static bool ask(mm1_questions *q, mm1_rng *rng, mm1_conversation *c, uint32_t caption, unsigned forms)
{
    static const char *const colours[] = {"black", "red"};
    size_t rank_len = 0;
    const char *title = q->things[caption].title;
    const int suit = suit_of(title, &rank_len);
    const char *rank = mm1_corpus_strndup(q->corpus, title, rank_len);
    bool ok = rank != NULL && mm1_conversation_show(q, c, caption);
    /* First what the others would give away. */
    if (ok && (forms & 4) != 0) {
        ok = mm1_conversation_ask(q, c, "cards.colour", mm1_questions_say(q, rng, which_colour, NULL, NULL),
                                  colours[suit / 2], colours, 2);
    }
    if (ok && (forms & 1) != 0) {
        ok = mm1_conversation_ask(q, c, "cards.suit", mm1_questions_say(q, rng, which_suit, NULL, NULL), suits[suit],
                                  suits, N_SUITS);
    }
    if (ok && (forms & 2) != 0) {
        ok = mm1_conversation_ask(q, c, "cards.rank", mm1_questions_say(q, rng, which_rank, suits[suit], NULL), rank,
                                  NULL, 0);
    }
    return ok;
}

mm1_status mm1__questions_cards(mm1_questions *q, mm1_error *err)
{
    uint32_t *list = NULL;
    size_t n = 0;
    const size_t before = q->n, rounds = q->heldout ? 3 : 1;
    mm1_status st = mm1_questions_list(q, is_card, MAX_SAME, &list, &n, err);
    for (size_t i = 0; st == MM1_OK && i < n * rounds && q->n - before < q->wanted; i++) {
        mm1_rng rng = mm1_questions_rng(q, i);
        mm1_conversation *c = mm1_questions_add(q, q->corpus->captions[list[i % n]].concept);
        if (c == NULL || !ask(q, &rng, c, list[i % n], q->heldout ? 1u << (i / n) : 7)) {
            st = mm1_questions_no_memory(err);
        }
    }
    mm1_free(list);
    return st;
}

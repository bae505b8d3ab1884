/* questions.h - conversations about pictures, every answer of which a file states or the builder itself has drawn.
 *
 * A kind of question is a row of the table in questions.c and a function that plans conversations: texts, and of the
 * pictures where they come from.  Pixels are drawn by question_writer.h when a conversation is written, so that memory
 * does not grow with the pictures.  A plan depends on the recipe, the packages and the seed alone.
 *
 * In train a conversation may have several questions on one picture; in held-out it has one.  A conversation belongs to
 * the side of its concept (mm1__build_is_heldout()), and so do all things that it shows or names.
 *
 * Texts come from tables of phrasings in which "{}" stands for what is asked about. */
#ifndef MM1_DATA_QUESTIONS_H
#define MM1_DATA_QUESTIONS_H

#include "base/file.h"
#include "base/rng.h"
#include "data/build.h"
#include "data/corpus.h"
#include "data/source.h"
#include "data/thing.h"
#include <mm1/error.h>

enum { MM1_MAX_TURNS = 4, MM1_MAX_QA_PICTURES = 2 };

/* One question and its answer; strings belong to the corpus or are static. */
typedef struct mm1_turn {
    const char *kind; /* "flags.place" */
    const char *question, *answer;
    const char *const *choices; /* [n_choices] what the answer is one of; 0: open */
    size_t n_choices;
} mm1_turn;

/* Where a shown picture was made from. */
typedef struct mm1_origin {
    const char *path, *source, *licence;
    const char *sha256; /* of the original */
} mm1_origin;

typedef struct mm1_qa_picture {
    uint32_t stored;           /* index into corpus->pictures; or MM1_PICTURE_NONE, and: */
    mm1_picture_draw_fn *draw; /* thread-safe */
    void *draw_ctx;
    uint32_t draw_id;
    bool jpeg;
} mm1_qa_picture;

typedef struct mm1_question_kind mm1_question_kind;

typedef struct mm1_conversation {
    const mm1_question_kind *kind;
    const char *concept;
    bool heldout;
    mm1_turn turns[MM1_MAX_TURNS];
    size_t n_turns;
    mm1_qa_picture pictures[MM1_MAX_QA_PICTURES];
    size_t n_pictures;
    mm1_origin *origins; /* [n_origins] */
    size_t n_origins;
} mm1_conversation;

/* What the planning functions work on. */
typedef struct mm1_questions {
    mm1_corpus *corpus;
    const mm1_build_config *config;
    const mm1_source *sources;
    const mm1_map *spill;    /* encoded pictures of the corpus */
    const mm1_thing *things; /* [corpus->n_captions] */
    mm1_conversation *items; /* [n], owned */
    size_t n, cap;

    /* Of the present call. */
    const mm1_build_questions *entry;
    const mm1_question_kind *kind;
    bool heldout;
    size_t wanted; /* conversations at most */
} mm1_questions;

struct mm1_question_kind {
    const char *name;
    mm1_status (*plan)(mm1_questions *q, mm1_error *err);
    const char *gives;   /* for the list of kinds */
    const char *note;    /* written to every item; NULL: none */
    const char *package; /* Debian packages it needs beside those of the sources; NULL: none */
    int64_t px;          /* side of pictures that it draws, where the recipe does not say; 0: it draws none */
};

const mm1_question_kind *mm1_question_kind_find(const char *name);
const mm1_question_kind *mm1_question_kind_at(size_t i); /* NULL after the last */

/* MM1_E_CONFIG names an entry of config->questions whose kind there is not, or that has px where nothing is drawn.  To
 * be asked before packages are read, which takes minutes. */
MM1_NODISCARD mm1_status mm1_questions_check(const mm1_build_config *config, mm1_error *err);
/* Plans what config->questions, which has been checked, asks for; mm1_questions_deinit() frees it.  A kind whose files
 * are missing is logged and passed over.  MM1_E_NOMEM; MM1_E_FORMAT for files that are damaged. */
MM1_NODISCARD mm1_status mm1_questions_plan(mm1_questions *q, mm1_error *err);
void mm1_questions_deinit(mm1_questions *q);

/* For the functions that plan ------------------------------------------------------------------------------------- */

/* Random numbers of the i-th thing that the present kind does in the present split. */
mm1_rng mm1_questions_rng(const mm1_questions *q, uint64_t i);

/* An empty conversation at the end of q->items; NULL if memory is short.  It stays valid until the next call. */
mm1_conversation *mm1_questions_add(mm1_questions *q, const char *concept);
/* The same for what belongs to no concept: the i-th of its split, as "scene:train-7". */
mm1_conversation *mm1_questions_add_numbered(mm1_questions *q, const char *prefix, size_t i);
/* Takes the last conversation back. */
void mm1_questions_take_back(mm1_questions *q);

/* One of the phrasings (ended by NULL) with a and b for its first and second "{}"; NULL if memory is short. */
const char *mm1_questions_say(mm1_questions *q, mm1_rng *rng, const char *const *phrasings, const char *a,
                              const char *b);
/* "an animal, a plant or food". */
const char *mm1_questions_or(mm1_questions *q, const char *const *names, size_t n);
/* "a frog", "an owl". */
const char *mm1_questions_a(mm1_questions *q, const char *name);

/* Adds a turn; false if question or choices are NULL where they must not be (memory was short).  choices are copied;
 * n_choices 0: open. */
bool mm1_conversation_ask(mm1_questions *q, mm1_conversation *c, const char *kind, const char *question,
                          const char *answer, const char *const *choices, size_t n_choices);
bool mm1_conversation_yes_no(mm1_questions *q, mm1_conversation *c, const char *kind, const char *question, bool yes);
/* Shows the stored picture of a caption and names its origin. */
bool mm1_conversation_show(mm1_questions *q, mm1_conversation *c, uint32_t caption);
bool mm1_conversation_add_origin(mm1_questions *q, mm1_conversation *c, const mm1_origin *origin);
bool mm1_conversation_add_origin_of(mm1_questions *q, mm1_conversation *c, uint32_t caption);

/* A concept is on the side that is being planned. */
bool mm1_questions_is_ours(const mm1_questions *q, const char *concept);

/* Indices of captions on this side for which want() holds, shuffled by the seed; at most max_same of one concept. */
typedef bool mm1_want_fn(const mm1_thing *thing);
MM1_NODISCARD mm1_status mm1_questions_list(mm1_questions *q, mm1_want_fn *want, size_t max_same, uint32_t **list,
                                            size_t *n, mm1_error *err);
/* Shuffles n indices by the stream. */
void mm1_questions_shuffle(mm1_rng *rng, uint32_t *list, size_t n);

mm1_status mm1_questions_no_memory(mm1_error *err);

/* The kinds, one file each. */
mm1_status mm1__questions_naming(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_category(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_flags(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_clothes(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_scenes(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_details(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_signs(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_sizes(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_cards(mm1_questions *q, mm1_error *err);
mm1_status mm1__questions_text(mm1_questions *q, mm1_error *err);

#endif

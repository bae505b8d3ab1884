/* bench_set.h - the items of a benchmark as its readers give them: a question with its pictures, and what is right.
 *
 * Pictures stay where they are until an item is asked: a path, a piece of base64 in a file, a number in a data set.
 * What is malformed is left out, counted, and logged with its place (the first few of a kind).
 *
 * Ownership: a set owns every string of its items, in one pool.  Threads: one at a time; mm1_bench_image_load() of
 * different images may run at once. */
#ifndef MM1_EVAL_BENCH_SET_H
#define MM1_EVAL_BENCH_SET_H

#include "data/idx.h"
#include "data/reader.h"
#include "model/document.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stdint.h>

enum { MM1_BENCH_MAX_CHOICES = 26, MM1_BENCH_MAX_IMAGES = 64, MM1_BENCH_MAX_ANSWERS = 1024 };

typedef enum mm1_bench_image_kind {
    MM1_BENCH_FILE,   /* the file at path */
    MM1_BENCH_SPAN,   /* len bytes from byte `at` of the file at path: a member of a tar */
    MM1_BENCH_BASE64, /* the same, as digits */
    MM1_BENCH_IDX,    /* picture `at` of the set's idx file */
    MM1_BENCH_SAMPLE  /* the first picture of sample `at` of the set's reader */
} mm1_bench_image_kind;

typedef struct mm1_bench_image {
    mm1_bench_image_kind kind;
    const char *path; /* FILE, BASE64 */
    int64_t at, len;
    const char *key; /* the same for the same picture; also its name in messages */
} mm1_bench_image;

/* A piece of a question. */
typedef struct mm1_bench_part {
    const char *text; /* NULL: picture number `image` stands here */
    int64_t image;
} mm1_bench_part;

typedef struct mm1_bench_item {
    const char *id;
    const char *pass_of;            /* id of the question that this asks again with its choices moved; NULL: of none */
    const mm1_bench_image *images;  /* [n_images] */
    const mm1_bench_part *question; /* [n_question]; pictures that are not in it stand before it */
    const char *context;            /* a hint, a passage; NULL: none */
    const char *suffix;             /* what stands behind every choice; NULL: nothing */
    const char *const *answers;     /* [n_answers] what people said: all of them are right */
    const char *const *choices;     /* [n_choices] */
    size_t n_images, n_question, n_answers, n_choices;
    int64_t right;         /* number of the right choice; -1: not known, or no choices */
    const char *rationale; /* how the answer is reached; NULL: not known */
    const char *category;  /* NULL: none */
    const char *record;    /* JSON of the file, for judges that want it back; NULL where none does */
} mm1_bench_item;

typedef struct mm1_bench_counts {
    int64_t malformed;        /* records that cannot be read */
    int64_t duplicates;       /* second and later records of an id */
    int64_t unanswered;       /* questions without an answer */
    int64_t without_question; /* answers to no question */
    int64_t without_picture;  /* items whose picture is not there or cannot be read */
} mm1_bench_counts;

typedef struct mm1_bench_set {
    mm1_bench_item *items; /* [n] */
    int64_t n, cap;
    mm1_bench_counts counts;
    mm1_reader *reader; /* of MM1_BENCH_SAMPLE; else NULL */
    mm1_idx idx;        /* of MM1_BENCH_IDX */
    struct mm1_bench_block *blocks;
    bool no_memory; /* sticks: mm1_bench_set_finish() says so */
} mm1_bench_set;

void mm1_bench_set_deinit(mm1_bench_set *s); /* accepts a zeroed one */

/* ---- for readers: all of these may fail for want of memory, which sticks ---- */

/* n * size bytes of the set, zeroed; NULL if memory is short. */
void *mm1_bench_take(mm1_bench_set *s, size_t n, size_t size);
/* A copy; NULL for NULL. */
const char *mm1_bench_str(mm1_bench_set *s, const char *text);
const char *mm1_bench_strn(mm1_bench_set *s, const char *text, size_t len);
const char *mm1_bench_printf(mm1_bench_set *s, const char *format, ...) MM1_PRINTF(2, 3);
/* "<dir>/<name>". */
const char *mm1_bench_path(mm1_bench_set *s, const char *dir, const char *name);

/* One more piece of the question. */
void mm1_bench_ask(mm1_bench_set *s, mm1_bench_item *item, const char *question);
/* The same for a text that says <image 1> where a picture stands. */
void mm1_bench_ask_marked(mm1_bench_set *s, mm1_bench_item *item, const char *question);
/* Picture number i stands here. */
void mm1_bench_ask_image(mm1_bench_set *s, mm1_bench_item *item, int64_t i);
/* One more answer. */
void mm1_bench_answer(mm1_bench_set *s, mm1_bench_item *item, const char *answer);
/* One more choice. */
void mm1_bench_choice(mm1_bench_set *s, mm1_bench_item *item, const char *choice);
/* One more picture. */
void mm1_bench_image_add(mm1_bench_set *s, mm1_bench_item *item, const mm1_bench_image *image);
void mm1_bench_image_file(mm1_bench_set *s, mm1_bench_item *item, const char *dir, const char *name);

/* Keeps an item; returns where, NULL if memory is short. */
mm1_bench_item *mm1_bench_add(mm1_bench_set *s, const mm1_bench_item *item);
/* Counts and logs one that is left out. */
void mm1_bench_bad(mm1_bench_set *s, int64_t *count, const char *path, uint64_t line, const char *why);

/* Ids to items. */
typedef struct mm1_bench_index {
    const mm1_bench_set *set;
    int64_t *sorted;
    int64_t n;
} mm1_bench_index;
MM1_NODISCARD mm1_status mm1_bench_index_init(mm1_bench_index *index, const mm1_bench_set *s, mm1_error *err);
void mm1_bench_index_deinit(mm1_bench_index *index);
/* NULL if there is none; of several the first. */
mm1_bench_item *mm1_bench_index_find(const mm1_bench_index *index, const char *id);

/* Drops second and later items of an id, those with more choices or pictures than there may be, and those without an
 * answer if they are wanted; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_bench_set_finish(mm1_bench_set *s, const char *name, bool wants_answers, mm1_error *err);

/* ---- for who asks ---- */

/* False if it is known, without reading it, not to be there. */
bool mm1_bench_image_exists(const mm1_bench_image *image);
/* Do two items show the same picture? */
bool mm1_bench_shares_picture(const mm1_bench_item *a, const mm1_bench_item *b);
/* Appends the picture to a document.  MM1_E_IO, MM1_E_FORMAT: this picture cannot be had. */
MM1_NODISCARD mm1_status mm1_bench_image_load(const mm1_bench_set *s, const mm1_bench_image *image, mm1_document *d,
                                              mm1_error *err);

#endif

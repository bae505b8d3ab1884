/* thing.h - what the picture of a caption shows, as far as its package says so: a name that can stand in a question, a
 * category by the folder or group it lies in, the room of a piece of furniture.
 *
 * Nothing is guessed from the words of a caption: where a package does not say, there is no category, and where a
 * caption is no plain name, there is no object. */
#ifndef MM1_DATA_THING_H
#define MM1_DATA_THING_H

#include "data/corpus.h"
#include "data/source.h"
#include <mm1/error.h>
#include <stdbool.h>
#include <stdint.h>

enum { MM1_CATEGORY_NONE = -1, MM1_ROOM_NONE = -1 };

typedef struct mm1_category {
    const char *name, *a, *plural; /* "animal", "an animal", "animals"; NULL: it is not asked about */
    uint32_t overlaps;             /* bit i: a thing of this category may pass for one of category i */
} mm1_category;

typedef struct mm1_thing {
    const char *title;  /* the caption without what was joined to it; NULL: the picture is not asked about */
    const char *name;   /* "frog", "Indian blackbuck": a thing that can be counted; else NULL */
    const char *place;  /* whose flag it is; else NULL */
    int category, room; /* index into the tables below, or none */
} mm1_thing;

/* It can be named, and counted. */
bool mm1_thing_has_name(const mm1_thing *thing);

/* Rows, and how many there are. */
const mm1_category *mm1_category_at(int i);
int mm1_category_count(void);
const char *mm1_room_at(int i);
int mm1_room_count(void);

/* Both may be asked about in one question: no thing of the one may pass for the other. */
bool mm1_category_disjoint(int a, int b);

/* things [corpus->n_captions], in the memory of the corpus; those of captions that were dropped are empty.  The groups
 * of emoji come from CLDR below config->root; without that file emoji have no category.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_things_of(mm1_corpus *corpus, const mm1_build_config *config, const mm1_source *sources,
                                       const mm1_thing **things, mm1_error *err);

#endif

/* lettering.h - what pictures with text are drawn from: typefaces of Debian, and words that stand in captions. */
#ifndef MM1_DATA_LETTERING_H
#define MM1_DATA_LETTERING_H

#include "data/questions.h"
#include "data/typeface.h"

enum { MM1_MAX_TYPEFACES = 6 };

typedef struct mm1_lettering {
    mm1_typeface *faces[MM1_MAX_TYPEFACES];
    size_t n_faces;
    const char **words; /* [n_words] lower case, 3 to 7 letters a to z, shuffled; of the side that is planned */
    size_t n_words;
} mm1_lettering;

/* *out NULL, and logged: the fonts are not there.  It and all in it belong to the corpus.  MM1_E_NOMEM, MM1_E_FORMAT.
 */
MM1_NODISCARD mm1_status mm1_lettering_open(mm1_questions *q, const mm1_lettering **out, mm1_error *err);

/* A word, as it is, with a capital, or in capitals; NULL if memory is short. */
const char *mm1_lettering_cased(mm1_questions *q, mm1_rng *rng, const char *word);

#endif

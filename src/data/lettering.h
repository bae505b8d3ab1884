/* lettering.h - pictures with text: typefaces of Debian, and what is written with them.
 *
 * What is written comes from closed lists, which train and held-out share; held-out pictures are others. */
#ifndef MM1_DATA_LETTERING_H
#define MM1_DATA_LETTERING_H

#include "data/questions.h"
#include "data/typeface.h"

enum { MM1_MAX_TYPEFACES = 6 };

typedef struct mm1_lettering {
    mm1_typeface *faces[MM1_MAX_TYPEFACES];
    size_t n_faces;
} mm1_lettering;

/* A digit from 1 to 9; a capital letter without I and O; a number from 10 to 99; a short word of street and shop signs.
 */
typedef enum mm1_inscription_form {
    MM1_INSCRIPTION_DIGIT,
    MM1_INSCRIPTION_LETTER,
    MM1_INSCRIPTION_NUMBER,
    MM1_INSCRIPTION_WORD,
    MM1_INSCRIPTION_FORM_COUNT
} mm1_inscription_form;

typedef struct mm1_inscription {
    const char *answer;         /* words in lower case; NULL: memory was short */
    const char *text;           /* as it is drawn: words in lower case, with a capital, or in capitals */
    const char *const *choices; /* [n_choices] all that the form can say; 0: too many to list */
    size_t n_choices;
} mm1_inscription;

/* *out NULL, and logged: the fonts are not there.  It and all in it belong to the corpus.  MM1_E_NOMEM, MM1_E_FORMAT.
 */
MM1_NODISCARD mm1_status mm1_lettering_open(mm1_questions *q, const mm1_lettering **out, mm1_error *err);

/* What the k-th of a form says: all of a list in turn, so that none is more frequent than another. */
mm1_inscription mm1_inscription_at(mm1_questions *q, mm1_rng *rng, mm1_inscription_form form, size_t k);
/* Another word than `answer`. */
const char *mm1_inscription_other_word(mm1_rng *rng, const char *answer);

#endif
